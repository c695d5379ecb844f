"""Quality on synthetic sentences with gold spans; a list of things that only look like personal data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pii import Policy, Span, load_policy, names, redact
from pii.evaluate import Gold, GoldError, Score, all_spans, evaluate, pattern_spans, read_gold
from pii.replacements import RESERVED

# The whole set; and half of its templates, which no rule was made with (those of odd number).
LEAST_F1 = {
    "EMAIL": 1.0,
    "IP_ADDRESS": 1.0,
    "IBAN": 1.0,
    "URL": 1.0,
    "CREDIT_CARD": 0.95,
    "PHONE": 0.95,
    "ADDRESS": 0.55,
}
LEAST_HELD_OUT = {"EMAIL": 1.0, "IBAN": 1.0, "URL": 1.0, "CREDIT_CARD": 0.95, "PHONE": 0.9, "ADDRESS": 0.5}
# With names: at least presidio's default (its LOCATION holds street addresses), measured on the same set.
LEAST_WITH_NAMES = {
    "PERSON": 0.66,
    "LOCATION+ADDRESS": 0.6,
    "ADDRESS": 0.5,
    "ORGANIZATION": 0.3,
    "NRP": 0.67,
    "DATE_TIME": 0.23,
}
GOLD = "data/pii-presidio/synth_v2.jsonl"


def shared(name: str) -> Path:
    roots = [Path(os.environ["GRISTMILL_SHARED"])] if "GRISTMILL_SHARED" in os.environ else []
    roots += [parent / "shared" for parent in Path(__file__).resolve().parents]
    for root in roots:
        if (root / name).exists():
            return root / name
    pytest.skip(f"{name} is absent; GRISTMILL_SHARED names the folder that holds it")


@pytest.fixture(scope="module")
def gold() -> list[Gold]:
    return list(read_gold(shared(GOLD)))


def test_f1_on_synthetic_sentences(gold: list[Gold]) -> None:
    scores = evaluate(gold, pattern_spans).scores
    assert {kind: scores[kind].f1 for kind, least in LEAST_F1.items() if (scores[kind].f1 or 0) < least} == {}


def test_f1_on_held_out_templates(gold: list[Gold]) -> None:
    scores = evaluate([row for row in gold if int(row.group) % 2], pattern_spans).scores
    assert {kind: scores[kind].f1 for kind, least in LEAST_HELD_OUT.items() if (scores[kind].f1 or 0) < least} == {}


@pytest.mark.skipif(not names.available(), reason="needs gristmill[pii]")
def test_f1_with_names(gold: list[Gold]) -> None:
    scores = evaluate(gold, all_spans).scores
    assert {kind: scores[kind].f1 for kind, least in LEAST_WITH_NAMES.items() if (scores[kind].f1 or 0) < least} == {}
    assert {kind: scores[kind].f1 for kind, least in LEAST_F1.items() if (scores[kind].f1 or 0) < least} == {}


def test_redacting_the_sentences_twice_changes_nothing(gold: list[Gold]) -> None:
    kinds = {**{kind: "reserved" for kind in RESERVED}, "PERSON": "placeholder"}
    for policy in (load_policy("default"), Policy.from_mapping({"kinds": kinds})):
        texts = [row.text for row in gold]
        once = [redact(text, spans, policy)[0] for text, spans in zip(texts, pattern_spans(texts), strict=True)]
        again = [redact(text, spans, policy)[0] for text, spans in zip(once, pattern_spans(once), strict=True)]
        assert once == again and once != texts


def test_scores_by_hand() -> None:
    texts = [Gold("abcdefghij klmnop", ((0, 10, "EMAIL"), (11, 17, "PHONE"), (2, 4, "TITLE")))]
    spans = [Span(0, 5, "EMAIL", 1.0), Span(11, 13, "PHONE", 0.9), Span(11, 17, "IBAN", 0.9), Span(0, 1, "KEY", 0.3)]
    result = evaluate(texts, lambda some: [spans for _ in some])
    assert result.scores["EMAIL"] == Score(gold=1, found=1, predicted=1, right=1)
    assert result.scores["PHONE"] == Score(gold=1, found=0, predicted=1, right=1)
    assert result.scores["IBAN"] == Score(predicted=1) and result.scores["TITLE"] == Score(gold=1)
    assert "KEY" not in result.scores  # below the confidence
    assert (result.scores["EMAIL"].f1, result.scores["PHONE"].f1, result.scores["IBAN"].f1) == (1.0, 0.0, 0.0)
    assert result.scores["EMAIL"].f1_strict == 0.0
    assert result.missed == {"PHONE": ("klmnop",), "TITLE": ("cd",)} and result.wrong == {"IBAN": ("klmnop",)}
    assert result.overall == Score(gold=3, found=1, predicted=2, right=2)
    assert "EMAIL" in result.table() and result.to_mapping()["kinds"]["EMAIL"]["f1"] == 1.0


def test_places_count_together_too() -> None:
    texts = [Gold("12 Glyn Street, Berlin", ((0, 14, "ADDRESS"), (16, 22, "LOCATION")))]
    result = evaluate(texts, lambda some: [[Span(0, 22, "ADDRESS", 1.0)] for _ in some])
    assert result.scores["LOCATION+ADDRESS"].f1 == 1.0 and result.scores["LOCATION"].f1 == 0.0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: not JSON"),
        ("[1]", "expected an object"),
        ('{"text": 3, "spans": []}', "needs the keys text"),
        ('{"text": "abc"}', "needs the keys text"),
        ('{"text": "abc", "spans": [{"start": 0, "end": 4, "kind": "EMAIL"}]}', "0 <= start < end <= 3"),
        ('{"text": "abc", "spans": [{"start": 2, "end": 2, "kind": "EMAIL"}]}', "0 <= start < end <= 3"),
        ('{"text": "abc", "spans": [{"start": 0, "end": 2}]}', "kind"),
        ('{"text": "abc", "spans": [3]}', "kind"),
    ],
)
def test_wrong_gold(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(GoldError, match=message):
        list(read_gold(path))
    with pytest.raises(GoldError, match="cannot be read"):
        list(read_gold(tmp_path / "absent.jsonl"))


LOOKALIKES = Path(__file__).parents[1] / "data" / "pii" / "lookalikes.txt"
CONSTANTS = LOOKALIKES.with_name("constants.txt")
DEFAULT = load_policy("default")


def lines_of(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("## ")]


def found(texts: list[str]) -> list[tuple[str, str, str]]:
    """What a policy that looks for every kind but URLs acts on."""
    return [
        (span.kind, text[span.start : span.end], text)
        for text, spans in zip(texts, pattern_spans(texts), strict=True)
        for span in spans
        if span.kind != "URL" and span.confidence >= DEFAULT.kinds[span.kind].min_confidence
    ]


def test_lookalikes() -> None:
    lines = lines_of(LOOKALIKES)
    assert len(lines) >= 200 and len(set(lines)) == len(lines)
    assert found([form for line in lines for form in (line, f"x\n{line}\ny", f'"{line}"', f"# {line}.")]) == []


def test_a_thousand_constants_of_programs_are_nobodys() -> None:
    """Version numbers, dates, hashes, UUIDs and constants, alone and as programs and texts have them."""
    lines = lines_of(CONSTANTS)
    assert len(lines) == 1000 and len(set(lines)) == len(lines)
    forms = (
        "{}",
        'x = "{}"',
        "foo({}, 1)",
        "# since {}.",
        "The build of {} failed",
        "- {}\n- {}\n",
        "<td>{}</td>",
    )
    assert found([form.replace("{}", line) for line in lines for form in forms]) == []
