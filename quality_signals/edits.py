"""Edits: what a family that changes text would change, as spans with replacements beside the text.

The text of a document stays as it was extracted; a family such as C4's lists the spans that it drops or replaces.
Edits of one text are sorted by start and do not overlap; offsets are code points of the text that the family saw.

    apply_edits("one [1] two", [Edit(3, 7, "", "citation")])       # "one two"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.compiled import njit

EDIT = pa.struct([("start", pa.int32()), ("end", pa.int32()), ("replacement", pa.string()), ("rule", pa.string())])
EDITS = pa.list_(EDIT)
_EDIT_FIELDS = list(EDIT)
COLUMN = "edits"

_NOT_SORTED, _NOT_INSIDE, _NOT_A_RANGE = 1, 2, 3
_FAULTS = {
    _NOT_SORTED: "begins before the one before it ends",
    _NOT_INSIDE: "ends after the text",
    _NOT_A_RANGE: "is not a range",
}


class EditsError(ValueError):
    """Edits that are not sorted, overlap, or lie outside their text; the message names the document."""


class Edit(NamedTuple):
    """Code points [start, end) are replaced; `start == end` inserts.  rule: why."""

    start: int
    end: int
    replacement: str
    rule: str | None = None


def edits_field(description: str = "what is changed in the text, in code points of the text") -> pa.Field:
    """The field `edits` of an annotator that edits; it stands last in its schema."""
    return pa.field(COLUMN, EDITS, metadata={"description": description, "unit": "code points"})


def edits_column(
    starts: npt.ArrayLike,
    ends: npt.ArrayLike,
    replacements: npt.ArrayLike,
    rules: npt.ArrayLike,
    offsets: npt.ArrayLike,
    *,
    replacement_texts: Sequence[str] = ("",),
    rule_names: Sequence[str],
) -> pa.ListArray:
    """The column of many texts from what a kernel found.

    starts, ends   [edits] int, code points counted from the start of the edit's own text
    replacements   [edits] int, indices into replacement_texts
    rules          [edits] int, indices into rule_names
    offsets        [texts + 1] int, the edits of text i are offsets[i]:offsets[i + 1]
    """
    columns = [
        pa.array(np.asarray(starts).astype(np.int32)),
        pa.array(np.asarray(ends).astype(np.int32)),
        _chosen(replacement_texts, np.asarray(replacements, np.int64)),
        _chosen(rule_names, np.asarray(rules, np.int64)),
    ]
    structs = pa.StructArray.from_arrays(columns, fields=_EDIT_FIELDS)
    return pa.ListArray.from_arrays(pa.array(np.asarray(offsets).astype(np.int32)), structs, type=EDITS)


@njit(error_model="numpy")
def _gather_strings(utf8, bounds, indices, offsets, out):  # type: ignore[no-untyped-def]
    at = np.int32(0)
    for k in range(len(indices)):
        for i in range(bounds[indices[k]], bounds[indices[k] + 1]):
            out[at] = utf8[i]
            at += 1
        offsets[k + 1] = at


def _chosen(strings: Sequence[str], indices: npt.NDArray[np.int64]) -> pa.StringArray:
    """[indices] strings[i] of each index: Arrow's `take` of a few short strings, at a third of its time."""
    raw = [each.encode() for each in strings]
    bounds = np.cumsum([0, *map(len, raw)])
    offsets = np.zeros(len(indices) + 1, np.int32)
    out = np.empty(int(np.bincount(indices, minlength=len(raw)) @ np.diff(bounds)), np.uint8)
    if len(out):
        _gather_strings(np.frombuffer(b"".join(raw), np.uint8), bounds, indices, offsets, out)
    return pa.StringArray.from_buffers(len(indices), pa.py_buffer(offsets), pa.py_buffer(out))


def as_edits(values: Sequence[Edit | Sequence[Any] | Mapping[str, Any]] | None) -> list[Edit]:
    """Edits from tuples or from the dicts that Arrow gives; None is no edit."""
    return [Edit(**value) if isinstance(value, Mapping) else Edit(*value) for value in values or ()]


