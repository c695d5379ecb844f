"""Redaction: found spans and a policy in, text with typed placeholders out; every other byte stays as it
was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute

from pii.kinds import APPLIED_TYPE, PLACEHOLDERS, Span, resolve
from pii.policy import DROP_DOCUMENT, PLACEHOLDER, Policy


class Applied(NamedTuple):
    """A span of the original text (code points) and what was done: placeholder, keep or drop_document."""

    start: int
    end: int
    kind: str
    confidence: float
    action: str


class RedactedBatch(NamedTuple):
    """text: large_string; pii: list<struct<start, end, kind, confidence, action>> with offsets of the
    original text; drop: bool, whether the policy drops the document (its text is left as it was)."""

    text: pa.Array
    pii: pa.Array
    drop: pa.Array


def apply_policy(spans: Iterable[Span | Sequence[Any]], policy: Policy) -> list[Applied]:
    """The spans that the policy acts on, in order, without overlaps.

    Spans below their kind's least confidence leave first; then overlaps are settled by `pii.kinds.resolve`.
    """
    chosen = []
    for value in spans:
        span = Span(*value)
        if not 0 <= span.start <= span.end:
            raise ValueError(f"span {tuple(span)} is not a range")
        if span.kind not in PLACEHOLDERS:
            raise ValueError(f"span {tuple(span)} has an unknown kind; known: {', '.join(PLACEHOLDERS)}")
        # float32 columns: 0.8 comes back as 0.800000012, 0.7 as 0.699999988; compare in that precision
        if span.start < span.end and np.float32(span.confidence) >= np.float32(
            policy.kinds[span.kind].min_confidence
        ):
            chosen.append(span)
    return [Applied(*span, policy.kinds[span.kind].action) for span in resolve(chosen)]


def redact(text: str, spans: Iterable[Span | Sequence[Any]], policy: Policy) -> tuple[str, list[Applied]]:
    """The text with placeholders such as `<EMAIL>`, and what was applied, in offsets of the given text.

    Placeholders are found by no detector and nothing that touches one is, so a second detection and redaction
    changes nothing.  If any span's action is drop_document the text comes back unchanged; the caller drops
    it. Raises ValueError for a span that ends after the text.
    """
    applied = apply_policy(spans, policy)
    if applied and max(span.end for span in applied) > len(text):
        raise ValueError(f"a span ends after the text of {len(text)} code points")
    if any(span.action == DROP_DOCUMENT for span in applied):
        return text, applied
    parts: list[str] = []
    done = 0
    for span in applied:
        if span.action == PLACEHOLDER:
            parts += [text[done : span.start], PLACEHOLDERS[span.kind]]
            done = span.end
    parts.append(text[done:])
    return "".join(parts), applied


def redact_batch(text: pa.Array, spans: pa.Array, policy: Policy) -> RedactedBatch:
    """`redact` on columns: text (string or large_string) and spans (the column of `pii@1`), row by row.

    A null text stays null, null spans count as none.  Rows without a span cost no Python work per character.
    """
    if isinstance(text, pa.ChunkedArray):
        text = text.combine_chunks()
    if isinstance(spans, pa.ChunkedArray):
        spans = spans.combine_chunks()
    if len(text) != len(spans):
        raise ValueError(f"{len(text)} texts but {len(spans)} span lists")
    text = text.cast(pa.large_string())
    applied: list[list[Applied]] = [[] for _ in range(len(text))]
    drop = np.zeros(len(text), dtype=bool)
    replaced: dict[int, str] = {}
    for row, entries in enumerate(spans.to_pylist()):
        if not entries or not text[row].is_valid:
            continue
        found = [Span(e["start"], e["end"], e["kind"], e["confidence"]) for e in entries]
        before = text[row].as_py()
        after, applied[row] = redact(before, found, policy)
        drop[row] = any(span.action == DROP_DOCUMENT for span in applied[row])
        if after != before:
            replaced[row] = after
    if replaced:
        rows = np.fromiter(replaced, dtype=np.int64)
        mask = np.zeros(len(text), dtype=bool)
        mask[rows] = True
        text = pa.compute.replace_with_mask(
            text, pa.array(mask), pa.array(list(replaced.values()), type=pa.large_string())
        )
    return RedactedBatch(text, _applied_array(applied), pa.array(drop))


def _applied_array(applied: Sequence[Sequence[Applied]]) -> pa.Array:
    offsets = np.zeros(len(applied) + 1, dtype=np.int32)
    np.cumsum([len(row) for row in applied], out=offsets[1:])
    flat = [span for row in applied for span in row]
    struct_type = APPLIED_TYPE.value_type
    columns = list(zip(*flat, strict=True)) if flat else [()] * struct_type.num_fields
    fields = [struct_type.field(i) for i in range(struct_type.num_fields)]
    children = [
        pa.array(list(values), type=field.type) for values, field in zip(columns, fields, strict=True)
    ]
    struct = pa.StructArray.from_arrays(children, fields=fields)
    return pa.ListArray.from_arrays(pa.array(offsets), struct, type=APPLIED_TYPE)
