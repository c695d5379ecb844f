"""Verbs of the command line about personal data: how good the detectors are, and what was found."""

from __future__ import annotations

import argparse
import glob
import itertools
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pipelines.comparing_verbs import Addition, Handler, which
from pipelines.errors import UsageError

if TYPE_CHECKING:
    from pii.policy import Policy
    from pii.report import Report


def add_pii_verbs(verb: Callable[[str, Handler, str], argparse.ArgumentParser], with_json: Addition) -> None:
    """verb: adds one with its handler and what it does.  with_json: adds the option that reading verbs share."""
    pii = verb(
        "pii", which("pii", "evaluate, report"), "detectors of personal data: their quality, and what they found"
    )
    actions = pii.add_subparsers(title="actions", metavar="ACTION")
    text = "precision, recall and F1 by kind against gold spans"
    evaluate = with_json(actions.add_parser("evaluate", help=text, description=text))
    evaluate.set_defaults(handler=_evaluate)
    evaluate.add_argument(
        "gold", help="JSONL: text (or full_text) and spans with start, end, kind; or as presidio-research"
    )
    evaluate.add_argument(
        "--names", action="store_true", help="patterns and presidio together; needs gristmill[pii] (default: patterns)"
    )
    evaluate.add_argument(
        "--min-confidence", type=float, default=0.5, help="finds below it do not count (default: 0.5)"
    )
    evaluate.add_argument(
        "--misses", type=int, default=0, metavar="N", help="print up to N missed and wrong spans a kind"
    )
    text = "counts by kind, source and action, with masked samples, of a finished run or of what `redact` wrote"
    report = with_json(actions.add_parser("report", help=text, description=text))
    report.set_defaults(handler=_report)
    report.add_argument("run", help="output folder")
    report.add_argument(
        "--policy", help="policy file (YAML) or the name of one (default: that of the run, else default)"
    )


def _evaluate(options: argparse.Namespace) -> int:
    from pii.evaluate import GoldError, all_spans, evaluate, pattern_spans, read_gold
    from pii.names import NamesError

    if not 0 <= options.min_confidence <= 1:
        raise UsageError(f"--min-confidence must be a number from 0 to 1, found {options.min_confidence}")
    try:
        gold = list(read_gold(options.gold))
        result = evaluate(gold, all_spans if options.names else pattern_spans, options.min_confidence)
    except (GoldError, NamesError) as error:
        raise UsageError(str(error)) from None
    if not gold:
        raise UsageError(f"{options.gold}: no gold text there")
    if options.json:
        misses = {}
        if options.misses > 0:
            misses = {
                name: {kind: values[: options.misses] for kind, values in sorted(table.items())}
                for name, table in (("missed", result.missed), ("wrong", result.wrong))
            }
        print(json.dumps({**result.to_mapping(), **misses}, ensure_ascii=False))
        return 0
    print(result.table())
    for name, table in (("missed", result.missed), ("wrong", result.wrong)):
        for kind, values in sorted(table.items()) if options.misses > 0 else ():
            print(f"\n{name} {kind}: {len(values)}")
            for value in values[: options.misses]:
                print(f"    {value!r}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from pii.policy import PolicyError, load_policy

    try:
        policy = load_policy(options.policy or _policy_of(options.run))
    except PolicyError as error:
        raise UsageError(str(error)) from None
    report = report_of(options.run, policy)
    print(json.dumps(report.to_mapping(), ensure_ascii=False) if options.json else report.text())
    return 0


def _policy_of(output: str) -> str:
    """The name or file of the policy that a run was made with; `default` where its recipe names none."""
    from pipelines import storage
    from pipelines.recipe_yaml import read_yaml

    path = storage.join(output, "recipe.yaml")
    block = read_yaml(path).data.get("pii") if storage.exists(path) else None
    return str(block["policy"]) if isinstance(block, dict) and "policy" in block else "default"


def report_of(output: str, policy: Policy) -> Report:
    """The report of an output folder: of its column `pii` where the text is redacted already, else of the annotations
    of the policy's detectors under this policy.  One batch in memory.  Raises UsageError."""
    from pii.report import Report
    from pipelines import storage
    from pipelines.ingest import DOCUMENTS
    from pipelines.shards import read_batches

    paths = sorted(glob.glob(storage.join(output, DOCUMENTS, "*.parquet")))
    if not paths:
        raise UsageError(f"{output}: no {DOCUMENTS}/*.parquet there; expected the output folder of a run or of redact")
    report = Report()
    for index, path in enumerate(paths):
        batches = read_batches(path)
        first = next(batches, None)
        if first is None:
            continue
        if "pii" in first.schema.names:
            for batch in itertools.chain([first], batches):
                rows = (batch.column(name).to_pylist() for name in ("doc_id", "source", "pii"))
                identities, sources, applied = rows
                report.add(identities, sources, None, applied)
        else:
            report.policy = policy.name
            _add_annotated(report, output, index, path, policy)
    for path in sorted(glob.glob(storage.join(output, "rejected", "*.parquet"))):
        for batch in read_batches(path):
            report.add_failures(
                (row["id"], row["error"], row["message"])
                for row in batch.to_pylist()
                if str(row["stage"]).rpartition("/")[2].startswith("pii") or str(row["stage"]) == "redact"
            )
    return report


def _add_annotated(report: Report, output: str, index: int, path: str, policy: Policy) -> None:
    import pii
    from pipelines import storage
    from pipelines.annotate import annotation_shard
    from pipelines.shards import read_aligned

    shards = {name: annotation_shard(output, name, index) for name in policy.annotators}
    for name, shard in shards.items():
        if not storage.exists(shard):
            raise UsageError(f"{output}: {name} was not annotated; policy {policy.name!r} needs it")
    for batch, known in read_aligned(path, shards):
        spans = pii.policy_spans(policy, {name: known[name].column("spans") for name in shards})
        texts = batch.column("text").to_pylist()
        applied = [
            [span._asdict() for span in pii.apply_policy(map(_tuple_of, row or ()), policy)]
            for row in spans.to_pylist()
        ]
        report.add(batch.column("doc_id").to_pylist(), batch.column("source").to_pylist(), texts, applied)


def _tuple_of(span: Mapping[str, Any]) -> tuple[int, int, str, float]:
    return span["start"], span["end"], span["kind"], span["confidence"]
