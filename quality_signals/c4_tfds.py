"""C4's cleaning as the program that made C4 does it (`c4@tfds`).

Line and page rules, their order and their words: tensorflow-datasets 4.9.10, text/c4_utils.py, `clean_page`,
`is_valid_length` and `normalize_url`; the chain: text/c4.py, configuration `en`.  Of that chain, the choice of one page
a URL and of one page a line look at other documents and belong to deduplication, the language and the bad words to
other annotators.

The text that the reference leaves is given as edits.  A page's value-identity ends at the sentence minimum: the
reference counts sentences with nltk's Punkt model, which is a download.  `sentences` chooses the counter:

    "rule"    the default: the counter of `c4_tfds_sentences`, which needs nothing
    "punkt"   the reference's own, with nltk and its data (`punkt_tab` or `punkt`) installed by the user
    "lines"   every line that passed is one sentence
"""

from __future__ import annotations

import dataclasses
import re
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.c4_chunks import BRACKET, CURLY, HELD, line_words
from quality_signals.c4_tfds_sentences import abbreviation_keys, count_sentences, load_punkt
from quality_signals.chunks import chunks
from quality_signals.codepoints import SPACE, class_table, code_points, room
from quality_signals.compiled import njit
from quality_signals.edits import edits_column, edits_field
from quality_signals.families import VERDICT_FIELDS, Rule, judge_texts
from quality_signals.line_views import Lines, python_lines
from quality_signals.text_batch import Bools, Bytes, Ints, SharedTexts, TextBatch

# c4_utils.py: _MIN_WORDS_PER_LINE, _MIN_NUM_SENTENCES, _MAX_WORD_LENGTH, is_valid_length.
MIN_WORDS = 5
MIN_SENTENCES = 3
MAX_WORD = 1000
MAX_CHARACTERS = 190_000
# c4_utils.py, _POLICY_SUBSTRINGS, and before them what drops the page.
LOREM_IPSUM = "lorem ipsum"
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
COUNTERS = ("rule", "punkt", "lines")

# What becomes of a line, in the order of the checks; the words are the reference's counters.
LINE_RULES = ("passed", "too_long_word", "no_endmark", "too_short", "javascript", "policy")
_PASSED, _TOO_LONG_WORD, _NO_ENDMARK, _TOO_SHORT, _JAVASCRIPT, _POLICY, _NOT_REACHED = range(7)
# What ends a page.
_LOREM_IPSUM, _CURLY = 1, 2
# Rules of edits: those of the lines, and what is cut out of lines that pass.
_CITATION, _STRIP, _LINE_BREAK = 7, 8, 9
EDIT_RULES = (*LINE_RULES, "", "citation", "strip", "line_break")

NUMBERS = {
    "n_characters": "characters of the text as it came",
    **{
        f"lines_{rule}": f"lines: {text}"
        for rule, text in zip(
            LINE_RULES,
            (
                "kept",
                "dropped, a word of more than 1000 characters",
                'dropped, no end mark . ? ! " or an ellipsis',
                "dropped, fewer than 5 words",
                "dropped, javascript stands in it",
                "dropped, a phrase of cookie and privacy notices stands in it",
            ),
            strict=True,
        )
    },
    "n_sentences": "sentences of the lines kept",
}
RULES = (
    Rule("max_length", "too_long", "n_characters", ">", MAX_CHARACTERS),
    Rule("lorem_ipsum", "loremipsum", "lorem_ipsum", ">", None),
    Rule("curly_bracket", "squigglybracket", "curly_bracket", ">", None),
    Rule("min_num_sentences", "too_few_sentences", "n_sentences", "<", MIN_SENTENCES),
)
SCHEMA = pa.schema(
    [
        *VERDICT_FIELDS,
        *(field(name, pa.int64(), text) for name, text in NUMBERS.items()),
        field("normalized_url", pa.string(), "the URL as C4 compares it: no scheme, www. or tracking query"),
        edits_field("what is cut; without edits where the reference yields no text"),
    ]
)

_DOT, _QUESTION, _EXCLAMATION, _QUOTE, _CURLY_MARK, _OPEN, _CLOSE, _BLANK, _NEWLINE = (ord(c) for c in '.?!"{[] \n')
_KELVIN = 0x212A  # beside ASCII the only character with an ASCII letter for its lower case, save U+0130
_WORD_JAVASCRIPT = code_points("javascript")
_EDIT = code_points("edit]")
_CITATION_NEEDED = code_points("citation needed]")
_PHRASES = code_points("".join((LOREM_IPSUM, *POLICIES)))
_PHRASE_BOUNDS = np.cumsum([0, *map(len, (LOREM_IPSUM, *POLICIES))])
_FIRST_BLANKS = np.array([phrase.index(" ") for phrase in (LOREM_IPSUM, *POLICIES)])


