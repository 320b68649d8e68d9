# SPDX-License-Identifier: Apache-2.0
"""The snippets of docs/guide.md and README.md are true: each is compiled and run, by its language.

c       a whole program if it has a main(); else a fragment: all fragments of a document become
        functions of one program, in order, which is built without a warning and run with a manager
        that has records; `<!-- test: file scope -->` before the block keeps it out of a function
cpp     the same in C++
cmake   the lines of a project that builds the whole program
sh      run by bash -eu in a folder with the programs that the guide speaks of, beside a service of
        the library and one under riptide run; port 8080 is replaced by the service's
json    after `<!-- test: answer PATH -->`: the service's answer has these keys, of these types
promql  each expression parses, the service has its metrics, a real Prometheus answers
yaml    promtool accepts the scrape configuration
Any other language is an error, so that no snippet goes unread. All of it works with what is installed,
which is a folder of its own here.
"""
import json
import os
import re
import shutil
import subprocess
import tempfile
import textwrap
import unittest
import urllib.parse

import riptide_test

EXAMPLES = os.path.join(riptide_test.BUILD, "examples")
WARNINGS = ("-g", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function")
INCLUDES = """#include <riptide/riptide.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
"""
MAIN = """
int main(void)
{
    struct riptide_options options;
    riptide_options_init(&options);
    options.endpoints = 0;
    struct riptide_manager *manager = riptide_manager_open(&options, NULL);
    if (!manager)
        return 1;
    uint32_t tag = riptide_intern(manager, "extraction", "parse_html");
    for (int i = 0; i < 100; i++)
        riptide_record_bytes(manager, tag, 10000);
"""
# A fragment that fails says nothing; these do.
SAID = {"docs/guide.md": (
    r"^RSS: [1-9]", r"^Virtual: [1-9]", r"^Heap: ", r"^extraction \(records\): 1000000 bytes$",
    r"^glibc: [1-9]\d* bytes allocated", r"^\S+ freed \d+ bytes in ", r"^extraction: 1\.0 MB$",
    r"^small \(1KB-64KB\): 1\d\d$", r"^extraction/parse_html: 1\d\d allocations$",
    r"^Allocation efficiency: ", r"^200 application/json", r"^extraction holds 1000000 bytes$",
    r"^\d+ bytes given back$", r"^parse_html: 10000 bytes$")}


class Block:
    """A fenced block: its language, text, place in the document and the mark before it."""

    def __init__(self, document, line, language, mark, lines):
        self.document, self.line, self.language, self.mark = document, line, language, mark
        self.text = textwrap.dedent("\n".join(lines) + "\n")

    def __str__(self):
        return f"{self.document}:{self.line}"


def blocks_of(document):
    """Return the fenced blocks of a document that name a language."""
    found, lines, language, begin, mark = [], None, None, 0, ""
    with open(os.path.join(riptide_test.ROOT, document), encoding="utf-8") as handle:
        for number, line in enumerate(handle.read().splitlines(), 1):
            fence = re.match(r"\s*```(\S*)$", line)
            if fence and lines is None:
                language, lines, begin = fence.group(1), [], number + 1
            elif fence:
                if language:
                    found.append(Block(document, begin, language, mark, lines))
                lines, mark = None, ""
            elif lines is not None:
                lines.append(line)
            elif line.strip():
                match = re.match(r"\s*<!-- test: (.*) -->$", line)
                mark = match.group(1) if match else ""
    assert lines is None, f"{document}:{begin}: the block does not end"
    return found


BLOCKS = blocks_of("docs/guide.md") + blocks_of("README.md")


def blocks_in(language):
    """Return the blocks of one language."""
    return [block for block in BLOCKS if block.language == language]


def queries():
    """Return the expressions of all promql blocks."""
    return [line for block in blocks_in("promql") for line in block.text.splitlines()
            if line and not line.startswith("#")]


class Installation:
    """RipTide installed in a folder, and what a reader who installed it has in the environment."""

    def __init__(self):
        self.root = tempfile.mkdtemp(prefix="riptide-guide-")
        run = subprocess.run(["meson", "install", "-C", riptide_test.BUILD, "--no-rebuild",
                              "--quiet", "--destdir", self.root], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, check=False)
        if run.returncode != 0:
            raise AssertionError(f"meson install: {run.stdout}")
        with open(os.path.join(riptide_test.BUILD, "meson-info", "intro-buildoptions.json"),
                  encoding="utf-8") as handle:
            options = {option["name"]: option["value"] for option in json.load(handle)}
        self.prefix = self.root + options["prefix"]
        self.libraries = os.path.join(self.prefix, options["libdir"])
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join([os.path.join(self.prefix, options["bindir"]),
                                     os.environ["PATH"]]),
            "LD_LIBRARY_PATH": self.libraries,
            "PKG_CONFIG_PATH": os.path.join(self.libraries, "pkgconfig"),
            "PKG_CONFIG_SYSROOT_DIR": self.root,
            "CMAKE_PREFIX_PATH": self.prefix,
            "DEMO_SECONDS": "2",
        }
        self.environment.pop("RIPTIDE_PROGRAM", None)


