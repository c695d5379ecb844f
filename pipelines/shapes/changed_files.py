"""Which files of a pull request are shown: rules on their content before the change, and languages left out.

Reference: bigcode-project/the-stack-v2 @ 9172041, pull_requests_and_issues/process_commit_pairs.py (FilterParams) and
3_filter_and_render_pr.ipynb, which leaves out the pairs of language_labels.csv.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.shapes.languages import is_excluded

MIN_ALPHANUM, MAX_HEX = 0.25, 0.25
MAX_LINES, MAX_MEAN_LINE, MAX_LINE = 100_000, 100, 1000
DOCUMENT_LANGUAGES = frozenset(("Markdown", "reStructuredText", "RMarkdown", "RDoc", "AsciiDoc"))
# One space on either side decides as well as many.
_ENGLISH = re.compile(r"\s(?:the|be|to|of|and|that|have|with)\s")


def is_valid(content: str, language: str | None) -> bool:
    """Whether a file of that content and language is shown; all limits are strict, an empty file is not."""
    if not content:
        return False
    if not sum(map(str.isalnum, content)) / len(content) > MIN_ALPHANUM:
        return False
    if not content.count("\\x") * 2 / len(content) < MAX_HEX:
        return False
    lengths = [len(line) for line in content.splitlines()]
    if len(lengths) >= MAX_LINES:
        return False
    if language not in DOCUMENT_LANGUAGES:
        return sum(lengths) / len(lengths) < MAX_MEAN_LINE and max(lengths) < MAX_LINE
    return language != "Markdown" or _ENGLISH.search(content) is not None


def shown(diffs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The diffs with the files that are shown; a diff that had files and has none left goes."""
    found: list[Mapping[str, Any]] = []
    for diff in diffs:
        files = diff.get("head_base_files") or []
        kept = [file for file in files if _is_shown(file)]
        if kept or not files:
            found.append({**diff, "head_base_files": kept})
    return found


def _is_shown(file: Mapping[str, Any]) -> bool:
    content, language = file.get("base_content"), file.get("base_language")
    # What is not known before or after is passed over later.
    return not is_excluded(language, file["base_path"]) and (content is None or is_valid(content, language))
