"""C4's line rules as datatrove 0.10.1 reads them: `c4@datatrove`, and `c4_fineweb@datatrove` as FineWeb runs them.

Thresholds: Raffel et al. 2020 (arXiv 1910.10683), section 2.2; readings: src/datatrove/pipeline/filters/c4_filters.py.
The text is not changed: `edits` has what the reference deletes of a document that it keeps.
"""

from __future__ import annotations

import dataclasses
import re
from typing import ClassVar

import numpy as np
import pyarrow as pa

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.c4_chunks import BRACKET, CURLY, chunk_bits, line_bits
from quality_signals.chunks import chunks
from quality_signals.codepoints import SPACE, class_table
from quality_signals.compiled import njit
from quality_signals.edits import edits_column, edits_field
from quality_signals.families import VERDICT_FIELDS, Bools, Rule, family_batch
from quality_signals.line_views import Lines, python_lines
from quality_signals.sentences import DECIMAL, counted, mark_table, sentence_counts, text_of
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

# c4_filters.py: what drops a page, a line, and a line again.
_PHRASES = (
    "lorem ipsum",
    "javascript",
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
_LOREM_BITS, _JAVASCRIPT_BITS, _POLICY_BITS, _CURLY_BITS = 1, 2, 0xFC, 256
_PHRASE_POINTS = np.frombuffer("".join(_PHRASES).encode(), np.uint8).copy()
_PHRASE_BOUNDS = np.cumsum([0, *map(len, _PHRASES)])
# A rare letter of each phrase, looked for first, and where it stands in it.
_KELVIN = 0x212A
_RARE = "mvmvkkkk"
_RARE_PLACES = np.array([phrase.index(letter) for phrase, letter in zip(_PHRASES, _RARE, strict=True)])


def _phrases_with(letters: str) -> list[int]:
    """[128]: for each ASCII character, in either case, the bits of the phrases whose letter it is."""
    return [sum((chr(c).lower() == letter) << i for i, letter in enumerate(letters)) for c in range(128)]


# [2, 128] bits of the phrases that have a character as their rare letter, and of those that have it before that; `{`
# is one character anywhere.
_RARE_BITS = np.array(
    [
        _phrases_with(_RARE),
        _phrases_with("".join(phrase[at - 1] for phrase, at in zip(_PHRASES, _RARE_PLACES, strict=True))),
    ]
)
_RARE_BITS[0, ord("{")] = _CURLY_BITS
_RARE_BITS[1] |= _CURLY_BITS
_LOWER = np.array([ord(chr(c).lower()) for c in range(128)], np.uint8)
_CITATION_PATTERN = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_EDIT = np.frombuffer(b"edit]", np.uint8).copy()
_NEEDED = np.frombuffer(b"citation needed]", np.uint8).copy()


@njit(error_model="numpy")
def _is_at(points, at, end, word):  # type: ignore[no-untyped-def]
    if end - at < len(word):
        return False
    for i in range(len(word)):
        if points[at + i] != word[i]:
            return False
    return True


@njit(error_model="numpy")
def _citation(points, marks, at, end, edit, needed):  # type: ignore[no-untyped-def]
    """End of a citation `\\[\\d*]|\\[edit]|\\[citation needed]` that begins at `at`, or 0."""
    if points[at] != 91:
        return 0
    i = at + 1
    while i < end and marks[points[i]] & DECIMAL:
        i += 1
    if i < end and points[i] == 93:
        return i + 1
    if _is_at(points, at + 1, end, edit):
        return at + 1 + len(edit)
    if _is_at(points, at + 1, end, needed):
        return at + 1 + len(needed)
    return 0


@njit(error_model="numpy")
def _lower(c, lower):  # type: ignore[no-untyped-def]
    """The lower-case form as far as the phrases ask: the Kelvin sign is the only one that becomes one of their
    letters but the capitals (dotted capital I becomes two characters, and no phrase has the second)."""
    if c < 128:
        return lower[c]
    return np.uint8(107) if c == _KELVIN else np.uint8(0)


@njit(error_model="numpy")
def _phrases(points, start, end, lower, rare, places, phrase_points, bounds):  # type: ignore[no-untyped-def]
    """Bits of the phrases in a line, and of `{`."""
    found = np.int64(0)
    before = np.int64(_CURLY_BITS)
    for i in range(start, end):
        c = points[i]
        if c >= 128:
            c = np.uint32(107 if c == _KELVIN else 0)
        sought = rare[0, c] & before
        before = rare[1, c]
        if not sought:
            continue
        found |= sought & _CURLY_BITS
        for number in range(len(places)):
            if not sought >> number & 1:
                continue
            first = bounds[number]
            last = bounds[number + 1]
            at = i - places[number]
            if at < start or at + last - first > end:
                continue
            k = 0
            while first + k < last and _lower(points[at + k], lower) == phrase_points[first + k]:
                k += 1
            if first + k == last:
                found |= 1 << number
    return found


@njit(error_model="numpy")
def _clean(points, classes, marks, start, end, edit, needed, buffer, solid):  # type: ignore[no-untyped-def]
    """Puts the line points[start:end] without its citations into `buffer`; the characters left, -1 without one.

    solid: moved to the first place and the end of what is no white space then, both 0 where there is nothing.
    """
    i = start
    while i < end and (points[i] != 91 or not _citation(points, marks, i, end, edit, needed)):
        i += 1
    if i == end:
        return -1
    i = start
    left = 0
    first = 0
    last = 0
    while i < end:
        behind = _citation(points, marks, i, end, edit, needed)
        if behind:
            i = behind
            continue
        buffer[left] = points[i]
        left += 1
        i += 1
        if not classes[points[i - 1]] & SPACE:
            first = i - 1 if not last else first
            last = i
    if left == end - start:
        return -1
    solid[0] = first
    solid[1] = last
    return left


@njit(error_model="numpy")
def _line_facts(  # type: ignore[no-untyped-def]
    points,
    classes,
    marks,
    ids,
    word_starts,
    word_ends,
    words,
    word_bits,
    starts,
    ends,
    offsets,
    citations,
    lower,
    rare,
    places,
    phrase_points,
    bounds,
    edit,
    needed,
    buffer,
    cleaned,
    solid,
    facts,
):
    """Moves starts and ends of the lines to those without white space around them; a blank line ends where it did.

    ids, word_starts, word_ends, words: the white-space-separated words, which no line break crosses; word_bits: of all,
    see `c4_chunks`.
    cleaned [lines] characters left where a line has citations, else -1; solid [lines, 2] where the line without
    citations and white space around begins and ends, both 0 where nothing is left; facts [lines, 4]: words and the
    characters of the longest, before citations go; whether the line ends in an end mark, and bits of its phrases,
    once they are gone.
    """
    for text in range(len(offsets) - 1):
        word = words[text]
        for line in range(offsets[text], offsets[text + 1]):
            first = word
            most = 0
            while word < words[text + 1] and word_ends[word] <= ends[line]:
                most = max(most, word_ends[word] - word_starts[word])
                word += 1
            every, held, _ = line_bits(ids, first, word, word_bits)
            phrases = held != 0
            start = end = ends[line]
            if word > first:
                start = word_starts[first]
                end = word_ends[word - 1]
                solid[line, 0] = start
                solid[line, 1] = end
            starts[line] = start
            ends[line] = end
            cleaned[line] = -1
            source = points
            if citations and every & BRACKET:
                left = _clean(points, classes, marks, start, end, edit, needed, buffer, solid[line])
                if left >= 0:
                    cleaned[line] = left
                    source = buffer
                    start = 0
                    end = left
                    phrases = True
            c = source[end - 1] if end > start else np.uint32(0)
            # . ? ! " '
            marked = c == 46 or c == 63 or c == 33 or c == 34 or c == 39
            if c == 46 and end - start >= 3 and source[end - 2] == 46 and source[end - 3] == 46:
                marked = False
            facts[line, 0] = word - first
            facts[line, 1] = most
            facts[line, 2] = marked
            facts[line, 3] = _CURLY_BITS if every & CURLY else 0
            if phrases:
                facts[line, 3] = _phrases(source, start, end, lower, rare, places, phrase_points, bounds)


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
            elif found & _LOREM_BITS:
                fate = _LOREM
            elif found & _JAVASCRIPT_BITS:
                fate = _JAVASCRIPT
            elif found & _CURLY_BITS:
                fate = _CURLY
            else:
                fate = _POLICY if found & _POLICY_BITS else _KEPT
            fates[line] = fate
            counts[text, fate] += 1
            dropped = fate == _LOREM or fate == _CURLY


@njit(error_model="numpy")
def _edit(edits, count, start, end, rule):  # type: ignore[no-untyped-def]
    """Notes an edit, as far as there is room."""
    if count < edits.shape[1]:
        edits[0, count] = start
        edits[1, count] = end
        edits[2, count] = rule


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
    edit,
    needed,
    edits,
    edit_offsets,
):
    """Edits of the pages that are kept, as far as there is room in edits [3, room] (start, end, rule; in code points of
    the batch).  Returns their number.  Some are empty, some go on where one ends.

    whole_starts, whole_ends: the lines with white space around them.
    """
    count = np.int64(0)
    for text in range(len(offsets) - 1):
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
                _edit(edits, count, whole_starts[line], behind, fates[line])
                count += 1
                continue
            end = ends[line]
            stop = whole_ends[line]
            _edit(edits, count, whole_starts[line], starts[line], _WHITE_SPACE)
            count += 1
            # Citations go, and of the pieces between them what is not in [low, high).
            i = piece = starts[line]
            while i <= end:
                citation = 0
                if i < end and cleaned[line] >= 0:
                    citation = _citation(points, marks, i, end, edit, needed)
                    if not citation:
                        i += 1
                        continue
                if not citation:
                    i = end
                if piece < low:
                    _edit(edits, count, piece, min(i, low), _WHITE_SPACE)
                    count += 1
                if max(piece, high) < i:
                    _edit(edits, count, max(piece, high), i, _WHITE_SPACE)
                    count += 1
                if not citation:
                    break
                _edit(edits, count, i, citation, _CITATION)
                count += 1
                i = piece = citation
            _edit(edits, count, end, stop, _WHITE_SPACE)
            count += 1
            if stop < low or stop >= high:
                _edit(edits, count, stop, behind, _WHITE_SPACE)
                count += 1
            elif behind - stop != 1 or points[stop] != 10:
                _edit(edits, count, stop, behind, _LINE_BREAK)
                count += 1
        edit_offsets[text + 1] = count
    return count


