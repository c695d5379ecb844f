"""Git repositories: the same files, names and commits as git's own, and hostile ones."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licenses.opt_out import email_sha256
from pipelines.readers import Document, Dropped, Limits, PlanError, Rejected, Source, plan_units, read_unit
from pipelines.readers.files import LOCAL
from pipelines.readers.git_objects import BLOB, KINDS, Objects, RepositoryFiles, name_of
from pipelines.readers.git_refs import configuration, repository_of
from pipelines.readers.records import Refused

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git makes the repositories")
MIT = (Path(__file__).parents[2] / "data" / "readers" / "MIT.txt").read_text()
_WHO = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Ann"), ("EMAIL", "Ann@Example.org"), ("DATE", "2024-02-03T04:05:06+0200"))
}


def git(folder: Path, *arguments: str, data: bytes | None = None) -> str:
    environment = {
        **os.environ,
        **_WHO,
        "GIT_CONFIG_NOSYSTEM": "1",
        "HOME": str(folder),
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], input=data, capture_output=True, check=True, env=environment
    )
    return done.stdout.decode().strip()


def commit(folder: Path, message: str, files: dict[str, str | bytes | None]) -> str:
    for name, content in files.items():
        path = folder / name
        if content is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A work tree with two commits whose objects are loose."""
    folder = tmp_path / "in" / "project"
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "trunk")
    git(folder, "remote", "add", "origin", "git@github.com:own/name.git")
    lines = "".join(f"value_{i} = {i}\n" for i in range(400))
    commit(
        folder,
        "Begin with everything",
        {"a.py": lines, "LICENSE": MIT, "src/b.c": "int b;\n", "src/ü.py": "u = 1\n", "logo.png": b"\x89PNG\0",
         "bin": b"a\0b", "empty.py": ""},
    )  # fmt: skip
    commit(folder, "Change one line\n\nAnd say why.", {"a.py": lines.replace("value_7 = 7", "value_7 = 8")})
    return folder


def bare(project: Path, name: str = "bare.git") -> Path:
    """A packed, bare copy beside the project."""
    target = project.parent / name
    git(project.parent, "clone", "-q", "--bare", str(project), str(target))
    git(target, "repack", "-adfq")
    return target


def documents(items: list[Any]) -> dict[str, Document]:
    return {item.path or "": item for item in items if isinstance(item, Document)}


def errors(items: list[Any]) -> Counter[str]:
    return Counter(item.error for item in items if isinstance(item, Rejected))


