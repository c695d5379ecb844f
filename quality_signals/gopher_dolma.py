"""Gopher's rules as dolma's taggers measure them (`gopher_v1@dolma`, `gopher_v2@dolma`; `gopher@dolma` is the first).

Numbers: dolma 1.2.1, taggers/gopher.py, under its names; they are those of `predict`, unrounded.  The two versions
differ in their lines: v1 splits at every newline, v2 at runs of newlines, so that empty lines do not count as repeated.

Verdict: the exclusions of the mixer that made Dolma 1.5 (allenai/dolma @ 5fe9e2b,
configs/dolma-v1_5/mixing/cc-middle.yaml), in their order.  The mixer sees scores rounded to five decimals
(core/taggers.py, TAGGER_SCORE_PRECISION), and so do the rules.  Its three rules on the most common n-grams ask for
`..._most_common_2gram`, but the taggers write `..._most_common_2grams`: they have never dropped a document, and here
they act only with `most_common_rules=True`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.chunks import chunks
from quality_signals.codepoints import ALPHA, class_table, equal_ranges, hash_stretch, short_key, short_keys
from quality_signals.compiled import njit
from quality_signals.families import VERDICT_FIELDS, Rule, judge_texts
from quality_signals.line_views import may_repeat, split_lines
from quality_signals.ngrams import longer_grams, pair_grams, repeated_grams, top_gram, workspace
from quality_signals.strings import U
from quality_signals.text_batch import Ints, SharedTexts, TextBatch

Floats = npt.NDArray[np.float64]

# taggers/gopher.py, REQUIRED_ENGLISH_WORDS, SYMBOLS and BULLET_POINTS.
REQUIRED_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
SYMBOLS = ("#", "\u2026")
BULLETS = ("*", "-")

COMMON = (2, 3, 4)
REPEATED = (5, 6, 7, 8, 9, 10)
VERSIONS = ("v1", "v2")

_COUNTS = {
    "character_count": "characters",
    "word_count": "words of str.split",
    "required_word_count": f"words that are one of {', '.join(REQUIRED_WORDS)}, as they stand",
}
NUMBERS = {
    **{
        f"fraction_of_characters_in_most_common_{n}grams": f"occurrences times characters of the most common {n}-gram"
        " of words (the first of several) / characters of all words; null below as many words"
        for n in COMMON
    },
    **{
        f"fraction_of_characters_in_duplicate_{n}grams": f"characters of {n}-grams that occur more than once,"
        f" every occurrence / characters of all {n}-grams; null below as many words"
        for n in REPEATED
    },
    "character_count": _COUNTS["character_count"],
    "word_count": _COUNTS["word_count"],
    "median_word_length": "median of the characters of a word; 0 without words",
    "symbol_to_word_ratio": "words with # or \u2026 / words",
    "fraction_of_words_with_alpha_character": "words with a letter / words",
    "required_word_count": _COUNTS["required_word_count"],
    "fraction_of_lines_starting_with_bullet_point": "lines that start with * or - / lines",
    "fraction_of_lines_ending_with_ellipsis": "lines that end in \u2026 / lines",
    "fraction_of_duplicate_lines": "lines that occur more than once, every occurrence / lines",
    "fraction_of_characters_in_duplicate_lines": "characters of those / characters of all words",
}
SCHEMA = pa.schema(
    [
        *VERDICT_FIELDS,
        *(field(name, pa.int64() if name in _COUNTS else pa.float64(), text) for name, text in NUMBERS.items()),
    ]
)


def _rule(measure: str, fails: str, threshold: float) -> Rule:
    return Rule(measure, measure, measure, fails, threshold)


_COMMON_RULES = tuple(
    _rule(f"fraction_of_characters_in_most_common_{n}grams", ">", limit)
    for n, limit in zip(COMMON, (0.2, 0.18, 0.16), strict=True)
)
# cc-middle.yaml (see above); thresholds of Rae et al. 2021 (arXiv 2112.11446), A1.1, but a median for the mean, and
# 0.3 for the characters of repeated lines.
RULES = (
    _rule("word_count", "<", 50),
    _rule("word_count", ">", 100_000),
    _rule("median_word_length", "<", 3),
    _rule("median_word_length", ">", 10),
    _rule("symbol_to_word_ratio", ">", 0.1),
    _rule("fraction_of_words_with_alpha_character", "<", 0.8),
    _rule("required_word_count", "<", 2),
    _rule("fraction_of_lines_starting_with_bullet_point", ">", 0.9),
    _rule("fraction_of_lines_ending_with_ellipsis", ">", 0.3),
    _rule("fraction_of_duplicate_lines", ">", 0.3),
    _rule("fraction_of_characters_in_duplicate_lines", ">", 0.3),
    *_COMMON_RULES,
    *(
        _rule(f"fraction_of_characters_in_duplicate_{n}grams", ">", limit)
        for n, limit in zip(REPEATED, (0.15, 0.14, 0.13, 0.12, 0.11, 0.10), strict=True)
    ),
)
_ACTIVE_RULES = tuple(rule for rule in RULES if rule not in _COMMON_RULES)
# core/taggers.py, TAGGER_SCORE_PRECISION.
_DECIMALS = 5

_REQUIRED = short_keys(REQUIRED_WORDS)
_HASH, _ELLIPSIS, _STAR, _MINUS = (ord(c) for c in "#\u2026*-")
_LENGTHS = 64  # lengths of words that are counted; a median beyond is found by bisection

# Columns of the word numbers.
_WORDS, _CHARS, _MEDIAN2, _SYMBOL, _ALPHA, _REQUIRED_COUNT, _TOP, _DUPE, _ALL = 0, 1, 2, 3, 4, 5, 6, 9, 15
_WORD_NUMBERS = 21
# Columns of the line numbers.
_LINES, _BULLET, _END_ELLIPSIS, _DUPE_LINES, _DUPE_CHARS = range(5)


# Bits of a word.
_IS_ALPHA, _IS_SYMBOL, _IS_REQUIRED = 1, 2, 4


@njit(error_model="numpy")
def _word_bits(points, offsets, table, required, bits):  # type: ignore[no-untyped-def]
    for word in range(len(offsets) - 1):
        start = offsets[word]
        end = offsets[word + 1]
        kinds = np.uint8(0)
        symbol = False
        for i in range(U(start), U(end)):
            c = points[i]
            kinds |= table[c]
            symbol |= (c == _HASH) | (c == _ELLIPSIS)
        bits[word] = _IS_ALPHA * ((kinds & ALPHA) != 0) + _IS_SYMBOL * symbol
        if 2 <= end - start <= 4:
            key = short_key(points, start, end)
            for each in required:
                if each == key:
                    bits[word] |= _IS_REQUIRED


def word_bits(words: TextBatch) -> npt.NDArray[np.uint8]:
    """Facts of `strings.Strings`: whether a word holds a letter, # or an ellipsis, and is a required one."""
    bits = np.empty(len(words), np.uint8)
    _word_bits(words.points, words.offsets, class_table(), _REQUIRED, bits)
    return bits


