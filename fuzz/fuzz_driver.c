// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_driver.c - runs a fuzz target without a fuzzing engine.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  a copy of each input
 * Fails:      by the target's crash or hang, which is the finding; 77 when there is nothing to run
 *
 * fuzz_driver [--rounds N] [--seed N] [FILE|FOLDER...]
 *
 * Every file is run as it is, then N times with deterministic mutations; so are the seeds that the
 * target generates itself, and, when it has none, short random inputs. Linked with an engine's own
 * main instead, the same targets are coverage-guided.
 */
#include "base/base_macros.h"
#include "base/base_math.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/*
 * A target may generate seeds: number index, or 0 bytes when there is no such. The caller frees
 * *out.
 */
size_t rtd_fuzz_seed(unsigned index, uint8_t **out) __attribute__((weak));

enum { FILE_BYTES_MAX = 32 << 20, RANDOM_BYTES_MAX = 4096 };

static uint64_t random_state;
static unsigned long rounds = 200;
static unsigned long runs;

static size_t below(size_t limit)
{
    return limit == 0 ? 0 : (size_t)(rtd_random_next(&random_state) % limit);
}

/* Puts a value that parsers dislike over some bytes, in either width. */
static void put_number(uint8_t *bytes, size_t size)
{
    static const uint64_t nasty[] = {0,
                                     1,
                                     0x7f,
                                     0xff,
                                     0xffff,
                                     0x7fffffff,
                                     0x80000000,
                                     0xffffffff,
                                     UINT64_C(1) << 47,
                                     UINT64_C(1) << 63,
                                     UINT64_MAX,
                                     UINT64_C(0x7ff0000000000000)};
    const uint64_t value = nasty[below(RTD_ARRAY_LENGTH(nasty))];
    const size_t width = (size_t)1 << below(4);

    if (size >= width) {
        memcpy(bytes + below(size - width + 1), &value, width);
    }
}

/* Copies one stretch over another of the same length. */
static void move_stretch(uint8_t *bytes, size_t size)
{
    const size_t length = below(size / 2 + 1);

    memmove(bytes + below(size - length + 1), bytes + below(size - length + 1), length);
}

/* One mutation in place; the new length. */
static size_t mutate(uint8_t *bytes, size_t size)
{
    if (size == 0) {
        return 0;
    }
    switch (below(6)) {
    case 0:
        return below(size + 1);
    case 1:
        bytes[below(size)] ^= (uint8_t)(1u << below(8));
        return size;
    case 2:
        move_stretch(bytes, size);
        return size;
    case 3:
    case 4:
        put_number(bytes, size);
        return size;
    default:
        bytes[below(size)] = (uint8_t)rtd_random_next(&random_state);
        return size;
    }
}

/* Runs a private copy of exactly this size, so that a sanitizer sees a read behind it. */
static void run_input(const uint8_t *bytes, size_t size)
{
    uint8_t *const copy = malloc(size == 0 ? 1 : size);

    if (copy == NULL) {
        abort();
    }
    memcpy(copy, bytes, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    runs++;
}

static void run_with_mutations(const uint8_t *bytes, size_t size)
{
    uint8_t *const copy = malloc(size + 1);

    if (copy == NULL) {
        abort();
    }
    run_input(bytes, size);
    for (unsigned long round = 0; round < rounds; round++) {
        size_t length = size;
        memcpy(copy, bytes, size);
        for (size_t count = 1 + below(4); count > 0; count--) {
            length = mutate(copy, length);
        }
        run_input(copy, length);
    }
    free(copy);
}

static int run_file(const char *path)
{
    FILE *const file = fopen(path, "rbe");
    uint8_t *const bytes = malloc(FILE_BYTES_MAX);
    int result = -1;

    if (file == NULL || bytes == NULL) {
        fprintf(stderr, "fuzz_driver: %s: %s\n", path, strerror(errno));
    } else {
        run_with_mutations(bytes, fread(bytes, 1, FILE_BYTES_MAX, file));
        result = 0;
    }
    free(bytes);
    if (file != NULL) {
        fclose(file);
    }
    return result;
}

static int run_folder(const char *path)
{
    struct dirent **entries = NULL;
    const int count = scandir(path, &entries, NULL, alphasort);
    int result = count < 0 ? -1 : 0;

    for (int i = 0; i < count; i++) {
        char name[4096];
        snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && run_file(name) != 0) {
            result = -1;
        }
        free(entries[i]);
    }
    free(entries);
    return result;
}

static int run_path(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISDIR(status.st_mode) ? run_folder(path) : run_file(path);
}

static void run_seeds(void)
{
    uint8_t *bytes = NULL;
    size_t size;

    for (unsigned index = 0; (size = rtd_fuzz_seed(index, &bytes)) != 0; index++) {
        run_with_mutations(bytes, size);
        free(bytes);
    }
}

static void run_random(void)
{
    uint8_t bytes[RANDOM_BYTES_MAX];

    for (unsigned long round = 0; round < rounds; round++) {
        const size_t size = below(sizeof(bytes) + 1);
        for (size_t i = 0; i < size; i++) {
            bytes[i] = (uint8_t)rtd_random_next(&random_state);
        }
        run_input(bytes, size);
    }
}

int main(int argc, char **argv)
{
    int result = 0;
    bool named = false;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) {
            rounds = strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            random_state = strtoul(argv[++i], NULL, 10);
        } else {
            named = true;
            result |= run_path(argv[i]);
        }
    }
    if (rtd_fuzz_seed != NULL) {
        run_seeds();
    } else if (!named) {
        run_random();
    }
    printf("%lu inputs\n", runs);
    if (runs == 0) {
        return 77;
    }
    return result == 0 ? 0 : 1;
}
