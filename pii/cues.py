"""Person names that the text itself announces: titles, signatures, `my name is`.  Found without a model."""

from __future__ import annotations

import re

from pii.kinds import Span

_CAPITAL = rb"[A-Z\xc3-\xce][\w\x80-\xff'-]+"
_PARTICLE = rb"(?:[A-Z]\.|(?:van|von|de|der|den|del|della|di|da|dos|al|el|bin|ibn|le|la)(?=[ ]))"
_NAME = re.compile(
    rb"(?:(?:Dr|Prof|Mr|Ms)\.[ ])*" + _CAPITAL + rb"(?:(?:[ ]" + _PARTICLE + rb"){0,3}[ ]" + _CAPITAL + rb"){0,2}"
)
# (literal before the name, confidence, whether two words are needed)
CUES: tuple[tuple[bytes, float, bool], ...] = (
    (b"Mr. ", 0.8, False),
    (b"Mrs. ", 0.8, False),
    (b"Ms. ", 0.8, False),
    (b"Mme ", 0.7, False),
    (b"Herr ", 0.6, False),
    (b"Frau ", 0.6, False),
    (b"Dr. ", 0.7, False),
    (b"Prof. ", 0.7, False),
    (b"My name is ", 0.9, False),
    (b"my name is ", 0.9, False),
    (b"Signed-off-by: ", 0.95, False),
    (b"Co-authored-by: ", 0.95, False),
    (b"Reviewed-by: ", 0.95, False),
    (b"Acked-by: ", 0.95, False),
    (b"@author ", 0.7, True),
    (b"Sincerely,\n", 0.7, True),
    (b"Best regards,\n", 0.7, False),
    (b"Kind regards,\n", 0.7, False),
)
LITERALS: tuple[bytes, ...] = tuple(cue for cue, _, _ in CUES)
# Words in capitals that follow a title or a greeting and are no names.
_NOT_NAMES = frozenset(
    b"""president chairman chairwoman speaker secretary minister justice mayor governor ambassador commissioner
   
    president-elect mr mrs ms dr prof the this that who what where and in on at for from to is was
    i we you they he she it
    not""".split()
)


def person(buf: bytes, at: int, which: int, hi: int) -> Span | None:
    """The name behind the cue `which` of CUES that stands at byte `at`."""
    cue, confidence, full = CUES[which]
    if at > 0 and (buf[at - 1 : at].isalnum() or buf[at - 1] == 0x5F):
        return None
    start = at + len(cue)
    match = _NAME.match(buf, start, min(hi, start + 80))
    if match is None or match.end() == start:
        return None
    words = match.group().split()
    if words[0].lower() in _NOT_NAMES or full and len(words) < 2:
        return None
    after = buf[match.end() : match.end() + 2]
    if after[:1] in (b"(", b"_", b"=", b"/", b"@") or after.lstrip(b" ")[:1] == b"\x01":  # or a redaction
        return None
    end = match.end()
    for possessive in (b"'s", b"\xe2\x80\x99s", b"'", b"-"):
        if buf[start:end].endswith(possessive):
            end -= len(possessive)
    return Span(start, end, "PERSON", confidence)
