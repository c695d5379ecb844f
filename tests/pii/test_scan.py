"""The compiled scan against plain expressions, on random texts of the characters that matter."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pii import around, phones, scan
from pii.checks import iban_lengths

LENGTHS = iban_lengths()


def candidates(text: str, what: int) -> list[tuple[int, int]]:
    data = text.encode()
    if not data:
        return []
    offsets = np.array([0, len(data)], dtype=np.int64)
    rows = scan.scan(np.frombuffer(data, dtype=np.uint8), offsets, LENGTHS)
    return [(start, end) for start, kind, end, _ in rows.tolist() if kind == what]


PAIRS = re.compile(
    r"(?<![\w:])[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}(?![\w:])|(?<![\w-])[0-9a-fA-F]{2}(?:-[0-9a-fA-F]{2}){5}(?![\w-])"
)
DOTTED = re.compile(r"(?<![\w.])[0-9a-fA-F]{4}\.[0-9a-fA-F]{4}\.[0-9a-fA-F]{4}(?![\w.])")


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.sampled_from(["0a", "1B", "ff", ":", "-", ".", "00:11:22:33:44:55", "aaaa.bbbb.cccc", " ", "g"]), max_size=24
    )
)
def test_mac_addresses(pieces: list[str]) -> None:
    text = "".join(pieces)
    expected = sorted(
        [match.span() for match in PAIRS.finditer(text)] + [match.span() for match in DOTTED.finditer(text)]
    )
    assert sorted(candidates(text, scan.MAC)) == expected


DECIMAL = r"\d{1,%d}\.\d{3,18}(?![\d\w.])"
POSITION = re.compile(rf"(?<![\w.])(?:{DECIMAL % 2})[,; /]{{1,3}}[-+]?(?:{DECIMAL % 3})")


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from(["1", "48", ".", "1.234", "51.50072", ",", ", ", " ", "-", "x", "180.1234"]), max_size=16)
)
def test_positions(pieces: list[str]) -> None:
    text = "".join(pieces)
    expected = []
    for at in range(len(text)):
        match = POSITION.match(text, at)
        if match:
            expected.append((at - 1 if at and text[at - 1] == "-" else at, match.end()))
    assert candidates(text, scan.GPS) == expected


FIGURES = ["1", "08", "12", "13", "31", "32", "1899", "1900", "1500", "1499", "2024", "2100", "20240", "123"]


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(FIGURES),
    st.lists(st.tuples(st.sampled_from(["-", ".", "/", " ", " - ", " (", "- "]), st.sampled_from(FIGURES)), max_size=4),
)
def test_a_day_or_a_range_of_years_is_no_number(first: str, rest: list[tuple[str, str]]) -> None:
    run = first + "".join(separator + figure for separator, figure in rest)
    parts = [part for part in re.split(r"\D+", run) if part]
    behind = sum(map(len, parts[3:]))
    is_date = phones._DATE.match(run) is not None and behind <= 3
    data = np.frombuffer(run.encode(), dtype=np.uint8)
    assert around.dated(data, 0, len(data)) == is_date
    if is_date:
        assert candidates(f"on {run}.", scan.NUMBER) == []


def test_numbers_beside_dates_are_candidates() -> None:
    assert candidates("1.8.2012 0170 1234567", scan.NUMBER) == [(0, 21)]
    assert candidates("2012-08-01 555-212-0100", scan.NUMBER) == [(0, 23)]
    assert candidates("call 2012-0801", scan.NUMBER) == [(5, 14)]


CONTEXTS = st.lists(
    st.sampled_from(
        [
            "tel",
            "Tel.",
            "phone",
            "telphone ",
            "FAX",
            "call",
            "me",
            " ",
            " at ",
            ":",
            "no",
            "_",
            "x",
            "1",
            ".",
            "é",
            "number",
        ]
    ),
    max_size=7,
)


@settings(max_examples=600, deadline=None)
@given(CONTEXTS.map(lambda words: "".join(words).encode()))
def test_the_words_of_labels_are_all_listed(context: bytes) -> None:
    assert phones._labelled(context) == (phones._LABEL.search(context) is not None)


QUAD = re.compile(
    r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?!\w|\.\w)"
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(["1", "25", "256", "255", "01", ".", ".", " ", "a", "10.2.3.4"]), max_size=20))
def test_dotted_quads(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert candidates(text, scan.IPV4) == [match.span() for match in QUAD.finditer(text)]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("a1.@:/-<>\n é+", max_size=12), max_size=6))
def test_documents_do_not_see_each_other(texts: list[str]) -> None:
    parts = [text.encode() for text in texts]
    data = b"".join(parts)
    if not data:
        return
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    together = scan.scan(np.frombuffer(data, dtype=np.uint8), offsets, LENGTHS).tolist()
    apart = []
    for part, at in zip(parts, offsets.tolist(), strict=False):
        if part:
            alone = np.array([0, len(part)], dtype=np.int64)
            for start, what, end, anchor in scan.scan(np.frombuffer(part, dtype=np.uint8), alone, LENGTHS).tolist():
                apart.append([start + at, what, end + at, anchor + at])
    assert together == apart
