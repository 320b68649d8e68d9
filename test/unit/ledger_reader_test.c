// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_reader_test.c - what the reader takes from a ledger, and what it does not.
 *
 * Runs in:    tests
 * Threads:    one more, which scribbles
 * Allocates:  ledgers in plain memory
 * Fails:      by cmocka assertions
 */
#include "base/base_math.h"
#include "ledger/ledger_reader.h"
#include "ledger/ledger_validity.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* Where the hand-written ledger has its things. */
enum { LEAF = 5000, MIDDLE = 9000, OUTER = 2048, SITE = 77, BUCKET = 9, SLOT = 6 };

static struct rtd_ledger *written_ledger(void)
{
    struct rtd_ledger *const ledger = calloc(1, sizeof(*ledger));

    assert_non_null(ledger);
    ledger->header.magic = RTD_LEDGER_MAGIC;
    ledger->header.version = RTD_LEDGER_VERSION;
    ledger->header.header_bytes = RTD_HEADER_BYTES;
    ledger->header.total_bytes = RTD_LEDGER_BYTES;
    ledger->header.mode = RTD_MODE_SAMPLE;
    ledger->header.session = 5;
    atomic_store(&ledger->header.interval_bytes, 1000);
    atomic_store(&ledger->header.clock_ms, 5000);
    atomic_store(&ledger->nodes[OUTER], (UINT64_C(7) << RTD_PC_BITS) | 0x1000);
    atomic_store(&ledger->nodes[MIDDLE], ((uint64_t)OUTER << RTD_PC_BITS) | 0x2000);
    atomic_store(&ledger->nodes[LEAF], ((uint64_t)MIDDLE << RTD_PC_BITS) | 0x3000);
    atomic_store(&ledger->tags[2].state, 2);
    memcpy(ledger->tags[2].component, "kitchen", 8);
    memcpy(ledger->tags[2].operation, "wash", 5);
    atomic_store(&ledger->sites[SITE].key, RTD_SITE_KEY_USED | (UINT64_C(2) << 32) | LEAF);
    atomic_store(&ledger->sites[SITE].births, 3);
    atomic_store(&ledger->sites[SITE].birth_bytes, 3000);
    atomic_store(&ledger->sites[SITE].birth_count_q8, 512);
    atomic_store(&ledger->sites[SITE].birth_bytes_var, 2);
    atomic_store(&ledger->sites[SITE].first_ms, 100);
    atomic_store(&ledger->sites[SITE].last_ms, 200);
    atomic_store(&ledger->buckets[BUCKET].address[SLOT], 0x12340);
    struct rtd_sample *const sample = &ledger->samples[BUCKET * 8 + SLOT];
    atomic_store(&sample->seq, 4);
    atomic_store(&sample->interval, 1000);
    atomic_store(&sample->size, 64);
    atomic_store(&sample->site, SITE);
    atomic_store(&sample->thread, 42);
    atomic_store(&sample->birth_ms, 150);
    ledger->modules[0].end = 0x4000;
    memcpy(ledger->modules[0].name, "/bin/thing", 11);
    atomic_store(&ledger->modules[0].start, 0x800);
    return ledger;
}

static struct rtd_image *image_of(const struct rtd_ledger *ledger)
{
    struct rtd_image *const image = rtd_image_new();

    assert_non_null(image);
    assert_int_equal(rtd_image_read(image, ledger), 0);
    return image;
}

static void reader_takes_every_region_of_a_written_ledger(void **state)
{
    (void)state;
    struct rtd_ledger *const ledger = written_ledger();
    struct rtd_image *const image = image_of(ledger);
    struct rtd_image_stack stack;

    assert_int_equal(image->rejected, 0);
    assert_int_equal(image->clock_ms, 5000);
    assert_int_equal(image->sample_count, 1);
    assert_int_equal(image->samples[0].address, 0x12340);
    assert_int_equal(image->samples[0].size, 64);
    assert_int_equal(image->samples[0].thread, 42);
    assert_int_equal(image->site_count, 2);
    const struct rtd_image_site *const site = &image->sites[image->samples[0].site];
    assert_int_equal(site->stack, LEAF);
    assert_string_equal(image->tags[site->tag].component, "kitchen");
    assert_string_equal(image->tags[site->tag].operation, "wash");
    assert_int_equal(site->births, 3);
    assert_true(fabs(site->birth_count - 2.0) < 1e-12);
    assert_true(fabs(site->birth_bytes_var - 8192.0) < 1e-12);
    rtd_image_stack_get(image, site->stack, &stack);
    assert_int_equal(stack.pc_count, 3);
    assert_int_equal(stack.pcs[0], 0x3000);
    assert_int_equal(stack.pcs[2], 0x1000);
    assert_int_equal(stack.generation, 3);
    assert_true(stack.truncated);
    assert_string_equal(rtd_image_module_at(image, 0x3000, 3)->name, "/bin/thing");
    assert_null(rtd_image_module_at(image, 0x4000, 3));
    rtd_image_free(image);
    free(ledger);
}

