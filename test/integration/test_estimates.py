#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The estimates, end to end: 250 seeded runs of a program that knows its own truth.

The short form of bench/run_coverage.py, which has the long table, the bars and their tolerances. The
limits are such that a right program fails less than once in a thousand times; the last tests see to
it that wrong estimators do fail, with the same runs.
"""
import contextlib
import dataclasses
import io
import os
import sys
import unittest

import riptide_test

sys.path.insert(0, os.path.join(riptide_test.ROOT, "bench"))
import run_coverage  # noqa: E402

RUNS = 50
REGIMES = ("64K, 1 thread", "64K, 4 threads freeing each other's blocks",
           "16K, calloc and realloc only", "64K, killed by SIGKILL", "32 bytes, thinned, 4 threads")


def stretched(point, factor):
    """Return a point with an interval that is wider or narrower around its value."""
    low = point.value - (point.value - point.low) * factor
    high = point.value + (point.high - point.value) * factor
    return dataclasses.replace(point, low=low, high=high)


def scaled(point, factor):
    """Return a point all of whose figures are off by a factor."""
    return dataclasses.replace(point, value=point.value * factor, low=point.low * factor,
                               high=point.high * factor)


class EstimatesTest(unittest.TestCase):
    """One set of runs, judged several times."""

    @classmethod
    def setUpClass(cls):
        cls.sample = run_coverage.Sample()
        for index, name in enumerate(REGIMES):
            regime = next(each for each in run_coverage.REGIMES if each.name == name)
            first_seed = 1000 * (index + 1)
            cls.sample.pool(run_coverage.measure(riptide_test.BUILD, regime, RUNS, first_seed))
        for figure in run_coverage.FIGURES:
            total, sites = cls.sample.points[figure]
            mean, error = run_coverage.relative_bias(total)
            print(f"{figure}: total covered {run_coverage.percent(*run_coverage.coverage(total))} %, "
                  f"bias {100 * mean:+.2f} ± {100 * error:.2f} %, sites covered "
                  f"{run_coverage.percent(*run_coverage.coverage(sites))} %")

    def assert_rejected(self, change, expected):
        """The sample, changed, must meet a complaint about each expected subject."""
        complaints = run_coverage.judge(self.sample.distorted(change))
        for subject in expected:
            self.assertTrue(any(line.startswith(subject) for line in complaints),
                            f"nothing about {subject} in {complaints}")

    def test_the_counting_preload_agrees_with_the_programs_own_truth(self):
        with contextlib.redirect_stdout(io.StringIO()):
            run_coverage.check_truth(riptide_test.BUILD, seed=7)

    def test_every_report_adds_up_to_its_totals(self):
        self.assertEqual(self.sample.wrong, [])

    def test_intervals_cover_the_truth_and_values_are_unbiased(self):
        self.assertEqual(run_coverage.judge(self.sample), [])

    def test_intervals_half_as_wide_would_fail(self):
        self.assert_rejected(lambda point: stretched(point, 0.5),
                             ("live_bytes, total", "live_bytes, sites", "allocated_bytes, total",
                              "allocated_bytes, sites"))

    def test_intervals_twice_as_wide_would_fail(self):
        self.assert_rejected(lambda point: stretched(point, 2.0),
                             ("live_bytes, sites", "allocated_bytes, sites"))

    def test_a_bias_of_three_percent_would_fail(self):
        for factor in (0.97, 1.03):
            self.assert_rejected(lambda point, by=factor: scaled(point, by),
                                 ("live_bytes: bias", "allocated_bytes: bias"))


if __name__ == "__main__":
    riptide_test.main()
