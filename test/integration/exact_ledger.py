# SPDX-License-Identifier: Apache-2.0
"""Reads the exact part of a ledger, written from its layout alone and not from the C reader.

Reads through a descriptor of the memory file and never through a mapping, and only where the file
holds data. The program must stand still, or be dead.
"""
import collections
import os
import struct

MAGIC, VERSION, PAGE = 0x3152474C44545252, 2, 4096
MODE_EXACT = 2
THREADS = 512
BLOCKS = THREADS + 1
PCS, NODES, SITES, LEAVES = 1 << 18, 1 << 21, 1 << 18, 2048
# The indexes of the three, by which the agent finds its own entries.
SLOTS = 598016 + 4866048 + 598016
LEAF_WORDS, LEAF_STRIDE = 1 << 21, (1 << 21) + 512
ROOTS = 2048
SITE_USED = 1 << 63
LOSSES = ("samples_not_stored", "samples_thinned", "stacks_truncated", "stacks_not_taken",
          "sites_overflow", "modules_overflow", "tags_overflow", "threads_overflow",
          "stale_samples", "nested_skipped", "guard_stale", "unmarked", "generations",
          "fork_unobserved", "maps_unseen")

# Offsets of the regions: first those of either mode, then the exact part's.
OFF_TAGS = PAGE + 512 * 368 + 131072 * 8
OFF_THREADS = OFF_TAGS + 512 * 128
EXACT = OFF_THREADS + THREADS * 128 + 4096 * 64 + 32768 * 32 + 8192 * 192 + 1024 * 64
OFF_PCS = EXACT + PAGE
OFF_NODES = OFF_PCS + PCS * 8
OFF_KEYS = OFF_NODES + NODES * 8
OFF_FIRST = OFF_KEYS + SITES * 8
OFF_LEAVES = OFF_FIRST + SITES * 4 + SLOTS * 4
OFF_BLOCKS = OFF_LEAVES + LEAVES * 8
OFF_COUNTERS = (OFF_BLOCKS + BLOCKS * 128 - EXACT + PAGE - 1) // PAGE * PAGE + EXACT
OFF_LIFETIMES = OFF_COUNTERS + BLOCKS * SITES * 64
OFF_SHADOW = OFF_LIFETIMES + BLOCKS * SITES * 64
TOTAL_BYTES = OFF_SHADOW + LEAVES * LEAF_STRIDE * 8

COUNTER = struct.Struct("<QQQQQqiIII")
LIFETIME = struct.Struct("<16I")
BLOCK = struct.Struct("<16Q")


class Site:
    """One stack and tag, summed over all threads."""

    def __init__(self, node, tag):
        self.node, self.tag = node, tag
        self.allocations = self.allocated_bytes = self.frees = self.freed_bytes = 0
        self.temporary = self.peak_bytes = self.peak_blocks = self.max_size = self.large = 0
        self.deaths = [0] * 16

    @property
    def live_bytes(self):
        """Bytes allocated and not freed."""
        return self.allocated_bytes - self.freed_bytes

    @property
    def live_blocks(self):
        """Blocks allocated and not freed."""
        return self.allocations - self.frees


