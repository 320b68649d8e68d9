// SPDX-License-Identifier: Apache-2.0
/*
 * agent_shape_test.c - the stack cache of exact mode never gives a stack that is not the caller's.
 *
 * Runs in:    a test process
 * Threads:    some tests start their own
 * Allocates:  freely, outside the code under test
 * Fails:      as cmocka does
 *
 * Each lookup is compared, frame by frame, with a plain walk from the same frame, and many of them
 * with libgcc's _Unwind_Backtrace(), which shares no code with either.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <alloca.h>
#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include "../support/support_shape.h"
#include "../support/support_skip.h"

#if defined(__SANITIZE_ADDRESS__)
#define IS_INSTRUMENTED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_INSTRUMENTED 1
#endif
#endif

#if defined(__clang__)
#define UNOPTIMIZED __attribute__((noinline, optnone))
#else
#define UNOPTIMIZED __attribute__((noinline, optimize("O0")))
#endif
#define OPTIMIZED __attribute__((noinline))
/* What follows a call keeps it from being a jump. */
#define NOT_A_TAIL_CALL() __asm__ volatile("" : : : "memory")

enum {
    KINDS = 8,
    FUZZ_LOOKUPS = 1000000,
    FUZZ_TREE = 50000,
    THREADS = 8,
    LOOKUPS = 100,
    STACK_BYTES = 256 * 1024
};

/* Keeps a loop from being unrolled: a call in it has one return address. */
static volatile int three_times = 3;

/* ---- random trees of calls that look up at every node ---- */

struct tree {
    uint64_t random;
    unsigned depth_max;
    unsigned lookups;
    unsigned lookups_max;
    unsigned libgcc_every; /* 0 = never */
    bool is_right;
};

typedef void grow(struct tree *tree, unsigned depth);
static grow *const growers[KINDS];

static uint64_t random_next(struct tree *tree)
{
    tree->random ^= tree->random << 13;
    tree->random ^= tree->random >> 7;
    tree->random ^= tree->random << 17;
    return tree->random;
}

static bool check(struct tree *tree, const struct rtd_unwind_frame *frame)
{
    tree->lookups++;
    if (tree->libgcc_every != 0 && tree->lookups % tree->libgcc_every == 0)
        tree->is_right = tree->is_right && support_shape_check_libgcc(frame);
    else
        tree->is_right = tree->is_right && support_shape_check(frame);
    return tree->is_right && tree->lookups < tree->lookups_max;
}

static bool goes_on(struct tree *tree, unsigned depth)
{
    return depth < tree->depth_max && tree->is_right && tree->lookups < tree->lookups_max;
}

/* Body of a kind of function: looks up, then calls one to three others at random. */
#define GROW(tree, depth)                                                                          \
    do {                                                                                           \
        struct rtd_unwind_frame frame;                                                             \
        SUPPORT_CAPTURE(frame);                                                                    \
        bool more = check(tree, &frame);                                                           \
        for (uint64_t n = random_next(tree) % 3 + 1; n != 0 && more && goes_on(tree, depth);       \
             n--) {                                                                                \
            growers[random_next(tree) % KINDS](tree, (depth) + 1);                                 \
            NOT_A_TAIL_CALL();                                                                     \
        }                                                                                          \
    } while (0)

static OPTIMIZED void grow_small(struct tree *tree, unsigned depth)
{
    GROW(tree, depth);
}

static OPTIMIZED void grow_large(struct tree *tree, unsigned depth)
{
    volatile char local[3000];
    local[depth % sizeof local] = 1;
    GROW(tree, depth);
}

static UNOPTIMIZED void grow_unoptimized(struct tree *tree, unsigned depth)
{
    GROW(tree, depth);
}

static OPTIMIZED void grow_alloca(struct tree *tree, unsigned depth)
{
    volatile char *const local = alloca(random_next(tree) % 200 + 1);
    local[0] = 1;
    GROW(tree, depth);
}

/* A realigned frame: its CFA lies in memory. */
static OPTIMIZED void grow_aligned(struct tree *tree, unsigned depth)
{
    _Alignas(64) volatile char local[64];
    volatile char *const extra = alloca(random_next(tree) % 100 + 1);
    local[depth % sizeof local] = 1;
    extra[0] = 1;
    GROW(tree, depth);
}

/* Two that are alike, with frames of one size: only their return addresses differ. */
static OPTIMIZED void grow_twin_a(struct tree *tree, unsigned depth)
{
    GROW(tree, depth);
}

