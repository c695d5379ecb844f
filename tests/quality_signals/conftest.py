"""Golden files of this folder's tests."""

from __future__ import annotations

import gzip
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[1] / "data" / "quality_signals"


@lru_cache(maxsize=16)
def load(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def golden() -> Any:
    """golden('web_rpv2') -> rows of the file."""
    return load


@pytest.fixture(scope="session")
def data_folder() -> Path:
    return DATA
