"""Hostile texts of one kind of byte: time per byte stays bounded, and does not grow with length."""

from __future__ import annotations

import time

import pytest

from pii import detect, load_policy, redact

UNITS = [
    "a@",
    "a@b.",
    "@",
    "@.",
    "1",
    "1.",
    "1-",
    "1 ",
    ".",
    ":",
    "-",
    "a:",
    "::1",
    "1:",
    "(1",
    "+1",
    "+1 ",
    "A",
    "Ab1",
    "A1+/",
    "eyJ",
    "eyJ.",
    "eyJabcdefghi.",
    "-----BEGIN ",
    "-----BEGIN RSA PRIVATE KEY-----\n",
    "key=",
    'key="',
    "key=a1",
    'password="aA1!',
    "tel ",
    "phone: ",
    "call me at ",
    "1234567 ",
    "4111 ",
    "4111111111111111",
    "255.",
    "1.2.3.4 ",
    "GB82",
    "GB82 WEST 1234 5698 7654 32 ",
    "sk-",
    "-us1",
    "ghp_",
    "xoxb-",
    "AKIA",
    "0a",
    "a1b2c3d4e5f6",
    "é",
    "é@é.",
    "\x01",
    "<EMAIL>",
    "http://a:bcdef@",
    "\\n",
    "555-1234-",
    "(212) 555-0123 ",
    "01 23 45 67 ",
    "2021-01-01 ",
    "abcd:",
    "fe80::1 ",
    "=",
    "= ",
    '"',
    "+49 30 1234567 ",
    "a.b.c@",
    "me ",
]
SECONDS_PER_MB = 8.0  # the slowest takes 1-2 s on an idle core; quadratic work on 1 MB takes minutes


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    detect("x bob@example.com +1 212 555 0123 ghp_ é")


@pytest.mark.parametrize("unit", UNITS)
def test_time_is_linear(unit: str) -> None:
    small, large = (unit * (size // len(unit) + 1) for size in (60_000, 240_000))

    def seconds(text: str) -> float:
        """The least of three: a collection of garbage may fall into one."""
        times = []
        for _ in range(3):
            start = time.process_time()
            detect(text)
            times.append(time.process_time() - start)
        return min(times)

    of_small, of_large = seconds(small), seconds(large)
    assert of_large < SECONDS_PER_MB * 0.24
    # Four times the text; a fixed part of 20 ms evens out the clock's steps.
    assert of_large < 10 * of_small + 0.25


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
def test_one_megabyte(unit: str) -> None:
    text = unit * (1_000_000 // len(unit) + 1)
    start = time.process_time()
    spans = detect(text)
    redact(text, spans, load_policy("default"))
    assert time.process_time() - start < SECONDS_PER_MB
