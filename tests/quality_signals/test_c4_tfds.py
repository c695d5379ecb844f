"""c4@tfds against the reference's texts and counters, and against a plain reading of its rules."""

from __future__ import annotations

import pickle
import re
import time
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.c4_tfds import LINE_RULES, C4Tfds, normalized_url, normalized_urls
from quality_signals.edits import apply_edits

# As the golden values were made: one sentence a line, no minimum.
LINES = C4Tfds(sentences="lines", min_num_sentences=0)


def counters(row):
    names = {rule: "line-passed" if rule == "passed" else f"line-filtered:{rule}" for rule in LINE_RULES}
    found = {names[rule]: row[f"lines_{rule}"] for rule in LINE_RULES if row[f"lines_{rule}"]}
    return found | {"passed" if row["keep"] else f"filtered:{row['reason']}": 1}


def left(text, row):
    """The text the reference yields, None if it yields none."""
    return apply_edits(text, row["edits"]) if row["keep"] else None


def test_text_counters_and_url_of_every_document(golden):
    docs = golden("web_docs")
    rows = LINES.annotate(batch_of([d["text"] for d in docs], url=[d["url"] for d in docs])).to_pylist()
    for doc, row, expected in zip(docs, rows, golden("web_c4_tfds"), strict=True):
        assert left(doc["text"], row) == expected["clean_page_lines"]["text"], doc["id"]
        assert counters(row) == expected["clean_page_lines"]["counters"], doc["id"]
        assert row["normalized_url"] == expected["normalized_url"], doc["id"]
        assert expected["is_valid_length"] == (row["n_characters"] <= 190_000)
        if not row["keep"]:
            assert row["edits"] == []


POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


def plain(text):
    """The lines that pass and the counters, with str and re."""
    counts: Counter[str] = Counter()
    kept = []
    for line in text.splitlines():
        line = line.strip()
        if any(len(word) > 1000 for word in line.split()):
            counts["line-filtered:too_long_word"] += 1
            continue
        line = re.sub(r"\[\d*\]|\[edit\]|\[citation needed\]", "", line)
        lower = line.lower()
        if not line.endswith((".", "?", "!", '"')) or line.endswith("..."):
            counts["line-filtered:no_endmark"] += 1
        elif len(line.split()) < 5:
            counts["line-filtered:too_short"] += 1
        elif "lorem ipsum" in lower:
            return None, counts + Counter({"filtered:loremipsum": 1})
        elif "javascript" in lower:
            counts["line-filtered:javascript"] += 1
        elif "{" in line:
            return None, counts + Counter({"filtered:squigglybracket": 1})
        elif any(policy in lower for policy in POLICIES):
            counts["line-filtered:policy"] += 1
        else:
            counts["line-passed"] += 1
            kept.append(line)
    return "\n".join(kept).strip(), counts + Counter({"passed": 1})


PIECES = st.sampled_from(
    [" ", "\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\u2028", "\u2029", "\xa0", "\u3000", "\t"]
    + ["One two three four five.", "a b c d e!", 'a b c d "', "word", ".", "...", "?", "\u2026", "a b c d e f g."]
    + ["[1]", "[]", "[12", "3]", "[edit]", "[citation needed]", "[Edit]", "[", "]", "[\u0663]", "[\u0be6]", "[\xb2]"]
    + ["{", "lorem ipsum", "Lorem", "ipsum", "javascript", "JAVA", "script", "x" * 600, "\U0001f600", "\u0130", "\x00"]
    + [*POLICIES, "Terms Of Use", "Coo\u212aie policy", "use", "of", "cookies", "java[1]script", "priv[2]acy policy"]
)
TEXTS = st.one_of(
    st.lists(PIECES, max_size=30).map("".join),
    st.lists(PIECES, max_size=40).map(" ".join),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=50),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(TEXTS, max_size=4))
@example([])
@example(["", "\n", " [1] [edit] \n [1] [2] a b c d e.[3]\x85 f g h i j. \r\n\n"])
@example(["a b c d e.\n{ no mark\nlorem ipsum dolor sit\nk l m n o.", "a b c d {.\na", "x\n a b c lorem ipsum e."])
@example(["a b c d javascript lorem ipsum.", "a b c d javascript {.", "a b c use cookies {.", "[1]\n[1]"])
def test_fast_path_is_the_plain_one(texts):
    rows = LINES.annotate(batch_of(texts)).to_pylist()
    for text, row in zip(texts, rows, strict=True):
        assert (left(text, row), counters(row)) == plain(text)
        if row["keep"]:
            assert row["n_sentences"] == row["lines_passed"]


