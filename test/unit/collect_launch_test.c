// SPDX-License-Identifier: Apache-2.0
/*
 * collect_launch_test.c - finding and starting a program as a shell would.
 *
 * Runs in:    test
 * Threads:    one
 * Allocates:  a folder, child processes
 * Fails:      by cmocka
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collect/collect_launch.h"

static char folder[] = "/tmp/riptide-launch-XXXXXX";

static void make_file(const char *name, mode_t mode)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *const file = fopen(path, "w");
    assert_non_null(file);
    (void)fclose(file);
    assert_int_equal(chmod(path, mode), 0);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[PATH_MAX];

    (void)state;
    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

static void find_walks_path_and_remembers_a_denied_file(void **state)
{
    char out[PATH_MAX], wanted[PATH_MAX], path[PATH_MAX];

    (void)state;
    make_file("denied", 0644);
    make_file("good", 0755);
    (void)snprintf(path, sizeof(path), "/no/such/folder:%s:/bin", folder);
    assert_int_equal(setenv("PATH", path, 1), 0);
    assert_int_equal(rtd_launch_find("good", out, sizeof(out)), 0);
    (void)snprintf(wanted, sizeof(wanted), "%s/good", folder);
    assert_string_equal(out, wanted);
    assert_int_equal(rtd_launch_find("sh", out, sizeof(out)), 0);
    assert_string_equal(out, "/bin/sh");
    assert_int_equal(rtd_launch_find("denied", out, sizeof(out)), -EACCES);
    assert_int_equal(rtd_launch_find("nothing", out, sizeof(out)), -ENOENT);
    assert_int_equal(rtd_launch_find("", out, sizeof(out)), -ENOENT);
}

static void find_takes_a_path_with_a_slash_as_it_is(void **state)
{
    char out[PATH_MAX];

    (void)state;
    assert_int_equal(rtd_launch_find("/bin/sh", out, sizeof(out)), 0);
    assert_string_equal(out, "/bin/sh");
    assert_int_equal(rtd_launch_find(folder, out, sizeof(out)), -EISDIR);
    assert_int_equal(rtd_launch_find("/bin/sh/x", out, sizeof(out)), -ENOTDIR);
}

static unsigned count_entries(char *const *list, const char *prefix)
{
    unsigned count = 0;

    for (; *list; list++)
        count += strncmp(*list, prefix, strlen(prefix)) == 0;
    return count;
}

static void environment_puts_the_agent_before_an_existing_preload(void **state)
{
    (void)state;
    assert_int_equal(setenv("LD_PRELOAD", "/lib/other.so", 1), 0);
    assert_int_equal(setenv("RIPTIDE_SOCKET", "old", 1), 0);
    char **const list = rtd_launch_environment("/a/agent.so", "riptide-1-ff");
    assert_non_null(list);
    assert_int_equal(count_entries(list, "LD_PRELOAD="), 1);
    assert_int_equal(count_entries(list, "LD_PRELOAD=/a/agent.so:/lib/other.so"), 1);
    assert_int_equal(count_entries(list, "RIPTIDE_SOCKET="), 1);
    assert_int_equal(count_entries(list, "RIPTIDE_SOCKET=riptide-1-ff"), 1);
    free((void *)list);
    unsetenv("LD_PRELOAD");
    unsetenv("RIPTIDE_SOCKET");
}

static void a_child_starts_only_after_the_word(void **state)
{
    struct rtd_launch launch;
    char name[] = "sh", option[] = "-c", text[] = "exit 42";
    char *argv[] = {name, option, text, NULL}, *envp[] = {NULL};
    int status = 0;

    (void)state;
    assert_int_equal(rtd_launch_fork(&launch, "/bin/sh", argv, envp), 0);
    assert_int_equal(waitpid(launch.pid, &status, WNOHANG), 0);
    assert_int_equal(rtd_launch_go(&launch), 0);
    assert_int_equal(waitpid(launch.pid, &status, 0), launch.pid);
    assert_int_equal(WEXITSTATUS(status), 42);
}

static void a_failed_exec_is_reported_by_its_errno(void **state)
{
    struct rtd_launch launch;
    char name[] = "x";
    char *argv[] = {name, NULL}, *envp[] = {NULL};

    (void)state;
    assert_int_equal(rtd_launch_fork(&launch, "/no/such/file", argv, envp), 0);
    assert_int_equal(rtd_launch_go(&launch), -ENOENT);
    rtd_launch_cancel(&launch);
    assert_int_equal(launch.pid, -1);
}

static void a_cancelled_child_is_gone_without_a_trace(void **state)
{
    struct rtd_launch launch;
    char name[] = "true";
    char *argv[] = {name, NULL}, *envp[] = {NULL};

    (void)state;
    assert_int_equal(rtd_launch_fork(&launch, "/bin/true", argv, envp), 0);
    const pid_t pid = launch.pid;
    rtd_launch_cancel(&launch);
    assert_int_equal(kill(pid, 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(find_walks_path_and_remembers_a_denied_file),
        cmocka_unit_test(find_takes_a_path_with_a_slash_as_it_is),
        cmocka_unit_test(environment_puts_the_agent_before_an_existing_preload),
        cmocka_unit_test(a_child_starts_only_after_the_word),
        cmocka_unit_test(a_failed_exec_is_reported_by_its_errno),
        cmocka_unit_test(a_cancelled_child_is_gone_without_a_trace),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
