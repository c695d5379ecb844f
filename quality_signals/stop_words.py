"""Stop words of a hundred languages, and how much of a text they are (`stop_words@1`).

Two sources of lists: those of the package jusText (100 lists, the frequent words of each Wikipedia; BSD 2-Clause
License), read from the installed package; and stopwords-json as RedPajama-V2 has it (7 languages, NOTICE.md in
data/).
"""

from __future__ import annotations

import dataclasses
import importlib.util
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals import wordlists
from quality_signals.batches import PROSE_KINDS, field
from quality_signals.codepoints import Lexicon, find_entry
from quality_signals.compiled import njit
from quality_signals.families import ratios
from quality_signals.segmenters import script_of
from quality_signals.text_batch import SharedTexts, TextBatch
from quality_signals.word_views import white_words

SOURCES = ("justext", "stopwords-json")

# Lists of jusText 3.0.2 (justext/stoplists) by language: ISO 639-1 where there is one, else 639-3, as fastText's
# model spells them; "be-tarask" (classical orthography) and "simple" are the codes of those Wikipedias.
JUSTEXT_LISTS = {
    **{"af": "Afrikaans", "an": "Aragonese", "ar": "Arabic", "ast": "Asturian", "az": "Azerbaijani"},
    **{"be": "Belarusian", "be-tarask": "Belarusian_Taraskievica", "bg": "Bulgarian", "bn": "Bengali"},
    **{"bpy": "Bishnupriya_Manipuri", "br": "Breton", "bs": "Bosnian", "ca": "Catalan", "ceb": "Cebuano"},
    **{"cs": "Czech", "cv": "Chuvash", "cy": "Welsh", "da": "Danish", "de": "German", "el": "Greek"},
    **{"en": "English", "eo": "Esperanto", "es": "Spanish", "et": "Estonian", "eu": "Basque", "fa": "Persian"},
    **{"fi": "Finnish", "fr": "French", "fy": "West_Frisian", "ga": "Irish", "gl": "Galician", "gu": "Gujarati"},
    **{"he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "ht": "Haitian", "hu": "Hungarian", "hy": "Armenian"},
    **{"id": "Indonesian", "ig": "Igbo", "io": "Ido", "is": "Icelandic", "it": "Italian", "jv": "Javanese"},
    **{"ka": "Georgian", "kk": "Kazakh", "kn": "Kannada", "ko": "Korean", "ku": "Kurdish", "ky": "Kyrgyz"},
    **{"la": "Latin", "lb": "Luxembourgish", "lmo": "Lombard", "lt": "Lithuanian", "lv": "Latvian"},
    **{"mk": "Macedonian", "ml": "Malayalam", "mr": "Marathi", "ms": "Malay", "mt": "Maltese"},
    **{"nap": "Neapolitan", "nb": "Norwegian_Bokmal", "nds": "Low_Saxon", "ne": "Nepali", "new": "Newar"},
    **{"nl": "Dutch", "nn": "Norwegian_Nynorsk", "no": "Norwegian_Bokmal", "oc": "Occitan", "pl": "Polish"},
    **{"pms": "Piedmontese", "pnb": "Western_Panjabi", "pt": "Portuguese", "qu": "Quechua", "ro": "Romanian"},
    **{"ru": "Russian", "rup": "Aromanian", "scn": "Sicilian", "sgs": "Samogitian", "sh": "Serbo_Croatian"},
    **{"simple": "Simple_English", "sk": "Slovak", "sl": "Slovenian", "sq": "Albanian", "sr": "Serbian"},
    **{"su": "Sundanese", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "te": "Telugu", "tk": "Turkmen"},
    **{"tl": "Tagalog", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "uz": "Uzbek", "vi": "Vietnamese"},
    **{"vo": "Volapuk", "wa": "Walloon", "war": "Waray_Waray", "yo": "Yoruba"},
}

# Lists of stopwords-json that RedPajama-V2 has (togethercomputer/RedPajama-Data @ 6d2cee9).
_JSON_LANGUAGES = ("bg", "de", "en", "es", "fi", "fr", "it")

_TABLE_CHARS = 0x40000  # no code point from here on has lower case or is assigned and not a tag
_FINAL_SIGMA, _SIGMA = "\u03c2", "\u03c3"


class StopWordsError(RuntimeError):
    """A source of stop words is unknown or its package is missing."""


def _base(language: str) -> str:
    """The language of a code with a script ("pl_Latn")."""
    return language.partition("_")[0]


def _justext_folder() -> Path:
    # The package is not imported: that takes a tenth of a second, and its lists are plain files.
    spec = importlib.util.find_spec("justext")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / "stoplists").is_dir():
            return Path(folder) / "stoplists"
    raise StopWordsError("stop_words: the lists of the package jusText are missing: pip install justext")


def _checked(source: str) -> str:
    if source not in SOURCES:
        raise StopWordsError(f"stop_words: no source {source!r}; known: {', '.join(SOURCES)}")
    return source


@lru_cache(maxsize=256)
def stop_words(language: str, source: str = "justext") -> frozenset[str] | None:
    """The stop words of a language in lower case as the source has them, None where it has no list.

    language: ISO 639-1, 639-3 or fastText's code, with or without a script ("en", "ceb", "pl_Latn").
    source: 'justext' (100 lists) or 'stopwords-json' (bg de en es fi fr it).
    Raises StopWordsError for another source, or where the package jusText is not installed.
    """
    if _checked(source) == "stopwords-json":
        return wordlists.stop_words(_base(language))
    name = JUSTEXT_LISTS.get(_base(language))
    if name is None:
        return None
    lines = (_justext_folder() / f"{name}.txt").read_text(encoding="utf-8").split("\n")
    return frozenset(line.strip().lower() for line in lines) - {""}


