"""rpv2@1 against the reference's values, the worked example, and the plain-Python definition."""

from __future__ import annotations

import json
import math
import pickle
import random
import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quality_signals import rpv2_reference as reference
from quality_signals import wordlists
from quality_signals.batches import batch_of
from quality_signals.rpv2 import (
    CCNET_SIGNALS,
    DOCUMENT_SIGNALS,
    FLAT_SCHEMA,
    LINE_SIGNALS,
    SCHEMA,
    RedPajamaV2,
    document_scores,
    round8,
)
from quality_signals.text_batch import SharedTexts
from quality_signals.views import raw_lines

# Worked example of the published definitions, computed with the reference.
EXAMPLE = (
    "The Quick brown fox's caf\u00e9 \u2014 jumped OVER the lazy dog...\n\n"
    "\u2022 Visit {our} site: javascript JavaScript enabled? NO!\n"
    "Lorem ipsum dolor sit amet; the quick brown fox jumped over. "
    "The quick brown fox jumped over #1 2nd time\u2026\n"
    " the quick brown fox jumped over the lazy dog\u201d\n"
)
EXAMPLE_DOCUMENT = {
    "rps_doc_frac_all_caps_words": (0.03278689, None),
    "rps_doc_frac_lines_end_with_ellipsis": (0.4, None),
    "rps_doc_frac_no_alph_words": (0.24590164, None),
    "rps_doc_frac_unique_words": (0.5625, None),
    "rps_doc_mean_word_length": (4.27083333, None),
    "rps_doc_num_sentences": (5.0, 0.0),
    "rps_doc_symbol_to_word_ratio": (0.04918033, None),
    "rps_doc_unigram_entropy": (3.05870742, None),
    "rps_doc_word_count": (48, 0),
    "rps_doc_frac_chars_dupe_5grams": (0.39512195, 0.0),
    "rps_doc_frac_chars_dupe_6grams": (0.39512195, 0.0),
    "rps_doc_frac_chars_dupe_7grams": (0.28292683, 0.0),
    "rps_doc_frac_chars_dupe_8grams": (0.0, 0.0),
    "rps_doc_frac_chars_dupe_9grams": (0.0, 0.0),
    "rps_doc_frac_chars_dupe_10grams": (0.0, 0.0),
    "rps_doc_frac_chars_top_2gram": (0.15609756, 0.0),
    "rps_doc_frac_chars_top_3gram": (0.25365854, 0.0),
    "rps_doc_frac_chars_top_4gram": (0.23414634, 0.0),
    "rps_doc_curly_bracket": (0.0075188, 0.0),
    "rps_doc_lorem_ipsum": (0.00396825, 0.0),
    "rps_doc_stop_word_fraction": (0.14754098, 0.0),
    "rps_doc_ldnoobw_words": (4.0, 0.0),
    "rps_doc_ut1_blacklist": (None, None),
}
EXAMPLE_LINES = {
    "rps_lines_ending_with_terminal_punctution_mark": [1, 0, 1, 0, 1],
    "rps_lines_javascript_counts": [0, 0, 2, 0, 0],
    "rps_lines_num_words": [11, 0, 8, 20, 9],
    "rps_lines_numerical_chars_fraction": [0, 0, 0, 0.01960784, 0],
    "rps_lines_start_with_bulletpoint": [0, 0, 1, 0, 0],
    "rps_lines_uppercase_letter_fraction": [0.10526316, 0, 0.09090909, 0.01886792, 0],
}


def spans(column, row):
    value = column[row].as_py()
    return None if value is None else [[span["start"], span["end"], span["score"]] for span in value]


def rows_of(column):
    return [spans(column, row) for row in range(len(column))]


def annotated(text, language="en", **options):
    """Scores of one text: of the document by name, and of its lines as lists."""
    columns = RedPajamaV2(flat=True, **options).annotate(batch_of([text], language=language))
    row = columns.to_pylist()[0]
    return {k: [span["score"] for span in v] if k in LINE_SIGNALS else v for k, v in row.items()}


