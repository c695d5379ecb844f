"""What later dumps are compared with, made from finished documents: Bloom filters and indexes; and what was found."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from dedup.bloom import BloomFileError, BloomFilter, parameters
from dedup.exact import check_key
from dedup.index import Proof
from pipelines import manifest as manifests
from pipelines import storage
from pipelines.annotate import ANNOTATIONS, FILLS
from pipelines.dedup_index import IndexBuild, IndexUnits, Opened, open_index, write_index
from pipelines.dedup_index.build import INDEX
from pipelines.errors import UsageError
from pipelines.find_duplicates import FindDuplicates
from pipelines.find_duplicates.filters import BuildFilter, asked_key, filter_of
from pipelines.ingest import DOCUMENTS
from pipelines.stages import map_units, run_pipeline

DEDUP = "dedup"


@dataclasses.dataclass(frozen=True, slots=True)
class Documents:
    """Finished document shards."""

    output: str
    shards: int


def documents_of(output: str) -> Documents | None:
    """The documents of a finished run; None where no run lies there."""
    found = manifests.load(manifests.stage_manifest(output, DOCUMENTS)) if os.path.isdir(output) else None
    if found is None:
        return None
    return Documents(storage.absolute(output), sum(each["path"].startswith(DOCUMENTS + "/") for each in found.shards))


def needed_documents(output: str) -> Documents:
    found = documents_of(output)
    if found is None:
        raise UsageError(f"{output}: no finished run lies there ({DOCUMENTS}/ has no manifest)")
    return found


# -- Bloom filters -----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class FilterPlan:
    """A filter that is to be made.  Raises UsageError where it cannot be."""

    path: str
    key: str
    capacity: int
    rate: float
    earlier: str | None

    @classmethod
    def of(
        cls, path: str, key: str | None, capacity: int | None, rate: float | None, earlier: str | None
    ) -> FilterPlan:
        """What is None is as in the earlier filter, or the text at 1 %; without an earlier one a capacity is needed."""
        try:
            old = None if earlier is None else filter_of(earlier)
            if earlier is not None:
                key = asked_key(earlier, key)
            check_key(key or "text")
        except (BloomFileError, ValueError, OSError) as error:
            raise UsageError(str(error)) from None
        if old is not None:
            for name, given, own in (("capacity", capacity, old.capacity), ("rate", rate, old.rate)):
                if given is not None and given != own:
                    raise UsageError(f"{earlier}: its {name} is {own}, asked for is {given}: they must be the same")
            capacity, rate = old.capacity, old.rate
        if capacity is None:
            raise UsageError("how many keys is the filter for? give --capacity, with room for what comes later")
        rate = 0.01 if rate is None else rate
        try:
            if capacity < 1:
                raise ValueError(f"the capacity is {capacity}, allowed is 1 or more")
            parameters(rate)
        except ValueError as error:
            raise UsageError(str(error)) from None
        return cls(storage.absolute(path), key or "text", capacity, rate, earlier and storage.absolute(earlier))


def build_filter(plan: FilterPlan, documents: Documents, options: PipelineOptions) -> dict[str, Any]:
    """Writes the filter; its summary.  Raises UsageError for a key that the documents do not have."""
    find = FindDuplicates(documents.output, documents.shards, method="exact", key=plan.key)
    try:
        find.check_columns()
    except ValueError as error:
        raise UsageError(str(error)) from None
    folder = os.path.dirname(plan.path)
    storage.make_directory(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".filter-") as work:

        def build(pipeline: beam.Pipeline) -> beam.PCollection[bytes]:
            shards = pipeline | "Shards" >> beam.Create(
                list(range(documents.shards)), reshuffle=False
            ).with_output_types(int)
            return shards | "BuildFilter" >> BuildFilter(
                documents.output,
                plan.path,
                plan.capacity,
                plan.rate,
                plan.key,
                plan.earlier,
                storage.join(work, "spill"),
            )

        (record,) = run_pipeline(work, "filter", build, options)
    made = BloomFilter.load(plan.path)
    return {
        "path": plan.path,
        "name": f"seen@{record['summary']['sha256'][:12]}",
        **record["summary"],
        "bytes": made.bits.nbytes,
    }


# -- indexes -----------------------------------------------------------------------------------------------


def build_index(
    run: str,
    folder: str,
    options: PipelineOptions,
    *,
    annotator: str | None = None,
    threshold: float | None = None,
    proof: Proof | None = None,
    without: Sequence[str] | None = None,
    extend: str | None = None,
    force: bool = False,
) -> Opened:
    """The index of a finished run.  Raises UsageError where the run lacks what it is made of.

    extend: an index that comes first in the new one, which then has its annotator, threshold and proof.
    without: annotations that name duplicates to leave out; None: the run's dedup, if it has one.
    """
    documents = needed_documents(run)
    folder = storage.absolute(folder)
    if storage.exists(storage.join(folder, INDEX)) and not force:
        raise UsageError(f"{folder}: an index lies there already; choose another folder, or --force")
    parent = None if extend is None else open_index(storage.absolute(extend), verify=True)
    if parent is not None:
        if parent.folder == folder:
            raise UsageError(f"{folder}: an index is not changed: give the next version a folder of its own")
        for name, given in (("annotator", annotator), ("threshold", threshold), ("proof", proof)):
            if given is not None and given != parent.told[name]:
                raise UsageError(f"{extend}: its {name} is {parent.told[name]}, asked for is {given}")
        annotator, threshold, proof = (parent.told[name] for name in ("annotator", "threshold", "proof"))
    if without is None:
        without = [DEDUP] if _has(documents, DEDUP) else []
    build = IndexBuild(
        documents.output,
        documents.shards,
        folder,
        annotator or "minhash@1",
        0.8 if threshold is None else threshold,
        proof or "full",
        tuple(without),
        0 if parent is None else parent.shards,
    )
    if build.find.reads_language:
        known = [name for name, fills in FILLS.items() if "language" in fills and _has(documents, name)]
        build = dataclasses.replace(build, fills=tuple(known))
    for name in (build.annotator, *build.without):
        if not _has(documents, name):
            hint = f"; `dedup --signatures {name}` makes them" if name == build.annotator else ""
            raise UsageError(f"{run}: has no annotations {name}, and the index is made of them{hint}")
    storage.make_directory(folder)
    where, name = os.path.split(folder)
    return write_index(build, map_units(where, name, build.units, IndexUnits(build), options), parent)


def _has(documents: Documents, name: str) -> bool:
    return storage.exists(manifests.stage_manifest(documents.output, f"{ANNOTATIONS}/{name}"))


def index_text(told: Mapping[str, Any]) -> str:
    """The report of a comparison with an index, for a reader."""
    lines = [f"index {told['index']}, similarity {told['threshold']:g} and more{', estimated' * told['estimated']}"]
    for side, of, into in (("new_in_index", "new", "the index"), ("index_in_new", "the index", "new")):
        whole = told[side]
        lines.append(f"of {of}: {whole['covered']:,} of {whole['documents']:,} documents are in {into}")
        if len(whole["sources"]) > 1:
            lines += [
                f"  {source or '-'}: {one['covered']:,} of {one['documents']:,}"
                for source, one in whole["sources"].items()
            ]
    return "\n".join(lines)
