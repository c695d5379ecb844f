from __future__ import annotations

import dataclasses
import gzip
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.shapes.issues import (
    Comment,
    IssueShape,
    kept_of_people,
    masked,
    masked_mended,
    merged_text,
    refused,
    text_size,
)
from pipelines.shapes.mail import truncated, without_mail
from pipelines.shapes.people import is_bot, is_issue_bot, is_pull_request_bot, mask_names, numbered, replace_names
from pipelines.shapes.shape import Dropped, Shaped

DATA = Path(__file__).parents[2] / "data" / "shapes"


def lines(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


def test_every_step_is_that_of_the_reference() -> None:
    given_, expected = lines("issues"), lines("issues_expected")
    assert len(given_) == 40
    for issue, want in zip(given_, expected, strict=True):
        assert issue["id"] == want["id"]
        ids = [event["comment_id"] for event in issue["events"]]
        comments = [Comment(e["author"], merged_text(e["comment"], e["description"])) for e in issue["events"]]
        stripped = [Comment(each.author, without_mail(each.text)) for each in comments]
        assert [each.text for each in stripped] == want["after_strip"]
        assert text_size(stripped) == want["text_size_0"]
        short = [Comment(each.author, truncated(each.text, 80, "[Truncated]")) for each in stripped]
        assert text_size(short) == want["text_size_truncated"]
        assert [each.text.count("\n") + 1 for each in short] == want["truncated_lines"]
        kept = kept_of_people(short)
        assert [ids[i] for i in kept] == want["kept_comment_ids"]
        people = [short[i] for i in kept]
        assert (refused(people) == "bot_issue") == want["bot_issue"]
        assert (len(kept) < len(short)) == want["modified_by_bot"]
        if want["bot_issue"]:
            continue
        assert (text_size(people), len(people)) == (want["text_size"], want["event_count"])
        assert len({each.author for each in people}) == want["user_count"]
        assert (refused(people) is None) == want["keep"]
        assert [[each.author, each.text] for each in masked(people)] == want["final"]


def test_bots_are_those_of_the_references() -> None:
    for each in json.loads((DATA / "usernames.json").read_text()):
        assert is_issue_bot(each["name"]) == each["issues_is_bot"], each
        assert is_pull_request_bot(each["name"]) == each["pr_is_bot"], each
        # The mended rule is that of both, in any case.
        assert is_bot(each["name"]) >= (each["issues_is_bot"] or each["pr_is_bot"])
    assert is_bot("X-service-ACCOUNT") and is_bot("Codecov-IO") and is_bot(None) and not is_bot("alice")


# The patterns of the reference, as its authors wrote them.
PATTERNS = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"(.*)From:.+Reply to this email directly.+view it on GitHub(.*)" + "\n?(.*)",
        r"(.*)On.+notifications@github.com.+wrote:.+Reply to this email directly.+view it on GitHub(.*)" + "\n?(.*)",
        r"(.*)Signed-off-by: .+<.+>(.*?)" + "\n?(.*)",
    )
]
DATE = re.compile(r"\d+/\d+/\d+ \d{2}:\d{2} [AP]M.+wrote")


def plain_without_mail(text: str) -> str:
    text = text.strip() if text else ""
    if not text:
        return ""
    for pattern in PATTERNS:
        found = pattern.match(text)
        if found:
            text = found.group(1) + found.group(3)
            break
    else:
        start, end = 0, -1
        rows = text.split("\n")
        for i, row in enumerate(rows):
            row = row.strip()
            if "notifications@github.com" in row or DATE.search(row):
                start = i
            if "Reply to this email directly" in row:
                end = i + 1 if row.endswith(":") else i
            if row.startswith(">"):
                end = i
        text = "\n".join(rows[:start] + rows[end + 1 :])
    return re.sub("_{20,}", "", text).strip()


WORDS = [
    "From:", "On", "Reply to this email directly", "view it on GitHub", "notifications@github.com", "wrote:", "wrote",
    "notifications@github\ncom", "Signed-off-by: ", "<", ">", "\n", " ", "a", "\r", "1/2/33 10:11 PM", "/1", "_" * 21,
    "> q", ":", "é", "\x85", "٣/٣/٣ ١٢:١٢ AM",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=16).map("".join))
def test_mail_is_found_as_by_the_patterns(text: str) -> None:
    assert without_mail(text) == plain_without_mail(text)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "user", "0", "al", "name_1", "é", "(x)", "bob", "", "xusername_0y", "ausername_1"]),
            st.text("aublre(0xy_é)"),
        )
    )
)
def test_names_are_replaced_as_one_after_the_other(given_: list[tuple[str, str]]) -> None:
    comments = [Comment(*each) for each in given_]
    names = numbered(each.author for each in comments)
    plain = [Comment(names[each.author], replace_names(each.text, names)) for each in comments]
    assert masked(comments) == plain


