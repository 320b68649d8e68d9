// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_reader_exact_test.c - the reader of exact ledgers: sums, peak, nodes, blocks, hostility.
 *
 * Runs in:    tests
 * Threads:    one that scribbles
 * Allocates:  yes
 * Fails:      by cmocka assertions
 */
#include "../support/support_exact.h"
#include "base/base_math.h"
#include "ledger/ledger_reader.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static const uint64_t one_stack[] = {0x555500000100, 0x555500000200, 0x555500000300};

static struct rtd_image *read_image(struct rtd_support_exact *made)
{
    struct rtd_image *const image = rtd_image_new();

    assert_non_null(image);
    assert_int_equal(rtd_image_read_sparse(image, made->handle.ledger, made->handle.fd), 0);
    assert_non_null(image->exact);
    return image;
}

static void sites_are_summed_over_threads_and_live_may_be_negative_in_one(void **state)
{
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    const uint32_t site = rtd_support_exact_site(made, one_stack, 3, RTD_TAG_NONE);
    const struct rtd_support_event births[] = {{.block = 3, .site = site, .size = 100},
                                               {.block = 3, .site = site, .size = 50},
                                               {.block = 511, .site = site, .size = 7},
                                               {.block = 512, .site = site, .size = 2000}};
    const struct rtd_support_event death = {
        .block = 9, .site = site, .size = 100, .age_bucket = 4, .temporary = true};

    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(births); i++) {
        rtd_support_exact_birth(made, &births[i]);
    }
    rtd_support_exact_death(made, &death);
    struct rtd_image *const image = read_image(made);
    assert_int_equal(image->site_count, 2);
    const struct rtd_image_site *const at = &image->sites[site];
    const struct rtd_image_count *const count = &image->exact->counts[site];
    assert_int_equal(at->births, 4);
    assert_int_equal(count->allocated_bytes, 2157);
    assert_int_equal(at->deaths, 1);
    assert_int_equal(count->freed_bytes, 100);
    assert_int_equal(count->live_bytes, 2057);
    assert_int_equal(count->live_blocks, 3);
    assert_int_equal(count->temporary, 1);
    assert_int_equal(at->max_size, 2000);
    assert_int_equal(at->lifetime[4], 1);
    assert_int_equal(rtd_image_lifetime(image, site, 0), 0);
    assert_int_equal(at->first_ms, 500);
    assert_int_equal(at->last_ms, 600);
    assert_int_equal(image->samples_taken, 4);
    assert_true(image->size_class_count[0] > 2.5 && image->size_class_count[0] < 3.5);
    assert_true(image->size_class_count[1] > 0.5 && image->size_class_count[1] < 1.5);
    assert_int_equal(image->rejected, 0);
    rtd_image_free(image);
    rtd_support_exact_free(made);
}

static void byte_sums_beyond_what_a_double_holds_stay_exact(void **state)
{
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    const uint32_t site = rtd_support_exact_site(made, one_stack, 3, RTD_TAG_NONE);
    struct rtd_exact_counter *const counter = &made->exact->counters[0][site];

    atomic_store(&counter->allocations, 2);
    atomic_store(&counter->allocated_bytes, (UINT64_C(1) << 58) + 1);
    atomic_store(&counter->frees, 1);
    atomic_store(&counter->freed_bytes, UINT64_C(1) << 58);
    struct rtd_image *const image = read_image(made);
    assert_int_equal(image->exact->counts[site].allocated_bytes, (UINT64_C(1) << 58) + 1);
    assert_int_equal(image->exact->counts[site].live_bytes, 1);
    rtd_image_free(image);
    rtd_support_exact_free(made);
}

