// SPDX-License-Identifier: Apache-2.0
/*
 * collect_door.h - the callers at the collector's socket: agents and report readers.
 *
 * Runs in:    collector
 * Threads:    the collector's loop
 * Allocates:  answers to report readers, until they are sent
 * Fails:      a caller that says nothing sensible, or nothing in time, is shut out
 *
 * A caller: connected --hello--> answered, gone
 *                     --query--> waiting --job done--> sending --all sent--> gone
 *                     --RTD_QUERY_GC--> asking --begun--> acting --answered--> sending
 */
#ifndef RTD_COLLECT_DOOR_H
#define RTD_COLLECT_DOOR_H

#include "collect/collect_family.h"
#include "collect/collect_reporter.h"

enum { RTD_DOOR_CALLERS = 64 };

enum rtd_caller_state {
    RTD_CALLER_NONE,
    RTD_CALLER_CONNECTED,
    RTD_CALLER_WAITING, /* asked for a report that no job has begun */
    RTD_CALLER_IN_JOB,
    RTD_CALLER_ASKING, /* for an action that nobody has begun */
    RTD_CALLER_ACTING,
    RTD_CALLER_SENDING,
};

struct rtd_caller {
    enum rtd_caller_state state;
    int fd;
    pid_t pid;
    bool hung_up;  /* while its action is under way */
    bool stranger; /* another user's: gets a ledger only as a descendant, and no report */
    uint64_t since_ns;
    struct rtd_query query;
    char *answer; /* owned */
    size_t length_bytes, sent_bytes;
};

struct rtd_door {
    int epoll_fd; /* borrowed */
    int listener; /* owned; -1: none */
    char name[RTD_SOCKET_NAME_BYTES];
    struct rtd_caller callers[RTD_DOOR_CALLERS];
    unsigned caller_count, waiting_count, asking_count;
};

/* Opens the socket and adds it to the epoll set. 0 or a negative errno; _close() either way. */
int rtd_door_open(struct rtd_door *door, int epoll_fd);
void rtd_door_close(struct rtd_door *door);

/* The listener is readable: takes in who waits. */
void rtd_door_accept(struct rtd_door *door, struct rtd_family *family);

/* A caller's descriptor has an event. */
void rtd_door_serve(struct rtd_door *door, struct rtd_family *family, unsigned index);

/* Shuts out callers that have been silent for too long. */
void rtd_door_expire(struct rtd_door *door, uint64_t now_ns);

/* Moves waiting queries into a job, as many as fit. */
void rtd_door_collect(struct rtd_door *door, struct rtd_job *job);

/* The next caller that asks for an action, from then on acting; false when there is none. */
bool rtd_door_next_asking(struct rtd_door *door, unsigned *index);

/* Answers one that is acting; text is taken over, NULL with a negative status. */
void rtd_door_answer(struct rtd_door *door, unsigned index, int status, char *text,
                     size_t length_bytes);

/* Takes the answers of a finished job over and sends them. */
void rtd_door_deliver(struct rtd_door *door, struct rtd_job *job);

#endif
