"""The recipes of the published corpora, from raw files to samples, on a few documents made by hand."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest

from beam_runner import main
from eval_models.packing import PackedSamples, unpacked
from tests.conftest import module_from
from tests.corpus import module, page, prose, write_corpus

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "recipes"


@pytest.fixture(scope="module")
def fetch() -> ModuleType:
    return module_from(RECIPES / "samples" / "fetch.py")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw")
    write_corpus(root, pages=40, modules=30)
    return root


def run(recipe: str, output: Path, **overrides: object) -> dict[str, dict]:
    """The manifests of the stages."""
    given = [f"--set={key}={json.dumps(value)}" for key, value in overrides.items()]
    call = ["run", str(RECIPES / recipe), "--data-only", f"--set=output={output}", "--set=engine.workers=1"]
    assert main([*call, "--set=max_error_rate=0.2", *given]) == 0
    assert main(["validate", str(output)]) == 0
    return json.loads((output / "manifest.json").read_bytes())["stages"]


def steps_of(stage: dict) -> dict[str, int]:
    return {step["rule"]: step["dropped"] for step in stage["summary"]["waterfall"]}


def test_a_warc_of_the_samples_is_the_same_every_time(fetch: ModuleType) -> None:
    import gzip

    one, two = (fetch.warc_record("https://a.example/", page("A", prose(1)).encode()) for _ in range(2))
    assert one == two
    head, _, body = gzip.decompress(one).partition(b"\r\n\r\n")
    assert b"WARC-Target-URI: https://a.example/" in head
    assert int(head.rpartition(b"Content-Length: ")[2]) == len(body) - 4


def test_redpajama_v2_from_an_archive(raw: Path, fetch: ModuleType, tmp_path: Path) -> None:
    pages = [(json.loads(line)["url"], json.loads(line)["path"]) for line in (raw / "urls.jsonl").open()]
    records = [fetch.warc_record(url, (raw / "web" / path).read_bytes()) for url, path in pages]
    short = [page(f"Short {i}", prose(i, sentences=3)) for i in range(200, 206)]
    records += [fetch.warc_record(f"https://short.example/{i}", text.encode()) for i, text in enumerate(short)]
    (tmp_path / "pages.warc.gz").write_bytes(b"".join(records))
    (tmp_path / "wiki.jsonl").write_text("".join(json.dumps({"text": prose(i)}) + "\n" for i in range(100, 160)))
    model = tmp_path / "en.zip"
    assert main(["fit", "ngram", str(tmp_path / "wiki.jsonl"), "--output", str(model)]) == 0
    stages = run(
        "redpajama-v2.yaml",
        tmp_path / "out",
        **{
            "sources.crawl.input": str(tmp_path / "pages.warc.gz"),
            "annotators[0].options": {"model": {"en": str(model)}, "limits": {"en": [80, 100]}},
            "held_out.by": "document",
        },
    )
    dropped = steps_of(stages["curate/full"])
    assert dropped["ccnet/bucket"] > 0 and dropped["rpv2@1/rps_doc_word_count"] > 0 and dropped["out_of_scope"] > 0
    kept = [stages[f"curate/{name}"]["summary"]["train"]["documents"] for name in ("all", "head_middle", "natlang")]
    assert kept[0] > kept[1] > kept[2] > stages["curate/full"]["summary"]["train"]["documents"] > 0
    buckets = pq.read_table(tmp_path / "out" / "annotations" / "ccnet" / "part-00000.parquet")["bucket"].to_pylist()
    assert {"head", "middle", "tail"} <= {*buckets}
    samples = PackedSamples(tmp_path / "out" / "packed" / "full")
    assert samples.length == 2048 and {doc for sample in samples for doc in sample.doc_ids}
    card = (tmp_path / "out" / "corpora" / "full" / "README.md").read_text()
    assert "| ccnet/bucket |" in card and "ccnet/bucket/tail" in card


def source_archive(path: Path, name: str, spdx: str, files: dict[str, str]) -> None:
    files = {"PKG-INFO": f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\nLicense-Expression: {spdx}\n", **files}
    with tarfile.open(path, "w:gz") as archive:
        for member, text in files.items():
            info = tarfile.TarInfo(f"{name}-1.0/{member}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))


NOTEBOOK = {
    "cells": [
        {"cell_type": kind, "source": [text], "metadata": {}, **({"outputs": []} if kind == "code" else {})}
        for kind, text in [
            ("markdown", "# Sums"),
            ("code", "a = 1 + 1"),
            ("markdown", "And more"),
            ("code", "print(a)"),
        ]
    ],
    "metadata": {"kernelspec": {"language": "python", "name": "python3"}, "language_info": {"name": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}
PAGE = "<page><title>River {0}</title><ns>0</ns><id>{0}</id><revision><id>{0}</id><text>{1}</text></revision></page>"


def test_the_stack_v2_and_then_starcoder2(tmp_path: Path, fetch: ModuleType) -> None:
    fetch.write_clones(tmp_path)
    code = tmp_path / "code"
    code.mkdir()
    files = {f"alpha/part{i % 5}/m{i:02d}.py": module(i) for i in range(24)}
    files["alpha/copy.py"] = module(3).replace("total", "summed", 1)
    files["alpha/made.py"] = "# This file is generated, do not edit\n" + module(99)
    source_archive(code / "alpha-1.0.tar.gz", "alpha", "MIT", files)
    source_archive(
        code / "beta-1.0.tar.gz", "beta", "GPL-3.0-or-later", {f"b/m{i}.py": module(50 + i) for i in range(9)}
    )
    opt_out = tmp_path / "opt-out.yaml"
    opt_out.write_text("entries: [{repo: gamma, date: 2026-01-15, reason: wish}]")
    source_archive(code / "gamma-1.0.tar.gz", "gamma", "MIT", {"g.py": module(70)})
    stack = tmp_path / "stack"
    stages = run("the-stack-v2.yaml", stack, **{"sources.code.input": f"{code}/*", "opt_out": str(opt_out)})
    dropped = stages["curate/full"]["books"]["dropped"]
    assert dropped["license/copyleft_strong"] >= 5 and dropped["dedup"] == 1 and dropped["opt_out/repo"] == 1
    assert steps_of(stages["curate/full"])["starcoder2@1"] == 1
    (rule,) = [name for name in dropped if name.startswith("starcoder2@1/")]
    assert f"| {rule} | 1 |" in (stack / "corpora" / "full" / "README.md").read_text()

    source_archive(tmp_path / "notes-1.0.tar.gz", "notes", "MIT", {"sums.ipynb": json.dumps(NOTEBOOK)})
    pages = "".join(PAGE.format(i, prose(i + 300)) for i in range(1, 12))
    (tmp_path / "wiki.xml").write_text(f"<mediawiki><siteinfo/>{pages}</mediawiki>")
    stages = run(
        "starcoder2.yaml",
        tmp_path / "out",
        **{
            "sources.code.input": f"{stack}/corpora/full/data/train-*.parquet",
            "sources.issues.input": str(RECIPES / "samples" / "github" / "2024-01-01-0.json"),
            "sources.issues.options.clones": str(tmp_path / "clones"),
            "sources.notebooks.input": str(tmp_path / "notes-1.0.tar.gz"),
            "sources.wikipedia.input": str(tmp_path / "wiki.xml"),
            "variants.repositories.pack.length": 1024,
        },
    )
    shapes = stages["shape/repositories"]["summary"]["by_shape"]
    assert shapes["starcoder2_issue@1"]["kept"] == 3 and shapes["starcoder2_issue@1"]["bot_issue"] == 2
    assert shapes["starcoder2_repository@1"]["kept"] in (1, 2)  # of what is trained on, and of what is held out
    assert shapes["starcoder2_notebook_structured@1"]["kept"] == 1
    assert shapes["starcoder2_pull_request@1"] == {"documents": 5, "kept": 1, "merged_into": 4}  # with its base
    by_source = stages["pack/repositories"]["summary"]["by_source"]
    assert {*by_source} == {"code", "issues", "notebooks", "wikipedia"} and by_source["wikipedia"]["epochs"] == 2
    samples = PackedSamples(tmp_path / "out" / "packed" / "repositories")
    text = b"".join(tokens[tokens < 256].astype("u1").tobytes() for tokens in unpacked(samples).values()).decode()
    assert "username_1" in text and "<jupyter_code>" in text and "<file_sep>" in text
    assert "brook" not in text and "This file is generated" not in text
