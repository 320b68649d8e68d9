// SPDX-License-Identifier: Apache-2.0
/*
 * serve_action.c - what a client may have done, and who may: see serve_action.h.
 *
 * Runs in:    collector
 * Threads:    the server's; one action at a time
 * Allocates:  the answer
 * Fails:      by a status and a text for the client
 */
#include "serve/serve_action.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    STATUS_OK = 200,
    STATUS_BAD = 400,
    STATUS_UNAUTHORIZED = 401,
    STATUS_FORBIDDEN = 403,
    STATUS_NOT_FOUND = 404,
    STATUS_CONFLICT = 409,
    STATUS_UNAVAILABLE = 503,
    PID_MOST = 1 << 22,
};

bool rtd_action_token_fits(const char *token)
{
    const size_t length = strlen(token);

    for (size_t i = 0; i < length; i++) {
        if (token[i] <= ' ' || token[i] > '~')
            return false;
    }
    return length >= RTD_ACTION_TOKEN_LEAST && length <= RTD_ACTION_TOKEN_MOST;
}

int rtd_actions_init(struct rtd_actions *actions, const char *token, rtd_action_run run,
                     void *context)
{
    memset(actions, 0, sizeof(*actions));
    actions->run = run;
    actions->context = context;
    if (!token)
        return 0;
    if (!rtd_action_token_fits(token))
        return -EINVAL;
    memcpy(actions->token, token, strlen(token) + 1);
    return 0;
}

/* Takes as long for any text of a length. */
static bool is_same(const char *secret, const char *text)
{
    const size_t length = strlen(secret);
    unsigned char difference = 0;

    if (strlen(text) != length)
        return false;
    for (size_t i = 0; i < length; i++)
        difference |= (unsigned char)(secret[i] ^ text[i]);
    return difference == 0;
}

unsigned rtd_action_refusal(const struct rtd_actions *actions, const char *authorization,
                            const char **text)
{
    static const char scheme[] = "Bearer ";

    if (!actions->token[0] || !actions->run) {
        *text = "{\"error\":\"actions are not allowed: no token is set; start riptide run with "
                "--token-file FILE, or set the library's option action_token\"}\n";
        return STATUS_FORBIDDEN;
    }
    if (authorization && strncasecmp(authorization, scheme, sizeof(scheme) - 1) == 0 &&
        is_same(actions->token, authorization + sizeof(scheme) - 1))
        return 0;
    *text = "{\"error\":\"this needs the token, as Authorization: Bearer TOKEN\"}\n";
    return STATUS_UNAUTHORIZED;
}

static bool parse_pid(const char *text, uint32_t *pid)
{
    char *end = NULL;

    *pid = 0;
    if (!text)
        return true;
    if (text[0] < '0' || text[0] > '9')
        return false;
    const unsigned long value = strtoul(text, &end, 10);
    if (*end != '\0' || value == 0 || value > PID_MOST)
        return false;
    *pid = (uint32_t)value;
    return true;
}

unsigned rtd_action_perform(struct rtd_actions *actions, const char *pid, char **made,
                            const char **text)
{
    uint32_t number = 0;
    size_t length_bytes = 0;

    *made = NULL;
    *text = "{\"error\":\"pid is not the number of a process\"}\n";
    if (!parse_pid(pid, &number))
        return STATUS_BAD;
    *text = "{\"error\":\"another action is under way\"}\n";
    if (atomic_exchange(&actions->busy, true))
        return STATUS_CONFLICT;
    const int result = actions->run(actions->context, number, made, &length_bytes);
    atomic_store(&actions->busy, false);
    if (result >= 0)
        return STATUS_OK;
    if (result == -EBUSY)
        return STATUS_CONFLICT;
    *text = result == -ESRCH ? "{\"error\":\"no such process is observed\"}\n"
                             : "{\"error\":\"the process cannot be asked now\"}\n";
    return result == -ESRCH ? STATUS_NOT_FOUND : STATUS_UNAVAILABLE;
}
