// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_worker.c - the confined process that parses: one question after the other.
 *
 * Runs in:    symbol worker
 * Threads:    one
 * Allocates:  what the parsers need; the address space is limited
 * Fails:      by ending; the resolver notices and goes on without the module
 *
 * A few modules stay open between questions, because a live view asks about the same ones again.
 * A module is known again by what fstat() says about its descriptor, so a file that was replaced
 * or rewritten is opened anew.
 */
#include "base/base_macros.h"
#include "symbol/symbol_confine.h"
#include "symbol/symbol_image.h"
#include "symbol/symbol_resolver.h"
#include "symbol/symbol_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { OPEN_IMAGES = 12, FIRST_OTHER_FD = RTD_SYMBOL_WORKER_FD + 1, OLD_KERNEL_FDS = 1024 };

/* Above this size a module is not kept open. */
#define KEPT_BYTES_MAX ((off_t)512 << 20)

struct identity {
    dev_t device;
    ino_t inode;
    off_t bytes;
    struct timespec changed;
};

struct slot {
    struct rtd_symbol_image image;
    struct identity identity;
    uint64_t last_use; /* 0: empty */
};

struct worker {
    int fd;
    int is_filtered;
    uint64_t uses;
    uint32_t sequence;
    struct rtd_symbol_wire_question question;
    struct rtd_symbol_wire_answer answer;
    struct rtd_symbol_match matches[RTD_SYMBOL_WIRE_OFFSETS];
    struct slot slots[OPEN_IMAGES];
};

static void close_all(int fds[RTD_SYMBOL_FILE_COUNT])
{
    for (size_t i = 0; i < RTD_SYMBOL_FILE_COUNT; i++) {
        if (fds[i] >= 0)
            (void)close(fds[i]);
        fds[i] = -1;
    }
}

/* Reads the descriptors of a question into their places; false when they are not as announced. */
static bool take_fds(struct msghdr *message, uint32_t files, int fds[RTD_SYMBOL_FILE_COUNT])
{
    const struct cmsghdr *header = CMSG_FIRSTHDR(message);
    int received[RTD_SYMBOL_FILE_COUNT];
    size_t count = 0, used = 0;

    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
        count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    if (count == 0 || count > RTD_SYMBOL_FILE_COUNT || (message->msg_flags & MSG_CTRUNC))
        return false;
    memcpy(received, CMSG_DATA(header), count * sizeof(int));
    for (size_t i = 0; i < RTD_SYMBOL_FILE_COUNT && used < count; i++)
        if (files & (1U << i))
            fds[i] = received[used++];
    return used == count && fds[RTD_SYMBOL_FILE_MAIN] >= 0;
}

/* The next question; false when there is none any more. */
static bool receive(struct worker *worker, int fds[RTD_SYMBOL_FILE_COUNT])
{
    struct rtd_symbol_wire_question *question = &worker->question;
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * RTD_SYMBOL_FILE_COUNT)];
    struct iovec data = {.iov_base = question, .iov_len = sizeof(*question)};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    const size_t head_bytes = offsetof(struct rtd_symbol_wire_question, offsets);
    ssize_t got;

    do
        got = recvmsg(worker->fd, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < (ssize_t)head_bytes || question->magic != RTD_SYMBOL_WIRE_MAGIC ||
        question->offset_count > RTD_SYMBOL_WIRE_OFFSETS ||
        question->build_id_bytes > RTD_SYMBOL_BUILD_ID_BYTES ||
        (size_t)got != head_bytes + question->offset_count * sizeof(uint64_t))
        return false;
    worker->sequence = question->sequence;
    return take_fds(&message, question->files, fds);
}

