"""Kernels compute what the same function computes in Python, and hold no memory."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
import pytest
from numba.core import postproc, target_extension
from numba.core.caching import NullCache
from numba.core.runtime import _nrt_python, rtsys  # type: ignore[attr-defined]

from quality_signals.compiled import njit


@njit(error_model="numpy")
def _items(signed, numbers, flags, out):  # type: ignore[no-untyped-def]
    """Reads and writes at constant, negative, unsigned and computed places."""
    out[0] = signed[-1] + signed[np.uint64(1)]
    out[-1] = numbers[len(numbers) - 2] * 2.5
    out[np.int32(1)] = numbers[np.uint8(2)]
    out[2] = 1 if flags[0] else 0
    flags[-2] = signed[0] < 0
    flags[1] = True
    for i in range(-1, -3, -1):
        out[3] += signed[i] * i
    return signed[np.int64(-2)]


@njit(error_model="numpy")
def _ranges(start, stop, out):  # type: ignore[no-untyped-def]
    count = 0
    for _ in range(start, stop):
        count += 1
    for i in range(stop):
        count += i
        if i == 5:
            break
    for i in range(start, stop, 3):
        count += 100 * i
    for i in range(stop, start, -2):
        count += 10000 * i
    for k in range(len(out)):
        for i in range(k):
            out[k] += i
    return count


@njit(error_model="numpy")
def _chosen(first, second, swap):  # type: ignore[no-untyped-def]
    """Arguments given other values, kept under other names, in tuples, and returned."""
    kept = first
    if swap:
        first = second
    both = (first, second, kept)
    for k in range(3):
        second = both[k]
    made = np.zeros(4, np.int64)
    made[0] = len(first)
    first[0] += 1
    return second, first, made


@njit(error_model="numpy")
def _inner(array, at):  # type: ignore[no-untyped-def]
    if at > 2:
        raise ValueError("at is more than 2")
    return array if at else np.ones(3, np.int64)


@njit(error_model="numpy")
def _outer(array, at):  # type: ignore[no-untyped-def]
    total = 0
    for k in range(at):
        total += _inner(array, k)[0]
    return total


def _python(kernel: Any) -> Any:
    return kernel.py_func


def test_items_and_negative_places() -> None:
    def given() -> tuple[Any, ...]:
        return (
            np.array([-5, 7, 11], np.int64),
            np.array([1.5, 2.5, 3.5], np.float64),
            np.array([True, False, True]),
            np.zeros(5, np.int64),
        )

    ours, plain = given(), given()
    assert _items(*ours) == _python(_items)(*plain)
    for one, other in zip(ours, plain, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("start", [-3, 0, 4])
@pytest.mark.parametrize("stop", [-4, 0, 1, 9])
def test_ranges(start: int, stop: int) -> None:
    ours, plain = np.zeros(4, np.int64), np.zeros(4, np.int64)
    assert _ranges(start, stop, ours) == _python(_ranges)(start, stop, plain)
    np.testing.assert_array_equal(ours, plain)


@pytest.fixture
def nothing_kept() -> Iterator[None]:
    _chosen(np.zeros(2, np.int64), np.zeros(3, np.int64), False)  # the counters are there once something is compiled
    _nrt_python.memsys_enable_stats()
    before = rtsys.get_allocation_stats()
    try:
        yield
        after = rtsys.get_allocation_stats()
    finally:
        _nrt_python.memsys_disable_stats()
    assert after.alloc - before.alloc == after.free - before.free > 0
    assert after.mi_alloc - before.mi_alloc == after.mi_free - before.mi_free


@pytest.mark.usefixtures("nothing_kept")
def test_arguments_are_borrowed_and_results_are_not() -> None:
    for swap in (False, True):
        first, second = np.array([1, 2]), np.array([3, 4, 5])
        before = sys.getrefcount(first), sys.getrefcount(second)
        for _ in range(10):
            found = _chosen(first, second, swap)
            assert [each.tolist() for each in found[:2]] == [first.tolist(), (second if swap else first).tolist()]
            assert found[2].tolist() == [3 if swap else 2, 0, 0, 0]
            del found
        assert (sys.getrefcount(first), sys.getrefcount(second)) == before


@pytest.mark.usefixtures("nothing_kept")
def test_a_part_gives_its_argument_or_a_new_array_and_errors_reach_python() -> None:
    array = np.array([10])
    before = sys.getrefcount(array)
    assert [_outer(array, at) for at in range(4)] == [0, 1, 11, 21]
    assert sys.getrefcount(array) == before
    with pytest.raises(ValueError, match="at is more than 2"):
        _outer(array, 4)


def _one(array):  # type: ignore[no-untyped-def]
    return np.zeros(3, np.int64)[array[0]] + 1


def test_numba_is_as_before_when_threads_have_compiled() -> None:
    registry, target = target_extension.jit_registry, target_extension.target_registry["cpu"]
    function: Any = numba.types.Function
    before = registry[target], function.get_call_type, postproc.PostProcessor.run
    kernels: list[Any] = [njit(error_model=model)(_one) for model in ("numpy", "python") * 3]
    found: list[int] = []
    threads = [threading.Thread(target=lambda kernel=each: found.append(kernel(np.arange(2)))) for each in kernels]
    for kernel in kernels:
        kernel._cache = NullCache()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 6
    assert before == (registry[target], function.get_call_type, postproc.PostProcessor.run)
    assert numba.njit(_one)(np.arange(2)) == 1
