"""What was found and done, for people: counts by kind, source and action, masked samples, documents that failed.

Holds counts, and at most ten samples for each of these; the samples are those whose hash is least, so that they do not
depend on the order of the documents.
"""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

SAMPLES = 10
MOST_FAILED = 1000  # documents named; all are counted
_MASKED_LENGTH = 60

Key = tuple[str, str, str]


def mask(value: str) -> str:
    """The shape of a value: letters become a or A, digits 0, everything else stays; at most 60 characters.

    `Bob.Smith@Example.com` -> `Aaa.Aaaaa@Aaaaaaa.aaa`.  Letters without case become a.
    """
    shape = "".join(
        ("A" if c.isupper() else "a") if c.isalpha() else "0" if c.isdigit() else " " if c.isspace() else c
        for c in value[:_MASKED_LENGTH]
    )
    return shape + ("..." if len(value) > _MASKED_LENGTH else "")


@dataclasses.dataclass
class Report:
    """Filled batch by batch; two reports add up to that of both inputs.

    policy: the name of the one whose actions are counted; '' where the text was redacted already.
    documents, with_pii: documents seen, and those with a span.  counts: spans by (kind, source, action).
    """

    documents: int = 0
    with_pii: int = 0
    dropped: int = 0
    failed: int = 0
    counts: Counter[Key] = dataclasses.field(default_factory=Counter)
    samples: dict[Key, list[tuple[int, dict[str, Any]]]] = dataclasses.field(default_factory=dict)
    failures: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    policy: str = ""

    def add(
        self,
        doc_ids: Sequence[str],
        sources: Sequence[str | None],
        texts: Sequence[str | None] | None,
        applied: Sequence[Sequence[dict[str, Any]] | None],
    ) -> None:
        """One batch.  texts: before redaction, for masked samples; None where only the redacted text is left."""
        for row, (identity, source, spans) in enumerate(zip(doc_ids, sources, applied, strict=True)):
            self.documents += 1
            self.with_pii += bool(spans)
            self.dropped += any(span["action"] == "drop_document" for span in spans or ())
            for span in spans or ():
                key = (span["kind"], source or "", span["action"])
                self.counts[key] += 1
                text = None if texts is None else texts[row]
                start, end = span["start"], span["end"]
                value = f"({end - start} characters)" if text is None else mask(text[start:end])
                sample = {
                    "doc_id": identity,
                    "start": start,
                    "confidence": round(span["confidence"], 3),
                    "masked": value,
                }
                self._keep(key, identity, start, sample)

    def _keep(self, key: Key, identity: str, start: int, sample: dict[str, Any]) -> None:
        rank = int.from_bytes(hashlib.blake2b(f"{identity}\0{start}".encode(), digest_size=8).digest(), "big")
        kept = self.samples.setdefault(key, [])
        if len(kept) < SAMPLES or rank < kept[-1][0]:
            self.samples[key] = heapq.nsmallest(SAMPLES, [*kept, (rank, sample)], key=lambda each: each[0])

    def add_failures(self, rows: Iterable[tuple[str, str, str]]) -> None:
        """Documents that a detector failed on: (doc_id, error, message)."""
        for row in rows:
            self.failed += 1
            if len(self.failures) < MOST_FAILED:
                self.failures.append(row)

    def __add__(self, other: Report) -> Report:
        total = Report(
            self.documents + other.documents,
            self.with_pii + other.with_pii,
            self.dropped + other.dropped,
            self.failed + other.failed,
            self.counts + other.counts,
            policy=self.policy,
        )
        for key in total.counts:
            both = [*self.samples.get(key, ()), *other.samples.get(key, ())]
            total.samples[key] = heapq.nsmallest(SAMPLES, both, key=lambda each: each[0])
        total.failures = sorted([*self.failures, *other.failures])[:MOST_FAILED]
        return total

    def to_mapping(self) -> dict[str, Any]:
        return {
            "policy": self.policy,
            "documents": self.documents,
            "with_pii": self.with_pii,
            "dropped": self.dropped,
            "failed": self.failed,
            "counts": [
                {
                    "kind": kind,
                    "source": source,
                    "action": action,
                    "spans": self.counts[kind, source, action],
                    "samples": [sample for _, sample in self.samples.get((kind, source, action), ())],
                }
                for kind, source, action in sorted(self.counts)
            ],
            "failures": [{"doc_id": i, "error": error, "message": text} for i, error, text in sorted(self.failures)],
        }

    def text(self) -> str:
        """For a terminal."""
        under = f"policy {self.policy}: " if self.policy else ""
        lines = [
            f"{under}{self.documents} documents: {self.with_pii} with personal data, {self.dropped} to be dropped, "
            f"{self.failed} on which a detector failed",
            "",
            f"{'kind':<14}{'source':<20}{'action':<15}{'spans':>9}",
        ]
        for (kind, source, action), count in sorted(self.counts.items()):
            lines.append(f"{kind:<14}{source:<20}{action:<15}{count:>9}")
            lines += [
                f"    {sample['doc_id']}  {sample['confidence']:.2f}  {sample['masked']}"
                for _, sample in self.samples.get((kind, source, action), ())
            ]
        lines += ["", *(f"failed: {i}: {error}: {text}" for i, error, text in sorted(self.failures))]
        return "\n".join(lines).rstrip()
