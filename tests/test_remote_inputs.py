"""Path lists at addresses, by the command line and by a recipe: what is finished is read again where it has changed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from beam_runner import main
from tests.conftest import module_from
from tests.corpus import page, prose

fsspec = pytest.importorskip("fsspec")
NAME = "crawl-data/warc/a.warc.gz"
RECIPE = """\
name: far
output: {root}/out
sources:
  crawl: {{kind: commoncrawl, input: "memory://far/warc.paths.gz", options: {{prefix: "memory://far", parts: 2}}}}
  lines: {{kind: jsonl, input: "memory://far/lines/*.jsonl"}}
held_out: {{fraction: 0.2, by: document}}
variants: {{all: []}}
"""


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


@pytest.fixture(scope="module")
def hostile() -> ModuleType:
    return module_from(Path(__file__).parent / "data" / "readers" / "make_hostile.py")


def upload(memory: Any, hostile: ModuleType, pages: int) -> None:
    records = [hostile.response(page(f"Page {i}", prose(i)).encode(), i) for i in range(pages)]
    memory.pipe_file(f"/far/{NAME}", b"".join(gzip.compress(record, mtime=0) for record in records))
    memory.pipe_file("/far/warc.paths.gz", gzip.compress(f"{NAME}\n".encode(), mtime=0))


def stages(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "manifest.json").read_bytes())["stages"]
    return found


def test_a_recipe_reads_path_lists_and_lines_and_sees_what_has_changed(
    memory: Any, hostile: ModuleType, tmp_path: Path
) -> None:
    upload(memory, hostile, 10)
    memory.pipe_file("/far/lines/a.jsonl", b'{"text": "one line of words"}\n')
    (tmp_path / "far.yaml").write_text(RECIPE.format(root=tmp_path))
    call = ["run", str(tmp_path / "far.yaml"), "--data-only"]
    assert main(call) == 0
    first = stages(tmp_path / "out")["ingest"]
    assert first["books"]["kept"] == 11 and not first["books"]["rejected"]
    assert main(call) == 0 and stages(tmp_path / "out")["ingest"] == first
    memory.pipe_file("/far/lines/a.jsonl", b'{"text": "one line of words"}\n{"text": "and another one"}\n')
    assert main(call) == 0
    again = stages(tmp_path / "out")["ingest"]
    assert again["books"]["kept"] == 12 and again["inputs"] != first["inputs"]


def test_the_command_line_ingests_files_at_addresses(
    memory: Any, hostile: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upload(memory, hostile, 5)
    assert main(["ingest", f"memory://far/{NAME}", "--kind=warc", f"--output={tmp_path}/out"]) == 0
    assert stages(tmp_path / "out")["ingest"]["books"]["kept"] == 5
    assert main(["ingest", "memory://far/none.warc", "--kind=warc", f"--output={tmp_path}/no"]) == 2
    assert "nothing matches memory://far/none.warc" in capsys.readouterr().err
    assert main(["ingest", "s4://far/none.warc", "--kind=warc", f"--output={tmp_path}/no"]) == 2
    assert "s4:// is not known" in capsys.readouterr().err
