"""`bigcode@1`: the personal data that SantaCoder and StarCoder took out by rules, value for value.

E-mail addresses, IP addresses and keys after bigcode-dataset pii/ @ bebec92 (Apache-2.0), with its quirks:
`[\\b]` in its classes is the backspace, the context of the version test wraps at the start of a file, a replacement
that touches the one before gets a space.  Own code; every detector is linear.
"""

from __future__ import annotations

import dataclasses
import importlib
import ipaddress
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from pii.bigcode_keys import keys
from pii.checks import RESOLVERS


class Found(NamedTuple):
    """[start, end) in code points, EMAIL | IP_ADDRESS | KEY, and the text between."""

    start: int
    end: int
    kind: str
    value: str


@cache
def _regex(pattern: str, multiline: bool = False) -> Any:
    """Compiled by the package regex, which knows scripts; `re` does not."""
    try:
        regex = importlib.import_module("regex")
    except ImportError as error:
        raise ImportError("bigcode@1 needs the package regex: install gristmill[pii]") from error
    return regex.compile(pattern, regex.MULTILINE if multiline else 0)


# --- e-mail: pii/utils/emails_ip_addresses_detection.py

_OPEN = r"[\[({<\x08\s@,?!;'\"\p{Han}¿¡:.]"  # one of these, the start of a line or an escaped quote before
_LOCAL = r"[^\]\[(){}<>\x08\s@,?!;'\":#/\\=.\-]"
_LABEL = r"(?:\w|[^.\x08\s@?!;,/()>\-:][^.\x08\s@?!;,/()>]{0,62}[^.\x08\s@?!;,/()>\-:'\"])"
_TLD = r"(?:[\p{L}\p{M}]{2,63}|xn--\w+)"
_CLOSE = r"(?=$|[\])}>\x08\s@,?!;'\"\p{Han}]|\\['\"]|:(?!\d)|\.(?!\S))"
_DOMAIN = rf"@(?:{_LABEL}\.){{1,10}}{_TLD}{_CLOSE}"


def _emails(text: str) -> list[Found]:
    """Around each '@': the run of local characters before it, from its first place that an address may start at."""
    out: list[Found] = []
    local, opening, domain = _regex(_LOCAL), _regex(_OPEN), _regex(_DOMAIN, multiline=True)
    done = 0
    at = text.find("@")
    while at >= 0:
        start = None
        place = at
        while place > done:
            character = text[place - 1]
            if not (character in "=.-" and text[place] not in ".@") and not local.match(character):
                break
            place -= 1
            before = text[place - 1] if place else "\n"
            if before == "\n" or opening.match(before) or text[max(0, place - 2) : place] in ("\\'", '\\"'):
                start = place
        if start is not None and (match := domain.match(text, at)):
            done = match.end()
            out.append(Found(start, done, "EMAIL", text[start:done]))
        done = max(done, at + 1)
        at = text.find("@", done)
    return out


# --- IP addresses: the same file

_OCTET = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)"
_INNER_OCTET = "(?:25[0-5]|(?:2[0-4]|1?[0-9])?[0-9])"
_HEX = "[0-9a-fA-F]{1,4}"


def _ip_pattern() -> str:
    """IPv4, then the forms of IPv6 in the reference's order: the first that fits wins."""
    inner = rf"(?:{_INNER_OCTET}\.){{3}}{_INNER_OCTET}"
    forms = [
        rf"{_OCTET}(?:\.{_OCTET}){{3}}",
        rf"(?:{_HEX}:){{7}}{_HEX}",
        rf"(?:{_HEX}:){{1,7}}:",
        rf"(?:{_HEX}:){{1,6}}:{_HEX}",
        *(rf"(?:{_HEX}:){{1,{7 - tail}}}(?::{_HEX}){{1,{tail}}}" for tail in range(2, 6)),
        rf"{_HEX}:(?::{_HEX}){{1,6}}",
        rf":(?:(?::{_HEX}){{1,7}}|:)",
        r"fe80:(?::[0-9a-fA-F]{0,4}){0,4}%[0-9a-zA-Z]+",
        rf"::(?:ffff(?::0{{1,4}})?:)?{inner}",
        rf"(?:{_HEX}:){{1,4}}:{inner}",
    ]
    left, right = r"(?:^|[\x08\s@?,!;:'\")(.\p{Han}])", r"(?:$|[\s@,?!;:'\"(.\p{Han}])"
    return rf"{left}({'|'.join(forms)}){right}"


