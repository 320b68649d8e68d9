// SPDX-License-Identifier: Apache-2.0
/*
 * cli_token.c - the secret that an HTTP client needs for an action, from a file.
 *
 * Runs in:    command line
 * Threads:    one
 * Allocates:  never
 * Fails:      see cli_token.h
 */
#include "cli/cli_token.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli_options.h"
#include "collect/collect_say.h"

static int refuse(const char *path, const char *reason)
{
    rtd_collect_say("--token-file %.200s: %s", path, reason);
    return RTD_EXIT_USAGE;
}

int rtd_cli_token_read(const char *path, char *token)
{
    char text[RTD_ACTION_TOKEN_MOST + 2];
    struct stat info;
    /* Not blocking: a pipe without a writer would keep the program from starting. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return refuse(path, strerror(errno));
    const int looked = fstat(fd, &info);
    const ssize_t got = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (looked < 0 || got < 0)
        return refuse(path, "it cannot be read");
    if (info.st_mode & (S_IRWXG | S_IRWXO))
        return refuse(path, "other users may read it; chmod 600 it and use a new token");
    text[got] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (!rtd_action_token_fits(text))
        return refuse(path, "its first line must be a token of 16 to 128 printable characters "
                            "without blanks, such as openssl rand -hex 32 makes");
    memcpy(token, text, strlen(text) + 1);
    return 0;
}
