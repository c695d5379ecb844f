"""Pages: main text, metadata, addresses and limits."""

from __future__ import annotations

import json
import socket
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipelines.readers import Document, Dropped, Limits, Rejected, extract
from pipelines.readers.html import choose_mode, shape
from pipelines.readers.page_metadata import page_metadata, plausible_url
from pipelines.readers.records import Refused

SENTENCES = [
    f"Sentence number {i} tells something about rivers, markets and old stone bridges." for i in range(12)
]
CC = "https://creativecommons.org/"
PAGE = f"""<!DOCTYPE html><html lang=en><head><meta charset=utf-8><title>The bridge &amp; the river</title>
<link rel="canonical" href="https://example.org/bridge?a=1&amp;b=2">
<meta property="article:published_time" content="2021-03-04T05:06:07Z"><meta name=author content="A. Writer">
</head><body><nav><a href=/>Home</a><a href=/x>Imprint of the site</a></nav>
<article><h1>The bridge</h1>{"".join(f"<p>{s}</p>" for s in SENTENCES)}
<p>Published under <a rel=license href="http://creativecommons.org/licenses/by-sa/4.0/deed.de">CC</a></p></article>
<footer>Cookies and terms</footer></body></html>"""


@pytest.mark.parametrize("mode", ["careful", "fast"])
def test_main_text_and_metadata(mode: Any) -> None:
    found = extract(PAGE.encode(), mode=mode)
    assert all(sentence in found.text for sentence in SENTENCES)
    assert "Imprint" not in found.text and "Cookies" not in found.text
    assert found.title == "The bridge & the river"
    assert found.date == "2021-03-04"
    assert found.author == "A. Writer"
    assert found.license == "https://creativecommons.org/licenses/by-sa/4.0/"
    assert found.url == "https://example.org/bridge?a=1&b=2"


def test_a_known_url_wins_over_the_page() -> None:
    assert extract(PAGE, "https://other.org/").url == "https://other.org/"


def test_extraction_is_repeatable_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *a: pytest.fail("a connection"))
    before = threading.active_count()
    first = [extract(PAGE, mode=mode) for mode in ("careful", "fast", "careful")]
    assert [extract(PAGE, mode=mode) for mode in ("careful", "fast", "careful")] == first
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://example.org/a?b=c#d", True),
        ("http://example.org:8080/", True),
        ("http://münchen.example/", True),
        ("http://192.0.2.1/x", True),
        ("//example.org/a", False),
        ("/relative", False),
        ("ftp://example.org/", False),
        ("javascript:alert(1)", False),
        ("http://localhost/", False),
        ("http://user:secret@example.org/", False),
        ("http://exa mple.org/", False),
        ("http://[broken/", False),
        ("http:///path", False),
        ("https://example.org/" + "a" * 3000, False),
    ],
)
def test_plausible_urls(url: str, good: bool) -> None:
    assert (plausible_url(url) is not None) is good


@pytest.mark.parametrize(
    ("html", "field", "value"),
    [
        ('<meta content="http://a.org/g" property="og:url">', "url", "http://a.org/g"),
        (
            '<link rel=canonical href="/relative"><meta property=og:url content=http://a.org/>',
            "url",
            "http://a.org/",
        ),
        (
            "<link href='http://a.org/c' rel='canonical'><meta property=og:url content=http://b.org/>",
            "url",
            "http://a.org/c",
        ),
        (
            '<script type="application/ld+json">{"@graph":[{"datePublished":"2020-01-31T00:00"}]}</script>',
            "date",
            "2020-01-31",
        ),
        (
            '<script type="application/ld+json">{"author":[{"name":"A"},{"name":"B"}]}</script>',
            "author",
            "A, B",
        ),
        ('<script type="application/ld+json">' + "[" * 50_000 + "</script>", "author", None),
        ('<meta name="date" content="2020-13-01">', "date", None),
        ('<meta name="date" content="yesterday">', "date", None),
        ('<meta name="author" content="https://facebook.com/x">', "author", None),
        (f"<a href={CC}licenses/by/4.0/>a</a><a href={CC}licenses/by-nc/4.0/>b</a>", "license", None),
        (f"<a href={CC}publicdomain/zero/1.0/>a</a>", "license", f"{CC}publicdomain/zero/1.0/"),
        ("<title>\n a\n  b </title>", "title", "a b"),
    ],
)
def test_declared_metadata(html: str, field: str, value: str | None) -> None:
    assert getattr(page_metadata(html), field) == value


