"""Every operation of `kernels` on a GPU, each row beside its public peers in the same process.

    python -m bench.gpu                    all operations
    python -m bench.gpu --only norm ssd    some groups: bench/gpu_rows_norm.py, bench/gpu_rows_ssd.py
    python -m bench.gpu --quick            two shapes of each
    python -m bench.gpu --list             what there is (needs no GPU)

* A row is timed only if its check passed in the same process; one whose check fails ends the run with exit code 1.
* Times are medians of `triton.testing.do_bench`, which empties the L2 between repeats: as launched by the host, and
  as a replayed CUDA graph, which is what a captured training step sees.
* Each group runs in its own process: a peer that crashes takes its own group with it, no more.
* First everything is compiled, several groups at once (--jobs); peers that tune themselves share their configurations
  among several such processes.  The timing processes then find all binaries in triton's cache.
* The ceilings, a device copy and a large bf16 product, are measured in the same run.
* Peers are imported by the script peers_gpu.py in the folder bench of GRISTMILL_SHARED (or of ../shared); without it
  only torch's own kernels stand beside ours.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import functools
import gc
import importlib
import importlib.metadata
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

Work = Callable[[], object]
FOLDER = Path(__file__).resolve().parent
# Processes that compile a group before it is timed; 1 where it is not named.
PARTS = {"ssd": 6, "training": 3}


@dataclasses.dataclass
class Row:
    """One thing to time.

    `rows(quick)` of bench/gpu_rows_<op>.py gives them: a list, or better a generator that allocates a row's tensors
    when it is asked for the row, so that the tensors of one shape are freed before those of the next.  A module may
    have ENVIRONMENTS, a list of dicts: it then runs once in each, and a row's peers may differ between them.
    """

    op: str  # as the public function: "ssd"
    shape: str  # "b16 l2048 d512 n128"
    pass_: str  # "fwd", "fwd+bwd", "step"
    ours: Work  # no argument; everything it needs is allocated
    peers: dict[str, Work]  # name -> the same work by a public kernel; may raise: then the peer's cell says so
    check: Callable[[], float]  # worst relative error of ours against a float32 reference, on a small shape of the kind
    limit: float  # on what check returns; above it the row is not timed
    bytes: float  # that the work must move: inputs once, outputs once
    flops: float  # that it must do
    graph: bool = True  # also time ours and the peers as replayed CUDA graphs
    tokens: int = 0  # of a training step: the table then also says tokens per second


# ------------------------------------------------------------------------------------------------ peers and passes


@functools.cache
def peers_module() -> ModuleType | None:
    """The script that times the public kernels, whose references and imports of peers are used; None if absent."""
    given = os.environ.get("GRISTMILL_SHARED")
    folders = [Path(given)] if given else [p / "shared" for p in FOLDER.parents]
    for folder in folders:
        path = folder / "bench" / "peers_gpu.py"
        if path.exists():
            spec = importlib.util.spec_from_file_location("peers_gpu", path)
            assert spec and spec.loader
            module = importlib.util.module_from_spec(spec)
            sys.modules["peers_gpu"] = module  # dataclasses look their module up
            spec.loader.exec_module(module)
            return module
    return None


def optional(name: str) -> Any | None:
    """A peer's module by name ("fla.ops.simple_gla", "mamba_ssm.ops.triton.ssd_combined"), None if it has none."""
    peers = peers_module()
    return None if peers is None else peers.optional(name)


def forward(fn: Callable[..., object], inputs: Sequence[Tensor]) -> Work:
    """The work of one forward pass without gradients."""

    def run() -> object:
        with torch.no_grad():
            return fn(*inputs)

    return run


def forward_backward(
    fn: Callable[..., Any], inputs: Sequence[Tensor], differentiable: Sequence[int] | None = None
) -> Work:
    """The work of a forward and a backward pass: gradients of every float input (or of those numbered).

    fn returns a tensor or a tuple, of which the first is differentiated; its upstream gradient is drawn once.
    """
    chosen = [i for i, t in enumerate(inputs) if t.is_floating_point()] if differentiable is None else differentiable
    leaves = [t.detach().requires_grad_(i in chosen) for i, t in enumerate(inputs)]
    wanted = [leaves[i] for i in chosen]
    seed: list[Tensor] = []

    def run() -> object:
        result = fn(*leaves)
        first = result[0] if isinstance(result, tuple | list) else result
        if not seed:
            seed.append(torch.randn_like(first))
        return torch.autograd.grad(first, wanted, seed[0], allow_unused=True)

    return run