@lru_cache(maxsize=1)
def _zeros() -> npt.NDArray[np.uint32]:
    """The zeros of all scripts; a decimal digit (\\d) is one of ten characters from one of them on."""
    return np.array([c for c in range(0x20000) if chr(c).isdecimal() and int(chr(c)) == 0], dtype=np.uint32)


@njit(error_model="numpy")
def _lower(c):  # type: ignore[no-untyped-def]
    """Lower case, as far as it is an ASCII letter.  U+0130 becomes an i with a dot and is none."""
    if c < 128:
        return c | np.uint32(32) if 65 <= c <= 90 else c
    return np.uint32(107) if c == _KELVIN else c


@njit(error_model="numpy")
def _stands(points, at, end, phrase, low, high, folded):  # type: ignore[no-untyped-def]
    if at + high - low > end:
        return False
    for k in range(high - low):
        c = points[at + k]
        if (_lower(c) if folded else c) != phrase[low + k]:
            return False
    return True


@njit(error_model="numpy")
def _citation(points, i, end, zeros, edit, needed):  # type: ignore[no-untyped-def]
    """Where the match of `\\[\\d*\\]|\\[edit\\]|\\[citation needed\\]` at i ends, or -1."""
    j = i + 1
    while j < end:
        c = points[j]
        if not 48 <= c <= 57:
            if c < 128:
                break
            digit = False
            for zero in zeros:
                digit |= zero <= c <= zero + np.uint32(9)
            if not digit:
                break
        j += 1
    if j < end and points[j] == _CLOSE:
        return j + 1
    if _stands(points, i + 1, end, edit, 0, len(edit), False):
        return i + 1 + len(edit)
    if _stands(points, i + 1, end, needed, 0, len(needed), False):
        return i + 1 + len(needed)
    return -1


@njit(error_model="numpy")
def _contents(points, low, high, javascript, phrases, bounds, blanks):  # type: ignore[no-untyped-def]
    """Bits of what stands in a line: 1 lorem ipsum, 2 javascript, 4 {, 8 a policy phrase."""
    found = 0
    for i in range(low, high):
        c = points[i]
        if c == _BLANK and low < i < high - 1:
            before = points[i - 1] | 32
            behind = points[i + 1] | 32
            # One of e m s y before and c i o p behind, as in every phrase; the Kelvin sign is in none of these places.
            if (before == 101 or before == 109 or before == 115 or before == 121) and (
                behind == 99 or behind == 105 or behind == 111 or behind == 112
            ):
                for number in range(len(blanks)):
                    at = i - blanks[number]
                    if at >= low and _stands(points, at, high, phrases, bounds[number], bounds[number + 1], True):
                        found |= 8 if number else 1
        elif c == _CURLY_MARK:
            found |= 4
        elif c | 32 == 106 and _stands(points, i, high, javascript, 0, len(javascript), True):
            found |= 2
    return found


@njit(error_model="numpy")
def _enough_words(points, table, low, high, least):  # type: ignore[no-untyped-def]
    words = 0
    inside = False
    for i in range(low, high):
        blank = (table[points[i]] & SPACE) != 0
        words += inside and blank
        inside = not blank
        if words >= least:
            return True
    return words + inside >= least


@njit(error_model="numpy")
def _without_citations(points, low, high, zeros, edit, needed, room):  # type: ignore[no-untyped-def]
    """Copies the line without its citations into `room`, if it has some; returns the characters there, or -1."""
    i = low
    at = -1  # behind what is copied, once there is a citation
    copied = low
    while i < high:
        if points[i] == _OPEN:
            end = _citation(points, i, high, zeros, edit, needed)
            if end >= 0:
                at = max(at, 0)
                for k in range(copied, i):
                    room[at] = points[k]
                    at += 1
                i = copied = end
                continue
        i += 1
    if at >= 0:
        for k in range(copied, high):
            room[at] = points[k]
            at += 1
    return at


