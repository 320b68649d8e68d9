// SPDX-License-Identifier: Apache-2.0
/*
 * collect_door.c - the callers at the collector's socket: agents and report readers.
 *
 * Runs in:    collector
 * Threads:    the collector's loop
 * Allocates:  answers to report readers, until they are sent
 * Fails:      by shutting the caller out
 */
#include "collect/collect_door.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECOND_NS UINT64_C(1000000000)

enum { HELLO_SECONDS = 2, ANSWER_SECONDS = 30 };

int rtd_door_open(struct rtd_door *door, int epoll_fd)
{
    memset(door, 0, sizeof(*door));
    door->epoll_fd = epoll_fd;
    door->listener = rtd_collect_socket_open(door->name, sizeof(door->name));
    if (door->listener < 0)
        return door->listener;
    return rtd_epoll_add(epoll_fd, door->listener, EPOLLIN, RTD_TAG_LISTENER, 0);
}

static void shut_out(struct rtd_door *door, struct rtd_caller *caller)
{
    if (caller->state == RTD_CALLER_WAITING)
        door->waiting_count--;
    if (caller->state == RTD_CALLER_ASKING)
        door->asking_count--;
    close(caller->fd);
    free(caller->answer);
    memset(caller, 0, sizeof(*caller));
    door->caller_count--;
}

void rtd_door_close(struct rtd_door *door)
{
    for (unsigned i = 0; i < RTD_DOOR_CALLERS; i++) {
        if (door->callers[i].state != RTD_CALLER_NONE)
            shut_out(door, &door->callers[i]);
    }
    if (door->listener >= 0)
        close(door->listener);
    door->listener = -1;
}

static void answer_hello(struct rtd_door *door, struct rtd_family *family,
                         struct rtd_caller *caller, const struct rtd_hello *hello)
{
    struct rtd_collect_process *process = NULL;
    int status = -EPERM;

    if (hello->kind == RTD_HELLO_JOIN) {
        process = caller->stranger ? NULL : rtd_family_recording(family, caller->pid);
        status = process ? 0 : -ESRCH;
    } else if (!caller->stranger || rtd_family_knows(family, caller->pid)) {
        status = rtd_family_admit(family, caller->pid, hello, &process);
    }
    (void)rtd_collect_socket_welcome(caller->fd, status,
                                     status == 0 ? process->ledger.handle.fd : -1);
    shut_out(door, caller);
}

static void hear(struct rtd_door *door, struct rtd_family *family, struct rtd_caller *caller)
{
    union {
        uint32_t magic;
        struct rtd_hello hello;
        struct rtd_query query;
        char bytes[256];
    } message;
    const ssize_t size = recv(caller->fd, &message, sizeof(message), MSG_DONTWAIT);

    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (size == (ssize_t)sizeof(message.hello) && message.magic == RTD_HANDSHAKE_MAGIC &&
        caller->state == RTD_CALLER_CONNECTED) {
        answer_hello(door, family, caller, &message.hello);
        return;
    }
    if (size == (ssize_t)sizeof(message.query) && message.magic == RTD_QUERY_MAGIC &&
        message.query.version == RTD_LEDGER_VERSION && !caller->stranger &&
        caller->state == RTD_CALLER_CONNECTED) {
        caller->query = message.query;
        caller->since_ns = rtd_collect_now_ns();
        if (message.query.format == RTD_QUERY_GC) {
            caller->state = RTD_CALLER_ASKING;
            door->asking_count++;
        } else {
            caller->state = RTD_CALLER_WAITING;
            door->waiting_count++;
        }
        return;
    }
    if (caller->state != RTD_CALLER_IN_JOB && caller->state != RTD_CALLER_ACTING) {
        shut_out(door, caller);
        return;
    }
    /* It hung up while somebody works for it: no more events, or the loop never sleeps. */
    caller->hung_up = true;
    (void)epoll_ctl(door->epoll_fd, EPOLL_CTL_DEL, caller->fd, NULL);
}

static void send_more(struct rtd_door *door, struct rtd_caller *caller)
{
    while (caller->sent_bytes < caller->length_bytes) {
        size_t size = caller->length_bytes - caller->sent_bytes;
        if (size > RTD_CHUNK_BYTES)
            size = RTD_CHUNK_BYTES;
        const ssize_t sent = send(caller->fd, caller->answer + caller->sent_bytes, size,
                                  MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent <= 0)
            break;
        caller->sent_bytes += (size_t)sent;
    }
    shut_out(door, caller);
}

