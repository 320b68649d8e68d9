// SPDX-License-Identifier: Apache-2.0
/*
 * library_program.c - a service that links libriptide, for test_library.py.
 *
 * Runs in:    integration tests
 * Threads:    one, and the manager's
 * Allocates:  what its commands say
 * Fails:      with exit status 1 and a line on stdout
 *
 * Reads commands from stdin, one a line, and answers each with one line on stdout; ends with stdin.
 * Arguments are options of the manager: NAME=VALUE.
 */
#include <riptide/riptide.h>

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCK_COUNT = 1000, BLOCK_BYTES = 100000, RECORD_COUNT = 2000, RECORD_BYTES = 1024 };

static struct riptide_manager *manager;
static struct riptide_options options;
static char *blocks[BLOCK_COUNT];
static volatile sig_atomic_t children_heard, terminations_heard;

static void on_signal(int number)
{
    if (number == SIGCHLD)
        children_heard = children_heard + 1;
    else
        terminations_heard = terminations_heard + 1;
}

__attribute__((noinline)) static char *hold_block(size_t bytes)
{
    char *const block = malloc(bytes);

    memset(block, 1, bytes);
    return block;
}

/* All but the last, which keeps the allocator from giving the end of the heap back by itself. */
static void drop(void)
{
    for (int i = 0; i + 1 < BLOCK_COUNT; i++) {
        free(blocks[i]);
        blocks[i] = NULL;
    }
}

static void take_option(const char *text)
{
    const size_t length = strcspn(text, "=");
    const unsigned long number = strtoul(text + length + (text[length] == '='), NULL, 10);

    if (strncmp(text, "port", length) == 0)
        options.port = (uint16_t)number;
    if (strncmp(text, "tries", length) == 0)
        options.port_tries = (uint16_t)number;
    if (strncmp(text, "heap", length) == 0)
        options.heap = (uint32_t)number;
    if (strncmp(text, "token", length) == 0)
        options.action_token = text + length + (text[length] == '=');
    if (strncmp(text, "endpoints", length) == 0)
        options.endpoints = (uint32_t)number;
}

static void open_one(void)
{
    int err = 0;

    manager = riptide_manager_open(&options, &err);
    if (manager)
        printf("port %d\n", riptide_manager_port(manager));
    else
        printf("error %s\n", riptide_strerror(err));
}

static void say_heap(const struct riptide_manager *of)
{
    struct riptide_heap_state heap = {.size = sizeof(heap)};

    riptide_heap_read(of, &heap);
    printf("%u %u %s\n", heap.mode, heap.joined, heap.reason);
}

static void record(void)
{
    const uint32_t html = riptide_intern(manager, "extraction", "parse_html");

    for (int i = 0; i < RECORD_COUNT; i++)
        riptide_record_bytes(manager, html, RECORD_BYTES);
    printf("%d\n", RECORD_COUNT * RECORD_BYTES);
}

static void allocate(void)
{
    for (int i = 0; i < BLOCK_COUNT; i++)
        blocks[i] = hold_block(BLOCK_BYTES);
    printf("%d\n", BLOCK_COUNT * BLOCK_BYTES);
}

/* A second manager beside the first; what both say of the heap. */
static void open_second(void)
{
    struct riptide_options two = options;
    int err = 0;
    struct riptide_manager *const second = riptide_manager_open(&two, &err);
    const struct riptide_answer *answer = NULL;

    if (!second || riptide_answer_get(second, "/api/v1/report", &answer) < 0) {
        printf("error %s\n", riptide_strerror(err));
        return;
    }
    printf("%d %s", riptide_manager_port(second), answer->body);
    riptide_answer_free(answer);
    riptide_manager_close(second);
}

/* The first of two managers goes, the second stays. */
static void swap_managers(void)
{
    struct riptide_manager *const second = riptide_manager_open(&options, NULL);

    if (!second)
        exit(1);
    riptide_manager_close(manager);
    manager = second;
    printf("port %d\n", riptide_manager_port(manager));
}

