// SPDX-License-Identifier: Apache-2.0
/*
 * cli_completion.c - riptide completion: what bash, zsh and fish need to complete a command line.
 *
 * Runs in:    command line, while RipTide is built; nobody else needs it, so it is not listed
 * Threads:    one
 * Allocates:  never
 * Fails:      exit status 1: the script cannot be written; 2: wrong usage
 *
 * Why a program writes them: the tables that parse the command line and print --help are the only
 * place where an option is written down. A script is a fixed part, which finds out what the word
 * under the cursor can be, and cases made from the tables.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli_commands.h"
#include "collect/collect_say.h"

const struct rtd_cli_option rtd_cli_completion_options[] = {{0}};

/* The first of these that --help shows, or NULL: hidden ones are not completed either. */
static const struct rtd_cli_command *listed_command(const struct rtd_cli_command *command)
{
    while (command->name && !command->summary)
        command++;
    return command->name ? command : NULL;
}

static const struct rtd_cli_option *listed_option(const struct rtd_cli_option *option)
{
    while (option->id && !option->help)
        option++;
    return option->id ? option : NULL;
}

static bool takes_file(const struct rtd_cli_option *option)
{
    return option->value && strcmp(option->value, "FILE") == 0;
}

/* Inside single quotes. `special` are characters that the shell's own syntax wants marked. */
static void put_quoted(const char *text, const char *special, const char *quote)
{
    for (; *text; text++) {
        if (*text == '\'') {
            (void)fputs(quote, stdout);
            continue;
        }
        if (strchr(special, *text))
            (void)putchar('\\');
        (void)putchar(*text);
    }
}

static const char bash_head[] =
    "# bash completion of riptide, written by `riptide completion bash`\n"
    "\n"
    "_riptide_words()\n"
    "{\n"
    "    mapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$cur\")\n"
    "}\n"
    "\n"
    "_riptide_files()\n"
    "{\n"
    "    compopt -o filenames 2>/dev/null\n"
    "    mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
    "}\n"
    "\n"
    "# Recordings, folders that may hold some, and processes that can be asked.\n"
    "_riptide_recordings()\n"
    "{\n"
    "    compopt -o filenames 2>/dev/null\n"
    "    mapfile -t COMPREPLY < <(compgen -f -X '!*.riptide' -- \"$cur\"; compgen -d -- \"$cur\"\n"
    "        compgen -W \"$(pgrep -x riptide 2>/dev/null)\" -- \"$cur\")\n"
    "}\n"
    "\n"
    "# A program at word $1 of COMP_WORDS, and its arguments: as if it stood there alone.\n"
    "_riptide_program()\n"
    "{\n"
    "    if declare -F _comp_command_offset >/dev/null; then\n"
    "        _comp_command_offset \"$1\"\n"
    "    elif declare -F _command_offset >/dev/null; then\n"
    "        _command_offset \"$1\"\n"
    "    elif (($1 == COMP_CWORD)); then\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        mapfile -t COMPREPLY < <(compgen -c -- \"$cur\")\n"
    "    else\n"
    "        _riptide_files\n"
    "    fi\n"
    "}\n"
    "\n";

static const char bash_tail[] =
    "_riptide()\n"
    "{\n"
    "    local line=$COMP_LINE words=() starts=() i\n"
    "    COMPREPLY=()\n"
    "    # bash splits words at = and : as well; only blanks count here.\n"
    "    for ((i = 0; i <= COMP_CWORD; i++)); do\n"
    "        if ((i == 0)) || [[ $line == [[:blank:]]* ]]; then\n"
    "            line=${line#\"${line%%[![:blank:]]*}\"}\n"
    "            words+=(\"${COMP_WORDS[i]}\")\n"
    "            starts+=(\"$i\")\n"
    "        else\n"
    "            words[-1]+=${COMP_WORDS[i]}\n"
    "        fi\n"
    "        line=${line#\"${COMP_WORDS[i]}\"}\n"
    "    done\n"
    "    local last=$((${#words[@]} - 1)) at=2 only=\n"
    "    local cur=${words[last]} command=${words[1]}\n"
    "    if ((last == 1)); then\n"
    "        _riptide_words \"$_riptide_commands --help --version\"\n"
    "        return\n"
    "    fi\n"
    "    while ((at < last)); do\n"
    "        if [[ -z $only && ${words[at]} == -- ]]; then\n"
    "            only=yes\n"
    "        elif [[ -z $only && ${words[at]} == -?* ]]; then\n"
    "            ! _riptide_takes_value \"$command ${words[at]}\" || ((++at))\n"
    "        elif _riptide_stops \"$command\"; then\n"
    "            _riptide_program \"${starts[at]}\"\n"
    "            return\n"
    "        fi\n"
    "        ((++at))\n"
    "    done\n"
    "    if ((at > last)); then\n"
    "        _riptide_value \"$command ${words[last - 1]}\"\n"
    "    elif [[ -z $only && $cur == --*=* ]]; then\n"
    "        local option=${cur%%=*}\n"
    "        cur=${cur#*=}\n"
    "        _riptide_value \"$command $option\"\n"
    "        # What bash takes for the word is what is replaced: all of it, if = does not split.\n"
    "        [[ $COMP_WORDBREAKS == *=* ]] || COMPREPLY=(\"${COMPREPLY[@]/#/$option=}\")\n"
    "    elif [[ -z $only && $cur == -* ]]; then\n"
    "        _riptide_options \"$command\"\n"
    "    else\n"
    "        _riptide_subject \"$command\" \"${starts[last]}\"\n"
    "    fi\n"
    "} &&\n"
    "    complete -F _riptide riptide\n";

