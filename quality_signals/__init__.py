"""Quality signals: text batches in, columns out.

    import quality_signals
    quality_signals.names()
    quality_signals.annotate("rpv2@1", ["Some text.", "Another."]).to_pylist()

Neither Beam nor torch is imported; models and compiled kernels are loaded on first use.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ANNOTATORS", "annotate", "names"]


def _language_1() -> Any:
    from quality_signals.language import Language

    return Language()


def _rpv2_1() -> Any:
    from quality_signals.rpv2 import RedPajamaV2

    return RedPajamaV2()


def _gopher_datatrove() -> Any:
    from quality_signals.gopher import GopherQuality

    return GopherQuality()


def _gopher_repetition_datatrove() -> Any:
    from quality_signals.gopher_repetition import GopherRepetition

    return GopherRepetition()


def _code_stats_1() -> Any:
    from quality_signals.code_stats import CodeStatistics

    return CodeStatistics()


# Versioned name -> factory of an annotator with its defaults.  A released name never changes its values.
ANNOTATORS: dict[str, Callable[[], Any]] = {
    "language@1": _language_1,
    "rpv2@1": _rpv2_1,
    "gopher@datatrove": _gopher_datatrove,
    "gopher_repetition@datatrove": _gopher_repetition_datatrove,
    "code_stats@1": _code_stats_1,
}


def names() -> list[str]:
    """Names of all annotators of this package, sorted."""
    return sorted(ANNOTATORS)


def annotate(
    name: str,
    texts: pa.RecordBatch | Sequence[str | None],
    *,
    language: str | Sequence[str | None] | None = None,
    kind: str | Sequence[str | None] | None = None,
    path: Sequence[str | None] | None = None,
    url: Sequence[str | None] | None = None,
) -> pa.RecordBatch:
    """Columns of the annotator `name` for a batch with a `text` column, or for a list of strings.

    language, kind, path, url: for strings only; one value for all of them (language, kind) or one a string.
    A string without kind is computed by every annotator.  An unknown name raises KeyError with the nearest
    known.
    """
    if name not in ANNOTATORS:
        near = difflib.get_close_matches(name, ANNOTATORS, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise KeyError(f"no annotator {name!r}{hint} (known: {', '.join(names())})")
    if isinstance(texts, str):
        raise TypeError("annotate takes a batch or a list of strings, not one string")
    if hasattr(texts, "schema"):
        if any(given is not None for given in (language, kind, path, url)):
            raise TypeError("language, kind, path and url go with a list of strings; a batch has its own columns")
        return ANNOTATORS[name]().annotate(texts)
    from quality_signals.batches import batch_of

    return ANNOTATORS[name]().annotate(batch_of(texts, language=language, kind=kind, path=path, url=url))
