"""Manifests: what a stage read, kept, dropped and rejected, and the sha256 of every shard it wrote.

A manifest holds nothing that differs between two runs on the same input: no clock, no host, no number of
workers, no absolute path.  Its canonical JSON is hashed; equal hashes mean equal corpora.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipelines import storage

MANIFEST = "manifest.json"
# Beside shards the name begins with an underscore: pyarrow, Spark and DuckDB then read the folder as one table.
BESIDE_SHARDS = "_manifest.json"
# The libraries whose version can change the bytes of a shard or the value of a column.
_LIBRARIES = (
    "apache-beam",
    "fasttext-predict",
    "license-expression",
    "numpy",
    "phonenumbers",
    "pyarrow",
    "resiliparse",
    "spacy",
    "trafilatura",
    "xxhash",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Books:
    """read = kept + dropped (by reason) + rejected (by error), counted in documents (or input items)."""

    read: int = 0
    kept: int = 0
    dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    rejected: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        return self.read == self.kept + sum(self.dropped.values()) + sum(self.rejected.values())

    @property
    def error_rate(self) -> float:
        return sum(self.rejected.values()) / self.read if self.read else 0.0

    def __add__(self, other: Books) -> Books:
        return Books(
            self.read + other.read,
            self.kept + other.kept,
            _add_counts(self.dropped, other.dropped),
            _add_counts(self.rejected, other.rejected),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "read": self.read,
            "kept": self.kept,
            "dropped": dict(sorted(self.dropped.items())),
            "rejected": dict(sorted(self.rejected.items())),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Books:
        return cls(value["read"], value["kept"], dict(value["dropped"]), dict(value["rejected"]))

    def __str__(self) -> str:
        dropped = ", ".join(f"{n:,} {reason}" for reason, n in sorted(self.dropped.items()) if n) or "none"
        rejected = ", ".join(f"{n:,} {error}" for error, n in sorted(self.rejected.items()) if n) or "none"
        return f"read {self.read:,} = kept {self.kept:,} + dropped ({dropped}) + rejected ({rejected})"


def _add_counts(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    return {key: left.get(key, 0) + right.get(key, 0) for key in sorted({*left, *right})}


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """One finished stage."""

    stage: str
    inputs: Mapping[str, str]  # name -> sha256 of what was read
    options: Mapping[str, Any]
    code: str  # sha256 over the source files that the stage runs
    versions: Mapping[str, str]
    books: Books
    shards: tuple[Mapping[str, Any], ...]  # path, rows, bytes, sha256; sorted by path
    summary: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "inputs": dict(self.inputs),
            "options": dict(self.options),
            "code": self.code,
            "versions": dict(self.versions),
            "books": self.books.to_json(),
            "shards": [dict(shard) for shard in self.shards],
            "summary": dict(self.summary),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Manifest:
        return cls(
            value["stage"],
            value["inputs"],
            value["options"],
            value["code"],
            value["versions"],
            Books.from_json(value["books"]),
            tuple(value["shards"]),
            value["summary"],
        )

    @property
    def sha256(self) -> str:
        return digest(self.to_json())

    @property
    def rows(self) -> int:
        return sum(shard["rows"] for shard in self.shards)


def stage_manifest(output: str, directory: str) -> str:
    """Path of the manifest of the stage that writes to `directory`; in a corpus the shards lie in data/ below."""
    name = MANIFEST if directory.startswith("corpora/") else BESIDE_SHARDS
    return storage.join(output, directory, name)


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of a value."""
    return hashlib.sha256(storage.canonical_json(value)).hexdigest()


def load(path: str) -> Manifest | None:
    """The manifest in that file, or None where there is none (then the stage is not finished)."""
    if not storage.exists(path):
        return None
    return Manifest.from_json(storage.read_json(path))


def shards_of(records: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """The shards among the records of a stage, sorted by path; the same shard from a retry counts once."""
    found: dict[str, Mapping[str, Any]] = {}
    for record in records:
        if "path" not in record:
            continue
        shard = {key: record[key] for key in ("path", "rows", "bytes", "sha256")}
        if found.setdefault(shard["path"], shard) != shard:
            raise ValueError(f"{shard['path']} was written twice with different bytes: {shard}")
    return tuple(found[path] for path in sorted(found))


def library_versions() -> dict[str, str]:
    """name -> version of every library that can change an output, and of Python's minor version."""
    versions = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


@functools.cache
def code_fingerprint(*modules: str) -> str:
    """sha256 over the files of the named modules and packages (`quality_signals`, `pipelines.readers`).

    Data files of a package count too: a changed word list is changed code.
    """
    entries = []
    for module in sorted(modules):
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(module)
        origin = Path(spec.origin)
        files = [origin] if spec.submodule_search_locations is None else sorted(origin.parent.rglob("*"))
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                name = file.name if file == origin else file.relative_to(origin.parent).as_posix()
                entries.append([module, name, hashlib.sha256(file.read_bytes()).hexdigest()])
    return digest(entries)
