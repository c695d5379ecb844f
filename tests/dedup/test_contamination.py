"""Decontamination: every method against its plain definition, planted items, and datatrove's own verdicts."""

from __future__ import annotations

import difflib
import gzip
import json
import pickle
import re
import string
import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup import contamination_minhash as minhash
from dedup import contamination_ngrams as ngrams
from dedup import contamination_substrings as substrings
from dedup.contamination import (
    BIGCODE,
    COSMOPEDIA,
    DATATROVE,
    GPT3,
    METHODS,
    NOTHING_LEFT,
    STARCODER,
    STARCODER2,
    Contamination,
    build_contamination_index,
    documents_of_grams,
    gram_texts,
    open_contamination_index,
    searched,
)
from dedup.contamination_report import Tally, markdown, report
from dedup.contamination_sets import (
    LABEL,
    QUERY,
    TARGET,
    WHOLE,
    EvalSetError,
    Text,
    docstring,
    known_sets,
    load_set,
    read_sets,
)
from dedup.contamination_words import VIEWS, cosmopedia_words, gpt3_words
from quality_signals.edits import apply_edits
from quality_signals.model_files import ModelFileError, write_model

ODD = "aAbB \t\n\r\x85\u2028\0.,'-_09éÉß\u0301\u0345ΣσςİıǅK≠ﬁ中かक्\u1b44가𝔘😀’“"
odd_text = st.text(st.one_of(st.sampled_from(ODD), st.characters(exclude_categories=["Cs"])), max_size=60)
# Few characters, so that items are found by chance.
small_text = st.text(st.sampled_from("ab AΣİ\n."), max_size=40)


def targets(*texts: str) -> list[Text]:
    return [Text("s", str(i), "f", TARGET, text) for i, text in enumerate(texts)]


def batch_of(*texts: str | None) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"text": pa.array(list(texts), pa.large_string())})


def write_set(folder: Path, name: str, records: Sequence[dict[str, Any]], description: str) -> Path:
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    path = folder / f"{name}.yaml"
    path.write_text(f"sets:\n  {name}:\n    path: {name}.jsonl\n    {description}\n")
    return path


QUESTION = (
    "A farmer has seventeen sheep and nine goats on two hills; how many animals does the farmer count if four of "
    "the goats walk over to the neighbour in the afternoon and one comes back?"
)
ANSWER = "The farmer counts seventeen sheep and six goats because three goats are away with the neighbour until dusk."
CODE = "def area_of_square(side_length):\n    # multiply\n    return side_length * side_length\n"
FILLER = "Rain fell over the old harbour while boats came home and lamps were lit along the quiet street. "


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("sets")
    maths = write_set(folder, "maths", [{"q": QUESTION, "a": ANSWER}], "{fields: [q], query: q, label: a}")
    maths.write_text("sets:\n  maths: {path: maths.jsonl, fields: [q], query: q, label: a}\n")
    write_set(folder, "code", [{"id": "one", "c": CODE}], "")
    (folder / "both.yaml").write_text(maths.read_text() + "  code: {path: code.jsonl, id: id, fields: [c]}\n")
    build_contamination_index(folder / "index.zip", read_sets(None, str(folder / "both.yaml"), str(folder)))
    return str(folder / "index.zip")


def judged(index: str, method: str, *texts: str | None) -> list[dict[str, Any]]:
    return Contamination(index, (method,)).annotate(batch_of(*texts)).to_pylist()


# -- words and runs of words -------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.lists(odd_text, max_size=4))
def test_words_are_those_of_the_definitions(texts: list[str]) -> None:
    batch = ngrams.text_batch(texts)
    for view, plain in (("gpt3", gpt3_words), ("cosmopedia", cosmopedia_words)):
        words = batch.view(VIEWS[view])
        found = [
            words.points[a:b].astype("<u4").tobytes().decode("utf-32-le")
            for a, b in zip(words.starts, words.ends, strict=True)
        ]
        bounds = words.offsets.tolist()
        assert [found[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True)] == list(map(plain, texts))
        for text, low, high in zip(texts, bounds[:-1], bounds[1:], strict=True):
            for k in range(low, high):
                assert plain(text[words.first[k] : words.last[k]]) == [found[k]]


