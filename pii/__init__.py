"""Personal data in text: detectors (`pii@1`), the policy that says what happens to a find, and redaction.

Pure functions over Arrow columns; neither Beam nor torch.

    from pii import ANNOTATORS, load_policy, redact_batch
    spans = ANNOTATORS["pii@1"]().annotate(batch).column("spans")
    text, pii, drop = redact_batch(batch.column("text"), spans, load_policy("default"))

`pii_names@1` (presidio with a spaCy model, needs gristmill[pii]) finds names and places; `pii_bigcode@1` is what
SantaCoder and StarCoder took out.  A policy names the detectors that it wants; `policy_spans` joins their columns.
"""

from __future__ import annotations

from pii.kinds import APPLIED_TYPE, KINDS, PLACEHOLDERS, SPANS_TYPE, Span
from pii.policy import Policy, PolicyError, load_policy
from pii.redact import Applied, apply_policy, policy_spans, redact, redact_batch, replacement_texts, with_replacements
from quality_signals import Factory

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
    "apply_policy",
    "detect",
    "load_policy",
    "policy_spans",
    "redact",
    "redact_batch",
    "replacement_texts",
    "with_replacements",
]


def detect(text: str) -> list[Span]:
    """The spans of one text, settled and in order; the same values as the annotator `pii@1`."""
    from pii.annotate import detect as _detect

    return _detect(text)


ANNOTATORS: dict[str, Factory] = {
    "pii@1": Factory("pii.annotate", "PiiAnnotator"),
    "pii_names@1": Factory("pii.names", "NameAnnotator"),
    "pii_bigcode@1": Factory("pii.bigcode", "BigcodeAnnotator"),
}
