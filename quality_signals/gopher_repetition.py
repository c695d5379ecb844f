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
from quality_signals.chunks import chunks
from quality_signals.codepoints import equal_ranges, hash_stretch, room
from quality_signals.compiled import njit
from quality_signals.families import VERDICT_FIELDS, Bools, Rule, numbers_batch, ratios
from quality_signals.line_views import line_chunks, may_repeat, split_lines
from quality_signals.repeated_grams import REPEATED, TOP, count_repeated
from quality_signals.text_batch import Ints, SharedTexts, TextBatch
from quality_signals.word_views import numbered_words

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
def _parts(starts, ends, offsets, firsts, chunk_starts, chunk_ends, repeats, of_lines, of_paragraphs, counts):  # type: ignore[no-untyped-def]
    """Counts the lines (between runs of newlines) and paragraphs (of the text without white space around, between two
    or more newlines) of each text into counts [texts, 3]: lines, paragraphs, whether there is an empty line at both
    ends; and lists those that may be the same as others.

    starts, ends, offsets, repeats: of `line_views.split_lines` and `may_repeat`.  firsts: the lines' first chunks.
    of_lines, of_paragraphs: starts, ends and offsets [texts + 1], to be filled.  Returns how many are listed.
    """
    line_starts, line_ends, line_offsets = of_lines
    paragraph_starts, paragraph_ends, paragraph_offsets = of_paragraphs
    lines = paragraphs = 0
    for text in range(len(offsets) - 1):
        low = offsets[text]
        high = offsets[text + 1]
        first_empty = starts[low] == ends[low]
        last_empty = high - low > 1 and starts[high - 1] == ends[high - 1]
        count = np.int64(first_empty) + np.int64(last_empty)
        counts[text, 2] = first_empty and last_empty
        first_solid = -1
        last_solid = -1
        for line in range(low, high):
            count += starts[line] < ends[line]
            if firsts[line] < firsts[line + 1]:
                first_solid = line if first_solid < 0 else first_solid
                last_solid = line
            if repeats[line]:
                line_starts[lines] = starts[line]
                line_ends[lines] = ends[line]
                lines += 1
        counts[text, 0] = count
        line_offsets[text + 1] = lines
        found = 0
        begin = -1  # line at which the open paragraph begins
        for line in range(first_solid, last_solid + 1 if first_solid >= 0 else first_solid):
            full = starts[line] < ends[line]
            if full and begin < 0:
                begin = line
            if begin >= 0 and (not full or line == last_solid):
                if repeats[begin]:
                    start = starts[begin] if begin > first_solid else chunk_starts[firsts[begin]]
                    end = ends[line - 1] if line < last_solid else chunk_ends[firsts[line + 1] - 1]
                    paragraph_starts[paragraphs] = start
                    paragraph_ends[paragraphs] = end
                    paragraphs += 1
                found += 1
                begin = -1
        counts[text, 1] = max(found, 1)
        paragraph_offsets[text + 1] = paragraphs
    return lines, paragraphs


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


def _split(texts: TextBatch) -> tuple[Ints, Ints, Ints, Ints]:
    """[texts] lines and paragraphs, and [texts, 2] of each as `repeated_parts`."""
    lines, found = texts.view(split_lines), texts.view(chunks)
    most, size = len(lines), len(texts) + 1
    listed_lines = (room(most, np.int64), room(most, np.int64), np.zeros(size, np.int64))
    listed_paragraphs = (room(most, np.int64), room(most, np.int64), np.zeros(size, np.int64))
    counts = np.zeros((len(texts), 3), np.int64)
    firsts, repeats = texts.view(line_chunks), texts.view(may_repeat)
    spans = (lines.starts, lines.ends, lines.offsets, firsts, found.starts, found.ends, repeats)
    sizes = _parts(*spans, listed_lines, listed_paragraphs, counts)
    of_lines, of_paragraphs = (
        repeated_parts(texts, starts[:size], ends[:size], offsets)
        for (starts, ends, offsets), size in zip((listed_lines, listed_paragraphs), sizes, strict=True)
    )
    of_lines[:, 0] += counts[:, 2]
    return counts[:, 0], counts[:, 1], of_lines, of_paragraphs


def measured(texts: TextBatch, default_language: str) -> tuple[dict[str, Ints], Bools]:
    """The numbers that the rules are about, [texts] each, and which texts are judged.  -1 where there is no n-gram.

    Expected time linear in the texts.
    """
    numbered = texts.view(numbered_words, default_language)
    words = numbered.words
    top, repeated = count_repeated(numbered.ids, words.offsets, numbered.vocabulary.words)
    n_lines, n_paragraphs, lines, paragraphs = texts.view(_split)
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
        return numbers_batch(texts, RULES, rule_values(numbers), numbers, SCHEMA, judged)
