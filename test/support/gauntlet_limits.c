// SPDX-License-Identifier: Apache-2.0
/*
 * gauntlet_limits.c - sandboxes and resource limits, set before and in the middle of a run.
 *
 * Runs in:    the program under test
 * Threads:    one
 * Allocates:  its whole point
 * Fails:      through CHECK
 */
#include "gauntlet.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILTER_MAX = 64 };

/* Kills the process at any system call that is not (or, inverted, that is) in the list. */
static void install_filter(const int *calls, size_t count, bool inverted)
{
    struct sock_filter filter[FILTER_MAX];
    unsigned short length = 0;
    const unsigned hit = inverted ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ALLOW;
    const unsigned miss = inverted ? SECCOMP_RET_ALLOW : SECCOMP_RET_KILL_PROCESS;
    filter[length++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < count; i++) {
        filter[length++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1);
        filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, hit);
    }
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, miss);
    struct sock_fprog program = {.len = length, .filter = filter};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

/* What glibc's allocator and this program's last words need, and nothing else. */
static int million_under_seccomp(void)
{
    const int allowed[] = {SYS_write,   SYS_brk,      SYS_mmap,       SYS_munmap, SYS_mremap,
                           SYS_madvise, SYS_mprotect, SYS_exit_group, SYS_fstat,  SYS_newfstatat};
    install_filter(allowed, sizeof allowed / sizeof *allowed, false);
    for (uint64_t i = 0; i < 10; i++)
        gauntlet_churn(100000, i);
    return 0;
}

/* The sandbox forbids sockets: asking the collector for a ledger at fork would kill the child. */
static int fork_in_sandbox(void)
{
    const int forbidden[] = {SYS_socket, SYS_connect};
    install_filter(forbidden, 2, true);
    gauntlet_churn(1000, 1);
    usleep(2500000);
    const pid_t pid = fork();
    if (pid == 0) {
        gauntlet_churn(1000, 2);
        _exit(13);
    }
    printf("child %d\n", gauntlet_wait(pid));
    return 0;
}

static void limit(int resource, rlim_t soft)
{
    struct rlimit now;
    CHECK(getrlimit((__rlimit_resource_t)resource, &now) == 0);
    now.rlim_cur = soft;
    CHECK(setrlimit((__rlimit_resource_t)resource, &now) == 0);
}

/* Runs until memory ends, gives it back, and must be able to go on. */
static int address_space_limit(void)
{
    enum { COUNT = 256 };
    static void *blocks[COUNT];
    const rlim_t now = (rlim_t)gauntlet_status("VmSize") * 1024;
    limit(RLIMIT_AS, now + (64 << 20));
    for (int round = 0; round < 3; round++) {
        int got = 0;
        errno = 0;
        while (got < COUNT && (blocks[got] = malloc(1 << 20)) != NULL)
            got++;
        CHECK(got > 50 && got < 70 && errno == ENOMEM);
        void *const refused = calloc(1, gauntlet_hide(40 << 20));
        CHECK(refused == NULL && errno == ENOMEM);
        free(refused);
        while (got > 0)
            free(blocks[--got]);
        gauntlet_churn(2000, (uint64_t)round);
    }
    return 0;
}

/* Small blocks to the last byte: the allocator fails in the middle of everything. */
static int small_blocks_until_memory_ends(void)
{
    struct link {
        struct link *next;
        unsigned char bytes[200];
    } *first = NULL;
    const rlim_t now = (rlim_t)gauntlet_status("VmSize") * 1024;
    unsigned long count = 0;
    limit(RLIMIT_AS, now + (8 << 20));
    for (;;) {
        errno = 0;
        struct link *const link = malloc(sizeof *link);
        if (link == NULL)
            break;
        memset(link->bytes, 1, sizeof link->bytes);
        link->next = first;
        first = link;
        count++;
    }
    CHECK(errno == ENOMEM);
    CHECK(count > 10000);
    while (first != NULL) {
        struct link *const next = first->next;
        CHECK(first->bytes[199] == 1);
        free(first);
        first = next;
    }
    limit(RLIMIT_AS, RLIM_INFINITY);
    gauntlet_churn(2000, 1);
    return 0;
}

