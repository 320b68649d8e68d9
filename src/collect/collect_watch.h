// SPDX-License-Identifier: Apache-2.0
/*
 * collect_watch.h - the slow checks of a process: is it blind, sandboxed, has it gone elsewhere.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    the collector's loop
 * Allocates:  never for long
 * Fails:      never; what cannot be read is not concluded from
 *
 * Nothing observed is ever reported clean because nothing was seen: a process that has no agent,
 * or an agent that sees nothing, is called blind and the reason is looked for in its program.
 */
#ifndef RTD_COLLECT_WATCH_H
#define RTD_COLLECT_WATCH_H

#include "collect/collect_process.h"

/* The checks of one process, about once a second: agent state, seccomp. */
void rtd_watch_check(struct rtd_collect_process *process, uint64_t now_ns);

/* Takes the blocks of dead threads back, each few seconds, and oftener when blocks run short. */
void rtd_watch_threads(struct rtd_collect_process *process, uint64_t now_ns);

/*
 * Concludes from the agent's state in the ledger whether the process is blind. `last`: it is dead,
 * no later answer will come.
 */
void rtd_watch_agent(struct rtd_collect_process *process, uint64_t now_ns, bool last);

/*
 * True when the process runs another executable than the one that said hello, and has for longer
 * than a hello takes. The path of it is in process->other_path from the first sight on.
 */
bool rtd_watch_other_program(struct rtd_collect_process *process, uint64_t now_ns);

/*
 * Why a program that runs in pid (or at path, if the process is gone) cannot be seen, one sentence
 * into reason.
 */
void rtd_watch_explain(pid_t pid, const char *path, char *reason, size_t size);

/* Children of pid's main thread, as the kernel lists them, at most max; their number. */
unsigned rtd_watch_children(pid_t pid, pid_t *children, unsigned max);

#endif
