// SPDX-License-Identifier: Apache-2.0
/*
 * manager_heap.c - how a manager gets to see the heap of its own process.
 *
 * Runs in:    a program that links libriptide
 * Threads:    see the header; `own` is guarded by its lock
 * Allocates:  one ledger a process
 * Fails:      by seeing nothing, with a reason
 */
#include "manager/manager_heap.h"

#include "collect/collect_join.h"
#include "ledger/ledger_join.h"
#include "ledger/ledger_reader_exact.h"
#include "track/track_file.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#define MS_NS            UINT64_C(1000000)
#define DEFAULT_INTERVAL (UINT64_C(512) << 10)

/* What the process has once, whatever the number of managers. */
static struct {
    pthread_mutex_t lock;
    struct rtd_pool_ledger ledger; /* without a mapping: none was made */
    const struct rtd_manager_heap *keeper;
    struct rtd_collect_maps maps; /* what the last keeper knew, while there is none */
} own = {.lock = PTHREAD_MUTEX_INITIALIZER, .ledger = {.handle = {.fd = -1}}};

__attribute__((format(printf, 2, 3))) static void give_up(struct rtd_manager_heap *heap,
                                                          const char *format, ...)
{
    va_list arguments;

    heap->mode = RIPTIDE_HEAP_OFF;
    va_start(arguments, format);
    (void)vsnprintf(heap->reason, sizeof(heap->reason), format, arguments);
    va_end(arguments);
}

/* The kernel then grants a page of a sparse file when it is touched, or sends SIGBUS. */
static bool is_commit_strict(void)
{
    char text[16];

    return rtd_track_file_read("/proc/sys/vm/overcommit_memory", text, sizeof(text)) > 0 &&
           text[0] == '2';
}

