// SPDX-License-Identifier: Apache-2.0
/*
 * base_macros.h - the few compiler helpers every room uses.
 *
 * Runs in:    agent, collector, tests
 * Threads:    no state
 * Allocates:  never
 * Fails:      never
 */
#ifndef RTD_BASE_MACROS_H
#define RTD_BASE_MACROS_H

#include <stddef.h>
#include <stdint.h>

#define RTD_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#define RTD_LIKELY(x)                      __builtin_expect(!!(x), 1)
#define RTD_UNLIKELY(x)                    __builtin_expect(!!(x), 0)
#define RTD_ARRAY_LENGTH(a)                (sizeof(a) / sizeof((a)[0]))
#define RTD_EXPORT                         __attribute__((visibility("default")))

/* A function without a sanitizer's instrumentation, of its own even where it could be inlined. */
#if defined(__has_attribute) && __has_attribute(disable_sanitizer_instrumentation)
#define RTD_NO_SANITIZER                                                                           \
    __attribute__((noinline, disable_sanitizer_instrumentation, no_sanitize("thread", "address")))
#else
#define RTD_NO_SANITIZER __attribute__((noinline, no_sanitize("thread", "address")))
#endif

#endif
