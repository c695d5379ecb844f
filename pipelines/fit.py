"""Fitting models from files: a classifier, importance weights, an n-gram model; what is printed is what was measured.

The texts come from JSONL, Parquet or text files, from folders of them, or from a run's output: then its documents,
and of a corpus only what it trains on, so that nothing held out is learnt.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import sys
import typing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from pipelines import storage
from pipelines.annotators import type_words
from pipelines.errors import UsageError
from pipelines.plain_files import SUFFIXES, files_in
from pipelines.recipe_errors import RecipeError, listed, nearest, shown

if TYPE_CHECKING:
    from quality_signals.model_files import ModelFile

TEXT_SUFFIXES = (".txt", ".text", ".md")
_ENDINGS = (*SUFFIXES["jsonl"], *SUFFIXES["parquet"], *TEXT_SUFFIXES)
# As curate names the shards of a corpus.
_HELD_OUT = "held_out-"


@dataclasses.dataclass
class TextFiles:
    """The texts of files, read once; inputs: name -> sha256 for a manifest.

    lines: whether each line of a text file, not the file, is a text.
    """

    paths: Sequence[str]
    lines: bool = False
    skipped: Counter[str] = dataclasses.field(default_factory=Counter)
    read: int = 0

    def __post_init__(self) -> None:
        self.files = [file for path in self.paths for file in training_files(path)]
        if not self.files:
            raise UsageError(f"{', '.join(self.paths)}: no file with texts there; allowed: {', '.join(_ENDINGS)}")

    @property
    def inputs(self) -> dict[str, str]:
        """Name -> sha256.  A name says nothing of where the given paths lie: the same files make the same model."""
        found: dict[str, str] = {}
        for path in self.paths:
            above = os.path.dirname(os.path.abspath(path))
            for file in training_files(path):
                name = os.path.relpath(os.path.abspath(file), above)
                twins = sum(known == name or known.startswith(f"{name} (") for known in found)
                found[f"{name} ({twins + 1})" if twins else name] = storage.file_sha256(file)
        return found

    def __iter__(self) -> Iterator[str]:
        for file in self.files:
            if file.endswith(SUFFIXES["parquet"]):
                texts = self._parquet(file)
            elif file.endswith(TEXT_SUFFIXES):
                texts = self._text(file)
            else:
                texts = self._jsonl(file)
            for text in texts:
                self.read += 1
                yield text

    def _parquet(self, path: str) -> Iterator[str]:
        try:
            with pq.ParquetFile(path) as parquet:
                if "text" not in parquet.schema_arrow.names:
                    raise UsageError(f"{path}: has no column text; it has {', '.join(parquet.schema_arrow.names)}")
                for batch in parquet.iter_batches(batch_size=1024, columns=["text"]):
                    column = batch.column(0).cast(pa.large_string())
                    self.skipped["missing_text"] += column.null_count
                    yield from column.drop_null().to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise UsageError(f"{path}: cannot be read: {error}") from None

    def _text(self, path: str) -> Iterator[str]:
        with open(path, encoding="utf-8", newline="") as file:
            try:
                if not self.lines:
                    yield file.read()
                    return
                for line in file:
                    if line.strip():
                        yield line.rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise UsageError(f"{path}: is not UTF-8: {error.reason} at byte {error.start}") from None

    def _jsonl(self, path: str) -> Iterator[str]:
        from pipelines.readers import Limits
        from pipelines.readers.jsonl import read_jsonl
        from pipelines.readers.records import Document, Rejected

        with storage.open_read(path) as raw:
            for item in read_jsonl(raw, path, "fit", None, Limits()):
                if isinstance(item, Document):
                    yield item.text
                elif isinstance(item, Rejected):
                    self.skipped[item.error] += 1

    def say(self, what: str) -> None:
        """How many texts were read, and how many rows had none, on stderr."""
        skipped = sum(self.skipped.values())
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(self.skipped.items()) if n)
        more = f"; {skipped:,} rows were left out: {reasons}" if skipped else ""
        print(f"{what}: {self.read:,} texts of {len(self.files):,} files{more}", file=sys.stderr)


def training_files(path: str) -> Iterator[str]:
    """The files with texts to learn from.  Raises UsageError for a path that is not there or a file of another kind."""
    if os.path.isfile(path) and not path.endswith(_ENDINGS):
        raise UsageError(f"{path}: is no file of texts; allowed: {', '.join(_ENDINGS)}")
    for inside in ("documents", "data"):
        if os.path.isdir(os.path.join(path, inside)) and os.path.exists(os.path.join(path, "manifest.json")):
            path = os.path.join(path, inside)
            break
    for file in files_in(path):
        if file.endswith(_ENDINGS) and not os.path.basename(file).startswith(_HELD_OUT):
            yield file


# -- options -----------------------------------------------------------------------------------------------


def fit_options(fit: Callable[..., Any], given: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE arguments as keywords of `fit`.  Raises UsageError for unknown keys and wrong types.

    The options are the keyword arguments of `fit` that have a default, without what the verb gives itself.
    """
    from pipelines.recipe_yaml import read_value

    hints = typing.get_type_hints(fit)
    known = [
        name
        for name, parameter in inspect.signature(fit).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in ("inputs", "cutoff_texts")
    ]
    options = {}
    for argument in given:
        key, equals, text = argument.partition("=")
        if not equals or not key:
            raise UsageError(f"--option {argument}: an option is KEY=VALUE; known: {listed(known)}")
        if key not in known:
            near = nearest(key, known)
            hint = f"; did you mean {near!r}?" if near else ""
            raise UsageError(f"--option {argument}: unknown option{hint} known: {listed(known)}")
        try:
            value = read_value(text, f"--option {argument}")
            options[key] = TypeAdapter(hints[key]).validate_json(json.dumps(value), strict=True)
        except RecipeError as error:
            raise UsageError(str(error)) from None
        except ValidationError:
            raise UsageError(
                f"--option {argument}: has a wrong type or value; found {shown(value)}; "
                f"allowed: {type_words(hints[key])}"
            ) from None
    return options


