// SPDX-License-Identifier: Apache-2.0
/*
 * manager_records.h - the memory that a program names itself: counted, bounded, and turned into
 * images that the analysis of the house judges like an exact heap.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any, unless a function says otherwise
 * Allocates:  one mapping when it is made, within the limit it is given; nothing afterwards
 * Fails:      by a negative errno or enum riptide_error; what has no room is counted
 *
 * Two ways to give memory back, which never mix. A block recorded by its address is paired: its
 * release is known to the byte, whoever releases it. What was recorded by size alone is an account
 * of its tag: every thread pays into its own cell and takes from its own first, then from those of
 * the others, never more than is there. So no figure is ever negative, and what somebody wants to
 * take beyond what all cells of the tag hold is over-released.
 *
 *   manager_names   pairs of names, domains, functions given by name
 *   manager_account what happens at a record and a release
 *   manager_slabs   what each thread counted, by tag
 *   manager_blocks  address -> size, place, birth
 *   manager_sites   (stack, tag) -> what happened there
 *   manager_image   all this as images
 *
 * A place is where a record belongs: a tag, or from RTD_PLACE_SITE on a site. Sites are a part of
 * their tag's figures, not added to them: when clean-up drops one, its tag has lost nothing.
 *
 * Locks, in the order in which they may be taken: the list of all records; a shard of sites; a
 * shard of blocks; function names; pairs. A record by size of a known tag takes none.
 */
#ifndef RTD_MANAGER_RECORDS_H
#define RTD_MANAGER_RECORDS_H

#include "analyze/analyze_input.h"
#include "ledger/ledger_reader.h"
#include "riptide/riptide.h"
#include "symbol/symbol_table.h"
#include "unwind/unwind.h"

struct rtd_records;

enum { RTD_RECORDS_DOMAIN = 0 };                /* the domain "records" */
enum { RTD_RECORDS_STACK_MAX = RTD_FRAME_MAX }; /* frames of a captured stack */

/* The largest block, for no address space is larger: more is -EINVAL. */
#define RTD_RECORDS_SIZE_LIMIT ((UINT64_C(1) << 47) - 1)

/* ---- life ---- */

/*
 * Empty records whose tables never take more than limit_bytes (at least 1 MiB counts). The caller
 * owns them. NULL and the reason in *err (may be NULL): -ENOMEM, -EINVAL.
 */
struct rtd_records *rtd_records_new(uint64_t limit_bytes, int *err);

/* No other call may be under way or follow. NULL is allowed. Also in the child of a fork. */
void rtd_records_free(struct rtd_records *records);

/* Around fork(), in the thread that forks: the child's copy is whole and can be freed. */
void rtd_records_before_fork(struct rtd_records *records);
void rtd_records_after_fork_parent(struct rtd_records *records);
void rtd_records_after_fork_child(struct rtd_records *records);

/* ---- names ---- */

/* As riptide_intern() in a domain; a domain that is not open is that of the records. */
uint32_t rtd_records_intern(struct rtd_records *records, unsigned domain, const char *component,
                            const char *operation);

/* The id of a domain, opened if it is new: 1..15; -ENOSPC, -EINVAL (no name). */
int rtd_records_domain_open(struct rtd_records *records, const char *name);

/* Domains 0..n-1 exist; 0 is "records". Names live as long as the records. */
unsigned rtd_records_domains(const struct rtd_records *records);
const char *rtd_records_domain_name(const struct rtd_records *records, unsigned domain);

/* States and reads what a domain holds; RIPTIDE_UNAVAILABLE if never stated. -EINVAL: no domain. */
int rtd_records_domain_set(struct rtd_records *records, unsigned domain, uint64_t used_bytes,
                           uint64_t reserved_bytes);
int rtd_records_domain_gauge(const struct rtd_records *records, unsigned domain,
                             uint64_t *used_bytes, uint64_t *reserved_bytes);

/* ---- recording ---- */

/* One allocation. Either stack is allowed; both empty: none. */
struct rtd_record {
    uint64_t size_bytes, unix_ns; /* 0: now */
    uint64_t address;             /* 0: by size */
    uint64_t alignment;           /* 0: not known */
    uint32_t tag;
    uint32_t pc_count; /* return addresses, innermost first; at most RTD_RECORDS_STACK_MAX */
    const uintptr_t *pcs;
    bool truncated; /* outer frames are missing */
    bool named;     /* pcs are of rtd_records_function() */
};

/* 0, -EINVAL, -EOVERFLOW (sums beyond 2^60), RIPTIDE_E_KNOWN_BLOCK. A tag that is none, or an
 * alignment that is no power of two: -EINVAL. */
int rtd_records_add(struct rtd_records *records, const struct rtd_record *record);

/* The same by tag and size, for the shortest way. Signal-safe as riptide_record_bytes(). */
int rtd_records_add_bytes(struct rtd_records *records, uint32_t tag, uint64_t size_bytes);
int rtd_records_take_bytes(struct rtd_records *records, uint32_t tag, uint64_t size_bytes);

/* Takes from the component's tags in the domain "records", in order of the operations' names. */
int rtd_records_take_component(struct rtd_records *records, const char *component,
                               uint64_t size_bytes);

/* 0 or RIPTIDE_E_UNKNOWN_BLOCK. */
int rtd_records_take_block(struct rtd_records *records, uint64_t address);

/* A pc that stands for a function given by name; never 0. Names beyond the room share one. */
uintptr_t rtd_records_function(struct rtd_records *records, const char *name);

/* ---- figures ---- */

/* Fills all of out but size. */
void rtd_records_totals(const struct rtd_records *records, struct riptide_record_totals *out);

/*
 * Replaces what image holds by a domain's records: exact, tags with the indices they keep for life,
 * sites in an order that does not depend on threads, and live blocks in samples[], the largest
 * among them; a sample without an address was recorded by size. Stack ids stay the same from image
 * to image. image must be of rtd_image_new(); one caller at a time; records go on meanwhile.
 * 0, -ENOMEM, -EINVAL (no such domain).
 *
 * What was recorded by size with a stack and partly taken back by size: which of the stacks it was
 * cannot be known, and what is live is shared out by what each of them recorded.
 */
int rtd_records_image(struct rtd_records *records, unsigned domain, struct rtd_image *image);

/* Enters the functions given by name, as the images' module RTD_RECORDS_MODULE. 0 or an errno. */
int rtd_records_symbols(struct rtd_records *records, struct rtd_symbol_table *table);
#define RTD_RECORDS_MODULE RTD_GIVEN_MODULE

/*
 * sites: drops stacks without a live block whose last event was before that time. history: blocks
 * recorded by size before that time are no longer listed one by one, for nobody knows whether they
 * are live. Returns how many entries went. No figure of a tag changes.
 */
int rtd_records_cleanup(struct rtd_records *records, uint64_t older_than_unix_ns, bool sites,
                        bool history);

#endif
