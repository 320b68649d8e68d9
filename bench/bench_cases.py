# SPDX-License-Identifier: Apache-2.0
"""What run_peers.py runs: the programs, how much work each does, and under which profilers."""
import os
import statistics

import bench_inputs

OURS = ["without", "without again", "riptide exact"]
PEERS = ["heaptrack", "jemalloc", "jemalloc prof", "tcmalloc", "tcmalloc heap profile"]
THREADS = (1, 2, 4, 8)
LIST_THREADS = 16


class Case:
    """One program with one amount of work, and the tools that run it."""

    def __init__(self, program, work, tools, prints=(), least=0):
        self.program = program
        self.work = work          # in words
        self.tools = tools        # names
        self.prints = prints      # the figures on its last line; without any, CPU and wall are the figures
        self.least = least        # allocations that the program makes for certain
        self.most_repetitions = 99
        self.runs = {}            # tool -> list by repetition of the figures, None where it did not run
        self.errors = {}          # tool -> why it has no figures
        self.stopped = {}         # tool -> CPU seconds when it was stopped
        self.peaks = {}           # tool -> bytes
        self.written = {}         # tool -> bytes
        self.text = ""            # what the plain program printed
        self.report = None        # what riptide report says of the recording

    @property
    def name(self):
        """The program's name."""
        return self.program.name

    def pairs(self, tool, key):
        """Return (figure with the tool, figure of what it is compared with) of each repetition with both."""
        found = []
        for index, run in enumerate(self.runs.get(tool.name, [])):
            others = [self.runs[name][index] for name in baselines(tool) if self.runs.get(name)]
            others = [other[key] for other in others if other]
            if run and others:
                found.append((run[key], statistics.fmean(others)))
        return found

    def ratios(self, tool, key="cpu"):
        """Return with / without of each repetition."""
        return [a / b for a, b in self.pairs(tool, key)]

    def added(self, tool, key):
        """Return with - without of each repetition."""
        return [a - b for a, b in self.pairs(tool, key)]


def baselines(tool):
    """Return the names of the runs that a tool is compared with."""
    return ["without", "without again"] if tool.against == "without" and tool.name != "without again" \
        else [tool.against]


def built(build, program, *arguments):
    """Return the command of a program of ours."""
    return [os.path.join(build, "bench", program)] + [str(argument) for argument in arguments]


def stress_cases(build, nodes):
    """Return the programs that do little but allocate; the slower a profiler, the smaller its part of the work."""
    whole, part, tiny = OURS + ["heaptrack"], ["without", "riptide exact"] + PEERS, ["without", "DHAT"]
    cases = []
    for name, program, unit, counts in (("cfrac-like", "bench_cfrac_like", "number", (70, 3, 1)),
                                        ("espresso-like", "bench_espresso_like", "problem", (360, 15, 4))):
        for count, tools in zip(counts, (whole, part, tiny)):
            cases.append(Case(bench_inputs.Program(name, "M", built(build, program, count)),
                              f"{count} {unit}{'s' * (count > 1)}", tools))
    for count, tools in ((4_000_000, whole), (50_000, part)):
        program = bench_inputs.Program("1 M live blocks", "H", built(build, "bench_churn", 1_000_000, count))
        cases.append(Case(program, f"{count:,} replaced", tools, least=1_000_000 + count))
    for count, tools, repetitions in ((nodes, OURS, 2), (50_000, part, 99)):
        program = bench_inputs.Program(f"std::list, {LIST_THREADS} threads", "H",
                                       built(build, "bench_list", count, LIST_THREADS))
        cases.append(Case(program, f"{count:,} nodes a thread", tools, least=count * LIST_THREADS))
        cases[-1].most_repetitions = repetitions
    return cases


def pair_cases(build):
    """Return the programs that print nanoseconds per pair."""
    both, cases = ("cpu_ns_per_pair", "wall_ns_per_pair"), []
    for frames in (1, 33):
        program = bench_inputs.Program(f"pair, {frames} frame{'s' * (frames > 1)}", "N",
                                       built(build, "bench_deep", frames))
        cases.append(Case(program, "0.4 s", OURS + PEERS, both, least=100_000))
    threads = [(count, 0, f"churn, {count} thread{'s' * (count > 1)}") for count in THREADS]
    for count, every, name in threads + [(THREADS[-1], 16, f"churn, {THREADS[-1]} threads, handing over")]:
        for pairs, tools in ((2_000_000, OURS), (40_000, ["without"] + PEERS)):
            program = bench_inputs.Program(name, "N", built(build, "bench_threads", count, pairs, every))
            cases.append(Case(program, f"{pairs:,} pairs a thread", tools, both[:1], least=count * pairs))
    return cases
