#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Enforce the include direction, the naming of files and "no .c includes a .c".

check_layers.py [ROOT]: prints one line for each offence, exits 1 if there is any.
"""
import os
import re
import sys

# A room may include itself, the public headers, and exactly these.
READERS = {"base", "ledger", "symbol", "track"}
ALLOWED = {
    "base": set(),
    "ledger": {"base"},
    "unwind": {"base"},
    "agent": {"base", "ledger", "unwind"},
    "symbol": {"base"},
    "track": {"base"},
    "analyze": READERS,
    "history": READERS | {"analyze"},
    "export": READERS | {"analyze", "history"},
    "serve": READERS | {"analyze", "history", "export"},
    "collect": READERS | {"analyze", "history", "export", "serve"},
    "manager": READERS | {"unwind", "analyze", "history", "export", "serve", "collect"},
    "cli": READERS | {"analyze", "history", "export", "serve", "collect"},
}
PREFIXES = {"unwind": ("unwind_", "unwind.")}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
SOURCE_DIRS = ("include", "src", "test", "fuzz", "bench", "examples", "tools")


def sources(root):
    """Yield every C source and header below the project's own folders."""
    for top in SOURCE_DIRS:
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(names):
                if name.endswith((".c", ".h", ".cc", ".cpp")):
                    yield os.path.relpath(os.path.join(folder, name), root)


def check_include(path, room, bracket, target):
    """Return the offence of one #include line, or None."""
    if target.endswith(".c"):
        return f"{path}: includes the source file {target}"
    if room is None or bracket == "<" or target.startswith("riptide/"):
        return None
    head, slash, _ = target.partition("/")
    if not slash:
        return f'{path}: "{target}" must be included as "room/{target}"'
    if head == room or head in ALLOWED[room]:
        return None
    if head not in ALLOWED:
        return f'{path}: "{target}" is in no room'
    return f'{path}: {room} must not include {head} ("{target}")'


def check_file(root, path):
    """Return the offences of one file."""
    parts = path.split(os.sep)
    room = parts[1] if parts[0] == "src" and len(parts) > 2 else None
    name = parts[-1]
    found = []
    if room is not None and room not in ALLOWED:
        return [f"{path}: {room} is not a room of the house"]
    if room is not None and not name.startswith(PREFIXES.get(room, (room + "_",))):
        found.append(f"{path}: the name must begin with {room}_")
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as handle:
        text = handle.read()
    if "SPDX-License-Identifier: Apache-2.0" not in text.split("\n", 1)[0]:
        found.append(f"{path}: the first line must be the SPDX line")
    for bracket, target in INCLUDE.findall(text):
        offence = check_include(path, room, bracket, target)
        if offence:
            found.append(offence)
    return found


def main():
    """Check the tree and print the result."""
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..")
    owner, offences, count = {}, [], 0
    for path in sources(root):
        count += 1
        offences += check_file(root, path)
        name = os.path.basename(path)
        if name in owner:
            offences.append(f"{path}: the name is taken by {owner[name]}")
        owner.setdefault(name, path)
    for offence in offences:
        print(offence)
    print(f"check_layers: {count} files, {len(offences)} offences")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
