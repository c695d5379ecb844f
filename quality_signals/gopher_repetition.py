"""Gopher's repetition rules as datatrove 0.10.1 reads them (`gopher_repetition@datatrove`).

Thresholds: Rae et al. 2021 (arXiv 2112.11446), table A1; readings: datatrove's gopher_repetition_filter.py.
Duplicates are the occurrences after the first; character fractions are of the whole text, white space
included.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numba import njit

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.codepoints import code_points, number_ranges
from quality_signals.families import VERDICT_FIELDS, Rule, Verdict, judge, judge_documents, ratio
from quality_signals.ngrams import repeated_scan, top_joined
from quality_signals.words import WordSplitter

TOP = (2, 3, 4)
REPEATED = (5, 6, 7, 8, 9, 10)
NUMBERS = {
    "len_text": "characters",
    "n_words": "words, punctuation included",
    "n_paragraphs": "paragraphs (split at two or more newlines)",
    "dup_paragraphs": "paragraphs seen before",
    "dup_paragraph_chars": "characters of those",
    "n_lines": "lines (split at newlines, empty ones left out except at the ends)",
    "dup_lines": "lines seen before",
    "dup_line_chars": "characters of those",
    **{f"top_{n}_gram_chars": f"occurrences times characters of the top {n}-gram; null without one" for n in TOP},
    **{f"dup_{n}_gram_chars": f"characters of {n}-grams seen before, from left to right" for n in REPEATED},
}
# Table A1 of the paper.  The order is datatrove's.
RULES = (
    Rule("empty", "empty", "is_empty", ">", None),
    Rule("dup_para_frac", "dup_para_frac", "dup_para_frac", ">", 0.3),
    Rule("dup_para_char_frac", "dup_para_char_frac", "dup_para_char_frac", ">", 0.2),
    Rule("dup_line_frac", "dup_line_frac", "dup_line_frac", ">", 0.3),
    Rule("dup_line_char_frac", "dup_line_char_frac", "dup_line_char_frac", ">", 0.2),
    *(
        Rule(f"top_{n}_gram", f"top_{n}_gram", f"top_{n}_gram", ">", limit)
        for n, limit in zip(TOP, (0.2, 0.18, 0.16), strict=True)
    ),
    *(
        Rule(f"duplicated_{n}_n_grams", f"duplicated_{n}_n_grams", f"duplicated_{n}_n_grams", ">", limit)
        for n, limit in zip(REPEATED, (0.15, 0.14, 0.13, 0.12, 0.11, 0.10), strict=True)
    ),
)
SCHEMA = pa.schema([*VERDICT_FIELDS, *(field(name, pa.int64(), text) for name, text in NUMBERS.items())])

_PARAGRAPHS = re.compile(r"\n{2,}")
_LINES = re.compile(r"\n+")


def _repeated(parts: Iterable[str]) -> tuple[int, int, int]:
    """Number of parts, of those seen before, and the characters of the latter."""
    seen: set[str] = set()
    total = duplicates = characters = 0
    for part in parts:
        total += 1
        if part in seen:
            duplicates += 1
            characters += len(part)
        else:
            seen.add(part)
    return total, duplicates, characters


@njit(cache=True, nogil=True)
def _written_together(points, starts, ends):  # type: ignore[no-untyped-def]
    """All words without anything between, and where each starts in that."""
    offsets = np.zeros(len(starts) + 1, dtype=np.int64)
    for i in range(len(starts)):
        offsets[i + 1] = offsets[i] + ends[i] - starts[i]
    chars = np.empty(offsets[-1], dtype=np.uint32)
    for i in range(len(starts)):
        for k in range(ends[i] - starts[i]):
            chars[offsets[i] + k] = points[starts[i] + k]
    return chars, offsets


def measure(text: str, splitter: WordSplitter) -> dict[str, int | None]:
    """The numbers that the rules are about.  Expected time linear in the text."""
    points = code_points(text)
    starts, ends = splitter.spans(text)
    ids, first = number_ranges(points, starts, ends)
    top = top_joined(ids, len(first), ends - starts)
    repeated = repeated_scan(*_written_together(points, starts, ends))
    paragraphs = _repeated(_PARAGRAPHS.split(text.strip()))
    lines = _repeated(_LINES.split(text))
    return {
        "len_text": len(text),
        "n_words": len(starts),
        "n_paragraphs": paragraphs[0],
        "dup_paragraphs": paragraphs[1],
        "dup_paragraph_chars": paragraphs[2],
        "n_lines": lines[0],
        "dup_lines": lines[1],
        "dup_line_chars": lines[2],
        **{f"top_{n}_gram_chars": int(top[n - 2]) if top[n - 2] >= 0 else None for n in TOP},
        **{f"dup_{n}_gram_chars": int(repeated[n - 5]) for n in REPEATED},
    }


def verdict(numbers: dict[str, int | None]) -> Verdict:
    def share(part: str, whole: str = "len_text") -> float:
        return ratio(numbers[part] or 0, numbers[whole] or 0)

    values = {
        "is_empty": float(not numbers["len_text"]),
        "dup_para_frac": share("dup_paragraphs", "n_paragraphs"),
        "dup_para_char_frac": share("dup_paragraph_chars"),
        "dup_line_frac": share("dup_lines", "n_lines"),
        "dup_line_char_frac": share("dup_line_chars"),
        **{f"top_{n}_gram": share(f"top_{n}_gram_chars") for n in TOP},
        **{f"duplicated_{n}_n_grams": share(f"dup_{n}_gram_chars") for n in REPEATED},
    }
    found = judge(RULES, values)
    return dataclasses.replace(found, value=None) if found.rule == "empty" else found


@dataclasses.dataclass(frozen=True)
class GopherRepetition:
    """Gopher's repetition rules, verdict and reason as datatrove's with its defaults.

    Documents of other `kinds` than these (a null kind counts as prose) and of languages whose words need a
    model (`words.word_splitter`) are not judged: keep is true and every other column null.
    default_language: for documents whose language is null.
    """

    kinds: tuple[str, ...] = PROSE_KINDS
    default_language: str = "en"

    name: ClassVar[str] = "gopher_repetition@datatrove"
    schema: ClassVar[pa.Schema] = SCHEMA

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge_documents(batch, self.kinds, self.default_language, measure, verdict, NUMBERS, SCHEMA)
