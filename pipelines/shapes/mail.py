"""Comments that came as replies by mail: what a mail program added goes.

Reference: bigcode-project/bigcode-dataset @ bebec92, preprocessing/utils/utils_issues.py.  Its three patterns go back
and forth over the text (cubic in the worst case); here the same matches are found from the end, in linear time.
"""

from __future__ import annotations

import re

_REPLY, _VIEW = "Reply to this email directly", "view it on GitHub"
_NOTICE, _NOTICE_END = "notifications@github", "com"
_NOTICE_ADDRESS = "notifications@github.com"
_SIGNED = "Signed-off-by: "
# The part of the date that decides; what the reference allows before it (more digits) cannot change the verdict.
_DATE = re.compile(r"\d/\d+/\d+ \d{2}:\d{2} [AP]M")
_RULER = re.compile("_{20,}")


def without_mail(text: str | None) -> str:
    """The text without what a reply by mail brings along: header, quotation, footer, signature line."""
    text = (text or "").strip()
    if not text:
        return ""
    kept = _first_pattern(text)
    if kept is None:
        kept = _by_lines(text)
    return _RULER.sub("", kept).strip()


def _first_pattern(text: str) -> str | None:
    """What the first of the patterns that matches leaves; None where none does.

    Each of them is a chain of words with at least one character between; a greedy group in front of it ends at the last
    place from which the chain can be completed.
    """
    footer = _before(text, _REPLY, text.rfind(_VIEW))
    if footer >= 0:
        start = _before(text, "From:", footer)
        if start >= 0:
            return text[:start]
        notice = _notice(text, _before(text, "wrote:", footer) - 1)
        start = _before(text, "On", notice)
        if start >= 0:
            return text[:start]
    end = text.rfind(">")
    start = _before(text, _SIGNED, _before(text, "<", end))
    if start >= 0:
        rest = text[end + 1 :]
        return text[:start] + (rest[1:] if rest.startswith("\n") else rest)
    return None


def _before(text: str, word: str, place: int) -> int:
    """The last `word` with at least one character between it and `place`; -1: none."""
    return text.rfind(word, 0, max(place - 1, 0))


def _notice(text: str, stop: int) -> int:
    """The last `notifications@github?com` (any character before `com`) that ends at `stop` or before; -1: none."""
    stop = max(stop, 0)
    while True:
        start = text.rfind(_NOTICE, 0, max(stop - 1 - len(_NOTICE_END), 0))
        if start < 0:
            return -1
        end = start + len(_NOTICE)
        if text.startswith(_NOTICE_END, end + 1) and end + 1 + len(_NOTICE_END) <= stop:
            return start
        stop = end + len(_NOTICE_END)


def _by_lines(text: str) -> str:
    """As the reference: lines from the last header to the last footer or quotation go."""
    lines = text.split("\n")
    start, end = 0, -1
    for i, line in enumerate(lines):
        line = line.strip()
        if _NOTICE_ADDRESS in line or _is_dated(line):
            start = i
        if _REPLY in line:
            end = i + 1 if line.endswith(":") else i
        if line.startswith(">"):
            end = i
    return "\n".join(lines[:start] + lines[end + 1 :])


def _is_dated(line: str) -> bool:
    if "wrote" not in line:
        return False
    found = _DATE.search(line)
    # The reference's `.` does not cross a newline, of which a line has none.
    return found is not None and line.find("wrote", found.end() + 1) >= 0


def truncated(text: str, max_lines: int, mark: str, tail: int = 20) -> str:
    """A text of more than max_lines lines: its first max_lines - tail, the mark on a line, and the last `tail`."""
    lines = text.split("\n")
    if len(lines) <= max_lines:
        return text
    return "\n".join(lines[: max_lines - tail]) + f"\n{mark}\n" + "\n".join(lines[-tail:])
