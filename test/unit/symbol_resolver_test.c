// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_resolver_test.c - addresses to functions, files, lines; and files made to hurt.
 *
 * Runs in:    test; needs a C compiler and binutils at run time, otherwise it is skipped
 * Threads:    one
 * Allocates:  yes
 * Fails:      with the line of the broken promise
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "symbol/symbol_confine.h"
#include "symbol/symbol_elf.h"
#include "symbol/symbol_resolver.h"

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

static char directory[512], program[600], stripped[600];
static uint64_t inlined_call, mangled_call;

static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int run(const char *format, ...)
{
    char command[4096];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(command, sizeof(command), format, arguments);
    va_end(arguments);
    return system(command);
}

static int read_addresses(void)
{
    char command[700];

    (void)snprintf(command, sizeof(command), "%s", program);
    FILE *pipe = popen(command, "r");
    const int count = pipe ? fscanf(pipe, "%" SCNx64 " %" SCNx64, &inlined_call, &mangled_call) : 0;
    if (pipe)
        (void)pclose(pipe);
    return count == 2 ? 0 : -1;
}

static int make_files(void **state)
{
    const char *parent = getenv("TMPDIR");
    char source[600];

    (void)state;
    (void)snprintf(directory, sizeof(directory), "%s/symbol-XXXXXX", parent ? parent : P_tmpdir);
    if (!mkdtemp(directory))
        return -1;
    (void)snprintf(program, sizeof(program), "%s/program", directory);
    (void)snprintf(stripped, sizeof(stripped), "%s/stripped", directory);
    (void)snprintf(source, sizeof(source), "%s/program.c", directory);
    FILE *file = fopen(source, "w");
    if (!file || fputs(program_source, file) < 0 || fclose(file) != 0)
        return -1;
    if (run("cd %s && cc -g -O2 -fno-ipa-icf -Wl,--build-id=sha1 -o program program.c",
            directory) ||
        run("cd %s && cp program stripped && strip stripped", directory))
        return -1;
    return read_addresses();
}

static int remove_files(void **state)
{
    (void)state;
    return run("rm -rf '%s'", directory);
}

struct answer {
    struct rtd_symbol_resolver *resolver;
    struct rtd_symbol_table *table;
    const struct rtd_symbol_frame *frames;
    size_t count;
    const struct rtd_symbol_stats *stats;
};

static struct answer start(const struct rtd_symbol_options *options)
{
    struct answer answer = {.resolver = rtd_symbol_resolver_new(options, NULL),
                            .table = rtd_symbol_table_new(NULL)};

    assert_non_null(answer.resolver);
    assert_non_null(answer.table);
    answer.stats = rtd_symbol_resolver_stats(answer.resolver);
    return answer;
}

static void ask(struct answer *answer, const struct rtd_symbol_request *request)
{
    assert_true(rtd_symbol_resolver_resolve(answer->resolver, answer->table, request, 1) >= 0);
    answer->frames =
        rtd_symbol_table_get(answer->table, &request->module, request->offset, &answer->count);
    assert_non_null(answer->frames);
}

static void ask_path(struct answer *answer, const char *path, uint64_t offset)
{
    const struct rtd_symbol_request request = {.module = {.path = path}, .offset = offset};

    ask(answer, &request);
}