static void the_peak_is_what_each_site_held_at_that_moment(void **state)
{
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    const uint32_t quiet = rtd_support_exact_site(made, one_stack, 1, RTD_TAG_NONE);
    const uint32_t busy = rtd_support_exact_site(made, one_stack, 2, RTD_TAG_NONE);
    const uint32_t late = rtd_support_exact_site(made, one_stack, 3, RTD_TAG_NONE);
    const struct rtd_support_event held = {.block = 1, .site = quiet, .size = 300};
    const struct rtd_support_event freed = {.block = 1, .site = busy, .size = 5000};
    const struct rtd_support_event other = {.block = 2, .site = busy, .size = 5000};
    const struct rtd_support_event newer = {.block = 2, .site = late, .size = 40};

    rtd_support_exact_birth(made, &held);
    rtd_support_exact_birth(made, &freed);
    rtd_support_exact_peak(made, 1234);
    rtd_support_exact_death(made, &other); /* by a thread that had nothing of it */
    rtd_support_exact_birth(made, &newer);
    struct rtd_image *const image = read_image(made);
    const struct rtd_image_count *const counts = image->exact->counts;
    assert_int_equal(counts[quiet].peak_bytes, 300);
    assert_int_equal(counts[busy].peak_bytes, 5000);
    assert_int_equal(counts[busy].peak_blocks, 1);
    assert_int_equal(counts[busy].live_bytes, 0);
    assert_int_equal(counts[late].peak_bytes, 0);
    assert_int_equal(image->peak_live_bytes, 5300);
    assert_int_equal(image->peak_ms, 1234);
    rtd_image_free(image);
    rtd_support_exact_free(made);
}

static void a_total_above_the_last_peak_is_the_peak(void **state)
{
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    const uint32_t site = rtd_support_exact_site(made, one_stack, 3, RTD_TAG_NONE);
    const struct rtd_support_event event = {.block = 1, .site = site, .size = 300};

    rtd_support_exact_birth(made, &event);
    rtd_support_exact_peak(made, 1234);
    rtd_support_exact_birth(made, &event);
    struct rtd_image *const image = read_image(made);
    assert_int_equal(image->peak_live_bytes, 600);
    assert_int_equal(image->exact->counts[site].peak_blocks, 2);
    assert_int_equal(image->peak_ms, 1234);
    rtd_image_free(image);
    rtd_support_exact_free(made);
}

static void more_freed_than_allocated_is_damage_only_of_a_dead_writer(void **state)
{
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    const uint32_t site = rtd_support_exact_site(made, one_stack, 3, RTD_TAG_NONE);
    const struct rtd_support_event event = {.block = 1, .site = site, .size = 300};

    rtd_support_exact_death(made, &event);
    struct rtd_image *const image = read_image(made);
    assert_int_equal(image->exact->counts[site].live_bytes, 0);
    assert_int_equal(image->exact->counts[site].live_blocks, 0);
    assert_int_equal(image->rejected, 0);
    image->writer_gone = true;
    assert_int_equal(rtd_image_read_sparse(image, made->handle.ledger, made->handle.fd), 0);
    assert_int_equal(image->rejected, 1);
    rtd_image_free(image);
    rtd_support_exact_free(made);
}

static void stacks_are_followed_through_the_wide_trie(void **state)
{
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    struct rtd_image_stack stack;
    uint64_t deep[600];

    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(deep); i++) {
        deep[i] = UINT64_C(0x555500000010) + (uint64_t)i * 16;
    }
    const uint32_t shallow = rtd_support_exact_site(made, one_stack, 3, RTD_TAG_NONE);
    const uint32_t site = rtd_support_exact_site(made, deep, 600, RTD_TAG_NONE);
    struct rtd_image *const image = read_image(made);
    rtd_image_stack_get(image, image->sites[shallow].stack, &stack);
    assert_int_equal(stack.pc_count, 3);
    assert_int_equal(stack.pcs[0], one_stack[2]);
    assert_int_equal(stack.pcs[2], one_stack[0]);
    assert_false(stack.truncated);
    rtd_image_stack_get(image, image->sites[site].stack, &stack);
    assert_int_equal(stack.pc_count, RTD_FRAME_MAX);
    assert_int_equal(stack.pcs[0], deep[599]);
    assert_true(stack.truncated);
    rtd_image_free(image);
    rtd_support_exact_free(made);
}

