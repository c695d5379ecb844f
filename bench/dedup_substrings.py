"""Exact repeated substrings: ranges, speed and memory, on one core and through the pipeline.

    PYTHONPATH=. python bench/dedup_substrings.py CORPUS.jsonl [--min-bytes 100] [--parts 1 7] [--workers 1 2]
        [--part-mb 256 1] [--json FILE] [--pydivsufsort PYTHON] [--google BINARY]

CORPUS.jsonl: one document a line (text, and id where the pipeline is to run).  The search in memory gets the
documents as google-research/deduplicate-text-datasets does, each behind a separator of 6 bytes, as one text, so that
both must find the same ranges.  For a corpus of 60,118,448 such bytes that tool (4e9888a: make, self-similar,
collect) found 79,846 ranges of 100 bytes or more, 35,411,759 bytes; other figures for such a corpus are an error here.

MB/s: 10^6 bytes a second of CPU time, best of three (the pipeline: one run, all its processes), compilation excluded;
seconds: wall time.
bytes a byte: memory above that of the program with the text loaded, the text's own byte included; the operating
system's peak of a process of its own.
--pydivsufsort: a Python in which pydivsufsort is installed; its suffix array and Kasai's LCP are timed, which is what
a suffix array of a maintained package would cost (ranges not included).  --google: the Rust tool's binary.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import json
import logging
import multiprocessing
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
# The layout's size -> (ranges, bytes in them) at 100 bytes, by the Rust tool.
GOLDEN = {60_118_448: (79_846, 35_411_759)}
SHARDS = 8
_PEER = """
import sys, time, resource
import numpy as np
from pydivsufsort import divsufsort, kasai
text = np.fromfile(sys.argv[1], np.uint8)
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
kasai(text, divsufsort(text))
print(time.process_time() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) * 1024)
"""
HARD: dict[str, Callable[[int], bytes]] = {
    "one byte": lambda size: b"a" * size,
    "two bytes": lambda size: b"ab" * (size // 2),
    "a sentence, repeated": lambda size: (b"One sentence, again and again. " * (size // 31 + 1))[:size],
    "Thue-Morse": lambda size: _thue_morse(size),
    "random": lambda size: np.random.default_rng(1).bytes(size),
}


def _thue_morse(size: int) -> bytes:
    bits = np.arange(size, dtype=np.uint32)
    for shift in (16, 8, 4, 2, 1):
        bits ^= bits >> np.uint32(shift)
    return ((bits & 1) + 97).astype(np.uint8).tobytes()


def texts(corpus: str) -> Iterator[bytes]:
    with open(corpus, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["text"].encode()


def google_layout(corpus: str) -> bytes:
    return b"".join(b"\xff\xff" + struct.pack("<I", number) + text for number, text in enumerate(texts(corpus)))


def peak() -> int:
    """Bytes of this process; ru_maxrss would count what the process was forked from."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def cpu_seconds() -> float:
    """Of this process and of those of its children that have ended."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)


def search(path: str, min_bytes: int, parts: int, repeats: int = 3) -> dict[str, Any]:
    """The text in the file, cut into parts at ends of documents (at separators)."""
    from dedup.substring_spans import repeated_ranges
    from dedup.substring_windows import Part, mark_repeated

    def ranges_of(pieces: list[Bytes]) -> tuple[int, int]:
        made = [
            Part(piece, np.array([0, len(piece)]), np.array([number], np.uint64), min_bytes, number << 32)
            for number, piece in enumerate(pieces)
        ]
        found = [repeated_ranges(marks, np.array([0, len(marks)]), min_bytes).lengths for marks in mark_repeated(made)]
        return sum(map(len, found)), int(sum(map(np.sum, found)))

    ranges_of([np.frombuffer(b"compile this " * 30, np.uint8)] * 2)
    text = np.fromfile(path, np.uint8)
    pieces, start = [], 0
    for number in range(1, parts + 1):
        stop = len(text) * number // parts
        while stop < len(text) and not (text[stop] == 0xFF and text[stop + 1] == 0xFF):
            stop += 1
        pieces.append(text[start:stop])
        start = stop
    base, seconds = peak(), []
    for _ in range(repeats):
        started = time.process_time()
        ranges, covered = ranges_of(pieces)
        seconds.append(time.process_time() - started)
    return {
        "ranges": ranges,
        "bytes": covered,
        "mb_s": round(len(text) / 1e6 / min(seconds), 1),
        "bytes_a_byte": round(1 + (peak() - base) / len(text), 2),
    }


def write_documents(corpus: str, output: str) -> dict[str, Any]:
    import pyarrow as pa

    from pipelines.documents import DOCUMENT_SCHEMA
    from pipelines.shards import write_shard

    with open(corpus, encoding="utf-8") as file:
        rows = [
            {"doc_id": d.get("id", str(i)), "source": "s", "kind": "web", "text": d["text"], "meta": []}
            for i, d in enumerate(map(json.loads, file))
        ]
    for shard in range(SHARDS):
        batch = pa.RecordBatch.from_pylist(rows[shard::SHARDS], schema=DOCUMENT_SCHEMA)
        write_shard(f"{output}/documents/part-{shard:05d}.parquet", DOCUMENT_SCHEMA, [batch])
    return {"bytes": sum(len(row["text"].encode()) for row in rows)}


def pipeline(output: str, size: int, min_bytes: int, part_bytes: int, workers: int) -> dict[str, Any]:
    """Through files; imports are done before and compiled code is in the cache, but for those of other processes."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from pipelines.engines import local_runner
    from pipelines.find_substrings import ANNOTATION, FindSubstrings, build_find_substrings

    logging.disable(logging.WARNING)
    flags = [] if workers == 1 else [f"--direct_num_workers={workers}", "--direct_running_mode=multi_processing"]
    options = PipelineOptions(flags)
    find = FindSubstrings(output, SHARDS, min_bytes, part_bytes=part_bytes, workers=workers)
    base, started, used = peak(), time.perf_counter(), cpu_seconds()
    with beam.Pipeline(runner=local_runner(options), options=options) as graph:
        build_find_substrings(graph, find)
    seconds, used = time.perf_counter() - started, cpu_seconds() - used
    digest = hashlib.sha256()
    for shard in sorted(Path(output, "annotations", ANNOTATION).glob("part-*.parquet")):
        digest.update(shard.read_bytes())
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {
        "seconds": round(seconds, 1),
        "mb_s": round(size / 1e6 / used, 1),
        "start_mb": round(base / 1e6),
        "peak_mb": round(max(peak(), children if workers > 1 else 0) / 1e6),
        "sha256": digest.hexdigest()[:12],
    }


