"""The code of pull requests from clones: with it the events of GH Archive become pull requests, not `no_base`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from beam_runner import main
from pipelines.readers import Document, Dropped, Rejected
from pipelines.shapes import SHAPES, Shaped
from pipelines.shapes import Dropped as Unshaped

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git makes the repositories")
BASE = "\n".join(f"line {i} = {i}" for i in range(40)) + "\n"
HEAD = BASE.replace("line 20 = 20", "line 20 = twenty")
ANN, BOB = ({"login": name, "type": "User"} for name in ("ann", "bob"))


def git(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
    for who in ("AUTHOR", "COMMITTER"):
        environment |= {
            f"GIT_{who}_NAME": "Ann",
            f"GIT_{who}_EMAIL": "a@e.org",
            f"GIT_{who}_DATE": "2024-02-03T04:05:06Z",
        }
    call = ["git", "-C", str(folder), *arguments]
    return subprocess.run(call, capture_output=True, check=True, env=environment).stdout.decode().strip()


def commit(folder: Path, **files: str | None) -> str:
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.unlink(missing_ok=True) if content is None else path.write_text(content)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "x")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """clones/o/n.git, and the commits before and after a pull request whose branch is only a ref of the host."""
    root = tmp_path_factory.mktemp("clones")
    work = root / "work"
    work.mkdir()
    git(work, "init", "-q", "-b", "main")
    base = commit(work, a__py=BASE, same__py="x = 1\n", gone__py="y = 1\n", b__png="no picture", c__bin="\0\1\2")
    git(work, "checkout", "-q", "-b", "topic")
    head = commit(work, a__py=HEAD, gone__py=None, new__py="z = 1\n", b__png="another", c__bin="\0\1\3")
    git(work, "update-ref", "refs/pull/3/head", head)
    git(work, "checkout", "-q", "main")
    git(work, "branch", "-q", "-D", "topic")
    (root / "clones" / "o").mkdir(parents=True)
    git(root, "clone", "-q", "--mirror", str(work), str(root / "clones" / "o" / "n.git"))
    return root / "clones", base, head


def events(base: str, head: str, repo: str = "o/n") -> list[dict[str, Any]]:
    pull = {
        "number": 3, "title": "Write twenty as a word", "body": "It reads better when it is a word, I think.",
        "user": ANN, "merged": True, "head": {"sha": head, "repo": {"full_name": "ann/n"}},
        "base": {"sha": base, "repo": {"full_name": repo}},
    }  # fmt: skip
    review = {"id": 9, "body": "", "state": "approved", "user": BOB}
    payloads = [
        ("PullRequestEvent", ANN, {"action": "opened", "pull_request": {**pull, "merged": None}}),
        ("PullRequestReviewEvent", BOB, {"action": "created", "pull_request": pull, "review": review}),
        ("PullRequestEvent", ANN, {"action": "closed", "pull_request": pull}),
    ]
    return [
        {"id": str(i), "type": kind, "actor": who, "repo": {"name": repo}, "payload": payload,
         "created_at": f"2024-01-01T00:00:{i:02d}Z"}
        for i, (kind, who, payload) in enumerate(payloads)
    ]  # fmt: skip


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def made(items: list[Any], name: str) -> Any:
    shape = SHAPES[name]
    rows = [
        {"doc_id": i.doc_id, "kind": i.kind, "text": i.text, "meta": i.meta, "timestamp": i.timestamp}
        for i in items if isinstance(i, Document)
    ]  # fmt: skip
    assert {shape.key(row) for row in rows} == {"o/n#3"}
    found = (shape.make(sorted(rows, key=shape.order), seed) for seed in range(20))
    return next((each for each in found if each != Unshaped("repository_sample")), None)


def test_files_before_and_after_make_it_a_pull_request(
    clones: tuple[Path, str, str], tmp_path: Path, read_all: Any
) -> None:
    folder, base, head = clones
    path = write(tmp_path / "2024-01-01-0.json", *events(base, head))
    plain = read_all(path, "gharchive")
    assert len(plain) == 3 and made(plain, "starcoder2_pull_request@1") == Unshaped("no_base")
    items = read_all(path, "gharchive", options=(("clones", str(folder)),))
    (added,) = [item for item in items if item not in plain]
    assert isinstance(added, Document) and added.locator == f"2024-01-01-0.json#1+{head}" and len(items) == 4
    told = json.loads(added.text)
    # What both versions have as text; pictures, new files and those that went are left out.
    assert told["head_base_files"] == [
        {"base_path": "a.py", "base_content": BASE, "head_content": HEAD, "base_language": "Python"}
    ]
    assert (told["head_commit_id"], told["base_commit_id"], told["num_diff_files"]) == (head, base, 1)
    for name in ("starcoder2_pull_request@1", "gristmill_pull_request@1"):
        shaped = made(items, name)
        assert isinstance(shaped, Shaped), shaped
        assert "<pr_file>a.py<pr_base_code>" in shaped.text and "-line 20 = 20\n+line 20 = twenty\n" in shaped.text
    # The same commits in the file of another hour are one event.
    again = read_all(write(tmp_path / "2024-01-01-1.json", *events(base, head)), "gharchive",
                     options=(("clones", str(folder)),))  # fmt: skip
    assert made(items + again, "gristmill_pull_request@1") == made(items, "gristmill_pull_request@1")


def test_what_no_clone_has_is_counted(clones: tuple[Path, str, str], tmp_path: Path, read_all: Any) -> None:
    folder, base, head = clones

    def told(*lines: Any) -> list[Any]:
        path = write(tmp_path / "a.json", *lines)
        found = read_all(path, "gharchive", options=(("clones", str(folder)),))
        return [item for item in found if "+" in item.locator]

    for lines in (
        events(base, "c" * 40),
        events(base, base),
        events(base, head, "o/other"),
        events(base, head, "o/.."),
    ):
        (item,) = told(*lines)
        assert isinstance(item, Dropped) and item.reason == "no_versions"
    assert told(*events("", "x")) == []
    (folder / "o" / "broken.git" / "objects" / base[:2]).mkdir(parents=True, exist_ok=True)
    (folder / "o" / "broken.git" / "HEAD").write_text("ref: refs/heads/main\n")
    (folder / "o" / "broken.git" / "objects" / base[:2] / base[2:]).write_bytes(b"no object")
    (item,) = told(*events(base, head, "o/broken"))
    assert isinstance(item, Rejected) and item.error in ("broken_record", "truncated")


def test_from_the_archive_to_the_shape_by_the_command_line(
    clones: tuple[Path, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, base, head = clones
    (tmp_path / "in").mkdir()
    issue = {
        "number": 2,
        "title": "It does not work at all",
        "body": "Nothing works, and here is why. " * 9,
        "user": ANN,
    }
    talk = {"action": "created", "issue": issue, "comment": {"id": 5, "body": "I see it, too. " * 9, "user": BOB}}
    write(
        tmp_path / "in" / "2024-01-01-0.json",
        *events(base, head),
        {"id": "7", "type": "IssuesEvent", "actor": ANN, "repo": {"name": "o/n"}, "created_at": "2024-01-01T00:00:00Z",
         "payload": {"action": "opened", "issue": issue}},
        {"id": "8", "type": "IssueCommentEvent", "actor": BOB, "repo": {"name": "o/n"},
         "created_at": "2024-01-01T00:01:00Z", "payload": talk},
    )  # fmt: skip
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"name: r\noutput: {tmp_path}/out\nsources:\n"
        f"  gh: {{kind: gharchive, input: {tmp_path}/in, options: {{clones: {folder}}}}}\n"
        "held_out: {fraction: 0.000001, by: document}\nvariants: {all: []}\n"
    )
    assert main(["run", str(recipe), "--data-only"]) == 0
    call = ["shape", f"{tmp_path}/out/corpora/all", "--shape=event=gristmill_issue,gristmill_pull_request", "--json"]
    for seed in range(9):
        capsys.readouterr()
        assert main([*call, f"--seed={seed}", f"--output={tmp_path}/shaped{seed}"]) == 0
        by_shape = json.loads(capsys.readouterr().out)["by_shape"]
        assert by_shape["gristmill_issue@1"] == {"documents": 2, "kept": 1, "merged_into": 1}
        if "kept" in by_shape["gristmill_pull_request@1"]:
            assert by_shape["gristmill_pull_request@1"] == {"documents": 4, "kept": 1, "merged_into": 3}
            break
    else:
        raise AssertionError(by_shape)
    assert main([*call[:2], "--shape=event=gristmill_issue,gristmill_pul_request", f"--output={tmp_path}/no"]) == 2
    assert "did you mean 'gristmill_pull_request@1'" in capsys.readouterr().err
