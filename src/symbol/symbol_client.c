// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_client.c - the resolver's end of the worker: start it, ask it, end it.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    a client belongs to one thread at a time
 * Allocates:  one buffer for an answer
 * Fails:      see the header
 */
#include "symbol/symbol_client.h"

#include "symbol/symbol_resolver.h"
#include "symbol/symbol_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * Between fork and exec, of a process that may have threads: only calls that are safe after a
 * fork. The environment is built by the parent and holds nothing that changes what is loaded.
 */
static void run_worker(int fd, char *const arguments[], char *const environment[])
{
    if (fd == RTD_SYMBOL_WORKER_FD)
        (void)fcntl(fd, F_SETFD, 0);
    else
        (void)dup2(fd, RTD_SYMBOL_WORKER_FD);
    (void)execve("/proc/self/exe", arguments, environment);
    _exit(127);
}

/* A program that is not `riptide` holds no worker of its own: libriptide in somebody's service. */
#pragma weak rtd_symbol_worker_main

struct arguments {
    char libraries[4096];
    char *words[3], *environment[2];
};

/* Nothing of the caller's environment but where its libraries are. */
static void fill_arguments(struct arguments *arguments, const char *path)
{
    static char name[] = "riptide", argument[] = RTD_SYMBOL_WORKER_ARGUMENT;
    static const char variable[] = "LD_LIBRARY_PATH";

    *arguments = (struct arguments){.words = {name, argument, NULL}};
    if (path && strlen(path) + sizeof(variable) < sizeof(arguments->libraries)) {
        (void)snprintf(arguments->libraries, sizeof(arguments->libraries), "%s=%s", variable, path);
        arguments->environment[0] = arguments->libraries;
    }
}

/* The process id, or negative errno. The child never returns from here. */
static int fork_worker(const struct rtd_symbol_client *client, int fd, bool exec)
{
    struct arguments arguments;

    if (!exec && !rtd_symbol_worker_main)
        return -ENOSYS;
    fill_arguments(&arguments, client->library_path);
    const pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        if (exec)
            run_worker(fd, arguments.words, arguments.environment);
        _exit(rtd_symbol_worker_main(fd));
    }
    return pid;
}

static int spawn_worker(struct rtd_symbol_client *client, const char *program, int fd)
{
    struct arguments arguments;

    fill_arguments(&arguments, client->library_path);
    const struct rtd_symbol_program what = {
        .path = program,
        .arguments = arguments.words,
        .environment = arguments.environment,
        .fd = fd,
        .fd_there = RTD_SYMBOL_WORKER_FD,
    };
    const int pid = rtd_symbol_spawn(&what, &client->pidfd);
    client->is_foreign = pid > 0;
    return pid;
}

int rtd_symbol_client_start(struct rtd_symbol_client *client, enum rtd_symbol_start start,
                            const char *program)
{
    int fds[2] = {-1, -1};

    if (!client->answer)
        client->answer = malloc(sizeof(*client->answer));
    if (!client->answer)
        return -ENOMEM;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    client->is_foreign = false;
    client->pidfd = -1;
    const int pid = start == RTD_SYMBOL_START_PROGRAM
                        ? spawn_worker(client, program, fds[1])
                        : fork_worker(client, fds[1], start == RTD_SYMBOL_START_EXEC);
    (void)close(fds[1]);
    if (pid < 0) {
        (void)close(fds[0]);
        return pid;
    }
    client->pid = pid;
    client->sequence = 0;
    client->fd = fds[0];
    return 0;
}