@njit(error_model="numpy", forceinline=True)
def _marked(points, low, high):  # type: ignore[no-untyped-def]
    """Whether points[low:high] end in . ? ! " but not in three dots."""
    if high == low:
        return False
    c = points[high - 1]
    if c == _DOT:
        return high - low < 3 or points[high - 2] != _DOT or points[high - 3] != _DOT
    return c == _QUESTION or c == _EXCLAMATION or c == _QUOTE


@njit(error_model="numpy")
def _clean(  # type: ignore[no-untyped-def]
    points,
    table,
    starts,
    ends,
    lines,
    word_starts,
    word_ends,
    firsts,
    most_of,
    bits,
    sentences_of,
    abbreviations,
    zeros,
    edit,
    needed,
    javascript,
    phrases,
    bounds,
    blanks,
    min_words,
    max_word,
    status,
    lows,
    highs,
    cited,
    pages,
    sentences,
    counts,
):
    """Status of every line and what ends a page, 0 if nothing does; lows, highs: the lines without white space around.

    word_starts, word_ends: the white-space words; firsts, most_of, bits, sentences_of: `c4_chunks.LineWords`.
    cited: [lines] whether they hold a citation.  sentences: [texts], of the lines that passed;
    counts: [texts, 7], lines of each status.  Both come as zeros.
    """
    longest = 0
    for line in range(len(starts)):
        longest = max(longest, ends[line] - starts[line])
    room = np.empty(longest, dtype=np.uint32)
    for text in range(len(lines) - 1):
        for line in range(lines[text], lines[text + 1]):
            first, behind = firsts[line], firsts[line + 1]
            low = high = ends[line]
            if behind > first:
                low, high = word_starts[first], word_ends[behind - 1]
            lows[line], highs[line] = low, high
            if most_of[line] > max_word:
                status[line] = _TOO_LONG_WORD
                continue
            every = bits[line]
            line_sentences = np.int64(sentences_of[line])
            count = behind - first
            left = np.int64(-1)
            if every & BRACKET:
                left = _without_citations(points, low, high, zeros, edit, needed, room)
            if left >= 0:
                cited[line] = True
                low, high = 0, left
                count = -1
                marked = _marked(room, low, high)
            else:
                marked = _marked(points, low, high)
            if not marked:
                status[line] = _NO_ENDMARK
                continue
            if count < min_words and (count >= 0 or not _enough_words(room, table, low, high, min_words)):
                status[line] = _TOO_SHORT
                continue
            found = 0
            if left >= 0:
                found = _contents(room, low, high, javascript, phrases, bounds, blanks)
            elif every & (HELD | CURLY):
                found = _contents(points, low, high, javascript, phrases, bounds, blanks)
            if found & 1:
                pages[text] = _LOREM_IPSUM
            elif found & 2:
                status[line] = _JAVASCRIPT
            elif found & 4:
                pages[text] = _CURLY
            elif found & 8:
                status[line] = _POLICY
            else:
                status[line] = _PASSED
                if count < 0:
                    line_sentences = count_sentences(room, low, high, table, abbreviations)
                sentences[text] += line_sentences
            if pages[text]:
                break
        for line in range(lines[text], lines[text + 1]):
            counts[text, status[line]] += 1


@njit(error_model="numpy", forceinline=True)
def _put(start, end, line_break, rule, edit_starts, edit_ends, breaks, rules, count):  # type: ignore[no-untyped-def]
    if count < len(edit_starts):
        edit_starts[count] = start
        edit_ends[count] = end
        breaks[count] = line_break
        rules[count] = rule
    return count + 1


