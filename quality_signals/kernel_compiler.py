"""A compiler for kernels: numba's, without the work that kernels have no use for.

numba makes of each function a whole library: optimised, as machine code, with wrappers for Python and C.  A caller
needs none of that: it optimises what it calls together with itself.  So a kernel here is compiled in two ways, and
only when asked for: as an entry, for Python, and as a part of other kernels, to be linked into them as it comes.  The
same goes for numba's own functions written in Python (numpy.empty and others).

All of this is numba's inside, as it is in the versions that `compiled` names.
"""

from __future__ import annotations

import contextlib
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, ClassVar, cast

from llvmlite.binding import Linkage, parse_assembly
from numba.core import (
    codegen,
    ir,
    lowering,
    postproc,
    target_extension,
    transforms,
    typed_passes,
    types,
    untyped_passes,
)
from numba.core.cgutils import alloca_once, alloca_once_value
from numba.core.compiler import Compiler, CompileResult, DefaultPassBuilder, Flags
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.ir_utils import get_definition, guard
from numba.core.registry import CPUDispatcher
from numba.core.targetconfig import ConfigStack

from quality_signals.kernel_cache import KernelCache

# -- libraries: what LLVM gets ----------------------------------------------------------------------------------


class _Library(codegen.JITCodeLibrary):
    """As numba's, but optimised once, when it is complete: not each function before, and not twice after."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        manager, builder = self._codegen._module_pass_manager()
        manager.run(self._final_module, builder)

    def serialize_using_object_code(self) -> tuple[str, str, tuple[bytes, bytes]]:
        # Beside the machine code only the names of its functions: the code before it is for callers, which link parts.
        names = [function.name for function in self.get_defined_functions() if function.linkage == Linkage.external]
        stubs = parse_assembly("\n".join(f'define void @"{name}"() {{ ret void }}' for name in names))
        return self.name, "object", (self._get_compiled_object(), stubs.as_bitcode())


class _PartLibrary(_Library):
    """Code that is linked into its callers, and never run from here."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True


# -- lowering: what numba hands to LLVM -------------------------------------------------------------------------


