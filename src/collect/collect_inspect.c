// SPDX-License-Identifier: Apache-2.0
/*
 * collect_inspect.c - can this program be observed, and if not, why, in words.
 *
 * Runs in:    collector, `riptide run` before the start, `riptide doctor`
 * Threads:    no state
 * Allocates:  while rtd_symbol_elf_inspect() runs
 * Fails:      by a negative errno
 */
#include "collect/collect_inspect.h"

#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* As many as the kernel follows. */
enum { SCRIPT_DEPTH = 5 };

static void __attribute__((format(printf, 5, 6)))
add(struct rtd_program_checks *out, const char *id, enum rtd_check_result result,
    const char *remedy, const char *format, ...)
{
    if (out->count >= RTD_CHECK_MAX)
        return;
    struct rtd_check *const check = &out->checks[out->count++];
    va_list arguments;

    check->id = id;
    check->result = result;
    va_start(arguments, format);
    (void)vsnprintf(check->text, sizeof(check->text), format, arguments);
    va_end(arguments);
    (void)snprintf(check->remedy, sizeof(check->remedy), "%s", remedy);
    if (result == RTD_CHECK_FAIL && !out->failed)
        out->failed = check;
    if (result == RTD_CHECK_WARN && !out->warned)
        out->warned = check;
}

static int follow_scripts(const char *path, struct rtd_program_checks *out)
{
    (void)snprintf(out->path, sizeof(out->path), "%s", path);
    for (int depth = 0;; depth++) {
        const int result = rtd_symbol_elf_inspect(out->path, &out->elf);
        if (result < 0)
            return result;
        if (out->elf.kind != RTD_SYMBOL_ELF_SCRIPT || !out->elf.interpreter[0])
            return 0;
        if (depth == SCRIPT_DEPTH)
            return -ELOOP;
        (void)snprintf(out->path, sizeof(out->path), "%s", out->elf.interpreter);
        if (depth == 0)
            add(out, "script", RTD_CHECK_OK, "", "a script; what runs is %.400s", out->path);
    }
}

/* Returns false when nothing more can be said of the file. */
static bool check_kind(struct rtd_program_checks *out)
{
    const struct rtd_symbol_elf *elf = &out->elf;

    switch (elf->kind) {
    case RTD_SYMBOL_ELF_OTHER:
    case RTD_SYMBOL_ELF_SCRIPT:
        add(out, "elf", RTD_CHECK_FAIL, "name an ELF program, or a script that begins with #!",
            "not an ELF program");
        return false;
    case RTD_SYMBOL_ELF_BROKEN:
        add(out, "elf", RTD_CHECK_FAIL, "build or install it again",
            "a damaged ELF file: its headers contradict the file");
        return false;
    case RTD_SYMBOL_ELF_NO_PROGRAM:
        add(out, "elf", RTD_CHECK_FAIL, "link it into a program first",
            "an ELF file, but not a program (an object or core file)");
        return false;
    case RTD_SYMBOL_ELF_LIBRARY:
        add(out, "elf", RTD_CHECK_FAIL, "name a program that loads it",
            "a shared library, not a program");
        return false;
    case RTD_SYMBOL_ELF_PROGRAM:
    default:
        add(out, "elf", RTD_CHECK_OK, "", "an ELF program");
        return true;
    }
}

static bool check_machine(struct rtd_program_checks *out)
{
    const struct rtd_symbol_elf *elf = &out->elf;

    if (elf->bits == 32) {
        add(out, "machine", RTD_CHECK_FAIL, "build it for 64-bit x86-64",
            "a 32-bit program, and the agent is 64-bit");
        return false;
    }
    if (elf->machine != EM_X86_64) {
        add(out, "machine", RTD_CHECK_FAIL, "build it for x86-64",
            "built for another machine (ELF number %u) than x86-64", elf->machine);
        return false;
    }
    add(out, "machine", RTD_CHECK_OK, "", "64-bit x86-64");
    return true;
}

