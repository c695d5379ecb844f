"""Engines: the options that each gets, graphs that run everywhere, and a job service without Java."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.options import pipeline_options as beam_options
from apache_beam.testing.util import assert_that, equal_to

from pipelines import engines
from pipelines.annotate import AnnotateUnits
from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.engines import (
    JobService,
    assert_portable_graph,
    graph_problems,
    local_job_service,
    pipeline_options,
)
from pipelines.errors import UsageError
from pipelines.find_duplicates import FindDuplicates, build_find_duplicates
from pipelines.ingest import document_shard
from pipelines.recipe_models import DataflowEngine, Engine, FlinkEngine, LocalEngine, PortableEngine
from pipelines.shards import write_shard
from pipelines.split import HeldOut, Plan, SplitDocuments
from pipelines.stages import CollectRecords, MapUnits

DATAFLOW = DataflowEngine(
    kind="dataflow",
    project="some-project",
    region="europe-west4",
    temp_location="gs://some-bucket/temp",
    sdk_container_image="registry.example/gristmill:0.1.0",
    machine_type="n2-standard-8",
    workers=2,
    max_workers=50,
)


def given(engine: Engine, *flags: str) -> dict[str, object]:
    """What differs from Beam's defaults."""
    return pipeline_options(engine, flags).get_all_options(drop_default=True)


def count_words(pipeline: beam.Pipeline) -> beam.PCollection[tuple[str, int]]:
    lines = pipeline | "Lines" >> beam.Create(["a b a", "b a"], reshuffle=False).with_output_types(str)
    words = lines | "Split" >> beam.FlatMap(str.split).with_output_types(str)
    return (
        words
        | "Spread" >> beam.Reshuffle()
        | "One" >> beam.Map(lambda word: (word, 1)).with_output_types(tuple[str, int])
        | "ByWord" >> beam.GroupByKey()
        | "Sum" >> beam.MapTuple(lambda word, ones: (word, sum(ones))).with_output_types(tuple[str, int])
    )


def test_the_local_engine_is_named_and_its_mode_follows_the_workers() -> None:
    assert given(LocalEngine()) == {"runner": "FnApiRunner"}
    assert given(LocalEngine(workers=4)) == {
        "runner": "FnApiRunner",
        "direct_num_workers": 4,
        "direct_running_mode": "multi_processing",
    }


def test_this_process_s_own_arguments_are_not_beam_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gristmill", "--runner=Other", "--direct_num_workers=7"])
    assert given(LocalEngine()) == {"runner": "FnApiRunner"}


def test_extra_options_and_flags_are_read_as_beam_reads_them() -> None:
    engine = LocalEngine(
        extra={
            "direct_runner_bundle_repeat": 1,
            "experiments": ("a", "b"),
            "save_main_session": True,
            "region": None,
        }
    )
    options = given(engine, "--job_server_timeout=9", "--experiments=c")
    assert options["direct_runner_bundle_repeat"] == 1
    assert options["experiments"] == ["a", "b", "c"]
    assert options["save_main_session"] is True
    assert options["job_server_timeout"] == 9
    assert "region" not in options


@pytest.mark.parametrize(
    ("extra", "flags", "words"),
    [
        ({"direct_runner_bundel_repeat": 1}, (), "did you mean '--direct_runner_bundle_repeat'?"),
        ({"direct_runner_bundle_repeat": "x"}, (), "invalid int value: 'x'"),
        ({"direct_num_workers": 3}, (), "direct_num_workers is set by the engine's own keys"),
        ({}, ("--runner=DirectRunner",), "runner is set by the engine's own keys"),
        ({}, ("bundle_repeat",), "has no option bundle_repeat"),
    ],
)
def test_flags_that_beam_would_drop_in_silence_are_errors(
    extra: dict[str, Any], flags: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UsageError, match=words.replace("?", r"\?")):
        pipeline_options(LocalEngine(extra=extra), flags)


def test_portable_options() -> None:
    engine = PortableEngine(kind="portable", job_endpoint="jobs:8099", environment_config="workers:5000", workers=3)
    assert given(engine) == {
        "runner": "PortableRunner",
        "job_endpoint": "jobs:8099",
        "environment_type": "EXTERNAL",
        "environment_config": "workers:5000",
        "sdk_worker_parallelism": 3,
    }


