"""Sentences of lines as datatrove 0.10.1 counts them: with spaCy's sentencizer over the words of the line, and in
some languages with a pattern or another package (see `sentence_rules`)."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from quality_signals.batches import batch_of
from quality_signals.codepoints import SPACE, CodePoints, class_table, terminal_marks
from quality_signals.compiled import njit
from quality_signals.sentence_rules import rule_of
from quality_signals.strings import U
from quality_signals.text_batch import Bools, Ints, TextBatch
from quality_signals.word_views import Ids, numbered_words

# Bits of `mark_table`.
PUNCTUATION = 1  # Unicode category P*: spaCy's is_punct of one character
STOP = 2  # a mark of spaCy's sentencizer
TERMINAL = 4  # a mark of datatrove's TERMINAL_PUNCTUATION
CAPITAL = 8  # category Lu
DECIMAL = 16  # \d of the re module
QUOTE = 32  # may follow the marks of a sentence in datatrove's pattern

# spaCy 3.8.18, pipeline/sentencizer.pyx, default_punct_chars: datatrove's marks without these.
_NO_STOPS = (
    "61d 61e 837 839 83d 83e 17d4 17d5 17d6 17d9 17da 1b7d 1b7e 2e53 2e54 10f55 10f56 10f57 10f58 10f59 10f86 10f87 "
    "10f88 10f89 11944 11946 11ef7 11ef8 11f43 11f44 16e98"
)


@lru_cache(maxsize=1)
def mark_table() -> npt.NDArray[np.uint8]:
    """[1114112] uint8: the bits above for every code point.  Built once a process, in about 0.2 s."""
    table = np.zeros(0x110000, np.uint8)
    bits = {"Lu": CAPITAL, "Nd": DECIMAL}
    for block in (range(0x40000), range(0xE0000, 0xE1000)):  # as in `codepoints.class_table`
        kinds = map(unicodedata.category, map(chr, block))
        table[block.start : block.stop] = np.fromiter(
            (PUNCTUATION if kind[0] == "P" else bits.get(kind, 0) for kind in kinds), np.uint8, len(block)
        )
    stops = terminal_marks() - {chr(int(code, 16)) for code in _NO_STOPS.split()}
    for bit, characters in ((STOP, stops), (TERMINAL, terminal_marks()), (QUOTE, "\"'\u201d")):
        table[[ord(c) for c in characters]] |= bit
    return table


@njit(error_model="numpy", forceinline=True)
def begins_behind_stop(points, marks, word_points, at, low, high):  # type: ignore[no-untyped-def]
    """Whether spaCy's sentencizer begins a sentence with the word word_points[low:high], or with the white space
    before it, where a stop mark has come; the word before ends at `at`.

    A word that is no punctuation begins one, and so does white space other than a single blank.
    """
    if low - at > 1 or (low - at == 1 and points[at] != 32):
        return True
    for i in range(low, high):
        if not marks[word_points[i]] & PUNCTUATION:
            return high - low > 1 or not marks[word_points[low]] & STOP
    return False


@njit(error_model="numpy")
def _is_stop(points, offsets, marks, found):  # type: ignore[no-untyped-def]
    for word in range(len(offsets) - 1):
        start = offsets[word]
        found[word] = offsets[word + 1] - start == 1 and (marks[points[start]] & STOP) != 0


def is_stop(words: TextBatch) -> Bools:
    """Facts of `strings.Strings`: whether a word is a mark of spaCy's sentencizer."""
    found = np.empty(len(words), np.bool_)
    _is_stop(words.points, words.offsets, mark_table(), found)
    return found


@njit(error_model="numpy")
def _by_words(  # type: ignore[no-untyped-def]
    points, classes, marks, word_points, word_starts, word_ends, word_offsets, ids, stops,
    starts, ends, offsets, chosen, counts,
):  # fmt: skip
    """Counts of spaCy's sentencizer for the chosen lines.  ids: the words; stops: `is_stop` of all."""
    for text in range(len(offsets) - 1):
        word = U(word_offsets[text])
        last = U(word_offsets[text + 1])
        for line in range(offsets[text], offsets[text + 1]):
            if not chosen[line]:
                continue
            start = starts[line]
            end = ends[line]
            while word < last and word_starts[word] < start:
                word += U(1)
            first = word
            count = 1
            stopped = False
            while word < last and word_starts[word] < end:
                stop = stops[U(ids[word])]
                if stopped:
                    low, at = word_starts[word], word_ends[word - U(1)]
                    if begins_behind_stop(points, marks, word_points, at, low, word_ends[word]):
                        count += 1
                        stopped = stop
                else:
                    stopped = stop
                word += U(1)
            at = word_ends[word - U(1)] if word > first else start
            left = end - at
            if stopped and at < end and classes[points[at]] & SPACE and (left > 1 or points[at] != 32):
                count += 1
            counts[line] = count