def _merged(edits: Ints, offsets: Ints) -> tuple[Ints, Ints]:
    """Edits without empty ones, and deletions of one rule in a row as one; offsets [texts + 1] of what is left."""
    starts, ends, rules = edits
    texts = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    some = starts < ends
    starts, ends, rules, texts = starts[some], ends[some], rules[some], texts[some]
    begins = np.ones(len(starts), bool)
    begins[1:] = (starts[1:] != ends[:-1]) | (rules[1:] != rules[:-1]) | (texts[1:] != texts[:-1])
    begins[1:] |= rules[1:] == _LINE_BREAK
    firsts = np.flatnonzero(begins)
    lasts = np.append(firsts[1:], len(starts)) - 1
    counts = np.bincount(texts[firsts], minlength=len(offsets) - 1)
    left = np.zeros(len(offsets), np.int64)
    np.cumsum(counts, out=left[1:])
    if not len(firsts):
        return np.empty((3, 0), np.int64), left
    return np.stack([starts[firsts], ends[lasts], rules[firsts]]), left


@dataclasses.dataclass(frozen=True, slots=True)
class _LineFacts:
    """Lines of a batch and what the rules ask of them, for all annotators that delete the same citations."""

    lines: Lines  # with white space around them
    starts: Ints  # [lines] without it
    ends: Ints
    cleaned: Ints  # [lines] characters left once citations are gone, -1 without one
    solid: Ints  # [lines, 2] where the line, without citations and white space around, begins and ends
    facts: Ints  # [lines, 4] words, characters of the longest, whether an end mark is last, bits of phrases
    sentences: dict[str, Ints]  # default language -> [lines], -1 where nobody asked yet


