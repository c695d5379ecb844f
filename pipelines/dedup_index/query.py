"""The graph that compares new documents with an index."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup.bands import PAIR, band_keys, distinct_pairs
from dedup.exact import digest_words
from dedup.hashing import Hashes, mixed
from dedup.index import EXACT_TAG, Records, best_pairs, cross_pairs, similarity
from pipelines import storage
from pipelines.annotate import ANNOTATIONS
from pipelines.corpus_search import (
    UNIT,
    CorpusSearch,
    RemoveSpill,
    SpreadShards,
    as_unit,
    check_name,
    file_record,
    nothing,
    read_rows,
    record_of,
)
from pipelines.dedup_index.build import Opened, open_index
from pipelines.exchange import (
    Exchange,
    Mode,
    Values,
    by_kind,
    of_kind,
    packed,
    partition_count,
    partition_of,
    scattered,
    unpacked,
)
from pipelines.find_duplicates.candidates import key_values, signature_rows
from pipelines.find_duplicates.graph import EVIDENCE_SCHEMA
from pipelines.find_duplicates.measure import joined_sets, pack_set, pair_partition, unpack_sets
from pipelines.find_duplicates.members import from_ipc, to_ipc
from pipelines.find_duplicates.plan import (
    FindDuplicates,
    address,
    read_column,
    row_of,
    shard_of,
)
from pipelines.ingest import part
from pipelines.manifest import Books
from pipelines.shards import read_batches, split_by_bytes, write_shard

IN_INDEX = "in_index"
REPORT = "report.json"
NEW, OLD, NEEDED_PAIRS, SETS, VERDICT, COVERED = range(UNIT + 1, UNIT + 7)
_KEYED = np.dtype([("key", "<u8"), ("address", "<u8")])
_NEED = np.dtype("<u8")
_FOUND = np.dtype([*PAIR.descr, ("similarity", "<f8")])
_VERDICTS = pa.schema([("row", pa.uint64()), ("kept", pa.string()), ("similarity", pa.float64()), ("tag", pa.uint64())])
# Addresses of documents of the index begin here: shard number 2^30, of the 2^32 that there are.
_OLD_SHARDS = 1 << 30
_PARTITION_SETS = 16_000
_BUFFER_BYTES = 32 << 20

INDEX_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("duplicate_of", pa.string(), metadata={"description": "the most similar document of the index"}),
        pa.field("similarity", pa.float64(), metadata={"description": "Jaccard of the shingles of both"}),
        pa.field("estimated", pa.bool_(), metadata={"description": "whether similarity is estimated by signatures"}),
        pa.field("index", pa.string(), metadata={"description": "name of the index that holds duplicate_of"}),
    ]
)
# Of the evidence of `pipelines.find_duplicates`, with one column more.
INDEX_EVIDENCE_SCHEMA = EVIDENCE_SCHEMA.append(INDEX_SCHEMA.field("estimated"))


@dataclasses.dataclass(frozen=True)
class QueryIndex(CorpusSearch):
    """A comparison of documents/ and annotations/<annotator of the index>/ below `output` with an index.

    Writes annotations/<name>/: shards of INDEX_SCHEMA, evidence.parquet and report.json.

    index      the index folder, which all workers see
    threshold  None: that of the index; a greater one is allowed
    name       of the annotation; None: dedup@<name of the index>

    Memory of a worker: one partition (24 to 64 MB), one row group of a shard of either side; of one worker the
    evidence, 200 bytes a dropped document.
    """

    output: str
    shards: int
    index: str
    threshold: float | None = None
    name: str | None = None
    exchange: Mode | None = None
    workers: int = 1
    fills: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.check_common()
        check_name(self.name)
        if self.threshold is not None and not 0.0 < self.threshold <= 1.0:
            raise ValueError(f"threshold is {self.threshold}, allowed is 0 < threshold <= 1")
        _ = self.opened  # a wrong index stops before any work

    @property
    def opened(self) -> Opened:
        return open_index(self.index, self.threshold)

    @property
    def folder(self) -> str:
        return storage.join(self.output, ANNOTATIONS, self.name or f"dedup@{self.opened.name}")


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What all parts share; made once, so that workers do not check the index again."""

    query: QueryIndex
    opened: Opened
    find: FindDuplicates
    folder: str
    exchange: Exchange
    partitions: int  # of keys
    pair_partitions: int

    @property
    def threshold(self) -> float:
        return self.query.threshold or float(self.opened.told["threshold"])


