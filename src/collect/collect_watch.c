// SPDX-License-Identifier: Apache-2.0
/*
 * collect_watch.c - the slow checks of a process: is it blind, sandboxed, has it gone elsewhere.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    the collector's loop
 * Allocates:  what inspecting a program needs, while it runs
 * Fails:      never
 */
#include "collect/collect_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collect/collect_inspect.h"

#define SECOND_NS UINT64_C(1000000000)
/* Blocks in use are counted often, which is cheap; the kernel's list is read seldom. */
#define COUNT_NS   (SECOND_NS / 5)
#define RECLAIM_NS (3 * SECOND_NS)
/* A hello follows an exec within milliseconds, even on a busy machine. */
#define OTHER_PROGRAM_NS (SECOND_NS / 4)

enum { ANSWER_SECONDS = 1, TID_MAX = 4096 };

/* /proc/PID/exe rather than a path: it is the file that runs, whatever happened to its name. */
void rtd_watch_explain(pid_t pid, const char *path, char *reason, size_t size)
{
    char link[64];
    struct rtd_program_checks *const checks = malloc(sizeof(*checks));
    int result = -ENOENT;

    if (checks) {
        (void)snprintf(link, sizeof(link), "/proc/%d/exe", (int)pid);
        result = rtd_collect_check_program(link, checks);
        if (result < 0 && path && path[0])
            result = rtd_collect_check_program(path, checks);
    }
    const char *const name = path && path[0] ? path : "the program";
    if (result == 0 && checks->failed)
        (void)snprintf(reason, size, "%.120s: %s", name, checks->failed->text);
    else if (result == 0 && checks->warned)
        (void)snprintf(reason, size, "%.120s: %s", name, checks->warned->text);
    else
        (void)snprintf(reason, size,
                       "%.120s started without the agent (was LD_PRELOAD or RIPTIDE_SOCKET removed "
                       "from its environment?)",
                       name);
    free(checks);
}

static void explain_disabled(const struct rtd_collect_process *process, uint32_t cause,
                             char *reason, size_t size)
{
    const struct rtd_process_meta *const meta = &process->record.meta;

    switch (cause) {
    case RTD_REASON_NOT_INTERPOSED:
        rtd_watch_explain((pid_t)meta->pid, meta->executable, reason, size);
        if (strstr(reason, "without the agent"))
            (void)snprintf(reason, size, "%.120s uses a malloc of its own, unseen by the agent",
                           meta->executable);
        break;
    case RTD_REASON_MAP_FAILED:
        (void)snprintf(reason, size,
                       "the agent could not map its ledger (a memory limit of the program?)");
        break;
    case RTD_REASON_VERSION:
        (void)snprintf(reason, size, "agent and collector are of different versions");
        break;
    default:
        (void)snprintf(reason, size, "the agent switched itself off");
        break;
    }
}

/* An agent that has no room to map its ledger says nothing: it cannot. */
static void explain_silence(const struct rtd_collect_process *process, char *reason, size_t size)
{
    const uint64_t needed = process->ledger.handle.ledger->header.total_bytes;
    const uint64_t limit = process->address_limit_bytes;
    if (limit != 0 && limit < needed)
        (void)snprintf(reason, size,
                       "its address space is limited to %" PRIu64 " MB (ulimit -v) and the ledger "
                       "of this mode takes %" PRIu64 " MB of it: raise the limit%s",
                       limit / 1000000, needed / 1000000,
                       process->ledger.handle.ledger->header.mode == RTD_MODE_EXACT
                           ? ", or use --mode sample"
                           : "");
    else
        (void)snprintf(reason, size, "the agent asked for a ledger and did not use it");
}

void rtd_watch_agent(struct rtd_collect_process *process, uint64_t now_ns, bool last)
{
    char reason[RTD_REASON_BYTES];

    if (!process->ledger.handle.ledger)
        return;
    const struct rtd_header *const h = &process->ledger.handle.ledger->header;
    /* Acquire pairs with the agent's release of agent_state: the reason stands before it. */
    const uint32_t state = atomic_load_explicit(&h->agent_state, memory_order_acquire);

    if (state == RTD_AGENT_READY) {
        if (process->record.meta.status == RTD_PROCESS_BLIND) {
            process->record.meta.status = RTD_PROCESS_RUNNING;
            process->record.meta.blind_reason[0] = '\0';
            process->changed = true;
        }
        return;
    }
    if (process->record.meta.status == RTD_PROCESS_BLIND)
        return;
    if (state == RTD_AGENT_DISABLED) {
        explain_disabled(process, h->agent_reason, reason, sizeof(reason));
        rtd_process_blind(process, reason);
    } else if (last || now_ns - process->hello_ns > ANSWER_SECONDS * SECOND_NS) {
        explain_silence(process, reason, sizeof(reason));
        rtd_process_blind(process, reason);
    }
}