LOGIN = st.from_regex(r"[A-Za-z0-9](-?[A-Za-z0-9]){0,6}", fullmatch=True)


@settings(max_examples=50, deadline=None)
@given(st.lists(LOGIN, min_size=1, max_size=5), st.data())
def test_masks_are_consistent(users: list[str], data: Any) -> None:
    """Mended: each mention of a participant has the number that its author has, and no other word is touched."""
    names = numbered(users)
    words = data.draw(st.lists(st.one_of(st.sampled_from(users), LOGIN.map(lambda word: word + "zz9zz")), max_size=8))
    text = " ".join(words)
    at = " ".join("@" + word.upper() + "." for word in words)
    assert mask_names(text, names) == " ".join(names.get(word, word) for word in words)
    folded: dict[str, str] = {}
    for name, number in names.items():
        folded.setdefault(name.upper(), number)
    want = " ".join("@" + folded.get(word.upper(), word.upper()) + "." for word in words)
    assert mask_names(at, names) == want


def test_the_known_faults_are_mended() -> None:
    comments = [Comment("al", "also @Al, al and @bob; <issue_comment>"), Comment("bob", "al's @bobby @al-")]
    assert [each.text for each in masked(comments)] == [
        "username_0so @Al, username_0 and @username_1; <issue_comment>", "username_0's @username_1by @username_0-",
    ]  # fmt: skip
    assert [each.text for each in masked_mended(comments)] == [
        "also @username_0, username_0 and @username_1; <issue_comment>", "username_0's @bobby @username_0-",
    ]  # fmt: skip


def event(number: int, kind: str, action: str, author: str | None, text: str | None, **more: Any) -> dict[str, Any]:
    meta = {"thread": "o/r#7", "type": kind, "created_at": f"2022-01-01T00:00:{number:02d}Z"}
    record = {"id": number, "type": kind, "action": action, "actor.login": author, "text": text, **more}
    row = {"doc_id": f"e{number}", "kind": "event", "text": json.dumps(record), "repo": "o/r", "meta": meta}
    return row


LONG = "The program stops when the file is empty, and says nothing at all about it. " * 3
ISSUE = [
    event(0, "IssuesEvent", "opened", "ann", LONG, title="Stops, ann says"),
    event(1, "IssueCommentEvent", "created", "bob", "ask @ann", comment_id=1),
    event(2, "IssueCommentEvent", "created", "ann", "/retest", comment_id=2),
    event(3, "IssueCommentEvent", "created", "x-Service-Account", "done", comment_id=3),
    event(4, "IssueCommentEvent", "created", None, "typo <issue_closed>", comment_id=4),
    event(5, "IssueCommentEvent", "edited", "bob", "ask @Ann twice", comment_id=1),
    event(6, "IssueCommentEvent", "deleted", "bob", "ask", comment_id=9),
    event(7, "IssuesEvent", "closed", "ann", LONG, title="Stops"),
]
SHAPE = IssueShape("starcoder_issue@1")
MENDED = IssueShape("gristmill_issue@1", mended=True)


def made(shape: IssueShape, rows: list[dict[str, Any]]) -> Any:
    assert {shape.key(row) for row in rows} == {"o/r#7"}
    return shape.make(sorted(rows, key=shape.order), 0)


def test_an_issue_becomes_a_conversation() -> None:
    assert made(SHAPE, ISSUE[::-1]) == Shaped(
        f"<issue_start>Title: Stops, ann says\nusername_0: {LONG.strip()}<issue_comment>username_1: ask @Ann twice"
        "<issue_comment>username_0: /retest<issue_comment>username_2: done<issue_comment>username_3: typo "
        "<issue_closed><issue_closed>",
        {"comments": "5", "users": "4", "bot_comments": "0"},
        "conversation",
    )
    assert made(MENDED, ISSUE).text == (
        f"<issue_start>Title: Stops, username_0 says\nusername_0: {LONG.strip()}<issue_comment>username_1: ask "
        "@username_0 twice<issue_comment>username_2: typo < issue_closed><issue_closed>"
    )


