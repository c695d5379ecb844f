"""What a search for documents of similar meaning is asked to do, and where its files lie."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dedup.keep import LENGTH, META, KeepKey, Policy, parse_keep
from dedup.semantic import check_threshold, has_vectors
from pipelines import storage
from pipelines.annotate import ANNOTATIONS
from pipelines.corpus_search import CorpusSearch, check_name, stays
from pipelines.exchange import Mode
from pipelines.find_duplicates.plan import FindDuplicates, read_column, values_of
from pipelines.ingest import part
from pipelines.shards import read_aligned

ANNOTATION = "semantic@1"
SIMILAR = "similar_meaning"
CENTRES = "centres.npy"
# Cosine similarity of what goes, 1 - epsilon of SemDeDup.  Ours: what a number means depends on the model that made the
# embeddings.
THRESHOLD = 0.95
# Documents to a cell, where their number is not given: at most 25 million products of vectors.
DOCUMENTS_IN_CELL = 5_000
MAX_CELLS = 1 << 16
# Vectors to fit on, for each cell: faiss, which SemDeDup fits with, asks for at least 39 and takes at most 256.
_SAMPLE_IN_CELL = 64
_LEAST_SAMPLE = 20_000
TO_CENTRE = "to_centre"
_FOLDER_COLUMN, _META_COLUMN = "embedding", META + "embedding"

MEANING_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("cell", pa.int32(), metadata={"description": "k-means cell; null without an embedding"}),
        pa.field(TO_CENTRE, pa.float64(), metadata={"description": "cosine similarity to the centre of the cell"}),
        pa.field("duplicate_of", pa.string(), metadata={"description": "the kept document; null if kept"}),
        pa.field("similarity", pa.float64(), metadata={"description": "cosine of the embeddings of both"}),
    ]
)
MEANING_EVIDENCE_SCHEMA = pa.schema(
    [
        pa.field("dropped_id", pa.string(), nullable=False),
        pa.field("kept_id", pa.string(), nullable=False),
        pa.field("similarity", pa.float64(), nullable=False, metadata={"description": "cosine of the embeddings"}),
        pa.field("cell", pa.int32(), nullable=False),
    ]
)


@dataclasses.dataclass(frozen=True)
class FindSimilarMeaning(CorpusSearch):
    """A search over documents/ below `output`; writes annotations/<name>/ there.

    threshold  least cosine similarity of a document that goes to the one for which it goes
    column     of the embeddings: meta.<key> (a JSON list of numbers), <annotator>.<column> (lists of numbers), or,
               with a folder, a column of its shards.  None: meta.embedding; with a folder embedding
    folder_of_embeddings
               of shards part-0000i.parquet with doc_id and the column, row for row as in documents/
    cells      of k-means; None: one for every 5,000 documents.  More cells are less work and find less
    keep       which document stays: `dedup.keep`, or keys over columns, to_centre among them (SemDeDup keeps
               `to_centre asc`); ties by id
    seed       of the start of k-means

    A document without embedding takes no part, nor does one that `after` drops.  One whose embedding is no vector, or
    not as wide as those of most, is rejected.

    Memory of a worker: the centres, 4 bytes a number; the largest cell, (4 x width + 200) bytes a document, and as
    much again for those of it that stay.  Of one worker the sample, 64 vectors a cell, 20,000 at least, twice.
    Time: documents x (cells + kept documents of a cell) products of vectors.
    """

    output: str
    shards: int
    threshold: float = THRESHOLD
    column: str | None = None
    folder_of_embeddings: str | None = None
    cells: int | None = None
    keep: Any = "longest"
    seed: int = 0
    name: str | None = None
    exchange: Mode | None = None
    workers: int = 1
    after: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.check_common()
        check_name(self.name)
        check_threshold(self.threshold)
        if self.cells is not None and not 1 <= self.cells <= MAX_CELLS:
            raise ValueError(f"cells is {self.cells}, allowed are 1 to {MAX_CELLS:,} and None")
        if self.folder_of_embeddings is None and "." not in self.embeddings:
            raise ValueError(
                f"column is {self.embeddings!r}, allowed are meta.KEY and ANNOTATOR.COLUMN, and names of columns where "
                f"a folder of embeddings is given"
            )
        if not self.embeddings:
            raise ValueError("column is empty")
        _ = self.policy  # a wrong one stops before any work

    @property
    def embeddings(self) -> str:
        """The column."""
        usual = _META_COLUMN if self.folder_of_embeddings is None else _FOLDER_COLUMN
        return usual if self.column is None else self.column

    @property
    def folder(self) -> str:
        return storage.join(self.output, ANNOTATIONS, self.name or ANNOTATION)

    @property
    def centres(self) -> str:
        return storage.join(self.folder, CENTRES)

    @property
    def policy(self) -> Policy:
        return parse_keep(self.keep)

    @property
    def _columns(self) -> FindDuplicates:
        """What is asked of documents and annotations to tell who stays."""
        keys = tuple(key for key in self.policy if key.column != TO_CENTRE)
        return FindDuplicates(self.output, self.shards, method="exact", keep=keys or "smallest_id")

    @property
    def annotations(self) -> set[str]:
        """The annotators whose shards are read."""
        elsewhere = self.folder_of_embeddings is not None or self.embeddings.startswith(META)
        own = set() if elsewhere else {self.embeddings.rpartition(".")[0]}
        return own | self._columns.annotations

    def check_inputs(self) -> None:
        """Raises ValueError for a column that the first shard does not have, or that holds no vectors."""
        if not self.shards:
            return
        self.check_after()
        self._columns.check_columns()
        last = self.embeddings_of(self.shards - 1)
        if self.folder_of_embeddings is not None and not storage.exists(last):
            raise ValueError(f"{last} does not exist; expected is a shard of embeddings for each of documents/")
        path = self.embeddings_of(0)
        if not storage.exists(path):
            raise ValueError(f"column {self.embeddings} is asked for, but {path} does not exist")
        with storage.open_read(path) as file:
            schema = pq.read_schema(file)
        name = self.embeddings_column
        for needed in ("doc_id", name):
            if schema.get_field_index(needed) < 0:
                raise ValueError(f"column {needed} is asked for; {path} has {', '.join(schema.names)}")
        if name != META[:-1] and not has_vectors(schema.field(name).type):
            raise ValueError(f"{path}: column {name} is {schema.field(name).type}, expected are lists of numbers")

    @property
    def embeddings_column(self) -> str:
        """The name of the stored column."""
        if self.folder_of_embeddings is not None:
            return self.embeddings
        return META[:-1] if self.embeddings.startswith(META) else self.embeddings.rpartition(".")[2]

    def embeddings_of(self, shard: int) -> str:
        """The shard that has them."""
        if self.folder_of_embeddings is not None:
            return storage.join(self.folder_of_embeddings, part(shard))
        if self.embeddings.startswith(META):
            return self.document(shard)
        return self.annotation_of(self.embeddings.rpartition(".")[0], shard)

    def read(self, shard: int, columns: Sequence[str] = ()) -> Iterator[tuple[pa.RecordBatch, pa.Array]]:
        """The documents of a shard in order: (doc_id and some other columns, their embeddings)."""
        own = self.embeddings_of(shard)
        of_documents = own == self.document(shard)
        given = {name: self.annotation_of(name, shard) for name in self.after} | ({} if of_documents else {"": own})
        asked = sorted({"doc_id", *([META[:-1]] if of_documents else []), *columns})
        for batch, known in read_aligned(self.document(shard), given, asked):
            vectors = values_of(batch, self.embeddings) if of_documents else known[""].column(self.embeddings_column)
            gone = np.zeros(batch.num_rows, np.bool_)
            for name in self.after:
                gone |= ~stays(known[name]).to_numpy(zero_copy_only=False)
            if gone.any():
                vectors = vectors.take(pa.array(np.arange(batch.num_rows), mask=gone))
            yield batch, vectors

    def keys(self, shard: int) -> dict[str, pa.Array]:
        """key<i> -> encoded column of the whole shard, but for those made of text and of cells."""
        found = {}
        for i, key in enumerate(self.policy):
            if key.column not in (LENGTH, TO_CENTRE):
                path, name = self._columns.place(shard, key.column)
                stored = read_column(path, META[:-1] if name.startswith(META) else name)
                found[f"key{i}"] = key.encoded(_value(stored, name))
        return found

    @property
    def reads_text(self) -> bool:
        return any(key.column == LENGTH for key in self.policy)

    def count_documents(self) -> int:
        return self._columns.count_documents()

    def cells_of(self, documents: int) -> int:
        """How many cells documents with embeddings get."""
        return self.cells or min(max(-(-documents // DOCUMENTS_IN_CELL), 1), MAX_CELLS)

    def sampled(self, doc_ids: Sequence[str], documents: int) -> npt.NDArray[np.bool_]:
        """Which documents k-means is fitted on, by a hash of the id; documents: in all."""
        asked = max(self.cells_of(documents) * _SAMPLE_IN_CELL, _LEAST_SAMPLE)
        if documents <= asked:
            return np.ones(len(doc_ids), np.bool_)
        digests = [hashlib.blake2b(each.encode(), digest_size=8, person=b"kmeans").digest() for each in doc_ids]
        return np.frombuffer(b"".join(digests), ">u8") < np.uint64((asked << 64) // documents)


def _value(stored: pa.Array, name: str) -> pa.Array:
    if not name.startswith(META):
        return stored
    return pc.map_lookup(stored, pa.scalar(name.removeprefix(META)), "last")


def encoded_length(key: KeepKey, texts: pa.Array) -> pa.Array:
    return key.encoded(pc.utf8_length(texts).cast(pa.float64()))
