"""N-gram models: estimates equal lmplz's, scores equal KenLM's, files are read back, wrong files are named.

ngram_lines.txt: lines of the web texts; ngram_lmplz.arpa.gz: `lmplz -o 4 --discount_fallback` of them;
ngram_kenlm_scores.json: the package kenlm 0.3.0 on that model.
"""

from __future__ import annotations

import gzip
import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals import ngram_model_tables as tables
from quality_signals.ccnet_normalise import normalise
from quality_signals.codepoints import code_points
from quality_signals.model_files import ModelFileError
from quality_signals.ngram_model import FitError, NgramModel, fit_ngram, load_ngram
from quality_signals.ngram_model_fit import FALLBACK, discounts, estimate
from quality_signals.ngram_model_tables import Level
from quality_signals.ngram_model_tokens import BLANK, MARKS, Vocabulary, split

Grams = dict[tuple[bytes, ...], tuple[float, float]]


def grams_of(model: NgramModel) -> list[Grams]:
    """Of each order: words -> (log10 probability, log10 backoff)."""
    found: list[Grams] = []
    names: list[tuple[bytes, ...]] = [()]
    for k, level in enumerate(model.levels):
        contexts, words = level.context.tolist(), level.word.tolist()
        names = [(*(names[c] if k else ()), model.words[w]) for c, w in zip(contexts, words, strict=True)]
        values = zip(level.log_probability.tolist(), level.log_backoff.tolist(), strict=True)
        found.append(dict(zip(names, values, strict=True)))
    return found


def reference(lines: list[list[str]], order: int) -> list[dict[tuple[str, ...], tuple[float, float]]]:
    """Interpolated modified Kneser-Ney by the book, with dictionaries: (probability, backoff weight)."""
    padded = [["<s>", *line, "</s>"] for line in lines]
    counts = [
        Counter(tuple(line[i : i + n]) for line in padded for i in range(len(line) - n + 1))
        for n in range(1, order + 1)
    ]
    adjusted: list[dict[tuple[str, ...], int]] = []
    for n in range(1, order + 1):
        if n == order:
            adjusted.append(dict(counts[n - 1]))
            continue
        before: dict[tuple[str, ...], set[str]] = {}
        for gram in counts[n]:
            before.setdefault(gram[1:], set()).add(gram[0])
        adjusted.append(
            {
                g: c if g[0] == "<s>" else len(before[g])
                for g, c in counts[n - 1].items()
                if g[0] == "<s>" or g in before
            }
        )
    adjusted[0].pop(("<s>",), None)
    words = {word for line in padded for word in line} - {"<s>"}
    result: list[dict[tuple[str, ...], tuple[float, float]]] = []
    gammas: list[dict[tuple[str, ...], float]] = []
    for n, table in enumerate(adjusted, 1):
        of = Counter(table.values())
        amounts = list(FALLBACK)
        if all(of[i] for i in (1, 2, 3)):
            y = of[1] / (of[1] + 2 * of[2])
            estimated = [i - (i + 1) * y * of[i + 1] / of[i] for i in (1, 2, 3)]
            if all(0 < d <= i for i, d in enumerate(estimated, 1)):
                amounts = estimated
        total: Counter[tuple[str, ...]] = Counter()
        saved: dict[tuple[str, ...], float] = {}
        for gram, count in table.items():
            total[gram[:-1]] += count
            saved[gram[:-1]] = saved.get(gram[:-1], 0.0) + amounts[min(count, 3) - 1]
        gamma = {context: saved[context] / total[context] for context in total}
        gammas.append(gamma)
        level = {}
        for gram, count in table.items():
            lower = 1 / (len(words) + 1) if n == 1 else result[-1][gram[1:]][0]
            share = (count - amounts[min(count, 3) - 1]) / total[gram[:-1]]
            level[gram] = (share + gamma[gram[:-1]] * lower, 1.0)
        if n == 1:
            level[("<unk>",)] = (gamma[()] / (len(words) + 1), 1.0)
            level[("<s>",)] = (0.0, 1.0)
        result.append(level)
    for n in range(order - 1):
        result[n] = {gram: (p, gammas[n + 1].get(gram, 1.0)) for gram, (p, _) in result[n].items()}
    return result


