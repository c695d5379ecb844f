"""What a search over the corpus reads: documents as other annotators leave them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.find_duplicates import FindDuplicates
from pipelines.find_substrings import FindSubstrings
from pipelines.shards import write_shard
from quality_signals.edits import EDITS

IDS = [f"d{i}" for i in range(7)]


def write(output: Path, name: str, rows: int = 7, **columns: pa.Array) -> None:
    """One shard of annotations, in two row groups where the rows are many."""
    table = pa.record_batch({"doc_id": pa.array(IDS[:rows]), **columns})
    write_shard(str(output / "annotations" / name / "part-00000.parquet"), table.schema, [table])


@pytest.fixture
def output(tmp_path: Path) -> Path:
    rows: list[dict[str, Any]] = [
        {"doc_id": name, "source": "s", "kind": "web", "text": f"one two {name}", "meta": [],
         "language": "de" if i == 2 else None}
        for i, name in enumerate(IDS)
    ]  # fmt: skip
    batches = [pa.RecordBatch.from_pylist(part, schema=DOCUMENT_SCHEMA) for part in (rows[:3], rows[3:])]
    write_shard(str(tmp_path / "documents" / "part-00000.parquet"), DOCUMENT_SCHEMA, batches)
    languages = ["en", "en", "fr", None, "it", "es", "pl"]
    write(tmp_path, "language@1", language=pa.array(languages), confidence=pa.array([1.0] * 7))
    write(tmp_path, "family", keep=pa.array([True, False, None, True, True, True, True]))
    write(tmp_path, "dedup", duplicate_of=pa.array([None, None, None, "d0", None, None, None], pa.string()))
    write(tmp_path, "seen@1", seen=pa.array([False, False, False, False, True, None, False]))
    cuts: list[Any] = [[{"start": 0, "end": 4, "replacement": "", "rule": "r"}]] * 6 + [[]]
    write(tmp_path, "editor", edits=pa.array(cuts, EDITS))
    return tmp_path


def test_languages_that_were_found_fill_those_that_are_missing(output: Path) -> None:
    find = FindDuplicates(str(output), 1, annotator="minhash@datatrove", threshold=0.75, fills=("language@1",))
    assert find.reads_language and not FindDuplicates(str(output), 1).reads_language
    rows = np.array([0, 2, 3, 6])
    found = list(find.rows(0, ["text", "language"], rows))
    assert np.concatenate([asked for asked, _ in found]).tolist() == rows.tolist()
    languages = [each for _, batch in found for each in batch.column("language").to_pylist()]
    assert languages == ["en", "de", None, "pl"], "what the source knew stays"
    (texts,) = find.texts(0, ["doc_id", "text", "language"])
    assert texts.batch.column("language").to_pylist() == ["en", "en", "de", None, "it", "es", "pl"]
    (plain,) = FindDuplicates(str(output), 1).texts(0, ["doc_id", "text", "language"])
    assert plain.batch.column("language").to_pylist() == [None, None, "de", None, None, None, None]


def test_what_others_drop_takes_no_part_whichever_way_they_say_so(output: Path) -> None:
    find = FindSubstrings(str(output), 1, after=("family", "dedup", "seen@1", "editor"))
    find.check_after()
    (texts,) = find.texts(0, ["doc_id", "text"])
    assert texts.takes_part.tolist() == [True, False, True, False, False, True, True]
    assert texts.batch.column("text").to_pylist()[:2] == ["two d0", "two d1"]
    assert texts.batch.column("text").to_pylist()[6] == "one two d6"
    assert texts.edits is not None and len(texts.edits) == 7
    (documents,) = find.documents(0)
    assert documents.batch.column("text").to_pylist() == ["two d0", "", "two d2", "", "", "two d5", "one two d6"]
    # An editor that is not the last one says who stays, and edits nothing here.
    (texts,) = FindSubstrings(str(output), 1, after=("editor", "family")).texts(0, ["doc_id", "text"])
    assert texts.edits is None and texts.batch.column("text").to_pylist()[0] == "one two d0"


def test_what_can_come_before(output: Path) -> None:
    write(output, "number@1", number=pa.array([1.0] * 7))
    with pytest.raises(ValueError, match="after number@1: .* says neither what stays nor edits, but doc_id, number"):
        FindSubstrings(str(output), 1, after=("number@1",)).check_after()
    with pytest.raises(ValueError, match="after gone: .* does not exist"):
        FindSubstrings(str(output), 1, after=("gone",)).check_after()
    write(output, "short", rows=6, keep=pa.array([True] * 6))
    with pytest.raises(ValueError, match="ends 1 rows too early"):
        list(FindSubstrings(str(output), 1, after=("short",)).texts(0, ["doc_id", "text"]))
