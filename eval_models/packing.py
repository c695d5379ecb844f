"""Documents packed into samples of a fixed number of tokens, and packed shards read back.

A packed shard is a Parquet file with one row a sample:

    tokens   fixed_size_list<uint16 | uint32>[length]   pieces of documents back to back, then padding
    lengths  list<int32>    tokens of each piece; their sum is at most `length`, what is left is padding
    doc_ids  list<string>   of the document of each piece
    starts   list<int64>    where each piece begins in the tokens of its document
    epochs   list<int32>    which appearance of its document each piece belongs to: 0, 1, ...
    sources  list<string>   of the document of each piece

The tokens of a document end with the end-of-document token.  The file's metadata (key `gristmill`) says in JSON which
tokeniser made them, the end-of-document token, the padding token, `length` and the strategy.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from eval_models.data_order import CorpusError, mix64

STRATEGIES = ("concatenate", "best_fit")
METADATA = b"gristmill"
# Row groups whose samples are held: two, so that readers of neighbouring samples do not read a group twice.
_CACHED_GROUPS = 2


@dataclasses.dataclass(frozen=True)
class Pieces:
    """Parts of documents in the order in which they lie in the samples, as parallel arrays."""

    sample: npt.NDArray[np.int64]  # ascending from 0, without a gap
    document: npt.NDArray[np.int64]  # index into the lengths that were packed
    start: npt.NDArray[np.int64]  # first token, of the document's tokens
    size: npt.NDArray[np.int64]  # tokens, at least 1

    @property
    def samples(self) -> int:
        return int(self.sample[-1]) + 1 if len(self.sample) else 0

    def ordered(self, keys: npt.NDArray[np.uint64]) -> Pieces:
        """The samples in the order of a hash of what they begin with; keys: uint64 [documents].

        Without it the parts of a long document are neighbours, and long documents of a best fit come first.
        """
        if not len(self.sample):
            return self
        firsts = np.flatnonzero(np.diff(self.sample, prepend=-1))
        hashed = mix64(keys[self.document[firsts]] ^ mix64(self.start[firsts].astype(np.uint64)))
        order = np.lexsort((self.start[firsts], self.document[firsts], hashed))
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        new = rank[self.sample]
        index = np.argsort(new, kind="stable")
        return Pieces(new[index], self.document[index], self.start[index], self.size[index])


def _checked(lengths: npt.ArrayLike, length: int) -> npt.NDArray[np.int64]:
    found = np.asarray(lengths, np.int64)
    if found.ndim != 1 or (found < 0).any():
        raise ValueError("lengths: needed is one row of numbers of tokens, none below 0")
    if length < 1:
        raise ValueError(f"length is {length}; a sample has at least one token")
    return found


def concatenate(lengths: npt.ArrayLike, length: int) -> Pieces:
    """The documents end to end, cut every `length` tokens; only the last sample may be shorter.

    lengths: tokens of each document.  An empty document is in no sample.
    """
    sizes = _checked(lengths, length)
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    stops = np.union1d(ends[sizes > 0], np.arange(length, total, length))
    begins = np.concatenate([np.zeros(min(1, len(stops)), np.int64), stops[:-1]])
    document = np.searchsorted(ends, begins, side="right")
    return Pieces(begins // length, document, begins - (ends - sizes)[document], stops - begins)


def best_fit(lengths: npt.ArrayLike, length: int) -> Pieces:
    """No document is cut that fits into a sample: best-fit-decreasing bin packing of documents.

    A longer document first gives its whole samples; what is left of it is packed as the others are: in descending
    order of tokens, each into the sample with the least room that is enough (Ding et al. 2024, "Fewer Truncations
    Improve Language Modeling", arXiv:2404.10830, section 3).  Ties go by the documents' order.  Inside a sample pieces
    lie in the order of the documents.

    lengths: tokens of each document.  Time: O(documents * length / 64) word operations at worst.
    """
    sizes = _checked(lengths, length)
    whole = sizes // length
    rest = sizes % length
    owner = np.repeat(np.arange(len(sizes)), whole)
    first = np.cumsum(whole) - whole
    start = (np.arange(len(owner)) - first[owner]) * length

    left = np.flatnonzero(rest)
    left = left[np.argsort(-rest[left], kind="stable")]
    placed = _decreasing(rest[left].tolist(), length)
    sample = np.concatenate([np.arange(len(owner)), np.array(placed, np.int64) + len(owner)])
    document = np.concatenate([owner, left])
    begins = np.concatenate([start, whole[left] * length])
    size = np.concatenate([np.full(len(owner), length, np.int64), rest[left]])
    order = np.lexsort((begins, document, sample))
    return Pieces(sample[order], document[order], begins[order], size[order])


def _decreasing(sizes: Sequence[int], length: int) -> list[int]:
    """The bin of each size, sizes in descending order, none above `length`; among equal rooms the latest bin.

    Bit r of `rooms` says that a bin with room r is there: the least room that is enough is its lowest set bit from
    the size on.
    """
    placed: list[int] = []
    bins: dict[int, list[int]] = {}
    rooms = 0
    count = 0
    for size in sizes:
        fitting = rooms >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            there = bins[room]
            number = there.pop()
            if not there:
                rooms ^= 1 << room
        else:
            room, number = length, count
            count += 1
        placed.append(number)
        room -= size
        if room:
            there = bins.setdefault(room, [])
            if not there:
                rooms |= 1 << room
            there.append(number)
    return placed


def pack(lengths: npt.ArrayLike, length: int, strategy: str) -> Pieces:
    """`concatenate` or `best_fit` by name.  Raises ValueError for another one."""
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy is {strategy!r}, allowed are {', '.join(STRATEGIES)}")
    return concatenate(lengths, length) if strategy == "concatenate" else best_fit(lengths, length)


# -- reading ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Sample:
    """One row of a packed shard."""

    tokens: npt.NDArray[Any]  # [length], uint16 or uint32
    lengths: npt.NDArray[np.int32]  # [pieces]
    doc_ids: list[str]
    starts: npt.NDArray[np.int64]  # [pieces]
    epochs: npt.NDArray[np.int32]  # [pieces]
    sources: list[str]

    @property
    def bounds(self) -> npt.NDArray[np.int32]:
        """[pieces + 1] where pieces begin, and where the last ends: `cu_seqlens` of variable-length attention."""
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int32)

    @property
    def segments(self) -> npt.NDArray[np.int32]:
        """[length] which piece each token belongs to; -1 for padding."""
        found = np.full(len(self.tokens), -1, np.int32)
        found[: int(self.lengths.sum())] = np.repeat(np.arange(len(self.lengths)), self.lengths)
        return found

    @property
    def positions(self) -> npt.NDArray[np.int32]:
        """[length] places counted from the beginning of each piece; 0 for padding."""
        begins = np.repeat(self.bounds[:-1], self.lengths)
        found = np.zeros(len(self.tokens), np.int32)
        found[: len(begins)] = np.arange(len(begins)) - begins
        return found

    @property
    def pieces(self) -> Iterator[tuple[str, int, int, npt.NDArray[Any]]]:
        """(doc_id, epoch, start, tokens) of each piece."""
        for i, (low, high) in enumerate(zip(self.bounds[:-1], self.bounds[1:], strict=True)):
            yield self.doc_ids[i], int(self.epochs[i]), int(self.starts[i]), self.tokens[low:high]


def packed_files(path: Path | str) -> list[Path]:
    """The packed shards of a folder (or of its folder `data`), in order of name; a file is one.  Raises CorpusError."""
    folder = Path(path)
    if folder.is_file():
        return [folder]
    files = sorted(folder.glob("data/*.parquet")) or sorted(folder.glob("*.parquet"))
    if not files:
        raise CorpusError(f"{folder}: no Parquet file there and none in {folder / 'data'}")
    return files


class PackedSamples(Sequence[Sample]):
    """The samples of packed shards by number, in the order in which they are to be seen: they are shuffled already.

    A map-style data set as PyTorch's DataLoader takes it.  rank, ranks: every `ranks`-th sample from `rank` on.
    Memory: two row groups (64 MB) and the number of rows of every row group.  Samples are views: copy what you change.
    Raises CorpusError where a file is no packed shard, or files differ in length, tokeniser or strategy.
    """

    def __init__(self, path: Path | str, rank: int = 0, ranks: int = 1) -> None:
        if not 0 <= rank < ranks:
            raise CorpusError(f"rank is {rank} of {ranks}: allowed are 0 to {ranks - 1}")
        self.files = packed_files(path)
        self.rank, self.ranks = rank, ranks
        self.info: dict[str, Any] = {}
        self._groups: list[tuple[Path, int]] = []
        rows = [0]
        for file in self.files:
            metadata = pq.read_metadata(file)
            told = (metadata.metadata or {}).get(METADATA)
            info = json.loads(told) if told else {}
            if "length" not in info:
                raise CorpusError(f"{file}: no packed shard: its metadata has no key {METADATA.decode()}")
            if self.info and info != self.info:
                unlike = sorted(key for key in {*info, *self.info} if info.get(key) != self.info.get(key))
                raise CorpusError(f"{file}: is packed otherwise than {self.files[0]}: {', '.join(unlike)}")
            self.info = info
            for group in range(metadata.num_row_groups):
                self._groups.append((file, group))
                rows.append(metadata.row_group(group).num_rows)
        self._ends = np.cumsum(np.array(rows, np.int64))
        self._cache: dict[int, pa.Table] = {}

    @property
    def length(self) -> int:
        """Tokens of a sample."""
        return int(self.info["length"])

    def __len__(self) -> int:
        return max(0, -(-(int(self._ends[-1]) - self.rank) // self.ranks))

    def __getitem__(self, index: Any) -> Any:
        """One sample; a slice gives a list of them."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = int(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        row = (index % len(self)) * self.ranks + self.rank
        group = int(np.searchsorted(self._ends, row, side="right")) - 1
        return _sample(self._group(group), row - int(self._ends[group]), self.length)

    def _group(self, number: int) -> pa.Table:
        if number not in self._cache:
            file, group = self._groups[number]
            with pq.ParquetFile(file) as parquet:
                table = parquet.read_row_group(group).combine_chunks()
            while len(self._cache) >= _CACHED_GROUPS:
                del self._cache[next(iter(self._cache))]
            self._cache[number] = table
        return self._cache[number]

    def __getstate__(self) -> dict[str, Any]:
        """Workers of a DataLoader read for themselves."""
        return {**self.__dict__, "_cache": {}}


def _sample(table: pa.Table, row: int, length: int) -> Sample:
    def values(name: str) -> pa.Array:
        return table.column(name).chunk(0)[row].values

    return Sample(
        values("tokens").to_numpy(),
        values("lengths").to_numpy(),
        values("doc_ids").to_pylist(),
        values("starts").to_numpy(),
        values("epochs").to_numpy(),
        values("sources").to_pylist(),
    )


def unpacked(samples: Sequence[Sample]) -> dict[tuple[str, int], npt.NDArray[Any]]:
    """(doc_id, epoch) -> all tokens of that appearance, the end-of-document token with it.

    Memory: all tokens.  Raises CorpusError where a piece is missing or there twice.
    """
    found: dict[tuple[str, int], list[tuple[int, npt.NDArray[Any]]]] = {}
    for sample in samples:
        for doc_id, epoch, start, tokens in sample.pieces:
            found.setdefault((doc_id, epoch), []).append((start, tokens))
    whole: dict[tuple[str, int], npt.NDArray[Any]] = {}
    for key, parts in found.items():
        parts.sort(key=lambda part: part[0])
        at = 0
        for start, tokens in parts:
            if start != at:
                raise CorpusError(
                    f"document {key[0]}, epoch {key[1]}: tokens {at} to {start} are missing or there twice"
                )
            at += len(tokens)
        whole[key] = np.concatenate([tokens for _, tokens in parts])
    return whole


def write_memmap(samples: PackedSamples, path: Path | str) -> tuple[int, int]:
    """Writes the tokens of all samples as one .npy file for `numpy.load(path, mmap_mode="r")`; its shape."""
    shape = (len(samples), samples.length)
    dtype = samples[0].tokens.dtype if len(samples) else np.dtype(np.uint16)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    for i in range(len(samples)):
        out[i] = samples[i].tokens
    out.flush()
    return shape
