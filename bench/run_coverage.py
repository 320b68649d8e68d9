#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Judge the estimates end to end: do the 95 % intervals of a report cover the truth in 95 % of the runs?

Each run is a seeded allocation program under `riptide run`, with another seed for the program and for the
sampler, read back by `riptide report`. The program counts its own blocks site by site and shares no code
with the agent; run_coverage.py --check-truth compares its figures with those of a counting preload.

A site of the program is a function; a report lists a row per stack, and pools the rows of a function under
"operations", which is what is compared. A function that was never sampled is in no report: it has no
interval that could cover anything, so its row says how many there were, and it counts as 0 for the bias.
"""
import argparse
import concurrent.futures
import dataclasses
import json
import math
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
FIGURES = ("live_bytes", "live_blocks", "allocated_bytes", "allocations")
SITE = re.compile(r"site_\d\d")
RUN_SECONDS = 120
# The bars. A share's limits are widened by so many standard deviations: one check in 2000 by chance
# for an estimator that only just meets its bar, and far fewer for one in its middle.
BYTES_COVER, BIAS_MOST, DEVIATIONS = (0.93, 0.97), 0.01, 3.3
# Counts cannot know of sizes that were never sampled: docs/sampling.md, section 7.
COUNTS_COVER = (0.85, 1.0)


@dataclasses.dataclass(frozen=True)
class Regime:
    """How the program allocates and how it is watched."""

    name: str
    interval: str = "64K"
    threads: int = 1
    megabytes: int = 64
    sites: int = 0xffff
    kill: bool = False
    thinned: bool = False


TINY, SMALL, LARGE, RESIZED = 0x000f, 0x003f, 0x3fc0, 0xc104
REGIMES = (
    Regime("16K, 1 thread", "16K", megabytes=32),
    Regime("64K, 1 thread"),
    Regime("512K, 1 thread", "512K", megabytes=256),
    Regime("64K, 4 threads freeing each other's blocks", threads=4),
    Regime("512K, 4 threads freeing each other's blocks", "512K", threads=4, megabytes=256),
    Regime("4K, small sizes only", "4K", sites=SMALL, megabytes=8),
    Regime("64K, large sizes only", sites=LARGE, megabytes=128),
    Regime("16K, calloc and realloc only", "16K", sites=RESIZED, megabytes=32),
    Regime("64K, killed by SIGKILL", kill=True),
    Regime("32 bytes, thinned, 4 threads", "32", threads=4, sites=TINY, megabytes=12, thinned=True),
    Regime("interval adapts, 4 threads", "", threads=4, megabytes=512),
)


@dataclasses.dataclass(frozen=True)
class Point:
    """One figure of one run: what was true and what the report says; listed when it says anything."""

    name: str
    truth: int
    value: int = 0
    low: int = 0
    high: int = 0
    listed: bool = False

    def covered(self):
        """Tell whether the interval holds the truth."""
        return self.low <= self.truth <= self.high


class CoverageError(Exception):
    """A run did not do its work, or a report contradicts itself."""


def program_of(build, regime, seed, truth):
    """Return the command line of the observed program."""
    return [os.path.join(build, "test", "support", "alloc_program"), "--seed", str(seed),
            "--threads", str(regime.threads), "--megabytes", str(regime.megabytes),
            "--sites", str(regime.sites), *(["--kill"] if regime.kill else []), truth]


def run_once(build, regime, seed):
    """Run a regime with a seed; return the truth and the report."""
    riptide = os.path.join(build, "src", "cli", "riptide")
    interval = ["--interval", regime.interval] if regime.interval else []
    with tempfile.TemporaryDirectory(prefix="riptide-coverage-") as folder:
        truth, recording = os.path.join(folder, "truth.json"), os.path.join(folder, "r.riptide")
        run = subprocess.run(
            [riptide, "run", "--quiet", "--listen", "none", "--seed", str(seed * 7919 + 1),
             *interval, "-o", recording, "--", *program_of(build, regime, seed, truth)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_SECONDS,
            check=False)
        if run.returncode != (137 if regime.kill else 0) or run.stderr:
            raise CoverageError(f"seed {seed}: exit {run.returncode}: {run.stderr.strip()}")
        report = subprocess.run([riptide, "report", recording, "--json"], capture_output=True,
                                text=True, timeout=RUN_SECONDS, check=False)
        if report.returncode != 0:
            raise CoverageError(f"seed {seed}: {report.stderr.strip()}")
        with open(truth, encoding="ascii") as handle:
            return json.load(handle), json.loads(report.stdout)


def broken_sums(report):
    """Return what is wrong with a report's sums: every level must add up to the total, exactly."""
    wrong = []
    for figure in FIGURES:
        total = report["totals"][figure]
        for level in ("sites", "components", "operations"):
            found = sum(row[figure]["value"] for row in report[level])
            if found != total["value"]:
                wrong.append(f"{figure}: {level} add up to {found}, the total is {total['value']}")
        rows = [total] + [row[figure] for row in report["sites"]]
        if any(not row["low"] <= row["value"] <= row["high"] for row in rows):
            wrong.append(f"{figure}: a value outside its interval")
    return wrong


