"""Finds licence texts by shingles of words: an inverted index over the SPDX texts in data/texts.bin.xz."""

from __future__ import annotations

import dataclasses
import json
import lzma
from functools import cache
from importlib import resources

import numpy as np

from licenses.tokens import Words

SHINGLE = 4  # words; 3 gives twice the chance hits between unrelated texts, 6 breaks too often at changed names
# Measured on the SPDX texts themselves, on them re-wrapped in comments with other holders' names, and on the
# licence files of Python wheels: below these values what matches is another licence of the same family or a
# fragment.
MIN_CONTAINMENT = 0.70  # share of the licence's shingles that the region must hold
MIN_SCORE = 0.70  # Dice overlap of region and licence
MAX_GAP = 40  # unknown words inside a region
MAX_CANDIDATES = 24
MAX_TEXTS = 12  # licence texts taken from one text
_UNKNOWN = np.uint64(0xFFFF)
_PRIMES = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], dtype=np.uint64)


@dataclasses.dataclass(frozen=True, slots=True)
class TextMatch:
    """One licence text inside a text: words [first, last), its SPDX id, the ids with the same words, kind,
    score."""

    identifier: str
    equivalents: tuple[str, ...]
    kind: str  # license | exception | part
    first: int
    last: int
    containment: float
    score: float


