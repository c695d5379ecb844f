"""Scoring against a brute-force computation, and the choice of held-out documents."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn import functional as F

from eval_models.data_order import CorpusError
from eval_models.proxies import MambaConfig, StarCoderConfig, build_model
from eval_models.score import (
    bits_per_byte,
    held_out_documents,
    macro,
    score_documents,
    score_rows,
)
from eval_models.vocabulary import END_OF_DOCUMENT

MODELS = [
    MambaConfig(width=16, layers=1, states=2),
    StarCoderConfig(width=16, layers=1, heads=2, positions=12),
]


def one_by_one(model: torch.nn.Module, text: np.ndarray, window: int, overlap: int) -> float:
    """Each byte predicted by a call of its own."""
    nats, start = 0.0, 0
    for i, byte in enumerate(text):
        if i == start + window:
            start = i - overlap
        before = text[max(0, start - 1) : i].tolist()
        context = before if start else [END_OF_DOCUMENT, *before]
        logits = model(torch.tensor([context]))[0, -1]
        nats -= float(F.log_softmax(logits.double(), -1)[int(byte)])
    return nats


@pytest.mark.parametrize("config", MODELS, ids=lambda c: c.family)
@pytest.mark.parametrize("overlap", [0, 3, 11])
def test_equals_predicting_byte_by_byte(config: MambaConfig | StarCoderConfig, overlap: int) -> None:
    model = build_model(config, 0)
    random = np.random.default_rng(0)
    texts = [random.integers(0, 256, n).astype(np.uint8) for n in (1, 12, 13, 5, 40, 24)]
    with torch.no_grad():
        wanted = [one_by_one(model, t, 12, overlap) for t in texts]
    got = score_documents(model, texts, window=12, overlap=overlap, batch_tokens=50)
    np.testing.assert_allclose(got, wanted, rtol=2e-5)  # float32 logits


@pytest.mark.parametrize(("window", "overlap"), [(1, 0), (5, 0), (5, 4), (8, 2)])
def test_no_target_is_counted_twice_and_none_is_missed(window: int, overlap: int) -> None:
    lengths = [1, 4, 5, 6, 30, 31]
    counts = [np.zeros(n, int) for n in lengths]
    for document, start, target, end in score_rows(lengths, window, overlap):
        assert end - start <= window and start <= target
        assert start == 0 or target - start == overlap
        counts[document][target:end] += 1
    assert all((c == 1).all() for c in counts)
    with pytest.raises(ValueError, match="overlap 5"):
        score_rows([3], 5, 5)


def test_bits_per_byte_and_macro() -> None:
    nats = np.array([2.0, 4.0, 9.0]) * math.log(2)
    slices = bits_per_byte(nats, np.array([1, 2, 3]), ["web", "web", "code"])
    assert slices == pytest.approx({"code": 3.0, "web": 2.0})
    assert macro(slices) == pytest.approx(2.5)


def write_held_out(folder: Path, rows: list[tuple[str, str, str]], extra: str = "") -> Path:
    (folder / "data").mkdir(parents=True)
    names = ("doc_id", "source", "text")
    columns = {n: pa.array([r[i] for r in rows], pa.large_string()) for i, n in enumerate(names)}
    columns |= {n: columns["source"] for n in ("kind", "language", "programming_language", "cluster")}
    columns = {n: c if n == "text" else c.cast(pa.string()) for n, c in columns.items()}
    pq.write_table(pa.table(columns), folder / "data" / "held_out-00000-of-00001.parquet")
    return folder


def test_held_out_documents_are_chosen_by_hash(tmp_path: Path) -> None:
    rows = [(f"d{i}", "web" if i % 3 else "code", chr(97 + i % 26) * (10 + 7 * i)) for i in range(60)]
    rows.append(("empty", "web", ""))
    chosen = held_out_documents(write_held_out(tmp_path / "a", rows), 1000, 100)
    again = held_out_documents(write_held_out(tmp_path / "b", rows[::-1]), 1000, 100)
    assert chosen.table.equals(again.table)
    assert all(np.array_equal(a, b) for a, b in zip(chosen.texts, again.texts, strict=True))
    sizes = chosen.table["bytes"].to_numpy()
    sources = np.array(chosen.table["source"].to_pylist())
    assert sizes.max() == 100 and sizes.min() > 0
    for source in ("web", "code"):
        assert 1000 <= sizes[sources == source].sum() < 1100
    texts = {d: t for d, _, t in rows}
    for doc_id, text in zip(chosen.table["doc_id"].to_pylist(), chosen.texts, strict=True):
        assert bytes(text).decode() in texts[doc_id]
    head = chosen.head(150)
    assert set(head.table["source"].to_pylist()) == {"web", "code"}
    assert head.table["doc_id"].to_pylist()[0] == chosen.table["doc_id"].to_pylist()[0]
    with pytest.raises(CorpusError, match="no held-out text"):
        held_out_documents(write_held_out(tmp_path / "c", [("e", "web", "")]), 10, 10)
