"""minhash@rpv2 against values that the reference program gave, and against its plain definition."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
import string
import time
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dedup
from dedup.permutations import prime61_low_minima
from dedup.rpv2 import PERMUTATIONS, THRESHOLDS, RedPajamaMinHash, permutations
from quality_signals.text_batch import SharedTexts

DATA = Path(__file__).parents[1] / "data" / "dedup"
BANDS = {0.7: (14, 9), 0.8: (9, 13), 0.9: (5, 25), 1.0: (1, 128)}
PRIME = (1 << 61) - 1
VECTOR = (
    "The Quick brown fox's caf\u00e9 \u2014 jumped OVER the lazy dog...\n\n\u2022 Visit {our} site: javascript "
    "JavaScript enabled? NO!\nLorem ipsum dolor sit amet; the quick brown fox jumped over. The quick brown fox jumped "
    "over #1 2nd time\u2026\n the quick brown fox jumped over the lazy dog\u201d\n"
)
CHARACTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from(
    " \n.,'aAéΣσİǅ\u0301\u0323\x85\u2028\x00中\U0001f600"
)
LONG_TEXTS = st.lists(st.text(CHARACTERS, max_size=8), max_size=40).map(" ".join)


def rows(name: str) -> list[dict]:  # type: ignore[type-arg]
    with gzip.open(DATA / name, "rt") as file:
        return [json.loads(line) for line in file]


def batch_of(texts: list[str | None]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})


def slow_signature(text: str) -> list[int] | None:
    """[128], or None for a text of fewer than 13 normalised words."""
    text = text.translate(str.maketrans("", "", string.punctuation)).lower().strip()
    words = unicodedata.normalize("NFD", re.sub(r"\s+", " ", text)).split()
    if len(words) < 13:
        return None
    shingles = {" ".join(words[i : i + 13]) for i in range(len(words) - 12)}
    hashes = [int.from_bytes(hashlib.sha1(shingle.encode()).digest()[:4], "little") for shingle in shingles]
    pairs = [(int(a), int(b)) for a, b in zip(*permutations(), strict=True)]
    return [min((h * a + b) % (1 << 64) % PRIME & 0xFFFFFFFF for h in hashes) for a, b in pairs]


def slow_bands(text: str, threshold: float) -> list[bytes] | None:
    values = slow_signature(text)
    if values is None:
        return None
    count, size = BANDS[threshold]
    return [b"".join(v.to_bytes(4, "big") for v in values[i * size : (i + 1) * size]) for i in range(count)]


def test_permutations_of_the_reference() -> None:
    digest = hashlib.sha256(np.stack(permutations()).tobytes()).hexdigest()
    assert digest == "6a5665743fa1884640a8eb3543348255a90b4dbd55b093f39e3d61ac90eac9e1"


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_golden_signatures(threshold: float) -> None:
    texts = {row["id"]: row["text"] for row in rows("docs.jsonl.gz")}
    golden = rows("rpv2_minhash.jsonl.gz")
    annotator = dedup.ANNOTATORS["minhash@rpv2"]()
    found = annotator.annotate(batch_of([texts[row["id"]] for row in golden]))
    assert found.schema.equals(annotator.schema)
    column = f"signature_sim{threshold}"
    for row, value in zip(golden, found.column(column).to_pylist(), strict=True):
        assert (row["id"], value and [band.hex() for band in value]) == (row["id"], row[column])


def test_the_published_vector() -> None:
    found = RedPajamaMinHash().annotate(batch_of([VECTOR, ""]))
    digests = {1.0: "bae934b23080553c", 0.9: "6d31ee133ed8efb0", 0.8: "ed60fe0089dc9449", 0.7: "09db80620813badb"}
    for threshold, digest in digests.items():
        bands, nothing = found.column(f"signature_sim{threshold}").to_pylist()
        assert hashlib.sha256(b"".join(bands)).hexdigest().startswith(digest)
        assert nothing is None
    assert found.column("signature_sim1.0")[0][0].as_py().hex().startswith("02cca4d60c4008040e09a1130bea28a6")


def test_null_and_short_texts_have_no_signature() -> None:
    found = RedPajamaMinHash().annotate(batch_of(["twelve " * 12, None, "", ". " * 40]))
    assert all(column.null_count == 4 for column in found.columns)
    mixed = RedPajamaMinHash().annotate(batch_of([None, "w " * 13, "short", VECTOR, None]).slice(1))
    assert [[v is None for v in column.to_pylist()] for column in mixed.columns] == [[False, True, False, True]] * 4
    assert RedPajamaMinHash().annotate(batch_of([])).num_rows == 0


@settings(deadline=None, max_examples=60)
@given(texts=st.lists(LONG_TEXTS, max_size=4))
def test_any_texts_have_the_bands_of_the_definition(texts: list[str]) -> None:
    found = RedPajamaMinHash().annotate_texts(SharedTexts(batch_of(list(texts))))
    for threshold in THRESHOLDS:
        assert found.column(f"signature_sim{threshold}").to_pylist() == [slow_bands(t, threshold) for t in texts]


def test_texts_longer_than_a_block_of_shingles_and_words_longer_than_a_block_of_bytes() -> None:
    texts = [
        " ".join(f"word{i}" for i in range(4096 + 12 + 1)),
        " ".join(f"word{i}" for i in range(4096 + 12)),
        "short words and one of them long " * 2 + "x" * 10_000 + " and more words " * 3,
        " ".join("\U00020000" * n for n in range(40)),
        "same " * 9000,
    ]
    found = RedPajamaMinHash().annotate(batch_of(list(texts))).column("signature_sim1.0").to_pylist()
    assert found == [slow_bands(text, 1.0) for text in texts]


def test_the_modulus_at_its_edges() -> None:
    edges = [k * PRIME + d for k in range(9) for d in range(-9, 10)] + [(1 << 64) - 1, 1 << 61, 1 << 32, 5]
    b = np.array([v for v in edges if 0 <= v < 1 << 64], np.uint64)
    found = np.full((1, len(b)), 0xFFFFFFFF, np.uint32)
    prime61_low_minima(np.zeros(1, np.uint32), np.array([0, 1]), np.zeros(len(b), np.uint64), b, found)
    assert found[0].tolist() == [int(v) % PRIME & 0xFFFFFFFF for v in b]
    assert PERMUTATIONS == len(permutations()[0])


@pytest.mark.parametrize("piece", ["word and another; ", "x ", "x", "e\u0301 ", "\u0301", "\n", "中 ", ". "])
def test_time_is_linear_in_the_text(piece: str) -> None:
    def seconds(size: int) -> float:
        batch = batch_of([(piece * (size // len(piece) + 1))[:size]])
        best = math.inf
        for _ in range(3):
            start = time.process_time()
            RedPajamaMinHash().annotate(batch)
            best = min(best, time.process_time() - start)
        return best

    RedPajamaMinHash().annotate(batch_of([VECTOR]))
    assert seconds(400_000) < 6 * seconds(100_000) + 0.01


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.sampled_from(["a", "b", "Ünd", "c."]), max_size=40).map(" ".join), max_size=4))
def test_sets_have_one_hash_for_each_different_shingle(texts: list[str]) -> None:
    sets = RedPajamaMinHash().shingle_sets(pa.array(texts, pa.large_string()))
    for text, found in zip(texts, sets, strict=True):
        words = text.lower().replace(".", "").replace("ü", "u\u0308").split()
        shingles = {" ".join(words[i : i + 13]) for i in range(len(words) - 12)}
        expected = sorted(int.from_bytes(hashlib.sha1(s.encode()).digest()[:8], "big") for s in shingles)
        assert found.tolist() == expected


def test_a_threshold_without_signatures_is_refused() -> None:
    assert RedPajamaMinHash().column_of(0.8) == "signature_sim0.8"
    with pytest.raises(ValueError, match=r"thresholds 0.7, 0.8, 0.9, 1.0, not 0.75"):
        RedPajamaMinHash().column_of(0.75)
