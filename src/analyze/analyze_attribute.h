// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_attribute.h - which frame of a stack is the program's own doing.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure
 * Allocates:  never
 * Fails:      never
 *
 * Everything here is by name: of the module's file, of the function as demangled, of the source
 * file. Names are written by whoever made the program; a wrong one costs a misplaced label only.
 */
#ifndef RTD_ANALYZE_ATTRIBUTE_H
#define RTD_ANALYZE_ATTRIBUTE_H

#include <stdint.h>

enum rtd_frame_kind {
    RTD_FRAME_PROGRAM,   /* somebody's own code: names the site */
    RTD_FRAME_RUNTIME,   /* C, C++ or Rust runtime: stands in the stack, names nothing */
    RTD_FRAME_ALLOCATOR, /* left out where it leads the stack */
    RTD_FRAME_AGENT,     /* our own hooks, left out where they lead the stack */
};

/* The part of path after its last '/'; borrowed from path. */
const char *rtd_attribute_basename(const char *path);

/* What code of this module is, as far as its file name tells. */
enum rtd_frame_kind rtd_attribute_module(const char *path);

/*
 * What one frame is: the kind of its module, unless the function or the file say more (a template
 * of the C++ library is compiled into the program). function and file may be NULL.
 */
enum rtd_frame_kind rtd_attribute_frame(enum rtd_frame_kind module, const char *function,
                                        const char *file);

/* How many leading frames are ours or the allocator's; all of them counts as none, because a stack
 * without a frame would say less than one in the allocator. */
uint32_t rtd_attribute_leading(const enum rtd_frame_kind *kinds, uint32_t count);

/* Index of the frame that names the site: the first of the program, else the first frame; 0, which
 * is no frame, for an empty stack. */
uint32_t rtd_attribute_named(const enum rtd_frame_kind *kinds, uint32_t count);

#endif
