"""`inspect lookup`: what is in a run, asked by name and by text."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_runner import main
from pipelines import storage
from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.ingest import document_shard
from pipelines.lookup import Lookup
from pipelines.lookup_records import BLOCK, Records, RecordsWriter
from pipelines.shards import write_shard
from tests.conftest import document_batch


@pytest.fixture(scope="module")
def output(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path_factory.mktemp("lookup") / "run"))


@pytest.fixture(scope="module")
def documents(output: Path) -> list[dict[str, str | None]]:
    return pq.read_table(output / "documents").to_pylist()


def ask(capsys: pytest.CaptureFixture[str], output: Path, *asked: str) -> tuple[int, dict]:
    capsys.readouterr()
    code = main(["inspect", "lookup", str(output), *asked, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "field, value, holds",
    [
        ("domain", "site5.example.com", lambda d: (d["url"] or "").startswith("https://site5.example.com/")),
        ("domain", "Example.COM", lambda d: d["url"] is not None),
        ("url", "http://www.site4.example.com/p/4/", lambda d: d["url"] == "https://site4.example.com/p/4"),
        ("domain", "ample.com", lambda d: False),
        ("repo", "no-such", lambda d: False),
    ],
)
def test_by_name(output: Path, documents: list, capsys, field: str, value: str, holds) -> None:  # type: ignore[no-untyped-def]
    code, told = ask(capsys, output, f"--{field}", value, "--limit", "100")
    expected = {d["doc_id"] for d in documents if holds(d)}
    assert {each["document"]["doc_id"] for each in told["found"]} == expected
    assert told["documents"] == len(expected) and code == (0 if expected else 1)


def test_each_document_is_found_by_its_id_and_hash_with_its_way_through_the_rules(
    output: Path, documents: list, capsys: pytest.CaptureFixture[str]
) -> None:
    fall = {row["doc_id"]: row for row in pq.read_table(output / "corpora/full/waterfall.parquet").to_pylist()}
    for document in documents[:: len(documents) // 7]:
        _, told = ask(capsys, output, "--id", document["doc_id"])
        (found,) = told["found"]
        assert found["variants"]["full"]["verdict"] == fall[document["doc_id"]]["verdict"]
        assert found["variants"]["full"]["rule"] == fall[document["doc_id"]]["rule"]
        row = pq.read_table(output / found["shard"]).slice(found["row"], 1).to_pylist()[0]
        assert row["doc_id"] == document["doc_id"]
        _, told = ask(capsys, output, "--content-sha256", document["content_sha256"].upper())
        assert document["doc_id"] in {each["document"]["doc_id"] for each in told["found"]}


def test_a_text_is_found_in_every_document_that_holds_it(
    output: Path, documents: list, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = max((d["text"] for d in documents), key=len)[100:700]
    holding = {d["doc_id"] for d in documents if text in d["text"]}
    (tmp_path / "text.txt").write_text(text)
    code, told = ask(capsys, output, "--text", f"@{tmp_path}/text.txt")
    assert code == 0 and told["whole"] and told["documents"] == len(holding)
    assert {each["document"]["doc_id"] for each in told["found"]} == holding
    code, told = ask(capsys, output, "--text", text[:300] + " written by nobody " + text[300:])
    assert code == 0 and not told["whole"] and told["found"][0]["document"]["doc_id"] in holding
    assert told["found"][0]["characters"] in (300, 301)
    code, told = ask(capsys, output, "--text", "zq" * 100)
    assert code == 1 and told["found"] == []


def test_the_index_follows_the_documents(output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(shutil.copytree(output, tmp_path / "run"))
    assert main(["inspect", "lookup", str(run), "--domain", "site5.example.com"]) == 0
    made = (run / "lookup/index.json").stat().st_mtime_ns
    assert main(["inspect", "lookup", str(run), "--domain", "site5.example.com"]) == 0
    assert (run / "lookup/index.json").stat().st_mtime_ns == made
    manifest = run / "documents/_manifest.json"
    manifest.write_text(manifest.read_text().replace('"rejected":', '"rejected" :'))
    capsys.readouterr()
    assert main(["inspect", "lookup", str(run), "--domain", "site5.example.com"]) == 0
    assert "making" in capsys.readouterr().err


@pytest.mark.parametrize(
    "asked, message",
    [
        ((), "exactly one of --repo"),
        (("--repo", "a/b", "--url", "https://a.b"), "exactly one of --repo"),
        (("--text", "too short"), "a text of 9 bytes; 96 or more are needed"),
        (("--text", "@no-such-file"), "no-such-file: No such file"),
    ],
)
def test_wrong_questions(
    output: Path, capsys: pytest.CaptureFixture[str], asked: tuple[str, ...], message: str
) -> None:
    assert main(["inspect", "lookup", str(output), *asked]) == 2
    assert message in capsys.readouterr().err
    assert main(["inspect", "lookup", str(output / "documents"), "--repo", "a/b"]) == 2


def test_records_give_back_every_document(tmp_path: Path) -> None:
    """Empty texts, texts over several blocks, line ends, and one that ends where a block does."""
    texts = ["", "a\nb", "é😀" * BLOCK, "x" * (BLOCK - 30), None, "y" * (3 * BLOCK), "end"]
    batch = pa.record_batch({"doc_id": [f"d{i}\n" for i in range(7)], "text": pa.array(texts, pa.large_string())})
    with RecordsWriter(str(tmp_path), ("doc_id", "url")) as records:
        records.add(batch.slice(0, 3))
        records.add(batch.slice(3))
    opened = Records.open(str(tmp_path))
    assert [opened.read(i) for i in range(7)] == [({"doc_id": f"d{i}\n"}, texts[i] or "") for i in range(7)]
    with open(tmp_path / "records", "ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="make it again"):
        Records.open(str(tmp_path))


def test_answers_take_less_than_a_tenth_of_a_second(tmp_path: Path) -> None:
    """At a fiftieth of a gigabyte here; the arrays are mapped, so the size enters by the depth of a bisection only."""
    texts = [f"{i} " + " ".join(f"{(i * 7919 + j * j * 31) % 100_003:05d}" for j in range(500)) for i in range(6_000)]
    rows = [{"doc_id": f"d{i}", "text": text, "url": f"https://h{i}.example/"} for i, text in enumerate(texts)]
    path = document_shard(str(tmp_path), 0)
    shard = write_shard(path, DOCUMENT_SCHEMA, [document_batch(*rows[i : i + 500]) for i in range(0, 6_000, 500)])
    storage.write_bytes(str(tmp_path / "documents/_manifest.json"),
                        storage.canonical_json({"shards": [shard.record(str(tmp_path))]}))  # fmt: skip
    (tmp_path / "manifest.json").write_text("{}")
    opened = Lookup(str(tmp_path))
    took = []
    for i in (5, 2_500, 5_990):
        began = time.process_time()
        assert [each.document["doc_id"] for each in opened.by_text(texts[i][40:500]).found] == [f"d{i}"]
        assert opened.by_name("domain", f"h{i}.example").documents == 1
        took.append(time.process_time() - began)
    assert min(took) < 0.2, "two answers"
    assert pa.types.is_large_string(DOCUMENT_SCHEMA.field("text").type)
