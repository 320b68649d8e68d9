// SPDX-License-Identifier: Apache-2.0
/*
 * manager_image_modules.c - the objects that the stacks of records lie in.
 *
 * Runs in:    a program that links libriptide
 * Threads:    one at a time; takes the dynamic loader's lock for the length of a walk
 * Allocates:  never
 * Fails:      by leaving out modules beyond the image's room
 *
 * What was unloaded is not known any more when an image is made, so its frames stay without names;
 * but its unwind rules must go, for another object may lie in its place.
 */
#include "manager/manager_image.h"

#include "ledger/ledger_validity.h"

#include <link.h>
#include <string.h>

struct walk {
    struct rtd_image *image;
    unsigned long long unloaded;
};

/* Looks through a note segment for the build id. */
static void read_notes(struct rtd_image_module *module, uintptr_t at, size_t length)
{
    while (length >= sizeof(ElfW(Nhdr))) {
        const ElfW(Nhdr) *note = (const ElfW(Nhdr) *)at;
        const size_t name_bytes = ((size_t)note->n_namesz + 3) & ~(size_t)3;
        const size_t value_bytes = ((size_t)note->n_descsz + 3) & ~(size_t)3;
        const size_t bytes = sizeof *note + name_bytes + value_bytes;
        if (bytes > length)
            return;
        if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
            memcmp((const void *)(at + sizeof *note), "GNU", 4) == 0 &&
            note->n_descsz <= RTD_BUILD_ID_BYTES) {
            memcpy(module->build_id, (const void *)(at + sizeof *note + name_bytes),
                   note->n_descsz);
            module->build_id_bytes = note->n_descsz;
            return;
        }
        at += bytes;
        length -= bytes;
    }
}

static int add_module(struct dl_phdr_info *info, size_t size, void *context)
{
    struct walk *walk = context;
    struct rtd_image_module module = {.start = UINT64_MAX, .bias = info->dlpi_addr};
    if (size >= offsetof(struct dl_phdr_info, dlpi_subs) + sizeof info->dlpi_subs)
        walk->unloaded = info->dlpi_subs;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        const uintptr_t start = info->dlpi_addr + segment->p_vaddr;
        if (segment->p_type == PT_NOTE && module.build_id_bytes == 0)
            read_notes(&module, start, segment->p_memsz);
        if (segment->p_type != PT_LOAD)
            continue;
        module.start = start < module.start ? start : module.start;
        module.end = start + segment->p_memsz > module.end ? start + segment->p_memsz : module.end;
    }
    if (info->dlpi_name)
        (void)strncpy(module.name, info->dlpi_name, sizeof module.name - 1);
    struct rtd_image *image = walk->image;
    if (image->module_count < RTD_MODULE_COUNT && rtd_validity_check_module(&module))
        image->modules[image->module_count++] = module;
    return 0;
}

void rtd_image_draft_modules(struct rtd_image_draft *draft)
{
    struct rtd_image *image = draft->image;
    struct walk walk = {.image = image, .unloaded = draft->records->modules_unloaded};
    image->modules[0] = (struct rtd_image_module){.start = RTD_FUNCTION_BASE,
                                                  .end = RTD_FUNCTION_END,
                                                  .bias = RTD_FUNCTION_BASE,
                                                  .name = RTD_RECORDS_MODULE};
    image->module_count = 1;
    (void)dl_iterate_phdr(add_module, &walk);
    if (walk.unloaded != draft->records->modules_unloaded)
        rtd_unwind_flush();
    draft->records->modules_unloaded = walk.unloaded;
    rtd_validity_sort_modules(image->modules, image->module_count);
}
