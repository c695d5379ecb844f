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

from quality_signals.batches import PROSE_KINDS, batch_of, field
from quality_signals.chunks import byte_places
from quality_signals.compiled import njit
from quality_signals.edits import edits_column, edits_field
from quality_signals.families import VERDICT_FIELDS, Rule, judge_texts
from quality_signals.line_views import line_chunks, split_lines
from quality_signals.strings import U
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

MIN_WORDS = 3  # taggers/c4.py, MIN_WORDS_PER_LINE

# Bits of a text.
CURLY, LOREM, JAVASCRIPT, JAVASCRIPT_WORD, NAUGHTY, FOLDS = 1, 2, 4, 8, 16, 32
# Bits of a line.
NO_MARK, FEW_WORDS = 1, 2

_SPACE, _DOT, _QUESTION, _EXCLAMATION, _QUOTE = (ord(c) for c in ' .?!"')
_JAVASCRIPT = np.frombuffer(b"javascript", np.uint8)
_LOREM_IPSUM = b"lorem ipsum"
_BLOCK = 64  # bytes that are looked at together


@dataclasses.dataclass(frozen=True, slots=True)
class Lists:
    """What the kernel looks up, all in lower case.

    fold           [256] uint8: the lower case of a byte
    may_end        [32768] uint8, by first and last byte and length of a word: whether it may be listed
    words          [power of two] int64, index of an entry, or -1; by `_word_hash`
    joins          [32768] int16, by two bytes before and one behind a blank: the first phrase with those, or -1;
                   following [phrases] int16: the next one; back [phrases]: bytes of the phrase before that blank
    chars, bounds  the entries' bytes: entry e is chars[bounds[e]:bounds[e + 1]]
    lorem          index of the last entry, "lorem ipsum", which is no bad word; the phrases end with it
    """

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
    return Lists(fold, may_end, table, joins, following, back, chars, bounds, len(entries) - 1)


@njit(error_model="numpy")
def _three(a, b, c):  # type: ignore[no-untyped-def]
    """The lower bits of three bytes: the same for a letter in either case."""
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
def _char_bits(utf8, low, high, fold, javascript):  # type: ignore[no-untyped-def]
    """The bits of the text utf8[low:high] that its characters decide."""
    found = 0
    for block in range(low, high, U(_BLOCK)):
        stop = min(block + U(_BLOCK), high)
        special = np.uint8(0)
        for i in range(block, stop):  # without branches and in bytes, so that many are compared at once
            c = utf8[i]
            special |= np.uint8(c == 123) | np.uint8(c | 32 == 106) | np.uint8(c == 0xC4) | np.uint8(c == 0xE2)
        if not special:
            continue
        for i in range(block, stop):
            c = utf8[i]
            if c == 123:
                found |= CURLY
            elif c | 32 == 106:
                if i + U(len(javascript)) <= high and _stands(utf8, np.int64(i), fold, javascript, 0, len(javascript)):
                    found |= JAVASCRIPT
            elif c == 0xC4:
                if utf8[i + U(1)] == 0xB0:  # U+0130
                    found |= FOLDS
            elif c == 0xE2 and utf8[i + U(1)] == 0x84 and utf8[i + U(2)] == 0xAA:  # the Kelvin sign
                found |= FOLDS
    return found


@njit(error_model="numpy")
def _scan(utf8, byte_offsets, starts, ends, offsets, firsts, javascript, arrays, text_bits, line_bits):  # type: ignore[no-untyped-def]
    """Bits of every text and line.

    starts, ends: places of the chunks in the bytes.
    offsets, firsts: of `line_views.split_lines` and `line_chunks`.
    FOLDS: the text holds U+0130 or the Kelvin sign, whose lower case begins with an ASCII letter; its bits are not
    complete.
    """
    fold, may_end, words, joins, following, back, chars, bounds, lorem = arrays
    for text in range(len(byte_offsets) - 1):
        low = U(byte_offsets[text])
        all_bits = _char_bits(utf8, low, U(byte_offsets[text + 1]), fold, javascript)
        for line in range(offsets[text], offsets[text + 1]):
            first = U(firsts[line])
            last = U(firsts[line + 1])
            for k in range(first, last):
                start, end = U(starts[k]), U(ends[k])
                size = end - start
                if size < U(32) and may_end[_three(utf8[start], utf8[end - U(1)], size)]:
                    if _listed_word(utf8, np.int64(start), np.int64(end), fold, words, chars, bounds):
                        all_bits |= NAUGHTY
                if size == U(len(javascript)) and utf8[start] | 32 == 106:
                    if _stands(utf8, np.int64(start), fold, javascript, 0, len(javascript)):
                        all_bits |= JAVASCRIPT_WORD
                i = U(ends[k])
                if k + U(1) < last and utf8[i] == _SPACE and i >= low + U(2):
                    join = joins[_three(utf8[i - U(2)], utf8[i - U(1)], utf8[i + U(1)])]
                    if join >= 0:
                        own = utf8[byte_offsets[text] : byte_offsets[text + 1]]
                        all_bits |= _phrase_bits(
                            own, np.int64(i - low), join, fold, following, back, chars, bounds, lorem
                        )
            mark = utf8[U(ends[last - U(1)] - 1)] if last > first else np.uint8(0)
            found = FEW_WORDS if last - first < U(MIN_WORDS) else 0
            if not (mark == _DOT or mark == _QUESTION or mark == _EXCLAMATION or mark == _QUOTE):
                found |= NO_MARK
            line_bits[line] = found
        text_bits[text] = all_bits


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


def _found(texts: TextBatch) -> tuple[Bytes, Bytes, Ints, Ints]:
    lines, places = texts.view(split_lines), texts.view(byte_places)
    text_bits, line_bits = np.zeros(len(texts), np.uint8), np.zeros(len(lines), np.uint8)
    of_lines = (lines.offsets, texts.view(line_chunks))
    looked_up = (_JAVASCRIPT, lists().arrays)
    _scan(
        texts.utf8, texts.byte_offsets, places.starts, places.ends, *of_lines, *looked_up, text_bits, line_bits
    )  # fmt: skip
    ends = lines.ends - np.repeat(texts.offsets[:-1], lines.counts) + 1
    ends[lines.offsets[1:] - 1] -= 1  # the last line has no newline
    return text_bits, line_bits, lines.offsets, ends


def c4_lines(texts: TextBatch) -> C4Lines:
    """View: bits of texts and lines; texts whose lower case Python must find are looked at once more."""
    text_bits, line_bits, offsets, ends = _found(texts)
    lower_ends = ends
    folding = np.flatnonzero(text_bits & FOLDS).tolist()
    if folding:
        lower_ends = ends.copy()
        lowered = SharedTexts(batch_of([texts.texts[text].as_py().lower() for text in folding])).of()
        bits, marks, parts, places = _found(lowered)
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
