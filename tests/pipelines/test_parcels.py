from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import parcels
from pipelines.parcels import Parcel, Sender, in_order, origin_of, partition_of_key

PARCELS = st.lists(st.tuples(st.integers(0, 5), st.text(max_size=3), st.binary(max_size=40)), max_size=30)


def rank(key: int, head: bytes) -> tuple[Any, ...]:
    return key, json.loads(head)


def sent(given: list[tuple[int, str, bytes]]) -> list[bytes]:
    sender = Sender()
    values = []
    for row, (key, name, body) in enumerate(given):
        values += list(sender.add(0, Parcel(key, origin_of(0, row), json.dumps(name).encode(), body)))
    return [value for _, value in [*((0, v) for _, v in values), *sender.rest()]]


@given(PARCELS, st.integers(1, 60), st.randoms())
def test_parcels_come_in_the_order_of_their_ranks(given: list, held: int, random: Any) -> None:
    values = sent(given)
    random.shuffle(values)
    found = [(p.key, json.loads(p.head), p.body) for p in in_order([*values, b""], rank, held)]
    assert found == sorted(given)


@pytest.fixture
def small_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "MAX_VALUE_BYTES", 200)
    monkeypatch.setattr(parcels, "_PIECE_BYTES", 64)
    monkeypatch.setattr(parcels, "SEND_BYTES", 500)


@pytest.mark.parametrize("held", [1, 100, 1 << 20])
def test_a_great_body_travels_in_pieces(small_values: None, held: int) -> None:
    given = [(key, "x" * key, bytes([key]) * (97 * key)) for key in range(12)]
    values = sent(given)
    assert len(values) > 20 and max(map(len, values)) <= 200
    found = [(p.key, json.loads(p.head), p.body) for p in in_order(values[::-1], rank, held)]
    assert found == sorted(given)


def test_a_lost_piece_is_an_error(small_values: None) -> None:
    values = sent([(0, "a", b"x" * 1000)])
    with pytest.raises(ValueError, match="of 16 pieces of a parcel have come"):
        list(in_order(values[1:], rank))


def test_values_are_for_one_partition() -> None:
    sender = Sender()
    for row in range(10):
        assert not list(sender.add(row % 3, Parcel(row, origin_of(0, row), b"0", b"")))
    found = dict(sender.rest())
    assert sorted(found) == [0, 1, 2]
    assert [p.key for p in in_order([found[1]], rank)] == [1, 4, 7]
    assert not list(sender.rest())


def test_a_head_is_small() -> None:
    with pytest.raises(ValueError, match="the head of a parcel has 1,048,576 bytes"):
        list(Sender().add(0, Parcel(0, 0, b"x" * (1 << 20), b"")))


@given(st.integers(0, 2**64 - 1), st.integers(0, 10))
def test_partitions_are_ranges_of_keys(key: int, bits: int) -> None:
    assert partition_of_key(key, 1 << bits) == key >> (64 - bits)
