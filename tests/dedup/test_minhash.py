"""minhash@1: what equal and similar texts give, and how well signatures estimate the Jaccard similarity."""

from __future__ import annotations

import hashlib
import math
import pickle
import random
import re
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dedup
from dedup.bands import Bands, band_keys, choose_bands
from dedup.jaccard import jaccard
from dedup.minhash import PERMUTATIONS, MinHash, permutations, signatures
from dedup.shingles import Shingle, shingle_sets


def batch(*texts: str | None) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})


def pair_with_shared_part(rng: random.Random, words: int, shared: float) -> tuple[str, str]:
    """Two texts of random words with a common beginning."""
    common = [f"{rng.getrandbits(40):x}" for _ in range(int(words * shared))]
    tails = [[f"{rng.getrandbits(40):x}" for _ in range(words - len(common))] for _ in range(2)]
    return " ".join(common + tails[0]), " ".join(common + tails[1])


def test_columns_of_the_annotator() -> None:
    annotator = dedup.ANNOTATORS["minhash@1"]()
    text = "one two three four five six"
    found = annotator.annotate(batch(text, "too short", "", None))
    assert found.schema.equals(annotator.schema) and annotator.name == "minhash@1"
    assert found.column("shingles").to_pylist() == [2, 0, 0, 0]
    signature = found.column("signature").to_pylist()
    assert len(signature[0]) == PERMUTATIONS and signature[1:] == [None, None, None]
    hashes = found.column("text_hash").to_pylist()
    assert hashes[:3] == [hashlib.sha256(t.encode()).digest()[:16] for t in (text, "too short", "")]
    assert hashes[3] is None
    assert pickle.loads(pickle.dumps(annotator)) == annotator


def test_empty_batch_and_sliced_batch() -> None:
    annotator = MinHash()
    assert annotator.annotate(batch().slice(0)).num_rows == 0
    rows = batch("x", "one two three four five", "y", "a b c d e f")
    assert annotator.annotate(rows.slice(1, 3)).equals(annotator.annotate(rows).slice(1, 3))


def test_signature_is_the_minimum_of_the_formula() -> None:
    text = "the quick brown fox jumps over the lazy dog"
    (hashes,) = shingle_sets(pa.array([text]))
    a, b = permutations()
    high = [int(h) >> 32 for h in hashes]
    expected = [min((int(a[j]) * h + int(b[j])) % 2**32 for h in high) for j in range(PERMUTATIONS)]
    assert signatures(pa.array([text]))[0][0].tolist() == expected
    assert (a % 2 == 1).all()
    assert expected[:3] == [75394807, 584671860, 555876879]  # the released columns: never to change


SHINGLED: tuple[Shingle, ...] = ("words", "characters", "code", "dna")


@pytest.mark.parametrize("shingle", SHINGLED)
def test_kinds_of_shingles(shingle: Shingle) -> None:
    """Every kind has its name, and the signature of exactly the sets that similarity is measured on."""
    annotator = MinHash(shingle=shingle)
    registered = "minhash@1" if shingle == "words" else f"minhash_{shingle}@1"
    assert annotator.name == registered and dedup.ANNOTATORS[registered]() == annotator
    texts = ["ACGTNACGTTGCAACGTAGCTAGCATCGATCGACGTACGATCGAGCAC" * 3, "def f(x): return x + 1  # one two three", "", "a"]
    found = annotator.annotate(batch(*texts))
    sets = annotator.shingle_sets(pa.array(texts))
    assert found.column("shingles").to_pylist() == [s.size for s in sets]
    a, b = permutations()
    for signature, own in zip(found.column("signature").to_pylist(), sets, strict=True):
        high = [int(h) >> 32 for h in own]
        expected = (
            [min((p * h + q) % 2**32 for h in high) for p, q in zip(a.tolist(), b.tolist(), strict=True)]
            if high
            else None
        )
        assert signature == expected
    assert annotator.bands(0.8) == Bands(21, 6)


def test_values_of_the_kinds() -> None:
    """Released names never change their values."""
    text = "The quick brown fox jumps; over = the_lazy(dog) ACGTACGTTTGACCAGATTACAGGATC"
    first = {kind: signatures(pa.array([text]), shingle=kind)[0][0, :2].tolist() for kind in SHINGLED}
    assert first == {
        "words": [732047471, 584671860],
        "characters": [319716430, 44669863],
        "code": [267999492, 924917058],
        "dna": [1566331538, 230549399],
    }


