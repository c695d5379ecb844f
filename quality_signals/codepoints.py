"""Text as code points: the form in which the kernels read it, and what they ask of a character.

A document becomes one uint32 array; a table answers the questions of `str.isalnum`, `str.isupper` and so on
with one bit each, so that the kernels agree with the Unicode version of the running Python.
"""

from __future__ import annotations

import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.compiled import njit

CodePoints = npt.NDArray[np.uint32]

# Bits of the class table.
WORD = 1  # \w of the re module: str.isalnum() or '_'
SPACE = 2  # \s of the re module: str.isspace()
UPPER = 4  # str.isupper() of the single character
LOWER = 8  # lower or title case: makes str.isupper() of a longer string false
ALPHA = 16  # str.isalpha()
NUMERIC = 32  # str.isnumeric()
SYMBOL = 64  # punctuation of gopher@datatrove: SYMBOLS and the sentence marks
MARK = 128  # canonical combining class other than 0

# datatrove 0.10.1, utils/text.py, TERMINAL_PUNCTUATION: sentence marks of all scripts, as hexadecimal code
# points.
_TERMINAL_RANGES = (
    "21 2E 3F 589 61D-61F 6D4 700-702 7F9 837 839 83D-83E 964-965 104A-104B 1362 1367-1368 166E 1735-1736 "
    "17D4-17D6 17D9-17DA 1803 1809 1944-1945 1AA8-1AAB 1B5A-1B5B 1B5E-1B5F 1B7D-1B7E 1C3B-1C3C 1C7E-1C7F "
    "203C-203D 2047-2049 2E2E 2E3C 2E53-2E54 3002 A4FF A60E-A60F A6F3 A6F7 A876-A877 A8CE-A8CF A92F "
    "A9C8-A9C9 AA5D-AA5F AAF0-AAF1 ABEB FE52 FE56-FE57 FF01 FF0E FF1F FF61 10A56-10A57 10F55-10F59 "
    "10F86-10F89 11047-11048 110BE-110C1 11141-11143 111C5-111C6 111CD 111DE-111DF 11238-11239 "
    "1123B-1123C 112A9 1144B-1144C 115C2-115C3 115C9-115D7 11641-11642 1173C-1173E 11944 11946 "
    "11A42-11A43 11A9B-11A9C 11C41-11C42 11EF7-11EF8 11F43-11F44 16A6E-16A6F 16AF5 16B37-16B38 16B44 "
    "16E98 1BC9F 1DA88"
)
# datatrove 0.10.1, utils/text.py, PUNCTUATION: cc_net's list of Unicode punctuation (with its full-width 1),
# ASCII punctuation, and control characters.
SYMBOLS = "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»" + "".join(
    chr(c) for low, high in ((0, 9), (11, 13), (13, 32), (127, 160)) for c in range(low, high)
)


def terminal_marks() -> frozenset[str]:
    """The sentence marks of `_TERMINAL_RANGES`, 159 characters."""
    marks: set[str] = set()
    for part in _TERMINAL_RANGES.split():
        low, _, high = part.partition("-")
        marks.update(map(chr, range(int(low, 16), int(high or low, 16) + 1)))
    return frozenset(marks)


# Only these ranges hold assigned characters other than private use (Unicode 17), which have no bit set.
ASSIGNED = (range(0x40000), range(0xE0000, 0xE1000))
_SIZE = 0x110000


@lru_cache(maxsize=1)
def class_table() -> npt.NDArray[np.uint8]:
    """[1114112] uint8: the bits above for every code point.  Built once a process, in about 0.1 s."""
    table = np.zeros(_SIZE, dtype=np.uint8)
    for block in ASSIGNED:
        chars = [chr(c) for c in block]
        part = table[block.start : block.stop]

        def mark(bit: int, test: Any, chars: list[str] = chars, part: npt.NDArray[np.uint8] = part) -> None:
            part[np.fromiter(map(test, chars), dtype=bool, count=len(chars))] |= bit

        mark(WORD, str.isalnum)
        mark(SPACE, str.isspace)
        mark(UPPER, str.isupper)
        mark(LOWER, str.islower)
        mark(ALPHA, str.isalpha)
        mark(NUMERIC, str.isnumeric)
        mark(MARK, unicodedata.combining)
        title = np.fromiter(map(str.istitle, chars), dtype=bool, count=len(chars))
        part[title & (part & UPPER == 0)] |= LOWER
    table[ord("_")] |= WORD
    for symbol in terminal_marks().union(SYMBOLS):
        table[ord(symbol)] |= SYMBOL
    return table