def test_the_same_files_as_git(project: Path, read_all: Any) -> None:
    (project / "link").symlink_to("a.py")
    (project / "out").symlink_to("/etc/hostname")
    git(project, "add", "-A")
    git(project, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
    git(project, "update-index", "--chmod=+x", "a.py")
    git(project, "commit", "-q", "-m", "Links and modes")
    head = git(project, "rev-parse", "HEAD")
    packed = bare(project)
    for place, label in ((project, "project"), (packed, "bare.git"), (project / ".git", "project")):
        items = read_all(place, "git")
        found = documents(items)
        expected = {}
        for line in git(project, "-c", "core.quotePath=false", "ls-tree", "-r", "HEAD").splitlines():
            mode, _, rest = line.split(" ", 2)
            expected[rest.partition("\t")[2]] = (mode, rest.partition("\t")[0])
        assert len(items) == len(expected)  # each entry once
        other = {item.locator: item.reason for item in items if isinstance(item, Dropped)}
        assert other == {
            f"{label}!link": "link", f"{label}!module": "submodule", f"{label}!logo.png": "asset",
            f"{label}!empty.py": "empty",
        }  # fmt: skip
        assert {item.locator: item.error for item in items if isinstance(item, Rejected)} == {
            f"{label}!out": "unsafe_link",
            f"{label}!bin": "binary",
        }
        assert set(found) == {"LICENSE", "a.py", "src/b.c", "src/ü.py"}
        for path, document in found.items():
            mode, name = expected[path]
            assert document.locator == f"{label}!{path}"
            assert document.swhid == f"swh:1:cnt:{name}"
            assert document.text.encode() == (project / path).read_bytes()
            assert document.commit == head and document.timestamp == "2024-02-03T02:05:06Z"
            assert document.meta["mode"] == mode and document.meta["license"] == "MIT"
            assert document.meta["ref"] == "refs/heads/trunk"
            assert document.repo == ("own/name" if label == "project" else "bare")


def test_several_repositories_under_a_folder(project: Path, read_all: Any, tmp_path: Path) -> None:
    bare(project)
    units = plan_units(Source("s", "git", ("in",)), base=str(tmp_path))
    assert [unit.files[0].name for unit in units] == ["bare.git/HEAD", "project/.git/HEAD"]
    assert all(not os.path.isabs(file.path) for unit in units for file in (*unit.files, *unit.context))
    assert [unit.files[0].name for unit in plan_units(Source("s", "git", (f"{tmp_path}/in/*.git",)))] == [
        "bare.git/HEAD"
    ]
    names = [document.locator for document in documents(read_all(tmp_path / "in", "git")).values()]
    assert len(names) == len(set(names)) == 4
    (tmp_path / "empty").mkdir()
    with pytest.raises(PlanError, match="no git repository"):
        plan_units(Source("s", "git", (str(tmp_path / "empty"),)))


def test_addresses_that_serve_no_folder_are_said_before_any_work() -> None:
    for address in ("https://example.org/a.git", "ssh://git@example.org/a.git"):
        with pytest.raises(PlanError, match=f"source s: {address}: .*git clone --bare"):
            plan_units(Source("s", "git", (address,)))


def test_branch_and_revision(project: Path, read_all: Any) -> None:
    first = git(project, "rev-parse", "HEAD~1")
    git(project, "tag", "-a", "v1", "-m", "one", first)
    git(project, "branch", "old", first)
    git(project, "pack-refs", "--all")

    def text(**options: str) -> str:
        return documents(read_all(project, "git", options=tuple(options.items())))["a.py"].text

    assert "value_7 = 8" in text()
    for options in ({"revision": "v1"}, {"revision": first}, {"branch": "old"}, {"revision": "refs/heads/old"}):
        assert "value_7 = 7" in text(**options)
    (item,) = read_all(project, "git", options=(("branch", "none"),))
    assert item.error == "missing_object" and "refs/heads/none" in item.message


def test_parts_make_the_whole(project: Path, monkeypatch: pytest.MonkeyPatch, read_all: Any) -> None:
    whole = read_all(bare(project), "git")
    commits = read_all(project, "git", options=(("commits", True),))
    monkeypatch.setattr("pipelines.readers.git._PART_BYTES", 300)
    parts = read_all(project.parent / "bare.git", "git")
    units = plan_units(Source("s", "git", (str(project.parent / "bare.git"),)))
    assert len(units) > 2
    order = {item.locator: item for item in parts}
    assert len(order) == len(parts) and [order[item.locator] for item in whole] == whole
    again = read_all(project, "git", options=(("commits", True),))
    assert sorted(map(repr, again)) == sorted(map(repr, commits))


def test_commits(project: Path, read_all: Any) -> None:
    commit(project, "Take one away", {"src/b.c": None, "logo.png": b"\x89PNG\0\0"})
    git(project, "checkout", "-q", "-b", "side", "HEAD~1")
    commit(project, "On the side", {"side.py": "s = 1\n"})
    git(project, "checkout", "-q", "trunk")
    git(project, "merge", "-q", "--no-edit", "side")
    items = read_all(project, "git", options=(("commits", True),))
    assert {item.locator.partition("#")[2] for item in items} == set(git(project, "rev-list", "HEAD").split())
    assert [item.reason for item in items if isinstance(item, Dropped)] == ["merge_commit"]
    found = {json.loads(item.text)["subject"]: item for item in items if isinstance(item, Document)}
    change = found["Change one line"]
    told = json.loads(change.text)
    assert told["message"] == "Change one line\n\nAnd say why.\n"
    (file,) = told["files"]
    assert file["path"] == change.path == "a.py"
    assert "value_7 = 7\n" in file["old"] and "value_7 = 8\n" in file["new"]
    assert change.kind == "commit" and change.repo == "own/name"
    assert change.swhid == f"swh:1:rev:{change.commit}"
    assert change.meta["parent"] == git(project, "rev-parse", f"{change.commit}~1")
    assert change.meta["author_email_sha256"] == email_sha256("ann@example.org")
    assert "example" not in (change.text + str(change.meta)).lower()
    gone = {file["path"]: file for file in json.loads(found["Take one away"].text)["files"]}
    assert gone["src/b.c"] == {"path": "src/b.c", "old": "int b;\n", "new": None}
    assert gone["logo.png"]["omitted"] == "asset"
    first = {file["path"]: file for file in json.loads(found["Begin with everything"].text)["files"]}
    assert first["bin"]["omitted"] == "binary" and first["empty.py"]["new"] == "" and first["a.py"]["old"] is None
    few = read_all(project, "git", options=(("commits", True), ("max_files", 1)))
    assert Counter(item.reason for item in few if isinstance(item, Dropped)) == {"merge_commit": 1, "many_files": 2}


def test_the_shape_of_commits_reads_them(project: Path, read_all: Any) -> None:
    from pipelines.shapes.commits import Commit, commit_of

    (change,) = [item for item in read_all(project, "git", options=(("commits", True), ("max_files", 1)))
                 if isinstance(item, Document)]  # fmt: skip
    read = commit_of({"text": change.text, "kind": change.kind})
    assert isinstance(read, Commit) and read.path == "a.py" and read.subject == "Change one line"


def test_a_shallow_clone(project: Path, read_all: Any) -> None:
    target = project.parent / "shallow"
    git(project.parent, "clone", "-q", "--depth", "1", f"file://{project}", str(target))
    assert not errors(read_all(target, "git")) - Counter({"binary": 1})
    (item,) = read_all(target, "git", options=(("commits", True),))
    assert item.reason == "no_parent"


# --- hostile ---


def pack_of(repository: Path) -> Path:
    (pack,) = (repository / "objects" / "pack").glob("*.pack")
    pack.chmod(0o600)
    pack.with_suffix(".idx").chmod(0o600)
    return pack


def test_a_pack_that_is_cut_off(project: Path, read_all: Any) -> None:
    for i in range(30):
        (project / f"f{i}.py").write_text("".join(f"{random.Random(i * 1000 + j).random()}\n" for j in range(50)))
    commit(project, "More files", {})
    repository = bare(project)
    whole = read_all(repository, "git")
    pack = pack_of(repository)
    data = pack.read_bytes()
    pack.write_bytes(data[: len(data) * 2 // 3])
    for index in (True, False):
        if not index:
            pack.with_suffix(".idx").unlink()
        items = read_all(repository, "git")
        if index:  # the commit and its top directory stand at the front
            places = [{item.locator for item in each if "!src/" not in item.locator} for each in (items, whole)]
            assert places[0] == places[1]
            good = documents(items)
            assert 5 < len(good) < len(documents(whole))
            assert all(good[path] == documents(whole)[path] for path in good)
        assert errors(items)["truncated"] + errors(items)["missing_object"] > 3


def test_a_pack_without_index(project: Path, read_all: Any) -> None:
    repository = bare(project)
    whole = read_all(repository, "git")
    pack_of(repository).with_suffix(".idx").unlink()
    items = read_all(repository, "git")
    assert items[1:] == whole and items[0].error == "missing_object"


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        ("broken_ref", "broken_record"), ("loop", "broken_record"), ("alternates", "unsafe_link"),
        ("commondir", "unsafe_link"), ("packed_refs", "broken_record"), ("empty_head", "broken_record"),
        ("missing_blob", "missing_object"),
        ("other_content", "broken_record"), ("cut_loose", "truncated"), ("loose_bomb", "zip_bomb"),
        ("linked_object", "unsafe_link"), ("linked_head", "unsafe_link"), ("sha256", "unsupported"),
        ("missing_commit", "missing_object"), ("index_garbage", "broken_record"),
    ],
)  # fmt: skip
def test_damage(project: Path, read_all: Any, damage: str, error: str, tmp_path: Path) -> None:
    folder = project / ".git"
    git(project, "branch", "main")
    name = git(project, "rev-parse", "HEAD:src/b.c")
    loose = folder / "objects" / name[:2] / name[2:]
    loose.chmod(0o600)
    readable = 3
    match damage:
        case "broken_ref":
            (folder / "refs/heads/trunk").write_text("nothing\n")
            readable = 4
        case "loop":
            (folder / "refs/heads/trunk").write_text("ref: refs/heads/trunk\n")
            readable = 4
        case "alternates":
            (tmp_path / "else").mkdir()
            (folder / "objects/info").mkdir(exist_ok=True)
            (folder / "objects/info/alternates").write_text(f"{tmp_path}/else\n")
            readable = 4
        case "commondir":
            (folder / "commondir").write_text("../../else\n")
            readable = 4
        case "packed_refs":
            (folder / "packed-refs").write_text("xyz refs/heads/x\n")
            readable = 4
        case "empty_head":
            (folder / "HEAD").write_text("")
            readable = 4
        case "missing_blob":
            loose.unlink()
        case "other_content":
            loose.write_bytes(zlib.compress(b"blob 6\0other\n"))
        case "cut_loose":
            loose.write_bytes(loose.read_bytes()[:-6])
        case "loose_bomb":
            loose.write_bytes(zlib.compress(b"blob 7\0" + b"\0" * 10_000_000))
        case "linked_object":
            shutil.move(loose, tmp_path / "object")
            loose.symlink_to(tmp_path / "object")
        case "linked_head":
            (folder / "HEAD").unlink()
            (folder / "HEAD").symlink_to("/etc/hostname")
            readable = 4
        case "sha256":
            with (folder / "config").open("a") as config:
                config.write("[extensions]\n\tobjectFormat = sha256\n")
            readable = 0
        case "missing_commit":
            (folder / "refs/heads/trunk").write_text("1" * 40 + "\n")
            readable = 0
        case "index_garbage":
            project = bare(project)
            pack_of(project).with_suffix(".idx").write_bytes(b"\377tOc\0\0\0\2" + b"\0" * 100)
            readable = 4
    items = read_all(project, "git")
    assert error in errors(items), items
    assert len(documents(items)) == readable


def test_a_dot_git_that_leads_elsewhere(project: Path, read_all: Any) -> None:
    git(project, "worktree", "add", "-q", str(project.parent / "tree"))
    items = read_all(project.parent, "git")
    assert [item.locator for item in items if isinstance(item, Rejected) and item.error == "unsafe_link"] == ["tree"]
    assert len(documents(items)) == 4


def test_an_empty_repository(tmp_path: Path, read_all: Any) -> None:
    git(tmp_path, "init", "-q", "new")
    (item,) = read_all(tmp_path / "new", "git")
    assert (item.locator, item.reason) == ("new", "empty")


# --- made by hand ---


def write_loose(folder: Path, kind: int, data: bytes) -> str:
    name = name_of(kind, data).hex()
    path = folder / "objects" / name[:2] / name[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zlib.compress(b"%s %d\0%s" % (KINDS[kind], len(data), data)))
    return name


def tree(*entries: tuple[str, bytes, str]) -> bytes:
    return b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(sha) for mode, name, sha in entries)


