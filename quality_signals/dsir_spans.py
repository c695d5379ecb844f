"""One score a document as RedPajama-V2 stores it: a list of one span over the whole text."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.rpv2 import SPANS


def rounded(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Python's round(x, 8) of each, which is what RedPajama's scores are rounded by; NaN stays."""
    return np.array([round(value, 8) for value in values.tolist()], np.float64)


def document_spans(lengths: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]) -> pa.ListArray:
    """lengths: characters, [texts]; scores [texts], NaN for none -> list<struct<start, end, score>>."""
    spans = pa.StructArray.from_arrays(
        [
            pa.array(np.zeros(len(lengths), np.int32)),
            pa.array(lengths.astype(np.int32)),
            pa.array(scores, mask=np.isnan(scores)),
        ],
        fields=list(SPANS.value_type),
    )
    return pa.ListArray.from_arrays(pa.array(np.arange(len(lengths) + 1, dtype=np.int32)), spans, type=SPANS)
