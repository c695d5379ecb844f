"""Which document of a cluster stays: an ordered list of keys over columns, then the smallest doc_id.

A key names a column, an order and how its values are read:

    length desc                                    characters of the text, as the policy `longest`
    meta.stars desc                                what the source knew, as a number
    timestamp desc                                 a date
    {column: license@1.license_class, values: [permissive, no_license]}      listed values in this order, then others
    {column: source, values: [wikipedia, books]}   priority of sources
    gopher@dolma.fraction_of_... asc               a column of an annotation: <annotator>.<column>
    url md5                                        the smallest MD5 of the value (hexadecimal)

A value that is null, not a number or not a date comes last whatever the order; equals are told apart by the next
key, and in the end by the doc_id, so the order is total and a function of content.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Keep = Literal["longest", "smallest_id"]
KEEP_POLICIES: tuple[Keep, ...] = ("longest", "smallest_id")
Order = Literal["asc", "desc"]
Reading = Literal["number", "text", "date", "md5"]
ORDERS: tuple[Order, ...] = ("asc", "desc")
READINGS: tuple[Reading, ...] = ("number", "text", "date", "md5")
LENGTH = "length"
META = "meta."
_DATES = ("timestamp",)
# Documents have these as text; other columns are numbers unless told otherwise.
_TEXTS = frozenset(
    "doc_id source kind url repo path commit mime content_sha256 swhid language programming_language".split()
)


@dataclasses.dataclass(frozen=True, slots=True)
class KeepKey:
    """column   `length`, a column of the documents, meta.<key>, or <annotator>.<column>
    order    asc: the smallest value stays, desc: the greatest
    values   the value that stays first, second, ...; all others come after these (then order and reading are unused)
    reading  how a value is compared: as a number, a text (by code point), a date or by its MD5
    """

    column: str
    order: Order = "asc"
    values: tuple[str, ...] = ()
    reading: Reading = "number"

    def __post_init__(self) -> None:
        if not self.column:
            raise ValueError("a key of keep names no column")
        if self.order not in ORDERS:
            raise ValueError(f"keep, key {self.column}: order is {self.order!r}, allowed are {', '.join(ORDERS)}")
        if self.reading not in READINGS:
            raise ValueError(f"keep, key {self.column}: read as {self.reading!r}, allowed are {', '.join(READINGS)}")
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"keep, key {self.column}: a value is named twice in {list(self.values)}")

    def describe(self) -> dict[str, Any]:
        """What a manifest says of the key."""
        told: dict[str, Any] = {"column": self.column}
        return {**told, "values": list(self.values)} if self.values else {
            **told, "order": self.order, "as": self.reading
        }  # fmt: skip

    def encoded(self, column: pa.Array) -> pa.Array:
        """float64, int64 or string of which the smallest value stays, or the greatest where `descending`."""
        if self.values:
            return _by_list(column, self.values)
        return _ENCODINGS[self.reading](column)

    @property
    def type(self) -> pa.DataType:
        if self.values:
            return pa.int64()
        return {"number": pa.float64(), "date": pa.int64()}.get(self.reading, pa.string())

    @property
    def descending(self) -> bool:
        return not self.values and self.order == "desc"


Policy = tuple[KeepKey, ...]

PRESETS: Mapping[str, Policy] = {
    "longest": (KeepKey(LENGTH, "desc"),),
    "smallest_id": (),
    # The Stack v2, bigcode-project/the-stack-v2 @ 9172041, near-dedup script: licence, stars, forks, revision date,
    # visit date.  The document's timestamp is its revision date.
    "stack_v2": (
        KeepKey("license@1.license_class", values=("permissive", "no_license")),
        KeepKey("meta.stars", "desc"),
        KeepKey("meta.forks", "desc"),
        KeepKey("timestamp", "desc", reading="date"),
        KeepKey("meta.visit_date", "desc", reading="date"),
    ),
    # C4, tensorflow-datasets text/c4_utils.py: of all pages with a line, the one with the smallest MD5 of its URL.
    "c4_url": (KeepKey("url", reading="md5"),),
}


def parse_keep(value: object) -> Policy:
    """A preset's name, or a list of keys: texts like "meta.stars desc" or mappings like {column: ..., values: [...]}.

    Raises ValueError that says what was found and what is allowed.
    """
    if isinstance(value, str) and value in PRESETS:
        return PRESETS[value]
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return tuple(_parse_key(key) for key in value)
    raise ValueError(f"keep is {value!r}, allowed are {', '.join(PRESETS)} and a list of keys")


def _parse_key(value: object) -> KeepKey:
    if isinstance(value, KeepKey):
        return value
    if isinstance(value, str):
        column, *rest = value.split() or [""]
        told: dict[str, Any] = {"column": column}
        for word in rest:
            if word not in (*ORDERS, *READINGS):
                raise ValueError(f"keep, key {value!r}: {word!r} is none of {', '.join((*ORDERS, *READINGS))}")
            told["order" if word in ORDERS else "as"] = word
        value = told
    if not isinstance(value, Mapping) or not isinstance(value.get("column"), str):
        raise ValueError(f"keep, key {value!r}: expected a text or a mapping with the key column")
    unknown = sorted(set(value) - {"column", "order", "values", "as"})
    if unknown:
        raise ValueError(f"keep, key {value['column']}: unknown {unknown[0]!r}, allowed are column, order, values, as")
    column = value["column"]
    values = value.get("values", ())
    if isinstance(values, str) or not all(isinstance(v, str) for v in values):
        raise ValueError(f"keep, key {column}: values is {values!r}, expected a list of texts")
    reading = value.get("as", _usual_reading(column))
    usual = "desc" if column == LENGTH else "asc"
    return KeepKey(column, value.get("order", usual), tuple(values), reading)


def _usual_reading(column: str) -> Reading:
    if column in _DATES:
        return "date"
    return "text" if column in _TEXTS else "number"


def _by_list(column: pa.Array, values: Sequence[str]) -> pa.Array:
    places = pc.index_in(column.cast(pa.string()), pa.array(list(values), pa.string()))
    others = pc.if_else(column.is_valid(), pa.scalar(len(values), pa.int32()), pa.scalar(None, pa.int32()))
    return pc.coalesce(places, others).cast(pa.int64())


def _as_number(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers = column.cast(pa.float64(), safe=False)
        return pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
    return pa.array([_number(value) for value in column.to_pylist()], pa.float64())


def _number(value: object) -> float | None:
    try:
        number = float(cast(str, value))
    except (TypeError, ValueError):
        return None
    return None if math.isnan(number) else number


def _as_date(column: pa.Array) -> pa.Array:
    return pa.array([_microseconds(value) for value in column.to_pylist()], pa.int64())


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def _microseconds(value: object) -> int | None:
    """Since 1970 in UTC; a date without a zone is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if not isinstance(value, datetime.datetime):
        return None
    aware = value if value.tzinfo is not None else value.replace(tzinfo=datetime.UTC)
    return (aware - _EPOCH) // datetime.timedelta(microseconds=1)