@njit(error_model="numpy")
def _length_at(ids, lengths, histogram, rank):  # type: ignore[no-untyped-def]
    """Characters of the word of this rank among the words by length.

    histogram: [_LENGTHS] words of each length, the last of all longer ones; those are found by bisection.
    """
    seen = 0
    for length in range(_LENGTHS - 1):
        seen += histogram[length]
        if seen > rank:
            return length
    low = _LENGTHS - 1
    high = low
    while low == high or seen <= rank:
        high *= 2
        seen = 0
        for word in ids:
            seen += lengths[word] <= high
    while low < high:
        middle = (low + high) // 2
        seen = 0
        for word in ids:
            seen += lengths[word] <= middle
        if seen > rank:
            high = middle
        else:
            low = middle + 1
    return low


@njit(error_model="numpy")
def _count_words(ids, first, lengths, bits, before, work):  # type: ignore[no-untyped-def]
    """[texts, _WORD_NUMBERS] int64.  Text i has the words first[i]:first[i + 1].

    lengths, bits: of all strings.  before: room for one more than the words of the longest text.
    """
    texts = len(first) - 1
    _, _, at, grams, counts, _, _, _ = work
    out = np.zeros((texts, _WORD_NUMBERS), dtype=np.int64)
    histogram = np.empty(_LENGTHS, dtype=np.int64)
    for text in range(texts):
        low = first[text]
        words = first[text + 1] - low
        row = out[text]
        histogram[:] = 0
        total = np.int64(0)
        symbols = alphabetic = needed = 0
        before[0] = 0
        for k in range(words):
            word = U(ids[U(low + k)])
            length = np.int64(lengths[word])
            histogram[U(min(length, _LENGTHS - 1))] += 1
            total += length
            before[U(k + 1)] = total
            found = bits[word]
            alphabetic += found & _IS_ALPHA
            symbols += (found & _IS_SYMBOL) >> 1
            needed += (found & _IS_REQUIRED) >> 2
        row[_WORDS] = words
        row[_CHARS] = total
        row[_SYMBOL] = symbols
        row[_ALPHA] = alphabetic
        row[_REQUIRED_COUNT] = needed
        if words == 0:
            continue
        own = ids[low : low + words]
        row[_MEDIAN2] = _length_at(own, lengths, histogram, (words - 1) // 2)
        row[_MEDIAN2] += _length_at(own, lengths, histogram, words // 2)
        if words < 2:
            continue
        whole = 0  # of before[:words + 1], without its first and its last so many
        for k in range(words + 1):
            whole += before[k]
        head = tail = 0
        for n in range(1, min(words, 10) + 1):
            head += before[n - 1]
            tail += before[words + 1 - n]
            if n >= 5:
                row[_ALL + n - 5] = (whole - head) - (whole - tail)
        for n in range(2, 5):
            if words >= n:
                row[_TOP + n - 2] = before[n]  # where none repeats, the first
        left, distinct = pair_grams(ids, low, low + words, work)
        for n in range(2, 11):
            if n > 2:
                left, distinct = longer_grams(left, work)
            if left < 2:
                break
            if n <= 4:
                first_word, most = top_gram(distinct, work)
                if most > 1:
                    row[_TOP + n - 2] = most * (before[first_word + n] - before[first_word])
            left = repeated_grams(left, work)
            if n >= 5:
                repeated = 0
                for k in range(left):
                    repeated += before[at[k] + n] - before[at[k]]
                row[_DUPE + n - 5] = repeated
    return out


@njit(error_model="numpy")
def _count_repeated(points, starts, ends, out):  # type: ignore[no-untyped-def]
    """Lines that occur more than once and their characters, every occurrence; exact, equal hashes are compared."""
    lines = len(starts)
    capacity = 16
    while capacity < 2 * lines:
        capacity *= 2
    mask = np.uint64(capacity - 1)
    slots = np.full(capacity, -1, dtype=np.int64)
    hashes = np.empty(capacity, dtype=np.uint64)
    alone = np.ones(capacity, dtype=np.bool_)
    for line in range(lines):
        start = starts[line]
        length = ends[line] - start
        h = hash_stretch(points, start, ends[line])
        slot = h & mask
        while True:
            other = slots[slot]
            if other < 0:
                slots[slot] = line
                hashes[slot] = h
                break
            if (
                hashes[slot] == h
                and ends[other] - starts[other] == length
                and equal_ranges(points, starts[other], points, start, length)
            ):
                out[_DUPE_LINES] += 1 + alone[slot]
                out[_DUPE_CHARS] += length * (1 + alone[slot])
                alone[slot] = False
                break
            slot = (slot + np.uint64(1)) & mask


@njit(error_model="numpy")
def _count_lines(points, text_offsets, line_starts, line_ends, offsets, repeats, runs, starts, ends):  # type: ignore[no-untyped-def]
    """[texts, 5] int64: numbers of the lines.  runs: a run of newlines is one break.

    line_starts, line_ends, offsets, repeats: of `line_views.split_lines` and `may_repeat`.  starts, ends: room for as
    many lines as a text has.
    """
    out = np.zeros((len(offsets) - 1, 5), dtype=np.int64)
    for text in range(len(offsets) - 1):
        if text_offsets[text] == text_offsets[text + 1]:
            continue  # the reference stops before it counts the lines of an empty text
        low = offsets[text]
        high = offsets[text + 1]
        lines = empty = listed = 0
        for line in range(low, high):
            start, end = line_starts[line], line_ends[line]
            if start == end:
                empty += not runs or line == low or line == high - 1
                continue
            lines += 1
            out[text, _BULLET] += points[start] == _STAR or points[start] == _MINUS
            out[text, _END_ELLIPSIS] += points[end - 1] == _ELLIPSIS
            if repeats[line]:
                starts[listed] = start
                ends[listed] = end
                listed += 1
        out[text, _LINES] = lines + empty
        if listed > 1:
            _count_repeated(points, starts[:listed], ends[:listed], out[text])
        if empty > 1:
            out[text, _DUPE_LINES] += empty
    return out


def word_numbers(texts: TextBatch) -> Ints:
    """View: what both versions measure of the words, [texts, 21] int64."""
    found = texts.view(chunks)
    words = found.vocabulary.chunks
    most = int(np.diff(found.offsets).max(initial=0))
    bits = words.facts(word_bits)
    before = np.empty(most + 1, np.int64)
    return _count_words(found.ids, found.offsets, words.lengths, bits, before, workspace(most, words.known))


def measure(texts: TextBatch, version: str) -> dict[str, Ints | Floats]:
    """View: every number of NUMBERS, each [texts]; NaN where the reference gives no span.

    Time and memory linear in the characters.
    """
    words = texts.view(word_numbers)
    split, repeats = texts.view(split_lines), texts.view(may_repeat)
    most = int(split.counts.max(initial=1))
    room = (np.empty(most, np.int64), np.empty(most, np.int64))
    spans = (texts.points, texts.offsets, split.starts, split.ends, split.offsets)
    lines = _count_lines(*spans, repeats, version == "v2", *room)
    count = words[:, _WORDS]
    characters = np.maximum(words[:, _CHARS], 1)

    def of(part: Ints, whole: Ints, least: int = 0) -> Floats:
        return np.where(count >= least, part / np.maximum(whole, 1), np.nan)

    numbers: dict[str, Ints | Floats] = {}
    for i, n in enumerate(COMMON):
        numbers[f"fraction_of_characters_in_most_common_{n}grams"] = of(words[:, _TOP + i], characters, n)
    for i, n in enumerate(REPEATED):
        numbers[f"fraction_of_characters_in_duplicate_{n}grams"] = of(words[:, _DUPE + i], words[:, _ALL + i], n)
    return numbers | {
        "character_count": texts.lengths,
        "word_count": count,
        "median_word_length": words[:, _MEDIAN2] / 2,
        "symbol_to_word_ratio": of(words[:, _SYMBOL], count),
        "fraction_of_words_with_alpha_character": of(words[:, _ALPHA], count),
        "required_word_count": words[:, _REQUIRED_COUNT],
        "fraction_of_lines_starting_with_bullet_point": of(lines[:, _BULLET], lines[:, _LINES]),
        "fraction_of_lines_ending_with_ellipsis": of(lines[:, _END_ELLIPSIS], lines[:, _LINES]),
        "fraction_of_duplicate_lines": of(lines[:, _DUPE_LINES], lines[:, _LINES]),
        "fraction_of_characters_in_duplicate_lines": of(lines[:, _DUPE_CHARS], characters),
    }


def rounded(values: Ints | Floats) -> Floats:
    """As the reference stores scores: Python's `round` to five decimals.

    numpy rounds a scaled value, which can differ where the sixth decimal begins a five; only those go to Python.
    """
    scaled = np.asarray(values, np.float64) * 10**_DECIMALS
    found: Floats = np.rint(scaled) / 10**_DECIMALS
    for i in np.flatnonzero(np.abs(np.abs(scaled - np.trunc(scaled)) - 0.5) < 1e-6).tolist():
        found.flat[i] = round(float(values.flat[i]), _DECIMALS)
    return found


@dataclasses.dataclass(frozen=True)
class GopherDolma:
    """Gopher's rules with dolma's readings.

    version            "v1" or "v2", see above
    most_common_rules  whether the rules on the most common n-grams act, with the published thresholds; by default
                       they do not, as in the published configuration
    alias              whether the name is `gopher@dolma`; for v1 only

    Documents of other `kinds` (a null kind counts as prose) are not judged: keep is true and every other column
    null.  The rules are for English; they are applied to every language, as in the reference.
    """

    version: str = "v1"
    most_common_rules: bool = False
    alias: bool = False
    kinds: tuple[str, ...] = PROSE_KINDS

    schema: ClassVar[pa.Schema] = SCHEMA

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise ValueError(f"gopher@dolma: version {self.version!r} is none of {', '.join(VERSIONS)}")
        if self.alias and self.version != "v1":
            raise ValueError(f"gopher@dolma is version v1, not {self.version}")

    @property
    def name(self) -> str:
        return "gopher@dolma" if self.alias else f"gopher_{self.version}@dolma"

    @property
    def rules(self) -> tuple[Rule, ...]:
        return RULES if self.most_common_rules else _ACTIVE_RULES

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        numbers = texts.view(measure, self.version)
        rules = self.rules
        measures = list(dict.fromkeys(rule.measure for rule in rules))
        values = dict(zip(measures, rounded(np.array([numbers[name] for name in measures])), strict=True))
        columns = judge_texts(rules, values, len(texts))
        columns += [_column(numbers[name], SCHEMA.field(name).type) for name in NUMBERS]
        scattered = [texts.scatter(column) for column in columns]
        scattered[0] = scattered[0].fill_null(True)
        return pa.RecordBatch.from_arrays(scattered, schema=SCHEMA)


def _column(values: Ints | Floats, kind: pa.DataType) -> pa.Array:
    array: Any = np.ascontiguousarray(values)
    return pa.array(array, kind, from_pandas=True)  # NaN becomes null
