// SPDX-License-Identifier: Apache-2.0
/*
 * collect_door_test.c - agents and strangers at the collector's socket.
 *
 * Runs in:    test; the callers are children, as the kernel tells who calls
 * Threads:    one
 * Allocates:  ledgers, child processes
 * Fails:      by cmocka
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collect/collect_door.h"
#include "collect/collect_join.h"

static const struct rtd_ledger_options options = {
    .mode = RTD_MODE_SAMPLE, .interval_bytes = 65536, .seed = 42};

struct setting {
    int epoll_fd;
    struct rtd_door door;
    struct rtd_family family;
    struct rtd_recorder recorder;
};

static int set_up(void **state)
{
    struct setting *const s = calloc(1, sizeof(*s));

    if (!s)
        return -1;
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    rtd_family_init(&s->family, &options, s->epoll_fd);
    *state = s;
    return rtd_door_open(&s->door, s->epoll_fd);
}

static int tear_down(void **state)
{
    struct setting *const s = *state;

    rtd_door_close(&s->door);
    rtd_family_fini(&s->family);
    close(s->epoll_fd);
    free(s);
    return 0;
}

/* One turn of the collector's loop, as far as the door goes. */
static void turn(struct setting *s, int timeout_ms)
{
    struct epoll_event events[16];
    const int count = epoll_wait(s->epoll_fd, events, 16, timeout_ms);

    for (int i = 0; i < count; i++) {
        const uint32_t value = (uint32_t)events[i].data.u64;
        switch (events[i].data.u64 >> 32) {
        case RTD_TAG_LISTENER:
            rtd_door_accept(&s->door, &s->family);
            break;
        case RTD_TAG_CALLER:
            rtd_door_serve(&s->door, &s->family, value);
            break;
        case RTD_TAG_PROCESS:
            rtd_family_gone(&s->family, value);
            break;
        default:
            break;
        }
    }
    rtd_family_settle(&s->family, &s->recorder, rtd_collect_now_ns());
}

/* In the child: says hello as an agent does. Returns the status, checks the ledger if there is one.
 */
static int say_hello(const char *name, uint32_t version, uint32_t kind)
{
    const struct rtd_hello hello = {
        .magic = RTD_HANDSHAKE_MAGIC, .version = version, .kind = kind, .pid = 1};
    struct rtd_welcome welcome;
    struct iovec part = {.iov_base = &welcome, .iov_len = sizeof(welcome)};
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    struct stat info;
    int ledger = -1;

    const int fd = rtd_collect_socket_connect(name);
    if (fd < 0 || send(fd, &hello, sizeof(hello), 0) < 0)
        return -1000;
    if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(welcome))
        return -1001;
    close(fd);
    const struct cmsghdr *const item = CMSG_FIRSTHDR(&message);
    if (welcome.status < 0 || !item)
        return item ? -1002 : welcome.status;
    memcpy(&ledger, CMSG_DATA(item), sizeof(ledger));
    const int seals = fcntl(ledger, F_GET_SEALS);
    if (welcome.ledger_bytes != RTD_LEDGER_BYTES || fstat(ledger, &info) < 0 ||
        info.st_size != (off_t)RTD_LEDGER_BYTES || !(seals & F_SEAL_SHRINK))
        return -1003;
    close(ledger);
    return 0;
}

