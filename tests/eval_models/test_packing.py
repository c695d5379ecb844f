from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval_models.data_order import CorpusError
from eval_models.packing import (
    METADATA,
    STRATEGIES,
    PackedSamples,
    Pieces,
    best_fit,
    concatenate,
    pack,
    unpacked,
    write_memmap,
)

LENGTHS = st.lists(st.integers(0, 40), max_size=60)


def parts_of(pieces: Pieces) -> dict[int, list[tuple[int, int]]]:
    found: dict[int, list[tuple[int, int]]] = {}
    for document, start, size in zip(
        pieces.document.tolist(), pieces.start.tolist(), pieces.size.tolist(), strict=True
    ):
        found.setdefault(document, []).append((start, size))
    return found


@given(LENGTHS, st.integers(1, 17), st.sampled_from(STRATEGIES), st.booleans())
def test_every_token_is_in_exactly_one_sample(lengths: list[int], length: int, strategy: str, shuffled: bool) -> None:
    pieces = pack(lengths, length, strategy)
    if shuffled:
        pieces = pieces.ordered(np.arange(len(lengths), dtype=np.uint64))
    found = parts_of(pieces)
    assert sorted(found) == [i for i, size in enumerate(lengths) if size]
    for document, parts in found.items():
        at = 0
        for start, size in sorted(parts):
            assert start == at and size >= 1
            at += size
        assert at == lengths[document]
    filled = np.bincount(pieces.sample, pieces.size, minlength=pieces.samples)
    assert (filled >= 1).all() and (filled <= length).all()
    assert (np.diff(pieces.sample, prepend=0) >= 0).all()