static void reader_knows_ages_in_a_process_of_more_than_49_days(void **state)
{
    (void)state;
    const uint64_t clock_ms = (UINT64_C(3) << 32) + 5000;
    struct rtd_ledger *const ledger = written_ledger();
    struct rtd_site_record *const site = &ledger->sites[SITE];

    atomic_store(&ledger->header.clock_ms, clock_ms);
    atomic_store(&site->first_ms, UINT32_MAX - 999); /* before the low half began anew */
    atomic_store(&site->last_ms, 4000);
    struct rtd_image *const image = image_of(ledger);
    assert_int_equal(image->samples[0].birth_ms, clock_ms - 4850);
    assert_int_equal(image->sites[image->samples[0].site].first_ms, clock_ms - 6000);
    assert_int_equal(image->sites[image->samples[0].site].last_ms, clock_ms - 1000);
    rtd_image_free(image);
    /* Born while the clock was read. */
    atomic_store(&site->last_ms, 5003);
    struct rtd_image *const second = image_of(ledger);
    assert_int_equal(second->sites[second->samples[0].site].last_ms, clock_ms);
    rtd_image_free(second);
    free(ledger);
}

static void reader_refuses_what_is_no_ledger_and_keeps_the_last_image(void **state)
{
    (void)state;
    struct rtd_ledger *const ledger = written_ledger();
    struct rtd_image *const image = image_of(ledger);

    ledger->header.version++;
    assert_int_equal(rtd_image_read(image, ledger), -EPROTO);
    ledger->header.version--;
    ledger->header.total_bytes++;
    assert_int_equal(rtd_image_read(image, ledger), -EPROTO);
    ledger->header.total_bytes--;
    ledger->header.magic ^= 1;
    assert_int_equal(rtd_image_read(image, ledger), -EPROTO);
    assert_int_equal(image->sample_count, 1);
    rtd_image_free(image);
    free(ledger);
}

static void reader_counts_each_refused_record(void **state)
{
    (void)state;
    struct rtd_ledger *const ledger = written_ledger();
    struct rtd_sample *const sample = &ledger->samples[BUCKET * 8 + SLOT];
    struct rtd_image *const image = rtd_image_new();
    const struct {
        _Atomic uint32_t *place;
        uint32_t bad;
    } cases[] = {
        {&sample->interval, 0},
        {&sample->interval, UINT32_MAX},
        {&sample->site, RTD_SITE_COUNT},
        {&sample->site, UINT32_MAX},
        {&sample->site, 5}, /* a free site record */
        {&sample->seq, 5},  /* torn, its writer is dead */
    };

    for (size_t i = 0; i < RTD_ARRAY_LENGTH(cases); i++) {
        const uint32_t good = atomic_exchange(cases[i].place, cases[i].bad);
        assert_int_equal(rtd_image_read(image, ledger), 0);
        assert_int_equal(image->sample_count, 0);
        assert_int_equal(image->rejected, 1);
        atomic_store(cases[i].place, good);
    }
    atomic_store(&sample->size, UINT64_MAX);
    assert_int_equal(rtd_image_read(image, ledger), 0);
    assert_int_equal(image->sample_count, 0);
    atomic_store(&sample->size, 64);
    assert_int_equal(rtd_image_read(image, ledger), 0);
    assert_int_equal(image->sample_count, 1);
    assert_int_equal(image->rejected, 0);
    rtd_image_free(image);
    free(ledger);
}

