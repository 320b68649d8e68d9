// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_image.c - one module opened for questions: its file, its debug file, their index.
 *
 * Runs in:    symbol worker
 * Threads:    one; the scratch is shared by all images
 * Allocates:  see the header
 * Fails:      see the header
 */
#include "symbol/symbol_image.h"

#include <elf.h>
#include <elfutils/libdwelf.h>
#include <errno.h>
#include <gelf.h>
#include <string.h>
#include <unistd.h>

static struct rtd_symbol_scratch scratch;

/* Exactly this build id: a prefix of it is another file. */
static bool has_build_id(Elf *elf, const uint8_t *build_id, size_t bytes)
{
    const void *found = NULL;
    const ssize_t length = dwelf_elf_gnu_build_id(elf, &found);

    return length > 0 && (size_t)length == bytes && memcmp(found, build_id, bytes) == 0;
}

static Elf *open_elf(int fd)
{
    /* The mapping is only read as far as it is used; a file cut short meanwhile ends this process,
     * which is expendable. */
    Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);

    if (elf && elf_kind(elf) != ELF_K_ELF) {
        elf_end(elf);
        elf = NULL;
    }
    return elf;
}

/* Debug information of the file itself is preferred; NULL when it has none. */
static Dwarf *open_dwarf(Elf *elf)
{
    Dwarf *dwarf = elf ? dwarf_begin_elf(elf, DWARF_C_READ, NULL) : NULL;
    Dwarf_CU *cu = NULL;

    if (dwarf && dwarf_get_units(dwarf, NULL, &cu, NULL, NULL, NULL, NULL) != 0) {
        dwarf_end(dwarf);
        dwarf = NULL;
    }
    return dwarf;
}

static void open_debug(struct rtd_symbol_image *image, bool names_only)
{
    const void *build_id = NULL;
    const ssize_t bytes = dwelf_elf_gnu_build_id(image->elves[RTD_SYMBOL_FILE_MAIN], &build_id);
    Elf *debug = image->elves[RTD_SYMBOL_FILE_DEBUG];

    /* What belongs to another build would give wrong lines, which is worse than none. */
    if (debug && (bytes <= 0 || !has_build_id(debug, build_id, (size_t)bytes))) {
        elf_end(debug);
        image->elves[RTD_SYMBOL_FILE_DEBUG] = NULL;
    }
    if (names_only)
        return;
    image->dwarf = open_dwarf(image->elves[RTD_SYMBOL_FILE_MAIN]);
    if (!image->dwarf)
        image->dwarf = open_dwarf(image->elves[RTD_SYMBOL_FILE_DEBUG]);
    if (!image->dwarf)
        return;
    const char *name = NULL;
    const ssize_t wanted = dwelf_dwarf_gnu_debugaltlink(image->dwarf, &name, &build_id);
    Elf *alt = image->elves[RTD_SYMBOL_FILE_ALT];
    if (wanted > 0 && alt && has_build_id(alt, build_id, (size_t)wanted)) {
        image->alt = dwarf_begin_elf(alt, DWARF_C_READ, NULL);
        if (image->alt)
            dwarf_setalt(image->dwarf, image->alt);
    }
    image->index = rtd_symbol_dwarf_new(image->dwarf);
}

int rtd_symbol_image_open(struct rtd_symbol_image *image, const int fds[RTD_SYMBOL_FILE_COUNT],
                          const struct rtd_symbol_image_options *options)
{
    int err = 0;

    memset(image, 0, sizeof(*image));
    memcpy(image->fds, fds, sizeof(image->fds));
    for (size_t i = 0; i < RTD_SYMBOL_FILE_COUNT; i++)
        if (image->fds[i] >= 0)
            image->elves[i] = open_elf(image->fds[i]);
    if (!image->elves[RTD_SYMBOL_FILE_MAIN])
        err = -ENOEXEC;
    else if (options->build_id_bytes && !has_build_id(image->elves[RTD_SYMBOL_FILE_MAIN],
                                                      options->build_id, options->build_id_bytes))
        err = -EBADMSG;
    else
        open_debug(image, options->names_only);
    if (err < 0)
        rtd_symbol_image_close(image);
    return err;
}

