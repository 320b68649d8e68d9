# SPDX-License-Identifier: Apache-2.0
"""The domain of mappings: mmap, munmap, mremap and the program break by the function that called.

Sizes are exact: maps_program maps known numbers of pages from functions that are found by name.
"""
import glob
import json
import mmap
import os
import signal
import subprocess
import unittest

import riptide_test

PROGRAM = os.path.join(riptide_test.BUILD, "test", "support", "maps_program")
PAGE = mmap.PAGESIZE
MODES = ("sample", "exact")

KINDS = {
    ("map_anonymous", "anonymous"): 740,
    ("map_over", "anonymous"): 50,
    ("map_odd", "anonymous"): 6,
    ("map_shared", "shared"): 33,
    ("map_file", "file"): 17,
    ("map_file", "shared_file"): 21,
    ("map_for_later", "anonymous"): 20,
    ("grow", "anonymous"): 445,
    ("move_to", "anonymous"): 10,
}
PYTHON = """
import ctypes, mmap, os, sys
a = mmap.mmap(-1, 300 * mmap.PAGESIZE)
b = mmap.mmap(-1, 70 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
b.resize(500 * mmap.PAGESIZE)
c = mmap.mmap(-1, 90 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
c.close()
with open(sys.argv[1], "r+b") as handle:
    d = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
os._exit(0)
"""


def by_function(mappings, figure="live_bytes"):
    """Sum a figure of the sites by (function, kind); those at zero are left out."""
    sums = {}
    for site in mappings["sites"]:
        key = site["function"], site["kind"]
        sums[key] = sums.get(key, 0) + site[figure]["value"]
    return {key: value for key, value in sums.items() if value}


