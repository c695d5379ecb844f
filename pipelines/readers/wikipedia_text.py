"""Wikitext to plain text in a fixed number of linear passes.

The passes stand in the order in which MediaWiki itself takes a page apart: comments and extension tags, templates,
tables, links, then what is left of markup line by line.  Headings and list items stay as lines of their own;
files, categories, references and galleries go.  With every option at "drop" the text is what RedPajama-V1 took from
the Wikipedia builder of Hugging Face (huggingface/datasets, datasets/wikipedia/wikipedia.py: references, tables, files
and templates out, links by their label).

Cost: linear in the text for any input: nesting is bounded, and every search that finds no end is made once.
"""

from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Iterator

from pipelines.readers.wikipedia_templates import expand_known, template_name

# MediaWiki's $wgMaxTemplateDepth is 100 and its parser gives up on deeper pages; articles stay below 10.
MAX_DEPTH = 40

GONE = "\x01"  # where something was taken out; neither this nor NUL can stand in XML 1.0
_KEPT = "\x00"  # around the number of a text that must not be looked at

# Extension tags whose content is no wikitext (mediawiki.org/wiki/Parser_extension_tags).
_VERBATIM = frozenset(("nowiki", "pre", "source", "syntaxhighlight"))
_FORMULAS = frozenset(("math", "chem", "ce"))
_DROPPED = frozenset(
    "ref references gallery timeline score imagemap hiero graph mapframe maplink templatestyles templatedata inputbox "
    "indicator categorytree charinsert dynamicpagelist rss section includeonly chart phonos".split()
)
_OPAQUE = re.compile(
    "<!--|<(" + "|".join(sorted(_VERBATIM | _FORMULAS | _DROPPED, key=len, reverse=True)) + r")(?![\w-])([^<>]*)>", re.I
)
_CLOSING = {name: re.compile(rf"</{name}\s*>", re.I) for name in _VERBATIM | _FORMULAS | _DROPPED}

_BRACES = re.compile(r"\{\{+|\}\}+")
_TABLE = re.compile(r"^[ \t:*#\x01]*\{\||^[ \t\x01]*\|\}|<table(?![\w-])[^<>]*>|</table\s*>", re.M | re.I)
_BRACKETS = re.compile(r"\[\[|\]\]")
_LANGUAGE_LINK = re.compile(r"[a-z]{2,3}(?:-[a-z]{2,12}){0,3}:(?!//)|simple:")
_EXTERNAL = re.compile(
    r"\[(?:(?:https?|ftps?|sftp|irc|ircs|news|gopher|git|svn)://|//|mailto:|tel:)[^\s\[\]<>\"]*+[ \t]*+([^\[\]\n]*+)\]",
    re.I,
)
_BLOCK_TAG = re.compile(
    r"</?(?:br|p|div|li|ul|ol|dl|dt|dd|hr|h[1-6]|blockquote|center|poem|tr|td|th|caption|tbody|thead)(?![\w-])[^<>]*>",
    re.I,
)
_INLINE_TAG = re.compile(
    r"</?(?:abbr|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|ins|kbd|mark|q|rb|rp|rt|rtc|ruby|s|samp|small|span|"
    r"strike|strong|sub|sup|time|tt|u|var|wbr|noinclude|onlyinclude|section|translate|tvar|languages|onlyinclude|"
    r"nowiki|pre|source|syntaxhighlight|math|chem|ce|ref|references|gallery|includeonly)(?![\w-])[^<>]*>",
    re.I,
)
_QUOTES = re.compile(r"''+")
_SWITCH = re.compile(r"__([^\W_]+(?:_[^\W_]+)*)__")
_VARIANT = re.compile(r"-\{([^{}]*)\}-")
_EMPTY_PARENTHESES = re.compile(r"[ \t]?[(\uff08](?=[^()\uff08\uff09\w]*\x01)[^()\uff08\uff09\w]*[)\uff09]")
_AFTER_OPENING = re.compile(r"([(\uff08])[\s,;:\uff1b\uff0c]*\x01[\s,;:\x01\uff1b\uff0c]*")
_BEFORE_CLOSING = re.compile(r"(?<![\s,;\x01])[\s,;]*\x01[\s,;\x01]*(?=[)\uff09])")
_GAP = re.compile(r"(?<![ \t\x01])[ \t]*\x01[\x01 \t]*(.?)")
_SPACES = re.compile(r"[ \t]{2,}")
_RESTORE = re.compile(r"\x00(\d+)\x00")

