"""The one pass over the bytes of a batch that finds candidates; exact checks follow in `pii.annotate`.

The kernel reads UTF-8 bytes once, left to right, and dispatches on a byte class.  Every handler either looks
at a bounded number of bytes around its anchor (stated beside it) or moves a per-handler high-water mark
forward, so the scan is linear in the number of bytes whatever the text.
"""

from __future__ import annotations

import numpy as np

from pii.around import (
    CLASSES,
    MAX_DOMAIN,
    MAX_IPV6,
    MAX_LOCAL,
    MAX_NICK,
    MAX_VALUE,
    MIN_PHONE_DIGITS,
    MIN_VALUE,
    WALL,
    dated,
    dotted_mac,
    french_street,
    gps,
    host,
    latin_start,
    letter,
    link_end,
    mac,
    named_secret,
    street_after,
    street_before,
)
from quality_signals.compiled import njit

# What a candidate is; the second number of each row of `scan`.
EMAIL, NUMBER, IPV4, IPV6, IBAN, ASSIGNED, MAC, GPS, CODED, STREET, HOST, LINK, MENTION, SPEAKER = range(14)


@njit()
def _emit(rows, count, start, what, end, anchor):  # type: ignore[no-untyped-def]
    rows[count, 0] = start
    rows[count, 1] = what
    rows[count, 2] = end
    rows[count, 3] = anchor
    return count + 1


