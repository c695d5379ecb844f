"""The search for repeated substrings end to end: the definition, the same result on every way, wrong calls."""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import exchange as exchange_module
from pipelines import shards as shards_module
from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.find_substrings import ANNOTATION, SUBSTRINGS_SCHEMA, FindSubstrings, build_find_substrings
from pipelines.find_substrings import graph as graph_module
from pipelines.find_substrings.plan import order_of, read_slices
from pipelines.shards import write_shard
from quality_signals.edits import apply_edits

Documents = list[tuple[str, str]]  # doc_id, text
PASSAGE = "Wir wären schon gegangen, 我们走吧: this passage stands in several documents, word for word, ünverändert.\n"


def write_corpus(output: Path, documents: Documents, shards: int) -> None:
    for index in range(shards):
        rows = [
            {"doc_id": d, "source": "s", "kind": "web", "text": t, "meta": []}
            for d, t in documents[index * len(documents) // shards : (index + 1) * len(documents) // shards]
        ]
        batches = [pa.RecordBatch.from_pylist(rows[i : i + 7], schema=DOCUMENT_SCHEMA) for i in range(0, len(rows), 7)]
        write_shard(str(output / "documents" / f"part-{index:05d}.parquet"), DOCUMENT_SCHEMA, batches)


def search(output: Path, *options: str, **asked: Any) -> list[dict[str, Any]]:
    shards = len(list((output / "documents").glob("*.parquet")))
    find = FindSubstrings(output=str(output), shards=shards, **asked)
    records = output / "records.json"
    with beam.Pipeline(
        runner="apache_beam.runners.portability.fn_api_runner.FnApiRunner", options=PipelineOptions(list(options))
    ) as pipeline:
        _ = (
            build_find_substrings(pipeline, find)
            | beam.combiners.ToList()
            | beam.Map(lambda found, path: Path(path).write_bytes(b"\n".join(sorted(found))), str(records))
        )
    assert not (output / "annotations" / ANNOTATION / "spill").exists()
    return [json.loads(line) for line in records.read_bytes().splitlines()]


def rows_of(output: Path) -> list[dict[str, Any]]:
    shards = sorted((output / "annotations" / ANNOTATION).glob("part-*.parquet"))
    return [row for shard in shards for row in pq.read_table(shard).to_pylist()]


def shard_hashes(output: Path) -> list[str]:
    shards = sorted((output / "annotations" / ANNOTATION).glob("part-*.parquet"))
    return [hashlib.sha256(shard.read_bytes()).hexdigest() for shard in shards]


def made_documents(count: int = 60, seed: int = 5) -> Documents:
    chance = random.Random(seed)
    words = [f"w{i}é" for i in range(4000)]
    passages = [" ".join(chance.choices(words, k=chance.randint(15, 60))) + "\n" for _ in range(12)]
    documents = []
    for number in range(count):
        pieces = [" ".join(chance.choices(words, k=chance.randint(0, 60))) + "\n" for _ in range(3)]
        pieces += chance.sample(passages, chance.randint(0, 3))
        chance.shuffle(pieces)
        documents.append((f"id-{number}", "".join(pieces)))
    documents[7] = ("id-7", "")
    documents[9] = ("id-9", "äöü" * 400)
    documents[30] = ("id-30", documents[31][1])
    return documents


def expected_rows(documents: Documents, min_bytes: int, keep: str) -> dict[str, tuple[list[tuple[int, int]], int, str]]:
    """By the definition: id -> (repeated spans in code points, repeated bytes, text that stays)."""
    windows = defaultdict(list)
    for name, text in documents:
        utf8 = text.encode()
        for place in range(len(utf8) - min_bytes + 1):
            windows[utf8[place : place + min_bytes]].append((order_of(name), place, name))
    later: dict[str, set[int]] = defaultdict(set)
    first: dict[str, set[int]] = defaultdict(set)
    for places in windows.values():
        if len(places) > 1:
            for rank, place, name in places:
                is_first = (rank, place, name) == min(places)
                (first if is_first else later)[name].update(range(place, place + min_bytes))
    out = {}
    for name, text in documents:
        repeated = first[name] | later[name]
        gone = repeated if keep == "none" else later[name] - first[name]
        inside: list[tuple[int, int]] = []
        stays: list[str] = []
        byte = 0
        for at, character in enumerate(text):
            own = range(byte, byte + len(character.encode()))
            byte = own.stop
            if set(own) <= repeated:
                if inside and inside[-1][1] == at and (own.start - 1) in repeated:
                    inside[-1] = (inside[-1][0], at + 1)
                else:
                    inside.append((at, at + 1))
            if not set(own) <= gone:
                stays.append(character)
        out[name] = (inside, len(repeated), "".join(stays))
    return out


@pytest.fixture(scope="module")
def corpus() -> Documents:
    return made_documents()


@pytest.fixture(scope="module")
def found(corpus: Documents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("found")
    write_corpus(output, corpus, 3)
    search(output)
    return output


@pytest.mark.parametrize("keep", ["first", "none"])
def test_rows_are_those_of_the_definition(corpus: Documents, tmp_path: Path, keep: str) -> None:
    write_corpus(tmp_path, corpus, 3)
    records = search(tmp_path, keep=keep)
    rows, texts = rows_of(tmp_path), dict(corpus)
    expected = expected_rows(corpus, 100, keep)
    assert [row["doc_id"] for row in rows] == [name for name, _ in corpus]
    for row in rows:
        spans, repeated, stays = expected[row["doc_id"]]
        assert [(s["start"], s["end"]) for s in row["repeated"]] == spans
        assert row["repeated_bytes"] == repeated
        assert apply_edits(texts[row["doc_id"]], row["edits"]) == stays
        assert row["removed_characters"] == len(texts[row["doc_id"]]) - len(stays)
        assert {e["rule"] for e in row["edits"]} <= {"repeated_substring"}
        assert {e["replacement"] for e in row["edits"]} <= {""}
    (summary,) = [record["summary"] for record in records if "summary" in record]
    assert summary == {
        "repeated_bytes": sum(row["repeated_bytes"] for row in rows),
        "removed_characters": sum(row["removed_characters"] for row in rows),
        "edited_documents": sum(bool(row["edits"]) for row in rows),
        "text_bytes": sum(len(text.encode()) for text in texts.values()),
    }
    assert summary["removed_characters"] > 1000
    books = [record["books"] for record in records if "books" in record]
    assert [(b["read"], b["kept"]) for b in books] == [(20, 20)] * 3


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ({"part_bytes": 1}, []),
        ({"part_bytes": 2500, "exchange": "memory"}, ["--direct_runner_bundle_repeat=1"]),
        ({"part_bytes": 9000, "exchange": "memory", "workers": 9}, []),
        pytest.param(
            {"exchange": "files", "workers": 2},
            ["--direct_num_workers=2", "--direct_running_mode=multi_processing"],
            marks=pytest.mark.engine,
        ),
    ],
    ids=["part-a-document", "repeated", "other-partitions", "two-processes"],
)
def test_the_same_bytes_on_every_way(
    corpus: Documents, found: Path, tmp_path: Path, asked: dict[str, Any], options: list[str]
) -> None:
    write_corpus(tmp_path, corpus, 3)
    search(tmp_path, *options, **asked)
    assert shard_hashes(tmp_path) == shard_hashes(found)


