"""Questions of Stack Exchange with their answers, as StarCoder2 was given them.

    <issue_start>username_0: question<issue_comment>username_1: answer
    Upvotes: 3 [selected answer]<issue_comment> ...

The StarCoder2 report (arXiv:2402.19173, section 5.1).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.shapes.sentinels import unmarked
from pipelines.shapes.shape import Alone, Dropped, Shaped, meta_of, whole_number

_POST = re.compile(r"\n\n(?=A: )")


@dataclasses.dataclass(frozen=True, slots=True)
class Post:
    """user: 0 for who asked, then in order of appearance.  score: votes up minus votes down."""

    user: int
    text: str
    score: int = 0
    selected: bool = False


def posts_of(row: Mapping[str, Any]) -> list[Post] | None:
    """The question and its answers of a document that the reader `stackexchange` has made; None for others.

    `meta.posts` has their places.  A text that was changed since (redacted) is parted where the reader joined it, if
    that gives as many posts.
    """
    try:
        places = json.loads(meta_of(row).get("posts") or "")
    except (ValueError, RecursionError):
        return None
    if not isinstance(places, list) or not places or not all(isinstance(each, dict) for each in places):
        return None
    text: str = row["text"]
    ends = [whole_number(each.get("stop")) for each in places]
    starts = [whole_number(each.get("start")) for each in places]
    if (
        ends[-1] == len(text)
        and None not in starts
        and all(text[start - 3 : start] in ("Q: ", "A: ") for start in starts if start is not None and start >= 3)
    ):
        parts = [text[start:stop] for start, stop in zip(starts, ends, strict=True)]
    else:
        parts = [part[3:] for part in _POST.split(text)]
        if len(parts) != len(places):
            return None
    numbers = [[whole_number(each.get(name)) or 0 for name in ("user", "score")] for each in places]
    return [
        Post(user, part, score, bool(each.get("accepted")))
        for each, part, (user, score) in zip(places, parts, numbers, strict=True)
    ]


def thread_text(posts: Sequence[Post]) -> str:
    """The question, and the answers in the order in which they are given."""
    said = [f"username_{posts[0].user}: {posts[0].text}"]
    for post in posts[1:]:
        selected = " [selected answer]" if post.selected else ""
        said.append(f"username_{post.user}: {post.text}\nUpvotes: {post.score}{selected}")
    return "<issue_start>" + "<issue_comment>".join(said)


@dataclasses.dataclass(frozen=True)
class QuestionShape(Alone):
    """A question with its answers -> a conversation.  mended: spellings of special tokens in posts are broken up."""

    name: str
    mended: bool = False

    def make(self, rows: Sequence[Mapping[str, Any]], seed: int) -> Shaped | Dropped:
        (row,) = rows
        posts = posts_of(row)
        if posts is None:
            return Dropped("not_of_shape")
        if self.mended:
            posts = [dataclasses.replace(post, text=unmarked(post.text)) for post in posts]
        meta = {"answers": str(len(posts) - 1), "selected": str(any(post.selected for post in posts)).lower()}
        return Shaped(thread_text(posts), meta, "conversation")