static void reader_passes_over_a_slot_that_is_just_being_filled(void **state)
{
    (void)state;
    struct rtd_ledger *const ledger = written_ledger();

    atomic_store(&ledger->buckets[BUCKET].address[SLOT], 1);
    struct rtd_image *const image = image_of(ledger);
    assert_int_equal(image->sample_count, 0);
    assert_int_equal(image->rejected, 0);
    rtd_image_free(image);
    free(ledger);
}

static void reader_makes_header_values_harmless(void **state)
{
    (void)state;
    struct rtd_ledger *const ledger = written_ledger();

    atomic_store(&ledger->header.peak_live_bytes, UINT64_MAX - 5);
    atomic_store(&ledger->header.interval_bytes, 0);
    atomic_store(&ledger->header.loss[3], UINT64_MAX);
    atomic_store(&ledger->threads[1].state, 1);
    atomic_store(&ledger->threads[1].allocated_bytes, UINT64_MAX - 1);
    atomic_store(&ledger->threads[2].state, 1);
    atomic_store(&ledger->threads[2].allocated_bytes, 7);
    ledger->header.mode = 99;
    struct rtd_image *const image = image_of(ledger);
    assert_int_equal(image->peak_live_bytes, 0);
    assert_int_equal(image->interval_bytes, 1);
    assert_int_equal(image->loss[3], 0);
    assert_int_equal(image->counted_bytes, 0);
    assert_int_equal(image->mode, RTD_MODE_SAMPLE);
    assert_int_equal(image->rejected, 5);
    rtd_image_free(image);
    free(ledger);
}

static void stack_of_a_cycle_or_an_unknown_root_is_empty(void **state)
{
    (void)state;
    struct rtd_ledger *const ledger = written_ledger();
    struct rtd_image_stack stack;

    atomic_store(&ledger->nodes[OUTER], ((uint64_t)LEAF << RTD_PC_BITS) | 0x1000);
    struct rtd_image *const image = image_of(ledger);
    rtd_image_stack_get(image, LEAF, &stack);
    assert_int_equal(stack.pc_count, 0);
    atomic_store(&ledger->nodes[OUTER], 0);
    assert_int_equal(rtd_image_read(image, ledger), 0);
    rtd_image_stack_get(image, LEAF, &stack);
    assert_int_equal(stack.pc_count, 0);
    const uint32_t ids[] = {0, 1, RTD_ROOT_COUNT - 1, RTD_NODE_COUNT, UINT32_MAX};
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(ids); i++) {
        rtd_image_stack_get(image, ids[i], &stack);
        assert_int_equal(stack.pc_count, 0);
    }
    rtd_image_free(image);
    free(ledger);
}

static void stack_of_the_full_depth_is_whole(void **state)
{
    (void)state;
    struct rtd_ledger *const ledger = written_ledger();
    struct rtd_image_stack stack;
    uint64_t parent = 0;

    for (uint64_t i = 0; i < RTD_FRAME_MAX; i++) {
        atomic_store(&ledger->nodes[20000 + i], (parent << RTD_PC_BITS) | (i + 1));
        parent = 20000 + i;
    }
    struct rtd_image *const image = image_of(ledger);
    rtd_image_stack_get(image, (uint32_t)parent, &stack);
    assert_int_equal(stack.pc_count, RTD_FRAME_MAX);
    assert_int_equal(stack.pcs[0], RTD_FRAME_MAX);
    assert_false(stack.truncated);
    rtd_image_free(image);
    free(ledger);
}

static void module_is_the_one_of_the_stack_s_generation(void **state)
{
    (void)state;
    struct rtd_ledger *const ledger = written_ledger();

    for (unsigned i = 1; i <= 3; i++) {
        ledger->modules[i].end = 0x900000;
        ledger->modules[i].generation = i * 2;
        atomic_store(&ledger->modules[i].start, 0x900000 - 0x1000 * i);
    }
    ledger->modules[4].end = 5; /* begins behind its end */
    atomic_store(&ledger->modules[4].start, 6);
    struct rtd_image *const image = image_of(ledger);
    assert_int_equal(image->module_count, 4);
    assert_int_equal(image->rejected, 1);
    assert_int_equal(rtd_image_module_at(image, 0x8fffff, 5)->generation, 4);
    assert_int_equal(rtd_image_module_at(image, 0x8fffff, 6)->generation, 6);
    assert_int_equal(rtd_image_module_at(image, 0x8fffff, 99)->generation, 6);
    assert_int_equal(rtd_image_module_at(image, 0x8fffff, 0)->generation, 2);
    assert_int_equal(rtd_image_module_at(image, 0x8fd001, 0)->generation, 6);
    rtd_image_free(image);
    free(ledger);
}

