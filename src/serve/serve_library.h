// SPDX-License-Identifier: Apache-2.0
/*
 * serve_library.h - libmicrohttpd, loaded when the first client comes.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    the table is written once, by rtd_serve_library_load(), under a lock, before any
 *             other use by whoever called that
 * Allocates:  what the dynamic loader needs
 * Fails:      with -ELIBACC when the library, or a function of it, is not there
 *
 * Why not linked: it brings nine more libraries (for TLS, which is not used here), and to load and
 * relocate them takes 3 ms of processor time at each start. That is a third of what watching a
 * short program costs in all, and hardly any run is looked at by HTTP. With the library loaded, the
 * room calls it through this table of the same types; nothing else differs.
 */
#ifndef RTD_SERVE_LIBRARY_H
#define RTD_SERVE_LIBRARY_H

#include <microhttpd.h>

/* The functions in use, by their names without "MHD_". */
struct rtd_serve_library {
    __typeof__(&MHD_add_response_header) add_response_header;
    __typeof__(&MHD_create_response_from_buffer) create_response_from_buffer;
    __typeof__(&MHD_destroy_response) destroy_response;
    __typeof__(&MHD_get_connection_info) get_connection_info;
    __typeof__(&MHD_get_connection_values) get_connection_values;
    __typeof__(&MHD_lookup_connection_value) lookup_connection_value;
    __typeof__(&MHD_queue_response) queue_response;
    __typeof__(&MHD_start_daemon) start_daemon;
    __typeof__(&MHD_stop_daemon) stop_daemon;
};

/* All NULL until rtd_serve_library_load() has returned 0. */
extern struct rtd_serve_library rtd_mhd;

/* What rtd_serve_library_load() is given: the name under which every library of this API is found.
 */
#define RTD_SERVE_LIBRARY_NAME "libmicrohttpd.so.12"

/*
 * Loads the library `name` and fills rtd_mhd; once loaded, does nothing. 0 or -ELIBACC; then
 * nothing is changed and it may be tried again. The library stays loaded.
 */
int rtd_serve_library_load(const char *name);

#endif
