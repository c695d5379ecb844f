"""Where the bytes come from: the local disk and what fsspec opens, or any object with the three methods of `Files`."""

from __future__ import annotations

import dataclasses
import glob
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from pipelines.readers.records import Refused
from pipelines.readers.remote import GLOB, find_remote, open_remote
from pipelines.storage import is_remote


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A file that an input names."""

    path: str  # how to open it
    name: str  # relative to the input's root, with '/': the same on every machine
    size: int
    given: bool  # named by the caller, so that its suffix does not decide whether it is read


class Files(Protocol):
    """Access to inputs; another implementation serves other file systems."""

    def find(self, pattern: str) -> list[Found]:
        """All files that a path, directory or glob names, sorted by name; empty if there are none."""

    def open(self, path: str) -> BinaryIO:
        """A seekable binary file, compressed files as they are; raises Refused, as may whatever is read from it."""

    def link(self, path: str, root_name: str) -> str | None:
        """None for an ordinary file; 'link' for a link that stays within the input, 'unsafe_link' for
        another."""


def portable_name(name: str) -> str:
    """A file or member name as valid UTF-8 without NUL; other bytes become backslash escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\0", "\\x00")


class LocalFiles:
    """Files on a local disk, and at addresses (`https://`, `s3://`: `pipelines.readers.remote`).

    Links below a directory are reported, never followed.
    """

    def find(self, pattern: str) -> list[Found]:
        if is_remote(pattern):
            found = [Found(path, portable_name(name), size, given) for path, name, size, given in find_remote(pattern)]
        elif os.path.isdir(pattern):
            found = list(self._walk(pattern))
        elif os.path.lexists(pattern):
            found = [self._found(pattern, os.path.basename(pattern), given=True)]
        elif GLOB.intersection(pattern):
            root = _glob_root(pattern)
            paths = (path for path in glob.iglob(pattern, recursive=True) if not os.path.isdir(path))
            found = [self._found(path, os.path.relpath(path, root), given=False) for path in paths]
        else:
            found = []
        return sorted(found, key=lambda file: (file.name, file.path))

    def tree(self, pattern: str) -> list[Found]:
        """As `find`, with the folders `.git`, and with all that lies below the directories that a glob names."""
        if not GLOB.intersection(pattern) or os.path.lexists(pattern):
            found = list(self._walk(pattern, hidden=False)) if os.path.isdir(pattern) else self.find(pattern)
        else:
            root = _glob_root(pattern)
            found = []
            for path in sorted(set(glob.iglob(pattern, recursive=True))):
                below = self._walk(path, hidden=False) if os.path.isdir(path) and not os.path.islink(path) else ()
                for file in below:
                    found.append(
                        dataclasses.replace(
                            file, name=portable_name(os.path.relpath(file.path, root).replace(os.sep, "/"))
                        )
                    )
        return sorted({file.name: file for file in found}.values(), key=lambda file: (file.name, file.path))

    def _walk(self, root: str, hidden: bool = True) -> Iterator[Found]:
        for directory, names, file_names in os.walk(root):
            links = [name for name in names if os.path.islink(os.path.join(directory, name))]
            names[:] = [name for name in names if name not in links and not (hidden and name == ".git")]
            below = os.path.relpath(directory, root)
            prefix = "" if below == os.curdir else below + os.sep
            for name in file_names + links:
                yield self._found(os.path.join(directory, name), prefix + name, given=False)

    @staticmethod
    def _found(path: str, name: str, given: bool) -> Found:
        # A link below a directory is not followed, so it weighs nothing; a broken one must not stop the plan.
        status = os.stat(path) if given else os.lstat(path)
        return Found(
            path, portable_name(name.replace(os.sep, "/")), status.st_size if stat.S_ISREG(status.st_mode) else 0, given
        )

    def open(self, path: str) -> BinaryIO:
        if is_remote(path):
            return open_remote(path)
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for ever
                raise Refused("special_file", "not a regular file")
            return open(path, "rb")
        except OSError as error:
            raise Refused("unreadable", os.strerror(error.errno or 0)) from error

    def link(self, path: str, root_name: str) -> str | None:
        if not os.path.islink(path):
            return None
        depth = root_name.count("/") + 1
        root = os.path.abspath(path)
        for _ in range(depth):
            root = os.path.dirname(root)
        target = os.path.realpath(path)
        inside = os.path.commonpath([os.path.realpath(root), target]) == os.path.realpath(root)
        return "link" if inside else "unsafe_link"


LOCAL = LocalFiles()


def below(root: str | None, path: str) -> str:
    """The path, below `root` unless it is absolute or an address; without a root as it is."""
    return path if not root or os.path.isabs(path) or is_remote(path) else os.path.join(root, path)


def why_nothing(pattern: str) -> str:
    """What a local pattern without a file suffers from, to stand behind it in a message; '' where nobody can tell."""
    if is_remote(pattern):
        return ""
    if os.path.isdir(pattern):
        return ": the folder holds no file"
    if not GLOB.intersection(pattern):
        return ": no such file or folder"
    root = _glob_root(pattern)
    return "" if os.path.isdir(root) else f": there is no folder {root}"


def _glob_root(pattern: str) -> str:
    """The part of the pattern before the first component with a wildcard."""
    parts = pattern.split(os.sep)
    first = next(index for index, part in enumerate(parts) if GLOB.intersection(part))
    return os.sep.join(parts[:first]) or (os.sep if pattern.startswith(os.sep) else ".")
