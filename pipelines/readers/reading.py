"""A unit of work to documents, dropped and rejected items: the one place that knows all readers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from pipelines.readers.archives import BrokenContainer, is_archive, members, stem
from pipelines.readers.code import read_code, skip_reason
from pipelines.readers.files import LOCAL, Files
from pipelines.readers.html import PAGE_SUFFIXES, Mode, Page, read_page
from pipelines.readers.limits import Limits
from pipelines.readers.locators import Locators, load_locators
from pipelines.readers.page_metadata import plausible_url
from pipelines.readers.project import Project, describe_project, is_project_file
from pipelines.readers.records import Document, Dropped, Item, Refused, Rejected, Skipped
from pipelines.readers.streams import compression, inflated, read_limited, strip_compression
from pipelines.readers.units import Unit, UnitFile, excluded

DEFAULT_LIMITS = Limits()
# Refused whether or not the member would have been a page.
_UNSAFE_MEMBERS = frozenset({"path_traversal", "special_file", "unsafe_link"})


def read_unit(unit: Unit, limits: Limits = DEFAULT_LIMITS, files: Files = LOCAL) -> Iterator[Item]:
    """Every candidate item of the unit once: a Document, Dropped or Rejected, in a defined order.

    An item that fails does not stop the unit.  A container that breaks off yields what stands before the
    damage and one Rejected for the rest; of an archive cut into parts, part 0 reports it.  Ids are unique
    within the unit.
    Memory: one item, and the ids of the unit (about 100 bytes each).
    """
    seen: set[str] = set()
    for item in _Reading(unit, limits, files).items():
        if isinstance(item, Document):
            if item.doc_id in seen:
                item = Rejected(item.locator, "duplicate_id", f"id {item.doc_id!r} came before in this unit")
            else:
                seen.add(item.doc_id)
        yield item


@dataclasses.dataclass(slots=True)
class _Entry:
    """An item of an HTML or code source: a file, or a member of an archive."""

    locator: str
    path: str  # inside the archive, or the file's name in the source
    read: Callable[[int], bytes]  # the bytes, at most as many; raises Refused or Skipped
    archive: str | None
    given: bool
    problem: Refused | Skipped | None = None  # what `read` will raise, if that is known


class _Reading:
    def __init__(self, unit: Unit, limits: Limits, files: Files) -> None:
        self.unit = unit
        self.limits = limits
        self.files = files
        self._tree: Project | None = None
        self.locators: Locators = load_locators(unit.resolve(unit.locators) if unit.locators else None, files)

    def items(self) -> Iterator[Item]:
        for file in self.unit.files:
            if excluded(file.name, self.unit.exclude):
                yield Dropped(file.name, "excluded")
                continue
            try:
                link = self.files.link(self.unit.resolve(file.path), file.name) if not file.given else None
                if link == "link":
                    raise Skipped("link")
                if link is not None:
                    raise Refused("unsafe_link", "a link that leads out of the input")
                raw = self._open(file)
            except Skipped as skipped:
                yield skipped.at(file.name)
            except Refused as refused:
                yield refused.at(file.name)
            else:
                with raw:
                    yield from self._file(raw, file)

    def _open(self, file: UnitFile) -> BinaryIO:
        kind = self.unit.kind
        name = strip_compression(file.name).lower()
        known: tuple[str, ...] = {
            "html": PAGE_SUFFIXES,
            "warc": (".warc", ".arc"),
            "wet": (".wet", ".warc"),
            "jsonl": (".jsonl", ".ndjson", ".json"),
            "parquet": (".parquet", ".pq"),
        }.get(kind, ())
        archive = kind == "html" and is_archive(file.name)
        if known and not file.given and not archive and not name.endswith(known):
            raise Skipped("not_a_page" if kind == "html" else "other_file")
        return self.files.open(self.unit.resolve(file.path))

    def _file(self, raw: BinaryIO, file: UnitFile) -> Iterator[Item]:
        unit, limits = self.unit, self.limits
        if not raw.seek(0, 2):
            yield Dropped(file.name, "empty")
            return
        raw.seek(0)
        match unit.kind:
            case "html":
                yield from self._each(raw, file, self._page)
            case "code":
                yield from self._code(raw, file)
            case "jsonl":
                from pipelines.readers.jsonl import read_jsonl

                yield from read_jsonl(raw, file.name, unit.source, unit.document_kind, limits)
            case "parquet":
                from pipelines.readers.parquet import read_parquet

                yield from read_parquet(
                    raw, file.name, unit.source, unit.document_kind, limits, unit.start, unit.stop
                )
            case "warc" | "wet":
                from pipelines.readers.warc import read_warc

                yield from read_warc(
                    raw, file.name, unit.source, unit.kind, unit.document_kind,
                    cast(Mode, unit.extractor), limits, unit.start, unit.stop,
                )  # fmt: skip

    def _each(self, raw: BinaryIO, file: UnitFile, make: Callable[[_Entry], Document]) -> Iterator[Item]:
        """The entries of a file or archive, each as one item; a broken container is reported by part 0."""
        try:
            for entry in self._entries(raw, file):
                try:
                    if excluded(entry.locator, self.unit.exclude):
                        raise Skipped("excluded")
                    yield make(entry)
                except Skipped as skipped:
                    yield skipped.at(entry.locator)
                except BrokenContainer:
                    raise
                except Refused as refused:
                    yield refused.at(entry.locator)
        except Refused as refused:
            if self.unit.part == 0:
                yield refused.at(file.name)

    def _entries(self, raw: BinaryIO, file: UnitFile) -> Iterator[_Entry]:
        if not is_archive(file.name):
            yield _Entry(file.name, file.name, lambda limit: self._whole(raw, file, limit), None, file.given)
            return
        for member in members(raw, file.name, self.limits):
            if member.index % self.unit.parts == self.unit.part:
                name = file.name.rpartition("/")[2]
                yield _Entry(
                    f"{file.name}!{member.name}", member.name, member.read, name, False, member.problem
                )

    def _whole(self, raw: BinaryIO, file: UnitFile, limit: int) -> bytes:
        kind = compression(file.name)
        if kind is None and file.size > limit:
            raise Refused("too_large", f"{file.size} bytes, more than {limit}")
        return read_limited(inflated(raw, kind, self.limits), limit)

    def _page(self, entry: _Entry) -> Document:
        if not entry.given and not strip_compression(entry.path).lower().endswith(PAGE_SUFFIXES):
            problem = entry.problem
            if isinstance(problem, Skipped):
                raise problem
            if isinstance(problem, Refused):
                nested = problem.error == "nested_archive" and is_archive(entry.path)
                if nested or problem.error in _UNSAFE_MEMBERS:
                    raise problem
            raise Skipped("not_a_page")
        data = entry.read(self.limits.max_item_bytes)
        url, timestamp = self.locators.find(entry.locator)
        mime = "application/xhtml+xml" if entry.path.lower().endswith(".xhtml") else "text/html"
        page = Page(
            self.unit.source, entry.locator, kind=self.unit.document_kind or "web",
            url=plausible_url(url), timestamp=timestamp, mime=mime,
        )  # fmt: skip
        return read_page(data, page, cast(Mode, self.unit.extractor), self.limits)

    def _code(self, raw: BinaryIO, file: UnitFile) -> Iterator[Item]:
        top = ""
        project: Project
        if is_archive(file.name):
            top, project = self._archive_project(raw, file)
            raw.seek(0)
        else:
            project = self._tree_project(file)

        def make(entry: _Entry) -> Document:
            path = entry.path.removeprefix(top) if entry.archive else entry.path
            if reason := skip_reason(path):
                raise Skipped(reason)
            data = entry.read(self.limits.max_code_bytes)
            return read_code(
                data, path, entry.locator, self.unit.source, self.unit.document_kind, project, entry.archive
            )

        yield from self._each(raw, file, make)

    def _archive_project(self, raw: BinaryIO, file: UnitFile) -> tuple[str, Project]:
        """The top folder that all members share, and the project, from one pass over the archive."""
        tops: set[str] = set()
        found: dict[str, bytes] = {}
        try:
            for member in members(raw, file.name, self.limits):
                first, slash, rest = member.name.partition("/")
                if rest or not slash:
                    tops.add(first + slash)
                if member.problem is None and is_project_file(member.name):
                    try:
                        found[member.name] = member.read(self.limits.max_project_file_bytes)
                    except BrokenContainer:
                        raise
                    except Refused:  # the second pass rejects it as a document
                        continue
        except Refused:  # likewise; the project is what stands before the damage
            pass
        wheel = file.name.lower().endswith(".whl")
        top = tops.pop() if len(tops) == 1 and not wheel else ""
        top = top if top.endswith("/") else ""
        return top, describe_project(
            {name.removeprefix(top): data for name, data in found.items()}, stem(file.name)
        )

    def _tree_project(self, file: UnitFile) -> Project:
        if self._tree is None:
            found: dict[str, bytes] = {}
            for other in self.unit.context:
                try:
                    with self.files.open(self.unit.resolve(other.path)) as raw:
                        found[other.name] = read_limited(raw, self.limits.max_project_file_bytes)
                except Refused:  # read as a document, it is rejected there
                    continue
            self._tree = describe_project(found, "")
        return self._tree
