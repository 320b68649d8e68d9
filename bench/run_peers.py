#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measure exact mode beside other exact profilers, in one interleaved run.

heaptrack, jemalloc's profiler recording every allocation, gperftools' heap profiler and valgrind's DHAT,
all from Debian; bench_peers.py says how each is started. Each is compared with the same program without
it, of the same repetition: RipTide, heaptrack and DHAT with the program as it is, the other two with
their own allocator without its profiler. Nothing is pinned, because some profilers have a second process
that works beside the program.

CPU is user + system time of the whole process tree, interpreters and collectors included. Memory is the
highest sum over the tree, a shared page counted once; RipTide's and the plain program's in a run of its
own, that of the others during the timed run. "without again" is the control: the same program once more,
which says what difference this machine can tell. The peers are up to some hundred times slower than the
program: they run once, and most of them the allocation stresses with a part of the work, against the same
part without; "> 77" is a run that was stopped when it had used 77 times the CPU.
"""
import argparse
import json
import math
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import bench_inputs  # noqa: E402
import bench_peers  # noqa: E402
from bench_cases import OURS, PEERS, THREADS, Case, pair_cases, stress_cases  # noqa: E402
from bench_measure import (MIB, BenchError, Machine, TooLong, instructions_a_pair, interval,  # noqa: E402
                           machine_line, reap_orphans, table_lines)

SHOWN = ["riptide exact", "heaptrack", "jemalloc prof", "tcmalloc heap profile", "DHAT"]
CALLGRIND_PAIRS = (20_000, 60_000)
FEWEST_FOR_INTERVAL = 3
SHORTEST_WATCHED_SECONDS = 0.25  # the peak of a shorter run falls between two polls


def run_once(machine, case, tool, options, watch):
    """Run a case under a tool; return its figures and note what it wrote."""
    folder = tempfile.mkdtemp(dir=options.work)
    program = bench_inputs.Program(
        case.name, case.program.kind, case.program.argv, stdin=case.program.stdin, cwd=case.program.cwd,
        client=case.program.client, socket=case.program.socket,
        env=tool.environment(case.program.env, folder))
    try:
        cpu, wall, peak, text = machine.observe(tool.command(program.argv, folder), program, options.limit, watch)
        figures = {"cpu": cpu, "wall": wall}
        for key in case.prints:
            figures[key] = float(re.search(rf"\b{key}=([0-9.]+)", text).group(1))
        if watch and wall >= SHORTEST_WATCHED_SECONDS:
            case.peaks[tool.name] = peak
        if tool.name == "without":
            case.text = text
        if tool.writes:
            case.written[tool.name] = bench_peers.written_bytes(folder)
            if case.written[tool.name] == 0:
                raise BenchError("wrote no profile")
        if tool.name == "riptide exact" and case.report is None:
            case.report = read_report(options.riptide, os.path.join(folder, "bench.riptide"))
        return figures
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_report(riptide, path):
    """Return the mode, the totals and the losses of a recording."""
    run = subprocess.run([riptide, "report", "--json", path], capture_output=True, text=True, check=False)
    try:
        report = json.loads(run.stdout)
        return {key: report[key] for key in ("mode", "totals", "losses")}
    except (ValueError, KeyError) as error:
        return {"mode": f"unreadable: {error!r}", "totals": {}, "losses": {}}


def measure_case(machine, case, tools, options):
    """Run a case all its times, tools in rotating order."""
    def attempt(tool, watch):
        try:
            return run_once(machine, case, tool, options, watch)
        except (BenchError, OSError, AttributeError, subprocess.CalledProcessError) as error:
            case.errors[tool.name] = str(error)
            if isinstance(error, TooLong):
                case.stopped[tool.name] = error.cpu
                tool.tidy(error.pid)
            reap_orphans()
            return None
    here = [tool for tool in tools if tool.name in case.tools and not tool.missing]
    case.runs = {tool.name: [] for tool in here}
    attempt(here[0], False)  # warms the files up
    for repetition in range(min(options.repetitions, case.most_repetitions)):
        turn = repetition % len(here)
        for tool in here[turn:] + here[:turn]:
            skip = tool.name in case.errors or (tool.slow and repetition >= options.peer_repetitions)
            case.runs[tool.name].append(None if skip else attempt(tool, tool.slow))
    for tool in here:
        if not tool.slow and tool.name != "without again" and tool.name not in case.errors:
            attempt(tool, True)


def with_interval(values, form, rng):
    """Format a median, with its interval where there are enough values for one."""
    if len(values) < FEWEST_FOR_INTERVAL:
        return form.format(statistics.median(values))
    value, low, high = interval(values, statistics.median, rng)
    return f"{form.format(value)} ({form.format(low)} .. {form.format(high)})"


def mebibytes(count):
    """Format bytes."""
    return f"{count / MIB:.1f} MiB" if count >= MIB / 10 else f"{count / 1024:.1f} KiB"


PART_NOTE = "Where a profiler ran only a part of a program's work, its figure is against the same part without."
DETAIL = ["program", "work", "profiler", "CPU without", "CPU", "wall", "added peak memory", "written"]


def at_least(case, tool):
    """Return what a run that was stopped says: it takes more than so many times the CPU."""
    without = [run["cpu"] for run in case.runs.get(tool.against, []) if run]
    if not without or tool.name not in case.stopped:
        return ""
    return f"> {case.stopped[tool.name] / statistics.median(without):.1f}"


def ratio_figures(case, tool, rng):
    """Format CPU without, and CPU and wall with it as times of that."""
    return [f"{statistics.median(b for _, b in case.pairs(tool, 'cpu')):.2f} s",
            with_interval(case.ratios(tool), "{:.2f}", rng), with_interval(case.ratios(tool, "wall"), "{:.2f}", rng)]


def pair_figures(case, tool, rng):
    """Format nanoseconds of CPU per pair without, and the added ones of CPU and wall."""
    added = [with_interval(case.added(tool, key), "{:+.1f}", rng) + " ns" for key in case.prints]
    return [f"{statistics.median(b for _, b in case.pairs(tool, case.prints[0])):.1f} ns"] + (added + [""])[:2]


def detail_rows(case, tools, rng):
    """Return the rows of one case in the table of everything."""
    rows = []
    for tool in tools:
        if tool.name not in case.tools or not tool.against:
            continue
        row = [case.name, case.work, tool.name]
        if tool.missing or tool.name in case.errors or not case.ratios(tool):
            why = "missing" if tool.missing else case.errors.get(tool.name, "no baseline")
            rows.append(row + ["", at_least(case, tool) or why, why if at_least(case, tool) else "", "", ""])
            continue
        memory = case.peaks.get(tool.name, 0) - case.peaks.get(tool.against, 0)
        known = tool.name in case.peaks and tool.against in case.peaks
        rows.append(row + (pair_figures(case, tool, rng) if case.prints else ratio_figures(case, tool, rng)) + [
            f"{memory / MIB:+.1f} MiB" if known else "",
            mebibytes(case.written[tool.name]) if tool.name in case.written else ""])
    return rows


def best_ratio(cases, name, tool):
    """Return a tool's median CPU ratio on a program, with the most work that it ran; None if it has none."""
    for case in cases:
        if case.name == name and case.ratios(tool):
            return statistics.median(case.ratios(tool))
    return None


