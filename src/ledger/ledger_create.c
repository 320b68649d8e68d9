// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_create.c - makes a ledger and keeps the collector's half of it.
 *
 * Runs in:    collector
 * Threads:    any; one thread a ledger for the keeping (tick, adapt, reclaim)
 * Allocates:  one memfd and one shared mapping of its first RTD_LEDGER_BYTES
 * Fails:      by a negative errno; nothing is left behind
 *
 * Why every page of the dense part is touched here: a page that the target touched first would be
 * charged to the target's cgroup and could fail in the target's malloc, with SIGBUS where nobody
 * can answer it. The sparse part of exact mode takes that risk, and is refused where it is real:
 * under strict overcommit.
 */
#include "ledger/ledger_create.h"

#include "ledger/ledger_exact.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3; not in older libc headers */
#endif

#define LOAD(field)         atomic_load_explicit(&(field), memory_order_relaxed)
#define STORE(field, value) atomic_store_explicit(&(field), value, memory_order_relaxed)

enum {
    ADAPT_RATE_LOW = 150,
    ADAPT_RATE_HIGH = 400,
    ADAPT_PATIENCE_MS = 3000,
    ADAPT_CALL_MS_MAX = 60 * 1000,
};
static const uint64_t interval_least = UINT64_C(16) << 10;
static const uint64_t interval_most = UINT64_C(4) << 20;

static int open_memfd(void)
{
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create("riptide-ledger", flags | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL) {
        fd = memfd_create("riptide-ledger", flags);
    }
    return fd < 0 ? -errno : fd;
}

/* The dense part by regions. Those that exact mode does not use stay holes in it: 3.75 MiB. */
static const struct {
    size_t begin, end;
    bool has_exact;
} parts[] = {
    {0, RTD_OFF_NODES, true},
    {RTD_OFF_NODES, RTD_OFF_TAGS, false},
    {RTD_OFF_TAGS, RTD_OFF_BUCKETS, true},
    {RTD_OFF_BUCKETS, RTD_OFF_MAPS, false},
    {RTD_OFF_MAPS, RTD_LEDGER_BYTES, true},
};

/*
 * Sizes the file and reserves the memory of its dense part: what fails here is an errno, and no
 * SIGBUS later. Under RLIMIT_FSIZE the kernel also sends SIGXFSZ, which would end the collector;
 * blocked, it does not.
 */
