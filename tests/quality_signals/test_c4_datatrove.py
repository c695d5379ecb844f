"""c4@datatrove against the reference's verdicts, line counts and texts, and against a plain function."""

from __future__ import annotations

import pickle
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.c4_datatrove import LINE_RULES, NUMBERS, C4FineWeb, C4Quality
from quality_signals.edits import apply_edits
from quality_signals.sentences import counted
from quality_signals.words import word_splitter

FAMILIES = {"default": C4Quality(), "fineweb": C4FineWeb(), "lines_only": C4Quality(min_num_sentences=0)}


def line_counts(gold):
    """The reference's statistics under our column names."""
    return {
        "n_lines": gold.get("line-total", 0),
        "n_lines_kept": gold.get("line-kept", 0),
        **{f"n_lines_{rule}": gold.get(f"line-filter-{rule}", 0) for rule in LINE_RULES},
    }


@pytest.mark.parametrize("form", FAMILIES)
def test_every_document(form, golden):
    docs = {d["id"]: d for d in golden("web_docs")}
    rows = golden("web_c4_datatrove")
    chosen = [docs[row["id"]] for row in rows]
    batch = batch_of([d["text"] for d in chosen], language=[d["language"] for d in chosen])
    compared = 0
    for doc, golden_row, row in zip(chosen, rows, FAMILIES[form].annotate(batch).to_pylist(), strict=True):
        gold = golden_row[form]
        if not counted(doc["language"]):
            assert row == {name: True if name == "keep" else None for name in row}
            continue
        assert (True if row["keep"] else row["reason"]) == gold["verdict"], doc["id"]
        expected = line_counts(gold["line_stats"])
        assert {name: row[name] for name in expected} == expected, doc["id"]
        if gold["verdict"] is True:
            left = apply_edits(doc["text"], row["edits"])
            assert left == gold["text"], doc["id"]
            # The golden number is that of the text that is left, which has one line at least.
            assert row["n_sentences"] + (left == "") == gold["n_sentences_of_kept_lines"], doc["id"]
        else:
            assert row["edits"] == []
        compared += 1
    assert compared >= 140


END_MARKS = (".", "?", "!", '"', "'")
CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


def plain(text, family):
    """Line counts and the text left of C4's rules, without sentences; or the reason for dropping the page."""
    counts = dict.fromkeys(NUMBERS, 0)
    kept = []
    for line in text.splitlines():
        line = line.strip()
        words = line.split()
        counts["n_lines"] += 1

        def drop(rule):
            counts[f"n_lines_{rule}"] += 1

        if family.max_word_length != -1 and any(len(word) > family.max_word_length for word in words):
            drop("too_long_word")
            continue
        if family.remove_citations:
            line = CITATION.sub("", line)
        if family.filter_no_terminal_punct and (not line.endswith(END_MARKS) or line.endswith("...")):
            drop("no_terminal_punc")
            continue
        if len(words) < family.min_words_per_line:
            drop("too_few_words")
            continue
        lower = line.lower()
        if family.filter_lorem_ipsum and "lorem ipsum" in lower:
            return counts, "lorem_ipsum", ""
        if family.filter_javascript and "javascript" in lower:
            drop("javascript")
            continue
        if family.filter_curly_bracket and "{" in line:
            return counts, "curly_bracket", ""
        if family.filter_policy and any(phrase in lower for phrase in POLICY):
            drop("policy")
            continue
        counts["n_lines_kept"] += 1
        kept.append(line)
    return counts, None, "\n".join(kept).strip()


PIECES = ["A line of words.", "too few.", "No mark at all here", "One two three...", 'He said "so be it"', "w" * 12]
PIECES += ["[1]", "[edit]", "[citation needed]", "[\u0663]", "[", "]", "lorem ", "ipsum", "Lorem Ipsum.", "JavaScript"]
PIECES += [
    "java",
    "script",
    "{",
    "Privacy Policy.",
    "use of coo\u212aies",
    "use coo[2]kies here.",
    "terms of use",
    "\u0130",
]
PIECES += [
    " ",
    " ",
    "\t",
    "\n",
    "\n",
    "\n",
    "\r\n",
    "\r",
    "\x85",
    "\u2028",
    "\x1c",
    "\x00",
    "\u0301",
    "\u03a3",
    ".",
    "!",
    "'",
]
OPTIONS = st.sampled_from(
    [
        {},
        {"filter_no_terminal_punct": False},
        {"filter_no_terminal_punct": False, "min_words_per_line": -1},
        {"filter_no_terminal_punct": False, "min_words_per_line": 0, "filter_curly_bracket": False},
        {"max_word_length": 10, "filter_lorem_ipsum": False, "filter_javascript": False},
        {"remove_citations": False, "filter_policy": False, "max_word_length": -1},
    ]
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.lists(st.sampled_from(PIECES), max_size=30).map("".join),
            st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join),
            st.text(st.characters(exclude_categories=("Cs",)), max_size=60),
        ),
        max_size=4,
    ),
    OPTIONS,
)
def test_fast_path_is_the_plain_one(texts, options):
    family = C4Quality(min_num_sentences=-1, **options)
    for text, row in zip(texts, family.annotate(batch_of(texts, language="en")).to_pylist(), strict=True):
        counts, reason, left = plain(text, family)
        assert {name: row[name] for name in NUMBERS} == counts
        assert row["reason"] == reason and row["keep"] == (reason is None)
        if reason is None:
            assert apply_edits(text, row["edits"]) == left
        else:
            assert row["edits"] == []


