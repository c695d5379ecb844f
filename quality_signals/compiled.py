"""`njit` as the kernels of all packages use it: compiled once an installation, and anew whenever any kernel changes.

numba keeps compiled code under a stamp of the file that holds the function.  A kernel that calls one of another
module keeps the old code of that one after an upgrade, and gives silently wrong values.  Here the stamp is a hash of
all modules whose kernels may call each other.

`kernel_compiler` makes that code in half of numba's time, and `kernel_cache` in several processes; both take numba's
inside as it is in VERSIONS.  Kernels are compiled by numba.njit where another version is installed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import caching, typeinfer
from numba.core.registry import CPUDispatcher

# Packages that hold kernels.
PACKAGES = ("quality_signals", "dedup", "pii")
# Versions of numba, without the last number, whose inside is as `kernel_compiler` takes it.
VERSIONS = ("0.68",)

Function = TypeVar("Function", bound=Callable[..., Any])


@lru_cache(maxsize=1)
def code_stamp() -> str:
    """SHA-256 over the names and contents of all modules of PACKAGES that hold kernels or make code of them; about
    10 ms a process."""
    root = Path(__file__).resolve().parent.parent
    stamp = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            source = path.read_bytes()
            if b"njit" in source or path.name == "kernel_compiler.py":
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


@lru_cache(maxsize=1)
def dispatcher() -> type[CPUDispatcher]:
    """What stands for a compiled function: of `kernel_compiler`, or numba's own."""
    if numba.__version__.rpartition(".")[0] not in VERSIONS:
        return CPUDispatcher
    from quality_signals.kernel_compiler import Kernel

    return Kernel


def njit(*signatures: Any, **options: Any) -> Callable[[Function], Function]:
    """As numba.njit, for functions that are no function pointers of C; the compiled code is kept (cache=True), under
    the stamp of all kernels."""

    def decorate(function: Function) -> Function:
        settings: Any = numba.config
        if settings.DISABLE_JIT:
            return function
        chosen = {key: value for key, value in options.items() if key != "cache"}
        kernel: Any = dispatcher()(
            function, None, {"nopython": True, "nogil": True, "no_cfunc_wrapper": True, **chosen}
        )
        before = settings.CACHE_LOCATOR_CLASSES
        settings.CACHE_LOCATOR_CLASSES = _LOCATORS
        try:
            kernel.enable_caching()
        finally:
            settings.CACHE_LOCATOR_CLASSES = before
        if signatures:
            kernel._cache.helped = False  # the module that it stands in is being imported
            with typeinfer.register_dispatcher(kernel):
                for signature in signatures:
                    kernel.compile(signature)
            kernel.disable_compile()
        return kernel

    return decorate
