from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_models.fim import (
    VARIANTS,
    Mark,
    Numbers,
    arrange,
    choose,
    fim_document,
    permute,
    permute_sample,
    tokens_of,
)

DATA = Path(__file__).parents[1] / "data" / "shapes"
NUMBERS = Numbers(end_of_document=0, prefix=1, middle=2, suffix=3, pad=4)
SPECIALS = {
    0: "<|endoftext|>",
    1: "<fim_prefix>",
    2: "<fim_middle>",
    3: "<fim_suffix>",
    4: "<fim_pad>",
    5: "<file_sep>",
}


class Codec:
    """The stand-in tokenisers of the golden file: `char`, or pairs of lower-case letters."""

    def __init__(self, pairs: bool) -> None:
        self.pairs = pairs

    def tokenize(self, text: str) -> list[int]:
        found, i = [], 0
        while i < len(text):
            two = text[i : i + 2]
            if self.pairs and len(two) == 2 and all("a" <= each <= "z" for each in two):
                found.append(2000000 + 26 * (ord(two[0]) - 97) + ord(two[1]) - 97)
                i += 2
            else:
                found.append(ord(text[i]) + 1000)
                i += 1
        return found

    def detokenize(self, tokens: Any) -> str:
        parts = []
        for token in map(int, tokens):
            if token in SPECIALS:
                parts.append(SPECIALS[token])
            elif token >= 2000000:
                parts.append(chr(97 + (token - 2000000) // 26) + chr(97 + (token - 2000000) % 26))
            else:
                parts.append(chr(token - 1000))
        return "".join(parts)


def cases(fn: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / "fim.jsonl.gz", "rt") as lines:
        return [case for case in map(json.loads, lines) if case["fn"] == fn]


def test_permute_gives_the_tokens_of_the_reference() -> None:
    found = cases("permute")
    assert len(found) == 34
    for case in found:
        rng, codec = np.random.RandomState(case["seed"]), Codec(case["tokenizer"] == "pair")
        sample = np.array(case["input_ids"], np.int64)
        for expected in case["outputs"]:
            made = permute(
                sample, rng, case["fim_rate"], case["fim_spm_rate"], codec, NUMBERS,
                truncate_or_pad=case["truncate_or_pad"],
            )  # fmt: skip
            assert made.tolist() == (expected["tuple_first"] if isinstance(expected, dict) else expected)
        assert rng.randint(0, 2**31 - 1) == case["rng_after"]


def test_permute_sample_gives_the_samples_of_the_reference() -> None:
    found = cases("GPTDataset.__getitem__")
    assert len(found) == 40
    for case in found:
        rng = np.random.RandomState(case["seed"])
        made = permute_sample(
            np.array(case["input_ids"]), rng, Codec(case["tokenizer"] == "pair"), NUMBERS, rate=case["fim_rate"],
            spm_rate=case["fim_spm_rate"], fragment_rate=case["fragment_fim_rate"], split=case["fim_split_sample"],
        )  # fmt: skip
        assert made.tolist() == case["output"], case["seed"]
        assert rng.randint(0, 2**31 - 1) == case["rng_after"]


def undo(pieces: list[Any], variant: str) -> str:
    """The text again, by hand, of the files between separators."""
    files: list[list[Any]] = [[]]
    for piece in pieces:
        if piece is Mark.FILE_SEP:
            files.append([])
        else:
            files[-1].append(piece)
    texts = []
    for file in files:
        match file:
            case [str(text)]:
                texts.append(text)
            case [Mark.PREFIX, str(prefix), Mark.SUFFIX, str(suffix), Mark.MIDDLE, str(middle)]:
                texts.append(prefix + middle + suffix)
            case [Mark.PREFIX, Mark.SUFFIX, str(suffix), Mark.MIDDLE, str(prefix), str(middle)] if variant == "spm2":
                texts.append(prefix + middle + suffix)
            case [Mark.SUFFIX, str(suffix), Mark.PREFIX, str(prefix), Mark.MIDDLE, str(middle)] if variant == "spm":
                texts.append(prefix + middle + suffix)
            case _:
                raise AssertionError(file)
    return "<file_sep>".join(texts)


TEXT = st.lists(st.one_of(st.text(max_size=12), st.sampled_from(["<file_sep>", "<repo_name>r", "\r\n", "\0", "😀"])))


@settings(max_examples=150, deadline=None)
@given(TEXT.map("".join), st.text(max_size=8), st.sampled_from(VARIANTS), st.sampled_from(["document", "file_sep"]))
def test_nothing_is_lost(text: str, doc_id: str, variant: str, level: str) -> None:
    pieces = fim_document(text, doc_id, rate=0.7, spm_rate=0.5, variant=variant, level=level, seed=3)
    again = fim_document(text, doc_id, rate=0.7, spm_rate=0.5, variant=variant, level=level, seed=3)
    assert pieces == again
    if pieces is not None:
        assert undo(pieces, variant) == text


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(5, 9), max_size=30), st.text(max_size=4))
def test_tokens_are_cut_as_their_text_would_be(tokens: list[int], doc_id: str) -> None:
    names = {5: "s", 6: "r", 7: "a", 8: "b", 9: "c"}
    text = "".join(names[each] for each in tokens)
    asked: dict[str, Any] = {"rate": 0.8, "level": "file_sep"}
    of_text = fim_document(text, doc_id, **asked, separator="s", alone="r")
    of_tokens = fim_document(np.array(tokens, np.int64), doc_id, **asked, separator=5, alone=6)
    assert (of_text is None) == (of_tokens is None)
    if of_text is not None and of_tokens is not None:
        marks = {Mark.PREFIX: 1, Mark.MIDDLE: 2, Mark.SUFFIX: 3, Mark.FILE_SEP: 5}
        numbers = {name: number for number, name in names.items()}
        written = tokens_of(of_text, lambda part: np.array([numbers[each] for each in part]), marks)
        assert written.tolist() == tokens_of(of_tokens, lambda part: np.empty(0), marks).tolist()
        assert sorted(each for each in written.tolist() if each > 4) == sorted(tokens)


