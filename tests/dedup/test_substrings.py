"""Repeated substrings: marks, ranges and cuts against plain definitions; bad texts take linear time."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.substring_anchors import MAX_MIN_BYTES, find_anchors, gram_bytes, hash_windows, multiply
from dedup.substring_spans import Ranges, code_points, cut, removed_ranges, repeated_ranges
from dedup.substring_windows import (
    ASK,
    ASKED,
    FIRST,
    LATER,
    Answers,
    Part,
    decide_classes,
    decide_windows,
    mark_repeated,
    part_memory,
    split_windows,
)

PRIME = (1 << 61) - 1
# Made by google-research/deduplicate-text-datasets @ 4e9888a: make, self-similar --length-threshold 100, collect.
GOOGLE_RANGES, GOOGLE_BYTES = 79_846, 35_411_759


def laid_out(documents: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *map(len, documents)])
    return np.frombuffer(b"".join(documents), np.uint8), offsets


def parts_of(documents: Sequence[bytes], min_bytes: int, count: int, ranks: Sequence[int] | None = None) -> list[Part]:
    """The documents in `count` parts, some of them empty where there are too few."""
    ranks = range(len(documents)) if ranks is None else ranks
    edges = np.linspace(0, len(documents), count + 1).astype(int)
    return [
        Part(*laid_out(documents[a:b]), np.array(ranks[a:b], np.uint64), min_bytes, number << 32)
        for number, (a, b) in enumerate(zip(edges, edges[1:], strict=False))
    ]


def marked(
    documents: Sequence[bytes], min_bytes: int, count: int = 1, ranks: Sequence[int] | None = None
) -> np.ndarray:
    return np.concatenate(mark_repeated(parts_of(documents, min_bytes, count, ranks)))


def plain_marks(documents: Sequence[bytes], min_bytes: int, ranks: Sequence[int] | None = None) -> np.ndarray:
    """By the definition: all windows of all documents in a dict."""
    ranks = range(len(documents)) if ranks is None else ranks
    windows = defaultdict(list)
    start = 0
    for document, rank in zip(documents, ranks, strict=True):
        for place in range(len(document) - min_bytes + 1):
            windows[document[place : place + min_bytes]].append((rank, place, start + place))
        start += len(document)
    marks = np.zeros(start, np.uint8)
    for places in windows.values():
        if len(places) > 1:
            for rank, place, at in places:
                marks[at] = FIRST if (rank, place, at) == min(places) else LATER
    return marks


def plain_cover(marks: np.ndarray, offsets: np.ndarray, min_bytes: int, wanted: int, spared: int) -> set[int]:
    """Bytes in a wanted window and in no spared one."""
    cover: tuple[set[int], set[int]] = set(), set()
    for place, mark in enumerate(marks.tolist()):
        for bits, into in zip((wanted, spared), cover, strict=True):
            if mark & bits:
                into.update(range(place, place + min_bytes))
    return cover[0] - cover[1]


def bytes_in(ranges: Ranges) -> set[int]:
    return {at for a, b in zip(ranges.starts.tolist(), ranges.ends.tolist(), strict=True) for at in range(a, b)}


few_letters = st.lists(st.sampled_from(b"ab\0\xff"), max_size=60).map(bytes)
periodic = st.builds(
    lambda unit, times, rest: unit * times + rest, st.binary(min_size=1, max_size=5), st.integers(0, 30), few_letters
)
corpora = st.lists(few_letters | periodic, max_size=9)


@settings(deadline=None, max_examples=300)
@given(corpora, st.integers(2, 14), st.sampled_from([1, 2, 7]), st.randoms(use_true_random=False))
def test_marks_are_those_of_the_definition(
    documents: list[bytes], min_bytes: int, parts: int, chance: random.Random
) -> None:
    ranks = list(range(len(documents)))
    chance.shuffle(ranks)
    expected = plain_marks(documents, min_bytes, ranks)
    assert marked(documents, min_bytes, parts, ranks).tolist() == expected.tolist()


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False), st.sampled_from([20, 40, 100]))
def test_marks_of_longer_documents_with_copied_passages(chance: random.Random, min_bytes: int) -> None:
    base = chance.randbytes(600)
    documents = []
    for _ in range(8):
        pieces = []
        for _ in range(chance.randint(0, 4)):
            start = chance.randrange(600)
            pieces += [base[start : start + chance.randint(1, 300)], chance.randbytes(chance.randint(0, 30))]
        documents.append(b"".join(pieces))
    expected = plain_marks(documents, min_bytes).tolist()
    assert marked(documents, min_bytes).tolist() == expected
    assert marked(documents, min_bytes, 3).tolist() == expected


@settings(deadline=None, max_examples=150)
@given(corpora, st.integers(2, 10))
def test_ranges_are_those_of_the_definition(documents: list[bytes], min_bytes: int) -> None:
    _, offsets = laid_out(documents)
    marks = plain_marks(documents, min_bytes)
    for ranges, expected in (
        (repeated_ranges(marks, offsets, min_bytes), plain_cover(marks, offsets, min_bytes, FIRST | LATER, 0)),
        (removed_ranges(marks, offsets, min_bytes, "none"), plain_cover(marks, offsets, min_bytes, FIRST | LATER, 0)),
        (removed_ranges(marks, offsets, min_bytes, "first"), plain_cover(marks, offsets, min_bytes, LATER, FIRST)),
    ):
        assert bytes_in(ranges) == expected
        inside = (offsets[ranges.documents] <= ranges.starts) & (ranges.ends <= offsets[ranges.documents + 1])
        assert inside.all()
        same = ranges.documents[1:] == ranges.documents[:-1]
        assert (ranges.starts[1:][same] > ranges.ends[:-1][same]).all()


def without(documents: Sequence[bytes], ranges: Ranges, offsets: np.ndarray) -> list[bytes]:
    gone = bytes_in(ranges)
    return [
        bytes(byte for at, byte in enumerate(document, int(offsets[i])) if at not in gone)
        for i, document in enumerate(documents)
    ]


@settings(deadline=None, max_examples=150)
@given(corpora, st.integers(2, 8))
def test_the_first_occurrence_of_every_repeated_window_stays_whole(documents: list[bytes], min_bytes: int) -> None:
    _, offsets = laid_out(documents)
    marks = marked(documents, min_bytes)
    left = without(documents, removed_ranges(marks, offsets, min_bytes, "first"), offsets)
    joined = b"".join(documents)
    for place in np.flatnonzero(marks).tolist():
        window = joined[place : place + min_bytes]
        assert any(window in text for text in left)


def test_keep_first_and_none_on_a_copied_passage() -> None:
    passage = b"the same words again, "
    documents = [b"A " + passage + b"1", b"B " + passage + b"22", b"C"]
    _, offsets = laid_out(documents)
    marks = marked(documents, 10, ranks=[7, 3, 1])  # the second document comes first
    assert without(documents, removed_ranges(marks, offsets, 10, "first"), offsets) == [b"A1", documents[1], b"C"]
    assert without(documents, removed_ranges(marks, offsets, 10, "none"), offsets) == [b"A1", b"B22", b"C"]
    with pytest.raises(ValueError, match="keep is 'last', allowed are first, none"):
        removed_ranges(marks, offsets, 10, "last")  # type: ignore[arg-type]


# -- cuts ---------------------------------------------------------------------------------------------------


texts = st.lists(st.text("aé語😀\n\u0301", max_size=30), min_size=1, max_size=4)


@settings(deadline=None, max_examples=200)
@given(texts, st.randoms(use_true_random=False), st.booleans())
def test_cuts_keep_whole_characters_and_lines(strings: list[str], chance: random.Random, at_lines: bool) -> None:
    documents = [s.encode() for s in strings]
    utf8, offsets = laid_out(documents)
    rows = []
    for number, document in enumerate(documents):
        edges = sorted(chance.sample(range(len(document) + 1), min(4, len(document) + 1) // 2 * 2))
        rows += [(number, a, b) for a, b in zip(edges[0::2], edges[1::2], strict=True)]
    table = np.array(rows, np.int64).reshape(-1, 3).T
    ranges = Ranges(table[0], table[1] + offsets[table[0]], table[2] + offsets[table[0]])
    made = cut(ranges, utf8, offsets, at_lines=at_lines)
    starts, ends = code_points(made, utf8, offsets)
    expected = []
    for number, a, b in rows:
        pieces = strings[number].splitlines(keepends=True) if at_lines else list(strings[number])
        at = byte = 0
        whole = []
        for piece in pieces:
            if a <= byte and byte + len(piece.encode()) <= b:
                whole += [at, at + len(piece)]
            at, byte = at + len(piece), byte + len(piece.encode())
        if whole:
            expected.append((number, min(whole), max(whole)))
    assert list(zip(made.documents.tolist(), starts.tolist(), ends.tolist(), strict=True)) == expected


# -- hashes -------------------------------------------------------------------------------------------------


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, PRIME - 1), st.integers(0, PRIME - 1))
def test_multiply(a: int, b: int) -> None:
    assert int(multiply(np.uint64(a), np.uint64(b))) == a * b % PRIME


@pytest.mark.parametrize("a", [0, 1, PRIME - 1, (1 << 31) - 1, 1 << 60])
def test_multiply_at_the_edges(a: int) -> None:
    for b in (0, 1, PRIME - 1, 1 << 31, (1 << 60) + 1):
        assert int(multiply(np.uint64(a), np.uint64(b))) == a * b % PRIME


@settings(deadline=None)
@given(st.binary(min_size=12, max_size=80), st.integers(1, 12))
def test_window_hashes_roll(text: bytes, size: int) -> None:
    utf8 = np.frombuffer(text, np.uint8)
    count = len(text) - size + 1
    rolled = hash_windows(utf8, np.array([0]), np.array([count]), size)
    single = hash_windows(utf8, np.arange(count), np.ones(count, np.int64), size)
    assert rolled.tolist() == single.tolist()
    windows = [text[i : i + size] for i in range(count)]
    assert len(set(rolled.tolist())) == len(set(windows))


@settings(deadline=None, max_examples=100)
@given(few_letters | periodic, st.integers(2, 30))
def test_an_anchor_is_the_leftmost_smallest_gram(text: bytes, min_bytes: int) -> None:
    """Which gram is smallest shows in the text itself: every window has one anchor, equal windows the same."""
    utf8, offsets = laid_out([text])
    anchors = find_anchors(utf8, offsets, np.array([0]), min_bytes)
    k = gram_bytes(min_bytes)
    of_window = {}
    for row in range(len(anchors)):
        for repeat in range(int(anchors.count[row])):
            place = int(anchors.place[row]) + repeat * int(anchors.windows[row])
            for i in range(int(anchors.windows[row])):
                of_window[place - int(anchors.before[row]) + i] = place
    assert sorted(of_window) == list(range(max(0, len(text) - min_bytes + 1)))
    inside: dict[bytes, int] = {}
    for window, place in of_window.items():
        assert window <= place <= window + min_bytes - k
        assert text.find(text[place : place + k], window) == place
        assert inside.setdefault(text[window : window + min_bytes], place - window) == place - window


# -- hard and odd input -------------------------------------------------------------------------------------


def thue_morse(length: int) -> bytes:
    return bytes(97 + (i.bit_count() & 1) for i in range(length))


def fibonacci(length: int) -> bytes:
    one, two = b"a", b"ab"
    while len(two) < length:
        one, two = two, two + one
    return two[:length]


HARD = {
    "one byte": b"a" * 3000,
    "two bytes": b"ab" * 1500,
    "sentence": b"The same sentence. " * 150,
    "fibonacci": fibonacci(3000),
    "thue-morse": thue_morse(3000),
    "runs": b"".join(b"a" * i + b"b" for i in range(75)),
    "zeros": b"\0" * 1500 + b"\xff" * 1500,
}


@pytest.mark.parametrize("name", HARD)
def test_hard_texts(name: str) -> None:
    documents = [HARD[name], HARD[name][:500], b"x" + HARD[name][7:900]]
    for parts in (1, 3):
        assert marked(documents, 100, parts).tolist() == plain_marks(documents, 100).tolist()


@pytest.mark.parametrize("documents", [[], [b""], [b"", b"short", b"short"], [b"", b"a" * 100, b"", b"a" * 100]])
def test_few_and_short_documents(documents: list[bytes]) -> None:
    assert marked(documents, 100, 2).tolist() == plain_marks(documents, 100).tolist()


def test_a_window_never_spans_two_documents() -> None:
    documents = [b"a" * 60, b"b" * 60, b"a" * 60 + b"b" * 60]
    assert not marked(documents, 100).any()
    assert marked(documents, 60).tolist() == plain_marks(documents, 60).tolist()


def test_ranks_alone_say_which_is_first() -> None:
    documents = [b"0123456789" * 12] * 3
    marks = marked(documents, 100, 3, ranks=[9, 2, 5])
    firsts = np.flatnonzero(marks == FIRST)
    assert set(firsts.tolist()) == set(range(120, 130))  # ten different windows, in the document of rank 2


def test_the_order_of_records_does_not_count() -> None:
    chance = np.random.default_rng(3)
    documents = [b"abcdefghij" * 5 + bytes([i]) + b"0123456789" * 4 for i in range(60)] + [b"abcdefghij" * 6] * 3
    part = parts_of(documents, 20, 1)[0]
    classes = part.classes()
    shuffled = chance.permutation(len(classes))
    assert decide_classes(classes[shuffled]).tolist() == decide_classes(classes)[shuffled].tolist()
    numbers = np.flatnonzero(decide_classes(classes) == ASK)
    asked, hashes = part.windows(numbers, classes[numbers])
    codes = decide_windows(asked, hashes)
    pieces = list(split_windows(asked, hashes, 7))
    assert all(len(own) <= max(7, int(heads["windows"][0])) for heads, own in pieces)
    order = chance.permutation(len(pieces))
    mixed = decide_windows(np.concatenate([pieces[i][0] for i in order]), np.concatenate([pieces[i][1] for i in order]))
    lengths = [len(own) for _, own in pieces]
    back = np.split(mixed, np.cumsum([lengths[i] for i in order])[:-1])
    assert np.concatenate([back[i] for i in np.argsort(order)]).tolist() == codes.tolist()


def test_wrong_calls() -> None:
    utf8, offsets = laid_out([b"a" * 200])
    for min_bytes in (1, 0, MAX_MIN_BYTES + 1):
        with pytest.raises(ValueError, match=f"min_bytes is {min_bytes}, allowed are 2 to 32,768"):
            Part(utf8, offsets, np.zeros(1, np.uint64), min_bytes)
    with pytest.raises(ValueError, match="2 ranks of 1 documents"):
        Part(utf8, offsets, np.zeros(2, np.uint64), 100)
    part = Part(utf8, offsets, np.zeros(1, np.uint64), 100)
    with pytest.raises(ValueError, match="0 codes, but codes up to 1 are asked for"):
        part.mark(np.zeros(200, np.uint8), Answers.coded(np.array([0]), np.zeros(0, np.uint8), np.array([0])))
    assert decide_windows(np.zeros(0, ASKED), np.zeros(0, np.uint64)).size == 0


@pytest.mark.parametrize("min_bytes", [50, MAX_MIN_BYTES])
def test_long_windows(min_bytes: int) -> None:
    base = np.random.default_rng(1).bytes(min_bytes + 20)
    utf8, offsets = laid_out([base, b"-" + base[:-3]])
    marks = mark_repeated([Part(utf8, offsets, np.arange(2, dtype=np.uint64), min_bytes)])[0]
    assert np.flatnonzero(marks).tolist() == [*range(18), *range(min_bytes + 21, min_bytes + 39)]


@pytest.mark.parametrize(
    "text", [b"a", b"ab", b"One sentence, again and again. ", bytes(range(256)) * 40], ids=["byte", "two", "line", "k"]
)
def test_time_is_linear_in_repetitive_text(text: bytes) -> None:
    def seconds(size: int) -> float:
        best = 9.0
        for _ in range(3):
            utf8, offsets = laid_out([(text * (size // len(text) + 1))[:size]])
            started = time.process_time()
            marks = mark_repeated([Part(utf8, offsets, np.zeros(1, np.uint64), 100)])
            repeated_ranges(marks[0], offsets, 100)
            best = min(best, time.process_time() - started)
        return best

    seconds(1000)
    assert seconds(4_000_000) < 7 * seconds(1_000_000) + 0.05


_MEASURED = """
import numpy as np
from dedup.substring_windows import Part, mark_repeated

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

