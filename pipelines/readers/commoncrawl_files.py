"""Files of a crawl where they lie: on this machine through `Files`, elsewhere through fsspec.

fsspec (BSD-3-Clause) opens https:// with aiohttp, s3:// with s3fs and gs:// with gcsfs; a missing one is named before
any work.  No credentials are looked for beyond what these packages do themselves.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO, cast

from pipelines.readers.files import Files
from pipelines.readers.records import Refused

# Scheme -> what opens it.  Common Crawl serves the same files at s3://commoncrawl/ and https://data.commoncrawl.org/.
PACKAGES = {"https": "aiohttp", "http": "aiohttp", "s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
# Read ahead of a file that is read from one end to the other.
_READ_AHEAD = 8 << 20


class MissingPackage(ValueError):
    """A scheme that no installed package opens."""


def is_remote(path: str) -> bool:
    return "://" in path


def scheme(path: str) -> str:
    return path.partition("://")[0]


def check_scheme(path: str) -> None:
    """Raises MissingPackage where nothing opens what `path` names."""
    if not is_remote(path):
        return
    name = scheme(path)
    try:
        import fsspec
    except ImportError:
        raise MissingPackage(f"{name}:// needs fsspec: pip install fsspec {PACKAGES.get(name, '')}".strip()) from None
    try:
        fsspec.get_filesystem_class(name)
    except ImportError:
        package = PACKAGES.get(name)
        hint = f"{package}: pip install {package}" if package else "a package that fsspec names for it"
        raise MissingPackage(f"{name}:// needs {hint}") from None
    except ValueError:
        known = ", ".join(f"{each}://" for each in PACKAGES)
        raise MissingPackage(f"{name}:// is not known; known are local paths, {known}") from None


def _filesystem(path: str) -> tuple[Any, str]:
    import fsspec

    check_scheme(path)
    return cast(tuple[Any, str], fsspec.core.url_to_fs(path))


def open_file(path: str, files: Files) -> BinaryIO:
    """A seekable binary file; raises Refused('unreadable')."""
    if not is_remote(path):
        return files.open(path)
    try:
        system, place = _filesystem(path)
        return cast(BinaryIO, system.open(place, "rb", block_size=_READ_AHEAD))
    except Exception as error:  # each of the packages has errors of its own
        raise Refused("unreadable", _told(path, error)) from error


def read_range(path: str, start: int, stop: int, files: Files) -> bytes:
    """The bytes [start, stop), fewer where the file ends before; raises Refused('unreadable')."""
    if not is_remote(path):
        with files.open(path) as raw:
            raw.seek(start)
            return raw.read(stop - start)
    try:
        system, place = _filesystem(path)
        return cast(bytes, system.cat_file(place, start=start, end=stop))
    except Exception as error:  # each of the packages has errors of its own
        raise Refused("unreadable", _told(path, error)) from error


def read_whole(path: str, files: Files, max_bytes: int) -> bytes:
    """A small file; raises Refused: unreadable, too_large."""
    with open_file(path, files) as raw:
        try:
            data = raw.read(max_bytes + 1)
        except Exception as error:  # each of the packages has errors of its own
            raise Refused("unreadable", _told(path, error)) from error
    if len(data) > max_bytes:
        raise Refused("too_large", f"more than {max_bytes} bytes")
    return data


def size_of(path: str, files: Files) -> int:
    """Bytes of the file; raises Refused('unreadable')."""
    with open_file(path, files) as raw:
        return raw.seek(0, io.SEEK_END)


def _told(path: str, error: Exception) -> str:
    """Without what stands before the file's name: a message may not carry a signed URL."""
    return f"{path.rpartition('/')[2][:100]}: {type(error).__name__}: {str(error)[:200]}"
