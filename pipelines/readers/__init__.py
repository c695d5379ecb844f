"""Raw inputs to documents: HTML, WARC, WET, JSON lines, Parquet and source trees, as files, directories and
archives.

    units = plan_units(Source("pages", "html", ("pages/*.zip",)))
    for unit in units:
        for item in read_unit(unit):
            ...  # a Document, Dropped or Rejected: each candidate once

Pure functions: nothing here imports Beam, reads a clock, starts a thread or opens a connection.
"""

from pipelines.readers.files import LOCAL, Files, Found, LocalFiles
from pipelines.readers.formats import FORMATS, KINDS
from pipelines.readers.html import Extraction, extract
from pipelines.readers.limits import Limits
from pipelines.readers.reading import read_unit
from pipelines.readers.records import DROP_REASONS, ERRORS, Document, Dropped, Item, Rejected
from pipelines.readers.units import PlanError, Source, Unit, UnitFile, input_digest, plan_units

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
    "input_digest",
    "plan_units",
    "read_unit",
]
