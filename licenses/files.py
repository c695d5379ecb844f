"""The licence of an archive or repository: its licence files and package metadata, by directory."""

from __future__ import annotations

import json
import posixpath
import re
import tomllib
from collections.abc import Iterable, Mapping
from email.parser import HeaderParser

from licenses.detect import MAX_LICENSE_FILE, combine, detect_text
from licenses.expressions import classifier_expression, join, normalise, parse_expression

# Names of files that may hold a licence: the expression of bigcode-dataset (see
# tests/data/licenses/license_names.json for what it accepts), written anew from its description.
_NAME_WORDS = (
    r"li[cs]en[cs]e(?:s?)",
    r"legal",
    r"copy(?:left|right|ing)",
    r"unlicense",
    r"[al]?gpl(?:[-_ v]?)(?:\d\.?\d?)?",
    r"bsd(?:l?)",
    r"mit(?:x?)",
    r"apache",
    r"artistic",
    r"copying(?:v?)(?:\d?)",
    r"disclaimer",
    r"eupl",
    r"gfdl",
    r"[cm]pl",
    r"cc0",
    r"al(?:[-_ v]?)(?:\d\.?\d?)?",
    r"about",
    r"notice",
    r"readme",
    r"guidelines",
)
LICENSE_FILE = re.compile(r"^(|.*[-_. ])(" + "|".join(_NAME_WORDS) + r")(|[-_. ].*)$", re.IGNORECASE)
# Of those names, the ones that state the licence of what lies around them; a file `mit.c` or a readme does
# not.
_STATES = re.compile(
    r"^(?:(?:mit|bsd|apache|gpl|lgpl|agpl|mpl|cc0|isc)[-_.])?(?:un)?li[cs]en[cs]es?(?:[-_. "
    r"][\w.+-]*)?$|^copying(?:[-_. ]?[\w.+-]*)?$|"
    r"^copyright(?:\.(?:txt|md|rst))?$|^(?:[al]?gpl|mpl|bsd|mit|apache)[-_v\d.]*(?:\.txt|\.md)?$",
    re.IGNORECASE,
)
_CODE_SUFFIX = re.compile(
    r"\.(?:py[ciox]?|js|ts|jsx|tsx|c|h|cc|cpp|go|rs|java|rb|php|sh|html?|css|json|ya?ml|toml|xml|png|svg)$",
    re.I,
)
_METADATA = ("PKG-INFO", "METADATA", "pyproject.toml", "package.json", "Cargo.toml", "setup.cfg")


def is_license_file(path: str) -> bool:
    """Whether the name of the file is one of a file that may hold a licence (the broad expression of The
    Stack v2)."""
    return LICENSE_FILE.match(posixpath.basename(path)) is not None


def states_license(path: str) -> bool:
    """Whether a file of this name states the licence of its directory: LICENSE*, COPYING*, not code, readme
    or notice."""
    name = posixpath.basename(path)
    return _STATES.match(name) is not None and _CODE_SUFFIX.search(name) is None


def is_metadata(path: str) -> bool:
    """Whether the file is package metadata that `metadata_expression` reads."""
    return posixpath.basename(path) in _METADATA


def metadata_expression(name: str, text: str) -> str | None:
    """The SPDX expression that package metadata states, else None; `name` is the file's base name.

    PKG-INFO, METADATA: License-Expression, else the License field if it is a name, else the classifiers.
    pyproject.toml: project.license (a string, or its text), classifiers; tool.poetry.license.
    package.json: license, licenses.  Cargo.toml: package.license (`/` means OR).  A broken file states
    nothing.
    """
    try:
        if name in ("PKG-INFO", "METADATA"):
            return _core_metadata(text)
        if name == "pyproject.toml":
            return _pyproject(tomllib.loads(text))
        if name == "Cargo.toml":
            value = _table(tomllib.loads(text), "package").get("license")
            return normalise(value) if isinstance(value, str) else None
        if name == "package.json":
            return _package_json(json.loads(text))
        if name == "setup.cfg":
            match = re.search(r"^license\s*=\s*(\S[^\n]*)$", text, re.MULTILINE)
            return normalise(match.group(1)) if match else None
    except (ValueError, RecursionError):  # not JSON, TOML
        return None
    return None


def _core_metadata(text: str) -> str | None:
    head = HeaderParser().parsestr(text.split("\n\n", 1)[0])
    stated = head.get("License-Expression")
    if stated:
        return parse_expression(str(stated))
    classifiers = [str(line) for line in head.get_all("Classifier", [])]
    field = head.get("License")
    from_field = _field(str(field)) if field else None
    return from_field or classifier_expression(classifiers)


def _field(value: str) -> str | None:
    """A licence field holds a name, or, in old packages, the whole text."""
    if len(value) > 200:
        found = combine(detect_text(value[:MAX_LICENSE_FILE]))
        return found.expression if found else None
    return normalise(value)


def _table(value: object, key: str) -> dict[str, object]:
    inner = value.get(key) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _pyproject(value: dict[str, object]) -> str | None:
    project = _table(value, "project")
    stated = project.get("license")
    if isinstance(stated, dict):
        stated = stated.get("text")
    if isinstance(stated, str):
        found = _field(stated)
        if found:
            return found
    classifiers = project.get("classifiers")
    if isinstance(classifiers, list):
        found = classifier_expression([str(line) for line in classifiers])
        if found:
            return found
    poetry = _table(_table(value, "tool"), "poetry").get("license")
    return normalise(poetry) if isinstance(poetry, str) else None


