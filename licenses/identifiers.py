"""Identifiers of raw bytes: SWHIDs of contents and directories (ISO/IEC 18670) and SHA-256; always before decoding
or redaction."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Literal

_CONTENT = re.compile(r"swh:1:cnt:[0-9a-f]{40}")


def swhid_content(raw: bytes) -> str:
    """`swh:1:cnt:` and the SHA-1 of `blob <length>\\0<bytes>`, which is also git's id of the blob."""
    digest = hashlib.sha1(b"blob %d\0" % len(raw), usedforsecurity=False)
    digest.update(raw)
    return f"swh:1:cnt:{digest.hexdigest()}"


Mode = Literal["100644", "100755", "120000", "160000"]
"""File, executable file, symbolic link (its content is the target), submodule (its id is a commit)."""
MODES: tuple[Mode, ...] = ("100644", "100755", "120000", "160000")


def swhid_directories(entries: Mapping[str, tuple[Mode, str]]) -> dict[str, str]:
    """`swh:1:dir:...` of every directory of a tree, by its path ('' is the root); also git's ids of the trees.

    entries: path below the root, with '/' -> mode and SHA-1 (40 hex digits) of the content or commit.  Raises
    ValueError, naming the path, for one that git cannot hold: empty names, '.', '..', '.git', a NUL, a file that is
    also a directory, or another mode.
    """
    children: dict[str, dict[str, tuple[str, bytes]]] = {"": {}}
    for path, (mode, digest) in entries.items():
        if mode not in MODES:
            raise ValueError(f"{path!r}: mode {mode!r}; allowed: {', '.join(MODES)}")
        if not re.fullmatch(r"[0-9a-f]{40}", digest):
            raise ValueError(f"{path!r}: id {digest!r} is not a SHA-1 of 40 hexadecimal digits")
        names = path.split("/")
        if any(name in ("", ".", "..") or name.lower() == ".git" or "\0" in name for name in names):
            raise ValueError(f"{path!r}: not the path of a file in a tree")
        for depth in range(1, len(names)):
            children.setdefault("/".join(names[:depth]), {})
        children["/".join(names[:-1])][names[-1]] = (mode, bytes.fromhex(digest))
    found: dict[str, str] = {}
    # Longest first: a directory needs the ids of those below it.
    for path in sorted(children, key=lambda each: -len(each.split("/")) if each else 0):
        parent, _, name = path.rpartition("/")
        tree = _tree_digest(children[path])
        found[path] = f"swh:1:dir:{tree.hex()}"
        if path:
            if name in children[parent]:
                raise ValueError(f"{path!r}: is a file and a directory")
            children[parent][name] = ("40000", tree)
    return found


def _tree_digest(children: Mapping[str, tuple[str, bytes]]) -> bytes:
    """git sorts names as bytes, a directory as if its name ended in '/'."""
    rows = [(name.encode("utf-8", "surrogateescape"), mode, digest) for name, (mode, digest) in children.items()]
    rows.sort(key=lambda row: row[0] + b"/" * (row[1] == "40000"))
    data = b"".join(mode.encode() + b" " + name + b"\0" + digest for name, mode, digest in rows)
    return hashlib.sha1(b"tree %d\0" % len(data) + data, usedforsecurity=False).digest()


def sha256_hex(raw: bytes) -> str:
    """SHA-256, 64 lower-case hex digits."""
    return hashlib.sha256(raw).hexdigest()


def is_swhid_content(value: str) -> bool:
    """Whether `value` is a core SWHID of a content, without qualifiers."""
    return _CONTENT.fullmatch(value) is not None
