"""Pull requests: title, talk, the code before, and what changed, as StarCoder2 was given them.

    <pr>Title: T
    username_0: text<pr_status>opened<repo_name>R<pr_base><pr_file>F<pr_base_code>C<pr_diff><pr_file>F<pr_diff_hunk>H
    ... <pr_review>, <pr_review_comment>, <pr_comment> ... <pr>username_0<pr_status>closed<pr_is_merged>True

Reference: bigcode-project/the-stack-v2 @ 9172041, pull_requests_and_issues/render.py and process_pr_events.py; the
StarCoder2 report (arXiv:2402.19173), sections 2.2 and 5.1.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from pipelines.shapes.changed_files import shown
from pipelines.shapes.diffs import DiffTooLargeError, changed_range, hunks
from pipelines.shapes.events import COMMITS, EventError, events_of, thread_of, time_order
from pipelines.shapes.mail import truncated, without_mail
from pipelines.shapes.people import (
    ManyUsersError,
    check_cost,
    is_bot,
    is_pull_request_bot,
    names_masker,
    numbered,
    replace_names,
    speakers,
)
from pipelines.shapes.sentinels import unmarked
from pipelines.shapes.shape import Chance, Draws, Dropped, Shaped, meta_of, whole_number

# RenderParams of render.py.
MIN_TITLE, MAX_TITLE = 10, 500
MIN_TEXT, MAX_TEXT, MAX_TEXT_LINES = 20, 1000, 80
MAX_HUNK = 10_000
WHOLE_BASE = 0.2  # chance
BASE_LINES = 32  # above and below the changed range: 0..31
HUNK_LINES = (3, 10)  # around a change: 3..9
MIN_CHARS, MAX_CHARS = 200, 1_000_000
TITLE_WORDS = ("dependencies", "dependency", "depend", "release")
DATA_KEPT = 0.1  # chance of a file of data whose path has one of these, or that is more than half of the base
DATA_SHARE = 0.5
DATA_PATHS = {
    "YAML": ("pack", "lock", "yarn", "output", "swagger", "openapi"),
    "JSON": ("pack", "lock", "output"),
}
OMITTED, TRUNCATED, NO_DIFFS = "[OMITTED]", "[TRUNCATED]", "[DIFFS OMITTED]"
# A repository that fills the set with copies of one exercise: render.py leaves it out by name.
LEFT_OUT = frozenset(("Chocogrenouille/github-slideshow",))
_CODE_TALK = ("PullRequestReviewCommentEvent", "PullRequestReviewEvent")


class RenderError(ValueError):
    """A rule refused a text, or the pull request."""


@dataclasses.dataclass(frozen=True, slots=True)
class Base:
    """A file before the pull request, as far as it is shown."""

    path: str
    content: str
    language: str
    start: int  # of its lines, from 0


@dataclasses.dataclass(frozen=True, slots=True)
class Rendered:
    text: str
    files: tuple[Base, ...]


def title_line(title: str | None) -> str:
    """`Title: T` and a newline.  Raises RenderError for a title that is short or speaks of dependencies."""
    title = title or ""
    short = truncated(title, MAX_TEXT_LINES, TRUNCATED)
    if len(short) < MIN_TITLE:
        raise RenderError(f"a title of {len(short)} characters")
    small = title.lower()
    if any(word in small for word in TITLE_WORDS):
        raise RenderError("a title on dependencies")
    return f"Title: {short[:MAX_TITLE]}\n"


def said(user: str, text: str | None, *, any_length: bool = False) -> str:
    """`user: text`, without mail and HTML comments, cut.  Raises RenderError for a text that is too short.

    A missing text is the user's name, as in the reference.
    """
    text = without_mail(user if text is None else text)
    if "Qwiet" in text:
        raise RenderError("a report of a service")
    if "codecov" in text.lower():
        return f"{user}: {OMITTED}CodeCov"
    # As the reference: also what stands before a `-->` that nothing opened.
    text = "".join(part.rpartition("-->")[2] for part in text.split("<!--"))
    short = truncated(text, MAX_TEXT_LINES, TRUNCATED)
    if len(short) < MIN_TEXT and not any_length:
        raise RenderError(f"a text of {len(short)} characters")
    return f"{user}: {short[:MAX_TEXT]}" if short else user


def moved_header(header: str, skipped: int) -> str:
    """`@@ -a,n +b,m @@` with lines counted from `skipped`.  Raises RenderError where it is none."""
    try:
        _, lines, rest, *_ = header.split("@@")
        old, new = (part.strip().split(",") for part in lines.strip(" -").split("+"))
        numbers = [int(part[0]) - skipped for part in (old, new)]
        if min(numbers) < 0:
            raise ValueError("before the first line")
    except ValueError as error:
        raise RenderError(f"hunk {header[:80]!r}: {error}") from None
    (old_start, new_start), counts = numbers, ["," + part[1] if len(part) > 1 else "" for part in (old, new)]
    return f"@@ -{old_start}{counts[0]} +{new_start}{counts[1]} @@{rest}"


@dataclasses.dataclass
class _Renderer:
    """One pull request.  draws: None: nothing is random, every number is in the middle."""

    diffs: Sequence[Mapping[str, Any]]
    draws: Chance | None
    mended: bool
    parts: list[str] = dataclasses.field(default_factory=list)
    size: int = 0
    bases: dict[str, Base] | None = None
    head: Any = ""

    def said(self, user: str, text: str | None, *, any_length: bool = False) -> str:
        """As `said`.  mended: without spellings of special tokens, as what was taken out may have parted one."""
        found = said(user, text, any_length=any_length)
        return unmarked(found) if self.mended else found

    def add(self, text: str) -> None:
        self.parts.append(text)
        self.size += len(text)

    def render(self, events: Sequence[Mapping[str, Any]]) -> Rendered:
        """Raises RenderError."""
        self.by_head = {diff["head_commit_id"]: diff for diff in self.diffs}
        for event in events:
            if event["type"] == "PullRequestEvent":
                if event["action"] != "opened" and self.bases is not None:
                    self.add(self.diff(event))
                self.add(self.status(event))
                if self.bases is None and event["action"] in ("opened", "reopened"):
                    self.add(self.base_files())
                    self.add(self.diff(event))
            elif event["type"] in _CODE_TALK:
                if self.bases is not None:
                    self.add(self.diff(event))
                    self.add(self.review(event))
            elif event["type"] == "IssueCommentEvent" and self.mended and self.bases is not None:
                # The reference looks for events of another name here, so that it writes none of them.
                self.add(self.comment(event))
            if self.size > MAX_CHARS:
                raise RenderError(f"{self.size} characters")
        if self.size < MIN_CHARS:
            raise RenderError(f"{self.size} characters")
        return Rendered("".join(self.parts), tuple((self.bases or {}).values()))

    def status(self, event: Mapping[str, Any]) -> str:
        user, action = event["actor.login"] or "", event["action"]
        try:
            if action in ("edited", "opened", "reopened"):
                text = "<pr>" + title_line(event["title"]) + self.said(user, event["text"])
            else:
                text = "<pr>" + user
        except RenderError:
            if action == "opened":
                raise
            return ""
        if action is not None:
            text += f"<pr_status>{action.lower()}"
        if self.bases is None:
            text += f"<repo_name>{event['base_repo_name']}"
        if action == "closed":
            merged = event.get("pull_request.merged")
            text += f"<pr_is_merged>{merged if isinstance(merged, bool | None) or not self.mended else bool(merged)}"
        return text

    def comment(self, event: Mapping[str, Any]) -> str:
        try:
            text = "<pr_comment>" + self.said(event["actor.login"] or "", event["text"])
        except RenderError:
            return ""
        number = whole_number(event.get("comment_id"))
        text += "" if number is None else f"<pr_event_id>{number}"
        return text + (f"<pr_status>{event['action'].lower()}" if event["action"] else "")

    def review(self, event: Mapping[str, Any]) -> str:
        """An event that lacks what it is written from is left out; the reference stops there."""
        user = event["actor.login"] or ""
        number = whole_number(event.get("review_comment.id"))
        if number is None:
            return ""
        try:
            if event["type"] == "PullRequestReviewEvent":
                text = self.said(user, event["text"], any_length=True) if event["text"] else user
                return f"<pr_review>{text}<pr_event_id>{number}<pr_review_state>{event['review.state']}"
            return self.code_comment(event, user, number)
        except RenderError:
            return ""

    def code_comment(self, event: Mapping[str, Any], user: str, number: int) -> str:
        text = f"<pr_review_comment><pr_event_id>{number}"
        for field, mark in (("comment.pull_request_review_id", "review"), ("comment.in_reply_to_id", "comment")):
            replied = whole_number(event.get(field))
            text += "" if replied is None else f"<pr_in_reply_to_{mark}_id>{replied}"
        position, hunk, path = (
            whole_number(event.get("comment.original_position")), event["comment.diff_hunk"], event["comment.path"],
        )  # fmt: skip
        if position is None or hunk is None:
            raise RenderError("no place in the code")
        text += f"<pr_file>{path}<pr_diff_hunk_comment_line>{position}"
        base = (self.bases or {}).get(path or "")
        header, newline, rest = hunk.partition("\n")
        if "@@" in header:
            header = moved_header(header, base.start if base else 0)
        if self.draws is not None:
            self.draws.random()  # whether the hunk is shown whole: always, but the reference draws
        hunk = header + "\n" + rest
        text += "<pr_diff_hunk>" + (hunk if len(hunk) <= MAX_HUNK else OMITTED)
        return text + "<pr_comment>" + self.said(user, event["text"])

    def base_files(self) -> str:
        """The files that any of the commits changed, around what was changed.  Sets `bases`."""
        found: dict[str, _Range] = {}
        total = 0
        for diff in self.diffs:
            for file in _both(diff):
                path, old = file["base_path"], file["base_content"].splitlines()
                change = changed_range(old, file["head_content"].splitlines())
                each = found.setdefault(path, _Range(file["base_content"], _language(file)))
                if change.old_start < each.start or change.old_stop > each.stop:
                    each.start, each.stop = min(each.start, change.old_start), max(each.stop, change.old_stop)
                    size = sum(map(len, old[each.start : each.stop]))
                    total += size - each.size
                    each.size = size
                    if total + self.size > MAX_CHARS:
                        raise RenderError("the changed code is too large")
        bases = {path: self.around(path, each) for path, each in found.items()}
        total = max(1, sum(len(base.content) for base in bases.values()))
        bases = {path: base for path, base in bases.items() if not self.is_left_out(base, total)}
        if not bases or sum(len(base.content) for base in bases.values()) + self.size > MAX_CHARS:
            raise RenderError("no code before the change, or too much")
        self.bases = bases
        return "<pr_base>" + "".join(f"<pr_file>{each.path}<pr_base_code>{each.content}" for each in bases.values())

    def around(self, path: str, each: _Range) -> Base:
        if self.draws is not None and self.draws.random() < WHOLE_BASE:
            return Base(path, each.content, each.language, 0)
        above = below = BASE_LINES // 2
        if self.draws is not None:
            above, below = self.draws.randint(0, BASE_LINES), self.draws.randint(0, BASE_LINES)
        lines = each.content.splitlines()
        start, stop = max(0, each.start - above), min(len(lines), each.stop + below)
        return Base(path, "\n".join(lines[start:stop]), each.language, start)

    def is_left_out(self, base: Base, total: int) -> bool:
        words = DATA_PATHS.get(base.language)
        if words is None or not (any(word in base.path for word in words) or len(base.content) / total > DATA_SHARE):
            return False
        return self.draws is None or self.draws.random() > DATA_KEPT

    def diff(self, event: Mapping[str, Any]) -> str:
        """What changed, where the event speaks of another head than the one before."""
        head = event["head_commit_id"]
        if head == self.head or head is None:
            return ""
        self.head = head
        diff = self.by_head.get(head)
        if diff is None:
            return ""
        if not whole_number(diff.get("num_diff_files", len(diff["head_base_files"]))):
            return "<pr_diff>" + NO_DIFFS
        parts, size = ["<pr_diff>"], self.size
        for file in _both(diff):
            base = (self.bases or {}).get(file["base_path"])
            if base is None:
                continue
            old, new = (file[name].splitlines()[base.start :] for name in ("base_content", "head_content"))
            context = (HUNK_LINES[1] - HUNK_LINES[0]) // 2 if self.draws is None else self.draws.randint(*HUNK_LINES)
            parts.append("<pr_file>" + base.path + hunks(old, new, context, "<pr_diff_hunk>", mended=self.mended))
            size += len(parts[-1])
            if size > MAX_CHARS:
                raise RenderError(f"{size} characters")
        return "".join(parts)


@dataclasses.dataclass
class _Range:
    """A file while its changes are gathered."""

    content: str
    language: str
    start: int = sys.maxsize
    stop: int = 0
    size: int = 0


def _language(file: Mapping[str, Any]) -> str:
    language = file.get("base_language")
    return PurePosixPath(file["base_path"]).name if language is None else str(language)


def _both(diff: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The files of which both versions are known."""
    files = diff.get("head_base_files") or []
    return [each for each in files if each.get("base_content") is not None and each.get("head_content") is not None]


