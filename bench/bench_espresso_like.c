// SPDX-License-Identifier: Apache-2.0
/*
 * bench_espresso_like.c - allocation stress in the manner of espresso: minimising covers of cubes.
 *
 * Runs in:    a process of its own, with and without the agent
 * Threads:    one
 * Allocates:  a block for every cube (24 to 80 bytes) and growing arrays of them (64 bytes to 16
 * KiB), most freed within one recursion step, some kept to the end of a problem Fails:      by exit
 * status 1 when a minimised cover is not equal to the one it came from
 *
 * Why: the second classic stress: mixed sizes, realloc, deep recursion, more work between
 * allocations than in bench_cfrac_like.c. Two-level logic minimisation as in the textbook: expand
 * each cube as far as the function allows, then drop what the rest covers; both questions are
 * tautology checks by Shannon expansion. bench_espresso_like [PROBLEMS]
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEAST_VARIABLES = 9,
    VARIABLE_KINDS = 4,
    CUBES_A_VARIABLE = 6,
    /* The literal of a variable: which of its two values the cube admits. */
    ADMITS_NOTHING = 0,
    ADMITS_ZERO = 1,
    ADMITS_ONE = 2,
    ADMITS_BOTH = 3,
};

/* One byte a variable keeps the code plain, and the blocks as large as espresso's sets. */
struct cube {
    uint32_t variables;
    uint32_t cost;
    uint8_t literals[];
};

struct cover {
    struct cube **cubes;
    size_t count;
    size_t capacity;
    uint32_t variables;
};

static uint64_t random_state = 88172645463325252u;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void *must(void *memory)
{
    if (memory == NULL) {
        exit(1);
    }
    return memory;
}

static struct cube *cube_copy(const struct cube *cube)
{
    const size_t bytes = offsetof(struct cube, literals) + cube->variables;
    struct cube *const copy = must(malloc(bytes));
    memcpy(copy, cube, bytes);
    return copy;
}

static struct cover *cover_new(uint32_t variables)
{
    struct cover *const cover = must(calloc(1, sizeof *cover));
    cover->variables = variables;
    return cover;
}

/* Takes the cube. */
static void cover_take(struct cover *cover, struct cube *cube)
{
    if (cover->count == cover->capacity) {
        cover->capacity = cover->capacity == 0 ? 8 : cover->capacity * 2;
        void *const grown = realloc((void *)cover->cubes, cover->capacity * sizeof *cover->cubes);
        cover->cubes = must(grown);
    }
    cover->cubes[cover->count++] = cube;
}

static void cover_free(struct cover *cover)
{
    for (size_t i = 0; i < cover->count; i++) {
        free(cover->cubes[i]);
    }
    free((void *)cover->cubes);
    free(cover);
}

static bool intersects(const struct cube *a, const struct cube *b)
{
    for (uint32_t v = 0; v < a->variables; v++) {
        if ((a->literals[v] & b->literals[v]) == ADMITS_NOTHING) {
            return false;
        }
    }
    return true;
}

/* What the cover says inside a cube; one cube (skipped) may be left out. */
static struct cover *cofactor(const struct cover *cover, const struct cube *cube, size_t skipped)
{
    struct cover *const inside = cover_new(cover->variables);
    for (size_t i = 0; i < cover->count; i++) {
        if (i == skipped || !intersects(cover->cubes[i], cube)) {
            continue;
        }
        struct cube *const part = cube_copy(cover->cubes[i]);
        for (uint32_t v = 0; v < cover->variables; v++) {
            part->literals[v] |= (uint8_t)(~cube->literals[v] & ADMITS_BOTH);
        }
        cover_take(inside, part);
    }
    return inside;
}

/* The variable that most cubes depend on in both ways, or -1 when none depends on any. */
static int most_binate(const struct cover *cover)
{
    int best = -1;
    size_t best_score = 0;
    size_t *const zeros = must(calloc(2 * (size_t)cover->variables, sizeof *zeros));
    size_t *const ones = zeros + cover->variables;
    for (size_t i = 0; i < cover->count; i++) {
        for (uint32_t v = 0; v < cover->variables; v++) {
            zeros[v] += cover->cubes[i]->literals[v] == ADMITS_ZERO;
            ones[v] += cover->cubes[i]->literals[v] == ADMITS_ONE;
        }
    }
    for (uint32_t v = 0; v < cover->variables; v++) {
        const size_t less = zeros[v] < ones[v] ? zeros[v] : ones[v];
        const size_t score = (zeros[v] + ones[v]) * (1 + less);
        if (score > best_score) {
            best_score = score;
            best = (int)v;
        }
    }
    free(zeros);
    return best;
}