def fitted(lines: list[list[str]], order: int) -> NgramModel:
    vocabulary = Vocabulary()
    utf8 = np.frombuffer("\n".join(" ".join(line) for line in lines).encode(), np.uint8)
    sizes = [len(" ".join(line).encode()) for line in lines]
    bounds = np.cumsum([0, *(size + 1 for size in sizes)])
    tokens = split(utf8, np.append(bounds[:-1], len(utf8)).astype(np.int64), "word")
    ids = vocabulary.add(tokens)
    counts = np.diff(tokens.offsets)
    stream = np.concatenate([[1, *ids[a : a + n], 2] for a, n in zip(tokens.offsets, counts, strict=False)])
    places = np.concatenate([np.arange(n + 2) for n in counts])
    levels, _ = estimate(stream.astype(np.int32), places, order, vocabulary.size)
    return NgramModel(tuple(vocabulary.words()), tuple(levels))


@pytest.fixture(scope="module")
def lines(data_folder: Path) -> list[str]:
    return (data_folder / "ngram_lines.txt").read_text().split("\n")[:-1]


@pytest.fixture(scope="module")
def lmplz(data_folder: Path) -> NgramModel:
    return load_ngram(data_folder / "ngram_lmplz.arpa.gz")


def test_the_estimates_are_those_of_lmplz(lines: list[str], lmplz: NgramModel, tmp_path: Path) -> None:
    fit_ngram(lines, tmp_path / "model", order=4, normalise="none", held_out=0)
    for mine, theirs in zip(grams_of(load_ngram(tmp_path / "model")), grams_of(lmplz), strict=True):
        assert mine.keys() == theirs.keys()
        for gram, values in mine.items():
            wanted = theirs[gram]
            if gram == (b"<s>",):  # is never predicted: lmplz writes 0, SRILM and this -99
                values, wanted = values[1:], wanted[1:]
            assert values == pytest.approx(wanted, abs=1e-6), gram


def test_the_scores_are_those_of_kenlm(lmplz: NgramModel, data_folder: Path) -> None:
    for row in json.loads((data_folder / "ngram_kenlm_scores.json").read_text()):
        found = lmplz.token_scores(row["line"])
        assert [word for word, _ in found] == [*row["line"].split(), "</s>"]
        assert [score for _, score in found] == row["tokens"]
        assert sum(score for _, score in found) == pytest.approx(row["score"], abs=1e-4)


def test_an_example_by_hand() -> None:
    # "a a b" and "a b": bigrams <s>a 2, aa 1, ab 2, b</s> 2; before a: <s>, a; before b: a; before </s>: b.
    model = fitted([["a", "a", "b"], ["a", "b"]], 2)
    found = {
        gram: (10.0**p, 10.0**b) for level in grams_of(model) for gram, (p, b) in level.items() if gram != (b"<s>",)
    }
    # Too few n-grams for discounts, so 0.5, 1, 1.5.  Unigrams: a 2, b 1, </s> 1 of 4; saved (1 + 0.5 + 0.5) / 4.
    uniform = 0.5 / 4  # over a, b, </s>, <unk>
    assert found[(b"<unk>",)][0] == pytest.approx(uniform)
    assert found[(b"a",)][0] == pytest.approx((2 - 1) / 4 + uniform)
    assert found[(b"b",)][0] == pytest.approx((1 - 0.5) / 4 + uniform)
    # After a: a 1, b 2 of 3, saved (0.5 + 1) / 3.
    assert found[(b"a",)][1] == pytest.approx(0.5)
    assert found[(b"a", b"b")][0] == pytest.approx((2 - 1) / 3 + 0.5 * (0.125 + uniform))
    assert found[(b"a", b"a")][0] == pytest.approx((1 - 0.5) / 3 + 0.5 * (0.25 + uniform))
    scores = [score for _, score in model.token_scores("b a")]
    start = 10 ** grams_of(model)[0][(b"<s>",)][1]
    assert 10 ** scores[0] == pytest.approx(start * (0.125 + uniform))  # b never starts a line: by the backoff of <s>
    assert 10 ** scores[1] == pytest.approx(found[(b"b",)][1] * (0.25 + uniform))