def test_cosmopedia_words_are_the_references_but_for_the_final_sigma() -> None:
    def reference(text: str) -> list[str]:
        plain = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
        return re.findall(r"\w+", plain.lower())

    text = "Crème BRÛLÉE, it's 가나 don't_stop İstanbul ½ x² \u0915\u094d\u0937 no-one"
    assert cosmopedia_words(text) == reference(text)
    assert cosmopedia_words("ΟΔΟΣ οδος") == ["οδοσ", "οδοσ"] and reference("ΟΔΟΣ") == ["οδος"]


def test_gpt3_words() -> None:
    assert gpt3_words("Don't — stop, NOW!  (it’s\u00a03.5 %) ...") == ["dont", "stop", "now", "its", "35"]


small_words = st.lists(st.sampled_from(["a", "b", "A", "ab", "a.b", ",", "ß", "aa"]), max_size=30).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(st.lists(small_words, max_size=4), st.lists(small_words, max_size=4), st.integers(1, 4))
def test_common_runs_are_all_common_runs(items: list[str], texts: list[str], n: int) -> None:
    index = ngrams.build_index(targets(*items), n, "gpt3")
    runs = [{tuple(w[i : i + n]) for i in range(len(w) - n + 1)} for w in map(gpt3_words, items)]
    expected = []
    for number, text in enumerate(texts):
        words = gpt3_words(text)
        for i in range(len(words) - n + 1):
            owners = {k for k, own in enumerate(runs) if tuple(words[i : i + n]) in own}
            if owners:
                expected.append((number, " ".join(words[i : i + n]), owners))
    found = ngrams.find_grams(ngrams.text_batch(texts), index)
    told = [
        (int(t), index.gram(int(g)), set(index.owners[index.owner_offsets[g] : index.owner_offsets[g + 1]].tolist()))
        for t, _, g in found
    ]
    assert told == expected
    assert index.too_short == sum(not own for own in runs)


def test_more_common_runs_than_expected_are_all_found() -> None:
    index = ngrams.build_index(targets("a a a"), 3, "gpt3")
    assert len(ngrams.find_grams(ngrams.text_batch(["a " * 5000]), index)) == 4998


@settings(max_examples=200, deadline=None)
@given(st.text("ab c", max_size=40), st.text("ab c", max_size=25))
def test_matching_blocks_are_those_of_difflib(a: str, b: str) -> None:
    left, right = (np.frombuffer(t.encode("utf-32-le"), np.uint32) for t in (a, b))
    expected = difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()[:-1]
    assert ngrams.matching_blocks(left, right) == [tuple(block) for block in expected]


def reference_ratio(text: str, item: str) -> float:
    """decontaminate.py of cosmopedia: add_match_stats."""
    text, item = " ".join(cosmopedia_words(text)), " ".join(cosmopedia_words(item))
    blocks = difflib.SequenceMatcher(None, text, item, autojunk=False).get_matching_blocks()
    match = " ".join("".join(text[i : i + size] for i, _, size in blocks if size > 5).split())
    return len(match) / len(item)


def test_ratio_is_the_references_and_decides(index: str) -> None:
    words = QUESTION.split()
    for cut in (10, 14, 17, 20, 24, len(words)):
        text = FILLER * 3 + " ".join(words[:cut]) + ". " + FILLER
        (row,) = judged(index, COSMOPEDIA, text)
        ratio = reference_ratio(text, QUESTION)
        assert row["keep"] == (ratio <= 0.5)
        if ratio > 0.5:
            assert (row["value"], row["threshold"], row["rule"]) == (ratio, 0.5, COSMOPEDIA)
    assert judged(index, COSMOPEDIA, " ".join(words[:9]))[0]["hits"] == []