static OPTIMIZED void grow_twin_b(struct tree *tree, unsigned depth)
{
    GROW(tree, depth);
}

/* Clobbers rbp, so that a frame further out that needs it must find where it was saved. */
static OPTIMIZED void grow_clobber(struct tree *tree, unsigned depth)
{
    volatile uint64_t values[6];
    for (unsigned i = 0; i < 6; i++)
        values[i] = random_next(tree);
    GROW(tree, depth);
    values[0] = values[1] + values[2] * values[3];
}

static grow *const growers[KINDS] = {grow_small,   grow_large,  grow_unoptimized, grow_alloca,
                                     grow_aligned, grow_twin_a, grow_twin_b,      grow_clobber};

static bool run_tree(struct tree *tree)
{
    tree->is_right = true;
    while (tree->is_right && tree->lookups < tree->lookups_max)
        growers[random_next(tree) % KINDS](tree, 0);
    return tree->is_right;
}

/* ---- set-up ---- */

static int set_up(void **state)
{
    (void)state;
    support_shape_thread(0);
    return support_shape_init() ? 0 : -1;
}

/* ---- tests ---- */

static void random_calls_have_the_stacks_of_a_walk_and_of_libgcc(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < FUZZ_LOOKUPS / FUZZ_TREE; round++) {
        /* Each tree twice, so that the second time most is found again; the trie has an end. */
        struct tree tree = {.random = 0x9e3779b97f4a7c15U + round / 2,
                            .depth_max = 24,
                            .lookups_max = FUZZ_TREE,
                            .libgcc_every = 16};
        if (round % 2 == 0)
            assert_true(support_shape_init());
        assert_true(run_tree(&tree));
    }
}

static void deep_random_calls_have_the_stacks_of_a_walk(void **state)
{
    struct tree tree = {.random = 77, .depth_max = 400, .lookups_max = 60000, .libgcc_every = 1000};
    (void)state;
    assert_true(run_tree(&tree));
}

static OPTIMIZED unsigned recurse(unsigned depth, bool *is_right)
{
    struct rtd_unwind_frame frame;
    SUPPORT_CAPTURE(frame);
    *is_right = *is_right && support_shape_check(&frame);
    const unsigned below = depth == 0 ? 0 : recurse(depth - 1, is_right);
    NOT_A_TAIL_CALL();
    return below + 1;
}

static void recursion_is_found_again_at_every_depth(void **state)
{
    bool is_right = true;
    (void)state;
    for (unsigned depth = 0; depth < 300; depth += 7)
        recurse(depth, &is_right);
    assert_true(is_right);
    const uint64_t before = support_shape_misses(0);
    for (int round = 0; round < three_times; round++) {
        recurse(290, &is_right);
        /* One call, not three in a row. */
        NOT_A_TAIL_CALL();
    }
    assert_true(is_right);
    /* Once for each depth, and for what the ways of a set do not hold. */
    assert_true(support_shape_misses(0) - before < 400);
}

/* Where a stack is found again depends on nothing but the stack: no walk the second time. */
static OPTIMIZED uint32_t look_up(struct rtd_unwind_frame *frame)
{
    SUPPORT_CAPTURE(*frame);
    return rtd_shape_site(support_shape_ledger, &rtd_thread_state, frame);
}

static OPTIMIZED uint32_t call_twin_a(struct rtd_unwind_frame *frame)
{
    const uint32_t site = look_up(frame);
    NOT_A_TAIL_CALL();
    return site;
}

static OPTIMIZED uint32_t call_twin_b(struct rtd_unwind_frame *frame)
{
    const uint32_t site = look_up(frame);
    NOT_A_TAIL_CALL();
    return site;
}

typedef uint32_t twin(struct rtd_unwind_frame *frame);

static void equal_leaves_under_different_callers_are_different_sites(void **state)
{
    static twin *const volatile twins[2] = {call_twin_a, call_twin_b};
    struct rtd_unwind_frame frames[2];
    uint32_t sites[2] = {0, 0};
    (void)state;

    for (int round = 0; round < 20; round++) {
        const int which = round % 2;
        const uint32_t site = twins[which](&frames[which]);
        assert_true(sites[which] == 0 || sites[which] == site);
        sites[which] = site;
    }
    assert_int_equal(frames[0].pc, frames[1].pc);
    assert_int_not_equal(sites[0], sites[1]);
    assert_int_equal(support_shape_misses(0), 2);
}

