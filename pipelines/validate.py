"""Validate: do the files still have the hashes that the manifests name, and do the books of all stages hold?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines import manifest as manifests
from pipelines import shards, storage
from pipelines.manifest import Books, Manifest


@dataclasses.dataclass(frozen=True, slots=True)
class Validation:
    stages: int
    shards: int
    bytes: int
    manifest_sha256: str
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def validate(output: str) -> Validation:
    """Reads every shard that a manifest under `output` names.  Memory: one block of 1 MB.

    Raises FileNotFoundError where there is no manifest at all.
    """
    path = storage.join(output, manifests.MANIFEST)
    if not storage.exists(path):
        raise FileNotFoundError(f"{path}: no finished run lies here")
    whole = storage.read_json(path)
    stages = {name: Manifest.from_json(value) for name, value in whole["stages"].items()}
    problems: list[str] = []
    seen = total_bytes = 0
    for name, stage in sorted(stages.items()):
        problems += _stage_problems(output, name, stage)
        for shard in stage.shards:
            seen += 1
            total_bytes += shard["bytes"]
            problems += _shard_problems(output, shard)
    problems += _chain_problems(stages)
    return Validation(len(stages), seen, total_bytes, manifests.digest(whole), tuple(problems))


def _stage_problems(output: str, name: str, stage: Manifest) -> Iterator[str]:
    if not stage.books.balanced:
        yield f"stage {name}: books do not balance: {stage.books}"
    own = manifests.stage_manifest(output, stage_directory(name))
    found = manifests.load(own)
    if found is None:
        yield f"{own}: missing"
    elif found.sha256 != stage.sha256:
        yield f"{own}: differs from what {storage.join(output, manifests.MANIFEST)} says of the stage"


def stage_directory(stage: str) -> str:
    """The folder below the output that holds the stage's manifest."""
    kind, _, rest = stage.partition("/")
    match kind:
        case "ingest":
            return "documents"
        case "annotate":
            return f"annotations/{rest}"
        case "dedup" | "split":
            return f"annotations/{kind}"
        case "curate":
            return f"corpora/{rest}"
        case "shape" | "pack":  # without a variant where the verb has run alone
            folder = {"shape": "shaped", "pack": "packed"}[kind]
            return f"{folder}/{rest}" if rest else folder
    raise ValueError(f"unknown stage {stage!r}")


def _shard_problems(output: str, shard: Mapping[str, Any]) -> Iterator[str]:
    path = storage.join(output, shard["path"])
    if not storage.exists(path):
        yield f"{path}: missing"
        return
    size = storage.size(path)
    if size != shard["bytes"]:
        yield f"{path}: {size:,} bytes, the manifest says {shard['bytes']:,}"
    elif (sha256 := storage.file_sha256(path)) != shard["sha256"]:
        yield f"{path}: sha256 {sha256}, the manifest says {shard['sha256']}"
    elif path.endswith(".parquet") and (rows := shards.row_count(path)) != shard["rows"]:
        yield f"{path}: {rows:,} rows, the manifest says {shard['rows']:,}"


def _rows_below(stage: Manifest, folder: str) -> int:
    return sum(s["rows"] for s in stage.shards if s["path"].startswith(folder))


def _chain_problems(stages: dict[str, Manifest]) -> Iterator[str]:
    """What one stage kept is what the next one read, and the shards hold as many rows as the books say."""
    if "ingest" not in stages:
        return
    ingest = stages["ingest"]
    documents = ingest.books.kept
    expected = [
        ("ingest", "documents/", documents),
        ("ingest", "rejected/", sum(ingest.books.rejected.values())),
    ]
    for name, stage in stages.items():
        if name == "ingest":
            continue
        if name.partition("/")[0] in ("shape", "pack"):
            yield from _last_problems(name, stages)
            continue
        if stage.books.read != documents:
            yield f"stage {name}: read {stage.books.read:,} documents, ingest kept {documents:,}"
        if name.startswith("curate/"):
            folder = stage_directory(name)
            expected.append((name, f"{folder}/data/", stage.books.kept))
            expected.append((name, f"{folder}/waterfall.parquet", documents))
        elif name != "dedup":
            expected.append((name, stage_directory(name) + "/part-", documents))
        else:
            expected.append((name, "annotations/dedup/part-", documents))
            expected.append((name, "annotations/dedup/evidence", sum(stage.books.dropped.values())))
    for name, folder, rows in expected:
        if (found := _rows_below(stages[name], folder)) != rows:
            yield f"stage {name}: {found:,} rows in {folder}, the books say {rows:,}"


def _last_problems(name: str, stages: Mapping[str, Manifest]) -> Iterator[str]:
    """What stands behind a variant reads the rows of the stage that its manifest names, and loses none."""
    stage = stages[name]
    folder = stage_directory(name)
    for before in stage.inputs:
        if before in stages:
            labels = ("train-",) if name.startswith("pack") else ("train-", "held_out-")
            data = stage_directory(before) + ("/data/" if before != "ingest" else "/part-")
            ends = labels if before != "ingest" else ("",)
            rows = sum(_rows_below(stages[before], data + end) for end in ends)
            if rows != stage.books.read:
                yield f"stage {name}: read {stage.books.read:,} documents, {before} has {rows:,}"
    if name.startswith("pack"):
        return
    for part, rows in ((f"{folder}/data/", stage.books.kept), (f"{folder}/members.parquet", stage.books.read)):
        if (found := _rows_below(stage, part)) != rows:
            yield f"stage {name}: {found:,} rows in {part}, the books say {rows:,}"


_ORDER = ("ingest", "annotate", "dedup", "split", "curate", "shape", "pack")


def books_table(output: str) -> list[tuple[str, Books]]:
    """(stage, books) in the order in which stages run."""
    whole = storage.read_json(storage.join(output, manifests.MANIFEST))
    stages = sorted(whole["stages"], key=lambda stage: (_ORDER.index(stage.partition("/")[0]), stage))
    return [(stage, Books.from_json(whole["stages"][stage]["books"])) for stage in stages]
