"""Compiles the kernels of the rule families once after installation, in several processes.

    python -m quality_signals.precompile [--processes N] [ANNOTATOR ...]

Without it the first run compiles what it calls, in one process.  Kernels are kept under the stamp of all kernels
(`compiled`), so it is of use once an installation.  Each process takes the next family.  Processes that compile the
same kernel at the same time do it twice and keep one of them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

# The slowest to compile first; between them small ones that share little with the first, which compiles most of what
# the others call too.
FAMILIES = (
    "gopher_repetition@datatrove",
    "starcoder2@1",
    "starcoder@1",
    "code@1",
    "stack_v2_pr@1",
    "bad_words@datatrove",
    "refinedweb@dclm",
    "rpv2@1",
    "c4@tfds",
    "c4@datatrove",
    "gopher@dclm",
    "gopher@dolma",
    "c4@dolma",
    "gopher@datatrove",
    "fineweb@datatrove",
    "mc4@1",
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


def _compile_family(name: str) -> str | None:
    """Why it was left out, where it was; raises RuntimeError with the family's name where it fails."""
    try:
        compile_families([name])
    except ImportError as error:  # an extra that is not installed, which the message names
        return f"{name} left out: {error}"
    except Exception as error:
        raise RuntimeError(f"{name}: {error}") from error
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compile the kernels of the rule families.")
    parser.add_argument("annotators", nargs="*", default=FAMILIES, metavar="ANNOTATOR")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    if options.processes < 1:
        parser.error(f"--processes is {options.processes}, less than 1")
    begin = time.perf_counter()
    with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        left_out = [said for said in pool.map(_compile_family, options.annotators) if said]
    for said in left_out:
        print(said, file=sys.stderr)
    seconds = time.perf_counter() - begin
    print(f"{len(options.annotators) - len(left_out)} families compiled in {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
