"""Postal addresses: a street line around a house number, then unit, town, region, postal code and country.

The scan names the kind of street (`pii.words`); what is absorbed before and behind it follows the layouts of the
Universal Postal Union (S42): number first or last, postal code before or behind the town.
"""

from __future__ import annotations

import re

from pii.kinds import Span
from pii.words import UNIT, words_of

_CAPITAL = rb"(?:[A-Z\xc3-\xce][\w\x80-\xff'.-]*|[NSEW])"
_NAME = (
    rb"(?:"
    + _CAPITAL
    + rb"|\d{1,3}(?:st|nd|rd|th)|of|the|de[rsl]?|la|le|du|van|von|dei|degli|della|do|da|dos|y|e|d'|af|zu[rm]?|am|an|"
    rb"auf)"
)
_UNIT = (
    rb"(?:(?i:" + b"|".join(re.escape(word.encode()) for word in sorted(words_of(UNIT), key=len, reverse=True)) + rb")"
    rb"[ ]?#?[ ]?[\w-]{1,6}|#[ ]?\d[\w-]{0,5})"
)
_UNITS = re.compile(rb"(?:[, ]{0,2}(?:\n[ ]{0,4})?" + _UNIT + rb"(?![\w]))+")
_HOUSE = re.compile(rb"\d{1,5}[A-Za-z]?(?:[-/]\d{1,4}[A-Za-z]?)?(?![\w])")
_POSTCODES = (
    rb"(?:[A-Z]{1,2}-)?\d{4,6}(?:-\d{3,4})?|\d{3} \d{2}|\d{2}-\d{3}|\d{5}-\d{3}|[A-Z]{2} \d{5}(?:-\d{4})?|"
    rb"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|[A-Z]\d[A-Z] ?\d[A-Z]\d|\d{4} ?[A-Z]{2}|LV-\d{4}|MD-\d{4}"
)
_POSTCODE = re.compile(rb"(?:" + _POSTCODES + rb")(?![\w])")
_TOWN = re.compile(rb"(?:" + _CAPITAL + rb"|\([^()\n]{2,30}\))(?:[ -](?:" + _NAME + rb"|\([^()\n]{2,30}\))){0,4}")
_TOWN_AND_CODE = re.compile(_CAPITAL + rb"(?:[ -]" + _NAME + rb"){0,3}?,?[ ](?:" + _POSTCODES + rb")(?![\w])")
_JOIN = re.compile(rb"[ ]?,?[ ]?(?:\n[ \t]{0,8})?,?[ ]?")
# Kinds of streets that are also common words or names need a second word before them or a unit or town behind.
_LOOSE = frozenset(
    b"park place court square drive view hill green grove rise run walk way loop row ridge route pike".split()
)
_DIRECTION = re.compile(rb"[ ](?:[NS]\.?[EW]?\.?|[EW]\.?|North|South|East|West)(?![\w])")
# What stands before a number that is no house number although a capital word and a kind of street follow it.
_COUNTED = re.compile(
    rb"(?:\b(?:chapter|section|figure|fig|table|page|pages|pp?|vol|no|nos|version|part|week|day|level|top|season|episode|"
    rb"act|"
    rb"article|rule|class|grade|phase|step|lesson|question|game|round|set|track|of|the|january|february|march|april|may|"
    rb"june|"
    rb"july|august|september|october|november|december|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\.?[ ]|"
    rb"[$#.:/-])\Z",
    re.IGNORECASE,
)


