# SPDX-License-Identifier: Apache-2.0
"""Every stack of the own unwinder against libgcc's, on real programs.

test/support/unwind_oracle.c walks each n-th allocation's stack twice and counts: equal, shortened
(a right prefix), longer, wrong. The bar: at least 99.9 % equal and not one wrong frame.
"""
import os
import subprocess
import unittest

import riptide_test

ORACLE = os.path.join(riptide_test.BUILD, "test", "support", "unwind_oracle.so")
JSON_WORK = ("import json; d = [{'a': i, 'b': str(i)} for i in range(40000)]; "
             "assert json.loads(json.dumps(d)) == d")
SQL_WORK = ("create table t(a, b); with recursive c(x) as (values(1) union all select x + 1 from c "
            "where x < 60000) insert into t select x, hex(x * 7919) from c; "
            "select count(*) from (select b, count(*) from t group by substr(b, 1, 4));")


class UnwinderTest(riptide_test.RiptideTest):
    def judge(self, *command, least=1000, stdin=None, **environment):
        out = self.path("counts")
        run = subprocess.run(command, stdout=subprocess.DEVNULL, input=stdin, text=True, check=False,
                             cwd=self.folder, timeout=120, stderr=subprocess.PIPE,
                             env={**os.environ, **environment, "LD_PRELOAD": ORACLE,
                                  "UNWIND_ORACLE_EVERY": "23", "UNWIND_ORACLE_OUT": out})
        self.assertEqual(run.returncode, 0, run.stderr)
        total = {}
        with open(out, encoding="ascii") as handle:
            for line in handle:
                words = line.split()[1:]
                for name, value in zip(words[::2], words[1::2]):
                    total[name] = total.get(name, 0) + int(value)
        total["stacks"] = sum(total[name] for name in ("equal", "shortened", "longer", "wrong"))
        self.assertGreaterEqual(total["stacks"], least, total)
        self.assertEqual(total["wrong"], 0, total)
        self.assertEqual(total["longer"], 0, total)
        self.assertGreaterEqual(total["equal"], 0.999 * total["stacks"], total)

    def test_python(self):
        self.judge("/usr/bin/python3", "-c", JSON_WORK, PYTHONMALLOC="malloc")

    def test_sqlite(self):
        self.judge(riptide_test.need("sqlite3"), ":memory:", SQL_WORK)

    def test_perl(self):
        self.judge(riptide_test.need("perl"), "-e", "my %h = map { $_ => [$_, \"x$_\"] } 1 .. 60000;")

    def test_lua(self):
        self.judge(riptide_test.need("lua5.4"), "-e",
                   "local t = {} for i = 1, 200000 do t[i] = {i, tostring(i)} end")

    def test_jq(self):
        self.judge(riptide_test.need("jq"), "map(.a) | add", least=200,
                   stdin="[" + ",".join(f'{{"a": {i}}}' for i in range(20000)) + "]")

    def test_compiler(self):
        source = self.write("x.c", "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
                            + "".join(f"int f{i}(int x) {{ return x * {i} + f{i - 1}(x); }}\n"
                                      if i else "int f0(int x) { return x; }\n"
                                      for i in range(300)))
        self.judge(riptide_test.need("gcc"), "-O2", "-c", source, "-o", self.path("x.o"), least=200)

    def test_git(self):
        git = riptide_test.need("git")
        for command in (["init", "-q", "."], ["config", "user.email", "t@example.org"],
                        ["config", "user.name", "t"]):
            subprocess.run([git, *command], cwd=self.folder, check=True)
        for number in range(40):
            self.write(f"file{number}", f"{number}\n" * 50)
        subprocess.run([git, "add", "-A"], cwd=self.folder, check=True)
        subprocess.run([git, "commit", "-qm", "all"], cwd=self.folder, check=True)
        self.judge(git, "--no-pager", "log", "--stat", "-p", least=10)


if __name__ == "__main__":
    riptide_test.main()
