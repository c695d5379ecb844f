"""Word lists of many languages in one table, so that one kernel call looks up the words of a whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quality_signals import wordlists
from quality_signals.batches import batch_of
from quality_signals.codepoints import code_points, equal_ranges, mix
from quality_signals.compiled import njit
from quality_signals.strings import Vocabulary
from quality_signals.text_batch import SharedTexts
from quality_signals.views import U, norm_words, word_key

Ints = npt.NDArray[np.int64]


class WordTable(NamedTuple):
    """Lists of strings.  Entry 0 is none, and equal to no string.

    slots    [slots] int32: entry, 0 where free; list i probes slots[bases[i]:bases[i] + masks[i] + 1]
    bases    [lists] int64
    masks    [lists] int64
    longest  [lists] int64: characters of the longest entry
    keys     [entries] uint64 and codes [entries] int32, as `views.word_key` has them
    offsets  [entries + 1] int64: entry i is chars[offsets[i]:offsets[i + 1]]
    chars    uint32
    """

    slots: npt.NDArray[np.int32]
    bases: Ints
    masks: Ints
    longest: Ints
    keys: npt.NDArray[np.uint64]
    codes: npt.NDArray[np.int32]
    offsets: Ints
    chars: npt.NDArray[np.uint32]


@njit(error_model="numpy")
def _fill(slots, bases, masks, longest, keys, codes, offsets, chars, counts):  # type: ignore[no-untyped-def]
    """counts [lists]: entries of each list."""
    keys[0] = 0
    codes[0] = 0
    entry = np.int64(1)
    for number in range(len(bases)):
        base = U(bases[number])
        mask = U(masks[number])
        for _ in range(counts[number]):
            key, code = word_key(chars, offsets[entry], offsets[entry + 1])
            keys[entry] = key
            codes[entry] = code
            slot = mix(key) & mask
            while slots[base + slot]:
                slot = (slot + U(1)) & mask
            slots[base + slot] = entry
            entry += 1


@njit(error_model="numpy")
def in_list(table, number, key, code, points, start):  # type: ignore[no-untyped-def]
    """Whether list `number` holds the string at points[start] of this key and code."""
    slots, bases, masks, _, keys, codes, offsets, chars = table
    base = U(bases[number])
    mask = U(masks[number])
    slot = mix(key) & mask
    while True:
        entry = U(slots[base + slot])
        # One question for both usual answers, since whether a word is listed is hard to predict.
        same = (keys[entry] == key) & (codes[entry] == code)
        if same | (entry == 0):
            if code & 1 or entry == 0 or equal_ranges(chars, offsets[entry], points, start, np.int64(code >> 1)):
                return same
        slot = (slot + U(1)) & mask


def word_table(lists: Sequence[frozenset[str]]) -> WordTable:
    """`in_list` with number i looks into lists[i]."""
    entries = [entry for one in lists for entry in sorted(one)]
    counts = np.array([len(one) for one in lists], np.int64)
    capacities = np.array([1 << max(4, (8 * len(one)).bit_length()) for one in lists], np.int64)
    offsets = np.zeros(len(entries) + 2, np.int64)
    np.cumsum([len(entry) for entry in entries], out=offsets[2:])
    table = WordTable(
        np.zeros(int(capacities.sum()), np.int32),
        np.cumsum(capacities) - capacities,
        capacities - 1,
        np.array([max(map(len, one), default=0) for one in lists], np.int64),
        np.empty(len(entries) + 1, np.uint64),
        np.empty(len(entries) + 1, np.int32),
        offsets,
        code_points("".join(entries)).copy(),  # writable, as every array of code points that kernels read
    )
    _fill(*table, counts)
    return table


Phrases = tuple[frozenset[str], ...]  # lists of words joined by single spaces


class ListedPhrases(NamedTuple):
    """A list of phrases by the numbers of their words in a vocabulary.

    heads      [words known when it was made] int32: a phrase that begins with the word, -1 without; later words are in
               no phrase
    following  [phrases] int32: another phrase with the same first word, -1 without
    words      int32; phrase p is words[bounds[p]:bounds[p + 1]], bounds [phrases + 1] int64
    """

    heads: npt.NDArray[np.int32]
    following: npt.NDArray[np.int32]
    words: npt.NDArray[np.int32]
    bounds: Ints


def listed_phrases(known: Vocabulary, lists: Phrases, number: int) -> ListedPhrases:
    """Of lists[number]; to be asked for as `known.remembered(listed_phrases, ...)`.

    An entry with other white space or two spaces in a row can match no words joined by single spaces, and does not.
    """
    entries = [entry.split(" ") for entry in sorted(lists[number])]
    words = known.words.numbers_of([word for entry in entries for word in entry])
    bounds = np.zeros(len(entries) + 1, np.int64)
    np.cumsum([len(entry) for entry in entries], out=bounds[1:])
    heads = np.full(known.words.known, -1, np.int32)
    following = np.full(len(entries), -1, np.int32)
    for phrase, first in enumerate(words[bounds[:-1]].tolist()):
        following[phrase] = heads[first]
        heads[first] = phrase
    return ListedPhrases(heads, following, words, bounds)


def normalised_entries(entries: frozenset[str]) -> frozenset[str]:
    """Entries as the normalised text has them; those of nothing but punctuation are left out."""
    words = norm_words(SharedTexts(batch_of(sorted(entries))).of())
    joined = words.points.tobytes().decode("utf-32-le")
    bounds = [(int(a), int(b)) for a, b in zip(words.offsets[:-1], words.offsets[1:], strict=True) if b > a]
    return frozenset(joined[words.starts[a] : words.ends[b - 1]] for a, b in bounds)


# Languages with a stop list in RedPajama-V2 (app/src/core/quality_signals/utils/stop_words.py).
STOP_LANGUAGES = ("bg", "de", "en", "es", "fi", "fr", "it")


@lru_cache(maxsize=1)
def stop_table() -> WordTable:
    """List i is the stop list of STOP_LANGUAGES[i]."""
    return word_table([wordlists.stop_words(language) or frozenset() for language in STOP_LANGUAGES])


@lru_cache(maxsize=2)
def ldnoobw_lists(fixed: bool) -> Phrases:
    """List i is that of wordlists.LDNOOBW_LANGUAGES[i]; fixed: with normalised entries, so that those with capitals,
    punctuation or accents match too."""
    lists = [wordlists.ldnoobw(language) for language in wordlists.LDNOOBW_LANGUAGES]
    return tuple(normalised_entries(one) if fixed else one for one in lists)
