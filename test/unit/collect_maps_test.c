// SPDX-License-Identifier: Apache-2.0
/*
 * collect_maps_test.c - the ring of mapping events as the collector reads it, honest and not.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  one ledger
 * Fails:      by a failed assertion
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base_math.h"
#include "collect/collect_maps.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, PRIVATE = MAP_PRIVATE | MAP_ANONYMOUS };

#define BASE      UINT64_C(0x7f0000000000)
#define SECOND_NS UINT64_C(1000000000)

struct fixture {
    struct rtd_ledger *ledger;
    struct rtd_collect_maps state;
    struct rtd_mappings seen;
};

static int set_up(void **state)
{
    struct fixture *const fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    fixture->ledger = calloc(1, sizeof(*fixture->ledger));
    assert_non_null(fixture->ledger);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *const fixture = *state;

    rtd_collect_maps_fini(&fixture->state);
    rtd_mappings_fini(&fixture->seen);
    free(fixture->ledger);
    free(fixture);
    return 0;
}

static void publish(struct fixture *fixture, struct rtd_map_value event)
{
    assert_true(rtd_map_publish(fixture->ledger, rtd_map_ticket(fixture->ledger), &event));
}

static void add(struct fixture *fixture, uint64_t address, uint64_t length, uint64_t flags)
{
    publish(fixture, (struct rtd_map_value){.kind = RTD_MAP_ADD,
                                            .stack = 3000,
                                            .address = address,
                                            .length = length,
                                            .flags = flags});
}

/* Reads what is there and takes the figures over. */
static const struct rtd_mappings *look(struct fixture *fixture, uint64_t now_ns, bool last)
{
    rtd_collect_maps_drain(&fixture->state, fixture->ledger, now_ns, last);
    assert_int_equal(rtd_collect_maps_publish(&fixture->state, &fixture->seen), 0);
    return &fixture->seen;
}

static void sizes_are_what_the_kernel_maps(void **state)
{
    struct fixture *const fixture = *state;

    add(fixture, BASE, 1, PRIVATE);
    add(fixture, BASE + (1 << 24), 1, PRIVATE | MAP_HUGETLB);
    add(fixture, BASE + (1 << 30), 1, PRIVATE | MAP_HUGETLB | 30 << MAP_HUGE_SHIFT);
    add(fixture, BASE - 100, 5, RTD_MAP_BREAK);
    assert_int_equal(look(fixture, 1, false)->total.live_bytes, PAGE + (2 << 20) + (1 << 30) + 5);
}

static void a_moved_mapping_keeps_its_kind(void **state)
{
    struct fixture *const fixture = *state;

    add(fixture, BASE, 4 * PAGE, MAP_SHARED);
    publish(fixture, (struct rtd_map_value){.kind = RTD_MAP_REMOVE,
                                            .address = BASE,
                                            .length = 4 * PAGE,
                                            .flags = RTD_MAP_MOVING});
    publish(fixture, (struct rtd_map_value){.kind = RTD_MAP_MOVE,
                                            .stack = 3001,
                                            .address = BASE + 64 * PAGE,
                                            .length = 9 * PAGE,
                                            .old_address = BASE,
                                            .old_length = 4 * PAGE});
    const struct rtd_mappings *const seen = look(fixture, 1, false);
    assert_int_equal(seen->site_count, 2);
    assert_int_equal(seen->sites[0].figures.live_bytes, 0);
    assert_int_equal(seen->sites[1].kind, RTD_MAPPING_SHARED_FILE);
    assert_int_equal(seen->sites[1].figures.live_bytes, 9 * PAGE);
}

static void an_event_is_waited_for_but_not_for_ever(void **state)
{
    struct fixture *const fixture = *state;

    (void)rtd_map_ticket(fixture->ledger); /* its writer never comes back */
    add(fixture, BASE, PAGE, PRIVATE);
    assert_int_equal(look(fixture, SECOND_NS, false)->total.live_bytes, 0);
    assert_int_equal(look(fixture, 2 * SECOND_NS, false)->total.live_bytes, 0);
    assert_int_equal(look(fixture, 4 * SECOND_NS, false)->total.live_bytes, PAGE);
    assert_int_equal(fixture->seen.unseen, 1);
    assert_int_equal(fixture->ledger->header.loss[RTD_LOSS_MAPS_UNSEEN], 1);
}

static void of_a_dead_process_nothing_is_waited_for(void **state)
{
    struct fixture *const fixture = *state;

    (void)rtd_map_ticket(fixture->ledger);
    add(fixture, BASE, PAGE, PRIVATE);
    assert_int_equal(look(fixture, SECOND_NS, true)->total.live_bytes, PAGE);
    assert_int_equal(fixture->seen.unseen, 1);
}

static void a_failed_call_changes_nothing(void **state)
{
    struct fixture *const fixture = *state;

    add(fixture, BASE, PAGE, PRIVATE);
    publish(fixture, (struct rtd_map_value){.kind = RTD_MAP_NONE, .address = BASE});
    assert_int_equal(look(fixture, 1, false)->total.live_bytes, PAGE);
    assert_int_equal(fixture->seen.refused, 0);
}

