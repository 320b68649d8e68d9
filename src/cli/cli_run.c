// SPDX-License-Identifier: Apache-2.0
/*
 * cli_run.c - riptide run: start a program, watch it, give back its exit status.
 *
 * Runs in:    command line; becomes the collector
 * Threads:    one until the program is forked
 * Allocates:  options, the environment for the program, the collector
 * Fails:      before the start by one line and exit 2 (126, 127 for the program itself); after it
 *             never: the program runs on
 *
 * Order: everything that can be refused is refused before the program starts. The program is
 * forked, but not let go, before threads, signals and the server change this process.
 */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "cli/cli_commands.h"
#include "cli/cli_output.h"
#include "cli/cli_token.h"
#include "collect/collect_inspect.h"
#include "collect/collect_launch.h"
#include "collect/collect_loop.h"
#include "collect/collect_say.h"
#include "track/track_file.h"

enum {
    OPTION_MODE = 1,
    OPTION_INTERVAL,
    OPTION_LISTEN,
    OPTION_OUTPUT,
    OPTION_REPORT,
    OPTION_QUIET,
    OPTION_TIME_SCALE,
    OPTION_SEED,
    OPTION_TOKEN_FILE,
};

enum { DEFAULT_PORT = 8080, PORT_TRIES = 100, ADDRESS_BYTES = 128 };

#define DEFAULT_INTERVAL (UINT64_C(512) << 10)
#define INTERVAL_MAX     (UINT64_C(1) << 30)

const struct rtd_cli_option rtd_cli_run_options[] = {
    {OPTION_MODE, 0, "mode", "MODE",
     "sample: some allocations (default); exact: every one of them, at more cost", "sample exact"},
    {OPTION_INTERVAL, 0, "interval", "BYTES",
     "mean bytes between samples, K and M allowed; kept fixed (default: 512K, adapts)", NULL},
    {OPTION_LISTEN, 0, "listen", "ADDR:PORT",
     "serve HTTP there, or none (default: 127.0.0.1:8080 or the next free port)", "none"},
    {OPTION_TOKEN_FILE, 0, "token-file", "FILE",
     "its first line allows HTTP clients POST /actions/gc (default: nobody may)", NULL},
    {OPTION_OUTPUT, 'o', "output", "FILE", "the recording (default: PROG.PID.riptide)", NULL},
    {OPTION_REPORT, 0, "report", NULL, "print the report to stderr at the end", NULL},
    {OPTION_QUIET, 'q', "quiet", NULL, "print nothing of our own", NULL},
    {OPTION_TIME_SCALE, 0, "time-scale", "N", "count one second as N in rates and ages", NULL},
    {OPTION_SEED, 0, "seed", "N", NULL, NULL},
    {0},
};

struct run_wish {
    uint32_t mode;           /* enum rtd_mode */
    uint64_t interval_bytes; /* 0: not given */
    uint64_t seed;
    bool seed_given;
    const char *listen;                    /* NULL: not given */
    const char *output;                    /* NULL: not given */
    char token[RTD_ACTION_TOKEN_MOST + 1]; /* "": not given */
    bool report, quiet;
    double time_scale;
    char **program; /* argv of the program */
};

struct run_state {
    struct run_wish wish;
    char path[PATH_MAX];
    char agent[PATH_MAX];
    char recording[PATH_MAX]; /* "" when there is none */
    struct rtd_collect *collect;
    struct rtd_launch launch;
    char **environment;
};

static int take_option(const struct rtd_cli_command *command, int id, const char *value,
                       struct run_wish *wish)
{
    switch (id) {
    case OPTION_MODE:
        wish->mode = strcmp(value, "exact") == 0 ? RTD_MODE_EXACT : RTD_MODE_SAMPLE;
        if (wish->mode == RTD_MODE_EXACT || strcmp(value, "sample") == 0)
            return 0;
        return rtd_cli_usage(command, "--mode %.100s: sample or exact", value);
    case OPTION_INTERVAL:
        if (rtd_cli_parse_bytes(value, &wish->interval_bytes) && wish->interval_bytes > 0 &&
            wish->interval_bytes <= INTERVAL_MAX)
            return 0;
        return rtd_cli_usage(command, "--interval %.100s: bytes from 1 to 1G, such as 64K", value);
    case OPTION_LISTEN:
        wish->listen = value;
        return 0;
    case OPTION_TOKEN_FILE:
        return rtd_cli_token_read(value, wish->token);
    case OPTION_OUTPUT:
        wish->output = value;
        return value[0] ? 0 : rtd_cli_usage(command, "-o needs a file name");
    case OPTION_REPORT:
        wish->report = true;
        return 0;
    case OPTION_QUIET:
        wish->quiet = true;
        return 0;
    case OPTION_TIME_SCALE:
        if (rtd_cli_parse_factor(value, &wish->time_scale))
            return 0;
        return rtd_cli_usage(command, "--time-scale %.100s: a number above 0", value);
    case OPTION_SEED:
        wish->seed_given = true;
        if (rtd_cli_parse_number(value, 0, UINT64_MAX, &wish->seed))
            return 0;
        return rtd_cli_usage(command, "--seed %.100s: a number", value);
    default:
        return RTD_EXIT_USAGE;
    }
}

