// SPDX-License-Identifier: Apache-2.0
/*
 * track_symbols.h - which loaded object of this process serves a function, and what else it
 * defines.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any
 * Allocates:  never
 * Fails:      by finding nothing
 *
 * Why not dlsym(): it starts from the object that calls it, allocates and sets dlerror() when it
 * fails, and does not tell whose definition it found.
 */
#ifndef RTD_TRACK_SYMBOLS_H
#define RTD_TRACK_SYMBOLS_H

#include <stdbool.h>
#include <stdint.h>

/* One object, by its addresses. */
struct rtd_symbols_object {
    uintptr_t start, end; /* of its loaded segments */
    char name[64];        /* file name without folders, cut; "" for the program itself */
};

struct rtd_symbols_query {
    const char *function;     /* the first object in the loader's order that defines it... */
    const char *skip_marker;  /* ...but not this function as well... */
    uintptr_t skip_address;   /* ...and does not hold this address (0: none) */
    const char *const *names; /* what is wanted from that object */
    unsigned name_count;
};

/*
 * Fills *object and addresses[name_count], 0 for what it does not define. False when no object
 * defines the function where others could see it: a program linked statically, say; then *object
 * is the program itself and the addresses are 0. Takes the lock of dl_iterate_phdr().
 */
bool rtd_symbols_find(const struct rtd_symbols_query *query, struct rtd_symbols_object *object,
                      uintptr_t *addresses);

#endif
