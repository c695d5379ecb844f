"""Opt-out: a list of owners, repositories, addresses and contents whose documents must not be used."""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

# Field of an entry -> what it is compared with.  The order is the order of precedence for the reported rule.
FIELDS: tuple[str, ...] = ("id", "swhid", "content_sha256", "url", "domain", "repo", "owner")
_ENTRY_KEYS: tuple[str, ...] = (*FIELDS, "date", "reason")


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
        """What a dropped document reports: `opt_out:<field>:<value>`."""
        return f"opt_out:{self.field}:{self.value}"


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

    YAML: a mapping with the one key `entries`: a list, each with one of the fields above, `date` (YYYY-MM-DD)
    and `reason`.
    """

    entries: tuple[Entry, ...]

    @classmethod
    def load(cls, path: str | Path) -> OptOut:
        """Reads a YAML list; raises OptOutError with file, line, what was found and the nearest known
        name."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise OptOutError(f"{path}: cannot be read: {error.strerror}") from None
        return cls.parse(text, str(path))

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
            raise OptOutError(
                f"{where}:1: empty; a list has the key entries (an empty list is `entries: []`)"
            )
        listed = _mapping(root, ("entries",), where).get("entries")
        if not isinstance(listed, yaml.SequenceNode):
            raise OptOutError(f"{where}:{root.start_mark.line + 1}: the key entries must hold a list")
        entries = tuple(_entry(node, where) for node in listed.value)
        seen: dict[tuple[str, str], int] = {}
        for entry in entries:
            first = seen.setdefault((entry.field, entry.value), entry.line)
            if first != entry.line:
                raise OptOutError(
                    f"{where}:{entry.line}: {entry.field} {entry.value!r} stands already in line {first}"
                )
        return cls(entries)

    def match(self, batch: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
        """(mask, rules): bool without nulls, true where a document is opted out; the entry's rule, else null.

        Reads doc_id, swhid, content_sha256, url and repo; a column that is absent or null matches nothing.
        If several entries match, the most precise is reported: id, swhid, content_sha256, url, longest
        domain, repo, owner.
        """
        rows = batch.num_rows
        rules = pa.nulls(rows, type=pa.string())
        for field in FIELDS:
            table = {entry.value: entry.rule for entry in self.entries if entry.field == field}
            if not table:
                continue
            values = _column(batch, field)
            if values is None:
                continue
            if field == "domain":
                found = _domains(values, table)
            else:
                keys = pa.array(list(table), type=pa.string())
                names = pa.array(list(table.values()), type=pa.string())
                found = names.take(pc.index_in(values, value_set=keys))
            rules = pc.coalesce(rules, found)
        if isinstance(rules, pa.ChunkedArray):
            rules = rules.combine_chunks()
        return pc.is_valid(rules), rules


def _column(batch: pa.RecordBatch, field: str) -> pa.Array | None:
    """The values of a batch that entries of this field are compared with, normalised."""
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
    host = pc.replace_substring_regex(
        pc.utf8_lower(pc.replace_substring_regex(plain, r"[/?].*$", "")), r"^www\.", ""
    )
    return pc.binary_join_element_wise(host, pc.utf8_rtrim(rest, "/"), "")


def _domains(hosts: pa.Array, table: dict[str, str]) -> pa.Array:
    """Rule of the longest listed domain that each host is or lies below; works on the distinct hosts of a
    batch."""
    encoded = hosts.dictionary_encode()
    found: list[str | None] = []
    for host in encoded.dictionary.to_pylist():
        labels = (host or "").split(".")
        tails = (".".join(labels[at:]) for at in range(len(labels)))
        found.append(next((table[tail] for tail in tails if tail in table), None))
    return pa.array(found, type=pa.string()).take(encoded.indices)


def _mapping(node: Any, allowed: tuple[str, ...], where: str) -> dict[str, Any]:
    """Key -> value node of a mapping node whose keys are among `allowed`, each once."""
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise OptOutError(f"{where}:{line}: expected a mapping with the keys {', '.join(allowed)}")
    out: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key, at = str(key_node.value), key_node.start_mark.line + 1
        if key not in allowed:
            close = difflib.get_close_matches(key.lower(), allowed, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise OptOutError(f"{where}:{at}: key {key!r} is unknown{hint} (allowed: {', '.join(allowed)})")
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
    try:
        date = datetime.date.fromisoformat(keys["date"].value)
    except ValueError:
        at = keys["date"].start_mark.line + 1
        raise OptOutError(f"{where}:{at}: date must be YYYY-MM-DD, found {keys['date'].value!r}") from None
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
    if field == "content_sha256":
        if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
            raise OptOutError(f"{where}: content_sha256 must be 64 hexadecimal digits, found {value!r}")
        return value.lower()
    if field == "swhid":
        core = value.split(";")[0]
        if not re.fullmatch(r"swh:1:(?:cnt|dir|rev|rel|snp):[0-9a-f]{40}", core):
            raise OptOutError(f"{where}: swhid must be swh:1:cnt:<40 lower-case hex digits>, found {value!r}")
        return core
    if field == "url":
        if not re.match(r"^(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/\s]+|^[\w-]+(?:\.[\w-]+)+(?:[/?:]|$)", value):
            raise OptOutError(
                f"{where}: url must be an address such as https://example.org/page, found {value!r}"
            )
        plain: str = _plain_urls(pa.array([value]))[0].as_py()
        return plain
    return value
