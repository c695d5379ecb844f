"""Shingle sets against a plain Python definition, and their Jaccard similarity against Python's sets."""

from __future__ import annotations

import re
import sys

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dedup.jaccard import jaccard
from dedup.shingles import _TABLE_END, WORDS, shingle_sets, word_table

# Words that repeat, so that shingles are shared, among characters of every UTF-8 length.
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(["a", "B", "b", "Σας", "ΣΑΣ", "日本", "x_1", "𝔘", "é", "İ"]), st.text(max_size=4)
    ),
    max_size=40,
).map(" ".join)


def lowered(word: str) -> str:
    return "".join({"İ": "i", "ς": "σ"}.get(c, c.lower()) for c in word)


def python_shingles(text: str, n: int = WORDS) -> set[tuple[str, ...]]:
    words = [lowered(word) for word in re.findall(r"\w+", text)]
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def test_word_table_is_pythons_word_class() -> None:
    table = word_table()
    pattern = re.compile(r"\w")
    assert all(bool(table[p]) == bool(pattern.match(chr(p))) for p in range(_TABLE_END))
    assert not any(pattern.match(chr(p)) for p in range(_TABLE_END, sys.maxunicode + 1))


@settings(deadline=None)  # the first call may compile
@given(st.lists(TEXTS, max_size=6), st.integers(1, 6))
@example(["", "a", "a b c d", "a b c d e", "\x00 a\x00b"], 5)
def test_one_hash_for_each_distinct_shingle(texts: list[str], n: int) -> None:
    found = shingle_sets(pa.array(texts, pa.large_string()), n)
    assert [s.size for s in found] == [len(python_shingles(text, n)) for text in texts]
    assert all((np.diff(s.astype(object)) > 0).all() for s in found)


def mix(value: int) -> int:
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


def python_hash(shingle: tuple[str, ...]) -> int:
    """The documented formula in Python integers."""
    polynomial = 0
    for word in shingle:
        state = 0x8445D61A4E774912
        for character in word:
            state = (state ^ ord(character)) * 0x9FB21C651E98DF25 % 2**64
        polynomial = (polynomial * 0xD6E8FEB86659FD93 + mix(state)) % 2**64
    return mix(polynomial)


@settings(deadline=None)  # the first call may compile
@given(TEXTS)
def test_hashes_are_those_of_the_formula(text: str) -> None:
    (found,) = shingle_sets(pa.array([text]))
    assert found.tolist() == sorted(python_hash(shingle) for shingle in python_shingles(text))


@settings(deadline=None)  # the first call may compile
@given(TEXTS, TEXTS)
def test_jaccard_is_that_of_python_sets(left: str, right: str) -> None:
    a, b = python_shingles(left), python_shingles(right)
    expected = len(a & b) / len(a | b) if a | b else 0.0
    x, y = shingle_sets(pa.array([left, right]))
    assert jaccard(x, y) == expected == jaccard(y, x)


def test_too_short_to_shingle_has_nothing_in_common() -> None:
    short, empty = shingle_sets(pa.array(["four words are few", ""]))
    assert short.size == empty.size == 0
    assert jaccard(short, short) == 0.0


def test_slices_nulls_and_string_types_give_the_same_sets() -> None:
    texts = ["one two three four five six", None, "", "uno dos tres cuatro cinco seis"]
    whole = shingle_sets(pa.array(texts, pa.large_string()))
    sliced = shingle_sets(pa.array(["x", *texts, "y"], pa.string()).slice(1, 4))
    assert all(np.array_equal(a, b) for a, b in zip(whole, sliced, strict=True))
    assert [s.size for s in whole] == [2, 0, 0, 2]


def test_case_and_punctuation_do_not_matter_but_order_does() -> None:
    texts = ["The cat, the DOG and a bird.", "the CAT the dog (and) a bird", "bird a and dog the cat the"]
    first, second, third = shingle_sets(pa.array(texts))
    assert jaccard(first, second) == 1.0
    assert jaccard(first, third) == 0.0
