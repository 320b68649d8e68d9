#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Read a raw ledger or a recording, written from the documents alone, and print what is in it.

ledger_reader.py [--top N] FILE

Independent of the C reader on purpose: docs/ledger-format.md and docs/recording-format.md are right
if both print the same. Prints one block of lines for each process; sites by live sampled bytes.
"""
import ctypes
import ctypes.util
import struct
import sys
import zlib

# docs/ledger-format.md, "Regions"
LEDGER_MAGIC = b"RRTDLGR1"
MODULES, NODES, TAGS, THREADS, BUCKETS, SAMPLES, SITES, END = range(8)
REGIONS = ((512, 368), (131072, 8), (512, 128), (512, 128), (4096, 64), (32768, 32), (8192, 192))
HEADER_BYTES, ROOTS, FRAMES = 4096, 2048, 256
PC_MASK = (1 << 47) - 1
SITE_USED = 1 << 63

# docs/recording-format.md
RECORDING_MAGIC, BLOCK_MAGIC = b"RIPTIDE1", 0x4B425452
META, MODULE_ADD, TAG_ADD, NODE_ADD, VALUES, STATE, MEMORY, SERIES, SYMBOLS, FINISH = range(1, 11)


class Process:
    """What the printer needs of one process image."""

    def __init__(self, number):
        self.number = number
        self.nodes, self.tags, self.modules = {}, {0: ("", ""), 1: ("other", "other")}, 0
        self.sites = []    # (stack, tag, births)
        self.samples = []  # (site, size)

    def stack(self, node):
        """Follow the trie from a leaf to its root; an unusable id gives nothing."""
        pcs = []
        while node >= ROOTS and node in self.nodes and len(pcs) < FRAMES:
            word = self.nodes[node]
            pcs.append(word & PC_MASK)
            node = word >> 47
        return pcs if node < ROOTS else []

    def show(self, top, out):
        """Print counts and the sites that hold most."""
        live = [0] * len(self.sites)
        for site, size in self.samples:
            live[site] += size
        rows = []
        for (stack, tag, births), held in zip(self.sites, live):
            name = "/".join(self.tags.get(tag, self.tags[1]))
            rows.append((-held, -births, name, [f"{pc:x}" for pc in self.stack(stack)]))
        out.write(f"process {self.number}\n"
                  f"modules {self.modules}\ntags {len(self.tags) - 2}\nnodes {len(self.nodes)}\n"
                  f"samples {len(self.samples)}\nsites {len(self.sites) - 1}\n"
                  f"births {sum(site[2] for site in self.sites)}\n"
                  f"live_sampled_bytes {sum(live)}\n")
        for held, births, name, pcs in sorted(rows)[:top]:
            out.write(f"site {-held} {-births} {name} {' '.join(pcs)}\n")


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


def read_ledger(data):
    """Return the one process of a raw ledger."""
    offsets = regions()
    version, header_bytes, total = struct.unpack_from("<IIQ", data, 8)
    if version != 1 or header_bytes != HEADER_BYTES or total != offsets[END] or len(data) < total:
        raise ValueError("not a ledger of version 1, or cut short")
    process = Process(0)
    process.modules = sum(struct.unpack_from("<Q", data, offsets[MODULES] + 368 * i)[0] != 0
                          for i in range(512))
    words = struct.unpack_from("<131072Q", data, offsets[NODES])
    process.nodes = {i: word for i, word in enumerate(words) if i >= ROOTS and word & PC_MASK}
    for i in range(2, 512):
        at = offsets[TAGS] + 128 * i
        if struct.unpack_from("<I", data, at)[0] == 2:
            process.tags[i] = (text(data[at + 8:at + 68]), text(data[at + 68:at + 128]))
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


def read_recording(data):
    """Return the processes of a recording that have a ledger."""
    if zlib.crc32(data[:60]) != struct.unpack_from("<I", data, 60)[0] or \
            struct.unpack_from("<II", data, 8) != (1, 64):
        raise ValueError("not a recording of version 1")
    processes = {}
    for kind, number, payload in blocks(data):
        if kind in (SYMBOLS, FINISH) or kind > FINISH:
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
    with open(words[0], "rb") as handle:
        data = handle.read()
    readers = {LEDGER_MAGIC: read_ledger, RECORDING_MAGIC: read_recording}
    reader = readers.get(data[:8])
    if reader is None:
        print(f"{words[0]}: neither a ledger nor a recording", file=sys.stderr)
        return 1
    try:
        processes = reader(data)
    except (ValueError, struct.error) as error:
        print(f"{words[0]}: {error}", file=sys.stderr)
        return 1
    for process in processes:
        process.show(top, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
