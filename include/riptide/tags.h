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
 * Cost: two nanoseconds a scope where RipTide is in the process (`riptide run`, libriptide or
 * libriptide-heap; bench/bench_scope.c measures it), a test of a null pointer otherwise: nothing
 * needs to be linked. With RIPTIDE_DISABLE defined it all compiles to nothing.
 *
 * Threads: any; a scope belongs to the thread that opened it. Work that goes on in another thread,
 * or in a task that is switched, takes its tag along: riptide_scope_capture() and below. Not for
 * use in signal handlers.
 * Names: any strings that end with a NUL byte; up to 59 bytes each are kept, copied. About 500
 * different pairs are told apart, the rest is charged to "other". RIPTIDE_SCOPE looks its names up
 * once at each place in the source: names that change need riptide_scope_push().
 */
#ifndef RIPTIDE_TAGS_H
#define RIPTIDE_TAGS_H

#include <stdint.h>

/* A scope under way, kept by the caller from its beginning to its end. */
struct riptide_scope {
    uint32_t before; /* the tag to go back to */
};

#ifdef RIPTIDE_DISABLE

#define RIPTIDE_SCOPE(component, operation) ((void)0)

static inline uint32_t riptide_scope_tag(const char *component, const char *operation)
{
    (void)component;
    (void)operation;
    return 0;
}

/* Leaves the tag in force as it is. */
static inline uint32_t riptide_scope_swap_(uint32_t tag)
{
    (void)tag;
    return 0;
}

#else

#define RIPTIDE_TAG_COUNT_ 512u
#define RIPTIDE_TAG_OTHER_ 1u

/*
 * What is looked for in the process: RipTide's agent has it, and so has libriptide. Without either
 * the references are null. The tag in force is a word of each thread at one distance from the
 * thread pointer, riptide_tag_offset (0: not yet known), so that a scope needs no call. The
 * references are read from the global offset table by hand: in programs that are not
 * position-independent a plain weak reference would be null even where there is something.
 */
#if defined(__x86_64__) && defined(__ELF__) && !defined(__ILP32__)

#define RIPTIDE_TAGS_FIND_(pointer, name)                                                          \
    __asm__(".weak " #name "\n\t"                                                                  \
            "mov{q}\t{" #name "@GOTPCREL(%%rip), %0|%0, QWORD PTR " #name "@GOTPCREL[rip]}"        \
            : "=r"(pointer))

/* What the allocations between two of these belong to: the compiler must not move any across. */
static inline uint32_t riptide_scope_exchange_(uint32_t tag)
{
    const int64_t *offset;
    uint32_t before = 0;
    RIPTIDE_TAGS_FIND_(offset, riptide_tag_offset);
    if (offset && *offset)
        __asm__ volatile("mov{l}\t{%%fs:(%1), %0|%0, DWORD PTR fs:[%1]}\n\t"
                         "mov{l}\t{%2, %%fs:(%1)|DWORD PTR fs:[%1], %2}"
                         : "=&r"(before)
                         : "r"(*offset), "r"(tag)
                         : "memory");
    return before;
}

static inline void riptide_scope_set_(uint32_t tag)
{
    const int64_t *offset;
    RIPTIDE_TAGS_FIND_(offset, riptide_tag_offset);
    if (offset && *offset)
        __asm__ volatile("mov{l}\t{%1, %%fs:(%0)|DWORD PTR fs:[%0], %1}"
                         :
                         : "r"(*offset), "r"(tag)
                         : "memory");
}

static inline int riptide_scope_is_there_(void)
{
    const int64_t *offset;
    RIPTIDE_TAGS_FIND_(offset, riptide_tag_offset);
    return offset && *offset;
}

#else

#ifdef __cplusplus
extern "C" {
#endif
__attribute__((weak)) uint32_t riptide_tag_intern(const char *component, const char *operation);
__attribute__((weak)) uint32_t riptide_tag_swap(uint32_t tag);
#ifdef __cplusplus
}
#endif

#define RIPTIDE_TAGS_FIND_(pointer, name) ((pointer) = (name))

static inline uint32_t riptide_scope_exchange_(uint32_t tag)
{
    return riptide_tag_swap ? riptide_tag_swap(tag) : 0;
}

static inline void riptide_scope_set_(uint32_t tag)
{
    (void)riptide_scope_exchange_(tag);
}

static inline int riptide_scope_is_there_(void)
{
    return riptide_tag_swap != 0;
}

#endif

/*
 * The tag of a component/operation pair, for riptide_scope_push(); the same for the same names for
 * as long as the process lives. 0: RipTide is not in the process. A search through the names:
 * keep the result. Thread-safe, lock-free.
 */
