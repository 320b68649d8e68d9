# SPDX-License-Identifier: Apache-2.0
"""The gauntlet behind other allocators: jemalloc, tcmalloc and mimalloc, preloaded after the agent.

Some of them break a rule of the book natively (errno, alignment); under the agent the same rule is
broken in the same way.
"""
import os
import re
import subprocess

import riptide_test
from riptide_test import main
from test_gauntlet import GAUNTLET, Comparison

OTHER_ALLOCATORS = {
    "jemalloc": "libjemalloc.so.2",
    "tcmalloc": "libtcmalloc_minimal.so.4",
    "mimalloc": "libmimalloc.so.2",
}
CASES = [
    "errno_kept_on_success", "huge_sizes_fail", "overflows_fail", "failing_realloc_keeps_the_block",
    "posix_memalign_errors", "odd_alignments", "zero_sizes", "usable_size_is_writable",
    "usable_size_is_stable",
    "calloc_is_zeroed", "large_recycled_calloc_is_zeroed", "realloc_keeps_content",
    "growth_in_small_steps", "threads_600_live", "cross_thread_frees",
    "tls_destructors_allocate", "coroutines_on_small_stacks", "fork_single", "fork_tree",
    "fork_storm", "raw_clone", "vfork_exec", "exec_itself", "handler_allocates",
    "plugin_comes_and_goes", "library_constructors", "exit_while_threads_allocate", "steady_churn",
]


def library(name):
    """Return the path of a shared library of the system, or None."""
    listing = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False)
    match = re.search(rf"^\s*{re.escape(name)} .*=> (\S+)$", listing.stdout, re.M)
    return match.group(1) if match else None


class AllocatorTest(Comparison):
    """Generated: one test an allocator."""


def add_allocator(name, file_name):
    """Give the class a test for the subset behind another allocator."""
    def test(self):
        path = library(file_name)
        if path is None:
            self.skipTest(f"{file_name} is not installed")
        passed = 0
        for case in CASES:
            with self.subTest(case=case):
                native, _ = self.assert_same(case, ["--interval", "1"], preload=path)
                passed += native.stdout.endswith(b": ok\n")
        self.assertGreater(passed, len(CASES) * 3 // 4)
        self.assertEqual(self.report(self.path("out.riptide"))["allocator"], name)
    setattr(AllocatorTest, f"test_behind_{name}", test)


if os.path.exists(riptide_test.RIPTIDE) and os.path.exists(GAUNTLET):
    for allocator in OTHER_ALLOCATORS.items():
        add_allocator(*allocator)

if __name__ == "__main__":
    main()
