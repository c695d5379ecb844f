"""Regular expressions as programs that compiled code runs over code points, with the results of `re`.

Only what tokenizer rules are made of: characters and sets, alternatives, groups, greedy repetition of one character,
the two ends, and looks of fixed width at the characters around.  `programs` raises Unsupported for anything else, so
that who calls can stay with `re`.  Of several alternatives the first that matches counts, as in `re`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from quality_signals.compiled import njit
from quality_signals.strings import U

try:  # the parser of `re`, public by no name; what it gives is checked in tests against `re` itself
    from re import _parser as _re_parser  # type: ignore[attr-defined]
except ImportError:  # pragma: no cover - another Python
    _re_parser = None

MATCH, SET, SPLIT, JUMP, AROUND, NOT_AROUND, BEGIN, END = range(8)
_CODE_POINTS = 0x110000
# Ways still to be tried; a repetition leaves one for each character.
STACK = 1 << 14


class Unsupported(ValueError):
    """The pattern holds something that programs have not."""


@dataclasses.dataclass(frozen=True, slots=True)
class Programs:
    """Programs that share their sets.

    classes   [1114112] uint8: what the sets can tell apart of a code point
    sets      [sets, classes] bool
    code      one array [instructions, 3] int32 a program: what to do, and two numbers
    begins    one array [1 + classes, classes] bool a program: whether a match may begin with a character of the
              second class behind one of the first; row 0: where the string begins, row c + 1: behind class c
    ways      one array [instructions, classes + 1] int32 a program: with a character of a class next (the last: with
              none), at which instruction of those that a SPLIT leads to there is something to decide, -1 where nothing
              can match; of other instructions, -1 or themselves
    """

    classes: npt.NDArray[np.uint8]
    sets: npt.NDArray[np.bool_]
    code: tuple[npt.NDArray[np.int32], ...]
    begins: tuple[npt.NDArray[np.bool_], ...]
    ways: tuple[npt.NDArray[np.int32], ...]


Ranges = tuple[tuple[int, int], ...]


class _Compiler:
    """One pattern to instructions; the sets of all patterns are numbered in `sets`."""

    def __init__(self, sets: dict[Ranges, int]) -> None:
        self.sets = sets
        self.code: list[list[int]] = []

    def emit(self, *instruction: int) -> int:
        self.code.append([*instruction, 0, 0][:3])
        return len(self.code) - 1

    def sequence(self, items: Any) -> None:
        for op, value in items:
            self.item(str(op), value)

    def item(self, op: str, value: Any) -> None:
        ranges = _ranges(op, value)
        if ranges is not None:
            self.emit(SET, self.numbered(ranges))
        elif op == "BRANCH":
            self.branch(value[1])
        elif op == "SUBPATTERN":
            _, added, removed, inner = value
            if added or removed:
                raise Unsupported("flags of a group")
            self.sequence(inner)
        elif op == "MAX_REPEAT":
            self.repeat(*value)
        elif op in ("ASSERT", "ASSERT_NOT"):
            self.around(op, *value)
        elif op == "AT" and str(value) in ("AT_BEGINNING", "AT_END"):  # runs hold no line break
            self.emit(BEGIN if str(value) == "AT_BEGINNING" else END)
        else:
            raise Unsupported(op)

    def numbered(self, ranges: Ranges) -> int:
        return self.sets.setdefault(ranges, len(self.sets))

    def branch(self, ways: Any) -> None:
        ends = []
        for way in ways[:-1]:
            split = self.emit(SPLIT)
            self.code[split][1] = len(self.code)
            self.sequence(way)
            ends.append(self.emit(JUMP))
            self.code[split][2] = len(self.code)
        self.sequence(ways[-1])
        for end in ends:
            self.code[end][1] = len(self.code)

    def repeat(self, least: int, most: Any, inner: Any) -> None:
        if len(inner) != 1 or _ranges(str(inner[0][0]), inner[0][1]) is None:
            if (least, most) == (1, 1):
                self.sequence(inner)
            elif (least, most) == (0, 1):
                split = self.emit(SPLIT)
                self.code[split][1] = len(self.code)
                self.sequence(inner)
                self.code[split][2] = len(self.code)
            else:
                raise Unsupported("repetition of more than one character")
            return
        for _ in range(least):
            self.sequence(inner)
        if str(most) == "MAXREPEAT":
            split = self.emit(SPLIT)
            self.code[split][1] = len(self.code)
            self.sequence(inner)
            self.emit(JUMP, split)
            self.code[split][2] = len(self.code)
            return
        splits = []
        for _ in range(most - least):
            splits.append(self.emit(SPLIT))
            self.code[splits[-1]][1] = len(self.code)
            self.sequence(inner)
        for split in splits:
            self.code[split][2] = len(self.code)

    def around(self, op: str, direction: int, inner: Any) -> None:
        """Looks at the characters before (direction -1) or behind; each at a distance that is known."""
        sets = [_ranges(str(each), value) for each, value in inner]
        if None in sets or op == "ASSERT_NOT" and len(sets) != 1:
            raise Unsupported("a look around at more than characters")
        for place, ranges in enumerate(sets):
            assert ranges is not None
            distance = place - len(sets) if direction < 0 else place
            self.emit(AROUND if op == "ASSERT" else NOT_AROUND, self.numbered(ranges), distance)


def _ranges(op: str, value: Any) -> Ranges | None:
    """The code points of an item that stands for one character, None for other items."""
    if op == "LITERAL":
        return ((value, value),)
    if op == "NOT_LITERAL":
        return _without(((value, value),))
    if op == "ANY":
        return _without(((10, 10),))
    if op != "IN":
        return None
    found: list[tuple[int, int]] = []
    negated = False
    for each, inner in value:
        match str(each):
            case "NEGATE":
                negated = True
            case "LITERAL":
                found.append((inner, inner))
            case "RANGE":
                found.append(tuple(inner))
            case "CATEGORY":
                found += _category(str(inner))
            case other:
                raise Unsupported(other)
    merged: list[tuple[int, int]] = []
    for low, high in sorted(found):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return _without(tuple(merged)) if negated else tuple(merged)


def _without(ranges: Ranges) -> Ranges:
    kept = []
    low = 0
    for start, end in ranges:
        if low < start:
            kept.append((low, start - 1))
        low = end + 1
    if low < _CODE_POINTS:
        kept.append((low, _CODE_POINTS - 1))
    return tuple(kept)


_CATEGORIES = {
    "CATEGORY_WORD": r"\w+", "CATEGORY_NOT_WORD": r"\W+", "CATEGORY_DIGIT": r"\d+", "CATEGORY_NOT_DIGIT": r"\D+",
    "CATEGORY_SPACE": r"\s+", "CATEGORY_NOT_SPACE": r"\S+",
}  # fmt: skip


def _category(name: str) -> list[tuple[int, int]]:
    everything = "".join(map(chr, range(_CODE_POINTS)))
    return [(match.start(), match.end() - 1) for match in re.finditer(_CATEGORIES[name], everything)]


def programs(patterns: Sequence[str]) -> Programs:
    """Raises Unsupported."""
    if _re_parser is None:
        raise Unsupported("this Python's re has no such parser")
    sets: dict[Ranges, int] = {}
    code = []
    for pattern in patterns:
        compiler = _Compiler(sets)
        compiler.sequence(_re_parser.parse(pattern))
        compiler.emit(MATCH)
        code.append(np.array(compiler.code, np.int32))
    places = {0, *(place for ranges in sets for low, high in ranges for place in (low, high + 1))} - {_CODE_POINTS}
    edges = np.array(sorted(places))
    table = np.zeros((len(edges), len(sets)), np.bool_)
    for ranges, number in sets.items():
        for low, high in np.searchsorted(edges, np.array(ranges) + [0, 1]).tolist():
            table[low:high, number] = True
    kinds, of_edge = np.unique(table, axis=0, return_inverse=True)
    if len(kinds) > 256:
        raise Unsupported(f"{len(kinds)} kinds of characters")
    classes = np.repeat(of_edge.reshape(-1).astype(np.uint8), np.diff(edges, append=_CODE_POINTS))
    by_set = np.ascontiguousarray(kinds.T)
    begins = tuple(_begins(each, by_set) for each in code)
    return Programs(classes, by_set, tuple(code), begins, tuple(_ways(each, by_set) for each in code))


def _begins(code: npt.NDArray[np.int32], sets: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """See `Programs`; all where a match may be empty."""
    classes = sets.shape[1]
    found = np.zeros((classes + 1, classes), np.bool_)
    reached: dict[int, npt.NDArray[np.bool_]] = {}  # instruction -> what may stand before a match that comes there
    todo = [(0, np.ones(classes + 1, np.bool_))]
    while todo:
        at, before = todo.pop()
        before = before & ~reached.get(at, np.zeros(classes + 1, np.bool_))
        if not before.any():
            continue
        reached[at] = reached.get(at, before) | before
        op, a, b = code[at].tolist()
        if op == SET:
            found[before] |= sets[a]
        elif op == SPLIT:
            todo += [(a, before), (b, before)]
        elif op == JUMP:
            todo.append((a, before))
        elif op in (MATCH, END):
            found[before] = True
        elif op in (AROUND, NOT_AROUND) and b == -1:
            inside = np.append(False, sets[a])
            todo.append((at + 1, before & (inside if op == AROUND else ~inside)))
        elif op == BEGIN:
            todo.append((at + 1, before & (np.arange(classes + 1) == 0)))
        else:
            todo.append((at + 1, before))
    return found


def _ways(code: npt.NDArray[np.int32], sets: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """See `Programs`."""
    classes = sets.shape[1]
    ways = np.full((len(code), classes + 1), -1, np.int32)
    every, ending = np.ones(classes + 1, np.bool_), np.arange(classes + 1) == classes
    while True:  # until nothing changes: a repetition leads back
        before = ways.copy()
        for at in range(len(code) - 1, -1, -1):
            op, a, b = code[at].tolist()
            if op == SPLIT:
                both = (ways[a] >= 0) & (ways[b] >= 0)
                ways[at] = np.where(both, at, np.maximum(ways[a], ways[b]))
                continue
            if op == SET:
                can = np.append(sets[a], False)
            elif op == END:
                can = ending
            elif op == MATCH:
                can = every
            else:
                can = ways[a if op == JUMP else at + 1] >= 0
            ways[at] = np.where(can, at, -1)
        if np.array_equal(ways, before):
            return ways


@njit(error_model="numpy")
def match_at(kinds, low, high, place, code, ways, sets, stack):  # type: ignore[no-untyped-def]
    """Where the first match of the program that begins at `place` ends, -1 without one.

    kinds: classes of characters, of which those of the string are kinds[low:high].  stack: [STACK, 2] int32.
    """
    none = ways.shape[1] - 1
    depth = 0
    at = 0
    i = place
    while True:
        op = code[U(at), 0]
        a = code[U(at), 1]
        good = True
        if op == SET:
            good = i < high and sets[U(a), U(kinds[U(i)])]
            i += 1
            at += 1
        elif op == SPLIT:
            way = ways[U(at), U(kinds[U(i)] if i < high else none)]
            if way == at:
                stack[depth, 0] = code[U(at), 2]
                stack[depth, 1] = i
                depth += 1
                way = a
            good = way >= 0
            at = way
        elif op == JUMP:
            at = a
        elif op == AROUND or op == NOT_AROUND:
            seen = i + code[U(at), 2]
            inside = low <= seen < high and sets[U(a), U(kinds[U(seen)])]
            good = inside == (op == AROUND)
            at += 1
        elif op == BEGIN:
            good = i == low
            at += 1
        elif op == END:
            good = i == high
            at += 1
        else:
            return i
        if not good:
            if depth == 0:
                return np.int64(-1)
            depth -= 1
            at = stack[depth, 0]
            i = np.int64(stack[depth, 1])


@njit(error_model="numpy")
def search(kinds, low, high, start, code, ways, begins, sets, stack):  # type: ignore[no-untyped-def]
    """Start and end of the leftmost match from `start` on, -1 and -1 without one; never an empty one at the end."""
    before = np.int64(0)
    if start > low:
        before = np.int64(kinds[U(start - 1)]) + 1
    for place in range(start, high):
        kind = kinds[U(place)]
        may_begin = begins[U(before), U(kind)]
        before = np.int64(kind) + 1
        if may_begin:
            end = match_at(kinds, low, high, place, code, ways, sets, stack)
            if end >= 0:
                return np.int64(place), end
    return np.int64(-1), np.int64(-1)
