"""Words of languages whose tokenizer in datatrove is a model, a dictionary or another package.

Chinese, Japanese, Korean, Thai, Lao, Vietnamese and Khmer are split by the packages that datatrove 0.10.1 uses
(src/datatrove/utils/word_tokenizers.py), which the extra `languages` installs; Hindi, Bengali, Tamil, Urdu and
the other languages of its Indic tokenizer need no package.  `missing(language)` names what is not there.

Nothing is downloaded, and nothing is imported before a text of the language comes; dictionaries and models are
loaded once a process.  The words are datatrove's for the versions that constraints.txt pins: a newer dictionary
is another splitter.

Not to be had:

* the languages of Stanza (Welsh, Belarusian, Kazakh, Maltese, Uyghur, ...): its models are downloaded when they
  are first used, and it needs PyTorch;
* Tibetan: botok downloads its dictionary when it is first used.
"""

from __future__ import annotations

import dataclasses
import gzip
import importlib.util
import json
from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quality_signals import segmenter_rules as rules
from quality_signals.codepoints import CodePoints, code_points
from quality_signals.segmenter_rules import Placed, Placing

Ints = npt.NDArray[np.int64]


class Segmenter:
    """Words of one language, found by a function of whole texts.

    Two segmenters are equal where their tokenizer is, so that texts of several languages share one.
    """

    def __init__(self, kind: str, place: Placing) -> None:
        self.kind = kind
        self._place = place

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return segmenter, (self.kind,)

    def placed(self, text: str) -> Placed:
        return self._place(text)

    def words(self, text: str) -> list[str]:
        """The reference's words, in order."""
        placed = self._place(text)
        words = [text[a:b] for a, b in zip(placed.starts, placed.ends, strict=True)]
        for number, word in placed.other.items():
            words[number] = word
        return words

    def spans(self, text: str) -> tuple[Ints, Ints]:
        """Start and end of every word in code points of the text.

        Where `placed(text).other` is not empty, those words have fewer characters than their span.
        """
        placed = self._place(text)
        return np.array(placed.starts, np.int64), np.array(placed.ends, np.int64)

    def located(self, text: str) -> tuple[CodePoints, Ints, Ints]:
        """(points, starts, ends): word i is points[starts[i]:ends[i]] exactly.

        points: the code points of the text, followed by those of the words that are not in it as they stand.
        """
        placed = self._place(text)
        starts, ends = np.array(placed.starts, np.int64), np.array(placed.ends, np.int64)
        points = code_points(text)
        if placed.other:
            parts, at = [points], len(points)
            for number, word in placed.other.items():
                starts[number], ends[number] = at, at + len(word)
                parts.append(code_points(word))
                at += len(word)
            points = np.concatenate(parts)
        return points, starts, ends


_EXTRA = "pip install 'gristmill[languages]'"


