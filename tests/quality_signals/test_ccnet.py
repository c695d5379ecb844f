"""cc_net's normaliser, paragraph hashes, deduplication and columns, against its own values.

web_ccnet.jsonl.gz: facebookresearch/cc_net @ bda555b on the texts of web_docs.jsonl.gz; the normalised text as its
SHA-256 (null for the longest text).
"""

from __future__ import annotations

import hashlib
import math
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.ccnet import CUTOFFS, CcNet
from quality_signals.ccnet_normalise import FORMS, normalise, normalise_for_dedup, normalised
from quality_signals.ccnet_paragraphs import (
    HashSet,
    dedup_in_order,
    dedup_two_pass,
    first_of_text,
    paragraph_hashes,
    shared_paragraphs,
)
from quality_signals.codepoints import code_points
from quality_signals.edits import Edit, apply_edits
from quality_signals.language import ccnet_language
from quality_signals.line_views import split_lines
from quality_signals.model_files import ModelFileError
from quality_signals.ngram_model import fit_ngram, load_ngram
from quality_signals.text_batch import SharedTexts

Golden = Callable[[str], list[dict[str, Any]]]
Hashes = list[npt.NDArray[np.uint64]]

# Breaks, digits, sigmas, marks that move and stay, characters that become several, and the rest of Unicode.
ODD = (
    "\n\r\x85\u2028\x00 \t\xa0\u3000aA9\u0661\u03a3\u03c3\u0130\u01c5\u0301\u0323\u302e\u302f\u2014\uff11\uac00"
    "\U0001d165\U0001d157\U0001d15e\U00016ff0\u0345\u1e9b\u4e2d\U0001f600"
)
TEXT = st.text(st.one_of(st.sampled_from(ODD), st.characters(codec="utf-8")), max_size=30)


def fast(texts: list[str], form: str) -> list[str]:
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    starts = ends - np.array([len(text) for text in texts], np.int64)
    utf8, offsets = normalised(code_points("".join(texts)), starts, ends, form)
    data = utf8.tobytes()
    return [data[a:b].decode() for a, b in zip(offsets[:-1], offsets[1:], strict=True)]


@pytest.fixture(scope="module")
def texts(golden: Golden) -> list[str]:
    return [row["text"] for row in golden("web_docs")]


@pytest.fixture(scope="module")
def wanted(golden: Golden) -> list[dict[str, Any]]:
    return golden("web_ccnet")


@pytest.fixture(scope="module")
def hashes(texts: list[str]) -> Hashes:
    """Of each document; an empty one has no paragraph."""
    batch = SharedTexts(batch_of(texts)).of()
    found, offsets = paragraph_hashes(batch), batch.view(split_lines).offsets
    return [found[a:b] if text else found[:0] for text, a, b in zip(texts, offsets[:-1], offsets[1:], strict=True)]


def test_the_normalised_text(texts: list[str], wanted: list[dict[str, Any]]) -> None:
    for text, found, row in zip(texts, fast(texts, "ccnet"), wanted, strict=True):
        assert found == normalise(text)
        if row["normalize_sha256"] is not None:
            assert hashlib.sha256(found.encode()).hexdigest() == row["normalize_sha256"], row["id"]


def test_the_strings_of_the_whole_golden_file(shared: Path, texts: list[str]) -> None:
    import gzip
    import json

    with gzip.open(shared / "golden" / "web" / "ccnet.jsonl.gz", "rt", encoding="utf-8") as lines:
        for text, line in zip(texts, lines, strict=True):
            row = json.loads(line)
            if row["normalize"] is not None:
                assert normalise(text) == row["normalize"]
            if row["line_normalize_for_dedup"] is not None:
                assert fast(text.split("\n"), "ccnet_dedup") == row["line_normalize_for_dedup"]


def test_the_paragraph_hashes(hashes: Hashes, wanted: list[dict[str, Any]]) -> None:
    for found, row in zip(hashes, wanted, strict=True):
        assert found.tolist() == (row["line_hashes"] or []), row["id"]


@pytest.mark.parametrize("name", ["dedup_in_order", "dedup_two_pass"])
def test_the_lines_that_stay(name: str, hashes: Hashes, texts: list[str], wanted: list[dict[str, Any]]) -> None:
    masks = dedup_in_order(hashes) if name == "dedup_in_order" else dedup_two_pass(hashes, shared_paragraphs(hashes))
    for text, kept, row in zip(texts, masks, wanted, strict=True):
        ids = np.flatnonzero(kept).tolist()
        if row[name] is None:  # the document is dropped
            assert ids == []
            continue
        lines = text.split("\n")
        assert row[name] == {
            "line_ids": ids,
            "nlines": len(ids),
            "length": len("\n".join(lines[i] for i in ids)),
            "original_length": len(text),
            "original_nlines": len(lines),
        }


