"""Programs against `re` itself."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quality_signals.pattern_programs import STACK, Unsupported, match_at, programs, search

# Forms of tokenizer rules: alternatives of which the first counts, sets, looks around, repetition, ends.
PATTERNS = (
    r"ab|a|[^\s\d]x",
    r"(?<=[0-9])(?:km|k|m²)$",
    r"(?<=[a-z])\.(?=[A-Z])|(?<=a.)b",
    r"\.\.+|[-–—]{2,}|a?b?c",
    r"^(?:xy|x)z?",
    r"(?![0-9])\w|\+(?![0-9])",
    r"[^a]b{1,3}$|(?:a|b)(?:c(?:d|e)|f)",
    r"é|[α-ω]+|\d{2}|a*$",
)
LETTERS = "abcdefxyzk²m01 9.+-–—AZé\u03b1\u0660\U0001f600"
STACK_ROOM = np.empty((STACK, 2), np.int32)


def points_of(text):
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_program_finds_what_re_finds(pattern):
    program = programs([pattern])
    compiled = re.compile(pattern)

    @settings(max_examples=300, deadline=None)
    @given(st.text(st.sampled_from(LETTERS), max_size=12), st.text(st.sampled_from(LETTERS), max_size=2))
    @example("", "")
    def check(text, before):
        kinds = program.classes[points_of(before + text + "a1")]
        low, high = len(before), len(before) + len(text)
        arguments = (program.code[0], program.ways[0], program.sets, STACK_ROOM)
        match = compiled.match(text)
        assert match_at(kinds, low, high, low, *arguments) == (-1 if match is None else low + match.end())
        found = search(
            kinds, low, high, low, program.code[0], program.ways[0], program.begins[0], program.sets, STACK_ROOM
        )
        match = compiled.search(text)
        if match is not None and match.start() < len(text):
            assert found == (low + match.start(), low + match.end())
        else:  # an empty match at the end is none
            assert found == (-1, -1)

    check()


def test_sets_are_those_of_re_for_every_character():
    patterns = [r"[^\W\d]", r"\s", r"[^a-c\u4e00-\u9fff]", r".", r"[^x]"]
    program = programs(patterns)
    everything = "".join(map(chr, range(0x110000)))
    for number, pattern in enumerate(patterns):
        code = program.code[number]
        matches = np.zeros(len(everything), bool)
        for match in re.finditer(pattern, everything):
            matches[match.start()] = True
        assert np.array_equal(program.sets[code[0, 1]][program.classes], matches), pattern
        assert np.array_equal(program.begins[number][0][program.classes], matches), pattern
        assert (program.begins[number] == program.begins[number][0]).all(), pattern


def test_where_a_match_may_begin():
    program = programs([r"(?<=[0-9])k|(?<!a)z|^x|(?<=[0-9][0-9])y"])
    begins = program.begins[0]
    for before in ("", "1", "a", "x"):
        row = int(program.classes[ord(before)]) + 1 if before else 0
        found = {c for c in "kzxy1a" if begins[row, program.classes[ord(c)]]}
        assert found == {"": {"x", "z"}, "1": {"k", "y", "z"}, "a": set(), "x": {"z"}}[before]


@pytest.mark.parametrize(
    "pattern", [r"(a)\1", r"(?:ab)+", r"a+?", r"(?=ab|c)", r"(?!ab)", r"(?i:a)", r"\bx", r"(?<!ab)c"]
)
def test_what_programs_have_not_is_said(pattern):
    with pytest.raises(Unsupported):
        programs([pattern])


def test_a_long_repetition_fits():
    program = programs([r"\.\.+$"])
    kinds = program.classes[points_of("." * 2_000 + "x")]
    assert search(
        kinds, 0, 2_000, 0, program.code[0], program.ways[0], program.begins[0], program.sets, STACK_ROOM
    ) == (0, 2_000)
    assert search(
        kinds, 0, 2_001, 1_990, program.code[0], program.ways[0], program.begins[0], program.sets, STACK_ROOM
    ) == (-1, -1)
