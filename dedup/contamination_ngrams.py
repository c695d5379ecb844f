"""Runs of n words that evaluation items and texts have in common; every one is compared word by word.

gpt3        13 words.  The collision goes, with 200 characters on both sides; pieces of fewer than 200 characters
            go too; a text in more than 10 pieces goes as a whole
cosmopedia  10 words find the candidates; a text goes if more than half of the item's characters stand in it in
            matching stretches of more than 5 (difflib.SequenceMatcher over both as words joined by blanks)
datatrove   12 words of an answer, or that lead from the question into the answer; any collision drops the text
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.contamination_sets import LABEL, QUERY, TARGET, Text
from dedup.contamination_words import VIEWS, FoldedWords
from dedup.hash_tables import hash_table
from dedup.hashing import Hashes, mix64
from quality_signals.codepoints import CodePoints, equal_ranges, hash_range, number_ranges
from quality_signals.compiled import njit
from quality_signals.text_batch import Ints, SharedTexts, TextBatch

# GPT-3, arXiv:2005.14165, appendix C.
GPT3_WORDS, GPT3_WINDOW, GPT3_LEAST_PIECE, GPT3_PIECES = 13, 200, 200, 10
# huggingface/cosmopedia @ 1c0d3e1, decontamination/decontaminate.py: ngram_length, diff_threshold, and the length that
# a matching block must exceed.
COSMOPEDIA_WORDS, COSMOPEDIA_RATIO, COSMOPEDIA_BLOCK = 10, 0.5, 5
# datatrove 0.10.1, pipeline/decont/n_grams.py, NGramsDecontConfig.
DATATROVE_WORDS = 12
# Beyond so many characters only what stands around the collisions is matched with the item: see `matched_characters`.
MAX_MATCHED_CHARS = 1_000_000

_B = np.uint64(0xD6E8FEB86659FD93)
_ONE, _ZERO = np.uint64(1), np.uint64(0)
_SHIFT = np.uint64(32)


@dataclasses.dataclass(frozen=True, slots=True)
class GramIndex:
    """The distinct runs of n words of some texts.

    words          of the texts that are looked for; of a pair of question and answer those of both in a row
    first          [grams] int64, the word with which the first occurrence of gram g begins
    hashes         [grams] uint64
    owners         [occurrences] int64, texts in which gram g occurs, owner_offsets[g]:owner_offsets[g + 1]
    slots          [power of two] int64, gram or -1; seen [2^k] uint64 one bit a slot of a larger table
    targets        [texts] int64: index of the `Text` that is meant by a text here
    too_short      texts that have no gram
    """

    n: int
    view: str
    words: FoldedWords
    first: Ints
    hashes: Hashes
    owners: Ints
    owner_offsets: Ints
    slots: Ints
    seen: Hashes
    targets: Ints
    too_short: int

    def __len__(self) -> int:
        return len(self.first)

    def gram(self, number: int) -> str:
        """The words of a gram, joined by blanks."""
        first = int(self.first[number])
        points = self.words.points[self.words.starts[first] : self.words.ends[first + self.n - 1]]
        return points.astype("<u4").tobytes().decode("utf-32-le")


@njit(error_model="numpy")
def _power(n):  # type: ignore[no-untyped-def]
    power = _ONE
    for _ in range(n):
        power *= _B
    return power


@njit(error_model="numpy")
def _gram_hashes(points, starts, ends, firsts, n, hashes):  # type: ignore[no-untyped-def]
    for k in range(len(firsts)):
        state = _ZERO
        for word in range(firsts[k], firsts[k] + n):
            state = state * _B + hash_range(points, starts[word], ends[word])
        hashes[k] = mix64(state)


@njit(error_model="numpy")
def _find(  # type: ignore[no-untyped-def]
    points, starts, ends, offsets, n, power, item_points, item_starts, item_ends, first, hashes, slots, seen, found
):
    """Rows (text, first word, gram) of `found` for every run of n words that is a gram; returns how many there are,
    which may be more than `found` has room for."""
    mask = np.uint64(len(slots) - 1)
    bits = np.uint64(64 * len(seen) - 1)
    ring = np.zeros(n, np.uint64)
    count = 0
    for text in range(len(offsets) - 1):
        begin = offsets[text]
        state = _ZERO
        place = 0
        for word in range(begin, offsets[text + 1]):
            own = hash_range(points, starts[word], ends[word])
            state = state * _B + own
            if word - begin >= n:
                state -= ring[place] * power
            ring[place] = own
            place += 1
            if place == n:
                place = 0
            if word - begin < n - 1:
                continue
            h = mix64(state)
            bit = h >> _SHIFT & bits
            if not seen[bit >> np.uint64(6)] >> (bit & np.uint64(63)) & _ONE:
                continue
            slot = h & mask
            at = starts[word - n + 1]
            length = ends[word] - at
            while slots[slot] >= 0:
                gram = slots[slot]
                if hashes[gram] == h:
                    item = item_starts[first[gram]]
                    if item_ends[first[gram] + n - 1] - item == length and equal_ranges(
                        points, at, item_points, item, length
                    ):
                        if count < len(found):
                            found[count, 0] = text
                            found[count, 1] = word - n + 1
                            found[count, 2] = gram
                        count += 1
                        break
                slot = (slot + _ONE) & mask
    return count


def text_batch(texts: Sequence[str]) -> TextBatch:
    batch = pa.RecordBatch.from_arrays([pa.array(list(texts), pa.large_string())], ["text"])
    return SharedTexts(batch).of(None)


def _joined(words: FoldedWords, groups: Sequence[Sequence[int]]) -> tuple[FoldedWords, Ints]:
    """The words of the texts of every group in a row, as those of one text; and the words of its last text."""
    chosen = [np.arange(words.offsets[text], words.offsets[text + 1]) for group in groups for text in group]
    order = np.concatenate(chosen) if chosen else np.zeros(0, np.int64)
    sizes = words.ends[order] - words.starts[order] + 1
    ends = np.cumsum(sizes)
    starts = ends - sizes
    spread = np.arange(int(sizes.sum())) - np.repeat(starts - words.starts[order], sizes)
    counts = np.diff(words.offsets)
    offsets = np.zeros(len(groups) + 1, np.int64)
    np.cumsum([sum(int(counts[text]) for text in group) for group in groups], out=offsets[1:])
    points = words.points[spread]
    last = np.array([counts[group[-1]] for group in groups], np.int64)
    return FoldedWords(points, starts, ends - 1, offsets, words.first[order], words.last[order]), last


def build_index(texts: Sequence[Text], n: int, view: str, answers: bool = False) -> GramIndex:
    """The grams of all targets; with `answers` of labels, and those that begin in the query and end in the label, as
    datatrove; a set without query and label gives its targets.

    Time and memory linear in the texts.
    """
    groups: list[list[int]] = []
    targets: list[int] = []
    whole: list[bool] = []
    with_label = {text.set for text in texts if text.role == LABEL} if answers else set()
    queries = {(text.set, text.item): i for i, text in enumerate(texts) if text.role == QUERY}
    for i, text in enumerate(texts):
        if text.set in with_label:
            if text.role == LABEL:
                query = queries.get((text.set, text.item))
                groups.append([i] if query is None else [query, i])
                targets.append(i)
                whole.append(query is None)
        elif text.role == TARGET:
            groups.append([i])
            targets.append(i)
            whole.append(True)
    words, last = _joined(text_batch([text.text for text in texts]).view(VIEWS[view]), groups)
    counts = np.diff(words.offsets)
    firsts, owners = [], []
    too_short = 0
    for number, (start, count, behind) in enumerate(zip(words.offsets.tolist(), counts.tolist(), last, strict=False)):
        # Of a pair those runs that end in the answer: the first ends with its first word.
        skipped = 0 if whole[number] else max(count - int(behind) - n + 1, 0)
        own = np.arange(start + skipped, start + max(count - n + 1, skipped))
        too_short += not len(own)
        firsts.append(own)
        owners.append(np.full(len(own), number))
    starts_at = np.concatenate(firsts).astype(np.int64) if firsts else np.zeros(0, np.int64)
    owner_of = np.concatenate(owners).astype(np.int64) if owners else np.zeros(0, np.int64)
    ids, distinct = number_ranges(words.points, words.starts[starts_at], words.ends[starts_at + n - 1])
    first = starts_at[distinct]
    pairs = np.unique(np.stack([ids, owner_of], axis=1), axis=0) if len(ids) else np.zeros((0, 2), np.int64)
    owner_offsets = np.zeros(len(first) + 1, np.int64)
    np.cumsum(np.bincount(pairs[:, 0], minlength=len(first)), out=owner_offsets[1:])
    hashes = np.empty(len(first), np.uint64)
    _gram_hashes(words.points, words.starts, words.ends, first, n, hashes)
    slots, seen = hash_table(hashes)
    return GramIndex(
        n,
        view,
        words,
        first,
        hashes,
        pairs[:, 1].copy(),
        owner_offsets,
        slots,
        seen,
        np.array(targets, np.int64),
        too_short,
    )


def find_grams(texts: TextBatch, index: GramIndex) -> Ints:
    """Every run of n words that is a gram, [found, 3] int64: text, first word, gram; in order.

    Expected time linear in the text.
    """
    words = texts.view(VIEWS[index.view])
    own = index.words
    arguments = (
        words.points,
        words.starts,
        words.ends,
        words.offsets,
        index.n,
        np.uint64(_power(index.n)),  # numba gives a Python number back
        own.points,
        own.starts,
        own.ends,
        index.first,
        index.hashes,
        index.slots,
        index.seen,
    )
    found = np.empty((1024, 3), np.int64)
    count = _find(*arguments, found)
    if count > len(found):
        found = np.empty((count, 3), np.int64)
        _find(*arguments, found)
    return found[:count]


def merged_spans(starts: Ints, ends: Ints) -> list[tuple[int, int]]:
    """Overlapping and touching spans as one; starts ascend."""
    spans: list[tuple[int, int]] = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return spans


def by_target(found: Ints, index: GramIndex) -> dict[int, Ints]:
    """Of the rows of one text: target -> the rows whose gram is one of its own, in order.

    A target is the position in `index.targets`.
    """
    grams = found[:, 2]
    sizes = index.owner_offsets[grams + 1] - index.owner_offsets[grams]
    rows = np.repeat(np.arange(len(found)), sizes)
    inside = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    owners = index.owners[np.repeat(index.owner_offsets[grams], sizes) + inside]
    order = np.argsort(owners, kind="stable")
    own, starts = np.unique(owners[order], return_index=True)
    return {int(target): found[part] for target, part in zip(own, np.split(rows[order], starts[1:]), strict=True)}


@dataclasses.dataclass(frozen=True, slots=True)
class Pieces:
    """What GPT-3's filter leaves of a text: pieces before short ones go, and the stretches that go, in code points."""

    count: int
    removed: tuple[tuple[int, int], ...]
    left: int  # characters that stay


