"""Spans of three sentences, as datatrove's sentence deduplication compares and removes them: `sentences@datatrove`.

Reference: datatrove 0.10.1, pipeline/dedup/sentence_dedup.py.  A passage is a span of n sentences in a row, one from
each sentence on; its hash is the XXH64 of the sentences, each through `simplify_text`, joined by a space.  Spans of
which nothing is left then are no passages.  Where a span goes, its sentences go, with the white space before each.

Sentences are those of spaCy's sentencizer over datatrove's words, so texts are judged whose language has words that
white-space-separated chunks determine; all others stay as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dedup.passages import (
    KEEPS,
    NOTHING_LEFT,
    Bools,
    Changed,
    Floats,
    Ints,
    Keep,
    Order,
    Passages,
    check_counts,
    edited_texts,
    line_marks,
    totals,
)
from dedup.simplified import simplified
from dedup.xxhash import PADDING, xxh64
from quality_signals.codepoints import SPACE, class_table
from quality_signals.compiled import njit
from quality_signals.edits import edits_column
from quality_signals.families import Rule
from quality_signals.line_views import python_lines
from quality_signals.sentence_rules import rule_of
from quality_signals.sentences import STOP, begins_behind_stop, mark_table
from quality_signals.text_batch import TextBatch
from quality_signals.word_views import Words, datatrove_words

NO_LANGUAGE = "zxx"  # ISO 639-2: no linguistic content; it has no words
EDIT_RULES = ("repeated_sentences", "white_space", "line_break")
_REPEATED, _WHITE_SPACE, _LINE_BREAK = np.int64(0), np.int64(1), np.int64(2)


@dataclasses.dataclass(frozen=True, slots=True)
class Sentences:
    """Sentences of a batch in order, in code points of the batch.

    starts, ends  [sentences] from the first to behind the last character of it that is no white space; of lines: all
                  of the line.  The last sentence of a text ends where the reference has its end: behind the white
                  space that follows, but for a single blank.
    offsets       [texts + 1] int64
    tails         [texts] bool: the white space behind the last sentence is one more span to the reference
    """

    starts: Ints
    ends: Ints
    offsets: Ints
    tails: Bools

    @property
    def counts(self) -> Ints:
        return np.diff(self.offsets)


@njit(error_model="numpy")
def _sentence_bounds(  # type: ignore[no-untyped-def]
    points,
    text_offsets,
    classes,
    marks,
    word_points,
    word_starts,
    word_ends,
    words,
    judged,
    starts,
    ends,
    offsets,
    tails,
):
    """As spaCy's sentencizer; the first word of a text begins a sentence too."""
    count = 0
    for text in range(len(text_offsets) - 1):
        stopped = False
        at = text_offsets[text]
        end = text_offsets[text + 1]
        first = True
        for word in range(words[text], words[text + 1] if judged[text] else words[text]):
            low = word_starts[word]
            high = word_ends[word]
            begins = first or (stopped and begins_behind_stop(points, marks, word_points, at, low, high))
            if begins:
                starts[count] = low
                count += 1
                first = False
            if begins or not stopped:
                stopped = high - low == 1 and (marks[word_points[low]] & STOP) != 0
            at = high
            ends[count - 1] = at
        left = end - at
        if judged[text] and not first and left and classes[points[at]] & SPACE and (left > 1 or points[at] != 32):
            if stopped:
                tails[text] = True
            else:
                ends[count - 1] = end
        offsets[text + 1] = count
    return count


def in_chunks(texts: TextBatch, default_language: str) -> Bools:
    """[texts] whether the text's language has words that chunks determine."""
    languages = [language or default_language for language in texts.languages(default_language)]
    known = {language: rule_of(language)[0] == "chunks" for language in set(languages)}
    return np.array([known[language] for language in languages], np.bool_)


def _words(texts: TextBatch, judged: Bools, default_language: str) -> Words:
    if judged.all():
        return texts.view(datatrove_words, default_language)
    # Models of other languages need not run.
    languages = pa.array([language or default_language for language in texts.languages(default_language)], pa.string())
    column = pc.if_else(pa.array(judged), languages, pa.scalar(NO_LANGUAGE))
    batch = pa.RecordBatch.from_arrays([texts.texts, column], ["text", "language"])
    return TextBatch(batch, np.ones(len(texts), np.bool_)).view(datatrove_words, default_language)


