"""The raw formats that a source may have: one entry each, and nothing else knows their names.

A reader is a function `read(raw, file, reading)` that yields every candidate of one file (or of the unit's part of it)
as a Document, Dropped or Rejected.  It is named by module and function, and imported on first use, so that a plan or a
recipe costs no extraction library.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Mapping
from typing import Any, Literal

Scalar = str | int | float | bool
Grouping = Literal["host", "repo", "directory", "document"]


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One key of a source's `options`."""

    default: Scalar | tuple[str, ...] | None
    help: str
    allowed: tuple[Scalar, ...] = ()  # empty: any value of the type
    of: type[Any] | None = None  # the type; of the default, where that is no None; tuple: a list of strings

    @property
    def expected(self) -> type[Any]:
        return self.of or type(self.default)

    def checked(self, value: Any) -> Any:
        """The value in the option's type; raises ValueError with what is allowed."""
        expected = self.expected
        if expected is tuple:
            value = (value,) if isinstance(value, str) else value
            if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
                raise ValueError(f"{value!r} is no list of strings")
            unknown = [each for each in value if self.allowed and each not in self.allowed]
            if unknown:
                raise ValueError(f"{unknown[0]!r} is not one of {', '.join(map(str, self.allowed))}")
            return tuple(value)
        if expected is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, expected) or isinstance(value, bool) is not (expected is bool):
            raise ValueError(f"{value!r} is no {_TYPE_NAMES[expected]}")
        if self.allowed and value not in self.allowed:
            raise ValueError(f"{value!r} is not one of {', '.join(map(str, self.allowed))}")
        return value


_TYPE_NAMES = {str: "string", int: "whole number", float: "number", bool: "true or false"}


@dataclasses.dataclass(frozen=True, slots=True)
class Format:
    """How files of one kind are found, cut and read.

    read          "module:function": (raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]
    suffixes      of what is read among the files of a directory, lower case, without .gz and the like; others are
                  dropped as `unwanted`; (): all
    archives      whether members of zip and tar archives are read: large archives are then cut by members
    cuts          "module:function": (found: Found, source: Source, files: Files) -> list of {start, stop} or
                  {part, parts}; an empty list leaves the file whole
    plan          "module:function": (source: Source, root: str, files: Files) -> list of dicts of Unit's fields; takes
                  the place of finding and cutting files
    group         what is held out as a whole
    project       whether licence and metadata files of the directories above go along with a unit
    """

    read: str
    suffixes: tuple[str, ...] = ()
    archives: bool = False
    unwanted: str = "other_file"
    cuts: str | None = None
    plan: str | None = None
    group: Grouping = "document"
    project: bool = False
    options: Mapping[str, Option] = dataclasses.field(default_factory=dict)


def named(place: str) -> Any:
    """The function that "module:function" names."""
    module, _, function = place.partition(":")
    return getattr(importlib.import_module(module), function)


