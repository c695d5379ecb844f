"""Gopher's quality and repetition rules as DCLM applies them (`gopher@dclm`).

Thresholds and order: mlfoundations/dclm @ 361714b, baselines/baselines_configs/dclm_baseline_refinedweb.yaml;
readings: baselines/mappers/filters/content_filters.py and baselines/mappers/core_utils.py.  Three kinds of words:

- minimum and maximum: fastText's tokens (split at ASCII white space and NUL) that start with a letter or digit;
- mean length, symbols, alphabetic share, stop words: `str.split`;
- repeated n-grams: words between Unicode boundaries that start with a letter or digit (`word_breaks`).

Lines and paragraphs are what stands between "\\n" and "\\n\\n", stripped, the empty ones left out.  All occurrences of
a repeated line, paragraph or n-gram count, the first included.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.chunks import chunks
from quality_signals.codepoints import equal_ranges, hash_stretch
from quality_signals.compiled import njit
from quality_signals.dclm_views import scan
from quality_signals.families import VERDICT_FIELDS, Rule, numbers_batch, ratios
from quality_signals.line_views import may_repeat
from quality_signals.ngrams import longer_grams, pair_grams, repeated_grams, workspace
from quality_signals.strings import U
from quality_signals.text_batch import Ints, SharedTexts, TextBatch
from quality_signals.word_breaks import numbered_break_words

TOP = (2, 3, 4)
REPEATED = (5, 6, 7, 8, 9, 10)
_CHARACTERS = {
    "n_words": "tokens split at ASCII white space and NUL that start with a letter or digit",
    "n_white_words": "words of str.split",
    "white_word_chars": "characters of those",
    "n_non_alpha_words": "of those without a letter",
    "n_stop_words": "of those in the, be, to, of, and, that, have, with, in any case",
    "n_symbols": "# and ... and . . . and \u2026, each counted by itself",
    "n_bullet_lines": "lines that start with \u25cf \u2022 * or -",
    "n_ellipsis_lines": "lines that end in ... or . . . or \u2026",
}
_SEGMENTS = {
    "n_lines": "lines that are not blank",
    "line_chars": "characters of those, stripped",
    "dup_lines": "lines that occur more than once, all occurrences",
    "dup_line_chars": "characters of those",
    "n_paragraphs": "paragraphs that are not blank",
    "paragraph_chars": "characters of those, stripped",
    "dup_paragraphs": "paragraphs that occur more than once, all occurrences",
    "dup_paragraph_chars": "characters of those",
}
_NGRAMS = {
    "n_ngram_words": "words between Unicode boundaries that start with a letter or digit",
    "ngram_chars": "characters of those",
    **{f"top_{n}_gram_chars": f"occurrences times characters of the top {n}-gram, 0 if none repeats" for n in TOP},
    **{f"dup_{n}_gram_chars": f"characters of the words in repeated {n}-grams, each word once" for n in REPEATED},
}
NUMBERS = _CHARACTERS | _SEGMENTS | _NGRAMS

_REPETITION = "massive_web_repetition_filters"
# The yaml for the quality rules; massive_web_repetition_filters for the others.  Reasons are the functions' names.
RULES = (
    Rule("min_words", "page_length_filter", "n_words", "<", 50),
    Rule("max_words", "page_length_filter", "n_words", ">", 100_000),
    Rule("min_mean_word_length", "word_length_filter", "mean_word_length", "<", 3),
    Rule("max_mean_word_length", "word_length_filter", "mean_word_length", ">", 10),
    Rule("max_symbol_ratio", "symbol_ratio_filter", "symbol_ratio", ">", 0.1),
    Rule("max_bullet_lines_ratio", "bullet_count_filter", "bullet_lines_ratio", ">", 0.9),
    Rule("max_ellipsis_lines_ratio", "ellipsis_count_filter", "ellipsis_lines_ratio", ">", 0.3),
    Rule("max_non_alpha_words_ratio", "alphabetic_word_ratio_filter", "non_alpha_words_ratio", ">", 0.2),
    Rule("min_stop_words", "stop_word_filter", "n_stop_words", "<", 2),
    Rule("dup_line_frac", _REPETITION, "dup_line_frac", ">", 0.3),
    Rule("dup_paragraph_frac", _REPETITION, "dup_paragraph_frac", ">", 0.3),
    Rule("dup_line_char_frac", _REPETITION, "dup_line_char_frac", ">", 0.2),
    Rule("dup_paragraph_char_frac", _REPETITION, "dup_paragraph_char_frac", ">", 0.2),
    *(
        Rule(f"top_{n}_gram", _REPETITION, f"top_{n}_gram", ">", limit)
        for n, limit in zip(TOP, (0.2, 0.18, 0.16), strict=True)
    ),
    *(
        Rule(f"dup_{n}_gram", _REPETITION, f"dup_{n}_gram", ">", limit)
        for n, limit in zip(REPEATED, (0.15, 0.14, 0.13, 0.12, 0.11, 0.10), strict=True)
    ),
)
SCHEMA = pa.schema([*VERDICT_FIELDS, *(field(name, pa.int64(), text) for name, text in NUMBERS.items())])


@njit(error_model="numpy")
def _count_repeated(points, starts, ends, slots, hashes, ids, counts):  # type: ignore[no-untyped-def]
    """Parts that occur more than once (all occurrences) and their characters.  Equal hashes are compared."""
    parts = len(starts)
    capacity = 4
    while capacity < 2 * parts:
        capacity *= 2
    mask = np.uint64(capacity - 1)
    slots[:capacity] = -1
    for part in range(parts):
        h = hash_stretch(points, starts[part], ends[part])
        length = ends[part] - starts[part]
        slot = h & mask
        while True:
            known = slots[slot]
            if known < 0:
                slots[slot] = part
                hashes[part] = h
                ids[part] = part
                counts[part] = 1
                break
            if (
                hashes[known] == h
                and ends[known] - starts[known] == length
                and equal_ranges(points, starts[known], points, starts[part], length)
            ):
                ids[part] = known
                counts[known] += 1
                break
            slot = (slot + np.uint64(1)) & mask
    repeated = characters = 0
    for part in range(parts):
        if counts[ids[part]] > 1:
            repeated += 1
            characters += ends[part] - starts[part]
    return repeated, characters


@njit(error_model="numpy")
def _count_segments(points, first, starts, ends, inner_starts, inner_ends, repeats):  # type: ignore[no-untyped-def]
    """[texts, 8] int64: the numbers of _SEGMENTS, from the lines of `dclm_views.scan` and `line_views.may_repeat`."""
    texts = len(first) - 1
    out = np.zeros((texts, 8), dtype=np.int64)
    most = 1
    for text in range(texts):
        most = max(most, first[text + 1] - first[text])
    # Starts and ends of paragraphs and of lines, as far as they may repeat.
    of = np.empty((4, most), dtype=np.int64)
    slots = np.empty(4 * most + 4, dtype=np.int64)
    hashes = np.empty(most, dtype=np.uint64)
    ids = np.empty(most, dtype=np.int64)
    counts = np.empty(most, dtype=np.int64)
    for text in range(texts):
        row = out[text]
        lines = paragraphs = all_lines = all_paragraphs = 0
        begin = -1  # line at which the open paragraph begins
        end = np.int64(0)  # of its last line
        last = first[text + 1] - 1
        odd = 0  # newlines in a row modulo 2: "\n\n" is taken from the left
        for line in range(first[text], last + 1):
            if ends[line] > starts[line]:
                odd = 0
                if inner_ends[line] > inner_starts[line]:
                    all_lines += 1
                    end = inner_ends[line]
                    if repeats[line]:
                        of[0, lines] = inner_starts[line]
                        of[1, lines] = end
                        lines += 1
                    row[1] += end - inner_starts[line]
                    if begin < 0:
                        begin = line
            odd ^= 1
            if begin >= 0 and (odd == 0 or line == last):
                if repeats[begin]:
                    of[2, paragraphs] = inner_starts[begin]
                    of[3, paragraphs] = end
                    paragraphs += 1
                all_paragraphs += 1
                row[5] += end - inner_starts[begin]
                begin = -1
        row[0] = all_lines
        row[4] = all_paragraphs
        if lines > 1:
            row[2], row[3] = _count_repeated(points, of[0, :lines], of[1, :lines], slots, hashes, ids, counts)
        if row[2] and paragraphs > 1:  # the first lines of equal paragraphs are equal lines
            row[6], row[7] = _count_repeated(points, of[2, :paragraphs], of[3, :paragraphs], slots, hashes, ids, counts)
    return out


@njit(error_model="numpy")
def _count_ngrams(ids, first, lengths, before, work):  # type: ignore[no-untyped-def]
    """[texts, 11] int64: the numbers of _NGRAMS.

    lengths: characters of all strings.  before: room for one more than the words of the longest text.
    """
    texts = len(first) - 1
    _, _, at, grams, counts, _, _, _ = work
    out = np.zeros((texts, 11), dtype=np.int64)
    before[0] = 0
    for text in range(texts):
        low = first[text]
        words = first[text + 1] - low
        total = np.int64(0)
        for k in range(words):
            total += lengths[U(ids[U(low + k)])]
            before[U(k + 1)] = total
        out[text, 0] = words
        out[text, 1] = total
        left, distinct = pair_grams(ids, low, low + words, work)
        for n in range(2, 11):
            if n > 2:
                left, distinct = longer_grams(left, work)
            if left < 2:
                break
            left = repeated_grams(left, work)
            if n <= 4:  # the most frequent, of several the longest
                top = 1
                longest = np.int64(0)
                for k in range(left):
                    count = counts[U(grams[U(k)])]
                    length = before[at[k] + n] - before[at[k]]
                    if count > top or (count == top and length > longest):
                        top = count
                        longest = length
                out[text, n] = top * longest if top > 1 else 0
                continue
            covered = 0
            for k in range(left):
                out[text, n] += before[at[k] + n] - before[max(at[k], covered)]
                covered = at[k] + n
    return out


def _ngrams(texts: TextBatch) -> Ints:
    ids, first = texts.view(numbered_break_words)
    words = texts.view(chunks).vocabulary.words
    most = int(np.diff(first).max(initial=0))
    return _count_ngrams(ids, first, words.lengths, np.empty(most + 1, np.int64), workspace(most, words.known))  # type: ignore[no-any-return]


def measure(texts: TextBatch) -> dict[str, Ints]:
    """View: the numbers of NUMBERS, each [texts] int64.  Time linear in the characters."""
    lines = texts.view(scan)
    spans = (lines.starts, lines.ends, lines.inner_starts, lines.inner_ends)
    columns = np.concatenate(
        [
            lines.numbers,
            _count_segments(texts.points, lines.first, *spans, texts.view(may_repeat)),
            _ngrams(texts),
        ],
        axis=1,
    )
    return {name: columns[:, at] for at, name in enumerate(NUMBERS)}


def values(numbers: dict[str, Ints]) -> dict[str, npt.NDArray[np.float64]]:
    """What RULES compare.  The reference compares lines with a product (count > 0.9 * lines), which no double below
    2**50 lines tells from the quotient here."""

    def share(part: str, whole: str) -> npt.NDArray[np.float64]:
        return ratios(numbers[part], numbers[whole])

    return {
        "n_words": numbers["n_words"].astype(np.float64),
        "n_stop_words": numbers["n_stop_words"].astype(np.float64),
        "mean_word_length": share("white_word_chars", "n_white_words"),
        "symbol_ratio": share("n_symbols", "n_white_words"),
        "bullet_lines_ratio": share("n_bullet_lines", "n_lines"),
        "ellipsis_lines_ratio": share("n_ellipsis_lines", "n_lines"),
        "non_alpha_words_ratio": share("n_non_alpha_words", "n_white_words"),
        "dup_line_frac": share("dup_lines", "n_lines"),
        "dup_line_char_frac": share("dup_line_chars", "line_chars"),
        "dup_paragraph_frac": share("dup_paragraphs", "n_paragraphs"),
        "dup_paragraph_char_frac": share("dup_paragraph_chars", "paragraph_chars"),
        **{f"top_{n}_gram": share(f"top_{n}_gram_chars", "ngram_chars") for n in TOP},
        **{f"dup_{n}_gram": share(f"dup_{n}_gram_chars", "ngram_chars") for n in REPEATED},
    }


@dataclasses.dataclass(frozen=True)
class GopherDclm:
    """Gopher's rules with DCLM's readings.

    Documents of other `kinds` (a null kind counts as prose) are not judged: keep is true and every other column
    null.  The rules are DCLM's for English; they are applied to every language.
    """

    kinds: tuple[str, ...] = PROSE_KINDS

    name: ClassVar[str] = "gopher@dclm"
    schema: ClassVar[pa.Schema] = SCHEMA

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        numbers = texts.view(measure)
        return numbers_batch(texts, RULES, values(numbers), numbers, SCHEMA)
