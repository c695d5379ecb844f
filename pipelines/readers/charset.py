"""Bytes to text: byte order mark, UTF-8, declared encoding, detection, and the refusal of what is no text.

Order and reasons:
1. a byte order mark;
2. NUL bytes in the pattern of UTF-16 or UTF-32, else NUL means binary;
3. valid UTF-8 with at least one multi-byte sequence: whatever else was declared, it is practically never
anything else;
4. the declared encodings (HTTP before the document), if they decode strictly and give plausible text;
5. UTF-8 with a few broken sequences (U+FFFD), which detectors mistake for a one-byte encoding;
6. two detectors, each for what it is better at on 286 files of known encoding (docs/extraction.md): resiliparse for the
East Asian encodings that it knows and for Latin ones, charset-normalizer (MIT) for the rest;
7. the declared multi-byte encoding with a few broken sequences.
"""

from __future__ import annotations

import codecs
import logging
import re
from collections.abc import Iterable, Iterator

import charset_normalizer
from resiliparse.parse.encoding import detect_encoding

from pipelines.readers.records import Refused

# A detector that logs every guess would write a line per page.
logging.getLogger("charset_normalizer").setLevel(logging.WARNING)

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins with that of UTF-16 LE
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# WHATWG Encoding Standard, section 4.2: labels that mean a superset of what they name.
_SUPERSETS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "johab": "johab",
    "big5": "big5hkscs",
    "tis-620": "cp874",
    "iso8859-11": "cp874",
    # A declaration that could be read as ASCII cannot be right about these (HTML Standard, 13.2.3.2).
    "utf-16": "utf-8",
    "utf-16-le": "utf-8",
    "utf-16-be": "utf-8",
    "utf-32": "utf-8",
    "utf-7": "cp1252",
}
_ALIASES = {
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "windows-949": "cp949",
    "x-gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
}
# Codecs of Python that are no character encodings of documents.
_NOT_TEXT = frozenset(
    {"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined", "mbcs", "oem", "palmos"}
)
# The HTML Standard looks at 1,024 bytes; pages in the wild declare later (13.2.3.2 allows more).
_PRESCAN_BYTES = 8192
_DECLARED = re.compile(
    rb"""<meta[^>]{0,512}?charset\s*=\s*["']?\s*([-\w:.]+)"""
    rb"""|^\s*<\?xml[^>]{0,256}?encoding\s*=\s*["']([-\w:.]+)""",
    re.I,
)
_CODING_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.M)  # PEP 263
# Detection looks at this much; the whole is decoded strictly afterwards.
_SAMPLE_BYTES = 1 << 16
_BEFORE = 1024
_CUT = 4096  # how far back the end of the sample may move to white space
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f\ufffe\uffff]")
_ASCII_CONTROLS = bytes([*range(0x09), *range(0x0E, 0x1B), *range(0x1C, 0x20), 0x7F])
_TILDE_BRACE = re.compile(rb"~\{")  # a third of the time of `in`, which is slow for two bytes
# More control characters than this and it is no text; real pages in one-byte encodings hold a few stray ones.
_MAX_CONTROLS = 0.002
# Broken sequences per intact multi-byte sequence that a UTF-8 text may have.
_MAX_BROKEN = 0.1


# What detection may find: the encodings of the WHATWG Encoding Standard and some older ones, commoner ones
# first.
_DETECTED = (
    "utf_8 cp1252 cp1251 cp1250 gb18030 cp932 cp949 big5 big5hkscs euc_jp cp1254 cp1253 cp1256 cp1255 "
    "cp1257 cp1258 cp874 tis_620 iso8859_1 iso8859_2 iso8859_5 iso8859_6 iso8859_7 iso8859_8 iso8859_9 "
    "iso8859_15 koi8_r koi8_u gbk gb2312 shift_jis euc_kr cp866 mac_cyrillic mac_roman cp855 johab "
    "iso2022_jp iso2022_kr hz"
).split()

# What resiliparse is followed in against charset-normalizer: multi-byte encodings that decode strictly ...
_STRONG = frozenset({"big5hkscs", "cp932", "euc_jp", "gb18030"})
# ... and Latin ones, where charset-normalizer says another Latin one, or nothing.
_LATIN = frozenset({"cp1250", "cp1252", "cp1254", "cp1257", "iso8859-2", "iso8859-13"})
_LATIN_GUESSES = _LATIN | {"cp1258", "iso8859-1", "iso8859-9", "iso8859-15", "mac-roman", "cp775"}


def codec_name(label: str) -> str | None:
    """Python's name of a declared charset, supersets applied; None if it is unknown."""
    label = label.strip().strip("\"'").lower()
    label = _ALIASES.get(label, label)
    try:
        name = codecs.lookup(label).name
    except (LookupError, ValueError, UnicodeError):
        return None
    if name in _NOT_TEXT or not getattr(codecs.lookup(name), "_is_text_encoding", True):
        return None
    return _SUPERSETS.get(name, name)


def declared_in_html(data: bytes) -> Iterator[str]:
    for match in _DECLARED.finditer(data[:_PRESCAN_BYTES]):
        yield (match[1] or match[2]).decode("ascii", "replace")


def declared_in_source(data: bytes) -> Iterator[str]:
    """The coding cookie in the first two lines (PEP 263)."""
    head = b"\n".join(data[:1024].split(b"\n")[:2])
    for match in _CODING_COOKIE.finditer(head):
        yield match[1].decode("ascii", "replace")