static void another_tag_is_another_site_of_the_same_stack(void **state)
{
    const struct rtd_exact *const exact = rtd_exact_of(support_shape_ledger);
    struct rtd_unwind_frame frame;
    uint32_t sites[3] = {0, 0, 0};
    (void)state;

    for (int i = 0; i < 4 * three_times; i++) {
        const uint32_t tag = (uint32_t)i % 3;
        rtd_thread_state.tag = tag;
        const uint32_t site = call_twin_a(&frame);
        assert_true(sites[tag] == 0 || sites[tag] == site);
        sites[tag] = site;
    }
    rtd_thread_state.tag = 0;
    assert_int_not_equal(sites[0], sites[1]);
    assert_int_not_equal(sites[1], sites[2]);
    assert_int_equal((uint32_t)atomic_load(&exact->site_keys[sites[0]]),
                     (uint32_t)atomic_load(&exact->site_keys[sites[2]]));
}

static void flip_in_record(struct rtd_shape_record *record, size_t word, size_t bit)
{
    const uint64_t place = atomic_load(&record->place);
    const unsigned words = ((unsigned)(place >> RTD_SHAPE_PLAIN_SHIFT & RTD_SHAPE_GROUPS_MASK) +
                            (unsigned)(place >> RTD_SHAPE_RELATIVE_SHIFT & RTD_SHAPE_GROUPS_MASK)) *
                           4;
    if (atomic_load(&record->id) != 0 && words != 0)
        atomic_fetch_xor(&record->values[word % words], UINT64_C(1) << bit % 64);
}

static void flip_in_flat(struct rtd_shape_flat *flat, size_t word, size_t bit)
{
    const unsigned words = atomic_load(&flat->group_count) * 4;
    if (atomic_load(&flat->id) == 0 || words == 0)
        return;
    struct rtd_shape_chunk *const chunk = &flat->chunks[word % words / 8];
    uint64_t *const values = (uint64_t *)(void *)chunk->pairs;
    values[word % words % 8] ^= UINT64_C(1) << bit % 64;
}

static void a_record_with_a_flipped_bit_is_never_taken(void **state)
{
    struct tree tree = {.random = 4711, .depth_max = 30, .lookups_max = 3000};
    (void)state;

    for (unsigned round = 0; round < 64; round++) {
        tree.random = 4711;
        tree.lookups = 0;
        assert_true(run_tree(&tree));
        const uint64_t before = support_shape_misses(0);
        for (size_t i = 0; i < RTD_SHAPE_RECORD_COUNT; i++)
            flip_in_record(&rtd_shape_records[i], round * 7 + i, round + i);
        for (size_t i = 0; i < 1 << RTD_SHAPE_FLAT_BITS; i++)
            flip_in_flat(&rtd_shape_flats[i], round * 7 + i, round + i);
        tree.random = 4711;
        tree.lookups = 0;
        assert_true(run_tree(&tree));
        assert_true(support_shape_misses(0) > before);
    }
}

static void a_full_trie_gives_stack_0_and_counts_the_loss(void **state)
{
    struct rtd_exact *const exact = rtd_exact_of(support_shape_ledger);
    struct rtd_unwind_frame frame;
    (void)state;

    atomic_store(&exact->header.node_count, RTD_EXACT_NODE_COUNT);
    const uint32_t site = call_twin_a(&frame);
    assert_int_equal((uint32_t)atomic_load(&exact->site_keys[site]), 0);
    assert_int_equal(support_shape_loss(RTD_LOSS_STACKS_NOT_TAKEN), 1);
    atomic_store(&exact->header.node_count, 0);
    assert_int_not_equal(call_twin_a(&frame), site);
}

/* ---- other stacks, guards, signals ---- */

static void a_stale_guard_is_taken_over_and_counted(void **state)
{
    struct rtd_unwind_frame frame;
    (void)state;

    SUPPORT_CAPTURE(frame);
    rtd_thread_state.guard = frame.sp - 512;
    assert_true(support_shape_check(&frame));
    assert_int_equal(rtd_thread_state.guard, 0);
    assert_int_equal(support_shape_loss(RTD_LOSS_GUARD_STALE), 1);
}

static void a_handler_inside_a_slow_path_gets_its_own_stack(void **state)
{
    struct rtd_unwind_frame frame;
    (void)state;

    SUPPORT_CAPTURE(frame);
    rtd_thread_state.guard = frame.sp + 512;
    assert_true(support_shape_check(&frame));
    assert_int_equal(rtd_thread_state.guard, frame.sp + 512);
    assert_int_equal(support_shape_loss(RTD_LOSS_NESTED_SKIPPED), 0);
    rtd_thread_state.guard = 0;
}

