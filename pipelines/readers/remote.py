"""Inputs that lie elsewhere, through fsspec: found, opened, read by ranges, and told apart from what they were.

fsspec (BSD-3-Clause) opens https:// with aiohttp, s3:// with s3fs and gs:// with gcsfs; a missing one is named before
any work.  No credentials are looked for beyond what these packages do themselves.
"""

from __future__ import annotations

import functools
import io
import posixpath
import time
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar, cast

from pipelines.readers.records import Refused
from pipelines.storage import is_remote

# Scheme -> what opens it.  Common Crawl serves the same files at s3://commoncrawl/ and https://data.commoncrawl.org/.
PACKAGES = {"https": "aiohttp", "http": "aiohttp", "s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
# Read ahead of a file that is read from one end to the other.
_READ_AHEAD = 8 << 20
# A request that fails is made again after these many seconds: a busy server says so, and a connection breaks off.
_WAITS = (0.5, 2.0)
# A server that sends nothing for so long is given up; one request may take 5 minutes (aiohttp's own limit).
_SILENT_SECONDS = 60
# Errors that come again however often one asks.
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotImplementedError, ValueError, ImportError)
# What object stores and servers say of a content, the first of them that is there; then of the time of its last change.
# RFC 9110, 8.8 (ETag, Last-Modified) and 8.6; S3 ETag; Google Cloud Storage md5Hash, etag.
_CONTENT_MARKS = ("ETag", "etag", "md5Hash", "Content-MD5", "Digest", "checksum")
_TIME_MARKS = ("Last-Modified", "LastModified", "last_modified", "updated", "mtime", "created")
GLOB = frozenset("*?[")
T = TypeVar("T")


class MissingPackage(ValueError):
    """A scheme that no installed package opens."""


def scheme(path: str) -> str:
    """`https` of `https://...`; '' of a local path."""
    return path.partition("://")[0] if is_remote(path) else ""


def check_scheme(path: str) -> None:
    """Raises MissingPackage where nothing opens what `path` names."""
    if is_remote(path):
        _check_scheme(scheme(path))


def _check_scheme(name: str) -> None:
    try:
        import fsspec
    except ImportError:
        raise MissingPackage(f"{name}:// needs fsspec: install gristmill[remote]") from None
    try:
        fsspec.get_filesystem_class(name)
    except ImportError:
        package = PACKAGES.get(name)
        hint = f"{package}: install gristmill[remote]" if package else "a package that fsspec names for it"
        raise MissingPackage(f"{name}:// needs {hint}") from None
    except ValueError:
        known = ", ".join(f"{each}://" for each in PACKAGES)
        raise MissingPackage(f"{name}:// is not known; known are local paths, {known}") from None


def _filesystem(path: str) -> tuple[Any, str]:
    import fsspec

    check_scheme(path)
    options: dict[str, Any] = {}
    if scheme(path) in ("http", "https"):
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=300, sock_connect=_SILENT_SECONDS, sock_read=_SILENT_SECONDS)
        options = {"client_kwargs": {"timeout": timeout}}
    return cast(tuple[Any, str], fsspec.core.url_to_fs(path, **options))


def _tried(path: str, work: Callable[[], T]) -> T:
    """What `work` gives, at the third attempt at the latest; raises Refused('unreadable')."""
    for wait in (*_WAITS, None):
        try:
            return work()
        except Refused:
            raise
        except Exception as raised:  # each of the packages has errors of its own
            error = _behind(raised)
            if wait is None or isinstance(error, _FINAL):
                raise Refused("unreadable", _told(path, error)) from error
            time.sleep(wait)
    raise AssertionError("unreachable")


def _behind(error: Exception) -> Exception:
    """fsspec says of every address that gave no answer that there is no file: then the error behind that."""
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and isinstance(cause, Exception):
        unanswered = isinstance(cause, TimeoutError) or type(cause).__module__.startswith("aiohttp.")
        if unanswered and getattr(cause, "status", None) not in (404, 410):
            return cause
    return error


