"""mC4's filter of pages by their long lines (`mc4@1`).

A page stays if it has at least three lines of 200 characters or more: Xue et al. 2021 (arXiv 2010.11934), section 3.1;
tensorflow-datasets 4.9.10, text/c4_utils.py, `paragraph_filter`.  As in C4's own chain (text/c4.py, configuration
`multilingual`), pages of more than 190,000 characters are dropped before.  The rest of that chain is done by others:
language and its confidence, bad words (`bad_words@tfds`), and lines that other pages have (deduplication).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import pyarrow as pa

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.compiled import njit
from quality_signals.families import VERDICT_FIELDS, Rule, numbers_batch
from quality_signals.line_views import split_lines
from quality_signals.text_batch import Ints, SharedTexts, TextBatch

# c4_utils.py, paragraph_filter and is_valid_length.
MIN_LINES = 3
MIN_LINE_LENGTH = 200
MAX_CHARACTERS = 190_000

NUMBERS = {
    "n_characters": "characters",
    "n_lines": "lines: one more than newlines",
    "n_long_lines": f"lines of {MIN_LINE_LENGTH} characters or more",
    "third_longest_line": f"characters of the longest line but {MIN_LINES - 1}; 0 with fewer lines",
}
RULES = (
    Rule("max_length", "too_long", "n_characters", ">", MAX_CHARACTERS),
    Rule("min_paragraphs", "paragraph_filter", "n_lines", "<", MIN_LINES),
    Rule("min_paragraph_len", "paragraph_filter", "third_longest_line", "<", MIN_LINE_LENGTH),
)
SCHEMA = pa.schema([*VERDICT_FIELDS, *(field(name, pa.int64(), text) for name, text in NUMBERS.items())])


@njit(error_model="numpy")
def _longest(starts, ends, offsets, least, longs, thirds):  # type: ignore[no-untyped-def]
    """Per text: lines of at least `least` characters, and the third longest line."""
    for text in range(len(offsets) - 1):
        first = second = third = 0
        for line in range(offsets[text], offsets[text + 1]):
            length = ends[line] - starts[line]
            longs[text] += length >= least
            if length > third:
                third = min(length, second)
                if length > second:
                    second = min(length, first)
                    first = max(length, first)
        thirds[text] = third


def measure(texts: TextBatch) -> dict[str, Ints]:
    """View: the numbers of NUMBERS, each [texts] int64."""
    lines = texts.view(split_lines)
    longs, thirds = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64)
    _longest(lines.starts, lines.ends, lines.offsets, MIN_LINE_LENGTH, longs, thirds)
    columns = (texts.lengths, lines.counts, longs, thirds)
    return dict(zip(NUMBERS, columns, strict=True))


@dataclasses.dataclass(frozen=True)
class MC4:
    """mC4's filter by lines, and C4's maximum of characters.

    Documents of other `kinds` (a null kind counts as prose) are not judged: keep is true and every other column null.
    """

    kinds: tuple[str, ...] = PROSE_KINDS

    name: ClassVar[str] = "mc4@1"
    schema: ClassVar[pa.Schema] = SCHEMA

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        numbers = texts.view(measure)
        values = {name: column.astype(np.float64) for name, column in numbers.items()}
        return numbers_batch(texts, RULES, values, numbers, SCHEMA)
