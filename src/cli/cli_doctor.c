// SPDX-License-Identifier: Apache-2.0
/*
 * cli_doctor.c - riptide doctor: can this program be observed here, and if not, why.
 *
 * Runs in:    command line
 * Threads:    one
 * Allocates:  the checks
 * Fails:      exit status 1: cannot be observed; 2: no such program, wrong usage
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cli/cli_commands.h"
#include "cli/cli_output.h"
#include "collect/collect_inspect.h"
#include "collect/collect_launch.h"
#include "collect/collect_say.h"
#include "collect/collect_socket.h"
#include "ledger/ledger_create.h"

enum { OPTION_JSON = 1 };

const struct rtd_cli_option rtd_cli_doctor_options[] = {
    {OPTION_JSON, 0, "json", NULL, "print JSON", NULL},
    {0},
};

static const char *const result_words[] = {"ok", "warning", "failed"};
static const char *const result_marks[] = {"ok  ", "warn", "FAIL"};

struct diagnosis {
    const char *program; /* NULL: only the host */
    bool observable;
    unsigned count;
    struct rtd_check checks[RTD_CHECK_MAX + 5];
};

static struct rtd_check *add(struct diagnosis *diagnosis, const char *id, bool ok)
{
    struct rtd_check *const check = &diagnosis->checks[diagnosis->count++];

    check->id = id;
    check->result = ok ? RTD_CHECK_OK : RTD_CHECK_FAIL;
    check->remedy[0] = '\0';
    diagnosis->observable = diagnosis->observable && ok;
    return check;
}

static void check_agent(struct diagnosis *diagnosis)
{
    char path[PATH_MAX];
    const int result = rtd_launch_agent(path, sizeof(path));
    struct rtd_check *const check = add(diagnosis, "agent", result == 0);

    (void)snprintf(check->text, sizeof(check->text), "%s%.400s%s",
                   result == -ENOENT ? "no agent library at " : "agent library ", path,
                   result == -EINVAL ? " has a blank or a colon in its path" : "");
    if (result == -ENOENT)
        (void)snprintf(check->remedy, sizeof(check->remedy),
                       "install it, or name it in RIPTIDE_AGENT");
    if (result == -EINVAL)
        (void)snprintf(check->remedy, sizeof(check->remedy),
                       "move it to a path without, or name a copy in RIPTIDE_AGENT");
}

static void check_ledger(struct diagnosis *diagnosis)
{
    const struct rtd_ledger_options options = {.mode = RTD_MODE_SAMPLE, .interval_bytes = 1 << 19};
    struct rtd_ledger_handle handle = {.fd = -1, .ledger = NULL};
    const int result = rtd_ledger_create(&options, &handle);
    struct rtd_check *const check = add(diagnosis, "ledger", result == 0);

    if (result == 0) {
        (void)snprintf(check->text, sizeof(check->text), "shared memory can be made and sealed");
        rtd_ledger_close(&handle);
        return;
    }
    (void)snprintf(check->text, sizeof(check->text), "shared memory cannot be made: %s",
                   strerror(-result));
    (void)snprintf(check->remedy, sizeof(check->remedy), "allow memfd_create and %zu KiB of memory",
                   RTD_LEDGER_BYTES / 1024);
}

static void check_socket(struct diagnosis *diagnosis)
{
    char name[RTD_SOCKET_NAME_BYTES];
    const int listener = rtd_collect_socket_open(name, sizeof(name));
    const int caller = listener < 0 ? listener : rtd_collect_socket_connect(name);
    struct rtd_check *const check = add(diagnosis, "socket", caller >= 0);

    if (caller >= 0) {
        (void)snprintf(check->text, sizeof(check->text), "abstract sockets work");
        close(caller);
    } else {
        (void)snprintf(check->text, sizeof(check->text), "abstract sockets do not work: %s",
                       strerror(-caller));
        (void)snprintf(check->remedy, sizeof(check->remedy),
                       "allow Unix sockets of type SOCK_SEQPACKET");
    }
    if (listener >= 0)
        close(listener);
}

/* Names are found without it, too, but by a worker that is not confined. */
static void check_confinement(struct diagnosis *diagnosis)
{
    const bool has = prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0;
    struct rtd_check *const check = add(diagnosis, "confinement", true);

    if (!has)
        check->result = RTD_CHECK_WARN;
    (void)snprintf(check->text, sizeof(check->text), "%s",
                   has ? "system call filters for the symbol worker; ptrace is not needed"
                       : "this kernel has no system call filters for the symbol worker");
}

static void warn_denied(struct diagnosis *diagnosis)
{
    struct rtd_check *const check = add(diagnosis, "executable", true);

    check->result = RTD_CHECK_WARN;
    (void)snprintf(check->text, sizeof(check->text), "you may not execute it");
    (void)snprintf(check->remedy, sizeof(check->remedy), "chmod +x it, or run it as its owner");
}

