"""The text of a Project Gutenberg file without what the project wrote around it.

Three forms of header are in use: `*** START OF THE PROJECT GUTENBERG EBOOK ... ***` (since 2004, `THIS` for `THE` until
about 2019), the small print of the 1990s that ends in `*END*THE SMALL PRINT!...*END*`, and that small print with its
start mark at the end of the file.  Facts from gutenberg.org's files and its how-to pages, and the lists of marks in
c-w/gutenberg (gutenberg/_domain_model/text.py).
"""

from __future__ import annotations

import dataclasses
import re

# The start stands in the first 900 lines of every form: the longest small print has 350, forewords may come before.
_MAX_HEADER_LINES = 900
# `End of Project Gutenberg's X` is said again up to this many lines before the mark.
_LINES_BEFORE_END = 12
# Credits stand in the first lines of the text, each a paragraph of a few lines.
_MAX_CREDIT_PARAGRAPHS = 6
_MAX_CREDIT_LINES = 12
_MAX_NOTE_CHARS = 5_000
# Notes of the transcriber under a heading of their own are cut where they stand in the last part of the book.
_LAST_PART = 0.25
# Notes without an end are looked for in vain; a book has some.
_MAX_UNCLOSED_NOTES = 50

_NAME = r"(?:THE |THIS |AN? )?(?:COPYRIGHTED |DISTRIBUTED )?PROJECT GUTENBERG"
_START = re.compile(rf"\W{{0,8}}(?:START|BEGINNING) (?:OF )?{_NAME}", re.I)
_END = re.compile(
    rf"\W{{0,8}}(?:END (?:OF )?{_NAME}|ENDE DIESES PROJE[CK]T GUTENBERG|FIN DE (?:THE )?PROJECT GUTENBERG)", re.I
)
_STARRED = re.compile(r"\s*\*")
_SMALL_PRINT_START = re.compile(r"\W{0,4}\*+\s*START\s*\*+\s*THE SMALL PRINT", re.I)
_SMALL_PRINT_END = re.compile(r"\W{0,4}\*\s*END\W{0,3}\s*THE SMALL PRINT", re.I)
_ETEXT_HEAD = re.compile(r"[\s*]*(?:This is )?the project gutenberg (?:etext|ebook)(?: of|,)?\s", re.I)

_CREDIT = re.compile(
    r"[\[(]?(?:produced|e-?text (?:produced|prepared|scanned|created)|credits?:|"
    r"(?:scanned|transcribed|prepared|proofed|digiti[sz]ed) (?:and \w+ )?by|"
    r"this (?:e-?text|e-?book|file) was (?:produced|prepared|scanned|created|first))",
    re.I,
)
_NOTE_PARAGRAPH = re.compile(r"\W{0,4}transcriber(?:['\u2019]?s|s['\u2019])? ?\W{0,2}notes?\b", re.I)
_NOTE_HEADING = re.compile(r"[^\n]{3,60}")
_LEADING_BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)*")
_BLANK_LINES = re.compile(r"(\n[ \t]*\n\s*)")
_NOTE_BRACKET = re.compile(r"\[\s*(?=transcriber(?:['\u2019]?s|s['\u2019])? notes?\b)", re.I)
_FIELD = re.compile(r"\s{0,2}(title|author|translator|editor|illustrator|release date|posting date|language|"
                    r"character set encoding|original publication|credits?)\s*:\s*(.*)", re.I)  # fmt: skip
_NUMBER = re.compile(r"(?:e-?text|e-?book)\s*#?\s*(\d{1,6})\b", re.I)
_BY = re.compile(r",? by (?=[^,]{3,80}$)")


@dataclasses.dataclass(frozen=True, slots=True)
class Book:
    """The text, what the header says, and which marks were there: both, start, end or none."""

    text: str
    fields: dict[str, str]
    marks: str


