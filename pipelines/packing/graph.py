"""The graph of packing: every appearance of a document goes, as tokens, to the shard that its hash chooses; there the
appearances are put in the order of their hashes and packed.

A shuffle on two levels: which shard, and where in it, is decided by H(doc_id, epoch, seed), so the samples do not
depend on the order or the number of the input's shards, on workers or on the engine.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eval_models.packing import METADATA, Pieces, pack
from pipelines import storage
from pipelines.corpus_search import RemoveSpill, SpreadShards, record_of
from pipelines.documents import REJECTED_SCHEMA
from pipelines.ingest import REJECTED, part, rejected_batch
from pipelines.manifest import Books
from pipelines.packing.encode import Encoded, encode_batch
from pipelines.packing.plan import COLUMNS, PackDocuments
from pipelines.packing.tokenizer import open_tokenizer
from pipelines.parcels import Parcel, Sender, in_order, origin_of, partition_of_key
from pipelines.shards import ShardWriter, read_batches, write_shard

# Beside those of `encode_batch`: its id was in the corpora before.
DUPLICATE = "duplicate_id"
# Bytes of tokens that are packed together.
BLOCK_BYTES = 64 << 20
# Tokens of samples that are written at a time.
_TOKENS_AT_ONCE = 1 << 20
_SENT = "sent"


def build_pack_documents(pipeline: beam.Pipeline, plan: PackDocuments) -> beam.PCollection[bytes]:
    """JSON records: one a packed shard, one a file of what was rejected."""
    return pipeline | "PackDocuments" >> _PackDocuments(plan)


@dataclasses.dataclass(eq=False)
class _PackDocuments(beam.PTransform):
    plan: PackDocuments

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[bytes]:
        sent = (
            root.pipeline
            | SpreadShards(len(self.plan.files))
            | "Tokenise"
            >> beam.ParDo(_Tokenise(self.plan))
            .with_output_types(tuple[int, bytes], rejected=bytes)
            .with_outputs(REJECTED, main=_SENT)
        )
        packed = (
            (sent[_SENT], root.pipeline | "Every" >> _every(self.plan.shards))
            | "ByShard" >> self.plan.through
            | "Pack" >> beam.ParDo(_Pack(self.plan)).with_output_types(bytes)
        )
        return (packed, sent[REJECTED]) | "Records" >> beam.Flatten() | RemoveSpill(self.plan.through.spill_dir)


def _every(partitions: int) -> beam.PTransform:
    """An empty value for each partition: its group exists also where nothing else has come."""
    values = [(number, b"") for number in range(partitions)]
    return beam.Create(values, reshuffle=False).with_output_types(tuple[int, bytes])


def key_of(doc_id: str, epoch: int, seed: int) -> int:
    """H(doc_id, epoch, seed), 64 bits: chooses the shard and the place in it."""
    return int.from_bytes(hashlib.blake2b(f"{doc_id}\0{epoch}\0{seed}".encode(), digest_size=8).digest(), "little")


class _Tokenise(beam.DoFn):
    """Shard of documents -> (packed shard, parcels): one an appearance; epoch 0 comes also where there is none."""

    def __init__(self, plan: PackDocuments) -> None:
        self._plan = plan
        self._documents = beam.metrics.Metrics.counter("pack", "documents_in")

    def process(self, shard: int) -> Iterator[Any]:
        sender = Sender()
        failed: list[tuple[str, str | None, str, str, str]] = []
        row = 0
        for batch in read_batches(self._plan.files[shard], list(COLUMNS)):
            self._documents.inc(batch.num_rows)
            for place, document in enumerate(encode_batch(batch, self._plan)):
                if document.error is not None:
                    identity = document.doc_id or f"{self._plan.files[shard].rpartition('/')[2]}#{row + place}"
                    failed.append((identity, document.source, "pack", *document.error))
                    continue
                for epoch, body in document.appearances or [(0, b"")]:
                    parcel = Parcel(
                        key_of(document.doc_id, epoch, self._plan.seed),
                        origin_of(shard, row + place, epoch),
                        _head(document, epoch),
                        body,
                    )
                    yield from sender.add(partition_of_key(parcel.key, self._plan.shards), parcel)
            row += batch.num_rows
        yield from sender.rest()
        if failed:
            yield beam.pvalue.TaggedOutput(REJECTED, _write_rejected(self._plan, shard, failed))


def _head(document: Encoded, epoch: int) -> bytes:
    permuted = document.permuted[epoch : epoch + 1] == [True]
    told = [document.doc_id, epoch, document.source, document.dropped, permuted, document.weighted]
    return json.dumps(told).encode()


def _write_rejected(plan: PackDocuments, shard: int, failed: Sequence[tuple[str, str | None, str, str, str]]) -> bytes:
    name = storage.join(plan.folder, "").removeprefix(storage.join(plan.output, "")).strip("/").replace("/", "-")
    path = storage.join(plan.output, REJECTED, f"{name}-{part(shard)}")
    written = write_shard(path, REJECTED_SCHEMA, [rejected_batch(failed)])
    errors = Counter(row[3] for row in failed)
    return record_of(written.record(plan.output), Books(len(failed), 0, {}, dict(errors)))


def packed_schema(plan: PackDocuments) -> pa.Schema:
    dtype = pa.from_numpy_dtype(open_tokenizer(plan.tokenizer).dtype)
    described = {
        "tokens": "pieces of documents back to back, then padding",
        "lengths": "tokens of each piece; the end-of-document token is the last of its document's",
        "doc_ids": "of the document of each piece",
        "starts": "where each piece begins in the tokens of its document",
        "epochs": "which appearance of its document each piece belongs to",
        "sources": "of the document of each piece",
    }
    types = {
        "tokens": pa.list_(dtype, plan.length),
        "lengths": pa.list_(pa.int32()),
        "doc_ids": pa.list_(pa.string()),
        "starts": pa.list_(pa.int64()),
        "epochs": pa.list_(pa.int32()),
        "sources": pa.list_(pa.string()),
    }
    fields = [
        pa.field(name, kind, nullable=False, metadata={"description": described[name]}) for name, kind in types.items()
    ]
    return pa.schema(fields, metadata={METADATA: json.dumps(plan.info(), sort_keys=True).encode()})


@dataclasses.dataclass
class _Block:
    """Appearances in their order, to be packed together."""

    doc_ids: list[str] = dataclasses.field(default_factory=list)
    epochs: list[int] = dataclasses.field(default_factory=list)
    sources: list[str] = dataclasses.field(default_factory=list)
    keys: list[int] = dataclasses.field(default_factory=list)
    tokens: list[bytes] = dataclasses.field(default_factory=list)
    bytes: int = 0


@dataclasses.dataclass
class _Counts:
    """Of one packed shard; source -> documents, appearances, tokens, permuted."""

    read: int = 0
    kept: int = 0
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)
    by_source: dict[str, Counter[str]] = dataclasses.field(default_factory=dict)
    weighted: Counter[str] = dataclasses.field(default_factory=Counter)
    samples: int = 0
    padding: int = 0

    def record(self) -> dict[str, Any]:
        return {
            "books": Books(self.read, self.kept, dict(self.dropped)).to_json(),
            "by_source": {source: dict(counts) for source, counts in sorted(self.by_source.items())},
            "weighted": dict(self.weighted),
            "samples": self.samples,
            "padding": self.padding,
        }


class _Pack(beam.DoFn):
    """(packed shard, parcels) -> the shard, and its record.

    Memory: a block of tokens (64 MB, or one document), and what `parcels.in_order` holds.
    """

    def __init__(self, plan: PackDocuments) -> None:
        self._plan = plan
        self._samples = beam.metrics.Metrics.counter("pack", "samples_out")

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[bytes]:
        shard, values = group
        counts = _Counts()
        with ShardWriter(self._plan.shard(shard), packed_schema(self._plan)) as writer:
            for block in self._blocks(values, counts):
                for batch in self._packed(block, counts):
                    writer.write(batch)
        self._samples.inc(counts.samples)
        yield json.dumps({**writer.written.record(self._plan.output), **counts.record()}, sort_keys=True).encode()

    def _blocks(self, values: Iterable[bytes], counts: _Counts) -> Iterator[_Block]:
        block = _Block()
        before: tuple[str, int] | None = None
        for parcel in in_order(values, _rank):
            doc_id, epoch, source, dropped, permuted, weighted = json.loads(parcel.head)
            again = before == (doc_id, epoch)
            before = (doc_id, epoch)
            reason = DUPLICATE if again else dropped
            of_source = counts.by_source.setdefault(source, Counter())
            if epoch == 0:
                counts.read += 1
                counts.weighted[weighted] += 1
                counts.kept += reason is None
                of_source["documents"] += reason is None
                if reason is not None:
                    counts.dropped[reason] += 1
            if reason is not None:
                continue
            of_source["appearances"] += 1
            of_source["permuted"] += permuted
            block.doc_ids.append(doc_id)
            block.epochs.append(epoch)
            block.sources.append(source)
            block.keys.append(parcel.key)
            block.tokens.append(parcel.body)
            block.bytes += len(parcel.body)
            if block.bytes >= BLOCK_BYTES:
                yield block
                block = _Block()
        if block.doc_ids:
            yield block

    def _packed(self, block: _Block, counts: _Counts) -> Iterator[pa.RecordBatch]:
        plan = self._plan
        tokenizer = open_tokenizer(plan.tokenizer)
        lengths = np.array([len(tokens) // tokenizer.dtype.itemsize for tokens in block.tokens], np.int64)
        for source, size in zip(block.sources, lengths, strict=True):
            counts.by_source[source]["tokens"] += int(size)
        pieces = pack(lengths, plan.length, plan.strategy).ordered(np.array(block.keys, np.uint64))
        counts.samples += pieces.samples
        counts.padding += pieces.samples * plan.length - int(lengths.sum())
        flat = np.frombuffer(b"".join(block.tokens), tokenizer.dtype)
        begins = np.cumsum(lengths) - lengths
        step = max(1, _TOKENS_AT_ONCE // plan.length)
        for first in range(0, pieces.samples, step):
            low, high = np.searchsorted(pieces.sample, [first, first + step])
            some = Pieces(*(getattr(pieces, f.name)[low:high] for f in dataclasses.fields(pieces)))
            yield self._rows(block, some, flat, begins)

    def _rows(
        self, block: _Block, pieces: Pieces, flat: npt.NDArray[Any], begins: npt.NDArray[np.int64]
    ) -> pa.RecordBatch:
        schema = packed_schema(self._plan)
        length = self._plan.length
        samples = int(pieces.sample[-1] - pieces.sample[0]) + 1
        tokens = np.full((samples, length), open_tokenizer(self._plan.tokenizer).end, flat.dtype)
        counts = np.bincount(pieces.sample - pieces.sample[0], minlength=samples)
        offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
        at = np.cumsum(pieces.size) - pieces.size
        at -= np.repeat(at[np.cumsum(counts) - counts], counts)  # counted from the beginning of the sample
        rows = pieces.sample - pieces.sample[0]
        sources = begins[pieces.document] + pieces.start
        for row, place, size, source in zip(
            rows.tolist(), at.tolist(), pieces.size.tolist(), sources.tolist(), strict=True
        ):
            tokens[row, place : place + size] = flat[source : source + size]

        def lists(values: pa.Array) -> pa.Array:
            return pa.ListArray.from_arrays(offsets, values)

        owners = pieces.document.tolist()
        arrays = [
            pa.FixedSizeListArray.from_arrays(pa.array(tokens.reshape(-1)), length),
            lists(pa.array(pieces.size, pa.int32())),
            lists(pa.array([block.doc_ids[i] for i in owners], pa.string())),
            lists(pa.array(pieces.start, pa.int64())),
            lists(pa.array([block.epochs[i] for i in owners], pa.int32())),
            lists(pa.array([block.sources[i] for i in owners], pa.string())),
        ]
        return pa.RecordBatch.from_arrays(
            [array.cast(field.type) for array, field in zip(arrays, schema, strict=True)], schema=schema
        )


def _rank(key: int, head: bytes) -> tuple[Any, ...]:
    """Of documents with one id, one that has tokens comes first: the others are its duplicates."""
    doc_id, epoch, _, dropped, *_ = json.loads(head)
    return key, doc_id, epoch, dropped is not None


def pack_summary(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Samples, tokens and padding of all shards, and by source documents, appearances, tokens and epochs.

    weighted: documents by name in `PackDocuments.weights`, "" for those of no name there.
    """
    weighted: Counter[str] = Counter()
    sources: dict[str, Counter[str]] = {}
    samples = padding = 0
    for record in records:
        samples += record.get("samples", 0)
        padding += record.get("padding", 0)
        weighted.update(record.get("weighted", {}))
        for source, counts in record.get("by_source", {}).items():
            sources.setdefault(source, Counter()).update(counts)
    names = ("documents", "appearances", "tokens", "permuted")
    return {
        "samples": samples,
        "tokens": sum(counts["tokens"] for counts in sources.values()),
        "padding": padding,
        "by_source": {
            source: {
                **{name: counts[name] for name in names},
                "epochs": round(counts["appearances"] / counts["documents"], 6) if counts["documents"] else 0.0,
            }
            for source, counts in sorted(sources.items())
        },
        "weighted": dict(sorted(weighted.items())),
    }
