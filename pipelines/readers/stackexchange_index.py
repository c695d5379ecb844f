"""Where the posts of a Stack Exchange dump stand: numbers alone, whatever the size of the texts.

A `<` cannot stand in an attribute of XML, so that a row ends before the next one, and no parser is needed to find it.
"""

from __future__ import annotations

import dataclasses
import io
import re
from array import array
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipelines.readers.limits import Limits
from pipelines.readers.records import Refused
from pipelines.readers.stackexchange_archive import ArchiveMember
from pipelines.readers.streams import inflated

QUESTION, ANSWER, OTHER, BROKEN = 1, 2, 3, 0

_BLOCK = 1 << 20
_ROW_START = re.compile(rb"<row(?=[\s/>])")
_ATTRIBUTE = re.compile(rb"""\s([A-Za-z]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_NUMBERS = frozenset((b"Id", b"PostTypeId", b"ParentId"))
_NUMBER = re.compile(rb"\d{1,18}")
_ROOT = re.compile(rb"<posts[\s/>]")
_ROOT_END = re.compile(rb"</posts\s*>|<posts\s*/>")
# The head of a dump has 60 bytes: the declaration and <posts>.
_HEAD_BYTES = 1 << 12


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One `<row ...>` and where it stands in the uncompressed file."""

    offset: int
    data: bytes | Refused


class Posts:
    """The rows of a file, in order or by place.  A compressed file is inflated from its beginning each time.

    kind: gzip, bz2, xz, zstd or None; member: of a .7z archive, in place of the file.
    """

    def __init__(self, raw: BinaryIO, kind: str | None, limits: Limits, member: ArchiveMember | None = None) -> None:
        self.packed = kind is not None or member is not None
        self._kind = kind
        self._member = member
        self._raw = raw
        self._limits = limits

    def head(self) -> bytes:
        """Raises Refused."""
        return self._stream().read(_HEAD_BYTES)

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        """The rows that start in [start, stop); what the data ends in is the last one, of a place of -1.

        Memory: one row (at most `max_item_bytes`) and one block.
        """
        if not self.packed:
            self._raw.seek(start)
        stream = self._stream() if self.packed else None
        buffer = bytearray()
        passed = start
        ended = False
        while True:
            refused = None
            try:
                # read1: where the data ends in damage, what stands before it is had.
                block = self._raw.read(_BLOCK) if stream is None else stream.read1(_BLOCK)
            except Refused as error:
                block, refused = b"", error
            buffer += block
            done = 0
            for match in _ROW_START.finditer(buffer):
                first = match.start()
                if stop is not None and passed + first >= stop:
                    return
                end = buffer.find(b"<", max(match.end(), len(buffer) - len(block) if not done else 0))
                if end < 0 and block and len(buffer) - first <= self._limits.max_item_bytes:
                    done = first
                    break
                data = bytes(buffer[first : end if end >= 0 else len(buffer)]).rstrip()
                yield Row(passed + first, self._checked(data))
                done = end if end >= 0 else len(buffer)
            else:
                tail = max(done, len(buffer) - len(b"</posts   >"))
                ended = ended or _ROOT_END.search(buffer, done) is not None
                done = len(buffer) if not block else max(done, tail)
            passed += done
            del buffer[:done]
            if stop is not None and passed >= stop:
                return
            if refused is not None:
                yield Row(-1, refused)
                return
            if not block:
                if not ended and stop is None:
                    yield Row(-1, Refused("truncated", "the dump ends without </posts>"))
                return

    def _checked(self, data: bytes) -> bytes | Refused:
        if len(data) > self._limits.max_item_bytes:
            return Refused("too_large", f"a post of more than {self._limits.max_item_bytes} bytes")
        if not data.endswith(b">"):
            return Refused("truncated", "a post without end")
        return data

    def fetch(self, places: list[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """The bytes at ascending (offset, length); raises Refused if the file is another one than before."""
        found: dict[tuple[int, int], bytes] = {}
        stream = self._stream() if self.packed else None
        position = 0
        for offset, length in places:
            if stream is None:
                self._raw.seek(offset)
                data = self._raw.read(length)
            else:
                while position < offset and (skipped := stream.read(min(_BLOCK, offset - position))):
                    position += len(skipped)
                data = stream.read(length)
                position += len(data)
            if len(data) < length:
                raise Refused("truncated", f"the post at byte {offset} was there before, and is no longer")
            found[offset, length] = data
        return found

    def _stream(self) -> io.BufferedReader:
        if self._member is not None:
            return self._member.open(self._raw, self._limits)
        self._raw.seek(0)
        return inflated(self._raw, self._kind, self._limits)


Ints = NDArray[np.int64]


@dataclasses.dataclass(slots=True)
class Index:
    """The rows of a range, and the answers to its questions wherever they stand."""

    offsets: Ints
    lengths: Ints
    ids: Ints
    kinds: Ints
    parents: Ints
    problems: dict[int, Refused]
    problem: Refused | None  # with the file
    answers: tuple[Ints, Ints, Ints, Ints]  # by parent: parents, offsets, lengths, ids
    known_parents: Ints  # sorted: which questions of the file the range's answers may belong to

    @property
    def rows(self) -> int:
        return len(self.ids)

    def _answers(self, row: int) -> slice:
        parent = self.ids[row]
        first, last = np.searchsorted(self.answers[0], (parent, parent + 1))
        return slice(int(first), int(last))

    def thread(self, row: int) -> list[tuple[int, int]]:
        """(offset, length) of a question and of its answers in the order of the file."""
        at = self._answers(row)
        own = (int(self.offsets[row]), int(self.lengths[row]))
        return [own, *zip(self.answers[1][at].tolist(), self.answers[2][at].tolist(), strict=True)]

    def thread_bytes(self, row: int) -> int:
        return int(self.lengths[row]) + int(self.answers[2][self._answers(row)].sum())

    def answer_ids(self, row: int) -> list[int]:
        return self.answers[3][self._answers(row)].tolist()

    def orphan(self, row: int) -> bool:
        """True for an answer whose question is not in the file."""
        at = np.searchsorted(self.known_parents, self.parents[row])
        return bool(at == len(self.known_parents) or self.known_parents[at] != self.parents[row])


class _Columns:
    def __init__(self) -> None:
        self.columns = tuple(array("q") for _ in range(5))

    def add(self, *values: int) -> None:
        for column, value in zip(self.columns, values, strict=True):
            column.append(value)

    def arrays(self) -> list[Ints]:
        return [np.frombuffer(column, dtype=np.int64) if column else np.zeros(0, np.int64) for column in self.columns]


def build_index(posts: Posts, start: int, stop: int | None) -> Index:
    """Reads the file once; a range of it twice."""
    none = np.zeros(0, np.int64)
    nothing = Index(none, none, none, none, none, {}, None, (none, none, none, none), none)
    try:
        head = posts.head()
    except Refused as refused:
        nothing.problem = refused
        return nothing
    if not _ROOT.search(head):
        nothing.problem = Refused("broken_record", "no dump of posts: its beginning holds no <posts> element")
        return nothing
    own = _Columns()
    problems: dict[int, Refused] = {}
    problem: Refused | None = None
    for row in posts.rows(start, stop):
        if row.offset < 0:
            assert isinstance(row.data, Refused)
            problem = row.data
            continue
        numbers = row.data if isinstance(row.data, Refused) else post_numbers(row.data)
        if isinstance(numbers, Refused):
            problems[len(own.columns[0])] = numbers
            own.add(row.offset, 0, -1, BROKEN, -1)
        else:
            assert isinstance(row.data, bytes)
            own.add(row.offset, len(row.data), *numbers)
    offsets, lengths, ids, kinds, parents = own.arrays()
    is_answer = kinds == ANSWER
    questions = np.sort(ids[kinds == QUESTION])
    answers = [parents[is_answer], offsets[is_answer], lengths[is_answer], ids[is_answer]]
    known = questions
    if start or stop is not None:
        elsewhere, there = _elsewhere(posts, start, stop, questions, np.unique(parents[is_answer]))
        answers = [np.concatenate(pair) for pair in zip(answers, elsewhere, strict=True)]
        known = np.union1d(questions, there)
    mine = np.isin(answers[0], questions)
    answers = [column[mine] for column in answers]
    order = np.lexsort((answers[1], answers[0]))
    by_parent = (answers[0][order], answers[1][order], answers[2][order], answers[3][order])
    return Index(offsets, lengths, ids, kinds, parents, problems, problem, by_parent, known)


def _elsewhere(posts: Posts, start: int, stop: int | None, questions: Ints, parents: Ints) -> tuple[list[Ints], Ints]:
    """Outside of the range: answers to its questions, and the questions of its answers."""
    found = _Columns()
    there = array("q")
    wanted, asked = set(questions.tolist()), set(parents.tolist())
    for first, last in ((0, start), (stop, None)):
        if first is None or first == last:
            continue
        for row in posts.rows(first, last):
            data = row.data
            numbers = data if isinstance(data, Refused) else post_numbers(data)
            if isinstance(data, Refused) or isinstance(numbers, Refused):
                continue
            number, kind, parent = numbers
            if kind == ANSWER and parent in wanted:
                found.add(parent, row.offset, len(data), number, 0)
            elif kind == QUESTION and number in asked:
                there.append(number)
    return found.arrays()[:4], np.array(there, dtype=np.int64)


def post_numbers(row: bytes) -> tuple[int, int, int] | Refused:
    """Id, QUESTION, ANSWER or OTHER, and the question's id (-1 if it is no answer)."""
    found: dict[bytes, bytes] = {}
    for match in _ATTRIBUTE.finditer(row):
        name = match[1]
        if name in _NUMBERS and name not in found:
            found[name] = match[2] if match[2] is not None else match[3]
            # The body stands behind the numbers, and need not be looked at.
            if len(found) == 3 or len(found) == 2 and found.get(b"PostTypeId") == b"1" and b"Id" in found:
                break
    number, kind = found.get(b"Id", b""), found.get(b"PostTypeId", b"")
    if not _NUMBER.fullmatch(number) or not _NUMBER.fullmatch(kind):
        return Refused("broken_record", "a row without the numbers Id and PostTypeId")
    if kind == b"1":
        return int(number), QUESTION, -1
    if kind != b"2":
        return int(number), OTHER, -1
    parent = found.get(b"ParentId", b"")
    if not _NUMBER.fullmatch(parent):
        return Refused("broken_record", "an answer without the number ParentId")
    return int(number), ANSWER, int(parent)
