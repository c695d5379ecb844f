"""Who speaks: bots by their names, and names that become numbers.

References: bigcode-project/bigcode-dataset @ bebec92, preprocessing/utils/utils_issues.py (issues), and
bigcode-project/the-stack-v2 @ 9172041, pull_requests_and_issues/util.py and process_pr_events.py (pull requests).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

# The 16 names, keywords and endings of both references.
BOT_NAMES = frozenset(
    "Apache-HBase AutorestCI CLAassistant cmsbuild codecov-io codecov-commenter coveralls danger-public dnfclas "
    "msftclas PyDocTeur SparkQA karma-pr-reporter claassistantio probot-stale".split()
)
BOT_KEYWORDS = ("[bot]", "botmanager", "bors-", "jenkins", "k8s-", "-test-", "travis")
BOT_ENDINGS = tuple(
    "-automaton -automation -benchmark -build -deployer -cloud bot -ci -linter -teamcity -test -testing "
    "-Service-Account".split()
)
_FOLDED_NAMES = frozenset(name.lower() for name in BOT_NAMES)
_FOLDED_ENDINGS = tuple(ending.lower() for ending in BOT_ENDINGS)

# The replacement of names as the references do it costs names times characters; beyond this (some seconds) it is
# refused.  No real thread comes near: a public host closes a thread at 2,500 comments.
MAX_REPLACEMENT_COST = 2 << 30

# A login and what may not stand beside it: letters, digits, `_` and hyphens belong to the word.
_WORD = re.compile(r"@?[\w-]+(?:\[bot\])?")


class ManyUsersError(ValueError):
    """Names times characters are above MAX_REPLACEMENT_COST."""


def is_issue_bot(name: str) -> bool:
    """As the issues of StarCoder: keywords and endings are compared with the name in small letters, so that the ending
    `-Service-Account` is never met; the names as they are written."""
    small = name.lower()
    return any(word in small for word in BOT_KEYWORDS) or small.endswith(BOT_ENDINGS) or name in BOT_NAMES


def is_pull_request_bot(name: str | None) -> bool:
    """As the pull requests of StarCoder2: all as it is written; nobody is a bot."""
    return name is None or name in BOT_NAMES or any(word in name for word in BOT_KEYWORDS) or name.endswith(BOT_ENDINGS)


def is_bot(name: str | None) -> bool:
    """`gristmill@1`: names, keywords and endings in any case."""
    if name is None:
        return True
    small = name.lower()
    return small in _FOLDED_NAMES or any(word in small for word in BOT_KEYWORDS) or small.endswith(_FOLDED_ENDINGS)


def numbered(names: Iterable[str]) -> dict[str, str]:
    """name -> `username_n`, n in order of the first appearance."""
    return {name: f"username_{i}" for i, name in enumerate(dict.fromkeys(names))}


def check_cost(names: int, chars: int) -> None:
    if names * chars > MAX_REPLACEMENT_COST:
        raise ManyUsersError(f"{names} names in {chars} characters")


def replace_names(text: str, names: Mapping[str, str]) -> str:
    """As the references: each name after the other, wherever its letters stand, also in words and in numbers that were
    written before.  Cost: names x characters."""
    for old, new in names.items():
        if old in text:
            text = text.replace(old, new)
    return text


def mask_names(text: str, names: Mapping[str, str]) -> str:
    """`gristmill@1`: whole words only, in one pass; with `@` in any case (hosts do not tell cases apart), else as the
    name is written."""
    return names_masker(names)(text)


class names_masker:
    """mask_names for many texts."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = dict(names)
        self._folded: dict[str, str] = {}
        for name, number in names.items():
            self._folded.setdefault(name.lower(), number)

    def __call__(self, text: str) -> str:
        return _WORD.sub(self._masked, text)

    def _masked(self, found: re.Match[str]) -> str:
        word = found.group()
        if word[0] == "@":
            # `@alice-` is a mention and a hyphen: a login does not end in one.
            name = word[1:].rstrip("-_")
            number = self._folded.get(word[1:].lower())
            if number is not None:
                return "@" + number
            number = self._folded.get(name.lower())
            return word if number is None else "@" + number + word[1 + len(name) :]
        number = self._names.get(word)
        return word if number is None else number


def speakers(events: Sequence[Mapping[str, object]], field: str) -> list[str]:
    """The names in `field`, of those events that have one."""
    return [str(event[field]) for event in events if event.get(field) is not None]
