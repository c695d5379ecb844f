"""Commits of a repository, each with what it changed: JSON {subject, message, files: [{path, old, new}]}."""

from __future__ import annotations

import email.utils
import json
from collections.abc import Iterator

from licenses.opt_out import email_sha256
from pipelines.readers.charset import declared_in_source, decode
from pipelines.readers.code import skip_reason
from pipelines.readers.git import Repository
from pipelines.readers.git_objects import BLOB, Objects
from pipelines.readers.git_trees import (
    DIRECTORY,
    KIND_MASK,
    LINK,
    MAX_DEPTH,
    SUBMODULE,
    CommitHead,
    Entry,
    commit_of,
    instant,
    text_path,
    tree_of,
)
from pipelines.readers.limits import Limits
from pipelines.readers.records import Document, Dropped, Item, Refused, Skipped, safe_meta, safe_text
from pipelines.readers.units import excluded

KIND = "commit"


def read_commits(repository: Repository) -> Iterator[Item]:
    """The unit's part of all commits that lead to the tip, oldest first (by time of commit, then by name).

    Merges are dropped: what they changed stands in the commits that they join.  Renames are a file that went and one
    that came.  A commit that cannot be read is rejected, and those behind it stay unknown.
    Memory: 60 bytes a commit, and the texts of one.
    """
    limits = repository.reading.limits
    known: dict[bytes, int] = {}
    broken: list[tuple[bytes, Refused]] = []
    queue = [repository.tip]
    seen = {repository.tip}
    while queue:
        name = queue.pop()
        try:
            head = commit_of(repository.objects, name)
        except Refused as refused:
            broken.append((name, refused))
            continue
        known[name] = head.commit_time
        if len(known) > limits.max_members:
            broken.append((repository.tip, Refused("too_large", f"more than {limits.max_members} commits")))
            break
        if name not in repository.shallow:
            fresh = [parent for parent in head.parents if parent not in seen]
            queue.extend(fresh)
            seen.update(fresh)
    if repository.reading.unit.part == 0:
        for name, problem in sorted(broken, key=lambda pair: pair[0]):
            yield problem.at(f"{repository.label}#{name.hex()}")
    for index, name in enumerate(sorted(known, key=lambda name: (known[name], name))):
        if not repository.mine(index):
            continue
        locator = f"{repository.label}#{name.hex()}"
        try:
            if excluded(locator, repository.reading.unit.exclude):
                raise Skipped("excluded")
            yield _document(repository, name, locator)
        except Skipped as skipped:
            yield Dropped(locator, skipped.reason)
        except Refused as refused:
            yield refused.at(locator)


def _document(repository: Repository, name: bytes, locator: str) -> Document:
    head = commit_of(repository.objects, name)
    if len(head.parents) > 1:
        raise Skipped("merge_commit")
    if name in repository.shallow and head.parents:
        raise Skipped("no_parent")
    before = commit_of(repository.objects, head.parents[0]).tree if head.parents else None
    max_files = repository.reading.options["max_files"]
    changes = []
    for change in changed(repository.objects, before, head.tree):
        changes.append(change)
        if len(changes) > max_files:
            raise Skipped("many_files")
    left = repository.reading.limits.max_item_bytes
    files = []
    for path, old, new in changes:
        file: dict[str, str | None] = {"path": safe_text(text_path(path))[0], "old": None, "new": None}
        texts = []
        for entry in (old, new):
            found = text_of(repository.objects, repository.reading.limits, text_path(path), entry) if entry else None
            text, omitted = found or (None, None)
            texts.append(text)
            if omitted:
                file["omitted"] = omitted
        if "omitted" not in file:
            file["old"], file["new"] = texts
        left -= sum(map(len, filter(None, texts)))
        if left < 0:
            raise Refused("too_large", f"files of more than {repository.reading.limits.max_item_bytes} characters")
        files.append(file)
    return _made(repository, name, head, files, locator)


def _made(
    repository: Repository, name: bytes, head: CommitHead, files: list[dict[str, str | None]], locator: str
) -> Document:
    message = safe_text(head.message)[0]
    subject = message.lstrip("\n").partition("\n")[0]
    unit = repository.reading.unit
    _, address = email.utils.parseaddr(head.author)
    return Document(
        locator=locator, source=unit.source, kind=unit.document_kind or KIND,
        text=json.dumps({"subject": subject, "message": message, "files": files}, ensure_ascii=False),
        repo=safe_text(repository.repo or repository.label.rpartition("/")[2].removesuffix(".git"))[0],
        path=files[0]["path"] if len(files) == 1 else None,
        commit=name.hex(), timestamp=instant(head.commit_time), mime="application/json",
        swhid=f"swh:1:rev:{name.hex()}",
        meta=safe_meta({
            "parent": head.parents[0].hex() if head.parents else None,
            "author_email_sha256": email_sha256(address) if address else None,
            "author_time": instant(head.author_time),
            "files": str(len(files)),
            "ref": text_path(repository.ref.encode("utf-8", "backslashreplace")),
        }),
    )  # fmt: skip


def text_of(objects: Objects, limits: Limits, path: str, entry: Entry) -> tuple[str | None, str | None]:
    """(content of a file, None), or (None, why it has no text).  Raises Refused where its object cannot be read."""
    kind = entry.mode & KIND_MASK
    if kind in (LINK, SUBMODULE):
        return None, "link" if kind == LINK else "submodule"
    if reason := skip_reason(path):
        return None, reason
    try:
        data = objects.read(entry.name, BLOB, limits.max_code_bytes)
        return safe_text(decode(data, declared_in_source(data))[0])[0] if data else "", None
    except Refused as refused:
        if refused.error not in ("too_large", "binary", "undecodable"):
            raise
        return None, refused.error


Change = tuple[bytes, Entry | None, Entry | None]


def changed(
    objects: Objects, old: bytes | None, new: bytes | None, prefix: bytes = b"", depth: int = 0
) -> Iterator[Change]:
    """(path, entry before, entry after) of the files that differ between two trees, sorted by name; None: not there.

    Equal directories are not looked into.  Raises Refused.
    """
    if old == new:
        return
    if depth >= MAX_DEPTH:
        raise Refused("too_large", f"a directory below {MAX_DEPTH} others")
    before = {entry.path: entry for entry in tree_of(objects, old)} if old else {}
    after = {entry.path: entry for entry in tree_of(objects, new)} if new else {}
    for name in sorted(before.keys() | after.keys()):
        a, b = before.get(name), after.get(name)
        if a == b:
            continue
        a_tree = a is not None and a.mode & KIND_MASK == DIRECTORY
        b_tree = b is not None and b.mode & KIND_MASK == DIRECTORY
        if a_tree or b_tree:
            yield from changed(
                objects,
                a.name if a and a_tree else None,
                b.name if b and b_tree else None,
                prefix + name + b"/",
                depth + 1,
            )
        a_file, b_file = None if a_tree else a, None if b_tree else b
        if a_file or b_file:
            yield prefix + name, a_file, b_file