class GuideTest(riptide_test.RiptideTest):
    """A test with an installation, which the tests only read."""

    @classmethod
    def setUpClass(cls):
        cls.installation = Installation()
        cls.addClassCleanup(shutil.rmtree, cls.installation.root, True)

    def execute(self, *command, **extra):
        """Run a command to its end in the test's folder."""
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              cwd=self.folder, env=self.installation.environment, timeout=120,
                              check=False, **extra)


class DocumentTest(unittest.TestCase):
    def test_every_block_is_of_a_language_that_is_tested(self):
        languages = {"c", "cmake", "cpp", "sh", "json", "promql", "yaml"}
        strange = [f"{block}: {block.language}" for block in BLOCKS
                   if block.language not in languages]
        self.assertEqual(strange, [])
        for language in languages:
            self.assertTrue(blocks_in(language), f"no block of {language} was found")

    def test_figures_of_the_guide_are_those_of_the_benchmarks(self):
        """Each decimal figure of "What it costs" stands in docs/benchmarks.md, or nobody measured
        it."""
        with open(os.path.join(riptide_test.ROOT, "docs", "guide.md"), encoding="utf-8") as handle:
            section = re.search(r"### What it costs\n(.*?)\n## ", handle.read(), re.DOTALL).group(1)
        with open(os.path.join(riptide_test.ROOT, "docs", "benchmarks.md"),
                  encoding="utf-8") as handle:
            measured = set(re.findall(r"\d+\.\d+", handle.read()))
        claimed = set(re.findall(r"\d+\.\d+", section))
        self.assertGreater(len(claimed), 5)
        self.assertEqual(claimed - measured, set(), "not in docs/benchmarks.md")


class SnippetTest(GuideTest):
    def build(self, name, source, compiler="gcc", flags=()):
        """Compile and link against the library; return the program's path."""
        path = self.write(name + (".cc" if compiler == "g++" else ".c"), source)
        run = self.execute(compiler, *WARNINGS, *flags, "-I",
                           os.path.join(self.installation.prefix, "include"), path, "-o",
                           self.path(name), "-L", self.installation.libraries, "-lriptide")
        self.assertEqual(run.returncode, 0, run.stderr)
        return self.path(name)

    def run_program(self, path):
        """Run a program to its end, which must be a good one."""
        run = self.execute(path)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        return run.stdout

    def fragments(self, blocks):
        """Return one program that goes through all fragments in their order."""
        scope, calls = [], []
        for block in blocks:
            place = f'#line {block.line} "{block.document}"\n'
            if block.mark == "file scope":
                scope.append(place + block.text)
            else:
                name = f"fragment_{block.line}"
                scope.append(f"static void {name}(struct riptide_manager *manager)\n{{\n"
                             f"(void)manager;\n{place}{block.text}}}\n")
                calls.append(f"    {name}(manager);\n")
        return (INCLUDES + "".join(scope) + '#line 1 "main"\n' + MAIN + "".join(calls) +
                "    riptide_manager_close(manager);\n    return 0;\n}\n")

    def test_whole_programs_build_and_run(self):
        whole = [block for block in blocks_in("c") if "int main(" in block.text]
        self.assertTrue(whole)
        for block in whole:
            with self.subTest(str(block)):
                self.run_program(self.build(f"whole_{block.line}", block.text))

    def test_fragments_in_c_build_and_run(self):
        parts = [block for block in blocks_in("c") if "int main(" not in block.text]
        self.assertGreater(len(parts), 10)
        for document in {block.document for block in parts}:
            source = self.fragments([block for block in parts if block.document == document])
            for compiler in ("gcc", "clang"):
                if shutil.which(compiler):
                    path = self.build(f"{compiler}_fragments", source, compiler)
                    out = self.run_program(path)
            for pattern in SAID.get(document, ()):
                self.assertRegex(out, re.compile(pattern, re.MULTILINE))

    def test_cmake_blocks_build_a_project(self):
        riptide_test.need("cmake")
        whole = [block for block in blocks_in("c") if "int main(" in block.text]
        self.write("service.c", whole[0].text)
        for block in blocks_in("cmake"):
            self.write("CMakeLists.txt", "cmake_minimum_required(VERSION 3.13)\n"
                       "project(service C)\nadd_executable(service service.c)\n" + block.text)
            run = self.execute("cmake", "-S", self.folder, "-B", self.path("out"))
            self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
            run = self.execute("cmake", "--build", self.path("out"))
            self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
            self.assertIn("curl -s http://127.0.0.1:", self.run_program(self.path("out/service")))

    def test_fragments_in_cpp_build_and_run(self):
        riptide_test.need("g++")
        source = "#include <vector>\n" + self.fragments(blocks_in("cpp"))
        self.run_program(self.build("cpp_fragments", source, "g++", ("-std=c++11",)))


