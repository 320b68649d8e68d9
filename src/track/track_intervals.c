// SPDX-License-Identifier: Apache-2.0
/*
 * track_intervals.c - a treap of address ranges, see track_intervals.h.
 *
 * Runs in:    collector, tests
 * Threads:    one owner
 * Allocates:  one array of nodes
 * Fails:      rtd_intervals_reserve() only
 */
#include "track/track_intervals.h"

#include <errno.h>
#include <stdlib.h>

#define NONE RTD_INTERVAL_NONE

enum { FIRST_NODES = 64 };

struct rtd_interval_node {
    struct rtd_interval interval;
    uint32_t left, right; /* right also links unused nodes */
    uint32_t priority;
};

/* splitmix64: any sequence that an observed program cannot foretell will do. */
static uint32_t next_priority(struct rtd_intervals *intervals)
{
    uint64_t x = intervals->random += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)(x >> 32);
}

void rtd_intervals_init(struct rtd_intervals *intervals, uint64_t seed)
{
    *intervals = (struct rtd_intervals){.root = NONE, .spare = NONE, .random = seed};
}

void rtd_intervals_fini(struct rtd_intervals *intervals)
{
    free(intervals->nodes);
    rtd_intervals_init(intervals, intervals->random);
}

int rtd_intervals_reserve(struct rtd_intervals *intervals, uint32_t more)
{
    uint32_t capacity = intervals->capacity ? intervals->capacity : FIRST_NODES;

    if (intervals->capacity - intervals->count >= more)
        return 0;
    if (more > RTD_INTERVALS_MAX - intervals->count)
        return -ENOSPC;
    while (capacity - intervals->count < more || capacity == intervals->capacity)
        capacity *= 2;
    struct rtd_interval_node *const nodes =
        realloc(intervals->nodes, capacity * sizeof(intervals->nodes[0]));
    if (!nodes)
        return -ENOMEM;
    for (uint32_t i = capacity; i-- > intervals->capacity;) {
        nodes[i].right = intervals->spare;
        intervals->spare = i;
    }
    intervals->nodes = nodes;
    intervals->capacity = capacity;
    return 0;
}

/* Everything that begins below key, and the rest. */
static void split(struct rtd_interval_node *nodes, uint32_t root, uint64_t key, uint32_t *low,
                  uint32_t *high)
{
    while (root != NONE) {
        if (nodes[root].interval.start < key) {
            *low = root;
            low = &nodes[root].right;
            root = *low;
        } else {
            *high = root;
            high = &nodes[root].left;
            root = *high;
        }
    }
    *low = NONE;
    *high = NONE;
}

/* One tree of two, all of low before all of high. */
static uint32_t merge(struct rtd_interval_node *nodes, uint32_t low, uint32_t high)
{
    uint32_t root = NONE;
    uint32_t *link = &root;

    while (low != NONE && high != NONE) {
        if (nodes[low].priority > nodes[high].priority) {
            *link = low;
            link = &nodes[low].right;
            low = *link;
        } else {
            *link = high;
            link = &nodes[high].left;
            high = *link;
        }
    }
    *link = low != NONE ? low : high;
    return root;
}

void rtd_intervals_add(struct rtd_intervals *intervals, struct rtd_interval interval)
{
    struct rtd_interval_node *const nodes = intervals->nodes;
    const uint32_t fresh = intervals->spare;
    uint32_t low, high;

    intervals->spare = nodes[fresh].right;
    intervals->count++;
    nodes[fresh] = (struct rtd_interval_node){
        .interval = interval, .left = NONE, .right = NONE, .priority = next_priority(intervals)};
    split(nodes, intervals->root, interval.start, &low, &high);
    intervals->root = merge(nodes, merge(nodes, low, fresh), high);
}

/* The last interval that begins at or below address, NULL when there is none. */
static struct rtd_interval *find_below(struct rtd_intervals *intervals, uint64_t address)
{
    struct rtd_interval *found = NULL;

    for (uint32_t at = intervals->root; at != NONE;) {
        struct rtd_interval_node *const node = &intervals->nodes[at];
        if (node->interval.start <= address) {
            found = &node->interval;
            at = node->right;
        } else {
            at = node->left;
        }
    }
    return found;
}

struct rtd_interval *rtd_intervals_find(struct rtd_intervals *intervals, uint64_t address)
{
    struct rtd_interval *found = find_below(intervals, address);

    if (found && found->end > address)
        return found;
    found = NULL;
    for (uint32_t at = intervals->root; at != NONE;) {
        struct rtd_interval_node *const node = &intervals->nodes[at];
        if (node->interval.start > address) {
            found = &node->interval;
            at = node->left;
        } else {
            at = node->right;
        }
    }
    return found;
}

uint32_t rtd_intervals_cut(struct rtd_intervals *intervals, uint64_t key)
{
    struct rtd_interval *const found = find_below(intervals, key);

    if (!found || found->start == key || found->end <= key)
        return NONE;
    const struct rtd_interval rest = {key, found->end, found->owner};
    found->end = key;
    rtd_intervals_add(intervals, rest);
    return rest.owner;
}

/* Takes a tree apart from its least node on, by turning left children up. */
static void release(struct rtd_intervals *intervals, uint32_t root, rtd_interval_taken taken,
                    void *context)
{
    struct rtd_interval_node *const nodes = intervals->nodes;

    while (root != NONE) {
        const uint32_t left = nodes[root].left;
        const uint32_t right = nodes[root].right;
        if (left != NONE) {
            nodes[root].left = nodes[left].right;
            nodes[left].right = root;
            root = left;
            continue;
        }
        taken(context, &nodes[root].interval);
        nodes[root].right = intervals->spare;
        intervals->spare = root;
        intervals->count--;
        root = right;
    }
}

void rtd_intervals_take(struct rtd_intervals *intervals, uint64_t start, uint64_t end,
                        rtd_interval_taken taken, void *context)
{
    uint32_t low, middle, high;

    split(intervals->nodes, intervals->root, start, &low, &middle);
    split(intervals->nodes, middle, end, &middle, &high);
    intervals->root = merge(intervals->nodes, low, high);
    release(intervals, middle, taken, context);
}