def check_edits(edits: Sequence[Edit], length: int | None = None, document: str = "the text") -> None:
    """Raises EditsError, naming `document`, unless the edits are sorted, disjoint and inside `length` code points."""
    done = 0
    for number, edit in enumerate(edits):
        fault = 0
        if not 0 <= edit.start <= edit.end:
            fault = _NOT_A_RANGE
        elif edit.start < done:
            fault = _NOT_SORTED
        elif length is not None and edit.end > length:
            fault = _NOT_INSIDE
        if fault:
            raise EditsError(
                f"{document}: edit {number} [{edit.start}, {edit.end}) of rule {edit.rule} {_FAULTS[fault]}"
            )
        done = edit.end


def apply_edits(text: str, edits: Sequence[Edit | Sequence[Any] | Mapping[str, Any]] | None) -> str:
    """The text that the edits leave.  Raises EditsError for edits that do not fit the text."""
    changes = as_edits(edits)
    check_edits(changes, len(text))
    parts = []
    done = 0
    for edit in changes:
        parts += [text[done : edit.start], edit.replacement]
        done = edit.end
    parts.append(text[done:])
    return "".join(parts)


# -- one after another -------------------------------------------------------------------------------------


class _Moved(NamedTuple):
    """An edit and where its replacement stands in the edited text."""

    edit: Edit
    start: int
    end: int


def _moved(edits: Sequence[Edit]) -> list[_Moved]:
    moved = []
    shift = 0
    for edit in edits:
        start = edit.start + shift
        moved.append(_Moved(edit, start, start + len(edit.replacement)))
        shift = moved[-1].end - edit.end
    return moved


def compose(
    first: Sequence[Edit | Sequence[Any] | Mapping[str, Any]] | None,
    second: Sequence[Edit | Sequence[Any] | Mapping[str, Any]] | None,
) -> list[Edit]:
    """The edits that lead from the original text to the text after both.

    second: in code points of the text after `first`.  Edits of the two that overlap become one, which names both
    rules; all others stay apart.  apply(compose(f, s)) == apply(s, apply(f)).
    """
    ours, theirs = _moved(as_edits(first)), as_edits(second)
    check_edits([move.edit for move in ours])
    check_edits(theirs)
    out: list[Edit] = []
    i = j = shift = 0  # shift: original minus edited position, behind the edits of `first` that are done
    while i < len(ours) or j < len(theirs):
        if j == len(theirs) or (i < len(ours) and ours[i].end <= theirs[j].start):
            out.append(ours[i].edit)
            shift = ours[i].edit.end - ours[i].end
            i += 1
        elif i == len(ours) or ours[i].start >= theirs[j].end:
            edit = theirs[j]
            out.append(edit._replace(start=edit.start + shift, end=edit.end + shift))
            j += 1
        else:
            last_i, last_j = _overlapping(ours, theirs, i, j)
            out.append(_merged(ours[i:last_i], theirs[j:last_j], shift))
            shift = ours[last_i - 1].edit.end - ours[last_i - 1].end
            i, j = last_i, last_j
    return out


def _overlapping(ours: Sequence[_Moved], theirs: Sequence[Edit], i: int, j: int) -> tuple[int, int]:
    """Ends of the runs of edits that hang together with the overlapping ours[i] and theirs[j]."""
    last_i, last_j = i + 1, j + 1
    while True:
        if last_i < len(ours) and ours[last_i].start < theirs[last_j - 1].end:
            last_i += 1
        elif last_j < len(theirs) and theirs[last_j].start < ours[last_i - 1].end:
            last_j += 1
        else:
            return last_i, last_j


