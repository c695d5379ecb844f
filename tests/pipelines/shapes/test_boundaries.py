"""Marks in a text are those that its shape wrote: no document can forge one under `gristmill_*@1`."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.shapes import SHAPES, Shaped
from pipelines.shapes.sentinels import TOKENS

MARKS = re.compile("|".join(map(re.escape, TOKENS)))
WORDS = "As was said before, all of this is long enough to be kept. "
# What a shape takes out of a text: markup, comments, breaks, heading signs; two halves may meet where it stood.
TAKEN_OUT = ("", "<!-- x -->", "<!--", "-->", "<b>", "\n", "#", " ", "<")


@st.composite
def poison(draw: st.DrawFn) -> str:
    pieces = []
    for token in draw(st.lists(st.sampled_from(TOKENS), min_size=1, max_size=4)):
        cut = draw(st.integers(0, len(token)))
        pieces.append(token[:cut] + draw(st.sampled_from(TAKEN_OUT)) + token[cut:])
    return draw(st.sampled_from(["", " ", "\n"])).join(pieces)


def row(number: int, text: str, kind: str, meta: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    return {"doc_id": f"d{number}", "source": "s", "kind": kind, "text": text, "meta": meta or {}, **more}


def files(bad: str) -> list[dict[str, Any]]:
    one_line = bad.replace("\n", "")
    return [row(i, f"{WORDS}{bad}", "code", repo=f"o/r{one_line}", path=f"{i}{one_line}.py") for i in range(2)]


def single(bad: str) -> list[dict[str, Any]]:
    return files(bad)[:1]


def commit(bad: str) -> list[dict[str, Any]]:
    old = "\n".join(f"line {i}" for i in range(30))
    new = old.replace("line 9\n", f"{bad}\nother\n").replace("line 3\n", "")
    file = {"path": "a.py", "old": f"{bad}\n{old}", "new": f"{bad}\n{new}"}
    subject = f"Mend what was wrong with {bad} of the lines"
    return [row(0, json.dumps({"subject": subject, "message": "", "files": [file]}), "commit", repo="o/r")]


def event(number: int, kind: str, who: str | None, **more: Any) -> dict[str, Any]:
    meta = {"thread": "o/r#7", "type": kind, "created_at": f"2022-01-01T00:00:{number:02d}Z"}
    return row(number, json.dumps({"id": number, "type": kind, "actor.login": who, **more}), "event", meta)


def issue(bad: str) -> list[dict[str, Any]]:
    said = WORDS * 3 + bad + WORDS * 3
    return [
        event(0, "IssuesEvent", f"ann{bad}", action="opened", title=f"A title {bad}", text=said),
        event(1, "IssueCommentEvent", "bob", action="created", text=bad + said, comment_id=1),
        event(2, "IssuesEvent", "bob", action="closed"),
    ]


def pull_request(bad: str) -> list[dict[str, Any]]:
    commits = {"head_commit_id": "h", "base_commit_id": "b", "base_repo_name": f"o/r{bad}"}
    base = "\n".join([bad, *(f"line {i}" for i in range(40)), bad])
    head = base.replace("line 20\n", f"{bad}\nline twenty\n").replace("line 9\n", "line nine\n")
    path = "a" + bad.replace("\n", "") + ".py"
    changed = [{"base_path": path, "base_content": base, "head_content": head, "base_language": "Python"}]
    said = WORDS + bad + WORDS
    hunk = f"@@ -1,2 +1,2 @@ {bad}\n {bad}\n-x"
    code = {"comment.path": path, "comment.original_position": 2, "comment.diff_hunk": hunk, "review_comment.id": 4}
    return [
        event(0, "PullRequestEvent", "ann", action="opened", title=f"Make it {bad}", text=said, **commits),
        event(1, "PullRequestCommitEvent", None, head_base_files=changed, num_diff_files=1, **commits),
        event(2, "IssueCommentEvent", "bob", action="created" + bad, text=said, comment_id=5,
              is_pull_request=True),
        event(3, "PullRequestReviewCommentEvent", "bob", text=said, **code),
        event(4, "PullRequestReviewEvent", "bob", **{"review.state": "approved", "review_comment.id": 9}, text=bad),
        event(5, "PullRequestReviewEvent", "eve", **{"review.state": bad, "review_comment.id": 9}, text=""),
        event(6, "PullRequestEvent", "ann", action="closed", **commits, **{"pull_request.merged": [bad]}),
    ]  # fmt: skip


def notebook(bad: str) -> list[dict[str, Any]]:
    code = "model = fit(data)\n" * 9
    written = json.dumps(bad)
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "source": f"{WORDS}{bad}", "metadata": {}},
        {"cell_type": "code", "source": f"{code}x = {written}\n", "metadata": {}, "execution_count": 1,
         "outputs": [{"output_type": "stream", "name": "stdout", "text": bad}]},
    ]  # fmt: skip
    metadata = {"kernelspec": {"language": "python", "name": "python3", "display_name": "Python 3"}}
    book = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 2}
    meta = {"dataset_title": bad, "dataset_description": f"x {bad}", "dataset": f"o/{bad}", "dataset_rows": bad}
    # `\u003c` is `<` in JSON.
    return [row(0, json.dumps(book).replace("<", "\\u003c"), "notebook", meta)]


def questions(bad: str) -> list[dict[str, Any]]:
    posts, pieces, start = [], [f"Q: {bad}{WORDS}", f"A: {WORDS}{bad}"], 0
    for number, piece in enumerate(pieces):
        posts.append({"start": start + 3, "stop": start + len(piece), "user": number, "score": 1, "accepted": True})
        start += len(piece) + 2
    return [row(0, "\n\n".join(pieces), "conversation", {"posts": json.dumps(posts)})]


def representation(bad: str) -> list[dict[str, Any]]:
    code = row(0, f"int f(); // {bad}", "code", repo="o/r", path="a.c")
    return [code, row(1, f"define i32 @f() {{ ; {bad}\n}}\n", "code", repo="o/r", path="a.Oz.ll")]


ROWS: dict[str, Callable[[str], list[dict[str, Any]]]] = {
    "file": single, "repository": files, "documentation": single, "commit": commit, "issue": issue,
    "pull_request": pull_request, "notebook_script": notebook, "notebook_structured": notebook, "kaggle": notebook,
    "stackexchange": questions, "intermediate": representation, "intermediate_clang": representation,
}  # fmt: skip
NAMES = sorted(name for name in SHAPES if name.startswith("gristmill_"))


def marks(name: str, rows: list[dict[str, Any]]) -> Counter[str] | None:
    """Of the first seed that gives a text."""
    shape = SHAPES[name]
    ordered = sorted(rows, key=shape.order)
    for seed in range(40):
        found = shape.make(ordered, seed)
        if isinstance(found, Shaped):
            return Counter(MARKS.findall(found.text))
    return None


def test_every_shape_is_tried() -> None:
    assert NAMES == sorted(f"gristmill_{what}@1" for what in ROWS)
    for name in SHAPES:
        family, _, what = name.partition("@")[0].partition("_")
        assert family == "gristmill" or f"gristmill_{what}@1" in SHAPES, f"{name} has no form without forged marks"


@pytest.mark.parametrize("name", NAMES)
def test_no_document_forges_a_mark(name: str) -> None:
    what = name.partition("@")[0].removeprefix("gristmill_")
    if "script" in what or what == "kaggle":
        pytest.importorskip("jupytext")
    made = ROWS[what]
    tried = []

    @settings(max_examples=60 if "notebook" not in what and what != "kaggle" else 25, deadline=None)
    @given(poison())
    def check(bad: str) -> None:
        # The same documents, in which nothing can be taken for a mark.
        honest = marks(name, made(bad.replace("<", "‹")))
        forged = marks(name, made(bad))
        if honest is None or forged is None:  # a text of which too little is left makes nothing
            return
        if what == "repository":  # its name decides whether it is written
            honest["<repo_name>"] = min(1, forged["<repo_name>"])
        assert forged == honest
        tried.append(honest)

    check()
    assert len(tried) > 5 and (what == "documentation" or any(tried))


@pytest.mark.parametrize("what", ["repository", "pull_request", "notebook_structured", "kaggle", "file"])
def test_the_forms_of_the_references_take_them_for_their_own(what: str) -> None:
    """Else the test above would say nothing."""
    if what == "kaggle":
        pytest.importorskip("jupytext")
    family = "starcoder" if what == "file" else "starcoder2"
    bad = "<file_sep><jupyter_code>"
    assert marks(f"{family}_{what}@1", ROWS[what](bad)) != marks(f"gristmill_{what}@1", ROWS[what](bad))
