"""Edits and redactions of one text together, in offsets of the text as it was extracted.

A variant may apply the edits of rule families; personal data is redacted in every variant.  Both were found in the
extracted text, so they are joined before either is applied: what lies in a deleted span needs no redaction, and no
redaction is lost because an edit moved the text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from quality_signals.edits import EDITS, Edit, apply_to_column, as_edits

Span = Mapping[str, Any]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True)
class AppliedEdits:
    """One edit step of a variant for some rows: which rows it looks at, and the edits of all editors so far."""

    name: str
    rows: Bools
    edits: pa.Array

    def over(self, before: pa.Array) -> pa.Array:
        """The edits that hold after this step, where `before` held until then."""
        return pc.if_else(pa.array(self.rows), self.edits, before)


def no_edits(rows: int) -> pa.Array:
    return pa.nulls(rows, EDITS)


def counts(edits: pa.Array) -> Ints:
    """[rows] number of edits, 0 where null."""
    return edits.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)


def removed_characters(edits: pa.Array) -> Ints:
    """[rows] code points by which the edits shorten the text; below 0 where they lengthen it."""
    flat = edits.flatten()
    owner = np.repeat(np.arange(len(edits)), counts(edits))
    less = pc.subtract(
        pc.subtract(flat.field("end"), flat.field("start")), pc.utf8_length(flat.field("replacement")).fill_null(0)
    )
    return np.bincount(owner, less.to_numpy(zero_copy_only=False), minlength=len(edits)).astype(np.int64)


def differing(first: pa.Array, second: pa.Array) -> Bools:
    """[rows] where two columns of edits are not the same; null is no edit."""
    ours, theirs = counts(first), counts(second)
    found = ours != theirs
    for row in np.flatnonzero((ours == theirs) & (ours > 0)):
        found[row] = not first[row].equals(second[row])
    return found


def join_redactions(
    edits: Sequence[Edit], spans: Sequence[Span], placeholders: Mapping[str, str]
) -> tuple[list[Edit], list[Span]]:
    """Edits that delete and redact at once, and the spans that still say something about the text.

    edits, spans: each sorted and disjoint, in code points of the same text.  spans: kind, action, and the replacement
    where it is not the placeholder of the kind.  A span inside a deleted one goes; where it reaches out of one, what is
    left of it is replaced.  Where an edit puts other than white space in the place of personal data, the whole edited
    span is redacted: its replacement may repeat the data.
    """
    kept: list[Span] = []
    joined: list[Edit] = []
    waiting = list(edits)
    done = 0
    for span in spans:
        start, end = span["start"], span["end"]
        while waiting and waiting[0].end <= start:
            joined.append(waiting.pop(0))
        redacts = span["action"] not in ("keep", "drop_document")
        gone = False
        if not redacts:
            gone = any(not each.replacement.strip() and each.start <= start and end <= each.end for each in waiting[:1])
        while redacts and waiting and waiting[0].start < end:
            edit = waiting[0]
            if edit.replacement.strip():
                start, end = min(start, edit.start), max(end, edit.end)
            elif edit.start <= start and end <= edit.end:
                gone = True
                break
            elif edit.start <= start:
                joined.append(edit)
                start = edit.end
            elif edit.end >= end:
                end = edit.start
                break
            waiting.pop(0)
        if gone:
            continue
        kept.append(span)
        start = max(start, done)
        if redacts and start < end:
            replacement = span.get("replacement") or placeholders[span["kind"]]
            joined.append(Edit(start, end, replacement, f"pii/{span['kind']}"))
            done = end
    return joined + waiting, kept


def edit_rows(
    corpus: pa.RecordBatch, extracted: pa.Array, steps: Sequence[AppliedEdits], policy: Any = None
) -> tuple[pa.RecordBatch, dict[str, Ints]]:
    """The rows of a corpus, redacted already, with the edits of a variant; and [rows] UTF-8 bytes after each step.

    extracted: the texts before redaction.  policy: the `pii.Policy` that redacted them.  The bytes after a step are
    those of the text before redaction, too.
    """
    edits, edited = no_edits(corpus.num_rows), extracted
    sizes = {}
    for step in steps:
        edits = step.over(edits)
        edited = apply_to_column(extracted, edits, corpus.column("doc_id").to_pylist())
        sizes[step.name] = pc.binary_length(edited).to_numpy(zero_copy_only=False).astype(np.int64)
    changed = counts(edits) > 0
    pii = corpus.column("pii")
    both = changed & (pii.value_lengths().fill_null(0).to_numpy(zero_copy_only=False) > 0)
    text = pc.if_else(pa.array(changed), edited, corpus.column("text"))
    if both.any():
        from pii import PLACEHOLDERS, with_replacements

        rows = np.flatnonzero(both)
        pairs = []
        for row in rows.tolist():
            spans = with_replacements(extracted[row].as_py(), pii[row].as_py(), policy)
            pairs.append(join_redactions(as_edits(edits[row].as_py()), spans, PLACEHOLDERS))
        joined = pa.array([[edit._asdict() for edit in each] for each, _ in pairs], EDITS)
        text = pc.replace_with_mask(text, pa.array(both), apply_to_column(extracted.take(pa.array(rows)), joined))
        places = np.arange(corpus.num_rows)
        places[rows] = corpus.num_rows + np.arange(len(rows))
        pii = pa.concat_arrays([pii, pa.array([list(spans) for _, spans in pairs], pii.type)]).take(pa.array(places))
    for name, column in (("text", text), ("pii", pii)):
        index = corpus.schema.get_field_index(name)
        corpus = corpus.set_column(index, corpus.schema.field(index), column.cast(corpus.schema.field(index).type))
    return corpus, sizes
