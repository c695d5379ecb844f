"""Counts behind the rpv2 signals, over whole batches: sums over chunks of the text, and over its normalised words."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from quality_signals.codepoints import LOWER, UPPER, WORD, class_table, equal_ranges
from quality_signals.compiled import njit
from quality_signals.ngrams import longer_grams, repeated_grams, repeated_words, start_grams, top_gram
from quality_signals.rpv2_lists import Same, in_list, stop_table
from quality_signals.text_batch import TextBatch
from quality_signals.views import PACKED_CHARS, U, norm_words, word_key

# Bits of the raw table beside WORD, UPPER and LOWER of the class table.
LETTER = 16  # ASCII letter
END = 32  # ends a sentence: . ! ?
SYMBOL = 64  # counted: # { } . and the ellipsis

ELLIPSIS = 0x2026
# RedPajama-Data app/src/core/quality_signals/lines.py: bullets and end marks of the line signals.
BULLETS = np.array([0x2022, 0x2023, 0x25B6, 0x25C0, 0x25E6, 0x25A0, 0x25A1, 0x25AA, 0x25AB, 0x2013], dtype=np.uint32)
TERMINALS = np.array([ord(c) for c in ".!?\u201d"], dtype=np.uint32)

# Columns of the counts of `measure_chunks`: WordPunct words, those with an ASCII letter, in capitals, in the list;
# sentences; # and ellipses; { and }; lines that end in an ellipsis; normalised words, their characters, and
# occurrences of "lorem ipsum" in those.
WORDS, ALPHABETIC, CAPITALS, LISTED, SENTENCES, SYMBOLS, CURLY = range(7)
ELLIPSIS_LINES, NORM_WORDS, NORM_CHARS, LOREMS = range(7, 11)
RAW_COUNTS = 11


@lru_cache(maxsize=1)
def raw_table() -> npt.NDArray[np.uint8]:
    """[1114112] uint8: the bits above for every code point."""
    table = class_table() & np.uint8(WORD | UPPER | LOWER)
    for text, bit in (
        ("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", LETTER),
        (".!?", END),
        ("#{}.\u2026", SYMBOL),
    ):
        table[[ord(c) for c in text]] |= np.uint8(bit)
    return table


# Columns of the facts of a chunk: those above up to CURLY, its capitals, and what it does to a sentence.
_UPPER, _GOES_ON, _STATE = 7, 8, 9
_SAME, _INSIDE, _OUTSIDE = 0, 1, 2
# And of its normalised form: numeric characters, characters, whether it is a word, what it is or may be a part of.
_NUMERIC, _CHARS, _IS_WORD, _SOUGHT = range(10, 14)
_FACTS = 16  # a cache line
_JAVASCRIPT, _LOREM, _IPSUM = 1, 2, 4
_JAVASCRIPT_POINTS = np.frombuffer("javascript".encode("utf-32-le"), np.uint32).copy()
_LOREM_POINTS = np.frombuffer("loremipsum".encode("utf-32-le"), np.uint32).copy()


@njit(error_model="numpy")
def _chunk_facts(points, offsets, table, stops, stop_list, facts):  # type: ignore[no-untyped-def]
    longest = stops.longest
    for chunk in range(len(offsets) - 1):
        i = offsets[chunk]
        end = offsets[chunk + 1]
        words = alphabetic = capitals = listed = sentences = symbols = curly = upper = 0
        # A sentence begins at a word character and goes on to the next end marks; whatever else stands between two
        # sentences cannot begin one, since no word character lies before it.
        inside = False
        goes_on = 0  # whether a word stands before the first end mark
        state = _SAME
        while i < end:
            start = i
            seen = np.uint8(0)
            key = np.uint64(0)
            wide = np.uint32(0)
            if table[points[U(i)]] & WORD:
                goes_on |= state == _SAME
                state = _INSIDE
                if not inside:
                    sentences += 1
                    inside = True
                while i < end:
                    c = points[U(i)]
                    bits = table[c]
                    if not bits & WORD:
                        break
                    seen |= bits
                    upper += (bits & UPPER) >> 2
                    key = key << U(8) | U(c)
                    wide |= c
                    i += 1
                alphabetic += (seen & LETTER) != 0
            else:
                dots = 0
                while i < end:
                    c = points[U(i)]
                    bits = table[c]
                    if bits & WORD:
                        break
                    seen |= bits
                    upper += (bits & UPPER) >> 2
                    if bits & SYMBOL:
                        if c == 46:
                            dots += 1
                            if dots == 3:  # as many as str.count finds
                                symbols += 1
                                dots = 0
                        else:
                            dots = 0
                            if c == 35 or c == ELLIPSIS:
                                symbols += 1
                            else:
                                curly += 1
                    else:
                        dots = 0
                    key = key << U(8) | U(c)
                    wide |= c
                    i += 1
                if seen & END:
                    inside = False
                    state = _OUTSIDE
            words += 1
            capitals += (seen & (UPPER | LOWER)) == UPPER
            if stop_list >= 0:
                size = i - start
                if size <= longest[stop_list]:
                    code = np.int32(2 * size + 1)
                    if size > PACKED_CHARS or wide > 255:
                        key, code = word_key(points, start, i)
                    listed += in_list(stops, stop_list, key, code, points, start)
        facts[chunk, WORDS] = words
        facts[chunk, ALPHABETIC] = alphabetic
        facts[chunk, CAPITALS] = capitals
        facts[chunk, LISTED] = listed
        facts[chunk, SENTENCES] = sentences
        facts[chunk, SYMBOLS] = symbols
        facts[chunk, CURLY] = curly
        facts[chunk, _UPPER] = upper
        facts[chunk, _GOES_ON] = goes_on
        facts[chunk, _STATE] = state


def chunk_facts(chunks: TextBatch, stop_list: int) -> npt.NDArray[np.int32]:
    """Facts of `strings.Strings`, [chunks, _FACTS], of WordPunct words (`\\w+|[^\\w\\s]+`) and sentences
    (`\\b[^.!?]+[.!?]*`): words, those with an ASCII letter, in capitals (str.isupper) and in the list (of
    `rpv2_lists.stop_table`; -1: none); sentences that begin outside of one; # and ellipses; { and }; characters with
    str.isupper; whether the first sentence may be one that goes on; whether none changes, or a sentence is open or
    closed behind the chunk.  And of what normalisation leaves: numeric characters; characters; whether it is a word or
    nothing; whether it is "javascript", ends in "lorem" or begins with "ipsum"."""
    facts = np.zeros((len(chunks), _FACTS), np.int32)
    _chunk_facts(chunks.points, chunks.offsets, raw_table(), stop_table(), stop_list, facts)
    norm = chunks.view(norm_words)
    spans = (norm.points, norm.starts, norm.ends, norm.offsets, norm.line_numeric)
    _norm_facts(*spans, _JAVASCRIPT_POINTS, _LOREM_POINTS, facts)
    return facts


@njit(error_model="numpy")
def _norm_facts(norm, starts, ends, offsets, numeric, javascript, lorem, facts):  # type: ignore[no-untyped-def]
    half = len(lorem) // 2
    for chunk in range(len(offsets) - 1):
        facts[chunk, _NUMERIC] = numeric[chunk]
        facts[chunk, _CHARS] = 0
        facts[chunk, _IS_WORD] = offsets[chunk + 1] - offsets[chunk]
        facts[chunk, _SOUGHT] = 0
        for word in range(offsets[chunk], offsets[chunk + 1]):  # one, or none
            start, end = starts[word], ends[word]
            size = end - start
            facts[chunk, _CHARS] = size
            if size == len(javascript) and equal_ranges(norm, start, javascript, 0, size):
                facts[chunk, _SOUGHT] = _JAVASCRIPT
            if size >= half:
                if equal_ranges(norm, end - half, lorem, 0, half):
                    facts[chunk, _SOUGHT] |= _LOREM
                if equal_ranges(norm, start, lorem, half, half):
                    facts[chunk, _SOUGHT] |= _IPSUM


@njit(error_model="numpy")
def measure_chunks(
    points, ids, starts, ends, firsts, split_offsets, raw_offsets, lists, stop_list, facts, bullets, terminals,
    counts, lines, terminal, bullet,
):  # fmt: skip
    # type: ignore[no-untyped-def]
    """Sums of the facts over the chunks of the texts whose stop list this is.

    firsts, split_offsets: of `line_views.line_chunks` and `split_lines`; raw_offsets: of `views.raw_lines`.
    counts    [texts, RAW_COUNTS] int64 is filled
    lines     [lines, 5] int32 is filled: characters with str.isupper; of the normalised line words, numeric characters
              and all; and words equal to "javascript"
    terminal, bullet  [lines] float64 are filled: 1.0 where the line ends in a terminal mark, starts with a bullet
    """
    for text in range(len(raw_offsets) - 1):
        if lists[text] != stop_list:
            continue
        words = alphabetic = capitals = listed = sentences = symbols = curly = ellipsis_lines = np.int64(0)
        norm_words = chars = lorems = np.int64(0)
        inside = False
        head = np.int32(0)
        shift = split_offsets[text] - raw_offsets[text]
        for line in range(raw_offsets[text], raw_offsets[text + 1]):
            first = firsts[line + shift]
            last = firsts[line + shift + 1]
            upper = line_words = numeric = line_chars = scripts = np.int32(0)
            for k in range(U(first), U(last)):
                chunk = U(ids[k])
                words += facts[chunk, WORDS]
                alphabetic += facts[chunk, ALPHABETIC]
                capitals += facts[chunk, CAPITALS]
                listed += facts[chunk, LISTED]
                symbols += facts[chunk, SYMBOLS]
                curly += facts[chunk, CURLY]
                upper += facts[chunk, _UPPER]
                state = facts[chunk, _STATE]
                sentences += facts[chunk, SENTENCES] - (facts[chunk, _GOES_ON] & inside)
                inside = (state == _INSIDE) | ((state == _SAME) & inside)
                is_word = facts[chunk, _IS_WORD]
                line_words += is_word
                numeric += facts[chunk, _NUMERIC]
                line_chars += facts[chunk, _CHARS]
                sought = facts[chunk, _SOUGHT]
                if sought:
                    scripts += sought & _JAVASCRIPT
                    lorems += (sought & _IPSUM) != 0 and (head & _LOREM) != 0
                if is_word:
                    head = sought
            norm_words += line_words
            chars += line_chars
            lines[line, 0] = upper
            lines[line, 1] = line_words
            lines[line, 2] = numeric
            lines[line, 3] = max(line_chars + line_words - 1, 0)
            lines[line, 4] = scripts
            terminal[line] = 0.0
            bullet[line] = 0.0
            if last > first:
                low = starts[first]
                high = ends[last - 1] - 1
                c = points[high]
                for mark in terminals:
                    if c == mark:
                        terminal[line] = 1.0
                for mark in bullets:
                    if points[low] == mark:
                        bullet[line] = 1.0
                dots3 = c == 46 and high - low >= 2 and points[high - 1] == 46 and points[high - 2] == 46
                ellipsis_lines += dots3 or c == ELLIPSIS
        counts[text, WORDS] = words
        counts[text, ALPHABETIC] = alphabetic
        counts[text, CAPITALS] = capitals
        counts[text, LISTED] = listed
        counts[text, SENTENCES] = sentences
        counts[text, SYMBOLS] = symbols
        counts[text, CURLY] = curly
        counts[text, ELLIPSIS_LINES] = ellipsis_lines
        counts[text, NORM_WORDS] = norm_words
        counts[text, NORM_CHARS] = chars
        counts[text, LOREMS] = lorems


@njit(error_model="numpy")
def _head_flags(points, offsets, heads, number, flags):  # type: ignore[no-untyped-def]
    for word in range(len(offsets) - 1):
        start, end = offsets[word], offsets[word + 1]
        flags[word] = False
        if end - start <= heads.longest[number]:
            key, code = word_key(points, start, end)
            flags[word] = in_list(heads, number, key, code, points, start)


def head_flags(words: TextBatch, banned: Same, number: int) -> npt.NDArray[np.bool_]:
    """Facts of `strings.Strings`: whether a phrase of the list begins with the word."""
    flags = np.empty(len(words), bool)
    _head_flags(words.points, words.offsets, banned.of.heads, number, flags)
    return flags


@njit(error_model="numpy")
def _joined(words, bounds, utf8, buffer):  # type: ignore[no-untyped-def]
    """Puts the code points of the words, joined by a space, into `buffer`, as far as there is room, and more than that
    if there is none.  Returns their number."""
    size = 0
    for k in range(len(words)):
        i = bounds[words[k]]
        end = bounds[words[k] + 1]
        if k:
            if size == len(buffer):
                return size + 1
            buffer[size] = 32
            size += 1
        while i < end:
            if size == len(buffer):
                return size + 1
            c = np.uint32(utf8[i])
            more = 0 if c < 0xC0 else 1 if c < 0xE0 else 2 if c < 0xF0 else 3
            if more:
                c &= np.uint32(0x3F >> more)
            for _ in range(more):
                i += 1
                c = c << np.uint32(6) | np.uint32(utf8[i] & 0x3F)
            buffer[size] = c
            size += 1
            i += 1
    return size


@njit(error_model="numpy")
def measure_listed(ids, offsets, utf8, bounds, flags, table, lists, number, found):
    # type: ignore[no-untyped-def]
    """found [texts]: n-grams whose words joined by a space are a phrase of the list `number`, of the texts whose list
    it is.  ids, offsets: normalised words; flags: of all, whether a phrase begins with it."""
    _, phrases, sizes, size_offsets = table
    buffer = np.empty(phrases.longest[number], np.uint32)
    for text in range(len(offsets) - 1):
        if lists[text] != number:
            continue
        total = 0
        stop = offsets[text + 1]
        for i in range(offsets[text], stop):
            if not flags[U(ids[U(i)])]:
                continue
            for k in range(size_offsets[number], size_offsets[number + 1]):
                last = i + sizes[k]
                if last <= stop:
                    size = _joined(ids[i:last], bounds, utf8, buffer)
                    if size <= len(buffer):
                        key, code = word_key(buffer, 0, size)
                        total += in_list(phrases, number, key, code, buffer, 0)
        found[text] = total


@njit(error_model="numpy")
def measure_words(ids, offsets, lengths, work, before, terms, computed, distinct_of, entropy, top, dupe):  # type: ignore[no-untyped-def]
    """Distinct normalised words, their entropy, and the numerators of RedPajama-V2's repetition signals.

    ids, offsets: the words, of each text in ids[offsets[i]:offsets[i + 1]]; lengths: of all strings.
    work: of `ngrams.workspace`.  before: room for one more than the words of a text.  terms, computed: float64 and
    int64, -1, one more than the words of a text.
    distinct_of, entropy  [texts]: -sum of c/N ln(c/N) over the distinct words in order of first occurrence, in nats,
         summed from the left
    top  [texts, 3] int64 is filled: count times characters of the top 2-, 3- and 4-gram, the first seen on a tie, 0 if
         it occurs once.  dupe [texts, 6]: characters of words that lie in a 5- to 10-gram that occurs twice.
    """
    _, _, at, _, counts, _, _, _ = work
    before[0] = 0
    for text in range(len(offsets) - 1):
        top[text] = 0
        dupe[text] = 0
        low = offsets[text]
        words = offsets[text + 1] - low
        total = np.int64(0)
        for k in range(words):
            total += lengths[U(ids[U(low + k)])]
            before[U(k + 1)] = total
        distinct = start_grams(ids, low, low + words, work)
        distinct_of[text] = distinct
        value = 0.0
        for number in range(distinct):
            count = counts[U(number)]
            if computed[count] != text:
                computed[count] = text
                share = count / words
                terms[count] = -share * math.log(share)
            value += terms[count]
        entropy[text] = value
        left = repeated_words(words, work)
        for n in range(2, 11):
            if left < 2:
                break
            left, distinct = longer_grams(left, work)
            if n <= 4:
                first, most = top_gram(distinct, work)
                if most > 1:
                    top[text, n - 2] = most * (before[first + n] - before[first])
            left = repeated_grams(left, work)
            if n >= 5:
                covered = np.int64(0)
                sum_ = np.int64(0)
                for k in range(left):
                    place = np.int64(at[U(k)])
                    sum_ += before[place + n] - before[max(place, covered)]
                    covered = place + n
                dupe[text, n - 5] = sum_


@njit(error_model="numpy")
def round8(values):  # type: ignore[no-untyped-def]
    """Python's round(x, 8) of float64 values from 0 to 4e7; NaN stays.

    k / 1e8 is the double nearest to k hundred-millionths, so only the choice of k matters.  Where the rounded product
    with 1e8 lies half way, its exact error (by Dekker's product) decides, and where there is none, the even k.
    """
    rounded = np.empty(len(values), np.float64)
    for i in range(len(values)):
        x = values[i]
        scaled = x * 1e8
        k = np.rint(scaled)
        rest = scaled - k
        if abs(rest) == 0.5:
            # 1e8 has 27 bits: it is its own high half, so only x is split.
            c = x * 134217729.0
            high = c - (c - x)
            low = x - high
            error = (high * 1e8 - scaled) + low * 1e8
            if rest > 0 and error > 0:
                k += 1.0
            elif rest < 0 and error < 0:
                k -= 1.0
        rounded[i] = k / 1e8
    return rounded
