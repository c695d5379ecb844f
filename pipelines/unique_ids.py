"""An id that stands twice in the whole input: the first document keeps it, the later ones are rejected.

Ids made from locators are distinct; ids that the input gives (JSONL, Parquet) may repeat from file to file, which
no worker that reads one file can see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from pipelines import storage
from pipelines.documents import REJECTED_SCHEMA
from pipelines.ingest import DOCUMENTS, REJECTED, rejected_batch
from pipelines.manifest import Books
from pipelines.shards import ShardWriter, read_batches, write_shard

DUPLICATE_ID = "duplicate_id"


def repeated(ids: Sequence[Sequence[str]]) -> dict[int, list[int]]:
    """shard -> rows (ascending) whose id stood before, in an earlier shard or row.  ids: of each shard in order.

    Memory: 16 bytes an id; ids of equal 64-bit hashes are compared as strings.
    """
    hashes = np.fromiter((xxhash.xxh3_64_intdigest(i.encode()) for shard in ids for i in shard), dtype=np.uint64)
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    starts = np.cumsum([0, *(len(shard) for shard in ids)])

    def place(position: int) -> tuple[int, int]:
        shard = int(np.searchsorted(starts, position, side="right")) - 1
        return shard, position - int(starts[shard])

    seen: dict[str, None] = {}
    found: dict[int, list[int]] = {}
    for position in sorted(set(order[same].tolist()) | set(order[same + 1].tolist())):
        shard, row = place(position)
        identity = ids[shard][row]
        if identity in seen:
            found.setdefault(shard, []).append(row)
        seen[identity] = None
    return found


def reject_repeated_ids(output: str, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The records of ingest after the later bearers of an id have moved from documents/ to rejected/."""
    by_path = {record["path"]: dict(record) for record in records}
    paths = sorted(path for path in by_path if path.startswith(DOCUMENTS + "/"))
    ids = [_ids(storage.join(output, path)) for path in paths]
    for shard, rows in sorted(repeated(ids).items()):
        path = paths[shard]
        source = by_path[path]["source"]
        keep = np.ones(len(ids[shard]), bool)
        keep[rows] = False
        _keep_rows(storage.join(output, path), keep, by_path[path], output)
        books = Books.from_json(by_path[path]["books"])
        moved = Books(0, -len(rows), {}, {DUPLICATE_ID: len(rows)})
        by_path[path]["books"] = (books + moved).to_json()
        refused = path.replace(DOCUMENTS, REJECTED, 1)
        before = list(read_batches(storage.join(output, refused))) if refused in by_path else []
        message = "another document of the input came before with this id"
        more = rejected_batch([(ids[shard][r], source, "ingest", DUPLICATE_ID, message) for r in rows])
        written = write_shard(storage.join(output, refused), REJECTED_SCHEMA, [*before, more])
        by_path[refused] = written.record(output)
    return list(by_path.values())


def _ids(path: str) -> list[str]:
    return [i for batch in read_batches(path, ["doc_id"]) for i in batch.column("doc_id").to_pylist()]


def _keep_rows(path: str, keep: npt.NDArray[np.bool_], record: dict[str, Any], output: str) -> None:
    batches = list(_filtered(path, keep))
    schema = batches[0].schema
    with ShardWriter(path, schema) as writer:
        for batch in batches:
            writer.write(batch)
    record.update(writer.written.record(output))


def _filtered(path: str, keep: npt.NDArray[np.bool_]) -> list[pa.RecordBatch]:
    """The kept rows of one shard; read whole, since it is written again under the same name."""
    kept, at = [], 0
    for batch in read_batches(path):
        kept.append(batch.filter(pa.array(keep[at : at + batch.num_rows])))
        at += batch.num_rows
    return kept
