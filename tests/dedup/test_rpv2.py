"""minhash@rpv2 against values that the reference program gave."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import dedup
from dedup.rpv2 import THRESHOLDS, permutations

DATA = Path(__file__).parents[1] / "data" / "dedup"


def rows(name: str) -> list[dict]:  # type: ignore[type-arg]
    with gzip.open(DATA / name, "rt") as file:
        return [json.loads(line) for line in file]


def test_permutations_of_the_reference() -> None:
    digest = hashlib.sha256(np.stack(permutations()).tobytes()).hexdigest()
    assert digest == "6a5665743fa1884640a8eb3543348255a90b4dbd55b093f39e3d61ac90eac9e1"


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_golden_signatures(threshold: float) -> None:
    texts = {row["id"]: row["text"] for row in rows("docs.jsonl.gz")}
    golden = rows("rpv2_minhash.jsonl.gz")
    batch = pa.RecordBatch.from_pydict({"text": [texts[row["id"]] for row in golden]})
    annotator = dedup.ANNOTATORS["minhash@rpv2"]()
    found = annotator.annotate(batch)
    assert found.schema.equals(annotator.schema)
    column = f"signature_sim{threshold}"
    assert [v and [b.hex() for b in v] for v in found.column(column).to_pylist()] == [
        row[column] for row in golden
    ]


def test_null_and_short_texts_have_no_signature() -> None:
    batch = pa.RecordBatch.from_pydict({"text": pa.array(["twelve " * 12, None, ""])})
    found = dedup.ANNOTATORS["minhash@rpv2"]().annotate(batch)
    assert all(column.null_count == 3 for column in found.columns)
