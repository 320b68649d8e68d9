// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_breakdown_test.c - each page of resident memory in exactly one class.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  a file below the temporary directory
 * Fails:      by a failed assertion
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "analyze/analyze_breakdown.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KIB UINT64_C(1024)

/* One mapping a line: range, permissions, inode, name, resident KiB. */
static const char *const lines[][2] = {
    {"00400000-00500000 r-xp 00000000 08:01 7 /bin/program", "100"},
    {"00500000-00510000 rw-p 00100000 08:01 7 /bin/program", "8"},
    {"00510000-00520000 rw-p 00000000 00:00 0 ", "12"},
    {"01000000-02000000 rw-p 00000000 00:00 0 [heap]", "400"},
    {"7f0000000000-7f0000021000 rw-p 00000000 00:00 0 ", "40"},
    {"7f1000000000-7f1000100000 rw-p 00000000 00:00 0 ", "64"},
    {"7f1100010000-7f1100110000 rw-p 00000000 00:00 0 ", "32"},
    {"7f1200000000-7f1200100000 rw-p 00000000 00:00 0 ", "16"},
    {"7f1300000000-7f1300001000 ---p 00000000 00:00 0 ", "0"},
    {"7f1300001000-7f1300801000 rw-p 00000000 00:00 0 ", "20"},
    {"7f1400000000-7f1400100000 r--p 00000000 08:01 9 /var/data", "24"},
    {"7f1500000000-7f1500100000 rw-s 00000000 00:01 9 /dev/shm/x", "28"},
    {"7f1600000000-7f1600100000 rw-s 00000000 00:01 9 /memfd:riptide-ledger (deleted)", "36"},
    {"7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]", "44"},
    {"7ffc00030000-7ffc00032000 r-xp 00000000 00:00 0 [vdso]", "4"},
};

static struct rtd_breakdown take(const struct rtd_breakdown_known *known)
{
    char path[] = "/tmp/riptide-breakdown-XXXXXX";
    struct rtd_breakdown breakdown = {0};
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *const file = fdopen(fd, "w");
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        fprintf(file, "%s\nSize: 1024 kB\nRss: %s kB\nPss: %s kB\nSwap: 0 kB\n", lines[i][0],
                lines[i][1], lines[i][1]);
    fclose(file);
    assert_int_equal(rtd_breakdown_take(path, known, &breakdown), 0);
    unlink(path);
    return breakdown;
}

static uint64_t sum_of(const struct rtd_breakdown *breakdown)
{
    uint64_t sum = 0;
    for (int i = 0; i < RTD_BREAKDOWN_CLASSES; i++)
        sum += breakdown->bytes[i];
    return sum;
}

static void assert_bytes(const struct rtd_breakdown *breakdown, enum rtd_breakdown_class which,
                         uint64_t kib)
{
    assert_int_equal(breakdown->bytes[which], kib * KIB);
}

static void each_mapping_is_in_one_class_and_the_sum_is_what_is_resident(void **state)
{
    (void)state;
    struct rtd_maps *const maps = rtd_maps_new(1);
    const struct rtd_mapping_owner owner = {.stack = 1, .kind = RTD_MAPPING_ANONYMOUS};
    assert_int_equal(rtd_maps_add(maps, 0x7f1200000000, 0x100000, &owner), 0);
    const uint64_t blocks[] = {0x1000010, 0x7f1000000010};
    const struct rtd_breakdown_known known = {
        .maps = maps, .blocks = blocks, .block_count = 2, .is_glibc = true};
    const struct rtd_breakdown seen = take(&known);
    rtd_maps_free(maps);
    assert_true(seen.valid && !seen.split);
    assert_int_equal(sum_of(&seen), seen.rss_bytes);
    assert_int_equal(seen.rss_bytes, 828 * KIB);
    assert_bytes(&seen, RTD_BREAKDOWN_MODULES, 120);
    assert_bytes(&seen, RTD_BREAKDOWN_FREE, 400 + 40 + 64); /* heap, arena, a known block */
    assert_bytes(&seen, RTD_BREAKDOWN_ANONYMOUS, 16);       /* the program's own call */
    assert_bytes(&seen, RTD_BREAKDOWN_RESIDUAL, 32);        /* nothing shows whose it is */
    assert_bytes(&seen, RTD_BREAKDOWN_STACKS, 20 + 44);
    assert_bytes(&seen, RTD_BREAKDOWN_FILES, 24);
    assert_bytes(&seen, RTD_BREAKDOWN_SHARED, 28);
    assert_bytes(&seen, RTD_BREAKDOWN_RIPTIDE, 36);
    assert_bytes(&seen, RTD_BREAKDOWN_KERNEL, 4);
}

static void what_nothing_shows_is_residual(void **state)
{
    (void)state;
    const struct rtd_breakdown_known nothing = {0};
    const struct rtd_breakdown seen = take(&nothing);
    assert_bytes(&seen, RTD_BREAKDOWN_RESIDUAL, 40 + 64 + 32 + 16);
    assert_bytes(&seen, RTD_BREAKDOWN_FREE, 400);
    assert_int_equal(sum_of(&seen), seen.rss_bytes);
}

static void the_allocators_pages_are_split_and_never_made_more(void **state)
{
    (void)state;
    const struct rtd_breakdown_known nothing = {0};
    const struct rtd_allocator_figures unknown = {0};
    const struct rtd_allocator_figures told = {
        .asked = true, .allocated_bytes = 330 * KIB, .metadata_bytes = 50 * KIB};
    struct rtd_breakdown seen = take(&nothing);
    rtd_breakdown_split(&seen, 300 * KIB, &unknown);
    assert_bytes(&seen, RTD_BREAKDOWN_LIVE, 300);
    assert_bytes(&seen, RTD_BREAKDOWN_FREE, 100);
    assert_false(seen.is_asked);
    rtd_breakdown_split(&seen, 300 * KIB, &told);
    assert_bytes(&seen, RTD_BREAKDOWN_METADATA, 50);
    assert_bytes(&seen, RTD_BREAKDOWN_SLACK, 30);
    assert_bytes(&seen, RTD_BREAKDOWN_FREE, 20);
    assert_true(seen.is_asked);
    rtd_breakdown_split(&seen, 4096 * KIB, &told);
    assert_bytes(&seen, RTD_BREAKDOWN_LIVE, 400);
    assert_bytes(&seen, RTD_BREAKDOWN_FREE, 0);
    assert_int_equal(sum_of(&seen), seen.rss_bytes);
}

static void a_list_that_cannot_be_read_leaves_the_older_answer(void **state)
{
    (void)state;
    const struct rtd_breakdown_known nothing = {0};
    struct rtd_breakdown seen = {.rss_bytes = 7};
    assert_true(rtd_breakdown_take("/proc/2147483646/smaps", &nothing, &seen) < 0);
    assert_int_equal(seen.rss_bytes, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_mapping_is_in_one_class_and_the_sum_is_what_is_resident),
        cmocka_unit_test(what_nothing_shows_is_residual),
        cmocka_unit_test(the_allocators_pages_are_split_and_never_made_more),
        cmocka_unit_test(a_list_that_cannot_be_read_leaves_the_older_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
