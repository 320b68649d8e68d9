#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Read a raw ledger or a recording, written from the documents alone, and print what is in it.

ledger_reader.py [--top N] FILE

Independent of the C reader on purpose: docs/ledger-format.md and docs/recording-format.md are right
if both print the same. Prints one block of lines for each process; sites by live sampled bytes.
"""
import ctypes
import ctypes.util
import os
import struct
import sys
import zlib

# docs/ledger-format.md, "Regions"
LEDGER_MAGIC = b"RRTDLGR1"
MODULES, NODES, TAGS, THREADS, BUCKETS, SAMPLES, SITES, MAPS, END = range(9)
REGIONS = ((512, 368), (131072, 8), (512, 128), (512, 128), (4096, 64), (32768, 32), (8192, 192),
           (1024, 64))
HEADER_BYTES, ROOTS, FRAMES = 4096, 2048, 256
PC_MASK = (1 << 47) - 1
SITE_USED = 1 << 63
# The same, "The exact part"
EXACT_PCS, EXACT_NODES, EXACT_SITES = 1 << 18, 1 << 21, 1 << 18
EXACT_BLOCKS, EXACT_LEAVES = 513, 2048
EXACT_SLOTS = 598016 + 4866048 + 598016
WRAP = 1 << 64

# docs/recording-format.md
RECORDING_MAGIC, BLOCK_MAGIC = b"RIPTIDE1", 0x4B425452
META, MODULE_ADD, TAG_ADD, NODE_ADD, VALUES, STATE, MEMORY, SERIES, SYMBOLS, FINISH = range(1, 11)
EXACT_NODE_ADD, EXACT_STATE, EXACT_DELTA, EXACT_LIVE = range(12, 16)


class Process:
    """What the printer needs of one process image."""

    def __init__(self, number):
        self.number = number
        self.nodes, self.tags, self.modules = {}, {0: ("", ""), 1: ("other", "other")}, 0
        self.sites = []    # (stack, tag, births)
        self.samples = []  # (site, size)
        self.exact = None  # in exact mode: {site: ExactSite}

    def exact_stack(self, node):
        """Follow the exact trie, {id: (parent, pc)}; of a deep stack only the innermost frames."""
        pcs = []
        for _ in range(len(self.nodes)):
            if node < ROOTS or node not in self.nodes:
                break
            node, pc = self.nodes[node]
            pcs.append(pc)
        return pcs[:FRAMES] if node < ROOTS else []

    def stack(self, node):
        """Follow the trie from a leaf to its root; an unusable id gives nothing."""
        if self.exact is not None:
            return self.exact_stack(node)
        pcs = []
        while node >= ROOTS and node in self.nodes and len(pcs) < FRAMES:
            word = self.nodes[node]
            pcs.append(word & PC_MASK)
            node = word >> 47
        return pcs if node < ROOTS else []

    def show(self, top, out):
        """Print counts and the sites that hold most."""
        live = [0] * len(self.sites)
        for site, size in self.samples if self.exact is None else ():
            live[site] += size
        for number, site in (self.exact or {}).items():
            live[number] = site.live()
        rows = []
        for (stack, tag, births), held in zip(self.sites, live):
            name = "/".join(self.tags.get(tag, self.tags[1]))
            rows.append((-held, -births, name, [f"{pc:x}" for pc in self.stack(stack)]))
        out.write(f"process {self.number}\n"
                  f"modules {self.modules}\ntags {len(self.tags) - 2}\nnodes {len(self.nodes)}\n"
                  f"samples {len(self.samples)}\nsites {len(self.sites) - 1}\n"
                  f"births {sum(site[2] for site in self.sites)}\n"
                  f"live_sampled_bytes {sum(live)}\n")
        if self.exact is not None:
            sites = self.exact.values()
            out.write(f"frees {sum(site.frees for site in sites)}\n"
                      f"temporary {sum(site.temporary for site in sites)}\n"
                      f"peak {sum(site.peak for site in sites)}\n"
                      f"aged {sum(sum(site.aged) for site in sites)}\n")
        for held, births, name, pcs in sorted(rows)[:top]:
            out.write(f"site {-held} {-births} {name} {' '.join(pcs)}\n")


class ExactSite:
    """Sums over all threads of one site in exact mode."""

    def __init__(self, fields=(0,) * 7, aged=(0,) * 15):
        (self.births, self.allocated, self.frees, self.freed, self.temporary, self.peak,
         self.large) = fields
        self.aged = list(aged)

    def live(self):
        """Bytes allocated and not freed; never negative."""
        return max(0, self.allocated - self.freed)


def text(raw):
    """A fixed field: up to the first NUL byte."""
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def regions():
    """Return the offset of each region, and the end."""
    offsets = [HEADER_BYTES]
    for count, size in REGIONS:
        offsets.append(offsets[-1] + count * size)
    return offsets


def ledger_site(data, at):
    """Return (key, births) of a site record."""
    key, _, _, births = struct.unpack_from("<QIIQ", data, at)
    return key, births


def read_common(data):
    """Return a process with what both modes have, and whether the ledger is exact."""
    offsets = regions()
    version, header_bytes, total, mode = struct.unpack_from("<IIQI", data, 8)
    exact = mode == 2
    if version != 2 or header_bytes != HEADER_BYTES or len(data) < offsets[END] or \
            total != (exact_regions()[-1] if exact else offsets[END]):
        raise ValueError("not a ledger of version 2, or cut short")
    process = Process(0)
    process.modules = sum(struct.unpack_from("<Q", data, offsets[MODULES] + 368 * i)[0] != 0
                          for i in range(512))
    for i in range(2, 512):
        at = offsets[TAGS] + 128 * i
        if struct.unpack_from("<I", data, at)[0] == 2:
            process.tags[i] = (text(data[at + 8:at + 68]), text(data[at + 68:at + 128]))
    return process, exact


def read_sampled(process, data):
    """Read the tables of sampling mode."""
    offsets = regions()
    words = struct.unpack_from("<131072Q", data, offsets[NODES])
    process.nodes = {i: word for i, word in enumerate(words) if i >= ROOTS and word & PC_MASK}
    place = {0: 0}
    process.sites.append((0, 0, ledger_site(data, offsets[SITES])[1]))
    for i in range(1, 8192):
        key, births = ledger_site(data, offsets[SITES] + 192 * i)
        if key & SITE_USED:
            place[i] = len(process.sites)
            process.sites.append((key & 0xFFFFFFFF, key >> 32 & 0x7FFFFFFF, births))
    for bucket in range(4096):
        addresses = struct.unpack_from("<7Q", data, offsets[BUCKETS] + 64 * bucket)
        for slot, address in enumerate(addresses):
            seq, interval, size, site = struct.unpack_from(
                "<IIQI", data, offsets[SAMPLES] + 32 * (bucket * 8 + slot))
            if address > 1 and seq % 2 == 0 and interval != 0 and site in place:
                process.samples.append((place[site], size))


def exact_regions():
    """Return the offsets of pcs, nodes, keys, threads, counters, lifetimes, shadow and the end."""
    pcs = regions()[END] + HEADER_BYTES
    nodes = pcs + 8 * EXACT_PCS
    keys = nodes + 8 * EXACT_NODES
    threads = keys + (8 + 4) * EXACT_SITES + 4 * EXACT_SLOTS + 8 * EXACT_LEAVES
    counters = (threads + 128 * EXACT_BLOCKS) // 4096 * 4096 + 4096
    lifetimes = counters + 64 * EXACT_BLOCKS * EXACT_SITES
    shadow = lifetimes + 64 * EXACT_BLOCKS * EXACT_SITES
    return pcs, nodes, keys, threads, counters, lifetimes, shadow, \
        shadow + 8 * EXACT_LEAVES * ((1 << 21) + 512)


def data_pages(handle, start, end):
    """Yield (offset, bytes) of each page between start and end that holds data."""
    while start < end:
        try:
            start = os.lseek(handle, start, os.SEEK_DATA)
        except OSError:
            return
        if start < end:
            yield start, os.pread(handle, 4096, start)
        start += 4096


def words_of(handle, start, count):
    """Yield (index, word) of the words that are not 0."""
    for at, page in data_pages(handle, start, start + 8 * count):
        for i, word in enumerate(struct.unpack("<512Q", page)):
            if word:
                yield (at - start) // 8 + i, word


def records_of(handle, start, site_count):
    """Yield (site, record of 64 bytes) of all blocks of counters or lifetimes."""
    for at, page in data_pages(handle, start, start + 64 * EXACT_BLOCKS * EXACT_SITES):
        for i in range(64):
            site = ((at - start) // 64 + i) % EXACT_SITES
            if site < site_count:
                yield site, page[64 * i:64 * i + 64]


def read_exact(process, handle):
    """Read the exact part: sums over threads, and the trie."""
    pcs_at, nodes_at, keys_at, _, counters_at, lifetimes_at, _, _ = exact_regions()
    header = os.pread(handle, 192, regions()[END])
    site_count = max(1, struct.unpack_from("<I", header, 16)[0])
    epoch = struct.unpack_from("<I", header, 88)[0]
    pcs = dict(words_of(handle, pcs_at, EXACT_PCS))
    for node, word in words_of(handle, nodes_at, EXACT_NODES):
        pc = pcs.get((word & 0xFFFFFFFF) - 1)
        if pc is not None:
            process.nodes[node] = (word >> 32, pc)
    keys = dict(words_of(handle, keys_at, EXACT_SITES))
    process.exact = {i: ExactSite() for i in range(site_count)}
    for number, record in records_of(handle, counters_at, site_count):
        births, allocated, frees, freed, temporary, peak, _, saved = \
            struct.unpack_from("<QQQQQqiI", record)
        site = process.exact[number]
        site.births += births
        site.allocated += allocated
        site.frees += frees
        site.freed += freed
        site.temporary += temporary
        site.peak += peak if saved == epoch and epoch else (allocated - freed)
    for number, record in records_of(handle, lifetimes_at, site_count):
        large, *aged = struct.unpack("<16I", record)
        process.exact[number].large += large
        process.exact[number].aged = [a + b for a, b in zip(process.exact[number].aged, aged)]
    live = sum(site.live() for site in process.exact.values())
    if live >= sum(site.peak for site in process.exact.values()):
        for site in process.exact.values():
            site.peak = site.live()
    for i in range(site_count):
        key = keys.get(i, 0)
        process.sites.append((key & 0xFFFFFFFF, key >> 32 & 0x7FFFFFFF, process.exact[i].births))


def read_ledger(handle):
    """Return the one process of a raw ledger, of which an exact one is a sparse file."""
    data = os.pread(handle, regions()[END], 0)
    process, exact = read_common(data)
    if exact:
        read_exact(process, handle)
    else:
        read_sampled(process, data)
    return [process]


def decompress(stored, size):
    """Decompress one zstd frame of known size with the system's library."""
    library = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
    library.ZSTD_decompress.restype = ctypes.c_size_t
    library.ZSTD_decompress.argtypes = [ctypes.c_void_p, ctypes.c_size_t,
                                        ctypes.c_char_p, ctypes.c_size_t]
    plain = ctypes.create_string_buffer(size + 1)
    if library.ZSTD_decompress(plain, size, stored, len(stored)) != size:
        raise ValueError("a compressed block does not decompress")
    return plain.raw[:size]


