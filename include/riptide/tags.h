/* SPDX-License-Identifier: Apache-2.0 */
/*
 * riptide/tags.h - say which component and operation allocates. Header only.
 *
 *     #include <riptide/tags.h>
 *
 *     void parse(const char *html)
 *     {
 *         RIPTIDE_SCOPE("extraction", "parse_html");
 *         ...                     // what this thread allocates here is extraction's
 *     }
 *
 * The scope ends with the block. Scopes nest; the innermost one in force when a block of memory
 * is allocated owns it until it is freed, whoever frees it.
 *
 * Cost: two calls and a thread-local store per scope under `riptide run`; a test of a null
 * function pointer otherwise. Without the agent the macros do nothing. With RIPTIDE_DISABLE
 * defined they compile to nothing.
 *
 * Threads: any; a scope belongs to the thread that opened it. Not for use in signal handlers.
 * Names: string literals or strings that do not change; up to 59 bytes each are kept. About 500
 * different pairs are told apart, the rest is charged to "other".
 */
#ifndef RIPTIDE_TAGS_H
#define RIPTIDE_TAGS_H

#include <stdint.h>

#ifdef RIPTIDE_DISABLE

#define RIPTIDE_SCOPE(component, operation) ((void)0)

#else

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Interns a pair of names and returns its tag (0 when nothing is being recorded). The names are
 * copied. Thread-safe; lock-free. Provided by the agent; absent (null) without it.
 */
__attribute__((weak)) uint32_t riptide_tag_intern(const char *component, const char *operation);

/* Puts a tag in force on this thread and returns the one before. Provided by the agent. */
__attribute__((weak)) uint32_t riptide_tag_swap(uint32_t tag);

#ifdef __cplusplus
}
#endif

/* Finds the tag of a call site once; *cache is 0 before. A race only interns the same pair twice.
 */
static inline uint32_t riptide_tag_enter_(uint32_t *cache, const char *component,
                                          const char *operation)
{
    uint32_t tag;
    if (!riptide_tag_swap || !riptide_tag_intern)
        return 0;
    tag = __atomic_load_n(cache, __ATOMIC_RELAXED);
    if (tag == 0) {
        tag = riptide_tag_intern(component, operation);
        __atomic_store_n(cache, tag, __ATOMIC_RELAXED);
    }
    return riptide_tag_swap(tag);
}

static inline void riptide_tag_leave_(const uint32_t *before)
{
    if (riptide_tag_swap)
        (void)riptide_tag_swap(*before);
}

#define RIPTIDE_PASTE2_(a, b) a##b
#define RIPTIDE_PASTE_(a, b)  RIPTIDE_PASTE2_(a, b)

/* To the end of the enclosing block, allocations of this thread belong to component/operation. */
#define RIPTIDE_SCOPE(component, operation)                                                        \
    static uint32_t RIPTIDE_PASTE_(riptide_tag_cache_, __LINE__);                                  \
    const uint32_t RIPTIDE_PASTE_(riptide_tag_before_,                                             \
                                  __LINE__) __attribute__((cleanup(riptide_tag_leave_), unused)) = \
        riptide_tag_enter_(&RIPTIDE_PASTE_(riptide_tag_cache_, __LINE__), component, operation)

#endif
#endif
