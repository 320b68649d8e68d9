# SPDX-License-Identifier: Apache-2.0
"""What the tests of exact mode share: the oracle's file, and a program that stops to be compared.

test/support/exact_oracle.c counts behind the agent in the same process, from the same event on. A
program stops at a checkpoint by a line "checkpoint PID NAME" and goes on when it has read from the
FIFO of EXACT_GO.
"""
import json
import os
import signal
import struct

import exact_ledger
from riptide_test import BUILD, RIPTIDE, TIMEOUT_S, RiptideTest, wait_for

# Meson's filling of fresh blocks would make gigabytes resident that the storms leave untouched.
os.environ.pop("MALLOC_PERTURB_", None)

SUPPORT = os.path.join(BUILD, "test", "support")
ORACLE = os.path.join(SUPPORT, "exact_oracle.so")

# test/support/exact_oracle.h
ORACLE_MAGIC = 0x31304C4341584544
SITE_BYTES, SITE_CAPACITY, HEADER_BYTES = 128, 1 << 17, 4096
FIGURES = ("allocations", "allocated_bytes", "frees", "freed_bytes", "temporary")
HEADER = FIGURES + ("unknown_frees", "replaced_blocks", "peak_bytes", "peak_epoch", "peak_blocks",
                    "site_count", "pc_count")


