"""Builds, opens and extends an index of finished documents."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

import dedup
from dedup.bands import band_keys
from dedup.index import PROOFS, SCHEMA, VERSION, Proof, lists_of, probe
from dedup.minhash import text_hashes
from pipelines import manifest as manifests
from pipelines import storage
from pipelines.annotate import FILLS, annotation_shard, fill_columns
from pipelines.errors import UsageError
from pipelines.find_duplicates.candidates import signature_rows
from pipelines.find_duplicates.plan import FindDuplicates
from pipelines.ingest import DOCUMENTS, part
from pipelines.shards import ShardWriter, read_aligned

INDEX = "index.json"
_KIND = "dedup_index"
_TEXT_HASH, _SHINGLES = "text_hash", "shingles"


class DedupIndexError(UsageError):
    """An index is missing, damaged, or does not fit what is asked of it; the message names it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """An index whose description was read and found to fit this version of the program."""

    folder: str
    told: Mapping[str, Any]

    @property
    def name(self) -> str:
        """12 digits of the hash of the description, which holds the hashes of all parts."""
        return manifests.digest(self.told)[:12]

    @property
    def shards(self) -> int:
        return len(self.told["shards"])

    @property
    def documents(self) -> int:
        return sum(shard["rows"] for shard in self.told["shards"])

    @property
    def proof(self) -> Proof:
        return self.told["proof"]  # type: ignore[no-any-return]

    def part(self, shard: int) -> str:
        return storage.join(self.folder, part(shard))


@dataclasses.dataclass(frozen=True)
class IndexBuild:
    """What of a finished run goes into an index.

    output     the run: documents/ and annotations/<annotator>/, `shards` of each
    folder     the index, whose parts get the numbers from `first` on
    threshold  the least similarity that the index is asked for later; decides its bands
    proof      full or sketch: `dedup.index`
    without    annotations (dedup, an index query, ...) whose documents with `duplicate_of` are left out
    fills      annotations that fill null values of the documents
    """

    output: str
    shards: int
    folder: str
    annotator: str = "minhash@1"
    threshold: float = 0.8
    proof: Proof = "full"
    without: tuple[str, ...] = ()
    first: int = 0
    fills: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.proof not in PROOFS:
            raise UsageError(f"proof is {self.proof!r}, allowed are {', '.join(PROOFS)}")
        if self.annotator not in dedup.ANNOTATORS:
            raise UsageError(f"annotator is {self.annotator!r}, allowed are {', '.join(dedup.ANNOTATORS)}")
        if self.shards < 0 or self.first < 0:
            raise UsageError(f"shards is {self.shards}, first is {self.first}")
        try:
            _ = self.find
        except ValueError as error:
            raise UsageError(str(error)) from error

    @property
    def find(self) -> FindDuplicates:
        return FindDuplicates(self.output, self.shards, threshold=self.threshold, annotator=self.annotator)

    @property
    def units(self) -> list[bytes]:
        return [json.dumps({"index": shard}).encode() for shard in range(self.shards)]

    def described(self) -> dict[str, Any]:
        bands = self.find.bands
        return {
            "kind": _KIND,
            "version": VERSION,
            "annotator": self.annotator,
            "threshold": self.threshold,
            "bands": [bands.count, bands.rows],
            "proof": self.proof,
            "probe": probe(dedup.ANNOTATORS[self.annotator](), self.find.shingle_sets),
        }


@dataclasses.dataclass(frozen=True)
class IndexUnits:
    """Worker of the build (`pipelines.stages.map_units`): one document shard in, one part of the index out."""

    build: IndexBuild

    def run(self, unit: bytes) -> Iterator[dict[str, Any]]:
        build, shard = self.build, json.loads(unit)["index"]
        names = (build.annotator, *build.without, *build.fills)
        given = {name: annotation_shard(build.output, name, shard) for name in names}
        for path in given.values():
            if not storage.exists(path):
                raise UsageError(f"{path} does not exist")
        read = 0
        with ShardWriter(storage.join(build.folder, part(build.first + shard)), SCHEMA) as writer:
            path = storage.join(build.output, DOCUMENTS, part(shard))
            for batch, known in read_aligned(path, given, ["doc_id", "source", "text", "language"]):
                read += batch.num_rows
                for name in build.fills:
                    batch = fill_columns(batch, known[name], {"language": FILLS[name]["language"]})
                stays = np.ones(batch.num_rows, np.bool_)
                for name in build.without:
                    stays &= known[name].column("duplicate_of").is_null().to_numpy(zero_copy_only=False)
                writer.write(
                    _rows(build, batch.filter(pa.array(stays)), known[build.annotator].filter(pa.array(stays)))
                )
        kept = writer.written.rows
        dropped = {"duplicate": read - kept} if read > kept else {}
        record = writer.written.record(build.folder)
        yield {**record, "books": manifests.Books(read, kept, dropped).to_json()}