def _merged(ours: Sequence[_Moved], theirs: Sequence[Edit], shift: int) -> Edit:
    """One edit for a run of overlapping ones: what lies in none of `theirs` comes out of a replacement of `ours`."""
    start = min(ours[0].start, theirs[0].start)
    end = max(ours[-1].end, theirs[-1].end)
    parts: list[str] = []
    done = start
    for edit in theirs:
        parts += [_replaced(ours, done, edit.start), edit.replacement]
        done = edit.end
    parts.append(_replaced(ours, done, end))
    rules = [edit.rule for edit in (*(move.edit for move in ours), *theirs) if edit.rule is not None]
    return Edit(
        ours[0].edit.start if ours[0].start <= theirs[0].start else start + shift,
        ours[-1].edit.end if ours[-1].end >= theirs[-1].end else end + ours[-1].edit.end - ours[-1].end,
        "".join(parts),
        "+".join(dict.fromkeys(rules)) or None,
    )


def _replaced(moves: Sequence[_Moved], start: int, end: int) -> str:
    """What stands at [start, end) of the edited text, all of it in replacements."""
    return "".join(
        move.edit.replacement[max(start - move.start, 0) : max(end - move.start, 0)]
        for move in moves
        if move.end > start and move.start < end
    )


def locate(
    edits: Sequence[Edit | Sequence[Any] | Mapping[str, Any]] | None, position: int, *, end: bool = False
) -> int:
    """The place in the original text of a place in the edited one.

    Inside a replacement: where the replaced span starts.  With `end`, `position` is the end of a span: then where
    the replaced span ends, and at a deletion the place before it.
    """
    shift = 0
    for move in _moved(as_edits(edits)):
        if move.start > position or (end and move.start == position):
            break
        if move.end > position or (end and move.end == position):
            return move.edit.end if end else move.edit.start
        shift = move.edit.end - move.end
    return position + shift


# -- columns -----------------------------------------------------------------------------------------------


@njit(error_model="numpy")
def _places(utf8, ends, edits, points, places):  # type: ignore[no-untyped-def]
    """Code points as bytes: `points` of text i, in order, are points[edits[i]:edits[i + 1]].

    places: where in utf8 they begin, -1 behind the text's end.  Text i is utf8[ends[i]:ends[i + 1]].
    """
    for text in range(len(ends) - 1):
        byte, stop = ends[text], ends[text + 1]
        if edits[text] == edits[text + 1]:
            continue
        every = np.uint8(0)
        for i in range(np.uint64(byte), np.uint64(stop)):
            every |= utf8[i]
        if every < 0x80:
            for number in range(edits[text], edits[text + 1]):
                places[number] = byte + points[number] if points[number] <= stop - byte else -1
            continue
        point = 0
        for number in range(edits[text], edits[text + 1]):
            while point < points[number] and byte < stop:
                byte += 1
                while byte < stop and utf8[byte] & 0xC0 == 0x80:
                    byte += 1
                point += 1
            places[number] = byte if point == points[number] else -1


@njit(error_model="numpy")
def _copy_bytes(source, low, high, out, at):  # type: ignore[no-untyped-def]
    """Puts source[low:high] at out[at:]; returns the place behind."""
    i = np.uint64(low)
    j = np.uint64(at)
    for k in range(np.uint64(high - low) if high > low else np.uint64(0)):
        out[j + k] = source[i + k]
    return at + max(high - low, 0)


