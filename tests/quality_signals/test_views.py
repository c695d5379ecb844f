"""Lines and normalised words of a batch against plain Python, and what makes the two agree."""

from __future__ import annotations

import re
import string
import sys
import time
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quality_signals import rpv2_reference as reference
from quality_signals.batches import batch_of
from quality_signals.codepoints import (
    ALPHA,
    ASSIGNED,
    LOWER,
    NUMERIC,
    SPACE,
    UPPER,
    WORD,
    class_table,
    code_points,
    room,
)
from quality_signals.rpv2_fold import FOLD_CHARS, FOLD_LIMIT, HIGH, fold_tables
from quality_signals.rpv2_lists import in_list, normalised_entries, word_table
from quality_signals.text_batch import SharedTexts
from quality_signals.views import letters, norm_words, normalised, raw_lines, word_key


def check(texts: list[str]) -> None:
    batch = SharedTexts(batch_of(texts)).of()
    lines, words = batch.view(raw_lines), batch.view(norm_words)
    assert len(lines.offsets) == len(words.offsets) == len(texts) + 1
    for row, text in enumerate(texts):
        first, stop = words.offsets[row : row + 2].tolist()
        expected = reference.norm(text).split()
        bounds = list(zip(words.starts[first:stop].tolist(), words.ends[first:stop].tolist(), strict=True))
        assert [words.points[a:b].tobytes().decode("utf-32-le") for a, b in bounds] == expected
        if expected:
            joined = words.points[bounds[0][0] : bounds[-1][1]].tobytes().decode("utf-32-le")
            assert joined == " ".join(expected)
        numbers: dict[str, int] = {}
        assert words.ids[first:stop].tolist() == [numbers.setdefault(word, len(numbers)) for word in expected]
        low, high = words.distinct[row : row + 2].tolist()
        assert [expected[i - first] for i in words.first[low:high].tolist()] == list(numbers)
        assert words.counts[low:high].tolist() == [expected.count(word) for word in numbers]

        first, stop = lines.offsets[row : row + 2].tolist()
        expected_lines = reference.raw_lines(text)
        start = int(batch.offsets[row])
        assert (lines.starts[first:stop] - start).tolist() == [a for a, _, _ in expected_lines]
        assert (lines.ends[first:stop] - start).tolist() == [b for _, b, _ in expected_lines]
        normed = [reference.norm(line) for _, _, line in expected_lines]
        assert np.diff(words.line_offsets)[first:stop].tolist() == [len(line.split()) for line in normed]
        assert words.joined_lengths(words.line_offsets)[first:stop].tolist() == [len(line) for line in normed]
        assert words.line_numeric[first:stop].tolist() == [sum(map(str.isnumeric, line)) for line in normed]


# What the loops treat apart: spaces of all sorts, punctuation, sigmas with and without letters around, marks out of
# order, digits, letters that become several, Hangul, astral characters.
SPECIAL = (
    "a B 9 - ' \u03a3 \u03c3 \u0345 \u00ad \u02b0 \u2019 \u0301 \u0327 \u0344 \u0130 \u1e69 \u1f82 \u00bd \u2167 "
    "\ud55c \u4e09 \ufb01 \u01c5 \U0001d400 \U0001d165 \U0001f600 \U0010ffff \U000e0101 \0 \u200b \ufeff"
).split(" ")
SPACES = [" ", "\n", "\t", "\r", "\x0b", "\x1c", "\x85", "\xa0", "\u2000", "\u2028", "\u3000"]
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.lists(st.sampled_from(SPECIAL + SPACES[:2]), max_size=40).map("".join),
    st.lists(st.sampled_from(SPECIAL + SPACES), max_size=40).map("".join),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(TEXTS, max_size=5))
@example([])
@example(["", "\n", "", "a", "-", "-\n-", ""])
@example(
    ["\u0391\u03a3", "\u03a3", "\u0391\u03a3'\u0391", "A\u00ad\u03a3\u0301.\u00ad\n\u0391", "\u02b0\u03a3", "1\u03a3"]
)
@example(["12345678 123456789 \0a a \0\0", "\xff\xff \u0100"])
def test_words_and_lines_are_those_of_the_definition(texts: list[str]) -> None:
    check(texts)


def test_words_and_lines_of_every_golden_document(golden) -> None:  # type: ignore[no-untyped-def]
    check([doc["text"] for doc in golden("web_docs")])


def test_many_distinct_words_are_told_apart() -> None:
    """More than the table of distinct words begins with, and then few again."""
    check([" ".join(map(str, range(6000))), "a b a", " ".join(f"{i:x}suffix alike" for i in range(3000)), "b a b"])


