"""Lookup: is it in the corpus, where, under which licence, and which rules let it pass?

By repository, owner, address, domain, SWHID, content hash or id, and by text, verbatim.  An index beside the run
answers; it is made on the first question and again when the documents have changed.  Every answer is checked against
the documents themselves, which lie beside it once more, so a chance agreement of two hashes is never told as one.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dedup.gram_index import GramIndex, GramIndexWriter, anchors_of, longest_common
from licenses.opt_out import COLUMNS, comparable
from pipelines import storage
from pipelines.annotate import annotation_shard
from pipelines.curate import CORPORA, LICENSE, WATERFALL
from pipelines.errors import UsageError
from pipelines.ingest import DOCUMENTS, document_shard
from pipelines.inspection import rows_of
from pipelines.lookup_records import Records, RecordsWriter
from pipelines.manifest import MANIFEST, stage_manifest
from pipelines.shards import read_batches

FOLDER = "lookup"
VERSION = 2
FIELDS = ("id", "repo", "owner", "url", "domain", "swhid", "content_sha256")
# Documents whose text is read to find the longest part of a text that no document holds whole.
_PARTS_READ = 8
_TOLD = ("doc_id", "source", "kind", "url", "repo", "path", "commit", "timestamp", "swhid", "content_sha256")
_DECIDED = ("verdict", "rule", "value", "threshold", "duplicate_of")
_LICENSE = ("expression", "license_class", "confidence", "source")
_KEY = np.dtype([("hash", "<u8"), ("document", "<u4")])


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """One document: its columns, its place, its licence, and what each variant decided about it.

    characters: how many of the text asked for stand in it in one piece; None where no text was asked for.
    """

    document: dict[str, Any]
    shard: str
    row: int
    license: dict[str, Any] | None
    variants: dict[str, dict[str, Any]]
    characters: int | None = None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def text(self) -> str:
        lines = [f"{name}: {value}" for name, value in self.document.items() if value is not None]
        lines.append(f"shard: {self.shard}, row {self.row}")
        if self.license is not None:
            lines.append(f"licence: {self.license['expression'] or 'none found'} ({self.license['license_class']})")
        if self.characters is not None:
            lines.append(f"in one piece: {self.characters:,} characters of the text")
        for name, row in self.variants.items():
            lines.append(f"{name}: {row['verdict']}" + (f" by {row['rule']}" if row["rule"] else ""))
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """documents: how many it is in (for parts of a text: how many have some of it); found: the first of them."""

    documents: int
    found: tuple[Found, ...]
    whole: bool = True

    def to_json(self) -> dict[str, Any]:
        return {"documents": self.documents, "whole": self.whole, "found": [each.to_json() for each in self.found]}

    def text(self) -> str:
        if not self.found:
            return "not in the corpus"
        head = f"in {self.documents:,} document{'s' if self.documents != 1 else ''}"
        if not self.whole:
            head = f"not as a whole; parts of it in {self.documents:,} documents, the most in"
        return "\n\n".join([head, *(each.text() for each in self.found)])


# -- the index -------------------------------------------------------------------------------------------


def build_index(output: str, say: Callable[[str], None] = lambda text: None) -> str:
    """Makes the index of the run in `output`, in a folder beside its documents; the folder.

    Reads every document once.  Size: about a quarter of the text, the text compressed, and 12 bytes for each name of a
    document.  Memory: about 0.5 GB, and 24 bytes for each name.
    """
    folder = storage.join(output, FOLDER)
    documents = _documents_sha256(output)
    shards = _document_shards(output)
    say(f"making {folder} from {sum(rows for _, rows in shards):,} documents")
    storage.remove_tree(folder)
    os.makedirs(folder)
    text_bytes = sum(_text_bytes(document_shard(output, index)) for index, _ in shards)
    writer = GramIndexWriter(folder, text_bytes)
    names: list[np.ndarray[Any, Any]] = []
    number = 0
    columns = list(dict.fromkeys((*COLUMNS, *_TOLD, "text")))
    with RecordsWriter(folder, _TOLD) as records:
        for index, _ in shards:
            for batch in read_batches(document_shard(output, index), columns):
                names += _names(batch, number)
                records.add(batch)
                utf8, offsets = _packed(batch.column("text"))
                hashed, texts = anchors_of(utf8, offsets)
                writer.add(hashed, texts + number)
                number += batch.num_rows
    entries = writer.close()
    keys = np.concatenate(names) if names else np.empty(0, _KEY)
    np.sort(keys, order=("hash", "document")).tofile(storage.join(folder, "names"))
    told = {"version": VERSION, "documents": documents, "shards": shards, "anchors": entries, "names": len(keys)}
    storage.write_bytes(storage.join(folder, "index.json"), storage.canonical_json(told))
    return folder


def _names(batch: pa.RecordBatch, first: int) -> Iterator[np.ndarray[Any, Any]]:
    """What documents can be asked for by, hashed; documents are numbered on from `first`."""
    for field in FIELDS:
        values = comparable(batch, field)
        if values is None:
            continue
        encoded = values.dictionary_encode()
        hashed = [
            [_name_hash(field, name) for name in (_domains(value) if field == "domain" else [value])]
            for value in encoded.dictionary.to_pylist()
        ]
        rows = [
            (each, first + row)
            for row, place in enumerate(encoded.indices.to_pylist())
            if place is not None
            for each in hashed[place]
        ]
        yield np.array(rows, _KEY)


def _name_hash(field: str, value: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{field}\0{value}".encode(), digest_size=8).digest(), "little")


def _domains(host: str) -> list[str]:
    """The host and the domains that it lies below, but for the last label alone."""
    labels = host.split(".")
    return [".".join(labels[at:]) for at in range(max(1, len(labels) - 1))]


def _packed(texts: pa.Array) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(bytes, offsets from 0) of a large_string column."""
    _, offsets_buffer, data = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    if data is None:
        return np.empty(0, np.uint8), np.zeros(len(texts) + 1, np.int64)
    return np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]], offsets - offsets[0]


