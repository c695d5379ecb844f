"""`license@1`, the classes and the rule `license`."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pytest

from licenses import ANNOTATORS, CLASSES, license_class, license_verdicts, parse_expression
from licenses.classes import class_table
from licenses.texts import index

META = pa.map_(pa.string(), pa.string())


def batch(rows: list[tuple[str, str, str | None, dict[str, str] | None]]) -> pa.RecordBatch:
    kinds, texts, paths, metas = zip(*rows, strict=True)
    return pa.record_batch(
        {
            "kind": pa.array(kinds),
            "text": pa.array(texts, type=pa.large_string()),
            "path": pa.array(paths, type=pa.string()),
            "meta": pa.array([None if m is None else list(m.items()) for m in metas], type=META),
        }
    )


ROWS = [
    ("code", "# SPDX-License-Identifier: GPL-3.0-or-later\n", "a.py", {"license": "MIT"}),
    ("code", "# Licensed under the Apache License, Version 2.0\n", "b.py", None),
    ("code", "x = 1\n", "c.py", {"license": "MIT OR GPL-2.0-only", "stars": "3"}),
    ("code", "x = 1\n", "d.py", None),
    ("code", "x = 1\n", "e.py", {"license": "some words of our own"}),
    ("notebook", "x = 1\n", "f.ipynb", {"license": "BSD-3-Clause"}),
    (
        "web",
        "Licensed under the MIT License",
        None,
        {"license": "https://creativecommons.org/licenses/by-nc/4.0/"},
    ),
    ("web", "Licensed under the MIT License", None, None),
    (
        "code",
        "# governed by a BSD-style license that can be found in the LICENSE file.\n",
        "g.go",
        {"license": "BSD-3-Clause"},
    ),
]
EXPECTED = [
    ("GPL-3.0-or-later", "copyleft_strong", "spdx_header"),
    ("Apache-2.0", "permissive", "file_notice"),
    ("MIT OR GPL-2.0-only", "permissive", "archive"),
    (None, "no_license", None),
    (None, "unknown", "archive"),
    ("BSD-3-Clause", "permissive", "archive"),
    ("CC-BY-NC-4.0", "non_commercial", "archive"),
    (None, "unknown", None),
    ("BSD-3-Clause", "permissive", "archive"),
]


def test_annotator() -> None:
    annotator = pickle.loads(pickle.dumps(ANNOTATORS["license@1"]()))
    out = annotator.annotate(batch(ROWS))
    assert out.schema.equals(annotator.schema, check_metadata=True) and annotator.name == "license@1"
    rows = out.to_pylist()
    assert [(r["expression"], r["license_class"], r["source"]) for r in rows] == EXPECTED
    for row, (_, text, _, _) in zip(rows, ROWS, strict=True):
        if row["source"] in ("spdx_header", "file_notice", "file_text"):
            assert text[row["span_start"] : row["span_end"]] and row["confidence"] > 0.5
        else:
            assert row["span_start"] is None and row["span_end"] is None
    assert rows[1]["span_start"] == ROWS[1][1].index("Apache License")


def test_annotator_needs_text_only() -> None:
    out = ANNOTATORS["license@1"]().annotate(pa.record_batch({"text": pa.array(["# License: MIT", ""])}))
    assert out.column("license_class").to_pylist() == ["permissive", "no_license"]
    empty = ANNOTATORS["license@1"]().annotate(batch(ROWS).slice(0, 0))
    assert empty.num_rows == 0 and empty.schema == out.schema


def test_rule() -> None:
    columns = ANNOTATORS["license@1"]().annotate(batch(ROWS))
    kinds = [row[0] for row in ROWS]
    verdicts = license_verdicts(columns, kinds).to_pylist()
    assert [v["keep"] for v in verdicts] == [False, True, True, False, False, True, True, True, True]
    assert verdicts[0] == {
        "keep": False,
        "rule": "license",
        "value": None,
        "threshold": None,
        "reason": "license:copyleft_strong",
    }
    assert verdicts[3]["reason"] == "license:no_license" and verdicts[1]["rule"] is verdicts[1]["reason"] is None
    more = license_verdicts(columns, pa.array(kinds), ("permissive", "public_domain", "no_license"))
    assert more.column("keep").to_pylist()[3] is True
    strict = license_verdicts(columns, kinds, require_for=("web",)).column("keep").to_pylist()
    assert strict == [True] * 6 + [False, False, True]
    with pytest.raises(ValueError, match="permisive"):
        license_verdicts(columns, kinds, ("permisive",))
    with pytest.raises(ValueError, match="rows but"):
        license_verdicts(columns, kinds[:-1])


def test_null_class_is_dropped() -> None:
    columns = pa.record_batch({"license_class": pa.array([None, "permissive"], type=pa.string())})
    out = license_verdicts(columns, ["code", "code"])
    assert out.column("reason").to_pylist() == ["license:unknown", None]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", "permissive"),
        ("Apache-2.0", "permissive"),
        ("CC-BY-4.0", "permissive"),
        ("CC0-1.0", "public_domain"),
        ("Unlicense", "public_domain"),
        ("MPL-2.0", "copyleft_weak"),
        ("LGPL-2.1-or-later", "copyleft_weak"),
        ("GPL-3.0-only", "copyleft_strong"),
        ("AGPL-3.0-only", "copyleft_strong"),
        ("CC-BY-NC-SA-4.0", "non_commercial"),
        ("PolyForm-Noncommercial-1.0.0", "non_commercial"),
        ("BUSL-1.1", "proprietary"),
        ("LicenseRef-mine", "unknown"),
        ("GPL-3.0-only OR MIT", "permissive"),
        ("GPL-3.0-only AND MIT", "copyleft_strong"),
        ("MIT AND LicenseRef-mine", "unknown"),
        ("MIT OR LicenseRef-mine", "permissive"),
        ("(GPL-2.0-only OR MIT) AND MPL-2.0", "copyleft_weak"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "copyleft_weak"),
        ("GPL-3.0-or-later WITH GCC-exception-3.1", "copyleft_weak"),
        ("Apache-2.0 WITH LLVM-exception", "permissive"),
        ("NONE", "no_license"),
        ("NOASSERTION", "unknown"),
        (None, "unknown"),
        ("not an ( expression", "unknown"),
        ("mit", "permissive"),
        ("GPL-2.0+", "copyleft_strong"),
    ],
)
def test_classes(expression: str | None, expected: str) -> None:
    assert license_class(expression) == expected


def test_every_text_has_a_class() -> None:
    table = class_table()
    assert set(table.values()) <= set(CLASSES)
    ids = {ids[0] for ids, kind in zip(index().identifiers, index().kinds, strict=True) if kind == "license"}
    missing = sorted(i for i in ids if license_class(parse_expression(i)) == "unknown" and i.lower() not in table)
    assert missing == []