@njit(error_model="numpy")
def _by_pattern(points, marks, starts, ends, chosen, counts):  # type: ignore[no-untyped-def]
    """Matches of `(?:(?:\\p{Lu}\\.)|.)+?[marks\\n]+["'\u201d]?`, and at least one.

    Each match takes characters up to a mark; a capital letter takes a dot behind it with it.  Where no other mark
    comes, the last such dot counts, since the pattern goes back to it.
    """
    for line in range(len(starts)):
        if not chosen[line]:
            continue
        end = ends[line]
        at = starts[line]
        count = 0
        while at < end:
            i = at
            dotted = -1
            found = -1
            while i < end:
                if marks[points[i]] & CAPITAL and i + 1 < end and points[i + 1] == 46:
                    dotted = i + 1
                    i += 2
                else:
                    i += 1
                if i < end and marks[points[i]] & TERMINAL:
                    found = i
                    break
            if found < 0:
                found = dotted
            if found < 0:
                break
            while found < end and marks[points[found]] & TERMINAL:
                found += 1
            if found < end and marks[points[found]] & QUOTE:
                found += 1
            count += 1
            at = found
        counts[line] = max(count, 1)


def text_of(texts: TextBatch, start: int, end: int) -> str:
    """points[start:end] as a string."""
    return texts.points[start:end].tobytes().decode("utf-32-le")


def _words(texts: TextBatch, default_language: str) -> tuple[CodePoints, Ints, Ints, Ints, Ids, Bools]:
    """Points, starts, ends, offsets and numbers of the words of datatrove's tokenizers, and `is_stop` of all."""
    numbered = texts.view(numbered_words, default_language)
    words = numbered.words
    stops = numbered.vocabulary.words.facts(is_stop)
    return words.points, words.starts, words.ends, words.offsets, numbered.ids, stops


def counted(language: str) -> bool:
    """Whether sentences of a language can be counted here."""
    return rule_of(language)[0] != ""


def sentence_counts(
    texts: TextBatch,
    default_language: str,
    starts: Ints,
    ends: Ints,
    offsets: Ints,
    lines: Bools,
    rewritten: dict[int, str],
) -> Ints:
    """[lines] sentences of the chosen `lines`, 0 of others and of languages that have no rule.

    Line k is points[starts[k]:ends[k]] without white space around it, or rewritten[k]; those of text i are
    offsets[i]:offsets[i + 1].  A line has at least one sentence.
    """
    counts = np.zeros(len(starts), np.int64)
    languages = [language or default_language for language in texts.languages(default_language)]
    rules = {language: rule_of(language) for language in set(languages)}
    marks, classes = mark_table(), class_table()
    # Words of a rule tokenizer are the same whether the line stands alone or in its text.
    in_place = np.array([rules[language][0] == "chunks" for language in languages], bool)
    chosen = lines & np.repeat(in_place, np.diff(offsets))
    if rewritten:
        chosen[list(rewritten)] = False
    if chosen.any():
        of_words = _words(texts, default_language)
        _by_words(texts.points, classes, marks, *of_words, starts, ends, offsets, chosen, counts)
    alone = np.flatnonzero(lines & ~chosen)
    if not len(alone):
        return counts
    owners = np.searchsorted(offsets, alone, side="right") - 1
    places = zip(alone.tolist(), owners.tolist(), strict=True)
    of_lines = [(k, languages[i]) for k, i in places if rules[languages[i]][0]]
    contents = [rewritten[k] if k in rewritten else text_of(texts, starts[k], ends[k]) for k, _ in of_lines]
    batch = TextBatch(batch_of(contents, language=[language for _, language in of_lines]), np.ones(len(of_lines), bool))
    kinds = [rules[language][0] for _, language in of_lines]
    found = np.zeros(len(of_lines), np.int64)
    bounds = np.arange(len(of_lines) + 1)
    by_words = np.array([kind in ("chunks", "words") for kind in kinds], bool)
    by_pattern = np.array([kind == "pattern" for kind in kinds], bool)
    if by_words.any():
        of_words = _words(batch, default_language)
        spans = (batch.offsets[:-1], batch.offsets[1:], bounds)
        _by_words(batch.points, classes, marks, *of_words, *spans, by_words, found)
    if by_pattern.any():
        _by_pattern(batch.points, marks, batch.offsets[:-1], batch.offsets[1:], by_pattern, found)
    for number, (kind, (_, language)) in enumerate(zip(kinds, of_lines, strict=True)):
        if kind == "line":
            found[number] = max(1, rules[language][1](contents[number]))
    counts[[k for k, _ in of_lines]] = found
    return counts
