"""The file filter of The Stack v2's pull requests (`stack_v2_pr@1`).

the-stack-v2 @ 9172041, pull_requests_and_issues/process_commit_pairs.py, `get_content_stats`, `is_valid_file`; no list
of languages (`in_langs` None).
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from quality_signals.batches import CODE_KINDS, PROSE_KINDS, field
from quality_signals.families import VERDICT_FIELDS, Rule, family_batch, ratios
from quality_signals.file_statistics import file_statistics
from quality_signals.stack_v1 import languages_of
from quality_signals.text_batch import SharedTexts

# FilterParams; a value at its limit is dropped, where the rules of other families let it pass.
MIN_ALPHANUMERIC, MAX_HEX, MAX_LINES, MAX_MEAN_LINE_CHARS, MAX_LINE_CHARS = 0.25, 0.25, 100_000, 100, 1000
DOCUMENT_LANGUAGES = ("Markdown", "reStructuredText", "RMarkdown", "RDoc", "AsciiDoc")
# One white-space character either side decides as well as the reference's \s+, without its square of runs of them.
ENGLISH = re.compile(r"\s(the|be|to|of|and|that|have|with)\s")

_BELOW, _ABOVE = -np.inf, np.inf


def _beyond(limit: float, side: float) -> float:
    """The limit itself fails: the nearest number that passes is the threshold."""
    return float(np.nextafter(limit, side))


RULES = (
    Rule("alphanum_fraction", "alphanum_fraction", "alphanum_fraction", "<", _beyond(MIN_ALPHANUMERIC, _ABOVE)),
    Rule("hex_fraction", "hex_fraction", "hex_fraction", ">", _beyond(MAX_HEX, _BELOW)),
    Rule("num_lines", "num_lines", "num_lines", ">", MAX_LINES - 1),
    Rule("avg_line_length", "avg_line_length", "long_mean", ">", _beyond(MAX_MEAN_LINE_CHARS, _BELOW)),
    Rule("max_line_length", "max_line_length", "long_line", ">", MAX_LINE_CHARS - 1),
    Rule("english", "english_lang_pattern", "no_english", ">", None),
)
_NUMBERS = (
    field("alphanum_fraction", pa.float64(), "characters with str.isalnum / characters; 0 if empty"),
    field("alpha_fraction", pa.float64(), "characters with str.isalpha / characters; 0 if empty"),
    field("hex_fraction", pa.float64(), "twice the occurrences of \\x / characters; 0 if empty"),
    field("num_lines", pa.int64(), "lines (str.splitlines)"),
    field("avg_line_length", pa.float64(), "mean line without its end; 0 if empty", "characters"),
    field("max_line_length", pa.int64(), "longest line without its end; 0 if empty", "characters"),
)
SCHEMA = pa.schema([*VERDICT_FIELDS, *_NUMBERS])


@dataclasses.dataclass(frozen=True)
class StackV2PullRequestFile:
    """Numbers and verdict.  Line lengths are not asked of prose languages, English words of Markdown alone.

    Documents of other `kinds` are not judged: keep is true and every other column null.
    """

    kinds: tuple[str, ...] = (*CODE_KINDS, *PROSE_KINDS)

    name: ClassVar[str] = "stack_v2_pr@1"
    schema: ClassVar[pa.Schema] = SCHEMA

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        found = texts.view(file_statistics)
        languages = languages_of(texts)
        alphanumeric, alphabetic, hexadecimal = (
            np.nan_to_num(ratios(part, found.size))
            for part in (found.alphanumeric, found.alphabetic, 2 * found.hex_marks)
        )
        mean = np.nan_to_num(found.mean)
        prose = np.array([language in DOCUMENT_LANGUAGES for language in languages], np.bool_)
        no_english = [False] * len(texts)
        if "Markdown" in languages:
            no_english = [
                language == "Markdown" and ENGLISH.search(text) is None
                for language, text in zip(languages, texts.strings, strict=True)
            ]
        values: dict[str, Any] = {
            "alphanum_fraction": alphanumeric,
            "hex_fraction": hexadecimal,
            "num_lines": found.lines,
            "long_mean": np.where(prose, 0, mean),
            "long_line": np.where(prose, 0, found.longest),
            "no_english": np.array(no_english, np.bool_),
        }
        columns = [*map(pa.array, (alphanumeric, alphabetic, hexadecimal, found.lines, mean, found.longest))]
        return family_batch(texts, RULES, values, columns, SCHEMA)
