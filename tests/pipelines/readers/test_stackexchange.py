from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import random
import struct
import time
import tracemalloc
import zlib
from collections import Counter
from html import escape
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.readers import Document, Dropped, Item, Limits, Rejected, Source, plan_units, read_unit
from pipelines.readers import stackexchange as stackexchange_module
from pipelines.readers.records import Refused
from pipelines.readers.stackexchange import site_of
from pipelines.readers.stackexchange_archive import archive_members
from pipelines.readers.stackexchange_html import post_text
from pipelines.readers.stackexchange_index import Posts, build_index
from pipelines.readers.units import Unit, UnitFile

DATA = Path(__file__).parents[2] / "data" / "readers" / "stackexchange"
BEER = DATA / "beer.stackexchange.com" / "Posts.xml"
HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<posts>\n'
TAIL = "</posts>\n"
LIMITS = Limits()


def row(number: int | str, parent: int | None = None, body: str = "", kind: int | None = None, score: int = 1) -> str:
    kind = kind or (2 if parent is not None else 1)
    inside = f' ParentId="{parent}"' if parent is not None else ' Title="T"'
    text = escape(f"<p>{body or f'text {number}'}</p>\n").replace("\n", "&#xA;")
    return f'  <row Id="{number}" PostTypeId="{kind}"{inside} Score="{score}" Body="{text}" OwnerUserId="{number}" />\n'


def dump(*rows: str) -> bytes:
    return (HEAD + "".join(rows) + TAIL).encode()


def read(path: Path, limits: Limits = LIMITS, **options: str | int) -> list[Item]:
    source = Source("qa", "stackexchange", (str(path),), options=tuple(options.items()), limits=limits)
    return [item for unit in plan_units(source) for item in read_unit(unit, limits)]


def read_bytes(data: bytes, folder: Path, name: str = "Posts.xml") -> list[Item]:
    (folder / name).write_bytes(data)
    return read(folder / name)


def outcomes(items: list[Item]) -> list[tuple[str, str]]:
    found = []
    for item in items:
        what = item.reason if isinstance(item, Dropped) else item.error if isinstance(item, Rejected) else "document"
        found.append((item.locator.removeprefix("Posts.xml"), what))
    return found


def test_questions_of_a_site() -> None:
    items = read(DATA)
    documents = [item for item in items if isinstance(item, Document)]
    first, second = documents
    assert first.text == (DATA / "1.txt").read_text().rstrip("\n")
    assert second.text == "Q: Alone No answers here"
    name = "beer.stackexchange.com/Posts.xml"
    assert (first.locator, first.url, first.kind) == (
        f"{name}#1", "https://beer.stackexchange.com/questions/1", "conversation",
    )  # fmt: skip
    assert first.timestamp == "2014-01-21T20:26:05.383"
    posts = json.loads(first.meta.pop("posts"))
    assert first.meta == {
        "title": 'What is a "mash"?', "tags": "mash,all-grain", "score": "18", "answers": "2",
        "site": "beer.stackexchange.com", "license": "CC BY-SA 3.0",
    }  # fmt: skip
    assert [(p["id"], p["score"], p["user"], p.get("accepted", False)) for p in posts] == [
        (1, 18, 0, False), (4, 10, 0, True), (3, 9, 1, False),
    ]  # fmt: skip
    assert [first.text[p["start"] : p["stop"]][:8] for p in posts] == ["What is ", "quoted\n\n", "Nine a l"]
    assert [(i.locator, i.reason) for i in items if isinstance(i, Dropped)] == [
        ("1.txt", "other_file"),
        (f"{name}#7", "empty"),
        (f"{name}#5", "no_question"),
        (f"{name}#6", "not_a_question"),
    ]
    assert "user9" not in str(documents)


