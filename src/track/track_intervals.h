// SPDX-License-Identifier: Apache-2.0
/*
 * track_intervals.h - disjoint address ranges in order, each with an owner.
 *
 * Runs in:    collector, tests
 * Threads:    one owner
 * Allocates:  one array of nodes, grown to RTD_INTERVALS_MAX at most
 * Fails:      rtd_intervals_reserve() by -ENOMEM or -ENOSPC; nothing else can
 *
 * A treap: a search tree by start whose shape is that of a heap by random priorities, so that its
 * depth stays logarithmic in whatever order a program maps. All walks are loops. Nodes name each
 * other by index, so the array may move.
 */
#ifndef RTD_TRACK_INTERVALS_H
#define RTD_TRACK_INTERVALS_H

#include <stddef.h>
#include <stdint.h>

#define RTD_INTERVAL_NONE UINT32_MAX

enum { RTD_INTERVALS_MAX = 1 << 17 }; /* twice what Linux grants a process by default */

/* [start, end), never empty. */
struct rtd_interval {
    uint64_t start, end;
    uint32_t owner; /* the caller's */
};

struct rtd_interval_node;

/* All zero is no valid map: rtd_intervals_init(). */
struct rtd_intervals {
    struct rtd_interval_node *nodes;
    uint32_t capacity, count;
    uint32_t root, spare; /* spare: list of unused nodes */
    uint64_t random;
};

/* seed should not be known to whoever is observed. Allocates nothing. */
void rtd_intervals_init(struct rtd_intervals *intervals, uint64_t seed);
void rtd_intervals_fini(struct rtd_intervals *intervals);

/* Makes room for that many more intervals. 0, -ENOMEM, or -ENOSPC beyond RTD_INTERVALS_MAX. */
int rtd_intervals_reserve(struct rtd_intervals *intervals, uint32_t more);

/*
 * Cuts the interval that holds key - 1 and key in two at key. Needs room for one. Returns its
 * owner, RTD_INTERVAL_NONE when there is none.
 */
uint32_t rtd_intervals_cut(struct rtd_intervals *intervals, uint64_t key);

/* Adds an interval where nothing is. Needs room for one. */
void rtd_intervals_add(struct rtd_intervals *intervals, struct rtd_interval interval);

/* The interval that holds address, or the first behind it; NULL when there is none. Borrowed until
 * the next change; its end may be moved as long as it meets no other. */
struct rtd_interval *rtd_intervals_find(struct rtd_intervals *intervals, uint64_t address);

typedef void (*rtd_interval_taken)(void *context, const struct rtd_interval *interval);

/* Removes the intervals that begin in [start, end) and shows each; cut at both ends first. */
void rtd_intervals_take(struct rtd_intervals *intervals, uint64_t start, uint64_t end,
                        rtd_interval_taken taken, void *context);

#endif
