// SPDX-License-Identifier: Apache-2.0
/*
 * manager_analysis.h - the public analyses, made from a report.
 *
 * Runs in:    a program that links libriptide
 * Threads:    pure functions of an immutable report; what they make is immutable
 * Allocates:  each answer is one arena, which the public _free function gives back
 * Fails:      by -ENOMEM, with *out NULL
 *
 * An answer owns copies of all its strings: the report may go before it. Only what the report's
 * target shows is in it, heap and domains side by side; the same report gives the same answer, in
 * the same order.
 */
#ifndef RTD_MANAGER_ANALYSIS_H
#define RTD_MANAGER_ANALYSIS_H

#include "analyze/analyze_arena.h"
#include "analyze/analyze_report.h"
#include "riptide/riptide.h"

/* Most entries in a list of largest blocks, top allocators or operations. */
enum { RTD_ANALYSIS_TOP = 20 };

/*
 * 0 and *out, or -ENOMEM. A report without a target gives empty answers. Freed by
 * riptide_leaks_free(), riptide_allocations_free() and riptide_parts_free().
 */
int rtd_manager_leaks_new(const struct rtd_report *report,
                          const struct riptide_leak_analysis **out);
int rtd_manager_allocations_new(const struct rtd_report *report,
                                const struct riptide_allocation_analysis **out);
int rtd_manager_parts_new(const struct rtd_report *report, const struct riptide_parts **out);

/*
 * The part that an answer is made of in common: the arena behind it. An answer of `bytes` that
 * begins with its size, zeroed, and the arena that everything it points to is taken from; NULL when
 * memory is short. It is given back by rtd_manager_answer_free(), which allows NULL.
 */
void *rtd_manager_answer_new(size_t bytes, struct rtd_arena **arena);
void rtd_manager_answer_free(const void *answer);

/*
 * Pointers to `count` elements of `bytes` each: what the public lists are. *elements is their
 * array. NULL and arena->failed when memory is short.
 */
void *rtd_manager_list_new(struct rtd_arena *arena, uint32_t count, size_t bytes, void **elements);

#endif
