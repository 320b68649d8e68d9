// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_elf.c - what kind of program a file is, as far as watching it is concerned.
 *
 * Runs in:    collector (run, doctor)
 * Threads:    no state
 * Allocates:  one string table and one block of symbols at a time
 * Fails:      see the header
 */
#include "symbol/symbol_elf.h"

#include "base/base_macros.h"
#include "symbol/symbol_elf_file.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum {
    DYNAMIC_ENTRIES_MAX = 4096,
    LIBRARY_NAME_BYTES = 256,
    SYMBOL_BLOCK = 512,
    /* Beyond this, start-up time counts for more than a malloc that nothing exports. */
    STRINGS_BYTES_MAX = 32 << 20,
    SYMBOLS_MAX = 4 << 20,
};

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

const char *rtd_symbol_allocator_name(const char *path)
{
    static const struct {
        const char *start, *name;
    } known[] = {
        {"libjemalloc", "jemalloc"}, {"libtcmalloc", "tcmalloc"}, {"libmimalloc", "mimalloc"},
        {"libc.so.6", "glibc"},      {"libc-2.", "glibc"},
    };
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;

    for (size_t i = 0; i < RTD_ARRAY_LENGTH(known); i++)
        if (starts_with(name, known[i].start))
            return known[i].name;
    return "other";
}

/* File offset of an address; the caller's read checks that it is inside the file. */
static int offset_of(const struct rtd_symbol_elf_file *file, uint64_t address, uint64_t *offset)
{
    struct rtd_symbol_elf_segment segment;

    for (uint32_t i = 0; i < file->segment_count; i++) {
        if (rtd_symbol_elf_file_segment(file, i, &segment) < 0)
            break;
        if (segment.type == PT_LOAD && address >= segment.address &&
            address - segment.address < segment.file_bytes) {
            *offset = segment.offset + (address - segment.address);
            return 0;
        }
    }
    return -ENOENT;
}

/* What one needed library says about the program. */
static void note_library(const char *name, struct rtd_symbol_elf *out)
{
    const char *allocator = rtd_symbol_allocator_name(name);

    out->needed_count++;
    if (strcmp(allocator, "glibc") == 0) {
        /* The interpreter, read before, is what decides. */
        if (out->libc == RTD_SYMBOL_LIBC_UNKNOWN)
            out->libc = RTD_SYMBOL_LIBC_GLIBC;
    } else if (strcmp(allocator, "other") != 0 && !out->needed_allocator[0]) {
        memcpy(out->needed_allocator, allocator, strlen(allocator) + 1);
    }
    if (starts_with(name, "libc.musl") || strcmp(name, "libc.so") == 0)
        out->libc = RTD_SYMBOL_LIBC_MUSL;
    out->needs_asan |= starts_with(name, "libasan") || starts_with(name, "libclang_rt.asan");
    out->needs_tsan |= starts_with(name, "libtsan") || starts_with(name, "libclang_rt.tsan");
    out->needs_lsan |= starts_with(name, "liblsan") || starts_with(name, "libclang_rt.lsan");
    out->needs_ubsan |= starts_with(name, "libubsan") || starts_with(name, "libclang_rt.ubsan");
}

/* One entry of either class, widened. The tag is signed in the file format. */
static int dynamic_entry(const struct rtd_symbol_elf_file *file, uint64_t at, Elf64_Dyn *out)
{
    Elf32_Dyn narrow;

    if (file->bits == 64) {
        const int err = rtd_symbol_elf_file_read(file, at, out, sizeof(*out));

        if (err < 0)
            return err;
        out->d_tag = (Elf64_Sxword)rtd_symbol_elf_file_u64(file, (uint64_t)out->d_tag);
        out->d_un.d_val = rtd_symbol_elf_file_u64(file, out->d_un.d_val);
        return 0;
    }
    const int err = rtd_symbol_elf_file_read(file, at, &narrow, sizeof(narrow));
    if (err < 0)
        return err;
    out->d_tag = (Elf32_Sword)rtd_symbol_elf_file_u32(file, (uint32_t)narrow.d_tag);
    out->d_un.d_val = rtd_symbol_elf_file_u32(file, narrow.d_un.d_val);
    return 0;
}

