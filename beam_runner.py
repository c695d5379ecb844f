"""Gristmill's command line: options, engines, one stage after another, progress, exit codes.

Results go to stdout, everything else to stderr.  Exit codes: 0 ok, 1 the work failed, 2 the call or the
recipe is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pipelines.comparing_verbs import add_comparing_verbs, with_sets
from pipelines.errors import UsageError
from pipelines.last_verbs import add_last_verbs
from pipelines.people_verbs import add_lookup, add_people_verbs, look_up
from pipelines.pii_verbs import add_pii_verbs
from pipelines.plain_files import INPUT_HELP, TEXTS_HELP
from pipelines.readers.formats import KINDS

OK, FAILED, WRONG = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    given = list(sys.argv[1:] if arguments is None else arguments)
    given, beam_flags = _split_beam_flags(given)
    options = parser.parse_args(given)
    if not getattr(options, "handler", None):
        parser.print_help(sys.stderr)
        return WRONG
    options.beam_flags = beam_flags
    _quiet_libraries(options.verbose)
    return _run(options.handler, options)


def _split_beam_flags(given: list[str]) -> tuple[list[str], list[str]]:
    """What stands after `--` goes to Beam untouched."""
    if "--" not in given:
        return given, []
    at = given.index("--")
    return given[:at], given[at + 1 :]


def _run(handler: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    from pipelines.stages import StageError

    try:
        return handler(options)
    except UsageError as error:
        print(f"gristmill: {error}", file=sys.stderr)
        return WRONG
    except StageError as error:
        if options.verbose:
            traceback.print_exc()
        print(f"gristmill: {error}", file=sys.stderr)
        return FAILED
    except FileNotFoundError as error:
        print(f"gristmill: {f'{error.filename}: no such file' if error.filename else error}", file=sys.stderr)
        return WRONG
    except BrokenPipeError:
        # The reader of stdout went away (`gristmill inspect | head`); Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:  # a full disk, a folder that nobody may write to
        if options.verbose:
            traceback.print_exc()
        where = f"{error.filename}: " if error.filename else ""
        print(f"gristmill: {where}{error.strerror or error} (-v shows where)", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("gristmill: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return FAILED


def _quiet_libraries(verbose: bool) -> None:
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, stream=sys.stderr)
    for noisy in ("apache_beam", "trafilatura", "htmldate", "courlan"):
        logging.getLogger(noisy).setLevel(logging.INFO if verbose else logging.CRITICAL)


# -- arguments -------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gristmill",
        description="Raw web pages and source code in; graded, deduplicated, licensed Parquet shards out.",
        epilog="What stands after `--` is passed to Beam.",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log what Beam and the libraries say")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")

    def verb(name: str, handler: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(handler=handler)
        return added

    def with_engine(added: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added.add_argument("--workers", type=_positive, default=None, help="worker processes of the local engine")
        added.add_argument("--force", action="store_true", help="run finished stages again")
        return added

    def with_recipe(added: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added.add_argument("recipe", help="recipe file (YAML)")
        added.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            dest="overrides",
            help="override one key of the recipe, e.g. study.seeds=5",
        )
        return added

    def with_output(added: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added.add_argument("--output", required=True, help="output folder")
        return added

    def with_json(added: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added.add_argument("--json", action="store_true", help="print JSON")
        return added

    run = with_engine(with_recipe(verb("run", _run_recipe, "run a recipe from raw input to report.html")))
    run.add_argument("--data-only", action="store_true", help="stop before the proxies are trained")
    with_json(with_recipe(verb("plan", _plan, "show what a recipe would run, with sizes of its input")))

    ingest = with_engine(with_output(verb("ingest", _ingest, "read raw files into document shards")))
    ingest.add_argument("paths", nargs="+", help="files, globs or folders")
    ingest.add_argument(
        "--kind",
        required=True,
        choices=KINDS,
        metavar="KIND",
        help=f"raw format: {', '.join(KINDS)}",
    )
    ingest.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option of the format's reader, the value in YAML; may be given again",
    )
    ingest.add_argument("--source", default="input", help="name of the source (default: input)")
    ingest.add_argument(
        "--max-error-rate",
        type=float,
        default=1.0,
        help="fail above this share of rejected items (default: 1)",
    )

    annotate = with_engine(with_output(verb("annotate", _annotate, "compute annotation columns")))
    annotate.add_argument("input", help=INPUT_HELP)
    annotate.add_argument(
        "--annotator",
        action="append",
        required=True,
        metavar="NAME",
        help="NAME, ALIAS=NAME, or NAME+EDITOR for the text after an editor's edits; may be given again",
    )
    annotate.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME.KEY=VALUE",
        help="option of an annotator, e.g. rpv2@1.flat=true",
    )
    annotate.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="FAMILY=FILE",
        help="fitted model of a family, e.g. classifier=models/edu.zip",
    )

    dedup = with_engine(with_output(verb("dedup", _dedup, "find duplicates, with the evidence")))
    dedup.add_argument("input", help=INPUT_HELP)
    dedup.add_argument(
        "--method",
        default="minhash",
        help="minhash (equal and similar texts), exact (equal texts), exact_text@plain, exact_text@ccnet, "
        "exact_url@tfds, exact_content, exact_column:NAME",
    )
    dedup.add_argument("--threshold", type=float, default=0.8, help="least Jaccard similarity of a duplicate")
    dedup.add_argument(
        "--signatures", default="minhash@1", help="whose candidates are measured, for example minhash@rpv2"
    )
    dedup.add_argument(
        "--clusters",
        default="components",
        choices=["components", "star"],
        help="what measured pairs connect, or only what is similar to the kept document itself",
    )
    dedup.add_argument(
        "--guard",
        default="refuse",
        choices=["refuse", "report", "allow"],
        help="what becomes of documents that are connected to the kept one but not similar to it",
    )
    dedup.add_argument(
        "--keep",
        action="append",
        help="which document of a cluster stays: longest (the default), smallest_id, stack_v2, c4_url, or columns in "
        "order, one an option: --keep 'meta.stars desc' --keep 'timestamp desc'",
    )

    add_comparing_verbs(verb, with_engine, with_json, _run_stages)
    add_people_verbs(verb, with_engine, with_json, _driver)
    add_pii_verbs(verb, with_json)
    add_last_verbs(verb, with_engine, with_json, _run_stages)

    redact = with_engine(with_output(verb("redact", _redact, "replace personal data by typed placeholders")))
    redact.add_argument("input", help=INPUT_HELP)
    redact.add_argument("--policy", default="default", help="policy file (YAML) or `default`")

    licences = with_json(verb("licenses", _licenses, "detect the licences of files"))
    licences.add_argument("paths", nargs="+", help="files or folders")

    curate = with_engine(with_output(verb("curate", _curate, "make one variant of a recipe from plain files")))
    curate.add_argument("input", help=INPUT_HELP)
    curate.add_argument("--variant", required=True)
    curate.add_argument("--recipe", required=True)

    _fit_parser(verb("fit", _fit_nothing, "fit a model that annotators run"), with_json)

    with_recipe(verb("ablate", _ablate, "train the proxies of a finished recipe and judge its variants"))
    with_recipe(verb("report", _report, "write report.html, report.md and report.json again"))
    inspect = with_json(verb("inspect", _inspect, "a shard, a document's way through the rules, or what is in a run"))
    inspect.add_argument("path", help="a Parquet shard; an output folder together with --doc; or the word lookup")
    add_lookup(inspect)
    inspect.add_argument("--doc", help="doc_id whose waterfall in every variant is shown")
    inspect.add_argument("--rows", type=_positive, default=5, help="rows of a shard (default: 5)")
    check = with_json(verb("validate", _validate, "check the hashes and the books of an output folder"))
    check.add_argument("output", help="output folder")
    verb("recipe-schema", _recipe_schema, "print the JSON Schema of recipes")
    return parser


def _fit_parser(
    parser: argparse.ArgumentParser, with_json: Callable[[argparse.ArgumentParser], argparse.ArgumentParser]
) -> None:
    models = parser.add_subparsers(title="models", metavar="MODEL")
    paths: dict[str, Any] = {"nargs": "+", "metavar": "PATH"}

    def model(name: str, handler: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = with_json(models.add_parser(name, help=text, description=text))
        added.set_defaults(handler=handler)
        added.add_argument("--output", required=True, metavar="FILE", help="the model file")
        added.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="of the fit")
        added.add_argument("--lines", action="store_true", help="each line of a text file is a text")
        return added

    classifier = model("classifier", _fit_classifier, "fastText: texts to be like against texts not to be like")
    classifier.add_argument("--positive", required=True, **paths, help=TEXTS_HELP)
    classifier.add_argument("--negative", required=True, **paths, help=TEXTS_HELP)
    dsir = model("dsir", _fit_dsir, "importance weights: a target corpus against the corpus to choose from")
    dsir.add_argument("--target", required=True, **paths, help=TEXTS_HELP)
    dsir.add_argument("--source", required=True, **paths, help=TEXTS_HELP)
    ngram = model("ngram", _fit_ngram, "n-gram model with modified Kneser-Ney smoothing, for perplexity")
    ngram.add_argument("paths", **paths, help=TEXTS_HELP)
    ngram.add_argument("--cutoff", **paths, default=[], help="texts whose perplexities divide head, middle and tail")

    contamination = model("contamination", _fit_contamination, "index of evaluation sets, for decontamination")
    with_sets(contamination)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


# -- verbs on recipes ------------------------------------------------------------------------------------


def _load(options: argparse.Namespace, path: str | None = None) -> Any:
    from pipelines.annotators import factories
    from pipelines.recipe import load_recipe

    return load_recipe(path or options.recipe, getattr(options, "overrides", ()), annotators=factories())


def _driver(options: argparse.Namespace, recipe: Any, output: str | None = None) -> Any:
    from pipelines.driver import Driver
    from pipelines.engines import pipeline_options
    from pipelines.storage import absolute

    engine = recipe.engine
    if getattr(options, "workers", None):
        engine = engine.model_copy(update={"workers": options.workers})
    return Driver(
        recipe,
        absolute(output or recipe.output),
        pipeline_options(engine, extra=options.beam_flags),
        workers=engine.workers or 1,
        force=getattr(options, "force", False),
    )


def _run_stages(options: argparse.Namespace, recipe: Any) -> None:
    _driver(options, recipe).run()


def _run_recipe(options: argparse.Namespace) -> int:
    recipe = _load(options)
    if recipe.study is not None and not options.data_only:
        _require_proxy_extra()
    driver = _driver(options, recipe)
    with _of_recipe(options.recipe):
        driver.run()
    if not driver.ran:
        print("every data stage was done before", file=sys.stderr)
    if options.data_only:
        _print_books(driver.output)
        return OK
    return _judge_and_report(recipe, driver.output, force=options.force)


@contextlib.contextmanager
def _of_recipe(path: str) -> Iterator[None]:
    """What is wrong with a file that the recipe names is said with the recipe's own name first."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _require_proxy_extra() -> None:
    from eval_models.proxies import MissingExtra, require_torch

    try:
        require_torch()
    except MissingExtra as error:
        raise UsageError(str(error)) from None


