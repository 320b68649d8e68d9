// SPDX-License-Identifier: Apache-2.0
/*
 * collect_loop.c - the collector: everything RipTide does while a program runs.
 *
 * Runs in:    the `riptide run` process
 * Threads:    the caller's
 * Allocates:  yes
 * Fails:      see collect_loop.h
 */
#include "collect/collect_loop.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collect/collect_door.h"
#include "collect/collect_family.h"
#include "collect/collect_query.h"
#include "collect/collect_recorder.h"
#include "collect/collect_reporter.h"
#include "collect/collect_request.h"
#include "track/track_process.h"

#define MS_NS        UINT64_C(1000000)
#define TICK_NS      (100 * MS_NS)
#define MAPS_NS      (10 * MS_NS) /* also how often requests are looked after */
#define INTERRUPT_NS (700 * MS_NS)

enum {
    EVENT_MAX = 32,
    DESCRIPTORS = 4096,
    ALL_MAX = RTD_FAMILY_LIVE + RTD_FAMILY_ENDED,
    FINAL_RESOLVE_MS = 4000,
    TROUBLE_BYTES = 160,
};

struct rtd_collect {
    struct rtd_collect_options options;
    int epoll_fd, signal_fd;
    struct rtd_door door;
    struct rtd_family family;
    struct rtd_recorder recorder;
    struct rtd_reporter *reporter;
    struct rtd_requests requests;
    struct rtd_server *server;
    bool server_wants;
    bool ended;
    struct rtd_collect_outcome outcome;
    int interrupt; /* to be passed on at interrupt_ns; 0: none */
    uint64_t interrupt_ns;
    uint64_t tick_ns;
    char trouble[TROUBLE_BYTES];
    char note[TROUBLE_BYTES];
};

static void note_trouble(struct rtd_collect *collect, const char *what, int error)
{
    if (collect->trouble[0])
        return;
    (void)snprintf(collect->trouble, sizeof(collect->trouble), "the collector %s: %s", what,
                   strerror(-error));
    collect->family.trouble = collect->trouble;
}

struct rtd_collect *rtd_collect_new(const struct rtd_collect_options *options, int *err)
{
    struct rtd_collect *const collect = calloc(1, sizeof(*collect));

    if (!collect) {
        *err = -ENOMEM;
        return NULL;
    }
    collect->options = *options;
    collect->signal_fd = -1;
    collect->door.listener = -1;
    collect->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    rtd_family_init(&collect->family, &options->ledger, collect->epoll_fd);
    collect->reporter = collect->epoll_fd < 0 ? NULL : rtd_reporter_new(err);
    if (!collect->reporter) {
        if (collect->epoll_fd < 0)
            *err = -errno;
        rtd_collect_free(collect);
        return NULL;
    }
    const int result = rtd_door_open(&collect->door, collect->epoll_fd);
    if (result < 0)
        note_trouble(collect, "could not open its socket", result);
    return collect;
}

const char *rtd_collect_trouble(const struct rtd_collect *collect)
{
    return collect->trouble[0] ? collect->trouble : NULL;
}

const char *rtd_collect_socket_name(const struct rtd_collect *collect)
{
    return collect->door.name;
}

