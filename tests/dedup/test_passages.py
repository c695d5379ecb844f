"""Passages, which copy stays, and the edits: against cc_net's and datatrove's own values and plain references.

sentences_datatrove.jsonl.gz: the three stages of datatrove 0.10.1's sentence deduplication over the texts of the file,
in its order, with several settings: true where the text stays as it is, null where the document is dropped.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.passages import (
    CcNetParagraphs,
    Keep,
    Scheme,
    TfdsLines,
    decide_copies,
    document_order,
    lists,
    md5_words,
    record_type,
    repeated,
)
from dedup.sentence_spans import DatatroveSentences, sentences, simplified_sentences
from dedup.simplified import simplify
from quality_signals.batches import batch_of
from quality_signals.ccnet_normalise import normalise_for_dedup
from quality_signals.edits import Edit, apply_edits, check_edits
from quality_signals.families import judge_texts
from quality_signals.text_batch import SharedTexts, TextBatch

DATA = Path(__file__).resolve().parent.parent / "data"
ODD = "\n\n\n"
ODD += "\r\x85\u2028\x00 \t\xa0\u3000aA9\u0661\u03a3\u03c3\u0130\u01c5\u0301\u0323\uff11\uac00.!?"
ODD += "\U0001d165\u4e2d\U0001f600"
TEXT = st.text(st.one_of(st.sampled_from(ODD), st.characters(codec="utf-8")), max_size=25)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.open(path, "rt", encoding="utf-8")]


def batch(texts: Sequence[str]) -> TextBatch:
    return SharedTexts(batch_of(texts)).of()


def deduplicated(
    scheme: Scheme, texts: Sequence[str], urls: Sequence[str | None] | None = None, parts: int = 1
) -> list[tuple[bool, str | None]]:
    """(keep, text left) of every text, in order of the input or, with urls, of those; decided in `parts` parts."""
    view = batch(texts)
    found = scheme.passages(view)
    order = document_order("url" if urls else "input", [str(i) for i in range(len(texts))], urls or [None] * len(texts))
    records = np.zeros(len(found.hashes), record_type(scheme.wide, "url" if urls else "input", False))
    owners = np.repeat(np.arange(len(texts)), np.diff(found.offsets))
    records["hash"], records["place"], records["address"] = found.hashes, found.places, owners
    if found.low is not None:
        records["low"] = found.low
    for name, words in order.items():
        records[name] = words[owners]
    gone = np.zeros(len(records), np.bool_) if found.always_gone is None else found.always_gone.copy()
    sent = np.zeros(len(records), np.bool_)
    for part in range(parts):
        own = np.flatnonzero((owners % parts == part) & ~gone)
        lost, rest = repeated(records[own], scheme.keep)
        gone[own[lost]] = True
        sent[own[rest]] = True
    own = np.flatnonzero(sent)
    gone[own[repeated(records[own], scheme.keep)[0]]] = True
    rows = np.unique(owners[gone])
    chosen = np.zeros(len(texts), np.bool_)
    chosen[rows] = True
    changed = scheme.change(
        TextBatch(view.batch, chosen),
        found.places[gone],
        np.concatenate([[0], np.cumsum(np.bincount(owners[gone], minlength=len(texts))[rows])]).astype(np.int64),
    )
    plain = scheme.unchanged(np.diff(found.offsets), view.lengths, found.sentences)
    values = {rule.measure: np.full(len(texts), np.nan) for rule in scheme.rules}
    for name in values:
        if name in plain:
            values[name][:] = plain[name]
        values[name][rows] = changed.left[name]
    verdicts = judge_texts(scheme.rules, values, len(texts), found.judged)
    edits = lists(changed.edits, rows, len(texts)).to_pylist()
    for text, own_edits in zip(texts, edits, strict=True):
        check_edits([Edit(**edit) for edit in own_edits], len(text))
    left = [apply_edits(text, own) for text, own in zip(texts, edits, strict=True)]
    removed = [len(a) - len(b) for a, b in zip(texts, left, strict=True)]
    assert [removed[row] for row in rows] == changed.characters_removed.tolist()
    return list(zip(verdicts[0].to_pylist(), left, strict=True))


# -- which copy stays --------------------------------------------------------------------------------------

RECORDS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 3), st.integers(0, 6)), max_size=40)


def slow_repeated(rows: list[tuple[int, ...]], keep: Keep) -> list[bool]:
    """rows: hash, low, order, address; places are positions."""
    gone = []
    for i, (h, low, order, address) in enumerate(rows):
        same = [(o, a, k) for k, (h2, l2, o, a) in enumerate(rows) if (h2, l2) == (h, low)]
        others = any(a != address for _, a, _ in same)
        first = min(k for o, a, k in same if a == address) == i
        gone.append((others or not first) if keep == "none" else min(same) != (order, address, i))
    return gone


@settings(max_examples=60, deadline=None)
@given(RECORDS, st.sampled_from(["first", "none"]))
def test_what_goes_has_a_witness(rows: list[tuple[int, ...]], keep: Keep) -> None:
    rows = [(h, low, address * 7 % 4, address) for h, low, _, address in rows]
    records = np.zeros(len(rows), record_type(True, "doc_id", False))
    for i, (h, low, order, address) in enumerate(rows):
        records[i] = (h, low, 0, order, address, i)
    decided = decide_copies(records, keep)
    assert decided.gone.tolist() == slow_repeated(rows, keep)
    for i, (h, low, order, address) in enumerate(rows):
        same = [(o, a, k) for k, (h2, l2, o, a) in enumerate(rows) if (h2, l2) == (h, low)]
        witness = int(decided.witness[i])
        assert decided.first[i] == (min(same) == (order, address, i))
        if not decided.gone[i]:
            assert witness == i
        elif keep == "first":
            assert (rows[witness][2], rows[witness][3], witness) == min(same)
        else:
            elsewhere = [each for each in same if each[1] != address]
            mine = min(k for _, a, k in same if a == address)
            assert witness != i and rows[witness][:2] == (h, low)
            if mine == i:  # what repeats its own document goes for the copy there, or for that of another one
                assert (rows[witness][2], rows[witness][3], witness) == min(elsewhere)


@settings(max_examples=60, deadline=None)
@given(RECORDS, st.integers(1, 4), st.sampled_from(["first", "none"]))
def test_repeated_against_all_pairs_and_in_parts(rows: list[tuple[int, ...]], parts: int, keep: Keep) -> None:
    rows = [(h, low, address * 7 % 4, address) for h, low, _, address in rows]  # one order a document
    records = np.zeros(len(rows), record_type(True, "doc_id", False))
    for i, (h, low, order, address) in enumerate(rows):
        records[i] = (h, low, 0, order, address, i)
    wanted = slow_repeated(rows, keep)
    assert repeated(records, keep)[0].tolist() == wanted
    gone, sent = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    for part in range(parts):  # a document lies in one part
        own = np.flatnonzero(records["address"] % parts == part)
        lost, rest = repeated(records[own], keep)
        gone[own[lost]], sent[own[rest]] = True, True
    own = np.flatnonzero(sent)
    gone[own[repeated(records[own], keep)[0]]] = True
    assert gone.tolist() == wanted
    assert len(own) <= (2 if keep == "none" else 1) * parts * len({row[:2] for row in rows})


def test_the_order_of_documents() -> None:
    ids = ["ff" * 16, "00" * 16, "other", "0f" + "00" * 15]
    words = document_order("doc_id", ids, [None] * 4)
    order = np.lexsort([words["next"], words["high"]])
    assert [ids[i] for i in order if ids[i] != "other"] == sorted(set(ids) - {"other"})
    digest = hashlib.blake2b(b"other", digest_size=16).digest()
    assert int(words["high"][2]) == int.from_bytes(digest[:8], "big")
    urls = ["http://a", "http://b", None, "http://a"]
    words = document_order("url", ids, urls)
    keys = [hashlib.md5((u or i).encode()).hexdigest() for u, i in zip(urls, ids, strict=True)]
    found = [f"{int(a):016x}{int(b):016x}" for a, b in zip(words["high"], words["next"], strict=True)]
    assert found == keys
    assert words["tie"][0] > words["tie"][3]
    assert document_order("input", ids, urls) == {}


# -- cc_net ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def web() -> tuple[list[str], list[dict[str, Any]]]:
    folder = DATA / "quality_signals"
    return [row["text"] for row in read(folder / "web_docs.jsonl.gz")], read(folder / "web_ccnet.jsonl.gz")


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize(("keep", "column"), [("first", "dedup_in_order"), ("none", "dedup_two_pass")])
def test_cc_net_over_its_corpus(web: Any, keep: Keep, column: str, parts: int) -> None:
    texts, rows = web
    changes = 0
    for text, row, (stays, left) in zip(
        texts, rows, deduplicated(CcNetParagraphs(keep), texts, parts=parts), strict=True
    ):
        wanted = row[column]
        assert stays == (wanted is not None), row["id"]
        if wanted is not None:
            lines = text.split("\n")
            assert left == "\n".join(lines[i] for i in wanted["line_ids"])
            changes += left != text
    assert changes > 10


def slow_ccnet(texts: Sequence[str], keep: Keep) -> list[tuple[bool, str]]:
    keys = [
        [
            hashlib.sha1(normalise_for_dedup(line).encode("utf-8", "surrogatepass")).digest()[:8]
            for line in text.split("\n")
        ]
        if text
        else []
        for text in texts
    ]
    seen: set[bytes] = set()
    found = []
    for i, (text, own) in enumerate(zip(texts, keys, strict=True)):
        if keep == "none":
            seen = {key for k, other in enumerate(keys) if k != i for key in other}
        mine: set[bytes] = set()
        left = []
        for line, key in zip(text.split("\n"), own, strict=False):
            if key not in seen and key not in mine:
                left.append(line)
            mine.add(key)
        seen |= mine
        found.append((bool(left), "\n".join(left) if left else text))
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT, max_size=8), st.sampled_from(["first", "none"]), st.integers(1, 3))
def test_cc_net_against_the_plain_reference(texts: list[str], keep: Keep, parts: int) -> None:
    found = deduplicated(CcNetParagraphs(keep), texts, parts=parts)
    for (stays, left), (wanted, text) in zip(found, slow_ccnet(texts, keep), strict=True):
        assert stays == wanted
        if wanted:
            assert left == text


def test_cc_net_with_a_least_length() -> None:
    found = deduplicated(CcNetParagraphs(min_length=5), ["some line\nab", "some line\nabc", "some line"])
    assert [stays for stays, _ in found] == [True, False, False]


# -- TFDS --------------------------------------------------------------------------------------------------


def slow_tfds(texts: Sequence[str], urls: Sequence[str], least: int) -> list[str | None]:
    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    owners: dict[str, str] = {}
    for text, url in zip(texts, urls, strict=True):
        for line in text.split("\n"):
            key = md5(line.strip().lower())
            owners[key] = min(owners.get(key, url), url, key=md5)
    found: list[str | None] = []
    for text, url in zip(texts, urls, strict=True):
        done: set[str] = set()
        left = []
        for line in text.split("\n"):
            key = md5(line.strip().lower())
            if owners[key] == url and key not in done:
                left.append(line)
                done.add(key)
        new = "\n".join(left)
        found.append(new if new and len(new.split("\n")) >= least else None)
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT, max_size=8), st.sampled_from([0, 2]), st.integers(1, 3))
def test_tfds_against_the_plain_reference(texts: list[str], least: int, parts: int) -> None:
    urls = [f"http://{i}.example" for i in range(len(texts))]
    scheme = TfdsLines(min_num_sentences=least, sentences="lines")
    found = deduplicated(scheme, texts, urls, parts)
    assert [left if stays else None for stays, left in found] == slow_tfds(texts, urls, least)


def test_tfds_counts_sentences_of_what_is_left() -> None:
    texts = ["One is here. Two is here.\nThree is here.", "Three is here.\nOne more."]
    found = deduplicated(TfdsLines(), texts, ["http://b", "http://c"])
    kept = min(("http://b", "http://c"), key=lambda url: hashlib.md5(url.encode()).hexdigest())
    assert [stays for stays, _ in found] == [kept == "http://b", False]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=20))
def test_md5(data: list[bytes]) -> None:
    ends = np.cumsum([len(each) for each in data], dtype=np.int64)
    starts = ends - np.array([len(each) for each in data], np.int64)
    found = md5_words(np.frombuffer(b"".join(data), np.uint8), starts, ends)
    assert [f"{int(a):016x}{int(b):016x}" for a, b in found] == [hashlib.md5(each).hexdigest() for each in data]


# -- datatrove ---------------------------------------------------------------------------------------------

SETTINGS = {
    "default": DatatroveSentences(),
    "loose": DatatroveSentences(min_doc_words=0, min_num_sentences=0),
    "span": DatatroveSentences(min_doc_words=5, min_num_sentences=2, min_words_to_remove_span=14),
    "two": DatatroveSentences(n_sentences=2, min_doc_words=10),
    "lines": DatatroveSentences(n_sentences=1, split_sentences=False, min_doc_words=5, min_num_sentences=1),
}


@pytest.fixture(scope="module")
def datatrove() -> list[dict[str, Any]]:
    return read(DATA / "dedup" / "sentences_datatrove.jsonl.gz")


@pytest.mark.parametrize("setting", SETTINGS)
def test_datatrove_over_its_corpus(datatrove: list[dict[str, Any]], setting: str) -> None:
    found = deduplicated(SETTINGS[setting], [row["text"] for row in datatrove], parts=2)
    for number, (row, (stays, left)) in enumerate(zip(datatrove, found, strict=True)):
        wanted = row["text"] if row[setting] is True else row[setting]
        assert (left if stays else None) == wanted, number
    assert any(isinstance(row[setting], str) for row in datatrove)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT, max_size=5))
def test_sentences_are_simplified_each(texts: list[str]) -> None:
    view = batch(texts)
    found = sentences(view, "en")
    utf8, starts, ends = simplified_sentences(view, found)
    data = utf8.tobytes()
    for i, (a, b) in enumerate(zip(found.starts, found.ends, strict=True)):
        wanted = simplify(view.points[a:b].tobytes().decode("utf-32-le"))
        assert data[starts[i] : ends[i]].decode() == wanted
    for span, hashed in zip(*_spans(view), strict=True):
        assert xxhash.xxh64_intdigest(span.encode()) == hashed


def _spans(view: TextBatch) -> tuple[list[str], list[int]]:
    found = sentences(view, "en")
    spans = []
    for text in range(len(view)):
        own = [
            simplify(view.points[a:b].tobytes().decode("utf-32-le"))
            for a, b in zip(
                found.starts[found.offsets[text] : found.offsets[text + 1]],
                found.ends[found.offsets[text] : found.offsets[text + 1]],
                strict=True,
            )
        ]
        spans += [" ".join(own[i : i + 3]) for i in range(len(own) - 2)]
    return [span for span in spans if span.strip()], DatatroveSentences().passages(view).hashes.tolist()


def test_a_language_without_sentences_stays_as_it_is() -> None:
    text = "これは文です。これも文です。これも。" * 3
    view = TextBatch(batch_of([text, "One. Two. Three."], language=["ja", "en"]), np.ones(2, bool))
    found = DatatroveSentences().passages(view)
    assert found.judged.tolist() == [False, True]
    assert np.diff(found.offsets).tolist() == [0, 1]


# -- all ---------------------------------------------------------------------------------------------------

SCHEMES: list[Callable[[], Scheme]] = [CcNetParagraphs, TfdsLines, DatatroveSentences]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_text_and_an_empty_text(scheme: Callable[[], Scheme]) -> None:
    assert deduplicated(scheme(), []) == []
    assert deduplicated(scheme(), ["", ""]) == [(False, ""), (False, "")]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("unit", ["\n", "a", "Same here. ", "Same line.\n", "! ", "\u0301", " \n"])
def test_linear_time(scheme: Callable[[], Scheme], unit: str) -> None:
    def seconds(count: int) -> float:
        texts = [unit * count]
        best = 1e9
        for _ in range(3):
            start = time.process_time()
            deduplicated(scheme(), texts)
            best = min(best, time.process_time() - start)
        return best

    seconds(100)
    assert seconds(40_000) < 8 * seconds(10_000) + 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CcNetParagraphs(keep="last"), "keep is 'last'"),  # type: ignore[arg-type]
        (lambda: CcNetParagraphs(min_length=-1), "min_length is -1"),
        (lambda: TfdsLines(sentences="words"), "sentences is 'words'"),
        (lambda: DatatroveSentences(n_sentences=0), "n_sentences is 0"),
        (lambda: DatatroveSentences(min_doc_words=1.5), "min_doc_words is 1.5"),  # type: ignore[arg-type]
    ],
)
def test_wrong_options(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_result_does_not_depend_on_the_batch() -> None:
    rng = random.Random(3)
    texts = ["\n".join(f"Line {rng.randint(0, 9)} is É here." for _ in range(rng.randint(0, 6))) for _ in range(20)]
    for scheme in SCHEMES:
        whole = scheme().passages(batch(texts))
        parts = [scheme().passages(batch([text])) for text in texts]
        assert whole.hashes.tolist() == [h for part in parts for h in part.hashes.tolist()]