def _watched(texts: TextFiles, label: str) -> Iterator[str]:
    """The texts, counted on stderr where it is a terminal."""
    if not sys.stderr.isatty():
        return iter(texts)
    from tqdm import tqdm

    return iter(tqdm(texts, desc=label, unit=" texts", file=sys.stderr, leave=False))


def _fitted(fit: Callable[[], ModelFile]) -> ModelFile:
    """Raises UsageError where the texts or the options cannot make a model."""
    try:
        return fit()
    except ValueError as error:
        raise UsageError(str(error)) from None


# -- the three models --------------------------------------------------------------------------------------


def fit_classifier_files(
    positive: Sequence[str], negative: Sequence[str], output: str, options: Sequence[str] = (), lines: bool = False
) -> ModelFile:
    from quality_signals.classifier import fit_classifier

    chosen = fit_options(fit_classifier, options)
    positives, negatives = TextFiles(positive, lines), TextFiles(negative, lines)
    model = _fitted(
        lambda: fit_classifier(
            _watched(positives, "positive"),
            _watched(negatives, "negative"),
            output,
            inputs={
                **{f"positive/{name}": digest for name, digest in positives.inputs.items()},
                **{f"negative/{name}": digest for name, digest in negatives.inputs.items()},
            },
            **chosen,
        )
    )
    positives.say("positive")
    negatives.say("negative")
    return model


def fit_dsir_files(
    target: Sequence[str], source: Sequence[str], output: str, options: Sequence[str] = (), lines: bool = False
) -> ModelFile:
    from quality_signals.dsir_fit import fit

    chosen = fit_options(fit, options)
    targets, sources = TextFiles(target, lines), TextFiles(source, lines)
    inputs = {
        **{f"target/{name}": digest for name, digest in targets.inputs.items()},
        **{f"source/{name}": digest for name, digest in sources.inputs.items()},
    }
    model = _fitted(
        lambda: fit(_watched(targets, "target"), _watched(sources, "source"), output, inputs=inputs, **chosen)
    )
    targets.say("target")
    sources.say("source")
    return model


def fit_ngram_files(
    paths: Sequence[str],
    output: str,
    options: Sequence[str] = (),
    lines: bool = False,
    cutoffs: Sequence[str] = (),
) -> ModelFile:
    from quality_signals.ngram_model import fit_ngram

    chosen = fit_options(fit_ngram, options)
    texts = TextFiles(paths, lines)
    cutoff_texts = TextFiles(cutoffs, lines) if cutoffs else None
    inputs = {**texts.inputs, **{f"cutoff/{n}": d for n, d in (cutoff_texts.inputs if cutoff_texts else {}).items()}}
    model = _fitted(
        lambda: fit_ngram(_watched(texts, "texts"), output, cutoff_texts=cutoff_texts, inputs=inputs, **chosen)
    )
    texts.say("texts")
    return model


def report_of(model: ModelFile) -> str:
    """What a user wants to know of a model that was just made."""
    lines = [f"{model.kind}@{model.name}  {model.path}"]
    if model.kind == "classifier":
        from quality_signals.classifier import held_out_text

        lines.append(held_out_text(model.manifest))
    else:
        lines += _flat(model.manifest)
    return "\n".join(lines)


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """`key.inner: value` for what a manifest tells, without names of files, versions of libraries and weights."""
    for key, value in values.items():
        if key in ("inputs", "kind", "versions", "discounts"):
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{above}{key}: {value:,}"
        elif isinstance(value, list) and all(isinstance(each, int) for each in value):
            yield f"{above}{key}: {', '.join(f'{each:,}' for each in value)}"
        elif isinstance(value, str):
            yield f"{above}{key}: {value}"
        else:
            yield f"{above}{key}: {json.dumps(value, ensure_ascii=False)}"


def fit_contamination_index(
    output: str, file: str | None = None, names: Sequence[str] = (), folder: str | None = None
) -> ModelFile:
    """The index of evaluation sets that a description (YAML) has, or of those of `names`.

    folder: where the files of the sets lie; None: where the description lies.  Raises UsageError.
    """
    from dedup.contamination import build_contamination_index
    from dedup.contamination_sets import EvalSetError, known_sets, read_sets

    if file is None and not names:
        raise UsageError(
            f"which evaluation sets? give --sets FILE, or --set NAME and --folder; described are "
            f"{', '.join(sorted(known_sets()))}"
        )
    if folder is None:
        folder = os.path.dirname(file) or "." if file is not None else "."
    try:
        return build_contamination_index(output, read_sets(list(names) or None, file, folder))
    except (EvalSetError, OSError) as error:
        raise UsageError(str(error)) from None
