# SPDX-License-Identifier: Apache-2.0
"""After kill -9 the recording holds what the ledger held at that moment, to the byte.

The test keeps the ledger's memory open itself, and reads it after everybody else has gone.
EXACT_KILLS and EXACT_SEED make the storm of kills longer, or another one.
"""
import json
import os
import random
import time

import exact_ledger
from exact_oracle import SUPPORT, ExactTest, kill
from riptide_test import TIMEOUT_S, main, wait_for

STORM = os.path.join(SUPPORT, "exact_storm")
KILLS = int(os.environ.get("EXACT_KILLS", "8"))
SEED = int(os.environ.get("EXACT_SEED", "1"))
THREADS = 8


class KillTest(ExactTest):
    """Kills at random moments."""

    def observed_storm(self, oracle):
        """Start an endless storm; return (collector, pid, own descriptor of the ledger)."""
        env = self.environment() if oracle else {**os.environ}
        process = self.exact(STORM, str(THREADS), "1000000000000", "1", str(SEED), env=env)
        pid = self.child_of(process, "exact_storm")

        def find():
            try:
                return exact_ledger.open_ledger(process.pid, pid)
            except FileNotFoundError:
                return None
        fd = wait_for(find, "the ledger is there")
        self.addCleanup(os.close, fd)
        return process, pid, fd

    def judge(self, pid, fd):
        """Compare the recording with the ledger; return the ledger's figures."""
        ledger = exact_ledger.Ledger(fd)
        report = self.report(self.path("out.riptide"))
        self.assertEqual(report["target"]["status"], "killed")
        self.assertEqual(report["target"]["pid"], pid)
        for name in ("allocations", "allocated_bytes"):
            self.assertEqual(report["totals"][name]["value"], ledger.total(name), name)
        for name in ("live_blocks", "live_bytes"):
            # A thread that died between two adds to a site may leave it below zero: shown as none.
            held = sum(max(0, getattr(site, name)) for site in ledger.sites.values())
            self.assertEqual(report["totals"][name]["value"], held, name)
        by_stack = sorted((row[0], row[1]) for row in ledger.by_stack().values() if row[0])
        shown = sorted((site["allocations"]["value"], site["allocated_bytes"]["value"])
                       for site in report["sites"]
                       if not site.get("domain") and site["allocations"]["value"])
        self.assertEqual(shown, by_stack)
        return ledger

    def test_recording_equals_the_ledger(self):
        chance = random.Random(SEED)
        compared = 0
        for round_number in range(KILLS):
            with self.subTest(round=round_number):
                process, pid, fd = self.observed_storm(oracle=round_number % 2 == 0)
                time.sleep(chance.random() * 1.5)
                kill(pid)
                process.wait(TIMEOUT_S)
                ledger = self.judge(pid, fd)
                if round_number % 2 == 0 and self.has_oracle(pid):
                    compared += 1
                    # Each thread may have died between the oracle's count and the agent's.
                    truth = self.oracle(pid).total
                    self.assertLessEqual(abs(truth["allocations"] - ledger.total("allocations")),
                                         THREADS)
                    self.assertLessEqual(abs(truth["frees"] - ledger.total("frees")), THREADS)
                os.unlink(self.path("out.riptide"))
        self.assertGreater(compared, KILLS // 4)

    def has_counts(self):
        """Say whether the recording that is being written shows allocations."""
        run = self.riptide("report", self.path("out.riptide"), "--json")
        return (run.returncode == 0 and
                json.loads(run.stdout)["totals"]["allocations"]["value"] > 0)

    def test_killed_with_its_collector(self):
        """What the collector wrote last is whole: totals that were true a moment before."""
        process, pid, fd = self.observed_storm(oracle=False)
        wait_for(self.has_counts, "the first counts in the recording")
        process.kill()
        kill(pid)
        process.wait(TIMEOUT_S)
        ledger = exact_ledger.Ledger(fd)
        report = self.report(self.path("out.riptide"))
        found = report["totals"]["allocations"]["value"]
        self.assertGreater(found, 0)
        self.assertLessEqual(found, ledger.total("allocations"))
        for name in ("allocations", "allocated_bytes", "live_bytes", "live_blocks"):
            self.assertEqual(sum(site[name]["value"] for site in report["sites"]
                                 if not site.get("domain")), report["totals"][name]["value"], name)


if __name__ == "__main__":
    main()
