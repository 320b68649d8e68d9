// SPDX-License-Identifier: Apache-2.0
/*
 * unwind_walk_test.c - the stack unwinder against libgcc's, and against hostile input.
 *
 * Runs in:    a test process
 * Threads:    some tests start their own
 * Allocates:  freely, outside the code under test
 * Fails:      as cmocka does
 *
 * libgcc's _Unwind_Backtrace() is the oracle: it shares no code with ours. Frame 0 is left out of
 * comparisons because the two calls stand at different places of the same function.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <alloca.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include "../support/support_skip.h"
#include "unwind/unwind.h"
#include "unwind/unwind_stack.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_INSTRUMENTED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_INSTRUMENTED
#endif
#endif

enum { MAX_FRAMES = 8192, PAGE = 4096 };

struct stack {
    uintptr_t pcs[MAX_FRAMES];
    unsigned count;
    enum rtd_unwind_end end;
};

static struct stack ours;
static struct stack theirs;

/* The frame of the function that uses it, at this very instruction. */
#define CAPTURE(frame)                                                                             \
    __asm__ volatile("leaq 0(%%rip), %0\n\tmovq %%rsp, %1\n\tmovq %%rbp, %2"                       \
                     : "=r"((frame).pc), "=r"((frame).sp), "=r"((frame).fp))

static uint64_t random_state = 0x9e3779b97f4a7c15U;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static _Unwind_Reason_Code collect(struct _Unwind_Context *context, void *argument)
{
    struct stack *const stack = argument;
    const uintptr_t pc = _Unwind_GetIP(context);

    if (pc != 0 && stack->count < MAX_FRAMES) {
        stack->pcs[stack->count++] = pc;
    }
    return _URC_NO_REASON;
}

/* Takes both stacks of the caller; cmocka's assertions stay out of signal handlers. */
__attribute__((noinline)) static void take_stacks(void)
{
    struct rtd_unwind_frame start;

    CAPTURE(start);
    ours.count =
        rtd_unwind_walk(start, rtd_unwind_stack_bounds(start.sp), ours.pcs, MAX_FRAMES, &ours.end);
    theirs.count = 0;
    _Unwind_Backtrace(collect, &theirs);
    /* Keeps the call above from becoming a jump, which would drop this frame. */
    __asm__ volatile("");
}

static void assert_same_stacks(void)
{
    assert_int_equal(ours.end, RTD_UNWIND_COMPLETE);
    assert_int_equal(ours.count, theirs.count);
    assert_true(ours.count > 3);
    assert_memory_equal(ours.pcs + 1, theirs.pcs + 1, (ours.count - 1) * sizeof(ours.pcs[0]));
}

static void assert_prefix(void)
{
    assert_true(ours.count >= 1 && ours.count <= theirs.count);
    assert_memory_equal(ours.pcs + 1, theirs.pcs + 1, (ours.count - 1) * sizeof(ours.pcs[0]));
}

static int init_stack(void **state)
{
    struct rlimit limit;

    (void)state;
    getrlimit(RLIMIT_STACK, &limit);
    rtd_unwind_stack_init(limit.rlim_cur);
    return 0;
}

static void walk_equals_libgcc_in_plain_frames(void **state)
{
    (void)state;
    take_stacks();
    assert_same_stacks();
}

__attribute__((noinline)) static unsigned recurse(unsigned depth)
{
    volatile unsigned here = depth;

    if (depth == 0) {
        take_stacks();
        return 0;
    }
    return recurse(depth - 1) + here;
}

static void walk_equals_libgcc_in_deep_recursion(void **state)
{
    (void)state;
    recurse(5000);
    assert_true(ours.count > 5000);
    assert_same_stacks();
}

static void walk_says_depth_when_the_array_is_full(void **state)
{
    struct rtd_unwind_frame start;
    enum rtd_unwind_end end;
    uintptr_t pcs[4];

    (void)state;
    take_stacks();
    CAPTURE(start);
    const struct rtd_unwind_bounds bounds = rtd_unwind_stack_bounds(start.sp);
    assert_int_equal(rtd_unwind_walk(start, bounds, pcs, 4, &end), 4);
    assert_int_equal(end, RTD_UNWIND_DEPTH);
    assert_memory_equal(pcs + 1, ours.pcs + 2, 3 * sizeof(pcs[0]));
    assert_int_equal(rtd_unwind_walk(start, bounds, pcs, 0, &end), 0);
}