def test_every_value_of_every_document_is_the_references(golden, data_folder):
    docs = golden("web_docs")
    annotator = RedPajamaV2(ut1_folder=str(data_folder / "ut1"))
    batch = batch_of([d["text"] for d in docs], language=[d["language"] for d in docs], url=[d["url"] for d in docs])
    columns = annotator.annotate(batch)
    compared = 0
    listed = 0
    for row, expected in enumerate(golden("web_rpv2")):
        assert expected["id"] == docs[row]["id"]
        got = {name: spans(columns.column(name), row) for name in DOCUMENT_SIGNALS | LINE_SIGNALS}
        # The reference raises for a language without stop list, and leaves the signal out.
        if "rps_doc_stop_word_fraction" not in expected["signals"]:
            assert got.pop("rps_doc_stop_word_fraction") == [[0, len(docs[row]["text"]), None]]
        assert got == expected["signals"], docs[row]["id"]
        compared += len(got)
        listed += got["rps_doc_ut1_blacklist"][0][2] is not None
    assert compared == 153 * 29 - 33
    assert listed >= 2  # the domain lists are exercised, so null everywhere would fail above


@pytest.mark.parametrize("empty", [False, True])
def test_worked_example(empty):
    texts = SharedTexts(batch_of(["" if empty else EXAMPLE])).of()
    banned = (frozenset({"lazy dog", "fox"}),)
    english = np.array([2], np.int32)
    document, lines = document_scores(texts, english, banned, np.array([0], np.int32))
    for name, values in EXAMPLE_DOCUMENT.items():
        if name == "rps_doc_ut1_blacklist":
            continue
        got = document[name].tolist()
        assert [None if math.isnan(value) else value for value in got] == [values[empty]], name
    if empty:
        columns = RedPajamaV2().annotate(batch_of([""]))
        assert spans(columns.column("rps_doc_ut1_blacklist"), 0) == [[0, 0, None]]
        for name in LINE_SIGNALS:
            quirk = [[0, 0, None]] if name == "rps_lines_start_with_bulletpoint" else []
            assert spans(columns.column(name), 0) == quirk
    else:
        assert texts.view(raw_lines).ends.tolist() == [57, 58, 113, 219, 266]
        for name, scores in EXAMPLE_LINES.items():
            assert lines[name].tolist() == scores, name


def compare(texts, language="en"):
    """The texts in one batch, where what one leaves behind could spoil the next, against the definition."""
    stop, banned = wordlists.stop_words(language), wordlists.ldnoobw(language)
    columns = RedPajamaV2().annotate(batch_of(texts, language=language))
    got = {name: rows_of(columns.column(name)) for name in DOCUMENT_SIGNALS | LINE_SIGNALS}
    for row, text in enumerate(texts):
        for name, value in reference.document_signals(text, stop, banned).items():
            assert got[name][row] == [[0, len(text), value]], (name, text)
        for name, value in reference.line_signals(text).items():
            assert got[name][row] == [list(span) for span in value], (name, text)


# Words that repeat, so that n-gram signals see something; every kind of space, case, digit and mark.
pieces = st.sampled_from(
    (
        "a b ab A AB Abc the The the. DON'T x_1 lorem ipsum Lorem javascript fuck sex toys ass\u00e9 # {} "
        "!? - \u0130 \u03a3 \u0391\u03a3 \u01c5 \u1e9e \ufb01 \u00bd \u00b2 \u2167 \u4e09 \u0663 ... "
        "\u2026 \u2022 \u2013 \u201d \u2260 \u226e \u1fef \u037e \u212a e\u0301 \u0327\u0301 \u200d "
        "\ud55c\uae00 \U0001f600 \U0001d400"
    ).split(" ")
)
spaces = [" ", " ", " ", "\n", "\n\n", "\t", "\u2000", "\u3000", "\x0b", "\x85", "\u2028", "\x1c", ""]
gaps = st.sampled_from(spaces)
texts = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=60),
    st.lists(st.tuples(pieces, gaps), max_size=60).map(lambda parts: "".join(a + b for a, b in parts)),
    st.lists(st.sampled_from(["a", "b", "cc"]), max_size=80).map(" ".join),
)


