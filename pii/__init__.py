"""Personal data in text: detectors (`pii@1`), the policy that says what happens to a find, and redaction.

Pure functions over Arrow columns; neither Beam nor torch.

    from pii import ANNOTATORS, load_policy, redact_batch
    spans = ANNOTATORS["pii@1"]().annotate(batch).column("spans")
    text, pii, drop = redact_batch(batch.column("text"), spans, load_policy("default"))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pii.kinds import APPLIED_TYPE, KINDS, PLACEHOLDERS, SPANS_TYPE, Span
from pii.policy import Policy, PolicyError, load_policy
from pii.redact import Applied, redact, redact_batch

__all__ = [
    "ANNOTATORS",
    "APPLIED_TYPE",
    "KINDS",
    "PLACEHOLDERS",
    "SPANS_TYPE",
    "Applied",
    "Policy",
    "PolicyError",
    "Span",
    "detect",
    "load_policy",
    "redact",
    "redact_batch",
]


def _pii_1() -> Any:
    from pii.annotate import PiiAnnotator

    return PiiAnnotator()


def detect(text: str) -> list[Span]:
    """The spans of one text, resolved and in order; the same values as the annotator `pii@1`."""
    from pii.annotate import detect as _detect

    return _detect(text)


ANNOTATORS: dict[str, Callable[[], Any]] = {"pii@1": _pii_1}
