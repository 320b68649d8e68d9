// SPDX-License-Identifier: Apache-2.0
/*
 * unwind_image.c - from a pc to its object, its .eh_frame_hdr row and its CIE and FDE.
 *
 * Runs in:    agent (slow path, first sight of a pc), tests, fuzzers
 * Threads:    no state
 * Allocates:  never; no lock, no syscall
 * Fails:      with a negative errno; every read is confined to one readable segment
 *
 * Why only the binary search table with signed 4-byte rows relative to the header: it is what GNU
 * ld, gold, lld and mold all write. An object without it is left to "no rule".
 */
#include "unwind/unwind_image.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>

#include "unwind/unwind_cursor.h"

/* The program headers must lie in the object's first page, the only one known to be mapped. */
#define FIRST_PAGE_BYTES 4096U

/* The readable segment of the object at start that holds place, cut to [start, end). */
static int find_segment(const struct dl_find_object *object, const uint8_t *place,
                        struct rtd_unwind_image *image)
{
    const uint8_t *const start = object->dlfo_map_start;
    const uint8_t *const end = object->dlfo_map_end;
    const Elf64_Ehdr *const elf = (const Elf64_Ehdr *)(const void *)start;

    if (start == NULL || (uintptr_t)end - (uintptr_t)start < FIRST_PAGE_BYTES ||
        object->dlfo_link_map == NULL) {
        return -ENOENT;
    }
    if (elf->e_ident[0] != ELFMAG0 || elf->e_ident[1] != ELFMAG1 || elf->e_ident[2] != ELFMAG2 ||
        elf->e_ident[3] != ELFMAG3 || elf->e_ident[EI_CLASS] != ELFCLASS64 ||
        elf->e_phentsize != sizeof(Elf64_Phdr) || elf->e_phoff >= FIRST_PAGE_BYTES ||
        elf->e_phoff % _Alignof(Elf64_Phdr) != 0 ||
        elf->e_phnum * sizeof(Elf64_Phdr) > FIRST_PAGE_BYTES - elf->e_phoff) {
        return -EBADMSG;
    }

    const Elf64_Phdr *const rows = (const Elf64_Phdr *)(const void *)(start + elf->e_phoff);
    for (unsigned i = 0; i < elf->e_phnum; i++) {
        const uintptr_t low = object->dlfo_link_map->l_addr + rows[i].p_vaddr;
        const uintptr_t high = low + rows[i].p_filesz;
        if (rows[i].p_type != PT_LOAD || (rows[i].p_flags & PF_R) == 0 || high < low) {
            continue;
        }
        if ((uintptr_t)place >= low && (uintptr_t)place < high && low >= (uintptr_t)start &&
            high <= (uintptr_t)end) {
            image->low = start + (low - (uintptr_t)start);
            image->high = image->low + rows[i].p_filesz;
            image->header = place;
            return 0;
        }
    }
    return -ENOENT;
}

/* Apart from its caller so that the large result is off the stack when the program is run. */
__attribute__((noinline)) int rtd_unwind_image_find(uintptr_t pc, struct rtd_unwind_image *image)
{
    struct dl_find_object object;

    if (_dl_find_object((void *)pc, &object) != 0 || object.dlfo_eh_frame == NULL) {
        return -ENOENT;
    }
    return find_segment(&object, object.dlfo_eh_frame, image);
}

static bool is_inside(const struct rtd_unwind_image *image, uintptr_t address)
{
    return address >= (uintptr_t)image->low && address < (uintptr_t)image->high;
}

static struct rtd_unwind_cursor cursor_at(const struct rtd_unwind_image *image, uintptr_t address)
{
    return (struct rtd_unwind_cursor){
        .at = image->low + (address - (uintptr_t)image->low), .end = image->high, .bad = false};
}

/* A row of the search table: [0] = function, [1] = FDE, both relative to the header. */
static uintptr_t table_word(const struct rtd_unwind_image *image, const uint8_t *table,
                            uint64_t word)
{
    struct rtd_unwind_cursor cursor = {
        .at = table + word * 4, .end = table + word * 4 + 4, .bad = false};
    const int32_t delta = (int32_t)rtd_unwind_cursor_fixed(&cursor, 4);
    return (uintptr_t)image->header + (uintptr_t)(intptr_t)delta;
}

/* The address of the last FDE that begins at or before pc. */
static int search_table(const struct rtd_unwind_image *image, uintptr_t pc, uintptr_t *fde)
{
    struct rtd_unwind_cursor cursor = {.at = image->header, .end = image->high, .bad = false};
    const uint8_t version = (uint8_t)rtd_unwind_cursor_fixed(&cursor, 1);
    const uint8_t frame_encoding = (uint8_t)rtd_unwind_cursor_fixed(&cursor, 1);
    const uint8_t count_encoding = (uint8_t)rtd_unwind_cursor_fixed(&cursor, 1);
    const uint8_t table_encoding = (uint8_t)rtd_unwind_cursor_fixed(&cursor, 1);

    if (cursor.bad || version != 1 || count_encoding != RTD_UNWIND_PE_UDATA4 ||
        table_encoding != (RTD_UNWIND_PE_DATAREL | RTD_UNWIND_PE_SDATA4)) {
        return -EBADMSG;
    }
    if (frame_encoding != RTD_UNWIND_PE_OMIT) {
        rtd_unwind_cursor_pointer(&cursor, frame_encoding);
    }
    const uint64_t count = rtd_unwind_cursor_fixed(&cursor, 4);
    const uint8_t *const table = cursor.at;
    if (cursor.bad || count > (uint64_t)(image->high - table) / 8) {
        return -EBADMSG;
    }

    uint64_t low = 0;
    uint64_t high = count;
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (table_word(image, table, middle * 2) <= pc) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0) {
        return -ENOENT;
    }
    *fde = table_word(image, table, (low - 1) * 2 + 1);
    return 0;
}