def sentences(texts: TextBatch, default_language: str) -> Sentences:
    """View: the sentences of all texts of `in_chunks`; the others have none."""
    judged = texts.view(in_chunks, default_language)
    words = _words(texts, judged, default_language)
    starts, ends = np.empty(len(words.starts), np.int64), np.empty(len(words.starts), np.int64)
    offsets, tails = np.zeros(len(texts) + 1, np.int64), np.zeros(len(texts), np.bool_)
    spans = (words.points, words.starts, words.ends, words.offsets, judged)
    count = _sentence_bounds(
        texts.points, texts.offsets, class_table(), mark_table(), *spans, starts, ends, offsets, tails
    )
    return Sentences(starts[:count], ends[:count], offsets, tails)


def lines(texts: TextBatch, default_language: str) -> Sentences:
    """View: the lines (str.splitlines) in the place of sentences."""
    found = texts.view(python_lines)
    return Sentences(found.starts, found.ends, found.offsets, np.zeros(len(texts), np.bool_))


@njit(error_model="numpy")
def _bytes_of(points, places, found):  # type: ignore[no-untyped-def]
    """Where the characters places (ascending) begin in UTF-8."""
    at = 0
    byte = 0
    for i in range(len(places)):
        while at < places[i]:
            c = points[at]
            byte += 1 + (c >= 0x80) + (c >= 0x800) + (c >= 0x10000)
            at += 1
        found[i] = byte


@njit(error_model="numpy")
def _joined(utf8, rows, sentence_rows, joined, starts, ends):  # type: ignore[no-untyped-def]
    """The rows' bytes with a space between: those of sentence i are joined[starts[i]:ends[i]]."""
    out = 0
    for i in range(len(sentence_rows)):
        starts[i] = out
        for k in range(rows[sentence_rows[i]], rows[sentence_rows[i] + 1]):
            joined[out] = utf8[k]
            out += 1
        ends[i] = out
        joined[out] = 32
        out += 1


@njit(error_model="numpy")
def _spans(starts, ends, offsets, judged, n, first, last, places, spans):  # type: ignore[no-untyped-def]
    """Spans of n sentences that hold anything; spans [texts + 1]."""
    count = 0
    for text in range(len(offsets) - 1):
        if judged[text]:
            for i in range(offsets[text], offsets[text + 1] - n + 1):
                if ends[i + n - 1] - starts[i] > n - 1:
                    first[count] = starts[i]
                    last[count] = ends[i + n - 1]
                    places[count] = i - offsets[text]
                    count += 1
        spans[text + 1] = count
    return count


def simplified_sentences(texts: TextBatch, found: Sentences) -> tuple[npt.NDArray[np.uint8], Ints, Ints]:
    """`simplify_text` of every sentence as UTF-8, spaces between: sentence i is utf8[starts[i]:ends[i]]; padded."""
    # Rows without gaps: a sentence goes on to the next one, since white space at its end makes no difference; the
    # first begins where its text does, and a text without any is a row too.
    counts = found.counts
    bounds = np.sort(np.concatenate([found.starts, texts.offsets[:-1]]), kind="stable")
    own = np.repeat(np.arange(len(texts)), counts)
    # A text's first row is the white space before its first sentence, mostly nothing.
    rows = np.arange(len(found.starts)) + own + 1
    places = np.concatenate([bounds, [texts.offsets[-1]]])
    offsets = np.empty(len(places), np.int64)
    _bytes_of(texts.points, places, offsets)
    column = pa.LargeStringArray.from_buffers(
        len(bounds), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(texts.utf8))
    )
    batch = pa.RecordBatch.from_arrays([column, pa.nulls(len(bounds), pa.string())], ["text", "language"])
    plain = simplified(TextBatch(batch, np.ones(len(bounds), np.bool_)))
    joined = np.empty(len(plain.utf8) + len(rows) + PADDING, np.uint8)
    starts, ends = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    _joined(plain.utf8, plain.byte_offsets, rows, joined, starts, ends)
    return joined, starts, ends


@njit(error_model="numpy")
def _put(start, end, rule, begin, edit_starts, edit_ends, rules, count):  # type: ignore[no-untyped-def]
    """Notes an edit; one that goes on where one of the same rule and text (from `begin` on) ends is part of it."""
    if start == end:
        return count
    if count > begin and edit_ends[count - 1] == start and rules[count - 1] == rule:
        edit_ends[count - 1] = end
        return count
    edit_starts[count] = start
    edit_ends[count] = end
    rules[count] = rule
    return count + 1