def relative_error(got: Sequence[Tensor | None], want: Sequence[Tensor | None]) -> float:
    """Worst ||got - want|| / ||want|| of the pairs whose `want` is there; infinite for a NaN or a missing tensor."""
    worst = 0.0
    for g, w in zip(got, want, strict=True):
        if w is None:
            continue
        if g is None or g.shape != w.shape:
            return math.inf
        error = ((g.double() - w.double()).norm() / w.double().norm().clamp_min(1e-30)).item()
        worst = max(worst, math.inf if math.isnan(error) else error)
    return worst


# ------------------------------------------------------------------------------------------------ measuring


def captured(work: Work) -> Work:
    """`work` as a CUDA graph: what is returned replays it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
        # a capture that fails leaves torch's generators unusable for the rest of the process
        torch.cuda.set_sync_debug_mode("error")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = work()

    def replay(kept: object = kept) -> None:
        graph.replay()

    return replay


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:120]


def measure(work: Work, milliseconds: int, graph: bool) -> dict[str, Any]:
    """Median times, and the peak of memory above what was there; a note instead of what fails."""
    from triton.testing import do_bench

    found: dict[str, Any] = {}
    try:
        work()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        found["peak_mib"] = round((torch.cuda.max_memory_allocated() - before) / 2**20, 1)
        found["ms"] = float(do_bench(work, warmup=25, rep=milliseconds, return_mode="median"))
    except Exception as error:  # a peer may fail in any way
        return {"note": _first_line(error)}
    if graph:
        try:
            replay = captured(work)
            found["graph_ms"] = float(do_bench(replay, warmup=25, rep=milliseconds, return_mode="median"))
        except Exception as error:
            found["note"] = f"no graph: {_first_line(error)}"
            torch.cuda.synchronize()
    return found


def ceilings() -> tuple[float, float]:
    """(GB/s of a device copy counting both directions, TFLOP/s of a bf16 product on random data)."""
    from triton.testing import do_bench

    source = torch.randn(2**29, device="cuda")
    target = torch.empty_like(source)
    copy_ms = do_bench(lambda: target.copy_(source), return_mode="median")
    a, b = (torch.randn(8192, 8192, device="cuda").bfloat16() for _ in range(2))
    product_ms = do_bench(lambda: a @ b, return_mode="median")
    return 2 * source.numel() * 4 / copy_ms / 1e6, 2 * 8192**3 / product_ms / 1e9


def modules() -> list[str]:
    """Names of the groups: bench/gpu_rows_<name>.py."""
    return sorted(path.stem.removeprefix("gpu_rows_") for path in FOLDER.glob("gpu_rows_*.py"))


def run_group(group: str, quick: bool, milliseconds: int, write: Callable[[dict[str, Any]], None]) -> None:
    """Checks and times the rows of one group; `write` gets a record for ours and for every peer."""
    module = importlib.import_module(f"bench.gpu_rows_{group}")
    variables = os.environ.get("BENCH_ENVIRONMENT", "")
    for row in module.rows(quick):
        base = {"group": group, "op": row.op, "shape": row.shape, "pass": row.pass_}
        if variables:
            base["environment"] = variables
        try:
            error = float(row.check())
        except Exception as failure:
            write({**base, "by": "kernels", "failed": f"check: {_first_line(failure)}"})
            continue
        if not error <= row.limit:
            write({**base, "by": "kernels", "failed": f"relative error {error:.1e}, at most {row.limit:.0e}"})
            continue
        timed = [("kernels", row.ours), *row.peers.items()]
        for name, work in timed:
            record = {**base, "by": name, **measure(work, milliseconds, row.graph)}
            if name == "kernels":
                record |= {"error": error, "limit": row.limit}
            ms = record.get("ms")
            if ms:
                record |= {"gb_per_s": row.bytes / ms / 1e6, "tflop_per_s": row.flops / ms / 1e9}
                if row.tokens:
                    best = min(ms, record.get("graph_ms", math.inf))
                    record["tokens_per_s"] = row.tokens / best * 1e3
            write(record)
        del row, timed
        gc.collect()
        torch.cuda.empty_cache()


def warm_group(group: str, quick: bool, part: int, parts: int) -> None:
    """Runs everything of a group once, so that it is compiled.  What fails here fails again where it is timed."""
    peers = peers_module()
    if parts > 1 and peers is not None:
        peers.keep_every(part, parts)  # every autotuner tries its share of the configurations only
    module = importlib.import_module(f"bench.gpu_rows_{group}")
    for row in module.rows(quick):
        for work in (row.check, row.ours, *row.peers.values()):
            with contextlib.suppress(Exception):
                work()
        del row
        gc.collect()
        torch.cuda.empty_cache()


# ------------------------------------------------------------------------------------------------ driver


def versions() -> dict[str, str]:
    found = {"python": ".".join(map(str, sys.version_info[:3])), "torch": torch.__version__}
    for name in ("triton", "fla", "liger_kernel", "mamba_ssm", "causal_conv1d", "accelerated_scan"):
        for distribution in (name, {"fla": "fla-core"}.get(name, name.replace("_", "-"))):
            try:
                found[name] = importlib.metadata.version(distribution)
                break
            except importlib.metadata.PackageNotFoundError:
                continue
    return found


def commit() -> str:
    """Of the checkout, "+" behind it if files differ; what GRISTMILL_COMMIT says where there is no git."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=FOLDER, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"], cwd=FOLDER, capture_output=True, text=True
        ).stdout.strip()
        return head + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("GRISTMILL_COMMIT", "unknown")


