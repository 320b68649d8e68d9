// SPDX-License-Identifier: Apache-2.0
/*
 * agent_start.c - start-up, adoption, fork and dlclose: the rare events of the agent's life.
 *
 * Runs in:    agent: constructor (first thread), child handler of fork(), any thread for the rest
 * Threads:    the child handler runs alone; who begins to record holds page->starting, while other
 *             threads pass through; the rest is lock-free
 * Allocates:  one private page
 * Fails:      by staying a pass-through
 *
 * There is no destructor and no exit handler: what was recorded is already in the ledger.
 */
#define RTD_JOIN RTD_EXPORT
#include "agent/agent_exact.h"
#include "agent/agent_handshake.h"
#include "agent/agent_lock.h"
#include "agent/agent_mark.h"
#include "agent/agent_modules.h"
#include "agent/agent_real.h"
#include "agent/agent_record.h"
#include "agent/agent_release.h"
#include "agent/agent_sample.h"
#include "agent/agent_state.h"
#include "agent/agent_tags.h"
#include "base/base_syscall.h"
#include "ledger/ledger_join.h"
#include "unwind/unwind_stack.h"

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

/* Who the agent is and what it stands on, and whether it will record. */
static void introduce(struct rtd_ledger *ledger, enum rtd_hello_kind kind,
                      enum rtd_agent_reason reason)
{
    static uintptr_t real_malloc; /* as it was before agent_raise.c stood in front of it */
    struct rtd_header *const header = &ledger->header;
    header->agent_pid = (uint32_t)rtd_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
    header->agent_parent = (uint32_t)rtd_syscall(SYS_getppid, 0, 0, 0, 0, 0, 0);
    header->agent_kind = kind;
    header->mark_mask = rtd_mark_mask;
    if (real_malloc == 0)
        real_malloc = (uintptr_t)rtd_real.malloc;
    header->allocator_module_start = real_malloc;
    header->blind_spots = rtd_real_operators_bypass() ? RTD_BLIND_TO_OPERATORS : 0;
    header->agent_reason = reason;
    /* So that the allocator has a name also when the program ends at once. */
    rtd_modules_note(ledger, real_malloc + 1);
    /* Release pairs with the collector's acquire load: the fields above are filled. */
    atomic_store_explicit(&header->agent_state,
                          reason == RTD_REASON_NONE ? RTD_AGENT_READY : RTD_AGENT_DISABLED,
                          memory_order_release);
}

/*
 * Begins to record. Other threads may run: until `ready` they pass through, also where the hooks
 * lead to exact mode already, and a thread that finds `ready` finds all that is written before it.
 */
static void record(struct rtd_ledger *ledger)
{
    rtd_agent.ledger = ledger;
    rtd_tags_publish(ledger);
    rtd_agent.epoch++;
    rtd_agent.is_exact = ledger->header.mode == RTD_MODE_EXACT;
    rtd_release_begin();
    if (rtd_agent.is_exact) {
        rtd_agent.left_unrecorded = RTD_LEFT_MUTED;
        rtd_exact_begin(ledger);
    }
    /* Release pairs with rtd_record_ledger() and its kind. */
    atomic_store_explicit(&rtd_agent.page->ready, rtd_agent.epoch, memory_order_release);
    /* Between `ready` and the table of tags: its partner is in agent_tags.c. */
    atomic_thread_fence(memory_order_seq_cst);
    rtd_tags_publish(ledger);
}

/* Fills the agent's half of the header and begins to record, if it can. */
static void begin(struct rtd_ledger *ledger, enum rtd_hello_kind kind)
{
    const enum rtd_agent_reason reason = reason_against_recording(ledger);
    rtd_agent.ledger = ledger;
    introduce(ledger, kind, reason);
    if (reason == RTD_REASON_NONE)
        record(ledger);
}

/* ---- fork ---- */

/*
 * Puts a child's ledger where its parent's is mapped, so that every pointer into that stays valid,
 * also in a slow path that the fork interrupted.
 */
static int replace_parents(struct rtd_ledger *fresh, struct rtd_ledger *parent)
{
    const long bytes = (long)fresh->header.total_bytes;
    if (fresh->header.total_bytes != parent->header.total_bytes)
        return -EOPNOTSUPP;
    const long at = rtd_syscall(SYS_mremap, (long)fresh, bytes, bytes,
                                MREMAP_MAYMOVE | MREMAP_FIXED, (long)parent, 0);
    if (at < 0 && at > -4096)
        return (int)at;
    rtd_record_forked();
    return 0;
}

