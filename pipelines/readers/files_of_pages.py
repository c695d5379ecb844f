"""HTML files and archives of them to documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

from licenses.reservations_marks import page_marks
from pipelines.readers.archives import is_archive
from pipelines.readers.html import PAGE_SUFFIXES, Mode, Page, read_page
from pipelines.readers.page_metadata import plausible_url
from pipelines.readers.records import Document, Item, Refused, Skipped, safe_meta
from pipelines.readers.streams import strip_compression
from pipelines.readers.units import UnitFile

if TYPE_CHECKING:
    from pipelines.readers.reading import Entry, Reading

# Refused whether or not the member would have been a page.
_UNSAFE_MEMBERS = frozenset({"path_traversal", "special_file", "unsafe_link"})


def read_pages(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """The page of a file, or the pages among the members of an archive."""
    yield from reading.each(raw, file, lambda entry: _page(entry, reading))


def _page(entry: Entry, reading: Reading) -> Document:
    unit = reading.unit
    if not entry.given and not strip_compression(entry.path).lower().endswith(PAGE_SUFFIXES):
        problem = entry.problem
        if isinstance(problem, Skipped):
            raise problem
        if isinstance(problem, Refused):
            nested = problem.error == "nested_archive" and is_archive(entry.path)
            if nested or problem.error in _UNSAFE_MEMBERS:
                raise problem
        raise Skipped("not_a_page")
    data = entry.read(reading.limits.max_item_bytes)
    url, timestamp = reading.locators.find(entry.locator)
    mime = "application/xhtml+xml" if entry.path.lower().endswith(".xhtml") else "text/html"
    page = Page(
        unit.source, entry.locator, kind=unit.document_kind or "web", url=plausible_url(url), timestamp=timestamp,
        mime=mime, meta=safe_meta(dict(page_marks(data, {}))),
    )  # fmt: skip
    return read_page(data, page, cast(Mode, unit.extractor), reading.limits)
