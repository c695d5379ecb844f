"""Texts of evaluation sets that stand in a text as they are, but for case (StarCoder) or case and white space
(StarCoder2); every one is compared character by character.

    starcoder   bigcode-project/bigcode-dataset @ 294e1bb, decontamination/find_substrings.py: `text.lower()` holds
                `item.lower()`
    starcoder2  arXiv:2402.19173: the same once all white space is removed on both sides

Search: a hash of all characters up to each place gives the hash of any stretch in one step.  Of every item the
window (1, 2, 4, ... 32 characters, the longest that fits) that the fewest items have is looked up at every place of
the text; where it stands, the hash of the whole item is compared, and where that is equal, the characters.  Each
item is reported once a text, at its first place.  Time: one step a place and window length, and one a place and item
that has the window there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from dedup.contamination_ngrams import text_batch
from dedup.contamination_sets import TARGET, Text
from dedup.contamination_words import lowered_to_original
from dedup.hash_tables import hash_table
from dedup.hashing import Hashes
from dedup.lower_case import lower_case
from quality_signals.codepoints import SPACE, CodePoints, class_table, equal_ranges, number_ranges
from quality_signals.compiled import njit
from quality_signals.text_batch import Ints, TextBatch

Form = Literal["lower", "compact"]
LONGEST_WINDOW = 32

_B = np.uint64(0xD6E8FEB86659FD93)
_ONE, _ZERO, _SIX, _LOW_SIX = np.uint64(1), np.uint64(0), np.uint64(6), np.uint64(63)
_SHIFT = np.uint64(32)
_SEED = np.uint64(0x9FB21C651E98DF25)


@njit(error_model="numpy")
def _compact(points, offsets, classes, kept, ends):  # type: ignore[no-untyped-def]
    out = 0
    for text in range(len(offsets) - 1):
        for i in range(offsets[text], offsets[text + 1]):
            if not classes[points[i]] & SPACE:
                kept[out] = points[i]
                out += 1
        ends[text + 1] = out
    return out


def compact(texts: TextBatch) -> tuple[CodePoints, Ints]:
    """View: `"".join(text.lower().split())` of every text, code points and offsets."""
    points, offsets = texts.view(lower_case)
    kept, ends = np.empty(len(points), np.uint32), np.zeros(len(offsets), np.int64)
    count = _compact(points, offsets, class_table(), kept, ends)
    return kept[:count], ends


VIEWS = {"lower": lower_case, "compact": compact}


@dataclasses.dataclass(frozen=True, slots=True)
class SubstringIndex:
    """The distinct texts that are looked for.

    points, offsets  their characters in the form that is compared: item i is points[offsets[i]:offsets[i + 1]]
    whole            [items] uint64, hash of the item
    window, place    [items] int64: characters of the item's window and where in the item it begins
    keys             [windows] uint64 distinct hashes of windows, ascending
    members          items whose window has key k: members[key_offsets[k]:key_offsets[k + 1]]
    slots            [power of two] int64, index of a key or -1; seen: bits as in `GramIndex`
    windows          window lengths that occur
    owners           `Text` numbers of item i: owners[owner_offsets[i]:owner_offsets[i + 1]], ascending
    empty            texts of which the form leaves nothing
    """

    form: Form
    points: CodePoints
    offsets: Ints
    whole: Hashes
    window: Ints
    place: Ints
    keys: Hashes
    members: Ints
    key_offsets: Ints
    slots: Ints
    seen: Hashes
    windows: Ints
    owners: Ints
    owner_offsets: Ints
    empty: int


@njit(error_model="numpy")
def _powers(count):  # type: ignore[no-untyped-def]
    powers = np.empty(count + 1, np.uint64)
    powers[0] = _ONE
    for i in range(count):
        powers[i + 1] = powers[i] * _B
    return powers


@njit(error_model="numpy")
def _prefix(points, start, end, prefix):  # type: ignore[no-untyped-def]
    """prefix[i] = hash of the first i characters of points[start:end], a polynomial in _B modulo 2^64."""
    state = _ZERO
    prefix[0] = state
    for i in range(start, end):
        state = state * _B + np.uint64(points[i]) + _SEED
        prefix[i - start + 1] = state


@njit(error_model="numpy")
def _key(stretch, length):  # type: ignore[no-untyped-def]
    # One multiplication: the high bits of the product depend on all of the polynomial's.
    key = (stretch + np.uint64(length)) * _SEED
    return key ^ key >> _SHIFT


@njit(error_model="numpy")
def _windows(points, offsets, powers, keys, whole):  # type: ignore[no-untyped-def]
    """keys: of all windows of all items in a row; whole [items]."""
    longest = 0
    for item in range(len(offsets) - 1):
        longest = max(longest, offsets[item + 1] - offsets[item])
    prefix = np.empty(longest + 1, np.uint64)
    at = 0
    for item in range(len(offsets) - 1):
        size = offsets[item + 1] - offsets[item]
        _prefix(points, offsets[item], offsets[item + 1], prefix)
        whole[item] = prefix[size]
        length = 1
        while 2 * length <= min(size, LONGEST_WINDOW):
            length *= 2
        for i in range(size - length + 1):
            keys[at] = _key(prefix[i + length] - prefix[i] * powers[length], length)
            at += 1


@njit(error_model="numpy")
def _choose(offsets, ids, counts, window, place, chosen):  # type: ignore[no-untyped-def]
    """Of every item the window that occurs least in all items, of equals the first."""
    at = 0
    for item in range(len(offsets) - 1):
        size = offsets[item + 1] - offsets[item]
        length = 1
        while 2 * length <= min(size, LONGEST_WINDOW):
            length *= 2
        best = 0
        for i in range(size - length + 1):
            if counts[ids[at + i]] < counts[ids[at + best]]:
                best = i
        window[item] = length
        place[item] = best
        chosen[item] = at + best
        at += size - length + 1


def build_index(texts: Sequence[Text], form: Form) -> SubstringIndex:
    """Time and memory linear in the texts (sorting apart)."""
    numbers = [i for i, text in enumerate(texts) if text.role == TARGET]
    points, offsets = text_batch([texts[i].text for i in numbers]).view(VIEWS[form])
    filled = np.flatnonzero(np.diff(offsets))
    ids, first = number_ranges(points, offsets[filled], offsets[filled + 1])
    targets = np.array(numbers, np.int64)[filled]
    order = np.argsort(ids, kind="stable")
    owner_offsets = np.zeros(len(first) + 1, np.int64)
    np.cumsum(np.bincount(ids, minlength=len(first)), out=owner_offsets[1:])
    starts, ends = offsets[filled[first]], offsets[filled[first] + 1]
    sizes = ends - starts
    own_offsets = np.zeros(len(first) + 1, np.int64)
    np.cumsum(sizes, out=own_offsets[1:])
    own = points[np.arange(int(sizes.sum())) + np.repeat(starts - own_offsets[:-1], sizes)]
    fitting = np.array([min(1 << (int(size).bit_length() - 1), LONGEST_WINDOW) for size in sizes], np.int64)
    all_keys = np.empty(int((sizes - fitting + 1).sum()), np.uint64)
    whole = np.empty(len(first), np.uint64)
    _windows(own, own_offsets, _powers(LONGEST_WINDOW), all_keys, whole)
    distinct, key_ids, counts = np.unique(all_keys, return_inverse=True, return_counts=True)
    window, place, chosen = (np.empty(len(first), np.int64) for _ in range(3))
    _choose(own_offsets, key_ids, counts, window, place, chosen)
    keys, key_of = np.unique(distinct[key_ids[chosen]] if len(first) else all_keys, return_inverse=True)
    members = np.argsort(key_of, kind="stable")
    key_offsets = np.zeros(len(keys) + 1, np.int64)
    np.cumsum(np.bincount(key_of, minlength=len(keys)), out=key_offsets[1:])
    slots, seen = hash_table(keys)
    return SubstringIndex(
        form,
        own,
        own_offsets,
        whole,
        window,
        place,
        keys,
        members,
        key_offsets,
        slots,
        seen,
        np.unique(window),
        targets[order],
        owner_offsets,
        len(numbers) - len(filled),
    )


@njit(error_model="numpy")
def _search(  # type: ignore[no-untyped-def]
    points,
    offsets,
    items,
    bounds,
    whole,
    place,
    keys,
    members,
    key_offsets,
    slots,
    seen,
    windows,
    powers,
    found,
):
    """Rows (text, item, start) of `found`; returns how many there are, also where `found` has no room."""
    mask = np.uint64(len(slots) - 1)
    bits = np.uint64(64 * len(seen) - 1)
    longest = 0
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    prefix = np.empty(longest + 1, np.uint64)
    done = np.full(len(whole), -1, np.int64)  # the last text that the item was found in
    count = 0
    for text in range(len(offsets) - 1):
        begin, size = offsets[text], offsets[text + 1] - offsets[text]
        _prefix(points, begin, offsets[text + 1], prefix)
        for length in windows:
            power = powers[length]
            for i in range(size - length + 1):
                key = _key(prefix[i + length] - prefix[i] * power, length)
                bit = key >> _SHIFT & bits
                if not seen[bit >> _SIX] >> (bit & _LOW_SIX) & _ONE:
                    continue
                slot = key & mask
                while slots[slot] >= 0 and keys[slots[slot]] != key:
                    slot = (slot + _ONE) & mask
                if slots[slot] < 0:
                    continue
                k = slots[slot]
                for member in range(key_offsets[k], key_offsets[k + 1]):
                    item = members[member]
                    start = i - place[item]
                    own = bounds[item + 1] - bounds[item]
                    if (
                        done[item] == text
                        or start < 0
                        or start + own > size
                        or prefix[start + own] - prefix[start] * powers[own] != whole[item]
                        or not equal_ranges(points, begin + start, items, bounds[item], own)
                    ):
                        continue
                    done[item] = text
                    if count < len(found):
                        found[count, 0] = text
                        found[count, 1] = item
                        found[count, 2] = start
                    count += 1
    return count


def find_substrings(texts: TextBatch, index: SubstringIndex) -> Ints:
    """Every item that stands in a text, [found, 3] int64: text, item, place of its first character in the form that
    is compared; in order of text, then place, then item."""
    points, offsets = texts.view(VIEWS[index.form])
    longest = int(np.diff(index.offsets).max(initial=LONGEST_WINDOW))
    arguments = (
        points,
        offsets,
        index.points,
        index.offsets,
        index.whole,
        index.place,
        index.keys,
        index.members,
        index.key_offsets,
        index.slots,
        index.seen,
        index.windows,
        _powers(max(longest, LONGEST_WINDOW)),
    )
    found = np.empty((1024, 3), np.int64)
    count = int(_search(*arguments, found))  # type: ignore[call-arg]
    if count > len(found):
        found = np.empty((count, 3), np.int64)
        _search(*arguments, found)  # type: ignore[call-arg]
    found = found[:count]
    return found[np.lexsort((found[:, 1], found[:, 2], found[:, 0]))]


def original_span(texts: TextBatch, index: SubstringIndex, row: Ints) -> tuple[int, int]:
    """Start and end, in code points of the text, of a row that `find_substrings` gave."""
    text, item, start = row.tolist()
    last = start + int(index.offsets[item + 1] - index.offsets[item]) - 1
    places = np.array([start, last], np.int64)
    if index.form == "compact":
        points, offsets = texts.view(lower_case)
        own = points[offsets[text] : offsets[text + 1]]
        places = np.flatnonzero(class_table()[own] & SPACE == 0)[places]
    first, end = lowered_to_original(texts, text, places).tolist()
    return first, end + 1
