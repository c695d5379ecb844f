"""The HTML of a Stack Exchange post to text.

Posts hold a short list of elements (meta.stackexchange.com/q/1777), written by the site itself from Markdown, so that
no page parser is needed: one pass over the tags.  Code blocks keep their lines and spaces; list items begin with `*`,
as in RedPajama-V1 (data_prep/stack_exchange/post_processing.py).
"""

from __future__ import annotations

import html
import re

_TAG = re.compile(r"<!--.*?(?:-->|\Z)|<(/?)([a-zA-Z][a-zA-Z0-9]*)(?![^\s/>])[^<>]*>", re.S)
_WHITE = re.compile(r"[ \t\n\r\f]+")
_PARAGRAPHS = frozenset("p pre blockquote ul ol dl h1 h2 h3 h4 h5 h6 hr table div details".split())
_LINES = frozenset("br li dt dd tr summary".split())
_CELLS = frozenset(("td", "th"))
_BLANKS = re.compile(r"\n{3,}")
_LONE_MARK = re.compile(r"^\*\n+(?=[^\n*])", re.M)
_SPACE_BEFORE_BREAK = re.compile(r"(?<![ \t])[ \t]+(?=\n)")


def post_text(markup: str) -> str:
    """Plain text; paragraphs are divided by a blank line.  Linear in the markup."""
    pieces: list[str] = []
    verbatim = 0  # depth of <pre>
    position = 0
    fresh = True  # nothing but a break stands before
    for match in _TAG.finditer(markup):
        fresh = _add(pieces, markup[position : match.start()], verbatim > 0, fresh)
        position = match.end()
        if match[2] is None:  # a comment: the mark of a language for the highlighter, or of a snippet
            continue
        name, ends = match[2].lower(), bool(match[1])
        if name == "pre":
            verbatim = max(0, verbatim - 1) if ends else verbatim + 1
        if name in _PARAGRAPHS:
            pieces.append("\n\n")
            fresh = True
        elif name == "li" and not ends:
            pieces.append("\n* ")
            fresh = True
        elif name in _LINES and not ends:
            pieces.append("\n")
            fresh = True
        elif name in _CELLS and not ends and not fresh:
            pieces.append(" | ")
            fresh = True
    _add(pieces, markup[position:], verbatim > 0, fresh)
    return _tidy("".join(pieces))


def _add(pieces: list[str], text: str, verbatim: bool, fresh: bool) -> bool:
    """Appends text; without <pre>, runs of white space count as one space, and none begins a line."""
    if not text:
        return fresh
    if "&" in text:
        text = html.unescape(text)
    if verbatim:
        pieces.append(text.replace("\r\n", "\n"))
        return text.endswith("\n")
    if "\n" in text or "  " in text or "\t" in text or "\r" in text or "\f" in text:
        text = _WHITE.sub(" ", text)
    if fresh:
        text = text.lstrip(" ")
    if not text:
        return fresh
    pieces.append(text)
    return False


def _tidy(text: str) -> str:
    if " \n" in text or "\t\n" in text:
        text = _SPACE_BEFORE_BREAK.sub("", text)
    if "*\n" in text:  # a paragraph inside a list item follows its mark
        text = _LONE_MARK.sub("* ", text)
    if "\n\n\n" in text:
        text = _BLANKS.sub("\n\n", text)
    return text.strip("\n ")