def repository_with(folder: Path, top: bytes) -> Path:
    (folder / "refs" / "heads").mkdir(parents=True)
    (folder / "HEAD").write_text("ref: refs/heads/main\n")
    name = write_loose(folder, 2, top)
    text = f"tree {name}\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\nx\n"
    (folder / "refs/heads/main").write_text(write_loose(folder, 1, text.encode()) + "\n")
    return folder


def test_names_that_lead_out(tmp_path: Path, read_all: Any) -> None:
    folder = tmp_path / "x.git"
    blob = write_loose(folder, 3, b"a = 1\n")
    inner = write_loose(folder, 2, tree(("100644", b"evil.py", blob)))
    repository_with(folder, tree(
        ("40000", b"..", inner), ("100644", b"../../evil.py", blob), ("100644", b"/etc/evil.py", blob),
        ("100644", b"\xff.py", blob), ("40000", b".git", inner), ("100644", b"twice.py", blob),
        ("100644", b"twice.py", blob),
    ))  # fmt: skip
    items = read_all(folder, "git")
    assert errors(items) == {"path_traversal": 3, "duplicate_id": 1}
    assert [item.reason for item in items if isinstance(item, Dropped)] == ["packaging"]
    assert set(documents(items)) == {"\\xff.py", "twice.py"}


