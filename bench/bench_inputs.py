# SPDX-License-Identifier: Apache-2.0
"""The programs that run_bench.py measures, and the inputs that it makes for them.

List M is allocation stress, list R is real programs from Debian. Every input is generated, from fixed
seeds. At work 1 a run takes one to two seconds of CPU, and what is paid once a run is a part of it that a
service does not know; more work makes the runs longer in proportion.
"""
import json
import os
import random
import shutil
import subprocess


class Program:
    """One measured command."""

    def __init__(self, name, kind, argv, **extra):
        self.name = name
        self.kind = kind
        self.argv = argv
        self.env = extra.get("env", {})
        self.stdin = extra.get("stdin")
        self.cwd = extra.get("cwd")
        self.client = extra.get("client")  # redis: what drives the server
        self.socket = extra.get("socket")


def c_source(path, functions):
    """Write a C file; 46 functions keep an optimising compiler busy for about a second."""
    rng = random.Random(1)
    with open(path, "w", encoding="utf-8") as out:
        out.write("struct node { struct node *next; long key, value; unsigned char tag[24]; };\n")
        for i in range(functions):
            cases = "".join(
                f"    case {n}: acc ^= (acc << {rng.randint(1, 9)}) + p->value * {rng.randint(3, 999)};"
                f" if (acc > {rng.randint(1000, 9999)}) acc -= p->tag[{rng.randint(0, 23)}]; break;\n"
                for n in range(8))
            callee = f"walk_{rng.randrange(i)}(p->next, depth - 1)" if i else "p->key"
            out.write(
                f"long walk_{i}(struct node *p, long depth)\n{{\n  long acc = depth * {i + 1};\n"
                f"  long table[16];\n  for (int k = 0; k < 16; k++) table[k] = acc * k + {i};\n"
                f"  for (; p && depth > 0; p = p->next, depth--) {{\n    switch (p->key & 7) {{\n{cases}    }}\n"
                f"    for (int k = 1; k < 16; k++) table[k] += table[k - 1] ^ acc;\n"
                f"    if (depth == {i % 13 + 2} && p->next) acc += {callee};\n  }}\n"
                f"  for (int k = 0; k < 16; k++) acc += table[k];\n  return acc;\n}}\n")


def json_file(path, rows):
    """Write an array of records."""
    rng = random.Random(2)
    data = [{"id": i, "name": f"user {rng.randrange(10**6)}", "score": rng.random(),
             "tags": [f"t{rng.randrange(50)}" for _ in range(rng.randrange(6))],
             "place": {"x": rng.randrange(1000), "y": rng.randrange(1000), "city": f"c{i % 97}"}}
            for i in range(rows)]
    with open(path, "w", encoding="utf-8") as out:
        json.dump(data, out)


def git_repository(path, commits):
    """Make a repository with a history of small edits."""
    rng = random.Random(3)
    files = {f"src/dir{i % 20}/file{i}.c": [f"line {n} of file {i}" for n in range(120)]
             for i in range(160)}
    stream = []
    for number in range(commits):
        touched = list(files) if number == 0 else rng.sample(sorted(files), 4)
        stream.append(f"commit refs/heads/main\ncommitter A B <a@b.example> {1600000000 + number} +0000\n"
                      f"data 10\nchange {number % 1000:03d}\n")
        for name in touched:
            lines = files[name]
            for _ in range(3):
                lines[rng.randrange(len(lines))] = f"edit {number} {rng.randrange(10**9)}"
            body = "\n".join(lines) + "\n"
            stream.append(f"M 100644 inline {name}\ndata {len(body)}\n{body}\n")
    subprocess.run(["git", "init", "-q", "-b", "main", path], check=True)
    subprocess.run(["git", "-C", path, "fast-import", "--quiet"], check=True,
                   input="".join(stream).encode())


SQL_HEAD = """
CREATE TABLE event(id INTEGER PRIMARY KEY, kind TEXT, place INTEGER, amount REAL, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
INSERT INTO event SELECT i, 'kind' || (i * 7919 % 211), i * 104729 % 5003, i * 0.25,
    'note number ' || (i * 31 % 9973) FROM n;
CREATE INDEX by_place ON event(place, kind);
SELECT count(*), sum(s) FROM (SELECT kind, sum(amount) s FROM event GROUP BY kind);
SELECT count(*), max(c) FROM (SELECT note, count(*) c FROM event GROUP BY note, place % 10);
SELECT place, group_concat(kind) FROM event WHERE place < 40 GROUP BY place ORDER BY 2 LIMIT 3;
"""