def _rows(build: IndexBuild, batch: pa.RecordBatch, columns: pa.RecordBatch) -> pa.RecordBatch:
    """Documents and their signatures -> SCHEMA."""
    find, texts, rows = build.find, batch.column("text"), batch.num_rows
    told, positions = signature_rows(columns.column(find.scheme.column), find.bands)
    present = np.zeros(rows, np.bool_)
    present[told] = True
    keys = np.zeros((rows, find.bands.count), np.uint64)
    keys[told] = band_keys(positions, find.bands)
    empty = np.zeros(0, np.uint64)
    sets, sketches = [empty] * rows, [empty] * rows
    if build.proof == "full":
        sets = find.shingle_sets(batch)
    else:
        for row, own in zip(told.tolist(), positions.astype(np.uint64), strict=True):
            sketches[row] = own
    names = columns.schema.names
    if _SHINGLES in names:
        counts = columns.column(_SHINGLES).fill_null(0).cast(pa.int32())
    else:
        counts = pa.array(
            [own.size for own in (sets if build.proof == "full" else find.shingle_sets(batch))], pa.int32()
        )
    hashes = columns.column(_TEXT_HASH) if _TEXT_HASH in names else text_hashes(texts)
    absent = np.zeros(rows, np.bool_)
    full = build.proof == "full"
    return pa.RecordBatch.from_arrays(
        [
            batch.column("doc_id"),
            batch.column("source"),
            hashes,
            counts,
            lists_of(list(keys), present),
            lists_of(sets, present if full else absent),
            lists_of(sketches, absent if full else present),
        ],
        schema=SCHEMA,
    )


def write_index(build: IndexBuild, records: Iterable[Mapping[str, Any]], parent: Opened | None = None) -> Opened:
    """Writes the description, last of all files of the index.  records: those of `IndexUnits`.

    parent: the index that this one continues; its parts are copied and come first.
    """
    described = build.described()
    shards: list[Mapping[str, Any]] = []
    if parent is not None:
        for key in ("annotator", "threshold", "bands", "proof", "probe"):
            if parent.told[key] != described[key]:
                raise DedupIndexError(
                    f"{parent.folder}: {key} is {parent.told[key]}, the new part has {described[key]}"
                )
        if build.first != parent.shards:
            raise DedupIndexError(f"{parent.folder} has {parent.shards} parts, the new ones begin at {build.first}")
        for number, shard in enumerate(parent.told["shards"]):
            copied = storage.write_bytes(
                storage.join(build.folder, part(number)), storage.read_bytes(parent.part(number))
            )
            if copied != shard["sha256"]:
                raise DedupIndexError(
                    f"{parent.part(number)}: its sha256 is {copied}, the index says {shard['sha256']}"
                )
        shards += parent.told["shards"]
    new = manifests.shards_of(records)
    if len(new) != build.shards:
        raise DedupIndexError(f"{build.folder}: {len(new)} parts were written, {build.shards} expected")
    parents = [*parent.told["parents"], parent.name] if parent is not None else []
    told = {**described, "parents": parents, "shards": [dict(shard) for shard in (*shards, *new)]}
    storage.write_bytes(storage.join(build.folder, INDEX), storage.canonical_json(told))
    return Opened(build.folder, told)


def open_index(folder: str, threshold: float | None = None, verify: bool = False) -> Opened:
    """Checks that the index is whole, was made with the same hashes as here, and serves `threshold`.

    verify: whether the sha256 of every part is compared too, and not its size alone.  Raises DedupIndexError.
    """
    path = storage.join(folder, INDEX)
    if not storage.exists(path):
        raise DedupIndexError(f"{folder}: no index there ({INDEX} is missing)")
    try:
        told = storage.read_json(path)
        if not isinstance(told, dict) or told.get("kind") != _KIND:
            raise DedupIndexError(f"{path}: is not the description of an index")
        if told["version"] != VERSION:
            raise DedupIndexError(f"{path}: index of version {told['version']}, known is {VERSION}")
        opened = Opened(folder, told)
        made = IndexBuild(folder, 0, folder, told["annotator"], told["threshold"], told["proof"])
        shards: Sequence[Mapping[str, Any]] = told["shards"]
        expected = made.described()
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise DedupIndexError(f"{path}: is damaged: {error!r}") from error
    for key in ("bands", "probe"):
        if told[key] != expected[key]:
            raise DedupIndexError(f"{path}: made by a version of {told['annotator']} with other {key}; build it anew")
    if threshold is not None and threshold < told["threshold"]:
        raise DedupIndexError(
            f"{path}: made for similarities of {told['threshold']} and more, asked for is {threshold}"
        )
    for number, shard in enumerate(shards):
        own = opened.part(number)
        if shard["path"] != part(number) or not storage.exists(own) or storage.size(own) != shard["bytes"]:
            raise DedupIndexError(f"{own}: is missing or not of {shard['bytes']} bytes as {INDEX} says")
        if verify and storage.file_sha256(own) != shard["sha256"]:
            raise DedupIndexError(f"{own}: its sha256 is not what {INDEX} says")
    return opened


__all__ = ["INDEX", "IndexBuild", "DedupIndexError", "IndexUnits", "Opened", "open_index", "write_index"]
