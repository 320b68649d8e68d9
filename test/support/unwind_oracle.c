// SPDX-License-Identifier: Apache-2.0
/*
 * unwind_oracle.c - preloaded library that checks the unwinder against libgcc in real programs.
 *
 * Runs in:    any test program, through LD_PRELOAD; never in production
 * Threads:    any; counters are atomic, a thread-local guard stops recursion
 * Allocates:  never itself; libgcc may
 * Fails:      by counting; the counts are written at exit
 *
 * UNWIND_ORACLE_EVERY   compare at every n-th malloc(), 97 by default
 * UNWIND_ORACLE_OUT     file that receives one line of counts per process, appended
 * UNWIND_ORACLE_LOG     file that receives the differing stacks (at most MAX_LOGGED), appended
 *
 * equal      the same frames and the same length
 * shortened  a proper prefix of libgcc's frames
 * longer     libgcc's frames are a proper prefix of ours
 * wrong      anything else
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <unwind.h>

#include "unwind/unwind.h"
#include "unwind/unwind_stack.h"

enum { MAX_FRAMES = 1024, MAX_LOGGED = 20, END_REASONS = 4 };

/* The next definitions in line: the program may bring an allocator of its own. */
static void *(*next_malloc)(size_t size);
static void *(*next_calloc)(size_t count, size_t size);
static void *(*next_realloc)(void *block, size_t size);

enum outcome { EQUAL, SHORTENED, LONGER, WRONG, OUTCOMES };

static _Atomic unsigned long call_count;
static _Atomic unsigned long outcomes[OUTCOMES];
static _Atomic unsigned long ends[END_REASONS];
static _Atomic unsigned long frame_count;
static _Atomic unsigned logged;
static unsigned long every = 97;
/* Copies, because setproctitle() of some programs overwrites the environment. */
static char out_name[256];
static char log_name[256];
static _Atomic bool is_ready;
static __thread bool is_busy __attribute__((tls_model("initial-exec")));

/* Per thread and static, because some programs allocate on stacks of a few KiB. */
static __thread uintptr_t theirs[MAX_FRAMES] __attribute__((tls_model("initial-exec")));
static __thread uintptr_t ours[MAX_FRAMES] __attribute__((tls_model("initial-exec")));

struct collection {
    uintptr_t first_pc; /* frames below it are ours: compare() and the interposer */
    unsigned count;
};

static _Unwind_Reason_Code collect(struct _Unwind_Context *context, void *argument)
{
    struct collection *const collection = argument;
    const uintptr_t pc = _Unwind_GetIP(context);

    if (collection->count == 0 && pc != collection->first_pc) {
        return _URC_NO_REASON;
    }
    if (pc != 0 && collection->count < MAX_FRAMES) {
        theirs[collection->count++] = pc;
    }
    return _URC_NO_REASON;
}

static void log_difference(unsigned mine, unsigned oracle, enum rtd_unwind_end end,
                           enum outcome outcome)
{
    char line[256];
    int length;

    if (log_name[0] == '\0' || atomic_fetch_add(&logged, 1) >= MAX_LOGGED) {
        return;
    }
    const int fd = open(log_name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) {
        return;
    }
    length = snprintf(line, sizeof(line), "pid %d outcome %d end %d ours %u theirs %u\n", getpid(),
                      (int)outcome, (int)end, mine, oracle);
    (void)!write(fd, line, (size_t)length);
    for (unsigned i = 0; i < mine || i < oracle; i++) {
        Dl_info info = {.dli_fname = NULL};
        const uintptr_t pc = i < oracle ? theirs[i] : ours[i];
        dladdr((void *)(pc - 1), &info);
        length = snprintf(
            line, sizeof(line), "  %c %3u ours %lx theirs %lx %.80s+%lx %.60s\n",
            i < mine && i < oracle && ours[i] == theirs[i] ? ' ' : '*', i, i < mine ? ours[i] : 0UL,
            i < oracle ? theirs[i] : 0UL, info.dli_fname != NULL ? info.dli_fname : "?",
            pc - (uintptr_t)info.dli_fbase, info.dli_sname != NULL ? info.dli_sname : "?");
        (void)!write(fd, line, (size_t)length);
    }
    close(fd);
}

