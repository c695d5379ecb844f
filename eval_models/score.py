"""Nats of held-out documents under a proxy: left to right, every byte a target exactly once.

A document is read as end-of-document and its bytes.  The first window predicts its first `window` bytes; each
later one starts with `overlap` bytes that were predicted before and now are context only.  The
end-of-document mark is not scored, and the model pays for the probability that it gives to marks.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import nn

from eval_models.data_order import CorpusError, _batches, corpus_files, hash_documents
from eval_models.layers import next_symbol_loss
from eval_models.vocabulary import END_OF_DOCUMENT, IGNORED

# Columns of scores.parquet; bytes and nats are of the scored part of the document.
SCORES_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("kind", pa.string()),
        pa.field("language", pa.string()),
        pa.field("programming_language", pa.string()),
        pa.field("cluster", pa.string(), metadata={"description": "the independent unit of the held-out split"}),
        pa.field("bytes", pa.int64(), nullable=False, metadata={"unit": "byte"}),
        pa.field("nats", pa.float64(), nullable=False, metadata={"unit": "nat"}),
    ]
)


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Held-out documents in the order of their hash, and their columns of SCORES_SCHEMA up to `bytes`."""

    table: pa.Table
    texts: list[np.ndarray]  # uint8

    def head(self, bytes_per_source: int) -> HeldOut:
        """The first documents of each source, until `bytes_per_source` is reached."""
        left: dict[str, int] = {}
        keep = []
        for i, (source, size) in enumerate(
            zip(self.table["source"].to_pylist(), self.table["bytes"].to_pylist(), strict=True)
        ):
            if left.setdefault(source, bytes_per_source) > 0:
                keep.append(i)
                left[source] -= size
        return HeldOut(self.table.take(keep), [self.texts[i] for i in keep])


def held_out_documents(corpus: Path, bytes_per_source: int, bytes_per_document: int) -> HeldOut:
    """Held-out documents of corpora/<variant>, at most `bytes_per_document` bytes of each.

    Documents are taken in the order of the hash of doc_id until a source has `bytes_per_source`.  Of a
    longer document one part is taken, at a place that the same hash chooses: the starts of documents are
    licence headers and menus more often than the rest.  Both choices are the same for every variant,
    proxy and seed.  Empty documents are left out.  Holds one batch and what was chosen.
    """
    files = corpus_files(corpus, "held_out")
    names = [f.name for f in SCORES_SCHEMA if f.name not in ("bytes", "nats")]
    candidates: dict[str, list[tuple[int, str, int]]] = {}
    for batch in _batches(files, ["doc_id", "source", "text"]):
        doc_ids, sources = batch["doc_id"].to_pylist(), batch["source"].to_pylist()
        sizes = np.minimum(pc.binary_length(batch["text"]).to_numpy(zero_copy_only=False), bytes_per_document)
        for key, doc_id, source, size in zip(hash_documents(doc_ids), doc_ids, sources, sizes, strict=True):
            if size:
                candidates.setdefault(source, []).append((int(key), doc_id, int(size)))
    chosen: dict[str, int] = {}
    for found in candidates.values():
        left = bytes_per_source
        for key, doc_id, size in sorted(found):
            if left <= 0:
                break
            chosen[doc_id] = key
            left -= size
    if not chosen:
        raise CorpusError(f"{corpus}: no held-out text")
    tables, texts = [], []
    for batch in _batches(files, [*names, "text"]):
        index = [i for i, doc_id in enumerate(batch["doc_id"].to_pylist()) if doc_id in chosen]
        part = pa.Table.from_batches([batch.take(pa.array(index, pa.int64()))])
        for doc_id, string in zip(part["doc_id"].to_pylist(), part["text"].to_pylist(), strict=True):
            text = np.frombuffer(string.encode(), np.uint8)
            start = chosen[doc_id] % max(1, len(text) - bytes_per_document + 1)
            texts.append(text[start : start + bytes_per_document].copy())
        tables.append(part.select(names))
    sizes_column = pa.array([len(t) for t in texts], pa.int64())
    table = pa.concat_tables(tables).append_column("bytes", sizes_column)
    doc_ids = table["doc_id"].to_pylist()
    order = sorted(range(len(texts)), key=lambda i: (chosen[doc_ids[i]], doc_ids[i]))
    table = table.take(order).cast(pa.schema([f for f in SCORES_SCHEMA if f.name != "nats"]))
    return HeldOut(table, [texts[i] for i in order])


def score_rows(lengths: Sequence[int], window: int, overlap: int) -> list[tuple[int, int, int, int]]:
    """(document, first token, first target, end of targets) of every window, in bytes of the document."""
    if not 0 <= overlap < window:
        raise ValueError(f"score_rows: overlap {overlap}; 0 to {window - 1}")
    rows = []
    for document, length in enumerate(lengths):
        target = 0
        while target < length:
            start = max(0, target - overlap)
            end = min(length, start + window)
            rows.append((document, start, target, end))
            target = end
    return rows


@torch.no_grad()
def score_documents(
    model: nn.Module,
    texts: Sequence[np.ndarray],
    *,
    window: int,
    overlap: int,
    batch_tokens: int | None = None,
    autocast: bool = False,
) -> np.ndarray:
    """Nats of each document (uint8 arrays): float64 [documents].

    batch_tokens: bytes that are scored at once; None: chosen by the device.
    """
    device = next(model.parameters()).device
    if batch_tokens is None:
        batch_tokens = 4096 if device.type == "cpu" else 65_536
    rows = score_rows([len(t) for t in texts], window, overlap)
    rows.sort(key=lambda r: r[1] - r[3])  # longest first; stable, so the order is a function of the documents
    nats = np.zeros(len(texts))
    start = 0
    was_training = model.training
    model.eval()
    while start < len(rows):
        longest = rows[start][3] - rows[start][1]
        batch = rows[start : start + max(1, batch_tokens // longest)]
        inputs = np.full((len(batch), longest), END_OF_DOCUMENT, np.int64)
        targets = np.full((len(batch), longest), IGNORED, np.int64)
        for i, (document, first, target, end) in enumerate(batch):
            text = texts[document]
            inputs[i, 0 if first else 1 : end - first] = text[max(0, first - 1) : end - 1]
            targets[i, target - first : end - first] = text[target:end]
        tokens, wanted = (torch.from_numpy(array).to(device) for array in (inputs, targets))
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            _, losses = next_symbol_loss(model, tokens, wanted, reduction="sum")
        sums = losses.double().sum(1).cpu().numpy()
        np.add.at(nats, [row[0] for row in batch], sums)
        start += len(batch)
    model.train(was_training)
    return nats


def bits_per_byte(nats: np.ndarray, sizes: np.ndarray, groups: Sequence[str]) -> dict[str, float]:
    """sum of nats / (ln 2 * sum of bytes) of each group, in order of name."""
    names = np.asarray(groups)
    return {
        str(name): float(nats[names == name].sum() / (math.log(2) * sizes[names == name].sum()))
        for name in sorted(set(groups))
    }


def macro(slices: Mapping[str, float]) -> float:
    """The primary metric: the mean over slices, each counting alike."""
    return math.fsum(slices.values()) / len(slices)
