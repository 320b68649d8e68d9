# SPDX-License-Identifier: Apache-2.0
"""Children have ledgers of their own: figures of parent and child never mix."""
from riptide_test import RiptideTest, main

# Interval 1: practically every allocation is sampled, so that the figures are practically exact.
EVERYTHING = ("--interval", "1")

PROGRAM = r"""
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void *kept[8192];
static int kept_count;

__attribute__((noinline)) static void parent_work(int count)
{
    while (count-- > 0)
        kept[kept_count++] = malloc(1000);
}

__attribute__((noinline)) static void child_work(int count)
{
    while (count-- > 0)
        kept[kept_count++] = malloc(3000);
}

static int shared_child(void *unused)
{
    (void)unused;
    child_work(100);
    return 0;
}

static char stack[65536] __attribute__((aligned(16)));

int main(int argc, char **argv)
{
    const char *how = argv[1];
    int pid;
    if (argc > 2) {
        child_work(200);
        return 0;
    }
    parent_work(1000);
    if (strcmp(how, "fork") == 0) {
        pid = fork();
        if (pid == 0) {
            child_work(500);
            for (int i = 0; i < 1000; i++)
                free(kept[i]);
            _exit(0);
        }
    } else if (strcmp(how, "clone") == 0) {
        pid = (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (pid == 0) {
            child_work(500);
            _exit(0);
        }
    } else if (strcmp(how, "clone_vm") == 0) {
        pid = clone(shared_child, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    } else if (strcmp(how, "vfork") == 0) {
        pid = vfork();
        if (pid == 0) {
            execl(argv[0], argv[0], "x", "worker", (char *)0);
            _exit(127);
        }
    } else if (strcmp(how, "exec") == 0) {
        execl(argv[0], argv[0], "x", "worker", (char *)0);
        return 9;
    } else {
        for (int i = 0; i < 50; i++) {
            pid = fork();
            if (pid == 0) {
                child_work(i);
                _exit(0);
            }
            waitpid(pid, NULL, 0);
        }
        pid = -1;
    }
    if (pid > 0)
        waitpid(pid, NULL, 0);
    parent_work(200);
    return 0;
}
"""


class ForkTest(RiptideTest):
    """One way to make a process a test."""

    def observe(self, how):
        """Run the program; return its report, the first process and the others."""
        program = self.compile("family", PROGRAM)
        report = self.record(program, how, options=EVERYTHING)
        processes = report["processes"]
        first = min(processes, key=lambda process: process["id"])
        return report, first, [p for p in processes if p is not first]

    def assert_totals(self, process, **expected):
        """Compare the figures of a process."""
        for name, value in expected.items():
            found = process["totals"][name]["value"]
            self.assertAlmostEqual(found, value, delta=max(4, value // 500), msg=name)

    def test_forked_child_has_its_own_figures(self):
        _, parent, children = self.observe("fork")
        self.assert_totals(parent, allocations=1200, allocated_bytes=1200000, live_blocks=1200,
                           live_bytes=1200000)
        self.assertEqual(len(children), 1)
        self.assertEqual(children[0]["kind"], "fork")
        self.assertEqual(children[0]["parent_pid"], parent["pid"])
        self.assert_totals(children[0], allocations=500, allocated_bytes=1500000, live_blocks=500,
                           live_bytes=1500000)

    def test_fifty_children_are_fifty_processes(self):
        report, parent, children = self.observe("many")
        self.assert_totals(parent, allocations=1200, live_blocks=1200)
        self.assertEqual(len(children) + report["losses"]["fork_unobserved"], 50)
        self.assertGreaterEqual(len(children), 48)
        made = sorted(process["totals"]["allocations"]["value"] for process in children)
        if len(children) == 50:
            self.assertEqual(made, list(range(50)))

    def test_raw_clone_stays_out_of_the_parents_figures(self):
        _, parent, _ = self.observe("clone")
        self.assert_totals(parent, allocations=1200, allocated_bytes=1200000, live_blocks=1200,
                           live_bytes=1200000)

    def test_child_sharing_memory_counts_as_its_parent(self):
        """The heap is the parent's, so are the blocks."""
        _, parent, children = self.observe("clone_vm")
        self.assertEqual(children, [])
        self.assert_totals(parent, allocations=1300, allocated_bytes=1500000, live_blocks=1300,
                           live_bytes=1500000)

    def test_vfork_and_exec_make_a_second_program(self):
        _, parent, children = self.observe("vfork")
        self.assert_totals(parent, allocations=1200, live_blocks=1200)
        self.assertEqual(len(children), 1)
        self.assertEqual(children[0]["kind"], "exec")
        self.assert_totals(children[0], allocations=200, allocated_bytes=600000, live_blocks=200)

    def test_exec_begins_anew(self):
        report, before, after = self.observe("exec")
        self.assertEqual(len(after), 1)
        self.assertTrue(before["ended_by_exec"])
        self.assert_totals(before, allocations=1000, live_blocks=1000)
        self.assert_totals(after[0], allocations=200, live_blocks=200)
        self.assertEqual(before["pid"], after[0]["pid"])
        self.assertEqual(report["target"]["status"], "exited")


if __name__ == "__main__":
    main()