__attribute__((noinline)) static void with_alloca(size_t size)
{
    volatile char *const room = alloca(size);

    room[0] = 1;
    take_stacks();
    room[size - 1] = 2;
}

static void walk_crosses_alloca_frames(void **state)
{
    (void)state;
    with_alloca(100 + (size_t)(random_next() % 1000));
    assert_same_stacks();
}

__attribute__((noinline)) static unsigned with_aligned_locals(unsigned a, size_t size)
{
    volatile unsigned room[16] __attribute__((aligned(64)));
    volatile char *const more = alloca(size);

    room[3] = a;
    more[0] = 1;
    take_stacks();
    return room[3] + (unsigned char)more[0];
}

/* More than six arguments and an aligned local: gcc keeps the CFA in memory (kind DEREF). */
__attribute__((noinline)) static unsigned
with_aligned_locals_and_stack_arguments(unsigned a, unsigned b, unsigned c, unsigned d, unsigned e,
                                        unsigned f, unsigned g, unsigned h)
{
    volatile unsigned room[16] __attribute__((aligned(64)));

    room[3] = a + b + c + d + e + f;
    const unsigned inner = with_aligned_locals(g, 64 + h);
    return room[3] + inner + g + h;
}

static void walk_crosses_realigned_frames(void **state)
{
    (void)state;
    assert_int_equal(with_aligned_locals_and_stack_arguments(1, 2, 3, 4, 5, 6, 7, 8), 21 + 8 + 15);
    assert_same_stacks();
}

__attribute__((noinline)) static void with_huge_frame(void)
{
    volatile char room[300 * 1024];

    room[0] = 1;
    take_stacks();
    room[sizeof(room) - 1] = room[0];
}

static void walk_crosses_frames_larger_than_64_kib(void **state)
{
    (void)state;
    with_huge_frame();
    assert_same_stacks();
}

static void *thread_main(void *argument)
{
    (void)argument;
    recurse(20);
    return NULL;
}

static void run_in_thread(void *(*function)(void *), void *argument)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, function, argument), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void walk_is_complete_in_a_pthread(void **state)
{
    (void)state;
    run_in_thread(thread_main, NULL);
    assert_same_stacks();
}

static void on_signal(int number)
{
    (void)number;
    take_stacks();
}

static void walk_passes_a_signal_frame(void **state)
{
    (void)state;
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
    signal(SIGUSR1, SIG_DFL);
    assert_same_stacks();
}

static sigjmp_buf after_fault;

static void on_fault(int number)
{
    (void)number;
    take_stacks();
    siglongjmp(after_fault, 1);
}

/* No frame of its own: the fault hits while the CFA is rsp + 8. */
__attribute__((noinline)) static int faulting_leaf(volatile int *bad)
{
    return *bad;
}

static void walk_passes_a_fault_in_a_leaf_function(void **state)
{
    void *const page = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)state;
    signal(SIGSEGV, on_fault);
    if (sigsetjmp(after_fault, 1) == 0) {
        faulting_leaf(page);
        fail();
    }
    signal(SIGSEGV, SIG_DFL);
    munmap(page, PAGE);
    assert_same_stacks();
}

static void walk_on_a_signal_stack_stops_short_and_right(void **state)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    const stack_t alternate = {.ss_sp = malloc(65536), .ss_size = 65536};
    const stack_t off = {.ss_flags = SS_DISABLE};

    (void)state;
    sigaltstack(&alternate, NULL);
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    signal(SIGUSR1, SIG_DFL);
    sigaltstack(&off, NULL);
    free(alternate.ss_sp);
    assert_int_equal(ours.end, RTD_UNWIND_BOUNDS);
    assert_true(ours.count >= 2);
    assert_prefix();
}

static ucontext_t main_context;
static ucontext_t coroutine_context;

static void coroutine_main(void)
{
    recurse(2000);
}