def test_a_giant_text_is_compared_around_its_collisions(index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = FILLER * 50 + QUESTION + FILLER * 50
    (whole,) = judged(index, COSMOPEDIA, text)
    monkeypatch.setattr(ngrams, "MAX_MATCHED_CHARS", 2000)
    (cut,) = judged(index, COSMOPEDIA, text)
    assert whole["value"] == 1.0 and cut == whole


# -- GPT-3's pieces ----------------------------------------------------------------------------------------


def plain_pieces(length: int, collisions: list[tuple[int, int]]) -> tuple[int, list[int]]:
    """Number of pieces, and the characters that stay: character by character."""
    gone = [any(a - 200 <= i < b + 200 for a, b in collisions) for i in range(length)]
    runs: list[list[int]] = []
    for i in range(length):
        if not gone[i]:
            if i == 0 or gone[i - 1]:
                runs.append([])
            runs[-1].append(i)
    return len(runs), [i for run in runs if len(run) >= 200 for i in run]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 3000), st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 60)), max_size=6))
def test_pieces(length: int, places: list[tuple[int, int]]) -> None:
    collisions = sorted((a, min(a + n, length)) for a, n in places if a < length)
    found = ngrams.gpt3_pieces(length, collisions)
    count, stay = plain_pieces(length, collisions)
    removed = {i for a, b in found.removed for i in range(a, b)}
    assert found.count == count and found.left == len(stay)
    assert sorted(set(range(length)) - removed) == stay


def test_collisions_are_cut_out(index: str) -> None:
    text = FILLER * 10 + QUESTION + " " + FILLER * 10
    (row,) = judged(index, GPT3, text)
    at = text.index(QUESTION)
    assert row["keep"] and row["items"] == 1
    assert row["hits"] == [
        {"set": "maths", "item": "0", "start": at, "end": at + len(QUESTION) - 1, "method": GPT3}  # the question mark
    ]
    left = apply_edits(text, row["edits"])
    assert left == text[: at - 200] + "\n\n" + text[at + len(QUESTION) - 1 + 200 :]


def test_a_text_in_more_than_ten_pieces_goes(index: str) -> None:
    part = FILLER * 5
    for times, keep in ((9, True), (10, False)):
        (row,) = judged(index, GPT3, part + (QUESTION + " " + part) * times)
        assert row["keep"] == keep
    assert (row["rule"], row["value"], row["threshold"], row["edits"]) == (GPT3, 11.0, 10.0, [])
    (row,) = judged(index, GPT3, QUESTION)
    assert (row["keep"], row["rule"], row["value"], row["threshold"]) == (False, NOTHING_LEFT, 0.0, 200.0)


def test_common_runs_are_ignored(index: str) -> None:
    batch = batch_of(FILLER * 9 + QUESTION, QUESTION, FILLER, QUESTION + QUESTION)
    annotator = Contamination(index)
    grams, documents = documents_of_grams(annotator, batch)
    assert documents.tolist() == [3] * len(grams) and len(grams) == len(gpt3_words(QUESTION)) - 12
    common = tuple(gram_texts(annotator, grams[:-1].tolist()))
    found = Contamination(index, (GPT3,), common).annotate(batch).to_pylist()
    assert [row["items"] for row in found] == [1, 1, 0, 1]
    common = tuple(gram_texts(annotator, grams.tolist()))
    assert Contamination(index, (GPT3,), common).annotate(batch).column("keep").to_pylist() == [True] * 4


# -- substrings --------------------------------------------------------------------------------------------


def squeezed(text: str) -> str:
    return "".join(text.lower().split())


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(small_text, odd_text), max_size=5), st.lists(st.one_of(small_text, odd_text), max_size=4))
def test_substrings_are_those_of_python(items: list[str], texts: list[str]) -> None:
    texts = texts + [a + b for a, b in zip(texts, items, strict=False)]
    batch = ngrams.text_batch(texts)
    for form, change in (("lower", str.lower), ("compact", squeezed)):
        index = substrings.build_index(targets(*items), form)  # type: ignore[arg-type]
        changed = [change(item) for item in items]
        expected = {
            (number, owner)
            for number, text in enumerate(texts)
            for owner, item in enumerate(changed)
            if item and item in change(text)
        }
        found = substrings.find_substrings(batch, index)
        told = set()
        for row in found:
            owners = index.owners[index.owner_offsets[row[1]] : index.owner_offsets[row[1] + 1]].tolist()
            start, end = substrings.original_span(batch, index, row)
            text = texts[row[0]]
            for owner in owners:
                told.add((int(row[0]), owner))
                assert row[2] == change(text).index(changed[owner])
                # Lower case of a cut text differs at a sigma and inside of a dotted I only.
                if not set("Σİσς") & set(text):
                    assert change(text[start:end]) == changed[owner]
        assert told == expected
        assert index.empty == sum(not item for item in changed)