def test_a_tree_of_many_levels_and_a_tree_of_many_files(tmp_path: Path, read_all: Any) -> None:
    folder = tmp_path / "deep.git"
    blob = write_loose(folder, 3, b"a = 1\n")
    top = tree(("100644", b"a.py", blob))
    for _ in range(70):
        top = tree(("100644", b"a.py", blob), ("40000", b"d", write_loose(folder, 2, top)))
    items = read_all(repository_with(folder, top), "git")
    assert errors(items) == {"too_large": 1} and len(documents(items)) == 64
    wide = tmp_path / "wide.git"
    blob = write_loose(wide, 3, b"a = 1\n")
    top = tree(*(("100644", b"%d.py" % i, blob) for i in range(10)))
    for _ in range(12):
        below = write_loose(wide, 2, top)
        top = tree(*(("40000", b"%d" % i, below) for i in range(10)))
    items = read_all(repository_with(wide, top), "git", Limits(max_members=500))
    assert errors(items)["zip_bomb"] == 1 and len(items) < 600


def test_one_file_under_many_names(tmp_path: Path, read_all: Any) -> None:
    folder = tmp_path / "x.git"
    blob = write_loose(folder, 3, b"a" * 1_000_000)
    repository_with(folder, tree(*(("100644", b"%d.py" % i, blob) for i in range(100))))
    items = read_all(folder, "git", Limits(ratio_floor_bytes=5_000_000))
    assert errors(items) == {"zip_bomb": 1} and len(documents(items)) < 10


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _packed(kind: int, data: bytes, base: bytes = b"", size: int | None = None) -> bytes:
    size = len(data) if size is None else size
    first = kind << 4 | size & 15
    head = bytes([first | 0x80]) + _number(size >> 4) if size > 15 else bytes([first])
    return head + base + zlib.compress(data)


