"""Perplexity of documents and lines by model files, ARPA files and KenLM binaries."""

from __future__ import annotations

import gzip
import importlib.util
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.ccnet_normalise import normalise
from quality_signals.model_files import ModelFileError
from quality_signals.ngram_model import NgramModel, fit_ngram, load_ngram
from quality_signals.perplexity import MissingExtra, Perplexity, bucket, file_sha256

HAS_KENLM = importlib.util.find_spec("kenlm") is not None


@pytest.fixture(scope="module")
def lines(data_folder: Path) -> list[str]:
    return (data_folder / "ngram_lines.txt").read_text().split("\n")[:-1]


@pytest.fixture(scope="module")
def model(lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("perplexity") / "model"
    fit_ngram(["\n".join(lines[i : i + 2]) for i in range(0, len(lines), 2)], path, order=3, held_out=0.3)
    return path


@pytest.fixture(scope="module")
def kenlm_file(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kenlm") / "model.bin"
    path.write_bytes(gzip.decompress((data_folder / "ngram_kenlm.bin.gz").read_bytes()))
    return path


def plain(model: NgramModel, text: str) -> dict[str, Any]:
    total, tokens, ends, spans, at = 0.0, 0, 0, [], 0
    for line in text.split("\n"):
        scores = [score for _, score in model.token_scores(line)]
        value = None
        if len(scores) > 1:
            total, tokens, ends = total + sum(scores), tokens + len(scores) - 1, ends + 1
            value = round(10 ** (-sum(scores) / len(scores)), 1)
        spans.append({"start": at, "end": at + len(line), "score": value})
        at += len(line) + 1
    return {
        "perplexity": round(10 ** (-total / (tokens + ends)), 1) if tokens else None,
        "log10_score": total if tokens else None,
        "tokens": tokens,
        "lines": spans,
    }


def same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found["tokens"] == wanted["tokens"]
    for name in ("perplexity", "log10_score"):
        assert (found[name] is None) == (wanted[name] is None)
        if wanted[name] is not None:
            assert found[name] == pytest.approx(wanted[name], rel=1e-5, abs=0.11)
    assert len(found["lines"]) == len(wanted["lines"])
    for mine, theirs in zip(found["lines"], wanted["lines"], strict=True):
        assert (mine["start"], mine["end"]) == (theirs["start"], theirs["end"])
        assert mine["score"] == (
            None if theirs["score"] is None else pytest.approx(theirs["score"], rel=1e-5, abs=0.11)
        )


TEXT = st.text(st.one_of(st.sampled_from("\n\n \t\x85\u2028\x00\u0301\u03a3the company"), st.characters(codec="utf-8")))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(TEXT, st.none()), max_size=5))
def test_equals_the_plain_sums(model: Path, texts: list[str | None]) -> None:
    annotator = Perplexity(str(model))
    ngram = load_ngram(model)
    found = annotator.annotate(batch_of(texts))
    assert found.schema.equals(annotator.schema)
    for text, row in zip(texts, found.to_pylist(), strict=True):
        if text is None:
            assert set(row.values()) == {None}
            continue
        same(row, plain(ngram, text))
        assert row["bucket"] == bucket(row["perplexity"], annotator.limits)


def test_a_document_scores_alike_in_every_batch(model: Path, lines: list[str]) -> None:
    annotator = pickle.loads(pickle.dumps(Perplexity(str(model))))
    texts = ["\n".join(lines[i : i + 5]) for i in range(0, len(lines), 5)]
    whole = annotator.annotate(batch_of(texts)).to_pylist()
    assert [annotator.annotate(batch_of([text])).to_pylist()[0] for text in texts] == whole
    assert annotator.annotate(batch_of([])).num_rows == 0


def test_the_name_is_the_hash_of_the_file(model: Path, data_folder: Path) -> None:
    assert Perplexity(str(model)).name == f"perplexity@{file_sha256(str(model))[:12]}"
    arpa = data_folder / "ngram_lmplz.arpa.gz"
    assert Perplexity(str(arpa)).name == f"perplexity@{file_sha256(str(arpa))[:12]}"


def test_limits_and_buckets(model: Path) -> None:
    limits = Perplexity(str(model)).limits
    assert limits is not None and limits[0] <= limits[1]
    assert Perplexity(str(model), limits=(1, 2)).annotate(batch_of(["the company"]))["bucket"].to_pylist() == ["tail"]
    assert [bucket(value, (340, 520)) for value in (None, 0.0, 339.9, 340.0, 519.9, 520.0)] == [
        "all", "head", "head", "middle", "middle", "tail",
    ]  # fmt: skip
    assert bucket(3.0, None) == "all"
    for wrong in ((2, 1), (1,), (-1, 2)):
        with pytest.raises(ValueError, match="limits"):
            Perplexity(str(model), limits=wrong)  # type: ignore[arg-type]


def test_documents_of_other_languages_and_kinds_are_null(model: Path) -> None:
    annotator = Perplexity(str(model), languages=("en",))
    batch = batch_of(["the company"] * 4, language=["en", "de", None, "en"], kind=["web", "web", "web", "code"])
    assert [row["tokens"] for row in annotator.annotate(batch).to_pylist()] == [2, None, None, None]


