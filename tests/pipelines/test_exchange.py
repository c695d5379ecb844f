"""The exchange: both modes hand over the same values, whatever the bundles; sizes of partitions."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st

from pipelines.exchange import (
    MAX_VALUE_BYTES,
    Exchange,
    SpilledValues,
    by_kind,
    of_kind,
    packed,
    partition_count,
    partition_of,
    scattered,
    unpacked,
)

VALUES = [(i % 7, bytes([i]) * (i % 50)) for i in range(200)] + [(2**40, b"far"), (0, b"")]


def sorted_values(group: tuple[int, Iterable[bytes]]) -> tuple[int, list[bytes]]:
    return group[0], sorted(group[1])


@pytest.mark.parametrize("mode", ["memory", "files"])
@pytest.mark.parametrize("options", [[], ["--direct_runner_bundle_repeat=1"]])
def test_every_value_arrives_once_at_its_partition(mode: str, options: list[str], tmp_path: Path) -> None:
    expected = [(p, sorted(v for q, v in VALUES if q == p)) for p in {p for p, _ in VALUES}]
    with beam.Pipeline("FnApiRunner", PipelineOptions(options)) as pipeline:
        groups = (
            pipeline
            | "Values" >> beam.Create(VALUES).with_output_types(tuple[int, bytes])
            | "Exchange" >> Exchange(mode, str(tmp_path / "spill"))
            | "Sort" >> beam.Map(sorted_values)
        )
        assert_that(groups, equal_to(expected))
    assert (tmp_path / "spill").exists() == (mode == "files")


@pytest.mark.parametrize("mode", ["memory", "files"])
def test_no_value_at_all(mode: str, tmp_path: Path) -> None:
    with beam.Pipeline("FnApiRunner") as pipeline:
        groups = (
            pipeline
            | "Values" >> beam.Create([]).with_output_types(tuple[int, bytes])
            | "Exchange" >> Exchange(mode, str(tmp_path))
        )
        assert_that(groups, equal_to([]))


def test_spill_files_are_closed_at_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.exchange._SPILL_FILE_BYTES", 1000)
    with beam.Pipeline("FnApiRunner") as pipeline:
        sizes = (
            pipeline
            | "Values" >> beam.Create([(0, b"x" * 600)] * 10, reshuffle=False).with_output_types(tuple[int, bytes])
            | "Exchange" >> Exchange("files", str(tmp_path))
            | "Sizes" >> beam.MapTuple(lambda partition, values: (partition, [len(v) for v in values]))
        )
        assert_that(sizes, equal_to([(0, [600] * 10)]))
    assert sorted(file.stat().st_size for file in tmp_path.iterdir()) == [1200] * 5


def test_values_can_be_read_twice_and_a_cut_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"onetwo")
    references = [(3).to_bytes(8, "little") + n.to_bytes(8, "little") + b"a" for n in (3,)]
    values = SpilledValues(str(tmp_path), references)
    assert list(values) == list(values) == [b"two"]
    os.truncate(tmp_path / "a", 5)
    with pytest.raises(OSError, match="ends before byte 6"):
        list(values)


@pytest.mark.parametrize(
    "mode,spill_dir,message",
    [("disk", "x", "allowed are memory, files"), ("files", None, "needs a spill_dir")],
)
def test_wrong_exchange(mode: str, spill_dir: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Exchange(mode, spill_dir)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "records,workers,expected",
    [(0, 1, 4), (1, 3, 16), (6_000_000, 1, 4), (6_000_001, 1, 8), (210_000_000, 8, 256), (10**13, 1, 16_384)],
)
def test_partition_count(records: int, workers: int, expected: int) -> None:
    assert partition_count(records, workers) == expected


@given(st.integers(0, 10**12), st.integers(1, 500), st.integers(1, 10**7))
def test_partition_count_keeps_its_bounds(records: int, workers: int, per_partition: int) -> None:
    count = partition_count(records, workers, per_partition)
    assert count & (count - 1) == 0
    if count < 16_384:
        assert count >= 4 * workers and records <= count * per_partition


def test_partition_count_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="workers 0"):
        partition_count(1, 0)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1), st.integers(0, 14))
def test_partitions_are_the_high_bits(hashes: list[int], bits: int) -> None:
    found = partition_of(np.array(hashes, np.uint64), 1 << bits)
    assert found.tolist() == [h >> (64 - bits) for h in hashes]


def test_partitions_are_a_power_of_two() -> None:
    with pytest.raises(ValueError, match="not a power of two"):
        partition_of(np.zeros(1, np.uint64), 6)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2**64 - 1))), st.sampled_from([None, 3]))
def test_scattered_records_come_back(rows: list[tuple[int, int]], kind: int | None) -> None:
    partitions, records = (np.array([row[i] for row in rows], t) for i, t in ((0, np.int64), (1, np.uint64)))
    found: dict[int, list[int]] = {}
    for partition, value in scattered(partitions, records, kind):
        (payload,) = by_kind([value], (kind,)) if kind is not None else ([value],)
        found.setdefault(partition, []).extend(unpacked(payload, records.dtype).tolist())
    expected: dict[int, list[int]] = {}
    for partition, record in rows:
        expected.setdefault(partition, []).append(record)
    assert found == expected


def test_no_value_is_larger_than_4_mb() -> None:
    records = np.arange(1_500_000, dtype=np.uint64)
    values = list(packed(records, kind=1))
    assert max(map(len, values)) <= MAX_VALUE_BYTES and len(values) == 3
    (payload,) = by_kind(values, (1,))
    assert np.array_equal(unpacked(payload, records.dtype), records)


def test_kinds_meet_in_one_partition() -> None:
    left, right, none = by_kind([of_kind(0, b"a"), of_kind(1, b"b"), of_kind(0, b"")], (0, 1, 2))
    assert ([bytes(v) for v in left], [bytes(v) for v in right], none) == ([b"a", b""], [b"b"], [])
    with pytest.raises(KeyError):
        by_kind([of_kind(9, b"")], (0,))
