"""A folder of code files for the benchmarks, from the sample archives.

    python bench/code_files.py FOLDER ARCHIVE... [--mb MB]

Takes each Nth file of the wheels and sdists, so that about MB (default: 10) are in the folder, named 0.py, 1.js, ...
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

MAX_FILE = 1_000_000  # bytes


def files_of(archive: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every regular file up to MAX_FILE, in the archive's order."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            for info in wheel.infolist():
                if not info.is_dir() and info.file_size <= MAX_FILE:
                    yield info.filename, wheel.read(info)
        return
    with tarfile.open(archive) as sdist:
        for member in sdist:
            stream = sdist.extractfile(member) if member.isfile() and member.size <= MAX_FILE else None
            if stream is not None:
                yield member.name, stream.read()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("archives", nargs="+")
    parser.add_argument("--mb", type=float, default=10.0, help="MB of files to take (default: 10)")
    options = parser.parse_args(arguments)
    found = [
        (PurePosixPath(name).suffix[:12], data)
        for archive in sorted(options.archives)
        for name, data in files_of(archive)
        if data and b"\0" not in data
    ]
    step = max(1, round(sum(len(data) for _, data in found) / (options.mb * 1e6)))
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for place, (suffix, data) in enumerate(found[::step]):
        (folder / f"{place}{suffix}").write_bytes(data)
    print(f"{len(found[::step])} of {len(found)} files in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
