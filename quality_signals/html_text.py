"""What a reader of an HTML file sees, as Beautiful Soup gives it to StarCoder.

bigcode-dataset @ bebec92, preprocessing/filtering.py, `filter_html`: the text of the tree that Beautiful Soup 4 builds
with Python's html.parser, without scripts and styles.

`visible_text` goes over the tags of well-formed HTML itself, without building the tree, and leaves to Beautiful Soup
whatever html.parser's repairs would have a part in: broken tags and references, CDATA, end tags of empty elements.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

# Above either, the tree is not built: Beautiful Soup keeps some 500 bytes a tag, and recursion ends at the
# interpreter's limit.
MAX_CHARS = 10_000_000
_MAX_DEPTH = 200

_SPACE = r"[ \t\n\r\f]"
# Repetitions are possessive: what cannot match does not try again, so that the time is linear.
_ATTRIBUTE = (
    rf"(?>{_SPACE}++[^\s\"'<>/=\0]++(?:{_SPACE}*+={_SPACE}*+(?:\"[^\"]*+\"|'[^']*+'|[^\s\"'<>=`]++))?+)"
)  # fmt: skip
# 1 text, then 2 the name of a start tag, 3 the slash of `<br/>`, 4 the name of an end tag, 5 the begin of a comment, or
# the end.
_MARKUP = re.compile(
    rf"([^<]*+)(?:\Z|<(?:([a-zA-Z][-.:_a-zA-Z0-9]*+){_ATTRIBUTE}*+{_SPACE}*+(/?)>|/([a-zA-Z][-.:_a-zA-Z0-9]*+){_SPACE}*+>"
    rf"|(!--)(?!-?>)|(?:!(?i:doctype){_SPACE}[^<>\[]*+|\?[^<>]*+)>))"
)
# Everything that some version of html.parser takes for the end of a comment.
_COMMENT_END = re.compile(r"--[\s!]*>")
# 1 the number, 2 the name; others are left to the parser's repairs.
_REFERENCE = re.compile(
    r"&(?:#([0-9]{1,7}|[xX][0-9a-fA-F]{1,6});|([a-zA-Z][-.a-zA-Z0-9]*+);?|(?=[^a-zA-Z#])|())"
)  # fmt: skip
# Content up to the end tag is text in some versions of html.parser, and markup in others.
_RAW = frozenset("title textarea iframe noembed noframes plaintext xmp".split())
_UNSEEN = frozenset(("script", "style"))
_UNSEEN_END = {name: re.compile(rf"</\s*{name}", re.I) for name in _UNSEEN}


class _Unsure(Exception):
    """The parser's repairs would have a part in the text."""


@lru_cache(maxsize=1)
def _elements() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Elements without content, those that keep white space, and those whose text Beautiful Soup keeps apart."""
    from bs4.builder import HTMLTreeBuilder

    return (
        frozenset(HTMLTreeBuilder.DEFAULT_EMPTY_ELEMENT_TAGS or ()),
        frozenset(HTMLTreeBuilder.DEFAULT_PRESERVE_WHITESPACE_TAGS),
        frozenset(HTMLTreeBuilder.DEFAULT_STRING_CONTAINERS),
    )


def _character(match: re.Match[str]) -> str:
    from bs4.dammit import EntitySubstitution, UnicodeDammit

    number, name, broken = match.groups()
    if broken is not None or (name is not None and match.end() == len(match.string) and match[0][-1] != ";"):
        raise _Unsure
    if number is not None:
        code = int(number[1:], 16) if number[0] in "xX" else int(number)
        return str(UnicodeDammit.numeric_character_reference(code)[0])
    if name is not None:
        return str(EntitySubstitution.HTML_ENTITY_TO_CHARACTER.get(name, "&" + name))
    return "&"


def _walked(html: str) -> str:
    """The visible text of well-formed HTML; raises _Unsure for other."""
    empty, preserving, apart = _elements()
    pieces: list[str] = []
    opened: list[str] = []
    times: dict[str, int] = {}  # how often an element is open
    at = kept = unseen = 0  # open elements that keep white space, and those whose text is not seen
    raw = ""  # the element of _RAW that has just begun
    while at < len(html):
        markup = _MARKUP.match(html, at)
        if markup is None:
            raise _Unsure
        text, name, slash, end_name, comment = markup.groups()
        if text:
            if "&" in text:
                begin = at + len(text)
                # The character behind a reference tells whether it has ended.
                text = _REFERENCE.sub(_character, html[at : begin + 1])
                text = text[:-1] if begin < len(html) else text
                if not text:
                    raise _Unsure
            if not unseen:
                if not kept and not text.strip(" \t\n\r\f"):
                    text = "\n" if "\n" in text else " "
                pieces.append(text)
        at = markup.end()
        if raw:
            if end_name is None or end_name.lower() != raw:
                raise _Unsure
            raw = ""
        if name is not None:
            name = name.lower()
            if slash or name in empty:
                if name in _UNSEEN or name in _RAW:
                    raise _Unsure
                continue
            if name in _UNSEEN:
                end = _UNSEEN_END[name].search(html, at)
                markup = _MARKUP.match(html, end.start()) if end else None
                if markup is None or (markup[4] or "").lower() != name:
                    raise _Unsure
                at = markup.end()
                continue
            opened.append(name)
            times[name] = times.get(name, 0) + 1
            kept += name in preserving
            unseen += name in apart
            if name in _RAW:
                raw = name
            if len(opened) > _MAX_DEPTH:
                raise _Unsure
        elif end_name is not None:
            end_name = end_name.lower()
            if end_name in empty:
                raise _Unsure
            if times.get(end_name):
                last = ""
                while last != end_name:
                    last = opened.pop()
                    times[last] -= 1
                    kept -= last in preserving
                    unseen -= last in apart
        elif comment is not None:
            closing = _COMMENT_END.search(html, at)
            if closing is None or closing[0] != "-->":
                raise _Unsure
            at = closing.end()
    if raw:
        raise _Unsure
    return "".join(pieces)


def visible_text(html: str) -> str | None:
    """The text without scripts and styles; None where the parser gives up.  Raises ImportError without the extra."""
    try:
        import bs4  # noqa: F401
    except ImportError as error:
        raise ImportError("visible text of HTML needs Beautiful Soup: pip install 'gristmill[code]'") from error
    if len(html) > MAX_CHARS:
        return None
    if "<" not in html and "&" not in html and html.strip():
        return html  # one string, as it stands
    try:
        return _walked(html)
    except _Unsure:
        return parsed_text(html)


def parsed_text(html: str) -> str | None:
    """`visible_text` as the reference computes it."""
    import warnings

    import bs4
    from bs4.builder import ParserRejectedMarkup

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of text that looks like a URL, a file name or XML
            soup: Any = bs4.BeautifulSoup(html, features="html.parser")
        for element in soup(["script", "style"]):
            element.extract()
        return str(soup.get_text())
    except (TypeError, UnboundLocalError, AssertionError, RecursionError, ParserRejectedMarkup):
        return None
