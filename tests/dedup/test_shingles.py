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
    st.one_of(st.sampled_from(["a", "B", "b", "Σας", "ΣΑΣ", "日本", "x_1", "𝔘", "é", "İ"]), st.text(max_size=4)),
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


def polynomial(parts: list[int]) -> int:
    state = 0
    for part in parts:
        state = (state * 0xD6E8FEB86659FD93 + part) % 2**64
    return mix(state)


def character_hashes(text: str, n: int) -> set[int]:
    letters = " ".join("".join(lowered(c) if re.match(r"\w", c) else c for c in text).split())
    return {polynomial([mix(ord(c) + 1) for c in letters[i : i + n]]) for i in range(len(letters) - n + 1)}


def code_hashes(text: str, n: int) -> set[int]:
    tokens = []
    for token in re.findall(r"\w+|[^\w\s]", text):
        state = 0x8445D61A4E774912
        for character in token:
            state = (state ^ ord(character)) * 0x9FB21C651E98DF25 % 2**64
        tokens.append(mix(state))
    return {polynomial(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}


def dna_hashes(text: str, n: int, canonical: bool) -> set[int]:
    runs = re.split(r"[^ACGT]", re.sub(r"[ \t\n\v\f\r]", "", re.sub(r"(?m)^>.*$", "N", text)).upper().replace("U", "T"))
    found = set()
    for run in runs:
        for i in range(len(run) - n + 1):
            both = [run[i : i + n], run[i : i + n][::-1].translate(str.maketrans("ACGT", "TGCA"))]
            digits = [int("".join(str("ACGT".index(base)) for base in word), 4) for word in both]
            found.add(mix(min(digits) + 1 if canonical else digits[0] + 1))
    return found


CODE = st.lists(st.sampled_from(["a", "B1", "_x", "==", "(", "\t", "\n", " ", "é", "中", "\U0001f600", "\x00", "\x85"]))
# U+0130 and the sigmas are one character each here, and no line break but \n.
LETTERS = st.lists(st.sampled_from("aB cİΣς\n\t\x85.\u0301中\U0001f600\U000e0101\x00"), max_size=60).map("".join)
BASES = st.lists(st.sampled_from([*"ACGTacgtuN", "\n", ">x A\n", " ", "é"]), max_size=60).map("".join)


@settings(deadline=None, max_examples=200)
@given(st.lists(LETTERS, max_size=4), st.integers(1, 9))
def test_characters_of_the_definition(texts: list[str], n: int) -> None:
    found = shingle_sets(pa.array(texts, pa.large_string()), n, "characters")
    assert [set(s.tolist()) for s in found] == [character_hashes(text, n) for text in texts]


@settings(deadline=None, max_examples=200)
@given(st.lists(CODE.map("".join), max_size=4), st.integers(1, 5))
def test_code_of_the_definition(texts: list[str], n: int) -> None:
    found = shingle_sets(pa.array(texts, pa.large_string()), n, "code")
    assert [set(s.tolist()) for s in found] == [code_hashes(text, n) for text in texts]


@settings(deadline=None, max_examples=200)
@given(st.lists(BASES, max_size=4), st.integers(1, 8) | st.just(32), st.booleans())
@example(["ACGT" * 20], 32, True)
@example(["ACGT>ACGT\n>ACGTACGT\nAC\nGT\n\n>"], 4, False)
def test_dna_of_the_definition(texts: list[str], n: int, canonical: bool) -> None:
    found = shingle_sets(pa.array(texts, pa.large_string()), n, "dna", canonical)
    assert [set(s.tolist()) for s in found] == [dna_hashes(text, n, canonical) for text in texts]


def test_a_strand_and_its_reverse_complement_are_one() -> None:
    strand = "ACGTTGCAACCGGTTAACGATCGATTTGACCAG"
    other = strand[::-1].translate(str.maketrans("ACGT", "TGCA"))
    one, two = shingle_sets(pa.array([strand, other]), shingle="dna")
    assert jaccard(one, two) == 1.0
    one, two = shingle_sets(pa.array([strand, other]), shingle="dna", canonical=False)
    assert jaccard(one, two) == 0.0


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
