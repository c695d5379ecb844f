"""Compiles the kernels of the rule families once after installation, in several processes.

    python -m quality_signals.precompile [--processes N] [ANNOTATOR ...]

Without it the first run compiles what it calls, in one process.  Kernels are kept under the stamp of all kernels
(`compiled`), so it is of use once an installation.  A first family compiles alone what all share; the others
follow, each in a process of its own.  Processes that compile the same kernel do it twice and keep one of them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

# The slowest to compile first; the first of all calls most of what others call too.
FAMILIES = (
    "gopher_repetition@datatrove",
    "rpv2@1",
    "refinedweb@dclm",
    "c4@tfds",
    "c4@datatrove",
    "gopher@dclm",
    "gopher@dolma",
    "c4@dolma",
    "gopher@datatrove",
    "bad_words@datatrove",
    "fineweb@datatrove",
    "mc4@1",
)
# Short texts in which every branch that calls a kernel of its own is taken.
SAMPLE = (
    "The first line of a text. It has a citation[1], (brackets) and 3 likes.\nSign-in to read more...\n\nA b c.",
    "Second text\r\nwith \u201cother\u201d marks \u2026 don't :-) e\u0301\u0301 \u0130 \u039f\u03a3\nlorem ipsum. " * 3,
)


def compile_families(names: Sequence[str]) -> None:
    """Runs the families on SAMPLE in this process."""
    from quality_signals import _annotator
    from quality_signals.batches import batch_of
    from quality_signals.edits import apply_to_batch
    from quality_signals.text_batch import SharedTexts

    batch = batch_of(SAMPLE, language="en", kind="web", url="https://example.com/")
    for name in names:
        columns = _annotator(name, None, {}).annotate(batch)
        if name == "fineweb@datatrove":  # which is used on what an editor leaves
            shared = SharedTexts(batch)
            edits = _annotator("c4_fineweb@datatrove", None, {}).annotate_texts(shared).column("edits")
            columns = _annotator(name, None, {}).annotate_texts(
                SharedTexts(apply_to_batch(batch, edits), (shared.bare(), edits))
            )
        if columns.num_rows != len(SAMPLE):
            raise RuntimeError(f"{name}: {columns.num_rows} rows for {len(SAMPLE)} texts")


def _in_process(name: str) -> None:
    """Raises RuntimeError with what a family's process wrote where it failed."""
    done = subprocess.run([sys.executable, "-m", __spec__.name, "--here", name], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compile the kernels of the rule families.")
    parser.add_argument("annotators", nargs="*", default=FAMILIES, metavar="ANNOTATOR")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.here:
        compile_families(options.annotators)
        return 0
    if options.processes < 1:
        parser.error(f"--processes is {options.processes}, less than 1")
    begin = time.perf_counter()
    first, *rest = options.annotators
    _in_process(first)
    with ThreadPoolExecutor(options.processes) as pool:
        list(pool.map(_in_process, rest))
    print(f"{len(options.annotators)} families compiled in {time.perf_counter() - begin:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
