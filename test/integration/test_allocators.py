# SPDX-License-Identifier: Apache-2.0
"""What an allocator says of itself, and what a forced release does, behind each allocator.

allocator_program allocates known amounts and writes every byte; each figure that is known must move
with them, and the resident set is read without the code under test.
"""
import json
import os
import re
import subprocess

import riptide_test
from riptide_test import RiptideTest

PROGRAM = os.path.join(riptide_test.BUILD, "test", "support", "allocator_program")
MIB = 1 << 20
SMALL = 64 * 1024 * 1000
LARGE = 128 * MIB
FRAGMENTS = 12800 * (16 << 10)
PINS = 12800 * 64
FIGURES = {"allocated", "active", "metadata", "resident", "mapped", "retained"}


def library(name):
    """Return the path of a shared library of the system, or None."""
    listing = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False)
    match = re.search(rf"^\s*{re.escape(name)} .*=> (\S+)$", listing.stdout, re.M)
    return match.group(1) if match else None


class Allocator(RiptideTest):
    """What must hold behind every allocator; the classes below say which, and what it tells."""

    name, file, known = "", None, FIGURES
    # What a step may take beyond what was asked for: rounding to size classes, whole pages.
    overhead = 1.15

    def environment(self):
        """Return the environment that puts the allocator in front."""
        if self.file is None:
            return dict(os.environ)
        path = library(self.file)
        if path is None:
            self.skipTest(f"{self.file} is not installed")
        return dict(os.environ, LD_PRELOAD=path)

    def steps(self, text):
        """Return what the program printed, by step."""
        return {line["step"]: line for line in map(json.loads, text.splitlines())}

    def run_program(self):
        """Run the program natively; return its steps."""
        run = subprocess.run([PROGRAM], env=self.environment(), capture_output=True, text=True,
                             timeout=60, check=False)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        return self.steps(run.stdout)

    def assert_rise(self, steps, figure, first, second, asked):
        """Assert that a figure rose by what was asked for and a little."""
        rise = steps[second][figure] - steps[first][figure]
        self.assertGreaterEqual(rise, asked * 0.99, (figure, first, second))
        self.assertLessEqual(rise, asked * self.overhead + 4 * MIB, (figure, first, second))

    def check_linked(self):
        """Check that an agent which is linked into the program is not taken for the allocator."""
        for variant in ("_heap", "_static"):
            if not os.path.exists(PROGRAM + variant):
                continue
            with self.subTest(variant=variant):
                run = subprocess.run([PROGRAM + variant], env=self.environment(), timeout=60,
                                     capture_output=True, text=True, check=False)
                self.assertEqual((run.returncode, run.stderr), (0, ""))
                steps = self.steps(run.stdout)
                self.check_known(steps)
                self.assert_rise(steps, "allocated", "small", "large", LARGE)
                self.check_release(steps, "gc_fragments", 100 * MIB)

    def check_known(self, steps):
        """Check the name and which figures are known, in every step but an empty start."""
        for name, step in steps.items():
            if "allocator" not in step:
                continue
            self.assertEqual(step["allocator"], self.name)
            known = {figure for figure in FIGURES if step[figure] is not None}
            if name != "start":
                self.assertEqual(known, self.known, name)
            self.assertEqual(known == FIGURES, step["unavailable"] == "", name)

    def check_allocated(self, steps):
        """Check that what is allocated is what the program allocated."""
        self.assert_rise(steps, "allocated", "small", "large", LARGE)
        self.assert_rise(steps, "allocated", "small_freed", "small", SMALL)
        self.assert_rise(steps, "allocated", "small_freed", "fragments", FRAGMENTS + PINS)
        self.assert_rise(steps, "allocated", "fragments_freed", "fragments", FRAGMENTS)
        self.assertAlmostEqual(steps["large_freed"]["allocated"], steps["small"]["allocated"],
                               delta=MIB)

    def check_order(self, steps):
        """Check what holds between the figures of one step."""
        for step in steps.values():
            if "allocator" not in step or step["allocated"] is None:
                continue
            self.assertLessEqual(step["allocated"], step["mapped"])
            if step["active"] is not None:
                self.assertLessEqual(step["allocated"], step["active"])
                # jemalloc reads its counters one after the other.
                self.assertLessEqual(step["active"] + step["metadata"], step["resident"] + MIB)
                self.assertLessEqual(step["resident"], step["mapped"])
                self.assertGreater(step["metadata"], 0)
                self.assertLess(step["metadata"], 16 * MIB)

    def check_resident(self, steps):
        """Check that what the allocator calls resident moves as the resident set does."""
        for first, second in (("small", "large"), ("fragments_freed", "pins")):
            moved = steps[second]["resident"] - steps[first]["resident"]
            truth = steps[second]["rss"] - steps[first]["rss"]
            self.assertAlmostEqual(moved, truth, delta=8 * MIB)
        self.assert_rise(steps, "active", "small", "large", LARGE)

    def check_release(self, steps, name, least):
        """Check a forced release against the resident set."""
        result = steps[name]
        self.assertEqual(result["error"], 0)
        self.assertAlmostEqual(result["before"], result["rss_before"], delta=MIB)
        self.assertAlmostEqual(result["after"], result["rss"], delta=MIB)
        self.assertEqual(result["freed"], max(0, result["before"] - result["after"]))
        self.assertGreater(result["freed"], least)
        self.assertGreater(result["duration_ns"], 0)

    def check_observed(self):
        """Run under riptide as well: the agent's malloc is not taken for the allocator."""
        for mode in ("sample", "exact"):
            run = self.riptide("run", "--quiet", "--listen", "none", "--mode", mode, "--",
                               PROGRAM, env=self.environment())
            self.assertEqual((run.returncode, run.stderr), (0, ""))
            steps = self.steps(run.stdout)
            self.check_known(steps)
            if "allocated" in self.known:
                self.assert_rise(steps, "allocated", "small", "large", LARGE)
                self.assert_rise(steps, "allocated", "small_freed", "fragments", FRAGMENTS + PINS)
            self.check_release(steps, "gc_all", 32 * MIB)


