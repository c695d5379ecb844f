"""Pages: main text, metadata, addresses and limits."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licenses.reservations import Reading
from pipelines.readers import Document, Dropped, Limits, Rejected, extract
from pipelines.readers.html import Page, check_shape, choose_mode, read_page, shape
from pipelines.readers.page_metadata import page_metadata, plausible_url
from pipelines.readers.records import Refused, Skipped

SENTENCES = [f"Sentence number {i} tells something about rivers, markets and old stone bridges." for i in range(12)]
CC = "https://creativecommons.org/"
PAGE = f"""<!DOCTYPE html><html lang=en><head><meta charset=utf-8><title>The bridge &amp; the river</title>
<link rel="canonical" href="https://example.org/bridge?a=1&amp;b=2">
<meta property="article:published_time" content="2021-03-04T05:06:07Z"><meta name=author content="A. Writer">
</head><body><nav><a href=/>Home</a><a href=/x>Imprint of the site</a></nav>
<article><h1>The bridge</h1>{"".join(f"<p>{s}</p>" for s in SENTENCES)}
<p>Published under <a rel=license href="http://creativecommons.org/licenses/by-sa/4.0/deed.de">CC</a></p></article>
<footer>Cookies and terms</footer></body></html>"""


@pytest.mark.parametrize("mode", ["careful", "fast", "auto"])
def test_main_text_and_metadata(mode: Any) -> None:
    found = extract(PAGE.encode(), mode=mode)
    assert all(sentence in found.text for sentence in SENTENCES)
    assert "Imprint" not in found.text and "Cookies" not in found.text
    assert found.title == "The bridge & the river"
    assert found.date == "2021-03-04"
    assert found.author == "A. Writer"
    assert found.license == "CC-BY-SA-4.0"
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
        (
            f"<a href={CC}licenses/by/4.0/>a</a><a href={CC}licenses/by-nc/4.0/>b</a>",
            "license",
            "CC-BY-4.0 AND CC-BY-NC-4.0",
        ),
        (f"<a href={CC}publicdomain/zero/1.0/>a</a>", "license", "CC0-1.0"),
        ("<title>\n a\n  b </title>", "title", "a b"),
        ("<title>The bridge | Site</title><h1>The <i>bridge</i></h1>", "title", "The bridge"),
        ("<title>Site » The bridge</title><h1>The bridge</h1>", "title", "The bridge"),
        ("<title>The bridges</title><h1>The bridge</h1>", "title", "The bridges"),
        ('<title>A - B</title><meta property="og:site_name" content="B">', "title", "A"),
        ('<title>B</title><meta property="og:site_name" content="B">', "title", "B"),
        ("<h1>" * 30_000, "title", None),
        ('<span itemprop="datePublished" content="2020-01-31T01:00">x</span>', "date", "2020-01-31"),
        ('<abbr class="published" title="2020-01-31">x</abbr>', "date", "2020-01-31"),
        ('<link rel=canonical href="http://a.org/2020/01/31/x">', "date", "2020-01-31"),
        ('<meta property="article:modified_time" content="2020-02-01">', "date", "2020-02-01"),
        ('<a rel="author" href="/x"><b>A. Writer</b></a>', "author", "A. Writer"),
        ('<span class="author vcard">by <a class="fn n">A. Writer</a></span>', "author", "A. Writer"),
        ('<a rel="author" href="/x"></a>', "author", None),
        ('<meta name=citation_author content="A"><meta name=citation_author content="B">', "author", "A, B"),
        ('<meta name=author content="A &amp;amp; B">', "author", "A & B"),
        ('<a rel="license" href="https://e.org/terms">x</a>', "license", None),
        (f'<a rel="license" href="{CC}licenses/by/4.0/deed.de">x</a>', "license", "CC-BY-4.0"),
        (f'<a rel="license" about="/i.png" href="{CC}licenses/by/4.0/"></a>', "license", "CC-BY-4.0"),
        ("<p>All rights reserved, see our license</p>", "license", None),
        (
            f'<div about="" resource="{CC}licenses/by/3.0/at/" property="dct:license"></div>',
            "license",
            "CC-BY-3.0-AT",
        ),
        (f'<meta name="dcterms.rights" content="{CC}licenses/by/4.0/">', "license", "CC-BY-4.0"),
        ('<META NAME="DC.Rights" CONTENT="MIT License">', "license", "MIT"),
        (
            f'<script type="application/ld+json">{{"license":"{CC}licenses/by/4.0/"}}</script>',
            "license",
            "CC-BY-4.0",
        ),
        ('<a rel="license" href="javascript:x">x</a>', "license", None),
        ('<html lang="de_at">', "language", "de-AT"),
        ("<html class=x lang=ZH-hant-tw>", "language", "zh-Hant-TW"),
        ('<html lang=""><meta http-equiv="Content-Language" content="pl, en">', "language", "pl"),
        ('<meta property="og:locale" content="fr_FR">', "language", "fr-FR"),
        ('<html lang="{{lang}}">', "language", None),
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


def test_many_options_to_select_are_refused() -> None:
    with pytest.raises(Refused, match="options to select"):
        choose_mode(b"<select>" + b"<option>x" * 20_000, "fast", Limits())
    assert choose_mode(b"<option>x" * 9_000, "fast", Limits()) == "fast"


WORDS = b"Some words of a sentence that goes on, and ends here. "
HOSTILE = {
    "one tag of 1 MB": b"<p " + b"x" * (1 << 20) + b">hello</p>" + WORDS,
    "a tag without end": b"<" + b"a" * (1 << 20),
    "depth": b"<div>" * 2_400 + WORDS * 10,
    "formatting": b"<b><i>" * 2_400 + WORDS,
    "false ends": b"<div></x>" * 2_400 + WORDS,
    "tables": b"<table><tr><td>" * 2_000 + WORDS,
    "attributes": b"<p " + b" ".join(b"a%d=1" % i for i in range(9_900)) + b">" + WORDS * 20,
    "entities": b"<p>" + b"&amp;&lt;&#x41;" * 100_000,
    "entity bomb": b'<!DOCTYPE html [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><p>' + b"&b;" * 100_000,
    "one word": b"<p>" + b"x" * (4 << 20),
    "unclosed meta": b"<meta " * 45_000 + WORDS,
    "headings": b"<h1>" * 4_900 + b"x" * (1 << 20),
    "scripts": b'<script type="application/ld+json">{' * 20_000,
    "comments": b"<!--" * (1 << 18),
    "licences": b'<a rel="license" href="http://e.org/">' * 4_900,
    "links": b'<a href="http://e.org/">link</a> ' * 10_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_the_time_of_every_mode_is_bounded(name: str) -> None:
    for mode in ("fast", "auto"):  # auto is fast, and careful where that is not sure
        begin = time.process_time()
        with contextlib.suppress(Refused, Skipped):
            read_page(HOSTILE[name], Page("s", "l"), mode, Limits())  # type: ignore[arg-type]
        assert time.process_time() - begin < 8


def test_quick_counts_are_bounds_of_the_exact_ones() -> None:
    for page in (*HOSTILE.values(), PAGE.encode()):
        try:
            quick = check_shape(page, Limits())
        except Refused:
            continue
        exact = shape(page)
        assert quick.tags >= exact.tags and quick.depth >= exact.depth and quick.attributes == exact.attributes


def test_the_shape_counts_what_is_open() -> None:
    assert shape(b"<div></x>" * 20).depth == 20  # an end tag without begin closes nothing
    assert shape(b"<div><p><p><div></div></div><br>").depth == 2
    assert shape(b"<b><i><u>").depth == 3
    assert shape(b"a < b </div></div><b>").depth == 1


@given(
    st.lists(
        st.sampled_from(
            b"<a> </a> <B> </b> < / <p> x </div> <div> <option> </option\t> <br/> \xff<i".split()
            + [b"<a" + b" x" * 9_999, b"<a" + b" x" * 10_000, b"<1" + b" x" * 10_000, b"y" * 30_000]
        ),
        max_size=25,
    ).map(b"".join)
)
def test_the_shape_is_that_of_going_through_all_tags(page: bytes) -> None:
    found = shape(page)
    depth = deepest = 0
    opened: dict[str, int] = {}
    tags = re.findall(r"<(/?)([a-z][^\s/>]{0,32})", page.decode("latin-1").lower(), re.A)
    for slash, name in tags:
        if name in ("p", "option", "br"):
            continue
        change = (-1 if opened.get(name) else 0) if slash else 1
        opened[name] = opened.get(name, 0) + change
        depth += change
        deepest = max(deepest, depth)
    long_tags = re.findall(rb"<[a-zA-Z][^<>]{19999,}", page)
    attributes = max((len(re.findall(rb"\s[^\s=\"']", tag)) for tag in long_tags), default=0)
    assert (found.tags, found.depth, found.attributes) == (len(tags), deepest, attributes)
    assert found.options == sum(name == "option" for _, name in tags)
    quick = check_shape(page, Limits(max_tag_attributes=1 << 30))
    assert (quick.tags, quick.attributes) == (page.count(b"<"), attributes) and quick.depth >= deepest


def test_a_library_error_is_one_rejected_item(tmp_path: Path, read_all: Any, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_what_a_page_reserves_goes_along(tmp_path: Path, read_all: Any, hostile: ModuleType) -> None:
    marks = '<meta name="robots" content="noai, noimageai"><meta name="tdm-reservation" content="1"></head>'
    reserved = PAGE.replace("</head>", marks).encode()
    assert reserved != PAGE.encode()
    (tmp_path / "a.html").write_bytes(reserved)
    (tmp_path / "b.zip").write_bytes(hostile.make_zip([("c.html", reserved), ("d.html", PAGE.encode())]))
    metas = {document.locator: document.meta for document in read_all(tmp_path, "html")}
    for locator in ("a.html", "b.zip!c.html"):
        assert metas[locator]["robots_meta"] == "robots: noai, noimageai" and metas[locator]["tdm_reservation"] == "1"
        found = Reading().reservation(None, metas[locator], None)
        assert found is not None and found.by == "tdm"
    assert not {"robots_meta", "tdm_reservation"} & {*metas["b.zip!d.html"]}