# Names of the file namespace that a dump does not list: English ones hold everywhere, the others are former local
# names ($namespaceAliases of MediaWiki's languages/messages).
_FILE_NAMES = frozenset(
    "file image media bild bilde billede afbeelding imagen imagem immagine imatge imagine grafika kuva kép slika "
    "изображение зображення картинка слика 画像 图像 圖像 图片 그림 تصویر صورة תמונה fichier datei".split()
)
_CATEGORY_NAMES = frozenset(("category",))


@dataclasses.dataclass(frozen=True, slots=True)
class Namespaces:
    """Lower-case prefixes of links, as the head of a dump names them."""

    files: frozenset[str] = _FILE_NAMES
    categories: frozenset[str] = _CATEGORY_NAMES

    @classmethod
    def of(cls, names: dict[int, str]) -> Namespaces:
        """By the numbers of MediaWiki: -2 media, 6 file, 14 category."""
        files = {names[key].lower() for key in (-2, 6) if names.get(key)}
        return cls(_FILE_NAMES | files, _CATEGORY_NAMES | {names[14].lower() for _ in (1,) if names.get(14)})


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """What becomes of the parts of a page that are no running text."""

    templates: str = "known"  # known: inline templates that only wrap text give it; drop: none does
    tables: str = "drop"  # drop | text: a line a row, cells divided by ` | `
    math: str = "latex"  # latex: between dollar signs | drop


@dataclasses.dataclass(slots=True)
class _Page:
    shape: Shape
    namespaces: Namespaces
    kept: list[str] = dataclasses.field(default_factory=list)
    categories: list[str] = dataclasses.field(default_factory=list)

    def keep(self, text: str) -> str:
        self.kept.append(text)
        return f"{_KEPT}{len(self.kept) - 1}{_KEPT}"

    def restored(self, text: str) -> str:
        return _RESTORE.sub(lambda match: self.kept[int(match[1])], text)


def wikitext_to_text(
    wikitext: str, shape: Shape = Shape(), namespaces: Namespaces = Namespaces()
) -> tuple[str, list[str]]:
    """The plain text, and the names of the categories that the page says it belongs to."""
    page = _Page(shape, namespaces)
    text = wikitext.replace("\x00", "").replace(GONE, "").replace("\r\n", "\n")
    text = _set_aside(text, page)
    text = _without_templates(text, page)
    text = _without_tables(text, page)
    text = _without_links(text, page)
    text = _without_inline_markup(text)
    text = html.unescape("\n".join(_sections(text)))
    return page.restored(text).strip(), [page.restored(category) for category in page.categories]


def _set_aside(text: str, page: _Page) -> str:
    """Comments and references out, verbatim text and formulas behind a number."""
    pieces: list[str] = []
    unclosed: set[str] = set()
    position = 0
    while (match := _OPAQUE.search(text, position)) is not None:
        pieces.append(text[position : match.start()])
        position = match.end()
        if match[1] is None:  # a comment without end hides the rest, as in MediaWiki
            end = text.find("-->", position)
            position = end + 3 if end >= 0 else len(text)
            pieces.append(GONE)
            continue
        name = match[1].lower()
        if match[2].endswith("/"):
            pieces.append(GONE)
            continue
        closing = _CLOSING[name].search(text, position) if name not in unclosed else None
        if closing is None:  # a tag without end is text, and its content wikitext
            unclosed.add(name)
            continue
        pieces.append(_set_aside_tag(name, text[position : closing.start()], page))
        position = closing.end()
    return "".join((*pieces, text[position:])) if pieces else text


def _set_aside_tag(name: str, content: str, page: _Page) -> str:
    if name in _FORMULAS:
        formula = " ".join(html.unescape(content).split())
        return page.keep(f"${formula}$") if page.shape.math == "latex" and formula else GONE
    if name not in _VERBATIM or not content:
        return GONE
    content = html.unescape(content)
    if name == "nowiki":
        return page.keep(content)
    content = content.strip("\n")
    return f"\n{page.keep(content)}\n" if content.strip() else GONE


@dataclasses.dataclass(slots=True)
class _Frame:
    """An opening that waits for its end."""

    opening: str
    braces: int = 0
    pieces: list[str] = dataclasses.field(default_factory=list)


