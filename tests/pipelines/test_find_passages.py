"""The search for repeated passages end to end: golden values, plain references, the same bytes on every way."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import exchange as exchange_module
from pipelines import manifest as manifests
from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.find_passages import PASSAGE_SCHEMA, SCHEMES, FindPassages, build_find_passages
from pipelines.shards import write_shard
from quality_signals.ccnet_normalise import normalise_for_dedup
from quality_signals.edits import EDITS, apply_edits
from quality_signals.text_batch import TextBatch
from tests.pipelines.duplicates_fixture import Searched, records_of

DATA = Path(__file__).resolve().parent.parent / "data"
Rows = list[dict[str, Any]]


def row(identity: str, text: str, **given: Any) -> dict[str, Any]:
    return {"doc_id": identity, "source": "s", "kind": "web", "text": text, "meta": [], **given}


def write_corpus(output: Path, shards: Sequence[Rows], rows_per_write: int = 7) -> None:
    for index, rows in enumerate(shards):
        batches = [
            pa.RecordBatch.from_pylist(rows[i : i + rows_per_write], schema=DOCUMENT_SCHEMA)
            for i in range(0, len(rows), rows_per_write)
        ]
        write_shard(str(output / "documents" / f"part-{index:05d}.parquet"), DOCUMENT_SCHEMA, batches)


@dataclasses.dataclass
class Result(Searched):
    @property
    def books(self) -> list[dict[str, Any]]:
        return [r["books"] for r in self.records if "books" in r]

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        shards = sorted(self.folder.glob("part-*.parquet"))
        return {row["doc_id"]: row for shard in shards for row in pq.read_table(shard).to_pylist()}


def search(find: FindPassages, *flags: str) -> Result:
    records = records_of(Path(find.output), lambda pipeline: build_find_passages(pipeline, find), *flags)
    return Result(Path(find.folder), records)


def find_in(output: Path, shards: Sequence[Rows], scheme: str, **options: Any) -> Result:
    write_corpus(output, shards)
    return search(FindPassages(str(output), len(shards), scheme, **options))


def left(rows: Iterable[dict[str, Any]], found: Result) -> dict[str, str | None]:
    """doc_id -> the text that is left, None where the document is dropped."""
    verdicts = found.rows
    return {
        row["doc_id"]: apply_edits(row["text"], verdicts[row["doc_id"]]["edits"])
        if verdicts[row["doc_id"]]["keep"]
        else None
        for row in rows
    }


def planted(seed: int, documents: int) -> Rows:
    rng = random.Random(seed)
    lines = [
        " ".join(rng.choices(["the", "Stone", "bridge", "of", "Äpfel", "1789", "river"], k=rng.randint(4, 9))) + "."
        for _ in range(documents)
    ]
    rows = []
    for number in range(documents):
        own = [
            rng.choice([rng.choice(lines), "", "Read more.", f"Only {number} {i}."]) for i in range(rng.randint(0, 12))
        ]
        text = rng.choice(["\n", "\n", " \n", "\r\n"]).join(own)
        identity = f"{rng.getrandbits(128):032x}"
        rows.append(row(identity, text, url=f"https://site{number % 9}.example/{identity[:6]}"))
    return rows


@pytest.fixture(scope="module")
def corpus() -> list[Rows]:
    rows = planted(4, 70)
    return [rows[:30], [], rows[30:31], rows[31:]]


# -- against the references --------------------------------------------------------------------------------


@pytest.mark.parametrize(("keep", "column"), [("first", "dedup_in_order"), ("none", "dedup_two_pass")])
def test_cc_net_over_its_corpus(tmp_path: Path, keep: str, column: str) -> None:
    def read(name: str) -> Rows:
        path = DATA / "quality_signals" / f"{name}.jsonl.gz"
        return [json.loads(line) for line in gzip.open(path, "rt", encoding="utf-8")]

    rows = [row(f"d{i}", each["text"]) for i, each in enumerate(read("web_docs"))]
    shards = [rows[:40], rows[40:41], rows[41:]]
    found = find_in(tmp_path, shards, "paragraphs@ccnet", order="input", options={"keep": keep})
    texts = left(rows, found)
    for each, golden in zip(rows, read("web_ccnet"), strict=True):
        wanted = golden[column]
        lines = each["text"].split("\n")
        assert texts[each["doc_id"]] == (None if wanted is None else "\n".join(lines[i] for i in wanted["line_ids"]))
    summary = found.summary
    assert summary["documents"] == len(rows)
    assert summary["dropped"] == sum(text is None for text in texts.values())


@pytest.mark.parametrize("setting", ["default", "loose"])
def test_datatrove_over_its_corpus(tmp_path: Path, setting: str) -> None:
    path = DATA / "dedup" / "sentences_datatrove.jsonl.gz"
    golden = [json.loads(line) for line in gzip.open(path, "rt", encoding="utf-8")]
    rows = [row(f"d{i}", each["text"]) for i, each in enumerate(golden)]
    options = {"min_doc_words": 0, "min_num_sentences": 0} if setting == "loose" else {}
    found = find_in(tmp_path, [rows[:50], rows[50:]], "sentences@datatrove", order="input", options=options)
    wanted = [each["text"] if each[setting] is True else each[setting] for each in golden]
    assert list(left(rows, found).values()) == wanted


def slow_first(
    rows: Rows, key: Callable[[str], Any], order: Callable[[dict[str, Any]], Any], of_empty: int
) -> dict[str, str | None]:
    """of_empty: lines of an empty text."""
    seen = set()
    found: dict[str, str | None] = {}
    for each in sorted(rows, key=order):
        lines = []
        for line in each["text"].split("\n") if each["text"] else [""] * of_empty:
            if key(line) not in seen:
                lines.append(line)
            seen.add(key(line))
        found[each["doc_id"]] = "\n".join(lines) if lines else None
    return found


def test_paragraphs_in_order_of_ids(tmp_path: Path, corpus: list[Rows]) -> None:
    rows = [each for shard in corpus for each in shard]
    found = find_in(tmp_path, corpus, "paragraphs@ccnet")
    assert left(rows, found) == slow_first(rows, normalise_for_dedup, lambda each: each["doc_id"], 0)
    assert found.summary["changed"] > 20 < found.summary["repeated"]


def test_lines_in_order_of_urls(tmp_path: Path, corpus: list[Rows]) -> None:
    rows = [each for shard in corpus for each in shard]
    found = find_in(tmp_path, corpus, "lines@tfds", options={"min_num_sentences": 0})
    wanted = slow_first(
        rows, lambda line: line.strip().lower(), lambda each: hashlib.md5(each["url"].encode()).hexdigest(), 1
    )
    assert left(rows, found) == {name: text or None for name, text in wanted.items()}


def test_a_source_goes_before_others(tmp_path: Path) -> None:
    rows = [row("0" * 32, "one\nshared"), row("f" * 32, "two\nshared", source="wiki")]
    found = find_in(tmp_path / "a", [rows], "paragraphs@ccnet", sources=("wiki", "s"))
    assert left(rows, found) == {"0" * 32: "one", "f" * 32: "two\nshared"}
    found = find_in(tmp_path / "b", [rows], "paragraphs@ccnet")
    assert left(rows, found) == {"0" * 32: "one\nshared", "f" * 32: "two"}


# -- what takes part ---------------------------------------------------------------------------------------


def test_other_kinds_take_no_part(tmp_path: Path) -> None:
    rows = [row("0" * 32, "a\nshared", kind="code"), row("1" * 32, "b\nshared"), row("2" * 32, "c\nshared")]
    found = find_in(tmp_path / "a", [rows], "paragraphs@ccnet")
    assert list(left(rows, found).values()) == ["a\nshared", "b\nshared", "c"]
    own = found.rows["0" * 32]
    assert own["keep"] and own["passages"] is None and own["edits"] is None
    found = find_in(tmp_path / "b", [rows], "paragraphs@ccnet", kinds=None)
    assert list(left(rows, found).values()) == ["a\nshared", "b", "c"]


def test_after_an_editor(tmp_path: Path) -> None:
    """Documents that it drops hold no copy back, and its edits come first."""
    rows = [row("0" * 32, "shared"), row("1" * 32, "xx one\nShared\ntwo"), row("2" * 32, "one\nlast")]
    write_corpus(tmp_path, [rows])
    schema = pa.schema([("doc_id", pa.string()), ("keep", pa.bool_()), ("edits", EDITS)])
    edits = [[], [{"start": 0, "end": 3, "replacement": "", "rule": "e"}], None]
    batch = pa.RecordBatch.from_arrays(
        [pa.array([each["doc_id"] for each in rows]), pa.array([False, True, None]), pa.array(edits, EDITS)],
        schema=schema,
    )
    write_shard(str(tmp_path / "annotations" / "editor" / "part-00000.parquet"), schema, [batch])
    found = search(FindPassages(str(tmp_path), 1, "paragraphs@ccnet", after=("editor",)))
    assert list(left(rows, found).values()) == ["shared", "one\nShared\ntwo", "last"]
    assert found.rows["1" * 32]["edits"] == edits[1]
    assert found.rows["0" * 32]["passages"] is None
    with pytest.raises(ValueError, match="after nobody: .* does not exist"):
        search(FindPassages(str(tmp_path), 1, "paragraphs@ccnet", after=("nobody",)))


def test_numbers_and_books(tmp_path: Path) -> None:
    rows = [row("0" * 32, "a\nb"), row("1" * 32, "a\nb\nc"), row("2" * 32, "c"), row("3" * 32, "")]
    found = find_in(tmp_path, [rows], "paragraphs@ccnet")
    columns = ("keep", "rule", "passages", "repeated", "characters_removed")
    assert [tuple(each[name] for name in columns) for each in found.rows.values()] == [
        (True, None, 2, 0, 0),
        (True, None, 3, 2, 4),
        (False, "nothing_left", 1, 1, 1),
        (False, "nothing_left", 0, 0, 0),
    ]
    assert found.rows["2" * 32]["edits"] == []
    assert sum((manifests.Books.from_json(each) for each in found.books), manifests.Books()) == manifests.Books(
        4, 2, {"nothing_left": 2}
    )
    wanted = {"documents": 4, "passages": 6, "repeated": 3, "characters": 9, "characters_removed": 5, "changed": 2}
    assert found.summary == {**wanted, "dropped": 2}
    assert pq.read_table(found.folder / "evidence-00000.parquet").to_pylist() == [
        {"dropped_id": "1" * 32, "start": 0, "end": 1, "kept_id": "0" * 32},
        {"dropped_id": "1" * 32, "start": 2, "end": 3, "kept_id": "0" * 32},
        {"dropped_id": "2" * 32, "start": 0, "end": 1, "kept_id": "1" * 32},
    ]
    record = next(each for each in found.records if each.get("path", "").endswith("part-00000.parquet"))
    assert record["sha256"] == hashlib.sha256(found.files["part-00000.parquet"]).hexdigest()
    assert pq.read_schema(found.folder / "part-00000.parquet").equals(PASSAGE_SCHEMA)


def test_no_shard_at_all(tmp_path: Path) -> None:
    found = find_in(tmp_path, [], "lines@tfds")
    assert set(found.summary.values()) == {0} and not found.files


# -- evidence ----------------------------------------------------------------------------------------------


OTHERS = [(name, "first") for name in SCHEMES if name != "paragraphs@ccnet"]
SCHEMES_AND_KEEP = [("paragraphs@ccnet", "first"), ("paragraphs@ccnet", "none"), *OTHERS]


def passages_of(rows: Rows, made: Any) -> dict[str, dict[tuple[int, int], list[int]]]:
    """doc_id -> place of a passage -> hashes of those that stand there."""
    batch = pa.RecordBatch.from_pylist(rows, schema=DOCUMENT_SCHEMA)
    texts = TextBatch(batch, np.ones(len(rows), np.bool_))
    found = made.passages(texts)
    starts, ends = made.spans(texts, found.places, found.offsets)
    told: dict[str, dict[tuple[int, int], list[int]]] = {each["doc_id"]: {} for each in rows}
    owners = np.repeat(np.arange(len(rows)), np.diff(found.offsets))
    for owner, start, end, value in zip(owners.tolist(), starts.tolist(), ends.tolist(), found.hashes, strict=True):
        told[rows[owner]["doc_id"]].setdefault((start, end), []).append(int(value))
    return told


@pytest.mark.parametrize(("scheme", "keep"), SCHEMES_AND_KEEP)
def test_every_passage_that_goes_names_a_document_that_has_it(
    corpus: list[Rows], tmp_path: Path, scheme: str, keep: str
) -> None:
    options = {"keep": keep} if scheme == "paragraphs@ccnet" else {}
    found = find_in(tmp_path, corpus, scheme, options=options)
    rows = [each for shard in corpus for each in shard]
    places = passages_of(rows, FindPassages("", 0, scheme, options).made)
    proof = [
        each for path in sorted(found.folder.glob("evidence-*.parquet")) for each in pq.read_table(path).to_pylist()
    ]
    assert len(proof) == found.summary["repeated"] > 50
    gone = {(each["dropped_id"], each["start"], each["end"]) for each in proof}
    for each in proof:
        values = places[each["dropped_id"]][each["start"], each["end"]]
        of_kept = places[each["kept_id"]]
        same = [place for place, there in of_kept.items() if set(there) & set(values)]
        if keep == "first":
            assert any((each["kept_id"], *place) not in gone for place in same), "its copy stays"
        else:
            assert same
            others = {name for name, own in places.items() if any(set(there) & set(values) for there in own.values())}
            assert each["kept_id"] != each["dropped_id"] or others == {each["dropped_id"]}


@pytest.mark.parametrize("keep", ["first", "none"])
def test_evidence_does_not_depend_on_the_shards(corpus: list[Rows], tmp_path: Path, keep: str) -> None:
    rows = [each for shard in corpus for each in shard]
    told = []
    for number, shards in enumerate((1, 2, 5)):
        output = tmp_path / str(number)
        found = find_in(output, [rows[i::shards] for i in range(shards)], "paragraphs@ccnet", options={"keep": keep})
        table = pa.concat_tables(pq.read_table(path) for path in found.folder.glob("evidence-*.parquet"))
        told.append(table.sort_by([("dropped_id", "ascending"), ("start", "ascending")]).to_pylist())
    assert told[0] == told[1] == told[2]


def test_without_evidence(corpus: list[Rows], tmp_path: Path, plain: dict[str, Result]) -> None:
    found = find_in(tmp_path, corpus, "paragraphs@ccnet", evidence=False)
    expected = {name: data for name, data in plain["paragraphs@ccnet"].files.items() if name.startswith("part-")}
    assert found.files == expected


# -- the same bytes on every way ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(corpus: list[Rows], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    output = tmp_path_factory.mktemp("plain")
    return {scheme: find_in(output, corpus, scheme) for scheme in SCHEMES}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "options", [{"exchange": "memory"}, {"exchange": "files", "workers": 9}], ids=["memory", "other-partitions"]
)
def test_same_bytes(plain: dict[str, Result], scheme: str, options: dict[str, Any]) -> None:
    same_again(plain[scheme], scheme, options, "--direct_runner_bundle_repeat=1")


@pytest.mark.engine
def test_same_bytes_by_two_processes(plain: dict[str, Result]) -> None:
    flags = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    same_again(plain["lines@tfds"], "lines@tfds", {"exchange": "files", "workers": 2}, *flags)


def same_again(expected: Result, scheme: str, options: dict[str, Any], *flags: str) -> None:
    before = expected.files
    again = search(FindPassages(str(expected.folder.parent.parent), 4, scheme, **options), *flags)
    assert again.files == before and len(before) == 8
    assert again.records == expected.records


def _reversed(group: tuple[int, Iterable[bytes]]) -> tuple[int, list[bytes]]:
    return group[0], list(group[1])[::-1]


@pytest.mark.parametrize("keep", ["first", "none"])
def test_order_of_values_does_not_matter(
    corpus: list[Rows], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    options: dict[str, Any] = {"options": {"keep": keep}}
    expected = find_in(tmp_path, corpus, "paragraphs@ccnet", **options).files
    original: Callable[..., Any] = exchange_module.Exchange.expand

    def expand(self: Any, values: Any) -> Any:
        hint = tuple[int, Iterable[bytes]]
        return original(self, values) | "Reverse" >> beam.Map(_reversed).with_output_types(hint)

    monkeypatch.setattr(exchange_module.Exchange, "expand", expand)
    monkeypatch.setattr("pipelines.exchange.MAX_VALUE_BYTES", 512)
    find = FindPassages(str(tmp_path), 4, "paragraphs@ccnet", exchange="memory", **options)
    assert search(find).files == expected


@pytest.mark.parametrize("scheme", SCHEMES)
def test_distribution_over_shards_does_not_matter(
    plain: dict[str, Result], corpus: list[Rows], tmp_path: Path, scheme: str
) -> None:
    rows = [each for shard in corpus for each in shard]
    random.Random(3).shuffle(rows)
    assert find_in(tmp_path, [rows[i::5] for i in range(5)], scheme).rows == plain[scheme].rows


# -- wrong options -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "lines"}, "scheme is 'lines', allowed are paragraphs@ccnet, sentences@datatrove, lines@tfds"),
        ({"order": "date"}, "order is 'date', allowed are doc_id, input, url"),
        ({"exchange": "disk"}, "exchange is 'disk'"),
        ({"workers": 0}, "workers is 0"),
        ({"sources": ("a", "a")}, "2 names, allowed are 255 different ones"),
        ({"after": ("paragraphs@ccnet",)}, "paragraphs@ccnet cannot come after itself"),
        ({"options": {"keeps": "first"}}, "paragraphs@ccnet has no option 'keeps'; it has keep, min_length"),
        ({"options": {"keep": "last"}}, "keep is 'last', allowed are first, none"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FindPassages(**{"output": "out", "shards": 1, "scheme": "paragraphs@ccnet", **options})
