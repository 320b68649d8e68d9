// SPDX-License-Identifier: Apache-2.0
/*
 * collect_reporter.c - makes reports beside the loop, which must never be late for an agent.
 *
 * Runs in:    collector
 * Threads:    the loop's, and one of its own that exists only while a job runs
 * Allocates:  the thread, reports, answers
 * Fails:      see collect_reporter.h
 *
 * A thread a job: jobs are seconds apart, and a program nobody looks at has no such thread.
 */
#include "collect/collect_reporter.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "collect/collect_resolve.h"
#include "export/export_report.h"

enum { LIVE_LIMIT_MS = 4000, MODULE_LIMIT_MS = 1500 };

struct rtd_reporter {
    struct rtd_symbol_resolver *resolver; /* NULL: no names */
    struct rtd_symbol_table *symbols;
    int event_fd;
    bool busy;
    pthread_t thread;
    struct rtd_job job;
};

struct rtd_reporter *rtd_reporter_new(int *err)
{
    const struct rtd_symbol_options options = {
        .exec_worker = true, .early_worker = true, .module_timeout_ms = MODULE_LIMIT_MS};
    struct rtd_reporter *const reporter = calloc(1, sizeof(*reporter));

    if (!reporter) {
        *err = -ENOMEM;
        return NULL;
    }
    reporter->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (reporter->event_fd < 0) {
        *err = -errno;
        free(reporter);
        return NULL;
    }
    reporter->symbols = rtd_symbol_table_new(err);
    if (!reporter->symbols) {
        close(reporter->event_fd);
        free(reporter);
        return NULL;
    }
    int ignored = 0;
    reporter->resolver = rtd_symbol_resolver_new(&options, &ignored);
    return reporter;
}

void rtd_reporter_free(struct rtd_reporter *reporter)
{
    struct rtd_job job;

    if (!reporter)
        return;
    if (rtd_reporter_take(reporter, &job) == 0) {
        rtd_report_free(job.report);
        for (unsigned i = 0; i < job.query_count; i++)
            free(job.queries[i].answer);
        free((void *)job.records);
    }
    rtd_symbol_resolver_free(reporter->resolver);
    rtd_symbol_table_free(reporter->symbols);
    close(reporter->event_fd);
    free(reporter);
}

int rtd_reporter_fd(const struct rtd_reporter *reporter)
{
    return reporter->event_fd;
}

struct rtd_symbol_table *rtd_reporter_symbols(const struct rtd_reporter *reporter)
{
    return reporter->symbols;
}

bool rtd_reporter_busy(const struct rtd_reporter *reporter)
{
    return reporter->busy;
}

/* The newest image of the pid that is asked for becomes the one the report is about. */
static int choose_target(struct rtd_report *report, uint32_t pid)
{
    const struct rtd_report_process *found = NULL;

    if (pid == 0)
        return 0;
    for (uint32_t i = 0; i < report->process_count; i++) {
        if (report->processes[i].meta.pid == pid)
            found = &report->processes[i];
    }
    if (!found)
        return -ESRCH;
    report->target = found;
    return 0;
}

void rtd_reporter_answer(struct rtd_report *report, struct rtd_job_query *query)
{
    const struct rtd_report_process *const target = report->target;
    struct rtd_buffer out;

    query->status = choose_target(report, query->query.pid);
    if (query->status < 0)
        return;
    rtd_buffer_init(&out);
    if (query->query.format == RTD_QUERY_JSON) {
        rtd_export_report_json(&out, report);
    } else {
        const struct rtd_text_options options = {
            .by = query->query.by <= RTD_BY_MODULE ? (enum rtd_report_by)query->query.by
                                                   : RTD_BY_SITE,
            .top = query->query.top,
            .colour = query->query.colour != 0,
            .width = query->query.width < 1000 ? query->query.width : 0,
        };
        rtd_export_text(&out, report, &options);
    }
    report->target = target;
    query->answer = rtd_buffer_take(&out, &query->length_bytes);
    if (!query->answer)
        query->status = -ENOMEM;
    rtd_buffer_fini(&out);
}

static void answer_queries(struct rtd_reporter *reporter, struct rtd_report *report)
{
    struct rtd_job *const job = &reporter->job;

    for (unsigned i = 0; i < job->query_count; i++) {
        struct rtd_job_query *const query = &job->queries[i];
        const double scale = query->query.time_scale;
        if (!report) {
            query->status = -ENOMEM;
        } else if (scale > 0 && scale != job->input.time_scale) {
            struct rtd_report_input input = job->input;
            input.time_scale = scale;
            struct rtd_report *const scaled = rtd_report_new(&input);
            query->status = -ENOMEM;
            if (scaled)
                rtd_reporter_answer(scaled, query);
            rtd_report_free(scaled);
        } else {
            rtd_reporter_answer(report, query);
        }
    }
}

static void *job_main(void *context)
{
    struct rtd_reporter *const reporter = context;
    struct rtd_job *const job = &reporter->job;
    const uint64_t one = 1;

    rtd_collect_resolve(reporter->resolver, reporter->symbols, job->input.processes,
                        job->input.process_count, LIVE_LIMIT_MS);
    struct rtd_report *const report = rtd_report_new(&job->input);
    answer_queries(reporter, report);
    if (job->for_server)
        job->report = report;
    else
        rtd_report_free(report);
    /* Cannot fail: the counter is far from its limit. */
    (void)!write(reporter->event_fd, &one, sizeof(one));
    return NULL;
}

int rtd_reporter_start(struct rtd_reporter *reporter, const struct rtd_job *job)
{
    reporter->job = *job;
    reporter->job.report = NULL;
    reporter->job.input.symbols = reporter->symbols;
    const int result = pthread_create(&reporter->thread, NULL, job_main, reporter);
    if (result != 0)
        return -result;
    reporter->busy = true;
    return 0;
}

int rtd_reporter_take(struct rtd_reporter *reporter, struct rtd_job *job)
{
    uint64_t count = 0;

    if (!reporter->busy)
        return -EINVAL;
    (void)pthread_join(reporter->thread, NULL);
    (void)!read(reporter->event_fd, &count, sizeof(count));
    reporter->busy = false;
    *job = reporter->job;
    memset(&reporter->job, 0, sizeof(reporter->job));
    return 0;
}

void rtd_reporter_resolve(struct rtd_reporter *reporter,
                          const struct rtd_process_record *const *records, uint32_t count,
                          uint32_t limit_ms)
{
    rtd_collect_resolve(reporter->resolver, reporter->symbols, records, count, limit_ms);
}
