"""The annotator `license@1` and the curation rule `license`."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Sequence
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from licenses.classes import CLASSES, license_class
from licenses.detect import detect_code, has_mark
from licenses.files import states_license
from licenses.names import normalise
from licenses.package_metadata import is_metadata, metadata_match

CODE_KINDS: tuple[str, ...] = ("code", "notebook")
ARCHIVE_CONFIDENCE = 0.8  # what holds for the archive need not hold for each file in it

SCHEMA = pa.schema(
    [
        pa.field(
            "expression",
            pa.string(),
            metadata={"description": "SPDX licence expression, null if none is known"},
        ),
        pa.field("license_class", pa.string(), metadata={"description": " | ".join(CLASSES)}),
        pa.field("confidence", pa.float32(), metadata={"description": "0..1; 0 where no expression is known"}),
        pa.field(
            "source",
            pa.string(),
            metadata={
                "description": "spdx_header | file_text | file_notice | package_metadata | archive, null if unknown"
            },
        ),
        pa.field("span_start", pa.int32(), metadata={"unit": "code points", "description": "text that shows it"}),
        pa.field("span_end", pa.int32(), metadata={"unit": "code points", "description": "one past the last"}),
    ]
)
_Row = tuple[str | None, str, float, str | None, int | None, int | None]


@dataclasses.dataclass(frozen=True)
class LicenseAnnotator:
    """`license@1`: the licence of each document.

    Code and notebooks: what the file says about itself (SPDX header, licence text, notice, field of package
    metadata), else what the archive or repository said, which the reader put into meta["license"]; neither:
    no_license.  A notice that only points at the archive ("BSD licence, see LICENSE") is the archive's.  Other kinds:
    meta["license"] alone, which holds a Creative Commons address, a rel=license target or an expression; else
    unknown.  A meta["license"] that means no SPDX expression is unknown.  Columns needed: text; kind, path and meta
    may be absent (kind then counts as code).
    """

    name: str = "license@1"

    @property
    def schema(self) -> pa.Schema:
        return SCHEMA

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        names = batch.schema.names
        texts = batch.column("text")
        kinds = batch.column("kind").to_pylist() if "kind" in names else ["code"] * len(texts)
        paths = batch.column("path").to_pylist() if "path" in names else [None] * len(texts)
        stated = _meta_license(batch)
        rows: list[_Row] = []
        for row, (kind, path, archive) in enumerate(zip(kinds, paths, stated, strict=True)):
            own: _Row | None = None
            if kind in CODE_KINDS:
                own = _from_text(texts[row].as_py() or "", path)
            rows.append(own or _from_archive(archive, kind))
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(SCHEMA)
        arrays = [pa.array(list(values), type=field.type) for values, field in zip(columns, SCHEMA, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _from_text(text: str, path: str | None) -> _Row | None:
    whole = path is not None and states_license(path)
    if not whole and not has_mark(text):
        return None
    found = metadata_match(posixpath.basename(path), text) if path is not None and is_metadata(path) else None
    found = found or detect_code(text, whole=whole)
    if found is None:
        return None
    return (
        found.expression,
        license_class(found.expression),
        found.confidence,
        found.source,
        found.start,
        found.end,
    )


@lru_cache(maxsize=4096)
def _from_archive(stated: str | None, kind: str | None) -> _Row:
    if stated is None or stated.strip() == "" or stated == "NONE":
        return None, "no_license" if kind in CODE_KINDS else "unknown", 0.0, None, None, None
    expression = normalise(stated)
    if expression is None:
        return None, "unknown", 0.0, "archive", None, None
    return expression, license_class(expression), ARCHIVE_CONFIDENCE, "archive", None, None


def _meta_license(batch: pa.RecordBatch) -> list[str | None]:
    """meta["license"] of each row, null where absent."""
    if "meta" not in batch.schema.names:
        return [None] * batch.num_rows
    meta = batch.column("meta")
    if meta.null_count == len(meta):
        return [None] * batch.num_rows
    values: list[str | None] = pc.map_lookup(meta, pa.scalar("license"), "first").to_pylist()
    return values


VERDICT_SCHEMA = pa.schema(
    [
        pa.field("keep", pa.bool_(), nullable=False),
        pa.field("rule", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("reason", pa.string(), metadata={"description": "license:<class>, null where kept"}),
    ]
)
DEFAULT_ALLOWED: tuple[str, ...] = ("permissive", "public_domain")


def license_verdicts(
    columns: pa.RecordBatch,
    kinds: pa.Array | Sequence[str | None],
    allowed_classes: Sequence[str] = DEFAULT_ALLOWED,
    *,
    require_for: Sequence[str] = CODE_KINDS,
) -> pa.RecordBatch:
    """The rule `license`: keeps a document if its licence's class is allowed.

    columns  the columns of `license@1` (only license_class is read); kinds  the documents' kinds, same rows
    returns  keep, rule ("license" where dropped), value and threshold (always null: the rule has no number),
             reason

    Only documents of the kinds in `require_for` (code and notebooks) are judged, the others pass: a web page
    states a licence too rarely for the absence to mean anything.  Allowed by default: permissive and
    public_domain. StarCoder2 trained on permissive and no_license; to do so pass
    allowed_classes=("permissive", "public_domain",
    "no_license").  Here no_license is not a default, since no licence is no permission.  A null class (the
    annotator failed on the row) is dropped as unknown.  An unknown class name raises ValueError.
    """
    for name in allowed_classes:
        if name not in CLASSES:
            raise ValueError(f"license class {name!r} is unknown (allowed: {', '.join(CLASSES)})")
    kinds = kinds if isinstance(kinds, pa.Array | pa.ChunkedArray) else pa.array(list(kinds), type=pa.string())
    if len(kinds) != columns.num_rows:
        raise ValueError(f"{columns.num_rows} licence rows but {len(kinds)} kinds")
    classes = pc.fill_null(columns.column("license_class"), "unknown")
    judged = pc.fill_null(pc.is_in(kinds, value_set=pa.array(list(require_for), type=pa.string())), False)
    keep = pc.or_(pc.invert(judged), pc.is_in(classes, value_set=pa.array(list(allowed_classes), type=pa.string())))
    null = pa.scalar(None, type=pa.string())
    empty = pa.nulls(columns.num_rows, type=pa.float64())
    rule = pc.if_else(keep, null, pa.scalar("license"))
    reason = pc.if_else(keep, null, pc.binary_join_element_wise(pa.scalar("license"), classes, ":"))
    arrays = [keep, rule, empty, empty, reason]
    arrays = [a.combine_chunks() if isinstance(a, pa.ChunkedArray) else a for a in arrays]
    return pa.RecordBatch.from_arrays(arrays, schema=VERDICT_SCHEMA)
