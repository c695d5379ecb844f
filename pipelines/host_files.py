"""What hosts say about their pages is no text to learn from: documents of kind `reservation` are in no corpus."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from licenses.reservations_marks import RESERVATION
from pipelines.rules import Annotations, Verdicts


@dataclasses.dataclass(frozen=True)
class NoHostFiles:
    """A rule of the scope that every recipe has: such documents are neither training nor held out."""

    name: str = "host_file"
    needs: tuple[str, ...] = ()

    def judge(self, batch: pa.RecordBatch, annotations: Annotations) -> Verdicts:
        kinds = batch.column("kind").to_numpy(zero_copy_only=False)
        passed = np.asarray(kinds != RESERVATION, bool)
        nothing: list[float | None] = [None] * len(passed)
        return Verdicts(passed, [None if ok else self.name for ok in passed], nothing, list(nothing))


NO_HOST_FILES = NoHostFiles()
