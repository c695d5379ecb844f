from __future__ import annotations

import bz2
import dataclasses
import functools
import gzip
import io
import os
import random
import time
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.readers import Document, Dropped, Item, Limits, Rejected, Source, plan_units, read_unit
from pipelines.readers import wikipedia as wikipedia_module
from pipelines.readers.records import Refused
from pipelines.readers.units import Unit, UnitFile
from pipelines.readers.wikipedia import read_site
from pipelines.readers.wikipedia_dump import RawPage, bz2_blocks, content_before, plain_blocks, split_pages

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <dbname>dewiki</dbname>
    <base>https://de.wikipedia.org/wiki/Wikipedia:Hauptseite</base>
    <namespaces>
      <namespace key="-2" case="first-letter">Medium</namespace>
      <namespace key="0" case="first-letter" />
      <namespace key="4" case="first-letter">Wikipedia</namespace>
      <namespace key="6" case="first-letter">Datei</namespace>
      <namespace key="14" case="first-letter">Kategorie</namespace>
    </namespaces>
  </siteinfo>
"""
TAIL = "</mediawiki>\n"
LIMITS = Limits()


def page(number: int | str, text: str, title: str = "", ns: str = "0", extra: str = "", model: str = "wikitext") -> str:
    return f"""  <page>
    <title>{title or f"Titel {number}"}</title>
    <ns>{ns}</ns>
    <id>{number}</id>{extra}
    <revision>
      <id>9{number}</id>
      <timestamp>2023-03-0{int(number) % 9 + 1 if str(number).isdigit() else 1}T00:00:00Z</timestamp>
      <contributor><username>Somebody</username><ip>10.1.2.3</ip></contributor>
      <comment>a comment</comment>
      <model>{model}</model>
      <text bytes="3" xml:space="preserve">{text}</text>
    </revision>
  </page>
