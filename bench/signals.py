"""Quality signals: speed of every family on one core, beside its peers in the same run.

    PYTHONPATH=. python bench/signals.py CORPUS [--datatrove PYTHON] [--dolma PYTHON] [--redpajama app/src]
                                         [--repeats N] [--row NAME ...] [--no-start]

CORPUS: JSON Lines with `text`, or a folder of document shards.  Texts go in batches of about 2 MB.  The first half
warms caches (compiled kernels, known words), the second half is timed in CPU seconds of a fresh process; the
figure is the median of the repeats, ours and the peer's by turns.  A peer is an interpreter that has it installed
(bench/peers/*.txt).  Columns:

MB/s       10^6 bytes of UTF-8 text a CPU second, Arrow columns included
peer       the same for the peer on the same texts, its caches warmed by the same texts
times      ours / peer
same       texts for which both say the same / texts
wanted     what the project promises; a row that falls short ends in SHORT

Below the table: seconds of the first call after installation (nothing compiled) and of a later start, for each row
and for all families together, and the peak memory after one and after four passes over the corpus.
"""

from __future__ import annotations

import argparse
import json
import operator
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

BATCH_BYTES = 4 << 20  # of pipelines.shards


class Row(NamedTuple):
    name: str
    annotators: tuple[str, ...]
    wanted_mb_s: float | None = None
    peer: str | None = None
    wanted_times: float | None = None


CHAIN = ("gopher_repetition@datatrove", "gopher@datatrove", "c4_fineweb@datatrove", "fineweb@datatrove")
FAMILIES = (
    *CHAIN,
    "c4@datatrove",
    "gopher@dolma",
    "c4@dolma",
    "gopher@dclm",
    "refinedweb@dclm",
    "c4@tfds",
    "mc4@1",
    "bad_words@datatrove",
    "bad_words@tfds",
)
ROWS = (
    Row("rpv2 rules", ("rpv2@1",), 40, "redpajama"),
    Row("rpv2 MinHash", ("minhash@rpv2",), 12),
    Row("datatrove chain", CHAIN, None, "datatrove-chain", 30),
    Row("gopher@dolma", ("gopher@dolma",), None, "dolma-gopher_v1", 20),
    Row("c4@dolma", ("c4@dolma",), None, "dolma-c4_v2", 20),
    *(Row(name, (name,)) for name in FAMILIES if name not in ("gopher@dolma", "c4@dolma")),
    Row("dsir_features@rpv2", ("dsir_features@rpv2",)),
    Row("all rule families in one pass", ("rpv2@1", *FAMILIES), 15),
)


# -- in the process that is measured -----------------------------------------------------------------------


