"""How often the readings of one published rule disagree: verdicts of every pair of them on the same texts.

    PYTHONPATH=. python bench/disagreements.py CORPUS

CORPUS: JSON Lines with `text`, or a folder of document shards.  All texts are taken as English web pages.  A reading
is a chain of families, or RedPajama-V2's signals with the thresholds of the preset or of Gopher's table A1.
docs/disagreements.md holds the table for the sample corpus.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import quality_signals
from bench.signals import batches, texts_of
from pipelines.rules import ColumnRule
from quality_signals import presets

Bools = npt.NDArray[np.bool_]
Reading = Callable[[pa.RecordBatch], Bools]


def families(*names: str) -> Reading:
    """Kept by all of the families."""

    def kept(batch: pa.RecordBatch) -> Bools:
        columns = [quality_signals.annotate(name, batch).column("keep") for name in names]
        return np.logical_and.reduce([column.to_numpy(zero_copy_only=False) for column in columns])

    return kept


def redpajama(rules: Sequence[ColumnRule]) -> Reading:
    def kept(batch: pa.RecordBatch) -> Bools:
        annotations = {"rpv2@1": quality_signals.annotate("rpv2@1", batch)}
        return np.logical_and.reduce([rule.judge(batch, annotations).passed for rule in rules])

    return kept


def natural_language_rules() -> Iterator[ColumnRule]:
    for step in presets.load("redpajama-v2-gopher-natlang@1").steps:
        column = step["column"].removeprefix("rpv2@1/")
        yield ColumnRule("rpv2@1", column, step.get("min"), step.get("max"), step.get("of_lines"))


def repetition_rules() -> Iterator[ColumnRule]:
    """Gopher's table A1 (arXiv 2112.11446) on RedPajama-V2's signals, which has none for lines and paragraphs."""
    for n, most in zip((2, 3, 4), (0.20, 0.18, 0.16), strict=True):
        yield ColumnRule("rpv2@1", f"rps_doc_frac_chars_top_{n}gram", None, most)
    for n, most in zip(range(5, 11), (0.15, 0.14, 0.13, 0.12, 0.11, 0.10), strict=True):
        yield ColumnRule("rpv2@1", f"rps_doc_frac_chars_dupe_{n}grams", None, most)


GROUPS: dict[str, dict[str, Reading]] = {
    "Gopher, quality": {
        "gopher@datatrove": families("gopher@datatrove"),
        "redpajama-v2-gopher-natlang": redpajama(list(natural_language_rules())),
    },
    "Gopher, repetition": {
        "gopher_repetition@datatrove": families("gopher_repetition@datatrove"),
        "rpv2@1 with table A1": redpajama(list(repetition_rules())),
    },
    "Gopher, all": {
        "datatrove (both families)": families("gopher@datatrove", "gopher_repetition@datatrove"),
        "gopher@dolma": families("gopher@dolma"),
        "gopher@dclm": families("gopher@dclm"),
        "rpv2@1 (both)": redpajama([*natural_language_rules(), *repetition_rules()]),
    },
    "C4": {
        "c4@datatrove": families("c4@datatrove"),
        "c4_fineweb@datatrove": families("c4_fineweb@datatrove"),
        "c4@tfds": families("c4@tfds"),
        "c4@dolma": families("c4@dolma"),
    },
    "Bad words": {
        "bad_words@datatrove": families("bad_words@datatrove"),
        "bad_words@tfds": families("bad_words@tfds"),
    },
}


def main(corpus: str) -> None:
    texts = texts_of(Path(corpus))
    parts = list(batches(texts))
    print(f"{len(texts):,} texts, {sum(len(text.encode()) for text in texts) / 1e6:.1f} MB\n")
    print("| rules | reading A | reading B | A keeps | B keeps | only A keeps | only B keeps | disagree |")
    print("|---|---|---|---|---|---|---|---|")
    for rules, readings in GROUPS.items():
        kept = {name: np.concatenate([reading(part) for part in parts]) for name, reading in readings.items()}
        for (a, one), (b, other) in itertools.combinations(kept.items(), 2):
            cells = [one.mean(), other.mean(), (one & ~other).mean(), (other & ~one).mean(), (one != other).mean()]
            print(f"| {rules} | {a} | {b} | " + " | ".join(f"{100 * cell:.1f} %" for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
