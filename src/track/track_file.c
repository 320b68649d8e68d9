// SPDX-License-Identifier: Apache-2.0
/*
 * track_file.c - see track_file.h.
 *
 * Runs in:    collector
 * Threads:    no state
 * Allocates:  a file descriptor for the length of a call; no heap
 * Fails:      by a negative errno
 */
#include "track/track_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

ssize_t rtd_track_file_read(const char *path, char *out, size_t size)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t used = 0;
    ssize_t result = 0;
    while (used < size - 1) {
        const ssize_t got = read(fd, out + used, size - 1 - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            result = -errno;
        if (got <= 0)
            break;
        used += (size_t)got;
    }
    close(fd);
    out[used] = '\0';
    return result < 0 ? result : (ssize_t)used;
}

ssize_t rtd_track_file_read_process(pid_t pid, const char *name, char *out, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    const ssize_t got = rtd_track_file_read(path, out, size);
    return got == -ENOENT ? -ESRCH : got;
}

bool rtd_track_file_number(const char *text, const char *key, uint64_t *out)
{
    const size_t length = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, length) != 0)
            continue;
        char *end;
        errno = 0;
        const unsigned long long value = strtoull(line + length, &end, 10);
        if (end == line + length || errno)
            return false;
        *out = value;
        return true;
    }
    return false;
}
