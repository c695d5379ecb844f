"""Words of all texts of a batch: at white space, and as datatrove's tokenizers find them.

The words of a rule tokenizer are a function of each white-space-separated chunk (see `words`), and text
repeats its chunks.  A table for each language holds the chunks that were seen in this process with the sizes
of their words, so that only new chunks reach Python.
"""

from __future__ import annotations

import dataclasses
import re
import threading
import weakref
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from quality_signals.batches import batch_of
from quality_signals.codepoints import SPACE, class_table, equal_ranges, mix
from quality_signals.compiled import njit
from quality_signals.ngrams import HASHED
from quality_signals.text_batch import TextBatch
from quality_signals.views import PACKED_CHARS, word_key
from quality_signals.words import MAX_RUN_CHARS, WordSplitter, word_splitter

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
Codes = npt.NDArray[np.int32]

# Chunks that a table remembers before it is emptied, and their characters together: some 80 bytes a chunk and
# 4 bytes a character, so 85 MB a language.  The chunks of one batch may go beyond.
MAX_CHUNKS = 600_000
MAX_CHUNK_CHARS = 9_000_000

# Stretches of chunks (see `_rejoined`) that a table remembers before they are forgotten.
MAX_STRETCHES = 20_000

# Entry of every chunk that is longer than MAX_RUN_CHARS: one word, never remembered.
_ENDLESS = 0
# Marks of a chunk.
_LINKS = 1  # one of its words occurs in an exception that affixes or blanks may break apart
_REJOINS = 2  # such an exception may begin here

# A word of letters between signs, half of the chunks of prose that are no plain words.  The rules of spaCy ask for
# single letters only in exceptions, behind digits and apostrophes, and in the parts of a URL, so all such words that
# occur in no exception are divided alike; they only tell small letters from capitals.
_FRAMED = re.compile(r"([!-/:-@\[-`{-~]{0,2})([A-Za-z][a-z]{3,})([!-/:-@\[-`{-~]{0,3})").fullmatch
_NO_WORDS = ("zvqxwjkz", "qzmkvxaa", "wbtjhfpe", "jdlcgsrn", "ozuyiks")
MAX_FRAMES = 20_000  # remembered
_LETTER_RUN = re.compile("[A-Za-z]+")
# Sizes of the words before the letters, what the word with the letters has besides, sizes of those behind; marks.
_Frame = tuple[tuple[int, ...], int, tuple[int, ...], int]


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


@njit(error_model="numpy")
def _white_words(points, offsets, table, starts, ends, keys, codes, kinds, words):  # type: ignore[no-untyped-def]
    """Fills starts, ends, keys, codes, kinds (which have room for every other character) and words.  Returns the number
    of words."""
    word = 0
    eight = np.uint64(8)
    for text in range(len(offsets) - 1):
        i = offsets[text]
        end = offsets[text + 1]
        while i < end:
            if table[points[i]] & SPACE:
                i += 1
                continue
            start = i
            key = np.uint64(0)
            wide = np.uint32(0)
            kind = np.uint8(0)
            while i < end:
                c = points[i]
                bits = table[c]
                if bits & SPACE:
                    break
                kind |= bits
                key = key << eight | np.uint64(c)
                wide |= c
                i += 1
            code = np.int32(2 * (i - start) + 1)
            if i - start > PACKED_CHARS or wide > 255:
                key, code = word_key(points, start, i)
                if not code & 1:
                    key |= HASHED
            starts[word] = start
            ends[word] = i
            keys[word] = key
            codes[word] = code
            kinds[word] = kind
            word += 1
        words[text + 1] = word
    return word


@dataclasses.dataclass(frozen=True, slots=True)
class WhiteWords:
    """Words of str.split().

    keys, codes  [words] uint64, int32: see `views.word_key`; keys that are hashes have the bit `ngrams.HASHED`
    kinds        [words] uint8: bits of `class_table` that one of the characters has
    """

    words: Words
    keys: Keys
    codes: Codes
    kinds: npt.NDArray[np.uint8]


def keyed_white_words(texts: TextBatch) -> WhiteWords:
    """To be asked for as `texts.view(keyed_white_words)`."""
    most = len(texts.points) // 2 + len(texts) + 1
    starts, ends, keys = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.uint64)
    codes, kinds = np.empty(most, np.int32), np.empty(most, np.uint8)
    offsets = np.zeros(len(texts) + 1, np.int64)
    count = _white_words(texts.points, texts.offsets, class_table(), starts, ends, keys, codes, kinds, offsets)
    words = Words(texts.points, starts[:count], ends[:count], offsets, np.ones(len(texts), bool))
    return WhiteWords(words, keys[:count], codes[:count], kinds[:count])


