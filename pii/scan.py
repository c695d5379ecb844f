"""The one pass over the bytes of a batch that finds candidates; exact checks follow in `pii.annotate`.

The kernel reads UTF-8 bytes once, left to right, and dispatches on a byte class.  Every handler either looks
at a bounded number of bytes around its anchor (stated beside it) or moves a per-handler high-water mark
forward, so the scan is linear in the number of bytes whatever the text.
"""

from __future__ import annotations

import numpy as np

from quality_signals.compiled import njit

# What a candidate is; the second number of each row of `scan`.
EMAIL, NUMBER, IPV4, IPV6, IBAN, ASSIGNED = range(6)

# A placeholder of an earlier redaction is overwritten with this byte before the scan.  It counts as a word
# character, as a digit neighbour and as no part of anything, so nothing that touches a placeholder is found:
# that is what makes redaction idempotent.
WALL = 0x01

MAX_LOCAL = 64  # bytes before '@' (RFC 5321 4.5.3.1.1)
MAX_DOMAIN = 253  # bytes after '@' (RFC 1035 2.3.4, without the root's dot)
MAX_NAME = 48  # bytes looked back for the name that a value is assigned to
MAX_VALUE = 512  # bytes of an assigned value
MIN_VALUE = 8
MIN_PHONE_DIGITS = 7
MAX_IPV6 = 45  # characters of the longest textual form

_WORD, _DIGIT, _HEX, _LOCAL, _DOMAIN, _NUMERIC, _VALUE, _ANCHOR = 1, 2, 4, 8, 16, 32, 64, 128


def _classes() -> np.ndarray:
    table = np.zeros(256, dtype=np.uint8)

    def mark(flag: int, characters: bytes) -> None:
        for byte in characters:
            table[byte] |= flag

    digits = b"0123456789"
    letters = bytes(range(65, 91)) + bytes(range(97, 123))
    # Lead bytes C3..C9 with their continuation bytes: Latin letters with marks (U+00C0..U+024F), so that the
    # address of a Jürgen is taken whole; other scripts end an address, since Han text has no spaces around
    # it.
    latin = bytes(range(0xC3, 0xCA)) + bytes(range(0x80, 0xC0))
    mark(_WORD, digits + letters + b"_" + bytes([WALL]))
    mark(_DIGIT, digits)
    mark(_HEX, digits + b"abcdefABCDEF")
    mark(_LOCAL, digits + letters + b"._%+-" + latin)
    mark(_DOMAIN, digits + letters + b".-" + latin)
    mark(_NUMERIC, digits + b" -.()/")
    mark(_VALUE, digits + letters + b"_+/-.!#$%^&*~?@")
    mark(_ANCHOR, digits + b"@+(:=")
    return table


CLASSES = _classes()


@njit()
def _latin_start(buf, start, at):  # type: ignore[no-untyped-def]
    """Moves `start` right past continuation bytes whose lead byte was not taken (a cut inside a
    character)."""
    while start < at and 0x80 <= buf[start] < 0xC0:
        start += 1
    return start


@njit()
def _named_secret(buf, lo, at):  # type: ignore[no-untyped-def]
    """Whether the name that ends just before byte `at` speaks of a secret; looks back at most MAX_NAME
    bytes."""
    j = at - 1
    floor = max(lo, at - MAX_NAME)
    skipped = 0
    while j >= floor and skipped < 4 and (buf[j] == 32 or buf[j] == 34 or buf[j] == 39 or buf[j] == 93):
        j -= 1
        skipped += 1
    end = j
    while j >= floor and ((CLASSES[buf[j]] & 1) or buf[j] == 45 or buf[j] == 46) and buf[j] != WALL:
        a = buf[j] | 32
        if j + 2 <= end:
            b = buf[j + 1] | 32
            c = buf[j + 2] | 32
            if a == 107 and b == 101 and c == 121:  # key
                return True
            if a == 116 and b == 111 and c == 107:  # tok(en)
                return True
            if a == 115 and b == 101 and c == 99:  # sec(ret)
                return True
            if a == 112 and b == 97 and c == 115:  # pas(sword)
                return True
            if a == 112 and (b == 119 or b == 115) and (c == 100 or c == 119):  # pwd, psw
                return True
            if a == 99 and b == 114 and c == 101:  # cre(dential)
                return True
            if a == 97 and b == 117 and c == 116:  # aut(h)
                return True
        j -= 1
    return False


@njit()
def _scan_document(buf, lo, hi, iban_length, rows, count):  # type: ignore[no-untyped-def]
    number_until = lo
    ipv6_until = lo
    i = lo
    while i < hi:
        b = buf[i]
        if not CLASSES[b] & 128:
            i += 1
            continue
        if b == 64:  # '@': at most MAX_LOCAL bytes left and MAX_DOMAIN right
            start = i
            floor = max(lo, i - MAX_LOCAL)
            while start > floor and CLASSES[buf[start - 1]] & 8:
                start -= 1
            overlong = start > lo and start == floor and (CLASSES[buf[start - 1]] & 8) != 0
            start = _latin_start(buf, start, i)
            end = i + 1
            ceiling = min(hi, i + 1 + MAX_DOMAIN)
            dots = 0
            while end < ceiling and CLASSES[buf[end]] & 16:
                if buf[end] == 46:
                    dots += 1
                end += 1
            if start < i and dots > 0 and not overlong:
                rows[count, 0] = start
                rows[count, 1] = EMAIL
                rows[count, 2] = end
                rows[count, 3] = i
                count += 1
            i += 1
            continue
        if b == 61 or b == 58:  # '=' ':'
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
            if (
                j + 1 < hi
                and (buf[j] | 32 == 98 or buf[j] | 32 == 114)
                and (buf[j + 1] == 34 or buf[j + 1] == 39)
            ):
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
                    if _named_secret(buf, lo, i):
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
                        rows[count, 0] = i
                        rows[count, 1] = IPV4
                        rows[count, 2] = j
                        rows[count, 3] = i
                        count += 1
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
                    if gap > 3:
                        break
                    if buf[j] == 46:
                        gap_dots += 1
                j += 1
            number_until = max(last, i + 1)
            wall = last < hi and buf[last] == WALL
            inside = (CLASSES[before] & 1) or before == 46
            if digits >= MIN_PHONE_DIGITS and not inside and not wall:
                # Plain integers and decimal fractions are the bulk of all runs and are let go here, except
                # integers of card length and integers that follow a word (a label).
                take = True
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


@njit()
def _scan(buf, offsets, iban_length, rows):  # type: ignore[no-untyped-def]
    count = 0
    for d in range(len(offsets) - 1):
        count = _scan_document(buf, offsets[d], offsets[d + 1], iban_length, rows, count)
    return count


def scan(buf: np.ndarray, offsets: np.ndarray, iban_length: np.ndarray) -> np.ndarray:
    """Candidates of a batch, in order of their anchor.

    buf          [bytes] uint8       UTF-8 of all documents, placeholders overwritten with WALL
    offsets      [documents + 1] int64
    iban_length  [676] int64         characters of an IBAN by country (letters as base-26 digits), 0 = no such
                 country
    returns      [candidates, 4] int64: start, what (EMAIL...), end, anchor; bytes into buf

    Holds at most one candidate per 2 bytes in address space; pages that stay unused are never touched.
    """
    rows = np.empty((len(buf) // 2 + 8, 4), dtype=np.int64)
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
        self._pairs = np.zeros(65536, dtype=np.int64)
        for place in reversed(range(len(order))):
            head = literals[order[place]]
            self._pairs[head[0] << 8 | head[1]] = place + 1

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