@dataclasses.dataclass(frozen=True, slots=True)
class Index:
    """The texts as sorted distinct shingles (own) and the table shingle -> texts (shared); about 25 MB."""

    vocabulary: dict[str, int]
    identifiers: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    own: tuple[np.ndarray, ...]  # per text: sorted distinct shingles, uint64
    sizes: np.ndarray  # [texts] distinct shingles
    lengths: np.ndarray  # [texts] words
    shingles: np.ndarray  # [n] sorted distinct, uint64
    postings: np.ndarray  # texts that hold shingle i: postings[pointers[i]:pointers[i + 1]]
    pointers: np.ndarray

    def find(self, words: Words) -> list[TextMatch]:
        """Licence texts in the words, best first, without overlaps.  At most MAX_TEXTS rounds, each
        linear."""
        numbers = np.array([self.vocabulary.get(word, 0xFFFF) for word in words.words], dtype=np.uint64)
        if len(numbers) < SHINGLE:
            return []
        query = _shingles(numbers)
        place = np.searchsorted(self.shingles, query)
        place[place == len(self.shingles)] = 0
        live = self.shingles[place] == query
        found: list[TextMatch] = []
        while len(found) < MAX_TEXTS and int(live.sum()) >= 4:
            best = self._best(query, place, live)
            if best is None:
                break
            found.append(best)
            live[max(0, best.first - SHINGLE + 1) : best.last] = False
        return found

    def _best(self, query: np.ndarray, place: np.ndarray, live: np.ndarray) -> TextMatch | None:
        hits = np.unique(place[live])
        counts = self.pointers[hits + 1] - self.pointers[hits]
        runs = np.repeat(self.pointers[hits] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
        texts = self.postings[runs + np.arange(int(counts.sum()))]
        matched = np.bincount(texts, minlength=len(self.sizes))
        containment = matched / self.sizes
        able = np.flatnonzero(containment >= MIN_CONTAINMENT)
        if not len(able):
            return None
        # A text that holds others (BSD-3 holds BSD-2) has more matched shingles: look at those first.
        rank = np.lexsort((able, -(matched * containment**2)[able]))
        best: tuple[float, float, int] | None = None
        chosen: TextMatch | None = None
        for candidate in able[rank[:MAX_CANDIDATES]].tolist():
            match = self._region(candidate, query, live)
            if match is None:
                continue
            # A longer text wins over one inside it; a closer one over a longer one of the same size.
            key = (match.score * (match.last - match.first) ** 0.25, match.score, -candidate)
            if best is None or key > best:
                best, chosen = key, match
        return chosen

    def _region(self, text: int, query: np.ndarray, live: np.ndarray) -> TextMatch | None:
        own = self.own[text]
        at = np.searchsorted(own, query)
        at[at == len(own)] = 0
        inside = np.flatnonzero((own[at] == query) & live)
        if not len(inside):
            return None
        breaks = np.flatnonzero(np.diff(inside) > MAX_GAP) + 1
        groups = [g for g in np.split(inside, breaks)]
        # The densest chain of groups about as long as the text.
        budget = int(self.lengths[text] * 1.5) + 4 * MAX_GAP
        largest = max(range(len(groups)), key=lambda g: len(groups[g]))
        low = high = largest
        grown = True
        while grown:
            grown = False
            for step in (-1, 1):
                next_group = (low if step < 0 else high) + step
                if not 0 <= next_group < len(groups) or len(groups[next_group]) < 6:
                    continue
                left = min(int(groups[low][0]), int(groups[next_group][0]))
                right = max(int(groups[high][-1]), int(groups[next_group][-1]))
                if right - left + SHINGLE <= budget:
                    low, high = min(low, next_group), max(high, next_group)
                    grown = True
        first, last = int(groups[low][0]), int(groups[high][-1])
        # Trim to the run of largest sum of +1 for a shingle of the text and -1/2 for another: a neighbouring
        # text of the same family shares scattered phrases, which are not the licence's edges.
        inner = np.full(last - first + 1, -0.5)
        inner[np.concatenate(groups[low : high + 1]) - first] = 1.0
        total = np.cumsum(inner)
        lowest = np.minimum.accumulate(np.concatenate([[0.0], total[:-1]]))
        end = int(np.argmax(total - lowest))
        begin = int(np.flatnonzero(np.concatenate([[0.0], total[:end]]) == lowest[end])[-1])
        first, last = first + begin, first + end + SHINGLE
        region = np.unique(query[first : last - SHINGLE + 1])
        inside = inside[(inside >= first) & (inside <= last - SHINGLE)]
        common = len(np.unique(query[inside]))
        containment = common / len(own)
        score = 2 * common / (len(own) + len(region))
        if containment < MIN_CONTAINMENT or score < MIN_SCORE:
            return None
        ids = self.identifiers[text]
        return TextMatch(ids[0], ids, self.kinds[text], first, last, containment, score)


def _shingles(numbers: np.ndarray) -> np.ndarray:
    """[words - SHINGLE + 1] uint64: a mix of the numbers of SHINGLE successive words."""
    size = len(numbers) - SHINGLE + 1
    out = np.zeros(max(0, size), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for k in range(SHINGLE):
            out ^= (numbers[k : k + size] + np.uint64(1)) * _PRIMES[k]
            out = (out << np.uint64(23)) | (out >> np.uint64(41))
    return out


@cache
def index() -> Index:
    """The index, built once a process (about half a second)."""
    raw = lzma.decompress(resources.files("licenses").joinpath("data/texts.bin.xz").read_bytes())
    split = raw.index(b"\n")
    header = json.loads(raw[:split])
    numbers = np.frombuffer(raw, dtype="<u2", offset=split + 1).astype(np.uint64)
    vocabulary = {word: number for number, word in enumerate(header["words"].split(" "))}
    own = []
    start = 0
    for _, _, _, length in header["texts"]:
        own.append(np.unique(_shingles(numbers[start : start + length])))
        start += length
    sizes = np.array([len(s) for s in own], dtype=np.int64)
    everything = np.concatenate(own)
    owner = np.repeat(np.arange(len(own)), sizes)
    order = np.argsort(everything, kind="stable")
    shingles, first = np.unique(everything[order], return_index=True)
    return Index(
        vocabulary=vocabulary,
        identifiers=tuple(tuple(entry[0]) for entry in header["texts"]),
        names=tuple(entry[1] for entry in header["texts"]),
        kinds=tuple(entry[2] for entry in header["texts"]),
        own=tuple(own),
        sizes=sizes,
        lengths=np.array([entry[3] for entry in header["texts"]], dtype=np.int64),
        shingles=shingles,
        postings=owner[order],
        pointers=np.concatenate([first, [len(everything)]]).astype(np.int64),
    )
