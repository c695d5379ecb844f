"""FineWeb's own quality rules as datatrove 0.10.1 has them (`fineweb@datatrove`).

Thresholds and readings: src/datatrove/pipeline/filters/fineweb_quality_filter.py; the paper (arXiv 2406.17557,
section 3.6) has the first three.  Lines end at newlines only, and blank ones do not count.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.codepoints import SPACE, class_table
from quality_signals.compiled import njit
from quality_signals.edited_words import word_counts
from quality_signals.families import VERDICT_FIELDS, Bools, Rule, numbers_batch, ratios
from quality_signals.gopher_repetition import repeated_parts
from quality_signals.line_views import may_repeat, split_lines
from quality_signals.sentences import TERMINAL, mark_table
from quality_signals.text_batch import Ints, SharedTexts, TextBatch

NUMBERS = {
    "n_lines": "lines (split at newlines) that are not blank",
    "n_terminal_lines": "of these, that end in a sentence mark",
    "n_short_lines": "of these, with no more characters than short_line_length",
    "dup_line_chars": "characters of those that were seen before",
    "chars_without_newlines": "characters of the text but newlines",
    "n_newlines": "newlines",
    "n_words": "words, punctuation included",
}
SCHEMA = pa.schema([*VERDICT_FIELDS, *(field(name, pa.int64(), text) for name, text in NUMBERS.items())])


@njit(error_model="numpy")
def _solid_lines(points, classes, marks, starts, ends, lines, short, solid, out):  # type: ignore[no-untyped-def]
    """Marks lines that are not blank in `solid`.  out [texts, 4]: these, those that end in a sentence mark, the short
    ones, and characters of all lines."""
    for text in range(len(lines) - 1):
        for line in range(lines[text], lines[text + 1]):
            start = starts[line]
            end = ends[line]
            i = start
            while i < end and classes[points[i]] & SPACE:
                i += 1
            out[text, 3] += end - start
            solid[line] = i < end
            if i < end:
                out[text, 0] += 1
                out[text, 1] += (marks[points[end - 1]] & TERMINAL) != 0
                out[text, 2] += end - start <= short


def measured(texts: TextBatch, default_language: str, short_line_length: int) -> tuple[dict[str, Ints], Bools]:
    """The numbers that the rules are about, [texts] each, and which texts are judged."""
    n_words, judged = texts.view(word_counts, default_language)
    lines = texts.view(split_lines)
    solid, out = np.empty(len(lines), bool), np.zeros((len(texts), 4), np.int64)
    tables = (class_table(), mark_table())
    _solid_lines(texts.points, *tables, lines.starts, lines.ends, lines.offsets, short_line_length, solid, out)
    listed = np.flatnonzero(solid & texts.view(may_repeat))
    offsets = np.searchsorted(listed, lines.offsets)
    numbers = {
        "n_lines": out[:, 0],
        "n_terminal_lines": out[:, 1],
        "n_short_lines": out[:, 2],
        "dup_line_chars": repeated_parts(texts, lines.starts[listed], lines.ends[listed], offsets)[:, 1],
        "chars_without_newlines": out[:, 3],
        "n_newlines": lines.counts - 1,
        "n_words": n_words,
    }
    return numbers, judged


@dataclasses.dataclass(frozen=True)
class FineWebQuality:
    """FineWeb's quality rules, verdict and reason as datatrove's; the options are those of its filter.

    line_punct_thr, line_punct_exclude_zero: least share of lines that end in a sentence mark, and whether none at
        all passes.
    short_line_thr, short_line_length: greatest share of lines of so few characters.
    char_duplicates_ratio: greatest share of the characters that are those of repeated lines.
    new_line_ratio: greatest number of newlines for each word.

    Documents of other `kinds` than these (a null kind counts as prose) and of languages without a word splitter
    (`words.word_splitter`) are not judged: keep is true and every other column null.
    default_language: for documents whose language is null.
    """

    kinds: tuple[str, ...] = PROSE_KINDS
    default_language: str = "en"
    line_punct_thr: float = 0.12
    line_punct_exclude_zero: bool = False
    short_line_thr: float = 0.67
    short_line_length: int = 30
    char_duplicates_ratio: float = 0.01
    new_line_ratio: float = 0.3

    name: ClassVar[str] = "fineweb@datatrove"
    schema: ClassVar[pa.Schema] = SCHEMA

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in datatrove's order."""
        return (
            Rule("empty", "empty", "is_empty", ">", None),
            Rule("line_punct_thr", "line_punct_ratio", "line_punct_ratio", "<", self.line_punct_thr),
            Rule("short_line_thr", "short_line_ratio", "short_line_ratio", ">", self.short_line_thr),
            Rule("char_duplicates_ratio", "char_dup_ratio", "char_dup_ratio", ">", self.char_duplicates_ratio),
            Rule("new_line_ratio", "list_ratio", "list_ratio", ">", self.new_line_ratio),
        )

    def rule_values(self, numbers: dict[str, Ints]) -> dict[str, npt.NDArray[np.float64]]:
        """What the rules compare, [texts] each."""
        punct = ratios(numbers["n_terminal_lines"], numbers["n_lines"])
        if self.line_punct_exclude_zero:
            punct[punct == 0] = np.nan
        return {
            "is_empty": (numbers["n_lines"] == 0).astype(np.float64),
            "line_punct_ratio": punct,
            "short_line_ratio": ratios(numbers["n_short_lines"], numbers["n_lines"]),
            "char_dup_ratio": ratios(numbers["dup_line_chars"], numbers["chars_without_newlines"]),
            "list_ratio": ratios(numbers["n_newlines"], numbers["n_words"]),
        }

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        numbers, judged = measured(texts, self.default_language, self.short_line_length)
        return numbers_batch(texts, self.rules, self.rule_values(numbers), numbers, SCHEMA, judged)