/* All of them at once and one by one must come to the same. */
static void many_new_nodes_are_read_as_few_are(void **state)
{
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    struct rtd_image *const early = read_image(made);
    struct rtd_image_stack stack;
    uint64_t pcs[4] = {0x555500000010};

    for (unsigned i = 0; i < 4000; i++) {
        pcs[1] = UINT64_C(0x555500001000) + i % 60 * 16;
        pcs[2] = UINT64_C(0x555500002000) + i / 60 * 16;
        pcs[3] = UINT64_C(0x555500010000) + i * 16;
        (void)rtd_support_exact_site(made, pcs, 4, RTD_TAG_NONE);
        if (i % 100 == 0) {
            assert_int_equal(rtd_image_read_sparse(early, made->handle.ledger, made->handle.fd), 0);
        }
    }
    assert_int_equal(rtd_image_read_sparse(early, made->handle.ledger, made->handle.fd), 0);
    struct rtd_image *const late = read_image(made);
    assert_int_equal(early->site_count, 4001);
    assert_int_equal(late->exact->node_count, early->exact->node_count);
    for (uint32_t i = 1; i < late->site_count; i++) {
        rtd_image_stack_get(late, late->sites[i].stack, &stack);
        assert_int_equal(stack.pc_count, 4);
        assert_int_equal(stack.pcs[0], UINT64_C(0x555500010000) + (i - 1) * 16);
        assert_int_equal(early->sites[i].stack, late->sites[i].stack);
        rtd_image_stack_get(early, early->sites[i].stack, &stack);
        assert_int_equal(stack.pc_count, 4);
    }
    rtd_image_free(early);
    rtd_image_free(late);
    rtd_support_exact_free(made);
}

static void a_stack_without_a_site_is_loaded_when_asked_for(void **state)
{
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    struct rtd_image_stack stack;
    struct rtd_image *const image = read_image(made);

    (void)rtd_support_exact_site(made, one_stack, 3, RTD_TAG_NONE);
    const uint32_t leaf = (uint32_t)atomic_load(&made->exact->site_keys[1]);
    rtd_image_stack_get(image, leaf, &stack);
    assert_int_equal(stack.pc_count, 0);
    assert_int_equal(rtd_image_stack_load(image, made->handle.fd, leaf), 0);
    rtd_image_stack_get(image, leaf, &stack);
    assert_int_equal(stack.pc_count, 3);
    rtd_image_free(image);
    rtd_support_exact_free(made);
}

static void live_blocks_are_found_with_their_sizes_and_ages(void **state)
{
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    const uint32_t site = rtd_support_exact_site(made, one_stack, 3, RTD_TAG_NONE);

    rtd_support_exact_block(made, UINT64_C(0x555500000010), site, 24, 12800);
    rtd_support_exact_block(made, UINT64_C(0x555500000fe0), site, UINT64_C(3) << 30, 25600);
    rtd_support_exact_block(made, UINT64_C(0x7ffff0000000), site, 1 << 20, 99999);
    struct rtd_image *const image = read_image(made);
    assert_int_equal(rtd_image_blocks_read(image, made->handle.fd), 0);
    assert_int_equal(image->sample_count, 3);
    assert_true(image->exact->block_share >= 1.0);
    assert_int_equal(image->samples[0].address, UINT64_C(0x555500000010));
    assert_int_equal(image->samples[0].size, 24);
    assert_int_equal(image->samples[0].birth_ms, 12800);
    assert_int_equal(image->samples[1].size, UINT64_C(3) << 30);
    assert_int_equal(image->samples[1].birth_ms, 25600);
    assert_int_equal(image->samples[2].size, 1 << 20);
    assert_in_range(image->samples[2].birth_ms, 99999 - RTD_LIFETIME_UNIT_MS, 99999);
    assert_int_equal(image->samples[2].site, site);
    rtd_image_free(image);
    rtd_support_exact_free(made);
}

static void too_many_live_blocks_are_thinned_evenly(void **state)
{
    enum { BLOCKS = 600000 };
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    const uint32_t sites[] = {rtd_support_exact_site(made, one_stack, 2, RTD_TAG_NONE),
                              rtd_support_exact_site(made, one_stack, 3, RTD_TAG_NONE)};
    uint64_t random = 5;
    double seen[2] = {0};

    for (uint64_t i = 0; i < BLOCKS; i++) {
        rtd_support_exact_block(made, UINT64_C(0x7f0000000000) + i * 32,
                                sites[rtd_random_next(&random) % 4 == 0], 32, 1000);
    }
    struct rtd_image *const image = read_image(made);
    assert_int_equal(rtd_image_blocks_read(image, made->handle.fd), 0);
    assert_in_range(image->sample_count, RTD_SAMPLE_CAPACITY / 3, RTD_SAMPLE_CAPACITY);
    for (uint32_t i = 0; i < image->sample_count; i++) {
        seen[image->samples[i].site == sites[1]] += 1 / image->exact->block_share;
    }
    assert_in_range((uint64_t)(seen[0] + seen[1]), BLOCKS * 98 / 100, BLOCKS * 102 / 100);
    assert_in_range((uint64_t)seen[1], BLOCKS * 23 / 100, BLOCKS * 27 / 100);
    rtd_image_free(image);
    rtd_support_exact_free(made);
}

