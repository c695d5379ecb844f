"""Lists of hosts and URLs: millions of lines that kernels look up, and where they are read from."""

from __future__ import annotations

import dataclasses
import gzip
import importlib.util
import tarfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from quality_signals.codepoints import mix
from quality_signals.compiled import njit
from quality_signals.text_batch import Bools, Bytes, Ints, TextBatch

_SEED = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)


@njit(error_model="numpy")
def step_hash(h, byte):  # type: ignore[no-untyped-def]
    """FNV-1a, one byte on; `mix` it before use."""
    return (h ^ np.uint64(byte)) * _PRIME


@njit(error_model="numpy")
def _lines(blob, fold, starts, lengths):  # type: ignore[no-untyped-def]
    """Lines that are neither blank nor comments (`#` first), without ASCII white space at their ends; as far as there
    is room.  fold: upper-case ASCII becomes lower case in place.  Returns their number."""
    n = 0
    i = 0
    end = len(blob)
    while i < end:
        start = i
        while i < end and blob[i] != 10 and blob[i] != 13:
            if fold and 65 <= blob[i] <= 90:
                blob[i] |= 32
            i += 1
        stop = i
        i += 1
        if start == stop or blob[start] == 35:
            continue
        while start < stop and (blob[start] == 32 or 9 <= blob[start] <= 13 or 28 <= blob[start] <= 31):
            start += 1
        while start < stop and (blob[stop - 1] == 32 or 9 <= blob[stop - 1] <= 13 or 28 <= blob[stop - 1] <= 31):
            stop -= 1
        if start == stop:
            continue
        if n < len(starts):
            starts[n] = start
            lengths[n] = stop - start
        n += 1
    return n


@njit(error_model="numpy")
def _enter(blob, starts, lengths, backwards, slots, labels, masks):  # type: ignore[no-untyped-def]
    """Fills slots; a line that occurs again adds its label to the mask of the first one."""
    mask = np.uint64(len(slots) - 1)
    for entry in range(len(starts)):
        start = np.int64(starts[entry])
        length = np.int64(lengths[entry])
        h = _SEED
        for k in range(length):
            h = step_hash(h, blob[start + length - 1 - k] if backwards else blob[start + k])
        slot = mix(h) & mask
        while True:
            known = slots[slot]
            if known < 0:
                slots[slot] = entry
                break
            same = lengths[known] == lengths[entry]
            other = np.int64(starts[known])
            k = 0
            while same and k < length:
                same = blob[other + k] == blob[start + k]
                k += 1
            if same:
                entry_of = known
                if len(masks):
                    label = labels[entry]
                    masks[entry_of, label >> 6] |= np.uint64(1) << np.uint64(label & 63)
                break
            slot = (slot + np.uint64(1)) & mask
        if len(masks) and slots[slot] == entry:
            masks[entry, labels[entry] >> 6] |= np.uint64(1) << np.uint64(labels[entry] & 63)


@njit(error_model="numpy")
def find_bytes(slots, blob, starts, lengths, h, text, start, end):  # type: ignore[no-untyped-def]
    """Number of the entry that equals text[start:end], or -1.  h: `step_hash` over it, in the table's direction."""
    mask = np.uint64(len(slots) - 1)
    slot = mix(h) & mask
    length = end - start
    while True:
        entry = slots[slot]
        if entry < 0:
            return -1
        if lengths[entry] == length:
            other = np.int64(starts[entry])
            k = 0
            while k < length and blob[other + k] == text[start + k]:
                k += 1
            if k == length:
                return entry
        slot = (slot + np.uint64(1)) & mask


@dataclasses.dataclass(frozen=True, slots=True)
class Entries:
    """A set of byte strings, each with the labels of the lists it stands in.

    Memory: the lists themselves, and 16 to 24 bytes a line (and 16 more with labels).
    """

    blob: Bytes
    starts: npt.NDArray[np.uint32]
    lengths: npt.NDArray[np.uint32]
    slots: npt.NDArray[np.int32]
    masks: npt.NDArray[np.uint64]  # [entries, 2] bits of labels; [0, 2] without labels

    @property
    def arrays(self) -> tuple[npt.NDArray[np.int32], Bytes, npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
        """What `find_bytes` takes first."""
        return self.slots, self.blob, self.starts, self.lengths

    def __len__(self) -> int:
        """Lines, repeated ones included."""
        return len(self.starts)


def entries(lists: Sequence[bytes], *, fold: bool = False, backwards: bool = False, labelled: bool = False) -> Entries:
    """The lines of some lists.  Blank lines and those that start with `#` are left out, ends are stripped.

    fold: ASCII letters become lower case.  backwards: hashes run from the last byte, so that those of a host's
    parents are found on the way.  labelled: a line knows in which of the lists (at most 128) it stands.
    """
    blob = np.frombuffer(bytearray(b"\n").join(lists), np.uint8)  # a bytearray can be folded in place
    if len(blob) >= 2**32:
        raise ValueError(f"lists of {len(blob)} bytes: at most 4 GiB can be looked up")
    if labelled and len(lists) > 128:
        raise ValueError(f"{len(lists)} lists: at most 128 can be told apart")
    count = _lines(blob, fold, np.zeros(0, np.uint32), np.zeros(0, np.uint32))
    starts, lengths = np.empty(count, np.uint32), np.empty(count, np.uint32)
    _lines(blob, fold, starts, lengths)
    capacity = 16
    while capacity < 1.5 * count:
        capacity *= 2
    slots = np.full(capacity, -1, np.int32)
    masks = np.zeros((count if labelled else 0, 2), np.uint64)
    bounds = np.cumsum([len(one) + 1 for one in lists])
    labels = np.searchsorted(bounds, starts, side="right") if labelled else np.zeros(0, np.int64)
    _enter(blob, starts, lengths, backwards, slots, labels.astype(np.int64), masks)
    return Entries(blob, starts, lengths, slots, masks)


def given_urls(texts: TextBatch) -> tuple[pa.LargeStringArray, Bools]:
    """The URLs of the texts that have one (neither null nor empty), and [texts] which these are."""
    index = texts.batch.schema.get_field_index("url")
    if index < 0:
        return pa.array([], pa.large_string()), np.zeros(len(texts), bool)
    column = texts.batch.column(index).cast(pa.large_string()).filter(pa.array(texts.rows))
    given = pc.not_equal(column, "").fill_null(False)
    return column.filter(given), given.to_numpy(zero_copy_only=False)


def utf8_of(column: pa.Array) -> tuple[Bytes, Ints]:
    """Bytes of a string column without nulls, and [rows + 1] where its rows begin and end in them."""
    column = column.cast(pa.large_string())
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets or bytes(8), np.int64)[column.offset : column.offset + len(column) + 1]
    utf8 = np.frombuffer(data or b"", np.uint8)
    utf8.flags.writeable = ends.flags.writeable = False  # one type for the kernels, whatever Arrow's buffers allow
    return utf8, ends


