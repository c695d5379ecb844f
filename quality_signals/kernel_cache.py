"""Compiled kernels on disk: each made by one process at a time, and by several processes while many are missing.

Beam starts many workers at once, and after an installation all of them miss the same kernels.  Whoever compiles one
holds a lock, and the others wait for what it makes.  (Two processes that write to numba's index of one function leave
the code of one under the types of the other.)

The first to miss many also starts helpers, one for each processor to spare.  They compile what `kernel_list` says that
the loaded modules will need, from the end of the list, while it goes on from the beginning; they end with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, ClassVar

from numba.core import caching
from numba.core.errors import NumbaError
from numba.core.runtime import rtsys

from quality_signals.kernel_list import Listed, listed, name_of

try:
    import fcntl
except ImportError:  # no locks on Windows: there a kernel may be compiled twice
    fcntl = None  # type: ignore[assignment]

MOST_HELPERS = 3  # of 200 MB each
# Fewer missing kernels are compiled sooner than a helper is there: 0.3 s each, and 1 s to start.
WORTH_HELPERS = 8
# The byte of the file of locks that stands for helpers being there; the others stand for functions.
_HELPERS_PLACE = 0


def processors() -> int:
    """How many this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class KernelCache(caching.FunctionCache):
    """numba's, with a lock for each function, which lasts until `unlock` or the process's end."""

    helped = True  # whether the process starts helpers when this function is missing

    # One file a process and folder, never closed: closing any file of that name would end all the process's locks.
    _files: ClassVar[dict[str, IO[bytes]]] = {}

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        # Only the runtime of numba: what the compiler needs takes half a second to import.
        rtsys.initialize(target_context)
        kept = self._load_overload(sig, target_context)
        if kept is None:
            if self.helped:
                start_helpers()
            self.lock()
            kept = super().load_overload(sig, target_context)  # what another process has made meanwhile
        return kept

    def keeps(self, sig: tuple[Any, ...], target_context: Any) -> bool:
        """Whether there is code for arguments of these types."""
        return self._index_key(sig, target_context.codegen()) in self._cache_file._load_index()

    def lock(self, *, wait: bool = True, place: int | None = None) -> bool:
        """Whether this process has the lock now.  It seems so where the file system has no locks."""
        if not fcntl:
            return True
        try:
            if self._cache_path not in self._files:
                self._impl.locator.ensure_cache_path()
                self._files[self._cache_path] = (Path(self._cache_path) / "kernels.lock").open("ab")
            file, how = self._files[self._cache_path], fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
            fcntl.lockf(file, how, 1, self._place if place is None else place)
        except (BlockingIOError, PermissionError):  # another process has it
            return False
        except OSError:
            return True
        return True

    def unlock(self, place: int | None = None) -> None:
        if fcntl and self._cache_path in self._files:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._files[self._cache_path], fcntl.LOCK_UN, 1, self._place if place is None else place)

    @property
    def _place(self) -> int:
        name = self._cache_file._index_name.encode()
        return 1 + int.from_bytes(hashlib.sha256(name).digest()[:5])


def missing(modules: Iterable[str]) -> list[Listed]:
    """The listed kernels of these modules for which there is no code yet."""
    return [each for each in listed(modules) if not each.cache.keeps(each.types, each.kernel.targetctx)]


_helpers: list[subprocess.Popen[bytes]] = []


def start_helpers() -> None:
    """Where enough is missing, unless there are some, of this process or of another with the same folder."""
    if any(helper.poll() is None for helper in _helpers):
        return
    count = min(processors() - 1, MOST_HELPERS)
    found = missing(sys.modules) if count > 0 else []
    if len(found) >= WORTH_HELPERS and found[0].cache.lock(wait=False, place=_HELPERS_PLACE):
        modules = sorted({each.module for each in found})
        with contextlib.suppress(OSError):  # where there are no more processes, this one compiles all
            _helpers[:] = [helper(modules, stderr=subprocess.DEVNULL) for _ in range(count)]


# This package may be in no folder that a new process looks into; one where others are too is not put before them.
_HELPER = """
import sys
root = sys.argv.pop(1)
if root not in sys.path:
    sys.path.insert(0, root)
from quality_signals.precompile import main
main(sys.argv[1:])
"""


def helper(modules: Iterable[str], stderr: int | None = None) -> subprocess.Popen[bytes]:
    """A process that compiles what is missing of these modules, as long as this one lives."""
    root = str(Path(__file__).resolve().parent.parent)
    command = [sys.executable, "-P", "-c", _HELPER, root, "--helper-of", str(os.getpid()), *modules]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)


def compile_missing(modules: Iterable[str], *, backwards: bool = False, parent: int | None = None) -> list[str]:
    """Compiles what is missing and nobody else is at.  Ends early where the parent has ended.

    Gives what could not be compiled, and why: the list has types that a kernel does not take any more.
    """
    failed = []
    for each in missing(modules)[:: -1 if backwards else 1]:
        if parent is not None and os.getppid() != parent:
            break
        if each.cache.lock(wait=False):
            each.cache.helped = False  # by those who compile the rest of the list
            try:
                each.kernel.compile(each.types)  # or loads what was made meanwhile
            except (NumbaError, TypeError) as error:
                failed.append(f"{name_of(each.kernel)}: {error}")
    return failed
