"""Documents of similar meaning: what a plain search over all embeddings finds, however the corpus is divided."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dedup.semantic import cosines, fit_cells, keep_first, nearest_cell, whole_vectors
from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.engines import assert_portable_graph, pipeline_options
from pipelines.find_passages import FindPassages, build_find_passages
from pipelines.find_similar_meaning import MEANING_SCHEMA, FindSimilarMeaning, build_find_similar_meaning
from pipelines.find_substrings import FindSubstrings, build_find_substrings
from pipelines.recipe_models import FlinkEngine, LocalEngine
from pipelines.shards import write_shard
from tests.pipelines.duplicates_fixture import records_of

WIDTH = 8


def corpus(count: int = 240, topics: int = 12, seed: int = 3) -> list[dict[str, Any]]:
    """Documents around topics; ids in no order of anything."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(topics, WIDTH))
    rows = []
    for i in range(count):
        vector = centres[i % topics] + 0.35 * generator.normal(size=WIDTH)
        rows.append({"doc_id": f"{i * 7919 % 1009:04d}", "text": "x" * (i % 17), "vector": vector.tolist()})
    return rows


def write(output: Path, rows: list[dict[str, Any]], shards: int) -> None:
    for index in range(shards):
        own = rows[index::shards]
        full = [
            {"doc_id": row["doc_id"], "source": "s", "kind": "web", "text": row["text"],
             "meta": [("embedding", json.dumps(row["vector"]))] if row["vector"] is not None else []}
            for row in own
        ]  # fmt: skip
        name = f"part-{index:05d}.parquet"
        documents = pa.RecordBatch.from_pylist(full, schema=DOCUMENT_SCHEMA)
        write_shard(str(output / "documents" / name), DOCUMENT_SCHEMA, [documents])
        lists = pa.array([row["vector"] for row in own], pa.list_(pa.float64()))
        table = pa.record_batch([documents.column("doc_id"), lists], ["doc_id", "vector"])
        for folder in (output / "annotations" / "model@1", output / "vectors"):
            write_shard(str(folder / name), table.schema, [table])


def search(output: Path, shards: int, *flags: str, **options: Any) -> list[dict[str, Any]]:
    find = FindSimilarMeaning(str(output), shards, **options)
    return records_of(output, lambda pipeline: build_find_similar_meaning(pipeline, find), *flags)


def found(output: Path, name: str = "semantic@1") -> dict[str, dict[str, Any]]:
    shards = sorted((output / "annotations" / name).glob("part-*.parquet"))
    return {row["doc_id"]: row for shard in shards for row in pq.read_table(shard).to_pylist()}


def plainly(rows: list[dict[str, Any]], threshold: float, cells: int, order: Any) -> dict[str, dict[str, Any]]:
    """The same by the pure functions over one list."""
    vectors = whole_vectors([row["vector"] for row in rows])
    cell, to_centre = nearest_cell(vectors, fit_cells(vectors, cells))
    told = {}
    for i, row in enumerate(rows):
        told[row["doc_id"]] = {
            "doc_id": row["doc_id"], "cell": int(cell[i]), "to_centre": float(to_centre[i]),
            "duplicate_of": None, "similarity": None,
        }  # fmt: skip
    for each in range(cells):
        members = sorted(np.flatnonzero(cell == each).tolist(), key=lambda i: (order(rows[i]), rows[i]["doc_id"]))
        best, similarity = keep_first(vectors[members], threshold)
        for i, near, value in zip(members, best.tolist(), similarity.tolist(), strict=True):
            if near >= 0:
                told[rows[i]["doc_id"]] |= {"duplicate_of": rows[members[near]]["doc_id"], "similarity": value}
    return told