def gpt3_pieces(length: int, collisions: Sequence[tuple[int, int]]) -> Pieces:
    """collisions: ascending by start.

    Reading: windows that overlap or touch are one; pieces are counted before the short ones are discarded; a window
    at an end of the text leaves no piece there.
    """
    windows = [(max(0, start - GPT3_WINDOW), min(length, end + GPT3_WINDOW)) for start, end in collisions]
    merged: list[tuple[int, int]] = []
    for start, end in windows:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    bounds = [0, *(place for window in merged for place in window), length]
    pieces = [(start, end) for start, end in zip(bounds[::2], bounds[1::2], strict=True) if end > start]
    kept = [piece for piece in pieces if piece[1] - piece[0] >= GPT3_LEAST_PIECE]
    removed, done = [], 0
    for start, end in [*kept, (length, length)]:
        if start > done:
            removed.append((done, start))
        done = end
    return Pieces(len(pieces), tuple(removed), sum(end - start for start, end in kept))


@njit(error_model="numpy")
def _matching_blocks(a, b, blocks):  # type: ignore[no-untyped-def]
    """difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks() before adjacent ones are joined and
    without the empty last one: rows (place in a, place in b, length), in order of discovery.  Returns their number.

    Time: len(a) len(b) for each block, less what earlier blocks cut off.
    """
    stack = np.empty((2 * min(len(a), len(b)) + 4, 4), np.int64)
    stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = 0, len(a), 0, len(b)
    waiting = 1
    count = 0
    row = np.zeros(len(b) + 1, np.int32)
    while waiting:
        waiting -= 1
        a_low, a_high, b_low, b_high = stack[waiting]
        for j in range(b_low, b_high + 1):
            row[j] = 0
        longest, best_a, best_b = 0, a_low, b_low
        for i in range(a_low, a_high):
            c = a[i]
            before = np.int32(0)
            peak = np.int32(0)
            for j in range(b_low, b_high):
                kept = row[j + 1]
                length = before + np.int32(1) if b[j] == c else np.int32(0)
                row[j + 1] = length
                peak = max(peak, length)
                before = kept
            if peak > longest:
                longest = peak
                for j in range(b_low, b_high):
                    if row[j + 1] == peak:
                        best_a, best_b = i - peak + 1, j - peak + 1
                        break
        if longest == 0:
            continue
        blocks[count, 0], blocks[count, 1], blocks[count, 2] = best_a, best_b, longest
        count += 1
        if a_low < best_a and b_low < best_b:
            stack[waiting, 0], stack[waiting, 1] = a_low, best_a
            stack[waiting, 2], stack[waiting, 3] = b_low, best_b
            waiting += 1
        if best_a + longest < a_high and best_b + longest < b_high:
            stack[waiting, 0], stack[waiting, 1] = best_a + longest, a_high
            stack[waiting, 2], stack[waiting, 3] = best_b + longest, b_high
            waiting += 1
    return count


