"""Hash features against the reference's and CPython's own; importance by plain formulas; fitting; bad models."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.dsir import (
    DsirFeatures,
    DsirImportance,
    RedPajamaImportance,
    count_domain,
    fit,
    import_redpajama,
    open_importance,
    write_importance,
)
from quality_signals.dsir_features import Features, hash_features, pair_hash, string_hash
from quality_signals.model_files import ModelFileError, write_model
from quality_signals.text_batch import SharedTexts

# The vector of the reference's own run: 121 features in 90 buckets.
VECTOR = (
    "The Quick brown fox's caf\u00e9 \u2014 jumped OVER the lazy dog...\n\n\u2022 Visit {our} site: javascript "
    "JavaScript enabled? NO!\nLorem ipsum dolor sit amet; the quick brown fox jumped over. The quick brown fox jumped "
    "over #1 2nd time\u2026\n the quick brown fox jumped over the lazy dog\u201d\n"
)
HOSTILE = ["", " ", "\n", "a", "\x00", "a\x00b", "\r\n\x85\u2028", "e\u0301" * 40, "\U0001f600 \U00020000x", "中文字"]
HOSTILE += ["ΑΣ Σ ΑΣ.", "İstanbul ǅ ﬁ", "don't stop--now", "x" * 300, "\xff" * 9, "\u0100" * 9, "_ __ ٣"]
CHARACTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from(
    " \n\t.,'aAéΣσİ中ｱ\u0301\u200d\x85\u2028\x00\U0001f600"
)
TEXTS = st.lists(st.text(CHARACTERS, max_size=60), max_size=6)
MASK = (1 << 64) - 1
KEY = (0xDC504FD368CD90AF, 0xB920BB9FFE99E9C1)  # bytes af90cd68 d34f50dc c1e999fe 9fbb20b9, little-endian


def slow_string_hash(text: str) -> int:
    """CPython 3.11's hash under PYTHONHASHSEED=42, unsigned, of a string that is not empty."""
    widest = max(map(ord, text))
    data = text.encode("latin-1" if widest < 256 else "utf-16-le" if widest < 65536 else "utf-32-le", "surrogatepass")
    v = [KEY[i % 2] ^ int.from_bytes(b"somepseudorandomlygeneratedbytes"[8 * i : 8 * i + 8], "big") for i in range(4)]

    def rotated(value: int, bits: int) -> int:
        return (value << bits | value >> 64 - bits) & MASK

    def mix() -> None:
        v[0], v[2] = (v[0] + v[1]) & MASK, (v[2] + v[3]) & MASK
        v[1], v[3] = rotated(v[1], 13) ^ v[0], rotated(v[3], 16) ^ v[2]
        v[0] = rotated(v[0], 32)
        v[2], v[0] = (v[2] + v[1]) & MASK, (v[0] + v[3]) & MASK
        v[1], v[3] = rotated(v[1], 17) ^ v[2], rotated(v[3], 21) ^ v[0]
        v[2] = rotated(v[2], 32)

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 255])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        mix()
        v[0] ^= word
    v[2] ^= 255
    for _ in range(3):
        mix()
    value = v[0] ^ v[1] ^ v[2] ^ v[3]
    return value if value != MASK else MASK - 1


def slow_pair_hash(first: int, second: int) -> int:
    state = 2870177450012600261
    for value in (first, second):
        state = (state + value * 14029467366897019727) & MASK
        state = ((state << 31 | state >> 33) & MASK) * 11400714785074694791 & MASK
    state = (state + (2 ^ 2870177450012600261 ^ 3527539)) & MASK
    return state if state != MASK else 1546275796


