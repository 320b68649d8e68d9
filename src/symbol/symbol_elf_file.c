// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_elf_file.c - bounded reading of ELF headers, sections, notes and links.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    a file belongs to one thread
 * Allocates:  the table of section names
 * Fails:      see the header
 *
 * The two classes differ in layout only, so each header is read in its class and widened at once.
 */
#include "symbol/symbol_elf_file.h"

#include <byteswap.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOTE_BYTES_MAX = 64 * 1024, WINDOW_BYTES = 4096 };

/*
 * What was read last. Headers stand side by side, and one system call for each of some hundred was
 * most of the cost of opening a module.
 */
struct rtd_symbol_elf_window {
    uint64_t offset;
    size_t count;
    char bytes[WINDOW_BYTES];
};

uint16_t rtd_symbol_elf_file_u16(const struct rtd_symbol_elf_file *file, uint16_t value)
{
    return file->swapped ? (uint16_t)bswap_16(value) : value;
}

uint32_t rtd_symbol_elf_file_u32(const struct rtd_symbol_elf_file *file, uint32_t value)
{
    return file->swapped ? bswap_32(value) : value;
}

uint64_t rtd_symbol_elf_file_u64(const struct rtd_symbol_elf_file *file, uint64_t value)
{
    return file->swapped ? bswap_64(value) : value;
}