/* The option as a pattern of `case`: "run --output" | "run -o". */
static void put_bash_pattern(const struct rtd_cli_command *command,
                             const struct rtd_cli_option *option)
{
    printf("    \"%s --%s\"", command->name, option->name);
    if (option->letter)
        printf(" | \"%s -%c\"", command->name, option->letter);
}

static void put_bash_values(void)
{
    printf("_riptide_takes_value()\n{\n    case $1 in\n");
    for (const struct rtd_cli_command *command = listed_command(rtd_cli_commands); command;
         command = listed_command(command + 1)) {
        for (const struct rtd_cli_option *option = listed_option(command->options); option;
             option = listed_option(option + 1)) {
            if (option->value) {
                put_bash_pattern(command, option);
                printf(") return 0 ;;\n");
            }
        }
    }
    printf("    esac\n    return 1\n}\n\n_riptide_value()\n{\n    case $1 in\n");
    for (const struct rtd_cli_command *command = listed_command(rtd_cli_commands); command;
         command = listed_command(command + 1)) {
        for (const struct rtd_cli_option *option = listed_option(command->options); option;
             option = listed_option(option + 1)) {
            if (!option->choices && !takes_file(option))
                continue;
            put_bash_pattern(command, option);
            if (option->choices)
                printf(") _riptide_words '%s' ;;\n", option->choices);
            else
                printf(") _riptide_files ;;\n");
        }
    }
    printf("    esac\n}\n\n");
}

static void put_bash_options(void)
{
    printf("_riptide_options()\n{\n    case $1 in\n");
    for (const struct rtd_cli_command *command = listed_command(rtd_cli_commands); command;
         command = listed_command(command + 1)) {
        printf("    %s) _riptide_words '", command->name);
        for (const struct rtd_cli_option *option = listed_option(command->options); option;
             option = listed_option(option + 1))
            printf("--%s ", option->name);
        printf("--help' ;;\n");
    }
    printf("    esac\n}\n\n");
}

static void write_bash(void)
{
    (void)fputs(bash_head, stdout);
    printf("_riptide_commands='");
    const char *between = "";
    for (const struct rtd_cli_command *command = listed_command(rtd_cli_commands); command;
         command = listed_command(command + 1)) {
        printf("%s%s", between, command->name);
        between = " ";
    }
    printf("'\n\n");
    put_bash_values();
    put_bash_options();
    printf("# Everything from the first argument on belongs to the program that it names.\n"
           "_riptide_stops()\n{\n    case $1 in\n");
    for (const struct rtd_cli_command *command = listed_command(rtd_cli_commands); command;
         command = listed_command(command + 1)) {
        if (command->stops_at_argument)
            printf("    %s) return 0 ;;\n", command->name);
    }
    printf("    esac\n    return 1\n}\n\n_riptide_subject()\n{\n    case $1 in\n");
    for (const struct rtd_cli_command *command = listed_command(rtd_cli_commands); command;
         command = listed_command(command + 1)) {
        if (command->subject != RTD_CLI_NOTHING)
            printf("    %s) %s ;;\n", command->name,
                   command->subject == RTD_CLI_PROGRAM ? "_riptide_program \"$2\""
                                                       : "_riptide_recordings");
    }
    printf("    esac\n}\n\n");
    (void)fputs(bash_tail, stdout);
}