def test_flink_options() -> None:
    cluster = FlinkEngine(
        kind="flink",
        master="flink:8081",
        version="1.20",
        job_server_jar="/jars/job-server.jar",
        submit_uber_jar=True,
        artifacts_dir="s3://bucket/staged",
        environment_type="EXTERNAL",
        environment_config="localhost:50000",
        workers=16,
    )
    assert given(cluster) == {
        "runner": "FlinkRunner",
        "flink_master": "flink:8081",
        "flink_version": "1.20",
        "flink_job_server_jar": "/jars/job-server.jar",
        "flink_submit_uber_jar": True,
        "artifacts_dir": "s3://bucket/staged",
        "environment_type": "EXTERNAL",
        "environment_config": "localhost:50000",
        "parallelism": 16,
    }
    local = given(FlinkEngine(kind="flink"))
    assert (local["flink_master"], local["environment_type"]) == ("[local]", "LOOPBACK")


def test_flink_versions_are_those_that_beam_publishes_a_job_server_for() -> None:
    allowed = FlinkEngine.model_json_schema()["properties"]["version"]["enum"]
    assert allowed == beam_options.FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS


def test_dataflow_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_require_gcp", lambda: None)
    assert given(DATAFLOW) == {
        "runner": "DataflowRunner",
        "project": "some-project",
        "region": "europe-west4",
        "temp_location": "gs://some-bucket/temp",
        "staging_location": "gs://some-bucket/temp",
        "sdk_container_image": "registry.example/gristmill:0.1.0",
        "sdk_location": "container",
        "machine_type": "n2-standard-8",
        "num_workers": 2,
        "max_num_workers": 50,
    }