/* Signals come through a descriptor; what a terminal sends to both of us is the program's. */
static int take_signals(struct rtd_collect *collect)
{
    static const int signals[] = {SIGCHLD, SIGINT,  SIGQUIT, SIGTERM, SIGHUP,
                                  SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT, SIGWINCH};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaddset(&set, signals[i]);
    /* Inherited "ignore" would lose the program's exit status. */
    (void)signal(SIGCHLD, SIG_DFL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a file that is too big is an errno */
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    collect->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (collect->signal_fd < 0)
        return -errno;
    return rtd_epoll_add(collect->epoll_fd, collect->signal_fd, EPOLLIN, RTD_TAG_SIGNAL, 0);
}

/* Soft limits are the program's business as long as the hard ones allow more. */
static void raise_limit(__rlimit_resource_t resource, rlim_t wanted)
{
    struct rlimit limit;

    if (getrlimit(resource, &limit) < 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    (void)setrlimit(resource, &limit);
}

int rtd_collect_settle(struct rtd_collect *collect)
{
    raise_limit(RLIMIT_NOFILE, DESCRIPTORS);
    raise_limit(RLIMIT_FSIZE, RLIM_INFINITY);
    const int result = rtd_epoll_add(collect->epoll_fd, rtd_reporter_fd(collect->reporter), EPOLLIN,
                                     RTD_TAG_REPORTER, 0);
    const int taken = result < 0 ? result : take_signals(collect);
    const int made = rtd_pool_refill(&collect->family.pool);

    if (made < 0)
        note_trouble(collect, "could not make a ledger", made);
    return taken;
}

/* In a thread of the server: a caller at the door like any other, so that the loop never waits. */
static int force_gc(void *context, uint32_t pid, char **text, size_t *length_bytes)
{
    const struct rtd_collect *const collect = context;
    struct rtd_query query = {
        .format = RTD_QUERY_GC, .by = 1, .pid = pid, .top = RTD_REQUEST_TIMEOUT_MS};

    return rtd_collect_ask_at(collect->door.name, &query, text, length_bytes);
}

int rtd_collect_listen(struct rtd_collect *collect, const struct rtd_server_options *options)
{
    struct rtd_server_options wish = *options;
    int error = 0;

    wish.force_gc = force_gc;
    wish.action_context = collect;
    collect->server = rtd_server_new(&wish, &error);
    if (!collect->server)
        return error;
    return rtd_epoll_add(collect->epoll_fd, rtd_server_wants_report_fd(collect->server), EPOLLIN,
                         RTD_TAG_SERVER, 0);
}

uint16_t rtd_collect_port(const struct rtd_collect *collect)
{
    return collect->server ? rtd_server_port(collect->server) : 0;
}

int rtd_collect_record(struct rtd_collect *collect, const char *path)
{
    return rtd_recorder_open(&collect->recorder, path, collect->options.quiet);
}

int rtd_collect_target(struct rtd_collect *collect, pid_t pid, const char *command,
                       const char *executable)
{
    struct rtd_collect_process *all[ALL_MAX];

    collect->family.start_ns = rtd_collect_now_ns();
    const int result = rtd_family_root_new(&collect->family, pid, command, executable);
    if (result < 0)
        return result;
    /* Before the program runs: whoever is killed when, the recording opens and names it. */
    rtd_recorder_write(&collect->recorder, all, rtd_family_list(&collect->family, all));
    return 0;
}

/* A stopped program: the shell that started us expects us to stop, too. */
static void follow_stop(struct rtd_collect *collect, int signal)
{
    if (signal != SIGTSTP && signal != SIGTTIN && signal != SIGTTOU)
        return; /* somebody stopped just the program, and will continue just the program */
    (void)raise(SIGSTOP);
    (void)kill(collect->family.root_pid, SIGCONT);
}

static void reap(struct rtd_collect *collect)
{
    for (;;) {
        int status = 0;
        const pid_t pid = waitpid(collect->family.root_pid, &status, WNOHANG | WUNTRACED);
        if (pid <= 0)
            return;
        if (WIFSTOPPED(status)) {
            follow_stop(collect, WSTOPSIG(status));
            continue;
        }
        collect->ended = true;
        collect->outcome.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        collect->outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
        rtd_family_root_gone(&collect->family, collect->outcome.exit_code, collect->outcome.signal);
        return;
    }
}

/*
 * An interrupt that is not the terminal's was sent to us alone, or to our group: in that case the
 * program has it already. Twice is no harm unless the program catches it, and then a program that
 * has it is given time to end by itself.
 */
static void take_interrupt(struct rtd_collect *collect, int signal)
{
    const pid_t pid = collect->family.root_pid;

    if (!rtd_track_catches(pid, signal)) {
        (void)kill(pid, signal);
        return;
    }
    collect->interrupt = signal;
    collect->interrupt_ns = rtd_collect_now_ns() + INTERRUPT_NS;
}

static void pass_interrupt(struct rtd_collect *collect, uint64_t now_ns)
{
    if (!collect->interrupt || now_ns < collect->interrupt_ns || collect->ended)
        return;
    (void)kill(collect->family.root_pid, collect->interrupt);
    collect->interrupt = 0;
}

static void read_signals(struct rtd_collect *collect)
{
    struct signalfd_siginfo info;

    while (read(collect->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        const int signal = (int)info.ssi_signo;
        switch (signal) {
        case SIGTERM:
        case SIGHUP:
        case SIGUSR1:
        case SIGUSR2:
            /* What the kernel sends (a hang-up) it sends to the program as well. */
            if (info.ssi_code <= 0 && !collect->ended)
                (void)kill(collect->family.root_pid, signal);
            break;
        case SIGINT:
        case SIGQUIT:
            if (info.ssi_code <= 0 && !collect->ended)
                take_interrupt(collect, signal);
            break;
        case SIGCONT:
            if (info.ssi_code <= 0 && !collect->ended)
                (void)kill(collect->family.root_pid, SIGCONT);
            break;
        default: /* SIGCHLD is handled in any case; the rest the terminal sent to both */
            break;
        }
    }
    reap(collect);
}

/* A report on everything known. The array of records belongs to the caller. */
static int fill_input(struct rtd_collect *collect, struct rtd_report_input *input,
                      const struct rtd_process_record ***records)
{
    struct rtd_collect_process *all[ALL_MAX];
    const unsigned count = rtd_family_list(&collect->family, all);

    *records = malloc((count ? count : 1) * sizeof(**records));
    if (!*records)
        return -ENOMEM;
    for (unsigned i = 0; i < count; i++)
        (*records)[i] = &all[i]->record;
    collect->note[0] = '\0';
    if (collect->family.dropped_count)
        (void)snprintf(collect->note, sizeof(collect->note),
                       "%llu more short-lived processes are not listed",
                       (unsigned long long)collect->family.dropped_count);
    memset(input, 0, sizeof(*input));
    input->process_count = count;
    input->processes = *records;
    input->symbols = rtd_reporter_symbols(collect->reporter);
    input->complete = true;
    input->note = collect->note;
    input->time_scale = collect->options.time_scale;
    return 0;
}

static void refresh_all(struct rtd_collect *collect, uint64_t now_ns)
{
    struct rtd_family *const family = &collect->family;

    for (unsigned i = 0; i < family->live_count; i++) {
        rtd_process_point(family->live[i], now_ns, true);
        (void)rtd_process_examine(family->live[i], now_ns);
    }
}

static void start_job(struct rtd_collect *collect, uint64_t now_ns)
{
    struct rtd_job job;

    memset(&job, 0, sizeof(job));
    refresh_all(collect, now_ns);
    if (fill_input(collect, &job.input, &job.records) < 0)
        return;
    job.for_server = collect->server_wants;
    rtd_door_collect(&collect->door, &job);
    if (rtd_reporter_start(collect->reporter, &job) < 0) {
        for (unsigned i = 0; i < job.query_count; i++)
            job.queries[i].status = -ENOMEM;
        rtd_door_deliver(&collect->door, &job);
        free((void *)job.records);
        return;
    }
    collect->server_wants = false;
}

static void finish_job(struct rtd_collect *collect)
{
    struct rtd_job job;

    if (rtd_reporter_take(collect->reporter, &job) < 0)
        return;
    if (job.report && collect->server)
        rtd_server_publish(collect->server, job.report);
    else
        rtd_report_free(job.report);
    rtd_door_deliver(&collect->door, &job);
    free((void *)job.records);
}

static void handle_event(struct rtd_collect *collect, uint64_t tag)
{
    uint64_t count = 0;
    const uint32_t value = (uint32_t)tag;

    switch ((enum rtd_tag_kind)(tag >> 32)) {
    case RTD_TAG_LISTENER:
        rtd_door_accept(&collect->door, &collect->family);
        break;
    case RTD_TAG_SIGNAL:
        read_signals(collect);
        break;
    case RTD_TAG_SERVER:
        (void)!read(rtd_server_wants_report_fd(collect->server), &count, sizeof(count));
        collect->server_wants = true;
        break;
    case RTD_TAG_REPORTER:
        finish_job(collect);
        break;
    case RTD_TAG_CALLER:
        rtd_door_serve(&collect->door, &collect->family, value);
        break;
    case RTD_TAG_PROCESS:
        rtd_family_gone(&collect->family, value);
        break;
    default:
        break;
    }
}

/* What may wait until the records are free. */
static void work(struct rtd_collect *collect, uint64_t now_ns)
{
    struct rtd_collect_process *all[ALL_MAX];

    if (rtd_reporter_busy(collect->reporter))
        return;
    rtd_family_settle(&collect->family, &collect->recorder, now_ns);
    rtd_family_tend(&collect->family, now_ns);
    if (rtd_recorder_due(&collect->recorder, now_ns)) {
        const unsigned count = rtd_family_list(&collect->family, all);
        rtd_recorder_write(&collect->recorder, all, count);
    }
    if (collect->server_wants || collect->door.waiting_count > 0)
        start_job(collect, now_ns);
}

static int wait_ms(const struct rtd_collect *collect)
{
    const uint64_t now_ns = rtd_collect_now_ns();

    if (now_ns >= collect->tick_ns)
        return 0;
    const uint64_t left_ns = collect->tick_ns - now_ns;
    if ((collect->family.maps_busy || collect->requests.count > 0) && left_ns > MAPS_NS)
        return (int)(MAPS_NS / MS_NS);
    return (int)(left_ns / MS_NS) + 1;
}

static void turn(struct rtd_collect *collect, int timeout_ms)
{
    struct epoll_event events[EVENT_MAX];
    const int count = epoll_wait(collect->epoll_fd, events, EVENT_MAX, timeout_ms);

    for (int i = 0; i < count; i++)
        handle_event(collect, events[i].data.u64);
}

struct rtd_collect_outcome rtd_collect_run(struct rtd_collect *collect)
{
    reap(collect); /* it may have ended before the signals were ours */
    while (!collect->ended) {
        turn(collect, wait_ms(collect));
        const uint64_t now_ns = rtd_collect_now_ns();
        const bool asked = collect->server_wants || collect->door.waiting_count > 0;
        if (collect->family.maps_busy)
            rtd_family_maps(&collect->family, now_ns);
        if (collect->requests.count > 0 || collect->door.asking_count > 0)
            rtd_requests_tend(&collect->requests, &collect->door, &collect->family, now_ns);
        if (now_ns >= collect->tick_ns) {
            collect->tick_ns = now_ns + TICK_NS;
            pass_interrupt(collect, now_ns);
            rtd_family_tick(&collect->family, now_ns);
            rtd_door_expire(&collect->door, now_ns);
            work(collect, now_ns);
        } else if (asked) {
            work(collect, now_ns);
        } else if (collect->family.someone_gone && !rtd_reporter_busy(collect->reporter)) {
            rtd_family_settle(&collect->family, &collect->recorder, now_ns);
        }
    }
    return collect->outcome;
}

int rtd_collect_finish(struct rtd_collect *collect)
{
    struct rtd_collect_process *all[ALL_MAX];
    struct rtd_report_input input;
    const struct rtd_process_record **records = NULL;

    rtd_requests_end(&collect->requests, &collect->door);
    finish_job(collect);
    turn(collect, 0); /* who else is dead by now */
    finish_job(collect);
    const uint64_t now_ns = rtd_collect_now_ns();
    rtd_family_settle(&collect->family, &collect->recorder, now_ns);
    refresh_all(collect, now_ns);
    if (fill_input(collect, &input, &records) == 0)
        rtd_reporter_resolve(collect->reporter, records, input.process_count, FINAL_RESOLVE_MS);
    free((void *)records);
    const unsigned count = rtd_family_list(&collect->family, all);
    for (unsigned i = 0; i < count; i++)
        rtd_recorder_write_one(&collect->recorder, all[i]);
    return rtd_recorder_finish(&collect->recorder, rtd_reporter_symbols(collect->reporter));
}

struct rtd_report *rtd_collect_report(struct rtd_collect *collect)
{
    struct rtd_report_input input;
    const struct rtd_process_record **records = NULL;

    finish_job(collect);
    if (fill_input(collect, &input, &records) < 0)
        return NULL;
    struct rtd_report *const report = rtd_report_new(&input);
    free((void *)records);
    return report;
}

void rtd_collect_free(struct rtd_collect *collect)
{
    if (!collect)
        return;
    /* First: a thread of the server may wait for an answer from the door. */
    rtd_door_close(&collect->door);
    rtd_server_free(collect->server);
    rtd_reporter_free(collect->reporter);
    rtd_recorder_close(&collect->recorder);
    rtd_family_fini(&collect->family);
    if (collect->signal_fd >= 0)
        close(collect->signal_fd);
    if (collect->epoll_fd >= 0)
        close(collect->epoll_fd);
    free(collect);
}