def code_points(text: str) -> CodePoints:
    """The code points of a text, [len(text)] uint32; lone surrogates pass through."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


# Bytes of arrays that are no longer used and kept for others; a batch of 2 MB takes some 100 MB with all families.
_MOST_KEPT = 256_000_000
_LEAST_KEPT = 1 << 16  # smaller arrays come from numpy, which keeps their memory itself
_kept: OrderedDict[int, Any] = OrderedDict()  # blocks by their addresses, the one kept longest first
_of_size: dict[int, list[int]] = {}  # addresses of those of a size, the one kept longest first
_bytes_kept = [0]
_keeping = threading.RLock()  # which the end of an array may ask for while its thread has it


def _taken(sizes: Iterable[int]) -> Any:
    """A block of one of these sizes that was kept, None without."""
    with _keeping:
        for size in sizes:
            if _of_size.get(size):
                _bytes_kept[0] -= size
                return _kept.pop(_of_size[size].pop())
    return None


def _keep(block: Any) -> None:
    """Keeps a block in place of those that nobody asked for in the longest time."""
    with _keeping:
        _kept[block.address] = block
        _of_size.setdefault(block.size, []).append(block.address)
        _bytes_kept[0] += block.size
        while _bytes_kept[0] > _MOST_KEPT:
            _, old = _kept.popitem(last=False)
            _of_size[old.size].pop(0)
            _bytes_kept[0] -= old.size


class _Loan:
    """Memory of one array, which goes back to `_kept` with it."""

    __slots__ = ("__array_interface__", "_block")

    def __init__(self, size: int, kind: np.dtype[Any]) -> None:
        wanted = size * kind.itemsize
        step = 1 << (wanted.bit_length() - 3)  # sizes of which there are four to each doubling
        wanted = (wanted + step - 1) & -step
        self._block = _taken(range(wanted, 2 * wanted + 1, step)) or pa.allocate_buffer(wanted)
        self.__array_interface__ = {
            "version": 3,
            "shape": (size,),
            "typestr": kind.str,
            "data": (self._block.address, False),
        }

    def __del__(self) -> None:
        _keep(self._block)


def room(size: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """[size] of any values, in memory that the arrays of earlier batches had.

    Allocators give large arrays back to the system and pay for fresh pages each time: a sixth of the time of the rpv2
    signals.  Up to _MOST_KEPT bytes are kept, whatever the batches were.
    """
    kind = np.dtype(dtype)
    if size * kind.itemsize < _LEAST_KEPT:
        return np.empty(size, kind)
    return np.asarray(_Loan(int(size), kind))


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same for reading: of one kind whatever its buffer is, or kernels would be compiled twice."""
    array = array.view()
    array.flags.writeable = False
    return array


_FNV_OFFSET = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)


@njit()
def mix(h):  # type: ignore[no-untyped-def]
    """Spreads the bits of a 64-bit hash before its low bits choose a slot (the finaliser of MurmurHash3)."""
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    return h


@njit()
def hash_range(chars, start, end):  # type: ignore[no-untyped-def]
    """FNV-1a over code points, mixed."""
    h = _FNV_OFFSET
    for i in range(start, end):
        h = (h ^ np.uint64(chars[i])) * _FNV_PRIME
    return mix(h)


_ODD = np.uint64(0x9E3779B97F4A7C15)


@njit(error_model="numpy", forceinline=True)
def hash_stretch(points, start, end):  # type: ignore[no-untyped-def]
    """Hash of a long stretch, four characters a step; mixed."""
    a = np.uint64(end - start)
    b = _ODD
    i = start
    while i + 4 <= end:
        a = (a ^ (np.uint64(points[i]) | np.uint64(points[i + 1]) << np.uint64(32))) * _ODD
        b = (b ^ (np.uint64(points[i + 2]) | np.uint64(points[i + 3]) << np.uint64(32))) * _ODD
        a ^= a >> np.uint64(32)
        b ^= b >> np.uint64(32)
        i += 4
    while i < end:
        a = (a ^ np.uint64(points[i])) * _ODD
        i += 1
    return mix(a ^ (b + (a << np.uint64(7))))


