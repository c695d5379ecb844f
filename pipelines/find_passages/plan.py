"""What a search for repeated passages is asked to do, and where its files lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dedup.passages import ORDERS, CcNetParagraphs, Order, Scheme, TfdsLines, record_type
from dedup.sentence_spans import DatatroveSentences
from pipelines import manifest as manifests
from pipelines import storage
from pipelines.exchange import MODES, Mode, partition_count
from pipelines.find_duplicates.plan import part
from pipelines.shards import read_aligned
from quality_signals.batches import PROSE_KINDS, of_kinds
from quality_signals.edits import COLUMN as EDITS
from quality_signals.edits import apply_to_batch

SCHEMES: Mapping[str, Callable[..., Scheme]] = {
    scheme.name: scheme for scheme in (CcNetParagraphs, DatatroveSentences, TfdsLines)
}
NAMES = tuple(SCHEMES)
MAX_SOURCES = 255
# Text of a document shard is about this many times as long as its file.
_COMPRESSION = 3
_COLUMNS = ("doc_id", "source", "kind", "text", "url", "language")


@dataclasses.dataclass(frozen=True)
class FindPassages:
    """A search over documents/ below `output`; writes annotations/<name>/ there.

    shards    number of document shards; shard i is documents/part-0000i.parquet
    scheme    paragraphs@ccnet, sentences@datatrove or lines@tfds; options: those of its class in `dedup`
    name      folder of the annotations; the scheme's name if None
    order     which copy of a passage stays, that of the first document by: doc_id, input (shard and row), url (the
              smallest MD5 of the URL); None: the scheme's own (url for lines@tfds, else doc_id)
    sources   names of sources whose copies go before those of all others, the first before the second
    kinds     kinds of documents that take part; None: all
    after     annotators below annotations/: documents that one of them drops (keep is false) take no part, and of
              the last one, if it has edits, the edits come first; those written here lead from the document's text to
              what both leave
    exchange  files, memory, or None: files where the output is a directory of this machine or of a shared mount
    workers   how many the engine has; sizes partitions, changes no byte of the result

    Memory of a worker: the passages of one shard or of one partition, 20 to 53 bytes each, three times while they are
    sorted.  However often a passage stands in the corpus, a shard sends it on once (twice with keep none).
    """

    output: str
    shards: int
    scheme: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    name: str | None = None
    order: Order | None = None
    sources: tuple[str, ...] = ()
    kinds: tuple[str, ...] | None = PROSE_KINDS
    after: tuple[str, ...] = ()
    exchange: Mode | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ValueError(f"scheme is {self.scheme!r}, allowed are {', '.join(NAMES)}")
        if self.order is not None and self.order not in ORDERS:
            raise ValueError(f"order is {self.order!r}, allowed are {', '.join(ORDERS)}")
        if self.exchange is not None and self.exchange not in MODES:
            raise ValueError(f"exchange is {self.exchange!r}, allowed are {', '.join(MODES)} and None")
        if self.shards < 0 or self.workers < 1:
            raise ValueError(f"shards is {self.shards}, workers is {self.workers}")
        if len(self.sources) > MAX_SOURCES or len(set(self.sources)) != len(self.sources):
            raise ValueError(f"sources: {len(self.sources)} names, allowed are {MAX_SOURCES} different ones")
        if self.folder_name in self.after:
            raise ValueError(f"{self.folder_name} cannot come after itself")
        known = {each.name for each in dataclasses.fields(SCHEMES[self.scheme])}  # type: ignore[arg-type]
        for option in self.options:
            if option not in known:
                raise ValueError(f"{self.scheme} has no option {option!r}; it has {', '.join(sorted(known))}")
        _ = self.made  # a wrong option stops before any work

    @cached_property
    def made(self) -> Scheme:
        return SCHEMES[self.scheme](**self.options)

    @property
    def folder_name(self) -> str:
        return self.name or self.scheme

    @property
    def folder(self) -> str:
        return storage.join(self.output, "annotations", self.folder_name)

    @property
    def documents_order(self) -> Order:
        return self.order or self.made.order

    @property
    def records(self) -> np.dtype:
        return record_type(self.made.wide, self.documents_order, bool(self.sources))

    @property
    def spill_dir(self) -> str | None:
        mode = self.exchange or ("memory" if storage.is_remote(self.output) else "files")
        return storage.join(self.folder, "spill") if mode == "files" else None

    def document(self, shard: int) -> str:
        return storage.join(self.output, "documents", part(shard))

    def given(self, shard: int) -> dict[str, str]:
        """The annotation shards that come before."""
        return {name: storage.join(self.output, "annotations", name, part(shard)) for name in self.after}

    def check_inputs(self) -> None:
        """Raises ValueError where an annotator of `after` is missing or says nothing about what stays."""
        for name, path in self.given(0).items() if self.shards else ():
            if not storage.exists(path):
                raise ValueError(f"after {name}: {path} does not exist")
            with storage.open_read(path) as file:
                names = pq.read_schema(file).names
            if "keep" not in names and EDITS not in names:
                raise ValueError(f"after {name}: {path} has neither keep nor {EDITS}, but {', '.join(names)}")

    def partitions(self) -> int:
        """From the bytes of the document shards."""
        ingest = manifests.load(manifests.stage_manifest(self.output, "documents"))
        if ingest is not None:
            size = sum(shard["bytes"] for shard in ingest.shards)
        else:
            size = sum(storage.size(self.document(shard)) for shard in range(self.shards))
        return partition_count(_COMPRESSION * size // self.made.bytes_each, self.workers)

    def texts(self, shard: int) -> Iterator[tuple[pa.RecordBatch, np.ndarray, pa.Array | None]]:
        """Batches of the shard's documents after the edits that come first; which rows take part; those edits."""
        for batch, known in read_aligned(self.document(shard), self.given(shard), list(_COLUMNS)):
            chosen = batch.column("text").is_valid()
            if self.kinds is not None:
                chosen = pa.array(of_kinds(batch, self.kinds), pa.bool_())
            edits = None
            for name in self.after:
                columns = known[name]
                if "keep" in columns.schema.names:
                    chosen = pc.and_(chosen, columns.column("keep").fill_null(True))
            if self.after and EDITS in known[self.after[-1]].schema.names:
                edits = known[self.after[-1]].column(EDITS)
                batch = apply_to_batch(batch, edits)
            yield batch, chosen.to_numpy(zero_copy_only=False), edits
