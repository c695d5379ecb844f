"""Markdown files, and those in archives, to documents: one a file.

Front matter (YAML between lines of `---`, TOML between lines of `+++`) goes to `meta`; front matter that does not parse
is text.  The text stays Markdown; the option `strip` gives plain text, by a CommonMark parser (markdown-it-py, MIT)
with tables and strikethrough as GitHub has them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO

import yaml

from licenses.identifiers import sha256_hex, swhid_content
from pipelines.readers.charset import decode
from pipelines.readers.html import html_text
from pipelines.readers.page_metadata import plausible_url
from pipelines.readers.records import Document, Item, Refused, Skipped, safe_meta, safe_text
from pipelines.readers.text import wanted_bytes

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

    from pipelines.readers.reading import Entry, Reading
    from pipelines.readers.units import UnitFile

MARKDOWN_SUFFIXES = (".md", ".markdown", ".mdown", ".mkd", ".mkdn")
_FRONT = re.compile(r"\A(---|\+\+\+)[ \t]*\r?\n(.*?)^(?:\1|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.S | re.M)
# Front matter longer than this is a document between two rules.
_MAX_FRONT = 1 << 16
_MAX_KEYS = 100
_MAX_DEPTH = 20
_MAX_VALUE = 500
_URL_KEYS = ("url", "canonical_url", "canonical", "permalink")
# markdown-it-py 4.3.0 takes 1 to 2 s for a MiB of text, 8 s for a MiB of table, and is quadratic in some marks of one
# paragraph (measured): what is longer is refused when it is to be stripped.
_MAX_STRIPPED = 2 << 20  # characters
_MAX_SQUARES = 10**9  # sum over the paragraphs of the squared number of marks: 1 to 2 s
_MAX_CELLS = 100_000
_MARKS = re.compile(r"[\[\]!*_`~<]")
_BLANK = re.compile(r"\n[ \t]*\n")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.S)


def read_markdown(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """The text of a file, or the Markdown files among the members of an archive."""
    yield from reading.each(raw, file, lambda entry: _document(entry, reading))


def _document(entry: Entry, reading: Reading) -> Document:
    data = wanted_bytes(entry, MARKDOWN_SUFFIXES, reading)
    decoded, encoding = decode(data)
    front, text = split_front_matter(safe_text(decoded)[0])
    if reading.options["strip"]:
        text = strip_markdown(text)
    if not text.strip():
        raise Skipped("empty")
    known_url, timestamp = reading.locators.find(entry.locator)
    urls = (plausible_url(each) for each in (known_url, *(front.get(key) for key in _URL_KEYS)))
    return Document(
        locator=entry.locator, source=reading.unit.source, kind=reading.unit.document_kind or "prose", text=text,
        url=next((url for url in urls if url is not None), None), timestamp=timestamp, mime="text/markdown",
        content_sha256=sha256_hex(data), swhid=swhid_content(data),
        meta=safe_meta({
            **front, "archive": entry.archive, "encoding": encoding if encoding != "utf-8" else None,
        }),
    )  # fmt: skip


def split_front_matter(text: str) -> tuple[dict[str, str], str]:
    """The values of the front matter, and the rest; nothing and the whole text where there is none, or a broken one.

    Strings, numbers, dates and lists of them (`, ` between the elements); other values are left out.
    """
    found = _FRONT.match(text[: _MAX_FRONT + 16])
    if found is None:
        return {}, text
    try:
        values = tomllib.loads(found[2].replace("\r\n", "\n")) if found[1] == "+++" else _yaml(found[2])
    except (tomllib.TOMLDecodeError, yaml.YAMLError, ValueError, RecursionError):
        return {}, text
    if not isinstance(values, Mapping):
        return {}, text
    front: dict[str, str] = {}
    for key, value in list(values.items())[:_MAX_KEYS]:
        line = _line(value)
        if isinstance(key, str) and line:
            front.setdefault(key.strip().lower()[:_MAX_VALUE], line)
    return front, text[found.end() :]


def _yaml(text: str) -> Any:
    """Raises yaml.YAMLError, for aliases too: they could make a few lines as large as the memory; and for depth, in
    which the parser is quadratic."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise yaml.YAMLError("nested too deeply")
    return yaml.safe_load(text)