@njit()
def _scan(buf, offsets, iban_length, rows):  # type: ignore[no-untyped-def]
    # One function with the loop over documents: as two, the compiler would do its work twice.
    count = 0
    for d in range(len(offsets) - 1):
        lo = offsets[d]
        hi = offsets[d + 1]
        number_until = lo
        ipv6_until = lo
        host_until = lo
        i = lo
        while i < hi:
            b = buf[i]
            if not CLASSES[b] & 128:
                i += 1
                continue
            if b == 46:  # '.' between letters: a host name; four hexadecimal digits on both sides: a MAC address
                if i + 1 < hi and i > lo and (CLASSES[buf[i + 1]] & 1) and (CLASSES[buf[i - 1]] & 1):
                    if i >= host_until and letter(buf[i + 1]):
                        start, end = host(buf, i, lo, hi)
                        host_until = end
                        if start >= 0 and not (start > lo and (buf[start - 1] == 64 or buf[start - 1] == 46)):
                            count = _emit(rows, count, start, HOST, end, i)
                    if CLASSES[buf[i + 1]] & 4 and dotted_mac(buf, i, lo, hi):
                        count = _emit(rows, count, i - 4, MAC, i + 10, i)
                i += 1
                continue
            if b == 45:  # '-': the first of six pairs
                if i + 3 < hi and buf[i + 3] == 45 and mac(buf, i, lo, hi):
                    count = _emit(rows, count, i - 2, MAC, i + 15, i)
                i += 1
                continue
            if b == 60:  # '<' at the start of a line, or after a time in brackets: who speaks on IRC
                if i == lo or buf[i - 1] == 10 or (i - 2 >= lo and buf[i - 1] == 32 and buf[i - 2] == 93):
                    j = i + 1
                    if j < hi and (buf[j] == 64 or buf[j] == 43 or buf[j] == 32):
                        j += 1
                    start = j
                    while (
                        j < hi
                        and j - start <= MAX_NICK
                        and (CLASSES[buf[j]] & 1 or buf[j] in (45, 46, 91, 93, 94, 124))
                    ):
                        j += 1
                    if 2 <= j - start <= MAX_NICK and j + 1 < hi and buf[j] == 62 and buf[j + 1] == 32:
                        count = _emit(rows, count, start, SPEAKER, j, i)
                i += 1
                continue
            if b == 64:  # '@': at most MAX_LOCAL bytes left and MAX_DOMAIN right
                start = i
                floor = max(lo, i - MAX_LOCAL)
                while start > floor and CLASSES[buf[start - 1]] & 8:
                    start -= 1
                overlong = start > lo and start == floor and (CLASSES[buf[start - 1]] & 8) != 0
                start = latin_start(buf, start, i)
                end = i + 1
                ceiling = min(hi, i + 1 + MAX_DOMAIN)
                dots = 0
                while end < ceiling and CLASSES[buf[end]] & 16:
                    if buf[end] == 46:
                        dots += 1
                    end += 1
                if start < i and dots > 0 and not overlong:
                    count = _emit(rows, count, start, EMAIL, end, i)
                elif start == i and (i == lo or buf[i - 1] in (32, 10, 40, 44)):
                    j = i + 1
                    while j < hi and j - i <= MAX_NICK and (CLASSES[buf[j]] & 1 or buf[j] == 45):
                        j += 1
                    if 3 <= j - i <= MAX_NICK and not (j < hi and (buf[j] in (40, 46, 47, 64, 123) or buf[j] >= 128)):
                        count = _emit(rows, count, i + 1, MENTION, j, i)
                i += 1
                continue
            if b == 61 or b == 58:  # '=' ':'
                if b == 58:
                    if i + 3 < hi and buf[i + 3] == 58 and mac(buf, i, lo, hi):
                        count = _emit(rows, count, i - 2, MAC, i + 15, i)
                    if i + 3 < hi and buf[i + 1] == 47 and buf[i + 2] == 47 and i > lo:
                        start = i
                        while start > lo and i - start < 8 and 97 <= (buf[start - 1] | 32) <= 122:
                            start -= 1
                        if i - start >= 3:
                            end = link_end(buf, i + 3, hi)
                            if end > i + 3:
                                count = _emit(rows, count, start, LINK, end, i)
                                host_until = max(host_until, end)
                    elif i + 1 < hi and buf[i + 1] == 32 and i > lo and CLASSES[buf[i - 1]] & 1:
                        # `name: text` at the start of a line.
                        start = i
                        while (
                            start > lo
                            and i - start <= MAX_NICK
                            and (CLASSES[buf[start - 1]] & 1 or buf[start - 1] == 45)
                        ):
                            start -= 1
                        if 2 <= i - start <= MAX_NICK and (start == lo or buf[start - 1] == 10):
                            count = _emit(rows, count, start, SPEAKER, i, i)
                if b == 58 and i >= ipv6_until:
                    # A run of hex groups; left at most 4 digits, right to the end of the run (high-water mark).
                    start = i
                    while start > lo and i - start < 5 and CLASSES[buf[start - 1]] & 4:
                        start -= 1
                    end = i
                    colons = 0
                    while end < hi and ((CLASSES[buf[end]] & 4) or buf[end] == 58 or buf[end] == 46):
                        if buf[end] == 58:
                            colons += 1
                        end += 1
                    ipv6_until = end
                    clean = start == lo or not ((CLASSES[buf[start - 1]] & 1) or buf[start - 1] == 46)
                    if colons >= 2 and i - start <= 4 and clean and end - start <= MAX_IPV6:
                        if end == hi or not CLASSES[buf[end]] & 1:
                            rows[count, 0] = start
                            rows[count, 1] = IPV6
                            rows[count, 2] = end
                            rows[count, 3] = i
                            count += 1
                # A value assigned to a name: the value's run holds neither '=' nor ':' (but for its padding), so
                # the runs of all anchors together are linear.
                j = i + 1
                if j < hi and buf[j] == 62:  # '=>'
                    j += 1
                skipped = 0
                while j < hi and buf[j] == 32 and skipped < 8:
                    j += 1
                    skipped += 1
                quote = 0
                if j + 1 < hi and (buf[j] | 32 == 98 or buf[j] | 32 == 114) and (buf[j + 1] == 34 or buf[j + 1] == 39):
                    j += 1
                if j < hi and (buf[j] == 34 or buf[j] == 39 or buf[j] == 96):
                    quote = buf[j]
                    j += 1
                start = j
                ceiling = min(hi, start + MAX_VALUE)
                has_digit = False
                has_letter = False
                while j < ceiling and CLASSES[buf[j]] & 64:
                    if CLASSES[buf[j]] & 2:
                        has_digit = True
                    else:
                        low = buf[j] | 32
                        if 97 <= low <= 122:
                            has_letter = True
                    j += 1
                body = j
                while j < ceiling and j - body < 2 and buf[j] == 61:
                    j += 1
                if body - start >= MIN_VALUE and has_digit and has_letter and j < start + MAX_VALUE:
                    if quote == 0 or (j < hi and buf[j] == quote):
                        if named_secret(buf, lo, i):
                            rows[count, 0] = start
                            rows[count, 1] = ASSIGNED
                            rows[count, 2] = j
                            rows[count, 3] = i
                            count += 1
                i += 1
                continue
            # A digit, '+' or '('.
            digit = CLASSES[b] & 2
            if digit and (i == lo or not CLASSES[buf[i - 1]] & 2):
                before = buf[i - 1] if i > lo else 32
                plain = not (CLASSES[before] & 1)
                j = i + 1
                while j < hi and j - i < 18 and CLASSES[buf[j]] & 2:
                    j += 1
                size = j - i
                if plain:
                    if size <= 2 and before != 46 and j < hi and buf[j] == 46:
                        end = gps(buf, i, hi)
                        if end > 0:
                            start = i - 1 if before == 45 else i
                            count = _emit(rows, count, start, GPS, end, i)
                    if size <= 5 and before != 46:
                        k = j
                        if k < hi and 65 <= (buf[k] & 0xDF) <= 90 and (k + 1 == hi or not CLASSES[buf[k + 1]] & 1):
                            k += 1
                        gap = k + 1 if k < hi and buf[k] == 44 else k  # "12, rue ..."
                        if gap + 2 < hi and buf[gap] == 32 and letter(buf[gap + 1]):
                            end = french_street(buf, gap + 1, hi)
                            if end < 0 and gap == k and (65 <= buf[k + 1] <= 90 or buf[k + 1] >= 0xC3):
                                end = street_after(buf, k + 1, hi)
                            if end > 0:
                                count = _emit(rows, count, i, STREET, end, i)
                        if (k == hi or not (CLASSES[buf[k]] & 1)) and i - 4 > lo and before == 32:
                            start = street_before(buf, i, lo)
                            if start >= 0:
                                count = _emit(rows, count, start, STREET, k, i)
                    # `AB 12 34 56 C`: two capitals before the first pair.
                    if size == 2 and before == 32 and i - 3 >= lo and 65 <= buf[i - 2] <= 90 and 65 <= buf[i - 3] <= 90:
                        if i - 3 == lo or not CLASSES[buf[i - 4]] & 1:
                            end = min(hi, i + 10)
                            count = _emit(rows, count, i - 3, CODED, end, i) if end - i >= 8 else count
                    # A number that ends in a check letter, or holds one: DNI, HETU, an 18-digit id of China.
                    if (
                        j < hi
                        and before != 46
                        and (
                            ((size == 8 or size == 7) and 65 <= buf[j] <= 90 or size == 17 and buf[j] | 32 == 120)
                            and (j + 1 == hi or not CLASSES[buf[j + 1]] & 1)
                        )
                    ):
                        count = _emit(rows, count, i, CODED, j + 1, i)
                    elif (
                        size == 8
                        and j + 2 < hi
                        and buf[j] == 45
                        and 65 <= buf[j + 1] <= 90
                        and not CLASSES[buf[j + 2]] & 1
                    ):
                        count = _emit(rows, count, i, CODED, j + 2, i)
                    elif size == 6 and j + 5 <= hi and before != 46 and (buf[j] in (43, 45) or 65 <= buf[j] <= 89):
                        digits3 = CLASSES[buf[j + 1]] & CLASSES[buf[j + 2]] & CLASSES[buf[j + 3]] & 2
                        if digits3 and CLASSES[buf[j + 4]] & 1 and (j + 5 == hi or not CLASSES[buf[j + 5]] & 1):
                            count = _emit(rows, count, i, CODED, j + 5, i)
                elif 65 <= before <= 90 or 97 <= before <= 122:
                    # Letters, then digits: the run of letters has 1, 2, 4 or 6 and begins a word.
                    start = i
                    while start > lo and i - start < 7 and 65 <= (buf[start - 1] & 0xDF) <= 90:
                        start -= 1
                    letters = i - start
                    if start == lo or not CLASSES[buf[start - 1]] & 1:
                        end = i
                        if letters == 1 and size == 7 or letters == 6 and size == 2 or letters == 4 and size == 6:
                            end = j
                            while end < hi and end - start < 19 and CLASSES[buf[end]] & 1:
                                end += 1
                            if letters == 1 and end - start != 9 or letters == 6 and end - start != 16:
                                end = i
                            if letters == 4 and end - start != 18:
                                end = i
                        elif letters == 1 and size == 6 and j + 2 < hi and buf[j] == 40:  # Hong Kong: A123456(7)
                            if buf[j + 2] == 41:
                                end = j + 3
                        elif letters == 2 and (size == 6 or size == 2):
                            end = j
                            while end < hi and end - start < 14 and (CLASSES[buf[end]] & 1 or buf[end] == 32):
                                end += 1
                        if end > i:
                            count = _emit(rows, count, start, CODED, end, i)
                if not ((CLASSES[before] & 1) or before == 46):
                    # IPv4: four groups of at most three digits, so at most 15 bytes.
                    j = i
                    groups = 0
                    good = True
                    while good and groups < 4:
                        value = 0
                        n = 0
                        first = j
                        while j < hi and n < 4 and CLASSES[buf[j]] & 2:
                            value = value * 10 + (buf[j] - 48)
                            j += 1
                            n += 1
                        if n == 0 or n > 3 or value > 255 or (n > 1 and buf[first] == 48):
                            good = False
                        groups += 1
                        if good and groups < 4:
                            if j < hi and buf[j] == 46:
                                j += 1
                            else:
                                good = False
                    if good:
                        tail = j < hi and (CLASSES[buf[j]] & 1) != 0
                        dotted = j + 1 < hi and buf[j] == 46 and (CLASSES[buf[j + 1]] & 1) != 0
                        if not tail and not dotted:
                            count = _emit(rows, count, i, IPV4, j, i)
                elif i - 2 >= lo and i + 1 < hi and CLASSES[buf[i + 1]] & 2:
                    # IBAN: two letters and two digits at the start of a word; at most 2 * 34 bytes follow.
                    c0 = buf[i - 2]
                    c1 = buf[i - 1]
                    u0 = (c0 & 0xDF) - 65
                    u1 = (c1 & 0xDF) - 65
                    if 0 <= u0 < 26 and 0 <= u1 < 26 and c0 >= 65 and c1 >= 65:
                        want = iban_length[u0 * 26 + u1]
                        if want > 0 and (i - 2 == lo or not CLASSES[buf[i - 3]] & 1):
                            j = i - 2
                            have = 0
                            while j < hi and have < want:
                                c = buf[j]
                                if (CLASSES[c] & 1) and c != 95 and c != WALL:
                                    have += 1
                                    j += 1
                                elif (c == 32 or c == 45) and have >= 4 and buf[j - 1] != c:
                                    j += 1
                                else:
                                    break
                            if have == want and (j == hi or not CLASSES[buf[j]] & 1):
                                rows[count, 0] = i - 2
                                rows[count, 1] = IBAN
                                rows[count, 2] = j
                                rows[count, 3] = i
                                count += 1
            if i >= number_until:
                # A run of digits and separators; the high-water mark makes all runs together linear.
                before = buf[i - 1] if i > lo else 32
                j = i + 1
                digits = 1 if digit else 0
                separators = 0
                dots = 0
                gap = 0
                gap_dots = 0
                last = j
                while j < hi and CLASSES[buf[j]] & 32:
                    if CLASSES[buf[j]] & 2:
                        digits += 1
                        separators += gap
                        dots += gap_dots
                        gap = 0
                        gap_dots = 0
                        last = j + 1
                    else:
                        gap += 1
                        # Two spaces part the columns of a table, not the groups of a number.
                        if gap > 3 or (buf[j] == 32 and buf[j - 1] == 32):
                            break
                        if buf[j] == 46:
                            gap_dots += 1
                    j += 1
                number_until = max(last, i + 1)
                wall = last < hi and buf[last] == WALL
                inside = (CLASSES[before] & 1) or before == 46
                if digits >= MIN_PHONE_DIGITS and not inside and not wall:
                    # Plain integers, decimal fractions and dates are the bulk of all runs and are let go here, except
                    # integers of card length and integers that follow a word (a label).
                    take = not (digit and digits <= 11 and separators > 0 and dated(buf, i, last))
                    if digit and separators <= 1 and (separators == 0 or dots == 1):
                        take = False
                        if separators == 0:
                            back = i - 1
                            while back >= lo and i - back < 4 and (buf[back] == 32 or buf[back] == 35):
                                back -= 1
                            label = 32
                            if back >= lo:
                                label = buf[back]
                            low = label | 32
                            take = digits >= 12 or 97 <= low <= 122 or label == 58 or label == 46
                    if take:
                        rows[count, 0] = i
                        rows[count, 1] = NUMBER
                        rows[count, 2] = last
                        rows[count, 3] = i
                        count += 1
            i += 1
    return count


