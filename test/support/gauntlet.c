// SPDX-License-Identifier: Apache-2.0
/*
 * gauntlet.c - one program, many legal behaviours: gauntlet NAME [FIGURES]; no NAME lists them.
 *
 * Runs in:    the program under test
 * Threads:    those of the case
 * Allocates:  what the case allocates
 * Fails:      exit 1 when a check failed, 2 for an unknown name
 *
 * Prints one deterministic result line; figures that vary go to the file FIGURES.
 */
#include "gauntlet.h"

#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_uint failures;
static const char *figures_path;
static char self_path[PATH_MAX];
static char beside_path[PATH_MAX + 64];

static const struct gauntlet_case *const tables[] = {
    gauntlet_heap_cases,    gauntlet_limit_cases,  gauntlet_memory_cases, gauntlet_plugin_cases,
    gauntlet_process_cases, gauntlet_signal_cases, gauntlet_thread_cases,
};

void gauntlet_check(bool holds, int line, const char *text)
{
    char buffer[256];
    if (holds)
        return;
    atomic_fetch_add(&failures, 1);
    /* write(), not printf(): a check may fail in a signal handler. */
    const int length = snprintf(buffer, sizeof buffer, "line %d does not hold: %s\n", line, text);
    if (write(STDOUT_FILENO, buffer, (size_t)length) < 0)
        _exit(3);
}

void gauntlet_give_up(int line, const char *text)
{
    gauntlet_check(false, line, text);
    _exit(1);
}

void gauntlet_figure(const char *name, long value)
{
    char line[128];
    if (figures_path == NULL)
        return;
    const int fd = open(figures_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    const int length = snprintf(line, sizeof line, "%s %ld\n", name, value);
    CHECK(fd >= 0 && write(fd, line, (size_t)length) == length);
    if (fd >= 0)
        close(fd);
}

const char *gauntlet_self(void)
{
    return self_path;
}

const char *gauntlet_beside(const char *name)
{
    const char *const slash = strrchr(self_path, '/');
    snprintf(beside_path, sizeof beside_path, "%.*s%s", (int)(slash - self_path + 1), self_path,
             name);
    return beside_path;
}

long gauntlet_status(const char *field)
{
    char text[8192];
    char key[40];
    const int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    const ssize_t length = fd >= 0 ? read(fd, text + 1, sizeof text - 2) : -1;
    if (fd >= 0)
        close(fd);
    if (length < 0)
        return -1;
    text[0] = '\n';
    text[length + 1] = '\0';
    snprintf(key, sizeof key, "\n%s:", field);
    const char *const found = strstr(text, key);
    return found != NULL ? strtol(found + strlen(key), NULL, 10) : -1;
}

size_t gauntlet_hide(size_t value)
{
    __asm__ volatile("" : "+r"(value));
    return value;
}

void gauntlet_touch(void *p)
{
    __asm__ volatile("" : : "r"(p) : "memory");
}

uint32_t gauntlet_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

void gauntlet_churn(unsigned rounds, uint64_t seed)
{
    enum { LIVE = 32 };
    unsigned char *live[LIVE] = {0};
    size_t sizes[LIVE] = {0};
    for (unsigned i = 0; i < rounds; i++) {
        const unsigned slot = gauntlet_random(&seed) % LIVE;
        const size_t size = 1 + (gauntlet_random(&seed) & (i % 64 == 0 ? 0x3fff : 0xff));
        const unsigned char tag = (unsigned char)(slot ^ 0x5a);
        if (live[slot] != NULL)
            CHECK(live[slot][0] == tag && live[slot][sizes[slot] - 1] == tag);
        if (gauntlet_random(&seed) % 8 == 0) {
            live[slot] = realloc(live[slot], size);
        } else {
            free(live[slot]);
            live[slot] = gauntlet_random(&seed) % 8 == 0 ? calloc(1, size) : malloc(size);
        }
        sizes[slot] = size;
        live[slot][0] = live[slot][size - 1] = tag;
    }
    for (unsigned slot = 0; slot < LIVE; slot++)
        free(live[slot]);
}

int gauntlet_wait(int pid)
{
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static const struct gauntlet_case *find_case(const char *name)
{
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (const struct gauntlet_case *c = tables[t]; c->name != NULL; c++)
            if (strcmp(c->name, name) == 0)
                return c;
    return NULL;
}

static int list_cases(void)
{
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (const struct gauntlet_case *c = tables[t]; c->name != NULL; c++)
            puts(c->name);
    return 0;
}

int main(int argc, char **argv)
{
    const ssize_t length = readlink("/proc/self/exe", self_path, sizeof self_path - 1);
    if (length < 0 || argc < 2)
        return length < 0 ? 2 : list_cases();
    const struct gauntlet_case *const chosen = find_case(argv[1]);
    if (chosen == NULL) {
        fprintf(stderr, "gauntlet: no case %s\n", argv[1]);
        return 2;
    }
    figures_path = argc > 2 ? argv[2] : NULL;
    setvbuf(stdout, NULL, _IOLBF, 0);
    const int status = chosen->run();
    if (atomic_load(&failures) != 0) {
        printf("%s: FAILED\n", chosen->name);
        return 1;
    }
    printf("%s: ok\n", chosen->name);
    return status;
}
