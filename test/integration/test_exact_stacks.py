# SPDX-License-Identifier: Apache-2.0
"""Exact mode charges each block to the function that allocated it, whatever the stack did.

The programs keep books of their own on each function; the report must show the same figures. Where
libgcc can walk the stacks, too, each of them is compared with libgcc's.
"""
import os
import unittest

from exact_oracle import SUPPORT, ExactTest, expectation, ledger_of
from riptide_test import main

SHAPES = os.path.join(SUPPORT, "exact_shapes")
PLUGINS = (os.path.join(SUPPORT, "exact_plugin.so"),
           os.path.join(SUPPORT, "exact_plugin_second.so"))
REENTRANT = os.path.join(SUPPORT, "exact_reentrant.so")
THROW = os.path.join(SUPPORT, "exact_throw")
SEEDS = os.environ.get("EXACT_SEED", "1"), "77"


class StacksTest(ExactTest):
    """One program a test."""

    def judge(self, *program, least=0.99):
        """Compare at the program's stop and after its end."""
        reports = []

        def compare(collector, pid, _):
            truth, ledger = self.oracle(pid), ledger_of(collector, pid)
            self.assert_totals(ledger, truth)
            self.assert_stacks(ledger, truth, least)
            reports.append(self.report(str(pid)))
            self.assert_report(reports[-1], truth)
        accounts = expectation(self.observe(*program, at=compare, env=self.environment(True)))
        self.assertEqual(len(reports), 1)
        self.assert_accounts(reports[0], accounts, "while it ran")
        self.assert_accounts(self.report(self.path("out.riptide")), accounts, "in the recording")

    def shapes(self, case, least=0.99):
        """Judge a case of exact_shapes with two seeds."""
        for seed in SEEDS:
            with self.subTest(seed=seed):
                self.judge(SHAPES, *PLUGINS, case, seed, least=least)
                os.unlink(self.path("out.riptide"))

    def test_recursion(self):
        self.shapes("recursion", least=0.85)

    def test_mutual_recursion(self):
        self.shapes("mutual")

    def test_longjmp(self):
        self.shapes("longjmp")

    def test_coroutines(self):
        """What lies outside of the thread's stack is cut short, never wrong."""
        self.shapes("coroutines", least=0)

    def test_signal_stack(self):
        self.shapes("sigaltstack", least=0.4)

    def test_plugins_come_and_go(self):
        self.shapes("plugins", least=0.9)

    def test_threads_through_the_same_code(self):
        self.shapes("threads")

    def test_handlers_that_interrupt_anywhere(self):
        """Not an event is lost; what interrupts the slow path itself may lose its stack only."""
        ledgers = []
        env = {**os.environ, "LD_PRELOAD": REENTRANT}
        accounts = expectation(self.observe(
            SHAPES, *PLUGINS, "interrupts", env=env,
            at=lambda collector, pid, _: ledgers.append(ledger_of(collector, pid))))
        before, after = ledgers
        # The first two events of the handler's function were before the first stop.
        first = [1, 16, 1, 16]
        for i, name in enumerate(("allocations", "allocated_bytes", "frees", "freed_bytes")):
            self.assertEqual(after.total(name) - before.total(name),
                             sum(row[i] for row in accounts.values()) - first[i], name)
        self.assert_shadow(after)
        report = self.report(self.path("out.riptide"))
        self.assert_accounts(report, {"interrupted_leaf": accounts["interrupted_leaf"]})
        found = sum(site["allocations"]["value"] for site in report["sites"]
                    if site["function"] in ("interrupting_leaf", None, "", "?"))
        self.assertGreaterEqual(found, accounts["interrupting_leaf"][0])

    def test_exceptions(self):
        if not os.path.exists(THROW):
            raise unittest.SkipTest("no C++ compiler at build time")
        self.judge(THROW)


if __name__ == "__main__":
    main()
