"""What a search for repeated substrings is asked to do, and what it reads and writes."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dedup.substring_anchors import MAX_MIN_BYTES, MAX_PART_BYTES, Bytes, Offsets
from dedup.substring_spans import KEEP, Keep
from dedup.substring_windows import Part
from pipelines import storage
from pipelines.corpus_search import CorpusSearch, Texts
from pipelines.exchange import Mode, partition_count
from pipelines.ingest import part as shard_name
from quality_signals.edits import edits_field

ANNOTATION = "substrings@1"
RULE = "repeated_substring"
# 50 tokens (Lee et al. 2022, arXiv:2107.06499, ExactSubstr) of two bytes, as google-research/
# deduplicate-text-datasets stores the tokens of GPT-2; usual for plain text, too.
MIN_BYTES = 100
PART_BYTES = 256 << 20
# Classes of a partition: 12 MB; their windows are 25 MB as a rule and 90 MB where every byte is near a copy.
_PARTITION_CLASSES = 300_000
_HEX_ID = re.compile("[0-9a-f]{32}")

_SPANS = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32())]))
SUBSTRINGS_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field(
            "repeated",
            _SPANS,
            metadata={"description": "occurs elsewhere too", "unit": "code points"},
        ),
        pa.field("repeated_bytes", pa.int64(), metadata={"description": "of all that is repeated, before any cut"}),
        pa.field("removed_characters", pa.int64(), metadata={"description": "that the edits remove"}),
        edits_field("what is repeated and not to stay, in code points of the text"),
    ]
)


@dataclasses.dataclass(frozen=True)
class FindSubstrings(CorpusSearch):
    """A search over documents/ below `output`; writes annotations/<name>/ there.

    min_bytes   how long a substring must be, in bytes of UTF-8
    keep        first: of every repeated substring the occurrence with the smallest (order of doc_id, place) stays;
                none: all occurrences go
    at_lines    only whole lines go (a line has its newline), so that what stays can be read
    part_bytes  of text that a worker searches at once; changes no byte of the result

    Memory of a worker, the largest of: `dedup.substring_windows.part_memory` of a part (6.9 bytes a byte of text at
    min_bytes = 100, so 1.9 GB at the default part_bytes); a larger document is a part alone.  One partition: 12 MB of
    classes, sorted, or their windows.  To either comes what was found out about the shard: 5 bytes a class that is
    not alone, and 17 and 1 a window where passages begin, end or differ.  Anchors with one k-gram meet in one
    partition: 8 bytes a window of every different context that a k-gram stands in.
    """

    output: str
    shards: int
    min_bytes: int = MIN_BYTES
    keep: Keep = "first"
    at_lines: bool = False
    part_bytes: int = PART_BYTES
    exchange: Mode | None = None
    workers: int = 1
    name: str = ANNOTATION
    after: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 2 <= self.min_bytes <= MAX_MIN_BYTES:
            raise ValueError(f"min_bytes is {self.min_bytes}, allowed are 2 to {MAX_MIN_BYTES:,}")
        if self.keep not in KEEP:
            raise ValueError(f"keep is {self.keep!r}, allowed are {', '.join(KEEP)}")
        if not 1 <= self.part_bytes <= MAX_PART_BYTES:
            raise ValueError(f"part_bytes is {self.part_bytes:,}, allowed are 1 to {MAX_PART_BYTES:,}")
        self.check_common()

    @property
    def folder(self) -> str:
        return storage.join(self.output, "annotations", self.name)

    def annotation(self, shard: int) -> str:
        return storage.join(self.folder, shard_name(shard))

    def documents(self, shard: int) -> Iterator[Texts]:
        """The documents of a shard; of one that takes no part the text is empty."""
        for texts in self.texts(shard, ["doc_id", "text"]):
            batch = texts.batch
            if not texts.takes_part.all():
                left = pc.if_else(pa.array(texts.takes_part), batch.column("text"), pa.scalar("", pa.large_string()))
                batch = batch.set_column(batch.schema.get_field_index("text"), "text", left)
            yield dataclasses.replace(texts, batch=batch)

    def partitions(self) -> int:
        """Of classes and windows, from the size of the texts as the footers of the shards tell it."""
        text_bytes = sum(_text_bytes(self.document(shard)) for shard in range(self.shards))
        return partition_count(text_bytes * 3 // self.min_bytes, self.workers, _PARTITION_CLASSES)


def _text_bytes(path: str) -> int:
    """Uncompressed bytes of the text of a shard.  Raises ValueError for a shard without text."""
    with storage.open_read(path) as file:
        footer = pq.read_metadata(file)
    total = 0
    for group in range(footer.num_row_groups):
        row_group = footer.row_group(group)
        columns = [row_group.column(i) for i in range(row_group.num_columns)]
        sizes = {column.path_in_schema: column.total_uncompressed_size for column in columns}
        if "text" not in sizes:
            raise ValueError(f"{path} has no column text")
        total += sizes["text"]
    return total


def order_of(doc_id: str) -> int:
    """Where a document stands in the order of occurrences: by its id where that is a hash, else by the id's hash."""
    if _HEX_ID.fullmatch(doc_id):
        return int(doc_id[:16], 16)
    return int.from_bytes(hashlib.blake2b(doc_id.encode(), digest_size=8).digest(), "big")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """Successive documents of a shard: ids, and the bytes of text i at utf8[offsets[i]:offsets[i + 1]].

    edits: those that came before, where any did.
    """

    doc_ids: pa.Array
    utf8: Bytes
    offsets: Offsets
    edits: pa.Array | None = None

    def part(self, min_bytes: int, first_address: int) -> Part:
        """Raises ValueError, naming the document, for one that is too large."""
        if len(self.utf8) > MAX_PART_BYTES:
            raise ValueError(f"document {self.doc_ids[0]} has {len(self.utf8):,} bytes, allowed are {MAX_PART_BYTES:,}")
        ranks = np.fromiter((order_of(name) for name in self.doc_ids.to_pylist()), np.uint64, len(self.doc_ids))
        return Part(self.utf8, self.offsets, ranks, min_bytes, first_address)


