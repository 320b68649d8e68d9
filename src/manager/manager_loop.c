// SPDX-License-Identifier: Apache-2.0
/*
 * manager_loop.c - the manager's own thread, and what it looks after.
 *
 * Runs in:    a program that links libriptide
 * Threads:    see the header
 * Allocates:  yes
 * Fails:      on opening, by a negative errno; never later
 */
#include "manager/manager_loop.h"

#include "collect/collect_watch.h"
#include "manager/manager_alerts.h"
#include "manager/manager_program.h"
#include "manager/manager_records.h"
#include "manager/manager_serve.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define MS_NS     UINT64_C(1000000)
#define SECOND_NS (1000 * MS_NS)
#define TICK_NS   (100 * MS_NS)

enum {
    MODULE_LIMIT_MS = 1500,
    FORK_TRIES = 20, /* a millisecond apart */
    /* Of the time between two looks at growth, what a look may take. */
    GROWTH_SHARE_INVERSE = 300,
};

/* ---- the thread: what is due ---- */

static void wake(const struct rtd_manager_loop *loop)
{
    /* Cannot fail: the counter is far from its limit. */
    (void)eventfd_write(loop->wake_fd, 1);
}

static void keep_ledger(struct rtd_manager_loop *loop, uint64_t now_ns)
{
    struct rtd_collect_process *const process = loop->process;

    pthread_mutex_lock(&loop->keep);
    if (rtd_manager_heap_keep(&loop->heap, process)) {
        rtd_process_tick(process, now_ns);
        rtd_process_maps(process, now_ns);
        rtd_process_adapt(process, now_ns);
        rtd_watch_threads(process, now_ns);
    }
    pthread_mutex_unlock(&loop->keep);
}

static void take_points(struct rtd_manager_loop *loop, uint64_t now_ns)
{
    if (pthread_mutex_trylock(&loop->lock) != 0)
        return;
    pthread_mutex_lock(&loop->keep);
    rtd_process_point(loop->process, now_ns, false);
    rtd_process_series(loop->process, now_ns);
    pthread_mutex_unlock(&loop->keep);
    rtd_manager_domains_points(loop, now_ns);
    pthread_mutex_unlock(&loop->lock);
}

static void take_growth(struct rtd_manager_loop *loop, const struct rtd_report_leaks *leaks)
{
    const double growth = leaks->growth_rate_mb_per_hour;

    if (!isnan(loop->growth_mb_per_hour) && growth <= loop->growth_mb_per_hour)
        return;
    loop->growth_mb_per_hour = growth;
    (void)snprintf(loop->growth_component, sizeof(loop->growth_component), "%s",
                   leaks->highest_risk_component ? leaks->highest_risk_component : "");
}

static bool is_growth_alert_in_force(const struct rtd_manager_loop *loop)
{
    struct rtd_alert_list list;
    const unsigned count = rtd_manager_alerts_list(loop->manager->alerts, &list);

    for (unsigned i = 0; i < count; i++)
        if (list.states[i].kind == RTD_ALERT_GROWTH)
            return true;
    return false;
}

/*
 * Whether growth may be another than at the last look. Where nothing happens it can only sink, and
 * that is of interest to an alert alone that waits for its end.
 */
static bool may_have_grown(const struct rtd_manager_loop *loop, struct rtd_manager_print *print)
{
    struct riptide_record_totals totals = {.size = sizeof(totals)};

    rtd_records_totals(loop->manager->records, &totals);
    *print = (struct rtd_manager_print){
        .allocations = totals.allocations,
        .releases = totals.releases,
        .allocated_bytes = totals.allocated_bytes,
        .released_bytes = totals.released_bytes,
        .heap = rtd_manager_heap_print(&loop->heap, loop->process),
    };
    return atomic_load_explicit(&loop->growth_looks, memory_order_relaxed) == 0 ||
           memcmp(print, &loop->growth_print, sizeof(*print)) != 0 ||
           is_growth_alert_in_force(loop);
}

/*
 * The domain that grows most, or the heap: they are never added up. What was seen at an earlier
 * check is not told again: alerts count checks.
 */