/* A library that was unloaded could not take its ledger up again; the agent never lets go of it. */
static void stay_loaded(void)
{
    Dl_info info;

    if (dladdr(&own, &info) && info.dli_fname)
        (void)dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

static int make_ledger(const struct riptide_options *options, struct rtd_pool_ledger *out)
{
    struct rtd_ledger_options wish = {
        .mode = options->heap == RIPTIDE_HEAP_EXACT ? RTD_MODE_EXACT : RTD_MODE_SAMPLE,
        .interval_bytes =
            options->heap_interval_bytes ? options->heap_interval_bytes : DEFAULT_INTERVAL,
        .interval_fixed = options->heap_interval_bytes != 0,
    };
    uint64_t start_time = 0;

    (void)!getrandom(&wish.seed, sizeof(wish.seed), GRND_NONBLOCK);
    (void)!getrandom(&wish.session, sizeof(wish.session), GRND_NONBLOCK);
    const int result = rtd_ledger_create(&wish, &out->handle);
    if (result < 0)
        return result;
    out->born_ns = rtd_collect_now_ns();
    (void)rtd_track_start_time(getpid(), &start_time);
    rtd_ledger_assign(out->handle.ledger, (uint32_t)getpid(), start_time);
    return 0;
}

/* Makes the ledger of this process and has the agent record into it. 0 or a negative errno. */
static int begin_locked(struct rtd_manager_heap *heap, const struct riptide_options *options)
{
    if (options->heap == RIPTIDE_HEAP_EXACT && is_commit_strict()) {
        give_up(heap, "exact mode is not safe here: vm.overcommit_memory is 2");
        return -EOPNOTSUPP;
    }
    int result = make_ledger(options, &own.ledger);
    if (result < 0) {
        give_up(heap, "no memory for a ledger: %s", riptide_strerror(result));
        return result;
    }
    result = riptide_heap_adopt(own.ledger.handle.fd);
    if (result == 0)
        return 0;
    rtd_ledger_close(&own.ledger.handle);
    if (result == -EOPNOTSUPP)
        give_up(heap, "the agent in the process does not serve its malloc, cannot observe the "
                      "allocator, or began in another mode before a fork");
    else
        give_up(heap, "the agent could not begin to record: %s", riptide_strerror(result));
    return result;
}

static void lend(struct rtd_collect_process *process, const struct rtd_pool_ledger *ledger)
{
    process->ledger = *ledger;
    /* Until it is known who keeps it, nobody here writes. */
    process->borrowed = true;
}

/* A ledger that is neither ours nor shown to us can still be read where the agent has it mapped. */
static void join(struct rtd_manager_heap *heap, const struct rtd_ledger *mapped,
                 struct rtd_collect_process *process)
{
    struct rtd_pool_ledger ledger = {.handle = {.fd = -1}};
    const int result = rtd_collect_join(&ledger.handle);

    heap->joined = true;
    heap->mode = mapped->header.mode == RTD_MODE_EXACT ? RIPTIDE_HEAP_EXACT : RIPTIDE_HEAP_SAMPLE;
    if (result < 0 && heap->mode == RIPTIDE_HEAP_EXACT) {
        heap->joined = false;
        give_up(heap, "the collector does not show its exact ledger: %s", riptide_strerror(result));
        return;
    }
    if (result < 0)
        ledger.handle.ledger = (struct rtd_ledger *)(uintptr_t)mapped;
    const uint64_t clock_ms =
        atomic_load_explicit(&ledger.handle.ledger->header.clock_ms, memory_order_relaxed);
    ledger.born_ns = rtd_collect_now_ns() - clock_ms * MS_NS;
    lend(process, &ledger);
}

void rtd_manager_heap_open(struct rtd_manager_heap *heap, const struct riptide_options *options,
                           struct rtd_collect_process *process)
{
    *heap = (struct rtd_manager_heap){.mode = RIPTIDE_HEAP_OFF};
    if (options->heap == RIPTIDE_HEAP_OFF) {
        give_up(heap, "the options turned it off");
        return;
    }
    if (!riptide_heap_adopt || !riptide_heap_ledger) {
        give_up(heap, "its heap is not watched: link riptide-heap, or start it by riptide run");
        return;
    }
    pthread_mutex_lock(&own.lock);
    const struct rtd_ledger *mapped = riptide_heap_ledger();
    if (!own.ledger.handle.ledger && !mapped && begin_locked(heap, options) == -EALREADY)
        mapped = riptide_heap_ledger();
    if (own.ledger.handle.ledger) {
        heap->mode = own.ledger.handle.ledger->header.mode == RTD_MODE_EXACT ? RIPTIDE_HEAP_EXACT
                                                                             : RIPTIDE_HEAP_SAMPLE;
        heap->is_own = true;
        lend(process, &own.ledger);
    }
    pthread_mutex_unlock(&own.lock);
    /* Without the lock: a fork in some library's constructor would wait for it, and we for that. */
    if (heap->is_own)
        stay_loaded();
    if (!heap->is_own && mapped) {
        heap->reason[0] = '\0';
        join(heap, mapped, process);
    }
    if (heap->mode != RIPTIDE_HEAP_OFF && options->heap != RIPTIDE_HEAP_AUTO &&
        heap->mode != options->heap)
        (void)snprintf(heap->reason, sizeof(heap->reason),
                       "the process is watched in this mode already, not in the one asked for");
}

bool rtd_manager_heap_keep(struct rtd_manager_heap *heap, struct rtd_collect_process *process)
{
    if (heap->keeps || !heap->is_own)
        return heap->keeps;
    pthread_mutex_lock(&own.lock);
    if (!own.keeper) {
        own.keeper = heap;
        heap->keeps = true;
        process->borrowed = false;
        process->maps = own.maps;
        memset(&own.maps, 0, sizeof(own.maps));
    }
    pthread_mutex_unlock(&own.lock);
    return heap->keeps;
}

void rtd_manager_heap_close(struct rtd_manager_heap *heap, struct rtd_collect_process *process)
{
    pthread_mutex_lock(&own.lock);
    if (heap->keeps && own.keeper == heap) {
        own.keeper = NULL;
        own.maps = process->maps;
        memset(&process->maps, 0, sizeof(process->maps));
    }
    pthread_mutex_unlock(&own.lock);
    /* A ledger that the collector showed us is ours to unmap; the agent's mapping is not. */
    if (heap->joined && process->ledger.handle.fd >= 0)
        rtd_ledger_close(&process->ledger.handle);
    process->ledger = (struct rtd_pool_ledger){.handle = {.fd = -1}};
    *heap = (struct rtd_manager_heap){.mode = RIPTIDE_HEAP_OFF};
}

static uint64_t mix(uint64_t print, uint64_t value)
{
    /* FNV-1a's, a word at a time. */
    return (print ^ value) * UINT64_C(0x100000001b3);
}

/* What a thread did in exact mode. A block that cannot be read counts as unchanged. */
static uint64_t mix_exact(uint64_t print, int fd, unsigned index)
{
    struct rtd_exact_thread thread;

    if (rtd_exact_pread(fd, &thread, sizeof(thread), RTD_EXACT_AT(threads[index])) < 0)
        return print;
    print = mix(print, (uint64_t)atomic_load_explicit(&thread.net, memory_order_relaxed));
    for (unsigned i = 0; i < RTD_SIZE_CLASSES; i++)
        print = mix(print, atomic_load_explicit(&thread.size_class[i], memory_order_relaxed));
    return print;
}

uint64_t rtd_manager_heap_print(const struct rtd_manager_heap *heap,
                                const struct rtd_collect_process *process)
{
    const struct rtd_ledger *const ledger = process->ledger.handle.ledger;
    const bool exact = heap->mode == RIPTIDE_HEAP_EXACT;
    const int fd = process->ledger.handle.fd;
    const uint32_t own_tid = (uint32_t)gettid();
    uint64_t print = 0;

    if (heap->mode == RIPTIDE_HEAP_OFF || !ledger)
        return 0;
    for (unsigned i = 0; i < RTD_THREAD_COUNT; i++) {
        const struct rtd_thread *const thread = &ledger->threads[i];
        const uint32_t tid = atomic_load_explicit(&thread->tid, memory_order_relaxed);
        if (atomic_load_explicit(&thread->state, memory_order_relaxed) == 0 || tid == own_tid)
            continue;
        print = mix(print, tid);
        print = mix(print, atomic_load_explicit(&thread->allocated_bytes, memory_order_relaxed));
        print = mix(print, atomic_load_explicit(&thread->sampled_frees, memory_order_relaxed));
        if (exact)
            print = mix_exact(print, fd, i);
    }
    return exact ? mix_exact(print, fd, RTD_EXACT_SHARED_BLOCK) : print;
}

void rtd_manager_heap_before_fork(void)
{
    pthread_mutex_lock(&own.lock);
}

void rtd_manager_heap_after_fork(bool is_child)
{
    if (is_child) {
        /* The parent's keepers are copies here; the maps of a keeper that was are ours to free. */
        pthread_mutex_init(&own.lock, NULL);
        rtd_ledger_close(&own.ledger.handle);
        rtd_collect_maps_fini(&own.maps);
        own.keeper = NULL;
        return;
    }
    pthread_mutex_unlock(&own.lock);
}
