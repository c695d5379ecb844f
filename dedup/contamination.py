"""Decontamination: an index of evaluation sets, built once, and the annotator that looks for their items in texts.

    built = build_contamination_index("evals.zip", read_sets(["gsm8k", "humaneval"], folder="evals"))
    Contamination("evals.zip", methods=("ngram13@gpt3",)).annotate(batch)

The index is one file with the texts of the items, so the same file serves every method and every variant of a corpus;
its name is its hash.  Every hit is compared word by word or character by character: no hash alone says anything.

    ngram13@gpt3           collisions of 13 words go with what stands around them (`edits`), badly hit texts wholly
    ngram10@cosmopedia     texts that hold more than half of an item go
    ngram12@datatrove      texts with 12 words in common with an answer go
    substring@starcoder    texts that hold an item, whatever the case, go
    substring@starcoder2   the same, whatever the white space
    minhash@bigcode        texts whose tokens are those of an item to 58 % go
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from os import PathLike
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup import contamination_minhash as minhash
from dedup import contamination_ngrams as ngrams
from dedup import contamination_substrings as substrings
from dedup.contamination_sets import TARGET, WHOLE, EvalSet, Text, load_set
from dedup.contamination_words import original_places
from quality_signals.batches import field
from quality_signals.edits import Edit, edits_column, edits_field
from quality_signals.families import VERDICT_FIELDS
from quality_signals.model_files import ModelFile, ModelFileError, open_model, write_model
from quality_signals.text_batch import Ints, SharedTexts, TextBatch

KIND = "contamination"
VERSION = 1
_ITEMS = "items.arrow"
_ITEM_SCHEMA = pa.schema([(name, pa.large_string()) for name in ("set", "item", "field", "role", "text")])

GPT3, COSMOPEDIA, DATATROVE = "ngram13@gpt3", "ngram10@cosmopedia", "ngram12@datatrove"
STARCODER, STARCODER2, BIGCODE = "substring@starcoder", "substring@starcoder2", "minhash@bigcode"
METHODS = (GPT3, COSMOPEDIA, DATATROVE, STARCODER, STARCODER2, BIGCODE)
# GPT-3, appendix C: 13-grams that more documents than these share with the items are common phrases, not leaks.
COMMON_DOCUMENTS = 10
REASON = "contaminated"  # datatrove's word
NOTHING_LEFT = GPT3 + "/nothing_left"

HIT = pa.struct(
    [
        ("set", pa.string()),
        ("item", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("method", pa.string()),
    ]
)
_HITS = "where items of evaluation sets stand, in code points of the text; overlapping n-grams of an item as one"


# -- the index ---------------------------------------------------------------------------------------------


def build_contamination_index(path: str | PathLike[str], sets: Sequence[EvalSet]) -> ModelFile:
    """Reads the sets and writes the index.  Equal sets give an equal file, whatever their order or folder.

    Raises EvalSetError for a set that cannot be read.
    """
    if not sets:
        raise ValueError("an index of no evaluation set finds nothing")
    texts: list[Text] = []
    told: dict[str, Any] = {}
    for described in sorted(sets, key=lambda one: one.name):
        if described.name in told:
            raise ValueError(f"evaluation set {described.name} is given twice")
        loaded = load_set(described)
        texts += loaded.texts
        told[described.name] = {
            "described": described.described(),
            "sha256": loaded.sha256,
            "items": loaded.items,
            "texts": sum(text.role == TARGET for text in loaded.texts),
            "left_out": loaded.left_out,
            "empty": loaded.empty,
            "not_chosen": loaded.not_chosen,
        }
    columns = [pa.array([getattr(text, name) for text in texts], pa.large_string()) for name in _ITEM_SCHEMA.names]
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, _ITEM_SCHEMA) as writer:
        writer.write_table(pa.Table.from_arrays(columns, schema=_ITEM_SCHEMA), max_chunksize=1 << 16)
    return write_model(path, KIND, {"version": VERSION, "sets": told}, {_ITEMS: sink.getvalue()})


def open_contamination_index(path: str | PathLike[str]) -> ModelFile:
    """Raises ModelFileError where the file is missing, damaged, of another kind or of a later version."""
    opened = open_model(path, KIND)
    if opened.manifest.get("version") != VERSION:
        raise ModelFileError(f"{path}: index of version {opened.manifest.get('version')}, known is {VERSION}")
    return opened


def index_texts(opened: ModelFile) -> tuple[Text, ...]:
    """The texts of an opened index, in its order: by set, then as the set's file has them."""
    try:
        table = pa.ipc.open_file(opened.read(_ITEMS)).read_all()
        return tuple(Text(**row) for row in table.to_pylist())
    except (pa.ArrowInvalid, TypeError) as error:
        raise ModelFileError(f"{opened.path}: {_ITEMS} is damaged: {error}") from error


