"""Licences that package metadata states, with the place that states them."""

from __future__ import annotations

import json
import posixpath
import re
import tomllib
import xml.parsers.expat
from collections.abc import Callable, Iterable, Sequence
from email.parser import HeaderParser
from typing import NamedTuple

from licenses.detect import MAX_LICENSE_FILE, Match, combine, detect_text
from licenses.expressions import join, parse_expression
from licenses.names import classifier_expression, normalise

MAX_METADATA = 1_000_000  # characters; a longer file is data
# How sure a field is: an expression by the format's own rules, a name that means one licence, a trove classifier.
EXPRESSION, NAME, CLASSIFIER = 1.0, 0.9, 0.85


class Stated(NamedTuple):
    """An expression, how sure it is, and the value in the file that says it (None: nowhere in one piece)."""

    expression: str
    confidence: float
    value: str | None


def metadata_expression(name: str, text: str) -> str | None:
    """The SPDX expression that package metadata states, else None; `name` is the file's base name."""
    found = metadata_match(name, text)
    return found.expression if found else None


def metadata_match(name: str, text: str) -> Match | None:
    """What package metadata states: expression, the span of the value, confidence, source `package_metadata`.

    name  the file's base name; a name that no reader knows states nothing, nor does a file that is broken or longer
          than MAX_METADATA

    PKG-INFO, METADATA   License-Expression; else License, if it is a name or a text; else the classifiers
    pyproject.toml       project.license (an expression, a name, {text = ...}), classifiers, tool.poetry.license,
                         tool.flit.metadata
    setup.cfg, setup.py  license_expression, license, classifiers, where they are literals
    package.json         license, licenses (legacy; a list is a choice)
    Cargo.toml           package.license, else workspace.package.license (`/` means OR)
    composer.json        license (a list is a choice)
    pom.xml              licenses/license: name, else url (several are a choice); no entity is expanded
    *.gemspec            license, licenses where they are literals (several: all of them)
    DESCRIPTION          License of an R package: `|` is a choice, `(>= 2)` or later, `+ file LICENSE` is left out
    """
    reader = _reader(name)
    if reader is None or len(text) > MAX_METADATA:
        return None
    if name == "pom.xml":
        return _pom(text)
    try:
        stated = reader(text)
    except (ValueError, RecursionError):  # not JSON, TOML
        return None
    if stated is None:
        return None
    start, end = _place(text, stated.value)
    return Match(stated.expression, start, end, stated.confidence, "package_metadata")


def is_metadata(path: str) -> bool:
    """Whether `metadata_match` reads files of this name."""
    return _reader(posixpath.basename(path)) is not None


def _reader(name: str) -> Callable[[str], Stated | None] | None:
    return READERS.get(name) or (_gemspec if name.endswith(".gemspec") else None)


def precedence(name: str) -> int:
    """Which of several files in one directory is believed first: the built record before its source."""
    names = list(READERS)
    return names.index(name) if name in READERS else len(names)


def named_files(name: str, text: str) -> list[str]:
    """Paths and patterns of licence files that metadata names, relative to its directory: PEP 639's license-files and
    License-File, project.license.file, Cargo's license-file, npm's `SEE LICENSE IN`."""
    if len(text) > MAX_METADATA:
        return []
    found: list[object] = []
    try:
        if name in ("PKG-INFO", "METADATA"):
            found += HeaderParser().parsestr(text.split("\n\n", 1)[0]).get_all("License-File", [])
        elif name == "pyproject.toml":
            project = _table(tomllib.loads(text), "project")
            files, stated = project.get("license-files"), project.get("license")
            if isinstance(files, dict):  # an earlier draft of PEP 639
                files = [*_list(files.get("paths")), *_list(files.get("globs"))]
            found += _list(files) + ([stated.get("file")] if isinstance(stated, dict) else [])
        elif name == "Cargo.toml":
            found.append(_table(tomllib.loads(text), "package").get("license-file"))
        elif name == "package.json":
            stated = json.loads(text)
            match = re.fullmatch(
                r"see licen[cs]e in (\S{1,200})", str(stated.get("license")) if isinstance(stated, dict) else "", re.I
            )
            found.append(match.group(1) if match else None)
    except (ValueError, RecursionError):
        return []
    return [posixpath.normpath(str(each)) for each in found if isinstance(each, str) and each and ".." not in each]


def _place(text: str, value: str | None) -> tuple[int, int]:
    """Where the value stands: behind the word licence, else anywhere, else that word itself, else the whole text."""
    if value:
        near = re.search(r"licen[sc]e[^\n]{0,80}?" + re.escape(value), text, re.IGNORECASE)
        start = near.end() - len(value) if near else text.find(value)
        if start >= 0:
            return start, start + len(value)
    word = re.search(r"licen[sc]e", text, re.IGNORECASE)
    return (word.start(), word.end()) if word else (0, len(text))


