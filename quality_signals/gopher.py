"""Gopher's quality rules as datatrove 0.10.1 reads them (`gopher@datatrove`).

Thresholds: Rae et al. 2021 (arXiv 2112.11446), section A1.1; readings: datatrove's gopher_quality_filter.py.
Words are those of `quality_signals.words`.  The rules are for natural language and its English stop words are
applied to every language, as in the reference's defaults.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import pyarrow as pa
from numba import njit

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.codepoints import ALPHA, SYMBOL, Lexicon, class_table, code_points, find_entry
from quality_signals.families import VERDICT_FIELDS, Rule, Verdict, judge, judge_documents, ratio
from quality_signals.words import WordSplitter

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

_stop_lexicon: Lexicon | None = None


def _stop_arrays():  # type: ignore[no-untyped-def]
    global _stop_lexicon  # built on first use, so that importing compiles nothing
    if _stop_lexicon is None:
        _stop_lexicon = Lexicon(frozenset(STOP_WORDS))
    return _stop_lexicon.arrays


@njit(cache=True, nogil=True)
def _count_words(points, table, starts, ends, slots, hashes, offsets, chars):  # type: ignore[no-untyped-def]
    """Words that are not all symbols, their characters, words with a letter, different stop words."""
    plain = 0
    plain_chars = 0
    alphabetic = 0
    seen = 0
    for word in range(len(starts)):
        symbols = True
        letter = False
        for i in range(starts[word], ends[word]):
            bits = table[points[i]]
            symbols &= (bits & SYMBOL) != 0
            letter |= (bits & ALPHA) != 0
        if not symbols:
            plain += 1
            plain_chars += ends[word] - starts[word]
        alphabetic += letter
        entry = find_entry(slots, hashes, offsets, chars, points, starts[word], ends[word])
        if entry >= 0:
            seen |= 1 << entry
    stop_words = 0
    while seen:
        stop_words += seen & 1
        seen >>= 1
    return plain, plain_chars, alphabetic, stop_words


def measure(text: str, splitter: WordSplitter) -> dict[str, int]:
    """The numbers that the rules are about."""
    starts, ends = splitter.spans(text)
    plain, plain_chars, alphabetic, stop_words = _count_words(
        code_points(text), class_table(), starts, ends, *_stop_arrays()
    )
    lines = text.splitlines()
    return {
        "n_words": len(starts),
        "n_non_symbol_words": plain,
        "chars_non_symbol_words": plain_chars,
        "n_hash": text.count("#"),
        "n_ellipsis": text.count("...") + text.count("\u2026"),
        "n_lines": len(lines),
        "n_bullet_lines": sum(line.lstrip().startswith(("\u2022", "-")) for line in lines),
        "n_ellipsis_lines": sum(line.rstrip().endswith(("...", "\u2026")) for line in lines),
        "n_alpha_words": alphabetic,
        "n_distinct_stop_words": stop_words,
    }


def verdict(numbers: dict[str, int]) -> Verdict:
    words, lines = numbers["n_words"], numbers["n_lines"]
    return judge(
        RULES,
        {
            **numbers,
            "avg_word_length": ratio(numbers["chars_non_symbol_words"], numbers["n_non_symbol_words"]),
            "hash_ratio": ratio(numbers["n_hash"], words),
            "ellipsis_ratio": ratio(numbers["n_ellipsis"], words),
            "bullet_lines_ratio": ratio(numbers["n_bullet_lines"], lines),
            "ellipsis_lines_ratio": ratio(numbers["n_ellipsis_lines"], lines),
            "alpha_words_ratio": ratio(numbers["n_alpha_words"], words),
        },
    )


@dataclasses.dataclass(frozen=True)
class GopherQuality:
    """Gopher's quality rules, verdict and reason as datatrove's with its defaults.

    Documents of other `kinds` than these (a null kind counts as prose) and of languages whose words need a
    model (`words.word_splitter`) are not judged: keep is true and every other column null.
    default_language: for documents whose language is null.
    """

    kinds: tuple[str, ...] = PROSE_KINDS
    default_language: str = "en"

    name: ClassVar[str] = "gopher@datatrove"
    schema: ClassVar[pa.Schema] = SCHEMA

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge_documents(batch, self.kinds, self.default_language, measure, verdict, NUMBERS, SCHEMA)
