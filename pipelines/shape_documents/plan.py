"""What is shaped, and how: which shapes documents of a source or kind take, and where all of it is read and written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipelines import storage
from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.errors import UsageError
from pipelines.exchange import Exchange, Mode, check_mode
from pipelines.packing.plan import EVERY, check_columns, shards_for
from pipelines.shapes import SHAPES, Shape

# A group with more text is cut in pieces.
MAX_GROUP_BYTES = 32 << 20
MEMBERS = "members.parquet"
MEMBER_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False, metadata={"description": "of the document that was read"}),
        pa.field("shaped_id", pa.string(), metadata={"description": "of the document that it is in, else null"}),
        pa.field("place", pa.int32(), nullable=False, metadata={"description": "its place among the members, from 0"}),
        pa.field("shape", pa.string(), metadata={"description": "null: written as it was"}),
        pa.field(
            "fate",
            pa.string(),
            nullable=False,
            metadata={"description": "kept: the first member; merged_into: the others; else why it was dropped"},
        ),
    ]
)


def known_shapes() -> Mapping[str, Shape]:
    return SHAPES


def shape_of(name: str) -> Shape:
    """By its name; without a version the first one is meant.  Raises UsageError with what there is."""
    from pipelines.recipe_errors import nearest

    known = known_shapes()
    found = [each for each in known if each == name or each.partition("@")[0] == name]
    if found:
        return known[found[0]]
    near = nearest(name, known)
    hint = f"; did you mean {near!r}?" if near else ""
    raise UsageError(f"unknown shape {name!r}{hint}; known: {', '.join(sorted(known))}")


@dataclasses.dataclass(frozen=True, slots=True)
class ShapeInput:
    """Shards that are shaped for themselves: what is held out never meets what is trained on.

    label   train or held_out; the written shards begin with it
    files   Parquet shards with the columns of documents
    rows    documents of each file
    """

    label: str
    files: tuple[str, ...]
    rows: tuple[int, ...]

    @property
    def shards(self) -> int:
        return shards_for(sum(self.rows))


@dataclasses.dataclass(frozen=True)
class ShapeDocuments:
    """Everything that decides the shaped documents.

    output   paths in records are relative to it
    folder   below it data/<label>-*.parquet and members.parquet are written
    shapes   source or kind (`*`: any other) -> names of shapes; the first of them that has a key for a document, or
             else the last, takes it; a document that nothing is said of stays as it is
    """

    output: str
    folder: str
    inputs: tuple[ShapeInput, ...]
    shapes: tuple[tuple[str, tuple[str, ...]], ...]
    seed: int = 0
    max_group_bytes: int = MAX_GROUP_BYTES
    exchange: Mode | None = None

    def __post_init__(self) -> None:
        if self.max_group_bytes < 1:
            raise ValueError(f"max_group_bytes is {self.max_group_bytes}, allowed are 1 and more")
        check_mode(self.exchange)

    @property
    def through(self) -> Exchange:
        return Exchange.chosen(self.exchange, self.output, self.folder)

    @property
    def files(self) -> list[tuple[int, str]]:
        """(number of the input, file) of all inputs."""
        return [(number, file) for number, each in enumerate(self.inputs) for file in each.files]

    @property
    def partitions(self) -> list[tuple[int, int]]:
        """(number of the input, number of its written shard) of each partition."""
        return [(number, shard) for number, each in enumerate(self.inputs) for shard in range(each.shards)]

    def first_partition(self, number: int) -> int:
        """Of an input."""
        return sum(each.shards for each in self.inputs[:number])

    def shard(self, partition: int) -> str:
        number, shard = self.partitions[partition]
        each = self.inputs[number]
        return storage.join(self.folder, "data", f"{each.label}-{shard:05d}-of-{each.shards:05d}.parquet")

    def members_part(self, partition: int) -> str:
        return storage.join(self.folder, f"{MEMBERS}.parts", f"part-{partition:05d}.parquet")

    def check(self) -> None:
        """Raises UsageError where a shape is not known or lacks what it needs, or a file has other columns; before any
        work."""
        for by, names in self.shapes:
            for name in names:
                needs = getattr(shape_of(name), "check", None)
                if needs is not None:
                    try:
                        needs()
                    except ImportError as error:
                        raise UsageError(f"shape of {by}: {error}") from None
        for each in self.inputs:
            for path in each.files[:1]:
                check_columns(path, DOCUMENT_SCHEMA.names)

    def names_for(self, source: str, kind: str) -> tuple[str, tuple[str, ...]]:
        """(the name in `shapes`, the shapes) for a document; ("", ()) where nothing is said of it."""
        known = dict(self.shapes)
        return next(((name, known[name]) for name in (source, kind, EVERY) if name in known), ("", ()))

    def describe(self) -> dict[str, Any]:
        """Options of the stage: all that decides the bytes, but not where they lie."""
        return {
            "shapes": {name: [shape_of(each).name for each in names] for name, names in self.shapes},
            "seed": self.seed,
            "max_group_bytes": self.max_group_bytes,
        }
