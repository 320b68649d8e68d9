#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compile each public header alone, as C99 and as C++11, with every compiler that is installed.

check_headers.py [ROOT]: exits 1 if a header does not stand alone, 77 if there is nothing to check.
"""
import os
import shutil
import subprocess
import sys

FLAGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
LANGUAGES = [("c", "c99", ("gcc", "clang")), ("c++", "c++11", ("g++", "clang++"))]


def headers(root):
    """Return the public headers."""
    found = []
    for folder, _, names in os.walk(os.path.join(root, "include")):
        found += [os.path.join(folder, name) for name in names if name.endswith(".h")]
    return sorted(found)


def compile_alone(root, header, compiler, language, standard):
    """Compile a file which only includes the header, twice; return the compiler's complaint."""
    name = os.path.relpath(header, os.path.join(root, "include"))
    source = f"#include <{name}>\n#include <{name}>\nextern int rtd_header_stands_alone;\n"
    run = subprocess.run(
        [compiler, "-x", language, f"-std={standard}", *FLAGS, "-I", os.path.join(root, "include"), "-"],
        input=source, capture_output=True, text=True, check=False)
    return "" if run.returncode == 0 else run.stderr


def main():
    """Check all headers."""
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..")
    failures = checks = 0
    for header in headers(root):
        for language, standard, compilers in LANGUAGES:
            for compiler in filter(shutil.which, compilers):
                checks += 1
                complaint = compile_alone(root, header, compiler, language, standard)
                if complaint:
                    failures += 1
                    print(f"{os.path.relpath(header, root)} as {standard} with {compiler}:\n{complaint}")
    print(f"check_headers: {checks} checks, {failures} failures")
    if checks == 0:
        return 77
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
