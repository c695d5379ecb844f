"""Programming language of a file, and by what it was told: name, extension, `#!` line, modeline or content.

The order is that of GitHub Linguist (github-linguist/linguist @ 008d3f9, lib/linguist.rb): modeline, file name, `#!`
line, extension, then what the text says where an extension has several languages; a file without a telling name is
judged by its text alone.  Names are Linguist's.  Extensions: data/programming_languages.json, then those of The Stack
v2's table (data/stack_v2_extensions.csv), where an extension stands for the language with the most files.
"""

from __future__ import annotations

import csv
import json
import re
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

from quality_signals.programming_language import _tables, from_shebang
from quality_signals.programming_language_rules import CONTENT_RULES, FIRST_CHARS, HEURISTICS

NAME, EXTENSION, SHEBANG, MODELINE, CONTENT = "name", "extension", "shebang", "modeline", "content"

# Linguist's HEURISTICS_CONSIDER_BYTES (lib/linguist/heuristics.rb), here characters.
LOOKED_AT = 51_200
# Lines at either end of a file where Vim looks for a modeline (its option `modelines` is 5).
_MODELINE_LINES, _MODELINE_CHARS = 5, 1_000

_VIM = re.compile(
    r"(?:^|[ \t])(?:vi|vim?\d{0,4}|ex):[^\n]{0,400}?\b(?:ft|filetype|syntax)[ \t]?=[ \t]?([\w+#-]{1,30})", re.M
)
_EMACS = re.compile(r"-\*-[ \t]*(?:[^\n]{0,200}?\bmode:[ \t]*)?([\w+#-]{1,30})[ \t]*(?:;[^\n]{0,200}?)?-\*-", re.I)

# Names that editors give to languages and that are not the language's own in lower case.
_ALIASES = {
    "bash": "Shell", "c++": "C++", "cpp": "C++", "cperl": "Perl", "csharp": "C#", "elisp": "Emacs Lisp",
    "emacs-lisp": "Emacs Lisp", "eruby": "HTML+ERB", "fsharp": "F#", "golang": "Go", "js": "JavaScript",
    "js2": "JavaScript", "latex": "TeX", "lisp": "Common Lisp", "make": "Makefile", "makefile-gmake": "Makefile",
    "nroff": "Roff", "objc": "Objective-C", "plaintex": "TeX", "ps1": "PowerShell", "python3": "Python", "rst":
    "reStructuredText", "sh": "Shell", "shell-script": "Shell", "ts": "TypeScript", "vim": "Vim Script", "viml":
    "Vim Script", "yml": "YAML", "zsh": "Shell", "conf": "INI", "dosini": "INI", "dosbatch": "Batchfile",
}  # fmt: skip


# Patterns of whole lines look everywhere, the others at the start only.
_CONTENT_RULES = tuple((language, bool(pattern.flags & re.M), pattern) for language, pattern in CONTENT_RULES)


class Detected(NamedTuple):
    """A language, and by what it was told; both None where nothing tells it."""

    language: str | None
    by: str | None


@lru_cache(maxsize=1)
def _extensions() -> tuple[dict[str, str], int]:
    """Extension with its dot -> language, and the parts of the longest one."""
    found: dict[str, str] = {}
    place = resources.files("quality_signals").joinpath("data", "stack_v2_extensions.csv")
    for row in csv.DictReader(place.read_text("utf-8").splitlines()):
        # of extensions that are a number or nothing the language was told from the text
        if row["extension"] and not row["extension"].isdigit():
            found.setdefault("." + row["extension"].lower(), row["language"])
    known = _tables()[0]
    found.update(known)
    return found, max(extension.count(".") for extension in found)


@lru_cache(maxsize=1)
def _languages() -> dict[str, str]:
    """Lower-case name, spaces as `-` -> language."""
    text = resources.files("quality_signals").joinpath("data", "programming_languages.json").read_text("utf-8")
    names = set(json.loads(text)) | set(_extensions()[0].values())
    found = {name.lower().replace(" ", "-"): name for name in sorted(names)}
    return {**found, **_ALIASES}


def from_modeline(text: str) -> str | None:
    """Language by a Vim or Emacs modeline in the first or last five lines; None where its name is unknown."""
    head = first_lines(text, _MODELINE_LINES, _MODELINE_CHARS)
    ends = (head,) if len(head) == len(text) else (head, _last_lines(text))
    for part in ends:
        found = None
        if "-*-" in part:
            found = _EMACS.search(part)
        if found is None and ("vi" in part or "ex:" in part):
            found = _VIM.search(part)
        if found is not None:
            name = found.group(1).lower().removesuffix("-mode")
            return _languages().get(name)
    return None


def first_lines(text: str, lines: int, most: int) -> str:
    """At most so many lines (ended by newlines) and characters of the beginning."""
    at = -1
    for _ in range(lines):
        at = text.find("\n", at + 1, most)
        if at < 0:
            return text[:most]
    return text[:at]


def _last_lines(text: str) -> str:
    tail = text[-_MODELINE_CHARS:].rstrip("\n")
    at = len(tail)
    for _ in range(_MODELINE_LINES):
        at = tail.rfind("\n", 0, at)
        if at < 0:
            return tail
    return tail[at + 1 :]


@lru_cache(maxsize=65_536)
def _by_name(name: str) -> tuple[str | None, str | None, str | None]:
    """(language by the whole name, language by extension, the extension) of a file's name."""
    filenames = _tables()[1]
    whole = filenames.get(name)
    if whole is None and not name.startswith(".") and "." in name:
        # Dockerfile.dev, Makefile.linux: a known name with a suffix that says nothing.
        first, suffix = name.split(".", 1)
        if "." + suffix.lower() not in _extensions()[0]:
            whole = filenames.get(first)
    extensions, most = _extensions()
    parts = name.lower().split(".")[1:][-most:]
    for start in range(len(parts)):
        extension = "." + ".".join(parts[start:])
        if extension in extensions or extension in HEURISTICS:
            return whole, extensions.get(extension), extension
    return whole, None, None


def by_heuristics(extension: str, text: str) -> str | None:
    """Language of an extension that several share, by what the text holds; None for all other extensions."""
    rules = HEURISTICS.get(extension)
    if rules is None:
        return None
    head = "\n" + text[:LOOKED_AT]
    for language, pattern in rules:
        if pattern is None or pattern.search(head):
            return language
    return None


def from_content(text: str) -> str | None:
    """Language by what stands in the first 4,096 characters alone; None where no language is sure."""
    head = "\n" + text[:FIRST_CHARS]
    if "\0" in head:
        return None
    for language, everywhere, pattern in _CONTENT_RULES:
        if pattern.search(head) if everywhere else pattern.match(head, 1):
            return language
    return None


def detect(path: str | None, text: str) -> Detected:
    """Language of a file.  Time linear in at most 51,200 characters, whatever the file's size."""
    language = from_modeline(text)
    if language is not None:
        return Detected(language, MODELINE)
    name = (path or "").replace("\\", "/").rsplit("/", 1)[-1]
    whole, by_extension, extension = _by_name(name)
    if whole is not None:
        return Detected(whole, NAME)
    if text.startswith("#!"):
        language = from_shebang(text)
        if language is not None:
            return Detected(language, SHEBANG)
    if extension is not None:
        language = by_heuristics(extension, text)
        if language is not None:
            return Detected(language, EXTENSION if language == by_extension else CONTENT)
        return Detected(by_extension, EXTENSION)
    language = from_content(text.removeprefix("\ufeff"))
    return Detected(language, None if language is None else CONTENT)
