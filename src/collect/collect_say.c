// SPDX-License-Identifier: Apache-2.0
/*
 * collect_say.c - RipTide's own few lines on stderr.
 *
 * Runs in:    collector, command line
 * Threads:    any
 * Allocates:  never
 * Fails:      silently, see collect_say.h
 */
#include "collect/collect_say.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { SAY_BYTES = 8192, SAY_WAIT_MS = 1000 };

int rtd_collect_write_all(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;

    while (size > 0) {
        const ssize_t written = write(fd, at, size);
        if (written >= 0) {
            at += written;
            size -= (size_t)written;
            continue;
        }
        if (errno == EAGAIN) {
            /* stderr may be a terminal or pipe that somebody made non-blocking. */
            struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
            if (poll(&poll_fd, 1, SAY_WAIT_MS) > 0)
                continue;
            return -EAGAIN;
        }
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

void rtd_collect_say(const char *format, ...)
{
    char line[SAY_BYTES];
    va_list arguments;
    int length = snprintf(line, sizeof(line), "riptide: ");

    va_start(arguments, format);
    const int added =
        vsnprintf(line + length, sizeof(line) - (size_t)length - 1, format, arguments);
    va_end(arguments);
    if (added < 0)
        return;
    length += added;
    if (length > (int)sizeof(line) - 2)
        length = (int)sizeof(line) - 2;
    /* One line, and names of files come from anywhere: nothing in them may steer a terminal. */
    for (int i = 0; i < length; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 127)
            line[i] = '?';
    }
    line[length] = '\n';
    (void)rtd_collect_write_all(STDERR_FILENO, line, (size_t)length + 1);
}
