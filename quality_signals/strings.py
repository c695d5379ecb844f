"""The distinct words of all texts that a process has seen, as numbers with facts beside them.

Text repeats its words, and what a family asks of a word (how a tokenizer divides it, its lower case, its letters) is a
function of the word alone.  So a string gets a number when it is first seen, facts are computed once for each, and a
batch is left with numbers: what the families count are sums over them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.codepoints import mix, read_only, room
from quality_signals.compiled import njit
from quality_signals.text_batch import TextBatch, decode

Bytes = npt.NDArray[np.uint8]
Ids = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
# As an index it spares numba the question whether it is negative.
U = np.uint64

# Strings that a table remembers before a new one begins, and their bytes together.  With the facts of all families that
# is some 250 bytes a string, so 150 MB.  The strings of one batch may go beyond.
MAX_STRINGS = 600_000
MAX_BYTES = 12_000_000

_MOST_SHARED = 1_000_000  # bytes of strings whose views are kept for the next that asks
_ODD = U(0x9E3779B97F4A7C15)
_CACHE_LINE = 64  # bytes
# Rows for which there is room where a table grows.  Memory that nobody writes to costs nothing, and moving all tables
# of a vocabulary to fresh memory costs as much as a batch.
_FEWEST = 1 << 17
_BLOCK = 64  # strings whose places in the table are loaded together


@njit(error_model="numpy")
def load8(utf8, i):  # type: ignore[no-untyped-def]
    """Eight bytes from i on, the first lowest; one instruction."""
    return (
        U(utf8[i])
        | U(utf8[i + U(1)]) << U(8)
        | U(utf8[i + U(2)]) << U(16)
        | U(utf8[i + U(3)]) << U(24)
        | U(utf8[i + U(4)]) << U(32)
        | U(utf8[i + U(5)]) << U(40)
        | U(utf8[i + U(6)]) << U(48)
        | U(utf8[i + U(7)]) << U(56)
    )


@njit(error_model="numpy")
def _same_bytes(a, at, b, start, size):  # type: ignore[no-untyped-def]
    """Whether a[at:at + size] and b[start:start + size] are equal, more than eight bytes each."""
    k = U(0)
    while k + U(8) < size:
        if load8(a, at + k) != load8(b, start + k):
            return False
        k += U(8)
    return load8(a, at + size - U(8)) == load8(b, start + size - U(8))


@njit(error_model="numpy")
def _intern(utf8, starts, ends, at, ids, slots, keys, bounds, chars, lengths, known):  # type: ignore[no-untyped-def]
    """Numbers of the strings utf8[starts[k]:ends[k]] from k = at on; new ones are added.

    slots: the upper half of a hash and one more than the string's number, 0 where empty.
    keys: the bytes of a string of at most eight, else a hash.  chars: bytes of string s at bounds[s]:bounds[s + 1].
    Returns the string at which the table is full, or their number, and the strings now known.

    The table is larger than the cache.  So the slots of a block of strings are loaded before any is looked at: the
    loads do not wait for each other.
    """
    mask = U(len(slots) - 1)
    limit = U(len(utf8))
    block_keys, hashes, loaded = (np.empty(_BLOCK, np.uint64), np.empty(_BLOCK, np.uint64), np.empty(_BLOCK, np.uint64))
    for block in range(at, len(starts), _BLOCK):
        count = min(len(starts) - block, _BLOCK)
        for j in range(count):
            start = U(starts[U(block + j)])
            size = U(ends[U(block + j)]) - start
            if size <= U(8):
                if start + U(8) <= limit:
                    key = load8(utf8, start) << (U(64) - U(8) * size) >> (U(64) - U(8) * size) if size else U(0)
                else:
                    key = U(0)
                    for i in range(size):
                        key |= U(utf8[start + i]) << (U(8) * i)
            else:
                key = (size ^ load8(utf8, start)) * _ODD
                i = U(8)
                while i + U(8) < size:
                    key = (key ^ key >> U(32) ^ load8(utf8, start + i)) * _ODD
                    i += U(8)
                key = (key ^ key >> U(32) ^ load8(utf8, start + size - U(8))) * _ODD
            block_keys[U(j)] = key
            hashes[U(j)] = mix(key)
        for j in range(count):
            loaded[U(j)] = slots[hashes[U(j)] & mask]
        for j in range(count):
            start = U(starts[U(block + j)])
            size = U(ends[U(block + j)]) - start
            key = block_keys[U(j)]
            slot = hashes[U(j)] & mask
            tag = hashes[U(j)] >> U(32) << U(32)
            number = np.int64(-1)
            found = loaded[U(j)]
            if not found:  # or taken by a string of this block
                found = slots[slot]
            while found:
                if found & U(0xFFFFFFFF00000000) == tag:
                    number = np.int64(found & U(0xFFFFFFFF)) - 1
                    other = U(bounds[U(number)])
                    if keys[U(number)] == key and U(bounds[U(number + 1)]) - other == size:
                        if size <= U(8) or _same_bytes(chars, other, utf8, start, size):
                            break
                    number = np.int64(-1)
                slot = (slot + U(1)) & mask
                found = slots[slot]
            if number < 0:
                number = known
                low = bounds[number]
                if 2 * known >= len(slots) or known >= len(lengths) or low + np.int64(size) > len(chars):
                    return np.int64(block + j), known
                slots[slot] = tag | U(number + 1)
                keys[number] = key
                bounds[number + 1] = low + np.int64(size)
                length = 0
                for i in range(size):
                    c = utf8[start + i]
                    chars[U(low) + i] = c
                    length += (c & 0xC0) != 0x80
                lengths[number] = length
                known += 1
            ids[U(block + j)] = number
    return len(starts), known


@njit(error_model="numpy")
def _move(slots, larger):  # type: ignore[no-untyped-def]
    """Puts what is in the slots into an empty table of more; the low bits of the hashes are `keys`' to give."""
    mask = U(len(larger) - 1)
    for number in range(len(slots)):
        slot = mix(slots[number]) & mask
        while larger[slot]:
            slot = (slot + U(1)) & mask
        larger[slot] = U(number + 1) | mix(slots[number]) >> U(32) << U(32)


