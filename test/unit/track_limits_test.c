// SPDX-License-Identifier: Apache-2.0
/*
 * track_limits_test.c - limits and stalls, from trees of files that stand for the kernel's.
 *
 * Runs in:    unit tests
 * Threads:    one
 * Allocates:  a directory for each test
 * Fails:      by an assertion
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "track/track_limits.h"
#include "track/track_pressure.h"

#include <errno.h>
#include <ftw.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PID = 42 };

struct tree {
    char root[64], proc[80], cgroup[80];
    struct rtd_limit_roots roots;
};

static int remove_one(const char *path, const struct stat *what, int type, struct FTW *walk)
{
    (void)what, (void)type, (void)walk;
    return remove(path);
}

/* A file below the tree, with the directories that lead to it. */
static void put(const struct tree *tree, const char *name, const char *text)
{
    char path[1024];
    assert_true((size_t)snprintf(path, sizeof(path), "%s/%s", tree->root, name) < sizeof(path));
    for (char *at = path + strlen(tree->root) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        assert_true(mkdir(path, 0755) == 0 || errno == EEXIST);
        *at = '/';
    }
    FILE *const file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int make_tree(void **state)
{
    struct tree *const tree = calloc(1, sizeof(*tree));
    assert_non_null(tree);
    strcpy(tree->root, "/tmp/riptide-limits-XXXXXX");
    assert_non_null(mkdtemp(tree->root));
    snprintf(tree->proc, sizeof(tree->proc), "%s/proc", tree->root);
    snprintf(tree->cgroup, sizeof(tree->cgroup), "%s/cgroup", tree->root);
    tree->roots = (struct rtd_limit_roots){tree->proc, tree->cgroup};
    put(tree, "proc/meminfo", "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  750 kB\n");
    put(tree, "proc/42/limits",
        "Limit   Soft Limit  Hard Limit  Units\n"
        "Max data size             unlimited  unlimited  bytes\n"
        "Max address space         unlimited  unlimited  bytes\n");
    put(tree, "proc/42/status", "Name:\tx\nVmSize:\t   600 kB\nVmData:\t   100 kB\n");
    put(tree, "proc/42/cgroup", "0::/a/b\n");
    *state = tree;
    return 0;
}

static int drop_tree(void **state)
{
    struct tree *const tree = *state;
    const int result = nftw(tree->root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(tree);
    return result;
}

static const struct rtd_limit *find(const struct rtd_limits *limits, uint32_t kind,
                                    const char *path)
{
    for (uint32_t i = 0; i < limits->count; i++) {
        if (limits->list[i].kind == kind && strcmp(limits->list[i].path, path) == 0)
            return &limits->list[i];
    }
    return NULL;
}

static void assert_limit(const struct rtd_limits *limits, uint32_t kind, const char *path,
                         uint64_t usage, uint64_t limit)
{
    const struct rtd_limit *const found = find(limits, kind, path);
    if (!found) {
        fail_msg("no %s of \"%s\"", rtd_limit_kind_name(kind), path);
        return;
    }
    assert_int_equal(found->usage_bytes, usage);
    assert_int_equal(found->limit_bytes, limit);
}

static void assert_nearest(const struct rtd_limits *limits, uint32_t kind, double share)
{
    assert_in_range(limits->nearest, 0, limits->count - 1);
    const struct rtd_limit *const nearest = &limits->list[limits->nearest];
    assert_string_equal(rtd_limit_kind_name(nearest->kind), rtd_limit_kind_name(kind));
    assert_true(fabs(nearest->share - share) < 1e-9);
}

static void every_level_of_version_2_counts_with_its_own_use(void **state)
{
    const struct tree *const tree = *state;
    struct rtd_limits limits;

    put(tree, "cgroup/a/b/memory.max", "max\n");
    put(tree, "cgroup/a/b/memory.high", "4000\n");
    put(tree, "cgroup/a/b/memory.current", "1500\n");
    put(tree, "cgroup/a/b/memory.stat", "anon 1\ninactive_file 500\n");
    put(tree, "cgroup/a/b/memory.swap.max", "100\n");
    put(tree, "cgroup/a/b/memory.swap.current", "100\n");
    put(tree, "cgroup/a/b/memory.events", "low 0\nhigh 7\nmax 6\noom 5\noom_kill 4\n");
    put(tree, "cgroup/a/memory.max", "10000\n");
    put(tree, "cgroup/a/memory.current", "9000\n");
    rtd_track_limits(PID, &tree->roots, &limits);
    assert_true(limits.valid);
    assert_int_equal(limits.count, 4);
    assert_limit(&limits, RTD_LIMIT_CGROUP_HIGH, "/a/b", 1000, 4000);
    assert_limit(&limits, RTD_LIMIT_CGROUP_MAX, "/a", 9000, 10000);
    assert_limit(&limits, RTD_LIMIT_HOST, "", 250 * 1024, 1000 * 1024);
    /* Full swap is listed, and is not the nearest. */
    assert_limit(&limits, RTD_LIMIT_CGROUP_SWAP, "/a/b", 100, 100);
    assert_nearest(&limits, RTD_LIMIT_CGROUP_MAX, 0.9);
    assert_int_equal(limits.events.high, 7);
    assert_int_equal(limits.events.max, 6);
    assert_int_equal(limits.events.oom, 5);
    assert_int_equal(limits.events.oom_kill, 4);
    assert_string_equal(limits.cgroup_reason, "");
    assert_string_equal(limits.process_reason, "");
    assert_string_equal(limits.host_reason, "");
}

static void version_1_counts_where_parents_account_for_children(void **state)
{
    const struct tree *const tree = *state;
    struct rtd_limits limits;

    put(tree, "proc/42/cgroup", "5:cpu:/z\n4:hugetlb,memory:/a/b\n0::/\n");
    put(tree, "cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
    put(tree, "cgroup/memory/a/b/memory.oom_control",
        "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
    put(tree, "cgroup/memory/a/b/memory.failcnt", "12\n");
    put(tree, "cgroup/memory/a/memory.limit_in_bytes", "8000\n");
    put(tree, "cgroup/memory/a/memory.usage_in_bytes", "5000\n");
    put(tree, "cgroup/memory/a/memory.stat", "inactive_file 9\ntotal_inactive_file 1000\n");
    put(tree, "cgroup/memory/a/memory.use_hierarchy", "1\n");
    rtd_track_limits(PID, &tree->roots, &limits);
    assert_limit(&limits, RTD_LIMIT_CGROUP_MAX, "/a", 4000, 8000);
    assert_nearest(&limits, RTD_LIMIT_CGROUP_MAX, 0.5);
    assert_int_equal(limits.events.oom_kill, 3);
    assert_int_equal(limits.events.max, 12);
    assert_true(limits.events.high == RTD_LIMIT_UNKNOWN);

    put(tree, "cgroup/memory/a/memory.use_hierarchy", "0\n");
    rtd_track_limits(PID, &tree->roots, &limits);
    assert_null(find(&limits, RTD_LIMIT_CGROUP_MAX, "/a"));
    assert_nearest(&limits, RTD_LIMIT_HOST, 0.25);
}

static void limits_of_the_process_are_compared_with_what_they_limit(void **state)
{
    const struct tree *const tree = *state;
    struct rtd_limits limits;

    put(tree, "proc/42/limits",
        "Max data size             204800     unlimited  bytes\n"
        "Max address space         1024000    unlimited  bytes\n");
    rtd_track_limits(PID, &tree->roots, &limits);
    assert_limit(&limits, RTD_LIMIT_ADDRESS_SPACE, "", 600 * 1024, 1024000);
    assert_limit(&limits, RTD_LIMIT_DATA, "", 100 * 1024, 204800);
    assert_nearest(&limits, RTD_LIMIT_ADDRESS_SPACE, 0.6);

    /* More in use than allowed, as after a limit was lowered, is all of it. */
    put(tree, "proc/42/limits", "Max data size  5  6  bytes\n");
    rtd_track_limits(PID, &tree->roots, &limits);
    assert_nearest(&limits, RTD_LIMIT_DATA, 1);

    put(tree, "proc/42/status", "Name:\tx\n");
    rtd_track_limits(PID, &tree->roots, &limits);
    assert_non_null(strstr(limits.process_reason, "VmData"));
    assert_nearest(&limits, RTD_LIMIT_HOST, 0.25);
}

static void what_is_hidden_is_said_and_the_rest_served(void **state)
{
    struct tree *const tree = *state;
    struct rtd_limits limits;

    rtd_track_limits(PID, &tree->roots, &limits);
    assert_non_null(strstr(limits.cgroup_reason, "no control group"));
    assert_string_equal(limits.process_reason, "");
    assert_nearest(&limits, RTD_LIMIT_HOST, 0.25);
    assert_true(limits.events.oom_kill == RTD_LIMIT_UNKNOWN);

    rtd_track_limits(PID + 1, &tree->roots, &limits);
    assert_non_null(strstr(limits.cgroup_reason, "hidden"));
    assert_non_null(strstr(limits.process_reason, "hidden"));
    assert_nearest(&limits, RTD_LIMIT_HOST, 0.25);

    put(tree, "proc/42/cgroup", "0::/../other\n");
    put(tree, "cgroup/memory.max", "1000\n");
    put(tree, "cgroup/memory.current", "400\n");
    rtd_track_limits(PID, &tree->roots, &limits);
    assert_non_null(strstr(limits.cgroup_reason, "outside"));
    assert_limit(&limits, RTD_LIMIT_CGROUP_MAX, "/", 400, 1000);

    put(tree, "proc/meminfo", "MemTotal: 1000 kB\n");
    rtd_track_limits(PID, &tree->roots, &limits);
    assert_non_null(strstr(limits.host_reason, "MemAvailable"));
    assert_nearest(&limits, RTD_LIMIT_CGROUP_MAX, 0.4);

    tree->roots.proc = tree->roots.cgroup = "/nonexistent";
    rtd_track_limits(PID, &tree->roots, &limits);
    assert_int_equal(limits.count, 0);
    assert_int_equal(limits.nearest, -1);
    assert_true(limits.cgroup_reason[0] && limits.process_reason[0] && limits.host_reason[0]);
}

static void garbage_and_huge_numbers_are_no_limits(void **state)
{
    static const char *const texts[] = {
        "", "\n", "garbage\n", "-5\n", "12x\n", "0x10\n", "99999999999999999999999999\n"};
    const struct tree *const tree = *state;
    struct rtd_limits limits;

    put(tree, "cgroup/a/b/memory.current", "10\n");
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        put(tree, "cgroup/a/b/memory.max", texts[i]);
        rtd_track_limits(PID, &tree->roots, &limits);
        assert_int_equal(limits.count, 1);
        assert_string_equal(limits.cgroup_reason,
                            "1 files of the control group could not be understood");
    }
    put(tree, "cgroup/a/b/memory.max", "18446744073709551615\n");
    put(tree, "proc/42/limits", "Max address space  -7  -7  bytes\nMax data size  ?\n");
    put(tree, "proc/42/cgroup", "garbage\n::\n0::/a/b\n");
    rtd_track_limits(PID, &tree->roots, &limits);
    assert_int_equal(limits.count, 1);
    assert_string_equal(limits.cgroup_reason, "");

    put(tree, "proc/meminfo", "MemTotal: 0 kB\nMemAvailable: 5 kB\n");
    put(tree, "cgroup/a/b/memory.max", "0\n");
    rtd_track_limits(PID, &tree->roots, &limits);
    assert_true(limits.host_reason[0]);
    assert_nearest(&limits, RTD_LIMIT_CGROUP_MAX, 1);
}

/* Deeper than there is room for: the lowest shares go, the nearest stays. */
static void a_deep_tree_keeps_the_nearest_limits(void **state)
{
    const struct tree *const tree = *state;
    char path[512] = "", name[600], text[64];
    struct rtd_limits limits;

    for (int level = 0; level < 40; level++) {
        snprintf(path + strlen(path), sizeof(path) - strlen(path), "/level%02d", level);
        snprintf(name, sizeof(name), "cgroup%s/memory.max", path);
        put(tree, name, "1000\n");
        snprintf(name, sizeof(name), "cgroup%s/memory.current", path);
        snprintf(text, sizeof(text), "%d\n", level == 7 ? 999 : 300 + level);
        put(tree, name, text);
    }
    snprintf(name, sizeof(name), "0::%s\n", path);
    put(tree, "proc/42/cgroup", name);
    rtd_track_limits(PID, &tree->roots, &limits);
    assert_int_equal(limits.count, RTD_LIMIT_MAX);
    /* 40 groups and the host, whose share is the lowest. */
    assert_int_equal(limits.dropped, 41 - RTD_LIMIT_MAX);
    assert_nearest(&limits, RTD_LIMIT_CGROUP_MAX, 0.999);
    /* A long path keeps its end. */
    const struct rtd_limit *longest = &limits.list[0];
    assert_int_equal(strlen(longest->path), RTD_LIMIT_PATH_BYTES - 1);
    assert_memory_equal(longest->path, "..", 2);
    assert_non_null(strstr(longest->path, "/level39"));
}

static void stalls_are_read_for_group_and_host(void **state)
{
    const struct tree *const tree = *state;
    struct rtd_pressure stalls;

    put(tree, "proc/pressure/memory",
        "some avg10=1.50 avg60=2.00 avg300=100.00 total=123456\n"
        "full avg10=0.00 avg60=0.25 avg300=0.00 total=7\n");
    put(tree, "cgroup/a/b/memory.pressure", "some avg10=50.00 avg60=0.00 avg300=0.00 total=9\n");
    rtd_track_pressure(PID, &tree->roots, &stalls);
    assert_true(stalls.valid && stalls.host.some.known && stalls.host.full.known);
    assert_true(fabs(stalls.host.some.share_10s - 0.015) < 1e-9);
    assert_true(fabs(stalls.host.some.share_60s - 0.02) < 1e-9);
    assert_true(fabs(stalls.host.some.share_300s - 1) < 1e-9);
    assert_int_equal(stalls.host.some.total_us, 123456);
    assert_true(fabs(stalls.host.full.share_60s - 0.0025) < 1e-9);
    assert_int_equal(stalls.host.full.total_us, 7);
    assert_true(fabs(stalls.group.some.share_10s - 0.5) < 1e-9);
    assert_false(stalls.group.full.known);
    assert_string_equal(stalls.group.reason, "");

    /* Beside version 1 the tree of version 2 lies one deeper. */
    put(tree, "proc/42/cgroup", "4:memory:/q\n0::/c\n");
    put(tree, "cgroup/unified/c/memory.pressure",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=11\n");
    rtd_track_pressure(PID, &tree->roots, &stalls);
    assert_int_equal(stalls.group.some.total_us, 11);
}

static void stalls_that_are_not_told_have_a_reason(void **state)
{
    const struct tree *const tree = *state;
    struct rtd_pressure stalls;

    rtd_track_pressure(PID, &tree->roots, &stalls);
    assert_false(stalls.host.some.known || stalls.group.some.known);
    assert_non_null(strstr(stalls.host.reason, "no pressure stall information"));
    assert_true(stalls.group.reason[0]);
    rtd_track_pressure(PID + 1, &tree->roots, &stalls);
    assert_non_null(strstr(stalls.group.reason, "hidden"));
    put(tree, "proc/42/cgroup", "4:memory:/q\n");
    rtd_track_pressure(PID, &tree->roots, &stalls);
    assert_non_null(strstr(stalls.group.reason, "version 1"));
    put(tree, "proc/42/cgroup", "0::/\n");
    rtd_track_pressure(PID, &tree->roots, &stalls);
    assert_non_null(strstr(stalls.group.reason, "topmost"));
    assert_non_null(strstr(rtd_track_pressure_reason(-EOPNOTSUPP), "psi=0"));
}

static void a_text_of_stalls_that_is_garbage_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "some\n",
        "some avg10=x avg60=0.00 avg300=0.00 total=1\n",
        "some avg10=0.00 avg60=0.00 avg300=0.00\n",
        "some avg10=0.00 avg60=0.00 total=1\n",
        "some avg10=1000.00 avg60=0.00 avg300=0.00 total=1\n",
        "some avg10=101.00 avg60=0.00 avg300=0.00 total=1\n",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=99999999999999999999999\n",
        "some avg10=-1.00 avg60=0.00 avg300=0.00 total=1\n",
        "some \nfull \navg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
    };
    struct rtd_stalls stalls;
    (void)state;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (rtd_track_pressure_parse(texts[i], &stalls))
            fail_msg("accepted: %s", texts[i]);
        assert_true(stalls.reason[0]);
    }
}

/* A child under a limit of address space, seen through the real /proc. */
static void a_real_limit_of_address_space_is_found(void **state)
{
    const struct rlimit wanted = {UINT64_C(1) << 40, UINT64_C(1) << 40};
    struct rtd_limits limits;
    int pipe_fds[2];
    char byte;
    (void)state;

    assert_int_equal(pipe(pipe_fds), 0);
    const pid_t child = fork();
    if (child == 0) {
        const bool done = setrlimit(RLIMIT_AS, &wanted) == 0 && write(pipe_fds[1], "x", 1) == 1;
        if (done)
            pause();
        _exit(1);
    }
    close(pipe_fds[1]);
    const ssize_t got = read(pipe_fds[0], &byte, 1);
    rtd_track_limits(child, NULL, &limits);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(pipe_fds[0]);
    /* Under a sanitizer the address space is larger than that, and the limit is refused. */
    if (got != 1)
        skip();
    const struct rtd_limit *const found = find(&limits, RTD_LIMIT_ADDRESS_SPACE, "");
    assert_true(found && found->limit_bytes == wanted.rlim_cur && found->usage_bytes > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_level_of_version_2_counts_with_its_own_use, make_tree,
                                        drop_tree),
        cmocka_unit_test_setup_teardown(version_1_counts_where_parents_account_for_children,
                                        make_tree, drop_tree),
        cmocka_unit_test_setup_teardown(limits_of_the_process_are_compared_with_what_they_limit,
                                        make_tree, drop_tree),
        cmocka_unit_test_setup_teardown(what_is_hidden_is_said_and_the_rest_served, make_tree,
                                        drop_tree),
        cmocka_unit_test_setup_teardown(garbage_and_huge_numbers_are_no_limits, make_tree,
                                        drop_tree),
        cmocka_unit_test_setup_teardown(a_deep_tree_keeps_the_nearest_limits, make_tree, drop_tree),
        cmocka_unit_test_setup_teardown(stalls_are_read_for_group_and_host, make_tree, drop_tree),
        cmocka_unit_test_setup_teardown(stalls_that_are_not_told_have_a_reason, make_tree,
                                        drop_tree),
        cmocka_unit_test(a_text_of_stalls_that_is_garbage_is_refused),
        cmocka_unit_test(a_real_limit_of_address_space_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
