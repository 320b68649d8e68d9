// SPDX-License-Identifier: Apache-2.0
/*
 * heap_library.c - a program that has its own heap watched, and says what the ledger holds.
 *
 *     heap_library WHAT [exact|sample]
 *
 * Runs in:    test/integration/test_heap_library.py
 * Threads:    four of its own
 * Allocates:  fixed numbers of blocks under tags of its own, so that its figures are known
 * Fails:      with status 1 and a line on stderr
 *
 * Built without the agent, linked with it, and with it linked in. Figures are by tag: what the
 * program's own printing and reading allocates bears none.
 */
#include "ledger/ledger_create.h"
#include "ledger/ledger_join.h"
#include "ledger/ledger_reader.h"
#include "riptide/tags.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, BLOCKS = 1000, BLOCK_BYTES = 100, RACE_BLOCKS = 64 };

static uint32_t mode = RTD_MODE_EXACT;

static void require(int condition, const char *what)
{
    if (condition)
        return;
    (void)fprintf(stderr, "heap_library: %s (errno %d)\n", what, errno);
    exit(1);
}

static struct rtd_ledger_handle create(void)
{
    /* Interval 1: practically every block is sampled. */
    const struct rtd_ledger_options options = {
        .mode = mode, .interval_bytes = 1, .interval_fixed = true, .seed = 7, .session = 1};
    struct rtd_ledger_handle handle = {.fd = -1};
    require(rtd_ledger_create(&options, &handle) == 0, "no ledger");
    return handle;
}

/* One line a component: name, allocations, their bytes, live blocks. */
static void print_figures(const struct rtd_ledger_handle *handle)
{
    struct rtd_image *const image = rtd_image_new();
    require(image && rtd_image_read_sparse(image, handle->ledger, handle->fd) == 0, "no image");
    for (uint32_t tag = 2; tag < image->tag_count; tag++) {
        double count = 0, bytes = 0, live = 0;
        for (uint32_t i = 0; i < image->site_count; i++) {
            if (image->sites[i].tag != tag)
                continue;
            count += image->sites[i].birth_count;
            bytes += image->sites[i].birth_bytes;
            live += image->sites[i].birth_count - image->sites[i].death_count;
        }
        printf("%s %.0f %.0f %.0f\n", image->tags[tag].component, count, bytes, live);
    }
    printf("state %u %u\n", image->agent_state, image->agent_reason);
    printf("stale %llu\n", (unsigned long long)image->loss[RTD_LOSS_STALE_SAMPLES]);
    if (image->exact)
        printf("missed_frees %llu\nunknown_frees %llu\n",
               (unsigned long long)image->exact->missed_frees,
               (unsigned long long)image->exact->unknown_frees);
    rtd_image_free(image);
}

/* ---- work ---- */

static void *kept[THREADS][BLOCKS];
static pthread_barrier_t gate;
static _Atomic int stop_racing;

__attribute__((noinline)) static void fill(int thread)
{
    for (int i = 0; i < BLOCKS; i++) {
        kept[thread][i] = malloc(BLOCK_BYTES);
        require(kept[thread][i] != NULL, "no memory");
    }
}

__attribute__((noinline)) static void drain(int thread, int from, int to)
{
    for (int i = from; i < to; i++)
        free(kept[thread][i]);
}

/* Holds blocks of all sizes up to 2 KiB, in any order. */
static void race(unsigned seed)
{
    void *held[RACE_BLOCKS] = {0};
    while (!stop_racing) {
        void **const place = &held[seed % RACE_BLOCKS];
        seed = seed * 1103515245u + 12345u;
        if (seed & 0x10000) {
            void *const moved = realloc(*place, seed >> 21);
            *place = moved || seed >> 21 == 0 ? moved : *place;
        } else {
            free(*place);
            *place = calloc(1, seed >> 21);
        }
    }
    for (int i = 0; i < RACE_BLOCKS; i++)
        free(held[i]);
}