def _reversed(group: tuple[int, Iterable[bytes]]) -> tuple[int, list[bytes]]:
    return group[0], list(group[1])[::-1]


def test_the_order_of_values_does_not_matter(
    corpus: Documents, found: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Callable[..., Any] = exchange_module.Exchange.expand

    def expand(self: Any, values: Any) -> Any:
        hint = tuple[int, Iterable[bytes]]
        return original(self, values) | "Reverse" >> beam.Map(_reversed).with_output_types(hint)

    monkeypatch.setattr(exchange_module.Exchange, "expand", expand)
    monkeypatch.setattr(exchange_module, "MAX_VALUE_BYTES", 512)  # many values, so that there is an order
    monkeypatch.setattr(graph_module, "_WINDOWS_IN_VALUE", 3)
    monkeypatch.setattr(graph_module, "MAX_VALUE_BYTES", 128)
    write_corpus(tmp_path, corpus, 3)
    search(tmp_path, part_bytes=3000, exchange="memory")
    assert shard_hashes(tmp_path) == shard_hashes(found)


def test_parts_do_not_show_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "ROW_GROUP_BYTES", 1000)
    monkeypatch.setattr(graph_module, "_ROWS_PER_WRITE", 4)
    documents = made_documents(seed=8)
    hashes = []
    for part_bytes in (1, 1700, 1 << 20):
        output = tmp_path / str(part_bytes)
        write_corpus(output, documents, 1)
        search(output, part_bytes=part_bytes)
        hashes.append(shard_hashes(output))
        assert pq.ParquetFile(output / "annotations" / ANNOTATION / "part-00000.parquet").num_row_groups > 3
    assert hashes[0] == hashes[1] == hashes[2]


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_shards_and_the_order_of_documents_change_no_row(
    corpus: Documents, found: Path, tmp_path: Path, shards: int
) -> None:
    documents = corpus.copy()
    random.Random(shards).shuffle(documents)
    write_corpus(tmp_path, documents, shards)
    search(tmp_path, part_bytes=3000)
    assert {row["doc_id"]: row for row in rows_of(tmp_path)} == {row["doc_id"]: row for row in rows_of(found)}