def slow_features(text: str, scheme: str, buckets: int = 10_000) -> tuple[dict[int, int], int]:
    """{bucket: count} ascending, and the number of words."""
    if scheme == "rpv2":
        words = re.findall(r"\w+|[^\w\s]+", text)
        hashes = [slow_string_hash(word) for word in words]
        hashes += [slow_pair_hash(a, b) for a, b in zip(hashes[:-1], hashes[1:], strict=True)]
        numbers = [value if value < 1 << 63 else (1 << 64) - value for value in hashes]
    else:
        words = re.findall(r"\w+|[^\w\s]+", text.lower())
        grams = words + [" ".join(pair) for pair in zip(words[:-1], words[1:], strict=True)]
        numbers = [int(hashlib.sha256(gram.encode()).hexdigest(), 16) for gram in grams]
    return dict(sorted(Counter(number % buckets for number in numbers).items())), len(words)


def features(texts: list[str], scheme: Any = "rpv2", buckets: int = 10_000) -> list[tuple[dict[int, int], int]]:
    found: Features = hash_features(SharedTexts(batch_of(texts)).of(None), scheme, buckets)
    bounds = found.offsets.tolist()
    return [
        (dict(zip(found.buckets[a:b].tolist(), found.counts[a:b].tolist(), strict=True)), int(words))
        for a, b, words in zip(bounds[:-1], bounds[1:], found.words, strict=True)
    ]


def test_golden_features_of_every_document(golden: Callable[[str], list[dict[str, Any]]]) -> None:
    texts = {row["id"]: row["text"] for row in golden("web_docs")}
    rows = golden("web_rpv2_dsir")
    found = DsirFeatures().annotate(batch_of([texts[row["id"]] for row in rows]))
    assert found.schema.equals(DsirFeatures.schema)
    for row, buckets, counts in zip(rows, *(column.to_pylist() for column in found.columns), strict=True):
        assert (row["id"], buckets, counts) == (row["id"], row["buckets"], row["counts"])
        assert sum(counts) == row["total"]


def test_the_published_vector() -> None:
    ((found, words),) = features([VECTOR])
    assert (len(found), sum(found.values()), words) == (90, 121, 61)
    assert list(found)[:8] == [3, 20, 97, 105, 244, 287, 578, 620]
    whole = np.zeros(10_000, np.int64)
    whole[list(found)] = list(found.values())
    assert hashlib.sha256(whole.tobytes()).hexdigest().startswith("46ecb50dafe51570")


