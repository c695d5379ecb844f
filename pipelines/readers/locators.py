"""A file beside the data that knows where pages came from: file or member name -> URL and time."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from pipelines.readers.archives import is_archive, members
from pipelines.readers.files import Files
from pipelines.readers.limits import Limits
from pipelines.readers.records import Refused, safe_text
from pipelines.readers.streams import compression, inflated, read_limited, strip_compression

_NAME_KEYS = ("path", "file", "name", "page", "id")
_TIME_KEYS = ("timestamp", "date", "time")
# Bytes of the file; it is held in memory by every worker.
_MAX_BYTES = 256 << 20


@dataclasses.dataclass(frozen=True)
class Locators:
    """Looks a name up as given, then by its endings from the longest on, then by its last part without
    suffix."""

    places: dict[str, tuple[str | None, str | None]]

    def find(self, name: str) -> tuple[str | None, str | None]:
        parts = strip_compression(name).replace("!", "/").split("/")
        stem = parts[-1].rsplit(".", 1)[0]
        for key in (name, *("/".join(parts[at:]) for at in range(len(parts))), stem):
            if key in self.places:
                return self.places[key]
        return None, None


NO_LOCATORS = Locators({})


def load_locators(path: str | None, files: Files) -> Locators:
    """Reads a JSON object (name -> URL or object with `url`), a JSON list or JSONL of rows with a name and
    `url`.

    `path` may be `archive!member`.  Raises Refused or ValueError.
    """
    if path is None:
        return NO_LOCATORS
    rows = _rows(_read(path, files))
    places: dict[str, tuple[str | None, str | None]] = {}
    for name, value in rows:
        if isinstance(value, str):
            places[name] = (safe_text(value)[0], None)
        elif isinstance(value, dict):
            url = value.get("url")
            time = next((value[key] for key in _TIME_KEYS if value.get(key)), None)
            places[name] = (
                safe_text(url)[0] if isinstance(url, str) and url else None,
                safe_text(str(time))[0] if time is not None else None,
            )
    if not places:
        raise ValueError("no name with a url")
    return Locators(places)


def _read(path: str, files: Files) -> bytes:
    archive, _, member_name = path.partition("!")
    with files.open(archive) as raw:
        if not member_name:
            return read_limited(inflated(raw, compression(path), Limits()), _MAX_BYTES, "locators")
        if not is_archive(archive):
            raise ValueError(f"{archive} is no archive")
        for member in members(raw, archive, Limits()):
            if member.name == member_name:
                return member.read(_MAX_BYTES)
    raise ValueError(f"the archive has no member {member_name}")


def _rows(data: bytes) -> list[tuple[str, Any]]:
    try:
        value = json.loads(data)
    except ValueError:
        value = [json.loads(line) for line in data.splitlines() if line.strip()]
    if isinstance(value, dict) and not (isinstance(value.get("url"), str) and any(k in value for k in _NAME_KEYS)):
        return list(value.items())
    found = []
    for row in value if isinstance(value, list) else [value]:
        name = (
            next((row[key] for key in _NAME_KEYS if isinstance(row.get(key), str)), None)
            if (isinstance(row, dict))
            else None
        )
        if name is None:
            raise Refused("bad_json", f"a row without any of {', '.join(_NAME_KEYS)}")
        found.append((name, row))
    return found
