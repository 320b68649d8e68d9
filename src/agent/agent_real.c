// SPDX-License-Identifier: Apache-2.0
/*
 * agent_real.c - finds RTLD_NEXT definitions by reading the loader's tables.
 *
 * Runs in:    agent; first use may be before any constructor, from inside the dynamic loader
 * Threads:    may run in several threads at once: every writer stores the same values
 * Allocates:  never; takes no lock
 * Fails:      see fallback_* below
 *
 * Why not dlsym(RTLD_NEXT): it takes the loader's lock, and a failed look-up allocates, which
 * would re-enter malloc; optional functions (free_sized) must be looked up without failing.
 * Objects stand in the link map in load order, so "next" is what follows this object in it, other
 * agents left out: the first one in the order of search records, and the others must not stand
 * between it and the allocator. The objects read here were all mapped before the program started
 * and are never unmapped.
 */
#include "agent/agent_real.h"

#include "agent/agent_mark.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdarg.h>
#include <stdatomic.h>

#include "agent/agent_only.h"

extern ElfW(Dyn) _DYNAMIC[] __attribute__((visibility("hidden")));

/* The dynamic section of one object, its tables as run-time addresses. */
struct tables {
    const ElfW(Sym) * symbols;
    const char *strings;
    const uint32_t *gnu_hash;
    const ElfW(Versym) * versions;
};

static const void *table_address(const struct link_map *map, ElfW(Addr) value)
{
    /* glibc relocates the entries of most objects in place; the vDSO's stay relative. */
    return (const void *)(value < map->l_addr ? map->l_addr + value : value);
}

static struct tables read_tables(const struct link_map *map)
{
    struct tables out = {0};
    for (const ElfW(Dyn) *entry = map->l_ld; entry != NULL && entry->d_tag != DT_NULL; entry++) {
        const void *const address = table_address(map, entry->d_un.d_ptr);
        if (entry->d_tag == DT_SYMTAB)
            out.symbols = address;
        else if (entry->d_tag == DT_STRTAB)
            out.strings = address;
        else if (entry->d_tag == DT_GNU_HASH)
            out.gnu_hash = address;
        else if (entry->d_tag == DT_VERSYM)
            out.versions = address;
    }
    return out;
}

static uint32_t gnu_hash(const char *name)
{
    uint32_t hash = 5381;
    for (; *name != '\0'; name++)
        hash = hash * 33 + (unsigned char)*name;
    return hash;
}

