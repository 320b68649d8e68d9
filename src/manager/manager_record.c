// SPDX-License-Identifier: Apache-2.0
/*
 * manager_record.c - the public functions that record, and those of domains.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any
 * Allocates:  never
 * Fails:      by a negative errno or enum riptide_error
 *
 * A stack is taken from the frame of the public function itself, so that its innermost frame is
 * the caller: none of them may be inlined or call another.
 */
#include "manager/manager_handle.h"
#include "manager/manager_records.h"
#include "unwind/unwind_stack.h"

#include <errno.h>
#include <string.h>

enum { GIVEN_MOST = 64, KNOWN_FLAGS = RIPTIDE_CAPTURE_STACK };

/* Frames that a record brings along or that are taken for it. */
struct stack {
    uintptr_t pcs[RTD_RECORDS_STACK_MAX];
};

uint32_t riptide_intern(struct riptide_manager *manager, const char *component,
                        const char *operation)
{
    if (rtd_manager_check(manager) < 0)
        return 0;
    return rtd_records_intern(manager->records, RTD_RECORDS_DOMAIN, component, operation);
}

int riptide_record_bytes(struct riptide_manager *manager, uint32_t tag, uint64_t size_bytes)
{
    const int error = rtd_manager_check(manager);
    return error < 0 ? error : rtd_records_add_bytes(manager->records, tag, size_bytes);
}

int riptide_release_bytes(struct riptide_manager *manager, uint32_t tag, uint64_t size_bytes)
{
    const int error = rtd_manager_check(manager);
    return error < 0 ? error : rtd_records_take_bytes(manager->records, tag, size_bytes);
}

/* The frame that called the function whose frame address this is: the x86-64 and AArch64 ABIs. */
static struct rtd_unwind_frame frame_above(const uintptr_t *base)
{
    return (struct rtd_unwind_frame){.pc = base[1], .sp = (uintptr_t)(base + 2), .fp = base[0]};
}

/* Apart, so that only those who want a stack have room for one on theirs. */
static __attribute__((noinline)) int add_captured(struct rtd_records *records,
                                                  const struct rtd_record *plain,
                                                  struct rtd_unwind_frame frame)
{
    struct rtd_record record = *plain;
    struct stack stack;
    enum rtd_unwind_end end;
    record.pc_count = rtd_unwind_walk(frame, rtd_unwind_stack_bounds(frame.sp), stack.pcs,
                                      RTD_RECORDS_STACK_MAX, &end);
    record.pcs = stack.pcs;
    record.truncated = end != RTD_UNWIND_COMPLETE;
    return rtd_records_add(records, &record);
}

/* A frame without a name stays a frame: those around it are not each other's callers. */
static const char *name_or_unknown(const char *name)
{
    return name && *name != '\0' ? name : "?";
}

static __attribute__((noinline)) int add_given(struct rtd_records *records,
                                               const struct rtd_record *plain,
                                               const struct riptide_allocation *allocation)
{
    struct rtd_record record = *plain;
    struct stack stack;
    const uint32_t given = allocation->stack_count;
    record.pc_count = given < GIVEN_MOST ? given : GIVEN_MOST;
    for (uint32_t i = 0; i < record.pc_count; i++)
        stack.pcs[i] = rtd_records_function(records, name_or_unknown(allocation->stack_trace[i]));
    record.pcs = stack.pcs;
    record.truncated = given > GIVEN_MOST;
    record.named = true;
    return rtd_records_add(records, &record);
}

__attribute__((noinline)) int riptide_record_block(struct riptide_manager *manager, uint32_t tag,
                                                   const void *address, uint64_t size_bytes,
                                                   uint32_t flags)
{
    const int error = rtd_manager_check(manager);
    struct rtd_record record = {
        .size_bytes = size_bytes, .address = (uintptr_t)address, .tag = tag};
    if (error < 0)
        return error;
    if (!address || (flags & ~(uint32_t)KNOWN_FLAGS) != 0)
        return -EINVAL;
    if (flags & RIPTIDE_CAPTURE_STACK)
        return add_captured(manager->records, &record, frame_above(__builtin_frame_address(0)));
    return rtd_records_add(manager->records, &record);
}

