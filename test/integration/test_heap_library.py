# SPDX-License-Identifier: Apache-2.0
"""Programs that link the agent: they watch themselves, and a collector counts them once.

The same program is built with the agent as a library, linked in, linked in at a fixed address, and
without it.
"""
import os
import re
import subprocess
import sys
import unittest

from riptide_test import AGENT, BUILD, ROOT, RiptideTest, main, need

SUPPORT = os.path.join(BUILD, "test", "support")
AGENTS = os.path.dirname(AGENT)
NONE = os.path.join(SUPPORT, "heap_library_none")
LINKED = [path for path in (os.path.join(SUPPORT, "heap_library" + kind)
                            for kind in ("", "_static", "_fixed")) if os.path.exists(path)]
MODES = ("exact", "sample")
OTHERS = [f"/usr/lib/x86_64-linux-gnu/lib{name}"
          for name in ("jemalloc.so.2", "mimalloc.so.2", "tcmalloc_minimal.so.4")]
EALREADY, EINVAL, EPROTO, EOPNOTSUPP = -114, -22, -71, -95
# What a thread of its own may allocate before it comes by and finds that it is to sample.
PARKED_BYTES = 16384
BLOCK_BYTES = 100
ALLOCATIONS = 4000


class HeapLibraryTest(RiptideTest):
    """What all of these tests do."""

    def run_program(self, program, *arguments, **extra):
        """Run a program to its end; return its lines as lists of words, by their first word."""
        run = subprocess.run([program, *arguments], cwd=self.folder, capture_output=True, text=True,
                             timeout=60, check=False, stdin=subprocess.DEVNULL, **extra)
        self.assertEqual((run.returncode, run.stderr), (0, ""), (program, arguments))
        return {line.split()[0]: line.split()[1:] for line in run.stdout.splitlines()}

    def each(self, what):
        """Run a part of the program in each build and mode."""
        self.assertTrue(LINKED)
        for program in LINKED:
            for mode in MODES:
                with self.subTest(program=os.path.basename(program), mode=mode):
                    yield mode, self.run_program(program, what, mode)


