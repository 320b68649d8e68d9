// SPDX-License-Identifier: Apache-2.0
/*
 * cli_token.h - the secret that an HTTP client needs for an action, from a file.
 *
 * Runs in:    command line
 * Threads:    one
 * Allocates:  never
 * Fails:      by one line on stderr and an exit status
 *
 * From a file, because arguments and environments can be read by others, and not made up by us,
 * because whoever wants an action must know it without reading our output.
 */
#ifndef RTD_CLI_TOKEN_H
#define RTD_CLI_TOKEN_H

#include "serve/serve_action.h"

/*
 * Reads the first line of the file into token, of RTD_ACTION_TOKEN_MOST + 1 bytes. 0, or
 * RTD_EXIT_USAGE after saying why: unreadable, open to other users, or no token.
 */
int rtd_cli_token_read(const char *path, char *token);

#endif
