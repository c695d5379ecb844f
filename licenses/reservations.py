"""Whether the rights in a page are reserved against training, by every standard with which a site can say so.

A reservation is asked for in this order, and the first that is found is named: TDM Reservation Protocol, X-Robots-Tag,
meta robots, ai.txt, robots.txt.  docs/reservations.md has a table of what each says and how it is read.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Collection, Mapping
from functools import lru_cache
from importlib import resources

from licenses.reservations_hosts import ANY, HostRules, path_of
from licenses.reservations_marks import DIRECTIVES, ROBOTS_META, TDM, TDM_POLICY, X_ROBOTS_TAG

STANDARDS = ("tdm", "header", "meta", "ai.txt", "robots.txt")
# Purposes in data/ai_agents.csv whose agents collect texts for training; others fetch for search or for one question.
TRAINING_PURPOSES = ("training", "dataset")
# noarchive and nocache speak of a cache first: they are read where they are asked for.
DEFAULT_DIRECTIVES = ("noai", "noimageai")
# Directives of X-Robots-Tag that have a value behind a colon, as a crawler's name has.
_VALUED = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")
# Names that speak to all crawlers.
_GENERAL = ("robots", ANY)


@dataclasses.dataclass(frozen=True, slots=True)
class Agent:
    name: str
    operator: str
    purpose: str
    source: str


@lru_cache(maxsize=1)
def known_agents() -> tuple[Agent, ...]:
    """Agents of AI companies and of makers of data sets (data/ai_agents.csv), in the order in which they are asked."""
    text = resources.files("licenses").joinpath("data", "ai_agents.csv").read_text(encoding="utf-8")
    return tuple(
        Agent(row["agent"], row["operator"], row["purpose"], row["source"]) for row in csv.DictReader(text.splitlines())
    )


def training_agents() -> tuple[str, ...]:
    return tuple(agent.name for agent in known_agents() if agent.purpose in TRAINING_PURPOSES)


@dataclasses.dataclass(frozen=True, slots=True)
class Reservation:
    """by: one of STANDARDS.  directive: the line or mark.  agent: whom it names, `*` for all.  policy: a URL with the
    terms, if one is given."""

    by: str
    directive: str
    agent: str = ANY
    policy: str | None = None


@dataclasses.dataclass(frozen=True)
class Reading:
    """Which reservations count.

    agents      robots.txt, ai.txt, headers and meta elements that name one of them
    wildcard    whether rules for all crawlers (`*`) of robots.txt and ai.txt count for an agent without its own
    directives  of X-Robots-Tag and meta robots, among DIRECTIVES
    standards   among STANDARDS
    """

    agents: tuple[str, ...] = dataclasses.field(default_factory=training_agents)
    wildcard: bool = True
    directives: tuple[str, ...] = DEFAULT_DIRECTIVES
    standards: tuple[str, ...] = STANDARDS

    def __post_init__(self) -> None:
        for name, found, allowed in (
            ("directives", self.directives, DIRECTIVES),
            ("standards", self.standards, STANDARDS),
        ):
            unknown = [each for each in found if each not in allowed]
            if unknown:
                raise ValueError(f"{name}: {unknown[0]!r} is not one of {', '.join(allowed)}")
        if not self.agents:
            raise ValueError("agents: at least one is needed")

    def reservation(self, url: str | None, marks: Mapping[str, str], host: HostRules | None) -> Reservation | None:
        """Of a page: marks are its `meta` (`reservations_marks.page_marks`), host what its host's files say."""
        path = path_of(url) if url else "/"
        for standard in STANDARDS:
            if standard in self.standards:
                found = self._by(standard, path, marks, host)
                if found is not None:
                    return found
        return None

    def _by(self, standard: str, path: str, marks: Mapping[str, str], host: HostRules | None) -> Reservation | None:
        if standard == "tdm":
            return _tdm(path, marks, host)
        if standard == "header":
            return self._marked("header", "X-Robots-Tag", marks.get(X_ROBOTS_TAG))
        if standard == "meta":
            return self._marked("meta", "meta", marks.get(ROBOTS_META))
        if host is None:
            return None
        said = host.ai(path) if standard == "ai.txt" else host.robots(path)
        return None if said is None else Reservation(standard, said.directive, said.agent)

    def _marked(self, by: str, shown: str, lines: str | None) -> Reservation | None:
        agents = {agent.lower(): agent for agent in self.agents}
        for line in (lines or "").split("\n"):
            for agent, directive in directives_of(line):
                whom = ANY if agent in (None, *_GENERAL) else agents.get(agent or "")
                if whom is not None and directive in self.directives:
                    return Reservation(by, f"{shown}: {directive}", whom)
        return None


def directives_of(line: str) -> list[tuple[str | None, str]]:
    """(agent in lower case or None, directive in lower case) of a header line, or of `name: content` of an element."""
    found = []
    agent: str | None = None
    for part in line.lower().split(","):
        name, colon, rest = part.partition(":")
        if colon and name.strip() not in _VALUED:
            agent, part = name.strip(), rest
        if part.strip():
            found.append((agent, part.strip()))
    return found


def _tdm(path: str, marks: Mapping[str, str], host: HostRules | None) -> Reservation | None:
    """What the page or its header says stands above the file of the host (TDM Reservation Protocol, priorities)."""
    own = marks.get(TDM, "").strip()
    if own in ("0", "1"):  # other values are errors and count as unset
        return Reservation("tdm", "tdm-reservation: 1", ANY, marks.get(TDM_POLICY)) if own == "1" else None
    found = host.tdm(path) if host is not None else None
    if found is None or not found[0]:
        return None
    return Reservation("tdm", f"tdmrep.json {found[1]}", ANY, found[2])


def lower(agents: Collection[str]) -> frozenset[str]:
    return frozenset(agent.lower() for agent in agents)
