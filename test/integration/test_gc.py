# SPDX-License-Identifier: Apache-2.0
"""An operator has a running program give free memory back: riptide gc, and POST /actions/gc.

gc_program frees 128 MiB below a block that stays; what is resident is read from /proc here, without
the code under test.
"""
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

import riptide_test
from riptide_test import RiptideTest, free_port, wait_for

PROGRAM = os.path.join(riptide_test.BUILD, "test", "support", "gc_program")
MIB = 1 << 20
TOKEN = "0123456789abcdef-of-a-test"


# Each malloc() allocates a large block, which is always sampled, by the public name and inside itself.
NESTED = r"""
#include <stdbool.h>
#include <stdlib.h>

void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);
static _Thread_local volatile int depth;

void *malloc(size_t size)
{
    if (depth == 0) {
        depth++;
        void *volatile inner = calloc(1, 4 << 20);
        free(inner);
        depth--;
    }
    return __libc_malloc(size);
}

void free(void *p) { __libc_free(p); }
void *calloc(size_t count, size_t size) { return __libc_calloc(count, size); }
void *realloc(void *p, size_t size) { return __libc_realloc(p, size); }
void *memalign(size_t alignment, size_t size) { return __libc_memalign(alignment, size); }
size_t malloc_usable_size(void *p) { return p ? (((size_t *)p)[-1] & ~(size_t)7) - 8 : 0; }

void mi_collect(bool force)
{
    if (!force || depth != 0)
        abort();
}
"""


def resident(pid):
    """Return the resident bytes of a process."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as handle:
        return int(handle.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def library(name):
    """Return the path of a shared library of the system, or None."""
    listing = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False)
    match = re.search(rf"^\s*{re.escape(name)} .*=> (\S+)$", listing.stdout, re.M)
    return match.group(1) if match else None


class GcTest(RiptideTest):
    """What the tests below share."""

    def run_program(self, what, *options, preload=None):
        """Start the program under riptide; return riptide and the pid, once it has freed."""
        environment = dict(os.environ)
        if preload is not None:
            path = preload if "/" in preload else library(preload)
            if path is None:
                self.skipTest(f"{preload} is not installed")
            environment["LD_PRELOAD"] = path
        if "--listen" not in options:
            options = ("--listen", "none", *options)
        run = self.start("run", "--quiet", "-o", self.path("out.riptide"), *options, "--", PROGRAM,
                         what, env=environment)
        self.assertEqual(run.stdout.readline(), "ready\n")
        return run, self.child_of(run, "gc_program")

    def gc(self, pid, *options):
        """Ask by the command line; return the exit status and the result."""
        run = self.riptide("gc", str(pid), "--json", *options)
        self.assertEqual(run.stderr, "")
        return run.returncode, json.loads(run.stdout)

    def check_done(self, pid, result, allocator, least):
        """Check a result against the resident set."""
        self.assertEqual((result["status"], result["allocator"], result["reason"], result["pid"]),
                         ("done", allocator, None, pid))
        self.assertEqual(result["freed_bytes"], result["before_bytes"] - result["after_bytes"])
        self.assertGreater(result["freed_bytes"], least)
        self.assertGreater(result["duration_ms"], 0)
        self.assertLess(abs(resident(pid) - result["after_bytes"]), 16 * MIB)


class AllocatorsTest(GcTest):
    """Each allocator's own function is called, in both modes."""

    def check(self, allocator, action, preload=None, least=100 * MIB):
        """Run, ask, look."""
        for mode in ("sample", "exact"):
            with self.subTest(mode=mode):
                run, pid = self.run_program("busy", "--mode", mode, preload=preload)
                status, result = self.gc(pid)
                self.assertEqual(status, 0, result)
                self.assertEqual(result["action"], action)
                self.check_done(pid, result, allocator, least)
                # The program goes on, and can be asked again.
                status, result = self.gc(pid)
                self.assertEqual((status, result["status"]), (0, "done"))
                self.assertIsNone(run.poll())
                os.kill(pid, signal.SIGKILL)
                run.wait(timeout=20)

    def test_glibc(self):
        """malloc_trim reaches what free() leaves below the top."""
        self.check("glibc", "malloc_trim")

    def test_jemalloc(self):
        """All arenas are purged."""
        self.check("jemalloc", "arena.<all>.purge", "libjemalloc.so.2", 16 * MIB)

    def test_tcmalloc(self):
        """Free spans are released."""
        self.check("tcmalloc", "MallocExtension_ReleaseFreeMemory", "libtcmalloc_minimal.so.4")

    def test_mimalloc(self):
        """Free segments are released."""
        self.check("mimalloc", "mi_collect", "libmimalloc.so.2")

    def test_allocator_without_a_function(self):
        """An allocator that nobody knows: unsupported, and in words."""
        source = ("#include <stddef.h>\n#include <stdint.h>\n"
                  "static char pool[1u << 30]; static size_t used;\n"
                  "void *memalign(size_t a, size_t n) {"
                  " used = (used + a - 1) / a * a; void *p = pool + used;"
                  " used += (n + 31) / 16 * 16; return used < sizeof pool ? p : 0; }\n"
                  "void *malloc(size_t n) { return memalign(16, n); }\n"
                  "void free(void *p) { (void)p; }\n"
                  "size_t malloc_usable_size(void *p) { (void)p; return 0; }\n"
                  "void *calloc(size_t n, size_t m) { return malloc(n * m); }\n"
                  "void *realloc(void *p, size_t n) { char *q = malloc(n);"
                  " for (size_t i = 0; p && i < n; i++) q[i] = ((char *)p)[i]; return q; }\n")
        library_path = self.compile("bump.so", source, "-shared", "-fPIC")
        loop = self.compile("loop", "#include <stdlib.h>\n#include <unistd.h>\n"
                            "int main(void) { for (int i = 0; i < 5000; i++)"
                            " { free(malloc(50000)); usleep(3000); } return 0; }\n")
        run = self.start("run", "--quiet", "--listen", "none", "-o", self.path("o.riptide"), "--",
                         loop, env=dict(os.environ, LD_PRELOAD=library_path))
        pid = self.child_of(run, "loop")
        status, result = self.gc(pid)
        self.assertEqual((status, result["status"], result["action"]), (1, "unsupported", None))
        self.assertIn("allocator", result["reason"])
        self.assertIsNone(result["freed_bytes"])


