"""Sources and the units of work that they are cut into, before any document is read.

A plan depends on names and sizes only, never on the order in which a file system lists them.  Every document
belongs to exactly one unit: an archive is cut by member index modulo the number of parts, a record-compressed
WARC by byte ranges (a record belongs to the range in which it starts), a Parquet file by row groups; other
files stay whole.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pipelines.readers.archives import is_archive, is_solid
from pipelines.readers.files import LOCAL, Files, Found, below, why_nothing
from pipelines.readers.formats import FORMATS, KINDS, Scalar, checked_options, named
from pipelines.readers.limits import Limits
from pipelines.readers.locators import load_locators
from pipelines.readers.records import Refused
from pipelines.readers.remote import MissingPackage
from pipelines.readers.streams import compression

EXTRACTORS = ("careful", "fast", "auto")

# A unit of small files: large enough to fill a shard, small enough to spread over workers.
GROUP_BYTES = 16 << 20
GROUP_FILES = 500
# Text in archives and compressed files is about four times as long as the file.
PACKED_RATIO = 4
# Pages take about 0.4 s per MB of HTML, and archives hold about 4 times their size: a part is some seconds of
# work.
ARCHIVE_PART_BYTES = 4 << 20
# Each part of a solid archive inflates all of it (0.1 s per 20 MB), so more parts would only add work.
MAX_SOLID_PARTS = 16


class PlanError(ValueError):
    """The source cannot be planned: nothing matches, or two files would get the same name."""


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A named set of inputs of one kind."""

    name: str
    kind: str  # one of formats.KINDS
    inputs: tuple[str, ...]  # files, directories or globs (`**` for any depth)
    exclude: tuple[str, ...] = ()  # shell patterns for the end of a name, from any '/' on: `html/227.html`, `vendor/*`
    locators: str | None = None  # JSON or JSONL, or `archive!member`: file or member name -> url, timestamp
    limits: Limits = dataclasses.field(default_factory=Limits)
    document_kind: str | None = None  # replaces the kind that the reader would choose
    extractor: str = "careful"  # one of EXTRACTORS
    options: tuple[tuple[str, Scalar | tuple[str, ...]], ...] = ()  # of the kind: formats.FORMATS[kind].options

    def __post_init__(self) -> None:
        if not self.name or "\0" in self.name:
            raise ValueError("a source needs a name")
        if self.kind not in KINDS:
            raise ValueError(f"source {self.name}: unknown kind {self.kind!r}; known are {', '.join(KINDS)}")
        if self.extractor not in EXTRACTORS:
            raise ValueError(f"source {self.name}: unknown extractor {self.extractor!r}; known are {EXTRACTORS}")
        if isinstance(self.inputs, str) or not self.inputs:
            raise ValueError(f"source {self.name}: inputs must be a non-empty sequence of paths")
        try:
            checked_options(self.kind, dict(self.options))
        except ValueError as error:
            raise ValueError(f"source {self.name}: {error}") from None


@dataclasses.dataclass(frozen=True, slots=True)
class UnitFile:
    """One input file: `path` opens it, `name` is its place in the source on every machine."""

    path: str
    name: str
    size: int
    given: bool = False  # named by the caller, not found in a directory


