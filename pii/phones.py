"""Phone numbers inside a run of digits and separators.

Three ways to be one, surest first:
1. international form, `+` and 8 to 15 digits (E.164), checked with the numbering plans of `phonenumbers`;
2. North American form, (ddd) ddd-dddd or ddd-ddd-dddd with one separator throughout, area and exchange not
   starting with 0 or 1 (NANP), checked likewise; or European trunk form, 0 and two or more groups;
3. any grouping of 7 to 15 digits right after a label (phone, tel, fax, mobile, call, ...) on the same line.
Dates, times, ranges of years and amounts are none of these.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pii.kinds import Span

_LABEL = re.compile(
    rb"(?:(?<![a-z0-9_.-])(?:tele?phone|phones?|tel|fax|mobile|mob|cell|cellular|desk|landline|whatsapp|signal|sms|"
    rb"hotline|helpline|pager|ph|telefon|telefono|tlf|handy|call|dial|ring|reach|answering|messages?)\b"
    rb"(?:[ ]?(?:number|num|no|nr))?[^a-z0-9\x01]{0,6}(?:(?:(?:me|us|him|her|them|at|to|on|is|my|"
    rb"registered|now|"
    rb"number|no|today|the|for|line)\b[^a-z0-9\x01]{1,4}){0,4})|\btel:)\Z",
    re.IGNORECASE,
)
# One of these words is in every match of the expression above; to look for them takes a tenth of the time.
_LABEL_WORDS = frozenset(
    b"telephone telphone phone phones tel fax mobile mob cell cellular desk landline whatsapp signal sms hotline "
    b"helpline pager ph telefon telefono tlf handy call dial ring reach answering message messages".split()
)
_WORDS = bytes(byte | 32 if 65 <= byte <= 90 else byte if 97 <= byte <= 122 else 32 for byte in range(256))
_AFTER_LABEL = re.compile(rb"\A[ ]?-?(?:office|home|fax|mobile|cell|work|desk)\b", re.IGNORECASE)
_EXTENSION = re.compile(rb"\A[ ]?(?:x|ext\.?|extension)[ ]?\d{1,6}(?![0-9A-Za-z])", re.IGNORECASE)
_DATE = re.compile(
    r"\A\(?(?:(?:19|20)\d\d([-./ ])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])(?:\D.*)?"
    r"|(?:0?[1-9]|[12]\d|3[01])([-./ ])(?:0?[1-9]|1[0-2])\2(?:19|20)\d\d(?:\D.*)?"
    r"|(?:0?[1-9]|1[0-2])([-./ ])(?:0?[1-9]|[12]\d|3[01])\3(?:19|20)\d\d(?:\D.*)?"
    r"|(?:1[5-9]|20)\d\d ?[-/] ?(?:1[5-9]|20)\d\d)\Z"
)
_NANP = re.compile(
    r"(?<![\d./-])(?:1[-. ])?(?:\((?P<p>[2-9]\d\d)\)[-. ]?(?P<e>[2-9]\d\d)[-. ]\d{4}"
    r"|(?P<q>[2-9]\d\d)(?P<s>[-.])[2-9]\d\d(?P=s)\d{4})(?![\d/]|[-.]\d)"
)
_NANP_LOOSE = re.compile(
    r"(?<![\d./-])(?:(?:1|001)[-. ])?(?:\([2-9]\d\d\)[-. ]?|"
    r"[2-9]\d\d(?P<s>[-.]))\d{3}[-.]\d{4}(?![\d/]|[-.]\d)"
)
_TRUNK = re.compile(r"\A0[1-9](?:\d{0,3})([ .])\d{2,7}(?:\1\d{2,4}){1,3}\Z|\A0[1-9]\d{1,3}[ /-]\d{6,8}\Z")
_GROUPS = re.compile(r"\A\(?\d{1,12}\)?(?:[ ./-]{1,3}\(?\d{1,8}\)?){0,5}\Z")
_COUNTING = "01234567890123456789"  # 123-456-7890 stands for a number in every manual
_INTERNATIONAL = re.compile(r"\A\+\d[\d ()./-]{6,22}\d\Z")


@lru_cache(maxsize=65536)
def _plan(number: str, region: str | None) -> int:
    """2 if the numbering plans know the number, 1 if only its length fits, 0 otherwise."""
    import phonenumbers

    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return 0
    if phonenumbers.is_valid_number(parsed):
        return 2
    return 1 if phonenumbers.is_possible_number(parsed) else 0


def _labelled(context: bytes) -> bool:
    """Whether the line before a run calls it a telephone number."""
    return not _LABEL_WORDS.isdisjoint(context.translate(_WORDS).split()) and _LABEL.search(context) is not None


def phones(run: str, plain: str, start: int, context: bytes, after: bytes) -> list[Span]:
    """Numbers in `run`, whose first byte is at `start` and whose digits are `plain`; `context` is the line before it,
    `after` up to 16 bytes."""
    digits = len(plain)
    if digits >= 9 and (plain in _COUNTING or plain[::-1] in _COUNTING):
        return []
    tail = _EXTENSION.match(after)
    extension = tail.end() if tail else 0
    joined = not tail and after[:1] != b"" and (after[:1].isalnum() or after[:1] in b"_%$=\x01")
    previous = context[-1:]
    if run[0] == "+":
        if previous and (previous.isalnum() or previous in b")]_.+%\x01") or joined:
            return []
        if not _INTERNATIONAL.match(run) or not 8 <= digits <= 15:
            return []
        plan = _plan(run, None)
        grouped = len(run) > digits + 1
        labelled = _labelled(context)
        if plan == 2 or (plan == 1 and (grouped or labelled)):
            confidence = (0.95 if plan == 2 else 0.7) if grouped or labelled else 0.8
            return [Span(start, start + len(run) + extension, "PHONE", confidence)]
        if labelled and digits >= 9:
            return [Span(start, start + len(run) + extension, "PHONE", 0.6)]
        return []
    if joined:
        return []
    if previous and previous in b"-+$%#=*^&\\_/\x01" and (previous == b"\x01" or not _labelled(context)):
        return []
    whole = _GROUPS.match(run) is not None and _DATE.match(run) is None
    if whole and 7 <= digits <= 15 and (_AFTER_LABEL.match(after) or _labelled(context)):
        if run.isdigit() and not 7 <= digits <= 12:
            return []
        if "(" in run and ")" not in run:
            return []
        if len(re.split(r"\D+", run)) > 6 or re.fullmatch(r"\d+\.\d+", run):
            return []
        return [Span(start, start + len(run) + extension, "PHONE", 0.75)]
    found: list[Span] = []
    if digits > 120:
        return found
    for match in _NANP.finditer(run):
        at_end = match.end() == len(run)
        if _plan("+1" + "".join(c for c in match.group() if c.isdigit())[-10:], None) == 2:
            size = match.end() - match.start() + (extension if at_end else 0)
            found.append(Span(start + match.start(), start + match.start() + size, "PHONE", 0.85))
    if not found and digits in (10, 11, 13):
        loose = _NANP_LOOSE.fullmatch(run)
        if loose and (extension or run[0] == "(" or run.startswith(("001-", "1-")) or loose.group("s") == "-"):
            found.append(Span(start, start + len(run) + extension, "PHONE", 0.6))
    if not found and whole and 9 <= digits <= 11 and _TRUNK.match(run):
        found.append(Span(start, start + len(run) + extension, "PHONE", 0.55))
    return found
