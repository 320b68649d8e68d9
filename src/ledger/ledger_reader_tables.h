// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_reader_tables.h - the steps of rtd_image_read(), one a region.
 *
 * Runs in:    collector, tests
 * Threads:    the image is private; the ledger may be written meanwhile
 * Allocates:  never
 * Fails:      never; refused records are counted in image->rejected
 */
#ifndef RTD_LEDGER_READER_TABLES_H
#define RTD_LEDGER_READER_TABLES_H

#include "ledger/ledger_reader.h"

#define RTD_SITE_UNMAPPED UINT32_MAX

/*
 * Copies size bytes (a multiple of 8) out of a mapping, each word loaded exactly once, so that no
 * compiler can turn a use of the copy back into a second look at the mapping.
 */
void rtd_reader_copy_words(void *to, const void *from, size_t size);

enum { RTD_LEDGER_PAGES = RTD_LEDGER_BYTES / RTD_PAGE_BYTES };

/* Which pages of the ledger may hold something. Those that do not are read as zeros. */
struct rtd_reader_pages {
    bool written[RTD_LEDGER_PAGES];
};

/*
 * Asks the kernel which pages of the mapping, or of its file, were ever written; fd is the file, or
 * -1 for memory that is no file's: then all pages count, as they do when the kernel cannot tell.
 */
void rtd_reader_pages_find(struct rtd_reader_pages *pages, const struct rtd_ledger *ledger, int fd);

/* Live samples; sample.site is still the ledger's site number. */
void rtd_reader_samples_read(struct rtd_image *image, const struct rtd_ledger *ledger,
                             const struct rtd_reader_pages *pages);

/* Sites in use; map[] (RTD_SITE_COUNT) takes the place of each ledger site in the image. */
void rtd_reader_sites_read(struct rtd_image *image, const struct rtd_ledger *ledger,
                           const struct rtd_reader_pages *pages, uint32_t *map);

/* Turns the samples' site numbers into places in the image; drops those without a site. */
void rtd_reader_samples_link(struct rtd_image *image, const uint32_t *map);

/* Tags; sites whose tag is not there go to "other". */
void rtd_reader_tags_read(struct rtd_image *image, const struct rtd_ledger *ledger,
                          const struct rtd_reader_pages *pages);

void rtd_reader_nodes_read(struct rtd_image *image, const struct rtd_ledger *ledger,
                           const struct rtd_reader_pages *pages);
void rtd_reader_modules_read(struct rtd_image *image, const struct rtd_ledger *ledger,
                             const struct rtd_reader_pages *pages);

#endif
