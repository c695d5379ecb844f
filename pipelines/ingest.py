"""Ingest: raw files of any supported kind to document shards, one shard a unit of input, and what was refused."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipelines import storage
from pipelines.documents import DOCUMENT_SCHEMA, REJECTED_SCHEMA
from pipelines.manifest import Books
from pipelines.readers import Document, Dropped, Limits, Rejected, Unit, read_unit
from pipelines.shards import BATCH_BYTES, ShardWriter, write_shard

DOCUMENTS = "documents"
REJECTED = "rejected"
# The reason of a document that the PII policy does not let stand.
PII_RULE = "pii_policy"
# Longest message kept of an error: enough to find the place, too short to carry the document along.
_MESSAGE_CHARS = 500


def part(index: int) -> str:
    return f"part-{index:05d}.parquet"


def document_shard(output: str, index: int) -> str:
    return storage.join(output, DOCUMENTS, part(index))


def rejected_batch(rows: Sequence[tuple[str, str | None, str, str, str]]) -> pa.RecordBatch:
    """Rows of (id, source, stage, error, message)."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(REJECTED_SCHEMA)
    arrays = [pa.array(list(column), field.type) for column, field in zip(columns, REJECTED_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=REJECTED_SCHEMA)


def document_batch(documents: Sequence[Document]) -> pa.RecordBatch:
    """Documents as a batch of DOCUMENT_SCHEMA."""
    columns: dict[str, list[Any]] = {
        name: [getattr(document, name) for document in documents] for name in DOCUMENT_SCHEMA.names
    }
    columns["meta"] = [sorted(document.meta.items()) for document in documents]
    return pa.RecordBatch.from_arrays(
        [pa.array(columns[field.name], field.type) for field in DOCUMENT_SCHEMA], schema=DOCUMENT_SCHEMA
    )


@dataclasses.dataclass
class _Tally:
    read: int = 0
    kept: int = 0
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)
    rejected: Counter[str] = dataclasses.field(default_factory=Counter)
    rejected_rows: list[tuple[str, str | None, str, str, str]] = dataclasses.field(default_factory=list)

    def reject(self, identity: str, source: str, error: str, message: str) -> None:
        self.read += 1
        self.rejected[error] += 1
        text = message.encode("utf-8", "replace").decode()[:_MESSAGE_CHARS]
        self.rejected_rows.append((identity.encode("utf-8", "replace").decode(), source, "ingest", error, text))

    def books(self) -> dict[str, Any]:
        return Books(self.read, self.kept, dict(self.dropped), dict(self.rejected)).to_json()


@dataclasses.dataclass(frozen=True)
class IngestUnits:
    """Worker of the ingest stage: reads one unit, writes its document shard and its rejected shard.

    Memory: one batch of documents (2 MB or one document), the ids of the unit, the unit's rejects.
    """

    output: str
    limits: Limits
    redaction: Any = None  # a pipelines.redact.Redaction, where documents are to be written redacted

    def run(self, unit: bytes) -> Iterator[dict[str, Any]]:
        task = json.loads(unit)
        index = task["index"]
        tally = _Tally()
        schema = DOCUMENT_SCHEMA if self.redaction is None else self.redaction.schema
        with ShardWriter(document_shard(self.output, index), schema) as writer:
            for batch in self._batches(Unit.from_json(json.dumps(task["unit"])), tally):
                writer.write(batch if self.redaction is None else self._redacted(batch, tally, task["source"]))
        if tally.rejected_rows:
            path = storage.join(self.output, REJECTED, part(index))
            refused = write_shard(path, REJECTED_SCHEMA, [rejected_batch(tally.rejected_rows)])
            yield refused.record(self.output)
        yield {**writer.written.record(self.output), "books": tally.books(), "source": task["source"]}

    def _redacted(self, batch: pa.RecordBatch, tally: _Tally, source: str) -> pa.RecordBatch:
        redacted, failed, dropped = self.redaction.apply(batch)
        tally.kept -= dropped + len(failed)
        tally.read -= len(failed)
        for identity, error, message in failed:
            tally.reject(identity, source, error, message)
        if dropped:
            tally.dropped[PII_RULE] += dropped
        return redacted

    def _batches(self, unit: Unit, tally: _Tally) -> Iterator[pa.RecordBatch]:
        source = unit.source
        pending: list[Document] = []
        pending_bytes = 0
        for item in read_unit(unit, self.limits):
            match item:
                case Dropped(reason=reason):
                    tally.read += 1
                    tally.dropped[reason] += 1
                case Rejected(locator=locator, error=error, message=message):
                    tally.reject(locator, source, error, message)
                case Document():
                    tally.read += 1
                    tally.kept += 1
                    pending.append(item)
                    pending_bytes += len(item.text)
                    if pending_bytes >= BATCH_BYTES:
                        yield document_batch(pending)
                        pending, pending_bytes = [], 0
        if pending:
            yield document_batch(pending)


def ingest_tasks(units: Sequence[Unit]) -> list[bytes]:
    """Numbers the units: unit i writes part i.  The numbering is part of the plan, not of the execution."""
    return [
        json.dumps({"index": index, "source": unit.source, "unit": json.loads(unit.to_json())}, sort_keys=True).encode()
        for index, unit in enumerate(units)
    ]