@njit(error_model="numpy")
def _edit(  # type: ignore[no-untyped-def]
    points,
    table,
    offsets,
    starts,
    lines,
    status,
    lows,
    highs,
    cited,
    yields,
    zeros,
    edit,
    needed,
    edit_starts,
    edit_ends,
    breaks,
    rules,
    edits,
):
    """Counts the edits of every text in edits [texts + 1], and as far as there is room fills them: places in points,
    whether a newline stands in, and the rule."""
    count = 0
    for text in range(len(lines) - 1):
        last = -1
        if yields[text]:
            for line in range(lines[text], lines[text + 1]):
                if status[line] == _PASSED:
                    last = line
        first = True
        dropped = np.uint8(_PASSED)  # status of the line before, if it was dropped
        from_ = offsets[text]
        for line in range(lines[text], lines[text + 1] if yields[text] else lines[text]):
            start = starts[line]
            behind = starts[line + 1] if line + 1 < lines[text + 1] else offsets[text + 1]
            if status[line] != _PASSED:
                if status[line] == dropped:
                    count -= 1  # neighbours are one edit
                else:
                    dropped = status[line]
                    from_ = start
                count = _put(from_, behind, 0, dropped, edit_starts, edit_ends, breaks, rules, count)
                continue
            dropped = np.uint8(_PASSED)
            low, high = lows[line], highs[line]
            if low > start:
                count = _put(start, low, 0, _STRIP, edit_starts, edit_ends, breaks, rules, count)
            i = low
            if not cited[line] and not (first and table[points[low]] & SPACE):
                i = high
                first &= low == high
            while i < high:
                end = i
                rule = _CITATION
                if points[i] == _OPEN:
                    end = _citation(points, i, high, zeros, edit, needed)
                elif first:
                    # White space that citations leave at the start of the text.
                    rule = _STRIP
                    while table[points[end]] & SPACE:
                        end += 1
                if end > i:
                    count = _put(i, end, 0, rule, edit_starts, edit_ends, breaks, rules, count)
                    i = end
                else:
                    i += 1
                    first = False
            if line == last:
                if behind > high:
                    count = _put(high, behind, 0, _STRIP, edit_starts, edit_ends, breaks, rules, count)
            elif behind != high + 1 or points[high] != _NEWLINE:
                count = _put(high, behind, 1, _LINE_BREAK, edit_starts, edit_ends, breaks, rules, count)
        edits[text + 1] = count


@dataclasses.dataclass(frozen=True, slots=True)
class CleanLines:
    """Lines of a batch after the line rules.

    status       [lines] uint8, index into LINE_RULES; 6: the page ended before
    lows, highs  [lines] int64, the line without white space around, in code points of the batch
    cited        [lines] bool, whether it holds a citation
    pages        [texts] uint8, 0, or what ends the page
    sentences    [texts] int64, by `count_sentences`
    counts       [texts, 7] int64, lines of each status
    """

    lines: Lines
    status: Bytes
    lows: Ints
    highs: Ints
    cited: Bools
    pages: Bytes
    sentences: Ints
    counts: Ints


def clean_lines(texts: TextBatch, min_words: int = MIN_WORDS, max_word: int = MAX_WORD) -> CleanLines:
    """View: what the line rules make of every line.  Time linear in the characters."""
    lines, words, found = texts.view(python_lines), texts.view(chunks), texts.view(line_words)
    status = np.full(len(lines), _NOT_REACHED, np.uint8)
    lows, highs, cited = room(len(lines), np.int64), room(len(lines), np.int64), np.zeros(len(lines), bool)
    pages, sentences = np.zeros(len(texts), np.uint8), np.zeros(len(texts), np.int64)
    counts = np.zeros((len(texts), _NOT_REACHED + 1), np.int64)
    _clean(
        texts.points,
        class_table(),
        lines.starts,
        lines.ends,
        lines.offsets,
        words.starts,
        words.ends,
        found.firsts,
        found.longest,
        found.bits,
        found.sentences,
        abbreviation_keys(),
        _zeros(),
        _EDIT,
        _CITATION_NEEDED,
        _WORD_JAVASCRIPT,
        _PHRASES,
        _PHRASE_BOUNDS,
        _FIRST_BLANKS,
        min_words,
        max_word,
        status,
        lows,
        highs,
        cited,
        pages,
        sentences,
        counts,
    )
    return CleanLines(lines, status, lows, highs, cited, pages, sentences, counts)


_CITATIONS = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_SCHEMES = re.compile(r"https?:\/\/(www\.)?")
_QUERIES = re.compile(r"\?(utm_|ref|feed).*")


def normalized_url(url: str | None) -> str | None:
    """c4_utils.py, `normalize_url`; None for None."""
    return None if url is None else _QUERIES.sub("", _SCHEMES.sub("", url)).rstrip("/")


def normalized_urls(urls: pa.Array) -> pa.Array:
    """The same for a column."""
    for pattern in (_SCHEMES, _QUERIES):
        urls = pc.replace_substring_regex(urls, pattern.pattern, "")
    return pc.utf8_rtrim(urls, characters="/")