@settings(deadline=None)  # the first call may compile
@given(st.lists(st.sampled_from("abcdefgh"), min_size=5, max_size=30), st.integers(1, 4))
def test_identical_sets_give_identical_signatures(words: list[str], repeats: int) -> None:
    # Repeating a text adds no shingle but those across the seams, which the second text has as well.
    once, twice = " ".join(words * (repeats + 1)), " - ".join(words * (repeats + 2)).upper()
    one, two = shingle_sets(pa.array([once, twice]))
    (found, _) = signatures(pa.array([once, twice]))
    assert np.array_equal(one, two) and np.array_equal(found[0], found[1])


@settings(deadline=None)  # the first call may compile
@given(st.permutations(range(8)), st.integers(0, 2**32))
def test_a_row_does_not_depend_on_the_others(order: list[int], seed: int) -> None:
    rng = random.Random(seed)
    texts = [" ".join(rng.choices("abcdef", k=rng.randint(0, 20))) for _ in range(8)]
    found, shingles = signatures(pa.array(texts))
    again, shingles_again = signatures(pa.array([texts[i] for i in order]))
    assert np.array_equal(found[order], again) and np.array_equal(shingles[order], shingles_again)


@pytest.mark.parametrize("shared", [0.3, 0.6, 0.9])
def test_share_of_equal_positions_estimates_jaccard(shared: float) -> None:
    """The normalised errors of 400 estimates have mean 0 and standard deviation 1."""
    rng = random.Random(7)
    pairs = [pair_with_shared_part(rng, 120, shared) for _ in range(400)]
    texts = pa.array([text for pair in pairs for text in pair])
    sets, (found, _) = shingle_sets(texts), signatures(texts)
    true = np.array([jaccard(sets[i], sets[i + 1]) for i in range(0, len(sets), 2)])
    estimate = (found[0::2] == found[1::2]).mean(axis=1)
    errors = (estimate - true) / np.sqrt(true * (1 - true) / PERMUTATIONS)
    assert abs(errors.mean()) < 4 / np.sqrt(errors.size)
    assert 0.85 < errors.std() < 1.15


def test_candidate_recall_at_the_threshold() -> None:
    """Of pairs that are just above 0.8, at least 99 % share a band, as 1 - (1 - J^6)^21 says."""
    rng = random.Random(3)
    pairs = [pair_with_shared_part(rng, 200, 0.895) for _ in range(1500)]
    texts = pa.array([text for pair in pairs for text in pair])
    sets, (found, _) = shingle_sets(texts), signatures(texts)
    true = np.array([jaccard(sets[i], sets[i + 1]) for i in range(0, len(sets), 2)])
    assert true.min() >= 0.8 and true.max() < 0.82
    keys = band_keys(found, choose_bands(0.8, PERMUTATIONS))
    assert (keys[0::2] == keys[1::2]).any(axis=1).mean() >= 0.99


@pytest.mark.parametrize(
    "options,message",
    [
        ({"n": 0}, "minhash@1: n is 0, must be 1 or more"),
        ({"count": 0}, "minhash@1: count is 0, must be 1 or more"),
        ({"shingle": "lines"}, "shingle is 'lines', allowed are words, characters, code, dna"),
        ({"shingle": "dna", "n": 33}, "minhash_dna@1: n is 33, must be 1 or more and at most 32"),
    ],
)
def test_wrong_parameters_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        MinHash(**options)


@pytest.mark.parametrize("shingle", SHINGLED)
@pytest.mark.parametrize("piece", ["word and another; ", "x ", "x", "A", "ACGTN", "\n", "\u0301", "中", ">"])
def test_time_is_linear_in_the_text(shingle: Shingle, piece: str) -> None:
    def seconds(size: int) -> float:
        rows = batch((piece * (size // len(piece) + 1))[:size])
        best = math.inf
        for _ in range(3):
            started = time.process_time()
            MinHash(shingle=shingle).annotate(rows)
            best = min(best, time.process_time() - started)
        return best

    seconds(10)
    assert seconds(800_000) < 6 * seconds(200_000) + 0.01


def test_throughput() -> None:
    """Far below what one core does (140 MB/s), so that only a lost vectorisation fails it."""
    rng = random.Random(1)
    vocabulary = [f"{rng.getrandbits(24):x}" for _ in range(5000)]
    rows = batch(*(" ".join(rng.choices(vocabulary, k=500)) for _ in range(800)))
    MinHash().annotate(rows.slice(0, 1))
    started = time.process_time()
    MinHash().annotate(rows)
    assert rows.nbytes / 1e6 / (time.process_time() - started) > 10
