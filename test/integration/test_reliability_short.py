# SPDX-License-Identifier: Apache-2.0
"""Kills at any moment: of the program, of the collector; and a full disk. Short form.

The long form is tools/reliability, which runs the same storms with more rounds.
"""
import json
import os
import random
import signal
import subprocess
import time

from riptide_test import BUILD, RIPTIDE, RiptideTest, main, wait_for

GAUNTLET = os.path.join(BUILD, "test", "support", "gauntlet")
TARGET_KILLS = int(os.environ.get("RELIABILITY_KILLS", "30"))
COLLECTOR_KILLS = max(6, TARGET_KILLS // 5)
SEED = int(os.environ.get("RELIABILITY_SEED", "1"))

# Holds 5000 blocks of 1000 bytes, says so, and churns until it is killed.
HOLDER = r"""
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static void *held[5000];
    for (int i = 0; i < 5000; i++)
        held[i] = malloc(1000);
    puts("holding");
    fflush(stdout);
    for (int i = 0; argc < 2 || i < atoi(argv[1]); i++) {
        void *p = malloc(10 + i % 500);
        if (i % 1000 == 0)
            usleep(100);
        free(p);
    }
    puts("done");
    return argc < 2 ? 0 : 17;
}
"""


class KillTest(RiptideTest):
    """What a kill may do: end the killed process, and nothing else."""

    def setUp(self):
        super().setUp()
        self.random = random.Random(SEED)
        self.holder = self.compile("holder", HOLDER)

    def observe(self, *program, options=("--interval", "512")):
        """Start a program under observation; return the collector's process."""
        return self.start("run", "--quiet", "--listen", "none", "-o", self.path("out.riptide"),
                          *options, "--", *program)

    def test_target_killed_at_random_instants(self):
        """Every recording opens, names the signal, and holds what the program held."""
        for round_number in range(TARGET_KILLS):
            with self.subTest(round=round_number):
                process = self.observe(self.holder)
                self.assertEqual(process.stdout.readline(), "holding\n")
                target = self.child_of(process)
                time.sleep(self.random.random() * 0.05)
                os.kill(target, signal.SIGKILL)
                _, errors = process.communicate(timeout=30)
                self.assertEqual(process.returncode, 128 + signal.SIGKILL, errors)
                report = self.report(self.path("out.riptide"))
                self.assertEqual(report["target"]["status"], "killed")
                self.assertEqual(report["target"]["signal"], signal.SIGKILL)
                live = report["totals"]["live_bytes"]
                self.assertGreater(live["value"], 4600000)
                self.assertLess(live["value"], 5400000)
                self.assertLessEqual(live["low"], live["value"])
                self.assertGreaterEqual(live["high"], live["value"])
                os.unlink(self.path("out.riptide"))

    def test_target_killed_while_it_starts(self):
        for round_number in range(TARGET_KILLS // 3):
            with self.subTest(round=round_number):
                process = self.observe(self.holder)
                target = self.child_of(process, "holder")
                time.sleep(self.random.random() * 0.004)
                os.kill(target, signal.SIGKILL)
                process.communicate(timeout=30)
                self.assertEqual(process.returncode, 128 + signal.SIGKILL)
                report = self.report(self.path("out.riptide"))
                self.assertIn(report["target"]["status"], ("killed", "blind"))
                os.unlink(self.path("out.riptide"))

    def kill_collector(self, seconds):
        """Kill the collector after some seconds; the program must end by itself. Return report."""
        process = self.observe(self.holder, "12000000")
        self.assertEqual(process.stdout.readline(), "holding\n")
        target = self.child_of(process)
        time.sleep(seconds)
        process.kill()
        process.wait(timeout=10)
        self.assertEqual(process.stdout.readline(), "done\n")
        wait_for(lambda: not os.path.exists(f"/proc/{target}"), "the program ended", 30)
        run = self.riptide("report", self.path("out.riptide"), "--json")
        os.unlink(self.path("out.riptide"))
        return run

    def test_collector_killed(self):
        """The program goes on to its own end; the recording holds what was seen until then."""
        for round_number in range(COLLECTOR_KILLS):
            with self.subTest(round=round_number):
                run = self.kill_collector(1.5 + self.random.random())
                self.assertEqual(run.returncode, 0, run.stderr)
                report = json.loads(run.stdout)
                self.assertGreater(report["totals"]["live_bytes"]["value"], 4600000)
                self.assertFalse(report["complete"])

    def test_collector_killed_at_once(self):
        """Before the first figures were written: one clear line, if there is nothing to show."""
        for round_number in range(3):
            with self.subTest(round=round_number):
                run = self.kill_collector(self.random.random() * 0.3)
                if run.returncode != 0:
                    self.assertEqual(len(run.stderr.splitlines()), 1, run.stderr)

    def test_collector_killed_under_forking_program(self):
        """Children that ask nobody for a ledger are pass-throughs, and in time."""
        process = self.observe(GAUNTLET, "fork_storm", options=())
        time.sleep(0.3)
        process.kill()
        self.assertIn("500 children", process.stdout.read())

    def test_collector_stopped_under_forking_program(self):
        """A collector that does not answer costs a child a bounded time, and nothing else."""
        source = r"""
            #include <stdio.h>
            #include <stdlib.h>
            #include <sys/wait.h>
            #include <unistd.h>
            int main(void)
            {
                int good = 0, status;
                puts("ready");
                fflush(stdout);
                getppid();
                usleep(300000);
                for (int i = 0; i < 5; i++) {
                    pid_t pid = fork();
                    if (pid == 0) {
                        free(malloc(100));
                        _exit(i);
                    }
                    waitpid(pid, &status, 0);
                    good += WEXITSTATUS(status) == i;
                }
                printf("good %d\n", good);
                return 0;
            }"""
        process = self.observe(self.compile("forker", source), options=())
        self.assertEqual(process.stdout.readline(), "ready\n")
        os.kill(process.pid, signal.SIGSTOP)
        began = time.monotonic()
        self.assertEqual(process.stdout.readline(), "good 5\n")
        self.assertLess(time.monotonic() - began, 10)
        os.kill(process.pid, signal.SIGCONT)
        process.communicate(timeout=30)
        self.assertEqual(process.returncode, 0)

    def test_disk_full(self):
        """The recording is on a full disk: the program does not notice, the report is honest."""
        mount = self.path("small")
        os.mkdir(mount)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", mount],
                          stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest("cannot mount a tmpfs")
        self.addCleanup(subprocess.run, ["umount", "-l", mount], check=False)
        recording = os.path.join(mount, "out.riptide")
        run = subprocess.run([RIPTIDE, "run", "--listen", "none", "-o", recording, "--interval",
                              "512", "--", self.holder, "200000"], cwd=self.folder,
                             stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                             check=False)
        self.assertEqual(run.returncode, 17, run.stderr)
        self.assertEqual(run.stdout, "holding\ndone\n")
        self.assertRegex(run.stderr, r"(?i)space|full|not written|lost")
        read = self.riptide("report", recording, "--json")
        if read.returncode != 0:
            self.assertEqual(len(read.stderr.splitlines()), 1, read.stderr)


if __name__ == "__main__":
    main()