@njit(error_model="numpy")
def _gather(chars, bounds, numbers, utf8):  # type: ignore[no-untyped-def]
    """Fills utf8 with the bytes of the strings of these numbers, one behind the other."""
    at = U(0)
    for k in range(len(numbers)):
        for i in range(U(bounds[numbers[k]]), U(bounds[numbers[k] + 1])):
            utf8[at] = chars[i]
            at += U(1)


def roomier(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """The array, or one of at least twice its size, and _FEWEST, with its values in front."""
    if size <= len(array):
        return array
    larger = _zeros((max(size, 2 * len(array), _FEWEST), *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger


def _zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Zeros that begin with a cache line: a row of facts of half a line or a whole one is then in no other."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    whole = np.zeros(size + _CACHE_LINE, np.uint8)
    first = -whole.ctypes.data % _CACHE_LINE
    return whole[first : first + size].view(dtype).reshape(shape)


class Strings:
    """Distinct strings; string s is utf8[bounds[s]:bounds[s + 1]].

    lengths  [strings] int32, code points.  All arrays have room beyond `known`, and stay as they are for who holds them
    while others add strings.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self.lock = lock
        self.known = 0
        self.utf8: Bytes = np.zeros(1 << 15, np.uint8)
        self.bounds: Ints = np.zeros((1 << 11) + 1, np.int64)
        self.lengths: Ids = np.zeros(1 << 11, np.int32)
        self._keys = np.zeros(1 << 11, np.uint64)
        self._slots = np.zeros(1 << 13, np.uint64)
        self._facts: dict[Any, tuple[int, npt.NDArray[Any]]] = {}
        self._part: tuple[int, int, TextBatch] | None = None

    @property
    def full(self) -> bool:
        return self.known > MAX_STRINGS or self.bounds[self.known] > MAX_BYTES

    def numbers(self, utf8: Bytes, starts: Ints, ends: Ints) -> Ids:
        """[strings] int32: the number of each utf8[starts[k]:ends[k]]; unknown ones get one."""
        ids = room(len(starts), np.int32)
        at = 0
        utf8 = read_only(utf8)
        with self.lock:
            while True:
                table = (self._slots, self._keys, self.bounds, self.utf8, self.lengths, self.known)
                at, self.known = _intern(utf8, starts, ends, at, ids, *table)
                if at == len(starts):
                    return ids
                self._grow(int(ends[at] - starts[at]))

    def numbers_of(self, strings: list[str]) -> Ids:
        """The same for Python's strings."""
        raw = [each.encode() for each in strings]
        ends = np.cumsum([len(each) for each in raw], dtype=np.int64)
        starts = np.append(0, ends)[: len(ends)]
        utf8 = np.frombuffer(b"".join(raw), np.uint8)
        return self.numbers(utf8, starts, ends)

    def numbers_at(self, points: npt.NDArray[np.uint32], starts: Ints, ends: Ints) -> Ids:
        """The same for strings given in code points."""
        return self.numbers_in(np.frombuffer(points.tobytes().decode("utf-32-le").encode(), np.uint8), starts, ends)

    def numbers_in(self, utf8: Bytes, starts: Ints, ends: Ints) -> Ids:
        """The same for the code points starts[k]:ends[k] of the UTF-8."""
        if len(utf8) and utf8.max() >= 0x80:
            places = np.append(np.flatnonzero((utf8 & 0xC0) != 0x80), len(utf8))
            starts, ends = places[starts], places[ends]
        return self.numbers(utf8, np.ascontiguousarray(starts), np.ascontiguousarray(ends))

    def gather(self, numbers: Ids) -> tuple[Bytes, Ints]:
        """The bytes of these strings, one behind the other, and [strings + 1] where each begins in them."""
        offsets = np.zeros(len(numbers) + 1, np.int64)
        np.cumsum(self.bounds[numbers + 1] - self.bounds[numbers], out=offsets[1:])
        utf8 = np.empty(int(offsets[-1]), np.uint8)
        _gather(self.utf8, self.bounds, numbers, utf8)
        return utf8, offsets

    def strings(self, numbers: Ids) -> list[str]:
        """The strings of these numbers."""
        utf8, offsets = self.gather(numbers)
        whole, bounds = utf8.tobytes(), offsets.tolist()
        return [whole[low:high].decode() for low, high in zip(bounds[:-1], bounds[1:], strict=True)]

    def points(self, numbers: Ids) -> npt.NDArray[np.uint32]:
        """Their code points, one string behind the other."""
        return decode(self.gather(numbers)[0])

    def _grow(self, size: int) -> None:
        """Room for more strings, of which the next has `size` bytes."""
        known = self.known
        self.lengths = roomier(self.lengths, known + 1)
        self._keys = roomier(self._keys, known + 1)
        self.bounds = roomier(self.bounds, len(self.lengths) + 1)
        self.utf8 = roomier(self.utf8, int(self.bounds[known]) + size)
        if 2 * known >= len(self._slots):
            larger = np.zeros(2 * len(self._slots), np.uint64)
            _move(self._keys[:known], larger)
            self._slots = larger

    def part(self, first: int, last: int) -> TextBatch:
        """Strings first:last as texts; facts of one batch share their views."""
        if self._part is not None and self._part[:2] == (first, last):
            return self._part[2]
        offsets = self.bounds[first : last + 1].copy()
        data = self.utf8[offsets[0] : offsets[-1]].copy()
        column = pa.LargeStringArray.from_buffers(last - first, pa.py_buffer(offsets - offsets[0]), pa.py_buffer(data))
        points = np.zeros(last - first + 1, np.int64)
        np.cumsum(self.lengths[first:last], out=points[1:])
        texts = TextBatch(pa.RecordBatch.from_arrays([column], ["text"]), np.ones(last - first, bool), points)
        self._part = (first, last, texts) if len(data) < _MOST_SHARED else None
        return texts

    def facts(self, build: Callable[..., npt.NDArray[Any]], *options: Any) -> npt.NDArray[Any]:
        """[strings, ...]: what `build(texts, *options)` makes of strings as texts, made once for each string.

        `build` gives an array whose first axis are the texts; options are hashable.
        """
        key = (build, *options)
        with self.lock:
            done, found = self._facts.get(key, (0, None))
            if done < self.known or found is None:
                new = self.part(done, self.known).view(build, *options)
                if found is None:
                    found = _zeros((max(self.known, _FEWEST), *new.shape[1:]), new.dtype)
                found = roomier(found, self.known)
                found[done : self.known] = new
                self._facts[key] = self.known, found
            return found


class Vocabulary:
    """What a process has seen: chunks (words of str.split), and words, into which tokenizers divide chunks."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.chunks = Strings(self.lock)
        self.words = Strings(self.lock)
        self.memory: dict[Any, Any] = {}  # what else belongs to these numbers

    def remembered(self, build: Callable[..., Any], *options: Any) -> Any:
        """`build(self, *options)`, built on first use."""
        key = (build, *options)
        with self.lock:
            if key not in self.memory:
                self.memory[key] = build(self, *options)
            return self.memory[key]


_current = Vocabulary()
_current_lock = threading.Lock()


def vocabulary() -> Vocabulary:
    """That of the process; a new one once it is full.  Who numbers strings of a batch holds on to the one it used."""
    global _current
    with _current_lock:
        if _current.chunks.full or _current.words.full:
            _current = Vocabulary()
        return _current


@njit(error_model="numpy")
def _count_words(ids, offsets, counts, words):  # type: ignore[no-untyped-def]
    """words [texts + 1]: the words of the chunks of the texts before."""
    total = np.int64(0)
    for text in range(len(offsets) - 1):
        for k in range(offsets[text], offsets[text + 1]):
            total += counts[U(ids[U(k)])]
        words[text + 1] = total
    return total


@njit(error_model="numpy")
def _spread(ids, heads, pieces, words):  # type: ignore[no-untyped-def]
    """The words of the chunks, one behind the other, and room for one more.  heads, pieces: see `heads_of`."""
    at = U(0)
    for k in range(U(len(ids))):
        head = heads[U(ids[k])]
        count = U(head >> 32)
        words[at] = head  # nearly all have one, and where there is none or more it is overwritten
        if count > U(1):
            first = U(head & 0xFFFFFFFF)
            for part in range(count):
                words[at + part] = pieces[first + part]
        at += count


def heads_of(counts: npt.NDArray[Any], firsts: npt.NDArray[Any], pieces: Ids) -> Ints:
    """[chunks]: how many words each chunk has, and in the lower half the word where it has one, else the place of the
    first of its words in `pieces`: one look into memory for nearly all.  All three are not negative."""
    alone = counts == 1
    lower = firsts.astype(np.int64)
    lower[alone] = pieces[firsts[alone]]
    return counts.astype(np.int64) << 32 | lower


class Division:
    """The words into which a function divides chunks: `divide(texts)` gives the points, starts, ends of the words of
    texts, and [texts + 1] the first of each."""

    def __init__(self, known: Vocabulary, divide: Callable[[TextBatch], tuple[Any, Ints, Ints, Ints]]) -> None:
        self._vocabulary = known
        self._divide = divide
        self._done = self._used = 0
        self._counts = np.zeros(1, np.int32)
        self._heads = np.zeros(1, np.int64)
        self._pieces = np.zeros(1, np.int32)

    def words(self, ids: Ids, offsets: Ints) -> tuple[Ids, Ints]:
        """The words, as numbers in `vocabulary.words`, of texts with these chunks; and [texts + 1] their first ones."""
        with self._vocabulary.lock:
            chunks = self._vocabulary.chunks
            if self._done < chunks.known:
                points, starts, ends, first = self._divide(chunks.part(self._done, chunks.known))
                self._counts = roomier(self._counts, chunks.known)
                self._heads = roomier(self._heads, chunks.known)
                self._pieces = roomier(self._pieces, self._used + len(starts) + 1)
                self._pieces[self._used : self._used + len(starts)] = self._vocabulary.words.numbers_at(
                    points, starts, ends
                )
                new = np.diff(first)
                self._counts[self._done : chunks.known] = new
                self._heads[self._done : chunks.known] = heads_of(new, self._used + first[:-1], self._pieces)
                self._done, self._used = chunks.known, self._used + len(starts)
            counts, heads, pieces = self._counts, self._heads, self._pieces
        first = np.zeros(len(offsets), np.int64)
        words = room(_count_words(ids, offsets, counts, first) + 1, np.int32)
        _spread(ids, heads, pieces, words)
        return words[:-1], first
