# SPDX-License-Identifier: Apache-2.0
"""What the built agent is made of: its fast paths, its symbols, its segments. Read with binutils."""
import os
import re
import subprocess
import sys
import unittest

BUILD = os.environ.get("RIPTIDE_BUILD", os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                                     "..", "..", "build"))
AGENT = os.path.join(BUILD, "src", "agent", "libriptide-agent.so")

EXPORTED = {
    "malloc", "free", "calloc", "realloc", "reallocarray", "memalign", "aligned_alloc",
    "posix_memalign", "valloc", "pvalloc", "malloc_usable_size", "cfree", "free_sized",
    "free_aligned_sized", "dlclose", "mmap", "mmap64", "munmap", "mremap", "brk", "sbrk", "mlockall",
    "riptide_tag_intern", "riptide_tag_swap", "riptide_heap_adopt", "riptide_heap_ledger",
    "riptide_agent_tag_intern", "riptide_agent_tag_swap", "riptide_agent_tag_get",
    "riptide_agent_tag_names", "riptide_agent_tag_offset", "riptide_tag_offset",
}

# Everything the agent may ask of the process it is in. None of it takes a lock that a program can
# hold, but pthread_atfork and its kind, which run once, in the constructor.
UNDEFINED_ALLOWED = {
    "_dl_find_object", "_r_debug", "__errno_location", "environ", "__environ", "pthread_atfork",
    "__register_atfork", "__libc_stack_end", "gettid", "memcpy", "memset", "memcmp", "memmove",
}
WEAK_ALLOWED = {"__cxa_finalize", "__gmon_start__", "_ITM_deregisterTMCloneTable",
                "_ITM_registerTMCloneTable"}


def output(*command):
    """Return what a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def path_not_taken(listing):
    """Follow a function's listing along the not-taken conditional branches to its first jump away.

    Return the instructions of that path, or None when it does not end in an indirect jump.
    """
    path = []
    for line in listing:
        match = re.match(r"\s*[0-9a-f]+:\s+(?:bnd |notrack )?(\w+)\s*(.*)", line)
        if not match:
            continue
        path.append(match.group(1))
        if match.group(1) == "jmp":
            return path if match.group(2).startswith("*") else None
        if match.group(1) in ("ret", "call"):
            return None
    return None


class AgentBinaryTest(unittest.TestCase):
    """One test a promise about the file."""

    @classmethod
    def setUpClass(cls):
        cls.disassembly = output("objdump", "-d", "--no-show-raw-insn", AGENT)
        cls.dynamic = output("readelf", "-dW", AGENT)
        cls.segments = output("readelf", "-lW", AGENT)
        cls.symbols = [line.split() for line in
                       output("readelf", "-W", "--dyn-syms", AGENT).splitlines()
                       if re.match(r"\s+\d+:", line)]

    def listing_of(self, function):
        """Return the lines of one function's disassembly."""
        match = re.search(rf"^[0-9a-f]+ <{function}>:\n((?:.+\n)+)", self.disassembly, re.M)
        self.assertIsNotNone(match, function)
        return match.group(1).splitlines()

    def assert_fast(self, function, limit):
        """The not-sampled path is at most limit instructions, the jump to the real one included."""
        path = path_not_taken(self.listing_of(function))
        self.assertIsNotNone(path, f"{function} does not fall through to an indirect tail jump")
        print(f"{function}: {len(path)} instructions: {' '.join(path)}")
        self.assertLessEqual(len(path), limit, path)

    def test_malloc_adds_at_most_eight_instructions(self):
        self.assert_fast("malloc", 8)

    def test_free_adds_at_most_five_instructions(self):
        self.assert_fast("free", 5)

    def test_exports_the_malloc_family_and_nothing_else(self):
        exported = {fields[7].split("@")[0] for fields in self.symbols
                    if len(fields) > 7 and fields[6] != "UND" and fields[4] in ("GLOBAL", "WEAK")}
        self.assertEqual(exported, EXPORTED)

    def test_asks_for_nothing_beyond_the_audited_list(self):
        wanted = {fields[7].split("@")[0]: fields[4] for fields in self.symbols
                  if len(fields) > 7 and fields[6] == "UND"}
        strong = {name for name, bind in wanted.items() if bind == "GLOBAL"}
        self.assertLessEqual(strong, UNDEFINED_ALLOWED)
        self.assertLessEqual(set(wanted) - strong, WEAK_ALLOWED | UNDEFINED_ALLOWED)

    def test_never_looks_up_tls_dynamically(self):
        self.assertNotIn("__tls_get_addr", self.disassembly)
        self.assertFalse([f for f in self.symbols if "__tls_get_addr" in f[-1]])
        relocations = output("readelf", "-rW", AGENT)
        self.assertNotIn("DTPMOD", relocations)
        self.assertNotIn("TLSDESC", relocations)
        self.assertIn("TPOFF", relocations)

    def test_tls_fits_sixty_four_bytes(self):
        match = re.search(r"^\s+TLS\s+\S+ \S+ \S+ \S+ (0x[0-9a-f]+)", self.segments, re.M)
        self.assertIsNotNone(match)
        self.assertLessEqual(int(match.group(1), 16), 64)

    def test_needs_libc_alone(self):
        needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", self.dynamic))
        self.assertLessEqual(needed, {"libc.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"})
        self.assertIn("libc.so.6", needed)

    def test_is_bound_at_once_without_text_relocations(self):
        self.assertRegex(self.dynamic, r"BIND_NOW|\(FLAGS_1\).*NOW")
        self.assertNotIn("TEXTREL", self.dynamic)
        self.assertIn("GNU_RELRO", self.segments)
        self.assertNotRegex(self.dynamic, r"\((RPATH|RUNPATH)\)")

    def test_has_no_executable_stack_and_no_writable_code(self):
        match = re.search(r"GNU_STACK\s+\S+ \S+ \S+ \S+ \S+ (\S+(?: \S)?)\s+0x", self.segments)
        self.assertIsNotNone(match)
        self.assertNotIn("E", match.group(1))
        self.assertNotRegex(self.segments, r"LOAD.* RWE ")

    def test_has_no_exit_handler(self):
        """What was recorded is in the ledger already: only the toolchain's own fini entry is there."""
        match = re.search(r"\(FINI_ARRAYSZ\)\s+(\d+)", self.dynamic)
        self.assertLessEqual(int(match.group(1)) if match else 0, 8)

    def test_main_entry_points_of_calloc_and_realloc_are_leaf_tail_calls(self):
        for function in ("calloc", "realloc", "memalign"):
            with self.subTest(function=function):
                self.assertIsNotNone(path_not_taken(self.listing_of(function)))


if __name__ == "__main__":
    if not os.path.exists(AGENT):
        print(f"{AGENT} is not built")
        sys.exit(77)
    unittest.main(verbosity=2)
