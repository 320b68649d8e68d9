// SPDX-License-Identifier: Apache-2.0
/*
 * track_smaps_test.c - /proc/PID/smaps, whole, long, cut and broken.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  files below the temporary directory
 * Fails:      by a failed assertion
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "track/track_smaps.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MANY = 65000 };

static struct rtd_smaps_area seen_last;

static int count_area(void *context, const struct rtd_smaps_area *area)
{
    seen_last = *area;
    return ++*(int *)context < 0 ? -EIO : 0;
}

static int stop_at_once(void *context, const struct rtd_smaps_area *area)
{
    (void)context;
    (void)area;
    return -ECANCELED;
}

static FILE *open_list(char path[64])
{
    strcpy(path, "/tmp/riptide-smaps-XXXXXX");
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    return fdopen(fd, "w");
}

static void put_area(FILE *file, uint64_t start, uint64_t pages, const char *tail)
{
    fprintf(file,
            "%" PRIx64 "-%" PRIx64 " rw-p 00000000 00:00 0 %s\nSize: %" PRIu64 " kB\nRss: %" PRIu64
            " kB\nPss: %" PRIu64 " kB\nAnonymous: %" PRIu64 " kB\nSwap: 0 kB\nVmFlags: rd wr\n",
            start, start + pages * 4096, tail, pages * 4, pages * 4, pages * 2, pages * 4);
}

static void our_own_list_adds_up_to_what_statm_says(void **state)
{
    struct rtd_smaps_summary summary;
    int areas = 0;
    unsigned long size = 0, resident = 0;
    (void)state;

    assert_int_equal(rtd_smaps_read("/proc/self/smaps", count_area, &areas, &summary), 0);
    FILE *const statm = fopen("/proc/self/statm", "re");
    assert_non_null(statm);
    assert_int_equal(fscanf(statm, "%lu %lu", &size, &resident), 2);
    fclose(statm);
    assert_int_equal(summary.areas, areas);
    assert_true(areas > 5 && summary.cost_ns > 0);
    /* statm's counters may be some pages a thread behind. */
    const int64_t difference = (int64_t)summary.rss_bytes - (int64_t)resident * 4096;
    assert_true(llabs(difference) <= 1 << 20);
}

static void sixty_five_thousand_mappings_are_read(void **state)
{
    char path[64];
    struct rtd_smaps_summary summary;
    int areas = 0;
    (void)state;

    FILE *const file = open_list(path);
    for (uint64_t i = 0; i < MANY; i++)
        put_area(file, 0x10000000 + i * 8192, 1, i + 1 < MANY ? "" : "    [the last one]");
    fclose(file);
    assert_int_equal(rtd_smaps_read(path, count_area, &areas, &summary), 0);
    unlink(path);
    assert_int_equal(areas, MANY);
    assert_int_equal(summary.rss_bytes, UINT64_C(4096) * MANY);
    assert_int_equal(summary.pss_bytes, UINT64_C(2048) * MANY);
    assert_string_equal(seen_last.name, "[the last one]");
    assert_string_equal(seen_last.permissions, "rw-p");
}

static void who_is_gone_or_no_list_is_said(void **state)
{
    char path[64];
    struct rtd_smaps_summary summary;
    int areas = 0;
    (void)state;

    assert_int_equal(rtd_smaps_read("/proc/2147483646/smaps", count_area, &areas, &summary),
                     -ESRCH);
    FILE *file = open_list(path);
    fclose(file);
    assert_int_equal(rtd_smaps_read(path, count_area, &areas, &summary), -ESRCH);
    file = fopen(path, "we");
    assert_non_null(file);
    fputs("this is no list\n\001\002\n", file);
    fclose(file);
    assert_int_equal(rtd_smaps_read(path, count_area, &areas, &summary), -EBADMSG);
    unlink(path);
    assert_int_equal(areas, 0);
}

static void a_visitor_can_end_the_reading(void **state)
{
    struct rtd_smaps_summary summary;
    (void)state;
    assert_int_equal(rtd_smaps_read("/proc/self/smaps", stop_at_once, NULL, &summary), -ECANCELED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_own_list_adds_up_to_what_statm_says),
        cmocka_unit_test(sixty_five_thousand_mappings_are_read),
        cmocka_unit_test(who_is_gone_or_no_list_is_said),
        cmocka_unit_test(a_visitor_can_end_the_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
