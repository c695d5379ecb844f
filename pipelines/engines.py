"""Engines: from a recipe's engine block to Beam options; a local job service; what a portable graph must be.

Options are always given in full and by name: nothing is taken from this process's own arguments.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import os
import select
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

import apache_beam as beam
from apache_beam import coders
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from pipelines.errors import UsageError
from pipelines.recipe_errors import nearest
from pipelines.recipe_models import DataflowEngine, Engine, FlinkEngine, LocalEngine, PortableEngine

# Starting a Python process that imports Beam takes about 2 s; a busy machine may need ten times as long.
_START_SECONDS = 60.0
_STOP_SECONDS = 5.0


def pipeline_options(engine: Engine, extra: Sequence[str] = ()) -> PipelineOptions:
    """Beam's options for an engine, with the engine's `extra` ones and further flags ('--name=value').

    Raises UsageError for a flag that Beam does not have or cannot read, or that the engine's own keys set,
    and where an extra of this package is not installed.
    """
    match engine:
        case LocalEngine():
            options = _local(engine)
        case PortableEngine():
            options = _portable(engine)
        case FlinkEngine():
            options = _flink(engine)
        case DataflowEngine():
            _require_gcp()
            options = _dataflow(engine)
    options = {name: value for name, value in options.items() if value is not None}
    flags = [*_flags_of(engine.extra), *extra]
    for name in sorted(_FlagParser().given(flags) & set(options)):
        raise UsageError(f"Beam's option {name} is set by the engine's own keys")
    return PipelineOptions(flags=flags, **options)


def _local(engine: LocalEngine) -> dict[str, Any]:
    # By name: 'DirectRunner' is a switch in Beam 2.77 that may download another runner.
    options: dict[str, Any] = {"runner": "FnApiRunner", "direct_num_workers": engine.workers}
    options["direct_running_mode"] = "in_memory" if engine.workers == 1 else "multi_processing"
    return options


def local_runner(options: PipelineOptions) -> FnApiRunner | None:
    """The runner for several processes on this machine; None where the options ask for something else."""
    direct = options.view_as(DirectOptions)
    several = direct.direct_num_workers > 1 and direct.direct_running_mode in (None, "multi_processing")
    if options.view_as(StandardOptions).runner != "FnApiRunner" or not several:
        return None
    # With its mode named, Beam would put its own worker command in the place of ours.
    direct.direct_running_mode = None
    # `exec`, so that the worker is our child and not a shell's.
    command = f"exec {shlex.quote(sys.executable)} -m pipelines.local_worker"
    return FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string(command))


def _portable(engine: PortableEngine) -> dict[str, Any]:
    return {
        "runner": "PortableRunner",
        "job_endpoint": engine.job_endpoint,
        "artifact_endpoint": engine.artifact_endpoint,
        "environment_type": engine.environment_type,
        "environment_config": engine.environment_config,
        "sdk_worker_parallelism": engine.workers,
    }


def _flink(engine: FlinkEngine) -> dict[str, Any]:
    return {
        "runner": "FlinkRunner",
        "flink_master": engine.master,
        "flink_version": engine.version,
        "flink_job_server_jar": engine.job_server_jar,
        "flink_submit_uber_jar": engine.submit_uber_jar,
        "artifacts_dir": engine.artifacts_dir,
        # A cluster's default is DOCKER, which the recipe must say; in this machine's Java nothing else works.
        "environment_type": engine.environment_type or "LOOPBACK",
        "environment_config": engine.environment_config,
        "parallelism": engine.workers,
    }


def _dataflow(engine: DataflowEngine) -> dict[str, Any]:
    return {
        "runner": "DataflowRunner",
        "project": engine.project,
        "region": engine.region,
        "temp_location": engine.temp_location,
        "staging_location": engine.staging_location or engine.temp_location,
        "sdk_container_image": engine.sdk_container_image,
        # The image has everything: workers neither download an SDK nor install packages.
        "sdk_location": "container",
        "machine_type": engine.machine_type,
        "num_workers": engine.workers,
        "max_num_workers": engine.max_workers,
        "disk_size_gb": engine.disk_size_gb,
        "service_account_email": engine.service_account_email,
        "subnetwork": engine.subnetwork,
    }


def _require_gcp() -> None:
    missing = [name for name in ("apitools", "google.auth") if not _importable(name)]
    if missing:
        raise UsageError(
            "engine.kind dataflow needs Google's client libraries: pip install 'gristmill[gcp]' "
            f"(not found: {', '.join(missing)})"
        )


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _flags_of(extra: Mapping[str, Any]) -> list[str]:
    """`extra` as Beam's command line takes it: true is a bare flag, false and nothing leave it out."""
    flags: list[str] = []
    for name, value in extra.items():
        for each in value if isinstance(value, tuple) else (value,):
            if each is True:
                flags.append(f"--{name}")
            elif each is not None and each is not False:
                flags.append(f"--{name}={each}")
    return flags


