// SPDX-License-Identifier: Apache-2.0
/*
 * collect_request.c - what operators ask of running targets: see collect_request.h.
 *
 * Runs in:    collector
 * Threads:    the collector's loop
 * Allocates:  the text of an answer
 * Fails:      see collect_request.h
 */
#include "collect/collect_request.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/export_gc.h"
#include "ledger/ledger_request.h"
#include "track/track_filters.h"
#include "track/track_process.h"

#define MS_NS UINT64_C(1000000)

enum { ANSWER_BYTES = 1024, NOT_DONE = 1 };

/* What is said in the end. */
struct outcome {
    const char *status; /* "done", "unsupported", "timeout" or "failed" */
    const char *reason; /* NULL: done */
    struct rtd_request_answer answer;
    uint64_t after_bytes;
    bool known; /* before and after */
};

static const struct {
    const char *action, *allocator;
} releases[] = {
    [RTD_RELEASE_NOTHING] = {NULL, NULL},
    [RTD_RELEASE_GLIBC] = {"malloc_trim", "glibc"},
    [RTD_RELEASE_JEMALLOC] = {"arena.<all>.purge", "jemalloc"},
    [RTD_RELEASE_TCMALLOC] = {"MallocExtension_ReleaseFreeMemory", "tcmalloc"},
    [RTD_RELEASE_MIMALLOC] = {"mi_collect", "mimalloc"},
};

static const char *const idle_reason = "the process did not pass a safe point in that time: it "
                                       "allocated and freed too little, or only "
                                       "on stacks of its own making; the request is withdrawn";
static const char *const late_reason =
    "the process has taken the request up, but the allocator's call has not returned yet";

/* ---- the answer in words ---- */

static int write_json(char *out, size_t size, const struct rtd_request *request,
                      const struct outcome *outcome, const char *allocator)
{
    const uint32_t action = outcome->answer.action;
    const struct rtd_gc_outcome told = {
        .action = action ? releases[action].action : NULL,
        .allocator = allocator,
        .status = outcome->status,
        .reason = outcome->reason,
        .pid = request->pid,
        .before_known = request->before_known,
        .after_known = outcome->known,
        .before_bytes = request->before_bytes,
        .after_bytes = outcome->after_bytes,
        .duration_ns = outcome->answer.duration_ns,
    };

    return rtd_export_gc_json(out, size, &told);
}

static int write_text(char *out, size_t size, const struct rtd_request *request,
                      const struct outcome *outcome)
{
    const double mib = 1024.0 * 1024.0;

    if (outcome->reason)
        return snprintf(out, size, "%s: process %" PRIu32 ": %s\n", outcome->status, request->pid,
                        outcome->reason);
    if (!outcome->known)
        return snprintf(out, size, "done: process %" PRIu32 ": %s of %s in %.1f ms\n", request->pid,
                        releases[outcome->answer.action].action,
                        releases[outcome->answer.action].allocator,
                        (double)outcome->answer.duration_ns / (double)MS_NS);
    const double before = (double)request->before_bytes / mib;
    const double after = (double)outcome->after_bytes / mib;
    return snprintf(
        out, size,
        "done: process %" PRIu32 ": %s of %s: resident %.1f MiB before, %.1f MiB after; "
        "%.1f MiB freed in %.1f ms\n",
        request->pid, releases[outcome->answer.action].action,
        releases[outcome->answer.action].allocator, before, after,
        before > after ? before - after : 0.0, (double)outcome->answer.duration_ns / (double)MS_NS);
}

static void finish(struct rtd_requests *requests, struct rtd_door *door,
                   struct rtd_request *request, const struct outcome *outcome)
{
    char *const text = malloc(ANSWER_BYTES);
    const bool done = strcmp(outcome->status, "done") == 0;

    if (text) {
        const int length = request->as_json ? write_json(text, ANSWER_BYTES, request, outcome,
                                                         releases[outcome->answer.action].allocator)
                                            : write_text(text, ANSWER_BYTES, request, outcome);
        rtd_door_answer(door, request->caller, done ? 0 : NOT_DONE, text, (size_t)length);
    } else {
        rtd_door_answer(door, request->caller, -ENOMEM, NULL, 0);
    }
    request->active = false;
    requests->count--;
}

/* ---- one request ---- */

static bool read_resident(uint32_t pid, uint64_t *bytes)
{
    struct rtd_memory_snapshot snapshot = {0};

    if (rtd_track_glance((pid_t)pid, &snapshot) < 0)
        return false;
    *bytes = snapshot.rss_bytes;
    return true;
}

static struct rtd_collect_process *find_image(const struct rtd_family *family, uint32_t id)
{
    for (unsigned i = 0; i < family->live_count; i++) {
        struct rtd_collect_process *const process = family->live[i];
        if (process->record.meta.id == id && !process->ending && process->ledger.handle.ledger)
            return process;
    }
    return NULL;
}

/* Why a process cannot be asked at all, or NULL. */
static const char *reason_against(const struct rtd_collect_process *process)
{
    const struct rtd_ledger *const ledger = process->ledger.handle.ledger;

    if (process->borrowed)
        return "another collector keeps the ledger of this process";
    if (!ledger ||
        atomic_load_explicit(&ledger->header.agent_state, memory_order_acquire) != RTD_AGENT_READY)
        return "no agent records in this process, so that nobody can be asked";
    if (atomic_load_explicit(&ledger->header.no_handshake, memory_order_relaxed) ||
        rtd_track_any_seccomp((pid_t)process->record.meta.pid))
        return "the process runs under a filter of system calls, which could kill it for this";
    return NULL;
}

