from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.rules import (
    ColumnRule,
    DuplicateRule,
    FamilyRule,
    RandomRule,
    WordRule,
    decide,
    random_cut,
    random_salt,
    uniform_hash,
)
from tests.conftest import document_batch


def family(keep: list[bool | None], rule: list[str | None]) -> pa.RecordBatch:
    return pa.record_batch(
        {
            "keep": pa.array(keep, pa.bool_()),
            "rule": pa.array(rule, pa.string()),
            "value": pa.array([0.5 if r else None for r in rule], pa.float64()),
            "threshold": pa.array([0.1 if r else None for r in rule], pa.float64()),
        }
    )


def test_a_family_names_its_rule_value_and_threshold() -> None:
    batch = document_batch(*[{"text": t} for t in "abc"])
    columns = {"gopher@datatrove": family([True, False, None], [None, "words", None])}
    verdicts = FamilyRule("gopher@datatrove").judge(batch, columns)
    assert verdicts.passed.tolist() == [True, False, False]
    assert verdicts.rule == [None, "gopher@datatrove/words", "gopher@datatrove/not_annotated"]
    assert (verdicts.value, verdicts.threshold) == ([None, 0.5, None], [None, 0.1, None])


def test_dedup_drops_what_names_another_document() -> None:
    batch = document_batch({"text": "a"}, {"text": "b"})
    columns = pa.record_batch(
        {"duplicate_of": pa.array([None, "d0"]), "similarity": pa.array([None, 0.9], pa.float64())}
    )
    verdicts = DuplicateRule(threshold=0.8).judge(batch, {"dedup": columns})
    assert verdicts.passed.tolist() == [True, False]
    assert (verdicts.value, verdicts.threshold) == ([None, 0.9], [None, 0.8])


def test_a_column_rule_reads_flat_numbers_and_document_spans() -> None:
    batch = document_batch(*[{"text": t} for t in "abcd"])
    span = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32()), ("score", pa.float64())]))
    spans = [[{"start": 0, "end": 1, "score": s}] for s in (5.0, 50.0, 500.0)]
    columns = pa.record_batch({"flat": [5, 50, 500, None], "spans": pa.array([*spans, []], span)})
    for column in ("flat", "spans"):
        verdicts = ColumnRule("x@1", column, 10, 100).judge(batch, {"x@1": columns})
        assert verdicts.passed.tolist() == [False, True, False, False]
        assert verdicts.rule == [f"x@1/{column}/min", None, f"x@1/{column}/max", f"x@1/{column}/is_null"]
        assert verdicts.threshold == [10, None, 100, None]


def test_a_word_rule_keeps_the_named_words_and_no_null() -> None:
    batch = document_batch(*[{"text": t} for t in "abc"])
    columns = pa.record_batch({"language": pa.array(["en", "de", None])})
    verdicts = WordRule("language@1", "language", ("en", "fr")).judge(batch, {"language@1": columns})
    assert verdicts.passed.tolist() == [True, False, False]
    assert verdicts.rule == [None, "language@1/language/de", "language@1/language/is_null"]


def test_the_first_failed_rule_decides_and_later_rules_do_not_count_the_row() -> None:
    batch = document_batch(*[{"text": t} for t in "abc"])
    columns = {
        "first": family([True, False, False], [None, "r1", "r1"]),
        "second": family([False, False, True], ["r2", "r2", None]),
    }
    rules = [FamilyRule("first"), FamilyRule("second")]
    decision = decide(rules, batch, columns, np.array([True, True, False]))
    assert decision.passed.tolist() == [False, False, False]
    assert decision.rule == ["second/r2", "first/r1", None]
    assert [dropped.sum() for dropped in decision.by_step] == [1, 1]


@given(st.lists(st.text(max_size=8), min_size=1, max_size=20), st.text(max_size=5))
def test_uniform_hash_depends_on_id_and_salt_alone(ids: list[str], salt: str) -> None:
    numbers = uniform_hash(ids, salt)
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert uniform_hash(ids[::-1], salt).tolist() == numbers.tolist()[::-1]


@given(st.integers(0, 50), st.integers(0, 60))
def test_a_random_cut_keeps_exactly_as_many(documents: int, keep: int) -> None:
    numbers = uniform_hash([f"d{i}" for i in range(documents)], "salt")
    assert (numbers < random_cut(numbers, keep)).sum() == min(keep, documents)


def test_a_random_rule_knows_the_sources_apart() -> None:
    batch = document_batch(*[{"text": "x", "source": "a" if i % 2 else "b"} for i in range(2000)])
    numbers = uniform_hash(batch.column("doc_id").to_pylist(), random_salt("gopher"))
    cuts = {"a": random_cut(numbers[1::2], 250), "b": random_cut(numbers[0::2], 900)}
    passed = RandomRule("gopher", cuts).judge(batch, {}).passed
    assert (passed[1::2].sum(), passed[0::2].sum()) == (250, 900)