def white_words(texts: TextBatch) -> Words:
    """Words of str.split().  To be asked for as `texts.view(white_words)`."""
    return texts.view(keyed_white_words).words


@njit(error_model="numpy")
def _find_chunks(  # type: ignore[no-untyped-def]
    points, starts, ends, keys, codes, offsets, owners, owner, at, known, slots, bounds, chars, letters, entries
):
    """Entries of the chunks of the texts of one owner, from chunk `at` on; unknown ones are added.

    slots: two numbers each, the key; and the code and the entry, 0 where empty.
    known: entries in the table.  letters: whether an entry is nothing but ASCII letters.
    returns the chunk at which the table is full, or their number, and the entries now known.
    """
    mask = np.uint64(len(slots) // 2 - 1)
    half, one = np.uint64(32), np.uint64(1)
    for text in range(len(offsets) - 1):
        if owners[text] != owner:
            continue
        for k in range(max(at, offsets[text]), offsets[text + 1]):
            code = np.uint64(codes[k])
            if code > 2 * MAX_RUN_CHARS + 1:
                entries[k] = _ENDLESS
                continue
            key = keys[k]
            slot = mix(key) & mask
            entry = np.int64(0)
            while slots[slot << one | one]:
                found = slots[slot << one | one]
                if slots[slot << one] == key and found >> half == code:
                    entry = np.int64(found & np.uint64(0xFFFFFFFF))
                    if code & one or equal_ranges(chars, bounds[entry], points, starts[k], ends[k] - starts[k]):
                        break
                    entry = np.int64(0)
                slot = (slot + one) & mask
            if not entry:
                start = starts[k]
                length = ends[k] - start
                if 4 * known >= len(slots) or known >= len(letters) or bounds[known] + length > len(chars):
                    return k, known
                entry = known
                known += 1
                slots[slot << one] = key
                slots[slot << one | one] = code << half | np.uint64(entry)
                bounds[entry + 1] = bounds[entry] + length
                plain = True
                for i in range(length):
                    c = points[start + i]
                    chars[bounds[entry] + i] = c
                    plain &= 97 <= (c | 32) <= 122
                letters[entry] = plain
            entries[k] = entry
    return len(starts), known


@njit(error_model="numpy")
def _move_slots(slots, larger):  # type: ignore[no-untyped-def]
    """Puts what is in the slots into an empty table of more."""
    mask = np.uint64(len(larger) // 2 - 1)
    one = np.uint64(1)
    for old in range(0, len(slots), 2):
        if slots[old + 1]:
            slot = mix(slots[old]) & mask
            while larger[slot << one | one]:
                slot = (slot + one) & mask
            larger[slot << one] = slots[old]
            larger[slot << one | one] = slots[old + 1]


@njit(error_model="numpy")
def _divide(  # type: ignore[no-untyped-def]
    starts, ends, offsets, owners, owner, entries, counts, bounds, sizes, at, word_starts, word_ends
):
    """Puts the words of the chunks of the texts of one owner where the words of their text begin, at[text]."""
    for text in range(len(offsets) - 1):
        if owners[text] != owner:
            continue
        word = at[text]
        for k in range(offsets[text], offsets[text + 1]):
            start = starts[k]
            if counts[k] == 1:
                word_starts[word] = start
                word_ends[word] = ends[k]
                word += 1
                continue
            first = bounds[entries[k]]
            for part in range(first, first + counts[k]):
                word_starts[word] = start
                start += sizes[part]
                word_ends[word] = start
                word += 1


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    """The chunks of some texts in a table; the arrays stay as they are while other threads add chunks."""

    entries: npt.NDArray[np.int32]  # [chunks] of the batch, _ENDLESS for those of other texts
    counts: npt.NDArray[np.int32]  # [chunks] words
    before: Ints  # [chunks + 1] words of all chunks before
    marks: npt.NDArray[np.uint8]  # [chunks]
    bounds: Ints  # the sizes of the words of entry e begin at sizes[bounds[e]]
    sizes: npt.NDArray[np.int32]


class ChunkTable:
    """The chunks of one language seen in this process, and the sizes of their words in characters."""

    def __init__(self, splitter: WordSplitter) -> None:
        self._lock = threading.Lock()
        self._stretches: dict[str, tuple[Ints, Ints]] = {}
        self._letters_whole = splitter._letters_whole
        patterns = [words for seconds in splitter._patterns.values() for found in seconds.values() for words in found]
        self._linking = {word for words in patterns for word in words}
        # The longest word of each exception that holds a blank: where a text lacks it, it lacks the exception.
        self._spaced = {
            max((word for run in key.split() for word in splitter._split(run, exceptions=False)), key=len)
            for key in splitter._exceptions
            if " " in key.strip()
        }
        # Chunks of letters between signs: see `_FRAMED`.
        self._frames_whole = splitter._letters_whole and splitter._is_token is None
        self._frames: dict[tuple[str, bool, str], _Frame | None] = {}
        self._letter_runs = set(_LETTER_RUN.findall(" ".join([*splitter._exceptions, *self._linking])))
        self._clear(splitter)

    def _clear(self, splitter: WordSplitter) -> None:
        self._slots = np.zeros(1 << 13, np.uint64)
        self._letters = np.zeros(1 << 11, bool)
        self._char_bounds = np.zeros(len(self._letters) + 1, np.int64)
        self._chars = np.zeros(1 << 15, np.uint32)
        self._counts = np.ones(len(self._letters), np.int32)
        self._marks = np.zeros(len(self._letters), np.uint8)
        self._bounds = np.zeros(len(self._letters) + 1, np.int64)
        self._sizes = np.zeros(1 << 12, np.int32)
        # Entries with characters, and those whose words are known; _ENDLESS stands in no slot.
        self._known = self._measured = 1
        # Known from the start, so that an unknown chunk of ASCII letters is one word that links to none.
        runs = sorted(run for run in self._linking.union(splitter._exceptions) if run.isascii() and run.isalpha())
        whole = batch_of([" ".join(runs)])
        self._look_up(TextBatch(whole, np.ones(1, bool)).view(keyed_white_words), np.zeros(1, np.int64), 0)
        self._letters[: self._known] = False
        self._measure(splitter)

    def _grow(self, length: int) -> None:
        """Room for more entries, of which the next has `length` characters."""
        known = self._known
        self._letters = _room(self._letters, known + 1)
        self._char_bounds = _room(self._char_bounds, len(self._letters) + 1)
        self._chars = _room(self._chars, int(self._char_bounds[known]) + length)
        if len(self._slots) < 4 * len(self._letters):
            larger = np.zeros(1 << (8 * len(self._letters) - 1).bit_length(), np.uint64)
            _move_slots(self._slots, larger)
            self._slots = larger

    def _look_up(self, keyed: WhiteWords, owners: Ints, owner: int) -> npt.NDArray[np.int32]:
        """Entries of the chunks; unknown ones get an entry."""
        chunks = keyed.words
        entries = np.full(len(chunks), _ENDLESS, np.int32)
        at = 0
        spans = (chunks.points, chunks.starts, chunks.ends, keyed.keys, keyed.codes, chunks.offsets, owners, owner)
        while True:
            table = (self._known, self._slots, self._char_bounds, self._chars, self._letters)
            at, self._known = _find_chunks(*spans, at, *table, entries)
            if at == len(chunks):
                return entries
            self._grow(int(chunks.ends[at] - chunks.starts[at]))

    def _measure(self, splitter: WordSplitter) -> None:
        """Words of the entries that are new."""
        first, known = self._measured, self._known
        self._counts = _room(self._counts, known)
        self._marks = _room(self._marks, known)
        self._bounds = _room(self._bounds, known + 1)
        counts, marks, bounds = self._counts[first:known], self._marks[first:known], self._bounds[first : known + 1]
        counts[:] = 1
        parts: list[int] = []
        sized = self._letters[first:known] if self._letters_whole else np.zeros(known - first, bool)
        char_bounds = self._char_bounds[first : known + 1]
        runs = self._chars[char_bounds[0] : char_bounds[-1]].tobytes().decode("utf-32-le")
        cuts = (char_bounds - char_bounds[0]).tolist()
        for i in np.flatnonzero(~sized).tolist():
            run = runs[cuts[i] : cuts[i + 1]]
            sizes, marks[i] = self._words_of(splitter, run)
            if len(sizes) > 1:
                parts += sizes
                counts[i] = len(sizes)
        np.cumsum(np.where(counts > 1, counts, 0), out=bounds[1:])
        bounds[1:] += bounds[0]
        self._sizes = _room(self._sizes, int(bounds[-1]))
        self._sizes[bounds[0] : bounds[-1]] = parts
        self._measured = known

    def _words_of(self, splitter: WordSplitter, run: str) -> tuple[tuple[int, ...], int]:
        """Sizes of the words of an unknown chunk, and its marks."""
        framed = _FRAMED(run) if self._frames_whole else None
        if framed is not None and framed[2] not in self._letter_runs:
            before, letters, after = framed.groups()
            key = (before, letters[0].isupper(), after)
            if key not in self._frames:
                if len(self._frames) >= MAX_FRAMES:
                    self._frames.clear()
                self._frames[key] = self._frame(splitter, *key)
            frame = self._frames[key]
            if frame is not None:
                first, more, last, mark = frame
                return (*first, len(letters) + more, *last), mark
        sizes, broken = splitter.new_sizes(run)
        return sizes, self._marks_of(run, sizes, broken)

    def _frame(self, splitter: WordSplitter, before: str, capital: bool, after: str) -> _Frame | None:
        """How letters between these signs are divided; None where they do not stay together or it is not the same
        for all letters (Swedish has a rule on the letter before an apostrophe)."""
        found = set()
        for letters in _NO_WORDS:
            run = before + (letters.title() if capital else letters) + after
            sizes, broken = splitter.new_sizes(run)
            ends = list(accumulate(sizes))
            place = next(place for place, end in enumerate(ends) if end >= len(before) + len(letters))
            if ends[place] - sizes[place] > len(before):
                return None
            more = sizes[place] - len(letters)
            found.add((sizes[:place], more, sizes[place + 1 :], self._marks_of(run, sizes, broken)))
        return found.pop() if len(found) == 1 else None

    def _marks_of(self, run: str, sizes: tuple[int, ...], broken: bool) -> int:
        words = [run]
        if len(sizes) > 1:
            words = [run[end - size : end] for end, size in zip(accumulate(sizes), sizes, strict=True)]
        if broken or not self._spaced.isdisjoint(words):
            return _LINKS | _REJOINS
        return 0 if self._linking.isdisjoint(words) else _LINKS

    def find(self, splitter: WordSplitter, chunks: WhiteWords, owners: Ints, owner: int) -> _Found:
        """The chunks of the texts whose owner this is."""
        with self._lock:
            if self._known > MAX_CHUNKS or self._char_bounds[self._known] > MAX_CHUNK_CHARS:
                self._clear(splitter)
            entries = self._look_up(chunks, owners, owner)
            if self._known > self._measured:
                self._measure(splitter)
            counts = self._counts[entries]
            return _Found(entries, counts, _sums(counts), self._marks[entries], self._bounds, self._sizes)

    def rejoined(self, splitter: WordSplitter, stretch: str, low: int, starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
        """`WordSplitter.rejoined` of a stretch that begins at `low`, remembered."""
        found = self._stretches.get(stretch)
        if found is None:
            found = splitter.rejoined(stretch, starts - low, ends - low)
            if len(self._stretches) >= MAX_STRETCHES:
                self._stretches = {}
            if len(stretch) <= MAX_RUN_CHARS:
                self._stretches[stretch] = found
        return found


def _room(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """The array, or one of at least twice its size with its values in front."""
    if size <= len(array):
        return array
    larger = np.zeros(max(size, 2 * len(array)), array.dtype)
    larger[: len(array)] = array
    return larger


_tables: weakref.WeakKeyDictionary[WordSplitter, ChunkTable] = weakref.WeakKeyDictionary()
_tables_lock = threading.Lock()


def _table(splitter: WordSplitter) -> ChunkTable:
    with _tables_lock:
        if splitter not in _tables:
            _tables[splitter] = ChunkTable(splitter)
        return _tables[splitter]


@njit(error_model="numpy")
def _stretches(points, starts, ends, offsets, marks, firsts, lasts, owners):  # type: ignore[no-untyped-def]
    """First and last chunk, and text, of the stretches of linking chunks with one blank between that hold a chunk
    to rejoin.  Returns their number."""
    count = 0
    for text in range(len(offsets) - 1):
        first = offsets[text]
        found = False
        for k in range(first, offsets[text + 1]):
            if not marks[k]:
                first = k + 1
                continue
            found |= (marks[k] & _REJOINS) != 0
            if k + 1 < offsets[text + 1] and marks[k + 1] and starts[k + 1] == ends[k] + 1 and points[ends[k]] == 32:
                continue
            if found:
                firsts[count] = first
                lasts[count] = k
                owners[count] = text
                count += 1
                found = False
            first = k + 1
    return count


def _rejoined(splitter: WordSplitter, chunks: Words, found: _Found, words: Words) -> Words:
    """Words once exceptions that affixes or blanks broke apart are found.

    Such an exception holds no white space but single blanks, so each stretch is looked at alone.
    """
    firsts, lasts, owners = (np.empty(int(np.count_nonzero(found.marks)), np.int64) for _ in range(3))
    spans = (chunks.points, chunks.starts, chunks.ends, chunks.offsets)
    count = _stretches(*spans, found.marks, firsts, lasts, owners)
    firsts, lasts, owners = firsts[:count], lasts[:count], owners[:count]
    before = found.before
    first_words = words.offsets[owners] - before[chunks.offsets[owners]]
    places = zip(
        chunks.starts[firsts].tolist(),
        chunks.ends[lasts].tolist(),
        (first_words + before[firsts]).tolist(),
        (first_words + before[lasts + 1]).tolist(),
        owners.tolist(),
        strict=True,
    )
    starts, ends, done = [], [], 0
    counts = words.counts
    table = _table(splitter)
    for low, high, a, b, text in places:
        stretch = chunks.points[low:high].tobytes().decode("utf-32-le")
        joined_starts, joined_ends = table.rejoined(splitter, stretch, low, words.starts[a:b], words.ends[a:b])
        if len(joined_starts) == b - a:
            words.starts[a:b], words.ends[a:b] = joined_starts + low, joined_ends + low
            continue
        starts += [words.starts[done:a], joined_starts + low]
        ends += [words.ends[done:a], joined_ends + low]
        counts[text] += len(joined_starts) - (b - a)
        done = b
    if not starts:
        return words
    return Words(
        words.points,
        np.concatenate([*starts, words.starts[done:]]),
        np.concatenate([*ends, words.ends[done:]]),
        _sums(counts),
        words.judged,
    )


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


def datatrove_words(texts: TextBatch, default_language: str) -> Words:
    """Words as datatrove's tokenizer of each text's language finds them, `default_language` where it is null.

    To be asked for as `texts.view(datatrove_words, "en")`.
    """
    found, owners = texts.view(splitters, default_language)
    keyed = texts.view(keyed_white_words)
    chunks = keyed.words
    counts = np.zeros(len(texts), np.int64)
    tables: dict[int, _Found] = {}
    whole: dict[int, tuple[npt.NDArray[np.uint32], Ints, Ints]] = {}
    for owner, splitter in enumerate(found):
        if isinstance(splitter, WordSplitter):
            table = tables[owner] = _table(splitter).find(splitter, keyed, owners, owner)
            own = table.before[chunks.offsets[1:]] - table.before[chunks.offsets[:-1]]
            counts = np.where(owners == owner, own, counts)
            continue
        for text in np.flatnonzero(owners == owner).tolist():  # by a model, which needs whole texts
            whole[text] = splitter.located(texts.texts[text].as_py())
            counts[text] = len(whole[text][1])
    offsets = _sums(counts)
    starts, ends = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.int64)
    points, extra, behind = texts.points, [texts.points], len(texts.points)
    for text, (own_points, low, high) in whole.items():
        length = int(texts.lengths[text])
        moved = np.where(low < length, texts.offsets[text], behind - length)
        starts[offsets[text] : offsets[text + 1]] = low + moved
        ends[offsets[text] : offsets[text + 1]] = high + moved
        if len(own_points) > length:
            extra.append(own_points[length:])
            behind += len(own_points) - length
    if len(extra) > 1:
        points = np.concatenate(extra)
    spans = (chunks.starts, chunks.ends, chunks.offsets, owners)
    for owner, table in tables.items():
        pieces = (table.entries, table.counts, table.bounds, table.sizes)
        _divide(*spans, owner, *pieces, offsets, starts, ends)
    words = Words(points, starts, ends, offsets, owners >= 0)
    for owner, table in tables.items():
        if (table.marks & _REJOINS).any():
            words = _rejoined(found[owner], chunks, table, words)
    return words
