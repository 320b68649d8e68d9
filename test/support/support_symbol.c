// SPDX-License-Identifier: Apache-2.0
/*
 * support_symbol.c - a program with known addresses, and a resolver that is asked about it.
 *
 * Runs in:    unit tests of src/symbol; needs a C compiler and binutils at run time
 * Threads:    one
 * Allocates:  yes
 * Fails:      by an assertion of cmocka, in the test that called
 */
#include "../support/support_symbol.h"
#include "../support/support_skip.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A program that prints where it called leaf() from: three calls inlined into one. */
static const char program_source[] =
    "#include <stdio.h>\n"
    "extern const char __executable_start[];\n"
    "__attribute__((noinline)) static void leaf(void) {\n"
    "    printf(\"%lx\\n\", (unsigned long)((const char *)__builtin_return_address(0) - 1 - "
    "__executable_start));\n"
    "}\n"
    "__attribute__((always_inline)) static inline int inner(int x) {\n"
    "    leaf();\n" /* 7 */
    "    return x + 1;\n"
    "}\n"
    "__attribute__((always_inline)) static inline int middle(int x) {\n"
    "    return inner(x) * 3;\n" /* 11 */
    "}\n"
    "__attribute__((noinline)) int outer(int x) {\n"
    "    return middle(x) + 2;\n" /* 14 */
    "}\n"
    "__attribute__((noinline)) void mangled(void) __asm__(\"_ZN3foo3barEi\");\n"
    "void mangled(void) { leaf(); __asm__ volatile(\"\"); }\n"
    "int main(int argc, char **argv) {\n"
    "    (void)argv;\n"
    "    outer(argc);\n"
    "    mangled();\n"
    "    fflush(stdout);\n"
    "    if (argc > 1) getchar();\n"
    "    return 0;\n"
    "}\n";

bool rtd_support_has_tools(void)
{
    return system("cc --version >&2 && strip --version >&2") == 0;
}

int rtd_support_run(const char *format, ...)
{
    char command[4096];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(command, sizeof(command), format, arguments);
    va_end(arguments);
    return system(command);
}

/* The program prints its two addresses. */
static int read_addresses(struct rtd_support_program *built)
{
    FILE *pipe = popen(built->path, "r");
    const int count =
        pipe ? fscanf(pipe, "%" SCNx64 " %" SCNx64, &built->inlined_call, &built->mangled_call) : 0;
    if (pipe)
        (void)pclose(pipe);
    return count == 2 ? 0 : -1;
}

static int write_source(const char *path)
{
    FILE *file = fopen(path, "w");

    if (!file)
        return -1;
    const bool is_written = fputs(program_source, file) >= 0;
    return fclose(file) == 0 && is_written ? 0 : -1;
}

int rtd_support_program_make(void **state)
{
    static struct rtd_support_program built;
    const char *const parent = getenv("TMPDIR");
    char source[600];

    (void)snprintf(built.directory, sizeof(built.directory), "%s/symbol-XXXXXX",
                   parent ? parent : P_tmpdir);
    if (!mkdtemp(built.directory))
        return -1;
    *state = &built;
    (void)snprintf(built.path, sizeof(built.path), "%s/program", built.directory);
    (void)snprintf(built.stripped, sizeof(built.stripped), "%s/stripped", built.directory);
    (void)snprintf(source, sizeof(source), "%s/program.c", built.directory);
    if (write_source(source) != 0 ||
        rtd_support_run("cd %s && cc -g -O2 -fno-ipa-icf -Wl,--build-id=sha1 -o program program.c "
                        "&& cp program stripped && strip stripped",
                        built.directory))
        return -1;
    return read_addresses(&built);
}

int rtd_support_program_remove(void **state)
{
    const struct rtd_support_program *const built = *state;

    return rtd_support_run("rm -rf '%s'", built->directory);
}

struct rtd_support_answer rtd_support_answer_start(const struct rtd_symbol_options *options)
{
    struct rtd_support_answer answer = {.resolver = rtd_symbol_resolver_new(options, NULL),
                                        .table = rtd_symbol_table_new(NULL)};

    assert_non_null(answer.resolver);
    assert_non_null(answer.table);
    answer.stats = rtd_symbol_resolver_stats(answer.resolver);
    return answer;
}

void rtd_support_answer_finish(struct rtd_support_answer *answer)
{
    rtd_symbol_resolver_free(answer->resolver);
    rtd_symbol_table_free(answer->table);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

void rtd_support_ask(struct rtd_support_answer *answer, const struct rtd_symbol_request *request)
{
    assert_true(rtd_symbol_resolver_resolve(answer->resolver, answer->table, request, 1) >= 0);
    answer->frames =
        rtd_symbol_table_get(answer->table, &request->module, request->offset, &answer->count);
    assert_non_null(answer->frames);
}

void rtd_support_ask_path(struct rtd_support_answer *answer, const char *path, uint64_t offset)
{
    const struct rtd_symbol_request request = {.module = {.path = path}, .offset = offset};

    rtd_support_ask(answer, &request);
}

void rtd_support_assert_inline_chain(const struct rtd_support_answer *answer)
{
    static const char *const functions[] = {"inner", "middle", "outer"};
    static const uint32_t lines[] = {7, 11, 14};

    assert_int_equal(answer->count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(answer->frames[i].function, functions[i]);
        assert_int_equal(answer->frames[i].line, lines[i]);
        assert_int_equal(answer->frames[i].inlined, i < 2);
        assert_int_equal(answer->frames[i].file[0], '/');
        assert_non_null(strstr(answer->frames[i].file, "/program.c"));
    }
}