/*
 * Opens the record (CIE or FDE) at address: a cursor over what follows its length. The 64-bit
 * length form is not written by any x86-64 toolchain and is refused.
 */
static int open_record(const struct rtd_unwind_image *image, uintptr_t address,
                       struct rtd_unwind_cursor *record)
{
    if (!is_inside(image, address)) {
        return -EBADMSG;
    }
    *record = cursor_at(image, address);
    const uint64_t length = rtd_unwind_cursor_fixed(record, 4);
    if (record->bad || length < 4 || length > (uint64_t)(record->end - record->at)) {
        return -EBADMSG;
    }
    record->end = record->at + length;
    return 0;
}

/* Reads the CIE's augmentation letters; returns whether there is augmentation data ('z'). */
static int parse_augmentation(struct rtd_unwind_cursor *record, const uint8_t *letters,
                              struct rtd_unwind_program *program)
{
    if (letters[0] != 'z') {
        return letters[0] == '\0' ? 0 : -EBADMSG;
    }

    const uint64_t size = rtd_unwind_cursor_uleb(record);
    struct rtd_unwind_cursor data = *record;
    rtd_unwind_cursor_skip(record, size);
    if (record->bad) {
        return -EBADMSG;
    }
    data.end = record->at;

    for (const uint8_t *letter = letters + 1; *letter != '\0'; letter++) {
        if (*letter == 'R') {
            program->pointer_encoding = (uint8_t)rtd_unwind_cursor_fixed(&data, 1);
        } else if (*letter == 'S') {
            program->is_signal_frame = true;
        } else if (*letter == 'L') {
            rtd_unwind_cursor_skip(&data, 1);
        } else if (*letter == 'P') {
            /* Only its size matters; what it is relative to and whether indirect does not. */
            const uint8_t encoding = (uint8_t)rtd_unwind_cursor_fixed(&data, 1);
            if ((encoding & 0x70) == RTD_UNWIND_PE_ALIGNED) {
                return -EBADMSG;
            }
            rtd_unwind_cursor_pointer(&data, encoding & 0x0f);
        } else {
            return -EBADMSG;
        }
    }
    return data.bad ? -EBADMSG : 1;
}

/* Returns 1 when FDEs of this CIE carry augmentation data, 0 when not, or -EBADMSG. */
static int parse_cie(const struct rtd_unwind_image *image, uintptr_t address,
                     struct rtd_unwind_program *program)
{
    struct rtd_unwind_cursor record;

    if (open_record(image, address, &record) < 0 || rtd_unwind_cursor_fixed(&record, 4) != 0) {
        return -EBADMSG;
    }
    const uint8_t version = (uint8_t)rtd_unwind_cursor_fixed(&record, 1);
    const uint8_t *const letters = record.at;
    while (rtd_unwind_cursor_fixed(&record, 1) != 0) {
    }
    const uint64_t code_align = rtd_unwind_cursor_uleb(&record);
    const int64_t data_align = rtd_unwind_cursor_sleb(&record);
    const uint64_t return_register =
        version == 1 ? rtd_unwind_cursor_fixed(&record, 1) : rtd_unwind_cursor_uleb(&record);
    if (record.bad || (version != 1 && version != 3) || return_register != 16 || code_align > 64 ||
        data_align < -64 || data_align > 64) {
        return -EBADMSG;
    }

    program->code_align = (uint8_t)code_align;
    program->data_align = (int8_t)data_align;
    program->pointer_encoding = RTD_UNWIND_PE_ABSPTR;
    program->is_signal_frame = false;
    const int has_data = parse_augmentation(&record, letters, program);
    program->initial = record.at;
    program->initial_end = record.end;
    return has_data;
}

int rtd_unwind_image_lookup(const struct rtd_unwind_image *image, uintptr_t pc,
                            struct rtd_unwind_program *program)
{
    uintptr_t fde = 0;
    struct rtd_unwind_cursor record;

    int status = search_table(image, pc, &fde);
    if (status < 0) {
        return status;
    }
    status = open_record(image, fde, &record);
    if (status < 0) {
        return status;
    }
    const uintptr_t field = (uintptr_t)record.at;
    const uint64_t distance = rtd_unwind_cursor_fixed(&record, 4);
    if (distance == 0 || distance > field) {
        return -EBADMSG;
    }
    const int has_data = parse_cie(image, field - distance, program);
    if (has_data < 0) {
        return has_data;
    }

    program->pc_begin = rtd_unwind_cursor_pointer(&record, program->pointer_encoding);
    const uintptr_t size = rtd_unwind_cursor_pointer(&record, program->pointer_encoding & 0x0f);
    if (has_data > 0) {
        rtd_unwind_cursor_skip(&record, rtd_unwind_cursor_uleb(&record));
    }
    if (record.bad) {
        return -EBADMSG;
    }
    if (pc < program->pc_begin || pc - program->pc_begin >= size) {
        return -ENOENT;
    }
    program->body = record.at;
    program->body_end = record.end;
    return 0;
}
