"""Annotators that look at the whole corpus: what they say of a document depends on the others.

A recipe lists them among its annotators.  Each is a stage of its own, a Beam graph over all document shards, and runs
after the annotators that see one document at a time, but for those that see the text after its edits.
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from dedup.contamination import COMMON_DOCUMENTS, GPT3, Contamination
from dedup.exact import COLUMN, key_column
from dedup.keep import META
from dedup.passages import Keep, Order
from dedup.substring_spans import Keep as SubstringKeep
from pipelines import storage
from pipelines.annotators import CorpusAnnotator, Where
from quality_signals.batches import PROSE_KINDS
from quality_signals.model_files import NAME_DIGITS

if TYPE_CHECKING:
    import apache_beam as beam

    from pipelines.find_contamination import FindContamination
    from pipelines.find_passages import FindPassages
    from pipelines.find_similar_meaning import FindSimilarMeaning
    from pipelines.find_substrings import FindSubstrings

_NOWHERE = Where("", 0, "", ())
_GRAPH = ("pipelines.exchange", "pipelines.corpus_search", "pipelines.find_duplicates", "dedup")


def _without_id(schema: pa.Schema) -> pa.Schema:
    return schema.remove(schema.get_field_index("doc_id"))


# -- passages ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Passages(CorpusAnnotator):
    """order, sources, kinds, evidence: as `find_passages.FindPassages` has them."""

    order: Order | None = None
    sources: tuple[str, ...] = ()
    kinds: tuple[str, ...] | None = PROSE_KINDS
    evidence: bool = True

    name: ClassVar[str]
    takes_after: ClassVar[bool] = True
    modules: ClassVar[tuple[str, ...]] = (*_GRAPH, "pipelines.find_passages", "quality_signals")

    def __post_init__(self) -> None:
        self.find(_NOWHERE)

    @property
    def schema(self) -> pa.Schema:
        from pipelines.find_passages import PASSAGE_SCHEMA

        return _without_id(PASSAGE_SCHEMA)

    def find(self, where: Where) -> FindPassages:
        from pipelines.find_passages import FindPassages

        own = {field.name for field in dataclasses.fields(_Passages)}
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in own}
        return FindPassages(
            where.output,
            where.shards,
            self.name,
            options,
            where.name or self.name,
            self.order,
            self.sources,
            self.kinds,
            where.after,
            workers=where.workers,
            fills=where.fills,
            evidence=self.evidence,
        )

    @property
    def reads_language(self) -> bool:
        return self.find(_NOWHERE).reads_language

    def build(self, pipeline: beam.Pipeline, where: Where) -> beam.PCollection[bytes]:
        from pipelines.find_passages import build_find_passages

        return build_find_passages(pipeline, self.find(where))


@dataclasses.dataclass(frozen=True)
class Paragraphs(_Passages):
    """`paragraphs@ccnet`: `dedup.passages.CcNetParagraphs`."""

    keep: Keep = "first"
    min_length: int = 0
    name: ClassVar[str] = "paragraphs@ccnet"


@dataclasses.dataclass(frozen=True)
class Sentences(_Passages):
    """`sentences@datatrove`: `dedup.sentence_spans.DatatroveSentences`."""

    n_sentences: int = 3
    split_sentences: bool = True
    min_doc_words: int = 50
    min_num_sentences: int = 3
    min_words_to_remove_span: int = 0
    default_language: str = "en"
    name: ClassVar[str] = "sentences@datatrove"


@dataclasses.dataclass(frozen=True)
class Lines(_Passages):
    """`lines@tfds`: `dedup.passages.TfdsLines`."""

    min_num_sentences: int = 3
    sentences: str = "rule"
    name: ClassVar[str] = "lines@tfds"


# -- substrings --------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Substrings(CorpusAnnotator):
    """`substrings@1`: `find_substrings.FindSubstrings`."""

    min_bytes: int = 100
    keep: SubstringKeep = "first"
    at_lines: bool = False

    name: ClassVar[str] = "substrings@1"
    takes_after: ClassVar[bool] = True
    modules: ClassVar[tuple[str, ...]] = (*_GRAPH, "pipelines.find_substrings", "quality_signals.edits")

    def __post_init__(self) -> None:
        self.find(_NOWHERE)

    @property
    def schema(self) -> pa.Schema:
        from pipelines.find_substrings import SUBSTRINGS_SCHEMA

        return _without_id(SUBSTRINGS_SCHEMA)

    def find(self, where: Where) -> FindSubstrings:
        from pipelines.find_substrings import FindSubstrings

        return FindSubstrings(
            where.output,
            where.shards,
            self.min_bytes,
            self.keep,
            self.at_lines,
            workers=where.workers,
            name=where.name or self.name,
            after=where.after,
        )

    def build(self, pipeline: beam.Pipeline, where: Where) -> beam.PCollection[bytes]:
        from pipelines.find_substrings import build_find_substrings

        return build_find_substrings(pipeline, self.find(where))


# -- embeddings --------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Semantic(CorpusAnnotator):
    """`semantic@1`: `find_similar_meaning.FindSimilarMeaning`; the rule drops what is similar to a kept document."""

    threshold: float = 0.95
    column: str | None = None
    folder: str | None = None
    cells: int | None = None
    keep: str | tuple[str, ...] = "longest"
    seed: int = 0

    name: ClassVar[str] = "semantic@1"
    takes_after: ClassVar[bool] = True
    modules: ClassVar[tuple[str, ...]] = (*_GRAPH, "pipelines.find_similar_meaning")

    def __post_init__(self) -> None:
        self.find(_NOWHERE)
        if self.folder is not None and not storage.is_remote(self.folder) and not os.path.isdir(self.folder):
            raise ValueError(f"{self.folder}: no such folder of embeddings")

    @property
    def schema(self) -> pa.Schema:
        from pipelines.find_similar_meaning import MEANING_SCHEMA

        return _without_id(MEANING_SCHEMA)

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(sorted(self.find(_NOWHERE).annotations))

    @property
    def least(self) -> float:
        """The similarity from which on a document is dropped."""
        return self.threshold

    def find(self, where: Where) -> FindSimilarMeaning:
        from pipelines.find_similar_meaning import FindSimilarMeaning

        return FindSimilarMeaning(
            where.output,
            where.shards,
            self.threshold,
            self.column,
            None if self.folder is None else storage.absolute(self.folder),
            self.cells,
            self.keep,
            self.seed,
            where.name or None,
            workers=where.workers,
            after=where.after,
        )

    def build(self, pipeline: beam.Pipeline, where: Where) -> beam.PCollection[bytes]:
        from pipelines.find_similar_meaning import build_find_similar_meaning

        return build_find_similar_meaning(pipeline, self.find(where))


# -- evaluation sets ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class EvalItems(CorpusAnnotator):
    """`contamination@<hash of the index>`: `find_contamination.FindContamination`.

    model: the index of evaluation sets, a file (`gristmill fit contamination`).
    """

    model: str
    methods: tuple[str, ...] = (GPT3,)
    common_documents: int | None = COMMON_DOCUMENTS

    takes_after: ClassVar[bool] = True
    modules: ClassVar[tuple[str, ...]] = (*_GRAPH, "pipelines.find_contamination", "quality_signals")

    def __post_init__(self) -> None:
        self.find(_NOWHERE)

    @property
    def _annotator(self) -> Contamination:
        return Contamination(self.model, self.methods)

    @property
    def name(self) -> str:
        return self._annotator.name

    @property
    def schema(self) -> pa.Schema:
        return self._annotator.schema

    def find(self, where: Where) -> FindContamination:
        from pipelines.find_contamination import FindContamination

        return FindContamination(
            where.output,
            where.shards,
            self.model,
            self.methods,
            where.name or None,
            self.common_documents,
            workers=where.workers,
            after=where.after,
        )

    def build(self, pipeline: beam.Pipeline, where: Where) -> beam.PCollection[bytes]:
        from pipelines.find_contamination import build_find_contamination

        return build_find_contamination(pipeline, self.find(where))


# -- what was there before ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class IndexMatches(CorpusAnnotator):
    """`index@<hash of the index>`: `dedup_index.QueryIndex`; the rule drops what the index has already.

    model: the index, a folder (`gristmill index build`).  Needs the signatures of the annotator that made it.
    """

    model: str
    threshold: float | None = None

    modules: ClassVar[tuple[str, ...]] = (*_GRAPH, "pipelines.dedup_index")

    def __post_init__(self) -> None:
        self._query(_NOWHERE)

    @property
    def _opened(self) -> Any:
        from pipelines.dedup_index import open_index

        return open_index(self.model, self.threshold)

    @property
    def name(self) -> str:
        return f"index@{self._opened.name}"

    @property
    def content(self) -> str:
        """The hash of the index's description, which holds the hashes of all its parts."""
        return self._opened.name  # type: ignore[no-any-return]

    @property
    def needs(self) -> tuple[str, ...]:
        return (self._opened.told["annotator"],)

    @property
    def least(self) -> float:
        """The similarity from which on a document is dropped."""
        return float(self.threshold or self._opened.told["threshold"])

    @property
    def reads_language(self) -> bool:
        from pipelines.find_duplicates import FindDuplicates

        return FindDuplicates("", 0, annotator=self._opened.told["annotator"]).reads_language

    @property
    def schema(self) -> pa.Schema:
        from pipelines.dedup_index import INDEX_SCHEMA

        return _without_id(INDEX_SCHEMA)

    def _query(self, where: Where) -> Any:
        from pipelines.dedup_index import QueryIndex

        return QueryIndex(
            where.output,
            where.shards,
            self.model,
            self.threshold,
            where.name or None,
            workers=where.workers,
            fills=where.fills,
        )

    def build(self, pipeline: beam.Pipeline, where: Where) -> beam.PCollection[bytes]:
        from pipelines.dedup_index import build_query_index

        return build_query_index(pipeline, self._query(where))


