"""Curate: a variant of the corpus is a query over columns; its shards, its held-out set and its waterfall.

One pass over the document shards serves every variant that is to be made.  Whatever the variant, held-out
documents are the same, what is opted out is in neither of the two, and personal data is redacted by the recipe's
policy.  In the training documents a variant applies the edits of its edit steps, too; text changes in no other way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import storage
from pipelines.annotate import FILLS, annotation_shard, fill_columns
from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.edited_text import AppliedEdits, differing, edit_rows, no_edits, removed_characters
from pipelines.ingest import PII_RULE, document_shard
from pipelines.manifest import Books
from pipelines.opt_out import RULE as OPT_OUT
from pipelines.opt_out import TOMBSTONE_SCHEMA, TOMBSTONES, OptedOut, tombstone_batch
from pipelines.rules import Annotations, Decision, Rule, decide, edit_steps, random_cut, random_salt, uniform_hash
from pipelines.shards import RowReader, Shard, ShardWriter, equal_batches, read_aligned, read_batches
from pipelines.split import HELD_OUT, HELD_OUT_COPY, OUT_OF_SCOPE, SPLIT, TRAIN, TWIN
from quality_signals.edits import COLUMN as EDITS_COLUMN

CORPORA = "corpora"
WATERFALL = "waterfall.parquet"
UNIT_RECORDS = "units.json"
LICENSE = "license@1"
PII_TYPE = pa.list_(
    pa.struct(
        [
            ("start", pa.int32()),
            ("end", pa.int32()),
            ("kind", pa.string()),
            ("confidence", pa.float32()),
            ("action", pa.string()),
        ]
    )
)
CORPUS_SCHEMA = pa.schema(
    [
        *DOCUMENT_SCHEMA,
        pa.field("cluster", pa.string(), metadata={"description": "what is held out and resampled as a whole"}),
        pa.field("license", pa.string(), metadata={"description": "SPDX expression, null where none was found"}),
        pa.field(
            "pii", PII_TYPE, metadata={"description": "spans in code points of the text before edits and redaction"}
        ),
    ]
)
WATERFALL_SCHEMA = pa.schema(
    [
        DOCUMENT_SCHEMA.field("doc_id"),
        pa.field("verdict", pa.string(), nullable=False, metadata={"description": "train, held_out or dropped"}),
        pa.field("rule", pa.string(), metadata={"description": "the first rule that the document failed"}),
        pa.field("value", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("duplicate_of", pa.string()),
        pa.field("similarity", pa.float64(), metadata={"description": "Jaccard with duplicate_of"}),
    ]
)


@dataclasses.dataclass(frozen=True)
class Variant:
    name: str
    rules: tuple[Rule, ...]

    @property
    def needs(self) -> set[str]:
        return {annotation for rule in self.rules for annotation in rule.needs}


@dataclasses.dataclass(frozen=True, slots=True)
class CurateUnit:
    """Document shards that become one train and one held-out shard of every variant."""

    index: int
    of: int
    shards: tuple[int, ...]

    def to_bytes(self) -> bytes:
        return json.dumps({"index": self.index, "of": self.of, "shards": list(self.shards)}).encode()


def group_shards(shard_bytes: Sequence[int], target_bytes: int) -> list[CurateUnit]:
    """Consecutive document shards, as many as fit into `target_bytes` of compressed documents together."""
    groups: list[list[int]] = []
    filled = 0
    for index, size in enumerate(shard_bytes):
        if not groups or filled + size > target_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(index)
        filled += size
    return [CurateUnit(i, len(groups), tuple(group)) for i, group in enumerate(groups)]


def corpus_directory(variant: str) -> str:
    return storage.join(CORPORA, variant)


def data_shard(output: str, variant: str, split: str, unit: CurateUnit) -> str:
    name = f"{split}-{unit.index:05d}-of-{unit.of:05d}.parquet"
    return storage.join(output, corpus_directory(variant), "data", name)


def _part(output: str, variant: str, whole: str, index: int) -> str:
    """What one unit adds to a file of the whole variant."""
    return storage.join(output, corpus_directory(variant), f"{whole}.parts", f"part-{index:05d}.parquet")


def _strings(values: Iterable[str | None]) -> pa.Array:
    return pa.array(list(values), pa.string())


@dataclasses.dataclass
class _VariantTally:
    """Counts of one variant over one unit: documents and UTF-8 bytes of text."""

    steps: list[str]
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)
    by_step: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    by_edit: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    by_source: dict[str, dict[str, list[int]]] = dataclasses.field(default_factory=dict)
    read: int = 0
    kept: int = 0
    opted_out: int = 0

    def record(self) -> dict[str, Any]:
        return {
            "books": Books(self.read, self.kept, dict(self.dropped)).to_json(),
            "opted_out": self.opted_out,
            "by_step": {step: self.by_step.get(step, [0, 0]) for step in self.steps},
            "by_edit": self.by_edit,
            "by_source": self.by_source,
        }


@dataclasses.dataclass(frozen=True)
class CurateUnits:
    """Worker of the curate stages: one group of document shards in; two data shards a variant out.

    policy: a `pii.Policy`, or None where the recipe has no PII policy; then no text is redacted.
    opt_out: a `licenses.OptOut`, or None where the recipe has no list.
    Memory: one batch of documents, one row group a variant and split.
    """

    output: str
    variants: tuple[Variant, ...]
    annotations: tuple[str, ...]
    policy: Any = None
    opt_out: Any = None

    def run(self, unit: bytes) -> Iterator[dict[str, Any]]:
        described = json.loads(unit)
        task = CurateUnit(described["index"], described["of"], tuple(described["shards"]))
        tallies = {v.name: _VariantTally([*_FIXED_STEPS, *(r.name for r in v.rules)]) for v in self.variants}
        with contextlib.ExitStack() as stack:
            writers = {
                (v.name, split): stack.enter_context(
                    ShardWriter(
                        data_shard(self.output, v.name, split, task),
                        CORPUS_SCHEMA,
                        content_defined_chunking=True,
                    )
                )
                for v in self.variants
                for split in (TRAIN, HELD_OUT)
            }
            for whole, schema in _WHOLE.items():
                for v in self.variants:
                    part = ShardWriter(_part(self.output, v.name, whole, task.index), schema)
                    writers[v.name, whole] = stack.enter_context(part)
            for index in task.shards:
                for batch, known in self._read(index):
                    self._curate(batch, known, writers, tallies)
        for variant in self.variants:
            train = writers[variant.name, TRAIN].written
            held_out = writers[variant.name, HELD_OUT].written
            whose = {"variant": variant.name, "unit": task.index}
            yield {**train.record(self.output), **whose, **tallies[variant.name].record()}
            yield {**held_out.record(self.output), **whose}

    def _read(self, index: int) -> Iterator[tuple[pa.RecordBatch, dict[str, pa.RecordBatch]]]:
        paths = {name: annotation_shard(self.output, name, index) for name in (SPLIT, *self.annotations)}
        return read_aligned(document_shard(self.output, index), paths)

    def _curate(
        self,
        batch: pa.RecordBatch,
        known: Annotations,
        writers: Mapping[tuple[str, str], ShardWriter],
        tallies: Mapping[str, _VariantTally],
    ) -> None:
        split = np.array(known[SPLIT].column("split").to_pylist(), dtype=object)
        text_bytes = pc.binary_length(batch.column("text")).to_numpy(zero_copy_only=False)
        corpus, allowed = self._corpus_rows(batch, known)
        opted_out = OptedOut.of(self.opt_out, batch)
        tombstones = tombstone_batch(opted_out.tombstones(batch.column("doc_id")))
        train, fixed = _fixed_steps(split, opted_out.rows, allowed)
        held_out = fixed[HELD_OUT]
        for variant in self.variants:
            decision = decide(variant.rules, batch, known, train)
            verdict = np.where(decision.passed, TRAIN, np.where(held_out, HELD_OUT, "dropped"))
            _name_fixed_steps(decision, fixed, known[SPLIT].column("scope_rule").to_pylist(), opted_out)
            tally = tallies[variant.name]
            kept, left = _edited(corpus, batch, known, variant, decision, train, text_bytes, tally, self.policy)
            writers[variant.name, TRAIN].write(kept)
            writers[variant.name, HELD_OUT].write(corpus.filter(pa.array(held_out)))
            writers[variant.name, WATERFALL].write(_waterfall(batch, known, verdict, decision))
            writers[variant.name, TOMBSTONES].write(tombstones)
            _count(tally, variant, batch, train, fixed, decision, text_bytes, left)

    def _corpus_rows(self, batch: pa.RecordBatch, known: Annotations) -> tuple[pa.RecordBatch, npt.NDArray[np.bool_]]:
        """The rows as they stand in a corpus (redacted, filled), and which of them the PII policy lets stand."""
        for annotator, fills in FILLS.items():
            if annotator in known:
                batch = fill_columns(batch, known[annotator], fills)
        columns = {name: batch.column(name) for name in DOCUMENT_SCHEMA.names}
        columns["cluster"] = known[SPLIT].column("group")
        has_license = LICENSE in known
        columns["license"] = known[LICENSE].column("expression") if has_license else _strings([None] * batch.num_rows)
        allowed = np.ones(batch.num_rows, bool)
        columns["pii"] = pa.nulls(batch.num_rows, PII_TYPE)
        if self.policy is not None:
            import pii

            spans = pii.policy_spans(
                self.policy, {name: known[name].column("spans") for name in self.policy.annotators}
            )
            redacted, applied, drop = pii.redact_batch(columns["text"], spans, self.policy)
            columns["text"], columns["pii"] = redacted, applied.cast(PII_TYPE)
            allowed = ~drop.to_numpy(zero_copy_only=False)
        arrays = [columns[field.name].cast(field.type) for field in CORPUS_SCHEMA]
        return pa.RecordBatch.from_arrays(arrays, schema=CORPUS_SCHEMA), allowed


def _edited(
    corpus: pa.RecordBatch,
    batch: pa.RecordBatch,
    known: Annotations,
    variant: Variant,
    decision: Decision,
    train: npt.NDArray[np.bool_],
    text_bytes: npt.NDArray[np.int64],
    tally: _VariantTally,
    policy: Any,
) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
    """The training rows with the variant's edits, and [rows of batch] bytes of text that the edits leave of each.

    What each edit step changed among the documents that reached it, and the bytes that it took from those that
    are kept, is added to the tally.
    """
    kept = corpus.filter(pa.array(decision.passed))
    steps = edit_steps(variant.rules, batch, known)
    left = text_bytes.copy()
    if not steps:
        return kept, left
    before = no_edits(batch.num_rows)
    alive = train.copy()
    names = [step.name for step in steps]
    for rule, dropped in zip(variant.rules, decision.by_step, strict=True):
        if rule.name in names:
            after = steps[names.index(rule.name)].over(before)
            changed = alive & differing(before, after)
            count = tally.by_edit.setdefault(rule.name, [0, 0])
            count[0] += int(changed.sum())
            count[1] += int((removed_characters(after) - removed_characters(before))[changed].sum())
            before = after
        alive &= ~dropped
    passed = pa.array(decision.passed)
    chosen = [AppliedEdits(step.name, step.rows[decision.passed], step.edits.filter(passed)) for step in steps]
    kept, sizes = edit_rows(kept, batch.column("text").filter(passed), chosen, policy)
    for name, size in sizes.items():
        tally.by_step.setdefault(name, [0, 0])[1] += int((left[decision.passed] - size).sum())
        left[decision.passed] = size
    return kept, left


# Steps before a variant's own rules, the same for every variant, in the order in which they are applied.
_FIXED_STEPS = (OPT_OUT, PII_RULE, OUT_OF_SCOPE, TWIN, HELD_OUT_COPY, HELD_OUT)
# Files of a whole variant, made of one part a unit.
_WHOLE = {WATERFALL: WATERFALL_SCHEMA, TOMBSTONES: TOMBSTONE_SCHEMA}


def _fixed_steps(
    split: npt.NDArray[Any], opted_out: npt.NDArray[np.bool_], allowed: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], dict[str, npt.NDArray[np.bool_]]]:
    """[rows] what is eligible for training, and the rows that each of _FIXED_STEPS takes: the first that applies."""
    left = np.ones(len(split), bool)
    taken = {}
    for name in _FIXED_STEPS:
        rows = {OPT_OUT: opted_out, PII_RULE: ~allowed}.get(name, split == name)
        taken[name] = left & rows
        left &= ~rows
    return left, taken


def _name_fixed_steps(
    decision: Decision,
    fixed: Mapping[str, npt.NDArray[np.bool_]],
    scope_rules: Sequence[str | None],
    opted_out: OptedOut,
) -> None:
    for name, rows in fixed.items():
        for row in map(int, np.flatnonzero(rows)):
            match name:
                case "opt_out":
                    decision.rule[row] = opted_out.rule(row)
                case "out_of_scope":
                    decision.rule[row] = f"{OUT_OF_SCOPE}/{scope_rules[row]}"
                case _:
                    decision.rule[row] = None if name == HELD_OUT else name


def _waterfall(
    batch: pa.RecordBatch, known: Annotations, verdict: npt.NDArray[Any], decision: Decision
) -> pa.RecordBatch:
    duplicate_of, similarity = _duplicates(known, decision)
    return pa.RecordBatch.from_arrays(
        [
            batch.column("doc_id"),
            _strings(verdict.tolist()),
            _strings(decision.rule),
            pa.array(decision.value, pa.float64()),
            pa.array(decision.threshold, pa.float64()),
            duplicate_of,
            similarity,
        ],
        schema=WATERFALL_SCHEMA,
    )


def _duplicates(known: Annotations, decision: Decision) -> tuple[pa.Array, pa.Array]:
    """What each row duplicates and how similar it is: in an index, where that is why it goes; else in the run."""
    rows = len(decision.rule)
    found = [pa.nulls(rows, pa.string()), pa.nulls(rows, pa.float64())]
    for name, columns in sorted(known.items(), key=lambda each: each[0] != "dedup"):
        if columns.schema.get_field_index("duplicate_of") < 0:
            continue
        mine = pa.array([name == "dedup" or rule == name for rule in decision.rule], pa.bool_())
        own = [columns.column("duplicate_of"), columns.column("similarity")]
        found = [pc.if_else(mine, new, old) for new, old in zip(own, found, strict=True)]
    return found[0], found[1]


def _count(
    tally: _VariantTally,
    variant: Variant,
    batch: pa.RecordBatch,
    eligible: npt.NDArray[np.bool_],
    fixed: Mapping[str, npt.NDArray[np.bool_]],
    decision: Decision,
    text_bytes: npt.NDArray[np.int64],
    left: npt.NDArray[np.int64],
) -> None:
    """left: bytes of text after the variant's edits."""
    held_out = fixed[HELD_OUT]
    tally.read += batch.num_rows
    tally.kept += int(decision.passed.sum() + held_out.sum())
    tally.opted_out += int(fixed[OPT_OUT].sum())
    steps = list(fixed.items())
    steps += [(rule.name, dropped) for rule, dropped in zip(variant.rules, decision.by_step, strict=True)]
    for name, rows in steps:
        count = tally.by_step.setdefault(name, [0, 0])
        count[0] += int(rows.sum())
        count[1] += int(text_bytes[rows].sum())
    for name, rows in steps:
        if name != HELD_OUT and rows.any():
            for row in np.flatnonzero(rows):
                tally.dropped[decision.rule[row] or name] += 1
    sources = np.array(batch.column("source").to_pylist(), dtype=object)
    for source in sorted(set(sources)):
        mine = sources == source
        counts = tally.by_source.setdefault(source, {})
        for name, rows, sizes in (
            ("eligible", eligible, text_bytes),
            (TRAIN, decision.passed, left),
            (HELD_OUT, held_out, text_bytes),
        ):
            count = counts.setdefault(name, [0, 0])
            count[0] += int((mine & rows).sum())
            count[1] += int(sizes[mine & rows].sum())