@njit(error_model="numpy")
def _copy(utf8, ends, edits, places, new_utf8, new_ends, out, out_ends):  # type: ignore[no-untyped-def]
    """Edited UTF-8 of every text: edit e cuts places[2 * e]:places[2 * e + 1] and puts in its replacement."""
    at = np.int64(0)
    for text in range(len(ends) - 1):
        byte = ends[text]
        for edit in range(edits[text] // 2, edits[text + 1] // 2):
            at = _copy_bytes(utf8, byte, places[2 * edit], out, at)
            at = _copy_bytes(new_utf8, new_ends[edit], new_ends[edit + 1], out, at)
            byte = places[2 * edit + 1]
        at = _copy_bytes(utf8, byte, ends[text + 1], out, at)
        out_ends[text + 1] = at


def _utf8_of(column: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Bytes of a large_string array without nulls, and the [rows + 1] places where its rows begin and end in them."""
    if not len(column):
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    return (np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)), ends


def apply_to_column(texts: pa.Array, edits: pa.Array, ids: Sequence[str] | None = None) -> pa.LargeStringArray:
    """`apply_edits` on columns, linear in the text: edited texts as large_string, null where the text is null.

    edits: a column of EDITS; null is no edit.  Raises EditsError, naming the id (else the row), for edits that do
    not fit their text.
    """
    if len(texts) != len(edits):
        raise ValueError(f"{len(texts)} texts, but {len(edits)} lists of edits")
    column = texts.cast(pa.large_string())
    missing = column.is_null()
    utf8, ends = _utf8_of(column.fill_null("") if column.null_count else column)
    counts = edits.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    flat = edits.flatten()
    if not len(flat):
        return column
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(2 * counts, out=offsets[1:])
    points = np.empty(2 * len(flat), np.int64)
    points[0::2], points[1::2] = flat.field("start").to_numpy(), flat.field("end").to_numpy()
    places = np.zeros(len(points), np.int64)
    _places(utf8, ends, offsets, points, places)
    _refuse_wrong(points, places, offsets, flat, ids)
    new_utf8, new_ends = _utf8_of(flat.field("replacement").cast(pa.large_string()).fill_null(""))
    size = int(ends[-1] - ends[0] + new_ends[-1] - new_ends[0] - (places[1::2] - places[0::2]).sum())
    out, out_ends = np.zeros(max(size, 1), np.uint8), np.zeros(len(texts) + 1, np.int64)
    _copy(utf8, ends, offsets, places, new_utf8, new_ends, out, out_ends)
    validity = None if not missing.true_count else pa.array(~missing.to_numpy(zero_copy_only=False)).buffers()[1]
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(out_ends), pa.py_buffer(out), validity)


def _refuse_wrong(
    points: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    flat: pa.StructArray,
    ids: Sequence[str] | None,
) -> None:
    """Raises EditsError for the first edit that does not fit; points, places, offsets: as in `_places`."""
    starts, ends = points[0::2], points[1::2]
    before = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    firsts = offsets[:-1] // 2
    before[firsts[firsts < len(before)]] = 0
    faults = np.select(
        [(starts < 0) | (starts > ends), starts < before, places[1::2] < 0],
        [_NOT_A_RANGE, _NOT_SORTED, _NOT_INSIDE],
    )
    if not faults.any():
        return
    at = int(np.flatnonzero(faults)[0])
    row = int(np.searchsorted(offsets, 2 * at, side="right")) - 1
    raise EditsError(
        f"{f'row {row}' if ids is None else f'document {ids[row]}'}: edit {at - offsets[row] // 2} "
        f"[{starts[at]}, {ends[at]}) of rule {flat.field('rule')[at]} {_FAULTS[int(faults[at])]}"
    )


def apply_to_batch(batch: pa.RecordBatch, edits: pa.Array) -> pa.RecordBatch:
    """The batch with its `text` edited; errors name the `doc_id` where the batch has one."""
    has_ids = batch.schema.get_field_index("doc_id") >= 0
    text = apply_to_column(batch.column("text"), edits, batch.column("doc_id").to_pylist() if has_ids else None)
    index = batch.schema.get_field_index("text")
    return batch.set_column(index, batch.schema.field(index), text.cast(batch.schema.field(index).type))


def compose_columns(first: pa.Array, second: pa.Array) -> pa.Array:
    """`compose` row by row; only rows that both change are looked at one by one.  Null where `second` is null."""
    if len(first) != len(second):
        raise ValueError(f"{len(first)} rows of edits, but {len(second)} after them")
    ours, theirs = (c.value_lengths().fill_null(0).to_numpy(zero_copy_only=False) for c in (first, second))
    valid = second.is_valid().to_numpy(zero_copy_only=False)
    if not ours.any():
        return second
    rows: list[Any] = []
    for row in range(len(second)):
        if not valid[row]:
            rows.append(None)
        elif not theirs[row]:
            rows.append(first[row].as_py() or [])
        else:
            rows.append([edit._asdict() for edit in compose(first[row].as_py(), second[row].as_py())])
    return pa.array(rows, EDITS)
