"""Deduplication: signatures, quality against the exact truth, and speed, beside peers in the same run.

    PYTHONPATH=. python bench/deduplication.py CORPUS [--peer NAME=PYTHON ...] [--plant] [--repeats N] [--plot FILE]
        [--speed-only]

CORPUS: JSON Lines with `text`, or a folder of document shards.  --plant adds edited copies of the texts (words changed
at 1, 2 and 10 %, a block of 10 % changed, sentences shuffled, exact), chosen by a seed.  Peers: bench/dedup_peers.py;
an interpreter each, one that cannot run is a row that says why.  --speed-only: the search without the truth, for a
corpus that is too large for it.  --plot: the last table as a figure (SVG).

Truth: all pairs with Jaccard similarity >= 0.8 of their sets of 5-word shingles (`\\w+`, lower case, as strings), by a
product of sparse matrices: nothing is sampled or hashed; and equal texts, also those too short for a shingle.
Columns of the search, threshold 0.8:

recall      true pairs whose documents stand in one cluster / true pairs
precision   pairs of the answer (of a cluster) that are connected by true pairs / pairs of the answer
kept        documents that stay; wrong: of those that go, how many are in no true pair
MB/s        10^6 bytes of text a second of wall time, two processes or threads allowed; start-up excluded for ours
            (the same search on two documents is subtracted), imports excluded for peers but for text-dedup, which is a
            program.  cpu: a second of CPU time

The last table: the share of pairs of a similarity that the bands make candidates, beside theory.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sparse
from scipy.sparse.csgraph import connected_components

import dedup
from bench.signals import texts_of
from dedup.bands import band_keys
from dedup.minhash import signatures
from pipelines.annotators import annotate_shared
from quality_signals.text_batch import SharedTexts

THRESHOLD = 0.8
_WORD = re.compile(r"\w+")
OURS = {
    "minhash@1": ("gaoya", "rensa", "text-dedup", "data-juicer"),
    "minhash@datasketch": ("datasketch",),
    "minhash@datatrove": ("datatrove",),
}
SEARCHES = (
    "gaoya", "rensa", "datasketch", "datasketch-checked", "datatrove", "text-dedup", "text-dedup-checked", "data-juicer"
)  # fmt: skip

# What is said of a peer that is not there, where it takes more than installing it.
NEEDS = {"text-dedup": ": it needs Python 3.12 or 3.13"}


# -- corpus and truth --------------------------------------------------------------------------------------


def edited(words: list[str], kind: str, draw: random.Random) -> list[str]:
    """Words with white space kept as their own entries stay where they are; only words are changed."""
    places = [i for i, word in enumerate(words) if word.strip()]
    if kind == "exact" or not places:
        return list(words)
    changed = list(words)
    if kind == "block10":
        count = max(1, len(places) // 10)
        start = draw.randrange(len(places) - count + 1)
        chosen = places[start : start + count]
    elif kind == "shuffle":
        sentences = re.split(r"(?<=[.!?])\s+", "".join(words))
        draw.shuffle(sentences)
        return [" ".join(sentences)]
    else:
        share = {"scatter1": 0.01, "scatter2": 0.02, "scatter10": 0.1}[kind]
        chosen = draw.sample(places, max(1, int(share * len(places))))
    for place in chosen:
        changed[place] = f"w{draw.randrange(10**6)}"
    return changed


def planted(texts: Sequence[str], seed: int = 0) -> list[str]:
    """The texts, and for two in three an edited copy; in a drawn order."""
    draw = random.Random(seed)
    kinds = ["scatter10"] * 6 + ["block10"] * 4 + ["scatter1"] * 3 + ["scatter2"] * 3 + ["shuffle"] * 3 + ["exact"]
    copies = [
        "".join(edited(re.split(r"(\s+)", text), draw.choice(kinds), draw)) for text in texts if draw.random() < 0.67
    ]
    out = [*texts, *copies]
    draw.shuffle(out)
    return out


def shingles(text: str) -> set[str]:
    words = _WORD.findall(text.lower())
    return {" ".join(words[i : i + 5]) for i in range(len(words) - 4)}


def similar_pairs(texts: Sequence[str], least: float) -> tuple[np.ndarray, np.ndarray]:
    """[pairs, 2] the documents, first < second, and [pairs] their exact similarity."""
    numbers: dict[str, int] = {}
    sets = [[numbers.setdefault(s, len(numbers)) for s in sorted(shingles(text))] for text in texts]
    sizes = np.array([len(each) for each in sets])
    columns = np.concatenate([np.array(each, np.int32) for each in sets])
    rows = sparse.csr_matrix(
        (np.ones(len(columns), np.int32), columns, np.concatenate([[0], np.cumsum(sizes)])), (len(sets), len(numbers))
    )
    by_shingle = rows.T.tocsr()
    pairs, values = [np.zeros((0, 2), np.int64)], [np.zeros(0)]
    for start in range(0, len(texts), 500):
        product = (rows[start : start + 500] @ by_shingle).tocoo()
        first, second = product.row.astype(np.int64) + start, product.col.astype(np.int64)
        similarity = product.data / (sizes[first] + sizes[second] - product.data)
        chosen = (first < second) & (similarity >= least)
        pairs.append(np.stack([first[chosen], second[chosen]], axis=1))
        values.append(similarity[chosen])
    short = _equal_pairs(texts, np.flatnonzero(sizes == 0).tolist())
    return np.concatenate([*pairs, short]), np.concatenate([*values, np.ones(len(short))])


def _equal_pairs(texts: Sequence[str], documents: Sequence[int]) -> np.ndarray:
    """[pairs, 2] those of the documents (ascending) that have equal texts; every pair of a group of equal ones."""
    groups: dict[str, list[int]] = {}
    for document in documents:
        groups.setdefault(texts[document], []).append(document)
    found = [pair for group in groups.values() for pair in itertools.combinations(group, 2)]
    return np.array(found, np.int64).reshape(-1, 2)


def quality(label: Sequence[int], pairs: np.ndarray) -> tuple[float, float]:
    """Recall and precision over pairs."""
    labels = np.unique(np.array(label), return_inverse=True)[1]
    found = np.mean(labels[pairs[:, 0]] == labels[pairs[:, 1]]) if len(pairs) else 1.0
    graph = sparse.coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (len(labels), len(labels)))
    truth = connected_components(graph, directed=False)[1]

    def inside(sizes: Counter[Any]) -> int:
        return sum(n * (n - 1) // 2 for n in sizes.values())

    said = inside(Counter(labels.tolist()))
    right = inside(Counter(zip(labels.tolist(), truth.tolist(), strict=True)))
    return float(found), right / said if said else 1.0


# -- what is measured --------------------------------------------------------------------------------------


def signature_speed(name: str, texts: Sequence[str], repeats: int) -> float:
    """CPU seconds of the annotator over all texts, after one batch that loads what it needs."""
    annotator = dedup.ANNOTATORS[name]()
    batches = []
    for start in range(0, len(texts), 500):
        part = pa.array(texts[start : start + 500], pa.large_string())
        batches.append(pa.RecordBatch.from_pydict({"text": part, "language": pa.array(["en"] * len(part))}))
    annotate_shared(annotator, SharedTexts(batches[0]))
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        for batch in batches:
            annotate_shared(annotator, SharedTexts(batch))
        seconds.append(time.process_time() - begin)
    return statistics.median(seconds)


@dataclasses.dataclass(frozen=True, slots=True)
class Search:
    """What a search answered, or why it did not run, and what it cost.  label: one cluster number a document."""

    name: str
    wall_s: float = 0.0
    cpu_s: float = 0.0
    kept: tuple[int, ...] = ()
    label: tuple[int, ...] = ()
    failed: str = ""
    documents: int = 0

    def row(self, megabytes: float, pairs: np.ndarray | None) -> str:
        if self.failed:
            return f"| {self.name} | not run: {self.failed} |"
        found, wrong = ["", ""], ""
        if pairs is not None:
            gone = np.ones(self.documents, np.bool_)
            gone[list(self.kept)] = False
            wrong = f"{int(gone.sum()) - int(gone[np.unique(pairs)].sum()):,}"
            if self.label:
                found = [f"{value:.4f}" for value in quality(self.label, pairs)]
        # A corpus so small that start-up and its noise are all there is has no speed.
        speeds = ["" if seconds <= 0 else f"{megabytes / seconds:.3g}" for seconds in (self.wall_s, self.cpu_s)]
        cells = [self.name, *found, f"{len(self.kept):,}", wrong, *speeds]
        return "| " + " | ".join(cells) + " |"


def _ran(command: Sequence[str], **more: Any) -> tuple[str, float, float]:
    """stdout, wall seconds and CPU seconds.  Raises RuntimeError."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, **more)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (out, err):
            file.seek(0)
        if process.returncode:
            raise RuntimeError((err.read().decode(errors="replace").strip() or "no message").splitlines()[-1])
        text = out.read().decode(errors="replace")
    return text, seconds, usage.ru_utime + usage.ru_stime