def blocks(data):
    """Yield (type, process, payload) of each whole block; stop at the first damage."""
    at = 64
    while at + 32 <= len(data):
        magic, kind, flags, process, stored, plain = struct.unpack_from("<IHHIII", data, at)
        payload = data[at + 32:at + 32 + stored]
        crc = zlib.crc32(payload, zlib.crc32(data[at:at + 28]))
        if magic != BLOCK_MAGIC or len(payload) != stored or \
                crc != struct.unpack_from("<I", data, at + 28)[0]:
            print(f"damaged at byte {at}", file=sys.stderr)
            return
        yield kind, process, decompress(payload, plain) if flags & 1 else payload
        at += 32 + stored


def get_text(payload, at):
    """Return (text, next offset) of a text with its length in front."""
    size = struct.unpack_from("<I", payload, at)[0]
    return payload[at + 4:at + 4 + size].decode("utf-8", "replace"), at + 4 + size


def add_tags(process, payload):
    """Apply a block of tags."""
    at = 4
    for _ in range(struct.unpack_from("<I", payload)[0]):
        number = struct.unpack_from("<I", payload, at)[0]
        component, at = get_text(payload, at + 4)
        operation, at = get_text(payload, at)
        process.tags[number] = (component, operation)


def set_state(process, payload):
    """Apply a block of sites and samples: it replaces the one before."""
    sites, samples = struct.unpack_from("<II", payload)
    process.sites = [struct.unpack_from("<II8xQ", payload, 8 + 160 * i) for i in range(sites)]
    first = 8 + 160 * sites
    process.samples = [struct.unpack_from("<QI", payload, first + 32 * i + 8)[::-1]
                       for i in range(samples)]


