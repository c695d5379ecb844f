"""c4_v1@dolma and c4_v2@dolma against the reference's spans, its mixer's texts and a plain reading."""

from __future__ import annotations

import pickle
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.c4_dolma import FLAGS, LINE_SPANS, C4Dolma
from quality_signals.edits import apply_edits
from quality_signals.wordlists import ldnoobw

VERSIONS = ("v1", "v2")
NAUGHTY = ldnoobw("en")


def spans(row, length):
    """The spans of a row as the reference writes them, sorted."""
    found = [[s["start"], s["end"], name, 1.0] for name in LINE_SPANS for s in row[name]]
    found += [[0, length, name, 1.0] for name in FLAGS if row[name]]
    return sorted([*found, [0, length, "line_count", float(row["line_count"])]])


@pytest.mark.parametrize("version", VERSIONS)
def test_every_span_of_every_document(version, golden):
    docs = golden("web_docs")
    rows = C4Dolma(version).annotate(batch_of([d["text"] for d in docs])).to_pylist()
    flagged = 0
    for doc, row, expected in zip(docs, rows, golden("web_dolma_taggers"), strict=True):
        assert spans(row, len(doc["text"])) == sorted(expected[f"c4_{version}"]), doc["id"]
        assert row["keep"] == (not any(row[name] for name in FLAGS))
        assert row["rule"] == next((name for name in FLAGS if row[name]), None) == row["reason"]
        flagged += not row["keep"]
    assert flagged > 10


@pytest.mark.parametrize("version", VERSIONS)
def test_edits_leave_what_the_mixer_leaves(version, golden):
    docs = golden("web_docs")
    rows = C4Dolma(version).annotate(batch_of([d["text"] for d in docs])).to_pylist()
    changed = 0
    for doc, row, expected in zip(docs, rows, golden("web_dolma_taggers"), strict=True):
        cut = [span[:2] for span in expected[f"c4_{version}"] if span[2] in LINE_SPANS]
        left = mixed(doc["text"], cut)
        assert apply_edits(doc["text"], row["edits"]) == left, doc["id"]
        changed += left != doc["text"]
    assert changed > 100


def mixed(text, cut):
    """dolma's mixer (src/shard.rs): characters inside a span go, spans that end outside the text end with it."""
    gone = [False] * len(text)
    for start, end in cut:
        for i in range(start, min(end, len(text))):
            gone[i] = True
    return "".join(c for c, cut_out in zip(text, gone, strict=True) if not cut_out)


def plain(text, version):
    """The spans of a text, with str."""
    words_listed = {entry for entry in NAUGHTY if " " not in entry}
    phrases = NAUGHTY - words_listed
    lower = text.lower()
    own = text if version == "v1" else lower
    found = []
    start = 0
    lines = own.split("\n")
    for number, line in enumerate(lines):
        end = start + len(line) + (number + 1 < len(lines))
        stripped = line.lower().strip()
        if not stripped.endswith((".", "?", "!", '"')):
            found.append([start, end, "lines_with_no_ending_punctuation", 1.0])
        if len(stripped.split()) < 3:
            found.append([start, end, "lines_with_too_few_words", 1.0])
        start = end
    flags = {
        "has_curly_brace": "{" in lower,
        "has_lorem_ipsum": "lorem ipsum" in lower,
        "has_javascript": "javascript" in (lower.split() if version == "v1" else lower),
        "has_naughty_word": not words_listed.isdisjoint(lower.split()) or any(each in lower for each in phrases),
    }
    found += [[0, len(text), name, 1.0] for name, there in flags.items() if there]
    return sorted([*found, [0, len(text), "line_count", float(len(lines))]])


LISTED = sorted(NAUGHTY)
PIECES = st.sampled_from(
    [" ", " ", "\n", "\t", "\xa0", "\u3000", "\x85", "\u2028", "\u2003", "\u1680", "\u205f", "\u202f", "\r\n", "\x1c"]
    + ["a", "word", ".", "?", "!", '"', "{", "javascript", "JavaScript", "lorem ipsum", "Lorem", "ipsum", "\u0130"]
    + ["\u212a", "java", "script", "\u03a3", "e\u0301", "\U0001f595", "\u4e2d", "\u3053", "\xe9", "\u2026", "\x00"]
)
TEXTS = st.one_of(
    st.lists(PIECES | st.sampled_from(LISTED), max_size=30).map("".join),
    st.lists(PIECES | st.sampled_from(LISTED).map(str.upper), max_size=30).map(" ".join),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=40),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS, max_size=4), st.sampled_from(VERSIONS))
