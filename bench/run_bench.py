#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measure what RipTide costs: programs with and without it, interleaved.

Each repetition runs a program three times in rotating order: without (A), under `riptide run` (B), and
without again (A'). CPU is user + system time of the whole process tree, RipTide's own processes included.
The ratio of a repetition is B over the mean of A and A'; the figure is the median over repetitions with a
bootstrap 95 % interval. A over A' is the control: it says what difference this machine can tell.
The least CPU of all runs, with and without, is the figure that neighbours on a shared machine disturb least.
Resident memory is measured in runs of its own, by polling, so that polling is in no time figure.
With --exact the same of exact mode; run_peers.py sets it beside other exact profilers.
With --instructions, callgrind counts what each program executes in its own process (neither the kernel nor
the collector), at a fixed interval of 512 KiB, because the adaptive one follows the clock that valgrind slows.
"""
import argparse
import json
import math
import os
import random
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import bench_inputs  # noqa: E402
from bench_measure import (MIB, BenchError, Machine, callgrind_argv, children_of, geometric,  # noqa: E402
                           instructions_a_pair, interval, machine_line, peak_bytes, percent,
                           reap_orphans, table_lines)

RSS_RUNS = 3
POLL_SECONDS = 0.004
PAIR_RUNS = 25
FIXED_RUNS = 25
CALLGRIND_PAIRS = (50_000, 150_000)
# Percent of CPU in the mean of the real programs and in the worst one, MiB, ns a pair.
GOALS = {"sample": (0.5, 1.0, "at most 5 MiB", 2.0),
         "exact": (10.0, 50.0, "at most 16 MiB + the larger of a quarter of the live heap and 16 bytes a live block", 10.0)}


def exe_of(pid):
    """Return the path of a process's program."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def peaks(machine, argv, program, own_exe):
    """Run once, polling; return the peak of the target and the sum of peaks of RipTide's processes."""
    target_exe = os.path.realpath(shutil.which(program.argv[0]))
    process = machine.start(argv, program)
    driver = None
    if program.client:
        driver = subprocess.Popen([sys.executable, "-c", DRIVER, json.dumps(
            [program.socket, program.client])], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    target, own = 0, {}
    while True:
        done, _, _ = os.wait4(process.pid, os.WNOHANG)
        if done:
            break
        tree, pending = children_of(), [process.pid]
        while pending:
            pid = pending.pop()
            pending += tree.get(pid, [])
            exe = exe_of(pid)
            if exe == target_exe:
                target = max(target, peak_bytes(pid))
            elif exe == own_exe:
                own[pid] = max(own.get(pid, 0), peak_bytes(pid))
        time.sleep(POLL_SECONDS)
    process.returncode = 0
    if driver:
        driver.wait()
    reap_orphans()
    return target, sum(own.values())


DRIVER = """
import json, os, subprocess, sys, time
socket, client = json.loads(sys.argv[1])
while not os.path.exists(socket): time.sleep(0.01)
subprocess.run(client)
subprocess.run(["redis-cli", "-s", socket, "shutdown", "nosave"])
"""


def measure_program(machine, program, options, rng):
    """Run one program all its times; return a row of figures."""
    plain, watched = program.argv, options.prefix + program.argv
    orders = [(0, 1, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0), (0, 2, 1), (1, 0, 2)]
    ratios, controls, walls, base, runs = [], [], [], [], []
    machine.measure(plain, program)
    machine.measure(watched, program)
    for repetition in range(options.repetitions):
        cpu, wall = [0.0] * 3, [0.0] * 3
        for which in orders[repetition % len(orders)]:
            cpu[which], wall[which] = machine.measure(watched if which == 1 else plain, program)
        ratios.append(cpu[1] * 2 / (cpu[0] + cpu[2]))
        controls.append(cpu[0] / cpu[2])
        walls.append(wall[1] * 2 / (wall[0] + wall[2]))
        base.append((cpu[0] + cpu[2]) / 2)
        runs.append(cpu)
    least = [min(column) for column in zip(*runs)]
    row = {"name": program.name, "kind": program.kind, "ratios": ratios, "controls": controls,
           "least": least[1] * 2 / (least[0] + least[2]), "least_control": least[0] / least[2],
           "cpu_seconds": statistics.median(base),
           "ratio": interval(ratios, statistics.median, rng),
           "control": interval(controls, statistics.median, rng),
           "wall": interval(walls, statistics.median, rng)}
    without = [peaks(machine, plain, program, options.own_exe)[0] for _ in range(RSS_RUNS)]
    under = [peaks(machine, watched, program, options.own_exe) for _ in range(RSS_RUNS)]
    row["added_rss_bytes"] = statistics.median(u[0] for u in under) - statistics.median(without)
    row["own_rss_bytes"] = statistics.median(u[1] for u in under)
    return row


HEADINGS = ["program", "CPU s without", "added CPU (95 % CI)", "A/A control (95 % CI)",
            "added least CPU (control)", "added peak RSS", "collector's peak RSS"]


def cells(row):
    """Format a row."""
    return [row["name"], f"{row['cpu_seconds']:.2f}", percent(row["ratio"]), percent(row["control"]),
            f"{100 * row['least'] - 100:+.2f} % ({100 * row['least_control'] - 100:+.2f})", f"{row['added_rss_bytes'] / MIB:+.2f} MiB",
            f"{row['own_rss_bytes'] / MIB:.1f} MiB"]


def pair_times(machine, options, build):
    """Return the least ns per malloc/free pair without and with the agent, and the median added."""
    program = os.path.join(build, "bench", "bench_pair")
    figures = ([], [])
    os.sched_setaffinity(0, machine.measured)
    for _ in range(PAIR_RUNS):
        for which, argv in enumerate(([program], options.prefix + [program])):
            run = subprocess.run(argv, capture_output=True, text=True, check=True)
            figures[which].append(float(run.stdout.split()[0]))
    os.sched_setaffinity(0, machine.all_cpus)
    added = statistics.median(b - a for a, b in zip(*figures))
    return min(figures[0]), min(figures[1]), added


def collected(argv, program):
    """Start a command under callgrind; return a function that waits and gives its instructions."""
    with open(program.stdin or os.devnull, "rb") as stdin:
        process = subprocess.Popen(argv[:-len(program.argv)] + callgrind_argv(program.argv), stdin=stdin,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                   cwd=program.cwd, env={**os.environ, **program.env})

    def finish():
        text = process.communicate()[1]
        counts = [int(n) for n in re.findall(r"Collected\s*:\s*(\d+)", text)]
        return counts[-1] if counts and process.returncode == 0 else None
    return finish


def instructions(options, programs):
    """Count each program's own instructions; return lines of text."""
    at = options.prefix.index("--") if "--" in options.prefix else len(options.prefix)
    fixed = [] if options.exact else ["--interval", "512K"]
    prefix = options.prefix[:at] + fixed + options.prefix[at:]
    lines, ratios = [], []
    for program in programs:
        if program.client:
            continue
        both = [collected(argv + program.argv, program) for argv in ([], prefix)]
        before, after = (finish() for finish in both)
        if not before or not after:
            continue
        lines.append(f"{program.name} {100 * after / before - 100:+.2f} %")
        if program.kind == "R":
            ratios.append(after / before)
    if not ratios:
        return []
    mean = math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))
    return [f"- instructions in the program's own process (callgrind{', --interval 512K' if fixed else ''}): {', '.join(lines)}; "
            f"geometric mean of the real programs {100 * mean - 100:+.2f} %"]


