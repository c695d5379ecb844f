"""A fastText supervised model in the form of fastText's own files, its training and its scores.

Reference: facebookresearch/fastText @ v0.9.2 (src/dictionary.cc, fasttext.cc, model.cc, loss.cc): hidden = mean of the
rows of a text's words and word n-grams, probabilities = softmax(output x hidden), learnt by stochastic gradient
descent whose rate falls linearly to 0.  The files are read by fastText and by fasttext-predict.

Text is prepared as RedPajama-V2's ML scores do (togethercomputer/RedPajama-Data @ 6d2cee9,
app/src/core/quality_signals/classifiers.py): " ".join(text.splitlines()).strip(); fastText then splits at spaces, tabs
and NUL.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quality_signals.compiled import njit
from quality_signals.ngram_model_tokens import space_bytes

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

LABEL = b"__label__"
END = b"</s>"  # fastText's word for the end of a line; a text is read up to this word
_MAGIC, _VERSION = 793712314, 12  # src/fasttext.h
_SOFTMAX, _SUPERVISED = 3, 3  # src/args.h, loss_name and model_name


class Words(NamedTuple):
    """Token i of all texts is utf8[starts[i]:ends[i]]; those of text t are offsets[t] to offsets[t + 1]."""

    utf8: Bytes
    starts: Ints
    ends: Ints
    offsets: Ints


@njit(error_model="numpy")
def _between(utf8, i, end):  # type: ignore[no-untyped-def]
    """Bytes of what separates words at utf8[i]: fastText's separators and the line breaks of str.splitlines."""
    c = utf8[i]
    if c < 0x80:
        return 1 if c == 0x20 or 0x09 <= c <= 0x0D or c == 0 or 0x1C <= c <= 0x1E else 0
    if c == 0xC2:
        return 2 if utf8[i + 1] == 0x85 else 0
    if c == 0xE2 and utf8[i + 1] == 0x80:
        return 3 if utf8[i + 2] == 0xA8 or utf8[i + 2] == 0xA9 else 0
    return 0


@njit(error_model="numpy")
def _starts_with(utf8, start, end, part):  # type: ignore[no-untyped-def]
    if end - start < len(part):
        return False
    for k in range(len(part)):
        if utf8[start + k] != part[k]:
            return False
    return True


@njit(error_model="numpy")
def _words(utf8, texts, label, last, starts, ends, offsets):  # type: ignore[no-untyped-def]
    n = 0
    for text in range(len(texts) - 1):
        i = texts[text]
        end = texts[text + 1]
        while i < end and space_bytes(utf8, i, end):
            i += space_bytes(utf8, i, end)
        while end > i:
            j = end - 1
            while j > i and utf8[j] & 0xC0 == 0x80:
                j -= 1
            if space_bytes(utf8, j, end) == 0:
                break
            end = j
        while i < end:
            width = _between(utf8, i, end)
            if width:
                i += width
                continue
            start = i
            while i < end and _between(utf8, i, end) == 0:
                i += 1
            if i - start == len(last) and _starts_with(utf8, start, i, last):
                break
            if not _starts_with(utf8, start, i, label):
                starts[n] = start
                ends[n] = i
                n += 1
        offsets[text + 1] = n
    return n


def words(utf8: Bytes, texts: Ints) -> Words:
    """Words of the texts utf8[texts[t]:texts[t + 1]] as fastText reads them.

    A word that starts like a label is none, and the word </s> ends the text: fastText's reading.
    """
    most = len(utf8) // 2 + len(texts)
    starts, ends = np.empty(most, np.int64), np.empty(most, np.int64)
    offsets = np.zeros(len(texts), np.int64)
    label, last = np.frombuffer(LABEL, np.uint8), np.frombuffer(END, np.uint8)
    n = _words(utf8, texts, label, last, starts, ends, offsets)
    return Words(utf8, starts[:n], ends[:n], offsets)


@njit(error_model="numpy")
def _hash(utf8, start, end):  # type: ignore[no-untyped-def]
    """fastText's hash of a word: FNV-1a of 32 bits over signed bytes."""
    h = np.uint32(2166136261)
    for i in range(start, end):
        h = np.uint32((h ^ np.uint32(np.int8(utf8[i]))) * np.uint32(16777619))
    return h