static bool same(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

static bool same_magic(const ElfW(Ehdr) * header)
{
    return __builtin_memcmp(header->e_ident, ELFMAG, SELFMAG) == 0;
}

static bool is_definition(const struct tables *tables, uint32_t index, const char *name)
{
    const ElfW(Sym) *const symbol = &tables->symbols[index];
    const unsigned type = ELF64_ST_TYPE(symbol->st_info);
    if (symbol->st_shndx == SHN_UNDEF || symbol->st_value == 0)
        return false;
    if (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE)
        return false;
    if (tables->versions != NULL && (tables->versions[index] & 0x8000) != 0)
        return false; /* a hidden (old) version */
    return same(tables->strings + symbol->st_name, name);
}

static void *symbol_address(const struct link_map *map, const ElfW(Sym) * symbol)
{
    void *address = (void *)(map->l_addr + symbol->st_value);
    if (ELF64_ST_TYPE(symbol->st_info) == STT_GNU_IFUNC) {
        void *(*choose)(void);
        __builtin_memcpy(&choose, &address, sizeof choose);
        address = choose();
    }
    return address;
}

/* The definition of name in one object, or NULL. Objects without a GNU hash table are skipped. */
static void *find_in(const struct link_map *map, const char *name)
{
    const struct tables tables = read_tables(map);
    if (tables.symbols == NULL || tables.strings == NULL || tables.gnu_hash == NULL)
        return NULL;
    const uint32_t bucket_count = tables.gnu_hash[0];
    const uint32_t first = tables.gnu_hash[1];
    const uint32_t bloom_words = tables.gnu_hash[2];
    const uint32_t *const buckets =
        tables.gnu_hash + 4 + bloom_words * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
    const uint32_t *const chains = buckets + bucket_count;
    const uint32_t hash = gnu_hash(name);
    if (bucket_count == 0)
        return NULL;
    uint32_t index = buckets[hash % bucket_count];
    if (index < first)
        return NULL;
    for (;; index++) {
        const uint32_t chain = chains[index - first];
        if ((chain | 1) == (hash | 1) && is_definition(&tables, index, name))
            return symbol_address(map, &tables.symbols[index]);
        if ((chain & 1) != 0)
            return NULL;
    }
}

static const struct link_map *own_map(void)
{
    const struct link_map *map = _r_debug.r_map;
    while (map != NULL && map->l_ld != _DYNAMIC)
        map = map->l_next;
    return map;
}

/* ---- other agents ---- */

/*
 * Tells agents from allocators: one may be preloaded into a program that another is linked to. A
 * note and not a symbol, because of a program that an agent is linked into statically the linker
 * exports only what some library asks for.
 */
struct agent_note {
    ElfW(Nhdr) header;
    char name[8];
    uint32_t version;
};

enum { AGENT_NOTE_TYPE = 1 };

__attribute__((section(".note.riptide"), used,
               aligned(4))) static const struct agent_note agent_note = {
    {sizeof "Riptide", sizeof(uint32_t), AGENT_NOTE_TYPE}, "Riptide", 1};

static bool has_agent_note(const unsigned char *at, size_t length)
{
    while (length >= sizeof(ElfW(Nhdr))) {
        const ElfW(Nhdr) *const note = (const ElfW(Nhdr) *)(const void *)at;
        const size_t bytes = sizeof *note + (((size_t)note->n_namesz + 3) & ~(size_t)3) +
                             (((size_t)note->n_descsz + 3) & ~(size_t)3);
        if (bytes > length)
            break;
        if (note->n_namesz == sizeof agent_note.name &&
            same((const char *)(at + sizeof *note), agent_note.name))
            return true;
        at += bytes;
        length -= bytes;
    }
    return false;
}

/* From the program headers, which stand in the first page of any object that a linker made. */
static bool is_agent(const struct link_map *map)
{
    struct dl_find_object object;
    if (map->l_ld == _DYNAMIC)
        return true;
    if (_dl_find_object(map->l_ld, &object) != 0)
        return false;
    const unsigned char *const start = object.dlfo_map_start;
    const ElfW(Ehdr) *const header = (const ElfW(Ehdr) *)(const void *)start;
    if (!same_magic(header) || header->e_phentsize != sizeof(ElfW(Phdr)) ||
        header->e_phoff + header->e_phnum * sizeof(ElfW(Phdr)) > RTD_MARK_PAGE_BYTES)
        return false;
    const ElfW(Phdr) *const segments = (const ElfW(Phdr) *)(const void *)(start + header->e_phoff);
    for (unsigned i = 0; i < header->e_phnum; i++)
        if (segments[i].p_type == PT_NOTE &&
            has_agent_note((const unsigned char *)(map->l_addr + segments[i].p_vaddr),
                           segments[i].p_memsz))
            return true;
    return false;
}

bool rtd_real_is_second(void)
{
    const struct link_map *map = _r_debug.r_map;
    while (map != NULL && map->l_ld != _DYNAMIC && !is_agent(map))
        map = map->l_next;
    return map != NULL && map->l_ld != _DYNAMIC;
}

/* ---- the next definition ---- */

/* The first object from `map` to before `end` that defines a name, no agent; NULL: none. */
static const struct link_map *definer(const struct link_map *map, const struct link_map *end,
                                      const char *name, void **found)
{
    for (; map != end; map = map->l_next) {
        *found = find_in(map, name);
        if (*found != NULL && !is_agent(map))
            return map;
    }
    return NULL;
}

/*
 * The object that defines a name next; NULL: none. *found: the definition. An agent that came with
 * a plugin stands behind the C library, and one in a namespace of its own in no list: the first
 * definition of all serves them.
 */
static const struct link_map *next_map(const char *name, void **found)
{
    const struct link_map *const own = own_map();
    const struct link_map *const next =
        own != NULL ? definer(own->l_next, NULL, name, found) : NULL;
    return next != NULL ? next : definer(_r_debug.r_map, own, name, found);
}

bool rtd_real_is_interposed(void)
{
    for (const struct link_map *map = _r_debug.r_map; map != NULL; map = map->l_next) {
        /* Linked into a program that exports nothing, it is not what the libraries call. */
        if (map->l_ld == _DYNAMIC)
            return find_in(map, "malloc") != NULL;
        if (find_in(map, "malloc") != NULL)
            return false;
    }
    return false;
}

/* C23 functions that the allocator behind us may not have: by definition the same as free(). */
static void fallback_free_sized(void *p, size_t size)
{
    (void)size;
    rtd_real.free(p);
}

static void fallback_free_aligned_sized(void *p, size_t alignment, size_t size)
{
    (void)alignment;
    (void)size;
    rtd_real.free(p);
}

static void *fallback_reallocarray(void *p, size_t count, size_t size)
{
    size_t bytes;
    /* SIZE_MAX makes the real function fail and set ENOMEM, as reallocarray() must. */
    if (__builtin_mul_overflow(count, size, &bytes))
        bytes = SIZE_MAX;
    return rtd_real.realloc(p, bytes);
}

#ifdef RTD_LINKED_IN
/*
 * What only a dynamic loader has. Without one no allocator stands behind us: a program that is
 * linked that way (-static-pie) shall fail to link, and not to start.
 */
extern void *__tls_get_addr(void *index);
__attribute__((used)) static void *(*const needs_a_loader)(void *) = __tls_get_addr;
#endif

static void *first_malloc(size_t size)
{
    rtd_real_resolve();
    return rtd_real.malloc(size);
}

static void first_free(void *p)
{
    rtd_real_resolve();
    rtd_real.free(p);
}

static void *first_calloc(size_t count, size_t size)
{
    rtd_real_resolve();
    return rtd_real.calloc(count, size);
}

static void *first_realloc(void *p, size_t size)
{
    rtd_real_resolve();
    return rtd_real.realloc(p, size);
}

static void *first_reallocarray(void *p, size_t count, size_t size)
{
    rtd_real_resolve();
    return rtd_real.reallocarray(p, count, size);
}

static void *first_memalign(size_t alignment, size_t size)
{
    rtd_real_resolve();
    return rtd_real.memalign(alignment, size);
}

static void *first_aligned_alloc(size_t alignment, size_t size)
{
    rtd_real_resolve();
    return rtd_real.aligned_alloc(alignment, size);
}

static int first_posix_memalign(void **out, size_t alignment, size_t size)
{
    rtd_real_resolve();
    return rtd_real.posix_memalign(out, alignment, size);
}

static void *first_valloc(size_t size)
{
    rtd_real_resolve();
    return rtd_real.valloc(size);
}

static void *first_pvalloc(size_t size)
{
    rtd_real_resolve();
    return rtd_real.pvalloc(size);
}

static size_t first_usable_size(void *p)
{
    rtd_real_resolve();
    return rtd_real.malloc_usable_size(p);
}

static void first_free_sized(void *p, size_t size)
{
    rtd_real_resolve();
    rtd_real.free_sized(p, size);
}

static void first_free_aligned_sized(void *p, size_t alignment, size_t size)
{
    rtd_real_resolve();
    rtd_real.free_aligned_sized(p, alignment, size);
}

static int first_dlclose(void *handle)
{
    rtd_real_resolve();
    return rtd_real.dlclose(handle);
}

static void *first_mmap(void *address, size_t length, int protection, int flags, int fd,
                        int64_t offset)
{
    rtd_real_resolve();
    return rtd_real.mmap(address, length, protection, flags, fd, offset);
}

static int first_munmap(void *address, size_t length)
{
    rtd_real_resolve();
    return rtd_real.munmap(address, length);
}

/* Called with the fifth argument under the flags that agent_maps.c knows; else nobody looks. */
static void *first_mremap(void *address, size_t old_length, size_t length, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    void *const new_address = va_arg(arguments, void *);
    va_end(arguments);
    rtd_real_resolve();
    return rtd_real.mremap(address, old_length, length, flags, new_address);
}

static int first_brk(void *end)
{
    rtd_real_resolve();
    return rtd_real.brk(end);
}

static void *first_sbrk(intptr_t increment)
{
    rtd_real_resolve();
    return rtd_real.sbrk(increment);
}

static int first_mlockall(int flags)
{
    rtd_real_resolve();
    return rtd_real.mlockall(flags);
}

/* Each leads to a function that resolves them all and calls on. */
#define FIRST_CALLS                                                                                \
    {                                                                                              \
        .malloc = first_malloc, .free = first_free, .calloc = first_calloc,                        \
        .realloc = first_realloc, .reallocarray = first_reallocarray, .memalign = first_memalign,  \
        .aligned_alloc = first_aligned_alloc, .posix_memalign = first_posix_memalign,              \
        .valloc = first_valloc, .pvalloc = first_pvalloc, .malloc_usable_size = first_usable_size, \
        .free_sized = first_free_sized, .free_aligned_sized = first_free_aligned_sized,            \
        .dlclose = first_dlclose, .mmap = first_mmap, .mmap64 = first_mmap,                        \
        .munmap = first_munmap, .mremap = first_mremap, .brk = first_brk, .sbrk = first_sbrk,      \
        .mlockall = first_mlockall,                                                                \
    }

struct rtd_real rtd_real = FIRST_CALLS;
struct rtd_real rtd_route = FIRST_CALLS;

#define NEXT(name)                                                                                 \
    {                                                                                              \
#name, offsetof(struct rtd_real, name)                                                     \
    }

static const struct {
    const char *name;
    size_t offset;
} next_names[] = {
    NEXT(free),
    NEXT(malloc),
    NEXT(calloc),
    NEXT(realloc),
    NEXT(reallocarray),
    NEXT(memalign),
    NEXT(aligned_alloc),
    NEXT(posix_memalign),
    NEXT(valloc),
    NEXT(pvalloc),
    NEXT(malloc_usable_size),
    NEXT(free_sized),
    NEXT(free_aligned_sized),
    NEXT(dlclose),
    NEXT(mmap),
    NEXT(mmap64),
    NEXT(munmap),
    NEXT(mremap),
    NEXT(brk),
    NEXT(sbrk),
    NEXT(mlockall),
};

/* The object behind this one that defines malloc. */
static const struct link_map *malloc_map(void)
{
    void *found;
    return own_map() != NULL ? next_map("malloc", &found) : NULL;
}

bool rtd_real_is_glibc(void)
{
    static _Atomic int known; /* 0 not yet, 1 no, 2 yes; every thread finds the same */
    int answer = atomic_load_explicit(&known, memory_order_relaxed);
    if (answer == 0) {
        const struct link_map *const map = malloc_map();
        answer = map != NULL && find_in(map, "gnu_get_libc_version") != NULL ? 2 : 1;
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer == 2;
}

void *rtd_real_beside_malloc(const char *name)
{
    const struct link_map *const map = malloc_map();
    return map != NULL ? find_in(map, name) : NULL;
}

uint32_t rtd_mark_mask = RTD_MARK_MASK_OTHERS;

void rtd_real_resolve(void)
{
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(next_names); i++) {
        void *found;
        if (next_map(next_names[i].name, &found) != NULL)
            __builtin_memcpy((char *)&rtd_real + next_names[i].offset, &found, sizeof found);
    }
    rtd_mark_mask = rtd_real_is_glibc() ? RTD_MARK_MASK_GLIBC : RTD_MARK_MASK_OTHERS;
    if (rtd_real.reallocarray == first_reallocarray)
        rtd_real.reallocarray = fallback_reallocarray;
    if (rtd_real.free_sized == first_free_sized)
        rtd_real.free_sized = fallback_free_sized;
    if (rtd_real.free_aligned_sized == first_free_aligned_sized)
        rtd_real.free_aligned_sized = fallback_free_aligned_sized;
    rtd_route = rtd_real;
}

const void *rtd_real_malloc_module(void)
{
    const struct link_map *const map = malloc_map();
    return map != NULL && find_in(map, "memalign") != NULL ? map->l_ld : NULL;
}

/* What an object needs from others stands before its hashed symbols. */
static bool needs(const struct link_map *map, const char *name)
{
    const struct tables tables = read_tables(map);
    if (tables.symbols == NULL || tables.strings == NULL || tables.gnu_hash == NULL)
        return false;
    for (uint32_t i = 1; i < tables.gnu_hash[1]; i++)
        if (tables.symbols[i].st_shndx == SHN_UNDEF &&
            same(tables.strings + tables.symbols[i].st_name, name))
            return true;
    return false;
}

bool rtd_real_operators_bypass(void)
{
    static const char operator_new[] = "_Znwm";
    const struct link_map *map = malloc_map();
    if (map == NULL || find_in(map, operator_new) == NULL)
        return false;
    for (map = _r_debug.r_map; map != NULL; map = map->l_next)
        if (needs(map, operator_new))
            return true;
    return false;
}
