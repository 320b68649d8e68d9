// SPDX-License-Identifier: Apache-2.0
/*
 * manager_serve.h - the endpoints of a manager.
 *
 * Runs in:    a program that links libriptide
 * Threads:    no shared state
 * Allocates:  the server
 * Fails:      by a negative errno or RIPTIDE_E_NO_HTTP
 */
#ifndef RTD_MANAGER_SERVE_H
#define RTD_MANAGER_SERVE_H

#include "manager/manager_handle.h"
#include "serve/serve_http.h"

/* 0 when the HTTP library can be had, else RIPTIDE_E_NO_HTTP. May load it. */
int rtd_manager_server_check(void);

/* Listens as the options say; *out is the caller's. 0 or a negative errno. */
int rtd_manager_server_open(const struct riptide_options *options, struct rtd_server **out);

/* The routes of components that are off, as rtd_server_options has them. */
uint32_t rtd_manager_hidden_routes(const struct riptide_options *options);

#endif
