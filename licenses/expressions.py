"""SPDX expressions: parsing with license-expression, joining, and the ids in them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib import resources
from typing import Any

# Deprecated ids that hold their exception in the name (SPDX licence list 3.x).
_COMPOUND = {
    "gpl-2.0-with-autoconf-exception": "GPL-2.0-only WITH Autoconf-exception-2.0",
    "gpl-2.0-with-bison-exception": "GPL-2.0-only WITH Bison-exception-2.2",
    "gpl-2.0-with-classpath-exception": "GPL-2.0-only WITH Classpath-exception-2.0",
    "gpl-2.0-with-font-exception": "GPL-2.0-only WITH Font-exception-2.0",
    "gpl-2.0-with-gcc-exception": "GPL-2.0-only WITH GCC-exception-2.0",
    "gpl-3.0-with-autoconf-exception": "GPL-3.0-only WITH Autoconf-exception-3.0",
    "gpl-3.0-with-gcc-exception": "GPL-3.0-only WITH GCC-exception-3.1",
    "ecos-2.0": "GPL-2.0-or-later WITH eCos-exception-2.0",
    "standardml-nj": "SMLNJ",
    "wxwindows": "LGPL-2.0-or-later WITH WxWindows-exception-3.1",
    "nunit": "zlib-acknowledgement",
    "bzip2-1.0.5": "bzip2-1.0.6",
}


def _rows(name: str) -> list[dict[str, str]]:
    with resources.files("licenses").joinpath("data", name).open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@cache
def exceptions() -> dict[str, str]:
    """Lower-case id of each known exception -> what it does (data/exceptions.csv): links (code that is linked or
    generated is free of the copyleft), terms (anything else that leaves the licence's class), restricts."""
    return {row["spdx_id"].lower(): row["effect"] for row in _rows("exceptions.csv")}


@cache
def licensing() -> Any:
    """The parser with all SPDX licences and exceptions, built once a process; also those newer than the parser."""
    from license_expression import LicenseSymbol, Licensing, get_spdx_licensing

    known = dict(get_spdx_licensing().known_symbols)
    # A licence by its text and in SPDX's list, for all its name.
    known["MPL-2.0-no-copyleft-exception"] = LicenseSymbol("MPL-2.0-no-copyleft-exception")
    present = {name.lower() for symbol in known.values() for name in (symbol.key, *symbol.aliases)}
    rows = [
        (row["spdx_id"], name == "exceptions.csv") for name in ("classes.csv", "exceptions.csv") for row in _rows(name)
    ]
    newer = [LicenseSymbol(key, is_exception=exception) for key, exception in rows if key.lower() not in present]
    return Licensing([*known.values(), *newer])


@lru_cache(maxsize=65536)
def parse_expression(value: str) -> str | None:
    """The canonical SPDX expression of `value`, or None if it does not parse or names an unknown id.

    Ids are matched without regard to case and deprecated ones replaced (GPL-2.0+ becomes GPL-2.0-or-later);
    LicenseRef-... and DocumentRef-...:LicenseRef-... pass; NONE and NOASSERTION are no expressions here.
    """
    text = value.strip()
    if not text or len(text) > 2000:
        return None
    text = re.sub(r"(?<![\w.-])([A-Za-z0-9.-]+)(?![\w.+-])", lambda m: _COMPOUND.get(m[0].lower(), m[0]), text)
    text = re.sub(r"(?<![\w.-])(?:and|or|with)(?![\w.-])", lambda m: m[0].upper(), text, flags=re.IGNORECASE)
    try:
        tree = licensing().parse(text)
        if tree is None:
            return None
        for symbol in licensing().unknown_license_keys(tree):
            if not re.fullmatch(r"(?:DocumentRef-[\w.-]+:)?LicenseRef-[\w.-]+", symbol):
                return None
        for part in tree.symbols:
            if getattr(part, "is_exception", False):
                return None
        return str(tree.render())
    except Exception:  # the parser raises four unrelated error classes; all mean "not an expression"
        return None


def symbols(expression: str) -> tuple[str, ...]:
    """The ids of an expression in the order of their first places, exceptions as ids of their own."""
    return tuple(licensing().license_keys(expression))


def join(operator: str, expressions: Iterable[str]) -> str | None:
    """The expressions joined with AND or OR, flat and without repeats; None for no expression at all."""
    distinct = list(dict.fromkeys(expressions))
    if len(distinct) < 2:
        return distinct[0] if distinct else None
    flat: list[str] = []
    for one in distinct:
        tree = licensing().parse(one)
        parts = tree.args if getattr(tree, "operator", "").strip() == operator else (tree,)
        flat += [str(part.render()) for part in parts]
    return f" {operator} ".join(f"({one})" if " AND " in one or " OR " in one else one for one in dict.fromkeys(flat))