static void a_thread_without_a_block_gets_its_stack(void **state)
{
    struct rtd_unwind_frame frame;
    (void)state;

    support_shape_thread(RTD_EXACT_SHARED_BLOCK);
    SUPPORT_CAPTURE(frame);
    assert_true(support_shape_check(&frame));
    assert_int_equal(support_shape_misses(RTD_EXACT_SHARED_BLOCK), 1);
}

static ucontext_t coroutine, outside;
static struct tree coroutine_tree = {.random = 5, .depth_max = 12, .lookups_max = 3000};

static void coroutine_main(void)
{
    run_tree(&coroutine_tree);
}

static void coroutines_have_the_stacks_of_a_walk(void **state)
{
    char *const stack = malloc(STACK_BYTES);
    (void)state;

    assert_non_null(stack);
    assert_int_equal(getcontext(&coroutine), 0);
    coroutine.uc_stack.ss_sp = stack;
    coroutine.uc_stack.ss_size = STACK_BYTES;
    coroutine.uc_link = &outside;
    makecontext(&coroutine, coroutine_main, 0);
    assert_int_equal(swapcontext(&outside, &coroutine), 0);
    assert_true(coroutine_tree.is_right);
    assert_int_equal(coroutine_tree.lookups, coroutine_tree.lookups_max);
    free(stack);
}

static struct tree handler_tree = {.random = 6, .depth_max = 12};

static void handle(int number)
{
    (void)number;
    handler_tree.lookups_max = handler_tree.lookups + 300;
    run_tree(&handler_tree);
}

static void raise_signals(int flags)
{
    struct sigaction action = {.sa_handler = handle, .sa_flags = flags};

    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    for (int i = 0; i < 10; i++) {
        raise(SIGUSR1);
        assert_true(handler_tree.is_right);
    }
}

static void signal_handlers_have_the_stacks_of_a_walk(void **state)
{
    (void)state;
    raise_signals(0);
}

static void handlers_on_a_signal_stack_have_the_stacks_of_a_walk(void **state)
{
    const stack_t stack = {.ss_sp = malloc(STACK_BYTES), .ss_size = STACK_BYTES};
    const stack_t none = {.ss_flags = SS_DISABLE};
    (void)state;

    assert_non_null(stack.ss_sp);
    assert_int_equal(sigaltstack(&stack, NULL), 0);
    raise_signals(SA_ONSTACK);
    assert_int_equal(sigaltstack(&none, NULL), 0);
    free(stack.ss_sp);
}

/* A timer that interrupts lookups anywhere, the writing of a record included; some jump away. */
static volatile sig_atomic_t ticks;
static sigjmp_buf jump_target;

static void handle_tick(int number)
{
    (void)number;
    ticks++;
    handler_tree.lookups_max = handler_tree.lookups + 20;
    run_tree(&handler_tree);
    if (ticks % 4 == 0)
        siglongjmp(jump_target, 1);
}

static void handlers_that_jump_out_of_a_lookup_do_no_harm(void **state)
{
    const struct sigaction action = {.sa_handler = handle_tick};
    const struct itimerval every = {{0, 500}, {0, 500}};
    const struct itimerval never = {{0, 0}, {0, 0}};
    static struct tree tree = {.random = 8, .depth_max = 24};
    static volatile bool is_right = true;
    (void)state;

    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
    while (ticks < 400 && is_right) {
        if (sigsetjmp(jump_target, 1) == 0) {
            tree.lookups = 0;
            tree.lookups_max = 3000;
            is_right = run_tree(&tree);
        }
    }
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_true(is_right);
    assert_true(handler_tree.is_right);
}

static void a_jump_leaves_the_stacks_right(void **state)
{
    static struct tree tree = {.random = 9, .depth_max = 24};
    static jmp_buf target;
    (void)state;

    for (volatile int i = 0; i < 200; i++) {
        tree.lookups = 0;
        tree.lookups_max = 20;
        if (setjmp(target) == 0) {
            assert_true(run_tree(&tree));
            longjmp(target, 1);
        }
        struct rtd_unwind_frame frame;
        SUPPORT_CAPTURE(frame);
        assert_true(support_shape_check(&frame));
    }
}

/* ---- threads ---- */

static void *run_thread(void *argument)
{
    struct tree *const tree = argument;

    support_shape_thread((uint32_t)tree->random);
    tree->random = tree->random % 2 + 1;
    run_tree(tree);
    return NULL;
}