def _judge_and_report(recipe: Any, output: str, force: bool = False) -> int:
    from pipelines.study import report_on, train_proxies

    if recipe.study is not None:
        train_proxies(recipe, output, force=force)
    print(report_on(recipe, output))
    return OK


def _ablate(options: argparse.Namespace) -> int:
    from pipelines.storage import absolute

    recipe = _load(options)
    if recipe.study is None:
        raise UsageError(f"{options.recipe}: there is no `study` block, so there is nothing to judge")
    _require_proxy_extra()
    return _judge_and_report(recipe, absolute(recipe.output))


def _report(options: argparse.Namespace) -> int:
    from pipelines.storage import absolute
    from pipelines.study import report_on

    recipe = _load(options)
    print(report_on(recipe, absolute(recipe.output)))
    return OK


def _plan(options: argparse.Namespace) -> int:
    from pipelines.plan import plan_recipe

    recipe = _load(options)
    options.beam_flags = []
    with _of_recipe(options.recipe):
        plan = plan_recipe(_driver(options, recipe))
    print(json.dumps(plan.to_json(), indent=1) if options.json else plan.text())
    return OK


def _recipe_schema(options: argparse.Namespace) -> int:
    from pipelines.recipe import recipe_schema

    print(json.dumps(recipe_schema(), indent=1))
    return OK


