"""The annotator `pii@1`: one scan for candidates, exact checks on them, overlaps settled, offsets in code
points."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cache
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pii import addresses, checks, conversations, cues, devices, keys, national, phones, replacements, scan
from pii.kinds import SPANS_TYPE, Span, settle

SCHEMA = pa.schema(
    [
        pa.field(
            "spans",
            SPANS_TYPE,
            nullable=False,
            metadata={
                "description": "personal data in the text, in order; kinds that hold others (URL, ADDRESS, ...) may "
                "overlap them",
                "unit": "code points",
            },
        )
    ]
)


@cache
def _iban_lengths() -> np.ndarray:
    return checks.iban_lengths()


_DEGREE_SIGN = ("°".encode(), b"&deg;")
_FIRST_FORMAT = len(replacements.LITERALS)
_FIRST_CUE = _FIRST_FORMAT + len(keys.LITERALS)
_FIRST_DEGREE = _FIRST_CUE + len(cues.LITERALS)


@cache
def _literals() -> scan.Literals:
    """All strings that are looked for as they are, in one pass."""
    return scan.Literals((*replacements.LITERALS, *keys.LITERALS, *cues.LITERALS, *_DEGREE_SIGN))


def _hide_replacements(data: bytes, hits: list[tuple[int, int]]) -> bytes:
    """The same bytes with the replacements of an earlier redaction overwritten by `scan.WALL`."""
    found = list(replacements.walls(data, (hit for hit in hits if hit[1] < _FIRST_FORMAT)))
    if not found:
        return data
    view = memoryview(data)
    parts: list[bytes | memoryview] = []
    done = 0
    for start, end in found:
        if end > done:
            start = max(start, done)
            parts += [view[done:start], bytes([scan.WALL]) * (end - start)]
            done = end
    return b"".join([*parts, view[done:]])


def _number(buf: bytes, start: int, end: int, lo: int, hi: int) -> list[Span]:
    """Cards, identity numbers, IMEI and phone numbers in one run of digits and separators."""
    # A redaction next to the run, over one or two separators, counts as more digits: nothing is found.
    after = buf[end : min(hi, end + 16)]
    wall = bytes([scan.WALL])
    if after.lstrip(b" -./()")[:1] == wall or buf[max(lo, start - 3) : start].rstrip(b" -./()")[-1:] == wall:
        return []
    run = buf[start:end].decode("ascii")
    digits = buf[start:end].translate(None, b" -./()+").decode("ascii")
    context = checks.left_context(buf, start, lo)
    joined = after[:1].isalnum() or after[:1] in (b"_", b"%")
    if not joined and (start == lo or buf[start - 1] not in b"-+.$=/%#&\\" or buf[start - 1 : start] == b"="):
        found = checks.card(run, digits, start, context)
        named = national.number(run, digits, start, context)
        phone = devices.imei(run, digits, start, context)
        sure = [span for span in (found, named, phone) if span is not None]
        if sure:
            return sure
    return phones.phones(run, digits, start, context, after)


class _Document:
    """What is known of one document while its candidates are read: who speaks in it."""

    def __init__(self) -> None:
        self.lines: list[tuple[bytes, bool]] = []
        self.mentions: list[tuple[int, int]] = []


def _byte_spans(buf: bytes, offsets: np.ndarray, hits: list[tuple[int, int]]) -> tuple[list[Span], list[int]]:
    """All finds of a batch as byte spans, and the document of each."""
    view = np.frombuffer(buf, dtype=np.uint8)
    rows = scan.scan(view, offsets, _iban_lengths())
    spans: list[Span] = []
    documents: list[int] = []
    talks: dict[int, _Document] = {}
    if len(rows):
        owner = np.searchsorted(offsets, rows[:, 3], side="right") - 1
        bounds = (owner, offsets[owner], offsets[owner + 1])
        for (start, what, end, anchor), document, lo, hi in zip(
            rows.tolist(), *(some.tolist() for some in bounds), strict=True
        ):
            found: Span | None = None
            if what == scan.SPEAKER:
                talks.setdefault(document, _Document()).lines.append((buf[start:end], buf[anchor] == 0x3C))
                continue
            if what == scan.MENTION:
                talks.setdefault(document, _Document()).mentions.append((start, end))
                continue
            if what == scan.NUMBER:
                several = _number(buf, start, end, lo, hi)
                spans += several
                documents += [document] * len(several)
                continue
            if what == scan.HOST:
                found = devices.host(buf, start, end, hi)
            elif what == scan.STREET:
                found = addresses.street(buf, start, end, anchor, lo, hi, checks.left_context(buf, start, lo, 24))
            elif what == scan.EMAIL:
                found = keys.password_in_url(buf, start, anchor, lo, hi)
                found = found or checks.email(buf, start, end, anchor, lo, hi)
            elif what == scan.LINK:
                found = devices.link(buf, start, end, anchor)
            elif what == scan.ASSIGNED:
                found = keys.assigned(buf, start, end, anchor, lo, hi)
            elif what == scan.IPV4:
                found = checks.ipv4(buf, start, end, lo, hi)
            elif what == scan.IPV6:
                found = checks.ipv6(buf, start, end, lo, hi)
            elif what == scan.MAC:
                found = devices.mac(buf, start, end, checks.left_context(buf, start, lo))
            elif what == scan.GPS:
                found = devices.gps(buf, start, end, lo, hi, checks.left_context(buf, start, lo))
            elif what == scan.CODED:
                found = national.coded(buf[start:end], start, checks.left_context(buf, start, lo))
            else:
                found = checks.iban(buf, start, end, lo, hi)
            if found is not None:
                spans.append(found)
                documents.append(document)
    for span, document in _literal_spans(buf, offsets, hits):
        spans.append(span)
        documents.append(document)
    for document, talk in talks.items():
        several = _user_names(buf, int(offsets[document]), int(offsets[document + 1]), talk)
        spans += several
        documents += [document] * len(several)
    return spans, documents


def _literal_spans(buf: bytes, offsets: np.ndarray, hits: list[tuple[int, int]]) -> Iterator[tuple[Span, int]]:
    """Keys of known formats, names behind a cue, positions in degrees; each with its document."""
    some = [hit for hit in hits if hit[1] >= _FIRST_FORMAT]
    owner = (np.searchsorted(offsets, [at for at, _ in some], side="right") - 1).tolist()
    done = [0] * len(_literals())
    for (at, which), document in zip(some, owner, strict=True):
        if at < done[which]:
            continue
        hi = int(offsets[document + 1])
        if which < _FIRST_CUE:
            found = keys.known(buf, at, which - _FIRST_FORMAT, hi)
        elif which < _FIRST_DEGREE:
            found = cues.person(buf, at, which - _FIRST_CUE, hi)
        else:
            found = devices.degrees(buf, at)
        if found is not None:
            done[which] = max(at + 1, found.end)
            yield found, document


def _user_names(buf: bytes, lo: int, hi: int, talk: _Document) -> list[Span]:
    """The speakers of a log wherever they are named; and `@name` where one greets or thanks people."""
    lines = talk.lines
    names: list[bytes] = []
    if len(lines) >= 3 and not any(scan.WALL in name for name, _ in lines):
        count = sum(1 for line in buf[lo:hi].split(b"\n") if line.strip())
        names = conversations.speakers(lines, count)
    spans = conversations.mentions(buf, lo, hi, names, 0.7)
    known = set(names)
    for start, end in talk.mentions:
        if buf[start:end] not in known and scan.WALL not in buf[start:end]:
            greeted = conversations.greeted(checks.left_context(buf, start - 1, lo, 44))
            if greeted:
                spans.append(Span(start, end, "USERNAME", 0.6))
    return spans


def detect_texts(data: bytes, offsets: np.ndarray) -> list[list[Span]]:
    """Spans of each document of a batch, in code points, settled (`pii.kinds.settle`).

    data     UTF-8 of all documents one after another
    offsets  [documents + 1] int64 into `data`, first 0
    """
    count = len(offsets) - 1
    out: list[list[Span]] = [[] for _ in range(count)]
    if not data:
        return out
    # A line end behind every document: what looks at a neighbouring byte never sees another document.
    view = memoryview(data)
    bounds = offsets.tolist()
    data = b"".join(part for a, b in zip(bounds, bounds[1:], strict=False) for part in (view[a:b], b"\n"))
    offsets = offsets + np.arange(count + 1)
    hits = [(at, which) for at, which in _literals().find(np.frombuffer(data, dtype=np.uint8)).tolist()]
    buf = _hide_replacements(data, hits)
    spans, documents = _byte_spans(buf, offsets, hits)
    if not spans:
        return out
    starts = np.array([span.start for span in spans], dtype=np.int64)
    ends = np.array([span.end for span in spans], dtype=np.int64)
    base = offsets[np.array(documents, dtype=np.int64)]
    if data.isascii():
        starts, ends = starts - base, ends - base
    else:
        wanted = np.unique(np.concatenate([starts, ends, base]))
        before = scan.code_points(np.frombuffer(data, dtype=np.uint8), wanted)
        starts, ends, base = (before[np.searchsorted(wanted, some)] for some in (starts, ends, base))
        starts, ends = starts - base, ends - base
    for span, document, start, end in zip(spans, documents, starts.tolist(), ends.tolist(), strict=True):
        out[document].append(Span(start, end, span.kind, span.confidence))
    return [settle(found) if len(found) > 1 else found for found in out]


def detect(text: str) -> list[Span]:
    """Spans of one text, in code points, resolved.  A lone surrogate counts as one unknown character."""
    data = text.encode("utf-8", "surrogatepass")
    return detect_texts(data, np.array([0, len(data)], dtype=np.int64))[0]


def detect_all(texts: Sequence[str]) -> list[list[Span]]:
    """Spans of each text, in code points."""
    parts = [text.encode("utf-8", "surrogatepass") for text in texts]
    offsets = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    return detect_texts(b"".join(parts), offsets)


def text_buffer(column: pa.Array | pa.ChunkedArray) -> tuple[bytes, np.ndarray]:
    """UTF-8 bytes of a string column and its offsets from 0; nulls count as empty."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    column = column.cast(pa.large_string()).fill_null("")
    if len(column) == 0:
        return b"", np.zeros(1, dtype=np.int64)
    _, offset_buffer, data_buffer = column.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[column.offset : column.offset + len(column) + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    data = b"" if data_buffer is None else data_buffer.slice(first, last - first).to_pybytes()
    return data, offsets - first


def spans_array(found: Sequence[Sequence[Span]]) -> pa.Array:
    """A list<struct> column of the type of `pii@1`."""
    offsets = np.zeros(len(found) + 1, dtype=np.int32)
    np.cumsum([len(spans) for spans in found], out=offsets[1:])
    flat = [span for spans in found for span in spans]
    fields = SPANS_TYPE.value_type
    columns = list(zip(*flat, strict=True)) if flat else [(), (), (), ()]
    children = [pa.array(list(values), type=fields.field(i).type) for i, values in enumerate(columns)]
    struct = pa.StructArray.from_arrays(children, fields=[fields.field(i) for i in range(fields.num_fields)])
    return pa.ListArray.from_arrays(pa.array(offsets), struct, type=SPANS_TYPE)


@dataclasses.dataclass(frozen=True)
class PiiAnnotator:
    """`pii@1`: column `spans`, the personal data of each text.  Needs only the column `text`.  Linear
    time."""

    name: ClassVar[str] = "pii@1"
    schema: ClassVar[pa.Schema] = SCHEMA

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        data, offsets = text_buffer(batch.column("text"))
        return pa.RecordBatch.from_arrays([spans_array(detect_texts(data, offsets))], schema=SCHEMA)
