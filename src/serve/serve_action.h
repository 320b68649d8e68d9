// SPDX-License-Identifier: Apache-2.0
/*
 * serve_action.h - what a client may have done, and who may: POST /actions/gc.
 *
 * Runs in:    collector
 * Threads:    the server's; one action at a time
 * Allocates:  the answer
 * Fails:      by a status and a text for the client
 *
 * An action changes the program under watch, so it needs a secret that only its operator has, also
 * from this machine. It is compared in constant time, and comes in a header that no foreign page
 * can make a browser send. Without a secret there are no actions.
 */
#ifndef RTD_SERVE_ACTION_H
#define RTD_SERVE_ACTION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RTD_ACTION_GC_PATH "/actions/gc"

enum { RTD_ACTION_TOKEN_LEAST = 16, RTD_ACTION_TOKEN_MOST = 128 };

/*
 * Does it, in a thread of the server, and may take seconds. pid 0: the program that was run. The
 * text (JSON) belongs to the caller. >= 0, or a negative errno: -ESRCH, -EBUSY, ...
 */
typedef int (*rtd_action_run)(void *context, uint32_t pid, char **text, size_t *length_bytes);

struct rtd_actions {
    char token[RTD_ACTION_TOKEN_MOST + 1]; /* "": none may */
    rtd_action_run run;                    /* NULL: there is nothing to run */
    void *context;
    atomic_bool busy;
};

/* token and run may be NULL. -EINVAL: a token that is too short, too long or not printable. */
int rtd_actions_init(struct rtd_actions *actions, const char *token, rtd_action_run run,
                     void *context);

/* Whether a secret serves for one: its length, and nothing but printable ASCII without blanks. */
bool rtd_action_token_fits(const char *token);

/*
 * 0: the client may; else the status to refuse it with, 401 or 403, and *text says why.
 * authorization: the header of that name, NULL: none.
 */
unsigned rtd_action_refusal(const struct rtd_actions *actions, const char *authorization,
                            const char **text);

/*
 * Runs it. The status of the answer; *made is to be freed, or NULL when *text (static) is all there
 * is to say. pid: as the client wrote it, NULL: none.
 */
unsigned rtd_action_perform(struct rtd_actions *actions, const char *pid, char **made,
                            const char **text);

#endif
