// SPDX-License-Identifier: Apache-2.0
/*
 * collect_query.c - asks a running collector for a report.
 *
 * Runs in:    `riptide report`
 * Threads:    no shared state
 * Allocates:  the answer
 * Fails:      by a negative errno, see collect_query.h
 */
#include "collect/collect_query.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "collect/collect_process.h"
#include "ledger/ledger_layout.h"

/* A report of a quarter of a million sites is a gigabyte of JSON and takes its time. */
enum { ANSWER_SECONDS = 120, ANCESTOR_MAX = 32 };
#define ANSWER_BYTES_MAX (UINT64_C(4) << 30)

/* Only names of our own form are believed: the process may have put anything there. */
static bool take_name(const char *value, char *name, size_t size)
{
    const size_t length = strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-");

    if (strncmp(value, "riptide-", 8) != 0 || length + 1 > size)
        return false;
    memcpy(name, value, length);
    name[length] = '\0';
    return true;
}

/* RIPTIDE_SOCKET of a process's environment at its exec. */
static int name_from_environment(pid_t pid, char *name, size_t size)
{
    static const char variable[] = RTD_SOCKET_VARIABLE "=";
    char path[64];
    char *entry = NULL;
    size_t capacity = 0;
    int result = -ENOTCONN;

    (void)snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
    FILE *const file = fopen(path, "re");
    if (!file)
        return -errno;
    errno = 0;
    while (getdelim(&entry, &capacity, '\0', file) > 0) {
        if (strncmp(entry, variable, sizeof(variable) - 1) == 0 &&
            take_name(entry + sizeof(variable) - 1, name, size))
            result = 0;
    }
    if (ferror(file) && result < 0 && errno)
        result = -errno;
    free(entry);
    (void)fclose(file);
    return result;
}

/* A collector's own pid: its socket stands in the kernel's list as @riptide-PID-... */
static int name_from_list(pid_t pid, char *name, size_t size)
{
    char prefix[48], *line = NULL;
    size_t capacity = 0;
    int result = -ENOTCONN;

    (void)snprintf(prefix, sizeof(prefix), "@riptide-%d-", (int)pid);
    FILE *const file = fopen("/proc/net/unix", "re");
    if (!file)
        return -errno;
    while (result < 0 && getline(&line, &capacity, file) > 0) {
        const char *const found = strstr(line, prefix);
        if (found && take_name(found + 1, name, size))
            result = 0;
    }
    free(line);
    (void)fclose(file);
    return result;
}

/* A program may have written its title over its environment (redis, nginx): then one of its
 * ancestors is a collector, as a rule. */
static int name_from_ancestors(pid_t pid, char *name, size_t size)
{
    int result = -ENOTCONN;

    for (int depth = 0; result < 0 && depth < ANCESTOR_MAX; depth++) {
        pid = rtd_process_parent(pid);
        if (pid <= 1)
            break;
        result = name_from_list(pid, name, size);
    }
    return result;
}

static int receive_answer(int fd, char **answer, size_t *length_bytes)
{
    struct rtd_query_answer head;
    const ssize_t got = recv(fd, &head, sizeof(head), 0);

    if (got < 0)
        return errno == EAGAIN ? -ETIMEDOUT : -errno;
    if (got != (ssize_t)sizeof(head) || head.magic != RTD_QUERY_MAGIC)
        return -EPROTO;
    if (head.status < 0)
        return head.status;
    if (head.bytes > ANSWER_BYTES_MAX)
        return -EMSGSIZE;
    char *const text = malloc((size_t)head.bytes + 1);
    if (!text)
        return -ENOMEM;
    size_t have = 0;
    while (have < head.bytes) {
        const ssize_t part = recv(fd, text + have, (size_t)head.bytes - have, 0);
        if (part <= 0) {
            const int reason = part == 0 ? EPROTO : errno == EAGAIN ? ETIMEDOUT : errno;
            free(text);
            return -reason;
        }
        have += (size_t)part;
    }
    text[have] = '\0';
    *answer = text;
    *length_bytes = have;
    return head.status > 0 ? 1 : 0;
}

int rtd_collect_ask_at(const char *name, struct rtd_query *query, char **answer,
                       size_t *length_bytes)
{
    const uint32_t action_ms = query->format == RTD_QUERY_GC ? query->top : 0;
    const struct timeval patience = {.tv_sec = ANSWER_SECONDS + action_ms / 1000};
    int result = 0;

    query->magic = RTD_QUERY_MAGIC;
    query->version = RTD_LEDGER_VERSION;
    const int fd = rtd_collect_socket_connect(name);
    if (fd < 0)
        return fd == -ECONNREFUSED ? -ENOTCONN : fd;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (send(fd, query, sizeof(*query), MSG_NOSIGNAL) != (ssize_t)sizeof(*query))
        result = -errno;
    else
        result = receive_answer(fd, answer, length_bytes);
    close(fd);
    return result;
}

int rtd_collect_ask(pid_t pid, struct rtd_query *query, char **answer, size_t *length_bytes)
{
    char name[RTD_SOCKET_NAME_BYTES];
    int result = name_from_list(pid, name, sizeof(name));

    query->pid = 0;
    if (result < 0) {
        if (kill(pid, 0) < 0 && errno == ESRCH)
            return -ESRCH;
        query->pid = (uint32_t)pid;
        result = name_from_environment(pid, name, sizeof(name));
        if (result < 0 && name_from_ancestors(pid, name, sizeof(name)) == 0)
            result = 0;
    }
    if (result < 0)
        return result;
    return rtd_collect_ask_at(name, query, answer, length_bytes);
}
