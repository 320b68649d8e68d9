// SPDX-License-Identifier: Apache-2.0
/*
 * track_limits.c - see track_limits.h.
 *
 * Runs in:    collector; a program that links libriptide
 * Threads:    no state
 * Allocates:  file descriptors for the length of a call; no heap
 * Fails:      by a reason in the answer
 *
 * Each ancestor's limit applies to what all groups below it use together, so every level is asked
 * for its own limit and its own usage. In version 1 that holds only where the parent accounts
 * hierarchically (memory.use_hierarchy): one that does not is passed over.
 */
#include "track/track_limits.h"

#include "track/track_cgroup.h"
#include "track/track_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 1024, NAME_BYTES = 64, TEXT_BYTES = 4096, LEVELS_MAX = 64 };

/* Version 1 writes "no limit" as the largest multiple of a page. */
static const uint64_t UNLIMITED_BYTES = UINT64_C(1) << 62;

/* What one version of control groups calls its files; NULL: it has none. */
struct group_names {
    const char *maximum, *high, *usage, *swap_maximum, *swap_usage, *inactive;
};

static const struct group_names VERSION_2 = {"memory.max",          "memory.high",
                                             "memory.current",      "memory.swap.max",
                                             "memory.swap.current", "inactive_file "};
static const struct group_names VERSION_1 = {
    "memory.limit_in_bytes",       NULL,
    "memory.usage_in_bytes",       "memory.memsw.limit_in_bytes",
    "memory.memsw.usage_in_bytes", "total_inactive_file "};

/* One walk up the tree. */
struct walk {
    const struct group_names *names;
    size_t root_bytes; /* of the directory's name: what follows is the path of the group */
    char directory[PATH_BYTES];
    unsigned seen;    /* files of limits that were there */
    unsigned garbage; /* and of those, the ones that could not be understood */
    struct rtd_limits *out;
};

const char *rtd_limit_kind_name(uint32_t kind)
{
    static const char *const names[RTD_LIMIT_KINDS] = {"cgroup_max", "cgroup_high", "cgroup_swap",
                                                       "rlimit_as",  "rlimit_data", "host"};
    return kind < RTD_LIMIT_KINDS ? names[kind] : "unknown";
}

static double share_of(uint64_t usage, uint64_t limit)
{
    return usage >= limit ? 1 : (double)usage / (double)limit;
}

/* Adds a limit; where there is no room the lowest share goes. */
static void add(struct rtd_limits *out, const struct rtd_limit *limit)
{
    uint32_t at = out->count;

    if (out->count < RTD_LIMIT_MAX) {
        out->count++;
    } else {
        at = 0;
        for (uint32_t i = 1; i < out->count; i++) {
            if (out->list[i].share < out->list[at].share)
                at = i;
        }
        out->dropped++;
        if (out->list[at].share >= limit->share)
            return;
    }
    out->list[at] = *limit;
}

static void find_nearest(struct rtd_limits *out)
{
    out->nearest = -1;
    for (uint32_t i = 0; i < out->count; i++) {
        if (out->list[i].kind == RTD_LIMIT_CGROUP_SWAP)
            continue;
        if (out->nearest < 0 || out->list[i].share > out->list[out->nearest].share)
            out->nearest = (int32_t)i;
    }
}

/* ---- control groups ---- */

/* A file that holds one number, and nothing else: 0, -ERANGE for "max", or a negative errno. */
static int read_figure(const char *directory, const char *name, uint64_t *out)
{
    char path[PATH_BYTES + NAME_BYTES], text[64], *end;

    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    const ssize_t got = rtd_track_file_read(path, text, sizeof(text));
    if (got < 0)
        return (int)got;
    if (strncmp(text, "max", 3) == 0)
        return -ERANGE;
    if (text[0] < '0' || text[0] > '9')
        return -EINVAL;
    errno = 0;
    *out = strtoull(text, &end, 10);
    if (errno || (*end != '\n' && *end != '\0'))
        return -EINVAL;
    return *out >= UNLIMITED_BYTES ? -ERANGE : 0;
}

static uint64_t inactive_bytes(const struct walk *walk)
{
    char path[PATH_BYTES + NAME_BYTES], text[TEXT_BYTES];
    uint64_t bytes;

    (void)snprintf(path, sizeof(path), "%s/memory.stat", walk->directory);
    if (rtd_track_file_read(path, text, sizeof(text)) <= 0)
        return 0;
    return rtd_track_file_number(text, walk->names->inactive, &bytes) ? bytes : 0;
}

/* The group's own name, of a long one the end, which tells more. */
static void name_group(const struct walk *walk, char out[RTD_LIMIT_PATH_BYTES])
{
    const char *const path = walk->directory + walk->root_bytes;
    const size_t bytes = strlen(path), most = RTD_LIMIT_PATH_BYTES - 1;

    if (bytes <= most)
        (void)snprintf(out, RTD_LIMIT_PATH_BYTES, "%s", bytes ? path : "/");
    else
        (void)snprintf(out, RTD_LIMIT_PATH_BYTES, "..%s", path + (bytes - (most - 2)));
}

