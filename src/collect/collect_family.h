// SPDX-License-Identifier: Apache-2.0
/*
 * collect_family.h - all process images of a run: who is live, who ended, who is kept.
 *
 * Runs in:    collector
 * Threads:    the collector's loop; see collect_process.h for the records
 * Allocates:  processes, at most RTD_FAMILY_LIVE live and RTD_FAMILY_ENDED ended ones
 * Fails:      a process beyond the limits gets no ledger and is counted as unobserved
 *
 * Invariants: live and ended hold each image once; ids grow with time and are never used twice;
 * image 0 is the first of the program that was run and is never dropped. A process is named by pid
 * and start time, so a pid that the kernel gives away again is another process.
 */
#ifndef RTD_COLLECT_FAMILY_H
#define RTD_COLLECT_FAMILY_H

#include "collect/collect_process.h"
#include "collect/collect_recorder.h"
#include "ledger/ledger_handshake.h"

enum {
    RTD_FAMILY_LIVE = 256,
    RTD_FAMILY_ENDED = 200,
    RTD_FAMILY_UNSAMPLED = 32, /* ended images without any sample that are kept */
    RTD_FAMILY_STRANGERS = 64,
};

/* What the loop's epoll set says: kind in the upper half of the tag. */
enum rtd_tag_kind {
    RTD_TAG_LISTENER = 1,
    RTD_TAG_SIGNAL,
    RTD_TAG_SERVER,
    RTD_TAG_REPORTER,
    RTD_TAG_CALLER,  /* lower half: index of the connection */
    RTD_TAG_PROCESS, /* lower half: id of the process */
};

/* A descendant that never said hello, and since when it is known. */
struct rtd_stranger {
    pid_t pid;
    pid_t parent;
    uint64_t start_time, seen_ns;
};

struct rtd_family {
    struct rtd_pool pool;
    int epoll_fd; /* borrowed */
    pid_t root_pid;
    uint64_t start_ns;   /* when the program was let go */
    const char *trouble; /* why the collector can observe nobody, or NULL */
    struct rtd_collect_process *live[RTD_FAMILY_LIVE];
    unsigned live_count;
    bool maps_busy; /* mapping events come faster than ticks can follow */
    struct rtd_collect_process *ended[RTD_FAMILY_ENDED];
    unsigned ended_count, unsampled_count;
    struct rtd_stranger strangers[RTD_FAMILY_STRANGERS];
    unsigned stranger_count;
    uint32_t next_id;
    bool someone_gone; /* a death waits for _settle() */
    uint64_t dropped_count;
    uint64_t scan_ns;
};

/* Adds descriptor to an epoll set under a tag. 0 or a negative errno. */
int rtd_epoll_add(int epoll_fd, int fd, uint32_t events, enum rtd_tag_kind kind, uint32_t value);

void rtd_family_init(struct rtd_family *family, const struct rtd_ledger_options *options,
                     int epoll_fd);
void rtd_family_fini(struct rtd_family *family);

/* Image 0, of the program that is about to start; command and executable as they will be. 0 or
 * -ENOMEM. */
int rtd_family_root_new(struct rtd_family *family, pid_t pid, const char *command,
                        const char *executable);

/* The newest image of the program that was run; NULL before _root_new(). */
struct rtd_collect_process *rtd_family_root(const struct rtd_family *family);

/*
 * A process said hello: finds or makes its image and gives it a ledger. The image it replaces is
 * marked as ending. 0 with *out (owned by the family), or a negative errno for the agent.
 */
int rtd_family_admit(struct rtd_family *family, pid_t pid, const struct rtd_hello *hello,
                     struct rtd_collect_process **out);

/* True when pid is observed, or its parent is: it belongs to this run, whoever owns it now. */
bool rtd_family_knows(const struct rtd_family *family, pid_t pid);

/* The newest image of that pid, if it lives and has a ledger; borrowed. NULL otherwise. */
struct rtd_collect_process *rtd_family_recording(struct rtd_family *family, pid_t pid);

/* The process of that id is dead. */
void rtd_family_gone(struct rtd_family *family, uint32_t id);

/* The program that was run ended; what waitid() said. */
void rtd_family_root_gone(struct rtd_family *family, int exit_code, int signal);

/* Ticks all clocks and adapts intervals. Allowed while a report is made. */
void rtd_family_tick(struct rtd_family *family, uint64_t now_ns);

/* Reads the mapping events of all processes, between ticks while maps_busy. Allowed as _tick. */
void rtd_family_maps(struct rtd_family *family, uint64_t now_ns);

/* Carries out the ends that were seen, so that ledgers can be used again. Records must be free. */
void rtd_family_settle(struct rtd_family *family, struct rtd_recorder *recorder, uint64_t now_ns);

/* Everything else that is due: checks, points, series, strangers. Records must be free. */
void rtd_family_tend(struct rtd_family *family, uint64_t now_ns);

/* All images in order of id into out (room for LIVE + ENDED); their number. */
unsigned rtd_family_list(const struct rtd_family *family, struct rtd_collect_process **out);

#endif