LINE = st.lists(st.sampled_from(["a", "b", "c", "dd", "\u00e9", "\U0001f600"]), min_size=1, max_size=7)
WORDS = st.lists(LINE, min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(WORDS, st.integers(1, 5))
def test_estimates_equal_the_plain_ones(lines: list[list[str]], order: int) -> None:
    found = grams_of(fitted(lines, order))
    for mine, plain in zip(found, reference(lines, order), strict=True):
        assert {tuple(word.decode() for word in gram) for gram in mine} == set(plain)
        for gram, (log_probability, log_backoff) in mine.items():
            probability, backoff = plain[tuple(word.decode() for word in gram)]
            if gram != (b"<s>",):
                assert 10**log_probability == pytest.approx(probability, rel=1e-5)
            assert 10**log_backoff == pytest.approx(backoff, rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(WORDS, st.integers(1, 4), st.lists(st.sampled_from(["a", "b", "dd", "zz"]), max_size=4))
def test_after_any_context_the_probabilities_sum_to_1(lines: list[list[str]], order: int, context: list[str]) -> None:
    model = fitted(lines, order)
    known = {word.decode() for word in model.words} - set(MARKS)
    total = 10.0 ** model.token_scores(" ".join(context))[-1][1]  # </s>
    for word in [*known, "never seen".replace(" ", "_")]:
        total += 10.0 ** model.token_scores(" ".join([*context, word]))[-2][1]
    assert total == pytest.approx(1.0, abs=1e-5)


def plain_score(found: list[Grams], words: list[bytes], context: list[bytes]) -> float:
    """log10 probability of words[-1] after the rest, by the definition."""
    gram = (*context, words[0])
    if gram in found[len(gram) - 1]:
        return found[len(gram) - 1][gram][0]
    backoff = found[len(context) - 1].get(tuple(context), (0.0, 0.0))[1]
    return backoff + plain_score(found, words, context[1:])


@settings(max_examples=40, deadline=None)
@given(WORDS, st.integers(1, 5), WORDS)
def test_scores_equal_the_plain_ones(lines: list[list[str]], order: int, others: list[list[str]]) -> None:
    model = fitted(lines, order)
    found = grams_of(model)
    for line in others:
        words = [b"<s>", *(word.encode() if word.encode() in model.words else b"<unk>" for word in line), b"</s>"]
        for i, (_, score) in enumerate(model.token_scores(" ".join(line)), 1):
            context = words[max(0, i - order + 1) : i]
            assert score == pytest.approx(plain_score(found, [words[i]], context), abs=1e-5)


TEXT = st.text(
    st.one_of(st.sampled_from(" \n\r\t\x85\u2028\x00\u0301\u03a3\u3000\xa0ab"), st.characters(codec="utf-8"))
)


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXT, max_size=5))
def test_tokens_are_those_of_python(texts: list[str]) -> None:
    joined = code_points("".join(texts))
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    starts = ends - np.array([len(text) for text in texts], np.int64)
    level = Level(*(np.zeros(3, dtype) for dtype in (np.int32, np.int32, np.float32, np.float32)))
    for unit in ("word", "character"):
        for form in ("none", "ccnet"):
            model = NgramModel(tuple(mark.encode() for mark in MARKS), (level,), unit, form)
            tokens = model.tokens(joined, starts, ends)
            data = tokens.utf8.tobytes()
            found = [data[a:b].decode() for a, b in zip(tokens.starts, tokens.ends, strict=True)]
            wanted = [(normalise if form == "ccnet" else str.strip)(text) for text in texts]
            if unit == "word":
                each = [text.split() for text in wanted]
            else:
                each = [list(BLANK.join(("x" + text + "x").split())[1:-1]) for text in wanted]
            assert found == list(itertools.chain(*each))
            assert np.diff(tokens.offsets).tolist() == [len(part) for part in each]


def test_every_white_space_separates_words() -> None:
    for c in [c for c in range(0x110000) if chr(c).isspace()]:
        utf8 = np.frombuffer(f"a{chr(c)}b{chr(c)}".encode(), np.uint8)
        assert len(split(utf8, np.array([0, len(utf8)]), "word").starts) == 2, hex(c)


def test_files_are_read_back_exactly(lines: list[str], tmp_path: Path) -> None:
    for unit in ("word", "character"):
        first = fit_ngram(lines, tmp_path / "model", order=3, unit=unit, min_count=2)
        model = load_ngram(tmp_path / "model")
        assert (model.order, model.unit, model.normalise) == (3, unit, "ccnet")
        model.write_arpa(tmp_path / f"{unit}.arpa")
        again = load_ngram(tmp_path / f"{unit}.arpa")
        assert again.words == model.words
        for mine, theirs in zip(model.levels, again.levels, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))
        again.write_arpa(tmp_path / "again.arpa")
        assert (tmp_path / "again.arpa").read_bytes() == (tmp_path / f"{unit}.arpa").read_bytes()
        other = fit_ngram(lines[::-1], tmp_path / "other", order=3, unit=unit, min_count=2)
        assert other.sha256 == first.sha256  # the order of the texts does not matter


