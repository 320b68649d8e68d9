// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_storm_test.c - many writers and a reader at once, on the agent's own writer.
 *
 * Runs in:    tests, also under the thread sanitizer
 * Threads:    WRITERS writers, one reader
 * Allocates:  one ledger
 * Fails:      by cmocka assertions
 *
 * Each event belongs to one of PATTERNS call stacks; the size of a block and the innermost pc name
 * the pattern, so that any mixture of two records shows.
 */
#include "base/base_math.h"
#include "ledger/ledger_create.h"
#include "ledger/ledger_reader.h"
#include "ledger/ledger_writer.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WRITERS = 4, EVENTS = 20000, PATTERNS = 97, INTERVAL = 4096, KEPT_EVERY = 10 };

static const char *const component_names[] = {"alpha", "beta", "gamma"};

struct writer {
    struct rtd_ledger *ledger;
    uint32_t number;
    _Atomic uint32_t *running;
    unsigned failures; /* assertions belong to the main thread */
};

static uint32_t pattern_of(uint32_t writer, uint32_t event)
{
    uint64_t state = (uint64_t)writer << 32 | event;
    return (uint32_t)(rtd_random_next(&state) % PATTERNS);
}

static uint64_t size_of(uint32_t pattern)
{
    return 100 + pattern;
}

static uint64_t address_of(uint32_t writer, uint32_t event)
{
    return UINT64_C(0x100000) + 16 * ((uint64_t)writer * EVENTS + event);
}

/* Outermost frames are shared, the innermost names the pattern. */
static uint32_t insert_stack(struct rtd_ledger *ledger, uint32_t pattern)
{
    uint32_t node = rtd_node_root(pattern % 2, false);
    bool added;

    for (uint32_t depth = 0; depth < 5 && node != RTD_NONE; depth++) {
        node =
            rtd_node_insert(ledger, node, 0x1000 * (depth + 1) + pattern % (depth * 3 + 1), &added);
    }
    return node == RTD_NONE ? node : rtd_node_insert(ledger, node, 0x900000 + pattern, &added);
}

static void write_event(struct writer *writer, uint32_t event)
{
    struct rtd_ledger *const ledger = writer->ledger;
    const uint32_t pattern = pattern_of(writer->number, event);
    const uint32_t stack = insert_stack(ledger, pattern);
    const uint32_t tag = rtd_tag_insert(ledger, component_names[pattern % 3], "storm");
    const uint32_t site = rtd_site_insert(ledger, stack, tag);
    const struct rtd_site_event figures = {size_of(pattern), INTERVAL, event, event % 1000};
    const struct rtd_sample_value value = {size_of(pattern), INTERVAL, site, writer->number + 1,
                                           event};
    const uint64_t address = address_of(writer->number, event);
    struct rtd_sample_value taken;

    writer->failures += stack == RTD_NONE || tag == RTD_TAG_OTHER || site == RTD_SITE_OVERFLOW;
    rtd_site_birth(ledger, site, &figures);
    writer->failures += rtd_sample_insert(ledger, address, &value) != RTD_SAMPLE_STORED;
    if (event % KEPT_EVERY != 0) {
        writer->failures += !rtd_sample_take(ledger, address, &taken);
        writer->failures += taken.size != value.size || taken.site != site;
        rtd_site_death(ledger, taken.site, &figures);
    }
}

static void *write_events(void *argument)
{
    struct writer *const writer = argument;
    const uint32_t block = rtd_thread_claim(writer->ledger, writer->number + 1, writer->number);

    for (uint32_t event = 0; event < EVENTS; event++) {
        write_event(writer, event);
        atomic_fetch_add_explicit(&writer->ledger->threads[block].allocated_bytes, 10,
                                  memory_order_relaxed);
    }
    atomic_fetch_sub(writer->running, 1);
    return NULL;
}

