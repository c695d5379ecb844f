"""`stack_v2@1`: The Stack v2's decision equals the reference's, union of the directories above, the annotator."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pyarrow as pa
import pytest

from licenses import ANNOTATORS, license_class, license_type
from licenses.stack_v2 import AMENDMENTS, expression_ids, found_by_directory, licenses_above, permissive_ids

DATA = Path(__file__).parents[1] / "data" / "licenses"
META = pa.map_(pa.string(), pa.string())
MIT = "Released under the MIT License"
GPL = "under the terms of the GNU General Public License version 3"


def test_decisions_equal_the_reference() -> None:
    golden = json.loads((DATA / "license_types.json").read_text(encoding="utf-8"))
    assert len(golden["cases"]) == 60
    for case in golden["cases"]:
        found = license_type(case["gha_license_id"], case["detected_licenses"], golden["permissive_list"])
        assert found == case["license_type"], case


def test_the_permissive_list() -> None:
    ids = permissive_ids()
    assert {"MIT", "Apache-2.0", "BSD-3-Clause", "CC0-1.0", "LicenseRef-scancode-public-domain", "BlueOak-1.0.0"} <= ids
    assert not {"GPL-3.0-only", "MPL-2.0", "CC-BY-NC-4.0", "BUSL-1.1", ""} & ids
    assert not AMENDMENTS & ids
    # Blue Oak rates some weak copyleft licences; nothing non-commercial or proprietary but three odd BSDs and an HPND.
    odd = {each for each in ids if license_class(each) in ("non_commercial", "proprietary")}
    assert odd <= {"BSD-3-Clause-No-Nuclear-License-2014", "BSD-3-Clause-No-Nuclear-Warranty", "HPND-export-US"}


@pytest.mark.parametrize(
    ("expression", "ids"),
    [
        ("MIT OR GPL-3.0-only", {"MIT", "GPL-3.0-only"}),
        ("GPL-2.0-only WITH Classpath-exception-2.0", {"GPL-2.0-only", "Classpath-exception-2.0"}),
        ("nonsense (", set()),
        (None, set()),
    ],
)
def test_ids(expression: str | None, ids: set[str]) -> None:
    assert expression_ids(expression) == ids


def test_an_expression_is_a_set() -> None:
    """OR counts as AND: theirs drops what ours keeps."""
    assert license_type(None, expression_ids("MIT OR GPL-3.0-only")) == "non_permissive"
    assert license_class("MIT OR GPL-3.0-only") == "permissive"


def test_all_directories_above_are_united() -> None:
    files = {
        "LICENSE": GPL,
        "README.md": "A tool.",
        "vendor/q/LICENSE": MIT,
        "vendor/q/deep/b.py": MIT,
        "other/package.json": '{"license": "Apache-2.0"}',
    }
    found = found_by_directory(files)
    assert found == {"": {"GPL-3.0-only"}, "other": {"Apache-2.0"}, "vendor/q": {"MIT"}}
    assert licenses_above("vendor/q/deep/b.py", found) == {"GPL-3.0-only", "MIT"}
    assert licenses_above("a.py", found) == {"GPL-3.0-only"}
    assert licenses_above("other/x/y.js", found) == {"GPL-3.0-only", "Apache-2.0"}
    assert licenses_above("/abs", {}) == frozenset()


def test_annotator() -> None:
    metas = [
        {"license": "MIT"},
        {"license": "MIT", "detected_licenses": "GPL-3.0-only MIT"},
        {"gha_license_id": "MIT", "detected_licenses": "GPL-3.0-only"},
        {"gha_license_id": "NOASSERTION"},
        None,
        {"license": "GPL-3.0-only"},
    ]
    batch = pa.record_batch(
        {
            "kind": pa.array(["code"] * 5 + ["web"]),
            "text": pa.array(["# SPDX-License-Identifier: GPL-3.0-only"] * 6, type=pa.large_string()),
            "meta": pa.array([None if m is None else list(m.items()) for m in metas], type=META),
        }
    )
    annotator = pickle.loads(pickle.dumps(ANNOTATORS["license_stack_v2@1"]()))
    out = annotator.annotate(batch)
    assert out.schema.equals(annotator.schema, check_metadata=True)
    rows = out.to_pylist()
    types = ["permissive", "non_permissive", "permissive", "non_permissive", "no_license", None]
    assert [row["license_type"] for row in rows] == types
    assert [row["keep"] for row in rows] == [each != "non_permissive" for each in types]
    assert rows[1]["rule"] == "license" and rows[1]["reason"] == "non_permissive" and rows[0]["reason"] is None
    assert rows[1]["detected_licenses"] == ["GPL-3.0-only", "MIT"] and rows[4]["detected_licenses"] == []
    assert rows[5]["detected_licenses"] is None
    assert annotator.annotate(pa.record_batch({"text": pa.array(["x"])})).to_pylist()[0]["license_type"] == "no_license"
    assert annotator.annotate(batch.slice(0, 0)).num_rows == 0