def test_parts_of_a_stream_continue_each_other(hashes: Hashes) -> None:
    whole = list(dedup_in_order(hashes))
    seen = HashSet()
    parts = [*dedup_in_order(hashes[:50], seen), *dedup_in_order(hashes[50:], seen)]
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))
    assert len(seen) == len(set(np.concatenate(hashes).tolist()))


SMALL = st.lists(st.lists(st.integers(0, 9), max_size=8), max_size=8)


@settings(max_examples=100, deadline=None)
@given(SMALL)
def test_streams_equal_the_plain_ones(documents: list[list[int]]) -> None:
    scale = (1 << 64) // 10
    arrays = [np.array([h * scale for h in document], np.uint64) for document in documents]
    holders: dict[int, set[int]] = {}
    for i, document in enumerate(documents):
        for h in document:
            holders.setdefault(h, set()).add(i)
    for i, (document, in_order, two_pass) in enumerate(
        zip(documents, dedup_in_order(arrays), dedup_two_pass(arrays, shared_paragraphs(arrays)), strict=True)
    ):
        first = [h not in document[:at] and h != 0 for at, h in enumerate(document)]
        assert in_order.tolist() == [f and min(holders[h]) == i for f, h in zip(first, document, strict=True)]
        assert two_pass.tolist() == [f and len(holders[h]) == 1 for f, h in zip(first, document, strict=True)]


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_character_normalises_as_in_python(form: str) -> None:
    plain = FORMS[form][0]
    texts = [f"a{chr(c)}b" for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    assert fast(texts, form) == [plain(text) for text in texts]


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXT, max_size=4))
def test_random_texts_normalise_as_in_python(texts: list[str]) -> None:
    for form, (plain, _) in FORMS.items():
        assert fast(texts, form) == [plain(text) for text in texts]


def plain_hash(line: str) -> int:
    return int.from_bytes(hashlib.sha1(normalise_for_dedup(line).encode()).digest()[:8], "little")


def plain_row(text: str) -> dict[str, Any]:
    lines = text.split("\n") if text else []
    found = [plain_hash(line) for line in lines]
    kept = [line for i, line in enumerate(lines) if found[i] not in found[:i]]
    return {
        "paragraph_hashes": found,
        "length": len("\n".join(kept)),
        "nlines": len(kept),
        "original_length": len(text),
        "original_nlines": len(lines),
        "left": "\n".join(kept),
    }


def check_rows(texts: list[str]) -> None:
    rows = CcNet(identify=False).annotate(batch_of(texts)).to_pylist()
    for text, row in zip(texts, rows, strict=True):
        plain = plain_row(text)
        assert apply_edits(text, [Edit(**edit) for edit in row["edits"]]) == plain.pop("left")
        assert {name: row[name] for name in plain} == plain
        assert (row["language"], row["language_score"], row["perplexity"]) == (None, None, None)
        assert row["bucket"] == "all"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.one_of(st.sampled_from(["", "a", "A ", "x1", "x2"]), TEXT), max_size=6), max_size=4))
def test_columns_equal_the_plain_ones(lines: list[list[str]]) -> None:
    check_rows(["\n".join(text) for text in lines])


def test_columns_of_the_web_texts(texts: list[str]) -> None:
    check_rows(texts)
    check_rows([])
    rows = CcNet().annotate(batch_of([*texts, None], kind=[*["web"] * len(texts), None])).to_pylist()
    assert rows[-1] == dict.fromkeys(CcNet.schema.names)
    code = CcNet().annotate(batch_of(["int a;", "text of some words"], kind=["code", "web"])).to_pylist()
    assert code[0]["edits"] is None and code[1]["edits"] == []


def test_language_is_that_of_the_text_that_is_left() -> None:
    french = "Le conseil municipal a voté le budget de la ville pour l'année prochaine.\n"
    english = (
        "The mill stands by the river and grinds the grain of the whole valley.\n"
        "The miller counts the sacks of flour and writes their number in his book.\n"
        "In the evening the farmers come back with their carts and take what is theirs.\n"
    )
    mixed = [french, english + french * 40, "", "x\ny"]
    rows = CcNet().annotate(batch_of(mixed)).to_pylist()
    for text, row in zip(mixed, rows, strict=True):
        assert (row["language"], row["language_score"]) == ccnet_language(plain_row(text)["left"])
    assert ccnet_language(mixed[1])[0] == "fr" != rows[1]["language"]
    assert rows[2]["language"] is None and rows[2]["language_score"] is None
    assert rows[1]["nlines"] == 5 and rows[1]["original_nlines"] == 44