/* Reads the dynamic section; true when it marks a position independent program. */
static bool read_dynamic(const struct rtd_symbol_elf_file *file,
                         const struct rtd_symbol_elf_segment *dynamic, struct rtd_symbol_elf *out)
{
    const uint64_t entry_bytes = file->bits == 64 ? sizeof(Elf64_Dyn) : sizeof(Elf32_Dyn);
    const uint64_t all = dynamic->file_bytes / entry_bytes;
    const uint64_t count = all < DYNAMIC_ENTRIES_MAX ? all : DYNAMIC_ENTRIES_MAX;
    uint64_t strings = 0;
    bool is_program = false;
    Elf64_Dyn entry;

    for (uint64_t i = 0; i < count; i++) {
        if (dynamic_entry(file, dynamic->offset + i * entry_bytes, &entry) < 0 ||
            entry.d_tag == DT_NULL)
            break;
        if (entry.d_tag == DT_STRTAB && offset_of(file, entry.d_un.d_val, &strings) < 0)
            strings = 0;
        if (entry.d_tag == DT_FLAGS_1)
            is_program = (entry.d_un.d_val & DF_1_PIE) != 0;
    }
    for (uint64_t i = 0; i < count && strings; i++) {
        char name[LIBRARY_NAME_BYTES] = "";

        if (dynamic_entry(file, dynamic->offset + i * entry_bytes, &entry) < 0 ||
            entry.d_tag == DT_NULL)
            break;
        const uint64_t at = strings + entry.d_un.d_val;
        if (entry.d_tag != DT_NEEDED || at < strings || at >= file->size_bytes)
            continue;
        const uint64_t left = file->size_bytes - at;
        const size_t bytes = left < sizeof(name) - 1 ? (size_t)left : sizeof(name) - 1;
        if (rtd_symbol_elf_file_read(file, at, name, bytes) == 0)
            note_library(name, out);
    }
    return is_program;
}

static void read_interpreter(const struct rtd_symbol_elf_file *file,
                             const struct rtd_symbol_elf_segment *segment,
                             struct rtd_symbol_elf *out)
{
    const size_t bytes = segment->file_bytes < sizeof(out->interpreter) - 1
                             ? (size_t)segment->file_bytes
                             : sizeof(out->interpreter) - 1;

    memset(out->interpreter, 0, sizeof(out->interpreter));
    if (rtd_symbol_elf_file_read(file, segment->offset, out->interpreter, bytes) < 0)
        return;
    const char *slash = strrchr(out->interpreter, '/');
    const char *name = slash ? slash + 1 : out->interpreter;
    if (starts_with(name, "ld-musl"))
        out->libc = RTD_SYMBOL_LIBC_MUSL;
    else if (starts_with(name, "linker"))
        out->libc = RTD_SYMBOL_LIBC_BIONIC;
    else if (starts_with(name, "ld-linux") || starts_with(name, "ld64.so") ||
             starts_with(name, "ld.so"))
        out->libc = RTD_SYMBOL_LIBC_GLIBC;
}

/*
 * Program or library: both are ET_DYN today. An interpreter or the mark of the linker (DF_1_PIE,
 * for static ones) makes it a program.
 */
