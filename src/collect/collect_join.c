// SPDX-License-Identifier: Apache-2.0
/*
 * collect_join.c - asks the collector that watches this process for a look at its own ledger.
 *
 * Runs in:    a program that links libriptide
 * Threads:    no shared state
 * Allocates:  the ledger's descriptor and a mapping that can only be read
 * Fails:      by a negative errno
 */
#include "collect/collect_join.h"

#include "collect/collect_socket.h"
#include "ledger/ledger_handshake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

/* The descriptor that came with the welcome; *status is the collector's word. */
static int receive_ledger(int fd, struct rtd_welcome *welcome)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.space = {0}};
    struct iovec part = {.iov_base = welcome, .iov_len = sizeof(*welcome)};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof(control.space)};
    int ledger_fd = -1;

    const ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (got < 0)
        return errno == EAGAIN ? -ETIMEDOUT : -errno;
    if (message.msg_controllen >= CMSG_LEN(sizeof(int)) &&
        control.header.cmsg_level == SOL_SOCKET && control.header.cmsg_type == SCM_RIGHTS)
        memcpy(&ledger_fd, CMSG_DATA(&control.header), sizeof(ledger_fd));
    int result = -EPROTO;
    if (got == (ssize_t)sizeof(*welcome) && welcome->magic == RTD_HANDSHAKE_MAGIC &&
        welcome->version == RTD_LEDGER_VERSION) {
        if (welcome->status < 0)
            result = welcome->status;
        else if (ledger_fd >= 0)
            result = ledger_fd;
    }
    if (result < 0 && ledger_fd >= 0)
        close(ledger_fd);
    return result;
}

static int map_ledger(int fd, struct rtd_ledger_handle *out)
{
    struct stat info;

    if (fstat(fd, &info) < 0)
        return -errno;
    if ((uint64_t)info.st_size < RTD_LEDGER_BYTES)
        return -EPROTO;
    void *const mapping = mmap(NULL, RTD_LEDGER_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    if (mapping == MAP_FAILED)
        return -errno;
    *out = (struct rtd_ledger_handle){.fd = fd, .ledger = mapping};
    return 0;
}

int rtd_collect_join(struct rtd_ledger_handle *out)
{
    const struct timeval patience = {.tv_sec = 1};
    const struct rtd_hello hello = {.magic = RTD_HANDSHAKE_MAGIC,
                                    .version = RTD_LEDGER_VERSION,
                                    .kind = RTD_HELLO_JOIN,
                                    .pid = (uint32_t)getpid(),
                                    .parent = (uint32_t)getppid()};
    struct rtd_welcome welcome;
    const char *const name = secure_getenv(RTD_SOCKET_VARIABLE);

    *out = (struct rtd_ledger_handle){.fd = -1, .ledger = NULL};
    if (!name || !name[0])
        return -ENOTCONN;
    const int fd = rtd_collect_socket_connect(name);
    if (fd < 0)
        return fd;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    int result = send(fd, &hello, sizeof(hello), MSG_NOSIGNAL) == (ssize_t)sizeof(hello)
                     ? receive_ledger(fd, &welcome)
                     : -EPIPE;
    close(fd);
    if (result < 0)
        return result;
    const int ledger_fd = result;
    result = map_ledger(ledger_fd, out);
    if (result < 0)
        close(ledger_fd);
    return result;
}