def find_remote(pattern: str) -> list[tuple[str, str, int, bool]]:
    """(path, name, bytes, whether the pattern names it) of what a path, folder or glob names; 0 bytes: not known.

    An address of https:// is a file: it has neither folders nor wildcards.  Raises MissingPackage, and
    Refused('unreadable') where a server gives no answer.
    """
    system, place = _filesystem(pattern)
    plain = scheme(pattern) in ("http", "https")
    if not plain and GLOB.intersection(place):
        root = posixpath.dirname(place[: min(place.find(mark) for mark in GLOB if mark in place)])
        found = _tried(pattern, lambda: system.glob(place, detail=True))
    else:
        try:
            info = _info(system, place, pattern)
        except FileNotFoundError:
            return []
        if plain or info.get("type") != "directory":
            return [(pattern, posixpath.basename(place.partition("?")[0] if plain else place), _size(info), True)]
        root = place.rstrip("/")
        found = _tried(pattern, lambda: system.find(place, detail=True))
    return [
        (system.unstrip_protocol(path), path.removeprefix(root).lstrip("/"), _size(info), False)
        for path, info in found.items()
        if info.get("type") == "file"
    ]


def _info(system: Any, place: str, path: str) -> dict[str, Any]:
    """What the store says of a file; raises FileNotFoundError and Refused('unreadable')."""
    try:
        return dict(_tried(path, functools.partial(system.info, place)))
    except Refused as refused:
        if isinstance(refused.__cause__, FileNotFoundError):
            raise refused.__cause__ from None
        raise


def _size(info: dict[str, Any]) -> int:
    size = info.get("size")
    return size if isinstance(size, int) and size > 0 else 0


def stamp_of(path: str) -> list[Any]:
    """What tells a remote file from another content at the same path, without reading it: its size, and its ETag or
    checksum, else the time of its last change, as far as the store says them; [] where it is not there.

    Raises MissingPackage, and Refused('unreadable') where the store gives no answer.
    """
    system, place = _filesystem(path)
    try:
        info = _info(system, place, path)
    except FileNotFoundError:
        return []
    mark = next((f"{name} {info[name]}" for name in (*_CONTENT_MARKS, *_TIME_MARKS) if info.get(name)), None)
    return [info.get("size"), mark]


def open_remote(path: str) -> BinaryIO:
    """A seekable binary file.  It and whatever is read from it raise Refused('unreadable'), MissingPackage at once."""
    system, place = _filesystem(path)
    return cast(BinaryIO, io.BufferedReader(_Remote(path, lambda: system.open(place, "rb", block_size=_READ_AHEAD))))


class _Remote(io.RawIOBase):
    """A remote file that is opened anew where a request has failed."""

    def __init__(self, path: str, opened: Callable[[], Any]) -> None:
        self._path, self._opened, self._at = path, opened, 0
        self._raw: Any = None
        self._do(lambda raw: None)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET:  # asks nothing of the server
            self._at = offset
        else:
            self._at = self._do(lambda raw: raw.seek(offset, whence))
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._do(lambda raw: self._some(raw, len(buffer)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _some(self, raw: Any, most: int) -> bytes:
        data: bytes = raw.read(most)
        size = getattr(raw, "size", None)
        if most and not data and size is not None and self._at < size:  # fsspec takes 416 for the end of a file
            raise OSError(f"the server gave no bytes at {self._at:,} of {size:,}")
        return data

    def close(self) -> None:
        if self._raw is not None:
            self._raw.close()
        super().close()

    def _do(self, work: Callable[[Any], T]) -> T:
        def attempt() -> T:
            try:
                if self._raw is None:
                    self._raw = self._opened()
                    if getattr(self._raw, "size", 0) is None:
                        said = "the server does not say how long the file is: fetch it, and read it from the disk"
                        raise Refused("unreadable", f"{_name(self._path)}: {said}")
                if self._raw.tell() != self._at:
                    self._raw.seek(self._at)
                return work(self._raw)
            except Exception:
                self._raw = None
                raise

        return _tried(self._path, attempt)


def read_range(path: str, start: int, stop: int) -> bytes:
    """The bytes [start, stop) of a remote file, fewer where it ends before; raises Refused('unreadable')."""
    system, place = _filesystem(path)
    data = _tried(path, lambda: cast(bytes, system.cat_file(place, start=start, end=stop)))
    if len(data) != stop - start:
        # A server that knows no ranges sends the whole file.
        size = _tried(path, lambda: system.size(place))
        if len(data) > stop - start or size is not None and len(data) != max(0, min(stop, size) - start):
            raise Refused("unreadable", f"{_name(path)}: the server gives no ranges of bytes")
    return data


def _told(path: str, error: Exception) -> str:
    """Without what stands before the file's name, and without a query: a message may not carry a signed URL."""
    said = str(error).replace(path, "")[:200]
    return f"{_name(path)}: {type(error).__name__}: {said}".rstrip(": ")


def _name(path: str) -> str:
    return path.partition("?")[0].rpartition("/")[2][:100]