void rtd_symbol_client_stop(struct rtd_symbol_client *client)
{
    free(client->answer);
    client->answer = NULL;
    if (client->pid <= 0)
        return;
    if (client->is_foreign)
        rtd_symbol_spawn_end(client->pidfd);
    else
        (void)kill(client->pid, SIGKILL);
    (void)close(client->fd);
    /* ECHILD: somebody waits for every child of this process; then it is gone as well. */
    while (!client->is_foreign && waitpid(client->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    client->pid = 0;
    client->pidfd = -1;
    client->fd = -1;
}

uint64_t rtd_symbol_client_cpu_ns(const struct rtd_symbol_client *client)
{
    clockid_t clock;
    struct timespec used;

    /* 1: not known, see symbol_spawn.c. */
    if (client->pid <= 1 || clock_getcpuclockid(client->pid, &clock) != 0 ||
        clock_gettime(clock, &used) != 0)
        return 0;
    return (uint64_t)used.tv_sec * 1000000000U + (uint64_t)used.tv_nsec;
}

/* One packet; the kernel keeps the descriptors alive until the worker takes them. */
static int send_question(const struct rtd_symbol_client *client, const struct rtd_symbol_ask *ask)
{
    struct rtd_symbol_wire_question question = {.magic = RTD_SYMBOL_WIRE_MAGIC,
                                                .sequence = client->sequence,
                                                .offset_count = (uint32_t)ask->offset_count,
                                                .build_id_bytes = (uint32_t)ask->build_id_bytes,
                                                .names_only = ask->names_only};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * RTD_SYMBOL_FILE_COUNT)] = {0};
    int fds[RTD_SYMBOL_FILE_COUNT];
    size_t fd_count = 0;

    for (unsigned i = 0; i < RTD_SYMBOL_FILE_COUNT; i++) {
        if (ask->fds[i] < 0)
            continue;
        fds[fd_count++] = ask->fds[i];
        question.files |= 1U << i;
    }
    if (ask->build_id_bytes)
        memcpy(question.build_id, ask->build_id, ask->build_id_bytes);
    memcpy(question.offsets, ask->offsets, ask->offset_count * sizeof(uint64_t));
    struct iovec data = {.iov_base = &question,
                         .iov_len = offsetof(struct rtd_symbol_wire_question, offsets) +
                                    ask->offset_count * sizeof(uint64_t)};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = CMSG_SPACE(sizeof(int) * fd_count)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (!header)
        return -EINVAL;
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * fd_count);
    /* There is room for one question, and never more than one is under way. */
    while (sendmsg(client->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        if (errno != EINTR)
            return errno == ENOMEM || errno == ENOBUFS ? -ENOMEM : -EPIPE;
    return 0;
}

/* For deadlines: not changed by setting the clock. */
static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits until `deadline` for a packet and reads it into client->answer. */
static int receive(const struct rtd_symbol_client *client, int64_t deadline)
{
    struct rtd_symbol_wire_answer *answer = client->answer;
    const size_t head_bytes = offsetof(struct rtd_symbol_wire_answer, records);

    for (;;) {
        const int64_t left = deadline - now_ms();
        struct pollfd ready = {.fd = client->fd, .events = POLLIN};

        if (left <= 0)
            return -ETIMEDOUT;
        const int count = poll(&ready, 1, left > 60000 ? 60000 : (int)left);
        if (count < 0 && errno != EINTR)
            return -EPIPE;
        if (count <= 0)
            continue;
        /* Descriptors that come with it are dropped by the kernel: no room is given for them. */
        const ssize_t got = recv(client->fd, answer, sizeof(*answer), MSG_DONTWAIT);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got <= 0)
            return -EPIPE;
        if ((size_t)got < head_bytes || answer->magic != RTD_SYMBOL_WIRE_MAGIC ||
            answer->sequence != client->sequence || answer->bytes != (size_t)got - head_bytes)
            return -EPROTO;
        return 0;
    }
}

int rtd_symbol_client_ask(struct rtd_symbol_client *client, const struct rtd_symbol_ask *ask,
                          uint32_t timeout_ms, rtd_symbol_wire_callback callback, void *context)
{
    const int64_t deadline = now_ms() + timeout_ms;

    client->sequence++;
    int err = send_question(client, ask);
    while (err == 0) {
        err = receive(client, deadline);
        if (err < 0)
            break;
        if (client->answer->kind == RTD_SYMBOL_WIRE_DONE) {
            client->is_filtered = client->answer->filtered == 1;
            /* Only what says that the module is at fault; the other codes mean the worker is. */
            const int32_t status = client->answer->status;
            return status == 0 ? 0 : status == -ENOEXEC ? -ENOEXEC : -EBADMSG;
        }
        err = client->answer->kind == RTD_SYMBOL_WIRE_PART
                  ? rtd_symbol_wire_walk(client->answer, (uint32_t)ask->offset_count, callback,
                                         context)
                  : -EPROTO;
    }
    return err;
}
