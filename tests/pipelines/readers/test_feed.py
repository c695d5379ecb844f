"""Feeds: every format, real files, and what is broken or hostile."""

from __future__ import annotations

import json
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.readers import Document, Dropped, Rejected
from pipelines.readers.charset import declared_in_html, decode
from pipelines.readers.feed import parse_feed, timestamp
from pipelines.readers.records import Refused, Skipped

RSS2 = """<?xml version="1.0"?>
<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:cc="http://creativecommons.org/ns#" xmlns:media="http://search.yahoo.com/mrss/">
<channel><title>News</title><link>https://e.org/</link><language>en-gb</language>
<cc:license rdf:resource="http://creativecommons.org/licenses/by/4.0/"
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>
<item><title>A &amp;amp; B</title><link>https://e.org/1</link><guid isPermaLink="false">n1</guid>
<pubDate>Fri, 31 Jan 2020 12:00:00 +0100</pubDate><dc:creator>A. Writer</dc:creator><category>x</category>
<category>y</category><media:title>another</media:title><description>Short.</description>
<content:encoded><![CDATA[<p>Long &amp; whole.</p><ul><li>item</li></ul>]]></content:encoded></item>
<item><title>No link</title><guid>https://e.org/2</guid><description>Plain, 1 &lt; 2 &amp; AT&T</description></item>
<item><title>Empty</title></item>
</channel></rss>"""
RSS1 = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><channel rdf:about="x"><title>One</title><dc:language>de</dc:language>
</channel><item rdf:about="https://e.org/1"><title>T</title><link>https://e.org/1</link><dc:date>2005-01-02T03:04:05Z
</dc:date><description>Text</description></item></rdf:RDF>"""
RSS091 = """<!DOCTYPE rss PUBLIC "-//Netscape//DTD RSS 0.91//EN" "http://my.netscape.com/dtd/rss-0.91.dtd">
<rss version="0.91">
<channel><title>Old</title><item><title>T</title><link>http://e.org/1</link><description>Text &nbsp;here &copy;
</description></item></channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="fr"><title type="html">A &lt;b&gt;feed&lt;/b&gt;</title>
<author><name>Whole Feed</name></author>
<entry><id>urn:1</id><title>T</title><link rel="self" href="https://e.org/self"/><link href="https://e.org/1"/>
<link rel="license" href="https://creativecommons.org/licenses/by-sa/4.0/"/><updated>2020-02-02T00:00:00Z</updated>
<published>2020-01-31T12:00:00+01:00</published><author><name>One</name></author><author><name>Two</name></author>
<category term="t" label="Label"/><summary>Short</summary>
<content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>Rich <b>text</b></p></div></content></entry>
<entry><id>urn:2</id><title>T2</title><content type="text">1 &lt; 2 &amp;amp; 3</content></entry>
<entry><id>urn:3</id><title>T3</title><content type="image/png">aGFsbG8=</content><summary>A picture</summary></entry>
</feed>"""
JSON = {
    "version": "https://jsonfeed.org/version/1.1", "title": "J", "language": "it", "authors": [{"name": "Feed"}],
    "items": [
        {"id": 1, "url": "https://e.org/1", "title": "T", "content_html": "<p>Ciao &amp; ciao</p>", "tags": ["a", "b"],
         "date_published": "2020-01-31T12:00:00-01:00", "author": {"name": "X"}},
        {"id": "2", "content_text": "a < b"},
        {"id": "3"},
        "no object",
    ],
}  # fmt: skip


def documents(items: list[Any]) -> list[Document]:
    return [item for item in items if isinstance(item, Document)]


def test_rss_2(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.xml").write_text(RSS2)
    first, second, third = read_all(tmp_path, "feed")
    assert first.text == "Long & whole.\n\n- item"
    assert (first.url, first.timestamp, first.kind) == ("https://e.org/1", "2020-01-31T11:00:00Z", "web")
    assert (first.locator, first.mime) == ("a.xml#1", "text/html")
    assert first.meta == {
        "title": "A & B", "author": "A. Writer", "license": "http://creativecommons.org/licenses/by/4.0/",
        "language": "en-gb", "entry": "n1", "tags": "x, y", "feed": "News", "feed_kind": "rss",
    }  # fmt: skip
    assert second.text == "Plain, 1 < 2 & AT&T" and second.url == "https://e.org/2"
    assert third == Dropped("a.xml#3", "empty")
    assert first.content_sha256 != second.content_sha256


def test_rss_1_and_older(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "1.rdf").write_text(RSS1)
    (tmp_path / "2.rss").write_text(RSS091)
    one, old = read_all(tmp_path, "feed")
    assert (one.text, one.url, one.timestamp) == ("Text", "https://e.org/1", "2005-01-02T03:04:05Z")
    assert (one.meta["feed"], one.meta["language"]) == ("One", "de")
    assert old.text.split() == ["Text", "here", "©"]


def test_atom(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.atom").write_text(ATOM)
    first, second, third = read_all(tmp_path, "feed")
    assert first.text == "Rich text"
    assert (first.url, first.timestamp) == ("https://e.org/1", "2020-01-31T11:00:00Z")
    assert first.meta == {
        "title": "T", "author": "One, Two", "license": "https://creativecommons.org/licenses/by-sa/4.0/",
        "language": "fr", "entry": "urn:1", "tags": "Label", "feed": "A feed", "feed_kind": "atom",
    }  # fmt: skip
    assert (second.text, second.mime, second.meta["author"]) == ("1 < 2 &amp; 3", "text/plain", "Whole Feed")
    assert third.text == "A picture"


def test_json_feed(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.json").write_text(json.dumps(JSON))
    first, second, third, fourth = read_all(tmp_path, "feed")
    assert (first.text, first.timestamp, first.url) == ("Ciao & ciao", "2020-01-31T13:00:00Z", "https://e.org/1")
    assert first.meta == {
        "title": "T", "author": "X", "language": "it", "entry": "1", "tags": "a, b", "feed": "J", "feed_kind": "json",
    }  # fmt: skip
    assert (second.text, second.meta["author"], second.mime) == ("a < b", "Feed", "text/plain")
    assert third == Dropped("a.json#3", "empty") and fourth == Dropped("a.json#4", "empty")


def test_what_is_no_feed(tmp_path: Path, outcomes: Any) -> None:
    (tmp_path / "map.xml").write_text("<urlset><url>x</url></urlset>")
    (tmp_path / "data.json").write_text('{"a": 1}')
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "broken.json").write_text('{"version": "https://jsonfeed.org/version/1", "items": [')
    (tmp_path / "deep.json").write_text('{"version":' + "[" * 100_000)
    (tmp_path / "items.json").write_text('{"version": "https://jsonfeed.org/version/1", "items": 3}')
    (tmp_path / "none.xml").write_text("<rss><channel><title>x</title></channel></rss>")
    (tmp_path / "nul.xml").write_bytes(bytes(100))
    (tmp_path / "page.html").write_text("<rss>")
    assert outcomes(tmp_path, "feed") == {
        "map.xml": "not_a_feed",
        "data.json": "not_a_feed",
        "list.json": "not_a_feed",
        "broken.json": "bad_json",
        "deep.json": "bad_json",
        "items.json": "bad_json",
        "none.xml": "empty",
        "nul.xml": "binary",
        "page.html": "other_file",
    }


def test_feeds_in_an_archive(tmp_path: Path, outcomes: Any) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.xml", RSS2)
        archive.writestr("b.xml", RSS2[: RSS2.index("<item><title>Empty")])
        archive.writestr("c.txt", "x")
    assert outcomes(tmp_path, "feed") == {
        "a.zip!a.xml#1": "web",
        "a.zip!a.xml#2": "web",
        "a.zip!a.xml#3": "empty",
        "a.zip!b.xml#1": "web",
        "a.zip!b.xml#2": "web",
        "a.zip!b.xml": "truncated",
        "a.zip!c.txt": "other_file",
    }


def test_a_cut_entry_is_no_document(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.xml").write_text(RSS2[: RSS2.index("Plain") + 4])
    document, rest = read_all(tmp_path, "feed")
    assert isinstance(document, Document)
    assert rest == Rejected("a.xml", "truncated", "XML ends inside entry 2")


ENTITIES = '<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'


@pytest.mark.parametrize(
    ("document_type", "text"),
    [
        (f"<!DOCTYPE rss [{ENTITIES}]>", "&b;"),
        (f"<!DOCTYPE rss [<!-- ]> -->{ENTITIES}]>", "&b;"),
        (f"<!DOCTYPE rss [{' ' * 30_000}{ENTITIES}]>", "&b;"),
        ('<!DOCTYPE rss SYSTEM "file:///etc/passwd" [<!ENTITY b SYSTEM "file:///etc/passwd">]>', "&b;"),
        ('<!DOCTYPE rss [<!ENTITY % p SYSTEM "http://e.org/x"> %p;]>', "&b;"),
    ],
)
def test_no_entity_is_expanded_and_nothing_is_fetched(document_type: str, text: str) -> None:
    feed = parse_feed(
        f'{document_type}<rss><channel><item><link href="&b;"/><description>{text}</description></item></channel></rss>'
    )
    assert [entry.content for entry in feed.entries] == [text]


@pytest.mark.parametrize(
    "inner",
    [
        "<a>" * 100_000,
        "<![CDATA[" * 100_000,
        "<!-- " * 100_000,
        "<" * 500_000,
        "&" * 300_000,
        "<category>x</category>" * 50_000,
        "&lt;div&gt;" * 100_000,
        "<item>" * 5_000,
        "".join(f'<x{i}:a xmlns:x{i}="u{i}"/>' for i in range(10_000)),
    ],
    ids=["depth", "cdata", "comments", "brackets", "ampersands", "categories", "html", "items", "namespaces"],
)
def test_hostile_feeds_are_read_quickly(tmp_path: Path, read_all: Any, inner: str) -> None:
    (tmp_path / "a.xml").write_text(f"<rss><channel><item><description>{inner}</description></item></channel></rss>")
    begin = time.process_time()
    items = read_all(tmp_path, "feed")
    assert time.process_time() - begin < 3
    assert items


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("Fri, 31 Jan 2020 12:00:00 GMT", "2020-01-31T12:00:00Z"),
        ("31 Jan 2020 12:00 -0130", "2020-01-31T13:30:00Z"),
        ("2020-01-31", "2020-01-31"),
        ("2020-01-31T12:00:00.123+0200", "2020-01-31T10:00:00Z"),
        ("2020-01-31 12:00", "2020-01-31T12:00:00Z"),
        ("2020-13-31", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_timestamps(value: str | None, found: str | None) -> None:
    assert timestamp(value) == found


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(ATOM)), st.text(max_size=10), st.integers(0, 40))
def test_a_damaged_feed_gives_entries_or_a_refusal(at: int, inserted: str, gone: int) -> None:
    try:
        feed = parse_feed(ATOM[:at] + inserted + ATOM[at + gone :])
    except (Refused, Skipped):
        return
    assert len(feed.entries) <= 3 + inserted.count("<entry")
    if len(feed.entries) < 3 and gone == 0 and "<" not in inserted:
        assert feed.problem is not None


def test_real_feeds(shared: Path) -> None:
    """Feeds of encodings-chardet: nearly all of their entries have a text, an address and a title."""
    total = texts = addresses = titles = feeds = 0
    with tarfile.open(shared / "data" / "encodings-chardet" / "files.tar.gz") as archive:
        for member in archive:
            if not member.name.endswith(".xml") or not (file := archive.extractfile(member)):
                continue
            data = file.read()
            try:
                feed = parse_feed(decode(data, declared_in_html(data))[0])
            except (Refused, Skipped):
                continue
            feeds += 1
            total += len(feed.entries)
            texts += sum(bool(entry.content.strip()) for entry in feed.entries)
            addresses += sum(bool(entry.url) for entry in feed.entries)
            titles += sum(bool(entry.title) for entry in feed.entries)
    assert feeds >= 200 and total >= 2800
    assert texts > 0.92 * total and addresses > 0.99 * total and titles > 0.97 * total