def _document_shards(output: str) -> list[tuple[int, int]]:
    """(number, rows) of the shards with documents, in order."""
    manifest = storage.read_json(stage_manifest(output, DOCUMENTS))
    shards = [shard for shard in manifest["shards"] if shard["path"].startswith(DOCUMENTS + "/")]
    return [(index, shard["rows"]) for index, shard in enumerate(shards)]


def _text_bytes(path: str) -> int:
    with storage.open_read(path) as file:
        meta = pq.read_metadata(file)
    column = meta.schema.names.index("text")
    return sum(meta.row_group(i).column(column).total_uncompressed_size for i in range(meta.num_row_groups))


def _documents_sha256(output: str) -> str:
    path = stage_manifest(output, DOCUMENTS)
    if not storage.exists(path) or not storage.exists(storage.join(output, MANIFEST)):
        raise UsageError(f"{path}: no such file; give the output folder of a run")
    return storage.file_sha256(path)


# -- questions -------------------------------------------------------------------------------------------


class Lookup:
    """An opened index of a run.  Raises UsageError where no finished run lies there."""

    def __init__(self, output: str, say: Callable[[str], None] = lambda text: None) -> None:
        self._output = output
        folder = storage.join(output, FOLDER)
        path = storage.join(folder, "index.json")
        documents = _documents_sha256(output)
        told = storage.read_json(path) if storage.exists(path) else {}
        if told.get("version") != VERSION or told.get("documents") != documents:
            build_index(output, say)
            told = storage.read_json(path)
        self._shards = [tuple(shard) for shard in told["shards"]]
        self._starts = np.concatenate([[0], np.cumsum([rows for _, rows in self._shards])]).astype(np.int64)
        names = storage.join(folder, "names")
        self._names = np.memmap(names, _KEY, "r") if told["names"] else np.empty(0, _KEY)
        self._grams = GramIndex.open(folder)
        self._records = Records.open(folder)

    def by_name(self, field: str, value: str, limit: int = 20) -> Answer:
        """Documents by one of FIELDS; the value is read as an opt-out list reads it.  ValueError for another field."""
        if field not in FIELDS:
            raise ValueError(f"field {field!r}; allowed: {', '.join(FIELDS)}")
        wanted = _as_asked(field, value)
        hashed = np.uint64(_name_hash(field, wanted))
        first, last = (int(np.searchsorted(self._names["hash"], hashed, side)) for side in ("left", "right"))
        numbers = np.unique(self._names["document"][first:last])
        documents = {number: self._records.read(number)[0] for number in numbers[:limit].tolist()}
        named = {number: document for number, document in documents.items() if wanted in _named(document, field)}
        return Answer(len(numbers) - len(documents) + len(named), self._found(named))

    def by_text(self, text: str, limit: int = 20) -> Answer:
        """Documents that hold the text; where none does, those that hold the longest parts of it.

        Raises UsageError for a text of less than 96 bytes.
        """
        try:
            candidates = self._grams.with_whole(text.encode())
        except ValueError as error:
            raise UsageError(str(error)) from None
        read = {number: self._records.read(number) for number in candidates[:limit].tolist()}
        whole = {number: told for number, (told, document) in read.items() if text in document}
        if whole:
            lengths = dict.fromkeys(whole, len(text))
            return Answer(len(candidates) - len(read) + len(whole), self._found(whole, lengths))
        numbers, _ = self._grams.with_parts(text.encode())
        parts, lengths = {}, {}
        for number in numbers[:_PARTS_READ].tolist():
            told, document = self._records.read(number)
            start, end = longest_common(text, document)
            if end > start:
                parts[number], lengths[number] = told, end - start
        order = sorted(parts, key=lambda number: (-lengths[number], parts[number]["doc_id"]))[:limit]
        found = self._found({number: parts[number] for number in order}, lengths)
        return Answer(len(numbers) if parts else 0, found, whole=not parts)

    def _found(self, documents: dict[int, dict[str, Any]], lengths: dict[int, int] | None = None) -> tuple[Found, ...]:
        """documents: what is told of each, by its number.  Annotations and waterfalls are read once for all."""
        places = {}
        for number in documents:
            shard = int(np.searchsorted(self._starts, number, side="right")) - 1
            places[number] = self._shards[shard][0], number - int(self._starts[shard])
        licenses: dict[tuple[int, int], dict[str, Any]] = {}
        for index in {index for index, _ in places.values()}:
            path = annotation_shard(self._output, LICENSE, index)
            if storage.exists(path):
                rows = rows_of(path, [row for shard, row in places.values() if shard == index], _LICENSE)
                licenses |= {(index, row): proof for row, proof in rows.items()}
        falls = sorted(glob.glob(storage.join(self._output, CORPORA, "*", WATERFALL)))
        decided = {fall.split("/")[-2]: rows_of(fall, list(documents), _DECIDED) for fall in falls if documents}
        return tuple(
            Found(
                document,
                os.path.relpath(document_shard(self._output, places[number][0]), self._output),
                places[number][1],
                licenses.get(places[number]),
                {variant: rows[number] for variant, rows in decided.items()},
                lengths[number] if lengths else None,
            )
            for number, document in documents.items()
        )


def _as_asked(field: str, value: str) -> str:
    """The value as documents' own are compared: as `comparable` gives it."""
    column = {"id": "doc_id", "owner": "repo", "domain": "url"}.get(field, field)
    whole = f"{value}/x" if field == "owner" else value.removeprefix("*.").split(";")[0] if field != "url" else value
    values = comparable(pa.record_batch({column: pa.array([whole], pa.string())}), field)
    assert values is not None
    return str(values[0].as_py())


def _named(document: dict[str, Any], field: str) -> list[str]:
    """What a document is called in that field."""
    columns = {name: pa.array([document.get(name)], pa.string()) for name in COLUMNS if name != "meta"}
    values = comparable(pa.record_batch(columns), field)
    own = values[0].as_py() if values is not None else None
    if own is None:
        return []
    return _domains(own) if field == "domain" else [own]


def lookup(
    output: str, field: str, value: str, limit: int = 20, say: Callable[[str], None] = lambda text: None
) -> Answer:
    """`field` is one of FIELDS, or text."""
    opened = Lookup(output, say)
    return opened.by_text(value, limit) if field == "text" else opened.by_name(field, value, limit)
