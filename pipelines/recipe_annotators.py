"""The annotators of a recipe: names in full, options and models checked, editors before what sees their edits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.recipe_errors import Path, listed, nearest
from pipelines.recipe_models import AnnotatorSpec

if TYPE_CHECKING:
    from pipelines.annotators import Annotator

# Rules that are not an annotator's verdict, and what each needs to be in the recipe.
DECISIONS = ("dedup", "license")
_DEDUP = "dedup"
# Names below annotations/ that are no annotator's.
_RESERVED = (*DECISIONS, "opt_out", "split")
# What a family's constructor raises for options and files that it cannot use.
_REFUSALS = (ValueError, OSError, LookupError, TypeError, ImportError, RuntimeError)


class Report(Protocol):
    def __call__(self, path: Path, message: str, *, of_key: bool = False, **more: str | None) -> None: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """The names that exist outside a recipe."""

    annotators: tuple[str, ...]
    proxies: tuple[str, ...]
    factories: Mapping[str, Callable[..., Any]] | None = None
    """By name of annotator; without them options, models and columns are not looked into."""

    def full_names(self, name: str) -> list[str]:
        """['rpv2@1'] for 'rpv2@1' and for 'rpv2'; several where a short name is not enough; else none.

        Of several, our own version (`minhash@1`) has the short name, not another tool's (`minhash@rpv2`).
        """
        for own in (name, f"{name}@1"):
            if own in self.annotators:
                return [own]
        return [known for known in self.annotators if known.partition("@")[0] == name]


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """An annotator of the recipe.  annotator: None where there are no factories."""

    path: Path
    spec: AnnotatorSpec
    annotator: Annotator | None = None
    decision: bool = False
    """A stage of the recipe that is no annotator: dedup."""

    @property
    def name(self) -> str:
        return self.spec.written

    @property
    def own_name(self) -> bool:
        """Whether it is what its family's name says, on whatever text."""
        return not self.spec.as_ or self.spec.model is not None or self.spec.as_.startswith(self.spec.name + "+")

    def edits(self) -> bool:
        from pipelines.annotators import is_edited

        return not self.decision and (self.annotator is None or is_edited(self.annotator.schema))

    def drops(self) -> bool:
        """Whether it says by itself which documents stay."""
        return self.has_verdict() is not False

    @property
    def needs(self) -> tuple[str, ...]:
        """Annotators whose columns it reads."""
        return getattr(self.annotator, "needs", ())

    def columns(self, numbers: bool) -> list[str] | None:
        """Its columns for a condition on numbers or on words; None where they are not known."""
        if self.annotator is None:
            return None
        fits = has_number if numbers else has_words
        return [field.name for field in self.annotator.schema if fits(field.type)]

    def has_lines(self, column: str) -> bool:
        """Whether the column has a span with a score a line."""
        from pyarrow import types

        return self.annotator is None or types.is_list(self.annotator.schema.field(column).type)

    def has_verdict(self) -> bool | None:
        from pipelines.annotators import has_verdict

        return None if self.annotator is None else has_verdict(self.annotator.schema)


def has_number(column: Any) -> bool:
    """Numbers, truth values, and RedPajama's lists of spans with a score."""
    from pyarrow import types

    if types.is_list(column) and types.is_struct(column.value_type):
        return column.value_type.get_field_index("score") >= 0
    return types.is_integer(column) or types.is_floating(column) or types.is_boolean(column)


def has_words(column: Any) -> bool:
    from pyarrow import types

    return types.is_string(column) or types.is_large_string(column)


