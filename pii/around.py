"""What the scan looks at around an anchor: compiled, bounded in bytes, called by `pii.scan` alone."""

from __future__ import annotations

import numpy as np

from pii.words import AFTER, BEFORE, DOMAIN, FLAGS, KEYS, MULTIPLIER, SHIFT, SLOTS, SUFFIX, UNIT
from quality_signals.compiled import njit

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
MAX_STREET = 56  # bytes from a house number to the kind of street behind it
MAX_NICK = 32  # bytes of a user name (the longest of IRC and of GitHub are 30 and 39)
MAX_LINK = 2048  # bytes of a URL

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
    mark(_ANCHOR, digits + b"@+(:=.-<")
    return table


CLASSES = _classes()


@njit()
def latin_start(buf, start, at):  # type: ignore[no-untyped-def]
    """Moves `start` right past continuation bytes whose lead byte was not taken (a cut inside a
    character)."""
    while start < at and 0x80 <= buf[start] < 0xC0:
        start += 1
    return start


@njit()
def named_secret(buf, lo, at):  # type: ignore[no-untyped-def]
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
def lookup(key):  # type: ignore[no-untyped-def]
    """Flags of a packed word, 0 where it is none of the table."""
    slot = np.int64((key * np.uint64(MULTIPLIER)) >> np.uint64(SHIFT))
    while KEYS[slot] != np.uint64(0):
        if KEYS[slot] == key:
            return FLAGS[slot]
        slot = (slot + 1) % SLOTS
    return np.uint8(0)


@njit()
def flags(buf, start, end):  # type: ignore[no-untyped-def]
    """Flags of the word [start, end), letters of ASCII in either case."""
    value = np.uint64(0)
    for j in range(start, min(end, start + 8)):
        c = buf[j]
        if 65 <= c <= 90:
            c = c | 32
        value = value << np.uint64(8) | np.uint64(c)
    return lookup(value ^ (np.uint64(end - start) << np.uint64(59)))


@njit()
def pair(buf, at, lo, hi):  # type: ignore[no-untyped-def]
    """Whether two hexadecimal digits stand at `at`."""
    return lo <= at and at + 1 < hi and (CLASSES[buf[at]] & 4) != 0 and (CLASSES[buf[at + 1]] & 4) != 0


@njit()
def mac(buf, i, lo, hi):  # type: ignore[no-untyped-def]
    """Whether the separator at i is the first of six pairs, and no seventh pair and no word touches them."""
    mark = buf[i]
    for k in range(6):
        if not pair(buf, i - 2 + 3 * k, lo, hi):
            return False
        if k < 5 and buf[i + 3 * k] != mark:
            return False
    end = i + 15
    if end < hi and ((CLASSES[buf[end]] & 1) or buf[end] == mark):
        return False
    return i - 3 < lo or not ((CLASSES[buf[i - 3]] & 1) or buf[i - 3] == mark)


@njit()
def dotted_mac(buf, i, lo, hi):  # type: ignore[no-untyped-def]
    """Whether the dot at i is the first of xxxx.xxxx.xxxx, the form of Cisco."""
    if i - 4 < lo or i + 10 > hi or buf[i + 5] != 46:
        return False
    for k in range(3):
        start = i - 4 + 5 * k
        if not (pair(buf, start, lo, hi) and pair(buf, start + 2, lo, hi)):
            return False
    if i + 10 < hi and ((CLASSES[buf[i + 10]] & 1) or buf[i + 10] == 46):
        return False
    return i - 5 < lo or not ((CLASSES[buf[i - 5]] & 1) or buf[i - 5] == 46)


@njit()
def decimal(buf, at, hi, most):  # type: ignore[no-untyped-def]
    """End of digits '.' digits at `at` with 1..most digits before the point and 3..18 behind it, or -1."""
    j = at
    while j < hi and j - at <= most and CLASSES[buf[j]] & 2:
        j += 1
    if j == at or j - at > most or j >= hi or buf[j] != 46:
        return -1
    j += 1
    point = j
    while j < hi and j - point <= 18 and CLASSES[buf[j]] & 2:
        j += 1
    if j - point < 3 or j - point > 18 or (j < hi and ((CLASSES[buf[j]] & 1) or buf[j] == 46)):
        return -1
    return j


@njit()
def figure(buf, start, end):  # type: ignore[no-untyped-def]
    """(value, digits) of the integer at `start`; what is longer than four digits has five."""
    value = 0
    j = start
    while j < end and j - start < 5 and CLASSES[buf[j]] & 2:
        value = value * 10 + (buf[j] - 48)
        j += 1
    return value, j - start


@njit()
def dated(buf, start, end):  # type: ignore[no-untyped-def]
    """Whether the run [start, end) of digits and separators is a day (2012-08-01, 1.8.2012) with at most three digits
    behind it, as an hour has, or a range of years."""
    first, n0 = figure(buf, start, end)
    a = start + n0
    if n0 == 0 or a + 1 >= end:
        return False
    if n0 == 4 and 1500 <= first <= 2099:
        j = a + 1 if buf[a] == 32 else a
        if j < end and (buf[j] == 45 or buf[j] == 47):
            j += 1
            j = j + 1 if j < end and buf[j] == 32 else j
            last, size = figure(buf, j, end)
            if size == 4 and 1500 <= last <= 2099 and j + size == end:
                return True
    between = buf[a]
    if between not in (32, 45, 46, 47):
        return False
    second, n1 = figure(buf, a + 1, end)
    b = a + 1 + n1
    if n1 == 0 or n1 > 2 or b >= end or buf[b] != between:
        return False
    third, n2 = figure(buf, b + 1, end)
    behind = 0
    for j in range(b + 1 + n2, end):
        if CLASSES[buf[j]] & 2:
            behind += 1
    if behind > 3:
        return False
    if n0 == 4 and 1900 <= first <= 2099:
        return 1 <= second <= 12 and 1 <= n2 <= 2 and 1 <= third <= 31
    if n0 > 2 or n2 != 4 or not 1900 <= third <= 2099:
        return False
    return (1 <= first <= 31 and 1 <= second <= 12) or (1 <= first <= 12 and 1 <= second <= 31)