def _field(value: str) -> Stated | None:
    """A licence field holds an expression, a name, or, in old packages, the whole text."""
    value = value.strip()
    if len(value) > 200:
        found = combine(detect_text(value[:MAX_LICENSE_FILE]))
        return Stated(found.expression, found.confidence * NAME, value.split("\n", 1)[0]) if found else None
    expression = parse_expression(value)
    if expression:
        return Stated(expression, EXPRESSION, value)
    named = normalise(value)
    return Stated(named, NAME, value) if named else None


def _classified(lines: Iterable[object]) -> Stated | None:
    known = [str(line) for line in lines if isinstance(line, str) and line.strip().lower().startswith("license")]
    found = classifier_expression(known)
    if not found:
        return None
    means = next((line for line in known if classifier_expression([line])), None)
    return Stated(found, CLASSIFIER, means.strip() if means else None)


def _choice(values: Sequence[object], operator: str = "OR") -> Stated | None:
    """Several fields: all must mean something, else nothing is said."""
    stated = [_field(each) if isinstance(each, str) else None for each in values]
    known = [each for each in stated if each is not None]
    if not known or len(known) < len(stated):
        return None
    expression = join(operator, [each.expression for each in known])
    value = known[0].value if len(known) == 1 else None
    return Stated(expression, min(each.confidence for each in known), value) if expression else None


def _table(value: object, key: str) -> dict[str, object]:
    inner = value.get(key) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _core_metadata(text: str) -> Stated | None:
    head = HeaderParser().parsestr(text.split("\n\n", 1)[0])
    stated = head.get("License-Expression")
    if stated:
        expression = parse_expression(str(stated))
        return Stated(expression, EXPRESSION, str(stated)) if expression else None
    field = head.get("License")
    return (_field(str(field)) if field else None) or _classified(head.get_all("Classifier", []))


def _pyproject(text: str) -> Stated | None:
    value = tomllib.loads(text)
    project = _table(value, "project")
    stated = project.get("license")
    if isinstance(stated, dict):
        stated = stated.get("text")
    tool = _table(value, "tool")
    flit = _table(_table(tool, "flit"), "metadata")
    fields = (stated, _table(tool, "poetry").get("license"), flit.get("license"))
    found = next((each for each in (_field(f) for f in fields if isinstance(f, str)) if each), None)
    return found or _classified([*_list(project.get("classifiers")), *_list(flit.get("classifiers"))])


def _cargo(text: str) -> Stated | None:
    manifest = tomllib.loads(text)
    value = _table(manifest, "package").get("license")
    if not isinstance(value, str):  # none, or {workspace = true}: this file's, or that of a folder above it
        value = _table(_table(manifest, "workspace"), "package").get("license")
    if not isinstance(value, str):
        return None
    # `MIT/Apache-2.0` is what Cargo took before SPDX expressions.
    expression = parse_expression(value.replace("/", " OR ")) or normalise(value)
    return Stated(expression, EXPRESSION, value) if expression else None


def _package_json(text: str) -> Stated | None:
    value = json.loads(text)
    if not isinstance(value, dict):
        return None
    stated = value.get("license", value.get("licenses"))
    entries = stated if isinstance(stated, list) else [stated]
    return _choice([each.get("type", each.get("url")) if isinstance(each, dict) else each for each in entries])


def _composer(text: str) -> Stated | None:
    value = json.loads(text)
    stated = value.get("license") if isinstance(value, dict) else None
    return _choice(stated if isinstance(stated, list) else [stated])


# A key of a configuration file, or a keyword argument with a literal; lazy and bounded, so linear.
_CFG_FIELD = re.compile(r"^license(_expression|-expression)?[ \t]*[=:][ \t]*(\S[^\n]{0,400})$", re.MULTILINE | re.I)
_CFG_CLASSIFIER = re.compile(r"^[ \t]+(License ::[^\n]{1,200})$", re.MULTILINE)
_PY_FIELD = re.compile(
    r"(?<![\w.])license(?:_expression)?[ \t]*=[ \t\n(]*[rRuU]?(\"\"\"|'''|\"|')((?:\\.|[^\\]){1,20000}?)\1(?!\s*[%+.])"
)
_PY_CLASSIFIER = re.compile(r"[\"'](License ::[^\"'\n]{1,200})[\"']")


def _setup_cfg(text: str) -> Stated | None:
    fields = sorted(_CFG_FIELD.finditer(text), key=lambda match: not match.group(1))
    found = next((each for each in (_field(match.group(2)) for match in fields) if each), None)
    return found or _classified(match.group(1) for match in _CFG_CLASSIFIER.finditer(text))


def _setup_py(text: str) -> Stated | None:
    found = next((each for each in (_field(match.group(2)) for match in _PY_FIELD.finditer(text)) if each), None)
    return found or _classified(match.group(1) for match in _PY_CLASSIFIER.finditer(text))


_GEM_FIELD = re.compile(
    r"\.licenses?\s{0,8}=\s{0,8}(%w[\[({<][^\])}>\n]{1,400}|\[[^\]]{1,400}\]|[\"'][^\"'\n]{1,200}[\"'])"
)


