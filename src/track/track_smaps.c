// SPDX-License-Identifier: Apache-2.0
/*
 * track_smaps.c - the mappings of a process with what each holds in memory: /proc/PID/smaps.
 *
 * Runs in:    collector, a program that links libriptide
 * Threads:    any; works in the caller's storage and on its own stack
 * Allocates:  never
 * Fails:      by a negative errno; what was delivered before stays delivered and counted
 *
 * Why no stdio: a line is made of some ten figures, and a large program has a million lines.
 */
#include "track/track_smaps.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The kernel's longest line: a path of 4 KiB, each byte of it as an octal escape, and a head. */
enum { BUFFER_BYTES = 32768, FIGURE_KEY_MAX = 32 };

struct reading {
    rtd_smaps_visit visit;
    void *context;
    struct rtd_smaps_summary *summary;
    struct rtd_smaps_area area;
    bool has_area; /* area is being filled */
};

static uint64_t now_ns(void)
{
    struct timespec time;

    if (clock_gettime(CLOCK_MONOTONIC, &time) < 0)
        return 0;
    return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Both return where the number ends, or NULL when there is none or it does not fit. */
static const char *parse_hex(const char *text, uint64_t *out)
{
    const char *at = text;
    uint64_t value = 0;

    for (; hex_digit(*at) >= 0; at++) {
        if (value >> 60)
            return NULL;
        value = value << 4 | (uint64_t)hex_digit(*at);
    }
    *out = value;
    return at == text ? NULL : at;
}

static const char *parse_decimal(const char *text, uint64_t *out)
{
    const char *at = text;
    uint64_t value = 0;

    for (; *at >= '0' && *at <= '9'; at++) {
        if (value > (UINT64_MAX >> 12) / 10)
            return NULL;
        value = value * 10 + (uint64_t)(*at - '0');
    }
    *out = value;
    return at == text ? NULL : at;
}

static const char *skip_spaces(const char *at)
{
    while (*at == ' ' || *at == '\t')
        at++;
    return at;
}

/* "start-end perm offset device inode   name" */
static int parse_head(const char *line, struct rtd_smaps_area *area)
{
    uint64_t offset = 0;

    memset(area, 0, offsetof(struct rtd_smaps_area, name));
    area->name[0] = '\0';
    const char *at = parse_hex(line, &area->start);
    if (!at || *at != '-')
        return -EBADMSG;
    at = parse_hex(at + 1, &area->end);
    if (!at || *at != ' ' || area->end <= area->start || strnlen(at + 1, 5) < 5 || at[5] != ' ')
        return -EBADMSG;
    memcpy(area->permissions, at + 1, 4);
    at = parse_hex(at + 6, &offset);
    if (!at || *at != ' ')
        return -EBADMSG;
    at = strchr(at + 1, ' '); /* behind the device */
    if (!at)
        return -EBADMSG;
    at = parse_decimal(at + 1, &area->inode);
    if (!at)
        return -EBADMSG;
    at = skip_spaces(at);
    const size_t length = strnlen(at, sizeof(area->name) - 1);
    memcpy(area->name, at, length);
    area->name[length] = '\0';
    return 0;
}

static int deliver(struct reading *reading)
{
    const struct rtd_smaps_area *const area = &reading->area;

    if (!reading->has_area)
        return 0;
    /* More than its address space holds no mapping, so that sums cannot overflow either. */
    if (area->rss_bytes > area->end - area->start)
        return -EBADMSG;
    reading->has_area = false;
    reading->summary->areas++;
    reading->summary->rss_bytes += area->rss_bytes;
    reading->summary->pss_bytes += area->pss_bytes;
    return reading->visit(reading->context, area);
}

static uint64_t *figure_of(struct rtd_smaps_area *area, const char *key, size_t length)
{
    static const struct {
        const char *key;
        size_t offset;
    } figures[] = {
        {"Rss", offsetof(struct rtd_smaps_area, rss_bytes)},
        {"Pss", offsetof(struct rtd_smaps_area, pss_bytes)},
        {"Shared_Clean", offsetof(struct rtd_smaps_area, shared_bytes)},
        {"Shared_Dirty", offsetof(struct rtd_smaps_area, shared_bytes)},
        {"Private_Clean", offsetof(struct rtd_smaps_area, private_bytes)},
        {"Private_Dirty", offsetof(struct rtd_smaps_area, private_bytes)},
        {"Anonymous", offsetof(struct rtd_smaps_area, anonymous_bytes)},
        {"AnonHugePages", offsetof(struct rtd_smaps_area, anon_huge_bytes)},
        {"ShmemPmdMapped", offsetof(struct rtd_smaps_area, shmem_huge_bytes)},
        {"FilePmdMapped", offsetof(struct rtd_smaps_area, file_huge_bytes)},
        {"Swap", offsetof(struct rtd_smaps_area, swap_bytes)},
        {"Locked", offsetof(struct rtd_smaps_area, locked_bytes)},
    };

    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
        if (strncmp(figures[i].key, key, length) == 0 && figures[i].key[length] == '\0')
            return (uint64_t *)(void *)((char *)area + figures[i].offset);
    return NULL;
}

/* Lines that are not known are the business of a later kernel; a figure that is none is an error.
 */
static int take_figure(struct reading *reading, const char *line, const char *colon)
{
    uint64_t kilobytes = 0;
    const size_t length = (size_t)(colon - line);
    uint64_t *const out = length < FIGURE_KEY_MAX ? figure_of(&reading->area, line, length) : NULL;

    if (!reading->has_area)
        return -EBADMSG;
    if (!out)
        return 0;
    const char *const end = parse_decimal(skip_spaces(colon + 1), &kilobytes);
    if (!end || strcmp(end, " kB") != 0 || kilobytes > UINT64_MAX >> 20)
        return -EBADMSG;
    *out += kilobytes << 10;
    return 0;
}

/* Keys begin with a capital letter, addresses are lower-case: no line can be both. */
static int take_line(struct reading *reading, const char *line)
{
    if (hex_digit(line[0]) < 0) {
        const char *const colon = strchr(line, ':');

        return colon ? take_figure(reading, line, colon) : -EBADMSG;
    }
    const int result = deliver(reading);
    if (result < 0)
        return result;
    const int parsed = parse_head(line, &reading->area);
    reading->has_area = parsed == 0;
    return parsed;
}

/* Takes the whole lines of buffer and moves the rest to its start. */
static int take_lines(struct reading *reading, char *buffer, size_t *fill)
{
    char *line = buffer;
    char *const end = buffer + *fill;

    for (;;) {
        char *const newline = memchr(line, '\n', (size_t)(end - line));

        if (!newline)
            break;
        *newline = '\0';
        const int result = take_line(reading, line);
        if (result < 0)
            return result;
        line = newline + 1;
    }
    *fill = (size_t)(end - line);
    memmove(buffer, line, *fill);
    return *fill == BUFFER_BYTES ? -EBADMSG : 0;
}

static int read_all(struct reading *reading, int fd)
{
    char buffer[BUFFER_BYTES];
    size_t fill = 0;

    for (;;) {
        const ssize_t got = read(fd, buffer + fill, sizeof(buffer) - fill);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        fill += (size_t)got;
        const int result = take_lines(reading, buffer, &fill);
        if (result < 0)
            return result;
    }
    if (fill)
        return -EBADMSG;
    const int result = deliver(reading);
    if (result < 0)
        return result;
    return reading->summary->areas ? 0 : -ESRCH;
}

int rtd_smaps_read(const char *path, rtd_smaps_visit visit, void *context,
                   struct rtd_smaps_summary *summary)
{
    struct reading reading = {.visit = visit, .context = context, .summary = summary};

    memset(summary, 0, sizeof(*summary));
    const uint64_t begun_ns = now_ns();
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    const int result = read_all(&reading, fd);
    close(fd);
    summary->cost_ns = now_ns() - begun_ns;
    return result;
}