static void read_segments(const struct rtd_symbol_elf_file *file, struct rtd_symbol_elf *out)
{
    struct rtd_symbol_elf_segment segment;
    bool has_interpreter = false, is_program = file->type == ET_EXEC;

    for (uint32_t i = 0; i < file->segment_count; i++) {
        if (rtd_symbol_elf_file_segment(file, i, &segment) < 0) {
            out->kind = RTD_SYMBOL_ELF_BROKEN;
            return;
        }
        if (segment.type == PT_DYNAMIC && read_dynamic(file, &segment, out))
            is_program = true;
        if (segment.type == PT_INTERP) {
            has_interpreter = true;
            read_interpreter(file, &segment, out);
        }
    }
    if (file->type != ET_EXEC && file->type != ET_DYN)
        out->kind = RTD_SYMBOL_ELF_NO_PROGRAM;
    else
        out->kind = has_interpreter || is_program ? RTD_SYMBOL_ELF_PROGRAM : RTD_SYMBOL_ELF_LIBRARY;
    out->is_static = out->kind == RTD_SYMBOL_ELF_PROGRAM && !has_interpreter;
}

/* What one defined symbol says about the program. */
static void note_symbol(const char *name, struct rtd_symbol_elf *out)
{
    if (strcmp(name, "malloc") == 0) {
        out->defines_malloc = true;
        return;
    }
    if (!starts_with(name, "__"))
        return;
    const bool is_asan = strcmp(name, "__asan_init") == 0;
    const bool is_tsan = strcmp(name, "__tsan_init") == 0;
    const bool is_lsan = strcmp(name, "__lsan_init") == 0;

    out->needs_asan |= is_asan;
    out->needs_tsan |= is_tsan;
    out->needs_lsan |= is_lsan;
    out->needs_ubsan |= starts_with(name, "__ubsan_handle_");
    out->has_static_sanitizer |= is_asan || is_tsan || is_lsan ||
                                 strcmp(name, "__msan_init") == 0 ||
                                 strcmp(name, "__hwasan_init") == 0;
}

/* Name position of a defined symbol; 0 for one that is only used. */
static uint32_t defined_name(const struct rtd_symbol_elf_file *file, const unsigned char *raw)
{
    Elf64_Sym wide;
    Elf32_Sym narrow;

    if (file->bits == 64) {
        memcpy(&wide, raw, sizeof(wide));
        return wide.st_shndx == SHN_UNDEF ? 0 : rtd_symbol_elf_file_u32(file, wide.st_name);
    }
    memcpy(&narrow, raw, sizeof(narrow));
    return narrow.st_shndx == SHN_UNDEF ? 0 : rtd_symbol_elf_file_u32(file, narrow.st_name);
}

/* In blocks, because a symbol table may be larger than what is good to hold at once. */
static void scan_symbols(const struct rtd_symbol_elf_file *file,
                         const struct rtd_symbol_elf_section *symbols, const char *strings,
                         size_t strings_bytes, struct rtd_symbol_elf *out)
{
    unsigned char block[SYMBOL_BLOCK * sizeof(Elf64_Sym)];
    const size_t bytes = file->bits == 64 ? sizeof(Elf64_Sym) : sizeof(Elf32_Sym);
    uint64_t left = symbols->size_bytes / bytes;
    uint64_t at = symbols->offset;

    if (left > SYMBOLS_MAX)
        left = SYMBOLS_MAX;
    while (left > 0) {
        const size_t count = left < SYMBOL_BLOCK ? (size_t)left : SYMBOL_BLOCK;

        if (rtd_symbol_elf_file_read(file, at, block, count * bytes) < 0)
            break;
        for (size_t i = 0; i < count; i++) {
            const uint32_t name = defined_name(file, block + i * bytes);

            if (name > 0 && name < strings_bytes)
                note_symbol(strings + name, out);
        }
        left -= count;
        at += count * bytes;
    }
}

static int read_symbols(const struct rtd_symbol_elf_file *file,
                        const struct rtd_symbol_elf_section *symbols, struct rtd_symbol_elf *out)
{
    struct rtd_symbol_elf_section section;

    if (rtd_symbol_elf_file_section(file, symbols->link, &section) < 0 ||
        section.type != SHT_STRTAB || section.size_bytes > STRINGS_BYTES_MAX ||
        section.size_bytes > file->size_bytes)
        return 0;
    const size_t bytes = (size_t)section.size_bytes;
    char *strings = malloc(bytes + 1);
    if (!strings)
        return -ENOMEM;
    strings[bytes] = '\0';
    if (rtd_symbol_elf_file_read(file, section.offset, strings, bytes) == 0)
        scan_symbols(file, symbols, strings, bytes, out);
    free(strings);
    return 0;
}

