"""Presets as data: every file is one, and says where its numbers come from."""

from __future__ import annotations

import pytest

from quality_signals import presets


@pytest.mark.parametrize("name", presets.names())
def test_every_file_is_a_preset_with_its_sources(name: str) -> None:
    preset = presets.load(name)
    assert preset.name == name and presets.full_name(name) == name
    assert preset.source and preset.describes and preset.differs, "what differs from the published chain is said"
    assert all("from" in step for step in preset.steps), "every step has its source"
    assert preset.missing((), ()) == list(preset.needs)
    nothing = preset.asked_annotators({})
    everything = preset.asked_annotators(dict.fromkeys(preset.needs, "x"))
    assert len(nothing) < len(everything) if preset.needs else len(nothing) == len(everything)
    assert not any(key in ("needs", "from") for step in preset.asked_steps({}) for key in step)


def test_a_name_without_a_version_is_the_first() -> None:
    assert presets.load("fineweb") == presets.load("fineweb@1")
    with pytest.raises(presets.PresetError, match="no preset 'fineweb@9' .known: c4@1"):
        presets.load("fineweb@9")


def test_needs_are_filled_in_or_left_out() -> None:
    values = {
        "preset": "p@1",
        "describes": "d",
        "source": "s",
        "needs": {"model": "a file", "lists": "a folder"},
        "annotators": [
            "a@1",
            {"name": "classifier", "model": "$model"},
            {"name": "b", "options": {"lists": ["$lists"]}},
        ],
        "steps": ["a@1", {"column": "$model/score", "min": 1}, {"rule": "b", "needs": "lists", "from": "$x"}],
    }
    preset = presets.read("p@1", values)
    assert preset.asked_annotators({"model": "m.zip"}) == [
        ({"name": "a@1"}, set()),
        ({"name": "classifier", "model": "m.zip"}, {"model"}),
    ]
    assert preset.asked_annotators({"lists": "f"})[1] == ({"name": "b", "options": {"lists": ["f"]}}, {"lists"})
    assert preset.asked_steps({"model": "classifier@1"}) == [
        {"rule": "a@1"},
        {"column": "classifier@1/score", "min": 1},
    ]
    for wrong, said in (
        ({**values, "steps": [{"rule": "$other"}]}, "other is not among its needs"),
        ({**values, "preset": "q@1"}, "calls itself q@1"),
        ({**values, "stepz": []}, "has the keys"),
        ([], "has the keys"),
    ):
        with pytest.raises(presets.PresetError, match=said):
            presets.read("p@1", wrong)
