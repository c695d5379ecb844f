"""`bigcode@1` against what the reference itself gave: spans, secrets before its own filters, redacted texts."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pii import ANNOTATORS, bigcode, bigcode_keys


def golden(name: str) -> Path:
    roots = [Path(os.environ["GRISTMILL_SHARED"])] if "GRISTMILL_SHARED" in os.environ else []
    roots += [parent / "shared" for parent in Path(__file__).resolve().parents]
    for root in roots:
        if (root / "golden/code" / name).exists():
            return root / "golden/code" / name
    pytest.skip(f"golden/code/{name} is absent; GRISTMILL_SHARED names the folder that holds it")


def rows(name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(golden(name), "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def pairs() -> Iterator[tuple[str, dict[str, Any]]]:
    """(text, what the reference gave) of all documents and files."""
    for texts, expected, key in (
        ("pii_docs.jsonl.gz", "pii_docs_expected.jsonl.gz", "text"),
        ("files.jsonl.gz", "pii_files.jsonl.gz", "content"),
    ):
        known = {row["id"]: row[key] for row in rows(texts)}
        yield from ((known[row["id"]], row) for row in rows(expected) if "skipped" not in row)


def short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def test_spans_and_redacted_texts_are_the_references() -> None:
    seen = 0
    for text, expected in pairs():
        found = bigcode.detect(text)
        spans = [{"tag": f.kind, "value": f.value, "start": f.start, "end": f.end} for f in found]
        assert spans == expected["spans"], expected["id"]
        secrets = {(kind, value) for kind, value, *_ in expected["ds_raw"]}
        assert bigcode_keys.secrets(text) == secrets, expected["id"]
        random.seed(0)
        redacted, references, modified = bigcode.redact(text, found, references=True)
        assert modified == expected["modified"]
        if "redacted" in expected:
            assert (redacted, references) == (expected["redacted"], expected["references"]), expected["id"]
        else:
            hashes = (expected["redacted_sha256_16"], expected["references_sha256_16"])
            assert (short_hash(redacted), short_hash(references)) == hashes, expected["id"]
        seen += 1
    assert seen == 60 + 307


def test_gibberish_scores_are_the_references() -> None:
    for row in json.loads(golden("gibberish.json").read_text(encoding="utf-8")):
        assert bigcode_keys.gibberish_score(row["value"]) == row["score"]
        assert bigcode_keys.is_gibberish(row["value"]) == row["gibberish"]


def test_annotator() -> None:
    annotator = ANNOTATORS["pii_bigcode@1"]()
    texts = ["é jane@corp.com", None, "", 'x = "5849cea82544f4de55e4bcf6fa0fb64f"\n', "10.0.0.1"]
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    out = annotator.annotate(batch)
    assert out.schema == annotator.schema and annotator.name == "pii_bigcode@1"
    assert [
        [(s["start"], s["end"], s["kind"], s["value"]) for s in row] for row in out.column("spans").to_pylist()
    ] == [
        [(2, 15, "EMAIL", "jane@corp.com")],
        [],
        [],
        [(5, 37, "KEY", "5849cea82544f4de55e4bcf6fa0fb64f")],
        [(0, 8, "IP_ADDRESS", "10.0.0.1")],
    ]
    field = annotator.schema.field("spans").type.value_type
    assert [field.field(i).name for i in range(field.num_fields)] == ["start", "end", "kind", "value"]


def slow_email_spans(text: str) -> list[tuple[int, int]]:
    """One expression over the whole text, as the reference has it; quadratic."""
    local = f"(?:{bigcode._LOCAL}|[=.\\-](?![.@]))+"
    pattern = rf"(?<=^|{bigcode._OPEN}|\\['\"])({local}{bigcode._DOMAIN})"
    return [match.span(1) for match in bigcode._regex(pattern, multiline=True).finditer(text)]


PIECES = ["a", "b.c", "@", ".", "-", "=", " ", "com", "x1", "\n", "'", '\\"', "(", "é", "是", "xn--1", ":", "8", "\x08"]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_addresses_as_by_one_expression(text: str) -> None:
    assert [(f.start, f.end) for f in bigcode._emails(text)] == slow_email_spans(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=120))
def test_any_text(text: str) -> None:
    found = bigcode.detect(text)
    assert all(text[f.start : f.end] == f.value for f in found) and found == sorted(found)
    bigcode.redact(text, found, random.Random(1))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text("abAB1", min_size=8, max_size=14), min_size=1, max_size=40),
    st.text("abAB1 ", max_size=200),
)
def test_occurrences_as_by_find(values: list[str], text: str) -> None:
    text += " ".join(values)

    def by_find(value: str) -> list[int]:
        out, at = [], text.find(value)
        while at >= 0:
            out.append(at)
            at = text.find(value, at + len(value))
        return out

    found: dict[str, list[int]] = {}
    for value, at in bigcode_keys.occurrences(sorted(set(values)), text):
        found.setdefault(value, []).append(at)
    assert found == {value: by_find(value) for value in set(values)}


def secret(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:40]


HOSTILE = {
    "local part": "a" * 250_000,
    "local dots": "a." * 125_000,
    "at signs": "a@" * 125_000,
    "labels": "a@" + "b." * 125_000,
    "top level": "a@b.xn--" + "c" * 250_000,
    "octets": "1." * 125_000,
    "groups": "a:" * 125_000,
    "zones": "fe80:%a" * 36_000,
    "tokens": "eyJ" * 83_000,
    "tokens with dots": "eyJa." * 50_000,
    "spaces after a key": "cl_key" + " " * 250_000,
    "many keys": "key = " * 42_000,
    "quotes": "'" * 250_000,
    "quoted": "'" + "aB3" * 83_000,
    "slashes": "//a" * 83_000 + "/:_authToken=",
    "auth tokens": "//a/:_authToken= " * 15_000,
    "slack": "xoxb-" + "1-" * 125_000,
    "aws": "aws key " * 31_000,
    "secrets": "".join(f'"{secret(i)}" ' for i in range(5_800)),
    "ids before secrets": "user_id= " + "".join(f'"{secret(i)}" ' for i in range(5_800)),
    "secrets on lines": "".join(f'"{secret(i)}"\n' for i in range(5_800)) + "\n" * 300_000,
    "ini": "[a]\n" + "".join(f"k{i} = {secret(i)}\n" for i in range(5_000)),
    "ini sections": "[DEFAULT]\n" + "".join(f"k{i} = 1\n[s{i}]\n[DEFAULT]\n" for i in range(9_000)),
    "ini references": "[a]\nx0 = %(x1)s\n" + "".join(f"x{i} = " + f"%(x{i + 1})s" * 9 + "\n" for i in range(1, 12)),
    "line ends": "\r" * 250_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_take_linear_time(name: str) -> None:
    start = time.process_time()
    bigcode.detect(HOSTILE[name])
    assert time.process_time() - start < 4  # a quarter of a megabyte; quadratic work takes minutes