static int reserve_bytes(int fd, size_t total_bytes)
{
    const bool is_exact = total_bytes > RTD_LEDGER_BYTES;
    const struct timespec at_once = {0};
    sigset_t set, before;
    int error = 0;

    sigemptyset(&set);
    sigaddset(&set, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(parts) && error == 0; i++) {
        if ((!is_exact || parts[i].has_exact) &&
            fallocate(fd, 0, (off_t)parts[i].begin, (off_t)(parts[i].end - parts[i].begin)) != 0) {
            error = -errno;
        }
    }
    if (error == 0 && is_exact && ftruncate(fd, (off_t)total_bytes) != 0) {
        error = -errno;
    }
    if (error == -EFBIG && sigismember(&before, SIGXFSZ) == 0) {
        (void)sigtimedwait(&set, NULL, &at_once);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* Sizes, allocates, maps and seals; on failure out holds what is to be closed. */
static int build_ledger(struct rtd_ledger_handle *out, size_t total_bytes)
{
    out->fd = open_memfd();
    if (out->fd < 0) {
        return out->fd;
    }
    const int reserved = reserve_bytes(out->fd, total_bytes);
    if (reserved != 0) {
        return reserved;
    }
    void *const mapping =
        mmap(NULL, RTD_LEDGER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, out->fd, 0);
    if (mapping == MAP_FAILED) {
        return -errno;
    }
    out->ledger = mapping;
    return fcntl(out->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0 ? -errno : 0;
}

static uint64_t unix_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

int rtd_ledger_create(const struct rtd_ledger_options *options, struct rtd_ledger_handle *out)
{
    *out = (struct rtd_ledger_handle){.fd = -1, .ledger = NULL};
    if ((options->mode != RTD_MODE_SAMPLE && options->mode != RTD_MODE_EXACT) ||
        options->interval_bytes == 0) {
        return -EINVAL;
    }
    const int error = build_ledger(out, rtd_ledger_bytes(options->mode));
    if (error != 0) {
        rtd_ledger_close(out);
        return error;
    }
    struct rtd_header *const header = &out->ledger->header;
    header->version = RTD_LEDGER_VERSION;
    header->header_bytes = RTD_HEADER_BYTES;
    header->total_bytes = rtd_ledger_bytes(options->mode);
    header->mode = options->mode;
    header->interval_fixed = options->interval_fixed ? 1 : 0;
    header->seed = options->seed;
    header->created_unix_ns = unix_ns();
    header->session = options->session;
    STORE(header->interval_bytes, options->interval_bytes);
    rtd_ledger_tick(out->ledger, 0);
    header->magic = RTD_LEDGER_MAGIC;
    return 0;
}

void rtd_ledger_assign(struct rtd_ledger *ledger, uint32_t pid, uint64_t start_time)
{
    ledger->header.target_pid = pid;
    ledger->header.target_start = start_time;
}

void rtd_ledger_tick(struct rtd_ledger *ledger, uint64_t clock_ms)
{
    STORE(ledger->header.clock_ms, clock_ms);
    STORE(ledger->header.shadow_birth, rtd_shadow_birth_at(clock_ms));
}

/* The smallest power-of-two multiple of interval whose rate is no longer too high. */
static uint64_t raised_interval(uint64_t interval, uint64_t rate)
{
    while (rate > ADAPT_RATE_HIGH && interval < interval_most) {
        rate /= 2;
        interval *= 2;
    }
    return interval;
}

static uint64_t clamp_interval(uint64_t interval)
{
    if (interval < interval_least) {
        return interval_least;
    }
    return interval > interval_most ? interval_most : interval;
}

void rtd_ledger_adapt(struct rtd_ledger *ledger, uint64_t samples, uint64_t elapsed_ms)
{
    struct rtd_header *const header = &ledger->header;

    if (header->interval_fixed != 0 || elapsed_ms == 0) {
        return;
    }
    const uint64_t spent_ms = elapsed_ms < ADAPT_CALL_MS_MAX ? elapsed_ms : ADAPT_CALL_MS_MAX;
    const uint64_t rate = samples > UINT64_MAX / 1000 ? samples : samples * 1000 / elapsed_ms;
    uint64_t before = LOAD(header->interval_bytes);
    uint64_t after = before;
    /* The target can write this word too: bounded, it can only change when a step is taken. */
    uint64_t low_ms = LOAD(header->adapt_low_ms) % ADAPT_PATIENCE_MS;

    if (rate > ADAPT_RATE_HIGH) {
        after = raised_interval(clamp_interval(before), rate);
        low_ms = 0;
    } else if (rate >= ADAPT_RATE_LOW || before <= interval_least) {
        low_ms = 0;
    } else if ((low_ms += spent_ms) >= ADAPT_PATIENCE_MS) {
        /* One step: at most twice a rate below 150 is still well below 400, so it cannot flap. */
        after = before / 2;
        low_ms = 0;
    }
    STORE(header->adapt_low_ms, low_ms);
    after = clamp_interval(after);
    if (after != before) {
        /* The agent may have doubled it meanwhile; its step is then the better informed one. */
        atomic_compare_exchange_strong_explicit(&header->interval_bytes, &before, after,
                                                memory_order_relaxed, memory_order_relaxed);
    }
}

static bool is_listed(uint32_t tid, const uint32_t *tids, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (tids[i] == tid) {
            return true;
        }
    }
    return false;
}

/*
 * A thread that began after tids[] was taken is not in it and yet alive: the kernel has the last
 * word. Without a pid to ask about, the list has.
 */
static bool is_gone(uint32_t pid, uint32_t tid)
{
    return pid == 0 || (syscall(SYS_tgkill, (pid_t)pid, (pid_t)tid, 0) != 0 && errno == ESRCH);
}

static void add_total(_Atomic uint64_t *total, _Atomic uint64_t *part)
{
    atomic_fetch_add_explicit(total, atomic_exchange_explicit(part, 0, memory_order_relaxed),
                              memory_order_relaxed);
}

static void free_block(struct rtd_header *header, struct rtd_thread *thread)
{
    add_total(&header->retired_allocated_bytes, &thread->allocated_bytes);
    add_total(&header->retired_sampled, &thread->sampled);
    atomic_fetch_add_explicit(&header->retired_threads, 1, memory_order_relaxed);
    STORE(thread->slow_mallocs, 0);
    STORE(thread->sampled_frees, 0);
    STORE(thread->tid, 0);
    /* Pairs with the acquire of the thread that claims the block next: it finds zeros. */
    atomic_store_explicit(&thread->state, 0, memory_order_release);
}

unsigned rtd_ledger_reclaim_threads(struct rtd_ledger *ledger, const uint32_t *tids, unsigned count)
{
    struct rtd_header *const header = &ledger->header;
    const uint32_t pid = header->target_pid;
    const uint32_t agent_pid =
        atomic_load_explicit(&header->agent_state, memory_order_acquire) == RTD_AGENT_READY
            ? header->agent_pid
            : 0;
    unsigned freed = 0;

    /* In another pid namespace the agent's tids are not the ones we see: nothing to compare. */
    if (pid > INT32_MAX || (agent_pid != 0 && agent_pid != pid)) {
        return 0;
    }
    for (unsigned i = 0; i < RTD_THREAD_COUNT; i++) {
        struct rtd_thread *const thread = &ledger->threads[i];
        const uint32_t tid = LOAD(thread->tid);
        /* tid 0: claimed this moment, its owner has not signed yet. */
        if (LOAD(thread->state) == 0 || tid == 0 || tid > INT32_MAX ||
            is_listed(tid, tids, count) || !is_gone(pid, tid)) {
            continue;
        }
        free_block(header, thread);
        freed++;
    }
    return freed;
}

void rtd_ledger_close(struct rtd_ledger_handle *handle)
{
    if (handle->ledger != NULL) {
        munmap(handle->ledger, RTD_LEDGER_BYTES);
    }
    if (handle->fd >= 0) {
        close(handle->fd);
    }
    *handle = (struct rtd_ledger_handle){.fd = -1, .ledger = NULL};
}
