# SPDX-License-Identifier: Apache-2.0
"""Real programs in exact mode, counted by the oracle in the same run: totals equal to the byte.

The oracle stands behind the agent and counts from the same event on, to the last one of the
process; so no allowance is made for anything.
"""
import json
import os
import subprocess
import unittest

from exact_oracle import ExactTest
from riptide_test import TIMEOUT_S, main, need

JSON_WORK = ("import json; d = [{'a': i, 'b': [str(i)] * 3} for i in range(20000)]; "
             "assert json.loads(json.dumps(d)) == d")
SQL_WORK = ("create table t(a integer primary key, b text);"
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 40000)"
            " insert into t select i, hex(i * 7919) from n;"
            "select count(*), b from t group by substr(b, 1, 3) order by 1 desc limit 5;")


class ProgramsTest(ExactTest):
    """One program a test."""

    def judge(self, *program, least=1000, **environment):
        """Run a program under the agent and the oracle; compare what the recording says."""
        env = self.environment(**environment)
        self.run_exact(*program, env=env, timeout=2 * TIMEOUT_S)
        report = self.report(self.path("out.riptide"))
        truth = self.last_oracle(report["target"]["pid"])
        self.assertGreaterEqual(truth.total["allocations"], least)
        self.assert_report(report, truth, program[0])
        self.assert_peak(report["totals"]["peak_live_bytes"]["value"], truth.total["peak_bytes"],
                         4, program[0])
        print(f"{program[0]}: {truth.total['allocations']} allocations, "
              f"{truth.total['allocated_bytes']} bytes, all counted")

    def last_oracle(self, pid):
        """Return the truth about the last program that a process executed."""
        name, number = f"oracle.{pid}", 0
        while os.path.exists(self.path(f"oracle.{pid}.{number + 1}")):
            number += 1
            name = f"oracle.{pid}.{number}"
        return self.oracle(name.removeprefix("oracle."))

    def test_python(self):
        self.judge("/usr/bin/python3", "-c", JSON_WORK, PYTHONMALLOC="malloc", least=100000)

    def test_python_threads(self):
        self.judge("/usr/bin/python3", "-c",
                   "import threading\n"
                   "def work():\n"
                   "    for i in range(3000):\n"
                   "        x = {str(j): [j] for j in range(10)}\n"
                   "threads = [threading.Thread(target=work) for _ in range(8)]\n"
                   "[t.start() for t in threads]\n"
                   "[t.join() for t in threads]\n", PYTHONMALLOC="malloc", least=100000)

    def test_sqlite(self):
        self.judge(need("sqlite3"), ":memory:", SQL_WORK, least=10000)

    def test_lua(self):
        self.judge(need("lua5.4"), "-e",
                   "local t = {} for i = 1, 100000 do t[i] = {i, 'k' .. i} end", least=100000)

    def test_perl(self):
        self.judge(need("perl"), "-e", "my %h = map { $_ => [$_, \"x$_\"] } 1 .. 40000;",
                   least=50000)

    def test_jq(self):
        self.judge(need("jq"), "map(.a) | add", self.write("in.json", json.dumps(
            [{"a": i, "b": str(i)} for i in range(20000)])), least=20000)

    def test_git(self):
        git = need("git")
        for command in (["init", "-q", "."], ["config", "user.email", "t@example.org"],
                        ["config", "user.name", "t"]):
            subprocess.run([git, *command], cwd=self.folder, check=True)
        for number in range(200):
            self.write(f"file{number}", f"{number}\n" * 50)
        subprocess.run([git, "add", "-A"], cwd=self.folder, check=True)
        subprocess.run([git, "commit", "-qm", "all"], cwd=self.folder, check=True)
        self.judge(git, "--no-pager", "log", "--stat", "-p")

    def test_compiler(self):
        gcc = need("gcc")
        cc1 = subprocess.run([gcc, "-print-prog-name=cc1"], capture_output=True, text=True,
                             check=True).stdout.strip()
        if not os.path.isabs(cc1):
            raise unittest.SkipTest("gcc has no cc1 of its own")
        source = self.write("x.c", "".join(f"int f{i}(int x) {{ return x * {i} + f{i - 1}(x); }}\n"
                                           if i else "int f0(int x) { return x; }\n"
                                           for i in range(200)))
        self.judge(cc1, "-quiet", "-O2", source, "-o", self.path("x.s"))


if __name__ == "__main__":
    main()