PYTHON = """
import json
data = [{"id": i, "name": "user %d" % i, "tags": ["t%d" % (i % 50), "x"], "score": i / 7.0,
         "place": {"x": i % 1000, "city": "c%d" % (i % 97)}} for i in range(20000)]
for _ in range({rounds}):
    text = json.dumps(data)
    data = json.loads(text)
print(len(text))
"""

LUA = """
local total = 0
for round = 1, {rounds} do
    local index, list = {}, {}
    for i = 1, 90000 do
        local key = "key" .. (i * 7919 % 50021)
        index[key] = (index[key] or 0) + i
        list[#list + 1] = {key = key, value = i, text = string.rep("x", i % 40)}
    end
    table.sort(list, function(a, b) return a.value > b.value end)
    local parts = {}
    for i = 1, #list, 10 do parts[#parts + 1] = list[i].text .. list[i].key end
    total = total + #table.concat(parts, ",")
end
print(total)
"""

PERL = """
my ($total, %kept) = (0);
for my $round (1 .. {rounds}) {
    my (%index, @rows);
    for my $i (1 .. 120000) {
        my $key = "key" . ($i * 7919 % 50021);
        $index{$key} .= chr(65 + $i % 26);
        push @rows, [$i, $key] if $i % 4 == 0;
        push @{ $kept{$i % 1000} }, $key if $i % 50 == 0;
    }
    for my $key (sort keys %index) { $total += length $index{$key}; }
    $total += scalar grep { $_->[1] =~ /7$/ } @rows;
}
print "$total\\n";
"""


def write(path, text):
    """Write a small file and return its path."""
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
    return path


def stress_programs(build):
    """List M."""
    folder = os.path.join(build, "bench")
    return [Program("cfrac-like", "M", [os.path.join(folder, "bench_cfrac_like")]),
            Program("espresso-like", "M", [os.path.join(folder, "bench_espresso_like")])]


def real_programs(work, amount=1):
    """List R with `amount` times the work, inputs in the folder work; says what is not installed."""
    compiler = subprocess.run(["gcc", "-print-prog-name=cc1"], capture_output=True, text=True,
                              check=False).stdout.strip()
    c_path, json_path = os.path.join(work, "input.c"), os.path.join(work, "input.json")
    repository, socket = os.path.join(work, "repository"), os.path.join(work, "redis.sock")
    c_source(c_path, 46 * amount)
    json_file(json_path, 42000 * amount)
    git_repository(repository, 2200 * amount)
    query = "group_by(.place.city) | map({c: .[0].place.city, n: length, s: (map(.score) | add)," \
            " t: (map(.tags[]) | unique | length)}) | sort_by(.n) | length"
    requests = ["redis-benchmark", "-s", socket, "-q", "-n", str(220000 * amount), "-r", "100000", "-d", "100",
                "-P", "16", "-c", "20", "-t", "set,get,lpush,hset"]
    programs = [
        Program("cc1 -O2", "R", [compiler, "-quiet", "-O2", c_path, "-o", os.path.join(work, "out.s")]),
        Program("sqlite3", "R", ["sqlite3", ":memory:"], stdin=write(os.path.join(work, "in.sql"),
                                                             SQL_HEAD.replace("{rows}", str(330000 * amount)))),
        Program("python3 json", "R", ["/usr/bin/python3", write(os.path.join(work, "in.py"),
                                                              PYTHON.replace("{rounds}", str(7 * amount)))],
                env={"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}),
        Program("redis-server", "R",
                ["redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly",
                 "no", "--dir", work], client=requests, socket=socket),
        Program("git log", "R", ["git", "--no-pager", "log", "--stat", "-p", "--no-color"],
                cwd=repository),
        Program("git repack", "R", ["git", "-c", "pack.threads=1", "repack", "-adfq", "--depth=20"],
                cwd=repository),
        Program("lua5.4", "R", ["lua5.4", write(os.path.join(work, "in.lua"),
                                               LUA.replace("{rounds}", str(3 * amount)))]),
        Program("jq", "R", ["jq", query, json_path]),
        Program("perl", "R", ["perl", write(os.path.join(work, "in.pl"),
                                           PERL.replace("{rounds}", str(5 * amount)))],
                env={"PERL_HASH_SEED": "0"}),
    ]
    found = [program for program in programs if shutil.which(program.argv[0])]
    for program in programs:
        if program not in found:
            print(f"left out, not installed: {program.name}")
    return found
