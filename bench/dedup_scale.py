"""How the search for duplicates grows: 1 M and 10 M documents at the level of hashes, on two processes.

    PYTHONPATH=. python bench/dedup_scale.py [--documents 1000000 10000000] [--workers 2] [--json FILE]

Everything behind the text is the stage's own code: partitions through files, candidate pairs, distinct pairs,
verified pairs, forests, the one union-find, order of keep, rounds of the guard, verdicts and evidence.  Band keys,
similarities and document ids are made from the document's number, since 10 M real texts say nothing more.

Three documents in ten lie in clusters whose sizes fall off as 1/size^2.2 (2 to 1,000); one in a hundred lies in one
chain (100,000 of 10 M) whose neighbours alone are similar, one in two hundred in one clique (50,000 of 10 M).
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import json
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dedup.bands import PAIR
from dedup.hashing import Hashes, mixed
from dedup.minhash import TEXT_HASH_BYTES
from pipelines.exchange import (
    SpilledValues,
    _Spill,
    by_kind,
    partition_count,
    partition_of,
    scattered,
    unpacked,
)
from pipelines.find_duplicates import FindDuplicates
from pipelines.find_duplicates.candidates import (
    BANDED,
    distinct_pairs_of,
    local_forest,
    pair_up,
    verify,
)
from pipelines.find_duplicates.clusters import VERDICT_SCHEMA, decide_round
from pipelines.find_duplicates.measure import MEASURED, pair_partition
from pipelines.find_duplicates.members import (
    LABELS,
    LINKS,
    STATE_SCHEMA,
    by_first,
    components,
    first_state,
    from_ipc,
    scattered_rows,
)
from pipelines.find_duplicates.plan import ANSWER, LABEL, LINKED, MEMBER, VERDICT, VERIFIED, address, row_of, shard_of

ROWS_OF_SHARD = 100_000
BANDS = 21
_BASE = np.uint64(1) << np.uint64(40)
Element = tuple[int, bytes]


class World:
    """What the corpus looks like: a function of the number of documents."""

    def __init__(self, documents: int) -> None:
        self.documents = documents
        self.chain, self.clique = documents // 100, documents // 200
        sizes = np.arange(2, 1001)
        shares = 1.0 / sizes**2.2
        target = int(0.3 * documents) - self.chain - self.clique
        each = np.random.default_rng(7).choice(sizes, target // 2, p=shares / shares.sum())
        each = each[np.cumsum(each) <= target]
        # Numbers 0 ... chain - 1 are the chain, then the clique, then the clusters, then those that are alone.
        self.starts = self.chain + self.clique + np.concatenate([[0], np.cumsum(each)])

    def number(self, places: Hashes) -> np.ndarray:
        """Places in the shards are spread over the numbers: a cluster lies in many shards."""
        spread = places.astype(np.int64) * 982_451_653 % self.documents
        return spread

    def cluster(self, numbers: np.ndarray) -> np.ndarray:
        """Of the clique and the clusters a number, of the others -1."""
        found = np.searchsorted(self.starts, numbers, "right") - 1
        found = np.where((numbers >= self.chain) & (numbers < self.starts[0]), -2, found)
        return np.where((numbers < self.chain) | (numbers >= self.starts[-1]), -1, found)

    def keys(self, numbers: np.ndarray) -> Hashes:
        """[documents, bands]: in a cluster each band is shared in 7 of 10 cases, in the chain with a neighbour."""
        bands = np.arange(BANDS, dtype=np.uint64)
        own = mixed(numbers.astype(np.uint64)[:, None] * np.uint64(BANDS) + bands + _BASE)
        cluster = self.cluster(numbers)
        shared = mixed(cluster.astype(np.uint64)[:, None] * np.uint64(BANDS) + bands + (_BASE << np.uint64(2)))
        pair = (numbers[:, None] + np.arange(BANDS)) // 2
        chained = mixed(pair.astype(np.uint64) * np.uint64(BANDS) + bands + (_BASE << np.uint64(4)))
        takes = (own & np.uint64(1023)) < np.uint64(717)
        keys = np.where((cluster != -1)[:, None] & takes, shared, own)
        keys = np.where((numbers < self.chain)[:, None], chained, keys)
        return (keys & ~np.uint64(255)) | bands

    def similarity(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        one, other = self.cluster(first), self.cluster(second)
        noise = (mixed((first * 31 + second).astype(np.uint64)) >> np.uint64(40)).astype(np.float64) / 2**24
        near = np.where((one == other) & (one != -1), 0.82 + 0.15 * noise, 0.01 * noise)
        chained = (first < self.chain) & (second < self.chain)
        return np.where(chained, np.maximum(1 - 0.03 * np.abs(first - second), 0.0), near)


def _numbers(world: World, addresses: Hashes) -> np.ndarray:
    return world.number((shard_of(addresses) * ROWS_OF_SHARD + row_of(addresses)).astype(np.uint64))


def _doc_ids(numbers: np.ndarray) -> pa.Array:
    low = mixed(numbers.astype(np.uint64) + np.uint64(1))
    digits = np.stack([low, mixed(low)], axis=1).astype(">u8").tobytes().hex()
    offsets = pa.py_buffer(np.arange(0, 32 * numbers.size + 1, 32, dtype=np.int32).tobytes())
    return pa.StringArray.from_buffers(numbers.size, offsets, pa.py_buffer(digits.encode()))


class Stages:
    """One process's view of the run: every stage turns the values of one partition into elements for others."""

    def __init__(self, world: World, find: FindDuplicates) -> None:
        self.world, self.find = world, find
        self.shards = -(-world.documents // ROWS_OF_SHARD)
        self.band_partitions = partition_count(world.documents * BANDS, find.workers)
        self.pair_partitions = partition_count(world.documents, find.workers, 16_000)
        self.cluster_partitions = partition_count(world.documents, find.workers, 250_000)
        self.counts: collections.Counter[str] = collections.Counter()

    def shard_rows(self, shard: int) -> int:
        return min(ROWS_OF_SHARD, self.world.documents - shard * ROWS_OF_SHARD)

    def sign(self, shard: int, values: Iterable[bytes]) -> Iterator[tuple[str, Element]]:
        for start in range(0, self.shard_rows(shard), 25_000):
            rows = np.arange(start, min(start + 25_000, self.shard_rows(shard)))
            where = address(shard, rows)
            banded = np.empty((rows.size, BANDS), BANDED)
            banded["key"], banded["address"] = self.world.keys(_numbers(self.world, where)), where[:, None]
            records = banded.reshape(-1)
            for element in scattered(partition_of(records["key"], self.band_partitions), records):
                yield "pair_up", element

    def pair_up(self, partition: int, values: Iterable[bytes]) -> Iterator[tuple[str, Element]]:
        for element in pair_up((partition, values), self.pair_partitions):
            yield "measure", element

    def measure(self, partition: int, values: Iterable[bytes]) -> Iterator[tuple[str, Element]]:
        for _, value in distinct_pairs_of((partition, values)):
            for _, verified in verify((partition, self._measured(np.frombuffer(value, PAIR))), self.find.threshold):
                self.counts["verified_pairs"] += len(verified) // MEASURED.itemsize
                for element in local_forest((partition, verified)):
                    yield "unite", element
                for element in by_first((partition, verified)):
                    yield "members", element
            self.counts["candidate_pairs"] += len(value) // PAIR.itemsize

    def _measured(self, pairs: np.ndarray) -> bytes:
        measured = np.zeros(pairs.size, MEASURED)
        for name in PAIR.names or ():
            measured[name] = pairs[name]
        numbers = [_numbers(self.world, pairs[name]) for name in ("first", "second")]
        measured["similarity"] = self.world.similarity(*numbers)
        measured["first_length"], measured["second_length"] = (3000 + n % 97 for n in numbers)
        return measured.tobytes()

    def unite(self, partition: int, values: Iterable[bytes]) -> Iterator[tuple[str, Element]]:
        for element in components((partition, values)):
            yield "members", element

    def members(self, shard: int, values: Iterable[bytes]) -> Iterator[tuple[str, Element]]:
        packed_labels, packed_pairs = by_kind(values, (LABEL, VERIFIED))
        labels = np.sort(unpacked(packed_labels, LABELS), order="address")
        pairs = unpacked(packed_pairs, MEASURED)
        links = np.empty(pairs.size, LINKS)
        for name in MEASURED.names or ():
            links[name] = pairs[name]
        links["root"] = labels["root"][np.searchsorted(labels["address"], pairs["first"])]
        for element in scattered(partition_of(mixed(links["root"]), self.cluster_partitions), links, LINKED):
            yield "round0", element
        numbers = _numbers(self.world, labels["address"])
        hashes = np.stack([mixed(numbers.astype(np.uint64)), numbers.astype(np.uint64)], axis=1)
        rows = pa.RecordBatch.from_arrays(
            [
                pa.array(labels["root"]),
                pa.array(labels["address"]),
                _doc_ids(numbers),
                pa.array(["bench"]).take(pa.array(np.zeros(numbers.size, np.int64))),
                pa.Array.from_buffers(pa.binary(TEXT_HASH_BYTES), numbers.size, [None, pa.py_buffer(hashes.tobytes())]),
                pa.nulls(numbers.size, pa.float64()),
            ],
            names=["root", "address", "doc_id", "source", "text_hash", "key0"],
        )
        for element in scattered_rows(partition_of(mixed(labels["root"]), self.cluster_partitions), rows, MEMBER):
            yield "round0", element

    def round(self, number: int, values: Iterable[bytes]) -> Iterator[tuple[str, Element]]:
        members, linked, answered = by_kind(values, (MEMBER, LINKED, ANSWER))
        if not members:
            return
        links = unpacked(linked, LINKS)
        if number:
            state = from_ipc(members, STATE_SCHEMA).sort_by([("root", "ascending"), ("rank", "ascending")])
        else:
            state = first_state(self.find, from_ipc(members), links)
        done = decide_round(self.find, state, links, unpacked(answered, MEASURED) if number else None, number)
        following = f"round{number + 1}"
        for name, count in done.counts.items():
            self.counts[name] = (
                max(self.counts[name], count) if name.startswith("largest") else self.counts[name] + count
            )
        for element in scattered_rows(done.shards, done.verdicts, VERDICT):
            yield "write", element
        waiting = partition_of(mixed(done.waiting.column("root").to_numpy()), self.cluster_partitions)
        for element in scattered_rows(waiting, done.waiting, MEMBER):
            yield following, element
        roots = partition_of(mixed(done.waiting_links["root"]), self.cluster_partitions)
        for element in scattered(roots, done.waiting_links, LINKED):
            yield following, element
        for element in scattered(pair_partition(done.asked, self.pair_partitions), done.asked):
            yield f"answer{number + 1}", element

    def answer(self, number: int, values: Iterable[bytes]) -> Iterator[tuple[str, Element]]:
        measured = np.frombuffer(self._measured(unpacked(values, PAIR)), MEASURED)
        self.counts["asked_pairs"] += measured.size
        for element in scattered(partition_of(mixed(measured["tag"]), self.cluster_partitions), measured, ANSWER):
            yield f"round{number}", element

    def write(self, shard: int, values: Iterable[bytes]) -> Iterator[tuple[str, Element]]:
        (verdicts,) = by_kind(values, (VERDICT,))
        rows = from_ipc(verdicts, VERDICT_SCHEMA)
        self.counts["dropped"] += rows.num_rows - rows.column("duplicate_of").null_count
        if rows.num_rows:
            similarity = rows.column("similarity").drop_null().to_numpy()
            assert similarity.min(initial=1) >= self.find.least_to_centre
        yield from ()

    def run(self, stage: str, partition: int, values: Iterable[bytes]) -> Iterator[tuple[str, Element]]:
        if stage.startswith("round"):
            yield from self.round(int(stage[-1]), values)
        elif stage.startswith("answer"):
            yield from self.answer(int(stage[-1]), values)
        else:
            work: Callable[..., Iterator[tuple[str, Element]]] = getattr(self, stage)
            yield from work(partition, values)


_stages: Stages
_spill_dir = ""


def _start(documents: int, workers: int, spill_dir: str) -> None:
    global _stages, _spill_dir
    _stages = Stages(World(documents), FindDuplicates("bench", 0, workers=workers))
    _spill_dir = spill_dir


def _task(stage: str, partition: int, references: list[bytes]) -> tuple[list[tuple[str, int, bytes]], dict[str, int]]:
    """The values of a partition through its stage; what comes out is spilled, as Exchange does."""
    spill = _Spill(_spill_dir)
    spill.start_bundle()
    written = []
    for target, element in _stages.run(stage, partition, SpilledValues(_spill_dir, references)):
        for where, reference in spill.process(element):
            written.append((target, where, reference))
    spill.finish_bundle()
    counts = dict(_stages.counts)
    _stages.counts.clear()
    return written, counts


def _memory(pids: list[int]) -> int:
    """Proportional set size of all processes, bytes."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def measure(documents: int, workers: int) -> dict[str, Any]:
    rounds = FindDuplicates("bench", 0).rounds
    later = [name for n in range(1, rounds + 1) for name in (f"answer{n}", f"round{n}")]
    stages = ["sign", "pair_up", "measure", "unite", "members", "round0", *later, "write"]
    spill_dir = tempfile.mkdtemp(prefix="gristmill-scale-")
    context = multiprocessing.get_context("fork")
    waiting: dict[str, dict[int, list[bytes]]] = {name: collections.defaultdict(list) for name in stages}
    for shard in range(-(-documents // ROWS_OF_SHARD)):
        waiting["sign"][shard] = []
    counts: collections.Counter[str] = collections.Counter()
    seconds: dict[str, float] = {}
    cpu_seconds = 0.0
    peak = [0]
    done = threading.Event()
    started = time.perf_counter()
    with concurrent.futures.ProcessPoolExecutor(workers, context, _start, (documents, workers, spill_dir)) as pool:
        list(pool.map(time.sleep, [0.2] * workers))
        pids = [os.getpid(), *(pool._processes or {})]

        def watch() -> None:
            while not done.wait(0.25):
                peak[0] = max(peak[0], _memory(pids))

        watcher = threading.Thread(target=watch)
        watcher.start()
        for stage in stages:
            began = time.perf_counter()
            tasks = waiting.pop(stage)
            futures = [pool.submit(_task, stage, p, tasks[p]) for p in sorted(tasks)]
            del tasks
            for future in concurrent.futures.as_completed(futures):
                written, counted = future.result()
                for target, where, reference in written:
                    waiting[target][where].append(reference)
                largest = max(counts["largest_cluster"], counted.pop("largest_cluster", 0))
                counts.update(counted)
                counts["largest_cluster"] = largest
            seconds[stage] = round(time.perf_counter() - began, 2)
        for pid in pids[1:]:
            times = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            cpu_seconds += (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
        done.set()
        watcher.join()
    wall = time.perf_counter() - started
    spilled = sum(f.stat().st_size for f in Path(spill_dir).iterdir())
    shutil.rmtree(spill_dir)
    return {
        "documents": documents,
        "workers": workers,
        "wall_s": round(wall, 2),
        "cpu_s": round(cpu_seconds, 2),
        "peak_mb": round(peak[0] / 1e6),
        "spilled_mb": round(spilled / 1e6),
        **{name: counts[name] for name in sorted(counts)},
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", help="file for the numbers")
    options = parser.parse_args()
    measure(20_000, options.workers)  # compiles
    results = [measure(n, options.workers) for n in options.documents]
    for result in results:
        print(json.dumps(result))
    for small, large in zip(results, results[1:], strict=False):
        linear = large["cpu_s"] / small["cpu_s"] / (large["documents"] / small["documents"])
        print(f"{small['documents']:,} -> {large['documents']:,}: {linear:.2f} x linear in CPU time")
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
