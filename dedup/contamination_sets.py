"""Evaluation sets as texts to look for: what a description of sets takes from their files.

A description is a mapping (YAML) as in contamination_sets.yaml beside this module, which describes public sets by
name.  Items of a set are told apart by their id; each field of an item is a text of its own.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import os
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any

import yaml

TAKES = ("whole", "stripped", "docstring")
TARGET, QUERY, LABEL, WHOLE = "target", "query", "label", "whole"
ROLES = (TARGET, QUERY, LABEL, WHOLE)
_KEYS = ("path", "id", "fields", "query", "label", "whole", "only")
_FIELD_KEYS = ("name", "take", "leave_out")


class EvalSetError(ValueError):
    """A description of sets or a file of a set is wrong; the message names set, file, line and key."""


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    name: str
    take: str = "whole"
    leave_out: tuple[str, ...] = ()  # stripped


@dataclasses.dataclass(frozen=True, slots=True)
class EvalSet:
    """One set as described."""

    name: str
    path: str
    fields: tuple[Field, ...]
    id: str | None = None
    query: str | None = None
    label: str | None = None
    only: tuple[str, int, int] | None = None
    whole: tuple[str, ...] = ()

    def described(self) -> dict[str, Any]:
        """For a manifest: all but the folder."""
        return {**dataclasses.asdict(self), "path": os.path.basename(self.path)}


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """A text to look for.

    role: target; query and label for methods that look for the answer; whole for those that compare whole items, of
    which an item has one (its targets joined by a blank where the set does not say).
    """

    set: str
    item: str
    field: str
    role: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedSet:
    """The texts of a set and the counts for its manifest."""

    texts: tuple[Text, ...]
    items: int  # lines that count
    left_out: int  # texts of `leave_out`
    empty: int  # texts of white space only
    not_chosen: int  # lines that `only` leaves out
    sha256: str


@lru_cache(maxsize=1)
def known_sets() -> Mapping[str, Any]:
    """The shipped descriptions, name -> mapping."""
    return yaml.safe_load(resources.files("dedup").joinpath("contamination_sets.yaml").read_text("utf-8"))["sets"]


def read_sets(names: Sequence[str] | None = None, file: str | None = None, folder: str = ".") -> list[EvalSet]:
    """The described sets, sorted by name; paths are below `folder` unless absolute.

    names: those wanted, None for all of the file.  file: a description that adds to and goes before the shipped ones.
    """
    own: Mapping[str, Any] = {}
    if file is not None:
        try:
            with open(file, encoding="utf-8") as opened:
                loaded = yaml.safe_load(opened)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise EvalSetError(f"{file}: cannot be read as YAML: {error}") from error
        own = loaded.get("sets") if isinstance(loaded, Mapping) else None  # type: ignore[assignment]
        if not isinstance(own, Mapping) or not own:
            raise EvalSetError(f"{file}: needed is a mapping with the key sets: name -> description")
    described = {**known_sets(), **own}
    wanted = list(own if names is None else names)
    if not wanted:
        raise EvalSetError(f"no evaluation set is chosen; known are {', '.join(sorted(described))}")
    for name in wanted:
        if name not in described:
            raise EvalSetError(f"evaluation set {name!r} is not described; known are {', '.join(sorted(described))}")
    return [_parsed(name, described[name], folder) for name in sorted(set(wanted))]


def _parsed(name: str, spec: Any, folder: str) -> EvalSet:
    def wrong(message: str) -> EvalSetError:
        return EvalSetError(f"evaluation set {name}: {message}")

    if not isinstance(spec, Mapping):
        raise wrong(f"is {spec!r}, needed is a mapping with {', '.join(_KEYS)}")
    for key in spec:
        if key not in _KEYS:
            raise wrong(f"unknown key {key!r}, allowed are {', '.join(_KEYS)}")
    path, fields = spec.get("path"), spec.get("fields")
    if not isinstance(path, str) or not path:
        raise wrong(f"path is {path!r}, needed is the name of a file")
    if not isinstance(fields, list) or not fields:
        raise wrong(f"fields is {fields!r}, needed is a list of fields")
    parsed = []
    for field in fields:
        told = {"name": field} if isinstance(field, str) else field
        if not isinstance(told, Mapping) or not isinstance(told.get("name"), str) or set(told) - set(_FIELD_KEYS):
            raise wrong(f"field {field!r} must be a name or a mapping with {', '.join(_FIELD_KEYS)}")
        take, leave_out = told.get("take", "whole"), told.get("leave_out", [])
        if take not in TAKES:
            raise wrong(f"field {told['name']}: take is {take!r}, allowed are {', '.join(TAKES)}")
        if not isinstance(leave_out, list) or not all(isinstance(text, str) for text in leave_out):
            raise wrong(f"field {told['name']}: leave_out must be a list of texts")
        parsed.append(Field(told["name"], take, tuple(text.strip() for text in leave_out)))
    query, label = spec.get("query"), spec.get("label")
    if query is not None and label is None:
        raise wrong("query is given without label")
    whole = spec.get("whole", [])
    if not isinstance(whole, list) or not all(isinstance(field, str) for field in whole):
        raise wrong(f"whole is {whole!r}, needed is a list of fields")
    for key in ("id", "query", "label"):
        if not isinstance(spec.get(key), str | None):
            raise wrong(f"{key} is {spec[key]!r}, needed is the name of a field")
    only = spec.get("only")
    chosen: tuple[str, int, int] | None = None
    if only is not None:
        entries = list(only.items()) if isinstance(only, Mapping) else []
        bounds = entries[0][1] if len(entries) == 1 else None
        if not (isinstance(bounds, list) and len(bounds) == 2 and all(isinstance(bound, int) for bound in bounds)):
            raise wrong(f"only is {only!r}, needed is a field with its first and last value: {{task_id: [11, 510]}}")
        chosen = (str(entries[0][0]), bounds[0], bounds[1])
    return EvalSet(name, os.path.join(folder, path), tuple(parsed), spec.get("id"), query, label, chosen, tuple(whole))


def docstring(prompt: str) -> str:
    """What stands in the last of one or two pairs of triple quotes, without white space at its ends.

    As bigcode's `extract_docstring`.  Raises ValueError where there is no such pair.
    """
    for quotes in ('"""', "'''"):
        parts = prompt.split(quotes)
        if len(parts) in (3, 5):
            return parts[-2].strip()
        if len(parts) > 1:
            break
    raise ValueError("holds no single docstring between triple quotes")


