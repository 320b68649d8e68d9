# SPDX-License-Identifier: Apache-2.0
"""libriptide in a program: what the library shows, the endpoints, the heap, and good manners.

The program is test/support/library_program.c, built here against the library as a user would.
"""
import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request

from riptide_test import BUILD, RIPTIDE, ROOT, RiptideTest, free_port, get, main, need

MANAGER = os.path.join(BUILD, "src", "manager")
AGENT_DIR = os.path.join(BUILD, "src", "agent")
SHARED = os.path.join(MANAGER, "libriptide.so")
STATIC = os.path.join(MANAGER, "libriptide.a")
INCLUDE = os.path.join(ROOT, "include")
PROGRAM = os.path.join(ROOT, "test", "support", "library_program.c")
LINK_SHARED = ["-L" + MANAGER, "-lriptide", "-Wl,-rpath," + MANAGER]
LINK_HEAP = ["-L" + AGENT_DIR, "-Wl,-rpath," + AGENT_DIR, "-Wl,--no-as-needed", "-lriptide-heap",
             "-Wl,--as-needed"]
BLOCKS, BLOCK_BYTES, RECORDED = 1000, 100000, 2000 * 1024
OFF, SAMPLE, EXACT = 1, 2, 3
TOKEN = "0123456789abcdef0123"

PLUGIN_HOST = r"""
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

static int (*record)(void *, uint32_t, uint64_t);
static void *manager;
static int to_thread[2], from_thread[2];

static void *record_and_wait(void *tag)
{
    char byte = (char)record(manager, (uint32_t)(uintptr_t)tag, 1);
    (void)!write(from_thread[1], &byte, 1);
    (void)!read(to_thread[0], &byte, 1);
    return NULL;
}

int main(int argc, char **argv)
{
    (void)argc;
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        char byte = 0;
        void *const library = dlopen(argv[1], RTLD_NOW);
        if (!library)
            return printf("%s\n", dlerror()), 1;
        void *(*const open_one)(const void *, int *) = dlsym(library, "riptide_manager_open");
        uint32_t (*const intern)(void *, const char *, const char *) =
            dlsym(library, "riptide_intern");
        void (*const close_one)(void *) = dlsym(library, "riptide_manager_close");
        record = dlsym(library, "riptide_record_bytes");
        manager = open_one(NULL, NULL);
        if (!manager || pipe(to_thread) || pipe(from_thread))
            return 2;
        pthread_create(&thread, NULL, record_and_wait,
                       (void *)(uintptr_t)intern(manager, "a", "b"));
        (void)!read(from_thread[0], &byte, 1);
        if (byte)
            return 3;
        close_one(manager);
        if (dlclose(library))
            return 4;
        /* The thread that recorded ends when the library is no longer there. */
        (void)!write(to_thread[1], &byte, 1);
        pthread_join(thread, NULL);
        close(to_thread[0]), close(to_thread[1]), close(from_thread[0]), close(from_thread[1]);
    }
    printf("done\n");
    return 0;
}
"""


# The library is not built with the sanitizer: it sees the system's functions that we call, only.
SANITIZED = r"""
#include <riptide/riptide.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static volatile sig_atomic_t handled;

static void on_signal(int number)
{
    (void)number;
    handled = handled + 1;
}

int main(void)
{
    const struct sigaction action = {.sa_handler = on_signal};
    struct riptide_options options;
    const struct riptide_answer *answer = NULL;
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    riptide_options_init(&options);
    options.endpoints = 0;
    options.interval_ms = 10;
    struct riptide_manager *const manager = riptide_manager_open(&options, NULL);
    if (!manager || riptide_record_block(manager, riptide_intern(manager, "a", "b"), &options, 5,
                                         RIPTIDE_CAPTURE_STACK) != 0)
        return 2;
    /* The name of the place is found by a program that is started for it. */
    if (riptide_answer_get(manager, "/api/v1/report", &answer) != 0)
        return 3;
    printf("%s\n", strstr(answer->body, "\"main\"") ? "named" : "without names");
    riptide_answer_free(answer);
    raise(SIGUSR1);
    printf("handled %d of 2\n", (int)handled);
    riptide_manager_close(manager);
    return 0;
}
"""


