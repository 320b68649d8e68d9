// SPDX-License-Identifier: Apache-2.0
/*
 * agent_modules.c - see agent_modules.h.
 *
 * Runs in:    agent (slow path, and after dlclose)
 * Threads:    lock-free
 * Allocates:  never
 * Fails:      by leaving an address without a module
 */
#include "agent/agent_modules.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include "agent/agent_only.h"

struct build_id {
    const uint8_t *bytes;
    uint32_t length;
};

struct extent {
    uintptr_t start, end;
};

static bool inside(struct extent extent, uintptr_t address, size_t length)
{
    return address >= extent.start && address <= extent.end && length <= extent.end - address;
}

/* Walks one PT_NOTE segment for NT_GNU_BUILD_ID. */
static struct build_id find_note(uintptr_t at, size_t length)
{
    while (length >= sizeof(ElfW(Nhdr))) {
        const ElfW(Nhdr) *const note = (const ElfW(Nhdr) *)at;
        const size_t name_bytes = ((size_t)note->n_namesz + 3) & ~(size_t)3;
        const size_t value_bytes = ((size_t)note->n_descsz + 3) & ~(size_t)3;
        const size_t bytes = sizeof *note + name_bytes + value_bytes;
        if (bytes > length)
            break;
        if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
            __builtin_memcmp((const void *)(at + sizeof *note), "GNU", 4) == 0)
            return (struct build_id){(const uint8_t *)(at + sizeof *note + name_bytes),
                                     note->n_descsz};
        at += bytes;
        length -= bytes;
    }
    return (struct build_id){NULL, 0};
}

/* The build-id of a mapped object, read from its own headers in memory. */
static struct build_id find_build_id(struct extent extent, uintptr_t bias)
{
    const ElfW(Ehdr) *const header = (const ElfW(Ehdr) *)extent.start;
    if (!inside(extent, extent.start, sizeof *header) ||
        __builtin_memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_phentsize != sizeof(ElfW(Phdr)) ||
        !inside(extent, extent.start + header->e_phoff, header->e_phnum * sizeof(ElfW(Phdr))))
        return (struct build_id){NULL, 0};
    const ElfW(Phdr) *const segments = (const ElfW(Phdr) *)(extent.start + header->e_phoff);
    for (unsigned i = 0; i < header->e_phnum; i++) {
        const uintptr_t at = bias + segments[i].p_vaddr;
        if (segments[i].p_type != PT_NOTE || !inside(extent, at, segments[i].p_memsz))
            continue;
        const struct build_id found = find_note(at, segments[i].p_memsz);
        if (found.bytes != NULL)
            return found;
    }
    return (struct build_id){NULL, 0};
}

/* The newest entry that covers pc, or NULL. */
static const struct rtd_module *newest_at(struct rtd_ledger *ledger, uintptr_t pc)
{
    uint32_t i = atomic_load_explicit(&ledger->header.module_count, memory_order_relaxed);
    if (i > RTD_MODULE_COUNT)
        i = RTD_MODULE_COUNT;
    while (i-- > 0) {
        const struct rtd_module *const module = &ledger->modules[i];
        /* Pairs with the release in rtd_module_append(). */
        const uint64_t start = atomic_load_explicit(&module->start, memory_order_acquire);
        if (start != 0 && pc >= start && pc < module->end)
            return module;
    }
    return NULL;
}

static bool same_object(const struct rtd_module *module, const struct dl_find_object *object,
                        struct build_id id)
{
    if (module->start != (uintptr_t)object->dlfo_map_start ||
        module->end != (uintptr_t)object->dlfo_map_end || module->build_id_bytes != id.length)
        return false;
    for (uint32_t i = 0; i < id.length && i < RTD_BUILD_ID_BYTES; i++)
        if (module->build_id[i] != id.bytes[i])
            return false;
    return true;
}

void rtd_modules_note(struct rtd_ledger *ledger, uintptr_t pc)
{
    const uint32_t generation =
        atomic_load_explicit(&ledger->header.generation, memory_order_relaxed);
    const struct rtd_module *const known = newest_at(ledger, pc - 1);
    if (known != NULL && known->generation == generation)
        return;
    struct dl_find_object object;
    if (_dl_find_object((void *)(pc - 1), &object) != 0)
        return;
    const struct extent extent = {(uintptr_t)object.dlfo_map_start, (uintptr_t)object.dlfo_map_end};
    const struct build_id id = find_build_id(extent, object.dlfo_link_map->l_addr);
    if (known != NULL && same_object(known, &object, id))
        return;
    (void)rtd_module_append(ledger, &(struct rtd_module_value){
                                        .start = extent.start,
                                        .end = extent.end,
                                        .bias = object.dlfo_link_map->l_addr,
                                        .generation = generation,
                                        .build_id_bytes = id.length,
                                        .build_id = id.bytes,
                                        .name = object.dlfo_link_map->l_name,
                                    });
}

/* True when every object noted in this generation is still where it was. */
static bool all_present(struct rtd_ledger *ledger)
{
    uint32_t count = atomic_load_explicit(&ledger->header.module_count, memory_order_relaxed);
    if (count > RTD_MODULE_COUNT)
        count = RTD_MODULE_COUNT;
    for (uint32_t i = 0; i < count; i++) {
        const struct rtd_module *const module = &ledger->modules[i];
        const uint64_t start = atomic_load_explicit(&module->start, memory_order_acquire);
        struct dl_find_object object;
        if (start == 0 || newest_at(ledger, start) != module)
            continue;
        if (_dl_find_object((void *)(uintptr_t)start, &object) != 0 ||
            (uintptr_t)object.dlfo_map_start != start)
            return false;
    }
    return true;
}

void rtd_modules_closed(struct rtd_ledger *ledger)
{
    if (all_present(ledger))
        return;
    const uint32_t before =
        atomic_fetch_add_explicit(&ledger->header.generation, 1, memory_order_relaxed);
    if (before >= RTD_GENERATION_MAX)
        rtd_loss_add(ledger, RTD_LOSS_GENERATIONS, 1);
}
