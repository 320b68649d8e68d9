// SPDX-License-Identifier: Apache-2.0
/*
 * manager_open.c - opening and closing a manager, and what a fork makes of the open ones.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any; the list of open managers has a lock of its own
 * Allocates:  the manager
 * Fails:      opening, by NULL and a reason; then nothing is left behind
 *
 * A fork copies one thread. So the child's copy of a manager is closed at once: its sockets, so
 * that clients of the parent are not held; everything else is freed when the child closes it.
 * Therefore a manager is in the list, where a fork finds it, as long as it listens: from before it
 * is wholly built until after its port is given up.
 */
#include "manager/manager_alerts.h"
#include "manager/manager_handle.h"
#include "manager/manager_loop.h"
#include "manager/manager_options.h"
#include "manager/manager_records.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

static struct {
    pthread_mutex_t lock;
    struct riptide_manager *first;
    bool watches_forks;
} opened = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- fork ---- */

/* The next one that is not a copy which an earlier fork left in this process. */
static struct riptide_manager *next_open(struct riptide_manager *manager)
{
    while (manager && atomic_load_explicit(&manager->forked, memory_order_relaxed))
        manager = manager->next;
    return manager;
}

/* All loops before any records: whoever makes a report holds the one and waits for the other. */
static void before_fork(void)
{
    pthread_mutex_lock(&opened.lock);
    for (struct riptide_manager *m = next_open(opened.first); m; m = next_open(m->next))
        rtd_manager_loop_before_fork(m->loop);
    for (struct riptide_manager *m = next_open(opened.first); m; m = next_open(m->next))
        rtd_records_before_fork(m->records);
    rtd_manager_heap_before_fork();
}

static void after_fork_in_parent(void)
{
    rtd_manager_heap_after_fork(false);
    for (struct riptide_manager *m = next_open(opened.first); m; m = next_open(m->next))
        rtd_records_after_fork_parent(m->records);
    for (struct riptide_manager *m = next_open(opened.first); m; m = next_open(m->next))
        rtd_manager_loop_after_fork(m->loop, false);
    pthread_mutex_unlock(&opened.lock);
}

static void after_fork_in_child(void)
{
    pthread_mutex_init(&opened.lock, NULL);
    rtd_manager_heap_after_fork(true);
    for (struct riptide_manager *m = next_open(opened.first); m; m = next_open(m->next)) {
        rtd_records_after_fork_child(m->records);
        rtd_manager_loop_after_fork(m->loop, true);
        atomic_store_explicit(&m->forked, 1, memory_order_relaxed);
    }
}

/* ---- opening ---- */

/* Has the manager listen and enters it into the list, as one step for whoever forks. */
static int enter(struct riptide_manager *manager)
{
    int result = 0;

    pthread_mutex_lock(&opened.lock);
    if (!opened.watches_forks) {
        result = -pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
        opened.watches_forks = result == 0;
    }
    if (result == 0)
        result = rtd_manager_loop_listen(manager->loop);
    manager->options.action_token = NULL; /* the caller's; the server has its own */
    if (result == 0) {
        manager->next = opened.first;
        opened.first = manager;
    }
    pthread_mutex_unlock(&opened.lock);
    return result;
}

/* The other way round. In the child of a fork, nothing is there to be stopped. */
static void leave(const struct riptide_manager *manager)
{
    rtd_manager_loop_stop(manager->loop);
    pthread_mutex_lock(&opened.lock);
    for (struct riptide_manager **link = &opened.first; *link; link = &(*link)->next) {
        if (*link == manager) {
            *link = manager->next;
            break;
        }
    }
    pthread_mutex_unlock(&opened.lock);
}

static void free_manager(struct riptide_manager *manager)
{
    rtd_manager_loop_free(manager->loop);
    rtd_manager_alerts_free(manager->alerts);
    rtd_records_free(manager->records);
    free(manager);
}

/*
 * The tables' part of the limit. With full tables the rest goes to series of what sites hold,
 * names, and what stays of a report with the allocator: some 3 MB of 10, as measured with 15
 * domains, 7000 stacks and 100000 blocks.
 */
static uint64_t tables_bytes(const struct riptide_options *options)
{
    return options->memory_limit_bytes / 5 * 3;
}

static int build(struct riptide_manager *manager, const struct riptide_options *options)
{
    int result = rtd_manager_options_take(manager, options);

    if (result < 0)
        return result;
    manager->records = rtd_records_new(tables_bytes(&manager->options), &result);
    if (!manager->records)
        return result;
    if (manager->options.alerts) {
        manager->alerts = rtd_manager_alerts_new(&manager->thresholds, manager->options.on_alert,
                                                 manager->options.alert_context, &result);
        if (!manager->alerts)
            return result;
    }
    return rtd_manager_loop_new(manager);
}

struct riptide_manager *riptide_manager_open(const struct riptide_options *options, int *err)
{
    struct rtd_manager_visit visit;

    rtd_manager_enter(&visit);
    struct riptide_manager *const manager = calloc(1, sizeof(*manager));
    int result = manager ? build(manager, options) : -ENOMEM;

    if (result == 0)
        result = enter(manager);
    if (result == 0) {
        /* After listening: a port in use shall leave no ledger behind. */
        result = rtd_manager_loop_start(manager->loop);
        if (result < 0)
            leave(manager);
    }
    if (result < 0 && manager)
        free_manager(manager);
    rtd_manager_leave(&visit);
    if (err)
        *err = result;
    return result < 0 ? NULL : manager;
}

void riptide_manager_close(struct riptide_manager *manager)
{
    struct rtd_manager_visit visit;

    if (!manager)
        return;
    rtd_manager_enter(&visit);
    leave(manager);
    free_manager(manager);
    rtd_manager_leave(&visit);
}
