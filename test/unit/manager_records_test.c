// SPDX-License-Identifier: Apache-2.0
/*
 * manager_records_test.c - what a program records is counted to the byte, whoever records it, and
 * nothing that it does costs more than a counter.
 *
 * Runs in:    unit tests
 * Threads:    starts its own; assertions are made by the first one only
 * Allocates:  for the length of a test
 * Fails:      by a failed assertion
 */
#include "manager/manager_handle.h"
#include "manager/manager_record_state.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

/* A manager that is nothing but records. */
static struct riptide_manager *open_records(uint64_t limit_bytes)
{
    struct riptide_manager *manager = calloc(1, sizeof *manager);
    assert_non_null(manager);
    manager->records = rtd_records_new(limit_bytes, NULL);
    assert_non_null(manager->records);
    return manager;
}

static void close_records(struct riptide_manager *manager)
{
    rtd_records_free(manager->records);
    free(manager);
}

static struct riptide_record_totals totals_of(struct riptide_manager *manager)
{
    struct riptide_record_totals totals = {.size = sizeof totals};
    assert_int_equal(riptide_records_read(manager, &totals), 0);
    return totals;
}

/* Any number that is no address of this process. */
static const void *block_at(uint64_t number)
{
    return (const void *)(uintptr_t)(0x100000 + number * 16);
}

/* ---- records by size ---- */

static void what_is_recorded_by_size_is_live_until_it_is_released(void **state)
{
    (void)state;
    struct riptide_manager *manager = open_records(10 * MIB);
    const uint32_t tag = riptide_intern(manager, "extraction", "parse_html");
    assert_int_equal(riptide_record_bytes(manager, tag, 1000), 0);
    assert_int_equal(riptide_record_bytes(manager, tag, 500), 0);
    assert_int_equal(riptide_release_bytes(manager, tag, 1000), 0);
    const struct riptide_record_totals totals = totals_of(manager);
    assert_int_equal(totals.allocations, 2);
    assert_int_equal(totals.allocated_bytes, 1500);
    assert_int_equal(totals.releases, 1);
    assert_int_equal(totals.released_bytes, 1000);
    assert_int_equal(totals.live_bytes, 500);
    assert_int_equal(totals.live_blocks, 1);
    assert_int_equal(totals.over_released_bytes, 0);
    close_records(manager);
}

static void what_is_released_beyond_what_is_live_changes_nothing_else(void **state)
{
    (void)state;
    struct riptide_manager *manager = open_records(10 * MIB);
    const uint32_t a = riptide_intern(manager, "a", ""), b = riptide_intern(manager, "b", "");
    riptide_record_bytes(manager, a, 100);
    riptide_record_bytes(manager, b, 100);
    assert_int_equal(riptide_release_bytes(manager, a, 150), 0);
    assert_int_equal(riptide_release_bytes(manager, a, 7), 0);
    riptide_record_bytes(manager, a, 30);
    const struct riptide_record_totals totals = totals_of(manager);
    assert_int_equal(totals.over_released_bytes, 57);
    assert_int_equal(totals.live_bytes, 130);
    assert_int_equal(totals.released_bytes, 100);
    assert_int_equal(totals.releases, 1);
    close_records(manager);
}

static void bytes_of_a_block_cannot_be_released_by_size(void **state)
{
    (void)state;
    struct riptide_manager *manager = open_records(10 * MIB);
    const uint32_t tag = riptide_intern(manager, "a", "b");
    riptide_record_block(manager, tag, block_at(1), 100, 0);
    riptide_release_bytes(manager, tag, 100);
    assert_int_equal(totals_of(manager).over_released_bytes, 100);
    assert_int_equal(totals_of(manager).live_bytes, 100);
    assert_int_equal(riptide_release_block(manager, block_at(1)), 0);
    assert_int_equal(totals_of(manager).live_bytes, 0);
    close_records(manager);
}