@pytest.fixture(scope="module")
def model(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ccnet") / "en.ngram"
    fit_ngram(texts[:60], path, order=3)
    return path


def test_perplexity_and_bucket_of_a_model_file(model: Path, texts: list[str]) -> None:
    annotator = pickle.loads(pickle.dumps(CcNet(model=str(model), identify=False)))
    mixed = [texts[0] + "\n" + texts[0], *texts[60:80], "", "\n\n"]
    rows = annotator.annotate(batch_of(mixed, language="en")).to_pylist()
    ngram = load_ngram(model)
    limits = annotator.models[0][1].limits
    for text, row in zip(mixed, rows, strict=True):
        total, tokens = 0.0, 0
        for line in plain_row(text)["left"].split("\n"):
            scores = [score for _, score in ngram.token_scores(line)]
            if len(scores) > 1:
                total, tokens = total + sum(scores), tokens + len(scores)
        if not tokens:
            assert (row["perplexity"], row["bucket"]) == (None, "all")
            continue
        assert row["perplexity"] == pytest.approx(10 ** (-total / tokens), abs=0.051, rel=1e-5)
        head, middle = limits
        place = "head" if row["perplexity"] < head else "middle" if row["perplexity"] < middle else "tail"
        assert row["bucket"] == place
    alone = annotator.annotate(batch_of(mixed[:1], language="en")).to_pylist()
    assert alone == rows[:1]


def test_a_model_of_others_reads_the_document_as_cc_net_does(data_folder: Path) -> None:
    path = data_folder / "ngram_lmplz.arpa.gz"
    text = "The Company has\nthe OPTION\nThe Company has\nof 12 things\u2026"
    row = CcNet(model={"en": str(path)}, identify=False).annotate(batch_of([text], language="en")).to_pylist()[0]
    normal = normalise("The Company has\nthe OPTION\nof 12 things\u2026")
    assert normal == "the company hasthe optionof 00 things..."
    total = sum(score for _, score in load_ngram(path).token_scores(normal))
    assert row["perplexity"] == round(10 ** (-total / (len(normal.split()) + 1)), 1)
    assert CUTOFFS["en"] == (340.0, 520.0)
    low, high = row["perplexity"] - 1, row["perplexity"] + 1
    for limits, bucket in (((high, high), "head"), ((low, high), "middle"), ((low, low), "tail")):
        annotator = CcNet(model={"en": str(path)}, identify=False, limits={"en": limits})
        assert annotator.annotate(batch_of([text], language="en"))["bucket"].to_pylist() == [bucket]
    rows = CcNet(model={"en": str(path)}, identify=False).annotate(batch_of([text] * 2, language=["de", None]))
    assert rows["perplexity"].to_pylist() == [None, None] and rows["bucket"].to_pylist() == ["all", "all"]


def test_wrong_options(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="none: no ngram model there"):
        CcNet(model=str(tmp_path / "none"))
    with pytest.raises(ValueError, match="pieces for 'en', but no model"):
        CcNet(pieces={"en": "x"})
    with pytest.raises(ValueError, match="limits of 'en'"):
        CcNet(model=str(model), limits={"en": (5.0, 1.0)})


PATHOLOGICAL = ["read more\n", "\n", "x", "\u0301", "\u03a3", "a\n\x85", "\u302f\u302e", "word \u2028"]


@pytest.mark.parametrize("part", PATHOLOGICAL)
def test_time_is_linear(part: str) -> None:
    annotator = CcNet(identify=False)

    def seconds(repeats: int) -> float:
        batch, best = batch_of([part * repeats]), math.inf
        for _ in range(3):
            start = time.process_time()
            annotator.annotate(batch)
            best = min(best, time.process_time() - start)
        return best

    seconds(10)
    assert seconds(80_000) < 6 * seconds(20_000) + 0.01


def test_many_different_lines_take_linear_time() -> None:
    def seconds(lines: int) -> float:
        found = np.random.default_rng(0).integers(1, 1 << 63, lines).astype(np.uint64)
        offsets = np.array([0, lines], np.int64)
        best = math.inf
        for _ in range(3):
            start = time.process_time()
            first_of_text(found, offsets)
            best = min(best, time.process_time() - start)
        return best

    seconds(10)
    assert seconds(400_000) < 8 * seconds(100_000) + 0.01