def point_of(name, truth, estimate):
    """Pair a true figure with a report's, which may be missing."""
    if estimate is None:
        return Point(name, truth)
    return Point(name, truth, estimate["value"], estimate["low"], estimate["high"], True)


def compare(truth, report):
    """Return per figure the total's point and the points of the sites that truly have any."""
    rows = {}
    for row in report["operations"]:
        if SITE.fullmatch(row["name"]):
            if row["name"] in rows:
                raise CoverageError(f"{row['name']} is listed twice")
            rows[row["name"]] = row
    return {figure: (point_of("total", truth["totals"][figure], report["totals"][figure]),
                     [point_of(site["function"], site[figure],
                               rows.get(site["function"], {}).get(figure))
                      for site in truth["sites"] if site[figure] > 0])
            for figure in FIGURES}


class Sample:
    """The runs of one regime, or of several together."""

    def __init__(self):
        self.points = {figure: ([], []) for figure in FIGURES}
        self.wrong = []
        self.losses = {}
        self.runs = 0

    def add(self, truth, report):
        """Take a run in."""
        self.runs += 1
        self.wrong += broken_sums(report)
        for name, count in report["losses"].items():
            self.losses[name] = self.losses.get(name, 0) + count
        for figure, (total, sites) in compare(truth, report).items():
            self.points[figure][0].append(total)
            self.points[figure][1].extend(sites)

    def distorted(self, change):
        """Return a copy whose listed points are changed: what a wrong estimator would have said."""
        other = Sample()
        other.runs = self.runs
        for figure, both in self.points.items():
            other.points[figure] = tuple([change(p) if p.listed else p for p in points]
                                         for points in both)
        return other

    def pool(self, other):
        """Take another sample's runs in."""
        self.runs += other.runs
        self.wrong += other.wrong
        for name, count in other.losses.items():
            self.losses[name] = self.losses.get(name, 0) + count
        for figure in FIGURES:
            for mine, theirs in zip(self.points[figure], other.points[figure]):
                mine.extend(theirs)


def coverage(points):
    """Return how many listed points are covered, and how many there are."""
    listed = [point for point in points if point.listed]
    return sum(point.covered() for point in listed), len(listed)


def misses(points):
    """Return how many listed points lie below and above their intervals."""
    listed = [point for point in points if point.listed]
    return sum(p.truth < p.low for p in listed), sum(p.truth > p.high for p in listed)


def bias(points):
    """Return the mean relative error over points and its standard error; a point per run."""
    truth = sum(point.truth for point in points)
    if truth == 0:
        return 0.0, 0.0
    count, mean = len(points), sum(point.value for point in points) / truth
    square = sum((point.value - mean * point.truth) ** 2 for point in points)
    return mean - 1.0, math.sqrt(square * count / max(1, count - 1)) / truth


def worst_site(points):
    """Return name, bias and standard error of the site whose bias is least likely to be chance."""
    sites = {}
    for point in points:
        sites.setdefault(point.name, []).append(point)
    found = ("-", 0.0, 0.0)
    for name, own in sorted(sites.items()):
        mean, error = bias(own)
        # A site of blocks that are hardly ever missed has no spread to speak of: not chance, nothing.
        if len(own) >= 10 and error > 0.001 and (
                found[2] == 0 or abs(mean / error) > abs(found[1] / found[2])):
            found = (name, mean, error)
    return found


def measure(build, regime, runs, first_seed=1, jobs=2):
    """Run a regime many times; return the sample."""
    sample = Sample()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        seeds = range(first_seed, first_seed + runs)
        for truth, report in pool.map(lambda seed: run_once(build, regime, seed), seeds):
            sample.add(truth, report)
    if regime.thinned and sample.losses.get("samples_thinned", 0) == 0:
        raise CoverageError(f"{regime.name}: the table was never thinned")
    return sample


def percent(covered, count):
    """Return a share with its uncertainty (one standard error) as text."""
    if count == 0:
        return "-"
    share = covered / count
    return f"{100 * share:.1f} ± {100 * math.sqrt(share * (1 - share) / count):.1f}"