def scan(buf: np.ndarray, offsets: np.ndarray, iban_length: np.ndarray) -> np.ndarray:
    """Candidates of a batch, in order of their anchor.

    buf          [bytes] uint8       UTF-8 of all documents, placeholders overwritten with WALL
    offsets      [documents + 1] int64
    iban_length  [676] int64         characters of an IBAN by country (letters as base-26 digits), 0 = no such
                 country
    returns      [candidates, 4] int64: start, what (EMAIL...), end, anchor; bytes into buf

    Holds at most one candidate per byte in address space; pages that stay unused are never touched.
    """
    rows = np.empty((len(buf) + 8, 4), dtype=np.int64)
    # A fresh copy: the compiler would make a second version for read-only offsets.
    count = _scan(buf, np.array(offsets, dtype=np.int64), iban_length, rows)
    return rows[:count].copy()


@njit()
def _find_literals(buf, pairs, literals, lengths, order, rows):  # type: ignore[no-untyped-def]
    count = 0
    for i in range(len(buf) - 1):
        first = pairs[int(buf[i]) << 8 | int(buf[i + 1])]
        if first == 0:
            continue
        for k in range(first - 1, len(order)):
            which = order[k]
            if literals[which, 0] != buf[i] or literals[which, 1] != buf[i + 1]:
                break
            n = lengths[which]
            if i + n > len(buf):
                continue
            j = 2
            while j < n and literals[which, j] == buf[i + j]:
                j += 1
            if j == n:
                if count == len(rows):
                    return -1
                rows[count, 0] = i
                rows[count, 1] = which
                count += 1
    return count


