"""A Bloom filter for streams against a huge past: was this key seen?  Never a wrong no, a stated rate of wrong yes.

Blocked: the bits of a key lie in one block of 512 bits, a cache line, so that a key costs one miss of the memory and
not one a probe.  Blocks fill unevenly, which costs bits: with b keys in a block on average

    rate = sum over i of Poisson(i; b) * (1 - (1 - 1/512)^(k i))^k

and the number of bits a key is the smallest that reaches the stated rate over k = 1 ... 16 (Putze, Sanders, Singler,
"Cache-, Hash- and Space-Efficient Bloom Filters", 2007).  At 1 %: 9.9 bits a key where a filter of single bits takes
9.6; at 0.1 %: 15.5 against 14.4.

A filter is a function of the set of its keys: neither order nor how they were split over filters that are merged later
changes a bit.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from dedup.hashing import Hashes, mix64, mixed
from quality_signals.compiled import njit

BLOCK_BITS = 512
_WORDS = BLOCK_BITS // 64
_MAX_PROBES = 16
_MAGIC = b"GMBLOOM\n"
_VERSION = 1
_ALIGNED = 64
# Of a 64-bit word the low 9 bits choose a bit of the block; a mixed word is good for seven of them.
_PROBE_BITS, _PROBE_MASK, _PROBES_A_WORD = np.uint64(9), np.uint64(BLOCK_BITS - 1), 7
_C1, _C2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_HALF, _SIX, _LOW, _ONE = np.uint64(32), np.uint64(6), np.uint64(63), np.uint64(1)
# RedPajama-V2's default rate and its seed of the order of shards (RedPajama-Data @ 6d2cee9, app/src/bloomfilter.py).
REDPAJAMA_RATE, REDPAJAMA_SEED = 0.01, 42


class BloomFileError(ValueError):
    """A filter's file is damaged, cut short, or no filter; the message names it."""


def blocked_rate(bits_per_key: float, probes: int) -> float:
    """The rate of wrong yes of a full filter."""
    mean = BLOCK_BITS / bits_per_key
    keys = np.arange(int(mean + 12 * math.sqrt(mean) + 30))
    logs = keys * math.log(mean) - mean - np.array([math.lgamma(i + 1.0) for i in keys])
    filled = 1 - (1 - 1 / BLOCK_BITS) ** (probes * keys)
    return float(np.exp(logs) @ filled**probes)


@functools.cache
def parameters(rate: float) -> tuple[float, int]:
    """(bits a key, probes) of the smallest filter with that rate of wrong yes."""
    if not 1e-9 <= rate < 1:
        raise ValueError(f"the false-positive rate is {rate}, allowed is 1e-9 <= rate < 1")
    best: tuple[float, int] = (math.inf, 0)
    for probes in range(1, _MAX_PROBES + 1):
        low, high = 0.1, 1000.0
        if blocked_rate(high, probes) > rate:
            continue
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if blocked_rate(middle, probes) > rate else (low, middle)
        best = min(best, (high, probes))
    return best


@njit(inline="always")
def _block(key, blocks):  # type: ignore[no-untyped-def]
    """Of a key its state, the first word of its block, and the first probes in it."""
    state = mix64(key ^ _C1)
    return state, (((state >> _HALF) * blocks) >> _HALF) * np.uint64(_WORDS), mix64(state + _C2)


@njit(inline="always")
def _probe(slices, state, number):  # type: ignore[no-untyped-def]
    """The bit of the block that a probe looks at, and the probes that are left after it."""
    if number and number % _PROBES_A_WORD == 0:
        slices = mix64(slices ^ state)
    return slices & _PROBE_MASK, slices >> _PROBE_BITS


@njit()
def _add(keys, bits, blocks, probes):  # type: ignore[no-untyped-def]
    for i in range(keys.size):
        state, base, slices = _block(keys[i], blocks)
        for number in range(probes):
            bit, slices = _probe(slices, state, number)
            bits[base + (bit >> _SIX)] |= _ONE << (bit & _LOW)


