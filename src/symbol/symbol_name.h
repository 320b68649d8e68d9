// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_name.h - names and paths as people want to read them.
 *
 * Runs in:    symbol worker
 * Threads:    a scratch belongs to one thread
 * Allocates:  the demangler does, and what it returns is copied and freed at once
 * Fails:      a name that cannot be demangled, or does not fit, is shown as it is or cut
 */
#ifndef RTD_SYMBOL_NAME_H
#define RTD_SYMBOL_NAME_H

#include <stddef.h>

enum {
    RTD_SYMBOL_SCRATCH_BYTES = 256 * 1024,
    /* Longer mangled names are not parsed: the demangler's time and depth grow with them. */
    RTD_SYMBOL_MANGLED_BYTES = 4096,
    RTD_SYMBOL_NAME_BYTES = 2048, /* longest result */
};

/* Room for the texts of one address; set `used_bytes` to 0 to use it again. */
struct rtd_symbol_scratch {
    size_t used_bytes;
    char text[RTD_SYMBOL_SCRATCH_BYTES];
};

/* C++ (Itanium) and Rust (both schemes) demangled, other names as they are. Lives in the scratch
 * or is `name` itself. */
const char *rtd_symbol_name_demangle(struct rtd_symbol_scratch *scratch, const char *name);

/* The path in its directory, without "//", "/./" and "dir/..". Lives in the scratch. */
const char *rtd_symbol_path_tidy(struct rtd_symbol_scratch *scratch, const char *directory,
                                 const char *path);

#endif
