# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share: the built riptide, a folder of their own, free ports, reports.

Each test file is a plain unittest program. The build folder comes in RIPTIDE_BUILD, by default
build/ of the tree. main() exits 0, 1, or 77 when every test was skipped.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

# A runner in the background of a shell ignores some of these, and what it starts would, too.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
BUILD = os.environ.get("RIPTIDE_BUILD", os.path.join(ROOT, "build"))
RIPTIDE = os.path.join(BUILD, "src", "cli", "riptide")
AGENT = os.path.join(BUILD, "src", "agent", "libriptide-agent.so")
TIMEOUT_S = 60
# An interval of 95 % misses the truth in one run of twenty; one of five standard errors, in one of a
# million. Where the order of threads does not matter, a fixed seed gives the same result each time.
STANDARD_ERRORS = 5
SEEDED = ("--quiet", "--listen", "none", "--interval", "64K", "--seed", "5")


def free_port():
    """Return a port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def need(program):
    """Return a program's path, or skip the test."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if path is None:
        raise unittest.SkipTest(f"{program} is not installed")
    return path


def wait_for(condition, what, seconds=10.0):
    """Wait until condition() is true; return its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def get(url, headers=None):
    """Return the body of a GET as text."""
    request = urllib.request.Request(url, headers=headers or {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


class RiptideTest(unittest.TestCase):
    """A test with a folder of its own, which is also the current directory of what it runs."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="riptide-test-")
        os.chmod(self.folder, 0o755)
        self.addCleanup(shutil.rmtree, self.folder, True)

    def path(self, name):
        """Return a path in the test's folder."""
        return os.path.join(self.folder, name)

    def write(self, name, text, mode=0o644):
        """Write a file in the test's folder; return its path."""
        with open(self.path(name), "w", encoding="utf-8") as handle:
            handle.write(text)
        os.chmod(self.path(name), mode)
        return self.path(name)

    def compile(self, name, source, *flags):
        """Build a C program in the test's folder; return its path."""
        self.write(name + ".c", source)
        run = subprocess.run(["gcc", "-g", "-O1", "-fno-builtin", "-o", self.path(name),
                              self.path(name + ".c"), *flags],
                             capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise unittest.SkipTest(f"gcc {' '.join(flags)}: {run.stderr.splitlines()[-1:]}")
        return self.path(name)

    def riptide(self, *arguments, **extra):
        """Run riptide to its end; return the finished process with stdout and stderr as text."""
        extra.setdefault("cwd", self.folder)
        extra.setdefault("timeout", TIMEOUT_S)
        extra.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run([RIPTIDE, *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False, **extra)

    def start(self, *arguments, **extra):
        """Start riptide in a group of its own, which is killed at the end of the test."""
        extra.setdefault("cwd", self.folder)
        extra.setdefault("stdout", subprocess.PIPE)
        extra.setdefault("stderr", subprocess.PIPE)
        process = subprocess.Popen([RIPTIDE, *arguments], stdin=subprocess.DEVNULL, text=True,
                                   start_new_session=True, **extra)

        def end():
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()
        self.addCleanup(end)
        return process

    def record(self, *program, options=()):
        """Run a program under riptide; return its report as data."""
        run = self.riptide("run", "--quiet", "--listen", "none", "-o", self.path("out.riptide"),
                           *options, "--", *program)
        self.assertEqual(run.stderr, "")
        return self.report(self.path("out.riptide"))

    def assert_near(self, estimate, least, most=None):
        """Check that an estimate of `least` to `most` (the same by default) is one chance allows."""
        most = least if most is None else most
        error = (estimate["high"] - estimate["low"]) / 2 / 1.96
        self.assertGreaterEqual(estimate["value"], least - STANDARD_ERRORS * error, estimate)
        self.assertLessEqual(estimate["value"], most + STANDARD_ERRORS * error, estimate)

    def report(self, source, *options):
        """Return the report of a recording or process as data."""
        run = self.riptide("report", source, "--json", *options)
        self.assertEqual(run.returncode, 0, run.stderr)
        return json.loads(run.stdout)

    def child_of(self, process, name=None):
        """Wait for the program that a started riptide runs; return its pid."""
        def look():
            path = f"/proc/{process.pid}/task/{process.pid}/children"
            with open(path, encoding="ascii") as handle:
                for word in handle.read().split():
                    try:
                        with open(f"/proc/{word}/comm", encoding="utf-8") as comm:
                            found = comm.read().strip()
                    except OSError:
                        continue
                    if found != "riptide" and (name is None or found == name):
                        return int(word)
            return 0
        return wait_for(look, "the program started")


def main():
    """Run the tests of the calling file."""
    if not os.path.exists(RIPTIDE):
        print(f"{RIPTIDE} is not built")
        sys.exit(77)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    result = unittest.main(exit=False, verbosity=2).result
    if not result.wasSuccessful():
        sys.exit(1)
    if result.testsRun and len(result.skipped) == result.testsRun:
        sys.exit(77)
    sys.exit(0)
