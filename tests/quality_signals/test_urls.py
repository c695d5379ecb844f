"""url@datatrove against the reference's verdicts; ut1@1; hosts and public suffixes."""

from __future__ import annotations

import gzip
import pickle
import re
import tarfile
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_signals.batches import batch_of
from quality_signals.urls import UrlDatatrove, normalised_word, word_lists
from quality_signals.urls_lists import ARCHIVE, entries, find_bytes, step_hash, ut1_lists
from quality_signals.urls_suffixes import domains_of, host, host_of, registered, rules, suffix_entries
from quality_signals.urls_ut1 import Ut1


def rows(annotator, urls, **columns):
    return annotator.annotate(batch_of(["text"] * len(urls), url=urls, **columns)).to_pylist()


# -- hosts and suffixes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url, domain, full",
    [
        ("http://forums.bbc.co.uk/path", "bbc.co.uk", "forums.bbc.co.uk"),
        ("https://User:pw@EXAMPLE.com:8080/?q=a@b", "EXAMPLE.com", "EXAMPLE.com"),
        ("me.blogspot.com", "blogspot.com", "me.blogspot.com"),  # private suffixes do not count
        ("http://a.b.x.ck", "b.x.ck", "a.b.x.ck"),
        ("http://www.ck", "www.ck", "www.ck"),
        ("http://ck/", "", ""),
        ("http://co.uk/", "", ""),
        ("http://127.0.0.1/x", "", ""),
        ("http://[::1]:80/x", "", ""),
        ("http://localhost", "", ""),
        ("//example.org?x//y", "example.org", "example.org"),
        ("ht_tp://example.org", "", ""),  # no scheme: the host is `ht_tp`
        ("http://пример.рф/", "пример.рф", "пример.рф"),
        ("http://a.xn--p1ai", "a.xn--p1ai", "a.xn--p1ai"),
        ("http://www。example。com", "example.com", "www.example.com"),
        ("http://.example.com.", "example.com", "example.com"),
        ("", "", ""),
    ],
)
def test_domains(url, domain, full):
    assert domains_of(url) == (domain, full)


PIECES = st.sampled_from(
    [
        "http://",
        "//",
        "ht_p://",
        "www.",
        "a.",
        "b..",
        ".",
        "user@",
        "EXAMPLE",
        "xn--p1ai",
        "co.uk",
        "ck",
        "www.ck",
        "kobe.jp",
    ]
    + [
        "city.kobe.jp",
        "[::1]",
        "[",
        "]",
        "127.0.0.1",
        ":80",
        ":",
        "/",
        "?x",
        "#f",
        " ",
        "\x1f",
        "com",
        "xn--55qx5d.cn",
        "@",
        "nom.br",
    ]
)


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.lists(PIECES, max_size=7).map("".join), st.text(st.characters(max_codepoint=127), max_size=30)))
def test_the_kernel_reads_ascii_hosts_as_plain_python_does(url):
    data = np.frombuffer(url.encode(), np.uint8)
    start, end, path = host_of(data, 0, len(data))
    assert url[start:end] == host(url) and end <= path
    lower = np.frombuffer(url[start:end].lower().encode(), np.uint8)
    nodes = suffix_entries()
    domain, suffix = registered(lower, 0, len(lower), nodes.arrays, nodes.masks)
    found = url[start:end][domain:] if domain >= 0 and suffix - domain > 1 else ""
    assert found == domains_of(url)[0]


def test_rules_of_the_list():
    assert len(rules()) == 6871 and {"com", "co.uk", "*.ck", "!www.ck", "рф"} <= rules()
    assert "blogspot.com" not in rules()


# -- lists -------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("ab#\r\t ", max_size=5), max_size=30), st.booleans())
def test_entries_are_the_lines_of_a_list(lines, backwards):
    table = entries(["\n".join(lines).encode()], backwards=backwards)
    parts = re.split("[\r\n]", "\n".join(lines))
    expected = {part.strip() for part in parts if part.strip() and not part.startswith("#")}
    for text in expected | {"a", "ab", "ba", "b b", "#"}:
        data = np.frombuffer(text.encode(), np.uint8)
        h = np.uint64(0xCBF29CE484222325)
        for byte in data[::-1] if backwards else data:
            h = np.uint64(step_hash(h, byte))
        assert (find_bytes(*table.arrays, h, data, 0, len(data)) >= 0) == (text in expected)


# -- url@datatrove -----------------------------------------------------------------------------------------


