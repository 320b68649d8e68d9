// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_elf_file.h - bounded reading of ELF headers, sections, notes and links.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    a file belongs to one thread
 * Allocates:  the table of section names, at most RTD_SYMBOL_ELF_NAMES_BYTES, and a page
 * Fails:      with -ENOEXEC (no ELF file), -EBADMSG (contradicts itself), -EIO, -ENOMEM
 *
 * Why pread and no mapping: a mapped file that somebody truncates is a SIGBUS. Every offset and
 * count is checked against the size of the file before it is used, and every loop has a limit that
 * does not come from the file.
 */
#ifndef RTD_SYMBOL_ELF_FILE_H
#define RTD_SYMBOL_ELF_FILE_H

#include "symbol/symbol_table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RTD_SYMBOL_ELF_SEGMENTS = 512,
    RTD_SYMBOL_ELF_SECTIONS = 65536,
    RTD_SYMBOL_ELF_NAMES_BYTES = 4 << 20,
};

struct rtd_symbol_elf_file {
    int fd; /* borrowed */
    uint64_t size_bytes;
    uint8_t bits;
    bool swapped; /* the other byte order than this machine's */
    bool big_endian;
    uint16_t type, machine;
    uint64_t segments_at, sections_at;
    uint32_t segment_count, section_count;
    uint32_t segment_bytes, section_bytes;
    char *names; /* section names, terminated; NULL when there are none */
    size_t names_bytes;
    struct rtd_symbol_elf_window *window; /* what was read last; NULL: none is kept */
};

struct rtd_symbol_elf_segment {
    uint32_t type;
    uint64_t offset, address, file_bytes, alignment;
};

struct rtd_symbol_elf_section {
    const char *name; /* "" when unnamed; lives as long as the file */
    uint32_t type, link;
    uint64_t flags, address, offset, size_bytes, entry_bytes;
};

/* Reads the header of an open regular file; the descriptor stays the caller's. Pair with _fini. */
int rtd_symbol_elf_file_init(struct rtd_symbol_elf_file *file, int fd);

/* Frees what _init allocated. */
void rtd_symbol_elf_file_fini(struct rtd_symbol_elf_file *file);

/* Reads exactly `bytes` at `offset`; -EBADMSG when they are not all inside the file. */
int rtd_symbol_elf_file_read(const struct rtd_symbol_elf_file *file, uint64_t offset, void *buffer,
                             size_t bytes);

/* Program header i < segment_count. */
int rtd_symbol_elf_file_segment(const struct rtd_symbol_elf_file *file, uint32_t i,
                                struct rtd_symbol_elf_segment *out);

/* Section header i < section_count. */
int rtd_symbol_elf_file_section(const struct rtd_symbol_elf_file *file, uint32_t i,
                                struct rtd_symbol_elf_section *out);

/* First section of that name; 0, or -ENOENT. */
int rtd_symbol_elf_file_find_section(const struct rtd_symbol_elf_file *file, const char *name,
                                     struct rtd_symbol_elf_section *out);

/* Copies the GNU build id; its length, 0 when there is none. */
size_t rtd_symbol_elf_file_build_id(const struct rtd_symbol_elf_file *file,
                                    uint8_t build_id[RTD_SYMBOL_BUILD_ID_BYTES]);

/*
 * Copies the file name in a section like .gnu_debuglink and up to `tail_bytes` of what follows the
 * name into *tail. Returns the number of tail bytes, or negative when there is no usable name.
 */
int rtd_symbol_elf_file_link(const struct rtd_symbol_elf_file *file, const char *section,
                             char name[256], uint8_t *tail, size_t tail_bytes);

/* Values in the byte order of the file. */
uint16_t rtd_symbol_elf_file_u16(const struct rtd_symbol_elf_file *file, uint16_t value);
uint32_t rtd_symbol_elf_file_u32(const struct rtd_symbol_elf_file *file, uint32_t value);
uint64_t rtd_symbol_elf_file_u64(const struct rtd_symbol_elf_file *file, uint64_t value);

#endif
