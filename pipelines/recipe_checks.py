"""Checks of a recipe as a whole: whether its blocks fit together, and names in full."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from pipelines.readers.formats import FORMATS
from pipelines.recipe_annotators import DECISIONS, AnnotatorList, Entry, Known
from pipelines.recipe_errors import Path, Problem, dotted, listed, nearest
from pipelines.recipe_models import (
    EVERY_SOURCE,
    DataflowEngine,
    Dedup,
    FlinkEngine,
    HeldOut,
    PortableEngine,
    Shape,
    Step,
    Study,
    Variant,
)
from pipelines.recipe_presets import Used, expanded_steps, used_preset
from pipelines.recipe_words import kinds_of, words_of
from pipelines.recipe_yaml import Document

if TYPE_CHECKING:
    from pipelines.recipe import Recipe

# Annotators that measure and have no verdict, and what to write in a variant instead.
NO_VERDICT = {
    "language": "a column condition on it",
    "rpv2": "a column condition, for example {column: rpv2@1/rps_doc_word_count, min: 50}",
    "minhash": "the rule dedup",
    "license": "the rule license",
    "pii": "the recipe's pii block: personal data is redacted in every variant",
}
_OF_A_COLUMN = ("min", "max", "any_of", "of_lines")


@dataclasses.dataclass
class Resolution:
    """Checks that the blocks fit together, and writes names in full."""

    document: Document
    recipe: Recipe
    known: Known
    problems: list[Problem] = dataclasses.field(default_factory=list)
    annotators: AnnotatorList = dataclasses.field(init=False)
    presets: dict[Path, list[Step]] = dataclasses.field(default_factory=dict)

    def report(self, path: Path, message: str, *, of_key: bool = False, **more: str | None) -> None:
        path = self._said(path)
        self.problems.append(Problem(self.document.mark(path, of_key=of_key), dotted(path), message, **more))

    def resolve(self) -> Recipe:
        recipe = self.recipe
        self.annotators = AnnotatorList(self.known, self.report, recipe.dedup is not None)
        self._sources()
        self._read_annotators()
        variants = {
            name: variant.model_copy(
                update={"steps": self._steps(self._path_of(name), variant), "shape": self._shape(name, variant)}
            )
            for name, variant in recipe.variants.items()
        }
        self._engine()
        scope = self._scope()
        self._nulls()
        self._last()
        self._blocks()
        updates: dict[str, Any] = {
            "annotators": self.annotators.specs(),
            "variants": variants,
            "scope": scope,
            "held_out": self._held_out(),
        }
        if recipe.study is not None:
            self._study(recipe.study)
            updates["study"] = recipe.study.model_copy(update={"held_out": None})
        return recipe.model_copy(update=updates)

    def _said(self, path: Path) -> Path:
        """The path without keys that a short form spares: a bare name has none."""
        given: Any = self.document.data
        for depth, part in enumerate(path):
            if not isinstance(given, dict | list):
                return path[:depth]
            inside = part in given if isinstance(given, dict) else isinstance(part, int) and part < len(given)
            if not inside:
                break
            given = given[part]  # type: ignore[index]
        return path

    def _sources(self) -> None:
        """The options of each source's reader."""
        for name, block in self.recipe.sources.items():
            known = FORMATS[block.kind].options
            for option, value in block.options.items():
                at: Path = ("sources", name, "options", option)
                if option not in known:
                    self._unknown(at, f"unknown option of kind {block.kind}", option, known, of_key=True)
                    continue
                words = known[option].allowed
                if words and isinstance(value, str) and value not in words:
                    self._unknown(at, "is not one of the allowed words", value, [str(word) for word in words])
                    continue
                try:
                    known[option].checked(value)
                except ValueError as error:
                    self.report(at, str(error))

    # -- annotators and presets -----------------------------------------------------------------------------

    def _path_of(self, variant: str) -> Path:
        """Where the steps of a variant stand."""
        at: Path = ("variants", variant)
        given = self.document.data["variants"][variant]
        return (*at, "steps") if isinstance(given, dict) and "steps" in given else at

    def _at(self, steps: Path, index: int) -> Path:
        """Where a step stands; a variant may be one bare preset."""
        return (
            (*steps, index) if (*steps, index) in self.document.values or "preset" not in self._given(steps) else steps
        )

    def _given(self, path: Path) -> Collection[Any]:
        given: Any = self.document.data
        for part in path:
            given = given[part]
        return given if isinstance(given, dict) else ()

    def _read_annotators(self) -> None:
        """The recipe's own annotators, then those of its presets."""
        asked: list[tuple[Path, Any, str | None]] = [
            (("annotators", i), spec, None) for i, spec in enumerate(self.recipe.annotators)
        ]
        places: list[tuple[Used, list[int]]] = []
        for name, variant in self.recipe.variants.items():
            steps = self._path_of(name)
            for index, step in enumerate(variant.steps):
                if step.preset is None:
                    continue
                used = used_preset(self._at(steps, index), step, self.report)
                if used is not None:
                    places.append((used, list(range(len(asked), len(asked) + len(used.asked)))))
                    asked += [(used.place_of(taken), spec, used.preset.name) for spec, taken in used.asked]
        found = self.annotators.read(asked)
        self.presets = {used.path: expanded_steps(used, [found.get(i) for i in numbers]) for used, numbers in places}

    # -- steps ----------------------------------------------------------------------------------------------

    def _steps(self, path: Path, variant: Variant) -> tuple[Step, ...]:
        steps: list[tuple[Path, Step]] = []
        for index, step in enumerate(variant.steps):
            at = self._at(path, index)
            if step.preset is None:
                steps.append((at, step))
            else:
                steps += [(at, each) for each in self.presets.get(at, ())]
        checked = [(at, self._step(at, step)) for at, step in steps]
        self._edits_follow(checked)
        return tuple(step for _, step in checked)

    def _scope(self) -> tuple[Step, ...]:
        checked = []
        for index, step in enumerate(self.recipe.scope):
            path: Path = ("scope", index)
            if step.preset is not None or step.edit is not None:
                self.report(path, "scope chooses documents: presets and edits belong to variants")
            else:
                checked.append(self._step(path, step))
        return tuple(checked)

    def _edits_follow(self, steps: list[tuple[Path, Step]]) -> None:
        """Each editor of a variant must have seen the text that those before it leave, source by source."""
        applied: dict[tuple[str, ...], list[str]] = {}
        for path, step in steps:
            entry = next((each for each in self.annotators.entries if each.name == step.edit), None)
            if entry is None:
                continue
            for sources in applied:
                if sources != step.sources and (not sources or not step.sources or {*sources} & {*step.sources}):
                    self.report(path, "edits that follow one another look at the same sources")
            before, seen = applied.setdefault(step.sources, []), self.annotators.editors(entry)
            if entry.name in before:
                self.report(path, f"the edits of {step.edit} are applied already")
            elif seen[: len(before)] != before:
                self.report(
                    path,
                    f"{step.edit} edits the text after {listed(seen) if seen else 'no other editor'}, but this variant "
                    f"applies {listed(before)} first: annotate it with after: [{', '.join(before)}]",
                )
            elif seen != before:
                missing = ", ".join(f"{{edit: {name}}}" for name in seen[len(before) :])
                self.report(path, f"{step.edit} edits the text after {listed(seen)}: put {missing} before it")
            before.append(entry.name)

    def _step(self, path: Path, step: Step) -> Step:
        for source in step.sources:
            if source not in self.recipe.sources:
                self._unknown((*path, "sources"), "unknown source", source, self.recipe.sources)
        given = [key for key in ("rule", "column", "edit") if getattr(step, key) is not None]
        if len(given) != 1:
            self.report(path, "a step has either rule or column or edit", found=" and ".join(given) or "none of them")
            return step
        if step.column is not None:
            return self._column(path, step)
        if any(getattr(step, key) not in (None, ()) for key in _OF_A_COLUMN):
            self.report(path, f"{', '.join(_OF_A_COLUMN)} belong to a column, not to {given[0]} {step.name!r}")
        at = (*path, given[0]) if (*path, given[0]) in self.document.values else path
        return self._edit(at, step) if step.edit is not None else self._rule(at, step)

    def _edit(self, at: Path, step: Step) -> Step:
        assert step.edit is not None
        entry = self.annotators.find(at, step.edit, "editor")
        if entry is None:
            return step
        if not entry.edits():
            editors = [each.name for each in self.annotators.entries if each.edits()]
            self.report(at, f"{entry.name} edits nothing", allowed=listed(editors))
        return step.model_copy(update={"edit": entry.name})

    def _rule(self, at: Path, step: Step) -> Step:
        assert step.rule is not None
        if step.rule in DECISIONS:
            self._decision(at, step.rule)
            return step
        base = step.rule.partition("@")[0]
        if base == "opt_out":
            self.report(at, "opt_out is no step: a list under the key opt_out holds for every variant and for the "
                            "held-out documents; take the step out")  # fmt: skip
            return step
        if base in NO_VERDICT:
            self.report(at, f"{step.rule!r} measures and has no verdict of its own: use {NO_VERDICT[base]}")
            return step
        entry = self._family(at, step.rule)
        if entry is None:
            return step
        if entry.has_verdict() is False:
            self.report(at, f"{entry.name} measures and has no verdict of its own: use a column condition on it")
        return step.model_copy(update={"rule": entry.name})

    def _family(self, at: Path, rule: str) -> Entry | None:
        known = self.annotators.known_rules(NO_VERDICT)
        if not self.annotators.means(rule):
            names = [*known, *DECISIONS]
            self.report(at, "unknown rule", found=repr(rule), allowed=listed(names), suggestion=nearest(rule, names))
            return None
        return self.annotators.find(at, rule, "rule")

    def _decision(self, path: Path, rule: str) -> None:
        match rule:
            case "dedup" if self.recipe.dedup is None:
                self.report(path, "the rule dedup needs a dedup block in the recipe")
            case "license":
                for full in self.known.full_names("license")[:1]:
                    self.annotators.needs(path, full)

    def _column(self, path: Path, step: Step) -> Step:
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
        entry = self.annotators.find(at, name, "annotator")
        if entry is None:
            return step
        columns = entry.columns(not step.any_of)
        if columns is not None and column not in columns:
            suggestion = nearest(column, columns)
            self.report(
                at,
                f"{entry.name} has no {'words' if step.any_of else 'number'} of this name",
                found=repr(column),
                allowed=listed(sorted(columns)),
                suggestion=None if suggestion is None else f"{entry.name}/{suggestion}",
            )
        elif columns is not None and step.of_lines and not entry.has_lines(column):
            self.report(path, f"of_lines belongs to a column with values by line, not to {step.column}")
        words = words_of(entry.spec.name, column)
        for index, word in enumerate(step.any_of):
            if words is not None and word not in words:
                self._unknown((*path, "any_of", index), f"{entry.name}/{column} is never that", word, words)
        return step.model_copy(update={"column": f"{entry.name}/{column}"})

    def _last(self) -> None:
        """What the blocks shape and pack name must be a source, or a kind that documents have."""
        kinds = kinds_of(self.recipe.sources.values())
        for name, variant in self.recipe.variants.items():
            named: list[tuple[Path, str, bool]] = []
            if variant.shape is not None:
                named += [(("shape", "by", key), key, True) for key in variant.shape.by]
            if variant.pack is not None:
                named += [(("pack", "weights", key), key, True) for key in variant.pack.weights]
            if variant.pack is not None and variant.pack.fim is not None:
                fim, at = variant.pack.fim, ("variants", name, "pack", "fim")
                named += [(("pack", "fim", "sources", index), key, False) for index, key in enumerate(fim.sources)]
                if fim.file_rate is not None and fim.level == "document":
                    self.report((*at, "file_rate"), "belongs to level: file_sep", of_key=True)
            known = list(dict.fromkeys((*self.recipe.sources, *(kinds or ()), EVERY_SOURCE)))
            for path, key, of_key in named:
                if kinds is not None and key not in known:
                    message = "no source and no kind of documents"
                    self._unknown(("variants", name, *path), message, key, known, of_key=of_key)

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

    def _shape(self, name: str, variant: Variant) -> Shape | None:
        """The shapes of a variant with their names in full."""
        if variant.shape is None:
            return None
        from pipelines.shapes import SHAPES

        by: dict[str, tuple[str, ...]] = {}
        for key, asked in variant.shape.by.items():
            found = [next((full for full in SHAPES if one in (full, full.partition("@")[0])), None) for one in asked]
            for one, full in zip(asked, found, strict=True):
                if full is None:
                    self._unknown(("variants", name, "shape", "by", key), "unknown shape", one, SHAPES)
            by[key] = tuple(full for full in found if full is not None)
        return variant.shape.model_copy(update={"by": by})

    def _unknown(self, path: Path, message: str, word: str, names: Collection[str], *, of_key: bool = False) -> None:
        self.report(
            path,
            message,
            of_key=of_key,
            found=repr(word),
            allowed=listed(names),
            suggestion=nearest(word, names),
        )

    def _blocks(self) -> None:
        recipe = self.recipe
        # Without variants the pii block serves `redact`, which finds and replaces in one pass.
        pii_annotated = recipe.pii is not None and bool(recipe.variants)
        if pii_annotated and self.known.full_names("pii"):
            for name in self._pii_annotators():
                self.annotators.needs(("pii",), name, of_key=True)
        for entry in self.annotators.entries:
            for name in entry.needs:
                self.annotators.needs(entry.path, name)
        if recipe.dedup is not None:
            self._dedup(recipe.dedup)

    def _pii_annotators(self) -> tuple[str, ...]:
        """Those whose spans the policy is applied to; the usual one where the policy cannot be read."""
        from pii.policy import PolicyError, load_policy

        assert self.recipe.pii is not None
        try:
            return load_policy(self.recipe.pii.policy).annotators
        except PolicyError:
            return tuple(self.known.full_names("pii")[:1])

    def _dedup(self, asked: Dedup) -> None:
        from pipelines.find_duplicates import FindDuplicates  # brings Beam

        signers = self.known.full_names("minhash")
        if asked.method == "minhash" and signers and asked.signatures not in self.known.annotators:
            near = [name for name in self.known.annotators if name.startswith("minhash")]
            self._unknown(("dedup", "signatures"), "unknown signatures", asked.signatures, near)
            return
        try:
            find = FindDuplicates(output="", shards=0, **asked.arguments)
        except ValueError as error:
            self.report(("dedup",), str(error), of_key=True)
            return
        for name in sorted(find.annotations):
            self.annotators.needs(("dedup",), name, of_key=True)
            if self.annotators.waits_for_dedup(name):
                self.report(("dedup",), f"dedup reads {name}, which comes after dedup", of_key=True)

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
            self.report(("study", "held_out"), "held_out is given twice; keep the one at the top", of_key=True)
        held_out = of_study or self.recipe.held_out
        top: Path = ("held_out",) if of_study is None else ("study", "held_out")
        for source in held_out.by:
            if source not in self.recipe.sources and source != EVERY_SOURCE:
                self._unknown((*top, "by", source), "unknown source", source, self.recipe.sources, of_key=True)
        return held_out

    def _study(self, study: Study) -> None:
        variants = self.recipe.variants
        if not variants:
            self.report(("study",), "a study needs variants", of_key=True)
        elif study.baseline not in variants:
            self._unknown(("study", "baseline"), "unknown variant", study.baseline, variants)
        elif variants[study.baseline].random_like is not None:
            self.report(("study", "baseline"), "must not be a random_like variant", found=repr(study.baseline))
        for index, proxy in enumerate(study.proxies):
            path: Path = ("study", "proxies", index)
            if proxy not in self.known.proxies:
                self._unknown(path, "unknown proxy", proxy, self.known.proxies)
            elif proxy in study.proxies[:index]:
                self.report(path, f"{proxy} is listed twice")
        for source in study.mix or {}:
            if source not in self.recipe.sources:
                self._unknown(("study", "mix", source), "unknown source", source, self.recipe.sources, of_key=True)
