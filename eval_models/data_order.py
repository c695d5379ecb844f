"""Which bytes a run sees, and in which order: the same for every variant of the corpus, as far as it can be.

Common random numbers.  A document is cut into windows on a fixed grid of `window` bytes.  Each window has

    key = H(doc_id, offset, epoch, seed)

and a run sees the windows in ascending order of key until its budget is spent.  Two variants that share a
document see its windows under the same keys, so the difference between two runs of one seed is the difference
of the corpora, not of two random orders.  A document edited in place keeps its keys; a dropped one leaves a
gap that the next windows close.

Memory: O(budget), whatever the size of the corpus.  The first pass reads one batch of documents at a time and
keeps the smallest keys that fill the budget (about 40 bytes a window); the second gathers the chosen windows
(1 byte a byte, then 4 bytes a token).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eval_models.fim import Mark, arrange, choose, hash_documents, mix64, tokens_of
from eval_models.vocabulary import END_OF_DOCUMENT, FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX, IGNORED

_U64 = np.uint64
_BATCH_DOCUMENTS = 512
_PRUNE_SLACK_BYTES = 1 << 20  # of text held beyond twice a quota before it is cut back
# A short window whose key is a multiple of this opens a new row.  Rows of short windows therefore fall into
# step again soon after a document that one variant lacks, instead of being packed differently to the end.
_RESYNC = 32


class CorpusError(ValueError):
    """A corpus, mix or budget that cannot be trained on."""


def window_keys(documents: np.ndarray, offsets: np.ndarray, epoch: int, seed: int) -> np.ndarray:
    """H(doc_id, offset, epoch, seed) of windows: uint64, from `hash_documents` and byte offsets."""
    stream = mix64(np.array([seed], _U64)) ^ _U64(epoch)
    return mix64(documents ^ mix64(offsets.astype(_U64) ^ mix64(stream)))


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of documents, as parallel arrays."""

    document: np.ndarray  # uint64: hash of doc_id
    row: np.ndarray  # int64: place of the document in the reading order of the corpus
    offset: np.ndarray  # int64, bytes
    length: np.ndarray  # int32, bytes, at least 1
    key: np.ndarray  # uint64

    def take(self, index: np.ndarray) -> Windows:
        return Windows(**{f.name: getattr(self, f.name)[index] for f in dataclasses.fields(self)})

    @staticmethod
    def concatenate(parts: Sequence[Windows]) -> Windows:
        names = [f.name for f in dataclasses.fields(Windows)]
        return Windows(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})

    def first(self, budget: int) -> Windows:
        """In order of key (ties: document, offset), up to and with the window that reaches `budget` bytes."""
        order = np.lexsort((self.offset, self.document, self.key))
        before = np.cumsum(self.length[order], dtype=np.int64) - self.length[order]
        return self.take(order[before < budget])


