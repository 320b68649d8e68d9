// SPDX-License-Identifier: Apache-2.0
/*
 * manager_names.h - pairs of names, domains, and functions that were given by name.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any; finding a pair that is known takes no lock, entering one does
 * Allocates:  never: lives in its owner's storage
 * Fails:      what has no room gets the tag of "other", or the function of that name
 *
 * A tag is the index of its pair for life. The first tags are fixed: 0 is none, tag 1 + d is the
 * "other" of domain d. The slots are a hash table of tags with linear probing, twice as large as
 * there are tags, so that looking for a pair that is not there ends soon.
 */
#ifndef RTD_MANAGER_NAMES_H
#define RTD_MANAGER_NAMES_H

#include "ledger/ledger_reader.h"
#include "manager/manager_lock.h"

enum {
    RTD_DOMAIN_COUNT = 16,
    RTD_NAME_BYTES = RTD_TAG_NAME_BYTES,
    RTD_NAME_TAGS = RTD_TAG_COUNT,
    RTD_NAME_SLOTS = RTD_NAME_TAGS * 2,
    RTD_NAME_FIRST = 1 + RTD_DOMAIN_COUNT, /* tag of the first pair */
    RTD_FUNCTION_BYTES = 256,
    RTD_FUNCTION_MAX = 0xe000, /* ids are offsets below 64 KiB, where no program is mapped */
};

struct rtd_name_pair {
    uint32_t hash, component_hash;
    uint32_t domain;
    char component[RTD_NAME_BYTES]; /* clean, filled with zeros */
    char operation[RTD_NAME_BYTES];
};

struct rtd_names {
    struct rtd_lock lock;          /* of entering */
    _Atomic uint32_t pair_count;   /* one past the last tag in use */
    _Atomic uint32_t domain_count; /* [0] is "records" */
    _Atomic uint16_t slots[RTD_NAME_SLOTS];
    char domains[RTD_DOMAIN_COUNT][RTD_NAME_BYTES];
    struct rtd_name_pair pairs[RTD_NAME_TAGS];
};

/* Functions by name. offsets and text are the owner's. Id 0 takes what had no room. */
struct rtd_functions {
    struct rtd_lock lock;
    uint32_t count, room; /* ids in use and at most */
    uint32_t slot_count;  /* a power of two, more than room */
    uint32_t text_used, text_room;
    uint32_t *offsets; /* into text, by id */
    uint16_t *slots;   /* hash table of ids; 0: free */
    char *text;
};

/* In zeroed storage. */
void rtd_names_init(struct rtd_names *names);

/*
 * The tag of a pair, entered if it is new. Names may be NULL (""), of any length and content.
 * *other becomes true when there was no room for it.
 */
uint32_t rtd_names_intern(struct rtd_names *names, unsigned domain, const char *component,
                          const char *operation, bool *other);

/* Whether the tag may be recorded with. */
bool rtd_names_has(const struct rtd_names *names, uint32_t tag);

/* The domain of a tag that there is. */
unsigned rtd_names_domain(const struct rtd_names *names, uint32_t tag);

/* Whether there is no room for another pair. */
bool rtd_names_full(const struct rtd_names *names);

/* The tags of domain 0 with that component, in order of the operations; returns how many. */
unsigned rtd_names_of_component(const struct rtd_names *names, const char *component,
                                uint16_t tags[RTD_NAME_TAGS]);

/* The order of two tags by domain, component and operation, as strcmp(). */
int rtd_names_compare(const struct rtd_names *names, uint32_t a, uint32_t b);

/* As rtd_records_domain_open(). */
int rtd_names_domain_open(struct rtd_names *names, const char *name);

/* The id of a function; 0 when there is no room. */
uint32_t rtd_functions_intern(struct rtd_functions *functions, const char *name);

#endif