def texts_of(corpus: Path) -> list[str]:
    if corpus.is_dir():
        from pipelines.shards import read_batches

        shards = sorted(corpus.glob("**/part-*.parquet"))
        return [t for shard in shards for batch in read_batches(str(shard), ["text"]) for t in batch[0].to_pylist()]
    with corpus.open(encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


def batches(texts: Sequence[str]) -> Iterator[pa.RecordBatch]:
    from quality_signals.batches import batch_of

    start, size = 0, 0
    for at, text in enumerate(texts):
        size += len(text.encode())
        if size >= BATCH_BYTES or at == len(texts) - 1:
            yield batch_of(texts[start : at + 1], language="en", kind="web", url="https://www.example.com/page")
            start, size = at + 1, 0


def built(names: Sequence[str]) -> list[Any]:
    """The annotators; fineweb@datatrove reads what C4 leaves, as in the chain."""
    from pipelines.annotators import After, factories

    known = factories()
    made = {name: known[name]() for name in names}
    if "fineweb@datatrove" in made and "c4_fineweb@datatrove" in made:
        made["fineweb@datatrove"] = After(
            made["fineweb@datatrove"], made["c4_fineweb@datatrove"], "fineweb@datatrove+c4_fineweb@datatrove"
        )
    return list(made.values())


def run(annotators: Sequence[Any], parts: Sequence[pa.RecordBatch]) -> list[list[pa.RecordBatch]]:
    from pipelines.annotators import EditableTexts, annotate_shared

    results = []
    for part in parts:
        shared = EditableTexts(part)
        columns = []
        for each in annotators:
            columns.append(annotate_shared(each, shared))
            shared.known[each.name] = columns[-1]
        results.append(columns)
    return results


def chain_answers(names: Sequence[str], results: list[list[pa.RecordBatch]]) -> list[str]:
    answers = []
    for columns in results:
        for row in range(columns[0].num_rows):
            answer = "keep"
            for name, verdicts in zip(names, columns, strict=True):
                if not verdicts.column("keep")[row].as_py():
                    family = name.partition("@")[0].removesuffix("_fineweb")
                    answer = f"{family}/{verdicts.column('reason')[row].as_py()}"
                    break
            answers.append(answer)
    return answers


def dolma_answers(results: list[list[pa.RecordBatch]]) -> list[dict[str, Any]]:
    return [row for columns in results for row in columns[0].to_pylist()]


def measure(names: Sequence[str], corpus: Path, answers: Path | None, mode: str) -> dict[str, Any]:
    begin = time.perf_counter()
    annotators = built(names)
    texts = texts_of(corpus)
    if mode == "start":  # the time to the first result, imports included by the caller
        run(annotators, list(batches(texts[:20])))
        return {"start_s": time.perf_counter() - begin}
    half = len(texts) // 2
    warm, timed = list(batches(texts[:half])), list(batches(texts[half:]))
    if mode == "memory":
        peaks = []
        for passes in (1, 3):
            for _ in range(passes):
                for part in (*warm, *timed):
                    run(annotators, [part])
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return {"peak_mb": peaks}
    for _ in range(3):  # compiled code, known words, and the memory that a batch needs
        run(annotators, warm)
    start = time.process_time()
    results = run(annotators, timed)
    seconds = time.process_time() - start
    if answers is not None:
        found = dolma_answers(results) if len(names) == 1 else chain_answers(names, results)
        with answers.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(each) + "\n" for each in found)
    size = sum(len(text.encode()) for text in texts[half:])
    return {"cpu_s": seconds, "bytes": size, "documents": len(texts) - half}


# -- in the process that compares --------------------------------------------------------------------------


def child(command: Sequence[str], **environment: str) -> dict[str, Any]:
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def ours(row: Row, corpus: Path, answers: Path | None = None, mode: str = "time", **environment: str) -> dict[str, Any]:
    command = [sys.executable, __file__, str(corpus), "--measure", ",".join(row.annotators), "--mode", mode]
    return child(command + (["--answers", str(answers)] if answers else []), **environment)


def same_dolma(found: dict[str, Any], peer: list[list[Any]]) -> bool:
    """A column holds the score of the tagger's document span, its line spans, or whether there is such a span."""
    spans: dict[str, list[tuple[int, int, float]]] = {}
    for start, end, kind, score in peer:
        spans.setdefault(kind, []).append((start, end, score))
    for name, value in found.items():
        of_name = spans.get(name, [])
        if name in ("keep", "rule", "value", "threshold", "reason", "edits"):
            continue
        if isinstance(value, list):
            same = [(each["start"], each["end"]) for each in value] == [(start, end) for start, end, _ in of_name]
        elif isinstance(value, bool):
            same = value == bool(of_name)
        else:
            same = value == (of_name[0][2] if of_name else None)
        if not same:
            return False
    return True


def agreement(row: Row, found: Path, peer: Path) -> tuple[int, int]:
    mine = [json.loads(line) for line in found.open(encoding="utf-8")]
    theirs = [json.loads(line) for line in peer.open(encoding="utf-8")]
    same: Callable[[Any, Any], bool]
    if row.peer == "datatrove-chain":
        same = operator.eq
    else:
        same = same_dolma
    return sum(same(a, b) for a, b in zip(mine, theirs, strict=True)), len(theirs)


