"""Hashes of the raw input, so that a finished ingest is known to be of the same files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from pipelines import storage
from pipelines.manifest import digest


class InputDigests:
    """sha256 of every input file; a file whose size and modification time are as before is not read again.

    The cache lies beside the output and holds absolute paths; it is never part of a manifest.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: dict[str, Any] = storage.read_json(path) if storage.exists(path) else {}
        self._used: dict[str, Any] = {}

    def of_file(self, path: str) -> str:
        if storage.is_remote(path):
            # Reading terabytes from an object store to find out that nothing changed would cost a run.
            stamp: list[Any] = [storage.size(path)]
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
            storage.write_bytes(self._path, storage.canonical_json(self._used))
