"""What a licence allows, in eight classes, from a table SPDX id -> class (data/classes.csv, with the basis of
each row).

How the table was made, so that nobody takes it for legal advice: the class is the category that ScanCode's
public licence index (LicenseDB, CC-BY-4.0, as shipped in the package license-expression 30.4.4) gives the id,
folded as Permissive -> permissive, Public Domain -> public_domain, Copyleft Limited -> copyleft_weak,
Copyleft -> copyleft_strong, Commercial, Free Restricted, Proprietary Free and Source-available ->
proprietary.  On top of that: Creative Commons NC, PolyForm Noncommercial, NCGL and Aladdin are
non_commercial; ids newer than that index were put in by reading their texts.  The Stack v2's permissive list
(Blue Oak Council's rated licences and ScanCode's Permissive and Public Domain) is nearly permissive +
public_domain here; that list itself was not available, so the two are not claimed to be equal.  Neither OSI
approval nor the FSF's opinion enters a class.
"""

from __future__ import annotations

import csv
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from licenses.expressions import exceptions, licensing

# From the freest to the most restrictive; an OR takes the first of its branches, an AND the last.
CLASSES: tuple[str, ...] = (
    "public_domain",
    "permissive",
    "copyleft_weak",
    "copyleft_strong",
    "no_license",
    "non_commercial",
    "unknown",
    "proprietary",
)
_RANK = {name: rank for rank, name in enumerate(CLASSES)}


# ScanCode's own ids have no row in classes.csv; those that its categories free are in data/permissive.csv.
_FREE = {"Permissive": "permissive", "Public Domain": "public_domain"}


@cache
def class_table() -> dict[str, str]:
    """SPDX id in lower case -> class; ScanCode's ids of permissive licences too."""
    data = resources.files("licenses").joinpath("data")
    with data.joinpath("permissive.csv").open(encoding="utf-8") as lines:
        free = {
            row["spdx_id"].lower(): _FREE[row["scancode"]]
            for row in csv.DictReader(lines)
            if row["spdx_id"].startswith("LicenseRef-") and row["scancode"]
        }
    with data.joinpath("classes.csv").open(encoding="utf-8") as lines:
        return free | {row["spdx_id"].lower(): row["license_class"] for row in csv.DictReader(lines)}


@lru_cache(maxsize=65536)
def license_class(expression: str | None) -> str:
    """The class of an SPDX expression: OR takes the freest branch, AND the most restrictive part.

    WITH keeps the licence's class, but strong copyleft with an exception for linking or generated code is
    copyleft_weak, a clause that takes rights away makes it proprietary, and an exception that is not in
    data/exceptions.csv makes it unknown.  NONE is no_license; null, NOASSERTION, ids not in the table and what does
    not parse are unknown.
    """
    if expression is None:
        return "unknown"
    try:
        tree = licensing().parse(expression)
    except Exception:  # the parser raises four unrelated error classes; all mean the same here
        return "unknown"
    return "unknown" if tree is None else _class_of(tree)


# Permissive licences whose text grants all rights without a condition, as is said in them.
_WITHOUT_CONDITION = frozenset({"0bsd", "mit-0", "wtfpl"})


@lru_cache(maxsize=65536)
def asks_for_attribution(expression: str) -> bool:
    """Whether the author has to be named: for an OR if every branch asks for it, for an AND if any part does.

    Public domain does not ask, nor do licences without a condition; all others are taken to, unknown ones too.
    """
    try:
        tree = licensing().parse(expression)
    except Exception:  # as above
        return True
    return tree is None or _asks(tree)


def _asks(node: Any) -> bool:
    operator = getattr(node, "operator", "").strip().upper()
    if operator in ("OR", "AND"):
        return (all if operator == "OR" else any)(_asks(part) for part in node.args)
    key = str(getattr(node, "license_symbol", node).key)
    return key.lower() not in _WITHOUT_CONDITION and _class_of(node) != "public_domain"


def _class_of(node: Any) -> str:
    operator = getattr(node, "operator", "").strip().upper()
    if operator in ("OR", "AND"):
        classes = [_class_of(part) for part in node.args]
        return (min if operator == "OR" else max)(classes, key=_RANK.__getitem__)
    if hasattr(node, "exception_symbol"):
        base = _class_of(node.license_symbol)
        effect = exceptions().get(str(node.exception_symbol.key).lower(), "unknown")
        if effect == "links" and base == "copyleft_strong":
            return "copyleft_weak"
        if effect == "restricts":
            return max(base, "proprietary", key=_RANK.__getitem__)
        return "unknown" if effect == "unknown" else base
    key = str(node.key)
    if key == "NONE":
        return "no_license"
    return class_table().get(key.lower().removesuffix("+"), "unknown")
