// SPDX-License-Identifier: Apache-2.0
/*
 * track_file.h - small kernel text files, read whole into the caller's buffer.
 *
 * Runs in:    collector (and later inside a program that links libriptide)
 * Threads:    no state
 * Allocates:  a file descriptor for the length of a call; no heap
 * Fails:      by a negative errno; a missing file of a process is -ESRCH
 */
#ifndef RTD_TRACK_FILE_H
#define RTD_TRACK_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Reads at most size - 1 bytes of path, NUL-terminated; what is longer is cut without a word. The
 * text may hold further NULs (cmdline does). Returns the bytes read or -errno.
 */
ssize_t rtd_track_file_read(const char *path, char *out, size_t size);

/* The same for /proc/PID/name; -ESRCH when the process is gone. */
ssize_t rtd_track_file_read_process(pid_t pid, const char *name, char *out, size_t size);

/*
 * Finds the line that begins with key ("VmHWM:" or "inactive_file ") and stores the number that
 * follows, in the file's own unit. False when there is no such line or no number.
 */
bool rtd_track_file_number(const char *text, const char *key, uint64_t *out);

#endif
