"""The rules that tell the main text of a page, block by block."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.readers.html import html_text, lost, main_text_of, unsure
from pipelines.readers.html_blocks import Evidence, all_text, blocks, kept_blocks, main_text

SENTENCE = "A sentence about rivers, markets and old stone bridges that is long enough to count."
PARAGRAPH = f"<p>{SENTENCE}</p>\n\n"


def test_blocks_of_reduced_html() -> None:
    found = blocks(
        '<h1>Title</h1>\n\n<p>One &lt;b&gt; <a href="x">li&amp;nk</a></p>\n\n<ul>\n  <li>item</li>\n</ul>\n'
        "<pre>a\n  b\n\nc</pre>\n\nbare<br>\nline"
    )
    assert [(block.kind, block.text) for block in found] == [
        ("heading", "Title"),
        ("paragraph", "One <b> li&nk"),
        ("item", "item"),
        ("code", "a\n  b\n\nc"),
        ("line", "bare"),
        ("line", "line"),
    ]
    assert [block.linked for block in found] == [0, 5, 0, 0, 0, 0]
    assert found[1].size == 13


def test_a_link_over_several_lines_is_counted_in_each() -> None:
    found = blocks('<p>before <a href="x">one<br>\ntwo</a> after</p>')
    assert [(block.text, block.linked) for block in found] == [("before one", 3), ("two after", 3)]


def test_a_bracket_in_an_address_is_no_end_of_the_tag() -> None:
    assert blocks('<a href="a>b">text</a>')[0].text == "text"


def test_dense_scripts_weigh_more() -> None:
    assert blocks("<p>日本語。</p>")[0].size == 3 * 3 + 1


@pytest.mark.parametrize(
    ("reduced", "text"),
    [
        pytest.param(f"<h1>Title</h1>\n\n{PARAGRAPH}{PARAGRAPH}", f"{SENTENCE}\n\n{SENTENCE}", id="title"),
        pytest.param(f"{PARAGRAPH}<p>Home</p>\n\n<p>About</p>", SENTENCE, id="lines after"),
        pytest.param(
            f"{PARAGRAPH}<p>Advertisement</p>\n\n{PARAGRAPH}", f"{SENTENCE}\n\n{SENTENCE}", id="notice inside"
        ),
        pytest.param(
            f"{PARAGRAPH}<p>ADS</p>\n\n<p>ADS</p>\n\n<p>ADS</p>\n\n{PARAGRAPH}",
            f"{SENTENCE}\n\n{SENTENCE}",
            id="repeated",
        ),
        pytest.param(
            f'{PARAGRAPH}<p><a href="x">Another story of ours</a></p>\n\n{PARAGRAPH}',
            f"{SENTENCE}\n\n{SENTENCE}",
            id="teaser inside",
        ),
        pytest.param(
            f"{PARAGRAPH}<p>Reporting by X in Y, editing by Z.</p>",
            f"{SENTENCE}\n\nReporting by X in Y, editing by Z.",
            id="last line",
        ),
        pytest.param(
            f"{PARAGRAPH}<ul>\n  <li>one</li>\n  <li>two</li>\n</ul>\n\n{PARAGRAPH}",
            f"{SENTENCE}\n\n- one\n- two\n\n{SENTENCE}",
            id="list inside",
        ),
        pytest.param(
            f"{PARAGRAPH}<h2>Parts</h2>\n\n<ul>\n  <li>one</li>\n</ul>",
            f"{SENTENCE}\n\nParts\n\n- one",
            id="list at the end",
        ),
        pytest.param(f"{PARAGRAPH}<h2>More from us</h2>", SENTENCE, id="heading of nothing"),
        pytest.param(
            f"{PARAGRAPH}<p>Copyright 2019 by us, all rights reserved by us and others.</p>", SENTENCE, id="copyright"
        ),
        pytest.param("<p>Home</p>\n\n<p>About us</p>", "", id="menu only"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_what_is_kept(reduced: str, text: str) -> None:
    assert main_text(reduced).text() == text


def test_the_evidence_and_the_text_before_the_rules() -> None:
    found = main_text(f"{PARAGRAPH}<p>Home</p>")
    evidence, whole = found.evidence, found.whole()
    assert evidence.kept == len(SENTENCE)
    assert evidence.share == pytest.approx(len(SENTENCE) / (len(SENTENCE) + 4))
    assert whole == f"{SENTENCE}\n\nHome"
    assert main_text("").evidence == Evidence(0, 0.0)


def test_when_the_careful_extractor_is_asked() -> None:
    assert not unsure(Evidence(90, 0.6)) and unsure(Evidence(5000, 0.59)) and unsure(Evidence(0, 0.0))
    assert not lost(Evidence(250, 0.3)) and lost(Evidence(249, 0.9)) and lost(Evidence(5000, 0.29))


def test_auto_takes_the_fast_text_where_the_rules_are_sure() -> None:
    paragraphs = "".join(f"<p>{number}. {SENTENCE}</p>" for number in range(12))
    sure = f"<html><body><article>{paragraphs}</article></body></html>"
    assert main_text_of(sure, "auto")[1] == "fast" and SENTENCE in main_text_of(sure, "auto")[0]
    assert main_text_of(sure, "auto") == main_text_of(sure, "fast")
    links = "".join(f'<p><a href="/{number}">Elsewhere, number {number}</a></p>' for number in range(40))
    lost_in_links = f"<html><body>{links}<p>{SENTENCE}</p></body></html>"
    assert main_text_of(lost_in_links, "auto") == main_text_of(lost_in_links, "careful")
    assert main_text_of(sure, "careful")[1] == "careful"


def test_html_text_leaves_nothing_out_but_scripts() -> None:
    html = "<nav>Menu</nav><script>no()</script><p>Text &amp; more</p><footer>Foot</footer>"
    assert html_text(html).split() == ["Menu", "Text", "&", "more", "Foot"]


PIECES = [
    "<p>", "</p>", "<li>", "</li>", "<ul>", "</ul>", "<pre>", "</pre>", '<a href="x">', "</a>", "<br>", "<h2>", "</h2>",
    "\n", "\n\n", " ", SENTENCE, "word", "&lt;", "&", "\x02", "\x03", "\0", "日本", "\u2028", "©",
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_any_sequence_of_pieces_gives_blocks_in_order(pieces: list[str]) -> None:
    reduced = "".join(pieces)
    found = blocks(reduced)
    assert all(block.text.strip() and 0 <= block.linked <= block.size for block in found)
    kept = kept_blocks(found)
    assert len(kept) == len(found)
    page = main_text(reduced)
    text, evidence, whole = page.text(), page.evidence, page.whole()
    assert evidence.kept == sum(block.size for block, keep in zip(found, kept, strict=True) if keep)
    assert 0 <= evidence.share <= 1
    assert whole == all_text(reduced)
    lines = iter(whole.split("\n"))
    assert all(line in lines for line in text.split("\n") if line)  # a subsequence


@pytest.mark.parametrize(
    "piece", ["<p>word</p>\n\n", "<a>", '<a href="', "<pre>", "x", "&", "\n", PARAGRAPH, "<p>©</p>\n"]
)
def test_the_time_is_linear(piece: str) -> None:
    def seconds(count: int) -> float:
        begin = time.process_time()
        main_text(piece * count)
        return time.process_time() - begin

    count = 40_000 // len(piece)
    seconds(count)
    small = min(seconds(count) for _ in range(3))
    assert min(seconds(4 * count) for _ in range(2)) < 8 * small + 0.02
