// SPDX-License-Identifier: Apache-2.0
/*
 * track_pressure.c - see track_pressure.h.
 *
 * Runs in:    collector; a program that links libriptide
 * Threads:    no state
 * Allocates:  file descriptors for the length of a call; no heap
 * Fails:      by a reason in the answer
 */
#include "track/track_pressure.h"

#include "track/track_cgroup.h"
#include "track/track_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 1024, TEXT_BYTES = 4096, PERCENT_DIGITS_MAX = 3 };

/* "12.34" per cent as a share, without strtod(), which wants the point of the locale. */
static bool parse_percent(const char *text, double *out)
{
    double value = 0, unit = 1;
    const char *at = text;

    while (*at >= '0' && *at <= '9' && at - text < PERCENT_DIGITS_MAX)
        value = value * 10 + (*at++ - '0');
    if (at == text)
        return false;
    if (*at == '.') {
        for (at++; *at >= '0' && *at <= '9'; at++) {
            unit /= 10;
            value += (*at - '0') * unit;
        }
    }
    if ((*at != ' ' && *at != '\n' && *at != '\0') || value > 100)
        return false;
    *out = value / 100;
    return true;
}

/* The value behind " key=" in one line; NULL without. */
static const char *value_of(const char *line, size_t bytes, const char *key)
{
    const char *const at = strstr(line, key);

    return at && (size_t)(at - line) < bytes ? at + strlen(key) : NULL;
}

static bool parse_share(const char *line, size_t bytes, const char *key, double *out)
{
    const char *const value = value_of(line, bytes, key);

    return value && parse_percent(value, out);
}

static bool parse_line(const char *line, size_t bytes, struct rtd_stall *out)
{
    struct rtd_stall stall = {.known = true};
    const char *const total = value_of(line, bytes, " total=");
    char *end;

    if (!total || *total < '0' || *total > '9')
        return false;
    errno = 0;
    stall.total_us = strtoull(total, &end, 10);
    if (errno || !parse_share(line, bytes, " avg10=", &stall.share_10s) ||
        !parse_share(line, bytes, " avg60=", &stall.share_60s) ||
        !parse_share(line, bytes, " avg300=", &stall.share_300s))
        return false;
    *out = stall;
    return true;
}

bool rtd_track_pressure_parse(const char *text, struct rtd_stalls *out)
{
    memset(out, 0, sizeof(*out));
    for (const char *line = text; *line;) {
        const size_t bytes = strcspn(line, "\n");
        if (strncmp(line, "some ", 5) == 0)
            (void)parse_line(line, bytes, &out->some);
        else if (strncmp(line, "full ", 5) == 0)
            (void)parse_line(line, bytes, &out->full);
        line += bytes + (line[bytes] == '\n');
    }
    if (out->some.known || out->full.known)
        return true;
    (void)snprintf(out->reason, sizeof(out->reason), "the kernel's text was not understood");
    return false;
}

const char *rtd_track_pressure_reason(int error)
{
    switch (error) {
    case -EOPNOTSUPP:
        return "pressure stall information is switched off (kernel option psi=0)";
    case -ENOENT:
        return "the kernel has no pressure stall information here";
    case -EACCES:
    case -EPERM:
        return "the file may not be read";
    default:
        return "the file cannot be read";
    }
}

static int read_stalls(const char *path, struct rtd_stalls *out)
{
    char text[512];
    const ssize_t got = rtd_track_file_read(path, text, sizeof(text));

    if (got < 0) {
        memset(out, 0, sizeof(*out));
        (void)snprintf(out->reason, sizeof(out->reason), "%s", rtd_track_pressure_reason((int)got));
        return (int)got;
    }
    (void)rtd_track_pressure_parse(text, out);
    return 0;
}

/* Beside version 1 the tree of version 2 is mounted at "unified", if at all. */
static void read_group(const char *mount, const char *group, struct rtd_stalls *out)
{
    char path[PATH_BYTES];

    if (strncmp(group, "/..", 3) == 0) {
        (void)snprintf(out->reason, sizeof(out->reason),
                       "the control group lies outside of this namespace");
        return;
    }
    const char *const below = strcmp(group, "/") == 0 ? "" : group;
    (void)snprintf(path, sizeof(path), "%s%s/memory.pressure", mount, below);
    if (read_stalls(path, out) != -ENOENT)
        return;
    (void)snprintf(path, sizeof(path), "%s/unified%s/memory.pressure", mount, below);
    if (read_stalls(path, out) == -ENOENT && !below[0])
        (void)snprintf(out->reason, sizeof(out->reason),
                       "the process is in the topmost control group, which has none");
}

void rtd_track_pressure(pid_t pid, const struct rtd_limit_roots *roots, struct rtd_pressure *out)
{
    const char *const proc = roots && roots->proc ? roots->proc : "/proc";
    const char *const mount = roots && roots->cgroup ? roots->cgroup : "/sys/fs/cgroup";
    char path[PATH_BYTES], text[TEXT_BYTES], group[PATH_BYTES / 2];

    memset(out, 0, sizeof(*out));
    out->valid = true;
    (void)snprintf(path, sizeof(path), "%s/pressure/memory", proc);
    (void)read_stalls(path, &out->host);
    (void)snprintf(path, sizeof(path), "%s/%d/cgroup", proc, (int)pid);
    if (rtd_track_file_read(path, text, sizeof(text)) < 0)
        (void)snprintf(out->group.reason, sizeof(out->group.reason),
                       "the process's control group cannot be read: gone, hidden or not ours");
    else if (!rtd_track_cgroup_path(text, ",,", group, sizeof(group)))
        (void)snprintf(out->group.reason, sizeof(out->group.reason),
                       "control groups of version 1 do not tell");
    else
        read_group(mount, group, &out->group);
}
