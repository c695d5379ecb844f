"""Licence files, package metadata and what they say about the files of an archive."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from licenses import (
    detect_files,
    directory_expressions,
    is_license_file,
    license_for_path,
    metadata_expression,
    normalise,
    sha256_hex,
    states_license,
    swhid_content,
)
from licenses.files import LICENSE_FILE

DATA = Path(__file__).parents[1] / "data" / "licenses"
APACHE = "Licensed under the Apache License, Version 2.0 (the License)"
MIT = "Released under the MIT License"
LGPL = "under the terms of the GNU Lesser General Public License version 3"
GPL = "under the terms of the GNU General Public License version 3"


def test_names_equal_the_reference() -> None:
    cases = json.loads((DATA / "license_names.json").read_text(encoding="utf-8"))
    assert len(cases) == 120
    for case in cases:
        match = LICENSE_FILE.match(case["name"])
        assert (match is not None) == case["license_file"] == is_license_file("dir/" + case["name"]), case
        if match is not None:
            assert list(match.groups()[:2]) == case["groups"], case


@pytest.mark.parametrize(
    "name",
    [
        "LICENSE",
        "LICENSE.txt",
        "LICENCE.md",
        "License-MIT",
        "LICENSE_APACHE",
        "COPYING",
        "COPYING.LESSER",
        "COPYINGv3",
        "UNLICENSE",
        "MIT-LICENSE.txt",
        "COPYRIGHT",
        "GPL-3.0.txt",
        "lgpl.txt",
    ],
)
def test_states(name: str) -> None:
    assert states_license("a/b/" + name)


@pytest.mark.parametrize(
    "name",
    [
        "mit.c",
        "README.md",
        "license.py",
        "licenses.json",
        "NOTICE",
        "about.html",
        "readme",
        "Apache.java",
        "LICENSE.png",
    ],
)
def test_states_not(name: str) -> None:
    assert not states_license(name)


@pytest.mark.parametrize(
    ("name", "text", "expression"),
    [
        (
            "PKG-INFO",
            "Name: x\nLicense-Expression: MIT OR Apache-2.0\nLicense: BSD\n\nbody",
            "MIT OR Apache-2.0",
        ),
        ("METADATA", "Name: x\nLicense: BSD 3-Clause\n", "BSD-3-Clause"),
        (
            "METADATA",
            "Name: x\nLicense: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n",
            "MIT",
        ),
        ("METADATA", "Name: x\nLicense: BSD\nClassifier: License :: OSI Approved :: BSD License\n", None),
        ("pyproject.toml", '[project]\nlicense = "Apache-2.0"\n', "Apache-2.0"),
        ("pyproject.toml", '[project]\nlicense = {text = "MIT"}\n', "MIT"),
        (
            "pyproject.toml",
            '[project]\nlicense = {file = "L"}\nclassifiers=["License :: OSI Approved :: ISC License (ISCL)"]\n',
            "ISC",
        ),
        ("pyproject.toml", '[tool.poetry]\nlicense = "MPL-2.0"\n', "MPL-2.0"),
        ("pyproject.toml", "[project\n", None),
        ("package.json", '{"license": "(MIT OR GPL-3.0)"}', "MIT OR GPL-3.0-only"),
        ("package.json", '{"licenses": [{"type": "MIT"}, {"type": "Apache-2.0"}]}', "MIT OR Apache-2.0"),
        ("package.json", '{"license": "SEE LICENSE IN LICENSE.txt"}', None),
        ("package.json", '{"license": "UNLICENSED"}', "LicenseRef-scancode-proprietary-license"),
        ("package.json", "[" * 100_000, None),
        ("Cargo.toml", '[package]\nlicense = "MIT/Apache-2.0"\n', "MIT OR Apache-2.0"),
        ("setup.cfg", "[metadata]\nlicense = ISC\n", "ISC"),
    ],
)
def test_metadata(name: str, text: str, expression: str | None) -> None:
    assert metadata_expression(name, text) == expression


def test_archive() -> None:
    files = {
        "p-1.0/LICENSE": MIT,
        "p-1.0/p/a.py": "",
        "p-1.0/p/vendor/q/LICENSE": APACHE,
        "p-1.0/p/vendor/q/deep/b.py": "",
    }
    by_directory = directory_expressions(files)
    assert by_directory == {"p-1.0": "MIT", "p-1.0/p/vendor/q": "Apache-2.0"}
    assert detect_files(files) == "MIT"
    assert license_for_path("p-1.0/p/a.py", by_directory) == "MIT"
    assert license_for_path("p-1.0/p/vendor/q/deep/b.py", by_directory) == "Apache-2.0"  # nearest ancestor
    assert license_for_path("elsewhere/c.py", by_directory) is None
    assert license_for_path("/p-1.0/p/a.py", by_directory) == "MIT"
    assert detect_files({"a/LICENSE": MIT, "b/x.py": ""}) is None  # speaks for a folder only
    assert detect_files({"LICENSE": MIT}, {"pyproject.toml": '[project]\nlicense="MIT OR ISC"\n'}) == "MIT OR ISC"


def test_files_of_one_directory() -> None:
    assert detect_files({"LICENSE-MIT": MIT, "LICENSE-APACHE": APACHE}) == "Apache-2.0 OR MIT"
    assert detect_files({"LICENSE": MIT, "LICENSE.third": APACHE}) == "MIT AND Apache-2.0"
    assert detect_files({"COPYING": GPL, "COPYING.LESSER": LGPL}) == "LGPL-3.0-only"
    assert detect_files({"README.md": "A tool.\n"}) is None


def test_wheels_and_vendored_packages() -> None:
    wheel = {"p/a.py": "", "p-1.0.dist-info/METADATA": "Name: p\nLicense: MIT\n"}
    assert detect_files(wheel) == "MIT"
    vendored = {
        "s/_vendor/foo_bar/x.py": "",
        "s/_vendor/foo_bar-1.0.dist-info/METADATA": "Name: foo-bar\nLicense: ISC\n",
        "s/_vendor/one.py": "",
        "s/_vendor/one-2.0.dist-info/METADATA": "Name: one\nLicense: Apache-2.0\n",
        "s/_vendor/z.py": "",
        "LICENSE": MIT,
    }
    by_directory = directory_expressions(vendored)
    assert license_for_path("s/_vendor/foo_bar/x.py", by_directory) == "ISC"
    assert license_for_path("s/_vendor/one.py", by_directory) == "Apache-2.0"
    assert license_for_path("s/_vendor/z.py", by_directory) == "MIT"


@pytest.mark.parametrize(
    ("value", "expression"),
    [
        ("mit or apache-2.0", "MIT OR Apache-2.0"),
        ("GPL-2.0+", "GPL-2.0-or-later"),
        ("GPL-3.0-with-GCC-exception", "GPL-3.0-only WITH GCC-exception-3.1"),
        ("https://creativecommons.org/licenses/by-sa/4.0/deed.en", "CC-BY-SA-4.0"),
        ("http://creativecommons.org/licenses/by/3.0/de/", "CC-BY-3.0-DE"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("BSD-3-Clause and MIT", "BSD-3-Clause AND MIT"),
        ("BSD", None),
        ("NOASSERTION", None),
        ("MIT OR", None),
        ("", None),
    ],
)
def test_normalise(value: str, expression: str | None) -> None:
    assert normalise(value) == expression


def test_content_identifiers() -> None:
    assert swhid_content(b"") == "swh:1:cnt:e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert swhid_content(b"hello\n") == "swh:1:cnt:ce013625030ba8dba906f756967f9e9ca394464a"
    import base64

    with gzip.open(DATA / "files.jsonl.gz", "rt", encoding="utf-8") as lines:
        raw = {}
        for line in lines:
            item = json.loads(line)
            content = item.get("content")
            raw[item["id"]] = base64.b64decode(item["content_b64"]) if content is None else content.encode()
    with gzip.open(DATA / "swhid_cnt.jsonl.gz", "rt", encoding="utf-8") as lines:
        golden = [json.loads(line) for line in lines]
    assert len(golden) == 309
    for item in golden:
        assert len(raw[item["id"]]) == item["length"]
        assert swhid_content(raw[item["id"]]) == item["swhid"] and sha256_hex(raw[item["id"]]) == item["sha256"]