def strip_book(text: str, notes: str = "drop") -> Book:
    """notes: what becomes of the transcriber's notes: drop or keep.  Line ends become newlines.

    A file without marks keeps all its text, except for such notes.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first = _start_line(lines)
    last = _end_line(lines, first)
    marks = "both" if first and last < len(lines) else "start" if first else "end" if last < len(lines) else "none"
    fields = read_fields(lines[: first or min(len(lines), 40 if marks == "end" else 0)])
    body = lines[first:last]
    if first:
        body = _without_credits(body)
    joined = "\n".join(body)
    if notes == "drop":
        joined = _without_notes(joined)
    return Book(_LEADING_BLANK_LINES.sub("", joined).rstrip(), fields, marks)


def _start_line(lines: list[str]) -> int:
    """The first line behind the header; 0 if there is none."""
    found = 0
    small_print = False
    for number, line in enumerate(lines[:_MAX_HEADER_LINES]):
        if _SMALL_PRINT_START.match(line):
            small_print = True
        elif _SMALL_PRINT_END.match(line):
            found, small_print = number + 1, False
        elif not small_print and _START.match(line):
            found = number + 1
            rest = line.lstrip(" *")
            while _STARRED.match(line) and "***" not in rest and lines[found : found + 1] and lines[found].strip():
                rest = lines[found]  # the mark goes on in the next line
                found += 1
            break
    return found


def _end_line(lines: list[str], first: int) -> int:
    """The first line of the footer; the number of lines if there is none."""
    spoken = None  # the last `End of Project Gutenberg's X` without stars
    for number in range(first, len(lines)):
        line = lines[number]
        if len(line) > 400:
            continue
        if _SMALL_PRINT_START.match(line) and number > first + (len(lines) - first) // 2:
            return spoken if spoken is not None and number - spoken <= _LINES_BEFORE_END else number
        if _END.match(line):
            if _STARRED.match(line):
                return spoken if spoken is not None and number - spoken <= _LINES_BEFORE_END else number
            spoken = number
    return spoken if spoken is not None else len(lines)


def read_fields(lines: list[str]) -> dict[str, str]:
    """`Title`, `Author` and the like, in lower case; a continuation line is indented."""
    fields: dict[str, str] = {}
    current = None
    for line in lines:
        match = _FIELD.match(line)
        if match:
            current = match[1].lower()
            if current in fields:
                current = None
            else:
                fields[current] = match[2].strip()
        elif current and line[:1] in (" ", "\t") and line.strip():
            fields[current] = f"{fields[current]} {line.strip()}".strip()
        else:
            current = None
    head = "\n".join(lines)
    if number := _NUMBER.search(head):
        fields["number"] = number[1]
    if "title" not in fields:
        for line in lines[:10]:
            match = _ETEXT_HEAD.match(line)
            if match:
                named = line[match.end() :].strip(" *#")
                title, *author = _BY.split(named, maxsplit=1)
                fields["title"] = title.strip()
                if author:
                    fields.setdefault("author", author[0].strip())
                break
    if re.search(r"this is a copyrighted project gutenberg", head, re.I):
        fields["copyrighted"] = "true"
    return {name: value for name, value in fields.items() if value}


def _without_credits(lines: list[str]) -> list[str]:
    """Without the paragraphs at the beginning that say who made the file."""
    at = 0
    for _ in range(_MAX_CREDIT_PARAGRAPHS):
        while at < len(lines) and not lines[at].strip():
            at += 1
        end = at
        while end < len(lines) and lines[end].strip():
            end += 1
        if at == len(lines) or end - at > _MAX_CREDIT_LINES or not _CREDIT.match(lines[at].strip()):
            break
        at = end
    return lines[at:]


def _without_notes(text: str) -> str:
    """Bracketed notes and paragraphs of the transcriber out; at the end of the book all that follows their heading."""
    pieces: list[str] = []
    position = unclosed = 0
    for match in _NOTE_BRACKET.finditer(text):
        if match.start() < position:
            continue
        end = _closing_bracket(text, match.start())
        if end is None:
            unclosed += 1
            if unclosed > _MAX_UNCLOSED_NOTES:
                break
        else:
            pieces.append(text[position : match.start()])
            position = end + 1
    text = "".join((*pieces, text[position:]))
    if not _has_note(text):
        return text
    kept: list[str] = []
    passed = 0
    parts = [*_BLANK_LINES.split(text), ""]  # paragraphs, each followed by the blank lines behind it
    for paragraph, blank in zip(parts[::2], parts[1::2], strict=True):
        if not _NOTE_PARAGRAPH.match(paragraph) or len(paragraph) > _MAX_NOTE_CHARS:
            kept.append(paragraph + blank)
        elif _NOTE_HEADING.fullmatch(paragraph) and passed >= (1 - _LAST_PART) * len(text):
            break
        passed += len(paragraph) + len(blank)
    return "".join(kept)


def _has_note(text: str) -> bool:
    return "ranscriber" in text or "RANSCRIBER" in text


def _closing_bracket(text: str, start: int) -> int | None:
    depth = 0
    for match in re.finditer(r"[\[\]]", text[start : start + _MAX_NOTE_CHARS]):
        depth += 1 if match[0] == "[" else -1
        if not depth:
            return start + match.start()
    return None