def decode(data: bytes, declared: Iterable[str] = (), strip_nul: bool = False) -> tuple[str, str]:
    """The text, which never holds a lone surrogate, and the name of the encoding that gave it; raises Refused: `binary`
    or `undecodable`.

    declared: not asked where the bytes alone tell.
    strip_nul: NULs between plausible text are left out (as a browser does) instead of meaning binary.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            text = _strict(data[len(mark) :], encoding)
            if text is not None and _plausible(text):
                return text, encoding
            break
    if b"\0" in data:
        return _decode_with_nul(data, list(declared), strip_nul)
    hidden = b"\x1b" in data or _TILDE_BRACE.search(data) is not None  # encodings in ASCII: ISO-2022, HZ
    text = _strict(data, "utf-8")
    if text is not None and not hidden:
        return _as_utf8(data, text)
    names = [name for name in map(codec_name, declared) if name is not None]
    if hidden:
        for name in names:
            if name.startswith(("iso2022", "hz")) and (found := _strict(data, name)) is not None:
                return found, name
    if text is not None and not (text.isascii() and b"\x1b$" in data):
        return _as_utf8(data, text)
    for name in names:
        if name != "utf-8" and (text := _strict(data, name)) is not None and _plausible(text):
            return text, name
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    intact = (len(data) - len(text)) // 2  # roughly: a sequence has two to four bytes
    if intact and broken <= _MAX_BROKEN * intact and _plausible(text):
        return text, "utf-8"
    detected = _detect(data)
    if detected is not None:
        return detected
    for name in names:
        text = data.decode(name, "replace")
        if text.count("\ufffd") <= 0.001 * len(text) and _plausible(text):
            return text, name
    raise Refused("undecodable", "no encoding gives plausible text")


def _strict(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError):
        return None


def _as_utf8(data: bytes, text: str) -> tuple[str, str]:
    """The result for valid UTF-8; raises Refused('binary')."""
    # At least as many as there are controls: U+0080 to U+009F begin with C2, U+FFFE and U+FFFF with EF.  Counting bytes
    # takes a fifth of the time of the search.
    controls = len(data) - len(data.translate(None, _ASCII_CONTROLS)) + data.count(b"\xc2") + data.count(b"\xef")
    if controls > int(_MAX_CONTROLS * len(text)) and not _plausible(text):
        raise Refused("binary", "control characters")
    return text, "utf-8"


def _plausible(text: str) -> bool:
    limit = int(_MAX_CONTROLS * len(text))
    found = sum(1 for _, _ in zip(range(limit + 1), _CONTROLS.finditer(text), strict=False))
    return found <= limit


def _decode_with_nul(data: bytes, declared: list[str], strip_nul: bool) -> tuple[str, str]:
    """UTF-16 and UTF-32 without a mark: at least a third of the bytes at some position modulo 2 or 4 are
    NUL."""
    for encoding, width, zero in (
        ("utf-32-le", 4, (2, 3)),
        ("utf-32-be", 4, (0, 1)),
        ("utf-16-le", 2, (1,)),
        ("utf-16-be", 2, (0,)),
    ):
        if len(data) % width:
            continue
        columns = [data[place::width] for place in range(width)]
        rows = len(columns[0])
        hits = all(columns[place].count(0) > rows * (0.95 if width == 4 else 0.3) for place in zero)
        others = (
            all(columns[place].count(0) <= 0.02 * rows for place in range(width) if place not in zero) or width == 4
        )
        if hits and others and (text := _strict(data, encoding)) is not None and _plausible(text):
            return text, encoding
    # HTML Standard, 13.2.5: a NUL between tags is ignored.  A quarter: a real page has 7 % of them as
    # padding.
    if strip_nul and data.count(0) <= 0.25 * len(data):
        try:
            return decode(data.replace(b"\0", b""), declared)
        except Refused:
            pass
    raise Refused("binary", "NUL bytes")


def _detect(data: bytes) -> tuple[str, str] | None:
    sample = _sample(data)
    first = codec_name(detect_encoding(sample) or "")
    if first in _STRONG and (text := _strict(data, first)) is not None and _plausible(text):
        return text, first
    second: tuple[str, str] | None = None
    for guess in charset_normalizer.from_bytes(sample, cp_isolation=_DETECTED):
        text = _strict(data, guess.encoding)
        if text is not None and _plausible(text):
            second = text, codecs.lookup(guess.encoding).name
            break
    if second is not None and second[1] == "mac-roman":  # far rarer than what it is taken for
        first = first if first in _LATIN else "cp1252"
    if first == "iso8859-13" and re.search(rb"[\x80-\x9f]", sample):  # the same letters, and quotation marks
        first = "cp1257"
    if first in _LATIN and (second is None or second[1] in _LATIN_GUESSES):
        text = _strict(data, first)
        if text is not None and not _CONTROLS.search(text):
            return text, first
    return second


def _sample(data: bytes) -> bytes:
    """Up to _SAMPLE_BYTES from shortly before the first byte that is no ASCII: the middle of a long file tells more
    than its head, which may be all markup.  Cut at white space, which is no part of a character in any of
    _DETECTED."""
    match = re.search(rb"[\x80-\xff]", data)
    start = max(0, match.start() - _BEFORE if match else 0)
    end = start + _SAMPLE_BYTES
    if start and (white := re.search(rb"[\n ]", data[start : start + _BEFORE])):
        start += white.end()
    if end < len(data):
        last = max(data.rfind(b"\n", end - _CUT, end), data.rfind(b" ", end - _CUT, end))
        end = last if last > start else end
    return data[start:end]
