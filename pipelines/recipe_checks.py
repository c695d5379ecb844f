"""Checks of a recipe: what its blocks say wrong, with the place; and whether they fit together."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from pydantic import BaseModel, Tag

from pipelines.recipe_errors import Path, Problem, dotted, listed, nearest, shown
from pipelines.recipe_models import (
    ENGINES,
    EVERY_SOURCE,
    DataflowEngine,
    FlinkEngine,
    HeldOut,
    PortableEngine,
    Step,
    Study,
)
from pipelines.recipe_yaml import Document

if TYPE_CHECKING:
    from pipelines.recipe import Recipe

# Rules that are not an annotator's verdict, and what each needs to be in the recipe.
DECISIONS = ("dedup", "license", "opt_out")
# Annotators that measure and have no verdict, and what to write in a variant instead.
NO_VERDICT = {
    "language": "a column condition on it",
    "rpv2": "a column condition, for example {column: rpv2@1/rps_doc_word_count, min: 50}",
    "minhash": "the rule dedup",
    "license": "the rule license",
    "pii": "the recipe's pii block: personal data is redacted in every variant",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """The names that exist outside a recipe."""

    annotators: tuple[str, ...]
    proxies: tuple[str, ...]
    columns: Callable[[str, bool], Collection[str] | None]
    """Annotator, whether numbers (else words) -> its columns for a condition, None where they are not known."""

    def full_names(self, name: str) -> list[str]:
        """['rpv2@1'] for 'rpv2@1' and for 'rpv2'; several where a short name is not enough; else none.

        Of several, our own version (`minhash@1`) has the short name, not another tool's (`minhash@rpv2`).
        """
        for own in (name, f"{name}@1"):
            if own in self.annotators:
                return [own]
        return [known for known in self.annotators if known.partition("@")[0] == name]


# -- pydantic's errors, with places ------------------------------------------------------------------------

# Words for the types that a value should have.
_EXPECTED = {
    "string_type": "expected a string",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "dict_type": "expected a mapping",
    "tuple_type": "expected a list",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}
# Blocks that have a short form, and what it is.
_SHORT_FORMS = {
    "Step": "a rule's name or ",
    "Variant": "a list of rules or ",
    "HeldOut": "a number or ",
    "ErrorRates": "a number or ",
}


def problem_of(model: type[BaseModel], document: Document, error: Any) -> Problem:
    """One of pydantic's errors about `model`, in words and with its place."""
    kind, context, value = error["type"], error.get("ctx", {}), error["input"]
    path = _path_in(document.data, error["loc"], missing=kind == "missing")
    names = list(_fields_at(model, error["loc"]))
    where = dotted(path)
    if kind == "extra_forbidden":
        word = str(path[-1])
        return Problem(
            document.mark(path, of_key=True),
            where,
            "unknown key",
            repr(word),
            listed(names),
            nearest(word, names),
        )
    if kind == "missing":
        return Problem(document.mark(path[:-1], of_key=True), where, "is missing and must be given")
    if kind == "union_tag_invalid":
        path = (*path, "kind")
        tag = str(context["tag"])
        return Problem(
            document.mark(path),
            dotted(path),
            "unknown engine",
            repr(tag),
            listed(ENGINES),
            nearest(tag, ENGINES),
        )
    if kind == "union_tag_not_found":
        return Problem(document.mark(path), where, "expected a mapping", shown(value))
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        message = "is not one of the allowed words"
        return Problem(
            document.mark(path), where, message, shown(value), listed(allowed), nearest(value, allowed)
        )
    if kind == "string_pattern_mismatch":
        of_key = error["loc"][-1] == "[key]"
        message = (
            "must start with gs://"
            if "gs:" in context["pattern"]
            else ("a name has only the characters a-z, 0-9, _ and -")
        )
        return Problem(document.mark(path, of_key=of_key), where, message, shown(value))
    if kind == "value_error":
        message, _, allowed_text = str(context["error"]).partition("; allowed: ")
        return Problem(document.mark(path), where, message, shown(value), allowed_text or None)
    if kind == "model_type":
        message = f"expected {_SHORT_FORMS.get(context['class_name'], '')}a mapping"
    else:
        message = _EXPECTED.get(kind) or error["msg"].replace("Input should be", "must be")
    return Problem(document.mark(path), where, message, shown(value))