static void take_answer(struct rtd_requests *requests, struct rtd_door *door,
                        struct rtd_request *request, struct outcome *outcome, uint64_t now_ns)
{
    struct rtd_request_answer *const answer = &outcome->answer;

    /* The target's word: not more than can be true. */
    if (answer->duration_ns > now_ns - request->since_ns)
        answer->duration_ns = now_ns - request->since_ns;
    outcome->known = read_resident(request->pid, &outcome->after_bytes) && request->before_known;
    if (answer->action >= sizeof(releases) / sizeof(releases[0]))
        answer->action = RTD_RELEASE_NOTHING;
    if (answer->state == RTD_REQUEST_DONE && answer->action != RTD_RELEASE_NOTHING) {
        outcome->status = "done";
    } else if (answer->state == RTD_REQUEST_UNSUPPORTED) {
        outcome->status = "unsupported";
        outcome->reason = "its allocator has no function for this that is known here";
    } else {
        outcome->status = "failed";
        outcome->reason = "its allocator refused, or the answer makes no sense";
    }
    finish(requests, door, request, outcome);
}

static void tend(struct rtd_requests *requests, struct rtd_door *door,
                 const struct rtd_family *family, struct rtd_request *request, uint64_t now_ns)
{
    struct rtd_collect_process *const process = find_image(family, request->process_id);
    struct outcome outcome = {.status = "failed"};

    if (!process) {
        outcome.reason = "the process ended, or runs another program now";
        finish(requests, door, request, &outcome);
        return;
    }
    struct rtd_header *const header = &process->ledger.handle.ledger->header;
    rtd_request_read(header, request->posted, &outcome.answer);
    const enum rtd_request_state state = outcome.answer.state;
    if (state != RTD_REQUEST_PENDING && state != RTD_REQUEST_CLAIMED) {
        take_answer(requests, door, request, &outcome, now_ns);
        return;
    }
    if (!door->callers[request->caller].hung_up && now_ns - request->since_ns < request->limit_ns) {
        if (state == RTD_REQUEST_PENDING)
            request->before_known = read_resident(request->pid, &request->before_bytes);
        return;
    }
    outcome.status = "timeout";
    outcome.reason = rtd_request_withdraw(header, request->posted) ? idle_reason : late_reason;
    finish(requests, door, request, &outcome);
}

/* ---- new callers ---- */

static struct rtd_request *free_place(struct rtd_requests *requests)
{
    for (unsigned i = 0; i < RTD_REQUESTS; i++) {
        if (!requests->list[i].active)
            return &requests->list[i];
    }
    return NULL;
}

static void begin(struct rtd_requests *requests, struct rtd_door *door, struct rtd_family *family,
                  unsigned caller, uint64_t now_ns)
{
    const struct rtd_query *const query = &door->callers[caller].query;
    struct rtd_collect_process *const process =
        query->pid ? rtd_family_recording(family, (pid_t)query->pid) : rtd_family_root(family);
    struct rtd_request *const request = free_place(requests);

    if (!process || !request) {
        rtd_door_answer(door, caller, process ? -EBUSY : -ESRCH, NULL, 0);
        return;
    }
    *request = (struct rtd_request){
        .active = true,
        .as_json = query->by != 0,
        .caller = caller,
        .process_id = process->record.meta.id,
        .pid = process->record.meta.pid,
        .since_ns = now_ns,
        .limit_ns =
            (query->top < RTD_REQUEST_TIMEOUT_MAX_MS ? query->top : RTD_REQUEST_TIMEOUT_MAX_MS) *
            MS_NS,
    };
    requests->count++;
    struct outcome outcome = {.status = "unsupported", .reason = reason_against(process)};
    request->before_known = read_resident(request->pid, &request->before_bytes);
    if (outcome.reason) {
        finish(requests, door, request, &outcome);
        return;
    }
    request->posted = rtd_request_post(&process->ledger.handle.ledger->header);
    if (request->posted == 0) {
        request->active = false;
        requests->count--;
        rtd_door_answer(door, caller, -EBUSY, NULL, 0);
    }
}

void rtd_requests_tend(struct rtd_requests *requests, struct rtd_door *door,
                       struct rtd_family *family, uint64_t now_ns)
{
    unsigned caller = 0;

    while (rtd_door_next_asking(door, &caller))
        begin(requests, door, family, caller, now_ns);
    for (unsigned i = 0; i < RTD_REQUESTS && requests->count > 0; i++) {
        if (requests->list[i].active)
            tend(requests, door, family, &requests->list[i], now_ns);
    }
}

void rtd_requests_end(struct rtd_requests *requests, struct rtd_door *door)
{
    const struct outcome outcome = {.status = "failed", .reason = "the program has ended"};
    unsigned caller = 0;

    while (rtd_door_next_asking(door, &caller))
        rtd_door_answer(door, caller, -ESRCH, NULL, 0);
    for (unsigned i = 0; i < RTD_REQUESTS; i++) {
        if (requests->list[i].active)
            finish(requests, door, &requests->list[i], &outcome);
    }
}
