"""Words of all texts of a batch: at white space, and as datatrove's tokenizers find them.

The words of a rule tokenizer are a function of each white-space-separated chunk (see `words`), and text
repeats its chunks.  What the chunks of this process are divided into is remembered for each language, so that only new
chunks reach Python.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from quality_signals.chunks import Chunks, chunks
from quality_signals.codepoints import room
from quality_signals.compiled import njit
from quality_signals.strings import U, Vocabulary, heads_of, roomier, vocabulary
from quality_signals.text_batch import TextBatch, decode
from quality_signals.words import MAX_RUN_CHARS, WordSplitter, word_splitter

Bools = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Points = npt.NDArray[np.uint32]

# Stretches of chunks (see `_rejoined`) that are remembered for a language before they are forgotten.
MAX_STRETCHES = 20_000

# Marks of a chunk.
_LINKS = 1  # one of its words occurs in an exception that affixes or blanks may break apart
_REJOINS = 2  # such an exception may begin here
# Bits of a word: it occurs in such an exception; it is the longest of one that holds a blank; it is one as it stands,
# which becomes several words; it begins one of several words.
_LINKING, _SPACED, _ALONE, _FIRST = 1, 2, 4, 8


@dataclasses.dataclass(frozen=True, slots=True)
class Words:
    """Words of a batch in order.

    points         uint32, the code points of the batch, and behind them those of words that do not stand in their
                   text as they are (some tokenizers leave a blank or a line break out)
    starts, ends   [words] int64: word k is points[starts[k]:ends[k]]
    offsets        [texts + 1] int64: text i has the words offsets[i]:offsets[i + 1]
    judged         [texts] bool: False where the language of the text has no splitter; such a text has no words
    """

    points: npt.NDArray[np.uint32]
    starts: Ints
    ends: Ints
    offsets: Ints
    judged: Bools

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def counts(self) -> Ints:
        """[texts] words."""
        return np.diff(self.offsets)


@dataclasses.dataclass(frozen=True, slots=True)
class NumberedWords:
    """Words, and their numbers: ids [words] int32, in `vocabulary.words`."""

    words: Words
    ids: Ids
    vocabulary: Vocabulary


def white_words(texts: TextBatch) -> Words:
    """Words of str.split().  To be asked for as `texts.view(white_words)`."""
    found = texts.view(chunks)
    return Words(texts.points, found.starts, found.ends, found.offsets, np.ones(len(texts), bool))


@njit(error_model="numpy")
def _count_pieces(ids, offsets, owners, owner, counts, marks, words, unknown):  # type: ignore[no-untyped-def]
    """Words of the texts of one owner.  Returns the chunks that are not divided yet, each once, in `unknown`, which has
    their counts -1 then; and all marks of the others."""
    news = 0
    every = np.uint8(0)
    for text in range(len(offsets) - 1):
        if owners[text] != owner:
            continue
        sum_ = np.int64(0)
        for k in range(offsets[text], offsets[text + 1]):
            chunk = U(ids[U(k)])
            count = counts[chunk]
            sum_ += count
            every |= marks[chunk]
            if count == 0:
                counts[chunk] = -1
                unknown[news] = chunk
                news += 1
        words[text] = sum_
    return news, every


@njit(error_model="numpy")
def _divide(  # type: ignore[no-untyped-def]
    starts,
    ends,
    ids,
    offsets,
    owners,
    owner,
    heads,
    sizes,
    pieces,
    at,
    spliced,
    word_starts,
    word_ends,
    word_ids,
):
    """Puts the words of the chunks of the texts of one owner where the words of their text begin, at[text].

    heads, pieces: see `strings.heads_of`.

    spliced: the stretches of chunks that have other words: first and one behind the last chunk of each, in order, and
    [stretches + 1] the first of its words, of which the next three have starts (from that of the chunk), ends, ids.
    """
    lows, highs, of_stretch, new_starts, new_ends, new_ids = spliced
    stretch = 0
    for text in range(len(offsets) - 1):
        if owners[text] != owner:
            continue
        word = U(at[text])
        k = offsets[text]
        while k < offsets[text + 1]:
            while stretch < len(lows) and lows[stretch] < k:
                stretch += 1
            stop = offsets[text + 1]
            if stretch < len(lows):
                stop = min(stop, lows[stretch])
            for part in range(U(k), U(stop)):
                head = heads[U(ids[part])]
                start = starts[part]
                count = U(head >> 32)
                if count > U(1):
                    first = U(head & 0xFFFFFFFF)
                    for piece in range(first, first + count):
                        word_starts[word] = start
                        word_ids[word] = pieces[piece]
                        start += sizes[piece]
                        word_ends[word] = start
                        word += U(1)
                else:
                    word_starts[word] = start
                    word_ids[word] = head
                    word_ends[word] = ends[part]
                    word += U(1)
            k = stop
            if stretch < len(lows) and lows[stretch] == k and k < offsets[text + 1]:
                for piece in range(of_stretch[stretch], of_stretch[stretch + 1]):
                    word_starts[word] = starts[k] + new_starts[piece]
                    word_ends[word] = starts[k] + new_ends[piece]
                    word_ids[word] = new_ids[piece]
                    word += U(1)
                k = highs[stretch]


@njit(error_model="numpy")
def _mark(pieces, firsts, counts, bits, pairs, marks, asked):  # type: ignore[no-untyped-def]
    """Marks of runs of words, and whether an exception may stand among them.  pairs: first and second word, sorted."""
    for run in range(len(counts)):
        every = np.uint8(0)
        last = firsts[run] + counts[run] - 1
        for k in range(firsts[run], last + 1):
            found = bits[U(pieces[U(k)])]
            every |= found
            asked[run] |= (found & _ALONE) != 0
            if found & _FIRST and k < last:
                pair = np.int64(pieces[U(k)]) << 32 | pieces[U(k + 1)]
                low, high = U(0), U(len(pairs))
                while low < high:
                    middle = (low + high) >> U(1)
                    if pairs[middle] < pair:
                        low = middle + U(1)
                    else:
                        high = middle
                asked[run] |= low < len(pairs) and pairs[low] == pair
        if every & _SPACED:
            marks[run] = _LINKS | _REJOINS
        elif every & _LINKING:
            marks[run] = _LINKS


class DividedChunks:
    """How a splitter divides the chunks of a vocabulary; the arrays stay as they are while other threads add chunks.

    counts   [chunks] int32, words of a chunk, 0 where nobody asked yet     marks   [chunks] uint8
    firsts   [chunks] int32: its words are pieces[firsts[c]:firsts[c] + counts[c]]; heads [chunks] int64: of these
             three what `strings.heads_of` says
    sizes    [pieces] int32, characters      pieces  [pieces] int32, their numbers in `vocabulary.words`
    """

    def __init__(self, known: Vocabulary, splitter: WordSplitter) -> None:
        self._lock = known.lock
        self._vocabulary = known
        self._splitter = splitter
        self._stretches: dict[bytes, tuple[Ints, Ints, Ids]] = {}
        patterns = [words for seconds in splitter._patterns.values() for found in seconds.values() for words in found]
        self._linking = {word for words in patterns for word in words}
        # The longest word of each exception that holds a blank: where a text lacks it, it lacks the exception.
        self._spaced = {
            max((word for run in key.split() for word in splitter._split(run, exceptions=False)), key=len)
            for key in splitter._exceptions
            if " " in key.strip()
        }
        self._division = splitter.division()
        self._bits = np.zeros(1, np.uint8)
        self._mark_words(self._linking, _LINKING)
        self._mark_words(self._spaced, _SPACED)
        single = {words[0] for words in patterns if len(words) == 1}
        self._mark_words(
            {word for word in single if splitter._exceptions.get(word, (len(word),)) != (len(word),)}, _ALONE
        )
        self._mark_words({words[0] for words in patterns if len(words) > 1}, _FIRST)
        two = [known.words.numbers_of([word[place] for word in patterns if len(word) > 1]) for place in (0, 1)]
        self._pairs = np.unique(two[0].astype(np.int64) << 32 | two[1])
        self.counts = np.zeros(1, np.int32)
        self.firsts = np.zeros(1, np.int32)
        self.heads = np.zeros(1, np.int64)
        self.marks = np.zeros(1, np.uint8)
        self.sizes = np.zeros(1 << 12, np.int32)
        self.pieces = np.zeros(1 << 12, np.int32)
        self._used = 0

    def _mark_words(self, words: set[str], bit: int) -> None:
        numbers = self._vocabulary.words.numbers_of(sorted(words))
        self._bits = roomier(self._bits, self._vocabulary.words.known)
        self._bits[numbers] |= bit

    def _measure(self, unknown: Ids) -> None:
        """Words of new chunks."""
        strings = self._vocabulary.chunks
        self.counts = roomier(self.counts, strings.known)
        self.firsts = roomier(self.firsts, strings.known)
        self.heads = roomier(self.heads, strings.known)
        self.marks = roomier(self.marks, strings.known)
        utf8, _ = strings.gather(unknown)
        points = decode(utf8)
        counts, sizes = self._sizes(points, _sums(strings.lengths[unknown]))
        ends = np.cumsum(sizes)
        used = self._used
        self.sizes = roomier(self.sizes, used + len(ends))
        self.pieces = roomier(self.pieces, used + len(ends))
        self.sizes[used : used + len(ends)] = sizes
        pieces = self._vocabulary.words.numbers_in(utf8, ends - sizes, ends)
        self.pieces[used : used + len(ends)] = pieces
        firsts = np.cumsum(counts) - counts
        self.marks[unknown] = self._marks_of(pieces, firsts, counts)
        self.firsts[unknown] = used + firsts
        self.heads[unknown] = heads_of(counts, used + firsts, self.pieces)
        self.counts[unknown] = counts
        self._used = used + len(ends)

    def _sizes(self, points: Points, bounds: Ints) -> tuple[Ints, Ints]:
        """[runs] how many words each run has, and [words] their sizes."""
        if self._division is not None:
            return self._division.sizes(points, bounds)
        text = points.tobytes().decode("utf-32-le")
        found = [self._splitter.run_sizes(text[low:high]) for low, high in pairwise(bounds.tolist())]
        counts = np.fromiter(map(len, found), np.int64, len(found))
        return counts, np.array([size for sizes in found for size in sizes], np.int64)

    def _marks_of(self, pieces: Ids, firsts: Ints, counts: Ints) -> npt.NDArray[np.uint8]:
        """[runs] marks of runs with these words."""
        words = self._vocabulary.words
        self._bits = roomier(self._bits, words.known)
        marks, asked = np.zeros(len(counts), np.uint8), np.zeros(len(counts), np.bool_)
        _mark(pieces, firsts, counts, self._bits, self._pairs, marks, asked)
        runs = np.flatnonzero(asked)
        found = words.strings(pieces[np.repeat(asked, counts)])
        for run, (low, high) in zip(runs.tolist(), pairwise(_sums(counts[runs]).tolist()), strict=True):
            if self._splitter._is_broken(found[low:high]):
                marks[run] |= _LINKS | _REJOINS
        return marks

    def count(self, found: Chunks, owners: Ints, owner: int, words: Ints) -> int:
        """Puts the words of each text whose owner this is into words [texts]; returns all marks of their chunks."""
        with self._lock:
            known = self._vocabulary.chunks.known
            self.counts = roomier(self.counts, known)
            self.marks = roomier(self.marks, known)
            self.firsts = roomier(self.firsts, known)
            unknown = np.empty(known, np.int32)
            given = (found.ids, found.offsets, owners, owner)
            news, every = _count_pieces(*given, self.counts, self.marks, words, unknown)
            if news:
                try:
                    self._measure(unknown[:news])
                finally:  # so that a splitter that fails is asked again
                    self.counts[self.counts < 0] = 0
                _, every = _count_pieces(*given, self.counts, self.marks, words, unknown)
            return int(every)

    def rejoined(self, stretches: Sequence[tuple[Ids, Points]]) -> list[tuple[Ints, Ints, Ids]]:
        """`WordSplitter.rejoined` of each stretch, chunks with single blanks between and their points: starts, ends,
        numbers of words.  Remembered."""
        keys = [ids.tobytes() for ids, _ in stretches]
        found: dict[bytes, tuple[Ints, Ints, Ids]] = {}
        new: dict[bytes, tuple[str, Ints, Ints]] = {}
        for key, (ids, points) in zip(keys, stretches, strict=True):
            if key in self._stretches:
                found[key] = self._stretches[key]
            elif key not in new:
                stretch = points.tobytes().decode("utf-32-le")
                new[key] = stretch, *self._splitter.rejoined(stretch, *self._word_spans(ids))
        words = [
            stretch[low:high]
            for stretch, starts, ends in new.values()
            for low, high in zip(starts.tolist(), ends.tolist(), strict=True)
        ]
        numbers, at = self._vocabulary.words.numbers_of(words), 0
        if len(self._stretches) + len(new) > MAX_STRETCHES:
            self._stretches = {}
        for key, (stretch, starts, ends) in new.items():
            found[key] = starts, ends, numbers[at : at + len(starts)]
            at += len(starts)
            if len(stretch) <= MAX_RUN_CHARS:
                self._stretches[key] = found[key]
        return [found[key] for key in keys]

    def _word_spans(self, ids: Ids) -> tuple[Ints, Ints]:
        """Starts and ends of the words of chunks with single blanks between."""
        starts, ends, at = [], [], 0
        for first, count in zip(self.firsts[ids].tolist(), self.counts[ids].tolist(), strict=True):
            for size in self.sizes[first : first + count].tolist():
                starts.append(at)
                at += size
                ends.append(at)
            at += 1
        return np.array(starts, np.int64), np.array(ends, np.int64)


@njit(error_model="numpy", forceinline=True)
def _go_together(ids, points, starts, ends, marks, k):  # type: ignore[no-untyped-def]
    """Whether the chunks k and k + 1 of a text are linking ones with one blank between."""
    if not marks[U(ids[k])] or not marks[U(ids[k + 1])]:
        return False
    return starts[k + 1] == ends[k] + 1 and points[ends[k]] == 32


@njit(error_model="numpy")
def _stretches(ids, points, starts, ends, offsets, owners, owner, marks, counts, firsts, lasts, places):  # type: ignore[no-untyped-def]
    """First and one behind the last chunk of the stretches of linking chunks with one blank between that hold a chunk
    to rejoin, as far as there is room, and their text and number of words.  Returns the number of stretches."""
    count = 0
    for text in range(len(offsets) - 1):
        if owners[text] != owner:
            continue
        behind = offsets[text]
        for k in range(offsets[text], offsets[text + 1]):
            if not marks[U(ids[U(k)])] & _REJOINS or k < behind:
                continue
            first = k
            while first > offsets[text] and _go_together(ids, points, starts, ends, marks, first - 1):
                first -= 1
            behind = k + 1
            while behind < offsets[text + 1] and _go_together(ids, points, starts, ends, marks, behind - 1):
                behind += 1
            if count < len(firsts):
                words = np.int64(0)
                for chunk in range(first, behind):
                    words += counts[U(ids[chunk])]
                firsts[count] = first
                lasts[count] = behind
                places[count, 0] = text
                places[count, 1] = words
            count += 1
    return count


# Stretches of chunks whose words are not those of the chunks, see `_divide`.
_Spliced = tuple[Ints, Ints, Ints, Ints, Ints, Ids]


def _rejoined(table: DividedChunks, found: Chunks, points: Any, owners: Ints, owner: int, counts: Ints) -> _Spliced:
    """Where exceptions that affixes or blanks broke apart are found, and their words; changes counts [texts].

    Such an exception holds no white space but single blanks, so each stretch is looked at alone.
    """
    most = 1024
    while True:
        firsts, lasts, places = np.empty(most, np.int64), np.empty(most, np.int64), np.empty((most, 2), np.int64)
        spans = (found.ids, points, found.starts, found.ends, found.offsets, owners, owner)
        count = _stretches(*spans, table.marks, table.counts, firsts, lasts, places)
        if count <= most:
            break
        most = count
    firsts, lasts, places = firsts[:count], lasts[:count], places[:count]
    lows, highs = found.starts[firsts].tolist(), found.ends[lasts - 1].tolist()
    spans_of = zip(firsts.tolist(), lasts.tolist(), lows, highs, strict=True)
    new = table.rejoined([(found.ids[first:last], points[low:high]) for first, last, low, high in spans_of])
    sizes = np.array([len(starts) for starts, _, _ in new], np.int64)
    np.add.at(counts, places[:, 0], sizes - places[:, 1])
    starts, ends, ids = (np.concatenate(column) for column in zip(*new, strict=True)) if new else _NO_WORDS_AT
    return firsts, lasts, _sums(sizes), starts, ends, ids


_NO_WORDS_AT = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int32))


def _sums(counts: npt.NDArray[Any]) -> Ints:
    """[n + 1]: 0 and the running totals."""
    sums = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=sums[1:])
    return sums


def splitters(texts: TextBatch, default_language: str) -> tuple[list[Any], Ints]:
    """The splitters of a batch's languages, and for each text [texts] the number of its own, -1 without one."""
    found: list[Any] = []
    numbers: dict[str, int] = {}
    languages = [language or default_language for language in texts.languages(default_language)]
    for language in dict.fromkeys(languages):
        splitter = word_splitter(language)
        if splitter is not None and splitter not in found:
            found.append(splitter)
        numbers[language] = -1 if splitter is None else found.index(splitter)
    return found, np.array([numbers[language] for language in languages], np.int64)


