from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.annotate import annotation_shard
from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.ingest import document_shard
from pipelines.rules import FamilyRule
from pipelines.shards import write_shard
from pipelines.split import _MEMBER, HeldOut, Plan, _rows, group_of, split_of, twins
from tests.conftest import document_batch


def group(by: str, **known: str) -> str:
    fields: dict[str, str | None] = dict.fromkeys(("url", "repo", "path", "cluster"))
    return group_of(by, doc_id="d", **{**fields, **known})  # type: ignore[arg-type]


def test_groups_are_hosts_repositories_directories() -> None:
    assert group("host", url="https://www.example.org:8080/a?b") == "host:example.org"
    assert group("repo", repo="owner/name", path="src/a.py") == "repo:owner/name"
    assert group("directory", repo="owner/name", path="src/lib/a.py") == "directory:owner/name/src/lib"


def test_without_a_host_the_cluster_is_the_group_and_else_the_document() -> None:
    assert group("host", cluster="c1") == "cluster:c1"
    assert group("host", url="not a url") == "document:d"
    assert group("document", cluster="c1", url="https://example.org") == "document:d"


def test_documents_of_a_group_stand_on_one_side() -> None:
    rows = [{"text": "x", "url": f"https://host{i % 40}.example/{i}"} for i in range(400)]
    held_out = HeldOut(0.3, 0, {"s": "host"})
    groups = held_out.groups(document_batch(*rows), [None] * 400)
    sides: dict[str, set[bool]] = {}
    for name, held in zip(groups, held_out.held_out(groups), strict=True):
        sides.setdefault(name, set()).add(bool(held))
    assert len(sides) == 40 and all(len(side) == 1 for side in sides.values())
    assert {True, False} == set().union(*sides.values())


members = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 50), st.integers(0, 1)))


@given(members)
def test_twins_are_the_train_members_of_clusters_with_a_held_out_document(
    rows: list[tuple[int, ...]],
) -> None:
    found = twins(np.array(rows, dtype=_MEMBER))
    held = {cluster for cluster, _, _, held_out in rows if held_out}
    assert sorted(found.tolist()) == sorted(r for r in rows if not r[3] and r[0] in held)


def test_every_document_has_one_of_five_places() -> None:
    assert split_of(True, True, False, False) == "held_out"
    assert split_of(True, True, True, False) == "held_out_duplicate"
    assert split_of(True, False, True, True) == "held_out_twin"
    assert split_of(True, False, True, False) == "train"
    assert split_of(False, False, True, False) == "out_of_scope"


def test_what_hosts_say_is_out_of_scope_beside_what_the_recipe_says(tmp_path: Path) -> None:
    documents = document_batch({"text": "a"}, {"text": "b", "kind": "reservation"}, {"text": "c"})
    write_shard(document_shard(str(tmp_path), 0), DOCUMENT_SCHEMA, [documents])
    judged = pa.table({
        "doc_id": ["d0", "d1", "d2"], "keep": [True, True, False], "rule": [None, None, "words"],
        "value": pa.nulls(3, pa.float64()), "threshold": pa.nulls(3, pa.float64()),
    })  # fmt: skip
    write_shard(annotation_shard(str(tmp_path), "family@x", 0), judged.schema, judged.to_batches())
    for scope, expected in (
        ((), [None, "host_file", None]),
        ((FamilyRule("family@x"),), [None, "host_file", "family@x/words"]),
    ):
        rows = list(_rows(str(tmp_path), 0, Plan(HeldOut(1.0, 0, {"s": "document"}), scope)))
        assert [row.scope_rule for row in rows] == expected
        assert [row.held_out for row in rows] == [rule is None for rule in expected]
