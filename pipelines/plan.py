"""Plan: what a recipe would run, from its input files alone; nothing is read but names and sizes."""

from __future__ import annotations

import dataclasses
from typing import Any

from pipelines.driver import Driver
from quality_signals import presets


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """sources: name -> kind, files, bytes, units; presets: name -> describes, source, differs; runs: trainings."""

    output: str
    sources: dict[str, dict[str, Any]]
    annotators: list[str]
    variants: dict[str, list[str]]
    presets: dict[str, dict[str, Any]]
    runs: int
    budget_bytes: int

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def text(self) -> str:
        lines = [f"output     {self.output}"]
        for name, source in self.sources.items():
            lines.append(
                f"source     {name}: {source['kind']}, {source['files']:,} files, {source['bytes']:,} bytes, "
                f"{source['units']:,} units (document shards)"
            )
        lines.append(f"annotators {', '.join(self.annotators) or 'none'}")
        lines += [f"variant    {name}: {', '.join(rules) or 'everything'}" for name, rules in self.variants.items()]
        for name, preset in self.presets.items():
            lines.append(f"preset     {name}: {preset['describes']} ({preset['source']})")
            lines += [f"           not there: {what}" for what in preset["differs"]]
        if self.runs:
            lines.append(
                f"study      {self.runs} trainings of {self.budget_bytes:,} bytes, "
                f"{self.runs * self.budget_bytes:,} bytes in all"
            )
        return "\n".join(lines)


def _told(preset: presets.Preset) -> dict[str, Any]:
    return {"describes": preset.describes, "source": preset.source, "differs": list(preset.differs)}


def plan_recipe(driver: Driver) -> Plan:
    """Raises UsageError where an input matches nothing."""
    recipe = driver.recipe
    sources: dict[str, dict[str, Any]] = {}
    for source in driver.sources:
        units = [unit for unit in driver.units if unit.source == source.name]
        sizes = {file.name: file.size for unit in units for file in unit.files}
        sources[source.name] = {
            "kind": source.kind,
            "files": len(sizes),
            "bytes": sum(sizes.values()),
            "units": len(units),
        }
    study = recipe.study
    used = sorted({step.of_preset for each in recipe.variants.values() for step in each.steps if step.of_preset})
    return Plan(
        driver.output,
        sources,
        list(recipe.annotator_names),
        {name: variant.describe() for name, variant in recipe.variants.items()},
        {name: _told(presets.load(name)) for name in used},
        0 if study is None else len(recipe.variants) * len(study.proxies) * study.seeds,
        0 if study is None else study.budget_bytes,
    )