@lru_cache(maxsize=2)
def _texts(path: str, sha256: str) -> tuple[Text, ...]:
    return index_texts(open_contamination_index(path))


# -- what a method finds -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Hit:
    """A target or whole item, by its `Text` number, that stands at start:end of a text of a batch."""

    text: int
    target: int
    start: int
    end: int


@dataclasses.dataclass(slots=True)
class Findings:
    """Of one method in one batch.  dropped: text -> (rule, value, threshold, number of the `Text` that decided)."""

    hits: list[Hit] = dataclasses.field(default_factory=list)
    dropped: dict[int, tuple[str, float, float, int]] = dataclasses.field(default_factory=dict)
    removed: dict[int, tuple[tuple[int, int], ...]] = dataclasses.field(default_factory=dict)


class Method(Protocol):
    @property
    def not_searchable(self) -> int:
        """Texts of the index that this method can never find: too short, or nothing left of them."""
        ...

    def find(self, texts: TextBatch, common: npt.NDArray[np.bool_] | None) -> Findings: ...


def _of_texts(found: Ints) -> list[tuple[int, Ints]]:
    """The rows of every text that has any."""
    numbers, starts = np.unique(found[:, 0], return_index=True)
    return list(zip(numbers.tolist(), np.split(found, starts[1:]), strict=True)) if len(found) else []


@dataclasses.dataclass(frozen=True, slots=True)
class _Ngrams:
    name: str
    index: ngrams.GramIndex

    @property
    def not_searchable(self) -> int:
        return self.index.too_short

    def find(self, texts: TextBatch, common: npt.NDArray[np.bool_] | None) -> Findings:
        found = ngrams.find_grams(texts, self.index)
        if common is not None:
            found = found[~common[found[:, 2]]]
        findings = Findings()
        words = texts.view(ngrams.VIEWS[self.index.view])
        for text, rows in _of_texts(found):
            first, last = words.first[rows[:, 1]], words.last[rows[:, 1] + self.index.n - 1]
            if self.index.view == "datatrove":
                first = original_places(texts, text, first)
                last = original_places(texts, text, last - 1) + 1
            targets = ngrams.by_target(np.column_stack([rows, first, last]), self.index)
            for target, own in sorted(targets.items()):
                number = int(self.index.targets[target])
                for start, end in ngrams.merged_spans(own[:, 3], own[:, 4]):
                    findings.hits.append(Hit(text, number, start, end))
            self._judge(texts, text, first, last, targets, findings)
        return findings

    def _judge(
        self, texts: TextBatch, text: int, first: Ints, last: Ints, targets: Mapping[int, Ints], findings: Findings
    ) -> None:
        decided = int(self.index.targets[min(targets)])
        if self.name == DATATROVE:
            grams = len({int(gram) for rows in targets.values() for gram in rows[:, 2]})
            findings.dropped[text] = (self.name, float(grams), 0.0, decided)
        elif self.name == GPT3:
            collisions = list(zip(first.tolist(), last.tolist(), strict=True))
            pieces = ngrams.gpt3_pieces(int(texts.lengths[text]), collisions)
            if pieces.count > ngrams.GPT3_PIECES:
                findings.dropped[text] = (self.name, float(pieces.count), float(ngrams.GPT3_PIECES), decided)
            elif not pieces.left:
                findings.dropped[text] = (NOTHING_LEFT, 0.0, float(ngrams.GPT3_LEAST_PIECE), decided)
            else:
                findings.removed[text] = pieces.removed
        else:
            words = texts.view(ngrams.VIEWS[self.index.view])
            best, best_target = -1.0, 0
            for target, rows in sorted(targets.items()):
                item = ngrams.item_points(self.index, target)
                ratio = ngrams.matched_ratio(words, text, item, rows[:, 1])
                if ratio > best:
                    best, best_target = ratio, target
            if best > ngrams.COSMOPEDIA_RATIO:
                decided = int(self.index.targets[best_target])
                findings.dropped[text] = (self.name, best, ngrams.COSMOPEDIA_RATIO, decided)


