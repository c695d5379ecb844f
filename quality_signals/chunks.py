"""The chunks of a batch: words of str.split, as numbers of distinct strings (`strings`)."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from quality_signals.codepoints import room
from quality_signals.compiled import njit
from quality_signals.strings import U, Vocabulary, load8, vocabulary
from quality_signals.text_batch import TextBatch

Bytes = npt.NDArray[np.uint8]
Ids = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]

_BLOCK = 1024  # bytes that are told apart before they are looked at
_GATHER = U(0x0102040810204080)  # a product with it has the lowest bits of eight bytes in its highest byte
_BLANK, _NEWLINE, _LEAD = 1, 2, 3  # what a byte may be; 0: a part of a chunk


@lru_cache(maxsize=1)
def _byte_kinds() -> Bytes:
    kinds = np.zeros(256, np.uint8)
    for c in range(128):
        if chr(c).isspace():
            kinds[c] = _BLANK
    kinds[10] = _NEWLINE
    kinds[[0xC2, 0xE1, 0xE2, 0xE3]] = _LEAD  # first bytes of the blanks beyond ASCII
    return kinds


@njit(error_model="numpy")
def blank_width(utf8, i):  # type: ignore[no-untyped-def]
    """Bytes of the white space of str.isspace beyond ASCII that begins at i, else 0; of valid UTF-8.

    U+0085 U+00A0 U+1680 U+2000-U+200A U+2028 U+2029 U+202F U+205F U+3000.
    """
    a = utf8[i]
    b = utf8[i + U(1)]
    if a == 0xC2:
        return U(2) if b == 0x85 or b == 0xA0 else U(0)
    c = utf8[i + U(2)]
    if a == 0xE2:
        if b == 0x80:
            return U(3) if c <= 0x8A or c == 0xA8 or c == 0xA9 or c == 0xAF else U(0)
        return U(3) if b == 0x81 and c == 0x9F else U(0)
    if a == 0xE1:
        return U(3) if b == 0x9A and c == 0x80 else U(0)
    return U(3) if b == 0x80 and c == 0x80 else U(0)


@intrinsic  # type: ignore[untyped-decorator]
def _trailing_zeros(context, number):  # type: ignore[no-untyped-def]
    """Zero bits below the lowest that is set, of a uint64 that is not 0; one instruction."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], cgutils.true_bit)

    return types.uint64(types.uint64), generate


@njit(error_model="numpy")
def _find_chunks(utf8, byte_offsets, kinds, flags, starts, ends, offsets, newlines, newline_chunks, newlines_before):  # type: ignore[no-untyped-def]
    """Fills the arrays of `Places`; the last but one newline is none.  flags: room for a block."""
    chunk = U(0)
    newline = U(0)
    two, four = np.uint8(2), np.uint8(4)
    for text in range(len(byte_offsets) - 1):
        start = U(byte_offsets[text])
        end = U(byte_offsets[text + 1])
        for block in range(start, end, U(_BLOCK)):
            # Where a word ends is not to be foreseen: bytes are told apart without branches, many at once, and then
            # looked at from one to the next that is set.
            size = min(U(_BLOCK), end - block)
            for i in range(size):
                c = utf8[block + i]
                flags[i] = (
                    (np.uint8(c - np.uint8(9)) <= four)
                    | (np.uint8(c - np.uint8(28)) <= four)
                    | (c == np.uint8(0xC2))
                    | (np.uint8(c - np.uint8(0xE1)) <= two)
                )
            for i in range(size, min((size + U(63)) & ~U(63), U(_BLOCK))):
                flags[i] = 0
            for part in range(U(0), size, U(64)):
                bits = U(0)
                for eight in range(U(0), U(64), U(8)):
                    bits |= (load8(flags, part + eight) * _GATHER >> U(56)) << eight
                while bits:
                    place = block + part + _trailing_zeros(bits)
                    bits &= bits - U(1)
                    kind = kinds[utf8[place]]
                    width = U(1)
                    if kind == _LEAD:
                        width = blank_width(utf8, place)
                        if width == U(0):
                            continue
                    if place > start:
                        starts[chunk] = start
                        ends[chunk] = place
                        chunk += U(1)
                    start = place + width
                    newlines[newline] = place
                    newline_chunks[newline] = chunk
                    newline += U(kind == _NEWLINE)
        if end > start:
            starts[chunk] = start
            ends[chunk] = end
            chunk += U(1)
        offsets[text + 1] = chunk
        newlines_before[text + 1] = newline
    return np.int64(chunk)


@dataclasses.dataclass(frozen=True, slots=True)
class Places:
    """Where in the bytes of a batch its chunks and newlines are.  All int64.

    starts, ends     [chunks]
    offsets          [texts + 1]: text i has the chunks offsets[i]:offsets[i + 1]
    newlines         [newlines]          newline_chunks   [newlines] chunks before each
    newlines_before  [texts + 1]: text i has the newlines newlines_before[i]:newlines_before[i + 1]
    """

    starts: Ints
    ends: Ints
    offsets: Ints
    newlines: Ints
    newline_chunks: Ints
    newlines_before: Ints


