"""Words of languages with dictionaries and models: the reference's words, exactly, and in linear time.

Tests of a language are skipped, with what to install, where its packages are missing.
"""

from __future__ import annotations

import gzip
import importlib
import json
import pickle
import random
import re
import socket
import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals import segmenter_rules as rules
from quality_signals import segmenters
from quality_signals.segmenters import Segmenter, missing, script_of, tokenizer_of
from quality_signals.words import word_splitter

LANGUAGES = ("zh", "ja", "ko", "th", "lo", "vi", "km", "my", "hi", "ta", "ur")
# Texts in languages of which the golden documents have none.
MORE_TEXTS = {
    "lo": "ພາສາລາວໃນປັດຈຸບັນ. ປະຊາຊົນລາວ ມີສິດ ແລະ ສະເໝີພາບ 12,5 abc/ກຸງ\n",
    "ur": "تمام انسان آزاد اور حقوق و عزت کے اعتبار سے برابر پیدا ہوئے ہیں۔ 12,5\n",
}
ANY_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)


def splitter_of(language):
    reason = missing(language)
    if reason is not None:
        pytest.skip(reason)
    splitter = word_splitter(language)
    assert isinstance(splitter, Segmenter)
    return splitter


def located(splitter, text):
    points, starts, ends = splitter.located(text)
    return [points[a:b].tobytes().decode("utf-32-le") for a, b in zip(starts, ends, strict=True)]


# The references' words --------------------------------------------------------------------------------------


@pytest.mark.parametrize("language, documents", [("zh", 2), ("ja", 3), ("ko", 3), ("th", 1), ("vi", 1), ("km", 1)])
def test_words_are_the_references(language, documents, golden):
    check(splitter_of(language), language, documents, golden)


@pytest.mark.parametrize("language", ["my", "hi", "ta"])
def test_words_are_the_references_without_the_extra(language, golden):
    check(splitter_of(language), language, 1, golden)


def check(splitter, language, documents, golden):
    docs = {d["id"]: d for d in golden("web_docs") if d["language"] == language}
    rows = [row for row in golden("web_words_datatrove") if row["id"] in docs]
    assert len(rows) == documents
    for row in rows:
        text = docs[row["id"]]["text"]
        assert word_splitter(row["language"]) is splitter  # "cmn_Hani", "jpn", ...
        assert splitter.words(text) == row["words"]
        assert located(splitter, text) == row["words"]