@njit(forceinline=True)
def equal_ranges(a, a_start, b, b_start, length):  # type: ignore[no-untyped-def]
    for k in range(length):
        if a[a_start + k] != b[b_start + k]:
            return False
    return True


@njit()
def number_ranges(chars, starts, ends):  # type: ignore[no-untyped-def]
    """Numbers the distinct strings chars[starts[i]:ends[i]] in order of first occurrence.

    returns ids [n] int64 and first [distinct] int64, the index of the first occurrence.  Exact: equal hashes
    are compared character by character.  Expected time linear in the characters.
    """
    n = len(starts)
    capacity = 16
    while capacity < 2 * n:
        capacity *= 2
    mask = np.uint64(capacity - 1)
    slots = np.full(capacity, -1, dtype=np.int64)
    hashes = np.empty(n, dtype=np.uint64)
    ids = np.empty(n, dtype=np.int64)
    first = np.empty(n, dtype=np.int64)
    distinct = 0
    for i in range(n):
        length = ends[i] - starts[i]
        h = hash_range(chars, starts[i], ends[i])
        slot = h & mask
        while True:
            known = slots[slot]
            if known < 0:
                slots[slot] = distinct
                hashes[distinct] = h
                first[distinct] = i
                ids[i] = distinct
                distinct += 1
                break
            f = first[known]
            if (
                hashes[known] == h
                and ends[f] - starts[f] == length
                and equal_ranges(chars, starts[f], chars, starts[i], length)
            ):
                ids[i] = known
                break
            slot = (slot + np.uint64(1)) & mask
    return ids, first[:distinct].copy()


@njit()
def find_entry(slots, hashes, offsets, chars, text, start, end):  # type: ignore[no-untyped-def]
    """Number of the entry of a `Lexicon` that equals text[start:end], or -1."""
    if len(hashes) == 0:
        return -1
    h = hash_range(text, start, end)
    mask = np.uint64(len(slots) - 1)
    slot = h & mask
    while True:
        entry = slots[slot]
        if entry < 0:
            return -1
        if (
            hashes[entry] == h
            and offsets[entry + 1] - offsets[entry] == end - start
            and equal_ranges(chars, offsets[entry], text, start, end - start)
        ):
            return entry
        slot = (slot + np.uint64(1)) & mask


class Lexicon:
    """A set of strings that kernels can look up: open addressing over the entries' code points.

    `arrays` is what `find_entry` takes before the text.
    """

    def __init__(self, entries: frozenset[str]) -> None:
        self.entries = sorted(entries)
        points = [code_points(entry) for entry in self.entries]
        self.offsets = np.zeros(len(points) + 1, dtype=np.int64)
        np.cumsum([len(p) for p in points], out=self.offsets[1:])
        self.chars = np.concatenate(points) if points else np.zeros(0, dtype=np.uint32)
        self.hashes = np.array([hash_range(p, 0, len(p)) for p in points], dtype=np.uint64)
        capacity = 16
        while capacity < 4 * len(points):
            capacity *= 2
        self.slots = np.full(capacity, -1, dtype=np.int64)
        for number, h in enumerate(self.hashes.tolist()):
            slot = h & (capacity - 1)
            while self.slots[slot] >= 0:
                slot = (slot + 1) & (capacity - 1)
            self.slots[slot] = number

    @property
    def arrays(self) -> tuple[Any, Any, Any, Any]:
        return self.slots, self.hashes, self.offsets, self.chars


def short_keys(words: Iterable[str]) -> npt.NDArray[np.uint64]:
    """[words] what `short_key` makes of words of at most seven ASCII characters."""
    return np.array([int.from_bytes(word.encode("ascii") + b"\1", "little") for word in words], np.uint64)


@njit(error_model="numpy")
def short_key(points, start, end):  # type: ignore[no-untyped-def]
    """A word of at most seven characters as one number, another for each word of ASCII: its code points, the first
    lowest, and a 1 behind the last, so that a word that ends in NUL is another."""
    key = np.uint64(1)
    for i in range(end - 1, start - 1, -1):
        key = key << np.uint64(8) | np.uint64(min(points[np.uint64(i)], np.uint32(255)))
    return key
