"""Files of code with what is known of them, and repositories as one document.

    <reponame>R<filename>F<gh_stars>S\\ncode            StarCoder, each mark by chance
    <repo_name>R<file_sep>path\\ncode<file_sep>...      StarCoder2, for half of the repositories, else
    <file_sep>code<file_sep>...

References: bigcode-project/bigcode-dataset @ bebec92, preprocessing/add_content_with_meta.py; the StarCoder2 report
(arXiv:2402.19173, section 5.1).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.shapes.sentinels import as_it_is, unmarked
from pipelines.shapes.shape import Alone, Chance, Draws, Dropped, Shaped, meta_of, whole_number

META_CHANCE = 0.2  # add_content_with_meta.py: of each of the three
REPOSITORY_META_CHANCE = 0.5
# What sources call the stars of a repository.
STARS = ("stars", "max_stars_count", "star_events_count", "stargazers_count")


def stars_bucket(stars: int | None) -> str:
    """How the stars of a repository are written; below 0 as the reference writes it."""
    if not stars:
        return "0"
    buckets = ((10, "1-10"), (100, "10-100"), (1000, "100-1000"))
    return next((name for limit, name in buckets if stars <= limit), "1000+")


def stars_of(row: Mapping[str, Any]) -> int | None:
    meta = meta_of(row)
    return next((whole_number(meta[name]) for name in STARS if meta.get(name) is not None), None)


def with_meta(repo: str | None, path: str | None, stars: int | None, text: str, draws: Chance) -> str:
    """The three marks, each by chance, and the text behind them on a new line.

    draws: three, in the order repository, name, stars.  What is not known is not written (the reference has the word
    None there); a repository without a number of stars has `0`.
    """
    named, placed, starred = (draws.random() < META_CHANCE for _ in range(3))
    head = f"<reponame>{repo}" if named and repo is not None else ""
    head += f"<filename>{path}" if placed and path is not None else ""
    head += f"<gh_stars>{stars_bucket(stars)}" if starred else ""
    return head + "\n" + text if head else text


@dataclasses.dataclass(frozen=True)
class FileShape(Alone):
    """A file -> the file with its repository, name and stars, each by chance.

    mended   spellings of special tokens in it, its name and that of its repository are broken up
    """

    name: str
    mended: bool = False

    def make(self, rows: Sequence[Mapping[str, Any]], seed: int) -> Shaped | Dropped:
        (row,) = rows
        if not row["text"]:
            return Dropped("empty")
        repo, path, text = row.get("repo"), row.get("path"), row["text"]
        if self.mended:
            repo, path, text = (None if each is None else unmarked(each) for each in (repo, path, text))
        text = with_meta(repo, path, stars_of(row), text, self.draws(row, seed))
        return Shaped(text, {}, row["kind"])


def repository_text(repo: str, files: Sequence[tuple[str, str]], *, named: bool) -> str:
    """files: (path, text) in the order in which they are written.  named: with the repository's name and the paths."""
    if named:
        return f"<repo_name>{repo}" + "".join(f"<file_sep>{path}\n{text}" for path, text in files)
    return "".join(f"<file_sep>{text}" for _, text in files)


@dataclasses.dataclass(frozen=True)
class RepositoryShape:
    """The files of a repository -> one document.

    They stand in an order that says nothing: by a hash of their ids, the reference's is random.  Documents without a
    repository, and events, commits and notebooks, are not of this shape.
    mended   spellings of special tokens in files, their names and that of the repository are broken up
    """

    name: str
    kinds: tuple[str, ...] = ("code", "documentation", "prose")
    mended: bool = False

    def key(self, row: Mapping[str, Any]) -> str | None:
        return row.get("repo") if row.get("kind") in self.kinds else None

    def order(self, row: Mapping[str, Any]) -> Any:
        doc_id = str(row.get("doc_id"))
        return [hashlib.blake2b(doc_id.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest(), doc_id]

    def make(self, rows: Sequence[Mapping[str, Any]], seed: int) -> Shaped | Dropped:
        repo = self.key(rows[0])
        if repo is None:
            return Dropped("not_of_shape")
        plain = unmarked if self.mended else as_it_is
        files = [(plain(row.get("path") or ""), plain(row["text"])) for row in rows if row["text"]]
        if not files:
            return Dropped("empty")
        named = Draws(repo, seed).random() < REPOSITORY_META_CHANCE
        meta = {"files": str(len(files)), "named": str(named).lower()}
        return Shaped(repository_text(plain(repo), files, named=named), meta, "repository")


@dataclasses.dataclass(frozen=True)
class PlainShape(Alone):
    """A document that is given as it is, with a kind of its own (StarCoder2's documentation of packages).

    mended   spellings of special tokens in it are broken up
    """

    name: str
    kind: str
    mended: bool = False

    def make(self, rows: Sequence[Mapping[str, Any]], seed: int) -> Shaped | Dropped:
        (row,) = rows
        text = (unmarked if self.mended else as_it_is)(row["text"].strip())
        return Shaped(text, {}, self.kind) if text else Dropped("empty")
