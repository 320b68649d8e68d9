// SPDX-License-Identifier: Apache-2.0
/*
 * bench_cfrac_like.c - allocation stress in the manner of cfrac: factoring with heap-allocated
 * numbers.
 *
 * Runs in:    a process of its own, with and without the agent
 * Threads:    one
 * Allocates:  one small block (16 to 48 bytes) for every arithmetic result, freed a moment later
 * Fails:      by exit status 1 when a factor is wrong
 *
 * Why: the worst case of a sampling profiler is a program that does little but malloc and free tiny
 * blocks. Every value is immutable, counted and on the heap, as in the classic program. The method
 * is Pollard's rho with Brent's batches; the figures below need about a second. bench_cfrac_like
 * [ROUNDS]
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Little-endian digits of 16 bits, without leading zeros; zero has none. */
struct number {
    uint32_t references;
    uint32_t count;
    uint16_t digits[];
};

static struct number *number_new(uint32_t count)
{
    struct number *const number = malloc(sizeof *number + count * sizeof number->digits[0]);
    if (number == NULL) {
        exit(1);
    }
    number->references = 1;
    number->count = count;
    return number;
}

static struct number *number_share(struct number *number)
{
    number->references++;
    return number;
}

static void number_free(struct number *number)
{
    if (--number->references == 0) {
        free(number);
    }
}

/* Replaces a variable by a fresh value. */
static void assign(struct number **variable, struct number *value)
{
    number_free(*variable);
    *variable = value;
}

static void trim(struct number *number)
{
    while (number->count > 0 && number->digits[number->count - 1] == 0) {
        number->count--;
    }
}

static struct number *from_word(uint64_t word)
{
    struct number *const number = number_new(4);
    for (size_t i = 0; i < 4; i++) {
        number->digits[i] = (uint16_t)(word >> (16 * i));
    }
    trim(number);
    return number;
}

static uint64_t to_word(const struct number *number)
{
    uint64_t word = 0;
    for (uint32_t i = number->count; i-- > 0;) {
        word = word << 16 | number->digits[i];
    }
    return word;
}

static int compare(const struct number *a, const struct number *b)
{
    if (a->count != b->count) {
        return a->count < b->count ? -1 : 1;
    }
    for (uint32_t i = a->count; i-- > 0;) {
        if (a->digits[i] != b->digits[i]) {
            return a->digits[i] < b->digits[i] ? -1 : 1;
        }
    }
    return 0;
}

static struct number *add_word(const struct number *a, uint16_t word)
{
    struct number *const sum = number_new(a->count + 1);
    uint32_t carry = word;
    for (uint32_t i = 0; i < a->count; i++) {
        carry += a->digits[i];
        sum->digits[i] = (uint16_t)carry;
        carry >>= 16;
    }
    sum->digits[a->count] = (uint16_t)carry;
    trim(sum);
    return sum;
}

/* a - b, for a >= b. */
static struct number *subtract(const struct number *a, const struct number *b)
{
    struct number *const difference = number_new(a->count);
    int32_t borrow = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        borrow += a->digits[i] - (i < b->count ? b->digits[i] : 0);
        difference->digits[i] = (uint16_t)borrow;
        borrow >>= 16;
    }
    trim(difference);
    return difference;
}

static struct number *distance(const struct number *a, const struct number *b)
{
    return compare(a, b) >= 0 ? subtract(a, b) : subtract(b, a);
}

static struct number *multiply(const struct number *a, const struct number *b)
{
    struct number *const product = number_new(a->count + b->count);
    memset(product->digits, 0, product->count * sizeof product->digits[0]);
    for (uint32_t i = 0; i < a->count; i++) {
        uint32_t carry = 0;
        for (uint32_t j = 0; j < b->count; j++) {
            carry += (uint32_t)a->digits[i] * b->digits[j] + product->digits[i + j];
            product->digits[i + j] = (uint16_t)carry;
            carry >>= 16;
        }
        product->digits[i + b->count] = (uint16_t)carry;
    }
    trim(product);
    return product;
}

/* Takes quotient * b, shifted by at digits, from a remainder; true when that was too much. */
static bool take_multiple(struct number *rest, const struct number *b, uint32_t at,
                          uint32_t quotient)
{
    int64_t borrow = 0;
    for (uint32_t i = 0; i < b->count || at + i < rest->count; i++) {
        const int64_t term = i < b->count ? (int64_t)quotient * b->digits[i] : 0;
        borrow += (int64_t)rest->digits[at + i] - term;
        rest->digits[at + i] = (uint16_t)borrow;
        borrow >>= 16;
    }
    return borrow < 0;
}

