// SPDX-License-Identifier: Apache-2.0
/*
 * manager_report.c - a report of now: the heap if it is watched, and what the program recorded.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any; loop->lock lets one work at a time
 * Allocates:  images, names, the report
 * Fails:      by a negative errno
 */
#include "manager/manager_loop.h"

#include "analyze/analyze_symbols.h"
#include "collect/collect_resolve.h"
#include "manager/manager_alerts.h"
#include "manager/manager_options.h"
#include "manager/manager_records.h"
#include "riptide/tags.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAMES_MS = 4000,
    NOTE_BYTES = 128,
    /* Of the time between two readings of the records, what a reading may take. */
    READ_SHARE_INVERSE = 300,
};

void rtd_manager_enter(struct rtd_manager_visit *visit)
{
    struct riptide_scope scope;

    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &visit->cancel);
    riptide_scope_push(&scope, riptide_scope_tag("riptide", "manager"));
    visit->tag = scope.before;
    /* That of "C" is a constant of the C library: nothing is allocated, and it needs no freeing. */
    visit->locale = uselocale(newlocale(LC_ALL_MASK, "C", (locale_t)0));
}

void rtd_manager_leave(const struct rtd_manager_visit *visit)
{
    const struct riptide_scope scope = {.before = visit->tag};

    (void)uselocale(visit->locale);
    riptide_scope_pop(&scope);
    (void)pthread_setcancelstate(visit->cancel, NULL);
}

/* ---- domains ---- */

static void name_domain(struct rtd_manager_loop *loop, unsigned index)
{
    const struct rtd_records *const records = loop->manager->records;
    struct rtd_domain_record *const domain = &loop->domains[index];
    uint64_t used = RIPTIDE_UNAVAILABLE, reserved = RIPTIDE_UNAVAILABLE;

    (void)snprintf(domain->name, sizeof(domain->name), "%s",
                   rtd_records_domain_name(records, index));
    (void)rtd_records_domain_gauge(records, index, &used, &reserved);
    domain->used_bytes = used;
    domain->reserved_bytes = reserved;
}

/* Reads the records of a domain into an image, to be dropped by the caller, and takes a point. */
static int refresh_domain(struct rtd_manager_loop *loop, unsigned index)
{
    struct rtd_records *const records = loop->manager->records;
    struct rtd_domain_record *const domain = &loop->domains[index];

    domain->image = rtd_image_new();
    if (!domain->image)
        return -ENOMEM;
    const int result = rtd_records_image(records, index, domain->image);
    return result < 0 ? result : rtd_series_add(&domain->series, domain->image);
}

static void drop_image(struct rtd_domain_record *domain)
{
    rtd_image_free(domain->image);
    domain->image = NULL;
}

void rtd_manager_domains_points(struct rtd_manager_loop *loop, uint64_t now_ns)
{
    const unsigned count = rtd_records_domains(loop->manager->records);

    if (now_ns - loop->domains_ns < loop->domains_cost_ns * READ_SHARE_INVERSE)
        return;
    const uint64_t begun_ns = rtd_collect_cpu_ns();
    for (unsigned i = 0; i < count && i < RTD_DOMAIN_MAX; i++) {
        /* One that cannot be read now has no point. */
        (void)refresh_domain(loop, i);
        drop_image(&loop->domains[i]);
    }
    loop->domains_ns = now_ns;
    loop->domains_cost_ns = rtd_collect_cpu_ns() - begun_ns;
}

/* ---- names ---- */

static bool has_code(const struct rtd_image *image)
{
    return image && image->module_count > 0;
}

/* What is left of the time for names, in milliseconds; 0: none. */
static uint32_t left_ms(uint64_t deadline_ns)
{
    const uint64_t now_ns = rtd_collect_now_ns();

    return now_ns < deadline_ns ? (uint32_t)((deadline_ns - now_ns) / 1000000) : 0;
}

static void resolve_domain(struct rtd_manager_loop *loop, const struct rtd_image *image,
                           uint64_t deadline_ns)
{
    const struct rtd_process_record *const record = &loop->process->record;
    struct rtd_process_record *const view = calloc(1, sizeof(*view));
    const struct rtd_process_record *const list[] = {view};

    if (!view)
        return;
    view->meta = record->meta;
    view->image = (struct rtd_image *)(uintptr_t)image;
    rtd_collect_resolve(loop->resolver, loop->symbols, list, 1, left_ms(deadline_ns));
    free(view);
}

/* ---- the report ---- */

/* A report while it is made. */
struct work {
    struct rtd_manager_loop *loop;
    bool names;
    uint64_t deadline_ns;  /* for names, of the heap and all domains together */
    uint64_t read_cost_ns; /* processor time, of all domains */
    char note[NOTE_BYTES];
};

