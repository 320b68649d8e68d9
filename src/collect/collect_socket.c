// SPDX-License-Identifier: Apache-2.0
/*
 * collect_socket.c - the collector's door: where agents and `riptide report PID` knock.
 *
 * Runs in:    collector; the asking half in `riptide report`, a program that links libriptide
 * Threads:    no shared state
 * Allocates:  descriptors only
 * Fails:      by a negative errno
 */
#include "collect/collect_socket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ledger/ledger_layout.h"

enum { DOOR_BACKLOG = 256, RANDOM_BYTES = 16 };

static int make_name(char *name, size_t size)
{
    unsigned char random[RANDOM_BYTES];

    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return -EIO;
    int length = snprintf(name, size, "riptide-%d-", (int)getpid());
    for (unsigned i = 0; i < RANDOM_BYTES && length > 0 && (size_t)length + 3 <= size; i++)
        length += snprintf(name + length, size - (size_t)length, "%02x", random[i]);
    return 0;
}

static socklen_t fill_address(struct sockaddr_un *address, const char *name)
{
    const size_t length = strnlen(name, sizeof(address->sun_path) - 1);

    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path + 1, name, length);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

int rtd_collect_socket_open(char *name, size_t size)
{
    struct sockaddr_un address;
    int result = make_name(name, size);

    if (result < 0)
        return result;
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    const socklen_t length = fill_address(&address, name);
    if (bind(fd, (const struct sockaddr *)&address, length) < 0 || listen(fd, DOOR_BACKLOG) < 0) {
        result = -errno;
        close(fd);
        return result;
    }
    return fd;
}

/*
 * Ours, or we are root, or they are: root may look at everything anyway. Root's own collector hears
 * other users, too, because its program may have become one of them; they are marked as strangers.
 */
static int peer_allowed(int fd, pid_t *pid, bool *stranger)
{
    struct ucred peer = {0, 0, 0};
    socklen_t length = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return -errno;
    *pid = peer.pid;
    const uid_t self = geteuid();
    *stranger = peer.uid != self && peer.uid != 0;
    return peer.uid == self || self == 0 || peer.uid == 0 ? 0 : -EPERM;
}

int rtd_collect_socket_accept(int listener, pid_t *pid, bool *stranger)
{
    const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return errno == ECONNABORTED || errno == EINTR ? -EAGAIN : -errno;
    const int result = peer_allowed(fd, pid, stranger);
    if (result < 0) {
        close(fd);
        return result;
    }
    return fd;
}

int rtd_collect_socket_connect(const char *name)
{
    struct sockaddr_un address;
    pid_t pid = 0;
    bool stranger = false;
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    const socklen_t length = fill_address(&address, name);
    int result = connect(fd, (const struct sockaddr *)&address, length) < 0 ? -errno : 0;
    if (result == 0)
        result = peer_allowed(fd, &pid, &stranger);
    if (result < 0) {
        close(fd);
        return result;
    }
    return fd;
}

/* A ledger's size says which mode it is of: ledger_exact.h. */
static uint64_t file_bytes(int fd)
{
    struct stat info;

    return fstat(fd, &info) == 0 && info.st_size > 0 ? (uint64_t)info.st_size : 0;
}

int rtd_collect_socket_welcome(int fd, int status, int ledger_fd)
{
    struct rtd_welcome welcome = {
        .magic = RTD_HANDSHAKE_MAGIC,
        .version = RTD_LEDGER_VERSION,
        .status = status,
        .ledger_bytes = status == 0 ? file_bytes(ledger_fd) : 0,
    };
    struct iovec part = {.iov_base = &welcome, .iov_len = sizeof(welcome)};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (ledger_fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *const item = CMSG_FIRSTHDR(&message);
        item->cmsg_level = SOL_SOCKET;
        item->cmsg_type = SCM_RIGHTS;
        item->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(item), &ledger_fd, sizeof(int));
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}