class Ledger:
    """All figures of the exact part, at the moment of reading."""

    def __init__(self, fd):
        self.fd = fd
        self.size = os.fstat(fd).st_size
        head = self.bytes(0, PAGE)
        magic, version, _, total, self.mode = struct.unpack_from("<QIIQI", head)
        if magic != MAGIC or version != VERSION or self.mode != MODE_EXACT:
            raise ValueError("not a ledger of exact mode")
        if total != TOTAL_BYTES or self.size < TOTAL_BYTES:
            raise ValueError(f"the layout differs: {total} bytes, known are {TOTAL_BYTES}")
        self.target_pid, = struct.unpack_from("<I", head, 56)
        self.agent_state, self.agent_reason, self.agent_pid = struct.unpack_from("<III", head, 192)
        self.generation, = struct.unpack_from("<I", head, 280)
        self.losses = dict(zip(LOSSES, struct.unpack_from(f"<{len(LOSSES)}Q", head, 416)))
        exact = self.bytes(EXACT, PAGE)
        self.pc_count, self.node_count, self.site_count, self.leaf_count = \
            struct.unpack_from("<4I", exact, 8)
        self.running_live, self.peak_bytes, self.peak_ms, self.peak_epoch = \
            struct.unpack_from("<qqQI", exact, 64)
        self.hand_in_bytes, = struct.unpack_from("<Q", exact, 128)
        self.read_threads()
        self.read_sites()
        self.blocks = list(self.live_blocks_listed())

    def bytes(self, offset, size):
        """Read so many bytes."""
        parts = []
        while size > 0:
            part = os.pread(self.fd, size, offset)
            if not part:
                raise ValueError("the ledger is cut short")
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return b"".join(parts)

    def extents(self, offset, end):
        """Yield (offset, bytes) of the data in a region, leaving the holes out."""
        while offset < end:
            try:
                start = os.lseek(self.fd, offset, os.SEEK_DATA)
            except OSError:
                return
            if start >= end:
                return
            start = max(offset, start)
            stop = min(end, os.lseek(self.fd, start, os.SEEK_HOLE), start + (1 << 22))
            yield start, self.bytes(start, stop - start)
            offset = stop

    def read_threads(self):
        """Sum the blocks beside the threads."""
        self.size_class = [0] * 5
        self.unknown_frees = self.missed_frees = self.untracked = self.stack_misses = 0
        data = self.bytes(OFF_BLOCKS, BLOCKS * 128)
        for row in BLOCK.iter_unpack(data):
            for i in range(1, 5):
                self.size_class[i] += row[i]
            self.unknown_frees += row[5]
            self.missed_frees += row[6]
            self.untracked += row[7]
            self.stack_misses += row[8]

    def stack(self, node):
        """Return (return addresses leaf first, whether the outermost is there)."""
        stack = []
        while node >= ROOTS:
            word = self.nodes.get(node)
            if word is None or len(stack) > 100000:
                raise ValueError(f"node {node} leads nowhere")
            stack.append(self.pcs[(word & 0xFFFFFFFF) - 1])
            node = word >> 32
        return tuple(stack), node % 2 == 0

    def words(self, offset, count):
        """Return {index: word} of a region of 64-bit words."""
        found = {}
        for start, data in self.extents(offset, offset + count * 8):
            first = (start - offset) // 8
            for i, (word,) in enumerate(struct.iter_unpack("<Q", data)):
                if word:
                    found[first + i] = word
        return found

    def read_sites(self):
        """Read the sites, then all the counters of all the threads."""
        self.pcs, self.nodes = self.words(OFF_PCS, PCS), self.words(OFF_NODES, NODES)
        self.sites = {0: Site(1, 0)}  # the overflow site: of no known stack, as a cut one
        for index, key in self.words(OFF_KEYS, SITES).items():
            if index != 0:
                self.sites[index] = Site(key & 0xFFFFFFFF, key >> 32 & 0x7FFFFFFF)
        for start, data in self.extents(OFF_COUNTERS, OFF_LIFETIMES):
            first = (start - OFF_COUNTERS) // 64
            for i, row in enumerate(COUNTER.iter_unpack(data)):
                if any(row):
                    self.add(self.sites[(first + i) % SITES], row)
        for start, data in self.extents(OFF_LIFETIMES, OFF_SHADOW):
            first = (start - OFF_LIFETIMES) // 64
            for i, row in enumerate(LIFETIME.iter_unpack(data)):
                if any(row):
                    site = self.sites[(first + i) % SITES]
                    site.large += row[0]
                    for age in range(1, 16):
                        site.deaths[age] += row[age]
        for site in self.sites.values():
            site.deaths[0] = site.frees - sum(site.deaths[1:])
        self.size_class[0] = self.total("allocations") - sum(self.size_class[1:])

    def add(self, site, row):
        """Add one thread's counter to its site."""
        allocations, allocated, frees, freed, temporary, peak, peak_blocks, epoch, _, largest = row
        site.allocations += allocations
        site.allocated_bytes += allocated
        site.frees += frees
        site.freed_bytes += freed
        site.temporary += temporary
        is_saved = epoch == self.peak_epoch
        site.peak_bytes += peak if is_saved else allocated - freed
        site.peak_blocks += peak_blocks if is_saved else allocations - frees
        site.max_size = max(site.max_size, largest)

    def total(self, name):
        """Sum a figure over all sites."""
        return sum(getattr(site, name) for site in self.sites.values())

    def by_stack(self):
        """Return {(stack, complete): [allocations, allocated_bytes, frees, freed_bytes]}."""
        table = collections.defaultdict(lambda: [0, 0, 0, 0])
        for site in self.sites.values():
            row = table[self.stack(site.node)]
            for i, name in enumerate(("allocations", "allocated_bytes", "frees", "freed_bytes")):
                row[i] += getattr(site, name)
        return {key: row for key, row in table.items() if any(row)}

    def live_blocks_listed(self):
        """Yield (address, size, site) of every block in the shadow; call before it is closed."""
        regions = struct.unpack(f"<{LEAVES}Q", self.bytes(OFF_LEAVES, LEAVES * 8))
        for leaf, region in enumerate(regions):
            if region == 0:
                continue
            words = self.words(OFF_SHADOW + leaf * LEAF_STRIDE * 8, LEAF_STRIDE)
            for index, word in words.items():
                if word & 1 == 0:
                    continue
                size = word >> 22 & 0x1FFFF if word >> 63 else words[index + 2] >> 1
                half = 16 if word >> 21 & 1 else 0
                yield (((region - 1) << 26) + (index << 5) + half, size,
                       word >> 3 & (SITES - 1))


def descriptors(collector):
    """Yield an own descriptor of each ledger that a collector holds open."""
    folder = f"/proc/{collector}/fd"
    for name in os.listdir(folder):
        try:
            if "/memfd:" not in os.readlink(f"{folder}/{name}"):
                continue
            fd = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        yield fd


def open_ledger(collector, pid):
    """Return a descriptor of a process's ledger; the caller closes it."""
    for fd in descriptors(collector):
        head = os.pread(fd, 208, 0)
        if len(head) == 208 and struct.unpack_from("<Q", head)[0] == MAGIC and \
                pid in (struct.unpack_from("<I", head, 56)[0],
                        struct.unpack_from("<I", head, 200)[0]):
            return fd
        os.close(fd)
    raise FileNotFoundError(f"collector {collector} holds no ledger of process {pid}")


def read_ledger(collector, pid):
    """Return what a process's ledger says now."""
    fd = open_ledger(collector, pid)
    try:
        return Ledger(fd)
    finally:
        os.close(fd)
