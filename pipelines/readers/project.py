"""What a distribution says about itself: name, version, repository, and the licence of each directory."""

from __future__ import annotations

import collections
import dataclasses
import email.parser
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping

from licenses.files import directory_expressions, is_metadata, license_for_path, states_license
from licenses.readme import is_readme
from licenses.stack_v2 import expression_ids, licenses_above
from pipelines.readers.records import safe_text

_METADATA_NAMES = ("PKG-INFO", "METADATA", "package.json")
_INSTALLED = re.compile(r"[^/]+\.(?:dist-info|egg-info)$")
_FORGE = re.compile(
    r"https?://(?:www\.)?(?:github\.com|gitlab\.com|bitbucket\.org|codeberg\.org)/([-\w.]+)/([-\w.]+)", re.I
)
# First path parts of forges that are no owners.
_NOT_OWNERS = frozenset({"sponsors", "orgs", "features", "apps", "marketplace", "users", "groups", "explore"})
_SOURCE_LABEL = re.compile(r"source|repo|code|git", re.I)


@dataclasses.dataclass(frozen=True)
class Project:
    """Facts about a distribution or tree; everything may be unknown."""

    name: str | None = None
    version: str | None = None
    repo: str | None = None
    licenses: Mapping[str, str] = dataclasses.field(default_factory=dict)  # directory ('' = top) -> SPDX expression

    def license_of(self, path: str) -> str | None:
        """The expression of the nearest directory at or above the file."""
        return license_for_path(path, self.licenses)

    def detected_above(self, path: str, nearest: str | None) -> str | None:
        """The ids of all directories at or above the file, sorted, with spaces between, as `license_stack_v2@1` reads
        them; None where they are those of `nearest`, which `license_of` gave."""
        if len(self.licenses) < 2:
            return None
        directory = path.rpartition("/")[0]
        ids = self._united.get(directory)
        if ids is None:
            by_directory = {place: expression_ids(expression) for place, expression in self.licenses.items()}
            ids = self._united[directory] = licenses_above(path, by_directory)
        return None if ids == expression_ids(nearest) else " ".join(sorted(ids))

    @functools.cached_property
    def _united(self) -> dict[str, frozenset[str]]:
        """Of the directories that were asked for."""
        return {}


def is_project_file(path: str) -> bool:
    """A licence text, a readme or package metadata: what `describe_project` wants to see."""
    folder, _, name = path.rpartition("/")
    return _is_project_name(name) or f"/{folder}".endswith("/LICENSES")  # where REUSE keeps the texts


@functools.lru_cache(maxsize=1 << 14)  # a few names (`__init__.py`, `index.js`) are those of most files
def _is_project_name(name: str) -> bool:
    return is_metadata(name) or states_license(name) or is_readme(name)


# Projects whose licences are remembered, by the hash of their files: a tree is many units, and each looks at the same
# licence texts, which takes as long as reading 50 files.
_REMEMBERED = 64
_licenses: collections.OrderedDict[bytes, dict[str, str]] = collections.OrderedDict()


def directory_licenses(files: Mapping[str, str]) -> dict[str, str]:
    """The one door to the licence detector: texts by path -> SPDX expression by directory ('' is the top)."""
    digest = hashlib.blake2b(digest_size=16)
    for path, text in files.items():
        digest.update(f"{len(path)} {len(text)} {path}{text}".encode("utf-8", "surrogatepass"))
    known = _licenses.get(digest.digest())
    if known is None:
        known = _licenses[digest.digest()] = _detected(files)
        if len(_licenses) > _REMEMBERED:
            _licenses.popitem(last=False)
    return known


def _detected(files: Mapping[str, str]) -> dict[str, str]:
    return directory_expressions(
        {path: text for path, text in files.items() if not is_metadata(path)},
        {path: text for path, text in files.items() if is_metadata(path)},
    )


def describe_project(files: Mapping[str, bytes], fallback_name: str) -> Project:
    """From the licence files, readmes and metadata of a tree (path without top folder -> bytes) and a `name-version`
    string."""
    texts = {path: safe_text(data.decode("utf-8", "replace"))[0] for path, data in sorted(files.items())}
    metadata: dict[str, str] = {}
    urls: list[tuple[str, str]] = []
    # The shallowest metadata file is that of the project; deeper ones belong to what it carries along.
    for path in sorted(files, key=_metadata_order):
        name = path.rpartition("/")[2]
        if name in _METADATA_NAMES and "/" not in _top_level(path):
            read = _package_json if name == "package.json" else _core_metadata
            metadata, urls = read(texts[path])
            if metadata:
                break
    name, version = split_name(fallback_name)
    name = metadata.get("Name") or name
    return Project(
        name=safe_text(name)[0] or None,
        version=safe_text(metadata.get("Version") or version or "")[0] or None,
        repo=repository(urls) or safe_text(name)[0] or None,
        licenses=directory_licenses(texts),
    )


def _metadata_order(path: str) -> tuple[int, int, str]:
    name = path.rpartition("/")[2]
    kind = _METADATA_NAMES.index(name) if name in _METADATA_NAMES else len(_METADATA_NAMES)
    return _top_level(path).count("/"), kind, path


def _top_level(path: str) -> str:
    """Files of an installer's record directory speak for the whole distribution."""
    first, _, rest = path.partition("/")
    return rest if rest and _INSTALLED.fullmatch(first) else path


def split_name(stem: str) -> tuple[str, str | None]:
    """`name-1.2` or `name-1.2-py3-none-any` -> name and version."""
    match = re.match(r"(.+?)-v?(\d[^-]*)(?:-.*)?$", stem)
    return (match[1], match[2]) if match else (stem, None)


def _core_metadata(text: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Fields of PKG-INFO or METADATA (repeated ones joined by newlines) and labelled URLs."""
    message = email.parser.HeaderParser().parsestr(text)
    fields: dict[str, str] = {}
    urls: list[tuple[str, str]] = []
    for key, raw in message.items():
        value = str(raw)
        fields[key] = f"{fields[key]}\n{value}" if key in fields else value
        if key == "Project-URL" and "," in value:
            label, url = value.split(",", 1)
            urls.append((label.strip(), url.strip()))
        elif key in ("Home-page", "Download-URL"):
            urls.append((key, value.strip()))
    return fields, urls


def _package_json(text: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}, []
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return {}, []
    fields = {"Name": value["name"]}
    for key, field in (("version", "Version"), ("license", "License")):
        if isinstance(value.get(key), str):
            fields[field] = value[key]
    urls = []
    for key in ("repository", "homepage"):
        entry = value.get(key)
        url = entry.get("url") if isinstance(entry, dict) else entry
        if isinstance(url, str):
            urls.append((key, _web_url(url)))
    return fields, urls


def _web_url(url: str) -> str:
    """The forms of package.json: owner/name, github:owner/name, git+ssh://git@host/..., git://host/..."""
    url = re.sub(r"^github:|^(?=[-\w.]+/[-\w.]+$)", "https://github.com/", url)
    return re.sub(r"^(?:git\+)?(?:ssh|git|https?)://(?:[^/@]+@)?", "https://", url)


def repository(urls: Iterable[tuple[str, str]]) -> str | None:
    """`owner/name` of the first URL on a known forge, those labelled as source first."""
    for _, url in sorted(urls, key=lambda pair: not _SOURCE_LABEL.search(pair[0])):
        match = _FORGE.match(url)
        if match and match[1].lower() not in _NOT_OWNERS:
            return f"{match[1]}/{match[2].removesuffix('.git')}"
    return None
