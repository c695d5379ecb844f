"""Small annotators with known values, for tests of what is done with annotators."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import ClassVar, Literal

import pyarrow as pa

from quality_signals import Factory
from quality_signals.batches import field
from quality_signals.edits import EDITS, Edit, edits_field
from quality_signals.families import VERDICT_FIELDS, Rule, judge_texts
from quality_signals.model_files import open_model
from quality_signals.text_batch import SharedTexts

CALLS: Counter[str] = Counter()


@dataclasses.dataclass(frozen=True)
class DropLines:
    """Deletes lines that hold a word, with their newline; drops a document of more than `max_lines` lines."""

    word: str = "drop"
    max_lines: int | None = None
    kinds: tuple[str, ...] = ("web",)
    mode: Literal["loud", "quiet"] = "quiet"
    name: ClassVar[str] = "drop_lines@toy"
    schema: ClassVar[pa.Schema] = pa.schema([*VERDICT_FIELDS, field("n_lines", pa.int64(), "lines"), edits_field()])

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        CALLS[self.name] += 1
        texts = shared.of(self.kinds)
        lines = [text.count("\n") + 1 for text in texts.strings]
        if "fail" in texts.strings:
            raise RuntimeError("cannot be read")
        found = []
        for text in texts.strings:
            at, edits = 0, []
            for line in text.splitlines(keepends=True):
                if self.word in line:
                    edits.append(Edit(at, at + len(line), "", self.word)._asdict())
                at += len(line)
            found.append(edits)
        rules = [Rule("lines", "too_long", "n", ">", self.max_lines)] if self.max_lines is not None else []
        verdicts = (
            judge_texts(rules, {"n": lines}, len(texts))
            if rules
            else [  # type: ignore[dict-item]
                pa.array([True] * len(texts)),
                *(pa.nulls(len(texts), f.type) for f in VERDICT_FIELDS[1:]),
            ]
        )
        columns = [texts.scatter(column) for column in [*verdicts, pa.array(lines, pa.int64()), pa.array(found, EDITS)]]
        if not texts.rows.all():
            columns[0] = columns[0].fill_null(True)
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


@dataclasses.dataclass(frozen=True)
class Shout:
    """Replaces each 'cat' by 'CAT!'."""

    name: ClassVar[str] = "shout@toy"
    schema: ClassVar[pa.Schema] = pa.schema([edits_field()])

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        found = []
        for text in batch.column("text").to_pylist():
            at, edits = text.find("cat"), []
            while at >= 0:
                edits.append(Edit(at, at + 3, "CAT!", "shout")._asdict())
                at = text.find("cat", at + 3)
            found.append(edits)
        return pa.RecordBatch.from_arrays([pa.array(found, EDITS)], schema=self.schema)


@dataclasses.dataclass(frozen=True)
class Length:
    """Drops texts of fewer than `least` characters."""

    least: int = 3
    name: ClassVar[str] = "length@toy"
    schema: ClassVar[pa.Schema] = pa.schema([*VERDICT_FIELDS, field("length", pa.int64(), "characters")])

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of()
        rules = [Rule("short", "too_short", "length", "<", self.least)]
        values = {"length": texts.lengths.astype(float)}
        columns = [*judge_texts(rules, values, len(texts)), pa.array(texts.lengths)]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


@dataclasses.dataclass(frozen=True)
class Weight:
    """Runs a model file of kind 'toy': the number in it for every text."""

    path: str
    factor: float = 1.0
    schema: ClassVar[pa.Schema] = pa.schema([field("weight", pa.float64(), "number of the model times factor")])

    def __post_init__(self) -> None:
        open_model(self.path, "toy")

    @property
    def name(self) -> str:
        return f"weight@{open_model(self.path, 'toy').name}"

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        value = float(open_model(self.path, "toy").manifest["number"]) * self.factor
        return pa.RecordBatch.from_arrays([pa.array([value] * batch.num_rows)], schema=self.schema)


TOYS = {
    "drop_lines@toy": Factory(__name__, "DropLines"),
    "shout@toy": Factory(__name__, "Shout"),
    "length@toy": Factory(__name__, "Length"),
}
TOY_MODELS = {"weight": Factory(__name__, "Weight", needs_model=True)}