def points(text: str) -> Any:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def test_hashes_are_those_of_a_python_process_with_the_seed() -> None:
    if sys.hash_info.algorithm != "siphash13":
        pytest.skip(f"this Python hashes strings by {sys.hash_info.algorithm}")
    words = ["the", "quick", "é", "é" * 8, "ā", "ж" * 4, "\U0001f600", "a\U0001f600b", "x" * 257, "中" * 300]
    code = "import json, sys; w = json.load(sys.stdin); print([[hash(x) for x in w], [hash((x, w[0])) for x in w]])"
    printed = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(words),
        env={**os.environ, "PYTHONHASHSEED": "42"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    singles, pairs = json.loads(printed)
    widths = [1 if max(word) < "\u0100" else 2 if max(word) < "\U00010000" else 4 for word in words]
    found = [string_hash(points(word), 0, len(word), width) for word, width in zip(words, widths, strict=True)]
    assert [value & MASK for value in singles] == [int(value) for value in found]
    assert [value & MASK for value in pairs] == [
        int(pair_hash(np.uint64(value), np.uint64(found[0]))) for value in found
    ]
    assert singles[0] == 6599659648229272820
    assert slow_string_hash(words[1]) == int(found[1])


@pytest.mark.parametrize("scheme", ["rpv2", "dsir"])
@settings(deadline=None, max_examples=100)
@given(texts=TEXTS, buckets=st.sampled_from([1, 7, 64, 10_000]))
def test_features_of_any_text_are_those_of_the_plain_functions(scheme: Any, texts: list[str], buckets: int) -> None:
    assert features(texts, scheme, buckets) == [slow_features(text, scheme, buckets) for text in texts]


@pytest.mark.parametrize("scheme", ["rpv2", "dsir"])
def test_features_of_hostile_texts(scheme: Any) -> None:
    texts = [*HOSTILE, " ".join(f"w{i}" for i in range(3000)), VECTOR]
    found = features(texts, scheme)
    assert [(list(a.items()), words) for a, words in found] == [
        (list(a.items()), words) for a, words in (slow_features(text, scheme) for text in texts)
    ]


def test_buckets_that_the_library_of_dsir_itself_tests() -> None:
    # p-lambda/dsir, tests/test_hashed_ngram.py
    ((found, words),) = features(["Alice went"], "dsir")
    assert (6720 in found, 114 in found, words) == (True, True, 2)


def test_rows_of_other_kinds_are_null_and_an_empty_text_has_empty_lists() -> None:
    batch = batch_of(["a b", "", None, "a"], kind=["web", None, "web", "code"])
    found = DsirFeatures().annotate(batch)
    assert [row if row is None else len(row) for row in found.column(0).to_pylist()] == [3, 0, None, None]
    everything = DsirFeatures(kinds=None).annotate(batch)
    assert [row if row is None else len(row) for row in everything.column(1).to_pylist()] == [3, 0, None, 1]
    assert DsirFeatures().annotate(batch_of([])).num_rows == 0


def test_wrong_features_and_buckets_are_named() -> None:
    texts = SharedTexts(batch_of(["a"])).of(None)
    with pytest.raises(ValueError, match="features 'sha1' are unknown: rpv2 or dsir"):
        hash_features(texts, "sha1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="buckets 0 must be 1 to"):
        hash_features(texts, "rpv2", 0)


@pytest.mark.parametrize("scheme", ["rpv2", "dsir"])
@pytest.mark.parametrize("piece", ["word and another; ", "x", "\u0301", "\n", "中", ". ", "Σ"])
def test_time_is_linear_in_the_text(scheme: Any, piece: str) -> None:
    def seconds(size: int) -> float:
        text = (piece * (size // len(piece) + 1))[:size]
        best = math.inf
        for _ in range(3):
            start = time.process_time()
            features([text], scheme)
            best = min(best, time.process_time() - start)
        return best

    features(["warm"], scheme)
    assert seconds(400_000) < 6 * seconds(100_000) + 0.01


# Importance


TARGET = ["The cat sat on the mat.", "A treaty was signed in 1648.", "", "The river flows north."]
SOURCE = ["BUY now!!! cheap cheap", "click here to win", "The cat sat", "sign in | log out", "menu home about"]
PROBES = ["The treaty was signed.", "BUY cheap!!!", "", " ", "unheard-of words only zzz", "The " * 500]


def equal_scores(found: tuple[float | None, ...], expected: tuple[float | None, ...]) -> bool:
    """Equal up to one unit of the last decimal: the reference adds in its BLAS's order."""
    pairs = list(zip(found, expected, strict=True))
    return all(a is b is None if a is None or b is None else abs(a - b) <= 1.01e-8 for a, b in pairs)


def slow_scores(model_texts: tuple[list[str], list[str]], text: str, scheme: str) -> tuple[float | None, ...]:
    """The formulas in numpy and scipy, as the reference has them."""
    stats = pytest.importorskip("scipy.stats")
    if not text:
        return None, None, None
    logs, means = [], []
    for corpus in model_texts:
        counts = np.zeros(10_000, np.int64)
        words = 0
        for document in corpus:
            found, size = slow_features(document, scheme)
            for bucket, count in found.items():
                counts[bucket] += count
            words += size
        logs.append(np.log(counts / counts.sum() + 1e-8))
        means.append(words / len(corpus))
    found, words = slow_features(text, scheme)
    features_ = np.zeros(10_000, np.int64)
    for bucket, count in found.items():
        features_[bucket] = count
    plain = float(np.inner(features_, logs[0] - logs[1]))
    terms = [
        np.log(stats.poisson.pmf(length, means[0]) + 1e-8) - np.log(stats.poisson.pmf(length, means[1]) + 1e-8)
        for length in (len(text), words)
    ]
    return round(plain, 8), *(round(plain + float(term), 8) for term in terms)


@pytest.mark.parametrize("scheme", ["rpv2", "dsir"])
def test_scores_are_those_of_the_formulas(tmp_path: Path, scheme: Any) -> None:
    fit(TARGET, SOURCE, tmp_path / "model", features=scheme)
    annotator = DsirImportance(str(tmp_path / "model"))
    found = annotator.annotate(batch_of(PROBES))
    assert found.schema.equals(annotator.schema)
    assert found.schema.names == ["importance", "importance_length_correction", "importance_length_correction_words"]
    rows = list(zip(*(column.to_pylist() for column in found.columns), strict=True))
    for row, text in zip(rows, PROBES, strict=True):
        assert equal_scores(row, slow_scores((TARGET, SOURCE), text, scheme))
    assert rows[2] == (None, None, None)  # empty
    assert rows[3][0] == 0.0  # white space has no features
    assert rows[0][0] > 0 > rows[1][0]
    assert rows[0][1] != rows[0][2]


@settings(deadline=None, max_examples=40)
@given(texts=TEXTS)
def test_scores_of_any_text(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "any-model"
    if not path.exists():
        fit(TARGET, SOURCE, path)
    found = DsirImportance(str(path)).annotate(batch_of(texts))
    for row, text in zip(zip(*(column.to_pylist() for column in found.columns), strict=True), texts, strict=True):
        assert equal_scores(row, slow_scores((TARGET, SOURCE), text, "rpv2"))


def test_the_same_corpora_give_the_same_file_whatever_holds_them(tmp_path: Path) -> None:
    one = fit(TARGET, iter(SOURCE), tmp_path / "one", language="en")
    batches = [batch_of([*TARGET[:1], None]), batch_of(TARGET[1:])]
    two = fit(batches, tuple(SOURCE), tmp_path / "two", language="en")
    assert one.sha256 == two.sha256
    assert one.manifest["target"]["documents"] == 4
    assert one.manifest["target"]["mean_words"] == sum(slow_features(text, "rpv2")[1] for text in TARGET) / 4
    assert (one.manifest["features"], one.manifest["buckets"], one.manifest["language"]) == ("rpv2", 10_000, "en")
    assert one.manifest["target"]["texts_sha256"] != one.manifest["source"]["texts_sha256"]
    assert fit(TARGET, SOURCE[:-1], tmp_path / "three", language="en").sha256 != one.sha256
    copy = pickle.loads(pickle.dumps(DsirImportance(str(tmp_path / "one"))))
    assert copy.name == f"dsir@{one.sha256[:12]}" == DsirImportance(str(tmp_path / "two")).name


def test_samples_are_the_first_or_a_seeded_choice() -> None:
    texts = [f"w{i}" for i in range(1000)]

    def chosen(**options: Any) -> Any:
        return count_domain(texts, buckets=1 << 20, **options)

    first = chosen(samples=3)
    assert (first.documents, first.sha256) == (3, count_domain(texts[:3], buckets=1 << 20).sha256)
    seeded = chosen(samples=100, seed=7)
    assert (seeded.documents, seeded.sha256) == (100, chosen(samples=100, seed=7).sha256)
    assert seeded.sha256 not in (chosen(samples=100, seed=8).sha256, chosen(samples=100).sha256)
    assert chosen(samples=5000, seed=7).sha256 == chosen().sha256
    with pytest.raises(ValueError, match="reads the corpus twice"):
        count_domain(iter(texts), samples=3, seed=1)
    with pytest.raises(ValueError, match="samples 0 must be"):
        count_domain(texts, samples=0)
    with pytest.raises(TypeError, match="not bytes"):
        count_domain([b"text"])  # type: ignore[list-item]


def test_a_long_corpus_is_read_batch_by_batch() -> None:
    alive = []

    def corpus() -> Iterator[str]:
        for i in range(30):
            alive.append(i)
            yield f"document {i} " * 20_000

    found = count_domain(corpus(), name="long")
    assert (found.documents, found.mean_words, len(alive)) == (30, 40_000.0, 30)
    assert int(found.counts.sum()) == 30 * (2 * 40_000 - 1)


def test_a_corpus_without_words_and_mixed_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="target: no words in 0 documents"):
        fit([], SOURCE, tmp_path / "model")
    with pytest.raises(ValueError, match="source: no words in 2 documents"):
        fit(TARGET, ["", " \n"], tmp_path / "model")
    ours, theirs = count_domain(TARGET), count_domain(SOURCE, features="dsir")
    with pytest.raises(ValueError, match="with features 'rpv2' and the source with 'dsir'"):
        write_importance(ours, theirs, tmp_path / "model")
    with pytest.raises(ValueError, match="10000 buckets and the source 64"):
        write_importance(ours, count_domain(SOURCE, buckets=64), tmp_path / "model")
    with pytest.raises(ValueError, match="features 'x' are unknown"):
        fit(TARGET, SOURCE, tmp_path / "model", features="x")  # type: ignore[arg-type]
    assert not (tmp_path / "model").exists()
    fit(TARGET, SOURCE, tmp_path / "model", features="dsir")
    with pytest.raises(ModelFileError, match="model: was fitted with features 'dsir', needed are 'rpv2'"):
        DsirImportance(str(tmp_path / "model"), features="rpv2")
    with pytest.raises(ModelFileError, match="model: was fitted with features 'dsir', needed are 'rpv2'"):
        RedPajamaImportance(wikipedia=str(tmp_path / "model"))


def test_a_bad_model_is_named_at_construction(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for make in (DsirImportance, lambda p: RedPajamaImportance(books=p)):
        with pytest.raises(ModelFileError, match="model: no dsir model there"):
            make(str(path))
    fit(TARGET, SOURCE, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(ModelFileError, match="model: not a model file"):
        DsirImportance(str(path))
    write_model(path, "ngram", {}, {})
    with pytest.raises(ModelFileError, match="holds a model of kind 'ngram', needed is 'dsir'"):
        DsirImportance(str(path))
    write_model(path, "dsir", {"features": "rpv3"}, {})
    with pytest.raises(ModelFileError, match="model: was fitted with features 'rpv3'"):
        DsirImportance(str(path))
    write_model(path, "dsir", {"features": "rpv2", "buckets": 10}, {"target_counts.npy": b"no array"})
    with pytest.raises(ModelFileError, match="target_counts.npy is no array"):
        DsirImportance(str(path))
    write_model(path, "dsir", {"features": "rpv2", "buckets": 10}, {})
    with pytest.raises(ModelFileError, match="cannot read target_counts.npy"):
        DsirImportance(str(path))
    with pytest.raises(ValueError, match="signal 'a b' is not a name"):
        DsirImportance(str(path), signal="a b")


def test_a_model_that_changed_after_construction_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "model")
    fit(TARGET, SOURCE, path)
    sent = pickle.dumps(DsirImportance(path))
    fit(TARGET, SOURCE[1:], path)
    import quality_signals.dsir as module

    module._model.cache_clear()  # as in another process
    with pytest.raises(ModelFileError, match="model: was changed"):
        pickle.loads(sent).annotate(batch_of(["a"]))


def spans(column: pa.Array) -> list[Any]:
    return [row and [tuple(span.values()) for span in row] for row in column.to_pylist()]


def test_redpajama_names_languages_and_nulls(tmp_path: Path) -> None:
    english, german, any_ = (str(tmp_path / name) for name in ("en", "de", "any"))
    fit(TARGET, SOURCE, english, language="en")
    fit(["Der Hund und die Katze"], SOURCE, german, language="de")
    fit(SOURCE, TARGET, any_)
    texts = ["The cat sat.", "Der Hund", "", "Le chat", "code"]
    batch = batch_of(texts, language=["en", "de", None, "fr", None], kind=["web"] * 4 + ["code"])
    annotator = RedPajamaImportance(wikipedia={"en": english, "de": german}, books=any_)
    found = annotator.annotate(batch)
    assert found.schema.equals(annotator.schema)
    assert found.schema.names[:2] == ["rps_doc_wikipedia_importance", "rps_doc_wikipedia_importance_length_correction"]
    expected = {path: DsirImportance(path).annotate(batch).to_pydict() for path in (english, german, any_)}
    for suffix in ("", "_length_correction"):
        value = {path: columns[f"importance{suffix}"] for path, columns in expected.items()}
        wikipedia = [[(0, 12, value[english][0])], [(0, 8, value[german][1])], [(0, 0, None)], [(0, 7, None)], None]
        assert spans(found.column(f"rps_doc_wikipedia_importance{suffix}")) == wikipedia
        books = [[(0, 12, value[any_][0])], [(0, 8, None)], [(0, 0, None)], [(0, 7, None)], None]
        assert spans(found.column(f"rps_doc_books_importance{suffix}")) == books
        nothing = [[(0, len(text), None)] for text in texts[:4]] + [None]
        assert spans(found.column(f"rps_doc_openwebtext_importance{suffix}")) == nothing
    assert pickle.loads(pickle.dumps(annotator)) == annotator
    assert hash(annotator) == hash(RedPajamaImportance(wikipedia={"en": english, "de": german}, books=any_))
    with pytest.raises(ModelFileError, match="de: books has a model for English only, this one is of 'de'"):
        RedPajamaImportance(books=german)
    with pytest.raises(ModelFileError, match="de: is a model of language 'de', given for 'en'"):
        RedPajamaImportance(wikipedia={"en": german})


def test_counts_of_redpajama_become_a_model(tmp_path: Path) -> None:
    ours = {"wikipedia": count_domain(TARGET), "ccnet": count_domain(SOURCE)}
    files = {}
    for name, domain in ours.items():
        files[name] = tmp_path / f"{name}.en.10000.counts.npy"
        np.save(files[name], domain.counts)
        np.save(tmp_path / f"{name}.en.lambda.npy", domain.mean_words)
    imported = import_redpajama(files["wikipedia"], files["ccnet"], tmp_path / "imported")
    fit(TARGET, SOURCE, tmp_path / "fitted")
    assert imported.manifest["language"] == "en"
    columns = [DsirImportance(str(tmp_path / n)).annotate(batch_of(PROBES)).columns for n in ("imported", "fitted")]
    assert columns[0] == columns[1]

    (tmp_path / "ccnet.en.lambda.npy").unlink()
    import_redpajama(files["wikipedia"], files["ccnet"], tmp_path / "imported")
    model = open_importance(tmp_path / "imported")
    assert (model.target_mean, model.source_mean) == (ours["wikipedia"].mean_words, None)
    found = DsirImportance(str(tmp_path / "imported")).annotate(batch_of(["a cat"]))
    assert [column.null_count for column in found.columns] == [0, 1, 1]


def test_bad_counts_of_redpajama_are_named(tmp_path: Path) -> None:
    good = tmp_path / "wikipedia.en.4.counts.npy"
    np.save(good, np.arange(4))
    other = tmp_path / "ccnet.de.4.counts.npy"
    np.save(other, np.arange(4))
    with pytest.raises(ModelFileError, match="do not give one language"):
        import_redpajama(good, other, tmp_path / "model")
    assert import_redpajama(good, other, tmp_path / "model", language="en").manifest["language"] == "en"
    np.save(other, np.arange(5))
    with pytest.raises(ModelFileError, match="4 buckets and the source 5"):
        import_redpajama(good, other, tmp_path / "model", language="en")
    np.save(other, np.array([0.5, 0.5]))
    with pytest.raises(ModelFileError, match=r"ccnet.de.4.counts.npy: hash counts are a row of .* not float64"):
        import_redpajama(good, other, tmp_path / "model", language="en")
    other.write_bytes(good.read_bytes()[:-8])
    with pytest.raises(ModelFileError, match="ccnet.de.4.counts.npy: no readable array of hash counts"):
        import_redpajama(good, other, tmp_path / "model", language="en")
    with pytest.raises(ModelFileError, match="missing.npy: no readable array"):
        import_redpajama(good, tmp_path / "missing.npy", tmp_path / "model", language="en")