def test_only_whole_lines_go(tmp_path: Path) -> None:
    documents = [
        ("a", "first line of a\n" + PASSAGE + "x"),
        ("b", "b begins " + PASSAGE + PASSAGE + "and ends"),
        ("c", PASSAGE),
    ]
    write_corpus(tmp_path, documents, 2)
    search(tmp_path, at_lines=True, keep="none")
    texts = {row["doc_id"]: apply_edits(dict(documents)[row["doc_id"]], row["edits"]) for row in rows_of(tmp_path)}
    assert texts == {"a": "first line of a\nx", "b": "b begins " + PASSAGE + "and ends", "c": ""}


def test_the_smallest_id_stays(tmp_path: Path) -> None:
    names = ["b" * 32, "0" * 31 + "1", "5" * 32]
    write_corpus(tmp_path, [(name, PASSAGE) for name in names], 3)
    search(tmp_path)
    assert [row["removed_characters"] for row in rows_of(tmp_path)] == [len(PASSAGE), 0, len(PASSAGE)]
    assert [row["repeated_bytes"] for row in rows_of(tmp_path)] == [len(PASSAGE.encode())] * 3


@pytest.mark.parametrize("documents", [[], [("a", "")], [("a", "short"), ("b", "short")]])
def test_nothing_to_find(documents: Documents, tmp_path: Path) -> None:
    write_corpus(tmp_path, documents, 1)
    records = search(tmp_path)
    assert [(row["repeated"], row["edits"]) for row in rows_of(tmp_path)] == [([], [])] * len(documents)
    assert records[-1]["summary"]["repeated_bytes"] == 0
    assert pq.read_schema(tmp_path / "annotations" / ANNOTATION / "part-00000.parquet").equals(SUBSTRINGS_SCHEMA)


def test_no_shard_at_all(tmp_path: Path) -> None:
    assert [list(record) for record in search(tmp_path)] == [["summary"]]


def test_wrong_options(tmp_path: Path) -> None:
    for asked, message in (
        ({"min_bytes": 1}, "min_bytes is 1, allowed are 2 to 32,768"),
        ({"keep": "last"}, "keep is 'last', allowed are first, none"),
        ({"part_bytes": 0}, "part_bytes is 0, allowed are 1 to 4,294,967,295"),
        ({"exchange": "post"}, "exchange is 'post', allowed are memory, files and None"),
        ({"workers": 0}, "workers is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            FindSubstrings(output=str(tmp_path), shards=1, **asked)
    schema = pa.schema([DOCUMENT_SCHEMA.field("doc_id")])
    write_shard(str(tmp_path / "documents" / "part-00000.parquet"), schema, [pa.record_batch([["a"]], schema=schema)])
    with pytest.raises(ValueError, match="part-00000.parquet has no column text"):
        search(tmp_path)


@pytest.mark.parametrize("part_bytes", [1, 50, 1000, 1 << 20])
def test_slices_are_the_shard(corpus: Documents, tmp_path: Path, part_bytes: int) -> None:
    write_corpus(tmp_path, corpus, 1)
    seen = []
    for piece in read_slices(FindSubstrings(str(tmp_path), 1).documents(0), part_bytes):
        assert len(piece.utf8) <= part_bytes or len(piece.doc_ids) == 1
        assert piece.offsets[0] == 0 and piece.offsets[-1] == len(piece.utf8)
        texts = [bytes(piece.utf8[a:b]).decode() for a, b in zip(piece.offsets, piece.offsets[1:], strict=False)]
        seen += list(zip(piece.doc_ids.to_pylist(), texts, strict=True))
    assert seen == corpus
