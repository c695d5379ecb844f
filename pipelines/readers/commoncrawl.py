"""Common Crawl as a source: path lists (`warc.paths.gz`) and tables of its columnar index (`cc-index`, Parquet).

Inputs are the lists or tables, the records are read at `prefix`.  Of a list, each file is some units: parts of equal
size, so that nothing but the list is needed for a plan.  Of a table, a unit is some row groups: of the rows that are
selected, only the bytes of their records are read, neighbours of a file at once.  A table that is sorted by file and
offset (`ORDER BY warc_filename, warc_record_offset`) therefore takes the fewest requests.

Locator: `name of the WARC file#offset`, whatever the list or table, so that a record has the same id by every way.
Names of columns: github.com/commoncrawl/cc-index-table @ main, src/main/resources/schema/cc-index-schema-flat.json.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.readers.files import Files, below
from pipelines.readers.html import Mode
from pipelines.readers.limits import Limits
from pipelines.readers.records import Dropped, Item, Refused, Rejected
from pipelines.readers.remote import MissingPackage, check_scheme, read_range
from pipelines.readers.streams import compression, inflated, read_limited, strip_compression
from pipelines.readers.units import PlanError, Source, UnitFile
from pipelines.readers.warc import RANGE_BYTES, Kind, read_warc
from pipelines.storage import is_remote

if TYPE_CHECKING:
    from pipelines.readers.reading import Reading

INDEX_SUFFIXES = (".parquet", ".pq")
LIST_SUFFIXES = (".paths", ".txt")
REQUIRED = ("url", "warc_filename", "warc_record_offset", "warc_record_length")
_FILTERED = ("url_host_name", "fetch_status", "content_mime_detected", "content_languages")
# Parts of a file whose size is not known before it is opened: a WARC file of Common Crawl has about 1.1 GB, a WAT 0.3
# and a WET 0.1 (commoncrawl.org, "Get started"), a part then about 70 MB.
PARTS = {"warc": 16, "wat": 5, "wet": 2}
# Rows of a table in a unit, at least; a row group stays whole up to MAX_ROWS.
UNIT_ROWS = 10_000
MAX_ROWS = 100_000
# Records that lie nearer to each other are read at once; a request costs as much as some 100 kB.
_GAP_BYTES = 64 << 10
_MAX_FETCH = 16 << 20
_MAX_LIST_BYTES = 64 << 20
_BATCH_ROWS = 8192


def _kind_of(name: str) -> Kind:
    """By the name of a file of the crawl: warc, wat or wet."""
    bare = strip_compression(name).lower()
    if bare.endswith(".wet") or ".wet." in bare or "/wet/" in bare:
        return "wet"
    return "wat" if bare.endswith(".wat") or ".wat." in bare or "/wat/" in bare else "warc"


@dataclasses.dataclass(frozen=True, slots=True)
class _Prefix:
    """Where the files lie that lists and tables name: an address or a folder; '': names are taken as they are."""

    path: str
    root: str  # where relative paths start

    def place(self, name: str) -> str:
        """Raises Refused('path_traversal') for a name that leaves the prefix: lists come from elsewhere, too."""
        if not self.path:
            return below(self.root, name)
        top = below(self.root, self.path).rstrip("/") + "/"
        place = name if is_remote(name) or name.startswith("/") else top + name
        if not place.startswith(top) or ".." in name.split("/"):
            said = "leads out of the prefix; with the prefix '' names are taken as they are"
            raise Refused("path_traversal", f"{name[:200]!r} {said}")
        return place


def _is_index(name: str) -> bool:
    return name.lower().endswith(INDEX_SUFFIXES)


# -- plan --------------------------------------------------------------------------------------------------


def plan(source: Source, root: str, files: Files) -> list[dict[str, Any]]:
    """Fields of the units; raises PlanError."""
    from pipelines.readers.formats import checked_options

    options = checked_options(source.kind, dict(source.options))
    prefix = options["prefix"]
    if options["parts"] is not None and options["parts"] < 1:
        raise PlanError(f"source {source.name}: option parts is {options['parts']}, at least 1 is needed")
    try:
        check_scheme(prefix)
        for each in source.inputs:
            check_scheme(each)
    except MissingPackage as error:
        raise PlanError(f"source {source.name}: {error}") from None
    units: list[dict[str, Any]] = []
    for file in _inputs(source, root, files):
        try:
            made = _units_of_table(file, root, files) if _is_index(file.name) else None
            units += made if made is not None else _units_of_list(file, options, _Prefix(prefix, root), files)
        except Refused as refused:
            raise PlanError(f"source {source.name}: {file.name}: {refused.message}") from None
    return units


def _inputs(source: Source, root: str, files: Files) -> list[UnitFile]:
    found: dict[str, UnitFile] = {}
    for pattern in source.inputs:
        path = below(root, pattern)
        try:
            matches = [UnitFile(f.path, f.name, f.size, True) for f in files.find(path)]
        except Refused as refused:
            raise PlanError(f"source {source.name}: {refused.message}") from None
        matches = [f for f in matches if _is_index(f.name) or _is_list(f.name)]
        if not matches:
            allowed = ", ".join(("*.paths.gz", "*.txt", "*.parquet"))
            raise PlanError(f"source {source.name}: nothing matches {pattern}; allowed are {allowed}")
        for file in matches:
            if found.setdefault(file.name, file).path != file.path:
                raise PlanError(f"source {source.name}: two inputs are named {file.name}")
    filters = [name for name in ("languages", "mimes", "hosts") if dict(source.options).get(name)]
    lists = [file.name for file in found.values() if not _is_index(file.name)]
    if filters and lists:
        raise PlanError(f"source {source.name}: option {filters[0]} needs an index (*.parquet); {lists[0]} is a list")
    return [found[name] for name in sorted(found)]


def _is_list(name: str) -> bool:
    return strip_compression(name).lower().endswith(LIST_SUFFIXES)


def _units_of_list(file: UnitFile, options: dict[str, Any], prefix: _Prefix, files: Files) -> list[dict[str, Any]]:
    units = []
    for number, name in enumerate(list_names(file.path, files)):
        parts = options["parts"]
        if parts is None:
            parts = _parts_of(name, prefix, files)
        for part in range(parts):
            units.append({"files": (file,), "start": number, "stop": number + 1, "part": part, "parts": parts})
    return units


def _parts_of(name: str, prefix: _Prefix, files: Files) -> int:
    """A file that is missing, or refused, is one part, which is rejected when it is read."""
    try:
        place = prefix.place(name)
        if is_remote(place):
            return PARTS[_kind_of(name)]
        with files.open(place) as raw:
            return max(1, -(-raw.seek(0, io.SEEK_END) // RANGE_BYTES))
    except Refused:
        return 1


def list_names(path: str, files: Files) -> list[str]:
    """The names in a path list, without empty lines and comments; raises Refused."""
    with files.open(path) as raw:
        data = read_limited(inflated(raw, compression(path), Limits()), _MAX_LIST_BYTES, "a path list")
    try:
        lines = [line.strip() for line in data.decode().splitlines()]
    except UnicodeDecodeError as error:
        raise Refused("undecodable", f"not UTF-8 at byte {error.start}") from error
    return [line for line in lines if line and not line.startswith("#")]


def _units_of_table(file: UnitFile, root: str, files: Files) -> list[dict[str, Any]]:
    with files.open(file.path) as raw:
        metadata = _table(raw).metadata
        rows = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    units: list[dict[str, Any]] = []
    start = waiting = 0
    for index, count in enumerate(rows):
        waiting += count
        if waiting < UNIT_ROWS and index + 1 < len(rows):
            continue
        parts = -(-waiting // MAX_ROWS) or 1
        units += [
            {"files": (file,), "start": start, "stop": index + 1, "part": part, "parts": parts} for part in range(parts)
        ]
        start, waiting = index + 1, 0
    return units


def _table(raw: BinaryIO) -> pq.ParquetFile:
    try:
        found = pq.ParquetFile(raw, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise Refused("broken_record", f"parquet: {error}"[:300]) from error
    missing = [name for name in REQUIRED if name not in found.schema_arrow.names]
    if missing:
        raise Refused("broken_record", f"no column {missing[0]}: not a table of Common Crawl's index")
    return found


# -- read --------------------------------------------------------------------------------------------------


def read_crawl(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """The documents of one unit: of a part of a file that a list names, or of the rows of a table."""
    prefix = _Prefix(reading.options["prefix"], reading.unit.base)
    try:
        if _is_index(file.name):
            yield from _read_rows(raw, file, reading, prefix)
        else:
            yield from _read_part(file, reading, prefix)
    except Refused as refused:
        yield refused.at(file.name)


def _read_part(file: UnitFile, reading: Reading, prefix: _Prefix) -> Iterator[Item]:
    unit = reading.unit
    names = list_names(unit.resolve(file.path), reading.files)
    name = names[unit.start] if unit.start < len(names) else None
    if name is None:
        raise Refused("broken_record", f"the list has {len(names)} names, the plan knew more")
    try:
        opened = reading.files.open(prefix.place(name))
    except Refused as refused:
        if unit.part == 0:
            yield refused.at(name)
        return
    with opened as stream:
        try:
            size = stream.seek(0, io.SEEK_END)
            edges = [size * part // unit.parts for part in (unit.part, unit.part + 1)]
            stop = None if unit.part + 1 == unit.parts else edges[1]
            yield from _documents(stream, name, reading, edges[0], stop)
        except Refused as refused:  # the network, in the middle of the file
            yield Rejected(f"{name}#{unit.part}/{unit.parts}", refused.error, refused.message)


def _documents(
    raw: BinaryIO, name: str, reading: Reading, start: int = 0, stop: int | None = None, base: int = 0
) -> Iterator[Item]:
    unit = reading.unit
    host_files = reading.options["host_files"]
    mode = cast(Mode, unit.extractor)
    return read_warc(
        raw, name, unit.source, _kind_of(name), unit.document_kind, mode, reading.limits, start, stop, host_files, base
    )


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class _Record:
    name: str
    offset: int
    length: int

    @property
    def locator(self) -> str:
        return f"{self.name}#{self.offset}"

    @property
    def end(self) -> int:
        return self.offset + self.length


def _read_rows(raw: BinaryIO, file: UnitFile, reading: Reading, prefix: _Prefix) -> Iterator[Item]:
    """The records of the rows, in the order of their places; what is not selected first."""
    selected: list[_Record] = []
    seen: set[_Record] = set()
    for item in _rows(raw, file, reading):
        if not isinstance(item, _Record):
            yield item
        elif item in seen:
            yield Rejected(item.locator, "duplicate_id", "a record that the table names twice")
        else:
            seen.add(item)
            selected.append(item)
    selected.sort()
    for group in _neighbours(selected):
        start, stop = group[0].offset, max(record.end for record in group)
        try:
            data = _range(prefix.place(group[0].name), start, stop, reading.files)
        except Refused as refused:
            yield from (refused.at(record.locator) for record in group)
            continue
        for record in group:
            content = data[record.offset - start : record.end - start]
            if not content:
                yield Rejected(record.locator, "truncated", "the file ends before the record")
                continue
            # One record, even where the table says that it is longer.
            one = cast(BinaryIO, io.BytesIO(content))
            yield from _documents(one, record.name, reading, 0, 1, record.offset)


def _range(path: str, start: int, stop: int, files: Files) -> bytes:
    if is_remote(path):  # one request, where an open file would make two
        return read_range(path, start, stop)
    with files.open(path) as raw:
        raw.seek(start)
        return raw.read(stop - start)


def _neighbours(records: Sequence[_Record]) -> Iterator[list[_Record]]:
    """Records of one file that are read at once.  records: sorted."""
    group: list[_Record] = []
    for record in records:
        near = group and record.name == group[0].name and record.offset - group[-1].end <= _GAP_BYTES
        if not near or record.end - group[0].offset > _MAX_FETCH:
            if group:
                yield group
            group = []
        group.append(record)
    if group:
        yield group


def _rows(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[_Record | Dropped | Rejected]:
    unit = reading.unit
    table = _table(raw)
    columns = [name for name in (*REQUIRED, *_FILTERED) if name in table.schema_arrow.names]
    options = reading.options
    for option, column in (("languages", "content_languages"), ("mimes", "content_mime_detected")):
        if options[option] and column not in columns:
            raise Refused("broken_record", f"option {option} needs the column {column}, which the table has not")
    groups = list(range(unit.start, min(unit.stop or table.num_row_groups, table.num_row_groups)))
    number = -1
    try:
        for batch in table.iter_batches(_BATCH_ROWS, row_groups=groups, columns=columns):
            verdicts = _selected(batch, options)
            places = batch.select(["warc_filename", "warc_record_offset", "warc_record_length"]).to_pylist()
            for verdict, place in zip(verdicts, places, strict=True):
                number += 1
                if number % unit.parts == unit.part:
                    yield _row(verdict, place, f"{file.name}#{unit.start}.{number}", reading.limits)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        if unit.part == 0:
            message = f"row groups {unit.start} to {unit.stop}: {error}"[:300]
            yield Rejected(f"{file.name}#{unit.start}.{number + 1}", "broken_record", message)


def _row(verdict: str, place: dict[str, Any], where: str, limits: Limits) -> _Record | Dropped | Rejected:
    name, offset, length = place["warc_filename"], place["warc_record_offset"], place["warc_record_length"]
    if not isinstance(name, str) or not name or not isinstance(offset, int) or not isinstance(length, int):
        return Rejected(where, "broken_record", "a row without the place of a record")
    if offset < 0 or length <= 0:
        return Rejected(where, "wrong_length", f"a record of {length} bytes at {offset}")
    record = _Record(name, offset, length)
    if verdict:
        return Dropped(record.locator, verdict)
    if length > limits.max_item_bytes:
        return Rejected(record.locator, "too_large", f"a record of {length} bytes, more than {limits.max_item_bytes}")
    return record


def _selected(batch: pa.RecordBatch, options: dict[str, Any]) -> list[str]:
    """For each row why it is left out, or ''.  A status that says that there is no page is no choice of the source."""
    rows = batch.num_rows
    reasons = [""] * rows

    def mark(wanted: Iterable[bool], reason: str) -> None:
        for row, there in enumerate(wanted):
            if not there and not reasons[row]:
                reasons[row] = reason

    names = batch.schema.names
    for option, column in (
        ("mimes", "content_mime_detected"),
        ("languages", "content_languages"),
    ):
        if options[option]:
            values = batch.column(column)
            if option == "languages":  # "eng,deu": the most frequent one first
                values = pc.replace_substring_regex(values, pattern=",.*", replacement="")
            kept = pc.is_in(values, value_set=pa.array(options[option], values.type))
            mark(kept.to_pylist(), "not_selected")
    if options["hosts"]:
        hosts = batch.column("url_host_name").to_pylist() if "url_host_name" in names else _hosts(batch.column("url"))
        wanted = tuple(host.lower() for host in options["hosts"])
        mark((_below(host, wanted) for host in hosts), "not_selected")
    if "fetch_status" in names:
        for row, status in enumerate(batch.column("fetch_status").to_pylist()):
            if status is not None and not 200 <= status < 300 and not reasons[row]:
                reasons[row] = "redirect" if 300 <= status < 400 else "http_status"
    return reasons


def _hosts(urls: pa.Array) -> list[str | None]:
    from licenses.reservations_hosts import authority_of

    return [(authority_of(url) or "").partition(":")[0] for url in urls.to_pylist()]


def _below(host: str | None, wanted: tuple[str, ...]) -> bool:
    """A host or one of its subdomains."""
    name = (host or "").lower()
    return any(name == each or name.endswith("." + each) for each in wanted)