@pytest.mark.parametrize("length", [1, 2, 3, 31, 32, 33, 64, 500])
def test_an_item_of_any_length_is_found_anywhere(length: int) -> None:
    item = "".join(chr(97 + i * i % 23) for i in range(length))
    index = substrings.build_index(targets(item, "nowhere to be seen"), "lower")
    for before, after in ((0, 0), (1, 0), (0, 1), (700, 300)):
        found = substrings.find_substrings(
            ngrams.text_batch(["Z" * 5, "#" * before + item.upper() + "#" * after]), index
        )
        assert found.tolist() == [[1, 0, before]]


def test_starcoder(index: str) -> None:
    changed = CODE.replace("\n    ", "\r\n\t")
    rows = judged(index, STARCODER, "x\n" + CODE.upper(), changed, None, "")
    assert [row["keep"] for row in rows] == [False, True, True, True]
    assert rows[0]["hits"] == [{"set": "code", "item": "one", "start": 2, "end": 2 + len(CODE), "method": STARCODER}]
    assert rows[0]["reason"] == "contaminated: code" and rows[2]["items"] is None
    rows = judged(index, STARCODER2, "x " + changed, CODE.replace("side", "s1de"))
    assert [row["keep"] for row in rows] == [False, True]
    hit = rows[0]["hits"][0]
    assert ("x " + changed)[hit["start"] : hit["end"]] == changed.rstrip()


# -- datatrove ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    path = Path(__file__).parents[1] / "data" / "dedup" / "contamination_datatrove.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()))


def test_verdicts_are_those_of_datatrove(golden: dict[str, Any]) -> None:
    """Golden: datatrove 0.10.1, NGramsDecontIndexer.compute_hashes and NGramsDecontFilter.filter."""
    texts = [
        Text("s", str(i), role, role, item[name])
        for i, item in enumerate(golden["items"])
        for role, name in ((QUERY, "question"), (LABEL, "answer"))
    ]
    index = ngrams.build_index(texts, ngrams.DATATROVE_WORDS, "datatrove", answers=True)
    batch = ngrams.text_batch([doc["text"] for doc in golden["docs"]])
    first: dict[int, str] = {}
    for text, _, gram in ngrams.find_grams(batch, index).tolist():
        first.setdefault(text, index.gram(gram))
    assert 50 < len(first) < len(golden["docs"]) - 50
    assert [first.get(i) for i in range(len(golden["docs"]))] == [doc["ngram"] for doc in golden["docs"]]


def test_answers_are_looked_for_and_where_the_question_ends(index: str) -> None:
    end_of_question = " ".join(QUESTION.split()[-8:])
    texts = [QUESTION, FILLER + ANSWER, end_of_question + "\n" + " ".join(ANSWER.split()[:5]), "İ 12,5 — " + ANSWER]
    rows = judged(index, DATATROVE, *texts)
    assert [row["keep"] for row in rows] == [True, False, False, False]
    for text, row, begin in ((texts[1], rows[1], "The"), (texts[2], rows[2], "neighbour"), (texts[3], rows[3], "The")):
        hit = row["hits"][0]
        assert text[hit["start"] : hit["end"]].startswith(begin) or row is rows[2]
        assert text[: hit["end"]].endswith(("dusk", "seventeen", "sheep", "seventeen sheep", "and"))


# -- whole items -------------------------------------------------------------------------------------------


def test_similar_items_are_found_and_similarity_is_exact() -> None:
    items = [" ".join(f"w{i}_{k}" for k in range(50)) for i in range(20)]
    index = minhash.build_index([Text("s", str(i), "", WHOLE, t) for i, t in enumerate([*items, "…"])])
    assert index.without_token == 1
    texts = []
    for i, item in enumerate(items):
        words = item.split()
        texts.append(" ".join([*words[: 50 - i], *(f"new{i}_{k}" for k in range(i))]))
    found = minhash.find_similar(ngrams.text_batch(texts), index)
    for text, near, similarity in found:
        assert similarity == minhash.similarity(minhash.tokens(texts[text]), minhash.tokens(items[near])) >= 0.58
    true = {(i, i) for i in range(20) if (50 - i) / (50 + i) >= 0.58}
    # 21 bands of 6: P(0.58) = 0.56, as the reference has it; P(0.8) = 0.998.
    assert {(i, i) for i in range(20) if (50 - i) / (50 + i) >= 0.8} <= {(t, i) for t, i, _ in found} <= true