def _tail(buf: bytes, end: int, hi: int) -> tuple[int, bool]:
    """End of the address behind its street, and whether a postal code was among what follows (at most 160 bytes)."""
    units = _UNITS.match(buf, end, min(hi, end + 60))
    if units:
        end = units.end()
    at, coded, kept = end, False, end
    for _ in range(4):
        join = _JOIN.match(buf, at, min(hi, at + 12))
        begin = join.end() if join else at
        if begin == at or begin >= hi:
            break
        post = _POSTCODE.match(buf, begin, min(hi, begin + 16))
        if post:
            at = kept = post.end()
            coded = True
            continue
        both = _TOWN_AND_CODE.match(buf, begin, min(hi, begin + 64))
        if both:
            at = kept = both.end()
            coded = True
            continue
        town = _TOWN.match(buf, begin, min(hi, begin + 48))
        if town is None:
            break
        at = town.end()
    if coded:
        # A country may follow the postal code.
        last = re.compile(
            rb"[ ]?(?:,|\n)[ ]{0,4}(" + _CAPITAL + rb"(?:[ ]" + _CAPITAL + rb")?)[.]?(?=\n|\Z|[ ]?[.,;])"
        ).match(buf, kept, min(hi, kept + 40))
        if last and kept == at:
            kept = last.end(1)
    return kept, coded


def street(buf: bytes, start: int, end: int, anchor: int, lo: int, hi: int, context: bytes) -> Span | None:
    """An address whose house number begins at `anchor`.

    [start, end) is number and street as the scan saw them: `1668 Glyn Street`, `Hauptstrasse 12`, `Suite 132`.
    """
    house = _HOUSE.match(buf, anchor, min(hi, anchor + 16))
    if house is None or _COUNTED.search(context):
        return None
    year = _YEAR.match(house.group()) is not None
    if start == anchor:
        return _number_first(buf, start, end, hi, year)
    name = buf[start:anchor].split()
    if name[0].rstrip(b".,").lower().decode("utf-8", "replace") in _UNIT_WORDS:
        return _unit(buf, start, anchor, hi)
    if len(name) == 1 and (name[0].endswith(b",") or name[0].lower() in _SUFFIX_ALIKE or len(name[0]) < 4):
        return None
    # Between a kind of street and its number: names in capitals and the particles of the Romance languages.
    if not all(_CAPITALISED.match(word) or word.rstrip(b",").lower() in _PARTICLES for word in name[1:]):
        return None
    if _MONTH.search(buf[start:anchor]):
        return None
    done, coded = _tail(buf, house.end(), hi)
    if year and not coded:
        return None
    return Span(start, done, "ADDRESS", 0.95 if coded else 0.75)


_CAPITALISED = re.compile(rb"[A-Z\xc3-\xce]|[a-z]'[A-Z\xc3]")
_PARTICLES = frozenset(
    b"de des du la le les l' d' del della delle dello dei degli di da do dos das y e i et el los las san na pod".split()
)
_YEAR = re.compile(rb"(?:19|20)\d\d\Z")
_MONTH = re.compile(
    rb"\b(?:jan|feb|mar[sc]|apr|ma[iy]|jun|jul|aug|ago|sep|set|o[ck]t|nov|de[cz])[a-z]{0,6}\.?[ ]\Z", re.IGNORECASE
)
# Words that end like a kind of street.
_SUFFIX_ALIKE = frozenset(b"brigade renegade norweg auntie bowtie necktie untie".split())
# Of the Free Software Foundation, in the notice of every file under its licences: nobody's home.
_FOUNDATION = re.compile(rb"(?:51 Franklin|59 Temple|675 Mass)")


# The French layout: number, kind of street in either case, name.
_FRENCH = re.compile(
    rb"\d{1,4}(?:[ ]?(?:bis|ter)|[A-Za-z])?,?[ ](?i:rue|avenue|av\.|boulevard|bd|chemin|impasse|all\xc3\xa9e|quai|"
    rb"cours|place|route|passage|square|faubourg)"
    rb"(?:[ ](?:de|du|des|la|le|les|aux?|et)|[ ]?\b[dl]['\xe2\x80\x99]+){0,3}[ ]?"
    + _CAPITAL
    + rb"(?:[ -](?:(?:de|du|des|la|le|les)[ ])?"
    + _CAPITAL
    + rb"){0,3}"
)


