"""refinedweb@dclm against DCLM's own texts and verdicts, and against plain Python."""

from __future__ import annotations

import hashlib
import pickle
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.edits import apply_edits
from quality_signals.refinedweb_dclm import EDIT_RULES, STEPS, RefinedWebDclm

# The step at which the reference stops, by the name in the golden file.
_NAMES = {reference: ours for ours, reference in STEPS.items() if reference != "substring_line_modifier"}


def annotate(*texts):
    return RefinedWebDclm().annotate(batch_of(list(texts))).to_pylist()


def test_text_and_verdict_of_every_document(golden):
    documents = golden("dclm")
    known = {d["id"]: d["text"] for d in golden("web_docs")}
    texts = [d.get("text", known.get(d["id"])) for d in documents]
    changed = 0
    for gold, text, row in zip(documents, texts, annotate(*texts), strict=True):
        rule = row["rule"]
        if row["reason"] == "word_removal_ratio_filter":
            rule = row["reason"]
        assert rule == _NAMES.get(gold["step"], gold["step"]), gold["id"]
        assert row["keep"] == (gold["step"] is None)
        assert row["n_words"] == gold["words"]
        if gold["sha1"] is None:
            assert row["edits"] == [] and row["n_words_left"] is None
            continue
        left = apply_edits(text, row["edits"])
        assert hashlib.sha1(left.encode()).hexdigest() == gold["sha1"], gold["id"]
        if gold["new_words"] is not None:
            assert row["n_words_left"] == gold["new_words"]
        changed += left != text
    assert len(documents) == 273 and changed > 100


# -- plain Python ------------------------------------------------------------------------------------------

THINGS = "likes shares comments retweets reposts quotes bookmarks upvotes downvotes downloads views followers"
COUNTER = re.compile(rf"\W*\d[,.\d]*[kmb]?\s+({THINGS.replace(' ', '|')})\W*")
CUTS = [r"\s?items in cart", r"\s?read more...$", r"^sign-in\s?"]


def share(line, test):
    return sum(map(test, line)) / len(line)


def plain(text):
    """(text or None, name of the step that leaves nothing or None)."""

    def cut(pattern):
        def apply(line):
            if len(line.split()) > 10:
                return line
            left = re.sub(pattern, "", line, flags=re.IGNORECASE)
            return left if left.strip() or not line else None

        return apply

    def drop(test):
        return lambda line: None if line and test(line) else line

    steps = [
        drop(lambda line: share(line, str.isupper) > 0.5),
        drop(lambda line: share(line, str.isdigit) > 0.999999),
        drop(lambda line: COUNTER.fullmatch(line.lower())),
        drop(lambda line: len(line.split()) < 2),
        *map(cut, CUTS),
    ]
    for name, step in zip(STEPS, steps, strict=True):
        text = "\n".join(left for line in text.split("\n") if (left := step(line)) is not None)
        if name != "short_line":
            text = text.strip()
        if not text:
            return None, name
    return text, None


def tokens(text):
    return sum(token[:1].isalnum() for token in re.split("[ \t\n\v\f\r\0]+", text))


PARTS = (
    [
        "items in cart",
        "Items İn cart",
        " items in cart ",
        "read more",
        "Read More...",
        "read more up",
        "sign-in",
        "Sıgn-In ",
    ]
    + [
        " ",
        "  ",
        "\n",
        "\n",
        "\n\n",
        "\r",
        "\x85",
        "\u2028",
        "\0",
        "\x1c",
        "A",
        "B",
        "1",
        "23",
        "²",
        "½",
        "٣",
        "K",
        "k",
        "K",
    ]
    + [
        " likes",
        " views",
        " liKes",
        " ſhares",
        "ab",
        "word two",
        "some good text",
        ".",
        "…",
        "•",
        "_",
        "a b c d e f g h i",
        "\u0301",
    ]
)
LINES = st.lists(st.lists(st.sampled_from(PARTS), max_size=5).map("".join), max_size=12).map("\n".join)