# -- verbs on plain files --------------------------------------------------------------------------------


def _ingest(options: argparse.Namespace) -> int:
    from pipelines.plain_files import plain_recipe, reader_options

    recipe = plain_recipe(
        options.paths,
        options.output,
        kind=options.kind,
        options=reader_options(options.option),
        source=options.source,
        max_error_rate=options.max_error_rate,
    )
    _driver(options, recipe).run()
    _print_books(options.output)
    return OK


def _annotate(options: argparse.Namespace) -> int:
    from pipelines.plain_files import annotator_values, plain_recipe

    asked = annotator_values(options.annotator, options.option, options.model)
    recipe = plain_recipe([options.input], options.output, annotators=asked)
    _driver(options, recipe).run()
    _print_books(options.output)
    return OK


def _dedup(options: argparse.Namespace) -> int:
    from dedup.keep import LENGTH
    from pipelines.documents import DOCUMENT_SCHEMA
    from pipelines.find_duplicates import FindDuplicates
    from pipelines.plain_files import plain_recipe

    keep = options.keep or ["longest"]
    of_columns = len(keep) > 1 or keep[0] in (LENGTH, *DOCUMENT_SCHEMA.names) or " " in keep[0] or "." in keep[0]
    block = {
        "method": options.method,
        "threshold": options.threshold,
        "signatures": options.signatures,
        "clusters": options.clusters,
        "guard": options.guard,
        "keep": keep if of_columns else keep[0],
    }
    arguments = {name: value for name, value in block.items() if name != "signatures"}
    try:
        needed = FindDuplicates(output="", shards=0, annotator=options.signatures, **arguments).annotations
    except ValueError:
        needed = set()  # the recipe's check says what is wrong
    recipe = plain_recipe([options.input], options.output, annotators=sorted(needed), dedup=block)
    _driver(options, recipe).run()
    _print_books(options.output)
    return OK


