"""N-grams as numbered rows of (row of the context, last word), found by hashing; and the score of token sequences.

A row of order k is an n-gram of k words: the row of its first k - 1 words among the rows of order k - 1, and its
last word.  Row r of order 1 is word r.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quality_signals.codepoints import mix
from quality_signals.compiled import njit
from quality_signals.ngram_model_tokens import BEGIN, END

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]

MAX_ORDER = 9


class Level(NamedTuple):
    """The n-grams of one order: context and word int32 [rows]; log10 of probability and of backoff float32 [rows].

    The context of order 1 is 0 for all.
    """

    context: Ids
    word: Ids
    log_probability: Floats
    log_backoff: Floats


class Tables(NamedTuple):
    """The hash tables of order 2 and up, one behind the other.

    keys uint64 and rows int32 [slots], row -1 where free; starts [orders - 1] and masks of each table;
    values [rows of all orders, 2] float32: log10 probability, log10 backoff; firsts [orders] first row of each order.
    """

    keys: npt.NDArray[np.uint64]
    rows: Ids
    starts: Ints
    masks: Ints
    values: Floats
    firsts: Ints


@njit(error_model="numpy")
def _key(context, word):  # type: ignore[no-untyped-def]
    return np.uint64(context) << np.uint64(32) | np.uint64(word)


@njit(error_model="numpy")
def _fill(context, word, keys, rows):  # type: ignore[no-untyped-def]
    """Returns the first row that stands there already, -1 if none does."""
    mask = np.uint64(len(keys) - 1)
    for row in range(len(context)):
        key = _key(context[row], word[row])
        slot = np.int64(mix(key) & mask)
        while rows[slot] >= 0:
            if keys[slot] == key:
                return row
            slot = np.int64(np.uint64(slot + 1) & mask)
        keys[slot] = key
        rows[slot] = row
    return -1


@njit(error_model="numpy")
def _find(keys, rows, start, mask, context, word):  # type: ignore[no-untyped-def]
    key = _key(context, word)
    slot = np.int64(mix(key) & np.uint64(mask))
    while rows[start + slot] >= 0:
        if keys[start + slot] == key:
            return np.int64(rows[start + slot])
        slot = (slot + 1) & mask
    return np.int64(-1)


@njit(error_model="numpy")
def _rows(grams, keys, rows, starts, masks, found):  # type: ignore[no-untyped-def]
    """found[i]: row of the n-gram grams[i], all of one order, -1 if a part of it is not there."""
    for i in range(len(grams)):
        row = np.int64(grams[i, 0])
        for k in range(1, grams.shape[1]):
            row = _find(keys, rows, starts[k - 1], masks[k - 1], row, grams[i, k])
            if row < 0:
                break
        found[i] = row


@njit(error_model="numpy")
def _score(ids, offsets, keys, rows, starts, masks, values, firsts, scores):  # type: ignore[no-untyped-def]
    """log10 probability of every token and of the end of every line: line l fills offsets[l + 1] - offsets[l] + 1
    places of scores, from offsets[l] + l on."""
    order = len(firsts)
    contexts = np.empty(order + 1, np.int64)
    after = np.empty(order + 1, np.int64)
    at = 0
    for line in range(len(offsets) - 1):
        contexts[:] = -1
        contexts[1] = BEGIN
        for i in range(offsets[line], offsets[line + 1] + 1):
            word = np.int64(ids[i]) if i < offsets[line + 1] else np.int64(END)
            after[1] = word
            score = values[word, 0]
            matched = 1
            for k in range(1, order):
                row = np.int64(-1)
                if contexts[k] >= 0:
                    row = _find(keys, rows, starts[k - 1], masks[k - 1], contexts[k], word)
                after[k + 1] = row
                if row >= 0:
                    matched = k + 1
                    score = values[firsts[k] + row, 0]
            for k in range(matched, order):
                if contexts[k] >= 0:
                    score += values[firsts[k - 1] + contexts[k], 1]
            scores[at] = score
            at += 1
            contexts, after = after, contexts


def tables(levels: Sequence[Level]) -> Tables:
    """ValueError names an n-gram that stands twice (order, row).  Memory: 24 to 48 bytes an n-gram."""
    sizes = [1 << max(4, (2 * len(level.word)).bit_length()) for level in levels[1:]]
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
    keys, rows = np.zeros(starts[-1], np.uint64), np.full(starts[-1], -1, np.int32)
    for k, level in enumerate(levels[1:]):
        here = slice(starts[k], starts[k + 1])
        twice = _fill(level.context, level.word, keys[here], rows[here])
        if twice >= 0:
            raise ValueError(f"{k + 2}-gram {twice + 1} stands twice")
    values = np.empty((sum(len(level.word) for level in levels), 2), np.float32)
    firsts = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(level.word) for level in levels])[:-1]])
    for first, level in zip(firsts, levels, strict=True):
        values[first : first + len(level.word), 0] = level.log_probability
        values[first : first + len(level.word), 1] = level.log_backoff
    return Tables(keys, rows, starts[:-1], np.array(sizes, np.int64) - 1, values, firsts)


def gram_rows(grams: Ids, found: Tables) -> Ints:
    """Rows of n-grams of one order ([n, order] word ids); -1 for one that is not there."""
    result = np.empty(len(grams), np.int64)
    _rows(grams, found.keys, found.rows, found.starts, found.masks, result)
    return result


def score(ids: Ids, offsets: Ints, model: Tables) -> Floats:
    """log10 probabilities, float32 [tokens + lines]: those of a line's tokens and then of its end.

    ids: the tokens of all lines; offsets [lines + 1].  A token's probability is that of the longest n-gram with it
    that the model knows, times the backoffs of the longer contexts (Katz, 1987).
    """
    scores = np.empty(len(ids) + len(offsets) - 1, np.float32)
    _score(ids, offsets, *model, scores)
    return scores
