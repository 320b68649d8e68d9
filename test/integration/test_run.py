#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""riptide run: the program is started as it would be alone, and its status is given back."""
import json
import os
import pty
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

from riptide_test import AGENT, RIPTIDE, SEEDED, RiptideTest, free_port, main, need, wait_for

HOLD = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static void *leak_here(size_t n) { return malloc(n); }
int main(int argc, char **argv) {
    void *volatile kept[200];
    for (int i = 0; i < 200; i++) kept[i] = leak_here(100000);
    (void)kept;
    puts("ready"); fflush(stdout);
    sleep(argc > 1 ? (unsigned)atoi(argv[1]) : 0);
    return 0;
}
"""


class ExitStatus(RiptideTest):
    """The status of the program, or of a shell that cannot start it."""

    def status(self, *program):
        return self.riptide("run", "--listen", "none", "--quiet", "-o", "x.riptide", "--",
                            *program)

    def test_gives_back_the_status_of_the_program(self):
        for code in (0, 3, 126, 127, 255):
            self.assertEqual(self.status("sh", "-c", f"exit {code}").returncode, code)

    def test_gives_back_128_and_the_signal(self):
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT):
            run = self.status("sh", "-c", f"kill -{int(number)} $$")
            self.assertEqual(run.returncode, 128 + number)

    def test_a_missing_program_is_127(self):
        run = self.status("no-such-program")
        self.assertEqual((run.returncode, run.stderr),
                         (127, "riptide: no-such-program: command not found\n"))
        run = self.status("./no-such-program")
        self.assertEqual((run.returncode, run.stderr),
                         (127, "riptide: ./no-such-program: No such file or directory\n"))

    def test_a_program_that_may_not_be_executed_is_126(self):
        self.write("plain", "#!/bin/sh\n")
        for name in ("./plain", self.folder):
            run = self.status(name)
            self.assertEqual(run.returncode, 126)
            self.assertEqual(len(run.stderr.splitlines()), 1)

    def test_a_missing_interpreter_is_126(self):
        self.write("script", "#!/no/such/shell\n", 0o755)
        run = self.status("./script")
        self.assertEqual(run.returncode, 126)
        self.assertIn("/no/such/shell", run.stderr)

    def test_a_name_cannot_steer_the_terminal(self):
        for command in ("run", "doctor"):
            run = self.riptide(command, "./no\nsuch\033[31m")
            self.assertEqual(run.stderr, "riptide: ./no?such?[31m: No such file or directory\n")
        shutil.copy("/bin/true", self.path("a\033b"))
        run = self.riptide("doctor", "./a\033b")
        self.assertTrue(run.stdout.endswith("./a?b can be observed\n"))

    def test_nothing_is_left_of_a_refused_start(self):
        self.status("no-such-program")
        self.assertEqual(os.listdir(self.folder), [])


class Transparency(RiptideTest):
    """The program sees what it would see without riptide."""

    def test_stdout_is_the_program_s_alone(self):
        for options in ((), ("--report",)):
            run = self.riptide("run", "--listen", "none", *options, "--", "echo", "hello")
            self.assertEqual(run.stdout, "hello\n")

    def test_quiet_says_nothing(self):
        run = self.riptide("run", "--quiet", "--report", "--", "sh", "-c", "echo err >&2")
        self.assertEqual((run.stdout, run.stderr), ("", "err\n"))

    def test_only_two_variables_are_added(self):
        alone = subprocess.run(["env"], stdout=subprocess.PIPE, text=True, check=True)
        run = self.riptide("run", "--quiet", "--listen", "none", "--", "env")
        before = set(alone.stdout.splitlines())
        added = {line.split("=")[0] for line in set(run.stdout.splitlines()) - before}
        self.assertEqual(added, {"LD_PRELOAD", "RIPTIDE_SOCKET"} | ({"PWD", "OLDPWD"} & added))
        self.assertFalse({line for line in before - set(run.stdout.splitlines())
                          if not line.startswith(("PWD=", "OLDPWD=", "_="))})

    def test_an_own_preload_is_kept_behind_the_agent(self):
        run = self.riptide("run", "--quiet", "--listen", "none", "--", "sh", "-c",
                           "echo $LD_PRELOAD", env={**os.environ, "LD_PRELOAD": "libm.so.6"})
        agent, _, rest = run.stdout.strip().partition(":")
        self.assertTrue(agent.endswith("libriptide-agent.so"))
        self.assertEqual(rest, "libm.so.6")

    def test_descriptors_signals_and_limits_are_the_same(self):
        probe = self.write("probe.py", """
