"""What hosts say about their pages is read for the pages' sake, and is in nothing that a model learns from."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from beam_runner import main
from tests.corpus import page, prose

PLAIN, HTML = "text/plain", "text/html; charset=utf-8"
HOSTS = 8
RECIPE = """\
name: reserved
output: {root}/out
engine: {{kind: local}}
sources:
  crawl: {{kind: warc, input: {root}/crawl.warc.gz, options: {{host_files: true}}}}
annotators: [respect_reservations]
held_out: {{fraction: 0.3, by: document}}
variants:
  all: []
  respectful: [respect_reservations@1]
"""


def record(url: str, body: str, mime: str) -> bytes:
    http = f"HTTP/1.1 200 OK\r\nContent-Type: {mime}\r\n\r\n".encode() + body.encode()
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2024-05-01T00:00:00Z\r\n"
        f"Content-Type: application/http;msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + http + b"\r\n\r\n", mtime=0)


def write_crawl(path: Path) -> None:
    records = []
    for i in range(HOSTS):
        host = f"https://host{i}.example"
        rule = "Disallow: /" if i % 4 == 0 else "Allow: /"
        records.append(record(f"{host}/robots.txt", f"User-agent: GPTBot\n{rule}\n", PLAIN))
        records += [record(f"{host}/{n}", page(f"Page {n}", prose(10 * i + n)), HTML) for n in range(4)]
    records.append(record("https://host1.example/.well-known/tdmrep.json", "[]", "application/json"))
    records.append(record("https://host1.example/ai.txt", "User-Agent: *\nAllow: /\n", PLAIN))
    path.write_bytes(b"".join(records))


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("reserved")
    write_crawl(root / "crawl.warc.gz")
    (root / "recipe.yaml").write_text(RECIPE.format(root=root))
    assert main(["run", str(root / "recipe.yaml"), "--data-only"]) == 0
    assert main(["validate", str(root / "out")]) == 0
    return root / "out"


def rows(folder: Path, *columns: str) -> Iterator[dict[str, Any]]:
    for shard in sorted(folder.glob("*.parquet")):
        yield from pq.read_table(shard, columns=list(columns) or None).to_pylist()


FILES = HOSTS + 2


def test_host_files_are_read_and_neither_trained_on_nor_held_out(output: Path) -> None:
    kinds = [row["kind"] for row in rows(output / "documents", "kind")]
    assert kinds.count("reservation") == FILES and kinds.count("web") == 4 * HOSTS
    for variant in ("all", "respectful"):
        for row in rows(output / "corpora" / variant / "data", "kind", "url"):
            assert row["kind"] == "web" and not row["url"].endswith((".txt", ".json"))
    texts = [row["text"] for row in rows(output / "corpora" / "all" / "data", "text")]
    assert texts and not [text for text in texts if "GPTBot" in text]


def test_waterfall_books_and_report_name_the_rule(output: Path) -> None:
    fates = [row for row in pq.read_table(output / "corpora/all/waterfall.parquet").to_pylist() if row["rule"]]
    assert [row["rule"] for row in fates].count("out_of_scope/host_file") == FILES
    stages = json.loads((output / "manifest.json").read_bytes())["stages"]
    assert stages["split"]["books"]["dropped"] == {"out_of_scope": FILES}
    assert stages["split"]["summary"]["out_of_scope"] == FILES
    for variant in ("all", "respectful"):
        assert stages[f"curate/{variant}"]["books"]["dropped"]["out_of_scope/host_file"] == FILES
    steps = {step["rule"]: step["dropped"] for step in stages["curate/all"]["summary"]["waterfall"]}
    assert steps["out_of_scope"] == FILES
    # The pages of the two hosts that reserve their rights go by that rule, not by this one.
    assert stages["curate/respectful"]["books"]["dropped"]["respect_reservations@1/robots.txt"] > 0
    assert f"| out_of_scope | {FILES} |" in (output / "corpora" / "all" / "README.md").read_text()


def test_plain_documents_that_are_packed_or_shaped_leave_them_out(output: Path, tmp_path: Path) -> None:
    documents = str(output / "documents")
    assert main(["pack", documents, "--length=256", "--tokenizer=bytes", f"--output={tmp_path}/packed"]) == 0
    assert main(["shape", documents, "--shape=web=starcoder2_documentation", f"--output={tmp_path}/shaped"]) == 0
    for name, stage in (("packed", "pack"), ("shaped", "shape")):
        books = json.loads((tmp_path / name / "manifest.json").read_bytes())["stages"][stage]["books"]
        assert books["dropped"] == {"host_file": FILES} and books["kept"] == 4 * HOSTS