def test_the_same_as_by_plain_functions_and_its_evidence_holds(tmp_path: Path) -> None:
    rows = corpus()
    write(tmp_path, rows, 3)
    records = search(tmp_path, 3, cells=5, threshold=0.9)
    expected = plainly(rows, 0.9, 5, lambda row: -len(row["text"]))
    assert found(tmp_path) == expected
    dropped = {name: row for name, row in expected.items() if row["duplicate_of"]}
    assert 50 < len(dropped) < 200
    (summary,) = [record["summary"] for record in records if "summary" in record]
    sizes = [row["cell"] for row in expected.values()]
    assert summary == {
        "embedded": 240, "cells": 5, "dropped": len(dropped), "largest_cell": max(map(sizes.count, set(sizes))),
    }  # fmt: skip
    books = [record["books"] for record in records if "part-" in record.get("path", "")]
    assert sum(each["read"] for each in books) == 240
    assert sum(each["dropped"].get("similar_meaning", 0) for each in books) == len(dropped)
    # Every pair of the evidence again, from the embeddings.
    evidence = pq.read_table(tmp_path / "annotations/semantic@1/evidence.parquet").to_pylist()
    assert [row["dropped_id"] for row in evidence] == sorted(dropped)
    vector = {row["doc_id"]: whole_vectors([row["vector"]]) for row in rows}
    for row in evidence:
        assert expected[row["kept_id"]]["duplicate_of"] is None, "what is named stays"
        assert cosines(vector[row["dropped_id"]], vector[row["kept_id"]])[0, 0] == row["similarity"] >= 0.9
        assert expected[row["dropped_id"]]["cell"] == row["cell"]
    assert not (tmp_path / "annotations/semantic@1/spill").exists()


def test_the_division_the_exchange_and_the_workers_change_nothing(tmp_path: Path) -> None:
    rows = corpus()
    told = []
    for number, (shards, options) in enumerate(
        [(1, {}), (4, {"exchange": "memory", "workers": 3}), (3, {"column": "model@1.vector", "workers": 2})]
    ):
        random.Random(number).shuffle(rows)
        output = tmp_path / str(number)
        write(output, rows, shards)
        search(output, shards, "--direct_runner_bundle_repeat=1", cells=4, threshold=0.9, **options)
        folder = output / "annotations/semantic@1"
        told.append((found(output), *((folder / name).read_bytes() for name in ("evidence.parquet", "centres.npy"))))
    assert told[0] == told[1] == told[2]


def test_a_folder_of_embeddings_and_keys_of_keep(tmp_path: Path) -> None:
    rows = corpus(60)
    write(tmp_path, rows, 2)
    search(
        tmp_path, 2, folder_of_embeddings=str(tmp_path / "vectors"), column="vector", keep=("to_centre asc",),
        threshold=0.8, name="hard",
    )  # fmt: skip
    (cell,) = {row["cell"] for row in found(tmp_path, "hard").values()}
    assert cell == 0, "few documents have one cell"
    to_centre = {name: row["to_centre"] for name, row in found(tmp_path, "hard").items()}
    assert found(tmp_path, "hard") == plainly(rows, 0.8, 1, lambda row: to_centre[row["doc_id"]])
    for row in found(tmp_path, "hard").values():
        if row["duplicate_of"]:
            assert to_centre[row["duplicate_of"]] <= row["to_centre"]


def test_bad_embeddings_are_rejected_and_missing_ones_take_no_part(tmp_path: Path) -> None:
    rows = corpus(40)
    rows[3]["vector"] = None
    rows[7]["vector"] = [1.0, 2.0]
    rows[11]["vector"] = [float("nan")] * WIDTH
    rows[12]["vector"] = []
    rows[20]["vector"] = [0.0] * WIDTH
    write(tmp_path, rows, 2)
    records = search(tmp_path, 2, threshold=0.5)
    told = found(tmp_path)
    for number in (3, 7, 11, 12):
        assert told[rows[number]["doc_id"]] == dict.fromkeys(MEANING_SCHEMA.names) | {"doc_id": rows[number]["doc_id"]}
    zero = told[rows[20]["doc_id"]]
    assert zero["to_centre"] == 0 and zero["duplicate_of"] is None
    refused = [row for path in (tmp_path / "rejected").iterdir() for row in pq.read_table(path).to_pylist()]
    assert {(row["id"], row["error"]) for row in refused} == {
        (rows[7]["doc_id"], "wrong_width"), (rows[11]["doc_id"], "not_finite"), (rows[12]["doc_id"], "not_a_vector"),
    }  # fmt: skip
    assert {row["stage"] for row in refused} == {"annotate/semantic@1"}
    books = [record["books"] for record in records if "part-" in record.get("path", "")]
    assert sum(sum(each["rejected"].values()) for each in books) == 3
    assert all(b["read"] == b["kept"] + sum(b["dropped"].values()) + sum(b["rejected"].values()) for b in books)


