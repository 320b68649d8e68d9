#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""riptide report: recordings whole and damaged, processes that run, and wrong usage."""
import json
import os
import random
import signal
import subprocess
import sys

from riptide_test import RIPTIDE, SEEDED, RiptideTest, main

HOLD = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static void *keep_small(void) { return malloc(1000); }
static void *keep_large(void) { return malloc(50000); }
int main(int argc, char **argv) {
    static void *volatile kept[20000];
    for (int i = 0; i < 20000; i++) kept[i] = i % 20 ? keep_small() : keep_large();
    puts("ready"); fflush(stdout);
    sleep(argc > 1 ? (unsigned)atoi(argv[1]) : 0);
    return 0;
}
"""
LIVE_BYTES = 19000 * 1000 + 1000 * 50000


class Recording(RiptideTest):
    """A recording, as text and as data."""

    def setUp(self):
        super().setUp()
        self.program = self.compile("hold", HOLD)
        self.file = self.path("hold.riptide")
        run = self.riptide("run", *SEEDED, "-o",
                           self.file, "--", self.program)
        self.assertEqual(run.returncode, 0)

    def test_json_has_the_keys_of_the_contract(self):
        report = self.report(self.file)
        self.assertEqual(report["schema"], "riptide.report/1")
        for key in ("target", "mode", "interval_bytes", "allocator", "totals", "sites",
                    "components", "memory", "leaks", "allocations", "losses"):
            self.assertIn(key, report)
        self.assertEqual(report["interval_bytes"], 65536)
        self.assertEqual(report["allocator"], "glibc")
        self.assertEqual(report["target"]["exit_code"], 0)
        for key in ("live_bytes", "live_blocks", "allocated_bytes", "allocations",
                    "peak_live_bytes"):
            estimate = report["totals"][key]
            self.assertLessEqual(estimate["low"], estimate["value"])
            self.assertLessEqual(estimate["value"], estimate["high"])

    def test_the_truth_lies_in_the_interval_and_sites_add_up(self):
        report = self.report(self.file)
        live = report["totals"]["live_bytes"]
        self.assert_near(live, LIVE_BYTES)
        for part in ("sites", "components"):
            self.assertEqual(sum(entry["live_bytes"]["value"] for entry in report[part]),
                             live["value"])
        largest = report["sites"][0]
        self.assertEqual(largest["function"], "keep_large")
        self.assertTrue(largest["file"].endswith("hold.c"))
        self.assertEqual(largest["line"], 6)

    def test_text_names_places(self):
        run = self.riptide("report", self.file)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        self.assertIn("hold.c:6", run.stdout)
        self.assertNotIn("\033", run.stdout)
        for by in ("site", "component", "operation", "module"):
            run = self.riptide("report", self.file, "--by", by, "--top", "1")
            self.assertEqual((run.returncode, run.stderr), (0, ""))
            self.assertIn("hold", run.stdout)

    def test_a_truncated_recording_is_read_up_to_the_damage(self):
        with open(self.file, "rb") as handle:
            whole = handle.read()
        shown = 0
        for size in sorted({0, 1, 7, len(whole) - 1} |
                           {len(whole) * part // 12 for part in range(12)}):
            with open(self.path("cut"), "wb") as handle:
                handle.write(whole[:size])
            run = self.riptide("report", self.path("cut"), "--json")
            self.assertIn(run.returncode, (0, 1, 2), run.stderr)
            self.assertLessEqual(len(run.stderr.splitlines()), 2)
            if run.returncode == 0:
                shown += 1
                self.assertFalse(json.loads(run.stdout)["complete"])
            else:
                self.assertTrue(run.stderr.startswith("riptide: "))
        self.assertGreater(shown, 0)

    def test_a_corrupt_recording_never_crashes_the_reader(self):
        with open(self.file, "rb") as handle:
            whole = bytearray(handle.read())
        dice = random.Random(7)
        for _ in range(25):
            bad = bytearray(whole)
            bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
            with open(self.path("bad"), "wb") as handle:
                handle.write(bad)
            run = self.riptide("report", self.path("bad"), "--json")
            self.assertIn(run.returncode, (0, 1, 2), run.stderr)
            if run.returncode == 0:
                json.loads(run.stdout)
                self.assertRegex(run.stderr, r"\A(riptide: .*byte \d+.*\n)?\Z")


class Process(RiptideTest):
    """A process under a running collector."""

    def test_the_program_a_child_and_the_collector_can_be_asked(self):
        program = self.compile("hold", HOLD)
        run = self.start("run", *SEEDED, "--", "sh",
                         "-c", f"{program} 30; exit 0")
        run.stdout.readline()
        shell = self.child_of(run, "sh")
        with open(f"/proc/{shell}/task/{shell}/children", encoding="ascii") as handle:
            child = int(handle.read().split()[0])
        report = self.report(str(child))
        self.assertEqual(report["target"]["pid"], child)
        self.assertEqual(report["target"]["status"], "running")
        live = report["totals"]["live_bytes"]
        self.assert_near(live, LIVE_BYTES)
        self.assertEqual(report["sites"][0]["function"], "keep_large")
        for pid in (shell, run.pid):
            self.assertEqual(self.report(str(pid))["target"]["pid"], shell)
        text = self.riptide("report", str(child))
        self.assertIn("hold.c:6", text.stdout)
        os.kill(child, signal.SIGTERM)
        self.assertEqual(run.wait(10), 0)

    def test_many_may_ask_at_once(self):
        run = self.start("run", "--quiet", "--listen", "none", "--", "sleep", "30")
        child = self.child_of(run, "sleep")
        asking = [subprocess.Popen([RIPTIDE, "report", str(child), "--json"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                  for _ in range(20)]
        for process in asking:
            out, err = process.communicate(timeout=30)
            self.assertEqual((process.returncode, err), (0, ""))
            self.assertEqual(json.loads(out)["target"]["pid"], child)

    def test_a_process_that_overwrote_its_environment(self):
        program = self.compile("title", """
