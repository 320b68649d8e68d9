// SPDX-License-Identifier: Apache-2.0
/*
 * manager_program.c - where the program `riptide` is, which finds names for code addresses.
 *
 * Runs in:    a program that links libriptide
 * Threads:    no shared state
 * Allocates:  never
 * Fails:      by -ENOENT
 */
#include "manager/manager_program.h"

#include "base/base_macros.h"
#include "riptide/riptide.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_program(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && S_ISREG(info.st_mode) && access(path, X_OK) == 0;
}

/* The folder of the file that holds this code: the library, or the program it is linked into. */
static bool own_folder(char *out, size_t size)
{
    Dl_info info;
    char link[PATH_MAX];

    if (!dladdr((void *)(uintptr_t)&riptide_version, &info) || !info.dli_fname)
        return false;
    /* The program itself is known by its argv[0] only. */
    const char *path = info.dli_fname;
    if (!strchr(path, '/') || !realpath(path, link)) {
        const ssize_t length = readlink("/proc/self/exe", link, sizeof(link) - 1);
        if (length <= 0)
            return false;
        link[length] = '\0';
    }
    char *const slash = strrchr(link, '/');
    if (!slash || (size_t)(slash - link) >= size)
        return false;
    *slash = '\0';
    memcpy(out, link, strlen(link) + 1);
    return true;
}

static bool find_beside(char *out, size_t size)
{
    static const char *const places[] = {"../cli/riptide", "../bin/riptide", "../../bin/riptide",
                                         "riptide"};
    char folder[PATH_MAX];

    if (!own_folder(folder, sizeof(folder)))
        return false;
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(places); i++) {
        const int length = snprintf(out, size, "%s/%s", folder, places[i]);
        if (length > 0 && (size_t)length < size && is_program(out))
            return true;
    }
    return false;
}

static bool find_in_path(char *out, size_t size)
{
    const char *path = secure_getenv("PATH");

    while (path && *path) {
        const size_t length = strcspn(path, ":");
        /* Only absolute folders: the working directory is not ours to trust. */
        if (path[0] == '/' && length + sizeof("/riptide") <= size) {
            (void)snprintf(out, size, "%.*s/riptide", (int)length, path);
            if (is_program(out))
                return true;
        }
        path += length;
        path += *path == ':';
    }
    return false;
}

int rtd_manager_program(char *out, size_t size)
{
    const char *const named = secure_getenv("RIPTIDE_PROGRAM");

    if (named) {
        (void)snprintf(out, size, "%s", named);
        return strlen(named) < size && is_program(named) ? 0 : -ENOENT;
    }
    if (find_beside(out, size))
        return 0;
    (void)snprintf(out, size, "%s", RTD_BINDIR "/riptide");
    if (is_program(out) || find_in_path(out, size))
        return 0;
    return -ENOENT;
}
