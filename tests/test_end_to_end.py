"""The whole way once, on a small corpus: the test to read and to run first."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from beam_runner import main


@pytest.fixture(scope="module")
def output(finished_run: Path) -> Path:
    return finished_run


def waterfall(output: Path, variant: str) -> dict[str, dict[str, object]]:
    rows = pq.read_table(output / "corpora" / variant / "waterfall.parquet").to_pylist()
    return {row["doc_id"]: row for row in rows}


def test_hashes_and_books_hold(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(output)]) == 0
    assert "hashes and books hold" in capsys.readouterr().out


def test_what_could_not_be_read_has_a_reason(output: Path) -> None:
    rejected = pq.read_table(output / "rejected").to_pylist()
    assert {row["stage"] for row in rejected} == {"ingest"}
    assert any("broken.zip" in row["id"] for row in rejected)


def test_every_variant_holds_out_the_same_documents(output: Path) -> None:
    held_out = {
        variant: sorted(d for d, row in waterfall(output, variant).items() if row["verdict"] == "held_out")
        for variant in ("baseline", "gopher", "dedup", "full", "null_gopher", "cleaned")
    }
    assert held_out["baseline"] and all(ids == held_out["baseline"] for ids in held_out.values())


def test_each_dropped_document_names_rule_value_and_threshold_or_its_twin(output: Path) -> None:
    rows = waterfall(output, "full")
    dropped = [row for row in rows.values() if row["verdict"] == "dropped"]
    rules = {str(row["rule"]).partition("/")[0] for row in dropped}
    assert {"gopher@datatrove", "dedup", "license", "opt_out"} <= rules
    for row in dropped:
        if row["rule"] == "dedup":
            assert row["duplicate_of"] in rows and 0.8 <= row["similarity"] <= 1.0  # type: ignore[operator]
        if str(row["rule"]).startswith("gopher"):
            assert row["value"] is not None and row["threshold"] is not None


def test_what_is_out_of_scope_is_in_no_variant_and_not_held_out(output: Path) -> None:
    languages = {
        row["language"]
        for shard in (output / "corpora").glob("*/data/*.parquet")
        for row in pq.read_table(shard, columns=["language", "source"]).to_pylist()
        if row["source"] == "web"
    }
    assert languages == {"en"}
    rules = [row["rule"] for row in waterfall(output, "baseline").values()]
    assert rules.count("out_of_scope/language@1/language/de") == 2, "the third such page is opted out before"


def test_what_is_opted_out_is_in_no_variant_and_not_held_out_and_leaves_a_tombstone(output: Path) -> None:
    for variant in (output / "corpora").iterdir():
        urls = [u for shard in variant.glob("data/*.parquet") for u in pq.read_table(shard)["url"].to_pylist() if u]
        assert urls and not [url for url in urls if "site3.example.com" in url]
        stones = pq.read_table(variant / "tombstones.parquet").to_pylist()
        assert len(stones) == 5
        assert {(stone["rule"], stone["date"]) for stone in stones} == {("opt_out/domain", "2026-01-15")}
        assert "site3" not in str(stones)


def test_copyleft_code_is_in_the_baseline_and_not_in_the_full_variant(output: Path) -> None:
    def licenses(variant: str) -> set[str | None]:
        return {
            row["license"]
            for shard in (output / "corpora" / variant / "data").glob("train-*.parquet")
            for row in pq.read_table(shard).to_pylist()
            if row["source"] == "code"
        }

    assert licenses("baseline") == {"MIT", "GPL-3.0-or-later"}
    assert licenses("full") == {"MIT"}


def test_personal_data_is_replaced_in_every_shard(output: Path) -> None:
    for shard in (output / "corpora").glob("*/data/*.parquet"):
        text = "\n".join(pq.read_table(shard, columns=["text"]).column("text").to_pylist())
        assert "@company" not in text
    raw = "\n".join(pq.read_table(output / "documents", columns=["text"]).column("text").to_pylist())
    assert "@company" in raw, "documents/ holds the text as it was extracted"


def test_edits_change_what_is_trained_on_and_nothing_else(output: Path) -> None:
    def lines(variant: str, split: str) -> list[str]:
        shards = sorted((output / "corpora" / variant / "data").glob(f"{split}-*.parquet"))
        return "\n".join(text for shard in shards for text in pq.read_table(shard)["text"].to_pylist()).splitlines()

    assert "More news" in lines("baseline", "train") and "More news" not in lines("cleaned", "train")
    assert lines("cleaned", "held_out") == lines("baseline", "held_out")
    assert any("<EMAIL>" in line for line in lines("cleaned", "train"))
    summary = json.loads((output / "corpora/cleaned/manifest.json").read_text())["summary"]
    (edits,) = summary["edits"]
    assert edits["step"] == "c4_fineweb@datatrove/edits" and edits["documents"] > 0
    assert "c4_fineweb@datatrove/edits" in (output / "corpora/cleaned/README.md").read_text()


def test_the_null_variant_keeps_as_many_documents_of_each_source_as_its_model(output: Path) -> None:
    manifest = json.loads((output / "manifest.json").read_text())
    kept = {
        name: {
            s: counts["documents"] for s, counts in manifest["stages"][f"curate/{name}"]["summary"]["by_source"].items()
        }
        for name in ("baseline", "gopher", "null_gopher")
    }
    assert kept["gopher"]["web"] < kept["baseline"]["web"]
    assert kept["null_gopher"] == kept["gopher"]


def test_a_second_run_does_nothing(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")}
    assert main(["run", str(output.parent / "out.yaml")]) == 0
    assert "every data stage was done before" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")} == before


def test_a_document_can_be_asked_for_its_way(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some_id = next(d for d, row in waterfall(output, "full").items() if row["rule"] == "dedup")
    assert main(["inspect", str(output), "--doc", some_id]) == 0
    assert "full: dropped by dedup, value" in capsys.readouterr().out


def test_the_record_of_a_document_tells_origin_proof_and_every_change(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pq.read_table(output / "documents").to_pylist()
    trained = {d for d, row in waterfall(output, "cleaned").items() if row["verdict"] == "train"}
    document = next(r for r in rows if r["doc_id"] in trained and "@company" in r["text"] and "More news" in r["text"])
    capsys.readouterr()
    assert main(["inspect", str(output), "--doc", document["doc_id"], "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["document"]["url"] == document["url"] and told["read"]["versions"]["pyarrow"]
    assert pq.read_table(output / told["shard"]).slice(told["row"], 1)["doc_id"][0].as_py() == document["doc_id"]
    cleaned, baseline = told["variants"]["cleaned"], told["variants"]["baseline"]
    assert cleaned["redacted"] == baseline["redacted"] == {"EMAIL": 1} and baseline["edits"] == []
    (edit,) = cleaned["edits"]
    kept = pq.read_table(output / cleaned["shard"]).slice(cleaned["row"], 1).to_pylist()[0]
    whole = pq.read_table(output / baseline["shard"]).slice(baseline["row"], 1).to_pylist()[0]
    assert kept["doc_id"] == whole["doc_id"] == document["doc_id"]
    assert edit["step"] == "c4_fineweb@datatrove/edits"
    assert len(whole["text"]) - len(kept["text"]) == edit["removed_characters"] > 0
    proof = next(r for r in rows if r["kind"] == "code")
    assert main(["inspect", str(output), "--doc", proof["doc_id"]]) == 0
    said = capsys.readouterr().out
    assert "licence by" in said and f"meta.license: {dict(proof['meta'])['license']}\n" in said
    assert main(["inspect", str(output / "documents/part-00000.parquet"), "--json"]) == 0
    assert all(isinstance(row["meta"], dict) for row in json.loads(capsys.readouterr().out)["rows"])