class GlibcTest(Allocator):
    """The C library's own."""

    name, known = "glibc", {"allocated", "mapped", "retained"}

    def test_figures_and_release(self):
        """What glibc does not count apart is said to be unknown."""
        steps = self.run_program()
        self.check_known(steps)
        self.check_allocated(steps)
        self.check_order(steps)
        for step in steps.values():
            if step.get("allocated") is not None:
                self.assertEqual(step["allocated"] + step["retained"], step["mapped"])
        self.assert_rise(steps, "retained", "fragments", "fragments_freed", FRAGMENTS)
        self.check_release(steps, "gc_fragments", 100 * MIB)

    def test_behind_the_agent(self):
        """The agent does not hide it."""
        self.check_observed()

    def test_with_the_agent_linked_in(self):
        """Neither does an agent in the program."""
        self.check_linked()


class JemallocTest(Allocator):
    """Through mallctl."""

    name, file, overhead = "jemalloc", "libjemalloc.so.2", 1.3

    def test_figures_and_release(self):
        """All six are known; address space moves between mapped and retained."""
        steps = self.run_program()
        self.check_known(steps)
        self.check_allocated(steps)
        self.check_order(steps)
        self.check_resident(steps)
        left = steps["fragments_freed"]["mapped"] - steps["pins"]["mapped"]
        kept = steps["pins"]["retained"] - steps["fragments_freed"]["retained"]
        self.assertGreater(kept, 50 * MIB)
        self.assertAlmostEqual(left, kept, delta=8 * MIB)
        self.check_release(steps, "gc_fragments", 100 * MIB)

    def test_behind_the_agent(self):
        """The agent does not hide it."""
        self.check_observed()

    def test_with_the_agent_linked_in(self):
        """Neither does an agent in the program."""
        self.check_linked()

    def test_linked_into_the_program(self):
        """A jemalloc inside the program, which exports nothing but malloc, is asked, too."""
        track = os.path.join(riptide_test.ROOT, "src", "track")
        sources = [os.path.join(track, f"track_{name}.c")
                   for name in ("allocator", "cgroup", "file", "gc", "process", "symbols")]
        build = subprocess.run(
            ["gcc", "-O1", "-fno-builtin", "-D_GNU_SOURCE", "-I", os.path.dirname(track), "-o",
             self.path("inside"), os.path.join(riptide_test.ROOT, "test", "support",
                                               "allocator_program.c"),
             *sources, "-l:libjemalloc.a", "-lstdc++", "-lm", "-lpthread", "-ldl"],
            capture_output=True, text=True, check=False)
        if build.returncode != 0:
            self.skipTest(f"gcc -l:libjemalloc.a: {build.stderr.splitlines()[-1:]}")
        run = subprocess.run([self.path("inside")], capture_output=True, text=True, timeout=60,
                             check=False)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        steps = self.steps(run.stdout)
        self.check_known(steps)
        self.check_allocated(steps)
        self.check_release(steps, "gc_fragments", 100 * MIB)


