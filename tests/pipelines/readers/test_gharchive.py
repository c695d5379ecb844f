"""Event files of GH Archive: every event once, and the shapes of conversations read them."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.readers import Document, Dropped, Limits, Rejected
from pipelines.readers.gharchive import document_of
from pipelines.readers.records import Refused
from pipelines.shapes.events import events_of, thread_of

SAMPLE = Path(__file__).parents[3] / "recipes" / "samples" / "github" / "2024-01-01-0.json"
PULL_REQUESTS = Path(__file__).parents[2] / "data" / "shapes" / "prs.jsonl.gz"
REPO = {"id": 1, "name": "o/n"}
ANN = {"id": 7, "login": "ann", "type": "User"}
BRANCH = {"sha": "a" * 40, "ref": "x", "repo": {"full_name": "ann/n"}}
PULL = {
    "number": 3, "title": "Pull", "body": "Do it", "user": ANN, "merged": True, "head": BRANCH,
    "base": {"sha": "b" * 40, "repo": {"full_name": "o/n"}}, "author_association": "MEMBER", "html_url": "https://x/3",
}  # fmt: skip
ISSUE = {"number": 2, "title": "Broken", "body": "It fails", "user": ANN, "author_association": "NONE", "state": "open"}
COMMENT = {"id": 55, "body": "Me too", "user": ANN, "author_association": "OWNER"}
CODE = {
    **COMMENT, "path": "a.py", "original_position": 4, "diff_hunk": "@@ -1 +1 @@", "pull_request_review_id": 9,
    "in_reply_to_id": 8,
}  # fmt: skip
PAYLOADS: dict[str, dict[str, Any]] = {
    "IssuesEvent": {"action": "opened", "issue": ISSUE},
    "IssueCommentEvent": {"action": "created", "issue": ISSUE, "comment": COMMENT},
    "PullRequestEvent": {"action": "closed", "number": 3, "pull_request": PULL},
    "PullRequestReviewEvent": {"action": "created", "pull_request": PULL,
                               "review": {"id": 9, "body": "Fine", "state": "approved", "user": ANN}},
    "PullRequestReviewCommentEvent": {"action": "created", "pull_request": PULL, "comment": CODE},
    "CommitCommentEvent": {"action": "created", "comment": {**CODE, "commit_id": "c" * 40}},
}  # fmt: skip


def event(kind: str, number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": str(number), "type": kind, "actor": ANN, "repo": REPO, "payload": PAYLOADS.get(kind, {}), "public": True,
        "created_at": "2024-01-01T00:00:00Z", **changes,
    }  # fmt: skip


def write(path: Path, *lines: Any) -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_every_type(tmp_path: Path, read_all: Any) -> None:
    path = write(tmp_path / "2024-01-01-0.json.gz", *(event(kind, i) for i, kind in enumerate(PAYLOADS)))
    items = read_all(path, "gharchive")
    assert [item.locator for item in items] == [f"2024-01-01-0.json.gz#{i + 1}" for i in range(6)]
    assert {item.kind for item in items} == {"event"} and {item.repo for item in items} == {"o/n"}
    by_type = {item.meta["type"]: (item, json.loads(item.text)) for item in items}
    threads = {kind: item.meta.get("thread") for kind, (item, _) in by_type.items()}
    assert threads == {
        "IssuesEvent": "o/n#2", "IssueCommentEvent": "o/n#2", "PullRequestEvent": "o/n#3",
        "PullRequestReviewEvent": "o/n#3", "PullRequestReviewCommentEvent": "o/n#3", "CommitCommentEvent": None,
    }  # fmt: skip
    item, told = by_type["IssuesEvent"]
    assert item.meta == {
        "type": "IssuesEvent", "thread": "o/n#2", "number": "2", "action": "opened", "actor": "ann", "event_id": "0",
        "created_at": "2024-01-01T00:00:00Z", "author_association": "NONE", "is_pull_request": "false",
    }  # fmt: skip
    assert (told["title"], told["text"], told["user.type"]) == ("Broken", "It fails", "User")
    assert by_type["IssueCommentEvent"][1]["comment_id"] == 55 and by_type["IssueCommentEvent"][1]["text"] == "Me too"
    pull = by_type["PullRequestEvent"][1]
    assert pull["pull_request.merged"] is True and pull["head_commit_id"] == "a" * 40
    assert (pull["head_repo_name"], pull["base_repo_name"], pull["text"]) == ("ann/n", "o/n", "Do it")
    review = by_type["PullRequestReviewEvent"][1]
    assert (review["review.state"], review["review_comment.id"], review["text"]) == ("approved", 9, "Fine")
    talk = by_type["PullRequestReviewCommentEvent"][1]
    assert (talk["comment.path"], talk["comment.original_position"], talk["comment.in_reply_to_id"]) == ("a.py", 4, 8)
    assert talk["comment.pull_request_review_id"] == 9 and talk["comment.diff_hunk"].startswith("@@")
    assert by_type["CommitCommentEvent"][0].commit == "c" * 40


def test_shapes_read_them(tmp_path: Path, read_all: Any) -> None:
    on_pull = {"action": "created", "issue": {**ISSUE, "number": 3, "pull_request": {"url": "x"}}, "comment": COMMENT}
    path = write(tmp_path / "a.json", *(event(kind, i) for i, kind in enumerate(PAYLOADS)),
                 event("IssueCommentEvent", 77, payload=on_pull))  # fmt: skip
    rows = [
        {"text": d.text, "kind": d.kind, "meta": d.meta, "repo": d.repo, "doc_id": d.doc_id}
        for d in read_all(path, "gharchive")
    ]
    assert Counter(thread_of(row, pull_request=True) for row in rows) == {"o/n#3": 4, None: 3}
    assert Counter(thread_of(row, pull_request=False) for row in rows) == {"o/n#2": 2, None: 5}
    assert len(events_of(row for row in rows if row["meta"]["type"] != "CommitCommentEvent")) == 6
    assert Counter(item.kind for item in read_all(path, "gharchive", options=(("commit_comments", False),))
                   if isinstance(item, Document)) == {"event": 6}  # fmt: skip


def payload_of(told: dict[str, Any], number: int) -> dict[str, Any]:
    """What GitHub would send for an event of the golden pull requests."""
    user = {"login": told["actor.login"], "type": told.get("user.type")}
    pull = {
        "number": number, "merged": told["pull_request.merged"],
        "head": {"sha": told["head_commit_id"], "repo": {"full_name": told["head_repo_name"]}},
        "base": {"sha": told["base_commit_id"], "repo": {"full_name": told["base_repo_name"]}},
    }  # fmt: skip
    said = {
        "id": told["comment_id"] or told["review_comment.id"], "body": told["text"], "user": user,
        "state": told["review.state"], "pull_request_review_id": told["comment.pull_request_review_id"],
        "in_reply_to_id": told["comment.in_reply_to_id"], "path": told["comment.path"],
        "original_position": told["comment.original_position"], "diff_hunk": told["comment.diff_hunk"],
    }  # fmt: skip
    key = {"PullRequestEvent": "pull_request", "PullRequestReviewEvent": "review"}.get(told["type"], "comment")
    subject = {"issue": {"number": number, "title": told["title"], "pull_request": {"url": "x"}}}
    if told["type"] != "IssueCommentEvent":
        subject = {"pull_request": {**pull, "title": told["title"]}}
    if key == "pull_request":
        subject["pull_request"].update(body=told["text"], user=user)
        return {"action": told["action"], **subject}
    return {"action": told["action"], **subject, key: said}


def test_golden_pull_requests_survive_the_way_through_github(tmp_path: Path, read_all: Any) -> None:
    with gzip.open(PULL_REQUESTS, "rt") as file:
        pulls = [json.loads(line) for line in file]
    given_ = []
    for number, pull in enumerate(pulls):
        for told in pull["events"]:
            assert told["type"] in PAYLOADS
            given_.append((number, pull["guid"].partition("/pull/")[0], told))
    lines = [
        event(told["type"], i, payload=payload_of(told, number), repo={"name": repo}, created_at=told["created_at"],
              actor={"login": told["actor.login"]})
        for i, (number, repo, told) in enumerate(given_)
    ]  # fmt: skip
    rows = [
        {"text": d.text, "kind": d.kind, "meta": d.meta, "repo": d.repo, "doc_id": d.doc_id}
        for d in read_all(write(tmp_path / "a.json.gz", *lines), "gharchive")
    ]
    assert len(rows) == len(given_) > 60
    for row, found, (number, repo, told) in zip(rows, events_of(rows), given_, strict=True):
        assert thread_of(row, pull_request=True) == f"{repo}#{number}"
        known = {name: value for name, value in told.items() if value is not None}
        if told["type"] == "IssueCommentEvent":  # its payload does not tell of branches
            known = {name: value for name, value in known.items() if not name.endswith(("_repo_name", "commit_id"))}
        assert {name: found.get(name) for name in known} == known


@pytest.mark.skipif(not SAMPLE.exists(), reason="no sample events")
def test_the_sample(read_all: Any) -> None:
    items = read_all(SAMPLE, "gharchive")
    assert items and not [item for item in items if isinstance(item, Rejected)]
    assert len(items) == sum(1 for line in SAMPLE.read_text().splitlines() if line.strip())


def test_bad_lines(tmp_path: Path, read_all: Any) -> None:
    old = {"type": "IssuesEvent", "actor": "ann", "repository": {"name": "n", "owner": "o"}, "payload": {"issue": 5}}
    good = event("IssuesEvent", 1)
    path = write(
        tmp_path / "a.json", good, good, event("PushEvent", 2), old, "{", "[]", "3", '{"type": 3}', "[" * 100_000,
        event("IssuesEvent", 3, payload={}), event("IssuesEvent", 4, repo=None), event("IssuesEvent", 5, payload=[1]),
        event("IssuesEvent", 6, payload={"issue": {"number": 2, "body": 3}}), event("IssuesEvent", 7, id={"a": 1}),
        event("IssuesEvent", 8, payload={"issue": {"title": "no number"}}), "", "  ", event("IssuesEvent", 9),
    )  # fmt: skip
    with path.open("ab") as file:
        file.write(b'{"type": "\xff"}\n' + json.dumps(event("IssuesEvent", 10)).encode())
    items = read_all(path, "gharchive")
    found = [
        item.error if isinstance(item, Rejected) else item.reason if isinstance(item, Dropped) else "" for item in items
    ]
    assert found == [
        "", "duplicate_event", "other_event", "unsupported", *["bad_json"] * 8, "bad_json", "invalid_id", "bad_json",
        "", "undecodable", "",
    ]  # fmt: skip


def test_lone_surrogates_and_nul(tmp_path: Path, read_all: Any) -> None:
    issue = {**ISSUE, "title": "a\ud800b", "body": "x\0y"}
    (item,) = read_all(
        write(tmp_path / "a.json", event("IssuesEvent", payload={"action": "opened", "issue": issue})), "gharchive"
    )
    told = json.loads(item.text)
    assert (told["title"], told["text"]) == ("a\ufffdb", "x\ufffdy")
    item.text.encode()


def test_a_cut_file_a_bomb_and_a_long_line(tmp_path: Path, read_all: Any) -> None:
    whole = gzip.compress(b"".join(json.dumps(event("IssuesEvent", i)).encode() + b"\n" for i in range(2000)))
    (tmp_path / "cut.json.gz").write_bytes(whole[: len(whole) // 2])
    items = read_all(tmp_path / "cut.json.gz", "gharchive")
    assert len(items) > 100 and isinstance(items[0], Document)
    assert isinstance(items[-1], Rejected) and items[-1].error == "truncated"
    (tmp_path / "bomb.json.gz").write_bytes(gzip.compress(b" " * 40_000_000))
    (item,) = read_all(tmp_path / "bomb.json.gz", "gharchive", Limits(max_item_bytes=1 << 20))[-1:]
    assert isinstance(item, Rejected) and item.error in ("zip_bomb", "too_large")


@pytest.mark.parametrize("size", [1 << 26, pytest.param(1 << 30, marks=pytest.mark.slow)])
def test_one_line_of_a_gigabyte(tmp_path: Path, read_all: Any, size: int) -> None:
    with (tmp_path / "long.json").open("wb") as file:  # of which the disk holds nothing
        file.truncate(size)
        file.seek(0, 2)
        file.write(b"\n" + json.dumps(event("IssuesEvent")).encode())
    items = read_all(tmp_path / "long.json", "gharchive", Limits(max_item_bytes=1 << 20))
    assert [getattr(item, "error", "") for item in items] == ["too_large", ""]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["number", "body", "user", "login"]), inner)
    ),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(sorted(PAYLOADS)), st.sampled_from(["issue", "comment", "pull_request", "review", "action"]), JSON
)
def test_any_payload_is_a_document_or_refused(kind: str, key: str, value: Any) -> None:
    made = event(kind, payload={**PAYLOADS[kind], key: value})
    try:
        document = document_of(made, "a#1", "s", None)
    except Refused as refused:
        assert refused.error == "bad_json"
    else:
        assert json.loads(document.text)["type"] == kind
        assert all(isinstance(each, str) for each in document.meta.values())
