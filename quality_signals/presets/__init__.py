"""Presets: published chains of rules as data, one YAML file each, versioned; a released file is never edited.

    preset       NAME@VERSION, also the file's name
    describes    one line
    source       where the chain was published
    needs        what the user must give or do without: name -> what it is
    annotators   as in a recipe; `$NAME` stands for the value of a need, `needs: NAME` leaves an entry out without it
    steps        as in a variant, in order; `from` is the source of its numbers; `$NAME` in a rule or column stands
                 for the annotator that takes that need
    differs      what the published pipeline does and the preset does not

Not a word of a preset is code: pipelines turn it into annotators and steps.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Collection, Mapping
from importlib import resources
from typing import Any

__all__ = ["Preset", "PresetError", "load", "names"]

_KEYS = {"preset", "describes", "source", "needs", "annotators", "steps", "differs"}
# The version that a name without one means, for ever: a newer one is asked for by its number.
_FIRST = "@1"
_NEED = re.compile(r"\$([a-z0-9_]+)")


class PresetError(ValueError):
    """No such preset, or a file that is not one."""


@dataclasses.dataclass(frozen=True)
class Preset:
    """A preset as its file has it; steps and annotators as plain values."""

    name: str
    describes: str
    source: str
    needs: Mapping[str, str]
    annotators: tuple[Mapping[str, Any], ...]
    steps: tuple[Mapping[str, Any], ...]
    differs: tuple[str, ...]

    def missing(self, given: Collection[str], without: Collection[str]) -> list[str]:
        """Needs that are neither given nor left out."""
        return [name for name in self.needs if name not in given and name not in without]

    def asked_annotators(self, given: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], set[str]]]:
        """(annotator with its needs filled in, the needs that it takes), without those whose needs are not given."""
        out = []
        for entry in self.annotators:
            taken = _needs_of(entry)
            if taken <= set(given):
                out.append((_filled(_without_notes(entry), given), taken))
        return out

    def asked_steps(self, names: Mapping[str, str]) -> list[Mapping[str, Any]]:
        """The steps; names: need -> annotator that takes it.  Steps of other needs are left out."""
        return [_filled(_without_notes(step), names) for step in self.steps if _needs_of(step) <= set(names)]


def _without_notes(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in ("needs", "from")}


def _needs_of(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        own = {value["needs"]} if "needs" in value else set()
        return own.union(*(_needs_of(each) for key, each in value.items() if key not in ("needs", "from")))
    if isinstance(value, list):
        return set().union(*map(_needs_of, value))
    return set(_NEED.findall(value)) if isinstance(value, str) else set()


def _filled(value: Any, given: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(each, given) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, given) for each in value]
    if not isinstance(value, str):
        return value
    whole = _NEED.fullmatch(value)
    return given[whole[1]] if whole else _NEED.sub(lambda found: str(given[found[1]]), value)


@functools.cache
def names() -> tuple[str, ...]:
    """Names of all presets with their versions, sorted."""
    files = (file.name for file in resources.files(__package__).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml")))


def full_name(name: str) -> str:
    return name if "@" in name else name + _FIRST


@functools.cache
def load(name: str) -> Preset:
    """The preset of that name; without a version the first is meant.  Raises PresetError for an unknown one."""
    import yaml

    full = full_name(name)
    if full not in names():
        raise PresetError(f"no preset {name!r} (known: {', '.join(names())})")
    return read(full, yaml.safe_load((resources.files(__package__) / f"{full}.yaml").read_text(encoding="utf-8")))


def read(name: str, values: Any) -> Preset:
    """The values of a file as a preset.  Raises PresetError, naming what is wrong."""
    if (
        not isinstance(values, dict)
        or set(values) - _KEYS
        or not {"preset", "describes", "source", "steps"} <= set(values)
    ):
        raise PresetError(f"{name}: a preset has the keys {', '.join(sorted(_KEYS))}")
    if values["preset"] != name:
        raise PresetError(f"{name}: the file calls itself {values['preset']}")
    preset = Preset(
        name,
        values["describes"],
        values["source"],
        values.get("needs") or {},
        tuple({"name": entry} if isinstance(entry, str) else entry for entry in values.get("annotators") or ()),
        tuple({"rule": step} if isinstance(step, str) else step for step in values["steps"]),
        tuple(values.get("differs") or ()),
    )
    unknown = set().union(*map(_needs_of, (*preset.annotators, *preset.steps))) - set(preset.needs)
    if unknown:
        raise PresetError(f"{name}: {', '.join(sorted(unknown))} is not among its needs")
    return preset
