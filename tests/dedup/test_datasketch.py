"""minhash@datasketch and minhash@datasketch-legacy against values of the reference program and its definition."""

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
from hypothesis import example, given, settings
from hypothesis import strategies as st

import dedup
from dedup.bands import Bands
from dedup.datasketch import DatasketchMinHash, affine32, legacy
from dedup.jaccard import jaccard
from dedup.lower_case import lower_case
from quality_signals.text_batch import SharedTexts

DATA = Path(__file__).parents[1] / "data" / "dedup"
NAMES = {"minhash@datasketch": "hashvalues", "minhash@datasketch-legacy": "hashvalues_legacy"}
PRIME = (1 << 61) - 1
CHARACTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from(
    " \n\t.,'aAéΣσςİǅ\u0301\u0323\x85\u2028\x00中\u0345ͅ\U0001f600"
)
TEXTS = st.lists(st.text(CHARACTERS, max_size=6), max_size=16).map(" ".join)


def rows(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / name, "rt") as file:
        return [json.loads(line) for line in file]


def batch_of(texts: list[str | None]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})


@pytest.fixture(scope="module")
def documents() -> dict[str, str]:
    return {row["id"]: row["text"] for row in rows("docs.jsonl.gz")}


@pytest.mark.parametrize("name", NAMES)
def test_golden_values(documents: dict[str, str], name: str) -> None:
    golden = rows("minhash_datasketch.jsonl.gz")
    annotator = dedup.ANNOTATORS[name]()
    assert annotator.name == name and pickle.loads(pickle.dumps(annotator)) == annotator
    found = annotator.annotate(batch_of([documents[row["id"]] for row in golden]))
    assert found.schema.equals(annotator.schema)
    for row, values, size in zip(golden, *(found.column(i).to_pylist() for i in range(2)), strict=True):
        assert (row["id"], values, size) == (row["id"], row[NAMES[name]], row["n_shingles"])
    assert found.column("too_short").to_pylist() == [row["n_shingles"] == 0 for row in golden]


def test_golden_pairs(documents: dict[str, str]) -> None:
    """The bands of the reference's index at 0.7 find its pairs, and our sets have its similarities."""
    pairs = rows("minhash_datasketch_pairs.jsonl.gz")
    ids = sorted({pair[end] for pair in pairs for end in "ab"})
    place = {name: i for i, name in enumerate(ids)}
    annotator = DatasketchMinHash()
    bands = annotator.bands(0.7)
    assert bands == Bands(14, 9)
    found = annotator.annotate(batch_of([documents[name] for name in ids])).column("hashvalues").to_pylist()
    cut = np.array(found)[:, : bands.count * bands.rows].reshape(len(ids), bands.count, bands.rows)
    sets = annotator.shingle_sets(pa.array([documents[name] for name in ids]))
    for pair in pairs:
        a, b = place[pair["a"]], place[pair["b"]]
        assert bool((cut[a] == cut[b]).all(axis=1).any()) == pair["lsh"]
        assert jaccard(sets[a], sets[b]) == (pair["jaccard"] or 0.0)


def slow_values(text: str, name: str) -> list[int]:
    words = text.lower().split()
    shingles = {" ".join(words[i : i + 5]).encode() for i in range(len(words) - 4)}
    hashes = [int.from_bytes(hashlib.sha1(shingle).digest()[:4], "little") for shingle in shingles]
    if name == "minhash@datasketch":
        mixed = []
        for h in hashes:
            h = (h ^ h >> 16) * 0x85EBCA6B % 2**32
            h = (h ^ h >> 13) * 0xC2B2AE35 % 2**32
            mixed.append(h ^ h >> 16)
        pairs = zip(*(drawn.tolist() for drawn in affine32()), strict=True)
        return [min(((a * h + b) % 2**32 for h in mixed), default=2**32 - 1) for a, b in pairs]
    pairs = zip(*(drawn.tolist() for drawn in legacy()), strict=True)
    return [min(((a * h + b) % 2**64 % PRIME % 2**32 for h in hashes), default=2**32 - 1) for a, b in pairs]


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=60)  # the first call may compile
@given(texts=st.lists(TEXTS, max_size=4))
@example(texts=["a b c d", "a b c d e", "İ İ İ Σ ΑΣ ΑΣ\u0301 ΑΣ\u0301Α", ""])
def test_values_of_the_definition(name: str, texts: list[str]) -> None:
    found = DatasketchMinHash(name).annotate(batch_of(list(texts))).column("hashvalues").to_pylist()
    assert found == [slow_values(text, name) for text in texts]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text(CHARACTERS, max_size=30), max_size=5))
def test_lower_case_is_pythons(texts: list[str]) -> None:
    points, offsets = lower_case(SharedTexts(batch_of(list(texts))).of(None))
    whole = points.tobytes().decode("utf-32-le")
    bounds = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    assert [whole[start:stop] for start, stop in bounds] == [text.lower() for text in texts]


def test_short_texts_keep_the_reference_values_and_are_told() -> None:
    found = DatasketchMinHash().annotate(batch_of(["four words are few", None, "", "these are five words here"]))
    values = found.column("hashvalues").to_pylist()
    assert values[0] == values[2] == [2**32 - 1] * 128 and values[1] is None
    assert found.column("too_short").to_pylist() == [True, None, True, False]
    assert found.column("shingles").to_pylist() == [0, None, 0, 1]
    assert DatasketchMinHash().annotate(batch_of([])).num_rows == 0


def test_a_row_does_not_depend_on_the_others(documents: dict[str, str]) -> None:
    texts = list(documents.values())[:50]
    order = np.random.default_rng(1).permutation(len(texts))
    found = DatasketchMinHash().annotate(batch_of(list(texts)))
    again = DatasketchMinHash().annotate(batch_of([texts[i] for i in order]))
    assert again.equals(found.take(pa.array(order)))


@pytest.mark.parametrize("piece", ["word and another; ", "x ", "x", "Σ\u0301", "Σ", "\u0301", "\n"])
def test_time_is_linear_in_the_text(piece: str) -> None:
    def seconds(size: int) -> float:
        batch = batch_of([(piece * (size // len(piece) + 1))[:size]])
        best = math.inf
        for _ in range(3):
            start = time.process_time()
            DatasketchMinHash().annotate(batch)
            best = min(best, time.process_time() - start)
        return best

    seconds(10)
    assert seconds(400_000) < 6 * seconds(100_000) + 0.01