/* One specification of _arguments. */
static void put_zsh_option(const struct rtd_cli_option *option)
{
    printf("            ");
    if (option->letter)
        printf("'(-%c --%s)'{-%c%s,--%s%s}", option->letter, option->name, option->letter,
               option->value ? "+" : "", option->name, option->value ? "=" : "");
    else
        printf("--%s%s", option->name, option->value ? "=" : "");
    printf("'[");
    put_quoted(option->help, "[]\\", "'\\''");
    printf("]");
    if (option->value) {
        printf(":");
        put_quoted(option->value, ":\\", "'\\''");
        printf(":");
        if (option->choices)
            printf("(%s)", option->choices);
        else if (takes_file(option))
            printf("_files");
        else
            printf(" ");
    }
    printf("' \\\n");
}

static void put_zsh_command(const struct rtd_cli_command *command)
{
    printf("        %s)\n          _arguments -s -S \\\n", command->name);
    for (const struct rtd_cli_option *option = listed_option(command->options); option;
         option = listed_option(option + 1))
        put_zsh_option(option);
    printf("            '(- *)'{-h,--help}'[this text]'");
    if (command->subject == RTD_CLI_PROGRAM)
        printf(" \\\n            '(-):program: _command_names -e'");
    else if (command->subject == RTD_CLI_RECORDING)
        printf(" \\\n            ':recording or process: _riptide_recordings'");
    if (command->stops_at_argument)
        printf(" \\\n            '*::argument: _normal'");
    printf(" && ret=0\n          ;;\n");
}

static void write_zsh(void)
{
    printf("#compdef riptide\n"
           "# zsh completion of riptide, written by `riptide completion zsh`\n\n"
           "_riptide_recordings() {\n"
           "  _alternative 'files:recording:_files -g \"*.riptide(-.)\"' "
           "'processes:process:_pids'\n"
           "}\n\n"
           "_riptide() {\n"
           "  local curcontext=$curcontext state line ret=1\n"
           "  local -A opt_args\n"
           "  local -a commands\n"
           "  commands=(\n");
    for (const struct rtd_cli_command *command = listed_command(rtd_cli_commands); command;
         command = listed_command(command + 1)) {
        printf("    '%s:", command->name);
        put_quoted(command->summary, "\\", "'\\''");
        printf("'\n");
    }
    printf("  )\n"
           "  _arguments -C '(- *)'{-h,--help}'[the commands]' "
           "'(- *)'{-V,--version}'[the version]' \\\n"
           "    '1:command:->command' '*::argument:->argument' && ret=0\n"
           "  case $state in\n"
           "    command)\n"
           "      _describe -t commands 'riptide command' commands && ret=0\n"
           "      ;;\n"
           "    argument)\n"
           "      curcontext=\"${curcontext%%:*:*}:riptide-$words[1]:\"\n"
           "      case $words[1] in\n");
    for (const struct rtd_cli_command *command = listed_command(rtd_cli_commands); command;
         command = listed_command(command + 1))
        put_zsh_command(command);
    printf("      esac\n      ;;\n  esac\n  return ret\n}\n\n_riptide \"$@\"\n");
}

static const char fish_tail[] =
    "# Where the cursor is: \"command\"; the command whose words are completed; or \"program N\":\n"
    "# in the command line of the program that is to run, which begins at word N.\n"
    "function __riptide_place\n"
    "    set -l words (commandline -opc)\n"
    "    set -l at 3\n"
    "    set -l only no\n"
    "    if test (count $words) -lt 2\n"
    "        echo command\n"
    "        return\n"
    "    end\n"
    "    while test $at -le (count $words)\n"
    "        set -l word $words[$at]\n"
    "        if test $only = no -a \"$word\" = --\n"
    "            set only yes\n"
    "        else if test $only = no; and string match -qr -- '^-.' \"$word\"\n"
    "            contains -- \"$words[2] $word\" $__riptide_valued\n"
    "            and set at (math $at + 1)\n"
    "        else if contains -- $words[2] $__riptide_stopping\n"
    "            echo program $at\n"
    "            return\n"
    "        end\n"
    "        set at (math $at + 1)\n"
    "    end\n"
    "    echo $words[2]\n"
    "end\n"
    "\n"
    "function __riptide_at\n"
    "    contains -- (__riptide_place) $argv\n"
    "end\n"
    "\n"
    "function __riptide_in_program\n"
    "    string match -q 'program *' (__riptide_place)\n"
    "end\n"
    "\n"
    "function __riptide_program\n"
    "    set -l words (commandline -opc)\n"
    "    set -l place (string split ' ' (__riptide_place))\n"
    "    set -l line (string escape -- $words[$place[2]..-1]) (commandline -ct)\n"
    "    complete --do-complete=(string join ' ' -- $line)\n"
    "end\n"
    "\n"
    "complete -c riptide -f\n"
    "complete -c riptide -n '__riptide_at command' -s h -l help -d 'the commands'\n"
    "complete -c riptide -n '__riptide_at command' -s V -l version -d 'the version'\n"
    "complete -c riptide -n __riptide_in_program -a '(__riptide_program)'\n";