static void a_component_gives_back_in_order_of_its_operations_names(void **state)
{
    (void)state;
    struct riptide_manager *manager = open_records(10 * MIB);
    struct rtd_image *image = rtd_image_new();
    const uint32_t last = riptide_intern(manager, "c", "z"),
                   first = riptide_intern(manager, "c", "a");
    riptide_record_bytes(manager, last, 100);
    riptide_record_bytes(manager, first, 100);
    assert_int_equal(riptide_record_deallocation(manager, "c", 130), 0);
    assert_int_equal(rtd_records_image(manager->records, 0, image), 0);
    for (uint32_t i = 1; i < image->site_count; i++) {
        const char *operation = image->tags[image->sites[i].tag].operation;
        if (image->sites[i].births != 0)
            assert_int_equal(image->exact->counts[i].live_bytes,
                             strcmp(operation, "a") == 0 ? 0 : 70);
    }
    assert_int_equal(riptide_record_deallocation(manager, "unknown", 11), 0);
    assert_int_equal(riptide_record_deallocation(manager, NULL, 2), 0);
    assert_int_equal(totals_of(manager).over_released_bytes, 13);
    rtd_image_free(image);
    close_records(manager);
}

static void sizes_are_taken_as_they_are_or_refused(void **state)
{
    (void)state;
    struct riptide_manager *manager = open_records(10 * MIB);
    const uint32_t tag = riptide_intern(manager, "a", "b");
    assert_int_equal(riptide_record_bytes(manager, tag, 0), 0);
    assert_int_equal(riptide_release_bytes(manager, tag, 0), 0);
    assert_int_equal(riptide_record_block(manager, tag, block_at(1), 0, 0), 0);
    assert_int_equal(riptide_record_bytes(manager, tag, UINT64_MAX), -EINVAL);
    assert_int_equal(riptide_release_bytes(manager, tag, UINT64_MAX), -EINVAL);
    assert_int_equal(riptide_record_deallocation(manager, "a", UINT64_MAX), -EINVAL);
    assert_int_equal(riptide_record_block(manager, tag, block_at(2), UINT64_MAX, 0), -EINVAL);
    assert_int_equal(riptide_release_block(manager, block_at(2)), RIPTIDE_E_UNKNOWN_BLOCK);
    assert_int_equal(totals_of(manager).allocations, 2);
    assert_int_equal(totals_of(manager).live_blocks, 1);
    assert_int_equal(riptide_release_block(manager, block_at(1)), 0);
    assert_int_equal(totals_of(manager).live_blocks, 0);
    close_records(manager);
}

static void sums_never_wrap_whatever_the_sizes_are(void **state)
{
    (void)state;
    struct riptide_manager *manager = open_records(10 * MIB);
    const uint32_t tag = riptide_intern(manager, "a", "b");
    uint64_t taken = 0;
    /* At most 2^16 of them fit; the last ones leave bytes over, which smaller blocks may fill. */
    while (taken < 70000 && riptide_record_bytes(manager, tag, RTD_RECORDS_SIZE_LIMIT) == 0)
        taken++;
    assert_in_range(taken, 65536, 65537);
    assert_int_equal(riptide_record_bytes(manager, tag, RTD_RECORDS_SIZE_LIMIT), -EOVERFLOW);
    assert_int_equal(riptide_record_bytes(manager, tag, 65536), 0);
    assert_int_equal(riptide_record_bytes(manager, tag, 1), -EOVERFLOW);
    assert_int_equal(totals_of(manager).allocated_bytes, UINT64_C(1) << 63);
    assert_int_equal(totals_of(manager).live_bytes, UINT64_C(1) << 63);
    /* Blocks with addresses are a sum of their own. */
    assert_int_equal(riptide_record_block(manager, tag, block_at(1), 10, 0), 0);
    for (uint64_t i = 0; i < taken; i++)
        assert_int_equal(riptide_release_bytes(manager, tag, RTD_RECORDS_SIZE_LIMIT), 0);
    assert_int_equal(totals_of(manager).live_bytes, 65536 + 10);
    assert_int_equal(totals_of(manager).over_released_bytes, 0);
    close_records(manager);
}

struct filler {
    struct riptide_manager *manager;
    pthread_barrier_t *barrier; /* so that no thread leaves its slab to another one */
};