static void compare(struct rtd_unwind_frame start)
{
    struct collection collection = {.first_pc = start.pc, .count = 0};
    enum rtd_unwind_end end;

    const unsigned mine =
        rtd_unwind_walk(start, rtd_unwind_stack_bounds(start.sp), ours, MAX_FRAMES, &end);
    _Unwind_Backtrace(collect, &collection);

    const unsigned oracle = collection.count;
    unsigned same = 0;
    while (same < mine && same < oracle && ours[same] == theirs[same]) {
        same++;
    }
    enum outcome outcome = WRONG;
    if (same == mine && same == oracle) {
        outcome = EQUAL;
    } else if (same == mine) {
        outcome = SHORTENED;
    } else if (same == oracle && oracle > 0) {
        outcome = LONGER;
    }
    atomic_fetch_add(&outcomes[outcome], 1);
    atomic_fetch_add(&ends[end], 1);
    atomic_fetch_add(&frame_count, mine);
    if (outcome != EQUAL) {
        log_difference(mine, oracle, end, outcome);
    }
}

static bool is_due(void)
{
    return atomic_load(&is_ready) && !is_busy &&
           atomic_fetch_add_explicit(&call_count, 1, memory_order_relaxed) % every == 0;
}

/* The interposers keep a frame pointer (see the build file), so their frame's layout is known. */
#define CALLER_FRAME()                                                                             \
    ((struct rtd_unwind_frame){.pc = (uintptr_t)__builtin_return_address(0),                       \
                               .sp = (uintptr_t)__builtin_frame_address(0) + 16,                   \
                               .fp = *(uintptr_t *)__builtin_frame_address(0)})

static void check(struct rtd_unwind_frame start)
{
    is_busy = true;
    compare(start);
    is_busy = false;
}

static void resolve(void)
{
    *(void **)&next_malloc = dlsym(RTLD_NEXT, "malloc");
    *(void **)&next_calloc = dlsym(RTLD_NEXT, "calloc");
    *(void **)&next_realloc = dlsym(RTLD_NEXT, "realloc");
}

RTD_EXPORT void *malloc(size_t size)
{
    if (is_due()) {
        check(CALLER_FRAME());
    }
    if (next_malloc == NULL) {
        resolve();
    }
    return next_malloc(size);
}

RTD_EXPORT void *calloc(size_t count, size_t size)
{
    if (is_due()) {
        check(CALLER_FRAME());
    }
    if (next_calloc == NULL) {
        resolve();
    }
    return next_calloc(count, size);
}

RTD_EXPORT void *realloc(void *block, size_t size)
{
    if (is_due()) {
        check(CALLER_FRAME());
    }
    if (next_realloc == NULL) {
        resolve();
    }
    return next_realloc(block, size);
}

static void copy_name(char *to, size_t size, const char *from)
{
    (void)snprintf(to, size, "%s", from != NULL ? from : "");
}

__attribute__((constructor)) static void start_oracle(void)
{
    struct rlimit limit = {.rlim_cur = RLIM_INFINITY};
    const char *const text = getenv("UNWIND_ORACLE_EVERY");

    if (text != NULL && strtoul(text, NULL, 10) > 0) {
        every = strtoul(text, NULL, 10);
    }
    copy_name(out_name, sizeof(out_name), getenv("UNWIND_ORACLE_OUT"));
    copy_name(log_name, sizeof(log_name), getenv("UNWIND_ORACLE_LOG"));
    getrlimit(RLIMIT_STACK, &limit);
    rtd_unwind_stack_init(limit.rlim_cur);
    /* libgcc is loaded at the first call, with an allocation: get that over with. */
    struct collection collection = {.first_pc = 0, .count = 0};
    is_busy = true;
    _Unwind_Backtrace(collect, &collection);
    is_busy = false;
    atomic_store(&is_ready, true);
}

__attribute__((destructor)) static void write_counts(void)
{
    char line[512];
    char name[64] = "?";

    if (out_name[0] == '\0') {
        return;
    }
    const int comm = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
    if (comm >= 0) {
        const ssize_t got = read(comm, name, sizeof(name) - 1);
        name[got > 1 ? got - 1 : 0] = '\0';
        close(comm);
    }
    const int fd = open(out_name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) {
        return;
    }
    const int length = snprintf(
        line, sizeof(line),
        "%s equal %lu shortened %lu longer %lu wrong %lu complete %lu depth %lu no_rule %lu "
        "bounds %lu frames %lu\n",
        name, outcomes[EQUAL], outcomes[SHORTENED], outcomes[LONGER], outcomes[WRONG],
        ends[RTD_UNWIND_COMPLETE], ends[RTD_UNWIND_DEPTH], ends[RTD_UNWIND_NO_RULE],
        ends[RTD_UNWIND_BOUNDS], frame_count);
    (void)!write(fd, line, (size_t)length);
    close(fd);
}
