"""Bits per byte of documents and of their lines under a trained proxy (`proxy@<hash>`).

    ProxyScore("out/runs/full.mamba-tiny.seed0")       a run whose checkpoint was kept (train_run, keep_checkpoint)

A document is read as score.py reads held-out ones: end-of-document and its bytes, window by window with the run's
overlap, every byte predicted once.  The hash is that of the checkpoint file.  torch is asked for on first use
(`gristmill[proxy]`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import yaml

from eval_models.proxies import CONFIGS, OptimiserConfig, Proxy, build_model, require_torch
from eval_models.vocabulary import END_OF_DOCUMENT
from quality_signals.batches import field
from quality_signals.line_views import split_lines
from quality_signals.model_files import NAME_DIGITS, ModelFileError
from quality_signals.text_batch import SharedTexts, TextBatch

if TYPE_CHECKING:
    from torch import nn

_DECIMALS = 6  # of bits per byte: float32 logits are not worth more
_BATCH_BYTES = 1 << 13  # of a batch of windows

SPANS = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32()), ("score", pa.float64())]))
SCHEMA = pa.schema(
    [
        field("bits_per_byte", pa.float64(), "of the whole document; null for an empty one", "bit/byte"),
        field(
            "line_bits_per_byte", SPANS, "of each line and its newline (code points); null without a byte", "bit/byte"
        ),
    ]
)


def byte_nats(model: nn.Module, texts: Sequence[npt.NDArray[np.uint8]], window: int, overlap: int) -> list[Any]:
    """-ln p of every byte of each document (uint8 arrays): float64 arrays.

    A window is padded to a quarter, a half or all of `window`, and a batch to a fixed number of windows, so the
    arithmetic of a document does not depend on those that are scored with it.  Runs on one thread.
    """
    import torch
    from torch.nn import functional as F

    from eval_models.score import score_rows

    nats = [np.zeros(len(text)) for text in texts]
    by_width: dict[int, list[tuple[int, int, int, int]]] = {}
    for row in score_rows([len(text) for text in texts], window, overlap):
        width = next(w for w in (max(1, window // 4), max(1, window // 2), window) if w >= row[3] - row[1])
        by_width.setdefault(width, []).append(row)
    threads = torch.get_num_threads()
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    torch.set_num_threads(1)
    try:
        for width, rows in sorted(by_width.items()):
            size = max(1, _BATCH_BYTES // width)
            for first in range(0, len(rows), size):
                batch = rows[first : first + size]
                inputs = np.full((size, width), END_OF_DOCUMENT, np.int64)
                targets = np.zeros((size, width), np.int64)
                for i, (document, start, _, end) in enumerate(batch):
                    text = texts[document]
                    inputs[i, 0 if start else 1 : end - start] = text[max(0, start - 1) : end - 1]
                    targets[i, : end - start] = text[start:end]
                with torch.no_grad():
                    logits = model(torch.from_numpy(inputs).to(device)).float()
                    wanted = torch.from_numpy(targets).to(device).flatten()
                    losses = F.cross_entropy(logits.flatten(0, 1), wanted, reduction="none").view(size, width)
                found = losses.double().cpu().numpy()
                for i, (document, start, target, end) in enumerate(batch):
                    nats[document][target:end] = found[i, target - start : end - start]
    finally:
        torch.set_num_threads(threads)
        model.train(was_training)
    return nats


@dataclasses.dataclass(frozen=True)
class _Run:
    """What a run's folder says: the proxy, the overlap in bytes, the hashes of configuration and checkpoint."""

    proxy: Proxy
    overlap: int
    config_sha256: str
    sha256: str