struct plan {
    int thread;
    int races; /* allocates without pause while the others adopt */
};

static void *work(void *argument)
{
    const struct plan *const plan = argument;
    {
        RIPTIDE_SCOPE("before", "fill");
        fill(plan->thread);
        pthread_barrier_wait(&gate);
        if (plan->races)
            race((unsigned)plan->thread);
        pthread_barrier_wait(&gate);
        drain(plan->thread, 0, BLOCKS);
    }
    RIPTIDE_SCOPE("after", "fill");
    fill(plan->thread);
    drain(plan->thread, 0, BLOCKS / 4);
    return NULL;
}

/* Adopts a ledger while four threads run. */
static int run_threads(int races)
{
    struct rtd_ledger_handle handle = create();
    pthread_t threads[THREADS];
    struct plan plans[THREADS];
    pthread_barrier_init(&gate, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++) {
        plans[i] = (struct plan){i, races};
        require(pthread_create(&threads[i], NULL, work, &plans[i]) == 0, "no thread");
    }
    pthread_barrier_wait(&gate);
    if (races)
        usleep(20000);
    printf("adopt %d\n", riptide_heap_adopt(handle.fd));
    require(riptide_heap_ledger() != NULL, "nothing is recorded");
    if (races)
        usleep(20000);
    stop_racing = 1;
    pthread_barrier_wait(&gate);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    print_figures(&handle);
    return 0;
}

/* ---- processes ---- */

static int child(const struct rtd_ledger_handle *parents)
{
    require(riptide_heap_ledger() == NULL, "the child records without a ledger");
    {
        /* From where the parent allocates, and blocks of the parent. */
        RIPTIDE_SCOPE("parent", "fill");
        fill(1);
        drain(0, 0, BLOCKS / 4);
    }
    struct rtd_ledger_handle handle = create();
    printf("child_adopt %d\n", riptide_heap_adopt(handle.fd));
    require(riptide_heap_ledger() != parents->ledger, "the child has its parent's ledger");
    {
        RIPTIDE_SCOPE("child", "fill");
        fill(2);
        drain(0, BLOCKS / 4, BLOCKS / 2); /* the parent's: unknown here */
    }
    print_figures(&handle);
    (void)fflush(stdout);
    return 0;
}

static int run_fork(void)
{
    struct rtd_ledger_handle handle = create();
    int status = 1;
    printf("adopt %d\n", riptide_heap_adopt(handle.fd));
    {
        RIPTIDE_SCOPE("parent", "fill");
        fill(0);
    }
    (void)fflush(stdout);
    const pid_t pid = fork();
    require(pid >= 0, "no child");
    if (pid == 0)
        _exit(child(&handle));
    require(waitpid(pid, &status, 0) == pid && status == 0, "the child failed");
    {
        RIPTIDE_SCOPE("parent", "fill");
        fill(3);
    }
    print_figures(&handle);
    return 0;
}

/* The child of a parent that never recorded opens a ledger as if it were the first. */
static int run_prefork(void)
{
    int status = 1;
    const pid_t pid = fork();
    if (pid == 0) {
        struct rtd_ledger_handle handle = create();
        printf("adopt %d\n", riptide_heap_adopt(handle.fd));
        {
            RIPTIDE_SCOPE("child", "fill");
            fill(0);
        }
        print_figures(&handle);
        (void)fflush(stdout);
        _exit(0);
    }
    require(waitpid(pid, &status, 0) == pid && status == 0, "the child failed");
    require(riptide_heap_ledger() == NULL, "the parent records");
    return 0;
}

/* ---- refusals ---- */

static int run_again(void)
{
    struct rtd_ledger_handle first = create();
    struct rtd_ledger_handle second = create();
    printf("first %d\n", riptide_heap_adopt(first.fd));
    const void *const mapped = riptide_heap_ledger();
    printf("second %d\n", riptide_heap_adopt(second.fd));
    printf("same %d\n", mapped != NULL && mapped == riptide_heap_ledger());
    rtd_ledger_close(&second);
    {
        RIPTIDE_SCOPE("after", "fill");
        fill(0);
    }
    print_figures(&first);
    return 0;
}

