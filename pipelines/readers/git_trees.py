"""Commits and trees of a git repository: what they say, checked and within limits."""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections.abc import Iterator
from typing import Any

from dulwich.objects import Commit, parse_tree

from pipelines.readers.files import portable_name
from pipelines.readers.git_objects import COMMIT, TREE, Objects
from pipelines.readers.records import Refused

# The Stack v2 walks at most 64 levels (StarCoder2 report, section 2.1).
MAX_DEPTH = 64
# Modes of entries (gitformat-index(5)): a link, another repository, a directory.
LINK, SUBMODULE, DIRECTORY, KIND_MASK = 0o120000, 0o160000, 0o040000, 0o170000


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A file, link or submodule of a commit's tree."""

    path: bytes
    mode: int
    name: bytes  # of the object, 20 bytes


def tree_of(objects: Objects, name: bytes) -> list[Entry]:
    """The entries of one directory, as git orders them; raises Refused."""
    data = objects.read(name, TREE)
    try:
        return [Entry(path, mode, bytes.fromhex(sha.decode())) for path, mode, sha in parse_tree(data, 20)]
    except Exception as error:  # dulwich raises many kinds
        raise Refused("broken_record", f"tree {name.hex()}: {type(error).__name__}: {error}"[:300]) from error


def walk(objects: Objects, top: bytes, max_entries: int) -> Iterator[Entry | tuple[bytes, Refused]]:
    """All files below a tree in git's order, and (path, why) for each directory that cannot be read.

    Raises Refused('zip_bomb') beyond `max_entries`: equal directories are one object, so that a few kilobytes can stand
    for any number of files.
    """
    count = 0
    stack: list[tuple[bytes, bytes, int]] = [(b"", top, 0)]
    pending: list[list[Entry]] = []
    prefixes: list[bytes] = []
    while stack or pending:
        if stack:
            prefix, name, depth = stack.pop()
            if depth >= MAX_DEPTH:
                yield prefix, Refused("too_large", f"a directory below {MAX_DEPTH} others")
                continue
            try:
                pending.append(tree_of(objects, name)[::-1])
                prefixes.append(prefix)
            except Refused as refused:
                yield prefix, refused
            continue
        if not pending[-1]:
            pending.pop()
            prefixes.pop()
            continue
        entry = pending[-1].pop()
        count += 1
        if count > max_entries:
            raise Refused("zip_bomb", f"more than {max_entries} files and directories")
        path = prefixes[-1] + entry.path
        if entry.mode & KIND_MASK == DIRECTORY:
            stack.append((path + b"/", entry.name, len(pending)))
        else:
            yield Entry(path, entry.mode, entry.name)


def text_path(path: bytes) -> str:
    return portable_name(os.fsdecode(path))


@dataclasses.dataclass(frozen=True, slots=True)
class CommitHead:
    """What a commit says of itself; texts are decoded, times in seconds since 1970."""

    tree: bytes
    parents: tuple[bytes, ...]
    author: str
    message: str
    author_time: int
    commit_time: int


def commit_of(objects: Objects, name: bytes) -> CommitHead:
    """Raises Refused."""
    data = objects.read(name, COMMIT)
    try:
        commit: Any = Commit.from_raw_string(1, data)
        charset = (commit.encoding or b"utf-8").decode("ascii", "replace")
        return CommitHead(
            bytes.fromhex(commit.tree.decode()),
            tuple(bytes.fromhex(parent.decode()) for parent in commit.parents),
            _decoded(commit.author, charset),
            _decoded(commit.message, charset),
            int(commit.author_time),
            int(commit.commit_time),
        )
    except Exception as error:  # dulwich raises many kinds
        raise Refused("broken_record", f"commit {name.hex()}: {type(error).__name__}: {error}"[:300]) from error


def _decoded(data: bytes, charset: str) -> str:
    for name in ("utf-8", charset):  # a commit that says Latin-1 is UTF-8 more often than not
        try:
            return data.decode(name)
        except (LookupError, UnicodeDecodeError, ValueError):
            continue
    return data.decode("utf-8", "replace")


def instant(seconds: int) -> str | None:
    """ISO 8601 in UTC; None for a time that no calendar has."""
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None