@dataclasses.dataclass(frozen=True, slots=True)
class _Substrings:
    name: str
    index: substrings.SubstringIndex

    @property
    def not_searchable(self) -> int:
        return self.index.empty

    def find(self, texts: TextBatch, common: npt.NDArray[np.bool_] | None) -> Findings:
        findings = Findings()
        for text, rows in _of_texts(substrings.find_substrings(texts, self.index)):
            decided: list[int] = []
            for row in rows:
                start, end = substrings.original_span(texts, self.index, row)
                item = int(row[1])
                owners = self.index.owners[self.index.owner_offsets[item] : self.index.owner_offsets[item + 1]].tolist()
                findings.hits += [Hit(text, owner, start, end) for owner in owners]
                decided += owners
            findings.dropped[text] = (self.name, float(len(decided)), 0.0, min(decided))
        return findings


@dataclasses.dataclass(frozen=True, slots=True)
class _MinHash:
    name: str
    index: minhash.ItemIndex

    @property
    def not_searchable(self) -> int:
        return self.index.without_token

    def find(self, texts: TextBatch, common: npt.NDArray[np.bool_] | None) -> Findings:
        findings = Findings()
        for text, item, similarity in minhash.find_similar(texts, self.index):
            number = int(self.index.targets[item])
            findings.hits.append(Hit(text, number, 0, int(texts.lengths[text])))
            before = findings.dropped.get(text)
            if before is None or similarity > before[1]:
                findings.dropped[text] = (self.name, similarity, minhash.THRESHOLD, number)
        return findings


@lru_cache(maxsize=8)
def _method(path: str, sha256: str, name: str) -> Method:
    """Built once a process: 1 to 4 s for 100,000 short texts, some milliseconds for hundreds."""
    texts = _texts(path, sha256)
    if name == BIGCODE:
        return _MinHash(name, minhash.build_index(texts))
    if name == STARCODER:
        return _Substrings(name, substrings.build_index(texts, "lower"))
    if name == STARCODER2:
        return _Substrings(name, substrings.build_index(texts, "compact"))
    n, view = {
        GPT3: (ngrams.GPT3_WORDS, "gpt3"),
        COSMOPEDIA: (ngrams.COSMOPEDIA_WORDS, "cosmopedia"),
        DATATROVE: (ngrams.DATATROVE_WORDS, "datatrove"),
    }[name]
    return _Ngrams(name, ngrams.build_index(texts, n, view, answers=name == DATATROVE))


# -- the annotator -----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Contamination:
    """Annotator: which items of evaluation sets stand in a text, and what becomes of the text.

    model    path of an index (`build_contamination_index`)
    methods  of METHODS, in the order in which they name the rule; a text stays if none of them drops it
    common   13-grams, their words joined by blanks, that GPT-3's method ignores because too many documents have them:
             a document cannot know, `pipelines.find_contamination` counts

    Columns: the verdict; items, how many items were hit; hits; with ngram13@gpt3 edits, what it cuts out of a text that
    stays (a blank line between pieces).
    """

    model: str
    methods: tuple[str, ...] = (GPT3,)
    common: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.methods:
            raise ValueError(f"contamination: no method is given, known are {', '.join(METHODS)}")
        for method in self.methods:
            if method not in METHODS:
                raise ValueError(f"contamination: method is {method!r}, known are {', '.join(METHODS)}")
        if len(set(self.methods)) < len(self.methods):
            raise ValueError(f"contamination: a method is given twice: {', '.join(self.methods)}")
        if self.common and GPT3 not in self.methods:
            raise ValueError(f"contamination: common is for the method {GPT3}")
        object.__setattr__(self, "_sha256", open_contamination_index(self.model).sha256)

    _sha256: str = dataclasses.field(default="", init=False, repr=False)

    @property
    def name(self) -> str:
        return f"{KIND}@{self._sha256[:12]}"

    @property
    def edits(self) -> bool:
        return GPT3 in self.methods

    @property
    def schema(self) -> pa.Schema:
        own = [
            field("items", pa.int32(), "items of evaluation sets that were found"),
            field("hits", pa.list_(HIT), _HITS, "code points"),
        ]
        return pa.schema([*VERDICT_FIELDS, *own, *([edits_field()] if self.edits else [])])

    def method(self, name: str) -> Method:
        return _method(self.model, self._sha256, name)

    @property
    def texts(self) -> tuple[Text, ...]:
        return _texts(self.model, self._sha256)

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(None)
        found = {name: self.method(name).find(texts, self._common if name == GPT3 else None) for name in self.methods}
        verdicts: dict[int, tuple[str, float, float, int]] = {}
        for findings in reversed(found.values()):
            verdicts.update(findings.dropped)
        columns = [
            *self._verdict_columns(texts, verdicts),
            *self._hit_columns(texts, found),
        ]
        if self.edits:
            columns.append(_cuts(len(texts), found[GPT3].removed, texts.lengths, verdicts))
        scattered = [texts.scatter(column) for column in columns]
        return pa.RecordBatch.from_arrays([scattered[0].fill_null(True), *scattered[1:]], schema=self.schema)

    @property
    def _common(self) -> npt.NDArray[np.bool_] | None:
        return _marked(self.model, self._sha256, self.common) if self.common else None

    def _verdict_columns(
        self, texts: TextBatch, verdicts: Mapping[int, tuple[str, float, float, int]]
    ) -> list[pa.Array]:
        told = [verdicts.get(text) for text in range(len(texts))] if verdicts else [None] * len(texts)
        return [
            pa.array([one is None for one in told], pa.bool_()),
            pa.array([one and one[0] for one in told], pa.string()),
            pa.array([one and one[1] for one in told], pa.float64()),
            pa.array([one and one[2] for one in told], pa.float64()),
            pa.array([one and f"{REASON}: {self.texts[one[3]].set}" for one in told], pa.string()),
        ]

    def _hit_columns(self, texts: TextBatch, found: Mapping[str, Findings]) -> list[pa.Array]:
        hits: dict[int, list[tuple[Hit, str]]] = {}
        for name, findings in found.items():
            for hit in findings.hits:
                hits.setdefault(hit.text, []).append((hit, name))
        order = {name: i for i, name in enumerate(self.methods)}
        rows: list[list[dict[str, Any]]] = []
        counts: list[int] = []
        for text in range(len(texts)):
            own = sorted(hits.get(text, ()), key=lambda one: (one[0].start, one[0].end, one[0].target, order[one[1]]))
            told = [(self.texts[hit.target], hit, name) for hit, name in own]
            seen: dict[tuple[Any, ...], None] = {}
            for item, hit, name in told:
                seen[(item.set, item.item, hit.start, hit.end, name)] = None  # of two equal fields of an item one
            rows.append([dict(zip(("set", "item", "start", "end", "method"), key, strict=True)) for key in seen])
            counts.append(len({key[:2] for key in seen}))
        return [pa.array(counts, pa.int32()), pa.array(rows, pa.list_(HIT))]


