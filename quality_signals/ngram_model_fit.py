"""Estimation of an n-gram model: interpolated modified Kneser-Ney smoothing.

Chen and Goodman, An empirical study of smoothing techniques for language modeling, TR-10-98, Harvard, 1998, section
3 and equation 26; adjusted counts, <unk> and the fallback of the discounts as lmplz has them (kpu/kenlm, lm/builder;
Heafield et al., Scalable modified Kneser-Ney language model estimation, ACL 2013, section 3):

    a(g)      occurrences of g if it has the full order or starts with <s>, else the number of different words before it
    p(w | c)  = (a(c w) - D(a(c w))) / sum over x of a(c x) + gamma(c) p(w | c')
    gamma(c)  = (D1 n1 + D2 n2 + D3 n3) / sum over x of a(c x), n_i words w with a(c w) = i (n3: 3 or more)
    c' is c without its first word; the chain ends at 1 / (words + <unk> + </s>), which <unk> gets as its own.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quality_signals.ngram_model_tables import Level
from quality_signals.ngram_model_tokens import BEGIN

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# lmplz --discount_fallback, its default: for an order that has too few n-grams to estimate discounts from.
FALLBACK = (0.5, 1.0, 1.5)
NEVER = -99.0  # log10 probability of <s>, which is a context only (as SRILM writes it)


@dataclasses.dataclass(frozen=True, slots=True)
class Discounts:
    """D1, D2, D3+ of an order; estimated: from the counts of counts, else the fallback."""

    amounts: tuple[float, float, float]
    estimated: bool


def discounts(counts: Ints) -> Discounts:
    """Of the adjusted counts of an order's n-grams (equation 26); as in lmplz no count of 4 is needed.

    A discount of 0 is not taken, since then a context may have nothing to back off with.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6)[:5].tolist()
    if 0 in n[1:4]:
        return Discounts(FALLBACK, False)
    y = n[1] / (n[1] + 2 * n[2])
    amounts = tuple(j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3))
    if any(not 0 < amount <= j for j, amount in enumerate(amounts, 1)):
        return Discounts(FALLBACK, False)
    return Discounts((amounts[0], amounts[1], amounts[2]), True)


class _Counted(NamedTuple):
    """The different n-grams of one order, in order of (context, word)."""

    context: Ints  # row of the n-gram without its last word
    suffix: Ints  # row of the n-gram without its first word
    word: Ints
    occurrences: Ints
    begins: npt.NDArray[np.bool_]  # with <s>


def _counted(stream: npt.NDArray[np.int32], places: Ints, order: int, words: int) -> list[_Counted]:
    """stream: the lines one after the other, each from <s> to </s>; places [tokens]: of each in its line."""
    last = stream.astype(np.int64)
    everyone = np.arange(words)
    known = np.bincount(last, minlength=words)
    found = [_Counted(np.zeros(words, np.int64), np.zeros(words, np.int64), everyone, known, everyone == BEGIN)]
    rows = last.copy()  # of the n-gram that ends at each token; of no meaning where its line is too short
    for k in range(1, order):
        ends = np.flatnonzero(places >= k)
        context = rows[ends - 1]
        keys, first, inverse, occurrences = np.unique(
            context * words + last[ends], return_index=True, return_inverse=True, return_counts=True
        )
        suffix = rows[ends[first]]
        found.append(_Counted(keys // words, suffix, keys % words, occurrences, places[ends[first]] == k))
        rows[ends] = inverse
    return found


def _adjusted(found: list[_Counted]) -> list[Ints]:
    adjusted = []
    for lower, higher in zip(found[:-1], found[1:], strict=True):
        before = np.bincount(higher.suffix, minlength=len(lower.word))
        adjusted.append(np.where(lower.begins, lower.occurrences, before))
    adjusted.append(found[-1].occurrences.copy())
    adjusted[0][BEGIN] = 0
    return adjusted


def estimate(
    stream: npt.NDArray[np.int32], places: Ints, order: int, words: int
) -> tuple[list[Level], list[Discounts]]:
    """Levels and discounts of all orders.

    stream int32 [tokens]: ids of all lines, each from <s> to </s>; places int64 [tokens]: of each in its line;
    words: ids are below it, every id but <unk> and <s> occurs.  Time: `order` sorts of the tokens; memory about 80
    bytes a token.
    """
    found = _counted(stream, places, order, words)
    adjusted = _adjusted(found)
    levels: list[Level] = []
    chosen: list[Discounts] = []
    # <s> is never predicted, so it has no share of the uniform distribution at the end of the chain.
    lower: Floats = np.full(1, 1 / (words - 1))
    for k, (grams, counts) in enumerate(zip(found, adjusted, strict=True)):
        counted = counts[counts > 0] if k == 0 else counts
        chosen.append(discounts(counted))
        amounts = np.array([0.0, *chosen[-1].amounts])
        contexts = 1 if k == 0 else len(found[k - 1].word)
        class_ = np.minimum(counts, 3)
        total = np.bincount(grams.context, counts, contexts)
        saved = np.bincount(grams.context, amounts[class_], contexts)
        used = total > 0
        gamma = np.divide(saved, total, out=np.ones(contexts), where=used)
        share = np.divide(1.0, total, out=np.zeros(contexts), where=used)
        probability = (counts - amounts[class_]) * share[grams.context] + gamma[grams.context] * lower[grams.suffix]
        with np.errstate(divide="ignore"):
            log = np.log10(probability)
        if k == 0:
            log[BEGIN] = NEVER
        if k:
            levels[-1] = levels[-1]._replace(log_backoff=np.log10(gamma).astype(np.float32))
        levels.append(
            Level(
                grams.context.astype(np.int32),
                grams.word.astype(np.int32),
                log.astype(np.float32),
                np.zeros(len(grams.word), np.float32),
            )
        )
        lower = probability
    return levels, chosen
