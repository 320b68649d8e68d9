// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_exact_writer_test.c - stacks and sites of exact mode in a ledger.
 *
 * Runs in:    a test process
 * Threads:    two tests start their own
 * Allocates:  one sparse memory file for each test
 * Fails:      as cmocka does
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ledger/ledger_exact_writer.h"

enum {
    THREADS = 8,
    STORM_SITES = 20000,
    TREE_CHILDREN = 3,
    ALL_NODES = RTD_EXACT_NODE_COUNT - RTD_ROOT_COUNT,
    STACK_NODES = 67000,
    FRAMES = 33,
    SEVERAL_PCS = 3300,
    SEVERAL_SITES = 17000,
};

#define PC UINT64_C(0x555555550000)

static struct rtd_ledger *ledger;
static struct rtd_exact *exact;

static int set_up(void **state)
{
    (void)state;
    const int fd = memfd_create("ledger", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)RTD_LEDGER_EXACT_BYTES) != 0)
        return -1;
    void *const memory = mmap(NULL, RTD_LEDGER_EXACT_BYTES, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_NORESERVE, fd, 0);
    close(fd);
    if (memory == MAP_FAILED)
        return -1;
    ledger = memory;
    exact = rtd_exact_of(ledger);
    atomic_store(&exact->header.site_count, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return munmap(ledger, RTD_LEDGER_EXACT_BYTES);
}

/* pc of a node, and its parent. */
static uint64_t pc_of(uint32_t node, uint32_t *parent)
{
    const uint64_t word = atomic_load(&exact->nodes[node]);
    *parent = (uint32_t)(word >> 32);
    return atomic_load(&exact->pcs[(uint32_t)word - 1]);
}

static void nodes_hold_their_parent_and_address(void **state)
{
    uint32_t nodes[1000], parent = 1;
    bool added;
    (void)state;

    for (uint32_t i = 0; i < 1000; i++) {
        nodes[i] = rtd_exact_node_insert(exact, parent, PC + i % 37, &added);
        assert_true(added);
        assert_true(nodes[i] >= RTD_ROOT_COUNT && nodes[i] < RTD_EXACT_NODE_COUNT);
        parent = nodes[i];
    }
    uint32_t expected = 1;
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(pc_of(nodes[i], &parent), PC + i % 37);
        assert_int_equal(parent, expected);
        assert_int_equal(rtd_exact_node_insert(exact, parent, PC + i % 37, &added), nodes[i]);
        assert_false(added);
        expected = nodes[i];
    }
    assert_int_equal(atomic_load(&exact->header.node_count), RTD_ROOT_COUNT + 1000);
    assert_int_equal(atomic_load(&exact->header.pc_count), 37);
}

static void a_parent_of_many_children_finds_each_again(void **state)
{
    uint32_t nodes[5000];
    bool added;
    (void)state;

    const uint32_t parent = rtd_exact_node_insert(exact, 0, PC, &added);
    for (uint32_t i = 0; i < 5000; i++)
        nodes[i] = rtd_exact_node_insert(exact, parent, PC + 4 * i, &added);
    for (uint32_t i = 0; i < 5000; i++)
        assert_int_equal(rtd_exact_node_insert(exact, parent, PC + 4 * i, &added), nodes[i]);
    assert_int_equal(atomic_load(&exact->header.node_count), RTD_ROOT_COUNT + 5001);
}

static void what_is_no_address_is_refused(void **state)
{
    bool added;
    (void)state;

    assert_int_equal(rtd_exact_node_insert(exact, 0, 0, &added), RTD_NONE);
    assert_int_equal(rtd_exact_node_insert(exact, 0, UINT64_C(1) << RTD_PC_BITS, &added), RTD_NONE);
    assert_int_equal(atomic_load(&exact->header.pc_count), 0);
}

/* The i-th node of a tree in the order of its levels, where each has TREE_CHILDREN children. */
static uint32_t insert_tree_node(uint32_t *nodes, uint32_t i, bool *added)
{
    const uint32_t parent = i < TREE_CHILDREN ? 0 : nodes[i / TREE_CHILDREN - 1];
    return rtd_exact_node_insert(exact, parent, PC + i % 5000, added);
}

