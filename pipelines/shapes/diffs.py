"""What changed between two versions of a file: ranges of lines, and hunks as StarCoder2's pull requests show them.

References: bigcode-project/the-stack-v2 @ 9172041, pull_requests_and_issues/render.py, and for commits
bigcode-project/bigcode-dataset @ bebec92, preprocessing/filtering_git_commits.ipynb.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from difflib import Match, SequenceMatcher

# Lines that a comparison may look at, each as often as it does: 5 s of one core (measured).  8,000 lines that changed
# places in pairs cost 2^24.9; 30,000 of which none is the same, 2^15.
MAX_WORK = 1 << 25

Change = tuple[str, int, int, int, int]


class DiffTooLargeError(ValueError):
    """A comparison would cost more than MAX_WORK."""


class _Matcher(SequenceMatcher[str]):
    """difflib's, which takes quadratic time and more on what is made for it, with an end."""

    def __init__(self, old: Sequence[str], new: Sequence[str]) -> None:
        super().__init__(None, old, new)
        places: dict[str, list[int]] = self.b2j  # type: ignore[attr-defined]  # lines of `new`, without popular ones
        pairs = sum(len(places.get(line, ())) for line in old)
        self._cost_of_line = 1 + pairs / max(1, len(old))
        self._cost, self._lengths = 0.0, (len(old), len(new))

    def find_longest_match(self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None) -> Match:
        self._cost += ((self._lengths[0] if ahi is None else ahi) - alo) * self._cost_of_line
        if self._cost > MAX_WORK:
            raise DiffTooLargeError("{} and {} lines".format(*self._lengths))
        return super().find_longest_match(alo, ahi, blo, bhi)


@dataclasses.dataclass(frozen=True, slots=True)
class LineRange:
    """Lines from the first to the last change; numbers from 0, ends exclusive.  Without a change the starts are
    sys.maxsize and the ends 0."""

    old_start: int
    old_stop: int
    new_start: int
    new_stop: int
    inserts: int
    deletes: int


def changes(old: Sequence[str], new: Sequence[str]) -> list[list[Change]]:
    """What is not equal, in difflib's groups (3 lines of context).  Raises DiffTooLargeError."""
    groups = _Matcher(old, new).get_grouped_opcodes()
    return [[change for change in group if change[0] != "equal"] for group in groups]


def changed_range(old: Sequence[str], new: Sequence[str], *, from_zero: bool = False) -> LineRange:
    """from_zero   as the notebook of the commits: the smallest start is taken with 0, so that every range begins at the
    first line of the file."""
    first = 0 if from_zero else sys.maxsize
    old_start = new_start = first
    old_stop = new_stop = inserts = deletes = 0
    for group in changes(old, new):
        for kind, start, stop, new_from, new_to in group:
            inserts += new_to - new_from if kind in ("insert", "replace") else 0
            deletes += stop - start if kind in ("delete", "replace") else 0
        old_start, new_start = min(old_start, group[0][1]), min(new_start, group[0][3])
        old_stop, new_stop = max(old_stop, group[-1][2]), max(new_stop, group[-1][4])
    return LineRange(old_start, old_stop, new_start, new_stop, inserts, deletes)


def hunks(old: Sequence[str], new: Sequence[str], context: int, mark: str, *, mended: bool = False) -> str:
    """Hunks with `context` lines around, changes nearer than that in one; each begins with the mark and `@@ -a,n +b,m
    @@`.

    As the reference: a hunk whose change is the last line claims one line less than it shows, and the context of two
    hunks may be the same lines.  mended: the numbers are those of the lines shown, and each line is shown once.
    """
    blocks: list[list[Change]] = []
    for group in changes(old, new):
        for change in group:
            if blocks and change[1] - context <= blocks[-1][-1][2]:
                blocks[-1].append(change)
            else:
                blocks.append([change])
    parts = []
    last = 0
    for number, block in enumerate(blocks):
        begin, end = block[0], block[-1]
        above = context + min(begin[1] - context - last, 0)
        below = (blocks[number + 1][0][1] if number < len(blocks) - 1 else len(old) - 1) - end[2]
        below = min(context, max(below, 0) if mended else below)
        start, stop = begin[1] - above, end[2] + below
        new_start, new_stop = begin[3] - above, end[4] + below
        last = stop if mended else end[2]
        parts.append(f"{mark}@@ -{start + 1},{stop - start} +{new_start + 1},{new_stop - new_start} @@\n")
        parts += [f" {line}\n" for line in old[start : begin[1]]]
        for i, change in enumerate(block):
            parts += [f"-{line}\n" for line in old[change[1] : change[2]]]
            parts += [f"+{line}\n" for line in new[change[3] : change[4]]]
            if i < len(block) - 1:
                parts += [f" {line}\n" for line in old[change[2] : block[i + 1][1]]]
        parts.append("\n".join(f" {line}" for line in old[end[2] : stop]))
    return "".join(parts)
