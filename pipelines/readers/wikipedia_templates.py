"""Inline templates that only wrap text: what a reader of the page sees of them.

The names are those of the English Wikipedia and the redirects that many others share (documentation pages
Template:<name> there).  Every other template is navigation, a box, a citation or a note to editors.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_NAME = re.compile(r"\s*([^|{}\[\]<>\n\x00\x01]{1,60}?)\s*(?:\||$|\n|:)")
_NAMED = re.compile(r"\s*([\w -]{1,40}?)\s*=(?!=)")
_LANGUAGE = re.compile(r"lang-[a-z]{2,3}(?:-[a-z]+)*")

Arguments = dict[str, str]  # "1", "2", ... and names


def template_name(head: str) -> str | None:
    """The lower-case name at the beginning of a template's content; None where none stands there."""
    match = _NAME.match(head)
    return match[1].lower().replace("_", " ") if match else None


def expand_known(name: str, content: str) -> str | None:
    """The visible text of a known template; None for any other."""
    make = _KNOWN.get(name)
    if make is None:
        if not _LANGUAGE.fullmatch(name):
            return None
        make = _first
    return make(_arguments(content, name))


def _arguments(content: str, name: str) -> Arguments:
    """Arguments by name, and by position from 1; a `|` inside a link divides nothing."""
    if name == "formatnum":  # a parser function: its first argument stands behind a colon
        content = content.replace(":", "|", 1)
    found: Arguments = {}
    position = 0
    for part in _split(content)[1:]:
        match = _NAMED.match(part)
        if match:
            found[match[1].lower()] = part[match.end() :].strip()
        else:
            position += 1
            found[str(position)] = part
    return found


def _split(content: str) -> list[str]:
    parts = content.split("|")
    if "[[" not in content:
        return parts
    joined: list[str] = []
    depth = 0
    held: list[str] = []
    for part in parts:
        held.append(part)
        depth = max(0, depth + part.count("[[") - part.count("]]"))
        if not depth:
            joined.append("|".join(held))
            held = []
    return [*joined, "|".join(held)] if held else joined


def _first(given: Arguments) -> str | None:
    return given.get("1")


def _second(given: Arguments) -> str | None:
    return given.get("2")


def _last(given: Arguments) -> str | None:
    positions = [key for key in given if key.isdecimal()]
    return given[max(positions, key=int)] if positions else None


def _text(given: Arguments) -> str | None:
    text = next((given[key] for key in ("1", "text", "quote", "content") if given.get(key)), None)
    return f"\n{text.strip()}\n" if text else None


def _lines(given: Arguments) -> str | None:
    items = [given[key].strip() for key in given if key.isdecimal()]
    return "\n" + "\n".join(item for item in items if item) + "\n" if items else None


def _convert(given: Arguments) -> str | None:
    """`5|km` is `5 km`; `5|to|6|km` is `5 to 6 km`; the converted value is left out."""
    values = [given[key].strip() for key in ("1", "2", "3", "4") if key in given]
    if len(values) >= 4 and values[1] in _RANGES:
        joint = _RANGES[values[1]]
        return f"{values[0]}{joint}{values[2]} {values[3]}"
    return " ".join(values[:2]) if values else None


_RANGES = {
    "to": " to ", "-": "\u2013", "\u2013": "\u2013", "and": " and ", "by": " by ", "x": " \u00d7 ", "or": " or ",
    "to about": " to about ", "+/-": " \u00b1 ", "\u00b1": " \u00b1 ",
}  # fmt: skip


def _fraction(given: Arguments) -> str | None:
    parts = [given[key].strip() for key in ("1", "2", "3") if given.get(key, "").strip()]
    match parts:
        case [one]:
            return f"1/{one}"
        case [above, below]:
            return f"{above}/{below}"
        case [whole, above, below]:
            return f"{whole} {above}/{below}"
    return None


def _value(given: Arguments) -> str | None:
    number = given.get("1", "").strip()
    error = f"\u00b1{given['2'].strip()}" if given.get("2", "").strip() else ""
    power = f"\u00d710^{given['e'].strip()}" if given.get("e") else ""
    unit = f" {given[key].strip()}" if (key := next((k for k in ("u", "ul") if given.get(k)), "")) else ""
    return f"{number}{error}{power}{unit}" if number else None


def _before(prefix: str) -> Callable[[Arguments], str | None]:
    def make(given: Arguments) -> str | None:
        return f"{prefix}{given['1'].strip()}" if given.get("1", "").strip() else prefix.strip() or None

    return make


def _after(suffix: str) -> Callable[[Arguments], str | None]:
    return lambda given: f"{given['1'].strip()}{suffix}" if given.get("1", "").strip() else None