@njit(error_model="numpy")
def _sentence_edits(points, text_offsets, classes, ends, offsets, tails, gone, edit_starts, edit_ends, rules, edits):  # type: ignore[no-untyped-def]
    """Edits that leave the sentences that stay, each with the white space before it, but none at the start.

    In code points of the batch; room for two edits a sentence and two a text.
    """
    count = np.int64(0)
    for text in range(len(offsets) - 1):
        begin = count
        last = text_offsets[text]
        whole = text_offsets[text + 1]
        blank = True  # nothing but white space is left so far
        for i in range(offsets[text], offsets[text + 1] + tails[text]):
            tail = i == offsets[text + 1]
            stop = whole if tail else ends[i]
            if not tail and gone[i]:
                count = _put(last, stop, _REPEATED, begin, edit_starts, edit_ends, rules, count)
            elif blank:
                low = last
                while low < stop and classes[points[low]] & SPACE:
                    low += 1
                count = _put(last, low, _WHITE_SPACE, begin, edit_starts, edit_ends, rules, count)
                blank = low == stop
            last = stop
        count = _put(last, whole, _WHITE_SPACE, begin, edit_starts, edit_ends, rules, count)
        edits[text + 1] = count
    return count


def _line_edits(text: str, starts: list[int], ends: list[int], gone: list[bool]) -> list[tuple[int, int, int, int]]:
    """Edits (start, end, replacement, rule) that leave "\\n".join(lines that stay).lstrip()."""
    edits: list[tuple[int, int, int, int]] = []
    last = 0
    blank = True  # nothing but white space is left so far
    lost = False  # a line went since the last one that stays
    for start, end, goes in zip(starts, ends, gone, strict=True):
        if goes:
            lost = True
            continue
        rule = int(_REPEATED) if lost else int(_LINE_BREAK)
        if blank:
            begin = start + len(text[start:end]) - len(text[start:end].lstrip())
            if begin > last:
                edits.append((last, begin, 0, int(_REPEATED) if lost else int(_WHITE_SPACE)))
            blank = begin == end
        elif text[last] == "\n":
            if start > last + 1:
                edits.append((last + 1, start, 0, rule))
        else:
            edits.append((last, start, 1, rule))
        last, lost = end, False
    if last < len(text):
        edits.append((last, len(text), 0, int(_REPEATED) if lost else int(_WHITE_SPACE)))
    return edits


