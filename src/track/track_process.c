// SPDX-License-Identifier: Apache-2.0
/*
 * track_process.c - see track_process.h.
 *
 * Runs in:    collector
 * Threads:    no state but a figure that is believed for a second
 * Allocates:  file descriptors for the length of a call; no heap
 * Fails:      by a negative errno
 *
 * statm, status and stat cost the same however large the process is; smaps would walk its page
 * tables under the lock that its page faults need.
 */
#include "track/track_process.h"

#include "track/track_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { STATUS_BYTES = 4096, STAT_BYTES = 1024 };

static int read_statm(pid_t pid, struct rtd_memory_snapshot *out)
{
    char text[256];
    const ssize_t got = rtd_track_file_read_process(pid, "statm", text, sizeof text);
    if (got < 0)
        return (int)got;
    unsigned long long size, resident, shared, code;
    if (sscanf(text, "%llu %llu %llu %llu", &size, &resident, &shared, &code) != 4)
        return -EIO;
    /* A zombie still has a directory, but its memory is gone: zeroes must not pass for figures. */
    if (size == 0)
        return -ESRCH;
    const uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    out->virtual_bytes = size * page_bytes;
    out->rss_bytes = out->resident_bytes = resident * page_bytes;
    out->shared_bytes = shared * page_bytes;
    out->text_bytes = code * page_bytes;
    return 0;
}

/* What this process adds to the use of its nearest limit. */
static uint64_t own_bytes(const struct rtd_memory_snapshot *memory)
{
    switch (memory->limit_kind) {
    case RTD_LIMIT_ADDRESS_SPACE:
        return memory->virtual_bytes;
    case RTD_LIMIT_DATA:
        return memory->data_bytes;
    default:
        return memory->rss_bytes;
    }
}

static void set_pressure(struct rtd_memory_snapshot *out)
{
    const double used = (double)own_bytes(out) + (double)out->limit_others_bytes;
    const double share = out->limit_bytes > 0 ? used / (double)out->limit_bytes : 0;
    out->pressure = share < 0 ? 0 : share > 1 ? 1 : share;
}

void rtd_track_take_limits(struct rtd_memory_snapshot *out, const struct rtd_limits *limits)
{
    if (!limits->valid || limits->nearest < 0) {
        out->limit_bytes = 0;
        out->limit_kind = RTD_LIMIT_HOST;
        out->limit_others_bytes = 0;
    } else {
        const struct rtd_limit *const nearest = &limits->list[limits->nearest];
        out->limit_bytes = nearest->limit_bytes;
        out->limit_kind = nearest->kind;
        out->limit_others_bytes = (int64_t)nearest->usage_bytes - (int64_t)own_bytes(out);
    }
    set_pressure(out);
}

int rtd_track_glance(pid_t pid, struct rtd_memory_snapshot *out)
{
    struct timespec now;
    const int result = read_statm(pid, out);
    if (result < 0)
        return result;
    clock_gettime(CLOCK_REALTIME, &now);
    out->time_unix_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    if (out->peak_rss_bytes < out->rss_bytes)
        out->peak_rss_bytes = out->rss_bytes;
    if (out->peak_virtual_bytes < out->virtual_bytes)
        out->peak_virtual_bytes = out->virtual_bytes;
    set_pressure(out);
    return 0;
}

static uint64_t status_bytes(const char *text, const char *key)
{
    uint64_t kib;
    return rtd_track_file_number(text, key, &kib) ? kib * 1024 : 0;
}

static int read_status(pid_t pid, struct rtd_memory_snapshot *out)
{
    char text[STATUS_BYTES];
    const ssize_t got = rtd_track_file_read_process(pid, "status", text, sizeof text);
    if (got < 0)
        return (int)got;
    uint64_t threads = 0;
    out->data_bytes = status_bytes(text, "VmData:");
    out->stack_bytes = status_bytes(text, "VmStk:");
    out->swap_bytes = status_bytes(text, "VmSwap:");
    out->peak_rss_bytes = status_bytes(text, "VmHWM:");
    out->peak_virtual_bytes = status_bytes(text, "VmPeak:");
    rtd_track_file_number(text, "Threads:", &threads);
    out->threads = (uint32_t)threads;
    /* The two files are read one after the other: the peak must not lie below what was just seen.
     */
    if (out->peak_rss_bytes < out->rss_bytes)
        out->peak_rss_bytes = out->rss_bytes;
    return 0;
}

/* Field `number` (from 3 on) of /proc/PID/stat; the name in field 2 may hold anything. */
static bool stat_field(const char *text, unsigned number, uint64_t *out)
{
    const char *at = strrchr(text, ')');
    if (!at)
        return false;
    for (unsigned field = 2; field < number; field++) {
        at = strchr(at + 1, ' ');
        if (!at)
            return false;
    }
    char *end;
    *out = strtoull(at + 1, &end, 10);
    return end != at + 1;
}

static int read_stat(pid_t pid, struct rtd_memory_snapshot *out)
{
    char text[STAT_BYTES];
    const ssize_t got = rtd_track_file_read_process(pid, "stat", text, sizeof text);
    if (got < 0)
        return (int)got;
    if (!stat_field(text, 10, &out->minor_faults) || !stat_field(text, 12, &out->major_faults))
        return -EIO;
    return 0;
}

