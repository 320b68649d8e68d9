# SPDX-License-Identifier: Apache-2.0
"""The gauntlet: every legal behaviour comes out the same with the agent as without.

Each case of test/support/gauntlet runs natively and under `riptide run`, once with every allocation
sampled (the slow path all the time) and once with the default interval. Exit status, stdout and
stderr must be equal to the byte; measured figures must be close.
"""
import functools
import os
import subprocess

import riptide_test
from riptide_test import BUILD, RIPTIDE, RiptideTest, main, need

SUPPORT = os.path.join(BUILD, "test", "support")
GAUNTLET = os.path.join(SUPPORT, "gauntlet")
REENTRANT = os.path.join(SUPPORT, "reentrant_alloc.so")
CASE_TIMEOUT_S = 60

# Extra KiB that a figure of the observed run may have over the native one.
RSS_SLACK_KIB = 2048
PEAK_SLACK = 0.05
ABORTED = 128 + 6
PEAK_SLACK_KIB = 5120
AGENT_STACK_BYTES = 1024
USABLE_SLACK_BYTES = 16


@functools.lru_cache(maxsize=None)
def cases():
    """Return the names of all cases."""
    run = subprocess.run([GAUNTLET], capture_output=True, text=True, check=True)
    return run.stdout.split()


class Outcome:
    """Exit status, stdout, stderr and figures of one run."""

    def __init__(self, command, figures_path, env):
        run = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, env=env, timeout=CASE_TIMEOUT_S, check=False)
        # A shell's 128 + n is what riptide gives back for a signal.
        self.status = run.returncode if run.returncode >= 0 else 128 - run.returncode
        self.stdout, self.stderr = run.stdout, run.stderr
        self.figures = {}
        if os.path.exists(figures_path):
            with open(figures_path, encoding="ascii") as handle:
                self.figures = {name: int(value) for name, value in map(str.split, handle)}
            os.unlink(figures_path)


class Comparison(RiptideTest):
    """Runs cases both ways and compares."""

    def outcomes(self, program, name, options, preload=None):
        """Run a case natively and observed; return both outcomes."""
        env = dict(os.environ)
        env.pop("LD_PRELOAD", None)
        # Meson's filling of fresh blocks makes resident what a program leaves untouched.
        env.pop("MALLOC_PERTURB_", None)
        if preload:
            env["LD_PRELOAD"] = preload
        figures = self.path("figures")
        command = [program, name, figures]
        run = [RIPTIDE, "run", "--quiet", "--listen", "none", "-o", self.path("out.riptide"),
               *options, "--"]
        return Outcome(command, figures, env), Outcome(run + command, figures, env)

    def assert_same(self, name, options, preload=None, program=GAUNTLET):
        """Demand the native outcome of a case under observation."""
        native, observed = self.outcomes(program, name, options, preload)
        self.assertEqual(observed.stdout, native.stdout)
        self.assertEqual(observed.status, native.status)
        if native.status == ABORTED:
            # Which of glibc's checks notices a double free depends on what its caches hold.
            self.assertEqual(bool(observed.stderr), bool(native.stderr))
        else:
            self.assertEqual(observed.stderr, native.stderr)
        for again in (True, True, False):
            try:
                self.assert_close(native.figures, observed.figures)
                break
            except AssertionError:
                # Some allocators give memory back by the clock, so a busy machine raises a peak.
                if not again:
                    raise
                native, observed = self.outcomes(program, name, options, preload)
        return native, observed

    def assert_close(self, native, observed):
        """Compare the figures of both runs."""
        self.assertEqual(set(native), set(observed))
        for name, value in observed.items():
            before = native[name]
            if name == "rss_growth_kib":
                self.assertLessEqual(value, before + RSS_SLACK_KIB, name)
            elif name == "peak_rss_kib":
                self.assertLessEqual(value, before * (1 + PEAK_SLACK) + PEAK_SLACK_KIB, name)
            elif name == "usable_excess_bytes":
                self.assertLessEqual(value, before + USABLE_SLACK_BYTES, name)
            elif name.startswith("stack_"):
                print(f"{name}: {before} natively, {value} observed: {value - before} for the agent")
                self.assertLessEqual(value - before, AGENT_STACK_BYTES, name)

    def both(self, name, **extra):
        """Run a case with every allocation sampled, then with the default interval."""
        for options in (["--interval", "1"], []):
            with self.subTest(options=options):
                native, _ = self.assert_same(name, options, **extra)
        return native


