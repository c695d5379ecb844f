"""Secrets of `bigcode@1`: what detect-secrets 1.5.0 finds with the plugins and filters that bigcode-dataset gives it.

Own code, equal in values, in linear time.  The file is first read as INI (its values become `key = "value"` lines),
else by its lines; where nothing was found, once more as INI under a header of our own.  Then bigcode-dataset
pii/utils/keys_detection.py @ bebec92: only gibberish, no hashes, no file with many hashes, every occurrence.
"""

from __future__ import annotations

import base64
import bisect
import configparser
import json
import math
import re
import string
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from importlib import resources
from typing import Any

# --- plugins: detect_secrets/plugins/*.py @ v1.5.0.  (name, literals of which a line holds one, its secrets)

_ENTROPY_LIMITS = {"Base64 High Entropy String": 4.5, "Hex High Entropy String": 3.0}
_BASE64 = string.ascii_letters + string.digits + "+/\\-_="
_QUOTED = {
    "Base64 High Entropy String": (re.compile(rf"(['\"])([{re.escape(_BASE64)}]+)\1"), _BASE64),
    "Hex High Entropy String": (re.compile(r"(['\"])([0-9a-fA-F]+)\1"), string.hexdigits),
}


def _assignment(prefix: str, keyword: str, secret: str) -> re.Pattern[str]:
    """A secret assigned to a name: optional quotes and brackets, one of = : := => :: or spaces between.

    Possessive runs of spaces keep it linear; what matches is the same.
    """
    between = r"(?: *+(?:=>|:=|::|=|:) *+| ++)"
    return re.compile(
        rf"(?:(?<=\W)|(?<=^))\[?[\"']?{prefix}[_-]?{keyword}[\"']?\]?{between}[\"']?{secret}[\"']?", re.IGNORECASE
    )