static void *record_all_that_fits(void *context)
{
    const struct filler *filler = context;
    struct riptide_manager *manager = filler->manager;
    const uint32_t tag = riptide_intern(manager, "a", "b");
    for (uint32_t i = 0; i < 65536; i++)
        (void)riptide_record_bytes(manager, tag, RTD_RECORDS_SIZE_LIMIT);
    (void)pthread_barrier_wait(filler->barrier);
    for (uint32_t i = 0; i < 65530; i++)
        (void)riptide_release_bytes(manager, tag, RTD_RECORDS_SIZE_LIMIT);
    return NULL;
}

static void what_is_live_is_right_where_the_sums_over_threads_are_at_their_end(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    struct riptide_manager *manager = open_records(10 * MIB);
    pthread_t ids[THREADS];
    pthread_barrier_t barrier;
    struct filler filler = {manager, &barrier};
    assert_int_equal(pthread_barrier_init(&barrier, NULL, THREADS), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&ids[i], NULL, record_all_that_fits, &filler), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(ids[i], NULL);
    const struct riptide_record_totals totals = totals_of(manager);
    assert_int_equal(totals.over_released_bytes, 0);
    assert_int_equal(totals.live_bytes,
                     (totals.allocations - totals.releases) * RTD_RECORDS_SIZE_LIMIT);
    close_records(manager);
}

/* A place among the cached slabs may be another manager's when a handler has just used that. */
static void a_slab_of_another_manager_is_known_as_such(void **state)
{
    (void)state;
    struct riptide_manager *managers[9];
    for (int i = 0; i < 9; i++)
        managers[i] = open_records(MIB);
    for (int i = 0; i < 9; i++) {
        const struct rtd_slab *slab = rtd_slabs_get(&managers[i]->records->slabs);
        for (int j = 0; j < 9; j++)
            assert_int_equal(rtd_slab_is_of(&managers[j]->records->slabs, slab), i == j);
    }
    for (int i = 0; i < 9; i++)
        close_records(managers[i]);
}

static void half_a_pointer_at_the_end_of_an_allocation_is_not_looked_at(void **state)
{
    (void)state;
    struct riptide_manager *manager = open_records(10 * MIB);
    for (size_t size = offsetof(struct riptide_allocation, component);
         size <= offsetof(struct riptide_allocation, component) + sizeof(char *); size++) {
        const struct riptide_allocation allocation = {
            .size = size, .size_bytes = 10, .component = "named", .operation = "so"};
        assert_int_equal(riptide_record_allocation(manager, &allocation), 0);
    }
    assert_int_equal(riptide_record_deallocation(manager, "named", 100), 0);
    /* Only the whole one had a name. */
    assert_int_equal(totals_of(manager).released_bytes, 10);
    close_records(manager);
}

static void bad_arguments_are_errors_and_count_nothing(void **state)
{
    (void)state;
    struct riptide_manager *manager = open_records(10 * MIB);
    struct riptide_record_totals small = {.size = 0};
    struct riptide_allocation empty = {0};
    struct riptide_allocation odd = {.size = sizeof odd, .size_bytes = 1, .tag = 1, .flags = 0x80};
    assert_int_equal(riptide_intern(NULL, "a", "b"), 0);
    assert_int_equal(riptide_record_bytes(NULL, 1, 1), -EINVAL);
    assert_int_equal(riptide_release_bytes(NULL, 1, 1), -EINVAL);
    assert_int_equal(riptide_record_block(NULL, 1, block_at(1), 1, 0), -EINVAL);
    assert_int_equal(riptide_release_block(NULL, block_at(1)), -EINVAL);
    assert_int_equal(riptide_record_allocation(NULL, &empty), -EINVAL);
    assert_int_equal(riptide_record_deallocation(NULL, "a", 1), -EINVAL);
    assert_int_equal(riptide_records_read(NULL, &small), -EINVAL);
    assert_int_equal(riptide_domain_open(NULL, "gpu"), -EINVAL);
    assert_int_equal(riptide_domain_intern(NULL, 1, "a", "b"), 0);
    assert_int_equal(riptide_domain_set(NULL, 1, 1, 1), -EINVAL);
    assert_int_equal(riptide_record_bytes(manager, 400, 1), -EINVAL);
    assert_int_equal(riptide_release_bytes(manager, UINT32_MAX, 1), -EINVAL);
    assert_int_equal(riptide_record_block(manager, 1, NULL, 1, 0), -EINVAL);
    assert_int_equal(riptide_record_block(manager, 1, block_at(1), 1, 0x80), -EINVAL);
    assert_int_equal(riptide_release_block(manager, NULL), RIPTIDE_E_UNKNOWN_BLOCK);
    assert_int_equal(riptide_record_allocation(manager, NULL), -EINVAL);
    assert_int_equal(riptide_record_allocation(manager, &empty), -EINVAL);
    assert_int_equal(riptide_record_allocation(manager, &odd), -EINVAL);
    odd = (struct riptide_allocation){.size = sizeof odd, .size_bytes = 1, .stack_count = 3};
    assert_int_equal(riptide_record_allocation(manager, &odd), -EINVAL);
    assert_int_equal(riptide_records_read(manager, &small), -EINVAL);
    assert_int_equal(riptide_records_read(manager, NULL), -EINVAL);
    assert_int_equal(totals_of(manager).allocations, 0);
    assert_int_equal(totals_of(manager).over_released_bytes, 0);
    close_records(manager);
}

