"""Counts behind the rpv2 signals, over whole batches: one pass over the text as it stands, one over its words."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from quality_signals.codepoints import LOWER, SPACE, UPPER, WORD, class_table, equal_ranges, mix
from quality_signals.compiled import njit
from quality_signals.rpv2_fold import NEWLINE
from quality_signals.rpv2_lists import in_list
from quality_signals.views import PACKED_CHARS, U, word_key

# Bits of the raw table beside WORD, SPACE, UPPER and LOWER of the class table.
LETTER = 16  # ASCII letter
END = 32  # ends a sentence: . ! ?
SYMBOL = 64  # counted: # { } . and the ellipsis

ELLIPSIS = 0x2026
# RedPajama-Data app/src/core/quality_signals/lines.py: bullets and end marks of the line signals.
BULLETS = np.array([0x2022, 0x2023, 0x25B6, 0x25C0, 0x25E6, 0x25A0, 0x25A1, 0x25AA, 0x25AB, 0x2013], dtype=np.uint32)
TERMINALS = np.array([ord(c) for c in ".!?\u201d"], dtype=np.uint32)

# Words that the signals ask for, one behind the other.
SOUGHT = np.frombuffer("loremipsumjavascript".encode("utf-32-le"), np.uint32).copy()
SOUGHT_BOUNDS = np.array([0, 5, 10, 20])

# Columns of the counts of `measure_raw`.
WORDS, ALPHABETIC, CAPITALS, LISTED, SENTENCES, SYMBOLS, CURLY, ELLIPSIS_LINES = range(8)
RAW_COUNTS = 8


@lru_cache(maxsize=1)
def raw_table() -> npt.NDArray[np.uint8]:
    """[1114112] uint8: the bits above for every code point."""
    table = class_table() & np.uint8(WORD | SPACE | UPPER | LOWER)
    for text, bit in (
        ("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", LETTER),
        (".!?", END),
        ("#{}.\u2026", SYMBOL),
    ):
        table[[ord(c) for c in text]] |= np.uint8(bit)
    return table


@njit(error_model="numpy")
def measure_raw(
    points, offsets, line_offsets, table, stops, stop_lists, bullets, terminals, counts, upper, terminal, bullet
):
    # type: ignore[no-untyped-def]
    """Counts of WordPunct words (`\\w+|[^\\w\\s]+`), sentences, symbols and lines.

    stops, stop_lists: a `WordTable` and for each text the number of its list, -1 for none.
    counts    [texts, RAW_COUNTS] int64 is filled: words, those with an ASCII letter, in capitals (str.isupper) and in
              the list; sentences (`\\b[^.!?]+[.!?]*`); # and ellipses; { and }; lines that end in an ellipsis
    upper     [lines] int32 is filled: characters with str.isupper
    terminal, bullet  [lines] float64 are filled: 1.0 where the line ends in a terminal mark, starts with a bullet
    """
    longest = stops.longest
    for text in range(len(offsets) - 1):
        i = offsets[text]
        end = offsets[text + 1]
        line = line_offsets[text]
        stop_list = stop_lists[text]
        words = 0
        alphabetic = 0
        capitals = 0
        listed = 0
        sentences = 0
        symbols = 0
        curly = 0
        ellipsis_lines = 0
        line_upper = 0
        first = -1  # of the line, without white space around it
        last = -1
        # A sentence begins at a word character and goes on to the next end marks; whatever else stands between two
        # sentences cannot begin one, since no word character lies before it.
        inside = False
        while True:
            if i < end and not table[points[U(i)]] & SPACE:
                start = i
                if first < 0:
                    first = i
                seen = np.uint8(0)
                key = np.uint64(0)
                wide = np.uint32(0)
                if table[points[U(i)]] & WORD:
                    if not inside:
                        sentences += 1
                        inside = True
                    while i < end:
                        c = points[U(i)]
                        bits = table[c]
                        if not bits & WORD:
                            break
                        seen |= bits
                        line_upper += (bits & UPPER) >> 2
                        key = key << U(8) | U(c)
                        wide |= c
                        i += 1
                    alphabetic += (seen & LETTER) != 0
                else:
                    dots = 0
                    while i < end:
                        c = points[U(i)]
                        bits = table[c]
                        if bits & (WORD | SPACE):
                            break
                        seen |= bits
                        line_upper += (bits & UPPER) >> 2
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
                words += 1
                capitals += (seen & (UPPER | LOWER)) == UPPER
                if stop_list >= 0:
                    size = i - start
                    if size <= longest[stop_list]:
                        code = np.int32(2 * size + 1)
                        if size > PACKED_CHARS or wide > 255:
                            key, code = word_key(points, start, i)
                        listed += in_list(stops, stop_list, key, code, points, start)
                last = i - 1
                continue
            if i < end and points[U(i)] != NEWLINE:
                i += 1
                continue
            if line == line_offsets[text + 1]:  # nothing behind the last newline
                break
            upper[line] = line_upper
            terminal[line] = 0.0
            bullet[line] = 0.0
            if first >= 0:
                c = points[last]
                for mark in terminals:
                    if c == mark:
                        terminal[line] = 1.0
                for mark in bullets:
                    if points[first] == mark:
                        bullet[line] = 1.0
                dots3 = c == 46 and last - first >= 2 and points[last - 1] == 46 and points[last - 2] == 46
                ellipsis_lines += dots3 or c == ELLIPSIS
            line += 1
            line_upper = 0
            first = -1
            i += 1
            if i > end:
                break
        counts[text, WORDS] = words
        counts[text, ALPHABETIC] = alphabetic
        counts[text, CAPITALS] = capitals
        counts[text, LISTED] = listed
        counts[text, SENTENCES] = sentences
        counts[text, SYMBOLS] = symbols
        counts[text, CURLY] = curly
        counts[text, ELLIPSIS_LINES] = ellipsis_lines


@njit(error_model="numpy")
def measure_words(
    norm, starts, ends, ids, offsets, distinct, first, codes, line_offsets, chars, bounds, lorems, scripts
):  # type: ignore[no-untyped-def]
    """lorems [texts]: occurrences of "lorem ipsum" in the words joined by spaces.  scripts [lines]: words equal to
    "javascript".  chars, bounds: `SOUGHT` and `SOUGHT_BOUNDS`."""
    lorem, ipsum, javascript = bounds[0], bounds[1], bounds[2]
    size = bounds[3] - javascript
    half = bounds[1] - bounds[0]
    line = 0
    for i in range(len(scripts)):
        scripts[i] = 0
    for text in range(len(offsets) - 1):
        script = -1
        head = False
        for number in range(distinct[text], distinct[text + 1]):
            code = codes[U(number)]
            if code < 10:
                continue
            at = first[U(number)]
            if code == 20 and equal_ranges(norm, starts[at], chars, javascript, size):
                script = number - distinct[text]
            if norm[U(ends[U(at)] - 1)] == 109:
                head |= equal_ranges(norm, ends[at] - half, chars, lorem, half)
        if script >= 0:
            for i in range(offsets[text], offsets[text + 1]):
                if ids[i] == script:
                    while line_offsets[line + 1] <= i:
                        line += 1
                    scripts[line] += 1
        found = 0
        if head:
            for i in range(offsets[text], offsets[text + 1] - 1):
                if min(ends[i] - starts[i], ends[i + 1] - starts[i + 1]) < half:
                    continue
                if equal_ranges(norm, ends[i] - half, chars, lorem, half):
                    found += equal_ranges(norm, starts[i + 1], chars, ipsum, half)
        lorems[text] = found


@njit(error_model="numpy")
def measure_entropy(offsets, distinct, counts, terms, computed, entropy):  # type: ignore[no-untyped-def]
    """-sum of c/N ln(c/N) over the distinct words of each text in order of first occurrence, in nats, summed from
    the left.  terms, computed: float64 and int64, -1, one more than the largest count; each count's term is computed
    once a text."""
    for text in range(len(offsets) - 1):
        total = offsets[text + 1] - offsets[text]
        value = 0.0
        for i in range(distinct[text], distinct[text + 1]):
            count = counts[i]
            if computed[count] != text:
                computed[count] = text
                share = count / total
                terms[count] = -share * math.log(share)
            value += terms[count]
        entropy[text] = value


@njit(error_model="numpy")
def measure_listed(norm, starts, ends, ids, offsets, distinct, keys, codes, first, table, lists, found):
    # type: ignore[no-untyped-def]
    """found [texts]: n-grams whose words joined by a space are a phrase of the text's list (-1: none)."""
    heads, phrases, sizes, size_offsets = table
    heading = np.zeros(len(first), np.bool_)
    for text in range(len(offsets) - 1):
        found[text] = 0
        number = lists[text]
        if number < 0:
            continue
        base = distinct[text]
        any_head = False
        for i in range(base, distinct[text + 1]):
            held = in_list(heads, number, keys[U(i)], codes[U(i)], norm, starts[first[U(i)]])
            heading[U(i)] = held
            any_head |= held
        if not any_head:
            continue
        total = 0
        stop = offsets[text + 1]
        for i in range(offsets[text], stop):
            if not heading[U(base + ids[U(i)])]:
                continue
            for k in range(size_offsets[number], size_offsets[number + 1]):
                last = i + sizes[k] - 1
                if last < stop:
                    key, code = word_key(norm, starts[i], ends[last])
                    total += in_list(phrases, number, key, code, norm, starts[i])
        found[text] = total