_WORD = "(?:key|pwd|pw|password|pass|token)"
_SHORT_WORD = "(?:key|pwd|password|pass|token)"
_WORDS = ("key", "pw", "pass", "token")
_CLOUDANT_HOST = r"@[\w\-]+\.cloudant\.com"
_PATTERNS: tuple[tuple[str, tuple[str, ...], re.Pattern[str]], ...] = (
    ("Artifactory Credentials", ("akc",), re.compile(r'(?:\s|=|:|"|^)AKC[a-zA-Z0-9]{10,}(?:\s|"|$)')),
    ("Artifactory Credentials", ("ap",), re.compile(r'(?:\s|=|:|"|^)AP[\dA-F][a-zA-Z0-9]{8,}(?:\s|"|$)')),
    ("AWS Access Key", ("a",), re.compile(r"(?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[0-9A-Z]{16}")),
    (
        "AWS Access Key",
        ("aws",),
        re.compile(rf"aws.{{0,20}}?{_WORD}.{{0,20}}?['\"]([0-9a-zA-Z/+]{{40}})['\"]", re.IGNORECASE),
    ),
    (
        "Azure Storage Account access key",
        ("accountkey=",),
        re.compile(r"AccountKey=[a-zA-Z0-9+/=]{88}"),
    ),
    ("Cloudant Credentials", ("cl",), _assignment("(?:cloudant|cl|clou)", f"(?:api)?{_WORD}", "([0-9a-f]{64})")),
    ("Cloudant Credentials", ("cl",), _assignment("(?:cloudant|cl|clou)", f"(?:api)?{_WORD}", "([a-z]{24})")),
    (
        "Cloudant Credentials",
        ("cloudant",),
        re.compile(rf"https?://[\w\-]++:([0-9a-f]{{64}}){_CLOUDANT_HOST}", re.IGNORECASE),
    ),
    (
        "Cloudant Credentials",
        ("cloudant",),
        re.compile(rf"https?://[\w\-]++:([a-z]{{24}}){_CLOUDANT_HOST}", re.IGNORECASE),
    ),
    ("Discord Bot Token", (".",), re.compile(r"[MNO][a-zA-Z\d_-]{23,25}\.[a-zA-Z\d_-]{6}\.[a-zA-Z\d_-]{27}")),
    ("GitHub Token", ("gh",), re.compile(r"(ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9_]{36}")),
    (
        "IBM Cloud IAM Key",
        _WORDS,
        _assignment(
            "(?:ibm[_-]?cloud[_-]?iam|cloud[_-]?iam|ibm[_-]?cloud|ibm[_-]?iam|ibm|iam|cloud|)[_-]?(?:api)?",
            _SHORT_WORD,
            r"([a-zA-Z0-9_\-]{44}(?![a-zA-Z0-9_\-]))",
        ),
    ),
    (
        "IBM COS HMAC Credentials",
        ("secret",),
        _assignment(
            "(?:(?:ibm)?[-_]?cos[-_]?(?:hmac)?|)", "(?:secret[-_]?(?:access)?[-_]?key)", "([a-f0-9]{48}(?![a-f0-9]))"
        ),
    ),
    ("Mailchimp Access Key", ("-us",), re.compile(r"[0-9a-z]{32}-us[0-9]{1,2}")),
    ("SendGrid API Key", ("sg.",), re.compile(r"SG\.[a-zA-Z0-9_-]{22}\.[a-zA-Z0-9_-]{43}")),
    ("Slack Token", ("xox",), re.compile(r"xox[abopsr]-(?:\d+-)+[a-z0-9]+", re.IGNORECASE)),
    (
        "Slack Token",
        ("hooks.slack",),
        re.compile(r"https://hooks\.slack\.com/services/T[a-zA-Z0-9_]++/B[a-zA-Z0-9_]++/[a-zA-Z0-9_]+", re.IGNORECASE),
    ),
    (
        "SoftLayer Credentials",
        ("s",),
        _assignment("(?:softlayer|sl)[_-]?(?:api)?", _SHORT_WORD, "([a-z0-9]{64})"),
    ),
    (
        "SoftLayer Credentials",
        ("softlayer",),
        re.compile(r"https?://api.softlayer.com/soap/(?:v3|v3.1)/([a-z0-9]{64})", re.IGNORECASE),
    ),
    ("Stripe Access Key", ("k_live_",), re.compile(r"[rs]k_live_[0-9a-zA-Z]{24}")),
    ("Twilio API Key", ("ac",), re.compile(r"AC[a-z0-9]{32}")),
    ("Twilio API Key", ("sk",), re.compile(r"SK[a-z0-9]{32}")),
)

_JWT_RUN = re.compile(r"[A-Za-z0-9_=-]+")


def _json_web_tokens(line: str) -> Iterator[str]:
    """eyJ..., a dot, another run and perhaps a dot: the reference's last group is lazy and stays empty."""
    done, previous = 0, None
    for run in _JWT_RUN.finditer(line):
        if previous is not None and run.start() == previous.end() + 1 and line[previous.end()] == ".":
            at = line.find("eyJ", max(previous.start(), done), previous.end())
            if at >= 0 and at + 3 < previous.end():
                done = run.end() + (line[run.end() : run.end() + 1] == ".")
                token = line[at:done]
                if _formally_valid(token):
                    yield token
        previous = run


def _formally_valid(token: str) -> bool:
    for place, part in enumerate(token.split(".")):
        if len(part) % 4 == 1:
            return False
        try:
            decoded = base64.urlsafe_b64decode(part.encode("ascii") + b"=" * (len(part) % 4))
            if place < 2:
                json.loads(decoded.decode("utf-8"))
        except (ValueError, RecursionError):
            return False
    return True


_NPM = "/:_authToken="
_NPM_VALUE = re.compile(r"\s*(npm_.+|[A-Fa-f0-9-]{36})")