def _facts(texts: TextBatch, citations: bool) -> _LineFacts:
    """View: citations: whether they are deleted."""
    lines = texts.view(python_lines)
    starts, ends = lines.starts.copy(), lines.ends.copy()
    cleaned, solid = np.empty(len(lines), np.int64), np.zeros((len(lines), 2), np.int64)
    facts = np.empty((len(lines), 4), np.int64)
    words = texts.view(chunks)
    _line_facts(
        texts.points,
        class_table(),
        mark_table(),
        words.ids,
        words.starts,
        words.ends,
        words.offsets,
        words.vocabulary.chunks.facts(chunk_bits),
        starts,
        ends,
        lines.offsets,
        citations,
        _LOWER,
        _RARE_BITS,
        _RARE_PLACES,
        _PHRASE_POINTS,
        _PHRASE_BOUNDS,
        _EDIT,
        _NEEDED,
        np.empty(int((ends - starts).max(initial=0)), np.uint32),
        cleaned,
        solid,
        facts,
    )
    return _LineFacts(lines, starts, ends, cleaned, solid, facts, {})


@dataclasses.dataclass(frozen=True, slots=True)
class _Judged:
    """Lines of a batch and what becomes of them."""

    of: _LineFacts
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
        of = texts.view(_facts, self.remove_citations)
        fates, counts = np.empty(len(of.lines), np.int64), np.zeros((len(texts), _UNSEEN + 1), np.int64)
        bits = _LOREM_BITS * self.filter_lorem_ipsum | _JAVASCRIPT_BITS * self.filter_javascript
        bits |= _CURLY_BITS * self.filter_curly_bracket | _POLICY_BITS * self.filter_policy
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
                    line: _CITATION_PATTERN.sub("", text_of(texts, of.starts[line], of.ends[line]))
                    for line in np.flatnonzero(new & (of.cleaned >= 0)).tolist()
                }
                spans = (of.starts, of.ends, offsets)
                known[new] = sentence_counts(texts, self.default_language, *spans, new, rewritten)[new]
            np.cumsum(np.where(kept, known, 0), out=sums[1:])
        return sums[offsets[1:]] - sums[offsets[:-1]]

    def _edits(self, texts: TextBatch, judged: _Judged, pages: Bools) -> pa.Array:
        of, lines = judged.of, judged.of.lines
        offsets = np.zeros(len(texts) + 1, np.int64)
        edits = np.empty((3, 6 * len(lines)), np.int64)
        while True:
            count = _edits_of(
                texts.points,
                mark_table(),
                texts.offsets,
                lines.starts,
                lines.ends,
                of.starts,
                of.ends,
                lines.offsets,
                judged.fates,
                of.cleaned,
                of.solid,
                pages,
                _EDIT,
                _NEEDED,
                edits,
                offsets,
            )
            if count <= edits.shape[1]:
                break
            edits = np.empty((3, count), np.int64)  # many citations
        edits, offsets = _merged(edits[:, :count], offsets)
        first = np.repeat(texts.offsets[:-1], np.diff(offsets))
        return edits_column(
            edits[0] - first,
            edits[1] - first,
            edits[2] == _LINE_BREAK,
            edits[2],
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
        columns = [pa.array(numbers[name], pa.int64(), mask=~able) for name in NUMBERS]
        return family_batch(texts, self.rules, values, [*columns, edits], SCHEMA, able)


@dataclasses.dataclass(frozen=True)
class C4FineWeb(C4Quality):
    """`C4Quality` as FineWeb runs it: lines need not end in a sentence mark (datatrove's examples/fineweb.py)."""

    filter_no_terminal_punct: bool = False

    name: ClassVar[str] = "c4_fineweb@datatrove"
