"""Quality on synthetic sentences with gold spans; a list of things that only look like personal data."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from pii import detect

KIND = {
    "EMAIL_ADDRESS": "EMAIL",
    "IP_ADDRESS": "IP_ADDRESS",
    "PHONE_NUMBER": "PHONE",
    "CREDIT_CARD": "CREDIT_CARD",
    "IBAN_CODE": "IBAN",
}
LEAST_F1 = {"EMAIL": 1.0, "IP_ADDRESS": 1.0, "IBAN": 1.0, "CREDIT_CARD": 0.95, "PHONE": 0.95}


def shared(name: str) -> Path:
    roots = [Path(os.environ["GRISTMILL_SHARED"])] if "GRISTMILL_SHARED" in os.environ else []
    roots += [parent / "shared" for parent in Path(__file__).resolve().parents]
    for root in roots:
        if (root / name).exists():
            return root / name
    pytest.skip(f"{name} is absent; GRISTMILL_SHARED names the folder that holds it")


def covered(start: int, end: int, spans: list[tuple[int, int]]) -> bool:
    """Whether spans cover at least half of [start, end)."""
    return sum(max(0, min(end, b) - max(start, a)) for a, b in spans) >= 0.5 * (end - start)


def test_f1_on_synthetic_sentences() -> None:
    gold, hit, predicted, right = Counter(), Counter(), Counter(), Counter()
    with shared("data/pii-presidio/synth_v2.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows:
        want = [
            (KIND[s["entity_type"]], s["start_position"], s["end_position"])
            for s in row["spans"]
            if s["entity_type"] in KIND
        ]
        have = [(s.kind, s.start, s.end) for s in detect(row["full_text"]) if s.confidence >= 0.5]
        for kind, start, end in want:
            gold[kind] += 1
            hit[kind] += covered(start, end, [h[1:] for h in have if h[0] == kind])
        for kind, start, end in have:
            predicted[kind] += 1
            right[kind] += covered(start, end, [w[1:] for w in want if w[0] == kind])
    for kind, least in LEAST_F1.items():
        recall, precision = hit[kind] / gold[kind], right[kind] / max(1, predicted[kind])
        f1 = 2 * recall * precision / max(1e-9, recall + precision)
        assert f1 >= least, f"{kind}: F1 {f1:.3f}, precision {precision:.3f}, recall {recall:.3f}"
    assert predicted["KEY"] == 0


LOOKALIKES = Path(__file__).parents[1] / "data" / "pii" / "lookalikes.txt"
LINES = [
    line
    for line in LOOKALIKES.read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("## ")
]


def test_there_are_enough_lookalikes() -> None:
    assert len(LINES) >= 200 and len(set(LINES)) == len(LINES)


@pytest.mark.parametrize("line", LINES)
def test_lookalike(line: str) -> None:
    for text in (line, f"x\n{line}\ny", f'"{line}"', f"# {line}."):
        assert [(s.kind, text[s.start : s.end]) for s in detect(text) if s.confidence >= 0.5] == []
