"""Which document of a cluster stays."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.keep import PRESETS, KeepKey, Policy, choose_kept, keep_order, parse_keep

IDS = ["d", "b", "a", "c"]


def first(policy: Policy, columns: dict[str, pa.Array], ids: list[str] = IDS) -> list[str]:
    """The ids in order of keep, all in one group."""
    encoded = [key.encoded(columns[key.column]) for key in policy]
    order = keep_order(pa.array([0] * len(ids)), encoded, pa.array(ids), policy)
    return [ids[i] for i in order]


@pytest.mark.parametrize(
    "key,values,expected",
    [
        ("meta.stars desc", ["9", "10", None, "many"], "bdac"),
        ("meta.stars", ["9", "10", None, "many"], "dbac"),
        ("score desc", pa.array([0.5, float("nan"), 0.75, None]), "adbc"),
        ("score asc", pa.array([3, 2, 2, None]), "abdc"),
        ("flag desc", pa.array([False, None, True, True]), "acdb"),
        ("path", ["b", "a", "A", None], "abdc"),
        ("url text desc", ["b", "a", "é", None], "adbc"),
        ("timestamp desc", ["2020-01-02T00:00:00Z", "2020-01-02T01:30:00+02:00", "2021", "nonsense"], "dbac"),
        ("timestamp", ["2020-01-02", "2020-01-01T23:59:59.999999", "2020-01-02T00:00:00", None], "badc"),
        ("length", pa.array([3.0, 7.0, 7.0, 1.0]), "abdc"),
        ("length asc", pa.array([3.0, 7.0, 7.0, 1.0]), "cdab"),
        # md5: d e358efa4..., b 92eb5ffe..., a 0cc175b9..., c 4a8a08f0... of "f", "b", "a", "c"
        ("url md5", ["f", "b", "a", "c"], "acdb"),
        ({"column": "source", "values": ["wiki", "books"]}, ["web", "books", None, "wiki"], "cbda"),
    ],
)  # fmt: skip
def test_one_key(key: object, values: object, expected: str) -> None:
    policy = parse_keep([key])
    column = values if isinstance(values, pa.Array) else pa.array(values, pa.string())
    assert "".join(first(policy, {policy[0].column: column})) == expected


def test_dates_of_any_type() -> None:
    when = [datetime.datetime(2020, 1, day, tzinfo=datetime.UTC) for day in (1, 3, 2)]
    policy = parse_keep([{"column": "x.when", "as": "date", "order": "desc"}])
    assert first(policy, {"x.when": pa.array([*when, None])}) == ["b", "a", "d", "c"]


def test_the_stack_goes_by_licence_then_stars_forks_and_dates() -> None:
    rows = [  # id, licence, stars, forks, revision, visit
        ("e", "permissive", "5", "1", "2020-01-01T00:00:00", "2021-01-01T00:00:00"),
        ("f", "permissive", "5", "1", "2020-01-01T00:00:00", "2022-01-01T00:00:00"),
        ("d", "permissive", "5", "1", "2021-01-01T00:00:00", None),
        ("c", "permissive", "5", "2", None, None),
        ("b", "permissive", "6", None, None, None),
        ("g", "no_license", "99999", "1", None, None),
        ("h", "copyleft", "99999", "9", None, None),
        ("i", "permissive", None, "9", None, None),
        ("a", None, "999999", "9", None, None),
    ]
    ids, *columns = (list(column) for column in zip(*rows, strict=True))
    names = [key.column for key in PRESETS["stack_v2"]]
    arrays = dict(zip(names, (pa.array(c, pa.string()) for c in columns), strict=True))
    assert "".join(first(parse_keep("stack_v2"), arrays, ids)) == "bcdfeigha"


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=20))
def test_short_names_are_what_they_were(members: list[tuple[int, int]]) -> None:
    """The first of a group in order of keep is the one that the plain definition chooses."""
    ids = [f"{(i * 7) % 20:02d}" for i in range(len(members))]
    groups = np.array([group for group, _ in members])
    for name in ("longest", "smallest_id"):
        policy = parse_keep(name)
        columns = [pa.array([float(size) for _, size in members])] * len(policy)
        order = keep_order(pa.array(groups), columns, pa.array(ids), policy)
        assert groups[order].tolist() == sorted(groups.tolist())
        for group in set(groups.tolist()):
            own = [i for i in range(len(members)) if groups[i] == group]
            expected = own[choose_kept([(ids[i], members[i][1]) for i in own], name)]  # type: ignore[arg-type]
            assert next(i for i in order.tolist() if groups[i] == group) == expected


@pytest.mark.parametrize(
    "value,message",
    [
        ("newest", "allowed are longest, smallest_id, stack_v2, c4_url and a list"),
        ([], "and a list of keys"),
        (None, "keep is None"),
        ([7], "expected a text or a mapping"),
        ([""], "names no column"),
        (["stars sideways"], "'sideways' is none of asc, desc, number"),
        ([{"order": "asc"}], "with the key column"),
        ([{"column": "stars", "sort": "asc"}], "unknown 'sort'"),
        ([{"column": "stars", "order": "up"}], "order is 'up', allowed are asc, desc"),
        ([{"column": "stars", "as": "int"}], "allowed are number, text, date, md5"),
        ([{"column": "source", "values": "wiki"}], "expected a list of texts"),
        ([{"column": "source", "values": ["a", "a"]}], "named twice"),
    ],
)
def test_wrong_policies(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_keep(value)


def test_a_key_says_what_it_does() -> None:
    assert KeepKey("source", values=("a",)).describe() == {"column": "source", "values": ["a"]}
    assert parse_keep(["length"])[0].describe() == {"column": "length", "order": "desc", "as": "number"}
    assert parse_keep(parse_keep("stack_v2")) == PRESETS["stack_v2"]