/* A thread whose block stood in the ledger before the kernel's list was read and that is not on
 * that list is gone. Threads that came later are added to the list, so they are not touched. */
void rtd_watch_threads(struct rtd_collect_process *process, uint64_t now_ns)
{
    struct rtd_ledger *const ledger = process->ledger.handle.ledger;
    uint32_t before[RTD_THREAD_COUNT], tids[TID_MAX + RTD_THREAD_COUNT];
    unsigned used = 0;
    bool dead = false;

    if (!ledger || process->ending || now_ns < process->reclaim_ns)
        return;
    process->reclaim_ns = now_ns + COUNT_NS;
    /* In another pid namespace the numbers mean something else. */
    if (ledger->header.agent_pid != process->record.meta.pid)
        return;
    for (unsigned i = 0; i < RTD_THREAD_COUNT; i++) {
        before[i] = atomic_load_explicit(&ledger->threads[i].state, memory_order_acquire)
                        ? atomic_load_explicit(&ledger->threads[i].tid, memory_order_relaxed)
                        : 0;
        used += before[i] != 0;
    }
    /* A program that lives through threads quickly must not run out of blocks. */
    if (used < RTD_THREAD_COUNT / 4 && now_ns < process->list_ns)
        return;
    process->list_ns = now_ns + RECLAIM_NS;
    const int listed = rtd_track_threads((pid_t)process->record.meta.pid, tids, TID_MAX);
    if (listed <= 0 || listed > TID_MAX)
        return;
    unsigned count = (unsigned)listed;
    for (unsigned i = 0; i < RTD_THREAD_COUNT; i++) {
        const uint32_t tid = atomic_load_explicit(&ledger->threads[i].tid, memory_order_relaxed);
        bool known = tid == 0;
        for (unsigned k = 0; k < (unsigned)listed && !known; k++)
            known = tids[k] == tid;
        if (known)
            continue;
        if (before[i] == tid)
            dead = true;
        else
            tids[count++] = tid;
    }
    if (dead)
        (void)rtd_ledger_reclaim_threads(ledger, tids, count);
}

bool rtd_watch_other_program(struct rtd_collect_process *process, uint64_t now_ns)
{
    char now[RTD_COMMAND_BYTES];
    const char *const known = process->record.meta.executable;
    const size_t length = strlen(known);

    if (process->ending || !process->ledger.handle.ledger || !length ||
        rtd_track_executable((pid_t)process->record.meta.pid, now, sizeof(now)) < 0)
        return false;
    /* An upgraded program's name gets " (deleted)" appended; it still is the same program. */
    const bool same = strncmp(known, now, length) == 0 &&
                      (now[length] == '\0' || strcmp(now + length, " (deleted)") == 0);
    if (same) {
        free(process->other_path);
        process->other_path = NULL;
        return false;
    }
    if (!process->other_path) {
        process->other_path = strdup(now);
        process->other_ns = now_ns;
        return false;
    }
    return now_ns - process->other_ns >= OTHER_PROGRAM_NS;
}

void rtd_watch_check(struct rtd_collect_process *process, uint64_t now_ns)
{
    struct rtd_ledger *const ledger = process->ledger.handle.ledger;

    if (now_ns < process->check_ns || process->ending || !ledger)
        return;
    process->check_ns = now_ns + SECOND_NS;
    rtd_watch_agent(process, now_ns, false);
    if (rtd_track_has_seccomp((pid_t)process->record.meta.pid))
        atomic_store_explicit(&ledger->header.no_handshake, 1, memory_order_relaxed);
}

unsigned rtd_watch_children(pid_t pid, pid_t *children, unsigned max)
{
    char path[64], text[4096];
    unsigned count = 0;

    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    const ssize_t size = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (size <= 0)
        return 0;
    text[size] = '\0';
    char *rest = NULL;
    for (char *word = strtok_r(text, " \n", &rest); word && count < max;
         word = strtok_r(NULL, " \n", &rest)) {
        const long value = strtol(word, NULL, 10);
        if (value > 0)
            children[count++] = (pid_t)value;
    }
    return count;
}
