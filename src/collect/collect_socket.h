// SPDX-License-Identifier: Apache-2.0
/*
 * collect_socket.h - the collector's door: where agents and `riptide report PID` knock.
 *
 * Runs in:    collector; the asking half in `riptide report`, a program that links libriptide
 * Threads:    no shared state
 * Allocates:  descriptors only
 * Fails:      by a negative errno; nothing is left behind
 *
 * An abstract SOCK_SEQPACKET socket: no file to leave behind, to squat or to be denied by a
 * chroot. Its name ends in 128 random bits, and who is on the other side is asked of the kernel.
 */
#ifndef RTD_COLLECT_SOCKET_H
#define RTD_COLLECT_SOCKET_H

#include "ledger/ledger_handshake.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { RTD_SOCKET_NAME_BYTES = 64, RTD_CHUNK_BYTES = 32 * 1024 };

#define RTD_QUERY_MAGIC UINT32_C(0x51445452) /* "RTDQ" */

enum rtd_query_format { RTD_QUERY_TEXT = 1, RTD_QUERY_JSON = 2, RTD_QUERY_GC = 3 };

/* The second message the socket knows: asks for a fresh report. Answered by rtd_query_answer and
 * then packets of at most RTD_CHUNK_BYTES, together `bytes` long. */
struct rtd_query {
    uint32_t magic;
    uint32_t version; /* RTD_LEDGER_VERSION */
    uint32_t format;  /* enum rtd_query_format */
    uint32_t pid;     /* the process the report is about; 0: the program that was run */
    uint32_t by;      /* enum rtd_report_by, text only; RTD_QUERY_GC: 0 text, else JSON */
    uint32_t top;     /* rows; RTD_QUERY_GC: how many milliseconds the target has */
    uint32_t colour;
    uint32_t width;
    double time_scale; /* 0: the collector's own */
};

struct rtd_query_answer {
    uint32_t magic;
    int32_t status; /* 0, or a negative errno and no bytes: -ESRCH no such process here;
                       1: what was asked for was not done, and the text says why */
    uint64_t bytes;
};

/* Makes and opens a socket under a fresh name; name gets it without the leading NUL byte. Returns
 * the descriptor (close-on-exec, non-blocking) or a negative errno. */
int rtd_collect_socket_open(char *name, size_t size);

/* Takes one caller in: descriptor, or -EAGAIN when nobody waits, -EPERM when the caller is another
 * user's and we are not root (already closed), or another negative errno. *pid is the kernel's
 * word; *stranger says that the caller is neither our user nor root. */
int rtd_collect_socket_accept(int listener, pid_t *pid, bool *stranger);

/* Connects to a name as rtd_collect_socket_open() gave it; the other side must be ours or root's.
 * Descriptor (blocking) or a negative errno. */
int rtd_collect_socket_connect(const char *name);

/* Answers a hello; ledger_fd -1 sends none. Never blocks. 0 or a negative errno. */
int rtd_collect_socket_welcome(int fd, int status, int ledger_fd);

#endif
