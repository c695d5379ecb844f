"""C4's line rules as datatrove 0.10.1 reads them: `c4@datatrove`, and `c4_fineweb@datatrove` as FineWeb runs them.

Thresholds: Raffel et al. 2020 (arXiv 1910.10683), section 2.2; readings: src/datatrove/pipeline/filters/c4_filters.py.
The text is not changed: `edits` has what the reference deletes of a document that it keeps.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import pyarrow as pa

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.c4_datatrove_lines import (
    CITATION_PATTERN,
    CURLY_BITS,
    JAVASCRIPT_BITS,
    LOREM_BITS,
    POLICY_BITS,
    LineFacts,
    citation_end,
    line_facts,
)
from quality_signals.codepoints import room
from quality_signals.compiled import njit
from quality_signals.edits import edits_column, edits_field
from quality_signals.families import VERDICT_FIELDS, Bools, Rule, numbers_batch
from quality_signals.sentences import counted, mark_table, sentence_counts, text_of
from quality_signals.text_batch import Ints, SharedTexts, TextBatch

# What becomes of a line, and why text goes.  The first ones are datatrove's words for dropped lines.
LINE_RULES = ("too_long_word", "no_terminal_punc", "too_few_words", "javascript", "policy")
EDIT_RULES = (*LINE_RULES, "citation", "white_space", "line_break")
_LONG_WORD, _NO_MARK, _FEW_WORDS, _JAVASCRIPT, _POLICY = range(5)
# No Python integers, for each of which numba would compile what gets it once more.
_CITATION, _WHITE_SPACE, _LINE_BREAK = np.int64(5), np.int64(6), np.int64(7)
_KEPT, _LOREM, _CURLY, _UNSEEN = 8, 9, 10, 11  # the page is dropped at a line with _LOREM or _CURLY

NUMBERS = {
    "n_lines": "lines (str.splitlines) up to the one that drops the page",
    "n_lines_kept": "lines that are kept",
    "n_lines_too_long_word": "lines dropped for a word of more than max_word_length characters",
    "n_lines_no_terminal_punc": "lines dropped for their end",
    "n_lines_too_few_words": "lines dropped for fewer than min_words_per_line words",
    "n_lines_javascript": "lines dropped for the word",
    "n_lines_policy": "lines dropped for a phrase on cookies or terms of use",
    "n_sentences": "sentences of the lines that are kept; 0 with min_num_sentences -1",
}
SCHEMA = pa.schema(
    [
        *VERDICT_FIELDS,
        *(field(name, pa.int64(), text) for name, text in NUMBERS.items()),
        edits_field("what the reference deletes; applied, its text is left; empty where the page is dropped"),
    ]
)


@njit(error_model="numpy")
def _judge_lines(offsets, facts, with_mark, longest, least, bits, fates, counts):  # type: ignore[no-untyped-def]
    """What becomes of each line, fates [lines], and counts [texts, 12] of fates.

    facts: of `_line_facts`.  with_mark: whether a line must end in an end mark.  bits: phrases that act.
    """
    for text in range(len(offsets) - 1):
        dropped = False
        for line in range(offsets[text], offsets[text + 1]):
            if dropped:
                fates[line] = _UNSEEN
                continue
            found = facts[line, 3] & bits
            if longest != -1 and facts[line, 1] > longest:
                fate = _LONG_WORD
            elif with_mark and not facts[line, 2]:
                fate = _NO_MARK
            elif facts[line, 0] < least:
                fate = _FEW_WORDS
            elif found & LOREM_BITS:
                fate = _LOREM
            elif found & JAVASCRIPT_BITS:
                fate = _JAVASCRIPT
            elif found & CURLY_BITS:
                fate = _CURLY
            else:
                fate = _POLICY if found & POLICY_BITS else _KEPT
            fates[line] = fate
            counts[text, fate] += 1
            dropped = fate == _LOREM or fate == _CURLY


@njit(error_model="numpy", forceinline=True)
def _edit(edits, count, first, start, end, rule):  # type: ignore[no-untyped-def]
    """Notes an edit that is not empty, as far as there is room; one that goes on where the last of its text ends, by
    the same rule, as a part of it.  first: the edits of other texts.  Returns the edits now."""
    if start >= end:
        return count
    if first < count <= edits.shape[1] and edits[1, count - 1] == start:
        if edits[2, count - 1] == rule and rule != _LINE_BREAK:
            edits[1, count - 1] = end
            return count
    if count < edits.shape[1]:
        edits[0, count] = start
        edits[1, count] = end
        edits[2, count] = rule
    return count + 1


@njit(error_model="numpy")
def _edits_of(  # type: ignore[no-untyped-def]
    points,
    marks,
    text_offsets,
    whole_starts,
    whole_ends,
    starts,
    ends,
    offsets,
    fates,
    cleaned,
    solid,
    pages,
    edits,
    edit_offsets,
):
    """Edits of the pages that are kept, as far as there is room in edits [3, room] (start, end, rule; in code points of
    the batch).  Returns how much room they take, or more than that where it is not enough.

    whole_starts, whole_ends: the lines with white space around them.
    """
    count = np.int64(0)
    for text in range(len(offsets) - 1):
        first = count
        # [low, high): from the first to the last character of the kept lines that is no white space
        low = 0
        high = 0
        for line in range(offsets[text], offsets[text + 1]):
            if fates[line] == _KEPT and solid[line, 1]:
                low = low if high else solid[line, 0]
                high = solid[line, 1]
        for line in range(offsets[text], offsets[text + 1] if pages[text] else offsets[text]):
            behind = whole_starts[line + 1] if line + 1 < offsets[text + 1] else text_offsets[text + 1]
            if fates[line] != _KEPT:
                count = _edit(edits, count, first, whole_starts[line], behind, fates[line])
                continue
            end = ends[line]
            stop = whole_ends[line]
            bare = cleaned[line] < 0 and whole_starts[line] == starts[line] and end == stop
            if bare and low <= starts[line] and stop < high and behind - stop == 1 and points[stop] == 10:
                continue  # nothing goes
            count = _edit(edits, count, first, whole_starts[line], starts[line], _WHITE_SPACE)
            # Citations go, and of the pieces between them what is not in [low, high).
            i = piece = starts[line]
            while i <= end:
                citation = 0
                if i < end and cleaned[line] >= 0:
                    citation = citation_end(points, marks, i, end)
                    if not citation:
                        i += 1
                        continue
                if not citation:
                    i = end
                count = _edit(edits, count, first, piece, min(i, low), _WHITE_SPACE)
                count = _edit(edits, count, first, max(piece, high), i, _WHITE_SPACE)
                if not citation:
                    break
                count = _edit(edits, count, first, i, citation, _CITATION)
                i = piece = citation
            count = _edit(edits, count, first, end, stop, _WHITE_SPACE)
            if stop < low or stop >= high:
                count = _edit(edits, count, first, stop, behind, _WHITE_SPACE)
            elif behind - stop != 1 or points[stop] != 10:
                count = _edit(edits, count, first, stop, behind, _LINE_BREAK)
        edit_offsets[text + 1] = count
    return count


@dataclasses.dataclass(frozen=True, slots=True)
class _Judged:
    """Lines of a batch and what becomes of them."""

    of: LineFacts
    fates: Ints  # [lines]
    counts: Ints  # [texts, 12] lines of each fate


@dataclasses.dataclass(frozen=True)
class C4Quality:
    """C4's line rules, verdict, reason and text left as datatrove's; the options are those of its filter.

    remove_citations: delete [1], [edit], [citation needed].
    filter_no_terminal_punct: drop lines that do not end in . ? ! " ' or that end in ...
    min_num_sentences: fewest sentences of a page, counted in the lines that are kept; -1: not counted.
    min_words_per_line, max_word_length: of white-space-separated words; -1: any.
    filter_javascript, filter_policy: drop lines with the word, or with a phrase on cookies or terms of use.
    filter_lorem_ipsum, filter_curly_bracket: drop pages with a line, not dropped before, that has it.

    Documents of other `kinds` than these (a null kind counts as prose) and of languages whose sentences cannot be
    counted (`sentences.counted`) are not judged: keep is true and every other column null.
    default_language: for documents whose language is null.
    """

    kinds: tuple[str, ...] = PROSE_KINDS
    default_language: str = "en"
    remove_citations: bool = True
    filter_no_terminal_punct: bool = True
    min_num_sentences: int = 5
    min_words_per_line: int = 3
    max_word_length: int = 1000
    filter_lorem_ipsum: bool = True
    filter_javascript: bool = True
    filter_curly_bracket: bool = True
    filter_policy: bool = True

    name: ClassVar[str] = "c4@datatrove"
    schema: ClassVar[pa.Schema] = SCHEMA

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules on pages; no page fails both of the first two."""
        return (
            Rule("filter_lorem_ipsum", "lorem_ipsum", "lorem_ipsum", ">", None),
            Rule("filter_curly_bracket", "curly_bracket", "curly_bracket", ">", None),
            Rule("min_num_sentences", "too_few_sentences", "n_sentences", "<", self.min_num_sentences),
        )

    def _judge(self, texts: TextBatch) -> _Judged:
        of = texts.view(line_facts, self.remove_citations)
        fates, counts = np.empty(len(of.lines), np.int64), np.zeros((len(texts), _UNSEEN + 1), np.int64)
        bits = LOREM_BITS * self.filter_lorem_ipsum | JAVASCRIPT_BITS * self.filter_javascript
        bits |= CURLY_BITS * self.filter_curly_bracket | POLICY_BITS * self.filter_policy
        rules = (self.filter_no_terminal_punct, self.max_word_length, self.min_words_per_line, bits)
        _judge_lines(of.lines.offsets, of.facts, *rules, fates, counts)
        return _Judged(of, fates, counts)

    def _sentences(self, texts: TextBatch, judged: _Judged) -> Ints:
        """[texts] sentences of the lines that are kept."""
        of = judged.of
        offsets = of.lines.offsets
        sums = np.zeros(len(judged.fates) + 1, np.int64)
        if self.min_num_sentences != -1:
            known = of.sentences.setdefault(self.default_language, np.full(len(of.lines), -1, np.int64))
            kept = judged.fates == _KEPT
            new = kept & (known < 0)
            if new.any():
                rewritten = {
                    line: CITATION_PATTERN.sub("", text_of(texts, of.starts[line], of.ends[line]))
                    for line in np.flatnonzero(new & (of.cleaned >= 0)).tolist()
                }
                spans = (of.starts, of.ends, offsets)
                known[new] = sentence_counts(texts, self.default_language, *spans, new, rewritten)[new]
            np.cumsum(np.where(kept, known, 0), out=sums[1:])
        return sums[offsets[1:]] - sums[offsets[:-1]]

    def _edits(self, texts: TextBatch, judged: _Judged, pages: Bools) -> pa.Array:
        of, lines = judged.of, judged.of.lines
        offsets = np.zeros(len(texts) + 1, np.int64)
        bounds = (lines.starts, lines.ends, of.starts, of.ends, lines.offsets)
        found = (judged.fates, of.cleaned, of.solid, pages)
        most = 2 * len(lines) + len(texts)  # enough but for many citations
        while True:
            edits = room(3 * most, np.int64).reshape(3, most)
            count = _edits_of(texts.points, mark_table(), texts.offsets, *bounds, *found, edits, offsets)
            if count <= most:
                break
            most = count
        starts, ends, rules = edits[:, :count]
        first = np.repeat(texts.offsets[:-1], np.diff(offsets))
        return edits_column(
            starts - first,
            ends - first,
            rules == _LINE_BREAK,
            rules,
            offsets,
            replacement_texts=("", "\n"),
            rule_names=EDIT_RULES,
        )

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        languages = [language or self.default_language for language in texts.languages(self.default_language)]
        known = {language: self.min_num_sentences == -1 or counted(language) for language in set(languages)}
        able = np.array([known[language] for language in languages], bool)
        judged = self._judge(texts)
        counts = judged.counts
        numbers = {
            "n_lines": counts.sum(axis=1),
            "n_lines_kept": counts[:, _KEPT],
            **{f"n_lines_{rule}": counts[:, fate] for fate, rule in enumerate(LINE_RULES)},
            "n_sentences": self._sentences(texts, judged),
        }
        values = {
            "lorem_ipsum": counts[:, _LOREM].astype(np.float64),
            "curly_bracket": counts[:, _CURLY].astype(np.float64),
            "n_sentences": numbers["n_sentences"].astype(np.float64),
        }
        pages = able & (counts[:, _LOREM] == 0) & (counts[:, _CURLY] == 0)
        pages &= numbers["n_sentences"] >= self.min_num_sentences
        edits = self._edits(texts, judged, pages)
        if not able.all():
            edits = edits.take(pa.array(np.arange(len(texts)), mask=~able))
        return numbers_batch(texts, self.rules, values, numbers, SCHEMA, able, [edits])


@dataclasses.dataclass(frozen=True)
class C4FineWeb(C4Quality):
    """`C4Quality` as FineWeb runs it: lines need not end in a sentence mark (datatrove's examples/fineweb.py)."""

    filter_no_terminal_punct: bool = False

    name: ClassVar[str] = "c4_fineweb@datatrove"
