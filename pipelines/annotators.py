"""Annotators as a recipe asks for them: with options, with a model, under another name, after edits of the text."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter, ValidationError

from pipelines import storage
from pipelines.manifest import digest
from pipelines.recipe_errors import shown
from pipelines.recipe_models import AnnotatorSpec
from quality_signals.edits import COLUMN as EDITS_COLUMN
from quality_signals.edits import apply_to_batch, compose_columns
from quality_signals.text_batch import SharedTexts

if TYPE_CHECKING:
    import apache_beam as beam


class Annotator(Protocol):
    """A pure, picklable object that turns a batch of documents into a batch of columns, row for row."""

    @property
    def name(self) -> str: ...
    @property
    def schema(self) -> pa.Schema: ...
    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch: ...


class SharingAnnotator(Annotator, Protocol):
    """An annotator that reads the views of the texts that others build too."""

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch: ...


def annotate_shared(annotator: Annotator, shared: SharedTexts) -> pa.RecordBatch:
    """The annotator's columns for the batch, from shared views where it can read them."""
    if hasattr(annotator, "annotate_texts"):  # a SharingAnnotator; isinstance looks at every member each time
        return cast(SharingAnnotator, annotator).annotate_texts(shared)
    return annotator.annotate(shared.batch)


def factories() -> dict[str, Callable[..., Any]]:
    """Every annotator by its versioned name, and the families that run a model by theirs.

    The packages are imported here, their models are not.
    """
    import dedup
    import licenses
    import pii
    import quality_signals

    return {
        **quality_signals.ANNOTATORS,
        **dedup.ANNOTATORS,
        **pii.ANNOTATORS,
        **licenses.ANNOTATORS,
        **quality_signals.MODEL_ANNOTATORS,
        "proxy": quality_signals.Factory("eval_models.document_score", "ProxyScore", needs_model=True),
        **_corpus_factories(),
    }


def _corpus_factories() -> dict[str, Callable[..., Any]]:
    """Those that look at the whole corpus; the last ones by family, since a file or a folder makes the name."""
    from quality_signals import Factory

    module = "pipelines.corpus_annotators"
    return {
        "paragraphs@ccnet": Factory(module, "Paragraphs"),
        "sentences@datatrove": Factory(module, "Sentences"),
        "lines@tfds": Factory(module, "Lines"),
        "substrings@1": Factory(module, "Substrings"),
        "semantic@1": Factory(module, "Semantic"),
        "respect_reservations@1": Factory("pipelines.find_reservations", "RespectReservations"),
        "contamination": Factory(module, "EvalItems", needs_model=True),
        "index": Factory(module, "IndexMatches", needs_model=True),
        "seen": Factory(module, "SeenBefore", needs_model=True),
    }


def needs_model(factory: Callable[..., Any]) -> bool:
    return bool(getattr(factory, "needs_model", False))


