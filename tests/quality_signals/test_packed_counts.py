"""Counts side by side in one number against plain sums."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.compiled import njit
from quality_signals.packed_counts import BIG, LANES, MOST, PackedCounts, add_to, bits_of, place_of, take_out
from quality_signals.strings import Vocabulary
from quality_signals.text_batch import SharedTexts, TextBatch


@njit(error_model="numpy")
def total(packed, big, sums):  # type: ignore[no-untyped-def]
    """Counts of all rows; the last column is of no use."""
    even = odd = np.uint64(0)
    for row in range(len(packed)):
        number = packed[row, 0]
        if bits_of(number) & np.uint64(BIG):
            for column in range(LANES - 1):
                sums[column] += big[place_of(number), column]
            number = np.uint64(0)
        even, odd = add_to(even, odd, number)
        if row % MOST == MOST - 1:
            take_out(even, odd, sums, 0)
            even = odd = np.uint64(0)
    take_out(even, odd, sums, 0)


def letters(chunks: TextBatch) -> np.ndarray:
    """Of each chunk how often "a" to "g" stand in it, and whether it begins with a capital."""
    rows = [[text.count(letter) for letter in "abcdefg"] + [text[0].isupper()] for text in chunks.strings]
    return np.array(rows, np.int32).reshape(len(chunks), LANES)


def numbered(known: Vocabulary, words: list[str]) -> np.ndarray:
    texts = SharedTexts(batch_of([" ".join(words)])).of()
    starts = np.cumsum([0, *(len(word) + 1 for word in words)])[:-1]
    return known.chunks.numbers(texts.utf8, starts, starts + np.array([len(word) for word in words], np.int64))


SHORT = st.text("abcdefgZ", min_size=1, max_size=6)
LONG = st.builds(lambda letter, times: letter * times, st.sampled_from("abg"), st.integers(250, 600))
WORD = st.one_of(SHORT, LONG)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(WORD, min_size=1, max_size=12), min_size=1, max_size=3), st.integers(1, 300))
def test_sums_are_those_of_the_counts(batches: list[list[str]], times: int) -> None:
    known = Vocabulary()
    for words in batches:  # those that are too big come in several batches, and keep their places
        ids = np.tile(numbered(known, words), times)
        packed: PackedCounts = known.remembered(PackedCounts, letters)
        rows, big = packed.of(known.chunks)
        sums = np.zeros(LANES, np.int64)
        total(rows[ids], big, sums)
        assert sums[:-1].tolist() == [times * "".join(words).count(letter) for letter in "abcdefg"]
        assert [bool(bits_of(rows[each, 0]) & 1) for each in ids[: len(words)].tolist()] == [
            word[0].isupper() and max(map(word.count, "abcdefg")) < 256 for word in words
        ]


def test_a_count_of_255_is_not_big() -> None:
    known = Vocabulary()
    ids = numbered(known, ["a" * 255, "a" * 256])
    rows, big = known.remembered(PackedCounts, letters).of(known.chunks)
    assert [int(each) >> 56 & BIG for each in rows[ids, 0].tolist()] == [0, BIG]
    assert big.tolist() == [[256, 0, 0, 0, 0, 0, 0, 0]]
