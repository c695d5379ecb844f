"""The licence of an archive or repository: its licence files, package metadata and readmes, by directory."""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterable, Mapping

from licenses.detect import MAX_LICENSE_FILE, Match, combine, detect_text
from licenses.expressions import join, parse_expression
from licenses.package_metadata import is_metadata, metadata_expression, named_files, precedence
from licenses.readme import NOTICE, is_readme, readme_match

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


def is_license_file(path: str) -> bool:
    """Whether the name of the file is one of a file that may hold a licence (the broad expression of The
    Stack v2)."""
    return LICENSE_FILE.match(posixpath.basename(path)) is not None


def states_license(path: str) -> bool:
    """Whether a file of this name states the licence of its directory: LICENSE*, COPYING*, not code, readme
    or notice."""
    name = posixpath.basename(path)
    return _STATES.match(name) is not None and _CODE_SUFFIX.search(name) is None


def directory_expressions(
    paths_to_texts: Mapping[str, str], metadata: Mapping[str, str] | None = None
) -> dict[str, str]:
    """SPDX expression by directory ("" is the root) of an archive, for `license_for_path`.

    paths_to_texts  path in the archive, '/' between parts -> text; looked at are files that state a licence, that
                    metadata names as licence files (PEP 639 and the like), and readmes
    metadata        path -> text of package metadata; what stands among paths_to_texts is found there too

    In one directory: an expression in metadata wins (its author chose AND, OR and -or-later), else its
    licence files together: each in its own words, several files of different licences as a choice if their
    names say so (LICENSE-MIT beside LICENSE-APACHE), else with AND; COPYING.LESSER beside COPYING is the LGPL
    alone; else what its readme says. The folder of a wheel (X.dist-info, X.egg-info) speaks for its parent; where
    several stand side by side, as among vendored packages, each for the package or module of its name.
    """
    shared = _shared_parents([*paths_to_texts, *(metadata or {})])
    metadata = {**{p: t for p, t in paths_to_texts.items() if is_metadata(p)}, **(metadata or {})}
    stated: dict[str, str] = {}
    for path in sorted(metadata, key=lambda p: (p.count("/"), precedence(posixpath.basename(p)), p)):
        found = metadata_expression(posixpath.basename(path), metadata[path])
        if found is not None:
            stated.setdefault(_place(path, shared), found)
    named = _named(paths_to_texts, metadata)
    files: dict[str, dict[str, str]] = {}
    readmes: dict[str, Match] = {}
    for path in sorted(paths_to_texts):
        if states_license(path) or path in named or _in_reuse_folder(path):
            match = combine(detect_text(paths_to_texts[path][:MAX_LICENSE_FILE]))
            if match is not None:
                place = named.get(path, _place(path, shared))
                files.setdefault(place, {})[posixpath.basename(path)] = match.expression
        elif is_readme(path):
            said = readme_match(paths_to_texts[path])
            if said is not None:
                readmes.setdefault(_place(path, shared), said)
    out = {**{directory: _together(found) for directory, found in files.items()}, **stated}
    for directory, said in sorted(readmes.items()):
        # A sentence deep in a tree that has a licence is more often about something else than a title or a badge.
        if said.confidence > NOTICE or license_for_path(posixpath.join(directory, "_"), out) is None:
            out.setdefault(directory, said.expression)
    return dict(sorted(out.items()))


def _named(paths: Iterable[str], metadata: Mapping[str, str]) -> dict[str, str]:
    """Path of a licence file that metadata names -> the directory of that metadata."""
    found: dict[str, str] = {}
    known = sorted(paths)
    for path in sorted(metadata):
        directory, name = posixpath.split(path)
        for pattern in named_files(name, metadata[path]):
            whole = posixpath.join(directory, pattern)
            if not re.search(r"[*?\[]", pattern):
                found.setdefault(whole, directory)
                continue
            for each in known:
                if fnmatch.fnmatchcase(each, whole):
                    found.setdefault(each, directory)
    present = set(known)
    return {path: directory for path, directory in found.items() if path in present}


def _in_reuse_folder(path: str) -> bool:
    """`LICENSES/<id>.txt`, where REUSE keeps the texts (reuse.software, specification 3)."""
    folder, name = posixpath.split(path)
    stem, suffix = posixpath.splitext(name)
    return posixpath.basename(folder) == "LICENSES" and suffix == ".txt" and parse_expression(stem) is not None


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
    path = path.lstrip("/")
    directory, _, name = path.rpartition("/")
    module = posixpath.splitext(path)[0]
    if name and module in by_directory:  # a vendored package that is one file
        return by_directory[module]
    while True:
        if directory in by_directory:
            return by_directory[directory]
        if not directory:
            return None
        directory = directory.rpartition("/")[0]


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
            bool(re.search(r"[-_.](?:mit|apache|bsd|gpl|mpl|isc|zlib|unlicense|boost)", name, re.I)) for name in found
        )
        >= 2
    )
    for name, expression in found.items():
        if choice and " OR " in expression and re.fullmatch(r"(?:li[cs]en[cs]e|copying)(?:\.\w+)?", name, re.I):
            return expression
    return join("OR" if choice else "AND", distinct) or distinct[0]