def summary_table(cases, tools):
    """Return the table of CPU ratios, a row a program and a column a profiler."""
    shown = [tool for tool in tools if tool.name in SHOWN]
    names = list(dict.fromkeys(case.name for case in cases if not case.prints))
    kinds = {case.name: case.program.kind for case in cases}
    found = {(name, tool.name): best_ratio(cases, name, tool) for name in names for tool in shown}
    rows = [[name] + [cell(cases, name, tool, found) for tool in shown] for name in names]
    for kind, label in (("M", "allocation stress"), ("R", "real programs")):
        chosen = [name for name in names if kinds[name] == kind]
        means = []
        for tool in shown:
            values = [found[name, tool.name] for name in chosen if found[name, tool.name]]
            mean = math.exp(statistics.fmean(map(math.log, values))) if values else 0
            means.append(f"{mean:.2f}" + (f" (of {len(values)})" if len(values) < len(chosen) else "")
                         if values else "")
        if len(chosen) > 1:
            rows.append([f"*geometric mean, {label} ({len(chosen)})*"] + means)
    return table_lines(["CPU of the whole tree, times"] + [tool.name for tool in shown], rows)


def cell(cases, name, tool, found):
    """Format a ratio, or say in a word why there is none."""
    if found[name, tool.name]:
        return f"{found[name, tool.name]:.2f}"
    for case in cases:
        if case.name == name and tool.name in case.errors:
            return at_least(case, tool) or case.errors[tool.name].split(":")[0]
    return ""


