"""What a host reserves for all its pages: robots.txt, tdmrep.json and ai.txt, parsed and matched against a path.

robots.txt   RFC 9309: groups by product token, the group of a token instead of `*`, the longest rule wins and of equal
             ones Allow, `*` and `$`; with Content-Signal (contentsignals.org, Cloudflare, September 2025) and
             Content-Usage (IETF draft-ietf-aipref-attach-04, section 5), which may stand in its groups
tdmrep.json  TDM Reservation Protocol (W3C Community Group, github.com/w3c/tdm-reservation-protocol @ 053061a1,
             spec/index.html): the first location that matches, with the special characters of robots.txt
ai.txt       Spawning: the lines of robots.txt, in which a rule names a path or a kind of file (`*.txt`)

Linear in the file, whatever it holds; `Hosts` keeps of it what speaks to agents that are asked about.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from licenses.reservations_marks import MAX_HOST_FILE

ANY = "*"
# A path longer than this is compared by its begin; servers refuse URLs of 8,000 bytes (RFC 9110, 4.1 asks for as much).
_MAX_PATH = 8192
_TOKEN = re.compile(r"[-\w.]{1,200}", re.A)
_PERCENT = re.compile("%[0-9A-Fa-f]{2}")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_LINE = re.compile(r"\r\n|\r|\n")
_SIGNAL_NO = re.compile(r"(?:^|[,\s])(ai-train\s*=\s*no)\s*(?:$|,)", re.I)
_USAGE_NO = re.compile(r"(?:^|[,\s])((?:train-ai|ai-train)\s*=\s*n)\s*(?:$|[,;])", re.I)


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """What a host file says of a page: the line, and the agent of the group that it stands in (`*`: all)."""

    directive: str
    agent: str


def path_of(url: str) -> str:
    """Path and query of a URL as they are compared (RFC 9309, 2.2.2)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "/"
    path = parts.path or "/"
    return normalised((f"{path}?{parts.query}" if parts.query else path)[:_MAX_PATH])


def normalised(path: str) -> str:
    """Octets beyond ASCII percent-encoded, encoded unreserved ones not."""

    def plain(match: re.Match[str]) -> str:
        character = chr(int(match[0][1:], 16))
        return character if character in _UNRESERVED else match[0].upper()

    return quote(_PERCENT.sub(plain, path), safe="%/?#[]@!$&'()*+,;=:-._~\"<>\\^`{|} ")