def _plan(query: QueryIndex) -> _Plan:
    opened = query.opened
    told = opened.told
    find = FindDuplicates(
        query.output, query.shards, threshold=told["threshold"], annotator=told["annotator"], fills=query.fills
    )
    documents = find.count_documents() if query.shards else 0
    keys = (documents + opened.documents) * (find.bands.count + 1)
    return _Plan(
        query,
        opened,
        find,
        query.folder,
        query.through,
        partition_count(keys, query.workers),
        partition_count(documents, query.workers, _PARTITION_SETS),
    )


def build_query_index(pipeline: beam.Pipeline, query: QueryIndex) -> beam.PCollection[bytes]:
    """JSON records: one a written file, with books; one {"summary": ...}."""
    return pipeline | "QueryIndex" >> _QueryIndex(_plan(query))


@dataclasses.dataclass(eq=False)
class _QueryIndex(beam.PTransform):
    plan: _Plan

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[bytes]:
        plan = self.plan
        pipeline, pair = root.pipeline, tuple[int, bytes]
        new = pipeline | "NewShards" >> SpreadShards(plan.query.shards)
        old = pipeline | "OldShards" >> SpreadShards(plan.opened.shards)
        texts = (
            new | "NewTexts" >> beam.FlatMap(_new_texts, plan).with_output_types(pair),
            old | "OldTexts" >> beam.FlatMap(_old_texts, plan).with_output_types(pair),
        )
        bands = (
            new | "NewBands" >> beam.FlatMap(_new_bands, plan).with_output_types(pair),
            old | "OldBands" >> beam.FlatMap(_old_bands, plan).with_output_types(pair),
        )
        copies = (
            texts | "ByText" >> plan.exchange | "PairTexts" >> beam.FlatMap(_pair_texts, plan).with_output_types(pair)
        )
        near = (
            bands | "ByBand" >> plan.exchange | "PairBands" >> beam.FlatMap(_pair_bands, plan).with_output_types(pair)
        )
        distinct = near | "ByPair" >> plan.exchange | "Distinct" >> beam.FlatMap(_distinct).with_output_types(pair)
        found = (copies, self._measured(distinct)) | "Found" >> beam.Flatten()
        best = (
            found
            | "ByDocument" >> beam.FlatMap(_by_document, plan).with_output_types(pair)
            | "GroupDocument" >> plan.exchange
            | "Best" >> beam.FlatMap(_best).with_output_types(pair)
        )
        covered = found | "Covered" >> beam.FlatMap(_covered).with_output_types(pair)
        units = old | "OldUnits" >> beam.Map(as_unit).with_output_types(pair)
        named = (
            (units, best, covered)
            | "ByOldShard" >> plan.exchange
            | "NameOld"
            >> beam.ParDo(_NameOld(plan)).with_output_types(pair, counts=pair).with_outputs("counts", main="named")
        )  # fmt: skip
        written = (
            (new | "NewUnits" >> beam.Map(as_unit).with_output_types(pair), named["named"])
            | "ByNewShard" >> plan.exchange
            | "WriteShard"
            >> beam.ParDo(_WriteShard(plan))
            .with_output_types(bytes, evidence=pair, counts=pair)
            .with_outputs("evidence", "counts", main="records")
        )
        empty = pipeline | "Nothing" >> nothing()
        evidence = (
            (written["evidence"], empty)
            | "OneEvidence" >> plan.exchange
            | "WriteEvidence" >> beam.FlatMap(_write_evidence, plan).with_output_types(bytes)
        )
        report = (
            (written["counts"], named["counts"], empty)
            | "OneReport" >> plan.exchange
            | "WriteReport" >> beam.FlatMap(_write_report, plan).with_output_types(bytes)
        )
        records = (written["records"], evidence, report) | "Records" >> beam.Flatten()
        return records | RemoveSpill(plan.exchange.spill_dir)

    def _measured(self, pairs: Values) -> Values:
        plan = self.plan
        sets = (
            pairs
            | "NeededSets" >> beam.FlatMap(_needed).with_output_types(tuple[int, bytes])
            | "SetsByShard" >> plan.exchange
            | "ReadSets" >> beam.FlatMap(_read_sets, plan).with_output_types(tuple[int, bytes])
        )
        kept = pairs | "KindPairs" >> beam.MapTuple(_as_pairs).with_output_types(tuple[int, bytes])
        return (
            (kept, sets)
            | "ByPartition" >> plan.exchange
            | "Measure" >> beam.FlatMap(_measure, plan).with_output_types(tuple[int, bytes])
        )


def _as_pairs(partition: int, pairs: bytes) -> tuple[int, bytes]:
    return partition, of_kind(NEEDED_PAIRS, pairs)


