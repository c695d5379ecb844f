"""The texts of a batch as one array of code points, and the views that annotators build over it and share.

A view is a function `TextBatch -> anything`; `texts.view(function)` builds it once, whoever asks.  So the lines
and words of a batch are found once, however many families read them, and a new family brings its own views
without touching this module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.batches import of_kinds, optional
from quality_signals.codepoints import read_only, room
from quality_signals.compiled import njit

Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
T = TypeVar("T")


_ASCII_BYTES = np.uint64(16)  # that are looked at together


@njit(error_model="numpy")
def _decode(utf8, points):  # type: ignore[no-untyped-def]
    """Code points of valid UTF-8.  Returns their number."""
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    at = np.uint64(0)
    i = np.uint64(0)
    end = np.uint64(len(utf8))
    while i < end:
        while i + _ASCII_BYTES <= end:
            all_bits = np.uint8(0)
            for k in range(_ASCII_BYTES):
                all_bits |= utf8[i + k]
            if all_bits >= 0x80:
                break
            for k in range(_ASCII_BYTES):
                points[at + k] = utf8[i + k]
            i += _ASCII_BYTES
            at += _ASCII_BYTES
        stop = min(i + _ASCII_BYTES, end)
        while i < stop:
            c = np.uint32(utf8[i])
            if c < 0x80:
                points[at] = c
                i += one
            elif c < 0xE0:
                points[at] = (c & np.uint32(0x1F)) << np.uint32(6) | np.uint32(utf8[i + one] & 0x3F)
                i += two
            elif c < 0xF0:
                points[at] = (
                    (c & np.uint32(0x0F)) << np.uint32(12)
                    | np.uint32(utf8[i + one] & 0x3F) << np.uint32(6)
                    | np.uint32(utf8[i + two] & 0x3F)
                )
                i += three
            else:
                points[at] = (
                    (c & np.uint32(0x07)) << np.uint32(18)
                    | np.uint32(utf8[i + one] & 0x3F) << np.uint32(12)
                    | np.uint32(utf8[i + two] & 0x3F) << np.uint32(6)
                    | np.uint32(utf8[i + three] & 0x3F)
                )
                i += np.uint64(4)
            at += one
    return np.int64(at)


def decode(utf8: Bytes) -> npt.NDArray[np.uint32]:
    """[characters] uint32, the code points of valid UTF-8."""
    points = room(len(utf8), np.uint32)
    return points[: _decode(read_only(utf8), points)]


@njit(error_model="numpy")
def _count_points(utf8, byte_offsets, offsets):  # type: ignore[no-untyped-def]
    """Fills offsets [texts + 1] with the code points before each text."""
    total = np.int64(0)
    for text in range(len(byte_offsets) - 1):
        start, end = np.uint64(byte_offsets[text]), np.uint64(byte_offsets[text + 1])
        all_bits = np.uint8(0)
        for i in range(start, end):
            all_bits |= utf8[i]
        total += np.int64(end - start)
        if all_bits >= 0x80:
            for i in range(start, end):
                total -= (utf8[i] & 0xC0) == 0x80
        offsets[text + 1] = total


class TextBatch:
    """Some rows of a batch of documents as text.

    rows      [rows] bool, which rows of the batch are texts here; the arrays below hold only those
    utf8      uint8, the bytes of all texts back to back; text i is utf8[byte_offsets[i]:byte_offsets[i + 1]]
    points    [characters] uint32, the code points; text i is points[offsets[i]:offsets[i + 1]]
    offsets   [texts + 1] int64

    Memory: about 5 bytes a character, and what the views hold; it goes with the batch.
    """

    def __init__(self, batch: pa.RecordBatch, rows: Bools, offsets: Ints | None = None) -> None:
        """offsets: those in code points, where they are known."""
        self.batch = batch
        self.rows = rows
        self._known_offsets = offsets
        # Where these texts are what edits left of others: those, and for each text its edits (`edits.EDITS`).
        self.before: tuple[TextBatch, pa.ListArray] | None = None
        self._views: dict[Any, Any] = {}
        self._columns: dict[str, list[str | None]] = {}
        column = batch.column("text").cast(pa.large_string())
        self._all_rows = bool(rows.all())
        if not self._all_rows:
            column = column.filter(pa.array(rows))
        if column.null_count:
            raise ValueError(f"a row without text was chosen: {column.null_count} of {len(column)} are null")
        self.texts: pa.LargeStringArray = column
        self._size = len(column)
        _, offsets, data = column.buffers()
        ends = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
        first = int(ends[0]) if len(ends) else 0
        self.byte_offsets: Ints = ends - first if len(ends) else np.zeros(1, np.int64)
        whole = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
        self.utf8: Bytes = read_only(whole[first : first + int(self.byte_offsets[-1])])

    def __len__(self) -> int:
        return self._size

    @cached_property
    def _decoded(self) -> tuple[npt.NDArray[np.uint32], Ints]:
        points = decode(self.utf8)
        if len(points) == len(self.utf8):
            return points, self.byte_offsets
        if self._known_offsets is not None:
            return points, self._known_offsets
        offsets = np.zeros(len(self) + 1, np.int64)
        _count_points(self.utf8, self.byte_offsets, offsets)
        return points, offsets

    @property
    def points(self) -> npt.NDArray[np.uint32]:
        return self._decoded[0]

    @property
    def offsets(self) -> Ints:
        return self._decoded[1]

    @cached_property
    def lengths(self) -> Ints:
        """[texts] characters."""
        return np.diff(self.offsets)

    @cached_property
    def strings(self) -> list[str]:
        """The texts as Python strings; for what kernels cannot do."""
        return self.texts.to_pylist()

    def column(self, name: str) -> list[str | None]:
        """A string column of the batch at these rows, all None where the batch has no such column."""
        if name not in self._columns:
            values = optional(self.batch, name)
            if not self._all_rows:
                values = [value for value, chosen in zip(values, self.rows.tolist(), strict=True) if chosen]
            self._columns[name] = values
        return self._columns[name]

    def languages(self, default: str | None) -> list[str | None]:
        return [language or default for language in self.column("language")]

    def view(self, build: Callable[..., T], *options: Any) -> T:
        """`build(self, *options)`, built on first use; options are hashable and part of what is remembered."""
        key = (build, *options)
        if key not in self._views:
            self._views[key] = build(self, *options)
        return self._views[key]

    def scatter(self, values: pa.Array) -> pa.Array:
        """A column for the texts as a column of the whole batch: null at the other rows."""
        if len(values) != len(self):
            raise ValueError(f"{len(self)} texts, but {len(values)} values for a column")
        if self._all_rows:
            return values
        places = np.cumsum(self.rows) - 1
        return values.take(pa.array(places, mask=~self.rows))


class SharedTexts:
    """The texts of one batch for all annotators: one `TextBatch` for each choice of kinds.

    before: where the texts are what edits left of others, those and the column of edits.
    """

    def __init__(self, batch: pa.RecordBatch, before: tuple[SharedTexts, pa.ListArray] | None = None) -> None:
        self.batch = batch
        self._before = before
        self._chosen: dict[tuple[bytes, int], TextBatch] = {}
        self._of_kinds: dict[tuple[str, ...] | None, TextBatch] = {}

    def bare(self) -> SharedTexts:
        """The same texts and views without what a subclass holds, for what the subclass holds itself: a circle of
        references would keep the memory of many batches."""
        shared = SharedTexts(self.batch, self._before)
        shared._chosen = self._chosen
        shared._of_kinds = self._of_kinds
        return shared

    def of(self, kinds: Sequence[str] | None = None) -> TextBatch:
        """Rows with a text and of one of `kinds` (a null kind is of every kind); None: all with a text."""
        asked = None if kinds is None else tuple(kinds)
        if asked not in self._of_kinds:
            self._of_kinds[asked] = self._find(kinds)
        return self._of_kinds[asked]

    def _find(self, kinds: Sequence[str] | None) -> TextBatch:
        if kinds is None:
            rows = self.batch.column("text").is_valid().to_numpy(zero_copy_only=False)
        else:
            rows = np.array(of_kinds(self.batch, kinds), bool)
        key = (rows.tobytes(), len(rows))
        if key not in self._chosen:
            self._chosen[key] = TextBatch(self.batch, rows)
            if self._before is not None:
                source, edits = self._before
                self._chosen[key].before = source.of(kinds), edits.filter(pa.array(rows))
        return self._chosen[key]