class SafePointTest(GcTest):
    """A target that passes no safe point is left alone, for good."""

    def check_left_alone(self, what, *options):
        """Ask in vain; nothing may happen then or later."""
        _, pid = self.run_program(what, *options)
        before = resident(pid)
        status, result = self.gc(pid, "--timeout", "1")
        self.assertEqual((status, result["status"]), (1, "timeout"))
        self.assertIn("withdrawn", result["reason"])
        self.assertEqual((result["action"], result["after_bytes"], result["freed_bytes"],
                          result["duration_ms"]), (None, None, None, None))
        self.assertGreater(result["before_bytes"], 100 * MIB)
        time.sleep(0.5)
        self.assertGreater(resident(pid), before - 8 * MIB)

    def test_an_idle_program(self):
        """It sleeps: the request is withdrawn and says why."""
        self.check_left_alone("idle")

    def test_a_child_of_vfork(self):
        """It shares its parent's ledger, and must not answer for it."""
        self.check_left_alone("vfork", "--interval", "16K")

    def test_a_coroutine(self):
        """Its stack may be too small for what the allocator does."""
        self.check_left_alone("coroutine", "--interval", "16K")

    def test_a_filter_of_system_calls_in_one_thread(self):
        """The thread would be killed for what the allocator calls, and the process with it."""
        run, pid = self.run_program("filter", "--interval", "16K")
        before = resident(pid)
        status, result = self.gc(pid)
        self.assertEqual((status, result["status"], result["action"]), (1, "unsupported", None))
        self.assertIn("filter of system calls", result["reason"])
        time.sleep(0.2)
        self.assertIsNone(run.poll())
        self.assertGreater(resident(pid), before - 8 * MIB)

    def test_never_below_the_allocators_own_frames(self):
        """An allocator that allocates by the public names holds its locks meanwhile."""
        allocator = self.compile("nested.so", NESTED, "-shared", "-fPIC", "-O2")
        run, pid = self.run_program("busy", preload=allocator)
        for _ in range(5):
            status, result = self.gc(pid)
            self.assertEqual((status, result["status"], result["action"]),
                             (0, "done", "mi_collect"))
        self.assertIsNone(run.poll())

    def test_a_caller_that_gives_up(self):
        """The request of a caller that is gone is withdrawn."""
        _, pid = self.run_program("idle")
        caller = self.start("gc", str(pid), "--timeout", "60")
        time.sleep(0.5)
        caller.kill()
        caller.wait()
        status, result = wait_for(lambda: self.try_again(pid), "the first request is withdrawn")
        self.assertEqual((status, result["status"]), (1, "timeout"))

    def try_again(self, pid):
        """Return a result, or None while another request is under way."""
        run = self.riptide("gc", str(pid), "--json", "--timeout", "1")
        return (run.returncode, json.loads(run.stdout)) if run.stdout else None

    def test_two_callers(self):
        """The second is told so at once."""
        _, pid = self.run_program("idle")
        self.start("gc", str(pid), "--timeout", "60")
        time.sleep(0.5)
        run = self.riptide("gc", str(pid), "--timeout", "1")
        self.assertEqual((run.returncode, run.stdout), (2, ""))
        self.assertIn("already", run.stderr)

    def test_the_program_ends_meanwhile(self):
        """The caller is told, and riptide ends as it should."""
        run, pid = self.run_program("idle")
        caller = self.start("gc", str(pid), "--timeout", "60", "--json")
        time.sleep(0.5)
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(run.wait(timeout=20), 128 + signal.SIGKILL)
        self.assertEqual(caller.wait(timeout=20), 1)
        self.assertEqual(json.loads(caller.stdout.read())["status"], "failed")