/* The wording and the exit status a shell has for a program it cannot start. */
static int refuse_start(const char *name, int error)
{
    const bool plain = !strchr(name, '/');

    if (error == -ENOENT && plain)
        rtd_collect_say("%s: command not found", name);
    else
        rtd_collect_say("%s: %s", name, strerror(-error));
    return error == -ENOENT ? RTD_EXIT_NOT_FOUND : RTD_EXIT_NOT_EXECUTABLE;
}

static int check_program(struct run_state *state)
{
    const char *const name = state->wish.program[0];
    int result = rtd_launch_find(name, state->path, sizeof(state->path));

    if (result < 0)
        return refuse_start(name, result);
    struct rtd_program_checks *const checks = malloc(sizeof(*checks));
    if (!checks)
        return 0; /* the start will fail or not, by itself */
    result = rtd_collect_check_program(state->path, checks);
    int status = 0;
    if (result == -ENOENT) {
        rtd_collect_say("%s: its interpreter %s does not exist", name, checks->path);
        status = RTD_EXIT_NOT_EXECUTABLE;
    } else if (result == 0 && checks->failed) {
        rtd_collect_say("%s: %s; %s", name, checks->failed->text, checks->failed->remedy);
        /* Anyone would fail to start this one. */
        status = strcmp(checks->failed->id, RTD_CHECK_INTERPRETER) == 0 ? RTD_EXIT_NOT_EXECUTABLE
                                                                        : RTD_EXIT_USAGE;
    } else if (result == 0 && checks->warned && !state->wish.quiet) {
        rtd_collect_say("%s: %s", name, checks->warned->text);
    }
    /* A program that may be executed and not read cannot be inspected; it is just started. */
    free(checks);
    return status;
}

static int find_agent(struct run_state *state)
{
    const int result = rtd_launch_agent(state->agent, sizeof(state->agent));

    if (result == -EINVAL)
        rtd_collect_say("the agent %s cannot be preloaded: blank or colon in its path; name a copy "
                        "elsewhere in RIPTIDE_AGENT",
                        state->agent);
    else if (result < 0)
        rtd_collect_say("the agent library %s does not exist; install it, or name it in "
                        "RIPTIDE_AGENT",
                        state->agent);
    return result < 0 ? RTD_EXIT_USAGE : 0;
}

/* "ADDR:PORT" or "[ADDR]:PORT" into address (without brackets) and port. */
static bool split_address(const char *text, char *address, size_t size, uint16_t *port)
{
    const char *const colon = strrchr(text, ':');
    uint64_t number = 0;

    if (!colon || colon == text || !rtd_cli_parse_number(colon + 1, 0, UINT16_MAX, &number))
        return false;
    size_t length = (size_t)(colon - text);
    if (text[0] == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    } else if (memchr(text, ':', length)) {
        return false; /* an IPv6 address needs its brackets */
    }
    if (length == 0 || length >= size)
        return false;
    memcpy(address, text, length);
    address[length] = '\0';
    *port = (uint16_t)number;
    return true;
}

