// SPDX-License-Identifier: Apache-2.0
/*
 * collect_launch.c - finds and starts the program, changing nothing about it but two variables.
 *
 * Runs in:    `riptide run`, before the collector's loop; the last part in the forked child
 * Threads:    none
 * Allocates:  strings and the environment array; a child process
 * Fails:      by a negative errno
 */
#include "collect/collect_launch.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base_macros.h"
#include "ledger/ledger_handshake.h"

#define AGENT_NAME       "libriptide-agent.so"
#define PRELOAD_VARIABLE "LD_PRELOAD"

/* 0 when path is a file that may be executed. */
static int executable_file(const char *path)
{
    struct stat info;

    if (stat(path, &info) < 0)
        return -errno;
    if (S_ISDIR(info.st_mode))
        return -EISDIR;
    if (!S_ISREG(info.st_mode) || access(path, X_OK) < 0)
        return -EACCES;
    return 0;
}

/* PATH as execvp() reads it: an empty part is the current directory; denied is remembered. */
static int search_path(const char *name, char *out, size_t size)
{
    const char *path = getenv("PATH");
    int result = -ENOENT;

    if (!path)
        path = "/bin:/usr/bin";
    for (const char *at = path;; at++) {
        const size_t length = strcspn(at, ":");
        const int written = length ? snprintf(out, size, "%.*s/%s", (int)length, at, name)
                                   : snprintf(out, size, "./%s", name);
        if (written > 0 && (size_t)written < size) {
            const int found = executable_file(out);
            if (found == 0)
                return 0;
            if (found == -EACCES)
                result = found;
        }
        at += length;
        if (!*at)
            return result;
    }
}

int rtd_launch_find(const char *name, char *out, size_t size)
{
    if (!name[0])
        return -ENOENT;
    if (!strchr(name, '/'))
        return search_path(name, out, size);
    if ((size_t)snprintf(out, size, "%s", name) >= size)
        return -ENAMETOOLONG;
    return executable_file(out);
}

static int usable_in_preload(const char *path)
{
    return strpbrk(path, " \t\n:;") ? -EINVAL : 0;
}

/* `pattern` is relative to the directory of our executable and may hold a *. */
static int try_agent(const char *directory, const char *pattern, char *out, size_t size)
{
    char text[PATH_MAX];
    glob_t found;
    int result = -ENOENT;

    if ((size_t)snprintf(text, sizeof(text), "%s/%s/" AGENT_NAME, directory, pattern) >=
        sizeof(text))
        return -ENAMETOOLONG;
    memset(&found, 0, sizeof(found));
    if (glob(text, 0, NULL, &found) == 0 && found.gl_pathc > 0) {
        char real[PATH_MAX];
        if (realpath(found.gl_pathv[0], real) && (size_t)snprintf(out, size, "%s", real) < size)
            result = 0;
    }
    globfree(&found);
    return result;
}

int rtd_launch_agent(char *out, size_t size)
{
    static const char *const places[] = {"../agent", "../lib/*/riptide", "../lib/riptide",
                                         "../lib64/riptide"};
    const char *const given = getenv("RIPTIDE_AGENT");
    char self[PATH_MAX];

    if (given && given[0]) {
        char real[PATH_MAX];
        const bool found = realpath(given, real) != NULL;
        (void)snprintf(out, size, "%s", found ? real : given);
        return found ? usable_in_preload(out) : -ENOENT;
    }
    const ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (length <= 0)
        return -ENOENT;
    self[length] = '\0';
    *strrchr(self, '/') = '\0';
    (void)snprintf(out, size, "%s/../lib/riptide/" AGENT_NAME, self);
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(places); i++) {
        if (try_agent(self, places[i], out, size) == 0)
            return usable_in_preload(out);
    }
    return -ENOENT;
}

static bool names_variable(const char *entry, const char *name)
{
    const size_t length = strlen(name);

    return strncmp(entry, name, length) == 0 && entry[length] == '=';
}

