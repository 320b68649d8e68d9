// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_elf_test.c - what kind of program a file is, also when it lies.
 *
 * Runs in:    test; needs a C compiler at run time, otherwise it is skipped
 * Threads:    one
 * Allocates:  yes
 * Fails:      with the line of the broken promise
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../support/support_skip.h"
#include "symbol/symbol_elf.h"

static char directory[512];
static struct rtd_symbol_elf elf;

static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* In the directory of the test. */
static int run(const char *format, ...)
{
    char command[4096];
    va_list arguments;

    int length = snprintf(command, sizeof(command), "cd '%s' && ", directory);
    va_start(arguments, format);
    length = vsnprintf(command + length, sizeof(command) - (size_t)length, format, arguments);
    va_end(arguments);
    return length < 0 ? -1 : system(command);
}

static void inspect(const char *name)
{
    char path[700];

    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    assert_int_equal(rtd_symbol_elf_inspect(path, &elf), 0);
}

static void write_file(const char *name, const void *data, size_t bytes)
{
    char path[700];

    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    /* A new file each time: cutting an old one to nothing makes some file systems write it out. */
    (void)unlink(path);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, bytes), bytes);
    (void)close(fd);
}

static int make_files(void **state)
{
    static const char source[] = "#include <stdlib.h>\n"
                                 "int main(int c, char **v) { return malloc((size_t)c) == v; }\n";
    const char *parent = getenv("TMPDIR");

    (void)state;
    (void)snprintf(directory, sizeof(directory), "%s/elf-XXXXXX", parent ? parent : P_tmpdir);
    if (!mkdtemp(directory))
        return -1;
    write_file("plain.c", source, sizeof(source) - 1);
    return run("cc -Wl,--build-id=sha1 -o plain plain.c");
}

static int remove_files(void **state)
{
    (void)state;
    return run("rm -rf '%s'", directory);
}

static void a_dynamic_program_is_what_it_is(void **state)
{
    (void)state;
    inspect("plain");
    assert_int_equal(elf.kind, RTD_SYMBOL_ELF_PROGRAM);
    assert_int_equal(elf.bits, sizeof(void *) * 8);
    assert_int_equal(elf.type, ET_DYN);
    assert_false(elf.is_static);
    assert_false(elf.defines_malloc);
    assert_false(elf.is_go);
    assert_false(elf.is_setuid);
    assert_false(elf.has_static_sanitizer);
    assert_int_equal(elf.interpreter[0], '/');
    assert_true(elf.needed_count >= 1);
    assert_int_equal(elf.build_id_bytes, 20);
    assert_int_equal(strlen(elf.build_id_hex), 40);
    assert_true(elf.libc == RTD_SYMBOL_LIBC_GLIBC || elf.libc == RTD_SYMBOL_LIBC_MUSL);
    assert_int_equal(run("strip plain -o stripped"), 0);
    inspect("stripped");
    assert_int_equal(elf.kind, RTD_SYMBOL_ELF_PROGRAM);
}

static void a_static_program_cannot_be_preloaded(void **state)
{
    (void)state;
    if (run("cc -static -o static plain.c 2>&1 && cc -static-pie -o static_pie plain.c 2>&1"))
        rtd_support_skip("cc cannot link static programs");
    inspect("static");
    assert_int_equal(elf.kind, RTD_SYMBOL_ELF_PROGRAM);
    assert_true(elf.is_static);
    assert_true(elf.defines_malloc);
    assert_string_equal(elf.interpreter, "");
    inspect("static_pie");
    assert_int_equal(elf.kind, RTD_SYMBOL_ELF_PROGRAM);
    assert_true(elf.is_static);
}

static void a_library_and_an_object_are_no_programs(void **state)
{
    (void)state;
    assert_int_equal(run("cc -shared -fPIC -o lib.so plain.c && cc -c -o object.o plain.c"), 0);
    inspect("lib.so");
    assert_int_equal(elf.kind, RTD_SYMBOL_ELF_LIBRARY);
    assert_false(elf.is_static);
    inspect("object.o");
    assert_int_equal(elf.kind, RTD_SYMBOL_ELF_NO_PROGRAM);
}

static void a_sanitizer_is_seen_linked_and_built_in(void **state)
{
    (void)state;
    if (run("cc -fsanitize=address -o asan plain.c 2>&1"))
        rtd_support_skip("cc has no AddressSanitizer");
    inspect("asan");
    assert_true(elf.needs_asan);
    assert_false(elf.needs_tsan);
    if (run("command -v clang && clang -fsanitize=address -o clang_asan plain.c 2>&1"))
        return;
    inspect("clang_asan");
    assert_true(elf.needs_asan);
    assert_true(elf.has_static_sanitizer);
    assert_true(elf.defines_malloc);
}

static void an_own_malloc_is_seen_exported_and_hidden(void **state)
{
    static const char source[] = "#include <stddef.h>\nvoid *malloc(size_t n);\n"
                                 "void *malloc(size_t n) { return n ? NULL : NULL; }\n";

    (void)state;
    write_file("own.c", source, sizeof(source) - 1);
    assert_int_equal(run("cc -fno-builtin -o own plain.c own.c && cc -fno-builtin "
                         "-fvisibility=hidden -o hidden plain.c own.c"),
                     0);
    inspect("own");
    assert_true(elf.defines_malloc);
    inspect("hidden");
    assert_true(elf.defines_malloc);
}

