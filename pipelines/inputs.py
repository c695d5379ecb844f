"""Hashes of the raw input, so that a finished ingest is known to be of the same files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from pipelines import storage
from pipelines.errors import UsageError
from pipelines.manifest import digest
from pipelines.readers.records import Refused
from pipelines.readers.remote import MissingPackage, stamp_of


class InputDigests:
    """sha256 of every input file; a file whose size and modification time are as before is not read again.

    A remote file is not read: its path stands for it, with its size and its ETag or checksum, else the time of its last
    change, as far as its store says them (`pipelines.readers.remote.stamp_of`).  Where it says none of them, only
    another path is another input; and one content at two addresses is two inputs.
    The cache lies beside the output and holds absolute paths; it is never part of a manifest.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: dict[str, Any] = storage.read_json(path) if storage.exists(path) else {}
        self._used: dict[str, Any] = {}

    def of_file(self, path: str) -> str:
        if storage.is_remote(path):
            # Reading terabytes from an object store to find out that nothing changed would cost a run.
            if path not in self._used:
                stamp = _remote_stamp(path)
                self._used[path] = [stamp, digest([path, stamp])]
        elif not os.path.isfile(path):
            # A dangling link or a device is an item that the reader refuses by name.
            self._used[path] = [[], digest([path.rpartition("/")[2], "not a file"])]
        else:
            status = os.stat(path)
            stamp = [status.st_size, status.st_mtime_ns]
            known = self._known.get(path)
            if path not in self._used:
                self._used[path] = known if known and known[0] == stamp else [stamp, storage.file_sha256(path)]
        return self._used[path][1]

    def of_files(self, names_and_paths: Iterable[tuple[str, str]]) -> str:
        """One hash over (name, content) of the files, in any order."""
        return digest(sorted([name, self.of_file(path)] for name, path in set(names_and_paths)))

    def save(self) -> None:
        if not storage.is_remote(self._path):
            # Of remote files nothing is remembered, and an address may be signed.
            local = {path: known for path, known in self._used.items() if not storage.is_remote(path)}
            storage.write_bytes(self._path, storage.canonical_json(local))


def _remote_stamp(path: str) -> list[Any]:
    """Through fsspec, as readers open inputs; where no package for it is there, Beam knows the size of what it writes.

    Raises UsageError where the store gives no answer.
    """
    try:
        return stamp_of(path)
    except MissingPackage:
        return [storage.size(path)]
    except Refused as refused:
        raise UsageError(f"input {refused.message}") from None
