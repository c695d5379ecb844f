from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import curate
from pipelines.annotate import annotation_shard
from pipelines.curate import CurateUnit, CurateUnits, Variant, group_shards
from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.ingest import document_shard
from pipelines.rules import DuplicateRule, FamilyRule
from pipelines.shards import write_shard
from pipelines.split import SPLIT_SCHEMA
from tests.conftest import document_batch


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 100))
def test_shards_are_grouped_in_order_and_none_is_lost(sizes: list[int], target: int) -> None:
    groups = group_shards(sizes, target)
    assert [index for group in groups for index in group.shards] == list(range(len(sizes)))
    assert [group.index for group in groups] == list(range(len(groups)))
    for group in groups:
        assert len(group.shards) == 1 or sum(sizes[i] for i in group.shards) <= target


DEDUP_SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("cluster_id", pa.string()),
        ("duplicate_of", pa.string()),
        ("similarity", pa.float64()),
    ]
)
FAMILY_SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("keep", pa.bool_()),
        ("rule", pa.string()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
    ]
)


@pytest.fixture
def curated(tmp_path: Path) -> tuple[Path, list[dict[str, Any]], Variant]:
    """Six documents: kept, dropped by the family, a duplicate, held out, a twin and a held-out duplicate."""
    output = str(tmp_path)
    ids = [f"d{i}" for i in range(6)]

    def write(path: str, schema: pa.Schema, *columns: list[Any]) -> None:
        write_shard(
            path,
            schema,
            [
                pa.RecordBatch.from_arrays(
                    [pa.array(c, f.type) for c, f in zip([ids, *columns], schema, strict=True)], schema=schema
                )
            ],
        )

    write_shard(
        document_shard(output, 0),
        DOCUMENT_SCHEMA,
        [document_batch(*[{"text": "é" * (i + 1)} for i in range(6)])],
    )
    write(annotation_shard(output, "split", 0), SPLIT_SCHEMA, [f"g{i}" for i in range(6)],
          ["train", "train", "train", "held_out", "held_out_twin", "held_out_duplicate"], [None] * 6)  # fmt: skip
    write(annotation_shard(output, "dedup", 0), DEDUP_SCHEMA, [None] * 6,
          [None, None, "d0", None, None, None], [None, None, 0.9, None, None, None])  # fmt: skip
    write(annotation_shard(output, "family@x", 0), FAMILY_SCHEMA, [True, False, True, False, True, True],
          [None, "words", None, "words", None, None], [None, 3.0, None, 3.0, None, None],
          [None, 50.0, None, 50.0, None, None])  # fmt: skip
    variant = Variant("v", (FamilyRule("family@x"), DuplicateRule(threshold=0.8)))
    worker = CurateUnits(output, (variant,), ("dedup", "family@x"))
    records = list(worker.run(CurateUnit(0, 1, (0,)).to_bytes()))
    curate.merge_parts(output, "v", curate.WATERFALL, [CurateUnit(0, 1, (0,))])
    return tmp_path, records, variant


def test_each_document_ends_once(curated: tuple[Path, list[dict[str, Any]], Variant]) -> None:
    output, _, _ = curated
    rows = pq.read_table(output / "corpora/v/waterfall.parquet").to_pylist()
    assert [(row["verdict"], row["rule"]) for row in rows] == [
        ("train", None),
        ("dropped", "family@x/words"),
        ("dropped", "dedup"),
        ("held_out", None),
        ("dropped", "held_out_twin"),
        ("dropped", "held_out_duplicate"),
    ]
    assert rows[1]["value"] == 3.0 and rows[1]["threshold"] == 50.0
    assert rows[2]["duplicate_of"] == "d0" and rows[2]["similarity"] == 0.9
    kept = {s: pq.read_table(output / f"corpora/v/data/{s}-00000-of-00001.parquet") for s in ("train", "held_out")}
    assert kept["train"]["doc_id"].to_pylist() == ["d0"] and kept["held_out"]["doc_id"].to_pylist() == ["d3"]
    assert kept["train"]["cluster"].to_pylist() == ["g0"]


def test_the_books_and_the_waterfall_count_documents_and_bytes(
    curated: tuple[Path, list[dict[str, Any]], Variant],
) -> None:
    _, records, variant = curated
    books = records[0]["books"]
    assert (books["read"], books["kept"]) == (6, 2)
    assert books["dropped"] == {"dedup": 1, "family@x/words": 1, "held_out_duplicate": 1, "held_out_twin": 1}
    summary = curate.variant_summary(variant, records)
    assert summary["eligible"] == {"documents": 3, "text_bytes": 2 + 4 + 6}
    assert summary["train"] == {"documents": 1, "text_bytes": 2}
    steps = {step["rule"]: (step["dropped"], step["text_bytes"]) for step in summary["waterfall"]}
    assert steps["family@x"] == (1, 4) and steps["dedup"] == (1, 6)
    assert summary["by_source"]["s"]["documents"] == 1
    assert curate.untouched_rules(variant, summary) == []
