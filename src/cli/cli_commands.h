// SPDX-License-Identifier: Apache-2.0
/*
 * cli_commands.h - the subcommands' entry points.
 *
 * Runs in:    command line
 * Threads:    one
 * Allocates:  each as its own file says
 * Fails:      by an exit status: 2 for wrong usage, after one line on stderr
 */
#ifndef RTD_CLI_COMMANDS_H
#define RTD_CLI_COMMANDS_H

#include "cli/cli_options.h"

extern const struct rtd_cli_option rtd_cli_run_options[];
extern const struct rtd_cli_option rtd_cli_report_options[];
extern const struct rtd_cli_option rtd_cli_doctor_options[];
extern const struct rtd_cli_option rtd_cli_gc_options[];
extern const struct rtd_cli_option rtd_cli_completion_options[];

/* Each takes argv[0] = its own name and returns the exit status of riptide. */
int rtd_cli_run(const struct rtd_cli_command *command, int argc, char **argv);
int rtd_cli_report(const struct rtd_cli_command *command, int argc, char **argv);
int rtd_cli_doctor(const struct rtd_cli_command *command, int argc, char **argv);
int rtd_cli_gc(const struct rtd_cli_command *command, int argc, char **argv);
int rtd_cli_completion(const struct rtd_cli_command *command, int argc, char **argv);

#endif
