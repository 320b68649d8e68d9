// SPDX-License-Identifier: Apache-2.0
/*
 * manager_image.h - an image of records while it is made.
 *
 * Runs in:    a program that links libriptide
 * Threads:    one at a time; records go on meanwhile
 * Allocates:  scratch for the length of a call
 * Fails:      by -ENOMEM
 */
#ifndef RTD_MANAGER_IMAGE_H
#define RTD_MANAGER_IMAGE_H

#include "manager/manager_totals.h"

/* A copy of a site, with where its stack was copied to. */
struct rtd_draft_site {
    struct rtd_site site;
    uint32_t number; /* of the site in the tables */
    uint32_t at;     /* of its return addresses in the draft's words */
};

struct rtd_image_draft {
    struct rtd_records *records;
    struct rtd_image *image;
    unsigned domain;
    uint32_t site_epoch;      /* of the records, before sites were copied */
    uint32_t tag_count;       /* one past the last tag */
    struct rtd_tag_sum *sums; /* by tag; of tags of other domains unused */
    uint32_t site_count;
    struct rtd_draft_site *sites; /* of the domain, in the order of the image */
    uint64_t *words;
    uint32_t *index_of; /* by place: index of the image's site, 0: none */
    uint32_t place_count;
};

/* Numbers of stacks in images: 1 to that. */
enum { RTD_IMAGE_LEAVES = 1 << 19 };

/*
 * Copies the sites of the domain, by their tags' names and their stacks, and gives those that had
 * none the number of their stack. 0 or -ENOMEM.
 */
int rtd_image_draft_copy(struct rtd_image_draft *draft);

/* Fills image->samples[] and block_share from the live blocks of the draft. 0 or -ENOMEM. */
int rtd_image_draft_samples(struct rtd_image_draft *draft);

/* Fills image->modules[]: what the process has loaded, and the one of functions given by name. */
void rtd_image_draft_modules(struct rtd_image_draft *draft);

#endif