def matching_blocks(a: CodePoints, b: CodePoints) -> list[tuple[int, int, int]]:
    """As difflib gives them, adjacent ones joined, without the empty last one."""
    blocks = np.empty((min(len(a), len(b)) + 1, 3), np.int64)
    count = _matching_blocks(a, b, blocks)
    joined: list[tuple[int, int, int]] = []
    for i, j, size in sorted(map(tuple, blocks[:count].tolist())):
        if joined and joined[-1][0] + joined[-1][2] == i and joined[-1][1] + joined[-1][2] == j:
            joined[-1] = (joined[-1][0], joined[-1][1], joined[-1][2] + size)
        else:
            joined.append((i, j, size))
    return joined


def matched_characters(text: CodePoints, item: CodePoints) -> int:
    """Characters of the text in matching blocks of more than 5, white space squeezed, as the reference counts them."""
    parts = [text[i : i + size] for i, _, size in matching_blocks(text, item) if size > COSMOPEDIA_BLOCK]
    matched = "".join(part.astype("<u4").tobytes().decode("utf-32-le") for part in parts)
    return len(" ".join(matched.split()))


def matched_ratio(words: FoldedWords, text: int, item: CodePoints, collisions: Ints) -> float:
    """Share of the item that stands in the text.  collisions: [n] words of the batch where common runs begin.

    A text of more than MAX_MATCHED_CHARS characters is cut to what stands around the collisions, as much on both
    sides as the item is long; the reference would take hours.
    """
    first, last = int(words.offsets[text]), int(words.offsets[text + 1]) - 1
    start, end = int(words.starts[first]), int(words.ends[last])
    if end - start <= MAX_MATCHED_CHARS:
        return matched_characters(words.points[start:end], item) / len(item)
    around: list[npt.NDArray[np.uint32]] = []
    places = words.starts[collisions]
    for low, high in merged_spans(places - len(item), places + 2 * len(item)):
        around.append(words.points[max(start, low) : min(end, high)])
    return matched_characters(np.concatenate(around)[:MAX_MATCHED_CHARS], item) / len(item)


def item_points(index: GramIndex, target: int) -> CodePoints:
    """The words of a target joined by blanks."""
    first, last = int(index.words.offsets[target]), int(index.words.offsets[target + 1]) - 1
    return index.words.points[index.words.starts[first] : index.words.ends[last]]