def test_options() -> None:
    assert outcomes(read(BEER, min_question_score=0, site="x.org"))[:2] == [("#1", "document"), ("#7", "empty")]
    items = read(BEER, min_answer_score=10, min_answers=1, site="x.org")
    assert outcomes(items) == [
        ("#1", "document"), ("#3", "low_score"), ("#7", "empty"), ("#2", "few_answers"), ("#5", "no_question"),
        ("#6", "not_a_question"),
    ]  # fmt: skip
    assert isinstance(items[0], Document) and items[0].url == "https://x.org/questions/1"
    assert outcomes(read(BEER, min_question_score=19)) == [
        ("#1", "low_score"), ("#4", "no_question"), ("#3", "no_question"), ("#7", "no_question"), ("#2", "low_score"),
        ("#5", "no_question"), ("#6", "not_a_question"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("math.stackexchange.com/Posts.xml", "math.stackexchange.com"),
        ("dumps/stackoverflow.com-Posts.xml", "stackoverflow.com"),
        ("mathoverflow.net.xml", "mathoverflow.net"),
        ("ru.stackoverflow.com/Posts.xml.bz2", "ru.stackoverflow.com"),
        ("Posts.xml", None),
    ],
)
def test_site_by_name(name: str, site: str | None) -> None:
    assert site_of(name) == site


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>a</p>\n\n<p>b\nc</p>", "a\n\nb c"),
        ("<ol>\n<li><p>a</p>\n\n<pre><code>b\n  c\n</code></pre></li>\n<li>d</li>\n</ol>", "* a\n\nb\n  c\n\n* d"),
        ("<pre><code>a\n\n\n\nb &lt;c&gt;</code></pre>", "a\n\nb <c>"),
        ("a<br>b<br />c<hr>d", "a\nb\nc\n\nd"),
        ("<h2>a</h2>b <kbd>c</kbd><sup>2</sup>", "a\n\nb c2"),
        ("<table><tr><th>a</th><th>b</th></tr><tr><td>c</td><td>d</td></tr></table>", "a | b\nc | d"),
        ("<!-- language: lang-py --><p>a</p><!-- never closed", "a"),
        ("1 < 2 and a<b <3 </p", "1 < 2 and a<b <3 </p"),
        ("&lt;p&gt; &amp;lt; &#8212;", "<p> &lt; \u2014"),
        ("</pre>a  b</p></li>", "a b"),
        ("", ""),
    ],
)
def test_html_of_posts(markup: str, text: str) -> None:
    assert post_text(markup) == text


@pytest.mark.parametrize(
    "piece", ["<p>", "<", "<p ", "<pre>", "<!--", "<li>", " ", "a ", "\n", "&", "<td>", "</pre>", "* "]
)
def test_html_takes_linear_time(piece: str) -> None:
    def seconds(count: int) -> float:
        started = time.process_time()
        post_text(piece * count)
        return time.process_time() - started

    assert seconds(40_000) < max(0.1, 9 * seconds(10_000))


@pytest.mark.parametrize("suffix", ["", ".bz2", ".gz"])
def test_compressions(tmp_path: Path, suffix: str) -> None:
    data = BEER.read_bytes()
    data = bz2.compress(data) if suffix == ".bz2" else gzip.compress(data) if suffix else data
    found = [i.text for i in read_bytes(data, tmp_path, "Posts.xml" + suffix) if isinstance(i, Document)]
    assert found == [i.text for i in read(BEER) if isinstance(i, Document)]


def read_ranges(path: Path, cuts: list[int]) -> list[Item]:
    file = UnitFile(str(path), path.name, path.stat().st_size, given=True)
    units = [
        Unit("qa", "stackexchange", (file,), start=start, stop=stop)
        for start, stop in zip([0, *cuts], [*cuts, None], strict=True)
    ]
    return [item for unit in units for item in read_unit(unit)]


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_each_post_once_at_any_cut(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    numbers = list(range(1, rng.randrange(2, 25)))
    rows = []
    for number in numbers:
        kind = rng.choice([1, 1, 2, 2, 2, 5])
        rows.append(
            row(number, rng.choice([*numbers, 77]) if kind == 2 else None, "x" * rng.randrange(99), kind, number % 5)
        )
    if rng.random() < 0.3:
        rows.insert(rng.randrange(len(rows)), '  <row Id="x" />\n')
    rng.shuffle(rows)
    path = tmp_path_factory.mktemp("cuts") / "Posts.xml"
    path.write_bytes(dump(*rows))
    cuts = sorted(set(data.draw(st.lists(st.integers(1, path.stat().st_size - 1), max_size=4))))
    whole = read_ranges(path, [])
    assert read_ranges(path, cuts) == whole
    # Every row ends in a document or as an item of its own.
    in_documents = sum(len(json.loads(i.meta["posts"])) for i in whole if isinstance(i, Document))
    assert in_documents + sum(not isinstance(i, Document) for i in whole) == len(rows)


def test_plan_cuts_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stackexchange_module, "RANGE_BYTES", 2000)
    rows = [row(n, n - 1 if n % 3 == 0 else None) for n in range(1, 61)]
    (tmp_path / "Posts.xml").write_bytes(dump(*rows))
    units = plan_units(Source("qa", "stackexchange", (str(tmp_path / "Posts.xml"),)))
    assert len(units) > 3
    documents = Counter(i.locator for u in units for i in read_unit(u) if isinstance(i, Document))
    assert len(documents) == 40 and set(documents.values()) == {1}
    (tmp_path / "Posts.xml.gz").write_bytes(gzip.compress(dump(*rows)))
    assert len(plan_units(Source("qa", "stackexchange", (str(tmp_path / "Posts.xml.gz"),)))) == 1


