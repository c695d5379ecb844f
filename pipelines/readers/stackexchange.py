"""Stack Exchange dumps (`Posts.xml` of a site) to documents: one a question, its answers by score.

    Q: title body

    A: the answer with the highest score

    A: the next

which is RedPajama-V1's shape (data_prep/stack_exchange).  `meta` holds what another shape needs: `posts` is a JSON list
with the place of each post in the text.  Users appear as numbers in the order in which they speak, never by name.

A question and its answers stand far apart in the file, so that it is read twice: first for numbers alone (64 bytes a
post of the unit's range and its answers), then for the posts of some questions at a time.
"""

from __future__ import annotations

import dataclasses
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from licenses.identifiers import sha256_hex, swhid_content
from pipelines.readers.limits import Limits
from pipelines.readers.records import Document, Dropped, Item, Refused, Rejected, safe_meta, safe_text
from pipelines.readers.stackexchange_archive import ArchiveMember, archive_members
from pipelines.readers.stackexchange_html import post_text
from pipelines.readers.stackexchange_index import ANSWER, QUESTION, Index, Posts, build_index
from pipelines.readers.streams import compression

if TYPE_CHECKING:
    from pipelines.readers.files import Files, Found
    from pipelines.readers.reading import Reading
    from pipelines.readers.units import Source, UnitFile

# Bytes of a range.  Every range reads the numbers of the whole file, at 160 MB/s (measured), so there are at most 64.
RANGE_BYTES = 64 << 20
MAX_RANGES = 64
# Bytes of the posts that are held at once; a compressed file is inflated once for each as many.
WINDOW_BYTES = 16 << 20
PACKED_WINDOW_BYTES = 256 << 20

_SITE = re.compile(r"(?:^|/)((?:[a-z0-9-]+\.)+(?:com|net|org))(?=[-_/.]|$)")


