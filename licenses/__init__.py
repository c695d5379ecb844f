"""Licences of documents (`license@1`), the rule that decides on them, opt-out lists and content identifiers.

Pure functions over texts and Arrow columns; neither Beam nor torch.  What a reader of archives needs:

    by_directory = directory_expressions(paths_to_texts)             # LICENSE*, COPYING*, PKG-INFO,
    pyproject.toml, ... meta["license"] = license_for_path(path, by_directory)           # an SPDX expression
    or None
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from licenses.annotate import DEFAULT_ALLOWED, license_verdicts
from licenses.classes import CLASSES, asks_for_attribution, license_class
from licenses.detect import Match, detect_code, detect_text
from licenses.expressions import normalise, parse_expression
from licenses.files import (
    detect_files,
    directory_expressions,
    is_license_file,
    is_metadata,
    license_for_path,
    metadata_expression,
    states_license,
)
from licenses.identifiers import is_swhid_content, sha256_hex, swhid_content, swhid_directories
from licenses.opt_out import OptOut, OptOutError

__all__ = [
    "ANNOTATORS",
    "CLASSES",
    "DEFAULT_ALLOWED",
    "Match",
    "OptOut",
    "OptOutError",
    "asks_for_attribution",
    "detect_code",
    "detect_files",
    "detect_text",
    "directory_expressions",
    "is_license_file",
    "is_metadata",
    "is_swhid_content",
    "license_class",
    "license_for_path",
    "license_verdicts",
    "metadata_expression",
    "normalise",
    "parse_expression",
    "sha256_hex",
    "states_license",
    "swhid_content",
    "swhid_directories",
]


def _license_1() -> Any:
    from licenses.annotate import LicenseAnnotator

    return LicenseAnnotator()


ANNOTATORS: dict[str, Callable[[], Any]] = {"license@1": _license_1}