static int reap(struct setting *s, pid_t child)
{
    int status = 0;

    for (int i = 0; i < 500 && waitpid(child, &status, WNOHANG) == 0; i++)
        turn(s, 10);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* In the child: joins as libriptide does; 0 when the ledger is there and can only be read. */
static int join_now(const char *name)
{
    struct rtd_ledger_handle handle;

    if (setenv(RTD_SOCKET_VARIABLE, name, 1) != 0)
        return 100;
    const int result = rtd_collect_join(&handle);
    if (result < 0)
        return handle.ledger || handle.fd >= 0 ? 101 : -result;
    /* A descriptor that reads is what exact mode needs. */
    uint64_t magic = 0;
    if (pread(handle.fd, &magic, sizeof(magic), 0) != (ssize_t)sizeof(magic) ||
        magic != RTD_LEDGER_MAGIC || handle.ledger->header.magic != RTD_LEDGER_MAGIC ||
        handle.ledger->header.target_pid != (uint32_t)getpid())
        return 102;
    rtd_ledger_close(&handle);
    return 0;
}

static void a_process_that_joins_is_shown_the_ledger_it_has(void **state)
{
    struct setting *const s = *state;
    const pid_t child = fork();

    if (child == 0) {
        if (say_hello(s->door.name, RTD_LEDGER_VERSION, RTD_HELLO_EXEC) != 0)
            _exit(103);
        _exit(join_now(s->door.name));
    }
    assert_int_equal(reap(s, child), 0);
    /* It is the same image still, and no second ledger was handed out. */
    assert_int_equal(s->family.live_count + s->family.ended_count, 1);
    assert_int_equal(s->family.pool.taken_count, 1);
}

static void a_process_without_a_ledger_has_none_to_join(void **state)
{
    struct setting *const s = *state;
    const pid_t child = fork();

    if (child == 0)
        _exit(join_now(s->door.name));
    assert_int_equal(reap(s, child), ESRCH);
    assert_int_equal(s->family.live_count + s->family.ended_count, 0);
    assert_int_equal(s->family.pool.taken_count, 0);
}

static void a_hello_is_answered_with_a_sealed_ledger(void **state)
{
    struct setting *const s = *state;
    const pid_t child = fork();

    if (child == 0)
        _exit(say_hello(s->door.name, RTD_LEDGER_VERSION, RTD_HELLO_EXEC) == 0 ? 0 : 1);
    assert_int_equal(reap(s, child), 0);
    assert_int_equal(s->family.live_count + s->family.ended_count, 1);
    const struct rtd_collect_process *const process =
        s->family.live_count ? s->family.live[0] : s->family.ended[0];
    assert_int_equal(process->record.meta.pid, child);
    assert_int_equal(process->record.meta.kind, RTD_HELLO_EXEC);
}

static void a_second_hello_of_the_same_process_replaces_its_image(void **state)
{
    struct setting *const s = *state;
    const pid_t child = fork();

    if (child == 0) {
        for (int i = 0; i < 3; i++) {
            if (say_hello(s->door.name, RTD_LEDGER_VERSION, RTD_HELLO_EXEC) != 0)
                _exit(1);
        }
        _exit(0);
    }
    assert_int_equal(reap(s, child), 0);
    for (int i = 0; i < 20 && s->family.live_count > 0; i++)
        turn(s, 10);
    assert_int_equal(s->family.ended_count, 3);
    unsigned replaced = 0;
    for (unsigned i = 0; i < 3; i++)
        replaced += s->family.ended[i]->replaced;
    assert_int_equal(replaced, 2);
}

static void another_version_is_refused_and_counted(void **state)
{
    struct setting *const s = *state;
    const pid_t child = fork();

    if (child == 0)
        _exit(say_hello(s->door.name, RTD_LEDGER_VERSION + 1, RTD_HELLO_EXEC) == -EPROTONOSUPPORT
                  ? 0
                  : 1);
    assert_int_equal(reap(s, child), 0);
    assert_int_equal(s->family.live_count, 0);
}

static void nonsense_is_shut_out(void **state)
{
    struct setting *const s = *state;
    const pid_t child = fork();

    if (child == 0) {
        char junk[300];
        memset(junk, 'x', sizeof(junk));
        for (size_t size = 1; size <= sizeof(junk); size += 23) {
            const int fd = rtd_collect_socket_connect(s->door.name);
            if (fd < 0 || send(fd, junk, size, MSG_NOSIGNAL) < 0 ||
                recv(fd, junk, sizeof(junk), 0) > 0)
                _exit(1);
            close(fd);
            memset(junk, 'x', sizeof(junk));
        }
        _exit(0);
    }
    assert_int_equal(reap(s, child), 0);
    turn(s, 0);
    assert_int_equal(s->door.caller_count, 0);
    assert_int_equal(s->family.live_count, 0);
}

static void silent_callers_expire_and_too_many_do_no_harm(void **state)
{
    struct setting *const s = *state;
    int fds[RTD_DOOR_CALLERS + 20];

    for (unsigned i = 0; i < RTD_DOOR_CALLERS + 20; i++) {
        fds[i] = rtd_collect_socket_connect(s->door.name);
        assert_true(fds[i] >= 0);
        turn(s, 0);
    }
    assert_int_equal(s->door.caller_count, RTD_DOOR_CALLERS);
    rtd_door_expire(&s->door, rtd_collect_now_ns() + UINT64_C(3000000000));
    assert_int_equal(s->door.caller_count, 0);
    const pid_t child = fork();
    if (child == 0)
        _exit(say_hello(s->door.name, RTD_LEDGER_VERSION, RTD_HELLO_FORK) == 0 ? 0 : 1);
    assert_int_equal(reap(s, child), 0);
    for (unsigned i = 0; i < RTD_DOOR_CALLERS + 20; i++)
        close(fds[i]);
}

static void short_lived_processes_without_samples_use_the_same_ledgers(void **state)
{
    struct setting *const s = *state;

    for (int i = 0; i < 60; i++) {
        const pid_t child = fork();
        if (child == 0)
            _exit(say_hello(s->door.name, RTD_LEDGER_VERSION, RTD_HELLO_FORK) == 0 ? 0 : 1);
        assert_int_equal(reap(s, child), 0);
    }
    for (int i = 0; i < 20 && s->family.live_count > 0; i++)
        turn(s, 10);
    assert_int_equal(s->family.live_count, 0);
    assert_true(s->family.pool.made_count <= RTD_POOL_SPARES);
    assert_int_equal(s->family.ended_count, RTD_FAMILY_UNSAMPLED);
    assert_int_equal(s->family.dropped_count, 60 - RTD_FAMILY_UNSAMPLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_hello_is_answered_with_a_sealed_ledger, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_process_that_joins_is_shown_the_ledger_it_has, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_process_without_a_ledger_has_none_to_join, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_second_hello_of_the_same_process_replaces_its_image,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_version_is_refused_and_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nonsense_is_shut_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(silent_callers_expire_and_too_many_do_no_harm, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(short_lived_processes_without_samples_use_the_same_ledgers,
                                        set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
