"""A byte n-gram model with Witten-Bell smoothing: the weakest judge that a proxy must beat.

    p(w | c) = (count(c w) + followers(c) p(w | c')) / (count(c) + followers(c))

c' is c without its oldest byte, followers(c) the number of different bytes seen after c; the chain ends at
the uniform distribution over 256 bytes (method C of Bell, Cleary and Witten, *Text Compression*, 1990, in the
interpolated form).  Counting models are a gate here, never a verdict: noise and duplicates flatter them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from eval_models.vocabulary import END_OF_DOCUMENT

_BITS = 9  # a byte or end-of-document
_MAX_ORDER = 5  # (order + 1) * 9 bits in 63


def piece_stream(pieces: np.ndarray, lengths: np.ndarray, offsets: np.ndarray, order: int) -> np.ndarray:
    """Windows as one stream for `NGram.fit`: int64; `order` marks before each, the last the byte before it.

    pieces uint8 [windows, 1 + window] with the byte before each window in column 0; see data_order.
    """
    head = np.full((len(pieces), order), END_OF_DOCUMENT, np.int64)
    if order:
        inner = offsets > 0
        head[inner, -1] = pieces[inner, 0]
    body = pieces[:, 1:].astype(np.int64)
    body[np.arange(body.shape[1]) >= lengths[:, None]] = -1
    rows = np.concatenate([head, body], 1).ravel()
    return rows[rows >= 0]


def document_stream(documents: Sequence[np.ndarray], order: int) -> np.ndarray:
    """Whole documents (uint8) as one stream: int64; each starts with `order` marks."""
    head = np.full(order, END_OF_DOCUMENT, np.int64)
    return np.concatenate([part for d in documents for part in (head, d.astype(np.int64))])


@dataclasses.dataclass(frozen=True)
class _Level:
    """Counts of one context length, as sorted codes."""

    grams: np.ndarray  # codes of context and byte
    gram_counts: np.ndarray
    contexts: np.ndarray  # codes
    context_counts: np.ndarray
    followers: np.ndarray


def _find(keys: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    place = np.minimum(np.searchsorted(keys, codes), len(keys) - 1)
    return place, keys[place] == codes


class NGram:
    """Memory: two sorted arrays an order, at most 16 bytes a byte of training text each."""

    def __init__(self, order: int) -> None:
        if not 0 <= order <= _MAX_ORDER:
            raise ValueError(f"NGram: order {order}; 0 to {_MAX_ORDER}")
        self.order = order
        self.levels: list[_Level] = []

    def _codes(self, stream: np.ndarray, context: int) -> np.ndarray:
        """Code of each counted byte with `context` symbols before it.  Marks are contexts, never counted."""
        places = np.flatnonzero(stream[self.order :] < 256) + self.order
        code = np.zeros(len(places), np.int64)
        for back in range(context, -1, -1):
            code = (code << _BITS) | stream[places - back]
        return code

    def fit(self, stream: np.ndarray) -> NGram:
        """Counts a stream of `piece_stream` or `document_stream` made for this order."""
        for context in range(self.order + 1):
            grams, counts = np.unique(self._codes(stream, context), return_counts=True)
            contexts, start = np.unique(grams >> _BITS, return_index=True)
            followers = np.diff(np.append(start, len(grams)))
            totals = np.add.reduceat(counts, start) if len(grams) else counts
            self.levels.append(_Level(grams, counts, contexts, totals, followers))
        return self

    def nats(self, stream: np.ndarray) -> np.ndarray:
        """-ln p of every byte of the stream, in order: float64."""
        probability = np.full(int((stream[self.order :] < 256).sum()), 1 / 256)
        for context, level in enumerate(self.levels):
            if not len(level.grams):
                continue
            codes = self._codes(stream, context)
            place, known = _find(level.grams, codes)
            count = np.where(known, level.gram_counts[place], 0)
            place, known = _find(level.contexts, codes >> _BITS)
            total = np.where(known, level.context_counts[place], 0)
            followers = np.where(known, level.followers[place], 1)
            probability = (count + followers * probability) / (total + followers)
        return -np.log(probability)

    def bits_per_byte(self, documents: Sequence[np.ndarray]) -> float:
        """Over whole documents (uint8 arrays)."""
        nats = self.nats(document_stream(documents, self.order))
        return float(nats.sum() / (math.log(2) * len(nats)))