class MapsTest(riptide_test.RiptideTest):
    """Each case in both modes, where the mode could matter."""

    def mappings(self, *program, mode="sample"):
        """Return the mappings of a program that ran to its end, after checking their sums."""
        self.report_data = self.record(*program, options=("--mode", mode))
        found = self.report_data["mappings"]
        self.check_sums(found)
        return found

    def check_sums(self, found):
        """Sites add up to the total, everything is exact, and no figure is in the heap."""
        for figure in ("live_bytes", "live_blocks", "allocated_bytes", "allocations"):
            total = found[figure]
            self.assertEqual(total["low"], total["value"])
            self.assertEqual(total["high"], total["value"])
            self.assertEqual(sum(site[figure]["value"] for site in found["sites"]), total["value"],
                             figure)
        for site in found["sites"]:
            self.assertEqual(site["domain"], "mappings")
            self.assertLessEqual(site["live_bytes"]["value"], site["peak_live_bytes"]["value"])

    def test_each_way_to_map_is_counted_to_the_byte(self):
        for mode in MODES:
            with self.subTest(mode=mode):
                found = self.mappings(PROGRAM, "kinds", self.path("data"), mode=mode)
                expected = {key: pages * PAGE for key, pages in KINDS.items()}
                self.assertEqual(by_function(found), expected)
                pieces = by_function(found, "live_blocks")
                self.assertEqual(pieces[("map_anonymous", "anonymous")], 3)
                mapped = by_function(found, "allocated_bytes")
                self.assertEqual(mapped[("map_anonymous", "anonymous")], 1000 * PAGE)
                self.assertEqual(mapped[("map_file", "file")], (17 + 64) * PAGE)
                self.assertEqual(found["live_bytes"]["value"], sum(expected.values()))
                self.assertEqual(found["unseen_events"], 0)
                heap = self.report_data["totals"]["live_bytes"]["value"]
                self.assertLess(heap, found["live_bytes"]["value"])

    def test_a_site_names_its_line_and_its_component(self):
        found = self.mappings(PROGRAM, "kinds", self.path("data"))
        site = next(site for site in found["sites"] if site["function"] == "map_odd")
        self.assertTrue(site["file"].endswith("maps_program.c"), site["file"])
        with open(site["file"] if os.path.isabs(site["file"]) else
                  os.path.join(riptide_test.BUILD, site["file"]), encoding="utf-8") as handle:
            self.assertIn("mmap(", handle.read().split("\n")[site["line"] - 1])
        self.assertEqual(site["component"], "maps_program")
        self.assertEqual([frame["function"] for frame in site["stack"]][:3],
                         ["map_odd", "run_kinds", "main"])

    def test_the_break_is_counted_in_single_bytes(self):
        for mode in MODES:
            with self.subTest(mode=mode):
                found = self.mappings(PROGRAM, "break", mode=mode)
                self.assertEqual(by_function(found),
                                 {("break_up", "break"): 120000, ("break_to", "break"): 70000})
                self.assertEqual(found["peak_live_bytes"]["value"], 200000)

    def test_threads_that_pass_addresses_on_leave_no_drift(self):
        for mode in MODES:
            with self.subTest(mode=mode):
                found = self.mappings(PROGRAM, "threads", mode=mode)
                self.assertEqual(found["unseen_events"], 0)
                self.assertEqual(by_function(found),
                                 {("map_in_thread", "anonymous"): 8 * 16 * PAGE})
                self.assertEqual(found["allocations"]["value"], 8 * 120)

    def test_signals_inside_the_hooks_do_no_harm(self):
        for mode in MODES:
            with self.subTest(mode=mode):
                found = self.mappings(PROGRAM, "signals", mode=mode)
                self.assertEqual(self.report_data["target"]["exit_code"], 0)
                self.assertEqual(by_function(found).get(("map_anonymous", "anonymous")), 77 * PAGE)
                heap = self.report_data["totals"]["live_bytes"]
                self.assert_near(heap, 40 << 20, 41 << 20)

    def test_a_forked_child_has_its_own_and_a_vfork_child_its_parents(self):
        found = self.mappings(PROGRAM, "children")
        self.assertEqual(by_function(found), {("map_anonymous", "anonymous"): 70 * PAGE,
                                              ("map_shared", "shared"): 5 * PAGE})
        children = [process["mappings"] for process in self.report_data["processes"]
                    if "mappings" in process]
        self.assertEqual([by_function(child) for child in children],
                         [{("map_in_child", "anonymous"): 900 * PAGE}])

    def test_python_maps_by_its_module(self):
        with open(self.path("file"), "wb") as handle:
            handle.write(b"x" * (40 * PAGE))
        script = self.write("maps.py", PYTHON)
        found = self.mappings("/usr/bin/python3", script, self.path("file"))
        sites = [site for site in found["sites"]
                 if any((frame["function"] or "").startswith("new_mmap_object")
                        or "mmap" in os.path.basename(frame["module"])
                        or (frame["function"] or "").startswith("mmap_")
                        for frame in site["stack"])]
        sums = {}
        for site in sites or found["sites"]:
            sums[site["kind"]] = sums.get(site["kind"], 0) + site["live_bytes"]["value"]
        self.assertEqual(sums.get("shared"), 300 * PAGE)
        self.assertEqual(sums.get("shared_file"), 40 * PAGE)
        resized = [site["live_bytes"]["value"] for site in found["sites"]
                   if site["kind"] == "anonymous"]
        self.assertIn(500 * PAGE, resized)

    def start_waiting(self, case, *options):
        """Start a case that waits at its end; return riptide and the program's pid."""
        recording = self.path("out.riptide")
        process = self.start("run", "--quiet", "--listen", "none", "-o", recording, *options, "--",
                             PROGRAM, case, self.path("data"), "wait")
        self.assertEqual(process.stdout.readline(), "ready\n")
        return process, self.child_of(process)

    def test_the_state_at_the_kill_stands_in_the_recording(self):
        for mode in MODES:
            with self.subTest(mode=mode):
                process, pid = self.start_waiting("kinds", "--mode", mode)
                os.kill(pid, signal.SIGKILL)
                process.wait(timeout=riptide_test.TIMEOUT_S)
                report = self.report(self.path("out.riptide"))
                self.assertEqual(report["target"]["signal"], signal.SIGKILL)
                self.check_sums(report["mappings"])
                self.assertEqual(by_function(report["mappings"]),
                                 {key: pages * PAGE for key, pages in KINDS.items()})

    def test_a_ring_that_overflowed_is_counted_and_put_right(self):
        process, pid = self.start_waiting("quick")

        def look():
            report = self.report(str(pid))
            return report if report["mappings"]["corrected_bytes"] or \
                ("map_quick", "anonymous") not in by_function(report["mappings"]) else None
        report = riptide_test.wait_for(look, "the correction", 30)
        found = report["mappings"]
        self.check_sums(found)
        self.assertGreater(found["unseen_events"], 0)
        self.assertEqual(report["losses"]["maps_unseen"], found["unseen_events"])
        self.assertEqual(found["events"] + found["unseen_events"], 1 + 2 * 5000 + 1)
        listed = self.listed_bytes(pid)
        self.assertLessEqual(found["live_bytes"]["value"], listed)
        self.assertEqual(by_function(found).get(("map_shared", "shared")), 44 * PAGE)
        os.kill(pid, signal.SIGKILL)
        process.wait(timeout=riptide_test.TIMEOUT_S)
        text = self.riptide("report", self.path("out.riptide")).stdout
        self.assertIn("mappings came too fast", text)

    @staticmethod
    def listed_bytes(pid):
        """Return what the kernel lists as mapped, in bytes."""
        total = 0
        with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as handle:
            for line in handle:
                start, end = line.split(" ", 1)[0].split("-")
                total += int(end, 16) - int(start, 16)
        return total

    def test_the_text_and_the_metrics_show_it(self):
        port = riptide_test.free_port()
        process = self.start("run", "--quiet", "--listen", f"127.0.0.1:{port}", "-o",
                             self.path("out.riptide"), "--", PROGRAM, "kinds", self.path("data"),
                             "wait")
        self.assertEqual(process.stdout.readline(), "ready\n")
        expected = sum(KINDS.values()) * PAGE

        def look():
            text = riptide_test.get(f"http://127.0.0.1:{port}/metrics")
            return f"riptide_mapped_bytes {expected}\n" in text
        riptide_test.wait_for(look, "riptide_mapped_bytes")
        data = json.loads(riptide_test.get(f"http://127.0.0.1:{port}/api/v1/report"))
        self.assertEqual(data["mappings"]["live_bytes"]["value"], expected)
        text = self.riptide("report", str(self.child_of(process))).stdout
        self.assertIn("Mappings by mmap", text)
        self.assertRegex(text, r"shared file +map_file  .*maps_program\.c:\d+")

    def test_an_allocators_own_memory_is_not_counted_twice(self):
        names = [path for name in ("libjemalloc.so.2", "libtcmalloc_minimal.so.4",
                                   "libmimalloc.so.2")
                 for path in glob.glob(f"/usr/lib/*/{name}")]
        if not names:
            self.skipTest("no other allocator is installed")
        source = """
            #include <stdlib.h>
            #include <string.h>
            int main(void)
            {
                for (int i = 0; i < 20; i++) {
                    char *p = malloc(8 << 20);
                    if (!p)
                        return 1;
                    memset(p, 1, 8 << 20);
                }
                return 0;
            }
        """
        program = self.compile("heap", source)
        for path, mode in ((path, mode) for path in names for mode in MODES):
            name = os.path.basename(path)[3:].split("_")[0].split(".")[0]
            with self.subTest(allocator=name, mode=mode):
                found = self.mappings("/usr/bin/env", f"LD_PRELOAD={riptide_test.AGENT}:{path}",
                                      program, mode=mode)
                self.assertEqual(self.report_data["allocator"], name)
                self.assertGreater(self.report_data["totals"]["live_bytes"]["value"], 100 << 20)
                self.assertLess(found["live_bytes"]["value"], 8 << 20, found["sites"])

    def test_a_program_runs_the_same_with_and_without(self):
        plain = subprocess.run([PROGRAM, "kinds", self.path("data")], check=False, timeout=60)
        watched = self.riptide("run", "--quiet", "--listen", "none", "-o", self.path("x.riptide"),
                               "--", PROGRAM, "kinds", self.path("data"))
        self.assertEqual((plain.returncode, watched.returncode, watched.stderr), (0, 0, ""))
        bare = subprocess.run([PROGRAM, "break"], check=False, timeout=60,
                              env={**os.environ, "LD_PRELOAD": riptide_test.AGENT})
        self.assertEqual(bare.returncode, 0)  # no collector: a pass-through


if __name__ == "__main__":
    if os.path.exists(PROGRAM):
        riptide_test.main()
    print("skipped: maps_program is not built")
    raise SystemExit(77)