def read_questions(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """Locator: `name#question id`; of a post that became no part of a document `name#its id`, else `name@byte`."""
    name = file.name
    unit = reading.unit
    site = reading.options["site"] or site_of(name)
    member = None
    if name.lower().endswith(".7z"):
        try:
            member = _posts_member(raw, reading.limits)
        except Refused as refused:
            yield refused.at(name)
            return
        if member is None:
            yield Dropped(name, "other_file")
            return
        name = f"{name}!{safe_text(member.name)[0]}"
    posts = Posts(raw, compression(name), reading.limits, member)
    index = build_index(posts, unit.start, unit.stop)
    if index.problem and not index.rows:
        if unit.start == 0:
            yield index.problem.at(name)
        return
    maker = ThreadMaker(
        name, unit.source, unit.document_kind or "conversation", site,
        reading.options["min_question_score"], reading.options["min_answer_score"], reading.options["min_answers"],
        reading.limits,
    )  # fmt: skip
    window = PACKED_WINDOW_BYTES if posts.packed else WINDOW_BYTES
    for rows in _windows(index, window, reading.limits):
        wanted = {place for row in rows if _is_read(row, index, reading.limits) for place in index.thread(row)}
        try:
            texts = posts.fetch(sorted(wanted))
        except Refused as refused:  # the file is not what it was in the first pass
            yield refused.at(f"{name}@{index.offsets[rows[0]]}")
            return
        for row in rows:
            yield from _row_items(row, index, texts, maker)
    if index.problem:
        yield index.problem.at(f"{name}@end")


def _posts_member(raw: BinaryIO, limits: Limits) -> ArchiveMember | None:
    """Raises Refused; 'unsupported' where the archive must be unpacked by other means."""
    try:
        members = archive_members(raw, limits)
        member = next((m for m in members if m.name.replace("\\", "/").rpartition("/")[2].lower() == "posts.xml"), None)
        if member is not None:
            member.open(raw, limits)
    except Refused as refused:
        if refused.error != "unsupported":
            raise
        raise Refused("unsupported", f"{refused.message}: unpack it first (`7z x`, or py7zr)") from refused
    return member


def site_of(name: str) -> str | None:
    """The site that a file's name in the source tells: `math.stackexchange.com/Posts.xml`."""
    found = _SITE.findall(name.lower())
    return found[-1] if found else None


def _is_read(row: int, index: Index, limits: Limits) -> bool:
    return bool(index.kinds[row] == QUESTION) and index.thread_bytes(row) <= limits.max_item_bytes


def _windows(index: Index, window: int, limits: Limits) -> Iterator[list[int]]:
    """Runs of rows whose threads hold about `window` bytes together."""
    rows: list[int] = []
    held = 0
    for row in range(index.rows):
        size = index.thread_bytes(row) if _is_read(row, index, limits) else 0
        if rows and held + size > window:
            yield rows
            rows, held = [], 0
        rows.append(row)
        held += size
    if rows:
        yield rows


def _row_items(row: int, index: Index, texts: dict[tuple[int, int], bytes], maker: ThreadMaker) -> Iterator[Item]:
    problem = index.problems.get(row)
    number = int(index.ids[row])
    if problem is not None:
        yield problem.at(f"{maker.name}@{index.offsets[row]}")
    elif index.kinds[row] == QUESTION:
        if index.thread_bytes(row) > maker.limits.max_item_bytes:
            message = (
                f"a question with answers of {index.thread_bytes(row)} bytes, more than {maker.limits.max_item_bytes}"
            )
            yield Rejected(f"{maker.name}#{number}", "too_large", message)
            yield from (Dropped(f"{maker.name}#{int(answer)}", "no_question") for answer in index.answer_ids(row))
        else:
            yield from maker.items([texts[place] for place in index.thread(row)])
    elif index.kinds[row] == ANSWER:
        if index.orphan(row):
            yield Dropped(f"{maker.name}#{number}", "no_question")
    else:
        yield Dropped(f"{maker.name}#{number}", "not_a_question")


@dataclasses.dataclass(slots=True)
class _Post:
    number: int
    score: int
    text: str
    attributes: dict[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class ThreadMaker:
    """Turns the rows of a question and its answers into one document, and items for posts left out."""

    name: str
    source: str
    kind: str
    site: str | None
    min_question_score: int | None
    min_answer_score: int | None
    min_answers: int
    limits: Limits

    def items(self, rows: list[bytes]) -> Iterator[Item]:
        """The question's row, then those of its answers; each row's post ends in the document or as an item."""
        question, *others = [self._post(row) for row in rows]
        answers = sorted((a for a in others if isinstance(a, _Post)), key=lambda post: (-post.score, post.number))
        yield from (answer for answer in others if not isinstance(answer, _Post))
        reason = self._reason(question, answers)
        if isinstance(question, _Post) and reason is None:
            kept = [answer for answer in answers if self._answer_reason(answer) is None]
            yield self._document(question, kept, b"\n".join(rows))
            left_out = [(answer, self._answer_reason(answer)) for answer in answers]
        else:
            yield question if not isinstance(question, _Post) else Dropped(self._place(question), reason or "empty")
            left_out = [(answer, "no_question") for answer in answers]
        yield from (Dropped(self._place(answer), why) for answer, why in left_out if why is not None)

    def _place(self, post: _Post) -> str:
        return f"{self.name}#{post.number}"

    def _post(self, row: bytes) -> _Post | Rejected:
        """Raises nothing: a row that the index took for a post has a number."""
        try:
            attributes = dict(ET.fromstring(row if row.endswith(b"/>") else row + b"</row>").attrib)
        except (ET.ParseError, ValueError, LookupError) as error:
            match = re.search(rb"""\sId\s*=\s*["'](\d+)""", row)
            number = match[1].decode() if match else "?"
            return Rejected(f"{self.name}#{number}", "broken_record", f"a post that is no XML: {error}")
        score = attributes.get("Score", "0")
        number = int(attributes["Id"])
        if not re.fullmatch(r"-?\d{1,10}", score):
            return Rejected(f"{self.name}#{number}", "broken_record", f"score {score[:40]!r} is no number")
        return _Post(number, int(score), post_text(attributes.get("Body", "")), attributes)

    def _reason(self, question: _Post | Rejected, answers: list[_Post]) -> str | None:
        if not isinstance(question, _Post):
            return None
        if not question.text and not question.attributes.get("Title", "").strip():
            return "empty"
        if self.min_question_score is not None and question.score < self.min_question_score:
            return "low_score"
        kept = sum(self._answer_reason(answer) is None for answer in answers)
        return "few_answers" if kept < self.min_answers else None

    def _answer_reason(self, answer: _Post) -> str | None:
        if not answer.text:
            return "empty"
        return "low_score" if self.min_answer_score is not None and answer.score < self.min_answer_score else None

    def _document(self, question: _Post, answers: list[_Post], raw: bytes) -> Document:
        known = question.attributes
        title = " ".join(known.get("Title", "").split())
        pieces = [f"Q: {title} {question.text}".strip(), *(f"A: {answer.text}" for answer in answers)]
        accepted = known.get("AcceptedAnswerId", "")
        users: dict[str, int] = {}
        posts: list[dict[str, Any]] = []
        start = 0
        for post, piece in zip([question, *answers], pieces, strict=True):
            who = post.attributes.get("OwnerUserId") or post.attributes.get("OwnerDisplayName") or f"post {post.number}"
            posts.append({
                "id": post.number, "score": post.score, "start": start + 3, "stop": start + len(piece),
                "user": users.setdefault(who, len(users)), "created": post.attributes.get("CreationDate"),
                **({"accepted": True} if str(post.number) == accepted and post is not question else {}),
            })  # fmt: skip
            start += len(piece) + 2
        number = question.number
        return Document(
            locator=self._place(question), source=self.source, kind=self.kind, text=safe_text("\n\n".join(pieces))[0],
            url=f"https://{self.site}/questions/{number}" if self.site else None,
            timestamp=known.get("CreationDate"), mime="text/html", content_sha256=sha256_hex(raw),
            swhid=swhid_content(raw),
            meta=safe_meta({
                "title": title, "tags": ",".join(re.findall(r"[^<>|\s]+", known.get("Tags", ""))),
                "score": str(question.score), "answers": str(len(answers)), "site": self.site,
                "license": known.get("ContentLicense"), "posts": json.dumps(posts, separators=(",", ":")),
                "closed": known.get("ClosedDate"),
            }),
        )  # fmt: skip


def cuts(found: Found, source: Source, files: Files) -> list[dict[str, int | None]]:
    """Byte ranges of a large uncompressed file; none for others."""
    if compression(found.name) is not None or found.name.lower().endswith(".7z") or found.size <= RANGE_BYTES:
        return []
    width = max(RANGE_BYTES, -(-found.size // MAX_RANGES))
    edges = list(range(0, found.size, width))
    return [{"start": a, "stop": b} for a, b in zip(edges, [*edges[1:], None], strict=True)]
