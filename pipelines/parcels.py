"""Documents that travel: through the exchange to their partition, and out of it in a defined order.

A parcel is a number that says where it goes, a small head that orders it there, and a body of any size.  Parcels for
one partition share values of at most 4 MB; a larger body is cut and put together again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pipelines.exchange import MAX_VALUE_BYTES

# Bytes of parcels that a sender holds before it sends all of them: 32 MB a worker.
SEND_BYTES = 32 << 20
# Bytes of bodies that a receiver holds at a time.
HELD_BYTES = 64 << 20
MAX_HEAD_BYTES = 1 << 20
# Longest piece of a body: with its head it fits into a value.
_PIECE_BYTES = MAX_VALUE_BYTES - MAX_HEAD_BYTES
# key, origin, number of the piece, pieces in all, bytes of head and of the piece
_FRAME = struct.Struct("<QQIIII")


@dataclasses.dataclass(frozen=True, slots=True)
class Parcel:
    """What one document sends.

    key     64 bits: its high bits choose the partition, all of them the place in it
    origin  where it comes from (`origin_of`): no two parcels of a partition have the same one
    head    less than 1 MB: what orders parcels of one key
    """

    key: int
    origin: int
    head: bytes
    body: bytes


def origin_of(shard: int, row: int, more: int = 0) -> int:
    """64 bits of a row of a shard; more: which of several parcels of one row."""
    return int.from_bytes(hashlib.blake2b(struct.pack("<QQQ", shard, row, more), digest_size=8).digest(), "little")


def hash64(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@dataclasses.dataclass
class Sender:
    """Gathers parcels by partition."""

    held: dict[int, list[bytes]] = dataclasses.field(default_factory=dict)
    held_bytes: int = 0

    def add(self, partition: int, parcel: Parcel) -> Iterator[tuple[int, bytes]]:
        """The values that are full with it."""
        if len(parcel.head) >= MAX_HEAD_BYTES:
            raise ValueError(f"the head of a parcel has {len(parcel.head):,} bytes, less than 1 MB are allowed")
        pieces = max(1, -(-len(parcel.body) // _PIECE_BYTES))
        for number in range(pieces):
            body = parcel.body[number * _PIECE_BYTES : (number + 1) * _PIECE_BYTES]
            frame = _FRAME.pack(parcel.key, parcel.origin, number, pieces, len(parcel.head), len(body))
            self.held.setdefault(partition, []).append(frame + parcel.head + body)
            self.held_bytes += len(frame) + len(parcel.head) + len(body)
        if self.held_bytes >= SEND_BYTES:
            yield from self.rest()

    def rest(self) -> Iterator[tuple[int, bytes]]:
        """All that is held, in values of at most 4 MB."""
        for partition, frames in sorted(self.held.items()):
            waiting: list[bytes] = []
            size = 0
            for frame in frames:
                if waiting and size + len(frame) > MAX_VALUE_BYTES:
                    yield partition, b"".join(waiting)
                    waiting, size = [], 0
                waiting.append(frame)
                size += len(frame)
            yield partition, b"".join(waiting)
        self.held, self.held_bytes = {}, 0


def partition_of_key(key: int, partitions: int) -> int:
    """The high bits of the key; partitions: a power of two."""
    return key * partitions >> 64


Rank = tuple[Any, ...]


def in_order(
    values: Iterable[bytes], rank: Callable[[int, bytes], Rank], held_bytes: int = HELD_BYTES
) -> Iterator[Parcel]:
    """The parcels of a partition by rank(key, head), then by body.

    values: may be iterated again.  Where the bodies are more than `held_bytes` the values are read once more for every
    `held_bytes` of them.  Memory: `held_bytes`, or all parcels of one rank; and about 300 bytes a parcel.
    """
    sizes: list[tuple[Rank, int]] = []
    gathered: _Gathered | None = _Gathered()
    total = 0
    for frame in _frames(values):
        place = rank(frame[0], frame[4])
        sizes.append((place, len(frame[5])))
        total += len(frame[5])
        if total > held_bytes:
            gathered = None
        if gathered is not None:
            gathered.add(place, frame)
    if gathered is not None:
        yield from gathered.sorted()
        return
    sizes.sort(key=lambda each: each[0])
    for low, high in _runs(sizes, held_bytes):
        gathered = _Gathered()
        for frame in _frames(values):
            place = rank(frame[0], frame[4])
            if low <= place <= high:
                gathered.add(place, frame)
        yield from gathered.sorted()


def _runs(sizes: list[tuple[Rank, int]], held_bytes: int) -> Iterator[tuple[Rank, Rank]]:
    """First and last rank of runs of at most `held_bytes`; what has one rank is in one run."""
    first = last = sizes[0][0]
    size = 0
    for place, size_of_rank in _by_rank(sizes):
        if size and size + size_of_rank > held_bytes:
            yield first, last
            first, size = place, 0
        last = place
        size += size_of_rank
    yield first, last


def _by_rank(sizes: list[tuple[Rank, int]]) -> Iterator[tuple[Rank, int]]:
    place, size = sizes[0][0], 0
    for each, bytes_ in sizes:
        if each != place:
            yield place, size
            place, size = each, 0
        size += bytes_
    yield place, size


_Frame = tuple[int, int, int, int, bytes, memoryview]


def _frames(values: Iterable[bytes]) -> Iterator[_Frame]:
    for value in values:
        view = memoryview(value)
        at = 0
        while at < len(view):
            key, origin, number, pieces, head, body = _FRAME.unpack_from(view, at)
            at += _FRAME.size
            yield key, origin, number, pieces, bytes(view[at : at + head]), view[at + head : at + head + body]
            at += head + body


class _Gathered:
    """Parcels whose pieces come in any order."""

    def __init__(self) -> None:
        self._pieces: dict[int, dict[int, memoryview | bytes]] = {}
        self._known: dict[int, tuple[Rank, int, bytes, int]] = {}

    def add(self, place: Rank, frame: _Frame) -> None:
        key, origin, number, pieces, head, body = frame
        self._known[origin] = (place, key, head, pieces)
        # A view would keep the whole value, 4 MB, for one small document of it.
        self._pieces.setdefault(origin, {})[number] = bytes(body)

    def sorted(self) -> Iterator[Parcel]:
        found = []
        for origin, (place, key, head, pieces) in self._known.items():
            parts = self._pieces[origin]
            if len(parts) != pieces:
                raise ValueError(f"{len(parts)} of {pieces} pieces of a parcel have come")
            body = parts[0] if pieces == 1 else b"".join(parts[i] for i in range(pieces))
            found.append((place, Parcel(key, origin, head, bytes(body))))
        self._pieces.clear()
        found.sort(key=lambda each: (each[0], each[1].body))
        for i in range(len(found)):
            parcel = found[i][1]
            found[i] = None  # type: ignore[call-overload]  # what has been handed out is not kept
            yield parcel
