"""How datatrove 0.10.1 counts the sentences of a line in languages that spaCy's sentencizer does not serve.

One function of a line for each of its tokenizers (src/datatrove/utils/word_tokenizers.py); packages are imported
when the first line of their language comes.  A line has at least one sentence.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from quality_signals.segmenters import missing, tokenizer_of

Counter = Callable[[str], int]

# datatrove 0.10.1, assets/tokenizer_assignment.csv: languages of its WhitespaceTokenizer, whose sentences come from
# a pattern.  Codes without a script stand for the script that is their default there.
PATTERN_LANGUAGES = frozenset(
    "aii bal brh chr cr cre crj crl crm cwd div doi dv fmu gon grt guk ike iku iu jun ka kat kau knc kok kqy kr kru "
    "ktb kxc lah lis mdy nqo nwx ota raj sat sjo syc syr tzm xmf ydd yi yid zgh "
    "ace_Arab aii_Syrc aze_Arab bal_Arab bjn_Arab brh_Arab chr_Cher cr_Cans cre_Cans crj_Cans crk_Cans crl_Cans "
    "crm_Cans cwd_Cans div_Thaa doi_Deva dv_Thaa ff_Arab fmu_Deva ful_Arab fuv_Arab gmv_Ethi gof_Ethi gon_Telu "
    "got_Goth grt_Beng guk_Ethi hoc_Wara ike_Cans iku_Cans iu_Cans jun_Orya ka_Geor kat_Geor kau_Arab knc_Arab "
    "kok_Deva kqy_Ethi kr_Arab kru_Deva ktb_Ethi kxc_Ethi kyu_Kali lad_Hebr lah_Arab lif_Limb lis_Lisu mdy_Ethi "
    "min_Arab mni_Beng mni_Mtei ms_Arab msa_Arab nqo_Nkoo nwx_Deva oj_Cans ojb_Cans oji_Cans ota_Arab raj_Deva "
    "rmn_Grek rom_Grek sat_Olck sjo_Mong sus_Arab syc_Syrc syr_Syrc taq_Tfng tk_Arab tmh_Tfng ttq_Tfng tuk_Arab "
    "tzm_Tfng wal_Ethi xmf_Geor ydd_Hebr yi_Hebr yid_Hebr zgh_Tfng zho_Latn zsm_Arab".split()
)
# Same file: languages of the Indic tokenizer under the code that it gets.  Sinhala and Urdu (with the languages
# that are split as Urdu) are left out: their sentences need tables of other packages.
_INDIC = {
    "hi": "anp anp_Deva bho bho_Deva brx_Deva ghe ghe_Deva hi hi_Deva hin hin_Deva kle kle_Deva lif lif_Deva mag "
    "mag_Deva mai mai_Deva new new_Deva rav rav_Deva rjs rjs_Deva sck sck_Deva suz suz_Deva taj taj_Deva thl thl_Deva "
    "xsr xsr_Deva",
    "as": "as as_Beng asm asm_Beng",
    "ne": "awa awa_Deva dty dty_Deva hne hne_Deva mup mup_Deva ne ne_Deva nep nep_Deva npi npi_Deva",
    "bn": "ben ben_Beng bn bn_Beng bpy bpy_Beng syl_Beng",
    "kK": "gom_Deva kex kex_Deva",
    "gu": "gu gu_Gujr guj guj_Gujr",
    "kn": "kan kan_Knda kn kn_Knda tcy tcy_Knda",
    "mr": "kas kas_Deva ks ks_Deva mar mar_Deva mr mr_Deva sd_Deva snd_Deva",
    "te": "kff kff_Telu te te_Telu tel tel_Telu wsg wsg_Telu",
    "ml": "mal mal_Mlym ml ml_Mlym",
    "or": "or or_Orya ori ori_Orya ory ory_Orya",
    "pa": "pa pa_Guru pan pan_Guru",
    "sa": "sa sa_Deva san san_Deva",
    "ta": "ta ta_Taml tam tam_Taml",
}
_INDIC_CODES = {language: code for code, languages in _INDIC.items() for language in languages.split()}

# Indic ------------------------------------------------------------------------------------------------------
# indic-nlp-library 0.92 (MIT), indicnlp/tokenize/sentence_tokenize.py and langinfo.py: end marks, languages whose
# end mark is the danda, first code points of the scripts, and what ends in a dot without ending a sentence.

_DANDA = re.compile("[?!\u0964\u0965]")
_NO_DANDA = re.compile("[.?!\u0964\u0965\uaaf0\uaaf1\uabeb-\uabef\u1c7e\u1c7f]")
_WITH_DANDA = ("as", "bn", "hi", "ne", "or", "pa", "sa")
_DEVANAGARI = 0x900
_SCRIPTS = {"pa": 0xA00, "gu": 0xA80, "or": 0xB00, "ta": 0xB80, "te": 0xC00, "kn": 0xC80, "ml": 0xD00}
_SCRIPTS |= dict.fromkeys(("bn", "as"), 0x980) | dict.fromkeys(("hi", "mr", "kK", "sa", "ne"), _DEVANAGARI)
# This many characters of a script stand at the place of their Devanagari sisters.
_SISTERS = 0x70
# Names of Latin letters, honorifics; two hexadecimal digits a character, counted from the start of Devanagari.
_ABBREVIATIONS = (
    "0607 0608 0630 06304d 0e154d38 0e154d384d 0e1a 0e1a4d 0e28 0e284d 0e2b 0e2b4d 0e2e 0e2e4d 0e32 0e324d "
    "0e38 0e384d 0f154d38 0f154d384d 0f1a 0f1a4d 0f28 0f284d 0f2b 0f2b4d 0f2e 0f2e4d 0f32 0f324d 0f38 0f384d "
    "1541 1546 1547 154d2f41 154d2f42 1a3f 1c3f 1c40 1c46 1c47 1c4721 1c47214d 1f3f 1f40 212c4d324d2f41 "
    "212c4d324d2f42 213f 2140 2149 2a3f 2a40 2c3f 2c40 2f41 2f42 353e2f 353e2f4d 353f 3540 354d393f 354d3940 "
    "364d3040 383f 3840 384c 5b4721 5b47214d"
)
_DOTTED = {"".join(chr(_DEVANAGARI + c) for c in bytes.fromhex(word)) for word in _ABBREVIATIONS.split()}
_DOTTED.update(map(chr, (*range(0x904, 0x93A), 0x960, 0x961)))  # single vowels and consonants


def _indic(code: str) -> Counter:
    first = _SCRIPTS[code]
    to_devanagari = {
        first + i: _DEVANAGARI + i for i in range(_SISTERS) if first + i not in (0x964, 0x965) and first != _DEVANAGARI
    }

    def count(line: str) -> int:
        text = line.strip()
        with_danda = code in _WITH_DANDA and ("\u0964" in text or "\u0965" in text)
        parts = []
        begin = 0
        for match in (_DANDA if with_danda else _NO_DANDA).finditer(text):
            at = match.start()
            if at and text[at - 1].isnumeric():
                continue
            parts.append(text[begin : at + 1].strip())
            begin = at + 1
        parts.append(text[begin:].strip())
        parts = [part for part in parts if part]
        return len(parts) if with_danda else _joined_at_dots(parts, to_devanagari)

    return count


def _joined_at_dots(parts: list[str], to_devanagari: dict[int, int]) -> int:
    """Sentences once those that are one word with a dot, or end in an abbreviation, are joined with others."""
    sentences = 0
    held = False  # a sentence is being put together
    bad = False  # the part before may go on
    for part in parts:
        words = part.split(" ")
        if len(words) == 1 and part[-1] == ".":
            held = bad = True
        elif part[-1] == "." and words[-1][:-1].translate(to_devanagari) in _DOTTED:
            # A sentence that goes on already is given up here, as in the reference.
            sentences += held and not bad
            held = bad = True
        elif bad:
            sentences += 1
            held = bad = False
        else:
            sentences += held
            held = True
    return sentences + held


# Packages ---------------------------------------------------------------------------------------------------


def _stripped(sentences: list[str]) -> int:
    return sum(not sentence.isspace() and sentence != "" for sentence in sentences)


def _thai() -> Counter:
    split = importlib.import_module("pythainlp.tokenize").sent_tokenize
    return lambda line: _stripped(split(line))


def _lao() -> Counter:
    split = importlib.import_module("laonlp.tokenize").sent_tokenize
    return lambda line: _stripped(split(line))


def _khmer() -> Counter:
    split = importlib.import_module("khmernltk").sentence_tokenize
    return lambda line: _stripped(split(line))


_LONG_NUMBERS = re.compile("[0-9,]{20,}")  # datatrove takes them out, since Kiwi has trouble with them


def _korean() -> Counter:
    kiwi = importlib.import_module("kiwipiepy").Kiwi(model_type="sbg", num_workers=1)
    return lambda line: len(kiwi.split_into_sents(_LONG_NUMBERS.sub("", line)))


_PACKAGES: dict[str, Callable[[], Counter]] = {"thai": _thai, "lao": _lao, "khmer": _khmer, "korean": _korean}


@lru_cache(maxsize=32)
def _counter(kind: str, code: str) -> Counter:
    return _indic(code) if kind == "indic" else _PACKAGES[kind]()


def rule_of(language: str) -> tuple[str, Any]:
    """How the sentences of a language are counted, and with what.

    ("chunks", None): spaCy's sentencizer over words that white-space-separated chunks determine; ("words", None): it
    over words that the whole line determines; ("pattern", None): datatrove's pattern over the line;
    ("line", function): that function of the line, without the minimum of one; ("", None): not at all.
    """
    found = tokenizer_of(language)
    if found is None or missing(language) is not None:
        return "", None
    kind = found[0]
    if kind == "burmese" or (kind == "spacy" and language in PATTERN_LANGUAGES):
        return "pattern", None
    if kind == "spacy":
        return "chunks", None
    if kind in ("chinese", "japanese", "vietnamese"):
        return "words", None
    if kind == "indic" and language in _INDIC_CODES:
        return "line", lambda line: _counter("indic", _INDIC_CODES[language])(line)
    if kind in _PACKAGES:
        return "line", lambda line: _counter(kind, "")(line)
    return "", None
