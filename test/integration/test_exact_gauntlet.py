# SPDX-License-Identifier: Apache-2.0
"""The gauntlet in exact mode: every legal behaviour comes out the same, also when all is counted.

The cases and the comparison are test_gauntlet's; only memory may be more here: a quarter of the
heap, or 16 bytes a block, and 16 MiB.
"""
import os

import test_gauntlet
from riptide_test import RIPTIDE, main
from test_gauntlet_allocators import OTHER_ALLOCATORS, library

EXACT = ["--mode", "exact"]
BEHIND_OTHERS = ("posix_memalign_errors", "odd_alignments", "zero_sizes", "usable_size_is_writable",
                 "realloc_keeps_content", "cross_thread_frees", "fork_tree", "handler_allocates")
LEDGER_SHARE, LEDGER_KIB = 0.25, 16384


class ExactGauntletTest(test_gauntlet.Comparison):
    """One test a case, generated below."""

    def assert_close(self, native, observed):
        """Allow for the ledger's pages, which are the program's too."""
        allowed = {name: int(value * (1 + LEDGER_SHARE)) + LEDGER_KIB
                   for name, value in native.items() if name.endswith("rss_kib")}
        allowed.update((name, value + LEDGER_KIB) for name, value in native.items()
                       if name == "rss_growth_kib")
        for name, most in allowed.items():
            self.assertLessEqual(observed[name], most, f"{name}, natively {native[name]}")
        self.assertEqual(set(native), set(observed))
        super().assert_close({name: value for name, value in native.items()
                              if name not in allowed},
                             {name: value for name, value in observed.items()
                              if name not in allowed})

    def test_handlers_inside_the_slow_path(self):
        for name in ("reentrant_handler_allocates", "reentrant_jump_out_of_handler"):
            with self.subTest(name=name):
                self.assert_same(name, EXACT, preload=test_gauntlet.REENTRANT)

    def test_behind_other_allocators(self):
        """Small requests are raised, so that no two blocks share a word of the shadow."""
        found = {name: library(file_name) for name, file_name in OTHER_ALLOCATORS.items()}
        if not any(found.values()):
            self.skipTest("no other allocator is installed")
        for name, path in found.items():
            for case in BEHIND_OTHERS if path is not None else ():
                with self.subTest(allocator=name, case=case):
                    self.assert_same(case, EXACT, preload=path)

    def test_cxx_exceptions_and_static_destructors(self):
        program = os.path.join(test_gauntlet.SUPPORT, "gauntlet_cxx")
        if not os.path.exists(program):
            self.skipTest("no C++ compiler")
        self.assert_same("", EXACT, program=program)


def add_case(name):
    """Give the class a test for one case."""
    def test(self):
        self.assert_same(name, EXACT)
    setattr(ExactGauntletTest, f"test_{name}", test)


if os.path.exists(RIPTIDE) and os.path.exists(test_gauntlet.GAUNTLET):
    for case_name in test_gauntlet.cases():
        if not case_name.startswith("reentrant_"):
            add_case(case_name)

if __name__ == "__main__":
    main()
