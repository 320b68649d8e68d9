// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_attribute.c - see analyze_attribute.h.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure
 * Allocates:  never
 * Fails:      never
 */
#include "analyze/analyze_attribute.h"

#include "base/base_macros.h"

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool begins_any(const char *text, const char *const *with, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (begins(text, with[i]))
            return true;
    }
    return false;
}

const char *rtd_attribute_basename(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

enum rtd_frame_kind rtd_attribute_module(const char *path)
{
    static const char *const runtimes[] = {
        "libc.so",    "libc-2.",    "libstdc++.so", "libc++.so",   "libc++abi.so", "libgcc_s.",
        "libm.so",    "libm-2.",    "libdl.so",     "libdl-2.",    "librt.so",     "librt-2.",
        "libpthread", "ld-linux",   "ld-musl",      "ld-2.",       "libsupc++.so", "libunwind.so",
        "libstd-",    "linux-vdso", "libresolv.",   "libatomic.so"};
    static const char *const allocators[] = {"libjemalloc", "libtcmalloc", "libmimalloc",
                                             "librpmalloc", "libsnmalloc", "libhoard"};
    const char *name = rtd_attribute_basename(path);
    if (begins(name, "libriptide-agent") || begins(name, "libriptide-heap"))
        return RTD_FRAME_AGENT;
    if (begins_any(name, allocators, RTD_ARRAY_LENGTH(allocators)))
        return RTD_FRAME_ALLOCATOR;
    if (begins_any(name, runtimes, RTD_ARRAY_LENGTH(runtimes)))
        return RTD_FRAME_RUNTIME;
    return RTD_FRAME_PROGRAM;
}

/* malloc and its family, also under the names that allocators give their own. */
static bool is_allocator(const char *function)
{
    static const char *const prefixes[] = {"__libc_", "__GI_", "je_", "mi_", "tc_", "__"};
    static const char *const names[] = {
        "malloc",        "calloc",       "realloc",       "reallocarray",    "memalign",
        "aligned_alloc", "valloc",       "pvalloc",       "posix_memalign",  "zalloc",
        "_int_malloc",   "_int_realloc", "_int_memalign", "malloc_hook_ini", "_mid_memalign"};
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(prefixes); i++) {
        if (begins(function, prefixes[i])) {
            function += strlen(prefixes[i]);
            break;
        }
    }
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(names); i++) {
        if (strcmp(function, names[i]) == 0)
            return true;
    }
    return false;
}

static bool is_operator_word(const char *at)
{
    return begins(at, "operator") && !isalnum((unsigned char)at[8]) && at[8] != '_';
}

/*
 * Where the qualified name begins in a demangled function: after the return type, if one is
 * printed. Blanks inside brackets do not count; "operator" ends the search, as blanks and angle
 * brackets may follow it.
 */
static const char *qualified_name(const char *function)
{
    const char *start = function;
    int depth = 0;
    for (const char *at = function; *at; at++) {
        if (depth == 0 && is_operator_word(at))
            break;
        if (*at == '(' && depth == 0 && !begins(at, "(anonymous") && !begins(at, "(in "))
            break;
        if (*at == '<' || *at == '(' || *at == '[' || *at == '{')
            depth++;
        else if (*at == '>' || *at == ')' || *at == ']' || *at == '}')
            depth -= depth > 0;
        else if (*at == ' ' && depth == 0)
            start = at + 1;
    }
    return start;
}

static bool is_library_path(const char *name)
{
    static const char *const namespaces[] = {
        "std::",  "__gnu_cxx::", "__cxxabiv1::", "core::",      "alloc::",     "__rust_",
        "__rdl_", "__rg_",       "hashbrown::",  "rust_begin_", "std_detect::"};
    return begins_any(name, namespaces, RTD_ARRAY_LENGTH(namespaces));
}

/* A type of Rust's own libraries, or one that belongs to nobody: a reference, slice or parameter.
 */
static bool is_library_type(const char *type)
{
    static const char *const plain[] = {"str ", "u8 ", "T ", "I ", "F ", "[", "(", "&", "*"};
    return is_library_path(type) || begins_any(type, plain, RTD_ARRAY_LENGTH(plain));
}

/* <TYPE as TRAIT>::method belongs to the library only if both do: impls are the program's code. */
static bool is_library_impl(const char *name)
{
    if (*name != '<' || !is_library_type(name + 1))
        return false;
    int depth = 0;
    for (const char *at = name; *at; at++) {
        depth += (*at == '<') - (*at == '>' && at[-1] != '-');
        if (depth == 0)
            break;
        if (depth == 1 && begins(at, " as "))
            return is_library_path(at + 4);
    }
    return true;
}

static bool is_library_function(const char *function)
{
    const char *name = qualified_name(function);
    return is_library_path(name) || is_library_impl(name) || is_library_impl(function) ||
           begins(name, "operator new") || begins(name, "operator delete");
}

/*
 * Headers and sources that come with the compiler: templates and generics of the library. A C++
 * function with a full name that is not the library's stands there when its debug information does
 * not tell what was inlined into it (split DWARF): it is the program's.
 */
static bool is_library_file(const char *file, const char *function)
{
    if (strstr(file, "/include/c++/"))
        return !function || (!strchr(function, '(') && strcmp(function, "main") != 0);
    return begins(file, "/rustc/") || strstr(file, "/rustlib/src/rust/library/");
}

enum rtd_frame_kind rtd_attribute_frame(enum rtd_frame_kind module, const char *function,
                                        const char *file)
{
    if (module == RTD_FRAME_AGENT || module == RTD_FRAME_ALLOCATOR)
        return module;
    if (function && is_allocator(function))
        return RTD_FRAME_ALLOCATOR;
    if (module == RTD_FRAME_RUNTIME || (function && is_library_function(function)) ||
        (file && is_library_file(file, function)))
        return RTD_FRAME_RUNTIME;
    return RTD_FRAME_PROGRAM;
}

uint32_t rtd_attribute_leading(const enum rtd_frame_kind *kinds, uint32_t count)
{
    uint32_t leading = 0;
    while (leading < count &&
           (kinds[leading] == RTD_FRAME_AGENT || kinds[leading] == RTD_FRAME_ALLOCATOR))
        leading++;
    return leading < count ? leading : 0;
}

uint32_t rtd_attribute_named(const enum rtd_frame_kind *kinds, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (kinds[i] == RTD_FRAME_PROGRAM)
            return i;
    }
    return 0;
}
