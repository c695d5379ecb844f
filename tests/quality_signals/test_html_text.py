"""Visible text of HTML: the quick walk gives what Beautiful Soup gives, or leaves the page to it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("bs4")

from quality_signals import html_text
from quality_signals.html_text import parsed_text, visible_text

WELL_FORMED = (
    "<!DOCTYPE html>\n<html><head><title>A &amp; B</title><style>p {}</style>\n<script>if (a < b) {}</script></head>\n"
    "<body class=\"x > y\" id='z'><!-- no text --><p>one <b>two</b>\n \n<pre> <i> </i>\n</pre>"
    "<br/><img src=a.png>three&nbsp;&#8211; &unknown; R&D</p> &lt;</body></html>&gt;"
)
# What repairs of the parser, ends of files and elements of text have a part in.
PARTS = (
    "<p> </p> <P\nclass=a> <pre> </pre> <textarea> </textarea> <title> </title> <br> <br/> </br> <script> </script>"
    " <script/> <style> </style> <template> </template> <rt> </rt> <rp> </div> </div\t> <iframe> </iframe>"
    " <plaintext> <xmp> <!--x--> <!----> <!--> <!---> <!--a--b--> <!--a--!> <!doctype\nhtml> <?php?> <![CDATA[x]]>"
    " <![if\nIE]> <!x> x ab &amp; &amp &lt; &lt &#65; &#65 &#x41; &# & &; &foo; &foo &a-b.c; &#150; &#0; &#1114112;"
    " &#99999999; < <3 > </> </ <a\nhref=foo/> <a\nb/> <a\n=b> <a\nb=> <a\nb='c'd=\"e\"> <a\nb=c\"d>"
    " <a <a\nb=\" \" ' / = -- -->"
    " ]]> </img> <svg:x> </svg:x> <option> <li> <A\nHREF=x> </A> <é> <a\xa0b> \xa0 \u2028 \x0b"
).split(" ") + [" ", "\n", "\t ", " \n ", "\0", "<a\0b>", "< ", "</ div>", "<!-- a -- >"]  # fmt: skip


def walked(html: str) -> str | None:
    """None where the walk leaves the page to Beautiful Soup."""
    try:
        return html_text._walked(html)
    except html_text._Unsure:
        return None


def test_well_formed_pages_need_no_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = parsed_text(WELL_FORMED)
    monkeypatch.setattr(html_text, "parsed_text", None)
    assert visible_text(WELL_FORMED) == expected
    assert expected is not None and "three\xa0– &unknown R&D &lt;".replace("&lt;", "<") in expected


@settings(max_examples=700, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=14).map("".join))
def test_the_walk_gives_what_beautiful_soup_gives(html: str) -> None:
    found = walked(html)
    assert found is None or found == parsed_text(html)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("<>/&;#!-=\"'ax \n\xa0"), max_size=30))
def test_the_walk_gives_what_beautiful_soup_gives_for_any_text(html: str) -> None:
    found = walked(html)
    assert found is None or found == parsed_text(html)


def test_each_rule_decides() -> None:
    assert walked("<p>a</p>\t <p>b</p>") == "a b"
    assert walked("<pre>a<i>\t </i></pre>") == "a\t "
    assert walked("a<template>b<p>c</template>d") == "ad"
    assert walked("<title>a</title>") == "a"
    for unsure in ("<title><b></title>", "a </br>b", "<![CDATA[a]]>", "a &#38b", "a &am", "<!-- a -- >", "a < b", "<a"):
        assert walked(unsure) is None, unsure


@pytest.mark.parametrize("part", ["<a ", "<a b=", "<!--", "</", "&#", "<a" + " " * 9, "<p>", "<p></p>", "<script>"])
def test_the_time_of_the_walk_is_linear(part: str) -> None:
    html = part * (400_000 // len(part))
    begin = time.process_time()
    walked(html)
    assert time.process_time() - begin < 2
