"""SHA-1 and SHA-256 of many strings at once, against hashlib."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.dsir_digests import sha1_words, sha256_words

BOTH = pytest.mark.parametrize(
    ("kernel", "reference", "words"), [(sha1_words, hashlib.sha1, 5), (sha256_words, hashlib.sha256, 8)]
)


def digests(kernel: Callable[..., None], data: bytes, ranges: list[tuple[int, int]], words: int) -> list[bytes]:
    found = np.zeros((len(ranges), words), np.uint32)
    bounds = np.array(ranges, np.int64).reshape(-1, 2)
    kernel(np.frombuffer(data, np.uint8), bounds[:, 0].copy(), bounds[:, 1].copy(), found)
    return [row.astype(">u4").tobytes() for row in found]


@BOTH
def test_every_length_up_to_five_blocks(kernel: Any, reference: Any, words: int) -> None:
    data = np.random.default_rng(5).bytes(700)
    ranges = [(start, start + length) for length in range(300) for start in (0, 7 + length)]
    ranges += [(0, 700), (700, 700), (0, 0)]
    assert digests(kernel, data, ranges, words) == [reference(data[a:b]).digest() for a, b in ranges]


@BOTH
@settings(deadline=None, max_examples=60)
@given(data=st.binary(max_size=400), cuts=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), max_size=20))
def test_any_strings_of_any_lengths_side_by_side(
    kernel: Any, reference: Any, words: int, data: bytes, cuts: list[tuple[int, int]]
) -> None:
    ranges = [(min(a, b, len(data)), min(max(a, b), len(data))) for a, b in cuts]
    assert digests(kernel, data, ranges, words) == [reference(data[a:b]).digest() for a, b in ranges]
    assert digests(kernel, data, ranges, 1) == [reference(data[a:b]).digest()[:4] for a, b in ranges]


@BOTH
def test_a_long_string_beside_short_ones(kernel: Any, reference: Any, words: int) -> None:
    data = bytes(range(256)) * 4096
    ranges = [(0, len(data)), (0, 3), (1, len(data) - 1)]
    assert digests(kernel, data, ranges, words) == [reference(data[a:b]).digest() for a, b in ranges]


@BOTH
def test_the_published_digest(kernel: Any, reference: Any, words: int) -> None:
    # FIPS 180-4's examples of 'abc'.
    published = {5: "a9993e364706816aba3e25717850c26c9cd0d89d", 8: "ba7816bf8f01cfea414140de5dae2223"}
    assert digests(kernel, b"abc", [(0, 3)], words)[0].hex().startswith(published[words])