class _FlagParser(argparse.ArgumentParser):
    """Knows every flag of Beam, and raises UsageError where Beam would log a warning and go on."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        self.names: list[str] = []
        for options in PipelineOptions.__subclasses__():
            options._add_argparse_args(self)  # type: ignore[arg-type]

    def add_argument(self, *names: str, **described: Any) -> argparse.Action:  # type: ignore[override]
        # Beam's option classes may define a flag again, and a default would count as given.
        self.names += names
        return super().add_argument(*names, **{**described, "default": argparse.SUPPRESS})

    def add_value_provider_argument(self, *names: str, **described: Any) -> None:
        self.add_argument(*names, **described)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"Beam's options: {message}")

    def given(self, flags: Sequence[str]) -> set[str]:
        """Names of the options that `flags` set."""
        options, unknown = self.parse_known_args(flags)
        for flag in unknown:
            name = flag.partition("=")[0]
            hint = nearest(name, self.names)
            version = importlib.metadata.version("apache-beam")
            raise UsageError(f"Beam {version} has no option {name}" + (f"; did you mean {hint!r}?" if hint else ""))
        return set(vars(options))


# -- a job service on this machine --------------------------------------------------------------------------

# Both children print their port, then wait for the end of their input: they end with the process that
# started them, however that ends.
_JOB_SERVICE = """
import sys
from apache_beam.runners.portability.local_job_service import LocalJobServicer
service = LocalJobServicer(sys.argv[1])
print(service.start_grpc_server(0), flush=True)
sys.stdin.buffer.read()
service.stop()
"""
_WORKER_POOL = """
import sys
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
address, server = BeamFnExternalWorkerPoolServicer.start(use_process=True)
print(address.rpartition(":")[2], flush=True)
sys.stdin.buffer.read()
server.stop(0)
"""


@dataclasses.dataclass(frozen=True, slots=True)
class JobService:
    """Endpoints of a running job service and its worker pool, as host:port."""

    job_endpoint: str
    worker_endpoint: str

    def engine(self) -> PortableEngine:
        """The engine block that uses it."""
        return PortableEngine(
            kind="portable",
            job_endpoint=self.job_endpoint,
            environment_type="EXTERNAL",
            environment_config=self.worker_endpoint,
        )


@contextlib.contextmanager
def local_job_service() -> Iterator[JobService]:
    """Beam's Python job service and a worker pool: what a job meets on Flink, without Java.

    Jobs come in over gRPC, files are staged, and other processes do the work.  Both servers and all workers
    are gone when the context ends.  Raises RuntimeError with their last words if they do not start.
    """
    with contextlib.ExitStack() as stack:
        staging = stack.enter_context(tempfile.TemporaryDirectory(prefix="gristmill-staging-"))
        servers = [
            (name, *stack.enter_context(_server([sys.executable, "-c", program, staging])))
            for name, program in (("job service", _JOB_SERVICE), ("worker pool", _WORKER_POOL))
        ]
        ports = [_port_of(*server) for server in servers]
        yield JobService(*(f"localhost:{port}" for port in ports))


def _environment() -> dict[str, str]:
    """The pool starts `python` from PATH, which must be this interpreter with this process's modules."""
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return environment