def _always(text: str) -> Callable[[Arguments], str | None]:
    return lambda given: text


_MONTHS = (
    "January February March April May June July August September October November December"
).split()  # fmt: skip


def _as_of(given: Arguments) -> str | None:
    if not given.get("1"):
        return None
    month = given.get("2", "").strip()
    month = _MONTHS[int(month) - 1] if month.isdecimal() and 1 <= int(month) <= 12 else month
    words = (given.get("3", "").strip(), month, given["1"].strip())
    return ("as of " if given.get("lc") else "As of ") + " ".join(word for word in words if word)


def _circa(given: Arguments) -> str:
    dates = [given[key].strip() for key in ("1", "2") if given.get(key, "").strip()]
    return "c.\u00a0" + " \u2013 c.\u00a0".join(dates) if dates else "c."


def _names(names: str, make: Callable[[Arguments], str | None]) -> dict[str, Callable[[Arguments], str | None]]:
    return {name.strip(): make for name in names.split(",")}


_ACCIDENTALS = {"flat": "\u266d", "b": "\u266d", "sharp": "\u266f", "#": "\u266f", "natural": "\u266e"}

_KNOWN: dict[str, Callable[[Arguments], str | None]] = {
    **_names("transl, transliteration, tlit, color, colour, font color, fontcolor", _last),
    **_names("lang, langx", _second),
    **_names(
        "nowrap, nobr, nobreak, nowrapt, abbr, abbrlink, tooltip, sub, sup, small, smaller, big, larger, "
        "smallcaps, sc, smallcaps all, em, strong, bold, math, mvar, var, code, mono, tt, samp, kbd, text, "
        "not a typo, typo, as written, proper name, sic, ill, interlanguage link, interlanguage link multi, "
        "formatnum, num, nts, gaps, script, unicode, polytonic, iast, linktext, visible anchor, vanchor, "
        "keypress, key press, wt, strikethrough, midsize, resize, align, center, block indent, nihongo, "
        "nihongo2, hebrew, rtl-lang, term, defn, gloss, char, underline, overline, ipa, ipa link, ipalink, "
        "delink",
        _first,
    ),
    **_names(
        "quote, blockquote, cquote, quotation, bquote, quote text, poem quote, poemquote, rquote, plainlist, flatlist, "
        "plain list, flat list",
        _text,
    ),
    **_names("ubl, unbulleted list, ulist, ublist, hlist, bulleted list, blist, bullet list", _lines),
    **_names("convert, cvt", _convert),
    **_names("frac, sfrac, fraction", _fraction),
    **_names("val", _value),
    **_names("as of", _as_of),
    **_names("circa, c., ca.", _circa),
    **_names("us$, usd", _before("US$")),
    **_names("gbp, \u00a3, pound", _before("\u00a3")),
    **_names("euro, \u20ac, eur", _before("\u20ac")),
    **_names("inr, indian rupee", _before("\u20b9")),
    **_names("isbn", _before("ISBN ")),
    **_names("ss", _before("SS ")),
    **_names("hms", _before("HMS ")),
    **_names("uss", _before("USS ")),
    **_names("angle bracket, angbr", lambda given: f"\u27e8{given['1']}\u27e9" if given.get("1") else None),
    **_names("bra", lambda given: f"\u27e8{given['1']}|" if given.get("1") else None),
    **_names("ket", lambda given: f"|{given['1']}\u27e9" if given.get("1") else None),
    **_names("sqrt, radic", _before("\u221a")),
    **_names("pi", _always("\u03c0")),
    **_names("=", _always("=")),
    **_names("!", _always("|")),
    **_names("((", _always("{{")),
    **_names("))", _always("}}")),
    **_names("', apos", _always("'")),
    **_names("'s", _always("'s")),
    **_names('"', lambda given: f'"{given["1"]}"' if given.get("1") else '"'),
    **_names("nbsp, space, spaces, sp, thinsp, thin space", _always("\u00a0")),
    **_names("ndash, en dash, \u2013, endash", _always("\u2013")),
    **_names("spaced ndash, snd, spnd, spaced en dash, sndash", _always(" \u2013 ")),
    **_names("mdash, em dash, \u2014, emdash", _always("\u2014")),
    **_names("spaced mdash, spaced em dash", _always(" \u2014 ")),
    **_names("\u00b7, dot, middot, bullet, bull, \u2022", _always(" \u00b7 ")),
    **_names("pipe", _always("|")),
    **_names("minus", _always("\u2212")),
    **_names("times", _always("\u00d7")),
    **_names("deg, degree", _after("\u00b0")),
    **_names("music, musical", lambda given: _ACCIDENTALS.get(given.get("1", "").strip())),
    **_names("br, break, crlf, -, clear", _always("\n")),
}
