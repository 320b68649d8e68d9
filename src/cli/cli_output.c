// SPDX-License-Identifier: Apache-2.0
/*
 * cli_output.c - what a terminal can show, and reports onto it.
 *
 * Runs in:    command line
 * Threads:    one
 * Allocates:  the text of a report while it is written
 * Fails:      by a negative errno
 */
#include "cli/cli_output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "collect/collect_say.h"

bool rtd_cli_colour(int fd)
{
    const char *const no_color = getenv("NO_COLOR");
    const char *const term = getenv("TERM");

    return isatty(fd) && !(no_color && no_color[0]) && !(term && strcmp(term, "dumb") == 0);
}

unsigned rtd_cli_width(int fd)
{
    struct winsize size;

    if (!isatty(fd) || ioctl(fd, TIOCGWINSZ, &size) < 0)
        return 0;
    return size.ws_col;
}

int rtd_cli_flush(int fd, struct rtd_buffer *buffer)
{
    const int result = rtd_buffer_failed(buffer)
                           ? -ENOMEM
                           : rtd_collect_write_all(fd, buffer->data, buffer->length_bytes);

    rtd_buffer_fini(buffer);
    return result;
}
