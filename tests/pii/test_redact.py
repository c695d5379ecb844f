"""Policies and redaction: idempotent, byte for byte outside the spans, the same in batches."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pii import (
    APPLIED_TYPE,
    PLACEHOLDERS,
    Policy,
    PolicyError,
    Span,
    detect,
    load_policy,
    redact,
    redact_batch,
)
from pii.annotate import spans_array

DEFAULT = load_policy("default")
TEXT = "é bob@example.com, (212) 555-0123; 4111 1111 1111 1111 from 93.184.216.34 GB82WEST12345698765432 end"


def test_placeholders() -> None:
    text, applied = redact(TEXT, detect(TEXT), DEFAULT)
    assert text == "é <EMAIL>, <PHONE>; <CREDIT_CARD> from <IP_ADDRESS> <IBAN> end"
    assert [TEXT[a.start : a.end] for a in applied][0] == "bob@example.com"
    assert {a.action for a in applied} == {"placeholder"}
    assert redact(text, detect(text), DEFAULT) == (text, [])


def test_touching_and_overlapping_spans() -> None:
    spans = [Span(0, 3, "EMAIL", 1.0), Span(3, 6, "PHONE", 1.0), Span(5, 7, "KEY", 1.0)]
    text, applied = redact("aaabbbcd", spans, DEFAULT)
    assert text == "<EMAIL><PHONE>cd"
    assert [a.kind for a in applied] == ["EMAIL", "PHONE"]


def test_keep_confidence_and_drop() -> None:
    policy = Policy.from_mapping(
        {
            "name": "p",
            "kinds": {"EMAIL": "keep", "PHONE": {"min_confidence": 0.99}, "IBAN": {"action": "keep"}},
        }
    )
    text, applied = redact(TEXT, detect(TEXT), policy)
    assert (
        "bob@example.com" in text and "(212) 555-0123" in text and "GB82" in text and "<CREDIT_CARD>" in text
    )
    assert [a.action for a in applied if a.kind in ("EMAIL", "IBAN")] == ["keep", "keep"]
    assert "PHONE" not in {a.kind for a in applied}
    dropping = Policy.from_mapping({"kinds": {"CREDIT_CARD": "drop_document"}})
    text, applied = redact(TEXT, detect(TEXT), dropping)
    assert text == TEXT and "drop_document" in {a.action for a in applied}


def test_wrong_spans() -> None:
    with pytest.raises(ValueError, match="ends after"):
        redact("abc", [Span(0, 4, "EMAIL", 1.0)], DEFAULT)
    with pytest.raises(ValueError, match="not a range"):
        redact("abc", [Span(2, 1, "EMAIL", 1.0)], DEFAULT)
    with pytest.raises(ValueError, match="unknown kind"):
        redact("abc", [Span(0, 1, "NAME", 1.0)], DEFAULT)


def test_batch() -> None:
    texts = pa.array([TEXT, None, "nothing", ""], type=pa.large_string())
    spans = spans_array([detect(t or "") for t in texts.to_pylist()])
    policy = Policy.from_mapping({"kinds": {"IP_ADDRESS": "keep"}})
    out = redact_batch(texts, spans, policy)
    expected, applied = redact(TEXT, detect(TEXT), policy)
    assert out.text.type == pa.large_string() and out.text.to_pylist() == [expected, None, "nothing", ""]
    assert out.pii.type == APPLIED_TYPE
    assert [(r["start"], r["kind"], r["action"]) for r in out.pii[0].as_py()] == [
        (a.start, a.kind, a.action) for a in applied
    ]
    assert out.pii.to_pylist()[1:] == [[], [], []] and out.drop.to_pylist() == [False] * 4
    dropped = redact_batch(texts, spans, Policy.from_mapping({"kinds": {"EMAIL": "drop_document"}}))
    assert dropped.drop.to_pylist() == [True, False, False, False] and dropped.text[0].as_py() == TEXT
    empty = redact_batch(texts.slice(0, 0), spans.slice(0, 0), policy)
    assert len(empty.text) == len(empty.pii) == len(empty.drop) == 0
    sliced = redact_batch(texts.slice(0, 2), spans.slice(0, 2), policy)
    assert sliced.text.to_pylist() == [expected, None]


def test_threshold_survives_float32() -> None:
    spans = spans_array([[Span(0, 3, "KEY", 0.7)]])
    policy = Policy.from_mapping({"kinds": {"KEY": {"min_confidence": 0.7}}})
    assert redact_batch(pa.array(["abc"]), spans, policy).text.to_pylist() == ["<KEY>"]


PIECES = [
    "bob@example.com",
    "a@b.de",
    "+1 212 555 0123",
    "(212) 555-0123",
    "212-555-0123",
    "93.184.216.34",
    "1.2.3.4",
    "4111 1111 1111 1111",
    "4111111111111111",
    "GB82WEST12345698765432",
    "GB82 WEST 1234 5698 7654 32",
    "2a00:1450:4001:81b::200e",
    "AKIAFAKEA4HZJCIH8OIJ",
    'api_key = "5849cea82544f4de55e4bcf6fa0fb64f"',
    "password='hT7!kq29_z'",
    "http://u:s3cr3tpw@",
    "Phone: ",
    "tel ",
    "call me at ",
    "card ",
    "host ",
    "version ",
    "v",
    "x",
    "0",
    "12",
    "555",
    " ",
    " ",
    " ",
    "-",
    ".",
    ",",
    ":",
    "@",
    "/",
    "(",
    ")",
    "+",
    "=",
    '"',
    "\n",
    "é",
    "<EMAIL>",
    "<PHONE>",
    "ext 12",
    "x123",
    "token: ",
    "secret=",
    "0490 75 40 81",
    "from ",
    "-----BEGIN RSA PRIVATE KEY-----",
    "ghp_FAKEvCqDIOiuchaNlFHBx84ZVMNVZXm9PNuN",
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_idempotent(text: str) -> None:
    once, applied = redact(text, detect(text), DEFAULT)
    again, _ = redact(once, detect(once), DEFAULT)
    assert again == once
    # Outside the spans nothing changed.
    rebuilt, done = [], 0
    for span in applied:
        rebuilt += [text[done : span.start], PLACEHOLDERS[span.kind]]
        done = span.end
    assert "".join([*rebuilt, text[done:]]) == once


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80))
def test_any_text(text: str) -> None:
    spans = detect(text)
    assert all(0 <= s.start < s.end <= len(text) for s in spans)
    assert all(a.end <= b.start for a, b in zip(spans, spans[1:], strict=False))


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("kinds: {EMIAL: keep}", "did you mean 'EMAIL'"),
        ("kinds: {EMAIL: placholder}", "did you mean 'placeholder'"),
        ("kinds: {EMAIL: {acton: keep}}", "did you mean 'action'"),
        ("kind: {EMAIL: keep}", "did you mean 'kinds'"),
        ("kinds: {EMAIL: {min_confidence: 2}}", "from 0 to 1"),
        ("kinds: {EMAIL: {min_confidence: yes}}", "from 0 to 1"),
        ("kinds: {EMAIL: 3}", "an action or a mapping"),
        ("kinds: {}", "kinds must map"),
        ("[1]", "a mapping"),
        ("kinds: {EMAIL: keep, EMAIL: placeholder}", "stands twice"),
        ("kinds: {EMAIL", "not YAML"),
    ],
)
def test_policy_errors(tmp_path: Path, yaml: str, message: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(yaml, encoding="utf-8")
    with pytest.raises(PolicyError, match=message) as error:
        load_policy(path)
    assert "policy.yaml" in str(error.value)


def test_policy_file_and_unknown_name(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "name: strict\nkinds:\n  KEY: {action: drop_document, min_confidence: 0.8}\n", encoding="utf-8"
    )
    policy = load_policy(str(path))
    assert policy.kinds["KEY"].action == "drop_document" and policy.kinds["EMAIL"].action == "placeholder"
    assert Policy.from_mapping(policy.to_mapping()) == policy
    with pytest.raises(PolicyError, match="built in: default"):
        load_policy("defualt")
