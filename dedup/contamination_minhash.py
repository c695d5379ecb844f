"""Texts that are near-duplicates of a whole evaluation item: MinHash finds candidates, exact similarity decides.

Reference: bigcode-project/bigcode-dataset @ b09fd62, decontamination/minhash.py: the set of tokens [A-Za-z_0-9]+;
datasketch 1.x with 128 permutations, seed 42, bands for 0.58 that weigh missed and needless pairs alike; a candidate
counts if the Jaccard similarity of both sets is 0.58 or more.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dedup.bands import EVEN_WEIGHT, Bands, band_keys, choose_bands
from dedup.contamination_ngrams import text_batch
from dedup.contamination_sets import WHOLE, Text
from dedup.datasketch import sha1_hashes
from dedup.hashing import Hashes
from dedup.permutations import alternating, minima_of, prime61_low_minima
from quality_signals.codepoints import number_ranges
from quality_signals.compiled import njit
from quality_signals.text_batch import Ints, TextBatch

THRESHOLD, PERMUTATIONS, SEED = 0.58, 128, 42
BANDS: Bands = choose_bands(THRESHOLD, PERMUTATIONS, EVEN_WEIGHT)
_TOKEN = re.compile("[A-Za-z_0-9]+")
_EMPTY = 0xFFFFFFFF


def tokens(text: str) -> set[str]:
    """The definition of the set that is compared."""
    return set(_TOKEN.findall(text))


def similarity(left: set[str], right: set[str]) -> float:
    """Jaccard similarity, 0 of two empty sets."""
    return len(left & right) / max(1, len(left | right))


@lru_cache(maxsize=1)
def _token_bytes() -> npt.NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[[ord(c) for c in map(chr, range(128)) if c.isalnum() or c == "_"]] = True
    return table


@njit(error_model="numpy")
def _ranges(utf8, offsets, table, starts, ends, tokens_of):  # type: ignore[no-untyped-def]
    count = 0
    for text in range(len(offsets) - 1):
        inside = False
        for i in range(offsets[text], offsets[text + 1]):
            if table[utf8[i]] != inside:
                if inside:
                    ends[count] = i
                    count += 1
                else:
                    starts[count] = i
                inside = not inside
        if inside:
            ends[count] = offsets[text + 1]
            count += 1
        tokens_of[text + 1] = count
    return count


@njit(error_model="numpy")
def _distinct(ids, offsets, last, found, before):  # type: ignore[no-untyped-def]
    """Each token of a text once.  last: [distinct tokens of the batch], all -1."""
    out = 0
    for text in range(len(offsets) - 1):
        for k in range(offsets[text], offsets[text + 1]):
            if last[ids[k]] != text:
                last[ids[k]] = text
                found[out] = ids[k]
                out += 1
        before[text + 1] = out
    return out


@dataclasses.dataclass(frozen=True, slots=True)
class TokenSets:
    """hashes [tokens] uint32, 4 bytes of SHA-1 of the distinct tokens; of text i offsets[i]:offsets[i + 1]."""

    hashes: npt.NDArray[np.uint32]
    offsets: Ints


def token_sets(texts: TextBatch) -> TokenSets:
    """View.  A token is hashed once a batch."""
    room = len(texts.utf8) // 2 + len(texts) + 1
    starts, ends, tokens_of = np.empty(room, np.int64), np.empty(room, np.int64), np.zeros(len(texts) + 1, np.int64)
    count = _ranges(texts.utf8, texts.byte_offsets, _token_bytes(), starts, ends, tokens_of)
    starts, ends = starts[:count], ends[:count]
    ids, first = number_ranges(texts.utf8, starts, ends)
    # The hash reads words of 8 bytes: room behind the last token.
    padded = np.concatenate([texts.utf8, np.zeros(8, np.uint8)])
    low = sha1_hashes(padded, starts[first], ends[first]).astype(np.uint32)
    found, before = np.empty(count, np.int64), np.zeros(len(texts) + 1, np.int64)
    distinct = _distinct(ids, tokens_of, np.full(len(first), -1, np.int64), found, before)
    return TokenSets(low[found[:distinct]], before)


def _signatures(hashes: npt.NDArray[np.uint32], offsets: Ints) -> npt.NDArray[np.uint32]:
    found: npt.NDArray[np.uint32] = minima_of(
        prime61_low_minima, hashes, offsets, *alternating(SEED, PERMUTATIONS), _EMPTY, np.uint32
    )
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class ItemIndex:
    """keys [items * bands] uint64 ascending, items [same] int64; sets and `Text` numbers of the items with a token."""

    keys: Hashes
    items: Ints
    sets: tuple[set[str], ...]
    targets: Ints
    without_token: int


def build_index(texts: Sequence[Text]) -> ItemIndex:
    numbers = [i for i, text in enumerate(texts) if text.role == WHOLE]
    sets = {i: tokens(texts[i].text) for i in numbers}
    filled = [i for i in numbers if sets[i]]
    found = text_batch([texts[i].text for i in filled]).view(token_sets)
    keys = band_keys(_signatures(found.hashes, found.offsets), BANDS)
    order = np.argsort(keys.ravel(), kind="stable")
    items = np.repeat(np.arange(len(filled)), BANDS.count)
    return ItemIndex(
        keys.ravel()[order],
        items[order],
        tuple(sets[i] for i in filled),
        np.array(filled, np.int64),
        len(numbers) - len(filled),
    )


def find_similar(texts: TextBatch, index: ItemIndex) -> list[tuple[int, int, float]]:
    """(text, item, similarity) of all candidates that are similar enough, in order."""
    found = texts.view(token_sets)
    counts = np.diff(found.offsets)
    sizes = [len(own) for own in index.sets]
    if not sizes:
        return []
    # |A & B| / |A | B| is at most the smaller size by the larger: others need no signature.
    rows = np.flatnonzero((counts >= THRESHOLD * min(sizes)) & (THRESHOLD * counts <= max(sizes)) & (counts > 0))
    chosen_offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(counts[rows], out=chosen_offsets[1:])
    places = np.arange(int(chosen_offsets[-1])) + np.repeat(found.offsets[rows] - chosen_offsets[:-1], counts[rows])
    keys = band_keys(_signatures(found.hashes[places], chosen_offsets), BANDS)
    low, high = (np.searchsorted(index.keys, keys, side=side) for side in ("left", "right"))
    similar: list[tuple[int, int, float]] = []
    for row in np.flatnonzero((high > low).any(axis=1)).tolist():
        text = int(rows[row])
        own = tokens(texts.texts[text].as_py())
        spans = zip(low[row].tolist(), high[row].tolist(), strict=True)
        items = sorted({int(item) for first, last in spans for item in index.items[first:last]})
        for item in items:
            measured = similarity(own, index.sets[item])
            if measured >= THRESHOLD:
                similar.append((text, item, measured))
    return similar