@njit(error_model="numpy")
def _count_newlines(utf8):  # type: ignore[no-untyped-def]
    total = np.int64(0)
    for block in range(U(0), U(len(utf8)), U(128)):
        count = np.uint8(0)  # of few enough bytes for one, so that many are counted at once
        for i in range(block, min(block + U(128), U(len(utf8)))):
            count += np.uint8(utf8[i] == 10)
        total += count
    return total


def byte_places(texts: TextBatch) -> Places:
    """View.  Time linear in the bytes."""
    most = (len(texts.utf8) + len(texts)) // 2 + 1
    count = _count_newlines(texts.utf8)
    starts, ends = room(most, np.int64), room(most, np.int64)
    offsets, before = np.zeros(len(texts) + 1, np.int64), np.zeros(len(texts) + 1, np.int64)
    newlines, newline_chunks = room(count + 1, np.int64), room(count + 1, np.int64)
    flags = np.empty(_BLOCK, np.uint8)
    found = _find_chunks(
        texts.utf8, texts.byte_offsets, _byte_kinds(), flags, starts, ends, offsets, newlines, newline_chunks, before
    )
    return Places(starts[:found], ends[:found], offsets, newlines[:count], newline_chunks[:count], before)


@njit(error_model="numpy")
def _point_places(utf8, byte_offsets, offsets, chunks, lengths, ids, byte_starts, byte_ends, starts, ends):  # type: ignore[no-untyped-def]
    """Fills starts and ends of the chunks in code points."""
    for text in range(len(offsets) - 1):
        byte = byte_offsets[text]
        shift = byte - offsets[text]
        if byte_offsets[text + 1] - byte == offsets[text + 1] - offsets[text]:  # only ASCII
            for k in range(U(chunks[text]), U(chunks[text + 1])):
                starts[k] = byte_starts[k] - shift
                ends[k] = byte_ends[k] - shift
            continue
        for k in range(chunks[text], chunks[text + 1]):
            if byte_starts[k] - byte > 1:
                for i in range(U(byte), U(byte_starts[k])):
                    shift += (utf8[i] & 0xC0) == 0x80
            byte = byte_ends[k]
            start = byte_starts[k] - shift
            starts[k] = start
            ends[k] = start + lengths[U(ids[k])]
            shift = byte - ends[k]


@njit(error_model="numpy")
def _points_before(utf8, byte_offsets, offsets, before, places, points):  # type: ignore[no-untyped-def]
    """points: where the places in bytes, ascending, before[i]:before[i + 1] in text i, are in code points."""
    for text in range(len(offsets) - 1):
        i = U(byte_offsets[text])
        point = offsets[text]
        if byte_offsets[text + 1] - byte_offsets[text] == offsets[text + 1] - point:  # only ASCII
            for k in range(before[text], before[text + 1]):
                points[k] = places[k] - byte_offsets[text] + point
            continue
        for k in range(before[text], before[text + 1]):
            place = U(places[k])
            for j in range(i, place):
                point += (utf8[j] & 0xC0) != 0x80
            points[k] = point
            i = place


def newline_points(texts: TextBatch) -> Ints:
    """View: places of the newlines in the code points of the batch."""
    found = texts.view(byte_places)
    if len(texts.utf8) == len(texts.points):
        return found.newlines
    points = room(len(found.newlines), np.int64)
    _points_before(texts.utf8, texts.byte_offsets, texts.offsets, found.newlines_before, found.newlines, points)
    return points


@dataclasses.dataclass(frozen=True, slots=True)
class Chunks:
    """Words of str.split of a batch in order.

    vocabulary       whose chunks `ids` are about
    ids              [chunks] int32
    starts, ends     [chunks] int64 in code points of the batch
    offsets          [texts + 1] int64: text i has the chunks offsets[i]:offsets[i + 1]
    """

    vocabulary: Vocabulary
    ids: Ids
    starts: Ints
    ends: Ints
    offsets: Ints

    def __len__(self) -> int:
        return len(self.ids)


def chunks(texts: TextBatch) -> Chunks:
    """View.  Expected time linear in the bytes."""
    found = texts.view(byte_places)
    known = vocabulary()
    ids = known.chunks.numbers(texts.utf8, found.starts, found.ends)
    starts, ends = found.starts, found.ends
    if len(texts.points) != len(texts.utf8):
        starts, ends = room(len(ids), np.int64), room(len(ids), np.int64)
        lengths = known.chunks.lengths
        _point_places(
            texts.utf8, texts.byte_offsets, texts.offsets, found.offsets, lengths, ids, found.starts, found.ends,
            starts, ends,
        )  # fmt: skip
    return Chunks(known, ids, starts, ends, found.offsets)