@dataclasses.dataclass(frozen=True)
class C4Tfds:
    """C4's cleaning of pages, as edits and a verdict.

    sentences           the counter, see above; "punkt" raises LookupError or ImportError when nltk lacks it
    min_num_sentences   0 switches the minimum off
    max_length          characters of the text as it came; None for any
    min_words_per_line, max_word_length   of the line rules

    The counts of lines are those up to where the page ended.  Documents of other `kinds` (a null kind counts as prose)
    are not judged: keep is true and every other column null.  The rules are for English; they are applied to every
    language.
    """

    sentences: str = "rule"
    min_num_sentences: int = MIN_SENTENCES
    max_length: int | None = MAX_CHARACTERS
    min_words_per_line: int = MIN_WORDS
    max_word_length: int = MAX_WORD
    kinds: tuple[str, ...] = PROSE_KINDS

    name: ClassVar[str] = "c4@tfds"
    schema: ClassVar[pa.Schema] = SCHEMA

    def __post_init__(self) -> None:
        if self.sentences not in COUNTERS:
            raise ValueError(f"c4@tfds: sentences {self.sentences!r} is none of {', '.join(COUNTERS)}")
        for option in ("min_num_sentences", "min_words_per_line", "max_word_length"):
            if getattr(self, option) < 0:
                raise ValueError(f"c4@tfds: {option} is {getattr(self, option)}, less than 0")
        if self.sentences == "punkt":
            load_punkt()

    @property
    def rules(self) -> tuple[Rule, ...]:
        thresholds = {"max_length": self.max_length, "min_num_sentences": self.min_num_sentences}
        return tuple(
            dataclasses.replace(rule, threshold=thresholds[rule.name]) if rule.name in thresholds else rule
            for rule in RULES
            if thresholds.get(rule.name, 0) is not None
        )

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        found = texts.view(clean_lines, self.min_words_per_line, self.max_word_length)
        numbers = {"n_characters": texts.lengths}
        for code, rule in enumerate(LINE_RULES):
            numbers[f"lines_{rule}"] = found.counts[:, code]
        numbers["n_sentences"] = self._sentences(texts, found, numbers["lines_passed"])
        values: dict[str, Any] = {
            "n_characters": numbers["n_characters"],
            "lorem_ipsum": found.pages == _LOREM_IPSUM,
            "curly_bracket": found.pages == _CURLY,
            "n_sentences": numbers["n_sentences"],
        }
        columns = judge_texts(self.rules, values, len(texts))
        columns += [pa.array(numbers[name], pa.int64()) for name in NUMBERS]
        columns.append(normalized_urls(pa.array(texts.column("url"), pa.string())))
        columns.append(_edits(texts, found, columns[0].to_numpy(zero_copy_only=False)))
        scattered = [texts.scatter(column) for column in columns]
        scattered[0] = scattered[0].fill_null(True)
        return pa.RecordBatch.from_arrays(scattered, schema=SCHEMA)

    def _sentences(self, texts: TextBatch, found: CleanLines, passed: Ints) -> Ints:
        if self.sentences == "rule":
            return found.sentences
        if self.sentences == "lines":
            return passed
        tokenize = load_punkt()
        counts = np.zeros(len(texts), np.int64)
        owners = np.repeat(np.arange(len(texts)), found.lines.counts)
        for line in np.flatnonzero(found.status == _PASSED).tolist():
            raw = texts.points[found.lows[line] : found.highs[line]].tobytes().decode("utf-32-le")
            counts[owners[line]] += len(tokenize(_CITATIONS.sub("", raw)))
        return counts


def _edits(texts: TextBatch, found: CleanLines, yields: Bools) -> pa.ListArray:
    points, offsets, lines = texts.points, texts.offsets, found.lines
    places = (found.lows, found.highs, found.cited)
    given = (points, class_table(), offsets, lines.starts, lines.offsets, found.status, *places, yields)
    citations = (_zeros(), _EDIT, _CITATION_NEEDED)
    bounds = np.zeros(len(texts) + 1, np.int64)
    columns = _columns(2 * len(lines) + 64)  # enough but for many citations
    _edit(*(*given, *citations, *columns, bounds))
    if bounds[-1] > len(columns[0]):
        columns = _columns(int(bounds[-1]))
        _edit(*(*given, *citations, *columns, bounds))
    starts, ends, breaks, rules = (column[: bounds[-1]] for column in columns)
    own = np.repeat(offsets[:-1], np.diff(bounds))
    return edits_column(
        starts - own, ends - own, breaks, rules, bounds, replacement_texts=("", "\n"), rule_names=EDIT_RULES
    )


def _columns(edits: int) -> tuple[Ints, Ints, Bytes, Bytes]:
    """Starts, ends, breaks and rules."""
    return room(edits, np.int64), room(edits, np.int64), room(edits, np.uint8), room(edits, np.uint8)
