"""The licence of a page is what `licenses.page_license` says of all of it, though only some tags are looked at."""

from __future__ import annotations

import tarfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from licenses import page_license
from pipelines.readers.charset import declared_in_html, decode
from pipelines.readers.page_metadata import page_metadata

CC = "http://creativecommons.org/licenses/"
PIECES = (
    "<", ">", "/>", '"', "'", " ", "=", "text ", "<p>", "</p>", "<!--", "-->", "é", "All rights reserved. ", "license",
    f'<a rel="license" href="{CC}by/4.0/">', f"<a href='{CC}by-nd/2.0/de/'>", f'<link rel=license href={CC}by-sa/3.0/>',
    '<meta name="dc.rights" content="MIT License">', f'<meta name="rights" content="{CC}by/3.0/">',
    f'<div about="" resource="{CC}by/3.0/at/" property="dct:license">', '<span itemprop="license" content="MIT">',
    f'<license rdf:resource="{CC}by-nc/1.0/" />', f'<a rel="license" about="/i.png" href="{CC}by-nc-nd/4.0/">',
    '<script type="application/ld+json">', "</script>", f'{{"license": "{CC}by/4.0/"}}', '{"license": "Apache-2.0"}',
    '<a rel="license" href="https://e.org/terms">', '<script>/* see the license */ if (a < b) {}', "a < b > c",
)  # fmt: skip


def stated(html: str) -> str | None:
    found = page_license(html)
    return found.expression if found else None


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_the_licence_of_any_page(html: str) -> None:
    assert page_metadata(html).license == stated(html)


def test_the_licences_of_real_pages(shared: Path) -> None:
    found = []
    with tarfile.open(shared / "data" / "web-trafilatura-eval" / "pages.tar.gz") as archive:
        for member in archive.getmembers()[::2]:
            file = archive.extractfile(member)
            if file is not None:
                data = file.read()
                page = decode(data, declared_in_html(data), strip_nul=True)[0]
                found.append((page_metadata(page).license, stated(page)))
    assert len([one for one, _ in found if one]) > 5 and len(found) > 100
    assert [one for one, _ in found] == [other for _, other in found]