def _npm_token(line: str) -> str | None:
    """The value of the last `//host/:_authToken=value` of a line."""
    first = line.find("//")
    at = len(line)
    while first >= 0 and (at := line.rfind(_NPM, first + 3, at)) >= 0:
        match = _NPM_VALUE.match(line, at + len(_NPM))
        if match is not None:
            return match.group(1)
    return None


def _entropy(value: str, charset: str) -> float:
    """Shannon entropy in bits over the letters of `charset`, summed in its order as the reference does."""
    total = 0.0
    for character in charset:
        share = value.count(character) / len(value)
        if share > 0:
            total += -share * math.log(share, 2)
    if charset is string.hexdigits and len(value) > 1 and value.isdigit():
        total -= 1.2 / math.log(len(value), 2)
    return total


# --- filters: detect_secrets/filters/heuristic.py @ v1.5.0

_UUID = re.compile(r"[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}", re.IGNORECASE)
_ID_NAME = re.compile(r"(?:^(?:id|myid|userid)|_id)s?[^a-z0-9]", re.IGNORECASE)
_UPPER, _DIGITS, _HEX = string.ascii_uppercase, string.digits, string.hexdigits.upper()
_SEQUENCES = (
    _UPPER * 2 + _DIGITS + "+/",
    _DIGITS + _UPPER * 2 + "+/",
    (_DIGITS + _UPPER) * 2,
    _DIGITS * 2,
    _HEX * 2,
    _UPPER + "=/",
)


def _filtered(secret: str) -> bool:
    """A UUID, a template such as `{...}`, or part of a run of the alphabet."""
    if _UUID.search(secret) or len(secret) < 2:
        return True
    if (secret[0], secret[-1]) in (("{", "}"), ("<", ">")) or (secret[:2] == "${" and secret[-1] == "}"):
        return True
    upper = secret.upper()
    return any(upper in sequence for sequence in _SEQUENCES)


def _line_secrets(line: str) -> Iterator[tuple[str, str]]:
    """(type, value) of one line, which has no white space at its end."""
    lowered = line.lower()
    for kind, literals, pattern in _PATTERNS:
        if any(literal in lowered for literal in literals):
            for match in pattern.finditer(line):
                value = match.group(1) if pattern.groups else match.group()
                if not _filtered(value):
                    yield kind, value
    if "eyj" in lowered:
        for value in _json_web_tokens(line):
            if not _filtered(value):
                yield "JSON Web Token", value
    if "authtoken" in lowered:
        token = _npm_token(line)
        if token is not None and not _filtered(token):
            yield "NPM tokens", token
    if '"' in line or "'" in line:
        yield from _random_strings(line)


def _random_strings(line: str) -> Iterator[tuple[str, str]]:
    """Quoted strings of high entropy; none after a name such as `user_id` on the same line."""
    found: list[tuple[str, str, int]] = []
    for kind, (pattern, charset) in _QUOTED.items():
        for match in pattern.finditer(line):
            value = match.group(2)
            if len(value) > 7 and not _filtered(value) and _entropy(value, charset) > _ENTROPY_LIMITS[kind]:
                found.append((kind, value, match.start(2)))
    if not found:
        return
    named = _ID_NAME.search(line)
    late = {value for _, value, at in found if named is not None and at >= named.end()}
    first: dict[str, int] = {}
    if late:
        for value, at in occurrences(sorted(late), line):
            first.setdefault(value, at)
    for kind, value, at in found:
        if named is None or first.get(value, at) < named.end():
            yield kind, value


# --- the file as lines


_COMMENT = re.compile(r"\s*[;#]")
_NEXT_LINE = re.compile(r"^[ \t]*(?:#|;) *pragma: ?allowlist[ -]nextline[ -]secret.*?[ \t]*$")