def languages(source: str = "justext") -> tuple[str, ...]:
    """Codes of the languages with a list, sorted."""
    codes = JUSTEXT_LISTS if _checked(source) == "justext" else _JSON_LANGUAGES
    return tuple(sorted(codes))


def _lower(character: str) -> str:
    """Lower case of one character on its own, both small sigmas alike; itself where that takes two."""
    lower = character.lower()
    return character if len(lower) != 1 else _SIGMA if lower == _FINAL_SIGMA else lower


@lru_cache(maxsize=1)
def _tables() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]:
    """[_TABLE_CHARS]: lower case of each code point; whether it is left out at the ends of a word.  0.1 s."""
    every = [chr(c) for c in range(_TABLE_CHARS)]
    lower = np.array([ord(_lower(c)) for c in every], np.uint32)
    # Punctuation, symbols, separators, and controls, formats, unassigned and private characters.
    edge = np.array([unicodedata.category(c)[0] in "PSZC" for c in every], bool)
    return lower, edge


def stop_word_of(word: str) -> str:
    """A white-space word as `stop_words@1` compares it, '' where nothing is left: without punctuation, symbols,
    separators, control and unassigned characters at its ends, each character in lower case on its own."""
    low, high = 0, len(word)

    def edge(character: str) -> bool:
        return ord(character) >= _TABLE_CHARS or unicodedata.category(character)[0] in "PSZC"

    while low < high and edge(word[low]):
        low += 1
    while low < high and edge(word[high - 1]):
        high -= 1
    return "".join(map(_lower, word[low:high]))


def _entries(words: Iterable[str]) -> frozenset[str]:
    """What is looked up: the words of a list as they are compared, composed and decomposed."""
    compared = {stop_word_of(word) for word in words} - {""}
    return frozenset(unicodedata.normalize(form, word) for word in compared for form in ("NFC", "NFD"))


@lru_cache(maxsize=128)
def _lexicon(language: str, source: str) -> tuple[Lexicon, int] | None:
    words = stop_words(language, source)
    if words is None or script_of(language) == "unspaced":
        return None
    lexicon = Lexicon(_entries(words))
    return lexicon, max(map(len, lexicon.entries))


@njit(error_model="numpy")
def _lowered(points, lower, out):  # type: ignore[no-untyped-def]
    for i in range(len(points)):
        c = points[i]
        out[i] = lower[c] if c < len(lower) else c


@njit(error_model="numpy")
def _count(points, edge, starts, ends, offsets, owners, owner, slots, hashes, bounds, chars, longest, counts):  # type: ignore[no-untyped-def]
    """counts [texts, 2] int64: words, and those of them in the list, of the texts of one owner."""
    for text in range(len(offsets) - 1):
        if owners[text] != owner:
            continue
        for word in range(offsets[text], offsets[text + 1]):
            low = starts[word]
            high = ends[word]
            while low < high and (points[low] >= len(edge) or edge[points[low]]):
                low += 1
            while low < high and (points[high - 1] >= len(edge) or edge[points[high - 1]]):
                high -= 1
            if low < high:
                counts[text, 0] += 1
                if high - low <= longest and find_entry(slots, hashes, bounds, chars, points, low, high) >= 0:
                    counts[text, 1] += 1


def _lower_points(texts: TextBatch) -> npt.NDArray[np.uint32]:
    out = np.empty_like(texts.points)
    _lowered(texts.points, _tables()[0], out)
    return out


SCHEMA = pa.schema(
    [
        field(
            "stop_words",
            pa.string(),
            "the list, as source/language; null where the source has none or the language is written without spaces",
        ),
        field(
            "stop_word_fraction",
            pa.float64(),
            "words in the list / white-space words, both lower-cased and without punctuation at their ends; null "
            "where there is no list or no word",
            "1",
        ),
    ]
)


@dataclasses.dataclass(frozen=True)
class StopWords:
    """How much of each text are stop words of its language.

    Words are those of str.split() as `stop_word_of` compares them; a word of which nothing is left does not
    count.  The entries of a list are compared likewise, composed or decomposed, so a text in either form gives
    one value.

    source            'justext' or 'stopwords-json'
    kinds             of documents that are measured; the others are null
    default_language  for documents without language; None: they are null
    """

    source: str = "justext"
    kinds: tuple[str, ...] = PROSE_KINDS
    default_language: str | None = "en"

    name: ClassVar[str] = "stop_words@1"
    schema: ClassVar[pa.Schema] = SCHEMA

    def __post_init__(self) -> None:
        if _checked(self.source) == "justext":
            _justext_folder()
        object.__setattr__(self, "kinds", tuple(self.kinds))

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        codes = texts.languages(self.default_language)
        names = list(dict.fromkeys(codes))
        numbers = {code: number for number, code in enumerate(names)}
        owners = np.array([numbers[code] for code in codes], np.int64)
        lists: list[str | None] = [None] * len(names)
        counts = np.zeros((len(texts), 2), np.int64)
        for number, code in enumerate(names):
            lexicon = None if code is None else _lexicon(code, self.source)
            if code is None or lexicon is None:
                continue
            lists[number] = f"{self.source}/{_base(code)}"
            words = texts.view(white_words)
            points = texts.view(_lower_points)
            spans = (words.starts, words.ends, words.offsets, owners, number)
            _count(points, _tables()[1], *spans, *lexicon[0].arrays, lexicon[1], counts)
        fractions = ratios(counts[:, 1], counts[:, 0])
        columns = [
            pa.array([lists[owner] for owner in owners.tolist()], pa.string()),
            pa.array(fractions, mask=np.isnan(fractions)),
        ]
        return pa.RecordBatch.from_arrays([texts.scatter(column) for column in columns], schema=SCHEMA)
