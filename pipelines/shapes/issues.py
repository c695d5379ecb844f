"""Issues and their comments, as StarCoder and StarCoder2 were given them.

    <issue_start>Title: T
    username_0: text<issue_comment>username_1: text ... <issue_closed>

Reference: bigcode-project/bigcode-dataset @ bebec92, preprocessing/filtering_issues.py and utils/utils_issues.py; the
form: The Stack's formatting page and the StarCoder report (arXiv:2305.06161, section 5.1 and table 2).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines.shapes.events import EventError, events_of, thread_of, time_order
from pipelines.shapes.mail import truncated, without_mail
from pipelines.shapes.people import ManyUsersError, check_cost, is_bot, is_issue_bot, names_masker, numbered
from pipelines.shapes.sentinels import unmarked
from pipelines.shapes.shape import Dropped, Shaped

# filtering_issues.py: MIN_CHARS, MAX_CHARS, MAX_EVENTS, MAX_LINES.
MIN_CHARS, MAX_CHARS, MAX_EVENTS, MAX_LINES = 200, 7000, 10, 80
# The StarCoder2 report (arXiv:2402.19173, section 3.1) cuts comments above 100 lines to the first 80 and the last 20.
MAX_LINES_STARCODER2 = 100
TRUNCATED = "[Truncated]"


@dataclasses.dataclass(frozen=True, slots=True)
class Comment:
    """What one user wrote; the first of an issue is its description."""

    author: str
    text: str


def merged_text(comment: str | None, description: str | None) -> str:
    """The one text of an event."""
    return comment or description or ""


def text_size(comments: Sequence[Comment]) -> int:
    """Characters of all texts."""
    return sum(len(each.text) for each in comments)


def kept_of_people(comments: Sequence[Comment]) -> list[int]:
    """Which comments stay when those of bots go, as the reference does it.

    The comment that called a bot (it names the bot, or begins with `/`) goes only where an earlier bot's comment, not
    the first of the issue and not the one before, was removed.
    """
    kept: list[int] = []
    last_removed = 0
    for i, comment in enumerate(comments):
        if not is_issue_bot(comment.author):
            kept.append(i)
            continue
        if 0 < last_removed < i - 1:
            call = comments[i - 1].text
            if comment.author in call or call.startswith("/"):
                kept.pop()
        last_removed = i
    return kept


def kept_of_people_mended(comments: Sequence[Comment]) -> list[int]:
    """`gristmill@1`: bots' names in any case; the comment before a bot's goes whenever it called the bot."""
    bots = [is_bot(each.author) for each in comments]
    kept: list[int] = []
    for i, comment in enumerate(comments):
        if not bots[i]:
            kept.append(i)
        elif kept and kept[-1] == i - 1 and i > 1:
            # Never the description: it is the issue.
            call = comments[i - 1].text
            if ("@" + comment.author.lower().removesuffix("[bot]")) in call.lower() or call.startswith("/"):
                kept.pop()
    return kept


def refused(comments: Sequence[Comment]) -> str | None:
    """Why an issue of that size and of these users is not kept; None: it is."""
    if not comments:
        return "bot_issue"
    size = text_size(comments)
    if size < MIN_CHARS:
        return "short"
    if len({each.author for each in comments}) >= 2:
        return None
    return None if size <= MAX_CHARS and len(comments) <= MAX_EVENTS else "one_user"


def masked(comments: Sequence[Comment]) -> list[Comment]:
    """Users as numbers, as the reference does it; raises ManyUsersError where that would take too long."""
    names = numbered(each.author for each in comments)
    joined = "\n".join(each.text for each in comments)
    check_cost(len(names), len(joined))
    # A name that is nowhere in the texts cannot be replaced, unless it is part of a number written before.
    found = {name: new for name, new in names.items() if name in joined or name in _WRITTEN or _is_near(name)}
    out = []
    for each in comments:
        text = each.text
        for old, new in found.items():
            if old in text:
                text = text.replace(old, new)
        out.append(Comment(names[each.author], text))
    return out


_WRITTEN = "username_0123456789"


def _is_near(name: str) -> bool:
    """Whether text with numbers written into it may hold the name: it begins or ends in one, or holds one."""
    return not name or "username_" in name or any(letter in _WRITTEN for letter in (name[0], name[-1]))


def masked_mended(comments: Sequence[Comment]) -> list[Comment]:
    names = numbered(each.author for each in comments)
    mask = names_masker(names)
    return [Comment(names[each.author], mask(each.text)) for each in comments]


def rendered(title: str, comments: Sequence[Comment], *, closed: bool) -> str:
    """The issue as one text; comments have masked authors."""
    said = [f"{each.author}: {each.text}" for each in comments]
    return f"<issue_start>Title: {title}\n" + "<issue_comment>".join(said) + ("<issue_closed>" if closed else "")


@dataclasses.dataclass(frozen=True)
class Thread:
    """What the events of an issue come to: its title, what was said, and whether it ended closed."""

    title: str
    comments: list[Comment]
    closed: bool


def thread(events: Sequence[Mapping[str, Any]]) -> Thread | None:
    """None where the event that opened it is missing.

    An edited text takes the place of the old one, a deleted comment goes; an event without an author is of `ghost`, as
    the host shows users that are gone.
    """
    opening = title = None
    closed = False
    said: dict[str, Comment] = {}
    for number, event in enumerate(events):
        author = event["actor.login"] or "ghost"
        action, text = event["action"], merged_text(event.get("comment"), event.get("description")) or event["text"]
        if event["type"] == "IssuesEvent":
            if action == "opened" and opening is None:
                opening, title = Comment(author, text or ""), event["title"]
            elif action == "edited" and opening is not None:
                opening = Comment(opening.author, text or "")
                title = event["title"] or title
            if action in ("opened", "reopened", "closed"):
                closed = action == "closed"
        elif event["type"] == "IssueCommentEvent":
            place = str(event.get("comment_id") or f"event {number}")
            if action == "deleted":
                said.pop(place, None)
            elif action == "edited" and place in said:
                said[place] = Comment(said[place].author, text or "")
            else:
                said[place] = Comment(author, text or "")
    if opening is None:
        return None
    return Thread(title or "", [opening, *said.values()], closed)


@dataclasses.dataclass(frozen=True)
class IssueShape:
    """Events of one issue -> its text.

    mended   bots in any case and the comments that called them; names as whole words, in the title, too; spellings of
             special tokens in what users wrote are broken up
    """

    name: str
    max_lines: int = MAX_LINES
    mended: bool = False

    def key(self, row: Mapping[str, Any]) -> str | None:
        return thread_of(row, pull_request=False)

    def order(self, row: Mapping[str, Any]) -> Any:
        return time_order(row)

    def make(self, rows: Sequence[Mapping[str, Any]], seed: int) -> Shaped | Dropped:
        try:
            found = thread(events_of(rows))
        except EventError:
            return Dropped("bad_json")
        if found is None:
            return Dropped("no_opening")
        comments = [
            Comment(each.author, truncated(without_mail(each.text), self.max_lines, TRUNCATED))
            for each in found.comments
        ]
        keep: Callable[[Sequence[Comment]], list[int]] = kept_of_people_mended if self.mended else kept_of_people
        people = [comments[i] for i in keep(comments)]
        reason = refused(people)
        if reason is not None:
            return Dropped(reason)
        title = found.title
        if self.mended:
            mask = names_masker(numbered(each.author for each in people))
            title = unmarked(mask(title))
            spoken = [Comment(each.author, unmarked(each.text)) for each in masked_mended(people)]
        else:
            try:
                spoken = masked(people)
            except ManyUsersError:
                return Dropped("many_users")
        meta = {
            "comments": str(len(spoken)),
            "users": str(len({each.author for each in spoken})),
            "bot_comments": str(len(comments) - len(people)),
        }
        return Shaped(rendered(title, spoken, closed=found.closed), meta, "conversation")
