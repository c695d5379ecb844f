"""Opt-out lists: strict parsing, and the vectorised match."""

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from licenses import OptOut, OptOutError
from licenses.opt_out import Entry, email_sha256

SHA = "ab" * 32
SWHID = "swh:1:cnt:" + "0" * 40
LIST = f"""
entries:
  - {{repo: Octo/Cat, date: 2026-01-01, reason: r}}
  - {{owner: GNOME, date: 2026-01-01, reason: r}}
  - {{url: "https://www.Example.org/A/page/", date: 2026-01-01, reason: r}}
  - {{domain: forum.example.net, date: 2026-01-01, reason: r}}
  - {{domain: example.net, date: 2026-01-01, reason: r}}
  - {{id: d1, date: 2026-01-01, reason: r}}
  - {{swhid: "{SWHID};origin=x", date: 2026-01-01, reason: r}}
  - {{content_sha256: {SHA.upper()}, date: 2026-01-01, reason: r}}
"""


def batch(**columns: list[str | None]) -> pa.RecordBatch:
    return pa.record_batch({name: pa.array(values, type=pa.string()) for name, values in columns.items()})


def rules(**columns: list[str | None]) -> list[str | None]:
    mask, found = OptOut.parse(LIST).match(batch(**columns))
    assert mask.to_pylist() == [rule is not None for rule in found.to_pylist()]
    return found.to_pylist()


def test_repo_and_owner() -> None:
    repos = ["octo/cat", "OCTO/CAT", "octo/cats", "gnome/glib", "Gnome/x/y", "gnome", None, "cat"]
    assert rules(repo=repos) == ["opt_out:repo:octo/cat"] * 2 + [None] + ["opt_out:owner:gnome"] * 2 + [None] * 3


def test_url() -> None:
    urls = [
        "http://example.org/A/page",
        "HTTPS://EXAMPLE.org/A/page/#top",
        "//www.example.org/A/page",
        "https://example.org/a/page",
        "https://example.org/A/page?x=1",
        "https://x.example.org/A/page",
        None,
    ]
    assert rules(url=urls) == ["opt_out:url:example.org/A/page"] * 3 + [None] * 4


def test_domain() -> None:
    urls = [
        "https://example.net",
        "http://a.b.EXAMPLE.net:80/x",
        "https://forum.example.net/t",
        "https://u:p@www.forum.example.net./",
        "https://badexample.net/",
        "https://example.net.evil.com/",
        "https://evil.com/example.net",
        "https://evil.com/?u=http://example.net",
        "https://evil.com#@example.net",
        "not a url",
        "",
    ]
    near, far = "opt_out:domain:forum.example.net", "opt_out:domain:example.net"
    assert rules(url=urls) == [far, far, near, near] + [None] * 7


def test_identifiers_and_precedence() -> None:
    found = rules(
        doc_id=["d1", "D1", "x", "x"],
        swhid=[None, None, SWHID, None],
        content_sha256=[SHA, None, SHA, SHA],
        repo=["octo/cat", None, None, "octo/cat"],
    )
    assert found == ["opt_out:id:d1", None, f"opt_out:swhid:{SWHID}", f"opt_out:content_sha256:{SHA}"]