@settings(max_examples=250, deadline=None)
@given(st.lists(texts, max_size=4))
@example(["a a a a", "", "a a a a"])
@example(["one\n...", "...\n", "....... .. ....", "\n", "\n\n", "a\r\nb\x85c\u2028d\n", "\0 \0a \0"])
@example(["\u0391\u03a3'\u0391 \u03a3\u03a3"])
@example(["lorem\n\nipsum lorem.ipsum LOREM  IPSUMs", "xlorem ipsum lorem", "ipsum"])
@example(["b a b a b a " * 8, "\u24b6\u24b6! {#}", "e\u0327\u0301" * 30])
@example(["[two girls one cup] how to kill", "2g1c 2 girls 1 cup 2"])
def test_fast_path_is_the_definition(texts):
    compare(texts)


@pytest.mark.parametrize("language", ["de", "fr", "bg", "ko", "it", "es", "fi"])
def test_fast_path_is_the_definition_in_other_languages(language, golden):
    compare([doc["text"][:3000] for doc in golden("web_docs") if doc["language"] == language][:2], language)


def test_many_distinct_words_and_words_that_end_alike():
    rng = random.Random(3)
    numbers = [f"{rng.randrange(10**6):06d}00000000" for _ in range(3000)]
    compare([" ".join(numbers), " ".join(numbers[:900] * 2), " ".join(f"{i:x}" for i in range(2500)), "a b"])


def test_spans_tile_the_text(golden):
    docs = [doc["text"] for doc in golden("web_docs")]
    columns = RedPajamaV2().annotate(batch_of(docs))
    for text, found in zip(docs, columns.column("rps_lines_num_words").to_pylist(), strict=True):
        assert "".join(text[span["start"] : span["end"]] for span in found) == text
        assert all(text[span["start"] : span["end"]].count("\n") <= 1 for span in found)
        assert all(text[span["end"] - 1] == "\n" for span in found[:-1])


def test_top_gram_can_exceed_one_and_ties_go_to_the_first():
    assert annotated("a a a a")["rps_doc_frac_chars_top_2gram"] == 1.5
    # "long words" and "a b" both occur twice; the first seen counts although the other is longer.
    found = annotated("a b x long words y a b z long words")["rps_doc_frac_chars_top_2gram"]
    assert found == round(2 * 2 / 25, 8)


def test_known_quirks():
    assert annotated("The THE the")["rps_doc_stop_word_fraction"] == round(1 / 3, 8)
    assert annotated("don't")["rps_doc_stop_word_fraction"] == round(1 / 3, 8)  # t stands in the list
    assert annotated("abc", "ja")["rps_doc_ldnoobw_words"] == 0.0


@pytest.mark.parametrize("language", ["ja", "xx", "EN"])
def test_a_language_without_list_has_no_stop_word_fraction(language):
    """The reference raises KeyError; even for an empty text, which is 0 in a language with a list."""
    assert annotated("abc", language)["rps_doc_stop_word_fraction"] is None
    assert annotated("", language)["rps_doc_stop_word_fraction"] is None
    assert annotated("", "de")["rps_doc_stop_word_fraction"] == 0.0


def test_entries_that_the_reference_cannot_match_match_when_fixed():
    hyphen = next(e for e in sorted(wordlists.ldnoobw("en")) if "-" in e)
    assert annotated(hyphen)["rps_doc_ldnoobw_words"] == 0.0
    assert annotated(hyphen, ldnoobw="fixed")["rps_doc_ldnoobw_words"] >= 1.0
    accent = next(e for e in sorted(wordlists.ldnoobw("fr")) if "\u00e9" in e)
    assert annotated(accent, "fr")["rps_doc_ldnoobw_words"] == 0.0
    assert annotated(accent, "fr", ldnoobw="fixed")["rps_doc_ldnoobw_words"] >= 1.0
    with pytest.raises(ValueError, match="ldnoobw is 'reference' or 'fixed', not 'mended'"):
        RedPajamaV2(ldnoobw="mended")


def test_flat_columns_are_the_scores_of_the_spans(golden):
    docs = golden("web_docs")[:40]
    batch = batch_of([d["text"] for d in docs] + ["", None], language=[d["language"] for d in docs] + ["en", None])
    listed, flat = RedPajamaV2().annotate(batch), RedPajamaV2(flat=True).annotate(batch)
    assert flat.schema.equals(FLAT_SCHEMA) and RedPajamaV2(flat=True).schema.equals(FLAT_SCHEMA)
    assert flat.schema.field("rps_doc_word_count").type == pa.int64()
    for name in CCNET_SIGNALS | DOCUMENT_SIGNALS:
        scores = [None if found is None else found[0][2] for found in rows_of(listed.column(name))]
        assert flat.column(name).to_pylist() == scores, name
    for name in LINE_SIGNALS:
        assert flat.column(name).equals(listed.column(name))


