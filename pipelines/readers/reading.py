"""A unit of work to documents, dropped and rejected items, whatever its format."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from pipelines.readers.archives import BrokenContainer, Member, is_archive, members
from pipelines.readers.files import LOCAL, Files
from pipelines.readers.formats import FORMATS, checked_options, named
from pipelines.readers.limits import Limits
from pipelines.readers.locators import Locators, load_locators
from pipelines.readers.records import Document, Dropped, Item, Refused, Rejected, Skipped
from pipelines.readers.streams import compression, read_whole, strip_compression
from pipelines.readers.units import Unit, UnitFile, excluded

DEFAULT_LIMITS = Limits()


def read_unit(unit: Unit, limits: Limits = DEFAULT_LIMITS, files: Files = LOCAL) -> Iterator[Item]:
    """Every candidate item of the unit once: a Document, Dropped or Rejected, in a defined order.

    An item that fails does not stop the unit.  A container that breaks off yields what stands before the
    damage and one Rejected for the rest; of an archive cut into parts, part 0 reports it.  Ids are unique
    within the unit.
    Memory: one item, and the ids of the unit (about 100 bytes each).
    """
    seen: set[str] = set()
    for item in Reading(unit, limits, files).items():
        if isinstance(item, Document):
            if item.doc_id in seen:
                item = Rejected(item.locator, "duplicate_id", f"id {item.doc_id!r} came before in this unit")
            else:
                seen.add(item.doc_id)
        yield item


@dataclasses.dataclass(slots=True)
class Entry:
    """A file, or a member of an archive."""

    locator: str
    path: str  # inside the archive, or the file's name in the source
    read: Callable[[int], bytes]  # the bytes, at most as many; raises Refused or Skipped
    archive: str | None
    given: bool
    problem: Refused | Skipped | None = None  # what `read` will raise, if that is known


class Reading:
    """One unit that is being read: what a format's reader may ask.

    options   those of the source, with the defaults of the format for what it does not give
    """

    def __init__(self, unit: Unit, limits: Limits = DEFAULT_LIMITS, files: Files = LOCAL) -> None:
        self.unit = unit
        self.limits = limits
        self.files = files
        self.format = FORMATS[unit.kind]
        self.options: dict[str, Any] = checked_options(unit.kind, dict(unit.options))
        self.locators: Locators = load_locators(unit.resolve(unit.locators) if unit.locators else None, files)
        self._memory: dict[str, Any] = {}

    def remembered(self, key: str, make: Callable[[], Any]) -> Any:
        """What `make` gave on first use in this unit."""
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]

    def items(self) -> Iterator[Item]:
        """All files of the unit, one after another."""
        read = named(self.format.read)
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
                if not self._wanted(file):
                    raise Skipped(self.format.unwanted)
                raw = self.files.open(self.unit.resolve(file.path))
            except Skipped as skipped:
                yield skipped.at(file.name)
            except Refused as refused:
                yield refused.at(file.name)
            else:
                with raw:
                    try:
                        if not raw.seek(0, 2):
                            yield Dropped(file.name, "empty")
                            continue
                        raw.seek(0)
                        yield from read(raw, file, self)
                    except Refused as refused:  # the network, in the middle of the file
                        yield refused.at(file.name)

    def _wanted(self, file: UnitFile) -> bool:
        if file.given or not self.format.suffixes or self.format.archives and is_archive(file.name):
            return True
        return strip_compression(file.name).lower().endswith(self.format.suffixes)

    def each(
        self,
        raw: BinaryIO,
        file: UnitFile,
        make: Callable[[Entry], Document],
        ready: Iterable[Member] | None = None,
    ) -> Iterator[Item]:
        """The file, or the unit's part of an archive's members, each as one item.

        A broken container is reported by part 0.  ready: the members, where the archive was gone through before.
        """
        try:
            for entry in self._entries(raw, file, ready):
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

    def in_part(self, member: Member) -> bool:
        """Whether a member of an archive belongs to the unit."""
        return member.index % self.unit.parts == self.unit.part

    def _entries(self, raw: BinaryIO, file: UnitFile, ready: Iterable[Member] | None) -> Iterator[Entry]:
        if not is_archive(file.name):
            yield Entry(file.name, file.name, lambda limit: self.whole(raw, file, limit), None, file.given)
            return
        for member in members(raw, file.name, self.limits) if ready is None else ready:
            if self.in_part(member):
                name = file.name.rpartition("/")[2]
                yield Entry(f"{file.name}!{member.name}", member.name, member.read, name, False, member.problem)

    def whole(self, raw: BinaryIO, file: UnitFile, limit: int) -> bytes:
        """The content of a file, decompressed; raises Refused('too_large') beyond `limit` bytes."""
        kind = compression(file.name)
        if kind is None and file.size > limit:
            raise Refused("too_large", f"{file.size} bytes, more than {limit}")
        return read_whole(raw, kind, self.limits, limit)