def test_words_of_simplified_texts_are_the_references(shared):
    compared = set()
    with gzip.open(shared / "golden" / "web" / "words_datatrove.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            splitter = word_splitter(row["language"])
            if isinstance(splitter, Segmenter):
                assert splitter.words(row["simplified_text"]) == row["simplified_words"], row["id"]
                compared.add(splitter.kind)
    assert "indic" in compared


def test_every_golden_document_has_words_or_a_reason(golden):
    """Tibetan, whose dictionary is downloaded, is the one language without."""
    languages = {d["language"] for d in golden("web_docs")}
    without = {language for language in languages if word_splitter(language) is None}
    installed = {language for language in languages if (missing(language) or "").count("gristmill[languages]")}
    assert without - installed == {"bo"}


# The interface ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_any_text_has_words(language):
    """Spans lie in the text, in order, and hold the words that are slices; nothing raises."""
    splitter = splitter_of(language)
    texts = ["", " \n\t", "\0", "\u2028\x85\r\n", "e\u0301\u03a3\u03c2 \U0001f600 \U00020000", "\ufeffx\u200b\u200by"]
    rng = random.Random(language)
    signs = (
        "\0\r\n\t \x85\u2028\u200b\u3000" + string.printable + "\u0e01\u0e81\u1780\u1000\u4e2d\u3042\uac00\u0915\u0301"
    )
    texts += ["".join(rng.choices(signs, k=rng.randint(1, 80))) for _ in range(40)]
    for text in texts:
        words = splitter.words(text)
        starts, ends = splitter.spans(text)
        assert located(splitter, text) == words
        assert all(word and word == word.strip() for word in words)
        assert len(starts) == len(ends) == len(words)
        assert all(0 <= a <= b <= len(text) for a, b in zip(starts, ends, strict=True))
        assert all(a <= b for a, b in zip(starts[:-1], starts[1:], strict=True))
        for number, (a, b) in enumerate(zip(starts, ends, strict=True)):
            if number not in splitter.placed(text).other:
                assert text[a:b] == words[number]


def test_a_word_that_leaves_characters_out():
    placed = rules.place("ab  c\nd e", ["ab", "cd", "e"])
    assert (placed.starts, placed.ends, placed.other) == ([0, 4, 8], [2, 7, 9], {1: "cd"})
    splitter = Segmenter("test", lambda text: rules.place(text, ["ab", "cd", "e"]))
    assert splitter.words("ab  c\nd e") == located(splitter, "ab  c\nd e") == ["ab", "cd", "e"]
    assert splitter.spans("ab  c\nd e")[0].tolist() == [0, 4, 8]


@given(st.lists(st.text(st.sampled_from("ab\u0e01\U0001f600"), min_size=1, max_size=4), max_size=12), st.randoms())
def test_words_are_placed_where_they_stand(words, rng):
    text, starts = "", []
    for word in words:
        text += rng.choice(["", "", " ", "\n ", "\u200b"])
        starts.append(len(text))
        text += word
    placed = rules.place(text, words, rules.ZERO_WIDTH)
    assert placed.other == {}
    assert placed.starts == starts
    assert [text[a:b] for a, b in zip(placed.starts, placed.ends, strict=True)] == words


def test_long_texts_are_cut_at_line_breaks(monkeypatch):
    splitter = splitter_of("th")
    line = "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 12.5 abc\n"
    whole = splitter.words(line * 30)
    monkeypatch.setattr(rules, "MAX_PIECE_CHARS", 50)
    assert splitter.words(line * 30) == whole == splitter.words(line) * 30
    assert located(splitter, line * 30) == whole
    assert "".join(splitter.words("\u0e20\u0e32\u0e29\u0e32" * 40)) == "\u0e20\u0e32\u0e29\u0e32" * 40


def test_a_segmenter_is_pickled_by_its_kind():
    splitter = splitter_of("hi")
    assert pickle.loads(pickle.dumps(splitter)) is splitter is word_splitter("mr")
    assert word_splitter("ur") is not splitter


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_downloaded(language, monkeypatch):
    splitter = splitter_of(language)

    def refuse(*arguments, **keywords):
        raise AssertionError("network touched")

    monkeypatch.setattr(socket, "socket", refuse)
    kind = segmenters._KINDS[splitter.kind]
    assert kind.load()("\u4e2d").starts == [0]


def test_jieba_reads_no_cache_file(monkeypatch):
    splitter_of("zh")
    jieba = importlib.import_module("jieba")

    def refuse(*arguments):
        raise AssertionError("jieba would read a file of the folder for temporary files")

    monkeypatch.setattr(jieba.Tokenizer, "initialize", refuse)
    assert rules.chinese()("\u4e2d\u6587").ends == [2]


def test_what_is_missing_is_named(monkeypatch):
    assert missing("en") is missing("hi") is missing("tl") is None
    assert "Stanza" in missing("cy") and word_splitter("cy") is None
    assert "botok" in missing("bo") and word_splitter("bo") is None
    assert "no tokenizer" in missing("xyzzy") and word_splitter("xyzzy") is None
    segmenters.segmenter.cache_clear()
    monkeypatch.setattr(segmenters.importlib.util, "find_spec", lambda name: None)
    try:
        for language in ("zh", "ja", "ko", "th", "lo", "vi", "km"):
            assert "pip install 'gristmill[languages]'" in missing(language)
            assert word_splitter(language) is None
        assert "--no-deps pyidaungsu-numpy2" in missing("my")
        assert word_splitter("hi") is not None
    finally:
        segmenters.segmenter.cache_clear()


def test_korean_needs_the_model_of_the_reference(monkeypatch, tmp_path):
    splitter_of("ko")
    monkeypatch.setattr(segmenters, "_folder", lambda module: tmp_path)
    assert "kiwipiepy<0.22" in missing("ko")


def test_languages_have_the_tokenizers_of_datatrove():
    expected = {
        "en": ("spacy", "en"),
        "hin": ("indic", ""),
        "hin_Deva": ("indic", ""),
        "hin_Latn": ("stanza", "kmr"),
        "hi": ("indic", ""),
        "ur": ("urdu", ""),
        "ckb": ("urdu", ""),
        "ms": ("spacy", "ms"),
        "no": ("spacy", "nb"),
        "sw": ("spacy", "tn"),
        "ka": ("spacy", "xx"),
        "bs": ("spacy", "sr"),
        "an": ("spacy", "es"),
        "yue": ("chinese", ""),
        "cmn_Hani": ("chinese", ""),
        "kor": ("korean", ""),
        "shn": ("burmese", ""),
        "nod": ("thai", ""),
        "dz": ("tibetan", ""),
        "cy": ("stanza", "cy"),
        "tl": ("spacy", "tl"),
    }
    assert {language: tokenizer_of(language) for language in expected} == expected
    assert tokenizer_of("") is tokenizer_of("EN") is None


def test_scripts():
    for language in ("zh", "ja", "th", "lo", "km", "my", "bo", "dz", "yue", "cmn_Hani", "jpn", "zho_Hant", "shn_Mymr"):
        assert script_of(language) == "unspaced", language
    for language in ("en", "ko", "vi", "hi", "am", "ar", "nan_Latn", "hin_Latn", "xx", ""):
        assert script_of(language) == "spaced", language


# Against plain and slow statements of the references -----------------------------------------------------------


def plain_signs(text, signs, numbers):
    """indic-nlp-library's trivial tokenizer, statement by statement."""
    spaced = re.sub(f"([{re.escape(signs)}])", r" \1 ", text.replace("\t", " "))
    spaced = re.sub("[ ]+", " ", spaced).strip(" ")
    if numbers:
        parts, before = [], 0
        for match in re.finditer(r"([0-9]+ [,.:/] )+[0-9]+", spaced):
            if match.start() > before:
                parts += [spaced[before : match.start()], match.group().replace(" ", "")]
                before = match.end()
        spaced = "".join(parts) + spaced[before:]
    return [word.strip() for word in spaced.split(" ") if word.strip()]


@settings(max_examples=400, deadline=None)
@given(st.one_of(ANY_TEXT, st.text(st.sampled_from("12 0\t,.:/a\n\u0915\u0964\u06d4-\u00a0\u0966"), max_size=40)))
def test_words_between_signs(text):
    for signs, numbers in ((rules.INDIC_SIGNS, True), (rules.URDU_SIGNS, False)):
        splitter = Segmenter("test", rules.sign_splitter(signs, numbers))
        assert splitter.words(text) == located(splitter, text) == plain_signs(text, signs, numbers)


def plain_parts(text, most):
    """datatrove's chunk_text_on_bytes."""
    guess = int(max(most * (len(text) / len(text.encode())) - 10, 1)) if text else 1
    parts = []
    while text:
        if len(text[:guess].encode()) > most:
            guess = max(guess - 10, 1)
            continue
        cut = guess
        while len(text[:cut].encode()) < most and text[:cut] != text:
            cut = min(len(text), cut + 10)
        if len(text[:cut].encode()) > most:
            cut -= 10
        parts.append(text[:cut])
        text = text[cut:]
    return parts


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["a" * 70, "\u3042" * 50, "\u3042b", "\U0001f600", "\u00e9" * 31]), max_size=40))
def test_parts_of_japanese_texts(pieces):
    text = "".join(pieces)
    found = list(rules.japanese_parts(text, 400))
    assert [part for _, part in found] == plain_parts(text, 400)
    assert [first for first, _ in found] == [sum(len(part) for _, part in found[:i]) for i in range(len(found))]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["12", "3", ".", ",", ":", "4.5", "a", " ", "00x", "\u0e51", "..", "1,2"]), max_size=20)
)
def test_formatted_numbers(words):
    tokenize = pytest.importorskip("pythainlp.tokenize._utils").rejoin_formatted_num
    assert rules.joined_numbers(words) == tokenize(words)