def _path_in(data: Any, location: Sequence[str | int], *, missing: bool) -> Path:
    """pydantic's location without what is not in the data: tags of unions, keys that a short form spares."""
    path: list[str | int] = []
    for position, part in enumerate(location):
        inside = (isinstance(data, dict) and part in data) or (
            isinstance(data, list) and isinstance(part, int)
        )
        if inside:
            path.append(part)
            data = data[part]  # type: ignore[index]
        elif missing and position == len(location) - 1:
            path.append(part)
    return tuple(path)


def _fields_at(annotation: Any, location: Sequence[str | int]) -> Collection[str]:
    """Names of the fields of the model in which the last part of `location` stands."""
    if get_origin(annotation) is Annotated:
        return _fields_at(get_args(annotation)[0], location)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if len(location) <= 1 or location[0] not in annotation.model_fields:
            return annotation.model_fields
        return _fields_at(annotation.model_fields[str(location[0])].annotation, location[1:])
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        return _fields_at(arguments[1], location[1:])
    if get_origin(annotation) is tuple:
        return _fields_at(arguments[0], location[1:])
    for member in arguments:
        tags = [m.tag for m in getattr(member, "__metadata__", ()) if isinstance(m, Tag)]
        if tags and location and tags[0] == location[0]:
            return _fields_at(member, location[1:])
    members = [member for member in arguments if member is not type(None)]
    return _fields_at(members[0], location) if len(members) == 1 else ()


# -- what no single block can know -------------------------------------------------------------------------