import os, resource, signal
print(sorted(int(n) for n in os.listdir('/proc/self/fd'))[:-1])
for line in open('/proc/self/status'):
    if line.startswith(('SigBlk', 'SigIgn', 'SigCgt', 'NoNewPrivs', 'Seccomp')):
        print(line.strip())
print(os.nice(0), os.getcwd(), os.umask(0), os.getpgrp() == os.getppid() or 'group')
print([resource.getrlimit(n) for n in range(16)])
""")
        def outcome(*prefix, **extra):
            return subprocess.run([*prefix, "/usr/bin/python3", probe], stdout=subprocess.PIPE,
                                  stdin=subprocess.DEVNULL, text=True, check=True,
                                  cwd=self.folder, **extra).stdout.replace("True", "group")
        quiet = (RIPTIDE, "run", "--quiet", "--listen", "none", "--")
        self.assertEqual(outcome(*quiet), outcome())
        odd = {"preexec_fn": lambda: (os.close(2), signal.signal(signal.SIGCHLD, signal.SIG_IGN),
                                      signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]))}
        self.assertEqual(outcome(*quiet, **odd), outcome(**odd))

    def test_a_closed_stderr_does_no_harm(self):
        run = subprocess.run([RIPTIDE, "run", "--report", "--listen", "none", "--", "sh", "-c",
                              "exit 5"], cwd=self.folder, check=False,
                             preexec_fn=lambda: os.close(2))
        self.assertEqual(run.returncode, 5)
        reader, writer = os.pipe()
        os.close(reader)
        run = subprocess.run([RIPTIDE, "run", "--report", "--", "sh", "-c", "exit 6"],
                             cwd=self.folder, check=False, stderr=writer)
        os.close(writer)
        self.assertEqual(run.returncode, 6)


class Refusals(RiptideTest):
    """What cannot be observed, or cannot be served, is one line, exit 2, and no start."""

    def refused(self, *arguments, words=()):
        marker = self.path("started")
        program = arguments or ("sh", "-c", f"touch {marker}")
        run = self.riptide("run", *program)
        self.assertEqual(run.returncode, 2, run.stderr)
        self.assertEqual(len(run.stderr.splitlines()), 1, run.stderr)
        for word in words:
            self.assertIn(word, run.stderr)
        self.assertFalse(os.path.exists(marker))

    def touch(self, *options, words=()):
        self.refused(*options, "--", "sh", "-c", f"touch {self.path('started')}", words=words)

    def test_wrong_usage(self):
        self.touch("--no-such-option", words=["--no-such-option", "--help"])
        self.touch("--interval", "lots", words=["lots"])
        self.touch("--interval", "0", words=["0"])
        self.touch("--listen", "nonsense", words=["nonsense"])
        self.touch("--listen", "127.0.0.1:99999", words=["127.0.0.1:99999"])
        self.touch("--mode", "thorough", words=["thorough", "sample", "exact"])
        self.touch("--mode", "exact", "--interval", "4K",
                   words=["--interval has no meaning with --mode exact"])
        self.refused("--quiet", words=["program"])
        for arguments in ([], ["no-such-command"], ["--no-such-option"]):
            run = self.riptide(*arguments)
            self.assertEqual((run.returncode, len(run.stderr.splitlines())), (2, 1))

    def test_a_given_port_that_is_taken(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            self.touch("--listen", address, words=[address, "in use"])

    def test_an_address_of_another_machine(self):
        self.touch("--listen", "192.0.2.1:8080", words=["192.0.2.1:8080"])

    def test_a_recording_that_cannot_be_written(self):
        self.touch("--listen", "none", "-o", "/no/such/folder/x.riptide",
                   words=["/no/such/folder/x.riptide"])
        self.touch("--listen", "none", "-o", self.folder, words=[self.folder])

    def test_a_static_program(self):
        self.refused("--", self.compile("still", "int main(void) { return 0; }", "-static"),
                     words=["statically linked", "-static"])

    def test_a_sanitizer_build(self):
        self.refused("--", self.compile("asan", "int main(void) { return 0; }",
                                        "-fsanitize=address"), words=["AddressSanitizer"])
        self.refused("--", self.compile("tsan", "int main(void) { return 0; }",
                                        "-fsanitize=thread"), words=["ThreadSanitizer"])

    def test_a_file_that_is_no_program(self):
        self.refused("--", self.write("text", "echo hello\n", 0o755), words=["not an ELF"])

    def test_a_setuid_program_of_another_user(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to make a setuid program")
        program = self.compile("setuid", "int main(void) { return 0; }")
        # For root, root's setuid programs are programs like any other.
        os.chmod(program, 0o4755)
        run = self.riptide("run", "--quiet", "--listen", "none", "--", program)
        self.assertEqual(run.returncode, 0, run.stderr)
        run = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                              RIPTIDE, "run", "--listen", "none", "--", program],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if "Permission denied" in run.stderr or run.returncode == 127:
            self.skipTest("the build folder is not readable for others")
        self.assertEqual((run.returncode, len(run.stderr.splitlines())), (2, 1), run.stderr)
        self.assertIn("setuid", run.stderr)


class Program(RiptideTest):
    """Scripts, signals, job control, children that stay."""

    def test_a_script_is_observed_through_its_interpreter(self):
        script = self.write("script", "#!/usr/bin/env python3\n"
                            "x = [bytes(9999) for _ in range(9999)]\n", 0o755)
        report = self.record(script, options=["--interval", "64K"])
        self.assertEqual(report["target"]["status"], "exited")
        self.assertGreater(report["totals"]["allocated_bytes"]["value"], 50e6)

    def test_signals_are_forwarded(self):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            run = self.start("run", "--quiet", "--listen", "none", "--", "sleep", "30")
            self.child_of(run, "sleep")
            run.send_signal(number)
            self.assertEqual(run.wait(10), 128 + number)

    def test_an_interrupt_is_the_program_s_to_handle(self):
        program = self.write("trap", "#!/bin/sh\ntrap 'exit 9' INT\necho ready\nsleep 30 & wait\n",
                             0o755)
        run = self.start("run", "--quiet", "--listen", "none", "--", program)
        run.stdout.readline()
        os.killpg(run.pid, signal.SIGINT)
        self.assertEqual(run.wait(10), 9)

    def test_a_stopped_program_stops_riptide_and_both_continue(self):
        try:
            master, slave = pty.openpty()
        except OSError as error:
            self.skipTest(f"no terminal to be had: {error}")
        run = self.start("run", "--quiet", "--listen", "none", "--", "sleep", "1.5",
                         stdout=slave, stderr=slave)
        child = self.child_of(run, "sleep")
        os.kill(child, signal.SIGTSTP)
        _, status = os.waitpid(run.pid, os.WUNTRACED)
        # In an orphaned group the kernel ignores SIGTSTP: then nothing stops at all.
        if os.WIFSTOPPED(status):
            os.kill(run.pid, signal.SIGCONT)
            _, status = os.waitpid(run.pid, 0)
        run.returncode = os.WEXITSTATUS(status)
        self.assertTrue(os.WIFEXITED(status))
        self.assertEqual(os.WEXITSTATUS(status), 0)
        os.close(master)
        os.close(slave)

    def test_does_not_wait_for_descendants(self):
        began = time.monotonic()
        report = self.record("sh", "-c", "sleep 20 >/dev/null 2>&1 & sleep 0.3; exit 0")
        self.assertLess(time.monotonic() - began, 10)
        states = {process["command"]: process["status"] for process in report["processes"]}
        self.assertEqual(states["sleep 20"], "running")
        self.assertEqual(report["target"]["status"], "exited")

    def test_children_are_processes_of_their_own(self):
        program = self.compile("hold", HOLD)
        report = self.record("sh", "-c", f"{program}; exec {program}")
        self.assertEqual(report["target"]["command"], program)
        kinds = [(process["command"], process["status"]) for process in report["processes"]]
        self.assertEqual(kinds.count((program, "exited")), 2)

    def test_a_child_without_an_agent_is_named_blind(self):
        static = self.compile("still", "#include <unistd.h>\nint main(void) { sleep(1); }",
                              "-static")
        report = self.record("sh", "-c", f"{static}; exit 0")
        blind = [process for process in report["processes"] if process["status"] == "blind"]
        self.assertEqual(len(blind), 1)
        self.assertIn("statically linked", blind[0]["blind_reason"])

    def test_a_program_that_drops_privileges_stays_observed(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to drop it")
        agent = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                                "test", "-r", AGENT], check=False)
        if agent.returncode != 0:
            self.skipTest("the build folder is not readable for other users")
        report = self.record("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh",
                             "-c", "/usr/bin/env true; exit 0")
        self.assertEqual({process["status"] for process in report["processes"]}, {"exited"})
        self.assertGreaterEqual(len(report["processes"]), 4)

    def test_an_own_malloc_is_reported_blind(self):
        program = self.compile("own", """
