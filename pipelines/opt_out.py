"""Opt-out in a corpus: what a document's going leaves behind, and which units a changed list touches.

A wish holds for every variant and for the held-out set.  It leaves a tombstone, which names neither the document nor
the person: who has the list can tell whether a wish was carried out, and nobody else learns whose it was.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from licenses import OptOut
from licenses.opt_out import COLUMNS, Entry
from pipelines import storage
from pipelines.ingest import document_shard
from pipelines.shards import read_batches

RULE = "opt_out"
TOMBSTONES = "tombstones.parquet"
TOMBSTONE_SCHEMA = pa.schema(
    [
        pa.field("id_sha256", pa.string(), nullable=False, metadata={"description": "of the document's id"}),
        pa.field("rule", pa.string(), nullable=False, metadata={"description": "opt_out/ and the field of the entry"}),
        pa.field("date", pa.string(), nullable=False, metadata={"description": "of the wish, YYYY-MM-DD"}),
        pa.field("entry_sha256", pa.string(), nullable=False, metadata={"description": "of field:value of the entry"}),
    ]
)
Tombstone = tuple[str, str, str]  # rule, date, entry_sha256


def id_sha256(doc_id: str) -> str:
    return hashlib.sha256(doc_id.encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class OptedOut:
    """Which rows of a batch are opted out: [rows] int32 places in the list's entries, null where none matches."""

    opt_out: OptOut
    found: pa.Array

    @classmethod
    def of(cls, opt_out: OptOut | None, batch: pa.RecordBatch) -> OptedOut:
        if opt_out is None:
            return cls(OptOut(()), pa.nulls(batch.num_rows, pa.int32()))
        return cls(opt_out, opt_out.match_entries(batch))

    @property
    def rows(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return pc.is_valid(self.found).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]

    def rule(self, row: int) -> str:
        return self._tombstone(row)[0]

    def _tombstone(self, row: int) -> Tombstone:
        entry = self.opt_out.entries[self.found[row].as_py()]
        return f"{RULE}/{entry.field}", entry.date.isoformat(), entry.sha256

    def tombstones(self, doc_ids: pa.Array) -> dict[str, Tombstone]:
        """id_sha256 -> what its tombstone says, in the order of the rows."""
        return {id_sha256(doc_ids[int(row)].as_py()): self._tombstone(int(row)) for row in np.flatnonzero(self.rows)}


def tombstone_batch(tombstones: Mapping[str, Tombstone]) -> pa.RecordBatch:
    rows = [(key, *rest) for key, rest in tombstones.items()]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(TOMBSTONE_SCHEMA)
    return pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], schema=TOMBSTONE_SCHEMA)


def read_tombstones(path: str) -> dict[str, Tombstone]:
    """Raises FileNotFoundError."""
    if not storage.exists(path):
        raise FileNotFoundError(path)
    found: dict[str, Tombstone] = {}
    for batch in read_batches(path):
        for row in batch.to_pylist():
            found[row["id_sha256"]] = (row["rule"], row["date"], row["entry_sha256"])
    return found


def touched_shards(
    output: str, shards: Sequence[int], opt_out: OptOut | None, before: Mapping[str, Tombstone]
) -> set[int]:
    """The document shards that hold a document of which the list says something else than its tombstone.

    Reads the columns of documents that decide, never text.  Ids are hashed where a wish may have been taken back.
    """
    touched: set[int] = set()
    now: dict[str, Tombstone] = {}
    for index in shards:
        for batch in _deciding_columns(output, index):
            mine = OptedOut.of(opt_out, batch).tombstones(batch.column("doc_id"))
            now.update(mine)
            if any(before.get(key) != told for key, told in mine.items()):
                touched.add(index)
    taken_back = before.keys() - now.keys()
    if taken_back:
        for index in shards:
            ids = (each for batch in _deciding_columns(output, index) for each in batch.column("doc_id").to_pylist())
            if any(id_sha256(each) in taken_back for each in ids):
                touched.add(index)
    return touched


def without_document(output: str, shards: Sequence[int], opt_out: OptOut) -> tuple[Entry, ...]:
    """The entries that name no document of the run; reads what `touched_shards` reads."""
    return opt_out.unmatched(batch for index in shards for batch in _deciding_columns(output, index))


def _deciding_columns(output: str, index: int) -> Iterable[pa.RecordBatch]:
    return read_batches(document_shard(output, index), list(COLUMNS))


# -- corpora without their run -----------------------------------------------------------------------------------

RUN_PARTS = ("recipe.yaml", "manifest.json", "documents", "annotations")
"""What a corpus was made from, in the output folder of its run.  Shards are made anew from these and never cut from
themselves: dropping rows alone would leave other shards, books and cards than a run with the list makes."""


def missing_parts(output: str) -> list[str]:
    """Those of RUN_PARTS that a folder lacks, folders with a slash behind them.

    annotations/ is missed only where the manifest has shards there.  On remote storage only files are looked for.
    """
    missing = []
    for name in RUN_PARTS:
        folder = name in ("documents", "annotations")
        path = storage.join(output, name)
        present = storage.exists(path) if storage.is_remote(output) else os.path.exists(path)
        if not present and not (folder and storage.is_remote(output)):
            missing.append(f"{name}/" if folder else name)
    if missing == ["annotations/"] and not _wrote(output, "annotations/"):
        return []
    return missing


def _wrote(output: str, prefix: str) -> bool:
    """Whether a finished stage of the run wrote shards below a folder."""
    stages = storage.read_json(storage.join(output, "manifest.json")).get("stages", {})
    return any(shard["path"].startswith(prefix) for stage in stages.values() for shard in stage.get("shards", ()))


def corpora_below(folder: str) -> dict[str, list[str]]:
    """Data shards by corpus: the folder itself, if it is one variant's, and those in its corpora/; only local."""
    if storage.is_remote(folder):
        return {}
    places = [folder, *sorted(glob.glob(os.path.join(glob.escape(folder), "corpora", "*")))]
    found = {place: sorted(glob.glob(os.path.join(glob.escape(place), "data", "*.parquet"))) for place in places}
    return {place: shards for place, shards in found.items() if shards}


def named_in(shards: Sequence[str], opt_out: OptOut) -> dict[str, int]:
    """Shard -> how many of its documents the list names, of shards that hold any; reads the columns that decide."""
    found: dict[str, int] = {}
    for shard in shards:
        count = sum(int(OptedOut.of(opt_out, batch).rows.sum()) for batch in read_batches(shard, list(COLUMNS)))
        if count:
            found[shard] = count
    return found


def without_run(output: str, missing: Sequence[str], load: Callable[[], OptOut]) -> str:
    """What to say of a folder whose run is not there: what is missing, and what the list (`load`) names in its
    corpora."""
    lines = [
        f"{output}: `optout apply` takes the output folder of a finished run and makes the shards that are hit anew; "
        f"missing there: {', '.join(missing)}"
    ]
    corpora = corpora_below(output)
    opt_out = load() if corpora else OptOut(())
    for place, shards in corpora.items():
        hit = named_in(shards, opt_out)
        total = sum(hit.values())
        if hit:
            names = ", ".join(f"{os.path.basename(shard)} ({count:,})" for shard, count in hit.items())
            lines.append(f"{place}: the lists name {total:,} document{'s' if total > 1 else ''}, in {names}")
        else:
            lines.append(f"{place}: the lists name none of its documents")
    if corpora:
        lines.append("Nothing was changed. Apply the lists where the run is, then copy the corpus again.")
    return "\n".join(lines)