@given(LENGTHS, st.integers(1, 17))
def test_concatenated_samples_are_full_but_the_last_and_in_order(lengths: list[int], length: int) -> None:
    pieces = concatenate(lengths, length)
    filled = np.bincount(pieces.sample, pieces.size, minlength=pieces.samples)
    assert (filled[:-1] == length).all()
    assert pieces.samples == -(-sum(lengths) // length)
    assert (np.diff(pieces.document) >= 0).all()


@given(LENGTHS, st.integers(1, 17))
def test_best_fit_cuts_no_document_that_fits(lengths: list[int], length: int) -> None:
    for document, parts in parts_of(best_fit(lengths, length)).items():
        whole, rest = divmod(lengths[document], length)
        assert sorted(size for _, size in parts) == sorted([length] * whole + [rest] * bool(rest))


def plain_best_fit(sizes: list[int], length: int) -> list[int]:
    """Best-fit-decreasing by looking at every bin; among equal rooms the bin that came to it last."""
    placed, rooms, since, now = [], [], [], 0
    for size in sizes:
        fitting = [(room, -since[i], i) for i, room in enumerate(rooms) if room >= size]
        if fitting:
            number = min(fitting)[2]
        else:
            number = len(rooms)
            rooms.append(length)
            since.append(0)
        rooms[number] -= size
        now += 1
        since[number] = now
        placed.append(number)
    return placed


@given(st.lists(st.integers(1, 12), max_size=50), st.integers(12, 30))
def test_best_fit_is_the_plain_one(lengths: list[int], length: int) -> None:
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    expected = dict(zip(order, plain_best_fit([lengths[i] for i in order], length), strict=True))
    pieces = best_fit(lengths, length)
    found = dict(zip(pieces.document.tolist(), pieces.sample.tolist(), strict=True))
    assert found == expected


def test_best_fit_wastes_little_on_documents_of_real_sizes() -> None:
    lengths = np.random.default_rng(0).lognormal(6.5, 1.5, 20_000).astype(int)
    pieces = best_fit(lengths, 2048)
    assert pieces.samples * 2048 < lengths.sum() * 1.001


def test_samples_are_shuffled_by_what_they_begin_with() -> None:
    pieces = best_fit([1000], 10).ordered(np.array([7], np.uint64))
    assert pieces.samples == 100
    assert not (np.diff(pieces.start) > 0).all()
    again = best_fit([1000], 10).ordered(np.array([7], np.uint64))
    assert (again.start == pieces.start).all()
    other = best_fit([1000], 10).ordered(np.array([8], np.uint64))
    assert not (other.start == pieces.start).all()


@pytest.mark.parametrize("lengths, length", [([-1], 4), ([[1]], 4), ([1], 0)])
def test_wrong_lengths_are_refused(lengths: list[int], length: int) -> None:
    with pytest.raises(ValueError, match="length"):
        concatenate(lengths, length)
    with pytest.raises(ValueError, match="allowed are concatenate, best_fit"):
        pack([1], 4, "first_fit")


# -- reading ----------------------------------------------------------------------------------------------


def write_packed(path: Path, samples: list[list[tuple[str, int, int, list[int]]]], length: int, **info: object) -> None:
    """samples: of (doc_id, epoch, start, tokens)."""
    rows = [
        {
            "tokens": [t for *_, tokens in sample for t in tokens] + [9] * (length - sum(len(p[3]) for p in sample)),
            "lengths": [len(tokens) for *_, tokens in sample],
            "doc_ids": [doc_id for doc_id, *_ in sample],
            "starts": [start for _, _, start, _ in sample],
            "epochs": [epoch for _, epoch, _, _ in sample],
            "sources": ["s"] * len(sample),
        }
        for sample in samples
    ]
    schema = pa.schema(
        [
            ("tokens", pa.list_(pa.uint16(), length)),
            ("lengths", pa.list_(pa.int32())),
            ("doc_ids", pa.list_(pa.string())),
            ("starts", pa.list_(pa.int64())),
            ("epochs", pa.list_(pa.int32())),
            ("sources", pa.list_(pa.string())),
        ],
        metadata={METADATA: json.dumps({"length": length, **info}).encode()},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=2)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    write_packed(
        tmp_path / "data" / "train-00000-of-00002.parquet",
        [[("a", 0, 0, [1, 2, 9])], [("b", 0, 0, [3, 9]), ("a", 1, 0, [1, 2])], [("a", 1, 2, [9])]],
        4,
    )
    write_packed(tmp_path / "data" / "train-00001-of-00002.parquet", [[("c", 0, 0, [5, 6, 7, 9])]], 4)
    return tmp_path


def test_samples_know_their_pieces(packed: Path) -> None:
    samples = PackedSamples(packed)
    assert len(samples) == 4 and samples.length == 4
    second = samples[1]
    assert second.tokens.tolist() == [3, 9, 1, 2] and second.tokens.dtype == np.uint16
    assert second.doc_ids == ["b", "a"] and second.epochs.tolist() == [0, 1]
    assert second.bounds.tolist() == [0, 2, 4]
    assert second.segments.tolist() == [0, 0, 1, 1]
    assert second.positions.tolist() == [0, 1, 0, 1]
    first = samples[0]
    assert first.segments.tolist() == [0, 0, 0, -1] and first.positions.tolist() == [0, 1, 2, 0]
    assert samples[-1].tokens.tolist() == [5, 6, 7, 9]
    assert [each.doc_ids[0] for each in samples[1:3]] == ["b", "a"]
    with pytest.raises(IndexError, match="sample 4 of 4"):
        samples[4]


def test_documents_come_back_whole(packed: Path) -> None:
    found = unpacked(PackedSamples(packed))
    assert {key: tokens.tolist() for key, tokens in found.items()} == {
        ("a", 0): [1, 2, 9],
        ("a", 1): [1, 2, 9],
        ("b", 0): [3, 9],
        ("c", 0): [5, 6, 7, 9],
    }
    with pytest.raises(CorpusError, match="document a, epoch 1: tokens 0 to 2"):
        unpacked([PackedSamples(packed)[2]])


def test_ranks_share_the_samples(packed: Path) -> None:
    shares = [PackedSamples(packed, rank, 3) for rank in range(3)]
    assert [len(share) for share in shares] == [2, 1, 1]
    assert [share[i].tokens.tolist() for share in shares for i in range(len(share))] == [
        [1, 2, 9, 9],
        [5, 6, 7, 9],
        [3, 9, 1, 2],
        [9, 9, 9, 9],
    ]
    again = pickle.loads(pickle.dumps(shares[0]))
    assert again[1].tokens.tolist() == [5, 6, 7, 9]
    with pytest.raises(CorpusError, match="rank is 3 of 3"):
        PackedSamples(packed, 3, 3)


def test_a_memory_map_has_the_tokens(packed: Path, tmp_path: Path) -> None:
    assert write_memmap(PackedSamples(packed), tmp_path / "tokens.npy") == (4, 4)
    mapped = np.load(tmp_path / "tokens.npy", mmap_mode="r")
    assert mapped.dtype == np.uint16 and mapped[3].tolist() == [5, 6, 7, 9]


def test_other_files_are_refused(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no Parquet file"):
        PackedSamples(tmp_path / "nothing")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "plain.parquet")
    with pytest.raises(CorpusError, match=r"plain.parquet: no packed shard"):
        PackedSamples(tmp_path / "plain.parquet")
    write_packed(packed / "data" / "train-00002-of-00003.parquet", [], 4, strategy="concatenate")
    with pytest.raises(CorpusError, match="is packed otherwise than .*strategy"):
        PackedSamples(packed)


def test_samples_go_through_a_torch_loader(packed: Path) -> None:
    torch = pytest.importorskip("torch")

    def collate(samples: list) -> object:
        return torch.from_numpy(np.stack([sample.tokens for sample in samples]).astype(np.int64))

    loader = torch.utils.data.DataLoader(PackedSamples(packed), batch_size=2, collate_fn=collate)
    assert [batch.shape for batch in loader] == [(2, 4), (2, 4)]