@dataclasses.dataclass
class Resolution:
    """Checks that the blocks fit together, and writes names in full."""

    document: Document
    recipe: Recipe
    known: Known
    problems: list[Problem] = dataclasses.field(default_factory=list)

    def report(self, path: Path, message: str, *, of_key: bool = False, **more: str | None) -> None:
        self.problems.append(Problem(self.document.mark(path, of_key=of_key), dotted(path), message, **more))

    def resolve(self) -> Recipe:
        recipe = self.recipe
        annotators = self._annotators()
        variants = {}
        for name, variant in recipe.variants.items():
            at: Path = ("variants", name)
            if not isinstance(self.document.data["variants"][name], list):
                at = (*at, "steps")
            steps = [self._step((*at, i), step, annotators) for i, step in enumerate(variant.steps)]
            variants[name] = variant.model_copy(update={"steps": tuple(steps)})
        self._engine()
        scope = [self._step(("scope", i), step, annotators) for i, step in enumerate(recipe.scope)]
        self._nulls()
        self._blocks(annotators)
        updates: dict[str, Any] = {
            "annotators": annotators,
            "variants": variants,
            "scope": tuple(scope),
            "held_out": self._held_out(),
        }
        if recipe.study is not None:
            self._study(recipe.study)
            updates["study"] = recipe.study.model_copy(update={"held_out": None})
        return recipe.model_copy(update=updates)

    def _full_name(self, path: Path, name: str, what: str) -> str | None:
        """The full name of an annotator; reports a name that is unknown or stands for several."""
        full = self.known.full_names(name)
        if len(full) == 1:
            return full[0]
        if full:
            self.report(path, f"{what} {name!r} stands for several: write one in full", allowed=listed(full))
        else:
            names = self.known.annotators
            self.report(
                path,
                f"unknown {what}",
                found=repr(name),
                allowed=listed(names),
                suggestion=nearest(name, names),
            )
        return None

    def _annotators(self) -> tuple[str, ...]:
        full_names: list[str] = []
        for index, name in enumerate(self.recipe.annotators):
            full = self._full_name(("annotators", index), name, "annotator")
            if full in full_names:
                self.report(("annotators", index), f"{full} is listed twice")
            elif full is not None:
                full_names.append(full)
        return tuple(full_names)

    def _step(self, path: Path, step: Step, annotators: Collection[str]) -> Step:
        for source in step.sources:
            if source not in self.recipe.sources:
                self._unknown((*path, "sources"), "unknown source", source, self.recipe.sources)
        if (step.rule is None) == (step.column is None):
            self.report(path, "a step has either rule or column", found="both" if step.rule else "neither")
            return step
        if step.column is not None:
            return self._column(path, step, annotators)
        if step.min is not None or step.max is not None or step.any_of:
            self.report(path, f"min, max and any_of belong to a column, not to the rule {step.rule!r}")
        at = (*path, "rule") if (*path, "rule") in self.document.values else path
        assert step.rule is not None
        if step.rule in DECISIONS:
            self._decision(at, step.rule, annotators)
            return step
        base = step.rule.partition("@")[0]
        if base in NO_VERDICT:
            self.report(at, f"{step.rule!r} measures and has no verdict of its own: use {NO_VERDICT[base]}")
            return step
        if not self.known.full_names(step.rule):
            rules = [n for n in self.known.annotators if n.partition("@")[0] not in NO_VERDICT] + [*DECISIONS]
            suggestion = nearest(step.rule, rules)
            self.report(
                at, "unknown rule", found=repr(step.rule), allowed=listed(rules), suggestion=suggestion
            )
            return step
        full = self._full_name(at, step.rule, "rule")
        if full is None:
            return step
        self._listed(at, full, annotators)
        return step.model_copy(update={"rule": full})

    def _listed(self, path: Path, annotator: str, annotators: Collection[str]) -> None:
        if annotator not in annotators:
            self.report(
                path, f"needs the annotator {annotator}: add it to annotators", allowed=listed(annotators)
            )

    def _decision(self, path: Path, rule: str, annotators: Collection[str]) -> None:
        match rule:
            case "dedup" if self.recipe.dedup is None:
                self.report(path, "the rule dedup needs a dedup block in the recipe")
            case "opt_out" if not self.recipe.opt_out:
                self.report(
                    path, "the rule opt_out needs the key opt_out in the recipe: a file of what to leave out"
                )
            case "license":
                for full in self.known.full_names("license")[:1]:
                    self._listed(path, full, annotators)

    def _column(self, path: Path, step: Step, annotators: Collection[str]) -> Step:
        at = (*path, "column")
        assert step.column is not None
        name, slash, column = step.column.partition("/")
        if not (name and slash and column):
            self.report(
                at,
                "a column is ANNOTATOR/COLUMN, for example rpv2@1/rps_doc_word_count",
                found=repr(step.column),
            )
            return step
        numeric = step.min is not None or step.max is not None
        if numeric == bool(step.any_of):
            self.report(path, "a column condition needs min, max or both for a number, any_of for words")
        elif step.min is not None and step.max is not None and step.min > step.max:
            self.report(path, f"min {step.min:g} is greater than max {step.max:g}: nothing passes")
        full = self._full_name(at, name, "annotator")
        if full is None:
            return step
        self._listed(at, full, annotators)
        columns = self.known.columns(full, not step.any_of)
        if columns is not None and column not in columns:
            suggestion = nearest(column, columns)
            self.report(
                at,
                f"{full} has no {'words' if step.any_of else 'number'} of this name",
                found=repr(column),
                allowed=listed(sorted(columns)),
                suggestion=None if suggestion is None else f"{full}/{suggestion}",
            )
        return step.model_copy(update={"column": f"{full}/{column}"})

    def _nulls(self) -> None:
        variants = self.recipe.variants
        for name, variant in variants.items():
            like, path = variant.random_like, ("variants", name, "random_like")
            if like is None:
                continue
            if variant.steps:
                self.report(path, "a variant has either steps or random_like, not both")
            if like not in variants:
                self._unknown(path, "unknown variant", like, variants)
            elif like == name or variants[like].random_like is not None:
                real = [n for n, v in variants.items() if v.random_like is None]
                self.report(
                    path,
                    "must name a variant that is not random itself",
                    found=repr(like),
                    allowed=listed(real),
                )

    def _unknown(
        self, path: Path, message: str, word: str, names: Collection[str], *, of_key: bool = False
    ) -> None:
        self.report(
            path,
            message,
            of_key=of_key,
            found=repr(word),
            allowed=listed(names),
            suggestion=nearest(word, names),
        )

    def _blocks(self, annotators: Collection[str]) -> None:
        recipe = self.recipe
        # Without variants the pii block serves `redact`, which finds and replaces in one pass.
        pii_annotated = recipe.pii is not None and bool(recipe.variants)
        for block, base, given in (
            ("dedup", "minhash", recipe.dedup is not None),
            ("pii", "pii", pii_annotated),
        ):
            full = self.known.full_names(base)
            if given and full and not set(full) & set(annotators):
                self.report((block,), f"needs the annotator {full[0]}: add it to annotators", of_key=True)

    def _engine(self) -> None:
        engine = self.recipe.engine
        match engine:
            case PortableEngine():
                environment: str | None = engine.environment_type
            case FlinkEngine(master="[local]" | "[auto]", environment_type=None):
                environment = "LOOPBACK"
            case FlinkEngine():
                environment = engine.environment_type
                if environment is None:
                    message = "a cluster needs environment_type: who starts the Python workers"
                    self.report(("engine", "environment_type"), message, allowed="EXTERNAL, DOCKER, PROCESS")
                    return
            case DataflowEngine():
                if engine.workers is not None and (engine.max_workers or engine.workers) < engine.workers:
                    self.report(("engine", "max_workers"), f"is less than workers ({engine.workers})")
                return
            case _:
                return
        if environment != "LOOPBACK" and engine.environment_config is None:
            forms = {"EXTERNAL": "host:port of a worker pool", "DOCKER": "an image", "PROCESS": "JSON"}
            what = forms[environment or "EXTERNAL"]
            self.report(("engine", "environment_config"), f"environment_type {environment} needs {what}")

    def _held_out(self) -> HeldOut:
        study = self.recipe.study
        of_study = None if study is None else study.held_out
        if of_study is not None and "held_out" in self.document.data:
            self.report(
                ("study", "held_out"), "held_out is given twice; keep the one at the top", of_key=True
            )
        held_out = of_study or self.recipe.held_out
        top: Path = ("held_out",) if of_study is None else ("study", "held_out")
        for source in held_out.by:
            if source not in self.recipe.sources and source != EVERY_SOURCE:
                self._unknown(
                    (*top, "by", source), "unknown source", source, self.recipe.sources, of_key=True
                )
        return held_out

    def _study(self, study: Study) -> None:
        variants = self.recipe.variants
        if not variants:
            self.report(("study",), "a study needs variants", of_key=True)
        elif study.baseline not in variants:
            self._unknown(("study", "baseline"), "unknown variant", study.baseline, variants)
        elif variants[study.baseline].random_like is not None:
            self.report(
                ("study", "baseline"), "must not be a random_like variant", found=repr(study.baseline)
            )
        for index, proxy in enumerate(study.proxies):
            path: Path = ("study", "proxies", index)
            if proxy not in self.known.proxies:
                self._unknown(path, "unknown proxy", proxy, self.known.proxies)
            elif proxy in study.proxies[:index]:
                self.report(path, f"{proxy} is listed twice")
        for source in study.mix or {}:
            if source not in self.recipe.sources:
                self._unknown(
                    ("study", "mix", source), "unknown source", source, self.recipe.sources, of_key=True
                )
