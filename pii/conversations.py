"""User names in conversations: who speaks, by the lines of a log or by a list of turns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from pii.kinds import Span

# Words that begin lines of other texts with a colon: headers, labels, field names.
_LABELS = frozenset(
    b"""note notes warning error info debug example examples see todo fixme usage default returns return raises args
    parameters param params type types description summary title name date time author authors version source url http
    https from to cc bcc subject re fwd reply-to sent received q a question answer step tip tips hint important caution
    attention input output result results total price phone tel fax mobile email e-mail mail address website web
    location place where when who what why how copyright license licence keywords tags category categories abstract
    introduction conclusion references figure fig table chapter section part item key value id status state class
    method function file path user username password host port server client update edit update1 ps p.s def if else
    elif try except finally for while do case switch true false yes no on off content content-type accept cookie set
    get post put delete host connection date server""".split()
)
LEAST_TURNS = 4  # of a log with colons; three of `<nick>` are enough
MOST_SPEAKERS = 64


def speakers(lines: Sequence[tuple[bytes, bool]], line_count: int) -> list[bytes]:
    """The user names of a log, in order of first appearance; none where the text is no log.

    lines       (name, whether in angle brackets) of each line that may begin with who speaks
    line_count  lines of the text that are not empty

    In angle brackets: three turns.  With a colon: at least four turns and half of the lines, between 2 and 64 names, of
    which two at least speak twice, and no field names.
    """
    angled = [name for name, in_brackets in lines if in_brackets]
    if len(angled) >= 3 and len(angled) * 3 >= line_count:
        return list(dict.fromkeys(angled))
    plain = [name for name, in_brackets in lines if not in_brackets]
    turns = Counter(plain)
    if len(plain) < LEAST_TURNS or len(plain) * 2 < line_count or not 2 <= len(turns) <= MOST_SPEAKERS:
        return []
    if sum(count >= 2 for count in turns.values()) < 2 or any(name.lower() in _LABELS for name in turns):
        return []
    return list(turns)


def mentions(buf: bytes, lo: int, hi: int, names: Iterable[bytes], confidence: float) -> list[Span]:
    """Every occurrence of the names as whole words.  One pass."""
    ordered = sorted(set(names), key=len, reverse=True)
    if not ordered:
        return []
    pattern = re.compile(rb"(?<![\w.-])(?:" + b"|".join(re.escape(name) for name in ordered) + rb")(?![\w-])")
    return [Span(*match.span(), "USERNAME", confidence) for match in pattern.finditer(buf, lo, hi)]


_GREETED = re.compile(rb"\b(?:cc|thanks|thank|thx|hi|hey|hello|by|via|from|ping|follow)(?: to)?,? ?\Z", re.IGNORECASE)


def greeted(before: bytes) -> bool:
    """Whether an `@name` stands where one speaks to people: after a greeting or thanks."""
    return _GREETED.search(before) is not None


def mask_participants(turns: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """(author, text) of each turn with authors replaced by username_0, username_1, ... in order of first appearance.

    Names are replaced as whole words, in one pass, longest first, so that no replacement is replaced again and a short
    name inside a word stays.  (`starcoder@1` of the issue format replaces substrings one name after another.)
    """
    numbered = {author: f"username_{place}" for place, author in enumerate(dict.fromkeys(a for a, _ in turns))}
    if not numbered:
        return []
    ordered = sorted(filter(None, numbered), key=len, reverse=True)
    pattern = re.compile(r"(?<![\w-])(?:" + "|".join(map(re.escape, ordered)) + r")(?![\w-])") if ordered else None
    return [
        (numbered[author], pattern.sub(lambda match: numbered[match.group()], text) if pattern else text)
        for author, text in turns
    ]
