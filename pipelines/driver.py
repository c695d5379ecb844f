"""The driver: one stage after another from raw input to finished variants, each only if it is not done.

It plans (units, variants, inputs' hashes), hands the work to Beam, and writes the manifest of a stage when its
books balance.  It never touches text.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import glob
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import annotate, curate, ingest, last_stages, opt_out, rules, split, storage
from pipelines import manifest as manifests
from pipelines.annotators import Annotator, OfCorpus, build_annotators, described, packages_of
from pipelines.card import write_card
from pipelines.driver_rules import DEDUP, StepRules, described_rules
from pipelines.errors import UsageError
from pipelines.find_duplicates import FindDuplicates, build_find_duplicates
from pipelines.inputs import InputDigests
from pipelines.manifest import Manifest
from pipelines.readers import PlanError, Source, Unit, plan_units
from pipelines.recipe import Recipe
from pipelines.stages import Stage, StageError, Timings, map_units, progress, run_pipeline
from pipelines.unique_ids import reject_repeated_ids
from pipelines.validate import stage_directory

INGEST, SPLIT = "ingest", "split"
# Source files whose change makes a stage run again.
_COMMON = ("pipelines.documents", "pipelines.shards", "pipelines.stages", "pipelines.storage")
_MODULES = {
    INGEST: (
        *_COMMON,
        "pipelines.ingest",
        "pipelines.readers",
        "pipelines.redact",
        "pipelines.unique_ids",
        "licenses",
    ),
    DEDUP: (*_COMMON, "pipelines.exchange", "pipelines.corpus_search", "pipelines.find_duplicates", "dedup"),
    SPLIT: (*_COMMON, "pipelines.exchange", "pipelines.host_files", "pipelines.rules", "pipelines.split"),
    "annotate": (*_COMMON, "pipelines.annotate", "pipelines.annotators", "quality_signals.edits"),
    "curate": (
        *_COMMON,
        "pipelines.curate",
        "pipelines.attribution",
        "pipelines.edited_text",
        "pipelines.opt_out",
        "pipelines.rules",
        "pipelines.card",
        "licenses",
        "pii",
        "quality_signals.edits",
    ),
}


@dataclasses.dataclass
class Driver:
    """Runs the data stages of a recipe into `output`.  options: Beam options of the engine."""

    recipe: Recipe
    output: str
    options: PipelineOptions
    workers: int = 1  # sizes partitions; the result does not depend on it
    force: bool = False
    redaction: Any = None  # a pipelines.redact.Redaction: documents are written redacted

    def __post_init__(self) -> None:
        self.timings = Timings(storage.join(self.output, "timings.json"))
        self.stages: dict[str, Manifest] = {}
        self.ran: list[str] = []
        self.whole: list[str] = []  # stages of the variants of which every unit was made
        self.rounds = 0

    # -- the stages -------------------------------------------------------------------------------------

    def run(self) -> dict[str, Manifest]:
        """All data stages of the recipe; the manifests by stage name.

        Whatever the recipe names is looked at before any work: inputs, policies, lists.
        """
        self.recipe.check_files()
        _ = self.units, self._opt_out
        with self._only_writer():
            storage.write_bytes(storage.join(self.output, "recipe.yaml"), self.recipe.resolved_yaml().encode())
            self.ingest()
            self.annotate_all()
            if self.recipe.variants:
                self.split()
                self.make_variants()
                self.finish_variants()
            self._write_manifest()
        return self.stages

    def ingest(self) -> Manifest:
        units = self.units
        stage = Stage(
            INGEST,
            ingest.DOCUMENTS,
            self._input_digests(),
            {
                "limits": dataclasses.asdict(self.recipe.reader_limits()),
                "units": manifests.digest([unit.describe() for unit in units]),
                **({"redaction": repr(self.redaction)} if self.redaction is not None else {}),
            },
            _MODULES[INGEST],
            self.recipe.error_rate(INGEST),
        )
        tasks = ingest.ingest_tasks(units)
        worker = ingest.IngestUnits(self.output, self.recipe.reader_limits(), self.redaction)

        def work() -> Manifest:
            self._clear(stage, storage.join(ingest.REJECTED, "part-*"))
            records = map_units(self.output, stage.directory, tasks, worker, self.options)
            if any(source.kind in ("jsonl", "parquet") for source in self.sources):
                records = reject_repeated_ids(self.output, records)
            stage.refuse_nothing(self.output, records)
            return stage.finish(self.output, records, _by_source(records))

        return self._do(stage, len(tasks), work)

    def annotate_all(self) -> None:
        """The annotators of the recipe: those that see one document at a time in one pass, then each that looks at
        the whole corpus, then in one pass those that see the text after its edits, and so on; and dedup, as late as
        what comes after it allows."""
        waiting = [*self.recipe.annotator_names, *([DEDUP] if self.recipe.dedup is not None else [])]
        while waiting:
            ready: list[str] = []
            for name in waiting:
                if not self._of_corpus(name) and not set(self._before(name)) & set(waiting) - set(ready):
                    ready.append(name)
            if ready:
                self.annotate(ready)
            else:
                ready = [next(name for name in waiting if not set(self._before(name)) & set(waiting))]
                if ready == [DEDUP]:
                    self.dedup()
                else:
                    self.annotate_corpus(ready[0])
            waiting = [name for name in waiting if name not in ready]

    def _of_corpus(self, name: str) -> bool:
        return name == DEDUP or isinstance(self.annotators[name], OfCorpus)

    def _before(self, name: str) -> tuple[str, ...]:
        """The annotators whose shards `name`, or dedup, may read."""
        if name == DEDUP:
            return (*sorted(self._find_duplicates(0).annotations), *self._find_duplicates(0).fills)
        own = self.annotators[name]
        more = (*own.needs, *self._fills(own.reads_language)) if isinstance(own, OfCorpus) else ()
        return (*self.recipe.specs[name].after, *more)

    def _fills(self, reads_language: bool) -> tuple[str, ...]:
        """The annotators of the recipe that fill the languages of documents, for a search that depends on them."""
        known = (name for name, fills in annotate.FILLS.items() if "language" in fills)
        return tuple(name for name in known if reads_language and name in self.recipe.annotator_names)

    def annotate_corpus(self, name: str) -> Manifest:
        """A stage of its own: a graph over all documents."""
        own = self.annotators[name]
        assert isinstance(own, OfCorpus)
        stage = Stage(
            f"annotate/{name}",
            storage.join(annotate.ANNOTATIONS, name),
            {stage: self.stages[stage].sha256 for stage in (INGEST, *map(_stage_of, self._before(name)))},
            described(self.recipe.specs, name),
            (*_COMMON, "pipelines.corpus_annotators", *own.annotator.modules),
            self.recipe.error_rate("annotate"),
        )
        shards = self.document_shards
        fills = self._fills(own.reads_language)
        return self._run_graph(stage, lambda p: own.build(p, self.output, shards, self.workers, fills))

    def annotate(self, names: Sequence[str]) -> None:
        """Annotators that see one document at a time, those of them that are not finished, in one pass.

        Those that fill columns of the documents go first, wherever the recipe names them.
        """
        names = sorted(names, key=lambda name: name not in annotate.FILLS)
        stages = {name: self._annotate_stage(name) for name in names}
        pending = []
        for name, stage in stages.items():
            found = self._finished(stage)
            if found is None:
                pending.append(name)
            else:
                self.stages[stage.name] = found
        if not pending:
            return
        units = self._shard_units()
        editors = {editor for name in pending for editor in self.recipe.specs[name].after}
        done = [name for name in self.recipe.annotator_names if f"annotate/{name}" in self.stages]
        given = tuple(name for name in done if name in annotate.FILLS or name in editors)
        worker = annotate.AnnotateUnits(self.output, tuple(self.annotators[name] for name in pending), given)
        for name in pending:
            self._clear(stages[name], storage.join(ingest.REJECTED, f"{name}-part-*"))
        label = "annotate " + " ".join(pending)
        with self.timings.measure(self._round()), self._progress(label, stages[pending[-1]], len(units)):
            records = map_units(self.output, annotate.ANNOTATIONS, units, worker, self.options)
        for name in pending:
            mine = [record for record in records if record["stage"] == name]
            self._done(stages[name], stages[name].finish(self.output, mine, {}))

    def _round(self) -> str:
        """What timings.json calls a pass over the documents: those after edits of the whole corpus have a number."""
        self.rounds += 1
        return "annotate" if self.rounds == 1 else f"annotate {self.rounds}"

    @functools.cached_property
    def annotators(self) -> dict[str, Annotator]:
        """The recipe's annotators by the names under which they write."""
        return build_annotators(self.recipe.annotators)

    @functools.cached_property
    def _rules(self) -> StepRules:
        return StepRules(self.recipe, self.annotators)

    def _annotate_stage(self, name: str) -> Stage:
        """The inputs of an annotator are the documents, the columns that other annotators fill, its model, and the
        edits that depend on the whole corpus."""
        fillers = [] if name in annotate.FILLS else [n for n in annotate.FILLS if n in self.recipe.annotator_names]
        editors = [n for n in self.recipe.specs[name].after if isinstance(self.annotators[n], OfCorpus)]
        told = described(self.recipe.specs, name)
        return Stage(
            f"annotate/{name}",
            storage.join(annotate.ANNOTATIONS, name),
            {
                INGEST: self.stages[INGEST].sha256,
                **{f"annotate/{n}": manifests.code_fingerprint(*self._annotator_modules(n)) for n in fillers},
                **{stage: self.stages[stage].sha256 for stage in map(_stage_of, editors)},
                **({"model": told["model"]} if "model" in told else {}),
            },
            told,
            self._annotator_modules(name),
            self.recipe.error_rate("annotate"),
        )

    def _annotator_modules(self, name: str) -> tuple[str, ...]:
        return (*_MODULES["annotate"], *sorted(packages_of(self.annotators[name])))

    def dedup(self) -> Manifest:
        assert self.recipe.dedup is not None
        find = self._find_duplicates(self.document_shards)
        needs = [f"annotate/{name}" for name in self._before(DEDUP)]
        stage = self._stage(DEDUP, [INGEST, *needs], self.recipe.dedup.arguments)
        return self._run_graph(stage, lambda pipeline: build_find_duplicates(pipeline, find))

    def _find_duplicates(self, shards: int) -> FindDuplicates:
        assert self.recipe.dedup is not None
        find = FindDuplicates(output=self.output, shards=shards, workers=self.workers, **self.recipe.dedup.arguments)
        return dataclasses.replace(find, fills=self._fills(find.reads_language))

    def _run_graph(self, stage: Stage, build: Callable[[beam.Pipeline], beam.PCollection[bytes]]) -> Manifest:
        """A stage whose graph gives a record for each written file, and one with the summary."""
        name = stage.directory.partition("/")[2]

        def work() -> Manifest:
            self._clear(stage, storage.join(ingest.REJECTED, f"{name}-part-*"))
            records = run_pipeline(self.output, stage.directory, build, self.options)
            summary: dict[str, Any] = {}
            for record in records:
                summary.update(record.get("summary", {}))
            return stage.finish(self.output, records, summary)

        return self._do(stage, self.document_shards, work)

    def split(self) -> Manifest:
        held = self.recipe.held_out
        by = {name: self.recipe.held_out_grouping(name) for name in self.recipe.sources}
        scope = tuple(self._rules.of(step) for step in self.recipe.scope)
        plan = split.Plan(split.HeldOut(held.fraction, held.seed, by), scope, self.recipe.dedup is not None)
        options = {"fraction": held.fraction, "seed": held.seed, "by": by, "scope": described_rules(scope)}
        stage = self._stage(SPLIT, [INGEST, *map(_stage_of, plan.annotations)], options)

        def work() -> Manifest:
            self._clear(stage)
            units = self._shard_units()

            def build(pipeline: beam.Pipeline) -> beam.PCollection[bytes]:
                listed = pipeline | "Units" >> beam.Create(units, reshuffle=False).with_output_types(bytes)
                return listed | "Split" >> split.SplitDocuments(self.output, plan)

            records = run_pipeline(self.output, stage.directory, build, self.options)
            summary = split.split_summary(records)
            if not summary[split.HELD_OUT] and self.recipe.study is not None:
                raise StageError(
                    f"stage split: no document was held out of {self.stages[INGEST].books.kept:,}: the "
                    f"{held.fraction:.1%} of groups by {sorted(set(by.values()))} hold none. "
                    f"Raise held_out.fraction, change held_out.seed or choose a finer held_out.by"
                )
            return stage.finish(self.output, records, summary)

        return self._do(stage, self.document_shards, work)

    def make_variants(self) -> None:
        """Every variant that is not finished; the `random_like` ones last, since they need the others' rates."""
        plain = [name for name, steps in self.recipe.variants.items() if not steps.random_like]
        nulls = [name for name in self.recipe.variants if name not in plain]
        self._curate_together(plain)
        self._curate_together(nulls)

    def _curate_together(self, names: Sequence[str]) -> None:
        fresh: list[tuple[curate.Variant, Stage]] = []
        for name in names:
            variant = self.variant(name)
            stage = self._curate_stage(variant)
            found = self._finished(stage)
            if found is not None:
                self.stages[stage.name] = found
            elif (earlier := self._finished_but_for_opt_out(stage)) is not None:
                self._curate_touched(variant, stage, earlier)
            else:
                fresh.append((variant, stage))
        if fresh:
            for _, stage in fresh:
                self._clear(stage)
            records = self._curate(fresh, self._groups)
            for variant, stage in fresh:
                mine = [record for record in records if record["variant"] == variant.name]
                self._rules.refuse_untouched(variant, curate.variant_summary(variant, mine))
                self._conclude_variant(variant, stage, mine)
                self.whole.append(stage.name)

    def _finished_but_for_opt_out(self, stage: Stage) -> Manifest | None:
        """The manifest of the same stage with another opt-out list."""
        found = manifests.load(stage.manifest_path(self.output))
        if found is None:
            return None
        options = {**stage.options, opt_out.RULE: found.options.get(opt_out.RULE)}
        return self._finished(dataclasses.replace(stage, options=options))

    def _curate_touched(self, variant: curate.Variant, stage: Stage, earlier: Manifest) -> None:
        """The units that the change of the opt-out list touches, made again; all other shards stay as they are."""
        folder = storage.join(self.output, stage.directory)
        tombstones = opt_out.read_tombstones(storage.join(folder, opt_out.TOMBSTONES))
        touched = opt_out.touched_shards(self.output, range(self.document_shards), self._opt_out, tombstones)
        units = [unit for unit in self._groups if touched & set(unit.shards)]
        again = {unit.index for unit in units}
        before = curate.read_unit_records(self.output, variant.name)
        os.unlink(stage.manifest_path(self.output))  # from here on the variant is not finished
        records = self._curate([(variant, stage)], units) if units else []
        records += [record for record in before if record["unit"] not in again]
        self._conclude_variant(variant, stage, records, before)

    def _curate(self, pending: Sequence[tuple[curate.Variant, Stage]], units: Sequence[curate.CurateUnit]) -> Any:
        """The records of the workers that make these units of these variants."""
        variants = tuple(variant for variant, _ in pending)
        needs = set().union(*(self._curate_needs(variant) for variant in variants))
        worker = curate.CurateUnits(
            self.output, variants, tuple(sorted(needs)), self.recipe.pii_policy(), self._opt_out
        )
        label = "curate " + " ".join(variant.name for variant in variants)
        with self.timings.measure(label), self._progress(label, pending[-1][1], 2 * len(units)):
            return map_units(self.output, curate.CORPORA, [unit.to_bytes() for unit in units], worker, self.options)

    def _conclude_variant(
        self,
        variant: curate.Variant,
        stage: Stage,
        records: Sequence[Mapping[str, Any]],
        before: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Files of the whole variant, its card and its manifest.  before: records of the units as they were."""
        rows = {r["unit"]: (r["books"]["read"], r["opted_out"]) for r in before if "books" in r}
        shards = [
            curate.write_unit_records(self.output, variant.name, records),
            *(
                curate.merge_parts(
                    self.output, variant.name, whole, self._groups, {unit: each[at] for unit, each in rows.items()}
                ).record(self.output)
                for at, whole in enumerate((curate.WATERFALL, opt_out.TOMBSTONES))
            ),
        ]
        done = stage.conclude(self.output, [*records, *shards], curate.variant_summary(variant, records))
        write_card(self.output, self.recipe.name, variant.name, done)
        self._done(stage, stage.commit(self.output, done))

    @functools.cached_property
    def _groups(self) -> list[curate.CurateUnit]:
        return curate.group_shards([shard["bytes"] for shard in self._document_shards()], self.recipe.shard_bytes)

    def apply_opt_out(self) -> dict[str, Manifest]:
        """The variants of a finished run once more, without what the recipe's lists name.

        What came before the variants is taken as it lies there: inputs are not read, nothing is annotated.  Raises
        StageError where no finished run lies there.
        """
        path = storage.join(self.output, manifests.MANIFEST)
        if not storage.exists(path):
            raise StageError(f"{path}: no finished run lies here")
        _ = self._opt_out
        with self._only_writer():
            found = storage.read_json(path)["stages"]
            self.stages = {name: Manifest.from_json(value) for name, value in found.items()}
            missing = [name for name in self.recipe.variants if f"curate/{name}" not in self.stages]
            if INGEST not in self.stages or missing:
                raise StageError(f"{path}: not finished: {', '.join(missing) or INGEST}; finish the run first")
            storage.write_bytes(storage.join(self.output, "recipe.yaml"), self.recipe.resolved_yaml().encode())
            self.make_variants()
            self.finish_variants()
            self._write_manifest()
        return self.stages

    def finish_variants(self) -> None:
        """What is shaped and packed of the variants."""
        for last in last_stages.of_variants(self.recipe, self.output, self.stages):
            self._do(last.stage, last.shards, functools.partial(last.run, self.output, self.options))

    def variant(self, name: str) -> curate.Variant:
        """The rules of a variant of the recipe; for a `random_like` one the other variant must be finished."""
        steps = self.recipe.variants[name]
        if steps.random_like:
            like = steps.random_like
            summary = self.stages[f"curate/{like}"].summary
            cuts = curate.random_cuts(self.output, range(self.document_shards), like, summary)
            return curate.Variant(name, (rules.RandomRule(like, cuts),))
        return curate.Variant(name, tuple(self._rules.of(step) for step in steps.steps))

    @functools.cached_property
    def _opt_out(self) -> Any:
        """The entries of all opt-out lists of the recipe, None without one; UsageError, with file and line, for a
        wrong list."""
        import licenses

        try:
            lists = [licenses.OptOut.load(path) for path in self.recipe.opt_out]
        except licenses.OptOutError as error:
            raise UsageError(str(error)) from None
        return licenses.OptOut.joined(lists) if lists else None

    def _curate_needs(self, variant: curate.Variant) -> set[str]:
        needs = set(variant.needs)
        optional = {curate.LICENSE, *annotate.FILLS}
        needs |= {name for name in optional if name in self.recipe.annotator_names}
        if self.recipe.dedup is not None:
            needs.add(DEDUP)
        policy = self.recipe.pii_policy()
        if policy is not None:
            needs.update(policy.annotators)
        return needs

    def _curate_stage(self, variant: curate.Variant) -> Stage:
        needs = self._curate_needs(variant)
        stages = [INGEST, SPLIT]
        stages += [_stage_of(need) for need in sorted(needs)]
        options = {
            **described_rules(variant.rules),
            "pii_policy": repr(self.recipe.pii_policy()),
            "shard_bytes": self.recipe.shard_bytes,
            opt_out.RULE: self._opt_out.sha256 if self._opt_out is not None else None,
        }
        return self._stage(f"curate/{variant.name}", stages, options)

    # -- plumbing -----------------------------------------------------------------------------------------

    @functools.cached_property
    def units(self) -> list[Unit]:
        """The units of every source, sources in the order of their names."""
        try:
            return [unit for source in self.sources for unit in plan_units(source)]
        except PlanError as error:
            raise UsageError(str(error)) from None

    @functools.cached_property
    def sources(self) -> list[Source]:
        return [self.recipe.source(name) for name in sorted(self.recipe.sources)]

    @property
    def document_shards(self) -> int:
        return len(self._document_shards())

    def _shard_units(self) -> list[bytes]:
        """One unit a document shard: its number."""
        return [json.dumps({"index": index}).encode() for index in range(self.document_shards)]

    def _document_shards(self) -> list[Mapping[str, Any]]:
        prefix = ingest.DOCUMENTS + "/"
        return [shard for shard in self.stages[INGEST].shards if shard["path"].startswith(prefix)]

    def _input_digests(self) -> dict[str, str]:
        """source -> one hash over the names and contents of its files."""
        digests = InputDigests(storage.join(self.output, ".inputs.json"))
        found = {}
        for source in self.sources:
            files = {
                (file.name, unit.resolve(file.path))
                for unit in self.units
                if unit.source == source.name
                for file in (*unit.files, *unit.context)
            }
            if source.locators:
                files.add(("locators", storage.absolute(source.locators.partition("!")[0])))
            found[source.name] = digests.of_files(files)
        digests.save()
        return found

    def _stage(self, name: str, inputs: Sequence[str], options: Mapping[str, Any]) -> Stage:
        kind = name.partition("/")[0]
        return Stage(
            name,
            stage_directory(name),
            {stage: self.stages[stage].sha256 for stage in inputs},
            options,
            _MODULES[kind],
            self.recipe.error_rate(kind),
        )

    def _do(self, stage: Stage, shards: int, work: Any) -> Manifest:
        found = self._finished(stage)
        if found is None:
            with self.timings.measure(stage.name), self._progress(stage.name, stage, shards):
                found = work()
            self._done(stage, found)
        self.stages[stage.name] = found
        return found

    def _finished(self, stage: Stage) -> Manifest | None:
        return None if self.force else stage.finished(self.output)

    def _done(self, stage: Stage, manifest: Manifest) -> None:
        self.stages[stage.name] = manifest
        self.ran.append(stage.name)
        self._write_manifest()
        print(f"{stage.name}: kept {manifest.books.kept:,} of {manifest.books.read:,}", file=sys.stderr)

    def _write_manifest(self) -> None:
        whole = {"name": self.recipe.name, "stages": {k: m.to_json() for k, m in self.stages.items()}}
        storage.write_bytes(storage.join(self.output, manifests.MANIFEST), storage.canonical_json(whole))

    def _clear(self, stage: Stage, *also: str) -> None:
        """Removes what an earlier or a killed attempt left, the manifest first: from here on it is not done."""
        path = stage.manifest_path(self.output)
        if storage.exists(path) and not storage.is_remote(path):
            os.unlink(path)
        storage.remove_tree(storage.join(self.output, stage.directory))
        for pattern in also:
            for leftover in glob.glob(storage.join(self.output, pattern)):
                os.unlink(leftover)
        storage.make_directory(storage.join(self.output, stage.directory))

    def _progress(self, label: str, stage: Stage, shards: int) -> contextlib.AbstractContextManager[None]:
        folder = storage.join(self.output, stage.directory)

        def finished() -> int:
            return len(glob.glob(storage.join(folder, "**/*.parquet"), recursive=True))

        return progress(label, shards, finished)

    @contextlib.contextmanager
    def _only_writer(self) -> Iterator[None]:
        """Two runs must not write to one output: the second one stops at once.  The lock dies with its process."""
        if storage.is_remote(self.output):
            yield
            return
        import fcntl

        storage.make_directory(self.output)
        with open(storage.join(self.output, ".lock"), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StageError(f"{self.output}: another run is writing there") from None
            yield


def _stage_of(annotations: str) -> str:
    """The stage that writes those annotations."""
    return DEDUP if annotations == DEDUP else f"annotate/{annotations}"


def _by_source(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """source -> the books of its units."""
    totals: dict[str, manifests.Books] = {}
    for record in records:
        if "source" in record:
            books = manifests.Books.from_json(record["books"])
            totals[record["source"]] = totals.get(record["source"], manifests.Books()) + books
    return {"by_source": {source: books.to_json() for source, books in sorted(totals.items())}}
