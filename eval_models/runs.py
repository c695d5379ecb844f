"""All runs of a study: variants x proxies x seeds, in worker processes, each run once.

A worker process takes one run after another, so that importing torch is paid once a worker.  A worker that
dies (out of memory, killed) fails the study with the name of its run; finished runs stay and are skipped by
the next call.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_models.plan import StudyPlan
from eval_models.proxies import PROXIES, Proxy, require_torch

if TYPE_CHECKING:
    from eval_models.train import Evaluation, RunConfig


class StudyError(RuntimeError):
    """A run failed, its worker died, or a corpus is missing."""


@dataclasses.dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run of a study, before it is known whether it has been made."""

    run_id: str
    variant: str
    proxy_name: str
    proxy: Proxy
    seed: int


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """What `run_study` tells its caller.  kind: skipped, step, finished."""

    kind: str
    run_id: str
    done: int  # runs that are complete
    total: int
    fraction: float  # of this run
    result: dict[str, Any] | None = None


def plan_runs(plan: StudyPlan) -> list[PlannedRun]:
    """The runs of a study, seed by seed: an interrupted study is still paired.  ValueError: unknown proxy."""
    for name in plan.proxies:
        if name not in PROXIES:
            raise ValueError(f"study.proxies: unknown proxy {name!r}; known are {', '.join(sorted(PROXIES))}")
    return [
        PlannedRun(plan.run_id(variant, proxy, seed), variant, proxy, PROXIES[proxy], seed)
        for seed in range(plan.seeds)
        for proxy in plan.proxies
        for variant in plan.variants
    ]


