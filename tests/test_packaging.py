"""Packaging: what a wheel holds, pinned dependencies, the samples and their fetch script, make's messages."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"pipelines", "quality_signals", "dedup", "pii", "licenses", "kernels", "eval_models"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
CORE = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
# Imported only where it is there, which the importing module checks.
OPTIONAL_MODULES = {
    *("triton", "nltk", "kenlm", "sentencepiece"),
    *("pygments", "bs4", "jupytext", "nbformat", "tokenizers", "aiohttp"),  # the extras code, tokenizers, remote
}
MAX_FILE_BYTES = 2_000_000


def requirements(*extras: str) -> list[Requirement]:
    return CORE + [Requirement(text) for extra in extras for text in EXTRAS[extra]]


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def test_the_source_of_every_data_file_is_told() -> None:
    whole = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for package in sorted(PACKAGES):
        folder = ROOT / package / "data"
        own = folder / "NOTICE.md"
        told = whole + (own.read_text(encoding="utf-8") if own.exists() else "")
        for file in folder.rglob("*"):
            assert not file.is_file() or file == own or file.name in told, file


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built by setuptools from a copy, since building writes beside the sources."""
    copy = tmp_path_factory.mktemp("sources")
    for name in (*PACKAGES, "tests"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "data"))
    for package in PACKAGES:
        if (ROOT / package / "data").is_dir():
            shutil.copytree(ROOT / package / "data", copy / package / "data")
    for name in ("pyproject.toml", "LICENSE", "NOTICE", "README.md", "beam_runner.py"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    program = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    done = subprocess.run([sys.executable, "-c", program], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return zipfile.ZipFile(copy / done.stdout.splitlines()[-1])


def test_the_wheel_holds_the_packages_the_entry_point_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    info = "gristmill-0.1.0.dist-info"
    assert tops == {name for name in PACKAGES if (ROOT / name).is_dir()} | {"beam_runner.py", info}
    assert {f"{info}/licenses/LICENSE", f"{info}/licenses/NOTICE"} <= set(wheel.namelist())


def test_the_wheel_holds_every_module_and_data_file(wheel: zipfile.ZipFile) -> None:
    inside = set(wheel.namelist())
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.relative_to(ROOT).as_posix() in inside


def test_the_console_script_resolves(wheel: zipfile.ZipFile) -> None:
    text = wheel.read("gristmill-0.1.0.dist-info/entry_points.txt").decode()
    assert text.split() == ["[console_scripts]", "gristmill", "=", "beam_runner:main"]
    assert callable(importlib.import_module("beam_runner").main)


def test_python_and_licence_are_stated(wheel: zipfile.ZipFile) -> None:
    metadata = wheel.read("gristmill-0.1.0.dist-info/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: <3.13,>=3.11" in metadata


def test_constraints_are_exact_and_the_same_for_every_machine() -> None:
    for name, version in pinned().items():
        assert re.fullmatch(r"[0-9][0-9a-z.]*", version), f"{name}=={version}: no local versions, no ranges"


def test_constraints_lie_in_the_ranges_of_the_dependencies() -> None:
    versions = pinned()
    for requirement in requirements("proxy", "dev", "gcp"):
        name = canonicalize_name(requirement.name)
        assert requirement.specifier.contains(versions[name]), f"{requirement} and {versions[name]}"


def _closure(asked: list[Requirement]) -> Iterator[str]:
    """Names of all that is installed for `asked`, by what the installed packages ask for."""
    seen: set[tuple[str, str]] = set()
    waiting = [(requirement, "") for requirement in asked]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                requires = importlib.metadata.requires(name) or []
                waiting += [(Requirement(text), wanted) for text in requires]
        yield name


def test_constraints_cover_everything_that_is_installed() -> None:
    # What PyTorch asks for on a machine with CUDA is pinned by PyTorch.
    of_torch = ("nvidia-", "cuda-", "triton")
    missing = {name for name in _closure(requirements("proxy", "dev")) if not name.startswith(of_torch)} - set(pinned())
    assert not missing, f"not in constraints.txt: {sorted(missing)}"


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.partition(".")[0]


def test_every_import_is_of_a_declared_dependency() -> None:
    distributions = importlib.metadata.packages_distributions()
    own = PACKAGES | {"beam_runner"}
    undeclared = []
    for package in sorted(own):
        extras = ("proxy",) if package in ("kernels", "eval_models") else ()
        declared = {canonicalize_name(r.name) for r in requirements(*extras)}
        files = [ROOT / "beam_runner.py"] if package == "beam_runner" else sorted((ROOT / package).rglob("*.py"))
        for path in files:
            for line, module in _imports(path):
                if module in own or module in sys.stdlib_module_names or module in OPTIONAL_MODULES:
                    continue
                names = {canonicalize_name(name) for name in distributions.get(module, [module])}
                if not names & declared:
                    undeclared.append(f"{path.relative_to(ROOT)}:{line}: {module} ({', '.join(sorted(names))})")
    assert not undeclared, "imports of what pyproject.toml does not ask for:\n" + "\n".join(undeclared)


def test_layers_import_only_what_stands_below_them() -> None:
    barred = {
        "quality_signals": {"apache_beam", "torch", "pipelines"},
        "dedup": {"apache_beam", "torch", "pipelines"},
        "pii": {"apache_beam", "torch", "pipelines"},
        "licenses": {"apache_beam", "torch", "pipelines"},
        "kernels": {"apache_beam", "pipelines", "eval_models"},
        "eval_models": {"apache_beam", "pipelines"},
        "pipelines": {"beam_runner"},
    }
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {module}"
        for package, modules in barred.items()
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, module in _imports(path)
        if module in modules
    ]
    assert not wrong, "imports that point up:\n" + "\n".join(wrong)


def test_nothing_calls_home_when_it_is_imported() -> None:
    modules = [
        "apache_beam",
        "numba",
        "pydantic",
        "pyarrow.parquet",
        "trafilatura",
        "resiliparse",
        "fasttext",
    ]
    program = (
        "import sys, importlib\n"
        "def watch(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo'): print('CALLED', event, arguments)\n"
        "sys.addaudithook(watch)\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "CALLED" not in done.stdout, done.stdout


def test_no_large_file_is_committed() -> None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("no git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    sizes = {name: (ROOT / name).stat().st_size for name in listed if name and (ROOT / name).is_file()}
    assert sizes, "git lists no file"
    large = {name: size for name, size in sizes.items() if size > MAX_FILE_BYTES}
    assert not large


# -- samples ----------------------------------------------------------------------------------------------

SAMPLES = ROOT / "recipes" / "samples"


@pytest.fixture(scope="module")
def fetch() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch_samples", SAMPLES / "fetch.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("group", "archives"), [("web", 4), ("code", 13)])
def test_every_sample_is_pinned_by_its_sha256(fetch: ModuleType, group: str, archives: int) -> None:
    asked, options = fetch.requirements(SAMPLES / f"{group}.txt")
    assert len(asked) == archives
    assert all(option.startswith("--no-binary ") for option in options)
    (names,) = (option.partition(" ")[2].split(",") for option in options)
    assert set(names) <= {line.partition("==")[0] for line in asked.values()}


def test_the_fetch_script_needs_nothing_but_python() -> None:
    assert {module for _, module in _imports(SAMPLES / "fetch.py")} <= sys.stdlib_module_names


def test_a_requirement_without_a_hash_is_refused(fetch: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("six==1.17.0\n")
    with pytest.raises(fetch.FetchError, match="not a requirement with exactly one sha256: six"):
        fetch.requirements(tmp_path / "x.txt")


def test_what_is_there_is_known_by_its_content(fetch: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "whatever.whl").write_bytes(b"abc")
    digest = fetch.sha256(tmp_path / "whatever.whl")
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, "abc"
    other = "0" * 64
    assert fetch.missing({digest: "a", other: "b"}, tmp_path) == ["b"]
    assert fetch.missing({digest: "a"}, tmp_path / "none") == ["a"]


def test_the_clones_are_those_that_the_events_name(fetch: ModuleType, tmp_path: Path) -> None:
    made = fetch.write_clones(tmp_path)
    named: dict[str, list[str]] = {}
    for file in (SAMPLES / "github").glob("*.json"):
        for line in file.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            if pull := event["payload"].get("pull_request"):
                named[event["repo"]["name"]] = [pull[side]["sha"] for side in fetch.REVISIONS]
    assert named == made and len(made) == 1
    for name in made:
        repository = tmp_path / "clones" / f"{name}.git"
        done = subprocess.run(["git", "-C", repository, "fsck", "--strict"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and not done.stderr, done.stderr


def test_the_addresses_of_pages(fetch: ModuleType, tmp_path: Path) -> None:
    index = {f"html/{n}.html": {"url": f"http://example.com/{n}", "forms": []} for n in (10, 2, 1)}
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr("some/data/index.json", json.dumps(index))
    rows = [json.loads(line) for line in fetch.page_urls(tmp_path / "a.whl", "some/data").splitlines()]
    assert rows == [{"path": f"some/data/html/{n}.html", "url": f"http://example.com/{n}"} for n in (1, 2, 10)]


def test_a_failed_fetch_says_what_to_do(tmp_path: Path) -> None:
    # pip without any index: what it is on a machine without a network.
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    command = [sys.executable, str(SAMPLES / "fetch.py"), "--output", str(tmp_path / "samples"), "code"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip could not fetch the archives of code.txt" in done.stderr
    assert "change sources.*.input" in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["code"]


# -- make -------------------------------------------------------------------------------------------------


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("make") is None:
        pytest.skip("no make")
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "PYTHON")},
    )


def test_make_says_which_python_it_needs(tmp_path: Path) -> None:
    done = make("install", f"VENV={tmp_path / 'venv'}", "PYTHON=/nonexistent/python")
    assert done.returncode != 0
    assert "Gristmill needs Python 3.11 or 3.12" in done.stderr
    assert "Tried: /nonexistent/python" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_make_installs_nothing_where_the_stamp_is_fresh(tmp_path: Path) -> None:
    planned = make("--dry-run", "install", f"VENV={tmp_path}").stdout
    (stamp,) = re.findall(rf"touch ({re.escape(str(tmp_path))}/installed-\d+)", planned)
    Path(stamp).touch()
    assert "pip" not in make("--dry-run", "install", f"VENV={tmp_path}").stdout


def test_make_help_names_the_targets() -> None:
    done = make()
    assert all(f"make {target}" in done.stdout for target in ("demo", "test", "lint", "clean", "bench-extraction"))
