"""What each detector finds and leaves, with offsets in code points."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pii import ANNOTATORS, KINDS, detect, load_policy
from pii.annotate import detect_texts
from pii.checks import iban_lengths, issued, luhn
from pii.kinds import CONTAINERS, Span, resolve, settle

DEFAULT = load_policy("default")


def found(text: str, least: float = 0.5) -> list[tuple[str, str]]:
    """What the default policy acts on."""
    spans = (s for s in detect(text) if s.confidence >= least and DEFAULT.kinds[s.kind].detect)
    return [(s.kind, text[s.start : s.end]) for s in spans]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("mail bob.smith+tag@mail.example.org, please", "bob.smith+tag@mail.example.org"),
        ("<jane@example.com>", "jane@example.com"),
        ("see jane@example.com.", "jane@example.com"),
        ("ann@example.com.Then we left", "ann@example.com"),
        ("联系jane@example.com。", "jane@example.com"),
        ("an jürgen@münchen.de schreiben", "jürgen@münchen.de"),
        ("'\\nbob@example.com'", "bob@example.com"),
        ("\\u003cbob@example.com\\u003e", "bob@example.com"),
        ("mailto:bob@example.com?subject=x", "bob@example.com"),
        ("q@xn--bcher-kva.xn--p1ai", "q@xn--bcher-kva.xn--p1ai"),
        ("jane@example.com:8080", "jane@example.com"),
        ("https://ann@example.com/x", "ann@example.com"),
    ],
)
def test_email(text: str, address: str) -> None:
    assert found(text) == [("EMAIL", address)]


@pytest.mark.parametrize(
    "text",
    [
        "git@example.com:org/repo.git",
        "x = a@b.transpose(1)",
        "w@x.to(device)",
        "user@localhost",
        "@app.route",
        "a@b",
        "icon@2x.png",
        "lodash@4.17.21",
        "m @ n.T",
        "user@10.0.0.1",
        "a" * 70 + "@example.com",
        "x@-a.com",
    ],
)
def test_no_email(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("from 93.184.216.34 today", "93.184.216.34"),
        ("http://91.198.174.192/index", "91.198.174.192"),
        ("dns server 1.2.3.4 up", "1.2.3.4"),
        ("[2a00:1450:4001:81b::200e]", "2a00:1450:4001:81b::200e"),
        ("6e40:4041:c617:e898:c11:40d2:c669:2eb4", "6e40:4041:c617:e898:c11:40d2:c669:2eb4"),
        ("::ffff:93.184.216.34", "::ffff:93.184.216.34"),
        ('ip = "93.184.216.34"', "93.184.216.34"),
        ("93.184.216.34:8080", "93.184.216.34"),
        ("ended at 93.184.216.34.", "93.184.216.34"),
    ],
)
def test_ip(text: str, address: str) -> None:
    assert found(text) == [("IP_ADDRESS", address)]


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.5 172.16.0.9 192.168.1.1 127.0.0.1 0.0.0.0 255.255.255.255 169.254.1.1 100.64.0.1",
        "::1 fe80::1 fc00::2",
        "192.0.2.1 198.51.100.7 203.0.113.9 2001:db8::1",
        "8.8.8.8 1.1.1.1 2001:4860:4860::8888",
        "33.01.33.33",
        "256.1.1.1",
        "1.2.3.4.5",
        "std::vector abc::def a::b dead::beef",
        "00:1B:44:11:3A:B7",
        "00:11:22:33:44:55:66:77",
        "from section 7.2.1.1 on",
        "1:2:3:4:5:6:7:8",
        "12:30:45",
    ],
)
def test_no_ip(text: str) -> None:
    assert [span for span in found(text) if span[0] == "IP_ADDRESS"] == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+1 212 555 0123", "+1 212 555 0123"),
        ("call (212) 555-0123 now", "(212) 555-0123"),
        ("212-555-0123", "212-555-0123"),
        ("Tel.: +49 30 212341 210", "+49 30 212341 210"),
        ("tel:+4989123456789", "+4989123456789"),
        ("Phone: 0490 75 40 81", "0490 75 40 81"),
        ("Fax: 9498777106", "9498777106"),
        ("1-604-696-5272x565", "1-604-696-5272x565"),
        ("03.93.92.16.85", "03.93.92.16.85"),
    ],
)
def test_phone(text: str, number: str) -> None:
    assert found(text) == [("PHONE", number)]


@pytest.mark.parametrize(
    "text",
    [
        "2021-05-17 12:30:45",
        "17.05.2021",
        "1999-2001",
        "12/12/1999",
        "0.1234567",
        "x = 9498777106",
        "123 456 789",
        "1,234,567,890",
        "a[5551234567]",
        "phone model 3310",
        "$2125550123",
        "ISBN 978-3-16-148410-0",
        "1e+10000000",
        "x +12345678",
        "2125550123456789012",
    ],
)
def test_no_phone(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("4111 1111 1111 1111", "4111 1111 1111 1111"),
        ("card 4111111111111111", "4111111111111111"),
        ("5500-0055-5555-5559", "5500-0055-5555-5559"),
        ("amex 3782 822463 10005", "3782 822463 10005"),
        ("my cc 6011000990139424.", "6011000990139424"),
    ],
)
def test_card(text: str, number: str) -> None:
    assert found(text) == [("CREDIT_CARD", number)]


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",
        "1234567812345670",
        "0.4111111111111111",
        "id=4111111111111111",
        "a4111111111111111",
    ],
)
def test_no_card(text: str) -> None:
    assert found(text) == []


def test_luhn_and_issuers() -> None:
    assert luhn("4111111111111111") and not luhn("4111111111111112")
    assert issued("2221000000000009") and issued("378282246310005") and not issued("9111111111111111")
    assert not issued("41111111111111")  # Visa has 13, 16 or 19 digits


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("IBAN GB82 WEST 1234 5698 7654 32", "GB82 WEST 1234 5698 7654 32"),
        ("DE89370400440532013000", "DE89370400440532013000"),
        ("iban gb82west12345698765432.", "gb82west12345698765432"),
        ("FR14 2004 1010 0505 0001 3M02 606", "FR14 2004 1010 0505 0001 3M02 606"),
    ],
)
def test_iban(text: str, number: str) -> None:
    assert found(text) == [("IBAN", number)]


@pytest.mark.parametrize(
    "text",
    ["GB83WEST12345698765432", "DE8937040044053201300", "XX89370400440532013000", "xDE89370400440532013000"],
)
def test_no_iban(text: str) -> None:
    assert found(text) == []


def test_iban_registry() -> None:
    table = iban_lengths()
    assert table[(ord("D") - 65) * 26 + ord("E") - 65] == 22
    assert table[(ord("M") - 65) * 26 + ord("T") - 65] == 31
    assert table[(ord("N") - 65) * 26 + ord("O") - 65] == 15


BODY = "\n".join(["MIIEpAIBAAKCAQEA0Z3VS5JJcds3xfn/ygWyF8PbnGy0AHB7MhgHcTz6sE2I2yPB"] * 6)
PEM = "-----BEGIN " + "RSA PRIVATE KEY-----\n" + BODY + "\n-----END " + "RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJub25lIiwidHlwIjoiRkFLRSJ9.eyJzdWIiOiJmYWtlLWFscWpEOSJ9.D1LWINJ1yYBFvh3cpzNNybuXMVp0OeCQVSVkZepp1U9"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ('"AKIA' + 'FAKEA4HZJCIH8OIJ"', "AKIAFAKEA4HZJCIH8OIJ"),
        ("token = ghp_" + "FAKEvCqDIOiuchaNlFHBx84ZVMNVZXm9PNuN", "ghp_FAKEvCqDIOiuchaNlFHBx84ZVMNVZXm9PNuN"),
        (
            "SLACK=xoxb-" + "000000000000-FAKENvGyxT5Ljn7i1rSFLMB6",
            "xoxb-000000000000-FAKENvGyxT5Ljn7i1rSFLMB6",
        ),
        ("sk_live_" + "FAKEymXs9GqZS6Tp14MHdMzV", "sk_live_FAKEymXs9GqZS6Tp14MHdMzV"),
        ("&key=AIza" + "SyBTtfbvxgpHfw13LJF8oUnYsFI7IjCVGJA&x", "AIzaSyBTtfbvxgpHfw13LJF8oUnYsFI7IjCVGJA"),
        ('api_key = "5849cea82544f4de55e4bcf6fa0fb64f"', "5849cea82544f4de55e4bcf6fa0fb64f"),
        ("secret: Vz5i3feWJsbeJDQmUU22TjDxUHst2n02s4Ojgllx\n", "Vz5i3feWJsbeJDQmUU22TjDxUHst2n02s4Ojgllx"),
        ('"clientSecret": "q8Zr2Lw0Xp7Vt5Ny3Kd9"', "q8Zr2Lw0Xp7Vt5Ny3Kd9"),
    ],
)
def test_key(text: str, secret: str) -> None:
    assert found(text) == [("KEY", secret)]


@pytest.mark.parametrize(
    ("text", "kind", "secret"),
    [
        ("Bearer " + JWT, "JWT", JWT),
        (PEM, "PRIVATE_KEY", PEM),
        ('password = "hT7!kq29_z"', "PASSWORD", "hT7!kq29_z"),
        ("postgres://app:s3cr3tpw@db.example.com/x", "PASSWORD", "s3cr3tpw"),
    ],
)
def test_secrets_of_other_kinds(text: str, kind: str, secret: str) -> None:
    assert found(text) == [(kind, secret)]


@pytest.mark.parametrize(
    "text",
    [
        "key = 'user_name_2_field'",
        "sha1 = 'b78b8eac6dd10eafd2ef0071c9c82e75e7c5f748'",
        "token = tokenizer.next_token2()",
        'password = "${DB_PASSWORD_1}"',
        "api_key = os.environ['API_KEY_2']",
        "secret = 'xxxxxxxxxxxxxxxxxxxx1234'",
        "PRIMARY KEY = abc12345",
        'token = "a18830cc-1e3e-3ec9-52ab-59b84348226f"',
        "https://user:password@example.org/",
        'public_key = "Vz5i3feWJsbeJDQmUU22TjDxUHst2n02s4Oj"',
        "key == 'Vz5i3feWJsbeJDQmUU22TjDxUHst2n02s4Ojgllx'",
        "-----BEGIN " + "PUBLIC KEY-----\nMFww\n-----END PUBLIC KEY-----",
    ],
)
def test_no_key(text: str) -> None:
    assert found(text) == []


def test_offsets_are_code_points() -> None:
    text = "é😀漢 bob@example.com 😀 (212) 555-0123 ñ GB82WEST12345698765432"
    assert found(text) == [
        ("EMAIL", "bob@example.com"),
        ("PHONE", "(212) 555-0123"),
        ("IBAN", "GB82WEST12345698765432"),
    ]


def test_batch_equals_single_and_sliced() -> None:
    texts = ["a bob@example.com", "", "é 93.184.216.34", None, "nothing", "ü" * 50 + " x@y.de"]
    batch = pa.record_batch({"text": pa.array(texts, type=pa.large_string())})
    annotator = ANNOTATORS["pii@1"]()
    out = annotator.annotate(batch)
    assert out.schema.equals(annotator.schema, check_metadata=True)
    expected = [[s._asdict() for s in detect(t or "")] for t in texts]
    for row, spans in zip(out.column("spans").to_pylist(), expected, strict=True):
        assert [(s["start"], s["end"], s["kind"]) for s in row] == [(s["start"], s["end"], s["kind"]) for s in spans]
    assert annotator.annotate(batch.slice(2, 3)).column("spans").to_pylist() == out.column("spans").to_pylist()[2:5]


def test_nothing_crosses_documents() -> None:
    data = b"bob@exam" + b"ple.com" + b"4111 1111 " + b"1111 1111" + b"-----BEGIN RSA PRIVATE" + b" KEY-----"
    offsets = np.cumsum([0, 8, 7, 10, 9, 22, 9])
    assert [[s for s in spans if s.kind != "URL"] for spans in detect_texts(data, offsets)] == [[] for _ in range(6)]


def test_resolution_rule() -> None:
    long = Span(0, 10, "PHONE", 0.5)
    assert resolve([Span(2, 8, "EMAIL", 1.0), long]) == [long]  # longest
    sure = Span(0, 4, "PHONE", 0.9)
    assert resolve([Span(2, 6, "EMAIL", 0.8), sure]) == [sure]  # then surest
    assert resolve([Span(0, 4, "PHONE", 0.8), Span(0, 4, "EMAIL", 0.8)]) == [Span(0, 4, "EMAIL", 0.8)]  # then kind
    touching = [Span(0, 4, "PHONE", 0.9), Span(4, 8, "EMAIL", 0.8)]
    assert resolve(reversed(touching)) == touching
    chain = [Span(0, 5, "EMAIL", 1), Span(4, 12, "EMAIL", 1), Span(11, 16, "EMAIL", 1)]
    assert resolve(chain) == [chain[1]]


def test_container_kinds_overlap_others() -> None:
    text = "see https://app:s3cr3tpw@db.example.com/x"
    assert [(s.kind, text[s.start : s.end]) for s in detect(text)] == [
        ("URL", "https://app:s3cr3tpw@db.example.com/x"),
        ("PASSWORD", "s3cr3tpw"),
    ]
    spans = [Span(0, 9, "URL", 1.0), Span(2, 5, "EMAIL", 1.0), Span(4, 6, "PHONE", 0.9), Span(7, 12, "URL", 1.0)]
    assert settle(spans) == spans[:2]


def test_kinds_are_closed() -> None:
    assert set(KINDS) >= {
        "EMAIL",
        "IP_ADDRESS",
        "PHONE",
        "CREDIT_CARD",
        "IBAN",
        "KEY",
        "NATIONAL_ID",
        "PERSON",
        "ADDRESS",
    }
    assert set(KINDS) >= CONTAINERS and len(set(KINDS)) == len(KINDS)