def _line(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):  # and datetime
        return value.isoformat()
    if isinstance(value, str | int | float):
        return " ".join(str(value).split())[:_MAX_VALUE]
    if isinstance(value, list):
        lines = [line for each in value if not isinstance(each, list) and (line := _line(each))]
        return ", ".join(lines)[:_MAX_VALUE]
    return None


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable(["table", "strikethrough"])


def strip_markdown(text: str) -> str:
    """The text without marks: items of lists after `- ` or their number, cells of a row between ` | `, code as it is,
    links and pictures as their text; a blank line between blocks.

    Raises Refused('too_large') for texts that would take the parser too long.
    """
    if len(text) > _MAX_STRIPPED:
        raise Refused("too_large", f"Markdown of {len(text)} characters to strip, more than {_MAX_STRIPPED}")
    if text.count("|") > _MAX_CELLS:
        raise Refused("too_large", f"Markdown with {text.count('|')} cells of tables to strip, more than {_MAX_CELLS}")
    squares = sum(len(_MARKS.findall(paragraph)) ** 2 for paragraph in _BLANK.split(text))
    if squares > _MAX_SQUARES:
        raise Refused("too_large", f"Markdown with so many marks in a paragraph (squares {squares}) is not stripped")
    return _Plain().render(_parser().parse(text))


class _Plain:
    """The tokens of a document as blocks of text."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.separator = ""
        self.mark = ""  # of the list item that the next block begins
        self.numbers: list[int | None] = []  # of the lists around; None: bullets
        self.row: list[str] | None = None

    def render(self, tokens: Iterable[Token]) -> str:
        for token in tokens:
            match token.type:
                case "inline":
                    self._inline(_inline_text(token.children or []))
                case "fence" | "code_block":
                    self._block(token.content.rstrip("\n"))
                case "html_block":
                    markup = _COMMENT.sub("", token.content)
                    self._block(html_text(markup) if markup.strip() else "")
                case "bullet_list_open":
                    self.numbers.append(None)
                case "ordered_list_open":
                    self.numbers.append(int(token.attrGet("start") or 1))
                case "bullet_list_close" | "ordered_list_close":
                    self.numbers.pop()
                    self.separator = "\n" if self.numbers else "\n\n"
                case "list_item_open":
                    self._item()
                case "tr_open":
                    self.row = []
                case "tr_close":
                    row, self.row = self.row or [], None
                    self._block(" | ".join(row))
                    self.separator = "\n"
                case "table_close":
                    self.separator = "\n" if self.numbers else "\n\n"
        return "".join(self.pieces)

    def _item(self) -> None:
        number = self.numbers[-1]
        indent = "  " * (len(self.numbers) - 1)
        self.mark = f"{indent}- " if number is None else f"{indent}{number}. "
        if number is not None:
            self.numbers[-1] = number + 1

    def _inline(self, text: str) -> None:
        if self.row is not None:
            self.row.append(" ".join(text.split()))
        else:
            self._block(text)

    def _block(self, text: str) -> None:
        if not text.strip():
            return
        self.pieces.append(f"{self.separator}{self.mark}{text}")
        self.mark = ""
        self.separator = "\n" if self.numbers else "\n\n"


def _inline_text(tokens: Iterable[Token]) -> str:
    pieces: list[str] = []
    for token in tokens:
        if token.type in ("text", "code_inline"):
            pieces.append(token.content)
        elif token.type in ("softbreak", "hardbreak"):
            pieces.append("\n")
        elif token.type == "image":
            pieces.append(_inline_text(token.children or []))
        elif token.type == "html_inline" and token.content.lower().startswith("<br"):
            pieces.append("\n")
    return "".join(pieces)
