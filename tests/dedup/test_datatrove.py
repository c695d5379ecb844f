"""minhash@datatrove and minhash_sha1@datatrove against values of the reference program, and simplify_text alone."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import example, given, settings
from hypothesis import strategies as st

import dedup
from dedup.bands import Bands
from dedup.datatrove import DatatroveMinHash, permutations
from dedup.simplified import _column, simplified, simplify
from quality_signals.text_batch import SharedTexts
from quality_signals.words import word_splitter

DATA = Path(__file__).parents[1] / "data"
PRIME = (1 << 61) - 1
CHARACTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from(
    " \n\t.,'aAé1２٣,٫．〇Σσςİǅ\u0301\u0323\x85\u2028\x00中한\u302e\u1b44\ua9c0가힣\u037e\U0001f600\U000e0101"
)
TEXTS = st.lists(st.text(CHARACTERS, max_size=8), max_size=20).map(" ".join)


def rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def batch_of(texts: list[str | None], languages: list[str | None] | None = None) -> pa.RecordBatch:
    given = languages or [None] * len(texts)
    return pa.RecordBatch.from_pydict(
        {"text": pa.array(texts, pa.large_string()), "language": pa.array(given, pa.string())}
    )


@pytest.fixture(scope="module")
def documents() -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in rows(DATA / "dedup" / "docs.jsonl.gz")}


def test_golden_simplified_texts(documents: dict[str, dict[str, Any]], shared: Path) -> None:
    golden = rows(shared / "golden" / "web" / "words_datatrove.jsonl.gz")
    texts = [documents[row["id"]]["text"] for row in golden]
    expected = [row["simplified_text"] for row in golden]
    assert SharedTexts(batch_of(texts)).of(None).view(simplified).strings == expected
    assert [simplify(text) for text in texts] == expected


@pytest.mark.parametrize("name,hashed", [("minhash@datatrove", "xxhash"), ("minhash_sha1@datatrove", "sha1")])
def test_golden_signatures(documents: dict[str, dict[str, Any]], name: str, hashed: str) -> None:
    golden = rows(DATA / "dedup" / "minhash_datatrove.jsonl.gz")
    # Some languages are split by a package of the extra `languages`.
    golden = [row for row in golden if word_splitter(row["language"]) is not None]
    assert len(golden) > 120
    annotator = dedup.ANNOTATORS[name]()
    assert annotator.name == name and pickle.loads(pickle.dumps(annotator)) == annotator
    chosen = [documents[row["id"]] for row in golden]
    found = annotator.annotate(batch_of([d["text"] for d in chosen], [d["language"] for d in chosen]))
    assert found.schema.equals(annotator.schema)
    for row, value in zip(golden, found.column("signature").to_pylist(), strict=True):
        assert (row["id"], value) == (row["id"], row[hashed])


@settings(deadline=None, max_examples=150)  # the first call may compile
@given(st.lists(TEXTS, max_size=4))
@example(["", " ", "1", "1.5.2 3,4,5 1. 2", "\u0301 a \u0301 b \u0301", "Σ ΑΣ ΑΣ. İ", "a\u1b44\u0301b", "가 각"])
def test_simplified_texts_are_those_of_the_definition(texts: list[str]) -> None:
    view = SharedTexts(batch_of(list(texts))).of(None).view(simplified)
    assert view.strings == [simplify(text) for text in texts]


def test_marks_with_a_place_of_their_own_take_the_slow_way() -> None:
    points = np.array([ord(c) for c in "a\u0301b\u1b44"], np.uint32)
    _, slow = _column(points, np.array([0, 3, 4]))
    assert slow.tolist() == [False, True]


def slow_signature(text: str, sha1: bool) -> list[list[int]] | None:
    """Of a text whose words are those of `split`."""
    words = simplify(text).split()
    shingles = [" ".join(words[i : i + 5]).encode() for i in range(len(words) - 4)]
    hashes = [
        int.from_bytes(hashlib.sha1(s).digest()[:8], "little") if sha1 else xxhash.xxh64_intdigest(s) for s in shingles
    ]
    pairs = list(zip(*(drawn.tolist() for drawn in permutations()), strict=True))
    values = [min(((h * a + b) % 2**64 % PRIME for h in hashes), default=0) for a, b in pairs]
    return [values[i : i + 8] for i in range(0, 112, 8)] if hashes else None


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.sampled_from("alpha BETA gamma. Δέλτα, 12.5 0 épsilon".split()), max_size=30), max_size=4))
def test_signatures_of_the_definition(texts: list[list[str]]) -> None:
    joined: list[str | None] = [" ".join(words) for words in texts]
    for annotator in (DatatroveMinHash(), DatatroveMinHash("sha1")):
        found = annotator.annotate(batch_of(joined)).column("signature").to_pylist()
        assert found == [slow_signature(text or "", annotator.hash == "sha1") for text in joined]


def test_short_texts_null_rows_and_unknown_languages() -> None:
    text = "one two three four five six"
    found = DatatroveMinHash().annotate(batch_of([text, None, "one two three four", "", text], ["en", *["xx?"] * 4]))
    assert [value is None for value in found.column("signature").to_pylist()] == [False, True, True, True, True]
    assert found.column("shingles").to_pylist() == [2, None, 0, 0, 0]
    assert DatatroveMinHash().annotate(batch_of([])).num_rows == 0
    assert DatatroveMinHash().bands(0.9) == Bands(14, 8)
    with pytest.raises(ValueError, match="hash is 'md5', allowed are xxhash, sha1"):
        DatatroveMinHash("md5")  # type: ignore[arg-type]


def test_sets_are_those_of_the_signature_and_follow_the_language() -> None:
    texts = pa.array(["one two three four five six seven one two three four five", None, "can't won't it's a b c"])
    sets = DatatroveMinHash().shingle_sets(texts)
    assert [s.size for s in sets][:2] == [7, 0]
    assert all((np.diff(s.astype(object)) > 0).all() for s in sets)


def test_a_row_does_not_depend_on_the_others() -> None:
    texts = [row["text"] for row in rows(DATA / "dedup" / "docs.jsonl.gz")[:40]]
    order = np.random.default_rng(1).permutation(len(texts))
    found = DatatroveMinHash().annotate(batch_of(list(texts)))
    again = DatatroveMinHash().annotate(batch_of([texts[i] for i in order]))
    assert again.equals(found.take(pa.array(order)))


@pytest.mark.parametrize("piece", ["word and another; ", "x ", "x", "e\u0301 ", "\u0301", "\n", "1.5", "가", "\u1b44 "])
def test_time_is_linear_in_the_text(piece: str) -> None:
    def seconds(size: int) -> float:
        batch = batch_of([(piece * (size // len(piece) + 1))[:size]])
        best = math.inf
        for _ in range(3):
            start = time.process_time()
            DatatroveMinHash().annotate(batch)
            best = min(best, time.process_time() - start)
        return best

    seconds(10)
    assert seconds(400_000) < 6 * seconds(100_000) + 0.01
