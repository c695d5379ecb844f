"""The main text among the blocks of a page: a few rules over length, links and neighbours of each block.

resiliparse leaves out what the page marks as menu, footer or aside, and gives the rest as reduced HTML.  What remains
too much are lines before and after the article and notices inside it.  They are told from the text as Kohlschütter,
Fankhauser and Nejdl told them (Boilerplate Detection using Shallow Text Features, WSDM 2010): by length, by link
density and by the neighbouring blocks.  All thresholds were chosen on one half of the annotated pages and reported on
the other half: docs/extraction.md.

Every step is linear in the page.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from html import unescape
from typing import Literal

Kind = Literal["paragraph", "heading", "item", "code", "line"]

# Attribute values are quoted and escaped in reduced HTML, so a tag ends at the first `>` outside quotes
# and holds no `<`.
_LINK = re.compile(r"<a(?:\s[^\"<>]*(?:\"[^\"<]*\"[^\"<>]*)*)?>")
_BEGIN_LINK, _END_LINK = "\x02", "\x03"
_CODE = re.compile(r"<pre>(.*?)(?:</pre>|\Z)", re.S)
_TAG = re.compile(r"</?(?:p|h[1-6]|li|ul|ol|pre|br)(?:\s[^>]*)?>")
_FIRST_TAG = re.compile(r"\s*<(p|h[1-6]|li)\b")
_KINDS: dict[str, Kind] = {"p": "paragraph", "l": "item", "h": "heading"}
# Scripts that write a word in a character or two: such a character weighs as much as three of an alphabet.
_DENSE = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_DENSE_WEIGHT = 3
# The end of a sentence, or of a quotation, in the scripts of UAX 29's STerm that are common on the web.
_SENTENCE_END = re.compile(r"[.!?…。！？։।؟۔;:\"”»’)\]][\s\"”»’)\]\d]*\Z")
_END_CHARACTERS = 12

# A paragraph of so many characters outside links that ends like a sentence is part of the article ...
_SENTENCE = 40
# ... and so is one of so many that does not.
_LONG = 150
# Links may make up less than this of it.
_MAX_LINKS = 0.4
# Inside the article: a block that is nearly all link and shorter than this points elsewhere.
_TEASER_LINKS = 0.7
_TEASER = 250
# A list of the article may hold items that are links, next to one that is none.
_ITEM_LINKS = 0.5
# A short line that comes so often is a mark of the layout ("Advertisement").
_REPEATED = 3
_SHORT_LINE = 100
# Notices are looked for in blocks below this.
_NOTICE = 300
_NOTICE_WORDS = ("©", "copyright", "all rights reserved", "newsletter", "sign up", "subscribe", "click here")
_COOKIES = re.compile(r"\bcookies?\b")
_NOTICE_BEGIN = re.compile(
    r"(?:advertisement|anzeige|werbung|reklama|publicidad|publicité|реклама|related\b|tags?:|photo:|image:|\[related)"
    r"|(?:read (?:more|also|next)|see also|share (?:this|on)|follow (?:us|me))",
)
# After the article: so many characters that end like a sentence still belong to it.
_AFTER = 25
_AFTER_LINKS = 0.3
# A heading stays if one of so many blocks after it does.
_UNDER_HEADING = 3


@dataclasses.dataclass(slots=True)
class Block:
    text: str
    kind: Kind
    apart: bool  # a blank line stands before it
    size: int  # characters; of dense scripts _DENSE_WEIGHT for one
    linked: int  # of size, how many stand in links

    @property
    def ends(self) -> bool:
        """Whether it ends like a sentence."""
        return _SENTENCE_END.search(self.text[-_END_CHARACTERS:]) is not None

    @property
    def notice(self) -> bool:
        if self.size >= _NOTICE:
            return False
        lower = self.text.lower()
        for word in _NOTICE_WORDS:  # four times as fast as one pattern of all
            if word in lower:
                return True
        return _NOTICE_BEGIN.match(lower) is not None or ("cookie" in lower and _COOKIES.search(lower) is not None)


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """How sure the rules are of a page; sizes in characters as in Block."""

    kept: int  # size of all kept blocks
    share: float  # of the size of all blocks that the page did not mark as menu and the like


def blocks(reduced: str) -> list[Block]:
    """The blocks of a page in reduced HTML (resiliparse, preserve_formatting='minimal_html', links=True)."""
    marked = _LINK.sub(_BEGIN_LINK, reduced).replace("</a>", _END_LINK)
    found: list[Block] = []
    position = 0
    for code in _CODE.finditer(marked):
        _add_lines(found, marked[position : code.start()])
        text = unescape(_plain(code[1])).strip("\n").rstrip()
        if text.strip():
            found.append(Block(text, "code", True, len(text), 0))
        position = code.end()
    _add_lines(found, marked[position:])
    return found


def _plain(marked: str) -> str:
    return _TAG.sub("", marked).replace(_BEGIN_LINK, "").replace(_END_LINK, "")


def _add_lines(found: list[Block], marked: str) -> None:
    apart = True
    inside_link = False
    for line in marked.split("\n"):
        tag = _FIRST_TAG.match(line)
        text = _TAG.sub("", line) if "<" in line else line
        linked = 0
        if inside_link or _BEGIN_LINK in text or _END_LINK in text:
            linked, inside_link = _linked(text, inside_link)
            text = text.replace(_BEGIN_LINK, "").replace(_END_LINK, "")
        text = text.strip()
        if not text:
            apart = True
            continue
        if "&" in text:
            text = unescape(text)
        length = len(text)
        size = length if text.isascii() else length + (_DENSE_WEIGHT - 1) * len(_DENSE.findall(text))
        kind = _KINDS[tag[1][0]] if tag else "line"
        found.append(Block(text, kind, apart, size, min(size, linked * size // length)))
        apart = False


def _linked(text: str, inside: bool) -> tuple[int, bool]:
    """Characters in links, and whether a link is open at the end of the line."""
    count = 0
    for piece in text.replace(_BEGIN_LINK, "\0" + _BEGIN_LINK).replace(_END_LINK, "\0" + _END_LINK).split("\0"):
        if piece[:1] in (_BEGIN_LINK, _END_LINK):
            inside = piece[0] == _BEGIN_LINK
            piece = piece[1:]
        if inside:
            count += len(unescape(piece).strip()) if piece else 0
    return count, inside


def kept_blocks(found: list[Block]) -> list[bool]:
    """Whether each block is main text: everything from the first to the last paragraph of the article but notices,
    links that lead elsewhere, and headings of what was left out; and the end of a list or of the text below it."""
    article = [at for at, block in enumerate(found) if _is_article(block) and not block.notice]
    kept = [False] * len(found)
    if not article:
        return kept
    times = Counter(block.text for block in found if block.size < _SHORT_LINE)
    for at in range(article[0], article[-1] + 1):
        block = found[at]
        repeated = block.kind != "code" and times[block.text] >= _REPEATED
        kept[at] = not (repeated or _leads_elsewhere(found, at) or block.notice)
    for at in range(article[-1] + 1, len(found)):
        if not kept[at - 1] or not _continues(found, at):
            break
        kept[at] = True
    for at, block in enumerate(found):
        if kept[at] and block.kind == "heading" and not any(kept[at + 1 : at + 1 + _UNDER_HEADING]):
            kept[at] = False
    return kept


def _is_article(block: Block) -> bool:
    if block.kind == "code":
        return block.size >= _SENTENCE
    if block.kind == "heading" or block.linked >= _MAX_LINKS * block.size:
        return False
    return block.size - block.linked >= _SENTENCE and (block.size >= _LONG or block.ends)


def _leads_elsewhere(found: list[Block], at: int) -> bool:
    block = found[at]
    if block.linked <= _TEASER_LINKS * block.size or block.size >= _TEASER:
        return False
    return block.kind != "item" or not any(
        near.kind == "item" and near.linked < _ITEM_LINKS * near.size
        for near in found[max(0, at - 1) : at] + found[at + 1 : at + 2]
    )


def _continues(found: list[Block], at: int) -> bool:
    """Whether a block after the last paragraph, next to a kept one, belongs to the article."""
    block = found[at]
    if block.kind == "code":
        return True
    if block.notice:
        return False
    if block.kind == "item":
        return block.linked < _ITEM_LINKS * block.size and found[at - 1].kind in ("item", "heading")
    if block.kind == "heading":
        below = found[at + 1] if at + 1 < len(found) else None
        return below is not None and below.kind == "item" and below.linked < _ITEM_LINKS * below.size
    return block.ends and block.size >= _AFTER and block.linked < _AFTER_LINKS * block.size


@dataclasses.dataclass(frozen=True, slots=True)
class MainText:
    """The blocks of a page, which of them are main text, and how sure the rules are of that."""

    blocks: list[Block]
    kept: list[bool]
    evidence: Evidence

    def text(self) -> str:
        return _joined(self.blocks, self.kept)

    def whole(self) -> str:
        """The text before the rules."""
        return _joined(self.blocks)


def main_text(reduced: str) -> MainText:
    """The main text of a page in reduced HTML."""
    found = blocks(reduced)
    kept = kept_blocks(found)
    size = sum(block.size for block, keep in zip(found, kept, strict=True) if keep)
    total = sum(block.size for block in found)
    return MainText(found, kept, Evidence(size, size / max(1, total)))


def all_text(reduced: str) -> str:
    """The text of reduced HTML without any rules."""
    return _joined(blocks(reduced))


def _joined(found: list[Block], kept: list[bool] | None = None) -> str:
    """Items of lists stand after `- `; a blank line where one was, and around code."""
    pieces: list[str] = []
    apart = False
    for at, block in enumerate(found):
        apart = apart or block.apart
        if kept is not None and not kept[at]:
            continue
        if pieces:
            pieces.append("\n\n" if apart else "\n")
        pieces.append(f"- {block.text}" if block.kind == "item" else block.text)
        apart = block.kind == "code"
    return "".join(pieces)
