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
from quality_signals.codepoints import ALPHA, SYMBOL, equal_ranges, hash_stretch
from quality_signals.compiled import njit
from quality_signals.families import VERDICT_FIELDS, Rule, judge_texts
from quality_signals.ngrams import keep_repeated, number_grams, number_words, top_gram
from quality_signals.text_batch import Ints, SharedTexts, TextBatch
from quality_signals.word_views import keyed_white_words

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
# core/taggers.py, TAGGER_SCORE_PRECISION.
_DECIMALS = 5

# The words above as of `views.word_key`.
_REQUIRED = (
    np.array([int.from_bytes(word.encode(), "big") for word in REQUIRED_WORDS], np.uint64),
    np.array([2 * len(word) + 1 for word in REQUIRED_WORDS], np.int32),
)
_HASH, _ELLIPSIS, _STAR, _MINUS, _NEWLINE = (ord(c) for c in "#\u2026*-\n")
_LENGTHS = 64  # lengths of words that are counted; a median beyond is found by bisection

# Columns of the word numbers.
_WORDS, _CHARS, _MEDIAN2, _SYMBOL, _ALPHA, _REQUIRED_COUNT, _TOP, _DUPE, _ALL = 0, 1, 2, 3, 4, 5, 6, 9, 15
_WORD_NUMBERS = 21
# Columns of the line numbers.
_LINES, _BULLET, _END_ELLIPSIS, _DUPE_LINES, _DUPE_CHARS = range(5)


@njit(error_model="numpy")
def _length_at(starts, ends, lengths, rank):  # type: ignore[no-untyped-def]
    """Characters of the word of this rank among the words by length.

    lengths: [_LENGTHS] words of each length, the last of all longer ones; those are found by bisection.
    """
    seen = 0
    for length in range(_LENGTHS - 1):
        seen += lengths[length]
        if seen > rank:
            return length
    low = _LENGTHS - 1
    high = low
    while low == high or seen <= rank:
        high *= 2
        seen = 0
        for word in range(len(starts)):
            seen += ends[word] - starts[word] <= high
    while low < high:
        middle = (low + high) // 2
        seen = 0
        for word in range(len(starts)):
            seen += ends[word] - starts[word] <= middle
        if seen > rank:
            high = middle
        else:
            low = middle + 1
    return low