/* usage_name is looked at only where there is a limit. */
static void add_group(struct walk *walk, uint32_t kind, const char *name, const char *usage_name)
{
    struct rtd_limit limit = {.kind = kind};

    if (!name)
        return;
    int result = read_figure(walk->directory, name, &limit.limit_bytes);
    walk->seen += result != -ENOENT;
    if (result == 0)
        result = read_figure(walk->directory, usage_name, &limit.usage_bytes);
    walk->garbage += result < 0 && result != -ENOENT && result != -ERANGE;
    if (result < 0)
        return;
    if (kind != RTD_LIMIT_CGROUP_SWAP) {
        const uint64_t inactive = inactive_bytes(walk);
        limit.usage_bytes -= inactive < limit.usage_bytes ? inactive : limit.usage_bytes;
    }
    limit.share = share_of(limit.usage_bytes, limit.limit_bytes);
    name_group(walk, limit.path);
    add(walk->out, &limit);
}

static void add_groups_of_level(struct walk *walk)
{
    const struct group_names *const names = walk->names;

    add_group(walk, RTD_LIMIT_CGROUP_MAX, names->maximum, names->usage);
    add_group(walk, RTD_LIMIT_CGROUP_HIGH, names->high, names->usage);
    add_group(walk, RTD_LIMIT_CGROUP_SWAP, names->swap_maximum, names->swap_usage);
}

static void read_event(const char *text, const char *key, uint64_t *out)
{
    if (!rtd_track_file_number(text, key, out))
        *out = RTD_LIMIT_UNKNOWN;
}

/* Version 1 has no such file: what it knows stands in two others. */
static void read_events(struct walk *walk)
{
    char path[PATH_BYTES + NAME_BYTES], text[TEXT_BYTES];
    struct rtd_limit_events *const events = &walk->out->events;

    const bool is_new = walk->names == &VERSION_2;
    (void)snprintf(path, sizeof(path), "%s/%s", walk->directory,
                   is_new ? "memory.events" : "memory.oom_control");
    if (rtd_track_file_read(path, text, sizeof(text)) <= 0)
        text[0] = '\0';
    read_event(text, "oom_kill ", &events->oom_kill);
    if (!is_new) {
        if (read_figure(walk->directory, "memory.failcnt", &events->max) < 0)
            events->max = RTD_LIMIT_UNKNOWN;
        return;
    }
    read_event(text, "high ", &events->high);
    read_event(text, "max ", &events->max);
    read_event(text, "oom ", &events->oom);
}

/* One level up; false at the root. */
static bool go_up(struct walk *walk)
{
    char *const slash = strrchr(walk->directory, '/');

    if (!slash || (size_t)(slash - walk->directory) < walk->root_bytes)
        return false;
    *slash = '\0';
    return true;
}

/* Whether this level accounts for those below it; version 2 always does. */
static bool is_hierarchical(const struct walk *walk)
{
    uint64_t flag;

    return walk->names == &VERSION_2 ||
           read_figure(walk->directory, "memory.use_hierarchy", &flag) != 0 || flag != 0;
}

/* Limits from root/path up to root; the number of files of limits that were found. */
static unsigned walk_tree(const char *root, const char *path, const struct group_names *names,
                          struct rtd_limits *out)
{
    struct walk walk = {.names = names, .out = out, .root_bytes = strlen(root)};

    /* A group outside our own namespace is shown with "/..": its files cannot be reached. */
    const bool outside = strncmp(path, "/..", 3) == 0;
    const char *const below = outside || strcmp(path, "/") == 0 ? "" : path;
    if ((size_t)snprintf(walk.directory, sizeof(walk.directory), "%s%s", root, below) >=
        sizeof(walk.directory)) {
        (void)snprintf(out->cgroup_reason, sizeof(out->cgroup_reason),
                       "the control group's path is too long");
        return 1;
    }
    if (!outside)
        read_events(&walk);
    add_groups_of_level(&walk);
    for (unsigned level = 0; level < LEVELS_MAX && go_up(&walk); level++) {
        if (is_hierarchical(&walk))
            add_groups_of_level(&walk);
    }
    if (outside)
        (void)snprintf(out->cgroup_reason, sizeof(out->cgroup_reason),
                       "the control group lies outside of this namespace");
    else if (walk.garbage > 0)
        (void)snprintf(out->cgroup_reason, sizeof(out->cgroup_reason),
                       "%u files of the control group could not be understood", walk.garbage);
    return walk.seen;
}