def pair_table(cases, tools, rng):
    """Return the table of added nanoseconds per pair."""
    shown = [tool for tool in tools if tool.name in SHOWN and tool.name != "DHAT"]
    keys = list(dict.fromkeys((case.name, key) for case in cases for key in case.prints))
    rows = []
    for name, key in keys:
        here = [case for case in cases if case.name == name]
        plain = [run[key] for run in here[0].runs.get("without", []) if run]
        row = [f"{name}, {'wall' if 'wall' in key else 'CPU of the thread'}",
               f"{statistics.median(plain):.1f}" if plain else ""]
        for tool in shown:
            added = next((case.added(tool, key) for case in here if case.added(tool, key)), None)
            row.append(with_interval(added, "{:+.1f}", rng) if added else "")
        rows.append(row)
    return table_lines(["ns per malloc and free", "without"] + [tool.name for tool in shown], rows)


def goal(text, value, limit, form="{:.2f}"):
    """Say whether a goal is reached."""
    return f"- {text}: {form.format(value)} (goal: at most {form.format(limit)}, " \
           f"{'reached' if value <= limit else 'not reached'})"


def ratio_goals(cases, riptide):
    """Say what exact mode costs whole programs, against what it may."""
    def median(name):
        return best_ratio(cases, name, riptide)
    lines = [goal(f"{name}, CPU times", median(name), limit) for name, limit in (
        ("cfrac-like", 1.3), ("espresso-like", 1.3), ("cc1 -O2", 1.5)) if median(name)]
    real = [median(name) for name in dict.fromkeys(case.name for case in cases if case.program.kind == "R")]
    real = [value for value in real if value]
    if real:
        mean = math.exp(statistics.fmean(map(math.log, real)))
        lines.append(goal(f"geometric mean of the real programs ({len(real)}), CPU times", mean, 1.1))
    lists = [case for case in cases if "std::list" in case.name and case.ratios(riptide)]
    if lists:
        for key, label in (("cpu", "CPU"), ("wall", "wall")):
            lines.append(goal(f"{lists[0].name}, {lists[0].work}, {label} times",
                              statistics.median(lists[0].ratios(riptide, key)), 1.5))
    return lines


def pair_goals(cases, riptide):
    """Say what a pair costs in exact mode, and whether threads make it dearer."""
    def added(name):
        found = [case.added(riptide, "cpu_ns_per_pair") for case in cases if case.name == name and case.prints]
        return next((statistics.median(values) for values in found if values), None)
    lines = [goal(f"{name}, added ns", added(name), limit, "{:.1f}")
             for name, limit in (("pair, 1 frame", 10), ("pair, 33 frames", 30)) if added(name) is not None]
    one, most = added("churn, 1 thread"), added(f"churn, {THREADS[-1]} threads")
    if one and most and one > 0:
        lines.append(goal(f"{THREADS[-1]} threads, added CPU of a pair as times that of one thread", most / one, 1.3))
    return lines


