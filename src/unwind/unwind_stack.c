// SPDX-License-Identifier: Apache-2.0
/*
 * unwind_stack.c - the calling thread's stack bounds and id, read from its control block.
 *
 * Runs in:    agent (slow path), any thread, also inside signal handlers
 * Threads:    reads only the calling thread's control block; the offsets are written once at start
 * Allocates:  never; no lock; no syscall but one gettid() in rtd_unwind_stack_init()
 * Fails:      towards narrow bounds (the rest of sp's page) and thread id 0
 *
 * Three kinds of stack:
 *
 *   main      [.., __libc_stack_end). The kernel keeps at least 128 MiB (more under a larger
 *             RLIMIT_STACK) below the stack's top free of other mappings, so an sp at most 64 MiB
 *             below the end, or within the limit, is on the main stack and all above is mapped.
 *   pthread   [block, block + size) with glibc's struct pthread at its top. The struct records
 *             block and size in two neighbouring words.
 *   other     coroutines, alternate signal stacks, stacks of clone(): only sp's own page is known.
 *
 * The layout of struct pthread is private to glibc, so the offsets are calibrated where possible:
 * for the first thread glibc stores block = 0 and size = __libc_stack_end, a pair that cannot be
 * mistaken. Before use a pair must still describe a range that holds the control block itself,
 * which no unrelated words do. struct pthread has had at least 0x8c0 bytes in every glibc that has
 * _dl_find_object(), without which there are no rules at all; reads stay below SCAN_END_BYTES.
 *
 * A forked child keeps the control block and stack of the thread that forked: nothing changes.
 */
#include "unwind/unwind_stack.h"

#include <stdbool.h>
#include <unistd.h>

/* From ld.so: the stack pointer at the entry of the program, above the outermost frame. */
extern void *__libc_stack_end;

enum {
    PAGE_BYTES = 4096,
    TID_BYTES = 0x2d0,        /* glibc 2.35 and later */
    BLOCK_BYTES = 0x690,      /* the same */
    SCAN_BEGIN_BYTES = 0x2c0, /* behind tcbhead_t, which is ABI and never shrinks */
    TID_SCAN_END_BYTES = 0x400,
    SCAN_END_BYTES = 0x800,
};

#define MAIN_REACH_BYTES     (UINT64_C(64) << 20)
#define MAIN_REACH_MAX_BYTES (UINT64_C(1) << 40)
#define BLOCK_MAX_BYTES      (UINT64_C(1) << 40)

static uintptr_t main_reach_bytes = MAIN_REACH_BYTES;
static uint32_t block_offset_bytes = BLOCK_BYTES;
static uint32_t tid_offset_bytes;

/* The first word behind fs:0x10 is the address of the control block: x86-64 TLS ABI. */
static uintptr_t control_block(void)
{
    uintptr_t self;

    __asm__("movq %%fs:0x10, %0" : "=r"(self));
    return self;
}

static uintptr_t word_at(uintptr_t self, uint32_t offset_bytes)
{
    return *(const uintptr_t *)(self + offset_bytes);
}

static uint32_t half_at(uintptr_t self, uint32_t offset_bytes)
{
    return *(const uint32_t *)(self + offset_bytes);
}

/* Finds the pair (0, __libc_stack_end) that glibc writes for the first thread. */
static void calibrate_block(uintptr_t self)
{
    const uintptr_t end = (uintptr_t)__libc_stack_end;

    for (uint32_t offset = SCAN_BEGIN_BYTES; offset + 16 <= SCAN_END_BYTES; offset += 8) {
        if (word_at(self, offset) == 0 && word_at(self, offset + 8) == end) {
            block_offset_bytes = offset;
            return;
        }
    }
}

static void calibrate_tid(uintptr_t self)
{
    const uint32_t tid = (uint32_t)gettid();

    if (half_at(self, TID_BYTES) == tid) {
        tid_offset_bytes = TID_BYTES;
        return;
    }
    for (uint32_t offset = SCAN_BEGIN_BYTES; offset < TID_SCAN_END_BYTES; offset += 4) {
        if (half_at(self, offset) == tid) {
            tid_offset_bytes = offset;
            return;
        }
    }
}

void rtd_unwind_stack_init(uintptr_t stack_limit_bytes)
{
    const uintptr_t self = control_block();

    if (stack_limit_bytes > MAIN_REACH_BYTES && stack_limit_bytes <= MAIN_REACH_MAX_BYTES) {
        main_reach_bytes = stack_limit_bytes;
    }
    calibrate_block(self);
    calibrate_tid(self);
}

static bool is_on_main_stack(uintptr_t sp)
{
    const uintptr_t end = (uintptr_t)__libc_stack_end;

    return sp < end && end - sp <= main_reach_bytes;
}

static bool is_on_thread_stack(uintptr_t sp, uintptr_t self)
{
    const uintptr_t block = word_at(self, block_offset_bytes);
    const uintptr_t size = word_at(self, block_offset_bytes + 8);

    return block >= PAGE_BYTES && size < BLOCK_MAX_BYTES && block <= self && self - block < size &&
           sp >= block && sp < self;
}

struct rtd_unwind_bounds rtd_unwind_stack_bounds(uintptr_t sp)
{
    const uintptr_t self = control_block();
    struct rtd_unwind_bounds bounds = {.low = sp, .high = (sp | (PAGE_BYTES - 1)) + 1};

    if (is_on_main_stack(sp)) {
        bounds.high = (uintptr_t)__libc_stack_end;
    } else if (is_on_thread_stack(sp, self)) {
        bounds.high = self;
    }
    return bounds;
}

bool rtd_unwind_stack_own(uintptr_t sp, struct rtd_unwind_bounds *bounds)
{
    const uintptr_t self = control_block();

    if (is_on_main_stack(sp)) {
        const uintptr_t end = (uintptr_t)__libc_stack_end;
        *bounds = (struct rtd_unwind_bounds){end - main_reach_bytes, end};
        return true;
    }
    if (is_on_thread_stack(sp, self)) {
        *bounds = (struct rtd_unwind_bounds){word_at(self, block_offset_bytes), self};
        return true;
    }
    return false;
}

uint32_t rtd_unwind_thread_id(void)
{
    return tid_offset_bytes == 0 ? 0 : half_at(control_block(), tid_offset_bytes);
}