def _redact(options: argparse.Namespace) -> int:
    from pii.policy import PolicyError, load_policy
    from pipelines.plain_files import plain_recipe
    from pipelines.redact import Redaction

    try:
        policy = load_policy(options.policy)
    except PolicyError as error:
        raise UsageError(f"--policy: {error}") from None
    recipe = plain_recipe([options.input], options.output, pii={"policy": options.policy})
    driver = _driver(options, recipe)
    driver.redaction = Redaction(policy)
    driver.run()
    _print_books(options.output)
    return OK


def _fit_nothing(options: argparse.Namespace) -> int:
    raise UsageError("fit which model? allowed: classifier, dsir, ngram, contamination")


def _fit_classifier(options: argparse.Namespace) -> int:
    from pipelines.fit import fit_classifier_files

    positive, negative = options.positive, options.negative
    return _say_model(options, fit_classifier_files(positive, negative, options.output, options.option, options.lines))


def _fit_dsir(options: argparse.Namespace) -> int:
    from pipelines.fit import fit_dsir_files

    target, source = options.target, options.source
    return _say_model(options, fit_dsir_files(target, source, options.output, options.option, options.lines))


def _fit_ngram(options: argparse.Namespace) -> int:
    from pipelines.fit import fit_ngram_files

    model = fit_ngram_files(options.paths, options.output, options.option, options.lines, options.cutoff)
    return _say_model(options, model)


def _fit_contamination(options: argparse.Namespace) -> int:
    from pipelines.fit import fit_contamination_index

    if options.option or options.lines:
        raise UsageError("fit contamination takes no --option and no --lines: the description says all")
    model = fit_contamination_index(options.output, options.sets, options.set_names, options.folder)
    return _say_model(options, model)


def _say_model(options: argparse.Namespace, model: Any) -> int:
    from pipelines.fit import report_of

    told = {"path": model.path, "name": f"{model.kind}@{model.name}", "sha256": model.sha256, **model.manifest}
    print(json.dumps(told, indent=1, ensure_ascii=False) if options.json else report_of(model))
    return OK


def _curate(options: argparse.Namespace) -> int:
    from pipelines.recipe import recipe_of

    asked = _load(options, options.recipe)
    if options.variant not in asked.variants:
        raise UsageError(
            f"{options.recipe}: no variant {options.variant!r}; it has {', '.join(sorted(asked.variants))}"
        )
    from pipelines.annotators import factories
    from pipelines.plain_files import plain_sources

    recipe = recipe_of(
        asked.for_plain_files(options.variant, options.output, plain_sources([options.input], "input", options.output)),
        annotators=factories(),
    )
    _driver(options, recipe).run()
    _print_books(options.output)
    return OK


def _licenses(options: argparse.Namespace) -> int:
    from pipelines.license_files import scan_files, table

    found = scan_files(options.paths)
    for line in (json.dumps(row, ensure_ascii=False) for row in found) if options.json else table(found):
        print(line)
    return OK


# -- reading verbs ---------------------------------------------------------------------------------------


def _validate(options: argparse.Namespace) -> int:
    from pipelines.validate import validate

    result = validate(options.output)
    if options.json:
        print(json.dumps(result.to_json(), indent=1))
    else:
        for problem in result.problems:
            print(problem)
        if not result.problems:
            print(
                f"hashes and books hold: {result.stages} stages, {result.shards} shards, "
                f"{result.bytes:,} bytes, manifest {result.manifest_sha256}"
            )
    return FAILED if result.problems else OK


def _inspect(options: argparse.Namespace) -> int:
    from pipelines.inspection import document_story, shard_sample

    if options.path == "lookup":
        return look_up(options)
    found = document_story(options.path, options.doc) if options.doc else shard_sample(options.path, options.rows)
    print(json.dumps(found.to_json(), indent=1, ensure_ascii=False) if options.json else found.text())
    return OK


def _print_books(output: str) -> None:
    from pipelines.validate import books_table

    for stage, books in books_table(output):
        print(f"{stage}: {books}")


if __name__ == "__main__":
    sys.exit(main())