class _Lower(lowering.Lower):
    """As numba's, with a fifth fewer instructions where kernels have most of them."""

    def pre_lower(self) -> None:
        super().pre_lower()
        stored = Counter(each.target.name for block in self.blocks.values() for each in block.find_insts(ir.Assign))
        # (The arguments of a generator outlive the call.)
        self._stored_once = {name for name, times in stored.items() if times == 1 and self.generator_info is None}
        self._borrowed: set[str] = set()

    def lower_inst(self, inst: Any) -> None:
        # The caller holds a reference to each argument until the call ends, so the callee needs none of its own.
        if isinstance(inst, ir.Assign) and isinstance(inst.value, ir.Arg) and inst.target.name in self._stored_once:
            name, argument = inst.target.name, self.typeof(f"arg.{inst.value.name}")
            if not isinstance(argument, types.Omitted):
                self._borrowed.add(name)
                value = self.context.cast(self.builder, self.fnargs[inst.value.index], argument, self.typeof(name))
                if name in self._singly_assigned_vars:
                    self._blk_local_varmap[name] = value
                else:
                    self.builder.store(value, self.getvar(name))
                return
        super().lower_inst(inst)

    def alloca_lltype(self, name: str, lltype: Any, datamodel: Any = None) -> Any:
        # numba asks LLVM for the size of each variable, for debuggers.
        return alloca_once(self.builder, lltype, name=name)

    def delvar(self, name: str) -> None:
        if name not in self._borrowed and self.context.data_model_manager[self.typeof(name)].contains_nrt_meminfo():
            super().delvar(name)
        elif name not in self._blk_local_varmap:
            self._singly_assigned_vars.discard(name)

    def lower_expr(self, resty: Any, expr: Any) -> Any:
        if expr.op == "getiter" and isinstance(resty, types.RangeIteratorType):
            made = guard(get_definition, self.func_ir, expr.value)
            if made is not None and made.op == "call" and len(made.args) < 3 and not made.kws and not made.vararg:
                return self._steps_of_one(resty, self.loadvar(expr.value.name))
        return super().lower_expr(resty, expr)

    def _steps_of_one(self, resty: Any, made: Any) -> Any:
        """The iterator over range(stop) or range(start, stop): numba divides by the step, which it does not know."""
        builder, steps = self.builder, self.context.make_helper(self.builder, resty)
        start, stop, steps.step = (builder.extract_value(made, i) for i in range(3))
        steps.iter, steps.count = (alloca_once_value(builder, each) for each in (start, builder.sub(stop, start)))
        steps.stop = stop
        return steps._getvalue()

    def lower_getitem(self, resty: Any, expr: Any, value: Any, index: Any, signature: Any) -> Any:
        if not self._is_plain(value, signature.args):
            return super().lower_getitem(resty, expr, value, index, signature)
        item = self.context.unpack_value(self.builder, signature.args[0].dtype, self._place(value, index))
        return self.context.cast(self.builder, item, signature.return_type, resty)

    def lower_setitem(self, target_var: Any, index_var: Any, value_var: Any, signature: Any) -> Any:
        given = self.typeof(value_var.name)
        if not self._is_plain(target_var, signature.args) or not isinstance(given, types.Number | types.Boolean):
            return super().lower_setitem(target_var, index_var, value_var, signature)
        array = signature.args[0]
        item = self.context.cast(self.builder, self.loadvar(value_var.name), given, array.dtype)
        return self.context.pack_value(self.builder, array.dtype, item, self._place(target_var, index_var))

    def _is_plain(self, var: Any, signature: tuple[Any, ...]) -> bool:
        """Whether an array of one dimension, without gaps, is indexed by a number."""
        array, index = signature[:2]
        return (
            isinstance(array, types.Array)
            and isinstance(index, types.Integer)
            and array == self.typeof(var.name)
            and (array.ndim, array.layout, array.aligned) == (1, "C", True)
            and isinstance(array.dtype, types.Number | types.Boolean)
        )

    def _place(self, var: Any, index_var: Any) -> Any:
        """The address of an item of an array that _is_plain; a negative index counts from the end."""
        builder, given = self.builder, self.typeof(index_var.name)
        array = self.loadvar(var.name)
        index = self.loadvar(index_var.name)
        index = self.context.cast(builder, index, given, types.intp if given.signed else types.uintp)
        fields = self.context.data_model_manager[self.typeof(var.name)]
        if given.signed and not (isinstance(given, types.IntegerLiteral) and given.literal_value >= 0):
            length = builder.extract_value(array, [fields.get_field_position("shape"), 0])
            negative = builder.icmp_signed("<", index, index.type(0))
            index = builder.select(negative, builder.add(index, length), index)
        return builder.gep(builder.extract_value(array, fields.get_field_position("data")), [index])


@register_pass(mutates_CFG=True, analysis_only=False)
class _NativeLowering(typed_passes.NativeLowering):
    _name = "kernel_lowering"
    lowering_class = _Lower  # type: ignore[assignment]


# -- passes: what numba does before -----------------------------------------------------------------------------


class _Passes(PassManager):
    """Without looking for live variables after each pass: passes that need to know look for themselves."""

    _ENFORCING = False


# For closures, `with` blocks, literals that unroll loops, expressions of whole arrays, threads: kernels have none.
_UNUSED = (
    untyped_passes.WithLifting,
    untyped_passes.InlineClosureLikes,
    untyped_passes.RewriteDynamicRaises,
    untyped_passes.MakeFunctionToJitFunction,
    untyped_passes.FindLiterallyCalls,
    untyped_passes.LiteralUnroll,
    untyped_passes.LiteralPropagationSubPipelinePass,
    typed_passes.NopythonRewrites,
    typed_passes.NoPythonSupportedFeatureValidation,
    typed_passes.AnnotateTypes,
    typed_passes.DumpParforDiagnostics,
)


def _passes(state: Any) -> PassManager:
    passes = _Passes("kernel")
    for each, description in DefaultPassBuilder.define_nopython_pipeline(state).passes:
        if each not in _UNUSED:
            passes.add_pass(_NativeLowering if each is typed_passes.NativeLowering else each, description)
    passes.finalize()
    return passes


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
        for name in ("no_cpython_wrapper", "no_cfunc_wrapper", "no_compile"):
            flags.discard(name)
        return self.shared.setdefault(flags.summary(), flags)


