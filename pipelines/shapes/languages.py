"""Extensions that StarCoder2's authors looked at: 1,295 pairs of language and extension, 179 of them left out.

The rows of pull_requests_and_issues/language_labels.csv of bigcode-project/the-stack-v2 @ 9172041 (Apache-2.0), which
`starcoder2@1` reads, too: quality_signals/data/stack_v2_extensions.csv.
"""

from __future__ import annotations

import csv
import functools
import importlib.resources
import io
from pathlib import PurePosixPath

# Names without an extension that count as code.
WHOLE_NAMES = frozenset(("dockerfile", "makefile"))


@functools.cache
def _labels() -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
    """(extensions, excluded pairs); extensions in small letters, without the dot."""
    text = importlib.resources.files("quality_signals").joinpath("data", "stack_v2_extensions.csv").read_text("utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    known = frozenset(row["extension"].strip().lower() for row in rows) - {""}
    excluded = (row for row in rows if row["include"] != "1")
    return known, frozenset((row["language"], row["extension"].strip()) for row in excluded)


def extension_of(path: str) -> str:
    """What is behind the last dot of a path's name, in small letters; empty where there is none."""
    return path.rpartition("/")[2].rpartition(".")[2].lower() if "." in path.rpartition("/")[2] else ""


def is_known(path: str) -> bool:
    """Whether a file is of a known extension, or a Dockerfile or Makefile."""
    name = path.rpartition("/")[2].lower()
    return name in WHOLE_NAMES or extension_of(path) in _labels()[0]


def is_excluded(language: str | None, path: str) -> bool:
    """Whether the pair was left out of StarCoder2's data."""
    return (language or "", PurePosixPath(path).suffix.strip(".")) in _labels()[1]
