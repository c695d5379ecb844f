"""Rows of JSONL and Parquet as documents: `id` or `doc_id`, `text`, any column of the schema, the rest as
meta."""

from __future__ import annotations

import json
import re
from typing import Any

from pipelines.readers.records import Document, Refused, checked_id, safe_text

_COLUMNS = (
    "url", "repo", "path", "commit", "timestamp", "mime", "content_sha256", "swhid",
    "language", "programming_language",
)  # fmt: skip
DEFAULT_KIND = "web"
_SURROGATE = re.compile("[\ud800-\udfff]")


def as_text(value: Any) -> str:
    """A column value as a string: strings as they are, the rest as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return safe_text(text)[0]


def document_from_row(row: dict[str, Any], locator: str, source: str, document_kind: str | None) -> Document:
    """Raises Refused (missing_text, invalid_id, bad_json).

    A row with an empty text is a document: somebody gave it an id and may ask for it.  Rules drop it if they must.
    """
    text = row.get("text")
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            raise Refused("undecodable", "the text is not UTF-8") from error
    if not isinstance(text, str):
        what = "no text" if text is None else f"text is {type(text).__name__}, not a string"
        raise Refused("missing_text", what)
    id_column = next((name for name in ("doc_id", "id") if row.get(name) is not None), None)
    given = checked_id(row[id_column]) if id_column else ""
    if _SURROGATE.search(text):
        raise Refused("undecodable", "the text holds a lone surrogate, which no UTF-8 can hold")
    kind = row.get("kind")
    document = Document(
        locator=locator,
        source=source,
        kind=as_text(kind) if isinstance(kind, str) and kind else document_kind or DEFAULT_KIND,
        text=text,
        doc_id=given,
    )
    for name in _COLUMNS:
        if row.get(name) is not None:
            setattr(document, name, as_text(row[name]))
    try:
        document.meta = _meta(row, {"text", "kind", "meta", *_COLUMNS, *([id_column] if id_column else [])})
    except (RecursionError, ValueError) as error:
        raise Refused("bad_json", f"a column that cannot be stored: {type(error).__name__}") from error
    return document


def _meta(row: dict[str, Any], used: set[str]) -> dict[str, str]:
    inner = row.get("meta")
    pairs: dict[str, Any] = {}
    if isinstance(inner, dict):
        pairs.update(inner)
    elif isinstance(inner, list) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in inner):
        pairs.update(inner)  # how pyarrow gives a map
    elif inner is not None:
        pairs["meta"] = inner
    pairs.update((key, value) for key, value in row.items() if key not in used)
    return {as_text(key): as_text(value) for key, value in pairs.items() if value is not None}