def memory_goal(cases, riptide):
    """Say what a large heap costs in memory."""
    for case in cases:  # the first that fits does the most work
        match = re.search(r"live_blocks=(\d+) live_bytes=(\d+)", case.text)
        if match and {"without", riptide.name} <= case.peaks.keys():
            blocks, live = (int(number) for number in match.groups())
            added = case.peaks[riptide.name] - case.peaks["without"]
            return [goal(f"{case.name}, added peak MiB, all processes", added / MIB,
                         max(live / 4, blocks * 16) / MIB + 16, "{:.1f}")]
    return []


def recording_doubts(case):
    """Say what is wrong with the recording of a case: a figure of a run that recorded nothing is worth nothing."""
    if not case.report:
        return []
    lines, counted = [], case.report["totals"].get("allocations", {}).get("value", 0)
    if case.report["mode"] != "exact":
        lines.append(f"the recording's mode is {case.report['mode']}")
    if counted < max(1, case.least):
        lines.append(f"the recording counts {counted:,} allocations; there were at least {case.least:,}")
    lost = {key: count for key, count in case.report["losses"].items() if count}
    return lines + ([f"losses of the recording: {lost}"] if lost else [])


def doubts(cases, tools):
    """Say what must be known before a figure is believed."""
    lines = [f"- left out: {tool.name}: {tool.missing}" for tool in tools if tool.missing]
    for case in cases:
        lines += [f"- {case.name}, {case.work}: {name}: {why}" for name, why in case.errors.items()]
        lines += [f"- {case.name}, {case.work}: {doubt}" for doubt in recording_doubts(case)]
    controls = [ratio for case in cases for ratio in case.ratios(named(tools, "without again"))]
    if controls:
        apart = sorted(abs(math.log(ratio)) for ratio in controls)
        lines.append(f"- control: two runs without a profiler differ by {100 * math.expm1(statistics.median(apart)):.1f} % "
                     f"of CPU in the median, {100 * math.expm1(apart[-1]):.0f} % at most ({len(controls)} pairs of runs)")
    return lines


def instruction_lines(options, riptide):
    """Count instructions per pair with and without exact mode."""
    if not shutil.which("valgrind"):
        return ["- left out: instructions: valgrind is not installed"]
    lines, prefix = [], riptide.command([], options.work)
    for frames in (1, 33):
        program = [os.path.join(options.build, "bench", "bench_deep"), str(frames)]
        before = instructions_a_pair([], program, CALLGRIND_PAIRS)
        after = None if riptide.missing else instructions_a_pair(prefix, program, CALLGRIND_PAIRS)
        if before is not None and after is not None:
            lines.append(f"- instructions of a pair under {frames} frame{'s' * (frames > 1)} (callgrind): {before:.1f} "
                         f"without, {after:.1f} in exact mode; added {after - before:+.1f}")
        else:
            lines.append(f"- instructions of a pair under {frames} frames: callgrind gave no figure"
                         + (f"; without: {before:.1f}" if before is not None else ""))
    return lines


def named(tools, name):
    """Return the tool of that name."""
    return next(tool for tool in tools if tool.name == name)


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", default="build", help="the build folder (default: build)")
    parser.add_argument("--repetitions", type=int, default=5, help="of the fast runs (default: 5)")
    parser.add_argument("--peer-repetitions", type=int, default=1, help="of the peers' (default: 1)")
    parser.add_argument("--quick", action="store_true", help="one repetition, runs stopped after 20 s")
    parser.add_argument("--limit", type=float, default=30, help="seconds after which a run is stopped (default: 30)")
    parser.add_argument("--programs", help="only these, comma separated: parts of their names")
    parser.add_argument("--profilers", help="only these, comma separated: parts of their names")
    parser.add_argument("--list-nodes", type=int, default=4_200_000, help="of each std::list (default: 4200000)")
    parser.add_argument("--instructions", action="store_true", help="also count instructions with callgrind")
    parser.add_argument("--markdown", metavar="FILE", help="write the result as Markdown")
    parser.add_argument("--json", metavar="FILE", help="write every figure")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    options.riptide = os.path.realpath(os.path.join(options.build, "src/cli/riptide"))
    if options.quick:
        options.repetitions, options.limit = 1, min(options.limit, 20)
    return options


