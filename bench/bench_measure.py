# SPDX-License-Identifier: Apache-2.0
"""What run_bench.py and run_peers.py share: starting, timing and watching programs, and intervals.

CPU is user + system time of the whole process tree, also of what the tree leaves behind. Memory is
polled from outside, by a thread, in the runs that ask for it.
"""
import ctypes
import math
import os
import platform
import re
import shlex
import signal
import statistics
import subprocess
import threading
import time

MIB = 1 << 20
PR_SET_CHILD_SUBREAPER = 36
RESAMPLES = 2000
POLL_SECONDS = 0.01
POLL_SHARE = 0.2  # of one CPU, at most


class BenchError(Exception):
    """A measured program did not do its work."""


class TooLong(BenchError):
    """A measured program was stopped at its limit; cpu is what the tree had used by then."""

    def __init__(self, limit, cpu, pid):
        super().__init__(f"stopped after {limit:.0f} s")
        self.cpu = cpu
        self.pid = pid


class Machine:
    """How processes are started, placed and counted here."""

    def __init__(self, pin):
        cpus = sorted(os.sched_getaffinity(0))
        self.all_cpus = set(cpus)
        self.measured = {cpus[-1]} if pin and len(cpus) > 1 else self.all_cpus
        self.others = self.all_cpus - self.measured or self.all_cpus
        # Orphans of a measured tree come to us, so that their time is counted too.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def start(self, argv, program, stdout=subprocess.DEVNULL, session=False):
        """Start a measured command on the measured CPU."""
        stdin = open(program.stdin, "rb") if program.stdin else subprocess.DEVNULL
        os.sched_setaffinity(0, self.measured)
        try:
            return subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL,
                                    cwd=program.cwd, env={**os.environ, **program.env},
                                    start_new_session=session)
        finally:
            os.sched_setaffinity(0, self.all_cpus)
            if program.stdin:
                stdin.close()

    def drive(self, program, process):
        """Load a server from another CPU, then ask it to end."""
        deadline = time.monotonic() + 10
        while not os.path.exists(program.socket):
            if time.monotonic() > deadline or os.waitid(
                    os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                raise BenchError("the server did not come up")
            time.sleep(0.005)
        os.sched_setaffinity(0, self.others)
        try:
            subprocess.run(program.client, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            subprocess.run(["redis-cli", "-s", program.socket, "shutdown", "nosave"],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        finally:
            os.sched_setaffinity(0, self.all_cpus)

    def measure(self, argv, program):
        """Run to the end; return CPU seconds of the tree and wall seconds."""
        began = time.perf_counter()
        process = self.start(argv, program)
        if program.client:
            try:
                self.drive(program, process)
            except (BenchError, subprocess.CalledProcessError):
                process.kill()
                process.wait()
                raise
        code, cpu = finish(process)
        wall = time.perf_counter() - began
        check_exit(code, argv)
        return cpu + reap_orphans(), wall

    def observe(self, argv, program, limit, watch):
        """Run to the end, or to limit seconds; return CPU, wall, peak bytes (if watched) and what it printed."""
        if program.socket and os.path.exists(program.socket):
            os.unlink(program.socket)  # of a server that was killed
        began = time.perf_counter()
        process = self.start(argv, program, session=True,
                             stdout=subprocess.DEVNULL if program.client else subprocess.PIPE)
        stopped, failure, text = threading.Event(), None, ""

        def stop():
            stopped.set()
            kill_session(process)
        timer = threading.Timer(limit, stop)
        timer.daemon = True
        watcher = TreeWatcher(process.pid) if watch else None
        timer.start()
        try:
            text = self.attend(process, program)
        except (BenchError, subprocess.CalledProcessError) as error:
            failure = error
            kill_session(process)
        except (KeyboardInterrupt, SystemExit):
            kill_session(process)
            raise
        code, cpu = finish(process)
        wall = time.perf_counter() - began
        timer.cancel()
        peak = watcher.end() if watcher else 0
        cpu += reap_orphans()
        if stopped.is_set():
            raise TooLong(limit, cpu, process.pid)
        if failure:
            raise failure
        check_exit(code, argv)
        return cpu, wall, peak, text

    def attend(self, process, program):
        """Drive a server, or read what a program prints, up to its end."""
        if program.client:
            self.drive(program, process)
            return ""
        # Only the last lines are figures; a program may print megabytes before them.
        tail = b""
        while chunk := process.stdout.read1(1 << 16):
            tail = (tail + chunk)[-4096:]
        process.stdout.close()
        return tail.decode(errors="replace")


def finish(process):
    """Wait for a measured command; return its exit code and its tree's CPU seconds."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime


def kill_session(process):
    """End a measured command that has a session of its own, with all that is in it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def check_exit(code, argv):
    """Raise unless a command ended well."""
    if code != 0:
        raise BenchError(f"exit status {code}: {shlex.join(argv)[:200]}")


def reap_orphans():
    """Wait for what the tree left behind; return its CPU seconds."""
    seconds, deadline = 0.0, time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            pid, _, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == 0:
            time.sleep(0.002)
        else:
            seconds += usage.ru_utime + usage.ru_stime
    return seconds


def children_of():
    """Return pid -> children for the whole machine."""
    tree = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as handle:
                    parent = int(handle.read().rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            tree.setdefault(parent, []).append(int(entry))
    return tree


def kilobytes(path, field):
    """Return a field of a status file in bytes, None when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            match = re.search(rf"^{field}:\s*(\d+) kB", handle.read(), re.M)
        return int(match.group(1)) * 1024 if match else None
    except OSError:
        return None


def peak_bytes(pid):
    """Return a process's peak resident bytes, 0 when it is gone."""
    return kilobytes(f"/proc/{pid}/status", "VmHWM") or 0


def own_share_bytes(pid):
    """Return a process's resident bytes, of shared pages only its part; without leave to see that, all."""
    share = kilobytes(f"/proc/{pid}/smaps_rollup", "Pss")
    return share if share is not None else kilobytes(f"/proc/{pid}/status", "VmRSS") or 0


class TreeWatcher:
    """Polls the memory of a process and all below it; a page that several map counts once."""

    def __init__(self, pid):
        self.pid, self.peak, self.over = pid, 0, threading.Event()
        self.thread = threading.Thread(target=self.poll, daemon=True)
        self.thread.start()

    def poll(self):
        """Sum and sleep until the end."""
        pause = POLL_SECONDS
        while not self.over.wait(pause):
            began = time.perf_counter()
            tree, pending, total = children_of(), [self.pid], 0
            while pending:
                pid = pending.pop()
                pending += tree.get(pid, [])
                total += own_share_bytes(pid)
            self.peak = max(self.peak, total)
            pause = max(POLL_SECONDS, (time.perf_counter() - began) * (1 / POLL_SHARE - 1))

    def end(self):
        """Stop; return the highest sum seen."""
        self.over.set()
        self.thread.join()
        return self.peak


def interval(values, statistic, rng):
    """Return a statistic with its bootstrap 95 % interval."""
    draws = sorted(statistic(rng.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return statistic(values), draws[int(0.025 * RESAMPLES)], draws[int(0.975 * RESAMPLES) - 1]


def geometric(rows, rng, key="ratios"):
    """Return the geometric mean over programs of their medians, with a bootstrap interval."""
    def mean(samples):
        return math.exp(statistics.fmean(math.log(statistics.median(s)) for s in samples))
    draws = sorted(mean([rng.choices(row[key], k=len(row[key])) for row in rows])
                   for _ in range(RESAMPLES))
    return mean([row[key] for row in rows]), draws[int(0.025 * RESAMPLES)], \
        draws[int(0.975 * RESAMPLES) - 1]


def callgrind_argv(argv):
    """Return a command under callgrind, which keeps nothing but its counts."""
    return ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"] + argv


def instructions_a_pair(prefix, program, lengths):
    """Count instructions per pair with callgrind, from two lengths of run; None where it does not work."""
    counts = []
    for pairs in lengths:
        run = subprocess.run(prefix + callgrind_argv(program + [str(pairs)]), capture_output=True,
                             text=True, check=False)
        match = re.search(r"Collected\s*:\s*(\d+)", run.stderr)
        if run.returncode != 0 or not match:
            return None
        counts.append(int(match.group(1)))
    return (counts[1] - counts[0]) / (lengths[1] - lengths[0])


def read_field(path, pattern):
    """Return what a pattern finds in a file, or a question mark."""
    try:
        with open(path, encoding="utf-8") as handle:
            match = re.search(pattern, handle.read(), re.M)
        return match.group(1).strip() if match else "?"
    except OSError:
        return "?"


def machine_line(command):
    """Say where and when this was measured."""
    cpu = read_field("/proc/cpuinfo", r"^model name\s*:\s*(.*)$")
    system = read_field("/etc/os-release", r'^PRETTY_NAME="?([^"\n]*)')
    return f"Measured by `{command}` on {time.strftime('%Y-%m-%d')}: {cpu}, {os.cpu_count()} CPUs, " \
           f"{system}, Linux {platform.release()}."


def table_lines(headings, rows):
    """Return the lines of a Markdown table; the first column is text, the others are figures."""
    return ["| " + " | ".join(headings) + " |", "| --- |" + " ---: |" * (len(headings) - 1)] + [
        "| " + " | ".join(row) + " |" for row in rows]


def percent(triple):
    """Format a ratio and its interval as added percent."""
    value, low, high = (100 * (x - 1) for x in triple)
    return f"{value:+.2f} % ({low:+.2f} .. {high:+.2f})"