def test_the_rates_are_the_rates() -> None:
    made = [fim_document("some text here", f"d{i}", rate=0.5, spm_rate=0.25) for i in range(4000)]
    permuted = [each for each in made if each is not None]
    assert abs(len(permuted) / 4000 - 0.5) < 0.03
    assert abs(np.mean([each[1] is Mark.SUFFIX for each in permuted]) - 0.25) < 0.03
    assert fim_document("text", "d", rate=0) is None and all(fim_document("t", f"d{i}", rate=1) for i in range(50))
    other = [fim_document("some text here", f"d{i}", rate=0.5, spm_rate=0.25, seed=1) for i in range(200)]
    epoch = [fim_document("some text here", f"d{i}", rate=0.5, spm_rate=0.25, epoch=1) for i in range(200)]
    assert made[:200] != other != epoch != made[:200]


def test_cuts_are_uniform_and_may_touch_both_ends() -> None:
    cuts = [choose(int(key), 3, 1.0) for key in np.arange(4000, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)]
    ends = np.array([[cut.start, cut.stop] for cut in cuts if cut is not None])
    assert len(ends) == 4000 and (ends[:, 0] <= ends[:, 1]).all()
    shares = np.bincount(ends.ravel(), minlength=4) / ends.size
    assert np.abs(shares - 0.25).max() < 0.02


def test_a_file_has_a_quarter_of_a_chance_and_the_name_of_the_repository_none() -> None:
    text = "<repo_name>a/b<file_sep>x\nfile one<file_sep><file_sep>y\nfile two"
    files = permuted = 0
    for i in range(2000):
        pieces = fim_document(text, f"d{i}", rate=0.5, level="file_sep")
        files += 2
        if pieces is not None:
            assert pieces[:2] == ["<repo_name>a/b", Mark.FILE_SEP]
            permuted += sum(each is Mark.PREFIX for each in pieces)
            assert sum(each is Mark.FILE_SEP for each in pieces) == 3
    assert abs(permuted / files - 0.25) < 0.03


def test_the_forms_are_those_of_the_papers() -> None:
    assert arrange("p", "m", "s", spm=False) == [Mark.PREFIX, "p", Mark.SUFFIX, "s", Mark.MIDDLE, "m"]
    assert arrange("p", "m", "s", spm=True) == [Mark.PREFIX, Mark.SUFFIX, "s", Mark.MIDDLE, "p", "m"]
    spm = arrange("p", "m", "s", spm=True, variant="spm")
    assert spm == [Mark.SUFFIX, "s", Mark.PREFIX, "p", Mark.MIDDLE, "m"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"rate": 1.5}, "rate is 1.5, allowed are 0 to 1"),
        ({"spm_rate": -1}, "spm_rate is -1, allowed"),
        ({"file_rate": 2}, "file_rate is 2"),
        ({"variant": "psm"}, "variant is 'psm', allowed are spm2, spm"),
        ({"level": "line"}, "level is 'line', allowed are document, file_sep"),
        ({"level": "file_sep", "separator": 5}, "separator is 5; in a text"),
    ],
)
def test_wrong_options_are_named(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fim_document("text", "d", **asked)


def test_separators_of_tokens_are_numbers() -> None:
    with pytest.raises(ValueError, match="among tokens it is a number"):
        fim_document(np.arange(3), "d", level="file_sep")


def test_time_is_linear_in_the_files() -> None:
    def seconds(files: int) -> float:
        text = "<file_sep>" * files
        times = []
        for i in range(3):
            start = time.process_time()
            fim_document(text + "a", f"{i}", rate=1.0, level="file_sep")
            times.append(time.process_time() - start)
        return min(times)

    seconds(100)
    assert seconds(80_000) < 8 * max(seconds(20_000), 1e-3)
