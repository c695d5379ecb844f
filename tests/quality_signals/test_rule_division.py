"""Runs divided by compiled rules against the plain splitter, in every language that has them."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quality_signals.codepoints import code_points
from quality_signals.rule_division import _IS_URL, _NO_URL, _NOT_ASKED, _is_plain_url
from quality_signals.words import MAX_RUN_CHARS, _shipped, _splitter

EVERY = sorted(_shipped()["languages"])
LANGUAGES = sorted({"en", "ru", "de", "is", "ro", "xx", *EVERY[::6]})
# Those with a pattern of whole tokens, or with looks around at more than characters.
WITH_RE = {"el", "fr", "ht", "hu", "id", "lb", "ms", "pt", "sl", "tr"}
PARTS = (
    *"don't U.S. e.g. www.example.com/a?b=c http://x.org user@example.org 10km 3.5 1,000 $5 A$ C++ well-known".split(),
    *"'' ... .. -- — 's ’s :-) :) ( ) [ “ ” a Z 7 ° °C. и др. l' 日本 é ﬁ _ / % + a.B km/h. ½ x.y".split(),
    "\U0001f600",
    "\u0301",
)
RUNS = st.one_of(
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=7).map("".join),
    st.text(st.characters(exclude_categories=("Cs", "Z", "Cc")), min_size=1, max_size=20),
)


def sizes_of(division, runs):
    points = np.frombuffer("".join(runs).encode("utf-32-le"), np.uint32)
    counts, sizes = division.sizes(points, np.cumsum([0, *map(len, runs)], dtype=np.int64))
    ends = np.cumsum(counts).tolist()
    return [tuple(sizes[end - count : end].tolist()) for end, count in zip(ends, counts.tolist(), strict=True)]


@pytest.fixture(scope="module")
def divisions():
    return {language: _splitter(language).division() for language in LANGUAGES}


def test_which_languages_need_re(divisions):
    assert {language for language, division in divisions.items() if division is None} == WITH_RE.intersection(LANGUAGES)


@pytest.mark.slow
def test_which_of_all_languages_need_re():
    assert {language for language in EVERY if _splitter(language).division() is None} == WITH_RE


@settings(max_examples=250, deadline=None)
@given(st.lists(RUNS, min_size=1, max_size=6), st.sampled_from([each for each in LANGUAGES if each not in WITH_RE]))
@example(["(don't)...", "'tis", "x", "." * 40, "a.b.c.com", "x@y.de,"], "en")
@example(["1990-х", "т.е.", "—и"], "ru")
def test_words_are_those_of_the_plain_rules(divisions, runs, language):
    runs = [run for run in runs if run.split() == [run]] or ["x"]
    splitter = _splitter(language)
    assert sizes_of(divisions[language], runs) == [splitter.run_sizes(run) for run in runs]


URLS = st.lists(
    st.sampled_from("a Z 9 é 日 - _ . . . com co.uk A1 10.0.0.1 http:// :// : @ / ? # ( = :80 ..".split()),
    min_size=1,
    max_size=9,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(st.lists(URLS, min_size=1, max_size=6))
@example(["a." + "x" * 63, "a." + "x" * 64, "x" * 64 + ".com", "x" * 65 + ".com", "a-.com", "a_.co", "9.co", "a.b"])
@example(["1.2.3.4", "1.2.3.com", "a.com:80", "a.com/(", "a.com(", "u@a.com", "a.Com", ".com", "a..com", "é.com"])
def test_what_is_a_url_is_what_the_pattern_takes(divisions, runs):
    points = np.frombuffer("".join(runs).encode("utf-32-le"), np.uint32)
    bounds = np.cumsum([0, *map(len, runs)]).tolist()
    has_url = _splitter("en")._has_url
    for run, low, high in zip(runs, bounds[:-1], bounds[1:], strict=True):
        answer = _is_plain_url(points, low, high)
        assert answer == _NOT_ASKED or (answer == _IS_URL) == has_url(run), run


def test_simple_urls_are_told_without_the_pattern():
    for run, answer in (("www.example.com", _IS_URL), ("obj.call(x", _NO_URL), ("x.com/a", _NOT_ASKED)):
        assert _is_plain_url(code_points(run), 0, len(run)) == answer


def test_a_run_beyond_the_limit_is_one_word(divisions):
    runs = ["x." * MAX_RUN_CHARS, "(x)"]
    assert sizes_of(divisions["en"], runs) == [(2 * MAX_RUN_CHARS,), (1, 1, 1)]


@pytest.mark.parametrize("piece", ["(", "...", "a.", "'s", "%7", "a-"])
def test_time_is_bounded_by_the_longest_run(divisions, piece):
    division = divisions["en"]
    run = (piece * MAX_RUN_CHARS)[:MAX_RUN_CHARS]
    sizes_of(division, [run])
    start = time.process_time()
    sizes_of(division, [run] * 5)
    assert time.process_time() - start < 2
