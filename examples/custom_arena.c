// SPDX-License-Identifier: Apache-2.0
/*
 * custom_arena.c - memory that no malloc hook can see, reported through a domain of its own.
 *
 * Runs in:    a process of its own
 * Threads:    main; the manager has one in the background
 * Allocates:  chunks by mmap, which the arena hands out piece by piece
 * Fails:      by exit status 1 and one sentence on stderr
 *
 * A parser takes tokens and tree nodes from an arena and gives them back all at once. To the heap
 * that is nothing at all, and to the kernel a few mappings; only the arena knows who holds what. So
 * it says so: each piece by component and operation, and what it holds and has reserved in all.
 */
#include <inttypes.h>
#include <riptide/riptide.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum {
    CHUNK_BYTES = 1024 * 1024,
    PIECE_ALIGNMENT = 16,
    TOKEN_BYTES = 32,
    TOKEN_COUNT = 50000,
    NODE_BYTES = 96,
    NODE_COUNT = 10000,
};

struct chunk {
    struct chunk *next;
    size_t used_bytes; /* from the beginning of the chunk, this header included */
};

/* One kind of piece that the arena hands out, with what is out now. */
struct kind {
    uint32_t tag;
    uint64_t live_bytes;
};

struct arena {
    struct riptide_manager *manager;
    int domain;
    struct chunk *chunks;
    uint64_t used_bytes, reserved_bytes;
};

static struct chunk *add_chunk(struct arena *arena)
{
    struct chunk *const chunk =
        mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (chunk == MAP_FAILED)
        return NULL;
    chunk->used_bytes = (sizeof *chunk + PIECE_ALIGNMENT - 1) / PIECE_ALIGNMENT * PIECE_ALIGNMENT;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->reserved_bytes += CHUNK_BYTES;
    return chunk;
}

/* Returns size_bytes (a multiple of the alignment, less than a chunk), or NULL. */
static void *arena_take(struct arena *arena, struct kind *kind, size_t size_bytes)
{
    struct chunk *chunk = arena->chunks;

    if (!chunk || CHUNK_BYTES - chunk->used_bytes < size_bytes)
        chunk = add_chunk(arena);
    if (!chunk)
        return NULL;
    char *const piece = (char *)chunk + chunk->used_bytes;
    chunk->used_bytes += size_bytes;
    arena->used_bytes += size_bytes;
    kind->live_bytes += size_bytes;
    riptide_record_bytes(arena->manager, kind->tag, size_bytes);
    return piece;
}

/* Everything at once, as arenas do: one release for each kind, whatever the number of pieces. */
static void arena_reset(struct arena *arena, struct kind *const *kinds, size_t kind_count)
{
    for (size_t i = 0; i < kind_count; i++) {
        riptide_release_bytes(arena->manager, kinds[i]->tag, kinds[i]->live_bytes);
        kinds[i]->live_bytes = 0;
    }
    while (arena->chunks) {
        struct chunk *const chunk = arena->chunks;

        arena->chunks = chunk->next;
        munmap(chunk, CHUNK_BYTES);
    }
    arena->used_bytes = 0;
    arena->reserved_bytes = 0;
}

static int show(struct arena *arena, const char *when)
{
    const struct riptide_parts *parts = NULL;
    const int error =
        riptide_domain_set(arena->manager, arena->domain, arena->used_bytes, arena->reserved_bytes);

    if (error < 0)
        return error;
    const int asked = riptide_memory_breakdown(arena->manager, &parts);
    if (asked < 0)
        return asked;
    printf("%s: %" PRIu64 " of %" PRIu64 " reserved bytes used\n", when, arena->used_bytes,
           arena->reserved_bytes);
    for (uint32_t i = 0; i < parts->count; i++) {
        if (strcmp(parts->parts[i]->domain, "arena") == 0)
            printf("%s: %s holds %" PRIu64 " bytes\n", when, parts->parts[i]->name,
                   parts->parts[i]->bytes);
    }
    riptide_parts_free(parts);
    return 0;
}

static int parse(struct arena *arena, struct kind *tokens, struct kind *nodes)
{
    struct kind *const kinds[] = {tokens, nodes};

    for (int i = 0; i < TOKEN_COUNT; i++) {
        if (!arena_take(arena, tokens, TOKEN_BYTES))
            return 1;
    }
    for (int i = 0; i < NODE_COUNT; i++) {
        if (!arena_take(arena, nodes, NODE_BYTES))
            return 1;
    }
    if (show(arena, "parsed") < 0)
        return 1;
    arena_reset(arena, kinds, sizeof kinds / sizeof kinds[0]);
    return show(arena, "reset") < 0;
}

int main(void)
{
    int error = 0;
    struct riptide_options options;

    riptide_options_init(&options);
    options.endpoints = 0;
    struct riptide_manager *const manager = riptide_manager_open(&options, &error);
    if (!manager) {
        fprintf(stderr, "custom_arena: no manager: %s\n", riptide_strerror(error));
        return 1;
    }
    struct arena arena = {.manager = manager, .domain = riptide_domain_open(manager, "arena")};
    struct kind tokens = {.tag =
                              riptide_domain_intern(manager, arena.domain, "lexer", "next_token")};
    struct kind nodes = {.tag = riptide_domain_intern(manager, arena.domain, "parser", "add_node")};
    const int status = arena.domain < 0 || parse(&arena, &tokens, &nodes) ? 1 : 0;
    riptide_manager_close(manager);
    return status;
}