def _gemspec(text: str) -> Stated | None:
    match = _GEM_FIELD.search(text)
    if match is None:
        return None
    value = match.group(1)
    names = value[3:].split() if value.startswith("%w") else re.findall(r"[\"']([^\"'\n]+)[\"']", value)
    # RubyGems does not say whether several may be chosen from, so all of them hold.
    return _choice(names, "AND")


# Writing R Extensions, 1.1.2 Licensing; names as in R's share/licenses/license.db.
_R_NAMES = {
    "agpl": "AGPL-3.0", "apache license": "Apache-2.0", "artistic": "Artistic-2.0", "artistic license": "Artistic-2.0",
    "bsd_2_clause": "BSD-2-Clause", "bsd_3_clause": "BSD-3-Clause", "cc0": "CC0-1.0", "eupl": "EUPL-1.1",
    "gpl": "GPL-1.0", "gnu general public license": "GPL-1.0", "lgpl": "LGPL-2.0", "mit": "MIT",
    "lucent public license": "LPL-1.02", "mozilla public license": "MPL-2.0", "mpl": "MPL-2.0", "cecill": "CECILL-2.1",
    "acm": "", "unlimited": "",
}  # fmt: skip
_R_TERM = re.compile(
    r"(?P<name>[A-Za-z][\w. -]{0,60}?)(?:[ -](?:version )?(?P<number>[1-4](?:\.\d)?))?"
    r"(?: ?\((?P<relation>>=?|==|<=?) ?(?P<bound>[1-4](?:\.\d)?)(?:\.0)?\))?"
)


def _description(text: str) -> Stated | None:
    head = HeaderParser().parsestr(text)
    stated = head.get("License")
    if not head.get("Package") or not stated:
        return None
    value = " ".join(str(stated).split())
    choices = []
    for term in value.split("|"):
        term = re.sub(r"\s*\+?\s*file licen[cs]e\s*", "", term, flags=re.IGNORECASE).strip()
        if not term:
            continue  # a file that another reader finds
        expression = _r_term(term)
        if expression is None:
            return None
        choices.append(expression)
    expression = join("OR", choices)
    return Stated(expression, NAME, str(stated).strip()) if expression else None


def _r_term(term: str) -> str | None:
    match = _R_TERM.fullmatch(term)
    name = match["name"].lower() if match else ""
    if match is None or name not in _R_NAMES:
        return normalise(term)
    base = _R_NAMES[name]
    number = match["number"] or match["bound"]
    if match["relation"] in ("<", "<="):
        return None
    if number and base:
        stem = base.rpartition("-")[0]
        base = f"{stem}-{number}" if "." in number else f"{stem}-{number}.0"
    later = (match["relation"] or "").startswith(">") or (number is None and "GPL" in base)
    return parse_expression(f"{base}-or-later" if later and "GPL" in base else base) if base else None


def _pom(text: str) -> Match | None:
    """Maven: who lists several licences lets the user choose (POM reference)."""
    spot: list[str] = []
    fields: list[dict[str, tuple[str, int]]] = []
    raw = text.encode("utf-8", "surrogatepass")
    parser = xml.parsers.expat.ParserCreate()

    def opened(tag: str, _: object) -> None:
        spot.append(tag.rpartition(":")[2])
        if len(spot) > 200:
            raise ValueError("too deep for a POM")
        if spot[1:] == ["licenses", "license"]:
            fields.append({})

    def closed(_: str) -> None:
        spot.pop()

    def characters(data: str) -> None:
        if len(spot) == 4 and spot[1:3] == ["licenses", "license"] and fields:
            before, at = fields[-1].get(spot[3], ("", parser.CurrentByteIndex))
            fields[-1][spot[3]] = (before + data, at)

    def refused(*_: object) -> None:
        raise ValueError("declares an entity")

    parser.StartElementHandler, parser.EndElementHandler = opened, closed
    parser.CharacterDataHandler = characters
    parser.EntityDeclHandler = refused
    parser.buffer_text = False
    try:
        parser.Parse(raw, True)
    except (xml.parsers.expat.ExpatError, ValueError):
        return None
    found: list[Match] = []
    for each in fields:
        for value, at in (each[key] for key in ("name", "url") if key in each):
            expression = normalise(value)
            if expression:
                lead = len(value) - len(value.lstrip())
                start = len(raw[:at].decode("utf-8", "surrogatepass")) + lead
                found.append(Match(expression, start, start + len(value.strip()), NAME, "package_metadata"))
                break
        else:
            return None
    joined = join("OR", [each.expression for each in found])
    return Match(joined, found[0].start, found[-1].end, NAME, "package_metadata") if joined else None


READERS: dict[str, Callable[[str], Stated | None]] = {
    "PKG-INFO": _core_metadata,
    "METADATA": _core_metadata,
    "pyproject.toml": _pyproject,
    "package.json": _package_json,
    "Cargo.toml": _cargo,
    "setup.cfg": _setup_cfg,
    "setup.py": _setup_py,
    "composer.json": _composer,
    "pom.xml": lambda text: None,  # `_pom` finds the place by itself
    "DESCRIPTION": _description,
}
