"""Readmes: badges, sections, notices; and when they count for a directory."""

from __future__ import annotations

import pytest

from licenses import directory_expressions, is_readme, readme_match

SHIELD = "https://img.shields.io/badge/"


@pytest.mark.parametrize(
    ("text", "expression", "shown"),
    [
        (f"# x\n![License]({SHIELD}license-MIT-blue.svg)\n", "MIT", "MIT"),
        (f"[![License]({SHIELD}License-Apache%202.0-blue.svg)](LICENSE)", "Apache-2.0", "Apache%202.0"),
        (f"![l]({SHIELD}license-BSD--3--Clause-green)", "BSD-3-Clause", "BSD--3--Clause"),
        ("[![License](x.svg)](https://opensource.org/licenses/MIT)", "MIT", "https://opensource.org/licenses/MIT"),
        ("[License: GPL v3](https://www.gnu.org/licenses/gpl-3.0)", "GPL-3.0-only", "https://www.gnu.org/licenses/gpl-3.0"),
        ("# x\n\n## License\n\nMIT\n", "MIT", "MIT"),
        ("# x\n\n## License\n\n[MIT](LICENSE) © Jane Holder\n\n## Thanks\n\nGPL code of y\n", "MIT", "MIT"),
        ("## 📄 License\n\nApache-2.0. See LICENSE.\n", "Apache-2.0", "Apache-2.0"),
        ("x\n=\n\nLicense\n-------\n\nReleased under a BSD 2-clause license.\n", "BSD-2-Clause",
         "BSD 2-clause license"),
        ("<h2>License</h2>\nDual-licensed under MIT or Apache-2.0.\n", "MIT OR Apache-2.0", "MIT or Apache-2.0"),
        ("Copyright 2020. This library is licensed under the ISC License.", "ISC", "ISC License"),
        ("# x\n## License\n\nSee LICENSE.\n", None, ""),
        ("# A list of licenses\n\nMIT is short, the GPL is long.\n", None, ""),
        ("## Licensed professionals\n\nMIT graduates\n", None, ""),
        ("", None, ""),
    ],
)  # fmt: skip
def test_readme(text: str, expression: str | None, shown: str) -> None:
    found = readme_match(text)
    assert (found and found.expression) == expression
    if found is not None:
        assert found.source == "readme" and 0.5 < found.confidence < 1
        assert shown in text[found.start : found.end]


def test_badges_that_differ_hold_together() -> None:
    text = f"![l]({SHIELD}license-MIT-blue) ![l]({SHIELD}license-GPLv3+-blue)"
    found = readme_match(text)
    assert found is not None and found.expression == "MIT AND GPL-3.0-or-later"


@pytest.mark.parametrize("name", ["README", "readme.md", "a/README.rst", "README.zh-CN.md", "READ_ME.txt"])
def test_names(name: str) -> None:
    assert is_readme(name) and not is_readme("src/readme.py") and not is_readme("thread-messages.md")


def test_a_readme_counts_where_nothing_else_does() -> None:
    badge, notice = f"![l]({SHIELD}license-MIT-blue)", "Data: released under the ISC License."
    assert directory_expressions({"README.md": badge}) == {"": "MIT"}
    assert directory_expressions({"README.md": notice}) == {"": "ISC"}
    own = {"README.md": badge, "LICENSE": "Licensed under the Apache License, Version 2.0"}
    assert directory_expressions(own) == {"": "Apache-2.0"}
    deep = {"package.json": '{"license": "0BSD"}', "a/README.md": notice, "b/README.md": badge}
    assert directory_expressions(deep) == {"": "0BSD", "b": "MIT"}
