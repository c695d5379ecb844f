"""A run killed in the middle of any stage goes on when it is started again, and ends with the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from beam_runner import main
from pipelines.manifest import digest
from pipelines.storage import read_json
from tests.corpus import write_corpus, write_recipe

pytestmark = pytest.mark.fault
_PATIENCE_SECONDS = 120


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    write_corpus(root)
    return root


@pytest.fixture(scope="module")
def undisturbed(corpus: Path) -> str:
    assert main(["run", str(write_recipe(corpus, corpus / "undisturbed"))]) == 0
    return digest(read_json(f"{corpus}/undisturbed/manifest.json"))


def start(recipe: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "beam_runner", "run", str(recipe)]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_in_the_middle(recipe: Path, folder: Path) -> bool:
    """Kills the run and all its workers once the stage has begun to write into `folder` and is not finished."""
    process = start(recipe)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    try:
        while process.poll() is None and time.monotonic() < deadline:
            if any(path.is_file() for path in folder.rglob("*.parquet*")) or (folder / "records.json").exists():
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return not list(folder.glob("*manifest.json"))
            time.sleep(0.002)
        return False
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.parametrize(
    "stage, folder",
    [
        ("ingest", "documents"),
        ("annotate", "annotations/rpv2@1"),
        ("dedup", "annotations/dedup"),
        ("split", "annotations/split"),
        ("curate", "corpora/full"),
        ("curate-null", "corpora/null_gopher"),
    ],
)
def test_killed_and_started_again(corpus: Path, undisturbed: str, stage: str, folder: str) -> None:
    output = corpus / f"killed-{stage}"
    recipe = write_recipe(corpus, output, workers=2 if stage == "annotate" else 1)
    assert kill_in_the_middle(recipe, output / folder), f"the run was not caught inside {stage}"
    assert main(["run", str(recipe)]) == 0
    assert digest(read_json(f"{output}/manifest.json")) == undisturbed
    assert main(["validate", str(output)]) == 0
    assert not list(output.rglob("*.tmp-*")), "what a killed attempt left behind is cleared"