@njit()
def _contains(keys, bits, blocks, probes, add, found):  # type: ignore[no-untyped-def]
    for i in range(keys.size):
        state, base, slices = _block(keys[i], blocks)
        missing = np.uint64(0)
        for number in range(probes):
            bit, slices = _probe(slices, state, number)
            word = base + (bit >> _SIX)
            mask = _ONE << (bit & _LOW)
            missing |= mask & ~bits[word]
            if add:
                bits[word] |= mask
        found[i] = missing == np.uint64(0)


@njit()
def _ones(bits, counts):  # type: ignore[no-untyped-def]
    for block in range(counts.size):
        total = 0
        for w in range(_WORDS):
            value = bits[block * _WORDS + w]
            while value:
                value &= value - _ONE
                total += 1
        counts[block] = total


@dataclasses.dataclass(slots=True)
class BloomFilter:
    """capacity   distinct keys for which the rate of wrong yes is as stated; more may be added, at a higher rate
    rate       the stated rate of wrong yes
    seen       keys added so far, repeated ones counted again
    key        what the keys are made of (`dedup.exact`), "" where nobody said so; it goes into the file, so that a
               filter of URLs is not asked for texts

    Keys are 64-bit hashes [n] or 128-bit digests as two words [n, 2].  Memory: capacity * bits a key / 8.
    """

    capacity: int
    rate: float
    bits: npt.NDArray[np.uint64] = dataclasses.field(repr=False, default_factory=lambda: np.zeros(0, np.uint64))
    seen: int = 0
    key: str = ""

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"the capacity is {self.capacity}, allowed is 1 or more")
        per_key, _ = parameters(self.rate)
        words = math.ceil(self.capacity * per_key / BLOCK_BITS) * _WORDS
        if words >= _WORDS << 32:
            raise ValueError(f"a filter of {self.capacity:,} keys at rate {self.rate} is beyond 256 GB: use several")
        if not self.bits.size:
            self.bits = np.zeros(words, np.uint64)
        elif self.bits.size != words:
            raise ValueError(f"a filter of {self.capacity:,} keys at rate {self.rate} has {words:,} words, not "
                             f"{self.bits.size:,}")  # fmt: skip

    @property
    def probes(self) -> int:
        return parameters(self.rate)[1]

    @property
    def _blocks(self) -> np.uint64:
        return np.uint64(self.bits.size // _WORDS)

    def add(self, keys: Hashes) -> None:
        keys = _folded(keys)
        _add(keys, self.bits, self._blocks, self.probes)
        self.seen += keys.size

    def contains(self, keys: Hashes) -> npt.NDArray[np.bool_]:
        """[n] whether each key was added, wrongly yes at the stated rate."""
        keys = _folded(keys)
        found = np.empty(keys.size, np.bool_)
        _contains(keys, self.bits, self._blocks, self.probes, False, found)
        return found

    def add_new(self, keys: Hashes) -> npt.NDArray[np.bool_]:
        """[n] whether each key was there before it was added, one after the other: repeats inside `keys` count."""
        keys = _folded(keys)
        found = np.empty(keys.size, np.bool_)
        _contains(keys, self.bits, self._blocks, self.probes, True, found)
        self.seen += keys.size
        return found

    def union(self, other: BloomFilter) -> None:
        """Adds all keys of `other`.  Raises ValueError where it has another capacity, rate or key."""
        if (other.capacity, other.rate) != (self.capacity, self.rate):
            raise ValueError(f"filters of {self.capacity:,} keys at {self.rate} and of {other.capacity:,} at "
                             f"{other.rate} cannot be merged")  # fmt: skip
        if other.key != self.key:
            raise ValueError(f"a filter of the key {self.key!r} and one of {other.key!r} cannot be merged")
        np.bitwise_or(self.bits, other.bits, out=self.bits)
        self.seen += other.seen

    def false_positive_rate(self) -> float:
        """Of a key that was never added, from the bits as they are now."""
        counts = np.empty(int(self._blocks), np.int64)
        _ones(self.bits, counts)
        return float(np.mean((counts / BLOCK_BITS) ** self.probes))

    def write(self, file: BinaryIO) -> None:
        """Header of one line of JSON, padded to 64 bytes, then the bits, little-endian."""
        data = self.bits.astype("<u8", copy=False)
        header = {
            "version": _VERSION,
            "capacity": self.capacity,
            "rate": self.rate,
            "seen": self.seen,
            "probes": self.probes,
            "blocks": int(self._blocks),
            "sha256": hashlib.sha256(data.data).hexdigest(),
            **({"key": self.key} if self.key else {}),
        }
        head = _MAGIC + json.dumps(header, sort_keys=True).encode() + b"\n"
        file.write(head + b" " * (-len(head) % _ALIGNED))
        file.write(data.data)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Under a temporary name first; the file is complete or not there."""
        temporary = f"{os.fspath(path)}.tmp"
        with open(temporary, "wb") as file:
            self.write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BloomFilter:
        """Raises BloomFileError, which names the file; OSError where it cannot be opened."""
        with Path(path).open("rb") as file:
            return cls.read(file, os.fspath(path))

    @classmethod
    def read(cls, file: BinaryIO, name: str) -> BloomFilter:
        head = file.readline() + file.readline(1 << 16)
        if not head.startswith(_MAGIC) or not head.endswith(b"\n"):
            raise BloomFileError(f"{name} is no Bloom filter")
        try:
            header = json.loads(head[len(_MAGIC) :])
            version = header["version"]
            if version != _VERSION:
                raise BloomFileError(f"{name} is of version {version}, this program reads {_VERSION}")
            file.read(-len(head) % _ALIGNED)
            data = file.read()
            found = cls(header["capacity"], header["rate"], np.frombuffer(bytearray(data[: len(data) // 8 * 8]), "<u8"),
                        header["seen"], str(header.get("key", "")))  # fmt: skip
            sound = (len(data) % 8 == 0, header["probes"], header["sha256"]) == (
                True, found.probes, hashlib.sha256(data).hexdigest()
            )  # fmt: skip
        except BloomFileError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise BloomFileError(f"{name} is damaged: {error}") from error
        if not sound:
            raise BloomFileError(f"{name} is damaged: its checksum differs")
        return found


def _folded(keys: Hashes) -> Hashes:
    keys = np.ascontiguousarray(keys, np.uint64)
    return keys[:, 0] ^ mixed(keys[:, 1]) if keys.ndim == 2 else keys


def redpajama_order(shards: Iterable[tuple[str, str]], seed: int = REDPAJAMA_SEED) -> list[tuple[str, str]]:
    """(snapshot, shard) in the order of RedPajama-V2's pass: the newest snapshot first, shards shuffled inside it.

    Snapshots are named so that the newest is the greatest (2023-14).  The shuffle is `random.Random(seed)`'s, of the
    sorted names, anew for each snapshot.
    """
    by_snapshot: dict[str, list[str]] = {}
    for snapshot, shard in shards:
        by_snapshot.setdefault(snapshot, []).append(shard)
    ordered: list[tuple[str, str]] = []
    for snapshot in sorted(by_snapshot, reverse=True):
        names = sorted(by_snapshot[snapshot])
        random.Random(seed).shuffle(names)
        ordered += [(snapshot, name) for name in names]
    return ordered


def first_seen(batches: Iterable[Hashes], filter_: BloomFilter) -> Iterable[npt.NDArray[np.bool_]]:
    """For every batch of keys, in order, whether each is met for the first time; the filter learns them."""
    return (~filter_.add_new(keys) for keys in batches)


def merged(filters: Sequence[BloomFilter]) -> BloomFilter:
    """One filter with the keys of all; they are left as they are."""
    if not filters:
        raise ValueError("no filter to merge")
    total = BloomFilter(filters[0].capacity, filters[0].rate, key=filters[0].key)
    for each in filters:
        total.union(each)
    return total
