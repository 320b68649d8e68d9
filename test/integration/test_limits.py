# SPDX-License-Identifier: Apache-2.0
"""Limits of memory: what riptide says of a program under RLIMIT_AS and in a control group."""
import json
import os

import riptide_test
from riptide_test import RiptideTest, free_port, get, wait_for

HOLD = "import time; x = b'x' * ({} << 20); print('ready', flush=True); time.sleep(60)"


def status_bytes(pid, key):
    """Return a figure of /proc/PID/status in bytes, without the code under test."""
    with open(f"/proc/{pid}/status", encoding="ascii") as handle:
        for line in handle:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    raise AssertionError(f"no {key}")


class LimitsTest(RiptideTest):
    """What the tests below share."""

    def hold(self, mebibytes, *before):
        """Start a program that holds so much; return the port and its pid."""
        port = free_port()
        run = self.start("run", "--quiet", "-o", self.path("out.riptide"), "--listen",
                         f"127.0.0.1:{port}", "--", *before, "/usr/bin/python3", "-c", HOLD.format(mebibytes))
        self.assertEqual(run.stdout.readline(), "ready\n")
        return port, self.child_of(run, "python3")

    def memory(self, port):
        """Return the answer of /metrics/memory."""
        return json.loads(get(f"http://127.0.0.1:{port}/metrics/memory"))

    def test_address_space(self):
        """Under a tight RLIMIT_AS that is the nearest limit, and the level follows it."""
        allowed = 520 << 20
        port, pid = self.hold(400, "/usr/bin/prlimit", f"--as={allowed}")

        def seen():
            answer = self.memory(port)
            found = [one for one in answer["limits"] or [] if one["kind"] == "rlimit_as"
                     and one["share"] > 0.8]
            return (answer, found[0]) if found else None
        answer, limit = wait_for(seen, "the limit in the answer", 30)
        self.assertEqual(limit["limit_bytes"], allowed)
        self.assertAlmostEqual(limit["usage_bytes"], status_bytes(pid, "VmSize"), delta=16 << 20)
        self.assertAlmostEqual(limit["share"], limit["usage_bytes"] / allowed, places=6)
        self.assertEqual(answer["pressure_level"], "alert")
        shares = [one["share"] for one in answer["limits"] if one["kind"] != "cgroup_swap"]
        self.assertEqual(answer["nearest_limit"]["share"], max(shares))
        self.assertAlmostEqual(answer["pressure"], answer["nearest_limit"]["share"], delta=0.05)
        self.assertEqual(answer["limit_kind"], answer["nearest_limit"]["kind"])
        if all(one["share"] < limit["share"] for one in answer["limits"] if one is not limit):
            self.assertEqual(answer["nearest_limit"]["kind"], "rlimit_as")
        page = get(f"http://127.0.0.1:{port}/metrics")
        self.assertIn('riptide_memory_limit_ratio{limit="rlimit_as"} ', page)
        self.assertIn('riptide_memory_limit_ratio{limit="host"} ', page)

    def test_control_group(self):
        """A group of version 1 or 2 with a limit, below a folder that the caller gives for it."""
        folder, name = self.make_group(256 << 20)
        script = self.write("enter", f'#!/bin/sh\necho $$ > {folder}/cgroup.procs\nexec "$@"\n',
                            0o755)
        port, _ = self.hold(64, script)

        def seen():
            answer = self.memory(port)
            groups = [one for one in answer["limits"] or [] if one["kind"] == "cgroup_max"
                      and one["path"].endswith(name) and one["usage_bytes"] > 60 << 20]
            return (answer, groups[0]) if groups else None
        answer, limit = wait_for(seen, "the group in the answer", 30)
        self.assertEqual(limit["limit_bytes"], 256 << 20)
        self.assertLess(limit["usage_bytes"], 200 << 20)
        self.assertEqual(answer["cgroup_events"]["oom_kill"], 0)

    def make_group(self, limit):
        """Make a group with a limit; return its folder and name, or skip the test."""
        base = os.environ.get("RIPTIDE_TEST_CGROUP")
        if not base:
            self.skipTest("RIPTIDE_TEST_CGROUP names no control group in which to make one")
        name = f"riptide-test-{os.getpid()}"
        folder = os.path.join(base, name)
        try:
            os.mkdir(folder)
        except OSError as error:
            self.skipTest(f"{folder}: {error.strerror}")
        self.addCleanup(lambda: wait_for(lambda: remove(folder), "group gone"))
        for file in ("memory.max", "memory.limit_in_bytes"):
            try:
                with open(os.path.join(folder, file), "r+", encoding="ascii") as handle:
                    handle.write(str(limit))
                return folder, name
            except OSError:
                continue
        self.skipTest(f"{base} has no controller of memory")
        return None

    def test_recording(self):
        """A report of a recording says that it has no limits."""
        self.record("/usr/bin/python3", "-c", "import time; time.sleep(0.5)")
        text = self.riptide("report", self.path("out.riptide")).stdout
        self.assertIn("limits     unknown: limits are read while the process lives", text)
        self.assertIsNone(self.report(self.path("out.riptide"))["memory"]["limits"])


def remove(folder):
    """Remove a group; False while somebody is in it."""
    try:
        os.rmdir(folder)
        return True
    except FileNotFoundError:
        return True
    except OSError:
        return False


if __name__ == "__main__":
    riptide_test.main()
