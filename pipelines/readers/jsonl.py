"""JSON lines, plain or compressed: one document a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from pipelines.readers.limits import Limits
from pipelines.readers.records import Item, Refused, Rejected, Skipped
from pipelines.readers.rows import document_from_row
from pipelines.readers.streams import compression, inflated
from pipelines.readers.units import UnitFile

if TYPE_CHECKING:
    from pipelines.readers.reading import Reading

_BOM = b"\xef\xbb\xbf"


def read_rows(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """The rows of one file of a unit."""
    unit = reading.unit
    return read_jsonl(raw, file.name, unit.source, unit.document_kind, reading.limits)


def read_jsonl(raw: BinaryIO, name: str, source: str, document_kind: str | None, limits: Limits) -> Iterator[Item]:
    """A document a line."""
    return read_objects(raw, name, limits, lambda row, locator: document_from_row(row, locator, source, document_kind))


def read_objects(
    raw: BinaryIO, name: str, limits: Limits, make: Callable[[dict[str, Any], str], Item]
) -> Iterator[Item]:
    """What `make` says of each object and its locator, `name#line`, counted from 1; it may raise Skipped or Refused.

    Blank lines are no items.  Memory: one line.
    """
    stream = inflated(raw, compression(name), limits)
    number = 0
    try:
        while line := stream.readline(limits.max_item_bytes + 1):
            number += 1
            locator = f"{name}#{number}"
            if len(line) > limits.max_item_bytes:
                yield Rejected(locator, "too_large", f"a line of more than {limits.max_item_bytes} bytes")
                while not line.endswith(b"\n") and (line := stream.readline(1 << 20)):
                    pass
                continue
            if number == 1:
                line = line.removeprefix(_BOM)
            if line.isspace() or not line:
                continue
            try:
                yield make(_parse(line), locator)
            except Skipped as skipped:
                yield skipped.at(locator)
            except Refused as refused:
                yield refused.at(locator)
    except Refused as refused:
        yield Rejected(name, refused.error, f"after line {number}: {refused.message}")


def _parse(line: bytes) -> dict[str, Any]:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise Refused("undecodable", f"not UTF-8 at byte {error.start}") from error
    try:
        row = json.loads(text)
    except RecursionError as error:
        raise Refused("bad_json", "nested too deeply") from error
    except ValueError as error:
        raise Refused("bad_json", str(error)) from error
    if not isinstance(row, dict):
        raise Refused("bad_json", f"{type(row).__name__}, not an object")
    return row