def pack_bytes(*objects: bytes) -> bytes:
    body = b"PACK" + (2).to_bytes(4, "big") + len(objects).to_bytes(4, "big") + b"".join(objects)
    return body + hashlib.sha1(body).digest()


def objects_of(tmp_path: Path, data: bytes, **limits: int) -> Objects:
    path = tmp_path / "p.pack"
    path.write_bytes(data)
    return Objects(
        RepositoryFiles({"objects/pack/p.pack": (str(path), "p.pack")}, LOCAL),
        Limits(**limits),  # type: ignore[arg-type]
    )


def test_deltas_that_make_too_much(tmp_path: Path) -> None:
    base = b"x" * 0x10000
    copy = b"\x80"  # 64 KiB from the beginning of the base
    name = name_of(BLOB, base)
    for said, error in ((0x10000 * 1000, "too_large"), (100, "broken_record")):
        delta = _number(len(base)) + _number(said) + copy * 1000
        objects = objects_of(tmp_path, pack_bytes(_packed(BLOB, base), _packed(7, delta, name)), max_item_bytes=1 << 20)
        pack = objects._packs[0]
        assert objects.read(name, BLOB) == base
        place = 12 + len(_packed(BLOB, base))
        with pytest.raises(Refused) as caught:
            pack.read(place, 1 << 20)
        assert caught.value.error == error
        objects.close()