#include <stddef.h>
#include <unistd.h>
static char heap[1 << 20]; static size_t used;
void *malloc(size_t n) { void *p = heap + used; used += (n + 15) & ~(size_t)15; return p; }
void free(void *p) { (void)p; }
void *calloc(size_t n, size_t m) { return malloc(n * m); }
void *realloc(void *p, size_t n) { (void)p; return malloc(n); }
int main(void) {
    void *volatile kept;
    for (int i = 0; i < 100; i++) kept = malloc(100);
    return kept ? 4 : 5;
}
""", "-rdynamic")
        run = self.riptide("run", "--listen", "none", "-o", "own.riptide", "--", program)
        self.assertEqual(run.returncode, 4)
        self.assertIn("own malloc", run.stderr)
        report = self.report(self.path("own.riptide"))
        self.assertEqual(report["target"]["status"], "blind")
        self.assertIn("malloc", report["target"]["blind_reason"])


class Listener(RiptideTest):
    """Where the HTTP server listens."""

    def test_the_next_free_port_is_taken_and_said(self):
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                taken.bind(("127.0.0.1", 8080))
                taken.listen()
            except OSError:
                pass # somebody else has it: just as good
            run = self.riptide("run", "--", "true")
        lines = [line for line in run.stderr.splitlines() if "listening on" in line]
        self.assertEqual(len(lines), 1)
        port = int(lines[0].rsplit(":", 1)[1])
        self.assertGreater(port, 8080)
        self.assertEqual(lines[0], f"riptide: listening on http://127.0.0.1:{port}")

    def test_endpoints_answer_while_the_program_runs(self):
        curl = need("curl")
        port = free_port()
        program = self.compile("hold", HOLD)
        run = self.start("run", *SEEDED, "--listen", f"127.0.0.1:{port}",
                         "--", program, "30")
        run.stdout.readline()
        # Whoever waits for readiness and asks for nothing else does not wait for ever.
        wait_for(lambda: subprocess.run([curl, "-s", "-f", f"http://127.0.0.1:{port}/readyz"],
                                        stdout=subprocess.DEVNULL, check=False).returncode == 0,
                 "ready")
        def fetch(path):
            return subprocess.run([curl, "-s", "-S", "-f", f"http://127.0.0.1:{port}{path}"],
                                  stdout=subprocess.PIPE, text=True, check=True).stdout
        memory = json.loads(fetch("/metrics/memory"))
        self.assertGreater(memory["rss_bytes"], 1 << 20)
        live = json.loads(fetch("/api/v1/report"))["totals"]["live_bytes"]
        self.assert_near(live, 20_000_000)
        for path in ("/metrics/leaks", "/metrics/allocations"):
            json.loads(fetch(path))
        self.assertIn("riptide_memory_rss_bytes", fetch("/metrics"))
        self.assertIn("hold", fetch("/"))
        for path in ("/healthz", "/readyz"):
            fetch(path)
        promtool = shutil.which("promtool")
        if promtool:
            check = subprocess.run([promtool, "check", "metrics"], input=fetch("/metrics"),
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   check=False)
            lines = [line for line in check.stdout.splitlines()
                     if "riptide_leak_potential_count" not in line]
            self.assertEqual(lines, [])


class Plugins(RiptideTest):
    """Code that is known by a relative name, and gone when the names are looked for."""

    def test_a_closed_plugin_with_a_relative_name_has_its_names(self):
        self.compile("plugin.so", """
