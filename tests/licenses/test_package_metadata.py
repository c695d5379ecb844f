"""Package metadata: what each format states, where, how surely; broken and hostile files."""

from __future__ import annotations

import time

import pytest

from licenses import detect_files, directory_expressions, is_metadata, metadata_match
from licenses.package_metadata import CLASSIFIER, EXPRESSION, NAME, named_files

GPL = "under the terms of the GNU General Public License version 3"
POM = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<project xmlns="http://maven.apache.org/POM/4.0.0">\n<name>é</name>\n'
    "<dependencies><license><name>GPL-3.0-only</name></license></dependencies>\n<licenses>{}</licenses></project>"
)


def license_of(name: str, url: str = "") -> str:
    return f"<license><name> {name}\n</name>" + (f"<url>{url}</url>" if url else "") + "</license>"


CASES: list[tuple[str, str, str, float, str]] = [
    ("pyproject.toml", '[project]\nlicense = "MIT AND (ISC OR 0BSD)"\n', "MIT AND (ISC OR 0BSD)", EXPRESSION,
     "MIT AND (ISC OR 0BSD)"),
    ("pyproject.toml", '[project]\nname = "MIT"\nlicense = "The MIT License"\n', "MIT", NAME, "The MIT License"),
    ("pyproject.toml", '[tool.flit.metadata]\nlicense = "ISC"\n', "ISC", EXPRESSION, "ISC"),
    ("METADATA", "Name: é\nLicense-Expression: Apache-2.0\n\nLicense: MIT", "Apache-2.0", EXPRESSION, "Apache-2.0"),
    ("PKG-INFO", "Classifier: License :: OSI Approved :: MIT License\n", "MIT", CLASSIFIER,
     "License :: OSI Approved :: MIT License"),
    ("setup.cfg", "[metadata]\nlicense = BSD\nlicense_expression = BSD-2-Clause\n", "BSD-2-Clause", EXPRESSION,
     "BSD-2-Clause"),
    ("setup.cfg", "[metadata]\nclassifiers =\n    License :: OSI Approved :: ISC License (ISCL)\n", "ISC", CLASSIFIER,
     "License :: OSI Approved :: ISC License (ISCL)"),
    ("setup.py", "setup(\n    name='x', license='Apache 2.0',\n)", "Apache-2.0", NAME, "Apache 2.0"),
    ("setup.py", "setup(license=open('L').read(), classifiers=['License :: OSI Approved :: MIT License'])", "MIT",
     CLASSIFIER, "License :: OSI Approved :: MIT License"),
    ("package.json", '{"licenses": [{"type": "Apache License, Version 2.0", "url": "x"}]}', "Apache-2.0", NAME,
     "Apache License, Version 2.0"),
    ("Cargo.toml", '[package]\nlicense = "MIT/Apache-2.0"\n', "MIT OR Apache-2.0", EXPRESSION, "MIT/Apache-2.0"),
    ("Cargo.toml", '[workspace.package]\nlicense = "MPL-2.0"\n', "MPL-2.0", EXPRESSION, "MPL-2.0"),
    ("Cargo.toml", '[package]\nlicense.workspace = true\n[workspace.package]\nlicense = "ISC"\n', "ISC", EXPRESSION,
     "ISC"),
    ("composer.json", '{"license": "proprietary"}', "LicenseRef-scancode-proprietary-license", NAME, "proprietary"),
    ("composer.json", '{"license": ["MIT", "GPL-3.0-or-later"]}', "MIT OR GPL-3.0-or-later", EXPRESSION, "license"),
    ("x.gemspec", "Gem::Specification.new do |s|\n  s.license = 'MIT'\nend", "MIT", EXPRESSION, "MIT"),
    ("x.gemspec", "s.licenses = %w[MIT Ruby]", "MIT AND Ruby", EXPRESSION, "license"),
    ("x.gemspec", 's.licenses = ["MIT"]', "MIT", EXPRESSION, "MIT"),
    ("DESCRIPTION", "Package: x\nLicense: MIT + file LICENSE\n", "MIT", NAME, "MIT + file LICENSE"),
    ("DESCRIPTION", "Package: x\nLicense: GPL (>= 2)\n", "GPL-2.0-or-later", NAME, "GPL (>= 2)"),
    ("DESCRIPTION", "Package: x\nLicense: GPL-2 | file LICENSE\n", "GPL-2.0-only", NAME, "GPL-2 | file LICENSE"),
    ("DESCRIPTION", "Package: x\nLicense: Apache License (== 2.0) | MPL-2.0\n", "Apache-2.0 OR MPL-2.0", NAME,
     "Apache License (== 2.0) | MPL-2.0"),
    ("pom.xml", POM.format(license_of("The Apache Software License, Version 2.0")), "Apache-2.0", NAME,
     "The Apache Software License, Version 2.0"),
    ("pom.xml", POM.format(license_of("Our own", "https://opensource.org/licenses/MIT")), "MIT", NAME,
     "https://opensource.org/licenses/MIT"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "expression", "confidence", "shown"), CASES)
