"""The bench of web archives: what it reads and counts."""

from __future__ import annotations

import json
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from bench import ingest

PAGE = b"<html><head><title>t</title></head><body><article>%s</article></body></html>"
TEXT = b"<p>Some words about rivers and old bridges here, and of markets.</p>" * 9


def test_every_row_finds_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "web-trafilatura-eval"
    folder.mkdir()
    with tarfile.open(folder / "pages.tar.gz", "w:gz") as archive:
        for number in range(3):
            info = tarfile.TarInfo(f"{number}.html")
            page = PAGE % (TEXT * (number + 1))
            info.size = len(page)
            archive.addfile(info, BytesIO(page))
    data = ingest.gold_archive(tmp_path, 2)
    assert ingest.pages_of(data) == [PAGE % TEXT, PAGE % (TEXT * 2)]
    rows = ingest.measured(data, ["fast"], 1)
    found = {name: row.found for name, row in rows.items()}
    size = sum(map(len, ingest.pages_of(data)))
    assert found["records"] == size and {found.get("warcio", size), found.get("fastwarc", size)} == {size}
    assert found["documents fast"] == found["extractor fast"] == 2
    assert ingest.main([str(tmp_path), "--repeats", "1", "--no-peak", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["documents"] for row in told["rows"]] == [3] and told["peak_mb"] is None


def test_without_archives_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest.main([str(tmp_path)]) == 2
    assert "No archives" in capsys.readouterr().err
