"""Gopher's quality rules as datatrove 0.10.1 reads them (`gopher@datatrove`).

Thresholds: Rae et al. 2021 (arXiv 2112.11446), section A1.1; readings: datatrove's gopher_quality_filter.py.
Words are those of `quality_signals.words`.  The rules are for natural language and its English stop words are
applied to every language, as in the reference's defaults.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.chunks import chunks
from quality_signals.codepoints import ALPHA, SPACE, SYMBOL, class_table, short_key, short_keys
from quality_signals.compiled import njit
from quality_signals.families import VERDICT_FIELDS, Bools, Rule, numbers_batch, ratios
from quality_signals.line_views import python_lines
from quality_signals.strings import U
from quality_signals.text_batch import Ints, SharedTexts, TextBatch
from quality_signals.word_views import numbered_words

# arXiv 2112.11446, A1.1: at least two of these; here two different ones, as they stand ("The" is none).
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")

NUMBERS = {
    "n_words": "words, punctuation included",
    "n_non_symbol_words": "words with a character that is no punctuation",
    "chars_non_symbol_words": "characters of those words",
    "n_hash": "# characters",
    "n_ellipsis": "... and \u2026",
    "n_lines": "lines (str.splitlines)",
    "n_bullet_lines": "lines that start with \u2022 or -",
    "n_ellipsis_lines": "lines that end in ... or \u2026",
    "n_alpha_words": "words with a letter",
    "n_distinct_stop_words": "different stop words",
}
RULES = (
    Rule("min_doc_words", "gopher_short_doc", "n_non_symbol_words", "<", 50),
    Rule("max_doc_words", "gopher_long_doc", "n_non_symbol_words", ">", 100_000),
    Rule("min_avg_word_length", "gopher_below_avg_threshold", "avg_word_length", "<", 3),
    Rule("max_avg_word_length", "gopher_above_avg_threshold", "avg_word_length", ">", 10),
    Rule("max_symbol_word_ratio", "gopher_too_many_hashes", "hash_ratio", ">", 0.1),
    Rule("max_symbol_word_ratio", "gopher_too_many_ellipsis", "ellipsis_ratio", ">", 0.1),
    Rule("max_bullet_lines_ratio", "gopher_too_many_bullets", "bullet_lines_ratio", ">", 0.9),
    Rule("max_ellipsis_lines_ratio", "gopher_too_many_end_ellipsis", "ellipsis_lines_ratio", ">", 0.3),
    Rule("max_non_alpha_words_ratio", "gopher_below_alpha_threshold", "alpha_words_ratio", "<", 0.8),
    Rule("min_stop_words", "gopher_enough_stop_words", "n_distinct_stop_words", "<", 2),
)
SCHEMA = pa.schema([*VERDICT_FIELDS, *(field(name, pa.int64(), text) for name, text in NUMBERS.items())])

_HASH, _DOT, _ELLIPSIS, _BULLET, _HYPHEN = ord("#"), ord("."), 0x2026, 0x2022, ord("-")
_STOP_KEYS = short_keys(STOP_WORDS)


# Bits of a word; those above tell which stop word it is.
_PLAIN, _LETTERS, _STOP_BIT = 1, 2, 8


@njit(error_model="numpy")
def _word_bits(points, offsets, table, stop_keys, bits):  # type: ignore[no-untyped-def]
    for word in range(len(offsets) - 1):
        start = offsets[word]
        end = offsets[word + 1]
        all_bits = np.uint8(SYMBOL)
        any_bits = np.uint8(0)
        for i in range(start, end):
            found = table[points[i]]
            all_bits &= found
            any_bits |= found
        bits[word] = _PLAIN * ((all_bits & SYMBOL) == 0) + _LETTERS * ((any_bits & ALPHA) != 0)
        if 2 <= end - start <= 4:
            key = short_key(points, start, end)
            for number in range(len(stop_keys)):
                bits[word] |= (stop_keys[number] == key) << (number + _STOP_BIT)


def word_bits(words: TextBatch) -> npt.NDArray[np.int32]:
    """Facts of `strings.Strings`: whether a word is not all symbols, whether it has a letter, and the stop words."""
    bits = np.empty(len(words), np.int32)
    _word_bits(words.points, words.offsets, class_table(), _STOP_KEYS, bits)
    return bits


@njit(error_model="numpy")
def _count_words(ids, offsets, lengths, bits, out):  # type: ignore[no-untyped-def]
    """out [texts, 4]: words that are not all symbols, their characters, words with a letter, different stop words."""
    for text in range(len(offsets) - 1):
        plain = np.int64(0)
        plain_chars = np.int64(0)
        alphabetic = np.int64(0)
        seen = np.int32(0)
        for k in range(offsets[text], offsets[text + 1]):
            word = U(ids[U(k)])
            found = bits[word]
            seen |= found
            plain += found & _PLAIN
            plain_chars += lengths[word] * (found & _PLAIN)
            alphabetic += (found & _LETTERS) >> 1
        stop_words = 0
        seen >>= _STOP_BIT
        while seen:
            stop_words += seen & 1
            seen >>= 1
        out[text, 0] = plain
        out[text, 1] = plain_chars
        out[text, 2] = alphabetic
        out[text, 3] = stop_words


@njit(error_model="numpy")
def _marks(points, offsets, marks):  # type: ignore[no-untyped-def]
    for text in range(len(offsets) - 1):
        hashes = 0
        ellipses = 0
        dots = 0
        for i in range(offsets[text], offsets[text + 1]):
            c = points[i]
            hashes += c == _HASH
            ellipses += c == _ELLIPSIS
            dots = dots + 1 if c == _DOT else 0
            if dots == 3:
                ellipses += 1
                dots = 0
        marks[text] = hashes << 32 | ellipses


def marks(chunks: TextBatch) -> npt.NDArray[np.int64]:
    """Facts of `strings.Strings`: # characters in the upper half; ... and U+2026 in the lower."""
    found = np.empty(len(chunks), np.int64)
    _marks(chunks.points, chunks.offsets, found)
    return found