def cut_windows(documents: np.ndarray, lengths: np.ndarray, first_row: int, window: int, seed: int) -> Windows:
    """All windows of consecutive documents, with the keys of epoch 0."""
    counts = -(-lengths // window)
    owner = np.repeat(np.arange(len(lengths)), counts)
    starts = np.cumsum(counts) - counts
    offsets = (np.arange(len(owner)) - starts[owner]) * window
    return Windows(
        document=documents[owner],
        row=first_row + owner,
        offset=offsets,
        length=np.minimum(window, lengths[owner] - offsets).astype(np.int32),
        key=window_keys(documents[owner], offsets, 0, seed),
    )


class _Pool:
    """The windows of one share of the mix; never holds much more than its quota."""

    def __init__(self, name: str, quota: int) -> None:
        self.name, self.quota, self.total_bytes = name, quota, 0
        self.parts: list[Windows] = []
        self.held = 0

    def add(self, windows: Windows) -> None:
        self.parts.append(windows)
        size = int(windows.length.sum())
        self.total_bytes += size
        self.held += size
        if self.held > 2 * self.quota + _PRUNE_SLACK_BYTES:
            self.parts = [Windows.concatenate(self.parts).first(self.quota)]
            self.held = int(self.parts[0].length.sum())

    def chosen(self, seed: int) -> tuple[Windows, np.ndarray]:
        """The windows to see, in order, and the share of the quota that was seen before each: float64."""
        if self.total_bytes == 0:
            raise CorpusError(f"no training text for {self.name or 'the corpus'!r}")
        every = Windows.concatenate(self.parts)
        epochs, left, epoch = [], self.quota, 0
        while left > 0:
            keys = every.key if epoch == 0 else window_keys(every.document, every.offset, epoch, seed)
            seen = dataclasses.replace(every, key=keys).first(left)
            epochs.append(seen)
            left -= int(seen.length.sum())
            epoch += 1
        windows = Windows.concatenate(epochs)
        before = np.cumsum(windows.length, dtype=np.int64) - windows.length
        return windows, before / self.quota


def corpus_files(corpus: Path, split: str) -> list[Path]:
    """The Parquet files of a split (`train` or `held_out`) of corpora/<variant>, in order of name."""
    files = sorted((corpus / "data").glob(f"{split}-*.parquet"))
    if not files:
        raise CorpusError(f"{corpus / 'data'}: no {split}-*.parquet")
    return files


def _batches(files: Sequence[Path], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for path in files:
        with pq.ParquetFile(path) as parquet:
            yield from parquet.iter_batches(_BATCH_DOCUMENTS, columns=list(columns))


def select_windows(
    files: Sequence[Path], window: int, budget_bytes: int, seed: int, mix: Mapping[str, float] | None = None
) -> tuple[Windows, dict[str, float]]:
    """The windows that a run sees, in order, and of each share of the mix the epochs: bytes seen / there.

    mix: share of the bytes for each source or kind, normalised to 1; text of no share is not seen.  The
    shares advance together: after any part of the run each has had its share of the bytes, to within a
    window.  A share with less text than its quota is seen again in a new order (epoch 1, 2, ...).  None:
    all text in one order.
    """
    if mix is not None:
        mix = {name: weight for name, weight in mix.items() if weight != 0}
        if not mix or any(not weight > 0 for weight in mix.values()):
            raise CorpusError(f"mix {mix}: weights must be 0 or more, and one above 0")
    shares = {name: weight / sum(mix.values()) for name, weight in mix.items()} if mix else {"": 1.0}
    pools = {name: _Pool(name, max(1, round(budget_bytes * share))) for name, share in shares.items()}
    first_row = 0
    seen_names: set[str] = set()
    for batch in _batches(files, ["doc_id", "source", "kind", "text"]):
        lengths = pc.binary_length(batch["text"]).to_numpy(zero_copy_only=False).astype(np.int64)
        documents = hash_documents(batch["doc_id"].to_pylist())
        if mix is None:
            pools[""].add(cut_windows(documents, lengths, first_row, window, seed))
        else:
            sources, kinds = batch["source"].to_pylist(), batch["kind"].to_pylist()
            seen_names.update(sources, kinds)
            names = np.array([s if s in pools else k for s, k in zip(sources, kinds, strict=True)])
            windows = cut_windows(documents, lengths, first_row, window, seed)
            for name, pool in pools.items():
                index = np.flatnonzero(names[windows.row - first_row] == name)
                if len(index):
                    pool.add(windows.take(index))
        first_row += batch.num_rows
    missing = sorted(name for name, pool in pools.items() if pool.total_bytes == 0)
    if missing:
        raise CorpusError(f"no training text for {missing}; sources and kinds here: {sorted(seen_names)}")
    chosen = [pools[name].chosen(seed) for name in sorted(pools)]
    windows = Windows.concatenate([w for w, _ in chosen])
    share_index = np.repeat(np.arange(len(chosen)), [len(p) for _, p in chosen])
    order = np.lexsort((share_index, np.concatenate([p for _, p in chosen])))
    epochs = {
        name or "all": float(w.length.sum() / pools[name].total_bytes)
        for name, (w, _) in zip(sorted(pools), chosen, strict=True)
    }
    return windows.take(order), epochs


def gather_pieces(files: Sequence[Path], windows: Windows, window: int) -> np.ndarray:
    """The bytes of each window: uint8 [windows, 1 + window].

    Column 0 is the byte before the window (undefined at offset 0); what lies past a window's length is
    undefined.
    """
    pieces = np.zeros((len(windows.row), window + 1), np.uint8)
    order = np.argsort(windows.row, kind="stable")
    rows = windows.row[order]
    first_row = 0
    for batch in _batches(files, ["text"]):
        low, high = np.searchsorted(rows, [first_row, first_row + batch.num_rows])
        if low < high:
            text = batch["text"].cast(pa.large_string())
            buffers = text.buffers()
            ends = np.frombuffer(buffers[1], np.int64)[text.offset : text.offset + len(text) + 1]
            data = np.frombuffer(buffers[2], np.uint8)
            for start in range(low, high, 4096):  # bounds the index array, 8 bytes a byte
                index = order[start : min(start + 4096, high)]
                begin = ends[windows.row[index] - first_row] + windows.offset[index]
                places = begin[:, None] + np.arange(-1, window)
                pieces[index] = data[np.clip(places, 0, len(data) - 1)]
        first_row += batch.num_rows
    return pieces


def fill_in_the_middle(piece: np.ndarray, key: int, rate: float, room: int) -> np.ndarray | None:
    """Permutes a piece for fill-in-the-middle: int16 tokens, or None where the piece stays as it is.

    Every choice follows from `key`, the key of the window: whether (probability `rate`), which form (PSM
    or SPM, half each), and the two cuts, uniform over the piece and moved down to the start of a
    character.

        PSM  <prefix> P <suffix> S <middle> M          SPM  <prefix> <suffix> S <middle> P M

    If the three marks do not fit in `room` tokens the suffix is cut short; a suffix shorter than the overflow
    leaves the piece as it is (Bavarian et al., arXiv:2207.14255; StarCoder, arXiv:2305.06161, section 5.1).
    """
    cut = choose(key, len(piece), rate)
    if cut is None:
        return None
    cuts = [cut.start, cut.stop]
    for i in range(2):
        while 0 < cuts[i] < len(piece) and piece[cuts[i]] & 0xC0 == 0x80:
            cuts[i] -= 1
    prefix, middle, suffix = np.split(piece.astype(np.int16), cuts)
    overflow = len(piece) + 3 - room
    if overflow > 0:
        if len(suffix) <= overflow:
            return None
        suffix = suffix[:-overflow]
    marks = {Mark.PREFIX: FIM_PREFIX, Mark.SUFFIX: FIM_SUFFIX, Mark.MIDDLE: FIM_MIDDLE}
    pieces = arrange(prefix, middle, suffix, spm=cut.spm)
    return tokens_of(pieces, lambda text: np.empty(0), marks, np.int16)


def pack_rows(windows: Windows, pieces: np.ndarray, window: int, fim_rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of training: int16 [rows, window] each; targets that are not predicted are IGNORED.

    A full window is a row: its first input is the byte before it, or end-of-document at the start of a
    document, so every byte is a target once and has a byte of context.  Shorter windows, which end a
    document, share rows in order, each followed by end-of-document; one that starts inside its document
    brings the byte before it as an input that is no target.  A row stands where its first window stood.
    """
    rows = np.full((len(pieces), window + 1), IGNORED, np.int16)
    ignored = np.zeros(rows.shape, bool)
    full = windows.length == window
    rows[full] = pieces[full]
    rows[full & (windows.offset == 0), 0] = END_OF_DOCUMENT
    used = full.copy()
    if fim_rate > 0:
        for i in np.flatnonzero(full):
            tokens = fill_in_the_middle(pieces[i, 1:], int(windows.key[i]), fim_rate, window)
            if tokens is not None:
                rows[i, 0] = END_OF_DOCUMENT
                rows[i, 1:] = tokens
    row, filled = -1, window + 1
    end = np.array([END_OF_DOCUMENT], np.int16)
    for i in np.flatnonzero(~full):
        length = int(windows.length[i])
        tokens = fill_in_the_middle(pieces[i, 1 : 1 + length], int(windows.key[i]), fim_rate, window - 1)
        inside = windows.offset[i] > 0 and tokens is None
        if tokens is None:
            tokens = pieces[i, 0 if inside else 1 : 1 + length].astype(np.int16)
        piece = np.concatenate([tokens, end])
        if filled + len(piece) > window + 1 or windows.key[i] % _U64(_RESYNC) == 0:
            row, filled = i, 0
            used[i] = True
            if not inside:  # else `piece` begins with the byte before, the context of the first target
                rows[row, 0] = END_OF_DOCUMENT
                filled = 1
        elif inside:
            ignored[row, filled] = True
        rows[row, filled : filled + len(piece)] = piece[: window + 1 - filled]
        filled += len(piece)
    rows, ignored = rows[used], ignored[used]
    inputs, targets = rows[:, :-1].copy(), rows[:, 1:].copy()
    targets[ignored[:, 1:]] = IGNORED
    inputs[inputs == IGNORED] = END_OF_DOCUMENT  # past the end of a short row: read by no counted target
    return inputs, targets


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """All that one run sees, in order."""

    inputs: np.ndarray  # int16 [rows, window]
    targets: np.ndarray  # int16 [rows, window], IGNORED where nothing is predicted
    pieces: np.ndarray  # uint8 [windows, 1 + window]: the same bytes unpermuted, for the n-gram gate
    windows: Windows
    bytes_seen: int  # targets that are bytes
    unique_bytes: int  # of distinct windows
    epochs: dict[str, float]  # by share of the mix


def training_data(
    corpus: Path,
    *,
    window: int,
    budget_bytes: int,
    seed: int,
    mix: Mapping[str, float] | None = None,
    fim_rate: float = 0.0,
) -> TrainingData:
    """Everything that a run of `seed` on corpora/<variant> sees."""
    files = corpus_files(corpus, "train")
    windows, epochs = select_windows(files, window, budget_bytes, seed, mix)
    pieces = gather_pieces(files, windows, window)
    inputs, targets = pack_rows(windows, pieces, window, fim_rate)
    places = np.stack([windows.document, windows.offset.astype(_U64)])
    first_of_kind = np.unique(places, axis=1, return_index=True)[1]
    return TrainingData(
        inputs=inputs,
        targets=targets,
        pieces=pieces,
        windows=windows,
        bytes_seen=int(((targets >= 0) & (targets < 256)).sum()),
        unique_bytes=int(windows.length[first_of_kind].sum()),
        epochs=epochs,
    )