static int start_server(struct run_state *state)
{
    const struct run_wish *const wish = &state->wish;
    char address[ADDRESS_BYTES] = "127.0.0.1";
    struct rtd_server_options options = {.address = address,
                                         .port = DEFAULT_PORT,
                                         .tries = PORT_TRIES,
                                         .action_token = wish->token[0] ? wish->token : NULL};

    if (wish->listen && strcmp(wish->listen, "none") == 0)
        return 0;
    if (wish->listen) {
        options.tries = 1;
        if (!split_address(wish->listen, address, sizeof(address), &options.port)) {
            rtd_collect_say("--listen %.200s: not an address; write ADDR:PORT such as "
                            "127.0.0.1:8080 or [::1]:8080, or none",
                            wish->listen);
            return RTD_EXIT_USAGE;
        }
    }
    const int result = rtd_collect_listen(state->collect, &options);
    if (result == -EINVAL && wish->listen) {
        rtd_collect_say("cannot listen on %.200s: not an IP address; write ADDR:PORT such as "
                        "127.0.0.1:8080 or [::1]:8080, or none",
                        wish->listen);
        return RTD_EXIT_USAGE;
    }
    if (result < 0 && wish->listen) {
        rtd_collect_say("cannot listen on %.200s: %s; name another ADDR:PORT, or none",
                        wish->listen, strerror(-result));
        return RTD_EXIT_USAGE;
    }
    if (wish->quiet)
        return 0;
    if (result < 0)
        rtd_collect_say("no HTTP: ports %d to %d of 127.0.0.1 cannot be used (%s)", DEFAULT_PORT,
                        DEFAULT_PORT + PORT_TRIES - 1, strerror(-result));
    else
        rtd_collect_say("listening on http://%s%s%s:%u", strchr(address, ':') ? "[" : "", address,
                        strchr(address, ':') ? "]" : "", rtd_collect_port(state->collect));
    return 0;
}

static int start_recording(struct run_state *state)
{
    const struct run_wish *const wish = &state->wish;
    const char *const slash = strrchr(wish->program[0], '/');
    const char *const name = slash && slash[1] ? slash + 1 : wish->program[0];
    const size_t size = sizeof(state->recording);

    if (wish->output)
        (void)snprintf(state->recording, size, "%s", wish->output);
    else
        (void)snprintf(state->recording, size, "%.200s.%d.riptide", name, (int)state->launch.pid);
    const int result = rtd_collect_record(state->collect, state->recording);
    if (result == 0)
        return 0;
    if (wish->output) {
        rtd_collect_say("cannot write the recording %s: %s; name another file with -o",
                        state->recording, strerror(-result));
        state->recording[0] = '\0';
        return RTD_EXIT_USAGE;
    }
    if (!wish->quiet)
        rtd_collect_say("no recording: %s cannot be written here (%s); name a file with -o",
                        state->recording, strerror(-result));
    state->recording[0] = '\0';
    return 0;
}

static int make_collector(struct run_state *state)
{
    const struct run_wish *const wish = &state->wish;
    struct rtd_collect_options options = {
        .ledger = {.mode = wish->mode,
                   .interval_bytes = wish->interval_bytes ? wish->interval_bytes : DEFAULT_INTERVAL,
                   .interval_fixed = wish->interval_bytes != 0,
                   .seed = wish->seed},
        .time_scale = wish->time_scale,
        .quiet = wish->quiet,
    };
    int error = 0;

    if (!wish->seed_given)
        (void)!getrandom(&options.ledger.seed, sizeof(options.ledger.seed), GRND_NONBLOCK);
    (void)!getrandom(&options.ledger.session, sizeof(options.ledger.session), GRND_NONBLOCK);
    state->collect = rtd_collect_new(&options, &error);
    return state->collect ? 0 : error;
}

static void join_command(char *const *words, char *out, size_t size)
{
    size_t used = 0;

    out[0] = '\0';
    for (size_t i = 0; words[i] && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? " " : "", words[i]);
    /* Names are shown on terminals. */
    for (char *at = out; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 127)
            *at = ' ';
    }
}

/* Everything from the fork to the program's start. 0, or the exit status of a refusal. */
static int start_program(struct run_state *state)
{
    char command[RTD_COMMAND_BYTES];
    char *const *const program = state->wish.program;
    int result = rtd_launch_fork(&state->launch, state->path, program, state->environment);

    if (result < 0) {
        rtd_collect_say("cannot start a process: %s", strerror(-result));
        return RTD_EXIT_NOT_EXECUTABLE;
    }
    result = rtd_collect_settle(state->collect);
    if (result < 0) {
        rtd_collect_say("cannot take over the signals: %s", strerror(-result));
        rtd_launch_cancel(&state->launch);
        return RTD_EXIT_USAGE;
    }
    const char *const trouble = rtd_collect_trouble(state->collect);
    if (trouble && !state->wish.quiet)
        rtd_collect_say("%s; the program runs unobserved", trouble);
    int status = start_recording(state);
    if (status == 0)
        status = start_server(state);
    if (status == 0) {
        join_command(program, command, sizeof(command));
        (void)rtd_collect_target(state->collect, state->launch.pid, command, state->path);
        result = rtd_launch_go(&state->launch);
        if (result < 0)
            status = refuse_start(program[0], result);
    }
    if (status != 0) {
        rtd_launch_cancel(&state->launch);
        if (state->recording[0])
            (void)unlink(state->recording);
    }
    return status;
}