/* The pattern of a site by its stack; every stack that a site names must be whole. */
static uint32_t site_pattern(const struct rtd_image *image, const struct rtd_image_site *site)
{
    struct rtd_image_stack stack;

    rtd_image_stack_get(image, site->stack, &stack);
    assert_int_equal(stack.pc_count, 6);
    assert_in_range(stack.pcs[0], 0x900000, 0x900000 + PATTERNS - 1);
    const uint32_t pattern = (uint32_t)(stack.pcs[0] - 0x900000);
    assert_int_equal(stack.generation, pattern % 2);
    assert_string_equal(image->tags[site->tag].component, component_names[pattern % 3]);
    return pattern;
}

/* What must hold in every image, however it was caught. */
static void check_image(const struct rtd_image *image)
{
    for (uint32_t i = 1; i < image->site_count; i++) {
        (void)site_pattern(image, &image->sites[i]);
        assert_true(image->sites[i].deaths <= image->sites[i].births);
    }
    for (uint32_t i = 0; i < image->sample_count; i++) {
        const struct rtd_image_sample *const sample = &image->samples[i];
        const uint32_t event = (uint32_t)((sample->address - 0x100000) / 16 % EVENTS);
        const uint32_t writer = (uint32_t)((sample->address - 0x100000) / 16 / EVENTS);
        const uint32_t pattern = pattern_of(writer, event);
        assert_int_equal(sample->size, size_of(pattern));
        assert_int_equal(sample->thread, writer + 1);
        assert_int_equal(sample->birth_ms, event);
        assert_int_equal(site_pattern(image, &image->sites[sample->site]), pattern);
    }
}

struct totals {
    uint64_t births[PATTERNS], deaths[PATTERNS], live[PATTERNS];
    double birth_bytes[PATTERNS];
};

static void plan_totals(struct totals *totals)
{
    for (uint32_t writer = 0; writer < WRITERS; writer++) {
        for (uint32_t event = 0; event < EVENTS; event++) {
            const uint32_t pattern = pattern_of(writer, event);
            totals->births[pattern]++;
            totals->birth_bytes[pattern] += (double)rtd_sample_weight(size_of(pattern), INTERVAL);
            totals->deaths[pattern] += event % KEPT_EVERY != 0;
            totals->live[pattern] += event % KEPT_EVERY == 0;
        }
    }
}

static void image_totals(const struct rtd_image *image, struct totals *totals)
{
    for (uint32_t i = 1; i < image->site_count; i++) {
        const uint32_t pattern = site_pattern(image, &image->sites[i]);
        totals->births[pattern] += image->sites[i].births;
        totals->deaths[pattern] += image->sites[i].deaths;
        totals->birth_bytes[pattern] += image->sites[i].birth_bytes;
    }
    for (uint32_t i = 0; i < image->sample_count; i++) {
        totals->live[site_pattern(image, &image->sites[image->samples[i].site])]++;
    }
}

static void last_image_equals_the_plan_whatever_the_threads_did(void **state)
{
    (void)state;
    const struct rtd_ledger_options options = {
        .mode = RTD_MODE_SAMPLE, .interval_bytes = INTERVAL, .seed = 1, .session = 1};
    struct rtd_ledger_handle handle;
    _Atomic uint32_t running = WRITERS;
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    struct rtd_image *const image = rtd_image_new();
    static struct totals wanted, found;
    unsigned reads = 0;

    assert_int_equal(rtd_ledger_create(&options, &handle), 0);
    rtd_ledger_tick(handle.ledger, 100000);
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){handle.ledger, i, &running, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, write_events, &writers[i]), 0);
    }
    while (atomic_load(&running) != 0) {
        assert_int_equal(rtd_image_read(image, handle.ledger), 0);
        check_image(image);
        reads++;
    }
    for (uint32_t i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(writers[i].failures, 0);
    }
    assert_int_equal(rtd_image_read(image, handle.ledger), 0);
    check_image(image);
    assert_int_equal(image->rejected, 0);
    assert_int_equal(image->counted_bytes, 10 * WRITERS * EVENTS);
    plan_totals(&wanted);
    image_totals(image, &found);
    assert_memory_equal(&wanted, &found, sizeof(wanted));
    print_message("%u reads beside %d writers\n", reads, WRITERS);
    rtd_image_free(image);
    rtd_ledger_close(&handle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(last_image_equals_the_plan_whatever_the_threads_did),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
