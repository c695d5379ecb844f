"""Quality signals: text batches in, columns out.

    import quality_signals
    quality_signals.names()
    quality_signals.annotate("rpv2@1", ["Some text.", "Another."]).to_pylist()
    quality_signals.annotate("gopher@datatrove", "Some text.")["reason"]
    quality_signals.annotate("classifier", ["Some text."], model="models/edu.zip")

Neither Beam nor torch is imported; models and compiled kernels are loaded on first use.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ANNOTATORS", "MODEL_ANNOTATORS", "Factory", "annotate", "names"]


class Factory:
    """Makes an annotator with the given options; its module is imported on first use.

    module, name   where the class stands
    needs_model    whether the first argument is the path of a model file
    fixed          options that belong to the annotator's name and cannot be given
    """

    __slots__ = ("fixed", "module", "name", "needs_model")

    def __init__(self, module: str, name: str, *, needs_model: bool = False, **fixed: Any) -> None:
        self.module, self.name, self.needs_model, self.fixed = module, name, needs_model, fixed

    @property
    def made(self) -> type:
        """The class of what is made."""
        return getattr(importlib.import_module(self.module), self.name)

    def __call__(self, *model: str, **options: Any) -> Any:
        return self.made(*model, **self.fixed, **options)


# Versioned name -> factory of an annotator with its defaults.  A released name never changes its values.
ANNOTATORS: dict[str, Factory] = {
    "language@1": Factory("quality_signals.language", "Language"),
    "line_languages@1": Factory("quality_signals.language", "LineLanguages"),
    "stop_words@1": Factory("quality_signals.stop_words", "StopWords"),
    "rpv2@1": Factory("quality_signals.rpv2", "RedPajamaV2"),
    "rps_importance@1": Factory("quality_signals.dsir", "RedPajamaImportance"),
    "dsir_features@rpv2": Factory("quality_signals.dsir", "DsirFeatures"),
    "ccnet@1": Factory("quality_signals.ccnet", "CcNet"),
    "gopher@datatrove": Factory("quality_signals.gopher", "GopherQuality"),
    "gopher_repetition@datatrove": Factory("quality_signals.gopher_repetition", "GopherRepetition"),
    "c4@datatrove": Factory("quality_signals.c4_datatrove", "C4Quality"),
    "c4_fineweb@datatrove": Factory("quality_signals.c4_datatrove", "C4FineWeb"),
    "fineweb@datatrove": Factory("quality_signals.fineweb", "FineWebQuality"),
    "bad_words@datatrove": Factory("quality_signals.bad_words", "BadWordsDatatrove"),
    "bad_words@tfds": Factory("quality_signals.bad_words", "BadWordsTfds"),
    "gopher@dolma": Factory("quality_signals.gopher_dolma", "GopherDolma", version="v1", alias=True),
    "gopher_v1@dolma": Factory("quality_signals.gopher_dolma", "GopherDolma", version="v1", alias=False),
    "gopher_v2@dolma": Factory("quality_signals.gopher_dolma", "GopherDolma", version="v2", alias=False),
    "repetitions_v1@dolma": Factory("quality_signals.gopher_dolma_repetitions", "RepetitionsDolma", paragraphs=False),
    "paragraph_repetitions_v1@dolma": Factory(
        "quality_signals.gopher_dolma_repetitions", "RepetitionsDolma", paragraphs=True
    ),
    "c4@dolma": Factory("quality_signals.c4_dolma", "C4Dolma", version="v2", alias=True),
    "c4_v1@dolma": Factory("quality_signals.c4_dolma", "C4Dolma", version="v1", alias=False),
    "c4_v2@dolma": Factory("quality_signals.c4_dolma", "C4Dolma", version="v2", alias=False),
    "c4@tfds": Factory("quality_signals.c4_tfds", "C4Tfds"),
    "mc4@1": Factory("quality_signals.mc4", "MC4"),
    "gopher@dclm": Factory("quality_signals.gopher_dclm", "GopherDclm"),
    "refinedweb@dclm": Factory("quality_signals.refinedweb_dclm", "RefinedWebDclm"),
    "url@datatrove": Factory("quality_signals.urls", "UrlDatatrove"),
    "ut1@1": Factory("quality_signals.urls_ut1", "Ut1"),
    "code_stats@1": Factory("quality_signals.code_stats", "CodeStatistics"),
    "code@1": Factory("quality_signals.code_flags", "CodeFiles"),
    "comments@1": Factory("quality_signals.comments", "Comments"),
    "stack_v1@1": Factory("quality_signals.stack_v1", "StackV1", per_extension=False),
    "starcoder@1": Factory("quality_signals.stack_v1", "StackV1", per_extension=True),
    "stack_v2_pr@1": Factory("quality_signals.stack_v2_pr", "StackV2PullRequestFile"),
    "starcoder2@1": Factory("quality_signals.starcoder2", "StarCoder2"),
}
# Family -> factory(path, **options) of an annotator that runs a fitted model; its name ends in the model's hash.
MODEL_ANNOTATORS: dict[str, Factory] = {
    "classifier": Factory("quality_signals.classifier", "Classifier", needs_model=True),
    "dsir": Factory("quality_signals.dsir", "DsirImportance", needs_model=True),
    "ml_score": Factory("quality_signals.ml_scores", "MlScore", needs_model=True),
    "perplexity": Factory("quality_signals.perplexity", "Perplexity", needs_model=True),
}


def names() -> list[str]:
    """Names of all annotators of this package that need no model, sorted."""
    return sorted(ANNOTATORS)


@overload
def annotate(name: str, texts: str, **options: Any) -> dict[str, Any]: ...
@overload
def annotate(name: str, texts: pa.RecordBatch | Sequence[str | None], **options: Any) -> pa.RecordBatch: ...
def annotate(
    name: str,
    texts: pa.RecordBatch | Sequence[str | None] | str,
    *,
    language: str | Sequence[str | None] | None = None,
    kind: str | Sequence[str | None] | None = None,
    path: str | Sequence[str | None] | None = None,
    url: str | Sequence[str | None] | None = None,
    model: str | None = None,
    **options: Any,
) -> Any:
    """Columns of the annotator `name` for a batch with a `text` column, for a list of strings, or for one string.

    A batch or a list gives a batch of as many rows, one string a dict of its columns.
    language, kind, path, url: for strings only; one value for all of them, or one a string.  A string without kind
    is computed by every annotator.  model: the file that a model's family runs (`classifier`, `dsir`, ...).
    options: of the annotator.  Raises KeyError for an unknown name, with the nearest known; TypeError for unknown
    options; ValueError or OSError for a model or a list that cannot be used, naming the file.
    """
    annotator = _annotator(name, model, options)
    if hasattr(texts, "schema"):
        if any(given is not None for given in (language, kind, path, url)):
            raise TypeError("language, kind, path and url go with strings; a batch has its own columns")
        return annotator.annotate(texts)
    from quality_signals.batches import batch_of

    if not isinstance(texts, str):
        return annotator.annotate(batch_of(texts, language=language, kind=kind, path=path, url=url))
    of_one = {
        key: [value] if isinstance(value, str) else value
        for key, value in (("language", language), ("kind", kind), ("path", path), ("url", url))
    }
    return annotator.annotate(batch_of([texts], **of_one)).to_pylist()[0]


def _annotator(name: str, model: str | None, options: dict[str, Any]) -> Any:
    known = {**ANNOTATORS, **MODEL_ANNOTATORS}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise KeyError(f"no annotator {name!r}{hint} (known: {', '.join(sorted(known))})")
    factory = known[name]
    if not factory.needs_model:
        # some annotators have an option of this name
        return factory(**options) if model is None else factory(model=model, **options)
    if model is None:
        raise TypeError(f"{name} runs a fitted model: give its file as model=")
    return factory(model, **options)