def table_rows(name, sample):
    """Yield the markdown rows of one regime."""
    for figure in FIGURES:
        total, sites = sample.points[figure]
        mean, error = bias(total)
        site, site_mean, site_error = worst_site(sites)
        below, above = misses(sites)
        hidden = sum(not point.listed for point in sites)
        yield (f"| {name} | {figure} | {percent(*coverage(total))} | {100 * mean:+.2f} ± "
               f"{100 * error:.2f} | {percent(*coverage(sites))} | {below} / {above} | "
               f"{100 * hidden / max(1, len(sites)):.1f} | {site} {100 * site_mean:+.1f} ± "
               f"{100 * site_error:.1f} |")
        name = ""


def relative_bias(points):
    """Return the mean over runs of a run's relative error, and its standard error."""
    errors = [point.value / point.truth - 1.0 for point in points]
    mean = sum(errors) / len(errors)
    square = sum((error - mean) ** 2 for error in errors) / max(1, len(errors) - 1)
    return mean, math.sqrt(square / len(errors))


def coverage_complaint(points, least, most):
    """Return what is wrong with a coverage that should lie between two shares, or None."""
    covered, count = coverage(points)
    low = least - DEVIATIONS * math.sqrt(least * (1 - least) / count)
    high = most + DEVIATIONS * math.sqrt(most * (1 - most) / count) if most < 1 else 1.0
    if low <= covered / count <= high:
        return None
    return (f"{covered} of {count} intervals hold the truth: {100 * covered / count:.1f} %, "
            f"not {100 * low:.1f} to {100 * high:.1f}")


def judge(sample):
    """Return the complaints about a sample: what a right estimator shows once in a thousand times."""
    complaints = list(sample.wrong)
    for figure in FIGURES:
        total, sites = sample.points[figure]
        least, most = BYTES_COVER if figure.endswith("bytes") else COUNTS_COVER
        for name, points in (("total", total), ("sites", sites)):
            complaint = coverage_complaint(points, least, most)
            if complaint:
                complaints.append(f"{figure}, {name}: {complaint}")
        mean, error = relative_bias(total)
        if figure.endswith("bytes") and abs(mean) > BIAS_MOST + DEVIATIONS * error:
            complaints.append(f"{figure}: bias {100 * mean:+.2f} %, by chance {100 * error:.2f}")
    if sample.losses.get("samples_not_stored", 0):
        complaints.append(f"{sample.losses['samples_not_stored']} samples were not stored")
    return complaints


HEADER = """\
| regime | figure | total covered, % | total's bias, % | sites covered, % | truth below / above | \
sites never sampled, % | least likely site bias, % |
|---|---|---|---|---|---|---|---|"""


def check_truth(build, seed):
    """Compare the program's own figures with those of the counting preload."""
    oracle = os.path.join(build, "test", "support", "count_oracle.so")
    for regime in REGIMES:
        with tempfile.TemporaryDirectory(prefix="riptide-coverage-") as folder:
            truth, counted = os.path.join(folder, "truth.json"), os.path.join(folder, "count.json")
            plain = dataclasses.replace(regime, kill=False)
            subprocess.run(program_of(build, plain, seed, truth), check=True,
                           env={**os.environ, "LD_PRELOAD": oracle, "COUNT_ORACLE_OUT": counted})
            with open(truth, encoding="ascii") as one, open(counted, encoding="ascii") as two:
                own, other = json.load(one), json.load(two)
        extra = {figure: other[figure] - own["totals"][figure] for figure in FIGURES}
        # The C library allocates a little for itself; nothing may be missing, nothing be more.
        if any(not 0 <= extra[figure] <= own["totals"][figure] / 1000 + 64 for figure in FIGURES):
            raise CoverageError(f"{regime.name}: the two truths differ: {extra}")
        print(f"{regime.name}: equal, but for what libc allocates for itself: {extra}", flush=True)


def main():
    """Run the chosen regimes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--runs", type=int, default=200, help="runs per regime")
    parser.add_argument("--seed", type=int, default=1, help="the first run's seed")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--regime", default="", help="only regimes whose name contains this")
    parser.add_argument("--check-truth", action="store_true", help="compare the two truths only")
    options = parser.parse_args()
    if options.check_truth:
        check_truth(options.build, options.seed)
        return 0
    print(HEADER)
    everything = Sample()
    for index, regime in enumerate(REGIMES):
        if options.regime not in regime.name:
            continue
        first_seed = options.seed + index * 1_000_000
        sample = measure(options.build, regime, options.runs, first_seed, options.jobs)
        print("\n".join(table_rows(regime.name, sample)), flush=True)
        lost = {name: count for name, count in sample.losses.items() if count}
        print(f"{regime.name}: losses {lost}, broken sums {len(sample.wrong)}", file=sys.stderr)
        everything.pool(sample)
    print("\n".join(table_rows(f"all, {everything.runs} runs", everything)))
    complaints = judge(everything)
    for line in complaints[:20]:
        print(line, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
