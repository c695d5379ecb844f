"""Words of a recipe that are known before any work: the kinds that documents have, and what columns of words hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import get_args

from pipelines.recipe_models import LicenseClass, SourceBlock

# Kinds that the readers give (`pipelines.readers`), and those that shapes do (`pipelines.shapes`).
KINDS = (
    "web", "code", "prose", "notebook", "conversation", "event", "commit", "metadata", "reservation",
    "repository", "documentation",
)  # fmt: skip
# Formats whose rows may say their kind themselves.
_OPEN = ("jsonl", "parquet")
# As `quality_signals.perplexity.bucket` has them.
_BUCKETS = ("head", "middle", "tail", "all")


def kinds_of(sources: Iterable[SourceBlock]) -> Collection[str] | None:
    """The kinds that documents of these sources may have; None where their rows may say any."""
    blocks = list(sources)
    if any(block.kind in _OPEN for block in blocks):
        return None
    return (*KINDS, *(block.document_kind for block in blocks if block.document_kind not in (None, *KINDS)))


def words_of(annotator: str, column: str) -> Collection[str] | None:
    """What a column of words holds, by the annotator's name; None where that is not known beforehand."""
    match annotator.partition("@")[0], column:
        case ("language" | "ccnet", "language") | ("line_languages", "main_language"):
            from quality_signals.language import ModelFileError, known_languages

            try:
                return sorted(known_languages())
            except ModelFileError:
                return None  # the annotator itself says so when it runs
        case "ccnet", "bucket":
            return _BUCKETS
        case "license", "license_class":
            return get_args(LicenseClass)
    return None