/* Status 0: the child's copy is closed, and a new one of its own works. */
static void try_fork(void)
{
    int status = -1;
    const pid_t pid = fork();

    if (pid == 0) {
        struct riptide_options quiet = options;
        quiet.endpoints = 0;
        if (riptide_manager_port(manager) != RIPTIDE_E_FORKED)
            _exit(1);
        riptide_manager_close(manager);
        struct riptide_heap_state heap = {.size = sizeof(heap)};
        manager = riptide_manager_open(&quiet, NULL);
        if (!manager)
            _exit(2);
        if (quiet.heap == RIPTIDE_HEAP_EXACT &&
            (riptide_heap_read(manager, &heap) < 0 || heap.mode != RIPTIDE_HEAP_EXACT))
            _exit(3);
        free(hold_block(BLOCK_BYTES));
        riptide_manager_close(manager);
        _exit(0);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    printf("%d\n", status);
}

static void say_signals(void)
{
    const pid_t child = waitpid(-1, NULL, WNOHANG);

    printf("%d %d %d\n", (int)children_heard, (int)terminations_heard,
           child < 0 && errno == ECHILD ? 0 : 1);
}

static void answer_path(const char *path)
{
    const struct riptide_answer *answer = NULL;
    const int result = riptide_answer_get(manager, path, &answer);

    if (result < 0) {
        printf("error %s\n", riptide_strerror(result));
        return;
    }
    printf("%u %s\n%s\n", answer->status, answer->content_type, answer->body);
    printf(".\n");
    riptide_answer_free(answer);
}

static void reopen(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        riptide_manager_close(manager);
        manager = riptide_manager_open(&options, NULL);
        if (!manager)
            exit(1);
    }
    printf("port %d\n", riptide_manager_port(manager));
}

static void obey(char *line)
{
    line[strcspn(line, "\n")] = '\0';
    if (strcmp(line, "open") == 0) {
        open_one();
    } else if (strcmp(line, "heap") == 0) {
        say_heap(manager);
    } else if (strcmp(line, "record") == 0) {
        record();
    } else if (strcmp(line, "allocate") == 0) {
        allocate();
    } else if (strcmp(line, "drop") == 0) {
        drop();
        printf("ok\n");
    } else if (strcmp(line, "second") == 0) {
        open_second();
    } else if (strcmp(line, "swap") == 0) {
        swap_managers();
    } else if (strcmp(line, "fork") == 0) {
        try_fork();
    } else if (strcmp(line, "signals") == 0) {
        say_signals();
    } else if (strcmp(line, "handle") == 0) {
        signal(SIGCHLD, on_signal);
        signal(SIGTERM, on_signal);
        printf("ok\n");
    } else if (strncmp(line, "answer ", 7) == 0) {
        answer_path(line + 7);
    } else if (strncmp(line, "reopen ", 7) == 0) {
        reopen((unsigned)strtoul(line + 7, NULL, 10));
    } else if (strcmp(line, "locale") == 0) {
        printf("%s\n", setlocale(LC_ALL, "") ? "ok" : "error no such locale");
    } else if (strcmp(line, "print") == 0) {
        printf("%.1f\n", 0.5);
    } else if (strcmp(line, "close") == 0) {
        riptide_manager_close(manager);
        manager = NULL;
        printf("ok\n");
    } else {
        printf("error unknown command\n");
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char line[256];

    riptide_options_init(&options);
    options.port = 0;
    for (int i = 1; i < argc; i++)
        take_option(argv[i]);
    for (;;) {
        if (fgets(line, sizeof(line), stdin))
            obey(line);
        else if (!ferror(stdin) || errno != EINTR)
            break;
        else
            clearerr(stdin);
    }
    riptide_manager_close(manager);
    return 0;
}