@njit(error_model="numpy", forceinline=True)
def _ends_in_ellipsis(points, start, end):  # type: ignore[no-untyped-def]
    if end > start and points[end - 1] == _ELLIPSIS:
        return True
    return end - start >= 3 and points[end - 1] == _DOT and points[end - 2] == _DOT and points[end - 3] == _DOT


@njit(error_model="numpy")
def _count_lines(points, table, starts, ends, lines, ids, chunks, marks, out):  # type: ignore[no-untyped-def]
    """out [texts, 4]: # characters, ellipses, lines that start with a bullet, lines that end in an ellipsis.

    ids, chunks: the chunks of the texts, and the first of each text.  marks: of all chunks.
    """
    for text in range(len(lines) - 1):
        both = np.int64(0)
        for k in range(U(chunks[text]), U(chunks[text + 1])):
            both += marks[U(ids[k])]
        bullet_lines = 0
        ellipsis_lines = 0
        for line in range(lines[text], lines[text + 1]):
            start = starts[line]
            end = ends[line]
            while start < end and table[points[start]] & SPACE:
                start += 1
            while start < end and table[points[end - 1]] & SPACE:
                end -= 1
            bullet_lines += start < end and (points[start] == _BULLET or points[start] == _HYPHEN)
            ellipsis_lines += _ends_in_ellipsis(points, start, end)
        out[text, 0] = both >> 32
        out[text, 1] = both & 0xFFFFFFFF
        out[text, 2] = bullet_lines
        out[text, 3] = ellipsis_lines


def measured(texts: TextBatch, default_language: str) -> tuple[dict[str, Ints], Bools]:
    """The numbers that the rules are about, [texts] each, and which texts are judged."""
    numbered = texts.view(numbered_words, default_language)
    words, known = numbered.words, numbered.vocabulary.words
    lines, found = texts.view(python_lines), texts.view(chunks)
    of_words, of_lines = np.zeros((len(texts), 4), np.int64), np.zeros((len(texts), 4), np.int64)
    _count_words(numbered.ids, words.offsets, known.lengths, known.facts(word_bits), of_words)
    of_chunks = (found.ids, found.offsets, found.vocabulary.chunks.facts(marks))
    _count_lines(texts.points, class_table(), lines.starts, lines.ends, lines.offsets, *of_chunks, of_lines)
    numbers = {
        "n_words": words.counts,
        "n_non_symbol_words": of_words[:, 0],
        "chars_non_symbol_words": of_words[:, 1],
        "n_hash": of_lines[:, 0],
        "n_ellipsis": of_lines[:, 1],
        "n_lines": lines.counts,
        "n_bullet_lines": of_lines[:, 2],
        "n_ellipsis_lines": of_lines[:, 3],
        "n_alpha_words": of_words[:, 2],
        "n_distinct_stop_words": of_words[:, 3],
    }
    return numbers, words.judged


def rule_values(numbers: dict[str, Ints]) -> dict[str, npt.NDArray[np.float64]]:
    """What the rules compare, [texts] each."""
    words, lines = numbers["n_words"], numbers["n_lines"]
    return {
        "n_non_symbol_words": numbers["n_non_symbol_words"].astype(np.float64),
        "n_distinct_stop_words": numbers["n_distinct_stop_words"].astype(np.float64),
        "avg_word_length": ratios(numbers["chars_non_symbol_words"], numbers["n_non_symbol_words"]),
        "hash_ratio": ratios(numbers["n_hash"], words),
        "ellipsis_ratio": ratios(numbers["n_ellipsis"], words),
        "bullet_lines_ratio": ratios(numbers["n_bullet_lines"], lines),
        "ellipsis_lines_ratio": ratios(numbers["n_ellipsis_lines"], lines),
        "alpha_words_ratio": ratios(numbers["n_alpha_words"], words),
    }


@dataclasses.dataclass(frozen=True)
class GopherQuality:
    """Gopher's quality rules, verdict and reason as datatrove's with its defaults.

    Documents of other `kinds` than these (a null kind counts as prose) and of languages without a word splitter
    (`words.word_splitter`) are not judged: keep is true and every other column null.
    default_language: for documents whose language is null.
    """

    kinds: tuple[str, ...] = PROSE_KINDS
    default_language: str = "en"

    name: ClassVar[str] = "gopher@datatrove"
    schema: ClassVar[pa.Schema] = SCHEMA

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        numbers, judged = measured(texts, self.default_language)
        return numbers_batch(texts, RULES, rule_values(numbers), numbers, SCHEMA, judged)