static uint64_t file_blocks(int fd)
{
    struct stat status;

    assert_int_equal(fstat(fd, &status), 0);
    return (uint64_t)status.st_blocks;
}

static void reading_takes_no_memory_of_the_ledger(void **state)
{
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();

    rtd_support_exact_fill(made, 3, 500);
    const uint64_t before = file_blocks(made->handle.fd);
    struct rtd_image *const image = read_image(made);
    assert_int_equal(rtd_image_blocks_read(image, made->handle.fd), 0);
    assert_int_equal(file_blocks(made->handle.fd), before);
    assert_true(image->site_count > 50);
    rtd_image_free(image);
    rtd_support_exact_free(made);
}

static void an_exact_ledger_without_its_file_is_refused(void **state)
{
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    struct rtd_image *const image = rtd_image_new();

    assert_int_equal(rtd_image_read(image, made->handle.ledger), -EBADF);
    made->whole->header.total_bytes = RTD_LEDGER_BYTES;
    assert_int_equal(rtd_image_read_sparse(image, made->handle.ledger, made->handle.fd), -EPROTO);
    rtd_image_free(image);
    rtd_support_exact_free(made);
}

static void assert_usable(const struct rtd_image *image)
{
    struct rtd_image_stack stack;
    uint64_t sum = 0;

    assert_true(image->site_count >= 1 && image->site_count <= RTD_EXACT_SITE_COUNT);
    assert_true(image->sample_count <= RTD_SAMPLE_CAPACITY);
    for (uint32_t i = 0; i < image->sample_count; i++) {
        assert_true(image->samples[i].site < image->site_count);
    }
    for (uint32_t i = 0; i < image->site_count; i++) {
        assert_true(image->sites[i].tag < image->tag_count);
        assert_true(image->exact->counts[i].live_bytes < UINT64_C(1) << 60);
        assert_true(image->exact->counts[i].peak_bytes < UINT64_C(1) << 60);
        sum += image->exact->counts[i].live_bytes;
        rtd_image_stack_get(image, image->sites[i].stack, &stack);
        assert_true(stack.pc_count <= RTD_FRAME_MAX);
    }
    assert_true(image->peak_live_bytes >= sum || image->peak_live_bytes >= UINT64_C(1) << 60);
}

/* Random words over everything the reader looks at. */
static void scribble(struct rtd_support_exact *made, uint64_t *random)
{
    struct rtd_exact *const exact = made->exact;
    const uint64_t value = rtd_random_next(random) >> rtd_random_next(random) % 64;
    const uint64_t which = rtd_random_next(random);
    const uint32_t site = (uint32_t)(rtd_random_next(random) % 300);
    _Atomic uint64_t *places[] = {
        &exact->nodes[which % RTD_EXACT_NODE_COUNT],
        &exact->pcs[which % RTD_EXACT_PC_COUNT],
        &exact->site_keys[site],
        &exact->counters[which % 3 * 128][site].allocations,
        &exact->counters[which % 3 * 128][site].freed_bytes,
        &exact->counters[which % 3 * 128][site].allocated_bytes,
        &exact->leaf_regions[which % 4],
        &exact->shadow[which % 2][site],
        &exact->threads[which % 5].size_class[1 + which % 4],
        &exact->header.peak_ms,
    };

    atomic_store(places[rtd_random_next(random) % RTD_ARRAY_LENGTH(places)], value);
    atomic_store(&exact->counters[128][site].peak_bytes, (int64_t)value);
    if (which % 16 == 0) {
        atomic_store(&exact->header.site_count, (uint32_t)value);
        atomic_store(&exact->header.node_count, (uint32_t)value);
        atomic_store(&exact->header.peak_epoch, (uint32_t)value);
    }
}

static void a_scribbling_target_costs_rejects_and_nothing_else(void **state)
{
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    struct rtd_image *const image = rtd_image_new();
    uint64_t random = 11, rejected = 0;

    rtd_support_exact_fill(made, 4, 500);
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned i = 0; i < 20; i++) {
            scribble(made, &random);
        }
        assert_int_equal(rtd_image_read_sparse(image, made->handle.ledger, made->handle.fd), 0);
        assert_int_equal(rtd_image_blocks_read(image, made->handle.fd), 0);
        assert_usable(image);
        rejected += image->rejected;
    }
    assert_true(rejected > 0);
    rtd_image_free(image);
    rtd_support_exact_free(made);
}

