"""The pages of a MediaWiki XML dump, cut at any byte of the file without losing or repeating one.

A page belongs to the range in which its bzip2 stream starts; of an uncompressed dump, in which its own tag starts.
Whoever reads a range goes on behind its end until the last page of the range is whole.  Multistream dumps hold
100 pages a stream (meta.wikimedia.org/wiki/Data_dumps/Dump_format); parallel compressors cut streams inside a page,
which makes no difference here.
"""

from __future__ import annotations

import bz2
import dataclasses
import io
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from pipelines.readers.limits import Limits
from pipelines.readers.records import Refused
from pipelines.readers.streams import inflated

# The head of a bzip2 stream: signature, block size, and the first block's mark, the digits of pi (bzip2's format).
# Chance meets these 80 bits once in 2^77 bytes, since any of nine block sizes will do.
STREAM_START = re.compile(rb"BZh[1-9]1AY&SY")
_STREAM_START_BYTES = 10
# A stream without blocks has its end's mark there, the digits of the square root of pi.
_STREAM_HEAD = re.compile(rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)")
_BLOCK = 1 << 18
_OUTPUT_BLOCK = 1 << 20
_WINDOW = 1 << 20
_PAGE_START = re.compile(rb"<page[\s>]")
_PAGE_END = b"</page>"
_DUMP_END = b"</mediawiki>"
_SHORT = len(_DUMP_END) + 20  # a range with less content than this may hold nothing but a piece of the end tag


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """Uncompressed bytes, or what ended them."""

    data: bytes | Refused
    mine: bool  # of the range
    stream: int | None  # byte at which the bzip2 stream starts; None if there are none
    last: bool = False  # nothing follows in the file


@dataclasses.dataclass(frozen=True, slots=True)
class RawPage:
    """One `<page>` element, or why it could not be had; `place` is the same at any cut."""

    place: str
    data: bytes | Refused


def find_stream(raw: BinaryIO, start: int, stop: int | None) -> int | None:
    """Where the first bzip2 stream in [start, stop) starts.  Memory: one block."""
    position = start
    raw.seek(position)
    tail = b""
    while stop is None or position - len(tail) < stop:
        block = raw.read(_BLOCK)
        if not block:
            return None
        data = tail + block
        if match := STREAM_START.search(data):
            found = position - len(tail) + match.start()
            return found if stop is None or found < stop else None
        position += len(block)
        tail = data[-_STREAM_START_BYTES + 1 :]
    return None


def bz2_blocks(raw: BinaryIO, start: int, stop: int | None, limits: Limits) -> Iterator[Block]:
    """The content of the streams that start in [start, stop), then of those behind it, as long as it is asked for.

    A broken stream gives one Refused; reading goes on at the next one that can be found.
    Memory: two blocks and the decoder's.
    """
    end = raw.seek(0, io.SEEK_END)
    position = 0 if start == 0 else find_stream(raw, start, stop)
    mine = True
    while position is not None and position < end:
        stream = position
        raw.seek(stream)
        head = raw.read(_STREAM_START_BYTES)
        if not _STREAM_HEAD.match(head):  # nobody finds it who does not come from the stream before: it is part of that
            error = "truncated" if len(head) < _STREAM_START_BYTES else "broken_record"
            yield Block(Refused(error, f"bz2: no stream begins at byte {stream}"), mine, stream)
            position = find_stream(raw, stream + 1, None)
            continue
        mine = stop is None or stream < stop
        try:
            for data, behind in _inflate_stream(raw, stream, limits):
                position = behind
                if data:
                    yield Block(data, mine, stream)
        except Refused as refused:
            yield Block(refused, mine, stream)
            position = find_stream(raw, stream + 1, None)
    if position is not None:
        yield Block(b"", mine, position, last=True)


def _inflate_stream(raw: BinaryIO, stream: int, limits: Limits) -> Iterator[tuple[bytes, int]]:
    """Pieces of one stream, each with the place in the file behind what it took; raises Refused."""
    raw.seek(stream)
    decoder = bz2.BZ2Decompressor()
    taken = made = 0
    while not decoder.eof:
        block = raw.read(_BLOCK) if decoder.needs_input else b""
        if decoder.needs_input and not block:
            raise Refused("truncated", f"bz2: the stream at byte {stream} is cut off")
        taken += len(block)
        try:
            data = decoder.decompress(block, _OUTPUT_BLOCK)
        except (OSError, ValueError, EOFError) as error:
            raise Refused("broken_record", f"bz2: the stream at byte {stream}: {error}") from error
        made += len(data)
        if made > limits.ratio_floor_bytes + limits.max_ratio * taken:
            raise Refused(
                "zip_bomb", f"the bzip2 stream at byte {stream} inflates more than {limits.max_ratio:g} times"
            )
        yield data, stream + taken - len(decoder.unused_data)


def plain_blocks(raw: BinaryIO, start: int, stop: int | None) -> Iterator[Block]:
    """Of an uncompressed dump: the bytes of [start, stop), then those behind it, as long as they are asked for."""
    raw.seek(start)
    position = start
    mine = True
    while True:
        inside = stop is None or position < stop
        data = raw.read(min(_BLOCK, stop - position) if stop is not None and inside else _BLOCK)
        if not data:
            yield Block(b"", mine, None, last=True)
            return
        mine = inside
        yield Block(data, mine, None)
        position += len(data)