/* The calling thread takes part at its next allocation. */
static void begin_thread(void)
{
    rtd_thread_state.ready = 0;
    rtd_thread_state.left = 0;
}

/*
 * In the child of fork(): a ledger of its own. Without an answer in time the child stays a
 * pass-through. No system call is made after this.
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
    if (replace_parents(fresh, parent) < 0)
        return;
    begin_thread();
    begin(parent, RTD_HELLO_FORK);
}

/* ---- start ---- */

static void shake_hands(void)
{
    struct rtd_ledger *ledger = NULL;
    if (socket_name[0] == '\0' || rtd_handshake_is_sandboxed() ||
        rtd_handshake(socket_name, RTD_HELLO_EXEC, NULL, &ledger) < 0)
        return;
    begin(ledger, RTD_HELLO_EXEC);
    /* pthread_atfork() may allocate; the agent is ready for that. */
    const int saved = errno;
    (void)pthread_atfork(NULL, NULL, in_child);
    errno = saved;
}

__attribute__((constructor(101))) static void start(void)
{
    struct rlimit stack = {0};
    rtd_real_resolve();
    if (rtd_real_is_second()) {
        rtd_agent.left_unrecorded = RTD_LEFT_MUTED;
        rtd_agent.page = &no_page;
        return;
    }
    rtd_tags_begin();
    rtd_lock_keep_sparse();
    rtd_syscall(SYS_prlimit64, 0, RLIMIT_STACK, 0, (long)&stack, 0, 0);
    rtd_unwind_stack_init(stack.rlim_cur);
    remember_socket_name();
    struct rtd_private_page *const page = map_private_page();
    rtd_agent.left_unrecorded = page != &no_page ? RTD_LEFT_PARKED : RTD_LEFT_MUTED;
    if (page != &no_page)
        atomic_store_explicit(&page->starting, 1, memory_order_relaxed);
    rtd_agent.page = page;
    if (page == &no_page)
        return;
    shake_hands();
    atomic_store_explicit(&page->starting, 0, memory_order_release);
}

/* ---- adoption: the program watches itself ---- */

static bool is_recording(void)
{
    return rtd_agent.page != NULL &&
           atomic_load_explicit(&rtd_agent.page->ready, memory_order_acquire) != 0;
}

/* A ledger that nobody has recorded into yet, and that this agent can. */
static int check_adoptable(struct rtd_ledger *ledger)
{
    const enum rtd_agent_reason reason = reason_against_recording(ledger);
    if (reason == RTD_REASON_VERSION)
        return -EPROTO;
    if (atomic_load_explicit(&ledger->header.agent_state, memory_order_acquire) != RTD_AGENT_ABSENT)
        return -EINVAL;
    if (reason == RTD_REASON_NONE)
        return 0;
    introduce(ledger, RTD_HELLO_EXEC, reason);
    return -EOPNOTSUPP;
}

static int adopt(int ledger_fd)
{
    struct rtd_ledger *const parents = rtd_agent.ledger; /* of before a fork */
    struct rtd_ledger *fresh = NULL;
    size_t bytes = 0;
    int result = rtd_handshake_map(ledger_fd, &fresh, &bytes);
    if (result < 0)
        return result;
    result = fresh->header.total_bytes == bytes ? check_adoptable(fresh) : -EPROTO;
    if (result == 0 && parents != NULL)
        result = replace_parents(fresh, parents);
    if (result < 0) {
        rtd_syscall(SYS_munmap, (long)fresh, (long)bytes, 0, 0, 0, 0);
        return result;
    }
    begin_thread();
    begin(parents != NULL ? parents : fresh, RTD_HELLO_EXEC);
    return 0;
}

int riptide_heap_adopt(int ledger_fd)
{
    struct rtd_private_page *const page = rtd_agent.page;
    uint32_t nobody = 0;
    if (page == NULL)
        return -EAGAIN;
    if (page == &no_page)
        return -EOPNOTSUPP;
    if (is_recording())
        return -EALREADY;
    if (!atomic_compare_exchange_strong_explicit(&page->starting, &nobody, 1, memory_order_acquire,
                                                 memory_order_relaxed))
        return -EBUSY;
    const int result = is_recording() ? -EALREADY : adopt(ledger_fd);
    atomic_store_explicit(&page->starting, 0, memory_order_release);
    return result;
}

const void *riptide_heap_ledger(void)
{
    return is_recording() ? rtd_agent.ledger : NULL;
}

/* ---- dlclose ---- */

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
