// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_resolver_test.c - which file answers for a module, and which is refused.
 *
 * Runs in:    test; needs a C compiler and binutils at run time, otherwise it is skipped
 * Threads:    one
 * Allocates:  yes
 * Fails:      with the line of the broken promise
 */
#include "../support/support_skip.h"
#include "../support/support_symbol.h"
#include "symbol/symbol_elf.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void what_the_table_knows_starts_no_worker(void **state)
{
    const struct rtd_support_program *const built = *state;
    struct rtd_support_answer answer = rtd_support_answer_start(NULL);
    const struct rtd_symbol_module module = {.path = built->path};

    assert_int_equal(rtd_symbol_table_add(answer.table, &module, 5, NULL, 0), 1);
    rtd_support_ask_path(&answer, built->path, 5);
    assert_int_equal(answer.stats->worker_starts, 0);
    rtd_support_answer_finish(&answer);
}

static void without_debug_information_the_exported_symbol_is_the_answer(void **state)
{
    const struct rtd_support_program *const built = *state;
    struct rtd_support_answer answer = rtd_support_answer_start(NULL);

    if (rtd_support_run("cd %s && cc -O2 -shared -fPIC -o library.so program.c && strip library.so",
                        built->directory))
        rtd_support_skip("cc cannot build a shared library");
    char library[700];
    (void)snprintf(library, sizeof(library), "%s/library.so", built->directory);
    char command[800];
    (void)snprintf(command, sizeof(command), "nm -D -S %s | grep ' outer$'", library);
    FILE *pipe = popen(command, "r");
    uint64_t start_address = 0, bytes = 0;
    assert_non_null(pipe);
    assert_int_equal(fscanf(pipe, "%" SCNx64 " %" SCNx64, &start_address, &bytes), 2);
    (void)pclose(pipe);
    rtd_support_ask_path(&answer, library, start_address + bytes - 1);
    assert_int_equal(answer.count, 1);
    assert_string_equal(answer.frames[0].function, "outer");
    assert_string_equal(answer.frames[0].file, "");
    assert_int_equal(answer.frames[0].line, 0);
    /* Far beyond every symbol: nothing, rather than a wrong name. */
    rtd_support_ask_path(&answer, library, start_address + 0x100000);
    assert_int_equal(answer.count, 0);
    rtd_support_ask_path(&answer, built->stripped, built->inlined_call);
    assert_int_equal(answer.count, 0);
    rtd_support_answer_finish(&answer);
}

static void a_separate_debug_file_is_found_by_build_id_and_by_link(void **state)
{
    const struct rtd_support_program *const built = *state;
    struct rtd_symbol_elf elf;
    char path[700], debug[700];

    assert_int_equal(rtd_symbol_elf_inspect(built->path, &elf), 0);
    assert_int_equal(elf.build_id_bytes, 20);
    (void)snprintf(debug, sizeof(debug), "%s/debug", built->directory);
    if (rtd_support_run(
            "cd %s && mkdir -p debug/.build-id/%.2s && objcopy --only-keep-debug program "
            "debug/.build-id/%.2s/%s.debug && cp debug/.build-id/%.2s/%s.debug linked.debug && "
            "cp stripped linked && objcopy --add-gnu-debuglink=linked.debug linked",
            built->directory, elf.build_id_hex, elf.build_id_hex, elf.build_id_hex + 2,
            elf.build_id_hex, elf.build_id_hex + 2))
        rtd_support_skip("objcopy cannot separate debug information");
    struct rtd_support_answer answer =
        rtd_support_answer_start(&(struct rtd_symbol_options){.debug_directory = debug});
    rtd_support_ask_path(&answer, built->stripped, built->inlined_call);
    rtd_support_assert_inline_chain(&answer);
    rtd_support_answer_finish(&answer);
    answer =
        rtd_support_answer_start(&(struct rtd_symbol_options){.debug_directory = "/nonexistent"});
    (void)snprintf(path, sizeof(path), "%s/linked", built->directory);
    rtd_support_ask_path(&answer, path, built->inlined_call);
    rtd_support_assert_inline_chain(&answer);
    rtd_support_answer_finish(&answer);
}

static void another_build_id_is_refused(void **state)
{
    const struct rtd_support_program *const built = *state;
    struct rtd_support_answer answer = rtd_support_answer_start(NULL);
    const uint8_t other[20] = {1, 2, 3};
    struct rtd_symbol_elf elf;
    struct rtd_symbol_request request = {
        .module = {.path = built->path, .build_id = other, .build_id_bytes = sizeof(other)},
        .offset = built->inlined_call};

    rtd_support_ask(&answer, &request);
    assert_int_equal(answer.count, 0);
    assert_int_equal(answer.stats->modules_refused, 1);
    assert_int_equal(answer.stats->worker_starts, 0);
    assert_int_equal(rtd_symbol_elf_inspect(built->path, &elf), 0);
    request.module.build_id = elf.build_id;
    request.module.build_id_bytes = elf.build_id_bytes;
    rtd_support_ask(&answer, &request);
    rtd_support_assert_inline_chain(&answer);
    rtd_support_answer_finish(&answer);
}