static void look_at_growth(struct rtd_manager_loop *loop, uint64_t now_ns)
{
    const uint64_t begun_ns = rtd_collect_cpu_ns();
    struct rtd_report *report = NULL;
    struct rtd_manager_print print;

    loop->growth_mb_per_hour = (double)NAN;
    if (now_ns - loop->growth_ns < loop->growth_cost_ns * GROWTH_SHARE_INVERSE)
        return;
    if (!may_have_grown(loop, &print)) {
        atomic_fetch_add_explicit(&loop->growth_skips, 1, memory_order_relaxed);
        loop->growth_ns = now_ns;
        loop->growth_cost_ns = rtd_collect_cpu_ns() - begun_ns;
        return;
    }
    if (rtd_manager_report_make(loop->manager, 0, &report) < 0)
        return;
    loop->growth_ns = now_ns;
    loop->growth_print = print;
    const struct rtd_report_process *const target = report->target;
    if (target && loop->heap.mode != RIPTIDE_HEAP_OFF)
        take_growth(loop, &target->leaks);
    for (uint32_t i = 0; target && i < target->domain_count; i++)
        take_growth(loop, &target->domains[i].seen->leaks);
    rtd_report_free(report);
    atomic_fetch_add_explicit(&loop->growth_looks, 1, memory_order_relaxed);
    loop->growth_cost_ns = rtd_collect_cpu_ns() - begun_ns;
}

static void check_alerts(struct rtd_manager_loop *loop, uint64_t now_ns)
{
    struct rtd_memory_snapshot memory;

    if (!loop->manager->alerts)
        return;
    look_at_growth(loop, now_ns);
    if (rtd_track_snapshot_self(&memory) < 0)
        return;
    const struct rtd_alert_input input = {
        .now_ns = memory.time_unix_ns,
        .pressure = memory.pressure,
        .growth_mb_per_hour = loop->growth_mb_per_hour,
        .component = loop->growth_component,
        .rss_bytes = memory.rss_bytes,
        .limit_bytes = memory.limit_bytes ? memory.limit_bytes : RIPTIDE_UNAVAILABLE,
    };
    /* Without a lock: the callback may ask us anything. */
    (void)rtd_manager_alerts_feed(loop->manager->alerts, &input);
}

static uint64_t scaled_ns(const struct rtd_manager_loop *loop, double seconds)
{
    const double ns = seconds * (double)SECOND_NS / loop->manager->options.time_scale;

    return ns < (double)MS_NS ? MS_NS : ns > 1e18 ? UINT64_C(1000000000000000000) : (uint64_t)ns;
}

static void clean_up(struct rtd_manager_loop *loop, uint64_t now_ns)
{
    const struct riptide_options *const options = &loop->manager->options;
    const uint64_t unix_ns = rtd_collect_unix_ns();
    const uint64_t age_ns = scaled_ns(loop, options->retention_seconds);

    if (!options->cleanup || now_ns < loop->cleanup_ns)
        return;
    loop->cleanup_ns = now_ns + scaled_ns(loop, options->cleanup_interval_seconds);
    if (unix_ns > age_ns)
        (void)rtd_records_cleanup(loop->manager->records, unix_ns - age_ns, true, true);
}

/* ---- reports for the endpoints ---- */

static void *job_main(void *context)
{
    struct rtd_manager_loop *const loop = context;
    struct rtd_report *report = NULL;
    struct rtd_manager_visit visit;

    rtd_manager_enter(&visit);
    if (rtd_manager_report(loop->manager, &report) == 0)
        rtd_server_publish(loop->server, report);
    atomic_store_explicit(&loop->job_done, true, memory_order_release);
    wake(loop);
    return NULL;
}

static void end_job(struct rtd_manager_loop *loop)
{
    if (loop->has_job)
        (void)pthread_join(loop->job, NULL);
    loop->has_job = false;
}

/* The server asks again each second, so a job that cannot be started is only late. */
static void start_job(struct rtd_manager_loop *loop)
{
    eventfd_t wishes = 0;

    (void)eventfd_read(rtd_server_wants_report_fd(loop->server), &wishes);
    if (loop->has_job)
        return;
    atomic_store_explicit(&loop->job_done, false, memory_order_relaxed);
    /* It inherits that all signals are blocked. */
    loop->has_job = pthread_create(&loop->job, NULL, job_main, loop) == 0;
}

/* ---- the thread ---- */