/* Sections may be stripped away; then there is less to say, and it is no error. */
static int read_sections(const struct rtd_symbol_elf_file *file, struct rtd_symbol_elf *out)
{
    struct rtd_symbol_elf_section section;
    unsigned tables = 0;
    int err = 0;

    for (uint32_t i = 1; i < file->section_count && err == 0; i++) {
        if (rtd_symbol_elf_file_section(file, i, &section) < 0)
            break;
        out->is_go |= strcmp(section.name, ".go.buildinfo") == 0 ||
                      strcmp(section.name, ".note.go.buildid") == 0;
        out->has_agent |= strcmp(section.name, ".note.riptide") == 0;
        /* There is one of each in an honest file. */
        if ((section.type == SHT_DYNSYM || section.type == SHT_SYMTAB) && tables++ < 2)
            err = read_symbols(file, &section, out);
    }
    return err;
}

static void read_script(int fd, struct rtd_symbol_elf *out)
{
    char line[PATH_MAX + 2] = "";
    const ssize_t got = pread(fd, line, sizeof(line) - 1, 0);

    out->kind = RTD_SYMBOL_ELF_OTHER;
    if (got < 2 || line[0] != '#' || line[1] != '!')
        return;
    out->kind = RTD_SYMBOL_ELF_SCRIPT;
    const char *start = line + 2 + strspn(line + 2, " \t");
    const size_t length = strcspn(start, " \t\r\n");
    if (length < sizeof(out->interpreter)) {
        memcpy(out->interpreter, start, length);
        out->interpreter[length] = '\0';
    }
}

static void to_hex(const uint8_t *bytes, size_t count, char *out)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < count; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}

static int inspect_elf(struct rtd_symbol_elf_file *file, struct rtd_symbol_elf *out)
{
    out->bits = file->bits;
    out->big_endian = file->big_endian;
    out->type = file->type;
    out->machine = file->machine;
    read_segments(file, out);
    const int err = read_sections(file, out);
    out->build_id_bytes = rtd_symbol_elf_file_build_id(file, out->build_id);
    to_hex(out->build_id, out->build_id_bytes, out->build_id_hex);
    return err;
}

static int inspect_open(int fd, struct rtd_symbol_elf *out)
{
    struct rtd_symbol_elf_file file = {.fd = -1};
    struct stat status;

    if (fstat(fd, &status) < 0)
        return -errno;
    if (!S_ISREG(status.st_mode))
        return -EINVAL;
    out->is_setuid = (status.st_mode & S_ISUID) != 0;
    /* Without the execute bit of the group, S_ISGID means mandatory locking. */
    out->is_setgid = (status.st_mode & S_ISGID) != 0 && (status.st_mode & S_IXGRP) != 0;
    out->has_capabilities = fgetxattr(fd, "security.capability", NULL, 0) > 0;
    int err = rtd_symbol_elf_file_init(&file, fd);
    if (err == -ENOEXEC) {
        read_script(fd, out);
        err = 0;
    } else if (err == -EBADMSG) {
        out->kind = RTD_SYMBOL_ELF_BROKEN;
        err = 0;
    } else if (err == 0) {
        err = inspect_elf(&file, out);
    }
    rtd_symbol_elf_file_fini(&file);
    return err;
}

int rtd_symbol_elf_inspect(const char *path, struct rtd_symbol_elf *out)
{
    memset(out, 0, sizeof(*out));
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -errno;
    const int err = inspect_open(fd, out);
    (void)close(fd);
    return err;
}