static void print_report(const struct run_state *state)
{
    const struct rtd_text_options options = {
        .by = RTD_BY_SITE,
        .colour = rtd_cli_colour(STDERR_FILENO),
        .width = rtd_cli_width(STDERR_FILENO),
    };
    struct rtd_report *const report = rtd_collect_report(state->collect);
    struct rtd_buffer out;

    if (!report) {
        rtd_collect_say("not enough memory for the report");
        return;
    }
    rtd_buffer_init(&out);
    rtd_export_text(&out, report, &options);
    (void)rtd_cli_flush(STDERR_FILENO, &out);
    rtd_report_free(report);
}

static int watch_program(struct run_state *state)
{
    const struct rtd_collect_outcome outcome = rtd_collect_run(state->collect);
    const int result = rtd_collect_finish(state->collect);
    const bool quiet = state->wish.quiet;

    if (state->wish.report && !quiet)
        print_report(state);
    if (result < 0 && !quiet)
        rtd_collect_say("the recording %s is not complete: %s", state->recording,
                        strerror(-result));
    else if (state->recording[0] && !quiet)
        rtd_collect_say("recording %s", state->recording);
    return outcome.signal ? 128 + outcome.signal : outcome.exit_code;
}

static int run(struct run_wish wish)
{
    struct run_state state = {.wish = wish, .launch = {.pid = -1, .go_fd = -1, .error_fd = -1}};
    int status = check_program(&state);

    if (status == 0)
        status = find_agent(&state);
    if (status != 0)
        return status;
    const int result = make_collector(&state);
    if (result < 0) {
        /* Better unobserved than not at all. */
        if (!wish.quiet)
            rtd_collect_say("no collector: %s; the program runs unobserved", strerror(-result));
        (void)execv(state.path, wish.program);
        return refuse_start(wish.program[0], -errno);
    }
    state.environment = rtd_launch_environment(state.agent, rtd_collect_socket_name(state.collect));
    if (!state.environment) {
        rtd_collect_say("not enough memory to start %s", wish.program[0]);
        status = RTD_EXIT_USAGE;
    } else {
        status = start_program(&state);
    }
    if (status == 0)
        status = watch_program(&state);
    rtd_collect_free(state.collect);
    free((void *)state.environment);
    return status;
}

/* The kernel then grants a page of a sparse file when it is touched, or sends SIGBUS. */
static bool is_commit_strict(void)
{
    char text[16];
    return rtd_track_file_read("/proc/sys/vm/overcommit_memory", text, sizeof(text)) > 0 &&
           text[0] == '2';
}

int rtd_cli_run(const struct rtd_cli_command *command, int argc, char **argv)
{
    struct run_wish wish = {.mode = RTD_MODE_SAMPLE, .time_scale = 1};
    struct rtd_cli_parser parser;

    rtd_cli_parser_init(&parser, command, argc, argv);
    for (;;) {
        const int id = rtd_cli_next(&parser);
        if (id == RTD_CLI_HELP)
            return 0;
        if (id == RTD_CLI_END) {
            if (parser.index >= argc)
                return rtd_cli_usage(command, "name the program to run");
            if (wish.mode == RTD_MODE_EXACT && wish.interval_bytes != 0)
                return rtd_cli_usage(command, "--interval has no meaning with --mode exact");
            if (wish.mode == RTD_MODE_EXACT && is_commit_strict())
                return rtd_cli_usage(command, "--mode exact is not safe here: vm.overcommit_memory "
                                              "is 2, so the kernel may refuse the program a page "
                                              "of the ledger; use --mode sample");
            wish.program = argv + parser.index;
            return run(wish);
        }
        const int result = take_option(command, id, parser.value, &wish);
        if (result != 0)
            return result;
    }
}