static void work(struct rtd_manager_loop *loop, uint64_t now_ns)
{
    if (now_ns >= loop->tick_ns) {
        loop->tick_ns = now_ns + TICK_NS;
        keep_ledger(loop, now_ns);
    }
    if (now_ns < loop->interval_ns)
        return;
    loop->interval_ns = now_ns + loop->manager->options.interval_ms * MS_NS;
    take_points(loop, now_ns);
    check_alerts(loop, now_ns);
    clean_up(loop, now_ns);
}

static int wait_ms(const struct rtd_manager_loop *loop)
{
    const uint64_t now_ns = rtd_collect_now_ns();
    /* Whoever keeps a ledger may close at any time; then its keeping is ours. */
    const uint64_t due_ns =
        loop->heap.is_own && loop->tick_ns < loop->interval_ns ? loop->tick_ns : loop->interval_ns;
    const uint64_t left_ms = due_ns > now_ns ? (due_ns - now_ns) / MS_NS + 1 : 0;

    return left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}

static void *loop_main(void *context)
{
    struct rtd_manager_loop *const loop = context;
    struct rtd_manager_visit visit;
    eventfd_t ignored = 0;

    (void)pthread_setname_np(pthread_self(), "riptide");
    rtd_manager_enter(&visit);
    while (!atomic_load_explicit(&loop->stopping, memory_order_acquire)) {
        struct pollfd ready[2] = {
            {.fd = loop->wake_fd, .events = POLLIN},
            {.fd = loop->server ? rtd_server_wants_report_fd(loop->server) : -1, .events = POLLIN}};
        if (poll(ready, 2, wait_ms(loop)) > 0 && ready[0].revents)
            (void)eventfd_read(loop->wake_fd, &ignored);
        if (loop->has_job && atomic_load_explicit(&loop->job_done, memory_order_acquire))
            end_job(loop);
        if (ready[1].revents)
            start_job(loop);
        work(loop, rtd_collect_now_ns());
    }
    end_job(loop);
    return NULL;
}

/* ---- life ---- */

static int make_process(struct rtd_manager_loop *loop)
{
    struct rtd_allocator allocator;

    loop->process = rtd_process_new(0, getpid());
    if (!loop->process)
        return -ENOMEM;
    struct rtd_process_meta *const meta = &loop->process->record.meta;
    rtd_process_describe(loop->process);
    rtd_manager_heap_open(&loop->heap, &loop->manager->options, loop->process);
    if (loop->heap.mode == RIPTIDE_HEAP_OFF)
        (void)snprintf(meta->blind_reason, sizeof(meta->blind_reason), "%s", loop->heap.reason);
    rtd_allocator_find(&allocator);
    (void)snprintf(meta->allocator, sizeof(meta->allocator), "%s", allocator.name);
    return 0;
}

static int make_names(struct rtd_manager_loop *loop)
{
    char program[PATH_MAX];
    const struct rtd_symbol_options options = {.worker_path = program,
                                               .module_timeout_ms = MODULE_LIMIT_MS};
    int error = 0;

    loop->symbols = rtd_symbol_table_new(&error);
    if (!loop->symbols)
        return error;
    if (rtd_manager_program(program, sizeof(program)) == 0)
        loop->resolver = rtd_symbol_resolver_new(&options, &error);
    return error;
}

int rtd_manager_loop_new(struct riptide_manager *manager)
{
    struct rtd_manager_loop *const loop = calloc(1, sizeof(*loop));

    if (!loop)
        return -ENOMEM;
    manager->loop = loop;
    loop->manager = manager;
    loop->growth_mb_per_hour = (double)NAN;
    pthread_mutex_init(&loop->lock, NULL);
    pthread_mutex_init(&loop->keep, NULL);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0)
        return -errno;
    return manager->options.endpoints ? rtd_manager_server_check() : 0;
}

int rtd_manager_loop_listen(struct rtd_manager_loop *loop)
{
    const struct riptide_options *const options = &loop->manager->options;

    return options->endpoints ? rtd_manager_server_open(options, &loop->server) : 0;
}