static inline uint32_t riptide_scope_tag(const char *component, const char *operation)
{
    uint32_t (*intern)(const char *, const char *);
    RIPTIDE_TAGS_FIND_(intern, riptide_tag_intern);
    return intern ? intern(component, operation) : 0;
}

/* For tags that come from the program. */
static inline uint32_t riptide_scope_swap_(uint32_t tag)
{
    return riptide_scope_exchange_(tag < RIPTIDE_TAG_COUNT_ ? tag : RIPTIDE_TAG_OTHER_);
}

/* Out of line: once for each place. A race only looks the same pair up twice. */
__attribute__((noinline, cold, unused)) static uint32_t
riptide_scope_first_(uint32_t *cache, const char *component, const char *operation)
{
    const uint32_t tag = riptide_scope_tag(component, operation);
    __atomic_store_n(cache, tag, __ATOMIC_RELAXED);
    return tag;
}

/* *cache is 0 before the first time. */
static inline struct riptide_scope riptide_scope_enter_(uint32_t *cache, const char *component,
                                                        const char *operation)
{
    struct riptide_scope scope = {0};
    if (riptide_scope_is_there_()) {
        uint32_t tag = __atomic_load_n(cache, __ATOMIC_RELAXED);
        if (__builtin_expect(tag == 0, 0))
            tag = riptide_scope_first_(cache, component, operation);
        scope.before = riptide_scope_exchange_(tag);
    }
    return scope;
}

static inline void riptide_scope_leave_(const struct riptide_scope *scope)
{
    riptide_scope_set_(scope->before);
}

#define RIPTIDE_PASTE2_(a, b) a##b
#define RIPTIDE_PASTE_(a, b)  RIPTIDE_PASTE2_(a, b)

#endif

/* ---- scopes by hand, for language runtimes and names that change --------------------------- */

/* Begins a scope of this thread with a tag of riptide_scope_tag(). The caller keeps *scope. */
static inline void riptide_scope_push(struct riptide_scope *scope, uint32_t tag)
{
    scope->before = riptide_scope_swap_(tag);
}

/* Ends it, on the same thread. Scopes end in the reverse order of their beginnings. */
static inline void riptide_scope_pop(const struct riptide_scope *scope)
{
    (void)riptide_scope_swap_(scope->before);
}

/* ---- work that changes threads --------------------------------------------------------------- */

/*
 * The tag in force here, to be stored with a task that will run later or elsewhere. A value: it
 * may be used any number of times, on any thread.
 */
static inline uint32_t riptide_scope_capture(void)
{
    const uint32_t tag = riptide_scope_swap_(0);
    (void)riptide_scope_swap_(tag);
    return tag;
}

/*
 * Puts a captured tag in force on this thread, before it runs the task, and keeps in *before what
 * was in force here. A scheduler of coroutines does it at each resumption, and captures anew at
 * each suspension, because the task may have opened scopes.
 */
static inline void riptide_scope_adopt(uint32_t captured, struct riptide_scope *before)
{
    before->before = riptide_scope_swap_(captured);
}

/* When the task returned or was suspended: what was in force before it, on the same thread. */
static inline void riptide_scope_restore(const struct riptide_scope *before)
{
    (void)riptide_scope_swap_(before->before);
}

/* ---- RIPTIDE_SCOPE --------------------------------------------------------------------------- */

#ifdef __cplusplus
/* C++11: a scope of a tag of riptide_scope_tag(). Ends with the object, also by an exception. */
class riptide_scope_guard
{
  public:
    explicit riptide_scope_guard(uint32_t tag)
    {
        riptide_scope_push(&scope_, tag);
    }
    ~riptide_scope_guard()
    {
        riptide_scope_pop(&scope_);
    }
    riptide_scope_guard(const riptide_scope_guard &) = delete;
    riptide_scope_guard &operator=(const riptide_scope_guard &) = delete;

  private:
    struct riptide_scope scope_;
};
#endif

#ifndef RIPTIDE_DISABLE
/*
 * To the end of the enclosing block, allocations of this thread belong to component/operation. In
 * C++ it ends by an exception as well.
 */
#define RIPTIDE_SCOPE(component, operation) RIPTIDE_SCOPE_(component, operation, __COUNTER__)

/* One number for the names of a scope, so that several may stand on one line. */
#define RIPTIDE_SCOPE_(component, operation, number)                                               \
    static uint32_t RIPTIDE_PASTE_(riptide_tag_cache_, number);                                    \
    const struct riptide_scope RIPTIDE_PASTE_(                                                     \
        riptide_scope_, number) __attribute__((cleanup(riptide_scope_leave_), unused)) =           \
        riptide_scope_enter_(&RIPTIDE_PASTE_(riptide_tag_cache_, number), component, operation)
#endif

#endif
