// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_maps_test.c - the ring of mapping events under many writers.
 *
 * Runs in:    tests
 * Threads:    eight writers and a reader
 * Allocates:  one ledger
 * Fails:      by a failed assertion
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ledger/ledger_maps.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

enum { WRITERS = 8, EVENTS = 40000 };

struct writer {
    pthread_t thread;
    struct rtd_ledger *ledger;
    uint32_t number;
    uint64_t dropped;
};

/* Every field follows from two numbers, so that a mixture of two events shows. */
static struct rtd_map_value event_of(uint32_t writer, uint32_t index)
{
    return (struct rtd_map_value){
        .kind = RTD_MAP_ADD,
        .stack = writer,
        .tag = index,
        .time_ms = writer ^ index,
        .address = (uint64_t)index * 7 + writer,
        .length = (uint64_t)index * 11 + writer,
        .old_address = ~((uint64_t)index * 13 + writer),
        .old_length = (uint64_t)index << 32 | writer,
        .flags = (uint64_t)writer << 32 | index,
    };
}

static bool is_whole(const struct rtd_map_value *seen)
{
    const struct rtd_map_value made = event_of(seen->stack, seen->tag);

    return seen->kind == made.kind && seen->time_ms == made.time_ms &&
           seen->address == made.address && seen->length == made.length &&
           seen->old_address == made.old_address && seen->old_length == made.old_length &&
           seen->flags == made.flags;
}

static void *write_events(void *context)
{
    struct writer *const writer = context;

    for (uint32_t i = 0; i < EVENTS; i++) {
        const struct rtd_map_value event = event_of(writer->number, i);
        const uint64_t ticket = rtd_map_ticket(writer->ledger);
        if (i % 64 == 0)
            sched_yield(); /* between ticket and event, as munmap() is */
        if (!rtd_map_publish(writer->ledger, ticket, &event))
            writer->dropped++;
    }
    return NULL;
}

struct reading {
    uint64_t next, done, lost;
    uint32_t newest[WRITERS]; /* 1 + index of the newest event of each */
};

static void read_events(const struct rtd_ledger *ledger, struct reading *reading)
{
    const uint64_t count = rtd_map_count(ledger);

    if (count - reading->next > RTD_MAP_COUNT) {
        reading->lost += count - reading->next - RTD_MAP_COUNT;
        reading->next = count - RTD_MAP_COUNT;
    }
    for (; reading->next < count; reading->next++) {
        struct rtd_map_value seen;
        const enum rtd_map_read result = rtd_map_read(ledger, reading->next, &seen);
        if (result == RTD_MAP_READ_PENDING)
            return;
        if (result == RTD_MAP_READ_LOST) {
            reading->lost++;
            continue;
        }
        assert_true(is_whole(&seen));
        assert_true(seen.stack < WRITERS);
        assert_true(seen.tag >= reading->newest[seen.stack]);
        reading->newest[seen.stack] = seen.tag + 1;
        reading->done++;
    }
}

static void eight_writers_never_show_a_torn_or_misplaced_event(void **state)
{
    struct rtd_ledger *const ledger = calloc(1, sizeof(*ledger));
    struct writer writers[WRITERS] = {0};
    struct reading reading = {0};
    uint64_t dropped = 0;

    (void)state;
    assert_non_null(ledger);
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i].ledger = ledger;
        writers[i].number = i;
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_events, &writers[i]), 0);
    }
    while (rtd_map_count(ledger) < (uint64_t)WRITERS * EVENTS)
        read_events(ledger, &reading);
    for (uint32_t i = 0; i < WRITERS; i++) {
        (void)pthread_join(writers[i].thread, NULL);
        dropped += writers[i].dropped;
    }
    read_events(ledger, &reading);
    /* An entry whose writer came too late stays as it was: from there on one by one. */
    for (; reading.next < rtd_map_count(ledger); reading.next++, reading.lost++)
        read_events(ledger, &reading);
    assert_true(reading.done > 0);
    assert_true(dropped <= reading.lost);
    assert_int_equal(reading.done + reading.lost, (uint64_t)WRITERS * EVENTS);
    free(ledger);
}

static void an_event_is_pending_until_it_is_published(void **state)
{
    struct rtd_ledger *const ledger = calloc(1, sizeof(*ledger));
    const struct rtd_map_value made = event_of(1, 2);
    struct rtd_map_value seen;

    (void)state;
    const uint64_t first = rtd_map_ticket(ledger);
    const uint64_t second = rtd_map_ticket(ledger);
    assert_true(rtd_map_publish(ledger, second, &made));
    assert_int_equal(rtd_map_read(ledger, first, &seen), RTD_MAP_READ_PENDING);
    assert_int_equal(rtd_map_read(ledger, second, &seen), RTD_MAP_READ_DONE);
    assert_true(rtd_map_publish(ledger, first, &made));
    assert_int_equal(rtd_map_read(ledger, first, &seen), RTD_MAP_READ_DONE);
    assert_true(is_whole(&seen));
    free(ledger);
}

static void a_writer_that_is_a_whole_ring_late_drops_its_event(void **state)
{
    struct rtd_ledger *const ledger = calloc(1, sizeof(*ledger));
    const struct rtd_map_value made = event_of(1, 2);
    const struct rtd_map_value late = event_of(3, 4);
    struct rtd_map_value seen;

    (void)state;
    const uint64_t first = rtd_map_ticket(ledger);
    for (int i = 0; i < RTD_MAP_COUNT; i++)
        assert_true(rtd_map_publish(ledger, rtd_map_ticket(ledger), &made));
    assert_false(rtd_map_publish(ledger, first, &late));
    assert_int_equal(rtd_map_read(ledger, first, &seen), RTD_MAP_READ_LOST);
    assert_int_equal(rtd_map_read(ledger, first + RTD_MAP_COUNT, &seen), RTD_MAP_READ_DONE);
    assert_int_equal(seen.stack, 1);
    free(ledger);
}

static void an_entry_whose_writer_died_is_left_alone(void **state)
{
    struct rtd_ledger *const ledger = calloc(1, sizeof(*ledger));
    const struct rtd_map_value made = event_of(1, 2);
    struct rtd_map_value seen;

    (void)state;
    const uint64_t ticket = rtd_map_ticket(ledger);
    atomic_store(&ledger->maps[ticket].sequence, RTD_MAP_BUSY | (ticket + 1));
    assert_int_equal(rtd_map_read(ledger, ticket, &seen), RTD_MAP_READ_PENDING);
    assert_false(rtd_map_publish(ledger, ticket + RTD_MAP_COUNT, &made));
    assert_int_equal(rtd_map_read(ledger, ticket + RTD_MAP_COUNT, &seen), RTD_MAP_READ_PENDING);
    free(ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_writers_never_show_a_torn_or_misplaced_event),
        cmocka_unit_test(an_event_is_pending_until_it_is_published),
        cmocka_unit_test(a_writer_that_is_a_whole_ring_late_drops_its_event),
        cmocka_unit_test(an_entry_whose_writer_died_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
