"""C4's rules as dolma's taggers find them (`c4_v1@dolma`, `c4_v2@dolma`; `c4@dolma` is the second).

Spans and flags: dolma 1.2.1, taggers/c4.py, under its names; a flag is true where the reference gives a span of that
name.  The versions differ in two things: v1 looks for the word "javascript", v2 for it anywhere; and v2 counts in the
lower-cased text, which a capital I with a dot (U+0130) makes longer, so that its spans lie one character later for
each of them.

Verdict and edits: the mixer that replicates C4 (allenai/dolma @ 1e17a8f, configs/c4-replication/mixer.yaml): documents
with a flag are excluded, in the order given there, and lines without end mark or with fewer than three words are cut.

The bad words are those of LDNOOBW @ 5faf2ba for English, the same as dolma's data/naughty_words_en.txt: words equal
to a white-space word, phrases anywhere, as parts of words too.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.compiled import njit
from quality_signals.edits import edits_column, edits_field
from quality_signals.families import VERDICT_FIELDS, Rule, judge_texts
from quality_signals.text_batch import Ints, SharedTexts, TextBatch
from quality_signals.wordlists import ldnoobw

Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

VERSIONS = ("v1", "v2")
LINE_SPANS = {
    "lines_with_no_ending_punctuation": 'lines that do not end in . ? ! or "',
    "lines_with_too_few_words": "lines of fewer than 3 words",
}
# mixer.yaml, filter.exclude, in its order.
FLAGS = {
    "has_curly_brace": "a { stands in the text",
    "has_lorem_ipsum": "lorem ipsum stands in the text",
    "has_javascript": "javascript stands in the text (v1: as a white-space word)",
    "has_naughty_word": "a word or phrase of the English LDNOOBW list stands in the text",
}
SPANS = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32())]))
RULES = tuple(Rule(name, name, name, ">", 0.5) for name in FLAGS)
SCHEMA = pa.schema(
    [
        *VERDICT_FIELDS,
        *(field(name, SPANS, text, "code points") for name, text in LINE_SPANS.items()),
        *(field(name, pa.bool_(), text) for name, text in FLAGS.items()),
        field("line_count", pa.int64(), "lines: one more than newlines"),
        edits_field("lines that are cut, with their newline"),
    ]
)

_BLOCK = 4096  # bytes whose places are kept
MIN_WORDS = 3  # taggers/c4.py, MIN_WORDS_PER_LINE

# What a byte may begin; everything else is a part of a word.
_BLANK, _BREAK, _CURLY, _J, _LEAD = 1, 2, 3, 4, 5
# Bits of a text.
CURLY, LOREM, JAVASCRIPT, JAVASCRIPT_WORD, NAUGHTY, FOLDS = 1, 2, 4, 8, 16, 32
# Bits of a line.
NO_MARK, FEW_WORDS = 1, 2

_SPACE, _DOT, _QUESTION, _EXCLAMATION, _QUOTE, _NEWLINE = (ord(c) for c in ' .?!"\n')
_JAVASCRIPT = np.frombuffer(b"javascript", np.uint8)
_LOREM_IPSUM = b"lorem ipsum"


@dataclasses.dataclass(frozen=True, slots=True)
class Lists:
    """What the kernel looks up, all in lower case.

    kinds, fold    [256] uint8: what a byte may begin, and its lower case
    may_end        [32768] uint8, by first and last byte and length of a word: whether it may be listed
    words          [power of two] int64, index of an entry, or -1; by `_word_hash`
    joins          [32768] int16, by two bytes before and one behind a blank: the first phrase with those, or -1;
                   following [phrases] int16: the next one; back [phrases]: bytes of the phrase before that blank
    chars, bounds  the entries' bytes: entry e is chars[bounds[e]:bounds[e + 1]]
    lorem          index of the last entry, "lorem ipsum", which is no bad word; the phrases end with it
    """

    kinds: Bytes
    fold: Bytes
    may_end: Bytes
    words: Ints
    joins: npt.NDArray[np.int16]
    following: npt.NDArray[np.int16]
    back: Ints
    chars: Bytes
    bounds: Ints
    lorem: int

    @property
    def arrays(self) -> tuple[Any, ...]:
        return tuple(getattr(self, each.name) for each in dataclasses.fields(self))


@lru_cache(maxsize=1)
def lists() -> Lists:
    kinds = np.zeros(256, np.uint8)
    for c in range(128):
        if chr(c).isspace():
            kinds[c] = _BLANK
    kinds[_NEWLINE] = _BREAK
    kinds[ord("{")] = _CURLY
    kinds[[ord("j"), ord("J")]] = _J
    # First bytes of the blanks beyond ASCII, of U+0130 and of the Kelvin sign.
    kinds[[0xC2, 0xC4, 0xE1, 0xE2, 0xE3]] = _LEAD
    fold = np.array([ord(chr(c).lower()) if c < 128 else c for c in range(256)], np.uint8)
    entries = sorted(entry.encode() for entry in ldnoobw("en"))
    words = [entry for entry in entries if b" " not in entry]
    phrases = [*(entry for entry in entries if b" " in entry), _LOREM_IPSUM]
    entries = words + phrases
    bounds = np.zeros(len(entries) + 1, np.int64)
    np.cumsum([len(entry) for entry in entries], out=bounds[1:])
    chars = np.frombuffer(b"".join(entries), np.uint8)
    capacity = 4096
    table = np.full(capacity, -1, np.int64)
    may_end = np.zeros(1 << 15, np.uint8)
    for number, word in enumerate(words):
        may_end[_three(word[0], word[-1], len(word))] = 1
        slot = int(_word_hash(chars, bounds[number], bounds[number + 1], fold)) & (capacity - 1)
        while table[slot] >= 0:
            slot = (slot + 1) & (capacity - 1)
        table[slot] = number
    joins = np.full(1 << 15, -1, np.int16)
    following = np.full(len(phrases), -1, np.int16)
    back = np.zeros(len(phrases), np.int64)
    for number, phrase in enumerate(phrases):
        # Any blank with two bytes before and one behind it will do.
        back[number] = next(i for i in range(2, len(phrase) - 1) if phrase[i] == _SPACE)
        key = _three(*(phrase[back[number] + k] for k in (-2, -1, 1)))
        following[number] = joins[key]
        joins[key] = number
    return Lists(kinds, fold, may_end, table, joins, following, back, chars, bounds, len(entries) - 1)


@njit(error_model="numpy")
def _three(a, b, c):  # type: ignore[no-untyped-def]
    return (a & 31) | (b & 31) << 5 | (c & 31) << 10


@njit(error_model="numpy")
def _word_hash(chars, start, end, fold):  # type: ignore[no-untyped-def]
    h = np.uint32(2166136261)
    for i in range(start, end):
        h = (h ^ fold[chars[i]]) * np.uint32(16777619)
    return h ^ (h >> np.uint32(15))


@njit(error_model="numpy")
def _stands(utf8, at, fold, chars, low, high):  # type: ignore[no-untyped-def]
    """Whether chars[low:high] stand at utf8[at:], in any case."""
    if at + high - low > len(utf8):
        return False
    for k in range(high - low):
        if fold[utf8[at + k]] != chars[low + k]:
            return False
    return True


@njit(error_model="numpy")
def _blank(utf8, i):  # type: ignore[no-untyped-def]
    """Bytes of the white space of str.isspace beyond ASCII at i, else 0.

    U+0085 U+00A0 U+1680 U+2000-U+200A U+2028 U+2029 U+202F U+205F U+3000.
    """
    a = utf8[i]
    b = utf8[i + 1] if i + 1 < len(utf8) else 0
    if a == 0xC2:
        return 2 if b == 0x85 or b == 0xA0 else 0
    c = utf8[i + 2] if i + 2 < len(utf8) else 0
    if a == 0xE2:
        if b == 0x80:
            return 3 if c <= 0x8A or c == 0xA8 or c == 0xA9 or c == 0xAF else 0
        return 3 if b == 0x81 and c == 0x9F else 0
    if a == 0xE1:
        return 3 if b == 0x9A and c == 0x80 else 0
    return 3 if a == 0xE3 and b == 0x80 and c == 0x80 else 0


@njit(error_model="numpy")
def _listed_word(utf8, start, end, fold, words, chars, bounds):  # type: ignore[no-untyped-def]
    mask = np.uint32(len(words) - 1)
    slot = _word_hash(utf8, start, end, fold) & mask
    while words[slot] >= 0:
        low, high = bounds[words[slot]], bounds[words[slot] + 1]
        if high - low == end - start and _stands(utf8, start, fold, chars, low, high):
            return True
        slot = (slot + np.uint32(1)) & mask
    return False


@njit(error_model="numpy")
def _phrase_bits(utf8, i, first, fold, following, back, chars, bounds, lorem):  # type: ignore[no-untyped-def]
    """LOREM and NAUGHTY for the phrases, from `first` on, whose chosen blank stands at i."""
    bits = 0
    while first >= 0:
        entry = lorem - len(back) + 1 + first
        at = i - back[first]
        if at >= 0 and _stands(utf8, at, fold, chars, bounds[entry], bounds[entry + 1]):
            bits |= LOREM if entry == lorem else NAUGHTY
        first = following[first]
    return bits


@njit(error_model="numpy")
def _characters(utf8):  # type: ignore[no-untyped-def]
    count = 0
    for i in range(len(utf8)):
        count += (utf8[i] & 0xC0) != 0x80
    return count


@njit(error_model="numpy")
def _lead_bits(utf8, i):  # type: ignore[no-untyped-def]
    """FOLDS where U+0130 or the Kelvin sign stands at i."""
    if i + 1 < len(utf8) and utf8[i] == 0xC4 and utf8[i + 1] == 0xB0:
        return FOLDS
    if i + 2 < len(utf8) and utf8[i] == 0xE2 and utf8[i + 1] == 0x84 and utf8[i + 2] == 0xAA:
        return FOLDS
    return 0


@njit(error_model="numpy")
def _javascript_bits(utf8, i, word, kinds, fold, javascript):  # type: ignore[no-untyped-def]
    """JAVASCRIPT where it stands at i, JAVASCRIPT_WORD too where it is the whole word that begins at `word`."""
    if not _stands(utf8, i, fold, javascript, 0, len(javascript)):
        return 0
    end = i + len(javascript)
    after = kinds[utf8[end]] if end < len(utf8) else _BREAK
    if i == word and (after == _BLANK or after == _BREAK or (after == _LEAD and _blank(utf8, end) > 0)):
        return JAVASCRIPT | JAVASCRIPT_WORD
    return JAVASCRIPT


@njit(error_model="numpy")
def _places(utf8, block, kinds, places):  # type: ignore[no-untyped-def]
    """Places of the bytes of a block of a text that begin no part of a word; the end of the text is one, too.

    Without branches: where a word ends is not to be foreseen.
    """
    count = 0
    part = utf8[block : block + _BLOCK]
    for i in range(len(part)):
        places[count] = block + i
        count += kinds[part[i]] != 0
    if len(part) < _BLOCK:
        places[count] = len(utf8)
        count += 1
    return count


@njit(error_model="numpy")
def _scan(  # type: ignore[no-untyped-def]
    all_utf8,
    byte_offsets,
    javascript,
    kinds,
    fold,
    may_end,
    words,
    joins,
    following,
    back,
    chars,
    bounds,
    lorem,
    text_bits,
    line_ends,
    line_bits,
    lines,
):
    """Bits of every text and line, and in code points of its text where each line ends, with its newline.

    lines: [texts + 1], text i has the lines lines[i]:lines[i + 1].  FOLDS: the text holds U+0130 or the Kelvin sign,
    whose lower case begins with an ASCII letter; its bits are not complete.
    """
    places = np.empty(_BLOCK + 2, dtype=np.int64)
    line = 0
    for text in range(len(byte_offsets) - 1):
        utf8 = all_utf8[byte_offsets[text] : byte_offsets[text + 1]]
        length = len(utf8)
        bits = 0
        characters = 0  # of the lines before
        line_start = 0
        word_count = 0
        word = 0  # behind the last blank
        mark = np.uint8(0)  # last byte of the last word of the line
        for block in range(0, length + 1, _BLOCK):
            for place in range(_places(utf8, block, kinds, places)):
                i = places[place]
                kind = kinds[utf8[i]] if i < length else np.uint8(_BREAK)
                width = 1
                if kind > _BREAK:
                    if kind == _LEAD:
                        width = _blank(utf8, i)
                        if width == 0:
                            bits |= _lead_bits(utf8, i)
                    elif kind == _CURLY:
                        bits |= CURLY
                        continue
                    else:
                        bits |= _javascript_bits(utf8, i, word, kinds, fold, javascript)
                        continue
                    if width == 0:
                        continue
                if i > word:
                    word_count += 1
                    mark = utf8[i - 1]
                    if i - word < 32 and may_end[_three(fold[utf8[word]], fold[mark], i - word)]:
                        if _listed_word(utf8, word, i, fold, words, chars, bounds):
                            bits |= NAUGHTY
                    if kind == _BLANK and utf8[i] == _SPACE and i >= 2 and i + 1 < length:
                        first = joins[_three(fold[utf8[i - 2]], fold[mark], fold[utf8[i + 1]])]
                        if first >= 0:
                            bits |= _phrase_bits(utf8, i, first, fold, following, back, chars, bounds, lorem)
                word = i + width
                if kind == _BREAK:
                    characters += _characters(utf8[line_start : min(word, length)])
                    line_ends[line] = characters
                    marks = FEW_WORDS if word_count < MIN_WORDS else 0
                    if not (mark == _DOT or mark == _QUESTION or mark == _EXCLAMATION or mark == _QUOTE):
                        marks |= NO_MARK
                    line_bits[line] = marks
                    line += 1
                    line_start = word
                    word_count = 0
                    mark = np.uint8(0)
        text_bits[text] = bits
        lines[text + 1] = line


@dataclasses.dataclass(frozen=True, slots=True)
class C4Lines:
    """What both versions find.

    text_bits   [texts] uint8       line_bits   [lines] uint8
    offsets     [texts + 1] int64: text i has the lines offsets[i]:offsets[i + 1]
    ends        [lines] int64, where the line ends, in code points of its text; lower_ends: of its lower case
    """

    text_bits: Bytes
    line_bits: Bytes
    offsets: Ints
    ends: Ints
    lower_ends: Ints


def _found(utf8: Bytes, byte_offsets: Ints) -> tuple[Bytes, Bytes, Ints, Ints]:
    texts = len(byte_offsets) - 1
    lines = int(np.count_nonzero(utf8 == _NEWLINE)) + texts
    text_bits, line_bits = np.zeros(texts, np.uint8), np.zeros(lines, np.uint8)
    line_ends, offsets = np.zeros(lines, np.int64), np.zeros(texts + 1, np.int64)
    found = (text_bits, line_ends, line_bits, offsets)
    _scan(*(utf8, byte_offsets, _JAVASCRIPT, *lists().arrays, *found))
    return text_bits, line_bits, offsets, line_ends


def c4_lines(texts: TextBatch) -> C4Lines:
    """View: bits of texts and lines.  One pass over the UTF-8; texts whose lower case Python must find, two."""
    text_bits, line_bits, offsets, ends = _found(texts.utf8, texts.byte_offsets)
    lower_ends = ends
    folding = np.flatnonzero(text_bits & FOLDS).tolist()
    if folding:
        lower_ends = ends.copy()
        lowered = [texts.texts[text].as_py().lower().encode() for text in folding]
        bounds = np.zeros(len(lowered) + 1, np.int64)
        np.cumsum([len(each) for each in lowered], out=bounds[1:])
        bits, marks, parts, places = _found(np.frombuffer(b"".join(lowered), np.uint8), bounds)
        for number, text in enumerate(folding):
            rows = slice(offsets[text], offsets[text + 1])
            found = slice(parts[number], parts[number + 1])
            text_bits[text] = bits[number]
            line_bits[rows] = marks[found]
            lower_ends[rows] = places[found]
    return C4Lines(text_bits, line_bits, offsets, ends, lower_ends)


@dataclasses.dataclass(frozen=True)
class C4Dolma:
    """C4's rules with dolma's readings.

    version    "v1" or "v2", see above
    alias      whether the name is `c4@dolma`; for v2 only

    The edits cut the lines that either span column holds, whatever the verdict, neighbours together.  Documents of
    other `kinds` (a null kind counts as prose) are not judged: keep is true and every other column null.  The rules
    are for English; they are applied to every language, as in the reference.
    """

    version: str = "v2"
    alias: bool = False
    kinds: tuple[str, ...] = PROSE_KINDS

    schema: ClassVar[pa.Schema] = SCHEMA

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise ValueError(f"c4@dolma: version {self.version!r} is none of {', '.join(VERSIONS)}")
        if self.alias and self.version != "v2":
            raise ValueError(f"c4@dolma is version v2, not {self.version}")

    @property
    def name(self) -> str:
        return "c4@dolma" if self.alias else f"c4_{self.version}@dolma"

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        found = texts.view(c4_lines)
        javascript = JAVASCRIPT_WORD if self.version == "v1" else JAVASCRIPT
        flags = {
            name: found.text_bits & bit != 0
            for name, bit in zip(FLAGS, (CURLY, LOREM, javascript, NAUGHTY), strict=True)
        }
        ends = found.ends if self.version == "v1" else found.lower_ends
        starts = np.zeros_like(ends)
        starts[1:] = ends[:-1]
        starts[found.offsets[:-1]] = 0
        spans = [_spans(found.line_bits & bit != 0, found.offsets, starts, ends) for bit in (NO_MARK, FEW_WORDS)]
        columns = judge_texts(RULES, {name: flag.astype(np.float64) for name, flag in flags.items()}, len(texts))
        columns += [*spans, *map(pa.array, flags.values()), pa.array(np.diff(found.offsets))]
        # The mixer stops at the end of the text, which spans of the longer lower case may pass.
        lengths = np.repeat(found.ends[found.offsets[1:] - 1], np.diff(found.offsets))
        columns.append(_cuts(found, starts, np.minimum(ends, lengths)))
        scattered = [texts.scatter(column) for column in columns]
        scattered[0] = scattered[0].fill_null(True)
        return pa.RecordBatch.from_arrays(scattered, schema=SCHEMA)


def _chosen(chosen: Bools, offsets: Ints) -> tuple[Ints, Ints]:
    """Indices of the chosen lines, and [texts + 1] where those of each text begin among them."""
    indices = np.flatnonzero(chosen)
    return indices, np.searchsorted(indices, offsets)


def _spans(chosen: Bools, offsets: Ints, starts: Ints, ends: Ints) -> pa.ListArray:
    lines, bounds = _chosen(chosen, offsets)
    values = [pa.array(column[lines].astype(np.int32)) for column in (starts, ends)]
    structs = pa.StructArray.from_arrays(values, fields=list(SPANS.value_type))
    return pa.ListArray.from_arrays(pa.array(bounds.astype(np.int32)), structs, type=SPANS)


def _cuts(found: C4Lines, starts: Ints, ends: Ints) -> pa.ListArray:
    """The lines that are cut; neighbours that are cut for the same reason are one edit."""
    lines, bounds = _chosen((found.line_bits != 0) & (starts < ends), found.offsets)
    rules = (found.line_bits[lines] & NO_MARK == 0).astype(np.int64)
    joined = np.zeros(len(lines) + 1, np.bool_)  # with the one before
    joined[1:-1] = (ends[lines[:-1]] == starts[lines[1:]]) & (rules[:-1] == rules[1:])
    joined[bounds] = False
    firsts, lasts = lines[~joined[:-1]], lines[~joined[1:]]
    return edits_column(
        starts[firsts],
        ends[lasts],
        np.zeros_like(firsts),
        rules[~joined[:-1]],
        np.searchsorted(firsts, found.offsets),
        rule_names=tuple(LINE_SPANS),
    )
