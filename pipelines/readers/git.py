"""Git repositories, bare or beside a work tree, to one document a file of a commit, or one a commit.

The objects are read as they lie; no work tree, hook, configuration, alternate or linked work tree is used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from pipelines.readers.archives import link_problem, unsafe_name
from pipelines.readers.code import read_code, skip_reason
from pipelines.readers.files import Files, Found, below, portable_name
from pipelines.readers.git_objects import BLOB, Objects, RepositoryFiles
from pipelines.readers.git_refs import Refs, configuration, peeled, repository_of
from pipelines.readers.git_trees import (
    KIND_MASK,
    LINK,
    SUBMODULE,
    CommitHead,
    Entry,
    commit_of,
    instant,
    text_path,
    walk,
)
from pipelines.readers.project import Project, describe_project, is_project_file
from pipelines.readers.records import Document, Dropped, Item, Refused, Rejected, Skipped
from pipelines.readers.remote import MissingPackage, scheme
from pipelines.readers.units import PlanError, Source, UnitFile, _unit_file, excluded
from pipelines.storage import is_remote

if TYPE_CHECKING:
    from pipelines.readers.reading import Reading

# What git keeps in a repository's folder and the reader looks at; logs, hooks, index and modules are none of it.
_FOLDERS = ("objects/", "refs/")
_FILES = frozenset({"HEAD", "config", "packed-refs", "shallow", "commondir"})
# What it looks at first, and folders of a repository in which other repositories' files lie.
_RANK = {"HEAD": 0, "config": 1, "packed-refs": 2}
_INNER = ("logs", "modules", "worktrees", "objects", "refs")
# Packed bytes of a unit: about 5 s of reading.
_PART_BYTES = 16 << 20
_MAX_PARTS = 16


# --- which repositories there are ---


def plan(source: Source, root: str, files: Files) -> list[dict[str, Any]]:
    """Units of the repositories in the inputs: each whole, or cut by entries (files or commits) modulo parts."""
    units: list[dict[str, Any]] = []
    known: dict[str, str] = {}
    tree = getattr(files, "tree", files.find)
    for pattern in source.inputs:
        place = below(root, pattern)
        if scheme(place) in _SERVED:
            said = "repositories are read where they lie: git clone --bare it, and give the folder"
            raise PlanError(f"source {source.name}: {pattern}: {said}")
        try:
            found = repositories(tree(place), place)
        except (Refused, MissingPackage) as error:
            raise PlanError(f"source {source.name}: {error.message if isinstance(error, Refused) else error}") from None
        if not found:
            raise PlanError(f"source {source.name}: no git repository in {pattern}")
        for folder, members in found:
            name = folder.name.rstrip("/").removesuffix("/.git")
            other = known.setdefault(name, folder.path)
            if other != folder.path:
                raise PlanError(f"source {source.name}: two inputs hold the repository {name}")
            units.extend(_units(folder.head, members, root))
    return sorted(units, key=lambda unit: (unit["files"][0].name, unit["part"]))


# Protocols by which a host gives what is asked for, and no folder of files (git-fetch, "GIT URLS").
_SERVED = frozenset({"http", "https", "git", "ssh", "ftp", "ftps"})


@dataclasses.dataclass(frozen=True, slots=True)
class _Folder:
    name: str  # with the last '/': `project/.git/`, `project.git/`
    path: str
    head: Found


def repositories(found: list[Found], place: str) -> list[tuple[_Folder, list[Found]]]:
    """The repositories among the files below a place, each with its own files; names begin with the repository's.

    A `.git` that is a file (a linked work tree, a submodule) stands alone: it leads elsewhere, and the reader says so.
    """
    folders: dict[str, list[tuple[str, Found]]] = {}
    for file in found:
        folder, _, name = file.name.rpartition("/")
        if name in ("HEAD", "config", "packed-refs"):
            folders.setdefault(f"{folder}/" if folder else "", [])
    for file in found:
        for at in _prefixes(file.name):
            rest = file.name[len(at) :]
            if at in folders and (rest in _FILES or rest.startswith(_FOLDERS)):
                folders[at].append((rest, file))
    kept: list[tuple[_Folder, list[Found]]] = []
    inside: list[str] = []  # folders in which git keeps what looks like repositories: logs, modules, worktrees
    for at, members in sorted(folders.items()):
        rests = {rest for rest, _ in members}
        known = any(rest.startswith(_FOLDERS) or rest in ("config", "packed-refs") for rest in rests)
        if at.startswith(tuple(inside)) or not (known and ("HEAD" in rests or f"/{at}".endswith("/.git/"))):
            continue
        inside += [at] if f"/{at}".endswith("/.git/") and at else [f"{at}{name}/" for name in _INNER]
        # Any file that is not empty stands for the repository: an empty one would be passed over.
        rest, first = min(members, key=lambda pair: (pair[1].size == 0, _RANK.get(pair[0], 3), pair[0]))
        kept.append(_named(at, rest, first, [file for _, file in members], place))
    pointers = [file for file in found if f"/{file.name}".endswith("/.git")]
    kept += [_named(file.name, "", file, [file], place) for file in pointers if not file.name.startswith(tuple(inside))]
    return kept


def _named(at: str, rest: str, first: Found, members: list[Found], place: str) -> tuple[_Folder, list[Found]]:
    """Files under names that begin with the repository's, also where the place itself is the repository."""
    prefix = ""
    if at in ("", ".git/", ".git"):
        parts = (place if is_remote(place) else os.path.abspath(place)).rstrip("/").split("/")
        prefix = "/".join(parts[-2 if parts[-1] == ".git" else -1 :]) + "/"
    path = first.path.removesuffix(rest) if rest else first.path
    head = dataclasses.replace(first, name=prefix + first.name)
    others = [dataclasses.replace(file, name=prefix + file.name) for file in members if file is not first]
    return _Folder(prefix + at, path, head), [head, *others]


