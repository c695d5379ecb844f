"""Deduplication: signatures, quality against the exact truth, and speed, beside peers in the same run.

    PYTHONPATH=. python bench/deduplication.py CORPUS [--peer NAME=PYTHON ...] [--plant] [--repeats N] [--json FILE]

CORPUS: JSON Lines with `text`, or a folder of document shards.  --plant adds edited copies of the texts (words changed
at 1, 2 and 10 %, a block of 10 % changed, sentences shuffled, exact), chosen by a seed.  Peers: bench/dedup_peers.py;
an interpreter each.

Truth: all pairs with Jaccard similarity >= 0.8 of their sets of 5-word shingles (`\\w+`, lower case, as strings), by a
product of sparse matrices: nothing is sampled or hashed.  Columns of the search, threshold 0.8:

recall      true pairs whose documents stand in one cluster / true pairs
precision   pairs of the answer (of a cluster) that are connected by true pairs / pairs of the answer
MB/s        10^6 bytes of text a second of wall time, two processes or threads allowed; start-up excluded for ours
            (the same search on two documents is subtracted), imports excluded for peers

The last table: the share of pairs of a similarity that the bands make candidates, beside theory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
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
OURS = {"minhash@1": "gaoya", "minhash@datasketch": "datasketch", "minhash@datatrove": "datatrove"}
SEARCHES = ("gaoya", "rensa", "datasketch", "datasketch-checked", "datatrove")


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
    return np.concatenate(pairs), np.concatenate(values)


def quality(label: Sequence[int], pairs: np.ndarray) -> tuple[float, float, int]:
    """Recall and precision over pairs, and documents kept."""
    labels = np.unique(np.array(label), return_inverse=True)[1]
    found = np.mean(labels[pairs[:, 0]] == labels[pairs[:, 1]]) if len(pairs) else 1.0
    graph = sparse.coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (len(labels), len(labels)))
    truth = connected_components(graph, directed=False)[1]

    def inside(sizes: Counter[Any]) -> int:
        return sum(n * (n - 1) // 2 for n in sizes.values())

    said = inside(Counter(labels.tolist()))
    right = inside(Counter(zip(labels.tolist(), truth.tolist(), strict=True)))
    return float(found), right / said if said else 1.0, len(set(labels.tolist()))


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


def own_search(texts: Sequence[str], folder: Path, clusters: str) -> tuple[list[int], float]:
    """One cluster number a document, and wall seconds."""
    from pipelines.shards import read_batches

    path = folder / f"corpus-{len(texts)}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"id": f"{i:09d}", "text": text}) + "\n" for i, text in enumerate(texts))
    output = folder / f"out-{clusters}-{len(texts)}"
    command = [sys.executable, "-m", "beam_runner", "dedup", str(path), "--method", "minhash", "--workers", "2"]
    command += ["--threshold", str(THRESHOLD), "--clusters", clusters, "--output", str(output)]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    label = list(range(len(texts)))
    for shard in sorted((output / "annotations" / "dedup").glob("part-*.parquet")):
        for batch in read_batches(str(shard), ["doc_id", "duplicate_of"]):
            for document, kept in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                label[int(document)] = int(kept or document)
    return label, seconds


def child(python: str, *arguments: str) -> dict[str, float]:
    command = [python, str(Path(__file__).with_name("dedup_peers.py")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-1500:]}")
    return json.loads(done.stdout.splitlines()[-1])


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


def main() -> int:
    parser = argparse.ArgumentParser(description="Deduplication beside its peers.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--plant", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    peers = dict(each.split("=", 1) for each in options.peer)
    texts = texts_of(options.corpus)
    texts = planted(texts) if options.plant else texts
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    pairs, similarity = similar_pairs(texts, 0.3)
    true = pairs[similarity >= THRESHOLD]
    print(f"{len(texts):,} texts, {megabytes:.1f} MB; {len(true):,} pairs at {THRESHOLD} or more\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jsonl = folder / "corpus.jsonl"
        with jsonl.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        print("| signatures, one core | MB/s | peer | MB/s | times |\n|---|---|---|---|---|", flush=True)
        for ours, peer in OURS.items():
            own = megabytes / signature_speed(ours, texts, options.repeats)
            cells = [f"{peer}: not given", "", ""]
            if peer in peers:
                times = [
                    child(peers[peer], "signatures", peer, str(jsonl), "")["cpu_s"] for _ in range(options.repeats)
                ]
                other = megabytes / statistics.median(times)
                cells = [peer, f"{other:.3g}", f"{own / other:.1f}"]
            print(f"| {ours} | {own:.1f} | " + " | ".join(cells) + " |", flush=True)
        print("\n| search, two cores | recall | precision | kept | MB/s |\n|---|---|---|---|---|", flush=True)
        for clusters in ("components", "star"):
            _, start = own_search(texts[:2], folder, clusters)
            label, seconds = own_search(texts, folder, clusters)
            recall, precision, kept = quality(label, true)
            speed = megabytes / max(seconds - start, 1e-9)
            print(f"| gristmill, {clusters} | {recall:.4f} | {precision:.4f} | {kept:,} | {speed:.1f} |", flush=True)
        for each in SEARCHES:
            python = peers.get(each.partition("-")[0])
            if python is None:
                continue
            answer = folder / f"{each}.json"
            told = child(python, "search", each, str(jsonl), str(answer))
            recall, precision, kept = quality(json.loads(answer.read_text()), true)
            speed = megabytes / told["wall_s"]
            print(f"| {each} | {recall:.4f} | {precision:.4f} | {kept:,} | {speed:.3g} |", flush=True)
    print("\n| similarity | pairs | candidates | theory |\n|---|---|---|---|")
    for name, count, share, theory in band_curve(texts, pairs, similarity):
        print(f"| {name} | {count:,} | {share:.4f} | {theory:.4f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
