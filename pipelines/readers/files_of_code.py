"""Source trees and archives of them to documents, each file with what its project says of itself."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from pipelines.readers.archives import BrokenContainer, Member, is_archive, members, stem
from pipelines.readers.code import read_code, skip_reason
from pipelines.readers.project import Project, describe_project, is_project_file
from pipelines.readers.records import Document, Item, Refused, Skipped
from pipelines.readers.streams import read_limited
from pipelines.readers.units import UnitFile

if TYPE_CHECKING:
    from pipelines.readers.reading import Entry, Reading

# Members are held from the one pass over an archive that tells of its project up to this; a unit's part of a larger
# archive has about 16 MB.
MAX_HELD_BYTES = 64 << 20
# Of a member beside its content, roughly.
_MEMBER_BYTES = 512


def read_files(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """The file, or the members of an archive."""
    walked = None
    if is_archive(file.name):
        walked = _walk(raw, file, reading)
        top, project = walked.top, walked.project
        raw.seek(0)
    else:
        top, project = "", reading.remembered("project", lambda: _tree_project(reading))

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

    yield from reading.each(raw, file, make, walked.replay() if walked and walked.held is not None else None)


@dataclasses.dataclass(slots=True)
class _Walked:
    """What one pass over an archive found.

    top      the top folder that all members share
    held     the unit's members, their bytes with them; None where they would take more than MAX_HELD_BYTES
    ended    what broke the archive off
    """

    top: str
    project: Project
    held: collections.deque[Member] | None
    ended: Refused | None

    def replay(self) -> Iterator[Member]:
        """The members as the archive gives them; their bytes are let go one by one."""
        while self.held:
            yield self.held.popleft()
        if self.ended is not None:
            raise self.ended


def _walk(raw: BinaryIO, file: UnitFile, reading: Reading) -> _Walked:
    tops: set[str] = set()
    found: dict[str, bytes] = {}
    held: collections.deque[Member] | None = collections.deque()
    ended: Refused | None = None
    left = MAX_HELD_BYTES
    try:
        for member in members(raw, file.name, reading.limits):
            first, slash, rest = member.name.partition("/")
            # A folder alone is no content; tar names it without a slash behind.
            folder = isinstance(member.problem, Skipped) and member.problem.reason == "directory"
            if rest or not (slash or folder):
                tops.add(first + slash)
            about = member.problem is None and is_project_file(member.name)
            if held is not None and reading.in_part(member):
                # Of pictures and the like the bytes are not asked for.
                asked = about or skip_reason(member.name) != "asset"
                left -= member.hold(reading.limits.max_code_bytes if asked else 0) + _MEMBER_BYTES
                if left >= 0:
                    held.append(member)
                else:
                    held = None
            if about:
                try:
                    found[member.name] = member.read(reading.limits.max_project_file_bytes)
                except BrokenContainer:
                    raise
                except Refused:  # rejected as a document
                    continue
    except Refused as refused:  # likewise; the project is what stands before the damage
        ended = refused
    wheel = file.name.lower().endswith(".whl")
    top = tops.pop() if len(tops) == 1 and not wheel else ""
    top = top if top.endswith("/") else ""
    project = describe_project({name.removeprefix(top): data for name, data in found.items()}, stem(file.name))
    return _Walked(top, project, held, ended)


def _tree_project(reading: Reading) -> Project:
    found: dict[str, bytes] = {}
    for other in reading.unit.context:
        try:
            with reading.files.open(reading.unit.resolve(other.path)) as raw:
                found[other.name] = read_limited(raw, reading.limits.max_project_file_bytes)
        except Refused:  # read as a document, it is rejected there
            continue
    return describe_project(found, "")