@dataclasses.dataclass(frozen=True, slots=True)
class Unit:
    """What one worker reads at once."""

    source: str
    kind: str
    files: tuple[UnitFile, ...]
    base: str = ""  # where relative paths start; never part of a manifest
    context: tuple[UnitFile, ...] = ()  # licence and metadata files that say something about `files`
    part: int = 0  # archives: members whose index modulo `parts` is `part`
    parts: int = 1
    start: int = 0  # in the format's own measure: bytes of WARC, row groups of Parquet
    stop: int | None = None
    exclude: tuple[str, ...] = ()
    locators: str | None = None
    document_kind: str | None = None
    extractor: str = "careful"
    options: tuple[tuple[str, Scalar | tuple[str, ...]], ...] = ()

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Unit:
        value = json.loads(text)
        for key in ("files", "context"):
            value[key] = tuple(UnitFile(**file) for file in value[key])
        value["exclude"] = tuple(value["exclude"])
        value["options"] = tuple(
            (key, tuple(option) if isinstance(option, list) else option) for key, option in value["options"]
        )
        return cls(**value)

    def describe(self) -> dict[str, Any]:
        """What of the unit belongs in a manifest: names and options, no path."""
        value = dataclasses.asdict(self)
        del value["base"]
        value["files"] = [[file.name, file.size] for file in self.files]
        value["context"] = [[file.name, file.size] for file in self.context]
        value["locators"] = os.path.basename(self.locators) if self.locators else None
        return value

    @property
    def unit_id(self) -> str:
        """16 hex characters that name the unit on every machine."""
        text = json.dumps(self.describe(), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def resolve(self, path: str) -> str:
        return below(self.base, path)


@functools.lru_cache(maxsize=64)
def _exclusion(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:.*/)?{fnmatch.translate(pattern)}" for pattern in patterns), re.S)


def excluded(locator: str, patterns: tuple[str, ...]) -> bool:
    """True if a pattern matches the end of the locator from its start or any '/' or '!' on."""
    return bool(patterns) and _exclusion(patterns).match(locator.replace("!", "/")) is not None


def plan_units(source: Source, *, base: str | None = None, files: Files = LOCAL) -> list[Unit]:
    """The units of a source in a defined order; raises PlanError before any work.

    Inputs are taken relative to `base` (default: the working directory).
    """
    root = os.path.abspath(base) if base and "://" not in base else base or ""
    common: dict[str, Any] = {
        "source": source.name,
        "kind": source.kind,
        "base": root,
        "exclude": source.exclude,
        "document_kind": source.document_kind,
        "extractor": source.extractor,
        "options": source.options,
    }
    if source.locators:
        unit = Unit(files=(), **common)
        try:
            load_locators(unit.resolve(source.locators), files)
        except (Refused, OSError, ValueError) as error:
            raise PlanError(f"source {source.name}: locators {source.locators}: {error}") from error
        common["locators"] = source.locators
    form = FORMATS[source.kind]
    if form.plan is not None:
        return [Unit(**{**common, **fields}) for fields in named(form.plan)(source, root, files)]
    found = _find(source, root, files)
    units = [Unit(**cut, **common) for cut in _cut(source, found, root, files)]
    if form.project:
        from pipelines.readers.project import is_project_file

        projects = [
            file
            for file in found
            if is_project_file(file.name)
            and not is_archive(file.name)
            and (file.given or files.link(file.path, file.name) is None)  # a link may lead out of the input
        ]
        units = [_with_context(unit, projects, root) for unit in units]
    return units


def _find(source: Source, root: str, files: Files) -> list[Found]:
    by_name: dict[str, Found] = {}
    for pattern in source.inputs:
        place = below(root, pattern)
        try:
            matches = files.find(place)
        except (Refused, MissingPackage) as error:
            said = error.message if isinstance(error, Refused) else error
            raise PlanError(f"source {source.name}: {said}") from None
        if not matches:
            raise PlanError(f"source {source.name}: nothing matches {pattern}{why_nothing(place)}")
        for file in matches:
            other = by_name.setdefault(file.name, file)
            if other.path != file.path:
                raise PlanError(
                    f"source {source.name}: two inputs hold {file.name}, which would get the same ids; "
                    "name the directory above both, or make two sources"
                )
    return [by_name[name] for name in sorted(by_name)]


def _unit_file(file: Found, root: str) -> UnitFile:
    path = file.path
    if root and "://" not in path:
        relative = os.path.relpath(path, root)
        path = relative if not relative.startswith(os.pardir) else os.path.abspath(path)
    elif "://" not in path:
        path = os.path.abspath(path)
    return UnitFile(path, file.name, file.size, file.given)


def _cut(source: Source, found: Sequence[Found], root: str, files: Files) -> Iterator[dict[str, Any]]:
    group: list[UnitFile] = []
    weight = 0
    for item in found:
        file = _unit_file(item, root)
        cuts = list(_cuts(source, item, files))
        packed = is_archive(file.name) or compression(file.name) is not None
        size = file.size * (PACKED_RATIO if packed else 1)
        if group and (cuts or weight + size > GROUP_BYTES or len(group) >= GROUP_FILES):
            yield {"files": tuple(group)}
            group, weight = [], 0
        for cut in cuts:
            yield {"files": (file,), **cut}
        if not cuts:
            group.append(file)
            weight += size
    if group:
        yield {"files": tuple(group)}


def _cuts(source: Source, file: Found, files: Files) -> Iterable[dict[str, int | None]]:
    """The parts of a large file, none if it stays whole."""
    form = FORMATS[source.kind]
    if form.archives and is_archive(file.name):
        parts = -(-file.size // ARCHIVE_PART_BYTES)
        parts = min(parts, MAX_SOLID_PARTS) if is_solid(file.name) else parts
        return [{"part": part, "parts": parts} for part in range(parts)] if parts > 1 else []
    cuts: Iterable[dict[str, int | None]] = named(form.cuts)(file, source, files) if form.cuts else []
    return cuts


def _with_context(unit: Unit, projects: Sequence[Found], root: str) -> Unit:
    """Adds the licence and metadata files of the directories above the unit's files."""
    directories = {""}
    for file in unit.files:
        parts = file.name.split("/")[:-1]
        directories.update("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    above = [_unit_file(item, root) for item in projects if item.name.rpartition("/")[0] in directories]
    return dataclasses.replace(unit, context=tuple(above))
