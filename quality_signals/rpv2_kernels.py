"""Counts behind the rpv2 signals, over whole batches: sums over chunks of the text, and over its normalised words."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from quality_signals.codepoints import LOWER, UPPER, WORD, class_table, equal_ranges
from quality_signals.compiled import njit
from quality_signals.ngrams import longer_grams, pair_grams, repeated_grams, start_grams, top_gram
from quality_signals.packed_counts import BIG, LANES, MOST, add_to, bits_of, place_of, take_out
from quality_signals.rpv2_lists import in_list, stop_table
from quality_signals.text_batch import TextBatch
from quality_signals.views import PACKED_CHARS, U, norm_words, word_key

# Bits of the raw table beside WORD, UPPER and LOWER of the class table.
LETTER = 16  # ASCII letter
END = 32  # ends a sentence: . ! ?
SYMBOL = 64  # counted: # { } . and the ellipsis

ELLIPSIS = 0x2026
# RedPajama-Data app/src/core/quality_signals/lines.py: bullets and end marks of the line signals.
BULLETS = np.array([0x2022, 0x2023, 0x25B6, 0x25C0, 0x25E6, 0x25A0, 0x25A1, 0x25AA, 0x25AB, 0x2013], dtype=np.uint32)
_LEAST_BULLET = np.uint32(BULLETS.min())
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


# Columns of the facts of a chunk: those above up to CURLY; of its normalised form numeric characters, characters, and
# whether it is a word; its capitals; and bits, twice.  What is asked of lines is in the second half.
_NUMERIC, _CHARS, _IS_WORD, _UPPER, _ENDS, _BITS = 8, 9, 10, 11, 14, 15
_FACTS = 16
# Where a chunk ends in a terminal mark, begins with a bullet, ends in an ellipsis.
_TERMINAL, _BULLET, _DOTS = 1, 2, 4
# What the chunk does to a sentence; what it is or may be a part of.
_GOES_ON, _KEEPS, _OPENS = 1, 2, 4
_JAVASCRIPT, _LOREM, _IPSUM = 8, 16, 32
_SOUGHT = _JAVASCRIPT | _LOREM | _IPSUM
_SAME, _INSIDE, _OUTSIDE = 0, 1, 2
_LANE = U(0xFFFF)
_IS_WORD_SHIFT, _ENDS_SHIFT = U(8 * (_IS_WORD - LANES)), U(8 * (_ENDS - LANES))
_JAVASCRIPT_POINTS = np.frombuffer("javascript".encode("utf-32-le"), np.uint32).copy()
_LOREM_POINTS = np.frombuffer("loremipsum".encode("utf-32-le"), np.uint32).copy()


@njit(error_model="numpy")
def _chunk_facts(points, offsets, table, stops, stop_list, bullets, terminals, facts):  # type: ignore[no-untyped-def]
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
        start = offsets[chunk]
        last = points[U(end - 1)]
        dots3 = last == 46 and end - start >= 3 and points[U(end - 2)] == 46 and points[U(end - 3)] == 46
        ends = _DOTS * (dots3 or last == ELLIPSIS)
        for mark in terminals:
            ends |= _TERMINAL * (last == mark)
        if points[U(start)] >= _LEAST_BULLET:
            for mark in bullets:
                ends |= _BULLET * (points[U(start)] == mark)
        facts[chunk, _ENDS] = ends
        facts[chunk, _BITS] = _GOES_ON * goes_on + _KEEPS * (state == _SAME) + _OPENS * (state == _INSIDE)


def chunk_facts(chunks: TextBatch, stop_list: int) -> npt.NDArray[np.int32]:
    """Facts of `strings.Strings`, [chunks, _FACTS], of WordPunct words (`\\w+|[^\\w\\s]+`) and sentences
    (`\\b[^.!?]+[.!?]*`): words, those with an ASCII letter, in capitals (str.isupper) and in the list (of
    `rpv2_lists.stop_table`; -1: none); sentences that begin outside of one; # and ellipses; { and }.  Of what
    normalisation leaves: numeric characters; characters; whether it is a word or nothing.  Characters with
    str.isupper.  Bits: where it ends in a terminal mark, begins with a bullet, ends in an ellipsis.  And bits: whether
    the first sentence may be one that goes on; whether none begins or ends; whether one is open behind the chunk;
    whether it is "javascript", ends in "lorem" or begins with "ipsum"."""
    facts = np.zeros((len(chunks), _FACTS), np.int32)
    _chunk_facts(chunks.points, chunks.offsets, raw_table(), stop_table(), stop_list, BULLETS, TERMINALS, facts)
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
        for word in range(offsets[chunk], offsets[chunk + 1]):  # one, or none
            start, end = starts[word], ends[word]
            size = end - start
            facts[chunk, _CHARS] = size
            if size == len(javascript) and equal_ranges(norm, start, javascript, 0, size):
                facts[chunk, _BITS] |= _JAVASCRIPT
            if size >= half:
                if equal_ranges(norm, end - half, lorem, 0, half):
                    facts[chunk, _BITS] |= _LOREM
                if equal_ranges(norm, start, lorem, half, half):
                    facts[chunk, _BITS] |= _IPSUM


@njit(error_model="numpy", forceinline=True)
def _round8(x):  # type: ignore[no-untyped-def]
    """Python's round(x, 8) of a float64 value from 0 to 4e7; NaN stays.

    k / 1e8 is the double nearest to k hundred-millionths, so only the choice of k matters.  Where the rounded product
    with 1e8 lies half way, its exact error (by Dekker's product) decides, and where there is none, the even k.
    """
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
    return k / 1e8


@njit(error_model="numpy")
def round8(values):  # type: ignore[no-untyped-def]
    """`_round8` of each."""
    rounded = np.empty(len(values), np.float64)
    for i in range(len(values)):
        rounded[i] = _round8(values[i])
    return rounded


@njit(error_model="numpy", forceinline=True)
def _ends_of(packed, big, chunk):  # type: ignore[no-untyped-def]
    number = packed[chunk, 1]
    if bits_of(number) & U(BIG):
        return np.int64(big[place_of(number), _ENDS])
    return np.int64(number >> _ENDS_SHIFT & U(0xFF))


@njit(error_model="numpy")
def measure_chunks(ids, firsts, split_offsets, raw_offsets, raw_ends, lists, stop_list, packed, big, counts, lines):
    # type: ignore[no-untyped-def]
    """Sums of the facts over the chunks of the texts whose stop list this is.

    packed, big: of `packed_counts.PackedCounts` of `chunk_facts`.
    firsts, split_offsets: of `line_views.line_chunks` and `split_lines`; raw_offsets, raw_ends: of `views.raw_lines`.
    counts    [texts, RAW_COUNTS] int64 is filled
    lines     [6, lines] float64 is filled: the signals of lines in their order, see `rpv2.LINE_SIGNALS`
    """
    of_text = np.empty(LANES, np.int64)
    for text in range(len(raw_offsets) - 1):
        if lists[text] != stop_list:
            continue
        of_text[:] = 0
        even = odd = U(0)
        added = np.int64(0)  # numbers in these sums
        going_on = ellipsis_lines = lorems = norm_words = norm_chars = np.int64(0)
        inside = head = U(0)
        shift = split_offsets[text] - raw_offsets[text]
        line_start = raw_ends[raw_offsets[text] - 1] if raw_offsets[text] else np.int64(0)
        for line in range(raw_offsets[text], raw_offsets[text + 1]):
            first = firsts[line + shift]
            last = firsts[line + shift + 1]
            scripts = np.int64(0)
            numeric = chars = words = upper = np.int64(0)
            for part in range(first, last, MOST):
                stop = min(part + MOST, last)
                if added + stop - part > MOST:
                    take_out(even, odd, of_text, 0)
                    even = odd = U(0)
                    added = 0
                added += stop - part
                line_even = line_odd = U(0)
                for k in range(U(part), U(stop)):
                    chunk = U(ids[k])
                    low_counts, high_counts = packed[chunk, 0], packed[chunk, 1]
                    bits = bits_of(high_counts)
                    is_word = high_counts >> _IS_WORD_SHIFT & U(1)
                    if bits & U(BIG):
                        place = place_of(high_counts)
                        for column in range(CURLY + 1):
                            of_text[column] += big[place, column]
                        numeric += big[place, _NUMERIC]
                        chars += big[place, _CHARS]
                        words += big[place, _IS_WORD]
                        upper += big[place, _UPPER]
                        bits = U(big[place, _BITS])
                        is_word = U(big[place, _IS_WORD])
                        low_counts = high_counts = U(0)
                    even, odd = add_to(even, odd, low_counts)
                    line_even, line_odd = add_to(line_even, line_odd, high_counts)
                    going_on += np.int64(bits & inside)
                    inside = (bits >> U(2) | bits >> U(1) & inside) & U(_GOES_ON)
                    sought = bits & U(_SOUGHT)
                    if sought:
                        scripts += (sought & U(_JAVASCRIPT)) != 0
                        lorems += (sought & U(_IPSUM)) != 0 and (head & U(_LOREM)) != 0
                    head = sought if is_word else head
                numeric += np.int64(line_even & _LANE)
                chars += np.int64(line_odd & _LANE)
                words += np.int64(line_even >> U(16) & _LANE)
                upper += np.int64(line_odd >> U(16) & _LANE)
            norm_words += words
            norm_chars += chars
            ends = begins = np.int64(0)
            if last > first:
                ends = _ends_of(packed, big, U(ids[last - 1]))
                begins = _ends_of(packed, big, U(ids[first]))
            ellipsis_lines += (ends & _DOTS) // _DOTS
            lines[0, line] = ends & _TERMINAL
            lines[1, line] = scripts
            lines[2, line] = words
            lines[3, line] = _round8(numeric / max(chars + words - 1, 1))  # 0 / 1 where a normalised line is empty
            lines[4, line] = (begins & _BULLET) // _BULLET
            lines[5, line] = _round8(upper / (raw_ends[line] - line_start))
            line_start = raw_ends[line]
        take_out(even, odd, of_text, 0)
        counts[text, WORDS] = of_text[WORDS]
        counts[text, ALPHABETIC] = of_text[ALPHABETIC]
        counts[text, CAPITALS] = of_text[CAPITALS]
        counts[text, LISTED] = of_text[LISTED]
        counts[text, SENTENCES] = of_text[SENTENCES] - going_on
        counts[text, SYMBOLS] = of_text[SYMBOLS]
        counts[text, CURLY] = of_text[CURLY]
        counts[text, ELLIPSIS_LINES] = ellipsis_lines
        counts[text, NORM_WORDS] = norm_words
        counts[text, NORM_CHARS] = norm_chars
        counts[text, LOREMS] = lorems


@njit(error_model="numpy")
def measure_listed(ids, offsets, heads, following, words, bounds, lists, number, found):  # type: ignore[no-untyped-def]
    """found [texts]: places where a phrase begins, each phrase by itself, of the texts whose list `number` is.

    ids, offsets: normalised words.  heads, following, words, bounds: of `rpv2_lists.ListedPhrases`.
    """
    for text in range(len(offsets) - 1):
        if lists[text] != number:
            continue
        total = 0
        stop = offsets[text + 1]
        for i in range(offsets[text], stop):
            word = U(ids[U(i)])
            if word >= U(len(heads)):
                continue
            phrase = heads[word]
            while phrase >= 0:
                first = bounds[phrase]
                size = bounds[phrase + 1] - first
                same = i + size <= stop
                for k in range(1, size if same else 1):
                    same &= ids[i + k] == words[first + k]
                total += same
                phrase = following[phrase]
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
        left, distinct = pair_grams(ids, low, low + words, work)
        for n in range(2, 11):
            if n > 2:
                left, distinct = longer_grams(left, work)
            if left < 2:
                break
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
