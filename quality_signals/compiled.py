"""`njit` as the kernels of all packages use it: compiled once an installation, and anew whenever any kernel changes.

numba keeps compiled code under a stamp of the file that holds the function.  A kernel that calls one of another
module keeps the old code of that one after an upgrade, and gives silently wrong values.  Here the stamp is a hash of
all modules whose kernels may call each other.

The first call after installation compiles some 140 kernels, most of which are called by other kernels only.  numba
makes of each a whole library: optimised, as machine code, with wrappers for Python and C.  A caller needs none of
that: it optimises what it calls together with itself.  So a kernel here is compiled in two ways, and only when asked
for: as an entry, for Python, and as a part of other kernels, to be linked into them as it comes.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numba
from numba.core import caching, codegen, typeinfer, types
from numba.core.compiler import Compiler, CompileResult, Flags
from numba.core.registry import CPUDispatcher

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


class _Library(codegen.JITCodeLibrary):
    """As numba's, but functions that a module only declares are not optimised: there is nothing, and it takes time."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout
        for function in ll_module.functions:
            if not function.is_declaration:
                manager, builder = self._codegen._function_pass_manager()
                manager.run(function, builder)


class _PartLibrary(_Library):
    """Code that is linked into its callers, and never run from here."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True


class _SharedFlags(Flags):
    """Flags of which there is one for all kernels that agree in them, so that they are equal by identity."""

    __hash__ = object.__hash__


class _KernelFlags(Flags):
    """What an entry and a part of the same kernel are compiled with.

    The copy is what numba looks for operators by, thousands of times; comparing it by its 20 values took a fifth of
    the inference of types.  How the kernel itself is called makes no difference to the operators in it.
    """

    shared: ClassVar[dict[str, _SharedFlags]] = {}

    def copy(self) -> _SharedFlags:
        flags = _SharedFlags(self)
        for name in ("no_cpython_wrapper", "no_compile"):
            flags.discard(name)
        return self.shared.setdefault(flags.summary(), flags)


class _EntryCompiler(Compiler):
    def compile_extra(self, func: Callable[..., Any]) -> CompileResult:
        self.state.library = _Library(self.state.targetctx.codegen(), func.__qualname__)
        self.state.library.enable_object_caching()
        self.state.flags = _KernelFlags(self.state.flags)
        return super().compile_extra(func)


class _PartCompiler(Compiler):
    def compile_extra(self, func: Callable[..., Any]) -> CompileResult:
        self.state.library = _PartLibrary(self.state.targetctx.codegen(), func.__qualname__)
        self.state.flags = _KernelFlags(self.state.flags)
        self.state.flags.no_compile = True
        return super().compile_extra(func)


class _Part(CPUDispatcher):
    """A kernel as others call it: not for Python, and not kept between processes, which keep the callers."""

    def add_overload(self, cres: Any) -> None:
        called = object()  # what stands for it where a caller is lowered, as there is no function of Python
        self.overloads[tuple(cres.signature.args)] = cres._replace(entry_point=called)
        self.targetctx.insert_user_function(called, cres.fndesc, [cres.library])


class Kernel(CPUDispatcher):
    """A compiled function: an entry for Python, a part for other kernels."""

    def __init__(
        self,
        py_func: Callable[..., Any],
        locals: dict[str, Any] | None = None,
        targetoptions: dict[str, Any] | None = None,
        pipeline_class: type[Compiler] = _EntryCompiler,
    ) -> None:
        super().__init__(py_func, locals, targetoptions, pipeline_class)

    @cached_property
    def _part(self) -> Any:
        options = {**self.targetoptions, "no_cpython_wrapper": True}
        return _Part(self.py_func, self.locals, options, _PartCompiler)

    def get_call_template(self, args: Any, kws: Any) -> Any:
        # 0 is an int64 here: otherwise each constant that a kernel is called with is a type, and a version, of its own.
        return self._part.get_call_template(tuple(types.unliteral(each) for each in args), kws)

    def get_overload(self, sig: Any) -> Any:
        return self._part.get_overload(sig)

    def compile(self, sig: Any) -> Any:
        with _no_collection():
            return super().compile(sig)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """The compiler makes millions of objects that live on: a tenth of its time went into looking for garbage."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()  # and back: the objects are old now, and not looked at before the next full collection
            gc.unfreeze()
        gc.enable()


def njit(*signatures: Any, **options: Any) -> Callable[[Function], Function]:
    """As numba.njit, for functions that are no function pointers of C; the compiled code is kept (cache=True), under
    the stamp of all kernels."""

    def decorate(function: Function) -> Function:
        settings: Any = numba.config
        if settings.DISABLE_JIT:
            return function
        chosen = {key: value for key, value in options.items() if key != "cache"}
        kernel: Any = Kernel(function, None, {"nopython": True, "nogil": True, "no_cfunc_wrapper": True, **chosen})
        before = settings.CACHE_LOCATOR_CLASSES
        settings.CACHE_LOCATOR_CLASSES = _LOCATORS
        try:
            kernel.enable_caching()
        finally:
            settings.CACHE_LOCATOR_CLASSES = before
        if signatures:
            with typeinfer.register_dispatcher(kernel):
                for signature in signatures:
                    kernel.compile(signature)
            kernel.disable_compile()
        return kernel

    return decorate