def edits_of(text, **options):
    row = C4Quality(min_num_sentences=0, **options).annotate(batch_of([text])).to_pylist()[0]
    return [tuple(edit.values()) for edit in row["edits"]]


def test_edits_name_their_rules():
    text = (
        "Menu\nHome\n  We keep this line [1] here. \r\n\r\nJavaScript must be on.\n"
        "And we keep this.\nUse cookies for us.\n"
    )
    low, second = text.index("  We"), text.index("And")
    assert edits_of(text) == [
        (0, low, "", "no_terminal_punc"),
        (low, low + 2, "", "white_space"),
        (text.index("[1]"), text.index("[1]") + 3, "", "citation"),
        (text.index(" \r\n"), text.index(" \r\n") + 1, "", "white_space"),
        (text.index("\r\n"), text.index("\r\n") + 2, "\n", "line_break"),
        (text.index("\r\n") + 2, text.index("JavaScript"), "", "no_terminal_punc"),
        (text.index("JavaScript"), second, "", "javascript"),
        (text.index("\nUse"), text.index("\nUse") + 1, "", "white_space"),
        (text.index("Use cookies"), len(text), "", "policy"),
    ]
    assert apply_edits(text, edits_of(text)) == "We keep this line  here.\nAnd we keep this."
    assert edits_of("All of this is kept.\nAnd all of this.") == []


def test_verdict_columns_and_options():
    def row(text, family):
        return family.annotate(batch_of([text])).to_pylist()[0]

    few = row("One two three. Four five six.", C4Quality())
    assert (few["keep"], few["rule"], few["reason"]) == (False, "min_num_sentences", "too_few_sentences")
    assert (few["value"], few["threshold"], few["edits"]) == (2.0, 5.0, [])
    assert row("One two three. Four five six.", C4Quality(min_num_sentences=2))["keep"]
    lorem = row("Lorem ipsum dolor sit.", C4Quality())
    assert (lorem["rule"], lorem["reason"], lorem["value"]) == ("filter_lorem_ipsum", "lorem_ipsum", None)
    assert row("Here is a { bracket.", C4Quality())["reason"] == "curly_bracket"
    assert row("Here is a { bracket", C4FineWeb())["reason"] == "curly_bracket"
    assert row("Here is a { bracket", C4Quality(min_num_sentences=0))["keep"]  # the line is dropped before
    assert C4FineWeb().name == "c4_fineweb@datatrove" and not C4FineWeb().filter_no_terminal_punct
    assert row("", C4Quality(min_num_sentences=-1))["edits"] == []


def test_kinds_languages_and_schema():
    family = C4Quality()
    batch = batch_of(["A cat sat. " * 5] * 4 + [None], kind=["code", "prose", None, "web", "web"],
                     language=["en", "no such", "en", None, "en"])  # fmt: skip
    columns = family.annotate(batch)
    assert columns.schema.equals(family.schema, check_metadata=True)
    columns.validate(full=True)
    assert columns.schema.names[-1] == "edits"
    assert columns.column("n_sentences").to_pylist() == [None, None, 5, 5, None]
    assert columns.column("edits").to_pylist() == [
        None,
        None,
        *[[dict(start=54, end=55, replacement="", rule="white_space")]] * 2,
        None,
    ]
    assert columns.column("keep").to_pylist() == [True] * 5
    assert family.annotate(batch.slice(0, 0)).num_rows == 0
    for each in (family, C4FineWeb()):
        assert pickle.loads(pickle.dumps(each)) == each
    # Without sentences every language is judged.
    assert C4Quality(min_num_sentences=-1).annotate(batch).column("n_lines").to_pylist() == [None, 1, 1, 1, None]


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "a b c.",
        "a b c.\n",
        "[1] ",
        "[1",
        "[",
        "\n",
        " \n",
        "\u0301",
        "A. ",
        "lorem ",
        "use use ",
        ". . ",
        "x [1] y.\r\n",
    ],
)
def test_time_is_linear(unit):
    assert word_splitter("en") is not None

    def seconds(repeats):
        batch = batch_of([unit * repeats], language="en")
        start = time.process_time()
        C4FineWeb(max_word_length=-1).annotate(batch)
        return time.process_time() - start

    seconds(10)
    small, large = min(seconds(20_000) for _ in range(2)), seconds(80_000)
    assert large < 6 * max(small, 0.03)
