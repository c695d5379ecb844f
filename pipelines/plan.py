"""Plan: what a recipe would run, from its input files alone; nothing is read but names and sizes."""

from __future__ import annotations

import dataclasses
from typing import Any

from pipelines.driver import Driver
from pipelines.recipe_models import Dedup
from quality_signals import presets


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """sources: name -> kind, files, bytes, units; presets: name -> describes, source, differs; dedup: method, and
    for minhash the bands and the chance that a pair of a similarity is measured; runs: trainings."""

    output: str
    sources: dict[str, dict[str, Any]]
    annotators: list[str]
    variants: dict[str, list[str]]
    presets: dict[str, dict[str, Any]]
    dedup: dict[str, Any] | None
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
        if self.dedup is not None:
            lines.append(f"dedup      {self.dedup['method']}, {self.dedup['clusters']}")
        if self.dedup is not None and "probability" in self.dedup:
            lines.append(
                f"           {self.dedup['signatures']}: {self.dedup['bands']} bands of {self.dedup['rows']} rows; "
                "chance that a pair of this similarity is measured"
            )
            curve = self.dedup["probability"]
            lines.append("           " + "".join(f"{similarity:>8}" for similarity in curve))
            lines.append("           " + "".join(f"{chance:>8.4f}" for chance in curve.values()))
        if self.runs:
            lines.append(
                f"study      {self.runs} trainings of {self.budget_bytes:,} bytes, "
                f"{self.runs * self.budget_bytes:,} bytes in all"
            )
        return "\n".join(lines)


def _told(preset: presets.Preset) -> dict[str, Any]:
    return {"describes": preset.describes, "source": preset.source, "differs": list(preset.differs)}


# Similarities at which the chance of being measured is told.
_SIMILARITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)


def _dedup(asked: Dedup) -> dict[str, Any]:
    from pipelines.find_duplicates import FindDuplicates

    told: dict[str, Any] = {"method": asked.method, "clusters": asked.clusters}
    if asked.method == "minhash":
        bands = FindDuplicates(output="", shards=0, **asked.arguments).bands
        chances = bands.probability(_SIMILARITIES).round(4).tolist()
        told |= {"signatures": asked.signatures, "bands": bands.count, "rows": bands.rows}
        told["probability"] = dict(zip(map(str, _SIMILARITIES), chances, strict=True))
    return told


def plan_recipe(driver: Driver) -> Plan:
    """Raises UsageError where an input matches nothing, or a file that the recipe names cannot be used."""
    recipe = driver.recipe
    recipe.check_files()
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
        None if recipe.dedup is None else _dedup(recipe.dedup),
        0 if study is None else len(recipe.variants) * len(study.proxies) * study.seeds,
        0 if study is None else study.budget_bytes,
    )