def choose_device(device: str) -> str:
    """cpu or cuda for `auto`, `cpu` or `cuda`.  StudyError if cuda is asked for and missing."""
    require_torch()
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise StudyError("study.device: cuda, but torch sees no CUDA device; use auto or cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def choose_jobs(plan: StudyPlan, device: str, runs: int, cores: int | None = None) -> tuple[int, int]:
    """Worker processes, and torch threads of each.

    A proxy's tensors are too small for a second thread to pay, and threads that wait for each other at the
    end of every operation suffer most where others use the cores too: a step of mamba-tiny takes 28 ms on
    one thread and 65 ms on two (2 shared cores, torch 2.13).  So on a CPU every core gets a run of its own.
    On a GPU four runs share it: some read their corpus or score while the steps of others are replayed.
    """
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = plan.threads or 1
    jobs = plan.jobs or (min(4, cores) if device == "cuda" else max(1, cores // threads))
    return max(1, min(jobs, runs)), threads


def run_config(
    output_dir: Path,
    run: PlannedRun,
    plan: StudyPlan,
    device: str,
    threads: int,
    evaluation: Evaluation | None = None,
) -> RunConfig:
    """Everything that determines a run's numbers, from plan and corpus.  StudyError: no such corpus."""
    from eval_models.train import Evaluation, RunConfig, code_sha256

    manifest = output_dir / "corpora" / run.variant / "manifest.json"
    if not manifest.is_file():
        raise StudyError(f"variant {run.variant!r}: {manifest} does not exist; curate it first")
    return RunConfig(
        variant=run.variant,
        proxy_name=run.proxy_name,
        proxy=run.proxy,
        seed=run.seed,
        budget_bytes=plan.budget_bytes,
        mix=dict(plan.mix) if plan.mix else None,
        evaluation=evaluation or Evaluation(),
        corpus_manifest_sha256=hashlib.sha256(manifest.read_bytes()).hexdigest(),
        device=device,
        threads=threads,
        code_sha256=code_sha256(),
    )


def _work(pipe: Connection, output_dir: Path, threads: int, keep: bool) -> None:
    """A worker process: answers each (run number, RunConfig) with what happened, until it receives None.

    keep: whether the trained weights stay.
    """
    import torch

    from eval_models.train import keep_memory, train_run

    keep_memory()
    torch.set_num_threads(threads)
    while (task := pipe.recv()) is not None:
        number, config = task

        def tell(step: int, steps: int, number: int = number) -> None:
            if step % max(1, steps // 20) == 0:
                pipe.send((number, "step", step / steps))

        try:
            corpus = output_dir / "corpora" / config.variant
            folder = output_dir / "runs" / config.run_id
            result = train_run(corpus, folder, config, on_step=tell, keep_checkpoint=keep)
            pipe.send((number, "finished", result))
        except Exception:
            pipe.send((number, "failed", traceback.format_exc()))


class _Bar:
    """Progress on stderr: a bar on a terminal, else one line a finished run."""

    def __init__(self, total: int) -> None:
        self.bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            form = "{l_bar}{bar}| {n:.1f}/{total} runs [{elapsed}<{remaining}{postfix}]"
            self.bar = tqdm(total=total, unit="run", file=sys.stderr, bar_format=form)
        self.fractions: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        self.fractions[event.run_id] = event.fraction
        result = event.result
        said = ""
        if event.kind == "finished" and result is not None:
            said = (
                f"{event.run_id}: {result['macro_bits_per_byte']:.4f} bits per byte "
                f"(order-2 n-gram {result['ngram2_bits_per_byte']:.4f}), {result['wall_seconds']:.0f} s"
            )
        if self.bar is not None:
            self.bar.n = round(sum(self.fractions.values()), 2)
            if said:
                self.bar.set_postfix_str(said)
            self.bar.refresh()
        elif said:
            print(f"[{event.done}/{event.total}] {said}", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def run_study(
    output_dir: Path | str,
    plan: StudyPlan,
    progress: Callable[[Event], None] | None = None,
    *,
    force: bool = False,
    evaluation: Evaluation | None = None,
) -> list[dict[str, Any]]:
    """Makes every run of the study that is not complete; returns all results in the order of `plan_runs`.

    Reads <output_dir>/corpora/<variant>, writes <output_dir>/runs/<run id>.  A run is skipped if its
    result was made from the same configuration, corpus, code and torch (`force`: none is), and its weights are
    there if the plan wants to keep them.  progress
    receives every Event; None: a bar on stderr, or a line a run where stderr is no terminal.  Raises
    StudyError with the run's name when a run fails or its worker dies; the other workers are stopped, and
    their runs go on from their checkpoints next time.
    """
    require_torch()
    output_dir = Path(output_dir)
    runs = plan_runs(plan)
    device = choose_device(plan.device)
    jobs, threads = choose_jobs(plan, device, len(runs))
    configs = [run_config(output_dir, run, plan, device, threads, evaluation) for run in runs]
    results: list[dict[str, Any] | None] = [None] * len(runs)
    bar = None if progress else _Bar(len(runs))
    notify: Callable[[Event], None] = progress or bar or (lambda event: None)
    try:
        from eval_models.train import is_complete

        done = 0
        waiting = []
        for number, config in enumerate(configs):
            folder = output_dir / "runs" / config.run_id
            kept = not plan.keep_checkpoints or (folder / "checkpoint.pt").exists()
            if not force and kept and is_complete(folder, config):
                results[number] = json.loads((folder / "result.json").read_text())
                done += 1
                notify(Event("skipped", config.run_id, done, len(runs), 1.0, results[number]))
            else:
                if force:  # a kept checkpoint would end the run at once
                    (folder / "checkpoint.pt").unlink(missing_ok=True)
                waiting.append(number)
        _schedule(
            output_dir, configs, waiting, results, min(jobs, len(waiting)), threads, plan.keep_checkpoints, notify
        )
    finally:
        if bar is not None:
            bar.close()
    return [result for result in results if result is not None]


def _schedule(
    output_dir: Path,
    configs: list[RunConfig],
    waiting: list[int],
    results: list[dict[str, Any] | None],
    jobs: int,
    threads: int,
    keep: bool,
    notify: Callable[[Event], None],
) -> None:
    """Hands the waiting runs, in order, to `jobs` workers and fills `results`."""
    context = multiprocessing.get_context("spawn")
    workers: dict[Connection, Any] = {}
    busy: dict[Connection, int] = {}
    queue = list(reversed(waiting))

    def feed(pipe: Connection) -> None:
        if queue:
            busy[pipe] = queue.pop()
            pipe.send((busy[pipe], configs[busy[pipe]]))
        else:
            pipe.send(None)
            workers.pop(pipe).join()

    try:
        for _ in range(jobs):
            pipe, theirs = context.Pipe()
            worker = context.Process(target=_work, args=(theirs, output_dir, threads, keep), daemon=True)
            worker.start()
            theirs.close()  # so that the death of the worker is seen as the end of its pipe
            workers[pipe] = worker
            feed(pipe)
        while busy:
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                number = busy[ready]
                run_id = configs[number].run_id
                try:
                    _, kind, said = ready.recv()
                except EOFError:
                    workers[ready].join()
                    code = workers[ready].exitcode
                    why = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
                    raise StudyError(
                        f"run {run_id}: its worker process died ({why}); the run goes on from its checkpoint "
                        "when the study is started again.  Out of memory?  Try fewer jobs"
                    ) from None
                done = sum(result is not None for result in results)
                if kind == "failed":
                    raise StudyError(f"run {run_id} failed:\n{said}")
                if kind == "step":
                    notify(Event("step", run_id, done, len(results), said))
                else:
                    results[number] = said
                    del busy[ready]
                    notify(Event("finished", run_id, done + 1, len(results), 1.0, said))
                    feed(ready)
    finally:
        for pipe, worker in workers.items():
            pipe.close()
            worker.terminate()
            worker.join()
