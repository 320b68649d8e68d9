// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_elf.h - what kind of program a file is, as far as watching it is concerned.
 *
 * Runs in:    collector (run, doctor)
 * Threads:    no state
 * Allocates:  from the heap while it runs, bounded by the limits in symbol_elf_file.h
 * Fails:      with a negative errno when the file cannot be opened or read; a file that is no ELF
 *             file, or a broken one, is a result and not an error
 *
 * Why an own reader: these few facts are needed before every start, about files that anybody may
 * have made; a bounded reader of headers, notes and symbols is small enough to be checked.
 */
#ifndef RTD_SYMBOL_ELF_H
#define RTD_SYMBOL_ELF_H

#include "symbol/symbol_table.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rtd_symbol_elf_kind {
    RTD_SYMBOL_ELF_OTHER,     /* no ELF file and no script */
    RTD_SYMBOL_ELF_SCRIPT,    /* begins with #!; `interpreter` is what it names */
    RTD_SYMBOL_ELF_BROKEN,    /* begins like ELF, but its headers contradict the file */
    RTD_SYMBOL_ELF_PROGRAM,   /* executable, position independent or not */
    RTD_SYMBOL_ELF_LIBRARY,   /* shared object without a program interpreter */
    RTD_SYMBOL_ELF_NO_PROGRAM /* relocatable object, core file */
};

enum rtd_symbol_elf_libc {
    RTD_SYMBOL_LIBC_UNKNOWN,
    RTD_SYMBOL_LIBC_GLIBC,
    RTD_SYMBOL_LIBC_MUSL,
    RTD_SYMBOL_LIBC_BIONIC
};

struct rtd_symbol_elf {
    enum rtd_symbol_elf_kind kind;
    enum rtd_symbol_elf_libc libc; /* by the interpreter or the needed C library */
    uint16_t machine;              /* EM_X86_64, ... */
    uint16_t type;                 /* ET_EXEC, ET_DYN, ... */
    uint8_t bits;                  /* 32 or 64; 0 when no ELF file */
    bool big_endian;
    bool is_static;  /* program that no dynamic loader starts: nothing can be preloaded */
    bool is_go;      /* Go build info: the Go heap does not use malloc */
    bool needs_asan; /* links this sanitizer's run-time library, or contains it */
    bool needs_tsan;
    bool needs_lsan;
    bool needs_ubsan;
    bool has_static_sanitizer; /* a sanitizer's allocator is linked into the program */
    bool defines_malloc;       /* the program brings its own malloc */
    bool has_agent;            /* our own agent is linked into it */
    bool is_setuid;            /* the mode bits; the loader then ignores LD_PRELOAD */
    bool is_setgid;
    bool has_capabilities;      /* security.capability, same consequence */
    char interpreter[PATH_MAX]; /* PT_INTERP or the script's; "" if none */
    char needed_allocator[32];  /* jemalloc, tcmalloc, mimalloc when linked; "" if none */
    uint32_t needed_count;      /* DT_NEEDED entries */
    uint8_t build_id[RTD_SYMBOL_BUILD_ID_BYTES];
    size_t build_id_bytes;
    char build_id_hex[2 * RTD_SYMBOL_BUILD_ID_BYTES + 1]; /* "" if none */
};

/*
 * Looks at the file and fills *out completely. Follows symbolic links, as starting it would; never
 * blocks on a FIFO or device. Returns 0; -ENOENT, -EACCES, ... from opening, -EINVAL when it is not
 * a regular file, -EIO when it cannot be read, -ENOMEM.
 */
int rtd_symbol_elf_inspect(const char *path, struct rtd_symbol_elf *out);

/*
 * Which allocator a module is, by the last part of its path: "jemalloc", "tcmalloc", "mimalloc",
 * "glibc" for the C library itself, "other" for everything else. A constant string.
 */
const char *rtd_symbol_allocator_name(const char *path);

#endif
