"""What the readers write is what the shapes read."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from pipelines.readers.gharchive import document_of
from pipelines.shapes import SHAPES, Dropped, Shaped
from pipelines.shapes.events import EventError, event_of, events_of, thread_of

BODY = "The program stops when the file is empty, and says nothing at all about it. " * 3


def row(number: int, kind: str, who: str, payload: dict[str, Any]) -> dict[str, Any]:
    """The document that the reader of GH Archive makes of an event."""
    event = {
        "id": str(number), "type": kind, "actor": {"login": who}, "repo": {"name": "o/r"}, "payload": payload,
        "created_at": f"2022-01-01T00:00:{number:02d}Z",
    }  # fmt: skip
    document = document_of(event, f"f#{number}", "gh", None)
    return {
        "doc_id": f"e{number}",
        **{field.name: getattr(document, field.name) for field in dataclasses.fields(document)},
    }


def test_an_issue_of_gh_archive() -> None:
    issue = {"number": 7, "title": "It stops", "body": BODY, "state": "open", "user": {"login": "ann"}}
    comment = {"id": 5, "body": "Seen by @ann, too", "user": {"login": "bob", "type": "User"}}
    rows = [
        row(1, "IssueCommentEvent", "bob", {"action": "created", "issue": issue, "comment": comment}),
        row(0, "IssuesEvent", "ann", {"action": "opened", "issue": issue}),
        row(2, "IssuesEvent", "ann", {"action": "closed", "issue": issue}),
    ]
    shape = SHAPES["gristmill_issue@1"]
    assert {shape.key(each) for each in rows} == {"o/r#7"}
    assert {SHAPES["starcoder2_pull_request@1"].key(each) for each in rows} == {None}
    made = shape.make(sorted(rows, key=shape.order), 0)
    assert isinstance(made, Shaped) and made.text == (
        f"<issue_start>Title: It stops\nusername_0: {BODY.strip()}<issue_comment>username_1: Seen by @username_0, too"
        "<issue_closed>"
    )


def test_a_pull_request_of_gh_archive() -> None:
    sides = {side: {"sha": side[0], "repo": {"full_name": f"{side}/r"}} for side in ("head", "base")}
    pull = {"number": 8, "title": "Make it go on", "body": BODY, "merged": True, "user": {"login": "ann"}, **sides}
    review = {"id": 3, "body": None, "state": "approved", "user": {"login": "bob", "type": "User"}}
    remark = {"id": 4, "body": "Why not sooner, I ask", "path": "a.py", "original_position": 1,
              "diff_hunk": "@@ -1 +1 @@\n-a\n+b", "user": {"login": "bob"}}  # fmt: skip
    talk = {"id": 9, "body": "I said so, more than once"}
    issue = {"number": 8, "title": "t", "pull_request": {"url": "u"}}
    files = [{"base_path": "a.py", "base_content": "a\nx\n", "head_content": "b\nx\n", "base_language": "Python"}]
    commits = {
        "type": "PullRequestCommitEvent", "head_commit_id": "h", "base_commit_id": "b", "head_base_files": files,
    }  # fmt: skip
    rows = [
        row(0, "PullRequestEvent", "ann", {"action": "opened", "pull_request": pull}),
        row(1, "PullRequestReviewCommentEvent", "bob", {"action": "created", "pull_request": pull, "comment": remark}),
        row(2, "IssueCommentEvent", "bob", {"action": "created", "issue": issue, "comment": talk}),
        row(3, "PullRequestReviewEvent", "bob", {"action": "created", "pull_request": pull, "review": review}),
        row(4, "PullRequestEvent", "ann", {"action": "closed", "pull_request": pull}),
    ]
    meta = {"thread": "o/r#8", "type": "PullRequestCommitEvent", "created_at": "2022-01-01T00:00:00Z"}
    rows.append({"doc_id": "c", "kind": "event", "text": json.dumps(commits), "meta": meta})
    shape = SHAPES["gristmill_pull_request@1"]
    assert {shape.key(each) for each in rows} == {"o/r#8"}
    assert {SHAPES["starcoder_issue@1"].key(each) for each in rows} == {None}
    made = next(
        found for seed in range(20)
        if (found := shape.make(sorted(rows, key=shape.order), seed)) != Dropped("repository_sample")
    )  # fmt: skip
    assert isinstance(made, Shaped)
    for part in (
        "<pr>Title: Make it go on\nusername_0: The program stops",
        "<repo_name>base/r<pr_base><pr_file>a.py", "-a\n+b\n",
        "<pr_event_id>4<pr_file>a.py<pr_diff_hunk_comment_line>1<pr_diff_hunk>@@ -1 +1 @@\n-a\n+b",
        "<pr_comment>username_1: I said so, more than once<pr_event_id>9", "<pr_review_state>approved",
        "<pr_is_merged>True",
    ):  # fmt: skip
        assert part in made.text, part


def test_comments_on_commits_are_of_no_thread() -> None:
    comment = {"id": 1, "body": "text", "commit_id": "c", "path": "a.py"}
    found = row(0, "CommitCommentEvent", "ann", {"comment": comment})
    assert thread_of(found, pull_request=False) is None and thread_of(found, pull_request=True) is None
    found["meta"] = {**found["meta"], "thread": "o/r#1"}
    assert thread_of(found, pull_request=False) is None


def test_an_event_counts_once_and_errors_name_the_field() -> None:
    document = {"doc_id": "d", "text": json.dumps({"id": 1, "type": "IssuesEvent"}), "meta": {}}
    assert len(events_of([document, document])) == 1
    for text, message in (
        ('{"type": "IssuesEvent", "title": 5}', "document d: title is int, expected a text"),
        ("7", "a JSON int where an object is expected"),
        ('{"type": "PushEvent"}', "type 'PushEvent', known: IssueCommentEvent, IssuesEvent"),
        ("{", "JSONDecodeError"),
    ):
        with pytest.raises(EventError, match=message):
            event_of({**document, "text": text})