def thai_texts():
    rng = random.Random(9)
    text = (
        "\u0e42\u0e14\u0e22\u0e17\u0e35\u0e48\u0e1b\u0e23\u0e30\u0e0a\u0e32\u0e01\u0e23\u0e41\u0e2b\u0e48\u0e07"
        "\u0e2a\u0e2b\u0e1b\u0e23\u0e30\u0e0a\u0e32\u0e0a\u0e32\u0e15\u0e34"
    )
    for size in (1, 30, 139, 140, 141, 300, 1000):
        parts = []
        while len("".join(parts)) < size:
            low = rng.randrange(len(text))
            parts.append(text[low : low + rng.randint(1, 25)])
            parts.append(rng.choice(["", "", " ", "\n", "1,2", "abc", "\u0e51.\u0e52"]))
        yield "".join(parts)[:size]


def test_thai_is_newmm_safe():
    splitter = splitter_of("th")
    tokenize = importlib.import_module("pythainlp.tokenize").word_tokenize
    for text in thai_texts():
        expected = tokenize(text, keep_whitespace=False, engine="newmm-safe")
        assert splitter.words(text) == [word.strip() for word in expected if word.strip()]


def test_lao_is_laonlps():
    splitter = splitter_of("lo")
    tokenize = importlib.import_module("laonlp.tokenize").word_tokenize
    rng = random.Random(4)
    base = MORE_TEXTS["lo"]
    for size in (10, 139, 140, 600):
        for _ in range(5):
            text = "".join(
                base[(low := rng.randrange(len(base))) : low + rng.randint(1, 30)] for _ in range(size // 10)
            )
            expected = [word.strip() for word in tokenize(text) if word.strip()]
            assert splitter.words(text) == expected


def plain_division(text, words):
    """All ways to divide a text into words; the first with the fewest."""
    ways = [[]] if not text else []
    for word in words:
        if word and text.startswith(word):
            ways += [[word, *rest] for rest in plain_division(text[len(word) :], words)]
    return ways


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab"), min_size=1, max_size=10))
def test_fewest_dictionary_words(text):
    words = ["a", "b", "ab", "aba", "bb", "aab"]
    found = rules.lao_words(text, lambda rest: [word for word in words if rest.startswith(word)])
    assert found == min(plain_division(text, words), key=len)


def test_ambiguous_lao_ends():
    """LaoNLP tries all 2^n ways of such a text."""
    assert rules.lao_words("a" * 2_000, lambda rest: [w for w in ("a", "aa") if rest.startswith(w)]) == ["aa"] * 1_000


SYLLABLES = (
    r"(\s+|[A-Z\u0110]+\.|Tp\.|Mr\.|Mrs\.|Ms\.|Dr\.|ThS\.|==>|->|\.\.\.|>>|\w+://[^\s]+|"
    r"([a-zA-Z0-9_.+-]+@([a-zA-Z0-9-]+\.)+[a-zA-Z0-9-]+)|\d+([\.,_]\d+)+|[^\w\s]|\w+)"
)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        ANY_TEXT,
        st.lists(st.sampled_from([*"ab1.,@_-:/>= \n\u0110\u0301", "Tp.", "...", "==>", "x://"]), max_size=20).map(
            "".join
        ),
    )
)
def test_vietnamese_syllables(text):
    starts, ends = rules._syllables(text)
    found = [text[a:b] for a, b in zip(starts, ends, strict=True)]
    assert found == [match[0] for match in re.findall(SYLLABLES, text) if not match[0].isspace()]


# Time -------------------------------------------------------------------------------------------------------

SPACED = {"zh": "\u4e2d", "ja": "\u3042", "ko": "\uac00", "th": "\u0e01", "lo": "\u0e81", "km": "\u1780"}
UNITS = ["{}", "{} ", "1", "1 , 2 ", "a.", "\n", "\u0301", "a@"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_time_is_linear(language):
    splitter = splitter_of(language)
    splitter.words("warm.")
    unit = SPACED.get(language, {"vi": "a", "my": "\u1000"}.get(language, "\u0915"))
    for pattern in UNITS:
        text = pattern.format(unit)
        times = []
        for size in (300, 1_200) if language == "ko" else (1_000, 4_000):
            best = float("inf")
            for _ in range(2):
                start = time.process_time()
                splitter.words((text * size)[:size])
                best = min(best, time.process_time() - start)
            times.append(best)
        assert times[1] < 6 * times[0] + 0.02, (language, pattern, times)
