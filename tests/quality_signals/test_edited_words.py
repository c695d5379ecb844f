"""Words of edited texts, counted from those of the texts before, are as many as a look at the edited texts finds."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals import edited_words
from quality_signals.batches import batch_of
from quality_signals.edited_words import word_counts
from quality_signals.edits import EDITS, apply_to_batch
from quality_signals.text_batch import SharedTexts, TextBatch
from quality_signals.word_views import datatrove_words

PIECES = [" ", "\n", "  ", " \n", "\x85", "\u2028", "\t", "word", "don't", "U.S.", ":", "-", ")", "8", "[1]", "(a)",
          "и", "др.", "т.", "e.g.", "\u4e2d\u6587", "e\u0301", "\U0001f600", "\0", "lorem."]  # fmt: skip
LANGUAGES = ["en", "ru", "sv", "de", None, "no-such-language"]


def shared(rows: list[tuple[list[str], list[Any], str | None]]) -> tuple[SharedTexts, SharedTexts]:
    """The edited texts with and without what is known of the texts before."""
    batch = batch_of(["".join(pieces) for pieces, _, _ in rows], language=[language for *_, language in rows])
    edits = pa.array([edits for _, edits, _ in rows], EDITS)
    edited = apply_to_batch(batch, edits)
    return SharedTexts(edited, (SharedTexts(batch), edits)), SharedTexts(edited)


@st.composite
def edited_rows(draw: st.DrawFn) -> tuple[list[str], list[dict[str, Any]], str | None]:
    pieces = draw(st.lists(st.sampled_from(PIECES), max_size=25))
    edits = []
    at = 0
    for piece in pieces:
        kind = draw(st.sampled_from(["keep", "keep", "cut", "cut", "break", "other"]))
        if kind != "keep":
            new = {"cut": "", "break": "\n", "other": "x "}[kind]
            edits.append({"start": at, "end": at + len(piece), "replacement": new, "rule": kind})
        at += len(piece)
    return pieces, edits, draw(st.sampled_from(LANGUAGES))


@settings(max_examples=400, deadline=None)
@given(st.lists(edited_rows(), max_size=4))
def test_counts_as_a_look_at_the_edited_texts(rows: list[Any]) -> None:
    known, plain = (each.of() for each in shared(rows))
    counts, judged = word_counts(known, "en")
    words = datatrove_words(plain, "en")
    assert counts.tolist() == words.counts.tolist()
    assert judged.tolist() == words.judged.tolist()


def test_lines_that_go_are_not_looked_at_anew(monkeypatch: Any) -> None:
    looked = []

    def noted(batch: pa.RecordBatch, rows: Any) -> TextBatch:
        looked.append(np.flatnonzero(rows).tolist())
        return TextBatch(batch, rows)

    monkeypatch.setattr(edited_words, "TextBatch", noted)
    lines = ["one two.", "\n", "three :-)", " \n", "four"]
    edits = [{"start": 9, "end": 20, "replacement": "", "rule": "line"}]
    cut = [{"start": 4, "end": 5, "replacement": "", "rule": "inside"}]
    known, _ = shared([(lines, edits, None), (lines, [], None), (lines, cut, None)])
    counts, _ = word_counts(known.of(), "en")
    assert counts.tolist() == [4, 6, 6]
    assert looked == [[2]]


def test_a_batch_and_its_edited_texts_hold_each_other_in_no_circle() -> None:
    from pipelines.annotators import EditableTexts
    from quality_signals.c4_datatrove import C4FineWeb

    gc.collect()
    gc.disable()
    try:
        lines = [f"This is the sentence number {k} of the page." for k in range(6)]
        texts = EditableTexts(batch_of(["\n".join([*lines, "short"])]))
        edited = texts.after(C4FineWeb())[1].of()
        assert edited.before is not None
        view = weakref.ref(texts.of())
        del texts, edited
        assert view() is None
    finally:
        gc.enable()
