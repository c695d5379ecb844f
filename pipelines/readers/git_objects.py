"""Objects of a git repository: loose and packed, each checked against its name, within limits.

dulwich (Apache-2.0 or GPL-2.0+) reads pack indexes, trees and commits and applies deltas; opening files, inflating and
following delta chains stay here, because a repository is input from strangers: `dulwich.repo` and libgit2 open whatever
`info/alternates`, links and configuration name, and neither takes a limit.  Formats: gitformat-pack(5) of git 2.39.
"""

from __future__ import annotations

import collections
import hashlib
import mmap
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from dulwich.errors import ApplyDeltaError
from dulwich.object_format import SHA1
from dulwich.pack import apply_delta, load_pack_index_file

from pipelines.readers.files import Files
from pipelines.readers.limits import Limits
from pipelines.readers.records import Refused
from pipelines.readers.streams import read_limited

COMMIT, TREE, BLOB, TAG = 1, 2, 3, 4
_OFFSET_DELTA, _NAME_DELTA = 6, 7
KINDS = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob", TAG: b"tag"}
_KIND_OF = {name: number for number, name in KINDS.items()}
# git makes chains of 50 and refuses to make one longer than 4095 (pack-objects.h: OE_DEPTH_BITS 12).
_MAX_CHAIN = 4095
# What all steps of one chain may make, in sizes of the largest object: 64 of them stand for a chain of 400 deltas of a
# file of 10 MB, and bound the time of one object.
_MAX_CHAIN_ITEMS = 64
_CACHE_BYTES = 64 << 20
_HEADER_BYTES = 32  # of a packed object: up to 10 of size and 20 of a base's name
_BLOCK = 1 << 12


class RepositoryFiles:
    """The files of a repository that the plan found.  No other is opened, and no link is followed.

    paths   name inside the repository's folder -> how `files` opens it, and its name in the source
    """

    def __init__(self, paths: Mapping[str, tuple[str, str]], files: Files) -> None:
        self._paths = paths
        self._files = files

    def __contains__(self, name: str) -> bool:
        return name in self._paths

    def under(self, folder: str) -> list[str]:
        return sorted(name for name in self._paths if name.startswith(folder))

    def open(self, name: str) -> BinaryIO:
        """Raises Refused."""
        path, source_name = self._paths[name]
        if self._files.link(path, source_name) is not None:
            raise Refused("unsafe_link", f"{name} is a link; links in a repository are not followed")
        return self._files.open(path)

    def read(self, name: str, max_bytes: int) -> bytes:
        """Raises Refused."""
        with self.open(name) as raw:
            return read_limited(raw, max_bytes, name)


class _Bytes:
    """Random access to a pack: through the page cache where the file is a local one."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self.size = raw.seek(0, 2)
        self._map: mmap.mmap | None = None
        try:
            self._map = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError, AttributeError):  # of another file system, or empty
            self._map = None

    def at(self, offset: int, size: int) -> bytes:
        if self._map is not None:
            return self._map[offset : offset + size]
        self._raw.seek(offset)
        return self._raw.read(size)

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
        self._raw.close()


def _inflated(at: Callable[[int, int], bytes], offset: int, size: int, what: str) -> tuple[bytes, int]:
    """Exactly `size` bytes of the deflate stream at `offset`, and where it ends; raises Refused."""
    decoder = zlib.decompressobj()
    pieces: list[bytes] = []
    left = size + 1  # one more, so that a stream that is longer than said shows
    block = max(256, min(size + 64, _BLOCK))
    while True:
        data = at(offset, block)
        if not data:
            raise Refused("truncated", f"{what}: ends inside an object")
        offset += len(data)
        try:
            piece = decoder.decompress(data, left)
        except zlib.error as error:
            raise Refused("broken_record", f"{what}: {error}") from error
        pieces.append(piece)
        left -= len(piece)
        if left <= 0:
            raise Refused("zip_bomb", f"{what}: an object inflates to more than the {size} bytes it states")
        if decoder.eof:
            if left != 1:
                raise Refused("wrong_length", f"{what}: an object of {size + 1 - left} bytes instead of {size}")
            return b"".join(pieces), offset - len(decoder.unused_data)
        block = 1 << 16


def _size_of(data: bytes, at: int) -> tuple[int, int]:
    """A little-endian number of 7 bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if not byte & 0x80:
            return value, at
        if shift > 63:
            raise Refused("broken_record", "pack: a size of more than 64 bits")