class AnnotatorList:
    """All annotators of a recipe and of its presets."""

    def __init__(self, known: Known, report: Report, deduplicated: bool = False) -> None:
        self._known, self._report, self._deduplicated = known, report, deduplicated
        self.entries: list[Entry] = []
        self._of_presets: set[Path] = set()

    def _at(self, path: Path, *keys: str) -> Path:
        """Where a key of an annotator stands; a preset's annotators stand nowhere but at the preset."""
        return path if path in self._of_presets else (*path, *keys)

    @property
    def names(self) -> list[str]:
        return [entry.name for entry in self.entries]

    def editors(self, entry: Entry) -> list[str]:
        """Those of the annotators before it that edit the text."""
        return [name for name in entry.spec.after if name != _DEDUP and self.entry(name).edits()]

    def specs(self) -> tuple[AnnotatorSpec, ...]:
        """Editors before what sees their edits, else in the given order."""
        by_name = {entry.name: entry.spec for entry in self.entries}
        ordered: dict[str, AnnotatorSpec] = {}
        for spec in by_name.values():
            for name in (*(each for each in spec.after if each != _DEDUP), spec.written):
                ordered.setdefault(name, by_name[name])
        return tuple(ordered.values())

    # -- reading the list ---------------------------------------------------------------------------------

    def read(self, given: Sequence[tuple[Path, AnnotatorSpec, str | None]]) -> dict[int, Entry]:
        """Adds (place, annotator, preset that asks for it); what is found wrong is reported.

        Returns the position in `given` -> its entry; two presets that ask for the same share one.
        """
        self._of_presets = {path for path, _, preset in given if preset is not None}
        waiting = {position: self._in_full(*asked[:2]) for position, asked in enumerate(given)}
        found: dict[int, Entry] = {}
        while True:
            ready = [
                (position, spec)
                for position, spec in waiting.items()
                if spec is None or all(name == _DEDUP or self._match(name) for name in spec.after)
            ]
            if not ready:
                break
            for position, spec in ready:
                del waiting[position]
                path, _, preset = given[position]
                entry = None if spec is None else self._made(path, spec)
                if entry is not None:
                    kept = self._add(entry, preset)
                    if kept is not None:
                        found[position] = kept
        for position, spec in waiting.items():
            assert spec is not None
            self._unknown_editor(given[position][0], spec, [other for other in waiting.values() if other])
        return found

    def _in_full(self, path: Path, spec: AnnotatorSpec) -> AnnotatorSpec | None:
        """The annotator with its full name; None, reported, where there is none."""
        full = self._known.full_names(spec.name)
        at = self._at(path, "name")
        if len(full) == 1:
            return spec.model_copy(update={"name": full[0]})
        if full:
            self._report(at, f"annotator {spec.name!r} stands for several: write one in full", allowed=listed(full))
        else:
            names = self._known.annotators
            self._report(
                at,
                "unknown annotator",
                found=repr(spec.name),
                allowed=listed(names),
                suggestion=nearest(spec.name, names),
            )
        return None

    def _made(self, path: Path, spec: AnnotatorSpec) -> Entry | None:
        """The annotator itself, to see that its options and files can be used."""
        before = self._before(path, spec)
        if before is None:
            return None
        spec = spec.model_copy(update={"after": tuple(entry.name for entry in before)})
        if self._known.factories is None:
            return Entry(path, self._named(path, spec, spec.name))
        made = self._constructed(path, spec)
        if made is None:
            return None
        from pipelines.annotators import wrapped

        spec = self._named(path, spec, made.name if spec.model else spec.name)
        return Entry(path, spec, wrapped(made, spec, before[-1].annotator if before else None))

    def _constructed(self, path: Path, spec: AnnotatorSpec) -> Any | None:
        from pipelines.annotators import changes_name, needs_model, options_that_differ, read_options

        assert self._known.factories is not None
        factory = self._known.factories[spec.name]
        if needs_model(factory) != (spec.model is not None):
            if spec.model is None:
                self._report(self._at(path, "name"), f"{spec.name} runs a fitted model: give its file as `model`")
            else:
                self._report(self._at(path, "model"), f"{spec.name} runs no model")
            return None
        try:
            options, problems = read_options(factory, spec.options)
        except ImportError as error:
            self._report(self._at(path, "name"), f"{spec.name} cannot run here: {error}")
            return None
        for problem in problems:
            missing = problem.option not in spec.options
            self._report(
                path if missing else self._at(path, "options", problem.option),
                f"option {problem.option} {problem.message}" if missing else problem.message,
                of_key=bool(problem.known),
                found=problem.found,
                allowed=problem.allowed or (listed(problem.known) if problem.message == "unknown option" else None),
                suggestion=nearest(problem.option, problem.known),
            )
        if problems:
            return None
        other = changes_name(options_that_differ(factory, options))
        if other and not spec.as_ and spec.model is None:
            self._report(
                self._at(path, "options"),
                f"with {listed(other)} it is not what {spec.name} means everywhere: give it a name of its own, "
                f"for example as: my_{_family(spec.name)}",
            )
            return None
        try:
            return factory(*([spec.model] if spec.model else []), **options)
        except _REFUSALS as error:
            self._report(self._at(path, "model") if spec.model else path, _said(spec.name, error))
            return None

    def _named(self, path: Path, spec: AnnotatorSpec, base: str) -> AnnotatorSpec:
        """With the name under which it writes; base: its name without editors."""
        automatic = "+".join([base, *spec.after[-1:]])
        alias = spec.as_
        if alias is None or alias == automatic:
            return spec.model_copy(update={"as_": None if automatic == spec.name else automatic})
        pinned = spec.model is not None and alias.partition("@")[0] == spec.name
        if pinned:
            self._report(self._at(path, "model"), f"{spec.model} is {base}, not the {alias} that is asked for")
        elif alias in (*self._known.annotators, *_RESERVED) or "+" in alias:
            self._report(self._at(path, "as"), "is another annotator's name, or holds a '+'", found=repr(alias))
        return spec

    def _before(self, path: Path, spec: AnnotatorSpec) -> list[Entry] | None:
        """What comes before: editors in order, and before a corpus annotator first the families whose drops take no
        part.  None, reported, where that cannot be."""
        from pipelines.annotators import of_corpus

        if not spec.after:
            return []
        at = self._at(path, "after")
        found = [self._dedup(at) if name == _DEDUP else self.find(at, name, "annotator") for name in spec.after]
        named = [entry for entry in found if entry is not None]
        if len(named) < len(found):
            return None
        factory = (self._known.factories or {}).get(spec.name)
        if factory is None or not of_corpus(factory):
            return self._editors(path, named)
        if not factory.made.takes_after:  # type: ignore[attr-defined]
            self._report(at, f"{spec.name} looks at the documents as they are: others come after it, it after none")
            return None
        families = [entry for entry in named if not entry.edits()]
        for entry in families:
            if not entry.drops():
                self._report(at, f"{entry.name} neither drops documents nor edits them")
                return None
        editors = [entry for entry in named if entry.edits()]
        chain = self._editors(path, editors) if editors else []
        if chain is None:
            return None
        if spec.as_ is None and len(families) + bool(chain) > 1:
            self._report(at, f"after several it needs a name of its own, for example as: my_{_family(spec.name)}")
            return None
        return [*families, *chain]

    def _dedup(self, path: Path) -> Entry | None:
        if not self._deduplicated:
            self._report(path, "after dedup: the recipe has no block dedup")
            return None
        return Entry((_DEDUP,), AnnotatorSpec(name=_DEDUP), decision=True)

    def waits_for_dedup(self, name: str) -> bool:
        """Whether an annotator comes after dedup, itself or by what it comes after."""
        entry = next((each for each in self.entries if each.name == name), None)
        before = () if entry is None else (*entry.spec.after, *entry.needs)
        return _DEDUP in before or any(self.waits_for_dedup(each) for each in before)

    def _editors(self, path: Path, named: Sequence[Entry]) -> list[Entry] | None:
        """The editors whose edits come before, in order; None, reported, where they do not follow one another."""
        last = named[-1]
        chain = [*(self.entry(name) for name in last.spec.after if name != _DEDUP), last]
        if len(named) > 1 and [entry.name for entry in named] != [entry.name for entry in chain]:
            seen = listed(last.spec.after) if last.spec.after else "no other"
            self._report(
                self._at(path, "after"),
                f"{last.name} edits the text after {seen}: editors of one list follow one another, so annotate each "
                f"after all before it",
            )
            return None
        for entry in chain:
            if not entry.edits():
                editors = [each.name for each in self.entries if each.edits()]
                self._report(self._at(path, "after"), f"{entry.name} edits nothing", allowed=listed(editors))
                return None
        return chain

    def _unknown_editor(self, path: Path, spec: AnnotatorSpec, waiting: Sequence[AnnotatorSpec]) -> None:
        for name in spec.after:
            if name == _DEDUP or self._match(name):
                continue
            if any(name in (other.written, other.name, other.name.partition("@")[0]) for other in waiting):
                self._report(self._at(path, "after"), f"{spec.written} and {name} wait for one another")
            elif self._known.full_names(name):
                self._report(
                    self._at(path, "after"),
                    f"needs the annotator {self._known.full_names(name)[0]}: add it to annotators",
                    allowed=listed(self.names),
                )
            else:
                names = list(dict.fromkeys([*self.names, *self._known.annotators]))
                self._report(
                    self._at(path, "after"),
                    "unknown annotator",
                    found=repr(name),
                    allowed=listed(names),
                    suggestion=nearest(name, names),
                )

    def _add(self, entry: Entry, preset: str | None) -> Entry | None:
        twin = next((each for each in self.entries if each.name == entry.name), None)
        if twin is None:
            self.entries.append(entry)
            return entry
        if preset is None:
            self._report(entry.path, f"{entry.name} is listed twice")
        elif twin.spec == entry.spec:
            return twin
        else:
            self._report(
                entry.path,
                f"preset {preset} needs {entry.name} with other options than it has in this recipe: give the "
                f"recipe's own another name with `as`",
            )
        return None

    # -- looking up ---------------------------------------------------------------------------------------

    def entry(self, name: str) -> Entry:
        """The entry that writes under `name`."""
        return next(entry for entry in self.entries if entry.name == name)

    def _match(self, name: str) -> list[Entry]:
        """Entries that `name`, full or short, may mean."""
        exact = [entry for entry in self.entries if entry.name in (name, f"{name}@1")]
        if exact:
            return exact[:1]
        return [
            entry
            for entry in self.entries
            if (entry.own_name and name in (entry.spec.name, entry.spec.name.partition("@")[0]))
            or name == entry.name.partition("@")[0]
        ]

    def means(self, name: str) -> bool:
        """Whether some annotator, of the recipe or of those that exist, is meant by `name`."""
        return bool(self._match(name) or self._known.full_names(name))

    def known_rules(self, but: Collection[str]) -> list[str]:
        """Names of the recipe's annotators and of all others, without those whose family is in `but`."""
        names = dict.fromkeys([*self.names, *self._known.annotators])
        return [name for name in names if name.partition("@")[0] not in but]

    def find(self, path: Path, name: str, what: str) -> Entry | None:
        """The entry that a step means by `name`; what is wrong is reported."""
        matches = self._match(name)
        if len(matches) == 1:
            return matches[0]
        if matches:
            names = [entry.name for entry in matches]
            self._report(path, f"{what} {name!r} stands for several: write one in full", allowed=listed(names))
            return None
        full = self._known.full_names(name)
        if not full:
            names = list(dict.fromkeys([*self.names, *self._known.annotators]))
            self._report(
                path, f"unknown {what}", found=repr(name), allowed=listed(names), suggestion=nearest(name, names)
            )
        elif len(full) > 1:
            self._report(path, f"{what} {name!r} stands for several: write one in full", allowed=listed(full))
        else:
            self.needs(path, full[0])
        return None

    def needs(self, path: Path, name: str, *, of_key: bool = False) -> None:
        """Reports, unless an annotator writes under `name`."""
        if name not in self.names:
            self._report(
                path,
                f"needs the annotator {name}: add it to annotators",
                of_key=of_key,
                allowed=listed(self.names),
            )


def _family(name: str) -> str:
    return name.partition("@")[0]


def _said(name: str, error: BaseException) -> str:
    """An error's own words behind the annotator's name; KeyError would put them in quotes."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return text if text.startswith(name) else f"{name}: {text or type(error).__name__}"
