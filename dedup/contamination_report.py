"""Counts of what decontamination found: per method, set and item, and per source; the same in any order of adding."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

# Items named in the Markdown report, those in the most documents first.
NAMED_ITEMS = 50


@dataclasses.dataclass(slots=True)
class Tally:
    """documents: source -> read, hit and dropped ones.  items: (method, set, item, source) -> documents with it.
    rules: (rule, source) -> documents dropped.  sets: (method, set, source) -> documents with any item of it."""

    documents: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)
    items: Counter[tuple[str, str, str, str]] = dataclasses.field(default_factory=Counter)
    rules: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)
    sets: Counter[tuple[str, str, str]] = dataclasses.field(default_factory=Counter)

    def add(self, sources: Sequence[str | None], columns: pa.RecordBatch) -> None:
        """The columns of `Contamination` for documents of these sources."""
        self.documents.update(("read", source or "") for source in sources)
        rules = columns.column("rule").to_pylist()
        hits = columns.column("hits")
        for source, rule, row in zip(sources, rules, range(columns.num_rows), strict=True):
            own = source or ""
            if rule is not None:
                self.rules[rule, own] += 1
                self.documents["dropped", own] += 1
            found = hits[row].as_py() if hits[row].is_valid else None
            if found:
                self.documents["hit", own] += 1
                items = {(hit["method"], hit["set"], hit["item"]) for hit in found}
                self.items.update((*item, own) for item in items)
                self.sets.update((method, name, own) for method, name in {item[:2] for item in items})

    def update(self, other: Tally) -> None:
        for name in ("documents", "items", "rules", "sets"):
            getattr(self, name).update(getattr(other, name))

    def to_json(self) -> dict[str, list[list[Any]]]:
        return {name: sorted([*key, count] for key, count in getattr(self, name).items()) for name in self._names()}

    @classmethod
    def from_json(cls, value: Mapping[str, Sequence[Sequence[Any]]]) -> Tally:
        return cls(**{name: Counter({tuple(row[:-1]): row[-1] for row in value[name]}) for name in cls._names()})

    @staticmethod
    def _names() -> tuple[str, ...]:
        return ("documents", "items", "rules", "sets")


def report(
    tally: Tally,
    sets: Mapping[str, Any],
    searched: Mapping[str, Mapping[str, int]],
    index: str,
    common: Mapping[str, int],
) -> dict[str, Any]:
    """The report as data.

    sets      of the index's manifest: name -> its counts
    searched  method -> texts looked for, and those too short to be found
    index     the index's name
    common    13-grams that were ignored -> documents that have them
    """
    sources = sorted({source for _, source in tally.documents})
    per_item: dict[tuple[str, str, str], dict[str, int]] = {}
    for (method, name, item, source), count in tally.items.items():
        per_item.setdefault((method, name, item), {})[source] = count
    methods: dict[str, Any] = {}
    for method in sorted(searched):
        told: dict[str, Any] = {}
        for name in sorted(sets):
            found = {item: per for (of, own, item), per in per_item.items() if (of, own) == (method, name)}
            told[name] = {
                "items": sets[name]["items"],
                "items_hit": len(found),
                "documents": sum(count for (of, own, _), count in tally.sets.items() if (of, own) == (method, name)),
                "hits": {item: dict(sorted(found[item].items())) for item in sorted(found)},
            }
        methods[method] = {
            **searched[method],
            "dropped": sum(n for (rule, _), n in tally.rules.items() if rule.partition("/")[0] == method),
            "sets": told,
        }
    return {
        "index": index,
        "documents": {what: _total(tally, what) for what in ("read", "hit", "dropped")},
        "sources": {
            source: {
                **{what: tally.documents[what, source] for what in ("read", "hit", "dropped")},
                "rules": {rule: n for (rule, of), n in sorted(tally.rules.items()) if of == source},
            }
            for source in sources
        },
        "methods": methods,
        "common_grams": dict(sorted(common.items())),
    }


def _total(tally: Tally, what: str) -> int:
    return sum(count for (of, _), count in tally.documents.items() if of == what)


def markdown(told: Mapping[str, Any]) -> str:
    """The report for a reader."""
    total = told["documents"]
    lines = [
        "# Contamination",
        "",
        f"Index `{told['index']}`. Of {total['read']:,} documents {total['hit']:,} hold items of evaluation sets; "
        f"{total['dropped']:,} are dropped.",
        "",
        "| method | set | items | items found | documents |",
        "|---|---|---:|---:|---:|",
    ]
    for method, of in told["methods"].items():
        lines += [
            f"| {method} | {_cell(name)} | {one['items']:,} | {one['items_hit']:,} | {one['documents']:,} |"
            for name, one in of["sets"].items()
        ]
    lines += ["", "| method | texts looked for | too short to be found | documents dropped |", "|---|---:|---:|---:|"]
    lines += [
        f"| {method} | {of['texts']:,} | {of['too_short']:,} | {of['dropped']:,} |"
        for method, of in told["methods"].items()
    ]
    lines += ["", "| source | documents | with items | dropped |", "|---|---:|---:|---:|"]
    lines += [
        f"| {_cell(source)} | {one['read']:,} | {one['hit']:,} | {one['dropped']:,} |"
        for source, one in told["sources"].items()
    ]
    ranked = sorted(
        (-sum(per.values()), method, name, item)
        for method, of in told["methods"].items()
        for name, one in of["sets"].items()
        for item, per in one["hits"].items()
    )
    if ranked:
        lines += ["", "| set | item | method | documents |", "|---|---|---|---:|"]
        lines += [
            f"| {_cell(name)} | {_cell(item)} | {method} | {-count:,} |"
            for count, method, name, item in ranked[:NAMED_ITEMS]
        ]
        if len(ranked) > NAMED_ITEMS:
            lines += ["", f"{len(ranked) - NAMED_ITEMS:,} more stand in report.json."]
    if told["common_grams"]:
        lines += ["", f"{len(told['common_grams']):,} 13-grams were ignored: too many documents share them."]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