def fixed_cost(machine, options):
    """Say what a run costs before the program does anything: the CPU of watching true."""
    program = bench_inputs.Program("true", "F", ["true"])
    plain = [machine.measure(program.argv, program)[0] for _ in range(FIXED_RUNS)]
    watched = [machine.measure(options.prefix + program.argv, program)[0] for _ in range(FIXED_RUNS)]
    least, median = (1000 * (f(watched) - f(plain)) for f in (min, statistics.median))
    return f"- once a run, whatever the program does: {least:.1f} ms of CPU (median {median:.1f} ms)"


def micro(machine, options):
    """Measure the small things; return lines of text."""
    lines = [fixed_cost(machine, options)]
    plain, watched, added = pair_times(machine, options, options.build)
    lines.append(f"- one 64-byte malloc and free on glibc: {plain:.2f} ns without, {watched:.2f} ns with (the "
                 f"least of {PAIR_RUNS}: {watched - plain:+.2f} ns; median of the differences {added:+.2f} ns; goal: at most +{options.goals[3]:.0f} ns)")
    pair = [os.path.join(options.build, "bench", "bench_pair")]
    before, after = (instructions_a_pair(prefix, pair, CALLGRIND_PAIRS) if shutil.which("valgrind") else None
                     for prefix in ([], options.prefix))
    if before is not None and after is not None:
        lines.append(f"- instructions of such a pair (callgrind): {before:.1f} without, {after:.1f} with; "
                     f"added {after - before:+.1f}"
                     + ("" if options.exact else ", the sampled ones' share included"))
    unwind = os.path.join(options.build, "bench", "bench_unwind")
    if os.path.exists(unwind):
        run = subprocess.run([unwind], capture_output=True, text=True, check=False)
        lines += [f"- unwinder: {line.strip()}" for line in run.stdout.splitlines() if line.strip()]
    return lines


def machine_lines(options):
    """Say where and how this was measured."""
    return [machine_line("make bench" + (" BENCH_ARGS=--exact" if options.exact else "")),
            f"{options.repetitions} repetitions, interleaved, in rotating order; user + system time of the "
            "whole process tree, RipTide's own processes included."]


