"""A directory of 2,000 mixed files, 200 of them hostile, through every stage: it ends well and says why."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import quality_signals
from beam_runner import main
from pipelines.readers import ERRORS
from tests.conftest import module_from

# Families that read lists of the user's.
WITH_LISTS = ("url@datatrove", "ut1@1")
RECIPE = """\
name: hostile
output: {output}
engine: {{kind: local, workers: 2}}
sources:
{sources}
annotators: [{families}, fineweb@datatrove+c4_fineweb@datatrove, pii, license, minhash, minhash@rpv2]
dedup: {{method: minhash, threshold: 0.8}}
pii: {{policy: default}}
held_out: {{fraction: 0.1, by: {{code: document, html: document}}}}
max_error_rate: {{default: 0.01, ingest: 0.5}}
variants:
  baseline: []
  gopher: [gopher@datatrove]
"""


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    root = tmp_path_factory.mktemp("hostile")
    maker = module_from(Path(__file__).parent / "data/readers/make_hostile.py")
    mixed = maker.make_mixed_directory(root / "mixed", files=2000, hostile=200)
    sources = "".join(f"  {kind}: {{kind: {kind}, input: {root}/mixed/{kind}}}\n" for kind in maker.KINDS)
    recipe = root / "hostile.yaml"
    families = [name for name in quality_signals.ANNOTATORS if name not in WITH_LISTS]
    recipe.write_text(RECIPE.format(output=root / "out", sources=sources, families=", ".join(families)))
    code = main(["run", str(recipe)])
    return root / "out", mixed, code


def test_it_ends_with_exit_code_0_and_balanced_books(hostile_run) -> None:  # type: ignore[no-untyped-def]
    output, mixed, code = hostile_run
    assert sum(mixed.files.values()) == 2000 and len(mixed.hostile) == 200
    assert code == 0
    assert main(["validate", str(output)]) == 0


def test_every_file_that_must_be_refused_is_refused_with_its_reason(hostile_run) -> None:  # type: ignore[no-untyped-def]
    output, mixed, _ = hostile_run
    rejected = [row for row in pq.read_table(output / "rejected").to_pylist() if row["stage"] == "ingest"]
    assert rejected and {row["error"] for row in rejected} <= ERRORS
    assert all(row["message"] for row in rejected)
    for expected in mixed.hostile:
        if expected.error is not None:
            found = [r["error"] for r in rejected if r["source"] == expected.kind and r["id"].startswith(expected.name)]
            assert expected.error in found, expected


def test_the_well_formed_files_are_all_there(hostile_run) -> None:  # type: ignore[no-untyped-def]
    output, mixed, _ = hostile_run
    sources = Counter(pq.read_table(output / "documents", columns=["source"]).column("source").to_pylist())
    for kind, documents in mixed.documents.items():
        assert sources[kind] >= documents


def test_no_annotator_failed_on_a_row(hostile_run) -> None:  # type: ignore[no-untyped-def]
    output, _, _ = hostile_run
    rejected = pq.read_table(output / "rejected").to_pylist()
    assert [row for row in rejected if row["stage"] != "ingest"] == []
