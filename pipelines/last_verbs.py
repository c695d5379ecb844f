"""Verbs of the command line for what comes behind a corpus: shaped documents, and samples of tokens."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.comparing_verbs import Addition, Handler
from pipelines.errors import UsageError
from pipelines.plain_files import INPUT_HELP, run_documents

if TYPE_CHECKING:
    from pipelines.last_stages import LastStage
    from pipelines.manifest import Manifest
    from pipelines.recipe import Recipe

Run = Callable[[argparse.Namespace, "Recipe"], None]
CORPORA_HELP = (
    "corpora/<variant> or shaped/<variant> of a run (their training documents), a run's output folder (its documents), "
    "a folder of Parquet files, or one"
)


def add_last_verbs(
    verb: Callable[[str, Handler, str], argparse.ArgumentParser], with_engine: Addition, with_json: Addition, run: Run
) -> None:
    """verb: adds one with its handler and what it does.  with_engine, with_json: add options that verbs share."""
    text = "make documents that belong together into one, in a shape that a model is trained on"
    shape = with_json(with_engine(verb("shape", lambda options: _shape(options, run), text)))
    shape.add_argument("input", help=f"{INPUT_HELP}, or corpora/<variant>")
    shape.add_argument(
        "--shape",
        action="append",
        required=True,
        metavar="[BY=]NAME[,NAME...]",
        help="shapes of all documents, or of those of a source or kind: the first that has a use for a document takes "
        "it; may be given again",
    )
    shape.add_argument("--seed", type=int, default=0, help="of what a shape leaves to chance (default: 0)")
    shape.add_argument(
        "--max-group-bytes", metavar="SIZE", help="text beyond which what belongs together is cut (default: 32MiB)"
    )
    shape.add_argument("--output", required=True, help="output folder")

    pack = with_json(with_engine(verb("pack", _pack, "make samples of a fixed number of tokens from corpora")))
    pack.add_argument("corpora", nargs="+", metavar="CORPUS", help=CORPORA_HELP)
    pack.add_argument("--length", type=int, required=True, help="tokens of a sample")
    pack.add_argument(
        "--tokenizer", required=True, metavar="FILE", help="bytes, or a tokenizer.json of Hugging Face's `tokenizers`"
    )
    pack.add_argument(
        "--strategy",
        choices=["best_fit", "concatenate"],
        help="best_fit (the default): no document is cut that fits into a sample; concatenate: end to end",
    )
    pack.add_argument("--seed", type=int, help="of order, weights and fill-in-the-middle (default: 0)")
    pack.add_argument(
        "--weight",
        action="append",
        default=[],
        metavar="BY=NUMBER",
        help="how often each document of a source or kind appears (* for any other); may be given again",
    )
    pack.add_argument("--epochs", type=int, help="no document appears more often")
    pack.add_argument("--fim-rate", type=float, help="chance of fill-in-the-middle (default: 0)")
    pack.add_argument("--spm-rate", type=float, help="share of it that begins with the suffix (default: 0.5)")
    pack.add_argument("--fim-variant", choices=["spm", "spm2"], help="how that is written (default: spm2)")
    pack.add_argument(
        "--fim-level", choices=["document", "file_sep"], help="documents, or files between <file_sep> marks"
    )
    pack.add_argument("--specials", action="store_true", help="what is spelt as a special token in a text becomes one")
    pack.add_argument("--output", required=True, help="output folder")


def _pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """BY=VALUE arguments; a bare value is of `*`."""
    from pipelines.packing.plan import EVERY

    found: dict[str, str] = {}
    for argument in given:
        by, equals, value = argument.rpartition("=")
        by = by if equals else EVERY
        if not (by and value):
            raise UsageError(f"--{option} {argument}: needed is BY=VALUE")
        if by in found:
            raise UsageError(f"--{option} {argument}: {by} is given twice")
        found[by] = value
    return found


def _names(given: str) -> tuple[str, ...]:
    """Of `a,b`; what is empty there is left for an error to name."""
    return tuple(name.strip() for name in given.split(","))


def _digests(output: str, files: Sequence[tuple[str, str]]) -> dict[str, str]:
    """One hash over the (name, path) of all inputs."""
    from pipelines.inputs import InputDigests
    from pipelines.storage import join

    digests = InputDigests(join(output, ".inputs.json"))
    found = {"input": digests.of_files(set(files))}
    digests.save()
    return found


def _run_alone(options: argparse.Namespace, stages: dict[str, Manifest], last: LastStage) -> Manifest:
    """The stage, if it is not finished, and the manifest of the output."""
    from pipelines.engines import pipeline_options
    from pipelines.last_stages import whole_manifest
    from pipelines.recipe_models import LocalEngine
    from pipelines.storage import absolute

    output = absolute(options.output)
    done = None if options.force else last.stage.finished(output)
    if done is None:
        engine = LocalEngine(workers=options.workers or 1)
        done = last.run(output, pipeline_options(engine, extra=options.beam_flags))
    whole_manifest(output, last.stage.name, {**stages, last.stage.name: done})
    return done


def _shape(options: argparse.Namespace, run: Run) -> int:
    from pipelines.last_stages import SHAPE, corpus_inputs, rows_of, shape_stage
    from pipelines.manifest import load, stage_manifest
    from pipelines.plain_files import plain_recipe
    from pipelines.recipe_models import parse_bytes
    from pipelines.shape_documents import ShapeInput, shape_of
    from pipelines.storage import absolute

    asked: dict[str, Any] = {
        "shapes": tuple(sorted((by, _names(given)) for by, given in _pairs(options.shape, "shape").items())),
        "seed": options.seed,
    }
    for _, names in asked["shapes"]:
        for name in names:
            shape_of(name)
    if options.max_group_bytes is not None:
        try:
            asked["max_group_bytes"] = parse_bytes(options.max_group_bytes)
        except ValueError as error:
            raise UsageError(f"--max-group-bytes {options.max_group_bytes}: {error}") from None
    output = absolute(options.output)
    if os.path.realpath(options.input) == os.path.realpath(output):
        raise UsageError(f"{options.input}: is the input, and what is written would lie in it: give another --output")
    stages: dict[str, Manifest] = {}
    if os.path.isdir(os.path.join(options.input, "data")) or run_documents(options.input) is not None:
        read: list[ShapeInput] = []
        for label in ("train", "held_out"):
            try:
                files = corpus_inputs(options.input, label)
            except UsageError:
                if label == "train":
                    raise
                continue
            if not any(each.files == files for each in read):
                read.append(ShapeInput(label, files, rows_of(files)))
        inputs = _digests(output, [(os.path.basename(file), file) for each in read for file in each.files])
    else:
        recipe = plain_recipe([options.input], options.output)
        run(options, recipe)
        done = load(stage_manifest(output, "documents"))
        assert done is not None
        stages["ingest"] = done
        files, rows = document_files(output, done)
        read, inputs = [ShapeInput("train", files, rows)], {"ingest": done.sha256}
    last = shape_stage(SHAPE, output, "Shaped documents", inputs, read, **asked)
    done = _run_alone(options, stages, last)
    summary = done.summary
    if options.json:
        print(json.dumps({"books": done.books.to_json(), **summary}, indent=1))
        return 0
    print(f"shape: {done.books}")
    for name, counts in summary["by_shape"].items():
        told = ", ".join(f"{count:,} {fate}" for fate, count in counts.items() if fate != "documents")
        print(f"{name or 'as they were'}: {counts['documents']:,} documents: {told}")
    return 0


def document_files(output: str, done: Manifest) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """(files, documents of each) of an ingest stage."""
    from pipelines.storage import join

    shards = [shard for shard in done.shards if shard["path"].startswith("documents/")]
    return tuple(join(output, s["path"]) for s in shards), tuple(int(s["rows"]) for s in shards)


def _pack(options: argparse.Namespace) -> int:
    from pipelines.last_stages import PACK, corpus_inputs, pack_stage, rows_of
    from pipelines.packing import Fim
    from pipelines.storage import absolute

    output = absolute(options.output)
    weights = []
    for by, value in sorted(_pairs(options.weight, "weight").items()):
        try:
            weights.append((by, float(value)))
        except ValueError:
            raise UsageError(f"--weight {by}={value}: {value!r} is no number") from None
    asked: dict[str, Any] = {
        "length": options.length,
        "tokenizer": options.tokenizer,
        "weights": tuple(weights),
        "specials": options.specials,
    }
    asked |= {name: value for name in ("strategy", "seed", "epochs") if (value := getattr(options, name)) is not None}
    files: list[str] = []
    named: list[tuple[str, str]] = []
    for number, corpus in enumerate(options.corpora):
        found = corpus_inputs(corpus)
        files += found
        named += [(f"{number}/{os.path.basename(file)}", file) for file in found]
    fim = {"rate": options.fim_rate, "spm_rate": options.spm_rate}
    fim |= {"variant": options.fim_variant, "level": options.fim_level}
    given = {name: value for name, value in fim.items() if value is not None}
    try:
        if given:
            asked["fim"] = Fim(**given)
        rows = rows_of(files)
        last = pack_stage(PACK, output, "Packed samples", _digests(output, named), files, rows, **asked)
    except ValueError as error:
        raise UsageError(str(error)) from None
    done = _run_alone(options, {}, last)
    _say_packed(options, done)
    return 0


def _say_packed(options: argparse.Namespace, done: Manifest) -> None:
    summary: Mapping[str, Any] = done.summary
    if options.json:
        print(json.dumps({"books": done.books.to_json(), **summary}, indent=1))
        return
    print(f"pack: {done.books}")
    print(f"{summary['samples']:,} samples, {summary['tokens']:,} tokens, {summary['padding']:,} of padding")
    for source, counts in summary["by_source"].items():
        print(f"{source}: {counts['documents']:,} documents, {counts['tokens']:,} tokens, {counts['epochs']:g} epochs")
    if not summary["samples"]:
        print("no document is in a sample", file=sys.stderr)
