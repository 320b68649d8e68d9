// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_name.c - names and paths as people want to read them.
 *
 * Runs in:    symbol worker
 * Threads:    a scratch belongs to one thread
 * Allocates:  see the header
 * Fails:      see the header
 */
#include "symbol/symbol_name.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <libiberty/demangle.h>

static char *take_room(struct rtd_symbol_scratch *scratch, size_t bytes)
{
    if (bytes > sizeof(scratch->text) - scratch->used_bytes)
        return NULL;
    char *room = scratch->text + scratch->used_bytes;
    scratch->used_bytes += bytes;
    return room;
}

/* Only these are parsed: to the demangler, many a C name is a type. */
static bool is_mangled(const char *name)
{
    return strncmp(name, "_Z", 2) == 0 || strncmp(name, "_R", 2) == 0 ||
           strncmp(name, "__Z", 3) == 0 || strncmp(name, "_GLOBAL_", 8) == 0;
}

const char *rtd_symbol_name_demangle(struct rtd_symbol_scratch *scratch, const char *name)
{
    const char *result = name;
    char *demangled = NULL;

    if (is_mangled(name) && strnlen(name, RTD_SYMBOL_MANGLED_BYTES) < RTD_SYMBOL_MANGLED_BYTES)
        demangled = cplus_demangle(name, DMGL_AUTO | DMGL_PARAMS | DMGL_ANSI);
    if (demangled) {
        const size_t length = strnlen(demangled, RTD_SYMBOL_NAME_BYTES - 1);
        char *copy = take_room(scratch, length + 1);

        if (copy) {
            memcpy(copy, demangled, length);
            copy[length] = '\0';
            result = copy;
        }
        free(demangled);
    }
    return result;
}

/* Start of the last part of what is written so far, or NULL when ".." has nothing to take back. */
static char *last_part(char *start, char *end)
{
    char *part = end;

    while (part > start && part[-1] != '/')
        part--;
    if (part == end || (end - part == 2 && part[0] == '.' && part[1] == '.'))
        return NULL;
    return part;
}

/* In place: the result is never longer. */
static void tidy(char *path)
{
    const char *from = path;
    char *to = path;

    if (*from == '/')
        *to++ = *from++;
    char *const start = to;
    while (*from) {
        const size_t length = strcspn(from, "/");

        if (length == 2 && from[0] == '.' && from[1] == '.') {
            char *part = to > start ? last_part(start, to - 1) : NULL;

            if (part) {
                to = part;
            } else if (start == path) {
                const size_t kept = from[2] == '/' ? 3 : 2;

                memmove(to, from, kept);
                to += kept;
            }
        } else if (length > 0 && !(length == 1 && from[0] == '.')) {
            memmove(to, from, length);
            to += length;
            if (from[length] == '/')
                *to++ = '/';
        }
        from += length;
        from += *from == '/';
    }
    *to = '\0';
}

const char *rtd_symbol_path_tidy(struct rtd_symbol_scratch *scratch, const char *directory,
                                 const char *path)
{
    const bool is_joined = directory && directory[0] && path[0] != '/';
    const size_t before = is_joined ? strnlen(directory, RTD_SYMBOL_NAME_BYTES) : 0;
    const size_t length = strnlen(path, RTD_SYMBOL_NAME_BYTES - 1);
    char *room = take_room(scratch, before + 1 + length + 1);

    if (!room)
        return "";
    if (is_joined) {
        memcpy(room, directory, before);
        room[before] = '/';
    }
    memcpy(room + before + is_joined, path, length);
    room[before + is_joined + length] = '\0';
    tidy(room);
    return room;
}
