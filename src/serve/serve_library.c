// SPDX-License-Identifier: Apache-2.0
/*
 * serve_library.c - libmicrohttpd, loaded when the first client comes.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    see serve_library.h
 * Allocates:  what the dynamic loader needs
 * Fails:      see serve_library.h
 */
#include "serve/serve_library.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

struct rtd_serve_library rtd_mhd;

/* POSIX has dlsym() give functions as object pointers; copying says so without a cast. */
static bool find(void *library, const char *name, void *out)
{
    void *const found = dlsym(library, name);

    memcpy(out, &found, sizeof(found));
    return found != NULL;
}

static int load_locked(const char *name)
{
    struct rtd_serve_library table;
    bool complete = true;

    if (rtd_mhd.start_daemon)
        return 0;
    void *const library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return -ELIBACC;
    complete = find(library, "MHD_add_response_header", &table.add_response_header) && complete;
    complete =
        find(library, "MHD_create_response_from_buffer", &table.create_response_from_buffer) &&
        complete;
    complete = find(library, "MHD_destroy_response", &table.destroy_response) && complete;
    complete = find(library, "MHD_get_connection_info", &table.get_connection_info) && complete;
    complete = find(library, "MHD_get_connection_values", &table.get_connection_values) && complete;
    complete =
        find(library, "MHD_lookup_connection_value", &table.lookup_connection_value) && complete;
    complete = find(library, "MHD_queue_response", &table.queue_response) && complete;
    complete = find(library, "MHD_start_daemon", &table.start_daemon) && complete;
    complete = find(library, "MHD_stop_daemon", &table.stop_daemon) && complete;
    if (!complete) {
        dlclose(library);
        return -ELIBACC;
    }
    rtd_mhd = table;
    return 0;
}

int rtd_serve_library_load(const char *name)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

    pthread_mutex_lock(&lock);
    const int result = load_locked(name);
    pthread_mutex_unlock(&lock);
    return result;
}