static int run_refusals(void)
{
    printf("none %d\n", riptide_heap_adopt(-1));
    printf("pipe %d\n", riptide_heap_adopt(STDIN_FILENO));
    const int plain = memfd_create("plain", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    require(plain >= 0 && ftruncate(plain, (off_t)RTD_LEDGER_BYTES) == 0, "no file");
    printf("unsealed %d\n", riptide_heap_adopt(plain));
    struct rtd_ledger_handle wrong = create();
    wrong.ledger->header.version++;
    printf("version %d\n", riptide_heap_adopt(wrong.fd));
    struct rtd_ledger_handle used = create();
    used.ledger->header.agent_state = RTD_AGENT_READY;
    printf("used %d\n", riptide_heap_adopt(used.fd));
    printf("ledger %d\n", riptide_heap_ledger() != NULL);
    struct rtd_ledger_handle good = create();
    printf("good %d\n", riptide_heap_adopt(good.fd));
    printf("state %u %u\n", good.ledger->header.agent_state, good.ledger->header.agent_reason);
    return 0;
}

/* ---- locked memory ---- */

/* What the kernel says of the mapping that begins at an address, "" if there is none. */
static void read_flags(const void *address, char *out, size_t size)
{
    char line[512], start[32];
    FILE *const list = fopen("/proc/self/smaps", "re");
    int inside = 0;
    require(list != NULL, "no smaps");
    (void)snprintf(start, sizeof start, "%lx-", (unsigned long)(uintptr_t)address);
    out[0] = '\0';
    while (fgets(line, sizeof line, list)) {
        if (strncmp(line, start, strlen(start)) == 0)
            inside = 1;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0) {
            (void)snprintf(out, size, "%s", line);
            break;
        }
    }
    (void)fclose(list);
}

/* In a program that locks all it maps, the ledger must stay the sparse file that it is. */
static int run_locked(void)
{
    char flags[512];
    struct rtd_ledger_handle handle = create();
    if (mlockall(MCL_FUTURE) != 0) {
        printf("refused %d\n", errno);
        return 0;
    }
    printf("adopt %d\n", riptide_heap_adopt(handle.fd));
    read_flags(riptide_heap_ledger(), flags, sizeof flags);
    printf("found %d\nlocked %d\n", flags[0] != '\0', strstr(flags, " lo") != NULL);
    return 0;
}

/* ---- blocks of next to nothing ---- */

/* One of the calls that some allocators give less than a granule of the shadow for. No bytes are
 * what is tested. NOLINTBEGIN(clang-analyzer-optin.portability.UnixAPI) */
static void *allocate_least(int i)
{
    void *out = NULL;
    switch (i % 8) {
    case 0:
        return malloc(0);
    case 1:
        return calloc(1, 1);
    case 2:
        return aligned_alloc(64, i % 3 ? 0 : 8);
    case 3:
        return memalign(8, 8);
    case 4:
        require(posix_memalign(&out, 8, 8) == 0, "no memory");
        return out;
    default:
        return realloc(malloc(1), 0);
    }
}
/* NOLINTEND(clang-analyzer-optin.portability.UnixAPI) */

/*
 * Between blocks from before that are as small. Their owners free them first, then ours are freed:
 * where two begin in one granule, one is missed and the other unknown.
 */
static int run_least(void)
{
    long births = 0;
    for (int i = 0; i < BLOCKS; i++)
        kept[0][i] = malloc(8);
    drain(0, BLOCKS / 2, BLOCKS); /* whose places may be given again */
    struct rtd_ledger_handle handle = create();
    printf("adopt %d\n", riptide_heap_adopt(handle.fd));
    for (int thread = 1; thread < THREADS; thread++) {
        RIPTIDE_SCOPE("least", "fill");
        for (int i = 0; i < BLOCKS; i++) {
            kept[thread][i] = allocate_least(i);
            /* What realloc() ended was one as well. */
            births += (kept[thread][i] != NULL) + (i % 8 > 4);
        }
    }
    drain(0, 0, BLOCKS / 2);
    for (int thread = 1; thread < THREADS; thread++)
        drain(thread, 0, BLOCKS);
    printf("births %ld\n", births);
    print_figures(&handle);
    return 0;
}

