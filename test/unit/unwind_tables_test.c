// SPDX-License-Identifier: Apache-2.0
/*
 * unwind_tables_test.c - reading .eh_frame and keeping its rules, also when it is corrupt.
 *
 * Runs in:    a test process
 * Threads:    one
 * Allocates:  freely, outside the code under test
 * Fails:      as cmocka does; an overrun of the tables hits an unreadable page
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unwind.h>

#include "unwind/unwind.h"
#include "unwind/unwind_cache.h"
#include "unwind/unwind_cfi.h"
#include "unwind/unwind_expr.h"
#include "unwind/unwind_image.h"
#include "unwind/unwind_rule.h"

enum { PAGE = 4096, CORRUPTIONS = 8000 };

static uint64_t random_state = 0x9e3779b97f4a7c15U;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* A return address inside libc: that of the frame which called main(). */
static uintptr_t libc_pc;

static _Unwind_Reason_Code find_caller_of_main(struct _Unwind_Context *context, void *argument)
{
    uintptr_t *const last_two = argument;
    const uintptr_t pc = _Unwind_GetIP(context);

    if (pc != 0) {
        last_two[1] = last_two[0];
        last_two[0] = pc;
    }
    return _URC_NO_REASON;
}

static int find_libc(void **state)
{
    uintptr_t last_two[2] = {0, 0}; /* [0] is _start, [1] is __libc_start_main */

    (void)state;
    _Unwind_Backtrace(find_caller_of_main, last_two);
    libc_pc = last_two[1];
    return 0;
}

static uint64_t packed(enum rtd_unwind_kind kind, int32_t cfa, int32_t rbp)
{
    const struct rtd_unwind_rule rule = {
        .kind = kind, .cfa_offset_bytes = cfa, .rbp_offset_bytes = rbp};
    return rtd_unwind_rule_pack(&rule);
}

static void rule_survives_packing(void **state)
{
    uint64_t entry = packed(RTD_UNWIND_KIND_RSP, 65528, -56);

    (void)state;
    assert_int_equal(rtd_unwind_entry_kind(entry), RTD_UNWIND_KIND_RSP);
    assert_int_equal(rtd_unwind_entry_cfa_words(entry), 65528 / 8);
    assert_int_equal(rtd_unwind_entry_rbp_words(entry), -7);
    assert_int_equal(entry & RTD_UNWIND_KEY_MASK, 0);

    entry = packed(RTD_UNWIND_KIND_RSP, 65536, -56);
    assert_int_equal(rtd_unwind_entry_kind(entry), RTD_UNWIND_KIND_RSP_WIDE);
    assert_int_equal(rtd_unwind_entry_wide_cfa_words(entry), 65536 / 8);
    assert_int_equal(rtd_unwind_entry_wide_rbp_words(entry), -7);

    entry = packed(RTD_UNWIND_KIND_RSP, 16, RTD_UNWIND_RBP_LOST);
    assert_int_equal(rtd_unwind_entry_kind(entry), RTD_UNWIND_KIND_RSP_WIDE);
    assert_int_equal(rtd_unwind_entry_wide_rbp_words(entry), RTD_UNWIND_WIDE_RBP_LOST_WORDS);

    entry = packed(RTD_UNWIND_KIND_DEREF, -24, RTD_UNWIND_RBP_AT_RBP);
    assert_int_equal(rtd_unwind_entry_kind(entry), RTD_UNWIND_KIND_DEREF);
    assert_int_equal(rtd_unwind_entry_signed_cfa_words(entry), -3);
}

static void rule_that_does_not_fit_is_none(void **state)
{
    (void)state;
    assert_int_equal(rtd_unwind_entry_kind(packed(RTD_UNWIND_KIND_RSP, 0, 0)),
                     RTD_UNWIND_KIND_NONE);
    assert_int_equal(rtd_unwind_entry_kind(packed(RTD_UNWIND_KIND_RSP, 12, 0)),
                     RTD_UNWIND_KIND_NONE);
    assert_int_equal(rtd_unwind_entry_kind(packed(RTD_UNWIND_KIND_RSP, -8, 0)),
                     RTD_UNWIND_KIND_NONE);
    assert_int_equal(rtd_unwind_entry_kind(packed(RTD_UNWIND_KIND_RSP, 1 << 20, 0)),
                     RTD_UNWIND_KIND_NONE);
    assert_int_equal(rtd_unwind_entry_kind(packed(RTD_UNWIND_KIND_RBP, 65536, 0)),
                     RTD_UNWIND_KIND_NONE);
}

