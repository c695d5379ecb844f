"""Members of zip and tar archives, one after another, with every hostile kind of member refused by name.

A zip archive is read through its central directory; if that is missing (a cut file), through the headers
before its members.  A tar archive is read forward only.  What stands before damage is yielded, and one error
stands for the rest.  Archives in archives are not opened.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from pipelines.readers.files import portable_name
from pipelines.readers.limits import Limits
from pipelines.readers.records import Refused, Skipped
from pipelines.readers.streams import compression, inflated, read_limited, strip_compression

ZIP_SUFFIXES = (".zip", ".whl")
TAR_SUFFIXES = (".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.zstd")
_SHORT = {".tgz": "gzip", ".tbz2": "bz2", ".txz": "xz"}
_SUFFIXES = ZIP_SUFFIXES + TAR_SUFFIXES
# Names that hold an archive or compressed data when met inside an archive.
NESTED_SUFFIXES = (
    *ZIP_SUFFIXES,
    *TAR_SUFFIXES,
    ".egg",
    ".gz",
    ".bz2",
    ".xz",
    ".zst",
    ".7z",
    ".rar",
    ".lzma",
    ".cab",
)
# The largest header a tar may ask to be read at once; the longest real path or PAX header has some kilobytes.
_MAX_TAR_HEADER = 1 << 20
# Bytes of a zip central directory for one member: 46 fixed, and a name of usual length (APPNOTE 4.3.12).
_ZIP_ENTRY_BYTES = 46
_MAX_LINK_BYTES = 4096


# Public by name but not listed in the module's __all__: why tarfile stopped.
_TRUNCATED: Any = tarfile.TruncatedHeaderError  # type: ignore[attr-defined]
_EMPTY: Any = tarfile.EmptyHeaderError  # type: ignore[attr-defined]
_END_MARK: Any = tarfile.EOFHeaderError  # type: ignore[attr-defined]


class BrokenContainer(Refused):
    """Reading a member met damage that ends the whole container."""


@dataclasses.dataclass(slots=True)
class Member:
    """One member; `problem` says why it cannot be a document, else `read` gives its bytes.

    The bytes must be read, or held, before the next member is asked for.
    """

    index: int
    name: str
    size: int
    problem: Refused | Skipped | None
    _open: Any = None

    def read(self, max_bytes: int) -> bytes:
        """Raises Refused."""
        if self.problem is not None:
            raise self.problem
        if self.size > max_bytes:
            raise Refused("too_large", f"{self.size} bytes, more than {max_bytes}")
        return self._open(max_bytes)

    def hold(self, max_bytes: int) -> int:
        """Reads the bytes now, for a later `read`, and returns how many are held; what `read` would raise it raises
        then."""
        found: bytes | Refused = b""
        if self.problem is None and self.size <= max_bytes:
            try:
                found = self._open(max_bytes)
            except Refused as refused:
                found = refused
        self._open = functools.partial(_given, found)
        return len(found) if isinstance(found, bytes) else 0


def is_archive(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES)


def is_solid(name: str) -> bool:
    """True if reaching a member means to inflate all members before it."""
    return name.lower().endswith(TAR_SUFFIXES)


def members(raw: BinaryIO, name: str, limits: Limits) -> Iterator[Member]:
    """The members in archive order.  Raises Refused where the container itself is broken or over a limit."""
    if name.lower().endswith(ZIP_SUFFIXES):
        found = _zip_members(raw, limits)
    else:
        found = _tar_members(raw, name, limits)
    seen: set[str] = set()
    total = 0
    for member in found:
        total += member.size
        if member.index >= limits.max_members:
            raise Refused("zip_bomb", f"more than {limits.max_members} members")
        if total > limits.max_archive_bytes:
            raise Refused("zip_bomb", f"members add up to more than {limits.max_archive_bytes} bytes")
        is_directory = isinstance(member.problem, Skipped) and member.problem.reason == "directory"
        if member.name in seen and not is_directory:
            member.problem = Refused("duplicate_id", "a member of this name came before")
        seen.add(member.name)
        yield member


def unsafe_name(name: str) -> str | None:
    """Why a member name must not be used, or None."""
    path = name.replace("\\", "/")
    if path.startswith("/") or (len(path) > 1 and path[1] == ":" and path[0].isalpha()):
        return "absolute member name"
    if ".." in path.split("/"):
        return "member name leaves the archive"
    return "member name holds NUL" if "\0" in path else None


def link_problem(name: str, target: str) -> Refused | Skipped:
    """Links are never followed: one that stays inside the archive points to a member that is read anyway."""
    depth = name.replace("\\", "/").rstrip("/").count("/")
    if target.startswith(("/", "\\")) or (len(target) > 1 and target[1] == ":"):
        return Refused("unsafe_link", "link to an absolute path")
    for part in target.replace("\\", "/").split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        if depth < 0:
            return Refused("unsafe_link", "link leads out of the archive")
    return Skipped("link")


def _nested(name: str) -> Refused | None:
    return (
        Refused("nested_archive", "archives in archives are not opened")
        if (name.lower().endswith(NESTED_SUFFIXES))
        else None
    )


# --- zip ---


def _check_directory_size(raw: BinaryIO, limits: Limits) -> None:
    """Refuses a central directory that would not fit in memory, before zipfile reads it whole.

    APPNOTE 4.3.16: the end record has 22 bytes and up to 65,535 of comment; offset 12 is the directory's
    size.
    """
    end = raw.seek(0, io.SEEK_END)
    tail_at = max(0, end - 22 - 65535)
    raw.seek(tail_at)
    tail = raw.read()
    at = tail.rfind(b"PK\5\6")
    raw.seek(0)
    if at < 0 or len(tail) - at < 22:
        starts_well = raw.read(4) in (b"PK\3\4", b"PK\5\6")
        raw.seek(0)
        raise Refused("truncated" if starts_well else "broken_record", "zip: no end of central directory")
    size = struct.unpack_from("<L", tail, at + 12)[0]
    if min(size, end) > limits.max_members * 2 * _ZIP_ENTRY_BYTES:
        raise Refused("zip_bomb", f"zip: a central directory of {size} bytes")


def _zip_members(raw: BinaryIO, limits: Limits) -> Iterator[Member]:
    try:
        _check_directory_size(raw, limits)
    except Refused as refused:
        if refused.error == "truncated":
            yield from _zip_members_before_cut(raw, limits)
        raise
    try:
        archive = zipfile.ZipFile(raw)
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error) as error:
        raise Refused("broken_record", f"zip: {error}") from error
    entries = archive.infolist()
    overlapping = _overlapping(entries)
    for index, entry in enumerate(entries):
        problem = _zip_problem(archive, entry, limits)
        if problem is None and entry.header_offset in overlapping:
            problem = Refused("zip_bomb", "members share their data")
        yield Member(index, portable_name(entry.filename), entry.file_size, problem, _zip_opener(archive, entry))


def _overlapping(entries: list[zipfile.ZipInfo]) -> set[int]:
    """Header offsets of members whose data runs into the next member's header."""
    by_offset = sorted(entries, key=lambda entry: (entry.header_offset, entry.compress_size))
    return {
        offset
        for entry, following in zip(by_offset, by_offset[1:], strict=False)
        # 30 bytes: the fixed part of a local header (APPNOTE 4.3.7)
        if entry.header_offset + 30 + entry.compress_size > following.header_offset
        for offset in (entry.header_offset, following.header_offset)
    }


