#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make install PREFIX=` from nothing: builds, installs, is used as it lies, and is taken back.

Builds the whole project in a folder of its own, which takes minutes: a test of the long suite.
"""
import os
import subprocess
import sys

from riptide_test import ROOT, RiptideTest, main, need
from test_install import SERVICE, command, tree

BUILD_TIMEOUT_S = 3000


class PrefixTest(RiptideTest):
    """A prefix that nobody knew when the build was set up."""

    def make_install(self, prefix):
        """Build and install; return the installed files."""
        self.environment = {name: value for name, value in os.environ.items()
                            if name not in ("MAKEFLAGS", "PREFIX", "DESTDIR", "BUILD")}
        run = command("make", "-C", ROOT, "install", f"BUILD={self.path('build')}",
                      f"PREFIX={prefix}", timeout=BUILD_TIMEOUT_S, env=self.environment)
        self.assertEqual(run.returncode, 0, run.stdout[-4000:] + run.stderr[-4000:])
        return tree(prefix)

    def check(self, prefix):
        """Build and run a service as a user would, with the prefix in pkg-config's path alone."""
        libdir = os.path.dirname(next(path for path in tree(prefix)
                                      if path.endswith("libriptide.so")))
        folder = os.path.join(prefix, libdir)
        environment = {**self.environment, "LD_LIBRARY_PATH": folder,
                       "PKG_CONFIG_PATH": os.path.join(folder, "pkgconfig")}
        flags = subprocess.check_output([need("pkg-config"), "--cflags", "--libs", "riptide-heap",
                                         "riptide"], env=environment, text=True).split()
        self.write("service.c", SERVICE)
        run = command("gcc", "-g", "-o", self.path("service"), self.path("service.c"), *flags)
        self.assertEqual(run.returncode, 0, run.stderr)
        run = command(self.path("service"), "/api/v1/report", env=environment, cwd=self.folder)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("service.c", run.stdout)
        run = command(os.path.join(prefix, "bin", "riptide"), "doctor", "/bin/sh")
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertIn(folder, run.stdout)

    def test_install_twice_and_take_back(self):
        """A second prefix for the same build folder gets the same files; uninstall removes them."""
        need("make")
        first = self.make_install(self.path("first"))
        self.check(self.path("first"))
        second = self.make_install(self.path("second"))
        self.assertEqual(first, second)
        self.check(self.path("second"))
        run = command("ninja", "-C", self.path("build"), "uninstall", timeout=BUILD_TIMEOUT_S)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertEqual(tree(self.path("second")), {})
        self.assertEqual(tree(self.path("first")), first)


if __name__ == "__main__":
    sys.exit(main())
