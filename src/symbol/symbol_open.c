// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_open.c - opens the files of a module without being led astray by its path.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    no state
 * Allocates:  never for long
 * Fails:      see the header
 */
#include "symbol/symbol_open.h"

#include "symbol/symbol_elf_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAPS_LINES_MAX = 65536 };

#define FILE_BYTES_MAX ((off_t)4 << 30)

static const char deleted_mark[] = " (deleted)";

struct build_id {
    uint8_t bytes[RTD_SYMBOL_BUILD_ID_BYTES];
    size_t count;
};

/* The worker checks again, with another parser: this one decides what is handed over at all. */
static bool is_wanted(int fd, const uint8_t *build_id, size_t bytes)
{
    struct rtd_symbol_elf_file file;
    uint8_t found[RTD_SYMBOL_BUILD_ID_BYTES];
    bool result = false;

    if (rtd_symbol_elf_file_init(&file, fd) == 0)
        result = bytes == 0 || (rtd_symbol_elf_file_build_id(&file, found) == bytes &&
                                memcmp(found, build_id, bytes) == 0);
    rtd_symbol_elf_file_fini(&file);
    return result;
}

/* Opens an ELF file if everything about it is right; -1 otherwise. */
static int open_checked(const char *path, int more_flags, const uint8_t *build_id, size_t bytes)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | more_flags);
    struct stat status;

    if (fd < 0)
        return -1;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size > FILE_BYTES_MAX ||
        !is_wanted(fd, build_id, bytes)) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* See the top of the header about symbolic links. */
static int open_path(const char *path, const struct rtd_symbol_module *module)
{
    const int fd = open_checked(path, O_NOFOLLOW, module->build_id, module->build_id_bytes);

    if (fd >= 0 || module->build_id_bytes == 0)
        return fd;
    return open_checked(path, 0, module->build_id, module->build_id_bytes);
}

/* Without the mark that the kernel puts behind the name of a deleted file. */
static void clean_path(const char *path, char out[PATH_MAX])
{
    const size_t length = strnlen(path, PATH_MAX - 1), mark = sizeof(deleted_mark) - 1;

    memcpy(out, path, length);
    out[length] = '\0';
    if (length > mark && strcmp(out + length - mark, deleted_mark) == 0)
        out[length - mark] = '\0';
}

/* /proc/PID/exe leads to the program even when it was deleted or replaced. */
static int open_program(const struct rtd_symbol_place *place, const char *path)
{
    char link[64], target[PATH_MAX], cleaned[PATH_MAX];

    (void)snprintf(link, sizeof(link), "/proc/%d/exe", (int)place->pid);
    const ssize_t length = readlink(link, target, sizeof(target) - 1);
    if (length <= 0)
        return -1;
    target[length] = '\0';
    clean_path(target, cleaned);
    if (strcmp(cleaned, path) != 0)
        return -1;
    return open_checked(link, 0, place->module->build_id, place->module->build_id_bytes);
}

/* The same for a library, if this process is allowed to (CAP_SYS_ADMIN or checkpointing). */
static int open_mapping(const struct rtd_symbol_place *place, const char *path)
{
    char name[64], line[PATH_MAX + 256], cleaned[PATH_MAX];
    int fd = -1;

    (void)snprintf(name, sizeof(name), "/proc/%d/maps", (int)place->pid);
    FILE *maps = fopen(name, "re");
    if (!maps)
        return -1;
    for (unsigned i = 0; fd < 0 && i < MAPS_LINES_MAX && fgets(line, sizeof(line), maps); i++) {
        uint64_t start, end;
        const char *mapped = strchr(line, '/');

        line[strcspn(line, "\n")] = '\0';
        if (!mapped || sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end) != 2)
            continue;
        clean_path(mapped, cleaned);
        if (strcmp(cleaned, path) != 0)
            continue;
        (void)snprintf(name, sizeof(name), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64,
                       (int)place->pid, start, end);
        fd = open_checked(name, 0, place->module->build_id, place->module->build_id_bytes);
        /* Every mapping of the file would answer the same. */
        break;
    }
    (void)fclose(maps);
    return fd;
}

/*
 * As the process sees it first, then what it really runs, then what it has mapped, then as we see
 * it: the process may be in another mount namespace, and its files may be replaced or gone.
 */
static int open_main(const struct rtd_symbol_place *place)
{
    char path[PATH_MAX], in_root[PATH_MAX + 64];
    int fd = -1;

    if (place->module->path[0] != '/')
        return -1;
    clean_path(place->module->path, path);
    if (place->pid > 0) {
        (void)snprintf(in_root, sizeof(in_root), "/proc/%d/root%s", (int)place->pid, path);
        fd = open_path(in_root, place->module);
        /* Without a build id, the path could name a newer file than the one that runs. */
        if (fd < 0 || place->module->build_id_bytes == 0) {
            const int running = open_program(place, path);

            if (running >= 0 && fd >= 0)
                (void)close(fd);
            fd = running >= 0 ? running : fd;
        }
        if (fd < 0)
            fd = open_mapping(place, path);
    }
    return fd >= 0 ? fd : open_path(path, place->module);
}