static void note_missing_names(struct work *work)
{
    (void)snprintf(work->note, sizeof(work->note), "%s",
                   "places have no names: the program riptide was not found (RIPTIDE_PROGRAM can "
                   "name it)");
}

/* struct rtd_domain_source: with full tables an image is as large as these, so one at a time. */
static int take_domain(void *context, uint32_t index)
{
    struct work *const work = context;
    struct rtd_manager_loop *const loop = work->loop;
    const uint64_t begun_ns = rtd_collect_cpu_ns();
    const int result = refresh_domain(loop, index);
    const struct rtd_image *const image = loop->domains[index].image;

    work->read_cost_ns += rtd_collect_cpu_ns() - begun_ns;
    if (result < 0)
        return result;
    if (work->names)
        (void)rtd_records_symbols(loop->manager->records, loop->symbols);
    if (!has_code(image))
        return 0;
    if (!loop->resolver)
        note_missing_names(work);
    else if (work->names && left_ms(work->deadline_ns) > 0)
        resolve_domain(loop, image, work->deadline_ns);
    return 0;
}

static void drop_domain(void *context, uint32_t index)
{
    const struct work *const work = context;

    drop_image(&work->loop->domains[index]);
}

static void bring_up_to_date(struct rtd_manager_loop *loop, bool names)
{
    struct rtd_collect_process *const process = loop->process;
    struct rtd_process_record *const record = &process->record;
    const unsigned count = rtd_records_domains(loop->manager->records);
    const uint64_t now_ns = rtd_collect_now_ns();

    pthread_mutex_lock(&loop->keep);
    rtd_process_point(process, now_ns, names);
    if (names)
        (void)rtd_process_examine(process, now_ns);
    else
        (void)rtd_process_refresh(process, now_ns);
    pthread_mutex_unlock(&loop->keep);
    if (loop->manager->options.tracker && names)
        rtd_allocator_glance(&record->memory.allocator);
    record->domains = loop->domains;
    record->domain_count = count < RTD_DOMAIN_MAX ? count : RTD_DOMAIN_MAX;
    for (unsigned i = 0; i < record->domain_count; i++)
        name_domain(loop, i);
}

static void resolve_heap(struct work *work)
{
    struct rtd_manager_loop *const loop = work->loop;
    const struct rtd_process_record *const list[] = {&loop->process->record};

    if (!loop->resolver && has_code(list[0]->image))
        note_missing_names(work);
    if (work->names && loop->resolver)
        rtd_collect_resolve(loop->resolver, loop->symbols, list, 1, NAMES_MS);
}

static int make_locked(struct rtd_manager_loop *loop, bool names, struct rtd_report **out)
{
    const struct rtd_thresholds thresholds = rtd_manager_thresholds(loop->manager);
    const struct rtd_process_record *const list[] = {&loop->process->record};
    struct work work = {.loop = loop, .names = names};
    const struct rtd_domain_source domains = {take_domain, drop_domain, &work};
    struct rtd_alert_list alerts;

    bring_up_to_date(loop, names);
    work.deadline_ns = rtd_collect_now_ns() + (uint64_t)NAMES_MS * 1000000;
    resolve_heap(&work);
    (void)rtd_manager_alerts_list(loop->manager->alerts, &alerts);
    const struct rtd_report_input input = {
        .process_count = 1,
        .processes = list,
        .symbols = loop->symbols,
        .complete = true,
        .note = work.note,
        .domains = &domains,
        .time_scale = loop->manager->options.time_scale,
        .thresholds = &thresholds,
        .alerts = loop->manager->alerts ? &alerts : NULL,
    };
    *out = rtd_report_new(&input);
    loop->domains_ns = rtd_collect_now_ns();
    loop->domains_cost_ns = work.read_cost_ns;
    /* Somebody's service should not keep a process of ours around until the next question. */
    if (loop->resolver)
        rtd_symbol_resolver_rest(loop->resolver);
    return *out ? 0 : -ENOMEM;
}

int rtd_manager_report_make(struct riptide_manager *manager, unsigned wishes,
                            struct rtd_report **out)
{
    struct rtd_manager_visit visit;
    int result = rtd_manager_check(manager);

    *out = NULL;
    if (result < 0)
        return result;
    rtd_manager_enter(&visit);
    struct rtd_manager_loop *const loop = manager->loop;
    if (wishes & RTD_WISH_WAIT)
        result = -pthread_mutex_lock(&loop->lock);
    else
        result = -pthread_mutex_trylock(&loop->lock);
    if (result == 0) {
        result = make_locked(loop, (wishes & RTD_WISH_NAMES) != 0, out);
        pthread_mutex_unlock(&loop->lock);
    }
    rtd_manager_leave(&visit);
    return result;
}

int rtd_manager_report(struct riptide_manager *manager, struct rtd_report **out)
{
    return rtd_manager_report_make(manager, RTD_WISH_NAMES | RTD_WISH_WAIT, out);
}
