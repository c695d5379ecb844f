"""Gopher's repetition rules as datatrove 0.10.1 reads them (`gopher_repetition@datatrove`).

Thresholds: Rae et al. 2021 (arXiv 2112.11446), table A1; readings: datatrove's gopher_repetition_filter.py.
Duplicates are the occurrences after the first; character fractions are of the whole text, white space
included.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.codepoints import SPACE, class_table, equal_ranges, hash_stretch
from quality_signals.compiled import njit
from quality_signals.families import VERDICT_FIELDS, Bools, Rule, family_batch, ratios
from quality_signals.repeated_grams import REPEATED, TOP, repeated_grams
from quality_signals.text_batch import Ints, SharedTexts, TextBatch
from quality_signals.word_views import datatrove_words

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


@njit(error_model="numpy")
def _repeated_parts(points, starts, ends, offsets, slots, hashes, out):  # type: ignore[no-untyped-def]
    """Parts of a text that were seen before in it.

    slots (all -1), hashes: room for twice as many parts as a text has, a power of two.
    out [texts, 2]: number of repeated parts, and their characters.
    """
    for text in range(len(offsets) - 1):
        first = offsets[text]
        count = offsets[text + 1] - first
        if count < 2:
            continue
        capacity = 8
        while capacity < 2 * count:
            capacity *= 2
        mask = np.uint64(capacity - 1)
        slots[:capacity] = -1
        for part in range(first, first + count):
            start = starts[part]
            length = ends[part] - start
            h = hash_stretch(points, start, ends[part])
            slot = h & mask
            while True:
                other = slots[slot]
                if other < 0:
                    slots[slot] = part
                    hashes[slot] = h
                    break
                if (
                    hashes[slot] == h
                    and ends[other] - starts[other] == length
                    and equal_ranges(points, starts[other], points, start, length)
                ):
                    out[text, 0] += 1
                    out[text, 1] += length
                    break
                slot = (slot + np.uint64(1)) & mask


@njit(error_model="numpy")
def _parts(points, table, offsets, least, stripped, starts, ends, parts):  # type: ignore[no-untyped-def]
    """Parts of the texts between runs of at least `least` newlines; of the texts without white space around them
    where `stripped`.  Returns the number of parts."""
    part = 0
    for text in range(len(offsets) - 1):
        start = offsets[text]
        end = offsets[text + 1]
        if stripped:
            while start < end and table[points[start]] & SPACE:
                start += 1
            while start < end and table[points[end - 1]] & SPACE:
                end -= 1
        i = start
        while i < end:
            if points[i] != 10:
                i += 1
                continue
            newline = i
            while i < end and points[i] == 10:
                i += 1
            if i - newline >= least:
                starts[part] = start
                ends[part] = newline
                part += 1
                start = i
        starts[part] = start
        ends[part] = end
        part += 1
        parts[text + 1] = part
    return part


def repeated_parts(texts: TextBatch, starts: Ints, ends: Ints, offsets: Ints) -> Ints:
    """[texts, 2]: parts of a text that were seen before in it, and their characters.

    Part k is points[starts[k]:ends[k]], those of text i are offsets[i]:offsets[i + 1].  Expected time is linear.
    """
    most = int(np.diff(offsets).max(initial=4))
    capacity = 1 << (2 * most - 1).bit_length()
    out = np.zeros((len(texts), 2), np.int64)
    slots, hashes = np.empty(capacity, np.int64), np.empty(capacity, np.uint64)
    _repeated_parts(texts.points, starts, ends, offsets, slots, hashes, out)
    return out


def _split(texts: TextBatch, least: int, stripped: bool) -> tuple[Ints, Ints]:
    """[texts] parts between runs of newlines, and [texts, 2] as `repeated_parts`."""
    room = int(np.count_nonzero(texts.points == 10)) + len(texts)
    starts, ends, offsets = np.empty(room, np.int64), np.empty(room, np.int64), np.zeros(len(texts) + 1, np.int64)
    count = _parts(texts.points, class_table(), texts.offsets, least, stripped, starts, ends, offsets)
    return np.diff(offsets), repeated_parts(texts, starts[:count], ends[:count], offsets)


def measured(texts: TextBatch, default_language: str) -> tuple[dict[str, Ints], Bools]:
    """The numbers that the rules are about, [texts] each, and which texts are judged.  -1 where there is no n-gram.

    Expected time linear in the texts.
    """
    words = texts.view(datatrove_words, default_language)
    top, repeated = repeated_grams(words.points, words.starts, words.ends, words.offsets)
    n_paragraphs, paragraphs = _split(texts, 2, True)
    n_lines, lines = _split(texts, 1, False)
    numbers = {
        "len_text": texts.lengths,
        "n_words": words.counts,
        "n_paragraphs": n_paragraphs,
        "dup_paragraphs": paragraphs[:, 0],
        "dup_paragraph_chars": paragraphs[:, 1],
        "n_lines": n_lines,
        "dup_lines": lines[:, 0],
        "dup_line_chars": lines[:, 1],
        **{f"top_{n}_gram_chars": top[:, n - 2] for n in TOP},
        **{f"dup_{n}_gram_chars": repeated[:, n - 5] for n in REPEATED},
    }
    return numbers, words.judged


def rule_values(numbers: dict[str, Ints]) -> dict[str, npt.NDArray[np.float64]]:
    """What the rules compare, [texts] each."""

    def share(part: str, whole: str = "len_text") -> npt.NDArray[np.float64]:
        return ratios(np.maximum(numbers[part], 0), numbers[whole])

    return {
        "is_empty": (numbers["len_text"] == 0).astype(np.float64),
        "dup_para_frac": share("dup_paragraphs", "n_paragraphs"),
        "dup_para_char_frac": share("dup_paragraph_chars"),
        "dup_line_frac": share("dup_lines", "n_lines"),
        "dup_line_char_frac": share("dup_line_chars"),
        **{f"top_{n}_gram": share(f"top_{n}_gram_chars") for n in TOP},
        **{f"duplicated_{n}_n_grams": share(f"dup_{n}_gram_chars") for n in REPEATED},
    }


@dataclasses.dataclass(frozen=True)
class GopherRepetition:
    """Gopher's repetition rules, verdict and reason as datatrove's with its defaults.

    Documents of other `kinds` than these (a null kind counts as prose) and of languages without a word splitter
    (`words.word_splitter`) are not judged: keep is true and every other column null.
    default_language: for documents whose language is null.
    """

    kinds: tuple[str, ...] = PROSE_KINDS
    default_language: str = "en"

    name: ClassVar[str] = "gopher_repetition@datatrove"
    schema: ClassVar[pa.Schema] = SCHEMA

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        numbers, judged = measured(texts, self.default_language)
        columns = (pa.array(numbers[name], pa.int64(), mask=~judged | (numbers[name] < 0)) for name in NUMBERS)
        return family_batch(texts, RULES, rule_values(numbers), columns, SCHEMA, judged)