class _BoundedInterpolation(configparser.BasicInterpolation):
    """`%(name)s` as configparser has it, but references that grow a text without bound make it no INI file."""

    def __init__(self, budget: int) -> None:
        self._budget = budget

    def before_get(self, parser: Any, section: str, option: str, value: str, defaults: Any) -> str:
        if "%" not in value:
            return value
        expanded = super().before_get(parser, section, option, value, defaults)
        self._budget -= len(expanded)
        return expanded

    def _interpolate_some(self, parser, option, accum, rest, section, map, depth):  # type: ignore[no-untyped-def]
        self._budget -= len(rest)
        if self._budget < 0:
            raise configparser.InterpolationDepthError(option, section, rest[:40])
        super()._interpolate_some(parser, option, accum, rest, section, map, depth)  # type: ignore[misc]


def _assigns(line: str, key: str, value: str) -> bool:
    """Whether a line begins with key, one or more of ' ', ':' and '=', and the value."""
    if not line.startswith(key):
        return False
    at = len(key)
    while line[at : at + 1] in (" ", ":", "="):
        at += 1
        if line.startswith(value, at):
            return True
    return False


def _ini_values(text: str, header: bool) -> Iterator[tuple[str, str, int]]:
    """(key, value, line number) of an INI file.  Raises configparser.Error where the text is none.

    The lines of a value are found again in the text; a value that is not found ends the search for good.
    """
    parser = configparser.ConfigParser(interpolation=_BoundedInterpolation(8 * len(text) + 100_000))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string("[global]\n" + text if header else text)
    if not parser.sections() or len(parser.sections()) * len(parser.defaults()) > 8 * len(text) + 100_000:
        raise configparser.Error
    lines = [line.strip() for line in _file_lines(text)]
    offset = at = 0
    for section in parser:
        for key, joined in parser.items(section):
            parts = joined.splitlines()
            values = parts[:1] + [part for part in parts[1:] if part]
            if not values:
                continue
            out: list[tuple[str, int]] = []
            taken = 0
            for place in range(at, len(lines)):
                line = lines[place]
                if _NEXT_LINE.search(line):
                    out.append((line, place - at + offset + 1))
                    continue
                if not line or _COMMENT.match(line):
                    continue
                if taken == 0:
                    if _assigns(line, key, values[0]):
                        out.append((values[0], place - at + offset + 1))
                        taken = 1
                    continue
                if taken == len(values):
                    step = max(place - at, 1)
                    offset += step
                    at += step
                    break
                out.append((values[taken], place - at + offset + 1))
                taken += 1
            else:
                at = len(lines)
            for value, number in out:
                if value:
                    yield key, value, number


