from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.readers.wikipedia_text import GONE, Namespaces, Shape, wikitext_to_text

DATA = Path(__file__).parents[2] / "data" / "readers" / "wikipedia"


def text_of(wikitext: str, **shape: str) -> str:
    return wikitext_to_text(wikitext, Shape(**shape))[0]


def test_article() -> None:
    text, categories = wikitext_to_text((DATA / "article.wiki").read_text())
    assert text == (DATA / "article.txt").read_text().strip()
    assert categories == ["Rivers of Bern", "Aare"]


def test_article_as_redpajama_v1() -> None:
    text = text_of((DATA / "article.wiki").read_text(), templates="drop", math="drop")
    assert text == (DATA / "article-redpajama-v1.txt").read_text().strip()


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("''a'' '''b''' '''''c''''' d''''e''''", "a b c d'e'"),
        ("[[a]]s [[b|c]] [[d|]] [[e#f]] [[:File:x.png|g]] [[h_i]]", "as c d e#f g h i"),
        ("[[File:a.jpg|thumb|b [[c]] d]] e [[image:f.png]] [[Media:g.ogg|h]]", "e"),
        ("[[fr:Nom]][[zh-min-nan:x]] a [[it: what|x]] [[Alien: b]]", "a x Alien: b"),
        ("[http://a.b] [http://a.b c d] [//e f] http://g.h [no link] [mailto:x@y z]", "c d f http://g.h [no link] z"),
        ("a<ref>b {{c</ref>d<ref name=x/>e<REF group=a>f</Ref>g", "adeg"),
        ("a<!-- {{ -->b {{unclosed", "ab {{unclosed"),
        ("a <!-- never closed [[b]]", "a"),
        ("a <ref>never closed [[b]]", "a never closed b"),
        ("a}} b]] c", "a}} b]] c"),
        ("{{{p|default}}} {{{q}}}x {{{{a}}}}", "default x {}"),
        ("{{lang|fr|mot}} {{lang-de|Wort}} {{sub|2}}", "mot Wort 2"),
        ("{{frac|1|2}} {{frac|3|1|2}} {{unknown|x}}y", "1/2 3 1/2 y"),
        ("{{convert|5|to|6|km}}{{snd}}{{cvt|7|mi|km|abbr=on}}", "5 to 6 km \u2013 7 mi"),
        ("{{nowrap|[[a|b]] c}} {{nowrap|1=d=e}} {{formatnum:1234}}", "b c d=e 1234"),
        ("{{quote|{{nowrap|a}} b|c}}x", "a b\nx"),
        ("{{ubl|a|b}}{{hlist|c|d}}", "a\nb\n\nc\nd"),
        ("a ({{x}}) b ({{x}}, c) d (e; {{x}}) f() g ( {{x}} ; {{y}} )", "a b (c) d (e) f() g"),
        ("a {{x}}, b {{x}}. c {{x}} d", "a, b. c d"),
        ("a\n{{x}}\n{{y}}\nb", "a\nb"),
        ("a\n\n\n\nb", "a\n\nb"),
        ("== a ==\n== b ==\nc\n=== d ===\n== e ==", "b\n\nc"),
        ("== a ==\n=== b ===\nc", "a\n\nb\n\nc"),
        ("a\n----\n==\n=\n= b", "a\n\n==\n=\n= b"),
        ("__NOTOC__a __init__ __БЕЗ_ОГЛ__b", "a __init__ b"),
        ("a<br/>b<div class='x'>c</div><sup>2</sup> <notatag> 1 < 2 > 1", "a\nb\nc\n2 <notatag> 1 < 2 > 1"),
        ("&lt;ref&gt; &amp;amp; &nbsp;&#65;", "<ref> &amp; \u00a0A"),
        ("<nowiki>''[[a]]'' &amp;</nowiki> <nowiki />b", "''[[a]]'' & b"),
        ("<pre>\n ''a''\n\n\n  b\n</pre>", "''a''\n\n\n  b"),
        ("<math display='block'>\\frac{a}{{b}}</math>", "$\\frac{a}{{b}}$"),
        ("-{zh-hans:\u4e00;zh-hant:\u4e8c}- -{\u4e09}-", "\u4e00 \u4e09"),
        ("{|\n| a\n{|\n| b\n|}\n|}c", "c"),
        ("a\n{| class=x\n|-\n| b\n\nc", "a\n\nc"),
        ("<table><tr><td>a</td></tr></table>b", "b"),
        ("{{a|{{b|{{c}}\n|}}\n}}d", "d"),
        ("\x00\x01a\r\nb", "a\nb"),
        ("", ""),
        ("#REDIRECT [[a]]", "REDIRECT a"),
    ],
)  # fmt: skip
def test_markup(wikitext: str, expected: str) -> None:
    assert text_of(wikitext) == expected


