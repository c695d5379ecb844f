"""SWHIDs of directories against git's own trees."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licenses import swhid_content, swhid_directories

DATA = Path(__file__).parents[1] / "data" / "licenses"
TREES = json.loads((DATA / "swhid_trees.json").read_text(encoding="utf-8"))
SHA = "0" * 39 + "1"


def sha1_of(raw: bytes) -> str:
    return swhid_content(raw).rpartition(":")[2]


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree["name"])
def test_every_directory_of_the_reference_trees(tree: dict) -> None:  # type: ignore[type-arg]
    with gzip.open(DATA / "swhid_cnt.jsonl.gz", "rt", encoding="utf-8") as lines:
        contents = {row["id"]: row["swhid"] for row in map(json.loads, lines)}
    entries = {}
    for entry in tree["entries"]:
        if "file_id" in entry:
            own = contents[entry["file_id"]].rpartition(":")[2]
        else:
            own = sha1_of(entry["link_target"].encode()) if "link_target" in entry else entry["commit"]
        entries[entry["path"]] = (entry["mode"], own)
    assert swhid_directories(entries) == tree["dirs"]


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=3)


@settings(max_examples=15, deadline=None)
@given(st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.binary(max_size=5), max_size=6))
def test_git_agrees(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    try:
        found = swhid_directories({path: ("100644", sha1_of(data)) for path, data in files.items()})
    except ValueError:
        return
    folder = tmp_path_factory.mktemp("git")

    def git(*arguments: str, given: bytes = b"") -> bytes:
        done = subprocess.run(["git", *arguments], cwd=folder, input=given, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    git("init", "-q")
    listed = [b"100644 " + git("hash-object", "-w", "--stdin", given=data).strip() + b"\t" + path.encode() + b"\0"
              for path, data in files.items()]  # fmt: skip
    git("update-index", "-z", "--add", "--index-info", given=b"".join(listed))
    assert found[""] == "swh:1:dir:" + git("write-tree").decode().strip()


@pytest.mark.parametrize(
    "path, mode, digest, message",
    [
        ("a//b", "100644", SHA, "not the path of a file"),
        ("../b", "100644", SHA, "not the path of a file"),
        (".GIT/config", "100644", SHA, "not the path of a file"),
        ("a", "40000", SHA, "mode '40000'; allowed: 100644, 100755, 120000, 160000"),
        ("a", "100644", "12", "is not a SHA-1"),
    ],
)
def test_what_git_cannot_hold(path: str, mode: str, digest: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        swhid_directories({path: (mode, digest)})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="'a': is a file and a directory"):
        swhid_directories({"a": ("100644", SHA), "a/b": ("100644", SHA)})
