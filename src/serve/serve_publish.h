// SPDX-License-Identifier: Apache-2.0
/*
 * serve_publish.h - the newest report, shared between the collector and the requests.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    one publisher, any number of readers
 * Allocates:  one object a report; the rendered answers
 * Fails:      when memory is short the older report stays; a reader gets no answer
 *
 *   request --(report older than 1 s)--> eventfd --> collector's loop --publish--> condition
 *
 * Why readers wait a bounded time from the first who asked, and not each its own: with a stalled
 * collector the first requests lose two seconds and the later ones are answered at once from what
 * there is.
 *
 * Why answers are kept beside the report: a page asked for by a hundred clients is rendered once.
 */
#ifndef RTD_SERVE_PUBLISH_H
#define RTD_SERVE_PUBLISH_H

#include "analyze/analyze_report.h"

#include <microhttpd.h>
#include <pthread.h>

enum { RTD_PUBLISH_ANSWERS = 8, RTD_PUBLISH_FRESH_MS = 1000, RTD_PUBLISH_WAIT_MS = 2000 };

/* One published report with the answers made from it. Counted by its board. */
struct rtd_published {
    struct rtd_report *report; /* owned, immutable */
    uint64_t at_ms;            /* monotonic */
    unsigned references;       /* guarded by the board's lock */
    pthread_mutex_t lock;      /* guards answers */
    struct MHD_Response *answers[RTD_PUBLISH_ANSWERS];
};

struct rtd_board {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct rtd_published *newest; /* NULL before the first; the board holds one reference */
    uint64_t sequence;            /* reports published so far */
    uint64_t wanted_since_ms;     /* first request not answered by a publication, 0 = none */
    uint64_t asked_ms;            /* last write to the eventfd */
    int wanted_fd;                /* eventfd, close-on-exec */
    bool stopping;
};

/* 0 or a negative errno; after a failure there is nothing to finish. */
int rtd_board_init(struct rtd_board *board);

/* Only when no reader is left. */
void rtd_board_fini(struct rtd_board *board);

/* Wakes all waiting readers for good. */
void rtd_board_stop(struct rtd_board *board);

/*
 * Takes the report (not NULL) over, whatever happens. The older one is freed here, or by the reader
 * that still holds it. The collector's loop only.
 */
void rtd_board_publish(struct rtd_board *board, struct rtd_report *report);

/*
 * The newest report, waiting for a fresh one as described above when wait is true; NULL before the
 * first, which is then asked for. The caller gives it back with rtd_board_release().
 */
struct rtd_published *rtd_board_borrow(struct rtd_board *board, bool wait);
void rtd_board_release(struct rtd_board *board, struct rtd_published *published);

/* Milliseconds of the monotonic clock. */
uint64_t rtd_board_now_ms(void);

#endif
