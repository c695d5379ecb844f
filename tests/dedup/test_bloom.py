"""The Bloom filter: no wrong no, the stated rate of wrong yes, equal bytes for equal sets, files that tell damage."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.bloom import BloomFileError, BloomFilter, blocked_rate, first_seen, merged, parameters, redpajama_order

KEYS = st.lists(st.integers(0, 2**64 - 1), max_size=50).map(lambda keys: np.array(keys, np.uint64))


def random_keys(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


@pytest.mark.parametrize("rate", [0.2, 0.01, 0.001, 0.0001])
def test_the_stated_rate_is_measured(rate: float) -> None:
    full = BloomFilter(400_000, rate)
    full.add(random_keys(1, 400_000))
    measured = full.contains(random_keys(2, 4_000_000)).mean()
    assert measured == pytest.approx(rate, rel=0.2)
    assert full.false_positive_rate() == pytest.approx(rate, rel=0.1)


def test_regular_keys_are_as_good_as_random_ones() -> None:
    full = BloomFilter(100_000, 0.01)
    full.add(np.arange(100_000, dtype=np.uint64))
    assert full.contains(np.arange(100_000, 1_100_000, dtype=np.uint64)).mean() == pytest.approx(0.01, rel=0.2)


def test_parameters_are_the_smallest() -> None:
    for rate in (0.1, 0.01, 0.001):
        bits, probes = parameters(rate)
        assert blocked_rate(bits, probes) <= rate
        assert all(blocked_rate(bits * 0.999, other) > rate for other in range(1, 17))
    assert parameters(0.01) == (pytest.approx(9.9, abs=0.05), 6)


@settings(deadline=None)
@given(KEYS, KEYS, st.randoms())
def test_a_set_of_keys_has_one_filter(left: np.ndarray, right: np.ndarray, rng) -> None:  # type: ignore[no-untyped-def]
    whole = BloomFilter(100, 0.01)
    keys = np.concatenate([left, right])
    whole.add(rng.sample(keys.tolist(), keys.size) if keys.size else keys)
    one, other = BloomFilter(100, 0.01), BloomFilter(100, 0.01)
    one.add(left)
    other.add(right)
    joined = merged([other, one])
    assert np.array_equal(joined.bits, whole.bits) and joined.seen == whole.seen == keys.size
    assert whole.contains(keys).all()
    first, second = io.BytesIO(), io.BytesIO()
    whole.write(first)
    joined.write(second)
    assert first.getvalue() == second.getvalue()


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), max_size=60), st.integers(1, 10))
def test_first_seen_is_a_set_that_learns(keys: list[int], size: int) -> None:
    known: set[int] = set()
    expected = [not (key in known or known.add(key)) for key in keys]  # type: ignore[func-returns-value]
    batches = [np.array(keys[i : i + size], np.uint64) for i in range(0, len(keys), size)]
    found = [bool(x) for batch in first_seen(batches, BloomFilter(1000, 1e-6)) for x in batch]
    assert found == expected


def test_digests_of_two_words() -> None:
    keys = random_keys(3, 2000).reshape(-1, 2)
    some = BloomFilter(1000, 0.001)
    some.add(keys)
    assert some.contains(keys).all()
    assert some.contains(keys[:, ::-1]).mean() < 0.01


def test_save_and_load(tmp_path: Path) -> None:
    kept = BloomFilter(5000, 0.01)
    kept.add(random_keys(4, 5000))
    path = tmp_path / "past.bloom"
    kept.save(path)
    back = BloomFilter.load(path)
    assert np.array_equal(back.bits, kept.bits) and (back.capacity, back.rate, back.seen) == (5000, 0.01, 5000)
    back.add(random_keys(5, 10))  # writable
    assert [f.name for f in tmp_path.iterdir()] == ["past.bloom"]


@pytest.mark.parametrize(
    "damage,message",
    [
        (lambda data: b"PK" + data, "is no Bloom filter"),
        (lambda data: b"", "is no Bloom filter"),
        (lambda data: data[:-8], "damaged"),
        (lambda data: data[:-1], "damaged"),
        (lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], "its checksum differs"),
        (lambda data: data.replace(b'"version": 1', b'"version": 9'), "is of version 9"),
        (lambda data: data.replace(b'"capacity"', b'"capacitY"'), "damaged"),
    ],
)
def test_damaged_files_are_named(damage, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "past.bloom"
    BloomFilter(1000, 0.01).save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BloomFileError, match=rf"past\.bloom.*{message}"):
        BloomFilter.load(path)


@pytest.mark.parametrize("capacity,rate", [(0, 0.1), (10, 0.0), (10, 1.0), (10**12, 0.0001)])
def test_wrong_parameters(capacity: int, rate: float) -> None:
    with pytest.raises(ValueError, match="allowed is|use several"):
        BloomFilter(capacity, rate)
    with pytest.raises(ValueError, match="cannot be merged"):
        BloomFilter(10, 0.1).union(BloomFilter(11, 0.1))


def test_ten_million_keys_a_second() -> None:
    keys = random_keys(6, 2_000_000)
    some = BloomFilter(keys.size, 0.01)
    some.add(keys[:10])
    some.contains(keys[:10])
    best = {"add": 1e9, "contains": 1e9}
    for _ in range(3):
        for name in best:
            started = time.process_time()
            getattr(some, name)(keys)
            best[name] = min(best[name], time.process_time() - started)
    assert max(best.values()) < keys.size / 10e6


def test_order_of_redpajama() -> None:
    shards = [("2022-05", f"{i:04d}") for i in range(10)] + [("2023-14", f"{i:04d}") for i in range(10)]
    order = redpajama_order(shards)
    assert [s for s, _ in order] == ["2023-14"] * 10 + ["2022-05"] * 10
    assert order == redpajama_order(reversed(shards)) and sorted(order) == sorted(shards)
    assert [n for _, n in order[:10]] == [n for _, n in order[10:]] != sorted(n for _, n in order[:10])