static void what_was_overwritten_is_counted(void **state)
{
    struct fixture *const fixture = *state;

    for (uint64_t i = 0; i < 5000; i++)
        add(fixture, BASE + i * PAGE, PAGE, PRIVATE);
    const struct rtd_mappings *const seen = look(fixture, 1, false);
    assert_int_equal(seen->events, RTD_MAP_COUNT);
    assert_int_equal(seen->unseen, 5000 - RTD_MAP_COUNT);
    assert_int_equal(seen->total.live_bytes, (uint64_t)RTD_MAP_COUNT * PAGE);
}

/* This process stands for the target: some of what is claimed is mapped, some is not. */
static void a_loss_is_put_right_from_what_the_kernel_lists(void **state)
{
    struct fixture *const fixture = *state;
    char *const real = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, PRIVATE, -1, 0);

    assert_ptr_not_equal(real, MAP_FAILED);
    assert_int_equal(munmap(real + 3 * PAGE, PAGE), 0);
    fixture->ledger->header.allocator_module_start = (uint64_t)(uintptr_t)&getpid;
    fixture->ledger->header.map_events = RTD_MAP_COUNT; /* so many were lost */
    add(fixture, (uint64_t)(uintptr_t)real, 8 * PAGE, PRIVATE);
    add(fixture, 65536, PAGE, PRIVATE);
    add(fixture, (uint64_t)(uintptr_t)&getpid & ~UINT64_C(4095), PAGE, PRIVATE);
    fixture->state.next = 1;
    (void)look(fixture, SECOND_NS, true);
    assert_int_equal(fixture->seen.total.live_bytes, 10 * PAGE);
    assert_true(fixture->seen.unseen > 0);
    rtd_collect_maps_correct(&fixture->state, fixture->ledger, getpid(), SECOND_NS);
    (void)look(fixture, SECOND_NS, true);
    assert_int_equal(fixture->seen.total.live_bytes, 7 * PAGE);
    assert_int_equal(fixture->seen.corrected_bytes, 3 * PAGE);
    assert_int_equal(fixture->seen.corrections, 1);
    /* Not again before ten seconds are over. */
    fixture->ledger->header.map_events += 2 * RTD_MAP_COUNT;
    (void)look(fixture, 2 * SECOND_NS, true);
    rtd_collect_maps_correct(&fixture->state, fixture->ledger, getpid(), 9 * SECOND_NS);
    assert_int_equal(look(fixture, 9 * SECOND_NS, true)->corrections, 1);
    rtd_collect_maps_correct(&fixture->state, fixture->ledger, getpid(), 12 * SECOND_NS);
    assert_int_equal(look(fixture, 12 * SECOND_NS, true)->corrections, 2);
    munmap(real, 8 * PAGE);
}

static void another_program_under_the_same_pid_corrects_nothing(void **state)
{
    struct fixture *const fixture = *state;

    fixture->ledger->header.allocator_module_start = 4096; /* nowhere in this one */
    fixture->ledger->header.map_events = RTD_MAP_COUNT;
    add(fixture, 65536, PAGE, PRIVATE);
    fixture->state.next = 1;
    (void)look(fixture, SECOND_NS, true);
    rtd_collect_maps_correct(&fixture->state, fixture->ledger, getpid(), SECOND_NS);
    assert_int_equal(look(fixture, SECOND_NS, true)->total.live_bytes, PAGE);
}

/* Whatever stands in the ring: sums stay sums, and nothing is beyond the address space. */
static void any_bytes_in_the_ring_are_survived(void **state)
{
    struct fixture *const fixture = *state;
    uint64_t random = 7;

    for (uint64_t round = 1; round <= 300; round++) {
        uint64_t *const words = (uint64_t *)(void *)fixture->ledger->maps;
        const size_t count = sizeof(fixture->ledger->maps) / (sizeof(words[0]));
        for (size_t i = 0; i < count; i++)
            words[i] = rtd_random_next(&random) >> (rtd_random_next(&random) % 64);
        uint64_t head = fixture->state.next + rtd_random_next(&random) % (2 * RTD_MAP_COUNT);
        if (round % 40 == 0)
            head = rtd_random_next(&random);
        fixture->ledger->header.map_events = head;
        for (uint64_t i = 0; i < RTD_MAP_COUNT && i < head; i += 2) {
            struct rtd_map_event *const entry =
                &fixture->ledger->maps[(head - 1 - i) % RTD_MAP_COUNT];
            entry->sequence = head - i;
            entry->kind %= 5;
            entry->tag %= RTD_TAG_COUNT + 1;
        }
        const struct rtd_mappings *const seen = look(fixture, round * SECOND_NS, round % 2 == 0);
        uint64_t live = 0;
        for (uint32_t i = 0; i < seen->site_count; i++) {
            live += seen->sites[i].figures.live_bytes;
            assert_true(seen->sites[i].tag < RTD_TAG_COUNT);
            assert_true(seen->sites[i].kind < RTD_MAPPING_KINDS);
        }
        assert_int_equal(live, seen->total.live_bytes);
        assert_true(live <= RTD_MAPPING_ADDRESS_LIMIT);
    }
    assert_true(fixture->seen.events > 1000);
    assert_true(fixture->seen.refused > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sizes_are_what_the_kernel_maps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_moved_mapping_keeps_its_kind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_event_is_waited_for_but_not_for_ever, set_up, tear_down),
        cmocka_unit_test_setup_teardown(of_a_dead_process_nothing_is_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failed_call_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_overwritten_is_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_loss_is_put_right_from_what_the_kernel_lists, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(another_program_under_the_same_pid_corrects_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(any_bytes_in_the_ring_are_survived, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
