"""Source trees and archives of them to documents, each file with what its project says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from pipelines.readers.archives import BrokenContainer, is_archive, members, stem
from pipelines.readers.code import read_code, skip_reason
from pipelines.readers.project import Project, describe_project, is_project_file
from pipelines.readers.records import Document, Item, Refused, Skipped
from pipelines.readers.streams import read_limited
from pipelines.readers.units import UnitFile

if TYPE_CHECKING:
    from pipelines.readers.reading import Entry, Reading


def read_files(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """The file, or the members of an archive."""
    top = ""
    project: Project
    if is_archive(file.name):
        top, project = _archive_project(raw, file, reading)
        raw.seek(0)
    else:
        project = reading.remembered("project", lambda: _tree_project(reading))

    def make(entry: Entry) -> Document:
        path = entry.path.removeprefix(top) if entry.archive else entry.path
        if reason := skip_reason(path):
            raise Skipped(reason)
        data = entry.read(reading.limits.max_code_bytes)
        unit = reading.unit
        return read_code(
            data, path, entry.locator, unit.source, unit.document_kind, project, entry.archive,
            notebook=reading.options["notebook"],
        )  # fmt: skip

    yield from reading.each(raw, file, make)


def _archive_project(raw: BinaryIO, file: UnitFile, reading: Reading) -> tuple[str, Project]:
    """The top folder that all members share, and the project, from one pass over the archive."""
    tops: set[str] = set()
    found: dict[str, bytes] = {}
    try:
        for member in members(raw, file.name, reading.limits):
            first, slash, rest = member.name.partition("/")
            if rest or not slash:
                tops.add(first + slash)
            if member.problem is None and is_project_file(member.name):
                try:
                    found[member.name] = member.read(reading.limits.max_project_file_bytes)
                except BrokenContainer:
                    raise
                except Refused:  # the second pass rejects it as a document
                    continue
    except Refused:  # likewise; the project is what stands before the damage
        pass
    wheel = file.name.lower().endswith(".whl")
    top = tops.pop() if len(tops) == 1 and not wheel else ""
    top = top if top.endswith("/") else ""
    return top, describe_project({name.removeprefix(top): data for name, data in found.items()}, stem(file.name))


def _tree_project(reading: Reading) -> Project:
    found: dict[str, bytes] = {}
    for other in reading.unit.context:
        try:
            with reading.files.open(reading.unit.resolve(other.path)) as raw:
                found[other.name] = read_limited(raw, reading.limits.max_project_file_bytes)
        except Refused:  # read as a document, it is rejected there
            continue
    return describe_project(found, "")
