"""Recipes for verbs that are used alone, on JSONL and Parquet files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.errors import UsageError
from pipelines.recipe_annotators import DECISIONS
from pipelines.recipe_errors import RecipeError, nearest

if TYPE_CHECKING:
    from pipelines.recipe import Recipe

INPUT_HELP = "JSONL (.gz, .zst), Parquet, a folder of either, or a run's output folder (its documents)"
TEXTS_HELP = "JSONL, Parquet, text files (one text each), folders of them, or a run's output folder"
SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "jsonl": (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json.gz", ".json.zst", ".ndjson"),
    "parquet": (".parquet",),
}


def files_in(path: str) -> Iterator[str]:
    """The file itself, or the files of a folder in the order of their names.  Raises UsageError if there is none."""
    if not os.path.exists(path):
        raise UsageError(f"{path}: no such file or folder")
    if not os.path.isdir(path):
        yield path
        return
    yield from sorted(os.path.join(top, name) for top, _, names in os.walk(path) for name in names)


def run_documents(path: str) -> str | None:
    """The folder of the documents of a finished run; None where no run lies at the path."""
    from pipelines import manifest as manifests
    from pipelines.ingest import DOCUMENTS

    folder = os.path.join(path, DOCUMENTS)
    return folder if os.path.isfile(manifests.stage_manifest(path, DOCUMENTS)) else None


def plain_sources(inputs: Sequence[str], source: str, output: str | None = None) -> dict[str, Any]:
    """A source for the JSONL and one for the Parquet files among the inputs and in the folders among them.

    Of a finished run its documents are read.  What lies in the output is no input; raises UsageError where an input
    is the output, and where there is no file.
    """
    found: dict[str, list[str]] = {kind: [] for kind in SUFFIXES}
    own = None if output is None else os.path.join(os.path.realpath(output), "")
    for path in inputs:
        if own is not None and os.path.join(os.path.realpath(path), "") == own:
            raise UsageError(f"{path}: is the input, and what is written would take its place: give another --output")
        for file in files_in(run_documents(path) or path):
            if own is not None and os.path.realpath(file).startswith(own):
                continue
            for kind, endings in SUFFIXES.items():
                if file.endswith(endings):
                    found[kind].append(file)
    kinds = [kind for kind, files in found.items() if files]
    if not kinds:
        raise UsageError(f"{', '.join(inputs)}: no JSONL or Parquet file there; allowed: {INPUT_HELP}")
    return {source if len(kinds) == 1 else f"{source}_{kind}": {"kind": kind, "input": found[kind]} for kind in kinds}


def plain_recipe(
    inputs: Sequence[str],
    output: str,
    *,
    kind: str | None = None,
    options: Mapping[str, Any] | None = None,
    source: str = "input",
    **blocks: Any,
) -> Recipe:
    """A recipe for a verb that is used alone on files; options: of the reader of `kind`."""
    from pipelines.annotators import factories
    from pipelines.recipe import recipe_of

    described = {
        "name": source,
        "output": output,
        "sources": plain_sources(inputs, source, output)
        if kind is None
        else {source: {"kind": kind, "input": list(inputs), "options": dict(options or {})}},
        "max_error_rate": 1.0,
        **blocks,
    }
    return recipe_of(described, annotators=factories())


def reader_options(given: Sequence[str]) -> dict[str, Any]:
    """A source's options from KEY=VALUE arguments, the values in YAML.  Raises UsageError for another form."""
    options: dict[str, Any] = {}
    for argument in given:
        key, equals, text = argument.partition("=")
        if not (equals and key):
            raise UsageError(f"--option {argument}: an option is KEY=VALUE")
        options[key] = _value(text, argument)
    return options


def annotator_values(
    names: Sequence[str], options: Sequence[str] = (), models: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The `annotators` of a recipe from the arguments of `annotate`.

    names: NAME, ALIAS=NAME, or NAME+EDITOR for the text after an editor's edits; an editor that is not named itself
    is added before it.  options: NAME.KEY=VALUE, the value in YAML.  models: FAMILY=FILE.
    Raises UsageError for an argument of another form, and for one that belongs to no name.
    """
    entries: dict[str, dict[str, Any]] = {}
    for given in names:
        alias, equals, name = given.rpartition("=")
        name, *editors = name.split("+")
        for place in range(len(editors) - 1, -1, -1):
            if editors[place] in DECISIONS:  # no annotator: the recipe's check says whether it may come before
                continue
            _listed(entries, None, editors[place], editors[place + 1 :])
        if not _listed(entries, alias if equals else None, name, editors):
            raise UsageError(f"--annotator {given}: is given twice")
    for argument in options:
        where, equals, text = argument.partition("=")
        name, dot, key = where.rpartition(".")
        if not (equals and dot and name and key):
            raise UsageError(f"--option {argument}: an option is NAME.KEY=VALUE, for example rpv2@1.flat=true")
        _entry(entries, name, f"--option {argument}").setdefault("options", {})[key] = _value(text, argument)
    for argument in models:
        name, equals, path = argument.partition("=")
        if not (equals and name and path):
            raise UsageError(f"--model {argument}: a model is FAMILY=FILE, for example classifier=models/edu.zip")
        entry = _entry(entries, name, f"--model {argument}")
        if "model" in entry:
            raise UsageError(f"--model {argument}: {name} has the model {entry['model']} already")
        entry["model"] = path
    return list(entries.values())


def _listed(entries: dict[str, dict[str, Any]], alias: str | None, name: str, editors: Sequence[str]) -> bool:
    """Adds an annotator, and says whether it is new."""
    key = alias or "+".join([name, *editors])
    if key in entries:
        return False
    entries[key] = {"name": name}
    if editors:
        entries[key]["after"] = ["+".join(editors)]
    if alias:
        entries[key]["as"] = alias
    return True


def _entry(entries: Mapping[str, dict[str, Any]], name: str, argument: str) -> dict[str, Any]:
    """The annotator that an argument means: by its key, or by its name with or without a version."""
    if name in entries:
        return entries[name]
    found = [
        entry
        for key, entry in entries.items()
        if name in (entry["name"], entry["name"].partition("@")[0]) or name.partition("@")[0] == key
    ]
    if len(found) == 1:
        return found[0]
    near = nearest(name, entries)
    hint = f"; did you mean {near!r}?" if near else ""
    said = "stands for several annotators" if found else "belongs to no annotator"
    raise UsageError(f"{argument}: {name} {said} of this call{hint} (--annotator {', '.join(entries) or 'is missing'})")


def _value(text: str, argument: str) -> Any:
    from pipelines.recipe_yaml import read_value

    try:
        return read_value(text, f"--option {argument}")
    except RecipeError as error:
        raise UsageError(str(error)) from None