def _zip_problem(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limits: Limits) -> Refused | Skipped | None:
    if reason := unsafe_name(entry.orig_filename) or unsafe_name(entry.filename):
        return Refused("path_traversal", reason)
    if entry.is_dir():
        return Skipped("directory")
    mode = entry.external_attr >> 16
    if entry.flag_bits & 1:
        return Refused("encrypted", "encrypted member")
    ratio_bytes = entry.file_size - limits.ratio_floor_bytes
    if ratio_bytes > 0 and ratio_bytes > limits.max_ratio * entry.compress_size:
        return Refused("zip_bomb", f"{entry.file_size} bytes from {entry.compress_size}")
    if stat.S_ISLNK(mode):
        try:
            target = _zip_opener(archive, entry)(_MAX_LINK_BYTES).decode("utf-8", "replace")
        except Refused as refused:
            return refused
        return link_problem(entry.filename, target)
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return Refused("special_file", "a device, pipe or socket")
    return _nested(entry.filename)


def _zip_opener(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Any:
    def read(max_bytes: int) -> bytes:
        try:
            with archive.open(entry) as file:
                return read_limited(file, max_bytes, "member")
        except EOFError as error:
            raise Refused("truncated", "zip: member ends early") from error
        except NotImplementedError as error:
            raise Refused("unsupported", f"zip: {error}") from error
        except (zipfile.BadZipFile, zlib.error, OSError, ValueError, struct.error, RuntimeError) as error:
            raise Refused("broken_record", f"zip: {error}") from error
        except Exception as error:  # lzma and bz2 raise their own classes
            raise Refused("broken_record", f"zip: {type(error).__name__}: {error}") from error

    return read


def _zip_members_before_cut(raw: BinaryIO, limits: Limits) -> Iterator[Member]:
    """Members by their local headers (APPNOTE 4.3.7), until one is not whole; the caller raises then.

    Each is inflated as it is met: a writer that streams states its length only behind the data.
    """
    offset = index = 0
    end = raw.seek(0, io.SEEK_END)
    while True:
        raw.seek(offset)
        head = raw.read(30)
        if len(head) < 30 or not head.startswith(b"PK\3\4"):
            return
        _, flags, method, _, _, crc, packed, size, name_bytes, extra_bytes = struct.unpack("<5H3L2H", head[4:])
        name = raw.read(name_bytes).decode("utf-8" if flags & 0x800 else "cp437", "replace")
        start = offset + 30 + name_bytes + extra_bytes
        streamed = bool(flags & 8)
        if method not in (0, 8) or (streamed and method == 0) or 0xFFFFFFFF in (packed, size):
            return
        if not streamed and start + packed > end:
            return
        raw.seek(start)
        data: bytes | Refused
        try:
            data, used = _zip_content(raw, method, None if streamed else packed, limits)
            if not streamed and zlib.crc32(data) != crc:
                raise Refused("broken_record", "zip: wrong check sum")
        except Refused as refused:
            if streamed:
                return
            data, used = refused, packed
        length = size if isinstance(data, Refused) else len(data)
        yield Member(
            index, portable_name(name), length, _name_problem(name, flags),
            functools.partial(_given, data),
        )  # fmt: skip
        # Behind streamed data stands a descriptor: signature, check sum and two lengths (4.3.9).
        offset = start + used + (16 if streamed else 0)
        index += 1


def _given(data: bytes | Refused, max_bytes: int) -> bytes:
    if isinstance(data, Refused):
        raise data
    return data


def _name_problem(name: str, flags: int) -> Refused | Skipped | None:
    if reason := unsafe_name(name):
        return Refused("path_traversal", reason)
    if name.endswith("/"):
        return Skipped("directory")
    return Refused("encrypted", "encrypted member") if flags & 1 else _nested(name)


def _zip_content(raw: BinaryIO, method: int, packed: int | None, limits: Limits) -> tuple[bytes, int]:
    """Content and number of packed bytes (None: until the deflate stream ends); raises Refused."""
    if method == 0:
        return read_limited(io.BytesIO(raw.read(packed or 0)), limits.max_item_bytes, "member"), packed or 0
    decoder = zlib.decompressobj(-15)
    pieces: list[bytes] = []
    taken = made = 0
    while not decoder.eof:
        block = decoder.unconsumed_tail or raw.read(1 << 16 if packed is None else min(1 << 16, packed - taken))
        if not block:
            raise Refused("truncated", "zip: member ends early")
        taken += 0 if decoder.unconsumed_tail else len(block)
        try:
            piece = decoder.decompress(block, 1 << 20)
        except zlib.error as error:
            raise Refused("broken_record", f"zip: {error}") from error
        made += len(piece)
        if made > limits.max_item_bytes:
            raise Refused("too_large", f"member is longer than {limits.max_item_bytes} bytes")
        if made > limits.ratio_floor_bytes + limits.max_ratio * taken:
            raise Refused("zip_bomb", f"inflates more than {limits.max_ratio:g} times")
        pieces.append(piece)
    return b"".join(pieces), taken - len(decoder.unused_data)


# --- tar ---


class _ForwardFile:
    """The seek/tell/read that tarfile needs, over a stream that only goes forward.

    A header that asks for an unreasonable amount, or a member size that leads backwards, is refused.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > _MAX_TAR_HEADER:
            raise Refused("broken_record", f"tar: a header of {size} bytes")
        data = self._stream.read(size)
        self._position += len(data)
        return data

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        if position < self._position:
            raise Refused("broken_record", "tar: a member that leads backwards")
        while self._position < position:
            data = self._stream.read(min(1 << 20, position - self._position))
            if not data:
                raise Refused("truncated", "tar: ends inside a member")
            self._position += len(data)


class _CheckedInfo(tarfile.TarInfo):
    """Remembers why the list of members ended: tarfile ends silently at damage that follows the first
    member."""

    @classmethod
    def fromtarfile(cls, archive: Any) -> Any:
        try:
            return super().fromtarfile(archive)
        except tarfile.HeaderError as error:
            archive.last_error = error
            raise


def _tar_members(raw: BinaryIO, name: str, limits: Limits) -> Iterator[Member]:
    kind = next((kind for suffix, kind in _SHORT.items() if name.lower().endswith(suffix)), compression(name))
    stream = inflated(raw, kind, limits)
    file = _ForwardFile(stream)
    try:
        archive = tarfile.TarFile(fileobj=file, mode="r", tarinfo=_CheckedInfo)  # type: ignore[arg-type]
        index = 0
        while (entry := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # else it grows with the archive
            yield Member(index, portable_name(entry.name), entry.size, _tar_problem(entry), _tar_opener(file, entry))
            index += 1
    except tarfile.TarError as error:
        cut = isinstance(error.__context__, _TRUNCATED) or "unexpected end" in str(error)
        raise Refused("truncated" if cut or not file.tell() else "broken_record", f"tar: {error}") from error
    except (ValueError, UnicodeError, OverflowError, struct.error) as error:
        raise Refused("broken_record", f"tar: {error}") from error
    ended = getattr(archive, "last_error", None)
    if isinstance(ended, (_TRUNCATED, _EMPTY)):
        raise Refused("truncated", "tar: no end mark")
    if isinstance(ended, tarfile.HeaderError) and not isinstance(ended, _END_MARK):
        raise Refused("broken_record", f"tar: {ended}")
    while stream.read(1 << 20):  # the padding; a compressed stream must also end properly
        pass


def _tar_problem(entry: tarfile.TarInfo) -> Refused | Skipped | None:
    if reason := unsafe_name(entry.name):
        return Refused("path_traversal", reason)
    if entry.isdir():
        return Skipped("directory")
    if entry.issym():
        return link_problem(entry.name, entry.linkname)
    if entry.islnk():  # the target of a hard link counts from the top of the archive
        return link_problem("", entry.linkname)
    if not entry.isfile():
        return Refused("special_file", "a device, pipe or socket")
    if entry.issparse():
        return Refused("unsupported", "tar: a sparse member")
    return _nested(entry.name)


def _tar_opener(file: _ForwardFile, entry: tarfile.TarInfo) -> Any:
    def read(max_bytes: int) -> bytes:
        try:
            file.seek(entry.offset_data)
            pieces = []
            left = entry.size
            while left:
                piece = file.read(min(_MAX_TAR_HEADER, left))
                if not piece:
                    raise Refused("truncated", "tar: ends inside a member")
                pieces.append(piece)
                left -= len(piece)
        except Refused as refused:
            raise BrokenContainer(refused.error, refused.message) from refused
        return b"".join(pieces)

    return read


def stem(name: str) -> str:
    """An archive's file name without its suffixes."""
    base = name.rsplit("/", 1)[-1]
    for suffix in sorted(ZIP_SUFFIXES + TAR_SUFFIXES, key=len, reverse=True):
        if base.lower().endswith(suffix):
            return base[: -len(suffix)]
    return strip_compression(base)