def test_the_manifest_says_what_was_learnt_and_measured(lines: list[str], tmp_path: Path) -> None:
    texts = ["\n".join(lines[i : i + 3]) for i in range(0, len(lines), 3)] + ["", "  \n\n"]
    found = fit_ngram(texts, tmp_path / "m", order=3, held_out=0.3, inputs={"a.jsonl": "0" * 64}).manifest
    assert found["kind"] == "ngram"
    assert found["options"] == {"order": 3, "unit": "word", "normalise": "ccnet", "min_count": 1, "held_out": 0.3}
    assert found["trained_on"]["inputs"] == {"a.jsonl": "0" * 64}
    assert 0 < found["held_out"]["documents"] < len(texts)
    assert found["cutoffs"] == {"of": "held-out texts", **found["held_out"]}
    assert 1 < found["cutoffs"]["p30"] <= found["cutoffs"]["p60"]
    assert len(found["discounts"]) == len(found["ngrams"]) == 3
    given_ = fit_ngram(texts, tmp_path / "m", order=3, held_out=0, cutoff_texts=["the company", "zzz"]).manifest
    assert given_["held_out"]["documents"] == 0 and given_["held_out"]["perplexity"] is None
    assert given_["cutoffs"]["of"] == "cutoff_texts" and given_["cutoffs"]["documents"] == 2


def test_words_that_read_like_marks_are_unknown(tmp_path: Path) -> None:
    fit_ngram(["a <s> b </s> <unk>", "a b c"], tmp_path / "m", order=2, held_out=0)
    model = load_ngram(tmp_path / "m")
    assert model.words == (b"<unk>", b"<s>", b"</s>", b"a", b"b", b"c")
    assert open(tmp_path / "m", "rb").read(2) == b"PK"
    scores = dict(model.token_scores("a </s> b"))
    assert math.isfinite(scores["b"]) and scores["</s>"] != 0


def test_discounts() -> None:
    found = discounts(np.repeat([1, 2, 3, 4, 9], [100, 40, 20, 12, 5]))
    y = 100 / 180
    assert found.estimated
    assert found.amounts == pytest.approx((1 - 2 * y * 0.4, 2 - 3 * y * 0.5, 3 - 4 * y * 0.6))
    assert discounts(np.array([1, 2, 4])).amounts == FALLBACK
    assert not discounts(np.repeat([1, 2, 3, 4], [1, 1, 90, 1])).estimated  # D2 would be negative


def test_wrong_calls_of_fit(tmp_path: Path) -> None:
    for texts in ([], ["", " \n", "\u0301"]):
        with pytest.raises(FitError, match="no token in the texts"):
            fit_ngram(texts, tmp_path / "m")
    with pytest.raises(FitError, match="order 0; 1 to 9"):
        fit_ngram(["a"], tmp_path / "m", order=0)
    with pytest.raises(FitError, match="unit 'line'"):
        fit_ngram(["a"], tmp_path / "m", unit="line")
    with pytest.raises(FitError, match="min_count 0"):
        fit_ngram(["a"], tmp_path / "m", min_count=0)
    with pytest.raises(FitError, match="a text is a string, not bytes"):
        fit_ngram([b"a"], tmp_path / "m")  # type: ignore[list-item]
    with pytest.raises(FitError, match="lone surrogate at character 1"):
        fit_ngram(["a", "b\ud800"], tmp_path / "m")
    assert not (tmp_path / "m").exists()
    assert fit_ngram(["a"], tmp_path / "m", held_out=0).manifest["ngrams"] == [4, 2, 1, 0, 0]
    assert [word for word, _ in load_ngram(tmp_path / "m").token_scores("a b")] == ["a", "b", "</s>"]


ARPA = (
    "\\data\\\nngram 1=4\nngram 2=2\n\n\\1-grams:\n-1\t<unk>\n-99\t<s>\t-0.3\n-0.5\t</s>\n-0.7\ta\t-0.2\n\n"
    "\\2-grams:\n-0.1\t<s> a\n-0.2\ta </s>\n\n\\end\\\n"
)


