"""What happens to each kind of personal data: whether to look for it, what to do, and how sure to be."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pii.kinds import KINDS
from pii.replacements import RESERVED

PLACEHOLDER, RESERVE, PSEUDONYM = "placeholder", "reserved", "pseudonym"
KEEP, DROP_DOCUMENT = "keep", "drop_document"
ACTIONS: tuple[str, ...] = (PLACEHOLDER, RESERVE, PSEUDONYM, KEEP, DROP_DOCUMENT)
DEFAULT_CONFIDENCE = 0.5
PATTERNS, NAMES, BIGCODE = "patterns", "names", "bigcode@1"
# What finds personal data, and the annotator whose column holds it.
DETECTORS: dict[str, str] = {PATTERNS: "pii@1", NAMES: "pii_names@1", BIGCODE: "pii_bigcode@1"}
# Looked for only where a policy says so: they are in most texts, and few of them are private.
NOT_BY_DEFAULT: frozenset[str] = frozenset(("PERSON", "URL", "LOCATION", "ORGANIZATION", "NRP", "DATE_TIME"))
LEAST_KEY = 16  # bytes


class PolicyError(ValueError):
    """A policy that cannot be used; the message says where, what was found and what is allowed."""


@dataclasses.dataclass(frozen=True, slots=True)
class KindPolicy:
    """What happens to one kind."""

    action: str = PLACEHOLDER
    min_confidence: float = DEFAULT_CONFIDENCE  # finds below it are left alone and not recorded
    detect: bool = True  # False: as if the kind did not exist

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise PolicyError(f"action {self.action!r} is unknown{_nearest(str(self.action), ACTIONS)}")
        if not isinstance(self.detect, bool):
            raise PolicyError(f"detect must be true or false, found {self.detect!r}")
        confidence = self.min_confidence
        if isinstance(confidence, bool) or not isinstance(confidence, int | float) or math.isnan(confidence):
            raise PolicyError(f"min_confidence must be a number from 0 to 1, found {confidence!r}")
        if not 0 <= confidence <= 1:
            raise PolicyError(f"min_confidence must be a number from 0 to 1, found {confidence!r}")


@dataclasses.dataclass(frozen=True, slots=True)
class KeySource:
    """Where the key of pseudonyms is: the name of an environment variable or a file.  Never the key itself.

    Policies are pickled, logged and written into manifests; so the key is read where it is used, in every worker.
    """

    env: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        if (self.env is None) == (self.file is None):
            raise PolicyError("key must name one of env (an environment variable) or file")
        for name, value in (("env", self.env), ("file", self.file)):
            if value is not None and (not isinstance(value, str) or not value):
                raise PolicyError(f"key.{name} must be a non-empty string, found {value!r}")

    def read(self) -> bytes:
        """The key, without the line end of a file.  Raises PolicyError where it is missing or shorter than 16 bytes."""
        if self.env is not None:
            where = f"the environment variable {self.env}"
            value = os.environ.get(self.env, "").encode()
        else:
            where = f"the file {self.file}"
            try:
                value = Path(str(self.file)).read_bytes().rstrip(b"\r\n")
            except OSError as error:
                raise PolicyError(f"key: {where} cannot be read: {error.strerror}") from None
        if len(value) < LEAST_KEY:
            raise PolicyError(f"key: {where} holds {len(value)} bytes; a key has at least {LEAST_KEY}")
        return value


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """A policy for every kind; kinds that a file does not name have the defaults of `default`.

    YAML form (`load_policy`):

        name: strict
        detectors: [patterns, names]           # names: presidio with a spaCy model, needs gristmill[pii]
        key: {env: GRISTMILL_PII_KEY}          # or {file: PATH}; for pseudonyms, and to give the same value the
                                               # same reserved replacement in the whole corpus
        kinds:
          EMAIL: reserved                      # short for {action: reserved}
          KEY: {action: drop_document, min_confidence: 0.8}
          PERSON: pseudonym                    # a kind that is named is looked for
          PHONE: {action: keep}
          URL: {detect: false}
    """

    name: str
    kinds: Mapping[str, KindPolicy]
    detectors: tuple[str, ...] = (PATTERNS,)
    key: KeySource | None = None

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise PolicyError(f"kind {kind!r} is unknown{_nearest(str(kind), KINDS)}")
        full = {kind: self.kinds.get(kind, KindPolicy(detect=kind not in NOT_BY_DEFAULT)) for kind in KINDS}
        object.__setattr__(self, "kinds", full)
        for detector in self.detectors:
            if detector not in DETECTORS:
                raise PolicyError(f"detectors: {detector!r} is unknown{_nearest(str(detector), tuple(DETECTORS))}")
        if not self.detectors or len(set(self.detectors)) != len(self.detectors):
            raise PolicyError(f"detectors must name one or more, each once, found {list(self.detectors)}")
        if BIGCODE in self.detectors and len(self.detectors) > 1:
            raise PolicyError(f"detectors: {BIGCODE} goes with no other detector")
        for kind, entry in full.items():
            if not entry.detect:
                continue
            if entry.action == RESERVE and kind not in RESERVED:
                raise PolicyError(
                    f"kinds.{kind}: no range is reserved for it; use placeholder or pseudonym "
                    f"(reserved: {', '.join(RESERVED)})"
                )
            if entry.action == PSEUDONYM and self.key is None:
                raise PolicyError(f"kinds.{kind}: pseudonym needs a key: {{env: NAME}} or {{file: PATH}}")

    @property
    def annotators(self) -> tuple[str, ...]:
        """The annotators whose `spans` the policy is applied to."""
        return tuple(DETECTORS[detector] for detector in self.detectors)

    @classmethod
    def from_mapping(cls, value: Any, where: str = "policy") -> Policy:
        """The policy of parsed YAML; `where` begins every error message."""
        if not isinstance(value, Mapping):
            raise PolicyError(f"{where}: a policy is a mapping with the keys name and kinds, found {value!r}")
        _known_keys(value, ("name", "detectors", "key", "kinds"), where)
        name = value.get("name", "custom")
        if not isinstance(name, str) or not name:
            raise PolicyError(f"{where}: name must be a non-empty string, found {name!r}")
        detectors = value.get("detectors", [PATTERNS])
        if not isinstance(detectors, list) or not all(isinstance(each, str) for each in detectors):
            raise PolicyError(f"{where}: detectors must be a list of names, found {detectors!r}")
        key = value.get("key")
        if key is not None:
            if not isinstance(key, Mapping):
                # The value is not repeated: it may be a key that was written here by mistake.
                raise PolicyError(f"{where}: key must be {{env: NAME}} or {{file: PATH}}; it is never the key itself")
            _known_keys(key, ("env", "file"), f"{where}: key")
        if "kinds" not in value:
            raise PolicyError(f"{where}: kinds is missing; it maps kinds to actions, as {{EMAIL: placeholder}}")
        table = value["kinds"]
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
            _known_keys(entry, ("action", "min_confidence", "detect"), here)
            try:
                kinds[kind] = KindPolicy(**entry)
            except PolicyError as error:
                raise PolicyError(f"{here}: {error}") from None
        try:
            return cls(name, kinds, tuple(detectors), None if key is None else KeySource(**key))
        except PolicyError as error:
            raise PolicyError(f"{where}: {error}") from None

    def to_mapping(self) -> dict[str, Any]:
        """The same policy as plain values, every kind spelt out, for manifests.  Of the key only where it is."""
        mapping: dict[str, Any] = {"name": self.name, "detectors": list(self.detectors)}
        if self.key is not None:
            mapping["key"] = {k: v for k, v in dataclasses.asdict(self.key).items() if v is not None}
        return {**mapping, "kinds": {kind: dataclasses.asdict(self.kinds[kind]) for kind in KINDS}}


POLICIES: dict[str, Policy] = {
    # Everything private that is found with even odds or better is replaced.
    "default": Policy("default", {}),
    # Names and places, too; a document with a private key or a card number leaves.
    "strict": Policy(
        "strict",
        {
            **{kind: KindPolicy() for kind in ("PERSON", "LOCATION")},
            **{kind: KindPolicy(DROP_DOCUMENT, 0.9) for kind in ("PRIVATE_KEY", "CREDIT_CARD")},
        },
        (PATTERNS, NAMES),
    ),
    # The spans of SantaCoder and StarCoder; their own replacements are `pii.bigcode.redact`.
    "bigcode@1": Policy(
        "bigcode@1",
        {
            **{kind: KindPolicy(detect=False) for kind in KINDS},
            "EMAIL": KindPolicy(RESERVE),
            "IP_ADDRESS": KindPolicy(RESERVE),
            "KEY": KindPolicy(),
        },
        (BIGCODE,),
    ),
}


def load_policy(name_or_path: str | Path) -> Policy:
    """The built-in policy of that name, else the YAML file at that path.  Raises PolicyError."""
    if isinstance(name_or_path, str) and name_or_path in POLICIES:
        return POLICIES[name_or_path]
    path = Path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        known = ", ".join(sorted(POLICIES))
        raise PolicyError(f"{path}: no such policy; built in: {known}; as a file: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise PolicyError(f"{path}: not UTF-8: byte {error.start}") from None
    try:
        value = yaml.load(text, Loader=_UniqueKeys)
    except _Twice as error:
        raise PolicyError(f"{_at(path, error)}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise PolicyError(f"{_at(path, error)}: not YAML: {getattr(error, 'problem', None) or error}") from None
    return Policy.from_mapping(value, str(path))


def _at(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"{path}:{mark.line + 1}:{mark.column + 1}" if mark is not None else str(path)


class _Twice(yaml.constructor.ConstructorError):
    """A key that stands twice."""


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which the same key twice is an error instead of a silent overwrite."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise _Twice(None, None, f"key {key!r} stands twice", key_node.start_mark)
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
