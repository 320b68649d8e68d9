// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_confine.c - takes everything from a process that a parser does not need.
 *
 * Runs in:    symbol worker
 * Threads:    before any other thread exists
 * Allocates:  never
 * Fails:      never; see the header
 *
 * Three answers to a system call: allowed; refused with EACCES, for what a library tries and can
 * live without (libdw looks for further files by path); and the end of the process for the rest.
 */
#include "symbol/symbol_confine.h"

#include "base/base_macros.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#if defined(__x86_64__)
#define FILTER_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define FILTER_ARCH AUDIT_ARCH_AARCH64
#endif

enum { FILTER_STEPS = 160 };

/* More than any sane debug file needs; a bomb in a compressed section ends here. */
#define ADDRESS_SPACE_BYTES ((rlim_t)2 << 30)
/* The resolver replaces a worker before that. */
#define CPU_SECONDS 300

#ifdef FILTER_ARCH
static const int allowed[] = {
    SYS_read,    SYS_pread64,       SYS_recvmsg,   SYS_sendmsg,         SYS_mremap,
    SYS_munmap,  SYS_brk,           SYS_madvise,   SYS_fstat,           SYS_lseek,
    SYS_close,   SYS_futex,         SYS_exit,      SYS_exit_group,      SYS_rt_sigreturn,
    SYS_sysinfo, SYS_clock_gettime, SYS_getrandom, SYS_restart_syscall,
};

static const int refused[] = {
    SYS_openat, SYS_readlinkat, SYS_faccessat, SYS_getcwd, SYS_statx,
#ifdef SYS_open
    SYS_open,   SYS_readlink,   SYS_access,    SYS_stat,   SYS_lstat,
#endif
};

/* Calls that depend on one argument: allowed when (argument & mask) == value. */
static const struct {
    int call;
    unsigned argument;
    uint32_t mask, value;
} depending[] = {
    {SYS_mmap, 2, PROT_EXEC, 0},
    {SYS_mprotect, 2, PROT_EXEC, 0},
    /* fstat() of current C libraries. */
    {SYS_newfstatat, 3, AT_EMPTY_PATH, AT_EMPTY_PATH},
    /* libelf asks whether the descriptor is open. */
    {SYS_fcntl, 1, UINT32_MAX, F_GETFD},
};

struct filter {
    struct sock_filter steps[FILTER_STEPS];
    unsigned short count;
};

static void put(struct filter *filter, struct sock_filter step)
{
    filter->steps[filter->count++] = step;
}

static void put_return(struct filter *filter, uint32_t action)
{
    put(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

static void put_load(struct filter *filter, size_t offset)
{
    put(filter, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

/* The next `skip` steps are for the value only. */
static void put_only_if(struct filter *filter, uint32_t value, uint8_t skip)
{
    put(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip));
}

/* A straight list: about sixty comparisons at most, and the common calls come first. */
static void build_filter(struct filter *filter)
{
    put_load(filter, offsetof(struct seccomp_data, arch));
    put(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FILTER_ARCH, 1, 0));
    put_return(filter, SECCOMP_RET_KILL_PROCESS);
    put_load(filter, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(allowed); i++) {
        put_only_if(filter, (uint32_t)allowed[i], 1);
        put_return(filter, SECCOMP_RET_ALLOW);
    }
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(refused); i++) {
        put_only_if(filter, (uint32_t)refused[i], 1);
        put_return(filter, SECCOMP_RET_ERRNO | EACCES);
    }
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(depending); i++) {
        /* The low half: both supported machines are little-endian. */
        put_only_if(filter, (uint32_t)depending[i].call, 5);
        put_load(filter, offsetof(struct seccomp_data, args) + 8 * depending[i].argument);
        put(filter, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, depending[i].mask));
        put_only_if(filter, depending[i].value, 1);
        put_return(filter, SECCOMP_RET_ALLOW);
        put_return(filter, SECCOMP_RET_KILL_PROCESS);
    }
    put_return(filter, SECCOMP_RET_KILL_PROCESS);
}

RTD_STATIC_ASSERT(5 + 2 * RTD_ARRAY_LENGTH(allowed) + 2 * RTD_ARRAY_LENGTH(refused) +
                          6 * RTD_ARRAY_LENGTH(depending) <=
                      FILTER_STEPS,
                  "the filter has room for every step");

static int install_filter(void)
{
    struct filter filter = {.count = 0};

    build_filter(&filter);
    const struct sock_fprog program = {.len = filter.count, .filter = filter.steps};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 ? 1 : 0;
}
#else
static int install_filter(void)
{
    return 0;
}
#endif

/* What holds also where there is no filter. */
static void limit_resources(void)
{
    static const struct rlimit none = {0, 0}, descriptors = {64, 64};
    static const struct rlimit processor = {CPU_SECONDS, CPU_SECONDS};
    static const struct rlimit memory = {ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES};

    (void)setrlimit(RLIMIT_CORE, &none);
    (void)setrlimit(RLIMIT_FSIZE, &none);
    (void)setrlimit(RLIMIT_NOFILE, &descriptors);
    (void)setrlimit(RLIMIT_CPU, &processor);
    /* A sanitizer reserves terabytes. */
    if (!SANITIZED)
        (void)setrlimit(RLIMIT_AS, &memory);
}

int rtd_symbol_confine(void)
{
    /* A signal for the whole group or service is the collector's to act on: it still has
     * questions then, and the worker ends with the socket. */
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};

    (void)setsid();
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(ignored); i++)
        (void)signal(ignored[i], SIG_IGN);
    limit_resources();
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || SANITIZED)
        return 0;
    return install_filter();
}
