"""Memory of arrays that later arrays get."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np
import pytest

from quality_signals import codepoints
from quality_signals.codepoints import room


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codepoints, "_kept", OrderedDict())
    monkeypatch.setattr(codepoints, "_of_size", {})
    monkeypatch.setattr(codepoints, "_bytes_kept", [0])


@pytest.mark.parametrize("size", [0, 1, 3, 8191, 8192, 8193, 100_000, 131_072])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64, np.float64])
def test_arrays_are_of_the_size_and_to_be_written(size: int, dtype: type) -> None:
    array = room(size, dtype)
    array[:] = 1
    assert array.shape == (size,)
    assert array.dtype == dtype
    assert array.sum() == size
    assert array.flags.c_contiguous
    assert array.flags.writeable


def test_memory_is_used_again_once_no_view_is_left() -> None:
    array = room(100_000, np.int64)
    place, part = array.ctypes.data, array[5:].reshape(5, -1)
    del array
    other = room(100_000, np.int64)
    assert other.ctypes.data != place  # a part is still in use
    del part
    assert room(99_000, np.int64).ctypes.data == place


def test_no_more_is_kept_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codepoints, "_MOST_KEPT", 3_000_000)
    arrays = [room(1_000_000, np.uint8) for _ in range(5)]
    del arrays
    assert 0 < sum(block.size for block in codepoints._kept.values()) == codepoints._bytes_kept[0] <= 3_000_000
    assert len(codepoints._kept) == sum(map(len, codepoints._of_size.values()))


def test_what_nobody_asks_for_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codepoints, "_MOST_KEPT", 3_200_000)
    for size in (400_000, 2_400_000):
        room(size, np.uint8)
    assert len(codepoints._kept) == 2
    place = room(1_000_000, np.uint8).ctypes.data  # for which neither serves
    assert [block.address for block in codepoints._kept.values()] == [place]
    assert room(1_000_000, np.uint8).ctypes.data == place


def test_threads_never_share_an_array() -> None:
    wrong = []

    def work(number: int) -> None:
        for _ in range(200):
            array = room(20_000 + number, np.int64)
            array[:] = number
            if (array != number).any():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