# In the order in which messages list them.
FORMATS: dict[str, Format] = {
    "html": Format(
        "pipelines.readers.files_of_pages:read_pages",
        (".html", ".htm", ".xhtml"),
        archives=True,
        unwanted="not_a_page",
        group="host",
    ),
    "warc": Format(
        "pipelines.readers.warc:read_pages",
        (".warc", ".arc"),
        cuts="pipelines.readers.warc:cuts",
        group="host",
        options={"host_files": Option(False, "robots.txt, tdmrep.json and ai.txt are documents of kind reservation")},
    ),
    "wet": Format(
        "pipelines.readers.warc:read_texts", (".wet", ".warc"), cuts="pipelines.readers.warc:cuts", group="host"
    ),
    "wat": Format(
        "pipelines.readers.warc:read_metadata", (".wat", ".warc"), cuts="pipelines.readers.warc:cuts", group="host"
    ),
    "commoncrawl": Format(
        "pipelines.readers.commoncrawl:read_crawl",
        plan="pipelines.readers.commoncrawl:plan",
        group="host",
        options={
            "prefix": Option(
                "https://data.commoncrawl.org/", "where the files lie: URL (https, s3, gs) or folder; '': as named"
            ),
            "languages": Option((), "index only: content_languages begins with one of them (ISO 639-3)"),
            "mimes": Option((), "index only: content_mime_detected is one of them"),
            "hosts": Option((), "index only: hosts, with those below them"),
            "parts": Option(None, "units that a file of a path list is cut into; else by its size", of=int),
            "host_files": Option(False, "robots.txt, tdmrep.json and ai.txt are documents of kind reservation"),
        },
    ),
    "jsonl": Format("pipelines.readers.jsonl:read_rows", (".jsonl", ".ndjson", ".json")),
    "parquet": Format(
        "pipelines.readers.parquet:read_rows", (".parquet", ".pq"), cuts="pipelines.readers.parquet:cuts"
    ),
    "code": Format(
        "pipelines.readers.files_of_code:read_files",
        archives=True,
        group="repo",
        project=True,
        options={"notebook": Option("text", "sources of a notebook's cells, or all of it as JSON", ("text", "json"))},
    ),
    "git": Format(
        "pipelines.readers.git:read_repository",
        plan="pipelines.readers.git:plan",
        group="repo",
        options={
            "branch": Option(None, "branch that is read; else HEAD, main or master", of=str),
            "revision": Option(None, "commit (40 hex digits), tag or ref that is read", of=str),
            "commits": Option(False, "one document a commit, with what it changed, instead of one a file"),
            "max_files": Option(100, "commits that change more files are left out"),
            "notebook": Option("text", "sources of a notebook's cells, or all of it as JSON", ("text", "json")),
        },
    ),
    "gharchive": Format(
        "pipelines.readers.gharchive:read_events",
        (".json", ".jsonl", ".ndjson"),
        group="repo",
        options={
            "commit_comments": Option(True, "whether comments on commits become documents"),
            "clones": Option(None, "folder of clones, owner/name.git, for the code of pull requests", of=str),
        },
    ),
    "swh": Format(
        "pipelines.readers.swh:read_rows",
        (".parquet", ".pq", ".orc"),
        cuts="pipelines.readers.swh:cuts",
        group="repo",
        options={
            "contents": Option(None, "folder or URL of the contents, a file a blob under its SHA-1", of=str),
            "notebook": Option("text", "sources of a notebook's cells, or all of it as JSON", ("text", "json")),
        },
    ),
    "wikipedia": Format(
        "pipelines.readers.wikipedia:read_pages",
        (".xml",),
        cuts="pipelines.readers.wikipedia:cuts",
        options={
            "language": Option(None, "language of all pages; else the dump's own", of=str),
            "namespaces": Option(("0",), "numbers or names of the namespaces that are read"),
            "templates": Option("known", "whether templates that only wrap text give it", ("known", "drop")),
            "tables": Option("drop", "tables left out, or a line a row", ("drop", "text")),
            "math": Option("latex", "formulas between dollar signs, or left out", ("latex", "drop")),
        },
    ),
    "stackexchange": Format(
        "pipelines.readers.stackexchange:read_questions",
        ("posts.xml", ".7z"),
        cuts="pipelines.readers.stackexchange:cuts",
        options={
            "site": Option(None, "host of the site, such as math.stackexchange.com; else told by the path", of=str),
            "min_question_score": Option(None, "questions below it are left out", of=int),
            "min_answer_score": Option(None, "answers below it are left out", of=int),
            "min_answers": Option(0, "questions with fewer answers are left out"),
        },
    ),
    "arxiv": Format(
        "pipelines.readers.arxiv:read_papers",
        archives=True,
        options={
            "without_sections": Option(
                "drop", "a paper without section headers: left out, or all behind its abstract", ("drop", "document")
            ),
        },
    ),
    "books": Format(
        "pipelines.readers.books:read_books",
        (".txt", ".text"),
        archives=True,
        options={"notes": Option("drop", "notes of the transcriber left out, or kept", ("drop", "keep"))},
    ),
    "text": Format("pipelines.readers.text:read_texts", (".txt", ".text"), archives=True),
    "markdown": Format(
        "pipelines.readers.markdown:read_markdown",
        (".md", ".markdown", ".mdown", ".mkd", ".mkdn"),
        archives=True,
        options={"strip": Option(False, "plain text instead of Markdown")},
    ),
    "feed": Format(
        "pipelines.readers.feed:read_feeds",
        (".xml", ".rss", ".atom", ".rdf", ".json"),
        archives=True,
        group="host",
    ),
}
KINDS = tuple(FORMATS)


def checked_options(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a kind: those given, and the defaults of the others.

    Raises ValueError with the option, what was found and what is allowed.
    """
    known = FORMATS[kind].options
    for name, value in given.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"unknown option {name!r} of kind {kind}; known: {', '.join(known) or 'none'}{hint}")
        try:
            known[name].checked(value)
        except ValueError as error:
            raise ValueError(f"option {name}: {error}") from None
    return {name: option.checked(given[name]) if name in given else option.default for name, option in known.items()}
