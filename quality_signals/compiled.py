"""`njit` as the kernels of all packages use it: compiled once an installation, and anew whenever any kernel changes.

numba keeps compiled code under a stamp of the file that holds the function.  A kernel that calls one of another
module keeps the old code of that one after an upgrade, and gives silently wrong values.  Here the stamp is a hash of
all modules whose kernels may call each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import caching

# Packages that hold kernels.
PACKAGES = ("quality_signals", "dedup", "pii")

Function = TypeVar("Function", bound=Callable[..., Any])


@lru_cache(maxsize=1)
def code_stamp() -> str:
    """SHA-256 over the names and contents of all modules of PACKAGES that hold kernels; about 10 ms a process."""
    root = Path(__file__).resolve().parent.parent
    stamp = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            source = path.read_bytes()
            if b"njit" in source:
                stamp.update(f"{path.relative_to(root)}\0{len(source)}\0".encode())
                stamp.update(source)
    return stamp.hexdigest()


class _AllModules:
    """The stamp of a cached function is that of all kernels."""

    def get_source_stamp(self) -> str:
        return code_stamp()


class UserProvidedLocator(_AllModules, caching.UserProvidedCacheLocator):
    """In NUMBA_CACHE_DIR, where it is set."""


class InTreeLocator(_AllModules, caching.InTreeCacheLocator):
    """In __pycache__ beside the module."""


class UserWideLocator(_AllModules, caching.UserWideCacheLocator):
    """In the user's cache folder, where the installation is not writable."""


_LOCATORS = ",".join(
    f"{__name__}.{locator.__name__}" for locator in (UserProvidedLocator, InTreeLocator, UserWideLocator)
)


def njit(*signatures: Any, **options: Any) -> Callable[[Function], Function]:
    """As numba.njit; the compiled code is kept (cache=True), under the stamp of all kernels."""

    def decorate(function: Function) -> Function:
        settings: Any = numba.config
        before = settings.CACHE_LOCATOR_CLASSES
        settings.CACHE_LOCATOR_CLASSES = _LOCATORS
        try:
            return numba.njit(*signatures, **{"cache": True, "nogil": True, **options})(function)
        finally:
            settings.CACHE_LOCATOR_CLASSES = before

    return decorate
