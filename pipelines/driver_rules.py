"""What the steps of a recipe's variants and of its scope become: rules over columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines import curate, rules
from pipelines import manifest as manifests
from pipelines.annotators import Annotator, is_edited
from pipelines.recipe import Recipe
from pipelines.recipe_models import Step
from pipelines.stages import StageError

DEDUP = "dedup"


def described_rules(chain: Sequence[rules.Rule]) -> dict[str, Any]:
    """Rules in a manifest: names to read, and one hash of all they hold; an opt-out list is not published so."""
    return {"rules": [rule.name for rule in chain], "rules_sha256": manifests.digest([repr(r) for r in chain])}


@dataclasses.dataclass(frozen=True)
class StepRules:
    """Steps of a checked recipe as rules.  annotators: the recipe's, by the names under which they write."""

    recipe: Recipe
    annotators: Mapping[str, Annotator]

    def of(self, step: Step) -> rules.Rule:
        rule = self._on_all(step)
        return rules.OfSources(rule, step.sources) if step.sources else rule

    def _on_all(self, step: Step) -> rules.Rule:
        if step.column is not None:
            annotator, _, column = step.column.partition("/")
            if step.any_of:
                return rules.WordRule(annotator, column, step.any_of)
            return rules.ColumnRule(annotator, column, step.min, step.max, step.of_lines)
        if step.edit is not None:
            before = self.recipe.specs[step.edit].after
            return rules.EditRule(
                step.edit, tuple(n for n in before if n != DEDUP and is_edited(self.annotators[n].schema))
            )
        match step.rule:
            case "dedup":
                assert self.recipe.dedup is not None
                return rules.DuplicateRule(threshold=self.recipe.dedup.threshold)
            case "license":
                return rules.LicenseRule(tuple(self.recipe.license.allowed))
            case name:
                assert name is not None
                return rules.rule_of(name, self.annotators[name])

    def refuse_untouched(self, variant: curate.Variant, summary: Mapping[str, Any]) -> None:
        """Raises StageError for a step that neither dropped nor changed a document and may not be idle.

        summary: of `curate.variant_summary`.  Of a preset's steps all must be idle.
        """
        untouched = curate.untouched_rules(variant, summary)
        steps = self.recipe.variants[variant.name].steps
        presets = {step.of_preset for step in steps if step.of_preset}
        idle = {name for name in presets if all(s.name in untouched for s in steps if s.of_preset == name)}
        for step in steps:
            if step.name not in untouched or step.allow_empty or (step.of_preset and step.of_preset not in idle):
                continue
            said = f"preset {step.of_preset}" if step.of_preset else f"{'edit' if step.edit else 'rule'} {step.name}"
            key = f"preset: {step.of_preset}" if step.of_preset else _key_of(step)
            raise StageError(
                f"variant {variant.name}: {said} {'changed' if step.edit else 'dropped'} none of "
                f"{summary['eligible']['documents']:,} documents; if that is meant, write "
                f"{{{key}, allow_empty: true}}"
            )


def _key_of(step: Step) -> str:
    """How a recipe writes the step."""
    return next(f"{key}: {getattr(step, key)}" for key in ("rule", "column", "edit") if getattr(step, key))
