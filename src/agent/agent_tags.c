// SPDX-License-Identifier: Apache-2.0
/*
 * agent_tags.c - see agent_tags.h; what riptide/tags.h calls.
 *
 * Runs in:    agent, any thread
 * Threads:    lock-free; the tag in force belongs to its thread
 * Allocates:  never
 * Fails:      a table that is full gives RTD_TAG_OTHER
 *
 * Tags live on in the program's static variables, so they must mean the same for as long as the
 * process lives: before recording begins, in every ledger, in the children of a fork. So the
 * process has a table of its own and the ledger a copy of it.
 */
#define RTD_JOIN RTD_EXPORT
#include "agent/agent_tags.h"

#include "agent/agent_state.h"
#include "ledger/ledger_join.h"

#include <errno.h>

#include "agent/agent_only.h"

static struct rtd_tag tags[RTD_TAG_COUNT];

void rtd_tags_publish(struct rtd_ledger *ledger)
{
    for (uint32_t id = RTD_TAG_FIRST; id < RTD_TAG_COUNT; id++)
        rtd_tag_publish(ledger, tags, id);
}

static struct rtd_ledger *current_ledger(void)
{
    /* Acquire pairs with the release in agent_start.c: the ledger is mapped and checked. */
    if (rtd_agent.page == NULL ||
        atomic_load_explicit(&rtd_agent.page->ready, memory_order_acquire) == 0)
        return NULL;
    return rtd_agent.ledger;
}

uint32_t riptide_agent_tag_intern(const char *component, const char *operation)
{
    bool is_new;
    const uint32_t tag = rtd_tag_table_insert(tags, component != NULL ? component : "",
                                              operation != NULL ? operation : "", &is_new);
    /* Between the table and `ready`: its partner is the fence in begin() of agent_start.c. */
    atomic_thread_fence(memory_order_seq_cst);
    struct rtd_ledger *const ledger = current_ledger();
    if (ledger != NULL && tag != RTD_NONE)
        rtd_tag_publish(ledger, tags, tag);
    else if (ledger != NULL)
        rtd_loss_add(ledger, RTD_LOSS_TAGS_OVERFLOW, 1);
    return tag != RTD_NONE ? tag : RTD_TAG_OTHER;
}

uint32_t riptide_agent_tag_swap(uint32_t tag)
{
    const uint32_t before = rtd_thread_state.tag;
    rtd_thread_state.tag = tag < RTD_TAG_COUNT ? tag : RTD_TAG_OTHER;
    return before;
}

uint32_t riptide_agent_tag_get(void)
{
    return rtd_thread_state.tag;
}

int riptide_agent_tag_names(uint32_t tag, char *component, char *operation)
{
    return rtd_tag_table_names(tags, tag, component, operation);
}

int64_t riptide_agent_tag_offset(void)
{
    uintptr_t thread;
    /* The thread pointer's first word is its own address: x86-64 TLS ABI. */
    __asm__("movq %%fs:0, %0" : "=r"(thread));
    return (int64_t)((uintptr_t)&rtd_thread_state.tag - thread);
}

/* Weak from here on, because libriptide has them too, and both may be linked into one program. */

__attribute__((weak)) RTD_EXPORT int64_t riptide_tag_offset;

void rtd_tags_begin(void)
{
    __atomic_store_n(&riptide_tag_offset, riptide_agent_tag_offset(), __ATOMIC_RELAXED);
}

__attribute__((weak)) RTD_EXPORT uint32_t riptide_tag_intern(const char *component,
                                                             const char *operation);
uint32_t riptide_tag_intern(const char *component, const char *operation)
{
    return riptide_agent_tag_intern(component, operation);
}

__attribute__((weak)) RTD_EXPORT uint32_t riptide_tag_swap(uint32_t tag);
uint32_t riptide_tag_swap(uint32_t tag)
{
    return riptide_agent_tag_swap(tag);
}