void rtd_door_accept(struct rtd_door *door, struct rtd_family *family)
{
    for (;;) {
        pid_t pid = 0;
        bool stranger = false;
        unsigned index = 0;
        const int fd = rtd_collect_socket_accept(door->listener, &pid, &stranger);
        if (fd == -EPERM)
            continue;
        if (fd < 0)
            return;
        if (door->caller_count == RTD_DOOR_CALLERS) {
            close(fd); /* left waiting, it would keep the loop awake */
            continue;
        }
        while (door->callers[index].state != RTD_CALLER_NONE)
            index++;
        struct rtd_caller *const caller = &door->callers[index];
        *caller = (struct rtd_caller){.state = RTD_CALLER_CONNECTED,
                                      .fd = fd,
                                      .pid = pid,
                                      .stranger = stranger,
                                      .since_ns = rtd_collect_now_ns()};
        door->caller_count++;
        /* An agent sends right after it connected: most hellos are there already. */
        hear(door, family, caller);
        if (caller->state != RTD_CALLER_NONE &&
            rtd_epoll_add(door->epoll_fd, fd, EPOLLIN, RTD_TAG_CALLER, index) < 0)
            shut_out(door, caller);
    }
}

void rtd_door_serve(struct rtd_door *door, struct rtd_family *family, unsigned index)
{
    if (index >= RTD_DOOR_CALLERS)
        return;
    struct rtd_caller *const caller = &door->callers[index];
    if (caller->state == RTD_CALLER_SENDING)
        send_more(door, caller);
    else if (caller->state != RTD_CALLER_NONE)
        hear(door, family, caller);
}

void rtd_door_expire(struct rtd_door *door, uint64_t now_ns)
{
    if (door->caller_count == 0)
        return;
    for (unsigned i = 0; i < RTD_DOOR_CALLERS; i++) {
        struct rtd_caller *const caller = &door->callers[i];
        const uint64_t limit =
            (caller->state == RTD_CALLER_CONNECTED ? HELLO_SECONDS : ANSWER_SECONDS) * SECOND_NS;
        if (caller->state != RTD_CALLER_NONE && caller->state != RTD_CALLER_IN_JOB &&
            caller->state != RTD_CALLER_ACTING && now_ns - caller->since_ns > limit)
            shut_out(door, caller);
    }
}

void rtd_door_collect(struct rtd_door *door, struct rtd_job *job)
{
    for (unsigned i = 0; i < RTD_DOOR_CALLERS && job->query_count < RTD_JOB_QUERIES; i++) {
        struct rtd_caller *const caller = &door->callers[i];
        if (caller->state != RTD_CALLER_WAITING)
            continue;
        caller->state = RTD_CALLER_IN_JOB;
        door->waiting_count--;
        job->queries[job->query_count++] =
            (struct rtd_job_query){.query = caller->query, .caller = i};
    }
}

bool rtd_door_next_asking(struct rtd_door *door, unsigned *index)
{
    for (unsigned i = 0; i < RTD_DOOR_CALLERS && door->asking_count > 0; i++) {
        if (door->callers[i].state != RTD_CALLER_ASKING)
            continue;
        door->callers[i].state = RTD_CALLER_ACTING;
        door->asking_count--;
        *index = i;
        return true;
    }
    return false;
}

void rtd_door_answer(struct rtd_door *door, unsigned index, int status, char *text,
                     size_t length_bytes)
{
    struct rtd_caller *const caller = &door->callers[index];
    struct epoll_event event = {.events = EPOLLOUT,
                                .data.u64 = ((uint64_t)RTD_TAG_CALLER << 32) | index};
    const struct rtd_query_answer head = {
        .magic = RTD_QUERY_MAGIC,
        .status = status,
        .bytes = status >= 0 ? length_bytes : 0,
    };
    caller->state = RTD_CALLER_SENDING;
    caller->since_ns = rtd_collect_now_ns();
    caller->answer = text;
    caller->length_bytes = (size_t)head.bytes;
    if (send(caller->fd, &head, sizeof(head), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ||
        epoll_ctl(door->epoll_fd, EPOLL_CTL_MOD, caller->fd, &event) < 0)
        shut_out(door, caller);
    else
        send_more(door, caller);
}

void rtd_door_deliver(struct rtd_door *door, struct rtd_job *job)
{
    for (unsigned i = 0; i < job->query_count; i++) {
        struct rtd_job_query *const query = &job->queries[i];
        char *const answer = query->answer;
        query->answer = NULL;
        rtd_door_answer(door, query->caller, query->status, answer, query->length_bytes);
    }
}
