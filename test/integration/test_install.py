#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an installation has, and that it works from where it lies.

Installs the build into a folder: every file with its mode and nothing else, the program with its
agent also after the tree was moved, manual pages, completions in the shells themselves, and the
library for C and C++, shared and static, by pkg-config and by CMake.
"""
import glob
import json
import os
import pty
import re
import select
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import unittest

from riptide_test import BUILD, ROOT, TIMEOUT_S, RiptideTest, main, need

MAN_SOURCES = os.path.join(ROOT, "docs", "man")
HEADERS = os.path.join(ROOT, "include", "riptide")
COMMANDS = ("run", "report", "gc", "doctor")
BUILD_TIMEOUT_S = 240

SERVICE = r"""
#include <riptide/riptide.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    struct riptide_options options;
    struct riptide_heap_state heap = {sizeof(heap), 0, 0, 0};
    const struct riptide_answer *answer = NULL;
    int error = 0;

    riptide_options_init(&options);
    options.port = 0;
    options.heap = RIPTIDE_HEAP_EXACT; /* when the agent is there */
    struct riptide_manager *manager = riptide_manager_open(&options, &error);
    if (!manager) {
        fprintf(stderr, "open: %s\n", riptide_strerror(error));
        return 1;
    }
    RIPTIDE_SCOPE("service", "start");
    void *const block = malloc(3000000);
    const uint32_t html = riptide_intern(manager, "extraction", "parse_html");
    riptide_record_bytes(manager, html, 1024);
    riptide_record_bytes(manager, html, 1024);
    error = riptide_answer_get(manager, argc > 1 ? argv[1] : "/metrics/allocations", &answer);
    if (error < 0 || riptide_heap_read(manager, &heap) < 0) {
        fprintf(stderr, "answer: %s\n", riptide_strerror(error));
        return 1;
    }
    fprintf(stderr, "port %d, heap mode %u, %s\n", riptide_manager_port(manager) > 0,
            (unsigned)heap.mode, riptide_version());
    fwrite(answer->body, 1, answer->body_bytes, stdout);
    riptide_answer_free(answer);
    riptide_manager_close(manager);
    free(block);
    return 0;
}
"""

CMAKE_LISTS = """
cmake_minimum_required(VERSION 3.16)
project(service LANGUAGES C CXX)
set(CMAKE_C_STANDARD 99)
set(CMAKE_CXX_STANDARD 11)
find_package(riptide 0.1 REQUIRED)
add_executable(shared service.c)
target_link_libraries(shared PRIVATE riptide::riptide)
add_executable(static service.c)
target_link_libraries(static PRIVATE riptide::riptide_static)
add_executable(shared_cxx service.cc)
target_link_libraries(shared_cxx PRIVATE riptide::riptide)
add_executable(heap service.c)
target_link_libraries(heap PRIVATE riptide::heap riptide::riptide)
add_executable(heap_static service.cc)
target_link_libraries(heap_static PRIVATE riptide::heap_static riptide::riptide_static)
"""

# What bash does for a TAB at the end of a line, without a terminal: words and their positions.
BASH_COMPLETE = r"""
source "$1"
COMP_LINE=$2 COMP_POINT=${#2}
shift 2
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_riptide riptide "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
((${#COMPREPLY[@]} == 0)) || printf '%s\n' "${COMPREPLY[@]}"
"""


def command(*arguments, **extra):
    """Run a command; return the finished process, its output as text."""
    extra.setdefault("timeout", TIMEOUT_S)
    return subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          stdin=subprocess.DEVNULL, check=False, **extra)


def build_option(name):
    """Return an option that the build folder was set up with."""
    with open(os.path.join(BUILD, "meson-info", "intro-buildoptions.json"),
              encoding="utf-8") as handle:
        return next(option["value"] for option in json.load(handle) if option["name"] == name)


def tree(root):
    """Return all files below a folder as {path relative to it: mode, or None for a link}."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            mode = None if stat.S_ISLNK(info.st_mode) else stat.S_IMODE(info.st_mode)
            found[os.path.relpath(path, root)] = mode
    return found


def public_names(header):
    """Return what a public header declares to be called; names that end with _ are its own."""
    with open(os.path.join(HEADERS, header), encoding="utf-8") as handle:
        code = re.sub(r"/\*.*?\*/", "", handle.read(), flags=re.S)
    if header == "tags.h":
        names = re.findall(r"^static inline \S+ (riptide_\w+)\(", code, re.M)
        names += re.findall(r"# *define (RIPTIDE_\w+)\(", code)
    else:
        names = re.findall(r"\b(riptide_\w+)\s*\((?!\*)", code)
    return sorted({name for name in names if not name.endswith("_")})


class Terminal:
    """An interactive shell on a terminal of its own."""

    def __init__(self, *arguments, **environment):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(arguments[0], arguments, {**os.environ, "TERM": "dumb", **environment})
        self.text = b""

    def type(self, text):
        """Type something; what came before it is forgotten."""
        self.text = b""
        os.write(self.fd, text.encode())

    def wait_for(self, pattern):
        """Read until the pattern stands in what came; return whether it does."""
        end = time.monotonic() + TIMEOUT_S
        while not re.search(pattern, self.text) and time.monotonic() < end:
            if not select.select([self.fd], [], [], 0.5)[0]:
                continue
            try:
                chunk = os.read(self.fd, 4096)
            except OSError:  # the shell has ended
                break
            self.text += chunk
        return re.search(pattern, self.text) is not None

    def close(self):
        """End the shell."""
        os.close(self.fd)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


class InstalledTest(RiptideTest):
    """A test of one installed tree, which the tests only read."""

    @classmethod
    def setUpClass(cls):
        cls.destination = tempfile.mkdtemp(prefix="riptide-install-")
        cls.addClassCleanup(shutil.rmtree, cls.destination, True)
        run = command("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir",
                      cls.destination, timeout=BUILD_TIMEOUT_S)
        if run.returncode != 0:
            raise AssertionError(f"meson install: {run.stdout}{run.stderr}")
        cls.prefix = cls.destination + build_option("prefix")
        cls.libdir = os.path.join(cls.prefix, build_option("libdir"))
        cls.program = os.path.join(cls.prefix, build_option("bindir"), "riptide")

    def installed(self, *parts):
        """Return a path below the prefix, which must exist."""
        path = os.path.join(self.prefix, *parts)
        self.assertTrue(os.path.exists(path), path)
        return path


class FilesTest(InstalledTest):
    """What lies where."""

    def expected(self):
        """Return {pattern of a path: mode}; each must match, and every file must match one."""
        lib, share = re.escape(build_option("libdir")), re.escape(build_option("datadir"))
        man = re.escape(build_option("mandir"))
        patterns = {
            re.escape(build_option("bindir")) + "/riptide": 0o755,
            f"{lib}/riptide/libriptide-agent\\.so": 0o755,
            re.escape(build_option("includedir")) + r"/riptide/(riptide|tags)\.h": 0o644,
            f"{lib}/pkgconfig/riptide\\.pc": 0o644,
            f"{lib}/pkgconfig/riptide-heap(-static)?\\.pc": 0o644,
            f"{lib}/cmake/riptide/riptideConfig(Version)?\\.cmake": 0o644,
            f"{share}/bash-completion/completions/riptide": 0o644,
            f"{share}/zsh/site-functions/_riptide": 0o644,
            f"{share}/fish/vendor_completions\\.d/riptide\\.fish": 0o644,
            f"{share}/doc/riptide/(README\\.md|CHANGELOG\\.md|LICENSE)": 0o644,
            f"{share}/doc/riptide/docs/[a-z-]+\\.md": 0o644,
        }
        for name in ("libriptide", "libriptide-heap"):
            patterns.update({f"{lib}/{name}\\.so\\.[0-9.]*[0-9]": 0o755, f"{lib}/{name}\\.so": None,
                             f"{lib}/{name}\\.a": 0o644})
        if pages_were_built():
            patterns.update({f"{man}/man1/riptide(-\\w+)?\\.1": 0o644,
                             f"{man}/man3/riptide(-tags)?\\.3": 0o644,
                             f"{man}/man3/(riptide|RIPTIDE)_\\w+\\.3": None})
        return patterns

    def test_every_file_is_there_with_its_mode_and_nothing_else(self):
        """Programs 755, the rest 644; no test program, no internal library."""
        found, expected = tree(self.prefix), self.expected()
        for path, mode in found.items():
            matches = [want for pattern, want in expected.items() if re.fullmatch(pattern, path)]
            self.assertTrue(matches, f"{path} is not expected")
            # The versioned name of a library is a link or a file.
            self.assertIn(mode, (matches[0], None), path)
        for pattern, mode in expected.items():
            same = [path for path in found if re.fullmatch(pattern, path)]
            self.assertTrue(same, f"{pattern} is missing")
            self.assertIn(mode, [found[path] for path in same], pattern)
        self.assertEqual(sorted(tree(self.destination)),
                         sorted(os.path.relpath(os.path.join(self.prefix, path), self.destination)
                                for path in found))

    def test_links_lead_somewhere_inside(self):
        """No link is broken or absolute."""
        for path, mode in tree(self.prefix).items():
            if mode is None:
                self.assertTrue(os.path.exists(os.path.join(self.prefix, path)), path)
                self.assertFalse(os.path.isabs(os.readlink(os.path.join(self.prefix, path))), path)

    def test_make_install_obeys_destdir(self):
        """`make install DESTDIR=` puts the same files below another root."""
        need("make")
        if not pages_were_built() and shutil.which("scdoc"):
            self.skipTest("the build folder is older than scdoc: make install would set it up anew")
        run = command("make", "-C", ROOT, "install", f"BUILD={BUILD}",
                      f"DESTDIR={self.path('stage')}", timeout=BUILD_TIMEOUT_S,
                      env={name: value for name, value in os.environ.items()
                           if name not in ("MAKEFLAGS", "PREFIX", "DESTDIR", "BUILD")})
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertEqual(tree(self.path("stage")), tree(self.destination))

    def test_make_help_names_install(self):
        """`make help` shows it."""
        run = command("make", "-C", ROOT, "help")
        self.assertRegex(run.stdout, r"make install +build and install")


class ProgramTest(InstalledTest):
    """The command from where it lies."""

    def watch(self, program):
        """Run something under an installed riptide; return the report's totals."""
        run = command(program, "run", "--quiet", "--listen", "none", "--mode", "exact",
                      "-o", self.path("out.riptide"), "--", "/bin/sh", "-c", "/bin/echo hello",
                      cwd=self.folder)
        self.assertEqual((run.returncode, run.stdout, run.stderr), (0, "hello\n", ""))
        report = command(program, "report", "--json", self.path("out.riptide"))
        self.assertEqual(report.returncode, 0, report.stderr)
        return json.loads(report.stdout)

    def test_riptide_finds_its_agent(self):
        """The agent of the same tree observes, not one that happens to be elsewhere."""
        report = self.watch(self.program)
        self.assertGreater(report["totals"]["allocations"]["value"], 0)
        doctor = json.loads(command(self.program, "doctor", "--json").stdout)
        agent = next(check for check in doctor["checks"] if check["id"] == "agent")
        self.assertIn(os.path.realpath(self.libdir) + "/riptide/libriptide-agent.so",
                      agent["text"])

    def test_a_moved_tree_works(self):
        """Copied as a whole, it needs nothing of the old place."""
        moved = self.path("moved")
        shutil.copytree(self.prefix, moved, symlinks=True)
        program = os.path.join(moved, build_option("bindir"), "riptide")
        self.assertGreater(self.watch(program)["totals"]["allocations"]["value"], 0)
        doctor = command(program, "doctor").stdout
        self.assertIn(os.path.realpath(moved) + "/", doctor)

    def test_a_link_to_the_program_works(self):
        """A link in some folder of PATH is enough."""
        os.symlink(self.program, self.path("riptide"))
        report = self.watch(self.path("riptide"))
        self.assertGreater(report["totals"]["allocations"]["value"], 0)


def pages_were_built():
    """Tell whether scdoc was there when the build folder was set up."""
    return os.path.exists(os.path.join(BUILD, "docs", "man", "riptide.1"))


class PagesTest(InstalledTest):
    """The manual."""

    def page(self, name):
        """Return the source of a page."""
        with open(os.path.join(MAN_SOURCES, name + ".scd"), encoding="utf-8") as handle:
            return handle.read()

    def pages(self):
        """Return the paths of all installed pages, or skip."""
        if not pages_were_built():
            self.skipTest("the build has no manual pages: scdoc was not installed")
        found = glob.glob(os.path.join(self.prefix, build_option("mandir"), "man?", "*"))
        self.assertGreaterEqual(len(found), 6)
        return sorted(found)

    def test_every_page_has_a_source_and_is_installed(self):
        """Nothing is forgotten in the list of pages."""
        sources = {os.path.basename(path)[:-4]
                   for path in glob.glob(os.path.join(MAN_SOURCES, "*.scd"))}
        files = {os.path.basename(path) for path in self.pages() if not os.path.islink(path)}
        self.assertEqual(files, sources)

    def test_pages_render_without_a_warning(self):
        """man shows each, with its name at the top and without complaints."""
        man = need("man")
        need("groff")
        for path in self.pages():
            run = command(man, "--warnings", "-l", path, cwd=os.path.dirname(path),
                          env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
            if "has been minimized" in run.stdout + run.stderr:
                self.skipTest("man is a placeholder here")
            self.assertEqual((run.returncode, run.stderr), (0, ""), path)
            name = os.path.basename(os.path.realpath(path))[:-2]
            self.assertRegex(run.stdout.lower(), rf"\A\n*{name}\(\d\)")
            self.assertIn(name, run.stdout.split("SYNOPSIS")[0])
            self.assertGreater(len(run.stdout.splitlines()), 20, path)

    def test_pages_are_clean_to_mandoc(self):
        """mandoc finds nothing; paragraph macros beside a heading are scdoc's manner."""
        mandoc = need("mandoc")
        for path in self.pages():
            run = command(mandoc, "-Tlint", "-W", "warning", path)
            complaints = [line for line in run.stdout.splitlines()
                          if "skipping paragraph macro" not in line]
            self.assertEqual(complaints, [])

    def test_pages_name_exactly_the_options_that_exist(self):
        """A page of a command lists what its --help lists."""
        for name in COMMANDS:
            words = command(self.program, name, "--help").stdout.split("options:")[1]
            shown = set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", words, re.M))
            described = set(re.findall(r"^(?:\*-\w\*, )?\*(--[\w-]+)\*",
                                       self.page(f"riptide-{name}.1").split("# OPTIONS")[1], re.M))
            self.assertEqual(described, shown, name)
            self.assertIn(f"*riptide-{name}*(1)", self.page("riptide.1"))

    def test_values_that_help_and_pages_name_are_accepted(self):
        """Every word that a completion offers for a value is one."""
        offered = command(self.program, "completion", "bash").stdout
        modes = re.search(r'"run --mode"\) _riptide_words \'(.*)\'', offered)[1].split()
        groups = re.search(r'"report --by"\) _riptide_words \'(.*)\'', offered)[1].split()
        for mode in modes:
            run = command(self.program, "run", "--quiet", "--listen", "none", "--mode", mode, "-o",
                          self.path("out.riptide"), "true", cwd=self.folder)
            self.assertEqual((run.returncode, run.stderr), (0, ""), mode)
            self.assertIn(f"*{mode}*", self.page("riptide-run.1"))
        for group in groups:
            run = command(self.program, "report", "--by", group, self.path("out.riptide"))
            self.assertEqual((run.returncode, run.stderr), (0, ""), group)
            self.assertIn(f"*{group}*", self.page("riptide-report.1"))

    def test_every_public_function_is_in_the_manual(self):
        """Each is named in the page of its header, and `man FUNCTION` leads there."""
        for name, header in (("riptide.3", "riptide.h"), ("riptide-tags.3", "tags.h")):
            declared = public_names(header)
            self.assertGreater(len(declared), 5)
            named = set(re.findall(r"\*((?:riptide|RIPTIDE)_\w+)\*\(", self.page(name)))
            self.assertEqual(sorted(named), declared)
            links = {os.path.basename(path)[:-2] for path in self.pages()
                     if os.path.islink(path) and os.readlink(path) == name}
            self.assertEqual(sorted(links), declared)

    def test_examples_of_the_manual_compile(self):
        """Blocks of riptide(3) are statements, those of riptide-tags(3) are declarations."""
        for name, begin, end in (("riptide.3", "void example(void)\n{\n", "}\n"),
                                 ("riptide-tags.3", "struct task;\nvoid enqueue(struct task *);\n",
                                  "")):
            blocks = re.findall(r"^```\n(.*?)^```$", self.page(name), re.M | re.S)
            self.assertEqual(len(blocks), 2)
            for block in blocks:
                includes = "".join(re.findall(r"^#include.*\n", block, re.M))
                code = re.sub(r"^#include.*\n", "", block, flags=re.M)
                source = self.write("example.c", "#include <riptide/riptide.h>\n"
                                    "#include <stdio.h>\n" + includes + begin + code + end)
                run = command("gcc", "-std=c99", "-Wall", "-Wextra", "-Werror",
                              "-Wno-unused-parameter", "-fsyntax-only",
                              "-I", os.path.join(self.prefix, "include"), source)
                self.assertEqual(run.returncode, 0, run.stderr)


class CompletionTest(InstalledTest):
    """The shells offer what can be typed."""

    def script(self, shell):
        """Return the path of a shell's installed completions."""
        place = {"bash": "bash-completion/completions/riptide",
                 "zsh": "zsh/site-functions/_riptide",
                 "fish": "fish/vendor_completions.d/riptide.fish"}[shell]
        return self.installed(build_option("datadir"), place)

    def test_scripts_are_what_the_program_writes_and_have_no_syntax_error(self):
        """`riptide completion SHELL` is what is installed, and the shell can read it."""
        skipped = []
        for shell in ("bash", "zsh", "fish"):
            with open(self.script(shell), encoding="utf-8") as handle:
                self.assertEqual(command(self.program, "completion", shell).stdout, handle.read())
            if not shutil.which(shell):
                skipped.append(shell)
                continue
            run = command(shell, "-n", self.script(shell))
            self.assertEqual((run.returncode, run.stderr), (0, ""), shell)
        if skipped:
            self.skipTest(f"{' and '.join(skipped)} not installed")

    def test_completion_without_a_known_shell_is_refused(self):
        """Wrong usage is one line and exit 2, as everywhere."""
        for arguments in ((), ("csh",), ("bash", "zsh"), ("--mode",)):
            run = command(self.program, "completion", *arguments)
            self.assertEqual((run.returncode, run.stdout), (2, ""), arguments)
            self.assertEqual(run.stderr.count("\n"), 1)
        self.assertNotIn("completion", command(self.program, "--help").stdout)
        with open("/dev/full", "w", encoding="utf-8") as full:
            run = subprocess.run([self.program, "completion", "bash"], stdout=full, check=False,
                                 stderr=subprocess.PIPE, text=True)
        self.assertEqual(run.returncode, 1)
        self.assertIn("cannot be written", run.stderr)

    def bash(self, line):
        """Return what bash would offer at the end of a line."""
        # As bash does with the usual COMP_WORDBREAKS.
        words = re.findall(r"[^\s=:]+|[=:]+", line)
        if line[-1:].isspace():
            words.append("")
        run = command("bash", "--norc", "-c", BASH_COMPLETE, "bash", self.script("bash"), line,
                      *words, cwd=self.folder)
        self.assertEqual((run.returncode, run.stderr), (0, ""), line)
        return run.stdout.split("\n")[:-1]

    def test_bash_offers_commands_options_and_values(self):
        """Of each command its own."""
        self.write("a file", "")
        self.write("seen.riptide", "")
        os.mkdir(self.path("folder"))
        for line, offers in (
                ("riptide ", ["run", "report", "gc", "doctor", "--help", "--version"]),
                ("riptide re", ["report"]),
                ("riptide run --mo", ["--mode"]),
                ("riptide run --quiet --mo", ["--mode"]),
                ("riptide run --mode ", ["sample", "exact"]),
                ("riptide run --mode=e", ["exact"]),
                ("riptide run --mode=", ["sample", "exact"]),
                ("riptide run --interval 64K --mode e", ["exact"]),
                ("riptide run --listen n", ["none"]),
                ("riptide run -o a", ["a file"]),
                ("riptide run --output=a", ["a file"]),
                ("riptide report --by c", ["component"]),
                ("riptide report seen.riptide --j", ["--json"]),
                ("riptide report s", ["seen.riptide"]),
                ("riptide report fo", ["folder"]),
                ("riptide report --mo", []),
                ("riptide doctor --", ["--json", "--help"]),
                ("riptide what --", []),
        ):
            self.assertEqual(self.bash(line), offers, line)

    def test_bash_leaves_the_program_its_own_words(self):
        """From the program on, options are not ours."""
        self.write("argument", "")
        own = self.write("observed-program", "#!/bin/sh\n", 0o755)
        for line in ("riptide run ./observed-pro", "riptide run -- ./observed-pro",
                     "riptide run --mode exact --listen 127.0.0.1:8080 -o x ./observed-pro",
                     "riptide doctor ./observed-pro"):
            self.assertEqual(self.bash(line), ["./" + os.path.basename(own)], line)
        for line in ("riptide run ./observed-program --mo",
                     "riptide run -- ./observed-program --mo",
                     "riptide run --listen 127.0.0.1:8080 ./observed-program --mo"):
            self.assertEqual(self.bash(line), [], line)
        self.assertEqual(self.bash("riptide run --quiet ./observed-program arg"), ["argument"])

    def press_tab(self, terminal, line, expected):
        """Type a line and TAB at a prompt; check what the line becomes."""
        terminal.type(line + "\t")
        self.assertTrue(terminal.wait_for(expected), (line, terminal.text))
        terminal.type("\x15\n")  # ^U: forget the line
        self.assertTrue(terminal.wait_for(b"ready> "), terminal.text)

    def test_bash_completes_at_a_terminal(self):
        """A real TAB in a real shell."""
        terminal = Terminal("bash", "--norc", "--noprofile", "-i", PS1="ready> ")
        self.addCleanup(terminal.close)
        self.assertTrue(terminal.wait_for(b"ready> "), terminal.text)
        terminal.type(f"bind 'set enable-bracketed-paste off'; . '{self.script('bash')}'\n")
        self.assertTrue(terminal.wait_for(b"\nready> "), terminal.text)
        self.press_tab(terminal, "riptide run --mo", b"riptide run --mode ")
        self.press_tab(terminal, "riptide run --mode=ex", b"riptide run --mode=exact ")
        self.press_tab(terminal, "riptide rep", b"riptide report ")

    def test_zsh_completes_at_a_terminal(self):
        """The same in zsh, which finds the file through its function path."""
        need("zsh")
        terminal = Terminal("zsh", "-f", "-i", PS1="start> ")
        self.addCleanup(terminal.close)
        self.assertTrue(terminal.wait_for(b"start> "), terminal.text)
        folder = os.path.dirname(self.script("zsh"))
        terminal.type(f"unsetopt zle_bracketed_paste prompt_cr; fpath=('{folder}' $fpath); "
                      "autoload -Uz compinit; compinit -D -u; PS1='read''y> '\n")
        self.assertTrue(terminal.wait_for(b"ready> "), terminal.text)
        self.press_tab(terminal, "riptide run --mo", b"riptide run --mode=")
        self.press_tab(terminal, "riptide run --mode=ex", b"riptide run --mode=exact")
        self.press_tab(terminal, "riptide report --by comp", b"riptide report --by component")
        self.press_tab(terminal, "riptide rep", b"riptide report")

    def fish(self, line):
        """Return what fish would offer at the end of a line."""
        run = command("fish", "-N", "-c", "source $argv[1]; complete --do-complete=$argv[2]",
                      self.script("fish"), line, cwd=self.folder,
                      env={**os.environ, "HOME": self.folder})
        self.assertEqual((run.returncode, run.stderr), (0, ""), line)
        return [offer.split("\t")[0] for offer in run.stdout.splitlines()]

    def test_fish_offers_the_same(self):
        """Commands, options, values, files, and the program's own words."""
        need("fish")
        self.write("seen.riptide", "")
        self.write("observed-program", "#!/bin/sh\n", 0o755)
        self.assertEqual(sorted(self.fish("riptide ")), ["doctor", "gc", "report", "run"])
        for line, offers in (
                ("riptide run --mo", ["--mode"]),
                ("riptide run --mode ", ["exact", "sample"]),
                ("riptide run --mode=e", ["--mode=exact"]),
                ("riptide report --by c", ["component"]),
                ("riptide run -o see", ["seen.riptide"]),
                ("riptide report see", ["seen.riptide"]),
                ("riptide run --listen 127.0.0.1:8080 ./observed-pro", ["./observed-program"]),
                ("riptide run -- ./observed-pro", ["./observed-program"]),
                ("riptide run ./observed-program --mo", []),
                ("riptide run ./observed-program see", ["seen.riptide"]),
        ):
            self.assertEqual(self.fish(line), offers, line)


class LibraryTest(InstalledTest):
    """The library as programs find it."""

    def setUp(self):
        super().setUp()
        self.write("service.c", SERVICE)
        self.write("service.cc", SERVICE)
        self.environment = {**os.environ, "LD_LIBRARY_PATH": self.libdir}

    def pkg_config(self, *arguments):
        """Return the flags for the installed tree, as if this were its prefix."""
        run = command(need("pkg-config"), f"--define-variable=prefix={self.prefix}", *arguments,
                      env={**os.environ, "PKG_CONFIG_PATH": "",
                           "PKG_CONFIG_LIBDIR": os.path.join(self.libdir, "pkgconfig")})
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout.split()

    def build(self, name, compiler, source, *flags):
        """Build a program; return its path."""
        run = command(need(compiler), "-g", "-Wall", "-Wextra", "-Werror", "-o", self.path(name),
                      self.path(source), *flags)
        self.assertEqual(run.returncode, 0, run.stderr)
        return self.path(name)

    def needed(self, program):
        """Return the libraries that a program asks for."""
        run = command(need("readelf"), "-d", program)
        return re.findall(r"\(NEEDED\).*\[(.*)\]", run.stdout)

    def check_service(self, program, heap=None):
        """Run the service and check what it says of itself."""
        run = command(program, env=self.environment, cwd=self.folder)
        self.assertEqual(run.returncode, 0, run.stderr)
        answer = json.loads(run.stdout)
        said = re.fullmatch(r"port 1, heap mode (\d), (\S+)\n", run.stderr)
        self.assertTrue(said, run.stderr)
        self.assertEqual(said[2], command(self.program, "--version").stdout.split()[1])
        names = dict(answer["top_allocators"])
        if heap:
            self.assertEqual(int(said[1]), 3, "the heap is not seen")
            self.assertGreaterEqual(names["service"], 3000000)
            self.assertEqual(names["records:extraction"], 2048)
        else:
            self.assertEqual(int(said[1]), 1)
            self.assertEqual(names, {"extraction": 2048})

    def test_pkg_config_knows_the_version(self):
        """Of both packages."""
        version = command(self.program, "--version").stdout.split()[1]
        for package in ("riptide", "riptide-heap"):
            self.assertEqual(self.pkg_config("--modversion", package), [version])

    def test_shared_in_c_and_cxx(self):
        """The quick start, by pkg-config."""
        flags = self.pkg_config("--cflags", "--libs", "riptide")
        for name, compiler, source, standard in (
                ("c", "gcc", "service.c", "-std=c99"),
                ("clang", "clang", "service.c", "-std=gnu17"),
                ("cxx", "g++", "service.cc", "-std=c++11")):
            program = self.build(name, compiler, source, standard, *flags)
            self.assertIn("libriptide.so.0", self.needed(program))
            self.check_service(program)

    def test_static_in_c_and_cxx(self):
        """The archive brings everything but libc."""
        flags = ["-l:libriptide.a" if flag == "-lriptide" else flag
                 for flag in self.pkg_config("--static", "--cflags", "--libs", "riptide")]
        for compiler, source in (("gcc", "service.c"), ("g++", "service.cc")):
            program = self.build(compiler, compiler, source, *flags)
            self.assertEqual([name for name in self.needed(program) if "riptide" in name], [])
            self.check_service(program)

    def test_heap_shared_and_static(self):
        """With riptide-heap the program's own malloc is seen."""
        packages = ("--cflags", "--libs", "riptide-heap", "riptide")
        program = self.build("heap", "gcc", "service.c", *self.pkg_config(*packages))
        self.assertEqual([name for name in self.needed(program) if "riptide" in name],
                         ["libriptide-heap.so.0", "libriptide.so.0"])
        self.check_service(program, heap=True)
        flags = ["-l:libriptide.a" if flag == "-lriptide" else flag
                 for flag in self.pkg_config("--static", "--cflags", "--libs",
                                             "riptide-heap-static", "riptide")]
        program = self.build("heap_static", "g++", "service.cc", *flags)
        self.assertEqual([name for name in self.needed(program) if "riptide" in name], [])
        self.check_service(program, heap=True)

    def test_cmake(self):
        """find_package and the imported targets, in C and C++."""
        cmake = need("cmake")
        need("g++")
        self.write("CMakeLists.txt", CMAKE_LISTS)
        for arguments in (("-S", self.folder, "-B", self.path("out"),
                           f"-DCMAKE_PREFIX_PATH={self.prefix}"),
                          ("--build", self.path("out"))):
            run = command(cmake, *arguments, timeout=BUILD_TIMEOUT_S)
            self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        # The targets know where their libraries are.
        self.environment = dict(os.environ)
        for name in ("shared", "static", "shared_cxx"):
            self.check_service(self.path(f"out/{name}"))
        for name in ("heap", "heap_static"):
            self.check_service(self.path(f"out/{name}"), heap=True)
        for name in ("static", "heap_static"):
            self.assertEqual([library for library in self.needed(self.path(f"out/{name}"))
                              if "riptide" in library], [])

    def test_cmake_refuses_another_version(self):
        """A version that cannot be had is an error, not a surprise."""
        cmake = need("cmake")
        for version, good in (("0.1", True), ("0.1.0", True), ("0.2", False), ("1.0", False),
                              ("0.0.9", False)):
            self.write("CMakeLists.txt", "cmake_minimum_required(VERSION 3.16)\n"
                       "project(versions LANGUAGES C)\n"
                       f"find_package(riptide {version} REQUIRED)\n")
            run = command(cmake, "-S", self.folder, "-B", self.path("out" + version),
                          f"-DCMAKE_PREFIX_PATH={self.prefix}")
            self.assertEqual(run.returncode == 0, good, (version, run.stderr))

    def test_sites_of_an_installed_service_have_names(self):
        """The library finds the program that names code, from where both lie."""
        flags = self.pkg_config("--cflags", "--libs", "riptide-heap", "riptide")
        program = self.build("named", "gcc", "service.c", "-fno-inline", *flags)
        self.environment["PATH"] = "/usr/bin:/bin"
        run = command(program, "/api/v1/report", env=self.environment, cwd=self.folder)
        self.assertEqual(run.returncode, 0, run.stderr)
        sites = json.loads(run.stdout)["sites"]
        self.assertIn(("main", "service.c"),
                      [(site["function"], os.path.basename(site["file"] or "")) for site in sites])


if __name__ == "__main__":
    sys.exit(main())