def _prefixes(name: str) -> Iterator[str]:
    yield ""
    at = name.find("/")
    while at >= 0:
        yield name[: at + 1]
        at = name.find("/", at + 1)


def _units(head: Found, members: list[Found], root: str) -> Iterator[dict[str, Any]]:
    first = dataclasses.replace(_unit_file(head, root), given=True)
    others = tuple(_unit_file(file, root) for file in members if file is not head)
    size = sum(file.size for file in members if "objects/" in file.name)
    parts = min(_MAX_PARTS, max(1, -(-size // _PART_BYTES)))
    for part in range(parts):
        yield {"files": (first,), "context": others, "part": part, "parts": parts}


# --- one repository ---


@dataclasses.dataclass(slots=True)
class Repository:
    """An opened repository and the commit that is read."""

    label: str  # its name in the source
    objects: Objects
    reading: Reading
    files: RepositoryFiles
    repo: str | None  # owner/name of its remote
    ref: str
    tip: bytes
    shallow: frozenset[bytes]

    def mine(self, index: int) -> bool:
        return index % self.reading.unit.parts == self.reading.unit.part


def read_repository(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """The unit's part of the files of one commit, or (option `commits`) of the commits that lead to it.

    Locators: `repository!path`, `repository#commit`.  What is wrong with the repository itself is told by part 0.
    """
    folder, label = _folder_of(file, reading)
    first = reading.unit.part == 0
    if file.name.endswith("/.git") or file.name == ".git":
        yield Rejected(label, "unsafe_link", ".git is a file that leads to another folder, which is not followed")
        return
    members = (file, *reading.unit.context)
    files = RepositoryFiles(
        {
            other.name[len(folder) :]: (reading.unit.resolve(other.path), other.name)
            for other in members
            if other.name.startswith(folder)
        },
        reading.files,
    )
    problems: list[Item] = []
    with contextlib.ExitStack() as stack:
        opened: Repository | None = None
        try:
            opened = _opened(label, files, reading, problems, stack)
            if opened is None:
                problems.append(Dropped(label, "empty"))
        except Refused as refused:
            problems.append(refused.at(label))
        if first:
            yield from problems
        if opened is not None:
            if reading.options["commits"]:
                from pipelines.readers.git_commits import read_commits

                yield from read_commits(opened)
            else:
                yield from _read_files(opened)


def _folder_of(file: UnitFile, reading: Reading) -> tuple[str, str]:
    """The repository's folder with its last '/', and its name."""
    name = file.name
    for rest in ("HEAD", "config", "packed-refs"):
        if name.endswith(f"/{rest}"):
            folder = name[: -len(rest)]
            break
    else:
        at = max(name.find("/objects/"), name.find("/refs/"))
        folder = name[: at + 1] if at >= 0 else f"{name}/"
    return folder, folder.rstrip("/").removesuffix("/.git")


def _opened(
    label: str, files: RepositoryFiles, reading: Reading, problems: list[Item], stack: contextlib.ExitStack
) -> Repository | None:
    """None where there is no commit yet.  Raises Refused."""
    for name in ("objects/info/alternates", "objects/info/http-alternates", "commondir"):
        if name in files:
            problems.append(Rejected(f"{label}#{name}", "unsafe_link", "objects of another folder are not looked for"))
    address, form = configuration(files)
    if form != "sha1":
        raise Refused("unsupported", f"a repository of object format {form}; known: sha1")
    refs = Refs(files)
    try:
        found = refs.tip(reading.options["branch"], reading.options["revision"])
    finally:
        problems.extend(refused.at(f"{label}#{name}") for name, refused in refs.problems)
    if found is None:
        return None
    objects = Objects(files, reading.limits)
    stack.callback(objects.close)
    problems.extend(refused.at(f"{label}#{name}") for name, refused in objects.problems)
    shallow: frozenset[bytes] = frozenset()
    if "shallow" in files:
        lines = files.read("shallow", 64 << 20).split()
        shallow = frozenset(bytes.fromhex(line.decode()) for line in lines if len(line) == 40 and line.isalnum())
    return Repository(
        label, objects, reading, files, repository_of(address), found[0], peeled(found[1], objects), shallow
    )


# --- the files of a commit ---


def _read_files(repository: Repository) -> Iterator[Item]:
    reading, objects, label = repository.reading, repository.objects, repository.label
    first = reading.unit.part == 0
    entries: list[Entry] = []
    try:
        head = commit_of(objects, repository.tip)
        for found in walk(objects, head.tree, reading.limits.max_members):
            if isinstance(found, Entry):
                entries.append(found)
            elif first:
                yield found[1].at(f"{label}!{text_path(found[0])}")
    except Refused as refused:
        if first:
            yield refused.at(label)
    if not entries:
        return
    project = _project(repository, entries)
    made = 0
    for index, entry in enumerate(entries):
        if not repository.mine(index):
            continue
        path = text_path(entry.path)
        locator = f"{label}!{path}"
        try:
            data = _blob(repository, entry, path, locator)
            made += len(data)
            if made > min(
                reading.limits.max_archive_bytes,
                reading.limits.ratio_floor_bytes + reading.limits.max_ratio * objects.packed_bytes,
            ):
                yield Rejected(label, "zip_bomb", f"files of more than {reading.limits.max_ratio:g} times its size")
                return
            yield _document(repository, head, entry, data, path, locator, project)
        except Skipped as skipped:
            yield skipped.at(locator)
        except Refused as refused:
            yield refused.at(locator)


def _blob(repository: Repository, entry: Entry, path: str, locator: str) -> bytes:
    """Raises Skipped and Refused for what is no document."""
    if excluded(locator, repository.reading.unit.exclude):
        raise Skipped("excluded")
    if reason := unsafe_name(entry.path.decode("utf-8", "replace")):
        raise Refused("path_traversal", reason)
    kind = entry.mode & KIND_MASK
    if kind == SUBMODULE:
        raise Skipped("submodule")
    if kind == LINK:
        raise link_problem(path, repository.objects.read(entry.name, BLOB, 4096).decode("utf-8", "replace"))
    if reason := skip_reason(path):
        raise Skipped(reason)
    return repository.objects.read(entry.name, BLOB, repository.reading.limits.max_code_bytes)


def _document(
    repository: Repository, head: CommitHead, entry: Entry, data: bytes, path: str, locator: str, project: Project
) -> Document:
    unit = repository.reading.unit
    notebook = repository.reading.options["notebook"]
    document = read_code(data, path, locator, unit.source, unit.document_kind, project, None, notebook=notebook)
    document.commit = repository.tip.hex()
    document.timestamp = instant(head.commit_time)
    document.meta["mode"] = f"{entry.mode:o}"
    document.meta["ref"] = portable_name(repository.ref)
    return document


def _project(repository: Repository, entries: list[Entry]) -> Project:
    """Licences and metadata of the tree, and the remote as its name."""
    found: dict[str, bytes] = {}
    for entry in entries:
        path = text_path(entry.path)
        if entry.mode & KIND_MASK in (LINK, SUBMODULE) or not is_project_file(path):
            continue
        try:
            found[path] = repository.objects.read(entry.name, BLOB, repository.reading.limits.max_project_file_bytes)
        except Refused:  # read as a document, it is rejected there
            continue
    project = describe_project(found, repository.label.rpartition("/")[2].removesuffix(".git"))
    return dataclasses.replace(project, repo=repository.repo or project.repo)
