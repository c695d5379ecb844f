"""gopher_v1@dolma and gopher_v2@dolma against the reference's spans, its mixer's verdicts and a plain reading."""

from __future__ import annotations

import pickle
import re
import statistics
import time
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.gopher_dolma import COMMON, NUMBERS, RULES, GopherDolma, rounded
from quality_signals.text_batch import SharedTexts

VERSIONS = ("v1", "v2")


def numbers(row):
    return {name: row[name] for name in NUMBERS if row[name] is not None}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_span_of_every_document(version, golden):
    docs = golden("web_docs")
    rows = GopherDolma(version).annotate(batch_of([d["text"] for d in docs])).to_pylist()
    gold = golden("web_dolma_taggers")
    assert len(rows) == len(gold) == 153
    for row, expected in zip(rows, gold, strict=True):
        spans = expected[f"gopher_{version}"]
        assert numbers(row) == {name: score for _, _, name, score in spans}, expected["id"]
        assert all((start, end) == (0, row["character_count"]) for start, end, _, _ in spans)


@pytest.mark.parametrize("version", VERSIONS)
def test_verdict_is_the_mixers(version, golden):
    """The exclusions of the published configuration on the scores as the tag files hold them."""
    docs = golden("web_docs")
    kept = 0
    for both in (False, True):
        annotator = GopherDolma(version, most_common_rules=both)
        rows = annotator.annotate(batch_of([d["text"] for d in docs])).to_pylist()
        for row, expected in zip(rows, golden("web_dolma_taggers"), strict=True):
            scores = {name: round(score, 5) for _, _, name, score in expected[f"gopher_{version}"]}
            failing = None
            for rule in RULES:
                if rule.measure not in scores or ("most_common" in rule.measure and not both):
                    continue
                score = scores[rule.measure]
                if score < rule.threshold if rule.fails == "<" else score > rule.threshold:
                    failing = (rule.measure, score, rule.threshold)
                    break
            found = None if row["keep"] else (row["rule"], row["value"], row["threshold"])
            assert found == failing, expected["id"]
            assert row["reason"] == row["rule"]
            kept += row["keep"]
    assert 20 < kept < 250


def plain(text, version):
    """The spans of a text, with Counter."""
    words = text.split()
    characters = max(sum(map(len, words)), 1)
    found = {}
    for n in range(2, 11):
        grams = Counter(zip(*(words[i:] for i in range(n)), strict=False))
        if not grams:
            continue
        if n in COMMON:
            gram, count = grams.most_common(1)[0]
            found[f"fraction_of_characters_in_most_common_{n}grams"] = count * sum(map(len, gram)) / characters
        else:
            every = sum(count * sum(map(len, gram)) for gram, count in grams.items())
            repeated = sum(count * sum(map(len, gram)) for gram, count in grams.items() if count > 1)
            found[f"fraction_of_characters_in_duplicate_{n}grams"] = repeated / max(every, 1)
    lines = [] if not text else text.split("\n") if version == "v1" else re.split("\n+", text)
    counts = Counter(lines)
    size = max(len(lines), 1)
    required = {"the", "be", "to", "of", "and", "that", "have", "with"}
    return found | {
        "character_count": len(text),
        "word_count": len(words),
        "median_word_length": float(statistics.median(map(len, words))) if words else 0.0,
        "symbol_to_word_ratio": sum("#" in w or "\u2026" in w for w in words) / max(len(words), 1),
        "fraction_of_words_with_alpha_character": sum(any(map(str.isalpha, w)) for w in words) / max(len(words), 1),
        "required_word_count": sum(word in required for word in words),
        "fraction_of_lines_starting_with_bullet_point": sum(x[:1] in ("*", "-") and x != "" for x in lines) / size,
        "fraction_of_lines_ending_with_ellipsis": sum(x.endswith("\u2026") for x in lines) / size,
        "fraction_of_duplicate_lines": sum(n for n in counts.values() if n > 1) / size,
        "fraction_of_characters_in_duplicate_lines": sum(len(x) * n for x, n in counts.items() if n > 1) / characters,
    }