@njit(error_model="numpy")
def _scan_words(points, starts, ends, of_words, required, before, out):  # type: ignore[no-untyped-def]
    """Fills the numbers of the words of one text up to _REQUIRED_COUNT.

    of_words: keys, codes and kinds as in `word_views.WhiteWords`.  required: keys and codes.
    before: [words + 1] characters of the words before each.
    """
    keys, codes, kinds = of_words
    required_keys, required_codes = required
    lengths = np.zeros(_LENGTHS, dtype=np.int64)
    words = len(starts)
    total = 0
    symbols = 0
    alphabetic = 0
    needed = 0
    before[0] = 0
    for word in range(words):
        start = starts[word]
        length = ends[word] - start
        lengths[min(length, _LENGTHS - 1)] += 1
        total += length
        before[word + 1] = total
        alphabetic += (kinds[word] & ALPHA) != 0
        if kinds[word] & SYMBOL:
            symbol = False
            for i in range(start, start + length):
                c = points[i]
                symbol |= (c == _HASH) | (c == _ELLIPSIS)
            symbols += symbol
        if 5 <= codes[word] <= 9:
            for k in range(len(required_keys)):
                needed += (required_keys[k] == keys[word]) & (required_codes[k] == codes[word])
    out[_WORDS] = words
    out[_CHARS] = total
    out[_SYMBOL] = symbols
    out[_ALPHA] = alphabetic
    out[_REQUIRED_COUNT] = needed
    if words == 0:
        return
    out[_MEDIAN2] = _length_at(starts, ends, lengths, (words - 1) // 2) + _length_at(starts, ends, lengths, words // 2)


@njit(error_model="numpy")
def _count_words(points, starts, ends, word_keys, codes, kinds, first, required):  # type: ignore[no-untyped-def]
    """[texts, _WORD_NUMBERS] int64.  Text i has the words first[i]:first[i + 1]."""
    texts = len(first) - 1
    out = np.zeros((texts, _WORD_NUMBERS), dtype=np.int64)
    longest = 1
    for text in range(texts):
        longest = max(longest, first[text + 1] - first[text])
    before = np.zeros(longest + 1, dtype=np.int64)
    slots = np.empty(4 * longest + 4, dtype=np.int64)
    keys = np.empty(longest, dtype=np.uint64)
    heads = np.empty(longest, dtype=np.int64)
    counts = np.empty(longest, dtype=np.int64)
    grams = np.empty(longest, dtype=np.int64)
    at = np.empty(longest, dtype=np.int64)
    for text in range(texts):
        low = first[text]
        words = first[text + 1] - low
        starts_here = starts[low : low + words]
        ends_here = ends[low : low + words]
        of_words = (word_keys[low : low + words], codes[low : low + words], kinds[low : low + words])
        _scan_words(points, starts_here, ends_here, of_words, required, before, out[text])
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
                out[text, _ALL + n - 5] = (whole - head) - (whole - tail)
        for n in range(2, 5):
            if words >= n:
                out[text, _TOP + n - 2] = before[n]  # where none repeats, the first
        for k in range(words):
            at[k] = k
        number_words(points, starts_here, ends_here, word_keys[low : low + words], grams, slots, heads, counts)
        active = words
        for n in range(2, 11):
            left = keep_repeated(at, grams, active, counts)
            if left == 0:
                break
            active = number_grams(at, grams, left, slots, keys, counts)
            if n <= 4:
                first_word, most = top_gram(at, grams, active, counts)
                if most > 1:
                    out[text, _TOP + n - 2] = most * (before[first_word + n] - before[first_word])
                continue
            repeated = 0
            for k in range(active):
                if counts[grams[k]] > 1:
                    repeated += before[at[k] + n] - before[at[k]]
            out[text, _DUPE + n - 5] = repeated
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
def _count_lines(points, offsets, runs):  # type: ignore[no-untyped-def]
    """[texts, 5] int64: numbers of the lines.  runs: a run of newlines is one break."""
    out = np.zeros((len(offsets) - 1, 5), dtype=np.int64)
    most = 0
    for text in range(len(offsets) - 1):
        lines = 1
        for i in range(offsets[text], offsets[text + 1]):
            lines += points[i] == _NEWLINE
        most = max(most, lines)
    starts = np.empty(most, dtype=np.int64)
    ends = np.empty(most, dtype=np.int64)
    for text in range(len(offsets) - 1):
        end = offsets[text + 1]
        start = offsets[text]
        if start == end:
            continue  # the reference stops before it counts the lines of an empty text
        lines = 0
        i = start
        while True:
            while i < end and points[i] != _NEWLINE:
                i += 1
            starts[lines] = start
            ends[lines] = i
            lines += 1
            if i > start:
                out[text, _BULLET] += points[start] == _STAR or points[start] == _MINUS
                out[text, _END_ELLIPSIS] += points[i - 1] == _ELLIPSIS
            if i == end:
                break
            i += 1
            while runs and i < end and points[i] == _NEWLINE:
                i += 1
            start = i
        out[text, _LINES] = lines
        if lines > 1:
            _count_repeated(points, starts[:lines], ends[:lines], out[text])
    return out


def word_numbers(texts: TextBatch) -> Ints:
    """View: what both versions measure of the words, [texts, 21] int64."""
    white = texts.view(keyed_white_words)
    words = white.words
    of_words = (white.keys, white.codes, white.kinds)
    return _count_words(texts.points, words.starts, words.ends, *of_words, words.offsets, _REQUIRED)


def measure(texts: TextBatch, version: str) -> dict[str, Ints | Floats]:
    """View: every number of NUMBERS, each [texts]; NaN where the reference gives no span.

    Time and memory linear in the characters.
    """
    words = texts.view(word_numbers)
    lines = _count_lines(texts.points, texts.offsets, version == "v2")
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
    found = np.rint(scaled) / 10**_DECIMALS
    for i in np.flatnonzero(np.abs(np.abs(scaled - np.trunc(scaled)) - 0.5) < 1e-6).tolist():
        found[i] = round(float(values[i]), _DECIMALS)
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
        return RULES if self.most_common_rules else tuple(rule for rule in RULES if rule not in _COMMON_RULES)

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        numbers = texts.view(measure, self.version)
        measures = {rule.measure for rule in self.rules}
        values = {name: rounded(numbers[name]) for name in measures}
        columns = judge_texts(self.rules, values, len(texts))
        columns += [_column(numbers[name], SCHEMA.field(name).type) for name in NUMBERS]
        scattered = [texts.scatter(column) for column in columns]
        scattered[0] = scattered[0].fill_null(True)
        return pa.RecordBatch.from_arrays(scattered, schema=SCHEMA)


def _column(values: Ints | Floats, kind: pa.DataType) -> pa.Array:
    array: Any = np.ascontiguousarray(values)
    return pa.array(array, kind, from_pandas=True)  # NaN becomes null