static void text_becomes_clean_utf8(void **state)
{
    (void)state;
    const struct {
        const char *in, *out;
    } cases[] = {
        {"plain", "plain"},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"\xf0\x9f\x8c\x8a", "\xf0\x9f\x8c\x8a"},
        {"a\tb\x1b[0m\x7f", "a?b?[0m?"},
        {"\xc0\xaf", "??"},
        {"\xed\xa0\x80", "???"},
        {"\xf4\x90\x80\x80", "????"},
        {"\xc2\x85", "??"},
        {"cut\xe2\x82", "cut??"},
    };

    for (size_t i = 0; i < RTD_ARRAY_LENGTH(cases); i++) {
        char text[16];
        memset(text, 'x', sizeof(text));
        memcpy(text, cases[i].in, strlen(cases[i].in) + 1);
        text[sizeof(text) - 1] = '\0';
        assert_int_equal(rtd_validity_clean_text(text, sizeof(text)),
                         strcmp(cases[i].in, cases[i].out) == 0);
        assert_string_equal(text, cases[i].out);
        assert_int_equal(text[15], 0);
    }
}

static void every_loss_in_use_has_a_name(void **state)
{
    (void)state;
    for (unsigned i = 0; i <= RTD_LOSS_FORK_UNOBSERVED; i++) {
        assert_non_null(rtd_loss_name(i));
    }
    assert_null(rtd_loss_name(RTD_LOSS_COUNT));
    assert_null(rtd_loss_name(UINT32_MAX));
}

/* Looks at everything a consumer may look at, trusting every index. */
static void use_image(const struct rtd_image *image)
{
    struct rtd_image_stack stack;
    double sum = 0;

    assert_true(image->tag_count >= RTD_TAG_FIRST && image->tag_count <= RTD_TAG_COUNT);
    assert_true(image->site_count >= 1 && image->site_count <= RTD_SITE_COUNT);
    assert_true(image->sample_count <= RTD_SAMPLE_CAPACITY);
    assert_true(image->module_count <= RTD_MODULE_COUNT);
    assert_true(image->interval_bytes >= 1);
    for (uint32_t i = 0; i < image->sample_count; i++) {
        assert_true(image->samples[i].site < image->site_count);
        assert_true(image->samples[i].interval >= 1);
    }
    for (uint32_t i = 0; i < image->site_count; i++) {
        const struct rtd_image_site *const site = &image->sites[i];
        assert_true(site->tag < image->tag_count);
        sum += site->birth_bytes + site->birth_count + site->death_bytes + site->death_count +
               site->birth_bytes_var + site->birth_count_var;
        rtd_image_stack_get(image, site->stack, &stack);
        assert_true(stack.pc_count <= RTD_FRAME_MAX);
        for (uint32_t k = 0; k < stack.pc_count; k++) {
            assert_true(stack.pcs[k] != 0);
        }
    }
    assert_true(isfinite(sum));
    for (uint32_t i = 0; i < image->module_count; i++) {
        assert_true(image->modules[i].start < image->modules[i].end);
        assert_int_equal(image->modules[i].name[RTD_MODULE_NAME_BYTES - 1], 0);
    }
    for (uint32_t i = 0; i < image->tag_count; i++) {
        struct rtd_image_tag tag = image->tags[i];
        assert_true(rtd_validity_clean_text(tag.component, sizeof(tag.component)));
        assert_true(rtd_validity_clean_text(tag.operation, sizeof(tag.operation)));
    }
}