def _as_md5(column: pa.Array) -> pa.Array:
    texts = column.cast(pa.string()).to_pylist()
    return pa.array(
        [None if t is None else hashlib.md5(t.encode(), usedforsecurity=False).hexdigest() for t in texts], pa.string()
    )


def _as_text(column: pa.Array) -> pa.Array:
    return column.cast(pa.string())


_ENCODINGS: Mapping[Reading, Callable[[pa.Array], pa.Array]] = {
    "number": _as_number,
    "text": _as_text,
    "date": _as_date,
    "md5": _as_md5,
}


def keep_order(
    groups: pa.Array, columns: Sequence[pa.Array], doc_ids: pa.Array, policy: Policy
) -> npt.NDArray[np.int64]:
    """Indices that sort documents by group, then by who stays first of a group.

    groups: [documents]; columns: for every key of the policy its `encoded` column; doc_ids: distinct strings.
    """
    names = [f"key{i}" for i in range(len(policy))]
    table = pa.table([groups, *columns, doc_ids], names=["group", *names, "doc_id"])
    orders = ["descending" if key.descending else "ascending" for key in policy]
    sorting = [("group", "ascending"), *zip(names, orders, strict=True), ("doc_id", "ascending")]
    return pc.sort_indices(table, sort_keys=sorting).to_numpy().astype(np.int64)  # nulls last


def choose_kept(members: Sequence[tuple[str, int]], policy: Keep) -> int:
    """Index of the document that stays of a cluster.  members: (doc_id, characters of its text).

    longest       the most characters, then the smallest doc_id
    smallest_id   the smallest doc_id
    """
    if not members:
        raise ValueError("a cluster without members has no document to keep")
    if policy == "longest":
        return min(range(len(members)), key=lambda i: (-members[i][1], members[i][0]))
    if policy == "smallest_id":
        return min(range(len(members)), key=lambda i: members[i][0])
    raise ValueError(f"keep is {policy!r}, allowed are {', '.join(KEEP_POLICIES)}")
