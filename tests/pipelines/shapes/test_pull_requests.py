from __future__ import annotations

import gzip
import json
import time
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.shapes import changed_files
from pipelines.shapes.changed_files import is_valid
from pipelines.shapes.diffs import DiffTooLargeError, changed_range, changes, hunks
from pipelines.shapes.pull_requests import (
    PullRequestShape,
    Rendered,
    RenderError,
    moved_header,
    render,
    said,
    title_line,
)
from pipelines.shapes.shape import Dropped, Shaped

DATA = Path(__file__).parents[2] / "data" / "shapes"


def lines(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


def attempt(make: Any, *given: Any) -> str | None:
    try:
        return make(*given)
    except RenderError:
        return None


def test_renders_are_those_of_the_reference() -> None:
    renders = 0
    given_, expected = lines("prs"), lines("prs_expected")
    assert len(given_) == 20
    for pull, want in zip(given_, expected, strict=True):
        assert pull["id"] == want["id"]
        files = [file for diff in pull["diffs"] for file in diff["head_base_files"]]
        ranges = [changed_range(f["base_content"].splitlines(), f["head_content"].splitlines()) for f in files]
        for found, known in zip(ranges, want["line_ranges"], strict=True):
            assert (found.old_start, found.old_stop) == (known["old_change_start"], known["old_change_end"])
            assert (found.new_start, found.new_stop) == (known["new_change_start"], known["new_change_end"])
            assert (found.inserts, found.deletes) == (known["n_inserts"], known["n_deletes"])
            assert found.old_stop - found.old_start == known["old_change_range"]
        first = pull["events"][0]
        for found_, known in (
            (attempt(title_line, first["title"]), want["title"]),
            (attempt(said, first["actor.login"], first["text"]), want["text"]),
        ):
            assert found_ == (known if isinstance(known, str) else None)
        for case in want["renders"]:
            draws = np.random.RandomState(case["seed"]) if case["mode"] == "random" else None
            repo = pull["guid"].partition("/pull/")[0]
            made = render(pull["events"], pull["diffs"], repo=repo, count=pull["pr_count_per_repo"], draws=draws)
            assert (made.text if isinstance(made, Rendered) else "") == case["render"], (pull["id"], case["seed"])
            if isinstance(made, Rendered):
                renders += 1
                distribution = [[base.language, base.path, len(base.content)] for base in made.files]
                assert distribution == case["lang_distr"]
    assert renders > 20


BASE = "\n".join(f"line {i}" for i in range(40))
HEAD = BASE.replace("line 20", "line twenty").replace("line 39", "the end")


def event(number: int, kind: str, who: str | None, **more: Any) -> dict[str, Any]:
    meta = {"thread": "o/r#7", "type": kind, "created_at": f"2022-01-01T00:00:{number:02d}Z"}
    record = {"id": number, "type": kind, "actor.login": who, "base_repo_name": "o/r", **more}
    return {"doc_id": f"e{number}", "kind": "event", "text": json.dumps(record), "meta": meta}


COMMIT = {"head_commit_id": "h", "base_commit_id": "b"}
FILES = [{"base_path": "a.py", "base_content": BASE, "head_content": HEAD, "base_language": "Python"}]
OPENED = {"action": "opened", "title": "Make it twenty, ann", "text": "As bob said: <pr> it is twenty, not 20."}
COMMENT = {"action": "created", "text": "I said that more than once, annoyed", "comment_id": 5, "is_pull_request": True}
BOT = {"text": "A long review of nothing at all", "review.state": "commented", "review_comment.id": 8}
REVIEW = {"text": "", "review.state": "approved", "review_comment.id": 9.0, "user.type": "User"}
PULL = [
    event(0, "PullRequestEvent", "ann", **OPENED, **COMMIT),
    event(1, "PullRequestCommitEvent", None, head_base_files=FILES, num_diff_files=1, **COMMIT),
    event(2, "IssueCommentEvent", "bob", **COMMENT),
    event(3, "PullRequestReviewEvent", "x[bot]", **BOT),
    event(4, "PullRequestReviewEvent", "bob", **REVIEW),
    event(5, "PullRequestEvent", "ann", action="closed", **COMMIT, **{"pull_request.merged": True}),
]
SHAPE = PullRequestShape("starcoder2_pull_request@1")
MENDED = PullRequestShape("gristmill_pull_request@1", mended=True)


def made(shape: PullRequestShape, rows: list[dict[str, Any]]) -> Any:
    """With the first seed that does not sample it out."""
    assert {shape.key(row) for row in rows} == {"o/r#7"}
    for seed in range(20):
        found = shape.make(sorted(rows, key=shape.order), seed)
        if found != Dropped("repository_sample"):
            return found
    raise AssertionError


def test_a_pull_request_becomes_a_conversation() -> None:
    found = made(SHAPE, PULL[::-1])
    assert isinstance(found, Shaped) and found.kind == "conversation"
    assert found.text.startswith(
        "<pr>Title: Make it twenty, ann\nusername_0: As username_1 said: <pr> it is twenty, not 20."
        "<pr_status>opened<repo_name>o/r<pr_base><pr_file>a.py<pr_base_code>line "
    )
    assert "-line 20\n+line twenty\n" in found.text and "more than once" not in found.text
    assert found.text.endswith(
        "<pr_review>username_2: A long review of nothing at all<pr_event_id>8<pr_review_state>commented"
        "<pr_review>username_1<pr_event_id>9<pr_review_state>approved<pr>username_0<pr_status>closed<pr_is_merged>True"
    )
    mended = made(MENDED, PULL).text
    assert mended.startswith("<pr>Title: Make it twenty, username_0\nusername_0: As username_1 said: < pr> it is")
    assert "<pr_comment>username_1: I said that more than once, annoyed<pr_event_id>5<pr_status>created" in mended
    assert "nothing at all" not in mended
    assert SHAPE.make(PULL, 3) == SHAPE.make(PULL, 3)


def changed(number: int, **fields: Any) -> list[dict[str, Any]]:
    rows = [dict(row) for row in PULL]
    rows[number]["text"] = json.dumps({**json.loads(rows[number]["text"]), **fields})
    return rows


def test_why_pull_requests_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(SHAPE, PULL[1:5]) == Dropped("no_opening")
    assert made(SHAPE, changed(0, **{"actor.login": "x[bot]"})) == Dropped("bot_opened")
    assert made(SHAPE, changed(0, text="")) == Dropped("empty")
    assert made(SHAPE, [PULL[i] for i in (0, 1, 3, 5)]) == Dropped("no_human_reply")
    assert made(SHAPE, PULL[:4]) == Dropped("unmerged")
    rows = changed(5, base_commit_id="b2", head_commit_id="h2")
    rows[4]["text"] = json.dumps({**json.loads(rows[4]["text"]), "base_commit_id": "b3"})
    assert made(SHAPE, rows) == Dropped("rebased")
    assert made(SHAPE, [PULL[i] for i in (0, 2, 3, 4, 5)]) == Dropped("no_base")
    assert made(SHAPE, changed(1, head_commit_id="h0")) == Dropped("no_base")
    assert made(SHAPE, changed(0, title="Bump a dependency")) == Dropped("render_error")
    assert made(SHAPE, changed(1, head_base_files=[5])) == Dropped("bad_json")
    assert made(SHAPE, changed(1, head_base_files=[{"base_path": "a", "base_content": 5}])) == Dropped("bad_json")
    assert made(SHAPE, changed(0, title=5)) == Dropped("bad_json")
    many = [{**row, "meta": {**row["meta"], "pull_requests_in_repo": "1000000"}} for row in PULL]
    assert [SHAPE.make(many, seed) for seed in range(20)] == [Dropped("repository_sample")] * 20
    monkeypatch.setattr("pipelines.shapes.diffs.MAX_WORK", 1 << 20)
    numbers = "\n".join(map(str, range(30_000)))
    huge = {**FILES[0], "base_content": numbers, "head_content": "\n".join(SWAPPED)}
    assert made(SHAPE, changed(1, head_base_files=[huge])) == Dropped("diff_too_large")
    assert SHAPE.key({"kind": "code", "text": "x"}) is None
    assert SHAPE.make([{"kind": "code", "text": "x", "doc_id": "d"}], 0) == Dropped("not_of_shape")


def test_events_that_lack_something_are_left_out() -> None:
    fields = {"review_comment.id": 3, "comment.path": "a.py", "comment.original_position": None,
              "comment.diff_hunk": "@@ -1 +1 @@\n-a", "text": "Why not thirty, I ask myself"}  # fmt: skip
    rows = [*PULL[:3], event(3, "PullRequestReviewCommentEvent", "bob", **fields), *PULL[4:]]
    assert "thirty" not in made(SHAPE, rows).text
    fields |= {"comment.original_position": 1, "comment.diff_hunk": "@@ -50 +50 @@\n-a"}
    rows[3] = event(3, "PullRequestReviewCommentEvent", "bob", **fields)
    text = made(SHAPE, rows).text
    assert "<pr_comment>username_1: Why not thirty, I ask myself" in text and "<pr_diff_hunk_comment_line>1" in text
    assert moved_header("@@ -40,4 +41 @@ def a", 10) == "@@ -30,4 +31 @@ def a"
    for header in ("@@ -1 @@", "@@", "@@ -a,1 +b @@", "@@ -3 +4 @@"):
        with pytest.raises(RenderError):
            moved_header(header, 5)


def test_files_are_judged_as_by_the_reference(shared: Path) -> None:
    folder = shared / "golden" / "code"
    with gzip.open(folder / "files.jsonl.gz", "rt") as files, gzip.open(folder / "filters.jsonl.gz", "rt") as verdicts:
        pairs = list(zip(map(json.loads, files), map(json.loads, verdicts), strict=True))
    judged = [(is_valid(file["content"], file["lang"]), want) for file, want in pairs if file["content"] is not None]
    assert len(judged) == 307
    assert [found for found, _ in judged] == [want["v2_pr_file_keep"] for _, want in judged]


def test_limits_are_those_of_the_annotator() -> None:
    from quality_signals import stack_v2_pr

    assert (stack_v2_pr.MIN_ALPHANUMERIC, stack_v2_pr.MAX_HEX) == (changed_files.MIN_ALPHANUM, changed_files.MAX_HEX)
    assert {*stack_v2_pr.DOCUMENT_LANGUAGES} == changed_files.DOCUMENT_LANGUAGES
    numbers = stack_v2_pr.MAX_LINES, stack_v2_pr.MAX_MEAN_LINE_CHARS, stack_v2_pr.MAX_LINE_CHARS
    assert numbers == (changed_files.MAX_LINES, changed_files.MAX_MEAN_LINE, changed_files.MAX_LINE)


def test_files_that_are_not_shown() -> None:
    bad = {"base_path": "b.csv", "base_content": BASE, "head_content": HEAD, "base_language": "CSV"}
    short = {"base_path": "c.py", "base_content": "x" * 1000, "head_content": HEAD, "base_language": "Python"}
    assert "b.csv" not in made(SHAPE, changed(1, head_base_files=[bad, short, *FILES])).text
    assert made(SHAPE, changed(1, head_base_files=[bad, short])) == Dropped("no_base")


LINES = st.lists(st.sampled_from(["a", "b", "", "c c"]), max_size=14)


@settings(max_examples=200, deadline=None)
@given(LINES, LINES, st.integers(0, 5))
def test_hunks_show_every_change(old: list[str], new: list[str], context: int) -> None:
    """Mended: the numbers are true, and applying the hunks to the old lines gives the new ones."""
    shown = hunks(old, new, context, "\x00", mended=True)
    result, at = [], 0
    for hunk in shown.split("\x00")[1:]:
        header, *rest = hunk.split("\n")
        start, count = (int(each) for each in header.split()[1][1:].split(","))
        new_start, new_count = (int(each) for each in header.split()[2][1:].split(","))
        rest = rest if rest[-1] else rest[:-1]
        assert [line[1:] for line in rest if line[0] in " -"] == old[start - 1 : start - 1 + count]
        result += old[at : start - 1]
        assert len(result) == new_start - 1
        result += [line[1:] for line in rest if line[0] in " +"]
        assert len(result) == new_start - 1 + new_count
        at = start - 1 + count
    assert result + old[at:] == new


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("abcdeé .,\n", min_size=20, max_size=400), max_size=6))
def test_what_people_say_is_kept(said: list[str]) -> None:
    texts = [text for text in (text.strip() for text in said) if len(text) >= 20]
    talk = [
        event(2, "IssueCommentEvent", "bob", **{**COMMENT, "text": text, "comment_id": i, "id": 50 + i})
        for i, text in enumerate(texts)
    ]
    found = made(MENDED, [*PULL[:3], *talk, *PULL[3:]]).text
    place = 0
    for text in texts:
        place = found.index(f"<pr_comment>username_1: {text}<pr_event_id>", place) + 1


