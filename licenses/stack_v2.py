"""`stack_v2@1`: licences as The Stack v2 found, passed on and judged them (bigcode-project/the-stack-v2 @ 9172041;
StarCoder2 report, arXiv 2402.19173, section 2.1).

    by_directory = found_by_directory(paths_to_texts)        # of a repository
    license_type(stated, licenses_above("src/a.py", by_directory))

Differences from `gristmill@1` (`licenses.license_class`), all kept on purpose: an expression is a set of ids, so OR
counts as AND; the licences of all directories above a file are united, where ours lets the nearest one speak; and a
licence that GitHub states overrides what the files say.  Their detector was ScanCode; ours is `licenses.detect`.  The
permissive list itself is not public: data/permissive.csv is made anew from what it was made of (make_permissive.py).
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import posixpath
from collections.abc import Collection, Iterable, Mapping
from importlib import resources
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from licenses.detect import MAX_LICENSE_FILE, combine, detect_text
from licenses.expressions import parse_expression, symbols
from licenses.files import is_license_file
from licenses.package_metadata import is_metadata, metadata_expression

LicenseType = Literal["permissive", "no_license", "non_permissive"]
TYPES: tuple[LicenseType, ...] = ("permissive", "no_license", "non_permissive")
KEPT: tuple[LicenseType, ...] = ("permissive", "no_license")
"""What StarCoder2 trained on (arXiv 2402.19173, section 2.1)."""

NOASSERTION = "NOASSERTION"
"""GitHub's word for a licence file that it could not place."""

# Found texts that are no licence and so change nothing (the-stack-v2 @ 9172041, its list of licence amendments).
AMENDMENTS = frozenset(
    f"LicenseRef-scancode-{name}"
    for name in (
        "dco-1.1", "generic-cla", "google-cla", "jetty-ccla-1.1", "newton-king-cla", "generic-exception",
        "generic-export-compliance", "generic-tos", "generic-trademark", "warranty-disclaimer",
    )
)  # fmt: skip
# "See the licence": says nothing beside a licence that was found, and is none where it stands alone.
REFERENCE = "LicenseRef-scancode-unknown-license-reference"


@functools.cache
def permissive_ids() -> frozenset[str]:
    """Ids rated by Blue Oak Council or Permissive or Public Domain for ScanCode, as these lists write them."""
    with resources.files("licenses").joinpath("data/permissive.csv").open(encoding="utf-8") as lines:
        return frozenset(row["spdx_id"] for row in csv.DictReader(lines))


def license_type(
    stated: str | None, detected: Collection[str], permissive: Collection[str] | None = None
) -> LicenseType:
    """permissive, no_license or non_permissive.

    stated      the licence that GitHub states of the repository (GH Archive's `license.spdx_id`), or None
    detected    ids found in the files that speak for a file; compared as written, letter case included
    permissive  the permissive ids (default: permissive_ids())
    """
    known = permissive_ids() if permissive is None else permissive
    if stated is not None and stated in known:
        return "permissive"
    if stated is not None and stated != NOASSERTION:
        return "non_permissive"
    found = set(detected)
    if not found:
        return "no_license" if stated is None else "non_permissive"
    good = {each for each in found if each in known}
    rest = found - good - AMENDMENTS
    if good:
        rest.discard(REFERENCE)
    if rest:
        return "non_permissive"
    return "permissive" if good else "no_license"


@functools.lru_cache(maxsize=4096)
def expression_ids(expression: str | None) -> frozenset[str]:
    """All ids of an expression, exceptions too, whatever joins them; empty for None or what does not parse."""
    parsed = parse_expression(expression) if expression else None
    return frozenset(symbols(parsed)) if parsed else frozenset()


def found_by_directory(paths_to_texts: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """Directory ('' is the root) -> ids found in its licence files; only directories that have any.

    Looked at are files whose name may be a licence's (`is_license_file`: readmes, notices and abouts too), and
    package metadata, which ScanCode reads as well.
    """
    found: dict[str, set[str]] = {}
    for path in sorted(paths_to_texts):
        text = paths_to_texts[path]
        if is_metadata(path):
            expression = metadata_expression(posixpath.basename(path), text)
        elif is_license_file(path):
            match = combine(detect_text(text[:MAX_LICENSE_FILE]))
            expression = match.expression if match else None
        else:
            continue
        ids = expression_ids(expression)
        if ids:
            found.setdefault(posixpath.dirname(path), set()).update(ids)
    return {directory: frozenset(ids) for directory, ids in sorted(found.items())}


def licenses_above(path: str, by_directory: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """The ids of all directories at or above a file, united."""
    ids: set[str] = set()
    directory = posixpath.dirname(path.lstrip("/"))
    while True:
        ids.update(by_directory.get(directory, ()))
        if not directory:
            return frozenset(ids)
        directory = posixpath.dirname(directory)


SCHEMA = pa.schema(
    [
        pa.field("keep", pa.bool_(), nullable=False),
        pa.field("rule", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("reason", pa.string(), metadata={"description": "the licence type, null where kept"}),
        pa.field("license_type", pa.string(), metadata={"description": " | ".join(TYPES) + ", null where not judged"}),
        pa.field("detected_licenses", pa.list_(pa.string()), metadata={"description": "ids that decided, sorted"}),
    ]
)


@dataclasses.dataclass(frozen=True)
class StackV2Licenses:
    """The rule `license_stack_v2@1`: keeps permissive and no_license, for documents of the kinds code and notebook.

    Columns read: kind (absent: code) and meta.  meta["gha_license_id"] is what GitHub states; meta["detected_licenses"]
    holds the ids of `licenses_above`, separated by spaces; where it is absent, the ids of the expression
    meta["license"] (the nearest directory's) stand for them.  The file's own header is not read: The Stack v2 did not.
    """

    name: str = "license_stack_v2@1"

    @property
    def schema(self) -> pa.Schema:
        return SCHEMA

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        rows = batch.num_rows
        names = batch.schema.names
        kinds = batch.column("kind").to_pylist() if "kind" in names else ["code"] * rows
        stated, detected, nearest = (_meta(batch, key) for key in ("gha_license_id", "detected_licenses", "license"))
        types: list[str | None] = []
        found: list[list[str] | None] = []
        for kind, gha, ids, expression in zip(kinds, stated, detected, nearest, strict=True):
            if kind not in ("code", "notebook"):
                types.append(None)
                found.append(None)
                continue
            mine = frozenset(ids.split()) if ids is not None else expression_ids(expression)
            types.append(license_type(gha, mine))
            found.append(sorted(mine))
        type_column = pa.array(types, pa.string())
        dropped = pc.fill_null(pc.equal(type_column, "non_permissive"), False)
        null = pa.scalar(None, pa.string())
        empty = pa.nulls(rows, pa.float64())
        return pa.RecordBatch.from_arrays(
            [
                pc.invert(dropped),
                pc.if_else(dropped, pa.scalar("license"), null),
                empty,
                empty,
                pc.if_else(dropped, type_column, null),
                type_column,
                pa.array(found, pa.list_(pa.string())),
            ],
            schema=SCHEMA,
        )


def _meta(batch: pa.RecordBatch, key: str) -> list[str | None]:
    if "meta" not in batch.schema.names:
        return [None] * batch.num_rows
    values: list[str | None] = pc.map_lookup(batch.column("meta"), pa.scalar(key), "first").to_pylist()
    return values