def test_every_edit_names_its_rule():
    text = (
        " A first line with an end.[1]\r\nno mark\n\nPrivacy policy stands in this line.\n The last line of the text.  "
    )
    row = LINES.annotate(batch_of([text])).to_pylist()[0]
    assert apply_edits(text, row["edits"]) == "A first line with an end.\nThe last line of the text."
    assert [(text[e["start"] : e["end"]], e["replacement"], e["rule"]) for e in row["edits"]] == [
        (" ", "", "strip"),
        ("[1]", "", "citation"),
        ("\r\n", "\n", "line_break"),
        ("no mark\n\n", "", "no_endmark"),
        ("Privacy policy stands in this line.\n", "", "policy"),
        (" ", "", "strip"),
        ("  ", "", "strip"),
    ]


def test_verdict_names_rule_value_and_threshold():
    good = "This is one good sentence of text.\n"
    texts = [good * 3, good * 2, good * 6000, good * 3 + "And here is lorem ipsum again.", good * 3 + "a b c d e { f."]
    rows = C4Tfds().annotate(batch_of(texts)).to_pylist()
    assert [(row["keep"], row["reason"], row["value"], row["threshold"]) for row in rows] == [
        (True, None, None, None),
        (False, "too_few_sentences", 2.0, 3.0),
        (False, "too_long", 210_000.0, 190_000.0),
        (False, "loremipsum", None, None),
        (False, "squigglybracket", None, None),
    ]
    assert [row["edits"] for row in rows[1:]] == [[]] * 4
    free = C4Tfds(max_length=None, min_num_sentences=1).annotate(batch_of(texts)).to_pylist()
    assert [row["keep"] for row in free] == [True, True, True, False, False]


def test_options_of_the_line_rules():
    rows = C4Tfds("lines", 0, min_words_per_line=2, max_word_length=3).annotate(batch_of(["ab abc.", "ab ab.", "a."]))
    assert rows.column("lines_passed").to_pylist() == [0, 1, 0]
    assert rows.column("lines_too_long_word").to_pylist() == [1, 0, 0]


def test_one_url_of_each_form():
    forms = {
        "https://www.a.com/b/": "a.com/b",
        "http://a.com/?utm_source=x": "a.com",
        "a.com/x?ref=1&b": "a.com/x",
        "https://a.com/?u=http://www.b.com//": "a.com/?u=b.com",
        "https://a.com/x?id=1&feed=2": "a.com/x?id=1&feed=2",
        "": "",
    }
    assert {url: normalized_url(url) for url in forms} == forms
    assert normalized_url(None) is None
    assert normalized_urls(pa.array([*forms, None])).to_pylist() == [*forms.values(), None]


@given(st.text(st.sampled_from("htps:/w.?um_refd\n\x85\u2028é"), max_size=40).map(lambda tail: "https://www." + tail))
def test_a_column_of_urls_is_normalized_as_each_alone(url):
    assert normalized_urls(pa.array([url])).to_pylist() == [normalized_url(url)]


def test_wrong_options_are_refused_and_the_annotator_is_pickled():
    with pytest.raises(ValueError, match="sentences 'nltk' is none of rule, punkt, lines"):
        C4Tfds(sentences="nltk")
    with pytest.raises(ValueError, match="min_num_sentences is -1"):
        C4Tfds(min_num_sentences=-1)
    assert pickle.loads(pickle.dumps(LINES)) == LINES


def test_rows_of_other_kinds_are_not_judged():
    text = "a b c d e.\n" * 3
    batch = batch_of([text, text, text, None, ""], kind=["code", "web", None, "web", "web"])
    found = C4Tfds().annotate(batch)
    assert found.schema.equals(C4Tfds.schema)
    assert found.column("n_sentences").to_pylist() == [None, 3, 3, None, 0]
    assert found.column("keep").to_pylist() == [True, True, True, True, False]
    assert C4Tfds().annotate(batch.slice(2, 3)).to_pylist() == found.slice(2, 3).to_pylist()


@pytest.mark.parametrize(
    "unit", ["a", "[1", "[1]", "[citation needed] ", "a b. ", "\n", "a b c d e.\n", "\u0301", ". A"]
)
def test_time_is_linear(unit):
    def seconds(size):
        batch = batch_of([unit * (size // len(unit)) + " b c d e."])
        best = 1e9
        for _ in range(3):
            start = time.process_time()
            C4Tfds().annotate(batch)
            best = min(best, time.process_time() - start)
        return best

    seconds(10)
    small, large = seconds(200_000), seconds(800_000)
    assert large < 6 * max(small, 0.01)
