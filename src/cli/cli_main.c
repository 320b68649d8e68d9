// SPDX-License-Identifier: Apache-2.0
/*
 * cli_main.c - riptide: finds the subcommand and hands over.
 *
 * Runs in:    command line; with the hidden first argument, the symbol worker
 * Threads:    one
 * Allocates:  never
 * Fails:      wrong usage is one line on stderr and exit status 2
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli_commands.h"
#include "collect/collect_say.h"
#include "symbol/symbol_resolver.h"

const struct rtd_cli_command rtd_cli_commands[] = {
    {"run", "[OPTION...] [--] PROG [ARG...]", "run a program and watch its memory",
     "Gives back the program's own exit status (128+n for signal n). The program's stdin, stdout\n"
     "and stderr are its own; RipTide's few lines go to stderr.",
     rtd_cli_run_options, true, RTD_CLI_PROGRAM, rtd_cli_run},
    {"report", "FILE|PID [OPTION...]", "show a recording, or a process under riptide run", NULL,
     rtd_cli_report_options, false, RTD_CLI_RECORDING, rtd_cli_report},
    {"gc", "PID [OPTION...]", "make a running program's allocator give free memory back",
     "The program does it itself, at its next safe point: it must run under riptide run.\n"
     "Exit status 0: done; 1: not done, and the answer says why.",
     rtd_cli_gc_options, false, RTD_CLI_NOTHING, rtd_cli_gc},
    {"doctor", "[PROG] [OPTION...]", "can this program be observed here, and if not, why",
     "Exit status 0: it can; 1: it cannot.", rtd_cli_doctor_options, false, RTD_CLI_PROGRAM,
     rtd_cli_doctor},
    {"completion", "bash|zsh|fish", NULL, "Prints the shell's completions for riptide.",
     rtd_cli_completion_options, false, RTD_CLI_NOTHING, rtd_cli_completion},
    {0},
};

static void print_help(void)
{
    printf("usage: riptide COMMAND [OPTION...]\n\n"
           "Where a program's memory is, what leaks, and where in the code.\n\ncommands:\n");
    for (const struct rtd_cli_command *command = rtd_cli_commands; command->name; command++) {
        if (command->summary)
            printf("  %-10s %s\n", command->name, command->summary);
    }
    printf("\noptions:\n  --help     this text; riptide COMMAND --help for one command\n"
           "  --version  the version\n\nexample:\n  riptide run --report -- ./server\n");
}

/* A closed standard descriptor must not become a socket of ours: lines meant for stderr would go
 * into it. Close-on-exec, so the program still finds it closed. */
static void fill_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        const int opened = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (opened >= 0 && opened != fd)
            close(opened);
    }
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], RTD_SYMBOL_WORKER_ARGUMENT) == 0)
        return rtd_symbol_worker_main(RTD_SYMBOL_WORKER_FD);
    fill_standard_descriptors();
    if (argc < 2) {
        rtd_collect_say("a command is missing; see riptide --help");
        return RTD_EXIT_USAGE;
    }
    const char *const word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        print_help();
        return 0;
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        printf("riptide %s\n", RTD_VERSION);
        return 0;
    }
    for (const struct rtd_cli_command *command = rtd_cli_commands; command->name; command++) {
        if (strcmp(command->name, word) == 0)
            return command->main(command, argc - 1, argv + 1);
    }
    rtd_collect_say("unknown %s %.200s; see riptide --help", word[0] == '-' ? "option" : "command",
                    word);
    return RTD_EXIT_USAGE;
}
