"""Verbs of the command line for those whose work a corpus may hold: am I in it, and leave me out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from pipelines.comparing_verbs import Addition, Handler, which
from pipelines.errors import UsageError

DriverOf = Callable[[argparse.Namespace, Any, str], Any]
"""The driver of a recipe that writes to a folder, with the engine of the call."""


def add_people_verbs(
    verb: Callable[[str, Handler, str], argparse.ArgumentParser],
    with_engine: Addition,
    with_json: Addition,
    driver_of: DriverOf,
) -> None:
    """verb: adds one with its handler and what it does.  with_engine, with_json: add options that verbs share."""
    opt_out = verb("optout", which("optout", "apply"), "take documents out of finished corpora")
    actions = opt_out.add_subparsers(title="actions", metavar="ACTION")
    text = "rewrite the shards of a finished run that hold what a list names"
    apply = with_json(with_engine(actions.add_parser("apply", help=text, description=text)))
    apply.set_defaults(handler=lambda options: _opt_out_apply(options, driver_of))
    apply.add_argument("run", help="output folder of a run")
    apply.add_argument("list", nargs="+", help="list of what to leave out (YAML or CSV), beside those of the recipe")


# Options of `inspect lookup` -> fields of pipelines.lookup.
_ASKED = {
    "repo": "owner/name of a repository, or a distribution's name",
    "owner": "an account, with all its repositories",
    "url": "address of one page",
    "domain": "host, with all its subdomains",
    "swhid": "swh:1:cnt:...",
    "content_sha256": "SHA-256 of the raw bytes",
    "id": "doc_id",
    "text": "the text itself, at least 96 bytes, or @FILE that holds it",
}


def add_lookup(inspect: argparse.ArgumentParser) -> None:
    """The arguments of `inspect lookup RUN`."""
    inspect.add_argument("run", nargs="?", help="with lookup: output folder of a run")
    group = inspect.add_argument_group("lookup", "is it in, where, under which licence, which rules did it pass?")
    for name, text in _ASKED.items():
        group.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE", help=text)
    group.add_argument("--limit", type=int, default=20, help="documents to show (default: 20)")


def look_up(options: argparse.Namespace) -> int:
    """Prints what `inspect lookup` finds; exit code 1 where there is nothing."""
    from pipelines.lookup import lookup
    from pipelines.storage import absolute

    asked = [(name, getattr(options, name)) for name in _ASKED if getattr(options, name) is not None]
    if options.run is None or len(asked) != 1:
        allowed = ", ".join(f"--{name.replace('_', '-')}" for name in _ASKED)
        raise UsageError(f"inspect lookup takes the output folder of a run and exactly one of {allowed}")
    ((field, value),) = asked
    if field == "text" and value.startswith("@"):
        value = _text_of(value[1:])
    answer = lookup(absolute(options.run), field, value, options.limit, lambda text: print(text, file=sys.stderr))
    print(json.dumps(answer.to_json(), indent=1, ensure_ascii=False) if options.json else answer.text())
    return 0 if answer.found else 1


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--text @{path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None


_SHOWN = 10  # entries of a list that a message names
_WHOLE = ", all made again: another version of Gristmill or its libraries made them, or a random draw depends on them"


def _opt_out_apply(options: argparse.Namespace, driver_of: DriverOf) -> int:
    from pipelines.annotators import factories
    from pipelines.manifest import MANIFEST
    from pipelines.opt_out import missing_parts, without_document, without_run
    from pipelines.recipe import load_recipe
    from pipelines.storage import absolute, exists, join, read_json

    output = absolute(options.run)
    path = join(output, "recipe.yaml")
    missing = missing_parts(output)
    if missing:
        raise UsageError(without_run(output, missing, lambda: _joined(options.list)))
    recipe = load_recipe(path, annotators=factories())
    asked = _joined(options.list)
    try:
        _joined(recipe.opt_out)
    except UsageError as error:
        raise UsageError(f"{path}: opt_out: {error}") from None
    lists = dict.fromkeys((*recipe.opt_out, *options.list))
    driver = driver_of(options, recipe.model_copy(update={"opt_out": tuple(lists)}), output)
    before = read_json(join(output, MANIFEST))["stages"] if exists(join(output, MANIFEST)) else {}
    after = driver.apply_opt_out()
    idle = [f"{each.field} {each.value}" for each in without_document(output, range(driver.document_shards), asked)]
    own = {"entries_without_document": idle}
    told = [
        {**_change(name, before[name], stage.to_json()), "made_as_a_whole": name in driver.whole, **own}
        for name, stage in after.items()
        if name.startswith("curate/")
    ]
    if options.json:
        print(json.dumps(told, indent=1))
        return 0
    for each in told:
        print(
            f"{each['variant']}: {_counted(each['opted_out'], 'document')} opted out, {each['documents_before']:,} -> "
            f"{each['documents']:,} left; {each['shards_rewritten']:,} of {each['shards']:,} data shards changed"
            + (_WHOLE if each["made_as_a_whole"] else "")
        )
    if idle:
        more = f" and {len(idle) - _SHOWN:,} more" if len(idle) > _SHOWN else ""
        named = "1 entry names" if len(idle) == 1 else f"{len(idle):,} entries name"
        print(f"{named} no document here: {', '.join(idle[:_SHOWN])}{more}")
    if any(each["shards_rewritten"] for each in told):
        print(f"{path} names the lists now. Name them in your own recipe, too: else its next run takes documents back.")
    return 0


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _joined(lists: Sequence[str]) -> Any:
    """The entries of all lists; UsageError, with file and line, for a wrong one."""
    from licenses import OptOut, OptOutError

    try:
        return OptOut.joined([OptOut.load(path) for path in lists])
    except OptOutError as error:
        raise UsageError(str(error)) from None


def _change(stage: str, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    old, new = ({s["path"]: s["sha256"] for s in each["shards"] if "/data/" in s["path"]} for each in (before, after))
    dropped = after["books"]["dropped"]
    return {
        "variant": stage.partition("/")[2],
        "opted_out": sum(count for rule, count in dropped.items() if rule.startswith("opt_out/")),
        "documents_before": before["books"]["kept"],
        "documents": after["books"]["kept"],
        "shards": len(new),
        "shards_rewritten": sum(old.get(path) != sha256 for path, sha256 in new.items()),
    }