static void every_node_id_is_given_out_and_found_again(void **state)
{
    uint32_t *const nodes = calloc(ALL_NODES, sizeof *nodes);
    bool added;
    (void)state;

    assert_non_null(nodes);
    for (uint32_t i = 0; i < ALL_NODES; i++) {
        nodes[i] = insert_tree_node(nodes, i, &added);
        if (!added || nodes[i] != RTD_ROOT_COUNT + i)
            fail_msg("node %u has id %u", i, nodes[i]);
    }
    assert_int_equal(rtd_exact_node_insert(exact, 1, PC, &added), RTD_NONE);
    assert_int_equal(rtd_exact_node_insert(exact, nodes[ALL_NODES - 1], PC, &added), RTD_NONE);
    assert_int_equal(atomic_load(&exact->header.node_count), RTD_EXACT_NODE_COUNT);
    for (uint32_t i = 0; i < ALL_NODES; i++) {
        const uint32_t again = insert_tree_node(nodes, i, &added);
        if (added || again != nodes[i])
            fail_msg("node %u has id %u, then %u", i, nodes[i], again);
    }
    free(nodes);
}

static void every_address_has_room_and_the_next_is_refused(void **state)
{
    bool added;
    (void)state;

    for (uint32_t i = 0; i < RTD_EXACT_PC_COUNT; i++)
        assert_int_equal(rtd_exact_node_insert(exact, 0, PC + 4 * i, &added), RTD_ROOT_COUNT + i);
    assert_int_equal(atomic_load(&exact->header.pc_count), RTD_EXACT_PC_COUNT);
    assert_int_equal(rtd_exact_node_insert(exact, 0, PC + 1, &added), RTD_NONE);
    assert_int_equal(rtd_exact_node_insert(exact, 0, PC + 4, &added), RTD_ROOT_COUNT + 1);
}

static void a_number_that_another_thread_spoiled_is_passed_over(void **state)
{
    bool added;
    (void)state;

    const uint32_t parent = rtd_exact_node_insert(exact, 0, PC, &added);
    /* As if a thread had parent's neighbour and were not to write it for a long time. */
    atomic_fetch_add(&exact->header.node_count, 1);
    const uint32_t child = rtd_exact_node_insert(exact, parent, PC + 1, &added);
    assert_int_equal(child, parent + 2);
    assert_int_equal((uint32_t)atomic_load(&exact->nodes[parent + 1]), 0);
    assert_int_not_equal(atomic_load(&exact->nodes[parent + 1]), 0);
    assert_int_equal(rtd_exact_node_insert(exact, parent, PC + 1, &added), child);
    /* A number that is spoiled before its owner writes to it. */
    atomic_store(&exact->nodes[child + 1], (uint64_t)child << 32);
    assert_int_equal(rtd_exact_node_insert(exact, child, PC + 2, &added), child + 2);
    assert_true(added);
    assert_int_equal(rtd_exact_node_insert(exact, child, PC + 2, &added), child + 2);
    assert_false(added);
}

static void children_of_the_last_root_are_found_again(void **state)
{
    bool added;
    (void)state;

    const uint32_t node = rtd_exact_node_insert(exact, RTD_ROOT_COUNT - 1, PC, &added);
    assert_int_equal(node, RTD_ROOT_COUNT);
    assert_int_equal(rtd_exact_node_insert(exact, RTD_ROOT_COUNT - 1, PC, &added), node);
    assert_false(added);
}

static void sites_get_the_next_id_and_keep_their_first_time(void **state)
{
    (void)state;

    assert_int_equal(rtd_exact_site_insert(ledger, 5000, 0, 17), 1);
    assert_int_equal(rtd_exact_site_insert(ledger, 5000, 3, 18), 2);
    assert_int_equal(rtd_exact_site_insert(ledger, 5001, 0, 19), 3);
    assert_int_equal(rtd_exact_site_insert(ledger, 5000, 3, 20), 2);
    assert_int_equal(atomic_load(&exact->header.site_count), 4);
    assert_int_equal(atomic_load(&exact->site_first_ms[2]), 18);
    assert_true(atomic_load(&exact->site_keys[2]) ==
                (RTD_SITE_KEY_USED | UINT64_C(3) << 32 | 5000));
}

