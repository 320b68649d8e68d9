# SPDX-License-Identifier: Apache-2.0
"""The examples of the library run, and say what is true."""
import json
import os
import re
import subprocess
import unittest
import urllib.error

import riptide_test

EXAMPLES = os.path.join(riptide_test.BUILD, "examples")


class ExampleTest(riptide_test.RiptideTest):
    def setUp(self):
        super().setUp()
        self.environment = dict(os.environ, RIPTIDE_PROGRAM=riptide_test.RIPTIDE)

    def example(self, name):
        """Return the path of an example, or skip the test."""
        path = os.path.join(EXAMPLES, name)
        if not os.path.exists(path):
            raise unittest.SkipTest(f"{name} is not built: its compiler is missing")
        return path

    def run_example(self, name):
        """Run an example to its end; return what it printed."""
        run = subprocess.run([self.example(name)], stdin=subprocess.DEVNULL, capture_output=True,
                             text=True, cwd=self.folder, env=self.environment, timeout=150,
                             check=False)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertEqual(run.stderr, "")
        return run.stdout

    def start_example(self, name):
        """Start an example that serves until its input ends; return it, its address and what it
        printed up to there."""
        process = subprocess.Popen([self.example(name)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True, cwd=self.folder,
                                   env=self.environment)

        def end():
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
        self.addCleanup(end)
        printed = ""
        for line in process.stdout:
            printed += line
            match = re.match(r"Listening on (http://127\.0\.0\.1:[1-9]\d*)$", line)
            if match:
                return process, match.group(1), printed
        self.fail(f"{name} does not say where it listens: {printed}")

    def end_example(self, process):
        """End an example's input: it ends well."""
        process.stdin.close()
        self.assertEqual(process.wait(timeout=30), 0)

    def test_quick_start_shows_its_memory_and_serves_it(self):
        process, address, printed = self.start_example("quick_start")
        self.assertRegex(printed, r"(?m)^RSS: [1-9]\d*\.\d MB$")
        self.assertRegex(printed, r"(?m)^Heap: (unavailable|\d+\.\d MB)$")
        self.assertRegex(printed, r"(?m)^Virtual: [1-9]\d*\.\d MB$")
        self.assertIn("Potential leaks: 0, growing by 0.00 MB/hour\n", printed)
        self.assertIn("extraction (records): 1048576 bytes\n", printed)
        self.assertRegex(printed, r"(?m)^Allocation efficiency: (100|\d{1,2})\.\d %$")
        memory = json.loads(riptide_test.get(address + "/metrics/memory"))
        self.assertGreater(memory["rss_mb"], 1)
        leaks = json.loads(riptide_test.get(address + "/metrics/leaks"))
        self.assertEqual(leaks["potential_leak_count"], 0)
        self.assertIsNone(leaks["highest_risk_component"])
        allocations = json.loads(riptide_test.get(address + "/metrics/allocations"))
        self.assertIn(["extraction", 1048576], allocations["top_allocators"])
        self.end_example(process)

    def test_worker_pool_charges_who_handed_the_task_in(self):
        self.assertEqual(self.run_example("worker_pool"),
                         "extraction: 3000000 bytes\nrenderer: 1200000 bytes\n")

    def test_worker_pool_is_seen_from_outside_by_the_same_names(self):
        """Under riptide run the mallocs of the workers have the tags of their tasks."""
        report = self.record(self.example("worker_pool"), options=("--mode", "exact"))
        held = {entry["name"]: entry for entry in report["components"]}
        for name, count, size in (("extraction", 300, 10000), ("renderer", 300, 4000)):
            self.assertEqual(held[name]["allocations"]["value"], count, name)
            self.assertEqual(held[name]["allocated_bytes"]["value"], count * size, name)

    def test_custom_arena_is_a_domain_of_its_own(self):
        self.assertEqual(
            self.run_example("custom_arena").splitlines()[:3],
            ["parsed: 2560000 of 3145728 reserved bytes used",
             "parsed: lexer holds 1600000 bytes",
             "parsed: parser holds 960000 bytes"])

    def test_custom_arena_holds_nothing_after_its_reset(self):
        lines = self.run_example("custom_arena").splitlines()
        self.assertIn("reset: 0 of 0 reserved bytes used", lines)
        held = [line for line in lines if line.startswith("reset: ") and " holds " in line]
        self.assertEqual([line for line in held if not line.endswith(" holds 0 bytes")], [])

    def test_alert_handler_is_told_once_and_told_the_end(self):
        lines = self.run_example("alert_handler").splitlines()
        self.assertEqual(lines[-1], "growth alerts: 1 begun, 1 ended; pressure alerts: 1 begun")
        told = [re.sub(r" \(.*", "", line) for line in lines[:-1]]
        self.assertEqual(sorted(told), ["alert: growth begins", "alert: growth ends",
                                        "alert: pressure begins"])
        self.assertLess(told.index("alert: growth begins"), told.index("alert: growth ends"))
        begins = lines[told.index("alert: growth begins")]
        self.assertRegex(begins, r'\(high\), component "cache": \S')

    def test_cpp_service_records_its_containers(self):
        self.assertEqual(self.run_example("cpp_service").splitlines(),
                         ["serving: cache holds 2000000 bytes",
                          "serving: service holds 1000 bytes",
                          "serving: other holds 1 bytes",
                          "after forget(): service holds 1000 bytes",
                          "after forget(): other holds 1 bytes"])

    def wait_for_cache(self, address, pages):
        """Wait until the answers, which may be a second old, know what the cache holds."""
        def holds():
            answer = json.loads(riptide_test.get(address + "/metrics/allocations"))
            return ["cache", pages * 32768] in answer["top_allocators"]
        riptide_test.wait_for(holds, f"the cache holds {pages} pages")

    def test_embedded_endpoints_answer_on_the_programs_own_server(self):
        process, address, _ = self.start_example("embedded_endpoints")
        self.assertEqual(riptide_test.get(address + "/page"), "page 1\n")
        self.assertEqual(riptide_test.get(address + "/page"), "page 2\n")
        self.wait_for_cache(address, 2)
        self.assertGreater(json.loads(riptide_test.get(address + "/metrics/memory"))["rss_mb"], 1)
        self.assertIn("riptide_memory_rss_bytes ", riptide_test.get(address + "/metrics"))
        with self.assertRaises(urllib.error.HTTPError) as refused:
            riptide_test.get(address + "/no-such-page")
        self.assertEqual(refused.exception.code, 404)
        refused.exception.close()
        for _ in range(200):
            riptide_test.get(address + "/page")
        self.wait_for_cache(address, 64)
        self.end_example(process)


if __name__ == "__main__":
    riptide_test.main()