def pydivsufsort(python: str, path: str) -> dict[str, Any]:
    printed = subprocess.run([python, "-c", _PEER, path], check=True, capture_output=True, text=True).stdout
    seconds, memory = map(float, printed.split())
    size = Path(path).stat().st_size
    return {"mb_s": round(size / 1e6 / seconds, 1), "bytes_a_byte": round(1 + memory / size, 2)}


def google(binary: str, path: str, min_bytes: int) -> dict[str, Any]:
    """The three commands on one thread."""
    before = cpu_seconds()
    with tempfile.TemporaryDirectory() as cache:
        common = ["--data-file", path, "--length-threshold", str(min_bytes), "--cache-dir", cache]
        subprocess.run([binary, "make", "--data-file", path], check=True, capture_output=True)
        subprocess.run([binary, "self-similar", *common, "--num-threads", "1"], check=True, capture_output=True)
        printed = subprocess.run([binary, "collect", *common], check=True, capture_output=True, text=True).stdout
    seconds = cpu_seconds() - before
    rows = [tuple(map(int, line.split())) for line in printed.split("out\n", 1)[-1].splitlines()]
    covered = sum(stop - start for start, stop in rows)
    return {"ranges": len(rows), "bytes": covered, "mb_s": round(Path(path).stat().st_size / 1e6 / seconds, 1)}


def alone(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """In a process of its own, so that its peak of memory is its own."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *arguments).result()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--min-bytes", type=int, default=100)
    parser.add_argument("--parts", type=int, nargs="*", default=[1, 7])
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--part-mb", type=int, nargs="*", default=[256, 1])
    parser.add_argument("--hard-mb", type=int, default=10)
    parser.add_argument("--pydivsufsort", metavar="PYTHON")
    parser.add_argument("--google", metavar="BINARY")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    results: dict[str, Any] = {}

    def show(name: str, row: dict[str, Any]) -> None:
        results[name] = row
        print(
            f"{name:34s} "
            + "  ".join(
                f"{key} {value:,}" if isinstance(value, int) else f"{key} {value}" for key, value in row.items()
            ),
            flush=True,
        )

    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/data"
        size = Path(path).write_bytes(google_layout(args.corpus))
        golden = GOLDEN.get(size) if args.min_bytes == 100 else None
        for parts in args.parts:
            row = alone(search, path, args.min_bytes, parts)
            show(f"gristmill, {parts} part{'s' * (parts > 1)}", row)
            # Parts are documents of their own here: a window over the separator between two of them is in none.
            if parts == 1 and golden and golden != (row["ranges"], row["bytes"]):
                wrong.append(f"{row['ranges']:,} ranges, {row['bytes']:,} bytes; the Rust tool: {golden}")
        if args.pydivsufsort:
            show("pydivsufsort, array and LCP only", pydivsufsort(args.pydivsufsort, path))
        if args.google:
            show("deduplicate-text-datasets", google(args.google, path, args.min_bytes))
        for name, make in HARD.items():
            Path(path).write_bytes(make(args.hard_mb * 1_000_000))
            show(f"{name}, {args.hard_mb} MB", alone(search, path, args.min_bytes, 1, 1))
    with tempfile.TemporaryDirectory() as output:
        written = alone(write_documents, args.corpus, output)["bytes"]
        digests = set()
        for workers in args.workers:
            for part_mb in args.part_mb:
                name = f"pipeline, workers {workers}, part {part_mb} MB"
                show(name, alone(pipeline, output, written, args.min_bytes, part_mb << 20, workers))
                digests.add(results[name]["sha256"])
        if len(digests) > 1:
            wrong.append("the shards depend on workers or parts")
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1) + "\n")
    for message in wrong:
        print(f"wrong: {message}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
