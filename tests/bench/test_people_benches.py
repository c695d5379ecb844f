"""The benches of personal data and licences: what they read, count and leave out."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from bench import code_files, license_texts, people
from licenses import detect_code
from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.shards import write_shard

ISC = (
    "Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby\n"
    "granted, provided that the above copyright notice and this permission notice appear in all copies.\n\n"
    'THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE INCLUDING\n'
    "ALL IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL,\n"
    "DIRECT, INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR\n"
    "PROFITS, WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN\n"
    "CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE.\n"
)


def test_texts_of_lines_and_of_shards(tmp_path: Path) -> None:
    texts = ["é" * 10, "b", "c"]
    lines = tmp_path / "texts.jsonl"
    lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    rows = [{"doc_id": str(at), "source": "s", "kind": "web", "text": t, "meta": []} for at, t in enumerate(texts)]
    (tmp_path / "documents").mkdir()
    batch = pa.RecordBatch.from_pylist(rows, schema=DOCUMENT_SCHEMA)
    write_shard(str(tmp_path / "documents" / "part-00000.parquet"), DOCUMENT_SCHEMA, [batch])
    assert people.texts_of(str(lines)) == people.texts_of(str(tmp_path)) == texts
    assert people.texts_of(str(lines), 20) == texts[:1]


def test_code_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr("x/a.py", "x = 1\n")
        wheel.writestr("x/b.so", b"\0\1")
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as sdist:
        info = tarfile.TarInfo("y/../../c.js")
        info.size = 2
        sdist.addfile(info, io.BytesIO(b"y\n"))
    archives = [str(tmp_path / "b.tar.gz"), str(tmp_path / "a.whl")]
    assert code_files.main([str(tmp_path / "out"), *archives]) == 0
    assert {p.name: p.read_text() for p in (tmp_path / "out").iterdir()} == {"0.py": "x = 1\n", "1.js": "y\n"}


def test_scores() -> None:
    score = license_texts.judge({"ISC": ISC, "MIT": "no such text", "GPL-2.0+": ISC}, license_texts.ours)
    assert (score.texts, score.ids, score.classes, score.none) == (3, 1, 1, 1)
    assert score.confused == {("MIT", "-"): 1, ("GPL-2.0+", "ISC"): 1}
    assert score.class_matrix["copyleft_strong", "permissive"] == 1
    # One text serves all of these, so none of them is wrong for it.
    assert {"GPL-2.0-only", "GPL-2.0-or-later"} <= license_texts.expected("GPL-2.0+").expressions


@pytest.mark.parametrize("name", license_texts.MUTATIONS)
def test_mutations_keep_the_licence(name: str) -> None:
    changed = license_texts.MUTATIONS[name](ISC)
    found = detect_code(changed, whole=True)
    assert found is not None and found.expression == "ISC" and 0 <= found.start < found.end <= len(changed)
    assert changed != ISC or name in ("as published", "no title")


def test_a_peer_that_fails_is_named(tmp_path: Path) -> None:
    false = tmp_path / "python"
    false.write_text("#!/bin/sh\necho 'no such module' >&2\nexit 1\n")
    false.chmod(0o755)
    with pytest.raises(SystemExit, match="licenses scancode.*no such module"):
        license_texts.found_by_peer(str(false), "scancode", ["x"])
    with pytest.raises(SystemExit, match="speed dolma.*no such module"):
        people.ask_peer(str(false), "speed", "dolma", "x")
