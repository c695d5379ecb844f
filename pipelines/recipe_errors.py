"""What is wrong with a recipe, said so that it can be mended: place, key, what was found, what is allowed."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Iterable, Sequence

from pipelines.errors import UsageError

Path = tuple[str | int, ...]
"""Keys and list positions from the top of a recipe: ('variants', 'full', 2, 'rule')."""

# difflib's ratio from which two names count as near: a transposition or one wrong letter in a short word.
_NEAR = 0.6
# Longest form of a found value in a message.
_FOUND_CHARS = 60


def dotted(path: Path) -> str:
    """('variants', 'full', 2) -> 'variants.full[2]'."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def nearest(word: object, names: Iterable[str]) -> str | None:
    """The known name that `word` most likely means; upper case and a missing '@version' do not count."""
    by_folded: dict[str, str] = {}
    for name in sorted(names, reverse=True):
        by_folded[name.partition("@")[0].casefold()] = name
        by_folded[name.casefold()] = name
    found = difflib.get_close_matches(str(word).casefold(), sorted(by_folded), n=1, cutoff=_NEAR)
    return by_folded[found[0]] if found else None


def shown(value: object) -> str:
    """A found value with its type, where the type is not plain to see; long ones are cut."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"{str(value).lower()} (a truth value)"
        case dict():
            return f"a mapping with the keys {', '.join(map(str, value))}" if value else "an empty mapping"
        case list() | tuple():
            return f"a list of {len(value)}"
        case str():
            text = repr(value)
        case _:
            text = f"{value} (a number)"
    return text if len(text) <= _FOUND_CHARS else text[: _FOUND_CHARS - 3] + "..."


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """A place in a recipe: file and 1-based line and column, or the `--set` argument that gave the value."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    mark: Mark
    path: str
    """Key path, empty for the file as a whole."""
    message: str
    found: str | None = None
    allowed: str | None = None
    suggestion: str | None = None

    def __str__(self) -> str:
        text = f"{self.mark}: {self.path + ': ' if self.path else ''}{self.message}"
        if self.found is not None:
            text += f"; found {self.found}"
        if self.suggestion is not None:
            text += f"; did you mean {self.suggestion!r}?"
        if self.allowed is not None:
            text += f"{'' if self.suggestion is not None else ';'} allowed: {self.allowed}"
        return text


class RecipeError(UsageError):
    """A recipe that cannot be run; `problems` in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(problems, key=lambda p: (p.mark.line is None, p.mark.line or 0, p.mark.column or 0))
        lines = [str(problem) for problem in self.problems]
        if len(lines) > 1:
            lines = [f"{len(lines)} problems in the recipe", *lines]
        super().__init__("\n".join(lines))


def listed(names: Collection[str]) -> str:
    """Names for a message, in their order."""
    return ", ".join(names) if names else "none"
