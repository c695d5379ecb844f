"""Events of issues and pull requests, as documents and as the shapes read them.

A document of kind `event` holds one event: `text` is a JSON object with the fields below (what is not known is null or
missing), `repo` its repository, and `meta` has

    thread     owner/name#number, what the event belongs to
    type       of the event, as below

    type                               IssuesEvent, IssueCommentEvent, PullRequestEvent, PullRequestReviewEvent,
                                       PullRequestReviewCommentEvent or PullRequestCommitEvent
    id                                 of the event
    is_pull_request                    of comments, whose type does not tell
    actor.login, user.type             who; `User`, `Bot`, ... where the event says so
    action                             opened, edited, closed, reopened, created, deleted, ...
    title, text                        of the issue, pull request, review or comment
    created_at                         ISO 8601 in UTC, so that its order is that of the text
    comment_id                         of a comment on the thread
    head_commit_id, base_commit_id, head_repo_name, base_repo_name, pull_request.merged
    review.state, review_comment.id    a review and its id; a comment on code has its id in review_comment.id, too
    comment.pull_request_review_id, comment.in_reply_to_id, comment.path, comment.original_position, comment.diff_hunk
    num_diff_files, head_base_files    of PullRequestCommitEvent: the files that differ between base and head, each
                                       with base_path, base_content, head_content, base_language

In the payloads of GH Archive: title and text are `title` and `body` of the issue, pull request, review or comment;
is_pull_request is whether `issue.pull_request` is there; comment_id is `comment.id` of an IssueCommentEvent,
review_comment.id is `review.id` or `comment.id` of the events of a review; head_commit_id and base_commit_id are
`pull_request.head.sha` and `.base.sha`, the names of repositories `.repo.full_name` beside them; user.type is that of
`review.user` or `comment.user`; meta.type, meta.thread and meta.created_at say what the JSON says.

The names are those of the tables from which StarCoder2 took its pull requests (bigcode-project/the-stack-v2 @ 9172041,
pull_requests_and_issues).  A document of kind `event` that is none is rejected by the shape as `bad_json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.shapes.shape import meta_of

KIND = "event"
COMMITS = "PullRequestCommitEvent"
PULL_REQUEST_TYPES = frozenset(("PullRequestEvent", "PullRequestReviewEvent", "PullRequestReviewCommentEvent", COMMITS))
ISSUE_TYPES = frozenset(("IssuesEvent", "IssueCommentEvent"))
TYPES = PULL_REQUEST_TYPES | ISSUE_TYPES
_TEXTS = (
    "type actor.login action title text created_at head_commit_id base_commit_id head_repo_name base_repo_name "
    "review.state user.type comment.path comment.diff_hunk"
).split()


class EventError(ValueError):
    """A document that is no event."""


def event_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an event.  Raises EventError where the text is no JSON object, or a text in it is none."""
    try:
        event = json.loads(row["text"])
    except (ValueError, RecursionError) as error:
        raise EventError(f"document {row.get('doc_id')}: {type(error).__name__}: {error}") from None
    if not isinstance(event, dict):
        raise EventError(f"document {row.get('doc_id')}: a JSON {type(event).__name__} where an object is expected")
    event.setdefault("type", meta_of(row).get("type"))
    if event["type"] not in TYPES:
        raise EventError(f"document {row.get('doc_id')}: type {event['type']!r}, known: {', '.join(sorted(TYPES))}")
    for name in _TEXTS:
        if not isinstance(event.setdefault(name, None), str | None):
            raise EventError(f"document {row.get('doc_id')}: {name} is {type(event[name]).__name__}, expected a text")
    return event


def events_of(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of all rows; an event that came twice (equal `id`) once."""
    found = []
    seen = set()
    for row in rows:
        event = event_of(row)
        identity = event.get("id")
        if identity is not None:
            if str(identity) in seen:
                continue
            seen.add(str(identity))
        found.append(event)
    return found


def thread_of(row: Mapping[str, Any], *, pull_request: bool) -> str | None:
    """The thread of a document that is an event of a pull request (or else of an issue); None for others."""
    if row.get("kind") != KIND:
        return None
    meta = meta_of(row)
    if not meta.get("thread") or meta.get("type", "IssuesEvent") not in TYPES:
        return None
    return meta["thread"] if _is_of_pull_request(row, meta) == pull_request else None


def _is_of_pull_request(row: Mapping[str, Any], meta: Mapping[str, str]) -> bool:
    kind = meta.get("type")
    if kind in PULL_REQUEST_TYPES:
        return True
    told: Any = meta.get("is_pull_request")
    if told is None and "is_pull_request" in row["text"]:
        try:
            told = json.loads(row["text"]).get("is_pull_request")
        except (ValueError, AttributeError, RecursionError):
            told = None
    return str(told).lower() == "true"


def time_order(row: Mapping[str, Any]) -> list[str]:
    """[time, id]: events stand in the order in which they happened."""
    meta = meta_of(row)
    return [meta.get("created_at") or row.get("timestamp") or "", str(row.get("doc_id"))]


def opening_number(events: Sequence[Mapping[str, Any]]) -> int | None:
    """Which event opened the thread; None: it is not there."""
    return next((i for i, each in enumerate(events) if each["action"] == "opened"), None)
