// SPDX-License-Identifier: Apache-2.0
/*
 * gauntlet_processes.c - fork, clone, exec, spawn, daemons, and what a process can see of itself.
 *
 * Runs in:    the program under test
 * Threads:    up to eight beside the forking one
 * Allocates:  its whole point
 * Fails:      through CHECK
 */
#include "gauntlet.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int child_work(int status)
{
    gauntlet_churn(300, (uint64_t)status);
    _exit(status);
}

static int fork_single(void)
{
    unsigned char *const inherited = malloc(300);
    memset(inherited, 9, 300);
    const pid_t pid = fork();
    if (pid == 0) {
        const bool whole = inherited[299] == 9;
        free(realloc(inherited, 5000));
        child_work(whole ? 11 : 12);
    }
    printf("child %d\n", gauntlet_wait(pid));
    free(inherited);
    return 0;
}

static void *forking_thread(void *argument)
{
    const pid_t pid = fork();
    if (pid == 0)
        child_work(5);
    *(int *)argument = gauntlet_wait(pid);
    return NULL;
}

static int fork_from_thread(void)
{
    int status = 0;
    pthread_t thread;
    pthread_create(&thread, NULL, forking_thread, &status);
    pthread_join(thread, NULL);
    printf("child %d\n", status);
    return 0;
}

static atomic_bool stop;

static void *churn_until_stopped(void *argument)
{
    while (!atomic_load(&stop)) {
        gauntlet_churn(50, (uintptr_t)argument);
        usleep(1000);
    }
    return NULL;
}

static void start_churners(pthread_t *threads, size_t count)
{
    atomic_store(&stop, false);
    for (size_t i = 0; i < count; i++)
        CHECK(pthread_create(&threads[i], NULL, churn_until_stopped, (void *)i) == 0);
}

static void stop_churners(const pthread_t *threads, size_t count)
{
    atomic_store(&stop, true);
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

static int fork_storm(void)
{
    enum { THREADS = 8, FORKS = 500 };
    pthread_t threads[THREADS];
    int good = 0;
    start_churners(threads, THREADS);
    for (int i = 0; i < FORKS; i++) {
        const pid_t pid = fork();
        if (pid == 0)
            child_work(i % 50);
        good += gauntlet_wait(pid) == i % 50;
    }
    stop_churners(threads, THREADS);
    printf("%d children\n", good);
    return 0;
}

static int fork_tree(void)
{
    for (int depth = 0; depth < 5; depth++) {
        gauntlet_churn(200, (uint64_t)depth);
        const pid_t pid = fork();
        if (pid == 0)
            continue;
        const int status = gauntlet_wait(pid);
        if (depth == 0) {
            printf("depth %d\n", status);
            return 0;
        }
        _exit(status);
    }
    child_work(5);
    return 0;
}

/* _Fork() runs no handlers, so the child may not allocate by the book; glibc lets it, when the
 * parent has one thread. */
static int fork_without_handlers(void)
{
    const pid_t pid = _Fork();
    if (pid == 0)
        child_work(21);
    printf("child %d\n", gauntlet_wait(pid));
    return 0;
}

static int raw_clone(void)
{
    gauntlet_churn(100, 1);
    const long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) {
        gauntlet_churn(5000, 2);
        const pid_t grandchild = fork();
        if (grandchild == 0)
            child_work(3);
        _exit(gauntlet_wait(grandchild) + 20);
    }
    printf("child %d\n", gauntlet_wait((int)pid));
    gauntlet_churn(100, 3);
    return 0;
}

static int shared_memory_child(void *argument)
{
    unsigned char **const out = argument;
    gauntlet_churn(300, 5);
    *out = malloc(777);
    memset(*out, 3, 777);
    return 8;
}

static int clone_sharing_memory(void)
{
    enum { STACK_BYTES = 65536 };
    static unsigned char *block;
    for (int i = 0; i < 20; i++) {
        unsigned char *const stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        const int pid = clone(shared_memory_child, stack + STACK_BYTES,
                              CLONE_VM | CLONE_VFORK | SIGCHLD, &block);
        CHECK(gauntlet_wait(pid) == 8);
        CHECK(block[776] == 3);
        free(block);
        munmap(stack, STACK_BYTES);
    }
    return 0;
}

__attribute__((noinline)) static pid_t vfork_shell(void)
{
    /* NOLINTNEXTLINE(clang-analyzer-security.insecureAPI.vfork): it is what is tested */
    const pid_t pid = vfork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", "exit 4", (char *)NULL);
        _exit(127);
    }
    return pid;
}

static int vfork_exec(void)
{
    int good = 0;
    for (int i = 0; i < 20; i++) {
        good += gauntlet_wait(vfork_shell()) == 4;
        gauntlet_churn(200, 1);
    }
    printf("%d children\n", good);
    return 0;
}

static int spawn(void)
{
    char *const arguments[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c",
                               (char *)(uintptr_t) "echo spawned; exit 6", NULL};
    for (int i = 0; i < 5; i++) {
        pid_t pid = -1;
        fflush(stdout);
        CHECK(posix_spawn(&pid, "/bin/sh", NULL, NULL, arguments, environ) == 0);
        CHECK(gauntlet_wait(pid) == 6);
        gauntlet_churn(200, 1);
    }
    return 0;
}

