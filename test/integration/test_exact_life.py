# SPDX-License-Identifier: Apache-2.0
"""Exact mode over the lives of threads, processes and blocks, with known counts."""
import ctypes.util
import json
import os
import subprocess

from exact_oracle import ORACLE, SUPPORT, ExactTest, expectation, ledger_of, pending_bytes
from riptide_test import main

LIFE = os.path.join(SUPPORT, "exact_life")
LIMITS = os.path.join(SUPPORT, "exact_limits")
EARLY = os.path.join(SUPPORT, "exact_early.so")
CLOCK_MS, UNIT_MS = 100, 128
LOADED_MS = 150  # beside the clock's tick, how late the collector may tick it on a busy machine


class LifeTest(ExactTest):
    """Programs whose figures are known beforehand."""

    def follow(self, *arguments, program=LIFE, threads=2, env=None, reports=True, underway=0):
        """Run a case, comparing with the oracle at each stop; return (lines, what was seen)."""
        ledgers = {}

        def compare(collector, pid, name):
            truth, ledger = self.oracle(pid), ledger_of(collector, pid)
            self.assert_totals(ledger, truth, name)
            self.assert_peak(ledger.peak_bytes, truth.total["peak_bytes"], threads, name,
                             underway)
            ledgers[name] = ledger, truth, pid, self.report(str(pid)) if reports else None
        lines = self.observe(program, *arguments, at=compare, env=env)
        return lines, ledgers

    def test_threads_that_come_and_go(self):
        lines, _ = self.follow("many_threads", "4000", threads=513)
        self.assert_accounts(self.report(self.path("out.riptide")), expectation(lines))

    def test_more_threads_than_records(self):
        lines, ledgers = self.follow("crowd", "700", threads=701)
        ledger = ledgers["crowded"][0]
        self.assertGreater(ledger.losses["threads_overflow"], 0)
        self.assert_accounts(self.report(self.path("out.riptide")), expectation(lines))

    def test_forked_child(self):
        """Each process has figures of its own; a parent's block is unknown to its child."""
        lines, ledgers = self.follow("fork")
        child, _, pid, report = ledgers["child"]
        self.assertEqual(child.unknown_frees, 101)
        accounts = [json.loads(line) for line in lines if line.startswith("{")]
        self.assert_accounts(report, accounts[0], f"of child {pid}")
        self.assert_accounts(self.report(self.path("out.riptide")), accounts[1])
        self.assertEqual(ledgers["parent"][0].unknown_frees, 0)

    def test_children_without_a_ledger(self):
        """A child that fork() did not make writes nothing into its parent's figures."""
        lines, _ = self.follow("clones", program=LIMITS)
        self.assert_accounts(self.report(self.path("out.riptide")), expectation(lines))

    def test_forks_of_a_busy_process(self):
        lines, _ = self.follow("fork_storm", program=LIMITS, threads=7, underway=6 * 2016)
        self.assert_accounts(self.report(self.path("out.riptide")), expectation(lines))

    def test_more_sites_than_room(self):
        """The totals stay exact; what has no site of its own is counted together, and as lost."""
        _, ledgers = self.follow("many_sites", program=LIMITS, reports=False)
        ledger = ledgers["sites"][0]
        self.assertGreater(ledger.losses["sites_overflow"] + ledger.losses["stacks_not_taken"], 0)
        self.assertGreater(ledger.sites[0].allocations, 0)
        self.assertGreater(len(ledger.sites), 200000)

    def test_more_address_space_than_room(self):
        """A block that the shadow has no room for is counted, as freed at once and untracked."""
        ledgers = []
        lines = self.observe(LIMITS, "address_space", at=lambda collector, pid, _: ledgers.append(
            (ledger_of(collector, pid), self.oracle(pid))))
        count = expectation(lines)["places"]
        (full, truth), (freed, last) = ledgers
        self.assertEqual(full.total("allocations"), truth.total["allocations"])
        self.assertEqual(full.total("allocated_bytes"), truth.total["allocated_bytes"])
        self.assertEqual(full.total("live_blocks") + full.untracked, truth.total["live_blocks"])
        self.assert_shadow(full)
        self.assertEqual(freed.total("frees"), last.total["frees"])
        self.assertEqual(freed.total("live_bytes"), last.total["live_bytes"])
        self.assertEqual(freed.unknown_frees, full.untracked)
        if count == 2200:
            self.assertGreater(full.untracked, 0)

    def test_all_memory_locked(self):
        """mlockall() reads the program's memory in, and leaves the ledger's 50 GB of holes alone."""
        native = subprocess.run([LIMITS, "locked"], capture_output=True, text=True, check=True)
        true = expectation(native.stdout.splitlines())
        if not true["locked"]:
            self.skipTest("mlockall() is not allowed")
        locked = []

        def look(_, pid, __):
            with open(f"/proc/{pid}/status", encoding="ascii") as handle:
                locked.extend(int(line.split()[1]) for line in handle
                              if line.startswith(("VmLck:", "VmRSS:")))
        found = expectation(self.observe(LIMITS, "locked", at=look))
        self.assertEqual(found, true)
        self.assertLess(max(locked), 200 << 10)  # KiB

    def test_memory_locked_without_privilege(self):
        """The ledger's address space is not held against what the program may lock."""
        native = subprocess.run([LIMITS, "locked_by_nobody"], capture_output=True, text=True,
                                check=False)
        if native.returncode == 77:
            self.skipTest("cannot become another user")
        for mode in ("sample", "exact"):
            with self.subTest(mode=mode):
                run = self.riptide("run", "--quiet", "--mode", mode, "--listen", "none", "-o",
                                   self.path(mode), "--", LIMITS, "locked_by_nobody")
                self.assertEqual((run.returncode, run.stdout), (native.returncode, native.stdout))

    def test_large_blocks_at_the_end_of_a_region(self):
        """The size of a large block stands behind its word, which may be its region's last."""
        _, ledgers = self.follow("region_end", program=LIMITS)
        self.assertEqual(len(ledgers), 3)

    def test_other_allocators(self):
        """The program's own books, with each allocator that is installed."""
        found = {name: ctypes.util.find_library(name)
                 for name in ("jemalloc", "tcmalloc_minimal", "mimalloc")}
        if not any(found.values()):
            self.skipTest("no other allocator is installed")
        for name, path in found.items():
            if path is None:
                continue
            for case in (LIFE, "crowd", "300"), (LIMITS, "fork_storm"):
                with self.subTest(allocator=name, case=case[1]):
                    lines = self.observe(*case, env={**os.environ, "LD_PRELOAD": path})
                    report = self.report(self.path("out.riptide"))
                    self.assertEqual(report["mode"], "exact")
                    self.assert_accounts(report, expectation(lines))
                    os.unlink(self.path("out.riptide"))

    def test_blocks_that_are_not_ours(self):
        """Known to be unknown: from before the start, or given out behind the agent's back."""
        env = self.environment()
        env["LD_PRELOAD"] = ORACLE + ":" + EARLY
        lines, ledgers = self.follow("foreign", env=env)
        before, after = ledgers["before"][0], ledgers["foreign"][0]
        self.assertEqual(after.unknown_frees - before.unknown_frees, 65)
        self.assertEqual(after.missed_frees - before.missed_frees, 10)
        self.assert_accounts(self.report(self.path("out.riptide")), expectation(lines))

    def test_temporary_allocations(self):
        lines, _ = self.follow("temporary")
        report = self.report(self.path("out.riptide"))
        for function, true in expectation(lines).items():
            found = sum(site["temporary"] for site in report["sites"]
                        if site["function"] == function)
            self.assertEqual(found, true, function)

    def test_lifetimes(self):
        """Ages in powers of two of 128 ms, as fine as the clock that both sides see."""
        lines, _ = self.follow("ages")
        sites = [site for site in self.report(self.path("out.riptide"))["sites"]
                 if site["function"] == "aging_block"]
        found = [sum(column) for column in zip(*(site["lifetime"] for site in sites))]
        self.assertEqual(sum(found), 400)
        low, high = [0] * 16, [0] * 16
        for age_ms in expectation(lines)["ages_ms"]:
            first, last = (bucket(age_ms - CLOCK_MS - LOADED_MS), bucket(age_ms + CLOCK_MS +
                                                                         LOADED_MS))
            for i in range(first, last + 1):
                high[i] += 100
            if first == last:
                low[first] += 100
        for i, count in enumerate(found):
            self.assertTrue(low[i] <= count <= high[i], f"bucket {i}: {count} in {found}")

    def peak(self, *arguments, threads):
        """Check the sites at the peak against what the program says of them."""
        lines, ledgers = self.follow("peak", *arguments, threads=threads)
        ledger, truth, _, _ = ledgers["after"]
        self.assert_peak(ledger.total("peak_bytes"), truth.total["peak_bytes"], threads)
        report = self.report(self.path("out.riptide"))
        slack = truth.total["peak_bytes"] / 128 + pending_bytes(threads)
        self.assertLessEqual(
            abs(report["totals"]["peak_live_bytes"]["value"] - truth.total["peak_bytes"]), slack)
        for function, true in expectation(lines).items():
            found = sum(site["peak"]["live_bytes"] for site in report["sites"]
                        if site["function"] == function)
            self.assertLessEqual(abs(found - true), slack, function)

    def test_sharp_peak(self):
        self.peak(threads=1)

    def test_sharp_peak_of_four_threads(self):
        self.peak("threads", threads=5)


def bucket(age_ms):
    """Return the bucket of an age: 0 below a unit, then powers of two."""
    return min(15, max(0, int(age_ms // UNIT_MS)).bit_length()) if age_ms > 0 else 0


if __name__ == "__main__":
    main()