class TcmallocTest(Allocator):
    """gperftools, without its heap profiler."""

    name, file = "tcmalloc", "libtcmalloc_minimal.so.4"

    def test_figures_and_release(self):
        """All six are known."""
        steps = self.run_program()
        self.check_known(steps)
        self.check_allocated(steps)
        self.check_order(steps)
        self.check_resident(steps)
        self.assert_rise(steps, "retained", "fragments", "fragments_freed", FRAGMENTS)
        self.check_release(steps, "gc_fragments", 100 * MIB)

    def test_behind_the_agent(self):
        """The agent does not hide it."""
        self.check_observed()


class FullTcmallocTest(TcmallocTest):
    """gperftools with its heap profiler."""

    file = "libtcmalloc.so.4"
    test_behind_the_agent = None  # as above


class MimallocTest(Allocator):
    """Counts nothing but what it has committed, and gives back whole segments only."""

    name, file, known = "mimalloc", "libmimalloc.so.2", {"mapped"}

    def test_figures_and_release(self):
        """What is committed moves with a large block, and falls with a release."""
        steps = self.run_program()
        self.check_known(steps)
        self.assertGreaterEqual(steps["large"]["mapped"] - steps["small"]["mapped"], LARGE)
        self.assertGreaterEqual(steps["large"]["mapped"] - steps["large_freed"]["mapped"], LARGE)
        self.assertGreaterEqual(steps["pins"]["mapped"] - steps["end"]["mapped"], LARGE)
        self.check_release(steps, "gc_fragments", -1)
        self.check_release(steps, "gc_all", 100 * MIB)

    def test_behind_the_agent(self):
        """The agent does not hide it."""
        self.check_observed()


class OtherTest(RiptideTest):
    """An allocator that nobody knows."""

    def test_unknown_is_never_zero(self):
        """Nothing is known, a reason is given, and there is nothing to release with."""
        source = ("#include <stddef.h>\n"
                  "static char pool[1u << 30]; static size_t used;\n"
                  "void *malloc(size_t n) { void *p = pool + used;"
                  " used += (n + 31) / 16 * 16; return p; }\n"
                  "void free(void *p) { (void)p; }\n"
                  "void *calloc(size_t n, size_t m) { return malloc(n * m); }\n"
                  "void *realloc(void *p, size_t n) { char *q = malloc(n);"
                  " for (size_t i = 0; p && i < n; i++) q[i] = ((char *)p)[i]; return q; }\n")
        path = self.compile("bump.so", source, "-shared", "-fPIC")
        run = subprocess.run([PROGRAM], env=dict(os.environ, LD_PRELOAD=path), timeout=60,
                             capture_output=True, text=True, check=False)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        for step in map(json.loads, run.stdout.splitlines()):
            if "allocator" in step:
                self.assertEqual(step["allocator"], "other")
                self.assertTrue(all(step[figure] is None for figure in FIGURES))
                self.assertNotEqual(step["unavailable"], "")
            else:
                self.assertLess(step["error"], 0)


del Allocator  # no test of its own

if __name__ == "__main__":
    if os.path.exists(PROGRAM):
        riptide_test.main()
    print("skipped: allocator_program is not built")
    raise SystemExit(77)
