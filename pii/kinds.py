"""The kinds of personal data, the span record, and the rule that settles overlaps."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

import pyarrow as pa

# Order matters: it is the last resort when spans of equal length and confidence overlap.
KINDS: tuple[str, ...] = (
    "EMAIL",
    "PRIVATE_KEY",
    "JWT",
    "KEY",
    "PASSWORD",
    "CREDIT_CARD",
    "IBAN",
    "NATIONAL_ID",
    "IMEI",
    "MAC_ADDRESS",
    "IP_ADDRESS",
    "PHONE",
    "GPS",
    "ADDRESS",
    "USERNAME",
    "PERSON",
    "URL",
    "LOCATION",
    "ORGANIZATION",
    "NRP",
    "DATE_TIME",
)
KIND_ORDER: dict[str, int] = {kind: rank for rank, kind in enumerate(KINDS)}
PLACEHOLDERS: dict[str, str] = {kind: f"<{kind}>" for kind in KINDS}
# Kinds that may hold spans of other kinds (a URL with a password, an address with a place).  A detector gives both;
# which one counts is settled when a policy is applied, among the kinds that it asks for.
CONTAINERS: frozenset[str] = frozenset(
    ("ADDRESS", "USERNAME", "PERSON", "URL", "LOCATION", "ORGANIZATION", "NRP", "DATE_TIME")
)

_SPAN_FIELDS = [
    pa.field("start", pa.int32(), metadata={"unit": "code points", "description": "first code point"}),
    pa.field("end", pa.int32(), metadata={"unit": "code points", "description": "one past the last code point"}),
    pa.field("kind", pa.string(), metadata={"description": " | ".join(KINDS)}),
    pa.field("confidence", pa.float32(), metadata={"description": "0..1, larger is surer"}),
]
SPANS_TYPE = pa.list_(pa.struct(_SPAN_FIELDS))
APPLIED_TYPE = pa.list_(
    pa.struct(
        [
            *_SPAN_FIELDS,
            pa.field(
                "action",
                pa.string(),
                metadata={"description": "placeholder | reserved | pseudonym | keep | drop_document"},
            ),
        ]
    )
)


class Span(NamedTuple):
    """A find: [start, end) in code points (or bytes, inside the detectors), its kind and confidence 0..1."""

    start: int
    end: int
    kind: str
    confidence: float


def resolve(spans: Iterable[Span]) -> list[Span]:
    """Drops overlaps and sorts by start: the longest span wins, then the surest, then `KINDS` order, then the
    first.

    Spans that only touch both stay.  O(n log n) in the number of spans.
    """
    ordered = sorted(spans)
    if all(a.end <= b.start for a, b in zip(ordered, ordered[1:], strict=False)):
        return ordered
    taken: list[Span] = []
    cluster: list[Span] = []
    reach = -1
    for span in ordered:
        if span.start >= reach and cluster:
            taken += _winners(cluster)
            cluster = []
        cluster.append(span)
        reach = max(reach, span.end)
    taken += _winners(cluster)
    return taken


def settle(spans: Iterable[Span]) -> list[Span]:
    """What a detector gives: overlaps settled by `resolve` within each container kind and among all other kinds;
    overlapping addresses are one.

    Spans of a container kind may still overlap those of others.  Sorted by start, end and kind.
    """
    groups: dict[str, list[Span]] = {}
    for span in spans:
        groups.setdefault(span.kind if span.kind in CONTAINERS else "", []).append(span)
    if "ADDRESS" in groups:
        groups["ADDRESS"] = _joined(groups["ADDRESS"])
    settled = [span for group in groups.values() for span in (resolve(group) if len(group) > 1 else group)]
    if len(groups) > 1:
        settled.sort(key=lambda span: (span.start, span.end, KIND_ORDER[span.kind]))
    return settled


def _joined(spans: list[Span]) -> list[Span]:
    """Overlapping spans as one, with the surest's confidence: a street and a unit may be found each by itself."""
    out: list[Span] = []
    for span in sorted(spans):
        if out and span.start < out[-1].end:
            last = out[-1]
            out[-1] = last._replace(end=max(last.end, span.end), confidence=max(last.confidence, span.confidence))
        else:
            out.append(span)
    return out


def _winners(cluster: list[Span]) -> list[Span]:
    """Greedy choice inside one group of spans that overlap in a chain."""
    if len(cluster) == 1:
        return cluster
    ranked = sorted(cluster, key=lambda s: (s.start - s.end, -s.confidence, KIND_ORDER[s.kind], s.start))
    starts: list[int] = []
    chosen: list[Span] = []
    for span in ranked:
        at = bisect_left(starts, span.start)
        if at < len(chosen) and chosen[at].start < span.end:
            continue
        if at > 0 and chosen[at - 1].end > span.start:
            continue
        starts.insert(at, span.start)
        chosen.insert(at, span)
    return chosen