def test_every_character_is_folded_as_python_does() -> None:
    tables = fold_tables()
    for c in (c for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000):
        char = chr(c)
        expected = unicodedata.normalize("NFD", char.lower())
        assert len(expected) <= 4  # the room that norm_words takes
        # What lets words be split before NFD and at once: white space neither comes nor goes.
        assert all(part.isspace() == char.isspace() for part in expected)
        if c >= FOLD_LIMIT:
            assert expected == char and not (char.isspace() or char.isnumeric() or unicodedata.combining(char))
            continue
        assert tables.classes[c] == unicodedata.combining(char)
        entry = int(tables.fold[c])
        if char in string.punctuation or char.isspace() or char == "\u03a3":
            assert entry >= HIGH and (entry >> 24 & 0x7F) <= FOLD_CHARS
        elif entry < HIGH:
            assert chr(entry) == expected and not expected.isnumeric()
        else:
            size, place = (entry >> 24 & 0x7F) - FOLD_CHARS, entry & 0xFFFFFF
            assert "".join(map(chr, tables.chars[place : place + size].tolist())) == expected


def test_every_character_beside_a_sigma() -> None:
    """The rule of the final sigma, over all characters that may stand before and behind it."""
    chars = [chr(c) for block in ASSIGNED for c in block if not 0xD800 <= c < 0xE000] + ["\U000f0000", "\U0010ffff"]
    text = "\n".join(f"a{c}\u03a3 {c}\u03a3 a\u03a3{c} a\u03a3{c}a" for c in chars)
    words = SharedTexts(batch_of([text])).of().view(norm_words)
    joined = words.points[:-1].tobytes().decode("utf-32-le")
    assert joined == " ".join(reference.norm(text).split())


def test_class_table_is_the_running_pythons() -> None:
    table = class_table()
    tests = {SPACE: str.isspace, UPPER: str.isupper, ALPHA: str.isalpha, NUMERIC: str.isnumeric}
    chars = [chr(c) for c in range(sys.maxunicode + 1)]
    for bit, test in tests.items():
        assert np.array_equal(table & bit != 0, np.fromiter(map(test, chars), bool, len(chars)))
    word = re.compile(r"\w")
    assert all((word.match(c) is not None) == bool(table[ord(c)] & WORD) for c in chars[:0x3400])
    # "A" beside any character: str.isupper of the pair tells whether that character is lower or title case.
    assert all(("A" + c).isupper() != bool(table[ord(c)] & LOWER) for c in chars)


@pytest.mark.parametrize("marks", ["\u0301\u0327", "\u0344\u0327\u0301", "\u0327"])
def test_endless_combining_marks_are_put_in_order(marks: str) -> None:
    """In linear time, where Python's own NFD takes quadratic time."""
    check(["E" + marks * 400 + "! \u1e69\u00c9" + marks * 3 + "\uac01", marks * 9, marks * 200])
    batch = SharedTexts(batch_of(["e" + marks * 300_000])).of()
    start = time.process_time()
    words = batch.view(norm_words)
    assert time.process_time() - start < 1
    classes = fold_tables().classes[words.points[1:-1]]
    assert np.all(classes[1:] >= classes[:-1])


def test_keys_tell_words_apart() -> None:
    def key(word: str) -> tuple[int, int]:
        points = code_points(word)
        found = word_key(points, 0, len(points))
        return int(found[0]), int(found[1])

    words = ["", "\0", "\0\0", "a", "\0a", "12345678", "123456789", "23456789", "\u0100", "\xff" * 8, "\xff" * 9]
    words += [f"prefix{i}suffix" for i in range(1000)] + [chr(0x4E00 + i) + chr(0x4E00 + i // 7) for i in range(5000)]
    assert len({key(word) for word in words}) == len(set(words))
    assert key("ab") == (0x6162, 5) and key("123456789")[1] == 18


def test_lists_hold_their_entries_and_no_others() -> None:
    lists = [frozenset({"a", "ab", "\0", "longer than eight", "\u0431\u044a\u043b"}), frozenset(), frozenset({"b"})]
    table = word_table(lists)
    for word in set().union(*lists, {"", "longer than eighty", "\0\0", "\u0431"}):
        points = code_points(f"x{word}x")
        key, code = word_key(points, 1, 1 + len(word))
        found = [in_list(table, number, np.uint64(key), np.int32(code), points, 1) for number in range(3)]
        assert found == [word in one for one in lists]


def test_entries_are_normalised_as_texts_are() -> None:
    entries = frozenset({"E-Mail Two", "caf\u00e9", "...", " x ", ""})
    assert normalised_entries(entries) == {"email two", "cafe\u0301", "x"}
    assert normalised("a\u2000\u2260-b").split() == ["a", "=\u0338b"]


def test_room_can_be_written_and_is_let_go_with_its_slices() -> None:
    values = room(5, np.int32)
    values[:] = 7
    part = values[1:3]
    del values
    others = [room(5, np.int32) for _ in range(100)]
    for other in others:
        other[:] = 0
    assert part.tolist() == [7, 7] and room(0, np.uint8).size == 0


def test_letters() -> None:
    assert letters("a1_\u00e9 \u00bd\n") == (4, 2)
