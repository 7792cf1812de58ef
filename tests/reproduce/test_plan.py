"""What there is to do, in which order, and how it is named."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from grannfield.forcefield import create, is_reduced, registered
from grannfield.presets import PRESETS
from grannfield.reproduce.plan import KINDS, chosen, plan_of
from grannfield.reproduce.scales import SCALES
from grannfield.reproduce.suite import NEEDS

TINY = SCALES["tiny"]


def test_every_piece_comes_after_those_it_needs() -> None:
    seen: list[str] = []
    for piece in plan_of(TINY):
        assert set(piece.needs) <= set(seen), piece.name
        seen.append(piece.name)
    assert len(seen) == len(set(seen)) == len(registered()) * (3 + 3)
    assert seen[:6] == [
        "train:schnet", "md:schnet:LGPS:1000K", "md:schnet:beta-Li3PS4:1000K", "md:schnet:Li4GeS4:1000K", "score:schnet",
        "train:cgcnn",
    ]  # fmt: skip
    assert seen[-11:] == [f"speed:{name}" for name in TINY.train_minutes], "what adds to a row comes after all rows"
    score = plan_of(TINY, ["cgcnn"])[-2]
    assert score.needs == ("train:cgcnn", *(f"md:cgcnn:{m}:1000K" for m in ("LGPS", "beta-Li3PS4", "Li4GeS4")))


def test_the_scale_is_about_every_model_with_equal_time() -> None:
    assert set(TINY.train_minutes) == set(registered()) and len(set(TINY.train_minutes.values())) == 1
    order = list(TINY.train_minutes)
    assert order[:2] == ["schnet", "cgcnn"], "light models first"
    whole = [name for name in order if not is_reduced(create(name, **TINY.settings_of(name)))]
    assert whole == ["schnet", "cgcnn", "deeper_gatgnn"]
    assert all(not replace(TINY, reduced=False).settings_of(name) for name in order)


def test_all_temperatures_of_a_preset_are_pieces() -> None:
    paper = replace(TINY, preset="paper", materials=("LGPS",))
    names = [piece.name for piece in plan_of(paper, ["schnet"]) if piece.kind == "md"]
    assert names == [f"md:schnet:LGPS:{t}K" for t in (800, 900, 1000, 1100, 1200)]
    assert PRESETS["paper"].temperatures is None


def test_pieces_are_chosen_by_whole_words() -> None:
    plan = plan_of(TINY)
    for kind in KINDS:
        assert {piece.kind for piece in chosen(plan, [kind])} == {kind}
    assert [piece.name for piece in chosen(plan, ["train:dimenet"])] == ["train:dimenet"]
    assert [piece.model for piece in chosen(plan, ["md:SCHNET:lgps", "score:scn"])] == ["schnet", "scn"]
    assert chosen(plan, []) == plan


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("training", "'training'; there are train, md, score, speed"),
        ("train:shnet", "there are train:schnet, train:cgcnn, train:deeper_gatgnn"),
        ("md:schnet:Li3PS4", "there are md:schnet:LGPS, md:schnet:beta-Li3PS4, md:schnet:Li4GeS4"),
        ("md:schnet:LGPS:900K", "there are md:schnet:LGPS:1000K"),
        ("score:schnet:LGPS", "score:schnet has no parts"),
    ],
)
def test_a_wrong_name_says_what_there_is(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chosen(plan_of(TINY), ["speed", pattern])
    with pytest.raises(ValueError, match="no model is called shnet; there are schnet, cgcnn"):
        plan_of(TINY, ["shnet"])
    with pytest.raises(ValueError, match="after the @ only `published` is known"):
        plan_of(TINY, ["schnet@new"])


def test_what_scoring_needs_is_what_the_package_requires() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    required = {text.split(">")[0] for text in project["dependencies"]}
    assert set(NEEDS.values()) <= required