def own_search(texts: Sequence[str], folder: Path, clusters: str) -> Search:
    from pipelines.shards import read_batches

    path = folder / f"corpus-{len(texts)}.jsonl"
    if not path.exists():
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"id": f"{i:09d}", "text": text}) + "\n" for i, text in enumerate(texts))
    output = folder / f"out-{clusters}-{len(texts)}"
    command = [sys.executable, "-m", "beam_runner", "dedup", str(path), "--method", "minhash", "--workers", "2"]
    command += ["--threshold", str(THRESHOLD), "--clusters", clusters, "--output", str(output)]
    _, wall, cpu = _ran(command, env={**os.environ, "PYTHONPATH": os.getcwd()})
    label = list(range(len(texts)))
    for shard in sorted((output / "annotations" / "dedup").glob("part-*.parquet")):
        for batch in read_batches(str(shard), ["doc_id", "duplicate_of"]):
            for document, kept in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                label[int(document)] = int(kept or document)
    shutil.rmtree(output)
    kept = tuple(i for i, each in enumerate(label) if i == each)
    return Search(f"gristmill, {clusters}", wall, cpu, kept, tuple(label), documents=len(texts))


def without_start(search: Search, start: Search) -> Search:
    return dataclasses.replace(search, wall_s=search.wall_s - start.wall_s, cpu_s=search.cpu_s - start.cpu_s)


