// SPDX-License-Identifier: Apache-2.0
/*
 * support_recording.c - see support_recording.h.
 *
 * Runs in:    unit tests
 * Threads:    none
 * Allocates:  a folder below TMPDIR
 * Fails:      by cmocka assertions
 */
#include "support_recording.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

char rtd_support_folder[512];
char rtd_support_path[600];

int rtd_support_make_folder(void **state)
{
    (void)state;
    const char *const base = getenv("TMPDIR");

    snprintf(rtd_support_folder, sizeof(rtd_support_folder), "%.400s/riptide-XXXXXX",
             base != NULL ? base : P_tmpdir);
    if (mkdtemp(rtd_support_folder) == NULL) {
        return -1;
    }
    snprintf(rtd_support_path, sizeof(rtd_support_path), "%s/run.riptide", rtd_support_folder);
    return 0;
}

int rtd_support_remove_folder(void **state)
{
    (void)state;
    (void)unlink(rtd_support_path);
    return rmdir(rtd_support_folder);
}

struct rtd_recording_writer *rtd_support_open_writer(const char *name)
{
    int err = 0;
    struct rtd_recording_writer *const writer = rtd_recording_writer_open(name, &err);

    assert_int_equal(err, 0);
    assert_non_null(writer);
    return writer;
}

struct rtd_recording *rtd_support_open_recording(const char *name)
{
    int err = 0;
    char diag[1024];
    struct rtd_recording *const recording = rtd_recording_open(name, &err, diag, sizeof(diag));

    assert_string_equal(diag, "");
    assert_int_equal(err, 0);
    assert_non_null(recording);
    return recording;
}
