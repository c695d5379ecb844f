"""RefinedWeb's line-wise corrections as DCLM reproduces them (`refinedweb@dclm`).

Steps, order and thresholds: mlfoundations/dclm @ 361714b, baselines/baselines_configs/dclm_baseline_refinedweb.yaml
from word_counter_enricher on; readings: baselines/mappers/modifiers.py, baselines/mappers/filters/content_filters.py.

Lines are what stands between "\\n".  In this order: lines with more than half capitals go; lines of digits only;
counters ("3 likes"); lines of fewer than two words, empty ones excepted; then, in lines of at most ten words, the
text "items in cart", "read more" with any three characters behind it at the end of the line (the dots of the
reference's pattern are wildcards) and "sign-in" at its start, each with a white space, in any case, and the line if
nothing is left.  After each step but the fourth the white space at both ends of the document goes, so a line at an
end may be judged without its indentation.  A document that a step leaves empty is dropped; in the end one that
lost more than 5 % of its words.

The column `edits` holds what goes; applied to the text it gives the reference's text.  It is empty where the
reference yields none.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.codepoints import code_points, room
from quality_signals.compiled import njit
from quality_signals.dclm_views import (
    ALNUM,
    BREAK,
    DECIMAL,
    LINE_CART,
    LINE_DIGITS,
    LINE_TOKENS,
    LINE_UPPER,
    LINE_WORDS,
    SPACE,
    dclm_table,
    scan,
)
from quality_signals.edits import edits_column, edits_field
from quality_signals.families import VERDICT_FIELDS, Rule, numbers_batch, ratios
from quality_signals.text_batch import Ints, SharedTexts, TextBatch

# Rules of the edits; the first seven are steps of the reference, under our names.
UPPERCASE, DIGITS, COUNTER, SHORT, CART, READ_MORE, SIGN_IN, STRIP = range(8)
STEPS = {
    "uppercase_line": "uppercase_ratio_line_modifier",
    "digits_line": "numeric_ratio_line_modifier",
    "counter_line": "counter_line_modifier",
    "short_line": "line_length_modifier",
    "items_in_cart": "substring_line_modifier",
    "read_more": "substring_line_modifier",
    "sign_in": "substring_line_modifier",
}
EDIT_RULES = (*STEPS, "strip")

MAX_UPPERCASE = 0.5  # `_is_quiet` compares twice the capitals
MAX_DIGITS = 0.999999
MIN_WORDS = 2
MAX_WORDS = 10  # of a line in which the last three steps look
MAX_REMOVED = 0.05

# modifiers.py, counter_line_modifier.
_COUNTED = (
    "likes shares comments retweets reposts quotes bookmarks upvotes downvotes downloads views followers"
).split()

NUMBERS = {
    "n_words": "words before: split at ASCII white space and NUL, starting with a letter or digit",
    "n_words_left": "such words after; null where nothing is left",
    "n_lines": "lines",
    "uppercase_lines": "lines dropped for their capitals",
    "digits_lines": "lines of digits dropped",
    "counter_lines": "counters dropped",
    "short_lines": "lines dropped for their few words",
    "items_in_cart": "times this was cut",
    "read_more": "times this was cut",
    "sign_in": "times this was cut",
}
RULES = (
    *(Rule(name, reason, f"emptied_by_{name}", ">", None) for name, reason in STEPS.items()),
    Rule("no_words", "word_removal_ratio_filter", "no_words", ">", None),
    Rule("max_removed_words_ratio", "word_removal_ratio_filter", "removed_words_ratio", ">", MAX_REMOVED),
)
SCHEMA = pa.schema([*VERDICT_FIELDS, *(field(name, pa.int64(), text) for name, text in NUMBERS.items()), edits_field()])

_ALIVE = -1


@lru_cache(maxsize=1)
def _phrases() -> tuple[Any, Any, Any, Any, Any]:
    """The texts that are cut, and the counted things back to back with their ends."""
    ends = np.cumsum([len(word) for word in _COUNTED])
    return (
        code_points("items in cart"),
        code_points("read more"),
        code_points("sign-in"),
        code_points("".join(_COUNTED)),
        ends.astype(np.int64),
    )


@njit(error_model="numpy", forceinline=True)
def _same(c, lower):  # type: ignore[no-untyped-def]
    """Whether a character matches a lower-case ASCII one under re.IGNORECASE."""
    if c < 128:
        return c == lower or (65 <= c <= 90 and c + 32 == lower)
    if lower == 105:
        return c == 0x130 or c == 0x131
    return (lower == 115 and c == 0x17F) or (lower == 107 and c == 0x212A)


@njit(error_model="numpy", forceinline=True)
def _stands(points, at, end, phrase):  # type: ignore[no-untyped-def]
    """Whether `phrase` stands at `at`, in any case, before `end`."""
    if at + len(phrase) > end:
        return False
    for k in range(len(phrase)):
        if not _same(points[at + k], phrase[k]):
            return False
    return True


@njit(error_model="numpy")
def _in_word(c, table):  # type: ignore[no-untyped-def]
    """\\w of re."""
    return (table[c] & ALNUM) != 0 or c == 95


@njit(error_model="numpy")
def _is_counter(points, at, end, table, counted, counted_ends):  # type: ignore[no-untyped-def]
    """Whether a line is a number, perhaps with K, M or B, and a counted thing, with non-words around.

    Lower case as str.lower has it: the Kelvin sign is a k, long s no s.
    """
    while at < end and not _in_word(points[at], table):
        at += 1
    if at == end or not table[points[at]] & DECIMAL:
        return False
    while at < end and (points[at] == 44 or points[at] == 46 or table[points[at]] & DECIMAL):
        at += 1
    if at < end and (_same(points[at], 107) or _same(points[at], 109) or _same(points[at], 98)):
        at += 1
    spaces = at
    while at < end and table[points[at]] & SPACE:
        at += 1
    if at == spaces:
        return False
    start = 0
    for stop in counted_ends:
        length = stop - start
        found = at + length <= end
        for k in range(length):
            if not found:
                break
            c = points[at + k]
            found = (c < 128 or c == 0x212A) and _same(c, counted[start + k])
        if found:
            at += length
            while at < end and not _in_word(points[at], table):
                at += 1
            return at == end
        start = stop
    return False


@njit(error_model="numpy")
def _strip(points, table, cut, low, high, starts, ends, fate, moved):  # type: ignore[no-untyped-def]
    """str.strip of the lines low..high - 1 joined: trims the outer lines, drops those that become empty.

    returns the number of lines dropped.
    """
    dropped = 0
    while low < high:
        if fate[low] == _ALIVE:
            i = starts[low]
            while i < ends[low] and (cut[i] != 0 or table[points[i]] & SPACE):
                i += 1
            moved[low] |= i > starts[low]
            starts[low] = i
            if i < ends[low]:
                break
            fate[low] = STRIP
            dropped += 1
        low += 1
    while low < high:
        if fate[high - 1] == _ALIVE:
            i = ends[high - 1]
            while cut[i - 1] != 0 or table[points[i - 1]] & SPACE:
                i -= 1
                if i == starts[high - 1]:
                    break
            moved[high - 1] |= i < ends[high - 1]
            ends[high - 1] = i
            if i > starts[high - 1]:
                break
            fate[high - 1] = STRIP
            dropped += 1
        high -= 1
    return dropped


@njit(error_model="numpy")
def _gather(points, cut, start, end, chars, places):  # type: ignore[no-untyped-def]
    """What is left of a line: characters and where they stand; returns their number."""
    n = 0
    for i in range(start, end):
        if cut[i] == 0:
            chars[n] = points[i]
            places[n] = i
            n += 1
    return n


@njit(error_model="numpy")
def _count(chars, n, table):  # type: ignore[no-untyped-def]
    """Words of str.split and tokens that start with a letter or digit."""
    words = tokens = 0
    in_word = in_token = False
    for i in range(n):
        bits = table[chars[i]]
        word = not bits & SPACE
        words += word and not in_word
        in_word = word
        token = not bits & BREAK
        tokens += token and not in_token and (bits & ALNUM) != 0
        in_token = token
    return words, tokens


@njit(error_model="numpy", forceinline=True)
def _may_stand(step, points, start, end, phrase):  # type: ignore[no-untyped-def]
    """Whether a step may cut something from a line that is whole; spares most lines the closer look."""
    if step == READ_MORE:
        return end - start >= len(phrase) + 3 and _stands(points, end - len(phrase) - 3, end, phrase)
    if step == SIGN_IN:
        return _stands(points, start, end, phrase)
    for i in range(start + 5, end - 7):  # the spaces of "items in cart" are spaces in any case
        if points[i] == 32 and points[i + 3] == 32 and _stands(points, i - 5, end, phrase):
            return True
    return False


@njit(error_model="numpy")
def _cut_phrase(step, chars, n, places, cut, table, phrase):  # type: ignore[no-untyped-def]
    """Marks what one of the last three steps cuts from a line; returns how often, and whether nothing is left."""
    times = 0
    left = n
    at = 0
    if step == READ_MORE:
        at = max(n - len(phrase) - 4, 0)  # with a white space before and three characters behind
    while at < n:
        start = at
        if step != SIGN_IN and table[chars[at]] & SPACE and _stands(chars, at + 1, n, phrase):
            start += 1
        elif not _stands(chars, at, n, phrase):
            if step == SIGN_IN:
                break
            at += 1
            continue
        end = start + len(phrase)
        if step == READ_MORE:
            end += 3
            if end != n:
                at += 1
                continue
        elif step == SIGN_IN and end < n and table[chars[end]] & SPACE:
            end += 1
        for k in range(at, end):
            cut[places[k]] = step + 1
        times += 1
        left -= end - at
        at = end
        if step == SIGN_IN:
            break
    if times and left:
        blank = True
        for k in range(n):
            blank = blank and (cut[places[k]] != 0 or (table[chars[k]] & SPACE) != 0)
        return times, blank
    return times, times > 0


@njit(error_model="numpy", forceinline=True)
def _is_quiet(points, start, end, inner_start, inner_end, counts, line, table, more, sign, counted, counted_ends):  # type: ignore[no-untyped-def]
    """Whether no step can act on a line, with all of its white space around or some of it."""
    if start == end:
        return True
    inner = inner_end - inner_start
    words = counts[line, LINE_WORDS]
    digits = counts[line, LINE_DIGITS]
    if words < MIN_WORDS or 2 * counts[line, LINE_UPPER] > inner:
        return False
    if digits:
        if digits / inner > MAX_DIGITS:
            return False
        if not 97 <= points[inner_start] | np.uint32(32) <= 122:  # a counter begins with a digit
            if _is_counter(points, inner_start, inner_end, table, counted, counted_ends):
                return False
    if words > MAX_WORDS:
        return True
    if counts[line, LINE_CART]:
        return False
    # The first letters of "read more" and "sign-in" (the long s is an s in any case) tell for nearly all lines.
    for at in range(inner_end, end + 1):  # where it may end
        place = at - len(more) - 3
        if place >= start and points[place] | np.uint32(32) == 114 and _may_stand(READ_MORE, points, start, at, more):
            return False
    for at in range(start, inner_start + 1):
        c = points[at] | np.uint32(32)
        if (c == 115 or c == 0x17F) and _may_stand(SIGN_IN, points, at, end, sign):
            return False
    return True


@njit(error_model="numpy")
def _correct(points, offsets, table, first, starts, ends, inner_starts, inner_ends, counts, cut, phrases):  # type: ignore[no-untyped-def]
    """Applies the steps; starts and ends shrink to what is left of a line, counts change with it.

    cut: [characters] zeros, becomes 1 + the rule by which a character inside a line goes.
    returns numbers [texts, 10] as NUMBERS (left -1 if nothing is left), emptied [texts] the step that leaves nothing
    or -1, fate [lines] the rule by which a line goes or _ALIVE.
    """
    cart, more, sign, counted, counted_ends = phrases
    lines = len(starts)
    fate = np.full(lines, _ALIVE, dtype=np.int8)
    moved = np.zeros(lines, dtype=np.bool_)  # whether the tokens must be counted again
    holes = np.zeros(lines, dtype=np.bool_)  # whether something inside is cut
    numbers = np.zeros((len(offsets) - 1, 10), dtype=np.int64)
    emptied = np.full(len(offsets) - 1, -1, dtype=np.int64)
    widest = 0
    for line in range(lines):
        if counts[line, LINE_WORDS] <= MAX_WORDS:
            widest = max(widest, ends[line] - starts[line])
    chars = np.empty(widest, dtype=np.uint32)
    places = np.empty(widest, dtype=np.int64)
    most = 0
    for text in range(len(offsets) - 1):
        most = max(most, first[text + 1] - first[text])
    watch = np.empty(most + 1, dtype=np.int64)  # lines on which a step may act
    for text in range(len(offsets) - 1):
        low = first[text]
        high = first[text + 1]
        out = numbers[text]
        out[2] = high - low
        watched = 0
        for line in range(low, high):
            out[0] += counts[line, LINE_TOKENS]
            watch[watched] = line
            watched += not _is_quiet(
                points, starts[line], ends[line], inner_starts[line], inner_ends[line], counts, line, table,
                more, sign, counted, counted_ends,
            )  # fmt: skip
        left = high - low
        for step in range(7):
            for number in range(watched):
                line = watch[number]
                if fate[line] != _ALIVE:
                    continue
                length = ends[line] - starts[line]
                goes = False
                if length == 0:
                    goes = False
                elif step == UPPERCASE:
                    goes = counts[line, LINE_UPPER] / length > MAX_UPPERCASE
                elif step == DIGITS:
                    goes = counts[line, LINE_DIGITS] / length > MAX_DIGITS
                elif step == COUNTER:
                    goes = counts[line, LINE_DIGITS] > 0 and _is_counter(
                        points, starts[line], ends[line], table, counted, counted_ends
                    )
                elif step == SHORT:
                    goes = counts[line, LINE_WORDS] < MIN_WORDS
                elif counts[line, LINE_WORDS] <= MAX_WORDS:
                    phrase = cart if step == CART else (more if step == READ_MORE else sign)
                    seen = step != CART or counts[line, LINE_CART] != 0
                    if holes[line] or (seen and _may_stand(step, points, starts[line], ends[line], phrase)):
                        n = _gather(points, cut, starts[line], ends[line], chars, places)
                        times, goes = _cut_phrase(step, chars, n, places, cut, table, phrase)
                        out[3 + step] += times
                        if times and not goes:
                            moved[line] = holes[line] = True
                            n = _gather(points, cut, starts[line], ends[line], chars, places)
                            counts[line, LINE_WORDS], counts[line, LINE_TOKENS] = _count(chars, n, table)
                if goes:
                    fate[line] = step
                    left -= 1
                    if step < CART:
                        out[3 + step] += 1
            if step != SHORT:
                left -= _strip(points, table, cut, low, high, starts, ends, fate, moved)
            elif left == 1:  # one empty line is an empty text, two are a newline
                for line in range(low, high):
                    if fate[line] == _ALIVE and starts[line] == ends[line]:
                        left = 0
            if left == 0:
                emptied[text] = step
                break
        if emptied[text] >= 0:
            out[1] = -1
            continue
        for line in range(low, high):
            if fate[line] == _ALIVE:
                if moved[line]:
                    rest = points[starts[line] : ends[line]]
                    n = len(rest)
                    if n <= widest:
                        n = _gather(points, cut, starts[line], ends[line], chars, places)
                        rest = chars
                    counts[line, LINE_TOKENS] = _count(rest, n, table)[1]
                out[1] += counts[line, LINE_TOKENS]
    return numbers, emptied, fate


@njit(error_model="numpy")
def _list_edits(offsets, first, old_starts, old_ends, starts, ends, emptied, fate, cut, cuts):  # type: ignore[no-untyped-def]
    """Spans that go, from the start of their text: starts, ends, rules, and [texts + 1] where each text's begin.

    cuts: whether something inside a line is cut.
    """
    capacity = 0
    for line in range(len(starts)):
        capacity += 1 if fate[line] != _ALIVE else 2
    inside = 0  # runs that are cut; each may part a trimmed end once more
    for i in range(len(cut) if cuts else 0):
        inside += cut[i] != 0 and (i == 0 or cut[i] != cut[i - 1])
    capacity += 2 * inside
    out_starts = np.empty(capacity, dtype=np.int64)
    out_ends = np.empty(capacity, dtype=np.int64)
    rules = np.empty(capacity, dtype=np.int64)
    of = np.zeros(len(offsets), dtype=np.int64)
    n = 0
    for text in range(len(offsets) - 1):
        base = offsets[text]
        if emptied[text] < 0:
            last = first[text + 1] - 1
            while fate[last] != _ALIVE:
                last -= 1
            for line in range(first[text], first[text + 1]):
                if fate[line] != _ALIVE:
                    # with the newline behind it, or before it at the end of the text
                    shift = 0 if line < last else 1
                    out_starts[n] = old_starts[line] - shift - base
                    out_ends[n] = old_ends[line] + 1 - shift - base
                    rules[n] = fate[line]
                    n += 1
                    continue
                if starts[line] == old_starts[line] and ends[line] == old_ends[line] and inside == 0:
                    continue
                before = _ALIVE
                for i in range(old_starts[line], old_ends[line]):
                    rule = np.int64(cut[i]) - 1
                    if rule < 0 and not starts[line] <= i < ends[line]:
                        rule = STRIP
                    if rule >= 0:
                        if rule != before:
                            out_starts[n] = i - base
                            rules[n] = rule
                            n += 1
                        out_ends[n - 1] = i + 1 - base
                    before = rule
        of[text + 1] = n
    return out_starts[:n], out_ends[:n], rules[:n], of


@dataclasses.dataclass(frozen=True, slots=True)
class Corrections:
    """What the steps do to the texts of a batch."""

    numbers: dict[str, Ints]  # NUMBERS -> [texts]; n_words_left is -1 where nothing is left
    emptied: Ints  # [texts] index into STEPS, or -1
    edits: pa.ListArray  # [texts] of edits.EDITS


def _copy(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    copied = room(array.size, array.dtype).reshape(array.shape)
    copied[...] = array
    return copied


def correct(texts: TextBatch) -> Corrections:
    """View: the corrections of every text.  Time linear in the characters."""
    points, offsets, lines = texts.points, texts.offsets, texts.view(scan)
    starts, ends, counts = _copy(lines.starts), _copy(lines.ends), _copy(lines.counts)
    cut = room(len(points), np.uint8)
    cut[:] = 0
    spans = (lines.first, starts, ends, lines.inner_starts, lines.inner_ends)
    numbers, emptied, fate = _correct(points, offsets, dclm_table(), *spans, counts, cut, _phrases())
    cuts = bool(numbers[:, 3 + CART : 4 + SIGN_IN].any())
    low, high, *rest = _list_edits(
        offsets, lines.first, lines.starts, lines.ends, starts, ends, emptied, fate, cut, cuts
    )
    column = edits_column(low, high, np.zeros(len(low), np.int64), *rest, rule_names=EDIT_RULES)
    return Corrections({name: numbers[:, at] for at, name in enumerate(NUMBERS)}, emptied, column)


@dataclasses.dataclass(frozen=True)
class RefinedWebDclm:
    """RefinedWeb's line-wise corrections, verdict and resulting text as DCLM's.

    Documents of other `kinds` (a null kind counts as prose) are not judged: keep is true and every other column
    null.  The reference applies the steps after `gopher@dclm` and only to what that keeps.
    """

    kinds: tuple[str, ...] = PROSE_KINDS

    name: ClassVar[str] = "refinedweb@dclm"
    schema: ClassVar[pa.Schema] = SCHEMA

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        found = texts.view(correct)
        before, after = found.numbers["n_words"], found.numbers["n_words_left"]
        values = {f"emptied_by_{name}": (found.emptied == at).astype(np.float64) for at, name in enumerate(STEPS)}
        values["no_words"] = (before == 0).astype(np.float64)
        values["removed_words_ratio"] = ratios(before - after, before)
        return numbers_batch(texts, RULES, values, found.numbers, SCHEMA, more=[found.edits])