/* Reads up to `bytes`; how many there were before the end of the file, or -EIO. */
static ssize_t read_some(int fd, uint64_t offset, void *buffer, size_t bytes)
{
    size_t done = 0;

    while (done < bytes) {
        const ssize_t got = pread(fd, (char *)buffer + done, bytes - done, (off_t)(offset + done));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -EIO;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

int rtd_symbol_elf_file_read(const struct rtd_symbol_elf_file *file, uint64_t offset, void *buffer,
                             size_t bytes)
{
    struct rtd_symbol_elf_window *const window = file->window;
    ssize_t got;

    if (offset > file->size_bytes || bytes > file->size_bytes - offset)
        return -EBADMSG;
    /* Less than asked for: the file became shorter since its size was asked. */
    if (!window || bytes > sizeof(window->bytes)) {
        got = read_some(file->fd, offset, buffer, bytes);
        return got < 0 ? (int)got : (size_t)got == bytes ? 0 : -EBADMSG;
    }
    if (offset < window->offset || offset - window->offset + bytes > window->count) {
        window->count = 0;
        got = read_some(file->fd, offset, window->bytes, sizeof(window->bytes));
        if (got < 0)
            return (int)got;
        window->offset = offset;
        window->count = (size_t)got;
    }
    if (bytes > window->count - (offset - window->offset))
        return -EBADMSG;
    memcpy(buffer, window->bytes + (offset - window->offset), bytes);
    return 0;
}

/* The two header readers differ in the layout they read; everything after them is common. */
static int read_header_32(struct rtd_symbol_elf_file *file, uint32_t *names_section)
{
    Elf32_Ehdr header;
    const int err = rtd_symbol_elf_file_read(file, 0, &header, sizeof(header));

    if (err < 0)
        return err;
    file->type = rtd_symbol_elf_file_u16(file, header.e_type);
    file->machine = rtd_symbol_elf_file_u16(file, header.e_machine);
    file->segments_at = rtd_symbol_elf_file_u32(file, header.e_phoff);
    file->sections_at = rtd_symbol_elf_file_u32(file, header.e_shoff);
    file->segment_count = rtd_symbol_elf_file_u16(file, header.e_phnum);
    file->section_count = rtd_symbol_elf_file_u16(file, header.e_shnum);
    file->segment_bytes = rtd_symbol_elf_file_u16(file, header.e_phentsize);
    file->section_bytes = rtd_symbol_elf_file_u16(file, header.e_shentsize);
    *names_section = rtd_symbol_elf_file_u16(file, header.e_shstrndx);
    return file->segment_bytes >= sizeof(Elf32_Phdr) || file->segment_count == 0 ? 0 : -EBADMSG;
}

static int read_header_64(struct rtd_symbol_elf_file *file, uint32_t *names_section)
{
    Elf64_Ehdr header;
    const int err = rtd_symbol_elf_file_read(file, 0, &header, sizeof(header));

    if (err < 0)
        return err;
    file->type = rtd_symbol_elf_file_u16(file, header.e_type);
    file->machine = rtd_symbol_elf_file_u16(file, header.e_machine);
    file->segments_at = rtd_symbol_elf_file_u64(file, header.e_phoff);
    file->sections_at = rtd_symbol_elf_file_u64(file, header.e_shoff);
    file->segment_count = rtd_symbol_elf_file_u16(file, header.e_phnum);
    file->section_count = rtd_symbol_elf_file_u16(file, header.e_shnum);
    file->segment_bytes = rtd_symbol_elf_file_u16(file, header.e_phentsize);
    file->section_bytes = rtd_symbol_elf_file_u16(file, header.e_shentsize);
    *names_section = rtd_symbol_elf_file_u16(file, header.e_shstrndx);
    return file->segment_bytes >= sizeof(Elf64_Phdr) || file->segment_count == 0 ? 0 : -EBADMSG;
}

int rtd_symbol_elf_file_segment(const struct rtd_symbol_elf_file *file, uint32_t i,
                                struct rtd_symbol_elf_segment *out)
{
    const uint64_t at = file->segments_at + (uint64_t)i * file->segment_bytes;
    Elf32_Phdr narrow;
    Elf64_Phdr wide;

    if (at < file->segments_at || i >= file->segment_count)
        return -EBADMSG;
    if (file->bits == 64) {
        const int err = rtd_symbol_elf_file_read(file, at, &wide, sizeof(wide));

        *out = (struct rtd_symbol_elf_segment){
            .type = err < 0 ? PT_NULL : rtd_symbol_elf_file_u32(file, wide.p_type),
            .offset = rtd_symbol_elf_file_u64(file, err < 0 ? 0 : wide.p_offset),
            .address = rtd_symbol_elf_file_u64(file, err < 0 ? 0 : wide.p_vaddr),
            .file_bytes = rtd_symbol_elf_file_u64(file, err < 0 ? 0 : wide.p_filesz),
            .alignment = rtd_symbol_elf_file_u64(file, err < 0 ? 0 : wide.p_align)};
        return err;
    }
    const int err = rtd_symbol_elf_file_read(file, at, &narrow, sizeof(narrow));
    *out = (struct rtd_symbol_elf_segment){
        .type = err < 0 ? PT_NULL : rtd_symbol_elf_file_u32(file, narrow.p_type),
        .offset = rtd_symbol_elf_file_u32(file, err < 0 ? 0 : narrow.p_offset),
        .address = rtd_symbol_elf_file_u32(file, err < 0 ? 0 : narrow.p_vaddr),
        .file_bytes = rtd_symbol_elf_file_u32(file, err < 0 ? 0 : narrow.p_filesz),
        .alignment = rtd_symbol_elf_file_u32(file, err < 0 ? 0 : narrow.p_align)};
    return err;
}

static const char *section_name(const struct rtd_symbol_elf_file *file, uint32_t at)
{
    return file->names && at < file->names_bytes ? file->names + at : "";
}

/* Both classes as the wide one, in this machine's byte order. */
static int read_section(const struct rtd_symbol_elf_file *file, uint64_t at, Elf64_Shdr *out)
{
    Elf64_Shdr wide;
    Elf32_Shdr narrow;
    int err;

    if (file->bits == 64) {
        err = rtd_symbol_elf_file_read(file, at, &wide, sizeof(wide));
        if (err < 0)
            return err;
        *out = (Elf64_Shdr){.sh_name = rtd_symbol_elf_file_u32(file, wide.sh_name),
                            .sh_type = rtd_symbol_elf_file_u32(file, wide.sh_type),
                            .sh_link = rtd_symbol_elf_file_u32(file, wide.sh_link),
                            .sh_flags = rtd_symbol_elf_file_u64(file, wide.sh_flags),
                            .sh_addr = rtd_symbol_elf_file_u64(file, wide.sh_addr),
                            .sh_offset = rtd_symbol_elf_file_u64(file, wide.sh_offset),
                            .sh_size = rtd_symbol_elf_file_u64(file, wide.sh_size),
                            .sh_entsize = rtd_symbol_elf_file_u64(file, wide.sh_entsize)};
        return 0;
    }
    err = rtd_symbol_elf_file_read(file, at, &narrow, sizeof(narrow));
    if (err < 0)
        return err;
    *out = (Elf64_Shdr){.sh_name = rtd_symbol_elf_file_u32(file, narrow.sh_name),
                        .sh_type = rtd_symbol_elf_file_u32(file, narrow.sh_type),
                        .sh_link = rtd_symbol_elf_file_u32(file, narrow.sh_link),
                        .sh_flags = rtd_symbol_elf_file_u32(file, narrow.sh_flags),
                        .sh_addr = rtd_symbol_elf_file_u32(file, narrow.sh_addr),
                        .sh_offset = rtd_symbol_elf_file_u32(file, narrow.sh_offset),
                        .sh_size = rtd_symbol_elf_file_u32(file, narrow.sh_size),
                        .sh_entsize = rtd_symbol_elf_file_u32(file, narrow.sh_entsize)};
    return 0;
}

int rtd_symbol_elf_file_section(const struct rtd_symbol_elf_file *file, uint32_t i,
                                struct rtd_symbol_elf_section *out)
{
    const uint64_t at = file->sections_at + (uint64_t)i * file->section_bytes;
    Elf64_Shdr header;

    if (at < file->sections_at || i >= file->section_count)
        return -EBADMSG;
    const int err = read_section(file, at, &header);
    if (err < 0)
        return err;
    *out = (struct rtd_symbol_elf_section){.name = section_name(file, header.sh_name),
                                           .type = header.sh_type,
                                           .link = header.sh_link,
                                           .flags = header.sh_flags,
                                           .address = header.sh_addr,
                                           .offset = header.sh_offset,
                                           .size_bytes = header.sh_size,
                                           .entry_bytes = header.sh_entsize};
    return 0;
}

int rtd_symbol_elf_file_find_section(const struct rtd_symbol_elf_file *file, const char *name,
                                     struct rtd_symbol_elf_section *out)
{
    for (uint32_t i = 1; i < file->section_count; i++) {
        if (rtd_symbol_elf_file_section(file, i, out) < 0)
            break;
        if (strcmp(out->name, name) == 0)
            return 0;
    }
    return -ENOENT;
}

/* Counts that do not fit in the header stand in section 0. */
static int settle_counts(struct rtd_symbol_elf_file *file, uint32_t *names_section)
{
    Elf64_Shdr first;

    if (file->sections_at == 0 || file->sections_at >= file->size_bytes ||
        file->section_bytes < (file->bits == 64 ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr))) {
        file->section_count = 0;
        return 0;
    }
    if (read_section(file, file->sections_at, &first) < 0) {
        file->section_count = 0;
        return 0;
    }
    if (file->section_count == 0)
        file->section_count = first.sh_size > UINT32_MAX ? UINT32_MAX : (uint32_t)first.sh_size;
    if (*names_section == SHN_XINDEX)
        *names_section = first.sh_link;
    if (file->section_count > RTD_SYMBOL_ELF_SECTIONS)
        return -EBADMSG;
    return 0;
}

/* Without names, what is looked up by name is not found; the rest goes on. */
static int read_names(struct rtd_symbol_elf_file *file, uint32_t names_section)
{
    struct rtd_symbol_elf_section section;

    if (names_section == 0 || rtd_symbol_elf_file_section(file, names_section, &section) < 0)
        return 0;
    if (section.type != SHT_STRTAB || section.size_bytes > RTD_SYMBOL_ELF_NAMES_BYTES ||
        section.size_bytes > file->size_bytes)
        return 0;
    char *names = malloc((size_t)section.size_bytes + 1);
    if (!names)
        return -ENOMEM;
    if (rtd_symbol_elf_file_read(file, section.offset, names, (size_t)section.size_bytes) < 0) {
        free(names);
        return 0;
    }
    names[section.size_bytes] = '\0';
    file->names = names;
    file->names_bytes = (size_t)section.size_bytes;
    return 0;
}

int rtd_symbol_elf_file_init(struct rtd_symbol_elf_file *file, int fd)
{
    unsigned char ident[EI_NIDENT];
    struct stat status;
    uint32_t names_section = 0;

    *file = (struct rtd_symbol_elf_file){.fd = fd};
    if (fstat(fd, &status) < 0 || status.st_size < 0)
        return -EIO;
    file->size_bytes = (uint64_t)status.st_size;
    /* Without it, everything is read by itself. */
    file->window = malloc(sizeof(*file->window));
    if (file->window)
        file->window->offset = file->window->count = 0;
    int err = rtd_symbol_elf_file_read(file, 0, ident, sizeof(ident));
    if (err == -EIO)
        return err;
    if (err < 0 || memcmp(ident, ELFMAG, SELFMAG) != 0)
        return -ENOEXEC;
    if ((ident[EI_CLASS] != ELFCLASS32 && ident[EI_CLASS] != ELFCLASS64) ||
        (ident[EI_DATA] != ELFDATA2LSB && ident[EI_DATA] != ELFDATA2MSB))
        return -EBADMSG;
    file->bits = ident[EI_CLASS] == ELFCLASS64 ? 64 : 32;
    file->big_endian = ident[EI_DATA] == ELFDATA2MSB;
    file->swapped = file->big_endian != (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
    err = file->bits == 64 ? read_header_64(file, &names_section)
                           : read_header_32(file, &names_section);
    if (err < 0)
        return err;
    if (file->segment_count > RTD_SYMBOL_ELF_SEGMENTS)
        return -EBADMSG;
    err = settle_counts(file, &names_section);
    return err < 0 ? err : read_names(file, names_section);
}

void rtd_symbol_elf_file_fini(struct rtd_symbol_elf_file *file)
{
    free(file->names);
    file->names = NULL;
    free(file->window);
    file->window = NULL;
}

/* The build id in one area of notes; 0 when it is not there. */
static size_t build_id_in_notes(const struct rtd_symbol_elf_file *file, uint64_t offset,
                                uint64_t bytes, uint64_t alignment,
                                uint8_t build_id[RTD_SYMBOL_BUILD_ID_BYTES])
{
    const uint64_t step = alignment == 8 ? 8 : 4;
    Elf32_Nhdr note;
    char owner[4];

    if (bytes > NOTE_BYTES_MAX)
        bytes = NOTE_BYTES_MAX;
    for (uint64_t at = 0; at + sizeof(note) <= bytes;) {
        if (rtd_symbol_elf_file_read(file, offset + at, &note, sizeof(note)) < 0)
            break;
        const uint64_t name_bytes = rtd_symbol_elf_file_u32(file, note.n_namesz);
        const uint64_t data_bytes = rtd_symbol_elf_file_u32(file, note.n_descsz);
        const uint64_t name_at = at + sizeof(note);
        const uint64_t data_at = (name_at + name_bytes + step - 1) / step * step;

        if (data_at > bytes || data_bytes > bytes - data_at)
            break;
        if (rtd_symbol_elf_file_u32(file, note.n_type) == NT_GNU_BUILD_ID && name_bytes == 4 &&
            data_bytes > 0 && data_bytes <= RTD_SYMBOL_BUILD_ID_BYTES &&
            rtd_symbol_elf_file_read(file, offset + name_at, owner, 4) == 0 &&
            memcmp(owner, ELF_NOTE_GNU, 4) == 0 &&
            rtd_symbol_elf_file_read(file, offset + data_at, build_id, (size_t)data_bytes) == 0)
            return (size_t)data_bytes;
        at = (data_at + data_bytes + step - 1) / step * step;
    }
    return 0;
}

size_t rtd_symbol_elf_file_build_id(const struct rtd_symbol_elf_file *file,
                                    uint8_t build_id[RTD_SYMBOL_BUILD_ID_BYTES])
{
    struct rtd_symbol_elf_segment segment;
    struct rtd_symbol_elf_section section;
    size_t found = 0;

    for (uint32_t i = 0; i < file->segment_count && !found; i++) {
        if (rtd_symbol_elf_file_segment(file, i, &segment) < 0)
            break;
        if (segment.type == PT_NOTE)
            found = build_id_in_notes(file, segment.offset, segment.file_bytes, segment.alignment,
                                      build_id);
    }
    /* The program headers of a separate debug file point at nothing; its sections are right. */
    if (!found && rtd_symbol_elf_file_find_section(file, ".note.gnu.build-id", &section) == 0 &&
        section.type == SHT_NOTE)
        found = build_id_in_notes(file, section.offset, section.size_bytes, 4, build_id);
    return found;
}

int rtd_symbol_elf_file_link(const struct rtd_symbol_elf_file *file, const char *wanted,
                             char name[256], uint8_t *tail, size_t tail_bytes)
{
    struct rtd_symbol_elf_section section;
    uint8_t data[256 + RTD_SYMBOL_BUILD_ID_BYTES];

    if (rtd_symbol_elf_file_find_section(file, wanted, &section) < 0)
        return -ENOENT;
    const size_t bytes =
        section.size_bytes < sizeof(data) ? (size_t)section.size_bytes : sizeof(data);
    if (section.type == SHT_NOBITS ||
        rtd_symbol_elf_file_read(file, section.offset, data, bytes) < 0)
        return -EBADMSG;
    const size_t length = strnlen((const char *)data, bytes);
    if (length == 0 || length >= 256 || length == bytes)
        return -EBADMSG;
    memcpy(name, data, length + 1);
    const size_t left = bytes - length - 1;
    const size_t copied = left < tail_bytes ? left : tail_bytes;
    if (copied)
        memcpy(tail, data + length + 1, copied);
    return (int)copied;
}
