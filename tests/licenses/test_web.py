"""Licence marks of web pages: every kind of mark, what it says of the page, its place; hostile pages."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licenses import license_marks, page_license
from licenses.web import MAX_MARKS, SOURCES

CC = "https://creativecommons.org/licenses/"


@pytest.mark.parametrize(
    ("html", "expression", "source", "shown"),
    [
        (f'<p>é <a rel="license" href="{CC}by/4.0/">CC</a>', "CC-BY-4.0", "rel_license", f"{CC}by/4.0/"),
        (f"<LINK REL='nofollow license' HREF={CC}by-sa/3.0/de/deed.de>", "CC-BY-SA-3.0-DE", "rel_license",
         f"{CC}by-sa/3.0/de/deed.de"),
        (f'<a rel="license" href="{CC}by-nc/3.0/it/">x</a>', "CC-BY-NC-3.0", "rel_license", f"{CC}by-nc/3.0/it/"),
        (f'<a rel="license" href="{CC}by-nd-nc/1.0/">x</a>', "CC-BY-NC-ND-1.0", "rel_license", f"{CC}by-nd-nc/1.0/"),
        ('<link rel=license href="https://www.gnu.org/licenses/fdl-1.3.html">', "GFDL-1.3-only", "rel_license",
         "https://www.gnu.org/licenses/fdl-1.3.html"),
        ('<a rel=license href="//creativecommons.org/publicdomain/mark/1.0/">x</a>', "CC-PDM-1.0", "rel_license",
         "//creativecommons.org/publicdomain/mark/1.0/"),
        (f'<span property="dct:license" resource="{CC}by/2.0/"></span>', "CC-BY-2.0", "cc_rel", f"{CC}by/2.0/"),
        (f'<div about=""><a rel="cc:license" href="{CC}by/2.5/">x</a></div>', "CC-BY-2.5", "cc_rel", f"{CC}by/2.5/"),
        (f'<!-- <Work rdf:about=""><license rdf:resource="{CC}by-nc/2.0/" /></Work> -->', "CC-BY-NC-2.0", "cc_rel",
         f"{CC}by-nc/2.0/"),
        ('<meta name="DC.rights" content="CC BY-SA 4.0">', "CC-BY-SA-4.0", "meta", "CC BY-SA 4.0"),
        (f'<meta name="dcterms.license" content="{CC}by/4.0/">', "CC-BY-4.0", "meta", f"{CC}by/4.0/"),
        ('<meta name="copyright" content="2020 Jane. Licensed: http://creativecommons.org/licenses/by/3.0/.">',
         "CC-BY-3.0", "meta", "2020 Jane. Licensed: http://creativecommons.org/licenses/by/3.0/."),
        (f'<script type="application/ld+json">{{"@type": "Article", "license": "{CC}by/4.0/"}}</script>', "CC-BY-4.0",
         "json_ld", f"{CC}by/4.0/"),
        ('<script type=application/ld+json>{"@graph":[{"license":'
         '{"@id":"https:\\/\\/creativecommons.org\\/licenses\\/by\\/4.0\\/"}}]}</script>', "CC-BY-4.0", "json_ld",
         "https:\\/\\/creativecommons.org\\/licenses\\/by\\/4.0\\/"),
        (f'<a itemprop="license" href="{CC}by/4.0/">x</a>', "CC-BY-4.0", "json_ld", f"{CC}by/4.0/"),
        (f'<a href="{CC}by/4.0/">x</a>', "CC-BY-4.0", "cc_link", f"{CC}by/4.0/"),
        ('<a href="https://creativecommons.org/licenses/by/4.0/?ref=chooser-v1&amp;x=1">x</a>', "CC-BY-4.0", "cc_link",
         "https://creativecommons.org/licenses/by/4.0/?ref=chooser-v1&amp;x=1"),
    ],
)  # fmt: skip
def test_mark(html: str, expression: str, source: str, shown: str) -> None:
    found = page_license(html)
    assert found is not None
    assert (found.expression, found.source, html[found.start : found.end]) == (expression, source, shown)


@pytest.mark.parametrize(
    "html",
    [
        "",
        "<p>license</p>",
        '<a rel="license" href="/terms">x</a>',
        '<a rel="license" href="javascript:alert(1)">x</a>',
        '<meta name="copyright" content="All rights reserved">',
        '<meta name="rights" content="(c) 2020">',
        f'<script>var x = "{CC}by/4.0/"</script>',
        '<script type="application/ld+json">{"license": "</script>',
        f'<script type="application/ld+json">{{"@type": "ImageObject", "license": "{CC}by/4.0/"}}</script>',
        '<a href="https://creativecommons.org/about/">x</a>',
        '<a href="https://creativecommons.org.evil.example/by/4.0/">x</a>',
        '<!DOCTYPE x [<!ENTITY l "https://creativecommons.org/licenses/by/4.0/">]><a rel="license" href="&l;">x</a>',
    ],
)
def test_no_mark(html: str) -> None:
    assert page_license(html) is None


def test_the_surest_mark_decides() -> None:
    link = f'<a href="{CC}by-nc/4.0/">photo</a>'
    page = (
        f'{link}<a rel="license" about="x.jpg" href="{CC}by-nd/4.0/">i</a><a rel="license" href="{CC}by/4.0/">page</a>'
    )
    marks = license_marks(page)
    assert [mark.expression for mark in marks] == ["CC-BY-NC-4.0", "CC-BY-ND-4.0", "CC-BY-4.0"]
    assert [mark.source for mark in marks] == ["cc_link", "cc_link", "rel_license"]
    found = page_license(page)
    assert found is not None and (found.expression, found.confidence) == ("CC-BY-4.0", 0.95)


def test_marks_that_disagree_hold_together() -> None:
    found = page_license(f'<a href="{CC}by/4.0/">a</a><a href="{CC}by-nc/4.0/">b</a>')
    assert found is not None and found.expression == "CC-BY-4.0 AND CC-BY-NC-4.0" and found.confidence == 0.25


@pytest.mark.parametrize(
    "unit",
    [
        "<a rel=license href='",
        '<script type="application/ld+json">license',
        '<script type="application/ld+json">{"license": "x"}</script>',
        "license",
        f'<a rel="license" href="{CC}by/4.0/">',
        '<meta name="rights" content="',
        "<license rdf:resource=",
        "<a x=license ",
        "rel=license<",
    ],
)
def test_hostile_pages_are_linear(unit: str) -> None:
    def seconds(size: int) -> float:
        page = unit * (size // len(unit))
        best = 9.0
        for _ in range(3):
            start = time.process_time()
            assert len(license_marks(page)) <= MAX_MARKS
            best = min(best, time.process_time() - start)
        return best

    assert seconds(800_000) < max(8 * seconds(200_000), 0.3)


PARTS = ["<a ", "rel=license ", "href=", f"{CC}by/4.0/", '"', "'", ">", "<", "é", "content=", "<meta ", "name=rights ",
         '{"license":', "<script application/ld+json>", "</script>"]  # fmt: skip


@given(st.lists(st.sampled_from(PARTS), max_size=30))
def test_spans_lie_in_the_page(parts: list[str]) -> None:
    html = "".join(parts)
    for mark in license_marks(html):
        assert 0 <= mark.start < mark.end <= len(html) and mark.source in SOURCES
