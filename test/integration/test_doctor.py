#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""riptide doctor: a labelled set of programs, each judged rightly and with the right reason."""
import json
import os
import sys

from riptide_test import RiptideTest, main

EMPTY = "int main(void) { return 0; }"
OWN_MALLOC = """
#include <stddef.h>
static char heap[4096];
void *malloc(size_t n) { (void)n; return heap; }
void free(void *p) { (void)p; }
int main(void) { return malloc(3) == 0; }
"""


class Doctor(RiptideTest):
    """Exit 0: it can be observed; 1: it cannot, and a check says why."""

    def diagnose(self, *arguments):
        run = self.riptide("doctor", "--json", *arguments)
        self.assertEqual(run.stderr, "")
        result = json.loads(run.stdout)
        self.assertEqual(result["schema"], "riptide.doctor/1")
        self.assertEqual(run.returncode, 0 if result["observable"] else 1)
        return result

    def healthy(self, program):
        result = self.diagnose(program)
        self.assertTrue(result["observable"], result)

    def sick(self, program, check, word):
        result = self.diagnose(program)
        self.assertFalse(result["observable"], result)
        bad = {entry["id"]: entry for entry in result["checks"] if entry["result"] != "ok"}
        self.assertIn(check, bad)
        self.assertIn(word, bad[check]["text"])
        self.assertTrue(bad[check]["remedy"])
        text = self.riptide("doctor", program)
        self.assertEqual(text.returncode, 1)
        self.assertIn(word, text.stdout)
        self.assertTrue(text.stdout.rstrip().endswith("cannot be observed"))

    def test_the_machine(self):
        self.assertTrue(self.diagnose()["observable"])

    def test_ordinary_programs(self):
        for program in ("sh", "ls", "/usr/bin/python3", "env"):
            self.healthy(program)
        self.healthy(self.compile("pie", EMPTY))
        self.healthy(self.compile("fixed", EMPTY, "-no-pie"))
        self.healthy(self.compile("undefined", EMPTY, "-fsanitize=undefined"))

    def test_a_script_is_judged_by_its_interpreter(self):
        self.healthy(self.write("script", "#!/bin/sh\n", 0o755))
        still = self.compile("still", EMPTY, "-static")
        self.sick(self.write("other", f"#!{still}\n", 0o755), "dynamic", "statically linked")

    def test_static(self):
        self.sick(self.compile("still", EMPTY, "-static"), "dynamic", "statically linked")

    def test_static_pie(self):
        self.sick(self.compile("still", EMPTY, "-static-pie"), "dynamic", "statically linked")

    def test_sanitizers(self):
        self.sick(self.compile("asan", EMPTY, "-fsanitize=address"), "sanitizer",
                  "AddressSanitizer")
        self.sick(self.compile("tsan", EMPTY, "-fsanitize=thread"), "sanitizer", "ThreadSanitizer")

    def test_an_own_malloc(self):
        self.sick(self.compile("own", OWN_MALLOC), "malloc", "own malloc")
        self.sick(self.compile("exported", OWN_MALLOC, "-rdynamic"), "malloc", "own malloc")

    def test_not_a_program(self):
        self.sick(self.write("text", "hello\n", 0o755), "elf", "not an ELF")
        self.sick(self.write("empty", "", 0o755), "elf", "not an ELF")
        self.compile("thing", EMPTY)
        with open(self.path("thing"), "rb") as whole:
            head = whole.read(100)
        with open(self.path("cut"), "wb") as cut:
            cut.write(head)
        os.chmod(self.path("cut"), 0o755)
        self.sick(self.path("cut"), "elf", "ELF")
        self.sick(self.compile("object.o", EMPTY, "-c"), "elf", "object")

    def test_a_library(self):
        self.sick(self.compile("thing.so", EMPTY, "-shared", "-fPIC"), "elf", "shared library")

    def test_a_loader_that_does_not_exist(self):
        program = self.compile("lost", EMPTY, "-Wl,--dynamic-linker=/no/such/ld.so")
        self.sick(program, "interpreter", "/no/such/ld.so")
        run = self.riptide("run", "--listen", "none", "--", program)
        self.assertEqual((run.returncode, len(run.stderr.splitlines())), (126, 1))
        self.assertIn("/no/such/ld.so", run.stderr)

    def test_musl_is_known_by_its_loader(self):
        self.sick(self.compile("other", EMPTY, "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1"),
                  "libc", "musl")

    def test_a_program_that_may_not_be_executed(self):
        program = self.compile("locked", EMPTY)
        os.chmod(program, 0o644)
        result = self.diagnose(program)
        self.assertTrue(result["observable"])
        self.assertIn(("executable", "warning"),
                      [(entry["id"], entry["result"]) for entry in result["checks"]])

    def test_32_bit(self):
        # No 32-bit compiler is needed: the class is one byte of the header, and so is the machine.
        self.compile("wide", EMPTY)
        with open(self.path("wide"), "rb") as handle:
            image = bytearray(handle.read())
        self.sick(self.compile("narrow", EMPTY, "-m32") if os.path.exists("/usr/lib32/crt1.o")
                  else self.narrow(image), "machine", "32-bit")
        image[18:20] = (183).to_bytes(2, "little")
        with open(self.path("arm"), "wb") as handle:
            handle.write(image)
        os.chmod(self.path("arm"), 0o755)
        self.sick(self.path("arm"), "machine", "another machine")

    def narrow(self, _):
        """Write the smallest honest 32-bit program header there is."""
        header = (b"\x7fELF\x01\x01\x01" + bytes(9) + (2).to_bytes(2, "little") +
                  (3).to_bytes(2, "little") + (1).to_bytes(4, "little") +
                  (0x8048054).to_bytes(4, "little") + (52).to_bytes(4, "little") +
                  (0).to_bytes(4, "little") + (0).to_bytes(4, "little") +
                  (52).to_bytes(2, "little") + (32).to_bytes(2, "little") +
                  (1).to_bytes(2, "little") + (40).to_bytes(2, "little") + bytes(4))
        segment = b"".join(value.to_bytes(4, "little") for value in
                           (1, 0, 0x8048000, 0x8048000, 84, 84, 5, 4096))
        with open(self.path("narrow"), "wb") as handle:
            handle.write(header + segment)
        os.chmod(self.path("narrow"), 0o755)
        return self.path("narrow")

    def test_no_such_program(self):
        for name in ("no-such-program", "./no-such-program"):
            run = self.riptide("doctor", name)
            self.assertEqual((run.returncode, len(run.stderr.splitlines())), (2, 1))
            self.assertIn(name, run.stderr)

    def test_a_missing_agent(self):
        run = self.riptide("doctor", env={**os.environ, "RIPTIDE_AGENT": "/no/agent.so"})
        self.assertEqual(run.returncode, 1)
        self.assertIn("/no/agent.so", run.stdout)


if __name__ == "__main__":
    sys.exit(main())
