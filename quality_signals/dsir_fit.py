"""Fitting importance weights: feature counts of a target and of a source corpus, and the model file of the two.

    fit(target, source, path, *, features="rpv2", buckets=10_000, samples=None, seed=None, language=None,
        inputs=None) -> ModelFile                                                   # model kind "dsir"

One source against several targets (as RedPajama's three) is counted once:

    source = count_domain(crawl, samples=500_000)
    for name, corpus in targets.items():
        write_importance(count_domain(corpus, samples=500_000), source, f"{name}.zip", language="en")

A model that exists as RedPajama's `counts.npy` files becomes a model file by `import_redpajama`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import random
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.dsir_features import BUCKETS, MAX_BUCKETS, SCHEMES, Scheme, hash_features
from quality_signals.model_files import ModelFile, ModelFileError, write_model
from quality_signals.text_batch import SharedTexts

Counts = npt.NDArray[np.int64]
Texts = Iterable[str] | Iterable[pa.RecordBatch]

KIND = "dsir"
TARGET_COUNTS, SOURCE_COUNTS = "target_counts.npy", "source_counts.npy"
# Documents of each domain in RedPajama's own models: DSIR_NUM_SAMPLES of its configs/rp_v2.0.conf.
REDPAJAMA_SAMPLES = 500_000
_SCHEME_TEXTS: dict[Scheme, str] = {
    "rpv2": r"words \w+|[^\w\s]+ and pairs of them; |hash| of Python 3.11 with PYTHONHASHSEED=42, mod buckets",
    "dsir": r"lower case; words \w+|[^\w\s]+ and pairs joined by a space; SHA-256 mod buckets",
}
_BATCH_CHARACTERS = 2_000_000
_BATCH_TEXTS = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class Domain:
    """What a corpus is to an importance model."""

    features: Scheme
    counts: Counts  # [buckets], occurrences over the whole corpus
    mean_words: float | None  # WordPunct words a document: lambda of the length correction; None if unknown
    documents: int | None = None
    sha256: str | None = None  # of the texts in order, each behind its length in bytes (8 bytes, little-endian)

    def summary(self) -> dict[str, Any]:
        return {
            "documents": self.documents,
            "features": int(self.counts.sum()),
            "mean_words": self.mean_words,
            "texts_sha256": self.sha256,
        }


def _strings(items: Texts) -> Iterator[str]:
    for item in items:
        if isinstance(item, str):
            yield item
        elif isinstance(item, pa.RecordBatch):
            yield from (text for text in item.column("text").to_pylist() if text is not None)
        else:
            raise TypeError(f"a corpus holds strings or record batches with a column text, not {type(item).__name__}")


def _sampled(texts: Texts, samples: int | None, seed: int | None) -> Iterator[str]:
    """The texts to count.  With a seed every choice of `samples` of them is equally likely (Knuth, TAOCP 3.4.2,
    algorithm S), which needs their number first."""
    if samples is not None and samples < 1:
        raise ValueError(f"samples {samples} must be 1 or more")
    if samples is None:
        yield from _strings(texts)
    elif seed is None:
        for number, text in enumerate(_strings(texts)):
            if number == samples:
                return
            yield text
    else:
        if iter(texts) is texts:
            raise ValueError(
                "a seeded sample reads the corpus twice: give a list or an object that can be iterated anew"
            )
        left = sum(1 for _ in _strings(texts))
        chance = random.Random(seed)  # its stream of random() is the same in every version of Python
        for text in _strings(texts):
            if chance.random() * left < samples:
                samples -= 1
                yield text
            left -= 1
            if not samples:
                return


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= _BATCH_CHARACTERS or len(batch) >= _BATCH_TEXTS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def count_domain(
    texts: Texts,
    *,
    features: Scheme = "rpv2",
    buckets: int = BUCKETS,
    samples: int | None = None,
    seed: int | None = None,
    name: str = "corpus",
) -> Domain:
    """Reads a corpus: strings, or record batches with a column `text` (rows without text are passed over).

    samples: at most this many documents: the first ones, as RedPajama takes them from a shuffled file, or, with a
    seed, a random choice.  ValueError, with `name`, for a corpus without a word.  Memory: one batch of texts.
    """
    counts = np.zeros(buckets, np.int64)
    words = documents = 0
    digest = hashlib.sha256()
    for batch in _batches(_sampled(texts, samples, seed)):
        array = pa.array(batch, pa.large_string())
        view = SharedTexts(pa.RecordBatch.from_arrays([array], ["text"])).of(None)
        found = hash_features(view, features, buckets)
        np.add.at(counts, found.buckets, found.counts)
        words += int(found.words.sum())
        documents += len(batch)
        whole = view.utf8.data
        bounds = view.byte_offsets.tolist()
        for start, end in zip(bounds[:-1], bounds[1:], strict=True):
            digest.update((end - start).to_bytes(8, "little"))
            digest.update(whole[start:end])
    if not words:
        raise ValueError(f"{name}: no words in {documents} documents, so nothing to fit")
    return Domain(features, counts, words / documents, documents, digest.hexdigest())


def write_importance(
    target: Domain,
    source: Domain,
    path: str | os.PathLike[str],
    *,
    language: str | None = None,
    options: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> ModelFile:
    """The model file of two domains, which must have the same features.

    language: of the texts, ISO 639-1; `rps_importance@1` scores documents of it.  options, inputs: for the manifest.
    """
    for end, domain in (("target", target), ("source", source)):
        if domain.counts.sum() <= 0 or domain.counts.min() < 0:
            raise ValueError(f"the {end} has no features, or negative counts")
    if target.features != source.features:
        raise ValueError(
            f"the target was counted with features {target.features!r} and the source with {source.features!r}: "
            "their buckets mean different words"
        )
    if len(target.counts) != len(source.counts):
        raise ValueError(f"the target has {len(target.counts)} buckets and the source {len(source.counts)}")
    manifest = {
        "features": target.features,
        "buckets": len(target.counts),
        "scheme": _SCHEME_TEXTS[target.features],
        "language": language,
        "target": target.summary(),
        "source": source.summary(),
        "options": dict(options or {}),
        "inputs": dict(inputs or {}),
        "versions": {"unicode": unicodedata.unidata_version},  # which characters are words
    }
    members = {TARGET_COUNTS: _array_bytes(target.counts), SOURCE_COUNTS: _array_bytes(source.counts)}
    return write_model(path, KIND, manifest, members)


def fit(
    target: Texts,
    source: Texts,
    path: str | os.PathLike[str],
    *,
    features: Scheme = "rpv2",
    buckets: int = BUCKETS,
    samples: int | None = None,
    seed: int | None = None,
    language: str | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> ModelFile:
    """Counts both corpora (`count_domain`) and writes their model (`write_importance`).

    The same texts give the same file.  RedPajama's own models: features 'rpv2', samples REDPAJAMA_SAMPLES.
    """
    if features not in SCHEMES:
        raise ValueError(f"features {features!r} are unknown: {' or '.join(SCHEMES)}")
    if not 1 <= buckets <= MAX_BUCKETS:
        raise ValueError(f"buckets {buckets} must be 1 to {MAX_BUCKETS:,}")
    counted = {
        name: count_domain(texts, features=features, buckets=buckets, samples=samples, seed=seed, name=name)
        for name, texts in (("target", target), ("source", source))
    }
    options = {"samples": samples, "seed": seed}
    return write_importance(
        counted["target"], counted["source"], path, language=language, options=options, inputs=inputs
    )


def _array_bytes(counts: Counts) -> bytes:
    out = io.BytesIO()
    np.save(out, counts.astype("<i8"), allow_pickle=False)
    return out.getvalue()


def _load(path: Path, what: str) -> npt.NDArray[Any]:
    try:
        with open(path, "rb") as file:
            return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ModelFileError(f"{path}: no readable array of {what} ({error})") from error


def _redpajama_domain(counts_file: Path, lambda_file: Path | None) -> Domain:
    counts = _load(counts_file, "hash counts")
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or not len(counts) or counts.min() < 0 or not counts.sum():
        raise ModelFileError(
            f"{counts_file}: hash counts are a row of non-negative integers, not {counts.dtype} {counts.shape}"
        )
    if lambda_file is None:
        # The names that its HashDist gives: wikipedia.en.10000.counts.npy, wikipedia.en.lambda.npy.
        beside = counts_file.with_name(".".join([*counts_file.name.split(".")[:2], "lambda", "npy"]))
        lambda_file = beside if beside.is_file() else None
    mean_words = None
    if lambda_file is not None:
        found = _load(lambda_file, "the mean length")
        if found.shape != () or found.dtype.kind not in "fiu" or not 0 <= float(found) < np.inf:
            raise ModelFileError(f"{lambda_file}: a mean length is one number from 0, not {found.dtype} {found.shape}")
        mean_words = float(found)
    return Domain("rpv2", counts.astype(np.int64), mean_words)


def import_redpajama(
    target_counts: str | os.PathLike[str],
    source_counts: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    target_lambda: str | os.PathLike[str] | None = None,
    source_lambda: str | os.PathLike[str] | None = None,
    language: str | None = None,
) -> ModelFile:
    """A model file from the arrays that RedPajama-Data @ 6d2cee9 (app/src/artifacts/hash_dist.py) saves.

    target_counts, source_counts: `<dataset>.<language>.<buckets>.counts.npy`.  The lambda files are looked for beside
    them under their usual names; without them the length corrections are null.  language: by default the one in both
    files' names, which must agree (as the reference asserts).
    """
    files = [Path(target_counts), Path(source_counts)]
    if language is None:
        names = [file.name.split(".") for file in files]
        found = {name[1] if len(name) > 3 else None for name in names}
        if len(found) > 1 or None in found:
            raise ModelFileError(
                f"{files[0]} and {files[1]}: their names do not give one language (<dataset>.<language>.<buckets>"
                ".counts.npy): say which it is"
            )
        language = found.pop()
    target = _redpajama_domain(files[0], None if target_lambda is None else Path(target_lambda))
    source = _redpajama_domain(files[1], None if source_lambda is None else Path(source_lambda))
    inputs = {
        end: {"name": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for end, file in zip(("target", "source"), files, strict=True)
    }
    try:
        return write_importance(target, source, path, language=language, inputs=inputs)
    except ModelFileError:
        raise
    except ValueError as error:
        raise ModelFileError(f"{files[0]} and {files[1]}: {error}") from error