@dataclasses.dataclass(frozen=True)
class SeenBefore(CorpusAnnotator):
    """`seen@<hash of the filter>`: `find_duplicates.filters.MarkSeen`; the rule drops what the filter has seen.

    model: a Bloom filter, a file (`gristmill filter build`).  key: what is looked up, where the filter does not say it.
    """

    model: str
    key: str | None = None

    modules: ClassVar[tuple[str, ...]] = _GRAPH

    def __post_init__(self) -> None:
        from dedup.exact import check_key
        from pipelines.find_duplicates.filters import asked_key

        check_key(asked_key(self.model, self.key))

    @property
    def name(self) -> str:
        return f"seen@{storage.file_sha256(self.model)[:NAME_DIGITS]}"

    @property
    def needs(self) -> tuple[str, ...]:
        from pipelines.find_duplicates.filters import asked_key

        key = asked_key(self.model, self.key)
        column = key_column(key)
        of_documents = not key.startswith(COLUMN) or "." not in column or column.startswith(META)
        return () if of_documents else (column.rpartition(".")[0],)

    @property
    def schema(self) -> pa.Schema:
        from pipelines.find_duplicates.filters import SEEN_SCHEMA

        return _without_id(SEEN_SCHEMA)

    def build(self, pipeline: beam.Pipeline, where: Where) -> beam.PCollection[bytes]:
        import apache_beam as beam

        from pipelines.find_duplicates.filters import MarkSeen

        shards = pipeline | "Shards" >> beam.Create(list(range(where.shards)), reshuffle=False).with_output_types(int)
        return shards | "SeenBefore" >> MarkSeen(where.output, self.model, self.key, where.name)