def child(python: str, *arguments: str) -> dict[str, float]:
    """What a peer told of its work.  Raises RuntimeError, in a line, where it could not."""
    if not Path(python).exists():
        raise RuntimeError(f"{python} is not there{NEEDS.get(arguments[1].removesuffix('-checked'), '')}")
    command = [python, str(Path(__file__).with_name("dedup_peers.py")), *arguments]
    text, _, _ = _ran(command, env={**os.environ, "PIP_NO_INDEX": "1"})
    return json.loads(text.splitlines()[-1])  # type: ignore[no-any-return]


def peer_search(name: str, python: str, jsonl: Path, folder: Path, documents: int) -> Search:
    answer = folder / f"{name}.json"
    try:
        told = child(python, "search", name, str(jsonl), str(answer))
    except (RuntimeError, OSError) as error:
        return Search(name, failed=str(error)[:200])
    found = json.loads(answer.read_text())
    label = tuple(found.get("label", ()))
    firsts = {cluster: i for i, cluster in reversed(list(enumerate(label)))}
    kept = tuple(sorted(firsts.values())) if label else tuple(found["kept"])
    return Search(name, told["wall_s"], told["cpu_s"], kept, label, documents=documents)


def band_curve(texts: Sequence[str], pairs: np.ndarray, similarity: np.ndarray) -> list[tuple[str, int, float, float]]:
    """For tenths of similarity from 0.3: (range, pairs, share that are candidates, mean P)."""
    bands = dedup.choose_bands(THRESHOLD, 128)
    found, _ = signatures(pa.array(texts, pa.large_string()))
    keys = band_keys(found, bands)
    shared = (keys[pairs[:, 0]] == keys[pairs[:, 1]]).any(axis=1)
    rows = []
    for low in (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
        high = low + (0.1 if low < 0.7 else 0.05)
        inside = (similarity >= low) & (similarity < high if high < 1 else similarity <= 1)
        if inside.any():
            theory = float(bands.probability(similarity[inside]).mean())
            rows.append((f"{low:.2f} to {high:.2f}", int(inside.sum()), float(shared[inside].mean()), theory))
    return rows


# -- the tables --------------------------------------------------------------------------------------------


def signature_rows(texts: Sequence[str], jsonl: Path, peers: Mapping[str, str], repeats: int) -> None:
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print("| signatures, one core | MB/s | peer | MB/s | times |\n|---|---|---|---|---|", flush=True)
    for ours, others in OURS.items():
        own = megabytes / signature_speed(ours, texts, repeats)
        for peer in others:
            cells = [peer, "not given", ""]
            if peer in peers:
                try:
                    times = [child(peers[peer], "signatures", peer, str(jsonl), "")["cpu_s"] for _ in range(repeats)]
                    other = megabytes / statistics.median(times)
                    cells = [peer, f"{other:.3g}", f"{own / other:.1f}"]
                except (RuntimeError, OSError) as error:
                    cells = [peer, f"not run: {error}"[:200], ""]
            print(f"| {ours} | {own:.1f} | " + " | ".join(cells) + " |", flush=True)


def search_rows(
    texts: Sequence[str], jsonl: Path, peers: Mapping[str, str], folder: Path, pairs: np.ndarray | None
) -> None:
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print("\n| search, two cores | recall | precision | kept | wrong | MB/s | cpu |")
    print("|---|---|---|---|---|---|---|", flush=True)
    own_search(texts[:2], folder, "star")  # compiles what is not compiled yet
    starts = []
    for clusters in ("components", "star"):
        starts.append(own_search(texts[:2], folder, clusters))
        print(without_start(own_search(texts, folder, clusters), starts[-1]).row(megabytes, pairs), flush=True)
    for name in SEARCHES:
        python = peers.get(name.removesuffix("-checked"))
        if python is not None:
            print(peer_search(name, python, jsonl, folder, len(texts)).row(megabytes, pairs), flush=True)
    told = ", ".join(f"{start.wall_s:.1f} s ({start.cpu_s:.1f} s of CPU)" for start in starts)
    print(f"\nStart-up, subtracted from ours: {told}", flush=True)


def figure(rows: Sequence[tuple[str, int, float, float]], bands: dedup.Bands) -> str:
    """The chance of a pair to be measured, as a line; the shares that were found, as dots.  SVG."""
    width, height, left, bottom = 640, 360, 60, 50

    def at(similarity: float, share: float) -> str:
        x = left + similarity * (width - left - 20)
        return f"{x:.1f},{height - bottom - share * (height - bottom - 20):.1f}"

    curve = " ".join(at(s / 200, float(bands.probability(s / 200))) for s in range(201))
    dots = []
    for name, count, share, theory in rows:
        low, _, high = name.partition(" to ")
        x, y = at((float(low) + float(high)) / 2, share).split(",")
        told = f"{name}: {share:.4f} of {count:,} pairs, theory {theory:.4f}"
        dots.append(f'<circle cx="{x}" cy="{y}" r="4" fill="#c33"><title>{told}</title></circle>')
    ticks = []
    for tenth in range(0, 11, 2):
        x, y = at(tenth / 10, 0).split(",")
        ticks.append(f'<text x="{x}" y="{float(y) + 18:.1f}" text-anchor="middle">{tenth / 10:g}</text>')
        x, y = at(0, tenth / 10).split(",")
        ticks.append(f'<text x="{float(x) - 8:.1f}" y="{float(y) + 4:.1f}" text-anchor="end">{tenth / 10:g}</text>')
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<polyline points="{at(0, 1)} {at(0, 0)} {at(1, 0)}" fill="none" stroke="#888"/>',
        f'<polyline points="{curve}" fill="none" stroke="#36c" stroke-width="2"/>',
        *dots,
        *ticks,
        f'<text x="{width // 2}" y="{height - 12}" text-anchor="middle">Jaccard similarity of a pair</text>',
        f'<text x="{left + 10}" y="32" fill="#36c">chance to be measured, {bands.count} bands of {bands.rows}</text>',
        f'<text x="{left + 10}" y="50" fill="#c33">share of pairs that were</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Deduplication beside its peers.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--plant", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--speed-only", action="store_true")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    peers = dict(each.split("=", 1) for each in options.peer)
    texts = texts_of(options.corpus)
    texts = planted(texts) if options.plant else texts
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    told = f"{len(texts):,} texts, {megabytes:.1f} MB"
    if options.speed_only:
        print(told, flush=True)
    else:
        pairs, similarity = similar_pairs(texts, 0.3)
        true = pairs[similarity >= THRESHOLD]
        print(f"{told}; {len(true):,} pairs at {THRESHOLD} or more\n", flush=True)
    with tempfile.TemporaryDirectory() as name:
        jsonl = Path(name) / "corpus.jsonl"
        with jsonl.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        if not options.speed_only:
            signature_rows(texts, jsonl, peers, options.repeats)
        search_rows(texts, jsonl, peers, Path(name), None if options.speed_only else true)
    if options.speed_only:
        return 0
    rows = band_curve(texts, pairs, similarity)
    print("\n| similarity | pairs | candidates | theory |\n|---|---|---|---|")
    for name, count, share, theory in rows:
        print(f"| {name} | {count:,} | {share:.4f} | {theory:.4f} |")
    if options.plot is not None:
        options.plot.write_text(figure(rows, dedup.choose_bands(THRESHOLD, 128)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
