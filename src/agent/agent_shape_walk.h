// SPDX-License-Identifier: Apache-2.0
/*
 * agent_shape_walk.h - a walk that notes what it reads and stops at a run that is known.
 *
 * Runs in:    agent (slow path of exact mode), any thread, also inside signal handlers
 * Threads:    reads the calling thread's stack, the rule cache and the records; no lock
 * Allocates:  never; the frames lie in the caller's scratch memory
 * Fails:      by ending early, with a reason
 */
#ifndef RTD_AGENT_SHAPE_WALK_H
#define RTD_AGENT_SHAPE_WALK_H

#include "agent/agent_shape.h"

enum {
    RTD_SHAPE_FRAME_MAX = 512,  /* frames that one walk takes */
    RTD_SHAPE_DEPTH_MAX = 2048, /* frames that a chain of records may have: it is read each time */
};

/* What the step from a frame to its caller did, in rtd_shape_frame.use. */
enum {
    RTD_SHAPE_READS_PC = 1, /* the return address below the next frame's sp */
    RTD_SHAPE_USES_FP = 2,  /* rbp */
    RTD_SHAPE_SETS_FP = 4,  /* from here on rbp is the next frame's fp_slot */
    RTD_SHAPE_BEGINS = 8,   /* a run begins with this frame */
};

struct rtd_shape_frame {
    uintptr_t pc;
    uintptr_t sp;
    uintptr_t fp_slot; /* as in struct rtd_unwind_walk */
    uint32_t use;
    uint32_t cfa_slot; /* bytes from sp to the word that held the CFA, plus 1; 0 =
                          no such word */
};

/* A record that stands for all frames from one frame outwards. */
struct rtd_shape_link {
    uint64_t id;
    uint32_t index;
    uint32_t node;
    uint32_t depth; /* frames; 0 = there is no link */
    bool needs_fp;
};

struct rtd_shape_trace {
    struct rtd_shape_frame *frames; /* RTD_SHAPE_FRAME_MAX + 1: one more was read than taken */
    unsigned count;                 /* frames taken; the linked record begins at frames[count] */
    enum rtd_unwind_end end;        /* when there is no link */
    bool is_cacheable;              /* all words read lie on the thread's own stack */
    uintptr_t high;                 /* end of that stack */
    uintptr_t fp;                   /* rbp in the first frame */
    uint64_t stamp;                 /* when the walk began */
    struct rtd_shape_link link;
};

/*
 * Walks from start. The caller has filled frames, is_cacheable (whether records may be used at all)
 * and high (with bounds.high the same).
 */
void rtd_shape_walk(struct rtd_shape_trace *trace, struct rtd_unwind_frame start,
                    struct rtd_unwind_bounds bounds);

#endif
