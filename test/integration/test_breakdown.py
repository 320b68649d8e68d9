# SPDX-License-Identifier: Apache-2.0
"""Resident memory explained: each page of real programs in exactly one class.

Runs in:    a test process, which starts real programs under `riptide run`
Fails:      by an assertion; a program that is not installed is a skip
"""
import json
import subprocess
import time

import riptide_test
from riptide_test import RiptideTest, free_port, get, need, wait_for

MOST_RESIDUAL = 0.02
CLASSES = ["live_heap", "allocator_free_and_retained", "allocator_slack", "allocator_metadata",
           "anonymous_mappings", "stacks", "modules", "file_mappings", "shared_memory", "riptide",
           "vdso", "residual"]
PYTHON = """
import sys, time
kept = [str(i) * 20 for i in range(300000)]
print("ready", flush=True)
time.sleep(60)
"""


SQL = """create table t(x);
with recursive n(i) as (select 1 union all select i+1 from n where i<200000)
  insert into t select hex(randomblob(40)) from n;
select 'ready';
.shell sleep 60
"""


class BreakdownTest(RiptideTest):
    """A real program is watched and asked over HTTP."""

    def watch(self, *command, mode="sample"):
        """Start it under RipTide, on a free port."""
        self.port = free_port()
        return self.start("run", "--mode", mode, "--listen", f"127.0.0.1:{self.port}", "--quiet",
                          "-o", self.path("run.riptide"), "--", *command)

    def memory(self):
        """What /metrics/memory answers now, when it has a breakdown."""
        try:
            memory = json.loads(get(f"http://127.0.0.1:{self.port}/metrics/memory"))
        except OSError:
            return None
        return memory if memory.get("breakdown") else None

    def judge_now(self):
        """The breakdown of a program that has come to rest."""
        time.sleep(2.5)
        return self.judge(wait_for(self.memory, "a breakdown"))

    def judge(self, memory):
        """Classes as promised, a sum to the byte, and little that nothing explains."""
        breakdown = memory["breakdown"]
        self.assertEqual([entry["name"] for entry in breakdown], CLASSES)
        total = sum(entry["bytes"] for entry in breakdown)
        self.assertEqual(total, memory["breakdown_rss_bytes"])
        for entry in breakdown:
            self.assertLessEqual(sum(part["bytes"] for part in entry["parts"]), entry["bytes"],
                                 entry["name"])
        self.assertLess(abs(total - memory["rss_bytes"]), max(4 << 20, 0.1 * total))
        by_name = {entry["name"]: entry["bytes"] for entry in breakdown}
        self.assertGreater(by_name["modules"], 100000)
        self.assertGreater(by_name["riptide"], 0)
        self.assertLessEqual(by_name["residual"], MOST_RESIDUAL * total, breakdown)
        return by_name

    def test_python_is_explained(self):
        """Its objects lie in arenas that it maps itself."""
        process = self.watch("/usr/bin/python3", "-c", PYTHON)
        self.assertEqual(process.stdout.readline(), "ready\n")
        by_name = self.judge_now()
        self.assertGreater(by_name["live_heap"] + by_name["anonymous_mappings"], 20 << 20)

    def test_python_is_explained_in_exact_mode(self):
        """The same where every block is counted."""
        process = self.watch("/usr/bin/python3", "-c", PYTHON, mode="exact")
        self.assertEqual(process.stdout.readline(), "ready\n")
        self.judge_now()

    def test_redis_is_explained(self):
        """Its heap is jemalloc's, on Debian."""
        port, cli = str(free_port()), need("redis-cli")

        def ask(*words):
            return subprocess.run([cli, "-p", port, *words], check=False, capture_output=True,
                                  text=True).stdout
        self.watch(need("redis-server"), "--port", port, "--save", "", "--enable-debug-command",
                   "local")
        wait_for(lambda: ask("ping") == "PONG\n", "redis answers")
        self.assertEqual(ask("debug", "populate", "200000"), "OK\n")
        by_name = self.judge_now()
        self.assertGreater(by_name["live_heap"], 8 << 20)

    def test_sqlite_is_explained(self):
        """A table in memory."""
        self.write("table.sql", SQL)
        process = self.watch(need("sqlite3"), ":memory:", ".read table.sql")
        self.assertEqual(process.stdout.readline(), "ready\n")
        by_name = self.judge_now()
        self.assertGreater(by_name["live_heap"], 8 << 20)


if __name__ == "__main__":
    riptide_test.main()