def pending_bytes(threads):
    """Return what threads may keep to themselves where the heap is small: agent_count.c."""
    return threads * min(1024, max(64, 16384 // threads))


class Oracle:
    """The truth about one process, at the moment of reading."""

    def __init__(self, path):
        with open(path, "rb") as handle:
            head = handle.read(HEADER_BYTES)
            magic, self.pid = struct.unpack_from("<QQ", head)
            if magic != ORACLE_MAGIC:
                raise ValueError(f"{path} is not the oracle's")
            values = struct.unpack_from(f"<{len(HEADER)}Q", head, 16)
            self.total = dict(zip(HEADER, values))
            self.size_class = list(struct.unpack_from("<5Q", head, 16 + 8 * len(HEADER)))
            table = handle.read(SITE_BYTES * SITE_CAPACITY)
            pcs = handle.read(8 * self.total["pc_count"])
        self.total["live_bytes"] = self.total["allocated_bytes"] - self.total["freed_bytes"]
        self.total["live_blocks"] = self.total["allocations"] - self.total["frees"]
        self.sites = {}
        for row in struct.iter_unpack("<16Q", table):
            if row[5] != 0:
                stack = struct.unpack_from(f"<{row[7]}Q", pcs, 8 * row[6])
                at_peak = row[11] if row[10] == self.total["peak_epoch"] else row[1] - row[3]
                self.sites[stack] = dict(zip(FIGURES, row), large=row[8], max_size=row[9],
                                         peak_bytes=at_peak)

    def by_stack(self):
        """Return {stack: [allocations, allocated_bytes, frees, freed_bytes]}."""
        return {stack: [site[name] for name in FIGURES[:4]] for stack, site in self.sites.items()}


class ExactTest(RiptideTest):
    """A test that runs programs in exact mode in front of the oracle."""

    def environment(self, stacks=False, **more):
        """Return an environment with the oracle preloaded; the agent will stand before it."""
        return {**os.environ, "LC_ALL": "C.UTF-8", **more, "LD_PRELOAD": ORACLE,
                "EXACT_ORACLE_OUT": self.path("oracle"),
                "EXACT_ORACLE_STACKS": "1" if stacks else "0"}

    def exact(self, *program, options=(), **extra):
        """Start a program in exact mode."""
        return self.start("run", "--mode", "exact", "--quiet", "--listen", "none", "-o",
                          self.path("out.riptide"), *options, "--", *program, **extra)

    def run_exact(self, *program, options=(), expect=0, **extra):
        """Run a program in exact mode to its end; return the finished process."""
        run = self.riptide("run", "--mode", "exact", "--quiet", "--listen", "none", "-o",
                           self.path("out.riptide"), *options, "--", *program, **extra)
        self.assertEqual(run.returncode, expect, run.stderr)
        return run

    def has_oracle(self, pid):
        """Say whether the oracle of a process had begun: a kill may come before that."""
        try:
            with open(self.path(f"oracle.{pid}"), "rb") as handle:
                return handle.read(8) == struct.pack("<Q", ORACLE_MAGIC)
        except FileNotFoundError:
            return False

    def oracle(self, pid):
        """Return what the oracle counted in a process."""
        return Oracle(self.path(f"oracle.{pid}"))

    def observe(self, *program, at=None, env=None, options=()):
        """Run a program that stops at checkpoints; call at(collector, pid, name) at each.

        Return what it printed, line by line.
        """
        os.mkfifo(self.path("go"))
        env = {**(env or self.environment()), "EXACT_GO": self.path("go")}
        process = self.exact(*program, options=options, env=env)
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("checkpoint"):
                _, pid, name = line.split()
                try:
                    if at is not None:
                        at(process.pid, int(pid), name)
                finally:
                    self.let_go()
        process.wait(TIMEOUT_S)
        self.assertEqual(process.returncode, 0, process.stderr.read())
        os.unlink(self.path("go"))
        return lines

    def let_go(self):
        """Let a program go on that waits at a checkpoint."""
        def write():
            try:
                fd = os.open(self.path("go"), os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                return False
            os.write(fd, b"x")
            os.close(fd)
            return True
        wait_for(write, "the program waits", 30)

    # ---- comparisons ----

    def assert_totals(self, ledger, truth, context=""):
        """The ledger's totals are the oracle's, to the byte."""
        self.assertEqual(ledger.untracked, 0, context)
        for name in FIGURES[:4] + ("live_bytes", "live_blocks"):
            self.assertEqual(ledger.total(name), truth.total[name], f"{name} {context}")
        self.assertEqual(ledger.unknown_frees, truth.total["unknown_frees"], context)
        self.assertEqual(ledger.missed_frees, truth.total["replaced_blocks"], context)
        self.assertEqual(ledger.size_class, truth.size_class, context)
        self.assert_shadow(ledger, context)

    def assert_shadow(self, ledger, context=""):
        """The blocks in the shadow are the live ones, each at its site."""
        held = {}
        for _, size, site in ledger.blocks:
            row = held.setdefault(site, [0, 0])
            row[0] += 1
            row[1] += size
        for index, site in ledger.sites.items():
            self.assertEqual(held.get(index, [0, 0]), [site.live_blocks, site.live_bytes],
                             f"shadow and counters of site {index} {context}")

    def assert_report(self, report, truth, context=""):
        """The report's totals are the oracle's, low and high too; the sites sum up to them."""
        self.assertEqual(report["mode"], "exact")
        for name in ("allocations", "allocated_bytes", "live_bytes", "live_blocks"):
            true = truth.total[name]
            self.assertEqual(report["totals"][name], {"value": true, "low": true, "high": true},
                             f"{name} {context}")
            for part in ("sites", "components"):
                self.assertEqual(sum(row[name]["value"] for row in report[part]
                                     if not row.get("domain")), true, f"{part}: {name} {context}")

    def assert_peak(self, found, true, threads, context="", underway=0):
        """A peak is right to 1/128 and what each thread has not handed in, or left when it ended.

        The oracle counts a birth before the agent, and a death after it: underway is what threads
        may have had between the two at the peak, in bytes.
        """
        self.assertLessEqual(abs(found - true), true / 128 + pending_bytes(threads) + underway,
                             f"peak {found}, truly {true} {context}")

    def assert_stacks(self, ledger, truth, least=0.99):
        """Each whole stack has the figures of the oracle's; a cut one is a beginning of its own."""
        mine, theirs = ledger.by_stack(), truth.by_stack()
        whole = {stack: row for (stack, complete), row in mine.items() if complete}
        for stack, row in whole.items():
            self.assertIn(stack, theirs, "a stack that never was: " + words(stack))
            if all(stack[:len(cut)] != cut for cut, complete in mine if not complete):
                self.assertEqual(row, theirs[stack], words(stack))
            for value, true in zip(row, theirs[stack]):
                self.assertLessEqual(value, true, words(stack))
        for (cut, complete), _ in mine.items():
            if not complete and cut:
                self.assertTrue(any(stack[:len(cut)] == cut for stack in theirs),
                                "no beginning of any stack: " + words(cut))
        seen = sum(row[0] for row in whole.values())
        self.assertGreaterEqual(seen, least * truth.total["allocations"], "whole stacks are rare")

    def assert_accounts(self, report, accounts, context=""):
        """Each function's figures in the report are those that the program kept itself."""
        for name, (allocations, allocated, frees, freed) in accounts.items():
            true = {"allocations": allocations, "allocated_bytes": allocated,
                    "live_blocks": allocations - frees, "live_bytes": allocated - freed}
            rows = [site for site in report["sites"] if site["function"] == name]
            found = {key: sum(site[key]["value"] for site in rows) for key in true}
            self.assertEqual(found, true, f"{name} {context}")


def words(stack):
    """Write a stack for a message."""
    return " ".join(f"{pc:x}" for pc in stack)


def ledger_of(collector, pid):
    """Return what a process's ledger says now."""
    return exact_ledger.read_ledger(collector, pid)


def kill(pid):
    """Kill without mercy."""
    os.kill(pid, signal.SIGKILL)


def expectation(lines):
    """Return the figures that a program printed about itself, a JSON line."""
    return next(json.loads(line) for line in reversed(lines) if line.startswith("{"))


__all__ = ["BUILD", "ExactTest", "Oracle", "RIPTIDE", "SUPPORT", "expectation", "kill", "ledger_of", "pending_bytes"]