class GauntletTest(Comparison):
    """One test a case, generated below, and some that look closer."""

    def test_a_million_under_a_kill_filter_were_sampled(self):
        """Zero system calls of the agent: the filter would have killed the program."""
        self.assert_same("million_under_seccomp", ["--interval", "64"])
        totals = self.report(self.path("out.riptide"))["totals"]
        self.assertGreater(totals["allocations"]["value"], 700000)

    def test_a_rare_sample_leaves_a_growing_block_where_it_can_grow(self):
        """A sampled block that could not grow in place made 1 GB resident for 24 MB."""
        for interval in ("8M", "1G"):
            with self.subTest(interval=interval):
                self.assert_same("growth_in_small_steps", ["--interval", interval])

    def test_signal_anywhere_in_the_slow_path(self):
        """An allocator that may be re-entered lets a handler interrupt each instruction of ours."""
        for name in ("reentrant_handler_allocates", "reentrant_jump_out_of_handler"):
            for interval in ("1", "64", "4096"):
                with self.subTest(name=name, interval=interval):
                    self.assert_same(name, ["--interval", interval], preload=REENTRANT)

    def test_sampling_goes_on_after_a_jump_out_of_the_slow_path(self):
        self.assert_same("reentrant_jump_out_of_handler", ["--interval", "64"], preload=REENTRANT)
        report = self.report(self.path("out.riptide"))
        self.assertGreater(report["losses"]["guard_stale"], 0)
        self.assertGreater(report["totals"]["allocations"]["value"], 2000)

    def test_cxx_exceptions_and_static_destructors(self):
        program = os.path.join(SUPPORT, "gauntlet_cxx")
        if not os.path.exists(program):
            self.skipTest("no C++ compiler")
        native = self.both("", program=program)
        self.assertEqual(native.status, 5, native.stdout)

    def test_system_calls_are_the_native_ones(self):
        """strace counts them: start-up adds a handful, the run nothing but allocator noise."""
        strace = need("strace")
        counts = {}
        for kind, prefix in (("native", []),
                             ("observed", [RIPTIDE, "run", "--quiet", "--listen", "none", "-o",
                                           self.path("out.riptide"), "--interval", "64", "--"])):
            log = self.path(kind)
            subprocess.run([*prefix, strace, "-f", "-c", "-o", log, GAUNTLET, "steady_churn"],
                           check=True, stdout=subprocess.DEVNULL, timeout=CASE_TIMEOUT_S)
            counts[kind] = self.calls_in(log)
        extra = {name: count - counts["native"].get(name, 0)
                 for name, count in counts["observed"].items()}
        memory = sum(extra.pop(name, 0) for name in ("brk", "mmap", "munmap", "mremap", "madvise"))
        self.assertLessEqual(sum(extra.values()), 24, extra)
        self.assertLessEqual(memory, 64)

    @staticmethod
    def calls_in(log):
        """Return the counts of an strace -c table."""
        with open(log, encoding="ascii") as handle:
            rows = [line.split() for line in handle]
        return {row[-1]: int(row[3]) for row in rows
                if len(row) >= 5 and row[0][0].isdigit() and row[-1] != "total"}


def add_case(name):
    """Give the class a test for one case on glibc."""
    def test(self):
        self.both(name)
    setattr(GauntletTest, f"test_{name}", test)


if os.path.exists(riptide_test.RIPTIDE) and os.path.exists(GAUNTLET):
    for case_name in cases():
        if not case_name.startswith("reentrant_"):
            add_case(case_name)

if __name__ == "__main__":
    main()
