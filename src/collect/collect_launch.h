// SPDX-License-Identifier: Apache-2.0
/*
 * collect_launch.h - finds and starts the program, changing nothing about it but two variables.
 *
 * Runs in:    `riptide run`, before the collector's loop
 * Threads:    the caller must have started none when rtd_launch_fork() is called
 * Allocates:  strings and the environment array; a child process
 * Fails:      by a negative errno; a child that was forked and not let go ends by itself
 *
 * The child is forked early and waits for the word: its pid is needed for the recording's name,
 * and it must be forked before the collector has threads, changed signals or a server. It inherits
 * the caller's descriptors, signal mask and dispositions, limits and environment as they were.
 */
#ifndef RTD_COLLECT_LAUNCH_H
#define RTD_COLLECT_LAUNCH_H

#include <stddef.h>
#include <sys/types.h>

struct rtd_launch {
    pid_t pid;
    int go_fd;    /* write end: one byte lets the child exec */
    int error_fd; /* read end: the child's errno if exec failed, end of file if not */
};

/*
 * Finds the file that execvp() would run. 0 with the path in out, -ENOENT (a shell says 127), or
 * -EACCES, -EISDIR ... (126).
 */
int rtd_launch_find(const char *name, char *out, size_t size);

/*
 * Finds libriptide-agent.so: RIPTIDE_AGENT, the build tree or the installed tree around our own
 * executable. 0; -ENOENT; -EINVAL when the path cannot stand in LD_PRELOAD (blank or colon). out
 * holds the path in question.
 */
int rtd_launch_agent(char *out, size_t size);

/*
 * The caller's environment with LD_PRELOAD (agent first) and RIPTIDE_SOCKET. One allocation, freed
 * by free(); NULL when memory is short.
 */
char **rtd_launch_environment(const char *agent, const char *socket_name);

/* Forks the child, which waits. 0 or a negative errno. argv and envp are borrowed for the call. */
int rtd_launch_fork(struct rtd_launch *launch, const char *path, char *const argv[],
                    char *const envp[]);

/* Lets the child exec and waits for the outcome: 0 or the negative errno of execve(). */
int rtd_launch_go(struct rtd_launch *launch);

/* Tells a waiting child to end, and reaps it. */
void rtd_launch_cancel(struct rtd_launch *launch);

#endif
