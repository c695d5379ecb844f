"""Programming language of a file by its name, its extension or its `#!` line, from
data/programming_languages.json.

Names follow GitHub Linguist's spelling.  An extension that several languages share stands for the most common
of them (`.h` is C, `.m` Objective-C, `.v` Verilog, `.t` Perl); the content is not looked at.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib import resources

_SHEBANG = re.compile(r"#!\s*(\S{1,200})((?:[ \t]+\S{1,200}){0,8})")
_VERSION = re.compile(r"[-.\d]+$")
_MAX_SUFFIXES = 3  # of a name with several dots, as many as the longest extension of the table has


@lru_cache(maxsize=1)
def _tables() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Extension (lower case), file name and interpreter -> language."""
    text = resources.files("quality_signals").joinpath("data", "programming_languages.json").read_text("utf-8")
    extensions: dict[str, str] = {}
    filenames: dict[str, str] = {}
    interpreters: dict[str, str] = {}
    for language, entry in json.loads(text).items():
        extensions.update({extension.lower(): language for extension in entry.get("extensions", ())})
        filenames.update(dict.fromkeys(entry.get("filenames", ()), language))
        interpreters.update(dict.fromkeys(entry.get("interpreters", ()), language))
    return extensions, filenames, interpreters


def from_name(path: str) -> str | None:
    """Language by file name or extension, the longest known extension first; None where neither is known."""
    extensions, filenames, _ = _tables()
    name = path.replace("\\", "/").rsplit("/", 1)[-1]
    if name in filenames:
        return filenames[name]
    parts = name.lower().split(".")[1:][-_MAX_SUFFIXES:]
    for start in range(len(parts)):
        language = extensions.get("." + ".".join(parts[start:]))
        if language is not None:
            return language
    # Dockerfile.dev, Makefile.linux: a known name with a suffix that says nothing.
    return filenames.get(name.split(".", 1)[0]) if not name.startswith(".") else None


def from_shebang(text: str) -> str | None:
    """Language by the interpreter that a first line `#!...` names, through `env` and with version digits
    cut."""
    match = _SHEBANG.match(text)
    if match is None:
        return None
    _, _, interpreters = _tables()
    words = [match.group(1), *match.group(2).split()]
    programs = [word.rsplit("/", 1)[-1] for word in words]
    if programs[0] == "env":
        programs = [word for word in programs[1:] if not word.startswith("-") and "=" not in word]
    if not programs:
        return None
    return interpreters.get(programs[0]) or interpreters.get(_VERSION.sub("", programs[0]))


def programming_language(path: str | None, text: str = "") -> str | None:
    """By name, else by the `#!` line; None where both say nothing."""
    return (from_name(path) if path else None) or from_shebang(text)
