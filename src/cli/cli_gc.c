// SPDX-License-Identifier: Apache-2.0
/*
 * cli_gc.c - riptide gc: a running program's allocator gives free memory back.
 *
 * Runs in:    command line
 * Threads:    one
 * Allocates:  the answer
 * Fails:      exit status 1: it was not done, and why stands in the answer; 2: no such process,
 *             wrong usage
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli_commands.h"
#include "collect/collect_query.h"
#include "collect/collect_say.h"

enum { OPTION_JSON = 1, OPTION_TIMEOUT };

enum { TIMEOUT_S = 10, TIMEOUT_MAX_S = 3600, PID_LIMIT = 1 << 22 };

const struct rtd_cli_option rtd_cli_gc_options[] = {
    {OPTION_JSON, 0, "json", NULL, "print the result as JSON", NULL},
    {OPTION_TIMEOUT, 0, "timeout", "SECONDS", "how long to wait for a safe point (10)", NULL},
    {0},
};

struct gc_wish {
    const char *process;
    bool json;
    uint64_t timeout_s;
};

static int ask(const struct rtd_cli_command *command, const struct gc_wish *wish)
{
    struct rtd_query query = {
        .format = RTD_QUERY_GC, .by = wish->json, .top = (uint32_t)wish->timeout_s * 1000};
    uint64_t pid = 0;
    char *text = NULL;
    size_t length_bytes = 0;

    if (!wish->process)
        return rtd_cli_usage(command, "name a process");
    if (!rtd_cli_parse_number(wish->process, 1, PID_LIMIT, &pid))
        return rtd_cli_usage(command, "%.100s: not a process", wish->process);
    const int result = rtd_collect_ask((pid_t)pid, &query, &text, &length_bytes);
    if (result == -ESRCH && query.pid == 0)
        rtd_collect_say("%s: no such process", wish->process);
    else if (result == -ESRCH)
        rtd_collect_say("process %s is not in the run that its collector observes", wish->process);
    else if (result == -ENOTCONN)
        rtd_collect_say("process %s runs under no riptide; start it with riptide run",
                        wish->process);
    else if (result == -EBUSY)
        rtd_collect_say("process %s is being asked already", wish->process);
    else if (result < 0)
        rtd_collect_say("process %s cannot be asked: %s", wish->process, strerror(-result));
    if (result < 0)
        return RTD_EXIT_USAGE;
    const int written = rtd_collect_write_all(STDOUT_FILENO, text, length_bytes);
    free(text);
    if (written < 0)
        rtd_collect_say("the result cannot be written: %s", strerror(-written));
    return result != 0 || written < 0;
}

int rtd_cli_gc(const struct rtd_cli_command *command, int argc, char **argv)
{
    struct gc_wish wish = {.timeout_s = TIMEOUT_S};
    struct rtd_cli_parser parser;

    rtd_cli_parser_init(&parser, command, argc, argv);
    for (;;) {
        const int id = rtd_cli_next(&parser);
        if (id == RTD_CLI_END)
            return ask(command, &wish);
        if (id == RTD_CLI_HELP)
            return 0;
        if (id == RTD_CLI_ERROR)
            return RTD_EXIT_USAGE;
        if (id == OPTION_JSON) {
            wish.json = true;
        } else if (id == OPTION_TIMEOUT) {
            if (!rtd_cli_parse_number(parser.value, 1, TIMEOUT_MAX_S, &wish.timeout_s))
                return rtd_cli_usage(command, "--timeout %.100s: seconds from 1 to %d",
                                     parser.value, TIMEOUT_MAX_S);
        } else if (wish.process) {
            return rtd_cli_usage(command, "one process at a time");
        } else {
            wish.process = parser.value;
        }
    }
}