@lru_cache(maxsize=4)
def _marked(path: str, sha256: str, common: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """[grams of GPT-3's index] which are common."""
    method = _method(path, sha256, GPT3)
    assert isinstance(method, _Ngrams)
    marked = np.zeros(len(method.index), np.bool_)
    marked[ngrams.find_grams(ngrams.text_batch(common), method.index)[:, 2]] = True
    return marked


def _cuts(
    texts: int, removed: Mapping[int, tuple[tuple[int, int], ...]], lengths: Ints, dropped: Mapping[int, Any]
) -> pa.Array:
    """What GPT-3's method cuts out of texts that stay, a blank line in its place between two pieces."""
    edits: list[Edit] = []
    offsets = np.zeros(texts + 1, np.int64)
    for text in sorted(removed):
        if text in dropped:
            continue
        length = int(lengths[text])
        own = [Edit(a, b, "\n\n" if a > 0 and b < length else "", GPT3) for a, b in removed[text]]
        edits += own
        offsets[text + 1] = len(own)
    return edits_column(
        [edit.start for edit in edits],
        [edit.end for edit in edits],
        [int(bool(edit.replacement)) for edit in edits],
        [0] * len(edits),
        np.cumsum(offsets),
        replacement_texts=("", "\n\n"),
        rule_names=(GPT3,),
    )


def documents_of_grams(annotator: Contamination, batch: pa.RecordBatch) -> tuple[Ints, Ints]:
    """Numbers of GPT-3's 13-grams that stand in the texts of a batch, ascending, and in how many texts each."""
    method = annotator.method(GPT3)
    assert isinstance(method, _Ngrams)
    found = ngrams.find_grams(SharedTexts(batch).of(None), method.index)
    once = np.unique(found[:, [0, 2]], axis=0)
    return np.unique(once[:, 1], return_counts=True)


def gram_texts(annotator: Contamination, numbers: Sequence[int]) -> list[str]:
    method = annotator.method(GPT3)
    assert isinstance(method, _Ngrams)
    return [method.index.gram(number) for number in numbers]


def searched(annotator: Contamination) -> dict[str, dict[str, int]]:
    """Per method how many texts of the index it looks for, and how many it never can find."""
    told = {}
    for name in annotator.methods:
        role = WHOLE if name == BIGCODE else TARGET
        method = annotator.method(name)
        all_texts = (
            len(method.index.targets)
            if isinstance(method, _Ngrams)
            else sum(text.role == role for text in annotator.texts)
        )
        told[name] = {"texts": all_texts, "too_short": method.not_searchable}
    return told