@settings(max_examples=100, deadline=None)
@given(st.lists(odd_text, max_size=4))
def test_token_sets(texts: list[str]) -> None:
    found = ngrams.text_batch(texts).view(minhash.token_sets)
    assert np.diff(found.offsets).tolist() == [len(minhash.tokens(text)) for text in texts]


def test_near_copies_of_items(index: str) -> None:
    rows = judged(index, BIGCODE, CODE.replace("multiply", "times"), FILLER, "", QUESTION)
    assert [row["keep"] for row in rows] == [False, True, True, False]
    assert rows[0]["value"] == 4 / 6 and rows[3]["value"] == 1.0


# -- sets and the index ------------------------------------------------------------------------------------


def test_docstring() -> None:
    assert docstring('def f():\n    """ Adds.\n    """\n') == "Adds."
    assert docstring('def a():\n  """One."""\ndef b():\n  """Two. """\n') == "Two."
    assert docstring("def f():\n  '''Adds.'''") == "Adds."
    for wrong in ("def f(): pass", '"""a""" """', "'''"):
        with pytest.raises(ValueError, match="docstring"):
            docstring(wrong)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("{path: a.jsonl}", "fields is None"),
        ("{fields: [t]}", "path is None"),
        ("{path: a.jsonl, fields: [t], filed: 1}", "unknown key 'filed'"),
        ("{path: a.jsonl, fields: [{name: t, take: all}]}", "take is 'all', allowed are whole, stripped, docstring"),
        ("{path: a.jsonl, fields: [{name: t, leave_out: x}]}", "leave_out must be a list"),
        ("{path: a.jsonl, fields: [t], only: {n: 3}}", "only is"),
        ("{path: a.jsonl, fields: [t], query: q}", "query is given without label"),
        ("{path: a.jsonl, fields: [t], id: 3}", "id is 3"),
        ("[]", "needed is a mapping"),
        ("{path: b.jsonl, fields: [t]}", "b.jsonl: No such file"),
        ("{path: a.jsonl, fields: [u]}", "a.jsonl, line 1: u is NoneType, needed is a text; fields: n, t"),
        ("{path: a.jsonl, fields: [n]}", "line 1: n is int"),
        ("{path: a.jsonl, fields: [t], id: n}", "line 2: id '1' is not unique"),
        ("{path: a.jsonl, fields: [t], id: '{n}-{m}'}", "the id's field m is missing"),
        ("{path: a.jsonl, fields: [t], only: {n: [7, 9]}}", "gives no text to look for"),
        ("{path: a.jsonl, fields: [t], only: {t: [7, 9]}}", "t is 'x', needed is a whole number"),
        ("{path: a.jsonl, fields: [{name: t, take: docstring}]}", "line 1: t holds no single docstring"),
        ("{path: bad.jsonl, fields: [t]}", "bad.jsonl, line 2: no JSON object"),
        ("{path: cut.jsonl.gz, fields: [t]}", "cut.jsonl.gz is damaged"),
        ("{path: lone.jsonl, fields: [t]}", "t holds a lone surrogate"),
    ],
)
def test_wrong_sets_are_named(tmp_path: Path, description: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"n": 1, "t": "x"}\n{"n": 1, "t": "y"}\n')
    (tmp_path / "bad.jsonl").write_text('{"t": "x"}\n[1]\n')
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"t": "x"}\n' * 100)[:-9])
    (tmp_path / "lone.jsonl").write_text('{"t": "\\ud800"}\n')
    (tmp_path / "sets.yaml").write_text(f"sets:\n  mine: {description}\n")
    with pytest.raises(EvalSetError, match=re.escape(message)) as raised:
        for described in read_sets(None, str(tmp_path / "sets.yaml"), str(tmp_path)):
            load_set(described)
    assert "mine" in str(raised.value)