def test_ccnet_columns_are_copied_from_meta(documents):
    given_ = {
        "length": 12,
        "original_length": "34",
        "nlines": 2.0,
        "original_nlines": "five",
        "language_score": 0.97,
        "perplexity": 341.5,
        "bucket": "middle",
    }
    meta = [(key, value if isinstance(value, str) else json.dumps(value)) for key, value in given_.items()]
    batch = documents(
        {"text": "ab\nc", "meta": meta},
        {"text": "x", "meta": [("perplexity", "NaN"), ("bucket", "all"), ("length", ""), ("nlines", "1e3")]},
        {"text": None, "meta": meta},
        {"text": "", "meta": [("bucket", "tail"), ("nlines", "1"), ("nlines", "2"), ("language_score", "inf")]},
        {"text": "y", "meta": None},
        {"text": "z", "meta": [("bucket", "head")]},
    )
    expected = {
        "ccnet_length": [12.0, None, None, None, None],
        "ccnet_original_length": [34.0, None, None, None, None],
        "ccnet_nlines": [2.0, 1000.0, 2.0, None, None],
        "ccnet_original_nlines": [None] * 5,
        "ccnet_language_score": [0.97, None, None, None, None],
        "ccnet_perplexity": [341.5, None, None, None, None],
        "ccnet_bucket": [1.0, None, 2.0, None, 0.0],
    }
    assert set(expected) == set(CCNET_SIGNALS)
    lengths = [4, 1, 0, 1, 1]
    for found in (
        RedPajamaV2().annotate(batch),
        RedPajamaV2().annotate(documents({"text": "lead"}, *batch.to_pylist()).slice(1)),
    ):
        for name, scores in expected.items():
            spans_ = [[[0, length, score]] for length, score in zip(lengths, scores, strict=True)]
            assert rows_of(found.column(name)) == [*spans_[:2], None, *spans_[2:]], name
    assert rows_of(RedPajamaV2().annotate(batch_of(["x"])).column("ccnet_length")) == [[[0, 1, None]]]


def test_annotators_travel():
    annotator = RedPajamaV2(flat=True, ldnoobw="fixed", default_language=None)
    assert pickle.loads(pickle.dumps(annotator)) == annotator


def test_entropy_is_summed_as_python_sums():
    rng = np.random.default_rng(5)
    lists = [rng.integers(1, 40, size) for size in (1, 2, 300, 5000)]
    texts = [" ".join(f"{word:x} " * count for word, count in enumerate(counts.tolist())) for counts in lists]
    found = RedPajamaV2(flat=True).annotate(batch_of(texts)).column("rps_doc_unigram_entropy")
    for counts, value in zip(lists, found.to_pylist(), strict=True):
        total, expected = int(counts.sum()), 0.0
        for count in counts.tolist():
            expected += -(count / total) * math.log(count / total)
        assert value == round(expected, 8)


def test_rounding_is_pythons():
    rng = random.Random(7)
    values = [rng.random() for _ in range(2000)] + [k / 2**n for n in range(1, 40) for k in (1, 3)]
    values += [(k + 0.5) / 1e8 for k in range(2000)] + [a / b for b in range(1, 60) for a in range(b + 1)]
    values += [a / b for b in range(512, 2**17, 512) for a in (1, 3, 5, 7, 11, b - 1)]  # ties
    values += [math.nextafter(v, to) for v in values[-500:] for to in (0.0, 1.0)]
    values += [rng.random() * 10 ** rng.randrange(9) for _ in range(2000)] + [100_000_000 / 3, 150_000_001 / 3]
    assert round8(np.array(values)).tolist() == [round(v, 8) for v in values]