_DASH = r"[\p{Pd}/]"
_DASH_DOT = r"[\p{Pd}/.]"
_YEAR, _TWO = "[1-2][0-9]{3}", "[0-3][0-9]"
_DATES = (
    rf"{_YEAR}{_DASH}{_YEAR}",
    rf"{_YEAR}{_DASH_DOT}{_TWO}{_DASH_DOT}{_TWO}",
    rf"{_TWO}{_DASH_DOT}{_TWO}{_DASH_DOT}(?:[0-9]{{2}}|{_YEAR})",
    rf"{_TWO}{_DASH}(?:[0-9]{{2}}|{_YEAR})",
    rf"{_YEAR}-{_TWO}",
)
_DATE = rf"(?:^|[\x08\s@?,!;:'\")(.\p{{Han}}])(?:{'|'.join(_DATES)})(?:$|[\s@,?!;:'\"(.\p{{Han}}])"


def _ip_addresses(text: str) -> list[Found]:
    out = []
    for match in _regex(_ip_pattern(), multiline=True).finditer(text):
        value = match.group(1)
        start, end = match.span(1)
        if not any(character.isdigit() for character in value) or _regex(_DATE).match(value):
            continue
        if value.count(".") == 3 and len(value) == 7:  # a version number, unless ...
            context = text[start - 100 : end + 100].lower()
            if "dns" not in context and "server" not in context:
                continue
        try:
            ipaddress.ip_address(value)
        except ValueError:
            continue
        out.append(Found(start, end, "IP_ADDRESS", value))
    return out


def detect(text: str) -> list[Found]:
    """The spans of a text, sorted by start, end, kind.  They may overlap, and a key found in two ways stands twice."""
    found = [*_emails(text), *_ip_addresses(text)]
    found += [Found(start, end, "KEY", value) for start, end, value in keys(text)]
    return sorted(found)


# --- redaction: pii/pii_redaction.py


@cache
def replacements() -> dict[str, Any]:
    """The reference's ten e-mail addresses, ten keys and five addresses of each IP version."""
    table: dict[str, Any] = json.loads(resources.files("pii").joinpath("data/bigcode.json").read_text("ascii"))
    return table


def _is_let_be(value: str) -> bool:
    return ipaddress.ip_address(value).is_private or ("." in value and value in RESOLVERS)


def redact(
    text: str, spans: Iterable[Sequence[Any]], generator: random.Random | Any = random, references: bool = False
) -> tuple[str, str, bool]:
    """(text, references, modified): each value replaced by a random choice, the same value by the same one.

    generator: `random` or a `random.Random`, drawn from once a new value.  Private addresses and public resolvers
    stay.  references: also the text with marks `PI:KIND:replacement END_PI`, for people to look at.
    """
    chosen: dict[str, str] = {}
    parts: list[str] = []
    marked: list[str] = []
    done, modified = 0, False
    for start, end, kind, value in sorted((tuple(span) for span in spans), key=lambda span: span[0]):
        if kind == "IP_ADDRESS" and _is_let_be(value):
            continue
        modified = True
        before = text[done:start] or " "
        if value not in chosen:
            choices = replacements()[kind]
            if kind == "IP_ADDRESS":
                choices = choices["IPv4" if ipaddress.ip_address(value).version == 4 else "IPv6"]
            chosen[value] = generator.choice(choices)
        parts += [before, chosen[value]]
        marked += [before, f"PI:{kind}:{chosen[value]}END_PI"]
        done = end
    rest = text[done:]
    return "".join(parts) + rest, "".join(marked) + rest if references and marked else "", modified


# --- annotator

SPANS_TYPE = pa.list_(
    pa.struct(
        [
            pa.field("start", pa.int32(), metadata={"unit": "code points"}),
            pa.field("end", pa.int32(), metadata={"unit": "code points", "description": "one past the last"}),
            pa.field("kind", pa.string(), metadata={"description": "EMAIL | IP_ADDRESS | KEY"}),
            pa.field("value", pa.large_string(), metadata={"description": "the text of the span"}),
        ]
    )
)


@dataclasses.dataclass(frozen=True)
class BigcodeAnnotator:
    """`pii_bigcode@1`: column `spans`, what `detect` finds in each text.  Needs only the column `text`."""

    name: ClassVar[str] = "pii_bigcode@1"
    schema: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field(
                "spans",
                SPANS_TYPE,
                nullable=False,
                metadata={"description": "personal data by the rules of SantaCoder and StarCoder; spans may overlap"},
            )
        ]
    )

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        rows: list[list[Mapping[str, Any]]] = [
            [found._asdict() for found in detect(text or "")] for text in batch.column("text").to_pylist()
        ]
        return pa.RecordBatch.from_arrays([pa.array(rows, SPANS_TYPE)], schema=self.schema)

    def annotate_texts(self, shared: Any) -> pa.RecordBatch:
        """The same for texts whose views other annotators share; none is used here."""
        return self.annotate(shared.batch)