def _package_json(value: object) -> str | None:
    if not isinstance(value, dict):
        return None
    stated = value.get("license", value.get("licenses"))
    entries = stated if isinstance(stated, list) else [stated]
    ids = []
    for entry in entries:
        if isinstance(entry, dict):
            entry = entry.get("type")
        if isinstance(entry, str):
            ids.append(normalise(entry))
    if not ids or not all(ids):
        return None
    return join("OR", [one for one in ids if one])


def directory_expressions(
    paths_to_texts: Mapping[str, str], metadata: Mapping[str, str] | None = None
) -> dict[str, str]:
    """SPDX expression by directory ("" is the root) of an archive, for `license_for_path`.

    paths_to_texts  path in the archive, '/' between parts -> text; only files that state a licence are looked
                    at
    metadata        path -> text of PKG-INFO, METADATA, pyproject.toml, package.json, Cargo.toml; those that
                    stand
                    among paths_to_texts are found there too

    In one directory: an expression in metadata wins (its author chose AND, OR and -or-later), else its
    licence files together: each in its own words, several files of different licences as a choice if their
    names say so (LICENSE-MIT beside LICENSE-APACHE), else with AND; COPYING.LESSER beside COPYING is the LGPL
    alone. The folder of a wheel (X.dist-info, X.egg-info) speaks for its parent; where several stand side by
    side, as among vendored packages, each for the package or module of its name.
    """
    shared = _shared_parents([*paths_to_texts, *(metadata or {})])
    metadata = {**{p: t for p, t in paths_to_texts.items() if is_metadata(p)}, **(metadata or {})}
    stated: dict[str, str] = {}
    for path in sorted(
        metadata,
        key=lambda p: (p.count("/"), _METADATA.index(posixpath.basename(p)) if is_metadata(p) else 9, p),
    ):
        found = metadata_expression(posixpath.basename(path), metadata[path])
        if found is not None:
            stated.setdefault(_place(path, shared), found)
    files: dict[str, dict[str, str]] = {}
    for path in sorted(paths_to_texts):
        if not states_license(path):
            continue
        match = combine(detect_text(paths_to_texts[path][:MAX_LICENSE_FILE]))
        if match is not None:
            files.setdefault(_place(path, shared), {})[posixpath.basename(path)] = match.expression
    out = {directory: _together(found) for directory, found in files.items()}
    out.update(stated)
    return dict(sorted(out.items()))


def detect_files(paths_to_texts: Mapping[str, str], metadata: Mapping[str, str] | None = None) -> str | None:
    """The expression of the archive as a whole: that of its root, or of its single top folder; None if
    unstated."""
    by_directory = directory_expressions(paths_to_texts, metadata)
    if "" in by_directory:
        return by_directory[""]
    everything = list(paths_to_texts) + list(metadata or {})
    tops = {path.split("/", 1)[0] for path in everything if "/" in path}
    if len(tops) == 1 and all("/" in path for path in everything):
        return by_directory.get(tops.pop())
    return None


def license_for_path(path: str, by_directory: Mapping[str, str]) -> str | None:
    """The expression of the nearest directory at or above the file, None if none states one."""
    module = posixpath.splitext(path)[0]
    if posixpath.basename(path) and module in by_directory:  # a vendored package that is one file
        return by_directory[module]
    directory = posixpath.dirname(path)
    while True:
        if directory in by_directory:
            return by_directory[directory]
        if not directory:
            return None
        directory = posixpath.dirname(directory)


_INFO = re.compile(r"^(?P<name>.+?)(?:-[^-]*\d[^/]*)?\.(?:dist|egg)-info$")


def _shared_parents(paths: Iterable[str]) -> set[str]:
    """Directories that hold more than one X.dist-info or X.egg-info."""
    infos: dict[str, set[str]] = {}
    for path in paths:
        parts = path.split("/")
        for at, part in enumerate(parts[:-1]):
            if _INFO.match(part):
                infos.setdefault("/".join(parts[:at]), set()).add(part)
    return {parent for parent, names in infos.items() if len(names) > 1}


def _place(path: str, shared: set[str]) -> str:
    """The directory that a file speaks for."""
    parts = [part for part in posixpath.dirname(path).split("/") if part]
    while parts:
        info = _INFO.match(parts[-1])
        if info is not None:
            parts.pop()
            if "/".join(parts) in shared:
                parts.append(re.sub(r"[-.]+", "_", info["name"]).lower())
                break
        elif parts[-1].lower() in ("licenses", "license"):
            parts.pop()
        else:
            break
    return "/".join(parts)


def _together(found: dict[str, str]) -> str:
    """One expression for the licence files of one directory."""
    distinct = list(dict.fromkeys(found.values()))
    if len(distinct) == 1:
        return distinct[0]
    lesser = [one for one in distinct if re.fullmatch(r"LGPL-3\.0-(?:only|or-later)", one)]
    if lesser and set(distinct) - set(lesser) <= {"GPL-3.0-only", "GPL-3.0-or-later"}:
        return lesser[0]
    # LICENSE, LICENSE.APACHE, LICENSE.BSD: the plain file explains the choice between the named ones.
    choice = (
        all(re.match(r"li[cs]en[cs]e|copying|.*[-_.]li[cs]en[cs]e", name, re.I) for name in found)
        and sum(
            bool(re.search(r"[-_.](?:mit|apache|bsd|gpl|mpl|isc|zlib|unlicense|boost)", name, re.I))
            for name in found
        )
        >= 2
    )
    for name, expression in found.items():
        if (
            choice
            and " OR " in expression
            and re.fullmatch(r"(?:li[cs]en[cs]e|copying)(?:\.\w+)?", name, re.I)
        ):
            return expression
    return join("OR" if choice else "AND", distinct) or distinct[0]
