// SPDX-License-Identifier: Apache-2.0
/*
 * export_human.h - figures, times and states in words, the same on every face.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure functions
 * Allocates:  never
 * Fails:      never; what does not fit the caller's storage is cut
 */
#ifndef RTD_EXPORT_HUMAN_H
#define RTD_EXPORT_HUMAN_H

#include "analyze/analyze_report.h"

/* A figure in words, by value: no storage to own. */
struct rtd_words {
    char text[96];
};

/* "512 B", "12.3 MiB": three digits, units of 1024; the next unit from 999.5 on. */
struct rtd_words rtd_human_bytes(uint64_t bytes);

/* The value alone, where there is no room for the interval: "12.3 MiB", or "<1.84 MiB" for none. */
struct rtd_words rtd_human_about_bytes(struct rtd_estimate estimate);

/* "11.8..12.9 MiB"; "exact" when both ends are the value. */
struct rtd_words rtd_human_range_bytes(struct rtd_estimate estimate);

/* "9,999", "12.3k", "4.56M": all digits below ten thousand, then three and units of 1000. */
struct rtd_words rtd_human_count(uint64_t count);

/* All digits, grouped: "1,234,567". */
struct rtd_words rtd_human_digits(uint64_t count);

/* "0.42 s", "3 min 12 s", "2 h 5 min", "3 d 4 h". Negative and not a number read as 0. */
struct rtd_words rtd_human_duration(double seconds);

/* RFC 3339 in UTC with milliseconds; "" for 0. */
struct rtd_words rtd_human_time(uint64_t unix_ns);

/* "running", "exited with status 3", "killed by signal 9 (SIGKILL)", ... */
struct rtd_words rtd_human_status(const struct rtd_process_meta *meta);

/* "module+0x1a2b" of a frame without a name: the file's name without its directory, cut. */
struct rtd_words rtd_human_place(const char *module, uint64_t offset);

/*
 * The place of a site: the frame that names it, or the first one if none does (offset 0 without a
 * stack). Build id and inlining are left empty. The strings are the site's.
 */
struct rtd_report_frame rtd_human_named(const struct rtd_report_site *site);

/*
 * The n-th caller (from 1) of the frame that names a site, of those worth naming beside it: with a
 * name, other than the last, and not of the C library, where only starters and callbacks stand.
 * NULL when there is none, or when the site has a file: its line says more than its callers.
 */
const struct rtd_report_frame *rtd_human_caller(const struct rtd_report_site *site, unsigned n);

/*
 * The contract's words: running|exited|killed|blind; sample|exact; exec|fork|unseen. Constant
 * strings for every number: recordings are read from strangers, and hold what they like.
 */
const char *rtd_human_status_name(uint32_t status);
const char *rtd_human_mode_name(uint32_t mode);
const char *rtd_human_kind_name(uint32_t kind);

/* A limit's kind (enum rtd_limit_kind) in words: "address space", "control group, maximum". */
const char *rtd_human_limit(uint32_t kind);

/* The mode in which the target's heap is seen: "off" when only domains are. */
const char *rtd_human_mode_of(const struct rtd_report *report);

/* True when nothing is known of the process's allocations: figures must not be read as zero. */
bool rtd_human_is_blind(const struct rtd_report_process *process);

/* True when blind_reason says why the heap is not seen, or is not any more: blind from the start or
 * half-way, or not watched. */
bool rtd_human_lacks_heap(const struct rtd_report_process *process);

#endif
