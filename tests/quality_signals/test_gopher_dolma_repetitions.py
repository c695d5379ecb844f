"""repetitions_v1@dolma and paragraph_repetitions_v1@dolma against the reference's spans and its expression."""

from __future__ import annotations

import pickle
import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.gopher_dolma_repetitions import RepetitionsDolma

WHOLE, PARAGRAPHS = RepetitionsDolma(), RepetitionsDolma(paragraphs=True)


@pytest.mark.parametrize("annotator", [WHOLE, PARAGRAPHS], ids=lambda a: a.name)
def test_every_span_of_every_document(annotator, golden):
    docs = golden("web_docs")
    rows = annotator.annotate(batch_of([d["text"] for d in docs])).to_pylist()
    found = 0
    for doc, row, expected in zip(docs, rows, golden("web_dolma_taggers"), strict=True):
        spans = [[s["start"], s["end"], "repetition", s["score"]] for s in row["repetition"]]
        spans += [[0, len(doc["text"]), name, row[name]] for name in row if name.startswith("doc_")]
        assert spans == expected[annotator.name.partition("@")[0]], doc["id"]
        found += len(row["repetition"])
    assert found > 50


REPEATED = re.compile(r"(.+?)(\s?\1){3,}")


def plain(text, paragraphs):
    """(start, end, score) by Python's re."""
    spans = []
    start = 0
    for part in re.findall(r"[^\n]*\n|[^\n]+$", text) if paragraphs else [text]:
        for match in REPEATED.finditer(part):
            spans.append((match.start() + start, match.end() + start, match[0].count(match[1])))
        start += len(part)
    return spans


def text_of(alphabet):
    unit = st.text(alphabet, min_size=1, max_size=18)
    gap = st.sampled_from(["", "", " ", "\n", "\u2028"])
    again = st.tuples(unit, gap, st.integers(1, 7)).map(lambda t: (t[0] + t[1]) * t[2])
    return st.lists(again | st.text(alphabet, max_size=12), max_size=5).map("".join)


TEXTS = st.sampled_from(
    ["a", "ab", "ab ", "a \n", "ab\n ", " \t\n", " \t\xa0", "a\u0301\x00", "\u4e2d\U0001f600\r"]
).flatmap(text_of)


@settings(max_examples=500, deadline=None)
@given(st.lists(TEXTS, max_size=3), st.booleans())
@example([], False)
@example(["", "\n\n\n\n", "    ", " \t \t \t \t", "abcdefabcdef abcdef\nabcdef", "aXaYaaaaaaaa" * 4], False)
@example(["ab\nab\nab\nab", "aaa\naaaa", "abcabcabcabcab\n" * 5], True)
def test_spans_are_those_of_the_expression(texts, paragraphs):
    rows = RepetitionsDolma(paragraphs).annotate(batch_of(texts)).to_pylist()
    for text, row in zip(texts, rows, strict=True):
        spans = plain(text, paragraphs)
        assert [tuple(span.values()) for span in row["repetition"]] == spans
        assert row["doc_max_score_repetition"] == max((score for _, _, score in spans), default=0)
        assert row["doc_max_length_repetition"] == max((end - start for start, end, _ in spans), default=0)
        assert row["doc_frac_repetition"] == (sum(end - start for start, end, _ in spans) / len(text) if spans else 0)


@pytest.mark.parametrize("length", [5, 6, 7, 11, 12, 13, 23, 24, 25, 47, 48, 97, 200])
def test_strings_around_the_powers(length):
    """Lengths at which another number of characters is numbered."""
    unit = "".join(chr(0x4E00 + i) for i in range(length))
    for text in (unit * 4, unit * 3, f"x{unit} {unit}\n{unit}{unit} {unit[:-1]}", (unit[:-1] + "\n") * 5):
        for paragraphs in (False, True):
            row = RepetitionsDolma(paragraphs).annotate(batch_of([text])).to_pylist()[0]
            assert [tuple(span.values()) for span in row["repetition"]] == plain(text, paragraphs), (text, paragraphs)


def test_rows_of_other_kinds_are_not_looked_at():
    batch = batch_of(["aaaa", "aaaa", None, ""], kind=["code", "web", "web", None])
    found = WHOLE.annotate(batch)
    assert found.schema.equals(RepetitionsDolma.schema)
    assert found.column("doc_max_score_repetition").to_pylist() == [None, 4.0, None, 0.0]
    assert found.column("repetition").to_pylist() == [None, [{"start": 0, "end": 4, "score": 4.0}], None, []]
    assert [a.name for a in (WHOLE, PARAGRAPHS)] == ["repetitions_v1@dolma", "paragraph_repetitions_v1@dolma"]
    assert pickle.loads(pickle.dumps(PARAGRAPHS)) == PARAGRAPHS


def fibonacci(length):
    """A word with as many repetitions as a word can have, none of them fourfold."""
    a, b = "a", "ab"
    while len(b) < length:
        a, b = b, b + a
    return b[:length]


TEXTS_OF_SIZE = {
    "letter": lambda n: "a" * n,
    "phrase": lambda n: "read more here " * (n // 15),
    "newlines": lambda n: "\n" * n,
    "lines": lambda n: "a\nb\n" * (n // 4),
    "fibonacci": fibonacci,
    "long unit": lambda n: ("".join(chr(0x4E00 + i * i % 9973) for i in range(n // 5))) * 5,
    "three times": lambda n: "".join(f"{chr(0x4E00 + i % 9000)}aaabaaabaaab" for i in range(n // 13)),
    "numbered": lambda n: "".join(f"row {i}: the same again;" for i in range(n // 27)),
    "marks": lambda n: "e" + "\u0301" * n,
}


@pytest.mark.parametrize("kind", TEXTS_OF_SIZE)
def test_time_grows_little_faster_than_the_text(kind):
    def seconds(size):
        batch = batch_of([TEXTS_OF_SIZE[kind](size)])
        best = 1e9
        for _ in range(3):
            start = time.process_time()
            WHOLE.annotate(batch)
            best = min(best, time.process_time() - start)
        return best

    seconds(100)
    small, large = seconds(50_000), seconds(200_000)
    assert large < 7 * max(small, 0.01)
