"""Commits of one file: what it was, what was said, what it became.

    <commit_before>old<commit_msg>subject<commit_after>new

Reference: bigcode-project/bigcode-dataset @ bebec92, preprocessing/filtering_git_commits.ipynb.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.shapes.diffs import DiffTooLargeError, LineRange, changed_range
from pipelines.shapes.languages import extension_of, is_known
from pipelines.shapes.sentinels import unmarked
from pipelines.shapes.shape import Chance, Draws, Dropped, Shaped

KIND = "commit"
MAX_OLD_CHARS = 100_000
SMALL_LINES, LARGE_LINES = 2, 200  # of the changed range in the old file
SMALL_KEPT = LARGE_KEPT = 0.1
SHORT_WORDS, SHORT_KEPT = 5, 0.5
WORD_CHARS = 20
DATA_EXTENSIONS, DATA_KEPT = frozenset(("json", "yml", "xml", "html", "yaml")), 0.5
WHOLE_CHANCE = 0.2
CONTEXT_LINES = 32  # 0..31 above and below
BAD_PARTS = ("auto commit", "update contributing", "<?xml")
BAD_SUBJECTS = frozenset(
    ("readme", "update", "dummy", "updated", "debug", "test", "update readme", "update readme.md", "updated readme.md",
     "updated readme")
)  # fmt: skip
_VERSION = re.compile(r"v?\d+\.\d+\.\d+(?=$|\S)")


@dataclasses.dataclass(frozen=True, slots=True)
class Commit:
    """One file of a commit; path: before it."""

    subject: str
    path: str
    old: str
    new: str


def commit_of(row: Mapping[str, Any]) -> Commit | str:
    """The commit of a document: text is the JSON {subject, message, files: [{path, old, new}]}; or why it is none.

    old and new are null where the file was not there.
    """
    try:
        found = json.loads(row["text"])
    except (ValueError, RecursionError):
        return "bad_json"
    if not isinstance(found, dict):
        return "bad_json"
    files, subject = found.get("files"), found.get("subject")
    if not isinstance(files, list) or not isinstance(subject, str | None):
        return "bad_json"
    if len(files) != 1:
        return "many_files"
    (file,) = files
    if not isinstance(file, dict):
        return "bad_json"
    path, old, new = (file.get(name) for name in ("path", "old", "new"))
    if not isinstance(path, str) or not all(isinstance(each, str | None) for each in (old, new)):
        return "bad_json"
    return Commit(subject or "", path, old or "", new or "")


def refused(commit: Commit, lines: LineRange, draws: Chance) -> str | None:
    """Why a commit is left out; None: it is kept.  Draws only where the reference does."""
    if not commit.new:
        return "empty"
    changed = lines.old_stop - lines.old_start
    if changed <= SMALL_LINES and draws.random() > SMALL_KEPT:
        return "small_change"
    if changed >= LARGE_LINES and draws.random() > LARGE_KEPT:
        return "large_change"
    words = commit.subject.split()
    small = commit.subject.lower()
    if not words or any(part in small for part in BAD_PARTS) or small in BAD_SUBJECTS:
        return "subject"
    if len(words) < SHORT_WORDS and draws.random() > SHORT_KEPT:
        return "short_subject"
    if _VERSION.match(small):
        return "subject"
    if len(commit.subject) / len(words) > WORD_CHARS:
        return "long_subject_words"
    if small.startswith(" ") and len(words) == 1:
        return "subject"
    if not is_known(commit.path):
        return "unknown_extension"
    if extension_of(commit.path) in DATA_EXTENSIONS and draws.random() > DATA_KEPT:
        return "sampled_out"
    return None


def rendered(commit: Commit, lines: LineRange, draws: Chance) -> str:
    """Both files whole, or the changed range with the same number of lines above and below in both."""
    old, new = commit.old, commit.new
    if draws.random() >= WHOLE_CHANCE:
        above, below = draws.randint(0, CONTEXT_LINES), draws.randint(0, CONTEXT_LINES)
        old = "\n".join(old.splitlines()[max(0, lines.old_start - above) : lines.old_stop + below])
        new = "\n".join(new.splitlines()[max(0, lines.new_start - above) : lines.new_stop + below])
    return f"<commit_before>{old}<commit_msg>{commit.subject}<commit_after>{new}"


@dataclasses.dataclass(frozen=True)
class CommitShape:
    """Commits that change the same file of a repository -> the first of them that is kept.

    "First" by a hash of the documents' ids, so that it says nothing.
    mended   the changed range begins at the change; the reference counts it from the first line of the file
    """

    name: str
    mended: bool = False

    def key(self, row: Mapping[str, Any]) -> str | None:
        if row.get("kind") != KIND or not row.get("repo"):
            return None
        commit = commit_of(row)
        return json.dumps([row["repo"], commit.path], ensure_ascii=False) if isinstance(commit, Commit) else None

    def order(self, row: Mapping[str, Any]) -> Any:
        doc_id = str(row.get("doc_id"))
        return [hashlib.blake2b(doc_id.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest(), doc_id]

    def make(self, rows: Sequence[Mapping[str, Any]], seed: int) -> Shaped | Dropped:
        first = "empty"
        for number, row in enumerate(rows):
            draws = Draws(str(row.get("doc_id")), seed)
            found = self._made(row, draws)
            if isinstance(found, Shaped):
                return dataclasses.replace(found, meta={**found.meta, "commits": str(len(rows))})
            first = first if number else found
        return Dropped(first)

    def _made(self, row: Mapping[str, Any], draws: Chance) -> Shaped | str:
        """Of one commit; or why it is left out."""
        if row.get("kind") != KIND:
            return "not_of_shape"
        commit = commit_of(row)
        if isinstance(commit, str):
            return commit
        if len(commit.old) >= MAX_OLD_CHARS:
            return "too_large"
        old, new = commit.old.splitlines(), commit.new.splitlines()
        try:
            lines = changed_range(old, new, from_zero=not self.mended)
        except DiffTooLargeError:
            return "diff_too_large"
        if lines.old_stop < lines.old_start:  # nothing changed but the end of a line
            lines = dataclasses.replace(lines, old_start=0, new_start=0)
        reason = refused(commit, lines, draws)
        if reason is not None:
            return reason
        if self.mended:
            commit = Commit(*(unmarked(part) for part in dataclasses.astuple(commit)))
        text = rendered(commit, lines, draws)
        meta = {"path": commit.path}
        if row.get("commit"):
            meta["commit"] = row["commit"]
        return Shaped(text, meta, "commit")
