"""The licences of files on disk, one answer a file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.errors import UsageError

# A licence stands at the head of a file or is the file; more than this is not looked at.
_MAX_BYTES = 1 << 20
_PAGES = (".html", ".htm", ".xhtml")


def scan_files(paths: Sequence[str]) -> Iterator[dict[str, Any]]:
    """path, expression, class, confidence, spans, source of every file, folders walked in the order of names.

    A file that states nothing itself has the licence of the nearest folder, at or above it and inside the path that
    was given, whose licence files, package metadata or readme state one (source `archive`, no span).  source is a
    column of `license@1`, a kind of mark of `licenses.page_license` for an HTML file that says nothing else of itself,
    or `unreadable` with what the system said under `error`.  Links to folders are not followed; what is no regular file
    is left out.  Raises UsageError for a path that does not exist.  Memory: the licence and metadata files of one given
    folder.
    """
    for path in paths:
        if not os.path.exists(path):
            raise UsageError(f"{path}: no such file or folder")
    for path in paths:
        if os.path.isdir(path):
            by_directory = _directories(path)
            for file in _files(path):
                yield _scan(file, os.path.relpath(file, path).replace(os.sep, "/"), by_directory)
        else:
            yield _scan(path, os.path.basename(path), {})


def _directories(folder: str) -> dict[str, str]:
    """Expression by directory below the folder."""
    import licenses

    texts: dict[str, str] = {}
    for file in _files(folder):
        inner = os.path.relpath(file, folder).replace(os.sep, "/")
        wanted = licenses.states_license(inner) or licenses.is_metadata(inner) or licenses.is_readme(inner)
        if wanted or "LICENSES/" in inner:
            try:
                texts[inner] = _text(file)
            except OSError:
                continue  # told where the file itself is scanned
    return licenses.directory_expressions(texts)


def _scan(path: str, inner: str, by_directory: Mapping[str, str]) -> dict[str, Any]:
    import licenses

    try:
        text = _text(path)
    except OSError as error:
        told: dict[str, Any] = {"path": path, "expression": None, "class": "unknown", "confidence": 0.0, "spans": []}
        return {**told, "source": "unreadable", "error": error.strerror or type(error).__name__}
    archive = licenses.license_for_path(inner, by_directory)
    meta = [("license", archive)] if archive else []
    row = {"doc_id": path, "source": "files", "kind": "code", "text": text, "path": inner, "meta": meta}
    batch = pa.RecordBatch.from_pylist([row], schema=DOCUMENT_SCHEMA)
    found = licenses.ANNOTATORS["license@1"]().annotate(batch).to_pylist()[0]
    if found["source"] in (None, "archive") and inner.lower().endswith(_PAGES):
        found = _of_page(text) or found
    start, end = found["span_start"], found["span_end"]
    return {
        "path": path,
        "expression": found["expression"],
        "class": found["license_class"],
        "confidence": round(found["confidence"] or 0.0, 4),
        "spans": [] if start is None else [[start, end]],
        "source": found["source"],
    }


def _of_page(text: str) -> dict[str, Any] | None:
    """What the marks of a web page say of it, under the names of the columns of `license@1`."""
    import licenses

    mark = licenses.page_license(text)
    if mark is None:
        return None
    return {
        "expression": mark.expression,
        "license_class": licenses.license_class(mark.expression),
        "confidence": mark.confidence,
        "source": mark.source,
        "span_start": mark.start,
        "span_end": mark.end,
    }


def _text(path: str) -> str:
    """Of the first _MAX_BYTES; nothing for a binary file, which a NUL tells."""
    with open(path, "rb") as file:
        data = file.read(_MAX_BYTES)
    return "" if b"\0" in data else data.decode("utf-8", "replace")


def _files(folder: str) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        yield from (file for file in (os.path.join(place, name) for name in sorted(names)) if os.path.isfile(file))


def table(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The lines of a table for people: class, confidence, source, expression, path; then how many of each class."""
    counted: Counter[str] = Counter()
    yield f"{'class':<16}{'conf.':>5}  {'by':<17}{'expression':<28} path"
    for row in found:
        counted[row["class"]] += 1
        expression = row.get("error") or row["expression"] or "-"
        yield f"{row['class']:<16}{row['confidence']:>5.2f}  {row['source'] or '-':<17}{expression:<28} {row['path']}"
    yield ", ".join(f"{name} {count:,}" for name, count in counted.most_common()) or "no files"