@contextlib.contextmanager
def _server(command: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """Starts a server, with the file of what it says; ends it and all processes that it started."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(),
            start_new_session=True,
        )
        try:
            yield process, log
        finally:
            _end(process)


def _port_of(name: str, process: subprocess.Popen[bytes], log: IO[bytes]) -> int:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
    line = process.stdout.readline().strip() if ready else b""
    if not line.isdigit():
        log.seek(0)
        words = log.read().decode("utf-8", "replace")[-2000:]
        raise RuntimeError(f"the {name} did not start within {_START_SECONDS:.0f} s:\n{words}")
    return int(line)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process, which leads a group of its own, gets time to end by itself; then the group is killed."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


# -- graphs -------------------------------------------------------------------------------------------------

_SHUFFLES = ("beam:transform:group_by_key:v1", "beam:transform:reshuffle:v1")
# Coders that fall back to pickle for what they do not know.
_PICKLING = (
    coders.FastPrimitivesCoder,
    coders.PickleCoder,
    coders.coders.CloudpickleCoder,
    coders.coders.DillCoder,
    coders.coders.DeterministicFastPrimitivesCoder,
    coders.coders.DeterministicFastPrimitivesCoderV2,
)
_KEYS = (coders.BytesCoder, coders.StrUtf8Coder, coders.VarIntCoder)


def graph_problems(pipeline: beam.Pipeline) -> list[str]:
    """Why the graph might behave differently on another engine; empty if nothing is known against it.

    * what goes through a shuffle has a coder of its own: pickle is bound to versions and is slow;
    * keys are int, str or bytes, whose encoding is the same everywhere;
    * no step is called after a lambda: such names change with the line and break updates of running jobs.
    """
    proto, context = pipeline.to_runner_api(return_context=True)
    transforms = proto.components.transforms
    inside_shuffle: set[str] = set()
    for transform in transforms.values():
        if transform.spec.urn == "beam:transform:reshuffle:v1":
            inside_shuffle.update(_descendants(transforms, transform))
    problems: list[str] = []
    for identity, transform in transforms.items():
        if transform.spec.urn not in _SHUFFLES or identity in inside_shuffle:
            continue
        for pcollection in transform.inputs.values():
            coder = context.coders.get_by_id(proto.components.pcollections[pcollection].coder_id)
            problems += _coder_problems(transform.unique_name, transform.spec.urn == _SHUFFLES[0], coder)
    labels = _Labels()
    pipeline.visit(labels)
    return sorted(problems) + sorted(labels.problems)


def assert_portable_graph(pipeline: beam.Pipeline) -> None:
    """Raises AssertionError with all `graph_problems`."""
    problems = graph_problems(pipeline)
    if problems:
        raise AssertionError("the graph is not portable:\n  " + "\n  ".join(problems))


def _descendants(transforms: Any, transform: Any) -> Iterator[str]:
    for child in transform.subtransforms:
        yield child
        yield from _descendants(transforms, transforms[child])


def _coder_problems(step: str, keyed: bool, coder: coders.Coder) -> Iterator[str]:
    if keyed and isinstance(coder, coders.TupleCoder):
        key, value = coder.coders()
        # The key of a group is encoded deterministically, which wraps a pickling coder: name the key once.
        if not isinstance(key, _KEYS):
            yield f"{step}: keys are encoded by {key!r}; use int, str or bytes"
        coder = value
    for part in _parts(coder):
        if isinstance(part, _PICKLING):
            yield f"{step}: {part!r} pickles what is shuffled; annotate the output type of the step before"


def _parts(coder: coders.Coder) -> Iterator[coders.Coder]:
    yield coder
    for part in coder._get_component_coders():
        yield from _parts(part)


class _Labels(PipelineVisitor):
    """Collects steps whose label stands for a lambda; what Beam's own composites hold is not looked at."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._own: list[bool] = []

    def enter_composite_transform(self, transform_node: AppliedPTransform) -> None:
        self._look(transform_node)
        of_beam = type(transform_node.transform).__module__.startswith("apache_beam.")
        self._own.append(of_beam and transform_node.parent is not None)

    def leave_composite_transform(self, transform_node: AppliedPTransform) -> None:
        self._own.pop()

    def visit_transform(self, transform_node: AppliedPTransform) -> None:
        self._look(transform_node)

    def _look(self, node: AppliedPTransform) -> None:
        label = (node.full_label or "").rpartition("/")[2]
        if "<lambda" in label and not any(self._own):
            self.problems.append(f"{node.full_label}: give the step a label or use a named function")