@njit(error_model="numpy")
def _hashes(utf8, starts, ends, hashes):  # type: ignore[no-untyped-def]
    for i in range(len(starts)):
        hashes[i] = _hash(utf8, starts[i], ends[i])


@njit(error_model="numpy")
def _features(ids, hashes, ngrams, buckets, first_bucket, rows):  # type: ignore[no-untyped-def]
    """Rows of the input matrix that a text adds up; ids [words], -1 for a word without a row.  Returns their number."""
    n = 0
    for i in range(len(ids)):
        if ids[i] >= 0:
            rows[n] = ids[i]
            n += 1
    if ngrams > 1:
        for i in range(len(ids)):
            h = np.uint64(np.int64(np.int32(hashes[i])))
            for j in range(i + 1, min(len(ids), i + ngrams)):
                h = h * np.uint64(116049371) + np.uint64(np.int64(np.int32(hashes[j])))
                rows[n] = first_bucket + np.int64(h % np.uint64(buckets))
                n += 1
    return n


@njit(error_model="numpy")
def _forward(rows, n, inputs, outputs, hidden, scores):  # type: ignore[no-untyped-def]
    """Fills hidden, and scores with the probabilities of the labels."""
    hidden[:] = 0
    for k in range(n):
        row = rows[k]
        for d in range(len(hidden)):
            hidden[d] += inputs[row, d]
    factor = np.float32(1.0 / n)
    for d in range(len(hidden)):
        hidden[d] *= factor
    top = np.float32(-np.inf)
    for label in range(len(scores)):
        total = np.float32(0)
        for d in range(len(hidden)):
            total += outputs[label, d] * hidden[d]
        scores[label] = total
        top = max(top, total)
    total = np.float32(0)
    for label in range(len(scores)):
        scores[label] = np.float32(np.exp(scores[label] - top))
        total += scores[label]
    for label in range(len(scores)):
        scores[label] /= total


@njit(error_model="numpy")
def _train(  # type: ignore[no-untyped-def]
    ids, hashes, offsets, labels, order, epochs, rate, ngrams, buckets, first_bucket, inputs, outputs
):
    """One epoch after another over the texts in `order`; ids and hashes of the words of all texts, each text with its
    end."""
    longest = 0
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    rows = np.empty(longest * max(1, ngrams), np.int64)
    hidden = np.empty(inputs.shape[1], np.float32)
    gradient = np.empty(inputs.shape[1], np.float32)
    scores = np.empty(len(outputs), np.float32)
    tokens = len(ids) + len(labels)
    done = 0
    pending = 0
    alpha = np.float32(rate)
    for _ in range(epochs):
        for text in order:
            start = offsets[text]
            end = offsets[text + 1]
            # fastText counts the label as a token, and looks at the rate every 100 (-lrUpdateRate).
            pending += end - start + 1
            n = _features(ids[start:end], hashes[start:end], ngrams, buckets, first_bucket, rows)
            if n:
                _forward(rows, n, inputs, outputs, hidden, scores)
                gradient[:] = 0
                for label in range(len(scores)):
                    step = alpha * (np.float32(label == labels[text]) - scores[label])
                    for d in range(len(hidden)):
                        gradient[d] += step * outputs[label, d]
                        outputs[label, d] += step * hidden[d]
                share = np.float32(1.0 / n)
                for d in range(len(hidden)):
                    gradient[d] *= share
                for k in range(n):
                    row = rows[k]
                    for d in range(len(hidden)):
                        inputs[row, d] += gradient[d]
            if pending > 100:
                done += pending
                pending = 0
                alpha = np.float32(rate * max(0.0, 1.0 - done / (epochs * tokens)))


@njit(error_model="numpy")
def _ids(utf8, starts, ends, hashes, words, offsets, slots, ids):  # type: ignore[no-untyped-def]
    """Number of each word in the dictionary, -1 for one that is not there."""
    mask = len(slots) - 1
    for i in range(len(starts)):
        h = _hash(utf8, starts[i], ends[i])
        hashes[i] = h
        slot = np.int64(h) & mask
        ids[i] = -1
        while slots[slot] >= 0:
            word = slots[slot]
            at = offsets[word]
            if offsets[word + 1] - at == ends[i] - starts[i]:
                same = True
                for k in range(ends[i] - starts[i]):
                    if words[at + k] != utf8[starts[i] + k]:
                        same = False
                        break
                if same:
                    ids[i] = word
                    break
            slot = (slot + 1) & mask


