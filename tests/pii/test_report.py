"""The report: counts by kind, source and action, masked samples, failures; and the verbs that print."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pii import Policy, detect, load_policy, redact
from pii.report import SAMPLES, Report, mask
from pipelines.errors import UsageError
from pipelines.pii_verbs import add_pii_verbs, report_of


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ("Bob.Smith@Example.com", "Aaa.Aaaaa@Aaaaaaa.aaa"),
        ("+1 (212) 555-0123", "+0 (000) 000-0000"),
        ("é漢\n😀", "aa 😀"),
        ("x" * 70, "a" * 60 + "..."),
        ("", ""),
    ],
)
def test_mask(value: str, shape: str) -> None:
    assert mask(value) == shape


def rows(text: str, policy: Policy) -> list[dict[str, Any]]:
    return [span._asdict() for span in redact(text, detect(text), policy)[1]]


def filled(start: int, stop: int) -> Report:
    policy = Policy.from_mapping({"kinds": {"PHONE": "keep", "CREDIT_CARD": "drop_document"}})
    texts = [
        f"a{i}@corp-x.de or (212) 555-0{100 + i}" + " card 4111111111111111" * (i % 10 == 0) for i in range(start, stop)
    ]
    report = Report()
    report.add([f"d{i}" for i in range(start, stop)], ["web"] * len(texts), texts, [rows(t, policy) for t in texts])
    report.add_failures([(f"f{start}", "ValueError", "bad")])
    return report


def test_counts_and_samples() -> None:
    report = filled(0, 40)
    assert (report.documents, report.with_pii, report.dropped, report.failed) == (40, 40, 4, 1)
    assert report.counts["EMAIL", "web", "placeholder"] == 40 and report.counts["PHONE", "web", "keep"] == 40
    value = report.to_mapping()
    assert [c["spans"] for c in value["counts"]] == [4, 40, 40] and value["failures"][0]["doc_id"] == "f0"
    assert all(len(c["samples"]) == min(c["spans"], SAMPLES) for c in value["counts"])
    printed = json.dumps(value) + report.text()
    assert "corp-x" not in printed and "555-0" not in printed and "4111" not in printed
    assert "a00@aaaa-a.aa" in printed and "failed: f0: ValueError: bad" in report.text()


def test_reports_add_up_in_any_order() -> None:
    whole, parts = filled(0, 60), [filled(0, 20), filled(20, 45), filled(45, 60)]
    one = parts[0] + parts[1] + parts[2]
    other = parts[2] + (parts[1] + parts[0])
    assert one.to_mapping() == other.to_mapping()
    assert one.to_mapping()["counts"] == whole.to_mapping()["counts"]


def test_redacted_text_gives_no_values() -> None:
    report = Report()
    report.add(
        ["d"], [None], None, [[{"start": 3, "end": 9, "kind": "EMAIL", "confidence": 1.0, "action": "placeholder"}]]
    )
    report.add(["e"], ["s"], None, [None])
    assert report.documents == 2 and report.to_mapping()["counts"][0]["samples"][0]["masked"] == "(6 characters)"


def parser() -> argparse.ArgumentParser:
    parsed = argparse.ArgumentParser()
    verbs = parsed.add_subparsers()

    def verb(name: str, handler: Any, text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text)
        added.set_defaults(handler=handler)
        return added

    def with_json(added: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added.add_argument("--json", action="store_true")
        return added

    add_pii_verbs(verb, with_json)
    return parsed


def run(*arguments: str) -> int:
    options = parser().parse_args(arguments)
    result: int = options.handler(options)
    return result


GOLD = [
    {"text": "mail ann@corp-x.de", "spans": [{"start": 5, "end": 18, "kind": "EMAIL"}]},
    {"text": "call 12", "spans": [{"start": 5, "end": 7, "kind": "PHONE"}]},
]


def test_evaluate_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in GOLD), encoding="utf-8")
    assert run("pii", "evaluate", str(path), "--json", "--misses", "3") == 0
    value = json.loads(capsys.readouterr().out)
    assert value["kinds"]["EMAIL"]["f1"] == 1.0 and value["kinds"]["PHONE"]["recall"] == 0.0 and value["texts"] == 2
    assert value["missed"] == {"PHONE": ["12"]} and value["wrong"] == {}
    assert run("pii", "evaluate", str(path), "--misses", "1") == 0
    assert "missed PHONE: 1" in capsys.readouterr().out
    with pytest.raises(UsageError, match="from 0 to 1"):
        run("pii", "evaluate", str(path), "--min-confidence", "2")
    with pytest.raises(UsageError, match="cannot be read"):
        run("pii", "evaluate", str(tmp_path / "none"))
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(UsageError, match="no gold text"):
        run("pii", "evaluate", str(path))
    with pytest.raises(UsageError, match="evaluate, report"):
        run("pii")


def test_a_policy_that_cannot_run_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    from pii import names
    from pipelines.redact import Redaction

    keyed = Policy.from_mapping({"key": {"env": "GRISTMILL_TEST_KEY"}, "kinds": {"EMAIL": "reserved"}})
    monkeypatch.delenv("GRISTMILL_TEST_KEY", raising=False)
    with pytest.raises(UsageError, match="GRISTMILL_TEST_KEY holds 0 bytes"):
        Redaction(keyed)
    monkeypatch.setenv("GRISTMILL_TEST_KEY", "0123456789abcdef")
    Redaction(keyed)
    monkeypatch.setattr(names.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"gristmill\[pii\]"):
        Redaction(load_policy("strict"))


def test_report_verb_on_redacted_and_annotated_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pii.annotate import PiiAnnotator
    from pipelines.annotate import annotation_schema, annotation_shard
    from pipelines.documents import DOCUMENT_SCHEMA, REJECTED_SCHEMA
    from pipelines.ingest import rejected_batch
    from pipelines.redact import Redaction
    from pipelines.shards import write_shard

    texts = ["mail ann@corp-x.de", "nothing", "call (212) 555-0123"]
    columns = {
        "doc_id": [f"d{i}" for i in range(3)],
        "source": ["web"] * 3,
        "kind": ["web"] * 3,
        "text": texts,
        "meta": [[] for _ in texts],
    }
    arrays = [pa.array(columns.get(field.name, [None] * 3), field.type) for field in DOCUMENT_SCHEMA]
    batch = pa.RecordBatch.from_arrays(arrays, schema=DOCUMENT_SCHEMA)
    raw, out = tmp_path / "raw", tmp_path / "redacted"
    for folder in (raw / "documents", raw / "annotations" / "pii@1", raw / "rejected", out / "documents"):
        folder.mkdir(parents=True)
    write_shard(str(raw / "documents/part-00000.parquet"), DOCUMENT_SCHEMA, [batch])
    failed = [("d9", "web", "annotate/pii@1", "ValueError", "bad"), ("d8", "web", "annotate/rpv2@1", "E", "other")]
    write_shard(str(raw / "rejected/part-00000.parquet"), REJECTED_SCHEMA, [rejected_batch(failed)])
    policy = load_policy("default")
    with pytest.raises(UsageError, match="pii@1 was not annotated"):
        report_of(str(raw), policy)
    annotator = PiiAnnotator()
    found = annotator.annotate(batch)
    schema = annotation_schema(annotator.schema)
    annotated = pa.RecordBatch.from_arrays([batch.column("doc_id"), *found.columns], schema=schema)
    write_shard(annotation_shard(str(raw), "pii@1", 0), schema, [annotated])
    report = report_of(str(raw), policy)
    assert report.policy == "default"
    assert {key: count for key, count in report.counts.items()} == {
        ("EMAIL", "web", "placeholder"): 1,
        ("PHONE", "web", "placeholder"): 1,
    }
    assert report.failures == [("d9", "ValueError", "bad")] and "aaa@aaaa-a.aa" in report.text()
    redaction = Redaction(policy)
    redacted, faults, dropped = redaction.apply(batch)
    assert (
        redacted.column("text").to_pylist() == ["mail <EMAIL>", "nothing", "call <PHONE>"]
        and not faults
        and not dropped
    )
    write_shard(str(out / "documents/part-00000.parquet"), redaction.schema, [redacted])
    assert report_of(str(out), policy).counts == report.counts
    assert run("pii", "report", str(raw), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["documents"] == 3 and told["policy"] == "default"
    (tmp_path / "mine.yaml").write_text("name: mine\nkinds: {EMAIL: drop_document}\n")
    (raw / "recipe.yaml").write_text(f"pii: {{policy: {tmp_path}/mine.yaml}}\n")
    assert run("pii", "report", str(raw)) == 0
    assert "policy mine: 3 documents: 2 with personal data, 1 to be dropped" in capsys.readouterr().out
    assert run("pii", "report", str(raw), "--policy", "default") == 0
    assert "policy default: 3 documents: 2 with personal data, 0 to be dropped" in capsys.readouterr().out
    with pytest.raises(UsageError, match="no such policy"):
        run("pii", "report", str(raw), "--policy", "absent")
    with pytest.raises(UsageError, match="expected the output folder"):
        run("pii", "report", str(tmp_path / "nowhere"))