static bool has_whole_space(const struct cover *cover)
{
    for (size_t i = 0; i < cover->count; i++) {
        uint32_t v = 0;
        while (v < cover->variables && cover->cubes[i]->literals[v] == ADMITS_BOTH) {
            v++;
        }
        if (v == cover->variables) {
            return true;
        }
    }
    return false;
}

/* Whether the cover is true everywhere. */
static bool is_tautology(const struct cover *cover)
{
    if (has_whole_space(cover)) {
        return true;
    }
    const int variable = most_binate(cover);
    if (variable < 0) {
        return false;
    }
    struct cube *const half =
        must(malloc(offsetof(struct cube, literals) + (size_t)cover->variables));
    half->variables = cover->variables;
    memset(half->literals, ADMITS_BOTH, cover->variables);
    bool both = true;
    for (uint8_t side = ADMITS_ZERO; both && side <= ADMITS_ONE; side++) {
        half->literals[variable] = side;
        struct cover *const inside = cofactor(cover, half, SIZE_MAX);
        both = is_tautology(inside);
        cover_free(inside);
    }
    free(half);
    return both;
}

static bool covers_cube(const struct cover *cover, const struct cube *cube, size_t skipped)
{
    struct cover *const inside = cofactor(cover, cube, skipped);
    const bool covered = is_tautology(inside);
    cover_free(inside);
    return covered;
}

/* Frees each literal of each cube that the function does not need. */
static struct cover *expand(const struct cover *function)
{
    struct cover *const primes = cover_new(function->variables);
    for (size_t i = 0; i < function->count; i++) {
        struct cube *wide = cube_copy(function->cubes[i]);
        for (uint32_t v = 0; v < function->variables; v++) {
            if (wide->literals[v] == ADMITS_BOTH) {
                continue;
            }
            struct cube *const trial = cube_copy(wide);
            trial->literals[v] = ADMITS_BOTH;
            const bool allowed = covers_cube(function, trial, SIZE_MAX);
            free(allowed ? wide : trial);
            wide = allowed ? trial : wide;
        }
        cover_take(primes, wide);
    }
    return primes;
}

/* Drops each cube that the others cover. */
static void make_irredundant(struct cover *cover)
{
    for (size_t i = cover->count; i-- > 0;) {
        if (covers_cube(cover, cover->cubes[i], i)) {
            free(cover->cubes[i]);
            cover->cubes[i] = cover->cubes[--cover->count];
        }
    }
}

static struct cover *random_function(uint32_t variables)
{
    struct cover *const function = cover_new(variables);
    for (uint32_t i = 0; i < variables * CUBES_A_VARIABLE; i++) {
        struct cube *const cube = must(malloc(offsetof(struct cube, literals) + (size_t)variables));
        cube->variables = variables;
        cube->cost = i;
        for (uint32_t v = 0; v < variables; v++) {
            const uint64_t draw = next_random() % 8;
            cube->literals[v] = draw < 3 ? ADMITS_BOTH : draw < 6 ? ADMITS_ZERO : ADMITS_ONE;
        }
        cover_take(function, cube);
    }
    return function;
}

static bool covers_all(const struct cover *cover, const struct cover *other)
{
    for (size_t i = 0; i < other->count; i++) {
        if (!covers_cube(cover, other->cubes[i], SIZE_MAX)) {
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    const unsigned long problems = argc > 1 ? strtoul(argv[1], NULL, 10) : 360;
    size_t before = 0, after = 0;
    struct cover **const kept = must(calloc(problems + 1, sizeof(struct cover *)));
    for (unsigned long i = 0; i < problems; i++) {
        struct cover *const function = random_function(LEAST_VARIABLES + i % VARIABLE_KINDS);
        kept[i] = expand(function);
        make_irredundant(kept[i]);
        if (!covers_all(kept[i], function) || !covers_all(function, kept[i])) {
            /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the process ends here */
            fprintf(stderr, "bench_espresso_like: the minimised cover is another function\n");
            return 1;
        }
        before += function->count;
        after += kept[i]->count;
        cover_free(function);
    }
    printf("%zu cubes minimised to %zu\n", before, after);
    for (unsigned long i = 0; i < problems; i++) {
        cover_free(kept[i]);
    }
    free((void *)kept);
    return 0;
}