static void sites_beyond_the_table_go_to_site_0_and_are_counted(void **state)
{
    (void)state;

    for (uint32_t i = 1; i < RTD_EXACT_SITE_COUNT; i++)
        assert_int_equal(rtd_exact_site_insert(ledger, RTD_ROOT_COUNT + i * 7, 0, 0), i);
    assert_int_equal(rtd_exact_site_insert(ledger, 2, 1, 0), RTD_SITE_OVERFLOW);
    assert_int_equal(atomic_load(&ledger->header.loss[RTD_LOSS_SITES_OVERFLOW]), 1);
    assert_int_equal(atomic_load(&exact->header.site_count), RTD_EXACT_SITE_COUNT);
    assert_int_equal(rtd_exact_site_insert(ledger, RTD_ROOT_COUNT + 7, 0, 0), 1);
}

static void *insert_all(void *argument)
{
    uint32_t *const sites = argument;
    for (uint32_t i = 0; i < STORM_SITES; i++) {
        bool added;
        const uint32_t parent = rtd_exact_node_insert(exact, 0, PC + i / 10, &added);
        const uint32_t node = rtd_exact_node_insert(exact, parent, PC + i, &added);
        sites[i] = rtd_exact_site_insert(ledger, node, 0, 0);
    }
    return NULL;
}

static void threads_that_insert_the_same_agree_on_each_id(void **state)
{
    pthread_t threads[THREADS];
    uint32_t *const sites = calloc(THREADS * STORM_SITES, sizeof *sites);
    (void)state;

    assert_non_null(sites);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, insert_all, sites + (size_t)i * STORM_SITES), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (size_t i = STORM_SITES; i < (size_t)THREADS * STORM_SITES; i++) {
        assert_int_equal(sites[i], sites[i - STORM_SITES]);
        assert_int_not_equal(atomic_load(&exact->site_keys[sites[i]]), 0);
    }
    free(sites);
}

/* ---- one number for each node, whoever comes first ---- */

struct storm {
    pthread_barrier_t *start;
    unsigned seed;
    uint32_t wrong;
};

/* Walks stacks that the other threads walk at the same moment, in another order. */
static void *insert_stacks(void *argument)
{
    struct storm *const storm = argument;
    uint32_t random = storm->seed;

    for (unsigned round = 0; round < 400; round++) {
        if (round % 20 == 0)
            pthread_barrier_wait(storm->start);
        uint32_t node = round % 7;
        for (unsigned frame = 0; frame < 60; frame++) {
            random = random * 1664525 + 1013904223;
            const uint64_t pc = PC + round / 20 * 1000 + frame * 8 + (random >> 28 == 0);
            const uint32_t parent = node;
            bool added;
            uint32_t seen_parent = RTD_NONE;
            node = rtd_exact_node_insert(exact, parent, pc, &added);
            if (node == RTD_NONE || pc_of(node, &seen_parent) != pc || seen_parent != parent) {
                storm->wrong++;
                break;
            }
        }
    }
    return NULL;
}

