"""`pii_names@1`: presidio with a spaCy model, in batches, and never on the network."""

from __future__ import annotations

import pickle
import socket
import time
from typing import Any

import pyarrow as pa
import pytest

from pii import ANNOTATORS, Span, names

needs_model = pytest.mark.skipif(not names.available(), reason="needs gristmill[pii]")

TEXT = "Yesterday Barack Obama met Angela Merkel in Berlin. Ann lives in Norway, said Microsoft."


def test_pieces_cover_the_text() -> None:
    text = "word " * 5000 + "\n" + "x" * 30_000 + " tail"
    parts = names.pieces(text)
    assert "".join(part for _, part in parts) == text
    assert all(text[at : at + len(part)] == part and len(part) <= names.PIECE for at, part in parts)
    assert names.pieces("") == names.pieces(" \n ") == []


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names.importlib.util, "find_spec", lambda name: None)
    assert not names.available()
    with pytest.raises(names.NamesError, match=r"gristmill\[pii\] \(presidio_analyzer is missing\)"):
        ANNOTATORS["pii_names@1"]()


@pytest.mark.parametrize(
    ("text", "span", "kind", "value"),
    [
        ("Mr. Bob Smith's", (0, 15), "PERSON", "Bob Smith"),
        ("(Ann)", (0, 5), "PERSON", "Ann"),
        ("Ann\nBell", (0, 8), "PERSON", "Ann"),
        ("R2D2", (0, 4), "PERSON", None),
        ("--", (0, 2), "PERSON", None),
        (" Berlin,", (0, 8), "LOCATION", "Berlin"),
    ],
)
def test_names_are_trimmed(text: str, span: tuple[int, int], kind: str, value: str | None) -> None:
    trimmed = names._trim(text, *span, kind)
    assert (None if trimmed is None else text[slice(*trimmed)]) == value


def test_combine_prefers_formats_to_guesses() -> None:
    patterns = [Span(0, 10, "EMAIL", 1.0), Span(20, 25, "PHONE", 0.3), Span(30, 40, "USERNAME", 0.7)]
    guessed = [Span(5, 12, "PERSON", 0.85), Span(20, 25, "DATE_TIME", 0.85), Span(32, 40, "PERSON", 0.85)]
    assert names.combine(patterns, guessed) == sorted([*patterns, *guessed[1:]])
    assert names.combine([], guessed) == guessed and names.combine(patterns, []) == patterns


@needs_model
def test_names_and_places() -> None:
    annotator = ANNOTATORS["pii_names@1"]()
    found = {(TEXT[s.start : s.end], s.kind) for s in annotator.detect_all([TEXT])[0]}
    assert {
        ("Barack Obama", "PERSON"),
        ("Angela Merkel", "PERSON"),
        ("Berlin", "LOCATION"),
        ("Norway", "LOCATION"),
    } <= found


@needs_model
def test_batch_equals_single() -> None:
    annotator = names.NameAnnotator()
    texts = [TEXT, "", "Ann Bell\n" * 2000, "nothing here", "é😀 Angela Merkel in Paris", TEXT * 200]
    together = annotator.detect_all(texts)
    assert together == [annotator.detect_all([text])[0] for text in texts]
    for text, spans in zip(texts, together, strict=True):
        assert all(0 <= s.start < s.end <= len(text) for s in spans)
        assert all(a.end <= b.start for a, b in zip(spans, spans[1:], strict=False))


@needs_model
def test_batches_hold_so_many_characters_and_use_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    recogniser = names._Recogniser(names.MODEL)
    blas = recogniser._threads.select(user_api="blas")
    batches: list[tuple[list[str], list[int]]] = []
    pipe = recogniser._pipeline.pipe

    def watched(texts: list[str], batch_size: int) -> Any:
        batches.append((list(texts), [library["num_threads"] for library in blas.info()]))
        assert batch_size == len(texts)
        return pipe(texts, batch_size=batch_size)

    monkeypatch.setattr(recogniser._pipeline, "pipe", watched)
    parts = ["Ann lives in Norway. " * (i % 60) for i in range(90)]
    assert len(list(recogniser.find(parts))) == 90
    assert [text for texts, _ in batches for text in texts] == parts and len(batches) > 3
    assert all(sum(map(len, texts[:-1])) < names.BATCH <= sum(map(len, texts)) for texts, _ in batches[:-1])
    assert blas.info() and all(set(threads) == {1} for _, threads in batches)


@needs_model
def test_annotator_columns() -> None:
    annotator = pickle.loads(pickle.dumps(ANNOTATORS["pii_names@1"]()))
    batch = pa.record_batch(
        {
            "text": pa.array([TEXT, TEXT, None, TEXT], pa.large_string()),
            "language": pa.array(["en", "de", "en", None], pa.string()),
        }
    )
    out = annotator.annotate(batch)
    assert out.schema == annotator.schema and annotator.name == "pii_names@1"
    spans = out.column("spans").to_pylist()
    assert spans[1] is None and spans[2] is None and spans[0] and spans[0] == spans[3]
    assert annotator.annotate(batch.slice(3, 1)).column("spans").to_pylist() == spans[3:]
    assert annotator.annotate(batch.slice(0, 0)).num_rows == 0


@needs_model
def test_the_network_is_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    names._recogniser.cache_clear()
    assert names.NameAnnotator().detect_all(["Angela Merkel wrote to ann@corp-x.com at http://corp-x.com/a in Berlin"])[
        0
    ]


@needs_model
@pytest.mark.slow
def test_three_times_as_fast_as_document_by_document() -> None:
    """CPU time against presidio's default engine, called for each document with the same model (loaded before)."""
    import tldextract
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider

    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())
    described = {"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": names.MODEL}]}
    engine = AnalyzerEngine(
        nlp_engine=NlpEngineProvider(nlp_configuration=described).create_engine(), supported_languages=["en"]
    )
    texts = [TEXT * 20 for _ in range(20)]
    annotator = names.NameAnnotator()
    annotator.detect_all(texts[:2])
    engine.analyze(TEXT, language="en")
    ours, theirs = [], []
    for _ in range(3):
        start = time.process_time()
        annotator.detect_all(texts)
        between = time.process_time()
        for text in texts:
            engine.analyze(text, language="en")
        ours.append(between - start)
        theirs.append(time.process_time() - between)
    assert min(theirs) > 3 * min(ours)
