from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from beam_runner import main
from pipelines.unique_ids import repeated


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "", "ä"]), max_size=6), max_size=5))
def test_all_but_the_first_bearer_of_an_id_are_found(ids: list[list[str]]) -> None:
    seen: set[str] = set()
    expected: dict[int, list[int]] = {}
    for shard, rows in enumerate(ids):
        for row, identity in enumerate(rows):
            if identity in seen:
                expected.setdefault(shard, []).append(row)
            seen.add(identity)
    assert repeated(ids) == expected


def test_ids_that_repeat_from_file_to_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        lines = "".join(f'{{"id": "{i}", "text": "{name}{i}"}}\n' for i in range(3))
        (tmp_path / f"{name}.jsonl").write_text(lines + f'{{"id": "only-{name}", "text": "x"}}\n')
    # 300 files make more than one unit; a file of its own size would do as well.
    for i in range(600):
        (tmp_path / f"filler{i:03d}.jsonl").write_text(f'{{"id": "f{i}", "text": "y"}}\n')
    (tmp_path / "z.jsonl").write_text('{"id": "0", "text": "late"}\n')
    output = tmp_path / "out"
    assert main(["ingest", str(tmp_path), "--kind", "jsonl", "--output", str(output)]) == 0
    documents = pq.read_table(output / "documents").to_pylist()
    ids = [row["doc_id"] for row in documents]
    assert len(set(ids)) == len(ids) == 3 + 2 + 600
    assert {row["text"] for row in documents if row["doc_id"] == "0"} == {"a0"}
    rejected = pq.read_table(output / "rejected").to_pylist()
    assert sorted(r["error"] for r in rejected) == ["duplicate_id"] * 4
    assert main(["validate", str(output)]) == 0
