// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_reader_exact.h - reading the exact part of a ledger out of its file.
 *
 * Runs in:    collector, report, tests
 * Threads:    the image is private; the ledger may be written meanwhile
 * Allocates:  the arrays of struct rtd_image_exact
 * Fails:      by a negative errno; refused records are counted in image->rejected
 */
#ifndef RTD_LEDGER_READER_EXACT_H
#define RTD_LEDGER_READER_EXACT_H

#include "ledger/ledger_reader.h"

/* Where a member of struct rtd_exact lies in the file. */
#define RTD_EXACT_AT(member) ((uint64_t)(RTD_LEDGER_BYTES + offsetof(struct rtd_exact, member)))

/* Reads size bytes: 0 or a negative errno, -EPROTO when the file ends before. */
int rtd_exact_pread(int fd, void *out, size_t size, uint64_t offset);

/*
 * The first byte at or behind `at` that may hold data, `end` when there is none before it: holes
 * are passed over in one call.
 */
uint64_t rtd_exact_next_data(int fd, uint64_t at, uint64_t end);

/*
 * Sites with their sums over all threads, totals and peak, into an image whose header is read; then
 * the nodes of new sites. 0 or a negative errno, after which the image has no sites.
 */
int rtd_reader_exact_read(struct rtd_image *image, int fd);

/*
 * Reads the nodes that came since the last time, when they are many, and those that stacks of new
 * sites still lack. 0 or a negative errno.
 */
int rtd_reader_exact_link(struct rtd_image *image, int fd);

/* Frees the exact part; NULL is allowed. */
void rtd_reader_exact_free(struct rtd_image *image);

/* Copies from's exact part to image, which has none. 0 or -ENOMEM. */
int rtd_reader_exact_clone(struct rtd_image *image, const struct rtd_image *from);

#endif