@pytest.mark.parametrize("load", ["json", "rows", "member"])
def test_locators_give_url_and_time(tmp_path: Path, read_all: Any, load: str) -> None:
    pages = tmp_path / "pages.zip"
    table = {"html/1.html": {"url": "http://a.org/1", "timestamp": "2020-01-01"}, "2": "http://a.org/2"}
    with zipfile.ZipFile(pages, "w") as archive:
        for name in ("1", "2", "3"):
            archive.writestr(f"data/html/{name}.html", PAGE)
        archive.writestr("data/index.json", json.dumps(table))
    where = tmp_path / "index.json"
    rows = [
        {"path": "html/1.html", "url": "http://a.org/1", "timestamp": "2020-01-01"},
        {"path": "2", "url": "http://a.org/2"},
    ]
    where.write_text(json.dumps(table) if load == "json" else "".join(json.dumps(row) + "\n" for row in rows))
    locators = f"{pages}!data/index.json" if load == "member" else str(where)
    documents = [i for i in read_all(pages, "html", locators=locators) if isinstance(i, Document)]
    assert [(d.url, d.timestamp) for d in documents] == [
        ("http://a.org/1", "2020-01-01"),
        ("http://a.org/2", None),
        ("https://example.org/bridge?a=1&b=2", None),
    ]


def test_columns_of_a_page(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.html").write_bytes(PAGE.encode("utf-16"))
    (page,) = read_all(tmp_path, "html")
    assert (page.locator, page.kind, page.mime, page.source) == ("a.html", "web", "text/html", "s")
    assert page.content_sha256 and len(page.content_sha256) == 64
    assert page.swhid and page.swhid.startswith("swh:1:cnt:")
    assert page.meta["title"] == "The bridge & the river"
    assert page.meta["encoding"] == "utf-16-le"
    assert "extractor" not in page.meta


def test_a_page_over_the_careful_limit_goes_to_the_fast_extractor(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.html").write_text(PAGE)
    (page,) = read_all(tmp_path, "html", Limits(careful_html_tags=10))
    assert page.meta["extractor"] == "fast"


def test_what_is_dropped(tmp_path: Path, outcomes: Any) -> None:
    (tmp_path / "empty.html").write_text("")
    (tmp_path / "blank.html").write_text(" \n")
    (tmp_path / "menu.html").write_text("<html><body><img src=a.png><script>a()</script></body></html>")
    (tmp_path / "style.css").write_text("a {}")
    (tmp_path / "out.html").write_text(PAGE)
    assert outcomes(tmp_path, "html", exclude=("o*.html",)) == {
        "blank.html": "empty",
        "empty.html": "empty",
        "menu.html": "no_main_text",
        "style.css": "not_a_page",
        "out.html": "excluded",
    }


def test_members_that_are_no_pages(tmp_path: Path, outcomes: Any) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("x/", "x/a.css", "x/a.7z", "inner.zip", "../a.css", "b.html.gz", "c.HTM"):
            archive.writestr(name, PAGE)
    assert outcomes(tmp_path, "html") == {
        "a.zip!x/": "directory",
        "a.zip!x/a.css": "not_a_page",
        "a.zip!x/a.7z": "not_a_page",
        "a.zip!inner.zip": "nested_archive",
        "a.zip!../a.css": "path_traversal",
        "a.zip!b.html.gz": "nested_archive",
        "a.zip!c.HTM": "web",
    }


def test_a_named_file_is_a_page_whatever_its_suffix(tmp_path: Path, outcomes: Any) -> None:
    (tmp_path / "page.aspx").write_text(PAGE)
    assert outcomes(tmp_path / "page.aspx", "html") == {"page.aspx": "web"}


@pytest.mark.parametrize(
    ("page", "what"),
    [
        (b"<div>" * 50_000, "open elements"),
        (b"<p " + b"a=1 " * 50_000 + b">", "attributes"),
        (b"<br>" * 600_000, "tags"),
        (b"x" * (17 << 20), "bytes"),
    ],
)
def test_pages_that_would_take_too_long_are_refused_quickly(page: bytes, what: str) -> None:
    begin = time.process_time()
    with pytest.raises(Refused) as caught:
        choose_mode(page, "careful", Limits())
    assert caught.value.error == "too_large" and what in caught.value.message
    assert time.process_time() - begin < 5


def test_the_shape_counts_what_is_open() -> None:
    assert shape(b"<div><p><p><div></div></div><br>").depth == 2
    assert shape(b"<b><i><u>").depth == 3
    assert shape(b"a < b </div></div><b>").depth == 1


def test_a_library_error_is_one_rejected_item(
    tmp_path: Path, read_all: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trafilatura

    def explode(html: str, **options: Any) -> None:
        raise RuntimeError("inside")

    monkeypatch.setattr(trafilatura, "bare_extraction", explode)
    (tmp_path / "a.html").write_text(PAGE)
    (tmp_path / "b.txt").write_text(PAGE)
    rejected, dropped = read_all(tmp_path, "html")
    assert isinstance(rejected, Rejected) and rejected.error == "extraction_failed"
    assert rejected.message == "RuntimeError: inside"
    assert isinstance(dropped, Dropped)