static void expression_of_the_lazy_plt_depends_on_the_pc(void **state)
{
    /* breg7 8; breg16 0; lit15; and; lit11; ge; lit3; shl; plus - as GNU ld writes it. */
    static const uint8_t code[] = {11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22};
    struct rtd_unwind_linear value;

    (void)state;
    assert_int_equal(rtd_unwind_expr_eval(code, code + sizeof(code), 0x1000, &value), 0);
    assert_int_equal(value.offset, 8);
    assert_int_equal(rtd_unwind_expr_eval(code, code + sizeof(code), 0x100b, &value), 0);
    assert_int_equal(value.offset, 16);
    assert_int_equal(value.reg, RTD_UNWIND_REG_RSP);
    assert_false(value.is_deref);
    for (size_t size = 0; size < sizeof(code); size++) {
        assert_true(rtd_unwind_expr_eval(code, code + size, 0x1000, &value) < 0);
    }
}

/* A copy of an object's table segment with an unreadable page on either side. */
struct copied_image {
    uint8_t *map;
    size_t map_bytes;
    const uint8_t *origin;
    size_t bytes;
    struct rtd_unwind_image image;
};

/* A whole segment holds red zones of a sanitizer too; volatile keeps the loop from being memcpy().
 */
__attribute__((no_sanitize("address"))) static void copy_bytes(uint8_t *to, const uint8_t *from,
                                                               size_t size)
{
    for (size_t i = 0; i < size; i++) {
        to[i] = *(const volatile uint8_t *)(from + i);
    }
}

static void copy_image(uintptr_t pc, struct copied_image *copy)
{
    struct rtd_unwind_image image;

    assert_int_equal(rtd_unwind_image_find(pc, &image), 0);
    copy->origin = image.low;
    copy->bytes = (size_t)(image.high - image.low);
    const size_t inner = (copy->bytes + PAGE - 1) / PAGE * PAGE;
    copy->map_bytes = inner + 2 * (size_t)PAGE;
    copy->map = mmap(NULL, copy->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(copy->map, MAP_FAILED);
    assert_int_equal(mprotect(copy->map + PAGE, inner, PROT_READ | PROT_WRITE), 0);
    /* Flush with the upper guard, where most overruns would go. */
    uint8_t *const low = copy->map + PAGE + (inner - copy->bytes);
    copy_bytes(low, image.low, copy->bytes);
    copy->image = (struct rtd_unwind_image){
        .low = low, .high = low + copy->bytes, .header = low + (image.header - image.low)};
}

/* A pc that the copy believes to be code: the tables are relative, so all moves together. */
static uintptr_t random_pc(const struct copied_image *copy)
{
    uint32_t count;
    int32_t delta;

    memcpy(&count, copy->origin + (copy->image.header - copy->image.low) + 8, 4);
    const size_t row = (size_t)(random_next() % count);
    memcpy(&delta, copy->origin + (copy->image.header - copy->image.low) + 12 + row * 8, 4);
    return (uintptr_t)copy->image.header + (uintptr_t)(intptr_t)delta + random_next() % 64;
}

static void corrupt_and_run(struct copied_image *copy)
{
    struct rtd_unwind_program program;
    struct rtd_unwind_rule rule;
    size_t places[8];
    uint8_t *const low = copy->map + (copy->image.low - copy->map);
    const uintptr_t pc = random_pc(copy);
    size_t near = (size_t)(copy->image.header - copy->image.low);

    if (rtd_unwind_image_lookup(&copy->image, pc, &program) == 0) {
        /* Half of the flips hit the CIE, half the FDE, some of them the header. */
        const uint64_t choice = random_next() % 8;
        if (choice < 7) {
            near = (size_t)((choice < 3 ? program.initial : program.body) - copy->image.low) - 24;
        }
    }
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(places); i++) {
        places[i] = (near + random_next() % 64) % copy->bytes;
        low[places[i]] = random_next() % 4 == 0 ? 0xff : (uint8_t)random_next();
        if (rtd_unwind_image_lookup(&copy->image, pc, &program) == 0) {
            rtd_unwind_cfi_run(&copy->image, &program, pc, &rule);
            (void)rtd_unwind_rule_pack(&rule);
        }
    }
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(places); i++) {
        low[places[i]] = copy->origin[places[i]];
    }
}