def _number(value: float | None, form: str) -> str:
    return "" if value is None or not math.isfinite(value) else format(value, form)


def table(records: Sequence[dict[str, Any]], copy: float, product: float) -> str:
    """One line a row: ours, the best peer, and the ratio of their times."""
    header = (
        "op", "pass", "shape", "ms", "graph", "best peer", "ms", "graph", "ratio", "graph",
        "%copy", "%product", "MiB", "error", "tokens/s", "note",
    )  # fmt: skip
    lines = [header]
    by_row: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for record in records:
        by_row.setdefault((record["op"], record["pass"], record["shape"]), []).append(record)
    for (op, pass_, shape), found in by_row.items():
        ours = next((r for r in found if r["by"] == "kernels" and "failed" not in r), None)
        if ours is None:
            lines.append((op, pass_, shape, *[""] * 12, "FAILED: " + found[0].get("failed", "")))
            continue
        peers = [r for r in found if r["by"] != "kernels" and "ms" in r]
        best = min(peers, key=lambda r: r["ms"], default={})
        graphed = [r["graph_ms"] for r in peers if "graph_ms" in r]
        ms, graph_ms = ours.get("ms"), ours.get("graph_ms")
        fastest = min((t for t in (ms, graph_ms) if t), default=math.nan)
        notes = [f"{r['by']}: {r['note']}" for r in found if "note" in r]
        work = {"gb_per_s": ours.get("gb_per_s", math.nan), "tflop_per_s": ours.get("tflop_per_s", math.nan)}
        scale = (ms or math.nan) / fastest
        lines.append(
            (
                op, pass_, shape, _number(ms, ".4f"), _number(graph_ms, ".4f"), best.get("by", ""),
                _number(best.get("ms"), ".4f"), _number(min(graphed, default=None), ".4f"),
                _number(best["ms"] / ms if best and ms else None, ".2f"),
                _number(min(graphed) / graph_ms if graphed and graph_ms else None, ".2f"),
                _number(100 * work["gb_per_s"] * scale / copy, ".0f"),
                _number(100 * work["tflop_per_s"] * scale / product, ".0f"),
                _number(ours.get("peak_mib"), ".0f"), _number(ours.get("error"), ".0e"),
                _number(ours.get("tokens_per_s"), ",.0f"), "; ".join(notes)[:160],
            )
        )  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _start(group: str, args: argparse.Namespace, environment: dict[str, str], *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.gpu", "--child", group, *more]
    command += ["--milliseconds", str(args.milliseconds), *(["--quick"] if args.quick else [])]
    variables = {**os.environ, **environment, "BENCH_ENVIRONMENT": " ".join(f"{k}={v}" for k, v in environment.items())}
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(FOLDER.parent), os.environ.get("PYTHONPATH")]))
    errors = subprocess.DEVNULL if "--warm" in more else subprocess.PIPE
    return subprocess.Popen(
        command, env=variables, cwd=FOLDER.parent, stdout=subprocess.DEVNULL, stderr=errors, text=True
    )


def _time_group(group: str, args: argparse.Namespace, sink: Path, environment: dict[str, str]) -> str | None:
    """Runs one group in its own process; what went wrong, or None."""
    process = _start(group, args, environment, "--records", str(sink))
    try:
        _, errors = process.communicate(timeout=args.limit)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"group {group}: not done after {args.limit} s"
    if process.returncode:
        last = (errors.strip().splitlines() or [""])[-1]
        return f"group {group}: exit code {process.returncode}: {last[:200]}"
    return None