def test_tables_as_text() -> None:
    table = '{| class="x"\n|+ Title\n! a !! b\n|-\n| style="y" | c || [[d|e]]\nmore\n|-\n|}\nafter'
    assert text_of(table, tables="text") == "Title\na | b\nc | e more\n\nafter"


def test_local_names_of_namespaces() -> None:
    names = Namespaces.of({-2: "Medij", 6: "Datei", 14: "Kategorie", 0: ""})
    text, categories = wikitext_to_text(
        "[[Datei:a.jpg|b]]c [[File:d.jpg]][[kategorie: E_f |g]][[Category:H]]", Shape(), names
    )
    assert (text, categories) == ("c", ["E f", "H"])
    assert wikitext_to_text("[[Kategorie:E]]")[0] == "Kategorie:E"
    assert wikitext_to_text("[[Category:a<nowiki>b</nowiki>]]") == ("", ["ab"])


MARKUP = (
    "{{ }} {{{ }}} [[ ]] [ ] {| |} | ! = == '' ''' <!-- --> <ref> </ref> <nowiki> </nowiki> <math> </math> <br> "
    "File: Category: http://a lang nowrap quote \x00 \x01 \u00e9 \u2028 \U0001f600 a b c * # : ; ---- __X__ -{ }- ( ) ,"
).split(" ")


@given(
    st.lists(st.sampled_from([*MARKUP, "\n", " ", "\n\n"])).map("".join),
    st.sampled_from(["known", "drop"]),
    st.sampled_from(["text", "drop"]),
)
@settings(max_examples=300, deadline=None)
def test_any_text_ends_without_marks(wikitext: str, templates: str, tables: str) -> None:
    text, categories = wikitext_to_text(wikitext, Shape(templates, tables))
    assert GONE not in text and "\x00" not in text
    assert text == text.strip()
    assert all(GONE not in category for category in categories)
    assert len(text) <= 2 * len(wikitext) + 10


@pytest.mark.parametrize(
    "piece",
    [
        *MARKUP,
        "{{a|",
        "[[a|",
        "[[File:a|",
        "[http://a ",
        "<ref ",
        "{|\n",
        "|}\n",
        "<table>",
        "( ",
        "= ",
        "__a",
        "{{nowrap|",
    ]
    + ["{{x}} ", "({{x}}", " ", "&", "\n", "* ", "{{{a|", "[[a]]]", "<", "<a", "~"],
)
def test_time_is_linear(piece: str) -> None:
    def seconds(count: int) -> float:
        text = piece * count
        started = time.process_time()
        wikitext_to_text(text, Shape(tables="text"))
        return time.process_time() - started

    seconds(100)
    assert seconds(20_000) < max(0.1, 9 * min(seconds(5_000), seconds(5_000)))


def test_deep_and_long_runs_are_bounded() -> None:
    started = time.process_time()
    for text in (
        "{" * 300_000 + "|" * 100_000 + "}" * 300_000,
        "{{{a|" * 50_000 + "}}}" * 50_000,
        "[[a|" * 100_000 + "]]" * 100_000,
        "{{nowrap|" * 60_000 + "x" + "}}" * 60_000,
        "x" * 10_000_000,
        "== " * 1_000_000,
    ):
        wikitext_to_text(text)
    assert time.process_time() - started < 10