def table_row(row: Row, corpus: Path, jsonl: Path, peers: dict[str, str], repeats: int, folder: Path) -> str:
    own: list[float] = []
    other: list[float] = []
    interpreter = peers.get((row.peer or "").partition("-")[0]) if row.peer else None
    found, theirs = folder / "ours.jsonl", folder / "peer.jsonl"
    for _ in range(repeats):
        timed = ours(row, corpus, found if interpreter and row.peer != "redpajama" else None)
        own.append(timed["bytes"] / 1e6 / timed["cpu_s"])
        if interpreter:
            here = Path(__file__).with_name("signals_peers.py")
            environment = {}
            command = [interpreter]
            if row.peer == "redpajama":
                environment, command = {"REDPAJAMA_DATA": interpreter}, [sys.executable]
            timed = child([*command, str(here), str(row.peer), str(jsonl), str(theirs)], **environment)
            other.append(timed["bytes"] / 1e6 / timed["cpu_s"])
    speed = statistics.median(own)
    cells = [row.name, f"{speed:.1f}"]
    times = None
    if other:
        times = speed / statistics.median(other)
        cells += [str(row.peer), f"{statistics.median(other):.3g}", f"{times:.0f}"]
        same = agreement(row, found, theirs) if row.peer != "redpajama" else None
        cells.append(f"{same[0]:,} / {same[1]:,}" if same else "see the golden tests")
    else:
        cells += [f"{row.peer}: not given" if row.peer else "", "", "", ""]
    wanted = []
    short = False
    if row.wanted_mb_s is not None:
        wanted.append(f"{row.wanted_mb_s:g} MB/s")
        short |= speed < row.wanted_mb_s
    if row.wanted_times is not None:
        wanted.append(f"{row.wanted_times:g} times")
        short |= times is not None and times < row.wanted_times
    cells.append(" ".join(wanted) + (" SHORT" if short else ""))
    return "| " + " | ".join(cells) + " |"


def start_lines(rows: Sequence[Row], corpus: Path) -> Iterator[str]:
    yield "| first result of | nothing compiled, s | compiled, s |"
    yield "|---|---|---|"
    for row in rows:
        with tempfile.TemporaryDirectory() as cache:
            begin = time.perf_counter()
            ours(row, corpus, mode="start", NUMBA_CACHE_DIR=cache)
            first = time.perf_counter() - begin
            begin = time.perf_counter()
            ours(row, corpus, mode="start", NUMBA_CACHE_DIR=cache)
            yield f"| {row.name} | {first:.1f} | {time.perf_counter() - begin:.1f} |"


def main() -> int:
    parser = argparse.ArgumentParser(description="Speed of the quality signals beside their peers.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--datatrove", metavar="PYTHON")
    parser.add_argument("--dolma", metavar="PYTHON")
    parser.add_argument("--redpajama", metavar="FOLDER", help="app/src of togethercomputer/RedPajama-Data")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--row", action="append", choices=[row.name for row in ROWS])
    parser.add_argument("--no-start", action="store_true", help="leave out start and memory")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--mode", default="time", help=argparse.SUPPRESS)
    parser.add_argument("--answers", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        names = options.measure.split(",")
        print(json.dumps(measure(names, options.corpus, options.answers, options.mode)))
        return 0
    given = {"datatrove": options.datatrove, "dolma": options.dolma, "redpajama": options.redpajama}
    peers = {name: value for name, value in given.items() if value}
    rows = [row for row in ROWS if not options.row or row.name in options.row]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jsonl = folder / "corpus.jsonl"
        texts = texts_of(options.corpus)
        with jsonl.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        print(f"{len(texts):,} texts, {sum(len(text.encode()) for text in texts) / 1e6:.1f} MB; one half timed\n")
        print("| work | MB/s | peer | MB/s | times | same | wanted |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for row in rows:
            print(table_row(row, jsonl, jsonl, peers, options.repeats, folder), flush=True)
        if not options.no_start:
            print()
            for line in start_lines(rows, jsonl):
                print(line, flush=True)
            peak = ours(ROWS[-1], jsonl, mode="memory")["peak_mb"]
            print(f"\nPeak memory of all families: {peak[0]:.0f} MB after one pass, {peak[1]:.0f} MB after four")
    return 0


if __name__ == "__main__":
    sys.exit(main())
