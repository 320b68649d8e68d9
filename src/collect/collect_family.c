// SPDX-License-Identifier: Apache-2.0
/*
 * collect_family.c - all process images of a run: who is live, who ended, who is kept.
 *
 * Runs in:    collector
 * Threads:    the collector's loop
 * Allocates:  processes, bounded
 * Fails:      by counting the unobserved
 */
#include "collect/collect_family.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "collect/collect_watch.h"

#define SECOND_NS UINT64_C(1000000000)

enum { CHECKS_A_TICK = 8, CHILD_MAX = 256 };

/* How often children are looked for, with few processes, and how long they may be without a hello.
 */
#define SCAN_NS     (SECOND_NS / 4)
#define STRANGER_NS (SECOND_NS / 4)
#define YOUNG_NS    (3 * SECOND_NS)

int rtd_epoll_add(int epoll_fd, int fd, uint32_t events, enum rtd_tag_kind kind, uint32_t value)
{
    struct epoll_event event = {.events = events, .data.u64 = ((uint64_t)kind << 32) | value};

    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void rtd_family_init(struct rtd_family *family, const struct rtd_ledger_options *options,
                     int epoll_fd)
{
    memset(family, 0, sizeof(*family));
    rtd_pool_init(&family->pool, options);
    family->epoll_fd = epoll_fd;
    family->start_ns = rtd_collect_now_ns();
}

void rtd_family_fini(struct rtd_family *family)
{
    while (family->live_count > 0)
        rtd_process_free(family->live[--family->live_count], &family->pool);
    while (family->ended_count > 0)
        rtd_process_free(family->ended[--family->ended_count], &family->pool);
    rtd_pool_fini(&family->pool);
}

/* A new image among the live ones, watched by pidfd. NULL with *err. */
static struct rtd_collect_process *add_process(struct rtd_family *family, pid_t pid, int *err)
{
    if (family->live_count == RTD_FAMILY_LIVE) {
        *err = -ENOSPC;
        return NULL;
    }
    struct rtd_collect_process *const process = rtd_process_new(family->next_id, pid);
    if (!process) {
        *err = -ENOMEM;
        return NULL;
    }
    family->next_id++;
    process->pidfd = pidfd_open(pid, 0);
    /* Without a pidfd (descriptors are short) the slow checks see the process go. */
    if (process->pidfd >= 0)
        (void)rtd_epoll_add(family->epoll_fd, process->pidfd, EPOLLIN, RTD_TAG_PROCESS,
                            process->record.meta.id);
    family->live[family->live_count++] = process;
    return process;
}

int rtd_family_root_new(struct rtd_family *family, pid_t pid, const char *command,
                        const char *executable)
{
    int result = 0;
    struct rtd_collect_process *const root = add_process(family, pid, &result);

    if (!root)
        return result;
    family->root_pid = pid;
    (void)rtd_track_start_time(pid, &root->start_time);
    root->record.meta.parent_pid = (uint32_t)getpid();
    (void)snprintf(root->record.meta.command, sizeof(root->record.meta.command), "%s", command);
    (void)snprintf(root->record.meta.executable, sizeof(root->record.meta.executable), "%s",
                   executable);
    return 0;
}

static struct rtd_collect_process *newest(struct rtd_collect_process *const *list, unsigned count,
                                          pid_t pid)
{
    struct rtd_collect_process *found = NULL;

    for (unsigned i = 0; i < count; i++) {
        if ((pid_t)list[i]->record.meta.pid == pid &&
            (!found || list[i]->record.meta.id > found->record.meta.id))
            found = list[i];
    }
    return found;
}

struct rtd_collect_process *rtd_family_root(const struct rtd_family *family)
{
    struct rtd_collect_process *const live =
        newest(family->live, family->live_count, family->root_pid);

    return live ? live : newest(family->ended, family->ended_count, family->root_pid);
}

static void forget_stranger(struct rtd_family *family, pid_t pid)
{
    for (unsigned i = 0; i < family->stranger_count; i++) {
        if (family->strangers[i].pid == pid) {
            family->strangers[i] = family->strangers[--family->stranger_count];
            return;
        }
    }
}

/* change: 1, or -1 when one that was counted is observed after all. */
static void count_unobserved(struct rtd_family *family, int change)
{
    const struct rtd_collect_process *const root = rtd_family_root(family);

    if (root && root->ledger.handle.ledger)
        atomic_fetch_add_explicit(
            &root->ledger.handle.ledger->header.loss[RTD_LOSS_FORK_UNOBSERVED],
            (uint64_t)(int64_t)change, memory_order_relaxed);
}

/* Soft RLIMIT_AS in bytes; 0: none, or not ours to see. */
static uint64_t address_limit(pid_t pid)
{
    struct rlimit limit;

    if (prlimit(pid, RLIMIT_AS, NULL, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return 0;
    return limit.rlim_cur;
}

static int hand_over(struct rtd_family *family, struct rtd_collect_process *process)
{
    const int result = rtd_pool_take(&family->pool, &process->ledger);

    if (result < 0)
        return result;
    struct rtd_ledger *const ledger = process->ledger.handle.ledger;
    rtd_ledger_assign(ledger, process->record.meta.pid, process->start_time);
    /* The same seed in each process would sample the same allocations of identical children. */
    ledger->header.seed =
        family->pool.options.seed + process->record.meta.id * UINT64_C(0x9e3779b97f4a7c15);
    process->hello_ns = rtd_collect_now_ns();
    process->address_limit_bytes = address_limit((pid_t)process->record.meta.pid);
    process->point_ns = process->figures_ns = 0;
    rtd_process_tick(process, process->hello_ns);
    if (rtd_track_has_seccomp((pid_t)process->record.meta.pid))
        atomic_store_explicit(&ledger->header.no_handshake, 1, memory_order_relaxed);
    return 0;
}

/* The image that is still open under this pid: another process's, or one that this replaces. */
static struct rtd_collect_process *close_older(struct rtd_family *family, pid_t pid,
                                               uint64_t start_time)
{
    for (unsigned i = 0; i < family->live_count; i++) {
        struct rtd_collect_process *const older = family->live[i];
        if ((pid_t)older->record.meta.pid != pid || older->ending)
            continue;
        const bool same = older->start_time == start_time;
        if (same && older->record.meta.kind == 0) {
            /* Expected, or taken for a stranger: this is its own first hello. */
            if (older->record.meta.status == RTD_PROCESS_BLIND)
                count_unobserved(family, -1);
            return older;
        }
        older->ending = true;
        older->replaced = same;
    }
    return NULL;
}

int rtd_family_admit(struct rtd_family *family, pid_t pid, const struct rtd_hello *hello,
                     struct rtd_collect_process **out)
{
    uint64_t start_time = 0;
    int result = pid > 0 ? rtd_track_start_time(pid, &start_time) : -ESRCH;

    if (result < 0)
        return result;
    if (hello->version != RTD_LEDGER_VERSION)
        return -EPROTONOSUPPORT;
    struct rtd_collect_process *process = close_older(family, pid, start_time);
    if (!process)
        process = add_process(family, pid, &result);
    if (process) {
        process->start_time = start_time;
        process->record.meta.parent_pid = hello->parent;
        result = hand_over(family, process);
    }
    if (result < 0) {
        count_unobserved(family, 1);
        if (process && process->record.meta.status != RTD_PROCESS_BLIND)
            rtd_process_blind(process, "the collector had no memory for a ledger");
        return result;
    }
    process->record.meta.kind = hello->kind == RTD_HELLO_FORK ? RTD_HELLO_FORK : RTD_HELLO_EXEC;
    process->record.meta.status = RTD_PROCESS_RUNNING;
    process->record.meta.blind_reason[0] = '\0';
    forget_stranger(family, pid);
    /* Before the answer: afterwards it may be gone, or be another program, in no time. */
    rtd_process_describe(process);
    *out = process;
    return 0;
}

static bool known_pid(const struct rtd_family *family, pid_t pid)
{
    for (unsigned i = 0; i < family->live_count; i++) {
        if ((pid_t)family->live[i]->record.meta.pid == pid)
            return true;
    }
    return false;
}

bool rtd_family_knows(const struct rtd_family *family, pid_t pid)
{
    return pid > 0 && (known_pid(family, pid) || known_pid(family, rtd_process_parent(pid)));
}

struct rtd_collect_process *rtd_family_recording(struct rtd_family *family, pid_t pid)
{
    for (unsigned i = family->live_count; i-- > 0;) {
        struct rtd_collect_process *const process = family->live[i];
        if ((pid_t)process->record.meta.pid == pid && !process->ending &&
            process->ledger.handle.ledger)
            return process;
    }
    return NULL;
}

void rtd_family_gone(struct rtd_family *family, uint32_t id)
{
    for (unsigned i = 0; i < family->live_count; i++) {
        struct rtd_collect_process *const process = family->live[i];
        if (process->record.meta.id != id)
            continue;
        /* A dead process stays readable: take it out of the set or the loop never sleeps. */
        if (process->pidfd >= 0)
            (void)epoll_ctl(family->epoll_fd, EPOLL_CTL_DEL, process->pidfd, NULL);
        /* The exit status of the program that was run comes from waitid(). */
        if ((pid_t)process->record.meta.pid != family->root_pid)
            process->ending = family->someone_gone = true;
        return;
    }
}

/*
 * The process runs a program that did not say hello: that is an image of its own, and blind.
 * path may be NULL: then it is asked of the process, which must live.
 */
static struct rtd_collect_process *add_blind(struct rtd_family *family, pid_t pid, pid_t parent,
                                             const char *path)
{
    int error = 0;
    char reason[RTD_REASON_BYTES];
    struct rtd_collect_process *const process = add_process(family, pid, &error);

    count_unobserved(family, 1);
    if (!process)
        return NULL;
    struct rtd_process_meta *const meta = &process->record.meta;
    (void)rtd_track_start_time(pid, &process->start_time);
    rtd_process_describe(process);
    if (!meta->executable[0] && path)
        (void)snprintf(meta->executable, sizeof(meta->executable), "%s", path);
    if (!meta->command[0])
        memcpy(meta->command, meta->executable, sizeof(meta->command));
    if (parent)
        meta->parent_pid = (uint32_t)parent;
    rtd_watch_explain(pid, meta->executable, reason, sizeof(reason));
    rtd_process_blind(process, reason);
    return process;
}

void rtd_family_root_gone(struct rtd_family *family, int exit_code, int signal)
{
    struct rtd_collect_process *last = newest(family->live, family->live_count, family->root_pid);

    /* It went to another program without a hello, and ended before that was certain. */
    if (last && last->other_path && !last->replaced) {
        last->replaced = true;
        (void)add_blind(family, family->root_pid, (pid_t)last->record.meta.parent_pid,
                        last->other_path);
        last->ending = true;
        last = newest(family->live, family->live_count, family->root_pid);
    }
    for (unsigned i = 0; i < family->live_count; i++) {
        if ((pid_t)family->live[i]->record.meta.pid == family->root_pid)
            family->live[i]->ending = true;
    }
    if (!last || last->replaced)
        return;
    last->status_known = true;
    last->pending_exit_code = signal ? -1 : exit_code;
    last->pending_signal = signal;
}

void rtd_family_maps(struct rtd_family *family, uint64_t now_ns)
{
    family->maps_busy = false;
    for (unsigned i = 0; i < family->live_count; i++) {
        rtd_process_maps(family->live[i], now_ns);
        family->maps_busy |= family->live[i]->maps.busy;
    }
}

void rtd_family_tick(struct rtd_family *family, uint64_t now_ns)
{
    for (unsigned i = 0; i < family->live_count; i++) {
        rtd_process_tick(family->live[i], now_ns);
        rtd_process_adapt(family->live[i], now_ns);
    }
    rtd_family_maps(family, now_ns);
    /* Only a program that has children will ask again: a spare costs a millisecond of CPU. */
    if (family->pool.taken_count > 1)
        (void)rtd_pool_refill(&family->pool);
}

/* The ended image that says least, to make room: never image 0 or one of the program itself. */
static void drop_least(struct rtd_family *family)
{
    unsigned least = family->ended_count;

    for (unsigned i = 0; i < family->ended_count; i++) {
        const struct rtd_process_record *const record = &family->ended[i]->record;
        const uint64_t samples = record->image ? record->image->samples_taken : 0;
        if ((pid_t)record->meta.pid == family->root_pid)
            continue;
        const struct rtd_image *const best =
            least < family->ended_count ? family->ended[least]->record.image : NULL;
        if (least == family->ended_count || samples < (best ? best->samples_taken : 0))
            least = i;
    }
    if (least == family->ended_count)
        least = family->ended_count - 1; /* hundreds of images of the program itself */
    if (!rtd_process_matters(family->ended[least]))
        family->unsampled_count--;
    rtd_process_free(family->ended[least], &family->pool);
    family->ended[least] = family->ended[--family->ended_count];
    family->dropped_count++;
}

/* Thousands of short processes without a sample must cost neither memory nor time. */
static bool worth_keeping(const struct rtd_family *family,
                          const struct rtd_collect_process *process)
{
    const struct rtd_process_meta *const meta = &process->record.meta;

    return (pid_t)meta->pid == family->root_pid || rtd_process_matters(process) ||
           family->unsampled_count < RTD_FAMILY_UNSAMPLED;
}

static void end_process(struct rtd_family *family, struct rtd_recorder *recorder, unsigned index,
                        uint64_t now_ns)
{
    struct rtd_collect_process *const process = family->live[index];

    family->live[index] = family->live[--family->live_count];
    if (process->pidfd >= 0)
        (void)epoll_ctl(family->epoll_fd, EPOLL_CTL_DEL, process->pidfd, NULL);
    rtd_process_maps(process, now_ns);
    if (!worth_keeping(family, process)) {
        family->dropped_count++;
        rtd_process_free(process, &family->pool);
        return;
    }
    rtd_watch_agent(process, now_ns, true);
    rtd_process_end(process, &family->pool, now_ns);
    rtd_recorder_write_one(recorder, process);
    if (family->ended_count == RTD_FAMILY_ENDED)
        drop_least(family);
    if (!rtd_process_matters(process))
        family->unsampled_count++;
    family->ended[family->ended_count++] = process;
}

/* The program itself did not say hello in time. */
static void check_root(struct rtd_family *family, uint64_t now_ns, bool ended)
{
    struct rtd_collect_process *const root =
        newest(family->live, family->live_count, family->root_pid);
    char reason[RTD_REASON_BYTES];

    if (!root || root->record.meta.kind != 0 || root->record.meta.status == RTD_PROCESS_BLIND)
        return;
    if (!ended && now_ns - family->start_ns < SECOND_NS)
        return;
    if (!ended)
        rtd_process_describe(root);
    if (family->trouble)
        (void)snprintf(reason, sizeof(reason), "%s", family->trouble);
    else
        rtd_watch_explain((pid_t)root->record.meta.pid, root->record.meta.executable, reason,
                          sizeof(reason));
    rtd_process_blind(root, reason);
}

static struct rtd_stranger *find_stranger(struct rtd_family *family, pid_t pid)
{
    for (unsigned i = 0; i < family->stranger_count; i++) {
        if (family->strangers[i].pid == pid)
            return &family->strangers[i];
    }
    return NULL;
}

static void meet_child(struct rtd_family *family, pid_t parent, pid_t child, uint64_t now_ns)
{
    uint64_t start_time = 0;

    if (known_pid(family, child) || rtd_track_start_time(child, &start_time) < 0)
        return;
    struct rtd_stranger *stranger = find_stranger(family, child);
    if (!stranger) {
        if (family->stranger_count == RTD_FAMILY_STRANGERS)
            return;
        stranger = &family->strangers[family->stranger_count++];
        stranger->pid = 0;
    }
    if (stranger->pid != child || stranger->start_time != start_time) {
        *stranger = (struct rtd_stranger){child, parent, start_time, now_ns};
        return;
    }
    if (now_ns - stranger->seen_ns < STRANGER_NS)
        return;
    forget_stranger(family, child);
    add_blind(family, child, parent, NULL);
}

/* Children of observed processes that never said hello, and strangers that went away. */
static void scan_children(struct rtd_family *family, uint64_t now_ns)
{
    pid_t children[CHILD_MAX];
    const unsigned live_count = family->live_count;

    if (now_ns < family->scan_ns)
        return;
    family->scan_ns = now_ns + SCAN_NS * (1 + live_count / 4);
    for (unsigned i = 0; i < family->stranger_count;) {
        uint64_t start_time = 0;
        const struct rtd_stranger *const stranger = &family->strangers[i];
        if (rtd_track_start_time(stranger->pid, &start_time) < 0 ||
            start_time != stranger->start_time) {
            family->strangers[i] = family->strangers[--family->stranger_count];
            count_unobserved(family, 1);
        } else
            i++;
    }
    for (unsigned i = 0; i < live_count; i++) {
        const pid_t pid = (pid_t)family->live[i]->record.meta.pid;
        const unsigned count = rtd_watch_children(pid, children, CHILD_MAX);
        for (unsigned k = 0; k < count; k++)
            meet_child(family, pid, children[k], now_ns);
    }
}

static void tend_process(struct rtd_family *family, struct rtd_collect_process *process,
                         uint64_t now_ns, unsigned *budget)
{
    const bool is_root = (pid_t)process->record.meta.pid == family->root_pid;

    rtd_process_point(process, now_ns, false);
    rtd_process_series(process, now_ns);
    rtd_watch_threads(process, now_ns);
    if (!is_root && *budget == 0)
        return;
    if (now_ns >= process->check_ns) {
        if (!is_root)
            (*budget)--;
        rtd_watch_check(process, now_ns);
    }
    /* The program itself is looked at each time while it is young: a script or a wrapper becomes
     * another program soon or never, and it is the one whose report is read. */
    if (now_ns < process->look_ns && !(is_root && now_ns - process->hello_ns < YOUNG_NS))
        return;
    process->look_ns = now_ns + SCAN_NS * (1 + family->live_count / 4);
    if (rtd_watch_other_program(process, now_ns)) {
        process->ending = true;
        process->replaced = true;
        (void)add_blind(family, (pid_t)process->record.meta.pid,
                        (pid_t)process->record.meta.parent_pid, NULL);
    }
    uint64_t start_time = 0;
    if (process->pidfd < 0 && !is_root &&
        (rtd_track_start_time((pid_t)process->record.meta.pid, &start_time) < 0 ||
         start_time != process->start_time))
        process->ending = true;
}

static bool root_ending(const struct rtd_family *family)
{
    for (unsigned i = 0; i < family->live_count; i++) {
        const struct rtd_collect_process *const process = family->live[i];
        if (process->ending && !process->replaced &&
            (pid_t)process->record.meta.pid == family->root_pid)
            return true;
    }
    return false;
}

void rtd_family_settle(struct rtd_family *family, struct rtd_recorder *recorder, uint64_t now_ns)
{
    check_root(family, now_ns, root_ending(family));
    for (unsigned i = 0; i < family->live_count;) {
        if (family->live[i]->ending)
            end_process(family, recorder, i, now_ns);
        else
            i++;
    }
    family->someone_gone = false;
}

void rtd_family_tend(struct rtd_family *family, uint64_t now_ns)
{
    const unsigned count = family->live_count;
    unsigned budget = CHECKS_A_TICK;

    for (unsigned i = 0; i < count; i++)
        tend_process(family, family->live[i], now_ns, &budget);
    scan_children(family, now_ns);
}

static int by_id(const void *a, const void *b)
{
    const struct rtd_collect_process *const *x = a, *const *y = b;

    return (*x)->record.meta.id < (*y)->record.meta.id ? -1 : 1;
}

unsigned rtd_family_list(const struct rtd_family *family, struct rtd_collect_process **out)
{
    unsigned count = 0;

    for (unsigned i = 0; i < family->ended_count; i++)
        out[count++] = family->ended[i];
    for (unsigned i = 0; i < family->live_count; i++)
        out[count++] = family->live[i];
    qsort(out, count, sizeof(out[0]), by_id);
    return count;
}
