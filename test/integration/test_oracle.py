# SPDX-License-Identifier: Apache-2.0
"""Totals on real programs against the counting oracle.

A program that does the same on every run has its truth counted in a run without the agent, which
asks the allocator twice where it moves a sampled block. A server's is counted behind the agent.

The truth must lie within five standard errors of the estimate; the standard error is read from the
report's own 95 % interval. What libraries allocate before the agent's constructor, and free after
the oracle wrote its figures, is outside the comparison: START_BYTES and START_BLOCKS allow for it.
"""
import json
import os
import signal
import socket
import subprocess
import time

from riptide_test import (BUILD, RIPTIDE, STANDARD_ERRORS, RiptideTest, free_port, main, need,
                          wait_for)

ORACLE = os.path.join(BUILD, "test", "support", "count_oracle.so")
INTERVAL = 16384
START_BYTES = 160 << 10
START_BLOCKS = 1200


class OracleTest(RiptideTest):
    """One program a test."""

    def setUp(self):
        super().setUp()
        self.truth_path = self.path("truth.json")
        self.env = {**os.environ, "LD_PRELOAD": ORACLE, "COUNT_ORACLE_OUT": self.truth_path,
                    "PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "1", "PERL_HASH_SEED": "0",
                    "LC_ALL": "C.UTF-8"}

    def command(self, *program):
        """Return the command line that observes a program."""
        return [RIPTIDE, "run", "--quiet", "--listen", "none", "-o", self.path("out.riptide"),
                "--interval", str(INTERVAL), "--seed", "7", "--", *program]

    def check(self, *program, stdin=None):
        """Run a program to its end, natively for its truth and observed, and compare."""
        for command in (list(program), self.command(*program)):
            env = dict(self.env)
            if command[0] == RIPTIDE:
                del env["LD_PRELOAD"]
            run = subprocess.run(command, env=env, input=stdin, text=True,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=120,
                                 cwd=self.folder, check=False)
            self.assertEqual(run.returncode, 0, run.stderr)
        self.compare(self.truth_path)

    def compare(self, truth_path=None):
        """Compare the report's totals with the oracle's."""
        report = self.report(self.path("out.riptide"))
        # Behind the agent the collector is preloaded, too, and being first has the plain name.
        path = truth_path or f"{self.truth_path}.{report['target']['pid']}"
        with open(path, encoding="utf-8") as handle:
            truth = json.load(handle)
        self.assertEqual(report["interval_bytes"], INTERVAL)
        totals = report["totals"]
        for name, slack in (("allocated_bytes", START_BYTES), ("allocations", START_BLOCKS),
                            ("live_bytes", START_BYTES), ("live_blocks", START_BLOCKS)):
            with self.subTest(figure=name):
                found = totals[name]
                error = (found["high"] - found["low"]) / 2 / 1.96
                print(f"{name}: true {truth[name]}, estimated {found['value']} "
                      f"[{found['low']}, {found['high']}], "
                      f"{(found['value'] - truth[name]) / error if error else 0:+.2f} errors")
                self.assertLessEqual(abs(found["value"] - truth[name]),
                                     STANDARD_ERRORS * error + slack)

    def test_python(self):
        self.check("/usr/bin/python3", "-c",
                   "import json\n"
                   "data = [{'a': i, 'b': [str(i)] * 5, 'c': {'x': i * 1.5}} for i in range(20000)]\n"
                   "text = json.dumps(data)\n"
                   "for _ in range(3):\n"
                   "    data = json.loads(text)\n")

    def test_sqlite(self):
        self.check(need("sqlite3"), ":memory:",
                   "create table t(a integer primary key, b text);"
                   "with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000)"
                   " insert into t select i, hex(i * 7919) || 'text' from n;"
                   "select count(*), b from t group by substr(b, 1, 3) order by 1 desc limit 5;")

    def test_git(self):
        git = need("git")
        env = {"HOME": self.folder, "PATH": "/usr/bin:/bin", "GIT_AUTHOR_NAME": "a",
               "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
        subprocess.run([git, "init", "-q", "."], cwd=self.folder, env=env, check=True)
        for i in range(2000):
            self.write(f"file{i}", f"{i}\n" * (i % 50 + 1))
        subprocess.run([git, "add", "."], cwd=self.folder, env=env, check=True)
        subprocess.run([git, "commit", "-qm", "all"], cwd=self.folder, env=env, check=True)
        self.env["HOME"] = self.folder
        self.check(git, "--no-pager", "log", "-p", "--stat")

    def test_lua(self):
        self.check(need("lua5.4"), "-e",
                   "local t = {} for i = 1, 200000 do t[i] = {i, 'k' .. i} end "
                   "local s = {} for i = 1, 20000 do s[#s + 1] = string.rep('x', i % 300) end "
                   "print(#t, #table.concat(s))")

    def test_perl(self):
        self.check(need("perl"), "-e",
                   "my %h; for my $i (1..100000) { $h{\"key$i\"} = [$i, \"v$i\"]; } "
                   "my $n = 0; for (sort keys %h) { $n += length $h{$_}[1]; } print $n;")

    def test_jq(self):
        rows = json.dumps([{"id": i, "name": f"n{i}", "tags": ["a", "b", str(i)]}
                           for i in range(20000)])
        self.check(need("jq"), "-c", "[.[] | select(.id % 3 == 0) | .tags | length] | add",
                   stdin=rows)

    def serve(self, *program, ready, load, stop):
        """Run a server under load until it is stopped, and compare."""
        with subprocess.Popen(self.command(*program), env=self.env, cwd=self.folder,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True) as process:
            try:
                wait_for(ready, "the server listens", 15)
                load()
                stop(process)
                _, errors = process.communicate(timeout=30)
            finally:
                if process.poll() is None:
                    process.kill()
        self.assertEqual(process.returncode, 0, errors)
        self.compare()

    def test_redis(self):
        server, bench, cli = need("redis-server"), need("redis-benchmark"), need("redis-cli")
        port = str(free_port())

        def ask(*words):
            return subprocess.run([cli, "-p", port, *words], capture_output=True, text=True,
                                  check=False, timeout=10).stdout

        self.serve(server, "--port", port, "--save", "", "--appendonly", "no", "--daemonize", "no",
                   ready=lambda: "PONG" in ask("ping"),
                   load=lambda: subprocess.run(
                       [bench, "-p", port, "-n", "20000", "-r", "10000", "-d", "200", "-q",
                        "-t", "set,get,lpush,sadd"], stdout=subprocess.DEVNULL, check=True,
                       timeout=60),
                   stop=lambda _: ask("shutdown", "nosave"))

    def test_memcached(self):
        server = need("memcached")
        port = free_port()

        def connect():
            return socket.create_connection(("127.0.0.1", port), timeout=5)

        def ready():
            try:
                connect().close()
                return True
            except OSError:
                return False

        def load():
            for _ in range(20):
                with connect() as link:
                    for i in range(300):
                        link.sendall(b"set k%d 0 0 100\r\n%s\r\n" % (i, b"v" * 100))
                        link.recv(100)
            time.sleep(0.2)

        def stop(process):
            os.kill(self.child_of(process), signal.SIGINT)

        self.serve(server, "-p", str(port), "-l", "127.0.0.1", "-u", "root", "-m", "64",
                   ready=ready, load=load, stop=stop)


if __name__ == "__main__":
    main()