@settings(max_examples=600, deadline=None)
@given(st.one_of(LINES, st.lists(st.sampled_from(PARTS), max_size=30).map("".join), st.text(max_size=60)))
def test_fast_path_is_the_plain_one(text):
    expected, step = plain(text)
    row = annotate("other", text, text + "\nx y")[1]
    before = tokens(text)
    assert row["n_words"] == before
    if expected is None:
        assert (row["keep"], row["rule"], row["edits"], row["n_words_left"]) == (False, step, [], None)
        return
    assert apply_edits(text, row["edits"]) == expected
    assert row["n_words_left"] == tokens(expected)
    assert {edit["rule"] for edit in row["edits"]} <= set(EDIT_RULES)
    assert {edit["replacement"] for edit in row["edits"]} <= {""} and all(e["start"] < e["end"] for e in row["edits"])
    if before == 0:
        assert (row["rule"], row["value"]) == ("no_words", None)
    else:
        removed = (before - row["n_words_left"]) / before
        assert row["keep"] == (removed <= 0.05)
        if not row["keep"]:
            assert (row["rule"], row["value"], row["threshold"]) == ("max_removed_words_ratio", removed, 0.05)


def test_each_rule_names_its_edits():
    body = "This is a line of ordinary words that stays.\n" * 20
    text = body + "BIG NEWS\n12345\n3.4K Views!\nalone\nBuy it 2 items in cart now\n"
    text += "The end. Read more...\nSign-in to go on\nlast line"
    row = annotate(text)[0]
    cut = {edit["rule"]: text[edit["start"] : edit["end"]] for edit in row["edits"]}
    assert cut == {
        "uppercase_line": "BIG NEWS\n",
        "digits_line": "12345\n",
        "counter_line": "3.4K Views!\n",
        "short_line": "alone\n",
        "items_in_cart": " items in cart",
        "read_more": " Read more...",
        "sign_in": "Sign-in ",
    }
    names = ("uppercase_lines", "digits_lines", "counter_lines", "short_lines", "items_in_cart", "read_more", "sign_in")
    assert [row[name] for name in names] == [1] * 7
    assert row["n_lines"] == 28


@pytest.mark.parametrize(
    "text, left",
    [
        ("  12\n  34\nab cd", "ab cd"),  # the first line goes, then the second one is judged without its indentation
        ("ab cd\n  34\nab cd", "ab cd\nab cd"),
        ("ab cd\n\n\nab cd\n\n", "ab cd\n\n\nab cd"),  # empty lines inside stay
        ("go on read more up\nab cd", "go on\nab cd"),  # the dots of the pattern are wildcards
        ("a b c d e f g h read more...\nx y", "a b c d e f g h\nx y"),
        ("a b c d e f g h i read more...\nx y", "a b c d e f g h i read more...\nx y"),  # eleven words
        ("Read items in cart more...\nx y", "x y"),
        ("Sign-in\nx y\nSign-in", "x y"),
        ("x y\nSign-in now", "x y\nnow"),
    ],
)
def test_traps(text, left):
    assert plain(text)[0] == left
    assert apply_edits(text, annotate(text)[0]["edits"]) == left


def test_kinds_schema_and_empty_batches():
    batch = batch_of(["AB CD\nok then"] * 2 + [None, ""], kind=["code", None, "web", "web"])
    columns = RefinedWebDclm().annotate(batch)
    assert columns.schema.equals(RefinedWebDclm.schema) and columns.schema.names[-1] == "edits"
    rows = columns.to_pylist()
    assert [row["keep"] for row in rows] == [True, False, True, False]
    assert [row["edits"] for row in rows] == [
        None,
        [{"start": 0, "end": 6, "replacement": "", "rule": "uppercase_line"}],
        None,
        [],
    ]
    assert rows[3]["rule"] == "uppercase_line" and rows[3]["value"] is None
    assert RefinedWebDclm().annotate(batch_of([])).num_rows == 0
    assert pickle.loads(pickle.dumps(RefinedWebDclm())) == RefinedWebDclm()


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "a ",
        "A",
        "1",
        "\n",
        "\u0301",
        "ab cd\n",
        "items in cart",
        "items in cart\n",
        "read more",
        "sign-in\n",
        "1 likes\n",
        " \n",
        "12\n",
    ],
)
def test_time_is_linear(unit):
    annotator = RefinedWebDclm()

    def seconds(repeats):
        batch = batch_of([unit * repeats])
        start = time.process_time()
        annotator.annotate(batch)
        return time.process_time() - start

    # the least of several runs: others use the processor's caches too
    seconds(10)
    small = min(seconds(100_000) for _ in range(3))
    assert any(seconds(400_000) < 6 * max(small, 0.004) for _ in range(8))
