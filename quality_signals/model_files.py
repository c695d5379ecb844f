"""Fitted models as files: one zip archive with the model and its training manifest, named by its hash.

    model.zip
      manifest.json    kind, what it was trained on (files, hashes, counts), options, versions, what was measured
      ...              members that the kind defines: arrays as .npy, a fastText .bin, an ARPA file

The archive is written without clock or compression level surprises, so equal content is an equal file; the first
12 hex digits of its SHA-256 are the model's name in a recipe's output (`classifier@3f2a9c01d4e5`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
NAME_DIGITS = 12
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold


class ModelFileError(ValueError):
    """A model file is missing, damaged or of another kind; the message names it."""


@dataclasses.dataclass(frozen=True, slots=True)
class ModelFile:
    """An opened model: kind, manifest, hash; members are read on request."""

    path: str
    kind: str
    sha256: str
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.sha256[:NAME_DIGITS]

    def read(self, member: str) -> bytes:
        try:
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(member)
        except (KeyError, zipfile.BadZipFile, OSError) as error:
            raise ModelFileError(f"{self.path}: cannot read {member} of the {self.kind} model: {error}") from error

    def extract(self, member: str, folder: str | os.PathLike[str]) -> Path:
        """The member as a file in `folder`, for libraries that read models from a path."""
        target = Path(folder) / f"{self.name}-{Path(member).name}"
        target.write_bytes(self.read(member))
        return target


def write_model(
    path: str | os.PathLike[str], kind: str, manifest: Mapping[str, Any], members: Mapping[str, bytes]
) -> ModelFile:
    """Writes a model (temporary name, fsync, rename) and opens it.

    manifest must be JSON; `kind` is added to it.  Members are stored in the order of their names.
    """
    target = Path(path)
    if MANIFEST in members:
        raise ValueError(f"{MANIFEST} is the manifest's own name")
    target.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**manifest, "kind": kind}, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
                for name, content in [(MANIFEST, text.encode()), *sorted(members.items())]:
                    entry = zipfile.ZipInfo(name, _EPOCH)
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    entry.external_attr = 0o644 << 16
                    archive.writestr(entry, content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    return open_model(target, kind)


def open_model(path: str | os.PathLike[str], kind: str) -> ModelFile:
    """The model at `path`; ModelFileError names the file if it is missing, damaged or of another kind."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise ModelFileError(f"{path}: no {kind} model there ({error.strerror})") from error
    return _opened(str(path), kind, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _opened(path: str, kind: str, mtime_ns: int, size: int) -> ModelFile:
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged is not None:
                raise ModelFileError(f"{path}: {damaged} is damaged")
            manifest = json.loads(archive.read(MANIFEST))
    except ModelFileError:
        raise
    except (zipfile.BadZipFile, KeyError, EOFError, OSError, ValueError) as error:
        raise ModelFileError(f"{path}: not a model file of gristmill, or cut short ({error})") from error
    found = manifest.get("kind") if isinstance(manifest, dict) else None
    if found != kind:
        raise ModelFileError(f"{path}: holds a model of kind {found!r}, needed is {kind!r}")
    return ModelFile(path, kind, digest, manifest)
