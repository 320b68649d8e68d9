// SPDX-License-Identifier: Apache-2.0
/*
 * agent_handshake.c - see agent_handshake.h. The only place where the agent makes system calls
 * besides agent_start.c, agent_lock.c and the one in agent_shadow.c with which exact mode begins.
 *
 * Runs in:    agent, in the constructor, the child handler of fork(), riptide_heap_adopt()
 * Threads:    one caller at a time
 * Allocates:  never
 * Fails:      by a negative errno, with every descriptor closed
 */
#include "agent/agent_handshake.h"

#include "base/base_syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>

#include "agent/agent_only.h"

enum { INTERRUPTIONS_MAX = 8, STATUS_BYTES = 4096 };

/* Tries again after a signal, but not for ever: each try begins its time limit anew. */
static long call(long number, long a, long b, long c, long d)
{
    long result = -EINTR;
    for (int i = 0; i < INTERRUPTIONS_MAX && result == -EINTR; i++)
        result = rtd_syscall(number, a, b, c, d, 0, 0);
    return result;
}

static long open_connection(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = 0;
    while (length < sizeof address.sun_path - 1 && name[length] != '\0') {
        address.sun_path[1 + length] = name[length];
        length++;
    }
    const long fd = call(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, 0);
    if (fd < 0)
        return fd;
    /* Bounds connect(), sendto() and recvmsg(): the program is never kept waiting longer. */
    const struct timeval limit = {.tv_usec = RTD_HANDSHAKE_MS * 1000};
    rtd_syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, (long)&limit, sizeof limit, 0);
    rtd_syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, (long)&limit, sizeof limit, 0);
    const long result = call(SYS_connect, fd, (long)&address,
                             (long)(offsetof(struct sockaddr_un, sun_path) + 1 + length), 0);
    if (result < 0) {
        rtd_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
        return result;
    }
    return fd;
}

/* Receives the welcome; *ledger_fd gets the descriptor that came with it, or stays -1. */
static long receive_welcome(long fd, struct rtd_welcome *welcome, int *ledger_fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = welcome, .iov_len = sizeof *welcome};
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control.space,
        .msg_controllen = sizeof control.space,
    };
    const long got = call(SYS_recvmsg, fd, (long)&message, MSG_CMSG_CLOEXEC, 0);
    if (got < 0)
        return got;
    if (message.msg_controllen >= CMSG_LEN(sizeof(int)) &&
        control.header.cmsg_level == SOL_SOCKET && control.header.cmsg_type == SCM_RIGHTS)
        __builtin_memcpy(ledger_fd, CMSG_DATA(&control.header), sizeof *ledger_fd);
    if (got != (long)sizeof *welcome || welcome->magic != RTD_HANDSHAKE_MAGIC ||
        welcome->version != RTD_LEDGER_VERSION)
        return -EPROTO;
    if (welcome->status != 0)
        return welcome->status < 0 ? welcome->status : -EPROTO;
    const uint64_t bytes = welcome->ledger_bytes;
    const bool has_size = bytes == RTD_LEDGER_BYTES || bytes == RTD_LEDGER_EXACT_BYTES;
    return *ledger_fd >= 0 && has_size ? 0 : -EPROTO;
}

static void keep_sparse(long at, uint64_t bytes)
{
    /* The ledger is no part of a core dump; it lives in the collector. */
    rtd_syscall(SYS_madvise, at, (long)bytes, MADV_DONTDUMP, 0, 0, 0);
    /* Sparse by design: a huge page for each word that is touched would fill it. */
    rtd_syscall(SYS_madvise, at, (long)bytes, MADV_NOHUGEPAGE, 0, 0, 0);
}

static long map_ledger(int fd, uint64_t bytes, struct rtd_ledger *place, struct rtd_ledger **out)
{
    const long flags = MAP_SHARED | (place != NULL ? MAP_FIXED : 0);
    const long at =
        rtd_syscall(SYS_mmap, (long)place, (long)bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (at < 0 && at > -4096)
        return at;
    *out = (struct rtd_ledger *)at;
    keep_sparse(at, bytes);
    return 0;
}

int rtd_handshake_map(int fd, struct rtd_ledger **out, size_t *out_bytes)
{
    struct stat file = {0};
    const long seals = rtd_syscall(SYS_fcntl, fd, F_GET_SEALS, 0, 0, 0, 0);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 ||
        rtd_syscall(SYS_fstat, fd, (long)&file, 0, 0, 0, 0) < 0)
        return -EINVAL;
    const long bytes = file.st_size;
    if (bytes != (long)RTD_LEDGER_BYTES && bytes != (long)RTD_LEDGER_EXACT_BYTES)
        return -EINVAL;
    /* After mlockall(MCL_FUTURE) a mapping is read in at once, unless nobody may read it. */
    const long at = rtd_syscall(SYS_mmap, 0, bytes, PROT_NONE, MAP_SHARED, fd, 0);
    if (at < 0 && at > -4096)
        return (int)at;
    rtd_syscall(SYS_munlock, at, bytes, 0, 0, 0, 0);
    const long result = rtd_syscall(SYS_mprotect, at, bytes, PROT_READ | PROT_WRITE, 0, 0, 0);
    if (result < 0) {
        rtd_syscall(SYS_munmap, at, bytes, 0, 0, 0, 0);
        return (int)result;
    }
    keep_sparse(at, (uint64_t)bytes);
    *out = (struct rtd_ledger *)at;
    *out_bytes = (size_t)bytes;
    return 0;
}

/* The value of "Seccomp:" in the text of /proc/self/status; '0' when there is no such line. */
static char seccomp_mode(const char *text, long length)
{
    static const char key[] = "\nSeccomp:\t";
    const long key_length = (long)sizeof key - 1;
    for (long i = 0; i + key_length < length; i++)
        if (__builtin_memcmp(text + i, key, (size_t)key_length) == 0)
            return text[i + key_length];
    return '0';
}

bool rtd_handshake_is_sandboxed(void)
{
    /* Not on the stack, which may be a small one; callers come one at a time. */
    static char text[STATUS_BYTES];
    const long fd =
        rtd_syscall(SYS_openat, AT_FDCWD, (long)"/proc/self/status", O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (fd < 0)
        return false;
    const long length = rtd_syscall(SYS_read, fd, (long)text, sizeof text, 0, 0, 0);
    rtd_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
    return seccomp_mode(text, length) != '0';
}

int rtd_handshake(const char *name, enum rtd_hello_kind kind, struct rtd_ledger *place,
                  struct rtd_ledger **out)
{
    const struct rtd_hello hello = {
        .magic = RTD_HANDSHAKE_MAGIC,
        .version = RTD_LEDGER_VERSION,
        .kind = kind,
        .pid = (uint32_t)rtd_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0),
        .parent = (uint32_t)rtd_syscall(SYS_getppid, 0, 0, 0, 0, 0, 0),
    };
    struct rtd_welcome welcome = {0};
    int ledger_fd = -1;
    const long fd = open_connection(name);
    if (fd < 0)
        return (int)fd;
    long result = rtd_syscall(SYS_sendto, fd, (long)&hello, sizeof hello, MSG_NOSIGNAL, 0, 0);
    if (result >= 0)
        result = receive_welcome(fd, &welcome, &ledger_fd);
    if (result >= 0)
        result = map_ledger(ledger_fd, welcome.ledger_bytes, place, out);
    if (ledger_fd >= 0)
        rtd_syscall(SYS_close, ledger_fd, 0, 0, 0, 0, 0);
    rtd_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
    return (int)result;
}
