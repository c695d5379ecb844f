"""Policies and redaction: idempotent, byte for byte outside the spans, the same in batches."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import pickle
import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pii import (
    APPLIED_TYPE,
    KINDS,
    Policy,
    PolicyError,
    Span,
    detect,
    load_policy,
    policy_spans,
    redact,
    redact_batch,
    replacement_texts,
)
from pii.annotate import detect_all, spans_array
from pii.kinds import CONTAINERS
from pii.replacements import RESERVED, reserved

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
    assert "bob@example.com" in text and "(212) 555-0123" in text and "GB82" in text and "<CREDIT_CARD>" in text
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


KEY = "correct horse battery staple"
RESERVED_POLICY = {"name": "reserved", "kinds": {kind: "reserved" for kind in RESERVED}}
KEYED = {
    "name": "keyed",
    "key": {"env": "GRISTMILL_TEST_KEY"},
    "kinds": {kind: "reserved" if kind in ("EMAIL", "IP_ADDRESS", "PHONE") else "pseudonym" for kind in KINDS},
}
WITH_URLS = {"name": "urls", "kinds": {"URL": "placeholder", "PERSON": "placeholder", "EMAIL": "reserved"}}


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GRISTMILL_TEST_KEY", KEY)
    return KEY


def test_reserved_values_are_of_reserved_ranges() -> None:
    policy = Policy.from_mapping(RESERVED_POLICY)
    text = (
        "bob@corp-x.de, 93.184.216.34 or 2a00:1450:4001:81b::200e, (212) 555-0123, 4111 1111 1111 1111, "
        "GB82WEST12345698765432, IMEI 490154203237518, 3c:97:0e:e9:28:8e, SSN 536-90-4399, http://corp-x.de/a"
    )
    out, applied = redact(text, detect(text), policy)
    assert out == (
        "user-000000000000@example.com, 192.0.2.1 or 2001:db8:0:0:0:1::1, +1-202-555-0100, 0000-0000-0000-0000, "
        "XX000000000000000000, IMEI 00-100000-000000-0, 00-00-5E-00-53-00, SSN 000-00-0000, https://example.com/000000000000"
    )
    assert {a.action for a in applied} == {"reserved"}
    assert redact(out, detect(out), policy) == (out, [])


@pytest.mark.parametrize("number", [0, 1, 761, 762, 12345, 2**63 + 11, 2**64 - 1])
@pytest.mark.parametrize("kind", sorted(RESERVED))
def test_every_reserved_value_is_harmless_and_found_by_nothing(kind: str, number: int) -> None:
    for original in ("93.184.216.34", "2a00:1450:4001:81b::200e") if kind == "IP_ADDRESS" else ("x",):
        value = reserved(kind, original, number)
        assert detect(f"a {value} b") == []
        if kind == "IP_ADDRESS":
            address = ipaddress.ip_address(value)
            blocks = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
            assert any(address in ipaddress.ip_network(block) for block in blocks)
        if kind == "EMAIL":
            assert value.endswith("@example.com")


def test_same_value_same_replacement_in_a_document() -> None:
    policy = Policy.from_mapping(RESERVED_POLICY)
    text = "ann@corp-x.de bob@corp-x.de ANN@corp-x.de (212) 555-0123 or 212-555-0123"
    out, _ = redact(text, detect(text), policy)
    a, b = "user-000000000000@example.com", "user-000000000001@example.com"
    assert out == f"{a} {b} {a} +1-202-555-0100 or +1-202-555-0100"


def test_keyed_pseudonyms_are_the_same_in_every_document(key: str) -> None:
    policy = Policy.from_mapping(KEYED)
    one, _ = redact(
        "x AKIAFAKEA4HZJCIH8OIJ and ann@corp-x.de", detect("x AKIAFAKEA4HZJCIH8OIJ and ann@corp-x.de"), policy
    )
    two, _ = redact("bob@corp-x.de, ann@corp-x.de", detect("bob@corp-x.de, ann@corp-x.de"), policy)
    assert re.fullmatch(r"x <KEY_[0-9a-f]{12}> and user-[0-9a-f]{12}@example\.com", one)
    assert one.split()[-1] == two.split()[-1] != two.split(",")[0]
    message = b"EMAIL\0ann@corp-x.de"
    expected = hmac.new(KEY.encode(), message, hashlib.sha256).digest()[:8]
    assert one.split()[-1] == f"user-{int.from_bytes(expected, 'big') % 16**12:012x}@example.com"
    assert redact(one, detect(one), policy) == (one, [])


def test_the_key_is_never_written(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy.from_mapping(KEYED)
    text = "ann@corp-x.de (212) 555-0123 AKIAFAKEA4HZJCIH8OIJ"
    batch = redact_batch(pa.array([text]), spans_array([detect(text)]), policy)
    for written in (str(batch), repr(policy), str(policy.to_mapping()), pickle.dumps(policy).decode("latin-1")):
        assert KEY not in written and "horse" not in written
    assert policy.to_mapping()["key"] == {"env": "GRISTMILL_TEST_KEY"}
    assert Policy.from_mapping(policy.to_mapping()) == policy
    (tmp_path / "key").write_text(KEY + "\n")
    filed = Policy.from_mapping({**KEYED, "key": {"file": str(tmp_path / "key")}})
    assert redact(text, detect(text), filed) == redact(text, detect(text), policy)
    monkeypatch.setenv("GRISTMILL_TEST_KEY", "short secret")
    with pytest.raises(PolicyError, match="holds 12 bytes; a key has at least 16") as error:
        redact(text, detect(text), policy)
    assert "short secret" not in str(error.value)
    monkeypatch.delenv("GRISTMILL_TEST_KEY")
    with pytest.raises(PolicyError, match="GRISTMILL_TEST_KEY holds 0 bytes"):
        redact_batch(pa.array([text]), spans_array([detect(text)]), policy)
    with pytest.raises(PolicyError, match="never the key itself") as error:
        Policy.from_mapping({**KEYED, "key": KEY})
    assert "horse" not in str(error.value)


def test_kept_spans_never_hide_acting_ones() -> None:
    policy = Policy.from_mapping({"kinds": {"URL": "keep", "PASSWORD": "placeholder"}})
    text = "https://app:s3cr3tpw@db.example.org/x and http://www.example.org/"
    out, applied = redact(text, detect(text), policy)
    assert out == "https://app:<PASSWORD>@db.example.org/x and http://www.example.org/"
    assert [(a.kind, a.action) for a in applied] == [("PASSWORD", "placeholder"), ("URL", "keep")]


def test_detect_false_is_as_if_the_kind_did_not_exist() -> None:
    text = "https://app:s3cr3tpw@db.example.org/x"
    everything = Policy.from_mapping({"kinds": {"URL": "placeholder"}})
    assert redact(text, detect(text), everything)[0] == "<URL>"
    nothing = Policy.from_mapping({"kinds": {"PASSWORD": {"detect": False}}})
    assert redact(text, detect(text), nothing) == (text, [])


def test_policy_change_needs_no_new_scan() -> None:
    """The spans of the annotator serve every policy."""
    text = pa.array([TEXT])
    column = spans_array([detect(TEXT)])
    for value in (RESERVED_POLICY, WITH_URLS, {"kinds": {"EMAIL": "keep"}}):
        policy = Policy.from_mapping(value)
        assert redact_batch(text, column, policy).text[0].as_py() == redact(TEXT, detect(TEXT), policy)[0]


def test_policy_spans_of_other_detectors() -> None:
    bigcode = load_policy("bigcode@1")
    from pii.bigcode import BigcodeAnnotator

    text = "mail jane@corp-x.com, key AKIAFAKEA4HZJCIH8OIJ, 10.0.0.1"
    batch = pa.record_batch({"text": pa.array([text], pa.large_string())})
    columns = {"pii_bigcode@1": BigcodeAnnotator().annotate(batch).column("spans")}
    out = redact_batch(batch.column("text"), policy_spans(bigcode, columns), bigcode)
    assert out.text[0].as_py() == "mail user-000000000000@example.com, key <KEY>, 192.0.2.1"
    both = load_policy("strict")
    names = spans_array([[Span(0, 4, "PERSON", 0.85), Span(5, 9, "PERSON", 0.85)]])
    joined = policy_spans(both, {"pii@1": spans_array([[Span(0, 6, "EMAIL", 1.0)]]), "pii_names@1": names})
    assert [(s["start"], s["kind"]) for s in joined[0].as_py()] == [(0, "EMAIL")]
    with pytest.raises(KeyError):
        policy_spans(both, columns)


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
    "https://corp-x.de/a",
    "www.corp-x.com",
    "corp-x.com",
    "12 Glyn Street",
    "Apt. 329",
    "Hauptstraße 12",
    "Berlin",
    "10115",
    "\n<ann42> ",
    "\nann_k: ",
    "\nrob-7: ",
    "ann42",
    "thanks @bob",
    "3c:97:0e:e9:28:8e",
    "IMEI 490154203237518",
    "gps 48.85837, 2.29448",
    "536-90-4399",
    "390.533.447-05",
    "S1234567D",
    "my name is Ann Bell",
    "Mr. Bell",
    "40°26'46\"N 79°58'56\"W",
    "user-000000000000@example.com",
    "192.0.2.1",
    "+1-202-555-0100",
    "<KEY_0123456789ab>",
    "username_0",
    "2001:db8:0:0:0:1::1",
    "0000-0000-0000-0000",
]


POLICIES = [
    Policy.from_mapping(value) for value in ({"kinds": {"KEY": "placeholder"}}, RESERVED_POLICY, KEYED, WITH_URLS)
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join), st.sampled_from(POLICIES))
def test_idempotent(text: str, policy: Policy) -> None:
    once, applied = redact(text, detect(text), policy, KEY.encode())
    again, _ = redact(once, detect(once), policy, KEY.encode())
    assert again == once
    # Outside the spans nothing changed.
    rebuilt, done = [], 0
    replacements = replacement_texts(text, applied, policy, KEY.encode())
    for span, replacement in zip(applied, replacements, strict=True):
        if replacement is not None:
            rebuilt += [text[done : span.start], replacement]
            done = span.end
    assert "".join([*rebuilt, text[done:]]) == once


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=5).map("".join), max_size=6))
def test_neighbours_in_a_batch_change_nothing(texts: list[str]) -> None:
    assert detect_all(texts) == [detect(text) for text in texts]


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80))
def test_any_text(text: str) -> None:
    spans = detect(text)
    assert all(0 <= s.start < s.end <= len(text) for s in spans)
    plain = [s for s in spans if s.kind not in CONTAINERS]
    assert all(a.end <= b.start for a, b in zip(plain, plain[1:], strict=False))


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
        ("detectors: [patterns]", "kinds is missing"),
        ("[1]", "a mapping"),
        ("kinds: {EMAIL: keep, EMAIL: placeholder}", "policy.yaml:1:22: key 'EMAIL' stands twice"),
        ("kinds: {EMAIL", "policy.yaml:1:14: not YAML: "),
        ("name: x\n  kinds: {EMAIL: keep}", "policy.yaml:2:8: not YAML: mapping values are not allowed here"),
        ("kinds: {KEY: reserved}", "no range is reserved for it"),
        ("kinds: {PERSON: pseudonym}", "pseudonym needs a key"),
        ("kinds: {EMAIL: {detect: 1}}", "true or false"),
        ("key: {}\nkinds: {EMAIL: keep}", "one of env"),
        ("key: {env: A, file: B}\nkinds: {EMAIL: keep}", "one of env"),
        ("key: {env: 3}\nkinds: {EMAIL: keep}", "non-empty string"),
        ("key: {envv: A}\nkinds: {EMAIL: keep}", "did you mean 'env'"),
        ("detectors: [pattern]\nkinds: {EMAIL: keep}", "did you mean 'patterns'"),
        ("detectors: patterns\nkinds: {EMAIL: keep}", "a list of names"),
        ("detectors: []\nkinds: {EMAIL: keep}", "one or more"),
        ("detectors: [bigcode@1, patterns]\nkinds: {EMAIL: keep}", "no other detector"),
    ],
)
def test_policy_errors(tmp_path: Path, yaml: str, message: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(yaml, encoding="utf-8")
    with pytest.raises(PolicyError, match=message) as error:
        load_policy(path)
    assert "policy.yaml" in str(error.value)


def test_a_policy_file_of_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes("kinds: {EMAIL: keep}".encode("utf-8-sig"))
    assert load_policy(path).kinds["EMAIL"].action == "keep"
    path.write_bytes("kinds: {EMAIL: keep}".encode("utf-16"))
    with pytest.raises(PolicyError, match="policy.yaml: not UTF-8: byte 0"):
        load_policy(path)


def test_policy_file_and_unknown_name(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("name: strict\nkinds:\n  KEY: {action: drop_document, min_confidence: 0.8}\n", encoding="utf-8")
    policy = load_policy(str(path))
    assert policy.kinds["KEY"].action == "drop_document" and policy.kinds["EMAIL"].action == "placeholder"
    assert Policy.from_mapping(policy.to_mapping()) == policy
    with pytest.raises(PolicyError, match="built in: bigcode@1, default, strict"):
        load_policy("defualt")