def test_kinds_and_languages():
    batch = batch_of(
        ["a b c", "a b c", None, "le the"],
        kind=["code", "web", "web", None],
        language=[None, "fr", "en", None],
    )
    columns = RedPajamaV2().annotate(batch)
    assert columns.schema.equals(SCHEMA) and columns.num_rows == 4
    for name in SCHEMA.names:
        assert columns.column(name).is_null().to_pylist() == [True, False, True, False]
    assert spans(columns.column("rps_doc_stop_word_fraction"), 3) == [[0, 6, 0.5]]  # English by default
    every = RedPajamaV2(kinds=("code",), default_language=None).annotate(batch)
    assert every.column("rps_doc_word_count").is_null().to_pylist() == [False, True, True, False]
    assert spans(every.column("rps_doc_stop_word_fraction"), 3) == [[0, 6, None]]


def test_ut1_ids(tmp_path):
    (tmp_path / "adult.domains").write_text("one.example\nboth.example\n")
    (tmp_path / "violence").mkdir()
    (tmp_path / "violence" / "domains").write_text("both.example\nlast.example")
    ids = wordlists.ut1_domains(str(tmp_path))
    # Single categories are 0..12 in order; pairs follow, and (adult, violence) is the last of the 12 with
    # adult.
    assert ids == {"one.example": 0, "last.example": 12, "both.example": 13 + 11}
    assert wordlists.source_domain("http://www.one.example:80/x") == "www.one.example:80"
    assert wordlists.source_domain("http://[::1/") == ""
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no UT1 list in"):
        wordlists.ut1_domains(str(tmp_path / "empty"))


def test_shipped_lists_are_the_references():
    # Sizes and SHA-256 prefixes of the sorted lists, as published with the reference.
    expected = {
        "bg": (259, "a0636eac8aa11b43"),
        "de": (596, "becbb8dd0255f262"),
        "en": (570, "8b22cdb3811112c4"),
        "es": (577, "fb457069dbc93db0"),
        "fi": (772, "d58ecd85acbba2c1"),
        "fr": (606, "6ecf4c7cf6fa57b3"),
        "it": (619, "c45c671bafef71d2"),
    }
    for language, (size, digest) in expected.items():
        entries = wordlists.stop_words(language)
        assert len(entries) == size
        assert wordlists.list_digest(entries).startswith(digest)


def test_one_document_does_not_change_another(golden):
    docs = [d["text"] for d in golden("web_docs")[:12]] + ["", "x"]
    together = RedPajamaV2().annotate(batch_of(docs)).to_pylist()
    alone = [RedPajamaV2().annotate(batch_of([text])).to_pylist()[0] for text in docs]
    sliced = RedPajamaV2().annotate(batch_of(["lead", *docs]).slice(1)).to_pylist()
    assert together == alone == sliced


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "a ",
        "ab. ",
        "\n",
        "!",
        "\0",
        "\u2028",
        "e\u0301",
        "\u0301\u0327",
        "\u03a3",
        "\u03a3'\u0301",
        "other \n",
        "2 ",
    ],
)
def test_time_is_linear(unit):
    def seconds(repeats):
        batch = batch_of([unit * repeats])
        best = math.inf
        for _ in range(3):
            start = time.process_time()
            RedPajamaV2().annotate(batch)
            best = min(best, time.process_time() - start)
        return best

    seconds(10)
    assert seconds(200_000) < 6 * seconds(50_000) + 0.005


def test_ten_thousand_repeats_cost_no_more_than_prose(golden):
    prose = " ".join(doc["text"] for doc in golden("web_docs") if doc["language"] == "en")
    sentence = "the quick brown fox jumps over the lazy dog and runs far away.\n"

    def seconds(text):
        start = time.process_time()
        RedPajamaV2().annotate(batch_of([text]))
        return (time.process_time() - start) / len(text)

    repeated = sentence * 10_000
    assert min(seconds(repeated) for _ in range(3)) < 5 * min(seconds(prose) for _ in range(3))


@pytest.mark.slow
def test_documents_of_one_byte_and_of_a_hundred_megabytes():
    columns = RedPajamaV2(flat=True).annotate(batch_of(["word other\n" * 9_100_000, "x"]))
    assert columns.column("rps_doc_word_count").to_pylist() == [18_200_000, 1]
    assert columns.column("rps_doc_frac_chars_dupe_10grams").to_pylist() == [1.0, 0.0]
    assert spans(columns.column("rps_lines_num_words"), 0)[-1] == [100_099_989, 100_100_000, 2.0]