/* Without anybody to answer to there is nothing left to do. */
static void send_answer(struct worker *worker, enum rtd_symbol_wire_kind kind, int status)
{
    struct rtd_symbol_wire_answer *answer = &worker->answer;
    struct iovec data = {.iov_base = answer,
                         .iov_len = offsetof(struct rtd_symbol_wire_answer, records)};
    const struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    ssize_t sent;

    if (kind == RTD_SYMBOL_WIRE_DONE)
        answer->bytes = 0;
    data.iov_len += answer->bytes;
    answer->magic = RTD_SYMBOL_WIRE_MAGIC;
    answer->sequence = worker->sequence;
    answer->kind = kind;
    answer->status = status;
    answer->filtered = (uint32_t)worker->is_filtered;
    do
        sent = sendmsg(worker->fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        _exit(1);
    answer->bytes = 0;
}

/* Sends a part whenever the next record does not fit. */
static void add_record(void *context, uint32_t index, const struct rtd_symbol_frame *frames,
                       size_t frame_count)
{
    struct worker *worker = context;

    if (rtd_symbol_wire_append(&worker->answer, index, frames, frame_count) == -ENOSPC) {
        send_answer(worker, RTD_SYMBOL_WIRE_PART, 0);
        (void)rtd_symbol_wire_append(&worker->answer, index, frames, frame_count);
    }
}

static int compare_matches(const void *a, const void *b)
{
    const struct rtd_symbol_match *x = a, *y = b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void slot_empty(struct slot *slot)
{
    if (slot->last_use != 0)
        rtd_symbol_image_close(&slot->image);
    slot->last_use = 0;
}

static bool same_file(const struct identity *a, const struct identity *b)
{
    return a->device == b->device && a->inode == b->inode && a->bytes == b->bytes &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

static int identify(int fd, struct identity *out)
{
    struct stat status;

    if (fstat(fd, &status) != 0)
        return -EBADMSG;
    *out = (struct identity){status.st_dev, status.st_ino, status.st_size, status.st_mtim};
    return 0;
}

/* The open module behind these descriptors, which become its own; NULL and the reason in *err. */
static struct slot *slot_get(struct worker *worker, int fds[RTD_SYMBOL_FILE_COUNT], int *err)
{
    const struct rtd_symbol_wire_question *question = &worker->question;
    const struct rtd_symbol_image_options options = {.build_id = question->build_id,
                                                     .build_id_bytes = question->build_id_bytes,
                                                     .names_only = question->names_only == 1};
    struct slot *oldest = &worker->slots[0];
    struct identity identity;

    *err = identify(fds[RTD_SYMBOL_FILE_MAIN], &identity);
    for (size_t i = 0; i < OPEN_IMAGES && *err == 0; i++) {
        struct slot *slot = &worker->slots[i];

        if (slot->last_use != 0 && same_file(&slot->identity, &identity)) {
            close_all(fds);
            slot->last_use = ++worker->uses;
            return slot;
        }
        if (slot->last_use < oldest->last_use)
            oldest = slot;
    }
    if (*err < 0) {
        close_all(fds);
        return NULL;
    }
    slot_empty(oldest);
    *err = rtd_symbol_image_open(&oldest->image, fds, &options);
    if (*err < 0)
        return NULL;
    oldest->identity = identity;
    oldest->last_use = ++worker->uses;
    return oldest;
}

/*
 * A module that cannot be used is answered with an error and no records; a module that ends this
 * process is answered by the end of the socket.
 */
static void answer_question(struct worker *worker, int fds[RTD_SYMBOL_FILE_COUNT])
{
    const size_t count = worker->question.offset_count;
    int err = 0;

    struct slot *slot = slot_get(worker, fds, &err);
    if (slot) {
        for (size_t i = 0; i < count; i++)
            worker->matches[i] = (struct rtd_symbol_match){.offset = worker->question.offsets[i],
                                                           .index = (uint32_t)i};
        if (count > 1)
            qsort(worker->matches, count, sizeof(worker->matches[0]), compare_matches);
        rtd_symbol_image_frames(&slot->image, worker->matches, count, add_record, worker);
        if (worker->answer.bytes > 0)
            send_answer(worker, RTD_SYMBOL_WIRE_PART, 0);
    }
    send_answer(worker, RTD_SYMBOL_WIRE_DONE, err);
    if (slot && slot->identity.bytes > KEPT_BYTES_MAX)
        slot_empty(slot);
}

/* Only the socket stays, and nothing that a parser prints reaches a terminal. */
static int arrange_fds(int fd)
{
    const int null = open("/dev/null", O_RDWR);

    if (null < 0)
        return -errno;
    /* Above everything that is replaced below, in case the socket was given a low number. */
    const int high = fcntl(fd, F_DUPFD, 100);
    if (high < 0)
        return -errno;
    for (int i = 0; i < 3; i++)
        if (dup2(null, i) < 0)
            return -errno;
    if (dup2(high, RTD_SYMBOL_WORKER_FD) < 0)
        return -errno;
    /* Kernels before 5.9 lack this. */
    if (syscall(SYS_close_range, FIRST_OTHER_FD, ~0U, 0) < 0)
        for (int i = FIRST_OTHER_FD; i < OLD_KERNEL_FDS; i++)
            (void)close(i);
    return 0;
}

/* A terminal's signals are for the program under watch; the end of the socket ends the worker. */
static void ignore_signals(void)
{
    static const int ignored[] = {SIGINT, SIGQUIT, SIGHUP, SIGTERM, SIGTSTP};

    for (size_t i = 0; i < RTD_ARRAY_LENGTH(ignored); i++)
        (void)signal(ignored[i], SIG_IGN);
}

/*
 * Sleeps until there is a question or nobody to ask one. In a run without a sample that is never: a
 * worker that was started early then has cost a fork and nothing else. No byte is read here.
 */
static void wait_for_question(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};

    while (poll(&ready, 1, -1) < 0 && errno == EINTR)
        continue;
}

int rtd_symbol_worker_main(int fd)
{
    ignore_signals();
    /* First of all: a fork has the other end of the socket, too, and would wait for itself. */
    if (arrange_fds(fd) < 0)
        return 1;
    wait_for_question(RTD_SYMBOL_WORKER_FD);
    struct worker *worker = calloc(1, sizeof(*worker));
    if (!worker || elf_version(EV_CURRENT) == EV_NONE) {
        free(worker);
        return 1;
    }
    worker->fd = RTD_SYMBOL_WORKER_FD;
    worker->is_filtered = rtd_symbol_confine();
    for (;;) {
        int fds[RTD_SYMBOL_FILE_COUNT] = {-1, -1, -1};

        if (!receive(worker, fds))
            break;
        answer_question(worker, fds);
    }
    /* The modules are left open: the kernel closes them faster than the libraries would. */
    free(worker);
    return 0;
}