def load_set(described: EvalSet) -> LoadedSet:
    """Reads the file of a set.  Raises EvalSetError for a missing or damaged file, a line that is no JSON object, a
    field that is missing or no text, ids that are not unique, and a set that gives no text."""
    try:
        with open(described.path, "rb") as file:
            raw = file.read()
    except OSError as error:
        raise EvalSetError(f"evaluation set {described.name}: {described.path}: {error.strerror}") from error
    texts: list[Text] = []
    items: set[str] = set()
    left_out = empty = not_chosen = 0
    for number, record in _records(described, raw):
        where = f"evaluation set {described.name}: {described.path}, line {number + 1}"
        if described.only is not None:
            name, first, last = described.only
            value = record.get(name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise EvalSetError(f"{where}: {name} is {value!r}, needed is a whole number")
            if not first <= value <= last:
                not_chosen += 1
                continue
        item = _identity(described, record, number, where)
        if item in items:
            raise EvalSetError(f"{where}: id {item!r} is not unique")
        items.add(item)
        own: list[str] = []
        for field in described.fields:
            text = _text(record, field.name, where)
            if field.take == "docstring":
                try:
                    text = docstring(text)
                except ValueError as error:
                    raise EvalSetError(f"{where}: {field.name} {error}") from None
            elif field.take == "stripped":
                text = text.strip()
            if text.strip() in field.leave_out:
                left_out += 1
            elif not text.strip():
                empty += 1
            else:
                texts.append(Text(described.name, item, field.name, TARGET, text))
                own.append(text)
        for role, asked in ((QUERY, described.query), (LABEL, described.label)):
            if asked is not None:
                texts.append(Text(described.name, item, asked, role, _text(record, asked, where)))
        own = [_text(record, name, where) for name in described.whole] or own
        if own:
            texts.append(Text(described.name, item, "", WHOLE, " ".join(own)))
    if not any(text.role == TARGET for text in texts):
        raise EvalSetError(f"evaluation set {described.name}: {described.path} gives no text to look for")
    return LoadedSet(tuple(texts), len(items), left_out, empty, not_chosen, hashlib.sha256(raw).hexdigest())


def _records(described: EvalSet, raw: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        data = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        lines = io.StringIO(data.decode("utf-8-sig"), newline="\n")
    except (OSError, EOFError, ValueError) as error:
        raise EvalSetError(f"evaluation set {described.name}: {described.path} is damaged: {error}") from error
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            record = error
        if not isinstance(record, dict):
            raise EvalSetError(f"evaluation set {described.name}: {described.path}, line {number + 1}: no JSON object")
        yield number, record


def _identity(described: EvalSet, record: Mapping[str, Any], number: int, where: str) -> str:
    if described.id is None:
        return str(number)
    names = [name for _, name, _, _ in string.Formatter().parse(described.id) if name]
    for name in names or [described.id]:
        if record.get(name) is None:
            raise EvalSetError(f"{where}: the id's field {name} is missing")
    if not names:
        return str(record[described.id])
    return re.sub(r"\{(\w+)\}", lambda found: str(record[found[1]]), described.id)


def _text(record: Mapping[str, Any], name: str, where: str) -> str:
    value = record.get(name)
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        value = "\n".join(value)
    if not isinstance(value, str):
        raise EvalSetError(f"{where}: {name} is {type(value).__name__}, needed is a text; fields: {', '.join(record)}")
    if re.search("[\ud800-\udfff]", value):
        raise EvalSetError(f"{where}: {name} holds a lone surrogate")
    return value
