// SPDX-License-Identifier: Apache-2.0
/*
 * manager_loop.h - the manager's own thread, and what it looks after.
 *
 * Runs in:    a program that links libriptide
 * Threads:    one "riptide", which lives as long as the manager; one for the length of a report
 *             that a client of the endpoints waits for; all with all signals blocked
 * Allocates:  yes
 * Fails:      on opening, by a negative errno; never later
 *
 *     every 100 ms   where the manager keeps the ledger: tick, mappings, interval, threads
 *     every interval snapshot, points of the series, alerts
 *     on a wish      a report for the endpoints, in a thread of its own
 *     every hour     clean-up
 *
 * Two locks, in this order: `lock` for the record and everything a report is made of, held for as
 * long as a report takes; `keep`, held while the ledger is read, for what the 100 ms need of the
 * process, which must not wait until a report is ready. What finds `lock` taken is put off to the
 * next time.
 */
#ifndef RTD_MANAGER_LOOP_H
#define RTD_MANAGER_LOOP_H

#include "manager/manager_handle.h"
#include "manager/manager_heap.h"
#include "serve/serve_http.h"
#include "symbol/symbol_resolver.h"

#include <locale.h>
#include <pthread.h>

/* What tells that something was recorded or allocated: equal again, nothing was. */
struct rtd_manager_print {
    uint64_t allocations, releases, allocated_bytes, released_bytes, heap;
};

struct rtd_manager_loop {
    struct riptide_manager *manager; /* borrowed: the owner */
    pthread_t thread;
    bool is_running;
    int wake_fd;               /* eventfd; -1: none. Readable: look at what follows */
    _Atomic bool stopping;     /* set once, by whoever closes */
    struct rtd_server *server; /* NULL: no endpoints */
    struct rtd_manager_heap heap;

    /* The job: made, joined and looked after by the manager's thread. */
    pthread_t job;
    bool has_job;
    _Atomic bool job_done;

    pthread_mutex_t lock; /* guards the following */
    struct rtd_collect_process *process;
    struct rtd_symbol_table *symbols;
    struct rtd_symbol_resolver *resolver; /* NULL: the program `riptide` was not found */
    struct rtd_domain_record domains[RTD_DOMAIN_MAX]; /* images: only while a report is made */
    uint64_t domains_ns, domains_cost_ns; /* when they were read, what processor time it took */

    pthread_mutex_t keep; /* see above; also guards process->maps and the ledger's keeping */

    /* The manager's thread only. */
    uint64_t tick_ns, interval_ns, cleanup_ns, growth_ns, growth_cost_ns;
    struct rtd_manager_print growth_print; /* at the last look at growth */
    double growth_mb_per_hour;             /* NaN: not looked at in this check */
    char growth_component[RTD_TAG_NAME_BYTES];

    /* Written by the manager's thread: looks at growth, and those that nothing gave cause for. */
    _Atomic uint32_t growth_looks, growth_skips;

    /* In the child of a fork: what cannot be freed stays reachable. Set by the fork handlers. */
    bool holds_lock, holds_keep; /* between the handlers */
    bool was_locked, was_serving;
    struct rtd_manager_loop *next_abandoned;
};

/*
 * Makes manager->loop, with as much as a fork needs to find; options and records are there. 0, a
 * negative errno, or RIPTIDE_E_NO_HTTP.
 */
int rtd_manager_loop_new(struct riptide_manager *manager);

/* Begins to listen, if the options have it so. 0 or a negative errno. Loads nothing. */
int rtd_manager_loop_listen(struct rtd_manager_loop *loop);

/* Builds the rest and starts the thread. 0 or a negative errno. */
int rtd_manager_loop_start(struct rtd_manager_loop *loop);

/* Ends the thread and the listening. Does nothing in the child of a fork. */
void rtd_manager_loop_stop(struct rtd_manager_loop *loop);

/* Frees everything after a stop. In the child of a fork: what can be freed there. */
void rtd_manager_loop_free(struct rtd_manager_loop *loop);

/* Around a fork, for one manager. */
void rtd_manager_loop_before_fork(struct rtd_manager_loop *loop);
void rtd_manager_loop_after_fork(struct rtd_manager_loop *loop, bool is_child);

/* Live bytes of the heap, where it is watched; RIPTIDE_UNAVAILABLE otherwise. Any thread, no lock.
 */
uint64_t rtd_manager_heap_bytes(const struct riptide_manager *manager);

/*
 * Takes a point of each domain's series, when that is due by what it costs. With loop->lock held.
 */
void rtd_manager_domains_points(struct rtd_manager_loop *loop, uint64_t now_ns);

/* What a report is wanted for. */
enum rtd_manager_wish {
    RTD_WISH_NAMES = 1, /* with names of all places; without: of those that are known already */
    RTD_WISH_WAIT = 2,  /* until a report under way is ready; without: -EBUSY then */
};

/* As rtd_manager_report(), which wishes for both; wishes is a sum of enum rtd_manager_wish. */
int rtd_manager_report_make(struct riptide_manager *manager, unsigned wishes,
                            struct rtd_report **out);

/* What a thread of the program was before it worked for us. */
struct rtd_manager_visit {
    uint32_t tag;
    locale_t locale;
    int cancel;
};

/*
 * Until _leave(), what this thread allocates is RipTide's own, numbers are written with a point
 * whatever the program's locale, and the thread is not cancelled: it may hold our locks.
 */
void rtd_manager_enter(struct rtd_manager_visit *visit);
void rtd_manager_leave(const struct rtd_manager_visit *visit);

#endif
