"""Model files: equal content is an equal file, and what is wrong with one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from quality_signals.model_files import ModelFileError, open_model, write_model


def test_equal_content_is_an_equal_file_and_what_was_written_is_read(tmp_path: Path) -> None:
    manifest = {"documents": 3, "options": {"buckets": 10_000}}
    one = write_model(tmp_path / "one", "dsir", manifest, {"b.npy": b"2", "a.npy": b"1" * 1000})
    two = write_model(tmp_path / "sub" / "two", "dsir", manifest, {"a.npy": b"1" * 1000, "b.npy": b"2"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "sub" / "two").read_bytes()
    assert one.name == two.name == one.sha256[:12]
    assert one.read("a.npy") == b"1" * 1000
    assert one.manifest == {**manifest, "kind": "dsir"}
    assert one.extract("b.npy", tmp_path).read_bytes() == b"2"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_changed_file_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "model"
    first = write_model(path, "dsir", {"n": 1}, {})
    assert write_model(path, "dsir", {"n": 22}, {}).sha256 != first.sha256


def test_a_missing_cut_or_foreign_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with pytest.raises(ModelFileError, match=r"model: no dsir model there \(No such file"):
        open_model(path, "dsir")
    write_model(path, "dsir", {}, {"a": bytes(range(256)) * 100})
    with pytest.raises(ModelFileError, match="model: holds a model of kind 'dsir', needed is 'ngram'"):
        open_model(path, "ngram")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError, match="model: not a model file of gristmill, or cut short"):
        open_model(path, "dsir")
    middle = len(whole) // 3
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    with pytest.raises(ModelFileError, match="model: "):
        open_model(path, "dsir")
    path.write_text("not a zip")
    with pytest.raises(ModelFileError, match="not a model file"):
        open_model(path, "dsir")


def test_a_member_that_is_not_there_is_named(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", "dsir", {}, {})
    with pytest.raises(ModelFileError, match="cannot read counts.npy of the dsir model"):
        model.read("counts.npy")
    with pytest.raises(ValueError, match="manifest's own name"):
        write_model(tmp_path / "other", "dsir", {}, {"manifest.json": b""})