static int check_program(struct diagnosis *diagnosis, const char *name)
{
    char path[PATH_MAX];
    struct rtd_program_checks *const checks = malloc(sizeof(*checks));
    int result = checks ? rtd_launch_find(name, path, sizeof(path)) : -ENOMEM;

    /* A file that may not be executed can be looked at all the same. */
    const bool denied = result == -EACCES && strchr(name, '/');
    if (denied) {
        (void)snprintf(path, sizeof(path), "%s", name);
        result = 0;
    }
    if (result == 0)
        result = rtd_collect_check_program(path, checks);
    if (result == 0) {
        for (unsigned i = 0; i < checks->count; i++) {
            const struct rtd_check *const check = &checks->checks[i];
            diagnosis->checks[diagnosis->count++] = *check;
            /* Such a program runs, but a report of it would be empty. */
            if (check->result == RTD_CHECK_FAIL ||
                (check->result == RTD_CHECK_WARN && strcmp(check->id, "malloc") == 0))
                diagnosis->observable = false;
        }
        if (denied)
            warn_denied(diagnosis);
    }
    free(checks);
    return result;
}

/* Names come from the command line and out of the file: nothing in them may steer a terminal. */
static void put_clean(struct rtd_buffer *out, const char *text)
{
    for (; *text; text++)
        rtd_buffer_putc(out, (unsigned char)*text < ' ' || *text == 127 ? '?' : *text);
}

static void put_text(struct rtd_buffer *out, const struct diagnosis *diagnosis)
{
    for (unsigned i = 0; i < diagnosis->count; i++) {
        const struct rtd_check *const check = &diagnosis->checks[i];
        rtd_buffer_printf(out, "%s  %-12s ", result_marks[check->result], check->id);
        put_clean(out, check->text);
        if (check->remedy[0])
            rtd_buffer_printf(out, "; %s", check->remedy);
        rtd_buffer_putc(out, '\n');
    }
    put_clean(out, diagnosis->program ? diagnosis->program : "programs on this machine");
    rtd_buffer_printf(out, " %s be observed\n", diagnosis->observable ? "can" : "cannot");
}

static void put_json(struct rtd_buffer *out, const struct diagnosis *diagnosis)
{
    struct rtd_json json;

    rtd_json_init(&json, out);
    rtd_json_object(&json, NULL);
    rtd_json_string(&json, "schema", "riptide.doctor/1");
    rtd_json_string(&json, "program", diagnosis->program);
    rtd_json_bool(&json, "observable", diagnosis->observable);
    rtd_json_array(&json, "checks");
    for (unsigned i = 0; i < diagnosis->count; i++) {
        const struct rtd_check *const check = &diagnosis->checks[i];
        rtd_json_object(&json, NULL);
        rtd_json_string(&json, "id", check->id);
        rtd_json_string(&json, "result", result_words[check->result]);
        rtd_json_string(&json, "text", check->text);
        rtd_json_string(&json, "remedy", check->remedy[0] ? check->remedy : NULL);
        rtd_json_end(&json);
    }
    rtd_json_end(&json);
    rtd_json_end(&json);
    rtd_buffer_putc(out, '\n');
}

static int diagnose(const char *program, bool json)
{
    struct diagnosis diagnosis = {.program = program, .observable = true};
    struct rtd_buffer out;

    if (program) {
        const int result = check_program(&diagnosis, program);
        if (result < 0) {
            if (result == -ENOENT && !strchr(program, '/'))
                rtd_collect_say("%s: command not found", program);
            else
                rtd_collect_say("%s: %s", program,
                                result == -EINVAL ? "not a regular file" : strerror(-result));
            return RTD_EXIT_USAGE;
        }
    }
    check_agent(&diagnosis);
    check_ledger(&diagnosis);
    check_socket(&diagnosis);
    check_confinement(&diagnosis);
    rtd_buffer_init(&out);
    if (json)
        put_json(&out, &diagnosis);
    else
        put_text(&out, &diagnosis);
    const int written = rtd_cli_flush(STDOUT_FILENO, &out);
    if (written < 0) {
        rtd_collect_say("the result cannot be written: %s", strerror(-written));
        return RTD_EXIT_USAGE;
    }
    return diagnosis.observable ? 0 : 1;
}

int rtd_cli_doctor(const struct rtd_cli_command *command, int argc, char **argv)
{
    struct rtd_cli_parser parser;
    const char *program = NULL;
    bool json = false;

    rtd_cli_parser_init(&parser, command, argc, argv);
    for (;;) {
        switch (rtd_cli_next(&parser)) {
        case RTD_CLI_END:
            return diagnose(program, json);
        case RTD_CLI_HELP:
            return 0;
        case RTD_CLI_ERROR:
            return RTD_EXIT_USAGE;
        case RTD_CLI_ARGUMENT:
            if (program)
                return rtd_cli_usage(command, "one program at a time");
            program = parser.value;
            break;
        case OPTION_JSON:
            json = true;
            break;
        default:
            break;
        }
    }
}
