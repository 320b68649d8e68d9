// SPDX-License-Identifier: Apache-2.0
/*
 * manager_scope.c - see manager_scope.h.
 *
 * Runs in:    a program that links libriptide
 * Threads:    lock-free; the word in force belongs to its thread
 * Allocates:  never
 * Fails:      a table that is full gives RTD_TAG_OTHER
 *
 * Where an agent is in the process it has the tags, because its samples bear them. The program's
 * scopes may lead here or to the agent, by the order in which it was linked: it must not matter.
 * Whether there is an agent is settled when the program is loaded and never changes.
 */
#include "manager/manager_scope.h"

#include "ledger/ledger_join.h"
#include "ledger/ledger_writer.h"

#include <errno.h>
#include <string.h>

static struct rtd_tag own_tags[RTD_TAG_COUNT];

/* Four bytes of the loader's static TLS: a scope must not call __tls_get_addr(). */
static __thread uint32_t own_tag __attribute__((tls_model("initial-exec")));

/* What tags.h looks for beside the functions: see there. */
extern RTD_EXPORT int64_t riptide_tag_offset;
int64_t riptide_tag_offset;

static int64_t own_offset(void)
{
    uintptr_t thread;
    /* The thread pointer's first word is its own address: x86-64 TLS ABI. */
    __asm__("movq %%fs:0, %0" : "=r"(thread));
    return (int64_t)((uintptr_t)&own_tag - thread);
}

/* The agent's own constructor may not have run yet, but its functions work. */
__attribute__((constructor(102))) static void find_word(void)
{
    int64_t (*const agents)(void) = riptide_agent_tag_offset;
    riptide_tag_offset = agents ? agents() : own_offset();
}

RTD_EXPORT uint32_t riptide_tag_intern(const char *component, const char *operation);
RTD_EXPORT uint32_t riptide_tag_intern(const char *component, const char *operation)
{
    bool is_new;
    if (riptide_agent_tag_intern)
        return riptide_agent_tag_intern(component, operation);
    const uint32_t tag = rtd_tag_table_insert(own_tags, component != NULL ? component : "",
                                              operation != NULL ? operation : "", &is_new);
    return tag != RTD_NONE ? tag : RTD_TAG_OTHER;
}

RTD_EXPORT uint32_t riptide_tag_swap(uint32_t tag);
RTD_EXPORT uint32_t riptide_tag_swap(uint32_t tag)
{
    /* Loaded once: the test and the jump would each load it. */
    uint32_t (*const agents)(uint32_t) = riptide_agent_tag_swap;
    if (agents)
        return agents(tag);
    const uint32_t before = own_tag;
    own_tag = tag < RTD_TAG_COUNT ? tag : RTD_TAG_OTHER;
    return before;
}

uint32_t rtd_scope_get(void)
{
    uint32_t (*const agents)(void) = riptide_agent_tag_get;
    return agents ? agents() : own_tag;
}

int rtd_scope_names(uint32_t tag, char component[RTD_TAG_NAME_BYTES],
                    char operation[RTD_TAG_NAME_BYTES])
{
    if (riptide_agent_tag_names)
        return riptide_agent_tag_names(tag, component, operation);
    return rtd_tag_table_names(own_tags, tag, component, operation);
}
