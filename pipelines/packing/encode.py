"""Documents of a batch as the tokens of their appearances."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eval_models.fim import FILE_SEPARATOR, Mark, fim_document, tokens_of
from licenses.reservations_marks import RESERVATION
from pipelines.host_files import NO_HOST_FILES
from pipelines.packing.plan import PackDocuments, appearances, weight_of
from pipelines.packing.tokenizer import Tokenizer, marks_of, open_tokenizer

_MESSAGE_CHARS = 500


@dataclasses.dataclass(slots=True)
class Encoded:
    """One document: (epoch, its tokens as bytes, the end of document with them) of each appearance; or why it has
    none."""

    doc_id: str
    source: str
    weighted: str = ""  # the name in the weights that says how often it appears
    appearances: list[tuple[int, bytes]] = dataclasses.field(default_factory=list)
    permuted: list[bool] = dataclasses.field(default_factory=list)  # whether fill-in-the-middle changed it, by epoch
    dropped: str | None = None
    error: tuple[str, str] | None = None  # class and message


def encode_batch(batch: pa.RecordBatch, plan: PackDocuments) -> Iterator[Encoded]:
    """The documents in the order of the rows.  batch: the columns doc_id, source, kind, text."""
    tokenizer = open_tokenizer(plan.tokenizer)
    weights = dict(plan.weights)
    names = (batch.column(name) for name in ("doc_id", "source", "kind"))
    for row, (doc_id, source, kind) in enumerate(zip(*(each.to_pylist() for each in names), strict=True)):
        if doc_id is None or source is None or kind is None:
            yield Encoded(doc_id or "", source or "", error=("ValueError", "no doc_id, source or kind"))
            continue
        found = Encoded(doc_id, source)
        found.weighted, weight = weight_of(weights, source, kind)
        times = appearances(doc_id, weight, plan.epochs, plan.seed)
        text = batch.column("text")[row].as_py() or ""
        if kind == RESERVATION:
            found.dropped = NO_HOST_FILES.name
        elif not text:
            found.dropped = "empty"
        elif not times:
            found.dropped = "weight"
        else:
            try:
                _encode(found, text, kind, times, tokenizer, plan)
            except Exception as error:  # whatever a tokeniser raises is the document's fault
                found.error = (type(error).__name__, str(error)[:_MESSAGE_CHARS])
        yield found


def _encode(found: Encoded, text: str, kind: str, times: int, tokenizer: Tokenizer, plan: PackDocuments) -> None:
    end = np.array([tokenizer.end], tokenizer.dtype)
    plain: bytes | None = None
    permutes = plan.fim.rate > 0 and (not plan.fim.sources or {found.source, kind} & {*plan.fim.sources})
    for epoch in range(times):
        tokens = fim_tokens(text, found.doc_id, epoch, tokenizer, plan) if permutes else None
        if tokens is not None:
            body = np.concatenate([tokens, end]).tobytes()
        else:
            if plain is None:
                plain = np.concatenate([tokenizer.encode([text], plan.specials)[0], end]).tobytes()
            body = plain
        found.appearances.append((epoch, body))
        found.permuted.append(tokens is not None)


def fim_tokens(
    text: str, doc_id: str, epoch: int, tokenizer: Tokenizer, plan: PackDocuments
) -> npt.NDArray[Any] | None:
    """The permuted document, None where it stays as it is.

    Cuts lie between characters; what a document is cut into becomes tokens piece by piece.
    """
    fim = plan.fim
    pieces = fim_document(
        text,
        doc_id,
        rate=fim.rate,
        spm_rate=fim.spm_rate,
        variant=fim.variant,
        level=fim.level,
        seed=plan.seed,
        epoch=epoch,
        file_rate=fim.file_rate,
    )
    if pieces is None:
        return None
    # A separator is what it would be in a document that is not permuted.
    spelt = [FILE_SEPARATOR if piece is Mark.FILE_SEP else piece for piece in pieces]
    marks = {Mark(name): number for name, number in marks_of(tokenizer).items()}
    return tokens_of(spelt, lambda piece: tokenizer.encode([piece], plan.specials)[0], marks, tokenizer.dtype)