def test_a_chain_of_deltas_without_end_or_with_much_work(tmp_path: Path) -> None:
    base = b"x" * 0x8000
    pieces, name = [_packed(BLOB, base)], name_of(BLOB, base)
    for i in range(90):
        new = bytes([i]) + base[1:]
        delta = _number(len(base)) + _number(len(base)) + b"\x01" + bytes([i]) + b"\xb1\x01\xff\x7f"
        pieces.append(_packed(7, delta, name))
        name = name_of(BLOB, new)
        base = new
    objects = objects_of(tmp_path, pack_bytes(*pieces), max_item_bytes=0x8000)
    assert objects.read(name, BLOB) == base  # step by step, each from what was remembered
    pack = objects._packs[0]
    assert pack._scanned is not None
    pack._cache.clear()
    with pytest.raises(Refused) as caught:
        pack.read(pack._scanned[name], 0x8000)
    assert caught.value.error == "zip_bomb"
    objects.close()
    itself = _packed(7, _number(3) + _number(3) + b"\x03abc", bytes(20))
    objects = objects_of(tmp_path, pack_bytes(itself))
    pack = objects._packs[0]
    pack._scanned = {bytes(20): 12}
    with pytest.raises(Refused) as caught:
        pack.read(12, 100)
    assert caught.value.error == "broken_record" and "without end" in caught.value.message


def test_a_size_that_is_a_lie(tmp_path: Path) -> None:
    for size, error in ((10, "zip_bomb"), (2_000_000, "wrong_length"), (10**15, "too_large")):
        objects = objects_of(tmp_path, pack_bytes(_packed(BLOB, b"\0" * 1_000_000, size=size)))
        with pytest.raises(Refused) as caught:
            objects._packs[0].read(12, 1 << 24)
        assert caught.value.error == error
        objects.close()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_pack_with_any_byte_changed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    blobs = [b"".join(b"%d %d\n" % (i, j) for j in range(60)) for i in range(3)]
    delta = _number(len(blobs[0])) + _number(5 + 40) + b"\x05hello" + b"\x90\x28"
    full = b"hello" + blobs[0][:40]
    pieces = [*(_packed(BLOB, blob) for blob in blobs), _packed(7, delta, name_of(BLOB, blobs[0]))]
    whole = bytearray(pack_bytes(*pieces))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del whole[data.draw(st.integers(0, len(whole))) :]
    objects = objects_of(tmp_path_factory.mktemp("pack"), bytes(whole))
    for content in (*blobs, full):
        try:
            assert objects.read(name_of(BLOB, content), BLOB) == content
        except Refused:  # never another content, never another exception
            continue
    objects.close()


def test_what_config_says(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(
        '[include]\n\tpath = /etc/passwd\n[core]\n\tfsmonitor = "touch x"\n[remote "b"]\n\turl = https://b.org/x/y\n'
        '[remote "origin"]\n\turl = "https://tok:en@github.com/o/n.git"\n\tfetch = x\n'
    )
    files = RepositoryFiles({"config": (str(path), "config")}, LOCAL)
    assert configuration(files) == ("https://tok:en@github.com/o/n.git", "sha1")


@pytest.mark.parametrize(
    ("address", "repo"),
    [
        ("https://github.com/o/n.git", "o/n"), ("git@github.com:o/n.git", "o/n"), ("ssh://git@host.org:22/o/n", "o/n"),
        ("https://gitlab.com/group/sub/n/", "group/sub/n"), ("/srv/git/n.git", None), ("../n", None), (None, None),
        ("https://user:word@github.com/o/n", "o/n"), ("https://host.org/n", None), ("file:///srv/o/n", None),
    ],
)  # fmt: skip
def test_addresses(address: str | None, repo: str | None) -> None:
    assert repository_of(address) == repo


def test_nothing_is_written(project: Path, read_all: Any) -> None:
    before = {path: path.lstat().st_mtime_ns for path in project.rglob("*")}
    (project / ".git/hooks").mkdir(exist_ok=True)
    before = {path: path.lstat().st_mtime_ns for path in project.rglob("*")}
    read_all(project, "git")
    read_all(project, "git", options=(("commits", True),))
    assert before == {path: path.lstat().st_mtime_ns for path in project.rglob("*")}


def test_units_are_read_in_any_process(project: Path) -> None:
    from pipelines.readers.units import Unit

    (unit,) = plan_units(Source("s", "git", ("project",)), base=str(project.parent))
    assert list(read_unit(Unit.from_json(unit.to_json()))) == list(read_unit(unit))