class CommandTest(GcTest):
    """The command line."""

    def test_text(self):
        """One line says it all; the pid of riptide run works, too."""
        run, _ = self.run_program("busy")
        asked = self.riptide("gc", str(run.pid))
        self.assertEqual((asked.returncode, asked.stderr), (0, ""))
        self.assertRegex(asked.stdout, r"^done: process \d+: malloc_trim of glibc: resident "
                                       r"[\d.]+ MiB before, [\d.]+ MiB after; [\d.]+ MiB freed in "
                                       r"[\d.]+ ms\n$")

    def test_wrong_use(self):
        """Exit status 2, one line, and what to do."""
        for arguments, words in ((("gc",), "name a process"), (("gc", "x"), "not a process"),
                                 (("gc", "1", "2"), "one process"),
                                 (("gc", "--timeout", "0", "1"), "seconds from 1"),
                                 (("gc", str(os.getpid())), "under no riptide")):
            run = self.riptide(*arguments)
            self.assertEqual((run.returncode, run.stdout), (2, ""), arguments)
            self.assertIn(words, run.stderr)


class HttpTest(GcTest):
    """POST /actions/gc."""

    def ask(self, port, headers=None, method="POST", path="/actions/gc"):
        """Return status, headers and body as data."""
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method,
                                         headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.headers, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, json.loads(error.read())

    def test_with_the_token(self):
        """It is done, and only so."""
        port = free_port()
        token = self.write("token", TOKEN + "\n", 0o600)
        _, pid = self.run_program("busy", "--listen", f"127.0.0.1:{port}", "--token-file", token)
        right = {"Authorization": f"Bearer {TOKEN}"}
        before = resident(pid)
        for headers in ({}, {"Authorization": "Bearer " + TOKEN[:-1]},
                        {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": TOKEN}):
            status, answered, body = self.ask(port, headers)
            self.assertEqual(status, 401, headers)
            self.assertIn("Bearer", answered["WWW-Authenticate"])
            self.assertIn("error", body)
        status, answered, _ = self.ask(port, right, "GET")
        self.assertEqual((status, answered["Allow"]), (405, "POST"))
        self.assertEqual(self.ask(port, dict(right, Host="evil.example"))[0], 403)
        self.assertEqual(self.ask(port, right, path="/metrics/memory")[0], 405)
        self.assertEqual(self.ask(port, right, path="/actions/gc?pid=0")[0], 400)
        self.assertEqual(self.ask(port, right, path="/actions/gc?pid=1")[0], 404)
        self.assertGreater(resident(pid), before - 8 * MIB)  # nothing has happened yet
        status, _, body = self.ask(port, right, path=f"/actions/gc?pid={pid}")
        self.assertEqual(status, 200, body)
        self.check_done(pid, body, "glibc", 100 * MIB)
        self.assertEqual(self.ask(port, right)[2]["status"], "done")

    def test_without_a_token_nobody_may(self):
        """The remedy stands in the answer."""
        port = free_port()
        self.run_program("busy", "--listen", f"127.0.0.1:{port}")
        for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": f"Bearer {TOKEN}"}):
            status, _, body = self.ask(port, headers)
            self.assertEqual(status, 403)
            self.assertIn("--token-file", body["error"])

    def test_the_program_ends_during_an_action(self):
        """The waiting client holds nothing up."""
        port = free_port()
        token = self.write("token", TOKEN + "\n", 0o600)
        run, pid = self.run_program("idle", "--listen", f"127.0.0.1:{port}", "--token-file", token)
        client = subprocess.Popen(["/usr/bin/python3", "-c",
                                   "import sys, urllib.request as u\n"
                                   "r = u.Request(sys.argv[1], method='POST',"
                                   " headers={'Authorization': 'Bearer ' + sys.argv[2]})\n"
                                   "try:\n    u.urlopen(r, timeout=30).read()\n"
                                   "except OSError:\n    pass\n",
                                   f"http://127.0.0.1:{port}/actions/gc", TOKEN])
        self.addCleanup(client.wait)
        time.sleep(1)
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(run.wait(timeout=30), 128 + signal.SIGKILL)

    def test_a_bad_token_file(self):
        """Refused before the program starts, with the reason."""
        cases = ((self.write("open", TOKEN, 0o644), "chmod 600"),
                 (self.write("short", "abc\n", 0o600), "16 to 128"),
                 (self.write("blank", "0123456789 abcdefgh\n", 0o600), "16 to 128"),
                 (self.path("none"), "No such file"))
        for path, words in cases:
            run = self.riptide("run", "--token-file", path, "--", PROGRAM, "idle")
            self.assertEqual((run.returncode, run.stdout), (2, ""), path)
            self.assertIn(words, run.stderr)


del GcTest  # no test of its own

if __name__ == "__main__":
    if os.path.exists(PROGRAM):
        riptide_test.main()
    print("skipped: gc_program is not built")
    raise SystemExit(77)