class _Pack:
    """One pack and where its objects lie."""

    def __init__(self, files: RepositoryFiles, name: str, limits: Limits) -> None:
        self.name = name
        self._limits = limits
        self._bytes = _Bytes(files.open(name))
        head = self._bytes.at(0, 12)
        if len(head) < 12:
            raise Refused("truncated", f"{name}: no header")
        if head[:4] != b"PACK" or head[4:8] not in (b"\0\0\0\2", b"\0\0\0\3"):
            raise Refused("broken_record", f"{name}: no pack of version 2 or 3")
        self._count = int.from_bytes(head[8:12], "big")
        self._cache: collections.OrderedDict[int, tuple[int, bytes]] = collections.OrderedDict()
        self._cached = 0
        self.problem: Refused | None = None
        self._scanned: dict[bytes, int] | None = None
        index = name.removesuffix(".pack") + ".idx"
        try:
            if index not in files:
                raise Refused("missing_object", f"{index} is missing")
            # Its content, not the file: else it would stay open.  32 bytes an object and 1 kB (version 2).
            data = files.read(index, 1100 + 40 * min(self._count, limits.max_members * 100))
            self._index: Any = load_pack_index_file(index, _Content(data), SHA1)  # type: ignore[arg-type]
            if len(self._index) != self._count:
                raise Refused("wrong_length", f"{index} names {len(self._index)} of {self._count} objects")
            self._index.check()
        except Refused as refused:
            self.problem, self._index = refused, None
        except Exception as error:  # whatever dulwich meets in a file that is no index
            self.problem = Refused("broken_record", f"{index}: {type(error).__name__}: {error}"[:300])
            self._index = None

    def close(self) -> None:
        self._bytes.close()

    @property
    def size(self) -> int:
        return self._bytes.size

    def find(self, name: bytes) -> int | None:
        """Where the object of this name (20 bytes) begins."""
        if self._index is None:
            if self._scanned is None:
                self._scanned = self._scan()
            return self._scanned.get(name)
        try:
            return int(self._index.object_offset(name))
        except (KeyError, ValueError, IndexError):
            return None

    def read(self, offset: int, max_bytes: int) -> tuple[int, bytes]:
        """Kind and content; raises Refused."""
        kind, data = self._resolved(offset, max_bytes)
        return kind, data

    def _header(self, offset: int) -> tuple[int, int, int | bytes | None, int]:
        """Kind, size, base of a delta (its place or its name), and where the deflate stream begins."""
        head = self._bytes.at(offset, _HEADER_BYTES)
        try:
            first = head[0]
            size, at = first & 15, 1
            if first & 0x80:
                more, at = _size_of(head, 1)
                size |= more << 4
            kind = first >> 4 & 7
            base: int | bytes | None = None
            if kind == _OFFSET_DELTA:
                back, at = head[at] & 0x7F, at + 1
                while head[at - 1] & 0x80:
                    back = (back + 1) << 7 | head[at] & 0x7F
                    at += 1
                base = offset - back
                if not 12 <= base < offset:
                    raise Refused("broken_record", f"{self.name}: a delta whose base lies outside")
            elif kind == _NAME_DELTA:
                base, at = head[at : at + 20], at + 20
            elif kind not in KINDS:
                raise Refused("broken_record", f"{self.name}: an object of type {kind}")
        except IndexError:
            raise Refused(
                "truncated", f"{self.name}: ends at {self._bytes.size}, an object begins at {offset}"
            ) from None
        return kind, size, base, offset + at

    def _resolved(self, offset: int, max_bytes: int) -> tuple[int, bytes]:
        item = self._limits.max_item_bytes
        chain: list[tuple[int, int, int]] = []
        seen = set()
        at = offset
        while (found := self._cache.get(at)) is None:
            seen.add(at)
            kind, size, base, start = self._header(at)
            if size > (item if chain else max_bytes) and base is None or size > item:
                raise Refused("too_large", f"{size} bytes, more than {item if chain else max_bytes}")
            if base is None:
                found = (kind, _inflated(self._bytes.at, start, size, self.name)[0])
                self._keep(at, found)
                break
            chain.append((at, start, size))
            place = self.find(base) if isinstance(base, bytes) else base
            if place is None:
                raise Refused("missing_object", f"{self.name}: the base of a delta is missing")
            if place in seen or len(chain) > _MAX_CHAIN:
                raise Refused("broken_record", f"{self.name}: a chain of deltas without end")
            at = place
        else:
            self._cache.move_to_end(at)
        kind, data = found
        made = len(data)
        for at, start, size in reversed(chain):
            delta = _inflated(self._bytes.at, start, size, self.name)[0]
            data = self._applied(data, delta, max_bytes if at == offset else item)
            made += len(data)
            if made > _MAX_CHAIN_ITEMS * item:
                raise Refused(
                    "zip_bomb", f"{self.name}: a chain of deltas makes more than {_MAX_CHAIN_ITEMS * item} bytes"
                )
            self._keep(at, (kind, data))
        if len(data) > max_bytes:
            raise Refused("too_large", f"{len(data)} bytes, more than {max_bytes}")
        return kind, data

    def _applied(self, base: bytes, delta: bytes, max_bytes: int) -> bytes:
        try:
            _, at = _size_of(delta, 0)
            size, _ = _size_of(delta, at)
            if size > max_bytes:
                raise Refused("too_large", f"{size} bytes, more than {max_bytes}")
            return b"".join(apply_delta(base, delta))
        except (ApplyDeltaError, IndexError, ValueError, MemoryError) as error:
            raise Refused("broken_record", f"{self.name}: delta: {error}") from error

    def _keep(self, at: int, found: tuple[int, bytes]) -> None:
        if len(found[1]) > _CACHE_BYTES // 8:
            return
        self._cache[at] = found
        self._cached += len(found[1]) + 200
        while self._cached > _CACHE_BYTES:
            self._cached -= len(self._cache.popitem(last=False)[1][1]) + 200

    def _scan(self) -> dict[bytes, int]:
        """Names and places of what stands before damage, for a pack without an index.  One pass; deltas in a second."""
        self._scanned = found = {}
        later: list[int] = []
        at, item = 12, self._limits.max_item_bytes
        try:
            for _ in range(self._count):
                kind, size, base, start = self._header(at)
                if size > item:
                    raise Refused("too_large", f"{self.name}: an object of {size} bytes")
                data, end = _inflated(self._bytes.at, start, size, self.name)
                if base is None:
                    found[name_of(kind, data)] = at
                else:
                    later.append(at)
                at = end
        except Refused as refused:
            self.problem = refused
        while later:
            open_, later = later, []
            for at in open_:
                try:
                    found[name_of(*self._resolved(at, item))] = at
                except Refused as refused:
                    if refused.error == "missing_object":
                        later.append(at)
            if len(later) == len(open_):
                break
        return found