/* ---- blocks ---- */

static void a_block_recorded_twice_keeps_its_older_record(void **state)
{
    (void)state;
    struct riptide_manager *manager = open_records(10 * MIB);
    const uint32_t a = riptide_intern(manager, "a", ""), b = riptide_intern(manager, "b", "");
    assert_int_equal(riptide_record_block(manager, a, block_at(1), 100, 0), 0);
    assert_int_equal(riptide_record_block(manager, b, block_at(1), 200, 0), RIPTIDE_E_KNOWN_BLOCK);
    assert_int_equal(riptide_record_block(manager, b, block_at(1), 200, RIPTIDE_CAPTURE_STACK),
                     RIPTIDE_E_KNOWN_BLOCK);
    assert_int_equal(totals_of(manager).known_blocks, 2);
    assert_int_equal(totals_of(manager).live_bytes, 100);
    assert_int_equal(totals_of(manager).allocations, 1);
    assert_int_equal(riptide_release_block(manager, block_at(1)), 0);
    assert_int_equal(riptide_release_block(manager, block_at(1)), RIPTIDE_E_UNKNOWN_BLOCK);
    assert_int_equal(riptide_release_block(manager, block_at(77)), RIPTIDE_E_UNKNOWN_BLOCK);
    assert_int_equal(totals_of(manager).unknown_releases, 2);
    assert_int_equal(totals_of(manager).live_bytes, 0);
    assert_int_equal(totals_of(manager).live_blocks, 0);
    close_records(manager);
}

static void blocks_beyond_the_table_are_counted_and_live_nowhere(void **state)
{
    (void)state;
    enum { MANY = 60000 };
    struct riptide_manager *manager = open_records(MIB);
    const uint32_t tag = riptide_intern(manager, "a", "b");
    for (uint64_t i = 0; i < MANY; i++)
        assert_int_equal(riptide_record_block(manager, tag, block_at(i), 10, 0), 0);
    struct riptide_record_totals totals = totals_of(manager);
    assert_int_equal(totals.allocations, MANY);
    assert_int_equal(totals.allocated_bytes, MANY * 10);
    assert_true(totals.untracked_blocks > 0 && totals.live_blocks > 10000);
    assert_int_equal(totals.untracked_bytes, totals.untracked_blocks * 10);
    assert_int_equal(totals.live_blocks + totals.untracked_blocks, MANY);
    assert_int_equal(totals.live_bytes, totals.live_blocks * 10);
    assert_int_equal(totals.releases, 0);
    assert_int_equal(totals.released_bytes, 0);
    assert_true(totals.memory_bytes <= MIB);
    const uint64_t live = totals.live_blocks;
    uint64_t found = 0;
    for (uint64_t i = MANY; i-- > 0;)
        found += riptide_release_block(manager, block_at(i)) == 0;
    assert_int_equal(found, live);
    totals = totals_of(manager);
    assert_int_equal(totals.live_bytes, 0);
    assert_int_equal(totals.unknown_releases, MANY - live);
    close_records(manager);
}

