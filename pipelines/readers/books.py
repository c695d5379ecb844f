"""Project Gutenberg texts (`.txt`, in zip archives too) to documents: one a book.

A file that holds no mark of the project is a book as well, and stays whole: `meta` says so under `marks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from licenses.identifiers import sha256_hex, swhid_content
from pipelines.readers.books_text import strip_book
from pipelines.readers.charset import decode
from pipelines.readers.records import Document, Item, Skipped, safe_meta, safe_text
from pipelines.readers.streams import strip_compression
from pipelines.readers.text import wanted_bytes

if TYPE_CHECKING:
    from pipelines.readers.reading import Entry, Reading
    from pipelines.readers.units import UnitFile

BOOK_SUFFIXES = (".txt", ".text")
# What headers call the encodings that Python knows by another name.
_DECLARED = re.compile(rb"^[ \t]{0,4}Character set encoding:[ \t]*([\w .-]{2,40}?)[ \t]*\r?$", re.I | re.M)
_ENCODINGS = {"iso latin-1": "latin-1", "iso-latin-1": "latin-1", "ansi": "cp1252", "unicode utf-8": "utf-8"}
_HEAD_BYTES = 1 << 15
# pg1342.txt, 1342-0.txt, 1342.txt: the number of the book in file names of the project's mirrors.
_NUMBERED = re.compile(r"(?:pg)?(\d{1,6})(?:-(?:0|8|h))?(?:\.utf-?8)?\.(?:txt|zip)", re.I)
# Languages that headers name, in the order of their number of books (gutenberg.org/browse/languages).
_LANGUAGES = {
    "english": "en", "french": "fr", "finnish": "fi", "german": "de", "italian": "it", "dutch": "nl", "spanish": "es",
    "portuguese": "pt", "hungarian": "hu", "chinese": "zh", "greek": "el", "swedish": "sv", "danish": "da",
    "esperanto": "eo", "tagalog": "tl", "catalan": "ca", "polish": "pl", "japanese": "ja", "norwegian": "no",
    "welsh": "cy", "latin": "la", "czech": "cs", "russian": "ru", "icelandic": "is", "hebrew": "he", "bulgarian": "bg",
    "afrikaans": "af", "frisian": "fy", "irish": "ga", "friulian": "fur", "middle english": "enm", "old english": "ang",
}  # fmt: skip


def read_books(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """The book of a file, or the books among the members of an archive."""
    yield from reading.each(raw, file, lambda entry: _book(entry, reading))


def _book(entry: Entry, reading: Reading) -> Document:
    path = strip_compression(entry.path)
    data = wanted_bytes(entry, BOOK_SUFFIXES, reading)
    declared = _DECLARED.search(data[:_HEAD_BYTES])
    name = declared[1].decode().lower() if declared else ""
    text, encoding = decode(data, [_ENCODINGS.get(name, name)] if name else ())
    book = strip_book(safe_text(text)[0], reading.options["notes"])
    if not book.text.strip():
        raise Skipped("no_main_text")
    known = book.fields
    matched = _NUMBERED.fullmatch(path.rpartition("/")[2]) if book.marks != "none" else None
    number = known.get("number") or (matched[1] if matched else None)
    language = known.get("language", "")
    unit = reading.unit
    return Document(
        locator=entry.locator, source=unit.source, kind=unit.document_kind or "prose", text=book.text,
        url=f"https://www.gutenberg.org/ebooks/{int(number)}" if number else None, mime="text/plain",
        content_sha256=sha256_hex(data), swhid=swhid_content(data), language=_LANGUAGES.get(language.lower()),
        meta=safe_meta({
            "title": known.get("title"), "author": known.get("author"), "translator": known.get("translator"),
            "release_date": known.get("release date") or known.get("posting date"), "language": language,
            "ebook": number, "copyrighted": known.get("copyrighted"),
            "marks": book.marks if book.marks != "both" else None, "archive": entry.archive,
            "encoding": encoding if encoding != "utf-8" else None,
        }),
    )  # fmt: skip