def read_slices(documents: Iterable[Texts], part_bytes: int) -> Iterator[Slice]:
    """Documents in slices of at most so many bytes of text, or of one document."""
    ids: list[pa.Array] = []
    edits: list[pa.Array] = []
    texts: list[Bytes] = []
    lengths: list[npt.NDArray[np.int64]] = []
    held = 0
    for each in documents:
        batch, start = each.batch, 0
        while start < batch.num_rows:
            utf8, ends = _utf8(batch.column("text"))
            room = int(np.searchsorted(ends, ends[start] + part_bytes - held, side="right")) - 1
            stop = max(room, start + (not held and not ids))
            if stop > start:
                ids.append(batch.column("doc_id").slice(start, stop - start))
                if each.edits is not None:
                    edits.append(each.edits.slice(start, stop - start))
                texts.append(utf8[ends[start] : ends[stop]])
                lengths.append(np.diff(ends[start : stop + 1]))
                held += int(ends[stop] - ends[start])
                start = stop
            if start < batch.num_rows:
                yield _joined(ids, texts, lengths, edits)
                ids, texts, lengths, edits, held = [], [], [], [], 0
    if ids:
        yield _joined(ids, texts, lengths, edits)


def _utf8(column: pa.Array) -> tuple[Bytes, Offsets]:
    """Bytes of a large_string array and the [rows + 1] places where its rows begin and end in them."""
    column = column.cast(pa.large_string())
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    return (np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)), ends


def _joined(
    ids: list[pa.Array], texts: list[Bytes], lengths: list[npt.NDArray[np.int64]], edits: list[pa.Array]
) -> Slice:
    offsets = np.concatenate([np.zeros(1, np.int64), *lengths]).cumsum()
    utf8 = np.concatenate(texts)
    texts.clear()  # so that the text is not in memory twice while it is searched
    return Slice(pa.concat_arrays(ids), utf8, offsets, pa.concat_arrays(edits) if edits else None)