/* The layout that every distribution uses: DIRECTORY/.build-id/xx/yyyy.debug. */
static int open_by_build_id(const char *directory, const uint8_t *build_id, size_t bytes)
{
    char path[PATH_MAX], hex[2 * RTD_SYMBOL_BUILD_ID_BYTES + 1] = "";

    if (bytes < 2 || bytes > RTD_SYMBOL_BUILD_ID_BYTES)
        return -1;
    for (size_t i = 0; i < bytes; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", build_id[i]);
    const int length =
        snprintf(path, sizeof(path), "%s/.build-id/%.2s/%s.debug", directory, hex, hex + 2);
    if (length < 0 || (size_t)length >= sizeof(path))
        return -1;
    return open_checked(path, 0, build_id, bytes);
}

/* A file beside the module, or at the same place below the debug directory. */
static int open_by_link(const struct rtd_symbol_place *place, const char *name,
                        const struct build_id *build_id)
{
    enum { BESIDE, BELOW, IN_DEBUG_DIRECTORY, PLACES };
    char path[3 * PATH_MAX], directory[PATH_MAX];
    int fd = -1;

    clean_path(place->module->path, directory);
    char *slash = strrchr(directory, '/');
    if (!slash || strchr(name, '/') || build_id->count == 0)
        return -1;
    *slash = '\0';
    for (int i = BESIDE; i < PLACES && fd < 0; i++) {
        (void)snprintf(path, sizeof(path), "%s%s%s/%s",
                       i == IN_DEBUG_DIRECTORY ? place->debug_directory : "", directory,
                       i == BELOW ? "/.debug" : "", name);
        fd = open_checked(path, O_NOFOLLOW, build_id->bytes, build_id->count);
    }
    return fd;
}

/* A file with debug information of its own needs no other. */
static int open_debug(const struct rtd_symbol_place *place, const struct rtd_symbol_elf_file *main)
{
    struct rtd_symbol_elf_section section;
    struct build_id build_id = {.count = 0};
    char name[256];

    if (rtd_symbol_elf_file_find_section(main, ".debug_info", &section) == 0)
        return -1;
    build_id.count = rtd_symbol_elf_file_build_id(main, build_id.bytes);
    int fd = open_by_build_id(place->debug_directory, build_id.bytes, build_id.count);
    if (fd < 0 && rtd_symbol_elf_file_link(main, ".gnu_debuglink", name, NULL, 0) >= 0)
        fd = open_by_link(place, name, &build_id);
    return fd;
}

/* The file that several debug files share (written by dwz); found by its build id alone. */
static int open_alt(const struct rtd_symbol_place *place, const struct rtd_symbol_elf_file *file)
{
    struct build_id build_id = {.count = 0};
    char name[256], path[PATH_MAX];

    const int bytes = rtd_symbol_elf_file_link(file, ".gnu_debugaltlink", name, build_id.bytes,
                                               sizeof(build_id.bytes));
    if (bytes < 2)
        return -1;
    int fd = open_by_build_id(place->debug_directory, build_id.bytes, (size_t)bytes);
    /* A relative name is meant from the debug file, DIRECTORY/.build-id/xx/. */
    const char *base = strstr(name, ".dwz/");
    if (fd < 0 && base) {
        (void)snprintf(path, sizeof(path), "%s/%s", place->debug_directory, base);
        fd = open_checked(path, O_NOFOLLOW, build_id.bytes, (size_t)bytes);
    }
    return fd;
}

int rtd_symbol_open_files(const struct rtd_symbol_place *place, int fds[RTD_SYMBOL_FILE_COUNT])
{
    struct rtd_symbol_elf_file file = {.fd = -1};

    for (size_t i = 0; i < RTD_SYMBOL_FILE_COUNT; i++)
        fds[i] = -1;
    fds[RTD_SYMBOL_FILE_MAIN] = open_main(place);
    if (fds[RTD_SYMBOL_FILE_MAIN] < 0)
        return -ENOENT;
    if (rtd_symbol_elf_file_init(&file, fds[RTD_SYMBOL_FILE_MAIN]) == 0)
        fds[RTD_SYMBOL_FILE_DEBUG] = open_debug(place, &file);
    if (fds[RTD_SYMBOL_FILE_DEBUG] >= 0) {
        rtd_symbol_elf_file_fini(&file);
        if (rtd_symbol_elf_file_init(&file, fds[RTD_SYMBOL_FILE_DEBUG]) < 0)
            rtd_symbol_elf_file_fini(&file);
    }
    fds[RTD_SYMBOL_FILE_ALT] = open_alt(place, &file);
    rtd_symbol_elf_file_fini(&file);
    return 0;
}

void rtd_symbol_close_files(int fds[RTD_SYMBOL_FILE_COUNT])
{
    for (size_t i = 0; i < RTD_SYMBOL_FILE_COUNT; i++) {
        if (fds[i] >= 0)
            (void)close(fds[i]);
        fds[i] = -1;
    }
}