def warm_up(groups: Sequence[str], args: argparse.Namespace) -> None:
    """Compiles all groups, args.jobs processes at a time, for at most args.warm_limit seconds in all."""
    waiting = [
        (group, environment, part)
        for group in groups
        for environment in environments(group)
        for part in range(PARTS.get(group, 1))
    ]
    waiting.sort(key=lambda task: -PARTS.get(task[0], 1))  # the longest first
    running: list[subprocess.Popen[str]] = []
    end = time.monotonic() + args.warm_limit
    while (waiting or running) and time.monotonic() < end:
        while waiting and len(running) < args.jobs:
            group, environment, part = waiting.pop(0)
            running.append(_start(group, args, environment, "--warm", str(part), str(PARTS.get(group, 1))))
        time.sleep(0.2)
        running = [process for process in running if process.poll() is None]
    for process in running:
        process.kill()
        process.communicate()


def environments(group: str) -> list[dict[str, str]]:
    """Read from the source: importing the module would already import its peers."""
    source = (FOLDER / f"gpu_rows_{group}.py").read_text()
    if "ENVIRONMENTS" not in source:
        return [{}]
    found: list[dict[str, str]] = importlib.import_module(f"bench.gpu_rows_{group}").ENVIRONMENTS
    return found


def child(args: argparse.Namespace) -> int:
    torch.backends.cuda.matmul.allow_tf32 = False
    if args.warm:
        warm_group(args.child, args.quick, *args.warm)
        return 0
    with open(args.records, "a", encoding="utf-8") as sink:  # a line at a time: a crash loses no more than its row

        def write(record: dict[str, Any]) -> None:
            sink.write(json.dumps(record) + "\n")
            sink.flush()

        run_group(args.child, args.quick, args.milliseconds, write)
        peers = peers_module()
        if peers is not None and peers.ABSENT:
            write({"absent": peers.ABSENT})
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="GROUP", help=f"of {', '.join(modules())}")
    parser.add_argument("--quick", action="store_true", help="two shapes of each operation")
    parser.add_argument("--list", action="store_true", help="name the groups and stop")
    parser.add_argument("--milliseconds", type=int, default=60, help="of repeats a row")
    parser.add_argument("--limit", type=int, default=900, help="seconds allowed to one group")
    parser.add_argument("--output", type=Path, default=FOLDER / "results" / "gpu.jsonl")
    parser.add_argument("--jobs", type=int, default=8, help="processes that compile before timing; 0: none")
    parser.add_argument("--warm-limit", type=int, default=600, help="seconds allowed to compiling")
    parser.add_argument("--compile-only", action="store_true", help="stop before timing")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--warm", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--records", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.child:
        return child(args)
    groups = args.only or modules()
    unknown = sorted(set(groups) - set(modules()))
    if unknown:
        parser.error(f"no such group: {', '.join(unknown)}; there are {', '.join(modules())}")
    if args.list:
        print("\n".join(groups))
        return 0
    if not torch.cuda.is_available():
        print("bench.gpu: torch sees no CUDA device", file=sys.stderr)
        return 1
    if args.jobs:
        began = time.monotonic()
        warm_up(groups, args)
        print(f"compiled in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    if args.compile_only:
        return 0
    copy, product = ceilings()
    torch.cuda.empty_cache()
    device = torch.cuda.get_device_name()
    print(f"{device}  copy {copy:.0f} GB/s  bf16 product {product:.0f} TFLOP/s", flush=True)
    said = {
        "device": device,
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "versions": versions(),
        "copy_gb_per_s": round(copy, 1),
        "product_tflop_per_s": round(product, 1),
    }
    failures: list[str] = []
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, open(args.output, "w", encoding="utf-8") as output:
        for group in groups:
            began = time.monotonic()
            records: list[dict[str, Any]] = []
            for environment in environments(group):
                sink = Path(folder) / "records.jsonl"
                sink.write_text("")
                failure = _time_group(group, args, sink, environment)
                if failure:
                    failures.append(failure)
                records += [json.loads(line) for line in sink.read_text().splitlines()]
            absent = {name: why for r in records for name, why in r.get("absent", {}).items()}
            records = [r for r in records if "absent" not in r]
            failures += [f"{r['op']} {r['pass']} {r['shape']}: {r['failed']}" for r in records if "failed" in r]
            output.writelines(json.dumps({**said, **record}) + "\n" for record in records)
            output.flush()  # what was measured stays, whatever happens to the next group
            print(f"\n{group} ({time.monotonic() - began:.0f} s)\n{table(records, copy, product)}", flush=True)
            for name, why in absent.items():
                print(f"no peer {name}: {why}", flush=True)
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