static void give_back(struct number *rest, const struct number *b, uint32_t at)
{
    uint32_t carry = 0;
    for (uint32_t i = 0; at + i < rest->count; i++) {
        carry += rest->digits[at + i] + (i < b->count ? (uint32_t)b->digits[i] : 0);
        rest->digits[at + i] = (uint16_t)carry;
        carry >>= 16;
    }
}

/* a mod b, by long division with a quotient digit guessed from the leading digits. */
static struct number *modulo(const struct number *a, const struct number *b)
{
    struct number *const rest = number_new(a->count + 1);
    memcpy(rest->digits, a->digits, a->count * sizeof a->digits[0]);
    rest->digits[a->count] = 0;
    const uint64_t lead =
        b->digits[b->count - 1] * 65536u + (b->count > 1 ? b->digits[b->count - 2] : 0);
    for (uint32_t at = a->count >= b->count ? a->count - b->count + 1 : 0; at-- > 0;) {
        const uint32_t top = at + b->count;
        const uint64_t head = (uint64_t)rest->digits[top] << 32 |
                              (uint64_t)rest->digits[top - 1] << 16 |
                              (top >= 2 ? rest->digits[top - 2] : 0);
        uint64_t quotient = lead == 0 ? 0 : head / lead;
        quotient = quotient > 65535 ? 65535 : quotient;
        rest->count = top + 1;
        for (bool low = quotient > 0 && take_multiple(rest, b, at, (uint32_t)quotient); low;) {
            give_back(rest, b, at);
            low = rest->digits[top] != 0;
        }
    }
    trim(rest);
    return rest;
}

/* The analyzer does not follow the reference counts through the loop. */
/* NOLINTBEGIN(clang-analyzer-unix.Malloc) */
static struct number *common_divisor(struct number *a, struct number *b)
{
    struct number *x = number_share(a);
    struct number *y = number_share(b);
    while (y->count > 0) {
        struct number *const rest = modulo(x, y);
        assign(&x, number_share(y));
        assign(&y, rest);
    }
    number_free(y);
    return x;
}

/* NOLINTEND(clang-analyzer-unix.Malloc) */

/* x * x + c mod n */
static struct number *step(const struct number *x, uint16_t constant, const struct number *n)
{
    struct number *const square = multiply(x, x);
    struct number *const sum = add_word(square, constant);
    struct number *const next = modulo(sum, n);
    number_free(square);
    number_free(sum);
    return next;
}

/* Multiplies up to 128 distances into one product, so that the divisor is looked for rarely. */
static struct number *run_batch(struct number **x, struct number **y, uint16_t constant,
                                const struct number *n)
{
    struct number *product = from_word(1);
    for (int i = 0; i < 128; i++) {
        assign(x, step(*x, constant, n));
        assign(y, step(*y, constant, n));
        assign(y, step(*y, constant, n));
        struct number *const apart = distance(*x, *y);
        struct number *const wide = multiply(product, apart);
        number_free(apart);
        assign(&product, modulo(wide, n));
        number_free(wide);
    }
    return product;
}

/* Returns a divisor of n other than 1; it is n itself when this constant does not do. */
static struct number *find_factor(struct number *n, uint16_t constant)
{
    struct number *x = from_word(2);
    struct number *y = from_word(2);
    struct number *divisor = from_word(1);
    while (to_word(divisor) == 1) {
        struct number *const product = run_batch(&x, &y, constant, n);
        assign(&divisor, common_divisor(n, product));
        number_free(product);
    }
    number_free(x);
    number_free(y);
    return divisor;
}

int main(int argc, char **argv)
{
    /* Products of two primes near 2^31. */
    static const uint64_t primes[][2] = {
        {2147483647u, 2147483629u}, {2147483587u, 2147483579u}, {2147483563u, 2147483549u}};
    const unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 70;
    unsigned found = 0;
    for (unsigned long round = 0; round < rounds; round++) {
        const uint64_t *const pair = primes[round % 3];
        struct number *const n = from_word(pair[0] * pair[1]);
        struct number *const factor = find_factor(n, (uint16_t)(round + 1));
        const uint64_t value = to_word(factor);
        found += value == pair[0] || value == pair[1];
        if (value == 0 || (pair[0] * pair[1]) % value != 0) {
            fprintf(stderr, "bench_cfrac_like: wrong factor\n");
            return 1;
        }
        number_free(factor);
        number_free(n);
    }
    printf("%u of %lu factored\n", found, rounds);
    return 0;
}