def content_before(raw: BinaryIO, start: int, packed: bool, limits: Limits) -> bytes:
    """The end of the content that stands before a range, at least as long as the dump's end tag if there is as much.

    For a range that holds no more than a piece of that tag.
    """
    if not packed:
        raw.seek(max(0, start - len(_DUMP_END)))
        return raw.read(min(start, len(_DUMP_END)))
    content = b""
    while start > 0 and len(content) < len(_DUMP_END):
        raw.seek(max(0, start - _WINDOW))
        found = list(STREAM_START.finditer(raw.read(min(start, _WINDOW))))
        start = max(0, start - _WINDOW) + found[-1].start() if found else 0
        try:
            content = b"".join(data for data, _ in _inflate_stream(raw, start, limits))[-_BLOCK:] + content
        except Refused:
            break
    return content


def stream_blocks(raw: BinaryIO, kind: str, limits: Limits) -> Iterator[Block]:
    """Of a dump in another compression, which has no places to cut."""
    stream = inflated(raw, kind, limits)
    try:
        while data := stream.read1(_BLOCK):
            yield Block(data, True, None)
    except Refused as refused:
        yield Block(refused, True, None)
        return
    yield Block(b"", True, None, last=True)


class _Position:
    """Where the bytes of the buffer came from."""

    def __init__(self, start: int) -> None:
        self.passed = start  # bytes before the buffer, counted as `place` counts
        self.streams: list[tuple[int, int]] = []  # (count at which it begins, its byte in the file)
        self.end_seen = False  # the end tag of the dump

    def enter(self, count: int, stream: int | None) -> None:
        if stream is not None and (not self.streams or self.streams[-1][1] != stream):
            self.streams.append((count, stream))

    def place(self, count: int) -> str:
        """`byte`, or `byte of the stream+byte of its content`."""
        while len(self.streams) > 1 and self.streams[1][0] <= count:
            self.streams.pop(0)
        return f"{self.streams[0][1]}+{count - self.streams[0][0]}" if self.streams else str(count)


def split_pages(
    blocks: Iterator[Block], limits: Limits, start: int = 0, before: Callable[[], bytes] = bytes
) -> Iterator[RawPage]:
    """The pages whose tag starts in a block of the range, whole.

    start: byte of an uncompressed dump at which the blocks begin; before: gives what stands before them.
    A page that another `<page>` or the end of the data interrupts, one over `max_item_bytes`, and every broken stream
    is one Refused.
    Memory: one page and one block.
    """
    buffer = bytearray()
    position = _Position(start)
    own_end: int | None = None  # count of bytes at which the blocks of the range end
    opening = b""  # of the content
    for block in blocks:
        count = position.passed + len(buffer)
        if own_end is None and not block.mine:
            own_end = count
        if isinstance(block.data, Refused):
            # A page that began in an earlier stream ends in the damage; one of the broken stream counts with it.
            pending = _next_start(buffer)
            ours = [begin for begin, stream in position.streams if stream == block.stream]
            began = ours[0] if ours else count if block.stream is not None else 0
            if pending is not None and position.passed + pending < (began if own_end is None else own_end):
                message = f"the page ends in damage: {block.data.message}"
                yield RawPage(position.place(position.passed + pending), Refused(block.data.error, message))
            if not block.mine:
                return
            yield RawPage(str(block.stream or 0), block.data)
            position.passed += len(buffer)
            buffer.clear()
            continue
        if block.data:
            position.enter(count, block.stream)
        buffer += block.data
        if block.mine and len(opening) < _SHORT:
            opening += block.data[:_SHORT]
        yield from _whole_pages(buffer, position, own_end, limits, len(block.data))
        pending = _next_start(buffer)
        if own_end is not None and (pending is None or position.passed + pending >= own_end):
            straddles = buffer and position.passed < own_end and len(buffer) < len(b"<page ")
            if not straddles or block.last:
                return
        if block.last:
            if pending is not None:
                place = position.place(position.passed + pending)
                yield RawPage(place, Refused("truncated", "the dump ends inside the page"))
            # The range may begin inside the end tag.
            split = len(opening) < _SHORT and _DUMP_END in before() + opening
            if block.mine and not position.end_seen and not split:
                yield RawPage("end", Refused("truncated", "the dump ends without </mediawiki>"))
            return


def _next_start(buffer: bytearray) -> int | None:
    match = _PAGE_START.search(buffer)
    return match.start() if match else None


def _whole_pages(
    buffer: bytearray, position: _Position, own_end: int | None, limits: Limits, new: int
) -> Iterator[RawPage]:
    """Takes all whole pages out of the buffer, and what stands before the next page's tag."""
    done = 0
    while (match := _PAGE_START.search(buffer, done)) is not None:
        first = match.start()
        if own_end is not None and position.passed + first >= own_end:
            done = first
            break
        # Of a page that was looked at before, only the new bytes can hold its end.
        fresh = max(first, len(buffer) - new - len(_PAGE_END)) if first == 0 else first
        end = buffer.find(_PAGE_END, fresh)
        following = _PAGE_START.search(buffer, max(first + 5, fresh - 6), end if end >= 0 else len(buffer))
        if following is not None:
            place = position.place(position.passed + first)
            yield RawPage(place, Refused("truncated", "another page begins before this one ends"))
            done = following.start()
            continue
        length = (end if end >= 0 else len(buffer)) - first
        if length > limits.max_item_bytes:
            place = position.place(position.passed + first)
            yield RawPage(place, Refused("too_large", f"a page of more than {limits.max_item_bytes} bytes"))
            done = end + len(_PAGE_END) if end >= 0 else first + 5
            continue
        if end < 0:
            done = first
            break
        done = end + len(_PAGE_END)
        yield RawPage(position.place(position.passed + first), bytes(buffer[first:done]))
    else:
        # Without a page: all but what may be the beginning of a tag, or of the dump's end.
        position.end_seen = position.end_seen or buffer.find(_DUMP_END, done) >= 0
        cut = buffer.find(b"<", max(done, len(buffer) - len(_DUMP_END) + 1))
        done = cut if cut >= 0 else len(buffer)
    position.passed += done
    del buffer[:done]