def test_a_document_as_one_sentence(data_folder: Path) -> None:
    path = data_folder / "ngram_lmplz.arpa.gz"
    annotator = Perplexity(str(path), normalise="ccnet", sentence="document")
    text = "The company\nhas THE option 12"
    scores = load_ngram(path).token_scores(normalise(text))
    row = annotator.annotate(batch_of([text])).to_pylist()[0]
    assert normalise(text) == "the companyhas the option 00"
    assert row["tokens"] == len(scores) - 1 == 5 and row["lines"] is None
    assert row["perplexity"] == round(10 ** (-sum(score for _, score in scores) / len(scores)), 1)
    with pytest.raises(ValueError, match="sentence 'word'"):
        Perplexity(str(path), sentence="word")


def test_a_kenlm_binary(kenlm_file: Path, data_folder: Path) -> None:
    if not HAS_KENLM:
        with pytest.raises(MissingExtra, match=r"gristmill\[kenlm\]"):
            Perplexity(str(kenlm_file))
        return
    own = Perplexity(str(data_folder / "ngram_lmplz.arpa.gz"))
    kenlm = pickle.loads(pickle.dumps(Perplexity(str(kenlm_file))))
    rows = json.loads((data_folder / "ngram_kenlm_scores.json").read_text())
    texts = [row["line"] for row in rows] + ["the company\n\n has the", "", "\n"]
    for mine, theirs in zip(
        own.annotate(batch_of(texts)).to_pylist(), kenlm.annotate(batch_of(texts)).to_pylist(), strict=True
    ):
        same(mine, theirs)
    cut = kenlm_file.with_name("cut.bin")
    cut.write_bytes(kenlm_file.read_bytes()[:20_000])
    with pytest.raises(ModelFileError, match="cut.bin: KenLM cannot read it"):
        Perplexity(str(cut))


def test_wrong_files_are_named_before_any_work(model: Path, tmp_path: Path, data_folder: Path) -> None:
    with pytest.raises(ModelFileError, match="none: no ngram model there"):
        Perplexity(str(tmp_path / "none"))
    broken = tmp_path / "broken"
    broken.write_bytes(model.read_bytes()[:1000])
    with pytest.raises(ModelFileError, match="broken: not a model file"):
        Perplexity(str(broken))
    broken.write_bytes(b"mmap lm http://kheafield.com/code incomplete\n")
    with pytest.raises(ModelFileError, match="whose writing did not end"):
        Perplexity(str(broken))
    cut = tmp_path / "cut.arpa"
    whole = gzip.decompress((data_folder / "ngram_lmplz.arpa.gz").read_bytes())
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError, match="cut.arpa: line .*"):
        Perplexity(str(cut))
    with pytest.raises(ValueError, match="fitted with normalise 'ccnet', not 'none'"):
        Perplexity(str(model), normalise="none")
    with pytest.raises(ValueError, match="normalise 'nfc'"):
        Perplexity(str(model), normalise="nfc")
    with pytest.raises(ValueError, match="has its own tokens"):
        Perplexity(str(model), pieces=str(cut))
    with pytest.raises(ModelFileError, match="no.pieces: no ngram model there"):
        Perplexity(str(data_folder / "ngram_lmplz.arpa.gz"), pieces=str(tmp_path / "no.pieces"))


def test_a_file_that_changes_is_not_used(lines: list[str], tmp_path: Path) -> None:
    path = tmp_path / "model"
    fit_ngram(lines, path, order=2)
    annotator = Perplexity(str(path))
    fit_ngram(lines[:20], path, order=2)
    with pytest.raises(ModelFileError, match="has changed since"):
        annotator.annotate(batch_of(["the company"]))


def test_pieces_are_the_tokens(data_folder: Path) -> None:
    arpa, pieces = str(data_folder / "ngram_lmplz.arpa.gz"), str(data_folder / "ngram_pieces.model")
    if importlib.util.find_spec("sentencepiece") is None:
        with pytest.raises(MissingExtra, match=r"gristmill\[kenlm\]"):
            Perplexity(arpa, pieces=pieces)
        return
    import sentencepiece

    annotator = pickle.loads(pickle.dumps(Perplexity(arpa, "ccnet", pieces)))
    cut = "The\tCompany has\x00 5 options"
    tokens = sentencepiece.SentencePieceProcessor(model_file=pieces).encode(normalise(cut), out_type=str)
    scores = [score for _, score in load_ngram(arpa).token_scores(" ".join(tokens))]
    row = annotator.annotate(batch_of([cut + "\n\n" + cut])).to_pylist()[0]
    assert row["tokens"] == 2 * len(tokens)
    assert row["perplexity"] == round(10 ** (-sum(scores) / len(scores)), 1)
    with pytest.raises(ModelFileError, match="ngram_lines.txt: not a SentencePiece model"):
        Perplexity(arpa, pieces=str(data_folder / "ngram_lines.txt"))
