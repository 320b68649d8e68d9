// SPDX-License-Identifier: Apache-2.0
/*
 * exact_throw.cc - allocations around C++ exceptions.
 *
 * Runs in:    the observed program of a test
 * Threads:    one
 * Allocates:  blocks on accounts (exact_program.h)
 * Fails:      with status 3
 *
 * What the C++ runtime allocates for an exception is charged to the function that throws, which is
 * on no account: the accounts are of the functions that allocate before and after.
 */
extern "C" {
#include "exact_program.h"
}

#include <cstdlib>
#include <memory>
#include <stdexcept>

#define NOINLINE     __attribute__((noinline))
#define KEEP_FRAME() __asm__ volatile("" ::: "memory")

static exact_account before_throw_account = {"before_throw", 0, 0, 0, 0};
static exact_account while_unwinding_account = {"while_unwinding", 0, 0, 0, 0};
static exact_account after_catch_account = {"after_catch", 0, 0, 0, 0};
static uint64_t seed = 1;

static NOINLINE void *take(exact_account *account, void *p, size_t size)
{
    exact_credit(account, p, size);
    return p;
}

static size_t some_bytes()
{
    return EXACT_BLOCK_BYTES_MIN + exact_random(&seed) % 500;
}

extern "C" NOINLINE void *before_throw(size_t size)
{
    void *const p = take(&before_throw_account, malloc(size), size);
    KEEP_FRAME();
    return p;
}

extern "C" NOINLINE void *while_unwinding(size_t size)
{
    void *const p = take(&while_unwinding_account, malloc(size), size);
    KEEP_FRAME();
    return p;
}

extern "C" NOINLINE void *after_catch(size_t size)
{
    void *const p = take(&after_catch_account, malloc(size), size);
    KEEP_FRAME();
    return p;
}

/* Its end, in a frame that is being unwound, allocates and frees. */
struct guard {
    void *block;
    ~guard()
    {
        exact_release(block);
        void *const p = while_unwinding(some_bytes());
        if (exact_random(&seed) % 4 != 0)
            exact_release(p);
    }
};

static NOINLINE void thrower(unsigned depth)
{
    const guard holder = {before_throw(some_bytes())};
    if (depth == 0)
        throw std::runtime_error("deliberate");
    thrower(depth - 1);
    KEEP_FRAME();
}

int main()
{
    for (unsigned i = 0; i < 2000; i++) {
        try {
            thrower(i % 17);
        } catch (const std::exception &) {
            void *const p = after_catch(some_bytes());
            if (i % 5 != 0)
                exact_release(p);
        }
    }
    exact_checkpoint("thrown");
    const exact_account *const accounts[] = {&before_throw_account, &while_unwinding_account,
                                             &after_catch_account};
    exact_print_accounts(accounts, 3);
    return 0;
}
