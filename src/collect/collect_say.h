// SPDX-License-Identifier: Apache-2.0
/*
 * collect_say.h - RipTide's own few lines on stderr.
 *
 * Runs in:    collector, command line
 * Threads:    any; a line is one write, so lines do not mix
 * Allocates:  never
 * Fails:      silently: a closed or full stderr is no reason to disturb the program
 *
 * Why not stdio: stderr may be shared with the program, closed, or a pipe nobody reads; a line is
 * written whole or not at all and never raises SIGPIPE in a process that ignores it.
 */
#ifndef RTD_COLLECT_SAY_H
#define RTD_COLLECT_SAY_H

#include <stddef.h>

/* Writes "riptide: " and the formatted text as one line to stderr; too long text is cut. */
void rtd_collect_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes all bytes to fd, whatever partial writes happen. 0 or a negative errno. */
int rtd_collect_write_all(int fd, const void *bytes, size_t size);

#endif
