"""How many words each text has, where it may be what edits left of another: then words of what stayed are not looked
for again."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from quality_signals.codepoints import SPACE, class_table
from quality_signals.compiled import njit
from quality_signals.text_batch import Bools, Ints, TextBatch
from quality_signals.word_views import datatrove_words, splitters
from quality_signals.words import WordSplitter

_EMPTY, _NEWLINE, _OTHER = 0, 1, 2


@njit(error_model="numpy")
def _is_clean(points, table, low, high, start, end, newline):  # type: ignore[no-untyped-def]
    """Whether the words of points[low:high] are those outside [start, end) once this is cut out and a newline put in
    where `newline`; and whether it holds more than white space.

    So it is where chunks (between white space) end on both sides of each cut and of the seam, and where no single
    blank (over which exceptions may reach) between two chunks goes or comes.
    """
    solid = False
    for i in range(start, end):
        solid |= (table[points[i]] & SPACE) == 0
    first, last = start == low, end == high  # no chunk before, behind
    left = np.uint32(10) if first else points[start - 1]
    right = np.uint32(10) if last else points[end]
    left_white = (table[left] & SPACE) != 0
    right_white = (table[right] & SPACE) != 0
    seam = newline or first or last or (left_white and left != 32) or (right_white and right != 32)
    if not solid:
        if first or last:
            return True, solid
        if end - start == 1 and not left_white and not right_white:
            return False, solid
        return seam or (left_white and right_white), solid
    white = (table[points[start]] & SPACE) != 0
    two = start + 1 < end and (table[points[start + 1]] & SPACE) != 0
    before = first or (left_white and left != 32) or (white and (points[start] != 32 or two))
    white = (table[points[end - 1]] & SPACE) != 0
    two = end - 2 >= start and (table[points[end - 2]] & SPACE) != 0
    behind = last or (right_white and right != 32) or (white and (points[end - 1] != 32 or two))
    return seam and before and behind, solid


@njit(error_model="numpy")
def _count_left(points, offsets, table, words, word_starts, firsts, starts, ends, kinds, clean, counts):  # type: ignore[no-untyped-def]
    """counts [texts]: words of the text outside its edits, right where it is left `clean`.

    words [texts + 1], word_starts: of the texts before.  firsts [texts + 1], starts, ends, kinds: edits.
    """
    for text in range(len(offsets) - 1):
        low = offsets[text]
        counts[text] = words[text + 1] - words[text]
        word = words[text]
        edit = firsts[text]
        while edit < firsts[text + 1] and clean[text]:
            start = low + starts[edit]
            end = low + ends[edit]
            kind = kinds[edit]
            edit += 1
            while edit < firsts[text + 1] and low + starts[edit] == end:  # edits in a row are one
                end = low + ends[edit]
                kind = max(kind, kinds[edit])
                edit += 1
            good, solid = _is_clean(points, table, low, offsets[text + 1], start, end, kind == _NEWLINE)
            clean[text] = good and kind != _OTHER
            if solid:
                while word < words[text + 1] and word_starts[word] < start:
                    word += 1
                while word < words[text + 1] and word_starts[word] < end:
                    word += 1
                    counts[text] -= 1


def word_counts(texts: TextBatch, default_language: str) -> tuple[Ints, Bools]:
    """View: [texts] words of `datatrove_words`, and [texts] whether a text is judged.

    For texts that edits left of others the words of those are counted, less those cut out, where no edit divides or
    joins words; only the other texts are looked at anew.
    """
    if texts.before is None:
        words = texts.view(datatrove_words, default_language)
        return words.counts, words.judged
    source, edits = texts.before
    words = source.view(datatrove_words, default_language)
    found, owners = source.view(splitters, default_language)
    by_chunks = np.array([isinstance(splitter, WordSplitter) for splitter in found] + [True], bool)
    clean = by_chunks[owners]  # -1, without a splitter, is the last
    firsts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(edits.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), out=firsts[1:])
    flat = edits.flatten()
    new = flat.field("replacement").fill_null("")
    empty, newline = (pc.equal(new, text).to_numpy(zero_copy_only=False) for text in ("", "\n"))
    kinds = np.where(empty, _EMPTY, np.where(newline, _NEWLINE, _OTHER))
    starts, ends = (flat.field(name).to_numpy().astype(np.int64) for name in ("start", "end"))
    counts = np.zeros(len(texts), np.int64)
    of_words = (words.offsets, words.starts)
    _count_left(source.points, source.offsets, class_table(), *of_words, firsts, starts, ends, kinds, clean, counts)
    if not clean.all():
        rows = np.zeros(len(texts.rows), bool)
        rows[np.flatnonzero(texts.rows)[~clean]] = True
        counts[~clean] = TextBatch(texts.batch, rows).view(datatrove_words, default_language).counts
    return counts, words.judged
