// SPDX-License-Identifier: Apache-2.0
/*
 * gauntlet_plugins.c - shared objects that come, allocate and go.
 *
 * Runs in:    the program under test
 * Threads:    three in the loader storm
 * Allocates:  through plugins
 * Fails:      through CHECK
 */
#include "gauntlet.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef void *(*make_fn)(size_t size, int depth);
typedef void (*drop_fn)(void *p);

static void *symbol(void *handle, const char *name)
{
    void *const found = dlsym(handle, name);
    REQUIRE(found != NULL);
    return found;
}

/* The plugin's blocks outlive it: freed here, after its code is gone. */
static int plugin_comes_and_goes(void)
{
    void *kept[200];
    void *padding[200];
    for (int i = 0; i < 200; i++) {
        void *const handle = dlopen(gauntlet_beside("gauntlet_plugin.so"), RTLD_NOW);
        REQUIRE(handle != NULL);
        const make_fn make = (make_fn)(uintptr_t)symbol(handle, "gauntlet_plugin_make");
        kept[i] = make(50 + (size_t)i, i % 7);
        CHECK(dlclose(handle) == 0);
        /* Takes the place of the plugin, or not: the next one comes to another address. */
        padding[i] = mmap(NULL, 4096u * (unsigned)(1 + i % 9), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(padding[i], 0x90, 4096);
        gauntlet_churn(20, (uint64_t)i);
    }
    for (int i = 0; i < 200; i++) {
        CHECK(*(const unsigned char *)kept[i] == 0x42);
        free(kept[i]);
        munmap(padding[i], 4096u * (unsigned)(1 + i % 9));
    }
    return 0;
}

static int deepbind_plugin(void)
{
    void *const handle = dlopen(gauntlet_beside("gauntlet_plugin.so"), RTLD_NOW | RTLD_DEEPBIND);
    REQUIRE(handle != NULL);
    const make_fn make = (make_fn)(uintptr_t)symbol(handle, "gauntlet_plugin_make");
    const drop_fn drop = (drop_fn)(uintptr_t)symbol(handle, "gauntlet_plugin_drop");
    for (size_t i = 0; i < 2000; i++) {
        void *const theirs = make(i % 3000 + 1, 1);
        void *const ours = malloc(i % 3000 + 1);
        free(theirs);
        drop(ours);
    }
    CHECK(dlclose(handle) == 0);
    return 0;
}

/* dlclose() of rubbish fails as it always did, with the same message. */
static int failing_loader_calls(void)
{
    CHECK(dlopen("/nonexistent/plugin.so", RTLD_NOW) == NULL);
    printf("%s\n", dlerror());
    void *const handle = dlopen(NULL, RTLD_NOW);
    REQUIRE(handle != NULL);
    CHECK(dlsym(handle, "no_such_symbol_here") == NULL);
    const char *const message = dlerror();
    REQUIRE(message != NULL);
    CHECK(strstr(message, "no_such_symbol_here") != NULL);
    CHECK(dlclose(handle) == 0 && dlerror() == NULL);
    return 0;
}

/* ---- the storm that deadlocks profilers with a lock in malloc ---- */

static atomic_bool stop;

static int count_object(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)info;
    (void)size;
    free(malloc(200));
    ++*(unsigned *)data;
    return 0;
}

static void *iterate_objects(void *argument)
{
    (void)argument;
    while (!atomic_load(&stop)) {
        unsigned count = 0;
        dl_iterate_phdr(count_object, &count);
        CHECK(count > 2);
    }
    return NULL;
}

static void *open_plugins(void *argument)
{
    char path[512];
    (void)argument;
    snprintf(path, sizeof path, "%s", gauntlet_beside("gauntlet_plugin.so"));
    while (!atomic_load(&stop)) {
        void *const handle = dlopen(path, RTLD_NOW);
        const make_fn make = (make_fn)(uintptr_t)symbol(handle, "gauntlet_plugin_make");
        free(make(100, 3));
        CHECK(dlclose(handle) == 0);
    }
    return NULL;
}

static void *allocate(void *argument)
{
    (void)argument;
    while (!atomic_load(&stop))
        gauntlet_churn(100, 2);
    return NULL;
}

static int loader_storm(void)
{
    pthread_t threads[3];
    pthread_create(&threads[0], NULL, iterate_objects, NULL);
    pthread_create(&threads[1], NULL, open_plugins, NULL);
    pthread_create(&threads[2], NULL, allocate, NULL);
    usleep(1500000);
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    return 0;
}

/* The library this program is linked with allocates before main() and after it. */
extern int gauntlet_library_early(void);

static int library_constructors(void)
{
    printf("early blocks whole: %d\n", gauntlet_library_early());
    return 0;
}

const struct gauntlet_case gauntlet_plugin_cases[] = {
    {"plugin_comes_and_goes", plugin_comes_and_goes}, {"deepbind_plugin", deepbind_plugin},
    {"failing_loader_calls", failing_loader_calls},   {"loader_storm", loader_storm},
    {"library_constructors", library_constructors},   {NULL, NULL},
};
