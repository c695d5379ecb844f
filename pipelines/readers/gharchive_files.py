"""The code of pull requests, which GH Archive does not have: files before and after, from clones of the repositories.

StarCoder2 took them from Software Heritage, by the commits that the events name: of the trees of the head and of the
base, the files that both have and that differ (bigcode-project/the-stack-v2 @ 9172041, pull_requests_and_issues/
process_commit_pairs.py).  A clone of the repository has the same trees under the same names, if the heads of its pull
requests were fetched (`git clone --mirror` of a host that shows them as refs).
"""

from __future__ import annotations

import collections
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipelines.readers.git import repositories
from pipelines.readers.git_commits import changed, text_of
from pipelines.readers.git_objects import Objects, RepositoryFiles
from pipelines.readers.git_refs import configuration
from pipelines.readers.git_trees import commit_of, text_path
from pipelines.readers.records import Document, Dropped, Item, Refused, safe_text
from pipelines.shapes.events import COMMITS, KIND
from quality_signals.programming_language import programming_language

if TYPE_CHECKING:
    from pipelines.readers.reading import Reading

_COMMIT = re.compile("[0-9a-f]{40}")
# GitHub: owner and name of a repository; neither is a step to another folder.
_REPOSITORY = re.compile(r"(?!\.+/)[\w.-]+/(?!\.+$)[\w.-]+")
# Clones that stay open: their packs are mapped, and their indexes take 32 bytes an object.
_OPEN = 8


class Clones:
    """Clones below a folder: `owner/name.git` (bare), or `owner/name`."""

    def __init__(self, place: str, reading: Reading) -> None:
        self._place = place.rstrip("/")
        self._reading = reading
        self._seen: set[tuple[str, str, str]] = set()
        self._opened: collections.OrderedDict[str, Objects | Refused | None] = collections.OrderedDict()

    def versions(self, event: Document) -> Iterator[Item]:
        """An event of type PullRequestCommitEvent behind the first event of a pull request that names these commits;
        Dropped where no clone has both.  In another file the same commits give an event of the same id."""
        if not (event.meta.get("type") or "").startswith("PullRequest"):
            return
        fields = json.loads(event.text)
        head, base = fields.get("head_commit_id"), fields.get("base_commit_id")
        if not (_is_commit(head) and _is_commit(base)):
            return
        if (event.meta["thread"], base, head) in self._seen:
            return
        self._seen.add((event.meta["thread"], base, head))
        locator = f"{event.locator}+{head}"
        try:
            files = self._files(fields, bytes.fromhex(base), bytes.fromhex(head))
        except Refused as refused:
            yield refused.at(locator)
            return
        if not files:
            yield Dropped(locator, "no_versions")
            return
        thread, created = event.meta["thread"], fields["created_at"]
        told = {
            "type": COMMITS, "id": f"{base}..{head} {thread}", "head_commit_id": head, "base_commit_id": base,
            "base_repo_name": fields.get("base_repo_name"), "created_at": created, "num_diff_files": len(files),
            "head_base_files": files,
        }  # fmt: skip
        yield Document(
            locator=locator, source=event.source, kind=self._reading.unit.document_kind or KIND,
            text=json.dumps(told, ensure_ascii=False), repo=event.repo, commit=head, timestamp=event.timestamp,
            mime="application/json",
            meta={"type": COMMITS, "thread": thread, "is_pull_request": "true", "files": str(len(files)),
                  **({"created_at": created} if created else {})},
        )  # fmt: skip

    def _files(self, fields: dict[str, Any], base: bytes, head: bytes) -> list[dict[str, Any]]:
        """Of the repository's clone, else of that of the fork; [] where neither has the commits and files."""
        for repo in dict.fromkeys((fields.get("base_repo_name"), fields.get("head_repo_name"))):
            objects = self._objects(repo) if repo else None
            if objects is not None:
                try:
                    return self._differing(objects, base, head)
                except Refused as refused:
                    if refused.error != "missing_object":
                        raise
        return []

    def _differing(self, objects: Objects, base: bytes, head: bytes) -> list[dict[str, Any]]:
        limits = self._reading.limits
        left = limits.max_item_bytes
        files: list[dict[str, Any]] = []
        for path, old, new in changed(objects, commit_of(objects, base).tree, commit_of(objects, head).tree):
            if old is None or new is None:
                continue
            name = safe_text(text_path(path))[0]
            texts = [text_of(objects, limits, name, entry)[0] for entry in (old, new)]
            if texts[0] is None or texts[1] is None or texts[0] == texts[1]:
                continue
            left -= len(texts[0]) + len(texts[1])
            if left < 0:
                raise Refused("too_large", f"files of more than {limits.max_item_bytes} characters")
            language = programming_language(name, texts[0])
            files.append({
                "base_path": name, "base_content": texts[0], "head_content": texts[1], "base_language": language,
            })  # fmt: skip
        return files

    def _objects(self, repo: str) -> Objects | None:
        """Of a clone; None where there is none.  Raises Refused where it cannot be opened."""
        if not _REPOSITORY.fullmatch(repo):
            return None
        if repo not in self._opened:
            try:
                self._opened[repo] = self._open(repo)
            except Refused as refused:
                self._opened[repo] = refused
            if len(self._opened) > _OPEN:
                _, oldest = self._opened.popitem(last=False)
                if isinstance(oldest, Objects):
                    oldest.close()
        self._opened.move_to_end(repo)
        found = self._opened[repo]
        if isinstance(found, Refused):
            raise found
        return found

    def _open(self, repo: str) -> Objects | None:
        files = self._reading.files
        tree = getattr(files, "tree", files.find)
        for place in (f"{self._place}/{repo}.git", f"{self._place}/{repo}"):
            for folder, members in repositories(tree(place), place)[:1]:
                paths = {
                    member.name[len(folder.name) :]: (member.path, member.name)
                    for member in members
                    if member.name.startswith(folder.name)
                }
                there = RepositoryFiles(paths, files)
                _, form = configuration(there)
                if form != "sha1":
                    raise Refused("unsupported", f"a repository of object format {form}; known: sha1")
                return Objects(there, self._reading.limits)
        return None

    def close(self) -> None:
        for each in self._opened.values():
            if isinstance(each, Objects):
                each.close()


def _is_commit(name: Any) -> bool:
    return isinstance(name, str) and _COMMIT.fullmatch(name) is not None
