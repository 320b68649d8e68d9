# SPDX-License-Identifier: Apache-2.0
"""The exact profilers that run_peers.py compares: how each is started, and what it is compared with.

A profiler that brings its own allocator is compared with that allocator, not with glibc: otherwise the
difference of the allocators would be counted for or against the profiler. All come from Debian; what is
not installed, or was built without its profiler, is said in the output and left out.
"""
import glob
import os
import shutil
import subprocess

LIBRARY_FOLDERS = ("/usr/lib/*-linux-gnu", "/lib/*-linux-gnu", "/usr/lib64", "/usr/lib")
JEMALLOC_OPTIONS = "prof:true,lg_prof_sample:0,prof_final:true"
# Asks jemalloc itself, because an option that it does not know is only a line on stderr.
JEMALLOC_HAS_PROF = """
import ctypes
value, size = ctypes.c_bool(), ctypes.c_size_t(1)
failed = ctypes.CDLL(None).mallctl(b"config.prof", ctypes.byref(value), ctypes.byref(size), None, 0)
raise SystemExit(bool(failed) or not value.value)
"""


class Tool:
    """One way to run a program."""

    def __init__(self, name, against, **extra):
        self.name = name
        self.against = against                      # the name of the tool it is compared with
        self.prefix = extra.get("prefix", [])       # {folder} stands for where it may write
        self.env = extra.get("env", {})
        self.slow = extra.get("slow", False)        # runs once where the others run several times
        self.writes = extra.get("writes", False)
        self.leaves = extra.get("leaves")           # a file that stays when it is stopped; {pid} is its process
        self.missing = extra.get("missing")         # why it cannot be used here

    def command(self, argv, folder):
        """Return the command that runs argv under the tool, which writes into folder."""
        return [word.format(folder=folder) for word in self.prefix] + argv

    def tidy(self, pid):
        """Remove what a stopped run of that process leaves outside its folder."""
        if self.leaves and os.path.exists(self.leaves.format(pid=pid)):
            os.unlink(self.leaves.format(pid=pid))

    def environment(self, env, folder):
        """Return the program's environment under the tool."""
        return {**env, **{key: value.format(folder=folder) for key, value in self.env.items()}}


def library(name):
    """Return the path of a shared library, None when it is not installed."""
    found = [path for folder in LIBRARY_FOLDERS for path in sorted(glob.glob(f"{folder}/{name}"))]
    return found[0] if found else None


def jemalloc_lacks(path):
    """Say why jemalloc's profiler cannot be used."""
    if not path:
        return "libjemalloc2 is not installed"
    run = subprocess.run(["/usr/bin/python3", "-c", JEMALLOC_HAS_PROF], check=False,
                         env={**os.environ, "LD_PRELOAD": path}, stderr=subprocess.DEVNULL)
    return None if run.returncode == 0 else f"{path} was built without --enable-prof"


def riptide_lacks(riptide, folder):
    """Say why exact mode cannot be used."""
    argv = [riptide, "run", "--mode", "exact", "--quiet", "--listen", "none", "-o",
            os.path.join(folder, "try.riptide"), "--", "true"]
    try:
        run = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if run.returncode == 0 else f"riptide run --mode exact: {run.stderr.strip() or run.returncode}"


def program_lacks(name):
    """Say that a program is not installed."""
    return None if shutil.which(name) else f"{name} is not installed"


def all_tools(riptide, folder):
    """Return every tool in the order of the tables; those that cannot be used say why."""
    jemalloc, tcmalloc = library("libjemalloc.so.2"), library("libtcmalloc.so.4")
    no_tcmalloc = None if tcmalloc else "libgoogle-perftools4 is not installed"
    run = [riptide, "run", "--mode", "exact", "--quiet", "--listen", "none", "-o", "{folder}/bench.riptide", "--"]
    return [
        Tool("without", None),
        Tool("without again", "without"),
        Tool("riptide exact", "without", prefix=run, writes=True, missing=riptide_lacks(riptide, folder)),
        Tool("heaptrack", "without", prefix=["heaptrack", "-o", "{folder}/heaptrack"], slow=True, writes=True,
             leaves="/tmp/heaptrack_fifo{pid}", missing=program_lacks("heaptrack")),
        Tool("jemalloc", None, env={"LD_PRELOAD": jemalloc or ""}, slow=True,
             missing=None if jemalloc else "libjemalloc2 is not installed"),
        Tool("jemalloc prof", "jemalloc", slow=True, writes=True, missing=jemalloc_lacks(jemalloc),
             env={"LD_PRELOAD": jemalloc or "",
                  "MALLOC_CONF": JEMALLOC_OPTIONS + ",prof_prefix:{folder}/jeprof"}),
        Tool("tcmalloc", None, env={"LD_PRELOAD": tcmalloc or ""}, slow=True, missing=no_tcmalloc),
        Tool("tcmalloc heap profile", "tcmalloc", slow=True, writes=True, missing=no_tcmalloc,
             env={"LD_PRELOAD": tcmalloc or "", "HEAPPROFILE": "{folder}/heap"}),
        Tool("DHAT", "without", prefix=["valgrind", "--tool=dhat", "--dhat-out-file={folder}/dhat.%p"],
             slow=True, writes=True, missing=program_lacks("valgrind")),
    ]


def written_bytes(folder):
    """Return the size of all that a tool left in its folder."""
    return sum(os.path.getsize(os.path.join(root, name))
               for root, _, names in os.walk(folder) for name in names)