def _without_templates(text: str, page: _Page) -> str:
    """Every `{{...}}` replaced by what it gives, innermost first; `{{{parameter|default}}}` by its default.

    Braces without a partner stay as they are.
    """
    if "{{" not in text:
        return text
    stack = [_Frame("")]
    position = 0
    for match in _BRACES.finditer(text):
        run = match[0]
        stack[-1].pieces.append(text[position : match.start()])
        position = match.end()
        if run[0] == "{":
            if len(stack) > MAX_DEPTH or len(run) > 3 * MAX_DEPTH:
                stack[-1].pieces.append(run)
            else:
                stack.append(_Frame(run, len(run)))
            continue
        left = len(run)
        while left >= 2 and len(stack) > 1:
            frame = stack.pop()
            width = min(left, frame.braces, 3)
            left -= width
            given = _given(frame.pieces, width, page)
            remaining = frame.braces - width
            if remaining >= 2:
                stack.append(_Frame("{" * remaining, remaining, [given]))
            else:
                stack[-1].pieces.append("{" * remaining + given)
        stack[-1].pieces.append("}" * left)
    stack[-1].pieces.append(text[position:])
    return "".join(piece for frame in stack for piece in (frame.opening, *frame.pieces))


def _given(pieces: list[str], braces: int, page: _Page) -> str:
    if braces == 3:  # a parameter of a template, met outside one: its default
        return "".join(pieces).partition("|")[2] or GONE
    if page.shape.templates == "drop" or not pieces:
        return GONE
    name = template_name(pieces[0])
    return (expand_known(name, "".join(pieces)) if name else None) or GONE


def _without_tables(text: str, page: _Page) -> str:
    if "{|" not in text and "<table" not in text.lower():
        return text
    stack: list[_Frame] = [_Frame("")]
    position = 0
    for match in _TABLE.finditer(text):
        mark = match[0].strip(" \t:*#\x01")
        stack[-1].pieces.append(text[position : match.start()])
        position = match.end()
        if mark == "{|" or mark[:2].lower() == "<t":
            if len(stack) > MAX_DEPTH:
                continue
            stack.append(_Frame("{|" if mark == "{|" else "<table"))
        elif len(stack) > 1 and (stack[-1].opening == "{|") is (mark == "|}"):
            frame = stack.pop()
            given = GONE
            if page.shape.tables == "text" and frame.opening == "{|":
                given = _table_rows("".join(frame.pieces))
            elif page.shape.tables == "text":
                given = "".join(frame.pieces)
            stack[-1].pieces.append(given)
    stack[-1].pieces.append(text[position:])
    for depth in range(len(stack) - 1, 0, -1):  # a table without end: what looks like its rows goes
        lines = "".join(stack[depth].pieces).split("\n")
        first = 1 if stack[depth].opening == "{|" else 0
        stack[depth - 1].pieces.append("\n".join(line for line in lines[first:] if line.lstrip()[:1] not in ("|", "!")))
    return "".join(stack[0].pieces)


def _table_rows(content: str) -> str:
    """Rows as lines, cells divided by ` | `; attributes of table, rows and cells out."""
    rows: list[list[str]] = [[]]
    for line in content.split("\n")[1:]:  # the first line holds the attributes of the table
        text = line.strip()
        if text.startswith("|-"):
            rows.append([])
        elif text.startswith("|+"):
            rows += [[_cell(text[2:])], []]
        elif text[:1] in ("|", "!"):
            divider = "!!" if text[0] == "!" and "||" not in text else "||"
            rows[-1] += [_cell(cell) for cell in text[1:].split(divider)]
        elif text and rows[-1]:
            rows[-1][-1] = f"{rows[-1][-1]} {text}".strip()
    lines = (" | ".join(cell for cell in row if cell.strip(" \x01")) for row in rows)
    return "\n" + "\n".join(line for line in lines if line) + "\n"


def _cell(text: str) -> str:
    attributes, bar, content = text.partition("|")
    return (content if bar and "[[" not in attributes and "=" in attributes else text).strip()


def _without_links(text: str, page: _Page) -> str:
    """Links by their labels; files out; categories out and remembered."""
    if "[[" not in text:
        return text
    stack = [_Frame("")]
    position = 0
    for match in _BRACKETS.finditer(text):
        stack[-1].pieces.append(text[position : match.start()])
        position = match.end()
        if match[0] == "[[" and len(stack) <= MAX_DEPTH:
            stack.append(_Frame("[["))
        elif match[0] == "[[" or len(stack) == 1:
            stack[-1].pieces.append(match[0])
        else:
            content = "".join(stack.pop().pieces)
            third = text.startswith("]", position) and not text.startswith("]]", position)
            if third and content.count("[") > content.count("]"):
                content += "]"  # `[[File:a.jpg|[http://b c]]]`: the first bracket ends the link inside (T4095)
                position += 1
            stack[-1].pieces.append(_label(content, page))
    stack[-1].pieces.append(text[position:])
    return "".join(piece for frame in stack for piece in (frame.opening, *frame.pieces))