/* Random records and releases against an array that remembers. */
static void every_block_is_found_again_among_many(void **state)
{
    (void)state;
    enum { COUNT = 4096, TURNS = 400000 };
    struct riptide_manager *manager = open_records(MIB);
    const uint32_t tag = riptide_intern(manager, "a", "b");
    uint64_t *sizes = calloc(COUNT, sizeof *sizes), live = 0;
    uint32_t random = 1;
    for (uint32_t i = 0; i < TURNS; i++) {
        random = random * 1664525u + 1013904223u;
        const uint32_t at = random >> 8 & (COUNT - 1), size = 1 + (random >> 20);
        if (sizes[at] != 0) {
            assert_int_equal(riptide_release_block(manager, block_at(at)), 0);
            live -= sizes[at];
            sizes[at] = 0;
        } else {
            assert_int_equal(riptide_record_block(manager, tag, block_at(at), size, 0), 0);
            live += size;
            sizes[at] = size;
        }
    }
    assert_int_equal(totals_of(manager).live_bytes, live);
    assert_int_equal(totals_of(manager).untracked_blocks, 0);
    free(sizes);
    close_records(manager);
}

/* ---- threads ---- */

enum { THREADS = 16, ROUNDS = 20000, TAGS = 8 };

struct worker {
    struct riptide_manager *manager;
    const uint32_t *tags;
    uint32_t number;
    uint64_t allocations, bytes, released, failures;
    pthread_barrier_t *barrier;
};

/* Records blocks and bytes, and releases the blocks of its neighbour and bytes of any thread. */
static void *work(void *context)
{
    struct worker *worker = context;
    struct riptide_manager *manager = worker->manager;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        const uint32_t tag = worker->tags[(i + worker->number) % TAGS];
        const uint64_t size = 1 + (i * 2654435761u >> 20);
        const uint64_t block = (uint64_t)worker->number * ROUNDS + i;
        worker->failures += riptide_record_bytes(manager, tag, size) != 0;
        if (i % 4 == 0)
            worker->failures += riptide_record_block(manager, tag, block_at(block), size, 0) != 0;
        worker->allocations += 1u + (i % 4 == 0);
        worker->bytes += size + (i % 4 == 0 ? size : 0);
    }
    pthread_barrier_wait(worker->barrier);
    /* Of every tag as much as all threads together recorded under two others, so that some is. */
    const uint32_t victim = (worker->number + 1) % THREADS;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        const uint64_t size = 1 + (i * 2654435761u >> 20);
        const uint64_t block = (uint64_t)victim * ROUNDS + i;
        const uint32_t tag = worker->tags[(i + victim) % TAGS];
        if (i % 4 == 0) {
            worker->failures += riptide_release_block(manager, block_at(block)) != 0;
            worker->released += size;
        }
        if (i % 2 == 0) {
            worker->failures += riptide_release_bytes(manager, tag, size) != 0;
            worker->released += size;
        }
    }
    return NULL;
}

static void totals_agree_with_what_sixteen_threads_did(void **state)
{
    (void)state;
    struct riptide_manager *manager = open_records(20 * MIB);
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    pthread_barrier_t barrier;
    uint32_t tags[TAGS];
    uint64_t allocations = 0, bytes = 0, released = 0;
    for (uint32_t i = 0; i < TAGS; i++)
        tags[i] = riptide_intern(manager, "component", (const char[]){(char)('a' + i), 0});
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){manager, tags, i, .barrier = &barrier};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].failures, 0);
        allocations += workers[i].allocations;
        bytes += workers[i].bytes;
        released += workers[i].released;
    }
    const struct riptide_record_totals totals = totals_of(manager);
    assert_int_equal(totals.allocations, allocations);
    assert_int_equal(totals.allocated_bytes, bytes);
    assert_int_equal(totals.released_bytes, released);
    assert_int_equal(totals.live_bytes, bytes - released);
    assert_int_equal(totals.over_released_bytes, 0);
    assert_int_equal(totals.unknown_releases, 0);
    assert_int_equal(totals.untracked_blocks, 0);
    pthread_barrier_destroy(&barrier);
    close_records(manager);
}