/* One scribble: a word somewhere, often where it hurts, of a value that hurts. */
static void scribble(struct rtd_ledger *ledger, uint64_t *random)
{
    static const uint64_t nasty[] = {
        0, 1, UINT64_MAX, UINT64_C(1) << 63, 0x7ff0000000000000, 0xffffffff, UINT64_C(1) << 47};
    static const size_t regions[] = {RTD_OFF_MODULES, RTD_OFF_NODES,   RTD_OFF_TAGS,
                                     RTD_OFF_THREADS, RTD_OFF_BUCKETS, RTD_OFF_SAMPLES,
                                     RTD_OFF_SITES,   RTD_LEDGER_BYTES};
    const uint64_t pick = rtd_random_next(random);
    const size_t region = pick % (RTD_ARRAY_LENGTH(regions) - 1);
    const size_t start = pick & 256 ? regions[region] : 64;
    const size_t span = (pick & 256 ? regions[region + 1] : RTD_HEADER_BYTES) - start;
    const size_t at = start + (rtd_random_next(random) % (pick & 512 ? span : span / 64 + 8));
    const uint64_t value =
        pick & 1024 ? nasty[(pick >> 20) % RTD_ARRAY_LENGTH(nasty)] : rtd_random_next(random);

    void *const place = (char *)ledger + at / 8 * 8;
    __atomic_store_n((uint64_t __attribute__((may_alias)) *)place, value, __ATOMIC_RELAXED);
}

static void reader_survives_ten_thousand_scribbles(void **state)
{
    (void)state;
    struct rtd_ledger *const ledger = written_ledger();
    struct rtd_image *const image = rtd_image_new();
    uint64_t random = 20261123;
    uint64_t rejected = 0;

    for (unsigned i = 0; i < 10000; i++) {
        scribble(ledger, &random);
        if (i % 50 == 49) {
            assert_int_equal(rtd_image_read(image, ledger), 0);
            use_image(image);
            rejected += image->rejected;
        }
    }
    assert_true(rejected > 0);
    rtd_image_free(image);
    free(ledger);
}

struct scribbler {
    struct rtd_ledger *ledger;
    _Atomic bool stop;
};

static void *scribble_on(void *argument)
{
    struct scribbler *const scribbler = argument;
    uint64_t random = 99;

    while (!atomic_load(&scribbler->stop)) {
        scribble(scribbler->ledger, &random);
    }
    return NULL;
}

static void reader_survives_a_thread_that_scribbles_meanwhile(void **state)
{
    (void)state;
    struct scribbler scribbler = {.ledger = written_ledger()};
    struct rtd_image *const image = rtd_image_new();
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, scribble_on, &scribbler), 0);
    for (unsigned i = 0; i < 60; i++) {
        assert_int_equal(rtd_image_read(image, scribbler.ledger), 0);
        use_image(image);
    }
    atomic_store(&scribbler.stop, true);
    pthread_join(thread, NULL);
    rtd_image_free(image);
    free(scribbler.ledger);
}

static void clone_is_equal_and_independent(void **state)
{
    (void)state;
    struct rtd_ledger *const ledger = written_ledger();
    struct rtd_image *const image = image_of(ledger);
    struct rtd_image *const clone = rtd_image_clone(image);

    assert_non_null(clone);
    image->samples[0].size = 1;
    rtd_image_free(image);
    assert_int_equal(clone->samples[0].size, 64);
    use_image(clone);
    rtd_image_free(clone);
    free(ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader_takes_every_region_of_a_written_ledger),
        cmocka_unit_test(reader_knows_ages_in_a_process_of_more_than_49_days),
        cmocka_unit_test(reader_refuses_what_is_no_ledger_and_keeps_the_last_image),
        cmocka_unit_test(reader_counts_each_refused_record),
        cmocka_unit_test(reader_passes_over_a_slot_that_is_just_being_filled),
        cmocka_unit_test(reader_makes_header_values_harmless),
        cmocka_unit_test(stack_of_a_cycle_or_an_unknown_root_is_empty),
        cmocka_unit_test(stack_of_the_full_depth_is_whole),
        cmocka_unit_test(module_is_the_one_of_the_stack_s_generation),
        cmocka_unit_test(text_becomes_clean_utf8),
        cmocka_unit_test(every_loss_in_use_has_a_name),
        cmocka_unit_test(reader_survives_ten_thousand_scribbles),
        cmocka_unit_test(reader_survives_a_thread_that_scribbles_meanwhile),
        cmocka_unit_test(clone_is_equal_and_independent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