# -- the whole corpus ------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Where:
    """Where a corpus annotator reads and writes.

    output, shards   documents/ below the output, and how many shards it has
    name             of the folder below annotations/
    after            annotators whose verdicts and edits come first, the editor last; or dedup
    fills            annotators that fill null values of the documents
    workers          of the engine; sizes partitions, changes no byte of the result
    """

    output: str
    shards: int
    name: str
    after: tuple[str, ...]
    workers: int = 1
    fills: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class CorpusAnnotator:
    """An annotator whose columns depend on the whole corpus: a graph over all document shards, and no function of a
    batch.  Subclasses (`pipelines.corpus_annotators`) have a name and a schema without doc_id; options are fields.
    """

    takes_after: ClassVar[bool] = False
    """Whether it can look at the documents that others leave and at the text after edits."""
    modules: ClassVar[tuple[str, ...]] = ()
    """Whose source files decide the values."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Annotators whose shards are read."""
        return ()

    @property
    def reads_language(self) -> bool:
        """Whether its columns depend on the language of a document."""
        return False

    @property
    def content(self) -> str | None:
        """A hash of what lies at its place, where one is known without reading all of it."""
        return None

    def build(self, pipeline: beam.Pipeline, where: Where) -> beam.PCollection[bytes]:
        """JSON records: one a written file, with books; one {"summary": ...}."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class OfCorpus:
    """A corpus annotator as one of a recipe's: under its name, after others."""

    annotator: Any  # a CorpusAnnotator with name and schema
    name: str
    after: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        return self.annotator.schema

    @property
    def needs(self) -> tuple[str, ...]:
        return self.annotator.needs  # type: ignore[no-any-return]

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        raise LookupError(f"{self.name} looks at the whole corpus: its columns are read, not made from a batch")

    @property
    def reads_language(self) -> bool:
        return self.annotator.reads_language  # type: ignore[no-any-return]

    def build(
        self, pipeline: beam.Pipeline, output: str, shards: int, workers: int, fills: tuple[str, ...] = ()
    ) -> beam.PCollection[bytes]:
        """fills: annotators of the recipe that fill null values of the documents."""
        where = Where(output, shards, self.name, self.after, workers, fills)
        return self.annotator.build(pipeline, where)  # type: ignore[no-any-return]


def of_corpus(factory: Callable[..., Any]) -> bool:
    """Whether a factory makes corpus annotators."""
    made = getattr(factory, "made", factory)
    return isinstance(made, type) and issubclass(made, CorpusAnnotator)


# -- texts after edits -------------------------------------------------------------------------------------


class EditableTexts(SharedTexts):
    """The texts of a batch, and for each editor the batch with its edits applied: made once, whoever asks.

    Memory: the edited texts stay as long as the batch.
    """

    def __init__(self, batch: pa.RecordBatch, known: Mapping[str, pa.RecordBatch] | None = None) -> None:
        super().__init__(batch)
        self.known = dict(known or {})  # editor's name -> its columns, where no row failed
        self._after: dict[str, tuple[pa.Array, SharedTexts]] = {}

    def after(self, editor: Annotator) -> tuple[pa.Array, SharedTexts]:
        """The editor's edits, and the texts that they leave."""
        if editor.name not in self._after:
            if editor.name not in self.known:
                self.known[editor.name] = annotate_shared(editor, self)
            edits = self.known[editor.name].column(EDITS_COLUMN)
            untouched = not pc.any(pc.greater(pc.list_value_length(edits), 0)).as_py()
            if untouched:
                return edits, self
            self._after[editor.name] = edits, SharedTexts(apply_to_batch(self.batch, edits), (self.bare(), edits))
        return self._after[editor.name]