def _file_lines(text: str) -> list[str]:
    """The lines of a text file as Python reads it, ends included."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _ini_lines(text: str, header: bool) -> list[str] | None:
    """The values of an INI file as quoted assignments, None where it is none."""
    lines: list[str] = []
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        for key, value, number in _ini_values(text, header):
            lines += [""] * (number - 1 - len(lines))
            if _NEXT_LINE.search(value):
                lines.append(value)
                continue
            if value[0] in "'\"" and value[-1] == value[0]:
                value = value[1:-1]
            escaped = value.replace('"', '\\"')
            lines.append(f'{key} = "{escaped}"')
    except configparser.Error:
        return None
    return lines


SHORTEST = 11  # characters of a line that can hold a secret: Artifactory's AP, a hexadecimal digit and eight more


def secrets(text: str) -> set[tuple[str, str]]:
    """(type, value) of all that detect-secrets reports for a file of this text named *.txt."""
    readings: tuple[Callable[[], list[str] | None], ...] = (
        lambda: _ini_lines(text, False) or _file_lines(text),
        lambda: _ini_lines(text, True),
    )
    for read in readings:
        lines = (line.rstrip() for line in read() or ())
        found = {secret for line in lines if len(line) >= SHORTEST for secret in _line_secrets(line)}
        if found:
            return found
    return set()


# --- bigcode's own tests of a value

GIBBERISH_LIMIT = 4.0  # gibberish-detector 0.1.1 detector.py


@cache
def _pair_costs() -> dict[str, float]:
    """-log of the share of each pair of letters among those that begin with its first letter."""
    rows = resources.files("pii").joinpath("data/gibberish.txt").read_text(encoding="ascii").splitlines()
    costs = {}
    for first, row in zip(string.ascii_lowercase, (r for r in rows if not r.startswith("#")), strict=True):
        *counts, total = map(int, row.split())
        for second, count in zip(string.ascii_lowercase, counts, strict=True):
            costs[first + second] = -math.log(float(count) / total)
    return costs


def gibberish_score(value: str) -> float:
    """Mean cost of the letter pairs of a value in lower case, other characters left out; 0 without a pair."""
    letters = [c for c in value.lower() if "a" <= c <= "z"]
    costs = [_pair_costs()[a + b] for a, b in zip(letters, letters[1:], strict=False)]
    return sum(costs) / len(costs) if costs else 0.0


def is_gibberish(value: str) -> bool:
    return gibberish_score(value) > GIBBERISH_LIMIT


_HASH_WORD = re.compile("sha|md5|hash|byte", re.IGNORECASE | re.ASCII)
_LINE_BREAK = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


class _HashLines:
    """Whether a value as long as a hash stands on a line that speaks of one.

    Before the value; where it starts a line, the line before counts, as in the reference.
    """

    def __init__(self, text: str) -> None:
        self._breaks = [match.span() for match in _LINE_BREAK.finditer(text)]
        words = [match.span() for match in _HASH_WORD.finditer(text)]
        self._words, self._ends = [start for start, _ in words], [end for _, end in words]

    def named(self, value: str, at: int) -> bool:
        if len(value) not in (32, 40, 64):
            return False
        place = bisect.bisect_right(self._breaks, at, key=lambda span: span[1]) - 1
        end = at
        if place >= 0 and self._breaks[place][1] == at:
            end = self._breaks[place][0]
            place -= 1
        start = self._breaks[place][1] if place >= 0 else 0
        word = bisect.bisect_left(self._words, start)
        return word < len(self._words) and self._ends[word] <= end


def _many_hashes(text: str) -> bool:
    limit = int(0.02 * text.count("\n"))
    lowered = text.lower()
    return lowered.count("sha") > limit or lowered.count("hash") > limit


_HEAD = 8


def occurrences(values: list[str], text: str) -> Iterator[tuple[str, int]]:
    """(value, position) of every occurrence of each value in `text`; those of one value do not overlap.

    Long lists take one pass over the text: the first 8 characters look up the lengths to try.
    """
    if len(values) <= 16:
        heads, single = [], values
    else:
        heads, single = [v for v in values if len(v) >= _HEAD], [v for v in values if len(v) < _HEAD]
    for value in single:
        at = text.find(value)
        while at >= 0:
            yield value, at
            at = text.find(value, at + len(value))
    if not heads:
        return
    known = set(heads)
    lengths: dict[str, set[int]] = defaultdict(set)
    for value in heads:
        lengths[value[:_HEAD]].add(len(value))
    ordered = {head: sorted(sizes) for head, sizes in lengths.items()}
    done: dict[str, int] = {}
    for at in range(len(text) - _HEAD + 1):
        for size in ordered.get(text[at : at + _HEAD], ()):
            value = text[at : at + size]
            if value in known and done.get(value, 0) <= at:
                done[value] = at + size
                yield value, at


def keys(text: str) -> list[tuple[int, int, str]]:
    """(start, end, value) of the keys of a text, in code points, sorted.  A value found in two ways stands twice."""
    found = [value for _, value in secrets(text) if is_gibberish(value)]
    if not found or _many_hashes(text):
        return []
    lines = _HashLines(text)
    places: dict[str, list[int]] = defaultdict(list)
    for value, at in occurrences(sorted(set(found)), text):
        places[value].append(at)
    out = []
    for value in found:
        starts = places.get(value)
        if starts and not lines.named(value, starts[0]):
            out += [(start, start + len(value), value) for start in starts]
    return sorted(out)
