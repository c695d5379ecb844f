"""Plain text files, and the text files in archives, to documents: one a file, as it stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from licenses.identifiers import sha256_hex, swhid_content
from pipelines.readers.charset import decode
from pipelines.readers.page_metadata import plausible_url
from pipelines.readers.records import Document, Item, Skipped, safe_meta, safe_text
from pipelines.readers.streams import strip_compression

if TYPE_CHECKING:
    from pipelines.readers.reading import Entry, Reading
    from pipelines.readers.units import UnitFile

TEXT_SUFFIXES = (".txt", ".text")


def read_texts(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """The text of a file, or the texts among the members of an archive."""
    yield from reading.each(raw, file, lambda entry: _document(entry, reading))


def wanted_bytes(entry: Entry, suffixes: tuple[str, ...], reading: Reading) -> bytes:
    """The content of an entry of the kind; raises Skipped or Refused for another one, or one that is empty or cannot be
    read."""
    if not entry.given and not strip_compression(entry.path).lower().endswith(suffixes):
        if entry.problem is not None:
            raise entry.problem
        raise Skipped("other_file")
    data = entry.read(reading.limits.max_item_bytes)
    if not data.strip():
        raise Skipped("empty")
    return data


def _document(entry: Entry, reading: Reading) -> Document:
    data = wanted_bytes(entry, TEXT_SUFFIXES, reading)
    text, encoding = decode(data)
    if not text.strip():
        raise Skipped("empty")
    url, timestamp = reading.locators.find(entry.locator)
    return Document(
        locator=entry.locator, source=reading.unit.source, kind=reading.unit.document_kind or "prose",
        text=safe_text(text)[0], url=plausible_url(url), timestamp=timestamp, mime="text/plain",
        content_sha256=sha256_hex(data), swhid=swhid_content(data),
        meta=safe_meta({"archive": entry.archive, "encoding": encoding if encoding != "utf-8" else None}),
    )  # fmt: skip