static void check_linking(struct rtd_program_checks *out)
{
    const struct rtd_symbol_elf *elf = &out->elf;

    if (elf->is_static && elf->is_go) {
        add(out, "dynamic", RTD_CHECK_FAIL,
            "use Go's own runtime/pprof: the Go heap does not use malloc",
            "a static Go program, so no agent can be loaded into it");
    } else if (elf->is_static) {
        add(out, "dynamic", RTD_CHECK_FAIL, "link it dynamically (without -static)",
            "statically linked, so no agent can be loaded into it");
    } else {
        add(out, "dynamic", RTD_CHECK_OK, "", "dynamically linked");
    }
    if (elf->is_go && !elf->is_static)
        add(out, "go", RTD_CHECK_WARN, "use Go's own runtime/pprof for the Go heap",
            "a Go program: only its C memory can be seen, the Go heap does not use malloc");
    if (elf->libc == RTD_SYMBOL_LIBC_MUSL)
        add(out, "libc", RTD_CHECK_FAIL, "build it against glibc",
            "linked against musl, and the agent needs glibc");
    else if (elf->libc == RTD_SYMBOL_LIBC_BIONIC)
        add(out, "libc", RTD_CHECK_FAIL, "build it against glibc",
            "linked against bionic, and the agent needs glibc");
    else if (!elf->is_static)
        add(out, "libc", RTD_CHECK_OK, "", "%s",
            elf->libc == RTD_SYMBOL_LIBC_GLIBC ? "uses glibc" : "C library not recognised");
}

/* The kernel reports it as if the program itself did not exist. */
static void check_interpreter(struct rtd_program_checks *out)
{
    const char *const path = out->elf.interpreter;

    if (path[0] && access(path, F_OK) < 0 && errno == ENOENT)
        add(out, RTD_CHECK_INTERPRETER, RTD_CHECK_FAIL,
            "install the C library it was linked against", "its interpreter %.300s does not exist",
            path);
}

static const char *sanitizer_name(const struct rtd_symbol_elf *elf)
{
    if (elf->needs_asan)
        return "AddressSanitizer";
    if (elf->needs_tsan)
        return "ThreadSanitizer";
    if (elf->needs_lsan)
        return "LeakSanitizer";
    return elf->has_static_sanitizer ? "a sanitizer" : NULL;
}

static void check_sanitizer(struct rtd_program_checks *out)
{
    const char *const name = sanitizer_name(&out->elf);

    if (name)
        add(out, "sanitizer", RTD_CHECK_FAIL, "build it without -fsanitize",
            "built with %s, which brings its own malloc and refuses company", name);
    else
        add(out, "sanitizer", RTD_CHECK_OK, "", "no memory sanitizer");
}

/*
 * The loader ignores LD_PRELOAD when the kernel says AT_SECURE: the start changes the user or
 * group id, or gives capabilities to somebody who is not root. Root starting root's setuid program
 * changes nothing; nosuid mounts and no_new_privs switch the bits off.
 */
static void check_privileges(struct rtd_program_checks *out)
{
    struct stat info;
    struct statvfs mount;
    const char *const remedy = "run it as its owner, or on a copy without the privilege";

    if (stat(out->path, &info) < 0)
        return;
    const bool switched_off = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ||
                              (statvfs(out->path, &mount) == 0 && (mount.f_flag & ST_NOSUID));

    if (!switched_off && out->elf.is_setuid && info.st_uid != getuid())
        add(out, "privileges", RTD_CHECK_FAIL, remedy,
            "setuid, so the dynamic loader ignores the agent");
    else if (!switched_off && out->elf.is_setgid && (info.st_mode & S_IXGRP) &&
             info.st_gid != getgid())
        add(out, "privileges", RTD_CHECK_FAIL, remedy,
            "setgid, so the dynamic loader ignores the agent");
    else if (!switched_off && out->elf.has_capabilities && getuid() != 0)
        add(out, "privileges", RTD_CHECK_FAIL, remedy,
            "has file capabilities, so the dynamic loader ignores the agent");
    else
        add(out, "privileges", RTD_CHECK_OK, "", "starting it changes no privileges");
}

static void check_malloc(struct rtd_program_checks *out)
{
    const struct rtd_symbol_elf *elf = &out->elf;

    if (elf->has_agent)
        add(out, "malloc", RTD_CHECK_OK, "", "libriptide-heap is linked into it and records");
    else if (elf->defines_malloc)
        add(out, "malloc", RTD_CHECK_WARN,
            "link the allocator as a shared library, or build without it",
            "brings its own malloc, so the agent may be blind to its allocations");
    else
        add(out, "malloc", RTD_CHECK_OK, "", "malloc comes from %s",
            elf->needed_allocator[0] ? elf->needed_allocator : "the C library");
}

int rtd_collect_check_program(const char *path, struct rtd_program_checks *out)
{
    memset(out, 0, sizeof(*out));
    const int result = follow_scripts(path, out);

    if (result < 0)
        return result;
    if (!check_kind(out) || !check_machine(out))
        return 0;
    check_linking(out);
    check_interpreter(out);
    check_privileges(out);
    if (!out->elf.is_static) {
        check_sanitizer(out);
        check_malloc(out);
    }
    return 0;
}
