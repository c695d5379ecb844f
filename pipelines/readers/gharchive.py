"""Hourly files of GH Archive to one document an event of issues, pull requests and comments.

The text is JSON with the fields of `pipelines.shapes.events`, which the shapes of conversations read.  Payloads:
docs.github.com, "GitHub event types"; the format of before 2015 (Timeline API) has numbers where these have issues.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from pipelines.readers.jsonl import read_objects
from pipelines.readers.records import Document, Dropped, Item, Refused, Skipped, safe_text
from pipelines.readers.units import UnitFile

if TYPE_CHECKING:
    from pipelines.readers.reading import Reading

KIND = "event"
COMMIT_COMMENT = "CommitCommentEvent"
TYPES = frozenset({
    "IssuesEvent", "IssueCommentEvent", "PullRequestEvent", "PullRequestReviewEvent", "PullRequestReviewCommentEvent",
    COMMIT_COMMENT,
})  # fmt: skip
_encoded = json.JSONEncoder(ensure_ascii=False).encode
# What of the payload the event is about, and where what it says stands.
_SUBJECT = {
    "IssuesEvent": "issue", "IssueCommentEvent": "issue", COMMIT_COMMENT: "comment",
    "PullRequestEvent": "pull_request", "PullRequestReviewEvent": "pull_request",
    "PullRequestReviewCommentEvent": "pull_request",
}  # fmt: skip
_SAID = {
    "IssuesEvent": "issue", "IssueCommentEvent": "comment", COMMIT_COMMENT: "comment",
    "PullRequestEvent": "pull_request", "PullRequestReviewEvent": "review",
    "PullRequestReviewCommentEvent": "comment",
}  # fmt: skip


def read_events(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """Locator: `name#line`, counted from 1.  Blank lines are no items.  Memory: one line, and about 100 bytes an event.

    Events of other types are dropped, as is one whose id came before in the file; the shapes leave out those that came
    in another file.  Option `clones`: the first event of each head and base of a pull request is followed by one with
    the files that differ, of locator `name#line+head`.
    """
    seen: set[str] = set()

    def make(event: dict[str, Any], locator: str) -> Item:
        identity = _wanted(event, reading.options["commit_comments"])
        if identity in seen:
            return Dropped(locator, "duplicate_event")
        document = document_of(event, locator, reading.unit.source, reading.unit.document_kind)
        if identity:
            seen.add(identity)
        return document

    items = read_objects(raw, file.name, reading.limits, make)
    return items if reading.options["clones"] is None else _with_versions(items, reading)


def _with_versions(items: Iterator[Item], reading: Reading) -> Iterator[Item]:
    from pipelines.readers.gharchive_files import Clones

    place = reading.unit.resolve(reading.options["clones"])
    with contextlib.closing(Clones(place, reading)) as clones:
        for item in items:
            yield item
            if isinstance(item, Document):
                yield from clones.versions(item)


def _wanted(event: Mapping[str, Any], commit_comments: bool) -> str | None:
    """The id of an event that is read; raises Skipped and Refused for others."""
    kind = event.get("type")
    if not isinstance(kind, str):
        raise Refused("bad_json", "an event without a type")
    if kind not in TYPES or kind == COMMIT_COMMENT and not commit_comments:
        raise Skipped("other_event")
    if "repository" in event or not isinstance(event.get("actor"), dict | None):
        raise Refused("unsupported", "an event of the format of before 2015")
    identity = event.get("id")
    if not isinstance(identity, str | int | None) or isinstance(identity, bool):
        raise Refused("invalid_id", f"the id of an event is {type(identity).__name__}")
    return None if identity is None else str(identity)


class _Part:
    """An object of an event, whose fields are text, numbers, objects or missing."""

    def __init__(self, value: Any, name: str) -> None:
        if value is not None and not isinstance(value, dict):
            raise Refused("bad_json", f"{name} is {type(value).__name__}, expected an object")
        self._value: dict[str, Any] = value or {}
        self._name = name

    def __bool__(self) -> bool:
        return bool(self._value)

    def part(self, key: str) -> _Part:
        return _Part(self._value.get(key), f"{self._name}.{key}")

    def text(self, key: str) -> str | None:
        """Without lone surrogates and NUL."""
        value = self._value.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            raise Refused("bad_json", f"{self._name}.{key} is {type(value).__name__}, expected a text")
        return safe_text(value)[0]

    def number(self, key: str) -> int | None:
        value = self._value.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def flag(self, key: str) -> bool | None:
        value = self._value.get(key)
        return value if isinstance(value, bool) else None

    def has(self, key: str) -> bool:
        return bool(self._value.get(key))


def document_of(event: Mapping[str, Any], locator: str, source: str, document_kind: str | None) -> Document:
    """An event of TYPES; raises Refused('bad_json') where a field is not what GitHub says."""
    top = _Part(dict(event), "event")
    kind = str(event["type"])
    payload = top.part("payload")
    subject, said = payload.part(_SUBJECT[kind]), payload.part(_SAID[kind])
    repo = top.part("repo").text("name")
    if not repo or not subject or not said:
        raise Refused("bad_json", f"{kind} without {'a repository' if not repo else _SAID[kind]}")
    number = subject.number("number") if kind != COMMIT_COMMENT else None
    if number is None and kind != COMMIT_COMMENT:
        raise Refused("bad_json", f"{kind} without a number")
    is_pull_request = _SUBJECT[kind] == "pull_request" or kind == "IssueCommentEvent" and subject.has("pull_request")
    login = top.part("actor").text("login") or said.part("user").text("login")
    created = top.text("created_at")
    fields: dict[str, Any] = {
        "type": kind,
        "id": _plain(event.get("id")),
        "is_pull_request": is_pull_request,
        "actor.login": login,
        "user.type": said.part("user").text("type"),
        "author_association": said.text("author_association"),
        "action": payload.text("action"),
        "title": subject.text("title") if kind != COMMIT_COMMENT else None,
        "text": said.text("body"),
        "created_at": created,
    }
    if kind in ("IssueCommentEvent", COMMIT_COMMENT):
        fields["comment_id"] = said.number("id")
    if kind == "IssuesEvent":
        fields["state"] = subject.text("state")
    if _SUBJECT[kind] == "pull_request":
        fields |= _pull_request(subject, repo)
    if kind == "PullRequestReviewEvent":
        fields |= {"review.state": said.text("state"), "review_comment.id": said.number("id")}
    if kind == "PullRequestReviewCommentEvent":
        fields |= {
            "review_comment.id": said.number("id"),
            "comment.pull_request_review_id": said.number("pull_request_review_id"),
            "comment.in_reply_to_id": said.number("in_reply_to_id"),
        }
    if kind in ("PullRequestReviewCommentEvent", COMMIT_COMMENT):
        fields |= {
            "comment.path": said.text("path"),
            "comment.original_position": said.number("original_position"),
            "comment.diff_hunk": said.text("diff_hunk"),
        }
    return Document(
        locator=locator, source=source, kind=document_kind or KIND, text=_encoded(fields),
        url=said.text("html_url") or subject.text("html_url"), repo=repo, path=fields.get("comment.path"),
        commit=said.text("commit_id") if kind == COMMIT_COMMENT else fields.get("head_commit_id"),
        timestamp=created, mime="application/json",
        meta={key: value for key, value in {
            "type": kind, "thread": f"{repo}#{number}" if number is not None else None,
            "number": None if number is None else str(number), "action": fields["action"], "actor": login,
            "created_at": created, "author_association": fields["author_association"],
            "event_id": None if fields["id"] is None else str(fields["id"]),
            "is_pull_request": str(is_pull_request).lower(),
        }.items() if value},
    )  # fmt: skip


def _plain(identity: Any) -> Any:
    return safe_text(identity)[0] if isinstance(identity, str) else identity


def _pull_request(subject: _Part, repo: str) -> dict[str, Any]:
    head, base = subject.part("head"), subject.part("base")
    return {
        "head_commit_id": head.text("sha"),
        "base_commit_id": base.text("sha"),
        "head_repo_name": head.part("repo").text("full_name") or head.part("repo").text("name"),
        "base_repo_name": base.part("repo").text("full_name") or repo,
        "pull_request.merged": subject.flag("merged"),
    }