static void put_fish_option(const struct rtd_cli_command *command,
                            const struct rtd_cli_option *option)
{
    printf("complete -c riptide -n '__riptide_at %s'", command->name);
    if (option->letter)
        printf(" -s %c", option->letter);
    printf(" -l %s", option->name);
    if (takes_file(option))
        printf(" -r -F");
    else if (option->value)
        printf(" -x");
    if (option->choices)
        printf(" -a '%s'", option->choices);
    printf(" -d '");
    put_quoted(option->help, "\\", "\\'");
    printf("'\n");
}

static void put_fish_lists(void)
{
    printf("# Options that take their value from the next word.\nset -g __riptide_valued");
    for (const struct rtd_cli_command *command = listed_command(rtd_cli_commands); command;
         command = listed_command(command + 1)) {
        for (const struct rtd_cli_option *option = listed_option(command->options); option;
             option = listed_option(option + 1)) {
            if (!option->value)
                continue;
            printf(" '%s --%s'", command->name, option->name);
            if (option->letter)
                printf(" '%s -%c'", command->name, option->letter);
        }
    }
    printf("\n# Commands that end with a program and its own words.\nset -g __riptide_stopping");
    for (const struct rtd_cli_command *command = listed_command(rtd_cli_commands); command;
         command = listed_command(command + 1)) {
        if (command->stops_at_argument)
            printf(" %s", command->name);
    }
    printf("\n\n");
}

static void write_fish(void)
{
    static const char *const subjects[] = {
        [RTD_CLI_NOTHING] = NULL,
        [RTD_CLI_PROGRAM] = "(complete --do-complete=(commandline -ct))",
        [RTD_CLI_RECORDING] = "(__fish_complete_suffix .riptide; __fish_complete_pids)",
    };

    printf("# fish completion of riptide, written by `riptide completion fish`\n\n");
    put_fish_lists();
    (void)fputs(fish_tail, stdout);
    for (const struct rtd_cli_command *command = listed_command(rtd_cli_commands); command;
         command = listed_command(command + 1)) {
        printf("\ncomplete -c riptide -n '__riptide_at command' -a %s -d '", command->name);
        put_quoted(command->summary, "\\", "\\'");
        printf("'\n");
        for (const struct rtd_cli_option *option = listed_option(command->options); option;
             option = listed_option(option + 1))
            put_fish_option(command, option);
        printf("complete -c riptide -n '__riptide_at %s' -s h -l help -d 'this text'\n",
               command->name);
        if (subjects[command->subject])
            printf("complete -c riptide -n '__riptide_at %s' -a '%s'\n", command->name,
                   subjects[command->subject]);
    }
}

static int write_script(const struct rtd_cli_command *command, const char *shell)
{
    static const struct {
        const char *name;
        void (*write)(void);
    } shells[] = {{"bash", write_bash}, {"fish", write_fish}, {"zsh", write_zsh}};

    for (size_t i = 0; i < sizeof(shells) / sizeof(shells[0]); i++) {
        if (strcmp(shell, shells[i].name) != 0)
            continue;
        shells[i].write();
        if (fflush(stdout) == 0 && !ferror(stdout))
            return 0;
        rtd_collect_say("the completions cannot be written: %s", strerror(errno));
        return 1;
    }
    return rtd_cli_usage(command, "%.100s: bash, zsh or fish", shell);
}

int rtd_cli_completion(const struct rtd_cli_command *command, int argc, char **argv)
{
    struct rtd_cli_parser parser;
    const char *shell = NULL;

    rtd_cli_parser_init(&parser, command, argc, argv);
    for (;;) {
        switch (rtd_cli_next(&parser)) {
        case RTD_CLI_END:
            return shell ? write_script(command, shell)
                         : rtd_cli_usage(command, "name a shell: bash, zsh or fish");
        case RTD_CLI_HELP:
            return 0;
        case RTD_CLI_ARGUMENT:
            if (shell)
                return rtd_cli_usage(command, "one shell at a time");
            shell = parser.value;
            break;
        default:
            return RTD_EXIT_USAGE;
        }
    }
}