static void read_groups(const char *mount, const char *text, struct rtd_limits *out)
{
    char path[PATH_BYTES / 2], root[PATH_BYTES / 2];
    unsigned seen = 0;

    if (rtd_track_cgroup_path(text, ",memory,", path, sizeof(path))) {
        (void)snprintf(root, sizeof(root), "%s/memory", mount);
        seen = walk_tree(root, path, &VERSION_1, out);
    }
    if (seen == 0 && rtd_track_cgroup_path(text, ",,", path, sizeof(path)))
        seen = walk_tree(mount, path, &VERSION_2, out);
    if (seen == 0 && !out->cgroup_reason[0])
        (void)snprintf(out->cgroup_reason, sizeof(out->cgroup_reason),
                       "no control group with limits of memory is mounted or set");
}

/* ---- the process and the host ---- */

/* The soft limit in a line of /proc/PID/limits; false if there is none, or none is set. */
static bool soft_limit(const char *text, const char *name, uint64_t *out)
{
    return rtd_track_file_number(text, name, out) && *out < UNLIMITED_BYTES;
}

static bool status_bytes(const char *text, const char *key, uint64_t *out)
{
    uint64_t kib;

    if (!rtd_track_file_number(text, key, &kib) || kib >= UNLIMITED_BYTES / 1024)
        return false;
    *out = kib * 1024;
    return true;
}

static void add_process(struct rtd_limits *out, const char *limits, const char *status)
{
    static const struct {
        uint32_t kind;
        const char *name, *usage;
    } rows[] = {{RTD_LIMIT_ADDRESS_SPACE, "Max address space", "VmSize:"},
                {RTD_LIMIT_DATA, "Max data size", "VmData:"}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct rtd_limit limit = {.kind = rows[i].kind};
        if (!soft_limit(limits, rows[i].name, &limit.limit_bytes))
            continue;
        if (!status_bytes(status, rows[i].usage, &limit.usage_bytes)) {
            (void)snprintf(out->process_reason, sizeof(out->process_reason),
                           "the process's status has no %s", rows[i].usage);
            continue;
        }
        limit.share = share_of(limit.usage_bytes, limit.limit_bytes);
        add(out, &limit);
    }
}

static void read_host(const char *proc, struct rtd_limits *out)
{
    char path[PATH_BYTES], text[TEXT_BYTES];
    struct rtd_limit limit = {.kind = RTD_LIMIT_HOST};
    uint64_t available;

    (void)snprintf(path, sizeof(path), "%s/meminfo", proc);
    const ssize_t got = rtd_track_file_read(path, text, sizeof(text));
    if (got < 0) {
        (void)snprintf(out->host_reason, sizeof(out->host_reason), "meminfo: %s",
                       strerrordesc_np((int)-got));
    } else if (!status_bytes(text, "MemTotal:", &limit.limit_bytes) ||
               !status_bytes(text, "MemAvailable:", &available) || limit.limit_bytes == 0) {
        (void)snprintf(out->host_reason, sizeof(out->host_reason),
                       "meminfo has no MemTotal or no MemAvailable");
    } else {
        limit.usage_bytes =
            limit.limit_bytes - (available < limit.limit_bytes ? available : limit.limit_bytes);
        limit.share = share_of(limit.usage_bytes, limit.limit_bytes);
        add(out, &limit);
    }
}

/* A file of the process; a reason where it is not there for us. */
static bool read_process(const char *proc, pid_t pid, const char *name, char text[TEXT_BYTES],
                         char reason[RTD_LIMIT_REASON_BYTES])
{
    char path[PATH_BYTES];

    (void)snprintf(path, sizeof(path), "%s/%d/%s", proc, (int)pid, name);
    const ssize_t got = rtd_track_file_read(path, text, TEXT_BYTES);
    if (got >= 0)
        return true;
    if (got == -ENOENT || got == -ESRCH)
        (void)snprintf(reason, RTD_LIMIT_REASON_BYTES,
                       "%s of the process: it is gone, hidden or in another namespace", name);
    else
        (void)snprintf(reason, RTD_LIMIT_REASON_BYTES, "%s of the process: %s", name,
                       strerrordesc_np((int)-got));
    return false;
}

void rtd_track_limits(pid_t pid, const struct rtd_limit_roots *roots, struct rtd_limits *out)
{
    const char *const proc = roots && roots->proc ? roots->proc : "/proc";
    const char *const mount = roots && roots->cgroup ? roots->cgroup : "/sys/fs/cgroup";
    char text[TEXT_BYTES], status[TEXT_BYTES];

    memset(out, 0, sizeof(*out));
    out->valid = true;
    out->events = (struct rtd_limit_events){RTD_LIMIT_UNKNOWN, RTD_LIMIT_UNKNOWN, RTD_LIMIT_UNKNOWN,
                                            RTD_LIMIT_UNKNOWN};
    if (read_process(proc, pid, "cgroup", text, out->cgroup_reason))
        read_groups(mount, text, out);
    if (read_process(proc, pid, "limits", text, out->process_reason) &&
        read_process(proc, pid, "status", status, out->process_reason))
        add_process(out, text, status);
    read_host(proc, out);
    find_nearest(out);
}