def changed(old: str, new: str) -> Callable[[], str]:
    assert old in ARPA
    return lambda: ARPA.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed("\\end\\\n", ""), "the file is cut short: no .end"),
        (lambda: ARPA[: ARPA.index("-0.2\ta </s>")], "cut short: 1 2-grams, the header says 2"),
        (lambda: ARPA[: ARPA.index("\\2-grams")], "line 10: the file is cut short"),
        (changed("ngram 2=2", "ngram 2=3"), "2 2-grams, the header says 3"),
        (changed("ngram 2=2", "ngram 2=1"), "line 13: more 2-grams than the 1 of the header"),
        (changed("ngram 2=2", "ngram 3=2"), "line 3: expected 'ngram 2=<count>', found 'ngram 3=2'"),
        (changed("\\2-grams:", "\\3-grams:"), "expected .2-grams:, found"),
        (changed("-0.1\t<s> a", "-0.1\t<s> b"), "line 12: the word 'b' has no 1-gram"),
        (changed("-0.1\t<s> a", "x\t<s> a"), "line 12: not a number in"),
        (changed("-0.1\t<s> a", "nan\t<s> a"), "line 12: not the logarithm of a probability"),
        (changed("-0.1\t<s> a", "0.1\t<s> a"), "line 12: not the logarithm of a probability"),
        (changed("-0.1\t<s> a", "-0.1\t<s> a a -0.5"), "line 12: not a 2-gram"),
        (changed("-0.2\ta </s>", "-0.2\t<s> a"), "2-gram 2 stands twice"),
        (changed("-0.7\ta", "-0.7\t<s>"), "stands twice"),
        (lambda: "\\data\\\n", "line 1: 0 orders in the header"),
    ],
)
def test_a_wrong_arpa_file_is_named(text: Callable[[], str], message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    path.write_text(text())
    with pytest.raises(ModelFileError, match=rf"model.arpa: .*{message}"):
        load_ngram(path)


def test_arpa_files_of_others(tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    path.write_text("\n" + ARPA.replace("-1\t<unk>\n", "").replace("1=4", "1=3").replace("\t", "  "))
    model = load_ngram(path)
    assert model.token_scores("a b") == [
        ("a", pytest.approx(-0.1)),
        ("b", pytest.approx(-100.2)),
        ("</s>", pytest.approx(-0.5)),
    ]
    path.write_text(ARPA.replace("<unk>", "<UNK>"))
    assert load_ngram(path).token_scores("b")[0][1] == pytest.approx(-1.3)
    packed = tmp_path / "model.arpa.gz"
    packed.write_bytes(gzip.compress(ARPA.encode()))
    assert load_ngram(packed).token_scores("a")[0][1] == pytest.approx(-0.1)
    packed.write_bytes(gzip.compress(ARPA.encode())[:-20])
    with pytest.raises(ModelFileError, match="model.arpa.gz: "):
        load_ngram(packed)
    # SRILM prunes: a 3-gram may stand without its last two words
    path.write_text(
        "\\data\\\nngram 1=4\nngram 2=1\nngram 3=1\n\n\\1-grams:\n-1 <unk>\n-99 <s> -0.3\n-0.5 </s>\n-0.7 a -0.2\n\n"
        "\\2-grams:\n-0.1 <s> a -0.4\n\n\\3-grams:\n-0.05 <s> a a\n\n\\end\\\n"
    )
    assert [s for _, s in load_ngram(path).token_scores("a a")] == pytest.approx([-0.1, -0.05, -0.2 - 0.5])


def test_other_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="none: no ngram model there"):
        load_ngram(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ModelFileError, match="text: not a model file"):
        load_ngram(tmp_path / "text")


def test_the_same_ngram_twice_is_found() -> None:
    one = np.zeros(2, np.int32)
    level = Level(one, np.array([1, 1], np.int32), np.zeros(2, np.float32), np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="2-gram 2 stands twice"):
        tables.tables([level, level])


@pytest.mark.parametrize("text", ["read more here ", "x", "\u0301", "\n", "a \u03a3", "ab\x00\u2028"])
def test_scoring_takes_linear_time(text: str, lmplz: NgramModel) -> None:
    def seconds(repeats: int) -> float:
        points = code_points(text * repeats)
        span = np.zeros(1, np.int64), np.array([len(points)])
        best = math.inf
        for _ in range(3):
            start = time.process_time()
            lmplz.line_scores(lmplz.tokens(points, *span))
            best = min(best, time.process_time() - start)
        return best

    seconds(10)
    assert seconds(160_000) < 6 * seconds(40_000) + 0.01