SWAPPED = [str(each) for i in range(0, 30_000, 2) for each in (i + 1, i)]


def test_too_large_a_comparison_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [str(i) for i in range(30_000)]
    for old, new in ((lines, [*lines[:-1], "x"]), (lines, ["x"] * 30_000), (lines, lines[::-1]), (lines, [])):
        assert changed_range(old, new).old_stop == 30_000
    monkeypatch.setattr("pipelines.shapes.diffs.MAX_WORK", 1 << 22)
    with pytest.raises(DiffTooLargeError, match="30000 and 30000 lines"):
        changed_range(lines, SWAPPED)


@settings(max_examples=100, deadline=None)
@given(LINES, LINES)
def test_a_comparison_is_that_of_difflib(old: list[str], new: list[str]) -> None:
    plain = [
        [each for each in group if each[0] != "equal"]
        for group in SequenceMatcher(None, old, new).get_grouped_opcodes()
    ]
    assert changes(old, new) == plain


def test_many_events_are_linear() -> None:
    def seconds(count: int) -> float:
        more = {**COMMENT, "text": "I said <!-- that --> more than once " * 2}
        talk = [
            event(2, "IssueCommentEvent", f"u{i % 40}", **{**more, "comment_id": i, "id": i + 9}) for i in range(count)
        ]
        rows = [*PULL[:2], *talk, *PULL[3:]]
        times = []
        for _ in range(3):
            start = time.process_time()
            for shape in (SHAPE, MENDED):
                shape.make(rows, 1)
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(4000) < 8 * seconds(1000)
