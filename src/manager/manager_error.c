// SPDX-License-Identifier: Apache-2.0
/*
 * manager_error.c - a text for every error, and the version.
 *
 * Runs in:    a program that links libriptide
 * Threads:    pure functions
 * Allocates:  never
 * Fails:      never
 */
#include "riptide/riptide.h"

#include <limits.h>
#include <string.h>

const char *riptide_strerror(int error)
{
    switch (error) {
    case RIPTIDE_E_FORKED:
        return "the manager was opened by the parent of this process";
    case RIPTIDE_E_DISABLED:
        return "the options turned this component off";
    case RIPTIDE_E_UNKNOWN_BLOCK:
        return "no live block is recorded at this address";
    case RIPTIDE_E_KNOWN_BLOCK:
        return "a live block is recorded at this address already";
    case RIPTIDE_E_UNAVAILABLE:
        return "this allocator or kernel does not tell";
    case RIPTIDE_E_NO_HTTP:
        return "the library libmicrohttpd.so.12 is not installed (Debian: libmicrohttpd12)";
    default:
        break;
    }
    if (error == INT_MIN)
        return "unknown error";
    /* Not strerror(): its texts follow the locale, and live in a buffer. */
    const char *const text = strerrordesc_np(error < 0 ? -error : error);
    return text ? text : "unknown error";
}

const char *riptide_version(void)
{
    return RTD_VERSION;
}