class _EntryCompiler(Compiler):
    def compile_extra(self, func: Callable[..., Any]) -> CompileResult:
        self.state.library = _Library(self.state.targetctx.codegen(), func.__qualname__)
        self.state.library.enable_object_caching()
        self.state.flags = _KernelFlags(self.state.flags)
        return super().compile_extra(func)

    def define_pipelines(self) -> list[PassManager]:
        return [_passes(self.state)]


class _LibraryPartCompiler(Compiler):
    """For functions of numba, which take all passes."""

    def compile_extra(self, func: Callable[..., Any]) -> CompileResult:
        self.state.library = _PartLibrary(self.state.targetctx.codegen(), func.__qualname__)
        self.state.flags = _KernelFlags(self.state.flags)
        self.state.flags.no_compile = True
        return super().compile_extra(func)


class _PartCompiler(_LibraryPartCompiler):
    def define_pipelines(self) -> list[PassManager]:
        return [_passes(self.state)]


# -- dispatchers: what stands for a compiled function -----------------------------------------------------------


class _Part(CPUDispatcher):
    """A kernel as others call it: not for Python, and not kept between processes, which keep the callers."""

    def add_overload(self, cres: Any) -> None:
        called = object()  # what stands for it where a caller is lowered, as there is no function of Python
        self.overloads[tuple(cres.signature.args)] = cres._replace(entry_point=called)
        self.targetctx.insert_user_function(called, cres.fndesc, [cres.library])


def _part_of_library(**options: Any) -> Callable[[Callable[..., Any]], _Part]:
    return lambda function: _Part(
        function,
        None,
        {**options, "nopython": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True},
        _LibraryPartCompiler,
    )


class Kernel(CPUDispatcher):
    """A compiled function: an entry for Python, a part for other kernels."""

    # The kernels that Python has called in this process, with types, in the order of their first calls.
    called: ClassVar[list[tuple[Kernel, tuple[Any, ...]]]] = []

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

    def enable_caching(self) -> None:
        self._cache = KernelCache(self.py_func)

    def compile(self, sig: Any) -> Any:
        try:
            with global_compiler_lock, _no_collection(), _shortcuts():
                return super().compile(sig)
        finally:
            if isinstance(self._cache, KernelCache):
                self._cache.unlock()

    def add_overload(self, cres: Any) -> None:
        super().add_overload(cres)
        self.called.append((self, tuple(cres.signature.args)))


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


@contextlib.contextmanager
def _shortcuts() -> Iterator[None]:
    """What is done in another way while a kernel is compiled."""
    target, registry = target_extension.target_registry["cpu"], target_extension.jit_registry
    decorator = registry.pop(target)  # a registry in which nothing is set twice
    registry[target] = _part_of_library
    function, processor = cast(Any, types.Function), cast(Any, postproc.PostProcessor)
    call_type, process = function.get_call_type, processor.run
    function.get_call_type, processor.run = _remembered_call_type, _process
    try:
        yield
    finally:
        function.get_call_type, processor.run = call_type, process
        del registry[target]
        registry[target] = decorator


_CALL_TYPES: dict[Any, tuple[Any, ...]] = {}
_get_call_type = types.Function.get_call_type
_run_post_processor = postproc.PostProcessor.run


def _remembered_call_type(self: Any, context: Any, args: Any, kws: Any) -> Any:
    """numba tries all definitions of an operator each time that it meets it: a tenth of its time."""
    key = (id(self), id(context), args, tuple(kws.items()), ConfigStack.top_or_none())
    known = _CALL_TYPES.get(key)
    if known is None:
        signature: Any = _get_call_type(self, context, args, kws)
        _CALL_TYPES[key] = signature, self._impl_keys[signature.args], self, context
        return signature
    signature, self._impl_keys[signature.args] = known[:2]
    return signature


def _process(self: Any, emit_dels: bool = False, extend_lifetimes: bool = False) -> None:
    """numba looks for live variables six times, and uses what it found once: where it deletes variables."""
    if emit_dels or self.func_ir.is_generator:
        _run_post_processor(self, emit_dels, extend_lifetimes)
    else:
        self.func_ir.blocks = transforms.canonicalize_cfg(self.func_ir.blocks)
        self.func_ir.generator_info = None