static int exec_itself(void)
{
    const char *const count = getenv("GAUNTLET_EXECS");
    const int left = count != NULL ? atoi(count) : 5;
    char text[16];
    gauntlet_churn(300, 2);
    printf("%d left\n", left);
    if (left == 0)
        return 0;
    snprintf(text, sizeof text, "%d", left - 1);
    setenv("GAUNTLET_EXECS", text, 1);
    fflush(stdout);
    execl(gauntlet_self(), "gauntlet", "exec_itself", (char *)NULL);
    return 9;
}

/* The grandchild reports through a pipe, when its parents are gone. */
static int daemonize(void)
{
    int ends[2];
    int result = 0;
    CHECK(pipe(ends) == 0);
    const pid_t pid = fork();
    if (pid == 0) {
        setsid();
        if (fork() != 0)
            _exit(0);
        close(0);
        for (int fd = 3; fd < 1024; fd++)
            if (fd != ends[1])
                close(fd);
        CHECK(chdir("/") == 0);
        gauntlet_churn(2000, 4);
        const int value = 4711;
        _exit(write(ends[1], &value, sizeof value) == (ssize_t)sizeof value ? 0 : 1);
    }
    close(ends[1]);
    CHECK(gauntlet_wait(pid) == 0);
    CHECK(read(ends[0], &result, sizeof result) == (ssize_t)sizeof result);
    printf("daemon says %d\n", result);
    return 0;
}

/* ---- what a process sees of itself ---- */

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void print_environment(void)
{
    size_t count = 0;
    while (environ[count] != NULL)
        count++;
    char **const sorted = malloc((count + 1) * sizeof *sorted);
    memcpy(sorted, environ, (count + 1) * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_texts);
    for (size_t i = 0; i < count; i++)
        if (strncmp(sorted[i], "LD_PRELOAD=", 11) != 0 && strncmp(sorted[i], "RIPTIDE_", 8) != 0)
            puts(sorted[i]);
    free(sorted);
}

static void print_descriptors(void)
{
    for (int fd = 0; fd < 2000; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            printf("fd %d flags %d\n", fd, fcntl(fd, F_GETFD));
}

static int visible_state(void)
{
    sigset_t mask;
    struct rlimit limit;
    char cwd[4096];
    gauntlet_churn(5000, 3);
    print_environment();
    print_descriptors();
    sigprocmask(SIG_BLOCK, NULL, &mask);
    for (int signal = 1; signal < 65; signal++) {
        struct sigaction action;
        if (sigaction(signal, NULL, &action) == 0)
            printf("%d:%d%d ", signal, sigismember(&mask, signal), action.sa_handler == SIG_DFL);
    }
    printf("\nthreads %ld umask %o cwd %s\n", gauntlet_status("Threads"), (unsigned)umask(022),
           getcwd(cwd, sizeof cwd));
    for (int resource = 0; resource < RLIM_NLIMITS; resource++)
        if (getrlimit((__rlimit_resource_t)resource, &limit) == 0)
            printf("limit %d %lu %lu\n", resource, limit.rlim_cur, limit.rlim_max);
    printf("seccomp %ld dumpable %ld children %d\n", gauntlet_status("Seccomp"),
           gauntlet_status("NoNewPrivs"), waitpid(-1, NULL, WNOHANG) < 0 ? errno : 0);
    return 0;
}

/* ---- every descriptor closed, the numbers given out again ---- */

static bool file_is(const char *path, const char *text)
{
    char buffer[64] = {0};
    const int fd = open(path, O_RDONLY);
    const ssize_t length = read(fd, buffer, sizeof buffer - 1);
    close(fd);
    return length == (ssize_t)strlen(text) && strcmp(buffer, text) == 0;
}

static int write_with_all_closed(const char *folder)
{
    char path[8][256];
    for (int fd = 0; fd < 1024; fd++)
        close(fd);
    for (int i = 0; i < 8; i++) {
        snprintf(path[i], sizeof path[i], "%s/file%d", folder, i);
        if (open(path[i], O_WRONLY | O_CREAT | O_TRUNC, 0600) != i)
            return 30 + i;
    }
    gauntlet_churn(20000, 6);
    const pid_t pid = fork();
    if (pid == 0)
        child_work(1);
    if (gauntlet_wait(pid) != 1)
        return 40;
    for (int i = 0; i < 8; i++)
        if (write(i, path[i], 5) != 5)
            return 50 + i;
    gauntlet_churn(20000, 7);
    for (int i = 0; i < 8; i++) {
        close(i);
        const char expected[6] = {path[i][0], path[i][1], path[i][2], path[i][3], path[i][4], '\0'};
        if (!file_is(path[i], expected))
            return 60 + i;
        unlink(path[i]);
    }
    return 1;
}

static int all_descriptors_closed(void)
{
    char folder[] = "/tmp/gauntlet-XXXXXX";
    CHECK(mkdtemp(folder) != NULL);
    const pid_t pid = fork();
    if (pid == 0)
        _exit(write_with_all_closed(folder));
    printf("child %d\n", gauntlet_wait(pid));
    rmdir(folder);
    return 0;
}

const struct gauntlet_case gauntlet_process_cases[] = {
    {"fork_single", fork_single},
    {"fork_from_thread", fork_from_thread},
    {"fork_storm", fork_storm},
    {"fork_tree", fork_tree},
    {"fork_without_handlers", fork_without_handlers},
    {"raw_clone", raw_clone},
    {"clone_sharing_memory", clone_sharing_memory},
    {"vfork_exec", vfork_exec},
    {"spawn", spawn},
    {"exec_itself", exec_itself},
    {"daemonize", daemonize},
    {"visible_state", visible_state},
    {"all_descriptors_closed", all_descriptors_closed},
    {NULL, NULL},
};
