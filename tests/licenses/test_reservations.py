"""Reservations of rights: robots.txt, TDM Reservation Protocol, ai.txt, headers and meta elements."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licenses.reservations import Reading, Reservation, directives_of, known_agents, training_agents
from licenses.reservations_hosts import (
    HostRules,
    Robots,
    _Rules,
    authority_of,
    matches,
    parse_robots,
    parse_tdmrep,
    parsed,
    path_of,
)
from licenses.reservations_marks import MAX_HOST_FILE, host_file, page_marks

READING = Reading()
AGENTS = frozenset(agent.lower() for agent in READING.agents)


def reserved(robots: str, url: str = "https://a.org/x", reading: Reading = READING, **files: str) -> Reservation | None:
    texts = {"robots.txt": robots, **{name.replace("_", "."): text for name, text in files.items()}}
    agents = {agent.lower() for agent in reading.agents}
    rules = {name: json.loads(json.dumps(parsed(name, text, agents))) for name, text in texts.items()}
    return reading.reservation(url, {}, HostRules(rules, reading.agents, reading.wildcard))


def test_agents_are_known_by_purpose_and_source() -> None:
    assert {"GPTBot", "CCBot", "Google-Extended", "anthropic-ai", "ClaudeBot"} <= set(training_agents())
    assert "ChatGPT-User" not in training_agents()
    assert all(agent.source.startswith("https://") for agent in known_agents())
    assert len({agent.name.lower() for agent in known_agents()}) == len(known_agents())
    assert {agent.purpose for agent in known_agents()} == {"training", "dataset", "search", "assistant"}


@pytest.mark.parametrize(
    ("robots", "directive", "agent"),
    [
        ("User-agent: GPTBot\nDisallow: /", "Disallow: /", "GPTBot"),
        ("user-agent:gptbot/1.0 (+x)\rdisallow:/x # why", "Disallow: /x", "GPTBot"),
        ("\ufeffUser-agent: CCBot\r\nUser-agent: other\r\nDisallow: /x$", "Disallow: /x$", "CCBot"),
        ("User-agent: *\nDisallow: /", "Disallow: /", "*"),
        ("User-agent: *\nDisallow:\nUser-agent: ClaudeBot\nDisallow: /*x", "Disallow: /*x", "ClaudeBot"),
        ("User-agent: Googlebot\nDisallow: /", None, None),
        ("User-agent: ChatGPT-User\nDisallow: /", None, None),
        ("User-agent: GPTBot\nDisallow: /y", None, None),
        ("User-agent: GPTBot\nDisallow: /\nAllow: /", None, None),  # of equal ones Allow
        ("User-agent: GPTBot\nAllow: /x\nDisallow: /", None, None),  # the longest
        ("Disallow: /", None, None),  # belongs to no group
        ("User-agent: GPTBot\nSitemap: https://a.org/s\nDisallow: /", "Disallow: /", "GPTBot"),
        ("User-agent: GPTBot\nAllow: /y\n\nUser-agent: GPTBot\nDisallow: /x", "Disallow: /x", "GPTBot"),  # merged
        ("User-agent: *\nContent-Signal: search=yes, ai-train=no\nAllow: /", "Content-Signal: ai-train=no", "*"),
        ("Content-Signal: ai-train = no", "Content-Signal: ai-train=no", "*"),
        ("User-agent: *\nContent-Signal: ai-train=yes", None, None),
        ("User-agent: *\nContent-Usage: /x train-ai=n\nAllow: /", "Content-Usage: train-ai=n", "*"),
        ("User-agent: *\nContent-Usage: /y train-ai=n\nAllow: /", None, None),
        ("<html>not found</html>", None, None),
        ("", None, None),
    ],
)
def test_robots_txt(robots: str, directive: str | None, agent: str | None) -> None:
    found = reserved(robots)
    assert (found.directive, found.agent) == (directive, agent) if found else (directive, agent) == (None, None)
    assert found is None or found.by == "robots.txt"


def test_a_group_of_its_own_stands_for_all_others() -> None:
    """RFC 9309, 2.2.1: `*` speaks only to those that have no group."""
    robots = "User-agent: *\nDisallow: /\n\n" + "".join(f"User-agent: {a}\n" for a in READING.agents) + "Allow: /\n"
    assert reserved(robots) is None
    only_one = "User-agent: *\nDisallow: /\nUser-agent: GPTBot\nAllow: /"
    assert reserved(only_one) == Reservation("robots.txt", "Disallow: /", "*")
    assert reserved(only_one, reading=Reading(agents=("GPTBot",))) is None
    assert reserved("User-agent: *\nDisallow: /", reading=Reading(wildcard=False)) is None


# RFC 9309, 2.2.3 and 5.1, and the table in Google's documentation of its parser.
@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/fish", "/fish.html", True),
        ("/fish", "/Fish.asp", False),
        ("/fish*", "/fishheads/yummy.html", True),
        ("/fish/", "/fish", False),
        ("/*.php", "/folder/filename.php?parameters", True),
        ("/*.php", "/windows.PHP", False),
        ("/*.php$", "/filename.php", True),
        ("/*.php$", "/filename.php?parameters", False),
        ("/*.php$", "/a.php/b.php", True),
        ("/fish*.php", "/fishheads/catfish.php?parameters", True),
        ("/a*b*c", "/abc", True),
        ("/a*b*c", "/acb", False),
        ("/x$", "/x", True),
        ("/a*a$", "/a", False),
        ("/**/", "/x/y", True),
        ("*", "/", True),
    ],
)
def test_patterns(pattern: str, path: str, expected: bool) -> None:
    assert matches(pattern, path) == expected


def plain_decision(rules: Iterable[tuple[bool, str]], path: str) -> bool:
    """Allowed? By the sentence of RFC 9309: the longest of the rules that match, and of equal ones Allow."""
    found = [(len(pattern), allow) for allow, pattern in rules if matches(pattern, path)]
    return max(found)[1] if found else True


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.text("ab*$/", min_size=1, max_size=5).map(lambda text: "/" + text))),
    st.text("ab/", max_size=6).map(lambda text: "/" + text),
)
def test_the_table_of_rules_decides_as_the_longest_match(rules: list[tuple[bool, str]], path: str) -> None:
    assert (_Rules(rules).disallows(path) is None) == plain_decision(rules, path)


@settings(max_examples=100, deadline=None)
@given(st.text("/*ab", max_size=8), st.booleans(), st.text("/ab", max_size=10))
def test_a_pattern_matches_as_its_regular_expression(pattern: str, anchored: bool, path: str) -> None:
    import re

    expression = ".*".join(map(re.escape, pattern.split("*"))) + ("$" if anchored else "")
    assert matches(pattern + "$" * anchored, path) == (re.match(expression, path) is not None)


def test_paths_are_compared_encoded() -> None:
    assert path_of("https://a.org") == "/"
    assert path_of("https://a.org/%7Ejoe/ü?q=a%2fb") == "/~joe/%C3%BC?q=a%2Fb"
    assert reserved("User-agent: GPTBot\nDisallow: /ü", "https://a.org/%c3%bcber")
    assert path_of("http://[broken") == "/"


def test_hosts_are_told_by_their_authority() -> None:
    assert authority_of("HTTPS://A.org:443/x") == authority_of("http://a.org./y") == "a.org"
    assert authority_of("http://a.org:8080/") == "a.org:8080"
    assert authority_of("ftp://a.org/") is authority_of(None) is authority_of("http://a.org:x/") is None
    assert host_file("https://a.org/robots.txt") == "robots.txt"
    assert host_file("http://a.org/.well-known/tdmrep.json") == "tdmrep.json"
    assert host_file("http://a.org/ai.txt") == "ai.txt"
    assert host_file("http://a.org/x/robots.txt") is host_file(None) is host_file("dns:robots.txt") is None


def test_tdm_rules_are_taken_in_order() -> None:
    text = json.dumps(
        [
            {"location": "/free/", "tdm-reservation": 0},
            {"location": "/*.pdf$", "tdm-reservation": "1"},
            {"location": "/", "tdm-reservation": 1, "tdm-policy": "https://a.org/policy"},
            {"location": "/z", "tdm-reservation": 2},
            {"no": "location"},
            7,
        ]
    )
    rules = HostRules({"tdmrep.json": parse_tdmrep(text)}, READING.agents)
    found = READING.reservation("https://a.org/page", {}, rules)
    assert found == Reservation("tdm", "tdmrep.json /", "*", "https://a.org/policy")
    assert READING.reservation("https://a.org/free/page", {}, rules) is None
    assert READING.reservation("https://a.org/free/x.pdf", {}, rules) is None
    # What is nearer to the page stands above the file.
    assert READING.reservation("https://a.org/page", {"tdm_reservation": "0"}, rules) is None
    assert READING.reservation("https://a.org/free/", {"tdm_reservation": "1", "tdm_policy": "u"}, rules) == (
        Reservation("tdm", "tdm-reservation: 1", "*", "u")
    )
    assert parse_tdmrep("no json") == parse_tdmrep("[" * 100_000) == parse_tdmrep("7") == []


def test_ai_txt_speaks_of_kinds_of_files() -> None:
    spawning = "# Spawning AI\nUser-Agent: *\nDisallow: *.txt\nDisallow: *.html\nAllow: *.jpg\n"
    found = reserved("", ai_txt=spawning)
    assert found == Reservation("ai.txt", "Disallow: *.html", "*")
    assert reserved("", "https://a.org/x/y.html", ai_txt=spawning)
    assert reserved("", "https://a.org/x.jpg", ai_txt=spawning) is None
    assert reserved("", ai_txt="User-Agent: *\nDisallow: *.jpg *.png\n") is None
    assert reserved("", "https://a.org/x.png", ai_txt="User-Agent: *\nDisallow: *.jpg *.png\n")
    assert reserved("", ai_txt="User-Agent: *\nDisallow: /\n")


def test_headers_speak_to_all_or_to_one() -> None:
    assert directives_of("unavailable_after: 1 Jan 2030 10:00:00 GMT, noai") == [
        (None, "unavailable_after: 1 jan 2030 10:00:00 gmt"),
        (None, "noai"),
    ]

    def by(line: str, reading: Reading = READING) -> tuple[str, str] | None:
        found = reading.reservation(None, {"x_robots_tag": line}, None)
        return None if found is None else (found.directive, found.agent)

    assert by("noindex, NoAI") == ("X-Robots-Tag: noai", "*")
    assert by("noimageai") == ("X-Robots-Tag: noimageai", "*")
    assert by("gptbot: noindex, noai") == ("X-Robots-Tag: noai", "GPTBot")
    assert by("somebot: noai") is None
    assert by("somebot: noai\nnoai") == ("X-Robots-Tag: noai", "*")
    assert by("noarchive") is None
    assert by("noarchive", Reading(directives=("noarchive",))) == ("X-Robots-Tag: noarchive", "*")
    assert by("noai", Reading(standards=("meta",))) is None


def test_marks_of_a_page() -> None:
    page = b"""<html><head><META content='noai, noimageai' name=robots>
        <meta name="GPTBot" content="noai"><meta name="robots" content="index">
        <meta name="tdm-reservation" content="1"><meta content="https://a.org/p" name="tdm-policy">
        <meta name="description" content="about noai"></head>"""
    marks = page_marks(page, {"tdm-reservation": "0", "x-robots-tag": "noindex"})
    assert marks == {
        "robots_meta": "robots: noai, noimageai\ngptbot: noai\ndescription: about noai",
        "tdm_reservation": "1",
        "tdm_policy": "https://a.org/p",
    }
    found = READING.reservation(None, {"robots_meta": marks["robots_meta"]}, None)
    assert found == Reservation("meta", "meta: noai", "*")
    assert READING.reservation(None, {"robots_meta": "description: about noai"}, None) is None
    assert page_marks(b"<p>we support tdm-reservation and noai</p>", {}) == {}
    assert page_marks(b"", {"x-robots-tag": "noai", "tdm-reservation": "1"}) == {
        "x_robots_tag": "noai",
        "tdm_reservation": "1",
    }


def test_wrong_choices_are_named() -> None:
    with pytest.raises(ValueError, match="directives: 'noia' is not one of noai"):
        Reading(directives=("noia",))
    with pytest.raises(ValueError, match="standards: 'robots' is not one of tdm"):
        Reading(standards=("robots",))
    with pytest.raises(ValueError, match="agents"):
        Reading(agents=())


def test_files_are_read_to_their_limit() -> None:
    late = "#" * MAX_HOST_FILE + "\nUser-agent: GPTBot\nDisallow: /"
    assert reserved(late) is None
    assert reserved("#" * (MAX_HOST_FILE - 40) + "\nUser-agent: GPTBot\nDisallow: /")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300), st.text(max_size=30))
def test_any_text_is_read(text: str, path: str) -> None:
    for standard in ("robots.txt", "ai.txt", "tdmrep.json"):
        rules = HostRules({standard: parsed(standard, "user-agent: *\ndisallow:" + text, AGENTS)}, READING.agents)
        READING.reservation("https://a.org/" + path, {"x_robots_tag": text, "robots_meta": text}, rules)
    page_marks(text.encode(), {"x-robots-tag": text})


def hostile_files(size: int) -> list[str]:
    return [
        "User-agent: GPTBot\n" * (size // 19),
        "User-agent: *\n" + "Disallow: /*a\n" * (size // 14),
        "User-agent: *\n" + "".join(f"Disallow: /{i}\n" for i in range(size // 16)),
        "User-agent: *\nDisallow: /" + "*a" * (size // 2),
        "x" * size,
        "\r" * size,
        ":" * size,
        "User-agent: *\nDisallow: /" + "%41" * (size // 3),
    ]


def test_hostile_files_take_linear_time() -> None:
    path = "https://a.org/" + "b" * 4000

    def seconds(size: int) -> list[float]:
        times = []
        for text in hostile_files(size):
            start = time.process_time()
            reserved(text, path)
            times.append(time.process_time() - start)
        return times

    seconds(1000)
    # The best of three: other processes share the cores.
    small, large = (list(map(min, zip(*(seconds(size) for _ in range(3)), strict=True))) for size in (60_000, 480_000))
    for name, few, many in zip("abcdefgh", small, large, strict=True):
        assert many < 24 * max(few, 0.003), name


def test_several_groups_are_asked_in_order() -> None:
    robots = Robots(parse_robots("User-agent: CCBot\nUser-agent: GPTBot\nDisallow: /"), ("GPTBot", "CCBot"))
    said = robots.says("/x")
    assert said is not None and said.agent == "GPTBot"