def search(text):
    mark_repeated([Part(text, np.array([0, len(text)]), np.zeros(1, np.uint64), {min_bytes})])

search(np.zeros(1000, np.uint8))
text = np.frombuffer(np.random.default_rng(0).bytes({size}), np.uint8)
base = peak()
search(text)
print(len(text) + peak() - base)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("min_bytes", [100, 40])
def test_memory_is_what_the_formula_says(min_bytes: int) -> None:
    """Random text has as many anchors and classes as text has."""
    size = 12_000_000
    program = _MEASURED.format(min_bytes=min_bytes, size=size)
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert int(printed) <= part_memory(size, min_bytes)
    assert part_memory(size, 100) <= 7 * size


# -- golden -------------------------------------------------------------------------------------------------


def google_layout(path: Path) -> np.ndarray:
    """Documents one after another, each behind ff ff and its number, as the golden figures were made."""
    with open(path, encoding="utf-8") as file:
        documents = (json.loads(line)["text"].encode() for line in file)
        joined = b"".join(b"\xff\xff" + struct.pack("<I", i) + text for i, text in enumerate(documents))
    return np.frombuffer(joined, np.uint8)


def plain_collect(text: bytes, min_bytes: int) -> tuple[int, int]:
    """Ranges and bytes as the Rust tool counts them: sorted suffixes, neighbours compared, touching ranges joined."""
    suffixes = sorted(range(len(text)), key=lambda i: text[i:])
    found = set()
    for one, two in zip(suffixes, suffixes[1:], strict=False):
        if min(len(text) - one, len(text) - two) >= min_bytes and text[one:][:min_bytes] == text[two:][:min_bytes]:
            found |= {one, two}
    ranges: list[list[int]] = []
    for place in sorted(found):
        if ranges and place <= ranges[-1][1]:
            ranges[-1][1] = place + min_bytes
        else:
            ranges.append([place, place + min_bytes])
    return len(ranges), sum(b - a for a, b in ranges)


@settings(deadline=None, max_examples=60)
@given(few_letters | periodic, st.integers(2, 9))
def test_ranges_are_those_of_a_suffix_array(text: bytes, min_bytes: int) -> None:
    ranges = repeated_ranges(marked([text], min_bytes), np.array([0, len(text)]), min_bytes)
    assert (len(ranges), int(ranges.lengths.sum())) == plain_collect(text, min_bytes)


@pytest.mark.slow
def test_golden_ranges_of_the_benchmark_corpus() -> None:
    path = os.environ.get("GRISTMILL_CORPUS60")
    if not path or not Path(path).exists():
        pytest.skip("no corpus: set GRISTMILL_CORPUS60 to what the benchmark's build_corpus.py writes, 60 MB")
    utf8 = google_layout(Path(path))
    offsets = np.array([0, len(utf8)])
    marks = mark_repeated([Part(utf8, offsets, np.zeros(1, np.uint64), 100)])[0]
    ranges = repeated_ranges(marks, offsets, 100)
    assert (len(ranges), int(ranges.lengths.sum())) == (GOOGLE_RANGES, GOOGLE_BYTES)
