"""The blocks of a recipe as strict models: unknown keys, wrong types and numbers out of range are errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
)

from pipelines.readers.formats import FORMATS, KINDS

# Decimal units as in SI, binary units as in IEC 80000-13.
BYTE_UNITS: Mapping[str, int] = {
    "b": 1,
    **{f"{prefix}b": 1000**i for i, prefix in enumerate("kmgt", 1)},
    **{f"{prefix}ib": 1024**i for i, prefix in enumerate("kmgt", 1)},
}
_BYTES = re.compile(r"(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<unit>[a-zA-Z]*)")
_BYTES_FORMS = (
    "a whole number of bytes, or a number with B, kB, MB, GB, TB (powers of 1000) "
    "or KiB, MiB, GiB, TiB (powers of 1024)"
)


def parse_bytes(value: Any) -> int:
    """2000000, '2MB' and '2 MB' are two million; '512 KiB' is 524,288.  Raises ValueError for other forms."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _BYTES.fullmatch(value.strip()) if isinstance(value, str) else None
    factor = BYTE_UNITS.get((match["unit"] or "b").casefold()) if match else None
    if match is None or factor is None:
        raise ValueError(f"not a size in bytes; allowed: {_BYTES_FORMS}")
    size = Fraction(match["number"]) * factor
    if size.denominator != 1:
        raise ValueError(f"is not a whole number of bytes; allowed: {_BYTES_FORMS}")
    return int(size)


def _as(key: str, *kinds: type) -> BeforeValidator:
    """A bare value of one of `kinds` is short for {key: value}."""

    def lengthen(value: Any) -> Any:
        return {key: value} if isinstance(value, kinds) and not isinstance(value, bool) else value

    return BeforeValidator(lengthen)