# -- patterns ----------------------------------------------------------------------------------------------


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern with `*` (any characters) and `$` at its end (the end of the path) matches from the begin."""
    anchored = pattern.endswith("$")
    first, *rest = (pattern[:-1] if anchored else pattern).split("*")
    if not path.startswith(first):
        return False
    at = len(first)
    if not rest:
        return not anchored or at == len(path)
    last = rest.pop() if anchored else ""
    for part in rest:
        found = path.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(path) - at >= len(last) and path.endswith(last)


class _Rules:
    """Rules of one group by how specific they are: plain begins by their length in a table, others in order."""

    def __init__(self, rules: Iterable[tuple[bool, str]]) -> None:
        self._plain: dict[str, bool] = {}
        wild: dict[str, bool] = {}
        for allow, pattern in rules:
            kept = wild if "*" in pattern or pattern.endswith("$") else self._plain
            kept[pattern] = kept.get(pattern, False) or allow
        self._lengths = sorted({len(pattern) for pattern in self._plain}, reverse=True)
        self._wild = sorted(wild.items(), key=lambda item: (-len(item[0]), not item[1], item[0]))

    def disallows(self, path: str) -> str | None:
        """The pattern that forbids the path, None where it is allowed."""
        best, allowed, length = "", True, -1
        for size in self._lengths:
            if size <= len(path) and path[:size] in self._plain:
                best, length = path[:size], size
                allowed = self._plain[best]
                break
        for pattern, allow in self._wild:
            if len(pattern) < length or (len(pattern) == length and not allow):
                break
            if matches(pattern, path):
                best, allowed = pattern, allow
                break
        return None if allowed else best


# -- robots.txt and ai.txt ---------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class Group:
    """agents: lower-case product tokens or `*`.  rules: (allowed, pattern).  signals: (pattern, line)."""

    agents: list[str]
    rules: list[tuple[bool, str]] = dataclasses.field(default_factory=list)
    signals: list[tuple[str, str]] = dataclasses.field(default_factory=list)


def parse_robots(text: str, several: bool = False) -> list[Group]:
    """The groups of a robots.txt; what cannot be understood is passed over, as RFC 9309 asks (2.2.4).

    several: a rule may name several patterns, parted by spaces (ai.txt).
    Rules before the first group belong to none.  Content-Signal before it speaks to all.
    """
    groups: list[Group] = []
    group: Group | None = None
    in_agents = False
    for line in _LINE.split(text[:MAX_HOST_FILE].removeprefix("\ufeff")):
        key, colon, value = line.partition("#")[0].partition(":")
        if not colon:
            continue
        key, value = key.strip().lower(), value.strip()
        if key == "user-agent":
            token = ANY if value.startswith(ANY) else match[0].lower() if (match := _TOKEN.match(value)) else None
            if not in_agents or group is None:
                group = Group([])
                groups.append(group)
            in_agents = True
            if token is not None:
                group.agents.append(token)
        elif key in ("allow", "disallow"):
            in_agents = False
            if group is not None and value:
                patterns = value.split() if several else [value]
                group.rules += [(key == "allow", _rooted(normalised(pattern))) for pattern in patterns]
        elif key in ("content-signal", "content-usage"):
            in_agents = False
            path, value = _usage(value) if key == "content-usage" else ("/", value)
            found = (_USAGE_NO if key == "content-usage" else _SIGNAL_NO).search(value)
            if found:
                name = "Content-Signal" if key == "content-signal" else "Content-Usage"
                if group is None:
                    groups.append(Group([ANY]))
                (group or groups[-1]).signals.append((path, f"{name}: {''.join(found[1].split())}"))
    return [each for each in groups if each.agents]


def _rooted(pattern: str) -> str:
    return pattern if pattern.startswith(("/", "*")) else "/" + pattern


def _usage(value: str) -> tuple[str, str]:
    """A Content-Usage line may begin with the path that it is about."""
    path, space, rest = value.partition(" ")
    return (normalised(path), rest) if path.startswith("/") and space else ("/", value)


def kept_groups(groups: Iterable[Group], agents: Collection[str]) -> list[Group]:
    """The groups that speak to `*` or to one of the agents (lower case), those of others left out."""
    found = []
    for group in groups:
        named = [agent for agent in group.agents if agent == ANY or agent in agents]
        if named:
            found.append(Group(named, group.rules, group.signals))
    return found


class Robots:
    """Asks parsed groups about paths.  agents: in their own case, as they are named in answers."""

    def __init__(self, groups: Iterable[Group], agents: Collection[str], wildcard: bool = True) -> None:
        groups = list(groups)
        self._asked: list[tuple[str, _Rules, list[tuple[str, str]]]] = []
        told: set[str] = set()
        for agent in agents:
            token = agent.lower()
            if not any(token in group.agents for group in groups):
                token = ANY
            if token in told or (token == ANY and not wildcard):
                continue
            told.add(token)
            mine = [group for group in groups if token in group.agents]
            if mine:
                rules = _Rules(rule for group in mine for rule in group.rules)
                signals = [signal for group in mine for signal in group.signals]
                self._asked.append((ANY if token == ANY else agent, rules, signals))

    def says(self, path: str) -> Said | None:
        """The first agent, in the order asked, that may not read the path, or whose use of it for training is
        forbidden; those that are named come before all others."""
        for agent, rules, signals in sorted(self._asked, key=lambda asked: asked[0] == ANY):
            pattern = rules.disallows(path)
            if pattern is not None:
                return Said(f"Disallow: {pattern}", agent)
            for place, line in signals:
                if matches(place, path):
                    return Said(line, agent)
        return None


# -- tdmrep.json -------------------------------------------------------------------------------------------


def parse_tdmrep(text: str) -> list[tuple[str, int, str | None]]:
    """(location, reservation, policy) of its rules in order; what is no rule is passed over.

    What is no JSON, or longer than MAX_HOST_FILE, has none.
    """
    if len(text) > MAX_HOST_FILE:
        return []
    try:
        rows = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return []
    found = []
    for row in rows if isinstance(rows, list) else [rows]:
        if not isinstance(row, dict) or not isinstance(row.get("location"), str):
            continue
        reserved = str(row.get("tdm-reservation")).strip()
        if reserved in ("0", "1"):  # other values are errors and count as unset
            policy = row.get("tdm-policy")
            found.append((_rooted(normalised(row["location"])), int(reserved), policy if policy else None))
    return [(where, value, policy if isinstance(policy, str) else None) for where, value, policy in found]


# -- one host ----------------------------------------------------------------------------------------------


def authority_of(url: str | None) -> str | None:
    """Host, and port where it is none of the usual ones, in lower case: what a host file speaks of, in any scheme."""
    try:
        parts = urlsplit(url or "")
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    return host if port in (None, 80, 443) else f"{host}:{port}"


def parsed(standard: str, text: str, agents: Collection[str]) -> Any:
    """What is kept of a host file, as JSON values; agents: lower case."""
    if standard == "tdmrep.json":
        return parse_tdmrep(text)
    groups = kept_groups(parse_robots(text, several=standard == "ai.txt"), agents)
    return [[group.agents, group.rules, group.signals] for group in groups]


class HostRules:
    """What one host says in its files.  files: standard -> `parsed` of it."""

    def __init__(self, files: Mapping[str, Any], agents: Collection[str], wildcard: bool = True) -> None:
        def robots(name: str) -> Robots | None:
            groups = [
                Group(list(named), [(bool(a), p) for a, p in rules], [(p, line) for p, line in signals])
                for named, rules, signals in files.get(name, ())
            ]
            return Robots(groups, agents, wildcard) if groups else None

        self._robots, self._ai = robots("robots.txt"), robots("ai.txt")
        self._tdm = [(where, int(value), policy) for where, value, policy in files.get("tdmrep.json", ())]

    def robots(self, path: str) -> Said | None:
        return self._robots.says(path) if self._robots is not None else None

    def ai(self, path: str) -> Said | None:
        """A page has no suffix as a rule, so that a rule for `.html` or `.htm` files speaks of it as well."""
        if self._ai is None:
            return None
        plain = path.partition("?")[0]
        bare = "." not in plain.rpartition("/")[2]
        return self._ai.says(path) or (
            (self._ai.says(plain.rstrip("/") + "/index.html") or self._ai.says(plain.rstrip("/") + "/index.htm"))
            if bare
            else None
        )

    def tdm(self, path: str) -> tuple[int, str, str | None] | None:
        """(reservation, location, policy) of the first rule that matches."""
        plain = path.partition("?")[0]
        return next(((value, where, policy) for where, value, policy in self._tdm if matches(where, plain)), None)