def test_dataflow_names_the_extra_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_importable", lambda module: module != "google.auth")
    with pytest.raises(UsageError, match=r"pip install 'gristmill\[gcp\]' \(not found: google.auth\)"):
        pipeline_options(DATAFLOW)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An output folder with one shard of documents."""
    output = tmp_path_factory.mktemp("output")
    rows = [{"doc_id": "d0", "source": "s", "kind": "web", "text": "some words", "meta": []}]
    batch = pa.RecordBatch.from_pylist(rows, schema=DOCUMENT_SCHEMA)
    write_shard(document_shard(str(output), 0), DOCUMENT_SCHEMA, [batch])
    return str(output)


def build_stages(pipeline: beam.Pipeline, output: str) -> None:
    """Every graph of the data stages, side by side."""
    units = pipeline | "Units" >> beam.Create([b"0"], reshuffle=False).with_output_types(bytes)
    worker = AnnotateUnits(output, ())
    plan = Plan(HeldOut(0.1, 0, {"s": "host"}), deduplicated=True)
    for name, records in (
        ("Annotate", units | "MapUnits" >> MapUnits(worker)),
        ("Split", units | "Split" >> SplitDocuments(output, plan)),
    ):
        records | f"Collect{name}" >> CollectRecords(f"{output}/{name}.json")
    for method in ("exact", "minhash"):
        for exchange in ("memory", "files"):
            find = FindDuplicates(output=output, shards=1, method=method, exchange=exchange)
            found = pipeline | f"{method}-{exchange}" >> beam.ptransform.ptransform_fn(
                lambda pbegin, find: build_find_duplicates(pbegin.pipeline, find)
            )(find)
            found | f"Collect-{method}-{exchange}" >> CollectRecords(f"{output}/{method}.json")


@pytest.mark.parametrize("engine", [FlinkEngine(kind="flink"), DATAFLOW], ids=["flink", "dataflow"])
def test_the_stages_graphs_run_on_every_engine(engine: Engine, documents: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_require_gcp", lambda: None)
    pipeline = beam.Pipeline(options=pipeline_options(engine))
    build_stages(pipeline, documents)
    assert_portable_graph(pipeline)
    assert len(pipeline.to_runner_api().components.transforms) > 100


def graph(build: object) -> list[str]:
    pipeline = beam.Pipeline(options=pipeline_options(LocalEngine()))
    build(pipeline)  # type: ignore[operator]
    return graph_problems(pipeline)


def test_a_graph_with_coders_and_names_of_its_own_has_no_problem() -> None:
    assert graph(count_words) == []


def test_pickled_values_and_keys_are_found() -> None:
    def untyped(pipeline: beam.Pipeline) -> None:
        created = pipeline | "Create" >> beam.Create([b"x"], reshuffle=False).with_output_types(bytes)
        created | "Pairs" >> beam.Map(_pair) | "Group" >> beam.GroupByKey()

    found = graph(untyped)
    assert any(p.startswith("Group: keys are encoded by") for p in found)
    assert any(p.startswith("Group: ") and "pickles what is shuffled" in p for p in found)

    def spread(pipeline: beam.Pipeline) -> None:
        created = pipeline | "Create" >> beam.Create([b"x"], reshuffle=False).with_output_types(bytes)
        created | "Objects" >> beam.Map(_pair) | "Spread" >> beam.Reshuffle()

    assert [p.partition(":")[0] for p in graph(spread)] == ["Spread"]


def test_lambdas_without_a_label_are_found() -> None:
    def unlabelled(pipeline: beam.Pipeline) -> None:
        pipeline | beam.Create([1], reshuffle=False) | beam.Map(lambda number: number)

    (problem,) = graph(unlabelled)
    assert problem.startswith("Map(<lambda") and "give the step a label" in problem
    pipeline = beam.Pipeline(options=pipeline_options(LocalEngine()))
    unlabelled(pipeline)
    with pytest.raises(AssertionError, match="not portable"):
        assert_portable_graph(pipeline)


def _pair(value: bytes) -> object:
    return value, object()


@pytest.mark.parametrize("engine", [LocalEngine(), LocalEngine(extra={"direct_runner_bundle_repeat": 1})])
def test_the_local_engine_runs(engine: Engine) -> None:
    with beam.Pipeline(options=pipeline_options(engine)) as pipeline:
        assert_that(count_words(pipeline), equal_to([("a", 3), ("b", 2)]))


@pytest.fixture(scope="module")
def service() -> Iterator[JobService]:
    with local_job_service() as started:
        yield started


@pytest.mark.engine
def test_a_job_with_workers_in_this_process(service: JobService) -> None:
    engine = service.engine().model_copy(update={"environment_type": "LOOPBACK", "environment_config": None})
    with beam.Pipeline(options=pipeline_options(engine)) as pipeline:
        assert_that(count_words(pipeline), equal_to([("a", 3), ("b", 2)]))


@pytest.mark.engine
def test_jobs_over_grpc_with_workers_of_their_own_and_one_that_fails(service: JobService) -> None:
    with pytest.raises(RuntimeError, match="failed"):
        with beam.Pipeline(options=pipeline_options(service.engine())) as pipeline:
            pipeline | "Words" >> beam.Create(["x"], reshuffle=False) | "Numbers" >> beam.Map(int)
    with beam.Pipeline(options=pipeline_options(service.engine())) as pipeline:
        assert_that(count_words(pipeline), equal_to([("a", 3), ("b", 2)]))


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.engine
@pytest.mark.fault
def test_the_service_ends_with_the_process_that_started_it() -> None:
    program = (
        "from pipelines import engines; import time\n"
        "end = engines._end; groups = []\n"
        "start = engines.subprocess.Popen\n"
        "def noted(*a, **k):\n    p = start(*a, **k); groups.append(p.pid); return p\n"
        "engines.subprocess.Popen = noted\n"
        "with engines.local_job_service():\n    print(*groups, flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    groups = [int(group) for group in process.stdout.readline().split()]
    assert len(groups) == 2 and all(map(_alive, groups))
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 15
    while any(map(_alive, groups)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_alive, groups))


def test_a_server_that_does_not_start_leaves_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_JOB_SERVICE", "raise SystemExit('no port for me')")
    with pytest.raises(RuntimeError, match="job service did not start.*\n.*no port for me"):
        with local_job_service():
            pass