def test_stated(name: str, text: str, expression: str, confidence: float, shown: str) -> None:
    found = metadata_match(name, text)
    assert found is not None and is_metadata("a/" + name)
    assert (found.expression, found.confidence, found.source) == (expression, confidence, "package_metadata")
    assert text[found.start : found.end] == shown


def test_several_licences_of_a_pom_are_a_choice() -> None:
    found = metadata_match("pom.xml", POM.format(license_of("MIT") + license_of("EPL-2.0")))
    assert found is not None and found.expression == "MIT OR EPL-2.0"
    assert metadata_match("pom.xml", POM.format(license_of("MIT") + license_of("Our own"))) is None


BOMB = (
    "<!DOCTYPE x ["
    + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10 if i else "ha"}">' for i in range(10))
    + "]><project><licenses><license><name>&a9;</name></license></licenses></project>"
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pom.xml", BOMB),
        ("pom.xml", '<!DOCTYPE x [<!ENTITY m "MIT">]>' + POM[POM.index("<project") :].format(license_of("&m;"))),
        ("pom.xml", '<!DOCTYPE x SYSTEM "file:///etc/passwd"><project><licenses/></project>'),
        ("pom.xml", "<a>" * 100_000),
        ("pom.xml", POM.format("<license/>")[:-20]),
        ("pom.xml", ""),
        ("composer.json", "[" * 100_000),
        ("composer.json", '{"license": [1, null]}'),
        ("package.json", '{"licenses": {"type": 3}}'),
        ("Cargo.toml", "[package]\nlicense = 3\n"),
        ("Cargo.toml", "package = 1\n"),
        ("pyproject.toml", "[project]\nlicense = [1]\n"),
        ("setup.py", "setup(license='MIT' % x)"),
        ("setup.py", "license = '" * 20_000),
        ("setup.cfg", "license = \n"),
        ("x.gemspec", "s.license = ENV['X']"),
        ("DESCRIPTION", "A readme of that name\nLicense: MIT\n"),
        ("DESCRIPTION", "Package: x\nLicense: file LICENSE\n"),
        ("DESCRIPTION", "Package: x\nLicense: GPL (< 3)\n"),
        ("METADATA", "License-Expression: Not A Licence\nLicense: MIT\n"),
        ("package.json", " " * 1_000_001 + '{"license": "MIT"}'),
        ("unknown.json", '{"license": "MIT"}'),
    ],
)  # fmt: skip
def test_states_nothing(name: str, text: str) -> None:
    start = time.process_time()
    assert metadata_match(name, text) is None
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("name", "text", "paths"),
    [
        ("pyproject.toml", '[project]\nlicense-files = ["LICEN*", "vendored/l.txt"]\n', ["LICEN*", "vendored/l.txt"]),
        ("pyproject.toml", '[project]\nlicense = {file = "./TERMS"}\n', ["TERMS"]),
        ("pyproject.toml", '[project]\nlicense-files = {paths = ["A"], globs = ["b/*"]}\n', ["A", "b/*"]),
        ("METADATA", "License-File: LICENSE\nLicense-File: AUTHORS\n", ["LICENSE", "AUTHORS"]),
        ("Cargo.toml", '[package]\nlicense-file = "../TERMS"\n', []),
        ("package.json", '{"license": "SEE LICENSE IN terms.md"}', ["terms.md"]),
        ("package.json", '{"license": 3}', []),
        ("pyproject.toml", "[", []),
    ],
)  # fmt: skip
def test_named_files(name: str, text: str, paths: list[str]) -> None:
    assert named_files(name, text) == paths


def test_files_that_metadata_names_state_the_licence() -> None:
    project = {
        "a/pyproject.toml": '[project]\nlicense-files = ["legal/*.txt"]\n',
        "a/legal/terms.txt": GPL,
        "a/x.txt": GPL,
    }
    assert directory_expressions(project) == {"a": "GPL-3.0-only"}
    assert detect_files({"package.json": '{"license": "SEE LICENSE IN terms.md"}', "terms.md": GPL}) == "GPL-3.0-only"
    assert detect_files({"LICENSES/MIT.txt": "Released under the MIT License", "LICENSES/notes.txt": GPL}) == "MIT"