@njit()
def gps(buf, i, hi):  # type: ignore[no-untyped-def]
    """End of two decimals with a comma, semicolon or space between, or -1.  Looks at most at 50 bytes."""
    j = decimal(buf, i, hi, 2)
    if j < 0:
        return -1
    gap = j
    while j < hi and j - gap < 3 and (buf[j] == 44 or buf[j] == 32 or buf[j] == 59 or buf[j] == 47):
        j += 1
    if j == gap:
        return -1
    if j < hi and (buf[j] == 45 or buf[j] == 43):
        j += 1
    return decimal(buf, j, hi, 3)


@njit()
def letter(c):  # type: ignore[no-untyped-def]
    return 97 <= (c | 32) <= 122 or c >= 128


@njit()
def street_after(buf, j, hi):  # type: ignore[no-untyped-def]
    """End of the first kind of street among the words that begin at j, of which the first is capital, or -1."""
    ceiling = min(hi, j + MAX_STREET)
    words = 0
    while j < ceiling and words < 6:
        start = j
        while j < ceiling and (letter(buf[j]) or CLASSES[buf[j]] & 2 or buf[j] == 39):
            j += 1
        if j == start:
            return -1
        if words > 0 and 65 <= buf[start] <= 90 and buf[start - 1] == 32 and flags(buf, start, j) & AFTER:
            return j
        words += 1
        if j < ceiling and buf[j] == 46:
            j += 1
        if j < ceiling and (buf[j] == 32 or buf[j] == 45):
            j += 1
        else:
            return -1
    return -1


@njit()
def french_street(buf, j, hi):  # type: ignore[no-untyped-def]
    """End of the word at j if it is a kind of street that comes first and a letter follows behind a space, or -1."""
    end = j
    ceiling = min(hi, j + 12)
    while end < ceiling and letter(buf[end]):
        end += 1
    if end + 1 < hi and buf[end] == 32 and letter(buf[end + 1]) and flags(buf, j, end) & BEFORE:
        return end
    return -1


@njit()
def street_before(buf, i, lo):  # type: ignore[no-untyped-def]
    """Start of the street name that the number at i belongs to, or -1; of a unit such as `Apt.`, too.

    The word before the number ends in a kind of street or is one; or one of the four words before it is a kind that
    comes first.  Looks back at most at MAX_STREET bytes.
    """
    floor = max(lo, i - MAX_STREET)
    j = i - 1
    if j > floor and buf[j] == 32 and buf[j - 1] == 44:
        j -= 1
    words = 0
    while words < 5:
        end = j
        if end > floor and buf[end - 1] == 44 and words == 0:
            end -= 1
        start = end
        while start > floor and (letter(buf[start - 1]) or buf[start - 1] == 46 or buf[start - 1] == 39):
            start -= 1
        if end - start < 2:
            if not (end - start == 1 and words > 0):
                return -1
        capital = 65 <= buf[start] <= 90 or buf[start] >= 0xC3
        found = flags(buf, start, end)
        if words == 0:
            if found & UNIT or (found & SUFFIX):
                return start
            if not capital:
                return -1
            for k in range(3, 9):
                if end - start > k + 1 and flags(buf, end - k, end) & SUFFIX:
                    return start
        elif found & BEFORE:
            return start
        elif not capital and end - start > 3:
            return -1
        if start <= floor or buf[start - 1] != 32:
            return -1
        j = start - 1
        words += 1
    return -1


@njit()
def host(buf, i, lo, hi):  # type: ignore[no-untyped-def]
    """(start, end) of the host name around the dot at i, (-1, end) if it is none that stands for itself.

    It begins with `www.` or its last label is one of the table; at most MAX_DOMAIN bytes each way.
    """
    start = i
    floor = max(lo, i - MAX_DOMAIN)
    while start > floor and (CLASSES[buf[start - 1]] & 1 or buf[start - 1] == 45) and buf[start - 1] != WALL:
        start -= 1
    end = i + 1
    ceiling = min(hi, i + MAX_DOMAIN)
    last = i
    while end < ceiling and ((CLASSES[buf[end]] & 1 and buf[end] != WALL) or buf[end] == 45 or buf[end] == 46):
        if buf[end] == 46:
            if end + 1 >= ceiling or not letter(buf[end + 1]) and not CLASSES[buf[end + 1]] & 2:
                break
            last = end
        end += 1
    if start == i:
        return -1, end
    www = i - start == 3 and buf[start] | 32 == 119 and buf[start + 1] | 32 == 119 and buf[start + 2] | 32 == 119
    if www and last > i or not www and flags(buf, last + 1, end) & DOMAIN:
        return start, end
    return -1, end


@njit()
def link_end(buf, at, hi):  # type: ignore[no-untyped-def]
    """End of a URL whose host begins at `at`: up to white space, a quote, an angle bracket or a control character."""
    ceiling = min(hi, at + MAX_LINK)
    j = at
    while j < ceiling:
        c = buf[j]
        if c <= 32 or c == 34 or c == 60 or c == 62 or c == 96 or c == 92 or c == 123 or c == 125 or c == 124:
            break
        j += 1
    while j > at and (buf[j - 1] in (46, 44, 59, 58, 33, 63, 39, 42) or buf[j - 1] == 41 or buf[j - 1] == 93):
        j -= 1
    return j
