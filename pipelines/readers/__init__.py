"""Raw inputs to documents: HTML, WARC, WET, JSON lines, Parquet and source trees, as files, directories and
archives.

    units = plan_units(Source("pages", "html", ("pages/*.zip",)))
    for unit in units:
        for item in read_unit(unit):
            ...  # a Document, Dropped or Rejected: each candidate once

Pure functions: nothing here imports Beam, reads a clock, starts a thread or opens a connection.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.readers.files import LOCAL, Files, Found, LocalFiles
    from pipelines.readers.formats import FORMATS, KINDS
    from pipelines.readers.html import Extraction, extract
    from pipelines.readers.limits import Limits
    from pipelines.readers.reading import read_unit
    from pipelines.readers.records import DROP_REASONS, ERRORS, Document, Dropped, Item, Rejected
    from pipelines.readers.units import PlanError, Source, Unit, UnitFile, plan_units

# Loaded when they are asked for: the table of formats is needed where nothing is read.
_MODULES = {
    "files": (
        "LOCAL",
        "Files",
        "Found",
        "LocalFiles",
    ),
    "formats": (
        "FORMATS",
        "KINDS",
    ),
    "html": (
        "Extraction",
        "extract",
    ),
    "limits": ("Limits",),
    "reading": ("read_unit",),
    "records": (
        "DROP_REASONS",
        "ERRORS",
        "Document",
        "Dropped",
        "Item",
        "Rejected",
    ),
    "units": (
        "PlanError",
        "Source",
        "Unit",
        "UnitFile",
        "plan_units",
    ),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(f"pipelines.readers.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__} has no {name}")


__all__ = [
    "DROP_REASONS",
    "ERRORS",
    "FORMATS",
    "KINDS",
    "LOCAL",
    "Document",
    "Dropped",
    "Extraction",
    "Files",
    "Found",
    "Item",
    "Limits",
    "LocalFiles",
    "PlanError",
    "Rejected",
    "Source",
    "Unit",
    "UnitFile",
    "extract",
    "plan_units",
    "read_unit",
]
