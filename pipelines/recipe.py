"""Recipes: what a run does, as one YAML file; checked as a whole before any work.

Heavy packages stay out: the names of annotators and proxies are arguments, with the standard ones as default.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import Field, ValidationError

from pipelines.errors import UsageError
from pipelines.recipe_annotators import Known
from pipelines.recipe_checks import NO_VERDICT, Resolution
from pipelines.recipe_errors import Mark, Problem, RecipeError, listed
from pipelines.recipe_models import (
    EVERY_SOURCE,
    GROUPINGS,
    STAGE_KINDS,
    Annotators,
    AnnotatorSpec,
    Block,
    Bytes,
    Dedup,
    Engine,
    ErrorRates,
    ErrorRatesField,
    HeldOut,
    HeldOutField,
    License,
    Limits,
    LocalEngine,
    Name,
    Pii,
    SourceBlock,
    Steps,
    Study,
    Texts,
    VariantField,
)
from pipelines.recipe_problems import problem_of
from pipelines.recipe_yaml import Document, apply_overrides, parse_yaml, read_yaml

if TYPE_CHECKING:
    from pii.policy import Policy
    from pipelines import readers

STANDARD_ANNOTATORS = (
    "language@1",
    "rpv2@1",
    "gopher@datatrove",
    "gopher_repetition@datatrove",
    "code_stats@1",
    "minhash@1",
    "pii@1",
    "license@1",
)
STANDARD_PROXIES = (
    "mamba-tiny", "starcoder-tiny", "mamba2-tiny", "mamba-small", "starcoder-small", "mamba2-small", "mamba-10m",
    "starcoder-10m", "mamba2-10m",
)  # fmt: skip


class Recipe(Block):
    """One run, from raw input to the verdict on its variants."""

    name: Name
    output: str = Field(default_factory=lambda data: f"out/{data.get('name', 'recipe')}", min_length=1)
    """Folder, or a path on a file system that Beam knows; out/NAME where it is missing."""
    engine: Engine = LocalEngine()
    sources: Annotated[dict[Name, SourceBlock], Field(min_length=1)]
    annotators: Annotators = ()
    """Names with or without their version, or {name, options, model, after, as}, in the order in which they run."""
    dedup: Dedup | None = None
    pii: Pii | None = None
    """Redaction; without it no text is changed."""
    license: License = License()
    opt_out: Texts = ()
    """Lists (YAML or CSV) of what must be in no variant and not among the held-out documents."""
    scope: Steps = ()
    """What the corpus is meant to hold: what fails is in no variant and not among the held-out documents."""
    held_out: HeldOutField = HeldOut()
    variants: dict[Name, VariantField] = Field(default_factory=dict)
    study: Study | None = None
    limits: Limits = Limits()
    max_error_rate: ErrorRatesField = ErrorRates()
    shard_bytes: Bytes = 256_000_000
    """Compressed size that a corpus shard aims at."""

    @property
    def annotator_names(self) -> tuple[str, ...]:
        """The names under which the annotators write, editors before what sees their edits."""
        return tuple(spec.written for spec in self.annotators)

    @property
    def specs(self) -> dict[str, AnnotatorSpec]:
        return {spec.written: spec for spec in self.annotators}

    def error_rate(self, stage: str) -> float:
        """The share of items that may be rejected in `stage`: 'ingest', 'annotate/rpv2@1', ..."""
        kind = stage.partition("/")[0]
        if kind not in STAGE_KINDS:
            raise ValueError(f"stage {stage!r} is unknown; known: {listed(STAGE_KINDS)}")
        rate = getattr(self.max_error_rate, kind)
        return self.max_error_rate.default if rate is None else rate

    def held_out_grouping(self, source: str) -> str:
        """What is held out as a whole in `source`: host, repo, directory, cluster or document."""
        by = self.held_out.by
        return by.get(source) or by.get(EVERY_SOURCE) or GROUPINGS[self.sources[source].kind]

    def reader_limits(self) -> readers.Limits:
        from pipelines.readers import Limits as ReaderLimits

        return ReaderLimits(**self.limits.model_dump(exclude_none=True))

    def source(self, name: str) -> readers.Source:
        """The source as the readers take it."""
        from pipelines.readers import Source

        block = self.sources[name]
        return Source(
            name,
            block.kind,
            block.input,
            exclude=_patterns(block.exclude, f"sources.{name}.exclude"),
            locators=block.locators,
            limits=self.reader_limits(),
            document_kind=block.document_kind,
            extractor=block.extractor,
            options=tuple(sorted(block.options.items())),
        )

    def check_files(self) -> None:
        """Raises UsageError where a file, a shape or a tokeniser that the recipe names is missing or unusable; reads
        no input."""
        self.pii_policy()
        named = [("opt_out", path) for path in self.opt_out]
        for name, block in self.sources.items():
            _patterns(block.exclude, f"sources.{name}.exclude")
            if block.locators is not None:
                named.append((f"sources.{name}.locators", block.locators.partition("!")[0]))
            for option in ("contents", "clones"):
                folder = block.options.get(option)
                if isinstance(folder, str) and "://" not in folder and not FilePath(folder).is_dir():
                    raise UsageError(f"sources.{name}.options.{option}: {folder}: no such folder")
        for name, variant in self.variants.items():
            if variant.pack is not None and variant.pack.tokenizer != "bytes":
                named.append((f"variants.{name}.pack.tokenizer", variant.pack.tokenizer))
        for key, path in named:
            if "://" not in path and not FilePath(path).is_file():
                raise UsageError(f"{key}: {path}: no such file")
        if any(variant.shape is not None or variant.pack is not None for variant in self.variants.values()):
            from pipelines.last_stages import check_variants  # brings Beam

            check_variants(self)

    def for_plain_files(self, variant: str, output: str, sources: Mapping[str, Any]) -> dict[str, Any]:
        """This recipe for one variant and other sources, as values for `recipe_of`; it has no study.

        Steps that look at some sources only look at all of the given ones: the names are not the recipe's.
        A rule may find nothing to drop in a few files.
        """
        values = self.resolved()
        chosen = self.variants[variant]
        real = chosen if chosen.random_like is None else self.variants[chosen.random_like]
        steps = (*self.scope, *real.steps)
        asked = {step.column.partition("/")[0] if step.column else step.edit or step.rule for step in steps}
        asked |= {name for name in self.specs if name.partition("@")[0] in (*NO_VERDICT, "code_stats")} - {"rpv2@1"}
        needed = self._with_what_they_read({"dedup", *(self.specs.keys() & asked)})
        values["annotators"] = [spec.short() for name, spec in self.specs.items() if name in needed]
        kept = (variant, chosen.random_like)
        values["variants"] = {name: value for name, value in values["variants"].items() if name in kept}
        for value in values["variants"].values():
            value.pop("shape", None), value.pop("pack", None)
        for steps_of in (values["scope"], *(each["steps"] for each in values["variants"].values())):
            for step in steps_of:
                step.pop("sources", None)
                step["allow_empty"] = True
        values["held_out"]["by"] = {k: v for k, v in self.held_out.by.items() if k == EVERY_SOURCE}
        values.pop("study", None)
        values["engine"] = self.engine.model_dump(mode="json", exclude_none=True)
        return {**values, "output": output, "sources": dict(sources)}

    def _with_what_they_read(self, names: Collection[str]) -> set[str]:
        """Those annotators (and dedup), what they come after, and all whose columns they read."""
        waiting, found = set(names), set[str]()
        while waiting:
            name = waiting.pop()
            found.add(name)
            waiting |= {*self._reads(name)} - found
        return found

    def _reads(self, name: str) -> Collection[str]:
        if name == "dedup":
            from pipelines.find_duplicates import FindDuplicates  # brings Beam

            return () if self.dedup is None else FindDuplicates("", 0, **self.dedup.arguments).annotations
        from pipelines.annotators import OfCorpus, build_annotators, factories, of_corpus

        spec = self.specs[name]
        own = build_annotators([spec])[name] if of_corpus(factories()[spec.name]) else None
        return (*spec.after, *(own.needs if isinstance(own, OfCorpus) else ()))

    def pii_policy(self) -> Policy | None:
        """The redaction policy, None where the recipe has none.  Raises RecipeError for an unusable one."""
        if self.pii is None:
            return None
        from pii.policy import PolicyError, load_policy

        try:
            return load_policy(self.pii.policy)
        except PolicyError as error:
            raise RecipeError([Problem(Mark("recipe"), "pii.policy", str(error))]) from None

    def resolved(self) -> dict[str, Any]:
        """What determines the data, defaults spelt out: all but engine, output and degree of parallelism."""
        values = self.model_dump(mode="json", exclude={"engine", "output"}, exclude_none=True)
        values["annotators"] = [spec.short() for spec in self.annotators]
        for how in ("jobs", "threads"):
            values.get("study", {}).pop(how, None)
        return values

    def resolved_yaml(self) -> str:
        """`resolved` as YAML that `load_recipe` reads: the recipe.yaml of an output."""
        return yaml.safe_dump(self.resolved(), sort_keys=False, allow_unicode=True, width=100)


def recipe_schema() -> dict[str, Any]:
    """JSON Schema of a recipe, for completion in editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}


