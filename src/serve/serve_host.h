// SPDX-License-Identifier: Apache-2.0
/*
 * serve_host.h - which Host headers are ours.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    pure
 * Allocates:  never
 * Fails:      never: what is not understood is refused
 *
 * Why: a web page may point a name of its own at 127.0.0.1 and read us through the visitor's
 * browser (DNS rebinding). The browser then sends that name as Host, so a name we do not know is
 * refused. The port is not compared: it says nothing about the page, and behind `ssh -L` it is
 * another one.
 */
#ifndef RTD_SERVE_HOST_H
#define RTD_SERVE_HOST_H

#include <stdbool.h>

/*
 * host as the client sent it, with or without port; bound is the numeric address we listen on,
 * without brackets. Listening on every address, any numeric address is accepted; listening beyond
 * loopback, also the name of this machine, whole or to the first dot.
 */
bool rtd_serve_host_allowed(const char *host, const char *bound);

#endif
