// SPDX-License-Identifier: Apache-2.0
/*
 * manager_analysis.c - see manager_analysis.h: the memory behind an answer.
 *
 * Runs in:    a program that links libriptide
 * Threads:    pure; an answer is freed by one thread
 * Allocates:  an arena for each answer
 * Fails:      by NULL when memory is short
 */
#include "manager/manager_analysis.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

/* In front of the answer: callers hold a pointer to what follows. */
struct answer {
    struct rtd_arena arena;
    alignas(max_align_t) unsigned char bytes[];
};

void *rtd_manager_answer_new(size_t bytes, struct rtd_arena **arena)
{
    struct answer *const made = calloc(1, sizeof(*made) + bytes);

    if (!made)
        return NULL;
    memcpy(made->bytes, &bytes, sizeof(bytes));
    *arena = &made->arena;
    return made->bytes;
}

void rtd_manager_answer_free(const void *answer)
{
    /* Callers have it as const, but it is ours. */
    unsigned char *const bytes = (unsigned char *)(uintptr_t)answer;
    struct answer *made;

    if (!bytes)
        return;
    made = (struct answer *)(void *)(bytes - offsetof(struct answer, bytes));
    rtd_arena_fini(&made->arena);
    free(made);
}

void *rtd_manager_list_new(struct rtd_arena *arena, uint32_t count, size_t bytes, void **elements)
{
    const void **const list = rtd_arena_take_array(arena, count, sizeof(*list));
    unsigned char *const array = rtd_arena_take_array(arena, count, bytes);

    if (!list || !array)
        return NULL;
    for (uint32_t i = 0; i < count; i++)
        list[i] = array + i * bytes;
    *elements = array;
    return list;
}
