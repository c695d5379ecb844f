r"""LaTeX of a paper to the text that a language model reads: still LaTeX, without what is no prose.

RedPajama-V1's rules (RedPajama-Data @ f54b86f, data_prep/arxiv): what stands before the first section header goes,
comments go, macros without arguments are expanded, and everything from the bibliography or the appendix on goes.  Here
they are applied to the paper as TeX sees it: `\input` and `\include` joined first, verbatim text left alone, braces
matched, macros inside macros expanded.

Cost: linear in the text for any input; what macros and files may add is bounded.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Callable, Mapping

from pipelines.readers.records import Refused

# A paper has some hundred macros at most, and one without arguments is short; longer ones stay as they are.
MAX_MACROS = 2_000
MAX_BODY_CHARS = 2_000
MAX_EXPANSION_CHARS = 10_000
# What expansion and files that are included more than once may add: four times the paper, but at least 1 M characters.
MAX_GROWTH = 4
GROWTH_FLOOR_CHARS = 1_000_000
# TeX itself allows 15 open files (texmf.cnf, max_in_open).
MAX_INPUT_DEPTH = 15

# A \\verb ends on its line.
MAX_VERB_CHARS = 1_000

_KEPT = "\x00"
_VERBATIM = "verbatim verbatim* Verbatim BVerbatim LVerbatim lstlisting minted alltt"
_IGNORED = "comment filecontents filecontents*"
_ENVIRONMENTS = "|".join(re.escape(name) for name in f"{_VERBATIM} {_IGNORED}".split())
_SCAN = re.compile(
    rf"\\begin\{{({_ENVIRONMENTS})\}}"
    r"|\\verb\*?(?=([^\sa-zA-Z*]))"
    r"|(\\(?:url|path|nolinkurl|href)\s*\{[^{}\n]*\})"
    r"|\\iffalse(?![a-zA-Z])"
    # A run of anything else up to the next of these, so that one step of the loop takes it.
    rf"|(?:\\(?!begin\{{(?:{_ENVIRONMENTS})\}}|verb|url|path|nolinkurl|href|iffalse)[^\n][^\\%]*+)++"
    r"|\\[^\n]"
    r"|%[^\n]*"
)
_IGNORED_NAMES = frozenset(_IGNORED.split())
_CONDITION = re.compile(r"\\(if[a-zA-Z]*|fi)(?![a-zA-Z])")
_INPUT = re.compile(
    r"\\(?:input|include|subfile|subfileinclude)(?![a-zA-Z])\s*(?:\{\s*([^{}\n]{1,200}?)\s*\}|([\w./-]{1,200}))"
    r"|\\(?:sub)?import(?![a-zA-Z])\*?\s*\{([^{}\n]{0,200})\}\s*\{\s*([^{}\n]{1,200}?)\s*\}"
)
_ENDINPUT = re.compile(r"\\endinput(?![a-zA-Z])")
_HEADER = re.compile(r"\\(?:chapter|part|section|subsection|subsubsection|paragraph|subparagraph)\*?\s*[\[{]")
_END = re.compile(
    r"\\appendix(?![a-zA-Z])|\\begin\s*\{(?:references|REFERENCES|thebibliography|appendix|appendices)\}"
    r"|\\bibliography\s*\{|\\printbibliography(?![a-zA-Z])|\\end\s*\{document\}"
)
_BEGIN_DOCUMENT = re.compile(r"\\begin\s*\{document\}")
_FRONT_MATTER = re.compile(r"\\end\s*\{abstract\}|\\maketitle(?![a-zA-Z])")
_DEFINITION = re.compile(
    r"\\(?:(?:re)?newcommand|providecommand)\*?\s*(?:\{\s*\\([a-zA-Z]+)\s*\}|\\([a-zA-Z]+))\s*(?=\{)"
    r"|\\g?def\s*\\([a-zA-Z]+)\s*(?=\{)"
)
_BRACE = re.compile(r"\\[\s\S]|[{}]")
_CONTROL_WORD = re.compile(r"\\([a-zA-Z]+)")
_TITLE = re.compile(r"\\title\s*(?:\[[^\[\]{}]{0,300}\]\s*)?(?=\{)")
_TRAILING = re.compile(r"(?<![ \t])[ \t]+(?=\n)")
_BLANKS = re.compile(r"\n{3,}")
_RESTORE = re.compile(r"\x00(\d+)\x00")
# Structure that the rules above look for: expanding it would hide or forge it.
_STRUCTURE = frozenset(
    "begin end item part chapter section subsection subsubsection paragraph subparagraph appendix bibliography input "
    "include import subfile def newcommand renewcommand providecommand title maketitle label ref cite fi else".split()
)


@dataclasses.dataclass(frozen=True, slots=True)
class Paper:
    """The cleaned text (empty if there is no section header), and what else the source says."""

    text: str
    title: str | None = None
    missing: tuple[str, ...] = ()  # included files that are not there
    unused: tuple[str, ...] = ()  # files that nothing includes


def clean_paper(files: Mapping[str, str], without_sections: str = "drop") -> Paper:
    """Of the text of each `.tex` file by its name.

    Documents are the files with a document class that no other file includes; without any, all files that none
    includes.  without_sections: what becomes of a document without a section header: drop, or `document`, all behind
    its abstract.  Raises Refused('too_large') where macros or includes multiply.
    """
    kept: list[str] = []
    plain = {name: without_comments(text.replace(_KEPT, ""), kept) for name, text in sorted(files.items())}
    budget = GROWTH_FLOOR_CHARS + MAX_GROWTH * sum(map(len, plain.values()))
    included: set[str] = set()
    missing: dict[str, None] = {}
    used: set[str] = set()
    for name, text in plain.items():
        for match in _INPUT.finditer(text):
            found = _find_input(match, name, plain)
            if found is not None and found != name:
                included.add(found)
    roots = [name for name in plain if name not in included and _is_document(plain[name])]
    roots = roots or [name for name in plain if name not in included] or list(plain)[:1]
    bodies: list[str] = []
    title = None
    for root in roots:
        joined = _join(root, plain, budget - sum(map(len, bodies)), missing, used)
        macros = read_macros(joined)
        title = title or _title(joined)
        body = _body(joined, without_sections)
        if body:
            bodies.append(expand(body, macros, budget))
    text = _TRAILING.sub("", "\n\n".join(bodies))
    text = _BLANKS.sub("\n\n", text)
    text = _RESTORE.sub(lambda match: kept[int(match[1])], text).strip()
    return Paper(text, title, tuple(missing), tuple(name for name in plain if name not in used))


def _is_document(text: str) -> bool:
    return "\\documentclass" in text or "\\documentstyle" in text


def without_comments(text: str, kept: list[str]) -> str:
    r"""Comments, `comment` environments and `\iffalse` parts out; verbatim text as a number in `kept` between NULs.

    A line that holds nothing but a comment goes with its end.
    """
    pieces: list[str] = []
    unclosed: set[str] = set()
    position = 0
    at = 0
    while (match := _SCAN.search(text, at)) is not None:
        at = match.end()
        token = match[0]
        if token[0] == "%":
            before, newline, line = text[position : match.start()].rpartition("\n")
            alone = not line.strip() and (newline or position == 0 or text[position - 1] == "\n")
            pieces.append(before + newline if alone else before + newline + line)
            at = position = min(at + 1 if alone else at, len(text))
        elif match[1] is not None:
            name = match[1]
            end = text.find(f"\\end{{{name}}}", at) if name not in unclosed else -1
            if end < 0:
                unclosed.add(name)
                continue
            behind = end + len(f"\\end{{{name}}}")
            pieces.append(text[position : match.start()])
            if name not in _IGNORED_NAMES:
                pieces.append(_keep(text[match.start() : behind], kept))
            at = position = behind
        elif match[2] is not None:
            found = text[at + 1 : at + MAX_VERB_CHARS].partition("\n")[0].find(match[2])
            if found >= 0:
                behind = at + found + 2
                pieces += (text[position : match.start()], _keep(text[match.start() : behind], kept))
                at = position = behind
        elif token == "\\iffalse":
            ends = _condition_end(text, at) if "\\iffalse" not in unclosed else None
            if ends is None:
                unclosed.add("\\iffalse")
                continue
            pieces.append(text[position : match.start()])
            at = position = ends
        elif match[3] is not None and "%" in token:  # in a URL no sign of a comment
            pieces += (text[position : match.start()], _keep(token, kept))
            position = at
    pieces.append(text[position:])
    return "".join(pieces)


def _keep(text: str, kept: list[str]) -> str:
    kept.append(text)
    return f"{_KEPT}{len(kept) - 1}{_KEPT}"


def _condition_end(text: str, start: int) -> int | None:
    depth = 1
    for match in _CONDITION.finditer(text, start):
        depth += -1 if match[1] == "fi" else 1
        if not depth:
            return match.end()
    return None


def _find_input(match: re.Match[str], name: str, files: Mapping[str, str]) -> str | None:
    """The file that an include names: from the top of the source, or beside the including file."""
    asked = match[1] or match[2] or posixpath.join(match[3] or "", match[4])
    asked = asked.strip("\"'")
    for folder in ("", posixpath.dirname(name)):
        path = posixpath.normpath(posixpath.join(folder, asked))
        for candidate in (path, f"{path}.tex", f"{path}.ltx"):
            if candidate in files:
                return candidate
    return None


def _join(root: str, files: Mapping[str, str], budget: int, missing: dict[str, None], used: set[str]) -> str:
    """The text of a file with its includes in their places.  Raises Refused('too_large')."""
    pieces: list[str] = []
    size = 0
    open_files = [(root, 0, _stop(files[root]))]  # file, where to go on, where it ends
    used.add(root)
    while open_files:
        name, position, stop = open_files.pop()
        text = files[name]
        match = _INPUT.search(text, position, stop)
        piece = text[position : match.start() if match else stop]
        size += len(piece) + 1
        if size > budget:
            raise Refused("too_large", f"includes multiply the paper to more than {budget} characters")
        pieces.append(piece)
        if match is None:
            continue
        open_files.append((name, match.end(), stop))
        found = _find_input(match, name, files)
        if found is None:
            missing[(match[1] or match[2] or match[4]).strip()] = None
        elif len(open_files) <= MAX_INPUT_DEPTH and all(found != other for other, _, _ in open_files):
            used.add(found)
            open_files.append((found, 0, _stop(files[found])))
    return "".join(pieces)


def _stop(text: str) -> int:
    ended = _ENDINPUT.search(text)
    return ended.start() if ended else len(text)


def _body(text: str, without_sections: str) -> str:
    start = _BEGIN_DOCUMENT.search(text)
    header = _HEADER.search(text, start.end() if start else 0)
    if header is None and without_sections == "drop":
        return ""
    if header is not None:
        first = header.start()
    else:
        first = start.end() if start else 0
        for match in _FRONT_MATTER.finditer(text, first):
            first = match.end()
    end = _END.search(text, first)
    return text[first : end.start() if end else len(text)].strip()


def matching_brace(text: str, opening: int, limit: int) -> int | None:
    """Where the brace that opens at `opening` closes, if within `limit` characters."""
    depth = 0
    for match in _BRACE.finditer(text, opening, min(len(text), opening + limit)):
        if match[0] == "{":
            depth += 1
        elif match[0] == "}":
            depth -= 1
            if not depth:
                return match.start()
    return None


def read_macros(text: str) -> dict[str, str]:
    r"""Bodies of the macros without arguments that \newcommand and \def define, by name; the last one counts."""
    macros: dict[str, str] = {}
    for count, match in enumerate(_DEFINITION.finditer(text)):
        if count >= MAX_MACROS:
            break
        name = next(group for group in match.groups() if group)
        end = matching_brace(text, match.end(), MAX_BODY_CHARS)
        if end is None or name in _STRUCTURE:
            continue
        body = text[match.end() + 1 : end]
        if "#" in body or "@" in body or _KEPT in body:  # arguments after all, or a package's inner works
            continue
        macros[name] = body.strip().removesuffix("\\xspace")
    return macros


def resolved(macros: Mapping[str, str]) -> dict[str, str]:
    """Bodies with the macros inside them expanded; one that leads back to itself, or grows too long, stays a name."""
    done: dict[str, str | None] = {}
    for first in macros:
        stack = [first]
        while stack:
            name = stack[-1]
            if name in done and done[name] is not None:
                stack.pop()
                continue
            inner = [other for other in _CONTROL_WORD.findall(macros[name]) if other in macros]
            if name not in done:
                done[name] = None  # open: who meets it again is inside it
                waiting = [other for other in dict.fromkeys(inner) if other not in done]
                if waiting:
                    stack += waiting
                    continue
            stack.pop()
            body = _CONTROL_WORD.sub(_replacement(done), macros[name])
            done[name] = body if len(body) <= MAX_EXPANSION_CHARS else f"\\{name}"
    return {name: body for name, body in done.items() if body is not None and name not in _CONTROL_WORD.findall(body)}


def _replacement(bodies: Mapping[str, str | None]) -> Callable[[re.Match[str]], str]:
    def replace(match: re.Match[str]) -> str:
        body = bodies.get(match[1])
        return match[0] if body is None else body

    return replace


def expand(text: str, macros: Mapping[str, str], budget: int) -> str:
    """The text with its macros expanded, and without their definitions.  Raises Refused('too_large')."""
    text = _without_definitions(text, macros)
    bodies = resolved(macros)
    grown = len(text)

    def replace(match: re.Match[str]) -> str:
        nonlocal grown
        body = bodies.get(match[1])
        if body is None:
            return match[0]
        grown += len(body) - len(match[0])
        if grown > budget:
            raise Refused("too_large", f"macros multiply the paper to more than {budget} characters")
        return body

    return _CONTROL_WORD.sub(replace, text) if bodies else text


def _without_definitions(text: str, macros: Mapping[str, str]) -> str:
    pieces: list[str] = []
    position = 0
    for count, match in enumerate(_DEFINITION.finditer(text)):
        if count >= MAX_MACROS:
            break
        name = next(group for group in match.groups() if group)
        if match.start() < position or name not in macros:
            continue
        end = matching_brace(text, match.end(), MAX_BODY_CHARS)
        if end is not None:
            pieces.append(text[position : match.start()])
            position = end + 1
    return "".join((*pieces, text[position:]))


def _title(text: str) -> str | None:
    match = _TITLE.search(text)
    end = matching_brace(text, match.end(), MAX_BODY_CHARS) if match else None
    if match is None or end is None:
        return None
    title = re.sub(r"\\thanks\{[^{}]*\}|\\\\(?:\[[^\]]{0,20}\])?|\x00\d+\x00", " ", text[match.end() + 1 : end])
    return " ".join(title.split()) or None