int rtd_track_update(pid_t pid, struct rtd_memory_snapshot *out)
{
    struct rtd_memory_snapshot now = *out;
    int result = rtd_track_glance(pid, &now);
    if (result == 0)
        result = read_status(pid, &now);
    if (result == 0)
        result = read_stat(pid, &now);
    if (result < 0)
        return result;
    set_pressure(&now);
    now.valid = true;
    *out = now;
    return 0;
}

int rtd_track_snapshot(pid_t pid, struct rtd_memory_snapshot *out)
{
    struct rtd_limits limits;
    *out = (struct rtd_memory_snapshot){0};
    const int result = rtd_track_update(pid, out);
    if (result < 0)
        return result;
    rtd_track_limits(pid, NULL, &limits);
    rtd_track_take_limits(out, &limits);
    return 0;
}

/* What is believed of the limit for a second. */
struct belief {
    uint64_t until_ns, limit_bytes;
    int64_t others_bytes;
    uint32_t kind;
    pid_t pid;
};

int rtd_track_snapshot_self(struct rtd_memory_snapshot *out)
{
    static const uint64_t believed_ns = 1000000000u;
    /* Only tried: whoever does not get it, as in the child of a fork, reads for itself. */
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct belief belief;
    struct belief now = {.pid = getpid()};
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    const uint64_t now_ns = (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
    if (pthread_mutex_trylock(&lock) == 0) {
        if (belief.pid == now.pid && now_ns < belief.until_ns)
            now = belief;
        pthread_mutex_unlock(&lock);
    }
    if (now.until_ns != 0) {
        *out = (struct rtd_memory_snapshot){.limit_bytes = now.limit_bytes,
                                            .limit_kind = now.kind,
                                            .limit_others_bytes = now.others_bytes};
        return rtd_track_update(now.pid, out);
    }
    const int result = rtd_track_snapshot(now.pid, out);
    if (result < 0)
        return result;
    now = (struct belief){now_ns + believed_ns, out->limit_bytes, out->limit_others_bytes,
                          out->limit_kind, now.pid};
    if (pthread_mutex_trylock(&lock) == 0) {
        belief = now;
        pthread_mutex_unlock(&lock);
    }
    return 0;
}

int rtd_track_start_time(pid_t pid, uint64_t *start_time)
{
    char text[STAT_BYTES];
    const ssize_t got = rtd_track_file_read_process(pid, "stat", text, sizeof text);
    if (got < 0)
        return (int)got;
    return stat_field(text, 22, start_time) ? 0 : -EIO;
}

int rtd_track_command(pid_t pid, char *out, size_t size)
{
    ssize_t got = rtd_track_file_read_process(pid, "cmdline", out, size);
    /* Kernel threads, zombies and programs that cleared their arguments still have a name. */
    if (got == 0)
        got = rtd_track_file_read_process(pid, "comm", out, size);
    if (got < 0)
        return (int)got;
    while (got > 0 && (out[got - 1] == '\0' || out[got - 1] == '\n'))
        got--;
    out[got] = '\0';
    for (ssize_t i = 0; i < got; i++) {
        const unsigned char byte = (unsigned char)out[i];
        if (byte == '\0')
            out[i] = ' ';
        else if (byte < 0x20 || byte == 0x7f)
            out[i] = '?';
    }
    return 0;
}

/* Numbers among the names of one getdents64() answer. */
static unsigned collect_tids(const char *entries, size_t bytes, uint32_t *tids, unsigned room)
{
    unsigned count = 0;
    for (size_t at = 0; at < bytes;) {
        const struct dirent64 *entry = (const struct dirent64 *)(const void *)(entries + at);
        char *end;
        const unsigned long tid = strtoul(entry->d_name, &end, 10);
        if (end != entry->d_name && *end == '\0') {
            if (count < room)
                tids[count] = (uint32_t)tid;
            count++;
        }
        at += entry->d_reclen;
    }
    return count;
}

int rtd_track_threads(pid_t pid, uint32_t *tids, unsigned max)
{
    char path[64];
    _Alignas(struct dirent64) char entries[4096];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    unsigned count = 0;
    ssize_t got;
    while ((got = getdents64(fd, entries, sizeof entries)) > 0)
        count += collect_tids(entries, (size_t)got, tids + (count < max ? count : max),
                              count < max ? max - count : 0);
    int result = got < 0 ? -errno : (int)count;
    if (result == -ENOENT)
        result = -ESRCH;
    close(fd);
    return result;
}

bool rtd_track_has_seccomp(pid_t pid)
{
    char text[STATUS_BYTES];
    uint64_t mode = 0;
    if (rtd_track_file_read_process(pid, "status", text, sizeof text) < 0)
        return false;
    return rtd_track_file_number(text, "Seccomp:", &mode) && mode != 0;
}

bool rtd_track_catches(pid_t pid, int signal)
{
    static const char label[] = "\nSigCgt:";
    char text[STATUS_BYTES];
    if (rtd_track_file_read_process(pid, "status", text, sizeof text) < 0)
        return false;
    const char *const at = strstr(text, label);
    /* Hexadecimal, bit 0 is signal 1. */
    return at && (strtoull(at + sizeof label - 1, NULL, 16) >> (signal - 1) & 1) != 0;
}

int rtd_track_program(pid_t pid, char *out, size_t size)
{
    const int got = (int)rtd_track_file_read_process(pid, "comm", out, size);
    if (got < 0)
        return got;
    out[strcspn(out, "\n")] = '\0';
    return 0;
}

int rtd_track_executable(pid_t pid, char *out, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
    const ssize_t got = readlink(path, out, size - 1);
    if (got < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    out[got] = '\0';
    return 0;
}
