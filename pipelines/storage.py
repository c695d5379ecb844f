"""Files on a local disk or on any file system that Beam knows (gs://, s3://, hdfs://).

Every write goes to a temporary name and is renamed: a name that exists holds the whole content.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast


def is_remote(path: str) -> bool:
    return "://" in path


def _beam_filesystems() -> Any:
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


def join(base: str, *parts: str) -> str:
    return "/".join([base.rstrip("/"), *(part.strip("/") for part in parts)])


def exists(path: str) -> bool:
    return _beam_filesystems().exists(path) if is_remote(path) else os.path.exists(path)


def size(path: str) -> int:
    """Bytes of the file; raises FileNotFoundError."""
    if not is_remote(path):
        return os.path.getsize(path)
    matches = _beam_filesystems().match([path])[0].metadata_list
    if not matches:
        raise FileNotFoundError(path)
    return int(matches[0].size_in_bytes)


def make_directory(path: str) -> None:
    if not is_remote(path):
        os.makedirs(path, exist_ok=True)


def remove_tree(path: str) -> None:
    """Removes a directory and all below it; nothing happens if it is not there."""
    if is_remote(path):
        if _beam_filesystems().match([join(path, "**")])[0].metadata_list:
            _beam_filesystems().delete([path])
        return
    import shutil

    shutil.rmtree(path, ignore_errors=True)


def open_read(path: str) -> BinaryIO:
    """A seekable binary file; compressed files are not inflated."""
    if not is_remote(path):
        return open(path, "rb")
    from apache_beam.io.filesystem import CompressionTypes

    return cast(BinaryIO, _beam_filesystems().open(path, compression_type=CompressionTypes.UNCOMPRESSED))


class HashingFile:
    """A write-only binary file that knows the sha256 and the length of what went through it."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._sha256 = hashlib.sha256()
        self._discarding = False
        self.bytes = 0
        self.closed = False

    def discard(self) -> None:
        """What is written from here on goes nowhere: a writer above may still want to end its format."""
        self._discarding = True

    def write(self, data: Any) -> int:
        if self._discarding:
            return len(data)
        self._raw.write(data)
        self._sha256.update(data)
        self.bytes += len(data)
        return len(data)

    def flush(self) -> None:
        self._raw.flush()

    def tell(self) -> int:
        return self.bytes

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


@contextlib.contextmanager
def atomic_write(path: str) -> Iterator[HashingFile]:
    """Yields a HashingFile; on success the content appears under `path` at once, on an error not at all.

    The temporary name is random, but nothing reads it: any number of attempts at the same content converge.
    """
    temporary = f"{path}.tmp-{uuid.uuid4().hex}"
    if is_remote(path):
        raw = _beam_filesystems().create(temporary, mime_type="application/octet-stream")
        try:
            with raw:
                yield_file = HashingFile(raw)
                yield yield_file
        except BaseException:
            with contextlib.suppress(OSError):
                _beam_filesystems().delete([temporary])
            raise
        if exists(path):
            _beam_filesystems().delete([path])
        _beam_filesystems().rename([temporary], [path])
        return
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    raw = open(temporary, "wb")
    try:
        with raw:
            yield HashingFile(raw)
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_bytes(path: str, data: bytes) -> str:
    """Writes atomically and returns the sha256."""
    with atomic_write(path) as out:
        out.write(data)
    return out.sha256


def read_bytes(path: str) -> bytes:
    with open_read(path) as file:
        return file.read()


def file_sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open_read(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def canonical_json(value: Any) -> bytes:
    """Sorted keys, no spaces to spare, one trailing newline: equal values give equal bytes."""
    return (json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1) + "\n").encode()


def read_json(path: str) -> Any:
    return json.loads(read_bytes(path))


def absolute(path: str | Path) -> str:
    text = str(path)
    return text if is_remote(text) else os.path.abspath(text)