class ServiceTest(GuideTest):
    """With a service of the library, as the guide's reader has one at port 8080."""

    def setUp(self):
        super().setUp()
        self.service = subprocess.Popen(
            [os.path.join(EXAMPLES, "quick_start")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, cwd=self.folder, env=self.installation.environment)
        self.addCleanup(self.end_service)
        self.port = 0
        for line in self.service.stdout:
            match = re.match(r"Listening on http://127\.0\.0\.1:(\d+)", line)
            if match:
                self.port = int(match.group(1))
                break
        self.assertTrue(self.port, "the service says where it listens")

    def end_service(self):
        self.service.stdin.close()
        self.service.stdout.close()
        self.service.wait(timeout=30)

    def get(self, path):
        return riptide_test.get(f"http://127.0.0.1:{self.port}{path}")

    def start_page_server(self):
        """The program of the guide's shell blocks, under riptide run for as long as the test."""
        shutil.copy(os.path.join(EXAMPLES, "demo_service"), self.path("page-server"))
        self.start("run", "-q", "--listen", "none", "-o", self.path("long.riptide"), "--",
                   self.path("page-server"),
                   env=dict(self.installation.environment, DEMO_SECONDS="600"))
        riptide_test.wait_for(lambda: self.shell("riptide report $(pidof page-server)").stdout,
                              "riptide report answers for page-server", 20)

    def shell(self, text):
        """Run a block as the reader's shell would, with the service's port for 8080."""
        return self.execute("bash", "-eu", "-o", "pipefail", "-c",
                            text.replace("localhost:8080", f"127.0.0.1:{self.port}"))

    def test_shell_blocks_run(self):
        for program in ("bash", "curl", "jq", "pidof", "pkg-config"):
            riptide_test.need(program)
        whole = [block for block in blocks_in("c") if "int main(" in block.text]
        self.write("quick.c", whole[0].text)
        self.start_page_server()
        for block in blocks_in("sh"):
            with self.subTest(str(block)):
                run = self.shell(block.text)
                said = block.text + run.stdout + run.stderr
                self.assertEqual(run.returncode, 0, said)
                # A service that does not leak has no leaks to list, and a compiler is silent.
                if not re.search(r"\[\]|^cc ", block.text):
                    self.assertTrue(run.stdout.strip(), said)

    def compare(self, told, shown, where):
        """The answer has the keys that are shown, with values of their kind."""
        if isinstance(shown, dict):
            self.assertIsInstance(told, dict, where)
            for key, value in shown.items():
                self.assertIn(key, told, where)
                self.compare(told[key], value, f"{where}.{key}")
        elif isinstance(shown, list):
            self.assertIsInstance(told, list, where)
            if told and shown:
                self.compare(told[0], shown[0], f"{where}[0]")
        elif told is not None:
            kind = (int, float) if isinstance(shown, (int, float)) else type(shown)
            self.assertIsInstance(told, kind, where)

    def test_json_blocks_show_what_is_answered(self):
        for block in blocks_in("json"):
            with self.subTest(str(block)):
                match = re.match(r"answer (\S+)$", block.mark)
                self.assertTrue(match, "says whose answer it is")
                self.compare(json.loads(self.get(match.group(1))), json.loads(block.text),
                             match.group(1))

    def test_queries_ask_for_metrics_that_exist(self):
        page = self.get("/metrics")
        served = set(re.findall(r"^# TYPE (\S+) ", page, re.MULTILINE))
        for block in blocks_in("promql"):
            asked = set(re.findall(r"\briptide_\w+", block.text))
            self.assertTrue(asked)
            self.assertEqual(asked - served, set(), f"{block}: not at /metrics")
            gauges = set(re.findall(r"^# TYPE (\S+) gauge$", page, re.MULTILINE))
            rated = set(re.findall(r"\brate\((\w+)", block.text))
            self.assertEqual(rated & gauges, set(), "rate() is for counters")

    def start_prometheus(self):
        """A Prometheus with the guide's own scrape configuration; return its port."""
        plain = [block.text for block in blocks_in("yaml")
                 if block.text.startswith("scrape_configs:")]
        self.write("prometheus.yml", plain[0].replace("localhost:8080", f"127.0.0.1:{self.port}")
                   .replace("15s", "1s"))
        port = riptide_test.free_port()
        with open(self.path("log"), "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [riptide_test.need("prometheus"), "--config.file", self.path("prometheus.yml"),
                 "--storage.tsdb.path", self.path("data"), "--web.listen-address",
                 f"127.0.0.1:{port}"], stdout=log, stderr=log, cwd=self.folder)

        def end():
            process.kill()
            process.wait()
        self.addCleanup(end)
        return port

    def test_a_real_prometheus_answers_the_queries(self):
        """A condition that does not hold has no series; the others have."""
        port = self.start_prometheus()

        def ask(query):
            try:
                answer = json.loads(riptide_test.get(
                    f"http://127.0.0.1:{port}/api/v1/query?query=" + urllib.parse.quote(query)))
            except OSError:
                return None
            self.assertEqual(answer["status"], "success", query)
            return answer["data"]["result"]
        riptide_test.wait_for(lambda: ask("deriv(riptide_memory_rss_bytes[15m])"),
                              "two scrapes", 40)
        for query in queries():
            found = ask(query)
            if not re.search(r" [<>] ", query):
                self.assertTrue(found, query)
        self.assertTrue(ask("riptide_leak_potential_count == 0"))

    def test_promtool_reads_the_metrics_of_the_library(self):
        """But for the name that the first design gave and that linters do not like."""
        promtool = riptide_test.need("promtool")
        page = "".join(line for line in self.get("/metrics").splitlines(keepends=True)
                       if "riptide_leak_potential_count" not in line)
        self.assertIn('riptide_allocation_bytes_by_component{component="extraction"} 1048576', page)
        run = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True,
                             text=True, check=False)
        self.assertEqual((run.returncode, run.stdout + run.stderr), (0, ""))