static void walk_on_a_coroutine_stack_stops_short_and_right(void **state)
{
    const size_t size = 1 << 20;
    void *const room = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)state;
    assert_ptr_not_equal(room, MAP_FAILED);
    getcontext(&coroutine_context);
    coroutine_context.uc_stack = (stack_t){.ss_sp = room, .ss_size = size};
    coroutine_context.uc_link = &main_context;
    makecontext(&coroutine_context, coroutine_main, 0);
    swapcontext(&main_context, &coroutine_context);
    munmap(room, size);
    assert_int_equal(ours.end, RTD_UNWIND_BOUNDS);
    assert_prefix();
}

static void walk_without_an_object_says_no_rule(void **state)
{
    void *const room = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct rtd_unwind_frame start;
    enum rtd_unwind_end end;
    uintptr_t pcs[8];

    (void)state;
    CAPTURE(start);
    start.pc = (uintptr_t)room + 16;
    errno = 1234;
    assert_int_equal(rtd_unwind_walk(start, rtd_unwind_stack_bounds(start.sp), pcs, 8, &end), 1);
    assert_int_equal(end, RTD_UNWIND_NO_RULE);
    assert_int_equal(errno, 1234);
    munmap(room, PAGE);
}

static void walk_ends_complete_at_a_zero_return_address(void **state)
{
    /* A frame of this very function whose caller is 0: how hand-made stacks end. */
    static uintptr_t room[4096];
    struct rtd_unwind_frame start;
    struct rtd_unwind_bounds bounds = {.low = (uintptr_t)room,
                                       .high = (uintptr_t)(room + RTD_ARRAY_LENGTH(room))};
    enum rtd_unwind_end end;
    uintptr_t pcs[8];

    (void)state;
    CAPTURE(start);
    start.sp = (uintptr_t)room;
    start.fp = (uintptr_t)(room + 100);
    assert_int_equal(rtd_unwind_walk(start, bounds, pcs, 8, &end), 1);
    assert_int_equal(end, RTD_UNWIND_COMPLETE);
}

static void bounds_of_the_main_thread_end_above_main(void **state)
{
    /* Not the address of a variable: under AddressSanitizer that may stand on the heap. */
    const uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    const struct rtd_unwind_bounds bounds = rtd_unwind_stack_bounds(here);

    (void)state;
    assert_true(bounds.low == here);
    assert_true(bounds.high > here + 64);
    assert_int_equal(rtd_unwind_thread_id(), gettid());
}

static void *thread_bounds(void *argument)
{
    struct rtd_unwind_bounds *const bounds = argument;

    *bounds = rtd_unwind_stack_bounds((uintptr_t)__builtin_frame_address(0));
    return (void *)(uintptr_t)(bounds->high == (uintptr_t)pthread_self() &&
                               rtd_unwind_thread_id() == (uint32_t)gettid());
}

static void assert_thread_bounds(pthread_attr_t *attributes)
{
    struct rtd_unwind_bounds bounds;
    pthread_t thread;
    void *is_right = NULL;

    assert_int_equal(pthread_create(&thread, attributes, thread_bounds, &bounds), 0);
    assert_int_equal(pthread_join(thread, &is_right), 0);
    assert_non_null(is_right);
}

static void bounds_of_a_pthread_end_at_its_control_block(void **state)
{
    const size_t size = 256 * 1024;
    char *const room = malloc(size + PAGE);
    pthread_attr_t attributes;

    (void)state;
    assert_thread_bounds(NULL);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    assert_thread_bounds(&attributes);
    /* A stack that the program brings, at an address that is not a page's. */
    pthread_attr_setstack(&attributes, room + 16, size);
    assert_thread_bounds(&attributes);
    pthread_attr_destroy(&attributes);
    free(room);
}

static void bounds_of_a_foreign_stack_are_its_page(void **state)
{
    char *const room = aligned_alloc(PAGE, 2 * PAGE);
    const uintptr_t sp = (uintptr_t)room + 1000;
    const struct rtd_unwind_bounds bounds = rtd_unwind_stack_bounds(sp);

    (void)state;
    assert_true(bounds.low == sp && bounds.high == (uintptr_t)room + PAGE);
    free(room);
}

