// SPDX-License-Identifier: Apache-2.0
/*
 * collect_reporter.h - makes reports beside the loop, which must never be late for an agent.
 *
 * Runs in:    collector
 * Threads:    one thread of its own; between _start and the job's end it alone reads the records,
 *             the symbol table and the resolver, and the loop changes none of them
 * Allocates:  the thread, reports, answers
 * Fails:      a report that cannot be made is not published; a query is answered with the errno
 *
 * Why a thread: names of a big program take a second or more to find, and a forked child waits
 * for its ledger no longer than RTD_HANDSHAKE_MS. So the loop goes on ticking clocks and handing
 * out ledgers while the report is made, and leaves the records alone meanwhile.
 *
 *     idle --start(job)--> busy --thread done, event readable--> finished --take--> idle
 */
#ifndef RTD_COLLECT_REPORTER_H
#define RTD_COLLECT_REPORTER_H

#include "analyze/analyze_report.h"
#include "collect/collect_socket.h"

#include <stdbool.h>

enum { RTD_JOB_QUERIES = 8 };

/* One waiting caller of `riptide report PID`. */
struct rtd_job_query {
    struct rtd_query query;
    unsigned caller; /* who asked: carried, not touched */
    char *answer;    /* made by the job, owned by whoever takes the job; NULL if it failed */
    size_t length_bytes;
    int status; /* 0 or a negative errno */
};

struct rtd_job {
    struct rtd_report_input input;             /* borrowed until the job is finished */
    const struct rtd_process_record **records; /* owned: the array input.processes points to */
    bool for_server;                           /* keep the report for the HTTP server */
    unsigned query_count;
    struct rtd_job_query queries[RTD_JOB_QUERIES];
    struct rtd_report *report; /* the result when for_server; NULL if memory was short */
};

struct rtd_reporter;

/* Starts no thread yet. NULL and a negative errno in *err. */
struct rtd_reporter *rtd_reporter_new(int *err);

/* Waits for a running job, then frees everything. NULL is allowed. */
void rtd_reporter_free(struct rtd_reporter *reporter);

/* Readable when a job is finished; borrowed. */
int rtd_reporter_fd(const struct rtd_reporter *reporter);

/* Names known so far; borrowed; not while busy. */
struct rtd_symbol_table *rtd_reporter_symbols(const struct rtd_reporter *reporter);

bool rtd_reporter_busy(const struct rtd_reporter *reporter);

/* Takes the job's contents over. 0; a negative errno (no thread): then the job stays the
 * caller's. Not while busy. */
int rtd_reporter_start(struct rtd_reporter *reporter, const struct rtd_job *job);

/* Waits for the running job and moves it to *job. -EINVAL when none was started. */
int rtd_reporter_take(struct rtd_reporter *reporter, struct rtd_job *job);

/* Resolves names at once in the caller's thread, for limit_ms at most. Not while busy. */
void rtd_reporter_resolve(struct rtd_reporter *reporter,
                          const struct rtd_process_record *const *records, uint32_t count,
                          uint32_t limit_ms);

/* Formats one report as the query wants it into query->answer. */
void rtd_reporter_answer(struct rtd_report *report, struct rtd_job_query *query);

#endif
