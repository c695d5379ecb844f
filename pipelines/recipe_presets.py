"""Presets in a recipe: the annotators that they add, and the steps that stand in their place."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from pydantic import ValidationError

from pipelines.recipe_annotators import Entry, Report
from pipelines.recipe_errors import Path, listed, nearest
from pipelines.recipe_models import AnnotatorSpec, PresetUse, Step
from quality_signals import presets


@dataclasses.dataclass(frozen=True)
class Used:
    """A preset at one place of a recipe, with the annotators that it asks for and the needs that each takes."""

    path: Path
    step: Step
    preset: presets.Preset
    asked: tuple[tuple[AnnotatorSpec, frozenset[str]], ...]

    def place_of(self, taken: Collection[str]) -> Path:
        """Where an annotator's fault is to be mended: at the need that it takes, or at the preset."""
        return (*self.path, "preset", *(taken if len(taken) == 1 else ()))


def used_preset(path: Path, step: Step, report: Report) -> Used | None:
    """The preset of a step; what is wrong with its name or what it is given is reported, and None comes back."""
    use = step.preset
    assert use is not None
    at = (*path, "preset")
    others = step.model_dump(exclude_defaults=True, exclude={"preset", "sources", "allow_empty"})
    if others:
        report(path, f"{listed(list(others))} and preset do not go together: the preset has its own")
        return None
    try:
        preset = presets.load(use.name)
    except presets.PresetError:
        names = presets.names()
        report(at, "unknown preset", found=repr(use.name), allowed=listed(names), suggestion=nearest(use.name, names))
        return None
    if not _needs_are_met(at, use, preset, report):
        return None
    asked = []
    for values, taken in preset.asked_annotators(use.given):
        try:
            asked.append((AnnotatorSpec.model_validate(values), frozenset(taken)))
        except ValidationError as error:
            report(at, f"what is given to {preset.name} cannot be used: {error.errors()[0]['msg']}")
            return None
    return Used(path, step, preset, tuple(asked))


def _needs_are_met(at: Path, use: PresetUse, preset: presets.Preset, report: Report) -> bool:
    well = True
    needs = list(preset.needs)
    for name in use.given:
        if name not in preset.needs:
            report(
                (*at, name),
                f"unknown key of the preset {preset.name}",
                of_key=True,
                found=repr(name),
                allowed=listed(["name", "without", *needs]),
                suggestion=nearest(name, needs),
            )
            well = False
        elif name in use.without:
            report((*at, name), "is given and left out at once", of_key=True)
            well = False
    for name in use.without:
        if name not in preset.needs:
            report(
                (*at, "without"),
                f"{preset.name} has no such need",
                found=repr(name),
                allowed=listed(needs),
                suggestion=nearest(name, needs),
            )
            well = False
    for name in preset.missing(use.given, use.without):
        report(
            at,
            f"{preset.name} needs {name}: {preset.needs[name]}; give it, {{name: {preset.name}, {name}: ...}}, or "
            f"leave its steps out, {{name: {preset.name}, without: [{name}]}}",
        )
        well = False
    return well


def expanded_steps(used: Used, entries: Sequence[Entry | None]) -> list[Step]:
    """The steps of a preset, for the sources of the step that uses it.

    entries: of `used.asked`, None where one could not be made; then no step comes back.
    """
    if any(entry is None for entry in entries):
        return []
    takers = {
        need: entry.name for entry, (_, taken) in zip(entries, used.asked, strict=True) if entry for need in taken
    }
    shared = {
        "of_preset": used.preset.name,
        "sources": used.step.sources,
        "allow_empty": used.step.allow_empty,
    }
    return [
        Step.model_validate({**values, **{key: value for key, value in shared.items() if value}})
        for values in used.preset.asked_steps(takers)
    ]