void rtd_symbol_image_close(struct rtd_symbol_image *image)
{
    rtd_symbol_dwarf_free(image->index);
    if (image->dwarf)
        dwarf_end(image->dwarf);
    if (image->alt)
        dwarf_end(image->alt);
    for (size_t i = 0; i < RTD_SYMBOL_FILE_COUNT; i++) {
        if (image->elves[i])
            elf_end(image->elves[i]);
        if (image->fds[i] >= 0)
            (void)close(image->fds[i]);
    }
    memset(image, 0, sizeof(*image));
    for (size_t i = 0; i < RTD_SYMBOL_FILE_COUNT; i++)
        image->fds[i] = -1;
}

static void lookup(const struct rtd_symbol_image *image, uint32_t section_type,
                   struct rtd_symbol_match *matches, size_t count)
{
    for (size_t i = RTD_SYMBOL_FILE_MAIN; i <= RTD_SYMBOL_FILE_DEBUG; i++)
        if (image->elves[i])
            rtd_symbol_lookup(image->elves[i], section_type, matches, count);
}

static bool is_plain(const char *name)
{
    return strncmp(name, "_Z", 2) != 0 && strncmp(name, "_R", 2) != 0 && !strchr(name, '(');
}

/*
 * The C library's sources name a function __libc_malloc or __strdup and export it as malloc or
 * strdup: the exported name is the one people know.
 */
static void prefer_public_name(const struct rtd_symbol_match *match, uint64_t entry,
                               struct rtd_symbol_frame *frame)
{
    const char *name = frame->function;

    if (!match->name || match->start != entry || !is_plain(name) || !is_plain(match->name))
        return;
    /* __GI_ marks the C library's own way to a function that it also exports. */
    if (strncmp(name, "__GI_", 5) == 0 ||
        rtd_symbol_underscores(match->name) < rtd_symbol_underscores(name))
        frame->function = match->name;
}

/* Debug information first; the symbol fills in what it does not name. */
static size_t frames_of(const struct rtd_symbol_image *image, const struct rtd_symbol_match *match,
                        struct rtd_symbol_frame frames[RTD_SYMBOL_FRAMES])
{
    uint64_t entry = 0;
    size_t count = 0;

    scratch.used_bytes = 0;
    if (image->index)
        count = rtd_symbol_dwarf_frames(image->index, match->offset, &scratch, frames, &entry);
    if (count > 0)
        prefer_public_name(match, entry, &frames[count - 1]);
    if (count == 0 && match->name) {
        frames[0] = (struct rtd_symbol_frame){.function = "", .file = ""};
        count = 1;
    }
    for (size_t i = 0; i < count; i++)
        if (!frames[i].function[0])
            frames[i].function = i + 1 == count && match->name
                                     ? rtd_symbol_name_demangle(&scratch, match->name)
                                     : "??";
    return count;
}

void rtd_symbol_image_frames(struct rtd_symbol_image *image, struct rtd_symbol_match *matches,
                             size_t count, rtd_symbol_image_callback callback, void *context)
{
    struct rtd_symbol_frame frames[RTD_SYMBOL_FRAMES];
    bool has_all_symbols = false;

    lookup(image, SHT_DYNSYM, matches, count);
    for (size_t i = 0; i < count; i++) {
        size_t found = frames_of(image, &matches[i], frames);
        const bool is_named = found > 0 && strcmp(frames[found - 1].function, "??") != 0;

        if (!is_named && !has_all_symbols) {
            has_all_symbols = true;
            lookup(image, SHT_SYMTAB, matches, count);
            found = frames_of(image, &matches[i], frames);
        }
        callback(context, matches[i].index, frames, found);
    }
}
