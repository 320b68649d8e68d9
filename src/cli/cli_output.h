// SPDX-License-Identifier: Apache-2.0
/*
 * cli_output.h - what a terminal can show, and reports onto it.
 *
 * Runs in:    command line
 * Threads:    one
 * Allocates:  the text of a report while it is written
 * Fails:      by a negative errno
 */
#ifndef RTD_CLI_OUTPUT_H
#define RTD_CLI_OUTPUT_H

#include "export/export_report.h"

/* Colours: fd is a terminal that is not dumb, and NO_COLOR is not set. */
bool rtd_cli_colour(int fd);

/* Columns of the terminal at fd, 0 when it is none. */
unsigned rtd_cli_width(int fd);

/* Writes a buffer to fd and empties it. 0, -ENOMEM when it had failed, or what write() said. */
int rtd_cli_flush(int fd, struct rtd_buffer *buffer);

#endif
