// SPDX-License-Identifier: Apache-2.0
/*
 * demo_service.c - a small page service that behaves like a real one, and has a real one's leak.
 *
 * Runs in:    a process of its own: make demo runs it under riptide run
 * Threads:    main makes the requests, three workers answer them
 * Allocates:  yes; see below
 * Fails:      by exit status 1 when it cannot start
 *
 * Each request brings a page. A worker extracts its text (component "extraction"), draws it
 * ("renderer"), and keeps the result in a bounded LRU ("cache").
 *
 *   extraction  leaks: extract_text() forgets the text of a malformed page on its error path, about
 *               1.5 MB/s. That is the line which the report should name.
 *   renderer    churns: some 50 MB/s of buffers, all freed before the next request.
 *   cache       fills to CACHE_LIMIT_BYTES and stays there: growth that is no leak.
 *
 * The page is allocated by main and freed by a worker, as queues do. At the end, after DEMO_SECONDS
 * (60) or on SIGINT or SIGTERM, the cache is left to the kernel, as services do.
 */
#include <errno.h>
#include <pthread.h>
#include <riptide/tags.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    WORKER_COUNT = 3,
    QUEUE_SLOTS = 64,
    REQUEST_PAUSE_NS = 5 * 1000 * 1000,
    PAGE_KINDS = 6000,
    PAGE_LEAST_BYTES = 24 * 1024,
    PAGE_SPREAD_BYTES = 48 * 1024,
    MALFORMED_EVERY = 6,
    CACHE_LIMIT_BYTES = 16 * 1024 * 1024,
    CACHE_BUCKETS = 1024,
    SUMMARY_BYTES = 12 * 1024,
    TILE_BYTES = 48 * 1024,
    TILE_COUNT = 8,
    DEFAULT_SECONDS = 60,
};

struct request {
    unsigned page;
    char *html;
    size_t html_bytes;
};

