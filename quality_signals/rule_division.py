"""The rules of `words.WordSplitter` in compiled code: many runs of non-space characters to the sizes of their words.

Whether a rest is a URL stays a question to `re`: it is asked for runs whose rest comes that far, but for the simple
ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from quality_signals.codepoints import mix
from quality_signals.compiled import njit
from quality_signals.pattern_programs import STACK, Programs, match_at, search
from quality_signals.strings import U

if TYPE_CHECKING:
    from quality_signals.words import Sizes

Ints = npt.NDArray[np.int64]
Points = npt.NDArray[np.uint32]

_ODD = U(0x9E3779B97F4A7C15)
_DOT = ord(".")
_IP_DOTS = 3  # of an address in digits
_LABEL_CHARS = 64  # of a label, and one more than of the last
# What is known of a rest that may be a URL.
_NOT_ASKED, _IS_URL, _NO_URL = 0, 1, 2


@njit(error_model="numpy")
def _hash(points, low, high):  # type: ignore[no-untyped-def]
    h = U(high - low)
    for i in range(low, high):
        h = (h ^ U(points[U(i)])) * _ODD
        h ^= h >> U(32)
    return mix(h)


@njit(error_model="numpy")
def _add_exceptions(points, bounds, slots):  # type: ignore[no-untyped-def]
    mask = U(len(slots) - 1)
    for number in range(len(bounds) - 1):
        slot = _hash(points, bounds[number], bounds[number + 1]) & mask
        while slots[slot]:
            slot = (slot + U(1)) & mask
        slots[slot] = number + 1


@njit(error_model="numpy")
def _exception(points, low, high, table):  # type: ignore[no-untyped-def]
    """Number of the exception that points[low:high] is, -1 where it is none."""
    keys, bounds, slots, longest, _, _ = table
    if high - low > longest or high == low:
        return np.int64(-1)
    mask = U(len(slots) - 1)
    slot = _hash(points, low, high) & mask
    while slots[slot]:
        number = np.int64(slots[slot]) - 1
        start = bounds[number]
        if bounds[number + 1] - start == high - low:
            k = 0
            while k < high - low and keys[U(start + k)] == points[U(low + k)]:
                k += 1
            if k == high - low:
                return number
        slot = (slot + U(1)) & mask
    return np.int64(-1)


@njit(error_model="numpy")
def _suffix(kinds, low, high, suffix_chars, suffix, sets, stack):  # type: ignore[no-untyped-def]
    """As `WordSplitter._suffix`: the size of the suffix of the rest."""
    code, ways, begins = suffix
    edge = high - suffix_chars if suffix_chars >= 0 else low
    if edge > low:
        start, end = search(kinds, low, high, edge, code, ways, begins, sets, stack)
        if start != edge:
            return end - start
    start, end = search(kinds, low, high, low, code, ways, begins, sets, stack)
    return end - start


@njit(error_model="numpy")
def _only_letters(points, low, high):  # type: ignore[no-untyped-def]
    """Whether points[low:high] are letters of ASCII; from the end, where most others stand."""
    for i in range(high - 1, low - 1, -1):
        c = points[U(i)] | np.uint32(32)
        if c < 97 or c > 122:
            return False
    return True


@njit(error_model="numpy")
def _is_plain_url(points, low, high):  # type: ignore[no-untyped-def]
    """_IS_URL or _NO_URL as far as points[low:high] tell without the pattern of URLs, else _NOT_ASKED.

    The pattern wants, behind a scheme and a user if there are any ("://", "@"), an address in digits or labels of
    letters, digits, "_" and "-" with dots between, the last of small letters; and then the end, or one of ":/?#".
    """
    digits = 0  # dots before digits
    dot = low - 1
    plain = True  # labels of ASCII that the pattern takes
    i = low
    while i < high:
        c = points[U(i)]
        if c == _DOT:
            size = i - dot - 1
            plain &= 0 < size <= _LABEL_CHARS and _is_alnum(points[U(dot + 1)]) and _is_alnum(points[U(i - 1)])
            digits += i + 1 < high and (points[U(i + 1)] >= 128 or 48 <= points[U(i + 1)] <= 57)
            dot = i
        elif c >= 128:
            plain = False
        elif not _is_alnum(c) and c != 45 and c != 95:
            break
        i += 1
    for k in range(i, high):
        c = points[U(k)]
        if c == 64 or (c == 58 and k + 2 < high and points[U(k + 1)] == 47 and points[U(k + 2)] == 47):
            return _NOT_ASKED
    if i < high and points[U(i)] not in (35, 47, 58, 63):
        return _NO_URL
    if digits >= _IP_DOTS:
        return _NOT_ASKED
    if dot <= low or i - dot < 3:
        return _NO_URL
    for k in range(dot + 1, i):
        if points[U(k)] < 97 or 122 < points[U(k)] < 128:
            return _NO_URL
    if not plain or i < high:
        return _NOT_ASKED
    return _IS_URL if i - dot <= _LABEL_CHARS else _NO_URL


@njit(error_model="numpy")
def _is_alnum(c):  # type: ignore[no-untyped-def]
    """Whether a character is a letter or digit of ASCII."""
    return 48 <= c <= 57 or 97 <= c | np.uint32(32) <= 122


@njit(error_model="numpy")
def _divide_runs(  # type: ignore[no-untyped-def]
    points, kinds, bounds, options, patterns, table, answers, asked, stack, sizes, counts
):
    """Fills sizes from bounds[run] on with those of the words of the run, and counts; or a count of -1, and asked[run]
    with the rest of which it must be known whether it is a URL."""
    most_chars, anchored, letters_whole, suffix_chars = options
    (prefix, prefix_ways, prefix_begins), suffix, (infix, infix_ways, infix_begins), sets = patterns
    _, _, _, _, exception_sizes, exception_bounds = table
    for run in range(len(bounds) - 1):
        if counts[run] > 0:
            continue
        front = bounds[run]
        back = bounds[run + 1]
        if back - front > most_chars:
            sizes[front] = back - front
            counts[run] = 1
            continue
        low = front
        high = back
        last = np.int64(0)
        found = np.int64(-1)
        while high > low and high - low != last:
            found = _exception(points, low, high, table)
            if found >= 0:
                break
            last = high - low
            if letters_whole and _only_letters(points, low, high):
                sizes[front] = last
                front += 1
                low = high
                break
            head = np.int64(0)
            if anchored:
                if prefix_begins[0, U(kinds[U(low)])]:
                    head = max(match_at(kinds, low, high, low, prefix, prefix_ways, sets, stack) - low, 0)
            else:
                start, end = search(kinds, low, high, low, prefix, prefix_ways, prefix_begins, sets, stack)
                head = end - start
            if head:
                found = _exception(points, low + head, high, table)
                if found >= 0:
                    sizes[front] = head
                    front += 1
                    low += head
                    break
            tail = _suffix(kinds, low + head, high, suffix_chars, suffix, sets, stack)
            if tail:
                found = _exception(points, low, high - tail, table)
                if found >= 0:
                    back -= 1
                    sizes[back] = tail
                    high -= tail
                    break
            if head and (not tail or head + tail <= high - low):
                sizes[front] = head
                front += 1
                low += head
            elif head:
                sizes[front] = head
                front += 1
                low += head
                tail = 0
            if tail:
                back -= 1
                sizes[back] = tail
                high -= tail
        if high > low:
            if found < 0:  # the loop may have ended without a look
                found = _exception(points, low, high, table)
            if found >= 0:
                for k in range(exception_bounds[found], exception_bounds[found + 1]):
                    sizes[front] = exception_sizes[k]
                    front += 1
            else:
                answer = answers[run]
                if answer == _NOT_ASKED:
                    answer = _is_plain_url(points, low, high)
                    if answer == _NOT_ASKED:
                        asked[run, 0] = low
                        asked[run, 1] = high
                        counts[run] = -1
                        continue
                if answer == _IS_URL:
                    sizes[front] = high - low
                    front += 1
                else:
                    word = low
                    place = low
                    while True:
                        start, end = search(kinds, low, high, place, infix, infix_ways, infix_begins, sets, stack)
                        if start < 0:
                            break
                        place = max(end, start + 1)
                        if start == low:
                            continue
                        if start != word:
                            sizes[front] = start - word
                            front += 1
                        if end > start:
                            sizes[front] = end - start
                            front += 1
                        word = end
                    if word < high:
                        sizes[front] = high - word
                        front += 1
        for k in range(back, bounds[run + 1]):
            sizes[front] = sizes[k]
            front += 1
        counts[run] = front - bounds[run]


class RuleDivision:
    """What `WordSplitter.new_sizes` finds, for many runs at once.

    patterns       prefix, suffix and infix
    exceptions     runs that are divided as listed
    anchored       whether a prefix is looked for at the beginning only
    letters_whole  whether no rule divides letters of ASCII but an exception
    suffix_chars   where a suffix with a bound can start, from the end; None without a bound
    is_url         asked only where `_is_plain_url` does not tell
    """

    def __init__(
        self,
        patterns: Programs,
        anchored: bool,
        letters_whole: bool,
        suffix_chars: int | None,
        exceptions: dict[str, Sizes],
        is_url: Callable[[str], Any],
        most_chars: int,
    ) -> None:
        self._classes = patterns.classes
        self._patterns = (*zip(patterns.code, patterns.ways, patterns.begins, strict=True), patterns.sets)
        self._options = (most_chars, anchored, letters_whole, -1 if suffix_chars is None else suffix_chars)
        self._is_url = is_url
        keys = np.frombuffer("".join(exceptions).encode("utf-32-le"), np.uint32)
        bounds = np.cumsum([0, *map(len, exceptions)], dtype=np.int64)
        slots = np.zeros(1 << (4 * len(exceptions) + 4).bit_length(), np.int32)
        _add_exceptions(keys, bounds, slots)
        sizes = np.array([size for found in exceptions.values() for size in found], np.int64)
        firsts = np.cumsum([0, *map(len, exceptions.values())], dtype=np.int64)
        self._table = (keys, bounds, slots, np.int64(max(map(len, exceptions))), sizes, firsts)
        self._stack = np.empty((STACK, 2), np.int32)

    def sizes(self, points: Points, bounds: Ints) -> tuple[Ints, Ints]:
        """Words of the runs points[bounds[r]:bounds[r + 1]], none empty: how many each has, and the sizes of all.

        returns [runs] and [words] int64.  Not for several threads at once.
        """
        runs = len(bounds) - 1
        kinds = self._classes.take(points)
        sizes, counts = np.empty(len(points), np.int64), np.zeros(runs, np.int64)
        answers, asked = np.zeros(runs, np.int8), np.empty((runs, 2), np.int64)
        arrays = (answers, asked, self._stack, sizes, counts)
        _divide_runs(points, kinds, bounds, self._options, self._patterns, self._table, *arrays)
        open_ = np.flatnonzero(counts < 0)
        if len(open_):
            text = points.tobytes().decode("utf-32-le")
            urls = [bool(self._is_url(text[low:high])) for low, high in asked[open_].tolist()]
            answers[open_] = np.where(urls, _IS_URL, _NO_URL)
            _divide_runs(points, kinds, bounds, self._options, self._patterns, self._table, *arrays)
        return counts, _compacted(sizes, bounds, counts)


@njit(error_model="numpy")
def _compacted(sizes, bounds, counts):  # type: ignore[no-untyped-def]
    total = np.int64(0)
    for count in counts:
        total += count
    out = np.empty(total, np.int64)
    at = 0
    for run in range(len(counts)):
        for k in range(bounds[run], bounds[run] + counts[run]):
            out[at] = sizes[k]
            at += 1
    return out
