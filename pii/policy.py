"""What happens to each kind of personal data: a policy is a table kind -> action and least confidence."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pii.kinds import KINDS

PLACEHOLDER, KEEP, DROP_DOCUMENT = "placeholder", "keep", "drop_document"
ACTIONS: tuple[str, ...] = (PLACEHOLDER, KEEP, DROP_DOCUMENT)
DEFAULT_CONFIDENCE = 0.5


class PolicyError(ValueError):
    """A policy that cannot be used; the message says where, what was found and what is allowed."""


@dataclasses.dataclass(frozen=True, slots=True)
class KindPolicy:
    """What happens to one kind."""

    action: str = PLACEHOLDER
    min_confidence: float = DEFAULT_CONFIDENCE  # finds below it are left alone and not recorded

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise PolicyError(f"action {self.action!r} is unknown{_nearest(self.action, ACTIONS)}")
        confidence = self.min_confidence
        if isinstance(confidence, bool) or not isinstance(confidence, int | float) or math.isnan(confidence):
            raise PolicyError(f"min_confidence must be a number from 0 to 1, found {confidence!r}")
        if not 0 <= confidence <= 1:
            raise PolicyError(f"min_confidence must be a number from 0 to 1, found {confidence!r}")


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """A policy for every kind; kinds that a file does not name have the defaults of `default`.

    YAML form (`load_policy`):

        name: strict
        kinds:
          EMAIL: placeholder                 # short for {action: placeholder}
          KEY: {action: drop_document, min_confidence: 0.8}
          PHONE: {action: keep}
    """

    name: str
    kinds: Mapping[str, KindPolicy]

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise PolicyError(f"kind {kind!r} is unknown{_nearest(str(kind), KINDS)}")
        full = {kind: self.kinds.get(kind, KindPolicy()) for kind in KINDS}
        object.__setattr__(self, "kinds", full)

    @classmethod
    def from_mapping(cls, value: Any, where: str = "policy") -> Policy:
        """The policy of parsed YAML; `where` begins every error message."""
        if not isinstance(value, Mapping):
            raise PolicyError(f"{where}: a policy is a mapping with the keys name and kinds, found {value!r}")
        _known_keys(value, ("name", "kinds"), where)
        name = value.get("name", "custom")
        if not isinstance(name, str) or not name:
            raise PolicyError(f"{where}: name must be a non-empty string, found {name!r}")
        table = value.get("kinds")
        if not isinstance(table, Mapping) or not table:
            raise PolicyError(f"{where}: kinds must map kinds to actions, found {table!r}")
        kinds: dict[str, KindPolicy] = {}
        for kind, entry in table.items():
            here = f"{where}: kinds.{kind}"
            if kind not in KINDS:
                raise PolicyError(f"{here}: kind {kind!r} is unknown{_nearest(str(kind), KINDS)}")
            if isinstance(entry, str):
                entry = {"action": entry}
            if not isinstance(entry, Mapping):
                raise PolicyError(f"{here}: expected an action or a mapping, found {entry!r}")
            _known_keys(entry, ("action", "min_confidence"), here)
            try:
                kinds[kind] = KindPolicy(**entry)
            except PolicyError as error:
                raise PolicyError(f"{here}: {error}") from None
        return cls(name, kinds)

    def to_mapping(self) -> dict[str, Any]:
        """The same policy as plain values, every kind spelt out, for manifests."""
        return {"name": self.name, "kinds": {kind: dataclasses.asdict(self.kinds[kind]) for kind in KINDS}}


# Everything found with even odds or better is replaced.
POLICIES: dict[str, Policy] = {"default": Policy("default", {})}


def load_policy(name_or_path: str | Path) -> Policy:
    """The built-in policy of that name, else the YAML file at that path.  Raises PolicyError."""
    if isinstance(name_or_path, str) and name_or_path in POLICIES:
        return POLICIES[name_or_path]
    path = Path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        known = ", ".join(sorted(POLICIES))
        raise PolicyError(f"{path}: no such policy; built in: {known}; as a file: {error.strerror}") from None
    try:
        value = yaml.load(text, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        raise PolicyError(f"{path}: not YAML: {error}") from None
    return Policy.from_mapping(value, str(path))


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which the same key twice is an error instead of a silent overwrite."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _known_keys(value: Mapping[Any, Any], allowed: tuple[str, ...], where: str) -> None:
    for key in value:
        if key not in allowed:
            raise PolicyError(f"{where}: key {key!r} is unknown{_nearest(str(key), allowed)}")


def _nearest(found: str, allowed: tuple[str, ...]) -> str:
    lowered = {name.lower(): name for name in allowed}
    close = difflib.get_close_matches(found.lower(), list(lowered), n=1, cutoff=0.5)
    hint = f"; did you mean {lowered[close[0]]!r}?" if close else ""
    return f"{hint} (allowed: {', '.join(allowed)})"