struct queue {
    struct request slots[QUEUE_SLOTS];
    size_t head;
    size_t tail;
    bool closed;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

/* One cached answer: in its bucket's list, and in the list by last use. */
struct entry {
    unsigned page;
    size_t bytes;
    struct entry *bucket_next;
    struct entry *newer;
    struct entry *older;
    char body[];
};

struct cache {
    struct entry *buckets[CACHE_BUCKETS];
    struct entry *newest;
    struct entry *oldest;
    size_t bytes;
    pthread_mutex_t lock;
};

static struct queue queue = {.lock = PTHREAD_MUTEX_INITIALIZER,
                             .changed = PTHREAD_COND_INITIALIZER};
static struct cache cache = {.lock = PTHREAD_MUTEX_INITIALIZER};
static volatile sig_atomic_t stopping;

static void stop(int signal_number)
{
    (void)signal_number;
    stopping = 1;
}

static void *must(void *memory)
{
    if (memory == NULL) {
        fputs("demo_service: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

/* ---- the queue ---- */

/* Drops the request when the workers are behind, as a service under load does. */
static bool queue_put(const struct request *request)
{
    pthread_mutex_lock(&queue.lock);
    const bool room = queue.tail - queue.head < QUEUE_SLOTS;
    if (room) {
        queue.slots[queue.tail++ % QUEUE_SLOTS] = *request;
        pthread_cond_signal(&queue.changed);
    }
    pthread_mutex_unlock(&queue.lock);
    return room;
}

static bool queue_take(struct request *request)
{
    pthread_mutex_lock(&queue.lock);
    while (queue.head == queue.tail && !queue.closed) {
        pthread_cond_wait(&queue.changed, &queue.lock);
    }
    const bool found = queue.head != queue.tail;
    if (found) {
        *request = queue.slots[queue.head++ % QUEUE_SLOTS];
    }
    pthread_mutex_unlock(&queue.lock);
    return found;
}

static void queue_close(void)
{
    pthread_mutex_lock(&queue.lock);
    queue.closed = true;
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.lock);
}

/* ---- extraction: takes the text out of the page ---- */

/* Returns the text between the tags, or NULL when a tag is not closed; the caller frees it. */
static char *extract_text(const char *html, size_t html_bytes)
{
    char *const text = must(malloc(html_bytes + 1));
    size_t length = 0;
    bool inside_tag = false;
    for (size_t i = 0; i < html_bytes; i++) {
        if (html[i] == '<') {
            inside_tag = true;
        } else if (html[i] == '>') {
            inside_tag = false;
        } else if (!inside_tag) {
            text[length++] = html[i];
        }
    }
    text[length] = '\0';
    if (inside_tag) {
        /* The bug of this program, on purpose: text is forgotten here. */
        return NULL; /* NOLINT(clang-analyzer-unix.Malloc) */
    }
    return text;
}

static size_t count_links(const char *html)
{
    size_t links = 0;
    for (const char *at = strstr(html, "<a "); at != NULL; at = strstr(at + 1, "<a ")) {
        links++;
    }
    return links;
}

/* The links of a page, gathered while it is parsed. */
static size_t collect_links(const char *html)
{
    RIPTIDE_SCOPE("extraction", "collect_links");
    const size_t links = count_links(html);
    const char **const list = must(calloc(links + 1, sizeof *list));
    size_t filled = 0;
    for (const char *at = strstr(html, "<a "); at != NULL && filled < links;
         at = strstr(at + 1, "<a ")) {
        list[filled++] = at;
    }
    free((void *)list);
    return filled;
}

static char *parse_html(const struct request *request, size_t *links)
{
    RIPTIDE_SCOPE("extraction", "parse_html");
    *links = collect_links(request->html);
    return extract_text(request->html, request->html_bytes);
}

/* ---- renderer: draws the text into tiles, and throws them away ---- */

static uint32_t draw_tile(const char *text, size_t length, size_t offset)
{
    RIPTIDE_SCOPE("renderer", "draw_tile");
    unsigned char *const tile = must(malloc(TILE_BYTES));
    uint32_t checksum = 0;
    memset(tile, 0xff, TILE_BYTES);
    for (size_t i = 0; i < 4096 && offset + i < length; i++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): strlen() has read it before */
        tile[(i * 7) % TILE_BYTES] = (unsigned char)text[offset + i];
    }
    for (size_t i = 0; i < TILE_BYTES; i += 64) {
        checksum = checksum * 31 + tile[i];
    }
    free(tile);
    return checksum;
}

static char *render_page(const char *text, size_t links)
{
    RIPTIDE_SCOPE("renderer", "render_page");
    const size_t length = strlen(text);
    size_t capacity = 4096;
    size_t used = 0;
    char *out = must(malloc(capacity));
    for (unsigned tile = 0; tile < TILE_COUNT; tile++) {
        const uint32_t checksum = draw_tile(text, length, (size_t)tile * 4096);
        while (capacity - used < SUMMARY_BYTES) {
            capacity *= 2;
            out = must(realloc(out, capacity));
        }
        used += (size_t)snprintf(out + used, capacity - used, "tile %u %08x links %zu\n", tile,
                                 checksum, links);
        memset(out + used, ' ', SUMMARY_BYTES / TILE_COUNT / 2);
        used += SUMMARY_BYTES / TILE_COUNT / 2;
    }
    out[used] = '\0';
    return out;
}

/* ---- cache: a bounded LRU of answers ---- */

static struct entry **bucket_of(unsigned page)
{
    return &cache.buckets[page % CACHE_BUCKETS];
}

static void unlink_entry_locked(struct entry *entry)
{
    if (entry->newer != NULL) {
        entry->newer->older = entry->older;
    } else {
        cache.newest = entry->older;
    }
    if (entry->older != NULL) {
        entry->older->newer = entry->newer;
    } else {
        cache.oldest = entry->newer;
    }
}

static void link_newest_locked(struct entry *entry)
{
    entry->newer = NULL;
    entry->older = cache.newest;
    if (cache.newest != NULL) {
        cache.newest->newer = entry;
    } else {
        cache.oldest = entry;
    }
    cache.newest = entry;
}

static void evict_oldest_locked(void)
{
    struct entry *const victim = cache.oldest;
    struct entry **link = bucket_of(victim->page);
    while (*link != victim) {
        link = &(*link)->bucket_next;
    }
    *link = victim->bucket_next;
    unlink_entry_locked(victim);
    cache.bytes -= victim->bytes;
    free(victim);
}

/* True when the page is cached; it is the newest then. */
static bool cache_touch(unsigned page)
{
    pthread_mutex_lock(&cache.lock);
    struct entry *entry = *bucket_of(page);
    while (entry != NULL && entry->page != page) {
        entry = entry->bucket_next;
    }
    if (entry != NULL) {
        unlink_entry_locked(entry);
        link_newest_locked(entry);
    }
    pthread_mutex_unlock(&cache.lock);
    return entry != NULL;
}

static void cache_store(unsigned page, const char *body)
{
    RIPTIDE_SCOPE("cache", "cache_store");
    const size_t bytes = sizeof(struct entry) + SUMMARY_BYTES;
    struct entry *const entry = must(malloc(bytes));
    entry->page = page;
    entry->bytes = bytes;
    snprintf(entry->body, SUMMARY_BYTES, "%s", body);
    pthread_mutex_lock(&cache.lock);
    while (cache.bytes + bytes > CACHE_LIMIT_BYTES) {
        evict_oldest_locked();
    }
    entry->bucket_next = *bucket_of(page);
    *bucket_of(page) = entry;
    link_newest_locked(entry);
    cache.bytes += bytes;
    pthread_mutex_unlock(&cache.lock);
}

/* ---- the service ---- */

static void answer(const struct request *request)
{
    size_t links = 0;
    char *const text = parse_html(request, &links);
    if (text == NULL) {
        return;
    }
    if (!cache_touch(request->page)) {
        char *const body = render_page(text, links);
        cache_store(request->page, body);
        free(body);
    }
    free(text);
}

static void *work(void *context)
{
    struct request request;
    (void)context;
    while (queue_take(&request)) {
        answer(&request);
        free(request.html);
    }
    return NULL;
}

/* Every MALFORMED_EVERY-th page ends inside a tag. */
static struct request receive_request(unsigned number)
{
    static const char line[] =
        "<p>The tide <a href=\"/moon\">follows the moon</a> twice a day.</p>\n";
    static uint32_t random = 12345;
    random = random * 1664525u + 1013904223u;
    const size_t bytes = PAGE_LEAST_BYTES + (random >> 8) % PAGE_SPREAD_BYTES;
    struct request request = {.page = (random >> 10) % PAGE_KINDS, .html_bytes = bytes};
    request.html = must(malloc(bytes + 1));
    for (size_t at = 0; at < bytes; at += sizeof line - 1) {
        const size_t left = bytes - at;
        memcpy(request.html + at, line, left < sizeof line - 1 ? left : sizeof line - 1);
    }
    memset(request.html + bytes - 8, ' ', 8);
    request.html[bytes - 8] = number % MALFORMED_EVERY == 0 ? '<' : '>';
    request.html[bytes] = '\0';
    return request;
}

static void serve_for(unsigned seconds)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const time_t end = now.tv_sec + (time_t)seconds;
    for (unsigned number = 0; stopping == 0 && now.tv_sec < end; number++) {
        const struct timespec pause = {.tv_nsec = REQUEST_PAUSE_NS};
        const struct request request = receive_request(number);
        if (!queue_put(&request)) {
            free(request.html);
        }
        nanosleep(&pause, NULL);
        clock_gettime(CLOCK_MONOTONIC, &now);
    }
}

static unsigned seconds_to_run(void)
{
    const char *const text = getenv("DEMO_SECONDS");
    char *end = NULL;
    const unsigned long seconds = text == NULL ? 0 : strtoul(text, &end, 10);
    const bool usable =
        text != NULL && end != text && *end == '\0' && seconds > 0 && seconds < 86400;
    return usable ? (unsigned)seconds : DEFAULT_SECONDS;
}

int main(void)
{
    pthread_t workers[WORKER_COUNT];
    const struct sigaction action = {.sa_handler = stop};
    const unsigned seconds = seconds_to_run();
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    printf("demo_service: %d workers, for %u s, pid %d\n", WORKER_COUNT, seconds, (int)getpid());
    fflush(stdout);
    for (size_t i = 0; i < WORKER_COUNT; i++) {
        const int error = pthread_create(&workers[i], NULL, work, NULL);
        if (error != 0) {
            fprintf(stderr, "demo_service: no thread: %s\n", strerror(error));
            return 1;
        }
    }
    serve_for(seconds);
    queue_close();
    for (size_t i = 0; i < WORKER_COUNT; i++) {
        pthread_join(workers[i], NULL);
    }
    return 0;
}