def output_of(*command):
    """Return what a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class Service:
    """The program under test: one line in, one line out."""

    def __init__(self, test, command, env=None):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, cwd=test.folder, env=env)
        test.addCleanup(self.end)

    def ask(self, line):
        """Send a command; return its answer without the end of the line."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise AssertionError(f"{line}: the program ended, {self.process.stderr.read()}")
        return answer.rstrip("\n")

    def lines(self, line):
        """Send a command; return the lines up to the one with a dot."""
        first, rest = self.ask(line), []
        while True:
            text = self.process.stdout.readline()
            if text in (".\n", ""):
                return first, "".join(rest)
            rest.append(text)

    def port(self):
        """Open the manager; return its port."""
        word, number = self.ask("open").split(" ", 1)
        if word != "port":
            raise AssertionError(number)
        return int(number)

    def end(self):
        """Let it end by itself; return its status, stderr included."""
        if self.process.stdin.closed:
            return self.process.returncode, ""
        self.process.stdin.close()
        errors = self.process.stderr.read()
        self.process.wait(timeout=30)
        self.process.stdout.close()
        self.process.stderr.close()
        return self.process.returncode, errors


class LibraryTest(RiptideTest):
    """A folder with the program, linked in the way that a test wants."""

    def build(self, *flags, name="service"):
        """Build the program; return its path."""
        run = subprocess.run(["gcc", "-g", "-O1", "-fno-builtin", "-I" + INCLUDE, "-o",
                              self.path(name), PROGRAM, *flags],
                             capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, 0, run.stderr)
        return self.path(name)

    def serve(self, *command, **extra):
        """Start a program that answers lines."""
        return Service(self, list(command), **extra)

    def url(self, port, path):
        """Return the parsed JSON of an endpoint."""
        return json.loads(get(f"http://127.0.0.1:{port}{path}"))

    def held(self, report):
        """Return the one site that holds the program's blocks."""
        sites = [s for s in report["sites"] if s["function"] == "hold_block"]
        self.assertEqual(len(sites), 1, [s["function"] for s in report["sites"]])
        return sites[0]

    def assert_exact_blocks(self, report):
        """The blocks stand there once, to the byte."""
        site = self.held(report)
        self.assertTrue(site["file"].endswith("library_program.c"))
        self.assertGreater(site["line"], 0)
        self.assertEqual(site["live_blocks"]["value"], BLOCKS)
        self.assertEqual(site["live_bytes"]["value"], BLOCKS * BLOCK_BYTES)
        self.assertEqual(site["allocations"]["value"], BLOCKS)