@dataclasses.dataclass(frozen=True)
class After:
    """A family that sees the text after an editor's edits.

    Where it edits itself, its `edits` lead from the document's text to what both leave, in offsets of the
    document's text; its other spans count in the text that it saw.
    """

    annotator: Annotator
    editor: Annotator
    name: str

    @property
    def schema(self) -> pa.Schema:
        return self.annotator.schema

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(EditableTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared if isinstance(shared, EditableTexts) else EditableTexts(shared.batch)
        edits, edited = texts.after(self.editor)
        columns = annotate_shared(self.annotator, edited)
        index = columns.schema.get_field_index(EDITS_COLUMN)
        if index < 0:
            return columns
        own = columns.column(index)
        return columns.set_column(index, columns.schema.field(index), compose_columns(edits, own))


@dataclasses.dataclass(frozen=True)
class Named:
    """An annotator under the name that a recipe gives it, because its options make it another one."""

    annotator: Annotator
    name: str

    @property
    def schema(self) -> pa.Schema:
        return self.annotator.schema

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotator.annotate(batch)

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        return annotate_shared(self.annotator, shared)


def parts_of(annotator: Annotator) -> Iterator[Annotator]:
    """The annotators inside that see a batch: itself where it is none of the wrappers above."""
    if isinstance(annotator, OfCorpus):
        return
    if isinstance(annotator, Named):
        yield from parts_of(annotator.annotator)
    elif isinstance(annotator, After):
        yield from parts_of(annotator.annotator)
        yield from parts_of(annotator.editor)
    else:
        yield annotator


def packages_of(annotator: Annotator) -> set[str]:
    """The packages whose code decides the annotator's values; the module alone where it is in no package."""
    modules = {type(part).__module__ for part in parts_of(annotator)}
    packages = {module: importlib.util.find_spec(module.partition(".")[0]) for module in modules}
    return {spec.name if spec is not None and spec.origin else module for module, spec in packages.items()}


def is_edited(schema: pa.Schema) -> bool:
    """Whether an annotator of this schema edits."""
    return schema.get_field_index(EDITS_COLUMN) >= 0


def is_family(schema: pa.Schema) -> bool:
    """Whether it is a rule family."""
    return {"keep", "rule", "value", "threshold"} <= set(schema.names)


def has_verdict(schema: pa.Schema) -> bool:
    """Whether it can be a rule: as a family, or as it says what a document duplicates or that it was seen before."""
    return is_family(schema) or not {"duplicate_of", "seen"}.isdisjoint(schema.names)


# -- options -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class OptionProblem:
    """One wrong option."""

    option: str
    message: str
    found: str | None = None
    known: tuple[str, ...] = ()
    allowed: str | None = None


def _made(factory: Callable[..., Any]) -> type:
    """The class of what a factory makes."""
    made = getattr(factory, "made", factory)
    return made if isinstance(made, type) else type(factory())


def option_types(factory: Callable[..., Any]) -> dict[str, Any]:
    """Option -> type: the fields of the annotator's dataclass that are the user's to choose."""
    made = _made(factory)
    if not dataclasses.is_dataclass(made):
        return {}
    hints = typing.get_type_hints(made)
    fields = [field.name for field in dataclasses.fields(made) if field.init and not field.name.startswith("_")]
    if needs_model(factory):
        fields = fields[1:]  # the model's path
    fixed = getattr(factory, "fixed", {})
    return {name: hints[name] for name in fields if name not in fixed and name not in ("name", "schema")}


def required_options(factory: Callable[..., Any]) -> list[str]:
    """Options without a default."""
    known = option_types(factory)
    return [
        field.name
        for field in (dataclasses.fields(_made(factory)) if known else ())
        if field.name in known and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]


def read_options(factory: Callable[..., Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[OptionProblem]]:
    """The given options as the annotator takes them (lists as tuples or sets), and what is wrong with others."""
    known = option_types(factory)
    values: dict[str, Any] = {}
    problems = []
    for name, value in given.items():
        if name not in known:
            problems.append(OptionProblem(name, "unknown option", repr(name), tuple(known)))
            continue
        try:
            # JSON has one kind of list, so a strict reading of it takes a list for a tuple and nothing else.
            values[name] = TypeAdapter(known[name]).validate_json(json.dumps(value), strict=True)
        except ValidationError:
            problems.append(
                OptionProblem(name, "has a wrong type or value", shown(value), allowed=type_words(known[name]))
            )
    problems += [
        OptionProblem(name, f"is missing and must be given ({type_words(known[name])})")
        for name in required_options(factory)
        if name not in given
    ]
    return values, problems


_TYPE_WORDS: Mapping[Any, str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def type_words(hint: Any) -> str:
    """A type as a person would say it: 'a whole number or null'."""
    if hint in _TYPE_WORDS:
        return _TYPE_WORDS[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return type_words(arguments[0])
    if origin is typing.Literal:
        return ", ".join(str(argument) for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_words(argument) for argument in arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a mapping"
    if isinstance(origin, type) and issubclass(origin, tuple | list | set | frozenset | Sequence):
        return f"a list, each {type_words(arguments[0])}" if arguments else "a list"
    return str(hint)


# Options that say where a list or a model lies, or in which form and with which proof values are given: with them an
# annotator keeps its name.  With any other option it measures or decides something else than its name says.
KEEPS_NAME = frozenset({"flat", "kinds", "default_language", "evidence"})


def is_place(option: str) -> bool:
    """Whether an option names a file or a folder."""
    return option in PLACES or option.endswith(("_folder", "_file", "_path"))


PLACES = frozenset(
    {"folder", "file", "path", "lists", "model", "models", "pieces", "wikipedia", "books", "openwebtext"}
)


def changes_name(options: Mapping[str, Any]) -> list[str]:
    """Those options with which an annotator is not what its name says."""
    return [name for name in options if name not in KEEPS_NAME and not is_place(name)]


def content_hash(path: str) -> str:
    """sha256 of a file; of the names and contents in a folder."""
    if not os.path.isdir(path):
        return storage.file_sha256(path)
    found = sorted(os.path.relpath(os.path.join(top, name), path) for top, _, names in os.walk(path) for name in names)
    return digest([[name, storage.file_sha256(os.path.join(path, name))] for name in found])


def place_hashes(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options for a manifest: what lies at a place by its content, since places differ from machine to machine."""

    def hashed(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: hashed(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [hashed(each) for each in value]
        if isinstance(value, str) and os.path.exists(value):
            return {"sha256": content_hash(value)}
        return value

    return {
        name: hashed(value) if is_place(name) else sorted(value) if isinstance(value, set | frozenset) else value
        for name, value in options.items()
    }


def options_that_differ(factory: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options whose value is not the default."""
    made = _made(factory)
    defaults = {field.name: field.default for field in dataclasses.fields(made)} if options else {}
    return {name: value for name, value in options.items() if value != defaults[name]}


# -- from a recipe's specifications ------------------------------------------------------------------------


def wrapped(annotator: Annotator, spec: AnnotatorSpec, editor: Annotator | None) -> Annotator:
    """The annotator under the name of `spec`, after the editor's edits where there is one."""
    if isinstance(annotator, CorpusAnnotator):
        return OfCorpus(annotator, spec.written, spec.after)
    if editor is not None:
        return After(annotator, editor, spec.written)
    return annotator if annotator.name == spec.written else Named(annotator, spec.written)


def build_annotators(specs: Sequence[AnnotatorSpec]) -> dict[str, Annotator]:
    """Name -> annotator, for the specifications of a checked recipe: editors stand before what sees their edits.

    A model's path is made absolute: workers may run in another folder.
    """
    known = factories()
    built: dict[str, Annotator] = {}
    for spec in specs:
        factory = known[spec.name]
        options, _ = read_options(factory, spec.options)
        made = factory(*([storage.absolute(spec.model)] if spec.model else []), **options)
        built[spec.written] = wrapped(made, spec, built.get(spec.after[-1]) if spec.after else None)
    return built


def described(specs: Mapping[str, AnnotatorSpec], name: str) -> dict[str, Any]:
    """What decides an annotator's values, for a manifest: equal on every machine."""
    spec = specs[name]
    told: dict[str, Any] = {"annotator": spec.name}
    if spec.options:
        told["options"] = place_hashes(spec.options)
    if spec.model is not None:
        told["model"] = model_hash(spec)
    if spec.after:
        whole = of_corpus(factories()[spec.name])  # what comes before such a one are inputs of its stage
        told["after"] = list(spec.after) if whole else described(specs, spec.after[-1])
    return told


def model_hash(spec: AnnotatorSpec) -> str:
    """Of what lies at the place of the model; an index of finished corpora knows it, and is not read again."""
    factory = factories()[spec.name]
    if of_corpus(factory):
        known = factory(spec.model, **read_options(factory, spec.options)[0]).content
        if known is not None:
            return str(known)
    assert spec.model is not None
    return content_hash(spec.model)