class PromtoolTest(riptide_test.RiptideTest):
    def promtool(self, *arguments):
        run = subprocess.run([riptide_test.need("promtool"), *arguments], capture_output=True,
                             text=True, cwd=self.folder, check=False)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        return run.stdout

    def test_queries_parse(self):
        self.assertGreater(len(queries()), 3)
        rules = "groups:\n  - name: guide\n    rules:\n" + "".join(
            f"      - record: guide:query_{number}\n        expr: {query}\n"
            for number, query in enumerate(queries()))
        self.assertIn(f"{len(queries())} rules found",
                      self.promtool("check", "rules", self.write("rules.yml", rules)))

    def test_scrape_configurations_are_accepted(self):
        """Of the OpenTelemetry Collector's file, the part that is a Prometheus configuration."""
        for block in blocks_in("yaml"):
            with self.subTest(str(block)):
                text = block.text
                nested = re.search(r"^( +)config:\n((?:\1 .*\n)+)", text, re.MULTILINE)
                if nested:
                    text = textwrap.dedent(nested.group(2))
                self.assertTrue(text.startswith("scrape_configs:"), text)
                out = self.promtool("check", "config", self.write("prometheus.yml", text))
                self.assertIn("SUCCESS", out)


if __name__ == "__main__":
    riptide_test.main()