char **rtd_launch_environment(const char *agent, const char *socket_name)
{
    extern char **environ;
    const char *const preload = getenv(PRELOAD_VARIABLE);
    const bool keep = preload && preload[0];
    size_t count = 0, used = 0;

    while (environ && environ[count])
        count++;
    const size_t table = (count + 3) * sizeof(char *);
    const size_t text = strlen(agent) + (keep ? strlen(preload) : 0) + strlen(socket_name) +
                        sizeof(PRELOAD_VARIABLE "=:") + sizeof(RTD_SOCKET_VARIABLE "=");
    char **const result = malloc(table + text);
    if (!result)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        if (!names_variable(environ[i], PRELOAD_VARIABLE) &&
            !names_variable(environ[i], RTD_SOCKET_VARIABLE))
            result[used++] = environ[i];
    }
    char *at = (char *)result + table;
    result[used++] = at;
    at += sprintf(at, PRELOAD_VARIABLE "=%s%s%s", agent, keep ? ":" : "", keep ? preload : "") + 1;
    result[used++] = at;
    (void)sprintf(at, RTD_SOCKET_VARIABLE "=%s", socket_name);
    result[used] = NULL;
    return result;
}

/* In the child. The parent's death or refusal is end of file on the pipe: then nothing starts. */
static _Noreturn void child_main(int go_fd, int error_fd, const char *path,
                                 char *const *const *rows)
{
    char word = 0;
    ssize_t got = 0;

    do {
        got = read(go_fd, &word, 1);
    } while (got < 0 && errno == EINTR);
    if (got == 1) {
        execve(path, rows[0], rows[1]);
        const int reason = errno;
        while (write(error_fd, &reason, sizeof(reason)) < 0 && errno == EINTR)
            continue;
    }
    _exit(127);
}

int rtd_launch_fork(struct rtd_launch *launch, const char *path, char *const argv[],
                    char *const envp[])
{
    int go[2] = {-1, -1}, error[2] = {-1, -1};
    char *const *const rows[2] = {argv, envp};
    int result = 0;

    launch->pid = -1;
    launch->go_fd = launch->error_fd = -1;
    if (pipe2(go, O_CLOEXEC) < 0 || pipe2(error, O_CLOEXEC) < 0) {
        result = -errno;
        goto out;
    }
    launch->pid = fork();
    if (launch->pid < 0) {
        result = -errno;
        goto out;
    }
    if (launch->pid == 0) {
        /* Only the parent may hold the write end, or its death would go unseen. */
        close(go[1]);
        child_main(go[0], error[1], path, rows);
    }
    launch->go_fd = go[1];
    launch->error_fd = error[0];
    go[1] = error[0] = -1;
out:
    for (int i = 0; i < 2; i++) {
        if (go[i] >= 0)
            close(go[i]);
        if (error[i] >= 0)
            close(error[i]);
    }
    return result;
}

static void close_pipes(struct rtd_launch *launch)
{
    if (launch->go_fd >= 0)
        close(launch->go_fd);
    if (launch->error_fd >= 0)
        close(launch->error_fd);
    launch->go_fd = launch->error_fd = -1;
}

int rtd_launch_go(struct rtd_launch *launch)
{
    int reason = 0;
    ssize_t got = 0;

    /* A child that is gone by now is found by its status, like one that goes a moment later. */
    while (write(launch->go_fd, "g", 1) < 0 && errno == EINTR)
        continue;
    do {
        got = read(launch->error_fd, &reason, sizeof(reason));
    } while (got < 0 && errno == EINTR);
    close_pipes(launch);
    return got == (ssize_t)sizeof(reason) ? -reason : 0;
}

void rtd_launch_cancel(struct rtd_launch *launch)
{
    close_pipes(launch);
    if (launch->pid > 0) {
        while (waitpid(launch->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    launch->pid = -1;
}