def chosen_tools(options):
    """Return the tools that were asked for, and what they are compared with."""
    tools = bench_peers.all_tools(options.riptide, options.work)
    if not options.profilers:
        return tools
    parts = options.profilers.split(",")
    wanted = {tool.name for tool in tools if any(part in tool.name for part in parts)}
    wanted |= {tool.against for tool in tools if tool.name in wanted} | {"without", "without again"}
    return [tool for tool in tools if tool.name in wanted]


def chosen_cases(options):
    """Return the cases that were asked for."""
    cases = pair_cases(options.build) + stress_cases(options.build, options.list_nodes)
    parts = options.programs.split(",") if options.programs else [""]
    # The inputs of the real programs take a while to make: only where a part names none of ours.
    if not all(part and any(part in case.name for case in cases) for part in parts):
        cases += [Case(program, "whole", OURS + PEERS) for program in bench_inputs.real_programs(options.work)]
    return [case for case in cases if any(part in case.name for part in parts)
            and shutil.which(case.program.argv[0])]


def measure_all(machine, cases, tools, options, rng):
    """Measure every case, printing as it goes."""
    form = "{:30} {:26} {:22} {:>11}  {:>20}  {:>20}  {:>17}  {:>10}"
    print(form.format(*DETAIL), flush=True)
    for case in cases:
        measure_case(machine, case, tools, options)
        for row in detail_rows(case, tools, rng):
            print(form.format(*row), flush=True)


def result_lines(cases, tools, options, rng):
    """Return the tables and sentences of the result, as Markdown that is also readable as text."""
    riptide = named(tools, "riptide exact") if any(t.name == "riptide exact" for t in tools) else None
    lines = [machine_line("make bench-exact"),
             f"{options.repetitions} repetitions, of the peers {min(options.repetitions, options.peer_repetitions)}, "
             "interleaved, in rotating order, nothing pinned.", ""]
    lines += summary_table(cases, tools) + ["", PART_NOTE, ""] + pair_table(cases, tools, rng) + [""]
    if riptide:
        lines += ratio_goals(cases, riptide) + pair_goals(cases, riptide) + memory_goal(cases, riptide)
        lines += instruction_lines(options, riptide) if options.instructions else []
    return lines + doubts(cases, tools)


def to_json(cases):
    """Return every figure."""
    return [{"program": case.name, "work": case.work, "kind": case.program.kind, "runs": case.runs,
             "errors": case.errors, "peak_bytes": case.peaks, "written_bytes": case.written,
             "report": case.report} for case in cases]


def leave(*_):
    """End on SIGTERM by the way of every finally; a second one, which timeout(1) sends, must not cut that short."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


def main():
    """Measure, print, write."""
    options = parse_arguments()
    signal.signal(signal.SIGTERM, leave)
    rng, machine, began = random.Random(7), Machine(False), time.monotonic()
    options.work = tempfile.mkdtemp(prefix="riptide-peers-")
    try:
        tools, cases = chosen_tools(options), chosen_cases(options)
        measure_all(machine, cases, tools, options, rng)
        lines = result_lines(cases, tools, options, rng)
        print("\n" + "\n".join(lines) + f"\n\n{time.monotonic() - began:.0f} s in all", flush=True)
        if options.markdown:
            rows = [row for case in cases for row in detail_rows(case, tools, rng)]
            with open(options.markdown, "w", encoding="utf-8") as out:
                out.write("\n".join(lines + [""] + table_lines(DETAIL, rows)) + "\n")
        if options.json:
            with open(options.json, "w", encoding="utf-8") as out:
                json.dump(to_json(cases), out, indent=1)
    finally:
        shutil.rmtree(options.work, ignore_errors=True)
    broken = [name for case in cases for name in case.errors if name in OURS]
    missing = [tool for tool in tools if tool.name in OURS and tool.missing]
    return 1 if broken or missing or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
