"""What several test modules share: documents made by hand, and the folder with larger test data."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from pipelines.documents import DOCUMENT_SCHEMA

Documents = Callable[..., pa.RecordBatch]


def document_batch(*rows: dict[str, Any]) -> pa.RecordBatch:
    """Rows with defaults: ids d0, d1, ..., source s, kind web."""
    filled = [{"doc_id": f"d{i}", "source": "s", "kind": "web", "meta": [], **row} for i, row in enumerate(rows)]
    return pa.RecordBatch.from_pylist(filled, schema=DOCUMENT_SCHEMA)


def module_from(path: Path) -> ModuleType:
    """A helper module that lies beside test data and belongs to no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def documents() -> Documents:
    return document_batch


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run of tests/corpus.py, with all its stages; for tests that only look at it."""
    from beam_runner import main
    from tests.corpus import write_corpus, write_recipe

    root = tmp_path_factory.mktemp("corpus")
    write_corpus(root)
    output = root / "out"
    assert main(["run", str(write_recipe(root, output))]) == 0
    return output


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with test data beside the checkout; tests that need it are skipped where it is not."""
    given = os.environ.get("GRISTMILL_SHARED")
    folders = [Path(given)] if given else [parent / "shared" for parent in Path(__file__).resolve().parents]
    for folder in folders:
        if (folder / "data").is_dir():
            return folder
    pytest.skip("no folder with test data: set GRISTMILL_SHARED")
