// SPDX-License-Identifier: Apache-2.0
/*
 * cli_options.c - one table per subcommand drives both parsing and --help.
 *
 * Runs in:    command line
 * Threads:    one
 * Allocates:  never
 * Fails:      by one line on stderr
 */
#include "cli/cli_options.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collect/collect_say.h"

enum { HELP_COLUMN = 28, MESSAGE_BYTES = 1024 };

void rtd_cli_parser_init(struct rtd_cli_parser *parser, const struct rtd_cli_command *command,
                         int argc, char **argv)
{
    *parser = (struct rtd_cli_parser){.command = command, .argc = argc, .argv = argv, .index = 1};
}

int rtd_cli_usage(const struct rtd_cli_command *command, const char *format, ...)
{
    char message[MESSAGE_BYTES];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    rtd_collect_say("%s; see riptide %s --help", message, command->name);
    return RTD_EXIT_USAGE;
}

static void print_help(const struct rtd_cli_command *command)
{
    printf("usage: riptide %s %s\n", command->name, command->arguments);
    if (command->summary)
        printf("\n%s\n", command->summary);
    if (command->details)
        printf("\n%s\n", command->details);
    printf("\noptions:\n");
    for (const struct rtd_cli_option *option = command->options; option->id; option++) {
        char left[64];
        if (!option->help)
            continue;
        (void)snprintf(left, sizeof(left), "%s%c%s%s%s%s%s", option->letter ? "-" : "",
                       option->letter ? option->letter : ' ',
                       option->letter && option->name ? ", " : "", option->name ? "--" : "",
                       option->name ? option->name : "", option->value ? " " : "",
                       option->value ? option->value : "");
        printf("  %-*s %s\n", HELP_COLUMN, left[0] == ' ' ? left + 1 : left, option->help);
    }
    printf("  %-*s %s\n", HELP_COLUMN, "--help", "this text");
}

static const struct rtd_cli_option *find_long(const struct rtd_cli_command *command,
                                              const char *name, size_t length)
{
    for (const struct rtd_cli_option *option = command->options; option->id; option++) {
        if (option->name && strlen(option->name) == length &&
            strncmp(option->name, name, length) == 0)
            return option;
    }
    return NULL;
}

static const struct rtd_cli_option *find_letter(const struct rtd_cli_command *command, char letter)
{
    for (const struct rtd_cli_option *option = command->options; option->id; option++) {
        if (option->letter && option->letter == letter)
            return option;
    }
    return NULL;
}

/* `attached` is the value in the same word, or NULL. */
static int take_value(struct rtd_cli_parser *parser, const struct rtd_cli_option *option,
                      const char *word, const char *attached)
{
    parser->value = attached;
    if (!option->value) {
        if (!attached)
            return option->id;
        (void)rtd_cli_usage(parser->command, "%s takes no value", word);
        return RTD_CLI_ERROR;
    }
    if (!attached) {
        if (parser->index >= parser->argc) {
            (void)rtd_cli_usage(parser->command, "%s needs a value (%s)", word, option->value);
            return RTD_CLI_ERROR;
        }
        parser->value = parser->argv[parser->index++];
    }
    return option->id;
}

static int take_long(struct rtd_cli_parser *parser, const char *word)
{
    const char *const name = word + 2;
    const size_t length = strcspn(name, "=");
    const struct rtd_cli_option *const option = find_long(parser->command, name, length);

    if (!option) {
        (void)rtd_cli_usage(parser->command, "unknown option %.*s", (int)length + 2, word);
        return RTD_CLI_ERROR;
    }
    return take_value(parser, option, word, name[length] == '=' ? name + length + 1 : NULL);
}

int rtd_cli_next(struct rtd_cli_parser *parser)
{
    while (parser->index < parser->argc) {
        char *const word = parser->argv[parser->index];
        if (parser->only_arguments || word[0] != '-' || word[1] == '\0') {
            if (parser->command->stops_at_argument)
                return RTD_CLI_END;
            parser->index++;
            parser->value = word;
            return RTD_CLI_ARGUMENT;
        }
        parser->index++;
        if (strcmp(word, "--") == 0) {
            parser->only_arguments = true;
            continue;
        }
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            print_help(parser->command);
            return RTD_CLI_HELP;
        }
        if (word[1] == '-')
            return take_long(parser, word);
        const struct rtd_cli_option *const option = find_letter(parser->command, word[1]);
        if (!option) {
            (void)rtd_cli_usage(parser->command, "unknown option -%c", word[1]);
            return RTD_CLI_ERROR;
        }
        return take_value(parser, option, word, word[2] ? word + 2 : NULL);
    }
    return RTD_CLI_END;
}

bool rtd_cli_parse_number(const char *text, uint64_t low, uint64_t high, uint64_t *number)
{
    char *end = NULL;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < low || value > high)
        return false;
    *number = value;
    return true;
}

bool rtd_cli_parse_bytes(const char *text, uint64_t *bytes)
{
    static const struct {
        const char *suffix;
        unsigned shift;
    } units[] = {{"", 0},    {"b", 0},    {"k", 10}, {"kb", 10}, {"kib", 10}, {"m", 20},
                 {"mb", 20}, {"mib", 20}, {"g", 30}, {"gb", 30}, {"gib", 30}};
    char *end = NULL;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    for (size_t i = 0; errno == 0 && i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcasecmp(end, units[i].suffix) != 0)
            continue;
        if (value > UINT64_MAX >> units[i].shift)
            return false;
        *bytes = value << units[i].shift;
        return true;
    }
    return false;
}

bool rtd_cli_parse_factor(const char *text, double *factor)
{
    char *end = NULL;

    errno = 0;
    const double value = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !isfinite(value) || value <= 0)
        return false;
    *factor = value;
    return true;
}
