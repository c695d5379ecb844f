"""Repeated n-grams of texts that are larger than tests can hold."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from quality_signals.batches import batch_of
from quality_signals.repeated_grams import count_repeated, word_sums
from quality_signals.strings import Strings
from quality_signals.text_batch import SharedTexts


class LongWords(Strings):
    """Two words of 2**29 bytes each, of which nobody reads the bytes."""

    def facts(self, build: Callable[..., npt.NDArray[Any]], *options: Any) -> npt.NDArray[Any]:
        if build is word_sums:
            return np.array([[1, 1 << 29], [2, 1 << 29]], np.uint64)
        return build(SharedTexts(batch_of(["a" * 20, "b" * 20])).of())


def test_texts_of_more_than_2_gib() -> None:
    words = LongWords(threading.RLock())
    words.known = 2
    words.lengths = np.full(2, 1 << 29, np.int32)
    ids = np.array([0, 1] * 6, np.int32)  # 6 GiB
    top, repeated = count_repeated(ids, np.array([0, 12]), words)
    assert top[0].tolist() == [6 * ((1 << 30) + 1), 5 * (3 * (1 << 29) + 2), 5 * ((1 << 31) + 3)]
    # of 12 words in turns, the 5-grams at 2 and 7 were seen before, the 10-gram at 2
    assert (repeated[0] >> 29).tolist() == [10, 6, 7, 8, 9, 10]


def test_more_words_than_places() -> None:
    with pytest.raises(ValueError, match="text 1 of the batch has 2147483648 words"):
        count_repeated(np.zeros(0, np.int32), np.array([0, 5, 5 + (1 << 31)]), Strings(threading.RLock()))