def test_unknown_names(tmp_path: Path, index: str) -> None:
    with pytest.raises(EvalSetError, match="'human' is not described; known are blimp, gsm8k, humaneval"):
        read_sets(["human"])
    with pytest.raises(EvalSetError, match="no evaluation set is chosen"):
        read_sets([])
    with pytest.raises(EvalSetError, match="cannot be read as YAML"):
        read_sets(None, str(tmp_path / "none.yaml"))
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(EvalSetError, match="needed is a mapping"):
        read_sets(None, str(tmp_path / "list.yaml"))
    with pytest.raises(ValueError, match="method is 'ngram', known are ngram13@gpt3"):
        Contamination(index, ("ngram",))
    with pytest.raises(ValueError, match="given twice"):
        Contamination(index, (GPT3, GPT3))
    with pytest.raises(ValueError, match="no method"):
        Contamination(index, ())
    with pytest.raises(ValueError, match="common is for"):
        Contamination(index, (STARCODER,), ("a",))


def test_a_wrong_index_stops_before_any_work(tmp_path: Path, index: str) -> None:
    with pytest.raises(ModelFileError, match=r"no contamination model there"):
        Contamination(str(tmp_path / "none.zip"))
    (tmp_path / "cut.zip").write_bytes(Path(index).read_bytes()[:200])
    with pytest.raises(ModelFileError, match="cut.zip"):
        Contamination(str(tmp_path / "cut.zip"))
    write_model(tmp_path / "new.zip", "contamination", {"version": 2}, {})
    with pytest.raises(ModelFileError, match="version 2, known is 1"):
        open_contamination_index(tmp_path / "new.zip")
    write_model(tmp_path / "bad.zip", "contamination", {"version": 1, "sets": {}}, {"items.arrow": b"x"})
    with pytest.raises(ModelFileError, match="damaged"):
        Contamination(str(tmp_path / "bad.zip")).annotate(batch_of("x"))