def _pair(count: Sequence[int]) -> dict[str, int]:
    return {"documents": int(count[0]), "text_bytes": int(count[1])}


def variant_summary(variant: Variant, records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Documents and text bytes of the variant: in, dropped by each step in order, kept by source.

    The bytes of an edit step are those of the documents that it drops and those that it takes from kept ones.
    """
    edits = {rule.name: [0, 0] for rule in variant.rules if rule.name.endswith(f"/{EDITS_COLUMN}")}
    steps = {name: [0, 0] for name in [*_FIXED_STEPS, *(rule.name for rule in variant.rules)]}
    sources: dict[str, dict[str, list[int]]] = {}
    for record in records:
        for name, count in record.get("by_step", {}).items():
            steps[name] = [steps[name][0] + count[0], steps[name][1] + count[1]]
        for name, count in record.get("by_edit", {}).items():
            edits[name] = [edits[name][0] + count[0], edits[name][1] + count[1]]
        for source, counts in record.get("by_source", {}).items():
            for name, count in counts.items():
                so_far = sources.setdefault(source, {}).setdefault(name, [0, 0])
                so_far[0] += count[0]
                so_far[1] += count[1]
    total = {
        name: [sum(counts[name][i] for counts in sources.values()) for i in (0, 1)]
        for name in ("eligible", TRAIN, HELD_OUT)
    }
    return {
        "train": _pair(total[TRAIN]),
        "held_out": _pair(total[HELD_OUT]),
        "eligible": _pair(total["eligible"]),
        "waterfall": [
            {"rule": name, "dropped": steps[name][0], "text_bytes": steps[name][1]}
            for name in steps
            if name != HELD_OUT
        ],
        **(
            {
                "edits": [
                    {"step": name, "documents": count[0], "removed_characters": count[1]}
                    for name, count in edits.items()
                ]
            }
            if edits
            else {}
        ),
        "by_source": {
            source: {**_pair(counts[TRAIN]), **{name: _pair(counts[name]) for name in ("eligible", HELD_OUT)}}
            for source, counts in sorted(sources.items())
        },
    }


def random_cuts(output: str, shards: Sequence[int], like: str, summary: Mapping[str, Any]) -> dict[str, float]:
    """source -> cut of a RandomRule that keeps as many documents as the variant `like` with that summary.

    What is eligible for training is what no step before the rules of `like` took, as its waterfall says.
    Memory: 8 bytes a document that is eligible for training.
    """
    numbers: dict[str, list[npt.NDArray[np.float64]]] = {}
    waterfall = RowReader(storage.join(output, corpus_directory(like), WATERFALL))
    for index in shards:
        for batch in read_batches(document_shard(output, index), ["doc_id", "source"]):
            fate = waterfall.take(batch.num_rows)
            steps = pc.list_element(pc.split_pattern(pc.fill_null(fate.column("rule"), ""), "/"), 0)
            fixed = pc.is_in(steps, value_set=pa.array(_FIXED_STEPS))
            train = batch.filter(pc.invert(pc.or_(fixed, pc.equal(fate.column("verdict"), HELD_OUT))))
            hashed = uniform_hash(train.column("doc_id").to_pylist(), random_salt(like))
            sources = np.array(train.column("source").to_pylist(), dtype=object)
            for source in set(sources.tolist()):
                numbers.setdefault(source, []).append(hashed[sources == source])
    return {
        source: random_cut(np.concatenate(found), summary["by_source"][source]["documents"])
        for source, found in sorted(numbers.items())
    }


def untouched_rules(variant: Variant, summary: Mapping[str, Any]) -> list[str]:
    """Steps of the variant that dropped nothing and changed nothing."""
    touched = {step["rule"]: step["dropped"] for step in summary["waterfall"]}
    for step in summary.get("edits", ()):
        touched[step["step"]] += step["documents"]
    return [rule.name for rule in variant.rules if touched[rule.name] == 0]


def write_unit_records(output: str, variant: str, records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Writes what the units of a finished variant said, so that some of them can be made again alone."""
    listed = sorted((dict(record) for record in records), key=lambda record: record["path"])
    path = storage.join(output, corpus_directory(variant), UNIT_RECORDS)
    data = storage.canonical_json(listed)
    storage.write_bytes(path, data)
    return Shard(path, len(listed), len(data), hashlib.sha256(data).hexdigest()).record(output)


def read_unit_records(output: str, variant: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = storage.read_json(storage.join(output, corpus_directory(variant), UNIT_RECORDS))
    return records


def merge_parts(
    output: str,
    variant: str,
    whole: str,
    units: Sequence[CurateUnit],
    earlier_rows: Mapping[int, int] | None = None,
) -> Shard:
    """Joins the parts of a file of the whole variant, in the order of the units, into one file.

    earlier_rows: unit -> its rows in the file as it stands, from which units without a new part take them.
    Memory: 65,536 rows and one row group.
    """
    path = storage.join(output, corpus_directory(variant), whole)
    earlier = RowReader(path) if earlier_rows else None

    def parts() -> Iterator[pa.RecordBatch]:
        for unit in units:
            rows = earlier_rows[unit.index] if earlier_rows else 0
            old = earlier.take(rows) if earlier is not None and rows else None
            part = _part(output, variant, whole, unit.index)
            if storage.exists(part):
                yield from read_batches(part)
            elif old is not None:
                yield old
            elif earlier is None:
                raise FileNotFoundError(part)

    with ShardWriter(path, _WHOLE[whole]) as writer:
        for batch in equal_batches(parts()):
            writer.write(batch)
    storage.remove_tree(storage.join(output, corpus_directory(variant), f"{whole}.parts"))
    return writer.written
