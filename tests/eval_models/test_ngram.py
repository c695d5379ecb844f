"""The n-gram gate on sources of known entropy and against counting by hand."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from eval_models.data_order import Windows, hash_documents
from eval_models.ngram import NGram, document_stream, piece_stream


def markov(length: int, order: int, seed: int) -> tuple[np.ndarray, float]:
    """Bytes from four letters where the last `order` of them decide, and the entropy rate in bits."""
    random = np.random.default_rng(seed)
    table = np.random.default_rng(7).dirichlet(np.full(4, 0.4), size=4**order)
    state, symbols, bits = 0, np.zeros(length, np.uint8), 0.0
    for i in range(length):
        symbol = int(random.choice(4, p=table[state]))
        bits -= math.log2(table[state][symbol])
        symbols[i] = 97 + symbol
        state = (4 * state + symbol) % 4**order if order else 0
    return symbols, bits / length


@pytest.mark.parametrize("order", [0, 1, 2])
def test_reaches_the_entropy_of_its_order_and_not_below(order: int) -> None:
    train, _ = markov(30_000, order, seed=0)
    test, entropy = markov(5_000, order, seed=1)
    bits = NGram(order).fit(document_stream([train], order)).bits_per_byte([test])
    assert entropy - 0.002 < bits < entropy + 0.02
    if order:
        lower = NGram(order - 1).fit(document_stream([train], order - 1)).bits_per_byte([test])
        assert lower > bits + 0.1


def by_hand(train: list[bytes], test: bytes, order: int) -> list[float]:
    counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for text in train:
        symbols = [256] * order + list(text)
        for i in range(order, len(symbols)):
            for context in range(order + 1):
                counts[tuple(symbols[i - context : i])][symbols[i]] += 1
    nats = []
    symbols = [256] * order + list(test)
    for i in range(order, len(symbols)):
        p = 1 / 256
        for context in range(order + 1):
            seen = counts.get(tuple(symbols[i - context : i]), Counter())
            total, followers = sum(seen.values()), len(seen)
            if total:
                p = (seen[symbols[i]] + followers * p) / (total + followers)
        nats.append(-math.log(p))
    return nats


@pytest.mark.parametrize("order", [0, 1, 2, 4])
def test_equals_counting_by_hand(order: int) -> None:
    train = [b"abracadabra", b"", b"a", "grüße".encode()]
    test = b"abrakadabra \xff!"
    model = NGram(order).fit(document_stream([np.frombuffer(t, np.uint8) for t in train], order))
    got = model.nats(document_stream([np.frombuffer(test, np.uint8)], order))
    np.testing.assert_allclose(got, by_hand(train, test, order), rtol=1e-12)


def test_probabilities_sum_to_one() -> None:
    model = NGram(2).fit(document_stream([np.frombuffer(b"the cat and the hat", np.uint8)], 2))
    for context in (b"th", b"zz", b"az"):
        texts = [np.array([*context, byte], np.uint8) for byte in range(256)]
        last = [model.nats(document_stream([t], 2))[-1] for t in texts]
        assert np.exp(-np.array(last)).sum() == pytest.approx(1)


def test_windows_are_counted_with_the_byte_before_them() -> None:
    text = np.frombuffer(b"xyzw", np.uint8)
    windows = Windows(
        document=np.repeat(hash_documents(["d"]), 2),
        row=np.zeros(2, np.int64),
        offset=np.array([0, 3]),
        length=np.array([3, 1], np.int32),
        key=np.zeros(2, np.uint64),
    )
    pieces = np.array([[9, *text[:3]], [text[2], text[3], 9, 9]], np.uint8)
    stream = piece_stream(pieces, windows.length, windows.offset, 2)
    assert stream.tolist() == [256, 256, 120, 121, 122, 256, 122, 119]


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(ValueError, match="order 9"):
        NGram(9)
