// SPDX-License-Identifier: Apache-2.0
/*
 * maps_program.c - maps known sizes from named functions, one way a function.
 *
 * Runs in:    integration tests, under watch
 * Threads:    one, and eight in "threads"
 * Allocates:  address space
 * Fails:      by exit status 2
 *
 * argv[1] is the case; a case that ends in a pause prints "ready" first. Functions are kept apart
 * (no inlining, no tail calls), because a test finds them by name in the stacks.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define APART  __attribute__((noinline))
#define KEEP() __asm__ volatile("" ::: "memory")

enum { PAGE = 4096, QUICK = 5000, THREADS = 8, ROUNDS = 120 };

static void *need(void *at)
{
    if (at == MAP_FAILED) {
        perror("maps_program");
        exit(2);
    }
    KEEP();
    return at;
}

static void expect(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "maps_program: %s\n", what);
        exit(2);
    }
}

APART static char *map_anonymous(size_t pages)
{
    char *const at =
        need(mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    KEEP();
    return at;
}

/* A size that is no whole page: the kernel maps one more. */
APART static char *map_odd(size_t bytes)
{
    char *const at = need(mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    KEEP();
    return at;
}

APART static char *map_shared(size_t pages)
{
    char *const at =
        need(mmap64(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    KEEP();
    return at;
}

APART static char *map_file(int fd, size_t pages, int flags)
{
    char *const at = need(mmap(NULL, pages * PAGE, PROT_READ, flags, fd, 0));
    KEEP();
    return at;
}

/* Takes the middle of somebody else's mapping. */
APART static char *map_over(char *at, size_t pages)
{
    char *const got = need(mmap(at, pages * PAGE, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    KEEP();
    return got;
}

APART static char *map_for_later(size_t pages)
{
    char *const at =
        need(mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    KEEP();
    return at;
}

APART static char *grow(char *at, size_t old_pages, size_t pages)
{
    char *const got = need(mremap(at, old_pages * PAGE, pages * PAGE, MREMAP_MAYMOVE));
    KEEP();
    return got;
}

APART static char *move_to(char *at, size_t old_pages, size_t pages, char *to)
{
    char *const got =
        need(mremap(at, old_pages * PAGE, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to));
    expect(got == to, "MREMAP_FIXED went elsewhere");
    KEEP();
    return got;
}

APART static void *break_up(intptr_t bytes)
{
    void *const before = sbrk(bytes);
    expect(before != (void *)-1, "sbrk");
    KEEP();
    return before;
}

APART static void break_to(void *end)
{
    expect(brk(end) == 0, "brk");
    KEEP();
}

static void expect_failures(void)
{
    errno = 0;
    expect(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED &&
               errno == EINVAL,
           "mmap of nothing");
    errno = 0;
    expect(munmap((void *)1, PAGE) == -1 && errno == EINVAL, "munmap of an odd address");
    errno = 0;
    expect(mremap((void *)PAGE, PAGE, 2 * PAGE, 0) == MAP_FAILED && errno == EFAULT,
           "mremap of nothing");
    errno = 0;
    expect(sbrk(INTPTR_MAX) == (void *)-1 && errno == ENOMEM, "sbrk of everything");
    errno = EDOM;
    char *const at = map_for_later(1);
    expect(errno == EDOM && munmap(at, PAGE) == 0 && errno == EDOM, "errno of success");
}

/* What the test expects to stand at the end is said beside each line. */
static void run_kinds(const char *path)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    expect(fd >= 0 && ftruncate(fd, 64 * PAGE) == 0, "file");
    char *const big = map_anonymous(1000);
    map_over(big + 100 * PAGE, 50);                            /* map_over 50 */
    expect(munmap(big + 800 * PAGE, 200 * PAGE) == 0, "tail"); /* map_anonymous 750, 2 pieces */
    expect(munmap(big + 600 * PAGE, 10 * PAGE) == 0, "hole");  /* map_anonymous 740, 3 pieces */
    map_odd(5 * PAGE + 1);                                     /* map_odd 6 */
    map_shared(33);                                            /* map_shared 33 */
    map_file(fd, 17, MAP_PRIVATE);                             /* map_file file 17 */
    map_file(fd, 21, MAP_SHARED);                              /* map_file shared_file 21 */
    expect(munmap(map_file(fd, 64, MAP_PRIVATE), 64 * PAGE) == 0, "file gone");
    char *const seed = map_for_later(8);
    char *const grown = grow(seed, 8, 400); /* grow 400 */
    (void)grown;
    char *const place = map_for_later(30);
    move_to(map_for_later(10), 10, 10, place); /* move_to 10, map_for_later 20 */
    grow(map_for_later(90), 90, 45);           /* grow + 45 */
    expect_failures();
    close(fd);
}

static void run_break(void)
{
    char *const start = break_up(100000); /* break_up 100000 */
    break_up(50000);                      /* break_up 150000 */
    break_up(-30000);                     /* break_up 120000 */
    expect((char *)sbrk(0) == start + 120000, "break");
    break_to(start + 200000); /* break_to 80000 */
    break_to(start + 190000); /* break_to 70000 */
}

APART static char *map_quick(void)
{
    char *const at =
        need(mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    KEEP();
    return at;
}

/* Faster than anybody reads: mapped all, then all unmapped, then a few that stay. */
static void run_quick(void)
{
    static char *places[QUICK];

    map_anonymous(300);
    for (int i = 0; i < QUICK; i++)
        places[i] = map_quick();
    for (int i = 0; i < QUICK; i++)
        expect(munmap(places[i], 2 * PAGE) == 0, "munmap");
    map_shared(44);
}

APART static void *map_in_thread(void)
{
    char *const at =
        need(mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    KEEP();
    return at;
}

/* Threads are given each other's addresses at once: the order of events must hold. */
static void *thread_main(void *context)
{
    void **const left = context;

    for (int i = 0; i < ROUNDS; i++) {
        void *const at = map_in_thread();
        if (i % 2 == 1)
            usleep(20000);
        if (i == ROUNDS - 1)
            *left = at;
        else
            expect(munmap(at, 16 * PAGE) == 0, "munmap");
    }
    return NULL;
}

static void run_threads(void)
{
    pthread_t threads[THREADS];
    void *left[THREADS];

    for (int i = 0; i < THREADS; i++)
        expect(pthread_create(&threads[i], NULL, thread_main, &left[i]) == 0, "thread");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

APART static char *map_in_child(size_t pages)
{
    char *const at =
        need(mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    KEEP();
    return at;
}

static void run_children(void)
{
    int status = 0;

    map_anonymous(70);
    const pid_t child = fork();
    if (child == 0) {
        map_in_child(900);
        _exit(0);
    }
    expect(waitpid(child, &status, 0) == child && status == 0, "fork");
    /* NOLINTBEGIN(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork): tested */
    const pid_t light = vfork();
    if (light == 0) {
        map_shared(5); /* in the parent's address space */
        _exit(0);
    }
    /* NOLINTEND(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork) */
    expect(waitpid(light, &status, 0) == light && status == 0, "vfork");
}

static sigjmp_buf back;
static volatile sig_atomic_t may_jump, signals;

/* NOLINTBEGIN(bugprone-signal-handler,cert-sig30-c): what such a handler does is what is tested */
/* Allocates and maps wherever it interrupts; every seventh time it does not return. */
static void handle_alarm(int number)
{
    const int saved = errno;
    char *const at =
        mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)number;
    if (at != MAP_FAILED) {
        *at = 1;
        munmap(at, 3 * PAGE);
    }
    errno = saved;
    if (++signals % 7 == 0 && may_jump)
        siglongjmp(back, 1);
}
/* NOLINTEND(bugprone-signal-handler,cert-sig30-c) */

/* Signals at any place inside the hooks; afterwards everything must work as before. */
static void run_signals(void)
{
    const struct itimerval often = {{0, 200}, {0, 200}};
    const struct itimerval never = {{0, 0}, {0, 0}};
    volatile int rounds = 0;

    signal(SIGALRM, handle_alarm);
    expect(setitimer(ITIMER_REAL, &often, NULL) == 0, "timer");
    while (rounds < 4000) {
        if (sigsetjmp(back, 1) != 0)
            continue;
        may_jump = 1;
        while (rounds < 4000) {
            void *const at = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (at != MAP_FAILED)
                munmap(at, PAGE);
            rounds++;
        }
    }
    may_jump = 0;
    setitimer(ITIMER_REAL, &never, NULL);
    expect(signals > 0, "no signal came");
    usleep(150000); /* until what came before has been read */
    map_anonymous(77);
    for (int i = 0; i < 40; i++) {
        void *volatile block = malloc(1 << 20); /* kept: the heap is sampled as before */
        expect(block != NULL, "malloc");
    }
}

int main(int argc, char **argv)
{
    const char *const name = argc > 1 ? argv[1] : "";

    if (strcmp(name, "kinds") == 0)
        run_kinds(argc > 2 ? argv[2] : "maps_program.data");
    else if (strcmp(name, "break") == 0)
        run_break();
    else if (strcmp(name, "quick") == 0)
        run_quick();
    else if (strcmp(name, "threads") == 0)
        run_threads();
    else if (strcmp(name, "signals") == 0)
        run_signals();
    else if (strcmp(name, "children") == 0)
        run_children();
    else
        expect(0, "no such case");
    if (argc > 2 && strcmp(argv[argc - 1], "wait") == 0) {
        puts("ready");
        fflush(stdout);
        pause();
    }
    return 0;
}