#include <stdlib.h>
void *plugin_alloc(size_t n) { void *p = malloc(n); __asm__ volatile("" ::"r"(p)); return p; }
""", "-shared", "-fPIC")
        program = self.compile("host", """
#include <dlfcn.h>
#include <stddef.h>
#include <unistd.h>
static void *volatile kept[100];
int main(void) {
    void *const plugin = dlopen("./plugin.so", RTLD_NOW);
    void *(*const alloc)(size_t) = (void *(*)(size_t))dlsym(plugin, "plugin_alloc");
    for (int i = 0; i < 100; i++) kept[i] = alloc(50000);
    dlclose(plugin);
    return chdir("/");
}
""")
        site = self.record(program, options=("--interval", "1K"))["sites"][0]
        self.assertEqual((site["function"], site["line"], site["live_bytes"]["value"]),
                         ("plugin_alloc", 3, 5_000_000))


class Signals(RiptideTest):
    """What is sent to riptide reaches the program; what a group gets, it gets once."""

    COUNT = """
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
static volatile int seen;
static void count(int number) { (void)number; seen++; }
int main(void) {
    sigaction(SIGINT, &(struct sigaction){.sa_handler = count}, 0);
    puts("ready"); fflush(stdout);
    for (int i = 0; i < 100 && !seen; i++) usleep(100000);
    usleep(300000);
    return 10 + seen;
}
"""

    def begin(self, *program):
        run = self.start("run", "--quiet", "--listen", "none", "-o", "s.riptide", "--", *program)
        run.stdout.readline()
        return run

    def test_a_signal_to_riptide_alone_ends_the_program(self):
        program = self.compile("hold", HOLD)
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
            run = self.begin(program, "30")
            run.send_signal(number)
            self.assertEqual(run.wait(10), 128 + number)

    def test_an_interrupt_that_the_program_catches(self):
        program = self.compile("count", self.COUNT)
        run = self.begin(program)
        run.send_signal(signal.SIGINT)
        self.assertEqual(run.wait(10), 11)
        run = self.begin(program)
        os.killpg(run.pid, signal.SIGINT)
        self.assertEqual(run.wait(10), 11)


class Death(RiptideTest):
    """Whoever is killed, the recording opens and the program does not notice."""

    def test_a_killed_program_leaves_its_last_state(self):
        program = self.compile("hold", HOLD)
        run = self.start("run", *SEEDED, "-o",
                         self.path("k.riptide"), "--", program, "30")
        run.stdout.readline()
        os.kill(self.child_of(run, "hold"), signal.SIGKILL)
        self.assertEqual(run.wait(10), 137)
        report = self.report(self.path("k.riptide"))
        self.assertEqual((report["target"]["status"], report["target"]["signal"]), ("killed", 9))
        self.assertTrue(report["complete"])
        live = report["totals"]["live_bytes"]
        self.assert_near(live, 20_000_000)
        self.assertEqual(report["sites"][0]["function"], "leak_here")
        self.assertTrue(report["sites"][0]["file"].endswith("hold.c"))

    def test_a_killed_collector_leaves_the_program_alone(self):
        program = self.compile("hold", HOLD)
        marker = self.path("done")
        run = self.start("run", *SEEDED, "-o",
                         self.path("c.riptide"), "--", "sh", "-c",
                         f"{program} 2; echo $? > {marker}")
        run.stdout.readline()
        time.sleep(1.2)
        run.kill()
        run.wait()
        wait_for(lambda: os.path.exists(marker) and os.path.getsize(marker), "the program ended")
        with open(marker, encoding="ascii") as handle:
            self.assertEqual(handle.read().strip(), "0")
        report = self.report(self.path("c.riptide"))
        self.assertFalse(report["complete"])
        self.assertTrue(report["note"])
        held = max(process["totals"]["live_bytes"]["value"] for process in report["processes"])
        self.assertGreater(held, 10_000_000)

    def test_a_collector_killed_at_once_leaves_a_recording_that_names_the_program(self):
        program = self.compile("hold", HOLD)
        run = self.start("run", "--quiet", "--listen", "none", "-o", self.path("c.riptide"), "--",
                         program, "1")
        run.stdout.readline()
        time.sleep(0.1)
        run.kill()
        run.wait()
        report = self.report(self.path("c.riptide"))
        self.assertIn("hold", report["target"]["command"])
        self.assertEqual((report["target"]["status"], report["complete"]), ("running", False))
        self.assertTrue(report["note"])

    def test_a_file_size_limit_is_the_program_s_alone(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE,
                                           (1024, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        run = self.riptide("run", "--quiet", "--listen", "none", "-o", "x.riptide", "--", "sh",
                           "-c", "ulimit -f; exit 7", preexec_fn=limit)
        self.assertEqual((run.returncode, run.stderr), (7, ""))
        self.assertEqual(self.report(self.path("x.riptide"))["target"]["exit_code"], 7)

    def test_a_full_disk_is_said_and_the_program_runs_on(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to mount a small file system")
        disk = self.path("disk")
        os.mkdir(disk)
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", disk],
                               stderr=subprocess.PIPE, check=False)
        if mount.returncode != 0:
            self.skipTest("tmpfs cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", disk], check=False)
        run = self.riptide("run", "--listen", "none", "--interval", "4K", "-o",
                           os.path.join(disk, "x.riptide"), "--", "/usr/bin/python3", "-c",
                           "import json, http.client, time; time.sleep(0.5); exit(7)")
        self.assertEqual(run.returncode, 7)
        self.assertIn("No space left", run.stderr)
        again = self.riptide("report", os.path.join(disk, "x.riptide"))
        self.assertIn(again.returncode, (0, 1))
        self.assertNotIn("Traceback", again.stderr)

    def test_a_fork_storm_is_survived(self):
        run = self.riptide("run", "--quiet", "--listen", "none", "-o", "s.riptide", "--", "sh",
                           "-c", "i=0; while [ $i -lt 400 ]; do /bin/true; i=$((i+1)); done")
        self.assertEqual(run.returncode, 0)
        report = self.report(self.path("s.riptide"))
        self.assertLessEqual(len(report["processes"]), 300)
        self.assertLess(os.path.getsize(self.path("s.riptide")), 1 << 20)


if __name__ == "__main__":
    sys.exit(main())
