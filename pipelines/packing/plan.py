"""What is packed, and how: samples of a fixed number of tokens from the documents of one or several corpora."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eval_models.fim import LEVELS, VARIANTS
from eval_models.packing import STRATEGIES
from pipelines import storage
from pipelines.errors import UsageError
from pipelines.exchange import Exchange, Mode, check_mode
from pipelines.packing.tokenizer import marks_of, open_tokenizer

# Documents of a shard: some 10,000 samples of 2,048 tokens of source files.
DOCUMENTS_PER_SHARD = 4096
# As `pipelines.exchange` bounds partitions.
_MAX_SHARDS = 1 << 14
COLUMNS = ("doc_id", "source", "kind", "text")
EVERY = "*"


@dataclasses.dataclass(frozen=True, slots=True)
class Fim:
    """Fill-in-the-middle before packing (`eval_models.fim`).

    rate       chance of a document
    spm_rate   share of those that begin with the suffix
    variant    how SPM is written
    level      document, or file_sep: the files between <file_sep> marks, each by itself
    file_rate  level file_sep: chance of a file in a document that has been chosen; None: rate
    """

    rate: float = 0.0
    spm_rate: float = 0.5
    variant: str = "spm2"
    level: str = "document"
    file_rate: float | None = None
    sources: tuple[str, ...] = ()  # sources or kinds that are permuted; (): all

    def __post_init__(self) -> None:
        for name in ("rate", "spm_rate", "file_rate"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"fim {name} is {value}, allowed are 0 to 1")
        for name, allowed in (("variant", VARIANTS), ("level", LEVELS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"fim {name} is {getattr(self, name)!r}, allowed are {', '.join(allowed)}")


def shards_for(documents: int) -> int:
    """Output shards for that many documents: a power of two that depends on nothing else."""
    return min(1 << max(0, math.ceil(documents / DOCUMENTS_PER_SHARD) - 1).bit_length(), _MAX_SHARDS)


@dataclasses.dataclass(frozen=True)
class PackDocuments:
    """Everything that decides the samples, and where they are read and written.

    output     paths in records are relative to it
    folder     below it data/train-*.parquet is written
    files      Parquet shards with the columns doc_id, source, kind, text
    rows       documents of each file
    length     tokens of a sample
    weights    source or kind (`*`: any other) -> how often each of its documents appears: floor(w) times, and once
               more with probability frac(w), by hash of its id
    epochs     no document appears more often, whatever its weight
    specials   whether what is spelt as a special token in a text becomes one: for texts that shapes have made
    exchange   files, memory, or None: files where the output is a directory
    """

    output: str
    folder: str
    files: tuple[str, ...]
    rows: tuple[int, ...]
    length: int
    tokenizer: str = "bytes"
    strategy: str = "best_fit"
    seed: int = 0
    weights: tuple[tuple[str, float], ...] = ()
    epochs: int | None = None
    fim: Fim = Fim()
    specials: bool = False
    exchange: Mode | None = None

    def __post_init__(self) -> None:
        if self.length < 2:
            raise ValueError(f"length is {self.length}; a sample has at least 2 tokens")
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy is {self.strategy!r}, allowed are {', '.join(STRATEGIES)}")
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"epochs is {self.epochs}, allowed are 1 and more")
        for name, weight in self.weights:
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"weight of {name} is {weight}, allowed are 0 and more")
        check_mode(self.exchange)

    @property
    def shards(self) -> int:
        return shards_for(sum(self.rows))

    @property
    def through(self) -> Exchange:
        return Exchange.chosen(self.exchange, self.output, self.folder)

    def shard(self, index: int) -> str:
        return storage.join(self.folder, "data", f"train-{index:05d}-of-{self.shards:05d}.parquet")

    def check(self) -> None:
        """Raises UsageError where the tokeniser or a file cannot be used; before any work."""
        tokenizer = open_tokenizer(self.tokenizer)
        if self.fim.rate:
            marks_of(tokenizer)
        for path in self.files[:1]:
            check_columns(path, COLUMNS)

    def describe(self) -> dict[str, Any]:
        """Options of the stage: all that decides the bytes, but not where they lie."""
        return {
            "length": self.length,
            "tokenizer": open_tokenizer(self.tokenizer).describe(),
            "strategy": self.strategy,
            "seed": self.seed,
            "weights": dict(self.weights),
            "epochs": self.epochs,
            "fim": {**dataclasses.asdict(self.fim), "sources": list(self.fim.sources)} if self.fim.rate else None,
            "specials": self.specials,
        }

    def info(self) -> dict[str, Any]:
        """What the metadata of a packed shard says."""
        tokenizer = open_tokenizer(self.tokenizer)
        return {
            "length": self.length,
            "strategy": self.strategy,
            "tokenizer": tokenizer.describe(),
            "end_of_document": tokenizer.end,
            "padding": tokenizer.end,
        }


def check_columns(path: str, needed: Sequence[str]) -> None:
    """Raises UsageError where the Parquet file lacks a column, or is none."""
    try:
        with storage.open_read(path) as file:
            names = pq.read_schema(file).names
    except pa.ArrowInvalid as error:
        raise UsageError(f"{path}: no Parquet file: {error}") from None
    missing = [name for name in needed if name not in names]
    if missing:
        raise UsageError(f"{path}: has no column {', '.join(missing)}; it has {', '.join(names)}")


def appearances(doc_id: str, weight: float, epochs: int | None, seed: int) -> int:
    """How often a document is in the samples.

    A document that is there at one weight is there at every greater one.
    """
    whole = math.floor(weight)
    times = whole + (uniform(doc_id, seed) < weight - whole)
    return times if epochs is None else min(times, epochs)


def uniform(doc_id: str, seed: int) -> float:
    """In [0, 1), by hash of the id and the seed."""
    digest = hashlib.blake2b(f"{doc_id}\0{seed}\0weight".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


def weight_of(weights: Mapping[str, float], source: str, kind: str) -> tuple[str, float]:
    """(name, weight) of the source if it is named, else of its kind, else of `*`; ("", 1) where none is."""
    return next(((name, weights[name]) for name in (source, kind, EVERY) if name in weights), ("", 1.0))