/* Exit status of a child whose walk is complete and whose bounds and id are its own. */
static int child_status(void)
{
    struct rtd_unwind_frame start;

    CAPTURE(start);
    ours.count =
        rtd_unwind_walk(start, rtd_unwind_stack_bounds(start.sp), ours.pcs, MAX_FRAMES, &ours.end);
    return ours.end == RTD_UNWIND_COMPLETE && rtd_unwind_thread_id() == (uint32_t)getpid() ? 0 : 1;
}

static void *fork_here(void *argument)
{
    int *const status = argument;
    const pid_t pid = fork();

    if (pid == 0) {
        _exit(child_status());
    }
    waitpid(pid, status, 0);
    return NULL;
}

static void walk_is_complete_in_a_child_forked_from_a_pthread(void **state)
{
    int status = -1;

    (void)state;
    fork_here(&status);
    assert_int_equal(status, 0);
    status = -1;
    run_in_thread(fork_here, &status);
    assert_int_equal(status, 0);
}

/* Registers and stack contents at random; code addresses among them, so that rules are found. */
static void random_registers_never_fault(void **state)
{
    const size_t bytes = 4 * PAGE;
    uint8_t *const map =
        mmap(NULL, bytes + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uintptr_t *const words = (uintptr_t *)(void *)(map + PAGE);
    const struct rtd_unwind_bounds bounds = {.low = (uintptr_t)words,
                                             .high = (uintptr_t)words + bytes};
    uintptr_t pcs[64];
    enum rtd_unwind_end end;

    (void)state;
    assert_int_equal(mprotect(words, bytes, PROT_READ | PROT_WRITE), 0);
    recurse(3);
    for (unsigned round = 0; round < 20000; round++) {
        for (unsigned i = 0; i < 32; i++) {
            const uint64_t choice = random_next() % 4;
            const uintptr_t code = theirs.pcs[random_next() % theirs.count] + random_next() % 512;
            const uintptr_t stack = bounds.low - 256 + random_next() % (bytes + 512);
            words[random_next() % (bytes / 8)] =
                choice == 0 ? random_next() : (choice == 1 ? stack : code);
        }
        const struct rtd_unwind_frame start = {
            .pc = theirs.pcs[random_next() % theirs.count] + random_next() % 512,
            .sp = random_next() % 16 == 0 ? random_next()
                                          : bounds.low - 64 + random_next() % (bytes + 128),
            .fp = random_next() % 4 == 0 ? random_next()
                                         : bounds.low - 64 + random_next() % (bytes + 128)};
        const unsigned count = rtd_unwind_walk(start, bounds, pcs, RTD_ARRAY_LENGTH(pcs), &end);
        assert_in_range(count, 1, RTD_ARRAY_LENGTH(pcs));
        assert_in_range(end, RTD_UNWIND_COMPLETE, RTD_UNWIND_BOUNDS);
    }
    munmap(map, bytes + 2 * PAGE);
}

static _Atomic bool is_over;
static _Atomic unsigned wrong_walks;
static _Atomic unsigned good_walks;

__attribute__((noinline)) static void walk_until_over(unsigned depth)
{
    volatile unsigned here = depth;

    if (depth > 0) {
        walk_until_over(depth - 1);
        here++;
        return;
    }
    static __thread uintptr_t first[128];
    static __thread uintptr_t again[128];
    struct rtd_unwind_frame start;
    enum rtd_unwind_end end;
    CAPTURE(start);
    const struct rtd_unwind_bounds bounds = rtd_unwind_stack_bounds(start.sp);
    const unsigned count = rtd_unwind_walk(start, bounds, first, 128, &end);
    while (!atomic_load(&is_over)) {
        const unsigned now = rtd_unwind_walk(start, bounds, again, 128, &end);
        const bool is_good = now == count && end == RTD_UNWIND_COMPLETE &&
                             memcmp(first, again, count * sizeof(first[0])) == 0;
        atomic_fetch_add(is_good ? &good_walks : &wrong_walks, 1);
    }
}

static void *walking_thread(void *argument)
{
    walk_until_over(*(unsigned *)argument);
    return NULL;
}

static void flush_during_walks_changes_no_stack(void **state)
{
    pthread_t threads[3];
    unsigned depths[3] = {5, 17, 40};

    (void)state;
    atomic_store(&is_over, false);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, walking_thread, &depths[i]), 0);
    }
    for (unsigned i = 0; i < 3000; i++) {
        rtd_unwind_flush();
    }
    while (atomic_load(&good_walks) < 1000) {
        rtd_unwind_flush();
        usleep(100);
    }
    atomic_store(&is_over, true);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(atomic_load(&wrong_walks), 0);
}

