"""Which text is taken for which after what people do to texts: floors for the table of docs/licenses.md."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.license_texts import MUTATIONS, Score, is_exception, judge, ours, read_texts, with_notices
from licenses import detect_code, detect_text, parse_expression
from licenses.detect import combine


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    roots = [Path(os.environ["GRISTMILL_SHARED"])] if "GRISTMILL_SHARED" in os.environ else []
    roots += [parent / "shared" for parent in Path(__file__).resolve().parents]
    for root in roots:
        path = root / "data/license-texts-spdx/texts.tar.gz"
        if path.exists():
            return read_texts(path)
    pytest.skip("data/license-texts-spdx is absent; GRISTMILL_SHARED names the folder that holds it")


def licences(texts: dict[str, str], step: int, first: int = 0) -> dict[str, str]:
    return dict([each for each in texts.items() if not is_exception(each[0])][first::step])


@pytest.mark.parametrize("place", range(len(MUTATIONS)), ids=list(MUTATIONS))
def test_mutated_texts(texts: dict[str, str], place: int) -> None:
    """Each mutation on another twelfth of the texts: at most one of about 42 wrong."""
    mutate = list(MUTATIONS.values())[place]
    some = {key: mutate(text) for key, text in licences(texts, 12, place).items()}
    score = judge(some, ours)
    assert score.ids >= len(some) - 1, score.confused
    assert score.classes >= len(some) - 1, score.class_matrix


@pytest.mark.slow
def test_all_texts_all_mutations(texts: dict[str, str]) -> None:
    for mutate in MUTATIONS.values():
        some = {key: mutate(text) for key, text in licences(texts, 1).items()}
        score = judge(some, ours)
        assert score.ids >= 0.99 * len(some), score.confused
        assert score.classes >= 0.985 * len(some), score.class_matrix


def test_no_copyleft_is_taken_for_less(texts: dict[str, str]) -> None:
    """The mistake that costs most: a licence that asks for something taken for one that asks for nothing."""
    score = Score()
    for mutation in ("HTML", "filled in, wrapped,  *", "one line"):
        some = {key: MUTATIONS[mutation](text) for key, text in licences(texts, 10, 1).items()}
        score.class_matrix += judge(some, ours).class_matrix
    free = ("permissive", "public_domain")
    wrong = {pair: count for pair, count in score.class_matrix.items() if pair[0] not in free and pair[1] in free}
    assert wrong == {}


def test_exceptions(texts: dict[str, str]) -> None:
    noticed = with_notices(texts)
    right = [key for key, text in noticed.items() if ours(text) == (parse_expression(key) or key)]
    assert len(noticed) > 50 and len(right) >= 0.93 * len(noticed)


def test_an_exception_is_joined_to_what_it_excepts(texts: dict[str, str]) -> None:
    """A file that holds several texts: the exception of the GPL does not change the BSD beside it."""
    text = texts["BSD-2-Clause"] + "\n\n" + texts["GCC-exception-3.1"]
    assert ours(text) == "BSD-2-Clause AND GPL-3.0-only WITH GCC-exception-3.1"


def test_a_header_inside_a_text_is_its_example(texts: dict[str, str]) -> None:
    assert ours(texts["Community-Spec-1.0"]) == "Community-Spec-1.0"
    assert ours("SPDX-License-Identifier: MIT\n\n" + texts["GPL-3.0+"]) == "MIT"


def test_windows_see_what_the_whole_text_shows(texts: dict[str, str]) -> None:
    """Code is read around marks only; for a head comment the answer is that of the whole text."""
    filler = "x = compute(y)  # a line of code\n" * 200
    for key in ("MIT", "BSD-2-Clause", "blessing", "NIST-PD", "UPL-1.0", "libtiff", "PSF-2.0"):
        head = MUTATIONS["comment  #"](MUTATIONS["copyright filled in"](texts[key]))
        whole = combine(detect_text(head))
        found = detect_code(head + filler)
        assert found is not None and whole is not None and found.expression == whole.expression, key


@pytest.mark.parametrize(
    ("line", "expression"),
    [
        ("# (c) 2013 Jane, MIT License", "MIT"),
        ("// Copyright (c) 2017 Foo Bar. Licensed under the MIT License.", "MIT"),
        ("/*! normalize.css v8.0.1 | MIT License | github.com/necolas/normalize.css */", "MIT"),
        ("// @license magnet:?xt=urn:btih:0b31&dn=agpl-3.0.txt AGPL-v3-or-Later", "AGPL-3.0-or-later"),
        ('"Licensed under the\\nApache License, Version 2.0\\n"', "Apache-2.0"),
        ("<p>Licensed under the <b>ISC</b>&nbsp;License</p>", "ISC"),
        ("# Copyright 2009 The Go Authors. All rights reserved.", None),
    ],
)
def test_lines_that_hold_a_copyright_and_a_licence(line: str, expression: str | None) -> None:
    found = detect_code(line + "\nx = 1\n")
    assert (found and found.expression) == expression
