// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_dwarf_test.c - addresses to functions, files and lines, against the compiler and
 * addr2line.
 *
 * Runs in:    test; needs a C compiler and binutils at run time, otherwise it is skipped
 * Threads:    one
 * Allocates:  yes
 * Fails:      with the line of the broken promise
 */
#include "../support/support_skip.h"
#include "../support/support_symbol.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void inlined_calls_are_frames_with_their_own_lines(void **state)
{
    const struct rtd_support_program *const built = *state;
    struct rtd_support_answer answer = rtd_support_answer_start(NULL);

    assert_int_equal(rtd_symbol_resolver_worker_pid(answer.resolver), 0);
    rtd_support_ask_path(&answer, built->path, built->inlined_call);
    rtd_support_assert_inline_chain(&answer);
    rtd_support_ask_path(&answer, built->path, built->mangled_call);
    assert_string_equal(answer.frames[0].function, "foo::bar(int)");
    assert_int_equal(answer.stats->worker_starts, 1);
    assert_int_equal(answer.stats->addresses_resolved, 2);
    rtd_support_answer_finish(&answer);
}

/* The last part of a path, which is what tools agree on. */
static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Compares every third byte of code with `addr2line -i -f -e`; the number of differences. */
static unsigned compare_with_addr2line(const struct rtd_support_program *built, const char *path,
                                       uint64_t low, uint64_t high)
{
    struct rtd_support_answer answer = rtd_support_answer_start(NULL);
    char command[1300], function[1024], place[1024];
    unsigned differences = 0;

    (void)snprintf(command, sizeof(command), "%s/addresses", built->directory);
    FILE *file = fopen(command, "w");
    assert_non_null(file);
    for (uint64_t at = low; at < high; at += 3)
        (void)fprintf(file, "%" PRIx64 "\n", at);
    (void)fclose(file);
    (void)snprintf(command, sizeof(command), "addr2line -a -i -f -e %s < %s/addresses", path,
                   built->directory);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    uint64_t address = 0;
    size_t frame = 0;
    while (fgets(function, sizeof(function), pipe)) {
        if (strncmp(function, "0x", 2) == 0) {
            address = strtoull(function, NULL, 16);
            rtd_support_ask_path(&answer, path, address);
            frame = 0;
            continue;
        }
        assert_non_null(fgets(place, sizeof(place), pipe));
        function[strcspn(function, "\n")] = '\0';
        place[strcspn(place, " \n")] = '\0';
        char ours[1200] = "??:?";
        if (frame < answer.count && answer.frames[frame].line > 0)
            (void)snprintf(ours, sizeof(ours), "%s:%" PRIu32, base_name(answer.frames[frame].file),
                           answer.frames[frame].line);
        /* It names the file of a symbol without a line as FILE:?. */
        const bool is_unknown = strcmp(place, "??:0") == 0 || strstr(place, ":?");
        if (!is_unknown && strcmp(base_name(place), ours) != 0) {
            (void)fprintf(stderr, "%" PRIx64 " frame %zu: %s %s, ours %s %s\n", address, frame,
                          function, place,
                          frame < answer.count ? answer.frames[frame].function : "", ours);
            differences++;
        }
        frame++;
    }
    (void)pclose(pipe);
    rtd_support_answer_finish(&answer);
    return differences;
}

static void lines_agree_with_addr2line(void **state)
{
    const struct rtd_support_program *const built = *state;
    if (rtd_support_run("addr2line --version > %s/version", built->directory))
        rtd_support_skip("addr2line is not installed");
    assert_int_equal(compare_with_addr2line(built, built->path, built->inlined_call - 40,
                                            built->inlined_call + 120),
                     0);
}

/* Where outer() is in a program, by its symbol. */
static int find_outer(const char *path, uint64_t *low, uint64_t *high)
{
    char command[800];
    uint64_t bytes = 0;

    (void)snprintf(command, sizeof(command), "nm -S %s | grep ' outer$'", path);
    FILE *pipe = popen(command, "r");
    const int count = pipe ? fscanf(pipe, "%" SCNx64 " %" SCNx64, low, &bytes) : 0;
    if (pipe)
        (void)pclose(pipe);
    *high = *low + bytes;
    return count == 2 ? 0 : -1;
}

static void lines_agree_whatever_the_compiler_wrote(void **state)
{
    const struct rtd_support_program *const built = *state;
    static const char *const compilers[] = {"cc -g -O2 -gdwarf-4", "cc -g1 -O2",
                                            "cc -g -O2 -gz",       "cc -g -O0",
                                            "clang -g -O2",        "clang -g -O2 -gdwarf-4"};
    char path[700];
    uint64_t low = 0, high = 0;

    if (rtd_support_run("addr2line --version > %s/version", built->directory))
        rtd_support_skip("addr2line is not installed");
    (void)snprintf(path, sizeof(path), "%s/variant", built->directory);
    for (size_t i = 0; i < sizeof(compilers) / sizeof(compilers[0]); i++) {
        if (rtd_support_run("cd %s && %s -o variant program.c 2>variant.log", built->directory,
                            compilers[i]))
            continue;
        assert_int_equal(find_outer(path, &low, &high), 0);
        assert_int_equal(compare_with_addr2line(built, path, low, high), 0);
    }
}

static void a_lambda_is_named_by_what_is_around_it(void **state)
{
    const struct rtd_support_program *const built = *state;
    static const char source[] =
        "#include <stdio.h>\nextern const char __executable_start[];\n"
        "namespace shop { namespace {\n"
        "template <class F> __attribute__((noinline)) void call(F f) { f(); }\n"
        "__attribute__((noinline)) void where() { printf(\"%lx\\n\", (unsigned long)((const char "
        "*)__builtin_return_address(0) - 1 - __executable_start)); }\n"
        "struct Till { __attribute__((noinline)) static void open(int x) {\n"
        "  call([x] { where(); __asm__ volatile(\"\" :: \"r\"(x)); }); } };\n"
        "} }\nint main(int argc, char **) { shop::Till::open(argc); }\n";
    char path[700];
    uint64_t address = 0;

    (void)snprintf(path, sizeof(path), "%s/lambda.cpp", built->directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(source, file) >= 0);
    assert_int_equal(fclose(file), 0);
    if (rtd_support_run("cd %s && c++ -g -O1 -o lambda lambda.cpp 2>variant.log", built->directory))
        rtd_support_skip("no C++ compiler");
    (void)snprintf(path, sizeof(path), "%s/lambda", built->directory);
    FILE *pipe = popen(path, "r");
    assert_non_null(pipe);
    assert_int_equal(fscanf(pipe, "%" SCNx64, &address), 1);
    (void)pclose(pipe);
    struct rtd_support_answer answer = rtd_support_answer_start(NULL);
    rtd_support_ask_path(&answer, path, address);
    assert_true(answer.count >= 1);
    assert_non_null(strstr(answer.frames[0].function, "open::"));
    assert_non_null(strstr(answer.frames[0].function, "operator()"));
    rtd_support_answer_finish(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inlined_calls_are_frames_with_their_own_lines),
        cmocka_unit_test(lines_agree_with_addr2line),
        cmocka_unit_test(lines_agree_whatever_the_compiler_wrote),
        cmocka_unit_test(a_lambda_is_named_by_what_is_around_it),
    };

    if (!rtd_support_has_tools())
        return rtd_support_skip_program("no C compiler or no binutils");
    return cmocka_run_group_tests(tests, rtd_support_program_make, rtd_support_program_remove);
}
