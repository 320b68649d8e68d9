// SPDX-License-Identifier: Apache-2.0
/*
 * serve_publish.c - the newest report, shared between the collector and the requests.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    one publisher, any number of readers
 * Allocates:  one object a report
 * Fails:      when memory is short the older report stays
 */
#include "serve/serve_publish.h"

#include "serve/serve_library.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

uint64_t rtd_board_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int rtd_board_init(struct rtd_board *board)
{
    pthread_condattr_t attributes;

    *board = (struct rtd_board){.wanted_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (board->wanted_fd < 0)
        return -errno;
    pthread_mutex_init(&board->lock, NULL);
    pthread_condattr_init(&attributes);
    /* A clock that somebody sets must not lengthen the wait. */
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&board->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return 0;
}

/* Answers still being sent live on: the library counts them. */
static void free_published(struct rtd_published *published)
{
    for (unsigned i = 0; i < RTD_PUBLISH_ANSWERS; i++) {
        if (published->answers[i])
            rtd_mhd.destroy_response(published->answers[i]);
    }
    rtd_report_free(published->report);
    pthread_mutex_destroy(&published->lock);
    free(published);
}

void rtd_board_fini(struct rtd_board *board)
{
    if (board->newest)
        free_published(board->newest);
    pthread_cond_destroy(&board->changed);
    pthread_mutex_destroy(&board->lock);
    close(board->wanted_fd);
}

void rtd_board_stop(struct rtd_board *board)
{
    pthread_mutex_lock(&board->lock);
    board->stopping = true;
    pthread_cond_broadcast(&board->changed);
    pthread_mutex_unlock(&board->lock);
}

/* True when nobody is left; the caller then frees it without the lock. */
static bool drop_locked(struct rtd_published *published)
{
    return --published->references == 0;
}

void rtd_board_publish(struct rtd_board *board, struct rtd_report *report)
{
    struct rtd_published *const published = calloc(1, sizeof(*published));
    struct rtd_published *old = NULL;
    eventfd_t wishes;

    if (!published) {
        rtd_report_free(report);
        return;
    }
    published->report = report;
    published->at_ms = rtd_board_now_ms();
    published->references = 1;
    pthread_mutex_init(&published->lock, NULL);

    pthread_mutex_lock(&board->lock);
    if (board->newest && drop_locked(board->newest))
        old = board->newest;
    board->newest = published;
    board->sequence++;
    board->wanted_since_ms = 0;
    /* The wishes are fulfilled, also when the collector never read them. */
    (void)eventfd_read(board->wanted_fd, &wishes);
    pthread_cond_broadcast(&board->changed);
    pthread_mutex_unlock(&board->lock);
    if (old)
        free_published(old);
}

/* Lets the collector know, again each second as long as it does not answer. */
static void ask_locked(struct rtd_board *board, uint64_t now_ms)
{
    if (board->wanted_since_ms && now_ms - board->asked_ms < RTD_PUBLISH_FRESH_MS)
        return;
    if (!board->wanted_since_ms)
        board->wanted_since_ms = now_ms;
    board->asked_ms = now_ms;
    (void)eventfd_write(board->wanted_fd, 1);
}

/* Until the next publication, the end of the server, or two seconds after the first wish. */
static void wait_locked(struct rtd_board *board)
{
    const uint64_t sequence = board->sequence;
    const uint64_t until_ms = board->wanted_since_ms + RTD_PUBLISH_WAIT_MS;
    const struct timespec until = {(time_t)(until_ms / 1000), (long)(until_ms % 1000 * 1000000)};

    while (!board->stopping && board->sequence == sequence && rtd_board_now_ms() < until_ms) {
        if (pthread_cond_timedwait(&board->changed, &board->lock, &until) == ETIMEDOUT)
            break;
    }
}

struct rtd_published *rtd_board_borrow(struct rtd_board *board, bool wait)
{
    const uint64_t now_ms = rtd_board_now_ms();

    pthread_mutex_lock(&board->lock);
    if (wait && (!board->newest || now_ms > board->newest->at_ms + RTD_PUBLISH_FRESH_MS)) {
        ask_locked(board, now_ms);
        wait_locked(board);
    } else if (!board->newest) {
        /* Who only asks whether there is a report must not ask in vain for ever. */
        ask_locked(board, now_ms);
    }
    struct rtd_published *const published = board->newest;
    if (published)
        published->references++;
    pthread_mutex_unlock(&board->lock);
    return published;
}

void rtd_board_release(struct rtd_board *board, struct rtd_published *published)
{
    pthread_mutex_lock(&board->lock);
    const bool last = drop_locked(published);
    pthread_mutex_unlock(&board->lock);
    if (last)
        free_published(published);
}