def summary_lines(rows, rng, goals):
    """Return the sentences about the means."""
    lines = []
    for kind, label in (("R", "real programs"), ("M", "allocation stress")):
        chosen = [row for row in rows if row["kind"] == kind]
        if chosen:
            lines.append(f"- geometric mean of the {label} ({len(chosen)}): added CPU "
                         f"{percent(geometric(chosen, rng))}; control "
                         f"{percent(geometric(chosen, rng, 'controls'))}")
    real = [row for row in rows if row["kind"] == "R"]
    if real:
        worst = max(real, key=lambda row: row["ratio"][0])
        memory = max(real, key=lambda row: row["added_rss_bytes"])
        least, control = (100 * math.exp(statistics.fmean(math.log(row[key]) for row in real)) - 100
                          for key in ("least", "least_control"))
        lines.append(f"- geometric mean of the real programs by least CPU: {least:+.2f} %; "
                     f"control {control:+.2f} %")
        lines.append(f"- worst real program: {worst['name']}, {percent(worst['ratio'])} "
                     f"(goals: mean at most +{goals[0]} %, none over +{goals[1]} %)")
        lines.append(f"- most added peak RSS: {memory['name']}, {memory['added_rss_bytes'] / MIB:+.2f} MiB "
                     f"(goal: {goals[2]})")
    return lines


def markdown(rows, lines, options):
    """Return the whole result as a Markdown fragment."""
    table = table_lines(HEADINGS, [cells(row) for row in rows])
    return "\n".join(machine_lines(options) + [""] + table + [""] + lines) + "\n"


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", default="build", help="the build folder (default: build)")
    parser.add_argument("--repetitions", type=int, default=20, help="of each program (default: 20)")
    parser.add_argument("--programs", help="only these, comma separated: parts of their names")
    parser.add_argument("--markdown", metavar="FILE", help="write the result as Markdown")
    parser.add_argument("--json", metavar="FILE", help="write every ratio")
    parser.add_argument("--no-micro", action="store_true", help="leave out the pair and the unwinder")
    parser.add_argument("--no-pin", action="store_true", help="let the scheduler place the programs")
    parser.add_argument("--instructions", action="store_true",
                        help="also count instructions with callgrind: a quarter of an hour")
    parser.add_argument("--amount", type=int, default=1,
                        help="multiply the work of the real programs (default: 1, a second or two)")
    parser.add_argument("--exact", action="store_true", help="measure exact mode, not sampling")
    parser.add_argument("--under", metavar="COMMAND", help="what B runs under, instead of riptide run")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    options.goals = GOALS["exact" if options.exact else "sample"]
    options.own_exe = os.path.realpath(os.path.join(options.build, "src/cli/riptide"))
    return options


def choose(programs, wanted):
    """Return the programs that were asked for."""
    if not wanted:
        return programs
    parts = wanted.split(",")
    return [program for program in programs if any(part in program.name for part in parts)]


def measure_all(machine, options, work, rng):
    """Measure every program and print its row; return the rows and whether all went well."""
    rows, good = [], True
    programs = bench_inputs.stress_programs(options.build) + bench_inputs.real_programs(work, options.amount)
    form = "{:14} {:>7}  {:>26}  {:>26}  {:>26}  {:>11}  {:>10}"
    print(form.format("program", "CPU s", "added CPU (95 % CI)", "A/A control", "added least CPU",
                      "peak RSS", "collector"), flush=True)
    for program in choose(programs, options.programs):
        try:
            row = measure_program(machine, program, options, rng)
        except (BenchError, subprocess.CalledProcessError) as error:
            print(f"{program.name}: {error}", flush=True)
            reap_orphans()
            good = False
            continue
        rows.append(row)
        print(form.format(*cells(row)), flush=True)
    return rows, good


def main():
    """Measure, print, write."""
    options = parse_arguments()
    rng = random.Random(7)
    machine = Machine(not options.no_pin)
    work = tempfile.mkdtemp(prefix="riptide-bench-")
    try:
        default = [options.own_exe, "run"] + (["--mode", "exact"] if options.exact else []) + [
            "--quiet", "--listen", "none", "-o", os.path.join(work, "bench.riptide"), "--"]
        options.prefix = shlex.split(options.under) if options.under is not None else default
        rows, good = measure_all(machine, options, work, rng)
        lines = summary_lines(rows, rng, options.goals)
        if not options.no_micro:
            lines += micro(machine, options)
        if options.instructions and shutil.which("valgrind"):
            lines += instructions(options, choose(
                bench_inputs.stress_programs(options.build) + bench_inputs.real_programs(work),
                options.programs))
        print("\n" + "\n".join(lines))
        if options.markdown:
            with open(options.markdown, "w", encoding="utf-8") as out:
                out.write(markdown(rows, lines, options))
        if options.json:
            with open(options.json, "w", encoding="utf-8") as out:
                json.dump(rows, out, indent=1)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0 if good and rows else 1


if __name__ == "__main__":
    sys.exit(main())
