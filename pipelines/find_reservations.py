"""Web reservations of a corpus (`respect_reservations@1`): what hosts say in their files meets the pages of the hosts.

Documents of kind `reservation` (robots.txt, tdmrep.json, ai.txt: source option `host_files`) are parsed where they lie;
the rules go to the partition of their host, where every shard asks for the hosts of its pages, and from there to the
shards that asked.  Neither pages nor files are shuffled: 16 bytes a host and shard, and what is left of a host file
without what speaks to agents that nobody asks about.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
import xxhash

from licenses.reservations import DEFAULT_DIRECTIVES, STANDARDS, Reading, Reservation, training_agents
from licenses.reservations_hosts import HostRules, authority_of, parsed
from licenses.reservations_marks import RESERVATION, host_file
from pipelines import storage
from pipelines.annotate import ANNOTATIONS
from pipelines.annotators import CorpusAnnotator, Where
from pipelines.corpus_search import UNIT, CorpusSearch, RemoveSpill, SpreadShards, Units, record_of
from pipelines.exchange import Mode, by_kind, of_kind, packed, partition_count, partition_of
from pipelines.host_files import NoHostFiles
from pipelines.ingest import part
from pipelines.manifest import Books
from pipelines.shards import read_batches, split_by_bytes, write_shard
from quality_signals.batches import field
from quality_signals.families import VERDICT_FIELDS

NAME = "respect_reservations@1"
# The rule that drops what is no page but says something about pages.
HOST_FILE_RULE = NoHostFiles.name
RESERVATIONS_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        *VERDICT_FIELDS,
        field("reserved", pa.bool_(), "whether a reservation against training was found; null for host files"),
        field("by", pa.string(), "tdm, header, meta, ai.txt or robots.txt: the first that reserves, in this order"),
        field("directive", pa.string(), "the line or mark that reserves"),
        field("agent", pa.string(), "whom it names, * for all"),
        field("policy", pa.string(), "URL of the terms (tdm-policy)"),
    ]
)
_RULES, _ASKED = 1, 2
_ASK = np.dtype([("host", "<u8"), ("shard", "<u8")])
_PAIR = tuple[int, bytes]
# Hosts of which a shard keeps the parsed rules ready.
_READY_HOSTS = 1024


@dataclasses.dataclass(frozen=True)
class FindReservations(CorpusSearch):
    """reading: which reservations count (`licenses.reservations.Reading`).

    Of several files of one kind from one host the newest counts (timestamp, then content).
    Memory of a worker: the rules of the hosts of one partition, or of one shard; a host file has at most 500 kB.
    """

    output: str
    shards: int
    reading: Reading
    exchange: Mode | None = None
    workers: int = 1
    name: str | None = None

    def __post_init__(self) -> None:
        self.check_common()

    @property
    def folder(self) -> str:
        return storage.join(self.output, ANNOTATIONS, self.name or NAME)

    @property
    def partitions(self) -> int:
        # Of the hosts of a shard of some thousand pages: 16 bytes a host and shard.
        return partition_count(self.shards * 4096, self.workers)


def build_find_reservations(pipeline: beam.Pipeline, find: FindReservations) -> beam.PCollection[bytes]:
    """Writes the annotations; JSON records, one a shard with books, one {"summary": ...}."""
    said = (
        pipeline
        | "SpreadHosts" >> SpreadShards(find.shards)
        | "ReadHosts" >> beam.ParDo(_ReadHosts(find)).with_output_types(_PAIR)
    )
    answers = (
        said
        | "ByHost" >> find.through
        | "Answer" >> beam.ParDo(_Answer()).with_output_types(_PAIR)
    )  # fmt: skip
    units = pipeline | "UnitsOfReservations" >> Units(find.shards)
    return (
        (units, answers)
        | "ByShard" >> find.through
        | "Judge" >> beam.ParDo(_Judge(find)).with_output_types(bytes)
        | "RemoveSpill" >> RemoveSpill(find.through.spill_dir)
    )


def _host_hash(authority: str) -> int:
    return int(xxhash.xxh3_64_intdigest(authority.encode()))


class _ReadHosts(beam.DoFn):
    """A shard -> what its host files say, and for which hosts it asks: each to the partition of the host."""

    def __init__(self, find: FindReservations) -> None:
        self._find = find

    def process(self, shard: int) -> Iterator[_PAIR]:
        agents = frozenset(agent.lower() for agent in self._find.reading.agents)
        hosts: set[int] = set()
        for batch in read_batches(self._find.document(shard), ["kind", "url"]):
            kinds, urls = batch.column("kind").to_pylist(), batch.column("url").to_pylist()
            pages = (authority_of(url) for kind, url in zip(kinds, urls, strict=True) if kind != RESERVATION)
            hosts.update(_host_hash(authority) for authority in pages if authority)
        for row in _host_files(self._find, shard):
            authority, standard = authority_of(row["url"]), host_file(row["url"])
            if authority is None or standard is None:
                continue
            found = parsed(standard, row["text"], agents)
            if found:
                told = [authority, standard, row["timestamp"] or "", row["content_sha256"] or "", found]
                # Far below the 4 MB of a value: a host file has 500 kB, and its patterns repeat themselves.
                value = zlib.compress(json.dumps(told, separators=(",", ":")).encode())
                yield self._partition(_host_hash(authority)), of_kind(_RULES, value)
        asked = np.zeros(len(hosts), _ASK)
        asked["host"] = np.sort(np.fromiter(hosts, np.uint64, len(hosts)))
        asked["shard"] = shard
        partitions = partition_of(asked["host"], self._find.partitions)
        for number in np.unique(partitions):
            for value in packed(asked[partitions == number], _ASKED):
                yield int(number), value

    def _partition(self, host: int) -> int:
        return int(partition_of(np.array([host], np.uint64), self._find.partitions)[0])


def _host_files(find: FindReservations, shard: int) -> Iterator[dict[str, Any]]:
    """url, timestamp, content_sha256 and text of the host files of a shard; no text of a page is read."""
    at = 0
    rows: list[int] = []
    for batch in read_batches(find.document(shard), ["kind"]):
        kinds = batch.column("kind").to_numpy(zero_copy_only=False)
        rows += (np.flatnonzero(kinds == RESERVATION) + at).tolist()
        at += batch.num_rows
    if rows:
        for _, batch in find.rows(shard, ["url", "timestamp", "content_sha256", "text"], np.array(rows, np.int64)):
            yield from batch.to_pylist()


class _Answer(beam.DoFn):
    """What a partition knows of its hosts, to every shard that asked for them."""

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[_PAIR]:
        rules, asked = by_kind(group[1], (_RULES, _ASKED))
        newest: dict[int, dict[tuple[str, str], tuple[str, str, bytes]]] = {}
        for value in rules:
            data = bytes(value)
            authority, standard, timestamp, content, _ = json.loads(zlib.decompress(data))
            files = newest.setdefault(_host_hash(authority), {})
            mine = (timestamp, content, data)
            files[authority, standard] = max(files.get((authority, standard), mine), mine)
        if not newest:
            return
        for value in asked:
            records = np.frombuffer(value, _ASK)
            shard = int(records["shard"][0]) if records.size else 0
            for host in records["host"].tolist():
                for _, _, data in newest.get(host, {}).values():
                    yield shard, of_kind(_RULES, data)


class _Judge(beam.DoFn):
    """The verdicts of one shard."""

    def __init__(self, find: FindReservations) -> None:
        self._find = find

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[bytes]:
        shard, values = group
        _, rules = by_kind(values, (UNIT, _RULES))
        files: dict[str, dict[str, Any]] = {}
        for value in rules:
            authority, standard, _, _, found = json.loads(zlib.decompress(value))
            files.setdefault(authority, {})[standard] = found
        reading = self._find.reading
        host_of = functools.lru_cache(_READY_HOSTS)(
            lambda authority: HostRules(files[authority], reading.agents, reading.wildcard)
        )
        batches: list[pa.RecordBatch] = []
        counts: Counter[str] = Counter()
        for batch in read_batches(self._find.document(shard), ["doc_id", "kind", "url", "meta"]):
            rows = []
            for row in batch.to_pylist():
                if row["kind"] == RESERVATION:
                    counts[HOST_FILE_RULE] += 1
                    rows.append({"doc_id": row["doc_id"], "keep": False, "rule": HOST_FILE_RULE})
                    continue
                authority = authority_of(row["url"])
                host = host_of(authority) if authority in files else None
                found = reading.reservation(row["url"], dict(row["meta"] or ()), host)
                counts[f"reserved/{found.by}" if found else "kept"] += 1
                rows.append(_row(row["doc_id"], found))
            batches += split_by_bytes(pa.RecordBatch.from_pylist(rows, RESERVATIONS_SCHEMA))
        path = storage.join(self._find.folder, part(shard))
        written = write_shard(path, RESERVATIONS_SCHEMA, batches)
        kept = counts.pop("kept", 0)
        yield record_of(written.record(self._find.output), Books(kept + counts.total(), kept, dict(counts)))


def _row(doc_id: str, found: Reservation | None) -> dict[str, Any]:
    if found is None:
        return {"doc_id": doc_id, "keep": True, "reserved": False}
    return {
        "doc_id": doc_id, "keep": False, "rule": found.by, "reason": f"{found.directive} ({found.agent})",
        "reserved": True, "by": found.by, "directive": found.directive, "agent": found.agent, "policy": found.policy,
    }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class RespectReservations(CorpusAnnotator):
    """`respect_reservations@1`: drops pages whose rights are reserved against training, and the files that say so.

    agents, wildcard, directives, standards: as `licenses.reservations.Reading` has them.
    """

    agents: tuple[str, ...] = dataclasses.field(default_factory=training_agents)
    wildcard: bool = True
    directives: tuple[str, ...] = DEFAULT_DIRECTIVES
    standards: tuple[str, ...] = STANDARDS

    name: ClassVar[str] = NAME
    schema: ClassVar[pa.Schema] = RESERVATIONS_SCHEMA.remove(0)
    modules: ClassVar[tuple[str, ...]] = (
        "pipelines.find_reservations", "pipelines.exchange", "pipelines.corpus_search", "licenses",
    )  # fmt: skip

    def __post_init__(self) -> None:
        _ = self._reading  # says what is wrong before any work

    @property
    def _reading(self) -> Reading:
        return Reading(self.agents, self.wildcard, self.directives, self.standards)

    def build(self, pipeline: beam.Pipeline, where: Where) -> beam.PCollection[bytes]:
        find = FindReservations(where.output, where.shards, self._reading, workers=where.workers, name=where.name)
        return build_find_reservations(pipeline, find)