def _number_first(buf: bytes, start: int, end: int, hi: int, year: bool) -> Span | None:
    """`1668 Glyn Street`: every word in capitals; kinds that are common words need more than that."""
    words = buf[start:end].split()
    french = _FRENCH.match(buf, start, min(hi, start + 100))
    if french:
        done, coded = _tail(buf, french.end(), hi)
        return Span(start, done, "ADDRESS", 0.95 if coded else 0.8)
    if len(words) == 2 and words[1].rstrip(b".") in (b"St", b"Dr", b"Ct", b"Pl") or _FOUNDATION.match(buf, start):
        return None
    if not all(
        w[:1].isupper() or w[:1].isdigit() or w[:1] >= b"\xc3" or w.lower() in (b"of", b"the", b"de") for w in words[1:]
    ):
        return None
    if buf[end : end + 1] == b".":
        end += 1
    direction = _DIRECTION.match(buf, end, min(hi, end + 8))
    if direction:
        end = direction.end()
    done, coded = _tail(buf, end, hi)
    if coded:
        return Span(start, done, "ADDRESS", 0.95)
    loose = words[-1].rstrip(b".").lower() in _LOOSE and done == end
    if year or loose and len(words) < 3:
        return Span(start, done, "ADDRESS", 0.4)
    return Span(start, done, "ADDRESS", 0.5 if loose else 0.8)


_UNIT_WORDS = frozenset(word.rstrip(".") for word in words_of(UNIT))
_SURE_UNITS = frozenset(("apt", "apartment", "suite", "ste"))


# Military mail (USPS Publication 28, section 225): a unit and box, or a ship; then APO, FPO or DPO.
_MILITARY = re.compile(
    rb"(?i:unit|psc|cmr)[ ]\d{1,5}[ ](?i:box)[ ]\d{1,5}(?:[ ,\n]{1,3}[ADF]PO[ ,]{1,2}A[AEP][ ]\d{5}(?:-\d{4})?)?(?!\w)"
)
_SHIP = re.compile(rb"((?:(?:USS|USNS|USNV|USCGC)[ ][A-Z][\w.' -]{1,30}[\n,][ ]?)?[ADF]PO,?[ ])\Z")
_ZIP = re.compile(rb"\d{5}(?!\w)")


def _unit(buf: bytes, start: int, anchor: int, hi: int) -> Span | None:
    """`Apt. 329`, `Suite 7`, `PO Box 94`; words such as floor, room and lot say too little alone."""
    word = buf[start:anchor].split()[0].rstrip(b".").lower().decode("utf-8", "replace")
    military = _MILITARY.match(buf, start, min(hi, start + 80))
    if military:
        return Span(start, military.end(), "ADDRESS", 0.95)
    if word in ("aa", "ae", "ap"):
        ship = _SHIP.search(buf, max(0, start - 60), start)
        return Span(ship.start(1), anchor + 5, "ADDRESS", 0.9) if ship and _ZIP.match(buf, anchor, hi) else None
    units = _UNITS.match(buf, start, min(hi, start + 60))
    if units is None or word in ("psc", "cmr"):
        return None
    if word == "box":
        post = re.search(rb"(?i:\bP\.?[ ]?O\.?|\bpost(?:al)?|\bpost office)[ ]?\Z", buf[max(0, start - 14) : start])
        if post is None:
            return None
        start -= len(post.group())
    elif word not in _SURE_UNITS or not buf[start : start + 1].isupper():
        return None
    done, coded = _tail(buf, units.end(), hi)
    if coded or word == "box":
        return Span(start, done, "ADDRESS", 0.9)
    # "Management Suite 2014" is a product.
    alone = start == 0 or buf[start - 1] in b"\n," or buf[max(0, start - 2) : start] == b", "
    return Span(start, done, "ADDRESS", 0.55 if alone or word.startswith("ap") else 0.4)
