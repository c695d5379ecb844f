"""Source code to documents: files a second of one core, beside reading the bytes alone.

    PYTHONPATH=. python bench/ingest_code.py ARCHIVE_OR_FOLDER... [--repeats N] [--annotator NAME ...] [--git]

For the wheels, sdists and trees named, CPU time of this process, the best of the repeats, which take turns:

bytes        the members' bytes alone, by zipfile and tarfile
members      the same by `archives.members`, which refuses hostile ones
documents    what `kind: code` gives: decoding, hashes, licence and repository of the project
batches      the same as Arrow batches of 500
language     `code@1` over the batches
filters      the other annotators named (default: starcoder2@1), which are given the language
both         language and filters
git          with --git: all files of all inputs as one packed repository, `kind: git`

peak         memory of a process of its own that reads all inputs to batches once and four times
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.ingest import document_batch
from pipelines.readers import Document, Limits, Source, plan_units, read_unit
from pipelines.readers.archives import is_archive, members
from pipelines.readers.records import Refused

_BATCH = 500
PEAK_PASSES = (1, 4)
FILTERS = ("starcoder2@1",)


def raw_bytes(path: Path) -> int:
    """Files whose bytes were read, without any check."""
    if path.is_dir():
        return sum(1 for file in path.rglob("*") if file.is_file() and file.read_bytes() is not None)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return sum(1 for info in archive.infolist() if not info.is_dir() and archive.read(info) is not None)
    with tarfile.open(path) as tar:
        files = filter(None, (tar.extractfile(member) for member in tar if member.isfile()))
        return sum(1 for file in files if file.read() is not None)


def checked_members(path: Path) -> int:
    if not is_archive(path.name):
        return raw_bytes(path)
    count = 0
    with path.open("rb") as raw:
        for member in members(raw, path.name, Limits()):
            if member.problem is None:
                try:
                    member.read(Limits().max_code_bytes)
                    count += 1
                except Refused:
                    continue
    return count


def documents(path: Path, kind: str = "code", **options: bool) -> Iterator[Document]:
    for unit in plan_units(Source("bench", kind, (str(path),), options=tuple(options.items()))):
        yield from (item for item in read_unit(unit) if isinstance(item, Document))


def batches(path: Path) -> Iterator[pa.RecordBatch]:
    rows: list[Document] = []
    for document in documents(path):
        rows.append(document)
        if len(rows) == _BATCH:
            yield document_batch(rows)
            rows = []
    if rows:
        yield document_batch(rows)


def with_language(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with the language that `code@1` tells."""
    from quality_signals import annotate

    place = batch.schema.get_field_index("programming_language")
    told = annotate("code@1", batch).column("programming_language")
    return batch.set_column(place, batch.schema.field(place), told)


def annotated(found: Sequence[pa.RecordBatch], names: Sequence[str]) -> int:
    from quality_signals import annotate

    for batch in found:
        for name in names:
            annotate(name, batch)
    return sum(batch.num_rows for batch in found)


def git_repository(paths: Sequence[Path], folder: Path) -> Path:
    """All files of the inputs in one packed, bare repository."""
    for path in paths:
        target = folder / "work" / path.name
        target.mkdir(parents=True)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(target)
        elif path.is_file():
            with tarfile.open(path) as tar:
                tar.extractall(target, filter="data")
    place = ["git", "-C", str(folder / "work"), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A", "-f"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*place, *command], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(folder / "work"), str(folder / "all.git")], check=True)
    subprocess.run(["git", "-C", str(folder / "all.git"), "repack", "-adq"], check=True)
    return folder / "all.git"


_PEAK = """
import sys
from pathlib import Path
from bench.ingest_code import batches
for _ in range(int(sys.argv[1])):
    for path in sys.argv[2:]:
        for batch in batches(Path(path)):
            del batch
# Not ru_maxrss, which begins with the memory of the process that started this one.
with open("/proc/self/status") as status:
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024)
"""


def peaks(paths: Sequence[Path]) -> list[int]:
    """MB after one pass and after four, each in a process of its own."""
    return [
        int(
            subprocess.run(
                [sys.executable, "-c", _PEAK, str(n), *map(str, paths)], capture_output=True, check=True
            ).stdout
        )
        for n in PEAK_PASSES
    ]


def measured(paths: Sequence[Path], names: Sequence[str], repeats: int, git: bool = False) -> list[dict[str, Any]]:
    """A row each of what the module's docstring lists: what, files, cpu_s, files_s."""
    plain = [batch for path in paths for batch in batches(path)]
    told = [with_language(batch) for batch in plain]
    annotated(told[:1], names)  # compiled code is no part of the time
    work: dict[str, Callable[[], int]] = {
        "bytes": lambda: sum(map(raw_bytes, paths)),
        "members": lambda: sum(map(checked_members, paths)),
        "documents": lambda: sum(sum(1 for _ in documents(path)) for path in paths),
        "batches": lambda: sum(batch.num_rows for path in paths for batch in batches(path)),
        "language": lambda: annotated(plain, ["code@1"]),
        "filters": lambda: annotated(told, names),
    }
    with tempfile.TemporaryDirectory() as folder:
        if git:
            repository = git_repository(paths, Path(folder))
            work["git"] = lambda: sum(1 for _ in documents(repository, "git"))
        best = dict.fromkeys(work, float("inf"))
        counts: dict[str, int] = {}
        for _ in range(repeats):
            for name, run in work.items():
                begin = time.process_time()
                counts[name] = run()
                best[name] = min(best[name], time.process_time() - begin)
    best["both"], counts["both"] = best["language"] + best["filters"], counts["filters"]
    return [
        {"what": name, "files": counts[name], "cpu_s": best[name], "files_s": counts[name] / best[name]}
        for name in best
    ]


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    print("| what | files | CPU s | files/s |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row['what']} | {row['files']} | {row['cpu_s']:.2f} | {row['files_s']:,.0f} |")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Source code to documents: files a second of one core.")
    parser.add_argument("inputs", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--annotator", action="append", default=[])
    parser.add_argument("--git", action="store_true", help="also as one git repository; needs git")
    parser.add_argument("--no-peak", action="store_true", help="without the two processes that tell memory")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows = measured(options.inputs, options.annotator or FILTERS, options.repeats, options.git)
    told_peaks = None if options.no_peak else peaks(options.inputs)
    if options.json:
        print(json.dumps({"rows": rows, "peak_mb": told_peaks}))
        return 0
    print_table(rows)
    if told_peaks is not None:
        print(f"\npeak {told_peaks[0]} MB after one pass, {told_peaks[1]} MB after {PEAK_PASSES[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
