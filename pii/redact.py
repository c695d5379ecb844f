"""Redaction: found spans and a policy in, text with their replacements out; every other byte stays as it
was."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute

from pii import replacements
from pii.kinds import APPLIED_TYPE, PLACEHOLDERS, Span, resolve
from pii.policy import BIGCODE, DETECTORS, DROP_DOCUMENT, KEEP, NAMES, PATTERNS, PLACEHOLDER, PSEUDONYM, Policy


class Applied(NamedTuple):
    """A span of the original text (code points) and what was done: an action of `pii.policy`."""

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

    Spans of kinds that are not looked for, and those below their kind's least confidence, leave first.  Then overlaps
    are settled by `pii.kinds.resolve` among the spans that change the text or drop the document; spans that are only
    kept stay where they overlap none of these.  Spans that touch both stay, and each gets its own replacement.
    """
    acting: list[Span] = []
    kept: list[Span] = []
    for value in spans:
        span = Span(*value)
        if not 0 <= span.start <= span.end:
            raise ValueError(f"span {tuple(span)} is not a range")
        if span.kind not in PLACEHOLDERS:
            raise ValueError(f"span {tuple(span)} has an unknown kind; known: {', '.join(PLACEHOLDERS)}")
        chosen = policy.kinds[span.kind]
        # float32 columns: 0.8 comes back as 0.800000012, 0.7 as 0.699999988; compare in that precision
        sure = np.float32(span.confidence) >= np.float32(chosen.min_confidence)
        if span.start < span.end and chosen.detect and sure:
            (kept if chosen.action == KEEP else acting).append(span)
    settled = resolve(acting)
    if kept:
        free = []
        starts = [span.start for span in settled]
        for span in resolve(kept):
            at = bisect.bisect_left(starts, span.end)
            if at == 0 or settled[at - 1].end <= span.start:
                free.append(span)
        settled = sorted([*settled, *free])
    return [Applied(*span, policy.kinds[span.kind].action) for span in settled]


def replacement_texts(
    text: str, applied: Sequence[Applied], policy: Policy, key: bytes | None = None
) -> list[str | None]:
    """What stands in the place of each span, None where it stays.

    The same value (`pii.replacements.same`) has the same replacement: in a document always, and with the policy's key
    in every document.  Without a key the reserved values of a document are numbered in order of first appearance.
    key: what `policy.key.read()` gives, where it was read already.
    """
    if key is None and policy.key is not None and any(span.action != PLACEHOLDER for span in applied):
        key = policy.key.read()
    numbers: dict[str, dict[str, int]] = {}
    out: list[str | None] = []
    for span in applied:
        if span.action in (KEEP, DROP_DOCUMENT):
            out.append(None)
            continue
        if span.action == PLACEHOLDER:
            out.append(PLACEHOLDERS[span.kind])
            continue
        value = text[span.start : span.end]
        if span.action == PSEUDONYM:
            assert key is not None, "a policy with pseudonyms has a key"
            out.append(replacements.pseudonym(key, span.kind, value))
            continue
        if key is not None:
            number = replacements.digest(key, span.kind, value)
        else:
            known = numbers.setdefault(span.kind, {})
            number = known.setdefault(replacements.same(span.kind, value), len(known))
        out.append(replacements.reserved(span.kind, value, number))
    return out


def redact(
    text: str, spans: Iterable[Span | Sequence[Any]], policy: Policy, key: bytes | None = None
) -> tuple[str, list[Applied]]:
    """The text with its spans replaced as the policy says, and what was applied, in offsets of the given text.

    Replacements are found by no detector and nothing that touches one is, so a second detection and redaction
    changes nothing.  If any span's action is drop_document the text comes back unchanged; the caller drops
    it.  Raises ValueError for a span that ends after the text, PolicyError where the policy's key cannot be read.
    """
    applied = apply_policy(spans, policy)
    if applied and max(span.end for span in applied) > len(text):
        raise ValueError(f"a span ends after the text of {len(text)} code points")
    if any(span.action == DROP_DOCUMENT for span in applied):
        return text, applied
    parts: list[str] = []
    done = 0
    for span, replacement in zip(applied, replacement_texts(text, applied, policy, key), strict=True):
        if replacement is not None:
            parts += [text[done : span.start], replacement]
            done = span.end
    parts.append(text[done:])
    return "".join(parts), applied


def with_replacements(text: str, spans: Sequence[Mapping[str, Any]], policy: Policy) -> list[dict[str, Any]]:
    """The spans of a column `pii` (offsets in `text`, before redaction), each with its `replacement` or None."""
    fields = ("start", "end", "kind", "confidence", "action")
    applied = [Applied(*(span[name] for name in fields)) for span in spans]
    texts = replacement_texts(text, applied, policy)
    return [{**span._asdict(), "replacement": replacement} for span, replacement in zip(applied, texts, strict=True)]


def policy_spans(policy: Policy, columns: Mapping[str, pa.Array]) -> pa.Array:
    """The spans that a policy is applied to, of the type of `pii@1`, from the `spans` columns of its annotators.

    columns: annotator name -> column.  Raises KeyError for one that is missing.
    """
    from pii.annotate import spans_array
    from pii.names import combine

    given = [columns[name] for name in policy.annotators]
    if len(given) == 1 and policy.annotators[0] != DETECTORS[BIGCODE]:
        return given[0]
    if len(given) == 1:
        rows = [[Span(s["start"], s["end"], s["kind"], 1.0) for s in row or ()] for row in given[0].to_pylist()]
        return spans_array(rows)
    by_name = dict(
        zip(policy.annotators, ([_spans(row) for row in column.to_pylist()] for column in given), strict=True)
    )
    pairs = zip(by_name[DETECTORS[PATTERNS]], by_name[DETECTORS[NAMES]], strict=True)
    return spans_array([combine(patterns, names) for patterns, names in pairs])


def _spans(row: Sequence[Mapping[str, Any]] | None) -> list[Span]:
    return [Span(s["start"], s["end"], s["kind"], s["confidence"]) for s in row or ()]


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
    key = None if policy.key is None else policy.key.read()
    drop = np.zeros(len(text), dtype=bool)
    replaced: dict[int, str] = {}
    for row, entries in enumerate(spans.to_pylist()):
        if not entries or not text[row].is_valid:
            continue
        found = [Span(e["start"], e["end"], e["kind"], e["confidence"]) for e in entries]
        before = text[row].as_py()
        after, applied[row] = redact(before, found, policy, key)
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
    children = [pa.array(list(values), type=field.type) for values, field in zip(columns, fields, strict=True)]
    struct = pa.StructArray.from_arrays(children, fields=fields)
    return pa.ListArray.from_arrays(pa.array(offsets), struct, type=APPLIED_TYPE)