@njit(error_model="numpy")
def _predict(  # type: ignore[no-untyped-def]
    ids, hashes, offsets, last, last_hash, ngrams, buckets, first_bucket, inputs, outputs, probabilities
):
    """Of texts without their end, which has the id `last`."""
    longest = 1
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text] + 1)
    line = np.empty(longest, np.int64)
    line_hashes = np.empty(longest, np.uint32)
    rows = np.empty(longest * max(1, ngrams), np.int64)
    hidden = np.empty(inputs.shape[1], np.float32)
    for text in range(len(offsets) - 1):
        start = offsets[text]
        n = offsets[text + 1] - start
        for k in range(n):
            line[k] = ids[start + k]
            line_hashes[k] = hashes[start + k]
        line[n] = last
        line_hashes[n] = last_hash
        n = _features(line[: n + 1], line_hashes[: n + 1], ngrams, buckets, first_bucket, rows)
        if n:
            _forward(rows, n, inputs, outputs, hidden, probabilities[text])


def hash_words(utf8: Bytes, starts: Ints, ends: Ints) -> npt.NDArray[np.uint32]:
    """fastText's hash of each word."""
    hashes = np.empty(len(starts), np.uint32)
    _hashes(utf8, starts, ends, hashes)
    return hashes


class FastTextFileError(ValueError):
    """A .bin file is cut short, or of a kind that is not read here."""


@dataclasses.dataclass(frozen=True)
class FastText:
    """A supervised model with softmax and without character n-grams.

    words: the dictionary, the most frequent first, with </s>; labels without their prefix; inputs float32 [words +
    buckets, dim], outputs float32 [labels, dim]; ngrams: longest word n-gram, counted into `buckets` by hash.
    """

    words: tuple[bytes, ...]
    labels: tuple[str, ...]
    word_counts: tuple[int, ...]
    label_counts: tuple[int, ...]
    inputs: Floats
    outputs: Floats
    ngrams: int
    buckets: int
    epochs: int = 5
    min_count: int = 1

    def dictionary(self) -> tuple[Bytes, Ints, npt.NDArray[np.int32]]:
        """Bytes, offsets and slots that `_ids` looks words up in."""
        joined = np.frombuffer(b"".join(self.words), np.uint8)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(w) for w in self.words], dtype=np.int64)])
        slots = np.full(1 << max(4, (2 * len(self.words)).bit_length()), -1, np.int32)
        mask = len(slots) - 1
        for number, h in enumerate(hash_words(joined, offsets[:-1], offsets[1:]).tolist()):
            slot = h & mask
            while slots[slot] >= 0:
                slot = (slot + 1) & mask
            slots[slot] = number
        return joined, offsets, slots

    def to_bytes(self) -> bytes:
        """The file that fastText writes, version 12 (src/fasttext.cc, saveModel; src/dictionary.cc, save)."""
        tokens = sum(self.word_counts) + sum(self.label_counts)
        parts = [struct.pack("<2i", _MAGIC, _VERSION)]
        # src/args.cc, save: dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket, minn, maxn, lrUpdateRate, t
        dim = self.inputs.shape[1]
        parts.append(
            struct.pack(
                "<12id", dim, 5, self.epochs, self.min_count, 5, self.ngrams, _SOFTMAX, _SUPERVISED, self.buckets, 0, 0,
                100, 1e-4,
            )
        )  # fmt: skip
        size = len(self.words) + len(self.labels)
        parts.append(struct.pack("<3i2q", size, len(self.words), len(self.labels), tokens, -1))
        parts += [word + struct.pack("<xqb", n, 0) for word, n in zip(self.words, self.word_counts, strict=True)]
        for label, n in zip(self.labels, self.label_counts, strict=True):
            parts.append(LABEL + label.encode() + struct.pack("<xqb", n, 1))
        for matrix in (self.inputs, self.outputs):
            parts += [struct.pack("<?2q", False, *matrix.shape), matrix.astype("<f4").tobytes()]
        return b"".join(parts)


def from_bytes(content: bytes) -> FastText:
    """Reads a file of `to_bytes` or of fastText; FastTextFileError: cut short, or of a kind that is not read here."""
    try:
        return _parsed(content)
    except (struct.error, ValueError) as error:
        if isinstance(error, FastTextFileError):
            raise
        raise FastTextFileError(f"the file is cut short ({error})") from error