@dataclasses.dataclass(frozen=True)
class DatatroveSentences:
    """datatrove's SentDedupConfig; the defaults are its own.

    n_sentences               sentences of a span
    split_sentences           False: lines (str.splitlines) in the place of sentences
    min_doc_words             fewest words of a text that lost spans, 0: any
    min_num_sentences         fewest sentences of a text that lost spans, 0: any
    min_words_to_remove_span  sentences that go in a row stay, the first of them only, where that one has fewer words
    default_language          of texts without one

    The reference's `only_dedup_in_index` acts where there is an index of an earlier run, which this scheme has not.
    """

    n_sentences: int = 3
    split_sentences: bool = True
    min_doc_words: int = 50
    min_num_sentences: int = 3
    min_words_to_remove_span: int = 0
    default_language: str = "en"

    keep: ClassVar[Keep] = KEEPS[0]
    name: ClassVar[str] = "sentences@datatrove"
    wide: ClassVar[bool] = False
    bytes_each: ClassVar[int] = 80
    order: ClassVar[Order] = "doc_id"

    def __post_init__(self) -> None:
        check_counts(self, "n_sentences", "min_doc_words", "min_num_sentences", "min_words_to_remove_span")
        if not self.n_sentences:
            raise ValueError(f"{self.name}: n_sentences is 0, must be 1 or more")

    @property
    def rules(self) -> tuple[Rule, ...]:
        rules = [Rule(NOTHING_LEFT, "no sentence is left", "characters_left", "<", 1.0)]
        if self.min_doc_words:
            rules.append(Rule("min_doc_words", "too few words are left", "words_left", "<", float(self.min_doc_words)))
        if self.min_num_sentences:
            least = float(self.min_num_sentences)
            rules.append(Rule("min_num_sentences", "too few sentences are left", "sentences_left", "<", least))
        return tuple(rules)

    def _found(self, texts: TextBatch) -> Sentences:
        return texts.view(sentences if self.split_sentences else lines, self.default_language)

    def passages(self, texts: TextBatch) -> Passages:
        judged = texts.view(in_chunks, self.default_language)
        found = self._found(texts)
        utf8, starts, ends = simplified_sentences(texts, found)
        first, last, places = (np.empty(len(starts), np.int64) for _ in range(3))
        spans = np.zeros(len(texts) + 1, np.int64)
        bounds = (starts, ends, found.offsets, judged, self.n_sentences)
        count = _spans(*bounds, first, last, places, spans)
        hashes = np.empty(count, np.uint64)
        xxh64(utf8, first[:count], last[:count], hashes)
        return Passages(hashes, None, places[:count], spans, judged, np.full(len(texts), -1, np.int64))

    def change(self, texts: TextBatch, places: Ints, offsets: Ints) -> Changed:
        found = self._found(texts)
        begins = line_marks(places, offsets, found.counts)
        # A span takes the n sentences from its place on, as far as there are.
        gone = np.zeros(len(begins), np.bool_)
        limits = np.repeat(found.offsets[1:], found.counts)
        at = np.flatnonzero(begins)
        for step in range(self.n_sentences):
            inside = at + step < limits[at]
            gone[at[inside] + step] = True
        if self.min_words_to_remove_span:
            gone &= ~self._restored(texts, found, gone)
        edits, removed = self._edits(texts, found, gone)
        left = edited_texts(texts, edits)
        judged = np.ones(len(texts), np.bool_)
        words = _words(left, judged, self.default_language)
        counts = sentences(left, self.default_language)
        spans = np.maximum(counts.counts + counts.tails, (left.lengths > 0).astype(np.int64))
        values = {
            "characters_left": left.lengths.astype(np.float64),
            "words_left": words.counts.astype(np.float64),
            "sentences_left": spans.astype(np.float64),
        }
        same = edits.value_lengths().to_numpy(zero_copy_only=False) == 0
        for name in ("words_left", "sentences_left"):  # asked only of texts that lost something
            values[name][same] = np.nan
        return Changed(edits, removed, values)

    def spans(self, texts: TextBatch, places: Ints, offsets: Ints) -> tuple[Ints, Ints]:
        found = self._found(texts)
        owners = np.repeat(np.arange(len(texts)), np.diff(offsets))
        first = found.offsets[owners] + places
        last = np.minimum(first + self.n_sentences, found.offsets[owners + 1]) - 1
        own = texts.offsets[owners]
        return found.starts[first] - own, found.ends[last] - own

    def _restored(self, texts: TextBatch, found: Sentences, gone: Bools) -> Bools:
        """The first sentences of runs where they have too few words."""
        before = np.concatenate([np.zeros(1, np.bool_), gone[:-1]])
        before[found.offsets[:-1][found.counts > 0]] = False
        firsts = gone & ~before
        words = texts.view(datatrove_words, self.default_language)
        counts = np.searchsorted(words.starts, found.ends) - np.searchsorted(words.starts, found.starts)
        return firsts & (counts < self.min_words_to_remove_span)

    def _edits(self, texts: TextBatch, found: Sentences, gone: Bools) -> tuple[pa.ListArray, Ints]:
        if not self.split_sentences:
            return self._edits_of_lines(texts, found, gone)
        room = 2 * (len(gone) + len(texts))
        starts, ends, rules = (np.empty(room, np.int64) for _ in range(3))
        bounds = np.zeros(len(texts) + 1, np.int64)
        of_sentences = (found.ends, found.offsets, found.tails, gone)
        count = _sentence_edits(texts.points, texts.offsets, class_table(), *of_sentences, starts, ends, rules, bounds)
        own = np.repeat(texts.offsets[:-1], np.diff(bounds))
        starts, ends = starts[:count] - own, ends[:count] - own
        nothing = np.zeros(count, np.int64)
        edits = edits_column(starts, ends, nothing, rules[:count], bounds, rule_names=EDIT_RULES)
        return edits, totals(ends - starts, bounds)

    def _edits_of_lines(self, texts: TextBatch, found: Sentences, gone: Bools) -> tuple[pa.ListArray, Ints]:
        rows: list[tuple[int, int, int, int]] = []
        bounds = [0]
        for i, text in enumerate(texts.strings):
            own, chosen = texts.offsets[i], slice(found.offsets[i], found.offsets[i + 1])
            starts, ends = (found.starts[chosen] - own).tolist(), (found.ends[chosen] - own).tolist()
            rows += _line_edits(text, starts, ends, gone[chosen].tolist())
            bounds.append(len(rows))
        starts_, ends_, breaks, rules = np.array(rows, np.int64).reshape(-1, 4).T
        edits = edits_column(starts_, ends_, breaks, rules, bounds, replacement_texts=("", "\n"), rule_names=EDIT_RULES)
        return edits, totals(ends_ - starts_ - breaks, np.array(bounds))

    def unchanged(self, passages: Ints, characters: Ints, sentences: Ints) -> Mapping[str, Floats]:
        return {"characters_left": characters.astype(np.float64)}