class SelfTest(HeapLibraryTest):
    """A program that has its own heap watched."""

    def assert_own(self, mode, figures, allocations, live):
        """Threads that ran before the ledger came may miss a little when they sample."""
        found, found_bytes, found_live = map(int, figures)
        threads = 0 if mode == "exact" else 4
        missed = threads * (PARKED_BYTES // (BLOCK_BYTES + 1) + 1)
        self.assertLessEqual(found, allocations)
        self.assertGreaterEqual(found, allocations - missed)
        self.assertEqual(found_bytes, found * BLOCK_BYTES)
        self.assertLessEqual(found_live, live)
        self.assertGreaterEqual(found_live, live - missed)

    def test_running_threads_take_up_recording(self):
        for mode, said in self.each("threads"):
            self.assertEqual(said["adopt"], ["0"])
            self.assertEqual(said["before"], ["0", "0", "0"])
            self.assert_own(mode, said["after"], ALLOCATIONS, ALLOCATIONS // 4 * 3)
            if mode == "exact":
                self.assertEqual(said["unknown_frees"], [str(ALLOCATIONS)])

    def test_threads_that_allocate_all_the_time_lose_nothing_when_it_begins(self):
        """Every block that was born under the ledger dies under it, whoever frees it."""
        for mode, said in self.each("race"):
            self.assertEqual(said["adopt"], ["0"])
            self.assertEqual(said["before"][2], "0")
            self.assertGreater(int(said["before"][0]), 0)
            self.assertEqual(said["stale"], ["0"])
            self.assert_own(mode, said["after"], ALLOCATIONS, ALLOCATIONS // 4 * 3)
            if mode == "exact":
                self.assertEqual(said["missed_frees"], ["0"])

    def test_a_child_records_nothing_until_it_has_a_ledger_of_its_own(self):
        """Least of all into its parent's."""
        for mode, said in self.each("fork"):
            self.assertEqual(said["adopt"], ["0"])
            self.assertEqual(said["child_adopt"], ["0"])
            self.assertEqual(said["child"], ["1000", "100000", "1000"])
            self.assertEqual(said["parent"], ["2000", "200000", "2000"])
            del mode

    def test_a_child_of_a_parent_that_does_not_record_may_begin(self):
        for _, said in self.each("prefork"):
            self.assertEqual(said["adopt"], ["0"])
            self.assertEqual(said["child"], ["1000", "100000", "1000"])

    def test_the_first_ledger_stays_the_one(self):
        for _, said in self.each("again"):
            self.assertEqual(said["first"], ["0"])
            self.assertEqual(said["second"], [str(EALREADY)])
            self.assertEqual(said["same"], ["1"])
            self.assertEqual(said["after"], ["1000", "100000", "1000"])

    def test_what_is_no_fresh_ledger_is_refused(self):
        for _, said in self.each("refusals"):
            for what in ("none", "pipe", "unsealed", "used"):
                self.assertEqual(said[what], [str(EINVAL)], what)
            self.assertEqual(said["version"], [str(EPROTO)])
            self.assertEqual(said["ledger"], ["0"])
            self.assertEqual(said["good"], ["0"])
            self.assertEqual(said["state"], ["1", "0"])

    def test_a_program_that_locks_all_it_maps_does_not_lock_the_ledger(self):
        """In exact mode that would make 50 GB of a sparse file; here it is the small one."""
        for program in LINKED:
            said = self.run_program(program, "locked", "sample")
            if "refused" in said:
                self.skipTest("memory may not be locked here")
            self.assertEqual([said[what] for what in ("adopt", "found", "locked")],
                             [["0"], ["1"], ["0"]])

    def test_tags_mean_the_same_before_and_after(self):
        for _, said in self.each("tags"):
            for what in ("kept", "captured", "restored", "popped"):
                self.assertEqual(said[what], ["1"], what)
            self.assertEqual(said["names"], ["0", "late", "two"])
            self.assertEqual(said["unknown"], ["-2"])
            self.assertGreaterEqual(int(said["early"][0]), 1000)
            self.assertEqual(said["late"], ["1000", "100000", "1000"])

    def test_an_allocator_before_the_agent_makes_it_refuse(self):
        """What it would record is not the program's heap."""
        other = os.path.join(SUPPORT, "reentrant_alloc.so")
        if not os.path.exists(other):
            self.skipTest("no other allocator is built")
        said = self.run_program(LINKED[0], "refusals", env=dict(os.environ, LD_PRELOAD=other))
        self.assertEqual(said["good"], [str(EOPNOTSUPP)])
        self.assertEqual(said["state"], ["2", "1"])

    def test_begins_in_front_of_other_allocators(self):
        """Their blocks from before are not raised to what exact mode needs; new ones are."""
        static = os.path.join(SUPPORT, "heap_library_static")
        others = [path for path in OTHERS if os.path.exists(path)]
        if not others or not os.path.exists(static):
            self.skipTest("no other allocator is installed")
        for other in others:
            for mode in MODES:
                with self.subTest(other=os.path.basename(other), mode=mode):
                    said = self.run_program(static, "race", mode,
                                            env=dict(os.environ, LD_PRELOAD=other))
                    self.assertEqual(said["before"][2], "0")
                    self.assertEqual(said["stale"], ["0"])
                    self.assert_own(mode, said["after"], ALLOCATIONS, ALLOCATIONS // 4 * 3)
                    self.assertEqual(said.get("missed_frees", ["0"]), ["0"])

    def test_blocks_of_no_bytes_do_not_share_a_place(self):
        """mimalloc's realloc(p, 0) gives 8 bytes, and so does jemalloc's when it is told to."""
        static = os.path.join(SUPPORT, "heap_library_static")
        others = [path for path in OTHERS if os.path.exists(path)]
        if not others or not os.path.exists(static):
            self.skipTest("no other allocator is installed")
        for other in others:
            for told in ("", "zero_realloc:alloc"):
                with self.subTest(other=os.path.basename(other), told=told):
                    said = self.run_program(static, "least", "exact", env=dict(
                        os.environ, LD_PRELOAD=other, MALLOC_CONF=told))
                    self.assertEqual(said["adopt"], ["0"])
                    self.assertGreater(int(said["births"][0]), 0)
                    self.assertEqual(said["least"][0], said["births"][0])
                    self.assertEqual(said["least"][2], "0")
                    self.assertEqual(said["missed_frees"], ["0"])
                    self.assertEqual(said["unknown_frees"], ["500"])

    def test_works_for_a_preloaded_agent_without_a_collector(self):
        said = self.run_program(NONE, "threads", "exact", env=dict(os.environ, LD_PRELOAD=AGENT))
        self.assert_own("exact", said["after"], ALLOCATIONS, ALLOCATIONS // 4 * 3)

    def test_without_a_ledger_a_million_allocations_make_no_system_call(self):
        """The program writes a byte before and one after them."""
        strace = need("strace")
        for program in LINKED:
            with self.subTest(program=os.path.basename(program)):
                run = subprocess.run([strace, "-f", "-o", self.path("trace"), program, "idle"],
                                     capture_output=True, text=True, check=False, timeout=60)
                if run.returncode != 0:
                    self.skipTest("strace may not trace here")
                with open(self.path("trace"), encoding="utf-8") as handle:
                    between = handle.read().split('write(1, "<"')[1].split('write(1, ">"')[0]
                self.assertEqual(len(between.splitlines()), 2, between)


class CollectorTest(HeapLibraryTest):
    """A program with an agent of its own, which another is preloaded into."""

    def totals_of(self, program, mode, what):
        """Run the program under a collector; return its figures by process."""
        options = ("--mode", "exact") if mode == "exact" else ("--interval", "1", "--seed", "5")
        run = self.riptide("run", "--listen", "none", "-o", self.path("out.riptide"), *options,
                           "--", program, what)
        lines = run.stderr.splitlines()
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual([line for line in lines if line.startswith("adopt")],
                         [f"adopt {EALREADY} recording 1"] * (1 if what == "work" else 2))
        self.assertEqual([line for line in lines if not line.startswith("adopt")],
                         ["riptide: recording " + self.path("out.riptide")])
        report = self.report(self.path("out.riptide"))
        os.unlink(self.path("out.riptide"))
        self.assertEqual(report["losses"]["stale_samples"], 0)
        self.assertIsNone(report["target"]["blind_reason"])
        wanted = ("allocations", "allocated_bytes", "live_blocks", "live_bytes")
        return [[value["value"] if isinstance(value, dict) else value
                 for value in (process["totals"][name] for name in wanted)]
                for process in report["processes"]]

    def test_is_counted_once_and_wholly(self):
        for mode in MODES:
            for what in ("work", "exec"):
                truth = self.totals_of(NONE, mode, what)
                self.assertEqual(len(truth), 1 if what == "work" else 2)
                self.assertGreaterEqual(truth[0][0], 2000)
                for program in LINKED:
                    with self.subTest(program=os.path.basename(program), mode=mode, what=what):
                        self.assertEqual(self.totals_of(program, mode, what), truth)

    def test_doctor_sees_that_the_agent_is_linked_in(self):
        static = os.path.join(SUPPORT, "heap_library_static")
        if not os.path.exists(static):
            self.skipTest("objcopy is not installed")
        run = self.riptide("doctor", static)
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertIn("libriptide-heap is linked into it", run.stdout)


class BinaryTest(HeapLibraryTest):
    """What the libraries are made of, and how programs link them."""

    def output(self, *command):
        """Return what a command prints."""
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def exports(self, library):
        """Return the names that a shared object defines."""
        return {line.split()[-1].split("@")[0]
                for line in self.output("nm", "-D", "--defined-only", library).splitlines()}

    def test_library_shows_what_the_agent_shows_without_versions(self):
        library = os.path.join(AGENTS, "libriptide-heap.so.0")
        self.assertEqual(self.exports(library), self.exports(AGENT))
        dynamic = self.output("readelf", "-dW", library)
        self.assertIn("soname: [libriptide-heap.so.0]", dynamic)
        self.assertEqual(re.findall(r"\(NEEDED\).*\[(\S+?)\.so", dynamic)[0], "libc")
        self.assertNotIn("VERDEF", dynamic)

    def test_archive_shows_nothing_else_either(self):
        archive = os.path.join(AGENTS, "libriptide-heap.a")
        if not os.path.exists(archive):
            self.skipTest("objcopy is not installed")
        names = {line.split()[-1] for line in
                 self.output("nm", "-g", "--defined-only", archive).splitlines() if " " in line}
        self.assertEqual(names, self.exports(AGENT))

    def test_program_without_a_loader_does_not_link(self):
        """There is no allocator behind the agent there: nobody shall find out by running it."""
        archive = os.path.join(AGENTS, "libriptide-heap.a")
        if not os.path.exists(archive):
            self.skipTest("objcopy is not installed")
        source = os.path.join(self.folder, "lonely.c")
        with open(source, "w", encoding="utf-8") as out:
            out.write("int main(void) { return 0; }\n")
        for way in ("-static", "-static-pie"):
            with self.subTest(way=way):
                run = subprocess.run(
                    ["cc", way, source, "-Wl,--undefined=riptide_heap_adopt", archive, "-o",
                     os.path.join(self.folder, "lonely")], capture_output=True, text=True)
                self.assertNotEqual(run.returncode, 0)
                self.assertIn("undefined reference", run.stderr)

    def test_program_that_never_allocates_itself_keeps_the_agent(self):
        """Its libraries allocate."""
        archive = os.path.join(AGENTS, "libriptide-heap.a")
        source = "extern int puts(const char *); int main(void) { return puts(\"x\") < 0; }\n"
        ways = {"shared": ["-Wl,--push-state,--no-as-needed,-L" + AGENTS +
                           ",-lriptide-heap,--pop-state", "-Wl,-rpath," + AGENTS]}
        if os.path.exists(archive):
            ways["static"] = ["-Wl,--undefined=riptide_heap_adopt", archive]
        for name, flags in ways.items():
            with self.subTest(name=name):
                program = self.compile(name, source, *flags)
                report = self.record(program, options=("--mode", "exact"))
                totals = report["processes"][0]["totals"]
                self.assertGreaterEqual(totals["allocations"]["value"], 1)
                notes = self.output("readelf", "-nW", program if name == "static"
                                    else os.path.join(AGENTS, "libriptide-heap.so.0"))
                self.assertIn("Riptide", notes)
                if name == "shared":
                    self.assertIn("libriptide-heap.so.0", self.output("readelf", "-d", program))


PLUGIN = r"""
#include <stdlib.h>
int plugin(void);
int plugin(void)
{
    void *p = malloc(10);
    free(p);
    return p != NULL;
}
"""

LOADS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    void *handle = dlopen(argv[1], RTLD_NOW | (argc > 2 ? RTLD_DEEPBIND : 0));
    int (*function)(void) = handle ? (int (*)(void))dlsym(handle, "plugin") : NULL;
    printf("%d\n", function ? function() : -1);
    return handle ? dlclose(handle) : 1;
}
"""


class PluginTest(HeapLibraryTest):
    """An agent that comes with a plugin is not the process's, and must not be in the way."""

    def test_plugin_with_an_agent_allocates_and_goes(self):
        plugin = self.compile("plugin.so", PLUGIN, "-shared", "-fPIC", "-L" + AGENTS,
                              "-lriptide-heap", "-Wl,-rpath," + AGENTS)
        program = self.compile("loads", LOADS)
        for deep in ((), ("deep",)):
            with self.subTest(deep=deep):
                self.assertEqual(self.run_program(program, plugin, *deep), {"1": []})
                run = self.riptide("run", "--quiet", "--listen", "none", "-o",
                                   self.path("out.riptide"), "--", program, plugin, *deep)
                self.assertEqual((run.returncode, run.stdout, run.stderr), (0, "1\n", ""))
                report = self.report(self.path("out.riptide"))
                self.assertIsNone(report["target"]["blind_reason"])


TAGS = r"""
#include <riptide/tags.h>
#include <stdio.h>
static void inner(void)
{
    RIPTIDE_SCOPE("inner", "one");
    printf("%d", riptide_scope_capture() != 0);
}
int main(void)
{
    struct riptide_scope scope;
    const uint32_t tag = riptide_scope_tag("by hand", "two");
    {
        RIPTIDE_SCOPE("outer", "three");
        inner();
        riptide_scope_push(&scope, tag);
        printf("%d", tag != 0 && riptide_scope_capture() == tag);
        riptide_scope_pop(&scope);
        printf("%d", riptide_scope_capture() != 0);
    }
    printf("%d\n", riptide_scope_capture() != 0);
    return 0;
}
"""

THROWS = r"""
#include <riptide/tags.h>
#include <cstdio>
#include <stdexcept>
static void fail()
{
    RIPTIDE_SCOPE("thrower", "fail");
    throw std::runtime_error("x");
}
int main()
{
    try {
        fail();
    } catch (const std::exception &) {
    }
    std::printf("%d", riptide_scope_capture() != 0);
    {
        riptide_scope_guard guard(riptide_scope_tag("guard", "main"));
        std::printf("%d", riptide_scope_capture() != 0);
    }
    std::printf("%d\n", riptide_scope_capture() != 0);
    return 0;
}
"""

STRICT = ("-O2", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror",
          "-I" + os.path.join(ROOT, "include"))


class TagsTest(HeapLibraryTest):
    """The header in every kind of program."""

    def build(self, name, source, compiler, *flags):
        """Compile without a single warning; return the program's path."""
        need(compiler)
        path = self.write(name + (".cc" if "++" in compiler else ".c"), source)
        program = self.path(name)
        run = subprocess.run([compiler, *STRICT, *flags, "-o", program, path],
                             capture_output=True, text=True, check=False)
        self.assertEqual((run.returncode, run.stderr), (0, ""), (compiler, flags))
        return program

    def say(self, program, agent=False):
        """Run it without or with the agent; return what it prints."""
        env = dict(os.environ, LD_PRELOAD=AGENT) if agent else None
        return subprocess.run([program], capture_output=True, text=True, check=True,
                              env=env).stdout.strip()

    def test_works_in_every_kind_of_program(self):
        """Also in one at a fixed address, where a plain weak reference is null."""
        for compiler in ("gcc", "clang", "g++", "clang++"):
            for flags in (("-fpie", "-pie"), ("-fno-pie", "-no-pie"), ("-O0", "-masm=intel")):
                with self.subTest(compiler=compiler, flags=flags):
                    standard = "-std=c++11" if "++" in compiler else "-std=c99"
                    program = self.build("tags", TAGS, compiler, standard, *flags)
                    self.assertEqual(self.say(program), "0000")
                    self.assertEqual(self.say(program, agent=True), "1110")

    def test_compiles_to_nothing_when_disabled(self):
        for compiler in ("gcc", "clang", "g++", "clang++"):
            with self.subTest(compiler=compiler):
                program = self.build("none", TAGS, compiler, "-DRIPTIDE_DISABLE")
                self.assertEqual(self.say(program, agent=True), "0000")
                symbols = subprocess.run(["nm", program], capture_output=True, text=True,
                                         check=True).stdout
                self.assertNotIn("riptide", symbols)

    def test_a_scope_ends_when_an_exception_passes(self):
        for compiler in ("g++", "clang++"):
            with self.subTest(compiler=compiler):
                program = self.build("throws", THROWS, compiler, "-std=c++11")
                self.assertEqual(self.say(program), "000")
                self.assertEqual(self.say(program, agent=True), "010")


if __name__ == "__main__":
    if not LINKED:
        print("the programs are not built")
        sys.exit(77)
    main()