def _as_list(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]+$", max_length=64)]
Text = Annotated[str, StringConstraints(min_length=1)]
Bytes = Annotated[int, BeforeValidator(parse_bytes, json_schema_input_type=int | str), Field(ge=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
# A single string is short for a list of one.
Texts = Annotated[tuple[Text, ...], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]
Scalar = str | int | float | bool
# What stands behind an annotator's name for its edits as a step of a variant.
EDITS = "edits"


class Block(BaseModel):
    """What all blocks share."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


# -- engines ----------------------------------------------------------------------------------------------


class _Engine(Block):
    extra: dict[str, Scalar | None | Annotated[tuple[Scalar, ...], BeforeValidator(_as_list)]] = Field(
        default_factory=dict
    )
    """Further options of Beam by name, without dashes, for example {direct_runner_bundle_repeat: 1}."""


class LocalEngine(_Engine):
    """Beam's FnApiRunner on this machine."""

    kind: Literal["local"] = "local"
    workers: int = Field(default=1, ge=1, le=1024)
    """Processes; 1 runs in this process."""


class PortableEngine(_Engine):
    """Any job endpoint that speaks Beam's portable job API."""

    kind: Literal["portable"]
    job_endpoint: Text
    """host:port of the job service."""
    artifact_endpoint: Text | None = None
    """host:port of the artifact service, where it is not the one that the job service names."""
    environment_type: Literal["EXTERNAL", "LOOPBACK", "DOCKER", "PROCESS"] = "EXTERNAL"
    """Who starts the Python workers: a worker pool, this process, a container or a command."""
    environment_config: Text | None = None
    """host:port of the worker pool (EXTERNAL), image (DOCKER) or JSON (PROCESS)."""
    workers: int = Field(default=1, ge=1)
    """Python worker processes a job worker."""


class FlinkEngine(_Engine):
    """A Flink cluster, or Flink in this machine's Java with master [local]."""

    kind: Literal["flink"]
    master: Text = "[local]"
    """host:port of Flink's REST endpoint, [local] or [auto]."""
    version: Literal["1.19", "1.20", "2.0", "2.1", "2.2"] = "2.2"
    """Of the cluster."""
    job_server_jar: Text | None = None
    """beam-runners-flink-VERSION-job-server jar: a path or a URL; Beam fetches one where it is missing."""
    submit_uber_jar: bool = False
    """Post one jar to the cluster's REST endpoint instead of running a job server."""
    artifacts_dir: Text | None = None
    """Shared storage for staged files; task managers on other machines must be able to read it."""
    environment_type: Literal["EXTERNAL", "LOOPBACK", "DOCKER", "PROCESS"] | None = None
    """Must be given for a cluster; LOOPBACK for [local] and [auto]."""
    environment_config: Text | None = None
    """host:port of the worker pool beside each task manager (EXTERNAL), image (DOCKER) or JSON (PROCESS)."""
    workers: int = Field(default=1, ge=1)
    """Parallelism of the job."""


class DataflowEngine(_Engine):
    """Google Cloud Dataflow; needs gristmill[gcp]."""

    kind: Literal["dataflow"]
    project: Text
    region: Text
    temp_location: Annotated[str, StringConstraints(pattern=r"^gs://")]
    staging_location: Annotated[str, StringConstraints(pattern=r"^gs://")] | None = None
    """temp_location where it is missing."""
    sdk_container_image: Text
    """Image with Beam's SDK of this version and gristmill installed; workers install nothing."""
    machine_type: Text | None = None
    workers: int | None = Field(default=None, ge=1)
    """To start with."""
    max_workers: int | None = Field(default=None, ge=1)
    disk_size_gb: int | None = Field(default=None, ge=10)
    service_account_email: Text | None = None
    subnetwork: Text | None = None


ENGINES = ("local", "portable", "flink", "dataflow")


def _engine_kind(value: Any) -> Any:
    return value.get("kind", "local") if isinstance(value, dict) else getattr(value, "kind", None)


Engine = Annotated[
    Annotated[LocalEngine, Tag("local")]
    | Annotated[PortableEngine, Tag("portable")]
    | Annotated[FlinkEngine, Tag("flink")]
    | Annotated[DataflowEngine, Tag("dataflow")],
    Discriminator(_engine_kind),
]

# -- sources ----------------------------------------------------------------------------------------------

if TYPE_CHECKING:
    SourceKind = str
else:
    SourceKind = Literal[KINDS]


class SourceBlock(Block):
    """One kind of raw input."""

    kind: SourceKind
    input: Annotated[Texts, Field(min_length=1)]
    """Files, folders or patterns."""
    exclude: Text | Annotated[tuple[Text, ...], BeforeValidator(_as_list)] = ()
    """Patterns for the ends of names to leave out, for example vendor/*; or a file with one a line."""
    locators: Text | None = None
    """JSON or JSON Lines file (or ARCHIVE!MEMBER) of {path, url}: where files and members came from."""
    extractor: Literal["careful", "fast", "auto"] = "careful"
    """Of main text: trafilatura; resiliparse with rules of its own; or trafilatura where the latter is unsure."""
    document_kind: Text | None = None
    """Replaces the kind that the reader would choose: web, code, prose, notebook, conversation."""
    options: dict[str, Scalar | Texts] = Field(default_factory=dict)
    """What the kind's reader may be told (`pipelines.readers.FORMATS`), for example {namespaces: [0]}."""


class Limits(Block):
    """Bounds of the readers (`pipelines.readers.Limits`); what is missing has the readers' default."""

    max_item_bytes: Bytes | None = None
    max_code_bytes: Bytes | None = None
    max_ratio: Annotated[float, Field(gt=1)] | None = None
    ratio_floor_bytes: Bytes | None = None
    max_archive_bytes: Bytes | None = None
    max_members: Annotated[int, Field(ge=1)] | None = None
    max_project_file_bytes: Bytes | None = None
    careful_html_bytes: Bytes | None = None
    careful_html_tags: Annotated[int, Field(ge=1)] | None = None
    max_html_bytes: Bytes | None = None
    max_html_tags: Annotated[int, Field(ge=1)] | None = None
    max_html_depth: Annotated[int, Field(ge=1)] | None = None
    max_tag_attributes: Annotated[int, Field(ge=1)] | None = None


STAGE_KINDS = ("ingest", "annotate", "dedup", "split", "curate", "shape", "pack")


class ErrorRates(Block):
    """Share of a stage's items that may be rejected before the stage fails; a bare number is the default."""

    default: Annotated[float, Field(ge=0, le=1)] = 0.01
    ingest: Annotated[float, Field(ge=0, le=1)] | None = None
    annotate: Annotated[float, Field(ge=0, le=1)] | None = None
    dedup: Annotated[float, Field(ge=0, le=1)] | None = None
    split: Annotated[float, Field(ge=0, le=1)] | None = None
    curate: Annotated[float, Field(ge=0, le=1)] | None = None
    shape: Annotated[float, Field(ge=0, le=1)] | None = None
    pack: Annotated[float, Field(ge=0, le=1)] | None = None


ErrorRatesField = Annotated[ErrorRates, _as("default", int, float)]

# -- decisions --------------------------------------------------------------------------------------------


class KeepColumn(Block):
    """A column that decides which document of a cluster stays."""

    column: Text
    """length, a column of the documents, meta.KEY, or ANNOTATOR.COLUMN."""
    values: Texts = ()
    """The value that stays first, second, ...; documents with another one come after these."""
    order: Literal["asc", "desc"] | None = None
    """asc: the smallest value stays; without values."""


class Dedup(Block):
    """Duplicates: which method finds them, what becomes of a cluster and which document of it is kept."""

    method: Text = "minhash"
    """minhash: equal and similar texts; exact: equal texts; exact_KEY: documents with an equal key."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Least Jaccard similarity of two documents' shingles that makes them duplicates."""
    signatures: Text = "minhash@1"
    """For minhash: the annotator whose signatures say which pairs are measured, and on which shingles."""
    clusters: Literal["components", "star"] = "components"
    """components: what is connected by measured pairs; star: each dropped document is similar to the kept one."""
    guard: Literal["refuse", "report", "allow"] = "refuse"
    """Of components: what becomes of documents that are connected to the kept one but not similar to it."""
    guard_similarity: Annotated[float, Field(ge=0, le=1)] | None = None
    """What similar to the kept one means to the guard; twice the threshold less 1 where it is missing."""
    keep: Text | Annotated[tuple[Text | KeepColumn, ...], BeforeValidator(_as_list), Field(min_length=1)] = "longest"
    """longest, smallest_id, stack_v2, c4_url, or columns in order, for example [meta.stars desc]; ties by id."""

    @property
    def arguments(self) -> dict[str, Any]:
        """As `find_duplicates.FindDuplicates` takes them."""
        keep: Any = self.keep
        if not isinstance(keep, str):
            keep = [
                key if isinstance(key, str) else key.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
                for key in keep
            ]
        return {
            "method": self.method,
            "threshold": self.threshold,
            "annotator": self.signatures,
            "clusters": self.clusters,
            "guard": self.guard,
            "guard_similarity": self.guard_similarity,
            "keep": keep,
        }


class Pii(Block):
    """Personal data."""

    policy: Text = "default"
    """A policy's name, or a YAML file."""


# As in `licenses.CLASSES`.
LicenseClass = Literal[
    "public_domain",
    "permissive",
    "copyleft_weak",
    "copyleft_strong",
    "no_license",
    "non_commercial",
    "unknown",
    "proprietary",
]


class License(Block):
    """What the rule `license` lets pass."""

    allowed: Annotated[tuple[LicenseClass, ...], BeforeValidator(_as_list), Field(min_length=1)] = (
        "permissive",
        "public_domain",
    )
    """Licence classes."""


Grouping = Literal["host", "repo", "directory", "cluster", "document"]
# Pages of one site share templates and files of one repository share code, so they are held out together.
GROUPINGS: Mapping[str, Grouping] = {kind: form.group for kind, form in FORMATS.items()}
EVERY_SOURCE = "*"


class HeldOut(Block):
    """Documents kept from every variant for judging; a bare number is the fraction."""

    fraction: OpenFraction = 0.05
    """Expected share of groups."""
    seed: int = Field(default=0, ge=0)
    by: Annotated[dict[str, Grouping], _as(EVERY_SOURCE, str)] = Field(default_factory=dict)
    """Source -> what is held out as a whole; '*' or a bare word is for every other source."""


HeldOutField = Annotated[HeldOut, _as("fraction", int, float)]


def _as_annotator(value: Any) -> Any:
    """NAME is short for {name: NAME}, and NAME+EDITOR for {name: NAME, after: EDITOR}."""
    if not isinstance(value, str):
        return value
    name, plus, editor = value.partition("+")
    return {"name": name, "after": [editor]} if plus else {"name": name}


class AnnotatorSpec(Block):
    """An annotator with all that makes it: options, a model, edits before it.  A bare string is its name."""

    name: Text
    """With or without its version; or a family that runs a model: classifier, dsir, perplexity, proxy, ..."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Of the annotator, by name."""
    model: Text | None = None
    """File of a fitted model, for a family that runs one; its hash becomes part of the name."""
    after: Texts = ()
    """Annotators of this recipe whose edits are applied to the text first, in order."""
    as_: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.@+-]*$", max_length=200)] | None = Field(
        default=None, alias="as"
    )
    """Name of the folder and in rules; needed with options that make it another annotator than its name says."""

    @property
    def written(self) -> str:
        """The name under which it writes."""
        return self.as_ or self.name

    def short(self) -> str | dict[str, Any]:
        """As a recipe would say it."""
        values = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return self.name if list(values) == ["name"] else values