def _open_run(folder: str) -> _Run:
    """ModelFileError: a file is missing, or config.yaml is not that of a run of a proxy that is known here."""
    run = Path(folder)
    for name in ("config.yaml", "result.json", "checkpoint.pt"):
        if not (run / name).is_file():
            hint = "; train the run again and keep its checkpoint" if name == "checkpoint.pt" else ""
            raise ModelFileError(f"{run}: no proxy to score with, {name} is missing{hint}")
    try:
        config = yaml.safe_load((run / "config.yaml").read_text())
        trained = json.loads((run / "result.json").read_text())["config_sha256"]
        proxy = _proxy(config["proxy"])
        overlap = int(proxy.window * float(config["evaluation"]["overlap"]))
    except (yaml.YAMLError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{run}: config.yaml or result.json is not that of a run ({error!r})") from error
    if hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest() != trained:
        raise ModelFileError(f"{run}: config.yaml is not the configuration that result.json was made from")
    with open(run / "checkpoint.pt", "rb") as file:
        return _Run(proxy, overlap, trained, hashlib.file_digest(file, "sha256").hexdigest())


def _proxy(config: Mapping[str, Any]) -> Proxy:
    model = dict(config["model"])
    shape: Any = CONFIGS[model.pop("family")]
    optimiser = dict(config["optimiser"])
    return Proxy(
        model=shape(**model),
        window=config["window"],
        batch=config["batch"],
        optimiser=OptimiserConfig(**{**optimiser, "betas": tuple(optimiser["betas"])}),
        fim_rate=config["fim_rate"],
    )


@lru_cache(maxsize=2)
def _model(folder: str, sha256: str) -> tuple[nn.Module, _Run]:
    require_torch()
    import torch

    run = _open_run(folder)
    if run.sha256 != sha256:
        raise ModelFileError(f"{folder}: checkpoint.pt has changed since the annotator was made")
    try:
        state = torch.load(Path(folder) / "checkpoint.pt", map_location="cpu", weights_only=True)
        if state["config_sha256"] != run.config_sha256:
            raise ValueError("it is of another configuration")
        model = build_model(run.proxy.model, 0)
        model.load_state_dict(state["model"])
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ModelFileError(f"{folder}: checkpoint.pt cannot be read: {error}") from error
    return model.eval(), run


@dataclasses.dataclass(frozen=True)
class ProxyScore:
    """Bits per byte by the proxy of a finished run.

    run_dir: runs/<run id>, with checkpoint.pt.  kinds: kinds of documents that are scored, None: all.  max_bytes: of
    a longer document only the first are read (the rest of its lines are null); None: all, which takes time linear in
    the document.  ModelFileError: what is missing in the folder, or damaged.
    """

    run_dir: str
    kinds: tuple[str, ...] | None = None
    max_bytes: int | None = None
    sha256: str = dataclasses.field(init=False, repr=False)

    schema: ClassVar[pa.Schema] = SCHEMA

    def __post_init__(self) -> None:
        if self.max_bytes is not None and self.max_bytes < 1:
            raise ValueError(f"proxy score: max_bytes {self.max_bytes}; 1 or more")
        object.__setattr__(self, "run_dir", os.fspath(self.run_dir))
        object.__setattr__(self, "sha256", _open_run(self.run_dir).sha256)

    @property
    def name(self) -> str:
        return f"proxy@{self.sha256[:NAME_DIGITS]}"

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        model, run = _model(self.run_dir, self.sha256)
        bounds = texts.byte_offsets.tolist()
        documents = [texts.utf8[a:b][: self.max_bytes] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
        nats = byte_nats(model, documents, run.proxy.window, run.overlap)
        whole = [_bits(float(found.sum()), len(found)) for found in nats]
        columns = [pa.array(whole, pa.float64()), _lines(texts, nats)]
        return pa.RecordBatch.from_arrays([texts.scatter(column) for column in columns], schema=SCHEMA)


def _bits(nats: float, size: int) -> float | None:
    return round(nats / (math.log(2) * size), _DECIMALS) if size else None


def _lines(texts: TextBatch, nats: Sequence[npt.NDArray[np.float64]]) -> pa.ListArray:
    """Lines of text.split("\\n"); the newline after a line is scored with it, the span is without."""
    lines = texts.view(split_lines)
    first = np.repeat(texts.offsets[:-1], lines.counts)
    points = texts.points
    # Where the bytes of each code point begin, and the end of all.
    sizes = 1 + (points >= 0x80) + (points >= 0x800).astype(np.int64) + (points >= 0x10000)
    places = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    begins = places[lines.starts]
    scores: list[float | None] = []
    line = 0
    for text, found in enumerate(nats):
        count = int(lines.counts[text])
        edges = begins[line : line + count] - texts.byte_offsets[text]
        ends = np.append(edges[1:], texts.byte_offsets[text + 1] - texts.byte_offsets[text])
        for a, b in zip(edges.tolist(), ends.tolist(), strict=True):
            read = b <= len(found)
            scores.append(_bits(float(found[a:b].sum()), b - a) if read else None)
        line += count
    columns = [
        pa.array(lines.starts - first, pa.int32()),
        pa.array(lines.ends - first, pa.int32()),
        pa.array(scores, pa.float64()),
    ]
    spans = pa.StructArray.from_arrays(columns, fields=list(SPANS.value_type))
    return pa.ListArray.from_arrays(pa.array(lines.offsets, pa.int32()), spans, type=SPANS)