static void corrupted_tables_never_fault(void **state)
{
    /* This program, libgcc, and libc. */
    const uintptr_t inside[] = {(uintptr_t)&random_next, (uintptr_t)&_Unwind_Backtrace, libc_pc};

    (void)state;
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(inside); i++) {
        struct copied_image copy;
        copy_image(inside[i], &copy);
        for (unsigned round = 0; round < CORRUPTIONS; round++) {
            corrupt_and_run(&copy);
        }
        munmap(copy.map, copy.map_bytes);
    }
}

static void truncated_tables_never_fault(void **state)
{
    struct copied_image copy;
    struct rtd_unwind_program program;
    struct rtd_unwind_rule rule;

    (void)state;
    copy_image((uintptr_t)&random_next, &copy);
    /* Some 8192 cuts: every one costs a copy, and a sanitizer's runtime has large tables. */
    const size_t stride = 1 + copy.bytes / 8192;
    for (size_t bytes = 0; bytes <= copy.bytes; bytes += stride) {
        /* The copy moves towards the guard, so that its cut end is the guard. */
        uint8_t *const high = copy.map + copy.map_bytes - PAGE;
        uint8_t *const low = high - bytes;
        const size_t header = (size_t)(copy.image.header - copy.image.low);
        if (header >= bytes) {
            continue;
        }
        copy_bytes(low, copy.origin, bytes);
        const struct rtd_unwind_image cut = {.low = low, .high = high, .header = low + header};
        int32_t delta = 0;
        if (bytes >= header + 16) {
            memcpy(&delta, low + header + 12, 4);
        }
        const uintptr_t pc = (uintptr_t)cut.header + (uintptr_t)(intptr_t)delta + 4;
        if (rtd_unwind_image_lookup(&cut, pc, &program) == 0) {
            rtd_unwind_cfi_run(&cut, &program, pc, &rule);
        }
    }
    munmap(copy.map, copy.map_bytes);
}

/* What the tables say about a key, without the cache. */
static uint64_t uncached(uintptr_t key)
{
    struct rtd_unwind_image image;
    struct rtd_unwind_program program;
    struct rtd_unwind_rule rule = {.kind = RTD_UNWIND_KIND_NONE};

    assert_int_equal(rtd_unwind_image_find(key - 1, &image), 0);
    if (rtd_unwind_image_lookup(&image, key - 1, &program) == 0) {
        rtd_unwind_cfi_run(&image, &program, key - 1, &rule);
    }
    return rtd_unwind_rule_pack(&rule);
}

static void rules_stay_right_when_many_pcs_want_one_place(void **state)
{
    enum { KEYS = 12, STRIDE = 1 << RTD_UNWIND_PLACE_BITS };
    uintptr_t keys[KEYS];

    (void)state;
    /* libc's text has more than a megabyte: keys with equal low bits, three times the ways. */
    for (unsigned i = 0; i < KEYS; i++) {
        keys[i] = libc_pc + i * (uintptr_t)STRIDE;
    }
    for (unsigned round = 0; round < 20000; round++) {
        const uintptr_t key = keys[random_next() % KEYS] + random_next() % 8;
        const uint64_t entry =
            rtd_unwind_cache_find(key, atomic_load(&rtd_unwind_cache_generation));
        assert_int_equal(entry & ~RTD_UNWIND_KEY_MASK, uncached(key));
    }
}

static unsigned used_places(void)
{
    unsigned used = 0;

    for (size_t i = 0; i < RTD_ARRAY_LENGTH(rtd_unwind_cache_places); i++) {
        used += atomic_load(&rtd_unwind_cache_places[i]) != 0;
    }
    return used;
}

static void rule_computed_before_a_flush_is_not_published(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        rtd_unwind_flush();
    }
    assert_int_equal(used_places(), 0);
    const uint64_t now = atomic_load(&rtd_unwind_cache_generation);
    /* One flush ago, and as many as the five bits in an entry can tell apart. */
    rtd_unwind_cache_find(libc_pc, now - 1);
    rtd_unwind_cache_find(libc_pc, now - 32);
    assert_int_equal(used_places(), 0);
    rtd_unwind_cache_find(libc_pc, now);
    assert_int_equal(used_places(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rule_survives_packing),
        cmocka_unit_test(rule_that_does_not_fit_is_none),
        cmocka_unit_test(expression_of_the_lazy_plt_depends_on_the_pc),
        cmocka_unit_test(corrupted_tables_never_fault),
        cmocka_unit_test(truncated_tables_never_fault),
        cmocka_unit_test(rules_stay_right_when_many_pcs_want_one_place),
        cmocka_unit_test(rule_computed_before_a_flush_is_not_published),
    };
    return cmocka_run_group_tests(tests, find_libc, NULL);
}