# -- keys --------------------------------------------------------------------------------------------------


def _sent(keys: Hashes, addresses: Hashes, kind: int, plan: _Plan) -> Iterator[tuple[int, bytes]]:
    records = np.empty(keys.size, _KEYED)
    records["key"], records["address"] = keys, addresses
    yield from scattered(partition_of(keys, plan.partitions), records, kind)


_TEXT = np.dtype([("high", "<u8"), ("low", "<u8"), ("address", "<u8")])


def _send_texts(hashes: pa.Array, shard: int, start: int, kind: int, plan: _Plan) -> Iterator[tuple[int, bytes]]:
    rows, words = digest_words(hashes)
    records = np.empty(rows.size, _TEXT)
    records["high"], records["low"], records["address"] = words[:, 0], words[:, 1], address(shard, rows + start)
    yield from scattered(partition_of(records["high"], plan.partitions), records, kind)


def _new_texts(shard: int, plan: _Plan) -> Iterator[tuple[int, bytes]]:
    start = 0
    for hashes in key_values(plan.find, shard):
        yield from _send_texts(hashes, shard, start, NEW, plan)
        start += len(hashes)


def _old_texts(shard: int, plan: _Plan) -> Iterator[tuple[int, bytes]]:
    start = 0
    for batch in read_batches(plan.opened.part(shard), ["text_hash"]):
        yield from _send_texts(batch.column(0), _OLD_SHARDS + shard, start, OLD, plan)
        start += batch.num_rows


def _new_bands(shard: int, plan: _Plan) -> Iterator[tuple[int, bytes]]:
    start = 0
    path = plan.find.annotation(shard)
    for batch in read_batches(path, [plan.find.scheme.column]):
        try:
            rows, positions = signature_rows(batch.column(0), plan.find.bands)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        keys = band_keys(positions, plan.find.bands)
        yield from _sent(keys.ravel(), np.repeat(address(shard, start + rows), keys.shape[1]), NEW, plan)
        start += batch.num_rows


def _old_bands(shard: int, plan: _Plan) -> Iterator[tuple[int, bytes]]:
    start = 0
    for batch in read_batches(plan.opened.part(shard), ["band_keys"]):
        column = batch.column(0)
        rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        keys = column.flatten().to_numpy()
        where = address(_OLD_SHARDS + shard, start + rows)
        yield from _sent(keys, np.repeat(where, plan.find.bands.count), OLD, plan)
        start += batch.num_rows


# -- pairs -------------------------------------------------------------------------------------------------


def _pair_texts(group: tuple[int, Iterable[bytes]], plan: _Plan) -> Iterator[tuple[int, bytes]]:
    new, old = (unpacked(values, _TEXT) for values in by_kind(group[1], (NEW, OLD)))
    # Only the 64 bits of the key go by; whoever differs in the others is no copy.
    for pairs in cross_pairs(Records(new["high"], new["address"]), Records(old["high"], old["address"]), bands=False):
        low = []
        for records, end in ((new, "first"), (old, "second")):
            records = records[np.argsort(records["address"])]
            low.append(records["low"][np.searchsorted(records["address"], pairs[end])])
        found = np.empty(pairs.size, _FOUND)
        for name in PAIR.names or ():
            found[name] = pairs[name]
        found["similarity"] = 1.0
        for value in packed(found[low[0] == low[1]]):
            yield 0, value


def _pair_bands(group: tuple[int, Iterable[bytes]], plan: _Plan) -> Iterator[tuple[int, bytes]]:
    new, old = (unpacked(values, _KEYED) for values in by_kind(group[1], (NEW, OLD)))
    for pairs in cross_pairs(Records(new["key"], new["address"]), Records(old["key"], old["address"]), bands=True):
        yield from scattered(pair_partition(pairs, plan.pair_partitions), pairs)