@dataclasses.dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of tokenizer: what loads it (None: nothing can), the modules that it needs, how to get them."""

    load: Callable[[], Placing] | None
    modules: tuple[str, ...] = ()
    hint: str = _EXTRA


_KINDS = {
    "chinese": _Kind(rules.chinese, ("jieba",)),
    "japanese": _Kind(rules.japanese, ("sudachipy", "sudachidict_core")),
    "korean": _Kind(rules.korean, ("kiwipiepy", "kiwipiepy_model")),
    "thai": _Kind(rules.thai, ("pythainlp",)),
    "lao": _Kind(rules.lao, ("laonlp", "pythainlp")),
    "vietnamese": _Kind(rules.vietnamese, ("pyvi", "sklearn_crfsuite")),
    "khmer": _Kind(rules.khmer, ("khmernltk", "sklearn_crfsuite")),
    "burmese": _Kind(
        rules.burmese,
        ("pycrfsuite", "pyidaungsu"),
        f"{_EXTRA}, then pip install --no-deps pyidaungsu-numpy2 (what it asks for would replace "
        "fasttext-predict and is not needed)",
    ),
    "indic": _Kind(lambda: rules.sign_splitter(rules.INDIC_SIGNS, numbers=True)),
    "urdu": _Kind(lambda: rules.sign_splitter(rules.URDU_SIGNS, numbers=False)),
    "stanza": _Kind(None, hint="the reference splits it with Stanza, whose PyTorch models are downloaded on use"),
    "tibetan": _Kind(None, hint="the reference splits it with botok, whose dictionary is downloaded on use"),
}


def _folder(module: str) -> Path | None:
    spec = importlib.util.find_spec(module)
    folders = list(spec.submodule_search_locations or []) if spec else []
    return Path(folders[0]) if folders else None


def _missing(kind: str) -> str | None:
    entry = _KINDS[kind]
    if entry.load is None:
        return entry.hint
    absent = [module for module in entry.modules if importlib.util.find_spec(module) is None]
    if absent:
        return f"needs {', '.join(absent)}: {entry.hint}"
    if kind == "korean" and not (_folder("kiwipiepy_model") or Path()).joinpath("skipbigram.mdl").is_file():
        return "needs the model sbg, which kiwipiepy has up to 0.21: pip install 'kiwipiepy<0.22'"
    if kind == "burmese" and rules.burmese_model() is None:
        return "needs model/tokenizer.crfsuite of pyidaungsu: pip install --no-deps pyidaungsu-numpy2"
    return None


@lru_cache(maxsize=len(_KINDS))
def segmenter(kind: str) -> Segmenter | None:
    """The segmenter of a kind of tokenizer, None where its packages are missing.  It loads on first use."""
    entry = _KINDS[kind]
    if entry.load is None or _missing(kind) is not None:
        return None
    load = lru_cache(maxsize=1)(entry.load)
    return Segmenter(kind, lambda text: load()(text))


# Codes that datatrove's table lacks: Tagalog has there only the row of Filipino, and "xx" is spaCy's own code.
_MORE_ASSIGNED = {"tl": "spacy tl", "tgl": "spacy tl", "xx": "spacy xx"}


@lru_cache(maxsize=1)
def _assignment() -> dict[str, str]:
    packed = resources.files("quality_signals").joinpath("data", "word_assignment.json.gz").read_bytes()
    return json.loads(gzip.decompress(packed)) | _MORE_ASSIGNED


def tokenizer_of(language: str) -> tuple[str, str] | None:
    """Kind and code of the tokenizer that datatrove 0.10.1 has for a language: ("spacy", "de"),
    ("chinese", ""), ("stanza", "cy"), ...; None for a language that it does not know.

    language: ISO 639-1 or 639-3 or fastText's code, alone or with a script ("hi", "hin", "hin_Deva").
    """
    found = _assignment().get(language)
    if found is None:
        return None
    kind, _, code = found.partition(" ")
    return kind, code


def missing(language: str) -> str | None:
    """Why the words of a language cannot be found, and what to install; None where they can.

    The one check for whoever asks for a language explicitly; annotators give null for such documents.
    """
    found = tokenizer_of(language)
    if found is None:
        return f"words of language {language!r}: datatrove has no tokenizer for it"
    kind = found[0]
    reason = None if kind == "spacy" else _missing(kind)
    return None if reason is None else f"words of language {language!r}: {reason}"


# Languages written without spaces between words, in the scripts that they are usually written in, with the
# scripts themselves (ISO 15924) for codes such as "cmn_Hani".
_UNSPACED = frozenset(
    "zh zho cmn yue wuu gan hak hsn nan cdo lzh ja jpn th tha nod tts sou lo lao km khm my mya shn mnw ksw "
    "bo bod dz dzo lbj ii iii".split()
)
_UNSPACED_SCRIPTS = frozenset("Hani Hans Hant Jpan Hira Kana Thai Laoo Khmr Mymr Tibt Yiii Lana Talu Tale".split())


def script_of(language: str) -> str:
    """'spaced' where white space separates the words of a language, 'unspaced' where it does not.

    Signals that count white-space words make no sense for 'unspaced' languages (Chinese, Japanese, Thai, Lao,
    Khmer, Burmese, Tibetan, ...) and are null there.  Korean and Vietnamese are 'spaced': their spaces
    separate phrases and syllables.  language: as for `tokenizer_of`; an unknown one is 'spaced'.
    """
    code, _, script = language.partition("_")
    if script:
        return "unspaced" if script in _UNSPACED_SCRIPTS else "spaced"
    return "unspaced" if code in _UNSPACED else "spaced"
