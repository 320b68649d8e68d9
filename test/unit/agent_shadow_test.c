// SPDX-License-Identifier: Apache-2.0
/*
 * agent_shadow_test.c - what a word of the shadow says of a block, and who sees the shadow.
 *
 * Runs in:    the unit test process, and a child of it
 * Threads:    one
 * Allocates:  one sparse mapping, in place of a ledger's exact part
 * Fails:      as cmocka reports it
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent_shadow.h"

static struct rtd_exact *exact;

static int begin(void **state)
{
    (void)state;
    void *const at = mmap(NULL, sizeof(struct rtd_exact), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    exact = at;
    if (at == MAP_FAILED)
        return -1;
    rtd_shadow_begin();
    return 0;
}

static int end(void **state)
{
    (void)state;
    return munmap(exact, sizeof(struct rtd_exact));
}

static void check_block(uintptr_t p, uint64_t size, uint32_t site, uint32_t units)
{
    const struct rtd_shadow_block block = {size, site, units};
    struct rtd_shadow_block taken = {0};
    _Atomic uint64_t *const word = rtd_shadow_word(p);
    assert_non_null(word);
    rtd_shadow_set(word, p, &block);
    assert_false(rtd_shadow_is_free(word));
    assert_int_equal(*word >> RTD_SHADOW_HALF_SHIFT & 1, p >> 4 & 1);
    assert_true(rtd_shadow_take(p, &taken));
    assert_int_equal(taken.size, size);
    assert_int_equal(taken.site, site);
    assert_int_equal(taken.birth_units, units);
    assert_false(rtd_shadow_take(p, &taken));
}

static void a_block_is_taken_out_as_it_was_put_in(void **state)
{
    static const uint64_t sizes[] = {
        0, 1, 64, RTD_SHADOW_SIZE_MASK, RTD_SHADOW_SIZE_MASK + 1, UINT64_C(1) << 46};
    (void)state;
    assert_true(rtd_shadow_claim(exact, 0x7f1234000000));
    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(sizes); i++) {
        check_block(0x7f1234567890, sizes[i], 0, 0);
        check_block(0x7f1234567880, sizes[i], RTD_EXACT_SITE_COUNT - 1, 0xffffff);
    }
}

static void the_short_way_makes_the_word_of_the_long_one(void **state)
{
    (void)state;
    assert_true(rtd_shadow_claim(exact, 0x7f1238000000));
    for (uintptr_t p = 0x7f1238000000; p < 0x7f1238000400; p += 16) {
        const uint64_t clock_ms = 77 * RTD_LIFETIME_UNIT_MS;
        const struct rtd_shadow_block block = {1000, 4711, 77};
        uint64_t word = block.size;
        const uintptr_t index = rtd_shadow_index(p, &word);
        word = word << RTD_SHADOW_HALF_SHIFT | (uint64_t)block.site << RTD_SHADOW_SITE_SHIFT |
               rtd_shadow_birth_at(clock_ms);
        _Atomic uint64_t *const place = (_Atomic uint64_t *)rtd_shadow_leaf(p) + index;
        assert_ptr_equal(place, rtd_shadow_word(p));
        rtd_shadow_set(place, p, &block);
        assert_int_equal(*place, word);
        assert_int_equal(rtd_shadow_size(word), block.size);
        assert_true(rtd_shadow_is_young(word, rtd_shadow_birth_at(clock_ms)));
        assert_false(rtd_shadow_is_young(word, rtd_shadow_birth_at(clock_ms + 128)));
        assert_false(rtd_shadow_is_young(0, rtd_shadow_birth_at(clock_ms)));
    }
}

static void a_large_block_is_never_young(void **state)
{
    const struct rtd_shadow_block block = {RTD_SHADOW_SIZE_MASK + 1, 1, 0};
    const uintptr_t p = 0x7f123c000000;
    (void)state;
    assert_true(rtd_shadow_claim(exact, p));
    rtd_shadow_set(rtd_shadow_word(p), p, &block);
    assert_false(rtd_shadow_is_young(*rtd_shadow_word(p), rtd_shadow_birth_at(0)));
}

static void address_0_is_never_free_and_never_a_block(void **state)
{
    struct rtd_shadow_block block;
    (void)state;
    assert_true(rtd_shadow_claim(exact, 0x400000));
    assert_false(rtd_shadow_is_free(rtd_shadow_word(0)));
    assert_false(rtd_shadow_take(0, &block));
    assert_true(rtd_shadow_is_free(rtd_shadow_word(0x400000)));
}

/* It has the parent's table in its memory, and must not find the parent's ledger through it. */
static void a_child_process_finds_no_leaf(void **state)
{
    const uintptr_t p = 0x7f1240000000;
    int status = -1;
    (void)state;
    assert_true(rtd_shadow_claim(exact, p));
    const pid_t child = fork();
    if (child == 0)
        _exit(rtd_shadow_leaf(p) == 0 ? 0 : 1);
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_int_equal(status, 0);
    assert_true(rtd_shadow_leaf(p) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_taken_out_as_it_was_put_in),
        cmocka_unit_test(the_short_way_makes_the_word_of_the_long_one),
        cmocka_unit_test(a_large_block_is_never_young),
        cmocka_unit_test(address_0_is_never_free_and_never_a_block),
        cmocka_unit_test(a_child_process_finds_no_leaf),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
