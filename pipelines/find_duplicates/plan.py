"""What a search for duplicates is asked to do, where its files lie and how its partitions are sized."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import dedup
from dedup.bands import ALL_PAIRS_GROUP, Bands, choose_bands
from dedup.components import CLUSTERS, GUARDS, Clusters, Guard
from dedup.exact import COLUMN, CONTENT, KEYS, TEXT, check_key, key_column
from dedup.hashing import Hashes
from dedup.keep import LENGTH, META, Policy, parse_keep
from dedup.minhash import PERMUTATIONS
from dedup.shingles import shingle_sets
from pipelines import manifest as manifests
from pipelines import storage
from pipelines.corpus_search import UNIT, CorpusSearch
from pipelines.exchange import PARTITION_RECORDS, Exchange, Mode, partition_count
from pipelines.ingest import part
from pipelines.shards import read_batches, row_count

Method = Literal["exact", "minhash"]
METHODS: tuple[Method, ...] = ("exact", "minhash")
# exact_<key> is the method exact with that key.
METHOD_NAMES = (*METHODS, *(f"exact_{key}" for key in KEYS), f"exact_{COLUMN}<name>")
MINHASH, TEXT_HASH = "minhash@", "text_hash"
# A set partition of 64 MB at 4 kB a document: 500 shingles, 3 kB of text, and every document a candidate.
_PARTITION_SETS = 16_000
# Members (about 100 bytes each as Arrow, 400 as Python objects) of a partition of clusters.
_PARTITION_MEMBERS = 250_000
# Kinds of values that meet in one partition.
COPIES, LABEL, VERIFIED, MEMBER, LINKED, ANSWER, VERDICT, PAIRS, SETS = range(UNIT + 1, UNIT + 10)
# Rounds in which the similarity of documents to the centre of their cluster is measured on request.
ROUNDS = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Scheme:
    """How the signatures of an annotator are stored and cut: list<integer>, list of bands, or list of band bytes."""

    column: str
    bands: Bands


def scheme(annotator: str, threshold: float, permutations: int = PERMUTATIONS) -> Scheme:
    """The signature column of a minhash annotator and the bands that its reference takes.

    minhash@1 is cut so that P(threshold) >= 0.99 (`dedup.bands`), the others as published.  An annotator without
    signatures, or without bands for the threshold, is a ValueError.
    """
    signer = signer_of(annotator)
    if signer is None:  # shards of another program, in the form of minhash@1
        return Scheme("signature", choose_bands(threshold, permutations))
    column = signer.column_of(threshold) if hasattr(signer, "column_of") else signer.column
    return Scheme(column, signer.bands(threshold))


def signer_of(annotator: str) -> Any:
    """The annotator whose signatures they are, None for one that this program does not have."""
    factory = dedup.ANNOTATORS.get(annotator)
    signer = None if factory is None else factory()
    if signer is not None and not hasattr(signer, "shingle_sets"):
        raise ValueError(f"{annotator} writes no signatures")
    return signer


@dataclasses.dataclass(frozen=True)
class FindDuplicates(CorpusSearch):
    """A search over documents/ and annotations/<annotator>/ below `output`; writes annotations/dedup/ there.

    method     exact: documents with an equal key.  minhash: equal texts, pairs with Jaccard >= threshold, and what
               they connect.  exact_<key> is exact with that key.
    key        of the method exact: `dedup.exact`
    clusters   components or star: `dedup.components`
    guard      of components: what becomes of documents that are connected to the kept one but not similar to it:
               refuse (not merged), report (merged, and named in clusters.json), allow
    guard_similarity
               what similar to the kept one means to the guard.  None: 2 threshold - 1, or half the threshold if that
               is more.  1 - Jaccard is a metric, so that two documents that are both similar to a third one are at
               least 2 threshold - 1 similar: who is below has not even a neighbour in common with the kept one.  As
               much as the threshold itself (or star) lets no one go who is not a near-duplicate of what stays
    keep       which document of a cluster stays: `dedup.keep`, a preset's name or a list of keys
    annotator  whose signatures are read; not read by exact
    bands      (bands, rows) in the place of the scheme's own

    Memory of a worker, the largest of: the ids of one shard; one partition (24 to 64 MB, twice while it is
    sorted); 50 bytes a document that has any duplicate (components, one worker); 200 bytes a dropped
    document (evidence, one worker); the largest cluster, 300 bytes a member.  Disk of exchange=files: 24 bytes a
    document, 16 a band of a document, 24 a pair and band, and the shingle sets of the candidates.
    """

    output: str
    shards: int
    method: str = "minhash"
    threshold: float = 0.8
    keep: Any = "longest"
    annotator: str = "minhash@1"
    permutations: int = PERMUTATIONS
    exchange: Mode | None = None
    workers: int = 1
    key: str = TEXT
    clusters: Clusters = "components"
    guard: Guard = "refuse"
    guard_similarity: float | None = None
    bands_and_rows: tuple[int, int] | None = None
    fills: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        method, _, key = self.method.partition("_")
        if method not in METHODS or (key and method != "exact"):
            raise ValueError(f"method is {self.method!r}, allowed are {', '.join(METHOD_NAMES)}")
        if key:
            if self.key not in (TEXT, key):
                raise ValueError(f"method is {self.method!r}, key is {self.key!r}: one of them is enough")
            object.__setattr__(self, "method", method)
            object.__setattr__(self, "key", check_key(key))
        check_key(self.key)
        if self.method == "minhash" and self.key != TEXT:
            raise ValueError(f"key is {self.key!r}: a key other than text is for the method exact")
        if self.clusters not in CLUSTERS:
            raise ValueError(f"clusters is {self.clusters!r}, allowed are {', '.join(CLUSTERS)}")
        if self.guard not in GUARDS:
            raise ValueError(f"guard is {self.guard!r}, allowed are {', '.join(GUARDS)}")
        if not 0.0 < self.threshold <= 1.0:
            raise ValueError(f"threshold is {self.threshold}, allowed is 0 < threshold <= 1")
        if self.guard_similarity is not None and not 0.0 <= self.guard_similarity <= self.threshold:
            raise ValueError(f"guard_similarity is {self.guard_similarity}, allowed is 0 to the threshold")
        self.check_common()
        if self.bands_and_rows is not None and min(self.bands_and_rows) < 1:
            raise ValueError(f"bands_and_rows is {self.bands_and_rows}, both must be 1 or more")
        # Checked here so that a wrong one stops before any work.
        _ = self.policy, self.scheme if self.method == "minhash" else None

    @property
    def policy(self) -> Policy:
        return parse_keep(self.keep)

    @property
    def scheme(self) -> Scheme:
        found = scheme(self.annotator, self.threshold, self.permutations)
        return found if self.bands_and_rows is None else Scheme(found.column, Bands(*self.bands_and_rows))

    @property
    def reads_language(self) -> bool:
        """Whether the shingles depend on the language of a document."""
        return self.method == "minhash" and isinstance(signer_of(self.annotator), dedup.DatatroveMinHash)

    def shingle_sets(self, batch: pa.RecordBatch) -> list[Hashes]:
        """The sets whose similarity is measured: those that the signatures are of.  batch: text, language."""
        texts = batch.column("text")
        signer = signer_of(self.annotator)
        if signer is None:
            return shingle_sets(texts)
        if isinstance(signer, dedup.DatatroveMinHash):
            return signer.shingle_sets(texts, batch.column("language"))
        return signer.shingle_sets(texts)

    @property
    def annotations(self) -> set[str]:
        """The annotators whose shards are read."""
        columns = [key.column for key in self.policy]
        if self.method == "exact" and self.key.startswith(COLUMN):
            columns.append(key_column(self.key))
        named = {column.rpartition(".")[0] for column in columns if "." in column and not column.startswith(META)}
        return named | ({self.annotator} if self.method == "minhash" else set())

    @property
    def label(self) -> str:
        """What the evidence says of a pair that the key found."""
        return "exact" if self.key == TEXT else self.key

    @property
    def ask_from(self) -> int:
        """`dedup.components.decide`: star asks only where the candidates of a group were not all of its pairs."""
        return ALL_PAIRS_GROUP if self.clusters == "star" and self.method == "minhash" else 0

    @property
    def least_to_centre(self) -> float:
        """The similarity to the kept document below which the guard acts."""
        if self.clusters == "star":
            return self.threshold
        usual = max(2 * self.threshold - 1, self.threshold / 2)
        return usual if self.guard_similarity is None else self.guard_similarity

    @property
    def applied_guard(self) -> Guard:
        """Documents with an equal key are duplicates by definition, and stars have no other members."""
        if self.method == "exact":
            return "allow"
        return "refuse" if self.clusters == "star" else self.guard

    @property
    def rounds(self) -> int:
        """Of measuring on request.  Equal texts need none; who merges all the same needs one."""
        if self.method == "exact":
            return 0 if self.key == TEXT else 1
        return ROUNDS if self.applied_guard == "refuse" else 1

    def check_columns(self) -> None:
        """Raises ValueError for a column of the key or of keep that the first shard does not have."""
        if not self.shards:
            return
        columns = [key.column for key in self.policy if key.column != LENGTH]
        if self.method == "exact" and self.key not in (TEXT, CONTENT):
            columns.append(key_column(self.key))
        for column in columns:
            path, name = self.place(0, column)
            if not storage.exists(path):
                raise ValueError(f"column {column} is asked for, but {path} does not exist")
            with storage.open_read(path) as file:
                names = pq.read_schema(file).names
            if name.partition(".")[0] not in names:
                raise ValueError(f"column {column} is asked for; {path} has {', '.join(names)}")

    def place(self, shard: int, column: str) -> tuple[str, str]:
        """(file, column in it) of a column of the documents, meta.<key>, or <annotator>.<column>."""
        if column.startswith(META) or "." not in column:
            return self.document(shard), column
        annotator, _, name = column.rpartition(".")
        return storage.join(self.output, "annotations", annotator, part(shard)), name

    @property
    def folder(self) -> str:
        return storage.join(self.output, "annotations", "dedup")

    @property
    def bands(self) -> Bands:
        return self.scheme.bands

    def annotation(self, shard: int) -> str:
        return storage.join(self.output, "annotations", self.annotator, part(shard))

    def count_documents(self) -> int:
        """From the manifest of the document shards if there is one, else from their footers."""
        ingest = manifests.load(manifests.stage_manifest(self.output, "documents"))
        if ingest is not None:
            return ingest.rows
        return sum(row_count(self.document(shard)) for shard in range(self.shards))


@dataclasses.dataclass(frozen=True)
class Plan:
    """What all parts of one graph share: the options, the exchange and the number of documents."""

    find: FindDuplicates
    exchange: Exchange
    documents: int

    def partitions(self, records: int, per_partition: int = PARTITION_RECORDS) -> int:
        return partition_count(records, self.find.workers, per_partition)

    @property
    def pair_partitions(self) -> int:
        return self.partitions(self.documents, _PARTITION_SETS)

    @property
    def cluster_partitions(self) -> int:
        return self.partitions(self.documents, _PARTITION_MEMBERS)


# Inside the graph a document is 8 bytes: shard number << 32 | row.  A shard has fewer than 2^32 rows.
_ROW_BITS = np.uint64(32)
_ROW_MASK = np.uint64(0xFFFFFFFF)


def address(shard: int, rows: npt.NDArray[np.int64]) -> Hashes:
    return np.uint64(shard << 32) | rows.astype(np.uint64)


def shard_of(addresses: Hashes) -> npt.NDArray[np.int64]:
    return (addresses >> _ROW_BITS).astype(np.int64)


def row_of(addresses: Hashes) -> npt.NDArray[np.int64]:
    return (addresses & _ROW_MASK).astype(np.int64)


def read_column(path: str, name: str) -> pa.Array:
    """One column of a whole shard; memory: that column."""
    parts = list(read_values(path, name))
    if parts:
        return pa.concat_arrays(parts)
    with storage.open_read(path) as file:
        return pa.array([], pq.read_schema(file).field(name).type)


def has_column(path: str, name: str) -> bool:
    with storage.open_read(path) as file:
        return name in pq.read_schema(file).names


def read_values(path: str, name: str) -> Iterator[pa.Array]:
    """One column of a shard, or meta.<key>, in order, in arrays of about 2 MB."""
    for batch in read_batches(path, [META[:-1] if name.startswith(META) else name]):
        yield values_of(batch, name)


def values_of(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column of the batch; of meta.<key> the value of that key, null where the map has none."""
    if not name.startswith(META):
        return batch.column(name)
    wanted = name.removeprefix(META)
    return pc.map_lookup(batch.column(META[:-1]), pa.scalar(wanted), "last")


def counted(**counts: int) -> bytes:
    """A contribution to the summary of the stage."""
    return json.dumps(counts, sort_keys=True).encode()