def _patterns(exclude: str | tuple[str, ...], key: str) -> tuple[str, ...]:
    """The patterns of a source; a file has one a line, and comments after '#'.  Raises UsageError."""
    if not isinstance(exclude, str):
        return exclude
    try:
        lines = FilePath(exclude).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        hint = "; a pattern of names is written as a list: [vendor/*]" if "*" in exclude else ""
        raise UsageError(f"{key}: {exclude}: cannot be read: {error}{hint}") from None
    patterns = (line.partition("#")[0].strip() for line in lines)
    return tuple(pattern for pattern in patterns if pattern)


def load_recipe(
    path: str,
    overrides: Sequence[str] = (),
    *,
    annotators: Collection[str] = STANDARD_ANNOTATORS,
    proxies: Collection[str] = STANDARD_PROXIES,
) -> Recipe:
    """The checked recipe of a YAML file, names in full.

    overrides: KEY.PATH=VALUE arguments, applied in order.  annotators, proxies: the names that exist; where
    annotators maps names to factories, options, models and the columns of conditions are checked too.
    Raises RecipeError with all problems that were found.
    """
    document = read_yaml(path)
    apply_overrides(document, overrides)
    return _checked(document, _known(annotators, proxies))


def parse_recipe(
    text: str,
    file: str = "recipe",
    overrides: Sequence[str] = (),
    *,
    annotators: Collection[str] = STANDARD_ANNOTATORS,
    proxies: Collection[str] = STANDARD_PROXIES,
) -> Recipe:
    """As `load_recipe`, from text; `file` names it in errors."""
    document = parse_yaml(text, file)
    apply_overrides(document, overrides)
    return _checked(document, _known(annotators, proxies))


def recipe_of(
    values: Mapping[str, Any],
    *,
    annotators: Collection[str] = STANDARD_ANNOTATORS,
    proxies: Collection[str] = STANDARD_PROXIES,
) -> Recipe:
    """As `load_recipe`, from plain values; errors name the key and no line."""
    document = Document("the call", dict(values), {}, {})
    return _checked(document, _known(annotators, proxies))


def _known(annotators: Collection[str], proxies: Collection[str]) -> Known:
    return Known(tuple(annotators), tuple(proxies), annotators if isinstance(annotators, Mapping) else None)


def _checked(document: Document, known: Known) -> Recipe:
    try:
        recipe = Recipe.model_validate(document.data)
    except ValidationError as error:
        # A default that is made from other values is not made while those are wrong: no problem of its own.
        errors = [each for each in error.errors() if each["type"] != "default_factory_not_called"]
        raise RecipeError([problem_of(Recipe, document, each) for each in errors]) from None
    resolution = Resolution(document, recipe, known)
    resolved = resolution.resolve()
    if resolution.problems:
        raise RecipeError(resolution.problems)
    return resolved