/* ---- tags ---- */

static int run_tags(void)
{
    char component[RTD_TAG_NAME_BYTES], operation[RTD_TAG_NAME_BYTES];
    struct rtd_ledger_handle handle = create();
    const uint32_t early = riptide_scope_tag("early", "one");
    struct riptide_scope scope, task;
    riptide_scope_push(&scope, early);
    printf("adopt %d\n", riptide_heap_adopt(handle.fd));
    printf("kept %d\n", riptide_scope_tag("early", "one") == early);
    fill(0);
    const uint32_t late = riptide_scope_tag("late", "two");
    riptide_scope_adopt(late, &task);
    fill(1);
    printf("captured %d\n", riptide_scope_capture() == late);
    riptide_scope_restore(&task);
    printf("restored %d\n", riptide_scope_capture() == early);
    riptide_scope_pop(&scope);
    printf("popped %d\n", riptide_scope_capture() == 0);
    printf("names %d", riptide_agent_tag_names(late, component, operation));
    printf(" %s %s\n", component, operation);
    printf("unknown %d\n", riptide_agent_tag_names(late + 1, component, operation));
    print_figures(&handle);
    return 0;
}

/* ---- under a collector ---- */

/* Fixed work of one thread and an exec'd copy of itself: what a collector must count, once. */
static int run_work(char **argv)
{
    struct rtd_ledger_handle handle = create();
    const int adopted = riptide_heap_adopt ? riptide_heap_adopt(handle.fd) : -ENOSYS;
    rtd_ledger_close(&handle);
    {
        RIPTIDE_SCOPE("work", "fill");
        fill(0);
        fill(1);
        drain(0, 0, BLOCKS / 2);
    }
    (void)fprintf(stderr, "adopt %d recording %d\n", adopted,
                  riptide_heap_ledger && riptide_heap_ledger() != NULL);
    if (strcmp(argv[1], "work") == 0)
        return 0;
    argv[1] = (char[]){"work"};
    return execv(argv[0], argv);
}

/* What a process that could adopt a ledger does in between: a million allocations. */
static int run_idle(void)
{
    fill(0);
    drain(0, 0, BLOCKS);
    require(write(STDOUT_FILENO, "<", 1) == 1, "no output");
    for (int i = 0; i < 1000; i++) {
        fill(0);
        drain(0, 0, BLOCKS);
    }
    require(write(STDOUT_FILENO, ">", 1) == 1, "no output");
    return 0;
}

int main(int argc, char **argv)
{
    const char *const what = argc > 1 ? argv[1] : "";
    if (argc > 2 && strcmp(argv[2], "sample") == 0)
        mode = RTD_MODE_SAMPLE;
    if (strcmp(what, "work") == 0 || strcmp(what, "exec") == 0)
        return run_work(argv);
    if (strcmp(what, "idle") == 0)
        return run_idle();
    require(riptide_heap_adopt != NULL, "no agent");
    if (strcmp(what, "threads") == 0)
        return run_threads(0);
    if (strcmp(what, "race") == 0)
        return run_threads(1);
    if (strcmp(what, "fork") == 0)
        return run_fork();
    if (strcmp(what, "prefork") == 0)
        return run_prefork();
    if (strcmp(what, "again") == 0)
        return run_again();
    if (strcmp(what, "refusals") == 0)
        return run_refusals();
    if (strcmp(what, "locked") == 0)
        return run_locked();
    if (strcmp(what, "least") == 0)
        return run_least();
    if (strcmp(what, "tags") == 0)
        return run_tags();
    require(0, "what?");
    return 1;
}
