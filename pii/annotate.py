"""The annotator `pii@1`: one scan for candidates, exact checks on them, overlaps settled, offsets in code
points."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache

import numpy as np
import pyarrow as pa

from pii import checks, keys, phones, scan
from pii.kinds import PLACEHOLDERS, SPANS_TYPE, Span, resolve

SCHEMA = pa.schema(
    [
        pa.field(
            "spans",
            SPANS_TYPE,
            nullable=False,
            metadata={
                "description": "personal data in the text, in order, without overlaps",
                "unit": "code points",
            },
        )
    ]
)


@cache
def _iban_lengths() -> np.ndarray:
    return checks.iban_lengths()


def _hide_placeholders(data: bytes) -> bytes:
    """The same bytes with the placeholders of an earlier redaction overwritten by `scan.WALL`."""
    for placeholder in PLACEHOLDERS.values():
        mark = placeholder.encode()
        if mark in data:
            data = data.replace(mark, bytes([scan.WALL]) * len(mark))
    return data


def _number(buf: bytes, start: int, end: int, lo: int, hi: int) -> list[Span]:
    """Cards and phone numbers in one run of digits and separators."""
    # A redaction next to the run, over one or two separators, counts as more digits: nothing is found.
    after = buf[end : min(hi, end + 16)]
    wall = bytes([scan.WALL])
    if after.lstrip(b" -./()")[:1] == wall or buf[max(lo, start - 3) : start].rstrip(b" -./()")[-1:] == wall:
        return []
    run = buf[start:end].decode("ascii")
    context = checks.left_context(buf, start, lo)
    joined = after[:1].isalnum() or after[:1] in (b"_", b"%")
    if not joined and (start == lo or buf[start - 1] not in b"-+.$=/%#&\\" or buf[start - 1 : start] == b"="):
        found = checks.card(run, start, context)
        if found is not None:
            return [found]
    return phones.phones(run, start, context, after)


def _byte_spans(buf: bytes, offsets: np.ndarray) -> tuple[list[Span], list[int]]:
    """All finds of a batch as byte spans, and the document of each."""
    view = np.frombuffer(buf, dtype=np.uint8)
    rows = scan.scan(view, offsets, _iban_lengths())
    spans: list[Span] = []
    documents: list[int] = []
    if len(rows):
        owner = (np.searchsorted(offsets, rows[:, 3], side="right") - 1).tolist()
        for (start, what, end, anchor), document in zip(rows.tolist(), owner, strict=True):
            lo, hi = int(offsets[document]), int(offsets[document + 1])
            found: Span | None = None
            if what == scan.NUMBER:
                several = _number(buf, start, end, lo, hi)
                spans += several
                documents += [document] * len(several)
                continue
            if what == scan.EMAIL:
                found = keys.password_in_url(buf, start, anchor, lo, hi)
                found = found or checks.email(buf, start, end, anchor, lo, hi)
            elif what == scan.ASSIGNED:
                found = keys.assigned(buf, start, end, anchor, lo, hi)
            elif what == scan.IPV4:
                found = checks.ipv4(buf, start, end, lo, hi)
            elif what == scan.IPV6:
                found = checks.ipv6(buf, start, end, lo, hi)
            else:
                found = checks.iban(buf, start, end, lo, hi)
            if found is not None:
                spans.append(found)
                documents.append(document)
    for span in keys.known_formats(buf):
        document = int(np.searchsorted(offsets, span.start, side="right")) - 1
        if span.end <= offsets[document + 1]:
            spans.append(span)
            documents.append(document)
    return spans, documents


def detect_texts(data: bytes, offsets: np.ndarray) -> list[list[Span]]:
    """Spans of each document of a batch, in code points, resolved.

    data     UTF-8 of all documents one after another
    offsets  [documents + 1] int64 into `data`, first 0
    """
    count = len(offsets) - 1
    out: list[list[Span]] = [[] for _ in range(count)]
    if not data:
        return out
    buf = _hide_placeholders(data)
    spans, documents = _byte_spans(buf, offsets)
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
    return [resolve(found) if len(found) > 1 else found for found in out]


def detect(text: str) -> list[Span]:
    """Spans of one text, in code points, resolved.  A lone surrogate counts as one unknown character."""
    data = text.encode("utf-8", "surrogatepass")
    return detect_texts(data, np.array([0, len(data)], dtype=np.int64))[0]


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

    name: str = "pii@1"

    @property
    def schema(self) -> pa.Schema:
        return SCHEMA

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        data, offsets = text_buffer(batch.column("text"))
        return pa.RecordBatch.from_arrays([spans_array(detect_texts(data, offsets))], schema=SCHEMA)