def test_absent_columns_and_empty() -> None:
    assert rules(text=["a", "b"]) == [None, None]
    mask, found = OptOut.parse("entries: []").match(batch(repo=["a/b"]))
    assert mask.to_pylist() == [False] and found.to_pylist() == [None]
    mask, found = OptOut.parse(LIST).match(batch(repo=[], url=[]))
    assert len(mask) == len(found) == 0 and mask.type == pa.bool_()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: empty"),
        ("entires: []", ":1: key 'entires' is unknown; did you mean 'entries'"),
        ("entries: x", ":1: .*list"),
        (
            "entries:\n  - {repos: a/b, date: 2026-01-01, reason: r}",
            ":2: key 'repos' is unknown; did you mean 'repo'",
        ),
        ("entries:\n  - repo: a/b\n    reason: r", ":2: an entry needs date"),
        ("entries:\n  - repo: a/b\n    date: 2026-01-01", ":2: an entry needs reason"),
        (
            "entries:\n  - repo: a/b\n    owner: a\n    date: 2026-01-01\n    reason: r",
            ":2: .*exactly one.*repo, owner",
        ),
        ("entries:\n  - date: 2026-01-01\n    reason: r", ":2: .*exactly one.*none"),
        ("entries:\n  - repo: a/b\n    date: 1/1/2026\n    reason: r", ":3: date must be YYYY-MM-DD"),
        ("entries:\n  - owner: a/b\n    date: 2026-01-01\n    reason: r", ":2: owner is the part"),
        ("entries:\n  - repo: https://x/a\n    date: 2026-01-01\n    reason: r", ":2: repo must be"),
        ("entries:\n  - domain: localhost\n    date: 2026-01-01\n    reason: r", ":2: domain must be"),
        ("entries:\n  - swhid: swh:1:cnt:12\n    date: 2026-01-01\n    reason: r", ":2: swhid must be"),
        (
            "entries:\n  - content_sha256: 12\n    date: 2026-01-01\n    reason: r",
            ":2: content_sha256 must be",
        ),
        (
            "entries:\n  - author_email_sha256: ada@x.org\n    date: 2026-01-01\n    reason: r",
            ":2: author_email_sha256 must be 64 hexadecimal digits, of SHA-256 of the address in lower case",
        ),
        (
            "entries:\n  - email: ada@x.org\n    date: 2026-01-01\n    reason: r",
            ":2: key 'email' is unknown; did you mean 'author_email_sha256'",
        ),
        ("entries:\n  - url: no address\n    date: 2026-01-01\n    reason: r", ":2: url must be"),
        ("entries:\n  - repo: [a]\n    date: 2026-01-01\n    reason: r", ":2: repo must be a non-empty text"),
        ("entries:\n  - just text", ":2: expected a mapping"),
        (
            "entries:\n  - {owner: a, date: 2026-01-01, reason: r}\n  - {owner: A, date: 2026-01-01, reason: r}",
            ":3: .*already in line 2",
        ),
        ("entries:\n  - {owner: a, owner: b, date: 2026-01-01, reason: r}", ":2: key 'owner' stands twice"),
        ("entries: [", "not YAML"),
    ],
)
def test_errors(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "list.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(OptOutError, match="list.yaml" + (message if message.startswith(":") else ".*" + message)):
        OptOut.load(path)


def test_author() -> None:
    hashed = email_sha256("Ada@Example.org ")
    assert hashed == email_sha256("ada@example.org")
    meta = [[("author_email", "ADA@example.org")], [("author_email_sha256", hashed.upper())], [("title", "x")], None]
    documents = pa.record_batch({"meta": pa.array(meta, pa.map_(pa.string(), pa.string()))})
    entry = f"entries: [{{author_email_sha256: {hashed}, date: 2026-01-01, reason: r}}]"
    mask, _ = OptOut.parse(entry).match(documents)
    assert mask.to_pylist() == [True, True, False, False]


def test_csv_and_yaml_say_the_same() -> None:
    table = 'date,field,reason,value\n2026-01-01,repo,"r, s",Octo/Cat\n\n2026-01-02,domain,r,*.Example.net\n'
    listed = OptOut.parse_csv(table)
    text = (
        "entries:\n  - {repo: Octo/Cat, date: 2026-01-01, reason: 'r, s'}\n"
        "  - {domain: example.net, date: 2026-01-02, reason: r}"
    )
    assert [(e.field, e.value, e.date, e.reason) for e in listed.entries] == [
        (e.field, e.value, e.date, e.reason) for e in OptOut.parse(text).entries
    ]
    with pytest.raises(OptOutError, match=":3: repo 'octo/cat' stands already in line 2"):
        OptOut.parse_csv("field,value,date,reason\nrepo,octo/cat,2026-01-01,r\nrepo,Octo/Cat,2026-01-01,r")


def test_lists_are_joined_by_the_earliest_wish_in_one_order() -> None:
    def listed(*days: int) -> OptOut:
        rows = "".join(f"domain,d{day % 3}.example,2026-01-{day:02d},r\n" for day in days)
        return OptOut.parse_csv("field,value,date,reason\n" + rows)

    first, second = listed(7, 2), listed(4, 6)
    joined = OptOut.joined([first, second])
    assert [(e.value, e.date.day) for e in joined.entries] == [("d0.example", 6), ("d1.example", 4), ("d2.example", 2)]
    assert OptOut.joined([second, first]).sha256 == joined.sha256 != OptOut.joined([first]).sha256


def test_missing_file() -> None:
    with pytest.raises(OptOutError, match="cannot be read"):
        OptOut.load("no-such-list.yaml")


def test_example_list() -> None:
    path = Path(__file__).parents[2] / "recipes" / "opt-out.yaml"
    opt_out = OptOut.load(path)
    mask, found = opt_out.match(
        batch(
            repo=["jupytext", "mwouts/jupytext", "networkx", None],
            url=[None, None, None, "http://forum.mindfactory.de/forum.php"],
            swhid=["swh:1:cnt:e69de29bb2d1d6434b8b29ae775ad8c2e48c5391", None, None, None],
        )
    )
    assert mask.to_pylist() == [True, True, False, True]
    assert found.to_pylist()[3] == "opt_out:domain:forum.mindfactory.de"
    assert all(entry.reason and entry.date.year >= 2026 for entry in opt_out.entries)


def test_entries_that_nothing_matches() -> None:
    listed = [("domain", "example.org"), ("domain", "a.example.org"), ("repo", "x/y"), ("owner", "x"), ("id", "no")]
    day = datetime.date(2026, 1, 1)
    entries = [Entry(field, value, day, "r", line) for line, (field, value) in enumerate(listed)]
    batch = pa.record_batch({"doc_id": ["1", "2"], "url": ["https://a.example.org/", None], "repo": [None, "x/y"]})
    assert OptOut(tuple(entries)).unmatched([batch]) == (entries[4],)
    assert OptOut(tuple(entries)).unmatched([batch.slice(1)]) == (entries[0], entries[1], entries[4])
    assert OptOut(tuple(entries)).unmatched([]) == tuple(entries)