/* A program started under a limit that it lives with natively. */
static int exec_under_limits(void)
{
    if (getenv("GAUNTLET_LIMITED") != NULL) {
        gauntlet_churn(5000, 1);
        const pid_t pid = fork();
        if (pid == 0) {
            gauntlet_churn(1000, 1);
            _exit(2);
        }
        printf("child %d\n", gauntlet_wait(pid));
        return 0;
    }
    setenv("GAUNTLET_LIMITED", "1", 1);
    limit(RLIMIT_FSIZE, 0);
    limit(RLIMIT_STACK, 128 << 10);
    limit(RLIMIT_NOFILE, 4);
    limit(RLIMIT_DATA, 64 << 20);
    limit(RLIMIT_CORE, 0);
    execl(gauntlet_self(), "gauntlet", "exec_under_limits", (char *)NULL);
    return 9;
}

static int no_descriptor_left(void)
{
    limit(RLIMIT_NOFILE, 3);
    gauntlet_churn(5000, 1);
    for (int i = 0; i < 20; i++) {
        const pid_t pid = fork();
        if (pid == 0) {
            gauntlet_churn(500, 1);
            _exit(4);
        }
        CHECK(gauntlet_wait(pid) == 4);
    }
    return 0;
}

static int no_file_may_grow(void)
{
    limit(RLIMIT_FSIZE, 0);
    gauntlet_churn(20000, 1);
    const pid_t pid = fork();
    if (pid == 0) {
        gauntlet_churn(500, 1);
        _exit(4);
    }
    CHECK(gauntlet_wait(pid) == 4);
    return 0;
}

static int stack_limit_changes(void)
{
    gauntlet_churn(1000, 1);
    limit(RLIMIT_STACK, 64 << 10);
    gauntlet_churn(1000, 2);
    limit(RLIMIT_STACK, 4 << 20);
    gauntlet_churn(1000, 3);
    return 0;
}

static int everything_locked(void)
{
    CHECK(mlockall(MCL_CURRENT | MCL_FUTURE) == 0);
    gauntlet_churn(20000, 1);
    void *const large = calloc(1, 3 << 20);
    CHECK(large != NULL);
    free(large);
    CHECK(munlockall() == 0);
    return 0;
}

/* Root becomes nobody in an empty root folder, then forks: nothing outside can be reached. */
static int chroot_and_drop(void)
{
    char folder[] = "/tmp/gauntlet-XXXXXX";
    CHECK(mkdtemp(folder) != NULL);
    if (geteuid() == 0) {
        CHECK(chmod(folder, 0755) == 0);
        const pid_t pid = fork();
        if (pid == 0) {
            const bool dropped =
                chroot(folder) == 0 && chdir("/") == 0 && setgid(65534) == 0 && setuid(65534) == 0;
            gauntlet_churn(1000, 1);
            const pid_t second = fork();
            if (second == 0) {
                gauntlet_churn(1000, 2);
                _exit(6);
            }
            _exit(dropped ? gauntlet_wait(second) : 1);
        }
        CHECK(gauntlet_wait(pid) == 6);
    }
    rmdir(folder);
    return 0;
}

const struct gauntlet_case gauntlet_limit_cases[] = {
    {"million_under_seccomp", million_under_seccomp},
    {"fork_in_sandbox", fork_in_sandbox},
    {"address_space_limit", address_space_limit},
    {"small_blocks_until_memory_ends", small_blocks_until_memory_ends},
    {"exec_under_limits", exec_under_limits},
    {"no_descriptor_left", no_descriptor_left},
    {"no_file_may_grow", no_file_may_grow},
    {"stack_limit_changes", stack_limit_changes},
    {"everything_locked", everything_locked},
    {"chroot_and_drop", chroot_and_drop},
    {NULL, NULL},
};
