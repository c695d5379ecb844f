"""Which documents hold this very text: an index of the anchors of all documents (`dedup.substring_anchors`).

A text of MIN_BYTES or more has anchors, and every document that holds it has the same ones.  So the documents that have
all anchors of a text are the ones to look at; they are few, and a comparison of bytes says the rest.

On disk, three files of plain little-endian numbers, mapped into memory and never loaded:

    buckets   int64[65,537]   where the entries of each value of the upper 16 bits of a hash begin
    hashes    uint32[entries] the next 32 bits of the hash, in order inside a bucket
    documents uint32[entries] number of a document that has such an anchor
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from dedup.substring_anchors import Bytes, Offsets, find_anchors

# An anchor in about 33 bytes: 8 bytes of index for 33 of text.  Half as long texts would cost half as much again.
MIN_BYTES = 96
BUCKETS = 1 << 16
_FILES: dict[str, Any] = {"buckets": np.dtype("<i8"), "hashes": np.dtype("<u4"), "documents": np.dtype("<u4")}
# Entries that are sorted at a time: 12 bytes each, twice over while they are sorted.
_SORTED_ENTRIES = 1 << 24
_ENTRY = np.dtype([("hash", "<u8"), ("document", "<u4")])

Numbers = npt.NDArray[np.int64]


def mapped(path: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The numbers in a file, mapped into memory; an empty file cannot be.  Raises OSError."""
    return np.memmap(path, dtype, mode="r") if os.path.getsize(path) else np.empty(0, dtype)


def anchors_of(utf8: Bytes, offsets: Offsets) -> tuple[npt.NDArray[np.uint64], Numbers]:
    """(hash, text) of the anchors of texts that lie back to back, each pair once, in order of hash and text.

    utf8 [bytes], offsets [texts + 1]; a text below MIN_BYTES has none.
    """
    anchors = find_anchors(utf8, offsets, np.arange(len(offsets) - 1), MIN_BYTES)
    texts = np.searchsorted(offsets, anchors.place.astype(np.int64), side="right") - 1
    order = np.lexsort((texts, anchors.gram))
    hashed, texts = anchors.gram[order], texts[order]
    first = np.ones(len(hashed), bool)
    first[1:] = (hashed[1:] != hashed[:-1]) | (texts[1:] != texts[:-1])
    return hashed[first], texts[first]


class GramIndexWriter:
    """Writes an index into `folder`, documents in any order.  Memory: about 400 MB, whatever the corpus."""

    def __init__(self, folder: str, expected_bytes: int) -> None:
        """expected_bytes: of all texts together; a wrong figure costs memory or files, and changes no answer."""
        entries = expected_bytes * 2 // (MIN_BYTES - 32 + 2)
        self._folder = folder
        self._bits = min(8, max(0, int(np.ceil(np.log2(max(entries / _SORTED_ENTRIES, 1))))))
        os.makedirs(folder, exist_ok=True)
        self._parts = [open(self._part(number), "wb") for number in range(1 << self._bits)]

    def _part(self, number: int) -> str:
        return os.path.join(self._folder, f"entries-{number:03d}.tmp")

    def add(self, hashes: npt.NDArray[np.uint64], documents: Numbers) -> None:
        """hashes[i] is one of document number documents[i] < 2^32."""
        entries = np.empty(len(hashes), _ENTRY)
        entries["hash"], entries["document"] = hashes, documents
        if self._bits == 0:
            entries.tofile(self._parts[0])
            return
        whose = (hashes >> np.uint64(64 - self._bits)).astype(np.int64)
        for number in np.unique(whose):
            entries[whose == number].tofile(self._parts[number])

    def close(self) -> int:
        """Sorts and writes; the number of entries."""
        counts = np.zeros(BUCKETS, np.int64)
        with (
            open(os.path.join(self._folder, "hashes"), "wb") as hashes,
            open(os.path.join(self._folder, "documents"), "wb") as documents,
        ):
            for number, part in enumerate(self._parts):
                part.close()
                entries = np.fromfile(self._part(number), _ENTRY)
                order = np.lexsort((entries["document"], entries["hash"]))
                hashed = entries["hash"][order]
                counts += np.bincount((hashed >> np.uint64(48)).astype(np.int64), minlength=BUCKETS)
                (hashed >> np.uint64(16)).astype("<u4").tofile(hashes)
                entries["document"][order].tofile(documents)
                os.unlink(self._part(number))
        buckets = np.zeros(BUCKETS + 1, "<i8")
        np.cumsum(counts, out=buckets[1:])
        buckets.tofile(os.path.join(self._folder, "buckets"))
        return int(buckets[-1])