/* Half of the threads run the very same trees: they share records, and write them at once. */
static void run_threads(unsigned lookups, bool flushes)
{
    pthread_t threads[THREADS];
    struct tree trees[THREADS];

    for (unsigned i = 0; i < THREADS; i++) {
        trees[i] = (struct tree){.random = i + 1, .depth_max = 40, .lookups_max = lookups};
        assert_int_equal(pthread_create(&threads[i], NULL, run_thread, &trees[i]), 0);
    }
    for (int i = 0; i < 2000 && flushes; i++) {
        rtd_unwind_flush();
        usleep(100);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(trees[i].is_right);
    }
}

static void threads_that_share_records_have_the_stacks_of_a_walk(void **state)
{
    (void)state;
    run_threads(40000, false);
}

static void a_flush_in_the_midst_of_lookups_does_no_harm(void **state)
{
    (void)state;
    run_threads(20000, true);
}

/* Looks one and the same stack up in block *argument, which becomes how often the hot path found
 * it. */
static void *look_often(void *argument)
{
    uint32_t *const figure = argument;
    uint32_t found = 0;

    support_shape_thread(*figure);
    for (int i = 0; i < LOOKUPS; i++) {
        struct rtd_unwind_frame frame;
        uint32_t site;
        SUPPORT_CAPTURE(frame);
        found += rtd_shape_find_site(&rtd_thread_state, &frame, &site);
        (void)rtd_shape_site(support_shape_ledger, &rtd_thread_state, &frame);
    }
    *figure = found;
    return NULL;
}

static void a_thread_that_never_walked_takes_the_hot_path_too(void **state)
{
    (void)state;

    for (uint32_t block = 1; block <= 2; block++) {
        pthread_t thread;
        uint32_t found = block;
        assert_int_equal(pthread_create(&thread, NULL, look_often, &found), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_true(found > LOOKUPS / 2);
    }
    assert_int_equal(support_shape_misses(1), 1);
    assert_int_equal(support_shape_misses(2), 0);
}

static void a_new_ledger_voids_all_records(void **state)
{
    struct rtd_unwind_frame frame;
    (void)state;

    SUPPORT_CAPTURE(frame);
    assert_true(support_shape_check(&frame));
    assert_true(support_shape_check(&frame));
    assert_int_equal(support_shape_misses(0), 1);
    assert_true(support_shape_init());
    assert_true(support_shape_check(&frame));
    assert_int_equal(support_shape_misses(0), 1);
}

int main(void)
{
#ifdef IS_INSTRUMENTED
    return rtd_support_skip_program("AddressSanitizer takes words between variables for wild");
#else
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(random_calls_have_the_stacks_of_a_walk_and_of_libgcc, set_up),
        cmocka_unit_test_setup(deep_random_calls_have_the_stacks_of_a_walk, set_up),
        cmocka_unit_test_setup(recursion_is_found_again_at_every_depth, set_up),
        cmocka_unit_test_setup(equal_leaves_under_different_callers_are_different_sites, set_up),
        cmocka_unit_test_setup(another_tag_is_another_site_of_the_same_stack, set_up),
        cmocka_unit_test_setup(a_record_with_a_flipped_bit_is_never_taken, set_up),
        cmocka_unit_test_setup(a_full_trie_gives_stack_0_and_counts_the_loss, set_up),
        cmocka_unit_test_setup(a_stale_guard_is_taken_over_and_counted, set_up),
        cmocka_unit_test_setup(a_handler_inside_a_slow_path_gets_its_own_stack, set_up),
        cmocka_unit_test_setup(a_thread_without_a_block_gets_its_stack, set_up),
        cmocka_unit_test_setup(coroutines_have_the_stacks_of_a_walk, set_up),
        cmocka_unit_test_setup(signal_handlers_have_the_stacks_of_a_walk, set_up),
        cmocka_unit_test_setup(handlers_on_a_signal_stack_have_the_stacks_of_a_walk, set_up),
        cmocka_unit_test_setup(handlers_that_jump_out_of_a_lookup_do_no_harm, set_up),
        cmocka_unit_test_setup(a_jump_leaves_the_stacks_right, set_up),
        cmocka_unit_test_setup(threads_that_share_records_have_the_stacks_of_a_walk, set_up),
        cmocka_unit_test_setup(a_flush_in_the_midst_of_lookups_does_no_harm, set_up),
        cmocka_unit_test_setup(a_thread_that_never_walked_takes_the_hot_path_too, set_up),
        cmocka_unit_test_setup(a_new_ledger_voids_all_records, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
#endif
}
