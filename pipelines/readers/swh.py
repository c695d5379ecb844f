"""Rows of Software Heritage exports as The Stack v2 publishes them: Parquet and ORC, with the contents beside them.

The names of the columns are those of The Stack v2 (bigcode/the-stack-v2, data card).  `blob_id` is the SHA-1 of the
content, under which Software Heritage stores it; `content_id` is git's.
"""

from __future__ import annotations

import codecs
import datetime
import hashlib
import io
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
from pyarrow import dataset

from licenses.identifiers import sha256_hex, swhid_content
from pipelines.readers.archives import unsafe_name
from pipelines.readers.charset import declared_in_source, decode
from pipelines.readers.code import NOTEBOOK_SUFFIX, _is_plain, kind_of, notebook_text, skip_reason
from pipelines.readers.files import Files, Found
from pipelines.readers.parquet import _BATCH_ROWS, _check, _open
from pipelines.readers.parquet import cuts as parquet_cuts
from pipelines.readers.records import Document, Item, Refused, Skipped, safe_meta, safe_text
from pipelines.readers.rows import as_text
from pipelines.readers.streams import inflated, read_limited
from pipelines.readers.units import Source, UnitFile

if TYPE_CHECKING:
    from pipelines.readers.reading import Reading

# Where a store may have a content, tried in this order; the one that served before is tried first.  The first is that
# of s3://softwareheritage/content, whose files are gzip without a suffix.
LAYOUTS = tuple(
    layout + suffix
    for layout in ("{0}", "{0:.2}/{0}", "{0:.2}/{1:.2}/{0}", "{0:.2}/{1:.2}/{2:.2}/{0}")
    for suffix in ("", ".gz")
)
_SHA1 = re.compile("[0-9a-f]{40}")
_NAME_COLUMNS = ("blob_id", "content_id")
# Columns of the document itself; all others, and the dates, become meta.
_CONTENT = ("content", "text")
_ORC_MAGIC = b"ORC"
# What a store says where it has no such file; S3 forbids to look for what is not there where it may not be listed.
_NOT_THERE = (FileNotFoundError, NotADirectoryError, PermissionError, type(None))
# Rows with a content that are decoded at once: at the size limit of a content 80 MB.
_CONTENT_ROWS = 8


def cuts(found: Found, source: Source, files: Files) -> list[dict[str, int | None]]:
    """Row groups of Parquet files; ORC files stay whole."""
    return [] if found.name.lower().endswith(".orc") else parquet_cuts(found, source, files)


def read_rows(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """The rows of one unit.  Locator: `name#row`, counted from 0 over the file.

    Memory: one row group of Parquet or a few rows of ORC, and one content.
    """
    store = reading.remembered("store", lambda: _store(reading))
    batches = _orc_batches(raw, reading) if file.name.lower().endswith(".orc") else _parquet_batches(raw, reading)
    row = 0
    try:
        for row, problem, batch in batches:
            if problem is not None:
                yield problem.at(f"{file.name}#{row}")
                continue
            for values in batch:
                locator = f"{file.name}#{row}"
                row += 1
                try:
                    yield document_of(values, locator, reading, store)
                except Skipped as skipped:
                    yield skipped.at(locator)
                except Refused as refused:
                    yield refused.at(locator)
    except Refused as refused:
        yield refused.at(file.name)


_Batch = tuple[int, Refused | None, list[dict[str, Any]]]


def _parquet_batches(raw: BinaryIO, reading: Reading) -> Iterator[_Batch]:
    file = _open(raw)
    _check_columns(file.schema_arrow.names)
    unit = reading.unit
    groups = range(unit.start, file.num_row_groups if unit.stop is None else min(unit.stop, file.num_row_groups))
    row = sum(file.metadata.row_group(index).num_rows for index in range(unit.start))
    for index in groups:
        group = file.metadata.row_group(index)
        first, row = row, row + group.num_rows
        try:
            _check(group, reading.limits)
            for batch in file.iter_batches(_BATCH_ROWS, row_groups=[index]):
                yield first, None, batch.to_pylist()
                first += batch.num_rows
        except Refused as refused:
            yield first, Refused(refused.error, f"row group {index}: {refused.message}"), []
        except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
            yield first, Refused("broken_record", f"row group {index}, rest of it: {error}"), []


def _orc_batches(raw: BinaryIO, reading: Reading) -> Iterator[_Batch]:
    """A few rows at a time: a stripe may inflate to any size, and its file does not say to which."""
    head = raw.read(3)
    size = raw.seek(0, 2)
    raw.seek(0)
    broken = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)
    try:
        fragment = dataset.OrcFileFormat().make_fragment(pa.PythonFile(raw, "r"))
        names = fragment.physical_schema.names
    except broken as error:
        raise Refused("truncated" if head == _ORC_MAGIC else "broken_record", f"orc: {error}") from error
    _check_columns(names)
    rows = _CONTENT_ROWS if set(_CONTENT).intersection(names) else _BATCH_ROWS
    limits = reading.limits
    allowed = min(limits.max_archive_bytes, limits.ratio_floor_bytes + limits.max_ratio * size)
    row = made = 0
    try:
        # Without read-ahead and threads: what is in memory is what is asked for.
        for batch in fragment.to_batches(batch_size=rows, batch_readahead=0, fragment_readahead=0, use_threads=False):
            made += batch.nbytes
            if made > allowed:
                yield row, Refused("zip_bomb", f"rows of more than {limits.max_ratio:g} times the file's size"), []
                return
            yield row, None, batch.to_pylist()
            row += batch.num_rows
    except broken as error:
        yield row, Refused("broken_record", f"this row and the rest: {error}"), []


