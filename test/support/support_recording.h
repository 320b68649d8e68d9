// SPDX-License-Identifier: Apache-2.0
/*
 * support_recording.h - a folder for recordings, and recordings that are opened without complaint.
 *
 * Runs in:    unit tests
 * Threads:    none
 * Allocates:  a folder below TMPDIR, removed by _remove_folder()
 * Fails:      by cmocka assertions; the set-up by -1
 */
#ifndef RTD_SUPPORT_RECORDING_H
#define RTD_SUPPORT_RECORDING_H

#include "history/history_recording.h"

/* The folder, and "run.riptide" in it; set by _make_folder(). */
extern char rtd_support_folder[512];
extern char rtd_support_path[600];

/* Set-up and tear-down of a cmocka group; the folder must hold nothing but the file by then. */
int rtd_support_make_folder(void **state);
int rtd_support_remove_folder(void **state);

/* A writer of a new file of that name; the caller closes it. */
struct rtd_recording_writer *rtd_support_open_writer(const char *name);

/* A file that must open with nothing to complain about; the caller closes it. */
struct rtd_recording *rtd_support_open_recording(const char *name);

#endif