class _Content:
    """Bytes as the file that dulwich's loader of indexes takes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int = -1) -> bytes:
        return self._data

    def close(self) -> None:
        pass


def name_of(kind: int, data: bytes) -> bytes:
    """git's name of an object, 20 bytes."""
    return hashlib.sha1(b"%s %d\0%s" % (KINDS[kind], len(data), data), usedforsecurity=False).digest()


class Objects:
    """All objects of a repository by name.

    Memory: 64 MiB of bases a pack, the indexes (32 bytes an object), and one object.
    """

    def __init__(self, files: RepositoryFiles, limits: Limits) -> None:
        self._files = files
        self._limits = limits
        self._packs: list[_Pack] = []
        self.problems: list[tuple[str, Refused]] = []  # packs that cannot be read, or only without their index
        self.packed_bytes = 0
        for name in files.under("objects/pack/"):
            if name.endswith(".pack"):
                try:
                    pack = _Pack(files, name, limits)
                except Refused as refused:
                    self.problems.append((name, refused))
                    continue
                self._packs.append(pack)
                self.packed_bytes += pack.size
                if pack.problem is not None:
                    self.problems.append((name, pack.problem))

    def close(self) -> None:
        for pack in self._packs:
            pack.close()

    def read(self, name: bytes, kind: int, max_bytes: int | None = None) -> bytes:
        """The content of an object (name: 20 bytes) of this kind; raises Refused."""
        limit = self._limits.max_item_bytes if max_bytes is None else max_bytes
        problem: Refused | None = None
        for found in self._found(name, limit):
            if isinstance(found, Refused):
                problem = problem or found
                continue
            actual, data = found
            if name_of(actual, data) != name:
                problem = problem or Refused("broken_record", f"object {name.hex()}: SHA-1 of another content")
            elif actual != kind:
                raise Refused("broken_record", f"object {name.hex()} is no {KINDS[kind].decode()}")
            else:
                return data
        raise problem or Refused("missing_object", f"object {name.hex()} is not in the repository")

    def _found(self, name: bytes, limit: int) -> Iterator[tuple[int, bytes] | Refused]:
        """What each place where the object is gives: a second copy mends a broken one."""
        for pack in self._packs:
            try:
                place = pack.find(name)
                if place is not None:
                    yield pack.read(place, limit)
            except Refused as refused:
                yield refused
        text = name.hex()
        loose = f"objects/{text[:2]}/{text[2:]}"
        if loose in self._files:
            try:
                yield self._loose(loose, limit)
            except Refused as refused:
                yield refused

    def _loose(self, name: str, limit: int) -> tuple[int, bytes]:
        with self._files.open(name) as raw:
            decoder = zlib.decompressobj()
            block = raw.read(1 << 16)
            self.packed_bytes += raw.seek(0, 2)
            try:
                head, end, _ = decoder.decompress(block, 64).partition(b"\0")
            except zlib.error as error:
                raise Refused("broken_record", f"{name}: {error}") from error
            word, _, number = head.partition(b" ")
            if not block or not end or word not in _KIND_OF or not number.isdigit() or len(number) > 20:
                raise Refused("broken_record" if len(block) > 8 else "truncated", f"{name}: no header of an object")
            if int(number) > limit:
                raise Refused("too_large", f"{int(number)} bytes, more than {limit}")

            def at(offset: int, size: int) -> bytes:
                raw.seek(offset)
                return raw.read(size)

            data, _ = _inflated(at, 0, len(head) + 1 + int(number), name)
            return _KIND_OF[word], data[len(head) + 1 :]