def read_list(path: Path) -> bytes:
    raw = path.read_bytes()
    return gzip.decompress(raw) if path.suffix == ".gz" else raw


_NAMES = ("{}", "{}.txt", "{}.gz", "{}.txt.gz")


def find_list(folder: Path, name: str) -> Path | None:
    """The file of a list in a folder: `name`, with .txt, .gz or both."""
    for pattern in _NAMES:
        path = folder / pattern.format(name)
        if path.is_file():
            return path
    return None


# -- UT1 ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Ut1Lists:
    """categories: their names in order, the labels of `hosts` and `urls`."""

    categories: tuple[str, ...]
    hosts: Entries
    urls: Entries


def ut1_files(folder: str) -> dict[str, dict[str, Path]]:
    """category -> {"domains" and "urls": file}: `<category>/domains` or `<category>.domains`, .txt and .gz allowed.

    FileNotFoundError, naming the folder, where there is none.
    """
    root = Path(folder)
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        for kind in ("domains", "urls"):
            if path.is_dir():
                file = find_list(path, kind)
                if file is not None:
                    found.setdefault(path.name, {})[kind] = file
            else:
                category, _, rest = path.name.partition(f".{kind}")
                if category and category != path.name and rest in ("", ".txt", ".gz", ".txt.gz"):
                    found.setdefault(category, {})[kind] = path
    if not found:
        raise FileNotFoundError(f"ut1@1: no UT1 list in {folder!r}; expected <category>/domains or <category>/urls")
    return found


@lru_cache(maxsize=2)
def ut1_lists(folder: str) -> Ut1Lists:
    """All lists of a folder, lower-cased; a slash at the end of a URL does not count."""
    files = ut1_files(folder)
    categories = tuple(sorted(files))

    def lines(kind: str) -> list[bytes]:
        return [read_list(files[name][kind]) if kind in files[name] else b"" for name in categories]

    hosts = entries(lines("domains"), fold=True, backwards=True, labelled=True)
    urls = entries([_without_last_slashes(one) for one in lines("urls")], fold=True, labelled=True)
    return Ut1Lists(categories, hosts, urls)


def _without_last_slashes(lines: bytes) -> bytes:
    return b"\n".join(line.strip().rstrip(b"/") for line in lines.splitlines())


# -- datatrove ---------------------------------------------------------------------------------------------

ARCHIVE = "url_filterblacklistsv0_3_0.tar.gz"  # datatrove 0.10.1, assets: UT1's adult lists


@dataclasses.dataclass(frozen=True, slots=True)
class BlockLists:
    domains: Entries
    urls: Entries


def block_list_files(folder: str | None) -> Path:
    """The folder with `domains` and `urls`, or datatrove's archive: in `folder`, or in an installed datatrove.

    FileNotFoundError says what is missing and how to do without.
    """
    if folder is not None:
        root = Path(folder)
        if (root / ARCHIVE).is_file():
            return root / ARCHIVE
        if find_list(root, "domains") and find_list(root, "urls"):
            return root
        raise FileNotFoundError(f"url@datatrove: neither `domains` and `urls` nor {ARCHIVE} in {folder!r}")
    spec = importlib.util.find_spec("datatrove")
    for place in (spec.submodule_search_locations or []) if spec else []:
        archive = Path(place) / "assets" / ARCHIVE
        if archive.is_file():
            return archive
    raise FileNotFoundError(
        "url@datatrove: its lists of domains and URLs (UT1's, CC BY-SA) are not shipped: name a folder with them "
        "(lists=FOLDER), install datatrove, or leave them out (block_lists=False)"
    )


@lru_cache(maxsize=2)
def block_lists(path: str, extra_domains: tuple[str, ...], extra_urls: tuple[str, ...]) -> BlockLists:
    """path: what `block_list_files` found, or '' for none."""

    def whole(name: str) -> bytes:
        if not path:
            return b""
        if Path(path).is_dir():
            file = find_list(Path(path), name)
            assert file is not None
            return read_list(file)
        with tarfile.open(path, "r:gz") as archive:
            member = archive.extractfile(name)
            assert member is not None
            return member.read()

    return BlockLists(
        entries([whole("domains"), "\n".join(extra_domains).encode()]),
        entries([whole("urls"), "\n".join(extra_urls).encode()]),
    )
