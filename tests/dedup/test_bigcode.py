"""minhash@bigcode-v1 and -v2 against values of the reference programs and their definitions."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import pickle
import re
import time
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import example, given, settings
from hypothesis import strategies as st

import dedup
from dedup.bands import Bands
from dedup.bigcode import VERSIONS, BigCodeMinHash, Version, band_key, permutations

DATA = Path(__file__).parents[1] / "data"
PRIME = (1 << 61) - 1
TYPES = {"v1": "<u8", "v2": "<u4"}
CHARACTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from(
    " \n\t.,()=aAB_éΣσςİǅ\u0301\x85\u2028\x00中\U0001f600"
)
TEXTS = st.lists(st.text(CHARACTERS, max_size=6), max_size=12).map(" ".join)


def rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def batch_of(texts: list[str | None]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})


def prefix(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def check_golden(version: Version, golden: list[dict[str, Any]], texts: list[str | None]) -> None:
    annotator = dedup.ANNOTATORS[f"minhash@bigcode-{version}"]()
    found = annotator.annotate(batch_of(texts))
    assert found.schema.equals(annotator.schema)
    bands = annotator.bands(0.7)
    for row, signature, size in zip(golden, *(found.column(i).to_pylist() for i in range(2)), strict=True):
        keys = [band_key(signature, band, version, bands.rows) for band in range(bands.count)]
        assert {
            **row,
            "n_shingles": size,
            "first8": signature[:8],
            "sig_sha256_16": prefix(np.array(signature, TYPES[version]).tobytes()),
            "bands_sha256_16": prefix(b"".join(keys)),
            "band0_hex": keys[0].hex(),
            "band24_hex": keys[24].hex(),
        } == row


@pytest.mark.parametrize("version", VERSIONS)
def test_golden_signatures_of_files(version: Version) -> None:
    files = {row["id"]: row["content"] for row in rows(DATA / "quality_signals" / "code_files.jsonl.gz")}
    golden = [row for row in rows(DATA / "dedup" / f"bigcode_{version}.jsonl.gz") if row["id"] in files]
    assert len(golden) == 307
    check_golden(version, golden, [files[row["id"]] for row in golden])


@pytest.mark.parametrize("version", VERSIONS)
def test_golden_signatures_of_pairs(version: Version, shared: Path) -> None:
    texts: dict[tuple[str, str], None] = {}
    for pair in rows(shared / "data" / "code-near-duplicates" / "pairs.jsonl.gz"):
        texts.update({(pair[end], pair[f"{end}_text"]): None for end in "ab"})
    golden = [row for row in rows(DATA / "dedup" / f"bigcode_{version}.jsonl.gz") if row["id"].startswith("p")]
    assert [row["name"] for row in golden] == [name for name, _ in texts]
    check_golden(version, golden, [text for _, text in texts])


@pytest.mark.parametrize("version", VERSIONS)
def test_clusters_of_the_reference_and_without_short_files(version: Version) -> None:
    with gzip.open(DATA / "dedup" / "bigcode_clusters.json.gz", "rt") as file:
        golden = json.load(file)[version]
    files = [row for row in rows(DATA / "quality_signals" / "code_files.jsonl.gz") if row["content"] is not None]
    annotator = BigCodeMinHash(version)
    found = annotator.annotate(batch_of([row["content"] for row in files]))
    bands = annotator.bands(0.7)
    told = ~np.array(found.column("too_short").to_pylist())

    def clusters(chosen: np.ndarray) -> list[list[str]]:
        first: dict[tuple[int, bytes], int] = {}
        edges = []
        for i in np.flatnonzero(chosen).tolist():
            signature = found.column("signature")[i].as_py()
            for band in range(bands.count):
                other = first.setdefault((band, band_key(signature, band, version, bands.rows)), i)
                edges.append((other, i))
        graph = networkx.Graph(edges)
        members = [sorted(part) for part in networkx.connected_components(graph) if len(part) > 1]
        return sorted([files[i]["id"] for i in part] for part in members)

    assert clusters(np.ones(len(files), bool)) == golden["files_clusters"]
    short = [row["id"] for row, kept in zip(files, told.tolist(), strict=True) if not kept]
    assert len(short) > 2 and short in golden["files_clusters"]
    assert clusters(told) == [part for part in golden["files_clusters"] if part != short]


@pytest.mark.parametrize("version", VERSIONS)
def test_bands_that_labelled_pairs_share(version: Version, shared: Path) -> None:
    with gzip.open(DATA / "dedup" / "bigcode_clusters.json.gz", "rt") as file:
        golden = json.load(file)[version]["pairs"]
    pairs = rows(shared / "data" / "code-near-duplicates" / "pairs.jsonl.gz")
    annotator = BigCodeMinHash(version)
    bands = annotator.bands(0.7)
    texts: list[str | None] = [text for pair in pairs for text in (pair["a_text"], pair["b_text"])]
    signatures = np.array(annotator.annotate(batch_of(texts)).column("signature").to_pylist())
    cut = signatures[:, : bands.count * bands.rows].reshape(len(pairs), 2, bands.count, bands.rows)
    common = (cut[:, 0] == cut[:, 1]).all(axis=2).sum(axis=1).tolist()
    assert common == [pair["bands_shared"] for pair in golden]


def test_permutations_of_the_references() -> None:
    a, b = permutations("v1")
    assert prefix(np.stack([a, b], axis=1).astype("<u8").tobytes()) == "73e50cc0fff92b97"
    a, b = permutations("v2")
    assert prefix(np.concatenate([a, b]).astype("<u4").tobytes()) == "e65f64154159c5db"


def slow_signature(text: str, version: Version) -> list[int]:
    tokens = re.split(r"[^A-Za-z_0-9]", text) if version == "v1" else re.split(r"\W", text.lower())
    shingles = {" ".join(tokens[i : i + 5]).encode() for i in range(len(tokens) - 4)}
    pairs = zip(*(drawn.tolist() for drawn in permutations(version)), strict=True)
    empty = 2**32 - 1
    if version == "v1":
        hashes = [int.from_bytes(hashlib.sha1(shingle).digest()[:4], "little") for shingle in shingles]
        return [min(((a * h + b) % 2**64 % PRIME % 2**32 for h in hashes), default=empty) for a, b in pairs]
    hashes = [xxhash.xxh32_intdigest(shingle) for shingle in shingles]
    return [min(((a * h + b) % 2**32 % (2**32 - 5) for h in hashes), default=empty) for a, b in pairs]


@pytest.mark.parametrize("version", VERSIONS)
@settings(deadline=None, max_examples=60)  # the first call may compile
@given(texts=st.lists(TEXTS, max_size=3))
@example(texts=["", "....", "...", "İİİİİ", "ΑΣ ΑΣΑ.ΑΣ.Σ Σ", "a\nb\tc(d)=e"])
def test_signatures_of_the_definition(version: Version, texts: list[str]) -> None:
    found = BigCodeMinHash(version).annotate(batch_of(list(texts))).column("signature").to_pylist()
    assert found == [slow_signature(text, version) for text in texts]


@pytest.mark.parametrize("version", VERSIONS)
def test_short_files_keep_the_reference_values_and_are_told(version: Version) -> None:
    annotator = BigCodeMinHash(version)
    found = annotator.annotate(batch_of(["a b c d", None, "", "a b c d e"]))
    values = found.column("signature").to_pylist()
    assert values[0] == values[2] == [2**32 - 1] * len(permutations(version)[0]) and values[1] is None
    assert found.column("too_short").to_pylist() == [True, None, True, False]
    assert annotator.annotate(batch_of([])).num_rows == 0
    assert pickle.loads(pickle.dumps(annotator)) == annotator
    assert annotator.bands(0.7) == Bands(25, 10)
    sets = annotator.shingle_sets(pa.array(["a b c d e f", "a b", None, "    " * 4]))
    assert [own.size for own in sets] == [2, 0, 0, 1]


def test_a_version_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="version is 'v3', allowed are v1, v2"):
        BigCodeMinHash("v3")  # type: ignore[arg-type]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_row_does_not_depend_on_the_others(version: Version) -> None:
    texts = [row["content"] for row in rows(DATA / "quality_signals" / "code_files.jsonl.gz")[:50]]
    order = np.random.default_rng(1).permutation(len(texts))
    found = BigCodeMinHash(version).annotate(batch_of(list(texts)))
    assert BigCodeMinHash(version).annotate(batch_of([texts[i] for i in order])).equals(found.take(pa.array(order)))


@pytest.mark.parametrize("piece", ["word(another); ", "x ", "x", "Σ\u0301", "    ", "\n"])
@pytest.mark.parametrize("version", VERSIONS)
def test_time_is_linear_in_the_text(version: Version, piece: str) -> None:
    def seconds(size: int) -> float:
        batch = batch_of([(piece * (size // len(piece) + 1))[:size]])
        best = math.inf
        for _ in range(3):
            start = time.process_time()
            BigCodeMinHash(version).annotate(batch)
            best = min(best, time.process_time() - start)
        return best

    seconds(10)
    assert seconds(400_000) < 6 * seconds(100_000) + 0.01