Annotators = Annotated[
    tuple[Annotated[AnnotatorSpec, BeforeValidator(_as_annotator, json_schema_input_type=str | AnnotatorSpec)], ...],
    BeforeValidator(_as_list),
]


class PresetUse(BaseModel):
    """A preset by name, and what it needs: {name: dclm, classifier: models/x.zip}.  A bare string is the name."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, use_attribute_docstrings=True)

    name: Text
    """With or without its version; without it the first version is meant."""
    without: Texts = ()
    """Needs of the preset that are not met; the steps that ask for them are left out."""

    @property
    def given(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Step(Block):
    """One step of a variant: a rule's name, a column and the range that passes, edits to apply, or a preset.

    A bare string is short for {rule: string}.
    """

    rule: Text | None = None
    """A rule family, or dedup, license."""
    column: Text | None = None
    """ANNOTATOR/COLUMN of a number or a word."""
    edit: Text | None = None
    """An annotator whose edits are applied to the text; a document without text after it is dropped."""
    preset: Annotated[PresetUse, _as("name", str)] | None = None
    """Published steps, with their annotators."""
    min: float | None = None
    """Least value that passes."""
    max: float | None = None
    """Greatest value that passes."""
    any_of: Texts = ()
    """For a column of words, for example language@1/language: the words that pass."""
    of_lines: Literal["mean"] | None = None
    """For a column with a value a line: the mean over the lines is what must lie in the range."""
    sources: Texts = ()
    """Sources whose documents the step looks at; those of others pass.  All where it is missing."""
    allow_empty: bool = False
    """A step that drops or changes no document is an error unless this is true."""
    of_preset: Text | None = None
    """The preset that the step comes from; written by resolved recipes.  One of its steps must drop something."""

    @property
    def name(self) -> str:
        """What the waterfall calls the step."""
        return f"{self.edit}/{EDITS}" if self.edit else self.rule or self.column or ""

    def __str__(self) -> str:
        if self.preset is not None:
            return f"preset {self.preset.name}"
        if self.edit is not None:
            return f"edit {self.edit}"
        if self.column is None:
            return self.name
        if self.any_of:
            return f"{self.column} in {', '.join(self.any_of)}"
        column = f"{self.of_lines}({self.column})" if self.of_lines else self.column
        low = "" if self.min is None else f"{self.min:g} <= "
        high = "" if self.max is None else f" <= {self.max:g}"
        return f"{low}{column}{high}"


Steps = Annotated[tuple[Annotated[Step, _as("rule", str)], ...], BeforeValidator(_as_list)]


def _as_shape(value: Any) -> Any:
    """A name, or a list of them, is short for {by: {'*': names}}, and {KIND: names} for {by: {KIND: names}}."""
    if isinstance(value, str | list | tuple):
        return {"by": {EVERY_SOURCE: value}}
    return {"by": value} if isinstance(value, dict) and "by" not in value else value


class Shape(Block):
    """Documents that belong together (a repository, a thread) become one, in a shape that a model was trained on."""

    by: Annotated[dict[str, Texts], Field(min_length=1)]
    """Source or kind of documents -> shapes, of which the first that has a use for a document takes it; '*' is for
    every other document.  What nothing is said of stays as it is."""
    seed: int = Field(default=0, ge=0)
    """Of the choices that a shape leaves to chance."""
    max_group_bytes: Bytes = 32 << 20
    """Text of documents that belong together beyond which they are cut in pieces."""


class FimBlock(Block):
    """Fill-in-the-middle before packing; a bare number is the rate."""

    rate: Annotated[float, Field(ge=0, le=1)]
    """Chance of a document."""
    spm_rate: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the permuted that begin with the suffix."""
    variant: Literal["spm", "spm2"] = "spm2"
    """How these are written."""
    level: Literal["document", "file_sep"] = "document"
    """What is permuted: documents, or the files between <file_sep> marks."""
    file_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of level file_sep: chance of a file in a document that has been chosen; the rate where it is missing."""
    sources: Texts = ()
    """Sources or kinds that are permuted.  All where it is missing."""


class Pack(Block):
    """Samples of a fixed number of tokens from a variant's training documents; a bare number is the length."""

    length: Annotated[int, Field(ge=2, le=1 << 24)]
    """Tokens of a sample."""
    tokenizer: Text = "bytes"
    """bytes, or a tokenizer.json of Hugging Face's `tokenizers`."""
    strategy: Literal["concatenate", "best_fit"] = "best_fit"
    """best_fit: no document is cut that fits into a sample; concatenate: documents end to end, cut by length."""
    seed: int = Field(default=0, ge=0)
    """Of the order, of what weights leave to chance and of fill-in-the-middle."""
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Source or kind ('*': any other) -> how often each of its documents appears; 1 where it is missing."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """No document appears more often, whatever its weight."""
    fim: Annotated[FimBlock, _as("rate", int, float)] | None = None
    specials: bool | None = None
    """Whether what is spelt as a special token in a text becomes one; of shaped documents it does."""


def _as_variant(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return {"steps": value}
    return {"steps": (value,)} if isinstance(value, dict) and "preset" in value else value


class Variant(Block):
    """A corpus as a list of rules, in order; or one that drops as many documents as another, at random.

    A bare list is short for {steps: list}, and {preset: NAME} for a list of that one step.
    """

    steps: Steps = ()
    random_like: Text | None = None
    """The variant whose keep rate is copied, source by source."""
    shape: Annotated[Shape, BeforeValidator(_as_shape)] | None = None
    """Shapes of the documents, for shaped/<variant>."""
    pack: Annotated[Pack, _as("length", int)] | None = None
    """Samples of tokens, for packed/<variant>: of what was shaped, else of the variant."""

    @property
    def allow_empty(self) -> frozenset[str]:
        """Names of the rules that may drop nothing."""
        return frozenset(step.name for step in self.steps if step.allow_empty)

    def describe(self) -> list[str]:
        """The steps as words for a person."""
        told = [f"random_like {self.random_like}"] if self.random_like else [str(step) for step in self.steps]
        if self.shape is not None:
            told.append("shape " + ", ".join(f"{by}: {'/'.join(names)}" for by, names in self.shape.by.items()))
        if self.pack is not None:
            told.append(f"pack {self.pack.length:,} tokens")
        return told


VariantField = Annotated[Variant, BeforeValidator(_as_variant)]


class Study(Block):
    """Which proxies judge the variants, how often and on how many bytes."""

    baseline: Text
    """The variant that the others are measured against."""
    proxies: Annotated[Texts, Field(min_length=1)] = ("mamba-tiny",)
    seeds: int = Field(default=3, ge=1, le=1000)
    """Paired runs of every variant and proxy."""
    budget_bytes: Bytes = 4_000_000
    """Bytes of text that a run is trained on, the same for all."""
    held_out: HeldOutField | None = None
    """The same as the recipe's held_out; give one of the two."""
    margin_bits_per_byte: Annotated[float, Field(gt=0)] = 0.01
    """Differences inside the margin are called equivalent."""
    alpha: OpenFraction = 0.05
    """Chance of a false claim, over all variants together."""
    power: OpenFraction = 0.8
    """Chance at which the least detectable effect is stated."""
    jobs: Annotated[int, Field(ge=1)] | None = None
    """Runs at the same time."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads of a run."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    keep_checkpoints: bool = False
    """Whether the trained weights stay in runs/, so that documents can be scored by them (`proxy=runs/<id>`)."""
    mix: dict[str, Annotated[float, Field(ge=0)]] | None = None
    """Source -> weight of its bytes in training; the corpus as it is where it is missing."""