"""


def read(path: Path, limits: Limits = LIMITS, **options: str | tuple[str, ...]) -> list[Item]:
    source = Source("wiki", "wikipedia", (str(path),), options=tuple(options.items()), limits=limits)
    return [item for unit in plan_units(source) for item in read_unit(unit, limits)]


def read_range(path: Path, start: int, stop: int | None) -> list[Item]:
    file = UnitFile(str(path), path.name, path.stat().st_size, given=True)
    return list(read_unit(Unit("wiki", "wikipedia", (file,), start=start, stop=stop)))


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def multistream(*parts: str) -> bytes:
    return b"".join(bz2.compress(part.encode()) for part in parts)


def test_pages_of_a_dump(tmp_path: Path) -> None:
    text = (
        HEAD
        + page(7, "'''Ä''' &amp; [[Datei:a.jpg]] [[b|c]] [[Kategorie:D]]", "Größe &amp; Maß/1")
        + page(8, "#REDIRECT [[x]]", extra='<redirect title="x" />')
        + page(9, "x", ns="4")
        + page(10, "return 1", model="Scribunto")
        + page(11, "")
        + page(12, "{{nur}}")
        + TAIL
    )
    items = read(write(tmp_path / "dewiki.xml", text))
    document = items[0]
    assert isinstance(document, Document)
    assert dataclasses.asdict(document) == {
        "locator": "dewiki.xml#7", "source": "wiki", "kind": "prose", "text": "Ä & c", "doc_id": document.doc_id,
        "url": "https://de.wikipedia.org/wiki/Gr%C3%B6%C3%9Fe_%26_Ma%C3%9F/1", "repo": None, "path": None,
        "commit": None, "timestamp": "2023-03-08T00:00:00Z",
        "mime": "text/x-wiki", "content_sha256": document.content_sha256,
        "swhid": document.swhid, "language": "de", "programming_language": None,
        "meta": {"title": "Größe & Maß/1", "page_id": "7", "revision": "97", "categories": "D"},
    }  # fmt: skip
    assert [(item.locator, item.reason) for item in items if isinstance(item, Dropped)] == [
        ("dewiki.xml#8", "redirect"),
        ("dewiki.xml#9", "other_namespace"),
        ("dewiki.xml#10", "not_wikitext"),
        ("dewiki.xml#11", "empty"),
        ("dewiki.xml#12", "no_main_text"),
    ]
    assert "Somebody" not in str(items) and "10.1.2.3" not in str(items) and "a comment" not in str(items)


def test_options(tmp_path: Path) -> None:
    path = write(
        tmp_path / "d.xml", HEAD + page(1, "a {{nowrap|b}} &lt;math&gt;c&lt;/math&gt;") + page(2, "d", ns="4") + TAIL
    )
    items = read(path, namespaces=("Wikipedia",), language="gsw")
    assert [(i.language, i.text, i.meta["namespace"]) for i in items if isinstance(i, Document)] == [("gsw", "d", "4")]
    items = read(path, namespaces=("0", "4"), templates="drop", math="drop")
    assert [item.text for item in items if isinstance(item, Document)] == ["a", "d"]
    (item,) = read(path, namespaces=("Portal",))
    assert isinstance(item, Rejected) and "Portal" in item.message and "Kategorie" in item.message


def test_the_latest_of_many_revisions(tmp_path: Path) -> None:
    one = page(1, "old")
    later = "<revision><id>5</id><timestamp>2024-01-01T00:00:00Z</timestamp><text>new</text></revision></page>"
    (item,) = read(write(tmp_path / "d.xml", HEAD + one.replace("</page>", later) + TAIL))
    assert isinstance(item, Document) and item.text == "new" and item.meta["revision"] == "5"


@pytest.mark.parametrize("suffix", ["", ".bz2", ".gz", ".multi.bz2"])
def test_compressions(tmp_path: Path, suffix: str) -> None:
    parts = [HEAD, *(page(number, f"text {number}") for number in range(1, 6)), TAIL]
    data = "".join(parts).encode()
    packed = {"": data, ".bz2": bz2.compress(data), ".gz": gzip.compress(data), ".multi.bz2": multistream(*parts)}[
        suffix
    ]
    name = "d.xml" + suffix.removeprefix(".multi")
    items = read(write(tmp_path / name, packed))
    assert [item.text for item in items if isinstance(item, Document)] == [f"text {n}" for n in range(1, 6)]
    assert len(items) == 5


def collect(data: bytes, cuts: list[int], packed: bool) -> list[RawPage]:
    pages = []
    for start, stop in zip([0, *cuts], [*cuts, None], strict=True):
        raw = io.BytesIO(data)
        blocks = bz2_blocks(raw, start, stop, LIMITS) if packed else plain_blocks(raw, start, stop)
        before = functools.partial(content_before, raw, start, packed, LIMITS)
        pages += list(split_pages(blocks, LIMITS, 0 if packed else start, before))
    return pages


def same(pages: list[RawPage]) -> list[tuple[str, object]]:
    return [(p.place, p.data if isinstance(p.data, bytes) else (p.data.error, p.data.message)) for p in pages]


# Streams that end anywhere, as parallel compressors make them, in a dump that may be damaged or cut off.
@given(st.data())
@settings(max_examples=150, deadline=None)
def test_each_page_once_at_any_cut(data: st.DataObject) -> None:
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    text = (HEAD + "".join(page(n, "x" * rng.randrange(300)) for n in range(rng.randrange(8))) + TAIL).encode()
    packed = data.draw(st.booleans())
    if packed:
        edges = sorted(rng.sample(range(1, len(text)), min(len(text) - 1, rng.randrange(12))))
        text_parts = [text[a:b] for a, b in zip([0, *edges], [*edges, None], strict=True)]
        file = b"".join(bz2.compress(part) for part in text_parts)
    else:
        file = text
    damage = data.draw(st.sampled_from(["none", "none", "byte", "cut"]))
    if damage == "byte" and packed:
        at = rng.randrange(len(file))
        file = file[:at] + bytes([file[at] ^ 1 << rng.randrange(8)]) + file[at + 1 :]
    elif damage == "cut":
        file = file[: rng.randrange(len(file))]
    cuts = sorted(set(data.draw(st.lists(st.integers(1, max(1, len(file) - 1)), max_size=5))))
    whole = collect(file, [], packed)
    assert same(collect(file, cuts, packed)) == same(whole)
    if damage == "none":
        assert b"".join(p.data for p in whole if isinstance(p.data, bytes)).count(b"<title>") == text.count(b"<page>")
        assert not [p for p in whole if isinstance(p.data, Refused)]


def test_plan_cuts_only_what_can_be_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wikipedia_module, "BZ2_RANGE_BYTES", 2000)
    monkeypatch.setattr(wikipedia_module, "PLAIN_RANGE_BYTES", 9000)
    rng = random.Random(1)
    parts = [HEAD, *(page(n, f"{n} " + rng.randbytes(300).hex()) for n in range(1, 41)), TAIL]
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/multi.xml.bz2", multistream(*parts))
    write(tmp_path / "in/one.xml.bz2", bz2.compress("".join(parts).encode()))
    write(tmp_path / "in/plain.xml", "".join(parts))
    write(tmp_path / "in/zipped.xml.gz", gzip.compress("".join(parts).encode()))
    write(tmp_path / "in/multi-index.txt.bz2", bz2.compress(b"600:7:Titel"))
    units = plan_units(Source("wiki", "wikipedia", (str(tmp_path / "in"),)))
    counts = Counter(file.name for unit in units for file in unit.files)
    assert counts["multi.xml.bz2"] > 5 and counts["plain.xml"] > 2
    assert counts["one.xml.bz2"] == counts["zipped.xml.gz"] == 1
    items = [item for unit in units for item in read_unit(unit)]
    documents = Counter(item.locator for item in items if isinstance(item, Document))
    assert len(documents) == 160 and set(documents.values()) == {1}
    assert [i for i in items if not isinstance(i, Document)] == [Dropped("multi-index.txt.bz2", "other_file")]


def rejected(items: list[Item]) -> list[tuple[str, str]]:
    return [(item.locator, item.error) for item in items if isinstance(item, Rejected)]


def test_damaged_stream_costs_only_its_pages(tmp_path: Path) -> None:
    parts = [HEAD, *(page(n, f"text {n} " + "abc" * 50) for n in range(1, 6)), TAIL]
    streams = [bz2.compress(part.encode()) for part in parts]
    broken = bytearray(streams[3])
    broken[len(broken) // 2] ^= 0xFF
    streams[3] = bytes(broken)
    path = write(tmp_path / "d.xml.bz2", b"".join(streams))
    items = read(path)
    assert [i.meta["page_id"] for i in items if isinstance(i, Document)] == ["1", "2", "4", "5"]
    place = sum(map(len, streams[:3]))
    assert rejected(items) == [(f"d.xml.bz2@{place}", "broken_record")]


def dump(*pages: str) -> bytes:
    return (HEAD + "".join(pages) + TAIL).encode()


FIRST = len(HEAD) + 2  # where the first page's tag stands
HOSTILE: dict[str, tuple[bytes, list[tuple[str, str]]]] = {
    "no.xml": (b"<html><body>no dump</body></html>", [("", "broken_record")]),
    "utf16.xml": ("<mediawiki></mediawiki>".encode("utf-16"), [("", "broken_record")]),
    "no.xml.bz2": (b"not bzip2 at all", [("@0", "broken_record")]),
    "cut.xml.bz2": (bz2.compress(dump())[:-20], [("@0", "truncated")]),
    "cut.xml.gz": (gzip.compress(dump(page(1, "a")))[:-12], [("@0", "truncated")]),
    "end.xml": (dump(page(1, "a"))[: -len(TAIL)], [("@end", "truncated")]),
    "half.xml": (dump(page(1, "a"))[: FIRST + 100], [(f"@{FIRST}", "truncated"), ("@end", "truncated")]),
    "twice.xml": (dump(page(1, "a")[:100], page(2, "b")), [(f"@{FIRST}", "truncated")]),
    "bad.xml": (dump(page(1, "a & <b>")), [(f"@{FIRST}", "broken_record")]),
    "latin.xml": (dump(page(1, "\xe4")).decode().encode("latin-1"), [(f"@{FIRST}", "broken_record")]),
    "control.xml": (dump(page(1, "a\x01&#0;")), [(f"@{FIRST}", "broken_record")]),
    "noid.xml": (dump(page("x", "a")), [(f"@{FIRST}", "broken_record")]),
    "ns.xml": (dump(page(1, "a", ns="zero")), [("#1", "broken_record")]),
    "norev.xml": (dump("<page><id>1</id></page>"), [("#1", "broken_record")]),
    "deep.xml": (dump("  <page>" + "<a>" * 200_000 + "</page>"), [(f"@{FIRST}", "broken_record")]),
    "again.xml": (dump(page(1, "a"), page(1, "a")), [("#1", "duplicate_id")]),
    "dtd.xml": (b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + dump(page(1, "&b;")), [(f"@{FIRST + 30}", "broken_record")]),
    "bomb.xml.bz2": (
        multistream(HEAD, page(1, "a"), " " * (64 << 20), page(2, "b"), TAIL),
        [(f"@{len(multistream(HEAD, page(1, 'a')))}", "zip_bomb")],
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_dumps_end_as_rejected(tmp_path: Path, name: str) -> None:
    data, expected = HOSTILE[name]
    assert rejected(read(write(tmp_path / name, data))) == [(name + place, error) for place, error in expected]


def test_pages_over_the_limit(tmp_path: Path) -> None:
    limits = Limits(max_item_bytes=5000)
    path = write(tmp_path / "d.xml", HEAD + page(1, "a") + page(2, "b" * 900_000) + page(3, "c") + TAIL)
    items = read(path, limits)
    assert [item.text for item in items if isinstance(item, Document)] == ["a", "c"]
    assert [error for _, error in rejected(items)] == ["too_large"]


def test_time_is_linear_in_the_size_of_a_page() -> None:
    def seconds(size: int) -> float:
        data = (HEAD + page(1, "b" * size) + TAIL).encode()
        started = time.process_time()
        assert len(list(split_pages(plain_blocks(io.BytesIO(data), 0, None), LIMITS))) == 1
        return time.process_time() - started

    assert seconds(32 << 20) < max(0.2, 8 * seconds(8 << 20))


def test_head_is_read_wherever_the_range_begins(tmp_path: Path) -> None:
    parts = [HEAD, *(page(n, "[[Datei:a.jpg]]x") for n in range(1, 4)), TAIL]
    path = write(tmp_path / "d.xml.bz2", multistream(*parts))
    items = read_range(path, 1, None)
    assert [item.text for item in items if isinstance(item, Document)] == ["x", "x", "x"]
    assert {item.url.rpartition("/")[0] for item in items if isinstance(item, Document) and item.url} == {
        "https://de.wikipedia.org/wiki"
    }


def test_head_alone() -> None:
    site = read_site(io.BytesIO(HEAD.encode()), None, LIMITS)
    assert site.language == "de" and site.namespaces[14] == "Kategorie" and site.number("kategorie") == 14
    assert site.number("-2") == -2 and site.number("none") is None


@pytest.fixture(scope="session")
def enwiki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """206 pages of the English Wikipedia, as gensim's wheel carries them."""
    folders = [os.environ.get("GRISTMILL_SAMPLES"), *(str(p / "samples") for p in Path(__file__).resolve().parents)]
    for folder in filter(None, folders):
        if (Path(folder) / "enwiki.xml.bz2").exists():
            return Path(folder) / "enwiki.xml.bz2"
        for wheel in Path(folder).glob("**/gensim-*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                name = next(n for n in archive.namelist() if "enwiki-latest-pages-articles1" in n)
                return write(tmp_path_factory.mktemp("enwiki") / "enwiki.xml.bz2", archive.read(name))
    pytest.skip("no gensim wheel: `pip download --no-deps gensim==4.4.0` into the folder of GRISTMILL_SAMPLES")


def test_real_pages(enwiki: Path) -> None:
    items = read(enwiki)
    assert Counter(getattr(item, "reason", type(item).__name__) for item in items) == {
        "Document": 106, "redirect": 99, "other_namespace": 1,
    }  # fmt: skip
    documents = {item.meta["title"]: item for item in items if isinstance(item, Document)}
    assert documents["Alain Connes"].text.startswith("Alain Connes (born 1 April 1947) is a French mathematician")
    assert documents["Alain Connes"].text.endswith("An interview with Alain Connes and a discussion about it")
    joined = "\n".join(document.text for document in documents.values())
    assert "[[" not in joined and "]]" not in joined and "<ref" not in joined and "''" not in joined
    assert joined.count("{{") < 10
