"""Opt-out: a list of owners, repositories, addresses and contents whose documents must not be used."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import difflib
import hashlib
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

# Field of an entry -> what it is compared with.  The order is the order of precedence for the reported rule.
FIELDS: tuple[str, ...] = ("id", "swhid", "content_sha256", "url", "author_email_sha256", "domain", "repo", "owner")
_ENTRY_KEYS: tuple[str, ...] = (*FIELDS, "date", "reason")
_CSV_COLUMNS = ("field", "value", "date", "reason")
# The columns of a document that decide.
COLUMNS: tuple[str, ...] = ("doc_id", "swhid", "content_sha256", "url", "repo", "meta")


class OptOutError(ValueError):
    """A list that cannot be used; the message begins with file and line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One wish: `field` is one of FIELDS, `value` normalised as OptOut says, `line` its line in the file."""

    field: str
    value: str
    date: datetime.date
    reason: str
    line: int

    @property
    def rule(self) -> str:
        """The entry in words: `opt_out:<field>:<value>`."""
        return f"opt_out:{self.field}:{self.value}"

    @property
    def sha256(self) -> str:
        """Of field and value: names the entry to those who have the list, and to nobody else."""
        return hashlib.sha256(f"{self.field}:{self.value}".encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class OptOut:
    """Entries and the vectorised match of documents against them.

    What matches what, and letter case:
      repo            `repo` column, whole; case-insensitive, as code hosts treat names
      owner           the text before the first '/' of `repo`, case-insensitive; a `repo` without '/' has no
                      owner
      url             `url` column, whole; scheme, `www.`, fragment and a trailing '/' are ignored, scheme and
                      host case-insensitive, path and query exact
      domain          host of `url`: the domain itself and every subdomain (example.org: a.example.org, not
                      badexample.org); case-insensitive
      id              `doc_id`, exact
      swhid           `swhid` core, exact; qualifiers after ';' in the entry are ignored
      content_sha256  `content_sha256`, case-insensitive
      author_email_sha256  sha256 of the author's address in lower case: `meta` has it under the same name, or the
                      address itself as `author_email`; so a list names no address

    YAML: a mapping with the one key `entries`: a list, each with one of the fields above, `date` (YYYY-MM-DD)
    and `reason`.  CSV (a file named *.csv): the columns field, value, date, reason.
    """

    entries: tuple[Entry, ...]

    @classmethod
    def joined(cls, lists: Iterable[OptOut]) -> OptOut:
        """All entries of several lists, in the order of field and value; of equal ones that of the earliest date."""
        first: dict[tuple[str, str], Entry] = {}
        for entry in (entry for each in lists for entry in each.entries):
            known = first.setdefault((entry.field, entry.value), entry)
            if entry.date < known.date:
                first[entry.field, entry.value] = entry
        return cls(tuple(first[key] for key in sorted(first)))

    @property
    def sha256(self) -> str:
        """Of what decides: fields, values and dates, in order."""
        told = "".join(f"{entry.sha256} {entry.date}\n" for entry in self.entries)
        return hashlib.sha256(told.encode()).hexdigest()

    @classmethod
    def load(cls, path: str | Path) -> OptOut:
        """Reads a list; raises OptOutError with file, line, what was found and the nearest known name."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise OptOutError(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise OptOutError(f"{path}: not UTF-8: byte {error.start}") from None
        return cls.parse_csv(text, str(path)) if path.suffix.lower() == ".csv" else cls.parse(text, str(path))

    @classmethod
    def parse_csv(cls, text: str, where: str = "opt-out") -> OptOut:
        """`parse` for comma-separated values whose first line is `field,value,date,reason`, in any order."""
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        entries = []
        try:
            header = [name.strip() for name in next(rows, [])]
            if sorted(header) != sorted(_CSV_COLUMNS):
                raise OptOutError(
                    f"{where}:1: the first line must name the columns {', '.join(_CSV_COLUMNS)}; "
                    f"found {', '.join(header) or 'nothing'}"
                )
            for row in rows:
                if not row:
                    continue
                line = rows.line_num
                if len(row) != len(header):
                    raise OptOutError(f"{where}:{line}: {len(row)} values for {len(header)} columns")
                entries.append(_csv_entry(dict(zip(header, map(str.strip, row), strict=True)), where, line))
        except csv.Error as error:
            raise OptOutError(f"{where}:{rows.line_num}: not CSV: {error}") from None
        return cls(_each_once(entries, where))

    @classmethod
    def parse(cls, text: str, where: str = "opt-out") -> OptOut:
        """`load` on a text; `where` begins every error message."""
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f"{mark.line + 1}" if mark is not None else "1"
            raise OptOutError(f"{where}:{line}: not YAML: {getattr(error, 'problem', error)}") from None
        if root is None:
            raise OptOutError(f"{where}:1: empty; a list has the key entries (an empty list is `entries: []`)")
        listed = _mapping(root, ("entries",), where).get("entries")
        if not isinstance(listed, yaml.SequenceNode):
            raise OptOutError(f"{where}:{root.start_mark.line + 1}: the key entries must hold a list")
        return cls(_each_once([_entry(node, where) for node in listed.value], where))

    def match(self, batch: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
        """(mask, rules): bool without nulls, true where a document is opted out; the entry's rule, else null."""
        found = self.match_entries(batch)
        return pc.is_valid(found), pa.array([entry.rule for entry in self.entries], pa.string()).take(found)

    def match_entries(self, batch: pa.RecordBatch) -> pa.Array:
        """[rows] int32: the place in `entries` of the entry that a document matches, else null.

        Reads COLUMNS; a column that is absent or null matches nothing.  If several entries match, the most precise
        is told: id, swhid, content_sha256, url, author, longest domain, repo, owner; of equal ones the first.
        """
        found = pa.nulls(batch.num_rows, type=pa.int32())
        for field in FIELDS:
            table: dict[str, int] = {}
            for place, entry in enumerate(self.entries):
                if entry.field == field:
                    table.setdefault(entry.value, place)
            values = comparable(batch, field) if table else None
            if values is None:
                continue
            if field == "domain":
                mine = _domains(values, table)
            else:
                keys = pa.array(list(table), type=pa.string())
                mine = pa.array(list(table.values()), type=pa.int32()).take(pc.index_in(values, value_set=keys))
            found = pc.coalesce(found, mine)
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found

    def unmatched(self, batches: Iterable[pa.RecordBatch]) -> tuple[Entry, ...]:
        """The entries that match no document, each looked at as if it were alone.  Reads COLUMNS."""
        left = list(self.entries)
        for batch in batches:
            for field in FIELDS:
                # Of nested domains one is told at a time.
                while mine := [entry for entry in left if entry.field == field]:
                    found = set(OptOut(tuple(mine)).match_entries(batch).drop_null().to_pylist())
                    if not found:
                        break
                    gone = {mine[place] for place in found}
                    left = [entry for entry in left if entry not in gone]
        return tuple(left)


def comparable(batch: pa.RecordBatch, field: str) -> pa.Array | None:
    """The values of a batch that entries of this field are compared with, normalised."""
    if field == "author_email_sha256":
        return _author_hashes(batch)
    source = {"id": "doc_id", "domain": "url", "owner": "repo"}.get(field, field)
    if source not in batch.schema.names:
        return None
    values = batch.column(source)
    if values.null_count == len(values) and len(values):
        return None
    values = values.cast(pa.string())
    if field == "repo":
        return pc.utf8_lower(values)
    if field == "owner":
        owner = pc.utf8_lower(pc.list_element(pc.split_pattern(values, "/", max_splits=1), 0))
        return pc.if_else(pc.match_substring(values, "/"), owner, pa.scalar(None, type=pa.string()))
    if field == "content_sha256":
        return pc.utf8_lower(values)
    if field == "url":
        return _plain_urls(values)
    if field == "domain":
        return _hosts(values)
    return values


def _author_hashes(batch: pa.RecordBatch) -> pa.Array | None:
    if "meta" not in batch.schema.names:
        return None
    meta = batch.column("meta")
    hashes = pc.utf8_lower(pc.map_lookup(meta, "author_email_sha256", "first"))
    addresses = pc.map_lookup(meta, "author_email", "first").dictionary_encode()
    hashed = [email_sha256(address) for address in addresses.dictionary.to_pylist()]
    return pc.coalesce(hashes, pa.array(hashed, pa.string()).take(addresses.indices))


def email_sha256(address: str) -> str:
    """What a list names an author by: sha256 of the address in lower case, without white space around it."""
    return hashlib.sha256(address.strip().lower().encode()).hexdigest()


def _hosts(urls: pa.Array) -> pa.Array:
    """Host of each address in lower case, without user, port and trailing dot."""
    hosts = pc.replace_substring_regex(urls, r"^(?:[A-Za-z][A-Za-z0-9+.\-]*:)?//", "")
    hosts = pc.replace_substring_regex(hosts, r"[/?#\\].*$", "")
    hosts = pc.replace_substring_regex(hosts, r"^.*@", "")
    hosts = pc.replace_substring_regex(hosts, r":\d*$", "")
    return pc.utf8_rtrim(pc.utf8_lower(hosts), ".")


def _plain_urls(urls: pa.Array) -> pa.Array:
    """Addresses as the entry `url` compares them."""
    plain = pc.replace_substring_regex(urls, r"#.*$", "")
    plain = pc.replace_substring_regex(plain, r"^(?:[A-Za-z][A-Za-z0-9+.\-]*:)?//", "")
    rest = pc.replace_substring_regex(plain, r"^[^/?]*", "")
    host = pc.replace_substring_regex(pc.utf8_lower(pc.replace_substring_regex(plain, r"[/?].*$", "")), r"^www\.", "")
    return pc.binary_join_element_wise(host, pc.utf8_rtrim(rest, "/"), "")


def _domains(hosts: pa.Array, table: dict[str, int]) -> pa.Array:
    """Entry of the longest listed domain that each host is or lies below; works on the distinct hosts of a batch."""
    encoded = hosts.dictionary_encode()
    found: list[int | None] = []
    for host in encoded.dictionary.to_pylist():
        labels = (host or "").split(".")
        tails = (".".join(labels[at:]) for at in range(len(labels)))
        found.append(next((table[tail] for tail in tails if tail in table), None))
    return pa.array(found, type=pa.int32()).take(encoded.indices)


def _each_once(entries: list[Entry], where: str) -> tuple[Entry, ...]:
    seen: dict[tuple[str, str], int] = {}
    for entry in entries:
        first = seen.setdefault((entry.field, entry.value), entry.line)
        if first != entry.line:
            raise OptOutError(f"{where}:{entry.line}: {entry.field} {entry.value!r} stands already in line {first}")
    return tuple(entries)


def _csv_entry(row: dict[str, str], where: str, line: int) -> Entry:
    for name, value in row.items():
        if not value:
            raise OptOutError(f"{where}:{line}: {name} is empty")
    field = row["field"]
    if field not in FIELDS:
        raise OptOutError(f"{where}:{line}: field {field!r} is unknown{_hint(field, FIELDS)}")
    at = f"{where}:{line}"
    return Entry(field, _normalise(field, row["value"], at), _date(row["date"], at), row["reason"], line)


def _hint(name: str, allowed: tuple[str, ...]) -> str:
    """The nearest of the allowed names, and all of them."""
    names = {each: each for each in allowed}
    if "author_email_sha256" in allowed:
        names |= dict.fromkeys(("email", "author", "author_email"), "author_email_sha256")
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean {names[close[0]]!r}?" if close else ""
    return f"{hint} (allowed: {', '.join(allowed)})"


def _date(text: str, where: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise OptOutError(f"{where}: date must be YYYY-MM-DD, found {text!r}") from None


def _mapping(node: Any, allowed: tuple[str, ...], where: str) -> dict[str, Any]:
    """Key -> value node of a mapping node whose keys are among `allowed`, each once."""
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise OptOutError(f"{where}:{line}: expected a mapping with the keys {', '.join(allowed)}")
    out: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key, at = str(key_node.value), key_node.start_mark.line + 1
        if key not in allowed:
            raise OptOutError(f"{where}:{at}: key {key!r} is unknown{_hint(key, allowed)}")
        if key in out:
            raise OptOutError(f"{where}:{at}: key {key!r} stands twice in one entry")
        out[key] = value_node
    return out


def _entry(node: Any, where: str) -> Entry:
    line = node.start_mark.line + 1
    keys = _mapping(node, _ENTRY_KEYS, where)
    for key, value in keys.items():
        if not isinstance(value, yaml.ScalarNode) or not value.value.strip():
            raise OptOutError(f"{where}:{value.start_mark.line + 1}: {key} must be a non-empty text")
    fields = [field for field in FIELDS if field in keys]
    if len(fields) != 1:
        found = ", ".join(fields) or "none"
        raise OptOutError(f"{where}:{line}: an entry has exactly one of {', '.join(FIELDS)}; found {found}")
    for needed in ("date", "reason"):
        if needed not in keys:
            raise OptOutError(f"{where}:{line}: an entry needs {needed}")
    date = _date(keys["date"].value, f"{where}:{keys['date'].start_mark.line + 1}")
    field = fields[0]
    at = keys[field].start_mark.line + 1
    value = _normalise(field, keys[field].value.strip(), f"{where}:{at}")
    return Entry(field, value, date, keys["reason"].value.strip(), line)


def _normalise(field: str, value: str, where: str) -> str:
    if field == "repo":
        if re.search(r"\s|^/|/$|//", value) or "://" in value:
            raise OptOutError(f"{where}: repo must be owner/name or a distribution's name, found {value!r}")
        return value.lower()
    if field == "owner":
        if re.search(r"[\s/]", value):
            raise OptOutError(f"{where}: owner is the part before '/' of a repository, found {value!r}")
        return value.lower()
    if field == "domain":
        domain = value.lower().rstrip(".").removeprefix("*.")
        if not re.fullmatch(r"(?:[\w-]+\.)+[\w-]+", domain):
            raise OptOutError(f"{where}: domain must be a host name such as example.org, found {value!r}")
        return domain
    if field.endswith("_sha256"):
        if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
            of = ", of SHA-256 of the address in lower case" if field == "author_email_sha256" else ""
            raise OptOutError(f"{where}: {field} must be 64 hexadecimal digits{of}, found {value!r}")
        return value.lower()
    if field == "swhid":
        core = value.split(";")[0]
        if not re.fullmatch(r"swh:1:(?:cnt|dir|rev|rel|snp):[0-9a-f]{40}", core):
            raise OptOutError(f"{where}: swhid must be swh:1:cnt:<40 lower-case hex digits>, found {value!r}")
        return core
    if field == "url":
        if not re.match(r"^(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/\s]+|^[\w-]+(?:\.[\w-]+)+(?:[/?:]|$)", value):
            raise OptOutError(f"{where}: url must be an address such as https://example.org/page, found {value!r}")
        plain: str = _plain_urls(pa.array([value]))[0].as_py()
        return plain
    return value