static void odd_paths_are_refused_without_waiting(void **state)
{
    const struct rtd_support_program *const built = *state;
    struct rtd_support_answer answer = rtd_support_answer_start(NULL);
    char fifo[700], link[700];

    (void)snprintf(fifo, sizeof(fifo), "%s/fifo", built->directory);
    (void)snprintf(link, sizeof(link), "%s/link", built->directory);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(symlink(built->path, link), 0);
    const char *const paths[] = {
        fifo, link,      built->directory, "/dev/zero",      "/dev/tty",      "[vdso]",
        "",   "program", "/etc/passwd",    "/proc/self/mem", "/nonexistent/x"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        rtd_support_ask_path(&answer, paths[i], built->inlined_call);
        assert_int_equal(answer.count, 0);
        assert_int_equal(answer.stats->modules_refused, i + 1);
    }
    assert_int_equal(answer.stats->worker_starts, 0);
    /* With the build id of what was mapped, the link cannot lead astray. */
    struct rtd_symbol_elf elf;
    assert_int_equal(rtd_symbol_elf_inspect(built->path, &elf), 0);
    const struct rtd_symbol_request request = {
        .module = {.path = link, .build_id = elf.build_id, .build_id_bytes = elf.build_id_bytes},
        .offset = built->inlined_call};
    rtd_support_ask(&answer, &request);
    rtd_support_assert_inline_chain(&answer);
    rtd_support_answer_finish(&answer);
}

static void a_deleted_program_is_read_through_its_process(void **state)
{
    const struct rtd_support_program *const built = *state;
    char copy[700], marked[720];
    int input[2];

    (void)snprintf(copy, sizeof(copy), "%s/doomed", built->directory);
    (void)snprintf(marked, sizeof(marked), "%s (deleted)", copy);
    assert_int_equal(rtd_support_run("cp %s %s", built->path, copy), 0);
    assert_int_equal(pipe(input), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        const int null = open("/dev/null", O_WRONLY);

        (void)dup2(input[0], 0);
        (void)dup2(null, 1);
        (void)close(input[1]);
        (void)execl(copy, copy, "wait", (char *)NULL);
        _exit(127);
    }
    char link[64], target[700] = "";
    (void)snprintf(link, sizeof(link), "/proc/%d/exe", (int)pid);
    for (int i = 0; i < 500 && strcmp(target, copy) != 0; i++) {
        const ssize_t length = readlink(link, target, sizeof(target) - 1);

        target[length > 0 ? length : 0] = '\0';
        (void)usleep(2000);
    }
    assert_string_equal(target, copy);
    assert_int_equal(unlink(copy), 0);
    struct rtd_support_answer answer = rtd_support_answer_start(NULL);
    struct rtd_symbol_request request = {
        .module = {.path = marked}, .pid = pid, .offset = built->inlined_call};
    rtd_support_ask(&answer, &request);
    rtd_support_assert_inline_chain(&answer);
    request.module.path = copy;
    rtd_support_ask(&answer, &request);
    rtd_support_assert_inline_chain(&answer);
    (void)close(input[0]);
    (void)close(input[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    rtd_support_answer_finish(&answer);
}

static void bad_requests_are_refused(void **state)
{
    struct rtd_support_answer answer = rtd_support_answer_start(NULL);
    const struct rtd_symbol_request none = {.offset = 1};
    const struct rtd_symbol_request no_id = {.module = {.path = "/x", .build_id_bytes = 3}};

    (void)state;
    assert_int_equal(rtd_symbol_resolver_resolve(answer.resolver, answer.table, &none, 1), -EINVAL);
    assert_int_equal(rtd_symbol_resolver_resolve(answer.resolver, answer.table, &no_id, 1),
                     -EINVAL);
    assert_int_equal(rtd_symbol_resolver_resolve(answer.resolver, answer.table, NULL, 0), 0);
    rtd_symbol_resolver_rest(answer.resolver);
    rtd_support_answer_finish(&answer);
}

static void many_questions_about_several_modules_are_answered_at_once(void **state)
{
    const struct rtd_support_program *const built = *state;
    enum { COUNT = 6000 };
    static struct rtd_symbol_request requests[COUNT + 2];
    struct rtd_support_answer answer = rtd_support_answer_start(NULL);
    size_t count = 0;

    for (size_t i = 0; i < COUNT; i++)
        requests[i] = (struct rtd_symbol_request){
            .module = {.path = i % 3 ? built->path : built->stripped}, .offset = i / 2};
    requests[COUNT] =
        (struct rtd_symbol_request){.module = {.path = built->path}, .offset = built->inlined_call};
    requests[COUNT + 1] = requests[COUNT];
    assert_true(rtd_symbol_resolver_resolve(answer.resolver, answer.table, requests, COUNT + 2) >
                0);
    for (size_t i = 0; i < COUNT + 2; i++)
        assert_non_null(
            rtd_symbol_table_get(answer.table, &requests[i].module, requests[i].offset, &count));
    assert_int_equal(count, 3);
    assert_int_equal(answer.stats->worker_starts, 1);
    assert_int_equal(answer.stats->modules_failed, 0);
    assert_int_equal(answer.stats->addresses_resolved + answer.stats->addresses_unresolved,
                     rtd_symbol_table_count(answer.table));
    assert_int_equal(
        rtd_symbol_resolver_resolve(answer.resolver, answer.table, requests, COUNT + 2), 0);
    rtd_support_answer_finish(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_table_knows_starts_no_worker),
        cmocka_unit_test(without_debug_information_the_exported_symbol_is_the_answer),
        cmocka_unit_test(a_separate_debug_file_is_found_by_build_id_and_by_link),
        cmocka_unit_test(another_build_id_is_refused),
        cmocka_unit_test(odd_paths_are_refused_without_waiting),
        cmocka_unit_test(a_deleted_program_is_read_through_its_process),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(many_questions_about_several_modules_are_answered_at_once),
    };

    if (!rtd_support_has_tools())
        return rtd_support_skip_program("no C compiler or no binutils");
    return cmocka_run_group_tests(tests, rtd_support_program_make, rtd_support_program_remove);
}
