"""Strings as numbers: equal number, equal string; and what is computed once for each."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.chunks import byte_places, chunks
from quality_signals.ngrams import (
    longer_grams,
    pair_grams,
    repeated_grams,
    start_grams,
    top_gram,
    workspace,
)
from quality_signals.strings import Division, Strings, Vocabulary
from quality_signals.text_batch import SharedTexts, TextBatch

SPACES = " \n\t\x0b\x1c\x85\u00a0\u1680\u2003\u2028\u3000"
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=60),
    st.text(st.sampled_from(SPACES + "ab\x00\u00e9\u2019\u200b\u0301\u4e2d\U0001f600"), max_size=60),
    st.lists(st.sampled_from(["word", "longer-than-eight", "\u4e2d\u6587\u5b57", *SPACES]), max_size=20).map("".join),
)


def texts_of(texts: list[str]) -> TextBatch:
    return SharedTexts(batch_of(texts)).of()


def string(strings: Strings, number: int) -> str:
    return strings.utf8[strings.bounds[number] : strings.bounds[number + 1]].tobytes().decode()


@settings(deadline=None, max_examples=200)
@given(st.lists(TEXT, max_size=5))
def test_chunks_are_the_words_of_python(texts: list[str]) -> None:
    batch = texts_of(texts)
    found = batch.view(chunks)
    strings = found.vocabulary.chunks
    expected = [text.split() for text in texts]
    assert [string(strings, number) for number in found.ids.tolist()] == sum(expected, [])
    assert np.diff(found.offsets).tolist() == [len(words) for words in expected]
    spans = zip(found.starts.tolist(), found.ends.tolist(), strict=True)
    assert [batch.points[a:b].tobytes().decode("utf-32-le") for a, b in spans] == sum(expected, [])
    places = batch.view(byte_places)
    assert np.diff(places.newlines_before).tolist() == [text.count("\n") for text in texts]
    before = [len(text[:at].split()) for text in texts for at, c in enumerate(text) if c == "\n"]
    firsts = np.repeat(found.offsets[:-1], np.diff(places.newlines_before))
    assert (places.newline_chunks - firsts).tolist() == before


@settings(deadline=None, max_examples=100)
@given(st.lists(st.text(st.sampled_from("ab\x00\u00e9\u4e2d"), max_size=20), max_size=60))
def test_numbers_are_equal_where_strings_are(words: list[str]) -> None:
    strings = Vocabulary().words
    numbers = strings.numbers_of(words).tolist()
    assert [string(strings, number) for number in numbers] == words
    assert strings.known == len(set(words))
    assert [strings.lengths[number] for number in numbers] == [len(word) for word in words]
    assert strings.numbers_of(words).tolist() == numbers


def test_a_table_that_grows_keeps_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quality_signals.strings._FEWEST", 1)  # so that it grows several times
    words = [f"word number {i}" if i % 2 else str(i) for i in range(30_000)]
    strings = Vocabulary().words
    assert strings.numbers_of(words).tolist() == list(range(30_000))
    assert strings.numbers_of(words[::-1]).tolist() == list(range(30_000))[::-1]


def test_strings_of_equal_hashes_are_compared() -> None:
    """Sixteen bytes are two steps of the hash; whatever the first are, the second can lead to the same."""
    odd, bits = 0x9E3779B97F4A7C15, (1 << 64) - 1

    def first(head: bytes) -> int:
        h = (16 ^ int.from_bytes(head, "little")) * odd & bits
        return h ^ h >> 32

    one = b"abcdefghijklmnop"
    head = b"ABCDEFGH"
    tail = (int.from_bytes(one[8:], "little") ^ first(one[:8]) ^ first(head)).to_bytes(8, "little")
    other = head + tail
    utf8 = np.frombuffer(one + other + one + b" " * 8, np.uint8)
    strings = Vocabulary().words
    numbers = strings.numbers(utf8, np.array([0, 16, 32]), np.array([16, 32, 48]))
    assert strings._keys[0] == strings._keys[1]
    assert numbers.tolist() == [0, 1, 0]


def test_facts_are_computed_once() -> None:
    asked: list[list[str]] = []

    def lengths(texts: TextBatch, more: int) -> np.ndarray:
        asked.append(texts.strings)
        return np.array([[len(text) + more] for text in texts.strings]).reshape(-1, 1)

    strings = Vocabulary().words
    first = strings.numbers_of(["a", "bcd", "a"])
    assert strings.facts(lengths, 1)[first].ravel().tolist() == [2, 4, 2]
    second = strings.numbers_of(["ef", "a"])
    assert strings.facts(lengths, 1)[second].ravel().tolist() == [3, 2]
    assert asked == [["a", "bcd"], ["ef"]]
    assert strings.facts(lengths, 2)[first].ravel().tolist() == [3, 5, 3]


def test_divisions_may_leave_nothing() -> None:
    def letters(texts: TextBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        spans = [(at, at + 1) for at, c in enumerate(texts.points.tolist()) if chr(c).isalpha()]
        starts, ends = (np.array([span[k] for span in spans], np.int64) for k in (0, 1))
        return texts.points, starts, ends, np.searchsorted(starts, texts.offsets)

    batch = texts_of(["ab - c", "", "-", "d- -e"])
    found = batch.view(chunks)
    division = Division(found.vocabulary, letters)
    for _ in range(2):
        ids, first = division.words(found.ids, found.offsets)
        assert [string(found.vocabulary.words, number) for number in ids.tolist()] == list("abcde")
        assert first.tolist() == [0, 3, 3, 3, 5]


def test_threads_number_alike() -> None:
    strings = Vocabulary().words
    words = [[f"word{i * t % 977}" for i in range(4_000)] for t in range(1, 5)]
    found: dict[int, list[int]] = {}

    def run(number: int) -> None:
        for _ in range(3):
            found[number] = strings.numbers_of(words[number]).tolist()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        assert [string(strings, each) for each in found[number]] == words[number]


def plain_grams(words: list[int], n: int) -> dict[tuple[int, ...], list[int]]:
    places: dict[tuple[int, ...], list[int]] = {}
    for i in range(len(words) - n + 1):
        places.setdefault(tuple(words[i : i + n]), []).append(i)
    return places


@settings(deadline=None, max_examples=300)
@given(st.lists(st.lists(st.integers(0, 4), max_size=40), min_size=1, max_size=4), st.booleans())
def test_repeated_grams_are_the_plain_ones(texts: list[list[int]], counted: bool) -> None:
    ids = np.array(sum(texts, []), np.int32)
    work = workspace(max(map(len, texts)), 5)
    low = 0
    for words in texts:
        left = 0
        if counted:
            distinct = start_grams(ids, low, low + len(words), work)
            assert distinct == len(set(words))
        for n in range(2, 11):
            if n > 2:
                left, distinct = longer_grams(left, work)
            else:
                left, distinct = pair_grams(ids, low, low + len(words), work)
            grams = plain_grams(words, n)
            first, most = top_gram(distinct, work)
            best = max(grams.values(), key=len, default=[0])
            assert (first, most) == ((best[0], len(best)) if len(best) > 1 else (0, 1))
            left = repeated_grams(left, work)
            again = sorted(i for places in grams.values() if len(places) > 1 for i in places)
            assert work.at[:left].tolist() == again
            if left < 2:
                break
        low += len(words)


@pytest.mark.parametrize("unit", ["a", "a ", "\u0301", "\n", "\u3000", "longer-than-eight ", "\u4e2d\u6587 "])
def test_time_is_linear(unit: str) -> None:
    def seconds(repeats: int) -> float:
        batch = texts_of([unit * repeats])
        start = time.process_time()
        batch.view(chunks)
        return time.process_time() - start

    seconds(10)
    small, large = (min(seconds(size) for _ in range(3)) for size in (50_000, 200_000))
    assert large < 6 * max(small, 0.02)