struct scribbler {
    struct rtd_support_exact *made;
    _Atomic bool stop;
};

static void *scribble_on(void *context)
{
    struct scribbler *const scribbler = context;
    uint64_t random = 17;

    while (!atomic_load(&scribbler->stop)) {
        scribble(scribbler->made, &random);
    }
    return NULL;
}

static void reading_while_the_target_scribbles_is_safe(void **state)
{
    (void)state;
    struct scribbler scribbler = {.made = rtd_support_exact_new()};
    struct rtd_image *const image = rtd_image_new();
    pthread_t thread;

    rtd_support_exact_fill(scribbler.made, 4, 500);
    assert_int_equal(pthread_create(&thread, NULL, scribble_on, &scribbler), 0);
    for (unsigned round = 0; round < 40; round++) {
        assert_int_equal(
            rtd_image_read_sparse(image, scribbler.made->handle.ledger, scribbler.made->handle.fd),
            0);
        assert_int_equal(rtd_image_blocks_read(image, scribbler.made->handle.fd), 0);
        assert_usable(image);
    }
    atomic_store(&scribbler.stop, true);
    pthread_join(thread, NULL);
    rtd_image_free(image);
    rtd_support_exact_free(scribbler.made);
}

static void what_a_thread_counted_stays_when_its_block_is_taken_back(void **state)
{
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    const uint32_t site = rtd_support_exact_site(made, one_stack, 3, RTD_TAG_NONE);
    const struct rtd_support_event event = {.block = 5, .site = site, .size = 300};

    atomic_store(&made->whole->threads[5].tid, 999999);
    atomic_store(&made->whole->threads[5].state, 1);
    rtd_support_exact_birth(made, &event);
    assert_int_equal(rtd_ledger_reclaim_threads(made->handle.ledger, NULL, 0), 1);
    rtd_support_exact_birth(made, &event); /* the next thread with this block */
    struct rtd_image *const image = read_image(made);
    assert_int_equal(image->sites[site].births, 2);
    assert_int_equal(image->exact->counts[site].live_bytes, 600);
    rtd_image_free(image);
    rtd_support_exact_free(made);
}

static void a_clone_is_independent_of_its_original(void **state)
{
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    struct rtd_image_stack stack;

    rtd_support_exact_fill(made, 3, 300);
    struct rtd_image *const image = read_image(made);
    struct rtd_image *const clone = rtd_image_clone(image);
    assert_non_null(clone);
    assert_int_equal(clone->site_count, image->site_count);
    assert_memory_equal(clone->exact->counts, image->exact->counts,
                        image->site_count * sizeof(image->exact->counts[0]));
    const uint32_t leaf = image->sites[1].stack;
    rtd_image_free(image);
    rtd_image_stack_get(clone, leaf, &stack);
    assert_true(stack.pc_count > 0);
    rtd_image_free(clone);
    rtd_support_exact_free(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sites_are_summed_over_threads_and_live_may_be_negative_in_one),
        cmocka_unit_test(byte_sums_beyond_what_a_double_holds_stay_exact),
        cmocka_unit_test(the_peak_is_what_each_site_held_at_that_moment),
        cmocka_unit_test(a_total_above_the_last_peak_is_the_peak),
        cmocka_unit_test(more_freed_than_allocated_is_damage_only_of_a_dead_writer),
        cmocka_unit_test(stacks_are_followed_through_the_wide_trie),
        cmocka_unit_test(many_new_nodes_are_read_as_few_are),
        cmocka_unit_test(a_stack_without_a_site_is_loaded_when_asked_for),
        cmocka_unit_test(live_blocks_are_found_with_their_sizes_and_ages),
        cmocka_unit_test(too_many_live_blocks_are_thinned_evenly),
        cmocka_unit_test(reading_takes_no_memory_of_the_ledger),
        cmocka_unit_test(an_exact_ledger_without_its_file_is_refused),
        cmocka_unit_test(a_scribbling_target_costs_rejects_and_nothing_else),
        cmocka_unit_test(reading_while_the_target_scribbles_is_safe),
        cmocka_unit_test(what_a_thread_counted_stays_when_its_block_is_taken_back),
        cmocka_unit_test(a_clone_is_independent_of_its_original),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