static int compare_words(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* Nodes that are there, in any order; the caller frees them. */
static uint64_t *all_words(size_t *count)
{
    const uint32_t end = atomic_load(&exact->header.node_count);
    uint64_t *const words = calloc(end, sizeof *words);

    assert_non_null(words);
    *count = 0;
    for (uint32_t id = RTD_ROOT_COUNT; id < end; id++) {
        words[*count] = atomic_load(&exact->nodes[id]);
        *count += (uint32_t)words[*count] != 0;
    }
    return words;
}

static void threads_that_race_give_no_node_two_ids(void **state)
{
    pthread_barrier_t start;
    pthread_t threads[THREADS];
    struct storm storms[THREADS];
    size_t count;
    (void)state;

    assert_int_equal(pthread_barrier_init(&start, NULL, THREADS), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        storms[i] = (struct storm){.start = &start, .seed = i / 2, .wrong = 0};
        assert_int_equal(pthread_create(&threads[i], NULL, insert_stacks, &storms[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(storms[i].wrong, 0);
    }
    pthread_barrier_destroy(&start);
    uint64_t *const words = all_words(&count);
    qsort(words, count, sizeof *words, compare_words);
    assert_true(count > 1000);
    for (size_t i = 1; i < count; i++)
        assert_true(words[i] != words[i - 1]);
    free(words);
}

/* ---- memory ---- */

/* KiB of the tables that hold data. */
static size_t touched_kib(void)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t size = offsetof(struct rtd_exact, leaf_regions);
    unsigned char *const pages = calloc(size / page + 1, 1);
    size_t count = 0;

    assert_non_null(pages);
    assert_int_equal(mincore(exact, size, pages), 0);
    for (size_t i = 0; i < size / page; i++)
        count += pages[i] & 1;
    free(pages);
    return count * page / 1024;
}

static void nodes_touch_as_much_memory_as_they_fill(void **state)
{
    uint32_t node = 0;
    bool added;
    (void)state;

    /* Stacks that share their outer half with the one before. */
    uint32_t stack[FRAMES] = {0};
    const uint32_t end = RTD_ROOT_COUNT + STACK_NODES;
    for (uint32_t i = 0; atomic_load(&exact->header.node_count) < end; i++) {
        node = i % 2 == 0 ? 0 : stack[FRAMES / 2];
        for (unsigned k = i % 2 == 0 ? 0 : FRAMES / 2 + 1; k < FRAMES; k++) {
            node = rtd_exact_node_insert(exact, node, PC + 8 * ((i * 7 + k) % SEVERAL_PCS), &added);
            stack[k] = node;
        }
    }
    assert_true(touched_kib() <= 1536);
}

static void nodes_that_all_need_a_slot_touch_little_more(void **state)
{
    uint32_t *const nodes = calloc(STACK_NODES, sizeof *nodes);
    bool added;
    (void)state;

    assert_non_null(nodes);
    for (uint32_t i = 0; i < STACK_NODES; i++)
        nodes[i] = insert_tree_node(nodes, i, &added);
    assert_int_equal(atomic_load(&exact->header.node_count), RTD_ROOT_COUNT + STACK_NODES);
    assert_true(touched_kib() <= 1536);
    free(nodes);
}

static void addresses_touch_as_much_memory_as_they_fill(void **state)
{
    uint32_t node = 0;
    bool added;
    (void)state;

    for (uint32_t i = 0; i < SEVERAL_PCS; i++)
        node = rtd_exact_node_insert(exact, node, PC + 37 * i, &added);
    assert_int_equal(atomic_load(&exact->header.pc_count), SEVERAL_PCS);
    /* The nodes, and a slot of the first, take 8 pages of it. */
    assert_true(touched_kib() <= 128 + 32);
}

static void sites_touch_as_much_memory_as_they_fill(void **state)
{
    (void)state;

    for (uint32_t i = 0; i < SEVERAL_SITES; i++)
        assert_int_equal(rtd_exact_site_insert(ledger, RTD_ROOT_COUNT + i * 4, 0, 0), i + 1);
    assert_true(touched_kib() <= 768);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nodes_hold_their_parent_and_address, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_parent_of_many_children_finds_each_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_address_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_node_id_is_given_out_and_found_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(every_address_has_room_and_the_next_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_number_that_another_thread_spoiled_is_passed_over, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(children_of_the_last_root_are_found_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(sites_get_the_next_id_and_keep_their_first_time, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(sites_beyond_the_table_go_to_site_0_and_are_counted, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(threads_that_insert_the_same_agree_on_each_id, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(threads_that_race_give_no_node_two_ids, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nodes_touch_as_much_memory_as_they_fill, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nodes_that_all_need_a_slot_touch_little_more, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(addresses_touch_as_much_memory_as_they_fill, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(sites_touch_as_much_memory_as_they_fill, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
