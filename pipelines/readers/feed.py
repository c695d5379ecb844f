"""Feeds to documents, one an entry: RSS 0.9x, 1.0 and 2.0, Atom 0.3 and 1.0, JSON Feed 1.x.

The text is the content of the entry, else its summary; HTML becomes text as it stands, for a feed holds no menus.  XML
is read by lxml without a document type declaration: no entity can be declared, so none is expanded, and nothing is
fetched.  XML with errors is read as far as it can be, as every feed reader does; what is missing of it afterwards is
one rejected item.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from licenses.identifiers import sha256_hex
from pipelines.readers.charset import declared_in_html, decode
from pipelines.readers.html import check_shape, html_text
from pipelines.readers.page_metadata import plausible_url
from pipelines.readers.records import Document, Dropped, Item, Refused, Rejected, Skipped, safe_meta, safe_text
from pipelines.readers.text import wanted_bytes

if TYPE_CHECKING:
    from lxml.etree import _Element

    from pipelines.readers.limits import Limits
    from pipelines.readers.reading import Entry, Reading
    from pipelines.readers.units import UnitFile

FEED_SUFFIXES = (".xml", ".rss", ".atom", ".rdf", ".json")
# Prefixes of what is read, by namespace; names without one are those of RSS and Atom.
_NAMESPACES = {
    "": "",
    "http://www.w3.org/2005/Atom": "",
    "http://purl.org/atom/ns#": "",  # Atom 0.3
    "http://purl.org/rss/1.0/": "",
    "http://my.netscape.com/rdf/simple/0.9/": "",  # RSS 0.90
    "http://channel.netscape.com/rdf/simple/0.9/": "",
    "http://backend.userland.com/rss2": "",
    "http://blogs.law.harvard.edu/tech/rss": "",
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#": "rdf",
    "http://purl.org/rss/1.0/modules/content/": "content",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://purl.org/dc/terms/": "dcterms",
    "http://creativecommons.org/ns#": "cc",
    "http://web.resource.org/cc/": "cc",
    "http://backend.userland.com/creativeCommonsRssModule": "creativeCommons",
    "http://cyber.law.harvard.edu/rss/creativeCommonsRssModule.html": "creativeCommons",
    "http://www.w3.org/1999/xhtml": "xhtml",
    "http://www.w3.org/XML/1998/namespace": "xml",
}
_ROOTS = frozenset({"rss", "rdf:RDF", "feed", "channel"})
_ENTRIES = frozenset({"item", "entry"})
# In order: the whole content before the summary.
_CONTENTS = ("content:encoded", "content", "xhtml:body", "description", "summary", "tagline")
_DATES = ("published", "issued", "pubDate", "dcterms:issued", "dc:date", "dcterms:created", "updated", "modified",
          "dcterms:modified")  # fmt: skip
_LICENSES = ("cc:license", "creativeCommons:license", "license")
_ROOT = re.compile(r"<(?:[\w.-]{1,40}:)?(?:rss|RDF|feed|channel)(?=[\s/>])")
_HEAD = 1 << 16  # characters in which the root element begins
# Not allowed in XML 1.0, section 2.2, and hence an end of the parse.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
# An ampersand that begins no reference; the parser would leave out what follows it.
_STRAY = re.compile(
    r"<!\[CDATA\[.*?(?:\]\]>|\Z)|&(?!(?:#[0-9]{1,8}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{0,31});)", re.S
)
_HIDDEN = re.compile(r"<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)", re.S)
_END = re.compile(r"</(?:[\w.-]{1,40}:)?(?:item|entry)\s{0,20}>|<(?:item|entry)(?:\s[^<>]{0,2000})?/>")
_ROOT_END = re.compile(r"</(?:[\w.-]{1,40}:)?(?:rss|RDF|feed|channel)\s{0,20}>")
_TAIL = 4096  # a comment of the server may follow the end
_MARKUP = re.compile(r"<[a-zA-Z/!][^<>]*>|&(?:#\w{1,8}|[a-zA-Z]\w{1,31});")
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,]\d{1,9})?)?\s?(Z|[+-]\d\d:?\d\d)?)?", re.I
)
_YEARS = range(1970, 2100)
_MAX_META = 500


@dataclasses.dataclass(slots=True)
class FeedEntry:
    """What a feed says of one entry; dates as they stand there."""

    content: str = ""
    is_html: bool = True
    title: str | None = None
    url: str | None = None
    date: str | None = None
    author: str | None = None
    license: str | None = None
    language: str | None = None
    number: str | None = None  # guid or id
    tags: str | None = None


@dataclasses.dataclass(slots=True)
class Feed:
    kind: str  # rss, atom or json
    title: str | None
    entries: list[FeedEntry]
    problem: Refused | None = None  # why entries are missing


def read_feeds(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """The entries of a feed, or of the feeds among the members of an archive.

    Locator: `name#entry`, counted from 1.  content_sha256 is that of the entry's content in UTF-8.
    """
    rest: list[Item] = []

    def first(entry: Entry) -> Document:
        items = _items(entry, reading)
        rest.extend(items[1:])
        return cast(Document, items[0])

    for item in reading.each(raw, file, first):
        yield item
        yield from rest
        rest.clear()


def _items(entry: Entry, reading: Reading) -> list[Item]:
    """At least one item; raises Skipped or Refused for the file as a whole."""
    data = wanted_bytes(entry, FEED_SUFFIXES, reading)
    declared = declared_in_html(data)
    text, encoding = decode(data, declared)
    feed = parse_feed(text)
    items: list[Item] = []
    for number, each in enumerate(feed.entries, 1):
        locator = f"{entry.locator}#{number}"
        try:
            document = _document(each, feed, locator, reading)
        except Skipped as skipped:
            items.append(skipped.at(locator))
        except Refused as refused:
            items.append(refused.at(locator))
        else:
            if encoding != "utf-8":
                document.meta["encoding"] = encoding
            items.append(document)
    if feed.problem is not None:
        items.append(Rejected(entry.locator, feed.problem.error, feed.problem.message))
    if not items:
        items.append(Dropped(entry.locator, "empty"))
    return items


def _document(entry: FeedEntry, feed: Feed, locator: str, reading: Reading) -> Document:
    text = safe_text(_content_text(entry, reading.limits))[0]
    if not text.strip():
        raise Skipped("empty")
    unit = reading.unit
    return Document(
        locator=locator, source=unit.source, kind=unit.document_kind or "web", text=text,
        url=plausible_url(entry.url) or plausible_url(entry.number), timestamp=timestamp(entry.date),
        mime="text/html" if entry.is_html else "text/plain",
        content_sha256=sha256_hex(entry.content.encode("utf-8", "replace")),
        meta=safe_meta({
            "title": entry.title, "author": entry.author, "license": entry.license, "language": entry.language,
            "entry": entry.number, "tags": entry.tags, "feed": feed.title, "feed_kind": feed.kind,
        }),
    )  # fmt: skip


def _content_text(entry: FeedEntry, limits: Limits) -> str:
    content = entry.content.strip()
    if not entry.is_html or not _MARKUP.search(content):
        return content
    check_shape(content.encode("utf-8", "replace"), limits)
    return html_text(content)


def parse_feed(text: str) -> Feed:
    """The entries of a feed in the order in which they stand; raises Skipped('not_a_feed') for another document, and
    Refused for what cannot be parsed at all."""
    head = text[:256].lstrip("\ufeff \t\r\n")
    return _json_feed(text) if head[:1] in ("{", "[") else _xml_feed(text)


def timestamp(value: str | None) -> str | None:
    """RFC 822 or ISO 8601 as `2020-01-31T12:00:00Z`, or `2020-01-31` where there is no time; None if it is neither.  A
    time without zone is taken as UTC."""
    value = (value or "").strip()[:64]
    found = _ISO.fullmatch(value)
    try:
        if found and not found[4]:
            return datetime(*map(int, found.groups()[:3])).date().isoformat()  # type: ignore[arg-type]
        if found:
            zone = (found[7] or "Z").upper().replace("Z", "+00:00")
            moment = datetime.fromisoformat(f"{value[:10]}T{found[4]}:{found[5]}:{found[6] or '00'}{zone}")
        else:
            moment = parsedate_to_datetime(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment.year in _YEARS else None


# JSON Feed, version 1.1 (jsonfeed.org).


def _json_feed(text: str) -> Feed:
    try:
        feed = json.loads(text.lstrip("\ufeff"))
    except RecursionError as error:
        raise Refused("bad_json", "nested too deeply") from error
    except ValueError as error:
        raise Refused("bad_json", str(error)) from error
    if not isinstance(feed, dict) or "jsonfeed.org/version/" not in str(feed.get("version")):
        raise Skipped("not_a_feed")
    items = feed.get("items")
    if not isinstance(items, list):
        raise Refused("bad_json", f"`items` is {type(items).__name__}, not a list")
    language = _string(feed.get("language"))
    return Feed("json", _string(feed.get("title")), [_json_entry(item, language, _people(feed)) for item in items])


def _json_entry(item: Any, language: str | None, feed_people: str | None) -> FeedEntry:
    if not isinstance(item, dict):
        return FeedEntry()
    markup, plain = item.get("content_html"), item.get("content_text")
    is_html = isinstance(markup, str) and bool(markup.strip())
    content = markup if is_html else plain if isinstance(plain, str) else item.get("summary")
    tags = item.get("tags")
    number = item.get("id")
    return FeedEntry(
        content=content if isinstance(content, str) else "", is_html=is_html, title=_string(item.get("title")),
        url=_string(item.get("url")), date=_string(item.get("date_published")) or _string(item.get("date_modified")),
        author=_people(item) or feed_people, language=_string(item.get("language")) or language,
        number=str(number) if isinstance(number, int) else _string(number),
        tags=_string(", ".join(tag for tag in tags if isinstance(tag, str))) if isinstance(tags, list) else None,
    )  # fmt: skip


def _people(item: dict[str, Any]) -> str | None:
    """`author` of version 1.0, `authors` of 1.1."""
    authors = item.get("authors")
    people = authors if isinstance(authors, list) else [item.get("author")]
    names = [person["name"] for person in people if isinstance(person, dict) and isinstance(person.get("name"), str)]
    return _string(", ".join(names))


def _string(value: Any) -> str | None:
    """One line, or None for nothing and for other types."""
    return " ".join(value.split())[:_MAX_META] or None if isinstance(value, str) else None


# RSS and Atom.


def _xml_feed(text: str) -> Feed:
    from lxml import etree

    begin = _ROOT.search(text[:_HEAD])
    if begin is None:
        raise Skipped("not_a_feed")
    # Without what stands before the root, its document type too.
    text = _FORBIDDEN.sub("\ufffd", text[begin.start() :])
    text = _STRAY.sub(lambda match: match[0] if len(match[0]) > 1 else "&amp;", text)
    # huge_tree: without a document type there are no entities, and the file is bounded.
    parser = etree.XMLParser(
        encoding="utf-8", recover=True, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    try:
        root = etree.fromstring(text.strip().encode(), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Refused("broken_record", f"XML: {error}"[:200]) from error
    if root is None:
        raise Refused("broken_record", "XML without a root element")
    if _name(root) not in _ROOTS:
        raise Skipped("not_a_feed")
    found = [each for each in root.iter() if isinstance(each.tag, str) and _name(each) in _ENTRIES and _is_entry(each)]
    ended = len(_END.findall(_HIDDEN.sub("", text)))
    problem = None
    if ended < len(found) and not text.rstrip().endswith(">"):
        found.pop()  # the entry that the end of the file cuts
        problem = Refused("truncated", f"XML ends inside entry {len(found) + 1}")
    elif ended > len(found):
        problem = Refused("broken_record", f"XML: {ended - len(found)} of {ended} entries cannot be read")
    elif not _closed(text):
        problem = Refused("truncated", f"XML ends after entry {len(found)}")
    channel = next((each for each in root if isinstance(each.tag, str) and _name(each) == "channel"), root)
    atom = _name(root) == "feed"
    general = _Fields(channel)
    entries = [_xml_entry(_Fields(each), general) for each in found]
    return Feed("atom" if atom else "rss", general.line("title", "dc:title"), entries, problem)


def _closed(text: str) -> bool:
    return bool(_ROOT_END.search(text[-_TAIL:]))


def _name(element: _Element) -> str:
    """The local name with the prefix of _NAMESPACES; with its own, where the feed forgot to declare it."""
    space, closed, local = str(element.tag).rpartition("}")
    if not closed:
        return local
    prefix = _NAMESPACES.get(space[1:])
    return local if prefix == "" else f"{prefix or '?'}:{local}"


def _is_entry(element: _Element) -> bool:
    """Not one that stands in the content of another."""
    parent = element.getparent()
    return parent is not None and _name(parent) in _ROOTS


class _Fields:
    """The children of a channel or an entry by name; of repeated ones all."""

    def __init__(self, element: _Element) -> None:
        self.element = element
        self.children: dict[str, list[_Element]] = {}
        for child in element:
            if isinstance(child.tag, str) and (name := _name(child)) not in _ENTRIES:
                self.children.setdefault(name, []).append(child)

    def line(self, *names: str) -> str | None:
        """The text of the first of them, markup left out."""
        for name in names:
            for child in self.children.get(name, ()):
                text = _inner(child)
                if child.get("type") in ("html", "text/html") or _MARKUP.search(text):
                    text = unescape(_MARKUP.sub(lambda match: match[0] if match[0][0] == "&" else " ", text))
                if line := _string(text):
                    return line
        return None

    def people(self) -> str | None:
        names = [
            name
            for person in self.children.get("author", ())
            for name in [_Fields(person).line("name") or (_string(_inner(person)) if not len(person) else None)]
            if name
        ]
        return _string(", ".join(names)) or self.line("dc:creator")

    def link(self) -> str | None:
        """Atom: the alternate; RSS: the text of `link`, else a guid that is one."""
        links = self.children.get("link", [])
        for link in links:
            if link.get("href") and link.get("rel", "alternate") == "alternate":
                return str(link.get("href")).strip()
        plain = next((text for link in links if (text := _inner(link).strip())), None)
        guid = next(iter(self.children.get("guid", [])), None)
        if plain is None and guid is not None and guid.get("isPermaLink", "true") == "true":
            return _inner(guid).strip()
        return plain

    def license(self) -> str | None:
        for name in _LICENSES:
            for child in self.children.get(name, ()):
                resource = next((value for key, value in child.items() if key.endswith("resource")), None)
                if line := _string(resource or _inner(child)):
                    return line
        for link in self.children.get("link", ()):
            if link.get("rel") == "license" and link.get("href"):  # RFC 4946
                return _string(str(link.get("href")))
        return None

    def content(self) -> tuple[str, bool]:
        """The content, and whether it is HTML."""
        for name in _CONTENTS:
            for child in self.children.get(name, ()):
                kind = (child.get("type") or "").lower()
                if child.get("mode") == "base64" or kind.startswith(("image/", "audio/", "video/", "application/")):
                    if kind != "application/xhtml+xml":
                        continue
                markup = _markup(child) if len(child) else _inner(child)
                if markup.strip():
                    # Atom 1.0, 3.1.1: plain text is what has no type; RSS has HTML and does not say so.
                    plain = kind in ("text", "text/plain") and not len(child)
                    return markup, not plain
        return "", True


def _inner(element: _Element) -> str:
    """All text below; references to entities that are not declared, such as &nbsp;, as HTML has them."""
    pieces = [element.text or ""]
    for child in element.iter():
        if child is element:
            continue
        if isinstance(child.tag, str):
            pieces.append(child.text or "")
        else:
            pieces.append(unescape(child.text or ""))  # an entity
        pieces.append(child.tail or "")
    return "".join(pieces)


def _markup(element: _Element) -> str:
    """The children as HTML."""
    from lxml import etree

    pieces = [element.text or ""]
    for child in element:
        pieces.append(etree.tostring(child, encoding="unicode"))
    return re.sub(r"(</?)[\w.-]{1,40}:", r"\1", "".join(pieces))


def _xml_entry(entry: _Fields, feed: _Fields) -> FeedEntry:
    content, is_html = entry.content()
    language = entry.element.get("{http://www.w3.org/XML/1998/namespace}lang") or feed.line("language", "dc:language")
    language = language or feed.element.get("{http://www.w3.org/XML/1998/namespace}lang")
    tags = [
        text
        for name in ("category", "dc:subject")
        for child in entry.children.get(name, ())
        if (text := _string(child.get("label") or child.get("term") or _inner(child)))
    ]
    date = next((text for name in _DATES if (text := entry.line(name))), None)
    return FeedEntry(
        content=content, is_html=is_html, title=entry.line("title", "dc:title"), url=entry.link(), date=date,
        author=entry.people() or feed.people(), license=entry.license() or feed.license(),
        language=_string(language), number=entry.line("guid", "id"), tags=_string(", ".join(tags)),
    )  # fmt: skip
