// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_handshake.h - the two messages by which an agent obtains its ledger.
 *
 * Runs in:    agent (asks), collector (answers)
 * Threads:    one exchange per connection
 * Allocates:  never
 * Fails:      not applicable: layout only
 *
 * Transport: SOCK_SEQPACKET on an abstract Unix socket whose name is in the environment variable
 * RIPTIDE_SOCKET (without the leading NUL byte). The agent connects, sends one rtd_hello, receives
 * one rtd_welcome carrying the ledger's memfd as SCM_RIGHTS when status is 0, maps it and closes
 * both descriptors. The collector takes the peer's identity from SO_PEERCRED, never from the hello.
 */
#ifndef RTD_LEDGER_HANDSHAKE_H
#define RTD_LEDGER_HANDSHAKE_H

#include "base/base_macros.h"

#define RTD_SOCKET_VARIABLE "RIPTIDE_SOCKET"
#define RTD_HANDSHAKE_MAGIC UINT32_C(0x48445452) /* "RTDH" */
#define RTD_HANDSHAKE_MS    250                  /* how long an agent waits for the answer */

enum rtd_hello_kind {
    RTD_HELLO_EXEC = 1, /* from the agent's constructor: a fresh program image */
    RTD_HELLO_FORK = 2, /* from the child handler of fork() */
    RTD_HELLO_JOIN = 3, /* from libriptide: the ledger that this process has already, to read */
};

struct rtd_hello {
    uint32_t magic;
    uint32_t version; /* RTD_LEDGER_VERSION */
    uint32_t kind;    /* enum rtd_hello_kind */
    uint32_t pid;     /* in the target's namespace, informative */
    uint32_t parent;
    uint32_t reserved;
};

struct rtd_welcome {
    uint32_t magic;
    uint32_t version;
    int32_t status; /* 0, or a negative errno: no ledger, stay a pass-through */
    uint32_t reserved;
    uint64_t ledger_bytes;
};

RTD_STATIC_ASSERT(sizeof(struct rtd_hello) == 24, "hello");
RTD_STATIC_ASSERT(sizeof(struct rtd_welcome) == 24, "welcome");

#endif
