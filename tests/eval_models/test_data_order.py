"""What a run sees: the pairing of variants, the cutting and packing of documents, fill-in-the-middle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_models import data_order
from eval_models.data_order import (
    CorpusError,
    TrainingData,
    Windows,
    fill_in_the_middle,
    hash_documents,
    pack_rows,
    select_windows,
    training_data,
)
from eval_models.vocabulary import END_OF_DOCUMENT, FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX, IGNORED

Document = tuple[str, str, str]  # doc_id, source, text


def documents(count: int, source: str = "code", seed: int = 0, longest: int = 400) -> list[Document]:
    """Texts of different lengths whose bytes tell the document and the place."""
    random = np.random.default_rng(seed)
    found = []
    for i in range(count):
        length = int(random.integers(1, longest))
        text = "".join(chr(97 + int(c)) for c in random.integers(0, 26, length))
        found.append((f"{source}{i:04d}", source, text))
    return found


def write_corpus(folder: Path, train: list[Document], files: int = 1) -> Path:
    data = folder / "data"
    data.mkdir(parents=True)
    for i in range(files):
        part = train[i::files]
        columns = {
            "doc_id": pa.array([d for d, _, _ in part], pa.string()),
            "source": pa.array([s for _, s, _ in part], pa.string()),
            "kind": pa.array([s for _, s, _ in part], pa.string()),
            "text": pa.array([t for _, _, t in part], pa.large_string()),
        }
        pq.write_table(pa.table(columns), data / f"train-{i:05d}-of-{files:05d}.parquet", row_group_size=7)
    return folder


def order_of(data: TrainingData) -> list[tuple[int, int]]:
    return list(zip(data.windows.document.tolist(), data.windows.offset.tolist(), strict=True))


def test_variants_share_the_order_of_the_documents_they_share(tmp_path: Path) -> None:
    every = documents(60)
    fewer = [d for i, d in enumerate(every) if i % 5]
    edited = [(d, s, t.upper()) if i % 3 == 0 else (d, s, t) for i, (d, s, t) in enumerate(every)]
    kept = set(hash_documents([d for d, _, _ in fewer]).tolist())
    budget = {"window": 32, "budget_bytes": 3000, "seed": 1}
    full = training_data(write_corpus(tmp_path / "full", every), **budget)
    part = training_data(write_corpus(tmp_path / "part", fewer), **budget)
    same_places = training_data(write_corpus(tmp_path / "edited", edited), **budget)
    shared = [place for place in order_of(full) if place[0] in kept]
    assert order_of(part)[: len(shared)] == shared
    assert len(order_of(part)) > len(shared)  # the gap is closed by the next windows
    assert order_of(same_places) == order_of(full)
    assert same_places.inputs.shape == full.inputs.shape
    assert (same_places.inputs != full.inputs).any()


def test_the_order_does_not_depend_on_shards_and_differs_between_seeds(tmp_path: Path) -> None:
    every = documents(40)
    one = training_data(write_corpus(tmp_path / "one", every), window=32, budget_bytes=2000, seed=0)
    files = write_corpus(tmp_path / "three", every[::-1], files=3)
    three = training_data(files, window=32, budget_bytes=2000, seed=0)
    assert np.array_equal(one.inputs, three.inputs) and np.array_equal(one.targets, three.targets)
    other = training_data(files, window=32, budget_bytes=2000, seed=1)
    assert order_of(other) != order_of(one)


def test_pruning_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [write_corpus(tmp_path / "c", documents(300)) / "data" / "train-00000-of-00001.parquet"]
    wanted, _ = select_windows(files, 16, 500, 3)
    monkeypatch.setattr(data_order, "_BATCH_DOCUMENTS", 5)
    monkeypatch.setattr(data_order, "_PRUNE_SLACK_BYTES", 0)
    got, _ = select_windows(files, 16, 500, 3)
    assert np.array_equal(got.key, wanted.key)


def test_the_budget_is_met_to_within_a_window_and_epochs_are_new_orders(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", documents(20, longest=100))
    total = sum(len(t) for _, _, t in documents(20, longest=100))
    data = training_data(corpus, window=16, budget_bytes=2 * total + 50, seed=0)
    assert 0 <= data.bytes_seen - (2 * total + 50) < 16
    assert data.unique_bytes == total
    assert data.epochs["all"] == pytest.approx(data.bytes_seen / total)
    places = order_of(data)
    once = len(set(places))
    assert set(places[:once]) == set(places[once : 2 * once])
    assert places[:once] != places[once : 2 * once]


def test_a_mix_gives_each_share_its_bytes_at_every_moment(tmp_path: Path) -> None:
    train = documents(200, "code") + documents(20, "web", seed=1)
    corpus = write_corpus(tmp_path / "c", train)
    data = training_data(corpus, window=32, budget_bytes=8000, seed=0, mix={"web": 3, "code": 1, "prose": 0})
    web = set(hash_documents([d for d, s, _ in train if s == "web"]).tolist())
    sizes = data.windows.length
    is_web = np.array([d in web for d in data.windows.document.tolist()])
    shares = np.cumsum(sizes * is_web) / np.cumsum(sizes)
    assert np.abs(shares[len(shares) // 4 :] - 0.75).max() < 0.02
    assert data.epochs["web"] > 1 > data.epochs["code"]
    with pytest.raises(CorpusError, match=r"\['prose'\].*'code', 'web'"):
        training_data(corpus, window=32, budget_bytes=8000, seed=0, mix={"web": 1, "prose": 1})


def test_dropping_code_leaves_the_web_part_of_a_mix_alone(tmp_path: Path) -> None:
    code, web = documents(100, "code"), documents(100, "web", seed=1)
    web_ids = set(hash_documents([d for d, _, _ in web]).tolist())
    mix = {"web": 0.5, "code": 0.5}
    orders = []
    for name, train in (("a", code + web), ("b", code[::2] + web)):
        data = training_data(write_corpus(tmp_path / name, train), window=32, budget_bytes=4000, seed=0, mix=mix)
        orders.append([place for place in order_of(data) if place[0] in web_ids])
    assert orders[0] == orders[1]


def read_back(inputs: np.ndarray, targets: np.ndarray) -> list[list[int]]:
    """The predicted symbols of each row, split at end-of-document."""
    pieces: list[list[int]] = []
    for row in targets:
        pieces.append([])
        for symbol in row[row != IGNORED]:
            if symbol == END_OF_DOCUMENT:
                pieces.append([])
            else:
                pieces[-1].append(int(symbol))
    return [p for p in pieces if p]


@pytest.mark.parametrize("window", [8, 32])
def test_every_byte_is_a_target_once_with_the_right_context(tmp_path: Path, window: int) -> None:
    every = documents(50, longest=90)
    total = sum(len(t) for _, _, t in every)
    data = training_data(write_corpus(tmp_path / "c", every), window=window, budget_bytes=total, seed=0)
    assert data.bytes_seen == total
    expected = sorted(list(t[i : i + window].encode()) for _, _, t in every for i in range(0, len(t), window))
    assert sorted(read_back(data.inputs, data.targets)) == expected
    texts = {int(h): t.encode() for h, (_, _, t) in zip(hash_documents([d[0] for d in every]), every, strict=True)}
    bigrams = {(END_OF_DOCUMENT, t[0]) for t in texts.values()}
    bigrams |= {pair for t in texts.values() for pair in zip(t, t[1:], strict=False)}
    ends = {(t[-1], END_OF_DOCUMENT) for t in texts.values()}
    counted = data.targets != IGNORED
    seen = set(zip(data.inputs[counted].tolist(), data.targets[counted].tolist(), strict=True))
    assert seen <= bigrams | ends  # no byte is predicted from another document


def test_short_documents_share_rows_and_fall_into_step_again(tmp_path: Path) -> None:
    every = documents(600, longest=30)
    full = training_data(write_corpus(tmp_path / "a", every), window=64, budget_bytes=10**4, seed=0)
    assert (full.targets != IGNORED).mean() > 0.75
    assert len(full.inputs) < len(full.windows.row) / 2
    part = training_data(write_corpus(tmp_path / "b", every[1:]), window=64, budget_bytes=10**4, seed=0)
    rows = {row.tobytes() for row in full.inputs}
    assert np.mean([row.tobytes() in rows for row in part.inputs]) > 0.85


def undo(tokens: list[int]) -> bytes:
    """The text of a permuted piece, from either form."""
    suffix_at, middle_at = tokens.index(FIM_SUFFIX), tokens.index(FIM_MIDDLE)
    assert tokens[0] == FIM_PREFIX and suffix_at < middle_at
    prefix, suffix = tokens[1:suffix_at], tokens[suffix_at + 1 : middle_at]
    return bytes(prefix) + bytes(tokens[middle_at + 1 :]) + bytes(suffix)


@settings(max_examples=60, deadline=None)
@given(text=st.text(min_size=1, max_size=60), key=st.integers(0, 2**64 - 1), room=st.integers(-4, 10))
def test_fill_in_the_middle_can_be_undone(text: str, key: int, room: int) -> None:
    piece = np.frombuffer(text.encode(), np.uint8)
    room += len(piece)
    tokens = fill_in_the_middle(piece, key, 1.0, room)
    if tokens is None:
        assert room < len(piece) + 3
        return
    assert len(tokens) == min(room, len(piece) + 3)
    undone = undo(tokens.tolist())
    assert text.encode().startswith(undone) and len(undone) == len(tokens) - 3
    cut = tokens[tokens < 256].astype(np.uint8)
    assert sorted(cut.tolist()) == sorted(undone)


def test_fill_in_the_middle_is_a_function_of_the_window(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", documents(400))
    arguments = {"window": 32, "budget_bytes": 30_000, "seed": 0, "fim_rate": 0.5}
    first, again = (training_data(corpus, **arguments) for _ in range(2))
    assert np.array_equal(first.inputs, again.inputs)
    full = first.windows.length == 32
    permuted = [
        fill_in_the_middle(piece[1:], int(key), 0.5, 32) is not None
        for piece, key in zip(first.pieces[full], first.windows.key[full], strict=True)
    ]
    assert 0.35 < np.mean(permuted) < 0.5  # half, less those whose suffix is too short for the marks
    rows = first.targets[(first.targets == FIM_MIDDLE).sum(1) == 1]
    forms = [np.flatnonzero(r == FIM_SUFFIX)[0] - np.flatnonzero(r == FIM_PREFIX)[0] == 1 for r in rows]
    assert 0.4 < np.mean(forms) < 0.65  # half are SPM; a PSM whose prefix is empty looks like one
    plain = training_data(corpus, **{**arguments, "fim_rate": 0.0})
    assert order_of(plain) == order_of(first)


def test_a_piece_that_is_not_permuted_keeps_its_context() -> None:
    windows = Windows(
        document=np.array([1, 2], np.uint64),
        row=np.array([0, 1]),
        offset=np.array([4, 4]),
        length=np.array([2, 1], np.int32),
        key=np.array([32, 7], np.uint64),
    )
    pieces = np.array([[1, 2, 3, 0, 0, 0, 0, 0, 0], [4, 5, 0, 0, 0, 0, 0, 0, 0]], np.uint8)
    inputs, targets = pack_rows(windows, pieces, 8, 0.0)
    assert inputs[0, :6].tolist() == [1, 2, 3, END_OF_DOCUMENT, 4, 5]
    assert targets[0].tolist() == [2, 3, END_OF_DOCUMENT, IGNORED, 5, END_OF_DOCUMENT, IGNORED, IGNORED]


def test_a_corpus_without_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no train-"):
        training_data(tmp_path, window=8, budget_bytes=10, seed=0)
    corpus = write_corpus(tmp_path / "c", [("a", "web", "")])
    with pytest.raises(CorpusError, match="no training text"):
        training_data(corpus, window=8, budget_bytes=10, seed=0)