PIECES = st.sampled_from(
    [
        "the",
        "The",
        "be",
        "a",
        "b",
        "ab",
        "#",
        "\u2026",
        "a\u2026",
        "*",
        "-",
        "- a",
        "\n",
        "\n\n",
        "\r\n",
        "\x85",
        "\u2028",
    ]
    + [
        "\x1c",
        "\x00",
        "e\u0301",
        "\u03a3\u03c2",
        "\U0001f600",
        "\u4e2d\u6587",
        "\xa0",
        "\u3000",
        "x" * 70,
        "1",
        "\u0663",
    ]
)
TEXTS = st.one_of(
    st.lists(PIECES, max_size=60).map(" ".join),
    st.lists(PIECES, max_size=40).map("".join),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=60),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, max_size=4), st.sampled_from(VERSIONS))
@example([], "v1")
@example(["", "\n", "a", "\n\na\n\na\n"], "v2")
@example(["the\0", "\0the and"], "v1")
def test_fast_path_is_the_plain_one(texts, version):
    rows = GopherDolma(version).annotate(batch_of(texts)).to_pylist()
    assert [numbers(row) for row in rows] == [plain(text, version) for text in texts]


@pytest.mark.parametrize("lengths", [(1, 2), (70, 71), (200, 3, 90), (63,), (62, 63), (5, 500, 500, 1)])
def test_median_of_long_words(lengths):
    text = " ".join("x" * length for length in lengths)
    row = GopherDolma().annotate(batch_of([text])).to_pylist()[0]
    assert row["median_word_length"] == statistics.median(lengths)


def test_scores_are_rounded_before_they_are_judged():
    """2 of 19.9999 words would be more than a tenth, but not at five decimals."""
    scores = np.array([0.100004, 0.100005, 0.100006, 0.799995, 0.7999949, 0.0, 123456.0, 1 / 3])
    assert rounded(scores).tolist() == [round(score, 5) for score in scores.tolist()]
    words = ["the", "be"] * 50_000
    words[:10_000] = ["#a"] * 10_000  # a tenth
    words[10_000] = "#b"  # 0.10001 in 100,000 words
    keeps = []
    for count in (10_000, 10_001):
        text = " ".join(words[:count] + ["the"] * (100_000 - count))
        row = GopherDolma().annotate(batch_of([text])).to_pylist()[0]
        keeps.append(row["rule"])
    assert keeps[1] == "symbol_to_word_ratio" != keeps[0]


def test_names_versions_and_pickling():
    assert [GopherDolma(version).name for version in VERSIONS] == ["gopher_v1@dolma", "gopher_v2@dolma"]
    assert GopherDolma(alias=True).name == "gopher@dolma"
    assert pickle.loads(pickle.dumps(GopherDolma("v2"))) == GopherDolma("v2")
    with pytest.raises(ValueError, match="version 'v3' is none of v1, v2"):
        GopherDolma("v3")
    with pytest.raises(ValueError, match="gopher@dolma is version v1"):
        GopherDolma("v2", alias=True)


def test_rows_of_other_kinds_are_not_judged():
    batch = batch_of(["the cat"] * 3 + [None, ""], kind=["code", "web", None, "web", "web"])
    found = GopherDolma().annotate(batch)
    assert found.schema.equals(GopherDolma.schema)
    assert found.column("word_count").to_pylist() == [None, 2, 2, None, 0]
    assert found.column("keep").to_pylist() == [True, False, False, True, False]
    assert found.column("fraction_of_characters_in_most_common_3grams").null_count == 5
    assert GopherDolma().annotate(batch.slice(1, 2)).to_pylist() == found.slice(1, 2).to_pylist()


def test_words_are_measured_once_for_both_versions(monkeypatch):
    from quality_signals import gopher_dolma

    calls = []
    real = gopher_dolma._count_words
    monkeypatch.setattr(gopher_dolma, "_count_words", lambda *given: calls.append(1) or real(*given))
    shared = SharedTexts(batch_of(["a b", "c"]))
    for version in VERSIONS:
        GopherDolma(version).annotate_texts(shared)
    assert calls == [1]


@pytest.mark.parametrize(
    "unit", ["a", "a b ", "read more here ", "\n", "x\n", "\u0301", "\u0301\n", "- \u2026\n", "\U0001f600 ", "a\n\nb\n"]
)
def test_time_is_linear(unit):
    annotator = GopherDolma("v2")

    def seconds(size):
        batch = pa.RecordBatch.from_pydict({"text": pa.array([unit * (size // len(unit))], pa.large_string())})
        best = 1e9
        for _ in range(3):
            start = time.process_time()
            annotator.annotate(batch)
            best = min(best, time.process_time() - start)
        return best

    seconds(10)
    small, large = seconds(100_000), seconds(400_000)
    assert large < 6 * max(small, 0.01)
