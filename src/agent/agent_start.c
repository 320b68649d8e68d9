// SPDX-License-Identifier: Apache-2.0
/*
 * agent_start.c - start-up, fork, tags and dlclose: the rare events of the agent's life.
 *
 * Runs in:    agent: constructor (first thread), child handler of fork(), any thread for the rest
 * Threads:    the constructor and the child handler run alone; the rest is lock-free
 * Allocates:  one private page
 * Fails:      by staying a pass-through
 *
 * There is no destructor and no exit handler: what was recorded is already in the ledger.
 */
#include "agent/agent_exact.h"
#include "agent/agent_handshake.h"
#include "agent/agent_lock.h"
#include "agent/agent_mark.h"
#include "agent/agent_modules.h"
#include "agent/agent_real.h"
#include "agent/agent_record.h"
#include "agent/agent_sample.h"
#include "agent/agent_state.h"
#include "unwind/unwind_stack.h"
#include "base/base_syscall.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "agent/agent_only.h"

enum { SOCKET_NAME_BYTES = 104 };

struct rtd_agent rtd_agent;

/* Stands in for the private page where none could be mapped: reads "no ledger" for ever. */
static struct rtd_private_page no_page;

/* Kept because the program may change its environment. "" = nobody asked for recording. */
static char socket_name[SOCKET_NAME_BYTES];

/* bash and others define their own getenv(); the list itself is the same for all. */
extern char **environ;

static void remember_socket_name(void)
{
    static const char variable[] = RTD_SOCKET_VARIABLE "=";
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
        const char *text = *entry;
        size_t i = 0;
        while (variable[i] != '\0' && text[i] == variable[i])
            i++;
        if (variable[i] != '\0')
            continue;
        text += i;
        for (i = 0; i < SOCKET_NAME_BYTES - 1 && text[i] != '\0'; i++)
            socket_name[i] = text[i];
        socket_name[i] = '\0';
        return;
    }
}

static struct rtd_private_page *map_private_page(void)
{
    const long at = rtd_syscall(SYS_mmap, 0, RTD_MARK_PAGE_BYTES, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at < 0 && at > -4096)
        return &no_page;
    if (rtd_syscall(SYS_madvise, at, RTD_MARK_PAGE_BYTES, MADV_WIPEONFORK, 0, 0, 0) != 0) {
        /* Without it a forked child could write to its parent's ledger: record nothing instead. */
        rtd_syscall(SYS_munmap, at, RTD_MARK_PAGE_BYTES, 0, 0, 0, 0);
        return &no_page;
    }
    return (struct rtd_private_page *)at;
}

static enum rtd_agent_reason reason_against_recording(const struct rtd_ledger *ledger)
{
    const struct rtd_header *const header = &ledger->header;
    if (header->magic != RTD_LEDGER_MAGIC || header->version != RTD_LEDGER_VERSION ||
        header->total_bytes != rtd_ledger_bytes(header->mode))
        return RTD_REASON_VERSION;
    if (!rtd_real_is_interposed())
        return RTD_REASON_NOT_INTERPOSED;
    if (rtd_real_malloc_module() == NULL)
        return RTD_REASON_NO_MEMALIGN;
    return RTD_REASON_NONE;
}

/* Fills the agent's half of the header and begins to record. */
static void begin(struct rtd_ledger *ledger, enum rtd_hello_kind kind)
{
    static uintptr_t real_malloc; /* as it was before agent_raise.c stood in front of it */
    struct rtd_header *const header = &ledger->header;
    const enum rtd_agent_reason reason = reason_against_recording(ledger);
    header->agent_pid = (uint32_t)rtd_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
    header->agent_parent = (uint32_t)rtd_syscall(SYS_getppid, 0, 0, 0, 0, 0, 0);
    header->agent_kind = kind;
    header->mark_mask = rtd_mark_mask;
    if (real_malloc == 0)
        real_malloc = (uintptr_t)rtd_real.malloc;
    header->allocator_module_start = real_malloc;
    header->blind_spots = rtd_real_operators_bypass() ? RTD_BLIND_TO_OPERATORS : 0;
    header->agent_reason = reason;
    rtd_agent.ledger = ledger;
    /* So that the allocator has a name also when the program ends at once. */
    rtd_modules_note(ledger, real_malloc + 1);
    /* Release pairs with the collector's acquire load: the fields above are filled. */
    atomic_store_explicit(&header->agent_state,
                          reason == RTD_REASON_NONE ? RTD_AGENT_READY : RTD_AGENT_DISABLED,
                          memory_order_release);
    if (reason != RTD_REASON_NONE)
        return;
    rtd_agent.epoch++;
    rtd_agent.is_exact = header->mode == RTD_MODE_EXACT;
    if (rtd_agent.is_exact)
        rtd_exact_begin(ledger);
    /* Release pairs with current_ledger() in agent_sample.c. */
    atomic_store_explicit(&rtd_agent.page->ready, rtd_agent.epoch, memory_order_release);
}