class Varints:
    """Numbers of seven bits a byte, lowest first."""

    def __init__(self, payload, at):
        self.payload, self.at = payload, at

    def get(self):
        """Return the next number."""
        value = shift = 0
        while True:
            byte = self.payload[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def signed(self):
        """Return the next number, which may be negative."""
        value = self.get()
        return value >> 1 ^ -(value & 1)


def add_exact_nodes(process, payload):
    """Apply a block of nodes of exact mode."""
    numbers, pc = Varints(payload, 4), 0
    for _ in range(struct.unpack_from("<I", payload)[0]):
        node, parent = numbers.get(), numbers.get()
        pc = (pc + numbers.signed()) % WRAP
        process.nodes[node] = (parent, pc)


def set_exact_sites(process, payload, whole):
    """Apply a block of sites of exact mode: all of them, or those that changed."""
    count, rows = struct.unpack_from("<II", payload)
    if whole or process.exact is None:
        process.exact, process.sites = {}, []
    for i in range(len(process.sites), count):
        process.exact[i] = ExactSite()
        process.sites.append((0, 0, 0))
    numbers, number = Varints(payload, 8), -1
    for _ in range(rows):
        number += 1 + numbers.get()
        stack, tag, _, _ = (numbers.get() for _ in range(4))
        births, allocated, frees, freed, temporary, peak, _, large, _ = \
            (numbers.get() for _ in range(9))
        present = numbers.get()
        aged = [numbers.get() if present >> k & 1 else 0 for k in range(1, 16)]
        process.exact[number] = ExactSite(
            (births, allocated, frees, freed, temporary, peak, large), aged)
        process.sites[number] = (stack, tag, births)


def read_recording(handle):
    """Return the processes of a recording that have a ledger."""
    data = os.pread(handle, os.fstat(handle).st_size, 0)
    if zlib.crc32(data[:60]) != struct.unpack_from("<I", data, 60)[0] or \
            struct.unpack_from("<II", data, 8) not in ((1, 64), (2, 64)):
        raise ValueError("not a recording of version 1 or 2")
    processes = {}
    for kind, number, payload in blocks(data):
        if kind in (SYMBOLS, FINISH) or kind > EXACT_LIVE:
            continue
        process = processes.setdefault(number, Process(number))
        if kind == MODULE_ADD:
            process.modules += struct.unpack_from("<I", payload)[0]
        elif kind == TAG_ADD:
            add_tags(process, payload)
        elif kind == NODE_ADD:
            for i in range(struct.unpack_from("<I", payload)[0]):
                node, word = struct.unpack_from("<IQ", payload, 4 + 12 * i)
                process.nodes[node] = word
        elif kind == STATE:
            set_state(process, payload)
        elif kind == EXACT_NODE_ADD:
            add_exact_nodes(process, payload)
        elif kind in (EXACT_STATE, EXACT_DELTA):
            set_exact_sites(process, payload, kind == EXACT_STATE)
        elif kind == EXACT_LIVE:
            process.samples = [None] * struct.unpack_from("<I", payload, 8)[0]
    return [processes[number] for number in sorted(processes) if processes[number].sites]


def main():
    """Read the file and print it."""
    words = sys.argv[1:]
    top = 10
    if len(words) == 3 and words[0] == "--top":
        top = int(words[1])
        words = words[2:]
    if len(words) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    handle = os.open(words[0], os.O_RDONLY | os.O_CLOEXEC)
    readers = {LEDGER_MAGIC: read_ledger, RECORDING_MAGIC: read_recording}
    reader = readers.get(os.pread(handle, 8, 0))
    if reader is None:
        print(f"{words[0]}: neither a ledger nor a recording", file=sys.stderr)
        return 1
    try:
        processes = reader(handle)
    except (ValueError, struct.error) as error:
        print(f"{words[0]}: {error}", file=sys.stderr)
        return 1
    for process in processes:
        process.show(top, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
