"""What a search for repeated passages is asked to do, and where its files lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from dedup.passages import ORDERS, CcNetParagraphs, Order, Scheme, TfdsLines, record_type
from dedup.sentence_spans import DatatroveSentences
from pipelines import manifest as manifests
from pipelines import storage
from pipelines.corpus_search import CorpusSearch, Texts
from pipelines.exchange import Mode, partition_count
from quality_signals.batches import PROSE_KINDS, of_kinds

SCHEMES: Mapping[str, Callable[..., Scheme]] = {
    scheme.name: scheme for scheme in (CcNetParagraphs, DatatroveSentences, TfdsLines)
}
NAMES = tuple(SCHEMES)
MAX_SOURCES = 255
# Text of a document shard is about this many times as long as its file.
_COMPRESSION = 3
_COLUMNS = ("doc_id", "source", "kind", "text", "url", "language")


@dataclasses.dataclass(frozen=True)
class FindPassages(CorpusSearch):
    """A search over documents/ below `output`; writes annotations/<name>/ there.

    scheme    paragraphs@ccnet, sentences@datatrove or lines@tfds; options: those of its class in `dedup`
    name      folder of the annotations; the scheme's name if None
    order     which copy of a passage stays, that of the first document by: doc_id, input (shard and row), url (the
              smallest MD5 of the URL); None: the scheme's own (url for lines@tfds, else doc_id)
    sources   names of sources whose copies go before those of all others, the first before the second
    kinds     kinds of documents that take part; None: all
    evidence  whether evidence-0000i.parquet names, for every passage of the shard's documents that goes, the document
              whose copy it goes for

    Memory of a worker: the passages of one shard or of one partition, 20 to 53 bytes each, three times while they are
    sorted; with evidence 60 bytes for each of a shard that goes.  However often a passage stands in the corpus, a
    shard sends it on once (twice with keep none).
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
    fills: tuple[str, ...] = ()
    evidence: bool = True

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ValueError(f"scheme is {self.scheme!r}, allowed are {', '.join(NAMES)}")
        if self.order is not None and self.order not in ORDERS:
            raise ValueError(f"order is {self.order!r}, allowed are {', '.join(ORDERS)}")
        self.check_common()
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

    def partitions(self) -> int:
        """From the bytes of the document shards."""
        ingest = manifests.load(manifests.stage_manifest(self.output, "documents"))
        if ingest is not None:
            size = sum(shard["bytes"] for shard in ingest.shards)
        else:
            size = sum(storage.size(self.document(shard)) for shard in range(self.shards))
        return partition_count(_COMPRESSION * size // self.made.bytes_each, self.workers)

    @property
    def reads_language(self) -> bool:
        """Whether the passages depend on the language of a document."""
        return self.scheme == DatatroveSentences.name

    def documents(self, shard: int) -> Iterator[Texts]:
        """The documents of a shard; those of other kinds take no part."""
        for texts in self.texts(shard, _COLUMNS):
            if self.kinds is None:
                yield texts
            else:
                own = np.asarray(of_kinds(texts.batch, self.kinds), np.bool_)
                yield dataclasses.replace(texts, takes_part=texts.takes_part & own)
