"""Notebooks read as JSON reach the shapes as they were written: golden texts from files, archives and tables."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from licenses.identifiers import swhid_content
from pipelines.readers import Document, Dropped, Item, Rejected
from pipelines.shapes.notebooks import StructuredNotebook
from pipelines.shapes.shape import Shaped

DATA = Path(__file__).parents[2] / "data" / "shapes"
JSON = (("notebook", "json"),)


def golden(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def notebooks() -> list[tuple[str, bytes, str | None]]:
    """(path, bytes, structured text) of each golden notebook."""
    pairs = zip(golden("notebooks"), golden("notebooks_expected"), strict=True)
    return [(f"{given['id']}.ipynb", given["content"].encode(), want["structured"]) for given, want in pairs]


def check(items: list[Item], notebooks: list[tuple[str, bytes, str | None]]) -> None:
    """Each notebook is one item, and the document of each that has a golden text gives it."""
    assert len(items) == len(notebooks)
    documents = {item.path: item for item in items if isinstance(item, Document)}
    compared = 0
    for path, data, structured in notebooks:
        document = documents.get(path)
        if document is None:
            assert structured is None, path
            continue
        assert document.kind == "notebook" and document.text == data.decode()
        assert document.swhid == swhid_content(data)
        made = StructuredNotebook("n").make([{"kind": document.kind, "text": document.text, "path": path}], 0)
        assert (made.text if isinstance(made, Shaped) else None) == structured, path
        compared += structured is not None
    assert compared == sum(structured is not None for *_, structured in notebooks) >= 10


def test_files(tmp_path: Path, read_all: Any, notebooks: list[tuple[str, bytes, str | None]]) -> None:
    for path, data, _ in notebooks:
        (tmp_path / path).write_bytes(data)
    check(read_all(tmp_path, "code", options=JSON), notebooks)


def test_archives(tmp_path: Path, read_all: Any, notebooks: list[tuple[str, bytes, str | None]]) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data, _ in notebooks:
            archive.writestr(f"top/{path}", data)
    check(read_all(tmp_path / "a.zip", "code", options=JSON), notebooks)


@pytest.mark.parametrize("as_text", [True, False])
def test_tables(tmp_path: Path, read_all: Any, notebooks: list[tuple[str, bytes, str | None]], as_text: bool) -> None:
    rows = [{"path": path, "content": data.decode() if as_text else data} for path, data, _ in notebooks]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    check(read_all(tmp_path / "a.parquet", "swh", options=JSON), notebooks)


NO_NOTEBOOKS = {
    "no_json": (b"{no", "bad_json"), "no_cells": (b'{"metadata": {}}', "bad_json"), "list": (b"[]", "bad_json"),
    "cut": (b'{"cells": [{"cell_type": "code", "sour', "bad_json"), "deep": (b"[" * 200_000, "bad_json"),
    "cell": (b'{"cells": [{"cell_type": "code", "source": 3}]}', "bad_json"), "empty": (b"", "empty"),
    "latin": (b'{"cells": [{"cell_type": "code", "source": "\xe9"}]}', "undecodable"),
    "blank": (b'{"cells": [{"cell_type": "code", "source": " "}]}', "empty"),
}  # fmt: skip


@pytest.mark.parametrize("option", ["text", "json"])
def test_what_is_no_notebook(tmp_path: Path, read_all: Any, option: str) -> None:
    for name, (data, _) in NO_NOTEBOOKS.items():
        (tmp_path / f"{name}.ipynb").write_bytes(data)
    rows = [{"path": f"{name}.ipynb", "content": data} for name, (data, _) in sorted(NO_NOTEBOOKS.items())]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "z.parquet")
    want = [reason for _, (_, reason) in sorted(NO_NOTEBOOKS.items())]
    options = (("notebook", option),)
    for items in (
        read_all(tmp_path, "code", options=options, exclude=("z.parquet",)),
        read_all(tmp_path / "z.parquet", "swh", options=options),
    ):
        found = [item.error if isinstance(item, Rejected) else getattr(item, "reason", "") for item in items]
        assert [each for each in found if each != "excluded"] == want
    assert isinstance(items[0], Dropped)