def _parsed(content: bytes) -> FastText:
    if struct.unpack_from("<2i", content) != (_MAGIC, _VERSION):
        raise FastTextFileError("not a fastText file of version 12")
    _, _, epochs, least, _, ngrams, loss, model, buckets, _, longest, _, _ = struct.unpack_from("<12id", content, 8)
    if (loss, model, longest) != (_SOFTMAX, _SUPERVISED, 0):
        raise FastTextFileError("not a supervised model with softmax and without character n-grams")
    at = 8 + struct.calcsize("<12id")
    size, nwords, nlabels, _, pruned = struct.unpack_from("<3i2q", content, at)
    at += struct.calcsize("<3i2q")
    names: list[bytes] = []
    counts: list[int] = []
    for _ in range(size):
        end = content.index(b"\0", at)
        names.append(content[at:end])
        counts.append(struct.unpack_from("<q", content, end + 1)[0])
        at = end + 10
    if pruned > 0:
        raise FastTextFileError("the dictionary is pruned")
    matrices: list[Floats] = []
    for _ in range(2):
        quantised, rows, dim = struct.unpack_from("<?2q", content, at)
        if quantised:
            raise FastTextFileError("the matrices are quantised")
        at += struct.calcsize("<?2q")
        matrices.append(np.frombuffer(content, "<f4", rows * dim, at).reshape(rows, dim))
        at += 4 * rows * dim
    labels = tuple(name.removeprefix(LABEL).decode() for name in names[nwords : nwords + nlabels])
    inputs, outputs = matrices
    return FastText(
        tuple(names[:nwords]), labels, tuple(counts[:nwords]), tuple(counts[nwords:]), inputs, outputs,
        ngrams, buckets, epochs, least,
    )  # fmt: skip


class Predictor:
    """A model ready to score: 12 bytes a word besides the matrices."""

    def __init__(self, model: FastText) -> None:
        self.model = model
        self._dictionary = model.dictionary()
        end = np.frombuffer(END, np.uint8)
        last = words_ids(self._dictionary, end, np.zeros(1, np.int64), np.array([len(END)]))
        self._last, self._last_hash = int(last[0][0]), last[1][0]

    def probabilities(self, utf8: Bytes, texts: Ints) -> Floats:
        """float32 [texts, labels] of the texts utf8[texts[t]:texts[t + 1]]."""
        found = words(utf8, texts)
        ids, hashes = words_ids(self._dictionary, found.utf8, found.starts, found.ends)
        model = self.model
        result = np.full((len(texts) - 1, len(model.labels)), np.nan, np.float32)
        _predict(
            ids, hashes, found.offsets, self._last, self._last_hash, model.ngrams, max(1, model.buckets),
            len(model.words), model.inputs, model.outputs, result,
        )  # fmt: skip
        return result


def words_ids(
    dictionary: tuple[Bytes, Ints, npt.NDArray[np.int32]], utf8: Bytes, starts: Ints, ends: Ints
) -> tuple[Ints, npt.NDArray[np.uint32]]:
    """Numbers of the words utf8[starts[i]:ends[i]] in the dictionary (-1: not there) and their hashes."""
    ids, hashes = np.empty(len(starts), np.int64), np.empty(len(starts), np.uint32)
    _ids(utf8, starts, ends, hashes, *dictionary, ids)
    return ids, hashes


def train(
    ids: Ints,
    hashes: npt.NDArray[np.uint32],
    offsets: Ints,
    labels: Ints,
    order: Ints,
    *,
    words: int,
    classes: int,
    dim: int,
    epochs: int,
    learning_rate: float,
    ngrams: int,
    buckets: int,
    seed: int,
) -> tuple[Floats, Floats]:
    """Input and output matrix after training on one thread.

    ids [words of all texts] int64: row of each word, -1 without one, each text with its end; hashes likewise;
    offsets [texts + 1]; labels [texts] int64; order: the texts as they are seen in each epoch.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    inputs = (random.random((words + buckets, dim), np.float32) * 2 - 1) / np.float32(dim)
    outputs = np.zeros((classes, dim), np.float32)
    _train(
        ids, hashes, offsets, labels, order, epochs, learning_rate, ngrams, max(1, buckets), words, inputs, outputs
    )  # fmt: skip
    return inputs, outputs