def test_the_index_is_a_function_of_the_sets(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_set(tmp_path, name, [{"t": f"text of {name}"}], "fields: [t]")
    (tmp_path / "ab.yaml").write_text("sets:\n  a: {path: a.jsonl, fields: [t]}\n  b: {path: b.jsonl, fields: [t]}\n")
    sets = read_sets(None, str(tmp_path / "ab.yaml"), str(tmp_path))
    first = build_contamination_index(tmp_path / "1.zip", sets)
    second = build_contamination_index(tmp_path / "2.zip", sets[::-1])
    assert first.sha256 == second.sha256 and first.manifest["sets"]["a"]["texts"] == 1
    with pytest.raises(ValueError, match="no evaluation set"):
        build_contamination_index(tmp_path / "3.zip", [])
    with pytest.raises(ValueError, match="given twice"):
        build_contamination_index(tmp_path / "3.zip", [sets[0], sets[0]])


# -- the annotator -----------------------------------------------------------------------------------------


def test_several_methods_the_first_names_the_rule(index: str) -> None:
    annotator = pickle.loads(pickle.dumps(Contamination(index, METHODS[::-1])))
    rows = annotator.annotate(batch_of(CODE, QUESTION, FILLER, None, "")).to_pylist()
    assert [row["rule"] for row in rows] == [BIGCODE, BIGCODE, None, None, None]
    assert {hit["method"] for hit in rows[1]["hits"]} == {BIGCODE, STARCODER, STARCODER2, COSMOPEDIA, GPT3}
    assert [row["items"] for row in rows] == [1, 1, 0, None, 0]
    assert [row["edits"] for row in rows] == [[], [], [], None, []]
    assert searched(annotator)[GPT3] == {"texts": 2, "too_short": 1}
    for method in METHODS:
        own = Contamination(index, (method,))
        assert own.annotate(batch_of()).schema.equals(own.schema)
        whole = own.annotate(batch_of(CODE, QUESTION, FILLER + ANSWER))
        parts = [own.annotate(batch_of(text)) for text in (CODE, QUESTION, FILLER + ANSWER)]
        assert whole.equals(pa.concat_batches(parts))


@settings(max_examples=60, deadline=None)
@given(st.lists(odd_text, min_size=1, max_size=3))
def test_any_text_can_be_judged(texts: list[str]) -> None:
    items = [Text("s", "0", "f", role, "a b c d e f g h i j k l m n") for role in (TARGET, WHOLE)]
    batch = ngrams.text_batch([text + " a b c d e f g h i j k l m n " + text for text in texts])
    for n, view in ((13, "gpt3"), (10, "cosmopedia"), (12, "datatrove")):
        index = ngrams.build_index(items, n, view)
        assert set(ngrams.find_grams(batch, index)[:, 0].tolist()) <= set(range(len(texts)))


@pytest.mark.parametrize(
    "text", ["a " * 40_000, "a" * 80_000, "\u0301" * 40_000, "\n" * 80_000, QUESTION * 500], ids=list("wxmnq")
)
def test_time_is_linear_in_the_text(index: str, text: str) -> None:
    for method in (GPT3, STARCODER, STARCODER2, DATATROVE, BIGCODE):
        annotator = Contamination(index, (method,))
        times = []
        for size in (len(text) // 4, len(text)):
            best = 9.0
            for _ in range(3):
                batch = batch_of(text[:size])
                started = time.process_time()
                annotator.annotate(batch)
                best = min(best, time.process_time() - started)
            times.append(best)
        assert times[1] < 6 * times[0] + 0.05, method


# -- the report --------------------------------------------------------------------------------------------


def test_report_is_the_same_in_any_order(index: str) -> None:
    annotator = Contamination(index, (STARCODER, BIGCODE))
    texts = [CODE, FILLER, QUESTION, CODE + CODE, QUESTION + " x"]
    sources = ["web", "web", "books", "code|x", "web"]
    columns = annotator.annotate(batch_of(*texts))
    whole, parts = Tally(), Tally()
    whole.add(sources, columns)
    for i in (3, 1, 0, 4, 2):
        own = Tally()
        own.add(sources[i : i + 1], columns.slice(i, 1))
        parts.update(Tally.from_json(json.loads(json.dumps(own.to_json()))))
    sets = open_contamination_index(index).manifest["sets"]
    told = [report(tally, sets, searched(annotator), "i", {"a b": 11}) for tally in (whole, parts)]
    assert told[0] == told[1]
    assert told[0]["documents"] == {"read": 5, "hit": 4, "dropped": 4}
    assert told[0]["sources"]["web"] == {"read": 3, "hit": 2, "dropped": 2, "rules": {STARCODER: 2}}
    own = told[0]["methods"][STARCODER]["sets"]
    assert own["code"]["hits"] == {"one": {"code|x": 1, "web": 1}} and own["maths"]["documents"] == 2
    assert own["maths"]["items_hit"] == 1 and told[0]["methods"][BIGCODE]["dropped"] == 0
    text = markdown(told[0])
    assert "| code\\|x | 1 | 1 | 1 |" in text and "| maths | 0 | substring@starcoder | 2 |" in text
    assert "1 13-grams were ignored" in text


# -- public sets -------------------------------------------------------------------------------------------


def test_public_sets(shared: Path, tmp_path: Path) -> None:
    names = ["humaneval", "mbpp", "gsm8k", "lambada"]
    opened = build_contamination_index(tmp_path / "evals.zip", read_sets(names, folder=str(shared / "data" / "evals")))
    told = opened.manifest["sets"]
    assert set(names) < set(known_sets())
    assert (told["humaneval"]["items"], told["humaneval"]["left_out"], told["mbpp"]["items"]) == (82, 4, 500)
    question = json.loads((shared / "data/evals/gsm8k_test.jsonl").read_text().splitlines()[7])["question"]
    spaced = re.sub(" ", lambda found: "\n" if found.start() % 2 else "  ", question.upper())
    plain = "".join(c for c in question if c not in string.punctuation)
    for text, finding in ((spaced, (STARCODER2, GPT3, COSMOPEDIA)), (plain, (GPT3, COSMOPEDIA))):
        for method in METHODS:
            (row,) = judged(str(tmp_path / "evals.zip"), method, FILLER + text)
            hit = any((hit["set"], hit["item"]) == ("gsm8k", "7") for hit in row["hits"])
            assert hit == (method in finding) or method == BIGCODE, method