@example([], "v1")
@example(["", "\n", "girl ony", "xgirl on", " girl on"], "v2")
@example(["\u0130 a b c.\nd e\nf g h\n", "\u0130" * 9 + "\n" + "a", "fuc\u212a you", "FUC\u212a BUTTONS"], "v2")
def test_fast_path_is_the_plain_one(texts, version):
    rows = C4Dolma(version).annotate(batch_of(texts)).to_pylist()
    for text, row in zip(texts, rows, strict=True):
        expected = plain(text, version)
        assert spans(row, len(text)) == expected
        cut = [span[:2] for span in expected if span[2] in LINE_SPANS]
        assert apply_edits(text, row["edits"]) == mixed(text, cut)


@pytest.mark.parametrize(
    "around", ["{}", "x {} y", "x{}y", "\n{}\n", "({})", "{}\xa0", "\u3000{}", "{}\u212a", "a{} b"]
)
def test_every_entry_of_the_list(around):
    texts = [around.replace("{}", entry) for entry in (*LISTED, *map(str.title, LISTED), "javascript", "lorem ipsum")]
    for version in VERSIONS:
        rows = C4Dolma(version).annotate(batch_of(texts)).to_pylist()
        for text, row in zip(texts, rows, strict=True):
            assert spans(row, len(text)) == plain(text, version), text


def test_lower_case_of_other_letters_never_is_ascii():
    """What `FOLDS` stands for: the kernel takes only U+0130 and the Kelvin sign for letters with an ASCII form."""
    found = [c for c in range(128, 0x110000) if not 0xD800 <= c < 0xE000 and any(d < "\x80" for d in chr(c).lower())]
    assert found == [0x130, 0x212A]


def test_neighbours_cut_for_one_reason_are_one_edit():
    texts = ["\n\nno mark at\nall of these.\nToo few.\nfew.\n\na b c.", "\n", "\n\n"]
    rows = C4Dolma().annotate(batch_of(texts)).to_pylist()
    found = [[(e["start"], e["end"], e["rule"]) for e in row["edits"]] for row in rows]
    no_mark, few = LINE_SPANS
    assert found == [[(0, 13, no_mark), (27, 41, few), (41, 42, no_mark)], [(0, 1, no_mark)], [(0, 2, no_mark)]]


@pytest.mark.parametrize("size", [4094, 4095, 4096, 4097, 8191, 8192, 8193])
def test_texts_around_the_size_of_a_block(size):
    for ending in ("fuck", "a fuck ", "girl on top", "\n\n", "javascript", "\u3000 b.", "{"):
        text = ("ab " * size)[: size - len(ending)] + ending
        later = "x" + text
        rows = C4Dolma("v1").annotate(batch_of([text, later])).to_pylist()
        assert [spans(row, len(t)) for row, t in zip(rows, (text, later), strict=True)] == [
            plain(text, "v1"),
            plain(later, "v1"),
        ]


def test_names_versions_kinds_and_pickling():
    assert [C4Dolma(version).name for version in VERSIONS] == ["c4_v1@dolma", "c4_v2@dolma"]
    assert C4Dolma(alias=True).name == "c4@dolma"
    assert pickle.loads(pickle.dumps(C4Dolma("v1"))) == C4Dolma("v1")
    with pytest.raises(ValueError, match="version 'x' is none of v1, v2"):
        C4Dolma("x")
    with pytest.raises(ValueError, match="c4@dolma is version v2"):
        C4Dolma("v1", alias=True)
    batch = batch_of(["{", "{", "{", None, ""], kind=["code", "web", None, "web", "web"])
    found = C4Dolma().annotate(batch)
    assert found.schema.equals(C4Dolma.schema)
    assert found.column("keep").to_pylist() == [True, False, False, True, True]
    assert found.column("line_count").to_pylist() == [None, 1, 1, None, 1]
    assert found.column("edits").to_pylist()[4] == [] and found.column("edits").to_pylist()[3] is None
    assert C4Dolma().annotate(batch.slice(2, 3)).to_pylist() == found.slice(2, 3).to_pylist()


@pytest.mark.parametrize(
    "unit", ["a", "j", "{", "girl ", "fuck ", "javascrip", "\n", "a\n", "\u0301", "\u3000", "\u0130"]
)
def test_time_is_linear(unit):
    def seconds(size):
        batch = batch_of([unit * (size // len(unit))])
        best = 1e9
        for _ in range(3):
            start = time.process_time()
            C4Dolma().annotate(batch)
            best = min(best, time.process_time() - start)
        return best

    seconds(10)
    small, large = seconds(200_000), seconds(800_000)
    assert large < 6 * max(small, 0.01)