int riptide_release_block(struct riptide_manager *manager, const void *address)
{
    const int error = rtd_manager_check(manager);
    return error < 0 ? error : rtd_records_take_block(manager->records, (uintptr_t)address);
}

/* What a caller of any version fills in: its own struct, or a copy of a shorter one in *room. */
static const struct riptide_allocation *read_allocation(const struct riptide_allocation *from,
                                                        struct riptide_allocation *room)
{
    const struct riptide_allocation *given = from;
    if (!from || from->size < offsetof(struct riptide_allocation, alignment))
        return NULL;
    if (RTD_UNLIKELY(from->size < sizeof *from)) {
        /* Fields are whole: half a pointer at the end of a size that is none is not looked at. */
        memset(room, 0, sizeof *room);
        memcpy(room, from, from->size / sizeof(void *) * sizeof(void *));
        given = room;
    }
    if ((given->flags & ~(uint32_t)KNOWN_FLAGS) != 0 ||
        (given->stack_count != 0 && !given->stack_trace))
        return NULL;
    return given;
}

__attribute__((noinline)) int riptide_record_allocation(struct riptide_manager *manager,
                                                        const struct riptide_allocation *allocation)
{
    struct riptide_allocation room;
    const int error = rtd_manager_check(manager);
    const struct riptide_allocation *given = error < 0 ? NULL : read_allocation(allocation, &room);
    if (!given)
        return error < 0 ? error : -EINVAL;
    struct rtd_records *records = manager->records;
    struct rtd_record record = {.size_bytes = given->size_bytes,
                                .unix_ns = given->timestamp_ns,
                                .address = (uintptr_t)given->address,
                                .alignment = given->alignment,
                                .tag = given->tag};
    if (record.tag == 0 && (given->component || given->operation))
        record.tag =
            rtd_records_intern(records, RTD_RECORDS_DOMAIN, given->component, given->operation);
    if (given->stack_count != 0)
        return add_given(records, &record, given);
    if (given->flags & RIPTIDE_CAPTURE_STACK)
        return add_captured(records, &record, frame_above(__builtin_frame_address(0)));
    return rtd_records_add(records, &record);
}

int riptide_record_deallocation(struct riptide_manager *manager, const char *component,
                                uint64_t size_bytes)
{
    const int error = rtd_manager_check(manager);
    return error < 0 ? error : rtd_records_take_component(manager->records, component, size_bytes);
}

int riptide_records_read(struct riptide_manager *manager, struct riptide_record_totals *out)
{
    struct riptide_record_totals totals = {.size = sizeof totals};
    const int error = rtd_manager_check(manager);
    if (error < 0)
        return error;
    if (!out || out->size < sizeof out->size)
        return -EINVAL;
    rtd_records_totals(manager->records, &totals);
    totals.size = out->size;
    memcpy(out, &totals, out->size < sizeof totals ? out->size : sizeof totals);
    return 0;
}

/* ---- domains ---- */

int riptide_domain_open(struct riptide_manager *manager, const char *name)
{
    const int error = rtd_manager_check(manager);
    return error < 0 ? error : rtd_records_domain_open(manager->records, name);
}

uint32_t riptide_domain_intern(struct riptide_manager *manager, int domain, const char *component,
                               const char *operation)
{
    if (rtd_manager_check(manager) < 0)
        return 0;
    /* What riptide_domain_open() did not return is no domain: recorded, but in "records". */
    return rtd_records_intern(manager->records, domain > 0 ? (unsigned)domain : 0, component,
                              operation);
}

int riptide_domain_set(struct riptide_manager *manager, int domain, uint64_t used_bytes,
                       uint64_t reserved_bytes)
{
    const int error = rtd_manager_check(manager);
    if (error < 0)
        return error;
    return domain <= 0 ? -EINVAL
                       : rtd_records_domain_set(manager->records, (unsigned)domain, used_bytes,
                                                reserved_bytes);
}