static void *record_once(void *context)
{
    struct riptide_manager *manager = context;
    riptide_record_bytes(manager, riptide_intern(manager, "short", "life"), 3);
    return NULL;
}

static void ten_thousand_threads_leave_their_figures_and_no_room(void **state)
{
    (void)state;
    enum { LIVES = 10000, AT_ONCE = 4 };
    struct riptide_manager *manager = open_records(MIB);
    uint64_t before = 0;
    for (int i = 0; i < LIVES / AT_ONCE; i++) {
        pthread_t threads[AT_ONCE];
        for (int j = 0; j < AT_ONCE; j++)
            assert_int_equal(pthread_create(&threads[j], NULL, record_once, manager), 0);
        for (int j = 0; j < AT_ONCE; j++)
            pthread_join(threads[j], NULL);
        if (i == 10)
            before = totals_of(manager).memory_bytes;
    }
    assert_int_equal(totals_of(manager).allocations, LIVES);
    assert_int_equal(totals_of(manager).live_bytes, 3 * LIVES);
    assert_true(totals_of(manager).memory_bytes <= before + 4 * 4096);
    close_records(manager);
}

struct crowd {
    struct riptide_manager *manager;
    pthread_barrier_t barrier;
};

static void *record_in_crowd(void *context)
{
    struct crowd *crowd = context;
    for (int i = 0; i < 100; i++)
        riptide_record_bytes(crowd->manager, riptide_intern(crowd->manager, "crowd", "of"), 2);
    pthread_barrier_wait(&crowd->barrier);
    for (int i = 0; i < 50; i++)
        riptide_release_bytes(crowd->manager, riptide_intern(crowd->manager, "crowd", "of"), 2);
    return NULL;
}

static void threads_beyond_the_slabs_share_one_and_lose_nothing(void **state)
{
    (void)state;
    enum { CROWD = 100 };
    struct crowd crowd = {.manager = open_records(MIB)};
    pthread_t threads[CROWD];
    pthread_barrier_init(&crowd.barrier, NULL, CROWD);
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, record_in_crowd, &crowd), 0);
    for (int i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(totals_of(crowd.manager).allocations, CROWD * 100);
    assert_int_equal(totals_of(crowd.manager).live_bytes, CROWD * 100);
    assert_int_equal(totals_of(crowd.manager).over_released_bytes, 0);
    pthread_barrier_destroy(&crowd.barrier);
    close_records(crowd.manager);
}

static void managers_of_one_thread_do_not_mix(void **state)
{
    (void)state;
    struct riptide_manager *managers[9];
    for (unsigned i = 0; i < 9; i++)
        managers[i] = open_records(MIB);
    for (unsigned turn = 0; turn < 10; turn++) {
        for (unsigned i = 0; i < 9; i++)
            riptide_record_bytes(managers[i], riptide_intern(managers[i], "a", "b"), i);
    }
    for (unsigned i = 0; i < 9; i++) {
        assert_int_equal(totals_of(managers[i]).allocations, 10);
        assert_int_equal(totals_of(managers[i]).live_bytes, 10 * i);
        close_records(managers[i]);
    }
    /* The memory of a closed one comes again; nothing of what was there does. */
    for (unsigned i = 0; i < 20; i++) {
        struct riptide_manager *manager = open_records(MIB);
        riptide_record_bytes(manager, 1, 5);
        assert_int_equal(totals_of(manager).live_bytes, 5);
        close_records(manager);
    }
}

/* ---- versions and fork ---- */