/* Also that no worker stays behind, not even as a zombie. */
static void finish(struct answer *answer)
{
    rtd_symbol_resolver_free(answer->resolver);
    rtd_symbol_table_free(answer->table);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void assert_inline_chain(const struct answer *answer)
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

static void inlined_calls_are_frames_with_their_own_lines(void **state)
{
    struct answer answer = start(NULL);

    (void)state;
    assert_int_equal(rtd_symbol_resolver_worker_pid(answer.resolver), 0);
    ask_path(&answer, program, inlined_call);
    assert_inline_chain(&answer);
    ask_path(&answer, program, mangled_call);
    assert_string_equal(answer.frames[0].function, "foo::bar(int)");
    assert_int_equal(answer.stats->worker_starts, 1);
    assert_int_equal(answer.stats->addresses_resolved, 2);
    finish(&answer);
}

static void a_worker_of_its_own_image_answers_the_same(void **state)
{
    struct answer answer = start(&(struct rtd_symbol_options){.exec_worker = true});

    (void)state;
    ask_path(&answer, program, inlined_call);
    assert_inline_chain(&answer);
    finish(&answer);
}

static void what_the_table_knows_starts_no_worker(void **state)
{
    struct answer answer = start(NULL);
    const struct rtd_symbol_module module = {.path = program};

    (void)state;
    assert_int_equal(rtd_symbol_table_add(answer.table, &module, 5, NULL, 0), 1);
    ask_path(&answer, program, 5);
    assert_int_equal(answer.stats->worker_starts, 0);
    finish(&answer);
}

static void without_debug_information_the_exported_symbol_is_the_answer(void **state)
{
    struct answer answer = start(NULL);

    (void)state;
    if (run("cd %s && cc -O2 -shared -fPIC -o library.so program.c && strip library.so", directory))
        skip();
    char library[700];
    (void)snprintf(library, sizeof(library), "%s/library.so", directory);
    char command[800];
    (void)snprintf(command, sizeof(command), "nm -D -S %s | grep ' outer$'", library);
    FILE *pipe = popen(command, "r");
    uint64_t start_address = 0, bytes = 0;
    assert_non_null(pipe);
    assert_int_equal(fscanf(pipe, "%" SCNx64 " %" SCNx64, &start_address, &bytes), 2);
    (void)pclose(pipe);
    ask_path(&answer, library, start_address + bytes - 1);
    assert_int_equal(answer.count, 1);
    assert_string_equal(answer.frames[0].function, "outer");
    assert_string_equal(answer.frames[0].file, "");
    assert_int_equal(answer.frames[0].line, 0);
    /* Far beyond every symbol: nothing, rather than a wrong name. */
    ask_path(&answer, library, start_address + 0x100000);
    assert_int_equal(answer.count, 0);
    ask_path(&answer, stripped, inlined_call);
    assert_int_equal(answer.count, 0);
    finish(&answer);
}

static void a_separate_debug_file_is_found_by_build_id_and_by_link(void **state)
{
    struct rtd_symbol_elf elf;
    char path[700], debug[700];

    (void)state;
    assert_int_equal(rtd_symbol_elf_inspect(program, &elf), 0);
    assert_int_equal(elf.build_id_bytes, 20);
    (void)snprintf(debug, sizeof(debug), "%s/debug", directory);
    if (run("cd %s && mkdir -p debug/.build-id/%.2s && objcopy --only-keep-debug program "
            "debug/.build-id/%.2s/%s.debug && cp debug/.build-id/%.2s/%s.debug linked.debug && "
            "cp stripped linked && objcopy --add-gnu-debuglink=linked.debug linked",
            directory, elf.build_id_hex, elf.build_id_hex, elf.build_id_hex + 2, elf.build_id_hex,
            elf.build_id_hex + 2))
        skip();
    struct answer answer = start(&(struct rtd_symbol_options){.debug_directory = debug});
    ask_path(&answer, stripped, inlined_call);
    assert_inline_chain(&answer);
    finish(&answer);
    answer = start(&(struct rtd_symbol_options){.debug_directory = "/nonexistent"});
    (void)snprintf(path, sizeof(path), "%s/linked", directory);
    ask_path(&answer, path, inlined_call);
    assert_inline_chain(&answer);
    finish(&answer);
}

static void another_build_id_is_refused(void **state)
{
    struct answer answer = start(NULL);
    const uint8_t other[20] = {1, 2, 3};
    struct rtd_symbol_elf elf;
    struct rtd_symbol_request request = {
        .module = {.path = program, .build_id = other, .build_id_bytes = sizeof(other)},
        .offset = inlined_call};

    (void)state;
    ask(&answer, &request);
    assert_int_equal(answer.count, 0);
    assert_int_equal(answer.stats->modules_refused, 1);
    assert_int_equal(answer.stats->worker_starts, 0);
    assert_int_equal(rtd_symbol_elf_inspect(program, &elf), 0);
    request.module.build_id = elf.build_id;
    request.module.build_id_bytes = elf.build_id_bytes;
    ask(&answer, &request);
    assert_inline_chain(&answer);
    finish(&answer);
}

static void odd_paths_are_refused_without_waiting(void **state)
{
    struct answer answer = start(NULL);
    char fifo[700], link[700];

    (void)state;
    (void)snprintf(fifo, sizeof(fifo), "%s/fifo", directory);
    (void)snprintf(link, sizeof(link), "%s/link", directory);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(symlink(program, link), 0);
    const char *const paths[] = {
        fifo, link,      directory,     "/dev/zero",      "/dev/tty",      "[vdso]",
        "",   "program", "/etc/passwd", "/proc/self/mem", "/nonexistent/x"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        ask_path(&answer, paths[i], inlined_call);
        assert_int_equal(answer.count, 0);
        assert_int_equal(answer.stats->modules_refused, i + 1);
    }
    assert_int_equal(answer.stats->worker_starts, 0);
    /* With the build id of what was mapped, the link cannot lead astray. */
    struct rtd_symbol_elf elf;
    assert_int_equal(rtd_symbol_elf_inspect(program, &elf), 0);
    const struct rtd_symbol_request request = {
        .module = {.path = link, .build_id = elf.build_id, .build_id_bytes = elf.build_id_bytes},
        .offset = inlined_call};
    ask(&answer, &request);
    assert_inline_chain(&answer);
    finish(&answer);
}

static void a_deleted_program_is_read_through_its_process(void **state)
{
    char copy[700], marked[720];
    int input[2];

    (void)state;
    (void)snprintf(copy, sizeof(copy), "%s/doomed", directory);
    (void)snprintf(marked, sizeof(marked), "%s (deleted)", copy);
    assert_int_equal(run("cp %s %s", program, copy), 0);
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
    struct answer answer = start(NULL);
    struct rtd_symbol_request request = {
        .module = {.path = marked}, .pid = pid, .offset = inlined_call};
    ask(&answer, &request);
    assert_inline_chain(&answer);
    request.module.path = copy;
    ask(&answer, &request);
    assert_inline_chain(&answer);
    (void)close(input[0]);
    (void)close(input[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    finish(&answer);
}

static void a_worker_killed_in_mid_question_costs_only_its_module(void **state)
{
    struct answer answer = start(NULL);

    (void)state;
    ask_path(&answer, program, inlined_call);
    const pid_t worker = rtd_symbol_resolver_worker_pid(answer.resolver);
    assert_int_equal(kill(worker, SIGSTOP), 0);
    const pid_t killer = fork();
    if (killer == 0) {
        (void)usleep(50000);
        _exit(kill(worker, SIGKILL) != 0);
    }
    ask_path(&answer, stripped, mangled_call);
    assert_int_equal(answer.count, 0);
    assert_int_equal(answer.stats->modules_failed, 1);
    assert_int_equal(answer.stats->timeouts, 0);
    assert_int_equal(waitpid(killer, NULL, 0), killer);
    ask_path(&answer, program, mangled_call);
    assert_int_equal(answer.count, 1);
    assert_int_equal(answer.stats->worker_starts, 2);
    finish(&answer);
}

static void a_signal_for_the_whole_service_does_not_end_the_worker(void **state)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
    struct answer answer = start(NULL);

    (void)state;
    ask_path(&answer, program, mangled_call);
    const pid_t worker = rtd_symbol_resolver_worker_pid(answer.resolver);
    assert_int_equal(getsid(worker), worker);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        assert_int_equal(kill(worker, signals[i]), 0);
    ask_path(&answer, program, inlined_call);
    assert_inline_chain(&answer);
    assert_int_equal(answer.stats->worker_starts, 1);
    finish(&answer);
}

static void a_worker_that_hangs_is_ended_in_time(void **state)
{
    struct answer answer = start(&(struct rtd_symbol_options){.module_timeout_ms = 2000});

    (void)state;
    ask_path(&answer, program, inlined_call);
    finish(&answer);
    answer = start(&(struct rtd_symbol_options){.module_timeout_ms = 100});
    ask_path(&answer, stripped, inlined_call);
    assert_int_equal(kill(rtd_symbol_resolver_worker_pid(answer.resolver), SIGSTOP), 0);
    ask_path(&answer, program, mangled_call);
    assert_int_equal(answer.count, 0);
    assert_int_equal(answer.stats->timeouts, 1);
    assert_int_equal(rtd_symbol_resolver_worker_pid(answer.resolver), 0);
    finish(&answer);
}

static void a_question_the_worker_may_not_ask_ends_it(void **state)
{
    int status = 0;

    (void)state;
    for (int i = 0; i < 2; i++) {
        const pid_t pid = fork();
        if (pid == 0) {
            if (rtd_symbol_confine() != 1)
                _exit(77);
            if (i == 0)
                _exit(open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES ? 0 : 1);
            _exit(socket(AF_UNIX, SOCK_STREAM, 0) < 0 ? 2 : 3);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
            skip();
        if (i == 0)
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        else
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
    }
}

static void bad_requests_are_refused(void **state)
{
    struct answer answer = start(NULL);
    const struct rtd_symbol_request none = {.offset = 1};
    const struct rtd_symbol_request no_id = {.module = {.path = "/x", .build_id_bytes = 3}};

    (void)state;
    assert_int_equal(rtd_symbol_resolver_resolve(answer.resolver, answer.table, &none, 1), -EINVAL);
    assert_int_equal(rtd_symbol_resolver_resolve(answer.resolver, answer.table, &no_id, 1),
                     -EINVAL);
    assert_int_equal(rtd_symbol_resolver_resolve(answer.resolver, answer.table, NULL, 0), 0);
    rtd_symbol_resolver_rest(answer.resolver);
    finish(&answer);
}

/* The last part of a path, which is what tools agree on. */
static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Compares every third byte of code with `addr2line -i -f -e`; the number of differences. */
static unsigned compare_with_addr2line(const char *path, uint64_t low, uint64_t high)
{
    struct answer answer = start(NULL);
    char command[1300], function[1024], place[1024];
    unsigned differences = 0;

    (void)snprintf(command, sizeof(command), "%s/addresses", directory);
    FILE *file = fopen(command, "w");
    assert_non_null(file);
    for (uint64_t at = low; at < high; at += 3)
        (void)fprintf(file, "%" PRIx64 "\n", at);
    (void)fclose(file);
    (void)snprintf(command, sizeof(command), "addr2line -a -i -f -e %s < %s/addresses", path,
                   directory);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    uint64_t address = 0;
    size_t frame = 0;
    while (fgets(function, sizeof(function), pipe)) {
        if (strncmp(function, "0x", 2) == 0) {
            address = strtoull(function, NULL, 16);
            ask_path(&answer, path, address);
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
    finish(&answer);
    return differences;
}

static void lines_agree_with_addr2line(void **state)
{
    (void)state;
    if (run("addr2line --version > %s/version", directory))
        skip();
    assert_int_equal(compare_with_addr2line(program, inlined_call - 40, inlined_call + 120), 0);
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
    static const char *const compilers[] = {"cc -g -O2 -gdwarf-4", "cc -g1 -O2",
                                            "cc -g -O2 -gz",       "cc -g -O0",
                                            "clang -g -O2",        "clang -g -O2 -gdwarf-4"};
    char path[700];
    uint64_t low = 0, high = 0;

    (void)state;
    if (run("addr2line --version > %s/version", directory))
        skip();
    (void)snprintf(path, sizeof(path), "%s/variant", directory);
    for (size_t i = 0; i < sizeof(compilers) / sizeof(compilers[0]); i++) {
        if (run("cd %s && %s -o variant program.c 2>variant.log", directory, compilers[i]))
            continue;
        assert_int_equal(find_outer(path, &low, &high), 0);
        assert_int_equal(compare_with_addr2line(path, low, high), 0);
    }
}

static void a_lambda_is_named_by_what_is_around_it(void **state)
{
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

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/lambda.cpp", directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(source, file) >= 0);
    assert_int_equal(fclose(file), 0);
    if (run("cd %s && c++ -g -O1 -o lambda lambda.cpp 2>variant.log", directory))
        skip();
    (void)snprintf(path, sizeof(path), "%s/lambda", directory);
    FILE *pipe = popen(path, "r");
    assert_non_null(pipe);
    assert_int_equal(fscanf(pipe, "%" SCNx64, &address), 1);
    (void)pclose(pipe);
    struct answer answer = start(NULL);
    ask_path(&answer, path, address);
    assert_true(answer.count >= 1);
    assert_non_null(strstr(answer.frames[0].function, "open::"));
    assert_non_null(strstr(answer.frames[0].function, "operator()"));
    finish(&answer);
}

static void many_questions_about_several_modules_are_answered_at_once(void **state)
{
    enum { COUNT = 6000 };
    static struct rtd_symbol_request requests[COUNT + 2];
    struct answer answer = start(NULL);
    size_t count = 0;

    (void)state;
    for (size_t i = 0; i < COUNT; i++)
        requests[i] = (struct rtd_symbol_request){.module = {.path = i % 3 ? program : stripped},
                                                  .offset = i / 2};
    requests[COUNT] =
        (struct rtd_symbol_request){.module = {.path = program}, .offset = inlined_call};
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
    finish(&answer);
}

static uint64_t next_random(uint64_t *random_state)
{
    *random_state = *random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *random_state >> 33;
}

/* Writes a damaged copy: bits turned over, sometimes cut short. */
static void write_damaged(const char *path, const uint8_t *whole, size_t bytes, uint64_t *seed)
{
    uint8_t *copy = malloc(bytes);
    size_t kept = bytes;

    assert_non_null(copy);
    memcpy(copy, whole, bytes);
    for (uint64_t i = next_random(seed) % 24; i > 0; i--)
        copy[next_random(seed) % bytes] ^= (uint8_t)(1U << next_random(seed) % 8);
    /* The headers decide where everything is, so they are hit more often than their share. */
    for (uint64_t i = next_random(seed) % 3; i > 0; i--)
        copy[next_random(seed) % 64] = (uint8_t)next_random(seed);
    if (next_random(seed) % 8 == 0)
        kept = next_random(seed) % bytes;
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, copy, kept), kept);
    (void)close(fd);
    free(copy);
}

static void damaged_files_never_take_the_caller_down(void **state)
{
    static uint8_t whole[256 * 1024];
    struct answer answer = start(&(struct rtd_symbol_options){.module_timeout_ms = 500});
    uint64_t seed = 20240229, resolved = 0;

    (void)state;
    FILE *file = fopen(program, "rb");
    assert_non_null(file);
    const size_t bytes = fread(whole, 1, sizeof(whole), file);
    (void)fclose(file);
    assert_in_range(bytes, 4096, sizeof(whole) - 1);
    for (unsigned i = 0; i < 3000; i++) {
        char path[700];

        /* More names than the worker keeps files open, so that none is taken for an old one. */
        (void)snprintf(path, sizeof(path), "%s/damaged-%u-%u", directory, i % 40, i);
        write_damaged(path, whole, bytes, &seed);
        ask_path(&answer, path, i % 2 ? inlined_call : mangled_call);
        resolved += answer.count > 0;
        for (size_t k = 0; k < answer.count; k++)
            assert_true(strlen(answer.frames[k].function) < 4096);
        if (i >= 40) {
            (void)snprintf(path, sizeof(path), "%s/damaged-%u-%u", directory, i % 40, i - 40);
            (void)unlink(path);
        }
        if (answer.stats->modules_failed >= 3) {
            finish(&answer);
            answer = start(&(struct rtd_symbol_options){.module_timeout_ms = 500});
        }
    }
    /* Some damage is where it does not matter, some is where it does. */
    assert_in_range(resolved, 300, 2950);
    finish(&answer);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inlined_calls_are_frames_with_their_own_lines),
        cmocka_unit_test(a_worker_of_its_own_image_answers_the_same),
        cmocka_unit_test(what_the_table_knows_starts_no_worker),
        cmocka_unit_test(without_debug_information_the_exported_symbol_is_the_answer),
        cmocka_unit_test(a_separate_debug_file_is_found_by_build_id_and_by_link),
        cmocka_unit_test(another_build_id_is_refused),
        cmocka_unit_test(odd_paths_are_refused_without_waiting),
        cmocka_unit_test(a_deleted_program_is_read_through_its_process),
        cmocka_unit_test(a_worker_killed_in_mid_question_costs_only_its_module),
        cmocka_unit_test(a_signal_for_the_whole_service_does_not_end_the_worker),
        cmocka_unit_test(a_worker_that_hangs_is_ended_in_time),
        cmocka_unit_test(a_question_the_worker_may_not_ask_ends_it),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(lines_agree_with_addr2line),
        cmocka_unit_test(lines_agree_whatever_the_compiler_wrote),
        cmocka_unit_test(a_lambda_is_named_by_what_is_around_it),
        cmocka_unit_test(many_questions_about_several_modules_are_answered_at_once),
        cmocka_unit_test(damaged_files_never_take_the_caller_down),
    };

    if (argc > 1 && strcmp(argv[1], RTD_SYMBOL_WORKER_ARGUMENT) == 0)
        return rtd_symbol_worker_main(RTD_SYMBOL_WORKER_FD);
    if (system("cc --version >&2 && strip --version >&2") != 0)
        return 77;
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
