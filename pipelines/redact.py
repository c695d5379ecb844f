"""Redact: documents with personal data replaced, and the spans that were replaced beside the text."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa

from pipelines.annotate import annotate_rows, annotator
from pipelines.curate import PII_TYPE
from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.errors import UsageError

REDACTED_SCHEMA = pa.schema([*DOCUMENT_SCHEMA, pa.field("pii", PII_TYPE)])


@dataclasses.dataclass(frozen=True)
class Redaction:
    """Applied by ingest to every batch before it is written, so that unredacted text never reaches the disk.

    policy: a `pii.Policy`.  Raises UsageError when constructed for one whose key cannot be read or whose detectors are
    not installed, so that no file is read before.
    """

    policy: Any

    def __post_init__(self) -> None:
        from pii import PolicyError

        try:
            for name in self.policy.annotators:
                annotator(name)
            if self.policy.key is not None:
                self.policy.key.read()
        except (PolicyError, ImportError) as error:
            raise UsageError(f"pii policy {self.policy.name!r}: {error}") from None

    @property
    def schema(self) -> pa.Schema:
        return REDACTED_SCHEMA

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[tuple[str, str, str]], int]:
        """The redacted documents with their `pii` column; the rows (id, error, message) on which the detector
        failed, which are left out; and how many documents the policy drops.
        """
        import pii

        known: dict[str, pa.Array] = {}
        failed: list[tuple[str, str, str]] = []
        for name in self.policy.annotators:
            columns, faults = annotate_rows(annotator(name), batch)
            known[name] = columns.column("spans")
            failed += [fault for fault in faults if fault[0] not in {identity for identity, _, _ in failed}]
        spans = pii.policy_spans(self.policy, known)
        text, applied, drop = pii.redact_batch(batch.column("text"), spans, self.policy)
        arrays = {name: batch.column(name) for name in DOCUMENT_SCHEMA.names}
        arrays.update(text=text, pii=applied.cast(PII_TYPE))
        redacted = pa.RecordBatch.from_arrays([arrays[f.name] for f in REDACTED_SCHEMA], schema=REDACTED_SCHEMA)
        bad = {identity for identity, _, _ in failed}
        keep = [
            not dropped and identity not in bad
            for dropped, identity in zip(drop.to_pylist(), batch.column("doc_id").to_pylist(), strict=True)
        ]
        return redacted.filter(pa.array(keep, pa.bool_())), failed, batch.num_rows - sum(keep) - len(failed)