/* Tag ids live on in the program's static variables, so a child keeps its parent's table. */
static void copy_tags(struct rtd_tag *out, const struct rtd_ledger *from)
{
    for (uint32_t i = 0; i < RTD_TAG_COUNT; i++)
        if (atomic_load_explicit(&from->tags[i].state, memory_order_acquire) == 2)
            __builtin_memcpy(&out[i], &from->tags[i], sizeof out[i]);
}

/*
 * In the child of fork(): a ledger of its own, mapped where the parent's is, so that every pointer
 * into it stays valid, also in a slow path that the fork interrupted. Without an answer in time
 * the child stays a pass-through. No system call is made after this.
 */
static void in_child(void)
{
    struct rtd_ledger *const parent = rtd_agent.ledger;
    struct rtd_ledger *fresh;
    if (parent == NULL || socket_name[0] == '\0' ||
        atomic_load_explicit(&parent->header.no_handshake, memory_order_relaxed) != 0)
        return;
    if (rtd_handshake_is_sandboxed() ||
        rtd_handshake(socket_name, RTD_HELLO_FORK, NULL, &fresh) < 0)
        return;
    copy_tags(fresh->tags, parent);
    atomic_store_explicit(&fresh->header.tag_count,
                          atomic_load_explicit(&parent->header.tag_count, memory_order_relaxed),
                          memory_order_relaxed);
    const long bytes = (long)fresh->header.total_bytes;
    if (fresh->header.total_bytes != parent->header.total_bytes)
        return;
    const long at = rtd_syscall(SYS_mremap, (long)fresh, bytes, bytes,
                                MREMAP_MAYMOVE | MREMAP_FIXED, (long)parent, 0);
    if (at < 0 && at > -4096)
        return;
    rtd_record_forked();
    rtd_thread_state.ready = 0;
    rtd_thread_state.left = 0;
    begin(parent, RTD_HELLO_FORK);
}

__attribute__((constructor(101))) static void start(void)
{
    struct rlimit stack = {0};
    struct rtd_ledger *ledger = NULL;
    rtd_real_resolve();
    rtd_lock_keep_sparse();
    rtd_syscall(SYS_prlimit64, 0, RLIMIT_STACK, 0, (long)&stack, 0, 0);
    rtd_unwind_stack_init(stack.rlim_cur);
    remember_socket_name();
    struct rtd_private_page *const page = map_private_page();
    rtd_agent.page = page;
    if (socket_name[0] == '\0' || page == &no_page || rtd_handshake_is_sandboxed() ||
        rtd_handshake(socket_name, RTD_HELLO_EXEC, NULL, &ledger) < 0)
        return;
    begin(ledger, RTD_HELLO_EXEC);
    /* pthread_atfork() may allocate; the agent is ready for that. */
    const int saved = errno;
    (void)pthread_atfork(NULL, NULL, in_child);
    errno = saved;
}

/* ---- the few functions a program may call ---- */

static bool is_recording(void)
{
    return rtd_agent.page != NULL &&
           atomic_load_explicit(&rtd_agent.page->ready, memory_order_acquire) != 0;
}

RTD_EXPORT uint32_t riptide_tag_intern(const char *component, const char *operation);
RTD_EXPORT uint32_t riptide_tag_intern(const char *component, const char *operation)
{
    if (!is_recording())
        return RTD_TAG_NONE;
    return rtd_tag_insert(rtd_agent.ledger, component != NULL ? component : "",
                          operation != NULL ? operation : "");
}

RTD_EXPORT uint32_t riptide_tag_swap(uint32_t tag);
RTD_EXPORT uint32_t riptide_tag_swap(uint32_t tag)
{
    const uint32_t before = rtd_thread_state.tag;
    rtd_thread_state.tag = tag < RTD_TAG_COUNT ? tag : RTD_TAG_OTHER;
    return before;
}

/*
 * Interposed only to learn that code may be gone: rules cached for its addresses would be wrong
 * for what is loaded there next. Flushed on both sides of the call, because another thread may
 * walk a stack in between.
 */
RTD_EXPORT int dlclose(void *handle);
RTD_EXPORT int dlclose(void *handle)
{
    rtd_unwind_flush();
    const int result = rtd_real.dlclose(handle);
    const int saved = errno;
    if (is_recording())
        rtd_modules_closed(rtd_agent.ledger);
    /* Last, so that no stack of the generation before stays in the cache of exact mode. */
    rtd_unwind_flush();
    errno = saved;
    return result;
}
