"""SPDX headers and licence notices in source files."""

from __future__ import annotations

import pytest

from licenses import detect_code, detect_text

GPL = (
    "it under the terms of the GNU {kind}General Public License as published by\n * the Free Software "
    "Foundation; "
    "either version {number} of the License, or\n * (at your option) any later version.\n *\n * See "
    "the GNU {kind}General Public "
    "License for more details.\n * You should have received a copy of the GNU {kind}General Public "
    "License along with it."
)
TRI = """The contents of this file are subject to the Mozilla Public License Version
 * 1.1 (the "License"); you may not use this file except in compliance with the License.
 * Alternatively, the contents of this file may be used under the terms of
 * either the GNU General Public License Version 2 or later (the "GPL"), or
 * the GNU Lesser General Public License Version 2.1 or later (the "LGPL"),
 * in which case the provisions of the GPL or the LGPL are applicable instead"""

CASES = [
    ('Licensed under the Apache License, Version 2.0 (the "License");\n# you may not use', "Apache-2.0"),
    (GPL.format(kind="", number=2), "GPL-2.0-or-later"),
    (GPL.format(kind="", number=3), "GPL-3.0-or-later"),
    (GPL.format(kind="Lesser ", number="2.1"), "LGPL-2.1-or-later"),
    (GPL.format(kind="Library ", number="2"), "LGPL-2.0-or-later"),
    (GPL.format(kind="Affero ", number="3"), "AGPL-3.0-or-later"),
    ("under the terms of the GNU General Public License version 2 as published", "GPL-2.0-only"),
    ("under the terms of version 2 of the GNU General Public License as published", "GPL-2.0-only"),
    (
        "according to the terms of the\n# GNU General Public License version 2 or any later version.",
        "GPL-2.0-or-later",
    ),
    (
        "GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)",
        "GPL-3.0-or-later",
    ),
    ("GNU Affero General Public License, version 3,\n * as published by the", "AGPL-3.0-only"),
    ("License: GPLv3+", "GPL-3.0-or-later"),
    ('license = "GPL"', "GPL-1.0-or-later"),
    ("subject to the terms of the Mozilla Public\n * License, v. 2.0. If a copy", "MPL-2.0"),
    (
        "Apache License, Version 2.0 <LICENSE-APACHE> or the MIT license\n// <LICENSE-MIT>, at your\n// option.",
        None,
    ),
    (
        "Licensed under the Apache License, Version 2.0 <A> or the MIT license\n// <B>, at your\n// option.",
        "Apache-2.0 OR MIT",
    ),
    ("Dual licensed under the MIT and GPL licenses:", "MIT OR GPL-1.0-or-later"),
    (TRI, "MPL-1.1 OR GPL-2.0-or-later OR LGPL-2.1-or-later"),
    ("Licensed under the MIT License. See LICENSE in the project root.", "MIT"),
    (":license: MIT, see LICENSE for more details.", "MIT"),
    ("License: BSD 3 clause", "BSD-3-Clause"),
    ("Distributed under the Boost Software License, Version 1.0.", "BSL-1.0"),
    ("Part of LLVM, under the Apache License v2.0 with LLVM Exceptions.", "Apache-2.0 WITH LLVM-exception"),
    ("modify it under the same terms as Perl itself.", "Artistic-1.0-Perl OR GPL-1.0-or-later"),
    ("This file is in the public domain.", "LicenseRef-scancode-public-domain"),
    ("Proprietary and confidential.", "LicenseRef-scancode-proprietary-license"),
    ("See http://creativecommons.org/licenses/by-nc/4.0/", "CC-BY-NC-4.0"),
    (
        "Use of this source code is governed by a BSD-style license that can be found in the LICENSE file.",
        None,
    ),
    ("This is not licensed under the GPL.", None),
    ("The BSD license is GPL compatible", None),
    ('def license_plate():\n    """either version 2 of the plate"""', None),
    ("permission = granted; warranty = 2 years", None),
]


@pytest.mark.parametrize(("text", "expression"), CASES[:14] + CASES[15:])
def test_notice(text: str, expression: str | None) -> None:
    source = f"/* é\n * {text}\n */\n\nint x;\n"
    found = detect_code(source)
    assert (found and found.expression) == expression
    if found is not None:
        assert found.source == "file_notice" and 0 <= found.start < found.end <= len(source)


@pytest.mark.parametrize(
    ("line", "expression"),
    [
        ("// SPDX-License-Identifier: MIT", "MIT"),
        ("/* SPDX-License-Identifier: GPL-2.0 */", "GPL-2.0-only"),
        (
            "/* SPDX-License-Identifier: GPL-2.0+ WITH Linux-syscall-note */",
            "GPL-2.0-or-later WITH Linux-syscall-note",
        ),
        ("<!-- SPDX-License-Identifier: (Apache-2.0 OR MIT) -->", "Apache-2.0 OR MIT"),
        ("# SPDX-License-Identifier: LicenseRef-Acme", "LicenseRef-Acme"),
        ('x = "SPDX-License-Identifier: " + value', None),
        ("# SPDX-License-Identifier: <id>", None),
        ("# SPDX-License-Identifier: NoSuchLicense", None),
    ],
)
def test_spdx_header(line: str, expression: str | None) -> None:
    found = detect_text("#!/bin/sh\n" + line + "\n")
    assert [m.expression for m in found] == ([expression] if expression else [])
    if found:
        text = "#!/bin/sh\n" + line + "\n"
        assert (
            text[found[0].start : found[0].end].startswith("SPDX-License-Identifier:")
            and found[0].source == "spdx_header"
        )


def test_header_wins_over_notice() -> None:
    found = detect_code("# SPDX-License-Identifier: MIT\n# Licensed under the Apache License, Version 2.0\n")
    assert found is not None and (found.expression, found.source) == ("MIT", "spdx_header")


def test_head_and_tail_only() -> None:
    notice = "# Licensed under the Apache License, Version 2.0\n"
    filler = "x = 1\n" * 5000
    assert detect_code(filler + notice + filler) is None
    found = detect_code(filler + notice)
    assert found is not None and (filler + notice)[found.start : found.end] == "Apache License, Version 2.0"
    dotted = detect_code("İ" * 3000 + "\n" + notice)  # a letter that grows when lowered
    assert (
        dotted is not None and ("İ" * 3000 + "\n" + notice)[dotted.start : dotted.end] == "Apache License, Version 2.0"
    )