def test_small_windows_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Posts.xml.bz2").write_bytes(bz2.compress(BEER.read_bytes()))
    expected = read(tmp_path / "Posts.xml.bz2")
    monkeypatch.setattr(stackexchange_module, "PACKED_WINDOW_BYTES", 10)
    assert read(tmp_path / "Posts.xml.bz2") == expected


HOSTILE: dict[str, tuple[bytes, list[tuple[str, str]]]] = {
    "no dump": (b"<users>\n" + row(1).encode() + b"</users>", [("", "broken_record")]),
    "no end": (dump(row(1))[: -len(TAIL)], [("#1", "document"), ("@end", "truncated")]),
    "cut": (dump(row(1), row(2))[:-60], [("#1", "document"), ("@155", "truncated"), ("@end", "truncated")]),
    "no number": (dump('<row PostTypeId="1" />', row(2)), [("@47", "broken_record"), ("#2", "document")]),
    "no parent": (dump('<row Id="1" PostTypeId="2" />'), [("@47", "broken_record")]),
    "huge number": (dump(row("9" * 40)), [("@49", "broken_record")]),
    "no XML": (dump(row(1).replace("Score", "&x; Score")), [("#1", "broken_record")]),
    "twice": (dump(row(1), row(1)), [("#1", "document"), ("#1", "duplicate_id")]),
    "score": (dump(row(1).replace('Score="1"', 'Score="many"')), [("#1", "broken_record")]),
    "not utf-8": (dump(row(1, body="\xe4")).decode().encode("latin-1"), [("#1", "broken_record")]),
    "empty question": (
        dump('<row Id="1" PostTypeId="1" Body="" />', row(2, 1)), [("#1", "empty"), ("#2", "no_question")],
    ),
    "entity": (
        b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + dump(row(1, body="d").replace("d&", "&b;&")), [("#1", "broken_record")],
    ),
    "answer before": (dump(row(1, 2), row(2)), [("#2", "document")]),
    "broken answer": (
        dump(row(1), row(2, 1).replace('Score="1"', 'Score=""')), [("#2", "broken_record"), ("#1", "document")],
    ),
    "closing tags": (dump(row(1).replace(" />", "></row>")), [("#1", "document")]),
    "one line": (dump(row(1), row(2, 1)).replace(b"\n", b""), [("#1", "document")]),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_dumps(tmp_path: Path, name: str) -> None:
    data, expected = HOSTILE[name]
    assert outcomes(read_bytes(data, tmp_path)) == expected


def test_damaged_compression(tmp_path: Path) -> None:
    rng = random.Random(3)
    packed = gzip.compress(dump(*(row(n, body=rng.randbytes(2000).hex()) for n in range(1, 200))))
    items = read_bytes(packed[: len(packed) // 2], tmp_path, "Posts.xml.gz")
    documents = [i for i in items if isinstance(i, Document)]
    assert 50 < len(documents) < 100
    assert {i.error for i in items if isinstance(i, Rejected)} == {"truncated"}


# Made by py7zr 1.1.4: a small Users.xml and the Posts.xml above, by each method; `folders` has two folders.
ARCHIVES = DATA.parent / "stackexchange_archives"


@pytest.mark.parametrize("method", ["bzip2", "lzma", "lzma2", "deflate", "copy", "folders"])
def test_seven_zip(tmp_path: Path, method: str) -> None:
    data = (ARCHIVES / f"{method}.7z").read_bytes()
    items = read_bytes(data, tmp_path, "beer.stackexchange.com.7z")
    plain = read(DATA / "beer.stackexchange.com")
    member = "sub/Posts.xml" if method == "folders" else "Posts.xml"
    assert [i.locator for i in items] == [
        i.locator.replace("Posts.xml", f"beer.stackexchange.com.7z!{member}") for i in plain
    ]
    assert [i.text for i in items if isinstance(i, Document)] == [i.text for i in plain if isinstance(i, Document)]
    assert all(i.url and "//beer.stackexchange.com/" in i.url for i in items if isinstance(i, Document))


@pytest.mark.parametrize(("method", "error"), [("ppmd", "unsupported"), ("encrypted", "encrypted")])
def test_seven_zip_that_cannot_be_read(method: str, error: str) -> None:
    (item,) = read(ARCHIVES / f"{method}.7z")
    assert isinstance(item, Rejected) and item.error == error
    assert (error == "unsupported") is ("7z x" in item.message)


@pytest.mark.parametrize("method", ["bzip2", "lzma", "copy"])
def test_damaged_seven_zip_is_always_told(tmp_path: Path, method: str) -> None:
    data = (ARCHIVES / f"{method}.7z").read_bytes()
    right = outcomes(read_bytes(data, tmp_path, "a.7z"))
    step = len(data) // 150 + 1
    damaged = [data[:at] for at in range(0, len(data), step)]
    damaged += [data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :] for at in range(len(data)) if at % step == 0]
    for number, content in enumerate(damaged[1:]):
        found = read_bytes(content, tmp_path, "a.7z")
        # The version's two bytes are not looked at, and the sum of Users.xml is not checked.
        assert any(isinstance(i, Rejected) for i in found) or outcomes(found) == right, number


def test_seven_zip_without_posts(tmp_path: Path) -> None:
    header = b"\x01\x00"
    start = struct.pack("<QQL", 0, len(header), zlib.crc32(header))
    signature = b"7z\xbc\xaf\x27\x1c\x00\x04"
    data = signature + struct.pack("<L", zlib.crc32(start)) + start + header
    assert outcomes(read_bytes(data, tmp_path, "a.7z")) == [("a.7z", "other_file")]
    huge = struct.pack("<QQL", 0, 1 << 40, 0)
    data = signature + struct.pack("<L", zlib.crc32(huge)) + huge
    assert outcomes(read_bytes(data, tmp_path, "a.7z")) == [("a.7z", "too_large")]


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_header_of_seven_zip_is_read_or_refused(body: bytes) -> None:
    header = b"\x01" + body
    start = struct.pack("<QQL", 0, len(header), zlib.crc32(header))
    data = b"7z\xbc\xaf\x27\x1c\x00\x04" + struct.pack("<L", zlib.crc32(start)) + start + header
    with contextlib.suppress(Refused):
        for member in archive_members(io.BytesIO(data), LIMITS):
            member.open(io.BytesIO(data), LIMITS).read(1000)


def test_posts_and_threads_over_the_limit(tmp_path: Path) -> None:
    (tmp_path / "Posts.xml").write_bytes(
        dump(row(1, body="a" * 3000), row(2, body="b" * 700), row(3, 2, "c" * 700), row(4, 2, "d" * 700), row(5))
    )
    assert outcomes(read(tmp_path / "Posts.xml", Limits(max_item_bytes=2000))) == [
        ("@49", "too_large"), ("#2", "too_large"), ("#3", "no_question"), ("#4", "no_question"), ("#5", "document"),
    ]  # fmt: skip


def test_one_endless_row_needs_bounded_memory_and_time(tmp_path: Path) -> None:
    path = tmp_path / "Posts.xml"
    path.write_bytes(dump(row(1, body="a" * (24 << 20)), row(2)))
    tracemalloc.start()
    started = time.process_time()
    found = outcomes(read(path, Limits(max_item_bytes=1 << 20)))
    assert time.process_time() - started < 3
    assert tracemalloc.get_traced_memory()[1] < 12 << 20
    tracemalloc.stop()
    assert found == [("@49", "too_large"), ("#2", "document")]


def test_file_that_changes_between_the_passes() -> None:
    posts = Posts(io.BytesIO(dump(row(1))), None, LIMITS)
    index = build_index(posts, 0, None)
    with pytest.raises(Refused):
        Posts(io.BytesIO(b""), None, LIMITS).fetch(index.thread(0))
