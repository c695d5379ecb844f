"""What a shape is: documents that belong together become one text in the form that a model was trained on."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol


@dataclasses.dataclass(frozen=True, slots=True)
class Shaped:
    """A document for training.

    text   without an end-of-document token: that is of the tokeniser, and packing writes it
    meta   what was chosen and counted on the way
    kind   of the new document
    """

    text: str
    meta: dict[str, str]
    kind: str


@dataclasses.dataclass(frozen=True, slots=True)
class Dropped:
    """Nothing is made; the reason is one of REASONS."""

    reason: str

    def __post_init__(self) -> None:
        if self.reason not in REASONS:
            raise ValueError(f"reason {self.reason!r} is none of REASONS")


class Shape(Protocol):
    """Rows are mappings with the columns of DOCUMENT_SCHEMA; `meta` is a mapping.  Shapes are pure and picklable.

    A shape may have `check()`, which raises ImportError where what it needs is not installed.
    """

    @property
    def name(self) -> str:
        """`family_what@version`.  What a released name makes never changes."""

    def key(self, row: Mapping[str, Any]) -> str | None:
        """What the row belongs to (a repository, a thread); None: it is shaped alone."""

    def order(self, row: Mapping[str, Any]) -> Any:
        """Its place among what belongs together: a total order, as what JSON can hold."""

    def make(self, rows: Sequence[Mapping[str, Any]], seed: int) -> Shaped | Dropped:
        """The rows of one key, in order.  Every random choice follows from the key and the seed."""


# Why nothing is made.  Sentences for people; the words stand in the books of a run.
REASONS: dict[str, str] = {
    "bad_json": "the document is no JSON object of the fields that the shape reads",
    "bot_issue": "only bots spoke",
    "bot_opened": "a bot opened it",
    "diff_too_large": "comparing the versions of a file would take too long",
    "empty": "no text is left",
    "indentation": "a line of a notebook begins with too much whitespace to be written as a script",
    "large_change": "sampled out: 200 changed lines and more",
    "long_subject_words": "words of the subject have more than 20 characters",
    "many_files": "a commit that changes several files, or none",
    "many_users": "names times characters are more than the replacement may cost",
    "no_base": "no version of the code before the change is known",
    "no_code": "no code",
    "no_human_reply": "only its author or bots spoke",
    "no_opening": "the event that opened it is missing",
    "no_pairs": "the cells of the notebook cannot be paired",
    "no_representation": "no intermediate representation, and it cannot be made",
    "not_of_shape": "the document is not what the shape is for",
    "not_python": "the metadata of the notebook do not speak of Python",
    "one_user": "one user, and too long or too many events for a monologue",
    "rebased": "more than one base",
    "render_error": "a rule on titles, texts or sizes refused it",
    "repository_sample": "sampled out: large repositories give few pull requests",
    "sampled_out": "sampled out: files of data",
    "short": "too short",
    "short_subject": "sampled out: less than five words of subject",
    "small_change": "sampled out: two changed lines and less",
    "subject": "a subject that says nothing",
    "syntax": "no valid Python",
    "too_large": "longer than the shape takes",
    "unknown_extension": "no extension of a known language",
    "unmerged": "neither merged nor approved",
}


class Chance(Protocol):
    """Where random choices come from: `Draws`, or numpy's RandomState as the references use it."""

    def random(self) -> float:
        """Uniform in [0, 1)."""

    def randint(self, low: int, high: int) -> int:
        """Uniform in [low, high)."""


class Draws:
    """Numbers that follow from a key and a seed: BLAKE2b of both and of how many were drawn before.

    53 bits each, so that random() is as fine as numpy's.
    """

    def __init__(self, key: str, seed: int) -> None:
        self._state = hashlib.blake2b(f"{seed}\0{key}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
        self._drawn = 0

    def random(self) -> float:
        block = hashlib.blake2b(self._drawn.to_bytes(8, "little"), key=self._state, digest_size=8).digest()
        self._drawn += 1
        return float((int.from_bytes(block, "little") >> 11) * 2.0**-53)

    def randint(self, low: int, high: int) -> int:
        return low + int(self.random() * (high - low))


def meta_of(row: Mapping[str, Any]) -> Mapping[str, str]:
    """`meta` of a row, also where it came as pairs or is missing."""
    meta = row.get("meta")
    if not meta:
        return {}
    return meta if isinstance(meta, Mapping) else dict(meta)


def whole_number(text: Any) -> int | None:
    """A count as text or number (`12`, `12.0`); None where it is none."""
    try:
        return None if text is None or isinstance(text, bool) else int(float(text))
    except (ValueError, OverflowError):
        return None


@dataclasses.dataclass(frozen=True)
class Alone:
    """A shape of single documents; `draws` of the document's id."""

    def key(self, row: Mapping[str, Any]) -> str | None:
        return None

    def order(self, row: Mapping[str, Any]) -> Any:
        return []

    def draws(self, row: Mapping[str, Any], seed: int) -> Draws:
        return Draws(str(row.get("doc_id")), seed)
