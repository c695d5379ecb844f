"""One stage = one Beam pipeline between two sets of shards; finished stages are not run again.

A stage is a list of unit descriptions (bytes), a worker that turns one unit into shards, and what it depends
on.  The worker is a pure object with one effect: the shards it writes by temp-then-rename.  So any number of
attempts at a unit, on any worker of any engine, converge on the same files, and text never leaves the
function that read it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import apache_beam as beam

from pipelines import manifest as manifests
from pipelines import storage
from pipelines.engines import local_runner
from pipelines.manifest import Books, Manifest
from pipelines.shards import read_batches

RECORDS = "records.json"


class StageError(RuntimeError):
    """The work failed in a way that a user can understand; the text names what and where."""


class UnitWorker(Protocol):
    """Turns one unit into shards; yields one JSON-able record a shard, with the books of its documents."""

    def run(self, unit: bytes) -> Iterator[dict[str, Any]]: ...


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a stage depends on.  Two stages with equal fingerprints give equal bytes."""

    name: str  # 'annotate/rpv2@1'
    directory: str  # below the output folder; holds the stage's manifest
    inputs: Mapping[str, str]
    options: Mapping[str, Any]
    modules: tuple[str, ...]  # whose source files are the stage's code version
    max_error_rate: float = 1.0

    @property
    def code(self) -> str:
        return manifests.code_fingerprint(*self.modules)

    @property
    def fingerprint(self) -> str:
        return manifests.digest([self.name, self.inputs, self.options, self.code, manifests.library_versions()])

    def manifest_path(self, output: str) -> str:
        return manifests.stage_manifest(output, self.directory)

    def finished(self, output: str) -> Manifest | None:
        """The stage's manifest if it was made from the same inputs, options, code and libraries."""
        found = manifests.load(self.manifest_path(output))
        if found is None or (
            manifests.digest([found.stage, found.inputs, found.options, found.code, found.versions]) != self.fingerprint
        ):
            return None
        for shard in found.shards:
            path = storage.join(output, shard["path"])
            if not storage.exists(path) or storage.size(path) != shard["bytes"]:
                return None
        return found

    def finish(self, output: str, records: Iterable[Mapping[str, Any]], summary: Mapping[str, Any]) -> Manifest:
        """`conclude`, then `commit`."""
        return self.commit(output, self.conclude(output, records, summary))

    def commit(self, output: str, manifest: Manifest) -> Manifest:
        """Writes the manifest, last of all files of the stage: from here on the stage is done."""
        storage.write_bytes(self.manifest_path(output), storage.canonical_json(manifest.to_json()))
        return manifest

    def refuse_nothing(self, output: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Raises StageError, with the books, where nothing is left of what was read."""
        books = _books_of(records)
        if not books.kept:
            raise StageError(f"stage {self.name}: {books}: no document is left{_where_rejected(output, records)}")

    def conclude(self, output: str, records: Iterable[Mapping[str, Any]], summary: Mapping[str, Any]) -> Manifest:
        """The stage's manifest.  Raises StageError where the books do not balance or too much was rejected."""
        records = list(records)
        books = _books_of(records)
        if not books.balanced:
            raise StageError(f"stage {self.name}: the books do not balance: {books}")
        if books.error_rate > self.max_error_rate:
            raise StageError(
                f"stage {self.name}: {books.error_rate:.2%} of {books.read:,} items were rejected, more than "
                f"max_error_rate {self.max_error_rate:.2%}: {books}{_where_rejected(output, records)}"
            )
        return Manifest(
            self.name,
            dict(self.inputs),
            dict(self.options),
            self.code,
            manifests.library_versions(),
            books,
            manifests.shards_of(records),
            dict(summary),
        )


def _books_of(records: Iterable[Mapping[str, Any]]) -> Books:
    return sum((Books.from_json(record["books"]) for record in _first_of_each_path(records)), Books())


def _where_rejected(output: str, records: Iterable[Mapping[str, Any]]) -> str:
    """The end of a message: the first item that was rejected, and how to see the others; '' where none was."""
    shards = sorted(record["path"] for record in records if record.get("path", "").startswith("rejected/"))
    if not shards:
        return ""
    path = storage.join(output, shards[0])
    first = next(read_batches(path)).slice(0, 1).to_pylist()[0]
    return f"; the first: {first['id']}: {first['message']}; `gristmill inspect {path}` shows all"


def _first_of_each_path(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Records with books, one a shard: a unit that an engine ran twice gives its record twice."""
    unique = {record["path"]: record for record in records if "books" in record}
    return [unique[path] for path in sorted(unique)]


@dataclasses.dataclass(eq=False)  # not frozen: Beam writes the label into the transform that it applies
class MapUnits(beam.PTransform):
    """Runs `worker` on every unit, wherever the engine likes; the output is the workers' records as JSON.

    The reshuffle breaks fusion with the list of units, so that units spread over the workers.
    """

    worker: UnitWorker

    def expand(self, units: beam.PCollection[bytes]) -> beam.PCollection[bytes]:
        return (
            units
            | "SpreadUnits" >> beam.Reshuffle()
            | "RunUnit" >> beam.ParDo(_RunUnit(self.worker)).with_output_types(bytes)
        )


class _RunUnit(beam.DoFn):
    def __init__(self, worker: UnitWorker) -> None:
        self._worker = worker
        self._units = beam.metrics.Metrics.counter("stage", "units")
        self._shards = beam.metrics.Metrics.counter("stage", "shards")

    def process(self, unit: bytes) -> Iterator[bytes]:
        for record in self._worker.run(unit):
            self._shards.inc()
            yield json.dumps(record, sort_keys=True).encode()
        self._units.inc()


@dataclasses.dataclass(eq=False)  # not frozen: Beam writes the label into the transform that it applies
class CollectRecords(beam.PTransform):
    """Gathers the records of a stage, a few hundred bytes a shard, into one JSON file, sorted."""

    path: str

    def expand(self, records: beam.PCollection[bytes]) -> beam.PCollection[None]:
        # The empty record makes the group exist where a stage has no unit at all.
        nothing = records.pipeline | "NoRecord" >> beam.Create([b""], reshuffle=False).with_output_types(bytes)
        return (
            (records, nothing)
            | "WithNoRecord" >> beam.Flatten()
            | "OneKey" >> beam.Map(_under_one_key).with_output_types(tuple[int, bytes])
            | "GroupRecords" >> beam.GroupByKey()
            | "WriteRecords" >> beam.ParDo(_WriteRecords(self.path))
        )


def _under_one_key(record: bytes) -> tuple[int, bytes]:
    return 0, record


class _WriteRecords(beam.DoFn):
    def __init__(self, path: str) -> None:
        self._path = path

    def process(self, group: tuple[int, Iterable[bytes]]) -> None:
        records = sorted({record for record in group[1] if record})
        storage.write_bytes(self._path, b"[" + b",\n".join(records) + b"]\n")


def run_pipeline(
    output: str,
    directory: str,
    build: Callable[[beam.Pipeline], beam.PCollection[bytes]],
    options: beam.options.pipeline_options.PipelineOptions,
) -> list[dict[str, Any]]:
    """Runs the graph that `build` makes and returns its records, whatever the engine.

    Raises StageError, with the fault of the worker or the engine as its cause.
    """
    path = storage.join(output, directory, RECORDS)
    try:
        with beam.Pipeline(runner=local_runner(options), options=options) as pipeline:
            build(pipeline) | "CollectRecords" >> CollectRecords(path)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        if os.strerror(errno.ENOSPC) in reason:
            raise StageError(
                f"{directory}: no space left on the device of {output} or of the temporary files in "
                f"{tempfile.gettempdir()}; what is finished stays, and the same command goes on (-v shows where)"
            ) from error
        raise StageError(f"{directory}: the pipeline failed: {reason} (-v shows where)") from error
    records = storage.read_json(path)
    if not storage.is_remote(path):
        os.unlink(path)
    return records


def map_units(
    output: str,
    directory: str,
    units: Sequence[bytes],
    worker: UnitWorker,
    options: beam.options.pipeline_options.PipelineOptions,
) -> list[dict[str, Any]]:
    def build(pipeline: beam.Pipeline) -> beam.PCollection[bytes]:
        listed = pipeline | "Units" >> beam.Create(list(units), reshuffle=False).with_output_types(bytes)
        return listed | "MapUnits" >> MapUnits(worker)

    return run_pipeline(output, directory, build, options)


@dataclasses.dataclass
class Timings:
    """Wall time and peak memory a stage, beside the manifests and never hashed."""

    path: str

    @contextlib.contextmanager
    def measure(self, stage: str, worked: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """worked: asked at the end; a stage that found everything done keeps the time of when it worked."""
        started = time.monotonic()
        yield
        if not worked():
            return
        peak_kib = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        known = storage.read_json(self.path) if storage.exists(self.path) else {}
        known[stage] = {
            "wall_seconds": round(time.monotonic() - started, 2),
            "peak_rss_bytes": peak_kib * 1024,
        }
        storage.write_bytes(self.path, storage.canonical_json(known))


@contextlib.contextmanager
def progress(label: str, total: int, count: Callable[[], int]) -> Iterator[None]:
    """A bar on stderr that asks `count` twice a second; silent where stderr is not a terminal.

    Counting finished files works on every engine, also where the runner reports nothing before the end.
    """
    if not sys.stderr.isatty():
        yield
        return
    from tqdm import tqdm

    stop = threading.Event()
    with tqdm(total=total, desc=label, unit="shard", file=sys.stderr, leave=False) as bar:

        def watch() -> None:
            while not stop.wait(0.5):
                bar.update(count() - bar.n)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
