"""Bits per byte of documents and lines by a proxy, against score.py and byte by byte."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from eval_models.document_score import ProxyScore, byte_nats
from eval_models.proxies import MambaConfig, OptimiserConfig, Proxy, StarCoderConfig, build_model
from eval_models.score import score_documents
from eval_models.train import Evaluation, RunConfig, train_run
from quality_signals.batches import batch_of
from quality_signals.model_files import ModelFileError

RATES = OptimiserConfig(muon_learning_rate=0.03, adam_learning_rate=0.02)
PROXIES = {
    "mamba": Proxy(MambaConfig(width=16, layers=1, states=2), window=32, batch=8, optimiser=RATES),
    "starcoder": Proxy(StarCoderConfig(width=16, layers=1, heads=2, positions=32), window=32, batch=8, optimiser=RATES),
}
TEXTS = ["The mill.\n\nGrain and stone,\nübér 中文 😀.", "", "x", "\n", "grain " * 60, None, "a\r\nb\x85c\u2028d\n"]


def make_run(folder: Path, family: str) -> Path:
    data = folder / "corpus" / "data"
    data.mkdir(parents=True)
    names = ("doc_id", "source", "kind", "language", "programming_language", "cluster")
    for split, count in (("train", 12), ("held_out", 4)):
        rows = {name: [f"{split}{i}" if name in ("doc_id", "cluster") else "s" for i in range(count)] for name in names}
        text = pa.array(["the mill grinds grain and stone " * (2 + i) for i in range(count)], pa.large_string())
        table = pa.table({**{name: pa.array(rows[name], pa.string()) for name in names}, "text": text})
        pq.write_table(table, data / f"{split}-00000-of-00001.parquet")
    config = RunConfig(
        variant="full", proxy_name=family, proxy=PROXIES[family], seed=0, budget_bytes=2000, mix=None,
        evaluation=Evaluation(bytes_per_source=300, bytes_per_document=100, curve_points=1),
        corpus_manifest_sha256="0" * 64, device="cpu", threads=1, code_sha256="1" * 64,
    )  # fmt: skip
    run = folder / "run"
    train_run(folder / "corpus", run, config, keep_checkpoint=True)
    return run


@pytest.fixture(scope="module", params=sorted(PROXIES))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return make_run(tmp_path_factory.mktemp(request.param), request.param)
    finally:
        torch.set_num_threads(threads)


def test_sums_of_bytes_are_the_documents_of_score_py() -> None:
    random = np.random.default_rng(0)
    texts = [random.integers(0, 256, n).astype(np.uint8) for n in (0, 1, 11, 12, 13, 40, 100)]
    for config in (proxy.model for proxy in PROXIES.values()):
        model = build_model(config, 0)
        for overlap in (0, 3):
            each = byte_nats(model, texts, 12, overlap)
            assert [len(found) for found in each] == [len(text) for text in texts]
            wanted = score_documents(model, texts, window=12, overlap=overlap)
            np.testing.assert_allclose([found.sum() for found in each], wanted, rtol=2e-5)


def test_documents_and_lines(run: Path) -> None:
    annotator = ProxyScore(str(run))
    found = annotator.annotate(batch_of(TEXTS))
    assert found.schema.equals(annotator.schema)
    whole, lines = (found.column(i).to_pylist() for i in range(2))
    for text, bits, spans in zip(TEXTS, whole, lines, strict=True):
        if text is None:
            assert bits is None and spans is None
            continue
        parts = text.split("\n")
        assert [text[span["start"] : span["end"]] for span in spans] == parts
        sizes = [len(part.encode()) + 1 for part in parts]
        sizes[-1] -= 1
        assert [span["score"] is None for span in spans] == [size == 0 for size in sizes]
        if not text:
            assert bits is None
            continue
        total = sum(size * (span["score"] or 0) for size, span in zip(sizes, spans, strict=True))
        assert total / len(text.encode()) == pytest.approx(bits, abs=2e-6)
        assert 0 < bits < 20


def test_a_document_is_scored_alike_in_every_batch(run: Path) -> None:
    annotator = pickle.loads(pickle.dumps(ProxyScore(str(run))))
    whole = annotator.annotate(batch_of(TEXTS)).to_pylist()
    assert [annotator.annotate(batch_of([text])).to_pylist()[0] for text in TEXTS] == whole
    assert annotator.annotate(batch_of(TEXTS[::-1])).to_pylist()[::-1] == whole
    assert annotator.annotate(batch_of([])).num_rows == 0


def test_the_start_of_a_long_document(run: Path) -> None:
    short = ProxyScore(str(run), max_bytes=20).annotate(batch_of([TEXTS[0], "mill"])).to_pylist()
    assert [span["score"] is None for span in short[0]["line_bits_per_byte"]] == [False, False, True, True]
    assert short[1] == ProxyScore(str(run)).annotate(batch_of(["mill"])).to_pylist()[0]
    with pytest.raises(ValueError, match="max_bytes 0"):
        ProxyScore(str(run), max_bytes=0)


def test_what_was_learnt_costs_less(run: Path) -> None:
    learnt, noise = (
        ProxyScore(str(run)).annotate(batch_of(["the mill grinds grain and stone", "qZ#9" * 8]))[0].to_pylist()
    )
    assert learnt < noise
    assert math.isfinite(noise)


def test_what_is_missing_or_damaged_is_named(run: Path, tmp_path: Path) -> None:
    def copy(name: str, **changed: bytes) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file in ("config.yaml", "result.json", "checkpoint.pt"):
            content = changed.get(file.partition(".")[0], (run / file).read_bytes())
            if content:
                (folder / file).write_bytes(content)
        return folder

    with pytest.raises(ModelFileError, match="config.yaml is missing"):
        ProxyScore(str(tmp_path / "none"))
    with pytest.raises(ModelFileError, match="checkpoint.pt is missing; train the run again and keep"):
        ProxyScore(str(copy("unkept", checkpoint=b"")))
    with pytest.raises(ModelFileError, match="result.json is missing"):
        ProxyScore(str(copy("unfinished", result=b"")))
    with pytest.raises(ModelFileError, match="is not that of a run"):
        ProxyScore(str(copy("other", config=b"proxy: {}\n")))
    changed = (run / "config.yaml").read_bytes().replace(b"seed: 0", b"seed: 1")
    with pytest.raises(ModelFileError, match="is not the configuration"):
        ProxyScore(str(copy("changed", config=changed)))
    whole = (run / "checkpoint.pt").read_bytes()
    cut = ProxyScore(str(copy("cut", checkpoint=whole[: len(whole) // 2])))
    with pytest.raises(ModelFileError, match="checkpoint.pt cannot be read"):
        cut.annotate(batch_of(["x"]))
    other = copy("swapped")
    annotator = ProxyScore(str(other))
    (other / "checkpoint.pt").write_bytes(whole + b" ")
    with pytest.raises(ModelFileError, match="has changed since"):
        annotator.annotate(batch_of(["x"]))
    result = json.loads((run / "result.json").read_text())
    config = {**result, "config_sha256": "f" * 64}
    with pytest.raises(ModelFileError, match="is not the configuration"):
        ProxyScore(str(copy("foreign", result=json.dumps(config).encode())))


def test_neither_torch_nor_beam_is_imported_to_construct(run: Path) -> None:
    code = (
        "import sys\nfrom eval_models.document_score import ProxyScore\n"
        f"print(ProxyScore({str(run)!r}).name)\n"
        "assert not {'torch', 'apache_beam', 'pipelines'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ProxyScore(str(run)).name
    assert dataclasses.is_dataclass(ProxyScore)
