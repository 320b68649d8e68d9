# SPDX-License-Identifier: Apache-2.0
"""Exact mode against the counting oracle, in one process and at the same moments, to the byte.

EXACT_EVENTS and EXACT_SEED make the storm longer, or another one.
"""
import os

from exact_oracle import SUPPORT, ExactTest, ledger_of
from riptide_test import main

STORM = os.path.join(SUPPORT, "exact_storm")
EVENTS = int(os.environ.get("EXACT_EVENTS", "2000000"))
SEED = os.environ.get("EXACT_SEED", "1")
HUGE = 2 * 4608 << 20  # the storm's largest blocks, of which two may be on their way at a peak


class StormTest(ExactTest):
    """The malloc family at random, by many threads."""

    def storm(self, threads, events, stops, stacks=False, reports=True):
        """Run a storm and compare at every stop."""
        def compare(collector, pid, name):
            context = f"at stop {name} of {threads} threads, seed {SEED}"
            truth = self.oracle(pid)
            ledger = ledger_of(collector, pid)
            self.assert_totals(ledger, truth, context)
            self.assert_peak(ledger.peak_bytes, truth.total["peak_bytes"], threads + 1, context,
                             underway=HUGE if threads > 1 else 0)
            self.assert_peak(ledger.total("peak_bytes"), ledger.peak_bytes, threads + 1, context)
            if stacks:
                self.assert_stacks(ledger, truth)
            if reports:
                self.assert_report(self.report(str(pid)), truth, context)
            last.append(truth.total["allocations"])
        last = []
        self.observe(STORM, str(threads), str(events), str(stops), SEED, at=compare,
                     env=self.environment(stacks))
        self.assertEqual(len(last), stops + 2)
        self.assertGreater(last[-1], events / 3)

    def test_totals_one_thread(self):
        self.storm(1, EVENTS // 10, 5)

    def test_totals_64_threads(self):
        self.storm(64, EVENTS, 10)

    def test_every_stack_of_8_threads(self):
        self.storm(8, min(EVENTS // 20, 1000000), 3, stacks=True)


if __name__ == "__main__":
    main()