def test_verdicts_of_the_reference(golden):
    extra, *cases = golden("url_datatrove")
    annotator = UrlDatatrove(block_lists=False, **extra)
    found = rows(annotator, [case["url"] for case in cases])
    for case, row in zip(cases, found, strict=True):
        assert (None if row["keep"] else row["reason"]) == case["verdict"], case["url"]
        assert row["registered_domain"] == (domains_of(case["url"])[0] or None)
        soft = row["reason"] == "soft_blacklisted"
        assert (row["value"], row["threshold"]) == ((row["n_soft_words"], 2.0) if soft else (None, None))
    assert {case["verdict"] for case in cases} == {
        None,
        "domain",
        "subdomain",
        "url",
        "hard_blacklisted",
        "soft_blacklisted",
        "blacklisted_subword",
    }


def plain_checks(url, words):
    """Reasons of the word checks that fail, in order."""
    parts = set(re.split("[^a-zA-Z0-9]+", url))
    soft = sum(word in parts for word in words["soft_banned_words"])
    plain = re.sub("[^a-zA-Z0-9]+", "", url).lower()
    return [
        reason
        for reason, fails in (
            ("hard_blacklisted", any(word in parts for word in words["banned_words"])),
            ("soft_blacklisted", soft >= 2),
            ("blacklisted_subword", any(word in plain for word in words["banned_subwords"])),
        )
        if fails
    ], soft


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_words_as_plain_python_finds_them(data):
    from quality_signals.urls import _shipped

    words = _shipped()
    some = st.sampled_from(sorted({word for one in words.values() for word in one}))
    part = st.one_of(some, some.map(str.upper), some.map(lambda w: w[: len(w) // 2]), st.sampled_from("-/._é%aZ0ſ"))
    url = "".join(data.draw(st.lists(part, min_size=1, max_size=7)))
    expected, soft = plain_checks(url, words)
    row = rows(UrlDatatrove(block_lists=False), [url])[0]
    assert row["reason"] == (expected[0] if expected else None)
    assert row["n_soft_words"] == soft


def test_lists_come_from_a_folder_or_the_archive(tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "domains").write_text("bad.com\n# bad.org\nsub.half.com\n")
    (tmp_path / "plain" / "urls.txt.gz").write_bytes(gzip.compress(b"good.com/x\n"))
    (tmp_path / "packed").mkdir()
    (tmp_path / "urls").write_text("good.com/x\n")
    with tarfile.open(tmp_path / "packed" / ARCHIVE, "w:gz") as archive:
        archive.add(tmp_path / "plain" / "domains", "domains")
        archive.add(tmp_path / "urls", "urls")
    urls = [
        "https://www.bad.com/",
        "http://bad.org",
        "https://sub.half.com",
        "https://half.com",
        "good.com/x",
        "https://good.com/x",
    ]
    for folder in ("plain", "packed"):
        annotator = UrlDatatrove(lists=str(tmp_path / folder))
        found = [row["reason"] for row in rows(annotator, urls)]
        assert found == ["domain", None, "subdomain", None, "url", None]
        assert pickle.loads(pickle.dumps(annotator)) == annotator


def test_missing_lists_are_named_before_any_work(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="url@datatrove.*domains"):
        UrlDatatrove(lists=str(tmp_path))
    with pytest.raises(FileNotFoundError, match="ut1@1: no UT1 list"):
        Ut1(str(tmp_path / "nowhere"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="lists=FOLDER"):
        UrlDatatrove()


def test_an_empty_word_bans_nothing():
    assert normalised_word("G-Spot!") == "gspot"
    word_lists(("!",), ("-",), ("",))
    annotator = UrlDatatrove(block_lists=False, banned_words=["!"], banned_subwords=["-"])
    assert rows(annotator, ["https://example.com/"])[0]["keep"]


# -- ut1@1 -------------------------------------------------------------------------------------------------


@pytest.fixture
def ut1_folder(tmp_path):
    (tmp_path / "games").mkdir()
    (tmp_path / "games" / "domains").write_text("Play.example\nplay.net\n1.2.3.4\nxn--bcher-kva.de\n")
    (tmp_path / "games" / "urls").write_text("site.org/play/\nsite.org/a?x=1\n")
    (tmp_path / "news.domains.txt.gz").write_bytes(gzip.compress(b"daily.co.uk\nplay.net\n"))
    (tmp_path / "README").write_text("no list")
    return str(tmp_path)


@pytest.mark.parametrize(
    "url, categories, match",
    [
        ("https://play.example/x", ["games"], "host"),
        ("https://WWW.play.example:80", ["games"], "parent"),
        ("https://display.example", [], None),
        ("https://user@play.net./", ["games", "news"], "host"),
        ("http://a.b.daily.co.uk", ["news"], "parent"),
        ("http://1.2.3.4/", ["games"], "host"),
        ("http://9.1.2.3.4/", [], None),
        ("http://bücher.de/ü", ["games"], "host"),
        ("http://site.org/play", ["games"], "url"),
        ("http://www.site.org:81/Play/more?x", ["games"], "url"),
        ("http://site.org/playing", [], None),
        ("http://site.org/a?x=1&y", ["games"], "url"),
        ("http://site.org/a?x=12", [], None),
        ("http://other.org/site.org/play", [], None),
        ("nonsense", [], None),
        ("http://", [], None),
    ],
)
def test_categories(ut1_folder, url, categories, match):
    row = rows(Ut1(ut1_folder), [url])[0]
    assert (row["categories"], row["match"], row["keep"]) == (categories, match, True)


def test_denied_categories(ut1_folder):
    annotator = Ut1(ut1_folder, deny=["news"])
    found = rows(annotator, ["http://play.net", "http://play.example", None, ""])
    assert [row["keep"] for row in found] == [False, True, True, True]
    assert (found[0]["rule"], found[0]["reason"], found[0]["value"]) == ("denied_category", "ut1", None)
    assert [row["categories"] for row in found] == [["games", "news"], ["games"], None, None]
    assert pickle.loads(pickle.dumps(annotator)) == annotator
    with pytest.raises(ValueError, match="'porn'.*games, news"):
        Ut1(ut1_folder, deny=("porn",))


def test_the_lists_beside_the_checkout(shared):
    folder = str(shared / "data" / "url-blocklists-ut1")
    lists = ut1_lists(folder)
    assert lists.categories[:3] == ("bank", "dating", "gambling") and len(lists.hosts) + len(lists.urls) > 80_000
    names = gzip.decompress((shared / "data" / "url-blocklists-ut1" / "gambling.domains.txt.gz").read_bytes()).decode()
    hosts = names.split()[::50]
    found = rows(Ut1(folder), [f"https://{name}/x" for name in hosts])
    assert all("gambling" in row["categories"] and row["match"] == "host" for row in found)
    urls = gzip.decompress((shared / "data" / "url-blocklists-ut1" / "phishing.urls.txt.gz").read_bytes()).decode()
    found = rows(Ut1(folder), ["http://" + url for url in urls.split("\n")[:2000:20]])
    assert all("phishing" in row["categories"] for row in found)


def annotators(folder):
    return [Ut1(folder), UrlDatatrove(block_lists=False)]


def test_kinds_schema_and_missing_columns(ut1_folder):
    for annotator in annotators(ut1_folder):
        batch = batch_of(["a", "b", "c", None], url=["http://play.net"] * 4, kind=["code", "web", None, "web"])
        columns = annotator.annotate(batch)
        assert columns.schema.equals(annotator.schema)
        assert columns.column(5).is_valid().to_pylist() == [False, True, True, False]
        assert columns.column("keep").to_pylist()[0] and columns.column("keep").null_count == 0
        assert annotator.annotate(batch.slice(0, 0)).num_rows == 0
        bare = annotator.annotate(batch.select(["text"]))
        assert bare.column("keep").to_pylist() == [True] * 4 and bare.column(5).null_count == 4


@settings(max_examples=150, deadline=None)
@given(st.lists(st.none() | st.text(max_size=40), max_size=5))
def test_any_url(urls):
    for row, url in zip(rows(UrlDatatrove(block_lists=False), urls), urls, strict=True):
        assert (row["n_soft_words"] is None) == (not url)
        assert row["registered_domain"] == (domains_of(url)[0] or None if url else None)


@pytest.mark.parametrize("unit", ["a", "/", ".", "a.", "@", "//", "sex-", "[", "1."])
def test_time_is_linear(unit, ut1_folder):
    def seconds(annotator, repeats):
        batch = batch_of(["x"], url=["http://" + unit * repeats])
        start = time.process_time()
        annotator.annotate(batch)
        return time.process_time() - start

    # the least of several runs: others use the processor's caches too
    for annotator in annotators(ut1_folder):
        seconds(annotator, 10)
        small = min(seconds(annotator, 100_000) for _ in range(3))
        assert any(seconds(annotator, 400_000) < 6 * max(small, 0.004) for _ in range(8))
