// SPDX-License-Identifier: Apache-2.0
/*
 * track_cgroup.c - see track_cgroup.h.
 *
 * Runs in:    collector
 * Threads:    no state
 * Allocates:  file descriptors for the length of a call; no heap
 * Fails:      by a negative errno
 *
 * Every ancestor's limit applies, so the whole path is walked and the tightest limit wins; the
 * usage is that of the group which has it, since its other members eat from the same limit.
 * Inactive file cache is not counted as used: the kernel gives it up before it kills anybody.
 */
#include "track/track_cgroup.h"

#include "track/track_file.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* What one version of control groups calls its files. */
struct cgroup_names {
    const char *limit, *usage, *inactive;
};

static const struct cgroup_names VERSION_2 = {"memory.max", "memory.current", "inactive_file "};
static const struct cgroup_names VERSION_1 = {"memory.limit_in_bytes", "memory.usage_in_bytes",
                                              "total_inactive_file "};

/* Version 1 writes "no limit" as the largest multiple of a page. */
static const uint64_t UNLIMITED_BYTES = UINT64_C(1) << 62;

enum { PATH_BYTES = 1024, FILE_BYTES = 4096 };

static bool read_number(const char *directory, const char *name, uint64_t *out)
{
    char path[PATH_BYTES + 32], text[64];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return rtd_track_file_read(path, text, sizeof text) > 0 && rtd_track_file_number(text, "", out);
}

static uint64_t read_inactive(const char *directory, const char *key)
{
    char path[PATH_BYTES + 32], text[FILE_BYTES];
    uint64_t value;
    snprintf(path, sizeof path, "%s/memory.stat", directory);
    if (rtd_track_file_read(path, text, sizeof text) <= 0)
        return 0;
    return rtd_track_file_number(text, key, &value) ? value : 0;
}

static void consider(const char *directory, const struct cgroup_names *names,
                     struct rtd_track_limit *out)
{
    uint64_t limit, usage;
    /* "max" is no number and therefore no limit. */
    if (!read_number(directory, names->limit, &limit) || limit >= UNLIMITED_BYTES)
        return;
    if (limit >= out->limit_bytes || !read_number(directory, names->usage, &usage))
        return;
    const uint64_t inactive = read_inactive(directory, names->inactive);
    out->limit_bytes = limit;
    out->usage_bytes = usage > inactive ? usage - inactive : 0;
}

/* Considers root/path and every directory above it down to root itself. */
static int walk_up(const char *root, const char *path, const struct cgroup_names *names,
                   struct rtd_track_limit *out)
{
    char directory[PATH_BYTES];
    const size_t root_bytes = strlen(root);
    *out = (struct rtd_track_limit){UNLIMITED_BYTES, 0};
    /* A group outside our own namespace is shown with "/..": its files cannot be reached. */
    if (strncmp(path, "/..", 3) == 0)
        path = "";
    if ((size_t)snprintf(directory, sizeof directory, "%s%s", root, path) >= sizeof directory)
        return -ENAMETOOLONG;
    for (;;) {
        consider(directory, names, out);
        char *slash = strrchr(directory, '/');
        if (!slash || (size_t)(slash - directory) < root_bytes)
            break;
        *slash = '\0';
    }
    return out->limit_bytes == UNLIMITED_BYTES ? -ENOENT : 0;
}

bool rtd_track_cgroup_path(const char *text, const char *controller, char *out, size_t size)
{
    for (const char *line = text; *line;) {
        const size_t bytes = strcspn(line, "\n");
        const char *list = memchr(line, ':', bytes);
        const char *path = list ? memchr(list + 1, ':', bytes - (size_t)(list + 1 - line)) : NULL;
        if (path && path[1] == '/') {
            char controllers[256];
            snprintf(controllers, sizeof controllers, ",%.*s,", (int)(path - list - 1), list + 1);
            if (strstr(controllers, controller)) {
                snprintf(out, size, "%.*s", (int)(bytes - (size_t)(path + 1 - line)), path + 1);
                return true;
            }
        }
        line += bytes + (line[bytes] == '\n');
    }
    return false;
}

int rtd_track_cgroup_limit_at(const char *mount, const char *cgroup_text,
                              struct rtd_track_limit *out)
{
    char path[PATH_BYTES / 2], root[PATH_BYTES / 2];
    int result = -ENOENT;
    if (rtd_track_cgroup_path(cgroup_text, ",memory,", path, sizeof path)) {
        snprintf(root, sizeof root, "%s/memory", mount);
        result = walk_up(root, path, &VERSION_1, out);
    }
    if (result == -ENOENT && rtd_track_cgroup_path(cgroup_text, ",,", path, sizeof path))
        result = walk_up(mount, strcmp(path, "/") == 0 ? "" : path, &VERSION_2, out);
    return result;
}

int rtd_track_cgroup_limit(pid_t pid, struct rtd_track_limit *out)
{
    char text[FILE_BYTES];
    const ssize_t got = rtd_track_file_read_process(pid, "cgroup", text, sizeof text);
    return got < 0 ? (int)got : rtd_track_cgroup_limit_at("/sys/fs/cgroup", text, out);
}
