// SPDX-License-Identifier: Apache-2.0
/*
 * collect_modules.c - see collect_modules.h.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    the collector's loop
 * Allocates:  never
 * Fails:      silently: a name that cannot be completed stays as it is
 *
 * The loader knows a library by the words of dlopen(): "./plugin.so" means nothing to whoever
 * looks for its symbols in another directory, or after the plugin was closed.
 */
#include "collect/collect_modules.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The absolute path of a name seen from `directory`; false when there is no such file. */
static bool find_from(const char *directory, const char *name, char out[PATH_MAX])
{
    char path[2 * PATH_MAX], from[PATH_MAX];

    if (!realpath(directory, from))
        return false;
    (void)snprintf(path, sizeof(path), "%s/%s", from, name);
    return realpath(path, out) != NULL;
}

void rtd_modules_complete(struct rtd_image *image, pid_t pid, const char *executable)
{
    char directory[64], beside[PATH_MAX], found[PATH_MAX];
    const char *const slash = strrchr(executable, '/');

    (void)snprintf(directory, sizeof(directory), "/proc/%d/cwd", (int)pid);
    (void)snprintf(beside, sizeof(beside), "%.*s", slash ? (int)(slash - executable) : 0,
                   executable);
    for (uint32_t i = 0; i < image->module_count; i++) {
        char *const name = image->modules[i].name;
        /* Without a slash it is the kernel's own module, which has no file. */
        if (name[0] == '/' || !strchr(name, '/'))
            continue;
        /* A program that is gone began in our directory, as a rule, or lies beside its plugins. */
        if ((find_from(directory, name, found) || find_from(".", name, found) ||
             find_from(beside, name, found)) &&
            strlen(found) < sizeof(image->modules[i].name))
            memcpy(name, found, strlen(found) + 1);
    }
}
