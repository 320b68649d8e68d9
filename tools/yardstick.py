#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Print the shape of C sources next to the house's targets (docs/style.md, section 7).

yardstick.py [--check] [FILE...]: without files, everything in include/ and src/.
--check exits 1 when a limit is passed. Needs Universal Ctags. A figure is a reason to look, never a
grade; ctags misreads the odd function that is split by #if.
"""
import glob
import json
import os
import re
import subprocess
import sys

FUNCTION_LIMIT, FILE_LIMIT, PARAMETER_LIMIT, COLUMN_LIMIT = 80, 900, 6, 100


class Shape:
    """The figures of one set of files."""

    def __init__(self):
        self.functions = []  # (lines, name, path, line, parameters)
        self.files = []  # (lines, path)
        self.rows = self.code = self.comments = self.wide = 0
        self.conditionals = self.macros = self.notes = 0

    def add_functions(self, paths):
        """Ask ctags for every function's extent and parameters."""
        tags = subprocess.run(
            ["ctags", "--output-format=json", "--fields=+neS", "--kinds-C=f", "--languages=C",
             "--langmap=C:.c.h", "-f", "-", *paths], capture_output=True, text=True, check=True)
        for line in tags.stdout.splitlines():
            tag = json.loads(line)
            if "end" not in tag:
                continue
            signature = tag.get("signature", "()")[1:-1].strip()
            count = 0 if signature in ("", "void") else signature.count(",") + 1
            self.functions.append(
                (tag["end"] - tag["line"] + 1, tag["name"], tag["path"], tag["line"], count))
        self.functions.sort()

    def add_file(self, path):
        """Count one file's lines by kind."""
        with open(path, encoding="utf-8", errors="replace") as handle:
            text = handle.read()
        rows = text.splitlines()
        self.files.append((len(rows), path))
        self.conditionals += len(re.findall(r"^\s*#\s*if", text, re.M))
        self.macros += len(re.findall(r"^\s*#\s*define\s+\w+\(", text, re.M))
        self.notes += len(re.findall(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b", text))
        inside = False
        for row in rows:
            self.rows += 1
            self.wide += len(row.expandtabs(8)) > COLUMN_LIMIT
            stripped = row.strip()
            if inside or stripped.startswith(("//", "/*")):
                self.comments += bool(stripped)
                if inside or stripped.startswith("/*"):
                    inside = "*/" not in stripped
            elif stripped:
                self.code += 1

    def offences(self):
        """Yield what is over a limit."""
        for lines, name, path, line, parameters in self.functions:
            if lines > FUNCTION_LIMIT:
                yield f"{path}:{line}: {name} has {lines} lines (limit {FUNCTION_LIMIT})"
            if parameters > PARAMETER_LIMIT:
                yield f"{path}:{line}: {name} has {parameters} parameters (limit {PARAMETER_LIMIT})"
        for lines, path in self.files:
            if lines > FILE_LIMIT:
                yield f"{path}: {lines} lines (limit {FILE_LIMIT})"


def quantile(values, share):
    """Return a quantile of sorted values, 0 for none."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0


def rate(part, whole, scale):
    """Return part per scale of whole, safe for an empty set."""
    return scale * part / max(1, whole)


def show(shape):
    """Print figure and target side by side."""
    lengths = [function[0] for function in shape.functions]
    parameters = [function[4] for function in shape.functions]
    sizes = sorted(shape.files)
    largest = sizes[-1] if sizes else (0, "")
    table = [
        ("files, lines, functions", f"{len(sizes)}, {shape.rows}, {len(lengths)}", ""),
        ("function lines, median", quantile(lengths, .5), "<= 12"),
        ("function lines, 95th percentile", quantile(lengths, .95), "<= 45"),
        ("function lines, longest", quantile(lengths, 1), f"<= {FUNCTION_LIMIT}"),
        ("functions over 100 lines %", f"{rate(sum(n > 100 for n in lengths), len(lengths), 100):.1f}",
         "0"),
        ("functions over 5 parameters %",
         f"{rate(sum(n > 5 for n in parameters), len(parameters), 100):.1f}", "<= 3"),
        ("file lines, median", quantile([size for size, _ in sizes], .5), "<= 500"),
        ("file lines, largest", f"{largest[0]} ({largest[1]})", f"<= {FILE_LIMIT}"),
        ("comment share %", f"{rate(shape.comments, shape.code + shape.comments, 100):.0f}", "18-28"),
        ("#if per 1000 code lines", f"{rate(shape.conditionals, shape.code, 1000):.1f}", "<= 6"),
        ("function-like macros per 1000", f"{rate(shape.macros, shape.code, 1000):.1f}", "<= 5"),
        ("unfinished-work marks", shape.notes, "0"),
        (f"lines over {COLUMN_LIMIT} columns %", f"{rate(shape.wide, shape.rows, 100):.1f}", "0"),
    ]
    for label, figure, target in table:
        print(f"{label:34} {figure!s:>28}   {target}")
    for lines, name, path, line, _ in shape.functions[-5:][::-1]:
        print(f"  long: {lines:4d}  {name}  {path}:{line}")


def main():
    """Measure and print."""
    check = "--check" in sys.argv[1:]
    paths = [word for word in sys.argv[1:] if not word.startswith("--")]
    if not paths:
        root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
        os.chdir(root)
        paths = sorted(path for top in ("include", "src")
                       for path in glob.glob(f"{top}/**/*.[ch]", recursive=True))
    if not paths:
        print("yardstick: no files", file=sys.stderr)
        return 2
    shape = Shape()
    shape.add_functions(paths)
    for path in paths:
        shape.add_file(path)
    show(shape)
    offences = list(shape.offences())
    for offence in offences:
        print(f"  over a limit: {offence}")
    return 1 if check and offences else 0


if __name__ == "__main__":
    sys.exit(main())