class Literals:
    """Finds every occurrence of a fixed set of byte strings (at least two bytes each) in one pass.

    A table over the first two bytes lets ordinary text pass at about a nanosecond a byte.
    """

    def __init__(self, literals: tuple[bytes, ...]) -> None:
        width = max(map(len, literals))
        self._table = np.zeros((len(literals), width), dtype=np.uint8)
        self._lengths = np.array([len(literal) for literal in literals], dtype=np.int64)
        for row, literal in enumerate(literals):
            self._table[row, : len(literal)] = np.frombuffer(literal, dtype=np.uint8)
        order = sorted(range(len(literals)), key=lambda k: literals[k])
        self._order = np.array(order, dtype=np.int64)
        self._pairs = np.zeros(65536, dtype=np.uint16)
        for place in reversed(range(len(order))):
            head = literals[order[place]]
            self._pairs[head[0] << 8 | head[1]] = place + 1

    def __len__(self) -> int:
        return len(self._lengths)

    def find(self, buf: np.ndarray) -> np.ndarray:
        """[hits, 2] int64: byte position and index of the literal, by position.  Linear; holds only the
        hits."""
        size = 1024
        while True:
            rows = np.empty((size, 2), dtype=np.int64)
            count = _find_literals(buf, self._pairs, self._table, self._lengths, self._order, rows)
            if count >= 0:
                return rows[:count]
            size *= 8


@njit()
def code_points(buf, positions):  # type: ignore[no-untyped-def]
    """Code points that start before each byte position; positions ascending [n] int64 -> [n] int64."""
    out = np.empty(len(positions), dtype=np.int64)
    at = 0
    count = 0
    for k in range(len(positions)):
        while at < positions[k]:
            if (buf[at] & 0xC0) != 0x80:
                count += 1
            at += 1
        out[k] = count
    return out