static void structs_of_older_and_newer_programs_are_understood(void **state)
{
    (void)state;
    struct riptide_manager *manager = open_records(10 * MIB);
    struct {
        struct riptide_allocation known;
        uint64_t later[4];
    } allocation;
    struct {
        struct riptide_record_totals known;
        uint64_t later[4];
    } totals;
    /* What lies behind an older struct is not looked at. */
    memset(&allocation, 0xff, sizeof allocation);
    allocation.known.size = offsetof(struct riptide_allocation, alignment);
    allocation.known.timestamp_ns = 0;
    allocation.known.size_bytes = 7;
    assert_int_equal(riptide_record_allocation(manager, &allocation.known), 0);
    memset(&allocation.known, 0, sizeof allocation.known);
    allocation.known.size = sizeof allocation;
    allocation.known.size_bytes = 8;
    assert_int_equal(riptide_record_allocation(manager, &allocation.known), 0);
    memset(&totals, 0xaa, sizeof totals);
    totals.known.size = offsetof(struct riptide_record_totals, releases);
    assert_int_equal(riptide_records_read(manager, &totals.known), 0);
    assert_int_equal(totals.known.allocated_bytes, 15);
    assert_int_equal(totals.known.releases, UINT64_C(0xaaaaaaaaaaaaaaaa));
    totals.known.size = sizeof totals;
    assert_int_equal(riptide_records_read(manager, &totals.known), 0);
    assert_int_equal(totals.known.size, sizeof totals);
    assert_int_equal(totals.known.live_bytes, 15);
    assert_int_equal(totals.later[0], UINT64_C(0xaaaaaaaaaaaaaaaa));
    close_records(manager);
}

static void the_child_of_a_fork_can_free_its_copy(void **state)
{
    (void)state;
    struct riptide_manager *a = open_records(MIB), *b = open_records(MIB);
    riptide_record_bytes(a, 1, 5);
    rtd_records_before_fork(a->records);
    rtd_records_before_fork(b->records);
    const pid_t child = fork();
    if (child == 0) {
        rtd_records_after_fork_child(b->records);
        rtd_records_after_fork_child(a->records);
        a->forked = b->forked = 1;
        const bool refused =
            riptide_record_bytes(a, 1, 5) == RIPTIDE_E_FORKED && riptide_intern(b, "a", "b") == 0;
        rtd_records_free(a->records);
        rtd_records_free(b->records);
        struct rtd_records *fresh = rtd_records_new(MIB, NULL);
        const bool works = fresh && rtd_records_add_bytes(fresh, 1, 7) == 0;
        rtd_records_free(fresh);
        _exit(refused && works ? 0 : 1);
    }
    rtd_records_after_fork_parent(b->records);
    rtd_records_after_fork_parent(a->records);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    riptide_record_bytes(a, 1, 5);
    assert_int_equal(totals_of(a).live_bytes, 10);
    close_records(a);
    close_records(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_recorded_by_size_is_live_until_it_is_released),
        cmocka_unit_test(what_is_released_beyond_what_is_live_changes_nothing_else),
        cmocka_unit_test(bytes_of_a_block_cannot_be_released_by_size),
        cmocka_unit_test(a_component_gives_back_in_order_of_its_operations_names),
        cmocka_unit_test(sizes_are_taken_as_they_are_or_refused),
        cmocka_unit_test(sums_never_wrap_whatever_the_sizes_are),
        cmocka_unit_test(what_is_live_is_right_where_the_sums_over_threads_are_at_their_end),
        cmocka_unit_test(a_slab_of_another_manager_is_known_as_such),
        cmocka_unit_test(half_a_pointer_at_the_end_of_an_allocation_is_not_looked_at),
        cmocka_unit_test(bad_arguments_are_errors_and_count_nothing),
        cmocka_unit_test(a_block_recorded_twice_keeps_its_older_record),
        cmocka_unit_test(blocks_beyond_the_table_are_counted_and_live_nowhere),
        cmocka_unit_test(every_block_is_found_again_among_many),
        cmocka_unit_test(totals_agree_with_what_sixteen_threads_did),
        cmocka_unit_test(ten_thousand_threads_leave_their_figures_and_no_room),
        cmocka_unit_test(threads_beyond_the_slabs_share_one_and_lose_nothing),
        cmocka_unit_test(managers_of_one_thread_do_not_mix),
        cmocka_unit_test(structs_of_older_and_newer_programs_are_understood),
        cmocka_unit_test(the_child_of_a_fork_can_free_its_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