def _check_columns(names: list[str]) -> None:
    if not {"blob_id", "content_id", *_CONTENT}.intersection(names):
        raise Refused("missing_content", f"none of blob_id, content_id, content, text among {', '.join(names)}"[:300])


def _store(reading: Reading) -> Store | None:
    place = reading.options["contents"]
    return Store(reading.unit.resolve(place), reading.files) if place else None


class Store:
    """Contents by SHA-1, in a folder or at a URL, plain or as gzip."""

    def __init__(self, place: str, files: Files) -> None:
        self._place = place.rstrip("/")
        self._files = files
        self._layouts = list(LAYOUTS)

    def read(self, name: str, max_bytes: int, reading: Reading) -> bytes:
        """The content of this SHA-1 (40 hex digits), checked; raises Refused."""
        for layout in self._layouts:
            path = f"{self._place}/{layout.format(name, name[2:], name[4:])}"
            if "://" not in path and not os.path.lexists(path):
                continue
            try:
                raw = self._files.open(path)
            except Refused as refused:
                if refused.error in ("unreadable", "missing_object") and isinstance(refused.__cause__, _NOT_THERE):
                    continue
                raise  # a store that gives no answer may have it
            if layout != self._layouts[0]:
                self._layouts.remove(layout)
                self._layouts.insert(0, layout)
            with raw:
                if self._files.link(path, path.removeprefix(f"{self._place}/")) == "unsafe_link":
                    raise Refused("unsafe_link", f"content {name} is a link that leads out of the store")
                # gzip adds at most 0.1 % and a header to what cannot be packed.
                data = read_limited(raw, max_bytes + max_bytes // 64 + 1024, f"content {name}")
            return _checked(data, name, max_bytes, reading)
        raise Refused("missing_content", f"content {name} is not in the store")


def _checked(data: bytes, name: str, max_bytes: int, reading: Reading) -> bytes:
    if not _is(data, name) and data[:2] == b"\x1f\x8b":  # a stored file may itself be gzip
        data = read_limited(inflated(io.BytesIO(data), "gzip", reading.limits), max_bytes, f"content {name}")
    if not _is(data, name):
        raise Refused("broken_record", f"content {name}: SHA-1 of another content")
    if len(data) > max_bytes:
        raise Refused("too_large", f"{len(data)} bytes, more than {max_bytes}")
    return data


def _is(data: bytes, name: str) -> bool:
    """Whether the name is the SHA-1 of the bytes, plain or as git counts it."""
    if hashlib.sha1(data, usedforsecurity=False).hexdigest() == name:
        return True
    return swhid_content(data).rpartition(":")[2] == name


def document_of(values: dict[str, Any], locator: str, reading: Reading, store: Store | None) -> Document:
    """One row as a document; raises Refused and Skipped."""
    path = (_text(values, "path") or "").lstrip("/")
    if path and (reason := unsafe_name(path)):
        raise Refused("path_traversal", reason)
    if path and (drop := skip_reason(path)):
        raise Skipped(drop)
    length = values.get("length_bytes")
    limit = reading.limits.max_code_bytes
    if isinstance(length, int) and length > limit:
        raise Refused("too_large", f"{length} bytes, more than {limit}")
    names = [name for column in _NAME_COLUMNS if (name := _sha1(values.get(column)))]
    given = next((values[column] for column in _CONTENT if values.get(column) is not None), None)
    charset = _text(values, "src_encoding")
    data: bytes | None
    if isinstance(given, str):
        data, text = _bytes_of(given, charset, names), given
    else:
        data = _content(given, names, limit, reading, store)
        text = _decoded(data, _known(charset))
    if data is not None and isinstance(length, int) and given is None and length != len(data):
        raise Refused("wrong_length", f"a content of {len(data)} bytes where the row says {length}")
    if len(text) > limit:
        raise Refused("too_large", f"{len(text)} characters, more than {limit}")
    kind = kind_of(path) if path else "code"
    extra: dict[str, str | None] = {}
    if not text:
        raise Skipped("empty")
    if kind == "notebook" or path.lower().endswith(NOTEBOOK_SUFFIX):
        # A notebook is UTF-8, unless the row says in which encoding Software Heritage found it.
        known = isinstance(given, str) or _known(charset)
        book = text.encode("utf-8", "replace") if known or data is None else data
        sources, extra["notebook_language"] = notebook_text(book)
        text = text if reading.options["notebook"] == "json" and sources.strip() else sources
    text = safe_text(text)[0]
    if not text.strip():
        raise Skipped("empty")
    return Document(
        locator=locator, source=reading.unit.source, kind=reading.unit.document_kind or kind, text=text,
        repo=_text(values, "repo_name"), path=path or None, commit=_text(values, "revision_id"),
        timestamp=_text(values, "committer_date") or _text(values, "revision_date"),
        mime="application/x-ipynb+json" if kind == "notebook" else None,
        content_sha256=sha256_hex(data) if data is not None else None,
        swhid=swhid_content(data) if data is not None else None,
        programming_language=_text(values, "language"),
        meta=_meta(values) | safe_meta(extra),
    )  # fmt: skip


def _content(given: Any, names: list[str], limit: int, reading: Reading, store: Store | None) -> bytes:
    if isinstance(given, bytes):
        if len(given) > limit:
            raise Refused("too_large", f"{len(given)} bytes, more than {limit}")
        if names and not any(_is(given, name) for name in names):
            raise Refused("broken_record", f"content {names[0]}: SHA-1 of another content")
        return given
    if given is not None:
        raise Refused("missing_text", f"a content of type {type(given).__name__}")
    if not names:
        raise Refused("missing_content", "a row without content and without a blob_id of 40 hex digits")
    if store is None:
        raise Refused("missing_content", "no content in the row, and the source has no option contents")
    return store.read(names[0], limit, reading)


def _decoded(data: bytes, charset: str | None) -> str:
    if charset in (None, "utf-8", "ascii") and _is_plain(data):
        return data.decode("ascii")
    return decode(data, charset or declared_in_source(data))[0] if data else ""


def _known(charset: str | None) -> str | None:
    try:
        return codecs.lookup(charset).name if charset else None
    except LookupError:
        return None


def _bytes_of(text: str, charset: str | None, names: list[str]) -> bytes | None:
    """The bytes of a decoded content, None where they cannot be told; raises Refused where UTF-8 gives another SHA-1.

    Another encoding may have been decoded with losses, and a byte order mark may be gone.
    """
    name = _known(charset) or "utf-8"
    for mark in ("", "\ufeff"):
        try:
            data = (mark + text).encode(name)
        except UnicodeEncodeError:
            return None
        if not names or any(_is(data, each) for each in names):
            return data
    if name in ("utf-8", "ascii") and "\ufffd" not in text:
        raise Refused("broken_record", f"content {names[0]}: SHA-1 of another content")
    return None


def _sha1(value: Any) -> str | None:
    """40 hex digits; also of `swh:1:cnt:...` and of 20 bytes."""
    if isinstance(value, bytes):
        value = value.hex() if len(value) == 20 else value.decode("ascii", "replace")
    if not isinstance(value, str):
        return None
    value = value.removeprefix("swh:1:cnt:").lower()
    return value if _SHA1.fullmatch(value) else None


def _text(values: dict[str, Any], column: str) -> str | None:
    value = values.get(column)
    return None if value is None or value == "" else _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return safe_text(value)[0]
    if isinstance(value, int):
        return str(value) if not isinstance(value, bool) else str(value).lower()
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(datetime.UTC).replace(tzinfo=None)
        return value.isoformat(timespec="seconds") + "Z"
    if isinstance(value, bytes):
        return safe_text(value.decode("utf-8", "backslashreplace"))[0]
    return as_text(value)


def _meta(values: dict[str, Any]) -> dict[str, str]:
    """All columns but the content, under their own names; stars and licence also under those that rules look for."""
    known = {
        safe_text(key)[0]: shown
        for key, value in values.items()
        if value is not None and key not in _CONTENT and (shown := _shown(value))
    }
    licenses = values.get("detected_licenses")
    if isinstance(licenses, list) and (ids := [safe_text(each)[0] for each in licenses if isinstance(each, str)]):
        known["detected_licenses"] = " ".join(ids)  # as license_stack_v2@1 reads them; no id holds a space
        if len(ids) == 1 and ids[0]:
            known.setdefault("license", ids[0])
    elif licenses == []:
        known.pop("detected_licenses", None)
    for column, name in (("star_events_count", "stars"), ("fork_events_count", "forks")):
        if column in known:
            known.setdefault(name, known[column])
    return known