/* Painting the unused stack shows how much of it a walk with an empty cache really touches. */
#ifdef __OPTIMIZE__
enum { STACK_BUDGET_BYTES = 800 };
#else
enum { STACK_BUDGET_BYTES = 1600 };
#endif
enum { PAINTED_BYTES = 64 * 1024, PAINT = 0xa5 };

static uint8_t *painted;
static uintptr_t sp_before_walk;

static void painted_main(void)
{
    struct rtd_unwind_frame start;

    CAPTURE(start);
    const struct rtd_unwind_bounds bounds = {.low = (uintptr_t)painted,
                                             .high = (uintptr_t)painted + PAINTED_BYTES};
    rtd_unwind_flush();
    /* Once for the dynamic linker, which binds _dl_find_object() lazily in this test program. */
    ours.count = rtd_unwind_walk(start, bounds, ours.pcs, MAX_FRAMES, &ours.end);
    rtd_unwind_flush();
    for (uint8_t *place = painted; (uintptr_t)place < start.sp - 256; place++) {
        *place = PAINT;
    }
    sp_before_walk = start.sp;
    ours.count = rtd_unwind_walk(start, bounds, ours.pcs, MAX_FRAMES, &ours.end);
}

static void walk_with_an_empty_cache_stays_within_its_stack_budget(void **state)
{
    (void)state;
#ifdef IS_INSTRUMENTED
    rtd_support_skip("instrumented frames are larger, and the agent is never built so");
#endif
    painted = malloc(PAINTED_BYTES);
    getcontext(&coroutine_context);
    coroutine_context.uc_stack = (stack_t){.ss_sp = painted, .ss_size = PAINTED_BYTES};
    coroutine_context.uc_link = &main_context;
    makecontext(&coroutine_context, painted_main, 0);
    swapcontext(&main_context, &coroutine_context);

    size_t untouched = 0;
    while (untouched < PAINTED_BYTES && painted[untouched] == PAINT) {
        untouched++;
    }
    const size_t used = sp_before_walk - ((uintptr_t)painted + untouched);
    print_message("a walk with an empty cache uses %zu bytes of stack\n", used);
    /* The walk reached glibc's __start_context, before which there is no function. */
    assert_int_equal(ours.end, RTD_UNWIND_NO_RULE);
    assert_int_equal(ours.count, 2);
    assert_in_range(used, 64, STACK_BUDGET_BYTES);
    free(painted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(walk_equals_libgcc_in_plain_frames),
        cmocka_unit_test(walk_equals_libgcc_in_deep_recursion),
        cmocka_unit_test(walk_says_depth_when_the_array_is_full),
        cmocka_unit_test(walk_crosses_alloca_frames),
        cmocka_unit_test(walk_crosses_realigned_frames),
        cmocka_unit_test(walk_crosses_frames_larger_than_64_kib),
        cmocka_unit_test(walk_is_complete_in_a_pthread),
        cmocka_unit_test(walk_passes_a_signal_frame),
        cmocka_unit_test(walk_passes_a_fault_in_a_leaf_function),
        cmocka_unit_test(walk_on_a_signal_stack_stops_short_and_right),
        cmocka_unit_test(walk_on_a_coroutine_stack_stops_short_and_right),
        cmocka_unit_test(walk_without_an_object_says_no_rule),
        cmocka_unit_test(walk_ends_complete_at_a_zero_return_address),
        cmocka_unit_test(bounds_of_the_main_thread_end_above_main),
        cmocka_unit_test(bounds_of_a_pthread_end_at_its_control_block),
        cmocka_unit_test(bounds_of_a_foreign_stack_are_its_page),
        cmocka_unit_test(walk_is_complete_in_a_child_forked_from_a_pthread),
        cmocka_unit_test(random_registers_never_fault),
        cmocka_unit_test(flush_during_walks_changes_no_stack),
        cmocka_unit_test(walk_with_an_empty_cache_stays_within_its_stack_budget),
    };
    return cmocka_run_group_tests(tests, init_stack, NULL);
}
