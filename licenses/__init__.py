"""Licences of documents (`license@1`), the rules that decide on them, opt-out lists and content identifiers.

Pure functions over texts and Arrow columns; neither Beam nor torch.  What a reader of archives needs:

    by_directory = directory_expressions(paths_to_texts)      # LICENSE*, PKG-INFO, pyproject.toml, README, ...
    meta["license"] = license_for_path(path, by_directory)    # an SPDX expression or None

and of web pages:

    found = page_license(html)                                # rel=license, ccREL, JSON-LD, ...; Match or None
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from licenses.annotate import DEFAULT_ALLOWED, license_verdicts
from licenses.classes import CLASSES, asks_for_attribution, license_class
from licenses.detect import Match, detect_code, detect_text
from licenses.expressions import parse_expression
from licenses.files import (
    detect_files,
    directory_expressions,
    is_license_file,
    license_for_path,
    states_license,
)
from licenses.identifiers import is_swhid_content, sha256_hex, swhid_content, swhid_directories
from licenses.names import normalise
from licenses.opt_out import OptOut, OptOutError
from licenses.package_metadata import is_metadata, metadata_expression, metadata_match
from licenses.readme import is_readme, readme_match
from licenses.stack_v2 import license_type
from licenses.urls import url_expression
from licenses.web import license_marks, page_license

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
    "is_readme",
    "is_swhid_content",
    "license_class",
    "license_for_path",
    "license_marks",
    "license_type",
    "license_verdicts",
    "metadata_expression",
    "metadata_match",
    "normalise",
    "page_license",
    "parse_expression",
    "readme_match",
    "sha256_hex",
    "states_license",
    "swhid_content",
    "swhid_directories",
    "url_expression",
]


def _license_1() -> Any:
    from licenses.annotate import LicenseAnnotator

    return LicenseAnnotator()


def _license_stack_v2_1() -> Any:
    from licenses.stack_v2 import StackV2Licenses

    return StackV2Licenses()


ANNOTATORS: dict[str, Callable[[], Any]] = {"license@1": _license_1, "license_stack_v2@1": _license_stack_v2_1}