class LibraryFileTest(LibraryTest):
    """What the library files need and show."""

    def header(self, name):
        """Return a public header without its comments."""
        with open(os.path.join(INCLUDE, "riptide", name), encoding="utf-8") as handle:
            return re.sub(r"/\*.*?\*/|//[^\n]*", "", handle.read(), flags=re.S)

    def test_it_needs_the_c_library_alone(self):
        text = output_of(need("readelf"), "-d", SHARED)
        needed = set(re.findall(r"NEEDED.*\[(.*)\]", text))
        self.assertLessEqual(needed, {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"})
        self.assertIn("Library soname: [libriptide.so.0]", text)

    def test_it_exports_the_public_functions_and_nothing_else(self):
        shown = {line.split()[-1] for line in
                 output_of(need("nm"), "-D", "--defined-only", SHARED).splitlines()}
        shown.discard("RIPTIDE_0.1")
        for name in shown:
            self.assertRegex(name, r"^riptide_[a-z_]+@@RIPTIDE_0\.1$")
        declared = set(re.findall(r"\b(riptide_\w+)\(", self.header("riptide.h")))
        self.assertGreater(len(declared), 30)
        # What the macros of tags.h look for by name.
        wanted = set(re.findall(r"\b(riptide_tag_\w+)", self.header("tags.h")))
        self.assertEqual({name.split("@")[0] for name in shown},
                         declared | {name for name in wanted if not name.endswith("_")})

    def test_the_static_library_keeps_to_its_prefixes(self):
        for line in output_of(need("nm"), "-g", "--defined-only", STATIC).splitlines():
            words = line.split()
            if len(words) == 3:
                self.assertRegex(words[2], r"^(riptide_|rtd_)")


class EndpointTest(LibraryTest):
    """The quick start of the seed, and what it answers."""

    def test_the_endpoints_answer_as_the_seed_has_it(self):
        service = self.serve(self.build(*LINK_SHARED))
        port = service.port()
        self.assertEqual(service.ask("record"), str(RECORDED))
        memory = self.url(port, "/metrics/memory")
        for key in ("rss_mb", "heap_mb", "virtual_mb"):
            self.assertGreater(memory[key], 0, key)
        self.assertRegex(memory["timestamp"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
        leaks = self.url(port, "/metrics/leaks")
        self.assertEqual(leaks["potential_leak_count"], len(leaks["potential_leaks"]))
        self.assertIn("highest_risk_component", leaks)
        self.assertIsInstance(leaks["growth_rate_mb_per_hour"], (int, float))
        allocations = self.url(port, "/metrics/allocations")
        self.assertEqual(allocations["top_allocators"], [["extraction", RECORDED]])
        self.assertTrue(0 <= allocations["efficiency_score"] <= 1)
        self.assertIsInstance(allocations["recommendations"], list)
        self.assertEqual(get(f"http://127.0.0.1:{port}/healthz"), "ok\n")
        self.assertIn("riptide_memory_rss_bytes ", get(f"http://127.0.0.1:{port}/metrics"))
        self.assertEqual(service.end(), (0, ""))

    def test_an_answer_for_another_server_is_that_of_ours(self):
        service = self.serve(self.build(*LINK_SHARED), "endpoints=0")
        self.assertEqual(service.port(), 0)
        service.ask("record")
        first, body = service.lines("answer /metrics/allocations?x=1")
        self.assertEqual(first, "200 application/json; charset=utf-8")
        self.assertEqual(json.loads(body)["top_allocators"], [["extraction", RECORDED]])
        self.assertEqual(service.lines("answer /nowhere")[0],
                         "404 application/json; charset=utf-8")
        self.assertEqual(service.lines("answer /healthz"), 
                         ("200 text/plain; charset=utf-8", "ok\n\n"))
        self.assertEqual(service.end(), (0, ""))

    def release(self, port, token, query=""):
        """POST /actions/gc; return status and answer."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/actions/gc{query}",
                                         method="POST", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def test_free_memory_is_given_back_for_the_token_alone(self):
        program = self.build(*LINK_SHARED)
        service = self.serve(program, "token=" + TOKEN)
        port = service.port()
        service.ask("allocate")
        service.ask("drop")
        self.assertEqual(self.release(port, None)[0], 401)
        self.assertEqual(self.release(port, TOKEN + "x")[0], 401)
        self.assertEqual(self.release(port, TOKEN, "?pid=1")[0], 404)
        status, done = self.release(port, TOKEN)
        self.assertEqual((status, done["status"], done["action"], done["allocator"], done["pid"]),
                         (200, "done", "malloc_trim(0)", "glibc", service.process.pid))
        self.assertEqual(done["freed_bytes"], done["before_bytes"] - done["after_bytes"])
        self.assertGreater(done["freed_bytes"], BLOCKS * BLOCK_BYTES // 2)
        self.assertEqual(service.end(), (0, ""))
        without = self.serve(program)
        status, said = self.release(without.port(), TOKEN)
        self.assertEqual(status, 403)
        self.assertIn("action_token", said["error"])
        self.assertEqual(self.serve(program, "token=short").ask("open"), "error Invalid argument")

    def test_a_port_in_use_moves_on_or_is_refused(self):
        program = self.build(*LINK_SHARED)
        port = free_port()
        first = self.serve(program, f"port={port}", "tries=1")
        self.assertEqual(first.port(), port)
        second = self.serve(program, f"port={port}", "tries=16")
        self.assertIn(second.port(), range(port + 1, port + 16))
        third = self.serve(program, f"port={port}", "tries=1")
        self.assertEqual(third.ask("open"), "error Address already in use")


class HeapTest(LibraryTest):
    """Programs whose heap is watched, by the library's own doing or by riptide run."""

    def test_without_the_agent_it_says_how_to_get_it(self):
        service = self.serve(self.build(*LINK_SHARED))
        port = service.port()
        self.assertIn("riptide-heap", service.ask("heap"))
        report = self.url(port, "/api/v1/report")
        self.assertEqual(report["target"]["status"], "running")
        self.assertEqual(report["sites"], [])

    def test_every_block_of_the_program_is_counted_exactly(self):
        service = self.serve(self.build(*LINK_HEAP, *LINK_SHARED), f"heap={EXACT}")
        port = service.port()
        self.assertEqual(service.ask("heap"), f"{EXACT} 0 ")
        service.ask("allocate")
        self.assert_exact_blocks(self.url(port, "/api/v1/report"))
        self.assertEqual(service.end(), (0, ""))

    def test_sampling_names_the_places_of_the_program(self):
        service = self.serve(self.build(*LINK_HEAP, *LINK_SHARED))
        port = service.port()
        self.assertEqual(service.ask("heap"), f"{SAMPLE} 0 ")
        service.ask("allocate")
        live = self.held(self.url(port, "/api/v1/report"))["live_bytes"]
        # An interval of 95 % misses now and then; a third off it never is.
        self.assertAlmostEqual(live["value"] / (BLOCKS * BLOCK_BYTES), 1, delta=0.33)
        self.assertLessEqual(live["low"], live["value"])
        self.assertLessEqual(live["value"], live["high"])

    def test_both_libraries_can_be_linked_in(self):
        heap = os.path.join(AGENT_DIR, "libriptide-heap.a")
        program = self.build("-Wl,--undefined=riptide_heap_adopt", heap, STATIC, "-lm", "-ldl",
                             "-pthread")
        needed = output_of(need("readelf"), "-d", program)
        self.assertNotIn("libriptide", needed)
        # It lies nowhere near the program that finds names.
        service = self.serve(program, f"heap={EXACT}",
                             env={**os.environ, "RIPTIDE_PROGRAM": RIPTIDE})
        port = service.port()
        self.assertEqual(service.ask("heap"), f"{EXACT} 0 ")
        service.ask("allocate")
        service.ask("record")
        report = self.url(port, "/api/v1/report")
        self.assert_exact_blocks(report)
        self.assertEqual(report["domains"][0]["totals"]["live_bytes"]["value"], RECORDED)

    def test_under_riptide_run_nothing_is_counted_twice(self):
        recording = self.path("out.riptide")
        service = self.serve(RIPTIDE, "run", "--quiet", "--listen", "none", "--mode", "exact", "-o",
                             recording, "--", self.build(*LINK_HEAP, *LINK_SHARED))
        port = service.port()
        self.assertEqual(service.ask("heap"), f"{EXACT} 1 ")
        service.ask("allocate")
        service.ask("record")
        inside = self.url(port, "/api/v1/report")
        self.assert_exact_blocks(inside)
        self.assertEqual(inside["domains"][0]["totals"]["live_bytes"]["value"], RECORDED)
        self.assertEqual(service.end(), (0, ""))
        self.assert_exact_blocks(self.report(recording))

    def test_under_riptide_run_a_program_without_the_agent_joins_it(self):
        service = self.serve(RIPTIDE, "run", "--quiet", "--listen", "none", "-o",
                             self.path("out.riptide"), "--", self.build(*LINK_SHARED))
        port = service.port()
        self.assertEqual(service.ask("heap"), f"{SAMPLE} 1 ")
        service.ask("allocate")
        self.assertEqual(self.held(self.url(port, "/api/v1/report"))["component"], "service")

    def test_another_mode_than_asked_for_is_said(self):
        service = self.serve(RIPTIDE, "run", "--quiet", "--listen", "none", "--mode", "exact", "-o",
                             self.path("out.riptide"), "--", self.build(*LINK_SHARED),
                             f"heap={SAMPLE}")
        port = service.port()
        self.assertRegex(service.ask("heap"), f"^{EXACT} 1 .*not in the one asked for")
        service.ask("allocate")
        self.assert_exact_blocks(self.url(port, "/api/v1/report"))

    def test_two_managers_see_the_same_heap(self):
        service = self.serve(self.build(*LINK_HEAP, *LINK_SHARED), f"heap={EXACT}")
        port = service.port()
        service.ask("allocate")
        second_port, body = service.ask("second").split(" ", 1)
        self.assertNotEqual(int(second_port), port)
        self.assert_exact_blocks(json.loads(body))
        self.assert_exact_blocks(self.url(port, "/api/v1/report"))

    def test_the_ledger_is_kept_by_whoever_is_left(self):
        service = self.serve(self.build(*LINK_HEAP, *LINK_SHARED), f"heap={EXACT}")
        service.port()
        port = int(service.ask("swap").split()[1])
        swapped = datetime.datetime.now(datetime.timezone.utc)
        time.sleep(1)
        service.ask("allocate")
        report = self.url(port, "/api/v1/report")
        self.assert_exact_blocks(report)
        # Nobody ticks the clock that blocks are dated by: they would be of the moment of the swap.
        born = [datetime.datetime.fromisoformat(block["timestamp"].replace("Z", "+00:00"))
                for block in report["leaks"]["largest_allocations"]
                if block["size_bytes"] == BLOCK_BYTES]
        self.assertTrue(born)
        self.assertGreater(min(born), swapped + datetime.timedelta(seconds=0.5))

    def test_what_the_manager_allocates_is_its_own(self):
        service = self.serve(self.build(*LINK_HEAP, *LINK_SHARED), f"heap={EXACT}")
        port = service.port()
        service.ask("allocate")
        get(f"http://127.0.0.1:{port}/metrics")
        report = self.url(port, "/api/v1/report")
        self.assertEqual(self.held(report)["component"], "service")
        for site in report["sites"]:
            # A thread of libmicrohttpd allocates for its first client before we are told of it.
            if any(os.path.basename(frame["module"]).startswith("libriptide.")
                   for frame in site["stack"]):
                self.assertEqual(site["component"], "riptide", site)

    def test_the_next_manager_takes_the_heap_up_again(self):
        service = self.serve(self.build(*LINK_HEAP, *LINK_SHARED), f"heap={EXACT}")
        service.port()
        service.ask("allocate")
        port = int(service.ask("reopen 50").split()[1])
        self.assertEqual(service.ask("heap"), f"{EXACT} 0 ")
        self.assert_exact_blocks(self.url(port, "/api/v1/report"))

    def test_without_the_program_places_have_offsets_and_the_report_says_why(self):
        service = self.serve(self.build(*LINK_HEAP, *LINK_SHARED), f"heap={EXACT}",
                             env={**os.environ, "RIPTIDE_PROGRAM": "/nonexistent"})
        port = service.port()
        service.ask("allocate")
        report = self.url(port, "/api/v1/report")
        self.assertIn("RIPTIDE_PROGRAM", report["note"])
        largest = report["sites"][0]
        self.assertIsNone(largest["function"])
        self.assertEqual(largest["live_bytes"]["value"], BLOCKS * BLOCK_BYTES)
        self.assertTrue(largest["module"].endswith("service"))
        self.assertGreater(largest["stack"][0]["offset"], 0)


class MannersTest(LibraryTest):
    """A guest in somebody's service."""

    def test_no_child_of_ours_is_ever_seen(self):
        service = self.serve(self.build(*LINK_HEAP, *LINK_SHARED), f"heap={EXACT}")
        port = service.port()
        service.ask("handle")
        service.ask("allocate")
        # Names were found, so the program that finds them did run.
        self.assertEqual(self.held(self.url(port, "/api/v1/report"))["function"], "hold_block")
        self.assertEqual(service.ask("signals"), "0 0 0")

    def test_a_termination_is_the_programs_to_take(self):
        program = self.build(*LINK_SHARED)
        service = self.serve(program)
        service.port()
        service.ask("handle")
        service.process.send_signal(signal.SIGTERM)
        self.assertEqual(service.ask("signals").split()[1], "1")
        self.assertEqual(service.end(), (0, ""))
        other = self.serve(program)
        other.port()
        other.process.send_signal(signal.SIGTERM)
        self.assertEqual(other.process.wait(timeout=10), -signal.SIGTERM)

    def test_a_fork_leaves_the_parent_serving(self):
        service = self.serve(self.build(*LINK_HEAP, *LINK_SHARED), f"heap={EXACT}")
        port = service.port()
        service.ask("allocate")
        get(f"http://127.0.0.1:{port}/metrics")
        self.assertEqual(service.ask("fork"), "0")
        self.assert_exact_blocks(self.url(port, "/api/v1/report"))
        self.assertEqual(service.end(), (0, ""))

    def test_the_programs_locale_is_its_own(self):
        made = subprocess.run([need("localedef"), "-i", "de_DE", "-f", "UTF-8",
                               self.path("de_DE.UTF-8")], capture_output=True, check=False)
        # Without the sources of locales it leaves an empty folder, with status 1 as for a warning.
        if made.returncode > 1 or not os.path.isfile(self.path("de_DE.UTF-8/LC_NUMERIC")):
            self.skipTest("localedef cannot make de_DE (Debian: locales)")
        service = self.serve(self.build(*LINK_HEAP, *LINK_SHARED), f"heap={EXACT}",
                             env={**os.environ, "LOCPATH": self.folder, "LC_ALL": "de_DE.UTF-8"})
        self.assertEqual(service.ask("locale"), "ok")
        self.assertEqual(service.ask("print"), "0,5")
        port = service.port()
        service.ask("allocate")
        for page in (get(f"http://127.0.0.1:{port}/"), service.lines("answer /")[1]):
            self.assertIn("95.4", page)
            self.assertNotIn("95,4", page)
        json.loads(service.lines("answer /api/v1/report")[1])
        self.assertEqual(service.ask("print"), "0,5")

    def test_it_can_be_loaded_and_unloaded(self):
        program = self.compile("host", PLUGIN_HOST, "-ldl", "-pthread")
        run = subprocess.run([program, SHARED], capture_output=True, text=True, check=False,
                             timeout=60)
        self.assertEqual((run.returncode, run.stdout, run.stderr), (0, "done\n", ""))

    def test_a_program_under_a_thread_sanitizer_keeps_its_handlers_and_has_no_races(self):
        flag = "-fsanitize=thread"
        # A kernel may place programs where the sanitizer cannot work.
        probe = self.compile("probe", "int main(void) { return 0; }", flag)
        run = subprocess.run([probe], capture_output=True, text=True, check=False)
        if run.returncode != 0:
            self.skipTest(f"gcc {flag} makes no program that runs: {run.stderr[:200]}")
        program = self.compile("sanitized", SANITIZED, flag, "-I" + INCLUDE, *LINK_SHARED,
                               "-pthread")
        run = subprocess.run([program], capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual((run.returncode, run.stdout, run.stderr),
                         (0, "named\nhandled 2 of 2\n", ""))

    def test_nothing_is_lost_or_misused_under_valgrind(self):
        valgrind = need("valgrind")
        service = self.serve(valgrind, "--quiet", "--leak-check=full", "--error-exitcode=9",
                             "--errors-for-leak-kinds=definite", self.build(*LINK_SHARED))
        service.port()
        service.ask("record")
        self.assertEqual(service.lines("answer /metrics/leaks")[0][:3], "200")
        self.assertEqual(service.ask("fork"), "0")
        service.ask("reopen 5")
        self.assertEqual(service.ask("close"), "ok")
        self.assertEqual(service.end(), (0, ""))


if __name__ == "__main__":
    if not shutil.which("gcc"):
        raise SystemExit(77)
    main()
