"""Which commit of a repository is read, and where it comes from.  Nothing in its configuration is obeyed."""

from __future__ import annotations

import re

from pipelines.readers.git_objects import COMMIT, TAG, Objects, RepositoryFiles
from pipelines.readers.records import Refused

_NAME = re.compile(rb"[0-9a-f]{40}")
_SYMBOLIC = re.compile(rb"ref:\s*(refs/[^\s\0]+)\s*")
_DEFAULTS = ("refs/heads/main", "refs/heads/master")
_MAX_REF_BYTES = 4096
_MAX_PACKED_REFS = 64 << 20
_MAX_CONFIG = 1 << 20
# git follows 5 symbolic refs (refs.c: SYMREF_MAXDEPTH).
_MAX_DEPTH = 5
_REMOTE = re.compile(r'\s*\[\s*remote\s+"((?:[^"\\]|\\.)*)"\s*\]\s*(.*)', re.I)
# https://host/owner/name(.git), ssh://git@host:22/owner/name, git@host:owner/name
_ADDRESS = re.compile(
    r"(?:\w[\w+.-]*://(?:[^/@]*@)?[^/:]+(?::\d+)?/|(?:[^/@:\s]+@)?[\w.-]+\.[\w.-]+:)(?P<path>[^?#\s]+)"
)


class Refs:
    """Names of commits.  Raises Refused where packed-refs cannot be read at all."""

    def __init__(self, files: RepositoryFiles) -> None:
        self._files = files
        self._packed: dict[str, bytes] = {}
        self.problems: list[tuple[str, Refused]] = []
        if "packed-refs" in files:
            try:
                self._read_packed(files.read("packed-refs", _MAX_PACKED_REFS))
            except Refused as refused:
                self.problems.append(("packed-refs", refused))

    def _read_packed(self, data: bytes) -> None:
        broken = 0
        for line in data.splitlines():
            if not line or line[:1] in b"#^":
                continue
            value, _, name = line.partition(b" ")
            if _NAME.fullmatch(value) and name.startswith(b"refs/"):
                self._packed[name.decode("utf-8", "backslashreplace")] = bytes.fromhex(value.decode())
            else:
                broken += 1
        if broken:
            self.problems.append(("packed-refs", Refused("broken_record", f"{broken} lines that are no ref")))

    def empty(self) -> bool:
        return not self._packed and not self._files.under("refs/")

    def find(self, name: str) -> bytes | None:
        """The object that a ref names; None where it does not exist.  Raises Refused for one that is broken."""
        for _ in range(_MAX_DEPTH):
            if name not in self._files:
                return self._packed.get(name)
            data = self._files.read(name, _MAX_REF_BYTES)
            if match := _SYMBOLIC.fullmatch(data):
                name = match[1].decode("utf-8", "backslashreplace")
                continue
            if not _NAME.fullmatch(data.strip()):
                raise Refused("broken_record", f"{name} holds no name of an object")
            return bytes.fromhex(data.strip().decode())
        raise Refused("broken_record", f"{name}: refs that lead to each other")

    def head(self) -> str:
        """What HEAD names: `refs/heads/x`, or `HEAD` itself where it names a commit or nothing."""
        if "HEAD" in self._files:
            match = _SYMBOLIC.fullmatch(self._files.read("HEAD", _MAX_REF_BYTES))
            if match:
                return match[1].decode("utf-8", "backslashreplace")
        return "HEAD"

    def tip(self, branch: str | None, revision: str | None) -> tuple[str, bytes] | None:
        """Name and object of what is read; None where the repository has no commit yet.

        revision   40 hex digits, a tag, or a full ref; branch: of this repository, else of its origin.  Without
                   either: HEAD, main, master; broken ones among them are told in `problems`.
        Raises Refused where what was asked for is missing or broken.
        """
        if revision is not None:
            if re.fullmatch("[0-9a-fA-F]{40}", revision):
                return revision.lower(), bytes.fromhex(revision)
            names = [revision] if revision.startswith("refs/") else [f"refs/tags/{revision}", f"refs/heads/{revision}"]
        elif branch is not None:
            names = [f"refs/heads/{branch}", f"refs/remotes/origin/{branch}"]
        else:
            return self._default()
        for name in names:
            if (found := self.find(name)) is not None:
                return name, found
        raise Refused("missing_object", f"no ref {' or '.join(names)}")

    def _default(self) -> tuple[str, bytes] | None:
        for name in ("HEAD", *_DEFAULTS):
            try:
                if name == "HEAD":
                    name = self.head()
                if (found := self.find(name)) is not None:
                    return name, found
            except Refused as refused:
                self.problems.append((name, refused))
        if self.empty() and not self.problems and not self._files.under("objects/"):
            return None
        raise Refused("missing_object", "neither HEAD, main nor master names a commit")


def peeled(name: bytes, objects: Objects) -> bytes:
    """The commit that an annotated tag names, or the name as it is; raises Refused."""
    for _ in range(_MAX_DEPTH):
        try:
            data = objects.read(name, TAG)
        except Refused as refused:
            if refused.error == "broken_record":
                objects.read(name, COMMIT)  # no tag: says what is wrong if it is no commit, either
                return name
            raise
        match = re.match(rb"object ([0-9a-f]{40})\n", data)
        if match is None:
            raise Refused("broken_record", f"tag {name.hex()} names no object")
        name = bytes.fromhex(match[1].decode())
    raise Refused("broken_record", f"tag {name.hex()}: tags of tags")


def configuration(files: RepositoryFiles) -> tuple[str | None, str]:
    """Address of the remote `origin` (else of the first remote), and the object format.  Includes are not read."""
    if "config" not in files:
        return None, "sha1"
    try:
        text = files.read("config", _MAX_CONFIG).decode("utf-8", "replace")
    except Refused:
        return None, "sha1"
    remotes: dict[str, str] = {}
    section, form = "", "sha1"
    for line in text.splitlines():
        if line.lstrip().startswith("["):
            match = _REMOTE.match(line)
            section = f"remote {match[1]}" if match else line.strip(" \t[]").lower()
            line = match[2] if match else ""
        key, equals, value = (part.strip() for part in line.partition("="))
        if equals and section.startswith("remote ") and key.lower() == "url":
            remotes.setdefault(section.removeprefix("remote "), value.strip('"'))
        if equals and section == "extensions" and key.lower() == "objectformat":
            form = value.lower()
    return remotes.get("origin") or next(iter(remotes.values()), None), form


def repository_of(address: str | None) -> str | None:
    """`owner/name` of a remote's address (on some forges with groups in between); None for local paths."""
    match = _ADDRESS.match(address or "")
    if match is None:
        return None
    path = match["path"].strip("/").removesuffix(".git").strip("/")
    return path if path.count("/") >= 1 and ".." not in path else None