def test_why_issues_are_dropped() -> None:
    assert made(SHAPE, ISSUE[1:]) == Dropped("no_opening")
    assert made(SHAPE, [event(0, "IssuesEvent", "opened", "ann", "short", title="t")]) == Dropped("short")
    assert made(SHAPE, [event(0, "IssuesEvent", "opened", "x[bot]", LONG, title="t")]) == Dropped("bot_issue")
    alone = [event(0, "IssuesEvent", "opened", "ann", "x" * 7001, title="t")]
    assert made(SHAPE, alone) == Dropped("one_user")
    broken = {**ISSUE[0], "text": "{"}
    assert made(SHAPE, [broken]) == Dropped("bad_json")
    for text in ("[]", '{"type": "PushEvent"}', '{"type": "IssuesEvent", "text": 5}', "[" * 100_000):
        assert made(SHAPE, [{**ISSUE[0], "text": text}]) == Dropped("bad_json")
    assert SHAPE.key({"kind": "code", "text": "x", "meta": {"thread": "o/r#7"}}) is None
    comment = event(1, "IssueCommentEvent", "created", "a", "t", is_pull_request=True)
    assert SHAPE.key(comment) is None


def test_the_limits_of_starcoder2_are_longer() -> None:
    text = "\n".join(f"line {i} of many" for i in range(90))
    rows = [event(0, "IssuesEvent", "opened", "ann", text, title="t"), ISSUE[1]]
    assert "[Truncated]" in made(SHAPE, rows).text
    assert text in made(IssueShape("starcoder2_issue@1", 100), rows).text


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["ann", "bob", "(a+)+", "[x"]), st.text(max_size=300)), max_size=8))
def test_what_people_say_is_kept(said: list[tuple[str, str]]) -> None:
    """Without mail, bots, names and long comments, all text is there, in order."""
    rows = [event(0, "IssuesEvent", "opened", "ann", LONG, title="t")]
    texts = [re.sub(r"[\x00-\x1f<>@/_A-Za-z\x85\u2028\u2029()+\[]", ".", text) for _, text in said]
    for number, ((author, _), text) in enumerate(zip(said, texts, strict=True), 1):
        rows.append(event(number, "IssueCommentEvent", "created", author, text, comment_id=number))
    for shape in (SHAPE, MENDED):
        found = made(shape, rows)
        assert found.text.count("<issue_comment>") == len(said)
        parts = found.text.split("<issue_comment>")[1:]
        assert [part.partition(": ")[2] for part in parts] == [text.strip() for text in texts]


HOSTILE = {
    "from": "From:",
    "on": "On notifications@github.com",
    "wrote": "On wrote:",
    "reply": "From:Reply to this email directly",
    "signed": "Signed-off-by: <",
    "signed2": "Signed-off-by: >",
    "date": "1/1/1 11:11 PM ",
    "digits": "1",
    "slashes": "1/",
    "notice": "notifications@github",
    "at": "@",
    "hyphens": "-",
    "bracket": "a[bot",
    "rules": "_" * 19 + " ",
    "quote": ">\n",
    "spaces": " ",
}


def seconds(run: Any) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("name", HOSTILE)
def test_time_is_linear_in_a_comment(name: str) -> None:
    def run(size: int) -> Any:
        text = HOSTILE[name] * (size // len(HOSTILE[name]))
        return lambda: (without_mail("x" + text + "x"), mask_names(text, {"a": "b", "1": "c"}))

    assert seconds(run(1 << 18)) < 8 * max(seconds(run(1 << 16)), 2e-3)


def test_a_hundred_thousand_events_are_linear() -> None:
    def rows(count: int) -> list[dict[str, Any]]:
        found = [event(0, "IssuesEvent", "opened", "ann", LONG, title="t")]
        for i in range(count):
            more = {"comment_id": i + 1, "id": i + 1}
            found.append(event(i % 60, "IssueCommentEvent", "created", f"(u+)+{i % 50}", f"hello {i} .*", **more))
        return found

    small, large = rows(1_000), rows(4_000)
    for shape in (SHAPE, MENDED):
        assert isinstance(shape.make(large, 0), Shaped)
        assert seconds(lambda shape=shape: shape.make(large, 0)) < 8 * seconds(lambda shape=shape: shape.make(small, 0))


def test_names_that_cost_too_much_are_refused() -> None:
    found = [Comment(f"user{i}", "z" * 1000) for i in range(1500)]
    rows = [event(0, "IssuesEvent", "opened", "ann", LONG, title="t")]
    for i, each in enumerate(found):
        rows.append(event(1, "IssueCommentEvent", "created", each.author, each.text, comment_id=i + 1, id=i + 1))
    assert SHAPE.make(rows, 0) == Dropped("many_users")
    assert isinstance(MENDED.make(rows, 0), Shaped)


def test_shapes_are_values() -> None:
    assert dataclasses.replace(SHAPE) == SHAPE and hash(SHAPE) == hash(dataclasses.replace(SHAPE))
