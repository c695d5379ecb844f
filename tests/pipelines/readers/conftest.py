"""What the reader tests share: sources over temporary files, and the maker of hostile files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipelines.readers import Document, Dropped, Item, Limits, Rejected, Source, plan_units, read_unit
from tests.conftest import module_from

ReadAll = Callable[..., list[Item]]


def read_all(path: Path | str, kind: str, limits: Limits | None = None, **options: Any) -> list[Item]:
    """Every item of every unit of one input."""
    units = plan_units(Source("s", kind, (str(path),), **options))
    return [item for unit in units for item in read_unit(unit, limits or Limits())]


def outcome(item: Item) -> tuple[str, str]:
    """Locator without the name of the file, and kind, reason or error."""
    match item:
        case Document():
            return item.locator, item.kind
        case Dropped():
            return item.locator, item.reason
        case Rejected():
            return item.locator, item.error


@pytest.fixture(name="read_all")
def read_all_fixture() -> ReadAll:
    return read_all


@pytest.fixture(name="outcomes")
def outcomes_fixture() -> Callable[..., dict[str, str]]:
    """locator -> kind, reason or error of everything in one input; each locator must be unique."""

    def outcomes(path: Path | str, kind: str, limits: Limits | None = None, **options: Any) -> dict[str, str]:
        found = [outcome(item) for item in read_all(path, kind, limits, **options)]
        assert len(dict(found)) == len(found), found
        return dict(found)

    return outcomes


@pytest.fixture(scope="session")
def hostile() -> ModuleType:
    return module_from(Path(__file__).parents[2] / "data" / "readers" / "make_hostile.py")
