"""The licences of files on disk, one answer a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.errors import UsageError

# A licence stands at the head of a file or is the file; more than this is not looked at.
_MAX_BYTES = 1 << 20


def scan_files(paths: Sequence[str]) -> Iterator[dict[str, Any]]:
    """path, expression, class, confidence, spans of every file, folders walked in the order of names.

    Raises UsageError for a path that does not exist.
    """
    import licenses

    annotator = licenses.ANNOTATORS["license@1"]()
    for path in _files(paths):
        with open(path, "rb") as file:
            text = file.read(_MAX_BYTES).decode("utf-8", "replace").replace("\0", "\ufffd")
        row = {"doc_id": path, "source": "files", "kind": "code", "text": text, "path": path, "meta": []}
        batch = pa.RecordBatch.from_pylist([row], schema=DOCUMENT_SCHEMA)
        found = annotator.annotate(batch).to_pylist()[0]
        start, end = found["span_start"], found["span_end"]
        yield {
            "path": path,
            "expression": found["expression"],
            "class": found["license_class"],
            "confidence": found["confidence"] or 0.0,
            "spans": [] if start is None else [[start, end]],
        }


def _files(paths: Sequence[str]) -> Iterator[str]:
    for path in paths:
        if os.path.isdir(path):
            for folder, folders, names in os.walk(path):
                folders.sort()
                yield from (os.path.join(folder, name) for name in sorted(names))
        elif os.path.exists(path):
            yield path
        else:
            raise UsageError(f"{path}: no such file or folder")