def test_a_corpus_without_embeddings_is_an_error(tmp_path: Path) -> None:
    rows = corpus(5)
    for row in rows:
        row["vector"] = None
    write(tmp_path, rows, 1)
    with pytest.raises(Exception, match=r"no document has an embedding in meta\.embedding"):
        search(tmp_path, 1)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "threshold": ({"threshold": 1.5}, "threshold is 1.5"),
    "cells": ({"cells": 0}, "cells is 0, allowed are 1 to 65,536"),
    "column": ({"column": "embedding"}, "allowed are meta.KEY and ANNOTATOR.COLUMN"),
    "keep": ({"keep": "best"}, "keep is 'best'"),
    "name": ({"name": "a/b"}, "needed is the name of a folder"),
    "workers": ({"workers": 0}, "workers is 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_may_not_be_asked(name: str) -> None:
    options, said = WRONG[name]
    with pytest.raises(ValueError, match=said):
        FindSimilarMeaning("out", 1, **options)


MISSING: dict[str, tuple[dict[str, Any], str]] = {
    "annotation": ({"column": "other@1.vector"}, "other@1/part-00000.parquet does not exist"),
    "column": ({"column": "model@1.vectors"}, "column vectors is asked for"),
    "kind of column": ({"column": "model@1.doc_id", "folder_of_embeddings": None}, None),
    "folder": ({"folder_of_embeddings": "nowhere"}, "does not exist; expected is a shard of embeddings"),
    "key": ({"keep": ("score@1.score",)}, "score@1"),
}  # type: ignore[dict-item]


@pytest.mark.parametrize("name", MISSING)
def test_what_is_asked_for_but_not_there(tmp_path: Path, name: str) -> None:
    options, said = MISSING[name]
    write(tmp_path, corpus(4), 1)
    find = FindSimilarMeaning(str(tmp_path), 1, **options)
    if said is None:
        find.check_inputs()  # texts may hold JSON; what they hold is seen row by row
    else:
        with pytest.raises(ValueError, match=said):
            find.check_inputs()


def test_embeddings_of_other_documents_are_refused(tmp_path: Path) -> None:
    write(tmp_path, corpus(8), 1)
    write(tmp_path / "other", corpus(9)[1:], 1)
    with pytest.raises(Exception, match="rows do not belong to the documents"):
        search(tmp_path, 1, folder_of_embeddings=str(tmp_path / "other/vectors"), column="vector")


def test_the_sample_is_a_function_of_the_ids() -> None:
    find = FindSimilarMeaning("out", 1, cells=10)
    ids = [str(i) for i in range(5000)]
    assert find.sampled(ids, 20_000).all()
    chosen = find.sampled(ids, 100_000)
    assert 800 < chosen.sum() < 1200  # 20,000 of 100,000
    assert find.sampled(ids[::-1], 100_000).tolist() == chosen[::-1].tolist()
    assert [find.cells_of(n) for n in (0, 1, 10**9)] == [10] * 3
    assert [FindSimilarMeaning("out", 1).cells_of(n) for n in (0, 5000, 5001, 10**9)] == [1, 1, 2, 65_536]


# -- on distributed engines --------------------------------------------------------------------------------

SEARCHES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "meaning": (build_find_similar_meaning, FindSimilarMeaning),
    "passages": (build_find_passages, functools.partial(FindPassages, scheme="lines@tfds")),
    "substrings": (build_find_substrings, FindSubstrings),
}


@pytest.mark.parametrize("exchange", ["memory", "files"])
@pytest.mark.parametrize("name", SEARCHES)
def test_the_graphs_run_on_every_engine(tmp_path: Path, name: str, exchange: str) -> None:
    write(tmp_path, corpus(4), 2)
    build, find = SEARCHES[name]
    for engine in (FlinkEngine(kind="flink"), LocalEngine()):
        pipeline = beam.Pipeline(options=pipeline_options(engine))
        build(pipeline, find(str(tmp_path), 2, exchange=exchange))
        assert_portable_graph(pipeline)