def _label(content: str, page: _Page) -> str:
    target, bar, label = content.partition("|")
    name = target.strip()
    prefix, colon, rest = name.partition(":")
    if colon and prefix:
        prefix = prefix.strip().lower().replace("_", " ")
        if prefix in page.namespaces.files:
            # A caption holds no empty line: the brackets belong to something else then.
            return GONE + content.partition("\n\n")[2] if "\n\n" in content else GONE
        if prefix in page.namespaces.categories:
            if category := rest.strip().replace("_", " "):
                page.categories.append(html.unescape(category.replace(GONE, "")))
            return GONE
        if not bar and _LANGUAGE_LINK.match(name):
            return GONE
    if "\n" in target or not name:
        return f"[[{content}]]"
    if bar and label.strip():
        return label
    return name.removeprefix(":").replace("_", " ")


def _without_inline_markup(text: str) -> str:
    if "[" in text:
        text = _EXTERNAL.sub(lambda match: match[1].strip() or GONE, text)
    if "<" in text:
        text = _INLINE_TAG.sub("", _BLOCK_TAG.sub("\n", text))
    if "''" in text:
        text = _QUOTES.sub(_apostrophes, text)
    if "__" in text:
        text = _SWITCH.sub(lambda match: GONE if match[1].isupper() else match[0], text)
    if "-{" in text:
        text = _VARIANT.sub(_first_variant, text)
    return text


def _apostrophes(match: re.Match[str]) -> str:
    """Two, three and five are italic and bold; what is left over are apostrophes (MediaWiki's doQuotes)."""
    count = len(match[0])
    return "'" if count == 4 else "'" * max(0, count - 5)


def _first_variant(match: re.Match[str]) -> str:
    """Of `-{zh-hans:a;zh-hant:b}-` the first text, of `-{a}-` all (mediawiki.org/wiki/Writing_systems/Syntax)."""
    first = match[1].partition(";")[0]
    code, colon, rest = first.partition(":")
    flags, bar, after = first.partition("|")
    if bar and len(flags) <= 2:
        return GONE if flags.strip() in ("H", "T", "-") else after.partition(":")[2] or after
    return rest if colon and code.strip().replace("-", "").isalnum() and len(code) < 12 else match[1]


def _sections(text: str) -> Iterator[str]:
    """The lines, without markup at their beginning, empty sections and repeated blank lines."""
    lines: list[tuple[int, str]] = []  # level of a heading, or 0
    for raw in text.split("\n"):
        had_gap = GONE in raw
        line = _close_gaps(raw) if had_gap else raw
        line = _SPACES.sub(" ", line).strip(" \t")
        level = 0
        first = line[:1]
        if first in ("*", "#", ":", ";"):
            line = line.lstrip("*#:; \t")
        elif first == "=" and line[-1] == "=" and len(line) > 2:
            level = min(len(line) - len(line.lstrip("=")), len(line) - len(line.rstrip("=")), 6)
            line = line[level:-level].strip() if len(line) > 2 * level else ""
        elif first == "-" and line.startswith("----"):
            line = line.lstrip("-").lstrip()
        if line or not had_gap and not level:
            lines.append((level if line else 0, line))
    yield from _without_empty_sections(lines)


def _without_empty_sections(lines: list[tuple[int, str]]) -> Iterator[str]:
    kept: list[str] = []  # backwards
    deepest = 0  # the level of the last heading kept, where nothing but headings stands between
    filled = False
    for level, line in reversed(lines):
        if level:
            if filled or 0 < level < deepest:
                kept += ["", line, ""]
                deepest = level
                filled = False
        elif line:
            kept.append(line)
            filled = True
        else:
            kept.append("")
    blank = True
    for line in reversed(kept):
        if line or not blank:
            yield line
        blank = not line


def _close_gaps(line: str) -> str:
    """Takes the marks out, and with them the spaces, separators and brackets that stood around what is gone."""
    if "(" in line or "\uff08" in line:
        line = _EMPTY_PARENTHESES.sub("", line)
        line = _AFTER_OPENING.sub(r"\1", line)
        line = _BEFORE_CLOSING.sub("", line)
    return _GAP.sub(_bridge, line)


def _bridge(match: re.Match[str]) -> str:
    following = match[1]
    spaced = " " in match[0] or "\t" in match[0]
    return f" {following}" if spaced and following and following not in ".,;:)]!?\uff09\u3001\u3002" else following