def _unmarked(diff: Mapping[str, Any]) -> dict[str, Any]:
    """The files of a diff without spellings of special tokens; they keep their lines."""
    files = []
    for file in diff.get("head_base_files") or []:
        texts = {name: file.get(name) for name in ("base_path", "base_content", "head_content")}
        files.append({**file, **{name: None if text is None else unmarked(text) for name, text in texts.items()}})
    return {**diff, "head_base_files": files}


def is_merged(events: Sequence[Mapping[str, Any]]) -> bool:
    return any(each.get("pull_request.merged") for each in events)


def is_approved(events: Sequence[Mapping[str, Any]]) -> bool:
    return any(each["type"] == "PullRequestReviewEvent" and each["review.state"] == "approved" for each in events)


def rebases(events: Sequence[Mapping[str, Any]]) -> int:
    """Other bases than the first; a merge brings one along."""
    bases = {each["base_commit_id"] for each in events if each["base_commit_id"] is not None}
    return max(0, len(bases) - 1 - is_merged(events))


def has_first_diff(events: Sequence[Mapping[str, Any]], diffs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the files of the first head and base are known."""
    known = {(each["head_commit_id"], each["base_commit_id"]) for each in diffs}
    heads = [
        (each["created_at"] or "", (each["head_commit_id"], each["base_commit_id"]))
        for each in events
        if each["head_commit_id"] is not None and each["base_commit_id"] is not None
    ]
    return bool(heads) and min(heads)[1] in known


def repository_chance(count: int) -> float:
    """That a pull request of a repository with so many is kept: 0.8 for one, falling to 0.1 at 1,000; from there on
    about 100 of a repository."""
    return -0.0007 * count + 0.8007 if count <= 1000 else 100 / count


def render(
    events: Sequence[Mapping[str, Any]],
    diffs: Sequence[Mapping[str, Any]],
    *,
    repo: str,
    count: int,
    draws: Chance | None,
    mended: bool = False,
) -> Rendered | Dropped:
    """A pull request as text.

    events   in order of time, with the fields of `pipelines.shapes.events`
    diffs    events of type PullRequestCommitEvent
    count    pull requests of the repository
    draws    in the reference's order, so that a RandomState gives the reference's text; None: nothing is random
    """
    if repo in LEFT_OUT:
        return Dropped("not_of_shape")
    if not (is_approved(events) or is_merged(events)):
        return Dropped("unmerged")
    if rebases(events):
        return Dropped("rebased")
    if not diffs or not has_first_diff(events, diffs):
        return Dropped("no_base")
    if draws is not None and draws.random() >= repository_chance(count):
        return Dropped("repository_sample")
    try:
        diffs = [_unmarked(diff) for diff in diffs] if mended else diffs
        return _Renderer(diffs, draws, mended).render(_masked(events, mended))
    except RenderError:
        return Dropped("render_error")
    except DiffTooLargeError:
        return Dropped("diff_too_large")


# Fields of events that a text holds.
_WRITTEN = ("title", "text", "action", "base_repo_name", "review.state", "comment.path", "comment.diff_hunk")


def _masked(events: Sequence[Mapping[str, Any]], mended: bool) -> list[dict[str, Any]]:
    names = numbered(speakers(events, "actor.login"))
    if mended:
        mask = names_masker(names)
    else:
        check_cost(len(names), sum(len(each["text"] or "") for each in events))
    found = []
    for event in events:
        event = dict(event)
        user = event["actor.login"]
        if mended:
            event |= {name: mask(event[name]) for name in ("title", "text") if event[name]}
            event |= {name: unmarked(event[name]) for name in _WRITTEN if event[name]}
        elif user is not None and event["text"]:
            event["text"] = replace_names(event["text"], names)
        event["actor.login"] = None if user is None else names[user]
        found.append(event)
    return found


@dataclasses.dataclass(frozen=True)
class PullRequestShape:
    """Events of one pull request, with the files that its commits changed -> its text.

    `meta` of a document may have pull_requests_in_repo, their number in the repository (missing: 1).
    mended   comments on the thread are written, bots' events are not; names as whole words, in the title, too; hunks at
             the end of a file; spellings of special tokens in what users wrote, in code and in names are broken up
    """

    name: str
    mended: bool = False

    def key(self, row: Mapping[str, Any]) -> str | None:
        return thread_of(row, pull_request=True)

    def order(self, row: Mapping[str, Any]) -> Any:
        return time_order(row)

    def make(self, rows: Sequence[Mapping[str, Any]], seed: int) -> Shaped | Dropped:
        key = self.key(rows[0])
        if key is None:
            return Dropped("not_of_shape")
        try:
            every = events_of(rows)
            for each in every:
                _check(each)
        except EventError:
            return Dropped("bad_json")
        diffs = shown([each for each in every if each["type"] == COMMITS])
        events = [each for each in every if each["type"] != COMMITS]
        reason = self.refused(events)
        if reason is not None:
            return Dropped(reason)
        if self.mended:
            events = [each for each in events if not self.by_bot(each)]
        counts = [whole_number(meta_of(row).get("pull_requests_in_repo")) for row in rows]
        count = max((each for each in counts if each is not None), default=1)
        try:
            found = render(
                events, diffs, repo=key.rpartition("#")[0], count=count, draws=Draws(key, seed), mended=self.mended
            )
        except ManyUsersError:
            return Dropped("many_users")
        if isinstance(found, Dropped):
            return found
        users = len(set(speakers(events, "actor.login")))
        meta = {"events": str(len(events)), "users": str(users), "files": str(len(found.files))}
        return Shaped(found.text, meta, "conversation")

    def by_bot(self, event: Mapping[str, Any]) -> bool:
        """As process_pr_events.py: by the type of the user where it is told, else by the name."""
        told = event.get("user.type")
        if event["type"] in _CODE_TALK and told is not None:
            return bool(told.lower() != "user")
        name = event["actor.login"]
        return is_bot(name) if self.mended else is_pull_request_bot(name)

    def refused(self, events: Sequence[Mapping[str, Any]]) -> str | None:
        """Why a pull request is not even looked at: a bot's, without a description, or without a word of a human beside
        it."""
        own = [each for each in events if each["type"] == "PullRequestEvent"]
        if not own:
            return "no_opening"
        if any(each["action"] == "opened" and self.by_bot(each) for each in own):
            return "bot_opened"
        if not own[0]["text"]:
            return "empty"
        if all(self.by_bot(each) for each in events if each["type"] != "PullRequestEvent"):
            return "no_human_reply"
        return None


def _check(event: Mapping[str, Any]) -> None:
    """Raises EventError where files are not what they should be."""
    files = event.get("head_base_files")
    if files is None:
        return
    texts = ("base_content", "head_content", "base_language")
    if not isinstance(files, list) or not all(
        isinstance(each, dict)
        and isinstance(each.get("base_path"), str)
        and all(isinstance(each.get(name), str | None) for name in texts)
        for each in files
    ):
        raise EventError("head_base_files is no list of files")