@njit(error_model="numpy")
def measure_repetition(ids, counts, offsets, distinct, starts, ends, slots, top, dupe):  # type: ignore[no-untyped-def]
    """The numerators of RedPajama-V2's repetition signals; expected time linear in the words.

    An (n+1)-gram is the pair of the n-grams at its first and second word, so pairs of numbers identify n-grams of
    every length without collisions; and it can only occur twice where both of those do, so what is left to look at
    shrinks as n grows, and ordinary text costs little beyond n = 3.

    slots: zeros, a power of two of at least twice the words of the longest text (`views.slots_for`).
    top  [texts, 3] int64 is filled: count times characters of the top 2-, 3- and 4-gram, the first seen on a tie, 0 if
         it occurs once.  dupe [texts, 6]: characters of words that lie in a 5- to 10-gram that occurs twice.
    """
    most = len(slots) // 2 + 1
    places = np.empty(most, np.int64)  # where the n-grams that occur twice begin, in order,
    grams = np.empty(most, np.int32)  # and their numbers
    pairs = np.empty(most, np.uint64)
    times = np.empty(most, np.int32)
    seen_first = np.empty(most, np.int64)
    used = 0  # numbers that slots may hold; larger ones are of the level at work, so nothing is cleared
    for text in range(len(offsets) - 1):
        top[text] = 0
        dupe[text] = 0
        base = distinct[text]
        left = 0
        for i in range(offsets[text], offsets[text + 1]):
            places[U(left)] = i
            grams[U(left)] = ids[U(i)]
            left += counts[U(base + ids[U(i)])] > 1
        for n in range(2, 11):
            if left < 2:
                break
            if used > (1 << 31) - 2 - left:
                slots[:] = 0
                used = 0
            capacity = 16
            while capacity < 2 * left:
                capacity *= 2
            mask = U(capacity - 1)
            kept = 0
            known = 0
            for k in range(left - 1):
                if places[U(k + 1)] != places[U(k)] + 1:
                    continue
                pair = U(grams[U(k)]) << U(32) | U(grams[U(k + 1)])
                slot = mix(pair) & mask
                number = np.int64(slots[slot]) - 1 - used
                while number >= 0 and pairs[U(number)] != pair:
                    slot = (slot + U(1)) & mask
                    number = np.int64(slots[slot]) - 1 - used
                if number < 0:
                    number = known
                    slots[slot] = number + 1 + used
                    pairs[number] = pair
                    times[number] = 0
                    seen_first[number] = places[k]
                    known += 1
                times[U(number)] += 1
                places[U(kept)] = places[U(k)]
                grams[U(kept)] = number
                kept += 1
            used += known
            if n <= 4:
                best = -1
                often = 1
                for number in range(known):
                    if times[number] > often:
                        best = number
                        often = times[number]
                if best >= 0:
                    at = seen_first[best]
                    for k in range(at, at + n):
                        top[text, n - 2] += often * (ends[k] - starts[k])
            left = 0
            covered = 0
            total = 0
            for k in range(kept):
                if times[U(grams[U(k)])] < 2:
                    continue
                at = places[k]
                if n >= 5:
                    for word in range(max(at, covered), at + n):
                        total += ends[word] - starts[word]
                    covered = at + n
                places[left] = at
                grams[left] = grams[k]
                left += 1
            if n >= 5:
                dupe[text, n - 5] = total


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