def numbered_words(texts: TextBatch, default_language: str) -> NumberedWords:
    """View: words as datatrove's tokenizer of each text's language finds them, `default_language` where it is null."""
    found, owners = texts.view(splitters, default_language)
    of_rules = [isinstance(splitter, WordSplitter) for splitter in found]
    counts = np.zeros(len(texts), np.int64)
    whole: dict[int, tuple[npt.NDArray[np.uint32], Ints, Ints]] = {}
    tables: dict[int, tuple[DividedChunks, int]] = {}
    split = texts.view(chunks) if any(of_rules) else None
    known = vocabulary() if split is None else split.vocabulary
    for owner, splitter in enumerate(found):
        if split is not None and of_rules[owner]:
            table: DividedChunks = known.remembered(DividedChunks, splitter)
            tables[owner] = table, table.count(split, owners, owner, counts)
            continue
        for text in np.flatnonzero(owners == owner).tolist():  # by a model, which needs whole texts
            whole[text] = splitter.located(texts.texts[text].as_py())
            counts[text] = len(whole[text][1])
    spliced: dict[int, _Spliced] = {}
    for owner, (table, marks) in tables.items():
        assert split is not None
        spliced[owner] = (_NO_WORDS_AT[0], _NO_WORDS_AT[0], np.zeros(1, np.int64), *_NO_WORDS_AT)
        if marks & _REJOINS:
            spliced[owner] = _rejoined(table, split, texts.points, owners, owner, counts)
    offsets = _sums(counts)
    starts, ends, ids = room(offsets[-1], np.int64), room(offsets[-1], np.int64), room(offsets[-1], np.int32)
    points, extra, behind = texts.points, [texts.points], len(texts.points)
    for text, (own_points, low, high) in whole.items():
        words = slice(offsets[text], offsets[text + 1])
        ids[words] = known.words.numbers_at(own_points, low, high)
        length = int(texts.lengths[text])
        moved = np.where(low < length, texts.offsets[text], behind - length)
        starts[words] = low + moved
        ends[words] = high + moved
        if len(own_points) > length:
            extra.append(own_points[length:])
            behind += len(own_points) - length
    if len(extra) > 1:
        points = np.concatenate(extra)
    for owner, (table, _) in tables.items():
        assert split is not None
        spans = (split.starts, split.ends, split.ids, split.offsets, owners, owner)
        pieces = (table.heads, table.sizes, table.pieces)
        _divide(*spans, *pieces, offsets, spliced[owner], starts, ends, ids)
    return NumberedWords(Words(points, starts, ends, offsets, owners >= 0), ids, known)


def datatrove_words(texts: TextBatch, default_language: str) -> Words:
    """The words alone.  To be asked for as `texts.view(datatrove_words, "en")`."""
    return texts.view(numbered_words, default_language).words