@dataclasses.dataclass(frozen=True, eq=False)
class GramIndex:
    """An opened index; see the module for the arrays."""

    buckets: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint32]
    documents: npt.NDArray[np.uint32]

    @classmethod
    def open(cls, folder: str) -> GramIndex:
        """Raises OSError; ValueError, naming the file, where one is cut off."""
        arrays: dict[str, Any] = {}
        for name, dtype in _FILES.items():
            arrays[name] = mapped(os.path.join(folder, name), dtype)
        index = cls(**arrays)
        if len(index.buckets) != BUCKETS + 1 or not len(index.hashes) == len(index.documents) == index.buckets[-1]:
            raise ValueError(f"{folder}: the files of the index do not fit each other; make it again")
        return index

    def having(self, hashed: int) -> npt.NDArray[np.uint32]:
        """Documents with an anchor of that hash, in order; with a chance of 2^-48 a text, of another one."""
        start, end = self.buckets[hashed >> 48], self.buckets[(hashed >> 48) + 1]
        inside = self.hashes[start:end]
        wanted = np.uint32((hashed >> 16) & 0xFFFFFFFF)
        first, last = np.searchsorted(inside, wanted, "left"), np.searchsorted(inside, wanted, "right")
        return self.documents[start + first : start + last]

    def with_whole(self, text: bytes) -> npt.NDArray[np.uint32]:
        """Documents with all anchors of `text`, in order: all that hold it, and few others.

        Raises ValueError for a text of less than MIN_BYTES.
        """
        found = sorted(self._having_each(text), key=len)
        whole = found[0]
        for each in found[1:]:
            # A list that is much longer is bisected, not read: boilerplate stands in very many documents.
            at = np.minimum(np.searchsorted(each, whole), len(each) - 1)
            whole = whole[each[at] == whole] if len(each) else whole[:0]
        return whole

    def with_parts(self, text: bytes) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float64]]:
        """(documents, shares) that have any anchors of `text`, those with most first.  ValueError as `with_whole`."""
        found = self._having_each(text)
        numbers, counts = np.unique(np.concatenate(found), return_counts=True)
        order = np.lexsort((numbers, -counts))
        return numbers[order], counts[order] / len(found)

    def _having_each(self, text: bytes) -> list[npt.NDArray[np.uint32]]:
        if len(text) < MIN_BYTES:
            raise ValueError(f"a text of {len(text)} bytes; {MIN_BYTES} or more are needed")
        hashed, _ = anchors_of(np.frombuffer(text, np.uint8), np.array([0, len(text)]))
        return [self.having(int(each)) for each in hashed]


def longest_common(text: str, document: str, least_chars: int = 32) -> tuple[int, int]:
    """(start, end) in `text` of the longest stretch of it that stands in `document`; (0, 0) below least_chars.

    Every stretch of 2 least_chars - 1 characters holds one that begins at a multiple of least_chars; these are looked
    for, and extended to both sides.
    """
    best = (0, 0)
    for at in range(0, len(text) - least_chars + 1, least_chars):
        if at < best[1] and best[0] <= at:
            continue
        for place in _places(document, text[at : at + least_chars]):
            start, end = at, at + least_chars
            while start and place - (at - start) and text[start - 1] == document[place - (at - start) - 1]:
                start -= 1
            shift = place - at
            while end < len(text) and end + shift < len(document) and text[end] == document[end + shift]:
                end += 1
            best = max(best, (start, end), key=lambda stretch: stretch[1] - stretch[0])
    return best


def _places(document: str, piece: str, most: int = 16) -> Iterator[int]:
    place = document.find(piece)
    while place >= 0 and most:
        yield place
        most -= 1
        place = document.find(piece, place + 1)


def add_texts(writer: GramIndexWriter, batches: Iterable[tuple[Bytes, Offsets]], first_document: int = 0) -> int:
    """Adds texts that are numbered on from first_document; the next number."""
    number = first_document
    for utf8, offsets in batches:
        hashed, texts = anchors_of(utf8, offsets)
        writer.add(hashed, texts + number)
        number += len(offsets) - 1
    return number
