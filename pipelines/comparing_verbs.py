"""Verbs of the command line that compare documents with others: evaluation sets, filters and indexes of the past."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipelines.errors import UsageError
from pipelines.plain_files import INPUT_HELP

if TYPE_CHECKING:
    from pipelines.recipe import Recipe

Handler = Callable[[argparse.Namespace], int]
Addition = Callable[[argparse.ArgumentParser], argparse.ArgumentParser]
Run = Callable[[argparse.Namespace, "Recipe"], None]
"""Runs the stages of a recipe with the engine of the call."""


def add_comparing_verbs(
    verb: Callable[[str, Handler, str], argparse.ArgumentParser], with_engine: Addition, with_json: Addition, run: Run
) -> None:
    """verb: adds one with its handler and what it does.  with_engine, with_json: add options that verbs share."""
    clean = verb("decontaminate", lambda options: _decontaminate(options, run), "find items of evaluation sets")
    with_json(with_engine(clean))
    clean.add_argument("input", help=INPUT_HELP)
    with_sets(clean)
    clean.add_argument("--index", metavar="FILE", help="index of evaluation sets, in the place of --sets and --set")
    clean.add_argument(
        "--method",
        action="append",
        help="ngram13@gpt3 (the default), ngram10@cosmopedia, ngram12@datatrove, substring@starcoder, "
        "substring@starcoder2, minhash@bigcode; may be given again",
    )
    clean.add_argument("--output", required=True, help="output folder")

    def action(of: Any, name: str, handler: Handler, text: str) -> argparse.ArgumentParser:
        added = with_json(with_engine(of.add_parser(name, help=text, description=text)))
        added.set_defaults(handler=handler)
        return added

    filters = verb("filter", which("filter", "build"), "Bloom filters of documents seen before")
    actions = filters.add_subparsers(title="actions", metavar="ACTION")
    build = action(actions, "build", lambda options: _filter_build(options, run), "make a filter of keys of documents")
    build.add_argument("input", help=INPUT_HELP)
    build.add_argument("--key", help="text (the default), text@plain, text@ccnet, url@tfds, content, column:NAME")
    build.add_argument("--capacity", type=int, help="distinct keys up to which the rate holds")
    build.add_argument("--rate", type=float, help="share of new documents that are called seen (default: 0.01)")
    build.add_argument("--earlier", metavar="FILE", help="filter whose keys are taken over")
    build.add_argument("--output", required=True, metavar="FILE", help="the filter")

    indexes = verb("index", which("index", "build, match"), "signatures of finished corpora")
    actions = indexes.add_subparsers(title="actions", metavar="ACTION")
    build = action(actions, "build", _index_build, "make the index of a finished run, or the next version of one")
    build.add_argument("run", help="output folder of a run")
    build.add_argument("--output", required=True, help="folder of the index")
    build.add_argument("--signatures", help="annotator of the run (default: minhash@1)")
    build.add_argument("--threshold", type=float, help="least similarity that will be asked for (default: 0.8)")
    build.add_argument(
        "--proof", choices=["full", "sketch"], help="full (the default): shingle sets, exact; sketch: estimated"
    )
    build.add_argument(
        "--without",
        action="append",
        metavar="NAME",
        help="annotations that name duplicates to leave out (default: dedup, where the run has it)",
    )
    build.add_argument("--extend", metavar="INDEX", help="index that comes first in the new one")
    match = action(actions, "match", lambda options: _index_match(options, run), "find what an index has already")
    match.add_argument("input", help=INPUT_HELP)
    match.add_argument("--index", required=True, help="folder of the index")
    match.add_argument("--threshold", type=float, help="least similarity (default: that of the index)")
    match.add_argument("--output", required=True, help="output folder")


def with_sets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sets", metavar="FILE", help="description of evaluation sets (YAML)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME", dest="set_names", help="one of those described"
    )
    parser.add_argument("--folder", help="where the files of the sets lie (default: beside the description)")


def which(verb: str, allowed: str) -> Handler:
    def nothing(options: argparse.Namespace) -> int:
        raise UsageError(f"{verb} what? allowed: {allowed}")

    return nothing


# -- evaluation sets ---------------------------------------------------------------------------------------


def _decontaminate(options: argparse.Namespace, run: Run) -> int:
    from pipelines.fit import fit_contamination_index
    from pipelines.plain_files import plain_recipe

    if options.index is not None and (options.sets or options.set_names):
        raise UsageError("give either --index or --sets and --set")
    asked = {"methods": options.method} if options.method else {}
    with tempfile.TemporaryDirectory() as folder:
        index = options.index
        if index is None:
            # Made beside the output first, so that a wrong call leaves nothing there.
            made = fit_contamination_index(
                os.path.join(folder, "index"), options.sets, options.set_names, options.folder
            )
            plain_recipe([options.input], options.output, annotators=[_contamination(made.path, asked)])
            index = os.path.join(options.output, f"contamination-{made.name}.index")
            fit_contamination_index(index, options.sets, options.set_names, options.folder)
    recipe = plain_recipe([options.input], options.output, annotators=[_contamination(index, asked)])
    run(options, recipe)
    return _say_report(options, recipe.annotator_names[0])


def _contamination(index: str, asked: dict[str, Any]) -> dict[str, Any]:
    return {"name": "contamination", "model": index, "options": asked}


def _say_report(options: argparse.Namespace, annotation: str) -> int:
    """The report that an annotator of the whole corpus has written."""
    from pipelines.past import index_text
    from pipelines.storage import join, read_bytes, read_json

    folder = join(options.output, "annotations", annotation)
    if options.json:
        print(json.dumps(read_json(join(folder, "report.json")), indent=1, ensure_ascii=False))
    elif annotation.startswith("index@"):
        print(index_text(read_json(join(folder, "report.json"))))
    else:
        print(read_bytes(join(folder, "report.md")).decode(), end="")
    return 0


# -- filters and indexes -----------------------------------------------------------------------------------


def _engine_options(options: argparse.Namespace) -> Any:
    from pipelines.engines import pipeline_options
    from pipelines.recipe_models import LocalEngine

    return pipeline_options(LocalEngine(workers=options.workers or 1), extra=options.beam_flags)


def _filter_build(options: argparse.Namespace, run: Run) -> int:
    from pipelines.past import FilterPlan, build_filter, documents_of, needed_documents
    from pipelines.plain_files import plain_recipe

    plan = FilterPlan.of(options.output, options.key, options.capacity, options.rate, options.earlier)
    where = os.path.dirname(plan.path)
    with tempfile.TemporaryDirectory(prefix=".documents-", dir=where if os.path.isdir(where) else None) as folder:
        documents = documents_of(options.input)
        if documents is None:
            run(options, plain_recipe([options.input], folder))
            documents = needed_documents(folder)
        told = build_filter(plan, documents, _engine_options(options))
    _say(
        options,
        told,
        f"{told['name']}  {told['path']}  {told['bytes']:,} bytes",
        f"{told['keys_seen']:,} keys of {told['key']}, room for {told['capacity']:,} at a rate of "
        f"{told['stated_rate']:g}; a new key is called seen with probability {told['rate_now']:.2g} now",
    )
    if told["keys_seen"] > told["capacity"]:
        print(
            "more keys than it has room for: the stated rate does not hold; give a greater --capacity", file=sys.stderr
        )
    return 0


def _index_build(options: argparse.Namespace) -> int:
    from pipelines.past import build_index

    opened = build_index(
        options.run,
        options.output,
        _engine_options(options),
        annotator=options.signatures,
        threshold=options.threshold,
        proof=options.proof,
        without=options.without,
        extend=options.extend,
        force=options.force,
    )
    size = sum(shard["bytes"] for shard in opened.told["shards"])
    told = {"name": f"index@{opened.name}", "path": opened.folder, "documents": opened.documents, "bytes": size}
    told |= {name: opened.told[name] for name in ("annotator", "threshold", "proof", "parents")}
    _say(
        options,
        told,
        f"{told['name']}  {opened.folder}  {size:,} bytes",
        f"{opened.documents:,} documents, {told['annotator']}, similarity {told['threshold']:g} and more, "
        f"proof {told['proof']}",
    )
    return 0


def _say(options: argparse.Namespace, told: dict[str, Any], *lines: str) -> None:
    print(json.dumps(told, indent=1) if options.json else "\n".join(lines))


def _index_match(options: argparse.Namespace, run: Run) -> int:
    from pipelines.dedup_index import open_index
    from pipelines.plain_files import plain_recipe

    signatures = open_index(options.index, options.threshold).told["annotator"]
    asked = {} if options.threshold is None else {"threshold": options.threshold}
    index = {"name": "index", "model": options.index, "options": asked}
    recipe = plain_recipe([options.input], options.output, annotators=[signatures, index])
    run(options, recipe)
    return _say_report(options, recipe.annotator_names[-1])