def _distinct(group: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
    for value in packed(distinct_pairs(unpacked(group[1], PAIR))):
        yield group[0], value


# -- similarity --------------------------------------------------------------------------------------------


def _needed(element: tuple[int, bytes]) -> Iterator[tuple[int, bytes]]:
    """(shard of either side, row << 32 | partition that needs what the document is compared by)."""
    partition, value = element
    pairs = np.frombuffer(value, PAIR)
    where = np.unique(np.concatenate([pairs["first"], pairs["second"]]))
    yield from scattered(shard_of(where), (where << np.uint64(32)) | np.uint64(partition))


def _read_sets(group: tuple[int, Iterable[bytes]], plan: _Plan) -> Iterator[tuple[int, bytes]]:
    """(shard, needs) -> (partition, packed sets or signatures)."""
    shard, values = group
    needs = np.unique(unpacked(values, _NEED))
    rows, needing = np.unique(shard_of(needs), return_index=True)
    partitions = np.split(row_of(needs), needing[1:])
    waiting: dict[int, list[bytes]] = {}
    size = 0
    at = 0
    for asked, sets in _sets_of(shard, rows, plan):
        for where, own in zip(address(shard, asked).tolist(), sets, strict=True):
            records = pack_set(where, 0, own)
            for partition in partitions[at].tolist():
                waiting.setdefault(partition, []).extend(records)
                size += sum(map(len, records))
            at += 1
        if size >= _BUFFER_BYTES:
            yield from joined_sets(waiting, SETS)
            waiting, size = {}, 0
    yield from joined_sets(waiting, SETS)


def _sets_of(shard: int, rows: np.ndarray, plan: _Plan) -> Iterator[tuple[np.ndarray, list[Hashes]]]:
    full = plan.opened.proof == "full"
    if shard >= _OLD_SHARDS:
        for asked, batch in read_rows(plan.opened.part(shard - _OLD_SHARDS), ["set" if full else "sketch"], rows):
            column = batch.column(0)
            yield asked, [column[i].values.to_numpy() for i in range(len(column))]
    elif full:
        for asked, batch in plan.find.rows(shard, ["text", "language"], rows):
            yield asked, plan.find.shingle_sets(batch)
    else:
        for asked, batch in read_rows(plan.find.annotation(shard), [plan.find.scheme.column], rows):
            _, positions = signature_rows(batch.column(0), plan.find.bands)
            yield asked, list(positions.astype(np.uint64))


def _measure(group: tuple[int, Iterable[bytes]], plan: _Plan) -> Iterator[tuple[int, bytes]]:
    """The pairs of a partition that are similar enough, with their similarity."""
    packed_pairs, packed_sets = by_kind(group[1], (NEEDED_PAIRS, SETS))
    pairs = distinct_pairs(unpacked(packed_pairs, PAIR))
    sets, _ = unpack_sets(packed_sets)
    found = np.empty(pairs.size, _FOUND)
    for name in PAIR.names or ():
        found[name] = pairs[name]
    ends = zip(pairs["first"].tolist(), pairs["second"].tolist(), strict=True)
    found["similarity"] = [similarity(sets[first], sets[second], plan.opened.proof) for first, second in ends]
    for value in packed(found[found["similarity"] >= plan.threshold]):
        yield 0, value


def _by_document(element: tuple[int, bytes], plan: _Plan) -> Iterator[tuple[int, bytes]]:
    found = np.frombuffer(element[1], _FOUND)
    yield from scattered(partition_of(mixed(found["first"]), plan.pair_partitions), found)


def _best(group: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
    """The best pair of each new document, to the shard of the index that can name it."""
    found = best_pairs(unpacked(group[1], _FOUND))
    yield from scattered(shard_of(found["second"]) - _OLD_SHARDS, found, VERDICT)


def _covered(element: tuple[int, bytes]) -> Iterator[tuple[int, bytes]]:
    where = np.unique(np.frombuffer(element[1], _FOUND)["second"])
    yield from scattered(shard_of(where) - _OLD_SHARDS, where, COVERED)


# -- what is written ---------------------------------------------------------------------------------------


class _NameOld(beam.DoFn):
    """(part of the index, best pairs and covered documents) -> by new shard the verdicts; counts by source."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        shard, values = group
        path = self._plan.opened.part(shard)
        _, packed_best, packed_covered = by_kind(values, (UNIT, VERDICT, COVERED))
        best = unpacked(packed_best, _FOUND)
        covered = np.unique(row_of(unpacked(packed_covered, np.dtype("<u8"))))
        sources = read_column(path, "source")
        counts = {"documents": _counted(sources), "covered": _counted(sources.take(pa.array(covered)))}
        yield beam.pvalue.TaggedOutput("counts", (0, json.dumps({"old": counts}, sort_keys=True).encode()))
        if best.size:
            ids = read_column(path, "doc_id").take(pa.array(row_of(best["second"])))
            rows = pa.RecordBatch.from_arrays(
                [
                    pa.array(row_of(best["first"]).astype(np.uint64)),
                    ids,
                    pa.array(best["similarity"]),
                    pa.array(best["tag"]),
                ],
                schema=_VERDICTS,
            )
            shards = shard_of(best["first"])
            for target in np.unique(shards).tolist():
                chosen = rows.filter(pa.array(shards == target))
                for piece in split_by_bytes(chosen):
                    yield target, of_kind(VERDICT, to_ipc(piece))


def _counted(sources: pa.Array) -> dict[str, int]:
    return dict(sorted(Counter(source or "" for source in sources.to_pylist()).items()))


class _WriteShard(beam.DoFn):
    """(new shard, verdicts) -> the annotation shard; its record, its evidence and its counts."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        shard, values = group
        plan = self._plan
        document = plan.find.document(shard)
        ids, sources = read_column(document, "doc_id"), read_column(document, "source")
        verdicts = from_ipc(by_kind(values, (UNIT, VERDICT))[1], _VERDICTS).combine_chunks()
        index = np.full(len(ids), -1)
        index[verdicts.column("row").to_numpy()] = np.arange(verdicts.num_rows)
        chosen = pa.array(index, mask=index < 0)
        kept, measured, tags = (_whole(verdicts.column(n).take(chosen)) for n in ("kept", "similarity", "tag"))
        dropped = kept.is_valid()
        there = dropped.to_numpy(zero_copy_only=False)
        estimated = pa.array(
            (pc.fill_null(tags, EXACT_TAG).to_numpy() != EXACT_TAG) & (plan.opened.proof == "sketch"), mask=~there
        )
        name = pa.array([plan.opened.name], pa.string()).take(pa.array(np.zeros(len(ids), np.int64), mask=~there))
        rows = pa.RecordBatch.from_arrays([ids, kept, measured, estimated, name], schema=INDEX_SCHEMA)
        written = write_shard(storage.join(plan.folder, part(shard)), INDEX_SCHEMA, split_by_bytes(rows))
        drops = int(there.sum())
        yield record_of(
            written.record(plan.query.output), Books(len(ids), len(ids) - drops, {IN_INDEX: drops} if drops else {})
        )
        proof = rows.filter(dropped)
        bands = ["exact" if tag == EXACT_TAG else str(tag) for tag in tags.filter(dropped).to_pylist()]
        columns = [proof.column(n) for n in ("doc_id", "duplicate_of", "similarity")]
        evidence = pa.RecordBatch.from_arrays(
            [*columns, pa.array(bands, pa.string()), proof.column("estimated")], schema=INDEX_EVIDENCE_SCHEMA
        )
        for piece in split_by_bytes(evidence):
            yield beam.pvalue.TaggedOutput("evidence", (0, to_ipc(piece)))
        counts = {"documents": _counted(sources), "covered": _counted(sources.filter(dropped))}
        yield beam.pvalue.TaggedOutput("counts", (0, json.dumps({"new": counts}, sort_keys=True).encode()))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _write_evidence(group: tuple[int, Iterable[bytes]], plan: _Plan) -> Iterator[bytes]:
    """One row a dropped document, sorted by its id.  Memory: about 200 bytes a row."""
    proof = from_ipc((value for value in group[1] if value), INDEX_EVIDENCE_SCHEMA).sort_by("dropped_id")
    path = storage.join(plan.folder, "evidence.parquet")
    written = write_shard(path, INDEX_EVIDENCE_SCHEMA, proof.to_batches(max_chunksize=1 << 16))
    # The documents are in the books of their shards already.
    yield record_of(written.record(plan.query.output), Books())


def _write_report(group: tuple[int, Iterable[bytes]], plan: _Plan) -> Iterator[bytes]:
    """Both ways: how many of the new documents the index holds, how many of the index the new ones hold, by source."""
    counts: dict[str, dict[str, Counter[str]]] = {
        side: {"documents": Counter(), "covered": Counter()} for side in ("new", "old")
    }
    for value in group[1]:
        for side, told in json.loads(value).items() if value else ():
            for what, own in told.items():
                counts[side][what].update(own)
    sides = {
        side: {
            "documents": told["documents"].total(),
            "covered": told["covered"].total(),
            "sources": {
                source: {what: told[what][source] for what in ("documents", "covered")}
                for source in sorted(told["documents"])
            },
        }
        for side, told in counts.items()
    }
    found = {
        "index": plan.opened.name,
        "threshold": plan.threshold,
        "estimated": plan.opened.proof == "sketch",
        "new_in_index": sides["new"],
        "index_in_new": sides["old"],
    }
    yield file_record(plan.query.output, storage.join(plan.folder, REPORT), storage.canonical_json(found))
    summary = {"new": sides["new"]["documents"], "new_in_index": sides["new"]["covered"]}
    summary |= {"index": sides["old"]["documents"], "index_in_new": sides["old"]["covered"]}
    yield json.dumps({"summary": summary}, sort_keys=True).encode()
