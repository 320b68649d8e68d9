// SPDX-License-Identifier: Apache-2.0
/*
 * cli_options.h - one table per subcommand drives both parsing and --help.
 *
 * Runs in:    command line
 * Threads:    one
 * Allocates:  never
 * Fails:      wrong usage is one line on stderr and RTD_EXIT_USAGE
 */
#ifndef RTD_CLI_OPTIONS_H
#define RTD_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RTD_EXIT_USAGE = 2, RTD_EXIT_NOT_EXECUTABLE = 126, RTD_EXIT_NOT_FOUND = 127 };

/* One option; a table ends with an all-zero entry. */
struct rtd_cli_option {
    int id;            /* > 0 */
    char letter;       /* 0: none */
    const char *name;  /* without the dashes */
    const char *value; /* name of its value in the help, NULL: a flag; "FILE" is completed as one */
    const char *help;  /* NULL: accepted but not listed */
    const char *choices; /* the words its value may be, or some of them, with blanks between; NULL:
                            anything. For the shells' completions. */
};

/* What a command's argument names, for the shells' completions. */
enum rtd_cli_subject { RTD_CLI_NOTHING = 0, RTD_CLI_PROGRAM, RTD_CLI_RECORDING };

struct rtd_cli_command {
    const char *name;
    const char *arguments; /* as --help shows them */
    const char *summary;   /* one line for `riptide --help`; NULL: not listed */
    const char *details;   /* paragraph for the command's own help, or NULL */
    const struct rtd_cli_option *options;
    bool stops_at_argument; /* everything from the first argument on belongs to somebody else */
    enum rtd_cli_subject subject;
    int (*main)(const struct rtd_cli_command *command, int argc, char **argv);
};

struct rtd_cli_parser {
    const struct rtd_cli_command *command;
    int argc;
    char **argv;
    int index;
    bool only_arguments; /* after -- */
    const char *value;   /* of the option or the argument just returned; borrowed from argv */
};

enum { RTD_CLI_END = 0, RTD_CLI_ERROR = -1, RTD_CLI_ARGUMENT = -2, RTD_CLI_HELP = -3 };

/* argv[0] is the command's name. */
void rtd_cli_parser_init(struct rtd_cli_parser *parser, const struct rtd_cli_command *command,
                         int argc, char **argv);

/*
 * The next option's id with parser->value; RTD_CLI_ARGUMENT; RTD_CLI_END (with stops_at_argument,
 * parser->index is the first argument); RTD_CLI_ERROR after having said why; RTD_CLI_HELP after
 * having printed the help.
 */
int rtd_cli_next(struct rtd_cli_parser *parser);

/* "4096", "64K", "1M", "1G" (also lower case, KiB/MiB/GiB) as bytes; false when it is none. */
bool rtd_cli_parse_bytes(const char *text, uint64_t *bytes);

/* A decimal number within limits; false when it is none. */
bool rtd_cli_parse_number(const char *text, uint64_t low, uint64_t high, uint64_t *number);

/* A finite number > 0; false when it is none. */
bool rtd_cli_parse_factor(const char *text, double *factor);

/* Says "riptide: TEXT; see riptide COMMAND --help" and returns RTD_EXIT_USAGE. */
int rtd_cli_usage(const struct rtd_cli_command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The subcommands, ending with an all-zero entry. */
extern const struct rtd_cli_command rtd_cli_commands[];

#endif
