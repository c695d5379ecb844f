"""YAML with places: every value of a recipe knows its line and column.

Scalars follow YAML 1.2: `no`, `on` and `1:30` are strings, `1e-2` is a number.  Keys are unique strings.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any

import yaml

from pipelines.recipe_errors import Mark, Path, Problem, RecipeError, dotted, nearest, shown

# A recipe is written by hand; larger files are something else given by mistake.
_MAX_RECIPE_BYTES = 1_000_000
# Aliases may repeat a value, but not without end.
_MAX_VALUES = 100_000

_INT = re.compile(r"[-+]?[0-9]+$|0o[0-7]+$|0x[0-9a-fA-F]+$")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
)


_PREFIX = "tag:yaml.org,2002:"
_STRING = _PREFIX + "str"
_KEY_PATH = re.compile(r"[^.\[\]\s]+(?:\.[^.\[\]\s]+|\[\d+\])*")


class _Loader(yaml.SafeLoader):
    """The core schema of YAML 1.2 (section 10.3.2 of the standard)."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}


for _tag, _pattern, _first in (
    ("null", re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _first)


def _scalar(tag: str, text: str) -> Any:
    """Raises ValueError for a tag that is not in the core schema, or that the text does not fit."""
    match tag.rpartition(":")[2]:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        case "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        case "str":
            return text
    raise ValueError(tag)


@dataclasses.dataclass
class Document:
    """The values of a recipe and where each stands; `keys` has the place of a value's key."""

    file: str
    data: dict[str, Any]
    values: dict[Path, Mark]
    keys: dict[Path, Mark]

    def mark(self, path: Path, *, of_key: bool = False) -> Mark:
        """The place of `path`, or of the nearest thing above it that exists."""
        for length in range(len(path), -1, -1):
            part = path[:length]
            if of_key and part in self.keys:
                return self.keys[part]
            if part in self.values:
                return self.values[part]
        return Mark(self.file)


def _mark(file: str, mark: yaml.Mark) -> Mark:
    return Mark(file, mark.line + 1, mark.column + 1)


@dataclasses.dataclass
class _Construction:
    document: Document
    problems: list[Problem] = dataclasses.field(default_factory=list)
    open_nodes: set[int] = dataclasses.field(default_factory=set)
    count: int = 0

    def build(self, node: yaml.Node, path: Path) -> Any:
        mark = _mark(self.document.file, node.start_mark)
        self.count += 1
        if id(node) in self.open_nodes or self.count > _MAX_VALUES:
            raise RecipeError([Problem(mark, dotted(path), "aliases repeat themselves without end")])
        self.document.values[path] = mark
        if isinstance(node, yaml.ScalarNode):
            with contextlib.suppress(ValueError):
                return _scalar(node.tag, node.value)
            self.problems.append(Problem(mark, dotted(path), "YAML tags are not used in recipes", node.tag))
            return node.value
        if node.tag not in (_PREFIX + "seq", _PREFIX + "map"):
            self.problems.append(Problem(mark, dotted(path), "YAML tags are not used in recipes", node.tag))
        self.open_nodes.add(id(node))
        built: Any
        if isinstance(node, yaml.SequenceNode):
            built = [self.build(child, (*path, i)) for i, child in enumerate(node.value)]
        else:
            assert isinstance(node, yaml.MappingNode)
            built = self._mapping(node, path)
        self.open_nodes.discard(id(node))
        return built

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = _mark(self.document.file, key_node.start_mark)
            key = key_node.value if key_node.tag == _STRING else None
            if not isinstance(key, str):
                found = repr(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "a list or a mapping"
                self.problems.append(Problem(place, dotted(path), "a key must be a string (quote it)", found))
                continue
            if key in built:
                first = self.document.keys[(*path, key)].line
                self.problems.append(
                    Problem(place, dotted((*path, key)), f"the key stands twice, first on line {first}")
                )
                continue
            self.document.keys[(*path, key)] = place
            built[key] = self.build(value_node, (*path, key))
        return built


def parse_yaml(text: str, file: str) -> Document:
    """Raises RecipeError if the text is no YAML mapping, or has duplicate or odd keys."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        message = f"the character {error.character!r} is not allowed in YAML"
        raise RecipeError([Problem(Mark(file, line, column), "", message)]) from None
    except yaml.MarkedYAMLError as error:
        raise RecipeError([_syntax_problem(error, file)]) from None
    if node is None:
        raise RecipeError([Problem(Mark(file), "", "the recipe is empty")])
    document = Document(file, {}, {}, {})
    construction = _Construction(document)
    data = construction.build(node, ())
    if not isinstance(data, dict):
        message = "a recipe is a mapping of keys to values"
        raise RecipeError([Problem(document.mark(()), "", message, shown(data))])
    if construction.problems:
        raise RecipeError(construction.problems)
    document.data = data
    return document


def _syntax_problem(error: yaml.MarkedYAMLError, file: str) -> Problem:
    place = error.problem_mark or error.context_mark
    mark = _mark(file, place) if place else Mark(file)
    message = f"not valid YAML: {error.problem or error.context}"
    if error.context and error.problem and error.context_mark:
        message += f" ({error.context} from line {error.context_mark.line + 1})"
    if "'\\t'" in message:
        message = "a tab where YAML allows only spaces: indent with spaces"
    return Problem(mark, "", message)


def read_yaml(path: str) -> Document:
    """Reads a recipe file; raises RecipeError if there is none or it is not UTF-8 YAML."""
    file = FilePath(path)
    if not file.is_file():
        raise RecipeError([_no_file(file)])
    if file.stat().st_size > _MAX_RECIPE_BYTES:
        message = f"a recipe has at most {_MAX_RECIPE_BYTES:,} bytes"
        raise RecipeError([Problem(Mark(path), "", message, f"{file.stat().st_size:,} bytes")])
    raw = file.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        message = "a recipe is UTF-8 text"
        raise RecipeError([Problem(Mark(path, line, column), "", message, f"byte 0x{raw[error.start]:02x}")]) from None
    return parse_yaml(text, path)


def _no_file(file: FilePath) -> Problem:
    message = "is a directory, not a recipe file" if file.is_dir() else "no such file"
    beside = [str(other) for pattern in ("*.yaml", "*.yml") for other in file.parent.glob(pattern)]
    return Problem(Mark(str(file)), "", message, suggestion=nearest(str(file), beside))


def apply_overrides(document: Document, overrides: Sequence[str]) -> None:
    """Sets `key.path=value` arguments, values read as YAML; a number picks an entry of a list."""
    for override in overrides:
        mark = Mark(f"--set {override}")
        name, equals, text = override.partition("=")
        parts: Path = tuple(int(p) if p.isdigit() else p for p in re.findall(r"[^.\[\]]+", name))
        if not equals or not _KEY_PATH.fullmatch(name):
            raise RecipeError([Problem(mark, "", "an override is KEY.PATH=VALUE, for example study.seeds=5")])
        value = _value(text, mark, dotted(parts))
        _set(document, parts, value, mark)


def read_value(text: str, place: str) -> Any:
    """A value that stands alone, with the rules of a recipe's values.  Raises RecipeError, naming `place`."""
    return _value(text, Mark(place), "")


def _value(text: str, mark: Mark, path: str) -> Any:
    # A value alone must be wrapped to be read with the same rules: as the value of a one-key mapping.
    try:
        node = yaml.compose(text or "null", Loader=_Loader)
    except yaml.YAMLError as error:
        raise RecipeError([Problem(mark, path, f"the value is not valid YAML: {error}")]) from None
    return _Construction(Document(str(mark), {}, {}, {})).build(node, ())


def _set(document: Document, parts: Path, value: Any, mark: Mark) -> None:
    at: Any = document.data
    for depth, part in enumerate(parts):
        path = parts[: depth + 1]
        last = depth == len(parts) - 1
        if isinstance(at, list):
            if not isinstance(part, int) or part >= len(at):
                message = f"{dotted(parts[:depth])} is a list of {len(at)}; {part!r} is no position in it"
                raise RecipeError([Problem(mark, dotted(path), message)])
        elif isinstance(at, dict):
            part = str(part)
        else:
            message = f"{dotted(parts[:depth])} is {shown(at)} and has no keys"
            raise RecipeError([Problem(mark, dotted(path), message)])
        if last:
            at[part] = value  # type: ignore[index]
            for marks in (document.values, document.keys):
                for known in [k for k in marks if k[: len(parts)] == parts]:
                    del marks[known]
            document.values[parts] = document.keys[parts] = mark
        else:
            if isinstance(at, dict) and at.get(part) is None:  # type: ignore[call-overload]
                at[part] = {}  # type: ignore[index]
            at = at[part]  # type: ignore[index]
