// SPDX-License-Identifier: Apache-2.0
/*
 * track_cgroup.c - see track_cgroup.h.
 *
 * Runs in:    collector; a program that links libriptide, about itself
 * Threads:    pure
 * Allocates:  never
 * Fails:      by saying that there is no such group
 */
#include "track/track_cgroup.h"

#include <stdio.h>
#include <string.h>

bool rtd_track_cgroup_path(const char *text, const char *controller, char *out, size_t size)
{
    for (const char *line = text; *line;) {
        const size_t bytes = strcspn(line, "\n");
        const char *list = memchr(line, ':', bytes);
        const char *path = list ? memchr(list + 1, ':', bytes - (size_t)(list + 1 - line)) : NULL;
        if (path && path[1] == '/') {
            char controllers[256];
            snprintf(controllers, sizeof controllers, ",%.*s,", (int)(path - list - 1), list + 1);
            if (strstr(controllers, controller)) {
                snprintf(out, size, "%.*s", (int)(bytes - (size_t)(path + 1 - line)), path + 1);
                return true;
            }
        }
        line += bytes + (line[bytes] == '\n');
    }
    return false;
}
