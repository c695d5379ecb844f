"""The stages behind the variants: documents in the shapes that a model is trained on, and samples of tokens."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import manifest as manifests
from pipelines import storage
from pipelines.errors import UsageError
from pipelines.ingest import REJECTED
from pipelines.manifest import Manifest
from pipelines.packing import Fim, PackDocuments, build_pack_documents, pack_summary
from pipelines.packing.cards import pack_card
from pipelines.shape_documents import ShapeDocuments, ShapeInput, build_shape_documents, shape_summary
from pipelines.shape_documents.cards import shape_card
from pipelines.shape_documents.plan import MEMBER_SCHEMA, MEMBERS
from pipelines.shards import Shard, equal_batches, read_batches, row_count, write_shard
from pipelines.stages import Stage, StageError, run_pipeline
from pipelines.validate import stage_directory

if TYPE_CHECKING:
    from pipelines.recipe import Recipe
    from pipelines.recipe_models import Pack as PackBlock
    from pipelines.recipe_models import Shape as ShapeBlock

SHAPE, PACK = "shape", "pack"
MODULES = {
    SHAPE: (
        "pipelines.documents",
        "pipelines.shards",
        "pipelines.stages",
        "pipelines.storage",
        "pipelines.exchange",
        "pipelines.parcels",
        "pipelines.shape_documents",
        "pipelines.shapes",
    ),
    PACK: (
        "pipelines.shards",
        "pipelines.stages",
        "pipelines.storage",
        "pipelines.exchange",
        "pipelines.parcels",
        "pipelines.packing",
        "eval_models.data_order",
        "eval_models.fim",
        "eval_models.packing",
        "eval_models.vocabulary",
    ),
}
TRAIN, HELD_OUT = "train", "held_out"


@dataclasses.dataclass(frozen=True)
class LastStage:
    """A stage that is ready to run.  build: its graph; conclude: records -> files of the whole, the summary."""

    stage: Stage
    build: Callable[[beam.Pipeline], beam.PCollection[bytes]]
    conclude: Callable[[Sequence[Mapping[str, Any]]], tuple[list[dict[str, Any]], dict[str, Any]]]
    card: Callable[[Manifest], str]
    shards: int

    def run(self, output: str, options: PipelineOptions) -> Manifest:
        """Runs it and writes its files, the manifest last."""
        stage = self.stage
        _clear(output, stage)
        records = run_pipeline(output, stage.directory, self.build, options)
        more, summary = self.conclude(records)
        done = stage.conclude(output, [*records, *more], summary)
        storage.write_bytes(storage.join(output, stage.directory, "README.md"), self.card(done).encode())
        return stage.commit(output, done)


def _clear(output: str, stage: Stage) -> None:
    """Removes what an earlier or a killed attempt left, the manifest first: from here on it is not done."""
    path = stage.manifest_path(output)
    if storage.exists(path) and not storage.is_remote(path):
        os.unlink(path)
    storage.remove_tree(storage.join(output, stage.directory))
    storage.make_directory(storage.join(output, stage.directory))
    stem = stage.directory.replace("/", "-")
    for leftover in glob.glob(storage.join(output, REJECTED, f"{stem}-part-*")):
        os.unlink(leftover)


def shape_stage(
    name: str,
    output: str,
    title: str,
    inputs: Mapping[str, str],
    read: Sequence[ShapeInput],
    max_error_rate: float = 1.0,
    **asked: Any,
) -> LastStage:
    """name: shape or shape/<variant>.  asked: further fields of ShapeDocuments.

    Raises UsageError where a shape is not known or an input cannot be used.
    """
    directory = stage_directory(name)
    plan = ShapeDocuments(output, storage.join(output, directory), tuple(read), **asked)
    plan.check()
    stage = Stage(name, directory, inputs, plan.describe(), MODULES[SHAPE], max_error_rate)

    def conclude(records: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        summary = shape_summary(records)
        _refuse_unused(name, "shape", [key for key, _ in plan.shapes], summary["asked"])
        return [_merged_members(plan).record(output)], summary

    return LastStage(
        stage,
        lambda pipeline: build_shape_documents(pipeline, plan),
        conclude,
        lambda done: shape_card(title, done),
        len(plan.partitions),
    )


def pack_stage(
    name: str,
    output: str,
    title: str,
    inputs: Mapping[str, str],
    files: Sequence[str],
    rows: Sequence[int],
    max_error_rate: float = 1.0,
    **asked: Any,
) -> LastStage:
    """name: pack or pack/<variant>.  files, rows: Parquet shards and their documents.  asked: of PackDocuments.

    Raises UsageError where the tokeniser or an input cannot be used.
    """
    directory = stage_directory(name)
    plan = PackDocuments(output, storage.join(output, directory), tuple(files), tuple(rows), **asked)
    plan.check()
    stage = Stage(name, directory, inputs, plan.describe(), MODULES[PACK], max_error_rate)

    def conclude(records: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        summary = pack_summary(records)
        _refuse_unused(name, "weight", [key for key, _ in plan.weights], summary["weighted"])
        return [], summary

    return LastStage(
        stage,
        lambda pipeline: build_pack_documents(pipeline, plan),
        conclude,
        lambda done: pack_card(title, done),
        plan.shards,
    )


def _refuse_unused(stage: str, what: str, names: Iterable[str], documents: Mapping[str, int]) -> None:
    unused = [name for name in names if not documents.get(name)]
    if unused:
        there = ", ".join(f"{name or 'without a name'} ({count:,})" for name, count in documents.items())
        raise StageError(
            f"stage {stage}: {what} of {', '.join(unused)}: no document is of such a source or kind; "
            f"documents by name: {there or 'none'}"
        )


def _merged_members(plan: ShapeDocuments) -> Shard:
    """The parts of the partitions in one file.  Memory: 65,536 rows."""

    def parts() -> Iterator[pa.RecordBatch]:
        for partition in range(len(plan.partitions)):
            yield from read_batches(plan.members_part(partition))

    written = write_shard(storage.join(plan.folder, MEMBERS), MEMBER_SCHEMA, equal_batches(parts()))
    storage.remove_tree(storage.join(plan.folder, f"{MEMBERS}.parts"))
    return written


def of_variants(recipe: Recipe, output: str, stages: Mapping[str, Manifest]) -> Iterator[LastStage]:
    """The stages behind the variants of a recipe, in order: what a stage reads is finished when the next is asked for.

    stages: the finished ones, by name; each stage that is yielded is there when the next is asked for.
    """
    for name, variant in recipe.variants.items():
        before, folder = f"curate/{name}", f"corpora/{name}"
        title = f"{recipe.name}: {name}"
        if variant.shape is not None:
            done = stages[before]
            yield shape_stage(
                f"{SHAPE}/{name}",
                output,
                f"{title}, shaped",
                {before: done.sha256},
                [ShapeInput(label, *data_files(output, folder, done, label)) for label in (TRAIN, HELD_OUT)],
                recipe.error_rate(SHAPE),
                **_shape_arguments(variant.shape),
            )
            before, folder = f"{SHAPE}/{name}", stage_directory(f"{SHAPE}/{name}")
        if variant.pack is not None:
            done = stages[before]
            yield pack_stage(
                f"{PACK}/{name}",
                output,
                f"{title}, packed",
                {before: done.sha256},
                *data_files(output, folder, done, TRAIN),
                recipe.error_rate(PACK),
                **_pack_arguments(variant.pack, variant.shape is not None),
            )


def check_variants(recipe: Recipe) -> None:
    """Raises UsageError where a shape or a tokeniser of a variant cannot be used; before any work."""
    for name, variant in recipe.variants.items():
        key = f"variants.{name}"
        if variant.shape is not None:
            with _of_key(f"{key}.shape"):
                ShapeDocuments("", "", (), **_shape_arguments(variant.shape)).check()
        if variant.pack is not None:
            with _of_key(f"{key}.pack"):
                PackDocuments("", "", (), (), **_pack_arguments(variant.pack, variant.shape is not None)).check()


@contextlib.contextmanager
def _of_key(key: str) -> Iterator[None]:
    try:
        yield
    except (UsageError, ValueError, ImportError) as error:
        raise UsageError(f"{key}: {error}") from None


def _shape_arguments(asked: ShapeBlock) -> dict[str, Any]:
    """Fields of ShapeDocuments."""
    by = tuple(sorted(asked.by.items()))
    return {"shapes": by, "seed": asked.seed, "max_group_bytes": asked.max_group_bytes}


def _pack_arguments(asked: PackBlock, shaped: bool) -> dict[str, Any]:
    """Fields of PackDocuments.  shaped: whether the marks in a text are meant."""
    values = asked.model_dump(exclude={"weights", "fim", "specials"})
    if asked.fim is not None:
        values["fim"] = Fim(**asked.fim.model_dump())
    specials = shaped if asked.specials is None else asked.specials
    return {**values, "weights": tuple(sorted(asked.weights.items())), "specials": specials}


# -- what they read ---------------------------------------------------------------------------------------


def data_files(output: str, directory: str, stage: Manifest, label: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """(files, documents of each) of the data shards of a finished stage whose names begin with `label`."""
    prefix = f"{directory}/data/{label}-"
    shards = [shard for shard in stage.shards if shard["path"].startswith(prefix)]
    return tuple(storage.join(output, s["path"]) for s in shards), tuple(int(s["rows"]) for s in shards)


def corpus_inputs(path: str, label: str = TRAIN) -> tuple[str, ...]:
    """The Parquet shards of a corpus: of its folder data, those whose names begin with `label`.

    path: a variant (corpora/<variant>), what was shaped (shaped/<variant>, or the output of `gristmill shape`), a run's
    output folder (its documents), a folder of Parquet files, or one.  Raises UsageError where nothing is there.
    """
    if os.path.isfile(path):
        return (storage.absolute(path),)
    if not os.path.isdir(path):
        raise UsageError(f"{path}: no such file or folder")
    labelled = f"data/{label}-*.parquet"
    for pattern in (labelled, f"shaped/{labelled}", "documents/part-*.parquet", "part-*.parquet", "*.parquet"):
        found = sorted(glob.glob(os.path.join(glob.escape(path), pattern)))
        if found:
            return tuple(storage.absolute(each) for each in found)
    raise UsageError(
        f"{path}: no Parquet shard there; allowed are corpora/<variant> or shaped/<variant> of a run, a run's output "
        f"folder, a folder of Parquet files, or one"
    )


def rows_of(files: Iterable[str]) -> tuple[int, ...]:
    """Documents of each file.  Raises UsageError where one is no Parquet file."""
    found = []
    for file in files:
        try:
            found.append(row_count(file))
        except pa.ArrowInvalid as error:
            raise UsageError(f"{file}: no Parquet file: {error}") from None
    return tuple(found)


def whole_manifest(output: str, name: str, stages: Mapping[str, Manifest]) -> None:
    """manifest.json of the output."""
    whole = {"name": name, "stages": {k: m.to_json() for k, m in stages.items()}}
    storage.write_bytes(storage.join(output, manifests.MANIFEST), storage.canonical_json(whole))
