"""Compiles the kernels of the rule families once after installation, on all processors.

    python -m quality_signals.precompile [--processes N] [MODULE ...]

Without it the first run does (`kernel_cache`), and takes as long.  Kernels are kept under the stamp of all kernels
(`compiled`), so it is of use once an installation.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from numba.core.registry import CPUDispatcher

from quality_signals import kernel_cache, kernel_list
from quality_signals.compiled import dispatcher

FAMILIES = (
    "rpv2@1",
    "gopher@datatrove",
    "gopher_repetition@datatrove",
    "c4_fineweb@datatrove",
    "fineweb@datatrove",
    "c4@datatrove",
    "gopher@dolma",
    "c4@dolma",
    "gopher@dclm",
    "refinedweb@dclm",
    "c4@tfds",
    "mc4@1",
    "bad_words@datatrove",
    "bad_words@tfds",
    "code@1",
    "starcoder@1",
    "starcoder2@1",
    "stack_v2_pr@1",
)
# Short texts in which every branch that calls a kernel of its own is taken.
SAMPLE = (
    "The first line of a text. It has a citation[1], (brackets) and 3 likes.\nSign-in to read more...\n\nA b c.",
    "Second text\r\nwith \u201cother\u201d marks \u2026 don't :-) e\u0301\u0301 \u0130 \u039f\u03a3\nlorem ipsum. " * 3,
)
# The same for the families of code: a comment, a long line, data in base 64 and in hexadecimal numbers.
CODE = ("# Copyright\nx = 1\n" + "a = [0x12, 0x34, 0x56]\n" * 20, 'b = "' + "QUJDREVGR0hJSktM" * 40 + '"\n')


def compile_families(names: Sequence[str]) -> None:
    """Runs the families on SAMPLE and CODE in this process.  Raises ImportError where one needs an extra."""
    from quality_signals import ANNOTATORS, _annotator
    from quality_signals.batches import batch_of
    from quality_signals.edits import apply_to_batch
    from quality_signals.text_batch import SharedTexts

    web = batch_of(SAMPLE, language="en", kind="web", url="https://example.com/")
    code = batch_of(CODE, kind="code", path=("a/b.py", "c.js"))
    for name in names:
        batch = code if "code" in getattr(ANNOTATORS[name].made, "kinds", ()) else web
        columns = _annotator(name, None, {}).annotate(batch)
        if name == "fineweb@datatrove":  # which is used on what an editor leaves
            shared = SharedTexts(batch)
            edits = _annotator("c4_fineweb@datatrove", None, {}).annotate_texts(shared).column("edits")
            columns = _annotator(name, None, {}).annotate_texts(
                SharedTexts(apply_to_batch(batch, edits), (shared.bare(), edits))
            )
        if columns.num_rows != len(SAMPLE):
            raise RuntimeError(f"{name}: {columns.num_rows} rows for {len(SAMPLE)} texts")


def record() -> list[str]:
    """Writes the list of kernels anew: what all families call.  Raises ImportError where one needs an extra."""
    from quality_signals.kernel_compiler import Kernel

    compile_families(FAMILIES)
    kernel_list.write(Kernel.called)
    return []


def compile_all(modules: Sequence[str], processes: int) -> list[str]:
    """Compiles what is missing of these modules, and gives what could not be compiled, and why."""
    helpers = [kernel_cache.helper(modules) for _ in range(processes - 1)]
    failed = kernel_cache.compile_missing(modules)
    for helper in helpers:
        helper.wait()
    # What a helper has left that was stopped, or that failed there.
    return failed or kernel_cache.compile_missing(modules)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compile the kernels of the rule families.")
    parser.add_argument("--processes", type=int, default=kernel_cache.processors())
    parser.add_argument("--record", action="store_true", help="write the list of kernels anew, after a change of them")
    parser.add_argument("--helper-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="only the kernels of these modules")
    options = parser.parse_args(arguments)
    if options.processes < 1:
        parser.error(f"--processes is {options.processes}, less than 1")
    known = sorted({module for module, _, _ in kernel_list.entries()})
    if unknown := sorted({*options.modules} - {*known}):
        parser.error(f"no listed kernels in {', '.join(unknown)}; there are some in {', '.join(known)}")
    modules = options.modules or known
    if options.helper_of is not None:
        kernel_cache.compile_missing(modules, backwards=True, parent=options.helper_of)
        return 0
    begin = time.perf_counter()
    if dispatcher() is CPUDispatcher:  # a version of numba that compiles what is called
        compile_families(FAMILIES)
        failed = []
    else:
        failed = record() if options.record else compile_all(modules, options.processes)
    for each in failed:
        print(each, file=sys.stderr)
    print(f"Kernels {'listed' if options.record else 'compiled'} in {time.perf_counter() - begin:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