static void go_is_known_by_its_sections(void **state)
{
    (void)state;
    if (run("echo x > note && objcopy --add-section .go.buildinfo=note plain go"))
        rtd_support_skip("objcopy cannot add a section");
    inspect("go");
    assert_true(elf.is_go);
}

static void a_script_names_its_interpreter(void **state)
{
    (void)state;
    write_file("script", "#! /usr/bin/env python3\nx\n", 25);
    inspect("script");
    assert_int_equal(elf.kind, RTD_SYMBOL_ELF_SCRIPT);
    assert_string_equal(elf.interpreter, "/usr/bin/env");
    write_file("text", "hello\n", 6);
    inspect("text");
    assert_int_equal(elf.kind, RTD_SYMBOL_ELF_OTHER);
    write_file("empty", "", 0);
    inspect("empty");
    assert_int_equal(elf.kind, RTD_SYMBOL_ELF_OTHER);
    write_file("short", "\177ELF\2\1\1", 7);
    inspect("short");
    assert_int_equal(elf.kind, RTD_SYMBOL_ELF_OTHER);
}

static void set_id_bits_are_seen(void **state)
{
    char path[700];

    (void)state;
    assert_int_equal(run("cp plain setid"), 0);
    (void)snprintf(path, sizeof(path), "%s/setid", directory);
    assert_int_equal(chmod(path, 06755), 0);
    inspect("setid");
    assert_true(elf.is_setuid);
    assert_true(elf.is_setgid);
    assert_int_equal(chmod(path, 02644), 0);
    inspect("setid");
    assert_false(elf.is_setgid);
}

static void odd_files_are_errors_and_do_not_block(void **state)
{
    char fifo[700];

    (void)state;
    (void)snprintf(fifo, sizeof(fifo), "%s/fifo", directory);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(rtd_symbol_elf_inspect(fifo, &elf), -EINVAL);
    assert_int_equal(rtd_symbol_elf_inspect(directory, &elf), -EINVAL);
    assert_int_equal(rtd_symbol_elf_inspect("/dev/zero", &elf), -EINVAL);
    assert_int_equal(rtd_symbol_elf_inspect("/nonexistent", &elf), -ENOENT);
}

static void allocators_are_known_by_name(void **state)
{
    (void)state;
    assert_string_equal(rtd_symbol_allocator_name("/lib/x86_64-linux-gnu/libc.so.6"), "glibc");
    assert_string_equal(rtd_symbol_allocator_name("/lib/libc-2.31.so"), "glibc");
    assert_string_equal(rtd_symbol_allocator_name("libjemalloc.so.2"), "jemalloc");
    assert_string_equal(rtd_symbol_allocator_name("/x/libtcmalloc_minimal.so.4.5.9"), "tcmalloc");
    assert_string_equal(rtd_symbol_allocator_name("/x/libmimalloc.so.2.0"), "mimalloc");
    assert_string_equal(rtd_symbol_allocator_name("/x/libc++.so.1"), "other");
    assert_string_equal(rtd_symbol_allocator_name(""), "other");
}

static void damaged_headers_end_in_a_result(void **state)
{
    static uint8_t whole[128 * 1024], copy[128 * 1024];
    unsigned broken = 0, kinds[8] = {0};
    char path[700];

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/plain", directory);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t bytes = read(fd, whole, sizeof(whole));
    (void)close(fd);
    assert_true(bytes > 1000);
    srandom(7);
    for (unsigned i = 0; i < 4000; i++) {
        size_t kept = (size_t)bytes;

        memcpy(copy, whole, kept);
        for (unsigned k = 0; k < 1 + i % 6; k++) {
            /* Headers and notes at the front, the section table at the end. */
            const size_t at = (size_t)random() % 1024;
            copy[i % 2 ? at : kept - 1 - at % kept] = (uint8_t)random();
        }
        if (i % 5 == 0)
            kept = (size_t)random() % kept;
        write_file("damaged", copy, kept);
        inspect("damaged");
        broken += elf.kind == RTD_SYMBOL_ELF_BROKEN;
        kinds[elf.kind]++;
        assert_true(elf.build_id_bytes <= RTD_SYMBOL_BUILD_ID_BYTES);
        assert_true(memchr(elf.interpreter, 0, sizeof(elf.interpreter)) != NULL);
    }
    assert_true(broken > 0);
    assert_true(kinds[RTD_SYMBOL_ELF_PROGRAM] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dynamic_program_is_what_it_is),
        cmocka_unit_test(a_static_program_cannot_be_preloaded),
        cmocka_unit_test(a_library_and_an_object_are_no_programs),
        cmocka_unit_test(a_sanitizer_is_seen_linked_and_built_in),
        cmocka_unit_test(an_own_malloc_is_seen_exported_and_hidden),
        cmocka_unit_test(go_is_known_by_its_sections),
        cmocka_unit_test(a_script_names_its_interpreter),
        cmocka_unit_test(set_id_bits_are_seen),
        cmocka_unit_test(odd_files_are_errors_and_do_not_block),
        cmocka_unit_test(allocators_are_known_by_name),
        cmocka_unit_test(damaged_headers_end_in_a_result),
    };

    if (system("cc --version >&2") != 0)
        return rtd_support_skip_program("no C compiler");
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