#include <string.h>
#include <unistd.h>
extern char **environ;
int main(void) {
    for (char **at = environ; *at; at++) memset(*at, 'x', strlen(*at));
    (void)!write(1, "ready\\n", 6);
    sleep(30);
}
""")
        run = self.start("run", "--quiet", "--listen", "none", "--", program)
        run.stdout.readline()
        child = self.child_of(run, "title")
        self.assertEqual(self.report(str(child))["target"]["pid"], child)

    def test_another_user_is_not_told(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to be somebody else")
        run = self.start("run", "--quiet", "--listen", "none", "--", "sleep", "30")
        self.child_of(run, "sleep")
        ask = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                              RIPTIDE, "report", str(run.pid)],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        self.assertNotEqual(ask.returncode, 0)
        self.assertEqual(ask.stdout, "")

    def test_a_process_nobody_observes(self):
        run = self.riptide("report", str(os.getpid()))
        self.assertEqual(run.returncode, 2)
        self.assertIn("riptide run", run.stderr)
        self.assertEqual(len(run.stderr.splitlines()), 1)


class WrongUsage(RiptideTest):
    """One clear line and exit 2."""

    def test_wrong_usage(self):
        text = self.write("text", "this is no recording\n" * 100)
        for arguments, word in (((), "recording"), (("/no/such/file",), "/no/such/file"),
                                ((text,), "text"), ((self.folder,), self.folder),
                                (("999999999999",), "999999999999"),
                                ((text, text), "one"), ((text, "--by", "colour"), "colour"),
                                ((text, "--top", "none"), "none"), ((text, "--no"), "--no")):
            run = self.riptide("report", *arguments)
            self.assertEqual(run.returncode, 2, arguments)
            self.assertEqual(run.stdout, "")
            self.assertEqual(len(run.stderr.splitlines()), 1, run.stderr)
            self.assertIn(word, run.stderr)

    def test_what_is_no_file_is_named_as_such(self):
        os.mkfifo(self.path("fifo"))
        for name in (self.path("fifo"), "/dev/null"):
            run = self.riptide("report", name)
            self.assertEqual((run.returncode, run.stderr),
                             (2, f"riptide: {name} is not a regular file\n"))

    def test_help_and_version(self):
        for arguments in (("--help",), ("run", "--help"), ("report", "--help"),
                          ("doctor", "--help"), ("--version",)):
            run = self.riptide(*arguments)
            self.assertEqual((run.returncode, run.stderr), (0, ""))
            self.assertIn("riptide", run.stdout)


if __name__ == "__main__":
    sys.exit(main())
