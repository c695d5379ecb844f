"""One recipe, every engine, the same bytes: equal manifest hashes whatever runs it and in whatever order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from beam_runner import main
from pipelines import driver
from pipelines.engines import local_job_service
from pipelines.manifest import digest
from pipelines.storage import read_json
from tests.corpus import write_corpus, write_recipe

pytestmark = pytest.mark.engine


def manifest_hash(output: Path) -> str:
    return digest(read_json(f"{output}/manifest.json"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    write_corpus(root, pages=30, modules=12)
    # A dozen JSONL files make a dozen units, so that two workers and a shuffled order mean something.
    for i in range(12):
        text = f'{{"id": "j{i}", "text": "line {i} of a small file, with a few words more"}}\n'
        (root / "notes").mkdir(exist_ok=True)
        (root / f"notes/{i}.jsonl").write_text(text)
    return root


def recipe(root: Path, name: str, workers: int = 1, engine: str | None = None) -> Path:
    path = write_recipe(root, root / name, workers)
    text = path.read_text().replace("sources:\n", f"sources:\n  notes: {{kind: jsonl, input: {root}/notes/*.jsonl}}\n")
    text = text.replace("by: {web: host,", "by: {notes: document, web: host,")
    if engine is not None:
        text = text.replace(f"engine: {{kind: local, workers: {workers}}}", f"engine: {engine}")
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def one_worker(corpus: Path) -> str:
    assert main(["run", str(recipe(corpus, "one"))]) == 0
    return manifest_hash(corpus / "one")


def test_two_worker_processes(corpus: Path, one_worker: str) -> None:
    assert main(["run", str(recipe(corpus, "two", workers=2))]) == 0
    assert manifest_hash(corpus / "two") == one_worker


def test_every_bundle_run_twice(corpus: Path, one_worker: str) -> None:
    assert main(["run", str(recipe(corpus, "repeat")), "--", "--direct_runner_bundle_repeat=1"]) == 0
    assert manifest_hash(corpus / "repeat") == one_worker


def test_units_in_another_order(corpus: Path, one_worker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    in_order = driver.map_units

    def shuffled(output: str, directory: str, units: Sequence[bytes], *rest: Any) -> Any:
        mixed = list(units)
        random.Random(directory).shuffle(mixed)
        return in_order(output, directory, mixed, *rest)

    monkeypatch.setattr(driver, "map_units", shuffled)
    path = recipe(corpus, "shuffled")
    path.write_text(path.read_text().replace(f"input: {corpus}/notes/*.jsonl", _listed_backwards(corpus)))
    assert main(["run", str(path)]) == 0
    assert manifest_hash(corpus / "shuffled") == one_worker


def _listed_backwards(root: Path) -> str:
    return "input: [" + ", ".join(f"{root}/notes/{i}.jsonl" for i in reversed(range(12))) + "]"


def test_a_portable_runner_with_workers_of_its_own(corpus: Path, one_worker: str) -> None:
    with local_job_service() as service:
        engine = (
            f"{{kind: portable, job_endpoint: '{service.job_endpoint}', environment_type: EXTERNAL, "
            f"environment_config: '{service.worker_endpoint}'}}"
        )
        assert main(["run", str(recipe(corpus, "portable", engine=engine))]) == 0
    assert manifest_hash(corpus / "portable") == one_worker