int rtd_manager_loop_start(struct rtd_manager_loop *loop)
{
    sigset_t all, before;
    int result = make_names(loop);

    if (result == 0)
        result = make_process(loop);
    if (result < 0)
        return result;
    loop->cleanup_ns =
        rtd_collect_now_ns() + scaled_ns(loop, loop->manager->options.cleanup_interval_seconds);
    /* The program's signals are for its own threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&loop->thread, NULL, loop_main, loop);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    loop->is_running = error == 0;
    return -error;
}

void rtd_manager_loop_stop(struct rtd_manager_loop *loop)
{
    if (atomic_load_explicit(&loop->manager->forked, memory_order_relaxed))
        return;
    if (loop->is_running) {
        atomic_store_explicit(&loop->stopping, true, memory_order_release);
        wake(loop);
        (void)pthread_join(loop->thread, NULL);
        loop->is_running = false;
    }
    rtd_server_shut(loop->server);
}

static void free_contents(struct rtd_manager_loop *loop)
{
    if (loop->process) {
        struct rtd_process_record *const record = &loop->process->record;
        rtd_manager_heap_close(&loop->heap, loop->process);
        record->domain_count = 0;
        record->domains = NULL;
        rtd_process_free(loop->process, NULL);
    }
    for (unsigned i = 0; i < RTD_DOMAIN_MAX; i++)
        rtd_series_fini(&loop->domains[i].series);
    rtd_symbol_resolver_free(loop->resolver);
    rtd_symbol_table_free(loop->symbols);
}

/* In the child of a fork: the threads are the parent's, and what they worked on is half done. */
static struct rtd_manager_loop *_Atomic abandoned;

void rtd_manager_loop_free(struct rtd_manager_loop *loop)
{
    if (!loop)
        return;
    if (atomic_load_explicit(&loop->manager->forked, memory_order_relaxed)) {
        if (!loop->was_locked)
            free_contents(loop);
        if (loop->was_locked || loop->was_serving) {
            loop->next_abandoned = atomic_exchange(&abandoned, loop);
            return;
        }
    } else {
        rtd_server_free(loop->server);
        free_contents(loop);
        pthread_mutex_destroy(&loop->keep);
        pthread_mutex_destroy(&loop->lock);
        if (loop->wake_fd >= 0)
            close(loop->wake_fd);
    }
    free(loop);
}

/* ---- fork ---- */

/* A report may take seconds: no fork waits that long, the child just leaves it alone. */
static bool lock_for_fork(pthread_mutex_t *lock)
{
    const struct timespec pause = {.tv_nsec = (long)MS_NS};

    for (unsigned i = 0; i < FORK_TRIES; i++) {
        if (pthread_mutex_trylock(lock) == 0)
            return true;
        (void)nanosleep(&pause, NULL);
    }
    return false;
}

void rtd_manager_loop_before_fork(struct rtd_manager_loop *loop)
{
    loop->holds_lock = lock_for_fork(&loop->lock);
    loop->holds_keep = lock_for_fork(&loop->keep);
    loop->was_locked = !loop->holds_lock || !loop->holds_keep;
}

void rtd_manager_loop_after_fork(struct rtd_manager_loop *loop, bool is_child)
{
    if (is_child) {
        loop->was_serving = !rtd_server_abandon(loop->server);
        if (!loop->was_serving)
            loop->server = NULL;
        close(loop->wake_fd);
        loop->wake_fd = -1;
        return;
    }
    if (loop->holds_keep)
        pthread_mutex_unlock(&loop->keep);
    if (loop->holds_lock)
        pthread_mutex_unlock(&loop->lock);
}

/* ---- for the other files of the room ---- */

uint64_t rtd_manager_heap_bytes(const struct riptide_manager *manager)
{
    const struct rtd_manager_loop *const loop = manager->loop;

    if (loop->heap.mode == RIPTIDE_HEAP_OFF)
        return RIPTIDE_UNAVAILABLE;
    const struct rtd_ledger_handle *const handle = &loop->process->ledger.handle;
    if (loop->heap.mode == RIPTIDE_HEAP_EXACT)
        return rtd_image_live_hint(handle->fd);
    const uint64_t live_bytes =
        atomic_load_explicit(&handle->ledger->header.live_bytes, memory_order_relaxed);
    return live_bytes >> 63 ? 0 : live_bytes;
}

int riptide_heap_read(const struct riptide_manager *manager, struct riptide_heap_state *out)
{
    const int result = rtd_manager_check(manager);

    if (result < 0)
        return result;
    const struct rtd_manager_heap *const heap = &manager->loop->heap;
    const struct riptide_heap_state filled = {
        .size = sizeof(filled), .mode = heap->mode, .joined = heap->joined, .reason = heap->reason};
    return rtd_manager_give(out, &filled, sizeof(filled));
}
