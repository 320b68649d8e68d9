// SPDX-License-Identifier: Apache-2.0
/*
 * collect_request.h - what operators ask of running targets: give free memory back.
 *
 * Runs in:    collector
 * Threads:    the collector's loop
 * Allocates:  the text of an answer
 * Fails:      by an answer that says why; by -ESRCH, -EBUSY or -ENOMEM to the caller
 *
 * A caller's query becomes a request in the ledger of the target (ledger_request.h). The loop looks
 * after it every few milliseconds and never waits for it: what was resident is read until the
 * target takes it up, and once more when it has answered. A target that does not take it up in time
 * has it withdrawn.
 */
#ifndef RTD_COLLECT_REQUEST_H
#define RTD_COLLECT_REQUEST_H

#include "collect/collect_door.h"

enum { RTD_REQUESTS = 8, RTD_REQUEST_TIMEOUT_MS = 10000, RTD_REQUEST_TIMEOUT_MAX_MS = 3600000 };

/* One request under way. */
struct rtd_request {
    bool active;
    bool as_json;
    unsigned caller;     /* at the door */
    uint32_t process_id; /* image in the family */
    uint32_t pid;
    uint64_t posted; /* its word in the ledger */
    uint64_t since_ns, limit_ns;
    uint64_t before_bytes; /* resident, when last looked before it was taken up */
    bool before_known;
};

struct rtd_requests {
    struct rtd_request list[RTD_REQUESTS];
    unsigned count; /* active ones: look again soon */
};

/* Takes new callers in, and looks after the requests under way. Allowed while a report is made. */
void rtd_requests_tend(struct rtd_requests *requests, struct rtd_door *door,
                       struct rtd_family *family, uint64_t now_ns);

/* The program has ended: whoever still waits is told. */
void rtd_requests_end(struct rtd_requests *requests, struct rtd_door *door);

#endif
