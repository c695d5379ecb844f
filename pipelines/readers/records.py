"""What a reader yields: a document, a dropped item or a rejected item; each candidate ends as exactly one of
them."""

from __future__ import annotations

import dataclasses
import re

from pipelines.documents import doc_id as hash_id

# Why an item that was read properly is not a document.
DROP_REASONS = frozenset(
    {
        "asset",  # a picture, font, object file ...: a suffix listed in code.ASSET_SUFFIXES
        "directory",  # a directory entry of an archive
        "duplicate_event",  # GH Archive: an event whose id came before in the file
        "empty",  # no bytes, or nothing but white space
        "excluded",  # matches an exclude pattern of the source
        "few_answers",  # Stack Exchange: a question with fewer answers than the source asks for
        "http_status",  # a response other than 2xx
        "link",  # a link to something that is read under its own name
        "low_score",  # Stack Exchange: a post below the score that the source asks for
        "many_files",  # git: a commit that changes more files than the source asks for
        "merge_commit",  # git: a commit of several parents; what it joins stands in them
        "no_latex",  # arXiv: a paper that came as PDF or PostScript only
        "no_main_text",  # the extractor found nothing but boilerplate
        "no_parent",  # git: the first commit of a shallow clone, whose changes are unknown
        "no_versions",  # GH Archive: a pull request of which no clone has changed files before and after
        "no_question",  # Stack Exchange: an answer whose question is missing or left out
        "not_a_feed",  # feed source: XML or JSON of another kind (site map, configuration ...)
        "not_a_page",  # HTML source: another kind of file; WARC source: another content type
        "not_a_question",  # Stack Exchange: a post of another type (tag wiki, nomination ...)
        "not_a_response",  # a WARC record of another type (request, metadata, warcinfo ...)
        "not_selected",  # Common Crawl: a row of the index that the source's options leave out
        "not_wikitext",  # MediaWiki: a page of another content model (Lua, CSS, JSON ...)
        "other_namespace",  # MediaWiki: a page of a namespace that the source does not ask for
        "other_event",  # GH Archive: an event of a type that no conversation is made of
        "other_file",  # a file whose suffix does not belong to the kind of the source
        "packaging",  # installer records (RECORD, SOURCES.txt, .git ...)
        "redirect",  # MediaWiki: a page that only leads to another; WARC: a response 3xx
        "revisit",  # a WARC record that says that the content is that of an earlier one
        "submodule",  # git: a place where another repository would lie
    }
)

# Why an item could not be read.
ERRORS = frozenset(
    {
        "bad_json",  # not JSON, not an object, nested too deeply; a notebook that is none
        "binary",  # NUL bytes where text was expected
        "broken_record",  # a container, header, chunk or row group that does not follow its format
        "duplicate_id",  # the identifier or member name was already used in this unit
        "encrypted",  # an encrypted archive member
        "extraction_failed",  # the extractor raised
        "invalid_id",  # a given id that is no usable string
        "missing_content",  # the content of a row is not in the store that the source names
        "missing_object",  # git: an object that a commit, tree, ref or delta names is not there
        "missing_text",  # a row without a text string
        "nested_archive",  # an archive inside an archive is not opened
        "path_traversal",  # an absolute member name, or one that leaves the archive
        "special_file",  # a device, pipe or socket
        "too_large",  # over a limit of `Limits`
        "truncated",  # the data ends before the format says so
        "undecodable",  # no encoding gives plausible text
        "unreadable",  # the operating system refused
        "unsafe_link",  # a link that leads out of the input
        "unsupported",  # a compression method or content encoding that is not known
        "wrong_length",  # a record whose declared length does not fit
        "zip_bomb",  # inflates beyond max_ratio, overlapping members, too many members
    }
)

# A given id longer than this is a text in the wrong column.
MAX_ID_BYTES = 1024

_UNSAFE = re.compile("[\0\ud800-\udfff]")


class Refused(Exception):
    """An item or container cannot be read; `error` is one of ERRORS."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(error, message)
        assert error in ERRORS, error
        self.error = error
        self.message = message

    def at(self, locator: str) -> Rejected:
        return Rejected(locator, self.error, self.message)


class Skipped(Exception):
    """An item is no document, and that is no error; `reason` is one of DROP_REASONS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        assert reason in DROP_REASONS, reason
        self.reason = reason

    def at(self, locator: str) -> Dropped:
        return Dropped(locator, self.reason)


@dataclasses.dataclass(slots=True)
class Document:
    """One document with every column of DOCUMENT_SCHEMA, and the locator that its id was made from."""

    locator: str  # place inside the source: relative name, member, line, row or offset; the same on every machine
    source: str
    kind: str
    text: str  # never holds a lone surrogate; NUL only where a row of JSONL or Parquet gave it
    doc_id: str = ""  # the given id, or the hash of source and locator
    url: str | None = None
    repo: str | None = None
    path: str | None = None
    commit: str | None = None
    timestamp: str | None = None
    mime: str | None = None
    content_sha256: str | None = None  # of the raw bytes before decoding
    swhid: str | None = None  # likewise
    language: str | None = None
    programming_language: str | None = None
    meta: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.doc_id:
            self.doc_id = hash_id(self.source, self.locator)


@dataclasses.dataclass(slots=True)
class Dropped:
    """An item that was read and is no document."""

    locator: str
    reason: str


@dataclasses.dataclass(slots=True)
class Rejected:
    """An item, or the rest of a container, that could not be read."""

    locator: str
    error: str
    message: str


Item = Document | Dropped | Rejected


def safe_text(text: str) -> tuple[str, int]:
    """Text with every NUL and lone surrogate replaced by U+FFFD, and how many there were."""
    if "\0" not in text:
        try:  # eight times as fast as the search, and nearly every text has neither
            text.isascii() or text.encode()
        except UnicodeEncodeError:
            pass
        else:
            return text, 0
    return _UNSAFE.subn("\ufffd", text)


def safe_meta(values: dict[str, str | None]) -> dict[str, str]:
    """Only known values, safe to store as UTF-8."""
    return {safe_text(key)[0]: safe_text(value)[0] for key, value in values.items() if value}


def checked_id(value: object) -> str:
    """A given id as a string; raises Refused('invalid_id') for anything but a usable string or an integer."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise Refused("invalid_id", f"an id must be a string or an integer, not {type(value).__name__}")
    if not value.strip():
        raise Refused("invalid_id", "the id is empty")
    if _UNSAFE.search(value):
        raise Refused("invalid_id", "the id holds NUL or a lone surrogate")
    if len(value.encode()) > MAX_ID_BYTES:
        raise Refused("invalid_id", f"the id is longer than {MAX_ID_BYTES} bytes")
    return value
